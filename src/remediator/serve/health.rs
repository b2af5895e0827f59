//! Whether the journal can be used. Without it no run begins, `/webhook` and `/-/ready` answer
//! 503, and `baileys_remediator_journal_up` is 0. A restart that is under way goes on: what it
//! needs for a start is in memory and in the folders' quarantines.

use std::sync::Arc;
use std::time::Duration;

use exporter_toolkit::{self as web, Response};
use hyper::StatusCode;
use tokio::task::JoinHandle;

use crate::remediator::store::{Store, StoreError};

use super::Remediator;

/// How often the journal is checked.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Time limit of a check; if it takes longer, the disk hangs.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

impl Remediator {
    /// Checks the journal until it is stopped.
    pub(super) async fn check_journal_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        // One check at a time, so that a hung disk blocks one thread only.
        let mut checking: Option<JoinHandle<Result<(), StoreError>>> = None;
        loop {
            let check = checking.get_or_insert_with(|| {
                let (store, clock) = (self.store.clone(), self.clock.clone());
                let check = move |store: &Store| {
                    // Detect a step of the clock early, even if the journal is lost.
                    clock.steady_for();
                    store.check_write()?;
                    store.clock().share_steps(&clock)
                };
                tokio::spawn(async move { store.call(check).await })
            });
            let checked = tokio::select! {
                _ = stopping.changed() => return,
                checked = self.clock.timeout(CHECK_TIMEOUT, check) => checked,
            };
            let hangs =
                || StoreError::Unusable("the journal does not answer; its disk may hang".into());
            let checked = match checked {
                Ok(checked) => {
                    checking = None;
                    checked.unwrap_or_else(|_| Err(hangs()))
                }
                Err(_) => Err(hangs()),
            };
            self.journal.note(&checked);
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.clock.sleep(CHECK_EVERY) => {}
            }
        }
    }

    /// The answer of `/-/ready`.
    pub(super) fn ready(&self) -> Response {
        use std::sync::atomic::Ordering;
        let unavailable = |why: &'static str| web::text(StatusCode::SERVICE_UNAVAILABLE, why);
        match self.journal.problem() {
            Some(_) => unavailable("baileys_remediator cannot use its journal; see the log.\n"),
            None if self.recovered.load(Ordering::Relaxed) => {
                web::text(StatusCode::OK, "baileys_remediator is ready.\n")
            }
            None => unavailable(
                "baileys_remediator is still recovering runs that a restart interrupted.\n",
            ),
        }
    }
}
