//! Performs the effects of the state machine. `serve` and the recovery after a crash stop and
//! start services only here. A command of an operator takes the same locks and makes the same
//! calls.

mod call;
mod call_lock;
mod effect_output;
mod folders;
mod locks;
mod looks;
mod observing;
mod report;

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::control::{CallError, Service};
use crate::folder::{Found, SessionName, Timestamp};
use crate::policy::StopRefusal;
use crate::policy::guard::CleanupMode;
use crate::remediator::insurance::stop::{self as insurance, CredsCheck};
use crate::remediator::outcome::{RunError, RunResult};
use crate::remediator::quarantine::Halt;
use crate::remediator::runner::{Context, Folders, StoppedService, WeakFolders, blocking};
use crate::remediator::store::runs::{Ending, Run};

use super::checks::SiblingSessions;
use super::cleaning::{CleanJob, SiblingRun};
use super::coordinator::{RestartCoordinator, RestartResult};
use super::folder_record::{self, Kept};
use super::leases::ServiceLease;
use super::machine::{self, PERSIST_WITHIN};
use super::state::{
    CallKind, CheckResult, Effect, Event, Phase, Restart, RestartEnd, Returned, Seen, Trigger,
    WaitingSession,
};

pub(super) use call::call;
use effect_output::{EffectOutput, SavedRestart, refused};
pub(super) use locks::{NotLocked, lock_all};
pub use looks::now;
#[cfg(test)]
pub(super) use looks::{OBSERVED_WITHIN, who_is_alive};
pub(super) use looks::{
    end_moves, observe, other_call_may_be_under_way, presence, restart_obstacle,
};

/// The run for which the service is restarted, until its outcome is reported.
pub(super) struct LiveRun {
    pub run: Run,
    pub found: Found,
    pub ending: Ending,
    /// Why nothing was stopped.
    pub error: Option<RunError>,
    pub needs_no_stop: bool,
    pub cleaned: Option<RunResult>,
    /// Names that several folders have: their sessions are not cleaned.
    pub duplicates: BTreeSet<SessionName>,
    pub siblings: SiblingSessions,
    pub sibling_runs: Arc<Mutex<Vec<SiblingRun>>>,
    pub result: oneshot::Sender<(RestartResult, Ending)>,
}

type Awaited = JoinHandle<(Event, EffectOutput)>;

/// One restart under way.
pub(super) struct Driver {
    pub coordinator: Arc<RestartCoordinator>,
    pub lease: Option<ServiceLease>,
    /// `None` if the configuration no longer names it.
    pub service: Option<Service>,
    /// All sessions of the service whose folder was found.
    pub sessions: Vec<Found>,
    /// Further folders of its process: see [`RestartCoordinator::left_out`].
    left_out: Vec<Found>,
    pub known: Vec<Found>,
    pub state: Restart,
    pub live: Option<LiveRun>,
    /// End as soon as it runs, without waiting for the connection.
    pub only_start: bool,
    folders: Folders,
    /// The last ones: a write that hangs in a folder still has its lock.
    last_held: WeakFolders,
    halt: Halt,
    gone_since: Timestamp,
    why: String,
    awaited: Option<Awaited>,
    deadline: Option<Instant>,
    last_write: Option<JoinHandle<()>>,
    reporting: Option<JoinHandle<()>>,
    call_lock: Option<Arc<File>>,
}

impl Driver {
    pub fn new(
        coordinator: &Arc<RestartCoordinator>,
        lease: ServiceLease,
        service: Option<Service>,
        known: &[Found],
        left_out: Vec<Found>,
        state: Restart,
    ) -> Self {
        let of_service = |found: &&Found| {
            let services = &coordinator.ctx.settings.services;
            services
                .of(&found.session)
                .is_some_and(|service| service.name == state.service)
        };
        Self {
            sessions: known.iter().filter(of_service).cloned().collect(),
            left_out,
            known: known.to_vec(),
            coordinator: Arc::clone(coordinator),
            lease: Some(lease),
            service,
            state,
            live: None,
            only_start: false,
            folders: Folders::default(),
            last_held: WeakFolders::default(),
            halt: Halt::default(),
            gone_since: Timestamp::of(&coordinator.ctx.clock),
            why: String::new(),
            awaited: None,
            deadline: None,
            last_write: None,
            reporting: None,
            call_lock: None,
        }
    }

