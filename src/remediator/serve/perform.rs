//! Performs the runs that alerts ask for.

use std::sync::Arc;
use std::time::Duration;

use supervisor::Query;

use crate::connection::{State, Verdict};
use crate::control::{self, Observation};
use crate::folder::Found;
use crate::policy::{
    self, CleanRequest, CleanupMode, Plan, StopInputs, StopRefusal, Tier, may_stop,
};
use crate::remediator::copies::refuse_copy;
use crate::remediator::insurance::store::limits_of;
use crate::remediator::outcome::{RunError, RunOutcome, RunResult};
use crate::remediator::restart::budget;
use crate::remediator::restart::coordinator::RestartResult;
use crate::remediator::restart::state::Trigger;
use crate::remediator::runner::{self, Context};
use crate::remediator::store::StoreError;
use crate::remediator::store::audit::Step;
use crate::remediator::store::runs::{Action, Ending, Run, Status};

use super::Remediator;
use super::configured::Configured;
use super::sessions::SURVEY_FOR_A_RUN;

/// The result of a run that a worker took.
#[derive(Debug)]
pub(super) enum Performed {
    /// It ended.
    Ended(RunResult),
    /// It waits again: its service is being stopped or started.
    Waits,
}

/// Why a run waits again, for its record.
const WAITS: &str = "its service was being stopped or started, or another run was under way on it";

/// A run that waits again is put on record at once, or after 1 or 2 seconds.
const REQUEUE_TRIES: u32 = 2;

impl Remediator {
    /// Performs a run under the configuration `current`, to its end.
    pub(super) async fn perform(self: &Arc<Self>, current: &Arc<Configured>, run: &Run) {
        let mut ending = Ending::default();
        match self.perform_inner(current, run, &mut ending).await {
            Performed::Waits => self.requeue(run.id).await,
            Performed::Ended(result) => runner::end(&current.ctx, run, result, ending).await,
        }
    }

    /// Lets a run wait again. Where the journal does not take that, the sweep does it as soon as
    /// the journal can be used: until then no worker has the run, as after a crash.
    async fn requeue(&self, id: i64) {
        for attempt in 0..REQUEUE_TRIES {
            let now = self.now();
            let requeued = self.with_store(move |journal| journal.queue().requeue(id, WAITS, now));
            match requeued.await {
                Ok(()) => return,
                Err(error) => tracing::error!(id, attempt, "failed to queue a run again: {error}"),
            }
            self.clock.sleep(Duration::from_secs(1 << attempt)).await;
        }
        self.sweep_now.notify_one();
    }

    pub(super) async fn perform_inner(
        self: &Arc<Self>,
        current: &Arc<Configured>,
        run: &Run,
        ending: &mut Ending,
    ) -> Performed {
        match run.action {
            Action::Cleanup | Action::Emergency => match self.clean(current, run, ending).await {
                Ok(performed) => performed,
                Err(error) => Performed::Ended(Err(error)),
            },
            Action::Plan => Performed::Ended(plan(current, run, ending).await),
            // Never accepted from an alert.
            Action::Undo | Action::Restore => Performed::Ended(Err(RunError::OperatorOnly)),
        }
    }

