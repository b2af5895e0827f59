//! Moves files out of an auth folder so that no file can be lost.
//!
//! The quarantine is inside the auth folder, so that each move is one rename within one
//! mount, even if every session is a volume of its own:
//!
//! ```text
//! .baileys_quarantine/            0700
//!   BAILEYS_QUARANTINE.TAG        tag: discovery does not treat the directory as a session
//!   20261123T201510Z-4f2a91/      one run, 0700
//!     plan.json                   the commit point, written before the first move
//!     files/                      the moved files, under their own names
//!     done.json                   the outcome
//!     undone.json                 an undo has begun; `finished` is true when it is complete
//!     purged.json                 plan.json, renamed: the retention has ended, files are deleted
//!   creds-20261123T201510Z-4f2a91/  the file that a restore of creds.json replaced; see `insurance::restore`
//! ```
//!
//! Every step is one rename that refuses to replace, on descriptors opened beneath the
//! folder without following links, while `flock` on the folder is held. The moved file is
//! the backup. A crash at any point leaves each file in exactly one place.

mod files;
mod files_of_run;
mod halt;
mod name;
mod obstacle;
mod prepared;
mod records;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Dir, FlockOperation};
use rustix::io::Errno;

use crate::folder::identity::{Identity, identity_of};
use crate::folder::scan::{
    MAX_CREDS_BYTES, QUARANTINE_DIR, QUARANTINE_TAG, read_plain_file, scan_settled, stat,
};
use crate::folder::{BoundedBlocking, FolderPath, Inventory, Kind, ReadCache, Shape, Timestamp};

use self::files::{FromCStr, check_noreplace};
pub(super) use self::files_of_run::aborted;
use self::files_of_run::{PutBack, locate, put_back};
use self::records::{
    FILES, PLAN, PURGED, TAG_TEXT, UNDONE, UndoRecord, read_plan, remove_run_dir, stored_state,
};

pub(super) use self::files::{
    check_filesystem, exists, give_to_owner_of, make_dir, open_beneath, sync, unlink, write_file,
};
pub use self::files_of_run::{At, Whereabouts};
pub use self::halt::Halt;
pub(super) use self::halt::Permit;
pub use self::name::QuarantineName;
pub use self::obstacle::Obstacle;
pub(super) use self::obstacle::{obstacle, obstacle_io};
pub use self::prepared::Prepared;
pub use self::records::{Done, MoveOutcome, StoredRun, StoredState, Undone, is_due};
pub(super) use self::records::{has_room, read_record, write_record};

/// Quarantined files and copies of a creds.json are deleted only after they have been due for this
/// long by the monotonic clock: a wall clock that jumps ahead deletes nothing, and an undo stays
/// possible.
pub(super) const DUE_FOR: Duration = Duration::from_secs(6 * 3_600);
/// Between fork and exec, a child process holds copies of its parent's descriptors, and with
/// them a lock that the parent has already released. So a lock is tried this often.
const FLOCK_TRIES: u32 = 40;
const FLOCK_PAUSE: Duration = Duration::from_millis(5);

/// An auth folder with its lock held. Dropping it releases the lock.
#[derive(Debug)]
pub struct LockedFolder {
    fd: OwnedFd,
    halt: Halt,
}

impl LockedFolder {
    /// Opens and locks the folder. Does not wait if another process holds the lock.
    pub fn lock(place: &FolderPath) -> Result<Arc<Self>, Obstacle> {
        Self::lock_under(place, Halt::default())
    }

