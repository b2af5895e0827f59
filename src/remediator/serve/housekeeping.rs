//! The background tasks of `serve`: recovery after a crash, deletion of old files from the
//! quarantines, copies of each creds.json, and a regular connection check of every session.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::folder::{Found, Timestamp};
use crate::remediator::insurance::store::CopyStore;
use crate::remediator::insurance::watch::{CredsWatch, Deletes};
use crate::remediator::outcome::RunError;
use crate::remediator::quarantine::{
    DUE_FOR, LockedFolder, StoredState, is_due, quarantined_bytes,
};
use crate::remediator::runner::{self, blocking};
use crate::remediator::store::{BlockingStore, StoreError};

use super::Remediator;

/// How often the quarantines are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How often all sources are queried about all sessions, so that sightings of connected bots are
/// recorded before a run needs them.
const ROLL_CALL_EVERY: Duration = Duration::from_secs(600);
/// Sessions that are asked about at the same time.
const ROLL_CALL_AT_ONCE: usize = 16;
/// Maximum age of an answer that the roll call uses for many sessions.
const ROLL_CALL_SHARES_FOR: Duration = Duration::from_secs(10);
/// Time limit for the recovery of one folder, including its probes.
const RECOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// A folder whose recovery was skipped is tried again after this time.
const RECOVER_AGAIN: Duration = Duration::from_secs(5);

