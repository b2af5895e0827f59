//! `serve`: the webhook, the workers behind it, and the sweep of the quarantines.
//!
//! | path | what |
//! |---|---|
//! | `POST /webhook` | Alertmanager's alerts, with the bearer token |
//! | `GET /` | a page: the queue, the last runs, what may not be done here |
//! | `GET /plan?session=NAME` | what a clean-up would do; nothing is moved |
//! | `GET /run?id=N` | all that is on record of a run |
//! | `GET /metrics` | the metrics |
//! | `GET /-/healthy` | 200 while the process serves |
//! | `GET /-/ready` | 200 once what a restart cut short has been dealt with |

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use exporter_toolkit::exposition;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::{Method, Request as HttpRequest, StatusCode};
use rustix::fs::FlockOperation;
use serde_json::json;
use tokio::sync::Notify;

use crate::connection::{Connection, State, Verdict};
use crate::control::{self, Presence};
use crate::folder::discovery::ProblemLog;
use crate::folder::{Discovery, Found, Timestamp};
use crate::policy::guard::CleanupMode;
use crate::policy::{self, CleanRequest, Plan, StopInputs, StopRefusal, Tier, may_stop};
use exporter_toolkit::{self as web, ConcurrencyLimit, Listeners, Response};

use super::insurance::store::CopyStore;
use super::insurance::watch::{Deletes, Watch};
use super::metrics::{Live, metric_families};
use super::outcome::{RunError, RunOutcome, RunResult};
use super::overview::overview;
use super::quarantine::{LockedFolder, RunId, StoredState, is_due, quarantined_bytes};
use super::restart::budget;
use super::restart::coordinator::{RestartCoordinator, RestartResult};
use super::restart::state::Trigger;
use super::runner::{self, Context, blocking};
use super::store::audit::Step;
use super::store::queue::{Accepted, Request};
use super::store::runs::{Action, Ending, Run};
use super::store::{BlockingStore, StoreError};
use super::webhook::{self, Payload};

pub(super) use self::token::MAX_TOKEN_BYTES;

/// Runs under way at the same time; never two on one session.
const WORKERS: usize = 4;
/// Requests to the webhook at the same time; more get 503.
const MAX_REQUESTS: usize = 64;
/// Scrapes at the same time; more get 503.
const MAX_SCRAPES: usize = 8;
/// A body must be complete within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// An alert must be put on record within this time, or the answer is 503.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The directories are looked through again at most this often, unless a name is unknown.
const SURVEY_FOR: Duration = Duration::from_secs(10);
/// Pending restarts are looked at at least this often, however seldom armed runs are.
const RESUME_EVERY: Duration = Duration::from_secs(60);
/// How often the quarantines are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How often all sources are asked about all sessions, so that it is on record who was
/// seen alive before anybody has to act.
const ROLL_CALL_EVERY: Duration = Duration::from_secs(600);
/// Sessions that are asked about at the same time.
const ROLL_CALL_AT_ONCE: usize = 16;
/// An answer of the roll call that holds for many sessions may be this old.
const ROLL_CALL_SHARES_FOR: Duration = Duration::from_secs(10);
/// Looking for what a crash left in one folder, its probes included, takes no longer.
const RECOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// Looking around takes no longer, where somebody waits to be started.
const LOOK_AROUND_TIMEOUT: Duration = Duration::from_secs(10);
/// A run must have been due for deletion for this long by the monotonic clock before it
/// is deleted: a wall clock that jumped ahead must not cost anybody their undo.
const DUE_FOR: Duration = Duration::from_secs(6 * 3_600);
/// A folder that could not be looked at for what a crash left is looked at again.
const RECOVER_AGAIN: Duration = Duration::from_secs(5);

mod pages;
mod token;

/// The running remediator.
pub struct Service {
    ctx: Context,
    restarts: Arc<RestartCoordinator>,
    token: token::TokenFile,
    discovery: Mutex<(Discovery, ProblemLog)>,
    known: Mutex<KnownSessions>,
    active: Mutex<HashSet<i64>>,
    due: Mutex<HashMap<(String, RunId), Instant>>,
    /// When the clock on the wall was last held against one that nobody sets.
    clock: Mutex<Option<Instant>>,
    /// Bytes in each session's quarantine.
    held: Mutex<HashMap<String, u64>>,
    live: Live,
    pages: pages::Pages,
    wake: Notify,
    webhooks: ConcurrencyLimit,
    scrapes: ConcurrencyLimit,
    recovered: AtomicBool,
    _state_lock: std::fs::File,
}

/// What became of a run that was taken.
#[derive(Debug)]
enum Performed {
    /// It ended.
    Ended(RunResult),
    /// It waits again: its service is being stopped or started.
    Waits,
}

/// Why a run waits again, for its record.
const WAITS: &str = "its service was being stopped or started, or another run was under way on it";

/// Somebody has been looking around for long: a file system may hang.
#[derive(Debug)]
struct Busy;

impl From<Busy> for StoreError {
    fn from(_: Busy) -> Self {
        Self::Unusable("looking for the sessions takes too long; a file system may hang".into())
    }
}

/// What the last look around found.
#[derive(Default)]
struct KnownSessions {
    found: Vec<Found>,
    at: Option<Instant>,
}

impl Service {
    /// A service over this configuration and journal.
    ///
    /// Errors: no usable token file, or another `serve` has this state directory.
    pub fn new(ctx: Context) -> Result<Self, String> {
        let token_file = ctx.settings.token_file.clone().ok_or(
            "--webhook.token-file is missing: it holds the bearer token that Alertmanager sends; make one with: (umask 077; head -c 32 /dev/urandom | base64 > webhook.token)",
        )?;
        let token = token::TokenFile::new(token_file)?;
        if !ctx.settings.connection.has_sources() {
            tracing::warn!(
                "no connection probe is configured: every clean-up will be refused; see --connection.command"
            );
        }
        if ctx.settings.alert_match.is_empty() {
            tracing::warn!(
                "no --webhook.match is configured: an alert of another host about a session of the same name would act here; with more than one host set --webhook.match=instance=…"
            );
        }
        let mut discovery = ctx.settings.discovery();
        let survey = discovery.survey();
        if let Some(hint) = survey.duplicate() {
            return Err(hint.to_owned());
        }
        let state_lock = lock_state(&ctx.settings.state_path)?;
        Ok(Self {
            restarts: RestartCoordinator::new(ctx.clone()),
            ctx,
            token,
            discovery: Mutex::new((discovery, ProblemLog::default())),
            // A scrape that comes before the first look around tells of these.
            known: Mutex::new(KnownSessions {
                found: survey.found,
                at: None,
            }),
            active: Mutex::default(),
            due: Mutex::default(),
            clock: Mutex::default(),
            held: Mutex::default(),
            live: Live::default(),
            pages: pages::Pages::default(),
            wake: Notify::new(),
            webhooks: ConcurrencyLimit::new(MAX_REQUESTS),
            scrapes: ConcurrencyLimit::new(MAX_SCRAPES),
            recovered: AtomicBool::new(false),
            _state_lock: state_lock,
        })
    }