    fn clock(&self) -> &Clock {
        &self.coordinator.ctx.clock
    }

    fn ctx(&self) -> &Context {
        &self.coordinator.ctx
    }

    /// Feeds events to the machine until the restart ends or may be left.
    pub async fn drive(mut self, first: Event) {
        let clock = self.clock().clone();
        let left = self.coordinator.left();
        tokio::pin!(left);
        let mut event = first;
        loop {
            if self.step(&event).await {
                break;
            }
            let Some(awaited) = &mut self.awaited else {
                break;
            };
            let deadline = self.deadline;
            let id = self.state.awaited;
            event = tokio::select! {
                ended = awaited => {
                    // An ended task is not polled again: the machine may ask for no other.
                    self.awaited = None;
                    match ended {
                        Ok((event, side)) => {
                            self.deadline = None;
                            self.apply_output(side);
                            event
                        }
                        Err(error) => {
                            tracing::error!(service = self.state.service, "the task of an effect failed: {error}");
                            Event::Deadline(id)
                        }
                    }
                }
                () = sleep_until(&clock, deadline) => Event::Deadline(id),
                () = &mut left, if !self.state.leaving => Event::Signal,
            };
        }
        self.folders.clear();
        self.lease = None;
        if let Some(reporting) = self.reporting.take() {
            let _ = reporting.await;
        }
        // Or what ended well would be resumed at the next start of this program.
        if let Some(last) = self.last_write.take() {
            let _ = clock.timeout(PERSIST_WITHIN, last).await;
        }
    }

    /// Processes one event. Returns whether the driver ends.
    async fn step(&mut self, event: &Event) -> bool {
        let before = self.state.phase;
        let (state, effects) = machine::next(&self.state, event, now(self.clock()));
        self.state = state;
        let phase = self.state.phase;
        if phase != before {
            tracing::info!(
                service = self.state.service,
                run_id = self.state.run_id,
                event = event.label(),
                from = before.label(),
                to = phase.label(),
                "restart"
            );
            if phase == Phase::Gone {
                self.gone_since = Timestamp::of(self.clock());
            }
            if before == Phase::Checking && phase == Phase::StopIntended {
                self.watch_siblings();
            }
        }
        if self.state.late_ns.is_none() && self.state.is_late() {
            self.state.late_ns = Some(Timestamp::of(self.clock()).nanos());
        }
        let mut report = None;
        let mut ends = phase.is_final();
        // The next look, or the next try, comes later.
        let is_backoff = phase == Phase::StartIntended && !self.state.contradicted;
        // A call that may be under way ends within its time limit.
        let is_unknown = matches!(phase, Phase::StopUnknown | Phase::StartUnknown);
        let waits = effects.iter().any(|effect| match effect {
            Effect::Observe(after, _) => {
                *after >= self.state.times.retry && !is_backoff && !is_unknown
            }
            _ => false,
        });
        for effect in effects {
            match effect {
                Effect::Report(verdict) => report = Some(verdict),
                Effect::Leave => ends = true,
                effect => self.perform(effect, before).await,
            }
        }
        // End here, so that a new restart may begin before the next look at the missing sessions.
        ends |= phase == Phase::RunningNotConnected && waits;
        let runs = matches!(event, Event::Looked(_, look) if matches!(look.seen, Seen::Running(_) | Seen::Changing));
        let is_started = phase == Phase::WaitingForConnection && runs;
        ends |= self.only_start && (is_started || waits);
        if ends && let Some(awaited) = self.awaited.take() {
            awaited.abort();
        }
        if ends {
            self.folders.clear();
            self.lease = None;
        }
        if let Some(verdict) = report {
            self.report(verdict);
        }
        ends
    }

