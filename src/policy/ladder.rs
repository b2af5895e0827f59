//! Which tiers each folder has held for long enough: what the alerting rules of the ladder
//! say, without Prometheus. Pure.
//!
//! The rules are `last_over_time(baileys_auth_accumulated_files[5m]) >= N` with `for: 2m`:
//!
//! | a folder | its tiers |
//! |---|---|
//! | was read, at or above a tier's threshold | the tier is held; it fires after [`Tier::hold`] without a break |
//! | was read, below the threshold | not held, at once |
//! | could not be read | as at its last reading, for [`LOOK_BACK`] |
//! | was not read for longer | not known: none is held |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Thresholds, Tier};

/// A reading counts for this long, if there is no newer one: the range of the rules.
pub const LOOK_BACK: Duration = Duration::from_secs(5 * 60);
/// How often the ladder is evaluated: `evaluation_interval` of the example `prometheus.yml`.
pub const EVALUATE_EVERY: Duration = Duration::from_secs(15);

/// One look at one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The session.
    pub session: String,
    /// Its accumulated files; `None` where the folder could not be read.
    pub accumulated: Option<usize>,
    /// Where its tiers begin.
    pub thresholds: Thresholds,
}

/// What holds for one session whose count is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierStatus {
    /// The session.
    pub session: String,
    /// Its accumulated files at the last reading.
    pub accumulated: usize,
    /// Where its tiers begin.
    pub thresholds: Thresholds,
    /// Whether the folder was read at this evaluation.
    pub is_read: bool,
    /// The tiers that fire, and for how long each has.
    pub firing: BTreeMap<Tier, Duration>,
}

/// What is known from one evaluation to the next.
#[derive(Debug, Default)]
pub struct Ladder(BTreeMap<String, LadderEntry>);

#[derive(Debug)]
struct LadderEntry {
    read_at: Duration,
    accumulated: usize,
    thresholds: Thresholds,
    /// The tiers that are held, and since when.
    held: BTreeMap<Tier, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Duration,
    /// When it began to fire.
    fired: Option<Duration>,
}

impl Ladder {
    /// Evaluates the rules. `now` is monotonic time, from any start. A session without a
    /// reading is one that could not be read.
    pub fn evaluate(&mut self, now: Duration, readings: &[Reading]) -> Vec<TierStatus> {
        let mut read: BTreeSet<&str> = BTreeSet::new();
        for reading in readings {
            let Some(accumulated) = reading.accumulated else {
                continue;
            };
            read.insert(&reading.session);
            let known = self.0.entry(reading.session.clone());
            let known = known.or_insert_with(|| LadderEntry {
                read_at: now,
                accumulated,
                thresholds: reading.thresholds,
                held: BTreeMap::new(),
            });
            // Evaluations were missed at which there was no value.
            if now.saturating_sub(known.read_at) > LOOK_BACK + EVALUATE_EVERY {
                known.held.clear();
            }
            known.read_at = now;
            known.accumulated = accumulated;
            known.thresholds = reading.thresholds;
        }
        self.0
            .retain(|_, known| now.saturating_sub(known.read_at) <= LOOK_BACK);
        let statuses = self.0.iter_mut().map(|(session, known)| TierStatus {
            session: session.clone(),
            accumulated: known.accumulated,
            thresholds: known.thresholds,
            is_read: read.contains(session.as_str()),
            firing: known.firing(now),
        });
        statuses.collect()
    }
}

impl LadderEntry {
    fn firing(&mut self, now: Duration) -> BTreeMap<Tier, Duration> {
        let mut firing = BTreeMap::new();
        for tier in Tier::ALL {
            if self.accumulated < self.thresholds.of(tier) {
                self.held.remove(&tier);
                continue;
            }
            let held = self.held.entry(tier).or_insert(Held {
                since: now,
                fired: None,
            });
            if now.saturating_sub(held.since) >= tier.hold() {
                let fired = *held.fired.get_or_insert(now);
                firing.insert(tier, now.saturating_sub(fired));
            }
        }
        firing
    }
}

#[cfg(test)]
mod tests;
