//! The exporter's HTTP side.
//!
//! | path | what |
//! |---|---|
//! | `GET /` | the status page |
//! | `GET /metrics` (`--web.telemetry-path`) | the metrics |
//! | `GET /-/healthy` | 200 while the process serves |
//! | `GET /-/ready` | 200 once the first look at the folders is done |
//! | `POST /-/reload` | reads the configuration again, as SIGHUP does; not from a foreign page |

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use clock::Clock;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::app::App;
use crate::config::Settings;
use crate::connection::{Connection, SightingStore, Verdict};
use crate::folder::{BoundedBlocking, SessionName};
use crate::logs::{LastEventReader, LogSettings, Monitor, SessionsSeen, overview};
use crate::page_links::PageLinks;
use crate::reload::{self, Asker, Load, Reloads};
use exporter_toolkit::{self as web, ConcurrencyLimit, Listeners, Response, exposition};

use super::latest::LatestVerdicts;
use super::metrics::metric_families;
use super::page::page;
use super::sightings_file::SightingsFile;
use super::snapshot::{Collector, Snapshot};
use super::status::{lay_out, verdicts};

/// A page is shown again without a new look for this long, so that a reader who holds
/// F5 does not keep every probe busy.
const PAGE_FOR: Duration = Duration::from_secs(10);

/// Pages at the same time; more get 503.
const MAX_PAGES: usize = 8;

/// How often all sources are queried about all sessions.
const VERDICTS_EVERY: Duration = Duration::from_secs(30);
/// An answer that holds for many sessions (the list of pm2) may be this old.
const SHARE_FOR: Duration = Duration::from_secs(10);

/// The first look at the logs is waited for so long; a large backlog takes longer.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// The directory `logs.state_path` is waited for so long.
const SAVE_TIMEOUT: Duration = Duration::from_secs(10);
const STATE_HANGS: &str = "timeout: the directory logs.state_path does not answer";

/// How often auth folders beside the watched ones are looked for.
const BESIDE_EVERY: Duration = Duration::from_secs(60);

/// The running exporter.
pub struct Exporter {
    load: Load,
    state: RwLock<Loaded>,
    metrics_path: String,
    scrapes: ConcurrencyLimit,
    pages: ConcurrencyLimit,
    reloads: Reloads,
    reloading: Mutex<()>,
    page: tokio::sync::Mutex<Option<(Instant, String)>>,
    /// Set once the logs are read, where any are named.
    logs: Mutex<Option<Arc<Monitor>>>,
    /// Outlives a reload of the configuration.
    sightings: Arc<SightingsFile>,
    reloaded: Notify,
    /// Whether there are auth folders that are not watched.
    others: AtomicBool,
    clock: Clock,
}

/// The latest verdict on each session.
type Latest = Arc<Mutex<LatestVerdicts>>;

struct Loaded {
    settings: Arc<Settings>,
    connection: Connection,
    last_events: Option<Arc<LastEventReader>>,
    collector: Arc<Mutex<Collector>>,
    latest: Latest,
}

impl Loaded {
    /// `former`: what was in force before a reload. Its verdicts stay until the sources were
    /// asked again; without a source nothing would replace them.
    fn new(
        settings: Settings,
        sighting_store: &Arc<dyn SightingStore>,
        clock: &Clock,
        former: Option<&Self>,
    ) -> Self {
        let last_events = former.and_then(|former| former.last_events.as_deref());
        let app = App::after(
            last_events,
            settings,
            Arc::clone(sighting_store),
            clock.clone(),
        );
        let collector = Collector::new(Arc::clone(&app.settings), clock.clone());
        let collector = match former {
            Some(former) => collector.after(Arc::clone(&former.collector)),
            None => collector,
        };
        let connection = match former {
            Some(former) => app.connection.after(&former.connection),
            None => app.connection,
        };
        let latest = former.filter(|_| connection.has_sources());
        let latest = latest.map_or_else(Latest::default, |former| Arc::clone(&former.latest));
        let collector = collector.with_verdicts(Arc::clone(&latest));
        Self {
            collector: Arc::new(Mutex::new(collector)),
            settings: app.settings,
            connection: connection.sharing_for(SHARE_FOR).only_telling(),
            last_events: app.last_events,
            latest,
        }
    }
}

