//! The database file, and how it is used by several processes.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection as Sqlite, Transaction, TransactionBehavior};

use super::process_lock::ProcessLock;

/// Name of the database in the state directory.
pub const FILE: &str = "journal.sqlite";
/// Version of the tables.
pub(super) const SCHEMA_VERSION: i64 = 1;
/// The lock of another process is waited for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries. Short, because `serve` may write without a pause: SQLite's own handler
/// sleeps for up to 100 ms and misses the moments between two of its transactions.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// Ended runs, and what belongs to them, are kept for this long.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(400 * 86_400);
/// More runs than this never wait; the webhook answers 503.
pub(super) const MAX_QUEUED: u64 = 10_000;

/// Why the store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// The database or its directory; what to do.
    Unusable(String),
    /// Too many runs wait.
    Full,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unusable(why) => f.write_str(why),
            StoreError::Full => write!(f, "{} runs wait already", MAX_QUEUED),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::damaged(&error.to_string()),
            _ => Self::Unusable(format!("the journal: {error}")),
        }
    }
}

impl StoreError {
    pub(super) fn damaged(what: &str) -> Self {
        Self::Unusable(format!(
            "the journal is damaged ({what}). Move {FILE} in --state.path away to begin a new one, or restore it, and restart `serve`"
        ))
    }
}

/// The file that was opened. A file that is deleted or replaced can still be written to, and
/// what is written there is lost.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) id: (u64, u64),
}

/// The file that SQLite writes the old content of pages to; it is empty or missing between two
/// transactions.
pub(super) fn rollback_journal(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-journal");
    path.into()
}

pub(super) fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl OpenFile {
    pub(super) fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: id(&std::fs::symlink_metadata(path)?),
        })
    }
}

/// The store. One connection; callers serialise their access.
#[derive(Debug)]
pub struct Store {
    pub(super) db: Sqlite,
    /// `None` in memory.
    pub(super) file: Option<OpenFile>,
    pub(super) process: ProcessLock,
}

/// Runs `work` in one transaction; within another one, as a part of it. A part that fails must
/// fail the whole: what it wrote is undone only then.
pub(super) fn atomic<T, E: From<rusqlite::Error>>(
    db: &Sqlite,
    work: impl FnOnce(&Sqlite) -> Result<T, E>,
) -> Result<T, E> {
    if !db.is_autocommit() {
        return work(db);
    }
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let value = work(&tx)?;
    tx.commit()?;
    Ok(value)
}

/// SQLite's busy handler: says whether to try again.
pub(super) fn wait_for_lock(tries: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    BUSY_PAUSE.saturating_mul(tries.unsigned_abs()) < BUSY_TIMEOUT
}
