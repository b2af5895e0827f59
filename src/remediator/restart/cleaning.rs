//! The clean-up of the folders of a service that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;

use crate::folder::{Found, SessionName};
use crate::policy::guard::CleanupMode;
use crate::policy::{CleanRequest, SameLogin, Tier};
use crate::remediator::copies;
use crate::remediator::outcome::{RunError, RunResult};
use crate::remediator::quarantine::{Halt, QuarantineName, look_up};
use crate::remediator::runner::{self, StoppedService, blocking};
use crate::remediator::store::audit::{Fate, FileRecord};
use crate::remediator::store::runs::{Action, Ending, Run};
use crate::remediator::store::{BlockingStore, StoreError};

use super::coordinator::RestartCoordinator;
use super::machine::GRACE;

/// After the process is gone, the folder is watched for this long (or for the quiet window if
/// that is shorter) before anything moves: if the wrong service is configured, this shows the
/// writes of the bot that still runs.
pub(super) const WATCHED_FOR: Duration = Duration::from_secs(10);

/// A run of another session that was cleaned during the same stop. It ends when its bot is back.
#[derive(Debug)]
pub(super) struct SiblingRun {
    pub run: Run,
    pub found: Found,
    pub cleaned: RunResult,
    pub ending: Ending,
}

/// What is to be cleaned while a service is gone.
pub(super) struct CleanJob {
    pub run: Run,
    pub found: Found,
    pub known: Vec<Found>,
    /// Names that several folders have: their sessions are not cleaned.
    pub duplicates: BTreeSet<SessionName>,
    pub mode: CleanupMode,
    pub sibling_runs: Arc<Mutex<Vec<SiblingRun>>>,
    pub ending: Ending,
}

/// The result of a [`CleanJob`].
pub(super) struct Cleaned {
    pub ending: Ending,
    /// `None` on a timeout.
    pub result: Option<RunResult>,
}

impl RestartCoordinator {
    /// Cleans the folder for which the service was stopped, and those of its other sessions
    /// for which a run waits.
    pub(super) async fn clean_all(
        self: &Arc<Self>,
        job: CleanJob,
        stopped: &StoppedService,
    ) -> Cleaned {
        let kept = job.ending.clone();
        // A stalled disk must not keep the bot stopped. In a separate task, because it may panic.
        let work = {
            let (coordinator, stopped) = (Arc::clone(self), stopped.clone());
            tokio::spawn(async move { coordinator.clean_in_turn(job, &stopped).await })
        };
        let abort = work.abort_handle();
        match self.ctx.clock.timeout(self.bounds.down, work).await {
            Ok(Ok((ending, result))) => Cleaned {
                ending,
                result: Some(result),
            },
            Ok(Err(error)) => Cleaned {
                ending: kept,
                result: Some(Err(RunError::BrokeOff(error.to_string()))),
            },
            Err(_) => {
                abort.abort();
                Cleaned {
                    ending: kept,
                    result: None,
                }
            }
        }
    }

    async fn clean_in_turn(
        self: Arc<Self>,
        job: CleanJob,
        stopped: &StoppedService,
    ) -> (Ending, RunResult) {
        let mut ending = job.ending;
        let clock = &self.ctx.clock;
        let gone = clock.now();
        runner::settle(&self.ctx, &job.found, gone).await;
        let watched = WATCHED_FOR.min(self.ctx.settings.connection.quiet);
        clock.sleep(watched.saturating_sub(clock.since(gone))).await;
        let began = clock.now();
        let result = self
            .clean_session(&job.run, &job.found, stopped, job.mode, &mut ending)
            .await;
        let others = job.known.iter().filter(|other| {
            let services = &self.ctx.settings.services;
            let service = services.of(&other.session);
            other.session != job.found.session
                && !job.duplicates.contains(&other.session)
                && service.is_some_and(|service| service.name == stopped.service.name)
        });
        let others: Vec<&Found> = others.collect();
        let same_logins = match others.is_empty() {
            true => BTreeMap::new(),
            false => {
                let (known, now) = (job.known.clone(), self.ctx.now());
                blocking(move || copies::of(&known, now)).await
            }
        };
        let is_copy = |other: &Found| {
            let same = same_logins.get(&other.session);
            same.is_some_and(SameLogin::is_copy)
        };
        for other in others.iter().filter(|other| !is_copy(other)) {
            if !stopped.halt.is_halted() && clock.since(began) < self.bounds.all_clean {
                self.clean_sibling(other, stopped, &job.sibling_runs).await;
            }
        }
        (ending, result)
    }

