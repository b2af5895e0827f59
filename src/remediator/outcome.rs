//! What a run came to. The label of the metric, the sentence, the status on record, the exit
//! code and what happens to an armed run are all derived from the value here, and nowhere else.

use std::fmt;
use std::time::Duration;

use crate::policy::insurance::RestoreRefusal;
use crate::policy::{Refusal, StopRefusal};

use super::journal::{Ending, JournalError, Status};
use super::quarantine::Obstacle;

/// How a run ended: what it did, or why it did not.
pub type RunResult = Result<RunOutcome, RunError>;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// A dry run: a plan was made, nothing was moved.
    Planned,
    /// Files were moved into the quarantine.
    Cleaned {
        /// Files moved.
        moved: usize,
        /// Accumulated files before.
        before: usize,
        /// Accumulated files after.
        after: usize,
        /// Name in the quarantine, for `undo`.
        run: String,
    },
    /// Files were put back from the quarantine.
    Undone {
        /// Files put back.
        restored: usize,
        /// Files that stay in the quarantine because the folder has newer ones.
        blocked: usize,
        /// Files that were not found as they were moved.
        missing: usize,
    },
    /// A copy of creds.json was put back.
    Restored {
        /// Number of the copy.
        copy: u64,
        /// `nextPreKeyId` of the copy, and as it was put back.
        counters: (u32, u32),
        /// Where in the folder the replaced file is kept, if there was one.
        replaced: Option<String>,
    },
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunOutcome::Planned => f.write_str("dry run: nothing was moved"),
            RunOutcome::Cleaned {
                moved,
                before,
                after,
                run,
            } => write!(
                f,
                "{moved} files moved into the quarantine, {before} accumulated files before, {after} now.\nPut them back with: baileys_remediator undo {run}  (and the same --sessions.path or --config.file)"
            ),
            RunOutcome::Undone {
                restored,
                blocked,
                missing,
            } => {
                write!(f, "{restored} files put back.")?;
                if *blocked > 0 {
                    write!(
                        f,
                        " {blocked} stay in the quarantine: the folder has newer files of these names."
                    )?;
                }
                if *missing > 0 {
                    write!(f, " {missing} could not be found as they were moved.")?;
                }
                f.write_str("\nRestart the bot now: it reads these files only when it starts.")
            }
            RunOutcome::Restored {
                copy,
                counters: (from, to),
                replaced,
            } => {
                write!(f, "copy {copy} of creds.json is back.")?;
                if from == to {
                    write!(f, " nextPreKeyId is {to}.")?;
                } else {
                    write!(
                        f,
                        " nextPreKeyId and firstUnuploadedPreKeyId were raised to {to} (the copy said {from})."
                    )?;
                }
                if let Some(kept) = replaced {
                    write!(f, "\nWhat it replaced is kept as {kept} in the folder.")?;
                }
                f.write_str("\nStart the bot now.")
            }
        }
    }
}

/// What is known of a bot after the start of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BotState {
    /// It is connected.
    Connected,
    /// Its service runs, and it is not connected: why.
    NotConnected(String),
    /// Its service was started, and it is unknown whether it runs: why. It is not started a
    /// second time before it is known to be gone.
    StartUnknown(String),
    /// Its service does not run: why. The start is retried.
    Down(String),
}

impl BotState {
    /// Value of the label `reason` of a run whose bot is in this state after its restart;
    /// none for one that is connected.
    pub const fn label(&self) -> Option<&'static str> {
        match self {
            BotState::Connected => None,
            BotState::NotConnected(_) => Some("not_connected"),
            BotState::StartUnknown(_) => Some("start_unknown"),
            BotState::Down(_) => Some("down"),
        }
    }
}

impl fmt::Display for BotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BotState::Connected => f.write_str("it is connected again"),
            BotState::NotConnected(why) => write!(f, "it runs, but it is not connected: {why}"),
            BotState::StartUnknown(why) => write!(
                f,
                "it is unknown whether it runs, so it is not started a second time: {why}"
            ),
            BotState::Down(why) => {
                write!(f, "it is down: {why}; the start is retried every minute")
            }
        }
    }
}

/// Where the remediator was killed or ended in a run that moved nothing for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crash {
    /// While the service was down for the run; the service has been started since.
    WhileDown,
    /// Before anything moved.
    NothingMoved,
    /// Before the copy of creds.json was put back.
    NothingRestored,
    /// What is left of the run cannot be looked at: why.
    Unreadable(String),
}

/// What a crash cut short, and a restart could not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// A clean-up: a part of its plan was moved.
    Clean,
    /// An undo.
    Undo,
}

