//! `serve`: the webhook, the workers behind it, and the sweep of the quarantines.
//!
//! | path | what |
//! |---|---|
//! | `POST /webhook` | Alertmanager's alerts, with the bearer token |
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use exporter_toolkit::exposition;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request as HttpRequest, StatusCode};
use rustix::fs::FlockOperation;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use crate::config::System;
use crate::connection::State;
use crate::folder::discovery::{self, ProblemLog, Skipped};
use crate::folder::{Discovery, Found};
use crate::policy::ladder::Standing;
use crate::state_file;
use exporter_toolkit::{self as web, ConcurrencyLimit, Listeners, Response};

use super::metrics::{Live, metric_families};
use super::overview::overview;
use super::pull::Poller;
use super::quarantine::QuarantineName;
use super::restart::coordinator::RestartCoordinator;
use super::runner::{self, Context, blocking};
use super::store::StoreError;
use super::store::runs::Action;
use super::webhook;

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
/// Discovery runs at most this often, unless a name is unknown.
const SURVEY_FOR: Duration = Duration::from_secs(10);
/// The same before a run, because its name must belong to exactly one folder.
const SURVEY_FOR_A_RUN: Duration = Duration::from_secs(1);
/// Pending restarts are checked at least this often, even if armed runs are checked less often.
const RESUME_EVERY: Duration = Duration::from_secs(60);
/// Time limit for the discovery before pending restarts are resumed.
const LOOK_AROUND_TIMEOUT: Duration = Duration::from_secs(10);

mod check;
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
mod token;
mod work;

pub use self::check::check_settings;

