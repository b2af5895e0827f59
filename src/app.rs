//! The running parts that a configuration asks for. [`Settings`] is plain data.

use std::sync::Arc;

use clock::Clock;

use crate::config::Settings;
use crate::connection::{Connection, LogView, SightingStore};
use crate::logs::LastEventReader;

/// A configuration, and what runs by it.
#[derive(Clone, Debug)]
pub struct App {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The sources of the verdict.
    pub connection: Connection,
    /// The source that reads the logs, if any are named.
    pub last_events: Option<Arc<LastEventReader>>,
    /// Tells the time.
    pub clock: Clock,
}

impl App {
    /// Builds the parts. `sighting_store` keeps which sources have seen a session alive.
    pub fn new(settings: Settings, sighting_store: Arc<dyn SightingStore>, clock: Clock) -> Self {
        Self::after(None, settings, sighting_store, clock)
    }

    /// The same after a reload: what `former` has read in the logs stays known, so that the
    /// reload changes no verdict.
    pub fn after(
        former: Option<&LastEventReader>,
        settings: Settings,
        sighting_store: Arc<dyn SightingStore>,
        clock: Clock,
    ) -> Self {
        let last_events = (!settings.logs.globs.is_empty()).then(|| {
            let (logs, sources) = (Arc::clone(&settings.logs), settings.sources.clone());
            let reader = LastEventReader::new(logs, sources, clock.clone());
            Arc::new(match former {
                Some(former) => reader.after(former),
                None => reader,
            })
        });
        let log = last_events.clone().map(|reader| reader as Arc<dyn LogView>);
        let connection = Connection::new(
            settings.connection.clone(),
            log,
            sighting_store,
            clock.clone(),
        );
        let connection = connection.among(Arc::new(settings.all_sessions()));
        Self {
            settings: Arc::new(settings),
            connection,
            last_events,
            clock,
        }
    }
}
