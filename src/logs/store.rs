//! Saves offsets and counts together: one transaction has the counts and the offsets, so a crash
//! cannot separate them. Nothing is published before it is committed. Only hashes of the logs are
//! kept.
//!
//! While lines are written, almost every commit changes positions and counts only. These are saved
//! as one value ([`RecentChanges`]), which costs much less than a row for each, and now and then as rows.

mod counts;
mod recent;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use log_tailer::{Changes, Checkpoint, FileId, FileState, Fingerprint};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use rustix::fs::{FlockOperation, flock};

use crate::folder::Timestamp;
use crate::state_file;

use super::counter::CountChanges;
use super::log_name::Program;
use super::sessions::SavedSession;

use counts::save_count;
use recent::RecentChanges;

const SCHEMA: i64 = 3;
const FILE: &str = "logs.sqlite";

/// Everything that was saved.
#[derive(Debug, Default)]
pub struct SavedLogs {
    /// How far the logs were read.
    pub tailer: log_tailer::Saved,
    /// By session and name. The session is empty for values that belong to none.
    pub counts: HashMap<(String, String), u64>,
    /// Folders that were seen, each with the time since when it is gone.
    pub sessions: BTreeMap<Arc<str>, Option<Timestamp>>,
    /// Programs whose logs have shown a line of the library.
    pub bots: BTreeSet<Program>,
}

/// What must be saved in addition to the checkpoints.
#[derive(Debug, Default)]
pub struct Unsaved {
    /// Counts.
    pub counts: CountChanges,
    /// Folders.
    pub sessions: Vec<(String, SavedSession)>,
    /// Programs to add.
    pub bots: Vec<Program>,
}

impl Unsaved {
    /// Whether only positions and counts changed.
    pub fn is_reading_on(&self, changes: &Changes) -> bool {
        changes.is_reading_on()
            && self.counts.gone.is_empty()
            && self.sessions.is_empty()
            && self.bots.is_empty()
    }
}

/// The database. Only one program may use it at a time.
#[derive(Debug)]
pub struct LogStore {
    db: Connection,
    recent: RecentChanges,
    _owner: File,
}

