//! Adds the signs of records to the counts.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::folder::Timestamp;
use crate::logs::pattern::{Patterns, REPORTED, RecordKind, RecordSigns, Sign};
use crate::logs::repeats::Repeats;
use crate::logs::session_resolver::SessionResolver;

use super::counts::{Counts, SessionCounts, Waiting, add_one};

/// Maximum number of logs and names whose lines wait.
pub(super) const MOST_WAITING: usize = 1000;
/// A conflict waits for a reason in this many lines after it.
const REASON_WITHIN: u64 = 20;
/// Maximum number of conflicts of one log that wait.
const MOST_HELD: usize = 64;

/// Where a line is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Session(Arc<str>),
    Waiting(Waiting),
}

/// A conflict without a reason.
#[derive(Clone, Debug)]
pub(super) struct HeldConflict {
    pub(super) target: Target,
    pub(super) line: u64,
    pub(super) found: RecordSigns,
}

/// Where to count the lines of one block.
pub(super) struct Tally<'a> {
    pub(super) log: &'a Path,
    pub(super) counts: &'a mut Counts,
    /// What `counts` will be added to, if they are those of a copy.
    pub(super) base: Option<&'a Counts>,
    pub(super) written: Option<Timestamp>,
    pub(super) now: (Timestamp, Instant),
    pub(super) resolver: &'a SessionResolver,
}

impl Target {
    /// The session that a log's events are compared for. What is remembered is for one log, so lines
    /// without a name need none.
    pub(super) fn session(&self) -> Arc<str> {
        match self {
            Self::Session(session) => Arc::clone(session),
            Self::Waiting(key) => key.named.clone().unwrap_or_else(|| Arc::from("")),
        }
    }
}

