//! An event that a logger writes at two levels, or in two records, counts once.
//!
//! At trace level WhatsApp's node is printed on arrival (`recv xml`), and again as an error. The
//! two records have different messages. So among nearby records of one log and session, a pattern's
//! event occurred as often as the most frequent message.

use std::sync::Arc;

use super::pattern::RecordKind;

/// Records farther apart than this are different events.
const NEAR_LINES: u64 = 50;
/// Maximum number of records that are kept for one log.
const MOST: usize = 64;

/// The recent counts of one log.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    groups: Vec<RepeatGroup>,
    /// The last events, in the order of their first records.
    events: Vec<NearEvent>,
}

/// An event that records of several kinds may report.
#[derive(Clone, Debug)]
struct NearEvent {
    session: Arc<str>,
    pattern: usize,
    line: u64,
    /// The kinds of its records so far.
    kinds: Vec<RecordKind>,
    /// Whether one of them was a report.
    certain: bool,
}

#[derive(Clone, Debug)]
struct RepeatGroup {
    session: Arc<str>,
    pattern: usize,
    line: u64,
    /// Messages by their hash, and how often each occurred.
    messages: Vec<(u64, u32)>,
}

impl Repeats {
    /// Whether a logger's record with this message, at this line of its log, reports an event that
    /// was already counted.
    pub fn is_repeat(
        &mut self,
        session: &Arc<str>,
        pattern: usize,
        message: u64,
        line: u64,
    ) -> bool {
        self.groups
            .retain(|group| line.saturating_sub(group.line) <= NEAR_LINES);
        let known = self
            .groups
            .iter_mut()
            .find(|group| group.pattern == pattern && group.session == *session);
        let Some(group) = known else {
            if self.groups.len() >= MOST {
                self.groups.remove(0);
            }
            self.groups.push(RepeatGroup {
                session: Arc::clone(session),
                pattern,
                line,
                messages: vec![(message, 1)],
            });
            return false;
        };
        group.line = line;
        let events = group.messages.iter().map(|(_, count)| *count).max();
        let seen = group
            .messages
            .iter_mut()
            .find(|(other, _)| *other == message);
        let count = match seen {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                if group.messages.len() < MOST {
                    group.messages.push((message, 1));
                }
                1
            }
        };
        Some(count) <= events
    }

    /// Adds a record to the event that a record of another kind reported shortly before this line.
    /// Returns whether that event already was a report; `None` if the record begins a new event.
    ///
    /// A bot prints an error, its code and a sentence about one event. The library's records are
    /// apart: only a sentence that never comes alone is added to its events.
    pub fn join(
        &mut self,
        session: &Arc<str>,
        pattern: usize,
        line: u64,
        (kind, certain): (RecordKind, bool),
    ) -> Option<bool> {
        use RecordKind::{Afterwards, Library};
        self.events
            .retain(|event| line.saturating_sub(event.line) <= NEAR_LINES);
        let same = self.events.iter_mut().rev().find(|event| {
            event.pattern == pattern
                && event.session == *session
                && !event.kinds.contains(&kind)
                && kind != Library
                && (kind == Afterwards || !event.kinds.contains(&Library))
        });
        if let Some(event) = same {
            event.kinds.push(kind);
            let before = event.certain;
            event.certain |= certain;
            return Some(before);
        }
        if self.events.len() >= MOST {
            self.events.remove(0);
        }
        self.events.push(NearEvent {
            session: Arc::clone(session),
            pattern,
            line,
            kinds: vec![kind],
            certain,
        });
        None
    }

    /// Adds a conflict without a reason to the event near this line that explains it: one of
    /// `removed` or `replaced`. Returns its pattern and whether it already was a report. An event of
    /// a bot of the kind `replaced` explains one conflict, because the next one is another event.
    pub fn join_conflict(
        &mut self,
        session: &Arc<str>,
        (removed, replaced): (Option<usize>, Option<usize>),
        line: u64,
        certain: bool,
    ) -> Option<(usize, bool)> {
        use RecordKind::{Code, Conflict, Library, Object};
        let event = self.events.iter_mut().rev().find(|event| {
            event.session == *session
                && line.saturating_sub(event.line) <= NEAR_LINES
                // Not a word in a chat.
                && (event.certain
                    || [Code, Library, Object]
                        .iter()
                        .any(|kind| event.kinds.contains(kind)))
                && (Some(event.pattern) == removed
                    || Some(event.pattern) == replaced
                        && (event.kinds.contains(&Library) || !event.kinds.contains(&Conflict)))
        })?;
        event.kinds.push(Conflict);
        let before = event.certain;
        event.certain |= certain;
        Some((event.pattern, before))
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.events.is_empty()
    }
}

#[cfg(test)]
mod tests;
