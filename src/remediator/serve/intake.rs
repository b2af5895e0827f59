//! Alerts become requests on record: those that Alertmanager posts, those that are polled, and
//! what the local trigger asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::TriggerSource;
use crate::remediator::metrics::SUPPRESSED;
use crate::remediator::store::queue::{Accepted, Request};
use crate::remediator::store::runs::Action;
use crate::remediator::store::{BlockingStore, StoreError};
use crate::remediator::webhook::{self, Ignored, Payload};

use super::configured::Configured;
use super::unmatched::Delivery;
use super::{ACCEPT_TIMEOUT, Remediator};

/// Alerts that started no run: session, action and outcome.
pub(super) type Unstarted = BTreeSet<(String, Action, &'static str)>;

/// What one delivery, or one poll, asks for.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Alerts that may ask for a run.
    pub(super) wanted: Vec<Request>,
    /// Alerts that ask for one and are silenced or inhibited.
    pub(super) suppressed: Vec<Request>,
    /// Sessions and actions whose alert is over.
    pub(super) over: Vec<(String, Action)>,
}

impl Intake {
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.suppressed.is_empty() && self.over.is_empty()
    }
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Runs that were queued.
    pub(super) queued: usize,
    /// Alerts, by outcome.
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    /// Alerts that started no run.
    pub(super) unstarted: Unstarted,
}

impl Taken {
    fn add(&mut self, request: &Request, outcome: &'static str, is_queued: bool) {
        *self.outcomes.entry(outcome).or_default() += 1;
        match is_queued {
            true => self.queued += 1,
            false => {
                let session = request.session.clone();
                self.unstarted.insert((session, request.action, outcome));
            }
        }
    }
}

impl Remediator {
    /// Puts a delivery of the webhook on record. Returns how many runs were queued, and how
    /// many alerts queued none.
    pub(super) fn accept(
        &self,
        current: &Configured,
        store: &BlockingStore<'_>,
        payload: &Payload,
    ) -> Result<(usize, usize), StoreError> {
        if payload.truncated > 0 {
            self.live
                .truncated
                .fetch_add(payload.truncated, Ordering::Relaxed);
            tracing::warn!(
                alerts = payload.truncated,
                receiver = payload.via().receiver,
                "Alertmanager truncated its request: these alerts did not arrive; remove max_alerts from the receiver"
            );
        }
        let (mut intake, via) = (Intake::default(), payload.via());
        let mut ignored = BTreeMap::<&'static str, u64>::new();
        let matches = &current.alert_match;
        let mut delivery = Delivery::default();
        for alert in &payload.alerts {
            if let Some(over) = webhook::resolved(alert, matches) {
                delivery.has_own = true;
                intake.over.push((over.session, over.action));
            }
            match webhook::request(alert, matches) {
                Ok(request) => intake.wanted.push(Request {
                    via: via.clone(),
                    ..request
                }),
                Err(reason) => {
                    match reason {
                        Ignored::OtherTarget => delivery.others.push(alert.fingerprint().into()),
                        Ignored::NoAction | Ignored::NoSession => delivery.has_own = true,
                        Ignored::Resolved | Ignored::OtherLadder => {}
                    }
                    *ignored.entry(reason.label()).or_default() += 1;
                }
            }
        }
        delivery.has_own |= !intake.wanted.is_empty();
        self.unmatched.note(matches, delivery);
        let taken = self.accept_requests(current, store, intake)?;
        for (outcome, alerts) in ignored.iter().chain(&taken.outcomes) {
            self.live.alert(outcome, *alerts);
        }
        for (_, action, outcome) in &taken.unstarted {
            if *outcome == UNKNOWN_SESSION {
                // Without the name, which anybody may have chosen.
                tracing::warn!(
                    action = action.label(),
                    "an alert names a session that is not here; see --sessions.path and --webhook.match"
                );
            }
        }
        Ok((taken.queued, payload.alerts.len() - taken.queued))
    }

