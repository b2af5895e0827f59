//! The values of the restart state machine: state, events, effects. Plain data; the state is
//! what is persisted, as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time of the boot clock, which also counts during a suspend and cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Which boot, as a number.
    pub boot: u64,
    /// Since that boot.
    pub at: Duration,
}

impl Now {
    /// This much later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self {
            at: self.at.saturating_add(span),
            ..self
        }
    }

    /// Whether `moment` has passed. A moment of another boot always has.
    pub fn is_past(self, moment: Option<Now>) -> bool {
        moment.is_none_or(|moment| moment.boot != self.boot || self.at >= moment.at)
    }

    /// How long ago `moment` was; zero where it was in another boot.
    pub fn since(self, moment: Now) -> Duration {
        match self.boot == moment.boot {
            true => self.at.saturating_sub(moment.at),
            false => Duration::ZERO,
        }
    }
}

/// What started the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// An alert of the emergency tier.
    Emergency,
    /// A maintenance window, for an armed clean-up.
    Window,
}

/// Who has to act now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandedTo {
    /// An operator stopped the service, and has to start it again.
    Operator,
    /// The start failed, and an operator has paused automatic actions since.
    Pause,
    /// The configuration no longer lets the service be started.
    Config(Forbids),
}

/// How a configuration forbids a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forbids {
    /// It does not name the service.
    Removed,
    /// Its entry has no `allow_restart: true`: the service is only observed.
    NotAllowed,
}

impl Forbids {
    /// What has happened, and what to do.
    pub const fn text(self) -> &'static str {
        match self {
            Forbids::Removed => {
                "this program has stopped the service, and the configuration no longer names it: start it by hand, or name it again and reload `serve`, which then starts it"
            }
            Forbids::NotAllowed => {
                "this program has stopped the service, and its entry of `processes` has no `allow_restart: true` any more: start it by hand, or set that again and reload `serve`, which then starts it"
            }
        }
    }
}

/// How far a restart has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The locks are taken and the checks before a stop are made. Nothing is on disk.
    Checking,
    /// The intent to stop is being saved; then the process is checked one last time.
    StopIntended,
    /// The stop was called; the process is expected to go.
    Stopping,
    /// The stop failed, took too long, or was called before a crash. It may still happen.
    StopUnknown,
    /// The process is gone.
    Gone,
    /// The folders are being cleaned, and a torn creds.json is put back.
    Cleaning,
    /// It is about to be started: the process is checked again, and the call is recorded.
    StartIntended,
    /// The start was called; the process is expected to run.
    Starting,
    /// A start was called, and it is unknown whether it runs. It is not started again before
    /// it is known to be gone.
    StartUnknown,
    /// It runs; its sessions are expected to connect.
    WaitingForConnection,
    /// It runs and all sessions are connected. Final.
    Back,
    /// It runs, and not all sessions connected in time.
    RunningNotConnected,
    /// It does not run. The start is retried.
    Down,
    /// Something else has to act; see [`HandedTo`].
    HandedOver(HandedTo),
    /// There is nothing to restart. Final.
    Released,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 18] = [
        Phase::Checking,
        Phase::StopIntended,
        Phase::Stopping,
        Phase::StopUnknown,
        Phase::Gone,
        Phase::Cleaning,
        Phase::StartIntended,
        Phase::Starting,
        Phase::StartUnknown,
        Phase::WaitingForConnection,
        Phase::Back,
        Phase::RunningNotConnected,
        Phase::Down,
        Phase::HandedOver(HandedTo::Operator),
        Phase::HandedOver(HandedTo::Pause),
        Phase::HandedOver(HandedTo::Config(Forbids::Removed)),
        Phase::HandedOver(HandedTo::Config(Forbids::NotAllowed)),
        Phase::Released,
    ];

    /// Its name in records, metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Checking => "checking",
            Phase::StopIntended => "stop_intended",
            Phase::Stopping => "stopping",
            Phase::StopUnknown => "stop_unknown",
            Phase::Gone => "gone",
            Phase::Cleaning => "cleaning",
            Phase::StartIntended => "start_intended",
            Phase::Starting => "starting",
            Phase::StartUnknown => "start_unknown",
            Phase::WaitingForConnection => "waiting_for_connection",
            Phase::Back => "back",
            Phase::RunningNotConnected => "running_not_connected",
            Phase::Down => "down",
            Phase::HandedOver(HandedTo::Operator) => "operator",
            Phase::HandedOver(HandedTo::Pause) => "paused",
            Phase::HandedOver(HandedTo::Config(Forbids::Removed)) => "removed",
            Phase::HandedOver(HandedTo::Config(Forbids::NotAllowed)) => "not_allowed",
            Phase::Released => "released",
        }
    }

    /// Whether the restart is over and nothing is on disk.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Phase::Back | Phase::Released | Phase::HandedOver(HandedTo::Operator)
        )
    }

    /// Whether the service is being stopped or started: nothing else may touch its sessions.
    pub const fn is_pending(self) -> bool {
        !self.is_final() && !matches!(self, Phase::Checking | Phase::RunningNotConnected)
    }
}

