//! Combines all logs of a session. Pure.

use std::path::PathBuf;
use std::sync::Arc;

use crate::folder::Timestamp;

use super::connections::{CloseWriter, Connections, Doubt, LogWord};
use crate::connection::DoubtedClose;

/// A log of a session.
#[derive(Debug)]
pub(super) struct OneLog {
    /// The logs of one process: the directory, and the name without streams and dates.
    pub(super) writer: (Option<PathBuf>, String),
    /// The configuration names this file as the session's, without a wildcard.
    pub(super) is_exact: bool,
    /// Two sessions claim it: one by a glob, one by the file name.
    pub(super) contested: Option<[Arc<str>; 2]>,
    /// When it was last written.
    pub(super) written: Timestamp,
    /// What it says.
    pub(super) connections: Connections,
}

/// The last event in the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LastWord {
    /// No event.
    None,
    /// Opened.
    Opened {
        at: Option<Timestamp>,
        /// See [`Connections::has_new_writer`].
        has_new_writer: bool,
    },
    /// Closed by this process, and according to these logs it was this session.
    Closed {
        at: Option<Timestamp>,
        by: u64,
        /// When the process had opened the connection.
        opened: Option<Timestamp>,
    },
    /// Closed, but perhaps the connection of another session; the text continues "the connection
    /// was closed, but".
    Unclear(String),
}

/// `by_line`: each line names its session.
pub(super) fn last_word(logs: &[OneLog], by_line: bool) -> LastWord {
    // The time until which each log's last event is valid. A close without a date has none.
    let mut newest: Option<(Option<Timestamp>, usize, LogWord)> = None;
    let mut doubt = None;
    for (index, log) in logs.iter().enumerate() {
        let Some(word) = log.connections.word() else {
            continue;
        };
        let reach = match word {
            LogWord::Opened { at } => at.or(Some(log.written)),
            LogWord::Closed { at, .. } => at,
            LogWord::Unclear { doubt: why, .. } => {
                doubt = Some(why);
                continue;
            }
        };
        let is_opened = matches!(word, LogWord::Opened { .. });
        // If two are equal, trust the one that says connected.
        let is_newer = newest
            .as_ref()
            .is_none_or(|(known, _, _)| reach > *known || reach == *known && is_opened);
        if is_newer {
            newest = Some((reach, index, word));
        }
    }
    match newest {
        Some((_, index, LogWord::Opened { at })) => LastWord::Opened {
            at,
            has_new_writer: (logs.get(index)).is_some_and(|log| log.connections.has_new_writer()),
        },
        Some((_, index, LogWord::Closed { at, by })) => match why_not(logs, index, by, by_line) {
            Some(why) => LastWord::Unclear(why),
            None => LastWord::Closed {
                at,
                by,
                opened: (logs.get(index)).and_then(|log| log.connections.opened_by(by)),
            },
        },
        _ => doubt.map_or(LastWord::None, |doubt| {
            LastWord::Unclear(doubt.reason().into())
        }),
    }
}

/// The newest event in these logs, if it is a close that the session's own process wrote, or may
/// have written, and that counts once that process has no connection: none of its connections is
/// then another one.
pub(super) fn doubted_close(logs: &[OneLog], by_line: bool) -> Option<DoubtedClose> {
    let mut newest: Option<(Option<Timestamp>, &OneLog, LogWord)> = None;
    for log in logs {
        let Some(word) = log.connections.word() else {
            continue;
        };
        let reach = match word {
            LogWord::Opened { at } => at.or(Some(log.written)),
            LogWord::Closed { at, .. } | LogWord::Unclear { at, .. } => at,
        };
        let is_opened = matches!(word, LogWord::Opened { .. });
        let is_newer = newest
            .as_ref()
            .is_none_or(|(known, ..)| reach > *known || reach == *known && is_opened);
        if is_newer {
            newest = Some((reach, log, word));
        }
    }
    let (at, closed, word) = newest?;
    let is_close = match word {
        LogWord::Opened { .. } => false,
        LogWord::Closed { .. } => true,
        // Another process has a connection.
        LogWord::Unclear { doubt, .. } => doubt != Doubt::SeveralProcesses,
    };
    if !is_close || !by_line && closed.contested.is_some() {
        return None;
    }
    let is_own = |other: &OneLog| {
        other.writer == closed.writer || other.is_exact && closed.is_exact || by_line
    };
    let pid = match closed.connections.close_writer() {
        CloseWriter::Pid(pid) => Some(pid),
        CloseWriter::Unnamed if logs.iter().all(is_own) => None,
        CloseWriter::Unnamed | CloseWriter::Unknown => return None,
    };
    Some(DoubtedClose { at: at?, pid })
}

/// Why a close in the log `index` by the process `by` may belong to another session.
fn why_not(logs: &[OneLog], index: usize, by: u64, by_line: bool) -> Option<String> {
    let closed = logs.get(index)?;
    if !by_line && let Some([claims, named]) = &closed.contested {
        return Some(format!(
            "--logs.path={claims}=GLOB matches a log that is named after {named}; give a narrower GLOB"
        ));
    }
    if !by_line && !closed.is_exact && closed.connections.ran_before(by) {
        return Some(
            "its process was running before the part of the log that was read begins, and may have other connections; name its supervisor under processes, set logs.session_line, or, if the process runs no other session, name the log exactly: --logs.path=NAME=PATH".into(),
        );
    }
    let opened = closed.connections.opened_by(by);
    let others = logs.iter().enumerate().filter(|(other, _)| *other != index);
    for (_, other) in others {
        let connections = &other.connections;
        if connections.has_several(by) {
            return Some(
                super::connections::Doubt::SeveralConnections
                    .reason()
                    .into(),
            );
        }
        let same_writer = other.writer == closed.writer;
        let named = other.is_exact && closed.is_exact;
        if !by_line && !same_writer && !named {
            return Some(
                "the logs of several programs count for this session; name its own: --logs.path=NAME=PATH without a wildcard, or name its supervisor under processes".into(),
            );
        }
        // Of the processes of one program, the one that opened later replaced the earlier one. In
        // logs of several programs, an equal process number proves nothing: every container has a 1.
        let replaced = |at: Option<Timestamp>| same_writer && at.is_some() && at < opened;
        let is_this = |at| same_writer && connections.opener() == Some(by) && at <= opened;
        match connections.word() {
            Some(LogWord::Opened { at }) if !is_this(at) && !replaced(at) => {
                return Some("another log of this session ends with a connection that another process has opened".into());
            }
            Some(LogWord::Unclear { doubt, at }) if !replaced(at) => {
                return Some(doubt.reason().into());
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
