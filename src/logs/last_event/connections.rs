//! What one log says of a connection: a state machine for each process that writes the log.
//! Pure.
//!
//! A close counts only if the log shows whose connection it ends. One process may run several
//! sessions, and several processes may write to one log.

use std::collections::BTreeMap;

use crate::folder::Timestamp;

/// So many processes of one log are remembered.
const MOST_WRITERS: usize = 64;

/// The last word of a log on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogWord {
    /// Opened.
    Opened { at: Option<Timestamp> },
    /// Closed by the only process and the only connection that it can be.
    Closed { at: Option<Timestamp>, by: u64 },
    /// Closed, but perhaps another connection than that of the session.
    Unclear { doubt: Doubt, at: Option<Timestamp> },
}

/// Why a close may be that of another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The process that closed is not known to be the one that had opened.
    NotTheOpener,
    /// The process has had two connections at once.
    SeveralConnections,
    /// Another process with an open connection writes to the log as well.
    SeveralProcesses,
}

impl Doubt {
    /// For a person; continues "the connection was closed, but".
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::NotTheOpener => "the log does not show that the same process had opened it",
            Self::SeveralConnections => {
                "its process has several connections, and the log does not tell which one; set logs.session_line"
            }
            Self::SeveralProcesses => {
                "several processes with a connection write to its log; give each a log of its own, or set logs.session_line"
            }
        }
    }
}

/// What a process was last seen to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SocketPhase {
    #[default]
    Closed,
    /// The socket is connected, and the login is under way.
    Starting,
    Opened,
}

#[derive(Clone, Copy, Debug, Default)]
struct Writer {
    phase: SocketPhase,
    /// It has had two connections at once. Stays so.
    several: bool,
    opened_at: Option<Timestamp>,
    /// The number of the step with which it opened, and with which it last wrote.
    opened_step: u64,
    last_step: u64,
}

/// What a log says of one session's connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    processes: BTreeMap<u64, Writer>,
    /// The process that opened last.
    opener: Option<u64>,
    word: Option<LogWord>,
    /// The last dated "opened".
    opened: Option<Timestamp>,
    is_closed: bool,
    logged_out: Option<Timestamp>,
    steps: u64,
}

impl Connections {
    /// A process wrote a line.
    pub(super) fn wrote(&mut self, by: u64) {
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
        self.processes.entry(by).or_default().last_step = steps;
    }

    /// A process connected a socket, and begins to log in.
    pub(super) fn started(&mut self, by: u64) {
        self.wrote(by);
        if let Some(process) = self.processes.get_mut(&by) {
            process.several |= process.phase != SocketPhase::Closed;
            if process.phase == SocketPhase::Closed {
                process.phase = SocketPhase::Starting;
            }
        }
    }

    /// A connection was opened.
    pub(super) fn opened(&mut self, at: Option<Timestamp>, by: Option<u64>) {
        self.word = Some(LogWord::Opened { at });
        self.opener = by;
        self.opened = self.opened.max(at);
        self.is_closed = false;
        self.logged_out = None;
        let Some(by) = by else { return };
        self.wrote(by);
        let steps = self.steps;
        if let Some(process) = self.processes.get_mut(&by) {
            process.several |= process.phase == SocketPhase::Opened;
            process.phase = SocketPhase::Opened;
            process.opened_at = at;
            process.opened_step = steps;
        }
    }

    /// A connection was closed.
    pub(super) fn closed(&mut self, at: Option<Timestamp>, by: Option<u64>) {
        self.is_closed = true;
        if let Some(by) = by {
            self.wrote(by);
        }
        let unclear = |doubt| LogWord::Unclear { doubt, at };
        self.word = Some(match by {
            Some(by) if self.opener == Some(by) => match self.doubt(by) {
                Some(doubt) => unclear(doubt),
                None => LogWord::Closed { at, by },
            },
            _ => unclear(Doubt::NotTheOpener),
        });
        if let Some(process) = by.and_then(|by| self.processes.get_mut(&by)) {
            process.phase = SocketPhase::Closed;
        }
    }

    /// The login was ended. Counts only for a closed connection: a text that was sent to the
    /// bot closes none.
    pub(super) fn logged_out(&mut self, at: Option<Timestamp>) {
        if self.is_closed {
            self.logged_out = at;
        }
    }

    /// Lines were not read, and one of them may be the last word.
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
            ..Self::default()
        };
    }

    /// The log was replaced or emptied.
    pub(super) fn began_anew(&mut self) {
        self.missed_lines();
        self.opened = None;
    }

    fn doubt(&self, by: u64) -> Option<Doubt> {
        let own = self.processes.get(&by)?;
        if own.several {
            return Some(Doubt::SeveralConnections);
        }
        let mut others = self.processes.iter().filter(|(other, _)| **other != by);
        // One that is silent since was replaced, as by a restart.
        let is_alive = |other: &Writer| {
            other.phase == SocketPhase::Opened && other.last_step > own.opened_step
        };
        others
            .any(|(_, other)| is_alive(other))
            .then_some(Doubt::SeveralProcesses)
    }

    /// The last word.
    pub(super) fn word(&self) -> Option<LogWord> {
        match self.word? {
            // What the log has shown since may raise a doubt.
            LogWord::Closed { at, by } => Some(match self.doubt(by) {
                Some(doubt) => LogWord::Unclear { doubt, at },
                None => LogWord::Closed { at, by },
            }),
            word => Some(word),
        }
    }

    /// Whether the log says anything of a connection.
    pub(super) fn tells(&self) -> bool {
        self.word.is_some() || self.opened.is_some()
    }

    /// The process that opened last.
    pub(super) fn opener(&self) -> Option<u64> {
        self.opener
    }

    /// When a process opened its last connection.
    pub(super) fn opened_by(&self, by: u64) -> Option<Timestamp> {
        self.processes.get(&by)?.opened_at
    }

    /// Whether a process has written to this log.
    pub(super) fn knows(&self, by: u64) -> bool {
        self.processes.contains_key(&by)
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
