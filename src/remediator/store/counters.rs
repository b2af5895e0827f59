//! The counters of the metrics that outlive a restart. They are raised in the transaction of
//! what they count, so they never go backwards.

use std::collections::BTreeMap;

use rusqlite::{Connection as Sqlite, params};

use crate::folder::Timestamp;

use super::{Store, StoreError};

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE counters (
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (name, label)
);
";

/// Numbers for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterTotals {
    /// Attempts by action.
    pub runs: BTreeMap<String, u64>,
    /// Failures by action.
    pub failures: BTreeMap<String, u64>,
    /// Refusals by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Files moved by kind.
    pub moved: BTreeMap<String, u64>,
    /// Files put back.
    pub restored: u64,
    /// Runs of quarantines deleted after their retention.
    pub purged: u64,
    /// Services stopped for a clean-up.
    pub stops: u64,
    /// Runs that wait or are under way.
    pub queued: u64,
    /// Clean-ups that moved files and ended well, by action.
    pub cleanups: BTreeMap<String, u64>,
    /// End of the last clean-up that moved files.
    pub last_success: Option<Timestamp>,
}

/// The counters.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'a>(pub(super) &'a Store);

impl Counters<'_> {
    /// Counts quarantined runs that were deleted after their retention.
    pub fn purged(&self, runs: u64) -> Result<(), StoreError> {
        raise(&self.0.db, "purged", "", runs)?;
        Ok(())
    }

    /// Numbers for the metrics.
    pub fn totals(&self) -> Result<CounterTotals, StoreError> {
        let mut totals = CounterTotals::default();
        let mut query = self
            .0
            .db
            .prepare("SELECT name, label, value FROM counters")?;
        let rows = query.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })?;
        for row in rows {
            let (name, label, value) = row?;
            let value = value.max(0) as u64;
            match name.as_str() {
                "runs" => totals.runs.insert(label, value),
                "failures" => totals.failures.insert(label, value),
                "refusals" => totals.refusals.insert(label, value),
                "moved" => totals.moved.insert(label, value),
                "cleanups" => totals.cleanups.insert(label, value),
                "restored" => {
                    totals.restored = value;
                    None
                }
                "purged" => {
                    totals.purged = value;
                    None
                }
                "stops" => {
                    totals.stops = value;
                    None
                }
                _ => None,
            };
        }
        let queued: i64 = self.0.db.query_row(
            "SELECT count(*) FROM runs WHERE status IN ('queued','running')",
            [],
            |row| row.get(0),
        )?;
        totals.queued = queued.max(0) as u64;
        let last: Option<i64> = self.0.db.query_row(
            "SELECT max(finished_ns) FROM runs WHERE status = 'done' AND action IN ('cleanup','emergency')",
            [],
            |row| row.get(0),
        )?;
        totals.last_success = last.map(Timestamp::from_nanos);
        Ok(totals)
    }
}

pub(super) fn raise(db: &Sqlite, name: &str, label: &str, by: u64) -> Result<(), rusqlite::Error> {
    db.execute(
        "INSERT INTO counters (name, label, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (name, label) DO UPDATE SET value = value + excluded.value",
        params![name, label, by as i64],
    )?;
    Ok(())
}
