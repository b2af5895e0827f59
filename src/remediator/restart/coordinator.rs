//! The state that the restarts of all services share: their leases, the runs that they claimed,
//! and their tasks. `run` begins a restart, `resume` resumes those that are pending.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::folder::discovery::{Skipped, duplicate};
use crate::folder::{Found, SessionName};
use crate::remediator::outcome::{RunError, RunResult};
use crate::remediator::runner::{ClaimedRuns, Context};
use crate::remediator::store::{BlockingStore, StoreError};

use super::leases::{Leases, ServiceLease};
use super::state::{Restart, RestartEnd, RestartId};

/// Time limit of one folder's clean-up while its bot is down.
pub(super) const CLEAN_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit of all clean-ups of one restart together.
pub(super) const ALL_CLEAN_TIMEOUT: Duration = Duration::from_secs(300);
/// The start begins this long after the service is gone at the latest, even while a disk or a
/// source does not answer.
pub(super) const DOWN_FOR_AT_MOST: Duration = Duration::from_secs(600);
/// Time limit of the move that is under way when the start is due. A move that takes longer is
/// on a file system that hangs; no other move follows it.
pub(super) const HALTS_WITHIN: Duration = Duration::from_secs(30);
/// Time limit of a clean-up of another session of the same process that began earlier; after
/// it the run returns to the queue.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(120);

/// The result of a run that might restart a service.
#[derive(Debug)]
pub enum RestartResult {
    /// The service is being stopped or started; wait.
    Busy,
    /// It is not stopped: it is down, its bot is disconnected, or its window cannot be used now.
    CleanWithoutStop,
    /// It was handled.
    Ended(RunResult),
}

/// The sessions that the last discovery found.
#[derive(Clone, Debug, Default)]
pub struct DiscoveredSessions {
    /// All of them; of several folders with one name, the one that had it first.
    pub found: Vec<Found>,
    /// The names that several folders have. No run touches one, but a stop of its process may tear
    /// its creds.json.
    pub duplicates: BTreeSet<SessionName>,
}

impl DiscoveredSessions {
    /// Those that were found; `skipped` is what was left out.
    pub fn new(found: Vec<Found>, skipped: &[Skipped]) -> Self {
        let is_duplicate = |found: &&Found| duplicate(skipped, found.session.as_str()).is_some();
        let duplicates = found.iter().filter(is_duplicate);
        Self {
            duplicates: duplicates.map(|found| found.session.clone()).collect(),
            found,
        }
    }
}

/// How long a bot may be kept down. Shorter in tests only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub clean: Duration,
    pub all_clean: Duration,
    pub down: Duration,
    /// How long a stop waits for other runs on the same process.
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

/// Runs at most one restart of each service at a time, by one configuration. After a reload
/// another one does that; the two share what is under way.
#[derive(Debug)]
pub struct RestartCoordinator {
    pub(super) ctx: Context,
    pub(super) bounds: Bounds,
    pub(super) shared: Arc<SharedRestarts>,
    /// The number of its configuration: one more with each reload.
    configuration: u64,
    /// Whether another configuration is in force.
    superseded: watch::Sender<bool>,
    /// The folders that were searched for records that the journal has lost.
    folders_read: Mutex<BTreeSet<PathBuf>>,
    last_discovery: Mutex<LastDiscovery>,
}

/// What the last discovery before a resumption found.
#[derive(Debug, Default)]
struct LastDiscovery {
    found: Arc<[Found]>,
    is_complete: bool,
}

/// The restarts that are under way, by whatever configuration, and their tasks.
#[derive(Debug, Default)]
pub(super) struct SharedRestarts {
    leases: Arc<Leases>,
    pub(super) claimed: ClaimedRuns,
    /// Services with a run that returned to the queue, and until when it stays there.
    pub(super) waits: Mutex<BTreeMap<String, Instant>>,
    /// Restarts that are over but may still be in the journal.
    over: Mutex<BTreeMap<RestartId, RestartEnd>>,
    /// Restarts that were resumed from a quarantine: once is enough, whichever folder has them.
    adopted: Mutex<BTreeSet<RestartId>>,
    pub(super) window: tokio::sync::Mutex<()>,
    /// Whether the program is to end.
    pub(super) leaving: watch::Sender<bool>,
    drivers: Mutex<JoinSet<()>>,
}

impl RestartCoordinator {
    /// A coordinator for the services of `ctx`.
    pub fn new(ctx: Context) -> Arc<Self> {
        Arc::new(Self::within(ctx, Bounds::default()))
    }

    pub(super) fn within(ctx: Context, bounds: Bounds) -> Self {
        Self {
            ctx,
            bounds,
            shared: Arc::default(),
            configuration: 0,
            superseded: watch::Sender::new(false),
            folders_read: Mutex::default(),
            last_discovery: Mutex::default(),
        }
    }

