//! What the bot's own log says of its connection.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::folder::{NewestWrite, SessionName, Timestamp};

use super::verdict::TICK;
use super::{Alive, Evidence, Finding, SessionSightings};

/// The record of the process that opened the connection, among the sightings of its session.
const OPENER: &str = "log-opener";
/// It was seen running at most this long before it opened its last connection: `serve` looks every
/// 10 minutes. Otherwise another process opened that one.
const SEEN_BEFORE: Duration = Duration::from_secs(900);

/// What a session's log says of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Its last word: opened, or closed (errored, logged out). `None` if there is none, or
    /// if the close may be that of another connection.
    pub opened: Option<bool>,
    /// When, where the line carries a date.
    pub at: Option<Timestamp>,
    /// When the log was last written or emptied.
    pub last_line: Timestamp,
    /// When its last line, of whatever kind, was written; `None` for a log without a line.
    pub last_text: Option<Timestamp>,
    /// Why a close may be that of another connection; continues "the connection was closed,
    /// but".
    pub unclear: Option<String>,
    /// The newest event, if it is a close that counts once the session's process has no connection.
    pub doubted: Option<DoubtedClose>,
    /// The process that opened last; `None` where it is unknown whether it runs. It has ended
    /// only if it was seen running before: see `keep_known_opener`.
    pub opener: Option<Opener>,
    /// It shows a close by a process that has logged in and has never opened a connection.
    pub never_opened: bool,
    /// Another process has begun to write since the last line of the one that opened.
    pub has_new_writer: bool,
}

/// A close that may be that of another connection, unless the process that wrote it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubtedClose {
    /// The time of the close.
    pub at: Timestamp,
    /// The number by which the process that wrote it knows itself. `None`: the line names none, and
    /// the log is of this session alone.
    pub pid: Option<u32>,
}

/// A process of this host that opened a connection, as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Its number.
    pub pid: u32,
    /// The PID namespace where the number was looked up.
    pub namespace: u64,
    /// When it opened the connection.
    pub opened: Timestamp,
    /// It still runs. Otherwise no process has this number, or one that started later.
    pub runs: bool,
}

impl Opener {
    /// Where it was looked up, its number, and when it opened the connection.
    fn mark(self) -> String {
        let opened = self.opened.nanos();
        format!("{} {} {opened}", self.namespace, self.pid)
    }

    /// Whether this mark is of the same process, from this connection or an earlier one. Pure.
    fn has_left(self, mark: &str) -> bool {
        let mut parts = mark.split(' ').map(str::parse::<i64>);
        let mut next = || parts.next().and_then(Result::ok);
        next() == i64::try_from(self.namespace).ok()
            && next() == Some(i64::from(self.pid))
            && next().is_some_and(|opened| opened <= self.opened.nanos())
    }
}

impl LogEvent {
    /// The opener still runs, so that nothing is gone: evidence against that.
    pub(super) fn opener_runs(&self) -> Option<Evidence> {
        let Opener { pid, .. } = self.opener.filter(|opener| opener.runs)?;
        let detail = format!(
            "the process that opened the connection, by its log, still runs (pid {pid}): `processes` may name another one"
        );
        Some(Evidence::new("log", Finding::NoAnswer, detail))
    }

    /// What it tells if its newest event, a close, ended the connection of one of these processes.
    /// Pure.
    pub(super) fn closed_by_one_of(&self, own_pids: &BTreeSet<u32>) -> Option<Self> {
        let is_own = |close: &DoubtedClose| close.pid.is_none_or(|pid| own_pids.contains(&pid));
        let close = self.doubted.filter(is_own)?;
        Some(Self {
            opened: Some(false),
            at: Some(close.at),
            ..self.clone()
        })
    }

    /// Drops an opener that does not run, unless it was seen running within 30 days, and until
    /// shortly before it opened the connection: the number may be of another PID namespace. Of one
    /// that runs it returns the sighting. Pure.
    pub(super) fn keep_known_opener(
        &mut self,
        sightings: &SessionSightings,
        now: Timestamp,
    ) -> Option<Evidence> {
        let opener = self.opener?;
        if opener.runs {
            let mark = Some(opener.mark());
            return Some(Evidence {
                id: OPENER.to_owned(),
                alive: Some(Alive { at: now, mark }),
                ..Evidence::new("log", Finding::Nothing, "")
            });
        }
        let seen = sightings.last_alive(OPENER, now);
        let was_seen = |opener: &Opener| {
            let seen = seen.filter(|seen| opener.opened <= seen.at.plus(SEEN_BEFORE));
            let mark = seen.and_then(|seen| seen.mark.as_deref());
            mark.is_some_and(|mark| opener.has_left(mark))
        };
        self.opener = self.opener.filter(was_seen);
        None
    }
}

/// What was read in the logs of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReading {
    /// What they say, if there is one. An error is a sentence without anything out of them.
    pub event: Result<Option<LogEvent>, String>,
    /// When they last showed an opened connection, also before the last event.
    pub last_opened: Option<Timestamp>,
    /// Their last word is that WhatsApp has ended the login (401, device removed).
    pub logged_out: bool,
}

