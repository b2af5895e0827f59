//! The runs: what each was to do, where it stands, and what it came to.

use std::collections::BTreeMap;

use rusqlite::{Connection as Sqlite, OptionalExtension, Row, params};
use serde::Serialize;

use crate::folder::{Kind, Timestamp};

use super::super::requester::Requester;
use super::audit::{self, FileRecord, Step};
use super::clock::{Moment, Steady};
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
CREATE INDEX runs_by_status ON runs (status, id);
CREATE INDEX runs_by_name ON runs (run) WHERE run IS NOT NULL;
";

/// What a run is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Compute and record a plan; move nothing.
    Plan,
    /// Clean up under guard.
    Cleanup,
    /// Clean up under guard, asked for by the emergency tier.
    Emergency,
    /// Put the files of a run back.
    Undo,
    /// Put a copy of creds.json back.
    Restore,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 5] = [
        Action::Plan,
        Action::Cleanup,
        Action::Emergency,
        Action::Undo,
        Action::Restore,
    ];

    /// Value of the label `action`.
    pub const fn label(self) -> &'static str {
        match self {
            Action::Plan => "plan",
            Action::Cleanup => "cleanup",
            Action::Emergency => "emergency",
            Action::Undo => "undo",
            Action::Restore => "restore",
        }
    }

    pub(super) fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.label() == label)
    }

    /// The actions after which this one has a cooldown: both kinds of clean-up, and an undo,
    /// because a person does not want this session cleaned again at once. An emergency has
    /// none after a clean-up: that one left too much, or much has come since.
    pub(super) fn cooled_by(self) -> &'static str {
        match self {
            Action::Plan => "('plan')",
            Action::Restore => "('restore')",
            Action::Emergency => "('emergency','undo')",
            Action::Cleanup | Action::Undo => "('cleanup','emergency','undo')",
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, waits.
    Queued,
    /// Under way.
    Running,
    /// Did what it was to do.
    Done,
    /// The guards said no.
    Refused,
    /// Something broke.
    Failed,
}

impl Status {
    /// Its name in the database and in outputs.
    pub const fn label(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Done => "done",
            Status::Refused => "refused",
            Status::Failed => "failed",
        }
    }

    pub(super) fn from_label(label: &str) -> Option<Self> {
        [
            Status::Queued,
            Status::Running,
            Status::Done,
            Status::Refused,
            Status::Failed,
        ]
        .into_iter()
        .find(|status| status.label() == label)
    }
}

/// A run on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Number in the journal.
    pub id: i64,
    /// When it was asked for, RFC 3339.
    pub created: String,
    #[serde(skip)]
    /// The same, as a point in time.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished: Option<String>,
    /// The session.
    pub session: String,
    /// What it was to do.
    pub action: Action,
    /// The alert's tier; none for an operator's command.
    pub tier: Option<String>,
    /// Who asked.
    pub requested_by: Requester,
    /// Where it stands.
    pub status: Status,
    /// The reason in one word, for a refusal or failure.
    pub reason: Option<String>,
    /// The reason in a sentence.
    pub detail: Option<String>,
    /// Something else worth knowing, e.g. `restart not allowed by the configuration`.
    pub note: Option<String>,
    /// What the verdict on the connection rested on.
    pub evidence: Option<String>,
    /// Name of the run in the folder's quarantine; what `undo` takes.
    pub run: Option<String>,
    /// Accumulated files before.
    pub accumulated_before: Option<i64>,
    /// Accumulated files after.
    pub accumulated_after: Option<i64>,
    /// Files moved (or, for a plan, that would be), by kind.
    pub files: BTreeMap<String, u64>,
    #[serde(skip)]
    /// The lock file of the process that took it.
    pub owner: String,
}

impl Run {
    /// Number of files moved (or, for a plan, that would be).
    pub fn moved(&self) -> u64 {
        self.files.values().sum()
    }

    /// The reason, else the note, else a dash.
    pub fn cause(&self) -> &str {
        self.reason
            .as_deref()
            .or(self.note.as_deref())
            .unwrap_or("-")
    }

    /// The accumulated files before and after, with `arrow` between them; else a dash.
    pub fn accumulated(&self, arrow: &str) -> String {
        match (self.accumulated_before, self.accumulated_after) {
            (Some(before), Some(after)) => format!("{before} {arrow} {after}"),
            _ => "-".to_owned(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The reason in one word.
    pub reason: Option<&'static str>,
    /// The reason in a sentence.
    pub detail: Option<String>,
    /// Something else worth knowing.
    pub note: Option<String>,
    /// What the verdict rested on.
    pub evidence: Option<String>,
    /// Name in the quarantine.
    pub run: Option<String>,
    /// Accumulated files before and after.
    pub accumulated: Option<(usize, usize)>,
    /// Files by kind.
    pub files: BTreeMap<Kind, usize>,
    /// Steps that are not on record yet.
    pub steps: Vec<Step>,
    /// What became of each file of the plan; empty where nothing new is known of them.
    pub moves: Vec<FileRecord>,
}

impl Ending {
    /// Notes a step; it is written with the next step of the journal, or with the end.
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }
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
            Ok(())
        })
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

/// Forgets runs that ended long ago, by both clocks.
pub(super) fn prune(db: &Sqlite, now: Moment) -> Result<(), rusqlite::Error> {
    let steady = Steady::at(db, now)?;
    db.execute(
        "DELETE FROM runs WHERE finished_ns IS NOT NULL AND finished_ns < ?1 AND finished_steady_ns < ?2",
        [now.wall.minus(KEPT_FOR).nanos(), steady.minus(KEPT_FOR).nanos()],
    )?;
    Ok(())
}

pub(super) const SELECT: &str =
    "SELECT id, created_ns, finished_ns, session, action, tier, requested_by, status, reason,
    detail, note, evidence, run, accumulated_before, accumulated_after, files, owner FROM runs";

pub(super) fn read_run(row: &Row<'_>) -> Result<Run, rusqlite::Error> {
    let time = |nanos: i64| Timestamp::from_nanos(nanos).rfc3339();
    let action: String = row.get(4)?;
    let status: String = row.get(7)?;
    let files: Option<String> = row.get(15)?;
    Ok(Run {
        id: row.get(0)?,
        created: time(row.get(1)?),
        created_at: Timestamp::from_nanos(row.get(1)?),
        finished: row.get::<_, Option<i64>>(2)?.map(time),
        session: row.get(3)?,
        action: Action::from_label(&action).ok_or(rusqlite::Error::InvalidQuery)?,
        tier: row.get(5)?,
        requested_by: Requester::parse(&row.get::<_, String>(6)?),
        status: Status::from_label(&status).ok_or(rusqlite::Error::InvalidQuery)?,
        reason: row.get(8)?,
        detail: row.get(9)?,
        note: row.get(10)?,
        evidence: row.get(11)?,
        run: row.get(12)?,
        accumulated_before: row.get(13)?,
        accumulated_after: row.get(14)?,
        files: files
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
        owner: row.get::<_, Option<String>>(16)?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
