//! Offsets and counts on disk, as one record: a transaction holds what was counted and how
//! far it was read, so a crash between the two cannot happen. Nothing is exposed before it
//! is committed. Of the logs themselves only hashes are kept.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rustix::fs::{FlockOperation, flock};

use crate::folder::Timestamp;

use super::files::FileId;
use super::print::Print;

const SCHEMA: i64 = 1;
const FILE: &str = "logs.sqlite";

/// What is known of a file between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub state: State,
    pub id: FileId,
    /// Where it was seen last.
    pub path: PathBuf,
    /// The path that says whose it is: the name it had before a rotation.
    pub origin: PathBuf,
    /// Everything before it is counted.
    pub offset: u64,
    /// `offset` lies within an overlong line.
    pub skipping: bool,
    /// Its first bytes.
    pub head: Print,
    /// The bytes before `offset`.
    pub tail: Print,
    /// When it came into this state.
    pub since: Timestamp,
}

/// What is to become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is read as it grows.
    Live = 0,
    /// It is read to the end, and only known so that it is not read again.
    Done = 1,
    /// Its bytes are gone from where they were; a copy of them may be found.
    Orphan = 2,
}

/// Everything that was saved.
#[derive(Debug, Default)]
pub struct Saved {
    pub files: Vec<(i64, Known)>,
    /// By session and name. The session is empty for what concerns none.
    pub counts: HashMap<(String, String), u64>,
    /// Globs whose files were once begun with.
    pub globs: BTreeSet<String>,
    /// When all files were last looked at.
    pub looked_at: Option<Timestamp>,
}

/// What changed since the last commit.
#[derive(Debug, Default)]
pub struct Changes {
    pub files: Vec<(i64, Known)>,
    pub gone: Vec<i64>,
    pub counts: Vec<(String, String, u64)>,
    pub globs: Vec<String>,
    pub gone_globs: Vec<String>,
    pub looked_at: Option<Timestamp>,
}

/// The database. One program at a time.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    _owner: File,
}

impl Store {
    /// Opens or makes the database in `dir`.
    ///
    /// Errors: a sentence that says what to do.
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
        let owner = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(|error| hint("cannot be written to", &error))?;
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
        // Made here so that it is nobody else's to read.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(|error| hint("cannot be written to", &error))?;
        let open = || -> rusqlite::Result<Connection> {
            let mut db = Connection::open(&file)?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            // A power cut must not take back what was exposed.
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
                tx.pragma_update(None, "user_version", SCHEMA)?;
                tx.commit()?;
            }
            Ok(db)
        };
        let db = open().map_err(|error| {
            format!(
                "{}: {error}; if it is damaged, move it away: counting then begins anew at the ends of the logs",
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
        Ok(Self { db, _owner: owner })
    }

    /// Everything.
    pub fn load(&self) -> rusqlite::Result<Saved> {
        let mut saved = Saved::default();
        let mut files = self.db.prepare("SELECT id, state, dev, ino, path, origin, offset, skipping, head_len, head, tail_len, tail, since FROM files")?;
        let rows = files.query_map([], |row| {
            let print = |len: usize, hash: usize| -> rusqlite::Result<Print> {
                Ok(Print {
                    len: row.get(len)?,
                    hash: row.get::<_, i64>(hash)? as u64,
                })
            };
            let path = |index: usize| -> rusqlite::Result<PathBuf> {
                Ok(std::ffi::OsString::from_vec(row.get(index)?).into())
            };
            let known = Known {
                state: match row.get::<_, i64>(1)? {
                    0 => State::Live,
                    2 => State::Orphan,
                    _ => State::Done,
                },
                id: FileId {
                    dev: row.get::<_, i64>(2)? as u64,
                    ino: row.get::<_, i64>(3)? as u64,
                },
                path: path(4)?,
                origin: path(5)?,
                offset: row.get::<_, i64>(6)? as u64,
                skipping: row.get(7)?,
                head: print(8, 9)?,
                tail: print(10, 11)?,
                since: Timestamp::from_nanos(row.get(12)?),
            };
            Ok((row.get(0)?, known))
        })?;
        saved.files = rows.collect::<Result<_, _>>()?;
        let mut counts = self.db.prepare("SELECT session, name, value FROM counts")?;
        let rows = counts.query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)? as u64))
        })?;
        saved.counts = rows.collect::<Result<_, _>>()?;
        let mut globs = self.db.prepare("SELECT glob FROM globs")?;
        saved.globs = globs
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        saved.looked_at = self
            .db
            .query_row("SELECT at FROM looked", [], |row| row.get(0))
            .optional()?
            .map(Timestamp::from_nanos);
        Ok(saved)
    }

    /// Writes all changes, or none.
    pub fn commit(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        let tx = self.db.transaction()?;
        write(&tx, changes)?;
        tx.commit()
    }
}

