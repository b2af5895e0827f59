//! Alerts that asked for a run and started none.

use rusqlite::{Connection as Sqlite, params};
use serde::Serialize;

use crate::folder::Timestamp;

use super::request::Request;
use super::{KEPT_FOR, Store, StoreError, atomic};

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE unstarted_alerts (
    session TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (session, action, outcome, fingerprint)
) WITHOUT ROWID;
";

/// Rows kept at most; the oldest are deleted first.
const MAX_UNSTARTED: i64 = 10_000;

/// An alert that asked for a run and started none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnstartedAlert {
    /// The session that was named.
    pub session: String,
    /// What was asked for.
    pub action: String,
    /// Why there was no run: `in_progress`, `cooldown`, `retry_later`, `unknown_session`, `suppressed`.
    pub outcome: String,
    /// The alert.
    pub fingerprint: String,
    /// The first time.
    pub first: String,
    /// The last time.
    pub last: String,
    /// How often.
    pub times: i64,
}

/// The alerts that started no run.
#[derive(Clone, Copy, Debug)]
pub struct UnstartedAlerts<'a>(pub(super) &'a Store);

impl UnstartedAlerts<'_> {
    /// Records alerts that started no run, with the outcome.
    pub fn add(
        &self,
        requests: &[Request],
        outcome: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            for request in requests {
                add(tx, request, outcome, now)?;
            }
            Ok(())
        })
    }

    /// The newest ones, newest first.
    pub fn recent(&self, limit: u32) -> Result<Vec<UnstartedAlert>, StoreError> {
        let mut query = self.0.db.prepare(
            "SELECT session, action, outcome, fingerprint, first_ns, last_ns, times FROM unstarted_alerts
             ORDER BY last_ns DESC LIMIT ?1",
        )?;
        let rows = query.query_map([limit], |row| {
            let time = |nanos: i64| Timestamp::from_nanos(nanos).rfc3339();
            Ok(UnstartedAlert {
                session: row.get(0)?,
                action: row.get(1)?,
                outcome: row.get(2)?,
                fingerprint: row.get(3)?,
                first: time(row.get(4)?),
                last: time(row.get(5)?),
                times: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Counts an alert that started no run, in the transaction that decided so.
pub(super) fn add(
    db: &Sqlite,
    request: &Request,
    outcome: &str,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    let session: String = request
        .session
        .chars()
        .filter(|c| !c.is_control())
        .take(255)
        .collect();
    db.execute(
        "INSERT INTO unstarted_alerts (session, action, outcome, fingerprint, first_ns, last_ns, times)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 1) ON CONFLICT (session, action, outcome, fingerprint)
         DO UPDATE SET last_ns = excluded.last_ns, times = times + 1",
        params![
            session,
            request.action.label(),
            outcome,
            request.fingerprint,
            now.nanos()
        ],
    )?;
    Ok(())
}

/// Deletes what is too old, and the oldest beyond the limit.
pub(super) fn prune(db: &Sqlite, now: Timestamp) -> Result<(), rusqlite::Error> {
    prune_to(db, now, MAX_UNSTARTED)
}

fn prune_to(db: &Sqlite, now: Timestamp, rows: i64) -> Result<(), rusqlite::Error> {
    db.execute(
        "DELETE FROM unstarted_alerts WHERE last_ns < ?1",
        [now.minus(KEPT_FOR).nanos()],
    )?;
    db.execute(
        "DELETE FROM unstarted_alerts WHERE last_ns <
         (SELECT last_ns FROM unstarted_alerts ORDER BY last_ns DESC LIMIT 1 OFFSET ?1)",
        [rows],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
