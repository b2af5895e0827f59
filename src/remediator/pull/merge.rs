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

use serde::Deserialize;

use crate::remediator::store::queue::Request;
use crate::remediator::store::runs::Action;
use crate::remediator::webhook::{self, Ignored};

/// Complete polls in a row without an alert after which it is gone.
const GONE_AFTER: u32 = 2;

/// One alert of `GET /api/v2/alerts`. Unknown fields are ignored.
#[derive(Clone, Debug, Deserialize)]
pub struct PolledAlert {
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it began, as Alertmanager writes it.
    #[serde(default, rename = "startsAt")]
    pub starts_at: String,
    /// What identifies it.
    #[serde(default)]
    pub fingerprint: String,
    /// Whether Alertmanager would notify of it.
    #[serde(default)]
    pub status: AlertStatus,
}

/// The status of a polled alert.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AlertStatus {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
    /// Ids of silences.
    pub silenced_by: Vec<String>,
    /// Fingerprints of alerts that inhibit it.
    pub inhibited_by: Vec<String>,
    /// Names of time intervals that mute it.
    pub muted_by: Vec<String>,
}

/// What Alertmanagers think of an alert; a later one wins where they disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Unprocessed,
    Active,
    Suppressed,
}

impl AlertStatus {
    fn seen(&self) -> Seen {
        let suppressed = [&self.silenced_by, &self.inhibited_by, &self.muted_by]
            .iter()
            .any(|by| !by.is_empty());
        match self.state.as_str() {
            _ if suppressed => Seen::Suppressed,
            "active" => Seen::Active,
            // Not known: a state of a later version never acts.
            "unprocessed" => Seen::Unprocessed,
            _ => Seen::Suppressed,
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
    /// Alerts of the ladder that are for other hosts.
    pub others: usize,
}

/// How many complete polls in a row did not have the alert of each armed run.
#[derive(Debug, Default)]
pub struct Absences(BTreeMap<(String, Action), u32>);

impl Absences {
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
        let mut alerts: BTreeMap<(&str, &str), (Seen, Request)> = BTreeMap::new();
        let mut others: BTreeSet<&str> = BTreeSet::new();
        for alert in answers.iter().flatten().flatten() {
            let seen = alert.status.seen();
            match webhook::request_of(
                &alert.labels,
                &alert.starts_at,
                &alert.fingerprint,
                demanded,
            ) {
                Ok(request) => {
                    // Without the start: it may differ for a moment between two of a cluster.
                    let key = (alert.fingerprint.as_str(), request.action.label());
                    alerts
                        .entry(key)
                        .and_modify(|known| known.0 = known.0.max(seen))
                        .or_insert((seen, request));
                }
                Err(Ignored::OtherTarget) => {
                    others.insert(&alert.fingerprint);
                }
                Err(_) => {}
            }
        }
        merged.others = others.len();
        let present: BTreeSet<(String, Action)> = alerts
            .values()
            .map(|(_, request)| (request.session.clone(), request.action))
            .collect();
        for (seen, request) in alerts.into_values() {
            match seen {
                Seen::Active => merged.active.push(request),
                Seen::Suppressed => merged.suppressed.push(request),
                Seen::Unprocessed => {}
            }
        }
        let is_complete = !answers.is_empty() && answers.iter().all(Option::is_some);
        self.0
            .retain(|key, _| armed.contains(key) && !present.contains(key));
        if is_complete {
            for key in armed.iter().filter(|key| !present.contains(*key)) {
                let absent = self.0.entry(key.clone()).or_default();
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
