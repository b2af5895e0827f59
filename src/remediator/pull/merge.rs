//! What several Alertmanagers say together. Pure.
//!
//! | the Alertmanagers that answered say | the alert is |
//! |---|---|
//! | active on one or more, suppressed on none | active: it may ask for a run |
//! | silenced, inhibited or muted on any | suppressed: recorded, no run |
//! | only `unprocessed` | not known yet |
//! | absent, at two polls that all of them answered | gone: it disarms |
//! | absent, and one of them did not answer | unchanged |

use std::collections::{BTreeMap, BTreeSet};

use crate::remediator::store::queue::Request;
use crate::remediator::store::runs::Action;
use crate::remediator::webhook::{self, Ignored};

use super::answer::{AlertStatus, PolledAlert};

/// Complete polls in a row without an alert after which it is gone.
const GONE_AFTER: u32 = 2;

/// What Alertmanagers think of an alert; a later one wins where they disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AlertState {
    Unprocessed,
    Active,
    Suppressed,
}

impl AlertStatus {
    fn seen(&self) -> AlertState {
        let suppressed = [&self.silenced_by, &self.inhibited_by, &self.muted_by]
            .iter()
            .any(|by| by.as_ref().is_some_and(|by| !by.is_empty()));
        match self.state.as_str() {
            _ if suppressed => AlertState::Suppressed,
            "active" => AlertState::Active,
            // Not known: a state of a later version never acts.
            "unprocessed" => AlertState::Unprocessed,
            _ => AlertState::Suppressed,
        }
    }
}

/// What a poll leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Alerts that may ask for a run.
    pub active: Vec<Request>,
    /// Alerts that ask for one and are silenced, inhibited or muted.
    pub suppressed: Vec<Request>,
    /// Sessions and actions whose alert is gone.
    pub gone: Vec<(String, Action)>,
    /// Alerts of the ladder that have the labels of this host, whatever they ask for.
    pub own: usize,
    /// Alerts of the ladder that are for other hosts.
    pub others: usize,
}

/// How many complete polls in a row did not have the alert of each armed run.
#[derive(Debug, Default)]
pub struct Absences {
    counts: BTreeMap<(String, Action), u32>,
    /// Armed runs whose alert was seen at a poll; `None` where that does not matter.
    seen: Option<BTreeSet<(String, Action)>>,
}

impl Absences {
    /// With the webhook, a run may be armed by an Alertmanager that is not polled: the
    /// absence of an alert counts only once a poll has seen it.
    pub fn beside_the_webhook() -> Self {
        Self {
            counts: BTreeMap::new(),
            seen: Some(BTreeSet::new()),
        }
    }

    /// Merges one poll. `answers`: of each configured Alertmanager its alerts, or `None`
    /// where it did not answer. `demanded`: the labels of this host. `armed`: the runs that
    /// wait.
    pub fn merge(
        &mut self,
        answers: &[Option<Vec<PolledAlert>>],
        demanded: &BTreeMap<String, String>,
        armed: &[(String, Action)],
    ) -> Merged {
        let mut merged = Merged::default();
        let mut alerts: BTreeMap<(&str, String, &str), (AlertState, Request)> = BTreeMap::new();
        let (mut own, mut others) = (BTreeSet::<&str>::new(), BTreeSet::<&str>::new());
        for alert in answers.iter().flatten().flatten() {
            let seen = alert.status.seen();
            match webhook::request_of(
                &alert.labels,
                &alert.starts_at,
                &alert.fingerprint,
                demanded,
            ) {
                Ok(request) => {
                    own.insert(&alert.fingerprint);
                    // The key has no start: two members of a cluster may differ in it for a moment.
                    let (fingerprint, action) = (&alert.fingerprint, request.action.label());
                    let key = (fingerprint.as_str(), request.session.clone(), action);
                    match alerts.get_mut(&key) {
                        None => drop(alerts.insert(key, (seen, request))),
                        Some((known, first)) => {
                            *known = seen.max(*known);
                            if request.starts_at < first.starts_at {
                                first.starts_at = request.starts_at;
                            }
                        }
                    }
                }
                Err(Ignored::OtherTarget) => {
                    others.insert(&alert.fingerprint);
                }
                Err(Ignored::NoAction | Ignored::NoSession) => {
                    own.insert(&alert.fingerprint);
                }
                Err(_) => {}
            }
        }
        merged.own = own.len();
        merged.others = others.len();
        let present: BTreeSet<(String, Action)> = alerts
            .values()
            .map(|(_, request)| (request.session.clone(), request.action))
            .collect();
        for (seen, request) in alerts.into_values() {
            match seen {
                AlertState::Active => merged.active.push(request),
                AlertState::Suppressed => merged.suppressed.push(request),
                AlertState::Unprocessed => {}
            }
        }
        let is_complete = !answers.is_empty() && answers.iter().all(Option::is_some);
        self.counts
            .retain(|key, _| armed.contains(key) && !present.contains(key));
        if let Some(seen) = &mut self.seen {
            seen.retain(|key| armed.contains(key));
            seen.extend(armed.iter().filter(|key| present.contains(*key)).cloned());
        }
        if is_complete {
            for key in armed.iter().filter(|key| !present.contains(*key)) {
                if self.seen.as_ref().is_some_and(|seen| !seen.contains(key)) {
                    continue;
                }
                let absent = self.counts.entry(key.clone()).or_default();
                *absent += 1;
                if *absent >= GONE_AFTER {
                    merged.gone.push(key.clone());
                }
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests;
