//! One file: its descriptor, its offset, and its state at the last read.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use clock::Clock;

use crate::checkpoint::{Checkpoint, FileState};
use crate::content::has_content_of;
use crate::file::{FileId, Listed, Stat, open_log, open_same, read_full_at};
use crate::fingerprint::{FINGERPRINT_BYTES, Fingerprint, head_of_file};
use crate::lines::{Consumer, Cursor, Drained, Feed};
use crate::rotation::is_rotation_of;

/// Number of bytes read from one file before the next file is read.
pub(crate) const TURN: u64 = 32 << 20;
/// A file that grew within this time is read more often.
const HOT: Duration = Duration::from_secs(5);

/// The result of one look at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Same,
    Grew,
    /// It has more data than one turn reads.
    More,
    Truncated,
    /// Its path leads to another file, and it is not open.
    Lost,
}

/// How much one look read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) bytes: u64,
    pub(crate) overlong: u64,
}

/// One file.
#[derive(Debug)]
pub(crate) struct FileWatcher {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) file: Option<File>,
    /// The first bytes; in memory only.
    head: Vec<u8>,
    /// The metadata at the last read.
    pub(crate) seen: Option<Stat>,
    /// Read up to here, including an incomplete last line.
    pub(crate) read_to: u64,
    /// The row of a log of which this may be a copy in progress.
    pub(crate) copy_of: Option<i64>,
    pub(crate) listed: bool,
    /// Its name belongs to another file now, or to none.
    pub(crate) renamed: bool,
    /// Number of looks in a row that did not find it, while it is not open.
    pub(crate) missed: u32,
    pub(crate) grew_at: Instant,
    /// The checkpoint is not saved yet.
    pub(crate) dirty: bool,
    /// The position in the checkpoint is not saved yet.
    pub(crate) moved: bool,
}

impl FileWatcher {
    pub(crate) fn new(checkpoint: Checkpoint, file: Option<File>, now: Instant) -> Self {
        Self {
            read_to: checkpoint.offset,
            checkpoint,
            file,
            head: Vec::new(),
            seen: None,
            copy_of: None,
            listed: false,
            renamed: false,
            missed: 0,
            grew_at: now,
            dirty: true,
            moved: false,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.checkpoint.state == FileState::Live
    }

    /// Whether it still has the name of its log.
    pub(crate) fn is_log(&self) -> bool {
        self.is_live() && !self.renamed && self.checkpoint.path == self.checkpoint.origin
    }

    /// Whether it grew within the last seconds.
    pub(crate) fn is_hot(&self, clock: &Clock) -> bool {
        clock.since(self.grew_at) < HOT
    }

    /// The first bytes that were read.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(crate) fn set_state(&mut self, state: FileState, now: SystemTime) {
        self.checkpoint.state = state;
        self.checkpoint.since = now;
        self.dirty = true;
    }

