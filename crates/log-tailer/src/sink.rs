//! What a server gives its lines and checkpoints to.

use std::path::Path;
use std::time::SystemTime;

use crate::checkpoint::{Changes, Statistics};
use crate::lines::Consumer;
use crate::paths::LogGlob;
use crate::table::FileTable;
use crate::watcher::FileWatcher;

/// What the owner wants of the server.
#[derive(Debug, Default)]
pub struct Orders {
    /// End after a last sweep and commit.
    pub stop: bool,
    /// Follow other globs; and whether those are read from the beginning of their files.
    pub globs: Option<(Vec<LogGlob>, bool)>,
    /// Save and show at once.
    pub commit: bool,
}

/// How far the reading has come.
#[derive(Debug)]
pub struct Progress<'a> {
    pub(crate) files: &'a FileTable,
    /// The totals, those not saved yet included.
    pub statistics: Statistics,
    /// Bytes that were read and are not committed.
    pub uncommitted_bytes: u64,
    /// When this was; wall time.
    pub at: SystemTime,
}

impl Progress<'_> {
    /// The logs that are followed, by the path of each. When it was written last, unless it
    /// is empty or was not looked at yet.
    pub fn logs(&self) -> impl Iterator<Item = (&Path, Option<SystemTime>)> {
        self.files.live().map(|file| {
            let seen = file.seen.filter(|seen| seen.size > 0);
            let origin = file.checkpoint.origin.as_path();
            (origin, seen.map(|seen| seen.modified))
        })
    }

    /// How many files are followed.
    pub fn file_count(&self) -> usize {
        self.followed().count()
    }

    /// Bytes that are there and were not looked at.
    pub fn unread_bytes(&self) -> u64 {
        self.followed()
            .filter_map(|file| Some(file.seen?.size.saturating_sub(file.read_to)))
            .sum()
    }

    /// Without those that may be a copy of another.
    fn followed(&self) -> impl Iterator<Item = &FileWatcher> {
        self.files.live().filter(|file| file.copy_of.is_none())
    }
}

/// What a server does with what it read: a consumer that saves.
pub trait Sink: Consumer + Sized {
    /// Asked before each look.
    fn orders(&mut self) -> Orders;

    /// The last lines before a stop were read; what follows is saved.
    fn finish(&mut self) {}

    /// Paths that could not be read since the last call, each with the error.
    fn report(&mut self, problems: Vec<String>);

    /// Whether there is something to save besides checkpoints.
    fn is_dirty(&self) -> bool;

    /// Saves the checkpoints together with what was made of the lines, in one transaction
    /// that is on disk when this returns. Whether it did; if not, the same changes and later
    /// ones are given again.
    fn commit(&mut self, changes: &Changes) -> bool;

    /// Called after each attempt to save, and after looks that left nothing to save.
    /// `saved`: everything that was taken is on disk.
    fn show(&mut self, progress: &Progress<'_>, saved: bool);
}
