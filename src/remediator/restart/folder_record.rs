//! The second record of a restart: a file in the quarantine of each folder of the service, so
//! that a start that is due survives the loss of the journal. It holds no secret of a session.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::folder::Found;
use crate::folder::scan::QUARANTINE_DIR;
use crate::remediator::quarantine::{LockedFolder, Obstacle};

use super::state::{Now, Restart};

/// Its name in the quarantine.
pub const NAME: &str = "restart.json";
const NEW: &str = "restart.json.new";
const MAX_BYTES: u64 = 1 << 20;

#[derive(Deserialize, Serialize)]
struct RestartRecord {
    /// Whose it is: another remediator does not resume it.
    state_path: PathBuf,
    restart: Restart,
}

/// Writes it, beneath the lock. Blocks.
pub fn write(folder: &Arc<LockedFolder>, state_path: &Path, state: &Restart) -> Result<(), String> {
    let failed = |error: Errno| error.to_string();
    let quarantine = folder
        .quarantine(true)
        .map_err(|error| error.to_string())?
        .ok_or("no quarantine")?;
    let record = RestartRecord {
        state_path: state_path.to_owned(),
        restart: state.clone(),
    };
    let text = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(&quarantine, NEW, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let mut file = File::from(fd);
    file.write_all(&text).map_err(|error| error.to_string())?;
    file.sync_all().map_err(|error| error.to_string())?;
    rustix::fs::renameat(&quarantine, NEW, &quarantine, NAME).map_err(failed)?;
    rustix::fs::fsync(&quarantine).map_err(failed)
}

/// Removes it. Blocks.
pub fn remove(folder: &Arc<LockedFolder>) -> Result<(), Obstacle> {
    let Some(quarantine) = folder.quarantine(false)? else {
        return Ok(());
    };
    for name in [NEW, NAME] {
        match rustix::fs::unlinkat(&quarantine, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(Obstacle::Io(format!("removing a record: {error}"))),
        }
    }
    Ok(())
}

/// What stands there, if it is of the remediator of this state directory. Blocks.
pub fn read(found: &Found, state_path: &Path) -> Option<Restart> {
    let record = read_any(found)?;
    (record.state_path == state_path).then_some(record.restart)
}

/// Whether a call of another remediator may be under way: one that was killed has left its
/// lock and not its call. `state_path`: whose record does not count, if any. Blocks.
pub fn other_call_may_be_under_way(found: &Found, state_path: Option<&Path>, now: Now) -> bool {
    read_any(found).is_some_and(|record| {
        Some(record.state_path.as_path()) != state_path && record.restart.call_may_be_under_way(now)
    })
}

fn read_any(found: &Found) -> Option<RestartRecord> {
    let folder = found.place.open().ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let dir = flags | OFlags::DIRECTORY;
    let quarantine = rustix::fs::openat(&folder, QUARANTINE_DIR, dir, Mode::empty()).ok()?;
    let file = rustix::fs::openat(&quarantine, NAME, flags, Mode::empty()).ok()?;
    let file = File::from(file);
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes it to each folder, or removes it. Where that fails, the journal has the first record.
/// Blocks.
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
                "failed to keep the restart in the quarantine: {error}"
            );
        }
    }
}
