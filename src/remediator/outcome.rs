//! The result of a run. Label, sentence, status, exit code and the change of an armed run are
//! derived from the values here, and nowhere else.

use std::fmt;
use std::time::Duration;

use crate::cli::exit_codes;
use crate::policy::insurance::RestoreRefusal;
use crate::policy::{Refusal, SameLogin, StopRefusal};

use super::quarantine::Obstacle;
use super::store::StoreError;
use super::store::runs::{Ending, Status};

/// How a run ended.
pub type RunResult = Result<RunOutcome, RunError>;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// A dry run: a plan was made, no file was moved.
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
        /// Files that are neither in the quarantine nor unchanged in the folder.
        missing: usize,
    },
    /// A copy of creds.json was put back.
    Restored {
        /// Number of the copy.
        copy: u64,
        /// `nextPreKeyId` of the copy, and of the file that was put back.
        counters: (u32, u32),
        /// Path of the replaced file, relative to the folder, if there was one.
        replaced: Option<String>,
    },
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunOutcome::Planned => f.write_str("dry run: no file was moved"),
            RunOutcome::Cleaned {
                moved,
                before,
                after,
                run,
            } => write!(
                f,
                "{moved} files moved into the quarantine; {before} accumulated files before, {after} now.\nTo put them back: baileys_remediator undo {run}  (with the same --sessions.path or --config.file)"
            ),
            RunOutcome::Undone {
                restored,
                blocked,
                missing,
            } => {
                match (restored, blocked, missing) {
                    (0, 0, 0) => {
                        return f.write_str(
                            "nothing to put back: every file of this run is back already.",
                        );
                    }
                    (0, ..) => f.write_str("no file was put back.")?,
                    _ => write!(f, "{restored} files put back.")?,
                }
                if *blocked > 0 {
                    write!(
                        f,
                        " {blocked} stay in the quarantine: the folder has newer files of these names."
                    )?;
                }
                if *missing > 0 {
                    write!(
                        f,
                        " {missing} files of this run are missing or have changed."
                    )?;
                }
                if *restored > 0 {
                    f.write_str(
                        "\nRestart the bot now: it reads these files only when it starts.",
                    )?;
                }
                Ok(())
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
                        " nextPreKeyId and firstUnuploadedPreKeyId were raised to {to} ({from} in the copy)."
                    )?;
                }
                if let Some(kept) = replaced {
                    write!(f, "\nThe replaced file is kept as {kept} in the folder.")?;
                }
                f.write_str("\nStart the bot now.")
            }
        }
    }
}

/// The state of a bot after the start of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BotState {
    /// It is connected.
    Connected,
    /// Its service runs but it is not connected, with the reason.
    NotConnected(String),
    /// Its service was started and it is unknown whether it runs, with the reason. It is not
    /// started a second time before it is known to be gone.
    StartUnknown(String),
    /// Its service ran after its start and was stopped before it was connected, with what starts
    /// it again.
    Stopped(String),
    /// Its service does not run, and the start is not retried, with the reason.
    NotStarted(String),
    /// Its service does not run, with the reason. The start is retried.
    Down(String),
}

impl BotState {
    /// Value of the label `reason` of a run whose bot is in this state after its restart;
    /// `None` if it is connected.
    pub const fn label(&self) -> Option<&'static str> {
        match self {
            BotState::Connected => None,
            BotState::NotConnected(_) => Some("not_connected"),
            BotState::StartUnknown(_) => Some("start_unknown"),
            BotState::Stopped(_) | BotState::NotStarted(_) | BotState::Down(_) => Some("down"),
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
            BotState::Stopped(what) => write!(
                f,
                "it was stopped after that, before it was connected: {what}"
            ),
            BotState::NotStarted(why) => write!(f, "it is down and not started: {why}"),
            BotState::Down(why) => {
                write!(f, "it is down: {why}; the start is retried every minute")
            }
        }
    }
}

/// The point at which the remediator was killed or exited, in a run that left no file moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crash {
    /// While the service was down for the run; the service has been started since.
    WhileDown,
    /// Before the first move.
    NothingMoved,
    /// Before the copy of creds.json was put back.
    NothingRestored,
    /// The run's quarantine cannot be read, with the reason.
    Unreadable(String),
}

/// A run that a crash interrupted and recovery could not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// A clean-up: a part of its plan was moved.
    Clean,
    /// An undo.
    Undo,
}

