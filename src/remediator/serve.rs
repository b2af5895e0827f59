//! `serve`: the webhook, the workers behind it, and the sweep of the quarantines.
//!
//! | path | what |
//! |---|---|
//! | `POST /webhook` | Alertmanager's alerts, with the bearer token |
//! | `POST /-/reload` | reads the configuration again, as SIGHUP does; with the same token, not from a foreign page |
//! | `GET /` | a page: the queue, the latest runs, missing permissions |
//! | `GET /plan?session=NAME` | what a clean-up would do; nothing is moved |
//! | `GET /run?id=N` | the full record of a run |
//! | `GET /metrics` | the metrics |
//! | `GET /-/healthy` | 200 while the process serves |
//! | `GET /-/ready` | 200 if the recovery after a restart has ended and the journal can be used |

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use clock::Clock;
use exporter_toolkit::exposition;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request as HttpRequest, StatusCode};
use rustix::fs::FlockOperation;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};

use crate::connection::{Connection, State};
use crate::folder::{Found, Timestamp};
use crate::policy::ladder::TierStatus;
use crate::reload::{Load, Reloads};
use crate::state_file;
use exporter_toolkit::{self as web, ConcurrencyLimit, Listeners, Response};

use super::metrics::{Live, ProcessState, metric_families};
use super::overview::overview;
use super::quarantine::QuarantineName;
use super::runner::{self, Context};
use super::store::clock::Moment;
use super::store::runs::Action;
use super::store::{SharedStore, Store, StoreError};
use super::webhook;
use configured::Configured;

/// Runs under way at the same time; never two on one session.
const WORKERS: usize = 4;
/// Runs at the same time that have given their place.
const MAX_OVERDUE: usize = 16;
/// Requests to the webhook at the same time; more get 503.
const MAX_REQUESTS: usize = 32;
/// Scrapes at the same time; more get 503. Only one at a time reads the journal, so that the
/// start of a bot never waits for more than one.
const MAX_SCRAPES: usize = 4;
/// A body must be complete within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// An alert must be recorded within this time, or the answer is 503.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pending restarts are checked at least this often, even if armed runs are checked less often.
const RESUME_EVERY: Duration = Duration::from_secs(60);

mod check;
mod configured;
mod health;
mod housekeeping;
mod intake;
mod journal_health;
mod local;
mod notifying;
mod page_cache;
mod pages;
mod perform;
mod polling;
mod refusal_log;
mod reload;
mod sessions;
mod token;
mod unmatched;
mod work;

pub use self::check::check_settings;

/// The running remediator.
pub struct Remediator {
    /// The configuration in force. A run, a request and a round of a background task read it
    /// once, and keep what they have read.
    current: RwLock<Arc<Configured>>,
    load: Load,
    reloads: Reloads,
    /// The turn of a reload.
    reloading: Arc<tokio::sync::Mutex<()>>,
    /// Another configuration is in force.
    reloaded: watch::Sender<()>,
    reload_refusals: refusal_log::RefusalLog,
    store: SharedStore,
    clock: Clock,
    active: Mutex<HashSet<i64>>,
    due: Mutex<HashMap<(String, QuarantineName), Instant>>,
    /// When the wall clock was last compared with the monotonic clock.
    compared: Mutex<Option<Instant>>,
    /// Bytes in each session's quarantine.
    held: Mutex<HashMap<String, u64>>,
    live: Live,
    /// What the webhook gets for other hosts.
    unmatched: unmatched::Unmatched,
    /// What the local trigger found at its last evaluation.
    tier_statuses: Mutex<Vec<TierStatus>>,
    pages: page_cache::Pages,
    wake: Notify,
    /// A run is on record as under way, and no worker has it.
    sweep_now: Notify,
    /// A worker needs a permit to take a run.
    places: Arc<Semaphore>,
    webhooks: ConcurrencyLimit,
    refusals: refusal_log::RefusalLog,
    scrapes: ConcurrencyLimit,
    scrape: tokio::sync::Mutex<()>,
    recovered: AtomicBool,
    journal: journal_health::JournalHealth,
    _state_lock: std::fs::File,
}

