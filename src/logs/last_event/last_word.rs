//! What all logs of a session together say of its connection. Pure.

use std::path::PathBuf;
use std::sync::Arc;

use crate::folder::Timestamp;

use super::connections::{Connections, LogWord};

/// A log of a session.
#[derive(Debug)]
pub(super) struct OneLog {
    /// What one process writes: the directory, and the name without streams and dates.
    pub(super) writer: (Option<PathBuf>, String),
    /// The configuration names this very file as the session's.
    pub(super) is_exact: bool,
    /// Two sessions claim it: one by a glob, one by the name of the file.
    pub(super) contested: Option<[Arc<str>; 2]>,
    /// When it was last written.
    pub(super) written: Timestamp,
    /// What it says.
    pub(super) connections: Connections,
}

/// The last word of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LastWord {
    /// There is none.
    None,
    /// Opened.
    Opened { at: Option<Timestamp> },
    /// Closed, and by what these logs show it was this session.
    Closed { at: Option<Timestamp> },
    /// Closed, but perhaps another connection. Why; continues "the connection was closed, but".
    Unclear(String),
}

/// `by_line`: the lines name their session.
pub(super) fn last_word(logs: &[OneLog], by_line: bool) -> LastWord {
    // How far each log's last event reaches. An undated closing reaches nowhere.
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
        // Of two that reach as far the one that says connected is believed.
        let is_newer = newest
            .as_ref()
            .is_none_or(|(known, _, _)| reach > *known || reach == *known && is_opened);
        if is_newer {
            newest = Some((reach, index, word));
        }
    }
    match newest {
        Some((_, _, LogWord::Opened { at })) => LastWord::Opened { at },
        Some((_, index, LogWord::Closed { at, by })) => match why_not(logs, index, by, by_line) {
            Some(why) => LastWord::Unclear(why),
            None => LastWord::Closed { at },
        },
        _ => doubt.map_or(LastWord::None, |doubt| {
            LastWord::Unclear(doubt.reason().into())
        }),
    }
}

/// Why a close in the log `index` by the process `by` may be that of another session.
fn why_not(logs: &[OneLog], index: usize, by: u64, by_line: bool) -> Option<String> {
    let closed = logs.get(index)?;
    if !by_line && let Some([claims, named]) = &closed.contested {
        return Some(format!(
            "--logs.path={claims}=GLOB matches a log that is named after {named}; give a narrower GLOB"
        ));
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
        if !by_line && !same_writer && !named && !connections.knows(by) {
            return Some(
                "the logs of several programs count for this session; name its own: --logs.path=NAME=PATH without a wildcard".into(),
            );
        }
        // Of one program the process that opened later has replaced the one before.
        let replaced = |at: Option<Timestamp>| same_writer && at.is_some() && at < opened;
        match connections.word() {
            Some(LogWord::Opened { at }) if connections.opener() != Some(by) && !replaced(at) => {
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