    /// A coordinator by another configuration, which is not in force yet.
    pub fn successor(&self, ctx: Context) -> Arc<Self> {
        Arc::new(Self {
            ctx,
            bounds: self.bounds,
            shared: Arc::clone(&self.shared),
            configuration: self.configuration + 1,
            superseded: watch::Sender::new(false),
            folders_read: Mutex::default(),
            last_discovery: Mutex::default(),
        })
    }

    /// Puts this configuration in force in the place of `former`: from now on restarts begin
    /// under this one only. Those under way go on under the former, until they have ended or only
    /// wait for a change; what waits is resumed under this one.
    ///
    /// Errors: `check` refuses it, for the services that are being restarted now. Then nothing
    /// changes.
    pub fn put_in_force(
        &self,
        former: &Self,
        check: impl FnOnce(&BTreeSet<String>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.shared.leases.put_in_force(self.configuration, check)?;
        former.superseded.send_replace(true);
        Ok(())
    }

    /// Runs that a restart of the same process performs along with its own; recovery must not
    /// take them for interrupted.
    pub fn claimed(&self) -> std::sync::MutexGuard<'_, BTreeSet<i64>> {
        self.shared.claimed.lock()
    }

    /// Services whose runs returned to the queue a moment ago; they are not tried at once.
    fn waiting_services(&self) -> Vec<String> {
        let mut waits = self
            .shared
            .waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.ctx.clock.now();
        waits.retain(|_, until| *until > now);
        waits.keys().cloned().collect()
    }

    /// Keeps what a discovery has found, for the restarts that wait. `is_complete`: it could look
    /// everywhere.
    pub(super) fn discovered(&self, found: &[Found], is_complete: bool) {
        *self.last_discovery() = LastDiscovery {
            found: found.into(),
            is_complete,
        };
    }

    /// What the last discovery has found.
    pub(super) fn found_last(&self) -> Arc<[Found]> {
        Arc::clone(&self.last_discovery().found)
    }

    /// The same, if a session that it has not found has no folder. If it has found none, a mount
    /// may be missing.
    pub(super) fn found_completely(&self) -> Option<Arc<[Found]>> {
        // Under another configuration nothing new is discovered here.
        let is_current = !*self.superseded.borrow();
        let last = self.last_discovery();
        (is_current && last.is_complete && !last.found.is_empty()).then(|| Arc::clone(&last.found))
    }

    fn last_discovery(&self) -> std::sync::MutexGuard<'_, LastDiscovery> {
        let last = self.last_discovery.lock();
        last.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn over(&self) -> std::sync::MutexGuard<'_, BTreeMap<RestartId, RestartEnd>> {
        let over = self.shared.over.lock();
        over.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn folders_read(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        let read = self.folders_read.lock();
        read.unwrap_or_else(PoisonError::into_inner)
    }

    /// The restarts that were resumed from a quarantine, and are in the journal since.
    pub(super) fn adopted(&self) -> std::sync::MutexGuard<'_, BTreeSet<RestartId>> {
        let adopted = self.shared.adopted.lock();
        adopted.unwrap_or_else(PoisonError::into_inner)
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
            .with_store(move |store| store.restarts().forget(&asked, end))
            .await;
        if forgotten.is_ok() {
            self.over().remove(&state.id());
        }
        forgotten.map_err(RunError::from)
    }

    pub(super) fn lease(&self, service: &str) -> Option<ServiceLease> {
        self.shared.leases.acquire(service, self.configuration)
    }

    /// Resolves when a restart is to be left as soon as it may: the program is to end, or
    /// another configuration is in force.
    pub(super) fn left(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut leaving = self.shared.leaving.subscribe();
        let mut superseded = self.superseded.subscribe();
        async move {
            // The sender is held by the driver's coordinator.
            let _ = tokio::select! {
                left = leaving.wait_for(|is_set| *is_set) => left.is_ok(),
                left = superseded.wait_for(|is_set| *is_set) => left.is_ok(),
            };
        }
    }

    /// The program is to end: what has begun is finished, as far as it can be.
    pub async fn leave(&self) {
        self.shared.leaving.send_replace(true);
        self.drained().await;
    }

    pub(super) fn drivers(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        let drivers = self.shared.drivers.lock();
        drivers.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every restart has ended or was left.
    pub(super) async fn drained(&self) {
        let mut drivers = std::mem::take(&mut *self.drivers());
        while drivers.join_next().await.is_some() {}
    }

    /// The sessions whose service is being stopped or started: no other run may clean
    /// them. Blocks.
    pub fn busy_sessions(
        &self,
        store: &BlockingStore<'_>,
        known: &[Found],
    ) -> Result<Vec<String>, StoreError> {
        let mut busy = self.shared.leases.services();
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

#[cfg(test)]
mod tests;
