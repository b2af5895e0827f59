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

use crate::connection::State;
use crate::folder::discovery::ProblemLog;
use crate::folder::{Discovery, Found, Timestamp};
use exporter_toolkit::{self as web, ConcurrencyLimit, Listeners, Response};

use super::metrics::{Live, metric_families};
use super::overview::overview;
use super::quarantine::RunId;
use super::restart::coordinator::RestartCoordinator;
use super::runner::{self, Context, blocking};
use super::store::StoreError;
use super::store::runs::Action;
use super::webhook;

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
/// Looking around takes no longer, where somebody waits to be started.
const LOOK_AROUND_TIMEOUT: Duration = Duration::from_secs(10);

mod housekeeping;
mod intake;
mod pages;
mod perform;
mod token;

/// The running remediator.
pub struct Remediator {
    ctx: Context,
    restarts: Arc<RestartCoordinator>,
    /// The webhook is off without it.
    token: Option<token::TokenFile>,
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

impl Remediator {
    /// A service over this configuration and journal.
    ///
    /// Errors: no usable token file, or another `serve` has this state directory.
    pub fn new(ctx: Context) -> Result<Self, String> {
        let token = match (&ctx.settings.token_file, &ctx.settings.alertmanagers) {
            (Some(file), _) => Some(token::TokenFile::new(file.clone())?),
            (None, Some(_)) => None,
            (None, None) => {
                return Err("no source of alerts is configured; poll Alertmanager (alertmanager.urls in the configuration), or take its webhook with --webhook.token-file, which holds the bearer token that Alertmanager sends; make one with: (umask 077; head -c 32 /dev/urandom | base64 > webhook.token)".into());
            }
        };
        if !ctx.connection.has_sources() {
            tracing::warn!(
                "no connection probe is configured: every clean-up will be refused; see --connection.command"
            );
        }
        if token.is_some() && ctx.settings.alert_match.is_empty() {
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
        tasks.spawn(Arc::clone(&self).poll_for_ever(stopping.clone()));
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
        let connection = &self.ctx.connection;
        let asked = connection.ask(&found.session).await;
        match runner::look(found).await {
            Ok(inventory) => connection.judge(asked, &inventory).state == State::Disconnected,
            Err(_) => false,
        }
    }
}

/// The lock that one `serve` holds on its state directory.
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
mod tests;
