//! The checks before a service is stopped: whether that is needed, whether it is allowed, and
//! which other sessions the service has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::connection::State;
use crate::control::{Observation, Service};
use crate::folder::all_sessions::LIST_TIMEOUT;
use crate::folder::{Found, SessionName};
use crate::policy::guard::CleanupMode;
use crate::policy::{RestartBudget, StopInputs, StopRefusal, Stopped, Tier, may_stop};
use crate::remediator::insurance::stop as insurance;
use crate::remediator::insurance::store::limits_of;
use crate::remediator::outcome::RunError;
use crate::remediator::runner::{self, Folders, blocking};
use crate::remediator::store::audit::Step;
use crate::remediator::store::runs::{Ending, Run};
use crate::remediator::store::{BlockingStore, Store, StoreError};

use super::coordinator::RestartCoordinator;
use super::driver::{observe, restart_obstacle};
use super::state::{Restart, Trigger};

/// Time limit for the connection check of all sessions of a service, and how many run at once.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(60);
const ASKED_AT_ONCE: usize = 8;

impl Trigger {
    const fn mode(self) -> CleanupMode {
        match self {
            Trigger::Emergency => CleanupMode::Emergency,
            Trigger::Window => CleanupMode::Cleanup,
        }
    }
}

/// The other sessions of a service, before the stop. A session without an answer in time is in
/// neither list.
#[derive(Debug, Default)]
pub(super) struct SiblingSessions {
    pub connected: Vec<Found>,
    /// Disconnected or logged out: a start does not bring them back.
    pub idle: BTreeSet<String>,
}

/// The service may be stopped.
#[derive(Debug)]
pub(super) struct Go {
    pub siblings: SiblingSessions,
    /// The sessions whose creds.json is whole, and was copied.
    pub whole: BTreeSet<String>,
}

/// What the checks have found.
#[derive(Debug)]
pub(super) struct Checked {
    pub ending: Ending,
    /// `Ok(None)`: no stop is needed.
    pub result: Result<Option<Go>, RunError>,
}

/// What is left of the budget of a service.
pub fn budget(service: &Service, stops: &[Stopped]) -> RestartBudget {
    let own = stops.iter().filter(|stop| stop.service == service.name);
    RestartBudget {
        stops: own.map(|stop| stop.ago).collect(),
        cooldown: service.cooldown,
        daily_budget: service.daily_budget,
    }
}

impl RestartCoordinator {
    pub(super) fn fleet(&self, known: &[Found]) -> usize {
        let sessions = known.iter().map(|found| &found.session);
        self.ctx.settings.services.names(sessions).len()
    }

    /// Whether the breaker allows a stop of this service. Stops in an emergency count towards its
    /// limit and stops in a window do not, but a stop in a window must respect the limit too.
    fn breaker_allows(
        &self,
        stops: &[Stopped],
        resumed: Option<Duration>,
        service: &str,
        trigger: Trigger,
        fleet: usize,
    ) -> bool {
        let counted: Vec<Stopped> = stops
            .iter()
            .filter(|stop| {
                (trigger == Trigger::Window || !stop.in_window)
                    && resumed.is_none_or(|resumed| stop.ago < resumed)
            })
            .cloned()
            .collect();
        self.ctx.settings.breaker.lets(&counted, service, fleet)
    }

    /// Opens the breaker.
    pub(super) async fn open_breaker(&self, known: &[Found]) -> RunError {
        let now = self.ctx.moment();
        let breaker = self.ctx.settings.breaker;
        let limit = breaker.limit(self.fleet(known));
        let reason = format!(
            "more than {limit} services in an emergency within {}",
            humantime::format_duration(breaker.within)
        );
        tracing::error!("circuit breaker opened, automatic actions are off: {reason}");
        match self
            .ctx
            .with_store(move |store| store.pause().open_breaker(&reason, now))
            .await
        {
            Ok(()) => StopRefusal::BreakerOpen.into(),
            Err(error) => error.into(),
        }
    }

    /// Records the intent to stop, unless something that happened during the checks forbids
    /// it. Blocks.
    pub(super) fn intend(
        &self,
        store: &Store,
        mut state: Restart,
        service: &Service,
        sessions: &[String],
        fleet: usize,
    ) -> Result<Result<Restart, StopRefusal>, StoreError> {
        let now = self.ctx.moment();
        let (trigger, id) = (state.trigger, state.run_id);
        let is_window = trigger == Trigger::Window;
        let intended = store.restarts().intend_stop(
            &mut state,
            sessions,
            now,
            |store, pause, stops, resumed| {
                // The restart would start the bot during that run.
                let all: Vec<&str> = sessions.iter().map(String::as_str).collect();
                if store.runs().is_under_way(&all, id).unwrap_or(true) {
                    return Err(StopRefusal::Busy);
                }
                if pause.paused.is_some() {
                    return Err(StopRefusal::Paused);
                }
                // The checks took time and the window has ended: the run waits for the next one.
                if is_window && !service.windows.contains(now.wall) {
                    return Err(StopRefusal::Busy);
                }
                budget(service, stops).may_be_stopped()?;
                let open = pause.breaker.is_some();
                let allows = self.breaker_allows(stops, resumed, &service.name, trigger, fleet);
                match allows && !open {
                    true => Ok(()),
                    false => Err(StopRefusal::BreakerOpen),
                }
            },
        )?;
        Ok(intended.map(|()| state))
    }

