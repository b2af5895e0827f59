//! What halts all action: a pause by a person, and the circuit breaker.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use crate::folder::Timestamp;

use super::{Store, StoreError, atomic};

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE pause (
    name TEXT PRIMARY KEY,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ns INTEGER NOT NULL
);
";

/// Who halted all action, why and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PauseEntry {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub since: String,
    #[serde(skip)]
    /// The same, as a point in time.
    pub at: Timestamp,
}

/// What halts all action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PauseState {
    /// A person has paused it.
    pub paused: Option<PauseEntry>,
    /// The fleet's breaker is open.
    pub breaker: Option<PauseEntry>,
}

pub(super) const PAUSED: &str = "paused";
const BREAKER: &str = "breaker";
/// True while all action is halted; part of the statement that lets a run begin.
pub(super) const HALTED: &str = "EXISTS (SELECT 1 FROM pause WHERE name IN ('paused', 'breaker'))";
/// When a person last resumed: stops before that do not open the breaker again.
const RESUMED: &str = "resumed";

/// The pause and the circuit breaker.
#[derive(Clone, Copy, Debug)]
pub struct Pause<'a>(pub(super) &'a Store);

impl Pause<'_> {
    /// What halts all action.
    pub fn state(&self) -> Result<PauseState, StoreError> {
        Ok(PauseState {
            paused: self.entry(PAUSED)?,
            breaker: self.entry(BREAKER)?,
        })
    }

    /// When a person last resumed. Not a time in the future: the clock was wrong then, and
    /// it would excuse every stop until that time.
    pub fn resumed(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self
            .entry(RESUMED)?
            .map(|entry| entry.at)
            .filter(|at| *at <= now))
    }

    fn entry(&self, name: &str) -> Result<Option<PauseEntry>, StoreError> {
        let read = |row: &Row<'_>| {
            let at = Timestamp::from_nanos(row.get(2)?);
            Ok(PauseEntry {
                by: row.get(0)?,
                reason: row.get(1)?,
                since: at.rfc3339(),
                at,
            })
        };
        let mut query = self
            .0
            .db
            .prepare("SELECT by, reason, at_ns FROM pause WHERE name = ?1")?;
        Ok(query.query_row([name], read).optional()?)
    }

    fn put(&self, name: &str, by: &str, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.0.db.execute(
            "INSERT OR REPLACE INTO pause (name, by, reason, at_ns) VALUES (?1, ?2, ?3, ?4)",
            params![name, by, reason, now.nanos()],
        )?;
        Ok(())
    }

    /// A person pauses all action.
    pub fn set(&self, by: &str, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.put(PAUSED, by, reason, now)
    }

    /// The breaker opens, and stays open until a person says [`Pause::resume`].
    pub fn open_breaker(&self, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        atomic(&self.0.db, |_| match self.entry(BREAKER)? {
            Some(_) => Ok(()),
            None => self.put(BREAKER, "baileys_remediator", reason, now),
        })
    }

    /// A person resumes automatic actions and resets the circuit breaker; what was halted.
    pub fn resume(&self, by: &str, now: Timestamp) -> Result<PauseState, StoreError> {
        atomic(&self.0.db, |tx| {
            let halted = self.state()?;
            tx.execute(
                "DELETE FROM pause WHERE name IN (?1, ?2)",
                [PAUSED, BREAKER],
            )?;
            self.put(RESUMED, by, "", now)?;
            Ok(halted)
        })
    }
}

#[cfg(test)]
mod tests;