/// How a restart that is over has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartEnd {
    /// The stop was not called: the restart counts as no stop.
    NothingCalled,
    /// The stop was called, or may have been.
    Stopped,
}

impl RestartEnd {
    /// The end of a restart that is over directly after this phase. After [`Phase::Stopping`] the
    /// stop could not be spawned, or was not needed.
    pub const fn from_phase(before: Phase) -> Self {
        match before {
            Phase::Checking | Phase::StopIntended | Phase::Stopping => Self::NothingCalled,
            _ => Self::Stopped,
        }
    }
}

/// The two calls that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// A stop.
    Stop,
    /// A start.
    Start,
}

/// A call to the supervisor that may be under way, made by this process or an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number within this restart.
    pub id: u64,
    /// Stop or start.
    pub kind: CallKind,
    /// It is called before this moment, or not at all.
    pub begins_by: Now,
    /// From this moment on it cannot be under way.
    pub over_at: Now,
}

/// A session that is to connect after the start, and the run it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingSession {
    /// The session.
    pub session: String,
    /// Its own run, or the run for which the service was stopped.
    pub run_id: i64,
    /// How many looks in a row found it connected. Two mean that it is back, because a bot that
    /// dies at once may be connected for a moment.
    pub seen: u8,
}

/// The service's own times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// One call to stop.
    pub stop: Duration,
    /// After that call, until it is gone.
    pub gone: Duration,
    /// One call to start, and all tries of one round.
    pub start: Duration,
    /// After a call to start has ended, until the process shows.
    pub shows: Duration,
    /// After the start, until it is known to be connected.
    pub connect: Duration,
    /// After it has connected, until its sockets show it. Zero where they are no source.
    #[serde(default)]
    pub sockets: Duration,
    /// The clean-up of all its folders.
    pub clean: Duration,
    /// Between two retries, and between two looks at a state that does not change.
    pub retry: Duration,
}

#[cfg(test)]
impl Times {
    /// Each of them is this long.
    pub fn all(span: Duration) -> Self {
        Self {
            stop: span,
            gone: span,
            start: span,
            shows: span,
            connect: span,
            sockets: span,
            clean: span,
            retry: span,
        }
    }
}

/// Identifies a restart: its service, its run in the journal and the time of the decision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RestartId(String, i64, i64);

impl Restart {
    /// Which restart it is.
    pub fn id(&self) -> RestartId {
        RestartId(self.service.clone(), self.run_id, self.decided_ns)
    }

    /// Nanoseconds since the epoch: what a log says of an earlier time does not show that a session
    /// is connected again. `None`: the process from before the stop runs on, and its log counts.
    pub fn connects_after(&self) -> Option<i64> {
        let since = self.started_ns.unwrap_or(self.decided_ns);
        (!self.untouched).then_some(since)
    }
}

