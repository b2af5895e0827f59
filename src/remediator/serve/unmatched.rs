//! Alerts about auth folders that come by the webhook while none has the labels of this host:
//! the labels may be wrong, and then nothing is ever cleaned.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;

/// A match proves the labels right for so long.
const PROVEN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// An alert counts for so long after its last delivery; Alertmanager repeats it before.
const COUNTED_FOR: Duration = Duration::from_secs(3_600);
/// No more alerts are kept apart.
const MAX_ALERTS: usize = 10_000;

/// What one delivery holds.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Whether an alert has the labels of this host.
    pub(super) has_own: bool,
    /// Fingerprints of the firing alerts about auth folders that have not.
    pub(super) others: Vec<String>,
}

/// What the deliveries so far say about the labels.
#[derive(Debug)]
pub(super) struct Unmatched {
    clock: Clock,
    seen: Mutex<SeenAlerts>,
}

impl Unmatched {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            seen: Mutex::default(),
        }
    }

    /// Takes up a delivery under these labels. The first one of an hour that shows that they may
    /// be wrong is logged.
    pub(super) fn note(&self, labels: &BTreeMap<String, String>, delivery: Delivery) {
        let now = self.clock.now();
        let (before, alerts) = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let before = seen.count(now);
            seen.note(labels, delivery, now);
            (before, seen.count(now))
        };
        if before == 0 && alerts > 0 {
            let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
            tracing::warn!(
                alerts,
                labels = labels.collect::<Vec<_>>().join(" "),
                "the webhook gets alerts about auth folders, and none has the labels of this host: correct webhook.match, unless they are all about other hosts"
            );
        }
    }

    /// How many alerts there are.
    pub(super) fn count(&self) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count(self.clock.now()) as u64
    }
}

/// The alerts of the deliveries so far. Pure.
#[derive(Debug, Default)]
struct SeenAlerts {
    labels: BTreeMap<String, String>,
    matched: Option<Instant>,
    /// When each of them came last.
    others: BTreeMap<String, Instant>,
}

impl SeenAlerts {
    /// Takes up a delivery under these labels.
    fn note(&mut self, labels: &BTreeMap<String, String>, delivery: Delivery, now: Instant) {
        if self.labels != *labels {
            *self = Self {
                labels: labels.clone(),
                ..Self::default()
            };
        }
        if delivery.has_own {
            self.matched = Some(now);
            self.others.clear();
        }
        let is_within = |at: Instant, span| now.saturating_duration_since(at) < span;
        if self.matched.is_some_and(|at| is_within(at, PROVEN_FOR)) {
            return;
        }
        for other in delivery.others {
            if self.others.len() < MAX_ALERTS || self.others.contains_key(&other) {
                self.others.insert(other, now);
            }
        }
    }

    /// How many alerts there are.
    fn count(&mut self, now: Instant) -> usize {
        self.others
            .retain(|_, at| now.saturating_duration_since(*at) < COUNTED_FOR);
        self.others.len()
    }
}

#[cfg(test)]
mod tests;