/// Why a run did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// A guard refused the run.
    Refused(Refusal),
    /// The bot may not be stopped.
    StopRefused(StopRefusal),
    /// The bot may not be stopped, and a clean-up without a stop was refused as well.
    NotCleanedEither {
        /// Why the bot may not be stopped.
        stop: StopRefusal,
        /// Why the folder was not cleaned without a stop.
        cleanup: Box<RunError>,
    },
    /// A guard refused to put the copy of creds.json back.
    Restore(RestoreRefusal),
    /// The files of the run to undo are of another identity than the folder is now.
    OtherIdentity,
    /// The file system, the lock or the quarantine prevented the run.
    Obstacle(Obstacle),
    /// A file changed during the run. All files were put back except this many, which the
    /// folder had new versions of.
    Changed(usize),
    /// The journal cannot be used.
    Store(String),
    /// There is no such session.
    UnknownSession,
    /// Several folders have the name of the session.
    DuplicateName,
    /// The folder is a copy of another session's.
    CopiedFolder(SameLogin),
    /// Only an operator may ask for this.
    OperatorOnly,
    /// The remediator ended during the run, which had no effect.
    Crashed(Crash),
    /// The remediator ended during the run, which stays incomplete.
    Interrupted(Interruption),
    /// The stop of the service failed, with the reason.
    NotStopped(String),
    /// The service was still not gone this long after its stop.
    NotGone(Duration),
    /// The clean-up took longer than this.
    CleanTimeout(Duration),
    /// The bot was down for too long.
    DownTimeout,
    /// The task of the run panicked, with its message.
    BrokeOff(String),
    /// The run failed after the stop had begun.
    AfterStop {
        /// The failure.
        error: Box<RunError>,
        /// The state of the bot at the end of the run.
        bot: BotState,
    },
    /// The folder was cleaned, and the bot has not come back.
    NotBack {
        /// The state of the bot.
        bot: BotState,
        /// Name in the quarantine, for `undo`.
        run: Option<String>,
    },
}

