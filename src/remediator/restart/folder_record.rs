//! The second record of a restart: a file in the quarantine of each folder of the service, so
//! that a pending start survives the loss of the journal. It contains no secret of a session.
//!
//! A copied or restored folder brings the record along. So it names its machine and its folder, and
//! only on that machine and in that folder it is resumed. Where a file system numbers its folders
//! anew at each mount, only the journal resumes a restart.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::connection::source_id;
use crate::folder::scan::QUARANTINE_DIR;
use crate::folder::{BoundedBlocking, Found};
use crate::remediator::quarantine::{LockedFolder, Obstacle, write_file};

use super::state::{Call, Now, Restart, RestartEnd, RestartId};

/// Its name in the quarantine.
pub const NAME: &str = "restart.json";
const NEW: &str = "restart.json.tmp";
/// The record of a restart that is over, where the journal could not delete its own: by how it
/// has ended. A rename needs no space on a full disk.
const OVER: [(RestartEnd, &str); 2] = [
    (RestartEnd::Stopped, "restart.over.json"),
    (RestartEnd::NothingCalled, "restart.uncalled.json"),
];
/// The record of a call that an operator's command makes, while that is under way.
const OPERATOR: &str = "operator.json";
const OPERATOR_NEW: &str = "operator.json.tmp";
const MAX_RESTART_BYTES: u64 = 1 << 20;
const MACHINE_ID: &str = "/etc/machine-id";
const MAX_MACHINE_ID_BYTES: u64 = 64;

#[derive(Deserialize, Serialize)]
struct RestartRecord {
    /// The state directory of its remediator. One with another directory does not resume it.
    state_path: PathBuf,
    /// Where it was written. `None`: that could not be told.
    #[serde(default)]
    written_in: Option<RecordPlace>,
    restart: Restart,
}

/// A folder of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct RecordPlace {
    /// The machine, by a hash of its id. `None` where it has no id, as in many containers.
    machine: Option<String>,
    /// The number of the folder in its file system. That of its device may change at each boot.
    inode: u64,
}

impl RecordPlace {
    /// Blocks.
    fn of(folder: BorrowedFd<'_>) -> Option<Self> {
        Some(Self {
            machine: machine(Path::new(MACHINE_ID)),
            inode: rustix::fs::fstat(folder).ok()?.st_ino,
        })
    }
}

/// Names the machine without its id, which is not for others. The id is the same after a boot.
/// Blocks.
fn machine(file: &Path) -> Option<String> {
    let mut id = String::new();
    let file = File::open(file).ok()?;
    file.take(MAX_MACHINE_ID_BYTES)
        .read_to_string(&mut id)
        .ok()?;
    let id = id.trim();
    // At the first boot it may be empty or `uninitialized`.
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| source_id("machine", id))
}

impl RestartRecord {
    /// Whether the remediator of this state directory has written it in this folder.
    fn is_own(&self, state_path: &Path, here: Option<&RecordPlace>) -> bool {
        self.state_path == state_path && here.is_some() && self.written_in.as_ref() == here
    }
}

/// Writes the record of a restart. The folder is locked. Blocks.
pub fn write(folder: &Arc<LockedFolder>, state_path: &Path, state: &Restart) -> Result<(), String> {
    let record = RestartRecord {
        state_path: state_path.to_owned(),
        written_in: RecordPlace::of(folder.fd()),
        restart: state.clone(),
    };
    put(&made_quarantine(folder)?, NAME, &record)
}

/// Writes the call that an operator's command is about to make, beneath the lock. Blocks.
pub fn write_call(folder: &Arc<LockedFolder>, call: &Call) -> Result<(), String> {
    put(&made_quarantine(folder)?, OPERATOR, call)
}

/// The quarantine, which is made where there is none.
fn made_quarantine(folder: &Arc<LockedFolder>) -> Result<OwnedFd, String> {
    let quarantine = folder.quarantine(true).map_err(|error| error.to_string())?;
    quarantine.ok_or_else(|| "no quarantine".into())
}

fn put(quarantine: &OwnedFd, name: &str, value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    write_file(quarantine.as_fd(), name, &text).map_err(|error| error.to_string())
}

/// Removes the record of a restart. Blocks.
pub fn remove(folder: &Arc<LockedFolder>) -> Result<(), Obstacle> {
    let [(_, over), (_, uncalled)] = OVER;
    unlink(folder, [NEW, NAME, over, uncalled])
}