impl From<Result<Option<LogEvent>, String>> for LogReading {
    fn from(event: Result<Option<LogEvent>, String>) -> Self {
        Self {
            event,
            last_opened: None,
            logged_out: false,
        }
    }
}

/// A reader of the bots' logs.
pub trait LogView: fmt::Debug + Send + Sync {
    /// Reads the logs of a session. May block.
    fn read(&self, session: &SessionName) -> LogReading;

    /// What of the configuration makes this log another source.
    fn configuration(&self) -> String {
        String::new()
    }
}

/// A log with a line that is later than the end of the process: another process writes it,
/// and may be the bot. Pure.
pub(super) fn written_after(
    event: &Result<Option<LogEvent>, String>,
    ended_by: Option<Timestamp>,
) -> Option<Evidence> {
    let written = event.as_ref().ok()?.as_ref()?.last_text?;
    let detail =
        "its log has a line from after the end of its process: another process may be the bot";
    (written > ended_by?.plus(TICK)).then(|| Evidence::new("log", Finding::NoAnswer, detail))
}

/// Why the connection that the log showed as opened may be over: it was that of a process that has
/// ended. With it, what the log is evidence of instead. `started`: when the process that runs did.
/// Pure.
pub(super) fn superseded(
    event: &Result<Option<LogEvent>, String>,
    evidence: &[Evidence],
    started: Option<Timestamp>,
) -> Option<(Finding, &'static str)> {
    let event = event.as_ref().ok()?.as_ref()?;
    let is_not_known_to_run =
        |e: &Evidence| e.source == "process" && !e.id.is_empty() && e.finding == Finding::NoAnswer;
    if evidence.iter().any(is_not_known_to_run) {
        return Some((Finding::Nothing, "its process is not known to run"));
    }
    match (started, event.at) {
        (Some(started), Some(at)) => (started > at.plus(TICK))
            .then_some((Finding::Ambiguous, "its process has started since")),
        _ => event.has_new_writer.then_some((
            Finding::Nothing,
            "another process has begun to write to the log since",
        )),
    }
}

/// What the log is evidence of. Pure.
///
/// If a source reports the process as gone, the log must have stopped as well. While the process
/// may be alive, only a recent log counts, and a line after the close contradicts it, because the
/// bot has connected again. If the process that opened is known to have ended, and the log shows
/// no close, the bot is down or another process is the bot, however old the log is.
pub fn log_says(
    event: Result<Option<LogEvent>, String>,
    process_gone: bool,
    newest_write: Option<NewestWrite>,
    now: Timestamp,
    fresh: Duration,
    quiet: Duration,
) -> (Finding, String) {
    let span = |span: Duration| {
        humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
    };
    let nothing = |why: &str| (Finding::Nothing, why.to_owned());
    let LogEvent {
        opened,
        at,
        last_line,
        unclear,
        opener,
        never_opened,
        ..
    } = match event {
        Ok(Some(event)) => event,
        Ok(None) => return nothing("there is no log of this session"),
        Err(error) => return (Finding::NoAnswer, error),
    };
    let none = || match &unclear {
        Some(why) => nothing(&format!("the connection was closed, but {why}")),
        None => nothing("it does not tell of a connection"),
    };
    let ago = at.map_or("at a time the log does not tell".to_owned(), |at| {
        format!("{} ago", span(at.until(now)))
    });
    if process_gone {
        if last_line > now || last_line.until(now) < quiet {
            return (
                Finding::NoAnswer,
                format!(
                    "the process is said to be gone, but its log was written within the quiet window of {}",
                    span(quiet)
                ),
            );
        }
        return match opened {
            Some(false) => (
                Finding::Disconnected,
                format!("the connection was closed {ago}"),
            ),
            Some(true) => nothing("the connection was opened, and the process is gone since"),
            None => none(),
        };
    }
    if at.is_some_and(|at| at > now) || last_line > now {
        return nothing("the log is dated in the future");
    }
    if let Some(Opener { pid, .. }) = opener.filter(|opener| !opener.runs)
        && opened != Some(false)
    {
        let detail = format!("the process that opened the connection has ended (pid {pid})");
        return (Finding::Ambiguous, detail);
    }
    if last_line.until(now) > fresh {
        return nothing("the last line is too old to tell anything");
    }
    match (opened, at) {
        (Some(true), _) => (
            Finding::Connected,
            format!("the connection was opened {ago}"),
        ),
        (Some(false), Some(at)) => match newest_write {
            Some(written) if written.at > at.plus(TICK) => nothing(&format!(
                "the connection was closed, but a file was written since (kind {})",
                written.kind.label()
            )),
            _ => (
                Finding::Disconnected,
                format!("the connection was closed {ago}"),
            ),
        },
        (Some(false), None) => nothing("the connection was closed, but the line carries no date"),
        (None, _) if never_opened => (Finding::Ambiguous, none().1),
        (None, _) => none(),
    }
}

#[cfg(test)]
mod tests;