/// The running remediator.
pub struct Remediator {
    ctx: Context,
    restarts: Arc<RestartCoordinator>,
    /// The webhook is off without it.
    token: Option<token::TokenFile>,
    /// No Alertmanager is polled without it.
    poller: Option<Poller>,
    discovery: Mutex<(Discovery, ProblemLog)>,
    known: Mutex<LastSurvey>,
    active: Mutex<HashSet<i64>>,
    due: Mutex<HashMap<(String, QuarantineName), Instant>>,
    /// When the wall clock was last compared with the monotonic clock.
    clock: Mutex<Option<Instant>>,
    /// Bytes in each session's quarantine.
    held: Mutex<HashMap<String, u64>>,
    live: Live,
    /// What the local trigger found at its last evaluation.
    standings: Mutex<Vec<Standing>>,
    pages: page_cache::Pages,
    wake: Notify,
    /// A run is on record as under way, and nobody works on it.
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

/// Another discovery takes very long: a file system may hang.
#[derive(Debug)]
struct Busy;

impl From<Busy> for StoreError {
    fn from(_: Busy) -> Self {
        Self::Unusable("looking for the sessions takes too long; a file system may hang".into())
    }
}

/// What the last discovery found.
#[derive(Default)]
struct LastSurvey {
    found: Vec<Found>,
    /// What was left out.
    skipped: Vec<Skipped>,
    at: Option<Instant>,
}

impl Remediator {
    /// Creates the remediator from this configuration and journal.
    ///
    /// Errors: no usable token file, or another `serve` uses this state directory.
    pub fn new(ctx: Context) -> Result<Self, String> {
        ctx.settings.require_trigger()?;
        let token_file = ctx.settings.token_file.clone();
        let token = token_file.map(token::TokenFile::new).transpose()?;
        let poller = match &ctx.settings.alertmanagers {
            Some(settings) => Some(Poller::new(settings.resolve(&System)?)),
            None => None,
        };
        if let Some(poller) = &poller
            && poller.matches().is_empty()
        {
            tracing::warn!(
                "no alertmanager.match is configured: an alert of another host about a session of the same name would act here; with more than one host set alertmanager.match: {{instance: \"{{hostname}}:10273\"}}"
            );
        }
        if !ctx.connection.has_sources() {
            tracing::warn!(
                "no connection probe is configured: every clean-up will be refused; see --connection.command"
            );
        }
        for problem in ctx.connection.settings.problems() {
            tracing::warn!("{problem}");
        }
        if token.is_some() && ctx.settings.alert_match.is_empty() {
            tracing::warn!(
                "no --webhook.match is configured: an alert from another host for a session of the same name would act here; with more than one host, set --webhook.match=instance=…"
            );
        }
        let mut discovery = ctx.settings.discovery();
        let survey = discovery.survey();
        let state_path = &ctx.settings.state_path;
        let state_lock = lock_state(state_path)?
            .ok_or_else(|| format!("another `serve` uses --state.path {}", state_path.display()))?;
        let refusals = refusal_log::RefusalLog::new(ctx.clock.clone());
        Ok(Self {
            restarts: RestartCoordinator::new(ctx.clone()),
            ctx,
            token,
            poller,
            discovery: Mutex::new((discovery, ProblemLog::default())),
            // A scrape before the first discovery of the watch loop reports these.
            known: Mutex::new(LastSurvey {
                found: survey.found,
                skipped: survey.skipped,
                at: None,
            }),
            active: Mutex::default(),
            due: Mutex::default(),
            clock: Mutex::default(),
            held: Mutex::default(),
            live: Live::default(),
            standings: Mutex::default(),
            pages: page_cache::Pages::default(),
            wake: Notify::new(),
            sweep_now: Notify::new(),
            places: Arc::new(Semaphore::new(WORKERS)),
            webhooks: ConcurrencyLimit::new(MAX_REQUESTS),
            refusals,
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
        tasks.spawn(Arc::clone(&self).sweep_for_ever(stopping));
        let privileges = tokio::spawn(Arc::clone(&self).say_privileges());
        let handler = {
            let remediator = Arc::clone(&self);
            move |request: HttpRequest<Incoming>, _| {
                let remediator = Arc::clone(&remediator);
                async move { remediator.answer(request).await }
            }
        };
        // Alertmanager can send one credential only, and the webhook wants the token.
        let listeners = listeners.into().with_own_credential("/webhook");
        web::serve(listeners, web::ServerLimits::default(), handler, shutdown).await;
        let _ = stop.send(true);
        privileges.abort();
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
            "/" | "/plan" | "/run" | "/metrics" | "/-/healthy" | "/-/ready" if !reads => {
                web::method_not_allowed(&[Method::GET, Method::HEAD])
            }
            path @ ("/" | "/plan" | "/run") => {
                self.page(path, request.uri().query().unwrap_or_default())
                    .await
            }
            "/metrics" => {
                let scrapes = self.scrapes.clone();
                scrapes.run(self.metrics(request.headers().clone())).await
            }
            "/-/healthy" => web::text(StatusCode::OK, "baileys_remediator is healthy.\n"),
            "/-/ready" => self.ready(),
            _ => web::not_found(&["/", "POST /webhook", "/metrics", "/-/healthy", "/-/ready"]),
        }
    }

    async fn metrics(self: Arc<Self>, headers: HeaderMap) -> Response {
        let shared = self.ctx.store.clone();
        let remediator = Arc::clone(&self);
        let _turn = remediator.scrape.lock().await;
        shared
            .block(move |store| {
                let sessions: Vec<_> = self
                    .known_sessions()
                    .into_iter()
                    .map(|found| found.session)
                    .collect();
                let read = {
                    let store = store.lock();
                    store.check().and_then(|()| {
                        let seen =
                            overview(&self.ctx.settings, &store, &sessions, self.ctx.moment())?;
                        Ok((store.counters().totals()?, seen))
                    })
                };
                let failed = |error| self.journal.note_failure(&Err(error));
                let read = read.map_err(failed).ok();
                let journal = read.as_ref().map(|(totals, seen)| (totals, seen));
                let is_up = self.journal.problem().is_none();
                let families = metric_families(&self.live, is_up, journal);
                let labels = self.ctx.settings.labels.pairs();
                exposition::respond(&headers, families.with_labels(labels))
            })
            .await
    }

    async fn webhook(self: Arc<Self>, request: HttpRequest<Incoming>) -> Response {
        if request.method() != Method::POST {
            return web::method_not_allowed(&[Method::POST]);
        }
        let Some(token) = &self.token else {
            return web::text(
                StatusCode::NOT_FOUND,
                "the webhook is off: no --webhook.token-file is configured\n",
            );
        };
        let token = match token.read().await {
            Ok(token) => token,
            Err(error) => {
                tracing::error!("{error}");
                return web::text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the token file cannot be used; see the log\n",
                );
            }
        };
        if !web::bearer_matches(request.headers(), &token) {
            let why = match request.headers().contains_key(AUTHORIZATION) {
                true => "its bearer token is not the one in the token file (401)",
                false => {
                    "it has no bearer token; Alertmanager sends it with http_config.authorization (401)"
                }
            };
            self.refusals.refused(401, why);
            return web::unauthorized();
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
        let store = &self.ctx.store;
        let accepted = store.block(move |store| {
            let _permit = permit;
            remediator.accept(store, &payload)
        });
        let Ok(accepted) = self.ctx.clock.timeout(ACCEPT_TIMEOUT, accepted).await else {
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

    /// The session of this name, if discovery finds one.
    async fn find(self: &Arc<Self>, name: String) -> Result<Option<Found>, Busy> {
        self.find_by(name, SURVEY_FOR).await
    }

    /// Like [`Self::find`]; uses a discovery that is at most `max_age` old.
    async fn find_by(
        self: &Arc<Self>,
        name: String,
        max_age: Duration,
    ) -> Result<Option<Found>, Busy> {
        let remediator = Arc::clone(self);
        blocking(move || remediator.find_now_by(&name, max_age)).await
    }

    /// Like [`Self::find`], but blocks. Runs the discovery again if the name is unknown, or if
    /// the last one is old and no other thread is running one. (On a hung mount it may never
    /// end; then the last result stays in use.)
    fn find_now(&self, name: &str) -> Result<Option<Found>, Busy> {
        self.find_now_by(name, SURVEY_FOR)
    }

    fn find_now_by(&self, name: &str, max_age: Duration) -> Result<Option<Found>, Busy> {
        let known = |max_age: Duration| {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = known
                .at
                .is_some_and(|at| self.ctx.clock.since(at) < max_age);
            (
                known
                    .found
                    .iter()
                    .find(|found| found.session.as_str() == name)
                    .cloned(),
                is_fresh,
            )
        };
        match known(max_age) {
            (Some(found), true) => return Ok(Some(found)),
            (Some(found), false) => match self.discovery.try_lock() {
                Ok(mut discovery) => self.survey(&mut discovery),
                Err(_) => return Ok(Some(found)),
            },
            (None, _) => {
                let Some(mut discovery) = self.discovery_within(Duration::from_secs(5)) else {
                    return Err(Busy);
                };
                // Another thread may have run it meanwhile.
                if !known(Duration::from_secs(1)).1 {
                    self.survey(&mut discovery);
                }
            }
        }
        Ok(known(SURVEY_FOR).0)
    }

    /// The discovery; `None` if another thread uses it for longer than `patience`.
    fn discovery_within(
        &self,
        patience: Duration,
    ) -> Option<MutexGuard<'_, (Discovery, ProblemLog)>> {
        let clock = &self.ctx.clock;
        let began = clock.now();
        loop {
            match self.discovery.try_lock() {
                Ok(discovery) => return Some(discovery),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if clock.since(began) >= patience => return None,
                Err(TryLockError::WouldBlock) => clock.block(Duration::from_millis(20)),
            }
        }
    }

    fn survey(&self, (discovery, problems): &mut (Discovery, ProblemLog)) {
        let survey = discovery.survey();
        let skipped = survey.skipped.iter().map(|skipped| skipped.message.clone());
        problems.report(skipped.chain(survey.passed_over));
        self.live
            .sessions
            .store(survey.found.len() as u64, Ordering::Relaxed);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.found = survey.found;
        known.skipped = survey.skipped;
        known.at = Some(self.ctx.clock.now());
    }

    /// Whether the last discovery found several folders of this name.
    fn is_duplicate(&self, session: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        discovery::duplicate(&known.skipped, session).is_some()
    }

    async fn all_sessions(self: &Arc<Self>) -> Vec<Found> {
        let remediator = Arc::clone(self);
        blocking(move || remediator.all_sessions_now()).await
    }

    fn all_sessions_now(&self) -> Vec<Found> {
        self.survey(
            &mut self
                .discovery
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.known_sessions()
    }

    /// Like [`Self::all_sessions_now`], but returns the last result if another thread is running
    /// the discovery. So on a hung mount one thread waits, not one more every minute.
    fn sessions_unless_busy(&self) -> Vec<Found> {
        match self.discovery.try_lock() {
            Ok(mut discovery) => self.survey(&mut discovery),
            Err(TryLockError::Poisoned(poisoned)) => self.survey(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
        self.known_sessions()
    }

    fn known_sessions(&self) -> Vec<Found> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .found
            .clone()
    }

    /// The sessions; those of the last discovery if it takes long, because a hung file system
    /// must not delay the others.
    async fn look_around(self: &Arc<Self>) -> Vec<Found> {
        let remediator = Arc::clone(self);
        let looked = blocking(move || remediator.sessions_unless_busy());
        match self.ctx.clock.timeout(LOOK_AROUND_TIMEOUT, looked).await {
            Ok(known) => known,
            Err(_) => self.known_sessions(),
        }
    }

    /// Resumes pending restarts, and queues armed runs when they may run.
    async fn watch_for_ever(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        let mut looking: Option<tokio::task::JoinHandle<()>> = None;
        let mut looked_at: Option<Instant> = None;
        let look_every = self.ctx.settings.armed.look_every;
        loop {
            let known = self.look_around().await;
            self.restarts.resume_pending_restarts(&known).await;
            // Slow sources must not delay the start of other bots.
            let is_time = looked_at.is_none_or(|at| self.ctx.clock.since(at) >= look_every);
            if is_time
                && looking
                    .as_ref()
                    .is_none_or(tokio::task::JoinHandle::is_finished)
            {
                looked_at = Some(self.ctx.clock.now());
                let remediator = Arc::clone(&self);
                looking = Some(tokio::spawn(async move {
                    if let Err(error) = remediator.look_at_armed(&known).await {
                        tracing::error!("{error}");
                    }
                }));
            }
            tokio::select! {
                _ = stopping.changed() => break,
                () = self.ctx.clock.sleep(look_every.min(RESUME_EVERY)) => {}
            }
        }
        if let Some(looking) = looking {
            looking.abort();
        }
        self.restarts.leave().await;
    }

    /// Queues the armed runs whose bot is found stopped, and one whose window is open.
    async fn look_at_armed(self: &Arc<Self>, known: &[Found]) -> Result<(), StoreError> {
        let keep_for = self.ctx.settings.armed.keep_for;
        let now = self.ctx.moment();
        let armed = self
            .ctx
            .ask(move |store| {
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
            let (remediator, place, all) = (Arc::clone(self), found.clone(), known.to_vec());
            let may = armed.action == Action::Cleanup && !one_has_a_window;
            let in_window = may
                && self
                    .ctx
                    .store
                    .block(move |store| {
                        remediator
                            .restarts
                            .window_is_open(store, &place.session, &all)
                    })
                    .await?;
            if !in_window && !self.is_disconnected(found).await {
                continue;
            }
            let (session, action) = (armed.session.clone(), armed.action);
            let now = self.ctx.moment();
            let queued = self
                .ctx
                .ask(move |store| store.armed().enqueue(&session, action, now))
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

    async fn is_disconnected(&self, found: &Found) -> bool {
        let connection = &self.ctx.connection;
        let asked = connection.ask(&found.session).await;
        match runner::look(found).await {
            Ok(inventory) => connection.judge(asked, &inventory).state == State::Disconnected,
            Err(_) => false,
        }
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
