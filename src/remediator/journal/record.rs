//! What the journal holds of a run beside its outcome: every step with its time, the
//! evidence, the plan, and each file by kind and inode (never by name: names hold
//! telephone numbers). Also what alerts asked for in vain.
//!
//! Steps are written with the journal's own steps, in the same transaction, so that a
//! crash leaves what is known up to then.

use std::time::{Duration, UNIX_EPOCH};

use rusqlite::{Connection as Sqlite, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Value, json};

use crate::connection::Verdict;
use crate::folder::Timestamp;
use crate::policy::Plan;

use super::super::quarantine::{At, Whereabouts};
use super::{
    Accepted, Action, Ending, Journal, JournalError, KEPT_FOR, Request, Run, SELECT, read_run,
};

/// Tables of this module; of schema 3.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS run_steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    step TEXT NOT NULL,
    detail TEXT,
    facts TEXT
);
CREATE INDEX IF NOT EXISTS run_steps_by_run ON run_steps (run_id, id);
CREATE TABLE IF NOT EXISTS run_files (
    run_id INTEGER NOT NULL,
    nr INTEGER NOT NULL,
    kind TEXT NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    fate TEXT NOT NULL,
    PRIMARY KEY (run_id, nr)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_by_name ON runs (run) WHERE run IS NOT NULL;
CREATE TABLE IF NOT EXISTS passed_over (
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

/// Rows of one kind of detail that are kept at the most; the oldest runs lose theirs first.
const MAX_ROWS: i64 = 500_000;
/// Alerts asked in vain that are kept apart.
const MAX_PASSED_OVER: i64 = 10_000;

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The word for it.
    pub step: &'static str,
    /// A sentence, where there is more to say.
    pub detail: Option<String>,
    /// What a program reads: the verdict, the plan, who asked.
    pub facts: Option<Value>,
}

impl Step {
    /// A step, now.
    pub fn new(step: &'static str, detail: Option<String>) -> Self {
        Self {
            at: Timestamp::now(),
            step,
            detail,
            facts: None,
        }
    }

    /// The bot's connection was asked for; `again` for the second time.
    pub fn verdict(verdict: &Verdict, again: bool) -> Self {
        let sources = verdict.evidence.iter().map(|evidence| {
            json!({"source": evidence.source, "finding": evidence.finding.label(), "detail": evidence.detail})
        });
        let facts = json!({
            "connection": verdict.state.label(),
            "process_gone": verdict.process_gone,
            "sources": sources.collect::<Vec<_>>(),
        });
        let step = if again { "asked_again" } else { "asked" };
        Self {
            facts: Some(facts),
            ..Self::new(step, Some(verdict.state.label().to_owned()))
        }
    }

    /// A plan was made.
    pub fn plan(plan: &Plan) -> Self {
        let kinds = plan.by_kind();
        let files: serde_json::Map<_, _> = kinds
            .iter()
            .map(|(kind, count)| (kind.label().to_owned(), (*count).into()))
            .collect();
        let detail = format!(
            "{} files, {} accumulated before, {} after, {} pre-keys left",
            plan.moves.len(),
            plan.accumulated_before,
            plan.accumulated_after,
            plan.pre_keys_left
        );
        let facts = json!({
            "mode": plan.mode.label(),
            "files": files,
            "accumulated_before": plan.accumulated_before,
            "accumulated_after": plan.accumulated_after,
            "pre_keys_left": plan.pre_keys_left,
        });
        Self {
            facts: Some(facts),
            ..Self::new("planned", Some(detail))
        }
    }
}

/// What became of a file of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was to be moved; nothing says yet that it was.
    Planned,
    /// It is in the quarantine.
    Moved,
    /// It stayed where it was.
    Left,
    /// It was moved, and put back in the same run.
    PutBack,
    /// An undo put it back.
    Restored,
    /// An undo left it in the quarantine: the folder has a newer one of its name.
    Blocked,
    /// It is neither in the quarantine nor, as it was, in the folder.
    Missing,
}

