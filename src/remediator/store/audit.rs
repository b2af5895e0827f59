//! The audit trail of a run: every step with its time, the evidence, the plan, and each file
//! by kind and inode (never by name: names hold telephone numbers).
//!
//! Steps are written in the transaction of what they describe, so a crash leaves what is
//! known up to then.

use std::time::{Duration, UNIX_EPOCH};

use rusqlite::{Connection as Sqlite, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Value, json};

use crate::folder::Timestamp;

use super::request::Request;
use super::run_record::{Action, Ending, Run, SELECT, Status, read_run};
pub use super::run_record::{Fate, FileRecord, Step};
use super::{Store, StoreError, atomic};

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE run_steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    step TEXT NOT NULL,
    detail TEXT,
    facts TEXT
);
CREATE INDEX run_steps_by_run ON run_steps (run_id, id);
CREATE TABLE run_files (
    run_id INTEGER NOT NULL,
    nr INTEGER NOT NULL,
    kind TEXT NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    fate TEXT NOT NULL,
    PRIMARY KEY (run_id, nr)
) WITHOUT ROWID;
";

/// Rows of one kind of detail that are kept at the most; the oldest runs lose theirs first.
const MAX_ROWS: i64 = 500_000;

/// Which run is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunKey {
    /// The journal's number.
    Id(i64),
    /// The name of the run in its quarantine.
    Name(String),
}

/// Which runs are listed: all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only those of this session.
    pub session: Option<String>,
    /// Only those with this status.
    pub status: Option<Status>,
}

/// A run with all that is known of it: the shape of `runs show --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunDetails {
    /// What `runs` lists.
    #[serde(flatten)]
    pub run: Run,
    /// What was done, in order.
    pub steps: Vec<StepShown>,
    /// Each file of the plan.
    pub moves: Vec<FileShown>,
    /// Other runs on record about the same quarantined files: a clean-up and its undos.
    pub related: Vec<i64>,
}

/// A step, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepShown {
    /// When, RFC 3339 with milliseconds.
    pub at: String,
    /// Its name in the database and in outputs.
    pub step: String,
    /// A sentence.
    pub detail: Option<String>,
    /// The verdict, the plan, or who asked.
    pub facts: Option<Value>,
}

/// A file, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileShown {
    /// Its kind.
    pub kind: String,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified, RFC 3339 with milliseconds.
    pub modified: String,
    /// What became of it.
    pub fate: String,
}

/// What is on record of the runs, beside their outcome.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a>(pub(super) &'a Store);

