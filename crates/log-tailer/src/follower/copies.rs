//! Copies of logs: finds them after a log was truncated, and waits for those that are being made.

use std::fs::File;
use std::io;
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::retire::LAST_LINE_AFTER;
use super::{Follower, TICK, after, until};
use crate::checkpoint::{Checkpoint, FileState};
use crate::content::{has_content_of, is_prefix, repeats};
use crate::file::{Listed, Stat, is_compressed, is_gzip, open_log, open_same};
use crate::fingerprint::{
    FINGERPRINT_BYTES, Fingerprint, content_head_of, head_of_file, tail_before, tail_matches,
};
use crate::lines::{Consumer, Cursor, Drained, Feed};
use crate::rotation::RotationIndex;
use crate::watcher::TURN;

/// How long to look for a copy of a truncated log.
pub(super) const ORPHAN_FOR: Duration = Duration::from_secs(30);
/// At first every sweep looks for it, for this long; then once more at the end.
const SOUGHT_OFTEN: Duration = Duration::from_secs(6);
/// A file that looks like a copy is compared byte by byte when it has not grown for this long.
const COMPARE_AFTER: Duration = Duration::from_secs(10);

/// What a file that looks like a copy in progress is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyVerdict {
    /// Undecided.
    Wait,
    /// A copy of bytes that were read.
    Copy,
    /// Another file.
    Other,
}

impl<C: Consumer> Follower<C> {
    /// The cursor for a file that repeats the bytes of another one, which was read to the end or is
    /// gone: its first bytes and the bytes before the offset are the same. A file that also begins
    /// like `log` does not continue a finished file, because then all lines of that log are alike.
    pub(super) fn known_copy(
        &self,
        new: &Checkpoint,
        file: &File,
        log: Option<i64>,
    ) -> Option<(i64, Cursor)> {
        let head = head_of_file(file).ok()?;
        let log = log
            .and_then(|row| self.files.get(row))
            .map(|log| log.checkpoint.head);
        let is_like_log = log.is_some_and(|log| log.len > 0 && log.begins(&head));
        let is_copied = |known: &Checkpoint| match known.state {
            FileState::Done => usize::from(known.head.len) == FINGERPRINT_BYTES && !is_like_log,
            FileState::Orphan => known.head.len > 0,
            FileState::Live => false,
        };
        let mut all: Vec<(i64, &Checkpoint)> = self
            .files
            .iter()
            .map(|(row, file)| (row, &file.checkpoint))
            .filter(|(_, known)| {
                known.origin == new.origin && is_copied(known) && known.head.begins(&head)
            })
            .collect();
        all.sort_by_key(|(_, known)| known.state != FileState::Orphan);
        all.into_iter()
            .find(|(_, known)| tail_matches(file, known.offset, known.tail))
            .map(|(row, known)| (row, Cursor::from(known)))
    }

    /// Whether a file has the content of another known file of the same log. `None` if it cannot be
    /// read to its end, or if it may be a copy of a file that is followed and was not read yet.
    pub(super) fn is_known_content(
        &self,
        listed: &Listed,
        head: &[u8],
        origin: &std::path::Path,
    ) -> Option<bool> {
        // A renamed log is only ever copied to compress it. Another file that begins like it is
        // another generation of a log whose lines are all alike.
        let packed = is_compressed(&listed.path);
        let mut certain = true;
        for (_, file) in self.files.iter() {
            let known = &file.checkpoint;
            let may_be = packed || !file.renamed;
            if !may_be || known.origin != origin {
                continue;
            }
            if known.head.len == 0 {
                // Its lines count when it is read, and must not count from here as well.
                certain &= !(file.is_live() && file.may_begin_like(head));
                continue;
            }
            if !known.head.begins(head) {
                continue;
            }
            match has_content_of(listed, known) {
                Ok(true) => return Some(true),
                Ok(false) => {}
                Err(_) => certain = false,
            }
        }
        certain.then_some(false)
    }

