//! Alerts become requests on record: those that Alertmanager posts, and those that are polled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::remediator::metrics::SUPPRESSED;
use crate::remediator::store::queue::{Accepted, Request};
use crate::remediator::store::runs::Action;
use crate::remediator::store::{BlockingStore, StoreError};
use crate::remediator::webhook::{self, Payload};

use super::Remediator;

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
    pub(super) unstarted: BTreeSet<(String, Action, &'static str)>,
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
        let matches = &self.ctx.settings.alert_match;
        for alert in &payload.alerts {
            if let Some(over) = webhook::resolved(alert, matches) {
                intake.over.push((over.session, over.action));
            }
            match webhook::request(alert, matches) {
                Ok(request) => intake.wanted.push(Request {
                    via: via.clone(),
                    ..request
                }),
                Err(reason) => *ignored.entry(reason.label()).or_default() += 1,
            }
        }
        let taken = self.take(store, intake)?;
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

    /// Puts alerts on record.
    pub(super) fn take(
        &self,
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
            match self.find_now(&request.session)? {
                Some(_) => wanted.push(request),
                None => unknown.push(request),
            }
        }
        let now = self.ctx.now();
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
            let (store, now) = (store.lock(), self.ctx.moment());
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

/// An alert that names no session of this host.
pub(super) const UNKNOWN_SESSION: &str = "unknown_session";
