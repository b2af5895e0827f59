//! Completes restores that a crash interrupted, and deletes replaced files after the
//! retention.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, RenameFlags};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use crate::folder::scan::{MAX_CREDS_BYTES, read_plain_file, stat};
use crate::folder::{FolderPath, Found, Shape, Stamp, Timestamp};
use crate::remediator::outcome::{self, Crash, RunError};
use crate::remediator::quarantine::{
    LockedFolder, Obstacle, QuarantineName, exists, obstacle, obstacle_io, open_beneath,
    read_record, sync, unlink,
};
use crate::remediator::runner::{Context, blocking};
use crate::remediator::store::audit::FileRecord;
use crate::remediator::store::runs::{Ending, Run, Status};

use super::record::{NEW, PREFIX, RECORD, REPLACED, RestoreRecord, exchanged};

/// How far a restore has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The record was never written, or was removed.
    Begun,
    /// The record is written; the folder has the old file.
    Prepared,
    /// The folder has the new file.
    Exchanged,
}

pub(super) fn stage(slot: BorrowedFd<'_>) -> Result<Stage, Obstacle> {
    if !exists(slot, RECORD)? {
        return Ok(if exists(slot, REPLACED)? {
            Stage::Exchanged
        } else {
            Stage::Begun
        });
    }
    let record: RestoreRecord = read_record(slot, RECORD)?;
    let failed = |error: &std::io::Error| obstacle_io("looking at a restore", error);
    let Some((shape, stamp)) = stat(slot, OsStr::new(NEW)).map_err(|e| failed(&e))? else {
        return Ok(Stage::Exchanged);
    };
    // A file that this program wrote is regular and not too large.
    if !matches!(shape, Shape::Regular | Shape::HardLinked) || stamp.size > MAX_CREDS_BYTES {
        return Ok(Stage::Exchanged);
    }
    let read = read_plain_file(slot, OsStr::new(NEW), MAX_CREDS_BYTES);
    let is_new = is_new(&record, &stamp, read).map_err(|error| failed(&error))?;
    Ok(if is_new {
        Stage::Prepared
    } else {
        Stage::Exchanged
    })
}

/// Whether this is the file to put back.
pub(super) fn is_new(
    record: &RestoreRecord,
    stamp: &Stamp,
    read: std::io::Result<Vec<u8>>,
) -> std::io::Result<bool> {
    match (read, record.inode) {
        (Ok(bytes), _) => Ok(format!("{:016x}", xxh3_64(&bytes)) == record.content),
        // An unreadable file may be either of the two; only the inode tells.
        (Err(_), Some(inode)) => Ok(inode == stamp.inode),
        (Err(error), None) => Err(error),
    }
}

/// Completes the restore in this directory of the quarantine: removes it if nothing was put
/// back, else renames the replaced file to replaced.json.
pub(super) fn complete(quarantine: BorrowedFd<'_>, name: &str) -> Result<Stage, Obstacle> {
    let slot = open_beneath(quarantine, name).map_err(|e| obstacle("opening a restore", e))?;
    let stage = stage(slot.as_fd())?;
    match stage {
        Stage::Begun | Stage::Prepared => remove(quarantine, slot.as_fd(), name)?,
        Stage::Exchanged if exists(slot.as_fd(), NEW)? => {
            rustix::fs::renameat_with(&slot, NEW, &slot, REPLACED, RenameFlags::NOREPLACE)
                .map_err(|e| obstacle("keeping the replaced creds.json", e))?;
            sync(&[slot.as_fd()])?;
        }
        Stage::Exchanged => {}
    }
    Ok(stage)
}

/// Removes a restore that put nothing back. Removes the record first: without it the stage
/// is `Begun`.
pub(super) fn remove(
    quarantine: BorrowedFd<'_>,
    slot: BorrowedFd<'_>,
    name: &str,
) -> Result<(), Obstacle> {
    unlink(slot, RECORD)?;
    sync(&[slot])?;
    for file in [NEW, "restore.json.tmp"] {
        unlink(slot, file)?;
    }
    rmdir(quarantine, name)
}

fn rmdir(quarantine: BorrowedFd<'_>, name: &str) -> Result<(), Obstacle> {
    match rustix::fs::unlinkat(quarantine, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => sync(&[quarantine]),
        Err(error) => Err(obstacle("removing an ended restore", error)),
    }
}

/// The restores in a quarantine.
fn slots(quarantine: BorrowedFd<'_>) -> Result<Vec<(String, QuarantineName)>, Obstacle> {
    let doing = "listing the quarantine";
    let mut slots = Vec::new();
    for entry in Dir::read_from(quarantine).map_err(|e| obstacle(doing, e))? {
        let entry = entry.map_err(|e| obstacle(doing, e))?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if let Some(run) = name.strip_prefix(PREFIX).and_then(QuarantineName::parse) {
            slots.push((name.to_owned(), run));
        }
    }
    Ok(slots)
}