impl Remediator {
    /// Creates the remediator from this configuration and journal. `load` reads the
    /// configuration again.
    ///
    /// Errors: no usable token file, or another `serve` uses this state directory.
    pub fn new(ctx: Context, load: Load) -> Result<Self, String> {
        let (store, clock) = (ctx.store.clone(), ctx.clock.clone());
        let state_path = ctx.settings.state_path.clone();
        let configured = Configured::new(ctx)?;
        let state_lock = lock_state(&state_path)?
            .ok_or_else(|| format!("another `serve` uses --state.path {}", state_path.display()))?;
        let refusals = |what| refusal_log::RefusalLog::new(what, clock.clone());
        Ok(Self {
            current: RwLock::new(Arc::new(configured)),
            load,
            reloads: Reloads::new(clock.clone()),
            reloading: Arc::default(),
            reloaded: watch::Sender::new(()),
            reload_refusals: refusals("/-/reload"),
            refusals: refusals("the webhook"),
            unmatched: unmatched::Unmatched::new(clock.clone()),
            store,
            clock,
            active: Mutex::default(),
            due: Mutex::default(),
            compared: Mutex::default(),
            held: Mutex::default(),
            live: Live::default(),
            tier_statuses: Mutex::default(),
            pages: page_cache::Pages::default(),
            wake: Notify::new(),
            sweep_now: Notify::new(),
            places: Arc::new(Semaphore::new(WORKERS)),
            webhooks: ConcurrencyLimit::new(MAX_REQUESTS),
            scrapes: ConcurrencyLimit::new(MAX_SCRAPES),
            scrape: tokio::sync::Mutex::default(),
            recovered: AtomicBool::new(false),
            journal: journal_health::JournalHealth::default(),
            _state_lock: state_lock,
        })
    }

