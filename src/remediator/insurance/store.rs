//! The copies, in the state directory:
//!
//! ```text
//! creds/                      0700
//!   company_7/                0700, the session's name, percent-encoded
//!     000012-TAKEN-WRITTEN-IDENTITY-CONTENT.creds        0600
//! ```
//!
//! A copy's name is its entry in the index, so one rename makes a copy whole and there is
//! nothing that could disagree with it: its number, when it was taken and when Baileys had
//! written it (nanoseconds), and fingerprints of the identity and of the bytes. Its
//! modification time says when the identity was last seen in the folder.
//!
//! The bytes are private keys: they are never printed, logged or served.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::folder::identity::{Identity, Insurable, insurable, parse_hex};
use crate::folder::scan::{MAX_CREDS_BYTES, open_dir, read_plain_file, stat};
use crate::folder::{Shape, Timestamp};
use crate::policy::insurance::{Holds, Keep, Kept, Known, surplus};
use crate::remediator::quarantine::give_to_owner_of;

const DIR: &str = "creds";
const SUFFIX: &str = ".creds";
const TMP: &str = "new.tmp";
/// With so many copies of one session, of however many identities, no new identity is taken in.
pub const MAX_COPIES: usize = 100;
/// A copy that is seen to be the folder's own is marked so at most this often.
const MARK_EVERY: Duration = Duration::from_secs(86_400);
/// Somebody else writes here for milliseconds only.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What stays as it is in the name of a session's directory.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// A copy, as its name tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyEntry {
    /// Its number, what `--version` takes.
    pub number: u64,
    /// When it was taken.
    pub taken: Timestamp,
    /// When Baileys had written it.
    pub written: Timestamp,
    /// Whose it is.
    pub identity: Identity,
    /// Fingerprint of its bytes.
    pub content: u64,
    /// When its identity was last seen in the folder, within a day.
    pub seen: Timestamp,
    /// Its size.
    pub size: u64,
}

impl CopyEntry {
    fn parse(name: &str, seen: Timestamp, size: u64) -> Option<Self> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let mut number = || {
            let digits = parts.next()?;
            digits
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| digits.parse::<i64>().ok())
                .flatten()
        };
        let (count, taken, written) = (number()?, number()?, number()?);
        let identity = Identity::parse(parts.next()?)?;
        let content = parse_hex(parts.next()?)?;
        let copy = Self {
            number: u64::try_from(count).ok()?,
            taken: Timestamp::from_nanos(taken),
            written: Timestamp::from_nanos(written),
            identity,
            content,
            seen,
            size,
        };
        (parts.next().is_none() && copy.name() == name).then_some(copy)
    }

    fn name(&self) -> String {
        format!(
            "{:06}-{}-{}-{}-{:016x}{SUFFIX}",
            self.number,
            self.taken.nanos().max(0),
            self.written.nanos().max(0),
            self.identity,
            self.content
        )
    }

    /// What its keeping is decided by.
    pub fn kept(&self) -> Kept {
        Kept {
            number: self.number,
            identity: self.identity,
            taken: self.taken,
            seen: self.seen,
        }
    }
}

/// A copy that was read and is whole.
#[derive(Clone)]
pub struct Copy {
    /// What its name tells.
    pub entry: CopyEntry,
    /// What it says.
    pub facts: Insurable,
    /// Private keys.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy")
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}

impl Copy {
    /// What a restore is decided by.
    pub fn known(&self) -> Known {
        Known {
            identity: self.facts.identity,
            registration_id: self.facts.registration_id,
            next_pre_key_id: self.facts.next_pre_key_id,
            written: self.entry.written,
        }
    }
}

/// The copies cannot be kept or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was done with a creds.json that is worth a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A new copy, of this number.
    New(u64),
    /// The newest copy of its identity has the same bytes.
    Known(u64),
}

/// All copies in one state directory.
#[derive(Clone, Debug)]
pub struct CopyStore {
    state: PathBuf,
}