impl Audit<'_> {
    /// Records, before the first file moves, the name under which the run keeps its files,
    /// the steps so far, and the files that are to go.
    pub fn set_plan(
        &self,
        id: i64,
        run: &str,
        steps: &[Step],
        files: &[FileRecord],
    ) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            tx.execute("UPDATE runs SET run = ?2 WHERE id = ?1", params![id, run])?;
            write_steps(tx, id, steps)?;
            write_files(tx, id, files)?;
            Ok(())
        })
    }

    /// Records steps.
    pub fn note(&self, id: i64, steps: &[Step]) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            write_steps(tx, id, steps)?;
            Ok(())
        })
    }

    /// No file of this run was moved: the run has no quarantine.
    pub fn planned_are_left(&self, id: i64) -> Result<(), StoreError> {
        self.0.db.execute(
            "UPDATE run_files SET fate = ?2 WHERE run_id = ?1 AND fate = ?3",
            params![id, Fate::Left.label(), Fate::Planned.label()],
        )?;
        Ok(())
    }

    /// The retention of a run has ended and its files were deleted.
    pub fn files_deleted(&self, run: &str, now: Timestamp) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            let ids: Vec<i64> = tx
                .prepare("SELECT id FROM runs WHERE run = ?1")?
                .query_map([run], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in ids {
                let held = [Fate::Moved.label(), Fate::Blocked.label()];
                let deleted = tx.execute(
                    "UPDATE run_files SET fate = 'deleted' WHERE run_id = ?1 AND fate IN (?2, ?3)",
                    params![id, held[0], held[1]],
                )?;
                if deleted > 0 {
                    let detail = format!("the retention has ended; {deleted} files were deleted");
                    write_steps(tx, id, &[Step::new(now, "deleted", Some(detail))])?;
                }
            }
            Ok(())
        })
    }

    /// Runs that wait or are under way, oldest first.
    pub fn waiting(&self, limit: u32) -> Result<Vec<Run>, StoreError> {
        let mut query = self.0.db.prepare(&format!(
            "{SELECT} WHERE status IN ('queued','running') ORDER BY id LIMIT ?1"
        ))?;
        let runs = query
            .query_map([limit], read_run)?
            .collect::<Result<_, _>>()?;
        Ok(runs)
    }

    /// The newest runs, newest first.
    pub fn recent(&self, limit: u32) -> Result<Vec<Run>, StoreError> {
        self.matching(&RunFilter::default(), limit)
    }

    /// The newest runs that match, newest first.
    pub fn matching(&self, filter: &RunFilter, limit: u32) -> Result<Vec<Run>, StoreError> {
        let mut query = self.0.db.prepare(&format!(
            "{SELECT} WHERE (?2 IS NULL OR session = ?2) AND (?3 IS NULL OR status = ?3)
             ORDER BY id DESC LIMIT ?1"
        ))?;
        let status = filter.status.map(Status::label);
        let runs = query
            .query_map(params![limit, filter.session, status], read_run)?
            .collect::<Result<_, _>>()?;
        Ok(runs)
    }

    /// The session of the newest clean-up of this name.
    pub fn session_of(&self, run: &str) -> Result<Option<String>, StoreError> {
        let mut query = self.0.db.prepare(
            "SELECT session FROM runs WHERE run = ?1 AND action IN ('cleanup','emergency') ORDER BY id DESC LIMIT 1",
        )?;
        Ok(query.query_row([run], |row| row.get(0)).optional()?)
    }

    /// All that is on record of a run. A name stands for the clean-up that has it.
    pub fn show(&self, wanted: &RunKey) -> Result<Option<RunDetails>, StoreError> {
        let run = match wanted {
            RunKey::Id(id) => self
                .0
                .db
                .query_row(&format!("{SELECT} WHERE id = ?1"), [id], read_run)
                .optional()?,
            RunKey::Name(name) => self
                .0
                .db
                .query_row(
                    &format!("{SELECT} WHERE run = ?1 ORDER BY action = 'undo', id DESC LIMIT 1"),
                    [name],
                    read_run,
                )
                .optional()?,
        };
        let Some(run) = run else { return Ok(None) };
        let steps = self
            .0
            .db
            .prepare(
                "SELECT at_ns, step, detail, facts FROM run_steps WHERE run_id = ?1 ORDER BY id",
            )?
            .query_map([run.id], read_step)?
            .collect::<Result<_, _>>()?;
        let moves = self
            .0
            .db
            .prepare(
                "SELECT kind, inode, size, modified_ns, fate FROM run_files WHERE run_id = ?1 ORDER BY nr",
            )?
            .query_map([run.id], read_file)?
            .collect::<Result<_, _>>()?;
        let related = self
            .0
            .db
            .prepare("SELECT id FROM runs WHERE run = ?1 AND id != ?2 ORDER BY id")?
            .query_map(params![run.run, run.id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(Some(RunDetails {
            run,
            steps,
            moves,
            related,
        }))
    }
}

fn read_step(row: &Row<'_>) -> Result<StepShown, rusqlite::Error> {
    let facts: Option<String> = row.get(3)?;
    Ok(StepShown {
        at: to_the_millisecond(row.get(0)?),
        step: row.get(1)?,
        detail: row.get(2)?,
        facts: facts.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

fn read_file(row: &Row<'_>) -> Result<FileShown, rusqlite::Error> {
    Ok(FileShown {
        kind: row.get(0)?,
        inode: row.get::<_, i64>(1)? as u64,
        size: row.get::<_, i64>(2)?.max(0) as u64,
        modified: to_the_millisecond(row.get(3)?),
        fate: row.get(4)?,
    })
}

/// RFC 3339 with milliseconds, where the format can hold it.
fn to_the_millisecond(nanos: i64) -> String {
    match u64::try_from(nanos) {
        Ok(nanos) => {
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string()
        }
        Err(_) => Timestamp::from_nanos(nanos).rfc3339(),
    }
}

/// The first step of a run that an alert asked for.
pub(super) fn accepted(
    db: &Sqlite,
    id: i64,
    request: &Request,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    let facts = json!({
        "fingerprint": request.fingerprint,
        "starts_at": request.starts_at,
        "tier": request.tier,
        "receiver": request.via.receiver,
        "group_key": request.via.group_key,
    });
    let detail = format!(
        "alert {}, receiver {}",
        request.fingerprint, request.via.receiver
    );
    let step = Step {
        at: now,
        step: "accepted",
        detail: Some(detail),
        facts: Some(facts),
    };
    write_steps(db, id, &[step])
}

pub(super) fn write_steps(db: &Sqlite, id: i64, steps: &[Step]) -> Result<(), rusqlite::Error> {
    let mut insert = db.prepare_cached(
        "INSERT INTO run_steps (run_id, at_ns, step, detail, facts) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for step in steps {
        let facts = step.facts.as_ref().map(Value::to_string);
        insert.execute(params![id, step.at.nanos(), step.step, step.detail, facts])?;
    }
    Ok(())
}

/// Writes the files of a run, in the place of what was known of them.
fn write_files(db: &Sqlite, id: i64, files: &[FileRecord]) -> Result<(), rusqlite::Error> {
    db.execute("DELETE FROM run_files WHERE run_id = ?1", [id])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO run_files (run_id, nr, kind, inode, size, modified_ns, fate) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (nr, file) in files.iter().enumerate() {
        insert.execute(params![
            id,
            nr as i64,
            file.kind,
            file.inode as i64,
            file.size as i64,
            file.modified.nanos(),
            file.fate.label(),
        ])?;
    }
    Ok(())
}

/// The last step of a run, with what became of its files.
pub(super) fn ended(
    db: &Sqlite,
    id: i64,
    status: &'static str,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    write_steps(db, id, &ending.steps)?;
    if !ending.moves.is_empty() {
        write_files(db, id, &ending.moves)?;
    }
    let detail = match (&ending.reason, &ending.detail) {
        (Some(reason), Some(detail)) => Some(format!("{reason}: {detail}")),
        (reason, detail) => detail.clone().or(reason.map(str::to_owned)),
    };
    write_steps(
        db,
        id,
        &[Step {
            at: now,
            step: status,
            detail,
            facts: None,
        }],
    )
}

/// The first step of a run that a person asked for.
pub(super) fn begun(
    db: &Sqlite,
    id: i64,
    action: Action,
    by: &str,
    facts: &Value,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    let detail = format!("{} by {by}", action.label());
    let facts = Some(facts.clone());
    write_steps(
        db,
        id,
        &[Step {
            at: now,
            step: "accepted",
            detail: Some(detail),
            facts,
        }],
    )
}

/// Deletes the rows of runs that were deleted, and those of the oldest runs beyond the limit.
pub(super) fn prune(db: &Sqlite) -> Result<(), rusqlite::Error> {
    prune_to(db, MAX_ROWS)
}

fn prune_to(db: &Sqlite, rows: i64) -> Result<(), rusqlite::Error> {
    for table in ["run_steps", "run_files"] {
        db.execute(
            &format!("DELETE FROM {table} WHERE run_id NOT IN (SELECT id FROM runs)"),
            [],
        )?;
        // The newest run whose rows, with those of all newer ones, are too many.
        let too_many: Option<i64> = db
            .query_row(
                &format!(
                    "SELECT run_id FROM (SELECT run_id, sum(count(*)) OVER (ORDER BY run_id DESC) AS total
                     FROM {table} GROUP BY run_id) WHERE total > ?1 ORDER BY run_id DESC LIMIT 1"
                ),
                [rows],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(run) = too_many {
            db.execute(
                &format!(
                    "DELETE FROM {table} WHERE run_id <= ?1 AND run_id IN
                     (SELECT id FROM runs WHERE status NOT IN ('queued','running'))"
                ),
                [run],
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