/// Marks the record of a restart as over. Blocks.
fn end(folder: &Arc<LockedFolder>, end: RestartEnd) -> Result<(), Obstacle> {
    let Some(quarantine) = folder.quarantine(false)? else {
        return Ok(());
    };
    for (_, name) in OVER.iter().filter(|(of, _)| *of == end) {
        let failed = |error| Obstacle::Io(format!("renaming a record: {error}"));
        match rustix::fs::renameat(&quarantine, NAME, &quarantine, *name) {
            Ok(()) => rustix::fs::fsync(&quarantine).map_err(failed)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Removes the record of an operator's call. Blocks.
pub fn remove_call(folder: &Arc<LockedFolder>) -> Result<(), Obstacle> {
    unlink(folder, [OPERATOR_NEW, OPERATOR])
}

fn unlink<const N: usize>(folder: &Arc<LockedFolder>, names: [&str; N]) -> Result<(), Obstacle> {
    let Some(quarantine) = folder.quarantine(false)? else {
        return Ok(());
    };
    for name in names {
        match rustix::fs::unlinkat(&quarantine, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(Obstacle::Io(format!("removing a record: {error}"))),
        }
    }
    Ok(())
}

/// Reads the record, if it belongs to this state directory and this folder. A pending restart of
/// another one is logged, and its record is left alone. Blocks.
///
/// Errors: the folder does not answer, or cannot be opened.
pub fn read(found: &Found, state_path: &Path) -> io::Result<Option<Restart>> {
    let read = read_json_in::<RestartRecord, _>(found, NAME, RecordPlace::of)?;
    let Some((record, here)) = read else {
        return Ok(None);
    };
    let is_own = record.is_own(state_path, here.as_ref());
    if !is_own && record.restart.phase.is_pending() {
        let why = match record.state_path == state_path {
            true => "on another machine or in another folder: this one is a copy, or was restored from a backup".to_owned(),
            false => format!(
                "with another state directory ({}); run `serve` with that one",
                record.state_path.display()
            ),
        };
        tracing::error!(
            session = %found.session,
            service = record.restart.service,
            "not resuming the restart recorded in the folder of this session, because it was begun {why}; check whether the bot runs"
        );
    }
    Ok(is_own.then_some(record.restart))
}

/// The restarts of this state directory that are over and may still be in the journal, which knows
/// them by their id: it does not matter where they were written. Blocks.
///
/// Errors: as [`read`].
pub fn over(found: &Found, state_path: &Path) -> io::Result<Vec<(Restart, RestartEnd)>> {
    let mut over = Vec::new();
    for (end, name) in OVER {
        let record: Option<RestartRecord> = read_json(found, name)?;
        let own = record.filter(|record| record.state_path == state_path);
        over.extend(own.map(|record| (record.restart, end)));
    }
    Ok(over)
}

/// Whether a call of another restart, or of an operator's command, may be under way: a kill
/// releases its lock, but does not end its call. `own`: the restart that asks, whose own call
/// does not count. Blocks.
pub fn other_call_may_be_under_way(found: &Found, own: Option<&RestartId>, now: Now) -> bool {
    let is_under_way = |record: RestartRecord| {
        Some(&record.restart.id()) != own && record.restart.call_may_be_under_way(now)
    };
    let restart = read_json(found, NAME).ok().flatten();
    let operator = || read_json(found, OPERATOR).ok().flatten();
    restart.is_some_and(is_under_way)
        || operator().is_some_and(|call: Call| call.may_be_under_way(now))
}

/// Errors: the folder does not answer, or cannot be opened.
fn read_json<T: DeserializeOwned + Send + 'static>(
    found: &Found,
    name: &'static str,
) -> io::Result<Option<T>> {
    let read = read_json_in(found, name, |_| ())?;
    Ok(read.map(|(value, ())| value))
}

/// The same, and what `look` finds of the folder.
fn read_json_in<T: DeserializeOwned + Send + 'static, L: Send + 'static>(
    found: &Found,
    name: &'static str,
    look: fn(BorrowedFd<'_>) -> L,
) -> io::Result<Option<(T, L)>> {
    let place = found.place.clone();
    let read = BoundedBlocking::default().run(&found.place.path(), move || {
        let folder = place.open()?;
        Ok(read_now(&folder, name).map(|value| (value, look(folder.as_fd()))))
    });
    read.and_then(|read| read)
}

/// `None`: there is no such file, or another one than this program writes.
fn read_now<T: DeserializeOwned>(folder: &OwnedFd, name: &str) -> Option<T> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let dir = flags | OFlags::DIRECTORY;
    let quarantine = rustix::fs::openat(folder, QUARANTINE_DIR, dir, Mode::empty()).ok()?;
    let file = rustix::fs::openat(&quarantine, name, flags, Mode::empty()).ok()?;
    let file = File::from(file);
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_RESTART_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What becomes of the record of a restart.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    /// It is written.
    Written,
    /// It is removed: the restart is over.
    Removed,
    /// The restart is over, and the journal could not delete its record.
    Over(RestartEnd),
}

/// Writes the record to each folder, removes it, or marks it as over. A failure is only logged: the
/// journal has the first record. Blocks.
pub fn keep(
    folders: &BTreeMap<String, Arc<LockedFolder>>,
    state_path: &Path,
    state: &Restart,
    kept: Kept,
) {
    for (session, folder) in folders {
        let done = match kept {
            Kept::Written => write(folder, state_path, state),
            Kept::Removed => remove(folder).map_err(|error| error.to_string()),
            Kept::Over(how) => end(folder, how).map_err(|error| error.to_string()),
        };
        if let Err(error) = done {
            tracing::warn!(
                session,
                "failed to update the record of the restart in the quarantine: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
