//! The last look at the bot before files move, and another one where that is too long ago.

use std::sync::Arc;

use crate::connection::{State, Verdict};
use crate::folder::{Found, Timestamp};
use crate::policy::Refusal;

use super::super::outcome::RunError;
use super::super::quarantine::{Done, LockedFolder, Prepared, change};
use super::super::store::audit::Step;
use super::super::store::runs::Ending;
use super::{Context, StoppedService, ask_and_scan};

/// A run looks again so many times; then it ends where it is.
const LOOKS_AGAIN: u32 = 3;

/// Whose files are to be moved, and by which verdict.
#[derive(Debug)]
pub(super) struct Mover<'a> {
    pub ctx: &'a Context,
    pub found: &'a Found,
    pub folder: &'a Arc<LockedFolder>,
    pub stopped: Option<&'a StoppedService>,
    /// The verdict under which the plan was made.
    pub first: &'a Verdict,
    /// A person has forced it: the bot is not asked.
    pub is_forced: bool,
}

impl Mover<'_> {
    /// Asks again, and lets files move if the bot is still found disconnected.
    pub async fn confirm(&self, ending: &mut Ending) -> Result<(), RunError> {
        if !self.is_forced {
            let asked = ask_and_scan(&self.ctx.connection, self.found, self.folder, self.stopped);
            let again = match asked.await {
                Ok((again, _)) => again,
                Err(obstacle) => Verdict::unknown("folder", obstacle.to_string()),
            };
            ending.step(Step::verdict(self.ctx.now(), &again, true));
            ending.evidence = Some(format!(
                "{}; asked again: {}",
                self.first.because(),
                again.because()
            ));
            match again.state {
                // The plan may include files that may move only if the process is proven gone.
                State::Disconnected if self.first.process_gone && !again.process_gone => {
                    return Err(Refusal::ConnectionUnknown.into());
                }
                State::Disconnected => self.folder.confirm_moves(),
                State::Connected => return Err(Refusal::Connected.into()),
                State::Unknown => return Err(Refusal::ConnectionUnknown.into()),
            }
        }
        Ok(self.folder.confirm_place_async(&self.found.place).await?)
    }

    /// Moves the files of a plan. Where the last look is too long ago the bot is looked at again,
    /// and the moves go on if it is still disconnected; otherwise the run ends where it is. The
    /// second value says why it was interrupted.
    pub async fn execute(
        &self,
        prepared: &Arc<Prepared>,
        ending: &mut Ending,
    ) -> Result<(Done, String), RunError> {
        let mut why = "this program was suspended several times".to_owned();
        for look in 0..=LOOKS_AGAIN {
            let (moving, clock) = (Arc::clone(prepared), self.ctx.clock.clone());
            let executed = change(move || moving.execute(Timestamp::of(&clock))).await?;
            if let Some(done) = executed {
                return Ok((done, "the bot is started again".to_owned()));
            }
            if look == LOOKS_AGAIN {
                break;
            }
            tracing::warn!(
                session = %self.found.session,
                "the last look at the bot is too long ago, as after a suspend; it is looked at again"
            );
            ending.step(Step::new(self.ctx.now(), "stood_still", None));
            if let Err(error) = self.confirm(ending).await {
                why = format!("this program stood still, and then: {error}");
                break;
            }
        }
        let (ended, clock) = (Arc::clone(prepared), self.ctx.clock.clone());
        let done = change(move || ended.interrupt(Timestamp::of(&clock))).await?;
        Ok((done, why))
    }
}
