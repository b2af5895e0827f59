//! The workers: which run is next, and how many are under way.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Remediator;

/// A run that takes longer gives its place to another one: its file system may hang.
const GIVES_PLACE_AFTER: Duration = Duration::from_secs(120);

impl Remediator {
    /// Takes runs until told to stop; a run that has begun is taken to its end.
    pub(super) async fn work(self: Arc<Self>, mut stopping: tokio::sync::watch::Receiver<bool>) {
        loop {
            if *stopping.borrow() {
                return;
            }
            let place = tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => place,
                _ = stopping.changed() => continue,
            };
            // Never closed.
            let Ok(place) = place else { return };
            let woken = self.wake.notified();
            let service = Arc::clone(&self);
            let next = self
                .ctx
                .store
                .block(move |store| {
                    let checked = store.lock().check();
                    service.journal.note_failure(&checked);
                    if checked.is_err() {
                        return Ok(None);
                    }
                    let busy = service
                        .restarts
                        .busy_sessions(store, &service.known_sessions())?;
                    // Active before anybody can take it for a leftover.
                    let mut active = service
                        .active
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    let next = store.lock().queue().take(service.ctx.moment(), &busy);
                    if let Ok(Some(run)) = &next {
                        active.insert(run.id);
                    }
                    next
                })
                .await;
            match next {
                Ok(Some(run)) => {
                    let id = run.id;
                    // In a task of its own: should it panic, the worker and the others go on,
                    // and the next sweep ends what it left.
                    let service = Arc::clone(&self);
                    let mut run = tokio::spawn(async move { service.perform(&run).await });
                    let ended = tokio::select! {
                        ended = &mut run => ended,
                        () = self.ctx.clock.sleep(GIVES_PLACE_AFTER) => {
                            drop(place);
                            run.await
                        }
                    };
                    if let Err(error) = ended {
                        tracing::error!(id, "a run broke off: {error}");
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
                        // A second way to wake up, should a notification have come too early.
                        () = self.ctx.clock.sleep(Duration::from_secs(1)) => {}
                        _ = stopping.changed() => {}
                    }
                }
            }
        }
    }
}