    /// The right to one move; `None` after [`Halt::halt`], or too long after
    /// [`LockedFolder::confirm_moves`].
    pub(super) fn permit(&self) -> Option<Permit<'_>> {
        self.halt.permit()
    }

    /// Whether a file may move now.
    pub fn may_move(&self) -> bool {
        self.halt.permit().is_some()
    }

    /// The bot was looked at just now and does not run. From here on no file moves later than
    /// `MOVES_WITHIN` after this, or after the file before.
    pub fn confirm_moves(&self) {
        self.halt.confirm();
    }

    /// Like [`LockedFolder::lock`]; moves under this lock end when `halt` is set.
    pub fn lock_under(place: &FolderPath, halt: Halt) -> Result<Arc<Self>, Obstacle> {
        let own = place.clone();
        look_at(place, move || Self::lock_now(&own, halt))
    }

    fn lock_now(place: &FolderPath, halt: Halt) -> Result<Arc<Self>, Obstacle> {
        let fd = place
            .open()
            .map_err(|error| obstacle_io("opening the folder", &error))?;
        let statfs =
            rustix::fs::fstatfs(&fd).map_err(|e| obstacle("checking the file system", e))?;
        check_filesystem(statfs.f_type)?;
        let mut tries = 0;
        loop {
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Arc::new(Self { fd, halt })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if tries < FLOCK_TRIES => tries += 1,
                Err(Errno::WOULDBLOCK) => return Err(Obstacle::Locked),
                Err(error) => return Err(obstacle("locking the folder", error)),
            }
            std::thread::sleep(FLOCK_PAUSE);
        }
    }

    /// The same lock, whose moves end when `halt` is set. The lock is held until both values
    /// are dropped.
    pub fn with_halt(&self, halt: Halt) -> Result<Arc<Self>, Obstacle> {
        let fd = self
            .fd
            .try_clone()
            .map_err(|error| obstacle_io("using the lock of the folder", &error))?;
        Ok(Arc::new(Self { fd, halt }))
    }

    /// The folder's descriptor, for other work under this lock.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Checks that `place` still names this folder. After a rename during a run, the verdict on
    /// one bot must not clean the folder of another. Blocks.
    pub fn confirm_place(&self, place: &FolderPath) -> Result<(), Obstacle> {
        let id = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let of_lock =
            id(self.fd.as_fd()).map_err(|error| obstacle("looking at the lock", error))?;
        let own = place.clone();
        look_at(place, move || {
            let of_place = own
                .open()
                .and_then(|there| Ok(id(there.as_fd())?))
                .map_err(|error| obstacle_io("opening the folder again", &error))?;
            match of_place == of_lock {
                true => Ok(()),
                false => Err(Obstacle::Io("the folder was renamed or replaced".into())),
            }
        })
    }

    /// Like [`LockedFolder::confirm_place`], for async code.
    pub async fn confirm_place_async(self: &Arc<Self>, place: &FolderPath) -> Result<(), Obstacle> {
        let (own, there) = (Arc::clone(self), place.clone());
        look_at_async(place, move || own.confirm_place(&there)).await
    }

    /// Scans the folder. Blocks.
    pub fn scan(&self) -> Result<Inventory, Obstacle> {
        scan_settled(self.fd.as_fd(), &mut ReadCache::default())
            .map_err(|error| obstacle_io("listing the folder", &error))
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
            let Some(name) = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(QuarantineName::parse)
            else {
                continue;
            };
            let Ok(dir) = open_beneath(quarantine.as_fd(), name.as_str()) else {
                runs.push(StoredRun {
                    name,
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
                name,
                state: stored_state(dir.as_fd()),
                bytes,
                files,
            });
        }
        runs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(runs)
    }

    /// The identity of the folder; `None` where its creds.json does not tell.
    fn identity(&self) -> Option<Identity> {
        let name = OsStr::new("creds.json");
        identity_of(&read_plain_file(self.fd.as_fd(), name, MAX_CREDS_BYTES).ok()?)
    }

    /// Whether the files of a run are known to be of another identity than the folder is now.
    /// Blocks.
    pub fn is_of_other_identity(&self, name: &QuarantineName) -> Result<bool, Obstacle> {
        let (_quarantine, dir) = self.open_run(name)?;
        let of_run = read_plan(dir.as_fd(), PLAN)?.identity;
        let of_run = of_run.as_deref().and_then(Identity::parse);
        Ok(match (of_run, self.identity()) {
            (Some(of_run), Some(now)) => of_run != now,
            _ => false,
        })
    }

    /// Puts the files of a run back. Never replaces a file that is in the folder now.
    pub fn undo(&self, name: &QuarantineName, now: Timestamp) -> Result<Undone, Obstacle> {
        let (_quarantine, dir) = self.open_run(name)?;
        let state = stored_state(dir.as_fd());
        if matches!(state, StoredState::Purging | StoredState::Empty) {
            return Err(Obstacle::Io(format!(
                "run {name} holds no files: it never moved any, or its retention has ended"
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
        // An undo that was interrupted after its last file is not recorded as complete yet.
        if state != StoredState::UndoUnfinished && !holds_any()? {
            return Err(Obstacle::Io(format!(
                "run {name} holds no files: it was already undone"
            )));
        }
        // After this write, recovery no longer rolls this run forward.
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
                failed = Some(aborted());
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
        name: &QuarantineName,
        now: Timestamp,
        retention: Duration,
    ) -> Result<bool, Obstacle> {
        let (quarantine, dir) = self.open_run(name)?;
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
        remove_run_dir(quarantine.as_fd(), name, dir.as_fd())?;
        Ok(true)
    }

    /// Files of each kind that the run of this name holds now.
    pub fn held_kinds(&self, name: &QuarantineName) -> Result<BTreeMap<Kind, usize>, Obstacle> {
        let (_quarantine, dir) = self.open_run(name)?;
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

    /// Tries to create a directory in the quarantine and to rename a file in it without
    /// replacing. Touches no other file, and leaves only the quarantine itself.
    pub fn try_out(&self, now: Timestamp) -> Result<(), Obstacle> {
        let quarantine = self
            .quarantine(true)?
            .ok_or_else(|| Obstacle::Io("no quarantine".into()))?;
        let name = QuarantineName::new(now);
        // Looks like a run without a plan, so the next start removes it after a crash.
        let dir = make_dir(quarantine.as_fd(), name.as_str(), true)?;
        let tried = make_dir(dir.as_fd(), FILES, true)
            .and_then(|files| check_noreplace(dir.as_fd(), files.as_fd()));
        let removed = remove_run_dir(quarantine.as_fd(), &name, dir.as_fd());
        tried.and(removed)
    }

    /// Where each file of a run's plan is now, in the order of the plan.
    pub fn whereabouts(&self, name: &QuarantineName) -> Result<Vec<Whereabouts>, Obstacle> {
        let (_quarantine, dir) = self.open_run(name)?;
        let record = read_plan(dir.as_fd(), PLAN)?;
        let files =
            open_beneath(dir.as_fd(), FILES).map_err(|e| obstacle("opening the quarantine", e))?;
        locate(files.as_fd(), self.fd.as_fd(), &record)
    }

    /// Whether this folder's quarantine holds a run of this name.
    pub fn holds(&self, name: &QuarantineName) -> bool {
        self.open_run(name).is_ok()
    }

    fn open_run(&self, name: &QuarantineName) -> Result<(OwnedFd, OwnedFd), Obstacle> {
        let missing = || Obstacle::Io(format!("no run {name} in this folder's quarantine"));
        let quarantine = self.quarantine(false)?.ok_or_else(missing)?;
        match open_beneath(quarantine.as_fd(), name.as_str()) {
            Ok(dir) => Ok((quarantine, dir)),
            Err(Errno::NOENT) => Err(missing()),
            Err(error) => Err(obstacle("opening the run", error)),
        }
    }

    /// Opens the quarantine, and creates it if `create` is true.
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
                "{QUARANTINE_DIR} exists, is not empty and has no quarantine tag; move it away"
            )));
        }
        write_file(quarantine.as_fd(), QUARANTINE_TAG, TAG_TEXT)?;
        sync(&[self.fd.as_fd()])?;
        Ok(Some(quarantine))
    }
}

