//! The check before a stop: which files cannot be moved, and whether the quarantine can take
//! a plan. Changes nothing.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Access, AtFlags, StatVfsMountFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::folder::{FileName, FolderPath, Inventory, Kind};
use crate::policy::{Immovable, LeftOut, Plan};

use super::privileges::{self, Me, Quarantine};
use super::quarantine::{Obstacle, has_room, obstacle, obstacle_io, stored_runs};

/// Bytes that the records of a run need: a fixed part, and a part for each file.
const RECORD_BYTES: u64 = 64 << 10;
const RECORD_BYTES_PER_FILE: u64 = 256;
/// Files and directories that a run creates besides the files that it moves.
const RECORD_INODES: u64 = 8;
const CHECKING: &str = "checking the folder";

/// Files of this folder that cannot be moved, each with the reason. Blocks.
///
/// Errors: the folder cannot be looked at.
pub fn immovable(
    folder: BorrowedFd<'_>,
    inventory: &Inventory,
) -> Result<BTreeMap<FileName, Immovable>, Obstacle> {
    let doing = "checking which files can be moved";
    let about = privileges::statx_of(folder).map_err(|error| obstacle(doing, error))?;
    let me = Me::now();
    let is_sticky = about.stx_mode & 0o1000 != 0 && !me.is_root() && about.stx_uid != me.uid;
    let mut found = BTreeMap::new();
    let movable = inventory.files().iter().filter(|file| {
        matches!(
            file.kind(),
            Kind::PreKey | Kind::Session | Kind::SenderKey | Kind::SenderKeyMemory
        )
    });
    for file in movable {
        let name = file.name.as_os_str();
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let about = match rustix::fs::statx(folder, name, flags, StatxFlags::BASIC_STATS) {
            Ok(about) => about,
            // The file is gone. The moves check again.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(obstacle(doing, error)),
        };
        if privileges::is_immutable(&about) {
            found.insert(file.name.clone(), Immovable::Immutable);
        } else if is_sticky && about.stx_uid != me.uid {
            found.insert(file.name.clone(), Immovable::Sticky);
        }
    }
    Ok(found)
}

/// Whether files can be renamed in this folder, as far as it and its mount allow. Returns what
/// was found of it. Blocks.
///
/// Errors: the obstacle that would stop a rename.
pub(super) fn check_directory(folder: BorrowedFd<'_>) -> Result<Statx, Obstacle> {
    let failed = |error| obstacle(CHECKING, error);
    let space = rustix::fs::fstatvfs(folder).map_err(failed)?;
    if space.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(failed(Errno::ROFS));
    }
    let about = privileges::statx_of(folder).map_err(failed)?;
    if privileges::is_immutable(&about) {
        return Err(Obstacle::Io(format!(
            "{CHECKING}: it is immutable or append-only; see lsattr -d"
        )));
    }
    let may = Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK;
    rustix::fs::accessat(folder, ".", may, AtFlags::EACCESS).map_err(failed)?;
    Ok(about)
}

/// Whether the folder and its quarantine can take this plan, as far as that can be known.
/// Blocks.
///
/// Errors: the obstacle that would stop the moves.
pub fn check(place: &FolderPath, plan: &Plan, max_bytes: u64) -> Result<(), Obstacle> {
    let folder = place
        .open()
        .map_err(|error| obstacle_io("opening the folder", &error))?;
    let fd = folder.as_fd();
    let failed = |error| obstacle(CHECKING, error);
    if plan.moves.is_empty() {
        return Err(Obstacle::Immovable(in_words(&plan.left_out)));
    }
    check_directory(fd)?;
    let space = rustix::fs::fstatvfs(fd).map_err(failed)?;
    match privileges::look_at_quarantine(fd) {
        Quarantine::Missing => {}
        Quarantine::OtherMount => return Err(failed(Errno::XDEV)),
        Quarantine::Closed(why) => {
            return Err(Obstacle::Io(format!("opening the quarantine: {why}")));
        }
        Quarantine::Directory { ours: false, .. } => {
            return Err(Obstacle::Io(
                "the directory with the quarantine's name is not empty and has no quarantine tag; move it away".into(),
            ));
        }
        Quarantine::Directory {
            writable: false, ..
        } => return Err(obstacle("writing into the quarantine", Errno::ACCESS)),
        Quarantine::Directory { .. } => {}
    }
    has_room(&stored_runs(place)?, plan, max_bytes)?;
    let needed = RECORD_BYTES + RECORD_BYTES_PER_FILE * plan.moves.len() as u64;
    let blocks = match Me::now().is_root() {
        true => space.f_bfree,
        false => space.f_bavail,
    };
    let few_inodes = space.f_files > 0 && space.f_favail < RECORD_INODES;
    if blocks.saturating_mul(space.f_frsize) < needed || few_inodes {
        return Err(failed(Errno::NOSPC));
    }
    Ok(())
}

/// The files that a plan leaves out, as text: counts and kinds, no names.
pub fn in_words(left_out: &LeftOut) -> String {
    let parts: Vec<String> = left_out
        .iter()
        .map(|((why, kind), files)| format!("{files} {} ({})", kind.label(), why.label()))
        .collect();
    parts.join(", ")
}

/// The same as JSON: `{"immutable": {"session": 2}}`.
pub fn as_json(left_out: &LeftOut) -> serde_json::Value {
    let mut reasons = serde_json::Map::new();
    for ((why, kind), files) in left_out {
        let kinds = reasons
            .entry(why.label())
            .or_insert_with(|| serde_json::json!({}));
        if let Some(kinds) = kinds.as_object_mut() {
            kinds.insert(kind.label().to_owned(), (*files).into());
        }
    }
    reasons.into()
}
