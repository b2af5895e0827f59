//! An event that a logger writes at two levels, or in two records, counts once.
//!
//! At trace level WhatsApp's node is printed as it arrives (`recv xml`), and again as an error.
//! The two records have different messages. So among records of one log and session that stand
//! near each other, an event of a pattern occurred as often as the most frequent message.

use std::sync::Arc;

/// Records that are farther apart than this belong to different events.
const NEAR_LINES: u64 = 50;
/// So many are remembered for one log.
const MOST: usize = 64;

/// What was counted lately in one log.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    groups: Vec<RepeatGroup>,
    /// Where records gave the reason of an end.
    reasons: Vec<GivenReason>,
}

#[derive(Clone, Debug)]
struct GivenReason {
    session: Arc<str>,
    pattern: usize,
    line: u64,
    by: ReasonBy,
    /// Whether it was a report.
    certain: bool,
}

/// What gave a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonBy {
    /// A record of the library's logger.
    Library,
    /// A bot's record with the reason.
    Bot,
    /// A bot's sentence without one.
    Sentence,
}

#[derive(Clone, Debug)]
struct RepeatGroup {
    session: Arc<str>,
    pattern: usize,
    line: u64,
    /// Messages by their hash, and how often.
    messages: Vec<(u64, u32)>,
}

impl Repeats {
    /// Whether a record of a logger with this message, at this line of its log, reports an
    /// event that was counted already.
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

    /// Whether a logger's record near this line reported an event of one of these patterns.
    pub fn is_reported(&self, session: &Arc<str>, patterns: &[usize], line: u64) -> bool {
        self.groups.iter().any(|group| {
            patterns.contains(&group.pattern)
                && group.session == *session
                && line.saturating_sub(group.line) <= NEAR_LINES
        })
    }

    /// Remembers what gave the reason of an end at this line, and whether it is a report.
    pub fn note_reason(
        &mut self,
        session: &Arc<str>,
        pattern: usize,
        line: u64,
        (by, certain): (ReasonBy, bool),
    ) {
        self.reasons.retain(|other| {
            (other.session != *session || other.pattern != pattern)
                && line.saturating_sub(other.line) <= NEAR_LINES
        });
        if self.reasons.len() < MOST {
            self.reasons.push(GivenReason {
                session: Arc::clone(session),
                pattern,
                line,
                by,
                certain,
            });
        }
    }

    /// Whether the reason of an end was given shortly before this line, by one of these, and
    /// whether that was a report. Of one sentence only: the next one is an event of its own.
    pub fn follows_reason(
        &mut self,
        session: &Arc<str>,
        pattern: usize,
        line: u64,
        by: &[ReasonBy],
    ) -> Option<bool> {
        let found = self.reasons.iter().position(|other| {
            other.session == *session
                && other.pattern == pattern
                && by.contains(&other.by)
                && line.saturating_sub(other.line) <= NEAR_LINES
        })?;
        Some(self.reasons.swap_remove(found).certain)
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.reasons.is_empty()
    }
}

#[cfg(test)]
mod tests;
