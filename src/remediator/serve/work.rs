//! The workers: which run is next, and how many are under way.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Remediator;

/// After this time a run no longer counts as a worker's, because its file system may hang.
const GIVES_PLACE_AFTER: Duration = Duration::from_secs(120);

impl Remediator {
    /// Takes runs until the shutdown; completes a run that has begun.
    pub(super) async fn work(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        loop {
            if *stopping.borrow() {
                return;
            }
            let place = tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => place,
                _ = stopping.changed() => continue,
            };
            // The semaphore is never closed.
            let Ok(place) = place else { return };
            let woken = self.wake.notified();
            let remediator = Arc::clone(&self);
            // The run keeps the configuration under which it was taken.
            let current = self.current();
            let under = Arc::clone(&current);
            let next = self
                .store
                .block(move |store| {
                    let checked = store.lock().check();
                    remediator.journal.note_failure(&checked);
                    if checked.is_err() {
                        return Ok(None);
                    }
                    let known = under.sessions.known();
                    let busy = under.restarts.busy_sessions(store, &known)?;
                    // Mark it as active before recovery can take it for an interrupted run.
                    let mut active = remediator
                        .active
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    let next = store.lock().queue().claim_next(remediator.moment(), &busy);
                    if let Ok(Some(run)) = &next {
                        active.insert(run.id);
                    }
                    next
                })
                .await;
            match next {
                Ok(Some(run)) => {
                    let id = run.id;
                    // In a separate task: if it panics, the worker and the other runs continue,
                    // and the next sweep ends the run.
                    let remediator = Arc::clone(&self);
                    let mut run =
                        tokio::spawn(async move { remediator.perform(&current, &run).await });
                    let ended = tokio::select! {
                        ended = &mut run => ended,
                        () = self.clock.sleep(GIVES_PLACE_AFTER) => {
                            drop(place);
                            run.await
                        }
                    };
                    if let Err(error) = ended {
                        tracing::error!(id, "the task of a run failed: {error}");
                    }
                    self.active
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&id);
                    self.wake.notify_waiters();
                }
                other => {
                    if let Err(error) = other {
                        tracing::error!("{error}");
                    }
                    tokio::select! {
                        () = woken => {}
                        // Wake up without a notification too, in case it came too early.
                        () = self.clock.sleep(Duration::from_secs(1)) => {}
                        _ = stopping.changed() => {}
                    }
                }
            }
        }
    }
}
