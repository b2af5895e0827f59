//! The second record of a restart: a file in the quarantine of each folder of the service, so
//! that a pending start survives the loss of the journal. It contains no secret of a session.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::folder::scan::QUARANTINE_DIR;
use crate::folder::{BoundedBlocking, FolderPath, Found};
use crate::remediator::quarantine::{LockedFolder, Obstacle, write_file};

use super::state::{Call, Now, Restart, RestartId};

/// Its name in the quarantine.
pub const NAME: &str = "restart.json";
const NEW: &str = "restart.json.tmp";
/// The record of a call that an operator's command makes, while that is under way.
const OPERATOR: &str = "operator.json";
const OPERATOR_NEW: &str = "operator.json.tmp";
const MAX_RESTART_BYTES: u64 = 1 << 20;

#[derive(Deserialize, Serialize)]
struct RestartRecord {
    /// The state directory of its remediator. One with another directory does not resume it.
    state_path: PathBuf,
    restart: Restart,
}

/// Writes the record of a restart. The folder is locked. Blocks.
pub fn write(folder: &Arc<LockedFolder>, state_path: &Path, state: &Restart) -> Result<(), String> {
    let record = RestartRecord {
        state_path: state_path.to_owned(),
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
    unlink(folder, [NEW, NAME])
}

/// Removes the record of an operator's call. Blocks.
pub fn remove_call(folder: &Arc<LockedFolder>) -> Result<(), Obstacle> {
    unlink(folder, [OPERATOR_NEW, OPERATOR])
}

fn unlink(folder: &Arc<LockedFolder>, names: [&str; 2]) -> Result<(), Obstacle> {
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

/// Reads the record, if it belongs to this state directory. A pending restart of another state
/// directory is logged. Blocks.
pub fn read(found: &Found, state_path: &Path) -> Option<Restart> {
    let record: RestartRecord = read_json(found, NAME)?;
    let is_own = record.state_path == state_path;
    if !is_own && record.restart.phase.is_pending() {
        tracing::error!(
            session = %found.session,
            service = record.restart.service,
            "not resuming the restart recorded in the folder of this session, because it was begun with another state directory ({}); run `serve` with that one, or check whether the bot runs",
            record.state_path.display()
        );
    }
    is_own.then_some(record.restart)
}

/// Whether a call of another restart, or of an operator's command, may be under way: a kill
/// releases its lock, but does not end its call. `own`: the restart that asks, whose own call
/// does not count. Blocks.
pub fn other_call_may_be_under_way(found: &Found, own: Option<&RestartId>, now: Now) -> bool {
    let is_under_way = |record: RestartRecord| {
        Some(&record.restart.id()) != own && record.restart.call_may_be_under_way(now)
    };
    read_json(found, NAME).is_some_and(is_under_way)
        || read_json(found, OPERATOR).is_some_and(|call: Call| call.may_be_under_way(now))
}

fn read_json<T: DeserializeOwned + Send + 'static>(found: &Found, name: &'static str) -> Option<T> {
    let place = found.place.clone();
    let read = BoundedBlocking::default().run(&found.place.path(), move || read_now(&place, name));
    read.ok().flatten()
}

fn read_now<T: DeserializeOwned>(place: &FolderPath, name: &str) -> Option<T> {
    let folder = place.open().ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let dir = flags | OFlags::DIRECTORY;
    let quarantine = rustix::fs::openat(&folder, QUARANTINE_DIR, dir, Mode::empty()).ok()?;
    let file = rustix::fs::openat(&quarantine, name, flags, Mode::empty()).ok()?;
    let file = File::from(file);
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_RESTART_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes the record to each folder, or removes it. A failure is only logged: the journal has the
/// first record. Blocks.
pub fn keep(
    folders: &BTreeMap<String, Arc<LockedFolder>>,
    state_path: &Path,
    state: &Restart,
    forget: bool,
) {
    for (session, folder) in folders {
        let kept = match forget {
            true => remove(folder).map_err(|error| error.to_string()),
            false => write(folder, state_path, state),
        };
        if let Err(error) = kept {
            tracing::warn!(
                session,
                "failed to update the record of the restart in the quarantine: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