/// One restart of one service: all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The service's name.
    pub service: String,
    /// The session for which it is restarted.
    pub session: String,
    /// The run in the journal.
    pub run_id: i64,
    /// What started it.
    pub trigger: Trigger,
    /// When it was decided, nanoseconds since the epoch.
    pub decided_ns: i64,
    /// How far it has come.
    pub phase: Phase,
    /// The process before the stop, where the supervisor tells.
    pub process: Option<String>,
    /// The last call, while it may be under way.
    pub call: Option<Call>,
    /// Number of the effect whose result is awaited. The result of any other one is ignored.
    pub awaited: u64,
    /// End of the time limit of this phase.
    pub until: Option<Now>,
    /// End of the current round of start attempts.
    pub round_until: Option<Now>,
    /// Start attempts in this round.
    pub tries: u32,
    /// How often it was started again after it died.
    pub again: u32,
    /// Since each creds.json was checked, and put back where it was torn, no process has run that
    /// could tear one.
    #[serde(default)]
    pub creds_checked: bool,
    /// The outcome of the run was reported. Nothing moves after that.
    pub reported: bool,
    /// The operator was notified that it is unknown whether it runs.
    pub told_unknown: bool,
    /// The supervisor says gone, but a live source says connected.
    pub contradicted: bool,
    /// The process from before the stop runs on: the stop has not worked, and nothing was started.
    #[serde(default)]
    pub untouched: bool,
    /// It ran after its start, and the last look found it gone.
    pub ended: bool,
    /// Since when the looks have found it stopped on request after its start. It may be in the
    /// middle of a restart by an operator.
    #[serde(default)]
    pub stopped_since: Option<Now>,
    /// The journal has lost it, and it was loaded from a quarantine.
    pub adopted: bool,
    /// It is left as soon as it may be: the program is shutting down, or another configuration
    /// is in force.
    pub leaving: bool,
    /// When it was stopped, for the downtime.
    pub stopped_at: Option<Now>,
    /// When the last start was called, nanoseconds since the epoch.
    pub started_ns: Option<i64>,
    /// It has run since the stop, in this boot: a folder that is missing may have been removed by
    /// the bot.
    #[serde(default)]
    pub has_run: bool,
    /// Since when the sessions count as not back, nanoseconds since the epoch.
    pub late_ns: Option<i64>,
    /// Sessions that have to connect again.
    pub waiting: Vec<WaitingSession>,
    /// The sessions whose creds.json was whole just before the stop, and was copied then. Before
    /// the start no other one is put back.
    pub whole: BTreeSet<String>,
    /// Where the folders of these were. One that does not exist before the start, as where a mount
    /// is late, holds no whole creds.json.
    #[serde(default)]
    pub folders: BTreeMap<String, PathBuf>,
    /// Since when the looks have found it retired: see [`Look::is_retired`].
    #[serde(default)]
    pub retired_since: Option<Now>,
    /// The earlier restart of the service, if some of its sessions have not come back. It is
    /// saved again if this one stops nothing.
    pub before: Option<Box<Restart>>,
    /// The service's times.
    pub times: Times,
}

/// What a look at the supervisor, and perhaps at the sources, has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The supervisor's answer.
    pub seen: Seen,
    /// The sessions that are connected.
    pub connected: BTreeSet<String>,
    /// An operator has paused automatic actions.
    pub paused: bool,
    /// The last call has ended: none of its processes is left.
    pub call_ended: bool,
    /// It is gone because its supervisor was asked to stop it, by this program or by anybody
    /// else. `false` where the supervisor does not tell.
    pub on_request: bool,
    /// Its supervisor has no such process, and none of the waiting sessions has a folder, by a
    /// complete discovery: a person has removed it for good.
    pub is_retired: bool,
}

