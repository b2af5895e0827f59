//! Auth folders written by the real library (`tests/fixtures`), made young again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::{Doing, Result};

/// 2026-01-01T00:00:00Z, the instant every time in the fixtures is counted from.
const BASE_SECONDS: i64 = 1_767_225_600;

/// One file of an auth folder.
#[derive(Clone)]
pub struct KeyFile {
    /// Its name.
    pub name: String,
    /// What is in it. Keys, so it is never printed.
    pub bytes: Vec<u8>,
    /// When it was modified.
    pub modified: SystemTime,
    /// Its permission bits.
    pub mode: u32,
}

/// Where the archives are.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Reads a fixture as if it had been made at `now`.
pub fn read(name: &str, now: SystemTime) -> Result<Vec<KeyFile>> {
    let path = dir().join(format!("{name}.tar.gz"));
    let file = File::open(&path).doing(path.display())?;
    let now = now.duration_since(UNIX_EPOCH).doing("the clock")?;
    let shift = i64::try_from(now.as_secs()).doing("the clock")? - BASE_SECONDS;
    let mut files = Vec::new();
    for entry in tar::Archive::new(GzDecoder::new(file))
        .entries()
        .doing(path.display())?
    {
        let mut entry = entry.doing(path.display())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let inside = entry.path().doing(path.display())?.into_owned();
        let Some(name) = inside
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
        else {
            return Err(format!("{}: an entry without a name", path.display()));
        };
        let recorded = i64::try_from(entry.header().mtime().doing(&name)?).doing(&name)?;
        let mode = entry.header().mode().doing(&name)? & 0o777;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).doing(&name)?;
        if name.starts_with("session-") {
            bytes = shift_session(&bytes, shift * 1000).doing(&name)?;
        }
        let modified = UNIX_EPOCH + Duration::from_secs((recorded + shift).unsigned_abs());
        files.push(KeyFile {
            name,
            bytes,
            modified,
            mode,
        });
    }
    Ok(files)
}

/// Moves the times that libsignal keeps inside a session file.
fn shift_session(bytes: &[u8], by_ms: i64) -> Result<Vec<u8>> {
    let mut session: Value = serde_json::from_slice(bytes).doing("a session that is no JSON")?;
    let states = session
        .get_mut("_sessions")
        .and_then(Value::as_object_mut)
        .ok_or("no _sessions")?;
    for state in states.values_mut() {
        for field in ["used", "created", "closed"] {
            let time = state
                .pointer_mut(&format!("/indexInfo/{field}"))
                .ok_or("no indexInfo")?;
            match time.as_i64() {
                // -1: not closed.
                Some(ms) if ms > 0 => *time = Value::from(ms + by_ms),
                _ => {}
            }
        }
    }
    serde_json::to_vec(&session).doing("a session")
}

/// Writes files as they are, and makes the folder as old as the newest of them.
pub fn write(files: &[KeyFile], into: &Path) -> Result<()> {
    fs::create_dir_all(into).doing(into.display())?;
    for file in files {
        // A program that lists the folder meanwhile must not see half a file, or a young one.
        let path = into.join(&file.name);
        let hidden = into.with_extension("part");
        let mut written = File::create(&hidden).doing(hidden.display())?;
        written.write_all(&file.bytes).doing(path.display())?;
        written
            .set_permissions(Permissions::from_mode(file.mode))
            .doing(path.display())?;
        written.set_modified(file.modified).doing(path.display())?;
        fs::rename(&hidden, &path).doing(path.display())?;
    }
    if let Some(newest) = files.iter().map(|file| file.modified).max() {
        File::open(into)
            .and_then(|dir| dir.set_modified(newest))
            .doing(into.display())?;
    }
    Ok(())
}

/// Lays out a fixture in `into` as if it had been made at `now`. A folder called as the
/// fixture's bot has its login, every other one a login of its own: two folders of one login are
/// one bot and its copy.
pub fn unpack(name: &str, into: &Path, now: SystemTime) -> Result<()> {
    let mut files = read(name, now)?;
    if !into.ends_with("company_962302") {
        for creds in files.iter_mut().filter(|file| file.name == "creds.json") {
            creds.bytes = of_another_device(&creds.bytes, into)?;
        }
    }
    write(&files, into)
}