    /// Ends what a crash left, then serves until `shutdown` resolves; runs that are under
    /// way are waited for.
    pub async fn serve(
        self: Arc<Self>,
        listeners: impl Into<Listeners>,
        shutdown: impl Future<Output = ()>,
    ) {
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let mut tasks = tokio::task::JoinSet::new();
        // First: what a crash left stopped is started.
        tasks.spawn(Arc::clone(&self).watch_for_ever(stopping.clone()));
        for _ in 0..WORKERS {
            tasks.spawn(Arc::clone(&self).work(stopping.clone()));
        }
        tasks.spawn(Arc::clone(&self).roll_call_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).insure_for_ever(stopping.clone()));
        tasks.spawn(Arc::clone(&self).sweep_for_ever(stopping));
        let privileges = tokio::spawn(Arc::clone(&self).say_privileges());
        let handler = {
            let service = Arc::clone(&self);
            move |request: HttpRequest<Incoming>, _| {
                let service = Arc::clone(&service);
                async move { service.answer(request).await }
            }
        };
        // Alertmanager can send one credential only, and the webhook wants the token.
        let listeners = listeners.into().with_own_credential("/webhook");
        web::serve(listeners, web::Limits::default(), handler, shutdown).await;
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
            "/-/ready" if self.recovered.load(Ordering::Relaxed) => {
                web::text(StatusCode::OK, "baileys_remediator is ready.\n")
            }
            "/-/ready" => web::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "baileys_remediator is still looking for runs that a restart cut short.\n",
            ),
            _ => web::not_found(&["/", "POST /webhook", "/metrics", "/-/healthy", "/-/ready"]),
        }
    }

    async fn metrics(self: Arc<Self>, headers: HeaderMap) -> Response {
        let shared = self.ctx.store.clone();
        shared
            .block(move |store| {
                let sessions: Vec<_> = self
                    .known_sessions()
                    .into_iter()
                    .map(|found| found.session)
                    .collect();
                let read = {
                    let store = store.lock();
                    let seen = overview(&self.ctx.settings, &store, &sessions, Timestamp::now());
                    store
                        .counters()
                        .totals()
                        .and_then(|totals| Ok((totals, seen?)))
                };
                match read {
                    Ok((totals, seen)) => {
                        exposition::respond(&headers, metric_families(&self.live, &totals, &seen))
                    }
                    Err(error) => {
                        tracing::error!("metrics: {error}");
                        web::text(
                            StatusCode::SERVICE_UNAVAILABLE,
                            "the journal cannot be read; see the log\n",
                        )
                    }
                }
            })
            .await
    }

    async fn webhook(self: Arc<Self>, request: HttpRequest<Incoming>) -> Response {
        if request.method() != Method::POST {
            return web::method_not_allowed(&[Method::POST]);
        }
        let token = match self.token.read().await {
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
            return web::unauthorized();
        }
        let Some(permit) = self.webhooks.try_acquire() else {
            return self.webhooks.refusal();
        };
        let body = match web::read_body(request, webhook::MAX_BODY_BYTES, BODY_TIMEOUT).await {
            Ok(body) => body,
            Err(error) => return error.response(),
        };
        let payload = match webhook::parse(&body) {
            Ok(payload) => payload,
            Err(error) => return web::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        // In a task of its own: what is accepted is put on record even when the client goes away.
        let service = Arc::clone(&self);
        let store = &self.ctx.store;
        let accepted = store.block(move |store| {
            let _permit = permit;
            service.accept(store, &payload)
        });
        let Ok(accepted) = tokio::time::timeout(ACCEPT_TIMEOUT, accepted).await else {
            tracing::error!("an alert could not be put on record in time; a file system may hang");
            return web::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not put on record in time; see the log\n",
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
                tracing::error!("an alert could not be put on record: {error}");
                web::text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the alert could not be put on record; see the log\n",
                )
            }
        }
    }

    fn accept(
        &self,
        store: &BlockingStore<'_>,
        payload: &Payload,
    ) -> Result<(usize, usize), StoreError> {
        if payload.truncated > 0 {
            self.live
                .truncated
                .fetch_add(payload.truncated, Ordering::Relaxed);
            tracing::warn!(
                alerts = payload.truncated,
                receiver = payload.via().receiver,
                "Alertmanager truncated its request: these alerts did not arrive; remove max_alerts from the receiver"
            );
        }
        let (mut wanted, mut unknown, via) = (Vec::new(), Vec::new(), payload.via());
        let matches = &self.ctx.settings.alert_match;
        for over in payload
            .alerts
            .iter()
            .filter_map(|alert| webhook::resolved(alert, matches))
        {
            if store.lock().armed().disarm(&over.session, over.action)? {
                tracing::info!(
                    session = over.session,
                    action = over.action.label(),
                    "its alert has resolved: disarmed"
                );
            }
        }
        for alert in &payload.alerts {
            match webhook::request(alert, &self.ctx.settings.alert_match) {
                Ok(request) if self.find_now(&request.session)?.is_some() => {
                    wanted.push(Request {
                        via: via.clone(),
                        ..request
                    });
                }
                Ok(request) => {
                    tracing::warn!(
                        action = request.action.label(),
                        "an alert names a session that is not here; see --sessions.path and --webhook.match"
                    );
                    self.live.alert("unknown_session");
                    unknown.push(request);
                }
                Err(ignored) => self.live.alert(ignored.label()),
            }
        }
        if !unknown.is_empty() {
            store
                .lock()
                .unstarted()
                .add_unknown(&unknown, Timestamp::now())?;
        }
        let accepted = {
            let (store, now) = (store.lock(), Timestamp::now());
            store.atomic(|| {
                let accepted = store.queue().accept(&wanted, now)?;
                store.armed().repeated(&wanted, now)?;
                Ok::<_, StoreError>(accepted)
            })?
        };
        let mut queued = 0;
        for (request, accepted) in wanted.iter().zip(accepted) {
            self.live.alert(accepted.label());
            if let Accepted::Queued(id) = accepted {
                queued += 1;
                tracing::info!(
                    id,
                    session = request.session,
                    action = request.action.label(),
                    "accepted"
                );
            }
        }
        Ok((queued, payload.alerts.len() - queued))
    }

    /// The session of this name, if discovery finds one.
    async fn find(self: &Arc<Self>, name: String) -> Result<Option<Found>, Busy> {
        let service = Arc::clone(self);
        blocking(move || service.find_now(&name)).await
    }

    /// The same; blocks. Looks around again where the name is not known, or where the last
    /// look is old and nobody else is looking (on a hung mount that may take for ever, and
    /// what is known goes on being known).
    fn find_now(&self, name: &str) -> Result<Option<Found>, Busy> {
        let known = |max_age: Duration| {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = known.at.is_some_and(|at| at.elapsed() < max_age);
            (
                known
                    .found
                    .iter()
                    .find(|found| found.session.as_str() == name)
                    .cloned(),
                is_fresh,
            )
        };
        match known(SURVEY_FOR) {
            (Some(found), true) => return Ok(Some(found)),
            (Some(found), false) => match self.discovery.try_lock() {
                Ok(mut discovery) => self.survey(&mut discovery),
                Err(_) => return Ok(Some(found)),
            },
            (None, _) => {
                let Some(mut discovery) = self.discovery_within(Duration::from_secs(5)) else {
                    return Err(Busy);
                };
                // Somebody may have looked while we waited.
                if !known(Duration::from_secs(1)).1 {
                    self.survey(&mut discovery);
                }
            }
        }
        Ok(known(SURVEY_FOR).0)
    }

    /// The discovery, unless somebody has looked around with it for that long.
    fn discovery_within(
        &self,
        patience: Duration,
    ) -> Option<MutexGuard<'_, (Discovery, ProblemLog)>> {
        let began = Instant::now();
        loop {
            match self.discovery.try_lock() {
                Ok(discovery) => return Some(discovery),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn survey(&self, (discovery, problems): &mut (Discovery, ProblemLog)) {
        let survey = discovery.survey();
        problems.report(survey.skipped.iter().map(|skipped| skipped.message.clone()));
        self.live
            .sessions
            .store(survey.found.len() as u64, Ordering::Relaxed);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.found = survey.found;
        known.at = Some(Instant::now());
    }

    async fn all_sessions(self: &Arc<Self>) -> Vec<Found> {
        let service = Arc::clone(self);
        blocking(move || service.all_sessions_now()).await
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

    /// The same, and where somebody looks around already, what is known: on a mount that
    /// hangs, one thread waits and not one more a minute.
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

    /// Takes runs until told to stop; a run that has begun is taken to its end.
    async fn work(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        loop {
            if *stopping.borrow() {
                return;
            }
            let woken = self.wake.notified();
            let service = Arc::clone(&self);
            let next = self
                .ctx
                .store
                .block(move |store| {
                    let busy = service
                        .restarts
                        .busy_sessions(store, &service.known_sessions())?;
                    // Active before anybody can take it for a leftover.
                    let mut active = service
                        .active
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    let next = store.lock().queue().take(Timestamp::now(), &busy);
                    if let Ok(Some(run)) = &next {
                        active.insert(run.id);
                    }
                    next
                })
                .await;
            match next {
                Ok(Some(run)) => {
                    let id = run.id;
                    // In a task of its own: should it panic, the worker and the others go on,
                    // and the next sweep ends what it left.
                    let service = Arc::clone(&self);
                    if let Err(error) =
                        tokio::spawn(async move { service.perform(&run).await }).await
                    {
                        tracing::error!(id, "a run broke off: {error}");
                    }
                    self.active
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&id);
                    self.wake.notify_waiters();
                }
                other => {
                    if let Err(error) = other {
                        tracing::error!("{error}");
                    }
                    tokio::select! {
                        () = woken => {}
                        // A second way to wake up, should a notification have come too early.
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                        _ = stopping.changed() => {}
                    }
                }
            }
        }
    }

    async fn perform(self: &Arc<Self>, run: &Run) {
        let mut ending = Ending::default();
        match self.perform_inner(run, &mut ending).await {
            Performed::Waits => {
                let id = run.id;
                let requeued = self
                    .ctx
                    .ask(move |journal| journal.queue().requeue(id, WAITS))
                    .await;
                if let Err(error) = requeued {
                    tracing::error!(id, "{error}");
                }
            }
            Performed::Ended(result) => runner::end(&self.ctx, run, result, ending).await,
        }
    }

    async fn perform_inner(self: &Arc<Self>, run: &Run, ending: &mut Ending) -> Performed {
        match run.action {
            Action::Cleanup | Action::Emergency => match self.clean(run, ending).await {
                Ok(performed) => performed,
                Err(error) => Performed::Ended(Err(error)),
            },
            Action::Plan => Performed::Ended(self.plan(run, ending).await),
            // Never accepted from an alert.
            Action::Undo | Action::Restore => Performed::Ended(Err(RunError::OperatorOnly)),
        }
    }

    /// The session of this run.
    async fn session_of(self: &Arc<Self>, run: &Run) -> Result<Found, RunError> {
        match self.find(run.session.clone()).await {
            Ok(Some(found)) => Ok(found),
            _ => Err(RunError::UnknownSession),
        }
    }

    async fn plan(self: &Arc<Self>, run: &Run, ending: &mut Ending) -> RunResult {
        let found = self.session_of(run).await?;
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: run.tier.as_deref().and_then(Tier::from_label),
            force: None,
        };
        let (verdict, plan) = runner::preview(&self.ctx.settings, &found, ask).await;
        ending.evidence = Some(verdict.because());
        ending.step(Step::verdict(&verdict, false));
        let plan = plan?;
        ending.step(Step::plan(&plan));
        ending.files = plan.by_kind();
        ending.accumulated = Some((plan.accumulated_before, plan.accumulated_after));
        ending.note = Some(RunOutcome::Planned.to_string());
        Ok(RunOutcome::Planned)
    }

    async fn clean(
        self: &Arc<Self>,
        run: &Run,
        ending: &mut Ending,
    ) -> Result<Performed, RunError> {
        let found = self.session_of(run).await?;
        let tier = run.tier.as_deref().and_then(Tier::from_label);
        let mut ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier,
            force: None,
        };
        let known = self.known_sessions();
        let sessions = known.iter().map(|found| &found.session);
        let service = self.ctx.settings.services.among(&found.session, sessions);
        if run.action == Action::Emergency {
            match service {
                Some(_) => ask.mode = CleanupMode::Emergency,
                None => ending.note = Some("restart not allowed by the configuration".into()),
            }
        }
        let way = match service {
            Some(_) => self.way(run, &found).await?,
            None => None,
        };
        self.not_halted(&found, ask, service.as_ref().zip(way), ending)
            .await?;
        if let (Some(service), Some(way)) = (service, way) {
            let result = self
                .restarts
                .run(run, &found, service, way, &known, ending)
                .await;
            match result {
                RestartResult::Busy => return Ok(Performed::Waits),
                RestartResult::Ended(result) => {
                    self.measure_quarantines().await;
                    return Ok(Performed::Ended(result));
                }
                RestartResult::NeedsNoStop => {}
            }
        }
        let cleaned = runner::clean(&self.ctx, run.id, &found, ask, ending).await?;
        self.measure_quarantine(found).await;
        Ok(Performed::Ended(Ok(cleaned)))
    }

    /// What would let this run stop the bot, if anything.
    async fn way(self: &Arc<Self>, run: &Run, found: &Found) -> Result<Option<Trigger>, RunError> {
        if run.action == Action::Emergency {
            return Ok(Some(Trigger::Emergency));
        }
        let (service, found, action) = (Arc::clone(self), found.clone(), run.action);
        let open = self.ctx.store.block(move |store| {
            let armed = store
                .lock()
                .armed()
                .contains(found.session.as_str(), action)?;
            let known = service.known_sessions();
            Ok(armed
                && service.restarts.window_is_open(
                    store,
                    &found.session,
                    &known,
                    Timestamp::now(),
                )?)
        });
        let open: Result<bool, StoreError> = open.await;
        Ok(open?.then_some(Trigger::Window))
    }

    /// Refuses while all action is halted, and records what would have been done: by the
    /// questions that a run is asked which is not halted, up to its first move or stop.
    async fn not_halted(
        &self,
        found: &Found,
        ask: CleanRequest,
        stop: Option<(&control::Service, Trigger)>,
        ending: &mut Ending,
    ) -> Result<(), RunError> {
        let switches = self.ctx.ask(|store| store.pause().state()).await?;
        let hold = match (switches.paused, switches.breaker) {
            (Some(_), _) => StopRefusal::Paused,
            (None, Some(_)) => StopRefusal::BreakerOpen,
            (None, None) => return Ok(()),
        };
        ending.note = Some(match self.would_be_done(found, ask, stop, ending).await {
            Ok(plan) => {
                ending.files = plan.by_kind();
                ending.accumulated = Some((plan.accumulated_before, plan.accumulated_after));
                "halted: the files are those that would have been moved".into()
            }
            Err(reason) => format!("halted; it would have been refused as {reason}"),
        });
        Err(hold.into())
    }

    /// What a run would do, or the reason for which it would be refused. Takes no lock.
    async fn would_be_done(
        &self,
        found: &Found,
        ask: CleanRequest,
        stop: Option<(&control::Service, Trigger)>,
        ending: &mut Ending,
    ) -> Result<Plan, &'static str> {
        let settings = &self.ctx.settings;
        let asked = settings.connection.ask(&found.session).await;
        let logged_out = asked.logged_out();
        let presence = match stop {
            Some((service, _)) => Some(service.presence().await),
            None => None,
        };
        let inventory = match runner::look(found).await {
            Ok(inventory) => inventory,
            Err(stop) => {
                ending.evidence =
                    Some(Verdict::unknown("folder", "it could not be looked at").because());
                return Err(stop.label());
            }
        };
        let verdict = settings.connection.judge(asked, &inventory);
        ending.evidence = Some(verdict.because());
        let limits = settings.limits(&found.session);
        let live = runner::count(&inventory, &limits);
        ending.accumulated = Some((live, live));
        let now = Timestamp::now();
        let is_disconnected = verdict.state == State::Disconnected;
        let service = match (stop, presence) {
            (Some((service, way)), Some(Presence::Running))
                if way == Trigger::Emergency || !is_disconnected =>
            {
                service
            }
            (Some(_), Some(Presence::Unknown(why))) if !is_disconnected => {
                return Err(StopRefusal::ServiceUnknown(why).label());
            }
            // Nobody need be stopped.
            _ => {
                let plan = policy::decide(&inventory, &verdict, now, &limits, &ask);
                return plan.map_err(|refusal| refusal.label());
            }
        };
        let stops = self
            .ctx
            .ask(move |store| store.restarts().stops(now))
            .await
            .map_err(|_| "journal")?;
        let before = StopInputs {
            inventory: &inventory,
            verdict: &verdict,
            logged_out,
            limits: &limits,
            mode: ask.mode,
            tier: ask.tier.unwrap_or(Tier::Emergency),
            service: &budget(service, &stops),
        };
        may_stop(&before, now).map_err(|hold| hold.label())
    }

    /// Starts what a crash left stopped, and gives armed runs their moment.
    async fn watch_for_ever(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        let mut looking: Option<tokio::task::JoinHandle<()>> = None;
        let mut looked_at: Option<Instant> = None;
        let look_every = self.ctx.settings.armed.look_every;
        loop {
            // A file system that hangs keeps nobody from being started.
            let service = Arc::clone(&self);
            let looked = blocking(move || service.sessions_unless_busy());
            let known = match tokio::time::timeout(LOOK_AROUND_TIMEOUT, looked).await {
                Ok(known) => known,
                Err(_) => self.known_sessions(),
            };
            self.restarts.resume_pending_restarts(&known).await;
            // Sources that answer slowly keep nobody from being started.
            let is_time = looked_at.is_none_or(|at| at.elapsed() >= look_every);
            if is_time
                && looking
                    .as_ref()
                    .is_none_or(tokio::task::JoinHandle::is_finished)
            {
                looked_at = Some(Instant::now());
                let service = Arc::clone(&self);
                looking = Some(tokio::spawn(async move {
                    if let Err(error) = service.look_at_armed(&known).await {
                        tracing::error!("{error}");
                    }
                }));
            }
            tokio::select! {
                _ = stopping.changed() => break,
                () = tokio::time::sleep(look_every.min(RESUME_EVERY)) => {}
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
        let armed = self
            .ctx
            .ask(move |store| {
                let forgotten = store.armed().disarm_forgotten(keep_for, Timestamp::now())?;
                if forgotten > 0 {
                    tracing::info!(
                        forgotten,
                        "armed runs were dropped: their alert was not repeated"
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
            let (service, place, all) = (Arc::clone(self), found.clone(), known.to_vec());
            let may = armed.action == Action::Cleanup && !one_has_a_window;
            let in_window = may
                && self
                    .ctx
                    .store
                    .block(move |store| {
                        service.restarts.window_is_open(
                            store,
                            &place.session,
                            &all,
                            Timestamp::now(),
                        )
                    })
                    .await?;
            if !in_window && !self.is_disconnected(found).await {
                continue;
            }
            let (session, action) = (armed.session.clone(), armed.action);
            let queued = self
                .ctx
                .ask(move |store| store.armed().enqueue(&session, action, Timestamp::now()))
                .await?;
            if let Some(id) = queued {
                one_has_a_window |= in_window;
                tracing::info!(
                    id,
                    session = armed.session,
                    in_window,
                    "an armed run was queued"
                );
                self.wake.notify_waiters();
            }
        }
        Ok(())
    }

    async fn is_disconnected(&self, found: &Found) -> bool {
        let connection = &self.ctx.settings.connection;
        let asked = connection.ask(&found.session).await;
        match runner::look(found).await {
            Ok(inventory) => connection.judge(asked, &inventory).state == State::Disconnected,
            Err(_) => false,
        }
    }

    /// Ends what a crash left: in the folders, then in the journal. `false`: a folder was
    /// left alone, for its service is on its way up or a run is under way there.
    async fn recover(self: &Arc<Self>) -> bool {
        let (mut busy, mut all) = (HashSet::new(), true);
        for found in self.all_sessions().await {
            let recovered =
                tokio::time::timeout(RECOVER_TIMEOUT, runner::recover(&self.ctx, &found)).await;
            match recovered {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    all = false;
                    busy.insert(found.session.to_string());
                }
                Ok(Err(stop)) => {
                    tracing::error!(session = %found.session, "looking for interrupted runs: {stop}");
                }
                Err(_) => {
                    tracing::error!(session = %found.session, "looking for interrupted runs took too long");
                    busy.insert(found.session.to_string());
                }
            }
        }
        let service = Arc::clone(self);
        let looked = self.ctx.store.block(move |store| {
            let orphans = store.lock().runs().orphans()?;
            // Asked after the journal: a run of ours that it named is active, or has ended
            // since, and what has ended is not ended again.
            let mut active = service
                .active
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            active.extend(service.restarts.claimed().iter());
            Ok::<_, StoreError>((orphans, active))
        });
        let (orphans, active) = looked.await.unwrap_or_else(|error| {
            tracing::error!("{error}");
            (Vec::new(), HashSet::new())
        });
        for orphan in orphans {
            if active.contains(&orphan.id) || busy.contains(&orphan.session) {
                continue;
            }
            if let Err(stop) = runner::end_orphan(&self.ctx, orphan, self.known_sessions()).await {
                tracing::error!("ending a run from before the restart: {stop}");
            }
        }
        self.wake.notify_waiters();
        self.measure_quarantines().await;
        all
    }

    async fn sweep_for_ever(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        // What a crash left is dealt with first, while requests are already taken: a session
        // with a run from before the restart waits for it.
        let mut wait = Duration::ZERO;
        let mut swept: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = tokio::select! {
                _ = stopping.changed() => return,
                all = self.recover() => if all { SWEEP_EVERY } else { RECOVER_AGAIN },
            };
            self.recovered.store(true, Ordering::Relaxed);
            if swept.is_some_and(|at| at.elapsed() < SWEEP_EVERY) {
                continue;
            }
            swept = Some(Instant::now());
            let service = Arc::clone(&self);
            let store = &self.ctx.store;
            store
                .block(move |store| {
                    if let Err(error) =
                        service.empty_quarantines(store, Timestamp::now(), Instant::now())
                    {
                        tracing::error!("{error}");
                    }
                })
                .await;
            if let Err(error) = self.ctx.ask(|store| store.prune(Timestamp::now())).await {
                tracing::error!("{error}");
            }
        }
    }

    /// Keeps copies of each creds.json; see [`super::insurance`].
    async fn insure_for_ever(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        let settings = &self.ctx.settings;
        let store = CopyStore::new(&settings.state_path);
        let watch = Arc::new(Watch::new(store, settings.insurance, settings.retention));
        loop {
            let found = self.all_sessions().await;
            let service = Arc::clone(&self);
            let deletes = self.ctx.store.block(move |store| {
                let now = Timestamp::now();
                // Where nobody can tell, everything stays.
                service
                    .deletes(store, now, Instant::now())
                    .unwrap_or_else(|error| {
                        tracing::error!("{error}");
                        Deletes {
                            since: now,
                            paused: true,
                        }
                    })
            });
            let deletes = deletes.await;
            tokio::select! {
                _ = stopping.changed() => return,
                report = watch.look_at_all(found, deletes) => self.live.insured(report),
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
        }
    }

    async fn roll_call_for_ever(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        if !self.ctx.settings.connection.has_sources() {
            return;
        }
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.roll_call() => {}
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = tokio::time::sleep(ROLL_CALL_EVERY) => {}
            }
        }
    }

    /// Asks about every session; that is all, for to ask is to remember who is alive.
    async fn roll_call(self: &Arc<Self>) {
        let connection = Connection {
            share_for: ROLL_CALL_SHARES_FOR,
            ..self.ctx.settings.connection.clone()
        };
        let connection = Arc::new(connection);
        let mut asked = tokio::task::JoinSet::new();
        for found in self.all_sessions().await {
            if asked.len() >= ROLL_CALL_AT_ONCE {
                asked.join_next().await;
            }
            let connection = Arc::clone(&connection);
            asked.spawn(async move {
                connection.ask(&found.session).await;
            });
        }
        while asked.join_next().await.is_some() {}
    }

    /// Deletes what is over by both clocks; nothing under a pause.
    fn empty_quarantines(
        &self,
        store: &BlockingStore<'_>,
        now: Timestamp,
        clock: Instant,
    ) -> Result<(), StoreError> {
        let deletes = self.deletes(store, now, clock)?;
        if !deletes.paused {
            self.purge(store, now, clock, deletes.since);
        }
        Ok(())
    }

    /// Whether anything may be deleted, and since when the clock is to be believed.
    fn deletes(
        &self,
        store: &BlockingStore<'_>,
        now: Timestamp,
        clock: Instant,
    ) -> Result<Deletes, StoreError> {
        let mut last = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = last
            .replace(clock)
            .map(|before| clock.saturating_duration_since(before));
        let store = store.lock();
        let since = store.clock().runs_since(now, passed)?;
        Ok(Deletes {
            since,
            paused: store.pause().state()?.paused.is_some(),
        })
    }

    /// Deletes runs whose retention has ended, and has been seen to have ended for
    /// [`DUE_FOR`]. It begins anew with each leap of the clock on the wall: what a run was
    /// dated by before may have been wrong.
    fn purge(&self, store: &BlockingStore<'_>, now: Timestamp, clock: Instant, since: Timestamp) {
        let retention = self.ctx.settings.retention;
        let mut due = HashMap::new();
        let mut seen = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        for found in self.all_sessions_now() {
            let Ok(folder) = LockedFolder::lock(&found.place) else {
                continue;
            };
            for stored in folder.stored().unwrap_or_default() {
                let begins_anew =
                    stored.state != StoredState::Purging && since.plus(retention) >= now;
                if begins_anew || !is_due(&stored.state, now, retention) {
                    continue;
                }
                let key = (found.session.to_string(), stored.run.clone());
                let since = seen.get(&key).copied().unwrap_or(clock);
                if clock.saturating_duration_since(since) < DUE_FOR {
                    due.insert(key, since);
                    continue;
                }
                match folder.purge(&stored.run, now, retention) {
                    Ok(true) => {
                        tracing::info!(session = %found.session, run = %stored.run, files = stored.files, "retention ended, files deleted");
                        let store = store.lock();
                        let deleted = store.audit().files_deleted(stored.run.as_str(), now);
                        if let Err(error) = store.counters().purged(1).and(deleted) {
                            tracing::error!("{error}");
                        }
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(session = %found.session, run = %stored.run, "{error}")
                    }
                }
            }
        }
        *seen = due;
    }

    async fn measure_quarantines(&self) {
        let sessions = self.known_sessions();
        let held = blocking(move || {
            let bytes = |found: &Found| quarantined_bytes(&found.place).ok();
            sessions
                .iter()
                .filter_map(|found| Some((found.session.to_string(), bytes(found)?)))
                .collect()
        })
        .await;
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *all = held;
        self.live
            .quarantined
            .store(all.values().sum(), Ordering::Relaxed);
    }

    /// After a run only its own: with many sessions, all of them would take longer than it.
    async fn measure_quarantine(&self, found: Found) {
        let session = found.session.to_string();
        let Ok(bytes) = blocking(move || quarantined_bytes(&found.place)).await else {
            return;
        };
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(session, bytes);
        self.live
            .quarantined
            .store(all.values().sum(), Ordering::Relaxed);
    }
}

/// Reads the token; spaces and line ends around it do not count.
pub(super) fn lock_state(dir: &Path) -> Result<std::fs::File, String> {
    let path = dir.join("serve.lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(format!(
            "another `serve` uses --state.path {}",
            dir.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CommonFlags, RemediatorFlags, Settings};
    use crate::connection::State;
    use crate::folder::Source;
    use crate::remediator::console::context;
    use crate::remediator::store::runs::Status;
    use std::ffi::OsStr;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const DAY: Duration = Duration::from_secs(86_400);

    /// A service over one small bot whose clean-up moves one session of 40 days ago.
    fn service(dir: &Path) -> Service {
        let bot = dir.join("sessions/bot");
        std::fs::create_dir_all(&bot).unwrap();
        std::fs::write(
            bot.join("creds.json"),
            r#"{"noiseKey":{},"nextPreKeyId":31}"#,
        )
        .unwrap();
        for days in [1, 5, 40] {
            let path = bot.join(format!("session-{days}.0.json"));
            std::fs::write(&path, r#"{"_sessions":{},"version":"v1"}"#).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::now() - DAY * days)
                .unwrap();
        }
        let token = dir.join("token");
        std::fs::write(&token, "0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let common = CommonFlags {
            sessions_path: vec![Source::parse(OsStr::new(&dir.join("sessions"))).unwrap()],
            connection_command: Some("echo disconnected".into()),
            connection_quiet: Some(Duration::ZERO),
            connection_trust: vec!["*".into()],
            ..CommonFlags::default()
        };
        let remediator = RemediatorFlags {
            webhook_token_file: Some(token),
            state_path: Some(dir.join("state")),
            ..RemediatorFlags::default()
        };
        Service::new(context(Settings::load(&common, &remediator).unwrap()).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn retention_needs_both_clocks() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let found = service.find_now("bot").unwrap().unwrap();
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: None,
            force: None,
        };
        let mut ending = Ending::default();
        runner::clean(&service.ctx, 1, &found, ask, &mut ending)
            .await
            .unwrap();
        let held = || {
            LockedFolder::lock(&found.place)
                .unwrap()
                .stored()
                .unwrap()
                .len()
        };
        let (now, clock) = (Timestamp::now(), Instant::now());
        let hours = |n: u32| Duration::from_secs(3_600) * n;
        // Both clocks, each so many hours on.
        let sweep = |wall: u32, other: u32| {
            service
                .empty_quarantines(
                    &service.ctx.store.blocking_in_test(),
                    now.plus(hours(wall)),
                    clock + hours(other),
                )
                .unwrap();
            held()
        };
        let day = 24;
        assert_eq!(sweep(29 * day, 29 * day), 1, "not due");
        assert_eq!(sweep(29 * day + 7, 29 * day + 7), 1, "not due");
        assert_eq!(
            sweep(365 * day, 29 * day + 8),
            1,
            "due by the wall clock alone"
        );
        assert_eq!(
            sweep(365 * day + 7, 29 * day + 15),
            1,
            "it has jumped, however long that is ago"
        );
        // It comes back, and the retention begins anew.
        assert_eq!(sweep(30 * day, 30 * day), 1);
        assert_eq!(sweep(59 * day, 59 * day), 1);
        assert_eq!(sweep(61 * day, 61 * day), 1, "due, but not for six hours");
        service
            .ctx
            .store
            .in_test()
            .pause()
            .set("ann", "undo", now)
            .unwrap();
        assert_eq!(sweep(62 * day, 62 * day), 1, "a pause keeps it");
        service
            .ctx
            .store
            .in_test()
            .pause()
            .resume("ann", now)
            .unwrap();
        assert_eq!(sweep(62 * day + 7, 62 * day + 7), 0, "due for six hours");
        assert_eq!(
            service
                .ctx
                .store
                .in_test()
                .counters()
                .totals()
                .unwrap()
                .purged,
            1
        );
        assert!(found.place.path().join("session-1.0.json").exists());
    }

    /// It was made while the clock was 60 days behind.
    #[tokio::test]
    async fn a_clock_that_is_corrected_costs_nobody_the_undo() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let found = service.find_now("bot").unwrap().unwrap();
        let (now, clock) = (Timestamp::now(), Instant::now());
        let folder = LockedFolder::lock(&found.place).unwrap();
        let inventory = folder.scan().unwrap();
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: None,
            force: None,
        };
        let limits = service.ctx.settings.limits(&found.session);
        let plan = crate::policy::plan(&inventory, false, now, &limits, &ask).unwrap();
        let behind = now.minus(DAY * 60);
        folder
            .prepare(&plan, RunId::new(behind), behind, 1 << 20)
            .unwrap()
            .execute(behind)
            .unwrap();
        drop(folder);
        let held = || {
            LockedFolder::lock(&found.place)
                .unwrap()
                .stored()
                .unwrap()
                .len()
        };
        service
            .empty_quarantines(&service.ctx.store.blocking_in_test(), behind, clock)
            .unwrap();
        for hours in 1..48 {
            let passed = Duration::from_secs(3_600) * hours;
            service
                .empty_quarantines(
                    &service.ctx.store.blocking_in_test(),
                    now.plus(passed),
                    clock + passed,
                )
                .unwrap();
            assert_eq!(held(), 1, "{hours} hours after the clock was corrected");
        }
        for passed in [DAY * 31, DAY * 32, DAY * 33] {
            service
                .empty_quarantines(
                    &service.ctx.store.blocking_in_test(),
                    now.plus(passed),
                    clock + passed,
                )
                .unwrap();
        }
        assert_eq!(held(), 0);
    }

    #[tokio::test]
    async fn a_run_is_rolled_forward_only_as_the_guard_still_allows() {
        for creds_break in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let service = service(dir.path());
            let found = service.find_now("bot").unwrap().unwrap();
            let folder = LockedFolder::lock(&found.place).unwrap();
            let inventory = folder.scan().unwrap();
            let ask = CleanRequest {
                mode: CleanupMode::Cleanup,
                tier: None,
                force: None,
            };
            let limits = service.ctx.settings.limits(&found.session);
            let plan =
                crate::policy::plan(&inventory, false, Timestamp::now(), &limits, &ask).unwrap();
            let run = RunId::new(Timestamp::now());
            // A crash right after the plan was written.
            drop(
                folder
                    .prepare(&plan, run, Timestamp::now(), 1 << 20)
                    .unwrap(),
            );
            drop(folder);
            if creds_break {
                std::fs::write(found.place.path().join("creds.json"), "").unwrap();
            }
            assert!(runner::recover(&service.ctx, &found).await.unwrap());
            let kept = found.place.path().join("session-40.0.json").exists();
            assert_eq!(
                kept, creds_break,
                "the table is asked again before the rest moves"
            );
        }
    }

    #[tokio::test]
    async fn the_roll_call_remembers_who_is_alive_and_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut service = service(dir.path());
        let bot = dir.path().join("sessions/bot");
        let written = || std::fs::metadata(&bot).unwrap().modified().unwrap();
        let (before, answer) = (written(), dir.path().join("answer"));
        std::fs::write(&answer, "connected").unwrap();
        let mut settings = Settings::clone(&service.ctx.settings);
        settings.connection.trust = globset::GlobSet::empty();
        settings.connection.probes = vec![
            crate::connection::Probe::command_line(&format!("cat {}", answer.display()), None)
                .unwrap(),
        ];
        service.ctx.settings = Arc::new(settings);
        let service = Arc::new(service);
        let found = service.find_now("bot").unwrap().unwrap();
        let verdict = async || {
            let ask = CleanRequest {
                mode: CleanupMode::Cleanup,
                tier: None,
                force: None,
            };
            runner::preview(&service.ctx.settings, &found, ask).await.0
        };
        std::fs::write(&answer, "disconnected").unwrap();
        service.roll_call().await;
        let unknown = verdict().await;
        assert_eq!(unknown.state, State::Unknown, "never seen alive");
        assert!(
            unknown.because().contains("doctor --trust"),
            "{}",
            unknown.because()
        );
        std::fs::write(&answer, "connected").unwrap();
        service.roll_call().await;
        std::fs::write(&answer, "disconnected").unwrap();
        assert_eq!(
            verdict().await.state,
            State::Disconnected,
            "it was seen alive"
        );
        assert_eq!(
            service
                .ctx
                .store
                .in_test()
                .sightings()
                .recall("bot")
                .unwrap()
                .alive
                .len(),
            1
        );
        assert_eq!(written(), before);
    }

    #[tokio::test]
    async fn a_process_that_starts_again_under_a_clean_up_stops_it() {
        use crate::connection::Probe;
        use crate::control::{ServiceRule, Services, Timing, placeholders};
        use supervisor::{PidFile, Spec};
        for starts_again in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut service = service(dir.path());
            // Whoever is asked the second time finds the process running.
            let script = format!(
                "cd {}; if [ -e asked ] && {starts_again}; then echo {} >bot.pid; fi; touch asked; echo disconnected",
                dir.path().display(),
                std::process::id()
            );
            std::fs::write(dir.path().join("ask.sh"), script).unwrap();
            let mut ended = std::process::Command::new("true").spawn().unwrap();
            std::fs::write(dir.path().join("bot.pid"), ended.id().to_string()).unwrap();
            ended.wait().unwrap();
            let mut settings = Settings::clone(&service.ctx.settings);
            let line = format!("sh {}/ask.sh", dir.path().display());
            settings.connection.probes = vec![Probe::command_line(&line, None).unwrap()];
            let pid_file = format!("{}/bot.pid", dir.path().display());
            let spec = Spec::PidFile(PidFile::new(&pid_file, &placeholders(None)).unwrap());
            let globs = globset::GlobSetBuilder::new()
                .add(globset::Glob::new("*").unwrap())
                .build();
            let rule =
                ServiceRule::new(globs.unwrap(), None, spec, false, Timing::default()).unwrap();
            settings.connection.processes = Services::new(vec![rule]).unwrap();
            service.ctx.settings = Arc::new(settings);
            let found = service.find_now("bot").unwrap().unwrap();
            let ask = CleanRequest {
                mode: CleanupMode::Cleanup,
                tier: None,
                force: None,
            };
            let mut ending = Ending::default();
            let done = runner::clean(&service.ctx, 1, &found, ask, &mut ending).await;
            let evidence = ending.evidence.unwrap();
            let kept = found.place.path().join("session-40.0.json").exists();
            assert_eq!(
                (done.is_err(), kept),
                (starts_again, starts_again),
                "{evidence}"
            );
            if let Err(stop) = done {
                assert_eq!(stop.label(), "connection_unknown", "{evidence}");
            }
        }
    }

    /// The service of `bot` is called as that of `other`, and is another process.
    #[tokio::test]
    async fn a_name_of_two_processes_lets_neither_be_stopped() {
        use crate::control::{ServiceRule, Services, Timing, placeholders};
        use supervisor::{ArgTemplate, Commands, Spec};
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("sessions/other");
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(
            other.join("creds.json"),
            r#"{"noiseKey":{},"nextPreKeyId":31}"#,
        )
        .unwrap();
        let mut service = service(dir.path());
        let rule = |sessions: &str, name: &str| {
            let mut globs = globset::GlobSetBuilder::new();
            globs.add(globset::Glob::new(sessions).unwrap());
            let word = |word: &str| vec![word.to_owned(), sessions.to_owned()];
            let (act, gone) = (word("true"), word("false"));
            let placeholders = placeholders(None);
            let commands = Commands::new(&gone, Some(&act), Some(&act), &placeholders).unwrap();
            let name = ArgTemplate::parse(name, &placeholders).unwrap();
            ServiceRule::new(
                globs.build().unwrap(),
                Some(name),
                Spec::Commands(commands),
                true,
                Timing::default(),
            )
            .unwrap()
        };
        let mut settings = Settings::clone(&service.ctx.settings);
        settings.services =
            Services::new(vec![rule("bot", "other"), rule("*", "{session}")]).unwrap();
        // Nothing but a stop would do.
        settings.connection.probes =
            vec![crate::connection::Probe::command_line("echo connected", None).unwrap()];
        service.ctx.settings = Arc::new(settings);
        service.restarts = RestartCoordinator::new(service.ctx.clone());
        let service = Arc::new(service);
        assert_eq!(service.known_sessions().len(), 2);
        for session in ["bot", "other"] {
            let request = Request {
                session: session.into(),
                action: Action::Emergency,
                tier: "emergency".into(),
                fingerprint: "f".into(),
                starts_at: "s".into(),
                via: crate::remediator::store::queue::Via::default(),
            };
            service
                .ctx
                .store
                .in_test()
                .queue()
                .accept(&[request], Timestamp::now())
                .unwrap();
            let run = service
                .ctx
                .store
                .in_test()
                .queue()
                .take(Timestamp::now(), &[])
                .unwrap()
                .unwrap();
            let told = service.perform_inner(&run, &mut Ending::default()).await;
            let Performed::Ended(Err(error)) = told else {
                panic!("{told:?}")
            };
            assert_eq!(error.label(), "service_unknown", "{error}");
            assert!(error.to_string().contains("another `name`"), "{error}");
            service
                .ctx
                .store
                .in_test()
                .runs()
                .finish(
                    run.id,
                    Status::Refused,
                    &Ending::default(),
                    Timestamp::now(),
                )
                .unwrap();
        }
    }

    #[test]
    fn start_is_refused_with_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        let first = service(dir.path());
        for (name, mode) in [
            (".", 0o700),
            ("journal.sqlite", 0o600),
            ("serve.lock", 0o600),
        ] {
            let found = std::fs::metadata(dir.path().join("state").join(name))
                .unwrap()
                .mode();
            assert_eq!(found & 0o777, mode, "{name}");
        }
        let again = Service::new(first.ctx.clone()).err().unwrap();
        assert!(again.contains("another `serve`"), "{again}");
        drop(first);
        let token = dir.path().join("token");
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(token::read(&token).unwrap_err().contains("chmod 0600 "));
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&token, "short\n").unwrap();
        assert!(token::read(&token).unwrap_err().contains("at least 16"));
    }
}
