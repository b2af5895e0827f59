//! Alerts that Alertmanager left out of its request (`max_alerts`): nobody knows which, so
//! every folder is looked at, and what is at or above a tier is asked for as its alert
//! would have asked.
//!
//! That a look is wanted is on record before the request is answered, so a crash does not
//! lose it. What is queued goes through the same cooldowns and the same guards as an alert.
//! The labels demanded by `--webhook.match` cannot be asked of an alert that is not there:
//! the count of the files decides, and only folders of this host are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::folder::{Found, Timestamp};
use crate::policy::{Batches, Thresholds, Tier, accumulated_files};
use crate::remediator::journal::{Accepted, JournalError, Request, Via};
use crate::remediator::runner;
use crate::remediator::webhook::{LADDER, Payload, action_of};

use super::Service;
use super::runner::blocking;

/// Between two looks at every folder: a storm of requests asks for one after the other.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the journal is asked whether a look is wanted, should a wake-up be missed.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// A folder that cannot be looked at within this time holds up nobody.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// What stands in the place of an alert's fingerprint.
const LEFT_OUT: &str = "left-out";

/// The tiers of which alerts may have been left out. Grouped by tier or by name, those that
/// are missing are of the tiers that are there; else they may be of any.
fn tiers(payload: &Payload, demanded: &BTreeMap<String, String>) -> BTreeSet<Tier> {
    let group = payload.group_labels.as_ref();
    let grouped_by = |name: &str| group.and_then(|group| group.get(name));
    if grouped_by("ladder").is_some_and(|ladder| ladder != LADDER)
        || demanded
            .iter()
            .any(|(name, value)| grouped_by(name).is_some_and(|found| found != value))
    {
        // The whole group is somebody else's.
        return BTreeSet::new();
    }
    let acts = |tier: &Tier| action_of(*tier).is_some();
    if grouped_by("tier").is_some() || grouped_by("alertname").is_some() {
        let ours = payload
            .alerts
            .iter()
            .filter(|alert| alert.label("ladder") == Some(LADDER));
        return ours
            .filter_map(|alert| Tier::from_label(alert.label("tier")?))
            .filter(acts)
            .collect();
    }
    Tier::ALL.into_iter().filter(acts).collect()
}

/// What a folder with this many files asks for: the highest of the tiers it has reached.
fn request(
    session: &str,
    live: usize,
    limits: &Thresholds,
    tiers: &BTreeSet<Tier>,
) -> Option<Request> {
    let tier = tiers
        .iter()
        .filter(|tier| limits.of(**tier) <= live)
        .max_by_key(|tier| limits.of(**tier))?;
    Some(Request {
        session: session.to_owned(),
        action: action_of(*tier)?,
        tier: tier.label().to_owned(),
        fingerprint: LEFT_OUT.to_owned(),
        starts_at: String::new(),
        via: Via::default(),
    })
}

impl Service {
    /// Puts on record that every folder is to be looked at, where alerts were left out.
    pub(super) fn note_left_out(&self, payload: &Payload) -> Result<(), JournalError> {
        if payload.truncated == 0 {
            return Ok(());
        }
        let tiers = tiers(payload, &self.ctx.settings.alert_match);
        tracing::warn!(
            alerts = payload.truncated,
            looking = !tiers.is_empty(),
            "Alertmanager left alerts out of its request (max_alerts); every folder is looked at instead"
        );
        if !tiers.is_empty() {
            self.ctx
                .journal()
                .want_look(tiers.iter().map(|tier| tier.label()))?;
            self.look.notify_one();
        }
        Ok(())
    }

    /// Looks at every folder whenever that is wanted.
    pub(super) async fn look_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.look_if_wanted() => {}
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.look.notified() => {}
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    async fn look_if_wanted(self: &Arc<Self>) {
        let service = Arc::clone(self);
        let wanted = match blocking(move || service.ctx.journal().wanted_looks()).await {
            Ok(wanted) => wanted,
            Err(error) => return tracing::error!("{error}"),
        };
        let tiers: BTreeSet<Tier> = wanted
            .keys()
            .filter_map(|label| Tier::from_label(label))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let (mut queued, mut failed) = (0, 0);
        for found in self.all_sessions().await {
            match tokio::time::timeout(LOOK_TIMEOUT, self.look_at(&found, &tiers)).await {
                Ok(Ok(more)) => queued += usize::from(more),
                Ok(Err(error)) => {
                    failed += 1;
                    tracing::error!(session = %found.session, "looking for alerts that were left out: {error}");
                }
                Err(_) => {
                    failed += 1;
                    tracing::error!(session = %found.session, "looking for alerts that were left out took too long");
                }
            }
        }
        tracing::info!(
            queued,
            failed,
            "every folder was looked at, for alerts that were left out"
        );
        // What was asked for meanwhile stays asked for. A folder that could not be looked at
        // now is not looked at for ever: Alertmanager repeats an alert that goes on.
        let service = Arc::clone(self);
        if let Err(error) = blocking(move || service.ctx.journal().looked(&wanted)).await {
            tracing::error!("{error}");
        }
    }

