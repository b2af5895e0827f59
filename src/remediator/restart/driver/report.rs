//! Reports to the operator and to the run.

use std::sync::{Arc, PoisonError};

use crate::policy::StopRefusal;
use crate::remediator::outcome::{BotState, RunError, RunResult};
use crate::remediator::restart::coordinator::RestartResult;
use crate::remediator::restart::state::{
    Notice, RestartReport, RestartStep, Returned, WaitingSession,
};
use crate::remediator::runner::{self, blocking};
use crate::remediator::store::audit::Step;
use crate::remediator::store::runs::Ending;

use super::{Driver, now};

impl Driver {
    /// The state of the bot of this session.
    fn bot(&self, verdict: RestartReport, session: &str) -> BotState {
        let is_late = |one: &WaitingSession| one.session == session && one.seen < 2;
        let why = match self.why.is_empty() {
            true => "its process ended after the start".to_owned(),
            false => self.why.clone(),
        };
        match verdict {
            _ if !self.state.waiting.iter().any(is_late) => BotState::Connected,
            RestartReport::RunningNotConnected => BotState::NotConnected(format!(
                "not connected within {}",
                humantime::format_duration(self.state.times.connect)
            )),
            RestartReport::StartUnknown => BotState::StartUnknown(why),
            RestartReport::StoppedAfterStart => {
                BotState::Stopped("a person starts it again".into())
            }
            RestartReport::PausedAfterStart => BotState::Stopped(
                "all action is paused, so it is started after: baileys_remediator resume".into(),
            ),
            RestartReport::Contradicted => BotState::NotStarted(format!(
                "a live source says that it is connected ({why}); end that process, or correct that source: the bot is started once it no longer says so"
            )),
            RestartReport::Forbidden(how) => BotState::NotStarted(how.text().into()),
            _ => BotState::Down(why),
        }
    }

