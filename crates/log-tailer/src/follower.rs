//! Follows files. A *look* reads what is new in files; a *sweep* also lists the files first.
//!
//! [`adopt`] lists files and matches them with the checkpoints, [`copies`] finds copies of
//! truncated logs, [`retire`] stops following files that will not grow any more.

mod adopt;
mod copies;
mod retire;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use clock::Clock;

use crate::checkpoint::{Changes, Checkpoint, FileState, Saved, Statistics};
use crate::file::FileId;
use crate::fingerprint::Fingerprint;
use crate::lines::Consumer;
use crate::paths::{LogGlob, PathsProvider};
use crate::rotation::RotationIndex;
use crate::sink::{Progress, Sink};
use crate::table::FileTable;
use crate::time::{after, before, until};
use crate::watcher::{FileWatcher, Look, Taken};

/// How long a sweep waits for a rotation that is incomplete, or for a file that it missed because
/// it was renamed during the listing.
const UNFINISHED_FOR: Duration = Duration::from_secs(60);
/// The times of files and of this program may differ by this much.
const TICK: Duration = Duration::from_secs(2);

/// An unknown file that was not written for this long before the last sweep is old. More than the
/// clock of a file server may differ.
const OLD_AFTER: Duration = Duration::from_secs(60);

/// Where to begin in an unknown file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Start,
    End,
    /// At the end if it is old: it was moved here from elsewhere.
    EndIfOld,
}

/// Follows all files that the globs match, and gives their lines to a consumer.
#[derive(Debug)]
pub struct Follower<C> {
    consumer: C,
    clock: Clock,
    paths: PathsProvider,
    files: FileTable,
    statistics: Statistics,
    statistics_saved: Statistics,
    looked_at: Option<SystemTime>,
    /// When [`Self::wake_retired`] last ran.
    looked_at_retired: Option<Instant>,
    /// Logs with a rotation that was incomplete at the last look.
    unfinished: BTreeSet<PathBuf>,
    chunk: Vec<u8>,
    problems: Vec<String>,
    /// Something was rotated, truncated or found since the last commit.
    rotated: bool,
    /// Bytes that were read and not committed.
    uncommitted: u64,
}

impl<C: Sink> Follower<C> {
    /// Reports the progress to the sink.
    pub fn show(&mut self, at: SystemTime, saved: bool) {
        let progress = Progress {
            files: &self.files,
            statistics: self.statistics,
            uncommitted_bytes: self.uncommitted,
            at,
        };
        self.consumer.show(&progress, saved);
    }
}

impl<C: Consumer> Follower<C> {
    /// Resumes from `saved`. `from_start`: if nothing is saved, read the files of the first listing
    /// from the beginning. `open_max`: how many descriptors stay open.
    pub fn new(
        consumer: C,
        globs: Vec<LogGlob>,
        from_start: bool,
        saved: Saved,
        open_max: usize,
        clock: Clock,
    ) -> Self {
        // Which rotations were incomplete is not saved, so check every log.
        let is_asked_for = |known: &&Checkpoint| globs.iter().any(|g| g.matches(&known.origin));
        let unfinished = saved
            .files
            .iter()
            .map(|(_, known)| known)
            .filter(is_asked_for)
            .map(|known| known.origin.clone())
            .collect();
        Self {
            consumer,
            paths: PathsProvider::new(globs, from_start, saved.globs),
            files: FileTable::new(saved.files, open_max, clock.now()),
            clock,
            statistics: saved.statistics,
            statistics_saved: saved.statistics,
            looked_at: saved.looked_at,
            looked_at_retired: None,
            unfinished,
            chunk: Vec::new(),
            problems: Vec::new(),
            rotated: false,
            uncommitted: 0,
        }
    }

    /// Replaces the globs.
    pub fn configure(&mut self, globs: Vec<LogGlob>) {
        self.paths.configure(globs);
    }

    /// The consumer of the lines.
    pub fn consumer(&self) -> &C {
        &self.consumer
    }

    /// The consumer of the lines.
    pub fn consumer_mut(&mut self) -> &mut C {
        &mut self.consumer
    }

