//! Moving files out of an auth folder so that nothing can be lost.
//!
//! Layout, inside the auth folder (one rename within one mount, also where every session
//! is a volume of its own):
//!
//! ```text
//! .baileys_quarantine/            0700
//!   BAILEYS_QUARANTINE.TAG        what this directory is; no bot or exporter takes it for a session
//!   20261123T201510Z-4f2a91/      one run, 0700
//!     plan.json                   written before the first move: the commit point
//!     files/                      what was moved, under its own name
//!     done.json                   the outcome
//!     undone.json                 an undo was begun; `finished` says whether it ended
//!     purged.json                 plan.json, renamed: the retention has ended, files go
//!   creds-20261123T201510Z-4f2a91/  what a restore of creds.json replaced; see `insurance::restore`
//! ```
//!
//! Every step is one rename that refuses to replace, on descriptors opened beneath the
//! folder without following links, with `flock` on the folder held throughout. The move
//! is the backup. A crash at any point leaves each file in exactly one place.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::folder::scan::{QUARANTINE_DIR, QUARANTINE_TAG, read_plain_file, scan_settled, stat};
use crate::folder::{FileName, Inventory, Kind, Place, ReadCache, Shape, Stamp, Timestamp};
use crate::policy::Plan;

const PLAN: &str = "plan.json";
const DONE: &str = "done.json";
const UNDONE: &str = "undone.json";
const PURGED: &str = "purged.json";
const FILES: &str = "files";
const TAG_TEXT: &[u8] = b"Signature: baileys_remediator quarantine\n\
Files moved away from this auth folder, one directory a run. They hold private keys.\n\
`baileys_remediator undo RUN` puts them back; after the retention they are deleted.\n";

/// Largest plan.json that is read back.
const MAX_RECORD_BYTES: u64 = 64 << 20;
/// A child that is just being started holds a copy of what its parent has open, and with it a
/// lock that the parent has given back, until it becomes its program.
const COPIES_END_WITHIN: Duration = Duration::from_millis(200);
/// `f_type` of NFS.
const NFS_MAGIC: i64 = 0x6969;

/// Name of one run: when it began, and six random hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// A new name.
    pub fn new(now: Timestamp) -> Self {
        let stamp: String = now
            .rfc3339()
            .chars()
            .filter(|c| !matches!(c, '-' | ':'))
            .collect();
        let stamp = if stamp.len() == 16 {
            stamp
        } else {
            "19700101T000000Z".to_owned()
        };
        let mut random = [0u8; 3];
        // Only uniqueness rests on it, and a name that is taken is refused by mkdir.
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        Self(format!(
            "{stamp}-{:02x}{:02x}{:02x}",
            random[0], random[1], random[2]
        ))
    }

    /// Parses a name; anything that is not exactly of that shape is `None`, so a name
    /// never carries a path.
    pub fn parse(text: &str) -> Option<Self> {
        let shape = b"00000000T000000Z-xxxxxx";
        let fits = text.len() == shape.len()
            && text.bytes().zip(shape).all(|(b, s)| match s {
                b'0' => b.is_ascii_digit(),
                b'x' => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
                other => b == *other,
            });
        fits.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "not a run id".to_owned())
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What keeps a run from happening although the guard table allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody else holds the folder's lock.
    Locked,
    /// The file system lacks something without which a move is not safe.
    Filesystem(String),
    /// The quarantine may not grow further.
    QuarantineFull {
        /// Bytes in it now.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not permitted, read-only, full, gone, or another i/o error.
    Io(String),
}

impl Obstacle {
    /// Value of the label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            Obstacle::Locked => "locked",
            Obstacle::Filesystem(_) => "filesystem",
            Obstacle::QuarantineFull { .. } => "quarantine_full",
            Obstacle::Io(_) => "io",
        }
    }

    /// Every value of the label that is a refusal; `io` is a failure.
    pub const REFUSALS: [&'static str; 3] = ["locked", "filesystem", "quarantine_full"];
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Locked => f.write_str(
                "another run holds the lock of this folder; try again when it has ended",
            ),
            Obstacle::Filesystem(what) => {
                write!(f, "the file system cannot do this safely: {what}")
            }
            Obstacle::QuarantineFull { bytes, limit } => write!(
                f,
                "the quarantine is full: it holds {bytes} bytes, the limit is {limit}; wait for its retention, or raise quarantine.max_bytes"
            ),
            Obstacle::Io(what) => f.write_str(what),
        }
    }
}

/// Turns an errno into an obstacle, saying what was tried.
pub(super) fn obstacle(doing: &str, errno: Errno) -> Obstacle {
    match errno {
        Errno::XDEV => Obstacle::Filesystem(format!(
            "{doing}: the quarantine would be on another file system or mount; nothing is ever copied"
        )),
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK => {
            Obstacle::Filesystem(format!(
                "{doing}: not supported here ({errno}); the folder must be on a local file system such as ext4 or xfs"
            ))
        }
        Errno::ROFS => Obstacle::Io(format!(
            "{doing}: the file system is read-only; remount it read-write"
        )),
        Errno::ACCESS | Errno::PERM => Obstacle::Io(format!(
            "{doing}: not permitted; run as the bot's user, or give this program's user write access to the folder"
        )),
        Errno::NOSPC | Errno::DQUOT => {
            Obstacle::Io(format!("{doing}: no space left; free some and try again"))
        }
        Errno::LOOP => Obstacle::Io(format!(
            "{doing}: a link stands where a directory should be; look at what put it there, and remove it"
        )),
        Errno::STALE => Obstacle::Io(format!(
            "{doing}: {errno}: it was replaced on its server; keys belong on a local file system such as ext4 or xfs"
        )),
        other => Obstacle::Io(format!("{doing}: {other}")),
    }
}

pub(super) fn obstacle_io(doing: &str, error: &io::Error) -> Obstacle {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(errno) => obstacle(doing, errno),
        None => Obstacle::Io(format!("{doing}: {error}")),
    }
}

/// One file of a plan, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MoveRecord {
    name: String,
    inode: u64,
    size: u64,
    modified_ns: i64,
}

impl MoveRecord {
    fn file_name(&self) -> &OsStr {
        OsStr::new(&self.name)
    }

    fn kind(&self) -> Kind {
        FileName::new(&self.name).parts().kind
    }

    fn is_same(&self, stamp: &Stamp) -> bool {
        // Not the device: its number may change with a reboot, and both directories are
        // opened on one mount.
        (self.inode, self.size, self.modified_ns)
            == (stamp.inode, stamp.size, stamp.modified.nanos())
    }
}

/// plan.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PlanRecord {
    version: u32,
    run: RunId,
    made_ns: i64,
    mode: String,
    moves: Vec<MoveRecord>,
}

/// How a run ended; the content of done.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When, nanoseconds since the epoch.
    pub at_ns: i64,
    /// What became of it.
    pub outcome: Outcome,
    /// Files now in the quarantine.
    pub moved: usize,
    /// Files that were planned and are not in the quarantine.
    pub left: usize,
}

/// What became of a run's moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every planned file was moved.
    Moved,
    /// A file changed while the run was under way: somebody writes here. Everything was put back.
    RolledBack,
    /// A crash interrupted it and the rest was moved after the restart.
    RolledForward,
    /// A crash interrupted it and the bot was not known to be disconnected after the
    /// restart, or it was broken off because its bot is started again: what had been moved
    /// stays in the quarantine, nothing more was moved.
    Interrupted,
}

