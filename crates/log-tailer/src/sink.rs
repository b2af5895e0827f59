//! The interface of the server's owner.

use std::path::Path;
use std::time::SystemTime;

use crate::checkpoint::{Changes, Statistics};
use crate::lines::Consumer;
use crate::paths::LogGlob;
use crate::table::FileTable;
use crate::watcher::FileWatcher;

/// What the owner orders.
#[derive(Debug, Default)]
pub struct Orders {
    /// Stop after a last sweep and commit.
    pub stop: bool,
    /// Follow other globs.
    pub globs: Option<Vec<LogGlob>>,
    /// Save and report at once.
    pub commit: bool,
}

/// The progress of reading.
#[derive(Debug)]
pub struct Progress<'a> {
    pub(crate) files: &'a FileTable,
    /// The totals, including those not saved yet.
    pub statistics: Statistics,
    /// Bytes that were read and not committed.
    pub uncommitted_bytes: u64,
    /// The wall time of this progress.
    pub at: SystemTime,
}

impl Progress<'_> {
    /// The logs that are followed, by path, with the time of the last write. No time if the log is
    /// empty or was not read yet.
    pub fn logs(&self) -> impl Iterator<Item = (&Path, Option<SystemTime>)> {
        self.files.live().map(|file| {
            let seen = file.seen.filter(|seen| seen.size > 0);
            let origin = file.checkpoint.origin.as_path();
            (origin, seen.map(|seen| seen.modified))
        })
    }

    /// Number of followed files.
    pub fn file_count(&self) -> usize {
        self.followed().count()
    }

    /// Bytes that exist and were not read.
    pub fn unread_bytes(&self) -> u64 {
        self.followed()
            .filter_map(|file| Some(file.seen?.size.saturating_sub(file.read_to)))
            .sum()
    }

    /// Whether every file was read to its end, and none may still be a copy of another.
    pub fn is_at_the_end(&self) -> bool {
        self.files.live().all(|file| {
            let is_read = |seen: crate::file::Stat| seen.size <= file.read_to;
            file.copy_of.is_none() && file.seen.is_some_and(is_read)
        })
    }

    /// Leave out files that may be a copy of another.
    fn followed(&self) -> impl Iterator<Item = &FileWatcher> {
        self.files.live().filter(|file| file.copy_of.is_none())
    }
}

/// A consumer that also saves.
pub trait Sink: Consumer + Sized {
    /// The next order; asked before each look.
    fn orders(&mut self) -> Orders;

    /// The last lines before a stop were passed on; a last save follows.
    fn finish(&mut self) {}

    /// Paths that could not be read since the last call, each with the error.
    fn report(&mut self, problems: Vec<String>);

    /// Whether there is something to save besides checkpoints.
    fn is_dirty(&self) -> bool;

    /// Whether lines that follow soon may change the results so far. Within a second of the last
    /// commit, the next one waits for them.
    fn is_undecided(&self) -> bool {
        false
    }

    /// Saves the checkpoints and the results of the lines in one transaction, which is on disk when
    /// this returns. Returns whether that succeeded; if not, the same changes and later ones are
    /// passed again.
    fn commit(&mut self, changes: &Changes) -> bool;

    /// Called after each attempt to save, and after each look with nothing to save. `saved`:
    /// everything that was passed on is on disk.
    fn show(&mut self, progress: &Progress<'_>, saved: bool);
}
