//! Sightings: which source has seen which bot connected.
//!
//! In another PID namespace every process looks gone, and many status endpoints answer `false` for
//! an unknown session. So a source may report that a bot is *not* connected only if it has seen
//! this session connected within 30 days, or the operator trusts it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::folder::{SessionName, Timestamp};

use super::{Alive, Evidence, Finding};

/// How long a source is trusted after it saw the bot connected.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// A record may be at most this far ahead of the clock, because a clock may be set back a little.
const MAX_BELIEVED_AHEAD: Duration = Duration::from_secs(300);
/// A record younger than this is not replaced.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// An operator's statement that a source is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The operator.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The records of one session, by source id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSightings {
    /// When each source last saw the session connected.
    pub alive: BTreeMap<String, Alive>,
    /// The sources that an operator trusts.
    pub trusted: BTreeMap<String, Trust>,
    /// Whether the configuration trusts every source of this session.
    pub trusted_by_configuration: bool,
}

impl SessionSightings {
    /// When this source last saw the session connected, if that still counts.
    pub fn last_alive(&self, id: &str, now: Timestamp) -> Option<&Alive> {
        self.alive.get(id).filter(|alive| counts(alive.at, now))
    }

    /// Since when a process has been known to be gone, after it was last seen connected: the id of
    /// that record, and the record.
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

    /// Whether this source may report that the bot is not connected.
    pub fn is_trusted(&self, id: &str, now: Timestamp) -> bool {
        self.trusted_by_configuration
            || (!id.is_empty()
                && (self.trusted.contains_key(id) || self.last_alive(id, now).is_some()))
    }

    /// The sightings that are not saved yet.
    pub fn missing(&self, evidence: &[Evidence], now: Timestamp) -> Vec<(String, Alive)> {
        let seen = evidence
            .iter()
            .filter_map(|e| Some((e.id.clone(), e.alive.clone()?)));
        seen.filter(|(id, alive)| !id.is_empty() && counts(alive.at, now))
            .filter(|(id, alive)| match self.alive.get(id) {
                // A record from the future was written when the clock was wrong, and is replaced.
                Some(known) if known.at <= now => {
                    known.mark != alive.mark || known.at.plus(WRITE_AGAIN_AFTER) <= alive.at
                }
                _ => true,
            })
            .collect()
    }
}

/// Whether a sighting is recent, and not from a clock that was ahead.
fn counts(at: Timestamp, now: Timestamp) -> bool {
    at <= now.plus(MAX_BELIEVED_AHEAD) && at.until(now) <= REMEMBERED_FOR
}

/// Drops evidence that a bot is not connected unless its source has seen the bot connected, or an
/// operator trusts the source. An unreachable source counts only if the process is gone and its
/// supervisor has seen it running; trust is not enough there. Pure.
pub fn discount_untrusted(
    evidence: Vec<Evidence>,
    sightings: &SessionSightings,
    now: Timestamp,
) -> Vec<Evidence> {
    let judge = |evidence: Evidence| {
        if !evidence.finding.is_negative() || sightings.is_trusted(&evidence.id, now) {
            return evidence;
        }
        let detail = format!(
            "{}, which does not count: this source has not seen the session alive within {}; let `serve` run while the bot is connected, or trust it with `baileys_remediator doctor --trust` or --connection.trust",
            evidence.detail,
            humantime::format_duration(REMEMBERED_FOR),
        );
        Evidence {
            finding: Finding::NoAnswer,
            detail,
            is_untrusted: true,
            runs: None,
            ..evidence
        }
    };
    let mut evidence: Vec<Evidence> = evidence.into_iter().map(judge).collect();
    let is_proven = |e: &Evidence| {
        e.finding == Finding::Gone && !e.id.is_empty() && sightings.last_alive(&e.id, now).is_some()
    };
    if !evidence.iter().any(is_proven) {
        let unreachable = |e: &&mut Evidence| e.finding == Finding::Unreachable;
        for evidence in evidence.iter_mut().filter(unreachable) {
            evidence.finding = Finding::NoAnswer;
        }
    }
    evidence
}

/// Stores the sightings. Calls may block. After a failure, which is logged, a session counts as
/// never seen.
pub trait SightingStore: fmt::Debug + Send + Sync {
    /// The records of a session. The caller sets `trusted_by_configuration`.
    fn recall(&self, session: &SessionName) -> SessionSightings;

    /// Records that these sources saw the session connected. A newer record replaces an older one.
    fn remember(&self, session: &SessionName, seen: &[(String, Alive)]);
}

/// A store that is only read.
#[derive(Debug)]
pub(super) struct ReadOnly(pub(super) Arc<dyn SightingStore>);

impl SightingStore for ReadOnly {
    fn recall(&self, session: &SessionName) -> SessionSightings {
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

/// Keeps the sightings in memory. [`Recent::save`] and [`Recent::load`] let the caller save them.
#[derive(Debug, Default)]
pub struct Recent {
    seen: Mutex<BTreeMap<(String, String), Alive>>,
}

impl Recent {
    /// All records that still count, and those that are ahead of the clock: it may be behind until
    /// it is set after a boot.
    pub fn save(&self, now: Timestamp) -> Vec<SightingRecord> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, alive| alive.at > now || counts(alive.at, now));
        let record = |((session, source), alive): (&(String, String), &Alive)| SightingRecord {
            session: session.clone(),
            source: source.clone(),
            at_ns: alive.at.nanos(),
            mark: alive.mark.clone(),
        };
        seen.iter().map(record).collect()
    }

    /// Adds saved records, and keeps the records that are already there.
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

impl SightingStore for Recent {
    fn recall(&self, session: &SessionName) -> SessionSightings {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = (session.as_str().to_owned(), String::new());
        let alive = seen
            .range(first..)
            .take_while(|((name, _), _)| name == session.as_str())
            .map(|((_, source), alive)| (source.clone(), alive.clone()))
            .collect();
        SessionSightings {
            alive,
            ..SessionSightings::default()
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