impl Fate {
    /// The word for it. `deleted` is another one: the retention has ended.
    pub const fn label(self) -> &'static str {
        match self {
            Fate::Planned => "planned",
            Fate::Moved => "moved",
            Fate::Left => "left",
            Fate::PutBack => "put_back",
            Fate::Restored => "restored",
            Fate::Blocked => "blocked",
            Fate::Missing => "missing",
        }
    }
}

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Its kind.
    pub kind: &'static str,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified.
    pub modified: Timestamp,
    /// What became of it.
    pub fate: Fate,
}

impl FileRecord {
    /// The files of a plan, before anything moved.
    pub fn planned(plan: &Plan) -> Vec<Self> {
        let record = |planned: &crate::policy::guard::Move| Self {
            kind: planned.kind().label(),
            inode: planned.stamp.inode,
            size: planned.stamp.size,
            modified: planned.stamp.modified,
            fate: Fate::Planned,
        };
        plan.moves.iter().map(record).collect()
    }

    /// The files of a run by where they are now.
    pub fn found(files: &[Whereabouts], in_quarantine: Fate, in_folder: Fate) -> Vec<Self> {
        let record = |file: &Whereabouts| Self {
            kind: file.kind.label(),
            inode: file.inode,
            size: file.size,
            modified: file.modified,
            fate: match file.at {
                At::Quarantine => in_quarantine,
                At::Folder => in_folder,
                At::Nowhere => Fate::Missing,
            },
        };
        files.iter().map(record).collect()
    }
}

/// Which run is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The journal's number.
    Id(i64),
    /// The name of the run in its quarantine.
    Name(String),
}

/// A run with all that is known of it: the shape of `runs show --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
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
    /// The word for it.
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

/// Alerts that asked for a run and started none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The session that was named.
    pub session: String,
    /// What was asked for.
    pub action: String,
    /// Why there was no run: `in_progress`, `cooldown`, `retry_later`, `unknown_session`.
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

impl Ending {
    /// Notes a step; it is written with the next step of the journal, or with the end.
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }
}