/// Why a run did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// The guard table refused.
    Refused(Refusal),
    /// The bot may not be stopped.
    StopRefused(StopRefusal),
    /// The bot may not be stopped, and a clean-up without a stop was refused as well.
    NotCleanedEither {
        /// Why the bot may not be stopped.
        stop: StopRefusal,
        /// Why it was not cleaned without a stop.
        cleanup: Box<RunError>,
    },
    /// A copy of creds.json is not put back.
    Restore(RestoreRefusal),
    /// The file system, the lock or the quarantine.
    Obstacle(Obstacle),
    /// A file changed during the run; everything was put back, but for this many files of
    /// which the folder had a newer one again.
    Changed(usize),
    /// The journal cannot be used.
    Journal(String),
    /// There is no such session.
    UnknownSession,
    /// Only an operator may ask for this.
    OperatorOnly,
    /// The remediator ended in the middle, and nothing came of the run.
    Crashed(Crash),
    /// The remediator ended in the middle, and the run stays incomplete.
    Interrupted(Interruption),
    /// The stop of the service failed: why.
    NotStopped(String),
    /// The service was not gone this long after its stop.
    NotGone(Duration),
    /// The clean-up took longer than this.
    CleanTimeout(Duration),
    /// The bot was down for too long.
    DownTimeout,
    /// The run ended by a bug: what the task said.
    BrokeOff(String),
    /// The run failed once the stop had begun.
    AfterStop {
        /// Why.
        error: Box<RunError>,
        /// What is known of the bot at the end of the run.
        bot: BotState,
    },
    /// The folder was cleaned, and the bot has not come back.
    NotBack {
        /// What is known of the bot.
        bot: BotState,
        /// Name in the quarantine, for `undo`.
        run: Option<String>,
    },
}

/// What the end of a run does to armed runs of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmedChange {
    /// Nothing.
    Keep,
    /// The run is armed: it waits for a better moment.
    Arm,
    /// The run is no longer armed: its reason is gone.
    Disarm,
}

impl RunError {
    /// Every value of the label `reason` of a failed clean-up.
    pub const FAILURES: [&'static str; 12] = [
        "io",
        "changed",
        "journal",
        "crashed",
        "interrupted",
        "broke_off",
        "not_stopped",
        "not_gone",
        "timeout",
        "not_connected",
        "start_unknown",
        "down",
    ];

    /// Every value of the label `reason` of a refused clean-up.
    pub fn refusals() -> impl Iterator<Item = &'static str> {
        Refusal::LABELS
            .into_iter()
            .chain(StopRefusal::LABELS)
            .chain(Obstacle::REFUSALS)
            .chain(["unknown_session"])
    }

    /// Value of the label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            RunError::Refused(refusal) => refusal.label(),
            RunError::StopRefused(stop) | RunError::NotCleanedEither { stop, .. } => stop.label(),
            RunError::Restore(refusal) => refusal.label(),
            RunError::Obstacle(obstacle) => obstacle.label(),
            RunError::Changed(_) => "changed",
            RunError::Journal(_) => "journal",
            RunError::UnknownSession => "unknown_session",
            RunError::OperatorOnly => "unknown_action",
            RunError::Crashed(_) => "crashed",
            RunError::Interrupted(_) => "interrupted",
            RunError::NotStopped(_) => "not_stopped",
            RunError::NotGone(_) => "not_gone",
            RunError::CleanTimeout(_) | RunError::DownTimeout => "timeout",
            RunError::BrokeOff(_) => "broke_off",
            RunError::AfterStop { error, .. } => error.label(),
            RunError::NotBack { bot, .. } => match bot.label() {
                Some(label) => label,
                None => "not_connected",
            },
        }
    }

    /// Whether a guard refused, rather than something breaking.
    pub fn status(&self) -> Status {
        match self {
            RunError::Refused(_)
            | RunError::StopRefused(_)
            | RunError::NotCleanedEither { .. }
            | RunError::Restore(_)
            | RunError::UnknownSession => Status::Refused,
            RunError::Obstacle(Obstacle::Io(_)) => Status::Failed,
            RunError::Obstacle(_) => Status::Refused,
            RunError::AfterStop { error, .. } => error.status(),
            RunError::Changed(_)
            | RunError::Journal(_)
            | RunError::OperatorOnly
            | RunError::Crashed(_)
            | RunError::Interrupted(_)
            | RunError::NotStopped(_)
            | RunError::NotGone(_)
            | RunError::CleanTimeout(_)
            | RunError::DownTimeout
            | RunError::BrokeOff(_)
            | RunError::NotBack { .. } => Status::Failed,
        }
    }

    /// Whether the stop that this run asked for may still take effect.
    pub fn may_stop_late(&self) -> bool {
        matches!(self, RunError::NotStopped(_) | RunError::NotGone(_))
    }

    /// What it does to armed runs.
    pub fn armed(&self) -> ArmedChange {
        match self {
            RunError::Refused(refusal) | RunError::StopRefused(StopRefusal::Guard(refusal)) => {
                match refusal {
                    Refusal::Connected | Refusal::ConnectionUnknown => ArmedChange::Arm,
                    Refusal::StaleAlert { .. } => ArmedChange::Disarm,
                    _ => ArmedChange::Keep,
                }
            }
            RunError::NotCleanedEither { cleanup, .. } => match &**cleanup {
                // Nothing is cleaned while the breaker is open: it waits for `resume`.
                RunError::StopRefused(StopRefusal::BreakerOpen) => ArmedChange::Arm,
                other => other.armed(),
            },
            RunError::AfterStop { error, .. } => error.armed(),
            _ => ArmedChange::Keep,
        }
    }
}

