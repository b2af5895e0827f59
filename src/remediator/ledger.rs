//! What must outlast a crash while services are stopped and started, in the journal: the
//! obligation to start a service again, who was stopped when, which runs are armed, and
//! the switches that halt everything.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::Serialize;

use crate::folder::Timestamp;
use crate::policy::{StopRefusal, Stopped};

use super::journal::{Action, Journal, JournalError, RETRY_AFTER, Request, Run};

/// Stops are remembered for this long; no cooldown and no budget looks further back.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// A clock that is this far from where it should be was set.
const LEAP: Duration = Duration::from_secs(3_600);
/// So long this program may have been down before its clock counts as set meanwhile.
const AWAY: Duration = Duration::from_secs(86_400);

/// The tables; additive, and laid again at every step of the schema.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS obligations (
    service TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    phase TEXT NOT NULL,
    since_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS stops (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    in_window INTEGER NOT NULL,
    at_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS watched (
    service TEXT NOT NULL,
    session TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    stopped_ns INTEGER NOT NULL,
    late_ns INTEGER,
    PRIMARY KEY (service, session)
);
CREATE TABLE IF NOT EXISTS armed (
    session TEXT NOT NULL,
    action TEXT NOT NULL,
    tier TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    starts_at TEXT NOT NULL,
    since_ns INTEGER NOT NULL,
    alert_ns INTEGER NOT NULL,
    nudged_ns INTEGER,
    PRIMARY KEY (session, action)
);
CREATE TABLE IF NOT EXISTS switches (
    name TEXT PRIMARY KEY,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ns INTEGER NOT NULL
);
";

/// Until schema 3 only one session of a service was watched.
pub(super) const FROM_SCHEMA_3: &str = "
CREATE TABLE IF NOT EXISTS not_back (
    service TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    since_ns INTEGER NOT NULL
);
INSERT OR IGNORE INTO watched (service, session, run_id, stopped_ns, late_ns)
    SELECT service, session, run_id,
    coalesce((SELECT max(at_ns) FROM stops s WHERE s.run_id = n.run_id AND s.service = n.service), since_ns),
    since_ns FROM not_back n;
DROP TABLE not_back;
INSERT INTO watched (service, session, run_id, stopped_ns)
    SELECT service, session, run_id, since_ns FROM obligations WHERE true
    ON CONFLICT (service, session) DO UPDATE SET stopped_ns = excluded.stopped_ns;
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

    /// The word for it.
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
pub struct Obligation {
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

/// A run that waits until its bot is found stopped, or for a maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Armed {
    /// The session.
    pub session: String,
    /// What it is to do.
    pub action: Action,
    /// The alert's tier.
    pub tier: String,
    /// Since when.
    pub since: String,
    /// When the alert was last repeated.
    pub last_alert: String,
    #[serde(skip)]
    last_alert_at: Timestamp,
}

/// A switch that halts all action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// Who turned it.
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
pub struct Switches {
    /// A person has paused it.
    pub paused: Option<Switch>,
    /// The fleet's breaker is open.
    pub breaker: Option<Switch>,
}

/// One that has not come back since an earlier stop stays late.
const WATCH: &str = "INSERT INTO watched (service, session, run_id, stopped_ns) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (service, session) DO UPDATE SET run_id = excluded.run_id, stopped_ns = excluded.stopped_ns";

const PAUSED: &str = "paused";
const BREAKER: &str = "breaker";
/// True while a switch halts all action: within the very statement that lets a run begin.
const HALTED: &str = "EXISTS (SELECT 1 FROM switches WHERE name IN ('paused', 'breaker'))";
/// When a person last said to go on: stops before that do not trip the breaker again.
const RESUMED: &str = "resumed";

impl Journal {
    /// Puts the intent to stop a service on record, with the obligation to start it again.
    /// Nothing may be stopped before this has succeeded. `lets` is asked about the switches
    /// and the stops of all services within the same transaction: looks are slow, and in the
    /// meantime a person may have paused, another worker stopped the last service that the
    /// breaker allows, or a run begun on another session of the process. What it holds is
    /// given back, and nothing is on record then.
    ///
    /// The first of `sessions` is the one for which it is stopped; it and the others, which
    /// are connected, are to come back.
    ///
    /// Errors: also where an obligation is open.
    pub fn intend_stop(
        &mut self,
        service: &str,
        sessions: &[&str],
        run_id: i64,
        in_window: bool,
        now: Timestamp,
        lets: impl FnOnce(&Self, &Switches, &[Stopped], Option<Timestamp>) -> Result<(), StopRefusal>,
    ) -> Result<Result<(), StopRefusal>, JournalError> {
        // Not `transaction`, which would borrow what the questions need; nothing else of
        // ours is open, for `self` is borrowed alone.
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        if let Err(hold) = lets(
            self,
            &self.switches()?,
            &self.stops(now)?,
            self.resumed(now)?,
        ) {
            return Ok(Err(hold));
        }
        tx.execute(
            "INSERT INTO obligations (service, session, run_id, phase, since_ns) VALUES (?1, ?2, ?3, ?4, ?5)",
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
        super::journal::raise(&tx, "stops", "", 1)?;
        tx.commit()?;
        Ok(Ok(()))
    }

    /// Notes how far it has come.
    pub fn set_phase(&mut self, service: &str, phase: Phase) -> Result<(), JournalError> {
        self.db.execute(
            "UPDATE obligations SET phase = ?2 WHERE service = ?1",
            params![service, phase.label()],
        )?;
        Ok(())
    }

    /// Notes that it is about to be started; a stop that may still come stays on record.
    /// `false`, and nothing is noted: a start has
    /// failed before, and a person has paused all action since.
    pub fn may_start(&mut self, service: &str) -> Result<bool, JournalError> {
        let noted = self.db.execute(
            "UPDATE obligations SET phase = CASE phase WHEN ?5 THEN phase ELSE ?2 END WHERE service = ?1
             AND (phase != ?3 OR NOT EXISTS (SELECT 1 FROM switches WHERE name = ?4))",
            params![service, Phase::Starting.label(), Phase::Failed.label(), PAUSED, Phase::Stopping.label()],
        )?;
        Ok(noted > 0)
    }

    /// The service runs again: nothing is owed.
    pub fn fulfil(&mut self, service: &str) -> Result<(), JournalError> {
        self.db
            .execute("DELETE FROM obligations WHERE service = ?1", [service])?;
        self.forget_who_is_back(service)
    }

    /// Who has come back is watched for as long as the start is owed.
    fn forget_who_is_back(&mut self, service: &str) -> Result<(), JournalError> {
        self.db.execute(
            "DELETE FROM watched WHERE service = ?1 AND late_ns IS NULL
             AND NOT EXISTS (SELECT 1 FROM obligations WHERE service = ?1)",
            [service],
        )?;
        Ok(())
    }

    /// Services that must be seen to run again, the oldest first.
    pub fn obligations(&self) -> Result<Vec<Obligation>, JournalError> {
        let mut query = self.db.prepare(
            "SELECT service, session, run_id, phase, since_ns FROM obligations ORDER BY since_ns",
        )?;
        let rows = query.query_map([], |row| {
            let phase: String = row.get(3)?;
            Ok(Obligation {
                service: row.get(0)?,
                session: row.get(1)?,
                run_id: row.get(2)?,
                // What nobody understands is started again, to be sure.
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
    pub fn was_stopped_for(&self, run_id: i64) -> Result<bool, JournalError> {
        let mut query = self
            .db
            .prepare("SELECT EXISTS (SELECT 1 FROM stops WHERE run_id = ?1)")?;
        Ok(query.query_row([run_id], |row| row.get(0))?)
    }

    /// Who was stopped when, as far back as anybody looks.
    pub fn stops(&self, now: Timestamp) -> Result<Vec<Stopped>, JournalError> {
        let mut query = self
            .db
            .prepare("SELECT service, at_ns, in_window FROM stops WHERE at_ns > ?1")?;
        let rows = query.query_map([now.minus(KEPT_FOR).nanos()], |row| {
            Ok(Stopped {
                service: row.get(0)?,
                at: Timestamp::from_nanos(row.get(1)?),
                in_window: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a run that moves files is under way on one of these sessions, beside this one.
    /// What a dead process left is not under way.
    pub fn is_under_way(&self, sessions: &[&str], beside: i64) -> Result<bool, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT coalesce(owner, '') FROM runs WHERE status = 'running' AND action != 'plan'
             AND id != ?1 AND session IN (SELECT value FROM json_each(?2))",
        )?;
        let sessions = serde_json::to_string(sessions).unwrap_or_default();
        let owners = query.query_map(params![beside, sessions], |row| row.get::<_, String>(0))?;
        for owner in owners {
            if self.lives(&owner?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Since when the clock on the wall runs as a clock does, as far as anybody has seen.
    /// `passed`: how long ago, by a clock that nobody sets, this was last asked; `None` the
    /// first time after a start. What is dated before a leap may be younger than it looks.
    pub fn clock_runs_since(
        &mut self,
        now: Timestamp,
        passed: Option<Duration>,
    ) -> Result<Timestamp, JournalError> {
        let read = |journal: &Self, what: &str| -> Result<Option<Timestamp>, JournalError> {
            let mut query = journal
                .db
                .prepare_cached("SELECT value FROM counters WHERE name = 'clock' AND label = ?1")?;
            Ok(query
                .query_row([what], |row| row.get(0))
                .optional()?
                .map(Timestamp::from_nanos))
        };
        let expected = read(self, "seen")?.map(|seen| match passed {
            Some(passed) => (seen.plus(passed).minus(LEAP), seen.plus(passed).plus(LEAP)),
            None => (seen.minus(LEAP), seen.plus(AWAY)),
        });
        let since = match (expected, read(self, "since")?) {
            (Some((from, to)), Some(since)) if from <= now && now <= to => since.min(now),
            _ => now,
        };
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (what, at) in [("seen", now), ("since", since)] {
            tx.execute(
                "INSERT OR REPLACE INTO counters (name, label, value) VALUES ('clock', ?1, ?2)",
                params![what, at.nanos()],
            )?;
        }
        tx.commit()?;
        Ok(since)
    }

    /// A session is cleaned by a run of its own while its service is stopped.
    pub fn watch(
        &mut self,
        service: &str,
        session: &str,
        run_id: i64,
        stopped: Timestamp,
    ) -> Result<(), JournalError> {
        self.db
            .execute(WATCH, params![service, session, run_id, stopped.nanos()])?;
        Ok(())
    }

    /// The sessions, each with its run, that are to come back after this stop.
    pub fn watched(
        &self,
        service: &str,
        stopped: Timestamp,
    ) -> Result<Vec<(String, i64)>, JournalError> {
        let mut query = self.db.prepare(
            "SELECT session, run_id FROM watched WHERE service = ?1 AND stopped_ns = ?2 ORDER BY session",
        )?;
        let rows = query.query_map(params![service, stopped.nanos()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The service was started again, and this session of it has not come back.
    pub fn set_not_back(
        &mut self,
        service: &str,
        session: &str,
        run_id: i64,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.db.execute(
            "INSERT INTO watched (service, session, run_id, stopped_ns, late_ns) VALUES (?1, ?2, ?3,
             coalesce((SELECT since_ns FROM obligations WHERE service = ?1),
                      (SELECT max(at_ns) FROM stops WHERE run_id = ?3 AND service = ?1), ?4), ?4)
             ON CONFLICT (service, session) DO UPDATE
             SET run_id = excluded.run_id, late_ns = coalesce(late_ns, excluded.late_ns)",
            params![service, session, run_id, now.nanos()],
        )?;
        Ok(())
    }

    /// It has come back after the stop of `stopped`; it goes on being watched while that
    /// stop is owed its start.
    pub fn clear_not_back(
        &mut self,
        service: &str,
        session: &str,
        stopped: Timestamp,
    ) -> Result<(), JournalError> {
        self.db.execute(
            "UPDATE watched SET late_ns = NULL WHERE service = ?1 AND session = ?2 AND stopped_ns = ?3",
            params![service, session, stopped.nanos()],
        )?;
        self.forget_who_is_back(service)
    }

    /// Sessions that have not come back.
    pub fn not_back(&self) -> Result<Vec<NotBack>, JournalError> {
        // Another session's run is none to undo for this one.
        let mut query = self.db.prepare(
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

    /// Lets a run that was refused because its bot is connected wait for a better moment.
    pub fn arm(&mut self, run_id: i64, now: Timestamp) -> Result<(), JournalError> {
        self.db.execute(
            "INSERT INTO armed (session, action, tier, fingerprint, starts_at, since_ns, alert_ns)
             SELECT session, action, tier, coalesce(fingerprint, ''), coalesce(starts_at, ''), ?2, ?2
             FROM runs WHERE id = ?1 AND tier IS NOT NULL
             ON CONFLICT (session, action) DO UPDATE
             SET tier = excluded.tier, fingerprint = excluded.fingerprint, starts_at = excluded.starts_at",
            params![run_id, now.nanos()],
        )?;
        Ok(())
    }

    /// The alerts were repeated: what they armed goes on waiting.
    pub fn repeated(&mut self, requests: &[Request], now: Timestamp) -> Result<(), JournalError> {
        for request in requests {
            self.db.execute(
                "UPDATE armed SET alert_ns = ?3 WHERE session = ?1 AND action = ?2",
                params![request.session, request.action.label(), now.nanos()],
            )?;
        }
        Ok(())
    }

    /// Drops an armed run: it was done, or its alert has resolved. Says whether there was one.
    pub fn disarm(&mut self, session: &str, action: Action) -> Result<bool, JournalError> {
        let dropped = self.db.execute(
            "DELETE FROM armed WHERE session = ?1 AND action = ?2",
            params![session, action.label()],
        )?;
        Ok(dropped > 0)
    }

    /// Drops armed runs whose alert nobody has repeated for `span`.
    pub fn disarm_forgotten(
        &mut self,
        span: Duration,
        now: Timestamp,
    ) -> Result<usize, JournalError> {
        let (from, to) = (now.minus(span).nanos(), now.plus(span).nanos());
        Ok(self.db.execute(
            "DELETE FROM armed WHERE alert_ns < ?1 OR alert_ns > ?2",
            [from, to],
        )?)
    }

    /// The armed runs.
    pub fn armed(&self) -> Result<Vec<Armed>, JournalError> {
        let mut query = self.db.prepare(
            "SELECT session, action, tier, since_ns, alert_ns FROM armed ORDER BY since_ns, session, action",
        )?;
        let rows = query.query_map([], |row| {
            let (action, since, alert): (String, i64, i64) =
                (row.get(1)?, row.get(3)?, row.get(4)?);
            let last_alert_at = Timestamp::from_nanos(alert);
            Ok(Armed {
                session: row.get(0)?,
                action: Action::from_label(&action).unwrap_or(Action::Cleanup),
                tier: row.get(2)?,
                since: Timestamp::from_nanos(since).rfc3339(),
                last_alert: last_alert_at.rfc3339(),
                last_alert_at,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether this run is armed.
    pub fn is_armed(&self, session: &str, action: Action) -> Result<bool, JournalError> {
        let mut query = self
            .db
            .prepare("SELECT EXISTS (SELECT 1 FROM armed WHERE session = ?1 AND action = ?2)")?;
        Ok(query.query_row(params![session, action.label()], |row| row.get(0))?)
    }

    /// Queues an armed run, unless one waits or is under way, it was tried less than
    /// [`RETRY_AFTER`] ago, or all action is halted; its number.
    pub fn nudge(
        &mut self,
        session: &str,
        action: Action,
        now: Timestamp,
    ) -> Result<Option<i64>, JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let queue = format!(
            "INSERT INTO runs (created_ns, session, action, tier, requested_by, fingerprint, starts_at, status)
             SELECT ?3, session, action, tier, 'alert ' || fingerprint, fingerprint, starts_at, 'queued'
             FROM armed WHERE session = ?1 AND action = ?2
             AND (nudged_ns IS NULL OR nudged_ns < ?4 OR nudged_ns > ?3)
             AND NOT EXISTS (SELECT 1 FROM runs WHERE session = ?1 AND status IN ('queued', 'running')
                             AND action IN ('cleanup', 'emergency'))
             AND NOT {HALTED}"
        );
        let queued = tx.execute(
            &queue,
            params![
                session,
                action.label(),
                now.nanos(),
                now.minus(RETRY_AFTER).nanos()
            ],
        )?;
        let id = (queued > 0).then(|| tx.last_insert_rowid());
        if id.is_some() {
            tx.execute(
                "UPDATE armed SET nudged_ns = ?3 WHERE session = ?1 AND action = ?2",
                params![session, action.label(), now.nanos()],
            )?;
        }
        tx.commit()?;
        Ok(id)
    }

    /// Takes the waiting clean-ups of one session, which has none under way: its bot is
    /// stopped now. None begins while all action is halted; it goes on waiting.
    pub fn claim(&mut self, session: &str, now: Timestamp) -> Result<Option<Run>, JournalError> {
        self.take_where(
            now,
            &format!("session = ?1 AND action IN ('cleanup', 'emergency') AND NOT {HALTED}"),
            &[&session as &dyn rusqlite::ToSql],
        )
    }

    /// What halts all action.
    pub fn switches(&self) -> Result<Switches, JournalError> {
        Ok(Switches {
            paused: self.switch(PAUSED)?,
            breaker: self.switch(BREAKER)?,
        })
    }

    /// When a person last said to go on. Not what was said under a clock that was ahead: it
    /// would excuse every stop until then.
    pub fn resumed(&self, now: Timestamp) -> Result<Option<Timestamp>, JournalError> {
        Ok(self
            .switch(RESUMED)?
            .map(|switch| switch.at)
            .filter(|at| *at <= now))
    }

    fn switch(&self, name: &str) -> Result<Option<Switch>, JournalError> {
        let read = |row: &Row<'_>| {
            let at = Timestamp::from_nanos(row.get(2)?);
            Ok(Switch {
                by: row.get(0)?,
                reason: row.get(1)?,
                since: at.rfc3339(),
                at,
            })
        };
        let mut query = self
            .db
            .prepare("SELECT by, reason, at_ns FROM switches WHERE name = ?1")?;
        Ok(query.query_row([name], read).optional()?)
    }

    fn turn(
        &mut self,
        name: &str,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.db.execute(
            "INSERT OR REPLACE INTO switches (name, by, reason, at_ns) VALUES (?1, ?2, ?3, ?4)",
            params![name, by, reason, now.nanos()],
        )?;
        Ok(())
    }

    /// A person pauses all action.
    pub fn pause(&mut self, by: &str, reason: &str, now: Timestamp) -> Result<(), JournalError> {
        self.turn(PAUSED, by, reason, now)
    }

    /// The breaker opens, and stays open until a person says [`Journal::resume`].
    pub fn open_breaker(&mut self, reason: &str, now: Timestamp) -> Result<(), JournalError> {
        match self.switch(BREAKER)? {
            Some(_) => Ok(()),
            None => self.turn(BREAKER, "baileys_remediator", reason, now),
        }
    }

    /// A person says to go on; what was halted till then.
    pub fn resume(&mut self, by: &str, now: Timestamp) -> Result<Switches, JournalError> {
        let halted = self.switches()?;
        self.db.execute(
            "DELETE FROM switches WHERE name IN (?1, ?2)",
            [PAUSED, BREAKER],
        )?;
        self.turn(RESUMED, by, "", now)?;
        Ok(halted)
    }

    /// Runs that wait, and runs under way.
    pub fn queue(&self) -> Result<BTreeMap<String, u64>, JournalError> {
        let mut query = self.db.prepare(
            "SELECT status, count(*) FROM runs WHERE status IN ('queued', 'running') GROUP BY status",
        )?;
        let rows = query.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets stops that nobody looks back at.
    pub(super) fn prune_stops(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.db.execute(
            "DELETE FROM stops WHERE at_ns < ?1",
            [now.minus(KEPT_FOR).nanos()],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remediator::journal::{Accepted, Ending, Status};

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u32) -> Timestamp {
        Timestamp::from_secs(1_800_000_000).plus(MINUTE * minutes)
    }

    fn open() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        (dir, journal)
    }

    fn request(session: &str, action: Action) -> Request {
        Request {
            session: session.into(),
            action,
            tier: action.label().into(),
            fingerprint: "f".into(),
            starts_at: "s".into(),
            via: crate::remediator::journal::Via::default(),
        }
    }

    fn accept(journal: &mut Journal, session: &str, action: Action, now: Timestamp) -> i64 {
        match journal.accept(&[request(session, action)], now).unwrap()[..] {
            [Accepted::Queued(id)] => id,
            ref other => panic!("{other:?}"),
        }
    }

    fn refuse(journal: &mut Journal, id: i64, now: Timestamp) {
        assert_eq!(journal.take(now, &[]).unwrap().unwrap().id, id);
        journal.arm(id, now).unwrap();
        let ending = Ending {
            reason: Some("connected"),
            ..Ending::default()
        };
        journal.finish(id, Status::Refused, &ending, now).unwrap();
    }

    #[test]
    fn what_is_owed_outlasts_the_process() {
        let (dir, mut journal) = open();
        journal
            .intend_stop("bots", &["a"], 7, false, at(0), |_, _, _, _| Ok(()))
            .unwrap()
            .unwrap();
        let again = journal.intend_stop("bots", &["b"], 8, false, at(1), |_, _, _, _| Ok(()));
        assert!(again.is_err(), "one at a time");
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        let owed = journal.obligations().unwrap().remove(0);
        assert_eq!(
            (owed.service.as_str(), owed.run_id, owed.phase),
            ("bots", 7, Phase::Stopping)
        );
        for phase in Phase::ALL {
            journal.set_phase("bots", phase).unwrap();
            assert_eq!(journal.obligations().unwrap()[0].phase, phase);
        }
        assert!(journal.was_stopped_for(7).unwrap() && !journal.was_stopped_for(8).unwrap());
        journal.fulfil("bots").unwrap();
        assert!(journal.obligations().unwrap().is_empty());
        assert_eq!(
            journal.stops(at(1)).unwrap().len(),
            1,
            "it was stopped all the same"
        );
        journal
            .intend_stop("bots", &["a"], 9, true, at(2), |_, _, _, _| Ok(()))
            .unwrap()
            .unwrap();
        let stops = journal.stops(at(2)).unwrap();
        assert_eq!(
            stops.iter().map(|stop| stop.in_window).collect::<Vec<_>>(),
            [false, true]
        );
        journal.prune(at(60 * 24 * 31)).unwrap();
        assert!(journal.stops(at(2)).unwrap().is_empty());
    }

    #[test]
    fn what_holds_within_the_transaction_leaves_no_trace() {
        let (dir, mut journal) = open();
        journal
            .intend_stop("a", &["a"], 1, false, at(0), |_, _, _, _| Ok(()))
            .unwrap()
            .unwrap();
        // Another process pauses, after the first look.
        Journal::open(dir.path())
            .unwrap()
            .pause("ann", "a release", at(1))
            .unwrap();
        let held = journal.intend_stop(
            "b",
            &["b"],
            2,
            false,
            at(2),
            |_, switches, stops, resumed| {
                assert!(switches.paused.is_some() && stops.len() == 1 && resumed.is_none());
                Err(StopRefusal::Paused)
            },
        );
        assert_eq!(held.unwrap(), Err(StopRefusal::Paused));
        assert_eq!(journal.obligations().unwrap().len(), 1);
        assert_eq!(journal.stops(at(2)).unwrap().len(), 1);
        assert!(!journal.was_stopped_for(2).unwrap());
    }

    #[test]
    fn a_run_on_another_session_of_the_process_is_seen() {
        let (dir, mut journal) = open();
        let a = accept(&mut journal, "a", Action::Emergency, at(0));
        assert_eq!(journal.take(at(0), &[]).unwrap().unwrap().id, a);
        let all = ["a", "b"];
        assert!(!journal.is_under_way(&all, a).unwrap(), "itself");
        accept(&mut journal, "b", Action::Plan, at(0));
        let plan = journal.take(at(0), &[]).unwrap().unwrap();
        assert!(!journal.is_under_way(&all, a).unwrap(), "it moves nothing");
        journal
            .finish(plan.id, Status::Done, &Ending::default(), at(0))
            .unwrap();
        let mut other = Journal::open(dir.path()).unwrap();
        other.begin("b", Action::Undo, "ann", at(0)).unwrap();
        assert!(journal.is_under_way(&all, a).unwrap());
        assert!(
            !journal.is_under_way(&["a", "c"], a).unwrap(),
            "another process of bots"
        );
        drop(other);
        assert!(
            !journal.is_under_way(&all, a).unwrap(),
            "what a dead process left"
        );
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let day = 24 * 60;
        let (dir, mut journal) = open();
        let mut since = |minute: u32, passed: Option<u32>| {
            let since = journal
                .clock_runs_since(at(minute), passed.map(|minutes| MINUTE * minutes))
                .unwrap();
            (at(0).until(since).as_secs() / 60) as u32
        };
        assert_eq!(since(100 * day, None), 100 * day, "nothing is known before");
        assert_eq!(since(100 * day + 10, Some(10)), 100 * day);
        assert_eq!(
            since(100 * day + 70, Some(10)),
            100 * day,
            "an hour is none"
        );
        // Set ahead, and back.
        assert_eq!(since(190 * day, Some(10)), 190 * day);
        assert_eq!(since(190 * day + 10, Some(10)), 190 * day);
        assert_eq!(
            since(101 * day, Some(10)),
            101 * day,
            "nothing is held up until then"
        );
        // Weeks of uptime under a pause are no leap; nor is a restart; weeks of absence may be.
        assert_eq!(since(131 * day, Some(30 * day)), 101 * day);
        assert_eq!(since(132 * day, None), 101 * day);
        assert_eq!(since(134 * day, None), 134 * day);
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        let again = journal.clock_runs_since(at(134 * day + 5), None).unwrap();
        assert_eq!(again, at(134 * day), "it is on disk");
    }

    #[test]
    fn a_resume_under_a_clock_that_was_ahead_excuses_nothing() {
        let (_dir, mut journal) = open();
        journal.resume("ann", at(60)).unwrap();
        assert_eq!(journal.resumed(at(59)).unwrap(), None);
        assert_eq!(journal.resumed(at(60)).unwrap(), Some(at(60)));
    }

    #[test]
    fn an_armed_run_waits_until_its_alert_is_over() {
        let (_dir, mut journal) = open();
        let id = accept(&mut journal, "a", Action::Cleanup, at(0));
        refuse(&mut journal, id, at(0));
        assert_eq!(journal.armed().unwrap().len(), 1);
        // Nudged once, not again while it waits, nor at once after it was refused.
        let again = journal.nudge("a", Action::Cleanup, at(1)).unwrap().unwrap();
        assert_eq!(journal.nudge("a", Action::Cleanup, at(10)).unwrap(), None);
        let run = journal.take(at(10), &[]).unwrap().unwrap();
        assert_eq!(
            (run.id, run.requested_by.to_string()),
            (again, "alert f".to_owned())
        );
        journal
            .finish(again, Status::Refused, &Ending::default(), at(10))
            .unwrap();
        assert_eq!(journal.nudge("a", Action::Cleanup, at(5)).unwrap(), None);
        assert!(
            journal
                .nudge("a", Action::Cleanup, at(7))
                .unwrap()
                .is_some()
        );
        assert_eq!(
            journal.nudge("a", Action::Emergency, at(7)).unwrap(),
            None,
            "that one is not armed"
        );
        // It is dropped by its own alert only.
        assert!(!journal.disarm("a", Action::Emergency).unwrap());
        assert!(journal.disarm("a", Action::Cleanup).unwrap());
        assert!(!journal.is_armed("a", Action::Cleanup).unwrap());
    }

    #[test]
    fn an_alert_that_is_not_repeated_is_forgotten() {
        let (_dir, mut journal) = open();
        let id = accept(&mut journal, "a", Action::Cleanup, at(0));
        refuse(&mut journal, id, at(0));
        assert_eq!(journal.disarm_forgotten(MINUTE * 60, at(59)).unwrap(), 0);
        journal
            .repeated(
                &[request("a", Action::Cleanup), request("b", Action::Cleanup)],
                at(59),
            )
            .unwrap();
        assert_eq!(journal.disarm_forgotten(MINUTE * 60, at(110)).unwrap(), 0);
        assert_eq!(journal.armed().unwrap()[0].since, at(0).rfc3339());
        assert_eq!(journal.disarm_forgotten(MINUTE * 60, at(120)).unwrap(), 1);
        // Dated far ahead by a wrong clock.
        let id = accept(&mut journal, "b", Action::Cleanup, at(9000));
        refuse(&mut journal, id, at(9000));
        assert_eq!(journal.disarm_forgotten(MINUTE * 60, at(120)).unwrap(), 1);
    }

    #[test]
    fn sessions_of_a_stopped_service_are_claimed_and_not_taken() {
        let (_dir, mut journal) = open();
        let a = accept(&mut journal, "a", Action::Cleanup, at(0));
        accept(&mut journal, "b", Action::Emergency, at(0));
        accept(&mut journal, "a", Action::Plan, at(0));
        let busy = ["a".to_owned(), "b".to_owned()];
        let taken = journal.take(at(0), &busy).unwrap().unwrap();
        assert_eq!(
            (taken.session.as_str(), taken.action),
            ("a", Action::Plan),
            "a plan stops nobody"
        );
        assert_eq!(journal.take(at(0), &busy).unwrap(), None);
        assert_eq!(
            journal.claim("a", at(0)).unwrap(),
            None,
            "something is under way there"
        );
        journal
            .finish(taken.id, Status::Done, &Ending::default(), at(0))
            .unwrap();
        assert_eq!(journal.claim("a", at(0)).unwrap().unwrap().id, a);
        assert_eq!(journal.claim("c", at(0)).unwrap(), None);
        assert_eq!(
            journal
                .take(at(0), &["a".to_owned()])
                .unwrap()
                .unwrap()
                .session,
            "b"
        );
    }

    /// The service is down for a run that had begun before.
    #[test]
    fn while_all_is_halted_no_other_run_begins_beside_one() {
        for breaker in [false, true] {
            let (dir, mut journal) = open();
            let armed = accept(&mut journal, "a", Action::Cleanup, at(0));
            refuse(&mut journal, armed, at(0));
            let queued = accept(&mut journal, "b", Action::Emergency, at(1));
            // Another process turns the switch.
            let mut other = Journal::open(dir.path()).unwrap();
            match breaker {
                false => other.pause("ann", "a release", at(1)).unwrap(),
                true => other.open_breaker("4 services", at(1)).unwrap(),
            }
            assert_eq!(
                journal.nudge("a", Action::Cleanup, at(2)).unwrap(),
                None,
                "breaker: {breaker}"
            );
            assert_eq!(
                journal.claim("b", at(2)).unwrap(),
                None,
                "breaker: {breaker}"
            );
            other.resume("ann", at(3)).unwrap();
            let nudged = journal.nudge("a", Action::Cleanup, at(3)).unwrap();
            assert_eq!(
                journal.claim("a", at(3)).unwrap().map(|run| run.id),
                nudged,
                "it had waited"
            );
            assert!(nudged.is_some());
            assert_eq!(journal.claim("b", at(3)).unwrap().unwrap().id, queued);
        }
    }

    #[test]
    fn switches_stay_until_a_person_turns_them() {
        let (dir, mut journal) = open();
        assert_eq!(journal.switches().unwrap(), Switches::default());
        journal.pause("ann", "new release", at(0)).unwrap();
        journal.open_breaker("4 services", at(1)).unwrap();
        journal.open_breaker("5 services", at(2)).unwrap();
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        let switches = journal.switches().unwrap();
        assert_eq!(switches.paused.unwrap().by, "ann");
        assert_eq!(
            switches.breaker.unwrap().reason,
            "4 services",
            "the first word stays"
        );
        assert!(journal.resumed(at(9)).unwrap().is_none());
        assert!(journal.resume("bob", at(3)).unwrap().paused.is_some());
        assert_eq!(journal.switches().unwrap(), Switches::default());
        assert_eq!(journal.resumed(at(9)).unwrap(), Some(at(3)));
    }

    #[test]
    fn a_start_that_has_failed_is_not_tried_again_under_a_pause() {
        let (_dir, mut journal) = open();
        journal
            .intend_stop("bots", &["a"], 1, false, at(0), |_, _, _, _| Ok(()))
            .unwrap()
            .unwrap();
        journal.pause("ann", "undo", at(1)).unwrap();
        for phase in [
            Phase::Stopping,
            Phase::Gone,
            Phase::Starting,
            Phase::Started,
        ] {
            journal.set_phase("bots", phase).unwrap();
            assert!(
                journal.may_start("bots").unwrap(),
                "{phase:?}: never left stopped by a pause"
            );
            // A stop that may still come is not forgotten.
            let noted = if phase == Phase::Stopping {
                phase
            } else {
                Phase::Starting
            };
            assert_eq!(journal.obligations().unwrap()[0].phase, noted);
        }
        journal.set_phase("bots", Phase::Failed).unwrap();
        assert!(!journal.may_start("bots").unwrap());
        assert_eq!(journal.obligations().unwrap()[0].phase, Phase::Failed);
        journal.resume("ann", at(2)).unwrap();
        assert!(journal.may_start("bots").unwrap());
        assert!(
            !journal.may_start("other").unwrap(),
            "nothing is owed there"
        );
    }

    #[test]
    fn who_is_not_back_is_named_with_its_run() {
        let (_dir, mut journal) = open();
        let a = accept(&mut journal, "a", Action::Emergency, at(0));
        let b = accept(&mut journal, "b", Action::Emergency, at(0));
        journal
            .intend_stop("bots", &["a", "b", "c"], a, false, at(0), |_, _, _, _| {
                Ok(())
            })
            .unwrap()
            .unwrap();
        journal.watch("bots", "b", b, at(0)).unwrap();
        let all = [
            ("a".to_owned(), a),
            ("b".to_owned(), b),
            ("c".to_owned(), a),
        ];
        assert_eq!(journal.watched("bots", at(0)).unwrap(), all);
        assert!(journal.not_back().unwrap().is_empty(), "watched only");
        journal.set_run(a, "20261123T201510Z-aaaaaa").unwrap();
        journal.set_run(b, "20261123T201510Z-bbbbbb").unwrap();
        for (session, run_id) in &all {
            journal
                .set_not_back("bots", session, *run_id, at(1))
                .unwrap();
            journal
                .set_not_back("bots", session, *run_id, at(2))
                .unwrap();
        }
        let late = journal.not_back().unwrap();
        let runs: Vec<_> = late
            .iter()
            .map(|late| (late.session.as_str(), late.run.as_deref()))
            .collect();
        let (of_a, of_b) = (
            Some("20261123T201510Z-aaaaaa"),
            Some("20261123T201510Z-bbbbbb"),
        );
        assert_eq!(
            runs,
            [("a", of_a), ("b", of_b), ("c", None)],
            "the run of a is none to undo for c"
        );
        assert!(
            late.iter()
                .all(|late| late.since == at(1).rfc3339() && late.stopped == at(0)),
            "{late:?}"
        );
        // Each comes back by itself, and not after a stop that is not meant.
        journal.clear_not_back("bots", "a", at(0)).unwrap();
        journal.clear_not_back("bots", "b", at(9)).unwrap();
        let late: Vec<_> = journal
            .not_back()
            .unwrap()
            .into_iter()
            .map(|late| late.session)
            .collect();
        assert_eq!(late, ["b", "c"]);
        assert_eq!(
            journal.watched("bots", at(0)).unwrap(),
            all,
            "the start is still owed"
        );
        // Stopped again for a: b goes on being late, c is watched anew.
        journal.fulfil("bots").unwrap();
        assert_eq!(journal.watched("bots", at(0)).unwrap(), all[1..]);
        let again = accept(&mut journal, "a", Action::Cleanup, at(5));
        journal
            .intend_stop(
                "bots",
                &["a", "c"],
                again,
                false,
                at(5),
                |_, _, _, _| Ok(()),
            )
            .unwrap()
            .unwrap();
        let both = [("a".to_owned(), again), ("c".to_owned(), again)];
        assert_eq!(journal.watched("bots", at(5)).unwrap(), both);
        let late: Vec<_> = journal
            .not_back()
            .unwrap()
            .into_iter()
            .map(|late| late.session)
            .collect();
        assert_eq!(late, ["b", "c"]);
        // Of whom no stop is known.
        journal.set_not_back("other", "x", 99, at(7)).unwrap();
        assert_eq!(journal.not_back().unwrap()[2].stopped, at(7));
    }
}
