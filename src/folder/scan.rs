//! From a directory on disk to an [`Inventory`]: one listing, one `stat` per name
//! relative to the folder's descriptor, and the inside of session files.

use std::cmp::Ordering;
use std::ffi::{CStr, OsStr};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use clock::Clock;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;
use xxhash_rust::xxh3::xxh3_64;

use super::creds::{Creds, parse_creds, parse_session};
use super::inventory::{
    Entry, FileName, History, Inventory, NewestWrite, SessionActivity, Shape, Stamp,
};
use super::kind::{Kind, parse_name};
use super::no_links;
use super::time::Timestamp;

/// Name of the quarantine inside an auth folder. It is never part of an inventory.
pub const QUARANTINE_DIR: &str = ".baileys_quarantine";

/// A directory that holds a file of this name is a quarantine, wherever it stands.
pub const QUARANTINE_TAG: &str = "BAILEYS_QUARANTINE.TAG";

/// A creds.json larger than this is not read.
pub const MAX_CREDS_BYTES: u64 = 1 << 20;
/// A session file larger than this is not read. (The library keeps 40 entries, about 35 kB.)
const MAX_SESSION_BYTES: u64 = 4 << 20;
/// A file written less than this long ago is read again even if `stat` shows no change, because
/// file times are coarse.
pub const RACY: Duration = Duration::from_secs(2);
/// How long to wait before a creds.json found empty or cut off is read once more.
/// Baileys writes in place: truncate, then write.
pub const CREDS_SECOND_LOOK: Duration = Duration::from_millis(25);
/// How often that is done before it is called broken: one more look may just meet the next
/// of many writes.
pub const CREDS_LOOKS: u32 = 10;

/// Where a session's folder is.
#[derive(Clone, Debug)]
pub struct FolderPath {
    /// The directory that holds the auth folder. No part of this path may be a link.
    pub parent: std::path::PathBuf,
    /// The auth folder's own name; must not be a link.
    pub name: std::ffi::OsString,
}

impl FolderPath {
    /// What tells two paths apart. Both parts are canonical, so their bytes do; to compare the
    /// parts of a path takes several times as long.
    fn key(&self) -> (&OsStr, &OsStr) {
        (self.parent.as_os_str(), &self.name)
    }

    /// The whole path, for messages to the operator.
    pub fn path(&self) -> std::path::PathBuf {
        self.parent.join(&self.name)
    }

    /// Opens the folder. No part of its path may be a link, so a directory swapped for a link
    /// is an error (`ELOOP`) and never another folder.
    pub fn open(&self) -> io::Result<OwnedFd> {
        Ok(no_links::open_path(&self.path())?)
    }
}

impl PartialEq for FolderPath {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for FolderPath {}

impl Hash for FolderPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for FolderPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FolderPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Opens a directory by path; links are followed.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// What earlier scans read inside session files, so that an unchanged file is not read
/// twice. Holds no key and no name.
#[derive(Debug, Default)]
pub struct ReadCache {
    /// By [`fingerprint`], in order.
    seen: Vec<(u64, SessionActivity)>,
    history: History,
    clock: Clock,
}

impl ReadCache {
    /// An empty cache for scans that read the time from `clock`. [`ReadCache::default`] reads
    /// the clock of the machine.
    pub fn new(clock: Clock) -> Self {
        Self {
            seen: Vec::new(),
            history: History::default(),
            clock,
        }
    }

    fn activity(&self, fingerprint: u64) -> Option<SessionActivity> {
        let at = self.seen.binary_search_by_key(&fingerprint, |seen| seen.0);
        Some(self.seen.get(at.ok()?)?.1)
    }
}

/// Two files, or two states of one file, have one fingerprint only by a collision of 64 bits.
fn fingerprint(stamp: &Stamp) -> u64 {
    let times = [stamp.modified.nanos(), stamp.changed.nanos()].map(i64::cast_unsigned);
    let words = [stamp.device, stamp.inode, stamp.size, times[0], times[1]];
    xxh3_64(words.map(u64::to_ne_bytes).as_flattened())
}

/// Bytes for one call that lists a directory.
const LISTING_BYTES: usize = 32 << 10;

/// Calls `each` with every name in the directory behind `fd`, and what the listing says it is.
///
/// Errors: the listing itself failed, or the first error of `each`.
pub(in crate::folder) fn list(
    fd: BorrowedFd<'_>,
    mut each: impl FnMut(&CStr, FileType) -> io::Result<()>,
) -> io::Result<()> {
    // A position of its own in the directory.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = rustix::fs::openat(fd, ".", flags, Mode::empty())?;
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
    let mut listing = RawDir::new(own, &mut buffer);
    while let Some(entry) = listing.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            each(entry.file_name(), entry.file_type())?;
        }
    }
    Ok(())
}