/// The runs in the quarantine of the folder at `place`. Reads only, so it takes no lock.
pub fn stored_runs(place: &FolderPath) -> Result<Vec<StoredRun>, Obstacle> {
    let own = place.clone();
    look_at(place, move || {
        let fd = own
            .open()
            .map_err(|error| obstacle_io("opening the folder", &error))?;
        LockedFolder {
            fd,
            halt: Halt::default(),
        }
        .stored()
    })
}

/// Runs `look` on the folder, within the limits of [`BoundedBlocking`], because it may hang. Blocks.
pub(super) fn look_at<T: Send + 'static>(
    place: &FolderPath,
    look: impl FnOnce() -> Result<T, Obstacle> + Send + 'static,
) -> Result<T, Obstacle> {
    let looked = BoundedBlocking::default().run(&place.path(), look);
    looked.unwrap_or_else(|error| Err(obstacle_io("looking at the folder", &error)))
}

/// Runs a change to a folder. All changes and all looks run on the threads of [`BoundedBlocking`].
pub(super) async fn change<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Obstacle> + Send + 'static,
) -> Result<T, Obstacle> {
    let changed = BoundedBlocking::default().change(work).await;
    changed.unwrap_or_else(|error| Err(obstacle_io("starting a thread", &error)))
}

/// Like [`look_at`], for async code.
pub(super) async fn look_at_async<T: Send + 'static>(
    place: &FolderPath,
    look: impl FnOnce() -> Result<T, Obstacle> + Send + 'static,
) -> Result<T, Obstacle> {
    let looked = BoundedBlocking::default()
        .run_async(&place.path(), look)
        .await;
    looked.unwrap_or_else(|error| Err(obstacle_io("looking at the folder", &error)))
}

/// One run in a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// Its state.
    pub state: StoredState,
    /// Files of each kind that it holds now.
    pub files: BTreeMap<Kind, usize>,
    /// Where each file of its plan is now; empty if the plan cannot be read.
    pub moves: Vec<Whereabouts>,
}

/// Looks up a run; `None` if this folder's quarantine does not have it. Reads only, so it
/// takes no lock.
pub fn look_up(place: &FolderPath, name: &QuarantineName) -> Result<Option<LookedUp>, Obstacle> {
    let Some(stored) = stored_runs(place)?
        .into_iter()
        .find(|stored| stored.name == *name)
    else {
        return Ok(None);
    };
    let (own, name) = (place.clone(), name.clone());
    look_at(place, move || {
        let fd = own
            .open()
            .map_err(|error| obstacle_io("opening the folder", &error))?;
        let folder = LockedFolder {
            fd,
            halt: Halt::default(),
        };
        let moves = folder.whereabouts(&name).unwrap_or_default();
        Ok(Some(LookedUp {
            state: stored.state,
            files: folder.held_kinds(&name)?,
            moves,
        }))
    })
}

/// Bytes in the quarantine of the folder at `place`. Reads only, so it takes no lock.
pub fn quarantined_bytes(place: &FolderPath) -> Result<u64, Obstacle> {
    Ok(stored_runs(place)?.iter().map(|run| run.bytes).sum())
}

#[cfg(test)]
mod tests;