    /// Looks for a copy of an orphan and reads the bytes that were not read before.
    pub(super) fn find_copy(&mut self, row: i64, index: &mut RotationIndex) {
        let Some(orphan) = self.files.get(row).map(|file| file.checkpoint.clone()) else {
            return;
        };
        if orphan.state != FileState::Orphan {
            return;
        }
        let now = self.clock.wall();
        let waited = until(orphan.since, now);
        let last = waited >= ORPHAN_FOR || orphan.since > after(now, TICK);
        if waited > SOUGHT_OFTEN && !last {
            return;
        }
        let mut rotations = index
            .rotations(&orphan.origin)
            .map(|rotations| rotations.files.clone())
            .unwrap_or_default();
        // Uncompressed files first, because a compressed one may be incomplete. Among them, files
        // that end before the offset last: such a copy is incomplete, or of a log whose lines are
        // all alike.
        rotations.sort_by_key(|listed| match is_compressed(&listed.path) {
            false => u8::from(listed.stat.size < orphan.offset),
            true => 2,
        });
        for listed in rotations {
            if !self.may_be_copy(&listed, &orphan) {
                continue;
            }
            if self.take_copy(&listed, &orphan) {
                self.statistics.copies_found += 1;
                self.rotated = true;
                self.files.remove(row);
                return;
            }
        }
        if last {
            // If it was always empty, nothing is lost.
            if orphan.head.len > 0 {
                self.statistics.copies_missing += 1;
            }
            match self.files.get_mut(row) {
                // Keep it, to recognize it or a copy of it later.
                Some(file) if orphan.head.len > 0 => {
                    file.set_state(FileState::Done, self.clock.wall());
                }
                _ => self.files.remove(row),
            }
        }
    }

    fn may_be_copy(&self, listed: &Listed, orphan: &Checkpoint) -> bool {
        if is_compressed(&listed.path) && !is_gzip(&listed.path)
            || self.consumer.is_of_another(&listed.path, &orphan.origin)
        {
            return false;
        }
        let known = self
            .files
            .by_id(listed.stat.id)
            .filter(|file| file.checkpoint.state != FileState::Orphan);
        let Ok(head) = content_head_of(listed) else {
            return false;
        };
        if head.is_empty() {
            return false;
        }
        if let Some(file) = known {
            // It is a known file, not a copy.
            let itself = file.checkpoint.head.len > 0 && file.checkpoint.head.begins(&head);
            if file.copy_of.is_none() && itself {
                return false;
            }
        }
        match orphan.head.len {
            // The log was empty at the last look, so all bytes are new, unless they are a copy of
            // another file whose compressed copy is not known.
            0 => {
                self.is_written_since_last_look(listed.stat.modified)
                    && known.is_none()
                    && self.is_known_content(listed, &head, &orphan.origin) == Some(false)
            }
            _ => orphan.head.begins(&head) && has_content_of(listed, orphan).unwrap_or(false),
        }
    }

    /// Reads a copy beyond `from.offset` and remembers it. The caller has checked that it is a
    /// complete copy.
    pub(super) fn take_copy(&mut self, listed: &Listed, from: &Checkpoint) -> bool {
        let mut cursor = Cursor::from(from);
        self.consumer.begin_copy();
        let mut feed = Feed::new(&mut self.consumer, &from.origin, listed.stat.modified);
        let taken = drain_copy(listed, &mut cursor, &mut self.chunk, &mut feed);
        let overlong = feed.overlong;
        // Discard the lines of an incomplete copy: it is read again.
        self.consumer.end_copy(taken.is_ok());
        // It may be deleted by now; the next sweep tries again.
        let Ok((stat, head)) = taken else {
            return false;
        };
        self.statistics.overlong += overlong;
        let now = self.clock.wall();
        // The copy may have the inode of a deleted file. Keep the checkpoint of that file, to
        // recognize a copy of it later.
        self.files.detach_other(stat.id, &head, now);
        let mut state = FileState::Done;
        if let Some(row) = self.files.row_of(stat.id) {
            if self.files.get(row).is_some_and(|file| file.is_live()) {
                state = FileState::Live;
            }
            self.files.remove(row);
        }
        let known = Checkpoint {
            state,
            id: stat.id,
            path: listed.path.clone(),
            origin: from.origin.clone(),
            offset: cursor.offset,
            skipping: false,
            head: Fingerprint::of_head(&head),
            tail: cursor.tail,
            since: now,
        };
        self.files.add(known, self.clock.now());
        true
    }

