//! The restart store: services that were stopped and must be started again, the stops of the
//! last 30 days, and the sessions that have not come back.

use std::time::Duration;

use rusqlite::{Connection as Sqlite, params};
use serde::Serialize;

use crate::folder::Timestamp;
use crate::policy::{StopRefusal, Stopped};

use super::counters::raise;
use super::pause::{PAUSED, PauseState};
use super::{Store, StoreError, atomic};

/// Stops are remembered for this long; no cooldown and no budget looks further back.
const STOPS_KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE pending_restarts (
    service TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    phase TEXT NOT NULL,
    since_ns INTEGER NOT NULL
);
CREATE TABLE stops (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    in_window INTEGER NOT NULL,
    at_ns INTEGER NOT NULL
);
CREATE TABLE watched (
    service TEXT NOT NULL,
    session TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    stopped_ns INTEGER NOT NULL,
    late_ns INTEGER,
    PRIMARY KEY (service, session)
);
";

/// How far a service on the way down and up again has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is about to be stopped, or being stopped.
    Stopping,
    /// It is gone, and the folder is being cleaned.
    Gone,
    /// It is to be started.
    Starting,
    /// It was started and runs; nobody has seen it connected yet.
    Started,
    /// The first start was tried, and it does not run: tried again, but not under a pause.
    Failed,
}

impl Phase {
    const ALL: [Phase; 5] = [
        Phase::Stopping,
        Phase::Gone,
        Phase::Starting,
        Phase::Started,
        Phase::Failed,
    ];

    /// Its name in the database and in outputs.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Stopping => "stopping",
            Phase::Gone => "gone",
            Phase::Starting => "starting",
            Phase::Started => "started",
            Phase::Failed => "failed",
        }
    }
}

/// A service that this program has stopped, or was about to, and must see run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRestart {
    /// The service's name.
    pub service: String,
    /// The session for which it was stopped.
    pub session: String,
    /// The run.
    pub run_id: i64,
    /// How far it has come.
    pub phase: Phase,
    /// When the stop was decided.
    pub since: Timestamp,
}

/// A session whose service was started again, and which has not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotBack {
    /// The service's name.
    pub service: String,
    /// The session that is not connected.
    pub session: String,
    /// Its own run in the journal; of a session that was stopped along and had none, the
    /// run for which the service was stopped.
    pub run_id: i64,
    /// Its own run's name in the quarantine, for `undo`; none where nothing was moved.
    pub run: Option<String>,
    /// Since when.
    pub since: String,
    /// When the stop was decided: what a log said before that does not count.
    #[serde(skip)]
    pub stopped: Timestamp,
}

/// One that has not come back since an earlier stop stays late.
const WATCH: &str = "INSERT INTO watched (service, session, run_id, stopped_ns) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (service, session) DO UPDATE SET run_id = excluded.run_id, stopped_ns = excluded.stopped_ns";

/// The restart store.
#[derive(Clone, Copy, Debug)]
pub struct Restarts<'a>(pub(super) &'a Store);