/// Whether the process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// It runs, as this process where the supervisor tells.
    Running(Option<String>),
    /// It is being stopped or started, by this program or by an operator.
    Changing,
    /// It is gone.
    Gone,
    /// The supervisor does not know.
    #[default]
    Unknown,
    /// The supervisor says gone, but a live source says connected.
    Contradicted,
}

/// What the checks before a stop have found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// It may be stopped.
    Go,
    /// It may not be stopped, need not be, or not now: the driver knows why.
    No,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// With code 0.
    Ok,
    /// With another code, or by a signal.
    Failed,
    /// It took too long.
    Timeout,
    /// It could not be spawned: nothing was called.
    NotSpawned,
    /// No stop was called, because it had stopped already.
    AlreadyStopped,
}

/// What happens to a restart. Numbers are those of [`Restart::awaited`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An alert or a window asks for the restart.
    Alert,
    /// The locks of all folders are held.
    Locked(u64),
    /// Another process holds one of them.
    LockBusy(u64),
    /// A folder was replaced: its lock protects nothing.
    LockLost,
    /// The checks before the stop have ended.
    Checked(u64, CheckResult),
    /// The record is on disk.
    Saved(u64),
    /// A write to disk failed.
    NotSaved(u64),
    /// A look has ended.
    Looked(u64, Look),
    /// A call has ended.
    Returned(u64, Returned),
    /// The clean-up has ended, well or not, and each creds.json is whole or beyond help.
    Cleaned(u64),
    /// The clean-up has ended. A creds.json that was whole before the stop is torn, and its copy
    /// could not be put back; or its folder does not exist, and there is a copy.
    Torn(u64),
    /// The awaited effect took too long.
    Deadline(u64),
    /// A signal to end the program, or another configuration is in force.
    Signal,
    /// A driver takes up a recorded restart: after a start of this program, or in a later round.
    OwnRestart,
    /// The configuration lets the service be restarted.
    Configured,
    /// It does not.
    Forbidden(Forbids),
}

impl Event {
    /// The word for it in the table.
    pub const fn label(&self) -> &'static str {
        match self {
            Event::Alert => "alert",
            Event::Locked(_) => "locked",
            Event::LockBusy(_) => "lock busy",
            Event::LockLost => "lock lost",
            Event::Checked(_, CheckResult::Go) => "check: go",
            Event::Checked(_, CheckResult::No) => "check: no",
            Event::Saved(_) => "saved",
            Event::NotSaved(_) => "not saved",
            Event::Looked(_, look) => match look.seen {
                Seen::Running(_) => "running",
                Seen::Changing => "changing",
                Seen::Gone => "gone",
                Seen::Unknown => "unknown",
                Seen::Contradicted => "contradicted",
            },
            Event::Returned(_, Returned::Ok) => "returned 0",
            Event::Returned(_, Returned::Failed) => "returned n",
            Event::Returned(_, Returned::Timeout) => "call timeout",
            Event::Returned(_, Returned::NotSpawned) => "not spawned",
            Event::Returned(_, Returned::AlreadyStopped) => "already stopped",
            Event::Cleaned(_) => "cleaned",
            Event::Torn(_) => "torn",
            Event::Deadline(_) => "deadline",
            Event::Signal => "signal",
            Event::OwnRestart => "own restart",
            Event::Configured => "configured",
            Event::Forbidden(Forbids::Removed) => "not configured",
            Event::Forbidden(Forbids::NotAllowed) => "not allowed",
        }
    }
}