    /// In a task of its own: the records of the runs wait for the journal, and no start does.
    pub(super) fn report(&mut self, verdict: RestartReport) {
        let Some(mut live) = self.live.take() else {
            return;
        };
        let runs = std::mem::take(
            &mut *live
                .sibling_runs
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let siblings = runs.into_iter().map(|sibling| {
            let bot = self.bot(verdict, sibling.found.session.as_str());
            let result = done_if_back(sibling.cleaned, bot, &sibling.ending);
            (sibling.run, result, sibling.ending)
        });
        let siblings: Vec<_> = siblings.collect();
        let why = self.why.clone();
        let not_begun = |error: Option<RunError>| match error {
            Some(RunError::StopRefused(StopRefusal::Busy)) | None => RestartResult::Busy,
            Some(error) => RestartResult::Ended(Err(error)),
        };
        let result = match verdict {
            RestartReport::NotBegun if live.needs_no_stop => RestartResult::CleanWithoutStop,
            RestartReport::StoppedByOperator => RestartResult::CleanWithoutStop,
            RestartReport::NotBegun | RestartReport::Busy => not_begun(live.error.take()),
            RestartReport::NotSaved => match live.error.take() {
                None => RestartResult::Ended(Err(RunError::Store(
                    "the journal hangs; nothing was stopped".into(),
                ))),
                error => not_begun(error),
            },
            RestartReport::Unknown => {
                RestartResult::Ended(Err(StopRefusal::ServiceUnknown(why).into()))
            }
            RestartReport::NotStopped(returned) => match live.error.take() {
                Some(refused) if returned == Returned::NotSpawned => {
                    RestartResult::Ended(Err(refused))
                }
                _ => {
                    let why = match (returned, why.is_empty()) {
                        (Returned::Timeout, _) | (_, true) => "timeout".to_owned(),
                        _ => why,
                    };
                    RestartResult::Ended(Err(RunError::NotStopped(why)))
                }
            },
            RestartReport::NotGone => {
                RestartResult::Ended(Err(RunError::NotGone(self.state.times.gone)))
            }
            verdict => {
                let bot = self.bot(verdict, live.found.session.as_str());
                let cleaned = live.cleaned.take().unwrap_or(Err(RunError::DownTimeout));
                RestartResult::Ended(done_if_back(cleaned, bot, &live.ending))
            }
        };
        let coordinator = Arc::clone(&self.coordinator);
        self.reporting = Some(tokio::spawn(async move {
            for (run, result, ending) in siblings {
                runner::end(&coordinator.ctx, &run, result, ending).await;
                let (coordinator, id) = (Arc::clone(&coordinator), run.id);
                blocking(move || coordinator.claimed().remove(&id)).await;
            }
            let _ = live.result.send((result, live.ending));
        }));
    }

    pub(super) fn notify(&self, notice: Notice) {
        let (service, session, why) = (&self.state.service, &self.state.session, &self.why);
        let text = match notice {
            Notice::LockBusy => {
                "another process holds the lock of its folder, or called its supervisor a moment ago; retrying"
            }
            Notice::StopUnknown => "the stop failed or took too long, and may still take effect",
            Notice::StartUnknown => {
                "it is unknown whether the service runs; it is not started again until it is known to be gone"
            }
            Notice::NotGone => {
                "the supervisor reports the service neither as running nor as stopped, so it is not started: end what is left of it, or start it yourself"
            }
            Notice::Contradicted => {
                "the supervisor does not say that the service runs, and a live source says that it is connected: it is not started. Check which process of this bot runs, and name the right one in the configuration"
            }
            Notice::Down => "the service does not run; the start is retried",
            Notice::CredsTorn => {
                "a creds.json is broken and its copy could not be put back, or its folder does not exist, so the service is not started; retrying. Mount the folder, or move it back. To help with the file, run baileys_remediator pause, then creds restore, then resume"
            }
            Notice::RunningNotConnected => "the service runs, but did not connect in time",
            Notice::Ended => {
                "the service ran after its start and has ended since, so it is not started again; start it yourself"
            }
            Notice::Retired => {
                "its supervisor has no such process any more, and the folders of its sessions are gone: it was removed, so its start is given up"
            }
            Notice::Forbidden(how) => how.text(),
        };
        tracing::error!(service, session, run_id = self.state.run_id, why, "{text}");
    }

    /// A step in the record of the run, with the downtime.
    pub(super) fn record(&mut self, step: RestartStep) {
        let at = self.ctx().now();
        let down = self
            .state
            .stopped_at
            .map(|at| format!("down for {} s", now(self.clock()).since(at).as_secs()));
        let step = match step {
            RestartStep::Stopping => Step::new(at, "stopping", Some(self.state.service.clone())),
            RestartStep::Gone => Step::new(at, "gone", None),
            RestartStep::Starting => Step::new(at, "starting", None),
            RestartStep::Started => Step::new(at, "started", down),
            RestartStep::Connected => Step::new(at, "connected", down),
        };
        match &mut self.live {
            Some(live) => live.ending.step(step),
            None => {
                let (ctx, id) = (self.ctx().clone(), self.state.run_id);
                tokio::spawn(async move {
                    let noted = ctx
                        .with_store(move |store| store.audit().note(id, &[step]))
                        .await;
                    if let Err(error) = noted {
                        tracing::warn!(id, "failed to save a step: {error}");
                    }
                });
            }
        }
    }
}

/// A run that has cleaned succeeds only if its bot is back.
fn done_if_back(cleaned: RunResult, bot: BotState, ending: &Ending) -> RunResult {
    match (cleaned, bot) {
        (Ok(done), BotState::Connected) => Ok(done),
        (Ok(_), bot) => Err(RunError::NotBack {
            bot,
            run: ending.run.clone(),
        }),
        (Err(error), bot) => Err(RunError::AfterStop {
            error: Box::new(error),
            bot,
        }),
    }
}