/// How the end of a run changes the armed run of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmedChange {
    /// No change.
    Keep,
    /// Arm the run: it waits until its bot stops or a maintenance window opens.
    Arm,
    /// Disarm the run: its reason is gone.
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
            .chain(["unknown_session", "duplicate_name", "copy"])
    }

    /// Value of the label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            RunError::Refused(refusal) => refusal.label(),
            RunError::StopRefused(stop) | RunError::NotCleanedEither { stop, .. } => stop.label(),
            RunError::Restore(refusal) => refusal.label(),
            RunError::OtherIdentity => RestoreRefusal::OtherIdentity.label(),
            RunError::Obstacle(obstacle) => obstacle.label(),
            RunError::Changed(_) => "changed",
            RunError::Store(_) => "journal",
            RunError::UnknownSession => "unknown_session",
            RunError::DuplicateName => "duplicate_name",
            RunError::CopiedFolder(_) => "copy",
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

    /// `Refused` if a guard refused the run, `Failed` if an error ended it.
    pub fn status(&self) -> Status {
        match self {
            RunError::Refused(_)
            | RunError::StopRefused(_)
            | RunError::NotCleanedEither { .. }
            | RunError::Restore(_)
            | RunError::OtherIdentity
            | RunError::UnknownSession
            | RunError::DuplicateName
            | RunError::CopiedFolder(_) => Status::Refused,
            RunError::Obstacle(Obstacle::Io(_)) => Status::Failed,
            RunError::Obstacle(_) => Status::Refused,
            RunError::AfterStop { error, .. } => error.status(),
            RunError::Changed(_)
            | RunError::Store(_)
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

    /// How it changes the armed run of its session.
    pub fn armed(&self) -> ArmedChange {
        match self {
            RunError::Refused(refusal) | RunError::StopRefused(StopRefusal::Guard(refusal)) => {
                match refusal {
                    Refusal::Connected | Refusal::ConnectionUnknown => ArmedChange::Arm,
                    Refusal::StaleAlert { .. } => ArmedChange::Disarm,
                    _ => ArmedChange::Keep,
                }
            }
            RunError::StopRefused(StopRefusal::ClockSet(_)) => ArmedChange::Arm,
            RunError::NotCleanedEither { cleanup, .. } => match &**cleanup {
                // The open breaker allows no clean-up: the run waits for `resume`.
                RunError::StopRefused(StopRefusal::BreakerOpen) => ArmedChange::Arm,
                other => other.armed(),
            },
            RunError::AfterStop { error, .. } => error.armed(),
            _ => ArmedChange::Keep,
        }
    }
}

/// Sets reason and detail of a run's record from its result, and returns its status.
pub fn apply_result(result: &RunResult, ending: &mut Ending) -> Status {
    match result {
        Ok(outcome) => {
            ending.detail = outcome.left();
            Status::Done
        }
        Err(error) => {
            ending.reason = Some(error.label());
            ending.detail = Some(error.to_string());
            error.status()
        }
    }
}

impl RunOutcome {
    /// What is left to a person, as a short sentence: an undo did not put every file back.
    pub fn left(&self) -> Option<String> {
        match self {
            RunOutcome::Undone {
                blocked, missing, ..
            } if blocked + missing > 0 => Some(format!(
                "files of the run that were not put back: {}",
                blocked + missing
            )),
            _ => None,
        }
    }
}

/// Exit code of a command, the worst last; see [`exit_codes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// The command succeeded.
    Done = exit_codes::DONE as isize,
    /// A guard refused, and no file was touched; or an operator has to act.
    Refused = exit_codes::REFUSED as isize,
    /// An error, or invalid arguments.
    Failed = exit_codes::FAILED as isize,
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
            RunError::NotCleanedEither {
                stop: stop @ StopRefusal::BreakerOpen,
                ..
            } => stop.fmt(f),
            RunError::NotCleanedEither { stop, cleanup } => {
                write!(f, "{stop}. A clean-up without a stop was refused too: {cleanup}")
            }
            RunError::Restore(refusal) => refusal.fmt(f),
            RunError::OtherIdentity => f.write_str("the bot was paired anew since that run: its files belong to another identity, and their keys would lie beside those of the new one; leave them where they are, or override with --force"),
            RunError::Obstacle(obstacle) => obstacle.fmt(f),
            RunError::Changed(0) => f.write_str(
                "a file changed during the move, so a process writes into the folder; all files were put back",
            ),
            RunError::Changed(kept) => write!(
                f,
                "a file changed during the move, so a process writes into the folder; all files were put back except {kept}, which the folder has new versions of; the old versions stay in the quarantine"
            ),
            RunError::Store(error) => f.write_str(error),
            RunError::UnknownSession => f.write_str("the session no longer exists"),
            RunError::DuplicateName => f.write_str(
                "several auth folders have the name of this session; the log of the remediator names them",
            ),
            RunError::CopiedFolder(same) => same.fmt(f),
            RunError::OperatorOnly => f.write_str("only an operator may request this"),
            RunError::Crashed(crash) => match crash {
                Crash::WhileDown => f.write_str(
                    "the remediator was stopped while the service was down; no file was moved, and the service was started again",
                ),
                Crash::NothingMoved => {
                    f.write_str("the remediator was stopped during the run; no file was moved")
                }
                Crash::NothingRestored => f.write_str(
                    "the remediator was stopped during the run; creds.json was not put back: run the restore again",
                ),
                Crash::Unreadable(why) => write!(
                    f,
                    "the remediator was stopped during the run, and its quarantine cannot be read: {why}"
                ),
            },
            RunError::Interrupted(Interruption::Clean) => f.write_str(
                "the remediator was stopped during the run; a part of the plan was moved and can be undone",
            ),
            RunError::Interrupted(Interruption::Undo) => f.write_str(
                "the remediator was stopped during the run; run the undo again",
            ),
            RunError::NotStopped(why) => {
                write!(f, "failed to stop the service: {why}; no file was moved")
            }
            RunError::NotGone(timeout) => write!(
                f,
                "timeout: the service was not gone {} after its stop; no file was moved",
                span(timeout)
            ),
            RunError::CleanTimeout(limit) => {
                write!(f, "timeout: the clean-up took longer than {}", span(limit))
            }
            RunError::DownTimeout => f.write_str(
                "timeout: the bot was down for too long; the run was aborted",
            ),
            RunError::BrokeOff(error) => write!(f, "the run ended because of an internal error: {error}"),
            RunError::AfterStop { error, bot } => {
                // After a failed stop this program starts nothing: the bot may still run.
                match (&**error, bot) {
                    (RunError::NotStopped(_) | RunError::NotGone(_), BotState::Connected) => {
                        write!(f, "{error}. The bot is connected")
                    }
                    (RunError::NotStopped(_) | RunError::NotGone(_), _)
                    | (_, BotState::Down(_) | BotState::NotStarted(_)) => {
                        write!(f, "{error}. The bot: {bot}")
                    }
                    _ => write!(f, "{error}. The service was started again; {bot}"),
                }
            }
            RunError::NotBack { bot, run } => {
                f.write_str("the folder was cleaned")?;
                match bot {
                    BotState::Down(_) | BotState::NotStarted(_) => {
                        write!(f, ", and the bot has not come back: {bot}.")?;
                    }
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

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

#[cfg(test)]
mod tests;
