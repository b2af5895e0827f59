//! Whole lines out of bytes: the cursor in a file, and what a consumer is given.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use memchr::{memchr, memrchr};

use crate::checkpoint::Checkpoint;
use crate::file::{Listed, read_full, read_full_at};
use crate::fingerprint::{FINGERPRINT_BYTES, Fingerprint, tail_before};

/// A longer line counts as overlong.
pub const MAX_LINE: usize = 64 << 10;
/// Bytes looked at together. A line that does not fit is handed over in parts.
pub(crate) const CHUNK: usize = 256 << 10;

/// What the bytes of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Whole lines.
    Lines,
    /// The first part of a line that is longer than a chunk.
    First,
    /// A part of such a line.
    Middle,
    /// Its last part, without the newline.
    Last,
}

/// Lines of one log, or a part of a long one.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The path of the log, whatever its file is called now.
    pub origin: &'a Path,
    /// When the file was written last.
    pub modified: SystemTime,
    /// The lines; a newline ends each but perhaps the last.
    pub lines: &'a [u8],
    /// Whether these are whole lines.
    pub part: Part,
}

/// What takes the lines.
pub trait Consumer {
    /// Takes lines, or a part of a long one. Each is given once, in the order of its file.
    fn lines(&mut self, block: Block<'_>);

    /// From here on lines come out of a copy that may turn out to break off.
    fn begin_copy(&mut self);

    /// The copy ended. If it is not `complete`, nothing of it must stand: it is read again.
    fn end_copy(&mut self, complete: bool);

    /// Whether the file at `path` is a log of its own by its name alone, although it is
    /// called as a rotation of the log `origin` might be.
    fn is_of_another(&self, path: &Path, origin: &Path) -> bool;

    /// Whether a file that a glob matches is to be followed.
    fn is_wanted(&self, listed: &Listed) -> bool {
        let _ = listed;
        true
    }

    /// The logs that the globs match now, before any new line of them is given.
    fn listed(&mut self, logs: &mut dyn Iterator<Item = &Path>) {
        let _ = logs;
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) offset: u64,
    pub(crate) skipping: bool,
    pub(crate) tail: Fingerprint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Read up to here; beyond the cursor is an unfinished line.
    To(u64),
    /// The turn is over.
    More,
    /// The bytes before the cursor are no longer those that were read.
    Truncated,
}

impl From<&Checkpoint> for Cursor {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            offset: checkpoint.offset,
            skipping: checkpoint.skipping,
            tail: checkpoint.tail,
        }
    }
}

impl Cursor {
    /// Reads whole lines from the cursor on, about `turn` bytes at most.
    pub(crate) fn drain<C: Consumer>(
        &mut self,
        file: &File,
        chunk: &mut Vec<u8>,
        turn: u64,
        feed: &mut Feed<'_, C>,
    ) -> io::Result<Drained> {
        chunk.resize(CHUNK + FINGERPRINT_BYTES, 0);
        let began = self.offset;
        loop {
            // With the bytes before it, which tell whether the file is still the same.
            let before = usize::from(self.tail.len);
            // A short read of a regular file is normally its end; the next look reads the rest.
            let mut read = file.read_at(chunk, self.offset - before as u64)?;
            if read < before {
                read = read_full_at(file, chunk, self.offset - before as u64)?;
            }
            if read < before || !self.tail.begins(&chunk[..read]) {
                return Ok(Drained::Truncated);
            }
            let data = &chunk[before..read];
            let full = read == chunk.len();
            let taken = feed.take(&mut self.skipping, data, full);
            self.offset += taken as u64;
            self.tail = Fingerprint::of_tail(&chunk[..before + taken]);
            if !full {
                return Ok(Drained::To(self.offset + (data.len() - taken) as u64));
            }
            if self.offset - began >= turn {
                return Ok(Drained::More);
            }
        }
    }