impl Restarts<'_> {
    /// Records the intent to stop a service, with the pending restart.
    /// Nothing may be stopped before this has succeeded. `lets` is asked about the pause
    /// and the stops of all services within the same transaction: looks are slow, and in the
    /// meantime a person may have paused, another worker stopped the last service that the
    /// breaker allows, or a run begun on another session of the process. What it holds is
    /// given back, and nothing is on record then.
    ///
    /// The first of `sessions` is the one for which it is stopped; it and the others, which
    /// are connected, are to come back.
    ///
    /// Errors: also where a restart of this service is pending.
    pub fn intend_stop(
        &self,
        service: &str,
        sessions: &[&str],
        run_id: i64,
        in_window: bool,
        now: Timestamp,
        lets: impl FnOnce(&Store, &PauseState, &[Stopped], Option<Timestamp>) -> Result<(), StopRefusal>,
    ) -> Result<Result<(), StopRefusal>, StoreError> {
        atomic(&self.0.db, |tx| {
            let pause = self.0.pause();
            if let Err(hold) = lets(
                self.0,
                &pause.state()?,
                &self.stops(now)?,
                pause.resumed(now)?,
            ) {
                return Ok(Err(hold));
            }
            tx.execute(
            "INSERT INTO pending_restarts (service, session, run_id, phase, since_ns) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                service,
                sessions.first().copied().unwrap_or_default(),
                run_id,
                Phase::Stopping.label(),
                now.nanos()
            ],
        )?;
            tx.execute(
                "DELETE FROM watched WHERE service = ?1 AND late_ns IS NULL",
                [service],
            )?;
            for session in sessions {
                tx.execute(WATCH, params![service, session, run_id, now.nanos()])?;
            }
            tx.execute(
                "INSERT INTO stops (service, run_id, in_window, at_ns) VALUES (?1, ?2, ?3, ?4)",
                params![service, run_id, in_window, now.nanos()],
            )?;
            raise(tx, "stops", "", 1)?;
            Ok(Ok(()))
        })
    }

    /// Notes how far it has come.
    pub fn set_phase(&self, service: &str, phase: Phase) -> Result<(), StoreError> {
        self.0.db.execute(
            "UPDATE pending_restarts SET phase = ?2 WHERE service = ?1",
            params![service, phase.label()],
        )?;
        Ok(())
    }

    /// Notes that it is about to be started; a stop that may still come stays on record.
    /// `false`, and nothing is noted: a start has
    /// failed before, and a person has paused all action since.
    pub fn may_start(&self, service: &str) -> Result<bool, StoreError> {
        let noted = self.0.db.execute(
            "UPDATE pending_restarts SET phase = CASE phase WHEN ?5 THEN phase ELSE ?2 END WHERE service = ?1
             AND (phase != ?3 OR NOT EXISTS (SELECT 1 FROM pause WHERE name = ?4))",
            params![service, Phase::Starting.label(), Phase::Failed.label(), PAUSED, Phase::Stopping.label()],
        )?;
        Ok(noted > 0)
    }

    /// The service runs again.
    pub fn complete(&self, service: &str) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            tx.execute("DELETE FROM pending_restarts WHERE service = ?1", [service])?;
            self.forget_returned(service)
        })
    }

    /// A session that has come back is watched for as long as the restart is pending.
    fn forget_returned(&self, service: &str) -> Result<(), StoreError> {
        self.0.db.execute(
            "DELETE FROM watched WHERE service = ?1 AND late_ns IS NULL
             AND NOT EXISTS (SELECT 1 FROM pending_restarts WHERE service = ?1)",
            [service],
        )?;
        Ok(())
    }

    /// Services that must be seen to run again, the oldest first.
    pub fn pending(&self) -> Result<Vec<PendingRestart>, StoreError> {
        let mut query = self.0.db.prepare(
            "SELECT service, session, run_id, phase, since_ns FROM pending_restarts ORDER BY since_ns",
        )?;
        let rows = query.query_map([], |row| {
            let phase: String = row.get(3)?;
            Ok(PendingRestart {
                service: row.get(0)?,
                session: row.get(1)?,
                run_id: row.get(2)?,
                // An unknown phase: start it, to be sure.
                phase: Phase::ALL
                    .into_iter()
                    .find(|p| p.label() == phase)
                    .unwrap_or(Phase::Starting),
                since: Timestamp::from_nanos(row.get(4)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a service was stopped for this run.
    pub fn was_stopped_for(&self, run_id: i64) -> Result<bool, StoreError> {
        let mut query = self
            .0
            .db
            .prepare("SELECT EXISTS (SELECT 1 FROM stops WHERE run_id = ?1)")?;
        Ok(query.query_row([run_id], |row| row.get(0))?)
    }

    /// The stops of the last 30 days; no limit looks further back.
    pub fn stops(&self, now: Timestamp) -> Result<Vec<Stopped>, StoreError> {
        let mut query = self
            .0
            .db
            .prepare("SELECT service, at_ns, in_window FROM stops WHERE at_ns > ?1")?;
        let rows = query.query_map([now.minus(STOPS_KEPT_FOR).nanos()], |row| {
            Ok(Stopped {
                service: row.get(0)?,
                at: Timestamp::from_nanos(row.get(1)?),
                in_window: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A session is cleaned by a run of its own while its service is stopped.
    pub fn watch(
        &self,
        service: &str,
        session: &str,
        run_id: i64,
        stopped: Timestamp,
    ) -> Result<(), StoreError> {
        self.0
            .db
            .execute(WATCH, params![service, session, run_id, stopped.nanos()])?;
        Ok(())
    }

    /// The sessions, each with its run, that are to come back after this stop.
    pub fn watched(
        &self,
        service: &str,
        stopped: Timestamp,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        let mut query = self.0.db.prepare(
            "SELECT session, run_id FROM watched WHERE service = ?1 AND stopped_ns = ?2 ORDER BY session",
        )?;
        let rows = query.query_map(params![service, stopped.nanos()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The service was started again, and this session of it has not come back.
    pub fn set_not_back(
        &self,
        service: &str,
        session: &str,
        run_id: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.db.execute(
            "INSERT INTO watched (service, session, run_id, stopped_ns, late_ns) VALUES (?1, ?2, ?3,
             coalesce((SELECT since_ns FROM pending_restarts WHERE service = ?1),
                      (SELECT max(at_ns) FROM stops WHERE run_id = ?3 AND service = ?1), ?4), ?4)
             ON CONFLICT (service, session) DO UPDATE
             SET run_id = excluded.run_id, late_ns = coalesce(late_ns, excluded.late_ns)",
            params![service, session, run_id, now.nanos()],
        )?;
        Ok(())
    }

    /// It has come back after the stop at `stopped`; it is watched until that restart is
    /// complete.
    pub fn clear_not_back(
        &self,
        service: &str,
        session: &str,
        stopped: Timestamp,
    ) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            tx.execute(
                "UPDATE watched SET late_ns = NULL WHERE service = ?1 AND session = ?2 AND stopped_ns = ?3",
                params![service, session, stopped.nanos()],
            )?;
            self.forget_returned(service)
        })
    }

    /// Sessions that have not come back.
    pub fn not_back(&self) -> Result<Vec<NotBack>, StoreError> {
        // Another session's run is none to undo for this one.
        let mut query = self.0.db.prepare(
            "SELECT n.service, n.session, n.run_id, r.run, n.late_ns, n.stopped_ns
             FROM watched n LEFT JOIN runs r ON r.id = n.run_id AND r.session = n.session
             WHERE n.late_ns IS NOT NULL ORDER BY n.service, n.session",
        )?;
        let rows = query.query_map([], |row| {
            Ok(NotBack {
                service: row.get(0)?,
                session: row.get(1)?,
                run_id: row.get(2)?,
                run: row.get(3)?,
                since: Timestamp::from_nanos(row.get(4)?).rfc3339(),
                stopped: Timestamp::from_nanos(row.get(5)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Forgets stops that no limit looks back at.
pub(super) fn prune(db: &Sqlite, now: Timestamp) -> Result<(), rusqlite::Error> {
    db.execute(
        "DELETE FROM stops WHERE at_ns < ?1",
        [now.minus(STOPS_KEPT_FOR).nanos()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
