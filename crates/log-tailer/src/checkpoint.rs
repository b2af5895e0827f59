//! Checkpoints: how far each file was read, in the shape in which they are saved. Of the
//! logs themselves they hold hashes only.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::file::FileId;
use crate::fingerprint::Fingerprint;

/// What is known of a file between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is done with it.
    pub state: FileState,
    /// Which file.
    pub id: FileId,
    /// Where it was seen last.
    pub path: PathBuf,
    /// The path of the log that it belongs to: the name it had before a rotation.
    pub origin: PathBuf,
    /// Everything before it was handed over.
    pub offset: u64,
    /// `offset` lies within an overlong line.
    pub skipping: bool,
    /// Of its first bytes.
    pub head: Fingerprint,
    /// Of the bytes before `offset`.
    pub tail: Fingerprint,
    /// When it came into this state.
    pub since: SystemTime,
}

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// It is read as it grows.
    Live = 0,
    /// It was read to the end. It is remembered so that it is not read again.
    Done = 1,
    /// Its bytes are gone from where they were; a copy of them may be found.
    Orphan = 2,
}

/// What the tailer counts itself. All are totals since the first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Lines longer than [`crate::MAX_LINE`].
    pub overlong: u64,
    /// Logs that were truncated and of which a copy was found.
    pub copies_found: u64,
    /// Those of which none was found.
    pub copies_missing: u64,
    /// Attempts to read that failed.
    pub read_errors: u64,
}

impl Statistics {
    /// Each with the name under which it is saved.
    pub fn named(&mut self) -> [(&'static str, &mut u64); 4] {
        [
            ("overlong", &mut self.overlong),
            ("copies_found", &mut self.copies_found),
            ("copies_missing", &mut self.copies_missing),
            ("read_errors", &mut self.read_errors),
        ]
    }
}

/// Everything that was saved before.
#[derive(Debug, Default)]
pub struct Saved {
    /// The checkpoints by row.
    pub files: Vec<(i64, Checkpoint)>,
    /// Globs whose files were started before, and paths that could not be looked at.
    pub globs: BTreeSet<String>,
    /// When all files were last looked at.
    pub looked_at: Option<SystemTime>,
    /// The totals.
    pub statistics: Statistics,
}

/// What changed since the last commit.
#[derive(Debug, Default)]
pub struct Changes {
    /// Checkpoints that are new or changed, by row.
    pub files: Vec<(i64, Checkpoint)>,
    /// Rows to delete.
    pub gone: Vec<i64>,
    /// Texts to add to [`Saved::globs`].
    pub globs: Vec<String>,
    /// Texts to remove from [`Saved::globs`].
    pub gone_globs: Vec<String>,
    /// When all files were last looked at.
    pub looked_at: Option<SystemTime>,
    /// The totals, where one of them changed.
    pub statistics: Option<Statistics>,
}

impl Changes {
    /// Whether there is nothing to save but the time of the last look.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.gone.is_empty()
            && self.globs.is_empty()
            && self.gone_globs.is_empty()
            && self.statistics.is_none()
    }
}
