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
pub struct CopyStoreError(String);

impl fmt::Display for CopyStoreError {
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

    fn error(&self, doing: &str, error: impl Into<io::Error>) -> CopyStoreError {
        let error: io::Error = error.into();
        let mend = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; run as the user of the state directory, or give it to this one"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
            io::ErrorKind::ReadOnlyFilesystem => "; remount the file system read-write",
            _ => "",
        };
        CopyStoreError(format!(
            "{doing} in {}: {error}{mend}",
            self.state.join(DIR).display()
        ))
    }

    /// The session's directory; `None` where there is none and none is to be made.
    fn open(&self, session: &str, create: bool) -> Result<Option<OwnedFd>, CopyStoreError> {
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
    ) -> Result<Option<OwnedFd>, CopyStoreError> {
        let doing = "making the directory of the copies of creds.json";
        let mut made = false;
        loop {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                Ok(dir) => {
                    if made {
                        give_to_owner_of(parent, dir.as_fd())
                            .map_err(|obstacle| CopyStoreError(obstacle.to_string()))?;
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
    pub fn entries(&self, session: &str) -> Result<Vec<CopyEntry>, CopyStoreError> {
        match self.open(session, false)? {
            Some(dir) => self.entries_in(dir.as_fd()),
            None => Ok(Vec::new()),
        }
    }

    fn entries_in(&self, dir: BorrowedFd<'_>) -> Result<Vec<CopyEntry>, CopyStoreError> {
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
    pub fn copies(&self, session: &str) -> Result<Vec<(CopyEntry, Option<Copy>)>, CopyStoreError> {
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
    ) -> Result<Added, CopyStoreError> {
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
            return Err(CopyStoreError(format!(
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
    ) -> Result<(), CopyStoreError> {
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
    ) -> Result<(), CopyStoreError> {
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
    pub fn mark(
        &self,
        session: &str,
        entry: &CopyEntry,
        now: Timestamp,
    ) -> Result<(), CopyStoreError> {
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
    ) -> Result<(), CopyStoreError> {
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
    pub fn remove(&self, session: &str, numbers: &[u64]) -> Result<(), CopyStoreError> {
        let Some(dir) = self.open(session, false)? else {
            return Ok(());
        };
        self.lock(dir.as_fd())?;
        self.remove_in(dir.as_fd(), numbers)
    }

    fn remove_in(&self, dir: BorrowedFd<'_>, numbers: &[u64]) -> Result<(), CopyStoreError> {
        let doing = "deleting a copy of creds.json";
        for entry in self.entries_in(dir)? {
            if numbers.contains(&entry.number) {
                remove_file(dir, &entry.name()).map_err(|error| self.error(doing, error))?;
            }
        }
        Ok(())
    }

    /// Names of the session directories that hold copies, as [`CopyStore::directory`] gives them.
    pub fn directories(&self) -> Result<Vec<String>, CopyStoreError> {
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
    ) -> Result<usize, CopyStoreError> {
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

    fn lock(&self, dir: BorrowedFd<'_>) -> Result<(), CopyStoreError> {
        for _ in 0..LOCK_TRIES {
            match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(self.error("locking the copies of creds.json", error)),
            }
        }
        Err(CopyStoreError(
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
mod tests;
