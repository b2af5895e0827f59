//! The runs: what each has to do, its status, and its result.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection as Sqlite, OptionalExtension, params};

use super::super::requester::Requester;
use super::audit;
use super::clock::{Moment, Steady};
pub use super::run_record::{Action, Ending, Run, Status};
use super::run_record::{SELECT, read_run};
use super::{KEPT_FOR, Store, StoreError, atomic, counters::raise, session_status};

/// The tables of this module. Times with `steady_` are for limits, the others for a person to
/// read; see [`super::clock`]. `was_armed`: no alert has just asked for the run, it was armed.
pub(super) const SCHEMA: &str = "
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_ns INTEGER NOT NULL,
    created_steady_ns INTEGER NOT NULL,
    finished_ns INTEGER,
    finished_steady_ns INTEGER,
    session TEXT NOT NULL,
    action TEXT NOT NULL,
    tier TEXT,
    requested_by TEXT NOT NULL,
    fingerprint TEXT,
    starts_at TEXT,
    status TEXT NOT NULL,
    reason TEXT,
    detail TEXT,
    note TEXT,
    evidence TEXT,
    run TEXT,
    accumulated_before INTEGER,
    accumulated_after INTEGER,
    files TEXT,
    owner TEXT,
    was_armed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_session ON runs (session, action, status, finished_steady_ns);
CREATE INDEX runs_by_creation ON runs (session, action, status, created_steady_ns);
CREATE INDEX runs_by_status ON runs (status, id);
CREATE INDEX runs_by_name ON runs (run) WHERE run IS NOT NULL;
";

/// So many refused runs of a session are kept. A bot that stays connected above its tier adds one
/// with each repeat of its alert.
const REFUSED_KEPT: i64 = 1_000;

/// Runs that [`Runs::ended_since`] looks at, at most.
const MAX_ENDED: usize = 1_000;

/// What an earlier look at the runs has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsSeen {
    latest: i64,
    open: BTreeSet<i64>,
}

/// The table of the runs.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a>(pub(super) &'a Store);

