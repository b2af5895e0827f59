//! What was asked for and what became of it, in an embedded SQLite database.
//!
//! A run is on record before anything else happens, so an accepted alert survives a
//! crash. Idempotency is decided here: see [`Journal::accept`]. Counters live beside the
//! runs and are raised in the same transaction, so they never go backwards.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection as Sqlite, OptionalExtension, Row, TransactionBehavior, params};
use serde::Serialize;

use rustix::fs::{FlockOperation, flock};

use crate::connection::{Alive, Memory, REMEMBERED_FOR, Recollection, Trust};
use crate::folder::scan::open_dir;
use crate::folder::{Kind, SessionName, Timestamp};

use self::record::{FileRecord, Step};
use super::quarantine::give_to_owner_of;
use super::requester::Requester;

pub mod record;
pub mod standing;

/// After a successful run the same session is left alone for this long.
pub const COOLDOWN: Duration = Duration::from_secs(6 * 3_600);
/// A refused or failed attempt is tried again at most this often.
pub const RETRY_AFTER: Duration = Duration::from_secs(300);
/// More runs than this never wait; the webhook answers 503.
pub const MAX_QUEUED: u64 = 10_000;
/// Ended runs stay on record for this long.
const KEPT_FOR: Duration = Duration::from_secs(400 * 86_400);
/// A sighting that is dated further ahead is forgotten.
const AHEAD: Duration = Duration::from_secs(86_400);
const SCHEMA_VERSION: i64 = 5;

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

    /// After which actions it rests: both ways of cleaning, and an undo, which is a person's
    /// word that this session is not to be cleaned again at once. An emergency does not rest
    /// after a clean-up: that one left too much, or much has come since.
    fn cooled_by(self) -> &'static str {
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
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Done => "done",
            Status::Refused => "refused",
            Status::Failed => "failed",
        }
    }

    fn from_label(label: &str) -> Option<Self> {
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
    /// Something else worth knowing, e.g. `service control not configured`.
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

/// An alert that asks for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The session.
    pub session: String,
    /// What to do.
    pub action: Action,
    /// The alert's tier.
    pub tier: String,
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// The alert's start, as it was given.
    pub starts_at: String,
    /// How it came.
    pub via: Via,
}

/// Which delivery brought an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// Alertmanager's receiver.
    pub receiver: String,
    /// The group of alerts.
    pub group_key: String,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A run was put on record.
    Queued(i64),
    /// A run of the kind waits or is under way.
    InProgress,
    /// A run succeeded less than [`COOLDOWN`] ago.
    Cooldown,
    /// An attempt was refused or failed less than [`RETRY_AFTER`] ago.
    RetryLater,
}

/// Why the journal cannot be used.
#[derive(Debug)]
pub enum JournalError {
    /// The database or its directory.
    Unusable(String),
    /// Too many runs wait.
    Full,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Unusable(why) => f.write_str(why),
            JournalError::Full => write!(f, "{MAX_QUEUED} runs wait already"),
        }
    }
}

impl From<rusqlite::Error> for JournalError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unusable(format!("the journal: {error}"))
    }
}

/// Numbers for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
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

/// The journal. One connection; callers serialise their access.
#[derive(Debug)]
pub struct Journal {
    pub(super) db: Sqlite,
    dir: PathBuf,
    owner: Owner,
}

/// Proof of life: a file in the state directory that is locked for as long as this journal
/// is open. It tells a run under way from one whose process died, also between containers.
#[derive(Debug)]
struct Owner {
    name: String,
    path: PathBuf,
    lock: Option<std::fs::File>,
}