    fn apply_output(&mut self, side: EffectOutput) {
        match side {
            EffectOutput::None => {}
            EffectOutput::Locked(folders) => {
                self.last_held = folders.downgrade();
                self.folders = folders;
            }
            EffectOutput::Saved(saved) => {
                // Waiting sessions of the earlier restart may have been added.
                (self.state.waiting, self.state.before) = (saved.state.waiting, saved.state.before);
                self.call_lock = saved.call_lock;
            }
            EffectOutput::Looked(why) if why.is_empty() => {}
            EffectOutput::Looked(why) | EffectOutput::Called(why) => self.why = why,
            EffectOutput::Refused(error) => {
                if let Some(live) = &mut self.live {
                    live.error = Some(*error);
                }
            }
            EffectOutput::Checked(checked) => {
                let places = self.places();
                if let Some(live) = &mut self.live {
                    live.ending = checked.ending;
                    match checked.result {
                        Ok(Some(go)) => {
                            self.state.folders = places;
                            self.state.folders.retain(|one, _| go.whole.contains(one));
                            (live.siblings, self.state.whole) = (go.siblings, go.whole);
                        }
                        Ok(None) => live.needs_no_stop = true,
                        Err(error) => live.error = Some(error),
                    }
                }
            }
            EffectOutput::Cleaned(cleaned, torn) => {
                if let Some(why) = torn {
                    self.why = why;
                }
                let Some(cleaned) = cleaned else { return };
                if let Some(live) = &mut self.live {
                    live.ending = cleaned.ending;
                    live.cleaned = cleaned.result;
                }
                self.watch_cleaned();
            }
        }
    }

    /// Also waits for the other sessions that were connected before the stop.
    fn watch_siblings(&mut self) {
        let Some(live) = &self.live else { return };
        let others = live.siblings.connected.iter().map(|found| WaitingSession {
            session: found.session.to_string(),
            run_id: self.state.run_id,
            seen: 0,
        });
        self.state.waiting.extend(others);
    }

    /// Also waits for the other cleaned sessions that are not known to be idle, each with its run.
    fn watch_cleaned(&mut self) {
        let Some(live) = &self.live else { return };
        let runs = live
            .sibling_runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for sibling in runs.iter() {
            let session = sibling.found.session.as_str();
            let waiting = &mut self.state.waiting;
            match waiting.iter_mut().find(|one| one.session == session) {
                Some(one) => one.run_id = sibling.run.id,
                None if sibling.cleaned.is_ok() && !live.siblings.idle.contains(session) => {
                    waiting.push(WaitingSession {
                        session: session.to_owned(),
                        run_id: sibling.run.id,
                        seen: 0,
                    });
                }
                None => {}
            }
        }
    }

    /// `before`: the phase that the event has ended.
    async fn perform(&mut self, effect: Effect, before: Phase) {
        let id = self.state.awaited;
        match effect {
            Effect::Lock(after) => self.lock(id, after),
            Effect::Unlock => self.folders.clear(),
            Effect::Check => self.check(id),
            Effect::Persist => self.persist(id),
            Effect::Note => {
                let written = self.write(Write::Save);
                let _ = self.clock().timeout(PERSIST_WITHIN, written).await;
            }
            Effect::Forget => {
                let written = self.write(Write::Forget(RestartEnd::from_phase(before)));
                let written = self.clock().timeout(PERSIST_WITHIN, written);
                if written.await.is_err() {
                    tracing::error!(service = self.state.service, "the journal hangs");
                    let (folders, state) = (self.folders.clone(), self.state.clone());
                    let end = RestartEnd::from_phase(before);
                    locks::end_records(self.ctx(), folders, state, end).await;
                }
            }
            Effect::Observe(after, sources) => self.observe(id, after, sources),
            Effect::Stop => self.call(id, true),
            Effect::Start => {
                self.state.started_ns = Some(Timestamp::of(self.clock()).nanos());
                self.call(id, false);
            }
            Effect::Clean => self.clean(id, true),
            Effect::PutBackCreds => self.clean(id, false),
            Effect::BreakOff => {
                if let Some(awaited) = self.awaited.take() {
                    awaited.abort();
                }
                end_moves(self.clock(), &self.halt).await;
                self.watch_cleaned();
            }
            Effect::SetDeadline(within) => self.deadline = Some(self.clock().now() + within),
            Effect::Notify(notice) => self.notify(notice),
            Effect::Step(step) => self.record(step),
            Effect::Report(_) | Effect::Leave => {}
        }
    }

    fn await_task(&mut self, task: impl Future<Output = (Event, EffectOutput)> + Send + 'static) {
        self.deadline = None;
        self.awaited = Some(tokio::spawn(task));
    }

