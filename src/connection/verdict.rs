//! The fold from evidence to verdict. Pure; `docs/connection.md` holds its table, and a
//! test reads it from there.

use std::fmt;
use std::time::Duration;

use crate::folder::Timestamp;

/// The resolution of what is compared: a file's or a line's time against the clock.
pub(super) const TICK: Duration = Duration::from_secs(2);

/// A span in whole seconds, for a person.
pub(super) fn span(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs()))
}

/// Whether the bot is connected to WhatsApp. Unknown is treated as connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is.
    Connected,
    /// It is not.
    Disconnected,
    /// The sources do not tell, or contradict each other.
    Unknown,
}

impl State {
    /// All states.
    pub const ALL: [State; 3] = [State::Connected, State::Disconnected, State::Unknown];

    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            State::Connected => "connected",
            State::Disconnected => "disconnected",
            State::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What one source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// The bot is connected.
    Connected,
    /// The bot may be connected or about to be, which nothing proves yet: its process has a
    /// connection, but no login is known. Keeps the verdict from being disconnected.
    Connecting,
    /// A process that several sessions have, or a probe that is asked about several, shows a
    /// connection, which may be any session's. Proves nothing, and keeps the verdict from being
    /// disconnected.
    Shared,
    /// The bot is not connected.
    Disconnected,
    /// The bot's process is proven gone.
    Gone,
    /// Nothing was written for the whole quiet window.
    Quiet,
    /// Something was written within the quiet window.
    Writing,
    /// The source was asked and gave no usable answer. Keeps the verdict from being
    /// disconnected.
    NoAnswer,
    /// The source got no answer at all: the connection was refused, or the command ended and
    /// printed nothing. The same as [`Finding::NoAnswer`], unless the process is proven gone,
    /// because then no answer is expected.
    Unreachable,
    /// The source answered that a bot is not connected, and it may be another session's or another
    /// connection. Changes no verdict.
    Ambiguous,
    /// The session's own process had a connection that had lasted, and has had none for five
    /// minutes. Alone it changes no verdict.
    Lost,
    /// The newest event in the log is a close, which may be that of another connection of the
    /// session's process or of its own. Alone it changes no verdict. With [`Finding::Lost`] it
    /// means disconnected: there is no other connection that it could have ended.
    ClosedInDoubt,
    /// What the source saw is evidence of nothing, e.g. a process that runs. Changes no
    /// verdict.
    Nothing,
}

impl Finding {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Finding::Connected => "connected",
            Finding::Connecting => "connecting",
            Finding::Shared => "shared",
            Finding::Disconnected => "disconnected",
            Finding::Gone => "gone",
            Finding::Quiet => "quiet",
            Finding::Writing => "writing",
            Finding::NoAnswer => "silent",
            Finding::Unreachable => "unreachable",
            Finding::Ambiguous => "ambiguous",
            Finding::Lost => "lost",
            Finding::ClosedInDoubt => "closed",
            Finding::Nothing => "nothing",
        }
    }

    /// Whether it shows that the bot has a connection or may have one, proven or not.
    pub const fn may_be_connected(self) -> bool {
        matches!(
            self,
            Finding::Connected | Finding::Connecting | Finding::Shared
        )
    }

    /// Whether it indicates that the bot is not connected.
    pub const fn is_negative(self) -> bool {
        matches!(self, Finding::Disconnected | Finding::Gone)
    }
}

/// A source saw the bot alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// When.
    pub at: Timestamp,
    /// What tells this process from another one under the same number, where the source
    /// watches a process.
    pub mark: Option<String>,
}

impl Alive {
    /// Alive at that moment.
    pub fn at(at: Timestamp) -> Self {
        Self { at, mark: None }
    }
}

/// How often a supervisor has restarted a process, by its own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartCount {
    /// When it said so.
    pub at: Timestamp,
    /// The number, which may begin again at zero.
    pub number: u64,
}

