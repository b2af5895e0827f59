//! What one log says about a connection: a state machine for each process that writes to the log.
//! Pure.
//!
//! A close counts only if the log shows which connection it ends. One process may run several
//! sessions, and several processes may write to one log.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::folder::Timestamp;

use super::opener::NamedProcess;

/// Maximum number of processes of one log that are tracked.
const MOST_WRITERS: usize = 64;
/// A process that wrote longer than this before its first connection in the log was running before.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// What wrote a record. Hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) process: u64,
    pub(super) logger: u64,
}

/// The last event in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogWord {
    /// Opened.
    Opened { at: Option<Timestamp> },
    /// Closed, by the only process and the only connection that are possible.
    Closed { at: Option<Timestamp>, by: u64 },
    /// Closed, but perhaps the connection of another session.
    Unclear { doubt: Doubt, at: Option<Timestamp> },
}

/// Which process a close names as the one that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CloseWriter {
    /// It names a process, but not by its number.
    #[default]
    Unknown,
    /// It names no process.
    Unnamed,
    /// Its number in its own PID namespace.
    Pid(u32),
}

/// Why a close may belong to another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The process or the logger that closed may not be the one that opened.
    NotTheOpener,
    /// The process had two connections at the same time.
    SeveralConnections,
    /// Another process with an open connection also writes to the log.
    SeveralProcesses,
}

impl Doubt {
    /// A sentence for the operator that continues "the connection was closed, but".
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::NotTheOpener => {
                "the log does not show that the same logger of the same process had opened it"
            }
            Self::SeveralConnections => {
                "its process has several connections, and the log does not tell which one; set logs.session_line"
            }
            Self::SeveralProcesses => {
                "several processes with a connection write to its log; give each a log of its own, or set logs.session_line"
            }
        }
    }
}

/// The state of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SocketPhase {
    #[default]
    Closed,
    /// The socket is connected, and the login is in progress.
    Starting,
    Opened,
}

#[derive(Clone, Copy, Debug, Default)]
struct Writer {
    phase: SocketPhase,
    /// It had two connections at the same time. Never reset.
    several: bool,
    opened_at: Option<Timestamp>,
    /// When it wrote its first line that was read.
    first_at: Option<Timestamp>,
    /// It has connected, opened or closed.
    has_event: bool,
    /// It was running before its first line that was read, so it may have other connections.
    ran_before: bool,
    /// The steps at which it first wrote, opened (0: never), and last wrote.
    first_step: u64,
    opened_step: u64,
    last_step: u64,
}

/// What a log says about one session's connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    processes: BTreeMap<u64, Writer>,
    /// What reported the last "opened".
    opener: Option<Origin>,
    /// Its number, if it was on this host.
    opener_pid: Option<u32>,
    /// The process that closed since.
    closer: Option<u64>,
    close_writer: CloseWriter,
    word: Option<LogWord>,
    /// The last dated "opened".
    opened: Option<Timestamp>,
    is_closed: bool,
    logged_out: Option<Timestamp>,
    steps: u64,
    /// Lines before the next one were not read.
    is_cut: bool,
}

/// What a process did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Wrote,
    Connected,
    Closed,
}

impl Connections {
    /// `is_cut`: the log is not read from its beginning.
    pub(super) fn new(is_cut: bool) -> Self {
        Self {
            is_cut,
            ..Self::default()
        }
    }

    /// A process wrote a line.
    pub(super) fn wrote(&mut self, by: u64, at: Option<Timestamp>) {
        self.step(by, at, LineKind::Wrote);
    }

