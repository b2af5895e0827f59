//! What every run needs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::Clock;

use crate::app::App;
use crate::config::Settings;
use crate::connection::Connection;
use crate::folder::{Timestamp, bounded_blocking};
use crate::logs::LastEventReader;
use crate::remediator::store::clock::Moment;
use crate::remediator::store::sightings::StoredSightings;
use crate::remediator::store::{SharedStore, Store};

/// The parts that every run needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The sources of the verdict.
    pub connection: Connection,
    /// The source that reads the logs, if any are named.
    pub last_events: Option<Arc<LastEventReader>>,
    /// The store.
    pub store: SharedStore,
    /// Tells the time.
    pub clock: Clock,
}

impl Context {
    /// Builds the parts from the configuration. The store also keeps the sightings of
    /// connected bots.
    pub fn new(settings: Settings, store: Store, clock: Clock) -> Self {
        if let Err(error) = store.clock().share_steps(&clock) {
            tracing::warn!("failed to load the steps of the clock: {error}");
        }
        Self::build(None, settings, SharedStore::new(store), clock)
    }

    /// The parts for another configuration, as after a reload: store, clock and what is known of
    /// the sessions stay.
    #[must_use]
    pub fn with_settings(&self, settings: Settings) -> Self {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let mut next = Self::build(self.last_events.as_deref(), settings, store, clock);
        next.connection = next.connection.after(&self.connection);
        next
    }

    fn build(
        former: Option<&LastEventReader>,
        settings: Settings,
        store: SharedStore,
        clock: Clock,
    ) -> Self {
        let sighting_store = Arc::new(StoredSightings(store.clone()));
        let app = App::after(former, settings, sighting_store, clock);
        Self {
            settings: app.settings,
            connection: app.connection,
            last_events: app.last_events,
            store,
            clock: app.clock,
        }
    }

    /// Now, by all clocks.
    pub fn moment(&self) -> Moment {
        Moment::of(&self.clock)
    }

    /// The parts without the store.
    pub fn app(&self) -> App {
        App {
            settings: Arc::clone(&self.settings),
            connection: self.connection.clone(),
            last_events: self.last_events.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Wall time.
    pub fn now(&self) -> Timestamp {
        Timestamp::of(&self.clock)
    }

    /// One short access to the store, on a thread that may block, because the disk may stall.
    pub async fn with_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> T {
        self.store.call(ask).await
    }
}

/// The runs that a restart begins or performs along with its own. Recovery does not take them
/// for interrupted.
#[derive(Clone, Debug, Default)]
pub struct ClaimedRuns(Arc<Mutex<BTreeSet<i64>>>);

impl ClaimedRuns {
    /// Their numbers. Take this lock before the journal's, and keep it until the number of a new
    /// run is in.
    pub fn lock(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a blocking function on a thread for it.
pub(in crate::remediator) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match bounded_blocking::blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
