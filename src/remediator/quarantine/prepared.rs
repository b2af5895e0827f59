//! The moves of one run, in both directions.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::folder::scan::stat;
use crate::folder::{FileName, Shape, Stamp, Timestamp};

use super::files::{exists, remove_run_dir, rename, sync};
use super::records::{DONE, Done, MoveOutcome, MoveRecord, PlanRecord, write_record};
use super::{At, LockedFolder, Obstacle, RunId, Whereabouts, obstacle, obstacle_io};

/// A run whose plan is written and whose files are still in the folder.
#[derive(Debug)]
pub struct Prepared {
    pub(super) folder: Arc<LockedFolder>,
    pub(super) quarantine: OwnedFd,
    pub(super) dir: OwnedFd,
    pub(super) files: OwnedFd,
    pub(super) record: PlanRecord,
}

impl Prepared {
    /// The run's name.
    pub fn run(&self) -> &RunId {
        &self.record.run
    }

    /// Drops the plan and removes the run's directory. No file was moved.
    pub fn cancel(&self) -> Result<(), Obstacle> {
        remove_run_dir(self.quarantine.as_fd(), &self.record.run, self.dir.as_fd())
    }

    /// Moves the files. If a file has changed since the plan, a process writes into the
    /// folder: then all moved files are put back. `None`: the look at the bot was too long ago;
    /// after another one this goes on where it was, or [`Prepared::interrupt`] ends it.
    pub fn execute(&self, now: Timestamp) -> Result<Option<Done>, Obstacle> {
        let mut moved: Vec<&MoveRecord> = Vec::new();
        for planned in &self.record.moves {
            match self.move_one(planned) {
                Ok(Moved::Yes | Moved::Already) => moved.push(planned),
                Ok(Moved::Changed) => {
                    // A new file of this name may have been moved; put it back as well.
                    moved.push(planned);
                    let left = self.put_all_back(&moved)?;
                    return self.end(MoveOutcome::RolledBack, left, now).map(Some);
                }
                // The bot is about to be started, so no file may move back either.
                Ok(Moved::Halted) if self.folder.halt.is_halted() => {
                    let moved = moved.len();
                    return self.end(MoveOutcome::Interrupted, moved, now).map(Some);
                }
                Ok(Moved::Halted) => return Ok(None),
                Err(error) => {
                    // The file may have moved: the check after the move can fail.
                    moved.push(planned);
                    let left = self.put_all_back(&moved).map_err(|back| self.held(&back))?;
                    self.end(MoveOutcome::RolledBack, left, now)?;
                    return Err(error);
                }
            }
        }
        // A writer that had a file open before the move writes into the quarantine.
        for planned in &moved {
            let found = stat(self.files.as_fd(), planned.file_name());
            let same = matches!(found, Ok(Some((_, stamp))) if planned.is_same(&stamp));
            if !same {
                let left = self.put_all_back(&moved)?;
                return self.end(MoveOutcome::RolledBack, left, now).map(Some);
            }
        }
        let moved = moved.len();
        let ended = self.end(MoveOutcome::Moved, moved, now);
        ended.map(Some).map_err(|error| self.held(&error))
    }

    /// Ends the run where it is; no file moves. The order of the moves makes that safe, also
    /// while the bot runs.
    pub fn interrupt(&self, now: Timestamp) -> Result<Done, Obstacle> {
        let mut moved = 0;
        for planned in &self.record.moves {
            moved += usize::from(exists(self.files.as_fd(), &planned.name)?);
        }
        self.end(MoveOutcome::Interrupted, moved, now)
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

    pub(super) fn resume(
        self,
        allowed: &BTreeSet<FileName>,
        now: Timestamp,
    ) -> Result<Done, Obstacle> {
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
                MoveOutcome::RolledForward
            } else {
                MoveOutcome::Interrupted
            },
            moved,
            now,
        )
    }

    /// Returns how many files were not put back, because the folder has a new file of the
    /// same name.
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
                // Continue with the other files.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(left), Err)
    }

    fn end(&self, outcome: MoveOutcome, moved: usize, now: Timestamp) -> Result<Done, Obstacle> {
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

    pub(super) fn move_one(&self, planned: &MoveRecord) -> Result<Moved, Obstacle> {
        let Some(permit) = self.folder.halt.permit() else {
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
        let moved = match (permit.was_in_time(), is_planned(&here(files)?)) {
            (true, true) => return Ok(Moved::Yes),
            // The program stood still between the check and the move, or just after it.
            (false, true) => Moved::Halted,
            // Another file took this name between the check and the move.
            (_, false) => Moved::Changed,
        };
        match rename(files, folder, name) {
            Ok(()) => Ok(moved),
            Err(Errno::EXIST | Errno::NOENT) => Ok(Moved::Changed),
            Err(error) => Err(obstacle("putting a file back", error)),
        }
    }
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

#[derive(PartialEq)]
pub(super) enum Moved {
    Yes,
    Already,
    Changed,
    Halted,
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
