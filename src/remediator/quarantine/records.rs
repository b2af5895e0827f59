//! The records of a run in a quarantine: plan, outcome, undo.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::folder::scan::read_plain_file;
use crate::folder::{FileName, Kind, Stamp, Timestamp};
use crate::policy::Plan;

use super::files::{exists, open_beneath, sync, unlink, write_file};
use super::{Obstacle, QuarantineName, obstacle, obstacle_io};

pub(super) const PLAN: &str = "plan.json";
pub(super) const DONE: &str = "done.json";
pub(super) const UNDONE: &str = "undone.json";
pub(super) const PURGED: &str = "purged.json";
pub(super) const FILES: &str = "files";
pub(super) const TAG_TEXT: &[u8] = b"Signature: baileys_remediator quarantine\n\
Files moved away from this auth folder, one directory per run. They hold private keys.\n\
`baileys_remediator undo RUN` puts them back; after the retention they are deleted.\n";

/// Largest record that is read, in bytes.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// One file of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MoveRecord {
    pub(super) name: String,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified_ns: i64,
}

impl MoveRecord {
    pub(super) fn file_name(&self) -> &OsStr {
        OsStr::new(&self.name)
    }

    pub(super) fn kind(&self) -> Kind {
        FileName::new(&self.name).kind()
    }

    pub(super) fn is_same(&self, stamp: &Stamp) -> bool {
        // Does not compare the device: its number may change with a reboot, and both
        // directories are on one mount.
        (self.inode, self.size, self.modified_ns)
            == (stamp.inode, stamp.size, stamp.modified.nanos())
    }
}

/// plan.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlanRecord {
    pub(super) version: u32,
    pub(super) run: QuarantineName,
    pub(super) made_ns: i64,
    pub(super) mode: String,
    /// Fingerprint of the identity that the folder had; none where creds.json does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<String>,
    pub(super) moves: Vec<MoveRecord>,
}

/// How a run ended; the content of done.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When, nanoseconds since the epoch.
    pub at_ns: i64,
    /// The outcome of the moves.
    pub outcome: MoveOutcome,
    /// Files now in the quarantine.
    pub moved: usize,
    /// Files that were planned and are not in the quarantine.
    pub left: usize,
}

/// The outcome of a run's moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveOutcome {
    /// Every planned file was moved.
    Moved,
    /// A file changed during the run, so a process writes into the folder. All files were put
    /// back.
    RolledBack,
    /// A crash interrupted it, and recovery moved the other files.
    RolledForward,
    /// A crash interrupted it and the bot was not known to be disconnected after the restart,
    /// or it was aborted because its bot is started. The moved files stay in the quarantine;
    /// no other file was moved.
    Interrupted,
}

impl MoveOutcome {
    /// Its name in records and in the audit trail.
    pub const fn label(self) -> &'static str {
        match self {
            MoveOutcome::Moved => "moved",
            MoveOutcome::RolledBack => "rolled_back",
            MoveOutcome::RolledForward => "rolled_forward",
            MoveOutcome::Interrupted => "interrupted",
        }
    }
}

/// undone.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UndoRecord {
    pub(super) at_ns: i64,
    pub(super) finished: bool,
}

/// What an undo did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Files put back.
    pub restored: usize,
    /// Files that stay in the quarantine because the folder has one of that name again.
    pub blocked: usize,
    /// Files that are neither in the quarantine nor unchanged in the folder.
    pub missing: usize,
}

/// A run found in a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// Its name.
    pub name: QuarantineName,
    /// Its state.
    pub state: StoredState,
    /// Bytes it holds.
    pub bytes: u64,
    /// Files it holds.
    pub files: usize,
}

/// State of a run in a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredState {
    /// A plan without an outcome: a crash interrupted it.
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
    /// Its retention has ended and its files are being deleted.
    Purging,
    /// It has no plan: no file was moved.
    Empty,
    /// Its records cannot be read.
    Damaged,
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

pub(super) fn stored_state(dir: BorrowedFd<'_>) -> StoredState {
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

/// Reads plan.json or purged.json. The folder's owner can write there, so the content is not
/// trusted: a plan with a file that the guard never moves is treated as damaged.
pub(super) fn read_plan(dir: BorrowedFd<'_>, name: &str) -> Result<PlanRecord, Obstacle> {
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
    Obstacle::Io("the records of this run are damaged; its files stay where they are".into())
}

pub(in crate::remediator) fn read_record<T: for<'de> Deserialize<'de>>(
    dir: BorrowedFd<'_>,
    name: &str,
) -> Result<T, Obstacle> {
    let bytes = read_plain_file(dir, OsStr::new(name), MAX_RECORD_BYTES)
        .map_err(|error| obstacle_io("reading a record", &error))?;
    serde_json::from_slice(&bytes).map_err(|_| damaged())
}

pub(in crate::remediator) fn write_record(
    dir: BorrowedFd<'_>,
    name: &str,
    record: &impl Serialize,
) -> Result<(), Obstacle> {
    let bytes = serde_json::to_vec(record).map_err(|error| Obstacle::Io(error.to_string()))?;
    write_file(dir, name, &bytes)
}

/// Removes a run's records and directories. Never removes a key file: `rmdir` refuses a
/// directory that still holds one.
pub(super) fn remove_run_dir(
    quarantine: BorrowedFd<'_>,
    name: &QuarantineName,
    dir: BorrowedFd<'_>,
) -> Result<(), Obstacle> {
    let doing = "removing an ended run";
    let rmdir =
        |at: BorrowedFd<'_>, dir: &str| match rustix::fs::unlinkat(at, dir, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(obstacle(doing, error)),
        };
    // Without plan.json the run is empty for every reader. purged.json goes last, because it
    // marks a purge that is under way.
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
    rmdir(quarantine, name.as_str())?;
    sync(&[quarantine])
}

/// Whether a quarantine that holds these runs may grow by this plan.
pub(in crate::remediator) fn has_room(
    stored: &[StoredRun],
    plan: &Plan,
    max_bytes: u64,
) -> Result<(), Obstacle> {
    let held: u64 = stored.iter().map(|run| run.bytes).sum();
    let more: u64 = plan.moves.iter().map(|planned| planned.stamp.size).sum();
    match held.saturating_add(more) > max_bytes {
        true => Err(Obstacle::QuarantineFull {
            bytes: held,
            limit: max_bytes,
        }),
        false => Ok(()),
    }
}
