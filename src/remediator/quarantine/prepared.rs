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
                    return self.end(MoveOutcome::RolledBack, left, now);
                }
                // Its bot is about to be started: nothing is put back under it, either.
                Ok(Moved::Halted) => return self.end(MoveOutcome::Interrupted, moved.len(), now),
                Err(error) => {
                    // It may have been moved all the same: the look after the move can fail.
                    moved.push(planned);
                    let left = self.put_all_back(&moved).map_err(|back| self.held(&back))?;
                    self.end(MoveOutcome::RolledBack, left, now)?;
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
                return self.end(MoveOutcome::RolledBack, left, now);
            }
        }
        let moved = moved.len();
        self.end(MoveOutcome::Moved, moved, now)
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

pub(super) fn broken_off() -> Obstacle {
    Obstacle::Io(
        "it was broken off, for the bot is started; what is moved stays where it is".into(),
    )
}

#[derive(PartialEq)]
pub(super) enum PutBack {
    Restored,
    Blocked,
    Planted,
    NotHere { in_folder: bool },
}

/// Moves one file back, never over another; also one that is no longer what the plan says
/// (a bot that had it open has written to it, a backup was restored): it is the only copy.
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
        // A link or a directory was never moved by a run.
        Some(_) => return Ok(PutBack::Planted),
    }
    match rename(files, folder, name) {
        Ok(()) => Ok(PutBack::Restored),
        Err(Errno::EXIST) => Ok(PutBack::Blocked),
        Err(error) => Err(obstacle("putting a file back", error)),
    }
}