impl Owner {
    fn new(dir: &Path) -> io::Result<Self> {
        // Another process may tidy the file away before it is locked: then once more.
        for _ in 0..4 {
            let mut random = [0u8; 8];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let name = format!("owner-{:016x}.lock", u64::from_ne_bytes(random));
            let path = dir.join(&name);
            let lock = std::fs::OpenOptions::new()
                .create_new(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            hand_over(dir, &lock)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && path.exists() {
                return Ok(Self {
                    name,
                    path,
                    lock: Some(lock),
                });
            }
            let _ = std::fs::remove_file(&path);
        }
        // No lock can be had there. A run of this process may then be taken for a leftover by
        // another one that starts meanwhile; the folder's own lock still keeps them apart.
        tracing::warn!(
            "no file can be locked in {}; use a local file system",
            dir.display()
        );
        Ok(Self {
            name: "unproven".into(),
            path: PathBuf::new(),
            lock: None,
        })
    }

    /// Whether the process behind `name` lives. What cannot be told counts as alive.
    fn is_alive(dir: &Path, name: &str) -> bool {
        if !name.starts_with("owner-") || name.contains('/') {
            return false;
        }
        match std::fs::File::open(dir.join(name)) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Removes what dead processes left.
    fn tidy(dir: &Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with("owner-")) else {
                continue;
            };
            if !Self::is_alive(dir, name) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What root makes in a state directory of another user belongs to that user.
fn hand_over(dir: &Path, made: &std::fs::File) -> io::Result<()> {
    let dir = open_dir(dir)?;
    give_to_owner_of(dir.as_fd(), made.as_fd())
        .map_err(|obstacle| io::Error::other(obstacle.to_string()))
}

/// The version of the tables; 0 where there are none yet.
fn schema(db: &Sqlite) -> Result<i64, rusqlite::Error> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Lays the tables of this version, and takes over what an older journal holds. Together,
/// so that a crash leaves a whole journal or none.
fn take_over(db: &mut Sqlite) -> Result<(), rusqlite::Error> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = schema(&tx)?;
    if version >= SCHEMA_VERSION {
        // Another process has done it while this one waited.
        return Ok(());
    }
    tx.execute_batch(&format!(
        "{SCHEMA}{}{}{}",
        record::SCHEMA,
        super::ledger::SCHEMA,
        standing::SCHEMA
    ))?;
    if version < 4 {
        tx.execute_batch(super::ledger::FROM_SCHEMA_3)?;
    }
    standing::take_over(&tx)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    tx.commit()
}

impl Journal {
    /// Opens, and makes where it is missing, the journal in `dir` (0700, the file 0600).
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let unusable = |error: std::io::Error| {
            JournalError::Unusable(format!(
                "--state.path {}: {error}; give a directory that this program's user may write to",
                dir.display()
            ))
        };
        if !dir.is_dir() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(unusable)?;
        }
        let path = dir.join("journal.sqlite");
        let is_new = !path.exists();
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(unusable)?;
        if is_new {
            // Where root is the first, `serve` must still be able to write it.
            hand_over(dir, &file).map_err(unusable)?;
        }
        drop(file);
        let mut db = Sqlite::open(&path)?;
        db.busy_timeout(Duration::from_secs(1))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        if schema(&db)? < SCHEMA_VERSION {
            take_over(&mut db)?;
        }
        let version = schema(&db)?;
        if version != SCHEMA_VERSION {
            return Err(JournalError::Unusable(format!(
                "{} was written by a newer version (schema {version}); use that version, or another --state.path",
                path.display()
            )));
        }
        let owner = Owner::new(dir).map_err(unusable)?;
        Ok(Self {
            db,
            dir: dir.to_owned(),
            owner,
        })
    }

    /// Opens the journal in `dir`, which must be there.
    pub fn open_existing(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("journal.sqlite");
        match std::fs::metadata(&path) {
            Ok(_) => Self::open(dir),
            Err(error) => Err(JournalError::Unusable(format!(
                "no journal at {}: {error}; give the --state.path that `serve` uses",
                path.display()
            ))),
        }
    }

