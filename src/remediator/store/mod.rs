//! The store: everything that must outlast a crash, in an embedded SQLite database in
//! `--state.path`, `journal.sqlite`.
//!
//! | module | table | what |
//! |---|---|---|
//! | [`runs`] | `runs` | each run, its status and its result |
//! | [`queue`] | `runs` | which requests become runs, which run is next |
//! | [`audit`] | `run_steps`, `run_files` | what a run did, step by step and file by file |
//! | [`unstarted`] | `unstarted_alerts` | alerts that started no run |
//! | [`armed`] | `armed` | runs that wait for a better moment |
//! | [`pause`] | `pause` | the pause and the circuit breaker |
//! | [`restarts`] | `restarts`, `stops` | services that must be started again |
//! | [`sightings`] | `alive`, `trust` | which source saw which bot alive |
//! | [`session_status`] | `session_status` | the latest clean-up of each session, for the metrics |
//! | [`counters`] | `counters` | counters that outlive a restart |
//! | [`clock`] | `wall_clock`, `clock_steps`, `steady_clock` | steps of the wall clock, and a clock without steps for all limits |
//!
//! Each module has its tables, its queries and a view: [`Store::runs`], [`Store::queue`] and so
//! on. A method that writes is one transaction; [`Store::atomic`] makes several of them one.
//!
//! # Concurrency
//! `serve` and the operator's commands open the same file. It has a rollback journal: a
//! transaction holds the write lock for a few milliseconds, and others wait for it up to
//! `BUSY_TIMEOUT`. No part of the file is mapped into memory, so a file that is truncated is
//! an error and no SIGBUS. Async code gets the store only through [`SharedStore`], on a thread
//! that may block.
//!
//! # Changing a table
//! `user_version` of the file is `SCHEMA_VERSION`; a file of any other version is refused, and
//! left as it is. Once a version is released, a change of a table needs all of this:
//!
//! 1. change the `SCHEMA` of its module, and raise `SCHEMA_VERSION` by one;
//! 2. add the SQL that leads from the version before to `lay_tables`, in the same transaction
//!    that sets `user_version`, so that a crash leaves either the old version or the new one;
//! 3. keep the file of the old version, made by its last release, in `tests/`, and test that
//!    what it holds is read after the migration;
//! 4. say in CHANGELOG.md that the older release cannot open the file any more.

use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection as Sqlite, OpenFlags};

use crate::state_file;

pub use self::db::{FILE, Store, StoreError};
use self::db::{KEPT_FOR, OpenFile, SCHEMA_VERSION, atomic, rollback_journal, wait_for_lock};
use self::process_lock::ProcessLock;

pub mod armed;
pub mod audit;
pub mod clock;
pub mod counters;
mod db;
mod handle;
mod health;
mod new_run;
pub mod pause;
mod process_lock;
pub mod queue;
mod request;
pub mod restarts;
mod run_record;
pub mod runs;
pub mod session_status;
pub mod sightings;
pub mod unstarted;

pub use self::handle::{BlockingStore, SharedStore};

/// Lays the tables where there are none; the version that the file has then.
fn lay_tables(db: &Sqlite) -> Result<i64, rusqlite::Error> {
    let version = |db: &Sqlite| db.pragma_query_value(None, "user_version", |row| row.get(0));
    match version(db)? {
        0 => {}
        laid => return Ok(laid),
    }
    atomic(db, |tx| {
        // Another process may have laid them while this one waited for the lock.
        if version(tx)? == 0 {
            for tables in [
                runs::SCHEMA,
                audit::SCHEMA,
                unstarted::SCHEMA,
                armed::SCHEMA,
                pause::SCHEMA,
                restarts::SCHEMA,
                sightings::SCHEMA,
                session_status::SCHEMA,
                counters::SCHEMA,
                clock::SCHEMA,
            ] {
                tx.execute_batch(tables)?;
            }
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        version(tx)
    })
}

/// Refuses, before SQLite opens it, a file that is no database, which SQLite would overwrite
/// where it is short, and one with a write-ahead log, which would be mapped into memory.
fn check_file(path: &Path) -> Result<(), StoreError> {
    let refused = |found: &Path, what: &str| {
        StoreError::Unusable(format!(
            "{} {what}; nothing was changed. Move {} and the files beside it away to begin a new journal",
            found.display(),
            path.display()
        ))
    };
    let other_version = "was left by another version of this program, which can still read it";
    for suffix in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        let beside = PathBuf::from(beside);
        if beside.symlink_metadata().is_ok() {
            return Err(refused(&beside, other_version));
        }
    }
    let mut header = Vec::new();
    state_file::open(std::fs::OpenOptions::new().read(true), path)
        .and_then(|file| file.take(20).read_to_end(&mut header))
        .map_err(|error| StoreError::Unusable(format!("{}: {error}", path.display())))?;
    // Bytes 18 and 19 are 2 where the database has a write-ahead log.
    match header.strip_prefix(b"SQLite format 3\0") {
        Some(rest) if rest.get(2..).is_some_and(|versions| versions.contains(&2)) => {
            Err(refused(path, other_version))
        }
        // Nothing but zeros is what a power cut may leave of a first transaction.
        None if header.iter().any(|byte| *byte != 0) => Err(refused(path, "is no database")),
        _ => Ok(()),
    }
}

