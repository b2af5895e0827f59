//! Alerts become requests on record: those that Alertmanager posts, and those that are polled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::folder::Timestamp;
use crate::remediator::pull::Poller;
use crate::remediator::pull::merge::{Absences, Merged};
use crate::remediator::store::queue::{Accepted, Request, Via};
use crate::remediator::store::runs::Action;
use crate::remediator::store::{BlockingStore, StoreError};
use crate::remediator::webhook::{self, Payload};

use super::Remediator;

/// Polls after which the alerts of all hosts are asked for, while there is none of this host.
const ALL_HOSTS_EVERY: u32 = 20;

/// What one delivery, or one poll, asks for.
#[derive(Debug, Default)]
struct Intake {
    /// Alerts that may ask for a run.
    wanted: Vec<Request>,
    /// Alerts that ask for one and are silenced or inhibited.
    suppressed: Vec<Request>,
    /// Sessions and actions whose alert is over.
    over: Vec<(String, Action)>,
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
                Err(ignored) => self.live.alert(ignored.label()),
            }
        }
        let queued = self.take(store, intake)?;
        Ok((queued, payload.alerts.len() - queued))
    }

    /// Puts alerts on record. Returns how many runs were queued.
    fn take(&self, store: &BlockingStore<'_>, intake: Intake) -> Result<usize, StoreError> {
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
                None => {
                    tracing::warn!(
                        action = request.action.label(),
                        "an alert names a session that is not here; see --sessions.path and the labels that are demanded of an alert (--webhook.match, alertmanager.match)"
                    );
                    self.live.alert(UNKNOWN_SESSION);
                    unknown.push(request);
                }
            }
        }
        let now = Timestamp::of(&self.ctx.clock);
        for (requests, outcome) in [
            (&unknown, UNKNOWN_SESSION),
            (&intake.suppressed, SUPPRESSED),
        ] {
            if !requests.is_empty() {
                store.lock().unstarted().add(requests, outcome, now)?;
            }
        }
        let accepted = {
            let store = store.lock();
            store.atomic(|| {
                let accepted = store.queue().accept(&wanted, now)?;
                store.armed().repeated(&wanted, now)?;
                store.armed().repeated(&intake.suppressed, now)?;
                Ok::<_, StoreError>(accepted)
            })?
        };
        for _ in &intake.suppressed {
            self.live.alert(SUPPRESSED);
        }
        let mut queued = 0;
        for (request, accepted) in wanted.iter().zip(accepted) {
            self.live.alert(accepted.label());
            if let Accepted::Queued(id) = accepted {
                queued += 1;
                tracing::info!(
                    id,
                    session = request.session,
                    action = request.action.label(),
                    "accepted"
                );
            }
        }
        Ok(queued)
    }

    /// Polls the configured Alertmanagers until the end.
    pub(super) async fn poll_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        let Some(config) = self.ctx.settings.alertmanagers.clone() else {
            return;
        };
        let poller = Poller::new(config);
        let (mut absences, mut polls, mut was_up) = (Absences::default(), 0, None);
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.poll(&poller, &mut absences, polls, &mut was_up) => {}
            }
            polls = polls.wrapping_add(1);
            let pause = poller.pause(random());
            tokio::select! {
                _ = stopping.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn poll(
        self: &Arc<Self>,
        poller: &Poller,
        absences: &mut Absences,
        polls: u32,
        was_up: &mut Option<bool>,
    ) {
        let answers = poller.poll(false).await;
        self.note_answers(poller, &answers, was_up);
        let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
        let armed = self
            .ctx
            .ask(|store| store.armed().all())
            .await
            .map(|armed| armed.into_iter().map(|run| (run.session, run.action)));
        let armed: Vec<(String, Action)> = match armed {
            Ok(armed) => armed.collect(),
            Err(error) => return tracing::error!("failed to load the armed runs: {error}"),
        };
        let matches = poller.matches().clone();
        let merged = absences.merge(&answers, &matches, &armed);
        let is_empty = merged.active.is_empty() && merged.suppressed.is_empty();
        if is_empty && !matches.is_empty() && polls.is_multiple_of(ALL_HOSTS_EVERY) {
            self.note_other_hosts(poller, &matches).await;
        }
        self.record(merged).await;
    }

    /// Puts on record what a poll found.
    async fn record(self: &Arc<Self>, merged: Merged) {
        let via = Via {
            receiver: "poll".into(),
            group_key: String::new(),
        };
        let intake = Intake {
            wanted: merged
                .active
                .into_iter()
                .map(|request| Request {
                    via: via.clone(),
                    ..request
                })
                .collect(),
            suppressed: merged.suppressed,
            over: merged.gone,
        };
        if intake.wanted.is_empty() && intake.suppressed.is_empty() && intake.over.is_empty() {
            return;
        }
        let remediator = Arc::clone(self);
        let taken = self
            .ctx
            .store
            .block(move |store| remediator.take(store, intake));
        match taken.await {
            Ok(0) => {}
            Ok(_) => self.wake.notify_waiters(),
            Err(error) => tracing::error!("a polled alert could not be put on record: {error}"),
        }
    }

    /// Metric and log: which Alertmanagers answer.
    fn note_answers(
        &self,
        poller: &Poller,
        answers: &crate::remediator::pull::Poll,
        was_up: &mut Option<bool>,
    ) {
        for (name, answer) in poller.names().into_iter().zip(answers) {
            if self.live.alertmanager(&name, answer.is_ok())
                && let Err(error) = answer
            {
                tracing::warn!(alertmanager = name, "polling failed: {error}");
            }
        }
        let is_up = answers.iter().any(Result::is_ok);
        match (*was_up, is_up) {
            (Some(true) | None, false) => tracing::error!(
                "no Alertmanager answers: no alert can ask for a clean-up until one does"
            ),
            (Some(false), true) => tracing::info!("an Alertmanager answers again"),
            _ => {}
        }
        *was_up = Some(is_up);
    }

    /// Says so if there are alerts of the ladder and none has this host's labels: the match
    /// may be wrong.
    async fn note_other_hosts(
        &self,
        poller: &Poller,
        matches: &std::collections::BTreeMap<String, String>,
    ) {
        let answers: Vec<_> = poller
            .poll(true)
            .await
            .into_iter()
            .map(Result::ok)
            .collect();
        if !answers.iter().any(Option::is_some) {
            return;
        }
        let seen = Absences::default().merge(&answers, matches, &[]);
        let others = match seen.active.is_empty() && seen.suppressed.is_empty() {
            true => seen.others as u64,
            false => 0,
        };
        if self.live.others.swap(others, Ordering::Relaxed) == 0 && others > 0 {
            tracing::warn!(
                alerts = others,
                "Alertmanager has alerts about auth folders, and none of them has the labels in alertmanager.match: right if they are of other hosts, else correct the labels"
            );
        }
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 2];
    // Without it all hosts may poll at the same time, and that is all.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

/// An alert that names no session of this host.
pub(super) const UNKNOWN_SESSION: &str = "unknown_session";
/// An alert that is silenced, inhibited or muted.
pub(super) const SUPPRESSED: &str = "suppressed";