impl LogStore {
    /// Opens or creates the database in `dir`.
    ///
    /// Errors: a sentence with the fix.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let hint = |doing: &str, error: &dyn std::fmt::Display| {
            format!(
                "{}: {doing}: {error}; the exporter keeps there how far it has read the logs: make the directory its own (or name another with --logs.state-path)",
                dir.display()
            )
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| hint("cannot be made", &error))?;
        let real = state_file::resolve_dir(dir).map_err(|error| hint("cannot be used", &error))?;
        let make = |name: &str| {
            let mut options = OpenOptions::new();
            let options = options.create(true).truncate(false).write(true);
            state_file::open(options, &real.join(name))
                .map_err(|error| hint("cannot be written to", &error))
        };
        let owner = make("lock")?;
        if let Err(error) = flock(&owner, FlockOperation::NonBlockingLockExclusive) {
            let error = io::Error::from(error);
            return Err(match error.kind() {
                io::ErrorKind::WouldBlock => format!(
                    "{}: another baileys_exporter counts with this directory; give each its own --logs.state-path",
                    dir.display()
                ),
                _ => hint("cannot be locked", &error),
            });
        }
        let file = dir.join(FILE);
        for beside in ["-journal", "-wal", "-shm"] {
            state_file::check(&real.join(format!("{FILE}{beside}")))
                .map_err(|error| hint("cannot be written to", &error))?;
        }
        // Created here with a mode that denies access to other users.
        make(FILE)?;
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW;
            let mut db = Connection::open_with_flags(real.join(FILE), flags)?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            // A power failure must not undo what was published.
            db.pragma_update(None, "synchronous", "FULL")?;
            let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if version == 0 {
                let tx = db.transaction()?;
                tx.execute_batch(
                    "CREATE TABLE files (
                        id INTEGER PRIMARY KEY, state INTEGER NOT NULL, dev INTEGER NOT NULL, ino INTEGER NOT NULL,
                        path BLOB NOT NULL, origin BLOB NOT NULL, offset INTEGER NOT NULL, skipping INTEGER NOT NULL,
                        head_len INTEGER NOT NULL, head INTEGER NOT NULL, tail_len INTEGER NOT NULL, tail INTEGER NOT NULL,
                        since INTEGER NOT NULL
                     );
                     CREATE TABLE counts (
                        session TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (session, name)
                     ) WITHOUT ROWID;
                     CREATE TABLE globs (glob TEXT PRIMARY KEY) WITHOUT ROWID;
                     CREATE TABLE looked (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL);",
                )?;
                tx.pragma_update(None, "user_version", 1)?;
                tx.commit()?;
            }
            if version <= 1 {
                let tx = db.transaction()?;
                tx.execute_batch(
                    "CREATE TABLE sessions (
                        name TEXT PRIMARY KEY, gone INTEGER
                     ) WITHOUT ROWID;
                     CREATE TABLE bots (
                        dir BLOB NOT NULL, name TEXT NOT NULL, PRIMARY KEY (dir, name)
                     ) WITHOUT ROWID;",
                )?;
                tx.pragma_update(None, "user_version", 2)?;
                tx.commit()?;
            }
            if version <= 2 {
                let tx = db.transaction()?;
                tx.execute_batch(recent::SCHEMA)?;
                tx.pragma_update(None, "user_version", SCHEMA)?;
                tx.commit()?;
            }
            Ok(db)
        };
        let db = open().map_err(|error| {
            format!(
                "{}: {error}; if it is damaged, move it away: counting then starts again at the ends of the logs",
                file.display()
            )
        })?;
        let version: i64 = db
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        if version != SCHEMA {
            return Err(format!(
                "{}: written by a newer version (schema {version}, this one knows {SCHEMA}); use that version, or another --logs.state-path",
                file.display()
            ));
        }
        let recent =
            RecentChanges::load(&db).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self {
            db,
            recent,
            _owner: owner,
        })
    }

    /// Loads everything.
    pub fn load(&self) -> rusqlite::Result<SavedLogs> {
        let mut saved = SavedLogs::default();
        let mut files = self.db.prepare("SELECT id, state, dev, ino, path, origin, offset, skipping, head_len, head, tail_len, tail, since FROM files")?;
        let rows = files.query_map([], |row| {
            let fingerprint = |len: usize, hash: usize| -> rusqlite::Result<Fingerprint> {
                Ok(Fingerprint {
                    len: row.get(len)?,
                    hash: row.get::<_, i64>(hash)? as u64,
                })
            };
            let path = |index: usize| -> rusqlite::Result<PathBuf> {
                Ok(std::ffi::OsString::from_vec(row.get(index)?).into())
            };
            let checkpoint = Checkpoint {
                state: match row.get::<_, i64>(1)? {
                    0 => FileState::Live,
                    2 => FileState::Orphan,
                    _ => FileState::Done,
                },
                id: FileId {
                    dev: row.get::<_, i64>(2)? as u64,
                    ino: row.get::<_, i64>(3)? as u64,
                },
                path: path(4)?,
                origin: path(5)?,
                offset: row.get::<_, i64>(6)? as u64,
                skipping: row.get(7)?,
                head: fingerprint(8, 9)?,
                tail: fingerprint(10, 11)?,
                since: time(row.get(12)?),
            };
            Ok((row.get(0)?, checkpoint))
        })?;
        saved.tailer.files = rows.collect::<Result<_, _>>()?;
        self.recent.move_files(&mut saved.tailer.files);
        saved.counts = load_counts(&self.db, &self.recent)?;
        for (name, total) in saved.tailer.statistics.named() {
            let key = (String::new(), name.to_owned());
            *total = saved.counts.get(&key).copied().unwrap_or(0);
        }
        let mut globs = self.db.prepare("SELECT glob FROM globs")?;
        saved.tailer.globs = globs
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        saved.tailer.looked_at = self
            .db
            .query_row("SELECT at FROM looked", [], |row| row.get(0))
            .optional()?
            .map(time);
        let mut sessions = self.db.prepare("SELECT name, gone FROM sessions")?;
        let rows = sessions.query_map([], |row| {
            let name: String = row.get(0)?;
            let gone: Option<i64> = row.get(1)?;
            Ok((Arc::from(name), gone.map(Timestamp::from_nanos)))
        })?;
        saved.sessions = rows.collect::<Result<_, _>>()?;
        let mut bots = self.db.prepare("SELECT dir, name FROM bots")?;
        let rows = bots.query_map([], |row| {
            Ok(Program {
                dir: std::ffi::OsString::from_vec(row.get(0)?).into(),
                name: row.get(1)?,
            })
        })?;
        saved.bots = rows.collect::<Result<_, _>>()?;
        Ok(saved)
    }

    /// Writes the checkpoints and the rest, or nothing. It is on disk when this returns.
    pub fn commit(&mut self, changes: &Changes, unsaved: &Unsaved) -> rusqlite::Result<()> {
        self.recent.add(changes, &unsaved.counts);
        let as_rows = !unsaved.is_reading_on(changes) || self.recent.is_due();
        let tx = self.db.transaction()?;
        if as_rows {
            write(&tx, changes, &unsaved.counts)?;
            write_sessions(&tx, unsaved)?;
            self.recent.write_rows(&tx)?;
        } else {
            self.recent.write(&tx)?;
        }
        if let Some(at) = changes.looked_at {
            let mut looked =
                tx.prepare_cached("INSERT OR REPLACE INTO looked (one, at) VALUES (1, ?)")?;
            looked.execute([nanos(at)])?;
        }
        tx.commit()?;
        self.recent.committed(as_rows);
        Ok(())
    }
}