impl Store {
    /// Opens the store in `dir`, and makes it where it is missing (the directory 0700, the
    /// file 0600).
    ///
    /// Errors: the directory or the file cannot be used, or the file is of another version;
    /// nothing is changed then.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let unusable = |error: std::io::Error| {
            StoreError::Unusable(format!(
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
        let path = dir.join(FILE);
        let real = state_file::resolve_dir(dir).map_err(unusable)?.join(FILE);
        let mut options = std::fs::OpenOptions::new();
        state_file::open(options.create(true).append(true), &path).map_err(unusable)?;
        state_file::check(&rollback_journal(&path)).map_err(unusable)?;
        check_file(&path)?;
        let opened = OpenFile::new(&path).map_err(unusable)?;
        let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Sqlite::open_with_flags(real, flags)?;
        db.busy_handler(Some(wait_for_lock))?;
        db.pragma_update(None, "journal_mode", "TRUNCATE")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        let version = lay_tables(&db)?;
        if version != SCHEMA_VERSION {
            return Err(StoreError::Unusable(format!(
                "{} is of version {version}, and this program reads version {SCHEMA_VERSION}; nothing was changed. Use the version that wrote it, or move the file away to begin a new journal",
                path.display()
            )));
        }
        let process = ProcessLock::new(dir).map_err(unusable)?;
        Ok(Self {
            db,
            file: Some(opened),
            process,
        })
    }

    /// A store in memory, for a start that must not wait for a disk.
    pub fn in_memory() -> Result<Self, StoreError> {
        let db = Sqlite::open_in_memory()?;
        lay_tables(&db)?;
        let process = ProcessLock::unproven(PathBuf::new());
        let file = None;
        Ok(Self { db, file, process })
    }

    /// Opens the store in `dir`, which must be there.
    ///
    /// Errors: as [`Store::open`], and where there is no file.
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        match std::fs::metadata(&path) {
            Ok(_) => Self::open(dir),
            Err(error) => Err(StoreError::Unusable(format!(
                "no journal at {}: {error}; give the --state.path that `serve` uses, or its --config.file",
                path.display()
            ))),
        }
    }

    /// Runs `work` in one transaction, whichever views it uses.
    ///
    /// Errors: those of `work`, and then nothing was written.
    pub fn atomic<T, E: From<rusqlite::Error>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        atomic(&self.db, |_| work())
    }

    /// The runs.
    pub fn runs(&self) -> runs::Runs<'_> {
        runs::Runs(self)
    }

    /// The runs that wait.
    pub fn queue(&self) -> queue::Queue<'_> {
        queue::Queue(self)
    }

    /// What the runs did.
    pub fn audit(&self) -> audit::Audit<'_> {
        audit::Audit(self)
    }

    /// The alerts that started no run.
    pub fn unstarted(&self) -> unstarted::UnstartedAlerts<'_> {
        unstarted::UnstartedAlerts(self)
    }

    /// The armed runs.
    pub fn armed(&self) -> armed::ArmedRuns<'_> {
        armed::ArmedRuns(self)
    }

    /// The pause and the circuit breaker.
    pub fn pause(&self) -> pause::Pause<'_> {
        pause::Pause(self)
    }

    /// The restart store.
    pub fn restarts(&self) -> restarts::Restarts<'_> {
        restarts::Restarts(self)
    }

    /// Which source saw which bot alive.
    pub fn sightings(&self) -> sightings::Sightings<'_> {
        sightings::Sightings(self)
    }

    /// The status of each session.
    pub fn session_status(&self) -> session_status::SessionStatuses<'_> {
        session_status::SessionStatuses(self)
    }

    /// The counters of the metrics.
    pub fn counters(&self) -> counters::Counters<'_> {
        counters::Counters(self)
    }

    /// The wall clock, as it was last seen.
    pub fn clock(&self) -> clock::WallClock<'_> {
        clock::WallClock(self)
    }

    /// Deletes what is too old, and the files of dead processes. Counters stay.
    pub fn prune(&self, now: impl Into<clock::Moment>) -> Result<(), StoreError> {
        let now = now.into();
        self.process.tidy();
        restarts::prune(&self.db, now)?;
        runs::prune(&self.db, now)?;
        audit::prune(&self.db)?;
        unstarted::prune(&self.db, now.wall)?;
        session_status::prune(&self.db, now.wall)?;
        sightings::prune(&self.db, now.wall)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
