//! The exporter's HTTP side.
//!
//! | path | what |
//! |---|---|
//! | `GET /` | the status page |
//! | `GET /metrics` (`--web.telemetry-path`) | the metrics |
//! | `GET /-/healthy` | 200 while the process serves |
//! | `GET /-/ready` | 200 once the first look at the folders is done |
//! | `POST /-/reload` | reads the configuration again, as SIGHUP does |

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;

use crate::config::Settings;
use crate::folder::Timestamp;
use crate::logs::{LogSettings, Monitor};
use crate::web::{self, Gate, Response};

use super::metrics::{ReloadState, families};
use super::page::page;
use super::snapshot::{Collector, Snapshot};
use super::status::rows;

/// A page is shown again without a new look for this long, so that a reader who holds
/// F5 does not keep every probe busy.
const PAGE_FOR: Duration = Duration::from_secs(10);

/// How to read the configuration again.
pub type Load = Box<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// The running exporter.
pub struct Exporter {
    load: Load,
    state: RwLock<Loaded>,
    metrics_path: String,
    gate: Gate,
    page: tokio::sync::Mutex<Option<(Instant, String)>>,
    /// Set once the logs are read, where any are named.
    logs: Mutex<Option<Arc<Monitor>>>,
}

struct Loaded {
    settings: Arc<Settings>,
    collector: Arc<Mutex<Collector>>,
    reload: ReloadState,
}

impl Loaded {
    fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self {
            collector: Arc::new(Mutex::new(Collector::new(Arc::clone(&settings)))),
            settings,
            reload: ReloadState { successful: true, loaded_at: Timestamp::now() },
        }
    }
}

impl Exporter {
    /// An exporter for these settings. `max_requests` bounds concurrent scrapes (0: no bound).
    pub fn new(settings: Settings, load: Load, metrics_path: String, max_requests: usize) -> Self {
        Self {
            load,
            state: RwLock::new(Loaded::new(settings)),
            metrics_path,
            gate: Gate::new(max_requests),
            page: tokio::sync::Mutex::new(None),
            logs: Mutex::new(None),
        }
    }

    /// Begins to read the logs, if any are named. `first` tells which sessions there are.
    ///
    /// Errors: the state directory cannot be used.
    pub fn follow_logs(&self, first: &Snapshot) -> Result<(), String> {
        let settings = Arc::clone(&self.settings().logs);
        if !settings.globs.is_empty() {
            let monitor = Monitor::start(settings, session_names(first))?;
            *self.monitor() = Some(Arc::new(monitor));
        }
        Ok(())
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).settings)
    }

    fn monitor(&self) -> std::sync::MutexGuard<'_, Option<Arc<Monitor>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the folders once, so that what is wrong is in the log from the start.
    pub async fn look(&self) -> Arc<Snapshot> {
        let collector = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&state.collector)
        };
        let look = move || collector.lock().unwrap_or_else(PoisonError::into_inner).collect();
        match tokio::task::spawn_blocking(look).await {
            Ok(snapshot) => Arc::new(snapshot),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Reads the configuration again. After a failure the former one stays in force.
    pub fn reload(&self) -> Result<(), String> {
        let loaded = (self.load)();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(settings) => {
                let logs = Arc::clone(&settings.logs);
                if let Err(error) = self.reload_logs(&logs) {
                    state.reload.successful = false;
                    tracing::error!(
                        "the configuration was not loaded, the former one stays in force: {error}"
                    );
                    return Err(error);
                }
                *state = Loaded::new(settings);
                tracing::info!("configuration loaded");
                Ok(())
            }
            Err(error) => {
                state.reload.successful = false;
                tracing::error!("the configuration was not loaded, the former one stays in force: {error}");
                Err(error)
            }
        }
    }

    fn reload_logs(&self, settings: &Arc<LogSettings>) -> Result<(), String> {
        let mut monitor = self.monitor();
        match monitor.as_ref() {
            Some(running) if running.state_path() != settings.state_path => {
                return Err("logs.state_path changes only with a restart".into());
            }
            Some(running) => running.configure(Arc::clone(settings)),
            None if settings.globs.is_empty() => {}
            // The sessions follow with the next look.
            None => *monitor = Some(Arc::new(Monitor::start(Arc::clone(settings), HashSet::new())?)),
        }
        Ok(())
    }

    /// Serves until `shutdown` resolves.
    pub async fn serve(self: Arc<Self>, listeners: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        let logs = Arc::clone(&self);
        let handler = move |request: Request<Incoming>, _| {
            let exporter = Arc::clone(&self);
            async move {
                match exporter.answer(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        web::serve(listeners, web::Limits::default(), handler, shutdown).await;
        let monitor = logs.monitor().take();
        if let Some(monitor) = monitor {
            // A last commit.
            let _ = tokio::task::spawn_blocking(move || monitor.stop()).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        Ok(match request.uri().path() {
            "/-/reload" if request.method() != Method::POST => web::method_not_allowed(&[Method::POST]),
            "/-/reload" => match self.reload() {
                Ok(()) => web::text(StatusCode::OK, "configuration loaded\n"),
                Err(_) => web::text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the configuration was not loaded, the former one stays in force; the log says why\n",
                ),
            },
            path if !reads
                && (path == self.metrics_path || matches!(path, "/" | "/-/healthy" | "/-/ready")) =>
            {
                web::method_not_allowed(&[Method::GET, Method::HEAD])
            }
            path if path == self.metrics_path => self.metrics(&request).await,
            "/" => web::html(self.page().await),
            "/-/healthy" => web::text(StatusCode::OK, "baileys_exporter is healthy.\n"),
            "/-/ready" => web::text(StatusCode::OK, "baileys_exporter is ready.\n"),
            _ => web::text(
                StatusCode::NOT_FOUND,
                "Not found. There is /, /metrics, /-/healthy and /-/ready.\n",
            ),
        })
    }

    async fn metrics(&self, request: &Request<Incoming>) -> Response {
        let Some(_permit) = self.gate.try_enter() else { return self.gate.refusal() };
        let snapshot = self.look().await;
        let reload = self.state.read().unwrap_or_else(PoisonError::into_inner).reload;
        let patterns = Arc::clone(&self.settings().logs.patterns);
        let monitor = self.monitor().clone();
        let headers = request.headers().clone();
        let encode = move || {
            let published = monitor.map(|monitor| {
                monitor.set_sessions(session_names(&snapshot));
                monitor.published()
            });
            let logs = published.as_deref().map(|published| (published, patterns.as_ref()));
            web::expose::respond(&headers, &families(&snapshot, logs, reload).into_vec())
        };
        match tokio::task::spawn_blocking(encode).await {
            Ok(response) => response,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn page(&self) -> String {
        let mut last = self.page.lock().await;
        if let Some((at, page)) = last.as_ref()
            && at.elapsed() < PAGE_FOR
        {
            return page.clone();
        }
        let snapshot = self.look().await;
        let settings = self.settings();
        let rows = rows(&snapshot, &settings.connection).await;
        let skipped: Vec<String> = snapshot.skipped.iter().map(|s| s.message.clone()).collect();
        let page = page(&rows, &skipped, snapshot.at, &self.metrics_path);
        *last = Some((Instant::now(), page.clone()));
        page
    }
}

fn session_names(snapshot: &Snapshot) -> HashSet<Arc<str>> {
    snapshot.sessions.iter().map(|view| Arc::from(view.session.as_str())).collect()
}