impl Journal {
    /// Puts on record, before the first file moves: under which name the run keeps its
    /// files, what was found out so far, and which files are to go.
    pub fn set_plan(
        &mut self,
        id: i64,
        run: &str,
        steps: &[Step],
        files: &[FileRecord],
    ) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute("UPDATE runs SET run = ?2 WHERE id = ?1", params![id, run])?;
        write_steps(&tx, id, steps)?;
        write_files(&tx, id, files)?;
        tx.commit()?;
        Ok(())
    }

    /// Puts steps on record.
    pub fn note(&mut self, id: i64, steps: &[Step]) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        write_steps(&tx, id, steps)?;
        tx.commit()?;
        Ok(())
    }

    /// No file of this run was moved, for the run has no quarantine.
    pub fn planned_are_left(&mut self, id: i64) -> Result<(), JournalError> {
        self.db.execute(
            "UPDATE run_files SET fate = ?2 WHERE run_id = ?1 AND fate = ?3",
            params![id, Fate::Left.label(), Fate::Planned.label()],
        )?;
        Ok(())
    }

    /// The retention of a run has ended and its files are deleted.
    pub fn files_deleted(&mut self, run: &str, now: Timestamp) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
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
                write_steps(
                    &tx,
                    id,
                    &[Step {
                        at: now,
                        ..Step::new("deleted", Some(detail))
                    }],
                )?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    /// Puts an alert on record that names no session of this host.
    pub fn pass_over(&mut self, requests: &[Request], now: Timestamp) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for request in requests {
            pass_over(&tx, request, "unknown_session", now)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// What alerts asked for in vain, newest first.
    pub fn passed_over(&self, limit: u32) -> Result<Vec<PassedOver>, JournalError> {
        let mut query = self.db.prepare(
            "SELECT session, action, outcome, fingerprint, first_ns, last_ns, times FROM passed_over
             ORDER BY last_ns DESC LIMIT ?1",
        )?;
        let rows = query.query_map([limit], |row| {
            let time = |nanos: i64| Timestamp::from_nanos(nanos).rfc3339();
            Ok(PassedOver {
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

    /// Runs that wait or are under way, oldest first.
    pub fn waiting(&self, limit: u32) -> Result<Vec<Run>, JournalError> {
        let mut query = self.db.prepare(&format!(
            "{SELECT} WHERE status IN ('queued','running') ORDER BY id LIMIT ?1"
        ))?;
        let runs = query
            .query_map([limit], read_run)?
            .collect::<Result<_, _>>()?;
        Ok(runs)
    }

    /// All that is on record of a run. A name stands for the clean-up that has it.
    pub fn show(&self, wanted: &Wanted) -> Result<Option<Record>, JournalError> {
        let run = match wanted {
            Wanted::Id(id) => self
                .db
                .query_row(&format!("{SELECT} WHERE id = ?1"), [id], read_run)
                .optional()?,
            Wanted::Name(name) => self
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
            .db
            .prepare(
                "SELECT at_ns, step, detail, facts FROM run_steps WHERE run_id = ?1 ORDER BY id",
            )?
            .query_map([run.id], read_step)?
            .collect::<Result<_, _>>()?;
        let moves = self
            .db
            .prepare(
                "SELECT kind, inode, size, modified_ns, fate FROM run_files WHERE run_id = ?1 ORDER BY nr",
            )?
            .query_map([run.id], read_file)?
            .collect::<Result<_, _>>()?;
        let related = self
            .db
            .prepare("SELECT id FROM runs WHERE run = ?1 AND id != ?2 ORDER BY id")?
            .query_map(params![run.run, run.id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(Some(Record {
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

/// Writes the first step of a run that an alert asked for, or counts an alert that
/// started none.
pub(super) fn accepted(
    db: &Sqlite,
    request: &Request,
    accepted: Accepted,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    let outcome = match accepted {
        Accepted::Queued(id) => {
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
            return write_steps(db, id, &[step]);
        }
        Accepted::InProgress => "in_progress",
        Accepted::Cooldown => "cooldown",
        Accepted::RetryLater => "retry_later",
    };
    pass_over(db, request, outcome, now)
}

fn pass_over(
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
        "INSERT INTO passed_over (session, action, outcome, fingerprint, first_ns, last_ns, times)
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

/// Drops what belongs to no run any more, and of the oldest runs what is too much.
pub(super) fn prune(db: &Sqlite, now: Timestamp) -> Result<(), rusqlite::Error> {
    prune_to(db, now, MAX_ROWS, MAX_PASSED_OVER)
}

fn prune_to(
    db: &Sqlite,
    now: Timestamp,
    rows: i64,
    passed_over: i64,
) -> Result<(), rusqlite::Error> {
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
    db.execute(
        "DELETE FROM passed_over WHERE last_ns < ?1",
        [now.minus(KEPT_FOR).nanos()],
    )?;
    db.execute(
        "DELETE FROM passed_over WHERE last_ns < (SELECT last_ns FROM passed_over ORDER BY last_ns DESC LIMIT 1 OFFSET ?1)",
        [passed_over],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Status, Via};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + seconds)
    }

    fn request(session: &str) -> Request {
        Request {
            session: session.into(),
            action: Action::Cleanup,
            tier: "cleanup".into(),
            fingerprint: "f00".into(),
            starts_at: "t1".into(),
            via: Via {
                receiver: "hook".into(),
                group_key: "{}:{}".into(),
            },
        }
    }

    fn files(count: u64) -> Vec<FileRecord> {
        let file = |inode| FileRecord {
            kind: "session",
            inode,
            size: 7,
            modified: at(-100),
            fate: Fate::Planned,
        };
        (1..=count).map(file).collect()
    }

    fn open() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        (dir, journal)
    }

    #[test]
    fn a_run_is_told_step_by_step() {
        let (_dir, mut journal) = open();
        journal.accept(&[request("a")], at(0)).unwrap();
        let run = journal.take(at(1), &[]).unwrap().unwrap();
        let step = |step, seconds| Step {
            at: at(seconds),
            ..Step::new(step, None)
        };
        journal
            .set_plan(
                run.id,
                "20261123T201510Z-4f2a91",
                &[step("locked", 2)],
                &files(2),
            )
            .unwrap();
        let moved = files(2)
            .into_iter()
            .map(|file| FileRecord {
                fate: Fate::Moved,
                ..file
            })
            .collect();
        let ending = Ending {
            steps: vec![step("moved", 3)],
            moves: moved,
            ..Ending::default()
        };
        journal
            .finish(run.id, Status::Done, &ending, at(4))
            .unwrap();
        let undo = journal.begin("a", Action::Undo, "somebody", at(5)).unwrap();
        journal.set_run(undo, "20261123T201510Z-4f2a91").unwrap();

        let shown = journal
            .show(&Wanted::Name("20261123T201510Z-4f2a91".into()))
            .unwrap()
            .unwrap();
        assert_eq!(
            shown,
            journal.show(&Wanted::Id(run.id)).unwrap().unwrap(),
            "the clean-up, not its undo"
        );
        let steps: Vec<&str> = shown.steps.iter().map(|step| step.step.as_str()).collect();
        assert_eq!(steps, ["accepted", "begun", "locked", "moved", "done"]);
        assert_eq!(shown.steps[0].facts.as_ref().unwrap()["receiver"], "hook");
        assert!(shown.steps.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert_eq!(
            shown
                .moves
                .iter()
                .map(|file| (file.inode, file.fate.as_str()))
                .collect::<Vec<_>>(),
            [(1, "moved"), (2, "moved")]
        );
        assert_eq!(shown.related, [undo]);
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(
            (json["id"].as_i64(), json["status"].as_str()),
            (Some(run.id), Some("done"))
        );
        assert_eq!(journal.show(&Wanted::Id(99)).unwrap(), None);

        journal
            .files_deleted("20261123T201510Z-4f2a91", at(9))
            .unwrap();
        let shown = journal.show(&Wanted::Id(run.id)).unwrap().unwrap();
        assert!(shown.moves.iter().all(|file| file.fate == "deleted"));
        assert_eq!(shown.steps.last().unwrap().step, "deleted");
    }

    #[test]
    fn alerts_asked_in_vain_are_counted_once_each() {
        let (_dir, mut journal) = open();
        for second in 0..3 {
            journal.accept(&[request("a")], at(second)).unwrap();
        }
        journal.pass_over(&[request("stranger")], at(9)).unwrap();
        let seen: Vec<(String, String, i64)> = journal
            .passed_over(9)
            .unwrap()
            .into_iter()
            .map(|over| (over.session, over.outcome, over.times))
            .collect();
        let text = |s: &str| s.to_owned();
        assert_eq!(
            seen,
            [
                (text("stranger"), text("unknown_session"), 1),
                (text("a"), text("in_progress"), 2)
            ]
        );
    }

    #[test]
    fn the_detail_goes_with_its_run_and_is_bounded() {
        let (_dir, mut journal) = open();
        let mut ids = Vec::new();
        for second in 0..4 {
            let id = journal
                .begin("a", Action::Cleanup, "somebody", at(second))
                .unwrap();
            journal.set_plan(id, "x", &[], &files(10)).unwrap();
            ids.push(id);
            if second < 3 {
                journal
                    .finish(id, Status::Done, &Ending::default(), at(second))
                    .unwrap();
            }
        }
        let held = |journal: &Journal| -> Vec<usize> {
            ids.iter()
                .map(|id| {
                    journal
                        .show(&Wanted::Id(*id))
                        .unwrap()
                        .map_or(99, |r| r.moves.len())
                })
                .collect()
        };
        prune_to(&journal.db, at(9), 25, 9).unwrap();
        assert_eq!(
            held(&journal),
            [0, 0, 10, 10],
            "the oldest lose theirs first"
        );
        prune_to(&journal.db, at(9), 5, 9).unwrap();
        assert_eq!(
            held(&journal),
            [0, 0, 0, 10],
            "a run under way keeps its own"
        );
        journal.prune(at(500 * 86_400)).unwrap();
        assert_eq!(held(&journal), [99, 99, 99, 10]);
        let steps: i64 = journal
            .db
            .query_row(
                "SELECT count(*) FROM run_steps WHERE run_id != ?1",
                [ids[3]],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(steps, 0, "nothing stays of a run that is forgotten");
        for n in 0..20 {
            journal
                .pass_over(&[request(&format!("s{n}"))], at(n))
                .unwrap();
        }
        prune_to(&journal.db, at(20), 5, 9).unwrap();
        assert_eq!(journal.passed_over(99).unwrap().len(), 10);
    }
}