impl Remediator {
    /// Ends interrupted runs, first in the folders, then in the journal. `false` if a folder was
    /// skipped, because its service has a pending restart or a run is under way there, or if the
    /// journal failed, for example because its disk is full.
    pub(super) async fn recover(self: &Arc<Self>) -> bool {
        let current = self.current();
        let ctx = &current.ctx;
        let (mut busy, mut all) = (HashSet::new(), true);
        for found in current.sessions.all().await {
            let recovering = runner::recover(ctx, &found);
            let recovered = self.clock.timeout(RECOVER_TIMEOUT, recovering).await;
            match recovered {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    all = false;
                    busy.insert(found.session.to_string());
                }
                Ok(Err(stop)) => {
                    tracing::error!(session = %found.session, "failed to look for interrupted runs: {stop}");
                }
                Err(_) => {
                    tracing::error!(session = %found.session, "timeout while looking for interrupted runs");
                    busy.insert(found.session.to_string());
                }
            }
        }
        let remediator = Arc::clone(self);
        let under = Arc::clone(&current);
        let looked = self.store.block(move |store| {
            let orphans = store.lock().runs().orphans()?;
            // Read after the orphans: a run of this process among them is active, or has ended
            // since, and a run that has ended is not ended again.
            let mut active = remediator
                .active
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            active.extend(under.restarts.claimed().iter());
            Ok::<_, StoreError>((orphans, active))
        });
        let (orphans, active) = looked.await.unwrap_or_else(|error| {
            tracing::error!("{error}");
            all = false;
            (Vec::new(), HashSet::new())
        });
        for orphan in orphans {
            if active.contains(&orphan.id) || busy.contains(&orphan.session) {
                continue;
            }
            if let Err(stop) = runner::end_orphan(ctx, orphan, current.sessions.known()).await {
                tracing::error!("failed to end a run from before the restart: {stop}");
                all &= !matches!(stop, RunError::Store(_));
            }
        }
        self.wake.notify_waiters();
        self.measure_quarantines().await;
        all
    }

    pub(super) async fn sweep_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        // Recovery comes first, while requests are already accepted: a session with a run from
        // before the restart waits for it.
        let mut wait = Duration::ZERO;
        let mut swept: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.clock.sleep(wait) => {}
                // The worker lets go of the run first.
                () = self.sweep_now.notified() => self.clock.sleep(RECOVER_AGAIN).await,
            }
            wait = tokio::select! {
                _ = stopping.changed() => return,
                all = self.recover() => if all { SWEEP_EVERY } else { RECOVER_AGAIN },
            };
            self.recovered.store(true, Ordering::Relaxed);
            if swept.is_some_and(|at| self.clock.since(at) < SWEEP_EVERY) {
                continue;
            }
            swept = Some(self.clock.now());
            let remediator = Arc::clone(&self);
            let store = &self.store;
            store
                .block(move |store| {
                    let (now, clock) = (remediator.now(), remediator.clock.now());
                    if let Err(error) = remediator.empty_quarantines(store, now, clock) {
                        tracing::error!("{error}");
                    }
                })
                .await;
            let now = self.moment();
            if let Err(error) = self.with_store(move |store| store.prune(now)).await {
                tracing::error!("{error}");
            }
        }
    }

    /// Keeps copies of each creds.json; see [`crate::remediator::insurance`].
    pub(super) async fn insure_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        let settings = Arc::clone(&self.current().ctx.settings);
        let store = CopyStore::new(&settings.state_path);
        let (insurance, retention) = (settings.insurance, settings.retention);
        let watch = CredsWatch::new(store, insurance, retention, self.clock.clone());
        loop {
            let current = self.current();
            let settings = &current.ctx.settings;
            let watch = Arc::new(watch.with_settings(settings.insurance, settings.retention));
            let found = current.sessions.all().await;
            let remediator = Arc::clone(&self);
            let deletes = self.store.block(move |store| {
                let now = remediator.now();
                // If that is unknown, nothing is deleted.
                remediator
                    .deletes(store, now, remediator.clock.now())
                    .unwrap_or_else(|error| {
                        tracing::error!("{error}");
                        Deletes {
                            since: now,
                            paused: true,
                        }
                    })
            });
            let deletes = deletes.await;
            tokio::select! {
                _ = stopping.changed() => return,
                report = watch.look_at_all(found, deletes) => self.live.insured(report),
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.clock.sleep(SWEEP_EVERY) => {}
            }
        }
    }

    pub(super) async fn roll_call_for_ever(
        self: Arc<Self>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.roll_call() => {}
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = self.clock.sleep(ROLL_CALL_EVERY) => {}
            }
        }
    }

    /// Asks all sources about every session. The answers are recorded as sightings.
    pub(super) async fn roll_call(self: &Arc<Self>) {
        let current = self.current();
        if !current.ctx.connection.has_sources() {
            return;
        }
        let connection = current.ctx.connection.clone();
        let connection = Arc::new(connection.sharing_for(ROLL_CALL_SHARES_FOR));
        let mut asked = tokio::task::JoinSet::new();
        for found in current.sessions.all().await {
            if asked.len() >= ROLL_CALL_AT_ONCE {
                asked.join_next().await;
            }
            let connection = Arc::clone(&connection);
            asked.spawn(async move {
                connection.ask(&found.session).await;
            });
        }
        while asked.join_next().await.is_some() {}
    }

    /// Deletes runs whose retention has ended by both clocks. Deletes nothing during a pause.
    pub(super) fn empty_quarantines(
        &self,
        store: &BlockingStore<'_>,
        now: Timestamp,
        clock: Instant,
    ) -> Result<(), StoreError> {
        let deletes = self.deletes(store, now, clock)?;
        if !deletes.paused {
            self.purge(store, now, clock, deletes.since);
        }
        Ok(())
    }

    /// Whether anything may be deleted, and since when the wall clock is reliable.
    fn deletes(
        &self,
        store: &BlockingStore<'_>,
        now: Timestamp,
        clock: Instant,
    ) -> Result<Deletes, StoreError> {
        let mut last = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = last
            .replace(clock)
            .map(|before| clock.saturating_duration_since(before));
        let store = store.lock();
        let since = store.clock().runs_since(now, passed)?;
        Ok(Deletes {
            since,
            paused: store.pause().state()?.paused.is_some(),
        })
    }

    /// Deletes runs whose retention has ended, and has been seen to have ended for
    /// [`DUE_FOR`]. Each step of the wall clock restarts that time, because dates from before may
    /// be wrong.
    fn purge(&self, store: &BlockingStore<'_>, now: Timestamp, clock: Instant, since: Timestamp) {
        let current = self.current();
        let retention = current.ctx.settings.retention;
        let mut due = HashMap::new();
        let mut seen = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        for found in current.sessions.all_now() {
            let Ok(folder) = LockedFolder::lock(&found.place) else {
                continue;
            };
            for stored in folder.stored().unwrap_or_default() {
                let begins_anew =
                    stored.state != StoredState::Purging && since.plus(retention) >= now;
                if begins_anew || !is_due(&stored.state, now, retention) {
                    continue;
                }
                let key = (found.session.to_string(), stored.name.clone());
                let since = seen.get(&key).copied().unwrap_or(clock);
                if clock.saturating_duration_since(since) < DUE_FOR {
                    due.insert(key, since);
                    continue;
                }
                match folder.purge(&stored.name, now, retention) {
                    Ok(true) => {
                        tracing::info!(session = %found.session, run = %stored.name, files = stored.files, "retention ended, files deleted");
                        let store = store.lock();
                        let deleted = store.audit().files_deleted(stored.name.as_str(), now);
                        if let Err(error) = store.counters().purged(1).and(deleted) {
                            tracing::error!("{error}");
                        }
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(session = %found.session, run = %stored.name, "{error}")
                    }
                }
            }
        }
        *seen = due;
    }

    pub(super) async fn measure_quarantines(&self) {
        let sessions = self.current().sessions.known();
        let held = blocking(move || {
            let bytes = |found: &Found| quarantined_bytes(&found.place).ok();
            sessions
                .iter()
                .filter_map(|found| Some((found.session.to_string(), bytes(found)?)))
                .collect()
        })
        .await;
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *all = held;
        self.live
            .quarantined
            .store(all.values().sum(), Ordering::Relaxed);
    }

    /// Measures one quarantine after its run: with many sessions, all would take too long.
    pub(super) async fn measure_quarantine(&self, found: Found) {
        let session = found.session.to_string();
        let Ok(bytes) = blocking(move || quarantined_bytes(&found.place)).await else {
            return;
        };
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(session, bytes);
        self.live
            .quarantined
            .store(all.values().sum(), Ordering::Relaxed);
    }
}