impl Outcome {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Moved => "moved",
            Outcome::RolledBack => "rolled_back",
            Outcome::RolledForward => "rolled_forward",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// undone.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UndoRecord {
    at_ns: i64,
    finished: bool,
}

/// What an undo did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Files put back.
    pub restored: usize,
    /// Files that stay in the quarantine because the folder has one of that name again.
    pub blocked: usize,
    /// Files that are neither in the quarantine nor, as they were, in the folder.
    pub missing: usize,
}

/// A run found in a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// Its name.
    pub run: RunId,
    /// What is known of its end.
    pub state: StoredState,
    /// Bytes it holds.
    pub bytes: u64,
    /// Files it holds.
    pub files: usize,
}

/// State of a run in a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredState {
    /// A plan without an end: a crash interrupted it.
    Unfinished,
    /// An undo was begun and has not ended.
    UndoUnfinished,
    /// It ended.
    Done(Done),
    /// It was undone.
    Undone {
        /// When, nanoseconds since the epoch.
        at_ns: i64,
    },
    /// Its retention ended and its files are going.
    Purging,
    /// It never got as far as a plan: nothing was moved.
    Empty,
    /// Its records cannot be read.
    Damaged,
}

/// Breaks the moves of a run off from outside: a call that blocks cannot be dropped.
#[derive(Clone, Debug, Default)]
pub struct Halt {
    halted: Arc<AtomicBool>,
    moving: Arc<Mutex<()>>,
}

impl Halt {
    /// No move begins any more; the one under way, if any, goes on.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
    }

    /// Whether it was.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }

    /// Blocks until the move under way has ended: after [`Halt::halt`], nothing moves then.
    pub fn wait(&self) {
        drop(self.moving.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The right to one move.
    fn permit(&self) -> Option<MutexGuard<'_, ()>> {
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_halted()).then_some(moving)
    }
}

/// An auth folder with its lock held. Dropping it releases the lock.
#[derive(Debug)]
pub struct LockedFolder {
    fd: OwnedFd,
    halt: Halt,
}

impl LockedFolder {
    /// Opens and locks the folder; does not wait for whoever works on it.
    pub fn lock(place: &Place) -> Result<Arc<Self>, Obstacle> {
        Self::lock_under(place, Halt::default())
    }