    /// Takes what stands between the cursor and `end` as the last line.
    pub(crate) fn finish<C: Consumer>(
        &mut self,
        file: &File,
        end: u64,
        feed: &mut Feed<'_, C>,
    ) -> io::Result<()> {
        let left = end.saturating_sub(self.offset).min(CHUNK as u64) as usize;
        if left == 0 || self.skipping {
            return Ok(());
        }
        let mut line = vec![0; left];
        let read = read_full_at(file, &mut line, self.offset)?;
        feed.lines(&line[..read]);
        self.offset += read as u64;
        self.tail = tail_before(file, self.offset)?;
        Ok(())
    }

    /// Reads a stream to its end. Everything before the cursor is thrown away.
    pub(crate) fn drain_stream<C: Consumer>(
        &mut self,
        stream: &mut impl Read,
        chunk: &mut Vec<u8>,
        feed: &mut Feed<'_, C>,
    ) -> io::Result<()> {
        io::copy(&mut stream.by_ref().take(self.offset), &mut io::sink())?;
        chunk.resize(CHUNK + FINGERPRINT_BYTES, 0);
        let mut held = 0;
        loop {
            let read = read_full(stream, &mut chunk[held..])?;
            let full = held + read == chunk.len();
            let taken = feed.take(&mut self.skipping, &chunk[..held + read], full);
            self.offset += taken as u64;
            self.tail = Fingerprint::of_tail(&chunk[..taken]);
            chunk.copy_within(taken..held + read, 0);
            held = held + read - taken;
            if !full {
                if held > 0 && !self.skipping {
                    feed.lines(&chunk[..held]);
                    self.tail = Fingerprint::of_tail(&chunk[..held]);
                    self.offset += held as u64;
                }
                return Ok(());
            }
        }
    }
}

/// Hands the lines of one file to the consumer.
pub(crate) struct Feed<'a, C> {
    consumer: &'a mut C,
    origin: &'a Path,
    modified: SystemTime,
    /// Lines that were longer than [`MAX_LINE`].
    pub(crate) overlong: u64,
}

impl<'a, C: Consumer> Feed<'a, C> {
    pub(crate) fn new(consumer: &'a mut C, origin: &'a Path, modified: SystemTime) -> Self {
        Self {
            consumer,
            origin,
            modified,
            overlong: 0,
        }
    }

    /// Takes the whole lines of `data`; how many bytes that were. `full` says that no more
    /// fits, so that a line without an end is overlong.
    fn take(&mut self, skipping: &mut bool, data: &[u8], full: bool) -> usize {
        let mut at = 0;
        if *skipping {
            let Some(newline) = memchr(b'\n', data) else {
                self.hand_over(data, Part::Middle);
                return data.len();
            };
            self.hand_over(&data[..newline], Part::Last);
            at = newline + 1;
            *skipping = false;
        }
        // A writer that kept its place when the file was truncated leaves a hole.
        at += data[at..]
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(data.len() - at);
        match memrchr(b'\n', &data[at..]) {
            Some(newline) => {
                let end = at + newline + 1;
                self.lines(&data[at..end]);
                end
            }
            None if full && at == 0 => {
                self.hand_over(data, Part::First);
                self.overlong += 1;
                *skipping = true;
                data.len()
            }
            None => at,
        }
    }

    fn lines(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        self.overlong += overlong(lines);
        self.hand_over(lines, Part::Lines);
    }

    fn hand_over(&mut self, lines: &[u8], part: Part) {
        self.consumer.lines(Block {
            origin: self.origin,
            modified: self.modified,
            lines,
            part,
        });
    }
}

/// How many of these lines are longer than [`MAX_LINE`].
fn overlong(lines: &[u8]) -> u64 {
    let mut count = 0;
    let mut at = 0;
    while lines.len() - at > MAX_LINE {
        match memrchr(b'\n', &lines[at..=at + MAX_LINE]) {
            Some(newline) => at += newline + 1,
            None => {
                count += 1;
                let Some(newline) = memchr(b'\n', &lines[at..]) else {
                    break;
                };
                at += newline + 1;
            }
        }
    }
    count
}