pub(super) fn complete_all(folder: &LockedFolder) -> Result<(), Obstacle> {
    let Some(quarantine) = folder.quarantine(false)? else {
        return Ok(());
    };
    for (name, _) in slots(quarantine.as_fd())? {
        // A failure here does not stop the others.
        if let Err(error) = complete(quarantine.as_fd(), &name) {
            tracing::error!(restore = name, "{error}");
        }
    }
    Ok(())
}

/// Completes interrupted restores, and deletes replaced files for which `is_due(run, time)`
/// is true. Takes the lock only if there is a restore; skips a locked folder until the next
/// call.
pub fn tidy(
    place: &FolderPath,
    mut is_due: impl FnMut(&str, Timestamp) -> bool,
) -> Result<(), Obstacle> {
    use crate::folder::scan::QUARANTINE_DIR;
    let Ok(fd) = place.open() else { return Ok(()) };
    let Ok(quarantine) = open_beneath(fd.as_fd(), QUARANTINE_DIR) else {
        return Ok(());
    };
    if slots(quarantine.as_fd())?.is_empty() {
        return Ok(());
    }
    let folder = match LockedFolder::lock(place) {
        Err(Obstacle::Locked) => return Ok(()),
        folder => folder?,
    };
    complete_all(&folder)?;
    let Some(quarantine) = folder.quarantine(false)? else {
        return Ok(());
    };
    for (name, run) in slots(quarantine.as_fd())? {
        let slot = open_beneath(quarantine.as_fd(), &name)
            .map_err(|e| obstacle("opening a restore", e))?;
        let Ok(record) = read_record::<RestoreRecord>(slot.as_fd(), RECORD) else {
            continue;
        };
        if is_due(run.as_str(), Timestamp::from_nanos(record.at_ns)) {
            unlink(slot.as_fd(), REPLACED)?;
            unlink(slot.as_fd(), RECORD)?;
            rmdir(quarantine.as_fd(), &name)?;
            tracing::info!(%run, "deleted a replaced creds.json after the retention");
        }
    }
    Ok(())
}

/// Ends the record of a restore whose process died. The quarantine shows the outcome.
pub async fn end_orphan(ctx: &Context, orphan: &Run, sessions: Vec<Found>) -> Result<(), RunError> {
    let (run, session) = (orphan.run.clone(), orphan.session.clone());
    let stage = blocking(
        move || -> Result<Option<(Stage, Vec<FileRecord>)>, Obstacle> {
            let Some(run) = run.as_deref().and_then(QuarantineName::parse) else {
                return Ok(None);
            };
            let Some(found) = sessions
                .iter()
                .find(|found| found.session.as_str() == session)
            else {
                return Ok(None);
            };
            let folder = LockedFolder::lock(&found.place)?;
            let Some(quarantine) = folder.quarantine(false)? else {
                return Ok(None);
            };
            let name = format!("{PREFIX}{run}");
            if !exists(quarantine.as_fd(), &name)? {
                return Ok(None);
            }
            let stage = complete(quarantine.as_fd(), &name)?;
            let files = match stage {
                Stage::Exchanged => {
                    let slot = open_beneath(quarantine.as_fd(), &name);
                    slot.map(|slot| exchanged(slot.as_fd(), folder.fd()))
                        .unwrap_or_default()
                }
                Stage::Begun | Stage::Prepared => Vec::new(),
            };
            Ok(Some((stage, files)))
        },
    )
    .await;
    let mut moves = Vec::new();
    let mut ending = Ending::default();
    let status = match stage {
        // Another process works on the folder; the next sweep tries again.
        Err(Obstacle::Locked) => return Ok(()),
        Ok(Some((Stage::Exchanged, files))) => {
            moves = files;
            let detail =
                "the remediator was stopped during the restore; the copy was already put back";
            ending.detail = Some(detail.to_owned());
            Status::Done
        }
        Ok(_) => {
            let id = orphan.id;
            ctx.with_store(move |store| store.audit().planned_are_left(id))
                .await?;
            let error = RunError::Crashed(Crash::NothingRestored);
            outcome::apply_result(&Err(error), &mut ending)
        }
        Err(error) => {
            let error = RunError::Crashed(Crash::Unreadable(error.to_string()));
            outcome::apply_result(&Err(error), &mut ending)
        }
    };
    let ending = Ending { moves, ..ending };
    let (id, now) = (orphan.id, ctx.moment());
    ctx.with_store(move |store| store.runs().finish(id, status, &ending, now))
        .await?;
    Ok(())
}
