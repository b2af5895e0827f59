//! What the run is told.

use std::sync::{Arc, PoisonError};

use crate::policy::StopRefusal;
use crate::remediator::outcome::{BotState, RunError, RunResult};
use crate::remediator::restart::coordinator::RestartResult;
use crate::remediator::restart::state::{BotVerdict, Returned, WaitingSession};
use crate::remediator::runner::{self, blocking};
use crate::remediator::store::runs::Ending;

use super::Driver;

impl Driver {
    /// What is known of the bot of this session.
    fn bot(&self, verdict: BotVerdict, session: &str) -> BotState {
        let is_late = |one: &WaitingSession| one.session == session && one.seen < 2;
        let why = match self.why.is_empty() {
            true => "it ended after its start".to_owned(),
            false => self.why.clone(),
        };
        match verdict {
            _ if !self.state.waiting.iter().any(is_late) => BotState::Connected,
            BotVerdict::RunningNotConnected => BotState::NotConnected(format!(
                "not connected within {}",
                humantime::format_duration(self.state.times.connect)
            )),
            BotVerdict::StartUnknown => BotState::StartUnknown(why),
            BotVerdict::Contradicted => BotState::Down(
                "it is not started while a live source says that it is connected".into(),
            ),
            _ => BotState::Down(why),
        }
    }

    pub(super) async fn report(&mut self, verdict: BotVerdict) {
        let Some(mut live) = self.live.take() else {
            return;
        };
        let runs = std::mem::take(
            &mut *live
                .sibling_runs
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for sibling in runs {
            let bot = self.bot(verdict, sibling.found.session.as_str());
            let result = done_if_back(sibling.cleaned, bot, &sibling.ending);
            runner::end(self.ctx(), &sibling.run, result, sibling.ending).await;
            let (coordinator, id) = (Arc::clone(&self.coordinator), sibling.run.id);
            blocking(move || coordinator.claimed().remove(&id)).await;
        }
        let why = self.why.clone();
        let not_begun = |error: Option<RunError>| match error {
            Some(RunError::StopRefused(StopRefusal::Busy)) | None => RestartResult::Busy,
            Some(error) => RestartResult::Ended(Err(error)),
        };
        let result = match verdict {
            BotVerdict::NotBegun if live.needs_no_stop => RestartResult::NeedsNoStop,
            BotVerdict::StoppedByOperator => RestartResult::NeedsNoStop,
            BotVerdict::NotBegun | BotVerdict::Busy => not_begun(live.error.take()),
            BotVerdict::NotSaved => match live.error.take() {
                None => RestartResult::Ended(Err(RunError::Store(
                    "the journal hangs; nothing was stopped".into(),
                ))),
                error => not_begun(error),
            },
            BotVerdict::Unknown => {
                RestartResult::Ended(Err(StopRefusal::ServiceUnknown(why).into()))
            }
            BotVerdict::NotStopped(returned) => {
                let why = match (returned, why.is_empty()) {
                    (Returned::Timeout, _) | (_, true) => "it took too long".to_owned(),
                    _ => why,
                };
                RestartResult::Ended(Err(RunError::NotStopped(why)))
            }
            BotVerdict::NotGone => {
                RestartResult::Ended(Err(RunError::NotGone(self.state.times.gone)))
            }
            verdict => {
                let bot = self.bot(verdict, live.found.session.as_str());
                let cleaned = live.cleaned.take().unwrap_or(Err(RunError::DownTimeout));
                RestartResult::Ended(done_if_back(cleaned, bot, &live.ending))
            }
        };
        let _ = live.result.send((result, live.ending));
    }
}

/// A run that has cleaned is done when its bot is back.
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