    fn lock(&mut self, id: u64, after: Duration) {
        // An earlier attempt may still hold some of the locks.
        if let Some(earlier) = self.awaited.take() {
            earlier.abort();
        }
        self.folders.clear();
        self.take_up_found();
        let own = self.live.as_ref().map(|live| live.found.session.clone());
        let locking = locks::lock(
            self.clock().clone(),
            id,
            after,
            self.folders_of_the_process(),
            own,
            self.state.id(),
            self.last_held.clone(),
        );
        self.await_task(locking);
    }

    fn check(&mut self, id: u64) {
        let (Some(live), Some(service)) = (&self.live, self.service.clone()) else {
            return;
        };
        let (coordinator, known) = (Arc::clone(&self.coordinator), self.known.clone());
        let (run, found) = (live.run.clone(), live.found.clone());
        let (ending, trigger) = (live.ending.clone(), self.state.trigger);
        let (folders, left_out) = (self.folders.clone(), self.left_out.clone());
        self.await_task(async move {
            let checked = coordinator.check(
                &run, &found, &service, trigger, &known, &left_out, &folders, ending,
            );
            let checked = checked.await;
            let result = match checked.result {
                Ok(Some(_)) => CheckResult::Go,
                _ => CheckResult::No,
            };
            (
                Event::Checked(id, result),
                EffectOutput::Checked(Box::new(checked)),
            )
        });
    }

    fn persist(&mut self, id: u64) {
        let is_stop = self.state.phase == Phase::StopIntended;
        let is_emergency = is_stop && self.state.trigger == Trigger::Emergency;
        let write = match (&self.live, &self.service) {
            (Some(live), Some(service)) if is_stop => Write::Intend {
                service: Box::new(service.clone()),
                sessions: self
                    .coordinator
                    .sessions_of(service, &live.found, &self.known),
                fleet: self.coordinator.fleet(&self.known),
            },
            _ => Write::Save,
        };
        let written = self.write(write);
        let (coordinator, known) = (Arc::clone(&self.coordinator), self.known.clone());
        let (state, state_path) = (self.state.clone(), self.ctx().settings.state_path.clone());
        self.await_task(async move {
            let call_lock = blocking(move || call_lock::create(&state_path, &state)).await;
            match written.await {
                Ok(Ok(state)) => {
                    let saved = Box::new(SavedRestart { state, call_lock });
                    (Event::Saved(id), EffectOutput::Saved(saved))
                }
                Ok(Err(RunError::StopRefused(StopRefusal::BreakerOpen))) if is_emergency => {
                    let error = coordinator.open_breaker(&known).await;
                    (Event::NotSaved(id), refused(error))
                }
                Ok(Err(error)) => {
                    tracing::error!("failed to save a restart: {error}");
                    (Event::NotSaved(id), refused(error))
                }
                Err(_) => (Event::NotSaved(id), EffectOutput::None),
            }
        });
    }

    /// Queues a write behind the last one, however long that takes, so that an older state never
    /// overwrites a newer one.
    fn write(&mut self, what: Write) -> oneshot::Receiver<Result<Restart, RunError>> {
        let (sender, receiver) = oneshot::channel();
        let (last, mut state) = (self.last_write.take(), self.state.clone());
        // A write that hangs keeps no lock: the next start needs it.
        let held = self.folders.downgrade();
        let coordinator = Arc::clone(&self.coordinator);
        let end = match what {
            Write::Forget(end) => Some(end),
            _ => None,
        };
        if let Some(end) = end {
            coordinator.mark_over(&state, end);
        }
        self.last_write = Some(tokio::spawn(async move {
            if let Some(last) = last {
                let _ = last.await;
            }
            let ctx = &coordinator.ctx;
            let saved = match what {
                Write::Intend {
                    service,
                    sessions,
                    fleet,
                } => {
                    let coordinator = Arc::clone(&coordinator);
                    let kept = state.clone();
                    let intended = ctx.with_store(move |store| {
                        coordinator
                            .intend(store, kept, &service, &sessions, fleet)
                            .map_err(RunError::from)
                    });
                    match intended.await {
                        Ok(Ok(kept)) => {
                            state = kept;
                            Ok(())
                        }
                        Ok(Err(refusal)) => Err(refusal.into()),
                        Err(error) => Err(error),
                    }
                }
                Write::Save => {
                    let state = state.clone();
                    let saved = ctx.with_store(move |store| store.restarts().save(&state));
                    saved.await.map_err(RunError::from)
                }
                Write::Forget(end) => coordinator.forget(&state, end).await,
            };
            let state_path = ctx.settings.state_path.clone();
            let kept = state.clone();
            let how = match (end, &saved) {
                (None, _) => Kept::Written,
                (Some(_), Ok(())) => Kept::Removed,
                (Some(end), Err(_)) => Kept::Over(end),
            };
            let keep = move || folder_record::keep(&held.held().0, &state_path, &kept, how);
            blocking(keep).await;
            if let Err(error) = &saved
                && (end.is_some() || sender.is_closed())
            {
                tracing::error!(
                    service = state.service,
                    "failed to save a restart; retrying: {error}"
                );
            }
            let _ = sender.send(saved.map(|()| state));
        }));
        receiver
    }