    /// Puts an alert's request on record, unless it is to start nothing:
    /// while a run of this action on this session waits or is under way; for
    /// [`COOLDOWN`] after a run of this session succeeded, whatever the alert's start
    /// (a gap in the scrapes gives the same trouble a new one); for [`RETRY_AFTER`] after
    /// an attempt was refused or failed.
    ///
    /// One delivery is one transaction: all of it is on record, or nothing.
    pub fn accept(
        &mut self,
        requests: &[Request],
        now: Timestamp,
    ) -> Result<Vec<Accepted>, JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let accepted = requests
            .iter()
            .map(|request| {
                let accepted = Self::accept_one(&tx, request, now)?;
                record::accepted(&tx, request, accepted, now)?;
                Ok(accepted)
            })
            .collect::<Result<_, JournalError>>()?;
        tx.commit()?;
        Ok(accepted)
    }

    fn accept_one(
        tx: &Sqlite,
        request: &Request,
        now: Timestamp,
    ) -> Result<Accepted, JournalError> {
        let exists =
            |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<bool, rusqlite::Error> {
                tx.query_row(&format!("SELECT EXISTS ({sql})"), values, |row| row.get(0))
            };
        let (session, action) = (&request.session, request.action);
        let in_progress = exists(
            "SELECT 1 FROM runs WHERE session = ?1 AND action = ?2 AND status IN ('queued','running')",
            &[session, &action.label()],
        )?;
        if in_progress {
            return Ok(Accepted::InProgress);
        }
        if is_cooling(tx, session, action, now)? {
            return Ok(Accepted::Cooldown);
        }
        let (from, to) = around(now, RETRY_AFTER);
        let too_soon = exists(
            "SELECT 1 FROM runs WHERE session = ?1 AND action = ?2 AND status IN ('refused','failed') AND finished_ns > ?3 AND finished_ns < ?4",
            &[session, &action.label(), &from, &to],
        )?;
        if too_soon {
            return Ok(Accepted::RetryLater);
        }
        let waiting: i64 = tx.query_row(
            "SELECT count(*) FROM runs WHERE status = 'queued'",
            [],
            |row| row.get(0),
        )?;
        if waiting >= MAX_QUEUED as i64 {
            return Err(JournalError::Full);
        }
        tx.execute(
            "INSERT INTO runs (created_ns, session, action, tier, requested_by, fingerprint, starts_at, status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued')",
            params![
                now.nanos(),
                session,
                action.label(),
                request.tier,
                Requester::Alert(request.fingerprint.clone()).to_string(),
                request.fingerprint,
                request.starts_at,
            ],
        )?;
        Ok(Accepted::Queued(tx.last_insert_rowid()))
    }

    /// Takes the next waiting run whose session has none under way. One whose session was
    /// cleaned or undone since it was accepted is refused instead.
    ///
    /// Clean-ups of the sessions `but` are left waiting: their service is being stopped, or
    /// started again.
    pub fn take(&mut self, now: Timestamp, but: &[String]) -> Result<Option<Run>, JournalError> {
        let but = serde_json::to_string(but).unwrap_or_default();
        self.take_where(
            now,
            "(action = 'plan' OR session NOT IN (SELECT value FROM json_each(?1)))",
            &[&but as &dyn rusqlite::ToSql],
        )
    }

    pub(super) fn take_where(
        &mut self,
        now: Timestamp,
        which: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Option<Run>, JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next = format!(
            "{SELECT} WHERE status = 'queued' AND {which} AND session NOT IN (SELECT session FROM runs WHERE status = 'running') ORDER BY id LIMIT 1"
        );
        let taken = loop {
            let Some(run) = tx.query_row(&next, values, read_run).optional()? else {
                break None;
            };
            if !is_cooling(&tx, &run.session, run.action, now)? {
                tx.execute(
                    "UPDATE runs SET status = 'running', owner = ?2 WHERE id = ?1",
                    params![run.id, self.owner.name],
                )?;
                record::write_steps(
                    &tx,
                    run.id,
                    &[Step {
                        at: now,
                        ..Step::new("begun", None)
                    }],
                )?;
                break Some(run);
            }
            let ending = Ending {
                reason: Some("cooldown"),
                detail: Some(
                    "this session was cleaned or undone since the alert was accepted".into(),
                ),
                ..Ending::default()
            };
            tx.execute(
                "UPDATE runs SET status = 'refused', finished_ns = ?2, reason = ?3, detail = ?4 WHERE id = ?1",
                params![run.id, now.nanos(), ending.reason, ending.detail],
            )?;
            record::ended(&tx, run.id, Status::Refused.label(), &ending, now)?;
            standing::ended(&tx, run.id)?;
        };
        tx.commit()?;
        Ok(taken)
    }

    /// Forgets the name of a run whose plan was dropped: there is nothing to undo.
    pub fn forget_run(&mut self, id: i64) -> Result<(), JournalError> {
        self.db
            .execute("UPDATE runs SET run = NULL WHERE id = ?1", [id])?;
        Ok(())
    }

    /// The session of the newest clean-up of this name.
    pub fn session_of(&self, run: &str) -> Result<Option<String>, JournalError> {
        let mut query = self.db.prepare(
            "SELECT session FROM runs WHERE run = ?1 AND action IN ('cleanup','emergency') ORDER BY id DESC LIMIT 1",
        )?;
        Ok(query.query_row([run], |row| row.get(0)).optional()?)
    }

    /// Lets a run wait again that was taken and had not begun to move anything; `why` is put
    /// on record.
    pub fn requeue(&mut self, id: i64, why: &str) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let requeued = tx.execute(
            "UPDATE runs SET status = 'queued', run = NULL WHERE id = ?1 AND status = 'running'",
            [id],
        )?;
        if requeued > 0 {
            record::write_steps(&tx, id, &[Step::new("waits_again", Some(why.to_owned()))])?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Puts an operator's run on record as under way.
    pub fn begin(
        &mut self,
        session: &str,
        action: Action,
        operator: &str,
        now: Timestamp,
    ) -> Result<i64, JournalError> {
        let facts = serde_json::json!({"operator": operator});
        self.begin_by(
            session,
            action,
            &Requester::Operator(operator.to_owned()),
            &facts,
            now,
        )
    }

    /// The same of a run that this program has thought of itself, and why.
    pub fn begin_ourselves(
        &mut self,
        session: &str,
        action: Action,
        why: &str,
        now: Timestamp,
    ) -> Result<i64, JournalError> {
        let facts = serde_json::json!({"why": why});
        self.begin_by(
            session,
            action,
            &Requester::Serve(why.to_owned()),
            &facts,
            now,
        )
    }

    fn begin_by(
        &mut self,
        session: &str,
        action: Action,
        by: &Requester,
        facts: &serde_json::Value,
        now: Timestamp,
    ) -> Result<i64, JournalError> {
        let by = by.to_string();
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute(
            "INSERT INTO runs (created_ns, session, action, requested_by, status, owner) VALUES (?1, ?2, ?3, ?4, 'running', ?5)",
            params![now.nanos(), session, action.label(), by, self.owner.name],
        )?;
        let id = tx.last_insert_rowid();
        record::begun(&tx, id, action, &by, facts, now)?;
        tx.commit()?;
        Ok(id)
    }

    /// Notes the name under which a run keeps its files, before the first one moves.
    pub fn set_run(&mut self, id: i64, run: &str) -> Result<(), JournalError> {
        self.db
            .execute("UPDATE runs SET run = ?2 WHERE id = ?1", params![id, run])?;
        Ok(())
    }

    /// Ends a run and raises the counters, in one transaction.
    pub fn finish(
        &mut self,
        id: i64,
        status: Status,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let action: Option<String> = tx
            .query_row(
                "SELECT action FROM runs WHERE id = ?1 AND status = 'running'",
                [id],
                |row| row.get(0),
            )
            .optional()?;
        // Somebody has ended it already; nothing is counted twice.
        let Some(action) = action else { return Ok(()) };
        let files: BTreeMap<&str, usize> = ending
            .files
            .iter()
            .map(|(kind, count)| (kind.label(), *count))
            .collect();
        let files_json = serde_json::to_string(&files).unwrap_or_default();
        tx.execute(
            "UPDATE runs SET status = ?2, finished_ns = ?3, reason = ?4, detail = ?5, note = ?6, evidence = ?7,
             run = coalesce(?8, run), accumulated_before = ?9, accumulated_after = ?10, files = ?11 WHERE id = ?1",
            params![
                id,
                status.label(),
                now.nanos(),
                ending.reason,
                ending.detail,
                ending.note,
                ending.evidence,
                ending.run,
                ending.accumulated.map(|(before, _)| before as i64),
                ending.accumulated.map(|(_, after)| after as i64),
                files_json,
            ],
        )?;
        record::ended(&tx, id, status.label(), ending, now)?;
        let raise = |name: &str, label: &str, by: u64| raise(&tx, name, label, by);
        raise("runs", &action, 1)?;
        match status {
            Status::Failed => raise("failures", &action, 1)?,
            Status::Refused => raise("refusals", ending.reason.unwrap_or("other"), 1)?,
            _ => {}
        }
        match Action::from_label(&action) {
            Some(Action::Undo) => raise("restored", "", files.values().map(|n| *n as u64).sum())?,
            // Of a run that was refused they are what would have been moved.
            Some(Action::Cleanup | Action::Emergency) if status != Status::Refused => {
                for (kind, count) in &files {
                    raise("moved", kind, *count as u64)?;
                }
            }
            _ => {}
        }
        standing::ended(&tx, id)?;
        tx.commit()?;
        Ok(())
    }

    /// Raises a counter that belongs to no run.
    pub fn count_purged(&mut self, runs: u64) -> Result<(), JournalError> {
        raise(&self.db, "purged", "", runs)?;
        Ok(())
    }

    /// Puts on record that every folder is to be looked at for these tiers.
    pub fn want_look<'a>(
        &mut self,
        tiers: impl Iterator<Item = &'a str>,
    ) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for tier in tiers {
            raise(&tx, "look_wanted", tier, 1)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// The tiers for which every folder is to be looked at, with the number of times that
    /// this was asked for.
    pub fn wanted_looks(&self) -> Result<BTreeMap<String, u64>, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT w.label, w.value FROM counters w
             LEFT JOIN counters d ON d.name = 'look_done' AND d.label = w.label
             WHERE w.name = 'look_wanted' AND w.value > coalesce(d.value, 0)",
        )?;
        let rows = query.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Those looks are done.
    pub fn looked(&mut self, looks: &BTreeMap<String, u64>) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (tier, asked) in looks {
            tx.execute(
                "INSERT OR REPLACE INTO counters (name, label, value) VALUES ('look_done', ?1, ?2)",
                params![tier, *asked as i64],
            )?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Runs on record as under way whose process is gone. Those of this very process are
    /// among them: the caller knows which of them it is working on.
    pub fn orphans(&self) -> Result<Vec<Run>, JournalError> {
        let mut query = self
            .db
            .prepare(&format!("{SELECT} WHERE status = 'running'"))?;
        let runs: Vec<Run> = query.query_map([], read_run)?.collect::<Result<_, _>>()?;
        let mine = |run: &Run| run.owner == self.owner.name;
        Ok(runs
            .into_iter()
            .filter(|run| mine(run) || !Owner::is_alive(&self.dir, &run.owner))
            .collect())
    }

    /// Whether the process that took a run lives; this one does.
    pub(super) fn lives(&self, owner: &str) -> bool {
        owner == self.owner.name || Owner::is_alive(&self.dir, owner)
    }

    /// The newest runs, newest first.
    pub fn runs(&self, limit: u32) -> Result<Vec<Run>, JournalError> {
        let mut query = self
            .db
            .prepare(&format!("{SELECT} ORDER BY id DESC LIMIT ?1"))?;
        let runs = query
            .query_map([limit], read_run)?
            .collect::<Result<_, _>>()?;
        Ok(runs)
    }

    /// Forgets runs that ended long ago, and what dead processes left. Counters stay.
    pub fn prune(&mut self, now: Timestamp) -> Result<(), JournalError> {
        Owner::tidy(&self.dir);
        self.prune_stops(now)?;
        self.db.execute(
            "DELETE FROM runs WHERE finished_ns IS NOT NULL AND finished_ns < ?1",
            [now.minus(KEPT_FOR).nanos()],
        )?;
        record::prune(&self.db, now)?;
        standing::prune(&self.db, now)?;
        // What was written under a clock that ran ahead must not count one day.
        self.db.execute(
            "DELETE FROM alive WHERE at_ns < ?1 OR at_ns > ?2",
            [now.minus(REMEMBERED_FOR).nanos(), now.plus(AHEAD).nanos()],
        )?;
        Ok(())
    }

    /// Remembers that these sources saw a session alive. A newer word replaces an older one,
    /// also one that a wrong clock has dated later.
    pub fn remember(
        &mut self,
        session: &str,
        seen: &[(String, Alive)],
    ) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (source, alive) in seen {
            tx.execute(
                "INSERT OR REPLACE INTO alive (session, source, at_ns, mark) VALUES (?1, ?2, ?3, ?4)",
                params![session, source, alive.at.nanos(), alive.mark],
            )?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Remembers that a person vouches for these sources of a session.
    pub fn trust(
        &mut self,
        session: &str,
        sources: &[String],
        by: &str,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for source in sources {
            tx.execute(
                "INSERT OR REPLACE INTO trust (session, source, by, at_ns) VALUES (?1, ?2, ?3, ?4)",
                params![session, source, by, now.nanos()],
            )?;
        }
        tx.commit()?;
        Ok(())
    }

    /// What is remembered of a session.
    pub fn recall(&self, session: &str) -> Result<Recollection, JournalError> {
        let mut memory = Recollection::default();
        let mut query = self
            .db
            .prepare_cached("SELECT source, at_ns, mark FROM alive WHERE session = ?1")?;
        let rows = query.query_map([session], |row| {
            Ok((
                row.get(0)?,
                Alive {
                    at: Timestamp::from_nanos(row.get(1)?),
                    mark: row.get(2)?,
                },
            ))
        })?;
        for row in rows {
            memory.alive.extend([row?]);
        }
        let mut query = self
            .db
            .prepare_cached("SELECT source, by, at_ns FROM trust WHERE session = ?1")?;
        let rows = query.query_map([session], |row| {
            Ok((
                row.get(0)?,
                Trust {
                    by: row.get(1)?,
                    at: Timestamp::from_nanos(row.get(2)?),
                },
            ))
        })?;
        for row in rows {
            memory.trusted.extend([row?]);
        }
        Ok(memory)
    }

    /// Numbers for the metrics.
    pub fn totals(&self) -> Result<Totals, JournalError> {
        let mut totals = Totals::default();
        let mut query = self.db.prepare("SELECT name, label, value FROM counters")?;
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
        let queued: i64 = self.db.query_row(
            "SELECT count(*) FROM runs WHERE status IN ('queued','running')",
            [],
            |row| row.get(0),
        )?;
        totals.queued = queued.max(0) as u64;
        let last: Option<i64> = self.db.query_row(
            "SELECT max(finished_ns) FROM runs WHERE status = 'done' AND action IN ('cleanup','emergency')",
            [],
            |row| row.get(0),
        )?;
        totals.last_success = last.map(Timestamp::from_nanos);
        Ok(totals)
    }
}

/// The journal as the memory of the verdict on the connection.
#[derive(Clone, Debug)]
pub struct Remembered(pub Arc<Mutex<Journal>>);

impl Memory for Remembered {
    fn recall(&self, session: &SessionName) -> Recollection {
        let journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        journal.recall(session.as_str()).unwrap_or_else(|error| {
            tracing::error!("who was seen alive cannot be read: {error}");
            Recollection::default()
        })
    }

    fn remember(&self, session: &SessionName, seen: &[(String, Alive)]) {
        let mut journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.remember(session.as_str(), seen) {
            tracing::error!("who was seen alive cannot be put on record: {error}");
        }
    }
}

/// Whether a run of this session succeeded less than [`COOLDOWN`] ago.
fn is_cooling(
    db: &Sqlite,
    session: &str,
    action: Action,
    now: Timestamp,
) -> Result<bool, rusqlite::Error> {
    let (from, to) = around(now, COOLDOWN);
    db.query_row(
        &format!(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE session = ?1 AND action IN {} AND status = 'done' AND finished_ns > ?2 AND finished_ns < ?3)",
            action.cooled_by()
        ),
        params![session, from, to],
        |row| row.get(0),
    )
}