impl Runs<'_> {
    /// Records an operator's run as under way; its number.
    pub fn begin(
        &self,
        session: &str,
        action: Action,
        operator: &str,
        now: impl Into<Moment>,
    ) -> Result<i64, StoreError> {
        let facts = serde_json::json!({"operator": operator});
        self.begin_by(
            session,
            action,
            &Requester::Operator(operator.to_owned()),
            &facts,
            now.into(),
        )
    }

    /// The same for a run that this program starts by itself; `why` is recorded.
    pub fn begin_own(
        &self,
        session: &str,
        action: Action,
        why: &str,
        now: impl Into<Moment>,
    ) -> Result<i64, StoreError> {
        let facts = serde_json::json!({"why": why});
        self.begin_by(
            session,
            action,
            &Requester::Serve(why.to_owned()),
            &facts,
            now.into(),
        )
    }

    fn begin_by(
        &self,
        session: &str,
        action: Action,
        by: &Requester,
        facts: &serde_json::Value,
        now: Moment,
    ) -> Result<i64, StoreError> {
        let by = by.to_string();
        atomic(&self.0.db, |tx| {
            let steady = Steady::mark(tx, now)?;
            tx.execute(
                "INSERT INTO runs (created_ns, created_steady_ns, session, action, requested_by, status, owner) VALUES (?1, ?2, ?3, ?4, ?5, 'running', ?6)",
                params![
                    now.wall.nanos(),
                    steady.nanos(),
                    session,
                    action.label(),
                    by,
                    self.0.process.name()
                ],
            )?;
            let id = tx.last_insert_rowid();
            audit::begun(tx, id, action, &by, facts, now.wall)?;
            Ok(id)
        })
    }

    /// Notes the name under which a run keeps its files, before the first one moves.
    pub fn set_name(&self, id: i64, run: &str) -> Result<(), StoreError> {
        self.0
            .db
            .execute("UPDATE runs SET run = ?2 WHERE id = ?1", params![id, run])?;
        Ok(())
    }

    /// Forgets the name of a run whose plan was dropped: there is nothing to undo.
    pub fn forget_name(&self, id: i64) -> Result<(), StoreError> {
        self.0
            .db
            .execute("UPDATE runs SET run = NULL WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Ends a run and raises the counters, in one transaction.
    pub fn finish(
        &self,
        id: i64,
        status: Status,
        ending: &Ending,
        now: impl Into<Moment>,
    ) -> Result<(), StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| {
            let steady = Steady::mark(tx, now)?;
            let action: Option<String> = tx
                .query_row(
                    "SELECT action FROM runs WHERE id = ?1 AND status = 'running'",
                    [id],
                    |row| row.get(0),
                )
                .optional()?;
            // It has ended already; nothing is counted twice.
            let Some(action) = action else { return Ok(()) };
            let files: BTreeMap<&str, usize> = ending
                .files
                .iter()
                .map(|(kind, count)| (kind.label(), *count))
                .collect();
            let files_json = serde_json::to_string(&files).unwrap_or_default();
            tx.execute(
            "UPDATE runs SET status = ?2, finished_ns = ?3, reason = ?4, detail = ?5, note = ?6, evidence = ?7,
             run = coalesce(?8, run), accumulated_before = ?9, accumulated_after = ?10, files = ?11,
             finished_steady_ns = ?12 WHERE id = ?1",
            params![
                id,
                status.label(),
                now.wall.nanos(),
                ending.reason,
                ending.detail,
                ending.note,
                ending.evidence,
                ending.run,
                ending.accumulated.map(|(before, _)| before as i64),
                ending.accumulated.map(|(_, after)| after as i64),
                files_json,
                steady.nanos(),
            ],
        )?;
            audit::ended(tx, id, status.label(), ending, now.wall)?;
            let raise = |name: &str, label: &str, by: u64| raise(tx, name, label, by);
            raise("runs", &action, 1)?;
            match status {
                Status::Failed => raise("failures", &action, 1)?,
                Status::Refused => raise("refusals", ending.reason.unwrap_or("other"), 1)?,
                _ => {}
            }
            match Action::from_label(&action) {
                Some(Action::Undo) => {
                    raise("restored", "", files.values().map(|n| *n as u64).sum())?
                }
                // Of a run that was refused they are what would have been moved.
                Some(Action::Cleanup | Action::Emergency) if status != Status::Refused => {
                    for (kind, count) in &files {
                        raise("moved", kind, *count as u64)?;
                    }
                }
                _ => {}
            }
            session_status::ended(tx, id)?;
            if status == Status::Refused {
                prune_refused(tx, id, REFUSED_KEPT)?;
            }
            Ok(())
        })
    }

    /// The runs that have ended since an earlier look, oldest first, at most `MAX_ENDED` of them; and
    /// what that look has seen: the latest run, and those up to it that had not ended. Without
    /// an earlier look, none.
    pub fn ended_since(&self, seen: Option<RunsSeen>) -> Result<(RunsSeen, Vec<Run>), StoreError> {
        let db = &self.0.db;
        let open = |from: i64, to: i64| -> Result<BTreeSet<i64>, StoreError> {
            let mut query = db.prepare_cached(
                "SELECT id FROM runs WHERE id > ?1 AND id <= ?2 AND status IN ('queued', 'running')",
            )?;
            let ids = query.query_map([from, to], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        };
        let Some(seen) = seen else {
            let latest: i64 = db.query_row("SELECT coalesce(max(id), 0) FROM runs", [], |row| {
                row.get(0)
            })?;
            let open = open(i64::MIN, latest)?;
            return Ok((RunsSeen { latest, open }, Vec::new()));
        };
        let waited = serde_json::to_string(&seen.open).unwrap_or_default();
        let select = format!(
            "{SELECT} WHERE id > ?1 OR id IN (SELECT value FROM json_each(?2)) ORDER BY id LIMIT {MAX_ENDED}"
        );
        let mut query = db.prepare_cached(&select)?;
        let runs = query.query_map(params![seen.latest, waited], read_run)?;
        let mut now = RunsSeen {
            latest: seen.latest,
            open: BTreeSet::new(),
        };
        let mut ended = Vec::new();
        let mut last = i64::MIN;
        for run in runs {
            let run = run?;
            last = run.id;
            now.latest = now.latest.max(run.id);
            match run.status {
                Status::Queued | Status::Running => drop(now.open.insert(run.id)),
                Status::Done | Status::Refused | Status::Failed => ended.push(run),
            }
        }
        // Where there were more, those that were not returned are looked at the next time.
        if ended.len() + now.open.len() >= MAX_ENDED {
            now.open.extend(seen.open.range(last.saturating_add(1)..));
        }
        Ok((now, ended))
    }

    /// Runs on record as under way whose process is gone. Those of this very process are
    /// among them: the caller knows which of them it is working on.
    pub fn orphans(&self) -> Result<Vec<Run>, StoreError> {
        let mut query = self
            .0
            .db
            .prepare(&format!("{SELECT} WHERE status = 'running'"))?;
        let runs: Vec<Run> = query.query_map([], read_run)?.collect::<Result<_, _>>()?;
        let process = &self.0.process;
        Ok(runs
            .into_iter()
            .filter(|run| process.is_own(&run.owner) || !process.is_alive(&run.owner))
            .collect())
    }

    /// Whether a run that moves files is under way on one of these sessions, beside this one.
    /// What a dead process left is not under way.
    pub fn is_under_way(&self, sessions: &[&str], beside: i64) -> Result<bool, StoreError> {
        let mut query = self.0.db.prepare_cached(
            "SELECT coalesce(owner, '') FROM runs WHERE status = 'running' AND action != 'plan'
             AND id != ?1 AND session IN (SELECT value FROM json_each(?2))",
        )?;
        let sessions = serde_json::to_string(sessions).unwrap_or_default();
        let owners = query.query_map(params![beside, sessions], |row| row.get::<_, String>(0))?;
        for owner in owners {
            if self.0.process.is_alive(&owner?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Of the session of this run, forgets the oldest refused runs beyond so many. What files they
/// planned is deleted with the rows of other deleted runs.
fn prune_refused(db: &Sqlite, id: i64, kept: i64) -> Result<(), rusqlite::Error> {
    let mut query = db.prepare_cached(
        "DELETE FROM runs WHERE id IN
         (SELECT id FROM runs WHERE session = (SELECT session FROM runs WHERE id = ?1)
          AND action IN ('cleanup', 'emergency', 'plan', 'undo', 'restore') AND status = 'refused'
          ORDER BY id DESC LIMIT -1 OFFSET ?2)",
    )?;
    query.execute([id, kept])?;
    Ok(())
}

/// Forgets runs that ended long ago, by both clocks.
pub(super) fn prune(db: &Sqlite, now: Moment) -> Result<(), rusqlite::Error> {
    let steady = Steady::at(db, now)?;
    db.execute(
        "DELETE FROM runs WHERE finished_ns IS NOT NULL AND finished_ns < ?1 AND finished_steady_ns < ?2",
        [now.wall.minus(KEPT_FOR).nanos(), steady.minus(KEPT_FOR).nanos()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
