//! Tells a person what has happened, if `notify` is configured.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::remediator::notify::{Outbox, Reports, Sender, title};
use crate::remediator::overview::{Overview, overview};
use crate::remediator::store::StoreError;
use crate::remediator::store::runs::{Run, RunsSeen};

use super::Remediator;
use super::configured::Configured;

/// How often the journal is looked at for news.
const NEWS_EVERY: Duration = Duration::from_secs(10);

/// What is known from one look to the next.
struct Notifying {
    title: String,
    reports: Reports,
    outbox: Outbox,
    began: Instant,
    /// The runs that were looked at; `None` before the first look.
    seen: Option<RunsSeen>,
    /// Whether the last message failed.
    fails: bool,
}

impl Notifying {
    fn new(began: Instant) -> Self {
        Self {
            title: title(),
            reports: Reports::default(),
            outbox: Outbox::default(),
            began,
            seen: None,
            fails: false,
        }
    }
}

impl Remediator {
    /// Looks for news and sends messages until the end.
    pub(super) async fn notify_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        let mut notifying: Option<Notifying> = None;
        loop {
            let current = self.current();
            match &current.ctx.settings.notify {
                // Once it is configured again, it reports what happens from then on.
                None => notifying = None,
                Some(notify) => {
                    let sender = Sender::new(notify.clone());
                    let notifying =
                        notifying.get_or_insert_with(|| Notifying::new(self.clock.now()));
                    tokio::select! {
                        _ = stopping.changed() => return,
                        () = self.notify(&current, &sender, notifying) => {}
                    }
                }
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.clock.sleep(NEWS_EVERY) => {}
            }
        }
    }

    async fn notify(&self, current: &Configured, sender: &Sender, notifying: &mut Notifying) {
        match self.news(current, notifying.seen.clone()).await {
            Ok((seen, ended, state)) => {
                if notifying.seen.is_none() {
                    tracing::debug!("from now on news is sent");
                    notifying.reports.begin(&state.session_status);
                }
                notifying.seen = Some(seen);
                let now = self.clock.since(notifying.began);
                let reports = &mut notifying.reports;
                let of_runs = reports.of_runs(&ended, now);
                let of_notices = reports.of_notices(&state.notices());
                notifying.outbox.add(of_runs);
                notifying.outbox.add_states(of_notices);
            }
            // The journal's own check logs it.
            Err(error) => tracing::debug!("failed to look for news: {error}"),
        }
        let is_lost = self.journal.problem().is_some();
        let of_journal = notifying.reports.of_journal(is_lost);
        notifying.outbox.add_states(of_journal);
        let tier_statuses = self
            .tier_statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        notifying
            .outbox
            .add(notifying.reports.of_standings(&tier_statuses));
        let now = self.clock.since(notifying.began);
        let Some(text) = notifying.outbox.due(&notifying.title, now) else {
            return;
        };
        let sent = sender.send(&text).await;
        let now = self.clock.since(notifying.began);
        self.live.notified(sent.is_ok());
        match sent {
            Ok(_) => {
                if std::mem::take(&mut notifying.fails) {
                    tracing::info!("notifications are sent again");
                }
                notifying.outbox.sent(now);
            }
            Err(error) => {
                let why = error.why;
                if !std::mem::replace(&mut notifying.fails, true) {
                    tracing::warn!("failed to send a notification, and it is tried again: {why}");
                } else {
                    tracing::debug!("failed to send a notification: {why}");
                }
                if !error.is_refused {
                    notifying.outbox.failed(now);
                } else if notifying.outbox.refused(now) {
                    tracing::warn!(
                        "the receiver refuses a notification of one line, so it is dropped: {why}"
                    );
                }
            }
        }
    }

    /// The runs that have ended since `seen`, and the state.
    async fn news(
        &self,
        current: &Configured,
        seen: Option<RunsSeen>,
    ) -> Result<(RunsSeen, Vec<Run>, Overview), StoreError> {
        let (settings, now) = (Arc::clone(&current.ctx.settings), self.moment());
        let names = current.sessions.known().into_iter();
        let names: Vec<_> = names.map(|found| found.session).collect();
        self.with_store(move |store| {
            store.check()?;
            let (seen, ended) = store.runs().ended_since(seen)?;
            let state = overview(&settings, store, &names, now)?;
            Ok((seen, ended, state))
        })
        .await
    }
}
