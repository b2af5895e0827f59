//! What halts all action: a pause by a person, and the circuit breaker.

use std::time::Duration;

use rusqlite::{Connection as Sqlite, OptionalExtension, Row, params};
use serde::Serialize;

use crate::folder::Timestamp;

use super::clock::{Moment, Steady};
use super::{Store, StoreError, atomic};

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE pause (
    name TEXT PRIMARY KEY,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    steady_ns INTEGER NOT NULL
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

    /// How long ago a person last resumed.
    pub fn resumed(&self, now: impl Into<Moment>) -> Result<Option<Duration>, StoreError> {
        let steady = Steady::at(&self.0.db, now.into())?;
        let resumed = self.0.db.query_row(
            "SELECT steady_ns FROM pause WHERE name = ?1",
            [RESUMED],
            |row| row.get(0).map(Steady::from_nanos),
        );
        Ok(resumed.optional()?.map(|at| steady.since(at)))
    }

    fn entry(&self, name: &str) -> Result<Option<PauseEntry>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(PauseEntry {
                by: row.get(0)?,
                reason: row.get(1)?,
                since: Timestamp::from_nanos(row.get(2)?).rfc3339(),
            })
        };
        let mut query = self
            .0
            .db
            .prepare("SELECT by, reason, at_ns FROM pause WHERE name = ?1")?;
        Ok(query.query_row([name], read).optional()?)
    }

    fn put(db: &Sqlite, name: &str, by: &str, reason: &str, now: Moment) -> Result<(), StoreError> {
        let steady = Steady::mark(db, now)?;
        db.execute(
            "INSERT OR REPLACE INTO pause (name, by, reason, at_ns, steady_ns) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![name, by, reason, now.wall.nanos(), steady.nanos()],
        )?;
        Ok(())
    }

    /// A person pauses all action.
    pub fn set(&self, by: &str, reason: &str, now: impl Into<Moment>) -> Result<(), StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| Self::put(tx, PAUSED, by, reason, now))
    }

    /// The breaker opens, and stays open until a person says [`Pause::resume`].
    pub fn open_breaker(&self, reason: &str, now: impl Into<Moment>) -> Result<(), StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| match self.entry(BREAKER)? {
            Some(_) => Ok(()),
            None => Self::put(tx, BREAKER, "baileys_remediator", reason, now),
        })
    }

    /// A person resumes automatic actions and resets the circuit breaker; what was halted.
    pub fn resume(&self, by: &str, now: impl Into<Moment>) -> Result<PauseState, StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| {
            let halted = self.state()?;
            tx.execute(
                "DELETE FROM pause WHERE name IN (?1, ?2)",
                [PAUSED, BREAKER],
            )?;
            Self::put(tx, RESUMED, by, "", now)?;
            Ok(halted)
        })
    }
}

#[cfg(test)]
mod tests;