impl Exporter {
    /// An exporter for these settings. `max_requests` bounds concurrent scrapes (0: no bound).
    pub fn new(
        settings: Settings,
        load: Load,
        metrics_path: String,
        max_requests: usize,
        clock: Clock,
    ) -> Self {
        let sightings = Arc::new(SightingsFile::new(clock.clone()));
        if keeps_state(&settings) {
            open(&sightings, &settings.logs.state_path);
        }
        let store = Arc::clone(&sightings) as Arc<dyn SightingStore>;
        Self {
            load,
            state: RwLock::new(Loaded::new(settings, &store, &clock, None)),
            sightings,
            reloaded: Notify::new(),
            others: AtomicBool::new(true),
            reloads: Reloads::new(clock.clone()),
            reloading: Mutex::new(()),
            clock,
            metrics_path,
            scrapes: ConcurrencyLimit::new(max_requests),
            pages: ConcurrencyLimit::new(MAX_PAGES),
            page: tokio::sync::Mutex::new(None),
            logs: Mutex::new(None),
        }
    }

    /// Begins to read the logs, if any are named. `first` tells which sessions there are.
    ///
    /// Errors: the state directory cannot be used.
    pub async fn follow_logs(&self, first: &Snapshot) -> Result<(), String> {
        let settings = Arc::clone(&self.settings().logs);
        if !settings.globs.is_empty() {
            let _ = self.clock.timeout(FIRST_LOOK, self.look_beside()).await;
            let seen = self.sessions_seen(first);
            let monitor = Arc::new(Monitor::start(settings, &seen, self.clock.clone())?);
            *self.monitor() = Some(Arc::clone(&monitor));
            // Once the exporter is ready, lines may be written and it may be killed.
            let _ =
                tokio::task::spawn_blocking(move || monitor.wait_for_first_look(FIRST_LOOK)).await;
        }
        for warning in self.log_warnings(first).await {
            tracing::warn!("{warning}");
        }
        self.save_sightings().await;
        Ok(())
    }

    /// Saves which bots were seen alive, where that is kept. A failure is logged.
    async fn save_sightings(&self) {
        let (sightings, settings) = (Arc::clone(&self.sightings), self.settings());
        let save = tokio::task::spawn_blocking(move || {
            if keeps_state(&settings) {
                sightings.open(&settings.logs.state_path);
            }
            sightings.save();
        });
        if self.clock.timeout(SAVE_TIMEOUT, save).await.is_err() {
            tracing::warn!("{STATE_HANGS}");
        }
    }

    /// What is likely to be wrong with the configured paths of logs and folders.
    async fn log_warnings(&self, snapshot: &Snapshot) -> Vec<String> {
        let settings = self.settings();
        let mut warnings = settings.quoted_homes();
        let Some(monitor) = self.monitor().clone() else {
            return warnings;
        };
        let folders = self.sessions_seen(snapshot).found;
        let look = tokio::task::spawn_blocking(move || {
            let published = monitor.published();
            overview::look(&settings.logs, &published.known, &folders, &published.logs).warnings
        });
        warnings.extend(look.await.unwrap_or_default());
        warnings
    }

    /// The sessions whose logs never showed a line of the library's logger.
    fn half_monitored(&self) -> BTreeSet<Arc<str>> {
        let published = self.monitor().as_ref().map(|monitor| monitor.published());
        let sessions = published.iter().flat_map(|published| &published.sessions);
        sessions
            .filter(|(_, log)| log.is_half_monitored())
            .map(|(name, _)| Arc::from(name.as_str()))
            .collect()
    }

    /// What a look at the folders tells the logs.
    fn sessions_seen(&self, snapshot: &Snapshot) -> SessionsSeen {
        let names = snapshot.sessions.iter().map(|view| view.session.as_str());
        let mut skipped = snapshot.skipped.iter();
        SessionsSeen {
            // The start of the scan: logs read during it wait for the next one.
            at: snapshot.at.minus(snapshot.took),
            found: names.map(Arc::from).collect(),
            complete: skipped.all(|skipped| !skipped.reason.hides_folders()),
            others: self.others.load(Ordering::Relaxed),
        }
    }