    /// Reads what is new. `may_keep`: keep the descriptor open.
    pub(crate) fn read<C: Consumer>(
        &mut self,
        may_keep: bool,
        chunk: &mut Vec<u8>,
        consumer: &mut C,
        clock: &Clock,
        taken: &mut Taken,
    ) -> io::Result<Look> {
        if self.copy_of.is_some() {
            return Ok(Look::Same);
        }
        let transient;
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = match open_same(&self.checkpoint.path, self.checkpoint.id) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Lost),
                    Err(error) => return Err(error),
                };
                if may_keep {
                    self.file.insert(file)
                } else {
                    transient = file;
                    &transient
                }
            }
        };
        let stat = Stat::from(&file.metadata()?);
        let same = self
            .seen
            .is_some_and(|seen| (seen.size, seen.modified) == (stat.size, stat.modified));
        if same && self.read_to == stat.size {
            // Update the number of links.
            self.seen = Some(stat);
            return Ok(Look::Same);
        }
        let mut head = [0; FINGERPRINT_BYTES];
        // The bytes before the offset are compared in the same read that returns the new bytes.
        let read = if self.head.len() == FINGERPRINT_BYTES
            && usize::from(self.checkpoint.tail.len) == FINGERPRINT_BYTES
        {
            head.copy_from_slice(&self.head);
            FINGERPRINT_BYTES
        } else {
            read_full_at(file, &mut head, 0)?
        };
        let head = &head[..read];
        if stat.size < self.checkpoint.offset || !self.checkpoint.head.begins(head) {
            return Ok(Look::Truncated);
        }
        let mut cursor = Cursor::from(&self.checkpoint);
        let mut feed = Feed::new(consumer, &self.checkpoint.origin, stat.modified);
        let drained = cursor.drain(file, chunk, TURN, &mut feed);
        taken.bytes += cursor.offset - self.checkpoint.offset;
        taken.overlong += feed.overlong;
        let drained = match drained {
            Ok(Drained::Truncated) => {
                // The lines that were passed on before were in the file; keep them.
                self.advance(&cursor, head);
                return Ok(Look::Truncated);
            }
            Ok(drained) => drained,
            Err(error) => {
                // Do not pass on again what was passed on before the error.
                self.advance(&cursor, head);
                return Err(error);
            }
        };
        let grew = self.seen.is_none_or(|seen| seen.size != stat.size) && stat.size > 0;
        self.advance(&cursor, head);
        self.seen = Some(stat);
        match drained {
            Drained::To(read_to) => self.read_to = read_to,
            Drained::More | Drained::Truncated => self.read_to = cursor.offset,
        }
        if grew {
            self.grew_at = clock.now();
        }
        Ok(match drained {
            Drained::More => Look::More,
            _ if grew => Look::Grew,
            _ => Look::Same,
        })
    }

    fn advance(&mut self, cursor: &Cursor, head: &[u8]) {
        let fingerprint = Fingerprint::of_head(head);
        let known = &mut self.checkpoint;
        let changed = (known.offset, known.skipping, known.head)
            != (cursor.offset, cursor.skipping, fingerprint);
        if changed {
            known.offset = cursor.offset;
            known.skipping = cursor.skipping;
            known.tail = cursor.tail;
            known.head = fingerprint;
            self.head.clear();
            self.head.extend_from_slice(head);
            self.moved = true;
        } else if self.head.is_empty() {
            self.head.extend_from_slice(head);
        }
    }

    /// Starts again at the beginning of the file.
    pub(crate) fn rewind(&mut self) {
        self.checkpoint.offset = 0;
        self.checkpoint.skipping = false;
        self.checkpoint.head = Fingerprint::default();
        self.checkpoint.tail = Fingerprint::default();
        self.head.clear();
        self.seen = None;
        self.read_to = 0;
        self.dirty = true;
    }

    /// Passes on the last line of a file that is gone, even without a newline.
    pub(crate) fn take_last_line<C: Consumer>(
        &mut self,
        consumer: &mut C,
        clock: &Clock,
        taken: &mut Taken,
    ) {
        let opened;
        let file = match &self.file {
            Some(file) => file,
            // The limit of open descriptors was reached.
            None => match open_same(&self.checkpoint.path, self.checkpoint.id) {
                Ok(file) => {
                    opened = file;
                    &opened
                }
                Err(_) => return,
            },
        };
        let modified = self.seen.map_or_else(|| clock.wall(), |seen| seen.modified);
        let mut feed = Feed::new(consumer, &self.checkpoint.origin, modified);
        let mut cursor = Cursor::from(&self.checkpoint);
        let finished = cursor.finish(file, self.read_to, &mut feed);
        taken.overlong += feed.overlong;
        if finished.is_ok() {
            self.checkpoint.offset = cursor.offset;
            self.checkpoint.tail = cursor.tail;
            // If the rest of the line is written later, it does not count as a line.
            self.checkpoint.skipping = true;
            self.dirty = true;
        }
    }

    /// Opens the file through its descriptor, or else by its name, which may lead to another file
    /// now.
    pub(crate) fn open(&self) -> io::Result<File> {
        match &self.file {
            Some(file) => file.try_clone(),
            None => open_log(&self.checkpoint.path),
        }
    }

    /// Whether a file of which nothing was read begins with these bytes now, or they with it. Also
    /// if it was renamed just now or deleted: the next look decides.
    pub(crate) fn may_begin_like(&self, head: &[u8]) -> bool {
        let own = match &self.file {
            Some(file) => head_of_file(file),
            None => open_same(&self.checkpoint.path, self.checkpoint.id)
                .and_then(|file| head_of_file(&file)),
        };
        match own {
            Ok(own) => {
                let shared = own.len().min(head.len());
                shared > 0 && own[..shared] == head[..shared]
            }
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether its path still leads to it.
    pub(crate) fn is_at_its_path(&self) -> bool {
        self.checkpoint
            .path
            .metadata()
            .is_ok_and(|meta| Stat::from(&meta).id == self.checkpoint.id)
    }

    /// Whether a listed file with the same inode and another name is this file. `None` if it cannot
    /// be opened, or was renamed again.
    pub(crate) fn is_still(&self, listed: &Listed) -> Option<bool> {
        let origin = &self.checkpoint.origin;
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let is_named = listed.path == *origin
            || listed.path.parent() == origin.parent()
                && is_rotation_of(&name(&listed.path), &name(origin));
        if !is_named || listed.stat.size < self.checkpoint.offset {
            return Some(false);
        }
        has_content_of(listed, &self.checkpoint).ok()
    }

    /// Whether `listed` is this file under another device number, which a file system may get at a
    /// restart of the machine.
    pub(crate) fn is_on_renumbered_device(&self, listed: &Listed) -> bool {
        let FileId { dev, ino } = listed.stat.id;
        let known = &self.checkpoint;
        let is_there = known.id.ino == ino || known.path == listed.path;
        self.file.is_none()
            && known.id != FileId::NONE
            && known.id.dev != dev
            && is_there
            && known.head.len > 0
            && has_content_of(listed, known).unwrap_or(false)
    }
}