    /// Whether an armed run may use a window now: a window is open, the service has no cooldown,
    /// and the breaker allows it. Blocks.
    pub fn window_is_open(
        &self,
        store: &BlockingStore<'_>,
        session: &SessionName,
        known: &[Found],
    ) -> Result<bool, StoreError> {
        let now = self.ctx.moment();
        let Some(service) = self.ctx.settings.services.of(session) else {
            return Ok(false);
        };
        if !service.windows.contains(now.wall) || self.shared.window.try_lock().is_err() {
            return Ok(false);
        }
        let (stops, resumed) = {
            let store = store.lock();
            (store.restarts().stops(now)?, store.pause().resumed(now)?)
        };
        let (name, fleet) = (&service.name, self.fleet(known));
        Ok(budget(&service, &stops).may_be_stopped().is_ok()
            && self.breaker_allows(&stops, resumed, name, Trigger::Window, fleet))
    }

    /// Makes all checks before a stop. `left_out`: see [`Self::left_out`]. `folders`: those of the
    /// service, locked.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn check(
        &self,
        run: &Run,
        found: &Found,
        service: &Service,
        trigger: Trigger,
        known: &[Found],
        left_out: &[Found],
        folders: &Folders,
        mut ending: Ending,
    ) -> Checked {
        let result = self
            .check_live(run, found, service, trigger, known, &mut ending)
            .await;
        let result = match result {
            Ok(true) => {
                let siblings = self.siblings(found, service, known).await;
                let mut all = self.found_of(service, found, known);
                all.extend_from_slice(left_out);
                let whole = insurance::before_a_stop(&self.ctx, &all, folders).await;
                whole
                    .map(|whole| Some(Go { siblings, whole }))
                    .map_err(RunError::from)
            }
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        Checked { ending, result }
    }

    /// Checks the live state before the stop; `false` if no stop is needed.
    async fn check_live(
        &self,
        run: &Run,
        found: &Found,
        service: &Service,
        trigger: Trigger,
        known: &[Found],
        ending: &mut Ending,
    ) -> Result<bool, RunError> {
        let settings = &self.ctx.settings;
        let unclear = match observe(&self.ctx.clock, service).await {
            Observation::Gone { .. } => return Ok(false),
            Observation::Running { .. } => None,
            // An operator may be stopping it: it would be started again.
            Observation::Changing(why) | Observation::Unknown(why) => {
                Some(StopRefusal::ServiceUnknown(why))
            }
        };
        // The folder of another bot may have appeared after the run began.
        let shared = self
            .ctx
            .connection
            .shared_process(&settings.services, &found.session);
        let unclear = match (unclear, shared.await) {
            (None, Some(why)) => Some(StopRefusal::ServiceUnknown(why)),
            (unclear, _) => unclear,
        };
        let asked = self.ctx.connection.ask(&found.session).await;
        let logged_out = asked.logged_out();
        let looked = runner::look(found).await;
        if let Some(refusal) = unclear {
            // A disconnected bot need not be stopped; the clean-up itself checks again.
            let is_disconnected = looked.is_ok_and(|inventory| {
                self.ctx.connection.judge(asked, &inventory).state == State::Disconnected
            });
            return match is_disconnected {
                true => Ok(false),
                false => Err(refusal.into()),
            };
        }
        let inventory = looked?;
        let verdict = self.ctx.connection.judge(asked, &inventory);
        ending.evidence = Some(verdict.because());
        if trigger == Trigger::Window && verdict.state == State::Disconnected {
            return Ok(false);
        }
        let now = self.ctx.moment();
        let (stops, resumed) = self
            .ctx
            .with_store(move |store| {
                Ok::<_, StoreError>((store.restarts().stops(now)?, store.pause().resumed(now)?))
            })
            .await?;
        let limits = limits_of(settings, &found.session);
        let tier = run.tier.as_deref().and_then(Tier::from_label);
        let immovable = runner::immovable(found, &inventory).await?;
        let inputs = StopInputs {
            immovable: &immovable,
            obstacle: restart_obstacle(&self.ctx.clock, service).await,
            inventory: &inventory,
            verdict: &verdict,
            logged_out,
            clock_set: self.ctx.connection.recent_step(),
            limits: &limits,
            mode: trigger.mode(),
            tier: tier.unwrap_or(Tier::Emergency),
            service: &budget(service, &stops),
        };
        let live = runner::count(&inventory, &limits);
        ending.accumulated = Some((live, live));
        let plan = may_stop(&inputs, now.wall)?;
        if !plan.left_out.is_empty() {
            ending.step(Step::plan(now.wall, &plan));
        }
        // Do not restart the bot for a clean-up that would fail at the first move.
        runner::could_be_cleaned(settings, found, plan).await?;
        let (name, fleet) = (&service.name, self.fleet(known));
        match self.breaker_allows(&stops, resumed, name, trigger, fleet) {
            true => Ok(true),
            false if trigger == Trigger::Window => Ok(false),
            false => Err(self.open_breaker(known).await),
        }
    }

    /// The connection state of the other sessions of the process.
    async fn siblings(&self, found: &Found, service: &Service, known: &[Found]) -> SiblingSessions {
        let mut siblings = SiblingSessions::default();
        let mut others = self.found_of(service, found, known);
        others.retain(|other| other.session != found.session);
        let survey = async {
            for some in others.chunks(ASKED_AT_ONCE) {
                let mut looks = tokio::task::JoinSet::new();
                for other in some.iter().cloned() {
                    let ctx = self.ctx.clone();
                    looks.spawn(async move {
                        // Before the stop, as for a command: a young connection is waited for too.
                        let connection = ctx.connection.clone().looking_once();
                        let asked = connection.ask(&other.session).await;
                        let logged_out = asked.logged_out();
                        let inventory = runner::look(&other).await.ok()?;
                        Some((connection.judge(asked, &inventory).state, logged_out, other))
                    });
                }
                while let Some(looked) = looks.join_next().await {
                    let Ok(Some((state, logged_out, other))) = looked else {
                        continue;
                    };
                    match state {
                        _ if logged_out => _ = siblings.idle.insert(other.session.to_string()),
                        State::Connected => siblings.connected.push(other),
                        State::Disconnected => _ = siblings.idle.insert(other.session.to_string()),
                        _ => {}
                    }
                }
            }
        };
        let surveyed = self.ctx.clock.timeout(SURVEY_TIMEOUT, survey);
        if surveyed.await.is_err() {
            let service = &service.name;
            tracing::warn!(
                service,
                "timeout: not all sessions of the service could be checked"
            );
        }
        siblings
    }

    /// This session and the others of its process.
    pub(super) fn found_of(&self, service: &Service, found: &Found, known: &[Found]) -> Vec<Found> {
        let services = &self.ctx.settings.services;
        let others = known.iter().filter(|other| {
            let same = services.of(&other.session);
            other.session != found.session && same.is_some_and(|same| same.name == service.name)
        });
        [found].into_iter().chain(others).cloned().collect()
    }

    /// See [`folders_left_out`].
    pub(super) async fn left_out(&self, service: &str, known: &[Found]) -> Vec<Found> {
        folders_left_out(&self.ctx.clock, &self.ctx.settings, service, known).await
    }

    pub(super) fn sessions_of(
        &self,
        service: &Service,
        found: &Found,
        known: &[Found],
    ) -> Vec<String> {
        self.found_of(service, found, known)
            .iter()
            .map(|found| found.session.to_string())
            .collect()
    }

    /// Waits until no run is under way on another session of the process; no new one begins
    /// while the lease of the service is held.
    pub(super) async fn others_have_ended(
        self: &Arc<Self>,
        run: &Run,
        found: &Found,
        service: &Service,
        known: &[Found],
    ) -> Result<bool, StoreError> {
        let (began, id) = (self.ctx.clock.now(), run.id);
        let all = self.sessions_of(service, found, known);
        loop {
            let all = all.clone();
            let asked = self.ctx.with_store(move |store| {
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                store.runs().is_under_way(&all, id)
            });
            if !asked.await? {
                return Ok(true);
            }
            if self.ctx.clock.since(began) >= self.bounds.others {
                return Ok(false);
            }
            self.ctx.clock.sleep(super::machine::LOOK_EVERY).await;
        }
    }
}

/// The folders of a service's process that `include` and `exclude` leave out. Nothing in them
/// is cleaned, but the stop may tear their creds.json as well.
pub(super) async fn folders_left_out(
    clock: &Clock,
    settings: &Settings,
    service: &str,
    known: &[Found],
) -> Vec<Found> {
    let Some(mut discovery) = settings.unfiltered_discovery() else {
        return Vec::new();
    };
    let surveyed = blocking(move || discovery.survey().found);
    let Ok(mut found) = clock.timeout(LIST_TIMEOUT, surveyed).await else {
        tracing::warn!(
            service,
            "timeout: the sessions that are left out were not listed, and their creds.json is not copied before a stop"
        );
        return Vec::new();
    };
    found.retain(|found| {
        let is_known = |one: &Found| one.session == found.session || one.place == found.place;
        let own = settings.services.of(&found.session);
        !known.iter().any(is_known) && own.is_some_and(|own| own.name == service)
    });
    found
}
