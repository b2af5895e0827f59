//! Checkpoints: how far each file was read, in the form in which they are saved. They hold hashes
//! of the logs, never their text.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::file::FileId;
use crate::fingerprint::Fingerprint;

/// What the tailer knows about a file between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whether it is still read.
    pub state: FileState,
    /// Which file.
    pub id: FileId,
    /// Where it was last seen.
    pub path: PathBuf,
    /// The path of the log that it belongs to: the name it had before a rotation.
    pub origin: PathBuf,
    /// All bytes before it were passed to the consumer.
    pub offset: u64,
    /// `offset` is inside an overlong line.
    pub skipping: bool,
    /// Fingerprint of the first bytes.
    pub head: Fingerprint,
    /// Fingerprint of the bytes before `offset`.
    pub tail: Fingerprint,
    /// When it entered this state.
    pub since: SystemTime,
}

/// How far a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// [`Checkpoint::offset`].
    pub offset: u64,
    /// [`Checkpoint::skipping`].
    pub skipping: bool,
    /// [`Checkpoint::head`].
    pub head: Fingerprint,
    /// [`Checkpoint::tail`].
    pub tail: Fingerprint,
}

impl Checkpoint {
    /// How far the file was read.
    pub fn position(&self) -> Position {
        Position {
            offset: self.offset,
            skipping: self.skipping,
            head: self.head,
            tail: self.tail,
        }
    }

    /// The file was read to here.
    pub fn move_to(&mut self, position: Position) {
        let Position {
            offset,
            skipping,
            head,
            tail,
        } = position;
        self.offset = offset;
        self.skipping = skipping;
        self.head = head;
        self.tail = tail;
    }
}

/// What the tailer does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Read as it grows.
    Live = 0,
    /// Read to the end. Remembered, so that it is not read again.
    Done = 1,
    /// Its unread bytes are gone, but a copy of them may exist.
    Orphan = 2,
}

/// Counters of the tailer: totals since the first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Lines longer than [`crate::MAX_LINE`].
    pub overlong: u64,
    /// Truncated logs of which a copy was found.
    pub copies_found: u64,
    /// Truncated logs of which no copy was found.
    pub copies_missing: u64,
    /// Attempts to read that failed.
    pub read_errors: u64,
}

impl Statistics {
    /// Each counter with the name under which it is saved.
    pub fn named(&mut self) -> [(&'static str, &mut u64); 4] {
        [
            ("overlong", &mut self.overlong),
            ("copies_found", &mut self.copies_found),
            ("copies_missing", &mut self.copies_missing),
            ("read_errors", &mut self.read_errors),
        ]
    }
}

/// Everything that was saved earlier.
#[derive(Debug, Default)]
pub struct Saved {
    /// The checkpoints by row.
    pub files: Vec<(i64, Checkpoint)>,
    /// Globs that were listed before, and paths that could not be read then.
    pub globs: BTreeSet<String>,
    /// When all files were last read.
    pub looked_at: Option<SystemTime>,
    /// The totals.
    pub statistics: Statistics,
}

/// What changed since the last commit.
#[derive(Debug, Default)]
pub struct Changes {
    /// Checkpoints that are new or changed, by row.
    pub files: Vec<(i64, Checkpoint)>,
    /// Other files that were read on, by row.
    pub moved: Vec<(i64, Position)>,
    /// Rows to delete.
    pub gone: Vec<i64>,
    /// Texts to add to [`Saved::globs`].
    pub globs: Vec<String>,
    /// Texts to remove from [`Saved::globs`].
    pub gone_globs: Vec<String>,
    /// When all files were last read.
    pub looked_at: Option<SystemTime>,
    /// The totals, if one of them changed.
    pub statistics: Option<Statistics>,
}

impl Changes {
    /// Whether only the time of the last look is new.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.is_reading_on()
    }

    /// Whether files were only read on: no file or glob is new, changed or gone, and no total.
    pub fn is_reading_on(&self) -> bool {
        self.files.is_empty()
            && self.gone.is_empty()
            && self.globs.is_empty()
            && self.gone_globs.is_empty()
            && self.statistics.is_none()
    }
}