    /// The right to one move; `None` once whoever stopped the bot says that nothing moves any
    /// more.
    pub(super) fn permit(&self) -> Option<MutexGuard<'_, ()>> {
        self.halt.permit()
    }

    /// The same, and what moves files in it ends where it stands once `halt` says so.
    pub fn lock_under(place: &Place, halt: Halt) -> Result<Arc<Self>, Obstacle> {
        let fd = place
            .open()
            .map_err(|error| obstacle_io("opening the folder", &error))?;
        let statfs =
            rustix::fs::fstatfs(&fd).map_err(|e| obstacle("asking for the file system", e))?;
        check_filesystem(statfs.f_type)?;
        let began = Instant::now();
        loop {
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Arc::new(Self { fd, halt })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if began.elapsed() < COPIES_END_WITHIN => {}
                Err(Errno::WOULDBLOCK) => return Err(Obstacle::Locked),
                Err(error) => return Err(obstacle("locking the folder", error)),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The same lock, whose moves end once `halt` says so. The lock is held until both are
    /// dropped.
    pub fn with_halt(&self, halt: Halt) -> Result<Arc<Self>, Obstacle> {
        let fd = self
            .fd
            .try_clone()
            .map_err(|error| obstacle_io("using the lock of the folder", &error))?;
        Ok(Arc::new(Self { fd, halt }))
    }

    /// The folder, for what else is done in it under this lock.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether `place` still names this folder: a rename during a run must not let the
    /// verdict on one bot clean another's folder.
    pub fn is_still_at(&self, place: &Place) -> bool {
        let id = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        match (place.open(), id(self.fd.as_fd())) {
            (Ok(there), Ok(here)) => id(there.as_fd()) == Ok(here),
            _ => false,
        }
    }

    /// Counts the folder as it is now. Blocks.
    pub fn scan(&self) -> Result<Inventory, Obstacle> {
        scan_settled(self.fd.as_fd(), &mut ReadCache::default())
            .map_err(|error| obstacle_io("listing the folder", &error))
    }

    /// Writes the plan into the quarantine: the commit point. Nothing is moved yet.
    pub fn prepare(
        self: &Arc<Self>,
        plan: &Plan,
        run: RunId,
        now: Timestamp,
        max_bytes: u64,
    ) -> Result<Prepared, Obstacle> {
        let quarantine = self
            .quarantine(true)?
            .ok_or_else(|| Obstacle::Io("no quarantine".into()))?;
        let held: u64 = self
            .stored_in(&quarantine)?
            .iter()
            .map(|run| run.bytes)
            .sum();
        let more: u64 = plan.moves.iter().map(|m| m.stamp.size).sum();
        if held.saturating_add(more) > max_bytes {
            return Err(Obstacle::QuarantineFull {
                bytes: held,
                limit: max_bytes,
            });
        }
        let dir = make_dir(quarantine.as_fd(), run.as_str(), true)?;
        let prepared = self.write_plan(&dir, plan, &run, now).and_then(|written| {
            // A plan that stays although this fails would be carried out after a restart.
            rustix::fs::fsync(&quarantine).map_err(|e| obstacle("saving the quarantine", e))?;
            Ok(written)
        });
        match prepared {
            Ok((record, files)) => Ok(Prepared {
                folder: Arc::clone(self),
                quarantine,
                dir,
                files,
                record,
            }),
            Err(error) => {
                // Best effort: what stays is an empty run, which the next start removes.
                let _ = remove_run_dir(quarantine.as_fd(), &run, dir.as_fd());
                Err(error)
            }
        }
    }

    fn write_plan(
        &self,
        dir: &OwnedFd,
        plan: &Plan,
        run: &RunId,
        now: Timestamp,
    ) -> Result<(PlanRecord, OwnedFd), Obstacle> {
        let files = make_dir(dir.as_fd(), FILES, true)?;
        check_noreplace(dir.as_fd(), files.as_fd())?;
        let mut moves = Vec::with_capacity(plan.moves.len());
        for planned in &plan.moves {
            let Some(name) = planned.name.as_os_str().to_str() else {
                return Err(Obstacle::Io("a planned name is not UTF-8".into()));
            };
            moves.push(MoveRecord {
                name: name.to_owned(),
                inode: planned.stamp.inode,
                size: planned.stamp.size,
                modified_ns: planned.stamp.modified.nanos(),
            });
        }
        let record = PlanRecord {
            version: 1,
            run: run.clone(),
            made_ns: now.nanos(),
            mode: plan.mode.label().to_owned(),
            moves,
        };
        write_record(dir.as_fd(), PLAN, &record)?;
        Ok((record, files))
    }

    /// The runs in this folder's quarantine, oldest first.
    pub fn stored(&self) -> Result<Vec<StoredRun>, Obstacle> {
        match self.quarantine(false)? {
            Some(quarantine) => self.stored_in(&quarantine),
            None => Ok(Vec::new()),
        }
    }

    fn stored_in(&self, quarantine: &OwnedFd) -> Result<Vec<StoredRun>, Obstacle> {
        let doing = "listing the quarantine";
        let mut runs = Vec::new();
        for entry in Dir::read_from(quarantine).map_err(|e| obstacle(doing, e))? {
            let entry = entry.map_err(|e| obstacle(doing, e))?;
            let Some(run) = entry.file_name().to_str().ok().and_then(RunId::parse) else {
                continue;
            };
            let Ok(dir) = open_beneath(quarantine.as_fd(), run.as_str()) else {
                runs.push(StoredRun {
                    run,
                    state: StoredState::Damaged,
                    bytes: 0,
                    files: 0,
                });
                continue;
            };
            let (mut files, mut bytes) = (0, 0u64);
            if let Ok(held) = open_beneath(dir.as_fd(), FILES) {
                for entry in Dir::read_from(&held).map_err(|e| obstacle(doing, e))? {
                    let entry = entry.map_err(|e| obstacle(doing, e))?;
                    let name = OsStr::from_bytes_of(entry.file_name());
                    if let Ok(Some((Shape::Regular, stamp))) = stat(held.as_fd(), name) {
                        files += 1;
                        bytes = bytes.saturating_add(stamp.size);
                    }
                }
            }
            runs.push(StoredRun {
                run,
                state: stored_state(dir.as_fd()),
                bytes,
                files,
            });
        }
        runs.sort_by(|a, b| a.run.cmp(&b.run));
        Ok(runs)
    }

    /// Ends a run that a crash interrupted. Of the files it has not moved yet, those in
    /// `allowed` are moved, each only if it is still the very same. A run without a plan
    /// is removed.
    pub fn finish(
        self: &Arc<Self>,
        run: &RunId,
        allowed: &BTreeSet<FileName>,
        now: Timestamp,
    ) -> Result<Option<Done>, Obstacle> {
        let (quarantine, dir) = self.open_run(run)?;
        match stored_state(dir.as_fd()) {
            StoredState::Empty => {
                remove_run_dir(quarantine.as_fd(), run, dir.as_fd())?;
                return Ok(None);
            }
            StoredState::Unfinished => {}
            StoredState::Done(done) => return Ok(Some(done)),
            _ => return Ok(None),
        }
        let record = read_plan(dir.as_fd(), PLAN)?;
        let files =
            open_beneath(dir.as_fd(), FILES).map_err(|e| obstacle("opening the quarantine", e))?;
        let prepared = Prepared {
            folder: Arc::clone(self),
            quarantine,
            dir,
            files,
            record,
        };
        prepared.resume(allowed, now).map(Some)
    }

    /// Puts the files of a run back. Never replaces a file that is in the folder now.
    pub fn undo(&self, run: &RunId, now: Timestamp) -> Result<Undone, Obstacle> {
        let (_quarantine, dir) = self.open_run(run)?;
        let state = stored_state(dir.as_fd());
        if matches!(state, StoredState::Purging | StoredState::Empty) {
            return Err(Obstacle::Io(format!(
                "run {run} holds no files: it never moved any, or its retention has ended"
            )));
        }
        let record = read_plan(dir.as_fd(), PLAN)?;
        let files =
            open_beneath(dir.as_fd(), FILES).map_err(|e| obstacle("opening the quarantine", e))?;
        let holds_any = || -> Result<bool, Obstacle> {
            for planned in &record.moves {
                if exists(files.as_fd(), &planned.name)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        // An undo that was cut short after its last file has yet to be put on record.
        if state != StoredState::UndoUnfinished && !holds_any()? {
            return Err(Obstacle::Io(format!(
                "run {run} holds no file any more: it was undone already"
            )));
        }
        // From here on no restart rolls this run forward.
        write_record(
            dir.as_fd(),
            UNDONE,
            &UndoRecord {
                at_ns: now.nanos(),
                finished: false,
            },
        )?;
        let mut undone = Undone::default();
        let mut failed = None;
        for planned in record.moves.iter().rev() {
            let Some(_moving) = self.halt.permit() else {
                failed = Some(broken_off());
                break;
            };
            match put_back(files.as_fd(), self.fd.as_fd(), planned) {
                Ok(PutBack::Restored) => undone.restored += 1,
                Ok(PutBack::Blocked) => undone.blocked += 1,
                Ok(PutBack::NotHere { in_folder: true }) => {}
                Ok(PutBack::NotHere { in_folder: false } | PutBack::Planted) => undone.missing += 1,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        sync(&[files.as_fd(), self.fd.as_fd()])?;
        if let Some(error) = failed {
            return Err(error);
        }
        write_record(
            dir.as_fd(),
            UNDONE,
            &UndoRecord {
                at_ns: now.nanos(),
                finished: true,
            },
        )?;
        Ok(undone)
    }

    /// Deletes the files of a run that ended more than `retention` ago. `Ok(false)`: not
    /// due, or not a run that may be deleted.
    pub fn purge(
        &self,
        run: &RunId,
        now: Timestamp,
        retention: Duration,
    ) -> Result<bool, Obstacle> {
        let (quarantine, dir) = self.open_run(run)?;
        if !is_due(&stored_state(dir.as_fd()), now, retention) {
            return Ok(false);
        }
        if exists(dir.as_fd(), PLAN)? {
            rustix::fs::renameat(&dir, PLAN, &dir, PURGED)
                .map_err(|e| obstacle("marking a run as purged", e))?;
            sync(&[dir.as_fd()])?;
        }
        let record = read_plan(dir.as_fd(), PURGED)?;
        if let Ok(files) = open_beneath(dir.as_fd(), FILES) {
            for planned in &record.moves {
                unlink(files.as_fd(), &planned.name)?;
            }
        }
        remove_run_dir(quarantine.as_fd(), run, dir.as_fd())?;
        Ok(true)
    }

    /// Files of each kind that `run` holds now.
    pub fn held_kinds(&self, run: &RunId) -> Result<BTreeMap<Kind, usize>, Obstacle> {
        let (_quarantine, dir) = self.open_run(run)?;
        let mut kinds = BTreeMap::new();
        let Ok(files) = open_beneath(dir.as_fd(), FILES) else {
            return Ok(kinds);
        };
        for entry in Dir::read_from(&files).map_err(|e| obstacle("listing the quarantine", e))? {
            let entry = entry.map_err(|e| obstacle("listing the quarantine", e))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                *kinds
                    .entry(crate::folder::kind::parse_name(name).kind)
                    .or_default() += 1;
            }
        }
        Ok(kinds)
    }

    /// Tries what only a trial tells: whether a directory can be made in the quarantine and
    /// a file renamed in it without replacing. Touches no other file, and leaves nothing but
    /// the quarantine itself.
    pub fn try_out(&self, now: Timestamp) -> Result<(), Obstacle> {
        let quarantine = self
            .quarantine(true)?
            .ok_or_else(|| Obstacle::Io("no quarantine".into()))?;
        let run = RunId::new(now);
        // Named as a run without a plan: should we die here, the next start removes it.
        let dir = make_dir(quarantine.as_fd(), run.as_str(), true)?;
        let tried = make_dir(dir.as_fd(), FILES, true)
            .and_then(|files| check_noreplace(dir.as_fd(), files.as_fd()));
        let removed = remove_run_dir(quarantine.as_fd(), &run, dir.as_fd());
        tried.and(removed)
    }

    /// Where each file of a run's plan is now, in the order of the plan.
    pub fn whereabouts(&self, run: &RunId) -> Result<Vec<Whereabouts>, Obstacle> {
        let (_quarantine, dir) = self.open_run(run)?;
        let record = read_plan(dir.as_fd(), PLAN)?;
        let files =
            open_beneath(dir.as_fd(), FILES).map_err(|e| obstacle("opening the quarantine", e))?;
        locate(files.as_fd(), self.fd.as_fd(), &record)
    }

    /// Whether this folder's quarantine holds `run`.
    pub fn holds(&self, run: &RunId) -> bool {
        self.open_run(run).is_ok()
    }

    fn open_run(&self, run: &RunId) -> Result<(OwnedFd, OwnedFd), Obstacle> {
        let missing = || Obstacle::Io(format!("no run {run} in this folder's quarantine"));
        let quarantine = self.quarantine(false)?.ok_or_else(missing)?;
        match open_beneath(quarantine.as_fd(), run.as_str()) {
            Ok(dir) => Ok((quarantine, dir)),
            Err(Errno::NOENT) => Err(missing()),
            Err(error) => Err(obstacle("opening the run", error)),
        }
    }

    /// Opens the quarantine, and makes it where asked to.
    pub(super) fn quarantine(&self, create: bool) -> Result<Option<OwnedFd>, Obstacle> {
        let quarantine = match open_beneath(self.fd.as_fd(), QUARANTINE_DIR) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if !create => return Ok(None),
            Err(Errno::NOENT) => make_dir(self.fd.as_fd(), QUARANTINE_DIR, false)?,
            Err(error) => return Err(obstacle("opening the quarantine", error)),
        };
        if exists(quarantine.as_fd(), QUARANTINE_TAG)? {
            return Ok(Some(quarantine));
        }
        if !create {
            return Ok(None);
        }
        let mut names =
            Dir::read_from(&quarantine).map_err(|e| obstacle("listing the quarantine", e))?;
        let tmp = format!("{QUARANTINE_TAG}.tmp");
        let foreign = names.any(|entry| {
            entry.map_or(true, |entry| {
                let name = entry.file_name().to_bytes();
                !matches!(name, b"." | b"..") && name != tmp.as_bytes()
            })
        });
        if foreign {
            return Err(Obstacle::Io(format!(
                "{QUARANTINE_DIR} is there, not empty, and not tagged as a quarantine; move it away"
            )));
        }
        write_file(quarantine.as_fd(), QUARANTINE_TAG, TAG_TEXT)?;
        sync(&[self.fd.as_fd()])?;
        Ok(Some(quarantine))
    }
}

/// The runs in the quarantine of the folder at `place`. Only looks, so it takes no lock.
pub fn stored_runs(place: &Place) -> Result<Vec<StoredRun>, Obstacle> {
    let fd = place
        .open()
        .map_err(|error| obstacle_io("opening the folder", &error))?;
    LockedFolder {
        fd,
        halt: Halt::default(),
    }
    .stored()
}

/// Where a file of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In the quarantine.
    Quarantine,
    /// In the folder, as it was when the plan was made.
    Folder,
    /// Neither.
    Nowhere,
}

/// A file of a run's plan: what it was then, and where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its kind.
    pub kind: Kind,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified.
    pub modified: Timestamp,
    /// Where it is.
    pub at: At,
}

/// What a quarantine says of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// What is known of its end.
    pub state: StoredState,
    /// Files of each kind that it holds now.
    pub files: BTreeMap<Kind, usize>,
    /// Where each file of its plan is now; empty where the plan cannot be read.
    pub moves: Vec<Whereabouts>,
}