    /// Decides about files that look like a copy of a log in progress, or waits.
    pub(super) fn settle_copies(&mut self, index: &mut RotationIndex) {
        for row in self.files.rows(|file| file.copy_of.is_some()) {
            let Some(copy) = self.files.get(row) else {
                continue;
            };
            let path = copy.checkpoint.path.clone();
            match self.judge_copy(row) {
                // It is not saved. If no glob lists it, only its time shows after a restart that it
                // was not read.
                Ok(CopyVerdict::Wait) if !copy.listed => {
                    self.unfinished.insert(copy.checkpoint.origin.clone());
                }
                Ok(CopyVerdict::Wait) => {}
                Ok(CopyVerdict::Copy) => self.remember_copy(row),
                Ok(CopyVerdict::Other) => {
                    if let Some(file) = self.files.get_mut(row) {
                        file.copy_of = None;
                        file.dirty = true;
                    }
                    self.look_beside(row, index);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.files.remove(row),
                Err(error) => self.problems.push(format!("{}: {error}", path.display())),
            }
        }
    }

    fn judge_copy(&self, row: i64) -> io::Result<CopyVerdict> {
        let Some(copy) = self.files.get(row) else {
            return Ok(CopyVerdict::Wait);
        };
        let log = copy.copy_of.and_then(|log| self.files.get(log));
        let file = copy.open()?;
        let stat = Stat::from(&file.metadata()?);
        if stat.id != copy.checkpoint.id {
            // Renamed just now, or deleted.
            return Ok(match copy.listed {
                true => CopyVerdict::Wait,
                false => CopyVerdict::Copy,
            });
        }
        let head = head_of_file(&file)?;
        if head.is_empty() {
            return Ok(CopyVerdict::Wait);
        }
        let orphaned = self.files.iter().any(|(_, other)| {
            let known = &other.checkpoint;
            known.state == FileState::Orphan
                && known.origin == copy.checkpoint.origin
                && known.head.len > 0
                && known.head.begins(&head)
        });
        if orphaned {
            return Ok(CopyVerdict::Wait);
        }
        let Some(log) = log.filter(|log| log.is_live()) else {
            // Its log is gone. That log may have been another file than was thought, so only the
            // content shows whether this is a copy of what was read.
            let of_log = log.filter(|log| log.checkpoint.head.len > 0);
            let is_copy = match of_log {
                Some(log) if repeats(&file, &log.checkpoint)? => true,
                _ => self.known_copy(&copy.checkpoint, &file, None).is_some(),
            };
            return Ok(match is_copy {
                true => CopyVerdict::Copy,
                false => CopyVerdict::Other,
            });
        };
        let shared = head.len().min(log.head().len());
        if shared > 0 && head[..shared] != log.head()[..shared] {
            return Ok(CopyVerdict::Other);
        }
        let unchanged_for = self.clock.since(copy.grew_at);
        if shared == 0 {
            // The log is empty and was not truncated, so this is no copy of it.
            return Ok(
                match log.seen.is_some() && unchanged_for > LAST_LINE_AFTER {
                    true => CopyVerdict::Other,
                    false => CopyVerdict::Wait,
                },
            );
        }
        if unchanged_for < COMPARE_AFTER {
            return Ok(CopyVerdict::Wait);
        }
        Ok(match is_prefix(&file, &log.open()?, stat.size)? {
            true => CopyVerdict::Wait,
            false => CopyVerdict::Other,
        })
    }

    /// Remembers a copy of bytes that were read, so that it is not read.
    fn remember_copy(&mut self, row: i64) {
        let known = self.files.get(row).map(|file| file.checkpoint.clone());
        self.files.remove(row);
        if let Some(known) = known
            && let Ok(file) = open_log(&known.path)
            && let (Ok(meta), Ok(head)) = (file.metadata(), head_of_file(&file))
        {
            let stat = Stat::from(&meta);
            if stat.id == known.id {
                let tail = tail_before(&file, stat.size).unwrap_or_default();
                let done = Checkpoint {
                    state: FileState::Done,
                    offset: stat.size,
                    head: Fingerprint::of_head(&head),
                    tail,
                    ..known
                };
                self.files.add(done, self.clock.now());
            }
        }
    }
}

/// Reads a copy to its end. Returns its metadata and its first bytes.
fn drain_copy<C: Consumer>(
    listed: &Listed,
    cursor: &mut Cursor,
    chunk: &mut Vec<u8>,
    feed: &mut Feed<'_, C>,
) -> io::Result<(Stat, Vec<u8>)> {
    let file = open_same(&listed.path, listed.stat.id)?;
    let stat = Stat::from(&file.metadata()?);
    if is_gzip(&listed.path) {
        cursor.drain_stream(&mut MultiGzDecoder::new(&file), chunk, feed)?;
        return Ok((stat, content_head_of(listed)?));
    }
    while stat.size > cursor.offset {
        match cursor.drain(&file, chunk, TURN, feed)? {
            Drained::More => {}
            Drained::Truncated => break,
            Drained::To(read_to) => {
                cursor.finish(&file, read_to, feed)?;
                break;
            }
        }
    }
    // An incomplete copy may end before the cursor.
    cursor.offset = cursor.offset.min(stat.size);
    cursor.tail = tail_before(&file, cursor.offset)?;
    Ok((stat, head_of_file(&file)?))
}