/// Lists and measures the folder behind `fd`. Names that vanish between listing and
/// `stat` are left out. A broken creds.json is reported as first seen; see [`scan_settled`].
///
/// Errors: the listing itself failed.
pub fn scan(fd: BorrowedFd<'_>, cache: &mut ReadCache) -> io::Result<Inventory> {
    let racy_after = Timestamp::of(&cache.clock).minus(RACY);
    let mut entries = Vec::with_capacity(256);
    let mut fresh = Vec::with_capacity(cache.seen.len());
    let mut creds = Creds::Missing;
    list(fd, |name, _| {
        let raw = name.to_bytes();
        let (shape, stamp) = match stat(fd, name) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            // The folder may be listed but not searched: nothing in it can be looked at.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_) => (Shape::Unreadable, Stamp::default()),
        };
        if raw == b"creds.json" {
            creds = read_creds(fd);
        }
        if shape == Shape::Directory {
            return Ok(());
        }
        let file_name = FileName::new(OsStr::from_bytes(raw));
        let mut inside = SessionActivity::NotRead;
        if file_name.kind() == Kind::Session && shape == Shape::Regular {
            let fingerprint = fingerprint(&stamp);
            let known = cache.activity(fingerprint);
            let read = match known.filter(|_| stamp.changed < racy_after) {
                Some(known) => Ok(known),
                None => read_session(fd, file_name.as_os_str()),
            };
            // One that cannot be read, such as for a lack of descriptors, is tried again.
            fresh.extend(read.as_ref().ok().map(|read| (fingerprint, *read)));
            inside = read.unwrap_or(SessionActivity::Unparsable);
        }
        entries.push(Entry {
            name: file_name,
            shape,
            stamp,
            inside,
        });
        Ok(())
    })?;
    fresh.sort_unstable_by_key(|seen| seen.0);
    fresh.shrink_to_fit();
    cache.seen = fresh;
    let mut inventory = Inventory::new(entries, creds);
    cache.history = cache.history.and(&inventory);
    inventory.history = cache.history;
    Ok(inventory)
}

/// The newest write to the folder behind `fd`, as [`Inventory::newest_key_write`] gives it; no file
/// is read.
///
/// Errors: the listing itself failed.
pub fn newest_key_write_in(fd: BorrowedFd<'_>) -> io::Result<Option<NewestWrite>> {
    let mut newest = None;
    list(fd, |name, _| {
        match stat(fd, name) {
            Ok(None | Some((Shape::Directory, _))) => {}
            Ok(Some((_, stamp))) => {
                let write = NewestWrite::to_keys(parse_name(name.to_bytes()), stamp.modified);
                newest = newest.max(write);
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_) => {}
        }
        Ok(())
    })?;
    Ok(newest)
}

/// Whether creds.json deserves a second look before it is called broken: Baileys
/// truncates and then writes, so an outside reader often sees it empty for a moment.
pub fn needs_second_look(creds: &Creds) -> bool {
    matches!(creds, Creds::Broken(_) | Creds::Missing)
}

/// Scans, and where creds.json looks broken or gone, waits [`CREDS_SECOND_LOOK`] and reads
/// it once more. Blocks.
pub fn scan_settled(fd: BorrowedFd<'_>, cache: &mut ReadCache) -> io::Result<Inventory> {
    let mut inventory = scan(fd, cache)?;
    for _ in 0..CREDS_LOOKS {
        if !needs_second_look(&inventory.creds) {
            break;
        }
        cache.clock.block(CREDS_SECOND_LOOK);
        inventory.creds = read_creds(fd);
    }
    Ok(inventory)
}

/// Reads the facts of creds.json once.
pub fn read_creds(fd: BorrowedFd<'_>) -> Creds {
    match read_plain_file(fd, OsStr::new("creds.json"), MAX_CREDS_BYTES) {
        Ok(bytes) => match parse_creds(&bytes) {
            Ok(facts) => Creds::Valid(facts),
            Err(broken) => Creds::Broken(broken),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Creds::Missing,
        Err(error) => Creds::Unreadable(error.to_string()),
    }
}

/// `stat` without following links. `Ok(None)`: no such file.
pub fn stat(fd: BorrowedFd<'_>, name: impl Arg) -> io::Result<Option<(Shape, Stamp)>> {
    match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some((shape_of(&stat), stamp_of(&stat)))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn shape_of(stat: &Stat) -> Shape {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink == 1 => Shape::Regular,
        FileType::RegularFile => Shape::HardLinked,
        FileType::Symlink => Shape::Link,
        FileType::Directory => Shape::Directory,
        _ => Shape::Special,
    }
}

// The casts differ between targets.
#[allow(clippy::unnecessary_cast)]
pub(super) fn stamp_of(stat: &Stat) -> Stamp {
    Stamp {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: Timestamp::from_stat(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed: Timestamp::from_stat(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

fn read_session(fd: BorrowedFd<'_>, name: &OsStr) -> io::Result<SessionActivity> {
    let bytes = read_plain_file(fd, name, MAX_SESSION_BYTES)?;
    Ok(match parse_session(&bytes) {
        Ok(times) => SessionActivity::Times(times),
        Err(_) => SessionActivity::Unparsable,
    })
}

/// Reads a regular file of at most `limit` bytes; never follows a link and never blocks
/// on a pipe.
pub fn read_plain_file(fd: BorrowedFd<'_>, name: &OsStr, limit: u64) -> io::Result<Vec<u8>> {
    let file = rustix::fs::openat(
        fd,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let about = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    // Most files are as large as they say, and one read finds all of it.
    let expected = u64::try_from(about.st_size).unwrap_or(0).min(limit);
    let mut bytes = vec![0; usize::try_from(expected).unwrap_or(0) + 1];
    let read = retry_on_intr(|| rustix::io::read(&file, &mut bytes[..]))?;
    bytes.truncate(read);
    if read as u64 != expected {
        std::fs::File::from(file)
            .take(limit + 1 - read as u64)
            .read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}