    /// Puts on record what a poll or a local evaluation found. `known`: what started no run the
    /// last time, so that each is logged once.
    pub(super) async fn record(
        self: &Arc<Self>,
        current: &Arc<Configured>,
        intake: Intake,
        known: &mut Unstarted,
    ) {
        let mut taken = Taken::default();
        if !intake.is_empty() {
            let (remediator, current) = (Arc::clone(self), Arc::clone(current));
            let work = self
                .store
                .block(move |store| remediator.accept_requests(&current, store, intake));
            tokio::pin!(work);
            // Not left behind: with each poll one more thread would wait for that disk.
            let result = match tokio::time::timeout(ACCEPT_TIMEOUT, &mut work).await {
                Ok(result) => result,
                Err(_) => {
                    tracing::error!(
                        "alerts could not be put on record in time, and the next look at them waits; a file system may hang"
                    );
                    work.await
                }
            };
            match result {
                Ok(result) => taken = result,
                Err(error) => {
                    return tracing::error!("alerts could not be put on record: {error}");
                }
            }
        }
        self.live.polled(&taken.outcomes);
        if taken.queued > 0 {
            self.wake.notify_waiters();
        }
        let trigger = current.ctx.settings.trigger;
        for (session, action, outcome) in taken.unstarted.difference(known) {
            let (action, why) = (action.label(), not_queued(trigger, outcome));
            match (*outcome, trigger) {
                // Without the name, which anybody may have chosen.
                (UNKNOWN_SESSION, TriggerSource::Alerts) => tracing::warn!(action, "{why}"),
                (SUPPRESSED, TriggerSource::Alerts) => tracing::info!(action, "{why}"),
                (outcome, _) => tracing::info!(session, action, outcome, "{why}"),
            }
        }
        *known = taken.unstarted;
    }

    /// Puts alerts on record.
    pub(super) fn accept_requests(
        &self,
        current: &Configured,
        store: &BlockingStore<'_>,
        intake: Intake,
    ) -> Result<Taken, StoreError> {
        let checked = store.lock().check();
        self.journal.note_failure(&checked);
        checked?;
        for (session, action) in intake.over {
            if store.lock().armed().disarm(&session, action)? {
                tracing::info!(
                    session,
                    action = action.label(),
                    "its alert has resolved: disarmed"
                );
            }
        }
        let (mut wanted, mut unknown) = (Vec::new(), Vec::new());
        for request in intake.wanted {
            match current.sessions.find_now(&request.session)? {
                Some(_) => wanted.push(request),
                None => unknown.push(request),
            }
        }
        let now = self.now();
        let mut taken = Taken::default();
        for (requests, outcome) in [
            (&unknown, UNKNOWN_SESSION),
            (&intake.suppressed, SUPPRESSED),
        ] {
            if !requests.is_empty() {
                store.lock().unstarted().add(requests, outcome, now)?;
            }
            for request in requests {
                taken.add(request, outcome, false);
            }
        }
        let accepted = {
            let (store, now) = (store.lock(), self.moment());
            store.atomic(|| {
                let accepted = store.queue().accept(&wanted, now)?;
                store.armed().repeated(&wanted, now)?;
                store.armed().repeated(&intake.suppressed, now)?;
                Ok::<_, StoreError>(accepted)
            })?
        };
        for (request, accepted) in wanted.iter().zip(accepted) {
            let is_queued = matches!(accepted, Accepted::Queued(_));
            taken.add(request, accepted.label(), is_queued);
            if let Accepted::Queued(id) = accepted {
                tracing::info!(
                    id,
                    session = request.session,
                    action = request.action.label(),
                    "accepted"
                );
            }
        }
        Ok(taken)
    }
}

/// Why no run was queued: a sentence for the log. Pure.
fn not_queued(trigger: TriggerSource, outcome: &str) -> &'static str {
    match (trigger, outcome) {
        (TriggerSource::Alerts, UNKNOWN_SESSION) => {
            "an alert names a session that is not here; see --sessions.path and alertmanager.match"
        }
        (TriggerSource::Alerts, SUPPRESSED) => {
            "an alert is silenced or inhibited: on record, and no run is queued"
        }
        (TriggerSource::Alerts, _) => "an alert is still firing: no new run is queued",
        (TriggerSource::Local, UNKNOWN_SESSION) => {
            "a session reached a tier, and its folder is gone: no run is queued"
        }
        (TriggerSource::Local, SUPPRESSED) => {
            "a higher tier of this session holds: on record, and no run is queued for this one"
        }
        (TriggerSource::Local, _) => "a tier still holds: no new run is queued",
    }
}

/// An alert that names no session of this host.
pub(super) const UNKNOWN_SESSION: &str = "unknown_session";

#[cfg(test)]
mod tests;
