//! The moves of one run, in both directions.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::folder::scan::stat;
use crate::folder::{FileName, Shape, Stamp, Timestamp};
use crate::policy::Plan;

use super::files::{check_noreplace, exists, make_dir, open_beneath, rename, sync};
use super::files_of_run::{PutBack, Whereabouts, locate, put_back};
use super::records::{
    DONE, Done, FILES, MoveOutcome, MoveRecord, PLAN, PlanRecord, StoredState, has_room, read_plan,
    remove_run_dir, stored_state, write_record,
};
use super::{LockedFolder, Obstacle, QuarantineName, obstacle, obstacle_io};

/// A run whose plan is written and whose files are still in the folder.
#[derive(Debug)]
pub struct Prepared {
    pub(super) folder: Arc<LockedFolder>,
    pub(super) quarantine: OwnedFd,
    pub(super) dir: OwnedFd,
    pub(super) files: OwnedFd,
    pub(super) record: PlanRecord,
}

impl LockedFolder {
    /// Writes the plan into the quarantine: the commit point. Moves no file yet.
    pub fn prepare(
        self: &Arc<Self>,
        plan: &Plan,
        name: QuarantineName,
        now: Timestamp,
        max_bytes: u64,
    ) -> Result<Prepared, Obstacle> {
        let quarantine = self
            .quarantine(true)?
            .ok_or_else(|| Obstacle::Io("no quarantine".into()))?;
        has_room(&self.stored_in(&quarantine)?, plan, max_bytes)?;
        let dir = make_dir(quarantine.as_fd(), name.as_str(), true)?;
        let prepared = self.write_plan(&dir, plan, &name, now).and_then(|written| {
            // On an error the plan must go: recovery would carry it out after a restart.
            rustix::fs::fsync(&quarantine).map_err(|e| obstacle("saving the quarantine", e))?;
            Ok(written)
        });
        match prepared {
            Ok((record, files)) => Ok(Prepared {
                folder: Arc::clone(self),
                quarantine,
                dir,
                files,
                record,
            }),
            Err(error) => {
                // Best effort: the next start removes an empty run that stays.
                let _ = remove_run_dir(quarantine.as_fd(), &name, dir.as_fd());
                Err(error)
            }
        }
    }

    fn write_plan(
        &self,
        dir: &OwnedFd,
        plan: &Plan,
        name: &QuarantineName,
        now: Timestamp,
    ) -> Result<(PlanRecord, OwnedFd), Obstacle> {
        let files = make_dir(dir.as_fd(), FILES, true)?;
        check_noreplace(dir.as_fd(), files.as_fd())?;
        let mut moves = Vec::with_capacity(plan.moves.len());
        for planned in &plan.moves {
            let Some(file) = planned.name.as_os_str().to_str() else {
                return Err(Obstacle::Io("a planned name is not UTF-8".into()));
            };
            moves.push(MoveRecord {
                name: file.to_owned(),
                inode: planned.stamp.inode,
                size: planned.stamp.size,
                modified_ns: planned.stamp.modified.nanos(),
            });
        }
        let record = PlanRecord {
            version: 1,
            run: name.clone(),
            made_ns: now.nanos(),
            mode: plan.mode.label().to_owned(),
            identity: self.identity().map(|identity| identity.to_string()),
            moves,
        };
        write_record(dir.as_fd(), PLAN, &record)?;
        Ok((record, files))
    }

    /// Completes a run that a crash interrupted. Of the remaining files it moves those in
    /// `allowed`, each only if it is unchanged. Removes a run without a plan.
    pub fn finish(
        self: &Arc<Self>,
        name: &QuarantineName,
        allowed: &BTreeSet<FileName>,
        now: Timestamp,
    ) -> Result<Option<Done>, Obstacle> {
        let (quarantine, dir) = self.open_run(name)?;
        match stored_state(dir.as_fd()) {
            StoredState::Empty => {
                remove_run_dir(quarantine.as_fd(), name, dir.as_fd())?;
                return Ok(None);
            }
            StoredState::Unfinished => {}
            StoredState::Done(done) => return Ok(Some(done)),
            _ => return Ok(None),
        }
        let record = read_plan(dir.as_fd(), PLAN)?;
        let files =
            open_beneath(dir.as_fd(), FILES).map_err(|e| obstacle("opening the quarantine", e))?;
        let prepared = Prepared {
            folder: Arc::clone(self),
            quarantine,
            dir,
            files,
            record,
        };
        prepared.roll_forward(allowed, now).map(Some)
    }
}

impl Prepared {
    /// The run's name in the quarantine.
    pub fn name(&self) -> &QuarantineName {
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
        let run = self.name();
        Obstacle::Io(format!(
            "{error}; files of run {run} are in the quarantine: put them back with: baileys_remediator undo {run}"
        ))
    }

    pub(super) fn roll_forward(
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

#[derive(PartialEq)]
pub(super) enum Moved {
    Yes,
    Already,
    Changed,
    Halted,
}
