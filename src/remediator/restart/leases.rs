//! What the restarts of all services share: who has which service, what was claimed, and the
//! tasks that work on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::folder::Found;
use crate::remediator::outcome::{RunError, RunResult};
use crate::remediator::runner::Context;
use crate::remediator::store::{BlockingStore, StoreError};

use super::state::{Restart, RestartEnd, RestartId};

/// One folder's clean-up may take so long while its bot is down.
pub(super) const CLEAN_TIMEOUT: Duration = Duration::from_secs(120);
/// All of them together.
pub(super) const ALL_CLEAN_TIMEOUT: Duration = Duration::from_secs(300);
/// Whatever waits for a disk or a source meanwhile, so long after it is gone it is started.
pub(super) const DOWN_FOR_AT_MOST: Duration = Duration::from_secs(600);
/// A move that is under way when the bot is to be started is waited for so long; one that
/// hangs for longer is one on a file system that hangs, and no other follows it.
pub(super) const HALTS_WITHIN: Duration = Duration::from_secs(30);
/// A clean-up of another session of the process that had begun before is waited for so long;
/// then the run waits again.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(120);

/// What became of a run that might restart a service.
#[derive(Debug)]
pub enum RestartResult {
    /// The service is being stopped or started; wait.
    Busy,
    /// It need not be stopped: it is down already, or its bot is disconnected.
    NeedsNoStop,
    /// It was handled.
    Ended(RunResult),
}

/// How long a bot may be kept down. Shorter in tests only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub clean: Duration,
    pub all_clean: Duration,
    pub down: Duration,
    /// For so long the other runs on its process are waited for before it is stopped.
    pub others: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            clean: CLEAN_TIMEOUT,
            all_clean: ALL_CLEAN_TIMEOUT,
            down: DOWN_FOR_AT_MOST,
            others: OTHERS_END_WITHIN,
        }
    }
}

/// Who stops and starts services.
#[derive(Debug)]
pub struct RestartCoordinator {
    pub(super) ctx: Context,
    pub(super) bounds: Bounds,
    leased: Mutex<BTreeSet<String>>,
    claimed: Mutex<BTreeSet<i64>>,
    /// Services of which a run waits again, until then.
    pub(super) waits: Mutex<BTreeMap<String, Instant>>,
    /// Restarts that are over and may still be on record.
    over: Mutex<BTreeMap<RestartId, RestartEnd>>,
    pub(super) window: tokio::sync::Mutex<()>,
    pub(super) leaving: watch::Sender<bool>,
    drivers: Mutex<JoinSet<()>>,
    /// The folders were looked through for what the journal has lost.
    pub(super) looked_in_folders: std::sync::atomic::AtomicBool,
}

/// The right to stop or start one service; given back when dropped.
#[derive(Debug)]
pub(super) struct ServiceLease {
    coordinator: Arc<RestartCoordinator>,
    service: String,
}

impl Drop for ServiceLease {
    fn drop(&mut self) {
        self.coordinator.leased().remove(&self.service);
    }
}

impl RestartCoordinator {
    /// Over this configuration and journal.
    pub fn new(ctx: Context) -> Arc<Self> {
        Arc::new(Self::within(ctx, Bounds::default()))
    }

    pub(super) fn within(ctx: Context, bounds: Bounds) -> Self {
        Self {
            ctx,
            bounds,
            leased: Mutex::default(),
            claimed: Mutex::default(),
            waits: Mutex::default(),
            over: Mutex::default(),
            window: tokio::sync::Mutex::default(),
            leaving: watch::Sender::new(false),
            drivers: Mutex::default(),
            looked_in_folders: std::sync::atomic::AtomicBool::new(false),
        }
    }

    fn leased(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.leased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs that are done beside another one, on the same process: nobody's leftovers.
    pub fn claimed(&self) -> std::sync::MutexGuard<'_, BTreeSet<i64>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Services whose runs were to wait a moment ago: they are not asked again at once.
    fn waiting_services(&self) -> Vec<String> {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.ctx.clock.now();
        waits.retain(|_, until| *until > now);
        waits.keys().cloned().collect()
    }

    pub(super) fn over(&self) -> std::sync::MutexGuard<'_, BTreeMap<RestartId, RestartEnd>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This restart is over: it is never resumed, also while its record cannot be deleted.
    pub(super) fn mark_over(&self, state: &Restart, end: RestartEnd) {
        self.over().insert(state.id(), end);
    }

    /// Deletes the record of a restart that is over. Until that works it is tried again.
    pub(super) async fn forget(&self, state: &Restart, end: RestartEnd) -> Result<(), RunError> {
        let asked = state.clone();
        let forgotten = self
            .ctx
            .ask(move |store| store.restarts().forget(&asked, end))
            .await;
        if forgotten.is_ok() {
            self.over().remove(&state.id());
        }
        forgotten.map_err(RunError::from)
    }

    pub(super) fn lease(self: &Arc<Self>, service: &str) -> Option<ServiceLease> {
        let is_new = self.leased().insert(service.to_owned());
        is_new.then(|| ServiceLease {
            coordinator: Arc::clone(self),
            service: service.to_owned(),
        })
    }

    /// Whether the program is to end.
    pub(super) fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    /// The program is to end: what has begun is finished, as far as it can be.
    pub async fn leave(&self) {
        self.leaving.send_replace(true);
        self.drained().await;
    }

    pub(super) fn drivers(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every restart has ended or was left.
    pub(super) async fn drained(&self) {
        let mut drivers = std::mem::take(&mut *self.drivers());
        while drivers.join_next().await.is_some() {}
    }

    /// The sessions whose service is on its way down or up: nobody else is to clean them.
    /// Blocks.
    pub fn busy_sessions(
        &self,
        store: &BlockingStore<'_>,
        known: &[Found],
    ) -> Result<Vec<String>, StoreError> {
        let mut busy = self.leased().clone();
        busy.extend(self.waiting_services());
        let pending = store.lock().restarts().pending()?;
        busy.extend(pending.into_iter().map(|state| state.service));
        if busy.is_empty() {
            return Ok(Vec::new());
        }
        let services = &self.ctx.settings.services;
        let names = services.names(known.iter().map(|found| &found.session));
        let sessions = names
            .into_iter()
            .filter(|(name, _)| busy.contains(name))
            .flat_map(|(_, all)| all);
        Ok(sessions.map(|session| session.to_string()).collect())
    }
}