    fn step(&mut self, by: u64, at: Option<Timestamp>, step: LineKind) {
        self.steps += 1;
        let steps = self.steps;
        if !self.processes.contains_key(&by) && self.processes.len() >= MOST_WRITERS {
            let oldest = self
                .processes
                .iter()
                .min_by_key(|(_, known)| known.last_step);
            if let Some(oldest) = oldest.map(|(by, _)| *by) {
                self.processes.remove(&oldest);
            }
        }
        // The first process after a cut may have begun before it.
        let is_cut = std::mem::take(&mut self.is_cut);
        let process = self.processes.entry(by).or_insert_with(|| Writer {
            first_at: at,
            first_step: steps,
            ran_before: is_cut,
            ..Writer::default()
        });
        process.last_step = steps;
        if step == LineKind::Wrote || process.has_event {
            return;
        }
        process.has_event = true;
        process.ran_before |= match (process.first_at, at) {
            _ if step == LineKind::Closed => true,
            (Some(first), Some(at)) => first.plus(STARTS_WITHIN) < at,
            (first, at) => first != at,
        };
    }

    /// A process connected a socket and begins to log in.
    pub(super) fn started(&mut self, by: u64, at: Option<Timestamp>) {
        self.step(by, at, LineKind::Connected);
        if let Some(process) = self.processes.get_mut(&by) {
            process.several |= process.phase != SocketPhase::Closed;
            if process.phase == SocketPhase::Closed {
                process.phase = SocketPhase::Starting;
            }
        }
    }

    /// A connection was opened.
    pub(super) fn opened(&mut self, at: Option<Timestamp>, by: Option<Origin>) {
        self.word = Some(LogWord::Opened { at });
        (self.opener, self.opener_pid) = (by, None);
        self.closer = None;
        self.opened = self.opened.max(at);
        self.is_closed = false;
        self.logged_out = None;
        let Some(by) = by.map(|by| by.process) else {
            return;
        };
        self.step(by, at, LineKind::Connected);
        let steps = self.steps;
        if let Some(process) = self.processes.get_mut(&by) {
            process.several |= process.phase == SocketPhase::Opened;
            process.phase = SocketPhase::Opened;
            process.opened_at = at;
            process.opened_step = steps;
        }
    }

    /// The last "opened" was reported by the process of this number on this host.
    pub(super) fn opened_here_by(&mut self, pid: u32) {
        self.opener_pid = Some(pid);
    }

    /// The process of this host that opened last, and when.
    pub(super) fn opener_here(&self) -> Option<NamedProcess> {
        let opened = self.opened_by(self.opener()?)?;
        let pid = self.opener_pid?;
        Some(NamedProcess { pid, opened })
    }

    /// A connection was closed. `is_final`: the library writes nothing more about it; until then it
    /// may be another logger's, which writes less.
    pub(super) fn closed(&mut self, at: Option<Timestamp>, by: Option<Origin>, is_final: bool) {
        self.is_closed = true;
        self.closer = by.map(|by| by.process);
        self.close_writer = CloseWriter::default();
        if let Some(by) = by {
            self.step(by.process, at, LineKind::Closed);
        }
        let unclear = |doubt| LogWord::Unclear { doubt, at };
        self.word = Some(match by {
            Some(by) if is_final && self.opener == Some(by) => match self.doubt(by.process) {
                Some(doubt) => unclear(doubt),
                None => LogWord::Closed { at, by: by.process },
            },
            _ => unclear(Doubt::NotTheOpener),
        });
        if let Some(process) = by.and_then(|by| self.processes.get_mut(&by.process)) {
            process.phase = SocketPhase::Closed;
        }
    }

    /// The last close names this process.
    pub(super) fn closed_by(&mut self, writer: CloseWriter) {
        self.close_writer = writer;
    }

    /// Which process the last close names.
    pub(super) fn close_writer(&self) -> CloseWriter {
        self.close_writer
    }

    /// The login was ended. Counts only if the connection is closed: a text sent to the bot closes
    /// nothing.
    pub(super) fn logged_out(&mut self, at: Option<Timestamp>) {
        if self.is_closed {
            self.logged_out = at;
        }
    }