    /// Whether a run was queued.
    async fn look_at(
        self: &Arc<Self>,
        found: &Found,
        tiers: &BTreeSet<Tier>,
    ) -> Result<bool, String> {
        let inventory = runner::look(found).await.map_err(|stop| stop.to_string())?;
        let limits = self.ctx.settings.limits(&found.session);
        let live = accumulated_files(&inventory, Batches::of(&inventory, limits.batch).measured);
        let Some(request) = request(found.session.as_str(), live, &limits.thresholds, tiers) else {
            return Ok(false);
        };
        let service = Arc::clone(self);
        let (session, action) = (request.session.clone(), request.action);
        let accepted =
            blocking(move || service.ctx.journal().accept(&[request], Timestamp::now())).await;
        let Some(Accepted::Queued(id)) = accepted.map_err(|error| error.to_string())?.pop() else {
            return Ok(false);
        };
        tracing::info!(
            id,
            session,
            action = action.label(),
            "accepted in the place of an alert that was left out"
        );
        self.wake.notify_waiters();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remediator::journal::Action;
    use crate::remediator::webhook;
    use serde_json::{Value, json};

    fn payload(group: &Value, tier: &str, ladder: &str) -> Payload {
        let alert = json!({"status": "resolved", "labels": {"ladder": ladder, "tier": tier, "session": "a"}});
        let body =
            json!({"version": "4", "truncatedAlerts": 1, "groupLabels": group, "alerts": [alert]});
        webhook::parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn which_tiers_may_be_missing() {
        use Tier::{Cleanup, Emergency, Warning};
        let demanded = BTreeMap::from([("instance".to_owned(), "host1".to_owned())]);
        let all = vec![Warning, Cleanup, Emergency];
        for (group, tier, ladder, expected) in [
            (json!({"alertname": "X"}), "cleanup", LADDER, vec![Cleanup]),
            (
                json!({"tier": "emergency"}),
                "emergency",
                LADDER,
                vec![Emergency],
            ),
            (json!({"alertname": "X"}), "monitor", LADDER, vec![]),
            (json!({"alertname": "X"}), "cleanup", "others", vec![]),
            (
                json!({"alertname": "X", "instance": "host2"}),
                "cleanup",
                LADDER,
                vec![],
            ),
            (
                json!({"alertname": "X", "instance": "host1"}),
                "cleanup",
                LADDER,
                vec![Cleanup],
            ),
            (json!({"job": "x"}), "cleanup", LADDER, all.clone()),
            (json!({}), "cleanup", "others", all.clone()),
            (Value::Null, "cleanup", LADDER, all.clone()),
            (json!({"ladder": "others"}), "cleanup", "others", vec![]),
        ] {
            let found = tiers(&payload(&group, tier, ladder), &demanded);
            assert_eq!(
                found.into_iter().collect::<Vec<_>>(),
                expected,
                "{group} {tier} {ladder}"
            );
        }
    }

    #[test]
    fn only_the_highest_tier_that_a_folder_has_reached() {
        let limits = Thresholds::default();
        let all = BTreeSet::from([Tier::Warning, Tier::Cleanup, Tier::Emergency]);
        let asks =
            |live, tiers: &BTreeSet<Tier>| request("a", live, &limits, tiers).map(|r| r.action);
        assert_eq!(asks(119, &all), None);
        assert_eq!(asks(120, &all), Some(Action::Plan));
        assert_eq!(asks(150, &all), Some(Action::Cleanup));
        assert_eq!(asks(500, &all), Some(Action::Emergency));
        let one = BTreeSet::from([Tier::Cleanup]);
        assert_eq!(asks(149, &one), None);
        assert_eq!(
            asks(500, &one),
            Some(Action::Cleanup),
            "no more than was asked for"
        );
    }
}
