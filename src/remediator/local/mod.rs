//! `--trigger=local`: the ladder of the alerting rules, evaluated on the live folders, in
//! place of Prometheus and Alertmanager.
//!
//! ```text
//! folders ─► readings ─► Ladder (pure, `policy::ladder`) ─► requests (pure) ─► the same intake as the webhook's
//! ```

mod reader;

pub use reader::FolderReader;

use crate::folder::Timestamp;
use crate::policy::Tier;
use crate::policy::ladder::TierStatus;

use super::store::queue::{Request, Via};
use super::store::runs::Action;
use super::webhook::action_of;

/// In the place of an alert's fingerprint, and of the receiver of a delivery.
pub const LOCAL: &str = "local";

/// What an evaluation asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LocalRequests {
    /// Of each session the highest tier that fires and asks for a run.
    pub wanted: Vec<Request>,
    /// The lower ones, as the inhibition rules of Alertmanager suppress them.
    pub suppressed: Vec<Request>,
    /// Armed runs whose folder was read and is below the tier.
    pub over: Vec<(String, Action)>,
}

/// What these statuses ask for. `armed`: the runs that wait. `now`: wall time. Pure.
pub fn requests_of(
    statuses: &[TierStatus],
    armed: &[(String, Action)],
    now: Timestamp,
) -> LocalRequests {
    let mut asked = LocalRequests::default();
    for status in statuses {
        let tiers = status.firing.iter().rev();
        let requests = tiers.filter_map(|(tier, fired_for)| {
            Some(Request {
                session: status.session.clone(),
                action: action_of(*tier)?,
                tier: tier.label().to_owned(),
                fingerprint: LOCAL.to_owned(),
                starts_at: now.minus(*fired_for).rfc3339(),
                via: Via {
                    receiver: LOCAL.to_owned(),
                    group_key: String::new(),
                },
            })
        });
        let mut requests = requests;
        asked.wanted.extend(requests.next());
        asked.suppressed.extend(requests);
    }
    let is_over = |(session, action): &&(String, Action)| {
        let tier = Tier::ALL
            .into_iter()
            .find(|tier| action_of(*tier) == Some(*action));
        let status = statuses
            .iter()
            .find(|status| status.session == *session && status.is_read);
        match (tier, status) {
            (Some(tier), Some(status)) => status.accumulated < status.thresholds.of(tier),
            _ => false,
        }
    };
    asked.over = armed.iter().filter(is_over).cloned().collect();
    asked
}

#[cfg(test)]
mod tests;