/// The result that is reported to the run, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartReport {
    /// It was not stopped, for the reason that the driver knows from the checks.
    NotBegun,
    /// A lock is held by another process, or a look came too late: the run waits again.
    Busy,
    /// The record could not be written, so nothing was stopped.
    NotSaved,
    /// The supervisor does not tell whether it runs, so nothing was stopped.
    Unknown,
    /// It was gone before it was stopped: by a person.
    StoppedByOperator,
    /// It ran after its start and was stopped by a person, who starts it again.
    StoppedAfterStart,
    /// It ran after its start and is gone, and a person has paused automatic actions.
    PausedAfterStart,
    /// The call to stop it failed. It may still run.
    NotStopped(Returned),
    /// The call succeeded, and the process did not go.
    NotGone,
    /// It runs and is connected.
    Back,
    /// It runs and is not connected.
    RunningNotConnected,
    /// A start was called, and it is unknown whether it runs.
    StartUnknown,
    /// It is gone, but it is not started while a live source says that it is connected.
    Contradicted,
    /// It does not run.
    Down,
    /// The configuration no longer lets it be started.
    Forbidden(Forbids),
}

/// A notice: an error in the log, and the alert's metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Another process holds a lock of a folder.
    LockBusy,
    /// A stop failed or took too long.
    StopUnknown,
    /// It is unknown whether it runs.
    StartUnknown,
    /// It neither runs nor is it known to be gone.
    NotGone,
    /// It is gone, but a live source says connected.
    Contradicted,
    /// It does not run.
    Down,
    /// It is not started, because a creds.json is torn and its copy could not be put back, or
    /// because its folder does not exist.
    CredsTorn,
    /// It runs, and is not connected.
    RunningNotConnected,
    /// It ran after its start, and has ended since.
    Ended,
    /// Its supervisor has no such process, and its folders are gone: it is forgotten.
    Retired,
    /// The configuration no longer lets it be started.
    Forbidden(Forbids),
}

/// A step in the record of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartStep {
    /// The stop was called.
    Stopping,
    /// The process is gone.
    Gone,
    /// The start was called.
    Starting,
    /// The process runs.
    Started,
    /// All sessions are connected.
    Connected,
}

/// Which sources a look asks beside the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// None.
    No,
    /// Those that answer live, where the supervisor says gone.
    Live,
    /// Those that show which of the waiting sessions are connected.
    Connection,
}

/// What the driver is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Take the lock of every folder, after a pause.
    Lock(Duration),
    /// Release these locks.
    Unlock,
    /// Make the checks before a stop.
    Check,
    /// Save the state; [`Event::Saved`] or [`Event::NotSaved`] follows.
    Persist,
    /// Save the state; no event follows.
    Note,
    /// Delete the state from disk.
    Forget,
    /// Look, after a pause.
    Observe(Duration, Sources),
    /// Call the supervisor to stop it.
    Stop,
    /// Clean the folders, and put back a creds.json that the stop has damaged.
    Clean,
    /// Put back a creds.json that the stop has damaged.
    PutBackCreds,
    /// End all moves.
    BreakOff,
    /// Call the supervisor to start it.
    Start,
    /// If the awaited result does not come within this time, [`Event::Deadline`] does.
    SetDeadline(Duration),
    /// Notify the operator.
    Notify(Notice),
    /// Record a step.
    Step(RestartStep),
    /// Report the result to the run.
    Report(RestartReport),
    /// End; the state stays on disk.
    Leave,
}

impl Effect {
    /// The word for it in the table.
    pub const fn label(self) -> &'static str {
        match self {
            Effect::Lock(_) => "lock",
            Effect::Unlock => "unlock",
            Effect::Check => "check",
            Effect::Persist => "persist",
            Effect::Note => "note",
            Effect::Forget => "forget",
            Effect::Observe(_, Sources::No) => "observe",
            Effect::Observe(_, Sources::Live) => "observe live",
            Effect::Observe(_, Sources::Connection) => "observe connection",
            Effect::Stop => "stop",
            Effect::Clean => "clean",
            Effect::PutBackCreds => "put back",
            Effect::BreakOff => "break off",
            Effect::Start => "start",
            Effect::SetDeadline(_) => "deadline",
            Effect::Notify(_) => "notify",
            Effect::Step(_) => "step",
            Effect::Report(_) => "report",
            Effect::Leave => "leave",
        }
    }
}