/// What one look showed of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLook<'a> {
    /// When.
    pub at: Timestamp,
    /// Who looked; see [`source_id`].
    pub source: &'a str,
    /// The mark of the process, where it runs.
    pub mark: Option<&'a str>,
    /// See [`RestartCount`].
    pub restarts: Option<u64>,
}

/// The answer of one source, with details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The source: `probe`, `process`, `sockets`, `log`, `writes`.
    pub source: &'static str,
    /// The source as it is configured; see [`source_id`]. Empty for what needs no sighting.
    pub id: String,
    /// Its answer.
    pub finding: Finding,
    /// The bot as this source last saw it alive, if its answer tells.
    pub alive: Option<Alive>,
    /// What it saw, for a person. Of the output of a probe at most the first line of its
    /// error, redacted.
    pub detail: String,
    /// It answered that the bot is not connected, and was not believed: it has not seen the bot
    /// alive.
    pub is_untrusted: bool,
    /// Whether the bot's process runs. `None` where this source does not tell, or is not trusted.
    pub runs: Option<bool>,
    /// The process does not run, because its supervisor was asked to stop it or no longer has it.
    pub is_on_request: bool,
    /// How often its supervisor has restarted it, where that tells.
    pub restarts: Option<RestartCount>,
}

impl Evidence {
    /// Evidence of a source without sightings.
    pub fn new(source: &'static str, finding: Finding, detail: impl Into<String>) -> Self {
        Self {
            source,
            id: String::new(),
            finding,
            alive: None,
            detail: detail.into(),
            is_untrusted: false,
            runs: None,
            is_on_request: false,
            restarts: None,
        }
    }

    /// Whether the source was asked about this session, unlike a log or the files.
    fn is_direct(&self) -> bool {
        matches!(self.source, "probe" | "process")
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.detail)
    }
}

/// A name for a source that stays the same as long as its configuration does, and does not reveal
/// it: a source with another URL is another source, and starts without sightings.
pub fn source_id(source: &str, configuration: &str) -> String {
    // FNV-1a: the same on every machine and for every build.
    let hash = configuration
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    format!("{source}-{hash:016x}")
}

/// The verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The verdict.
    pub state: State,
    /// Whether the bot's process is proven gone. Needs a source that watches the process;
    /// without one it is `false`.
    pub process_gone: bool,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

impl Verdict {
    /// A verdict of unknown, with the reason.
    pub fn unknown(source: &'static str, detail: impl Into<String>) -> Self {
        fold(vec![Evidence::new(source, Finding::NoAnswer, detail)])
    }

    /// Whether a probe or the process was asked.
    pub fn is_direct(&self) -> bool {
        self.evidence.iter().any(Evidence::is_direct)
    }

    /// Whether a probe or the process was asked and no verdict came of it: none gave an answer
    /// that counts, or the evidence contradicts itself. A process that runs tells nothing, and
    /// was not expected to. So is one whose log shows that a process began and has not connected,
    /// and one whose connections have not lasted. A connection that may be another session's tells
    /// nothing either, unless a source says that this one is not connected.
    pub fn is_unresolved(&self) -> bool {
        let negative = self.evidence.iter().any(|e| e.finding.is_negative());
        let is_open = |e: &Evidence| match e.finding {
            Finding::Nothing | Finding::ClosedInDoubt => false,
            Finding::Connecting | Finding::Lost => true,
            Finding::Connected => negative || e.is_direct(),
            Finding::Shared => negative,
            Finding::Ambiguous => e.is_direct() || matches!(e.source, "log" | "sockets"),
            _ => e.is_direct(),
        };
        self.state == State::Unknown && self.evidence.iter().any(is_open)
    }