    /// The progress at the wall time `at`.
    pub fn progress(&self, at: SystemTime) -> Progress<'_> {
        Progress {
            files: &self.files,
            statistics: self.statistics,
            uncommitted_bytes: self.uncommitted,
            at,
        }
    }

    /// Number of files that grew within the last seconds.
    pub(crate) fn hot_files(&self) -> usize {
        let live = self.files.live();
        live.filter(|file| file.seen.is_some() && file.is_hot(&self.clock))
            .count()
    }

    /// Whether a file grew within the last seconds.
    pub(crate) fn is_hot(&self) -> bool {
        self.files
            .live()
            .any(|file| file.seen.is_some() && file.is_hot(&self.clock))
    }

    /// The directories to watch.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        self.paths.directories()
    }

    /// Errors since the last call, each with its path.
    pub(crate) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Whether the changes must be committed at once.
    pub(crate) fn must_commit(&self) -> bool {
        self.rotated || self.paths.has_changes()
    }

    /// What must be saved.
    pub fn changes(&self) -> Changes {
        let (globs, gone_globs) = self.paths.changes();
        let mut changes = Changes {
            globs,
            gone_globs,
            looked_at: self.looked_at,
            statistics: Some(self.statistics).filter(|all| *all != self.statistics_saved),
            ..Changes::default()
        };
        self.files.changes(&mut changes);
        changes
    }

    /// The changes were saved.
    pub fn committed(&mut self) {
        self.paths.committed();
        self.files.committed();
        self.statistics_saved = self.statistics;
        self.rotated = false;
        self.uncommitted = 0;
    }

    /// Lists the files and reads what is new in all of them. Returns whether a file has more data
    /// than one turn reads.
    pub fn sweep(&mut self) -> bool {
        let now = self.clock.wall();
        let found = self.list();
        let renamed = self.find_renamed();
        self.wake_retired(now);
        let mut more = self.look(true);
        let mut index = self.rotation_index();
        let mut origins = std::mem::take(&mut self.unfinished);
        origins.extend(
            renamed
                .iter()
                .filter_map(|row| Some(self.files.get(*row)?.checkpoint.origin.clone())),
        );
        origins.extend(self.logs_without_a_file());
        for row in self
            .files
            .rows(|file| file.checkpoint.state == FileState::Orphan)
        {
            self.find_copy(row, &mut index);
        }
        for origin in origins {
            self.adopt_beside(&origin, &mut index);
        }
        let mut new = BTreeSet::new();
        for (listed, at_end) in found.fresh {
            if !at_end {
                new.insert(self.origin_of(&listed.path));
            }
            let begin = match (at_end, found.first_asked.is_empty()) {
                (true, _) => Begin::End,
                (false, true) => Begin::EndIfOld,
                (false, false) => Begin::Start,
            };
            more |= self.adopt(listed, begin, &mut index);
        }
        // There may be earlier generations since the last look. They can be distinguished from
        // copies only now, because the content of the new file is known.
        for origin in new {
            self.adopt_beside(&origin, &mut index);
        }
        for path in found.unclear {
            self.unfinished.insert(self.origin_of(&path));
        }
        self.settle_copies(&mut index);
        self.retire(now);
        self.paths.note_asked(found.first_asked);
        self.note_look(now);
        more
    }

    /// Sets the time before which files count as old. While a rotation is incomplete it lags, at
    /// most by [`UNFINISHED_FOR`], even across a restart.
    fn note_look(&mut self, now: SystemTime) {
        let waits = !self.unfinished.is_empty();
        self.looked_at = match self.looked_at {
            // Files that exist at the very first look are old.
            None if waits => None,
            Some(at) if waits && at <= now => Some(at.max(before(now, UNFINISHED_FOR))),
            _ => Some(now),
        };
    }

    /// Whether a file was last written well before the last sweep, so that it holds nothing that was
    /// written since.
    fn is_old(&self, modified: SystemTime) -> bool {
        self.looked_at
            .is_some_and(|at| modified < before(at, OLD_AFTER))
    }

    /// Whether a file was written since the last sweep.
    fn is_written_since_last_look(&self, modified: SystemTime) -> bool {
        self.looked_at
            .is_some_and(|at| modified >= before(at, TICK))
    }

    /// Reads what is new in all files, or only in those that grew within the last seconds. Returns
    /// whether a file has more data than one turn reads.
    pub fn look(&mut self, all: bool) -> bool {
        let rows = self.files.rows(|file| {
            file.is_live() && file.copy_of.is_none() && (all || file.is_hot(&self.clock))
        });
        // Many logs are rotated at the same time, so share one index.
        let (mut more, mut index) = (false, self.rotation_index());
        for row in rows {
            more |= self.look_beside(row, &mut index) == Look::More;
        }
        more
    }

    fn rotation_index(&self) -> RotationIndex {
        RotationIndex::new(self.clock.clone())
    }

    /// Reads what is new in a file and in what its rotation left beside it.
    fn look_beside(&mut self, row: i64, index: &mut RotationIndex) -> Look {
        let has_content = |this: &Self| {
            this.files
                .get(row)
                .map(|file| (file.checkpoint.head.len > 0, file.renamed))
        };
        let was_empty = has_content(self) == Some((false, false));
        let look = self.look_once_or_twice(row, index);
        if was_empty && has_content(self).is_some_and(|(has_content, _)| has_content) {
            // It may have been written, copied, truncated and written again since the last look.
            self.adopt_unseen(row, index);
        }
        look
    }

    /// Reads a second time after a truncation.
    fn look_once_or_twice(&mut self, row: i64, index: &mut RotationIndex) -> Look {
        match self.read(row) {
            Ok(Look::Truncated) => {
                let orphan = self.truncated(row);
                let look = self.read(row).unwrap_or(Look::Same);
                // The content of the log is known only now, so its copies can be found.
                if let Some(orphan) = orphan {
                    self.adopt_unseen(orphan, index);
                }
                look
            }
            Ok(look) => look,
            Err(error) => {
                self.statistics.read_errors += 1;
                if let Some(file) = self.files.get(row) {
                    let path = file.checkpoint.path.display();
                    self.problems.push(format!("{path}: {error}"));
                }
                Look::Same
            }
        }
    }

    /// Reads what is new in one file.
    fn read(&mut self, row: i64) -> std::io::Result<Look> {
        let closed = self.files.get(row).is_some_and(|file| file.file.is_none());
        let may_keep = closed && self.files.may_open();
        let Some(file) = self.files.get_mut(row) else {
            return Ok(Look::Lost);
        };
        let mut taken = Taken::default();
        let look = file.read(
            may_keep,
            &mut self.chunk,
            &mut self.consumer,
            &self.clock,
            &mut taken,
        );
        self.uncommitted += taken.bytes;
        self.statistics.overlong += taken.overlong;
        look
    }

    /// Handles a truncated log: reads it from the beginning, and looks for the unread bytes in a
    /// copy. Returns the row of the orphan.
    fn truncated(&mut self, row: i64) -> Option<i64> {
        self.rotated = true;
        let file = self.files.get_mut(row)?;
        let old = file.checkpoint.clone();
        if old.path != old.origin {
            let is_log =
                |other: &FileWatcher| other.is_log() && other.checkpoint.path == old.origin;
            if let Some(log) = self.files.rows(is_log).first() {
                self.overwritten(row, *log);
                return None;
            }
        }
        self.files.get_mut(row)?.rewind();
        // The log keeps the inode.
        let orphan = Checkpoint {
            state: FileState::Orphan,
            id: FileId::NONE,
            since: self.clock.wall(),
            ..old
        };
        Some(self.files.add(orphan, self.clock.now()))
    }

    /// Handles a rotated file that holds other bytes now: perhaps a copy of its log, or another
    /// generation that got its inode and its name after it was deleted. What was known of it is
    /// kept, because a compressed copy of it may be found.
    fn overwritten(&mut self, row: i64, log: i64) {
        let now = self.clock.wall();
        let Some(file) = self.files.get_mut(row) else {
            return;
        };
        let was_read = file.seen.is_some_and(|seen| seen.size <= file.read_to);
        let (listed, renamed, open) = (file.listed, file.renamed, file.file.take());
        let new = Checkpoint {
            state: FileState::Live,
            offset: 0,
            skipping: false,
            head: Fingerprint::default(),
            tail: Fingerprint::default(),
            since: now,
            ..file.checkpoint.clone()
        };
        self.files.detach(row, now);
        if was_read && let Some(file) = self.files.get_mut(row) {
            file.set_state(FileState::Done, now);
        }
        let row = match open {
            Some(open) => self.files.add_open(new, open, self.clock.now()),
            None => self.files.add(new, self.clock.now()),
        };
        if let Some(file) = self.files.get_mut(row) {
            file.listed = listed;
            file.renamed = renamed;
            file.copy_of = Some(log);
        }
    }
}

#[cfg(test)]
mod tests;