/// The counts, by session and name.
fn load_counts(
    db: &Connection,
    recent: &RecentChanges,
) -> rusqlite::Result<HashMap<(String, String), u64>> {
    let mut counts = db.prepare("SELECT session, name, value FROM counts")?;
    let rows = counts.query_map([], |row| {
        Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)? as u64))
    })?;
    let mut counts = rows.collect::<Result<HashMap<_, _>, _>>()?;
    counts.extend(recent.counts());
    Ok(counts)
}

/// The sessions with lines that a running exporter has counted, each with whether none of them is
/// from the library's logger. Empty if nothing is saved in `dir`, or it cannot be read. Changes
/// nothing.
pub fn saved_half_monitored(dir: &Path) -> BTreeMap<Arc<str>, bool> {
    let read = || -> rusqlite::Result<BTreeMap<Arc<str>, bool>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(dir.join(FILE), flags)?;
        let counts = load_counts(&db, &RecentChanges::load(&db)?)?;
        let value = |session: &str, name: &str| {
            let key = (session.to_owned(), name.to_owned());
            counts.get(&key).copied().unwrap_or(0)
        };
        let sessions = counts.keys().map(|(session, _)| session.as_str());
        let with_lines = sessions.filter(|session| value(session, "lines") > 0);
        Ok(with_lines
            .map(|session| (Arc::from(session), value(session, "library") == 0))
            .collect())
    };
    read().unwrap_or_default()
}

/// The saved form.
fn nanos(time: SystemTime) -> i64 {
    Timestamp::from(time).nanos()
}

fn time(nanos: i64) -> SystemTime {
    Timestamp::from_nanos(nanos).into()
}

fn write_sessions(tx: &Transaction<'_>, unsaved: &Unsaved) -> rusqlite::Result<()> {
    let mut session =
        tx.prepare_cached("INSERT OR REPLACE INTO sessions (name, gone) VALUES (?, ?)")?;
    let mut forgotten = tx.prepare_cached("DELETE FROM sessions WHERE name = ?")?;
    for (name, saved) in &unsaved.sessions {
        match saved {
            Some(gone) => session.execute(params![name, gone.map(Timestamp::nanos)])?,
            None => forgotten.execute([name])?,
        };
    }
    let mut bot = tx.prepare_cached("INSERT OR IGNORE INTO bots (dir, name) VALUES (?, ?)")?;
    for program in &unsaved.bots {
        bot.execute(params![program.dir.as_os_str().as_bytes(), program.name])?;
    }
    Ok(())
}

fn write(tx: &Transaction<'_>, changes: &Changes, counts: &CountChanges) -> rusqlite::Result<()> {
    let mut file = tx.prepare_cached(
        "INSERT OR REPLACE INTO files (id, state, dev, ino, path, origin, offset, skipping, head_len, head, tail_len, tail, since)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (id, checkpoint) in &changes.files {
        file.execute(params![
            id,
            checkpoint.state as i64,
            checkpoint.id.dev as i64,
            checkpoint.id.ino as i64,
            checkpoint.path.as_os_str().as_bytes(),
            checkpoint.origin.as_os_str().as_bytes(),
            checkpoint.offset as i64,
            checkpoint.skipping,
            checkpoint.head.len,
            checkpoint.head.hash as i64,
            checkpoint.tail.len,
            checkpoint.tail.hash as i64,
            nanos(checkpoint.since),
        ])?;
    }
    let mut gone = tx.prepare_cached("DELETE FROM files WHERE id = ?")?;
    for id in &changes.gone {
        gone.execute([id])?;
    }
    let mut moved = tx.prepare_cached("DELETE FROM counts WHERE session = ?")?;
    for session in &counts.gone {
        moved.execute([session])?;
    }
    if let Some(mut statistics) = changes.statistics {
        for (name, total) in statistics.named() {
            save_count(tx, "", name, *total)?;
        }
    }
    let mut glob = tx.prepare_cached("INSERT OR IGNORE INTO globs (glob) VALUES (?)")?;
    for text in &changes.globs {
        glob.execute([text])?;
    }
    let mut gone = tx.prepare_cached("DELETE FROM globs WHERE glob = ?")?;
    for text in &changes.gone_globs {
        gone.execute([text])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