impl CopyStore {
    /// In this state directory.
    pub fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    fn error(&self, doing: &str, error: impl Into<io::Error>) -> StoreError {
        let error: io::Error = error.into();
        let mend = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; run as the user of the state directory, or give it to this one"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
            io::ErrorKind::ReadOnlyFilesystem => "; remount the file system read-write",
            _ => "",
        };
        StoreError(format!(
            "{doing} in {}: {error}{mend}",
            self.state.join(DIR).display()
        ))
    }

    /// The session's directory; `None` where there is none and none is to be made.
    fn open(&self, session: &str, create: bool) -> Result<Option<OwnedFd>, StoreError> {
        let doing = "opening the copies of creds.json";
        let all = match open_dir(&self.state) {
            Ok(state) => self.dir_in(state.as_fd(), DIR, create)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
            Err(error) => return Err(self.error(doing, error)),
        };
        match all {
            Some(all) => self.dir_in(all.as_fd(), &encoded(session), create),
            None => Ok(None),
        }
    }

    fn dir_in(
        &self,
        parent: BorrowedFd<'_>,
        name: &str,
        create: bool,
    ) -> Result<Option<OwnedFd>, StoreError> {
        let doing = "making the directory of the copies of creds.json";
        let mut made = false;
        loop {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                Ok(dir) => {
                    if made {
                        give_to_owner_of(parent, dir.as_fd())
                            .map_err(|obstacle| StoreError(obstacle.to_string()))?;
                        rustix::fs::fsync(parent).map_err(|e| self.error(doing, e))?;
                    }
                    let mode = rustix::fs::fstat(&dir)
                        .map_err(|e| self.error(doing, e))?
                        .st_mode;
                    if create && mode & 0o077 != 0 {
                        rustix::fs::fchmod(&dir, Mode::RWXU).map_err(|e| self.error(doing, e))?;
                    }
                    return Ok(Some(dir));
                }
                Err(Errno::NOENT) if !create => return Ok(None),
                Err(Errno::NOENT) if !made => match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => made = true,
                    Err(error) => return Err(self.error(doing, error)),
                },
                Err(error) => return Err(self.error(doing, error)),
            }
        }
    }

    /// The copies of a session, newest first, by their names alone: nothing is read.
    pub fn entries(&self, session: &str) -> Result<Vec<CopyEntry>, StoreError> {
        match self.open(session, false)? {
            Some(dir) => self.entries_in(dir.as_fd()),
            None => Ok(Vec::new()),
        }
    }

    fn entries_in(&self, dir: BorrowedFd<'_>) -> Result<Vec<CopyEntry>, StoreError> {
        let doing = "listing the copies of creds.json";
        let mut entries = Vec::new();
        for entry in Dir::read_from(dir).map_err(|e| self.error(doing, e))? {
            let entry = entry.map_err(|e| self.error(doing, e))?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if !name.ends_with(SUFFIX) {
                continue;
            }
            if let Ok(Some((Shape::Regular, stamp))) = stat(dir, OsStr::new(name)) {
                entries.extend(CopyEntry::parse(name, stamp.modified, stamp.size));
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        Ok(entries)
    }

    /// The copies of a session, newest first, each with its content where that is whole.
    pub fn copies(&self, session: &str) -> Result<Vec<(CopyEntry, Option<Copy>)>, StoreError> {
        let Some(dir) = self.open(session, false)? else {
            return Ok(Vec::new());
        };
        let entries = self.entries_in(dir.as_fd())?;
        Ok(entries
            .into_iter()
            .map(|entry| (entry, read(dir.as_fd(), &entry)))
            .collect())
    }

    /// Keeps a copy of these bytes, unless the newest of its identity is the same, and then
    /// lets go of what is crowded out. Blocks.
    pub fn add(
        &self,
        session: &str,
        bytes: &[u8],
        facts: &Insurable,
        written: Timestamp,
        now: Timestamp,
        keep: &Keep,
    ) -> Result<Added, StoreError> {
        let doing = "keeping a copy of creds.json";
        let dir = self
            .open(session, true)?
            .ok_or_else(|| self.error(doing, Errno::NOENT))?;
        self.lock(dir.as_fd())?;
        let entries = self.entries_in(dir.as_fd())?;
        let content = xxh3_64(bytes);
        if let Some(newest) = entries
            .iter()
            .find(|entry| entry.identity == facts.identity)
            && newest.content == content
            && read(dir.as_fd(), newest).is_some()
        {
            self.mark_in(dir.as_fd(), newest, now)?;
            let number = newest.number;
            // A crash may have come between the copy and what it crowds out.
            self.thin_out(dir.as_fd(), entries, facts.identity, now, keep)?;
            return Ok(Added::Known(number));
        }
        // An identity that has copies crowds out its own.
        if entries.len() >= MAX_COPIES
            && entries.iter().all(|entry| entry.identity != facts.identity)
        {
            return Err(StoreError(format!(
                "{MAX_COPIES} copies of this session's creds.json are kept already, of many identities; look at `creds list`, and remove what nobody needs from {}",
                self.state.join(DIR).join(encoded(session)).display()
            )));
        }
        let number = entries.iter().map(|entry| entry.number).max().unwrap_or(0) + 1;
        let written = Timestamp::from_nanos(written.nanos().max(0));
        let size = bytes.len() as u64;
        let entry = CopyEntry {
            number,
            taken: now,
            written,
            identity: facts.identity,
            content,
            seen: now,
            size,
        };
        self.write(dir.as_fd(), &entry, bytes)?;
        let all = std::iter::once(entry).chain(entries).collect();
        self.thin_out(dir.as_fd(), all, facts.identity, now, keep)?;
        Ok(Added::New(number))
    }

    /// Lets go of what is crowded out of one identity's copies. Only whole ones count.
    fn thin_out(
        &self,
        dir: BorrowedFd<'_>,
        entries: Vec<CopyEntry>,
        identity: Identity,
        now: Timestamp,
        keep: &Keep,
    ) -> Result<(), StoreError> {
        let own = entries
            .into_iter()
            .filter(|entry| entry.identity == identity);
        let whole: Vec<Kept> = own
            .filter(|entry| read(dir, entry).is_some())
            .map(|entry| entry.kept())
            .collect();
        let crowded = surplus(&whole, Holds::Identity(identity), now, keep).crowded;
        self.remove_in(dir, &Vec::from_iter(crowded))
    }

    /// tmp, fsync, rename, fsync of the directory.
    fn write(
        &self,
        dir: BorrowedFd<'_>,
        entry: &CopyEntry,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let doing = "keeping a copy of creds.json";
        let written = (|| -> io::Result<()> {
            remove_file(dir, TMP)?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, TMP, flags, Mode::RUSR | Mode::WUSR)?;
            give_to_owner_of(dir, fd.as_fd())
                .map_err(|obstacle| io::Error::other(obstacle.to_string()))?;
            let mut file = std::fs::File::from(fd);
            file.write_all(bytes)?;
            set_modified(file.as_fd(), entry.seen)?;
            file.sync_all()?;
            rustix::fs::renameat(dir, TMP, dir, entry.name())?;
            rustix::fs::fsync(dir)?;
            Ok(())
        })();
        written.map_err(|error| {
            // It holds private keys, and what is half of a copy is of no use.
            let _ = remove_file(dir, TMP);
            self.error(doing, error)
        })
    }

    /// Notes that the newest copy of this identity is what the folder holds.
    pub fn mark(&self, session: &str, entry: &CopyEntry, now: Timestamp) -> Result<(), StoreError> {
        match self.open(session, false)? {
            Some(dir) => self.mark_in(dir.as_fd(), entry, now),
            None => Ok(()),
        }
    }

    fn mark_in(
        &self,
        dir: BorrowedFd<'_>,
        entry: &CopyEntry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // One dated ahead was marked under a wrong clock.
        if entry.seen <= now && entry.seen.until(now) < MARK_EVERY {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let marked = rustix::fs::openat(dir, entry.name(), flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| set_modified(file.as_fd(), now));
        marked.map_err(|error| self.error("marking a copy of creds.json", error))
    }

    /// Deletes copies.
    pub fn remove(&self, session: &str, numbers: &[u64]) -> Result<(), StoreError> {
        let Some(dir) = self.open(session, false)? else {
            return Ok(());
        };
        self.lock(dir.as_fd())?;
        self.remove_in(dir.as_fd(), numbers)
    }

    fn remove_in(&self, dir: BorrowedFd<'_>, numbers: &[u64]) -> Result<(), StoreError> {
        let doing = "deleting a copy of creds.json";
        for entry in self.entries_in(dir)? {
            if numbers.contains(&entry.number) {
                remove_file(dir, &entry.name()).map_err(|error| self.error(doing, error))?;
            }
        }
        Ok(())
    }

    /// Names of the session directories that hold copies, as [`CopyStore::directory`] gives them.
    pub fn directories(&self) -> Result<Vec<String>, StoreError> {
        let doing = "listing the copies of creds.json";
        match std::fs::read_dir(self.state.join(DIR)) {
            Ok(entries) => {
                let names = entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().into_string().ok());
                Ok(names.collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.error(doing, error)),
        }
    }

    /// Name of a session's directory.
    pub fn directory(session: &str) -> String {
        encoded(session)
    }

    /// Lets go of the copies of a session that is no longer there; `due` says which of them
    /// have been due for long enough.
    pub fn expire_directory(
        &self,
        directory: &str,
        now: Timestamp,
        keep: &Keep,
        mut due: impl FnMut(u64) -> bool,
    ) -> Result<usize, StoreError> {
        let state = open_dir(&self.state).map_err(|error| self.error("opening", error))?;
        let Some(all) = self.dir_in(state.as_fd(), DIR, false)? else {
            return Ok(0);
        };
        let Some(dir) = self.dir_in(all.as_fd(), directory, false)? else {
            return Ok(0);
        };
        self.lock(dir.as_fd())?;
        let kept: Vec<Kept> = self
            .entries_in(dir.as_fd())?
            .iter()
            .map(CopyEntry::kept)
            .collect();
        let mut aged: Vec<u64> = surplus(&kept, Holds::NoSession, now, keep)
            .aged
            .into_iter()
            .collect();
        aged.retain(|number| due(*number));
        self.remove_in(dir.as_fd(), &aged)?;
        if aged.len() == kept.len() {
            let _ = remove_file(dir.as_fd(), TMP);
            // Refuses where anything is left in it.
            let _ = rustix::fs::unlinkat(&all, directory, AtFlags::REMOVEDIR);
        }
        Ok(aged.len())
    }

    fn lock(&self, dir: BorrowedFd<'_>) -> Result<(), StoreError> {
        for _ in 0..LOCK_TRIES {
            match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(self.error("locking the copies of creds.json", error)),
            }
        }
        Err(StoreError(
            "another process holds the copies of this session's creds.json; try again".into(),
        ))
    }
}

