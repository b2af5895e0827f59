//! The copies in the state directory:
//!
//! ```text
//! creds/                      0700
//!   company_7/                0700, the session's name, percent-encoded
//!     000012-TAKEN-WRITTEN-IDENTITY-CONTENT.creds        0600
//! ```
//!
//! The file name is the index entry: number, time of the copy, time at which Baileys wrote the
//! file (both in nanoseconds), fingerprint of the identity, fingerprint of the bytes. One
//! rename therefore completes a copy, and no second index can disagree. The modification time
//! is when the identity was last seen in the folder.
//!
//! The bytes are private keys. They are never printed, logged or served.

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

use crate::config::Settings;
use crate::folder::identity::{Identity, Insurable, insurable, parse_hex};
use crate::folder::scan::{MAX_CREDS_BYTES, open_dir, read_plain_file, stat};
use crate::folder::{SessionName, Shape, Timestamp};
use crate::policy::insurance::{CopyFacts, Holds, Keep, Known, seen_last, surplus};
use crate::policy::{CredsPlace, Limits};
use crate::remediator::quarantine::give_to_owner_of;
use crate::state_file;

const DIR: &str = "creds";
const SUFFIX: &str = ".creds";
const TMP: &str = "new.tmp";
/// Most copies of one session over all identities. At the limit, no new identity is added.
pub const MAX_COPIES: usize = 100;
/// Shortest time between two updates of a copy's `seen` time, while no other identity was seen
/// later.
const MARK_EVERY: Duration = Duration::from_secs(86_400);
/// An identity is marked at least this much later than every other. Some file systems keep
/// whole seconds only.
const MARK_STEP: Duration = Duration::from_secs(1);
/// Other processes hold the lock for milliseconds only.
const COPIES_LOCK_TRIES: u32 = 250;
const COPIES_LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Characters that the name of a session's directory keeps unencoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// A copy, as its file name describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyEntry {
    /// Its number, for `--version`.
    pub number: u64,
    /// When it was taken.
    pub taken: Timestamp,
    /// When Baileys wrote it.
    pub written: Timestamp,
    /// The identity in it.
    pub identity: Identity,
    /// Fingerprint of its bytes.
    pub content: u64,
    /// When its identity was last seen in the folder, to the day. Later than that of every other
    /// identity if it was seen after them.
    pub seen: Timestamp,
    /// Its size in bytes.
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

    /// The input of the decision whether to keep it.
    pub fn kept(&self) -> CopyFacts {
        CopyFacts {
            number: self.number,
            identity: self.identity,
            taken: self.taken,
            seen: self.seen,
        }
    }
}

