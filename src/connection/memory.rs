//! Who has been seen alive, by whom.
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

/// Lets evidence of a bot that is not connected count only from a source that is vouched
/// for; from any other it is no usable answer. Pure.
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
    evidence.into_iter().map(judge).collect()
}

/// Where sightings are kept. Calls may block; what fails is told in the log and counts as
/// never seen.
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
pub struct Record {
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

/// A memory that lives with the process; [`Recent::save`] and [`Recent::load`] let somebody
/// keep it.
#[derive(Debug, Default)]
pub struct Recent {
    seen: Mutex<BTreeMap<(String, String), Alive>>,
}

impl Recent {
    /// Everything that still counts.
    pub fn save(&self, now: Timestamp) -> Vec<Record> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, alive| counts(alive.at, now));
        let record = |((session, source), alive): (&(String, String), &Alive)| Record {
            session: session.clone(),
            source: source.clone(),
            at_ns: alive.at.nanos(),
            mark: alive.mark.clone(),
        };
        seen.iter().map(record).collect()
    }

    /// Takes in what was kept; what is known already stays.
    pub fn load(&self, records: Vec<Record>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for Record {
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
mod tests {
    use super::*;
    use std::ffi::OsStr;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn says(id: &str, finding: Finding) -> Evidence {
        Evidence {
            id: id.into(),
            ..Evidence::new("probe", finding, "disconnected")
        }
    }

    fn seen(at: Timestamp) -> Recollection {
        let alive = BTreeMap::from([("probe-1".to_owned(), Alive::at(at))]);
        Recollection {
            alive,
            ..Recollection::default()
        }
    }

    fn heard(memory: &Recollection, evidence: Evidence) -> Evidence {
        vouched(vec![evidence], memory, now()).remove(0)
    }

    #[test]
    fn only_a_source_that_saw_this_session_alive_may_say_that_it_is_not() {
        for finding in [Finding::Disconnected, Finding::Gone] {
            for (memory, counts) in [
                (Recollection::default(), false),
                (seen(now()), true),
                (seen(now().minus(30 * DAY)), true),
                (seen(now().minus(30 * DAY + Duration::from_nanos(1))), false),
                (seen(now().plus(Duration::from_secs(300))), true),
                // Written under a clock that ran ahead.
                (seen(now().plus(Duration::from_secs(301))), false),
                (seen(now().plus(3000 * DAY)), false),
                (seen(Timestamp::from_nanos(i64::MAX)), false),
                (seen(Timestamp::from_nanos(i64::MIN)), false),
                (
                    Recollection {
                        trusted_by_configuration: true,
                        ..Recollection::default()
                    },
                    true,
                ),
            ] {
                let told = heard(&memory, says("probe-1", finding));
                assert_eq!(
                    told.finding,
                    if counts { finding } else { Finding::NoAnswer },
                    "{memory:?}"
                );
                assert_eq!(
                    told.detail.contains("doctor --trust"),
                    !counts,
                    "{}",
                    told.detail
                );
            }
        }
        let other = heard(&seen(now()), says("probe-2", Finding::Disconnected));
        assert_eq!(
            other.finding,
            Finding::NoAnswer,
            "what another source saw is not its merit"
        );
        let nameless = heard(&seen(now()), says("", Finding::Gone));
        assert_eq!(nameless.finding, Finding::NoAnswer);
        let trust = Trust {
            by: "somebody".into(),
            at: now(),
        };
        let trusted = Recollection {
            trusted: BTreeMap::from([("probe-1".into(), trust)]),
            ..Recollection::default()
        };
        assert_eq!(
            heard(&trusted, says("probe-1", Finding::Gone)).finding,
            Finding::Gone
        );
        assert_eq!(
            heard(&trusted, says("probe-2", Finding::Gone)).finding,
            Finding::NoAnswer
        );
    }

    #[test]
    fn what_is_no_accusation_needs_nobody() {
        use Finding::*;
        for finding in [Connected, Quiet, Writing, NoAnswer, Nothing] {
            assert_eq!(
                heard(&Recollection::default(), says("", finding)).finding,
                finding
            );
        }
    }

    #[test]
    fn a_wrong_clock_is_mended_by_the_next_sighting() {
        let connected = |at| Evidence {
            alive: Some(Alive::at(at)),
            ..says("probe-1", Finding::Connected)
        };
        let told = |memory: &Recollection, at| memory.missing(&[connected(at)], now()).len();
        assert_eq!(told(&Recollection::default(), now()), 1);
        assert_eq!(
            told(&seen(now().plus(3000 * DAY)), now()),
            1,
            "replaced, though it is later"
        );
        assert_eq!(told(&seen(now()), now()), 0, "not every time");
        assert_eq!(told(&seen(now().minus(Duration::from_secs(61))), now()), 1);
        assert_eq!(
            told(&Recollection::default(), now().plus(DAY)),
            0,
            "never from the future"
        );
        assert_eq!(told(&Recollection::default(), now().minus(31 * DAY)), 0);
        // An older line of a log does not replace what was seen since.
        assert_eq!(told(&seen(now()), now().minus(DAY)), 0);
    }

    #[test]
    fn the_memory_of_a_process_can_be_kept() {
        let (a, ab) = (
            SessionName::from_dir(OsStr::new("a")),
            SessionName::from_dir(OsStr::new("ab")),
        );
        let recent = Recent::default();
        recent.remember(
            &a,
            &[(
                "probe-1".into(),
                Alive {
                    at: now(),
                    mark: Some("m".into()),
                },
            )],
        );
        recent.remember(&ab, &[("probe-2".into(), Alive::at(now().minus(31 * DAY)))]);
        assert_eq!(recent.recall(&a).alive.len(), 1);
        let kept = recent.save(now());
        assert_eq!(kept.len(), 1, "what is too old is forgotten");
        let again = Recent::default();
        again.load(kept);
        assert_eq!(again.recall(&a), recent.recall(&a));
        assert!(again.recall(&ab).alive.is_empty());
    }
}
