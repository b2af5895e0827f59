//! Where the files of a run are, and the way back for one of them.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::folder::scan::stat;
use crate::folder::{Kind, Shape, Timestamp};

use super::files::rename;
use super::records::{MoveRecord, PlanRecord};
use super::{Obstacle, obstacle, obstacle_io};

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

/// A file of a run's plan, and where it is now.
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

pub(super) fn locate(
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
            Some((Shape::Regular | Shape::HardLinked, _)) => At::Quarantine,
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

pub(in crate::remediator) fn aborted() -> Obstacle {
    Obstacle::Io("aborted, because the bot is started or this program stood still for too long; moved files stay where they are".into())
}

#[derive(PartialEq)]
pub(super) enum PutBack {
    Restored,
    Blocked,
    Planted,
    NotHere { in_folder: bool },
}

/// Moves one file back, never over another. Also moves a file that has changed since the plan
/// (a bot that had it open wrote to it, or a backup was restored), because it is the only copy.
pub(super) fn put_back(
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
        Some((Shape::Regular | Shape::HardLinked, _)) => {}
        // No run ever moves a link or a directory.
        Some(_) => return Ok(PutBack::Planted),
    }
    match rename(files, folder, name) {
        Ok(()) => Ok(PutBack::Restored),
        Err(Errno::EXIST) => Ok(PutBack::Blocked),
        Err(error) => Err(obstacle("putting a file back", error)),
    }
}
