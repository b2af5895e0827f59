//! Sightings: which source saw which bot alive, and which sources a person trusts.

use std::time::Duration;

use rusqlite::{Connection as Sqlite, params};

use crate::connection::{Alive, REMEMBERED_FOR, SessionSightings, SightingStore, Trust};
use crate::folder::{SessionName, Timestamp};

use super::handle::SharedStore;
use super::{Store, StoreError, atomic};

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE alive (
    session TEXT NOT NULL,
    source TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    mark TEXT,
    PRIMARY KEY (session, source)
);
CREATE TABLE trust (
    session TEXT NOT NULL,
    source TEXT NOT NULL,
    by TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (session, source)
);
";

/// A sighting that is dated further ahead is forgotten.
const MAX_KEPT_AHEAD: Duration = Duration::from_secs(86_400);

/// The tables of sightings and trust.
#[derive(Clone, Copy, Debug)]
pub struct Sightings<'a>(pub(super) &'a Store);

impl Sightings<'_> {
    /// Remembers that these sources saw a session alive. A newer sighting replaces an older one,
    /// also one that a wrong clock has dated later.
    pub fn remember(&self, session: &str, seen: &[(String, Alive)]) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            for (source, alive) in seen {
                tx.execute(
                "INSERT OR REPLACE INTO alive (session, source, at_ns, mark) VALUES (?1, ?2, ?3, ?4)",
                params![session, source, alive.at.nanos(), alive.mark],
            )?;
            }
            Ok(())
        })
    }

    /// Records that a person trusts these sources of a session.
    pub fn trust(
        &self,
        session: &str,
        sources: &[String],
        by: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            for source in sources {
                tx.execute(
                "INSERT OR REPLACE INTO trust (session, source, by, at_ns) VALUES (?1, ?2, ?3, ?4)",
                params![session, source, by, now.nanos()],
            )?;
            }
            Ok(())
        })
    }

    /// What is remembered of a session.
    pub fn recall(&self, session: &str) -> Result<SessionSightings, StoreError> {
        let mut sightings = SessionSightings::default();
        let mut query = self
            .0
            .db
            .prepare_cached("SELECT source, at_ns, mark FROM alive WHERE session = ?1")?;
        let rows = query.query_map([session], |row| {
            Ok((
                row.get(0)?,
                Alive {
                    at: Timestamp::from_nanos(row.get(1)?),
                    mark: row.get(2)?,
                },
            ))
        })?;
        for row in rows {
            sightings.alive.extend([row?]);
        }
        let mut query = self
            .0
            .db
            .prepare_cached("SELECT source, by, at_ns FROM trust WHERE session = ?1")?;
        let rows = query.query_map([session], |row| {
            Ok((
                row.get(0)?,
                Trust {
                    by: row.get(1)?,
                    at: Timestamp::from_nanos(row.get(2)?),
                },
            ))
        })?;
        for row in rows {
            sightings.trusted.extend([row?]);
        }
        Ok(sightings)
    }
}

/// Forgets what is too old, and what was written under a clock that ran ahead: it must not
/// count one day.
pub(super) fn prune(db: &Sqlite, now: Timestamp) -> Result<(), rusqlite::Error> {
    db.execute(
        "DELETE FROM alive WHERE at_ns < ?1 OR at_ns > ?2",
        [
            now.minus(REMEMBERED_FOR).nanos(),
            now.plus(MAX_KEPT_AHEAD).nanos(),
        ],
    )?;
    Ok(())
}

/// The store of sightings of the verdict on the connection.
#[derive(Clone, Debug)]
pub struct StoredSightings(pub SharedStore);

/// Its methods block; the connection calls them on a thread that may.
impl SightingStore for StoredSightings {
    fn recall(&self, session: &SessionName) -> SessionSightings {
        let store = self.0.lock();
        store
            .sightings()
            .recall(session.as_str())
            .unwrap_or_else(|error| {
                tracing::error!("failed to load sightings: {error}");
                SessionSightings::default()
            })
    }

    fn remember(&self, session: &SessionName, seen: &[(String, Alive)]) {
        let store = self.0.lock();
        if let Err(error) = store.sightings().remember(session.as_str(), seen) {
            tracing::error!("failed to record sightings: {error}");
        }
    }
}
#[cfg(test)]
mod tests;
