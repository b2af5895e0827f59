//! Begins the restart of a service for a run.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::control::Service;
use crate::folder::{Found, Timestamp};
use crate::remediator::insurance::stop::RESTORE_TIMEOUT;
use crate::remediator::outcome::RunError;
use crate::remediator::store::runs::{Ending, Run};

use super::checks::SiblingSessions;
use super::coordinator::{DiscoveredSessions, HALTS_WITHIN, RestartCoordinator, RestartResult};
use super::driver::{Driver, LiveRun};
use super::machine::{GRACE, LOCK_EVERY, SHOWS_WITHIN};
use super::state::{Event, Restart, Times, Trigger};

/// Failed actions are retried at least this often.
const RETRY_EVERY: Duration = Duration::from_secs(60);

impl RestartCoordinator {
    /// Starts a driver. `false` during a shutdown, because nothing would wait for the driver.
    pub(super) fn spawn(&self, driver: Driver, first: Event) -> bool {
        let mut drivers = self.drivers();
        if *self.shared.leaving.borrow() {
            return false;
        }
        while drivers.try_join_next().is_some() {}
        drivers.spawn(driver.drive(first));
        true
    }

    pub(super) fn times(&self, service: &Service) -> Times {
        let sources = &self.ctx.connection.settings;
        Times {
            stop: service.stop_timeout,
            gone: service.gone_timeout,
            start: service.start_timeout,
            shows: shows_within(service),
            connect: sources.connected_within(service),
            sockets: sources.sockets_show_within(service),
            clean: self.bounds.down + HALTS_WITHIN + RESTORE_TIMEOUT * 2 + GRACE,
            retry: self.ctx.settings.armed.look_every.min(RETRY_EVERY),
        }
    }

    /// Restarts the service if the checks allow it, and cleans in between.
    pub async fn run(
        self: &Arc<Self>,
        run: &Run,
        found: &Found,
        service: Service,
        trigger: Trigger,
        known: &DiscoveredSessions,
        ending: &mut Ending,
    ) -> RestartResult {
        let name = service.name.clone();
        let result = self
            .restart(run, found, service, trigger, known, ending)
            .await;
        if matches!(result, RestartResult::Busy) {
            let until = self.ctx.clock.now() + LOCK_EVERY;
            let waits = self.shared.waits.lock();
            let mut waits = waits.unwrap_or_else(PoisonError::into_inner);
            waits.insert(name, until);
        }
        result
    }

    async fn restart(
        self: &Arc<Self>,
        run: &Run,
        found: &Found,
        service: Service,
        trigger: Trigger,
        known: &DiscoveredSessions,
        ending: &mut Ending,
    ) -> RestartResult {
        let DiscoveredSessions { found: all, .. } = known;
        let Some(lease) = self.lease(&service.name) else {
            return RestartResult::Busy;
        };
        let _one_window_at_a_time = match trigger {
            Trigger::Emergency => None,
            Trigger::Window => match self.shared.window.try_lock() {
                Ok(slot) => Some(slot),
                Err(_) => return RestartResult::CleanWithoutStop,
            },
        };
        match self
            .ctx
            .with_store(|store| store.restarts().pending())
            .await
        {
            Ok(pending) if pending.iter().any(|one| one.service == service.name) => {
                return RestartResult::Busy;
            }
            Ok(_) => {}
            Err(error) => return RestartResult::Ended(Err(error.into())),
        }
        match self.others_have_ended(run, found, &service, all).await {
            Ok(true) => {}
            Ok(false) => return RestartResult::Busy,
            Err(error) => return RestartResult::Ended(Err(error.into())),
        }
        let decided = Timestamp::of(&self.ctx.clock).nanos();
        let (name, session) = (&service.name, found.session.as_str());
        let times = self.times(&service);
        let state = Restart::new(name, session, run.id, trigger, decided, times);
        let left_out = self.left_out(&service.name, all).await;
        let mut driver = Driver::new(self, lease, Some(service), all, left_out, state);
        let (sender, result) = oneshot::channel();
        driver.live = Some(LiveRun {
            run: run.clone(),
            found: found.clone(),
            ending: ending.clone(),
            error: None,
            needs_no_stop: false,
            cleaned: None,
            duplicates: known.duplicates.clone(),
            siblings: SiblingSessions::default(),
            sibling_runs: Arc::default(),
            result: sender,
        });
        // In a separate task, so that the service is started again even if this task ends.
        if !self.spawn(driver, Event::Alert) {
            return RestartResult::Busy;
        }
        match result.await {
            Ok((result, recorded)) => {
                *ending = recorded;
                result
            }
            Err(_) => RestartResult::Ended(Err(RunError::BrokeOff("its task ended".into()))),
        }
    }
}

/// Time from the end of a start until the process shows.
pub(super) fn shows_within(service: &Service) -> Duration {
    match service.shows_at_once() {
        true => SHOWS_WITHIN,
        false => service.start_timeout,
    }
}