/// Looks a run up; `None` where this folder's quarantine does not have it. Only looks, so
/// it takes no lock.
pub fn look_up(place: &Place, run: &RunId) -> Result<Option<LookedUp>, Obstacle> {
    let Some(stored) = stored_runs(place)?
        .into_iter()
        .find(|stored| stored.run == *run)
    else {
        return Ok(None);
    };
    let fd = place
        .open()
        .map_err(|error| obstacle_io("opening the folder", &error))?;
    let folder = LockedFolder {
        fd,
        halt: Halt::default(),
    };
    let moves = folder.whereabouts(run).unwrap_or_default();
    Ok(Some(LookedUp {
        state: stored.state,
        files: folder.held_kinds(run)?,
        moves,
    }))
}

/// Bytes in the quarantine of the folder at `place`. Only looks, so it takes no lock.
pub fn quarantined_bytes(place: &Place) -> Result<u64, Obstacle> {
    Ok(stored_runs(place)?.iter().map(|run| run.bytes).sum())
}

/// Whether a stored run's retention has ended.
pub fn is_due(state: &StoredState, now: Timestamp, retention: Duration) -> bool {
    match state {
        StoredState::Done(done) => Timestamp::from_nanos(done.at_ns).plus(retention) < now,
        StoredState::Undone { at_ns } => Timestamp::from_nanos(*at_ns).plus(retention) < now,
        StoredState::Purging => true,
        StoredState::Unfinished
        | StoredState::UndoUnfinished
        | StoredState::Empty
        | StoredState::Damaged => false,
    }
}

/// A run whose plan is written and whose files are still in the folder.
#[derive(Debug)]
pub struct Prepared {
    folder: Arc<LockedFolder>,
    quarantine: OwnedFd,
    dir: OwnedFd,
    files: OwnedFd,
    record: PlanRecord,
}

impl Prepared {
    /// The run's name.
    pub fn run(&self) -> &RunId {
        &self.record.run
    }

    /// Drops the plan: nothing was moved, and the run leaves no trace.
    pub fn cancel(self) -> Result<(), Obstacle> {
        remove_run_dir(self.quarantine.as_fd(), &self.record.run, self.dir.as_fd())
    }

    /// Moves the files. A file that is no longer what it was when the plan was made means
    /// that somebody writes here: then everything moved so far is put back.
    pub fn execute(&self, now: Timestamp) -> Result<Done, Obstacle> {
        let mut moved: Vec<&MoveRecord> = Vec::new();
        for planned in &self.record.moves {
            match self.move_one(planned) {
                Ok(Moved::Yes | Moved::Already) => moved.push(planned),
                Ok(Moved::Changed) => {
                    // What came under its name in the meantime goes back, too.
                    moved.push(planned);
                    let left = self.put_all_back(&moved)?;
                    return self.end(Outcome::RolledBack, left, now);
                }
                // Its bot is about to be started: nothing is put back under it, either.
                Ok(Moved::Halted) => return self.end(Outcome::Interrupted, moved.len(), now),
                Err(error) => {
                    // It may have been moved all the same: the look after the move can fail.
                    moved.push(planned);
                    let left = self.put_all_back(&moved).map_err(|back| self.held(&back))?;
                    self.end(Outcome::RolledBack, left, now)?;
                    return Err(error);
                }
            }
        }
        // A writer that had a file open before its move would write into the quarantine.
        for planned in &moved {
            let found = stat(self.files.as_fd(), planned.file_name());
            let same = matches!(found, Ok(Some((_, stamp))) if planned.is_same(&stamp));
            if !same {
                let left = self.put_all_back(&moved)?;
                return self.end(Outcome::RolledBack, left, now);
            }
        }
        let moved = moved.len();
        self.end(Outcome::Moved, moved, now)
            .map_err(|error| self.held(&error))
    }

    /// Where each file of the plan is now.
    pub fn whereabouts(&self) -> Result<Vec<Whereabouts>, Obstacle> {
        locate(self.files.as_fd(), self.folder.fd.as_fd(), &self.record)
    }