    async fn clean_session(
        &self,
        run: &Run,
        found: &Found,
        stopped: &StoppedService,
        mode: CleanupMode,
        ending: &mut Ending,
    ) -> RunResult {
        let ask = CleanRequest {
            mode,
            tier: run.tier.as_deref().and_then(Tier::from_label),
            force: None,
        };
        let clean = runner::clean_while_down(&self.ctx, run.id, found, ask, stopped, ending);
        match self.ctx.clock.timeout(self.bounds.clean, clean).await {
            Ok(result) => result,
            Err(_) => {
                super::driver::end_moves(&self.ctx.clock, &stopped.halt).await;
                look_what_moved(&self.ctx.clock, found, ending).await;
                Err(RunError::CleanTimeout(self.bounds.clean))
            }
        }
    }

    /// Performs the armed or queued run of another session of the process, which is stopped
    /// anyway. The run is added to `runs`, even if this is aborted.
    async fn clean_sibling(
        self: &Arc<Self>,
        other: &Found,
        stopped: &StoppedService,
        runs: &Arc<Mutex<Vec<SiblingRun>>>,
    ) {
        let (coordinator, found, halt) = (Arc::clone(self), other.clone(), stopped.halt.clone());
        let all = Arc::clone(runs);
        let store = &self.ctx.store;
        let claimed = store.block(move |store| coordinator.claim(store, &found, &halt, &all));
        let (run, mut ending) = match claimed.await {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return,
            Err(error) => return tracing::error!("{error}"),
        };
        runner::settle(&self.ctx, other, self.ctx.clock.now()).await;
        let mode = match run.action {
            Action::Emergency => CleanupMode::Emergency,
            _ => CleanupMode::Cleanup,
        };
        let result = self
            .clean_session(&run, other, stopped, mode, &mut ending)
            .await;
        let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sibling) = runs.last_mut() {
            (sibling.cleaned, sibling.ending) = (result, ending);
        }
    }

    /// Takes the waiting run of a session whose service is down. May block for so long that the
    /// caller has given up: then the run waits again.
    pub(super) fn claim(
        &self,
        store: &BlockingStore<'_>,
        found: &Found,
        halt: &Halt,
        runs: &Mutex<Vec<SiblingRun>>,
    ) -> Result<Option<(Run, Ending)>, StoreError> {
        let session = found.session.as_str();
        let now = self.ctx.moment();
        for action in [Action::Emergency, Action::Cleanup] {
            store.lock().armed().enqueue(session, action, now)?;
        }
        // Claim it before recovery can take it for an interrupted run.
        let mut ours = self.claimed();
        let Some(run) = store.lock().queue().claim(session, now)? else {
            return Ok(None);
        };
        // The code that collects the runs calls `halt` first, and must not wait for the journal.
        let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
        if halt.is_halted() {
            drop(runs);
            store.lock().queue().requeue(
                run.id,
                "its service was about to be started again",
                now.wall,
            )?;
            return Ok(None);
        }
        ours.insert(run.id);
        let ending = Ending {
            note: Some("its process was stopped for another session".into()),
            ..Ending::default()
        };
        runs.push(SiblingRun {
            run: run.clone(),
            found: found.clone(),
            cleaned: Err(RunError::DownTimeout),
            ending: ending.clone(),
        });
        Ok(Some((run, ending)))
    }
}

/// Completes the record of a run that was aborted.
async fn look_what_moved(clock: &Clock, found: &Found, ending: &mut Ending) {
    let Some(name) = ending.run.as_deref().and_then(QuarantineName::parse) else {
        return;
    };
    let place = found.place.clone();
    let looked = blocking(move || look_up(&place, &name));
    if let Ok(Ok(Some(there))) = clock.timeout(GRACE, looked).await {
        ending.moves = FileRecord::found(&there.moves, Fate::Moved, Fate::Left);
        ending.files = there.files;
    }
}