/// Reads a copy back; `None` where it is not what its name says.
fn read(dir: BorrowedFd<'_>, entry: &CopyEntry) -> Option<Copy> {
    let bytes = read_plain_file(dir, OsStr::new(&entry.name()), MAX_CREDS_BYTES).ok()?;
    let facts = insurable(&bytes)?;
    (xxh3_64(&bytes) == entry.content && facts.identity == entry.identity).then_some(Copy {
        entry: *entry,
        facts,
        bytes,
    })
}

fn remove_file(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets the modification time and nothing else.
pub(super) fn set_modified(file: BorrowedFd<'_>, at: Timestamp) -> io::Result<()> {
    let nanos = at.nanos();
    let at = Timespec {
        tv_sec: nanos.div_euclid(1_000_000_000),
        tv_nsec: nanos.rem_euclid(1_000_000_000),
    };
    let keep = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    };
    Ok(rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: keep,
            last_modification: at,
        },
    )?)
}

/// A session's name as one plain directory name. Long ones end in a hash of the whole.
fn encoded(session: &str) -> String {
    let plain = utf8_percent_encode(session, PLAIN).to_string();
    if plain.len() <= 200 {
        return plain;
    }
    format!("{}~{:032x}", &plain[..150], xxh3_128(session.as_bytes()))
}