/// A copy that was read and is complete.
#[derive(Clone)]
pub struct Copy {
    /// Its index entry.
    pub entry: CopyEntry,
    /// Its parsed content.
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
    /// The input of the decision whether to restore it.
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

/// The result of [`CopyStore::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A new copy with this number.
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
    /// The copies in this state directory.
    pub fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    fn error(&self, doing: &str, error: impl Into<io::Error>) -> CopyStoreError {
        let error: io::Error = error.into();
        let fix = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; run as the owner of the state directory, or chown the directory to this user"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
            io::ErrorKind::ReadOnlyFilesystem => "; remount the file system read-write",
            _ => "",
        };
        CopyStoreError(format!(
            "{doing} in {}: {error}{fix}",
            self.state.join(DIR).display()
        ))
    }

    /// The session's directory; `None` if it does not exist and `create` is false.
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
        let doing = "creating the directory of the copies of creds.json";
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
                    let about = rustix::fs::fstat(&dir).map_err(|e| self.error(doing, e))?;
                    self.refuse_foreign(parent, about.st_uid)?;
                    let mode = about.st_mode;
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

    /// Whether another user has put a file there.
    fn is_foreign(&self, dir: BorrowedFd<'_>, name: &str) -> bool {
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|file| self.refuse_foreign(dir, file.st_uid).is_err())
    }

    /// A directory of another user may hold what that user has made up.
    fn refuse_foreign(&self, parent: BorrowedFd<'_>, owner: u32) -> Result<(), CopyStoreError> {
        let doing = "opening the copies of creds.json";
        let above = rustix::fs::fstat(parent).map_err(|e| self.error(doing, e))?;
        let user = rustix::process::geteuid().as_raw();
        match state_file::is_foreign(owner, above.st_uid, user) {
            false => Ok(()),
            true => Err(self.error(
                doing,
                io::Error::other(format!(
                    "a directory belongs to the user {owner}, and this program did not make it. Find out who did, and remove it"
                )),
            )),
        }
    }

    /// The copies of a session, newest first. Reads names only.
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
            if let Ok(Some((Shape::Regular, stamp))) = stat(dir, OsStr::new(name))
                && !self.is_foreign(dir, name)
            {
                entries.extend(CopyEntry::parse(name, stamp.modified, stamp.size));
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        Ok(entries)
    }

    /// The copies of a session, newest first, each with its content if that is complete.
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

    /// Keeps a copy of these bytes, unless the newest copy of the identity is the same. Then
    /// deletes the copies above the limit. Blocks.
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
            self.mark_in(dir.as_fd(), newest, &entries, now)?;
            let number = newest.number;
            // A crash may have come between writing the copy and deleting the oldest.
            self.thin_out(dir.as_fd(), entries, facts.identity, now, keep)?;
            return Ok(Added::Known(number));
        }
        // An identity that has copies replaces its own oldest.
        if entries.len() >= MAX_COPIES
            && entries.iter().all(|entry| entry.identity != facts.identity)
        {
            return Err(CopyStoreError(format!(
                "this session already has {MAX_COPIES} copies of creds.json, of many identities; see `creds list`, and remove copies that are no longer needed from {}",
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
            seen: last_of(facts.identity, &entries, now),
            size,
        };
        self.write(dir.as_fd(), &entry, bytes)?;
        let all = std::iter::once(entry).chain(entries).collect();
        self.thin_out(dir.as_fd(), all, facts.identity, now, keep)?;
        Ok(Added::New(number))
    }

    /// Deletes the copies of one identity above the limit. Only complete ones count.
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
        let whole: Vec<CopyFacts> = own
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
            // An incomplete copy is useless and holds private keys.
            let _ = remove_file(dir, TMP);
            self.error(doing, error)
        })
    }

    /// Records that the folder still holds the identity of this copy.
    pub fn mark(
        &self,
        session: &str,
        entry: &CopyEntry,
        now: Timestamp,
    ) -> Result<(), CopyStoreError> {
        match self.open(session, false)? {
            Some(dir) => {
                let entries = self.entries_in(dir.as_fd())?;
                self.mark_in(dir.as_fd(), entry, &entries, now)
            }
            None => Ok(()),
        }
    }

    fn mark_in(
        &self,
        dir: BorrowedFd<'_>,
        entry: &CopyEntry,
        entries: &[CopyEntry],
        now: Timestamp,
    ) -> Result<(), CopyStoreError> {
        let seen = last_of(entry.identity, entries, now);
        let others = entries
            .iter()
            .filter(|other| other.identity != entry.identity);
        let is_last = others.map(|other| other.seen).all(|at| at < entry.seen);
        // A time in the future comes from a wrong clock; overwrite it.
        if is_last && entry.seen <= seen && entry.seen.until(seen) < MARK_EVERY {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let marked = rustix::fs::openat(dir, entry.name(), flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| set_modified(file.as_fd(), seen));
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

    /// Deletes expired copies of a session that no longer exists, if `due(number)` agrees.
    /// Returns how many.
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
        let kept: Vec<CopyFacts> = self
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
            // Fails, as intended, if the directory is not empty.
            let _ = rustix::fs::unlinkat(&all, directory, AtFlags::REMOVEDIR);
        }
        Ok(aged.len())
    }

    fn lock(&self, dir: BorrowedFd<'_>) -> Result<(), CopyStoreError> {
        for _ in 0..COPIES_LOCK_TRIES {
            match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(COPIES_LOCK_PAUSE),
                Err(error) => return Err(self.error("locking the copies of creds.json", error)),
            }
        }
        Err(CopyStoreError(
            "another process has locked the copies of this session's creds.json; try again".into(),
        ))
    }
}

/// The time to mark an identity with that is in the folder now: `now`, or after every other
/// identity where a wrong clock marked one in the future.
fn last_of(identity: Identity, entries: &[CopyEntry], now: Timestamp) -> Timestamp {
    let others = entries.iter().filter(|entry| entry.identity != identity);
    let after = others.map(|other| other.seen.plus(MARK_STEP)).max();
    after.map_or(now, |after| after.max(now))
}

/// The copy to put back by default: the newest whole one of the identity that was seen last.
/// `copies`: newest first.
pub fn default_copy(copies: &[(CopyEntry, Option<Copy>)]) -> Option<&Copy> {
    let last = seen_last(copies.iter().map(|(entry, _)| entry.kept()))?;
    let mut of_last = copies.iter().filter(|(entry, _)| entry.identity == last);
    of_last.find_map(|(_, copy)| copy.as_ref())
}

/// Reads a copy; `None` if its content does not match its name.
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

/// A session's name as a directory name. A long name is cut and ends in a hash of the whole.
fn encoded(session: &str) -> String {
    let plain = utf8_percent_encode(session, PLAIN).to_string();
    if plain.len() <= 200 {
        return plain;
    }
    format!("{}~{:032x}", &plain[..150], xxh3_128(session.as_bytes()))
}

/// The directory of all copies.
pub fn path_in(state: &Path) -> PathBuf {
    state.join(DIR)
}

/// The limits of a session, for all of the remediator: those of the configuration, but a session
/// with a copy of its creds.json had one, so its creds are not elsewhere. Reads the state
/// directory only for a session whose creds are configured to be elsewhere.
pub fn limits_of(settings: &Settings, session: &SessionName) -> Limits {
    let mut limits = settings.limits(session);
    if limits.creds == CredsPlace::Elsewhere {
        let copies = CopyStore::new(&settings.state_path).entries(session.as_str());
        if copies.map_or(true, |copies| !copies.is_empty()) {
            limits.creds = CredsPlace::Folder;
        }
    }
    limits
}

#[cfg(test)]
mod tests;