/// Derives status, reason and detail of a run's record from its result.
pub fn settle(result: &RunResult, ending: &mut Ending) -> Status {
    match result {
        Ok(_) => Status::Done,
        Err(error) => {
            ending.reason = Some(error.label());
            ending.detail = Some(error.to_string());
            error.status()
        }
    }
}

/// How a command ended; also the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// A guard refused, and nothing was touched.
    Refused = 1,
    /// It could not be done: an error, or not understood.
    Failed = 2,
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Done | Status::Queued | Status::Running => Exit::Done,
            Status::Refused => Exit::Refused,
            Status::Failed => Exit::Failed,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |span: &Duration| humantime::format_duration(*span);
        match self {
            RunError::Refused(refusal) => refusal.fmt(f),
            RunError::StopRefused(stop) => stop.fmt(f),
            RunError::NotCleanedEither { stop, cleanup } => {
                write!(f, "{stop}. It was not cleaned without a stop either: {cleanup}")
            }
            RunError::Restore(refusal) => refusal.fmt(f),
            RunError::Obstacle(obstacle) => obstacle.fmt(f),
            RunError::Changed(0) => f.write_str(
                "a file changed while it was to be moved, so somebody writes here; everything was put back",
            ),
            RunError::Changed(kept) => write!(
                f,
                "a file changed while it was to be moved, so somebody writes here; everything was put back but {kept} files, which the folder has anew; the older ones stay in the quarantine"
            ),
            RunError::Journal(error) => f.write_str(error),
            RunError::UnknownSession => f.write_str("the session is no longer here"),
            RunError::OperatorOnly => f.write_str("this is an operator's command"),
            RunError::Crashed(crash) => match crash {
                Crash::WhileDown => f.write_str(
                    "the remediator was stopped while the service was down; nothing is moved, and the service was started again",
                ),
                Crash::NothingMoved => {
                    f.write_str("the remediator was stopped in the middle; nothing is moved")
                }
                Crash::NothingRestored => f.write_str(
                    "the remediator was stopped in the middle; nothing was put back: run the restore again",
                ),
                Crash::Unreadable(why) => write!(
                    f,
                    "the remediator was stopped in the middle, and what it left cannot be looked at: {why}"
                ),
            },
            RunError::Interrupted(Interruption::Clean) => f.write_str(
                "the remediator was stopped in the middle; a part of the plan was moved, and can be undone",
            ),
            RunError::Interrupted(Interruption::Undo) => f.write_str(
                "the remediator was stopped in the middle; run the undo again",
            ),
            RunError::NotStopped(why) => {
                write!(f, "the service could not be stopped: {why}; nothing was moved")
            }
            RunError::NotGone(patience) => write!(
                f,
                "the service was not gone {} after it was stopped; nothing was moved",
                span(patience)
            ),
            RunError::CleanTimeout(limit) => {
                write!(f, "the clean-up took longer than {}", span(limit))
            }
            RunError::DownTimeout => f.write_str(
                "the bot was down for too long; the run was broken off where it stood",
            ),
            RunError::BrokeOff(error) => write!(f, "the run broke off: {error}"),
            RunError::AfterStop { error, bot } => {
                // A stop that failed is followed by no start of ours: the bot may simply run on.
                match (&**error, bot) {
                    (RunError::NotStopped(_) | RunError::NotGone(_), BotState::Connected) => {
                        write!(f, "{error}. The bot is connected")
                    }
                    (RunError::NotStopped(_) | RunError::NotGone(_), _)
                    | (_, BotState::Down(_)) => write!(f, "{error}. The bot: {bot}"),
                    _ => write!(f, "{error}. The service was started again; {bot}"),
                }
            }
            RunError::NotBack { bot, run } => {
                f.write_str("the folder was cleaned")?;
                match bot {
                    BotState::Down(_) => write!(f, ", and the bot has not come back: {bot}.")?,
                    _ => write!(f, " and the service started; {bot}.")?,
                }
                match run {
                    Some(run) => write!(
                        f,
                        " To undo: stop the bot, then baileys_remediator undo {run}"
                    ),
                    None => Ok(()),
                }
            }
        }
    }
}

impl From<Obstacle> for RunError {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(obstacle)
    }
}

impl From<Refusal> for RunError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StopRefusal> for RunError {
    fn from(refusal: StopRefusal) -> Self {
        Self::StopRefused(refusal)
    }
}

impl From<RestoreRefusal> for RunError {
    fn from(refusal: RestoreRefusal) -> Self {
        Self::Restore(refusal)
    }
}

impl From<JournalError> for RunError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.to_string())
    }
}

#[cfg(test)]
mod tests;