fn write(tx: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut file = tx.prepare_cached(
        "INSERT OR REPLACE INTO files (id, state, dev, ino, path, origin, offset, skipping, head_len, head, tail_len, tail, since)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (id, known) in &changes.files {
        file.execute(params![
            id,
            known.state as i64,
            known.id.dev as i64,
            known.id.ino as i64,
            known.path.as_os_str().as_bytes(),
            known.origin.as_os_str().as_bytes(),
            known.offset as i64,
            known.skipping,
            known.head.len,
            known.head.hash as i64,
            known.tail.len,
            known.tail.hash as i64,
            known.since.nanos(),
        ])?;
    }
    let mut gone = tx.prepare_cached("DELETE FROM files WHERE id = ?")?;
    for id in &changes.gone {
        gone.execute([id])?;
    }
    let mut count =
        tx.prepare_cached("INSERT OR REPLACE INTO counts (session, name, value) VALUES (?, ?, ?)")?;
    for (session, name, value) in &changes.counts {
        count.execute(params![
            session,
            name,
            i64::try_from(*value).unwrap_or(i64::MAX)
        ])?;
    }
    let mut glob = tx.prepare_cached("INSERT OR IGNORE INTO globs (glob) VALUES (?)")?;
    for text in &changes.globs {
        glob.execute([text])?;
    }
    let mut gone = tx.prepare_cached("DELETE FROM globs WHERE glob = ?")?;
    for text in &changes.gone_globs {
        gone.execute([text])?;
    }
    if let Some(at) = changes.looked_at {
        tx.execute(
            "INSERT OR REPLACE INTO looked (one, at) VALUES (1, ?)",
            [at.nanos()],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(ino: u64) -> Known {
        Known {
            state: State::Live,
            id: FileId { dev: u64::MAX, ino },
            path: "/l/a.log.1".into(),
            origin: "/l/a.log".into(),
            offset: 77,
            skipping: true,
            head: Print {
                len: 256,
                hash: u64::MAX,
            },
            tail: Print { len: 3, hash: 5 },
            since: Timestamp::from_secs(9),
        }
    }

    #[test]
    fn what_is_committed_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        assert!(
            Store::open(dir.path())
                .unwrap_err()
                .contains("another baileys_exporter")
        );
        let changes = Changes {
            files: vec![(1, known(1)), (2, known(2))],
            counts: vec![("s".into(), "n".into(), 3)],
            globs: vec!["/l/*".into()],
            looked_at: Some(Timestamp::from_secs(4)),
            ..Changes::default()
        };
        store.commit(&changes).unwrap();
        store
            .commit(&Changes {
                gone: vec![2],
                ..Changes::default()
            })
            .unwrap();
        drop(store);
        let saved = Store::open(dir.path()).unwrap().load().unwrap();
        assert_eq!(saved.files, [(1, known(1))]);
        assert_eq!(saved.counts[&("s".into(), "n".into())], 3);
        assert_eq!(saved.globs, BTreeSet::from(["/l/*".to_owned()]));
        assert_eq!(saved.looked_at, Some(Timestamp::from_secs(4)));
        use std::os::unix::fs::PermissionsExt;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode() & 0o077;
            assert_eq!(mode, 0, "nobody else reads it");
        }
    }

    #[test]
    fn a_damaged_or_newer_database_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(FILE),
            "this is not a database, not at all, not even nearly",
        )
        .unwrap();
        assert!(
            Store::open(dir.path())
                .unwrap_err()
                .contains("move it away")
        );
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        Connection::open(dir.path().join(FILE))
            .unwrap()
            .pragma_update(None, "user_version", 9)
            .unwrap();
        assert!(
            Store::open(dir.path())
                .unwrap_err()
                .contains("newer version")
        );
        assert!(
            Store::open(Path::new("/proc/nothing/here"))
                .unwrap_err()
                .contains("--logs.state-path")
        );
    }
}