    /// Lines were not read, and one of them may be the last event.
    pub(super) fn missed_lines(&mut self) {
        let mut processes = std::mem::take(&mut self.processes);
        processes.retain(|_, process| process.several);
        for process in processes.values_mut() {
            process.phase = SocketPhase::Closed;
        }
        *self = Self {
            processes,
            opened: self.opened,
            steps: self.steps,
            is_cut: true,
            ..Self::default()
        };
    }

    /// The log was replaced or truncated, or is read again. `is_cut` as in [`Self::new`].
    pub(super) fn began_anew(&mut self, is_cut: bool) {
        self.missed_lines();
        self.opened = None;
        self.is_cut = is_cut;
    }

    fn doubt(&self, by: u64) -> Option<Doubt> {
        let own = self.processes.get(&by)?;
        if own.several {
            return Some(Doubt::SeveralConnections);
        }
        let mut others = self.processes.iter().filter(|(other, _)| **other != by);
        // A process that has been silent since then was replaced, for example by a restart.
        let is_alive = |other: &Writer| {
            other.phase == SocketPhase::Opened && other.last_step > own.opened_step
        };
        others
            .any(|(_, other)| is_alive(other))
            .then_some(Doubt::SeveralProcesses)
    }

    /// The last event.
    pub(super) fn word(&self) -> Option<LogWord> {
        match self.word? {
            // Later lines may raise a doubt.
            LogWord::Closed { at, by } => Some(match self.doubt(by) {
                Some(doubt) => LogWord::Unclear { doubt, at },
                None => LogWord::Closed { at, by },
            }),
            word => Some(word),
        }
    }

    /// Whether the log says anything about a connection.
    pub(super) fn tells(&self) -> bool {
        self.word.is_some() || self.opened.is_some()
    }

    /// The process that opened last.
    pub(super) fn opener(&self) -> Option<u64> {
        self.opener.map(|by| by.process)
    }

    /// When a process opened its last connection.
    pub(super) fn opened_by(&self, by: u64) -> Option<Timestamp> {
        self.processes.get(&by)?.opened_at
    }

    /// Whether a process was running before its first line that was read. It may have connections
    /// that the log does not show.
    pub(super) fn ran_before(&self, by: u64) -> bool {
        self.processes
            .get(&by)
            .is_none_or(|process| process.ran_before)
    }

    /// Whether the last event is a close by a process that was running before its first line that
    /// was read.
    pub(super) fn needs_earlier_lines(&self) -> bool {
        matches!(self.word(), Some(LogWord::Closed { by, .. }) if self.ran_before(by))
    }

    /// Whether the last event is a close by a process that has logged in and has never opened a
    /// connection.
    pub(super) fn never_opened(&self) -> bool {
        let closer = self.closer.and_then(|by| self.processes.get(&by));
        closer.is_some_and(|process| !process.ran_before && process.opened_step == 0)
    }

    /// Whether another process has begun to write since the last line of the one that opened last.
    pub(super) fn has_new_writer(&self) -> bool {
        let Some(opener) = self.opener() else {
            return false;
        };
        let last = self.processes.get(&opener);
        let last = last.map_or(0, |process| process.last_step);
        let mut others = self.processes.iter().filter(|(by, _)| **by != opener);
        others.any(|(_, process)| process.first_step > last)
    }

    /// Whether processes write to this log, and `by` is none of them.
    pub(super) fn is_only_of_others(&self, by: u64) -> bool {
        !self.processes.is_empty() && !self.processes.contains_key(&by)
    }

    #[cfg(test)]
    fn writers(&self) -> usize {
        self.processes.len()
    }

    /// Whether a process has had two connections at once.
    pub(super) fn has_several(&self, by: u64) -> bool {
        self.processes
            .get(&by)
            .is_some_and(|process| process.several)
    }

    /// The last dated "opened".
    pub(super) fn last_opened(&self) -> Option<Timestamp> {
        self.opened
    }

    /// When the login was ended, if no connection was opened since.
    pub(super) fn ended(&self) -> Option<Timestamp> {
        self.logged_out
    }
}

#[cfg(test)]
mod tests;