    /// Looks for auth folders beside the only watched one: while there are some, no log is
    /// guessed to be its.
    async fn look_beside(&self) {
        let settings = self.settings();
        let look = tokio::task::spawn_blocking(move || settings.has_others());
        self.others
            .store(look.await.unwrap_or(true), Ordering::Relaxed);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(
            &self
                .state
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .settings,
        )
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
        let look = move || {
            collector
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .collect()
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(snapshot) => Arc::new(snapshot),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Reads the configuration again. After a failure the former one stays in force.
    pub fn reload(&self) -> Result<(), String> {
        // The latest file is the last to be laid over the others.
        let _turn = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let loaded = (self.load)().and_then(|settings| self.take_up(settings));
        self.reloads.note(&loaded);
        loaded
    }

    /// Only one reload at a time is here. A scrape needs the locks, so none is held while a file is
    /// read or written: its file system may hang.
    fn take_up(&self, settings: Settings) -> Result<(), String> {
        reload::require_same_file(&self.settings(), &settings)?;
        if self.sightings.is_elsewhere(&settings.logs.state_path) {
            return Err("logs.state_path changes only with a restart".into());
        }
        self.reload_logs(&settings.logs)?;
        if keeps_state(&settings) {
            open(&self.sightings, &settings.logs.state_path);
        }
        let store = Arc::clone(&self.sightings) as Arc<dyn SightingStore>;
        let loaded = {
            let former = self.state.read().unwrap_or_else(PoisonError::into_inner);
            Loaded::new(settings, &store, &self.clock, Some(&former))
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        self.reloaded.notify_one();
        Ok(())
    }

    fn reload_logs(&self, settings: &Arc<LogSettings>) -> Result<(), String> {
        let running = self.monitor().clone();
        match running {
            Some(running) => running.configure(Arc::clone(settings)),
            None if settings.globs.is_empty() => {}
            None => {
                let (settings, clock) = (Arc::clone(settings), self.clock.clone());
                let state_path = settings.state_path.clone();
                let runtime = Handle::current();
                let start = move || {
                    let _runtime = runtime.enter();
                    // The sessions follow with the next look.
                    Monitor::start(settings, &SessionsSeen::default(), clock)
                };
                let looks = BoundedBlocking::default().with_timeout(SAVE_TIMEOUT);
                let started = looks.run(&state_path, start);
                let monitor = started.map_err(|_| STATE_HANGS.to_owned())??;
                *self.monitor() = Some(Arc::new(monitor));
            }
        }
        Ok(())
    }

    /// Serves until `shutdown` resolves.
    pub async fn serve(
        self: Arc<Self>,
        listeners: impl Into<Listeners>,
        shutdown: impl Future<Output = ()>,
    ) {
        let logs = Arc::clone(&self);
        let verdicts = tokio::spawn({
            let exporter = Arc::clone(&self);
            async move {
                loop {
                    exporter.take_verdicts().await;
                    tokio::select! {
                        () = exporter.clock.sleep(VERDICTS_EVERY) => {}
                        () = exporter.reloaded.notified() => {}
                    }
                }
            }
        });
        let beside = tokio::spawn({
            let exporter = Arc::clone(&self);
            async move {
                loop {
                    exporter.clock.sleep(BESIDE_EVERY).await;
                    if !exporter.settings().logs.globs.is_empty() {
                        exporter.look_beside().await;
                    }
                }
            }
        });
        let handler = move |request: Request<Incoming>, _| {
            let exporter = Arc::clone(&self);
            async move { exporter.answer(request).await }
        };
        web::serve(listeners, web::ServerLimits::default(), handler, shutdown).await;
        verdicts.abort();
        beside.abort();
        logs.save_sightings().await;
        let monitor = logs.monitor().take();
        if let Some(monitor) = monitor {
            // A last commit.
            let _ = tokio::task::spawn_blocking(move || monitor.stop()).await;
        }
    }

    /// Asks about every session, for the metrics.
    async fn take_verdicts(&self) {
        let (connection, latest) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.connection.clone(), Arc::clone(&state.latest))
        };
        // Without sources everything is unknown, and no scan is needed for that.
        if connection.has_sources() {
            let snapshot = self.look().await;
            note(
                &latest,
                &snapshot,
                &verdicts(&snapshot, &connection).await,
                &connection,
                self.clock.now(),
            );
            self.save_sightings().await;
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let (scrapes, pages) = (self.scrapes.clone(), self.pages.clone());
        match request.uri().path() {
            "/-/reload" if request.method() != Method::POST => {
                web::method_not_allowed(&[Method::POST])
            }
            "/-/reload" => {
                if let Some(refusal) = web::refuse_foreign(&request) {
                    return refusal;
                }
                let exporter = Arc::clone(&self);
                let reload = async move { exporter.reload_now().await };
                self.reloads.answer(Asker::Anybody, reload).await
            }
            path if !reads
                && (path == self.metrics_path
                    || matches!(path, "/" | "/-/healthy" | "/-/ready")) =>
            {
                web::method_not_allowed(&[Method::GET, Method::HEAD])
            }
            path if path == self.metrics_path => {
                scrapes.run(self.metrics(request.headers().clone())).await
            }
            "/" => {
                let headers = request.headers().clone();
                let page = async move { web::html(&headers, StatusCode::OK, self.page().await) };
                pages.run(page).await
            }
            "/-/healthy" => web::text(StatusCode::OK, "baileys_exporter is healthy.\n"),
            "/-/ready" => web::text(StatusCode::OK, "baileys_exporter is ready.\n"),
            _ => web::not_found(&[
                "/",
                &self.metrics_path,
                "/-/healthy",
                "/-/ready",
                "POST /-/reload",
            ]),
        }
    }

    /// [`Exporter::reload`], on a thread that may block.
    pub async fn reload_now(self: Arc<Self>) -> Result<(), String> {
        let reload = tokio::task::spawn_blocking(move || self.reload());
        reload.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn metrics(self: Arc<Self>, headers: HeaderMap) -> Response {
        let snapshot = self.look().await;
        let (settings, latest) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&state.settings), Arc::clone(&state.latest))
        };
        let reload = self.reloads.state();
        let monitor = self.monitor().clone();
        let clock = self.clock.clone();
        let seen = self.sessions_seen(&snapshot);
        let encode = move || {
            let latest = latest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let now = clock.now();
            let connection = |session: &SessionName| latest.of(session, now);
            let published = monitor.map(|monitor| {
                let published = monitor.scraped(&seen.found);
                monitor.set_sessions(seen);
                published
            });
            let logs = published
                .as_deref()
                .map(|published| (published, settings.logs.patterns.as_ref()));
            let families =
                metric_families(&snapshot, logs, reload, &settings.metric_groups, connection);
            exposition::respond(&headers, families.with_labels(settings.labels.pairs()))
        };
        match tokio::task::spawn_blocking(encode).await {
            Ok(response) => response,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn page(&self) -> String {
        let mut last = self.page.lock().await;
        if let Some((at, page)) = last.as_ref()
            && self.clock.since(*at) < PAGE_FOR
        {
            return page.clone();
        }
        let snapshot = self.look().await;
        let (connection, latest) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.connection.clone(), Arc::clone(&state.latest))
        };
        let verdicts = verdicts(&snapshot, &connection).await;
        if connection.has_sources() {
            note(&latest, &snapshot, &verdicts, &connection, self.clock.now());
        }
        let half_monitored = self.half_monitored();
        let rows = lay_out(&snapshot, &verdicts, &half_monitored);
        let mut notes: Vec<String> = snapshot.skipped.iter().map(|s| s.message.clone()).collect();
        notes.extend(snapshot.passed_over.iter().cloned());
        notes.extend(self.log_warnings(&snapshot).await);
        let folders = self.sessions_seen(&snapshot).found;
        notes.extend(overview::half_without_folder(&half_monitored, &folders));
        let settings = self.settings();
        let links = PageLinks::new(&settings.pages, &settings.rules);
        let page = page(&rows, &notes, snapshot.at, &self.metrics_path, &links);
        *last = Some((self.clock.now(), page.clone()));
        page
    }
}

/// Adds which bots were seen alive, as saved in this directory. If it hangs, that comes with a later
/// save. Blocks.
fn open(sightings: &Arc<SightingsFile>, dir: &Path) {
    let (sightings, own) = (Arc::clone(sightings), dir.to_owned());
    let looks = BoundedBlocking::default().with_timeout(SAVE_TIMEOUT);
    if looks.run(dir, move || sightings.open(&own)).is_err() {
        tracing::warn!("{STATE_HANGS}");
    }
}

/// Whether the state directory is used: for the logs, and for which bots were seen alive, so that
/// after a restart a source may still say that a bot is down.
pub fn keeps_state(settings: &Settings) -> bool {
    !settings.logs.globs.is_empty() || settings.connection.has_sources()
}

/// Keeps the verdicts for the metrics.
fn note(
    latest: &Latest,
    snapshot: &Snapshot,
    verdicts: &[Verdict],
    connection: &Connection,
    now: Instant,
) {
    let sessions = snapshot.sessions.iter().map(|view| &view.session);
    let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
    let is_named = |session: &SessionName| connection.has_process_named_after(session);
    latest.note(sessions.zip(verdicts), now, &is_named);
}