    /// An error after which files are in the quarantine.
    fn held(&self, error: &Obstacle) -> Obstacle {
        let run = self.run();
        Obstacle::Io(format!(
            "{error}; files of run {run} are in the quarantine: put them back with: baileys_remediator undo {run}"
        ))
    }

    fn resume(self, allowed: &BTreeSet<FileName>, now: Timestamp) -> Result<Done, Obstacle> {
        let mut moved = 0;
        for planned in &self.record.moves {
            if allowed.contains(&FileName::new(&planned.name)) {
                self.move_one(planned)?;
            }
            moved += usize::from(exists(self.files.as_fd(), &planned.name)?);
        }
        let all = moved == self.record.moves.len();
        self.end(
            if all {
                Outcome::RolledForward
            } else {
                Outcome::Interrupted
            },
            moved,
            now,
        )
    }

    /// Returns how many files could not be put back, because the folder has one of that
    /// name again.
    fn put_all_back(&self, moved: &[&MoveRecord]) -> Result<usize, Obstacle> {
        let (mut left, mut failed) = (0, None);
        for planned in moved.iter().rev() {
            let Some(_moving) = self.folder.halt.permit() else {
                left += usize::from(exists(self.files.as_fd(), &planned.name)?);
                continue;
            };
            match put_back(self.files.as_fd(), self.folder.fd.as_fd(), planned) {
                Ok(PutBack::Restored | PutBack::NotHere { .. }) => {}
                Ok(_) => left += 1,
                // The others can still be put back.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(left), Err)
    }

    fn end(&self, outcome: Outcome, moved: usize, now: Timestamp) -> Result<Done, Obstacle> {
        sync(&[self.files.as_fd(), self.folder.fd.as_fd()])?;
        let left = self.record.moves.len() - moved;
        let done = Done {
            at_ns: now.nanos(),
            outcome,
            moved,
            left,
        };
        write_record(self.dir.as_fd(), DONE, &done)?;
        Ok(done)
    }

    fn move_one(&self, planned: &MoveRecord) -> Result<Moved, Obstacle> {
        let Some(_moving) = self.folder.halt.permit() else {
            return Ok(Moved::Halted);
        };
        let (folder, files) = (self.folder.fd.as_fd(), self.files.as_fd());
        let name = planned.file_name();
        let here =
            |fd| stat(fd, name).map_err(|error| obstacle_io("looking at a planned file", &error));
        let is_planned = |found: &Option<(Shape, Stamp)>| {
            found.is_some_and(|(shape, stamp)| shape == Shape::Regular && planned.is_same(&stamp))
        };
        let before = here(folder)?;
        if before.is_none() && is_planned(&here(files)?) {
            return Ok(Moved::Already);
        }
        if !is_planned(&before) {
            return Ok(Moved::Changed);
        }
        match rename(folder, files, name) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::EXIST) => return Ok(Moved::Changed),
            Err(error) => return Err(obstacle("moving a file into the quarantine", error)),
        }
        if is_planned(&here(files)?) {
            return Ok(Moved::Yes);
        }
        // Another file came under this name between the look and the move.
        match rename(files, folder, name) {
            Ok(()) | Err(Errno::EXIST | Errno::NOENT) => Ok(Moved::Changed),
            Err(error) => Err(obstacle("putting a file back", error)),
        }
    }
}

fn locate(
    files: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    record: &PlanRecord,
) -> Result<Vec<Whereabouts>, Obstacle> {
    let look = |fd: BorrowedFd<'_>, planned: &MoveRecord| {
        stat(fd, planned.file_name()).map_err(|error| obstacle_io("looking at a file", &error))
    };
    let mut found = Vec::with_capacity(record.moves.len());
    for planned in &record.moves {
        let at = match look(files, planned)? {
            Some((Shape::Regular | Shape::ManyNames, _)) => At::Quarantine,
            _ => match look(folder, planned)? {
                Some((_, stamp)) if planned.is_same(&stamp) => At::Folder,
                _ => At::Nowhere,
            },
        };
        found.push(Whereabouts {
            kind: planned.kind(),
            inode: planned.inode,
            size: planned.size,
            modified: Timestamp::from_nanos(planned.modified_ns),
            at,
        });
    }
    Ok(found)
}

#[derive(PartialEq)]
enum Moved {
    Yes,
    Already,
    Changed,
    Halted,
}

fn broken_off() -> Obstacle {
    Obstacle::Io(
        "it was broken off, for the bot is started; what is moved stays where it is".into(),
    )
}

#[derive(PartialEq)]
enum PutBack {
    Restored,
    Blocked,
    Planted,
    NotHere { in_folder: bool },
}

/// Moves one file back, never over another; also one that is no longer what the plan says
/// (a bot that had it open has written to it, a backup was restored): it is the only copy.
fn put_back(
    files: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    planned: &MoveRecord,
) -> Result<PutBack, Obstacle> {
    let name = planned.file_name();
    let look = |fd| stat(fd, name).map_err(|error| obstacle_io("looking at a file", &error));
    match look(files)? {
        None => {
            let in_folder = look(folder)?.is_some_and(|(_, stamp)| planned.is_same(&stamp));
            return Ok(PutBack::NotHere { in_folder });
        }
        Some((Shape::Regular | Shape::ManyNames, _)) => {}
        // A link or a directory was never moved by a run.
        Some(_) => return Ok(PutBack::Planted),
    }
    match rename(files, folder, name) {
        Ok(()) => Ok(PutBack::Restored),
        Err(Errno::EXIST) => Ok(PutBack::Blocked),
        Err(error) => Err(obstacle("putting a file back", error)),
    }
}

fn rename(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE)
}

fn stored_state(dir: BorrowedFd<'_>) -> StoredState {
    let state = || -> Result<StoredState, Obstacle> {
        if exists(dir, PURGED)? {
            return Ok(StoredState::Purging);
        }
        if exists(dir, UNDONE)? {
            let undo: UndoRecord = read_record(dir, UNDONE)?;
            return Ok(match undo.finished {
                true => StoredState::Undone { at_ns: undo.at_ns },
                false => StoredState::UndoUnfinished,
            });
        }
        if exists(dir, DONE)? {
            return Ok(StoredState::Done(read_record(dir, DONE)?));
        }
        Ok(if exists(dir, PLAN)? {
            StoredState::Unfinished
        } else {
            StoredState::Empty
        })
    };
    state().unwrap_or(StoredState::Damaged)
}

/// Reads plan.json or purged.json. The folder's owner can write there, so nothing in it is
/// trusted: a plan that names what the guard never moves was not written by us.
fn read_plan(dir: BorrowedFd<'_>, name: &str) -> Result<PlanRecord, Obstacle> {
    let record: PlanRecord = read_record(dir, name)?;
    let sound = record.version == 1
        && record.moves.iter().all(|m| {
            matches!(
                m.kind(),
                Kind::PreKey | Kind::Session | Kind::SenderKey | Kind::SenderKeyMemory
            ) && m.name.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
        });
    if sound { Ok(record) } else { Err(damaged()) }
}

fn damaged() -> Obstacle {
    Obstacle::Io("the records of this run are damaged; its files are left where they are".into())
}

pub(super) fn read_record<T: for<'de> Deserialize<'de>>(
    dir: BorrowedFd<'_>,
    name: &str,
) -> Result<T, Obstacle> {
    let bytes = read_plain_file(dir, OsStr::new(name), MAX_RECORD_BYTES)
        .map_err(|error| obstacle_io("reading a record", &error))?;
    serde_json::from_slice(&bytes).map_err(|_| damaged())
}

