//! Sightings: which source has seen which bot alive.
//!
//! From another PID namespace every process looks gone, and many a status endpoint
//! answers `false` for a session it never heard of. So a source may say that a bot is
//! *not* connected only when it has been right about this very session before: within 30
//! days it saw the bot alive, or a person vouched for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::folder::{SessionName, Timestamp};

use super::{Alive, Evidence, Finding};

/// For this long a source that saw the bot alive is believed.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// A record may be this far ahead of the clock, no further: clocks are set back a little.
const AHEAD: Duration = Duration::from_secs(300);
/// A record that is younger than this is not written anew.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A person's word for a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Who gave it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What is remembered of one session, by the source's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recollection {
    /// When each source last saw it alive.
    pub alive: BTreeMap<String, Alive>,
    /// Which sources a person vouched for.
    pub trusted: BTreeMap<String, Trust>,
    /// Whether the configuration vouches for every source of this session.
    pub trusted_by_configuration: bool,
}

impl Recollection {
    /// When this source last saw the session alive, if that still counts.
    pub fn last_alive(&self, id: &str, now: Timestamp) -> Option<&Alive> {
        self.alive.get(id).filter(|alive| counts(alive.at, now))
    }

    /// When a process that is gone now was first found so, since it was last seen alive: the
    /// id of that record and the record. It had ended by then.
    pub fn first_gone(&self, id: &str, now: Timestamp) -> (String, Alive) {
        let record = format!("{id}-gone");
        let alive = self.last_alive(id, now);
        let known = self.last_alive(&record, now).filter(|gone| {
            gone.at <= now
                && alive.is_none_or(|alive| alive.at <= gone.at && alive.mark == gone.mark)
        });
        let first = known.cloned().unwrap_or_else(|| Alive {
            at: now,
            mark: alive.and_then(|alive| alive.mark.clone()),
        });
        (record, first)
    }

    /// Whether this source may say that the bot is not connected.
    pub fn vouches_for(&self, id: &str, now: Timestamp) -> bool {
        self.trusted_by_configuration
            || (!id.is_empty()
                && (self.trusted.contains_key(id) || self.last_alive(id, now).is_some()))
    }

    /// The sightings that are not on record yet.
    pub fn missing(&self, evidence: &[Evidence], now: Timestamp) -> Vec<(String, Alive)> {
        let seen = evidence
            .iter()
            .filter_map(|e| Some((e.id.clone(), e.alive.clone()?)));
        seen.filter(|(id, alive)| !id.is_empty() && counts(alive.at, now))
            .filter(|(id, alive)| match self.alive.get(id) {
                // A record from the future was written under a wrong clock, and is replaced.
                Some(known) if known.at <= now => {
                    known.mark != alive.mark || known.at.plus(WRITE_AGAIN_AFTER) <= alive.at
                }
                _ => true,
            })
            .collect()
    }
}

/// Whether a sighting is recent, and not from a clock that ran ahead.
fn counts(at: Timestamp, now: Timestamp) -> bool {
    at <= now.plus(AHEAD) && at.until(now) <= REMEMBERED_FOR
}

/// Evidence that a bot is not connected counts only from a source that has seen it alive, or
/// that a person vouches for. An unreachable source counts only if the process is gone and its
/// supervisor has seen it alive; a person's word is not enough there. Pure.
pub fn vouched(evidence: Vec<Evidence>, memory: &Recollection, now: Timestamp) -> Vec<Evidence> {
    let judge = |evidence: Evidence| {
        if !evidence.finding.is_negative() || memory.vouches_for(&evidence.id, now) {
            return evidence;
        }
        let detail = format!(
            "{}, which does not count: this source has not seen the session alive within {}; let `serve` run while the bot is connected, or vouch for it with `baileys_remediator doctor --trust` or --connection.trust",
            evidence.detail,
            humantime::format_duration(REMEMBERED_FOR),
        );
        Evidence {
            finding: Finding::NoAnswer,
            detail,
            ..evidence
        }
    };
    let mut evidence: Vec<Evidence> = evidence.into_iter().map(judge).collect();
    let is_proven = |e: &Evidence| {
        e.finding == Finding::Gone && !e.id.is_empty() && memory.last_alive(&e.id, now).is_some()
    };
    if !evidence.iter().any(is_proven) {
        let unreachable = |e: &&mut Evidence| e.finding == Finding::Unreachable;
        for evidence in evidence.iter_mut().filter(unreachable) {
            evidence.finding = Finding::NoAnswer;
        }
    }
    evidence
}

/// Stores the sightings. Calls may block. A failure is logged, and counts as never
/// seen.
pub trait Memory: fmt::Debug + Send + Sync {
    /// What is remembered of a session. `trusted_by_configuration` is filled in by the caller.
    fn recall(&self, session: &SessionName) -> Recollection;

    /// Remembers that these sources saw the session alive; a newer word replaces an older one.
    fn remember(&self, session: &SessionName, seen: &[(String, Alive)]);
}

/// A memory that is only read.
#[derive(Debug)]
pub(super) struct ReadOnly(pub(super) Arc<dyn Memory>);

impl Memory for ReadOnly {
    fn recall(&self, session: &SessionName) -> Recollection {
        self.0.recall(session)
    }

    fn remember(&self, _session: &SessionName, _seen: &[(String, Alive)]) {}
}

/// A sighting, for a store of another kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SightingRecord {
    /// The session.
    pub session: String,
    /// The source's id.
    pub source: String,
    /// When, in nanoseconds since the epoch.
    pub at_ns: i64,
    /// See [`Alive::mark`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// A memory that ends with the process; [`Recent::save`] and [`Recent::load`] let the
/// caller keep it.
#[derive(Debug, Default)]
pub struct Recent {
    seen: Mutex<BTreeMap<(String, String), Alive>>,
}

impl Recent {
    /// Everything that still counts.
    pub fn save(&self, now: Timestamp) -> Vec<SightingRecord> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, alive| counts(alive.at, now));
        let record = |((session, source), alive): (&(String, String), &Alive)| SightingRecord {
            session: session.clone(),
            source: source.clone(),
            at_ns: alive.at.nanos(),
            mark: alive.mark.clone(),
        };
        seen.iter().map(record).collect()
    }

    /// Takes in what was kept; what is known already stays.
    pub fn load(&self, records: Vec<SightingRecord>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for SightingRecord {
            session,
            source,
            at_ns,
            mark,
        } in records
        {
            let alive = Alive {
                at: Timestamp::from_nanos(at_ns),
                mark,
            };
            seen.entry((session, source)).or_insert(alive);
        }
    }
}

impl Memory for Recent {
    fn recall(&self, session: &SessionName) -> Recollection {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = (session.as_str().to_owned(), String::new());
        let alive = seen
            .range(first..)
            .take_while(|((name, _), _)| name == session.as_str())
            .map(|((_, source), alive)| (source.clone(), alive.clone()))
            .collect();
        Recollection {
            alive,
            ..Recollection::default()
        }
    }

    fn remember(&self, session: &SessionName, sightings: &[(String, Alive)]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (source, alive) in sightings {
            seen.insert((session.as_str().to_owned(), source.clone()), alive.clone());
        }
    }
}

#[cfg(test)]
mod tests;