    fn call(&mut self, id: u64, stop: bool) {
        let Some(service) = self.service.clone() else {
            return;
        };
        tracing::warn!(
            service = service.name,
            run_id = self.state.run_id,
            "{} the service",
            if stop { "stopping" } else { "starting" }
        );
        let held = self.call_lock.take();
        let kind = match stop {
            true => CallKind::Stop,
            false => CallKind::Start,
        };
        let clock = self.clock().clone();
        self.await_task(async move {
            let began = clock.now();
            let (returned, error) = call(&service, kind, held).await;
            let is_long = clock.since(began) >= service.start_timeout;
            if kind == CallKind::Start && returned == Returned::Ok && is_long {
                tracing::warn!(service = service.name, "the start command did not return, and the service runs, so it was not killed. It will end with the unit of this program: use a command that returns");
            }
            let output = match error {
                // Since the checks, which look for the same.
                Some(CallError::Refused(obstacle)) => {
                    refused(StopRefusal::NotRestartable(obstacle).into())
                }
                error => EffectOutput::Called(error.map_or_else(String::new, |e| e.to_string())),
            };
            (Event::Returned(id, returned), output)
        });
    }

    fn clean(&mut self, id: u64, files: bool) {
        let Some(service) = self.service.clone() else {
            return;
        };
        let stopped = StoppedService {
            service: service.clone(),
            since: self.gone_since,
            halt: self.halt.clone(),
            folders: self.folders.clone(),
        };
        let job = self.live.as_ref().filter(|_| files).map(|live| CleanJob {
            run: live.run.clone(),
            found: live.found.clone(),
            known: self.known.clone(),
            duplicates: live.duplicates.clone(),
            mode: match self.state.trigger {
                Trigger::Emergency => CleanupMode::Emergency,
                Trigger::Window => CleanupMode::Cleanup,
            },
            sibling_runs: Arc::clone(&live.sibling_runs),
            ending: live.ending.clone(),
        });
        let check = CredsCheck {
            whole: self.state.whole.clone(),
            // What a bot that has run since has removed, it has removed on purpose.
            missing: self.state.started_ns.is_none(),
            folders: !self.state.has_run,
            claimed: self.coordinator.shared.claimed.clone(),
        };
        let coordinator = Arc::clone(&self.coordinator);
        let sessions = self.folders_of_the_process();
        self.await_task(async move {
            let cleaned = match job {
                Some(job) => Some(coordinator.clean_all(job, &stopped).await),
                None => None,
            };
            end_moves(&coordinator.ctx.clock, &stopped.halt).await;
            let ctx = &coordinator.ctx;
            let torn = insurance::before_a_start(ctx, &stopped, sessions, &check).await;
            let event = match torn {
                None => Event::Cleaned(id),
                Some(_) => Event::Torn(id),
            };
            (event, EffectOutput::Cleaned(cleaned.map(Box::new), torn))
        });
    }
}

/// A write of the state of a restart.
enum Write {
    Intend {
        service: Box<Service>,
        sessions: Vec<String>,
        fleet: usize,
    },
    Save,
    Forget(RestartEnd),
}

async fn sleep_until(clock: &Clock, deadline: Option<Instant>) {
    match deadline {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