    /// Recovers from a crash, then serves until `shutdown` resolves. Waits for runs that are
    /// under way.
    pub async fn serve(
        self: Arc<Self>,
        listeners: impl Into<Listeners>,
        shutdown: impl Future<Output = ()>,
    ) {
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let mut tasks = tokio::task::JoinSet::new();
        // First, start the bots that a crash left stopped.
        tasks.spawn(Arc::clone(&self).watch_for_ever(stopping.clone()));
        for _ in 0..WORKERS + MAX_OVERDUE {
            tasks.spawn(Arc::clone(&self).work(stopping.clone()));
        }
        tasks.spawn(Arc::clone(&self).check_journal_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).roll_call_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).insure_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).poll_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).evaluate_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).notify_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).sweep_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).check_privileges_for_ever(stopping));
        let handler = {
            let remediator = Arc::clone(&self);
            move |request: HttpRequest<Incoming>, _| {
                let remediator = Arc::clone(&remediator);
                async move { remediator.answer(request).await }
            }
        };
        // Alertmanager can send one credential only, and these want the token.
        let listeners = listeners.into().with_own_credential("/webhook");
        let listeners = listeners.with_own_credential("/-/reload");
        web::serve(listeners, web::ServerLimits::default(), handler, shutdown).await;
        let _ = stop.send(true);
        while tasks.join_next().await.is_some() {}
    }

    async fn answer(self: Arc<Self>, request: HttpRequest<Incoming>) -> Response {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/webhook" => {
                let response = Arc::clone(&self).webhook(request).await;
                self.live.request(response.status().as_u16());
                response
            }
            "/-/reload" => self.answer_reload(&request).await,
            "/" | "/plan" | "/run" | "/metrics" | "/-/healthy" | "/-/ready" if !reads => {
                web::method_not_allowed(&[Method::GET, Method::HEAD])
            }
            path @ ("/" | "/plan" | "/run") => {
                let query = request.uri().query().unwrap_or_default();
                self.page(request.headers().clone(), path, query).await
            }
            "/metrics" => {
                let scrapes = self.scrapes.clone();
                scrapes.run(self.metrics(request.headers().clone())).await
            }
            "/-/healthy" => web::text(StatusCode::OK, "baileys_remediator is healthy.\n"),
            "/-/ready" => self.ready(),
            _ => web::not_found(&[
                "/",
                "POST /webhook",
                "/metrics",
                "/-/healthy",
                "/-/ready",
                "POST /-/reload",
            ]),
        }
    }

    async fn metrics(self: Arc<Self>, headers: HeaderMap) -> Response {
        let shared = self.store.clone();
        let remediator = Arc::clone(&self);
        let _turn = remediator.scrape.lock().await;
        shared
            .block(move |store| {
                let current = self.current();
                let settings = &current.ctx.settings;
                let known = current.sessions.known().into_iter();
                let sessions: Vec<_> = known.map(|found| found.session).collect();
                let read = {
                    let store = store.lock();
                    store.check().and_then(|()| {
                        let seen = overview(settings, &store, &sessions, self.moment())?;
                        Ok((store.counters().totals()?, seen))
                    })
                };
                let failed = |error| self.journal.note_failure(&Err(error));
                let read = read.map_err(failed).ok();
                let journal = read.as_ref().map(|(totals, seen)| (totals, seen));
                let unmatched = self.unmatched.count();
                self.live.unmatched.store(unmatched, Ordering::Relaxed);
                let process = ProcessState {
                    live: &self.live,
                    sessions: sessions.len(),
                    is_journal_up: self.journal.problem().is_none(),
                    reload: self.reloads.state(),
                };
                let families = metric_families(&process, journal);
                exposition::respond(&headers, families.with_labels(settings.labels.pairs()))
            })
            .await
    }

    /// Checks the bearer token of a request.
    ///
    /// Errors: what to answer.
    async fn authorize(
        &self,
        token: &token::TokenFile,
        headers: &HeaderMap,
        refusals: &refusal_log::RefusalLog,
    ) -> Result<(), Response> {
        let token = token.read().await.map_err(|error| {
            tracing::error!("{error}");
            web::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token file cannot be used; see the log\n",
            )
        })?;
        if web::bearer_matches(headers, &token) {
            return Ok(());
        }
        let why = match headers.contains_key(AUTHORIZATION) {
            true => "its bearer token is not the one in the token file (401)",
            false => {
                "it has no bearer token; Alertmanager sends it with http_config.authorization (401)"
            }
        };
        refusals.refused(401, why);
        Err(web::unauthorized())
    }

    async fn webhook(self: Arc<Self>, request: HttpRequest<Incoming>) -> Response {
        if request.method() != Method::POST {
            return web::method_not_allowed(&[Method::POST]);
        }
        let current = self.current();
        let Some(token) = &current.token else {
            return web::text(
                StatusCode::NOT_FOUND,
                "the webhook is off: no --webhook.token-file is configured\n",
            );
        };
        let authorized = self.authorize(token, request.headers(), &self.refusals);
        if let Err(refusal) = authorized.await {
            return refusal;
        }
        let Some(permit) = self.webhooks.try_acquire() else {
            return self.webhooks.refusal();
        };
        let body = match web::read_body(request, webhook::MAX_DELIVERY_BYTES, BODY_TIMEOUT).await {
            Ok(body) => body,
            Err(error) => {
                let response = error.response();
                let status = response.status().as_u16();
                let why = "its body is too long, too slow or broken";
                self.refusals.refused(status, &format!("{why} ({status})"));
                return response;
            }
        };
        let payload = match webhook::parse(&body) {
            Ok(payload) => payload,
            Err(error) => {
                self.refusals.refused(400, &format!("{error} (400)"));
                return web::text(StatusCode::BAD_REQUEST, format!("{error}\n"));
            }
        };
        // In a separate task, so that alerts are recorded even if the client disconnects.
        let remediator = Arc::clone(&self);
        let accepted = self.store.block(move |store| {
            let _permit = permit;
            remediator.accept(&current, store, &payload)
        });
        let Ok(accepted) = self.clock.timeout(ACCEPT_TIMEOUT, accepted).await else {
            tracing::error!("timeout while recording an alert; a file system may hang");
            return web::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "timeout: the alert was not recorded; see the log\n",
            );
        };
        match accepted {
            Ok((queued, others)) => {
                if queued > 0 {
                    self.wake.notify_waiters();
                }
                web::json(
                    StatusCode::ACCEPTED,
                    &json!({"queued": queued, "others": others}),
                )
            }
            Err(error) => {
                tracing::error!("failed to record an alert: {error}");
                web::text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "failed to record the alert; see the log\n",
                )
            }
        }
    }

    /// Now, by all clocks.
    fn moment(&self) -> Moment {
        Moment::of(&self.clock)
    }

    /// Wall time.
    fn now(&self) -> Timestamp {
        Timestamp::of(&self.clock)
    }

    /// One short access to the journal; see [`Context::with_store`].
    async fn with_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> T {
        self.store.call(ask).await
    }

    /// Resumes pending restarts, and queues armed runs when they may run.
    async fn watch_for_ever(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut looking: Option<tokio::task::JoinHandle<()>> = None;
        let mut looked_at: Option<Instant> = None;
        let mut reloaded = self.reloaded.subscribe();
        loop {
            let current = self.current();
            let look_every = current.ctx.settings.armed.look_every;
            let known = current.sessions.look_around().await;
            let is_complete = current.sessions.is_complete();
            let restarts = &current.restarts;
            restarts.resume_pending_restarts(&known, is_complete).await;
            // Slow sources must not delay the start of other bots.
            let is_time = looked_at.is_none_or(|at| self.clock.since(at) >= look_every);
            if is_time
                && looking
                    .as_ref()
                    .is_none_or(tokio::task::JoinHandle::is_finished)
            {
                looked_at = Some(self.clock.now());
                let remediator = Arc::clone(&self);
                looking = Some(tokio::spawn(async move {
                    if let Err(error) = remediator.look_at_armed(&current, &known).await {
                        tracing::error!("{error}");
                    }
                }));
            }
            tokio::select! {
                _ = stopping.changed() => break,
                _ = reloaded.changed() => {}
                () = self.clock.sleep(look_every.min(RESUME_EVERY)) => {}
            }
        }
        if let Some(looking) = looking {
            looking.abort();
        }
        self.current().restarts.leave().await;
    }

    /// Queues the armed runs whose bot is found stopped, and one whose window is open.
    async fn look_at_armed(
        self: &Arc<Self>,
        current: &Arc<Configured>,
        known: &[Found],
    ) -> Result<(), StoreError> {
        let keep_for = current.ctx.settings.armed.keep_for;
        let now = self.moment();
        let armed = self
            .with_store(move |store| {
                let forgotten = store.armed().disarm_forgotten(keep_for, now)?;
                if forgotten > 0 {
                    tracing::info!(
                        forgotten,
                        "dropped armed runs, because their alert was not repeated"
                    );
                }
                let switches = store.pause().state()?;
                let halted = switches.paused.is_some() || switches.breaker.is_some();
                if halted {
                    Ok(Vec::new())
                } else {
                    store.armed().all()
                }
            })
            .await?;
        let mut one_has_a_window = false;
        for armed in armed {
            let Some(found) = known
                .iter()
                .find(|found| found.session.as_str() == armed.session)
            else {
                continue;
            };
            let (current, place, all) = (Arc::clone(current), found.clone(), known.to_vec());
            let connection = current.ctx.connection.clone();
            let may = armed.action == Action::Cleanup && !one_has_a_window;
            let in_window = may
                && self
                    .store
                    .block(move |store| {
                        let restarts = &current.restarts;
                        restarts.window_is_open(store, &place.session, &all)
                    })
                    .await?;
            if !in_window && !is_disconnected(&connection, found).await {
                continue;
            }
            let (session, action) = (armed.session.clone(), armed.action);
            let now = self.moment();
            let queued = self
                .with_store(move |store| store.armed().enqueue(&session, action, now))
                .await?;
            if let Some(id) = queued {
                one_has_a_window |= in_window;
                tracing::info!(
                    id,
                    session = armed.session,
                    in_window,
                    "queued an armed run"
                );
                self.wake.notify_waiters();
            }
        }
        Ok(())
    }
}

async fn is_disconnected(connection: &Connection, found: &Found) -> bool {
    let asked = connection.ask(&found.session).await;
    match runner::look(found).await {
        Ok(inventory) => connection.judge(asked, &inventory).state == State::Disconnected,
        Err(_) => false,
    }
}

/// The lock that `serve` holds on its state directory; `None` if another `serve` holds it.
pub(super) fn lock_state(dir: &Path) -> Result<Option<std::fs::File>, String> {
    let path = dir.join("serve.lock");
    let mut options = std::fs::OpenOptions::new();
    let file = state_file::open(options.create(true).append(true), &path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests;