impl Tally<'_> {
    /// Whether the lines are old ones, whose times the log does not tell.
    fn is_old(&self) -> bool {
        match self.base {
            Some(base) => base.is_first_reading(),
            None => self.counts.is_first_reading(),
        }
    }

    /// When the lines were written, or else read.
    fn at(&self) -> Timestamp {
        self.written.unwrap_or(self.now.0)
    }

    pub(super) fn of(&mut self, target: &Target) -> &mut SessionCounts {
        let known = self.resolver.sessions();
        let is_over = match target {
            Target::Session(session) if self.counts.sessions.contains_key(session) => false,
            Target::Session(session) => self.counts.of_session(session, self.base, known).is_none(),
            Target::Waiting(_) => false,
        };
        let counts = match target {
            Target::Session(_) if is_over => self
                .counts
                .unplaced
                .entry(self.resolver.glob_of(self.log))
                .or_default(),
            Target::Session(session) => {
                self.counts.sessions.entry(Arc::clone(session)).or_default()
            }
            Target::Waiting(key)
                if self.counts.waiting.len() < MOST_WAITING
                    || self.counts.waiting.contains_key(key) =>
            {
                let waiting = self.counts.waiting.entry(key.clone()).or_default();
                waiting.since.get_or_insert(self.now);
                &mut waiting.counts
            }
            Target::Waiting(key) => {
                let glob = self.resolver.glob_of(&key.log);
                self.counts.unplaced.entry(glob).or_default()
            }
        };
        counts.last_line = counts.last_line.max(self.written);
        counts
    }

    /// Counts the signs of a record, which begins at this line of its log.
    pub(super) fn add(
        &mut self,
        target: &Target,
        found: &RecordSigns,
        patterns: &Patterns,
        (repeats, held): (&mut Repeats, &mut Vec<HeldConflict>),
        line: u64,
    ) {
        self.release(patterns, (repeats, held), line);
        let (is_old, at) = (self.is_old(), self.at());
        let counts = self.of(target);
        counts.secrets.add(found.secrets);
        if found.library {
            counts.library_was_seen();
        }
        if found.opened == Some(true) && !is_old {
            counts.opened(at);
        }
        let kinds = patterns.removed_and_replaced();
        let (removed, replaced) = kinds;
        if found.conflict {
            let session = target.session();
            let certain = found.signs.iter().any(|sign| sign.certain);
            match repeats.join_conflict(&session, kinds, line, certain) {
                Some((pattern, before)) => {
                    self.confirm(target, patterns, pattern, certain && !before)
                }
                None if held.len() < MOST_HELD => held.push(HeldConflict {
                    target: target.clone(),
                    line,
                    found: found.clone(),
                }),
                None => self.count(target, found, patterns, repeats, line),
            }
            return;
        }
        if found.bare_code {
            // The conflict says that the code is a reason.
            if let Some(pattern) = removed
                && let Some(conflict) = take_held(held, target)
            {
                let signs = conflict.found.signs.into_iter();
                let found = RecordSigns {
                    signs: signs
                        .map(|sign| Sign {
                            pattern,
                            kind: RecordKind::Code,
                            ..sign
                        })
                        .collect(),
                    ..RecordSigns::default()
                };
                self.count(target, &found, patterns, repeats, line);
            }
            return;
        }
        self.count(target, found, patterns, repeats, line);
        // Not by a word in a chat, and not by the library, which gives the reason first.
        let decided = found.signs.iter().any(|sign| {
            let of_a_bot = match sign.kind {
                RecordKind::Code | RecordKind::Object => true,
                RecordKind::Library => false,
                _ => sign.certain,
            };
            of_a_bot && (Some(sign.pattern) == removed || Some(sign.pattern) == replaced)
        });
        if decided && let Some(conflict) = take_held(held, target) {
            let certain = conflict.found.signs.iter().any(|sign| sign.certain);
            let joined = repeats.join_conflict(&target.session(), kinds, line, certain);
            if let Some((pattern, before)) = joined {
                self.confirm(target, patterns, pattern, certain && !before);
            }
        }
    }

    /// Counts the conflicts that no reason has decided until this line.
    pub(super) fn release(
        &mut self,
        patterns: &Patterns,
        (repeats, held): (&mut Repeats, &mut Vec<HeldConflict>),
        line: u64,
    ) {
        while held
            .first()
            .is_some_and(|conflict| line.saturating_sub(conflict.line) > REASON_WITHIN)
        {
            let HeldConflict {
                target,
                line,
                found,
            } = held.remove(0);
            self.count(&target, &found, patterns, repeats, line);
        }
    }

    /// Counts a report of an event that was counted before.
    pub(super) fn confirm(
        &mut self,
        target: &Target,
        patterns: &Patterns,
        pattern: usize,
        report: bool,
    ) {
        if let Some(pattern) = patterns.patterns().get(pattern).filter(|_| report) {
            add_one(&mut self.of(target).reports, &pattern.name);
        }
    }

    pub(super) fn count(
        &mut self,
        target: &Target,
        found: &RecordSigns,
        patterns: &Patterns,
        repeats: &mut Repeats,
        line: u64,
    ) {
        let (is_old, at) = (self.is_old(), self.at());
        let (removed, _) = patterns.removed_and_replaced();
        let counts = self.of(target);
        let session = target.session();
        for sign in &found.signs {
            let Some(pattern) = patterns.patterns().get(sign.pattern) else {
                continue;
            };
            if Some(sign.pattern) == removed && !is_old {
                counts.removed(at);
            }
            let shipped = !pattern.printed_by.is_empty();
            let is_reported = REPORTED.contains(&pattern.name.as_ref());
            if is_reported
                && let Some(before) =
                    repeats.join(&session, sign.pattern, line, (sign.kind, sign.certain))
            {
                // These are one event. This record may be the first one that is a report.
                if sign.certain && !before {
                    add_one(&mut counts.reports, &pattern.name);
                }
                continue;
            }
            if let Some(message) = found.message.filter(|_| shipped)
                && repeats.is_repeat(&session, sign.pattern, message, line)
            {
                continue;
            }
            add_one(&mut counts.events, &pattern.name);
            if sign.certain && is_reported {
                add_one(&mut counts.reports, &pattern.name);
            }
        }
    }
}

/// Removes the first conflict of this session that waits.
fn take_held(held: &mut Vec<HeldConflict>, target: &Target) -> Option<HeldConflict> {
    let index = held.iter().position(|held| held.target == *target)?;
    Some(held.remove(index))
}
