//! The running parts that a configuration asks for. [`Settings`] is plain data.

use std::sync::Arc;

use clock::Clock;

use crate::config::Settings;
use crate::connection::{Connection, LogView, Memory};
use crate::logs::LastEventReader;

/// A configuration, and what runs by it.
#[derive(Clone, Debug)]
pub struct App {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The sources of the verdict.
    pub connection: Connection,
    /// Tells the time.
    pub clock: Clock,
}

impl App {
    /// Builds the parts. `memory` keeps which sources have seen a session alive.
    pub fn new(settings: Settings, memory: Arc<dyn Memory>, clock: Clock) -> Self {
        let log = (!settings.logs.globs.is_empty()).then(|| {
            let logs = Arc::clone(&settings.logs);
            Arc::new(LastEventReader::new(
                logs,
                settings.sources.clone(),
                clock.clone(),
            )) as Arc<dyn LogView>
        });
        let connection = Connection::new(settings.connection.clone(), log, memory, clock.clone());
        Self {
            settings: Arc::new(settings),
            connection,
            clock,
        }
    }
}