pub(super) fn write_record(
    dir: BorrowedFd<'_>,
    name: &str,
    record: &impl Serialize,
) -> Result<(), Obstacle> {
    let bytes = serde_json::to_vec(record).map_err(|error| Obstacle::Io(error.to_string()))?;
    write_file(dir, name, &bytes)
}

/// tmp, fsync, rename, fsync of the directory.
fn write_file(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), Obstacle> {
    let doing = "writing a record into the quarantine";
    let tmp = format!("{name}.tmp");
    // What stands there was cut short, or planted: a pipe would hang us, a link mislead us.
    unlink(dir, &tmp)?;
    let fd = rustix::fs::openat(
        dir,
        tmp.as_str(),
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
    .map_err(|e| obstacle(doing, e))?;
    give_to_owner_of(dir, fd.as_fd())?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| obstacle_io(doing, &error))?;
    rustix::fs::renameat(dir, tmp.as_str(), dir, name).map_err(|e| obstacle(doing, e))?;
    sync(&[dir])
}

pub(super) fn sync(dirs: &[BorrowedFd<'_>]) -> Result<(), Obstacle> {
    for dir in dirs {
        rustix::fs::fsync(dir).map_err(|e| obstacle("saving a directory", e))?;
    }
    Ok(())
}

pub(super) fn exists(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Obstacle> {
    stat(dir, OsStr::new(name))
        .map(|found| found.is_some())
        .map_err(|error| obstacle_io("looking into the quarantine", &error))
}

pub(super) fn open_beneath(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        dir,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    )
}

pub(super) fn make_dir(
    parent: BorrowedFd<'_>,
    name: &str,
    must_be_new: bool,
) -> Result<OwnedFd, Obstacle> {
    let doing = "making a directory in the quarantine";
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) if !must_be_new => {}
        Err(error) => return Err(obstacle(doing, error)),
    }
    let fd = open_beneath(parent, name).map_err(|e| obstacle(doing, e))?;
    give_to_owner_of(parent, fd.as_fd())?;
    sync(&[parent])?;
    Ok(fd)
}

/// What root makes in a bot's folder belongs to the bot's user, so that a remediator that
/// runs as that user can go on with it.
pub(super) fn give_to_owner_of(
    parent: BorrowedFd<'_>,
    made: BorrowedFd<'_>,
) -> Result<(), Obstacle> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let doing = "handing the quarantine to the folder's owner";
    let owner = rustix::fs::fstat(parent).map_err(|e| obstacle(doing, e))?;
    let (user, group) = (
        rustix::fs::Uid::from_raw(owner.st_uid),
        rustix::fs::Gid::from_raw(owner.st_gid),
    );
    rustix::fs::fchown(made, Some(user), Some(group)).map_err(|e| obstacle(doing, e))
}

/// Refuses file systems on which the protocol's promises do not hold.
pub(super) fn check_filesystem(magic: i64) -> Result<(), Obstacle> {
    match magic {
        NFS_MAGIC => Err(Obstacle::Filesystem(
            "the folder is on NFS, where neither the lock nor the rename can be relied on".into(),
        )),
        _ => Ok(()),
    }
}

/// Finds out whether this file system knows RENAME_NOREPLACE, with a file of our own.
fn check_noreplace(dir: BorrowedFd<'_>, files: BorrowedFd<'_>) -> Result<(), Obstacle> {
    let probe = "rename-probe";
    write_file(dir, probe, b"")?;
    let moved = rename(dir, files, OsStr::new(probe));
    let at = if moved.is_ok() { files } else { dir };
    unlink(at, probe)?;
    moved.map_err(|e| obstacle("trying a rename that does not replace", e))
}

pub(super) fn unlink(dir: BorrowedFd<'_>, name: &str) -> Result<(), Obstacle> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(obstacle("removing a record", error)),
    }
}

/// Removes a run's own records and its directories. Key files are never removed here: a
/// directory that still holds one does not go (`rmdir` refuses).
fn remove_run_dir(
    quarantine: BorrowedFd<'_>,
    run: &RunId,
    dir: BorrowedFd<'_>,
) -> Result<(), Obstacle> {
    let doing = "removing an ended run";
    let rmdir =
        |at: BorrowedFd<'_>, name: &str| match rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(obstacle(doing, error)),
        };
    // Without plan.json the run is empty for every reader; purged.json says until the end
    // that a purge is under way.
    unlink(dir, PLAN)?;
    if let Ok(files) = open_beneath(dir, FILES) {
        unlink(files.as_fd(), "rename-probe")?;
    }
    rmdir(dir, FILES)?;
    let leftovers = [
        "rename-probe",
        "rename-probe.tmp",
        "plan.json.tmp",
        "done.json.tmp",
        "undone.json.tmp",
    ];
    for record in leftovers.into_iter().chain([DONE, UNDONE, PURGED]) {
        unlink(dir, record)?;
    }
    rmdir(quarantine, run.as_str())?;
    sync(&[quarantine])
}

/// `OsStr` of a directory entry's name.
trait FromCStr {
    fn from_bytes_of(name: &std::ffi::CStr) -> &OsStr;
}