/// Where the copies of all sessions are.
pub fn path_in(state: &Path) -> PathBuf {
    state.join(DIR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn creds(identity: &str, next: u32) -> Vec<u8> {
        format!(
            r#"{{"signedIdentityKey":{{"public":{{"type":"Buffer","data":"{identity}"}}}},"registrationId":7,"me":{{"id":"999100000000:1@s.whatsapp.net"}},"account":{{}},"nextPreKeyId":{next}}}"#
        )
        .into_bytes()
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn add(store: &CopyStore, session: &str, bytes: &[u8], at: Timestamp) -> Added {
        let facts = insurable(bytes).unwrap();
        store
            .add(session, bytes, &facts, at, at, &Keep::default())
            .unwrap()
    }

    #[test]
    fn copies_are_private_and_come_back_as_they_were() {
        let state = tempfile::tempdir().unwrap();
        let store = CopyStore::new(state.path());
        assert_eq!(store.entries("bot").unwrap(), []);
        let bytes = creds("Q0M=", 31);
        assert_eq!(add(&store, "bot", &bytes, now()), Added::New(1));
        assert_eq!(add(&store, "bot", &bytes, now()), Added::Known(1));
        let copies = store.copies("bot").unwrap();
        assert_eq!(copies[0].1.as_ref().unwrap().bytes, bytes);
        let dir = path_in(state.path()).join("bot");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = std::fs::read_dir(&dir)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        assert_eq!(
            (mode(&path_in(state.path())), mode(&dir), mode(&file)),
            (0o700, 0o700, 0o600)
        );
        assert!(
            !format!("{:?}", copies).contains("999100"),
            "no number in debug output"
        );
        // Opened up by somebody, closed again with the next copy.
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        add(&store, "bot", &creds("Q0M=", 32), now());
        assert_eq!(mode(&dir), 0o700);
    }

    #[test]
    fn a_new_identity_pushes_no_other_out() {
        let state = tempfile::tempdir().unwrap();
        let store = CopyStore::new(state.path());
        for next in 31..35 {
            add(&store, "bot", &creds("Q0M=", next), now());
        }
        for next in 31..51 {
            add(&store, "bot", &creds("QUE=", next), now());
        }
        let copies = store.copies("bot").unwrap();
        let own = |identity: &str| {
            let identity = insurable(&creds(identity, 31)).unwrap().identity;
            let of = copies
                .iter()
                .filter(|(entry, _)| entry.identity == identity);
            of.map(|(_, copy)| copy.as_ref().unwrap().facts.next_pre_key_id)
                .collect::<Vec<_>>()
        };
        assert_eq!(own("Q0M="), [34, 32, 31]);
        assert_eq!(own("QUE="), [50, 32, 31]);
    }

    #[test]
    fn with_many_identities_only_another_one_is_left_out() {
        let state = tempfile::tempdir().unwrap();
        let store = CopyStore::new(state.path());
        for identity in 0..MAX_COPIES {
            add(&store, "bot", &creds(&format!("{identity:04}"), 31), now());
        }
        let another = creds("QUE=", 31);
        let facts = insurable(&another).unwrap();
        let refused = store.add("bot", &another, &facts, now(), now(), &Keep::default());
        assert!(refused.unwrap_err().to_string().contains("creds list"));
        for next in 32..40 {
            add(&store, "bot", &creds("0042", next), now());
        }
        assert_eq!(
            store.entries("bot").unwrap().len(),
            MAX_COPIES + Keep::default().per_identity - 1
        );
    }

    #[test]
    fn a_damaged_copy_counts_for_nothing() {
        let state = tempfile::tempdir().unwrap();
        let store = CopyStore::new(state.path());
        add(&store, "bot", &creds("Q0M=", 31), now());
        let dir = path_in(state.path()).join("bot");
        let first = std::fs::read_dir(&dir)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        std::fs::write(&first, &creds("Q0M=", 31)[..40]).unwrap();
        std::fs::write(dir.join("000009-1-1-x.creds"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("notes.creds")).unwrap();
        let copies = store.copies("bot").unwrap();
        assert!(copies.len() == 1 && copies[0].1.is_none());
        assert_eq!(
            add(&store, "bot", &creds("Q0M=", 31), now()),
            Added::New(2),
            "kept anew"
        );
        for next in 32..36 {
            add(&store, "bot", &creds("Q0M=", next), now());
        }
        let whole = store
            .copies("bot")
            .unwrap()
            .into_iter()
            .filter(|(_, copy)| copy.is_some());
        assert_eq!(whole.count(), 3, "the damaged one took nobody's place");
    }

    #[test]
    fn names_are_one_plain_directory_name() {
        assert_eq!(encoded("company_7"), "company_7");
        for odd in [
            "..",
            ".",
            "a/b",
            "x\\xff",
            "é",
            &"é".repeat(250),
            &"a".repeat(255),
        ] {
            let name = encoded(odd);
            assert!(name.len() <= 200 && !name.contains(['/', '.']), "{name}");
        }
        assert_ne!(encoded(&"a".repeat(254)), encoded(&"a".repeat(255)));
    }

    #[test]
    fn a_session_that_is_gone_loses_its_copies_after_their_time() {
        let state = tempfile::tempdir().unwrap();
        let store = CopyStore::new(state.path());
        add(&store, "bot", &creds("Q0M=", 31), now());
        let day = Duration::from_secs(86_400);
        let expire = |at: Timestamp, due: bool| {
            store
                .expire_directory(&CopyStore::directory("bot"), at, &Keep::default(), |_| due)
                .unwrap()
        };
        assert_eq!(expire(now().plus(day * 30), true), 0);
        assert_eq!(expire(now().plus(day * 31), false), 0);
        // Marked as seen, it stays.
        let entry = store.entries("bot").unwrap()[0];
        store.mark("bot", &entry, now().plus(day * 20)).unwrap();
        assert_eq!(expire(now().plus(day * 31), true), 0);
        assert_eq!(expire(now().plus(day * 51), true), 1);
        assert_eq!(store.directories().unwrap(), Vec::<String>::new());
    }
}