    async fn clean(
        self: &Arc<Self>,
        current: &Arc<Configured>,
        run: &Run,
        ending: &mut Ending,
    ) -> Result<Performed, RunError> {
        let ctx = &current.ctx;
        let found = session_of(current, run).await?;
        let tier = run.tier.as_deref().and_then(Tier::from_label);
        let mut ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier,
            force: None,
        };
        let known = current.sessions.known_with_duplicates();
        let sessions = known.found.iter().map(|found| &found.session);
        let services = &ctx.settings.services;
        let service = services.among(&found.session, sessions);
        let shared = ctx.connection.shared_process(services, &found.session);
        let service = match (service, shared.await) {
            (Some(service), Some(why)) => Some(service.refused(&why)),
            (service, _) => service,
        };
        if run.action == Action::Emergency {
            match service {
                Some(_) => ask.mode = CleanupMode::Emergency,
                None => ending.note = Some("restart not allowed by the configuration".into()),
            }
        }
        let trigger = match service {
            Some(_) => trigger_of(current, run, &found).await?,
            None => None,
        };
        not_halted(ctx, &found, ask, service.as_ref().zip(trigger), ending).await?;
        if let (Some(service), Some(trigger)) = (service, trigger) {
            let result = current
                .restarts
                .run(run, &found, service, trigger, &known, ending)
                .await;
            match result {
                RestartResult::Busy => return Ok(Performed::Waits),
                RestartResult::Ended(Err(RunError::StopRefused(stop)))
                    if trigger == Trigger::Emergency && stop.leaves_a_cleanup() =>
                {
                    let cleaned = self.clean_without_a_stop(ctx, run, &found, stop, ending);
                    let cleaned = cleaned.await;
                    return Ok(Performed::Ended(cleaned));
                }
                RestartResult::Ended(result) => {
                    self.measure_quarantines().await;
                    return Ok(Performed::Ended(result));
                }
                RestartResult::CleanWithoutStop => {}
            }
        }
        let cleaned = runner::clean(ctx, run.id, &found, ask, ending).await?;
        self.measure_quarantine(found).await;
        Ok(Performed::Ended(Ok(cleaned)))
    }

    /// What the cleanup tier would do, for an emergency that may not stop the bot: its alert
    /// inhibits that of the cleanup tier, so nothing else would act.
    async fn clean_without_a_stop(
        &self,
        ctx: &Context,
        run: &Run,
        found: &Found,
        stop: StopRefusal,
        ending: &mut Ending,
    ) -> RunResult {
        // An open breaker halts the cleanup tier as well.
        if stop == StopRefusal::BreakerOpen {
            return Err(RunError::NotCleanedEither {
                cleanup: Box::new(stop.clone().into()),
                stop,
            });
        }
        ending.step(Step::new(ctx.now(), "stop_refused", Some(stop.to_string())));
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: run.tier.as_deref().and_then(Tier::from_label),
            force: None,
        };
        match runner::clean(ctx, run.id, found, ask, ending).await {
            Ok(cleaned) => {
                ending.note = Some(format!("cleaned without a restart: {stop}"));
                self.measure_quarantine(found.clone()).await;
                Ok(cleaned)
            }
            Err(cleanup) if cleanup.status() == Status::Refused => {
                Err(RunError::NotCleanedEither {
                    stop,
                    cleanup: Box::new(cleanup),
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// The session of this run.
async fn session_of(current: &Configured, run: &Run) -> Result<Found, RunError> {
    let sessions = &current.sessions;
    let found = sessions.find_by(run.session.clone(), SURVEY_FOR_A_RUN);
    let found = match found.await {
        Ok(Some(found)) => found,
        _ => return Err(RunError::UnknownSession),
    };
    if sessions.is_duplicate(&run.session) {
        return Err(RunError::DuplicateName);
    }
    refuse_copy(&found, sessions.known(), current.ctx.now()).await?;
    Ok(found)
}

async fn plan(current: &Configured, run: &Run, ending: &mut Ending) -> RunResult {
    let ctx = &current.ctx;
    let found = session_of(current, run).await?;
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: run.tier.as_deref().and_then(Tier::from_label),
        force: None,
    };
    let (verdict, plan) = runner::preview(&ctx.app(), &found, ask).await;
    ending.evidence = Some(verdict.because());
    ending.step(Step::verdict(ctx.now(), &verdict, false));
    let plan = plan?;
    ending.step(Step::plan(ctx.now(), &plan));
    ending.files = plan.by_kind();
    ending.accumulated = Some((plan.accumulated_before, plan.accumulated_after));
    ending.note = Some(RunOutcome::Planned.to_string());
    Ok(RunOutcome::Planned)
}

/// The trigger that allows this run to stop the bot, if any.
async fn trigger_of(
    current: &Arc<Configured>,
    run: &Run,
    found: &Found,
) -> Result<Option<Trigger>, RunError> {
    if run.action == Action::Emergency {
        return Ok(Some(Trigger::Emergency));
    }
    let (under, found, action) = (Arc::clone(current), found.clone(), run.action);
    let open = current.ctx.store.block(move |store| {
        let armed = store
            .lock()
            .armed()
            .contains(found.session.as_str(), action)?;
        let known = under.sessions.known();
        let restarts = &under.restarts;
        Ok(armed && restarts.window_is_open(store, &found.session, &known)?)
    });
    let open: Result<bool, StoreError> = open.await;
    Ok(open?.then_some(Trigger::Window))
}

/// Refuses while automatic actions are off, and records what would have been done. Makes the
/// same checks as any other run, up to its first move or stop.
async fn not_halted(
    ctx: &Context,
    found: &Found,
    ask: CleanRequest,
    stop: Option<(&control::Service, Trigger)>,
    ending: &mut Ending,
) -> Result<(), RunError> {
    let switches = ctx.with_store(|store| store.pause().state()).await?;
    let hold = match (switches.paused, switches.breaker) {
        (Some(_), _) => StopRefusal::Paused,
        (None, Some(_)) => StopRefusal::BreakerOpen,
        (None, None) => return Ok(()),
    };
    let would_be = would_be_done(ctx, found, ask, stop, ending).await;
    let is_emergency = stop.is_some_and(|(_, trigger)| trigger == Trigger::Emergency);
    let error = match &would_be {
        // It waits for `resume`.
        _ if !is_emergency || hold != StopRefusal::BreakerOpen => hold.into(),
        Ok(_) => RunError::NotCleanedEither {
            cleanup: Box::new(hold.clone().into()),
            stop: hold,
        },
        Err(error) => RunError::NotCleanedEither {
            cleanup: Box::new(error.clone()),
            stop: hold,
        },
    };
    ending.note = Some(match would_be {
        Ok(plan) => {
            ending.files = plan.by_kind();
            ending.accumulated = Some((plan.accumulated_before, plan.accumulated_after));
            "automatic actions are off; these files would have been moved".into()
        }
        Err(error) => format!("halted; it would have been refused as {}", error.label()),
    });
    Err(error)
}

/// What a run would do, or why it would be refused. Takes no lock.
async fn would_be_done(
    ctx: &Context,
    found: &Found,
    ask: CleanRequest,
    stop: Option<(&control::Service, Trigger)>,
    ending: &mut Ending,
) -> Result<Plan, RunError> {
    let settings = &ctx.settings;
    let asked = ctx.connection.ask(&found.session).await;
    let logged_out = asked.logged_out();
    let presence = match stop {
        Some((service, _)) => Some(service.observe(&Query::default()).await.observation),
        None => None,
    };
    let inventory = match runner::look(found).await {
        Ok(inventory) => inventory,
        Err(stop) => {
            ending.evidence = Some(Verdict::unknown("folder", "failed to scan it").because());
            return Err(stop);
        }
    };
    let verdict = ctx.connection.judge(asked, &inventory);
    ending.evidence = Some(verdict.because());
    let limits = limits_of(settings, &found.session);
    let live = runner::count(&inventory, &limits);
    ending.accumulated = Some((live, live));
    let now = ctx.moment();
    let immovable = runner::immovable(found, &inventory).await?;
    let is_disconnected = verdict.state == State::Disconnected;
    let service = match (stop, presence) {
        (Some((service, trigger)), Some(Observation::Running { .. }))
            if trigger == Trigger::Emergency || !is_disconnected =>
        {
            service
        }
        (Some(_), Some(Observation::Changing(why) | Observation::Unknown(why)))
            if !is_disconnected =>
        {
            return Err(StopRefusal::ServiceUnknown(why).into());
        }
        // No stop is needed.
        _ => {
            let plan = policy::decide(&inventory, &verdict, now.wall, &limits, &ask);
            let plan = policy::without_immovable(plan?, &inventory, &limits, &immovable);
            return Ok(plan);
        }
    };
    let stops = ctx
        .with_store(move |store| store.restarts().stops(now))
        .await?;
    let is_emergency = stop.is_some_and(|(_, trigger)| trigger == Trigger::Emergency);
    let before = StopInputs {
        immovable: &immovable,
        obstacle: service.check_restart(&Query::default()).await,
        inventory: &inventory,
        verdict: &verdict,
        logged_out,
        clock_set: ctx.connection.recent_step(),
        limits: &limits,
        mode: ask.mode,
        tier: ask.tier.unwrap_or(Tier::Emergency),
        service: &budget(service, &stops),
    };
    may_stop(&before, now.wall).or_else(|refusal| {
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            ..ask
        };
        let instead = policy::decide(&inventory, &verdict, now.wall, &limits, &ask);
        match instead {
            Ok(plan) if is_emergency && refusal.leaves_a_cleanup() => Ok(
                policy::without_immovable(plan, &inventory, &limits, &immovable),
            ),
            _ => Err(refusal.into()),
        }
    })
}