/// A time far in the future was written under a wrong clock and holds nobody up.
fn around(now: Timestamp, span: Duration) -> (i64, i64) {
    (now.minus(span).nanos(), now.plus(span).nanos())
}

pub(super) fn raise(db: &Sqlite, name: &str, label: &str, by: u64) -> Result<(), rusqlite::Error> {
    db.execute(
        "INSERT INTO counters (name, label, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (name, label) DO UPDATE SET value = value + excluded.value",
        params![name, label, by as i64],
    )?;
    Ok(())
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_ns INTEGER NOT NULL,
    finished_ns INTEGER,
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
    owner TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_session ON runs (session, action, status, finished_ns);
CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status, id);
CREATE TABLE IF NOT EXISTS counters (
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (name, label)
);
CREATE TABLE IF NOT EXISTS alive (
    session TEXT NOT NULL,
    source TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    mark TEXT,
    PRIMARY KEY (session, source)
);
CREATE TABLE IF NOT EXISTS trust (
    session TEXT NOT NULL,
    source TEXT NOT NULL,
    by TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (session, source)
);
";

const SELECT: &str =
    "SELECT id, created_ns, finished_ns, session, action, tier, requested_by, status, reason,
    detail, note, evidence, run, accumulated_before, accumulated_after, files, owner FROM runs";