    /// Whether a connection may be that of another session as well: one of the process that has
    /// lasted, or one that a probe reports which is asked about several sessions.
    pub fn has_shared_connection(&self) -> bool {
        let says = |source, finding| {
            let mut evidence = self.evidence.iter().filter(|e| e.source == source);
            evidence.any(|e| e.finding == finding)
        };
        let by_sockets = says("sockets", Finding::Shared) && !says("sockets", Finding::Ambiguous);
        by_sockets || self.outlasts_a_stop()
    }

    /// Whether a probe reports a connection that may be another session's. It may still do so after
    /// a stop of this one, unlike the sockets of the process.
    pub fn outlasts_a_stop(&self) -> bool {
        let is_shared = |e: &Evidence| e.source == "probe" && e.finding == Finding::Shared;
        self.evidence.iter().any(is_shared)
    }

    /// Whether the supervisor was asked to stop the process, or no longer has it, and it has ended.
    pub fn is_stopped_on_request(&self) -> bool {
        let stopped = |e: &Evidence| e.runs == Some(false) && e.is_on_request;
        self.evidence.iter().any(stopped)
    }

    /// Whether the process has ended, and nothing shows a connection or another process: it is proven
    /// gone, or its supervisor runs none and the process that was last seen runs no more.
    pub fn has_ended(&self) -> bool {
        let is_doubt = |e: &Evidence| {
            let is_of_a_process = matches!(e.source, "process" | "log" | "writes");
            e.finding.may_be_connected()
                || e.finding == Finding::NoAnswer && is_of_a_process && e.runs.is_none()
        };
        let mut evidence = self.evidence.iter();
        !evidence.clone().any(is_doubt) && evidence.any(|e| e.runs == Some(false))
    }

    /// The process that was seen running: when, and its mark.
    pub fn process(&self) -> Option<(Timestamp, &str)> {
        let alive = |e: &Evidence| e.source == "process" && e.finding == Finding::Nothing;
        let seen = self.evidence.iter().find(|e| alive(e))?.alive.as_ref()?;
        Some((seen.at, seen.mark.as_deref()?))
    }

    /// What was seen of the process: that it runs, or the count of its supervisor, or both.
    pub fn process_look(&self) -> Option<ProcessLook<'_>> {
        let seen = self.process();
        let mut evidence = self.evidence.iter().filter(|e| e.source == "process");
        let asked = evidence.find(|e| e.restarts.is_some() || e.alive.is_some())?;
        let counted_at = asked.restarts.map(|count| count.at);
        Some(ProcessLook {
            at: seen.map(|(at, _)| at).or(counted_at)?,
            source: &asked.id,
            mark: seen.map(|(_, mark)| mark),
            restarts: asked.restarts.map(|count| count.number),
        })
    }

    /// The evidence as one line.
    pub fn because(&self) -> String {
        self.evidence
            .iter()
            .map(Evidence::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// From evidence to verdict. Disconnected needs a source to say so, a folder that was
/// quiet, and no source that contradicts, may be connected or failed to answer. What is unreachable failed to
/// answer, unless the process is proven gone. A process that has lost its connection and a log whose
/// close was in doubt say so together.
pub fn fold(evidence: Vec<Evidence>) -> Verdict {
    let says = |finding| evidence.iter().any(|e| e.finding == finding);
    let is_refuted = says(Finding::Lost) && says(Finding::ClosedInDoubt);
    let negative = is_refuted || evidence.iter().any(|e| e.finding.is_negative());
    let vetoed = says(Finding::Writing)
        || says(Finding::NoAnswer)
        || says(Finding::Connecting)
        || says(Finding::Shared)
        || says(Finding::Unreachable) && !says(Finding::Gone);
    let state = match (says(Finding::Connected), negative) {
        (true, false) => State::Connected,
        (false, true) if says(Finding::Quiet) && !vetoed => State::Disconnected,
        _ => State::Unknown,
    };
    let process_gone = state == State::Disconnected && says(Finding::Gone);
    Verdict {
        state,
        process_gone,
        evidence,
    }
}

#[cfg(test)]
mod tests;