/// The same creds.json with another device of the account, for each path another one.
fn of_another_device(creds: &[u8], folder: &Path) -> Result<Vec<u8>> {
    let mut hash = DefaultHasher::new();
    folder.hash(&mut hash);
    let text = std::str::from_utf8(creds).doing("creds.json")?;
    let own = r#""id":"447700900001:12@s.whatsapp.net""#;
    if !text.contains(own) {
        return Err("creds.json has another account than expected".into());
    }
    let other = format!(r#""id":"447700900001:{}@s.whatsapp.net""#, hash.finish());
    Ok(text.replace(own, &other).into_bytes())
}

/// Everything about a folder that a clean-up and its undo must bring back.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, Kept>);

#[derive(Clone, PartialEq, Eq)]
struct Kept {
    bytes: Vec<u8>,
    modified: SystemTime,
    mode: u32,
}

impl Snapshot {
    /// Of the files in a folder; the quarantine, a directory, is no part of it.
    pub fn take(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).doing(folder.display())? {
            let entry = entry.doing(folder.display())?;
            let meta = entry.metadata().doing(folder.display())?;
            if meta.is_dir() {
                continue;
            }
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| "a name that is no text")?;
            let kept = Kept {
                bytes: fs::read(entry.path()).doing(&name)?,
                modified: meta.modified().doing(&name)?,
                mode: meta.mode(),
            };
            files.insert(name, kept);
        }
        Ok(Self(files))
    }

    /// How many files.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What is in a file.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|kept| kept.bytes.as_slice())
    }

    /// When a file was modified.
    pub fn modified(&self, name: &str) -> Option<SystemTime> {
        self.0.get(name).map(|kept| kept.modified)
    }

    /// Names that are in this one and not in the other.
    pub fn without(&self, other: &Snapshot) -> Vec<&str> {
        self.names()
            .filter(|name| !other.0.contains_key(*name))
            .collect()
    }

    /// Leaves these out.
    pub fn forget(&mut self, names: &BTreeSet<String>) {
        self.0.retain(|name, _| !names.contains(name));
    }

    /// How `later` differs, by name, never by content: it holds keys.
    pub fn differences(&self, later: &Snapshot) -> Vec<String> {
        let mut differences = Vec::new();
        differences.extend(
            self.without(later)
                .iter()
                .map(|name| format!("{name} is gone")),
        );
        differences.extend(
            later
                .without(self)
                .iter()
                .map(|name| format!("{name} is new")),
        );
        for (name, now) in &later.0 {
            let Some(then) = self.0.get(name) else {
                continue;
            };
            if then.bytes != now.bytes {
                differences.push(format!("{name} has other bytes"));
            }
            if then.modified != now.modified {
                differences.push(format!("{name} has another modification time"));
            }
            if then.mode != now.mode {
                differences.push(format!("{name} has another mode"));
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixture_has_its_files_and_none_is_from_the_future() {
        let now = SystemTime::now();
        for (name, count) in [
            ("normal", 76),
            ("warning-130", 130),
            ("bloated-classic-387", 387),
            ("modern-816", 816),
            ("modern-1003", 1003),
        ] {
            let files = read(name, now).unwrap();
            assert_eq!(files.len(), count, "{name}");
            assert!(files.iter().all(|file| file.modified <= now), "{name}");
            let newest = files.iter().map(|file| file.modified).max().unwrap();
            assert!(
                now.duration_since(newest).unwrap() < Duration::from_secs(900),
                "{name}"
            );
        }
    }

    #[test]
    fn a_folder_is_written_as_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, now) = (dir.path().join("company_962302"), SystemTime::now());
        unpack("normal", &folder, now).unwrap();
        let first = Snapshot::take(&folder).unwrap();
        assert_eq!(first.len(), 76);
        let creds = &read("normal", now)
            .unwrap()
            .into_iter()
            .find(|file| file.name == "creds.json")
            .unwrap();
        assert_eq!(first.bytes("creds.json"), Some(creds.bytes.as_slice()));
        assert_eq!(first.modified("creds.json"), Some(creds.modified));

        fs::remove_file(folder.join("creds.json")).unwrap();
        File::open(folder.join("pre-key-30.json"))
            .unwrap()
            .set_modified(UNIX_EPOCH)
            .unwrap();
        let second = Snapshot::take(&folder).unwrap();
        let expected = [
            "creds.json is gone",
            "pre-key-30.json has another modification time",
        ];
        assert_eq!(first.differences(&second), expected);
    }

    #[test]
    fn only_the_times_of_a_session_move() {
        let session =
            br#"{"_sessions":{"a":{"indexInfo":{"closed":-1,"used":5,"created":7,"x":9}}}}"#;
        let shifted: Value = serde_json::from_slice(&shift_session(session, 100).unwrap()).unwrap();
        let info = &shifted["_sessions"]["a"]["indexInfo"];
        assert_eq!(
            *info,
            serde_json::json!({"closed": -1, "used": 105, "created": 107, "x": 9})
        );
    }
}