impl FromCStr for OsStr {
    fn from_bytes_of(name: &std::ffi::CStr) -> &OsStr {
        use std::os::unix::ffi::OsStrExt;
        OsStr::from_bytes(name.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{CleanupMode, Move};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    struct Sample {
        _dir: tempfile::TempDir,
        place: Place,
    }

    impl Sample {
        fn new(names: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let place = Place {
                parent: dir.path().canonicalize().unwrap(),
                name: "bot".into(),
            };
            fs::create_dir(place.path()).unwrap();
            for name in names {
                fs::write(place.path().join(name), name).unwrap();
            }
            Self { _dir: dir, place }
        }

        fn plan(&self, names: &[&str]) -> Plan {
            let folder = self.place.open().unwrap();
            let moves = names
                .iter()
                .map(|name| Move {
                    name: FileName::new(*name),
                    stamp: stat(folder.as_fd(), OsStr::new(name)).unwrap().unwrap().1,
                })
                .collect();
            Plan {
                mode: CleanupMode::Cleanup,
                moves,
                accumulated_before: 0,
                accumulated_after: 0,
                pre_keys_left: 0,
            }
        }

        fn has(&self, name: &str) -> bool {
            self.place.path().join(name).exists()
        }
    }

    const NAMES: [&str; 3] = ["pre-key-1.json", "pre-key-2.json", "session-1.0.json"];
    const MIB: u64 = 1 << 20;

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn all() -> BTreeSet<FileName> {
        NAMES.into_iter().map(FileName::new).collect()
    }

    #[test]
    fn a_planted_pipe_or_link_does_not_hang_or_mislead() {
        let sample = Sample::new(&NAMES);
        let quarantine = sample.place.path().join(QUARANTINE_DIR);
        fs::create_dir(&quarantine).unwrap();
        let tmp = quarantine.join(format!("{QUARANTINE_TAG}.tmp"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &tmp,
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        let folder = LockedFolder::lock(&sample.place).unwrap();
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap()
            .cancel()
            .unwrap();
        fs::remove_file(quarantine.join(QUARANTINE_TAG)).unwrap();
        let victim = sample.place.path().with_file_name("victim.txt");
        fs::write(&victim, "whole").unwrap();
        fs::hard_link(&victim, &tmp).unwrap();
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"whole");
    }

    #[test]
    fn a_planted_record_deletes_nothing() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap()
            .cancel()
            .unwrap();
        let run = RunId::parse("20260101T000000Z-abcdef").unwrap();
        let dir = sample.place.path().join(QUARANTINE_DIR).join(run.as_str());
        fs::create_dir_all(dir.join(FILES)).unwrap();
        let victim = sample.place.path().with_file_name("victim.txt");
        fs::write(&victim, "").unwrap();
        for name in [
            "../../../../victim.txt",
            "../../../pre-key-1.json",
            "creds.json",
            "a/pre-key-1.json",
        ] {
            let record = PlanRecord {
                version: 1,
                run: run.clone(),
                made_ns: 0,
                mode: "cleanup".into(),
                moves: vec![MoveRecord {
                    name: name.into(),
                    inode: 0,
                    size: 0,
                    modified_ns: 0,
                }],
            };
            for kind in [PLAN, PURGED] {
                fs::write(dir.join(kind), serde_json::to_vec(&record).unwrap()).unwrap();
                assert!(
                    folder.purge(&run, now(), Duration::ZERO).is_err() || kind == PLAN,
                    "{name}"
                );
                assert!(folder.undo(&run, now()).is_err(), "{name}");
                assert!(
                    folder.finish(&run, &all(), now()).is_err() || kind == PURGED,
                    "{name}"
                );
                fs::remove_file(dir.join(kind)).unwrap();
            }
        }
        assert!(victim.exists() && NAMES.iter().all(|name| sample.has(name)));
    }

    #[test]
    fn a_restored_backup_can_be_undone() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap();
        let run = prepared.run().clone();
        prepared.execute(now()).unwrap();
        // A copy has other inodes.
        let files = sample
            .place
            .path()
            .join(QUARANTINE_DIR)
            .join(run.as_str())
            .join(FILES);
        for name in NAMES {
            fs::copy(files.join(name), files.join("copy")).unwrap();
            fs::rename(files.join("copy"), files.join(name)).unwrap();
        }
        assert_eq!(
            folder.undo(&run, now()).unwrap(),
            Undone {
                restored: 3,
                blocked: 0,
                missing: 0
            }
        );
        assert!(NAMES.iter().all(|name| sample.has(name)));
    }

    #[test]
    fn one_odd_entry_does_not_block_the_quarantine() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap()
            .cancel()
            .unwrap();
        fs::write(
            sample
                .place
                .path()
                .join(QUARANTINE_DIR)
                .join("20260101T000000Z-abcdef"),
            "",
        )
        .unwrap();
        assert_eq!(folder.stored().unwrap()[0].state, StoredState::Damaged);
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap();
    }