fn read_run(row: &Row<'_>) -> Result<Run, rusqlite::Error> {
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
mod tests {
    use super::*;

    fn request(session: &str, action: Action, starts_at: &str) -> Request {
        Request {
            session: session.into(),
            action,
            tier: "cleanup".into(),
            fingerprint: "f".into(),
            starts_at: starts_at.into(),
            via: Via::default(),
        }
    }

    impl Journal {
        fn accept_this(
            &mut self,
            request: &Request,
            now: Timestamp,
        ) -> Result<Accepted, JournalError> {
            Ok(self.accept(std::slice::from_ref(request), now)?[0])
        }
    }

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000).plus(Duration::from_secs(minutes * 60))
    }

    fn open() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        (dir, journal)
    }

    fn end(journal: &mut Journal, status: Status, when: Timestamp) {
        let run = journal.take(at(0), &[]).unwrap().unwrap();
        journal
            .finish(
                run.id,
                status,
                &Ending {
                    reason: Some("connected"),
                    ..Ending::default()
                },
                when,
            )
            .unwrap();
    }

    #[test]
    fn one_run_while_it_waits_or_is_under_way() {
        let (_dir, mut journal) = open();
        let cleanup = request("a", Action::Cleanup, "t1");
        assert!(matches!(
            journal.accept_this(&cleanup, at(0)).unwrap(),
            Accepted::Queued(_)
        ));
        assert_eq!(
            journal.accept_this(&cleanup, at(1)).unwrap(),
            Accepted::InProgress
        );
        journal.take(at(0), &[]).unwrap().unwrap();
        assert_eq!(
            journal.accept_this(&cleanup, at(2)).unwrap(),
            Accepted::InProgress
        );
        let other = request("b", Action::Cleanup, "t1");
        assert!(matches!(
            journal.accept_this(&other, at(2)).unwrap(),
            Accepted::Queued(_)
        ));
        let plan = request("a", Action::Plan, "t1");
        assert!(
            matches!(
                journal.accept_this(&plan, at(2)).unwrap(),
                Accepted::Queued(_)
            ),
            "a dry run is another thing"
        );
        assert_eq!(
            journal.take(at(0), &[]).unwrap().unwrap().session,
            "b",
            "one run a session at a time"
        );
        assert!(journal.take(at(0), &[]).unwrap().is_none());
    }

    #[test]
    fn an_emergency_does_not_rest_after_a_clean_up() {
        let (_dir, mut journal) = open();
        journal
            .accept_this(&request("a", Action::Cleanup, "t1"), at(0))
            .unwrap();
        end(&mut journal, Status::Done, at(1));
        let emergency = request("a", Action::Emergency, "t2");
        assert!(matches!(
            journal.accept_this(&emergency, at(30)).unwrap(),
            Accepted::Queued(_)
        ));
        let run = journal.take(at(30), &[]).unwrap().unwrap();
        assert_eq!(run.action, Action::Emergency);
        journal
            .finish(run.id, Status::Done, &Ending::default(), at(31))
            .unwrap();
        for action in [Action::Cleanup, Action::Emergency] {
            assert_eq!(
                journal
                    .accept_this(&request("a", action, "t3"), at(60))
                    .unwrap(),
                Accepted::Cooldown
            );
        }
        // A person's undo is a word to both.
        let later = at(31 + 6 * 60);
        let undo = journal.begin("a", Action::Undo, "somebody", later).unwrap();
        journal
            .finish(undo, Status::Done, &Ending::default(), later)
            .unwrap();
        let emergency = request("a", Action::Emergency, "t4");
        assert_eq!(
            journal.accept_this(&emergency, at(32 + 6 * 60)).unwrap(),
            Accepted::Cooldown
        );
    }

    #[test]
    fn cooldown_is_per_session_whatever_the_start() {
        let (_dir, mut journal) = open();
        journal
            .accept_this(&request("a", Action::Emergency, "t1"), at(0))
            .unwrap();
        end(&mut journal, Status::Done, at(1));
        for (action, starts_at) in [
            (Action::Cleanup, "t1"),
            (Action::Cleanup, "t2"),
            (Action::Emergency, "t3"),
        ] {
            assert_eq!(
                journal
                    .accept_this(&request("a", action, starts_at), at(300))
                    .unwrap(),
                Accepted::Cooldown
            );
        }
        let later = at(1 + 6 * 60);
        assert!(matches!(
            journal
                .accept_this(&request("a", Action::Cleanup, "t1"), later)
                .unwrap(),
            Accepted::Queued(_)
        ));
        assert!(matches!(
            journal
                .accept_this(&request("b", Action::Cleanup, "t1"), at(2))
                .unwrap(),
            Accepted::Queued(_)
        ));
    }

    #[test]
    fn a_refused_or_failed_attempt_is_tried_again_after_five_minutes() {
        for status in [Status::Refused, Status::Failed] {
            let (_dir, mut journal) = open();
            let cleanup = request("a", Action::Cleanup, "t1");
            journal.accept_this(&cleanup, at(0)).unwrap();
            end(&mut journal, status, at(1));
            assert_eq!(
                journal.accept_this(&cleanup, at(5)).unwrap(),
                Accepted::RetryLater
            );
            let emergency = request("a", Action::Emergency, "t1");
            assert!(
                matches!(
                    journal.accept_this(&emergency, at(5)).unwrap(),
                    Accepted::Queued(_)
                ),
                "worse news is heard"
            );
            assert!(matches!(
                journal.accept_this(&cleanup, at(6)).unwrap(),
                Accepted::Queued(_)
            ));
        }
    }

    #[test]
    fn a_wrong_clock_holds_nobody_up() {
        let (_dir, mut journal) = open();
        let cleanup = request("a", Action::Cleanup, "t1");
        journal.accept_this(&cleanup, at(0)).unwrap();
        end(&mut journal, Status::Done, at(60 * 24 * 365));
        assert!(matches!(
            journal.accept_this(&cleanup, at(10)).unwrap(),
            Accepted::Queued(_)
        ));
    }

    #[test]
    fn what_was_done_while_a_run_waited_is_seen() {
        let (_dir, mut journal) = open();
        journal
            .accept_this(&request("a", Action::Cleanup, "t1"), at(0))
            .unwrap();
        let id = journal.begin("a", Action::Undo, "somebody", at(0)).unwrap();
        assert!(
            journal.take(at(0), &[]).unwrap().is_none(),
            "an operator is at work"
        );
        journal
            .finish(id, Status::Done, &Ending::default(), at(1))
            .unwrap();
        assert!(
            journal.take(at(2), &[]).unwrap().is_none(),
            "an undo is not undone at once"
        );
        let runs = journal.runs(10).unwrap();
        assert_eq!(
            (runs[1].status, runs[1].reason.as_deref()),
            (Status::Refused, Some("cooldown"))
        );
    }

    #[test]
    fn only_runs_of_dead_processes_are_orphans_and_end_once() {
        let (_dir, mut journal) = open();
        let id = journal
            .begin("a", Action::Cleanup, "somebody", at(0))
            .unwrap();
        assert_eq!(
            journal.orphans().unwrap().len(),
            1,
            "this process knows its own"
        );
        let mut other = Journal::open(&_dir.path().join("state")).unwrap();
        assert!(other.orphans().unwrap().is_empty(), "its process lives");
        let orphan = other
            .begin("b", Action::Cleanup, "somebody", at(0))
            .unwrap();
        drop(other);
        let ids: Vec<i64> = journal
            .orphans()
            .unwrap()
            .iter()
            .map(|run| run.id)
            .collect();
        assert_eq!(ids, [id, orphan], "the other process is gone");
        journal
            .finish(orphan, Status::Failed, &Ending::default(), at(1))
            .unwrap();
        for _ in 0..2 {
            journal
                .finish(id, Status::Done, &Ending::default(), at(1))
                .unwrap();
        }
        assert_eq!(
            journal.totals().unwrap().runs["cleanup"],
            2,
            "each counted once"
        );
    }

    #[test]
    fn what_was_accepted_and_counted_survives_a_restart() {
        let (dir, mut journal) = open();
        let cleanup = request("a", Action::Cleanup, "t1");
        journal.accept_this(&cleanup, at(0)).unwrap();
        let run = journal.take(at(0), &[]).unwrap().unwrap();
        let ending = Ending {
            files: BTreeMap::from([(Kind::PreKey, 278)]),
            ..Ending::default()
        };
        journal
            .finish(run.id, Status::Done, &ending, at(1))
            .unwrap();
        journal
            .accept_this(&request("b", Action::Cleanup, "t1"), at(2))
            .unwrap();
        drop(journal);
        let mut journal = Journal::open(&dir.path().join("state")).unwrap();
        let totals = journal.totals().unwrap();
        assert_eq!(
            (
                totals.runs["cleanup"],
                totals.moved["pre-key"],
                totals.queued
            ),
            (1, 278, 1)
        );
        assert_eq!(totals.last_success, Some(at(1)));
        assert_eq!(journal.runs(10).unwrap().len(), 2);
        assert_eq!(journal.take(at(0), &[]).unwrap().unwrap().session, "b");
        journal.prune(at(60 * 24 * 1000)).unwrap();
        assert_eq!(
            journal.totals().unwrap().moved["pre-key"],
            278,
            "counters outlive their runs"
        );
        assert_eq!(journal.runs(10).unwrap().len(), 1);
    }

    /// The tables of schema 1, as its last version wrote them.
    const SCHEMA_1: &str = "
        CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, created_ns INTEGER NOT NULL,
            finished_ns INTEGER, session TEXT NOT NULL, action TEXT NOT NULL, tier TEXT,
            requested_by TEXT NOT NULL, fingerprint TEXT, starts_at TEXT, status TEXT NOT NULL, reason TEXT,
            detail TEXT, note TEXT, evidence TEXT, run TEXT, accumulated_before INTEGER,
            accumulated_after INTEGER, files TEXT, owner TEXT);
        CREATE INDEX runs_by_session ON runs (session, action, status, finished_ns);
        CREATE INDEX runs_by_status ON runs (status, id);
        CREATE TABLE counters (name TEXT NOT NULL, label TEXT NOT NULL, value INTEGER NOT NULL,
            PRIMARY KEY (name, label));
        INSERT INTO runs (created_ns, session, action, requested_by, status) VALUES (1, 'a', 'cleanup', 'x', 'queued');
        INSERT INTO counters VALUES ('runs', 'cleanup', 7);
        PRAGMA user_version = 1;";

    #[test]
    fn a_look_is_wanted_until_it_was_done_for_all_who_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        assert!(journal.wanted_looks().unwrap().is_empty());
        journal
            .want_look(["cleanup", "warning"].into_iter())
            .unwrap();
        let looks = journal.wanted_looks().unwrap();
        assert_eq!(looks.len(), 2);
        // Somebody asks while the look is under way.
        journal.want_look(["cleanup"].into_iter()).unwrap();
        journal.looked(&looks).unwrap();
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        let looks = journal.wanted_looks().unwrap();
        assert_eq!(looks.keys().collect::<Vec<_>>(), ["cleanup"]);
        journal.looked(&looks).unwrap();
        assert!(journal.wanted_looks().unwrap().is_empty());
    }

    #[test]
    fn a_journal_of_schema_1_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.sqlite");
        Sqlite::open(&path)
            .unwrap()
            .execute_batch(SCHEMA_1)
            .unwrap();
        for _ in 0..2 {
            let mut journal = Journal::open(dir.path()).unwrap();
            assert_eq!(journal.totals().unwrap().runs["cleanup"], 7);
            assert_eq!(journal.runs(9).unwrap().len(), 1);
            journal
                .remember("a", &[("probe-1".into(), Alive::at(at(0)))])
                .unwrap();
            assert_eq!(journal.recall("a").unwrap().alive.len(), 1);
        }
        Sqlite::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", SCHEMA_VERSION + 1)
            .unwrap();
        assert!(
            Journal::open(dir.path())
                .unwrap_err()
                .to_string()
                .contains("newer version")
        );
    }

    /// What schema 2 added to those, and what schema 3 did, with what a killed one left.
    const FROM_1_TO_2: &str = "
        CREATE TABLE alive (session TEXT NOT NULL, source TEXT NOT NULL, at_ns INTEGER NOT NULL, mark TEXT,
            PRIMARY KEY (session, source));
        CREATE TABLE trust (session TEXT NOT NULL, source TEXT NOT NULL, by TEXT NOT NULL,
            at_ns INTEGER NOT NULL, PRIMARY KEY (session, source));
        PRAGMA user_version = 2;";
    const FROM_2_TO_3: &str = "
        CREATE TABLE obligations (service TEXT PRIMARY KEY, session TEXT NOT NULL, run_id INTEGER NOT NULL,
            phase TEXT NOT NULL, since_ns INTEGER NOT NULL);
        CREATE TABLE stops (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL,
            run_id INTEGER NOT NULL, in_window INTEGER NOT NULL, at_ns INTEGER NOT NULL);
        CREATE TABLE not_back (service TEXT PRIMARY KEY, session TEXT NOT NULL, run_id INTEGER NOT NULL,
            since_ns INTEGER NOT NULL);
        INSERT INTO stops (service, run_id, in_window, at_ns) VALUES ('late', 1, 0, 5), ('owed', 2, 0, 7);
        INSERT INTO not_back VALUES ('late', 'a', 1, 6), ('old', 'o', 9, 3);
        INSERT INTO obligations VALUES ('owed', 'b', 2, 'starting', 7);
        UPDATE runs SET run = '20261123T201510Z-4f2a91' WHERE id = 1;
        PRAGMA user_version = 3;";

    #[test]
    fn journals_of_schemas_2_and_3_are_taken_over() {
        for (steps, late, owed) in [
            (&[SCHEMA_1, FROM_1_TO_2][..], 0, 0),
            (&[SCHEMA_1, FROM_1_TO_2, FROM_2_TO_3], 2, 1),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal.sqlite");
            for step in steps {
                Sqlite::open(&path).unwrap().execute_batch(step).unwrap();
            }
            for _ in 0..2 {
                let journal = Journal::open(dir.path()).unwrap();
                assert_eq!(journal.totals().unwrap().runs["cleanup"], 7);
                let not_back = journal.not_back().unwrap();
                assert_eq!(
                    (not_back.len(), journal.obligations().unwrap().len()),
                    (late, owed)
                );
                if let [first, second] = &not_back[..] {
                    assert_eq!(
                        (first.service.as_str(), first.session.as_str()),
                        ("late", "a")
                    );
                    assert_eq!(first.run.as_deref(), Some("20261123T201510Z-4f2a91"));
                    assert_eq!(first.since, Timestamp::from_nanos(6).rfc3339());
                    assert_eq!(first.stopped, Timestamp::from_nanos(5));
                    assert_eq!(second.stopped, Timestamp::from_nanos(3), "no stop is known");
                    let watched = journal.watched("owed", Timestamp::from_nanos(7)).unwrap();
                    assert_eq!(watched, [("b".to_owned(), 2)]);
                }
            }
        }
    }

    #[test]
    fn who_was_seen_alive_survives_and_a_wrong_clock_does_not() {
        let (dir, mut journal) = open();
        let alive = |minutes| Alive {
            at: at(minutes),
            mark: Some("m".into()),
        };
        let year = 60 * 24 * 365;
        journal
            .remember("a", &[("p".into(), alive(0)), ("q".into(), alive(year))])
            .unwrap();
        journal.remember("b", &[("p".into(), alive(year))]).unwrap();
        journal
            .trust("a", &["p".into()], "somebody", at(0))
            .unwrap();
        drop(journal);
        let mut journal = Journal::open(&dir.path().join("state")).unwrap();
        let memory = journal.recall("a").unwrap();
        assert_eq!(memory.alive["p"], alive(0));
        assert_eq!(
            memory.trusted["p"],
            Trust {
                by: "somebody".into(),
                at: at(0)
            }
        );
        assert!(!memory.vouches_for("q", at(0)), "from the future");
        // The next sighting replaces it, though it is earlier.
        journal.remember("a", &[("q".into(), alive(1))]).unwrap();
        assert!(journal.recall("a").unwrap().vouches_for("q", at(1)));
        // Otherwise it is forgotten before its time comes.
        journal.prune(at(1)).unwrap();
        assert!(journal.recall("b").unwrap().alive.is_empty());
        assert_eq!(journal.recall("a").unwrap().alive.len(), 2);
        journal.prune(at(60 * 24 * 31)).unwrap();
        assert!(
            journal.recall("a").unwrap().alive.is_empty(),
            "after 30 days"
        );
        assert_eq!(
            journal.recall("a").unwrap().trusted.len(),
            1,
            "a person's word stays"
        );
    }

    #[test]
    fn errors_say_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = Journal::open(&dir.path().join("file/state"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("--state.path"), "{error}");
        std::fs::write(
            dir.path().join("journal.sqlite"),
            "not a database, and long enough to be told so",
        )
        .unwrap();
        assert!(Journal::open(dir.path()).is_err());
    }
}
