//! One file: its descriptor, its offset, and what was seen of it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use clock::Clock;

use crate::checkpoint::{Checkpoint, FileState};
use crate::content::has_content_of;
use crate::file::{FileId, Listed, Stat, open_log, open_same, read_full_at};
use crate::fingerprint::{FINGERPRINT_BYTES, Fingerprint};
use crate::lines::{Consumer, Cursor, Drained, Feed};
use crate::rotation::is_rotation_of;

/// Bytes of one file read before the others have their turn.
pub(crate) const TURN: u64 = 32 << 20;
/// A file that grew within this time is looked at more often.
const HOT: Duration = Duration::from_secs(5);

/// What one look at a file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Same,
    Grew,
    /// There is more than one turn's worth.
    More,
    Truncated,
    /// Its path leads elsewhere and no descriptor is left.
    Lost,
}

/// What one look read.
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
    /// Its first bytes; in memory only.
    head: Vec<u8>,
    /// What `stat` said when it was last read.
    pub(crate) seen: Option<Stat>,
    /// Bytes looked at, an unfinished last line included.
    pub(crate) read_to: u64,
    /// It may be a copy of this one, in progress.
    pub(crate) copy_of: Option<i64>,
    pub(crate) listed: bool,
    /// Its name leads elsewhere now.
    pub(crate) renamed: bool,
    /// Looks in a row in which it was nowhere, while no descriptor holds it.
    pub(crate) missed: u32,
    pub(crate) grew_at: Instant,
    /// The checkpoint is not saved yet.
    pub(crate) dirty: bool,
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
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.checkpoint.state == FileState::Live
    }

    /// Whether it is followed under the name of its log.
    pub(crate) fn is_log(&self) -> bool {
        self.is_live() && !self.renamed && self.checkpoint.path == self.checkpoint.origin
    }

    /// Whether it grew only just now.
    pub(crate) fn is_hot(&self, clock: &Clock) -> bool {
        clock.since(self.grew_at) < HOT
    }

    /// Its first bytes, as far as they were read.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(crate) fn set_state(&mut self, state: FileState, now: SystemTime) {
        self.checkpoint.state = state;
        self.checkpoint.since = now;
        self.dirty = true;
    }

    /// Reads what is new. A descriptor that had to be opened for this is kept if `may_keep`.
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
            // The number of names may have changed.
            self.seen = Some(stat);
            return Ok(Look::Same);
        }
        let mut head = [0; FINGERPRINT_BYTES];
        // As much is compared before the offset, with the same read that fetches what is new.
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
                // What was taken before that was there, and stands.
                self.advance(&cursor, head);
                return Ok(Look::Truncated);
            }
            Ok(drained) => drained,
            Err(error) => {
                // What was taken before the error is not taken again.
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
            self.dirty = true;
        } else if self.head.is_empty() {
            self.head.extend_from_slice(head);
        }
    }

    /// Starts again at the beginning.
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

    /// The last line of a file that is gone is whole, though no newline ends it.
    pub(crate) fn take_last_line<C: Consumer>(
        &mut self,
        consumer: &mut C,
        clock: &Clock,
        taken: &mut Taken,
    ) {
        let opened;
        let file = match &self.file {
            Some(file) => file,
            // There were more files than descriptors.
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
            // Should the rest of the line come after all, it is no line of its own.
            self.checkpoint.skipping = true;
            self.dirty = true;
        }
    }

    /// Opens it: through its descriptor, or by its name, which may lead elsewhere by now.
    pub(crate) fn open(&self) -> io::Result<File> {
        match &self.file {
            Some(file) => file.try_clone(),
            None => open_log(&self.checkpoint.path),
        }
    }

    /// Whether its path leads to it still.
    pub(crate) fn is_at_its_path(&self) -> bool {
        self.checkpoint
            .path
            .metadata()
            .is_ok_and(|meta| Stat::from(&meta).id == self.checkpoint.id)
    }

    /// Whether a file with its inode and another name is still the same file. `None` if that
    /// file cannot be opened, or was renamed once more.
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

    /// Whether it is known by the inode of `listed` under another device number: after a
    /// restart of the machine a file system may have another.
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