    #[test]
    fn a_renamed_folder_is_another() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        assert!(folder.is_still_at(&sample.place));
        fs::rename(
            sample.place.path(),
            sample.place.path().with_file_name("old"),
        )
        .unwrap();
        assert!(!folder.is_still_at(&sample.place));
        fs::create_dir(sample.place.path()).unwrap();
        assert!(!folder.is_still_at(&sample.place));
    }

    #[test]
    fn there_and_back_again() {
        let sample = Sample::new(&NAMES);
        let before = fs::metadata(sample.place.path().join(NAMES[0])).unwrap();
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&NAMES[..2]), RunId::new(now()), now(), MIB)
            .unwrap();
        let run = prepared.run().clone();
        assert!(sample.has(NAMES[0]), "nothing moves before execute");
        let done = prepared.execute(now()).unwrap();
        assert_eq!(
            (done.outcome, done.moved, done.left),
            (Outcome::Moved, 2, 0)
        );
        assert!(!sample.has(NAMES[0]) && !sample.has(NAMES[1]) && sample.has(NAMES[2]));
        let quarantine = sample.place.path().join(QUARANTINE_DIR);
        assert_eq!(
            fs::metadata(&quarantine).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let plan = fs::metadata(quarantine.join(run.as_str()).join(PLAN)).unwrap();
        assert_eq!(plan.permissions().mode() & 0o777, 0o600);
        let stored = folder.stored().unwrap();
        assert_eq!((stored.len(), stored[0].files), (1, 2));

        let undone = folder.undo(&run, now()).unwrap();
        assert_eq!(
            undone,
            Undone {
                restored: 2,
                blocked: 0,
                missing: 0
            }
        );
        let after = fs::metadata(sample.place.path().join(NAMES[0])).unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );
        let again = folder.undo(&run, now()).unwrap_err().to_string();
        assert!(again.contains("undone already"), "{again}");
    }

    #[test]
    fn one_run_at_a_time() {
        let sample = Sample::new(&NAMES);
        let _held = LockedFolder::lock(&sample.place).unwrap();
        assert_eq!(
            LockedFolder::lock(&sample.place).unwrap_err(),
            Obstacle::Locked
        );
    }

    /// What somebody else does between plan and move, and what must then be true.
    fn meddle(meddle: impl FnOnce(&Path)) -> (Sample, Done) {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap();
        meddle(&sample.place.path());
        let done = prepared.execute(now()).unwrap();
        drop(folder);
        (sample, done)
    }

    #[test]
    fn a_file_that_changed_puts_everything_back() {
        type Meddling = fn(&Path);
        let cases: [(&str, Meddling); 5] = [
            ("rewritten", |dir| {
                fs::write(dir.join(NAMES[2]), "a new ratchet").unwrap()
            }),
            ("replaced", |dir| {
                fs::remove_file(dir.join(NAMES[2])).unwrap();
                fs::write(dir.join(NAMES[2]), NAMES[2]).unwrap();
            }),
            ("deleted", |dir| {
                fs::remove_file(dir.join(NAMES[2])).unwrap()
            }),
            ("linked", |dir| {
                fs::hard_link(dir.join(NAMES[2]), dir.join("copy")).unwrap()
            }),
            ("swapped for a link", |dir| {
                fs::remove_file(dir.join(NAMES[2])).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", dir.join(NAMES[2])).unwrap();
            }),
        ];
        for (case, meddling) in cases {
            let (sample, done) = meddle(meddling);
            assert_eq!(
                (done.outcome, done.moved),
                (Outcome::RolledBack, 0),
                "{case}"
            );
            assert!(sample.has(NAMES[0]) && sample.has(NAMES[1]), "{case}");
            assert_eq!(
                fs::read(sample.place.path().join(NAMES[0])).unwrap(),
                NAMES[0].as_bytes()
            );
        }
    }

    #[test]
    fn undo_never_replaces_a_newer_file() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap();
        let run = prepared.run().clone();
        prepared.execute(now()).unwrap();
        fs::write(sample.place.path().join(NAMES[0]), "newer").unwrap();
        let undone = folder.undo(&run, now()).unwrap();
        assert_eq!(
            undone,
            Undone {
                restored: 2,
                blocked: 1,
                missing: 0
            }
        );
        assert_eq!(
            fs::read(sample.place.path().join(NAMES[0])).unwrap(),
            b"newer"
        );
        assert_eq!(
            folder.stored().unwrap()[0].files,
            1,
            "the older one is kept"
        );
    }

    #[test]
    fn an_interrupted_run_is_finished_or_left() {
        for forward in [true, false] {
            let sample = Sample::new(&NAMES);
            let folder = LockedFolder::lock(&sample.place).unwrap();
            let prepared = folder
                .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
                .unwrap();
            let run = prepared.run().clone();
            assert!(matches!(
                prepared.move_one(&prepared.record.moves[0]),
                Ok(Moved::Yes)
            ));
            drop(prepared);
            assert_eq!(folder.stored().unwrap()[0].state, StoredState::Unfinished);
            let allowed = if forward { all() } else { BTreeSet::new() };
            let done = folder.finish(&run, &allowed, now()).unwrap().unwrap();
            assert_eq!(done.moved, if forward { 3 } else { 1 });
            assert_eq!(
                folder.finish(&run, &all(), now()).unwrap(),
                Some(done),
                "an ended run stays ended"
            );
            assert_eq!(
                folder.undo(&run, now()).unwrap().restored,
                if forward { 3 } else { 1 }
            );
            assert!(NAMES.iter().all(|name| sample.has(name)));
        }
    }

    #[test]
    fn an_undo_that_was_interrupted_is_never_rolled_forward() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap();
        let run = prepared.run().clone();
        write_record(
            prepared.dir.as_fd(),
            UNDONE,
            &UndoRecord {
                at_ns: 1,
                finished: false,
            },
        )
        .unwrap();
        drop(prepared);
        assert_eq!(folder.finish(&run, &all(), now()).unwrap(), None);
        assert!(NAMES.iter().all(|name| sample.has(name)));
    }

    #[test]
    fn a_full_quarantine_refuses_before_anything_moves() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let refused = folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), 3)
            .unwrap_err();
        assert_eq!(refused.label(), "quarantine_full");
        assert!(folder.stored().unwrap().is_empty());
        assert!(NAMES.iter().all(|name| sample.has(name)));
    }

    #[test]
    fn a_planted_quarantine_is_not_used() {
        let sample = Sample::new(&NAMES);
        let elsewhere = tempfile::tempdir().unwrap();
        let quarantine = sample.place.path().join(QUARANTINE_DIR);
        std::os::unix::fs::symlink(elsewhere.path(), &quarantine).unwrap();
        let folder = LockedFolder::lock(&sample.place).unwrap();
        assert_eq!(
            folder
                .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
                .unwrap_err()
                .label(),
            "io"
        );
        fs::remove_file(&quarantine).unwrap();
        fs::create_dir(&quarantine).unwrap();
        fs::write(quarantine.join("holiday.jpg"), "").unwrap();
        assert_eq!(
            folder
                .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
                .unwrap_err()
                .label(),
            "io"
        );
        assert!(
            quarantine.join("holiday.jpg").exists() && NAMES.iter().all(|name| sample.has(name))
        );
    }

    #[test]
    fn a_folder_swapped_for_a_link_is_refused() {
        let sample = Sample::new(&NAMES);
        let real = sample.place.path().with_file_name("elsewhere");
        fs::rename(sample.place.path(), &real).unwrap();
        std::os::unix::fs::symlink(&real, sample.place.path()).unwrap();
        assert_eq!(LockedFolder::lock(&sample.place).unwrap_err().label(), "io");
    }

    #[test]
    fn retention_deletes_only_what_it_moved_and_only_when_due() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&NAMES[..2]), RunId::new(now()), now(), MIB)
            .unwrap();
        let run = prepared.run().clone();
        let month = Duration::from_secs(30 * 86_400);
        drop(prepared);
        let late = now().plus(month * 2);
        assert!(
            !folder.purge(&run, late, month).unwrap(),
            "an unfinished run is never purged"
        );
        folder.finish(&run, &all(), now()).unwrap();
        assert!(!folder.purge(&run, now().plus(month), month).unwrap());
        let strange = sample
            .place
            .path()
            .join(QUARANTINE_DIR)
            .join(run.as_str())
            .join(FILES)
            .join("creds.json");
        fs::write(&strange, "put here by hand").unwrap();
        assert!(
            folder.purge(&run, late, month).is_err(),
            "a file it did not move keeps the run"
        );
        assert!(strange.exists());
        assert_eq!(
            folder.undo(&run, late).unwrap_err().label(),
            "io",
            "a purge that began is not undone"
        );
        fs::remove_file(&strange).unwrap();
        assert!(folder.purge(&run, late, month).unwrap());
        assert!(folder.stored().unwrap().is_empty());
        assert!(sample.has(NAMES[2]));
    }

    #[test]
    fn a_cancelled_plan_leaves_no_trace() {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap()
            .cancel()
            .unwrap();
        assert!(folder.stored().unwrap().is_empty());
        assert!(NAMES.iter().all(|name| sample.has(name)));
    }

    #[test]
    fn nfs_is_refused() {
        let refused = check_filesystem(0x6969).unwrap_err();
        assert!(
            refused.label() == "filesystem" && refused.to_string().contains("NFS"),
            "{refused}"
        );
        // ext4, xfs, btrfs, tmpfs, overlayfs
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794c_7630] {
            assert_eq!(check_filesystem(local), Ok(()));
        }
    }

    #[test]
    fn run_ids_never_carry_a_path() {
        let id = RunId::new(now());
        assert_eq!(RunId::parse(id.as_str()), Some(id));
        for bad in [
            "",
            "../../etc",
            "20261123T201510Z-4f2a9g",
            "20261123T201510Z-4f2a91/",
            "20261123T201510Z/4f2a91",
        ] {
            assert_eq!(RunId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn once_halted_nothing_moves_in_either_direction() {
        let names = ["pre-key-1.json", "pre-key-2.json", "pre-key-3.json"];
        let sample = Sample::new(&names);
        let halt = Halt::default();
        let folder = LockedFolder::lock_under(&sample.place, halt.clone()).unwrap();
        let now = Timestamp::now();
        let there = || {
            names
                .iter()
                .filter(|name| sample.place.path().join(name).exists())
                .count()
        };

        // Halted between the plan and its first move: whoever waits for a permit gets none.
        let prepared = folder
            .prepare(&sample.plan(&names), RunId::new(now), now, 1 << 20)
            .unwrap();
        let run = prepared.run().clone();
        let moving = halt.moving.lock().unwrap();
        let mover = std::thread::spawn(move || prepared.execute(now));
        halt.halt();
        drop(moving);
        halt.wait();
        assert_eq!(there(), 3);
        let done = mover.join().unwrap().unwrap();
        assert_eq!(
            (done.outcome, done.moved, done.left),
            (Outcome::Interrupted, 0, 3)
        );
        assert_eq!(there(), 3);
        drop(folder);

        // Nor does what a crash left, and an undo ends where it stands.
        fs::remove_file(
            sample
                .place
                .path()
                .join(QUARANTINE_DIR)
                .join(run.as_str())
                .join(DONE),
        )
        .unwrap();
        let halted = LockedFolder::lock_under(&sample.place, halt.clone()).unwrap();
        let all: BTreeSet<FileName> = names.iter().map(|name| FileName::new(*name)).collect();
        assert_eq!(halted.finish(&run, &all, now).unwrap().unwrap().moved, 0);
        drop(halted);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&names), RunId::new(now), now, 1 << 20)
            .unwrap();
        let run = prepared.run().clone();
        assert_eq!(prepared.execute(now).unwrap().outcome, Outcome::Moved);
        drop((prepared, folder));
        let halted = LockedFolder::lock_under(&sample.place, halt).unwrap();
        assert!(halted.undo(&run, now).is_err());
        assert_eq!(there(), 0);
    }
}
