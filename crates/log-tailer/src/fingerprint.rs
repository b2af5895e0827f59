//! Fingerprints: how a file is known again after it was renamed, copied or truncated. Only
//! hashes are kept on disk, because a log may hold keys.

use std::fs::File;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use memchr::memrchr;
use xxhash_rust::xxh3::xxh3_64;

use crate::checkpoint::Checkpoint;
use crate::file::{Listed, is_gzip, open_same, read_full, read_full_at};
use crate::lines::{CHUNK, Cursor, MAX_LINE};

/// How many bytes a fingerprint covers at most.
pub(crate) const FINGERPRINT_BYTES: usize = 256;

/// The hash of some bytes and how many they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many bytes, 256 at most. None match anything.
    pub len: u16,
    /// Their hash.
    pub hash: u64,
}

impl Fingerprint {
    /// Of at most 256 bytes from the beginning.
    pub fn of_head(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(FINGERPRINT_BYTES)];
        Self {
            len: bytes.len() as u16,
            hash: xxh3_64(bytes),
        }
    }

    /// Of at most 256 bytes up to the end.
    pub fn of_tail(bytes: &[u8]) -> Self {
        Self::of_head(&bytes[bytes.len().saturating_sub(FINGERPRINT_BYTES)..])
    }

    /// Whether `bytes` begin with what this is the fingerprint of.
    pub fn begins(self, bytes: &[u8]) -> bool {
        bytes
            .get(..usize::from(self.len))
            .is_some_and(|bytes| xxh3_64(bytes) == self.hash)
            || self.len == 0
    }
}

/// The first bytes of a file.
pub(crate) fn head_of_file(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; FINGERPRINT_BYTES];
    let read = read_full_at(file, &mut head, 0)?;
    head.truncate(read);
    Ok(head)
}

/// The first bytes of a file that was listed.
pub(crate) fn head_of(listed: &Listed) -> io::Result<Vec<u8>> {
    head_of_file(&open_same(&listed.path, listed.stat.id)?)
}

/// The first bytes of a file that was listed; of a gzip file, of what it holds.
pub(crate) fn content_head_of(listed: &Listed) -> io::Result<Vec<u8>> {
    let file = open_same(&listed.path, listed.stat.id)?;
    if !is_gzip(&listed.path) {
        return head_of_file(&file);
    }
    let mut head = vec![0; FINGERPRINT_BYTES];
    let read = read_full(&mut MultiGzDecoder::new(file), &mut head)?;
    head.truncate(read);
    Ok(head)
}

/// Of the bytes before `offset`.
pub(crate) fn tail_before(file: &File, offset: u64) -> io::Result<Fingerprint> {
    let len = offset.min(FINGERPRINT_BYTES as u64) as usize;
    let mut tail = vec![0; len];
    let read = read_full_at(file, &mut tail, offset - len as u64)?;
    Ok(Fingerprint::of_tail(&tail[..read]))
}

/// Whether these bytes stand before `offset`.
pub(crate) fn tail_matches(file: &File, offset: u64, tail: Fingerprint) -> bool {
    let len = usize::from(tail.len);
    let Some(start) = offset.checked_sub(len as u64) else {
        return false;
    };
    let mut bytes = vec![0; len];
    read_full_at(file, &mut bytes, start).is_ok_and(|read| read == len) && tail.begins(&bytes)
}

/// Whether a file holds the content that is known of another: the same beginning, and the
/// same bytes before the offset unless it ends earlier.
///
/// Errors: the file cannot be read; a gzip file is unfinished.
pub(crate) fn has_content_of(listed: &Listed, known: &Checkpoint) -> io::Result<bool> {
    let file = open_same(&listed.path, listed.stat.id)?;
    if !is_gzip(&listed.path) {
        let size = file.metadata()?.len();
        let head = head_of_file(&file)?;
        // The hole that a writer leaves who kept its place is in every such file.
        let is_hole = head.iter().all(|byte| *byte == 0);
        let is_shorter = size < known.offset && !is_hole;
        return Ok(known.head.begins(&head)
            && (is_shorter || tail_matches(&file, known.offset, known.tail)));
    }
    let mut stream = MultiGzDecoder::new(file);
    let mut bytes = vec![0; FINGERPRINT_BYTES];
    let read = read_full(&mut stream, &mut bytes)?;
    bytes.truncate(read);
    if !known.head.begins(&bytes) {
        return Ok(false);
    }
    // The bytes before the offset; they may begin within the head.
    let start = known.offset.saturating_sub(u64::from(known.tail.len));
    let tail = usize::from(known.tail.len);
    if start < bytes.len() as u64 {
        bytes.drain(..start as usize);
    } else {
        io::copy(
            &mut stream.by_ref().take(start - bytes.len() as u64),
            &mut io::sink(),
        )?;
        bytes.clear();
    }
    let had = bytes.len();
    if had < tail {
        bytes.resize(tail, 0);
        let read = read_full(&mut stream, &mut bytes[had..])?;
        bytes.truncate(had + read);
    }
    // To the end, which shows that it is whole.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(bytes.len() < tail || known.tail.begins(&bytes))
}

/// Where to begin with a file whose lines so far are not wanted: behind its last newline, so
/// that a line being written is taken when it is whole. With the fingerprint of its head.
pub(crate) fn cursor_at_end(file: &File) -> io::Result<(Cursor, Fingerprint)> {
    let size = file.metadata()?.len();
    let head = Fingerprint::of_head(&head_of_file(file)?);
    let look = size.min(MAX_LINE as u64) as usize;
    let mut end = vec![0; look];
    let read = read_full_at(file, &mut end, size - look as u64)?;
    let (offset, skipping) = match memrchr(b'\n', &end[..read]) {
        Some(newline) => (size - look as u64 + newline as u64 + 1, false),
        None if look as u64 == size => (0, false),
        None => (size, true),
    };
    let tail = tail_before(file, offset)?;
    let cursor = Cursor {
        offset,
        skipping,
        tail,
    };
    Ok((cursor, head))
}

/// Whether the first `size` bytes of both are the same.
pub(crate) fn is_prefix(copy: &File, of: &File, size: u64) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < size {
        let want = (size - at).min(CHUNK as u64) as usize;
        let (x, y) = (
            read_full_at(copy, &mut a[..want], at)?,
            read_full_at(of, &mut b[..want], at)?,
        );
        if x == 0 || a[..x] != b[..y] {
            return Ok(false);
        }
        at += x as u64;
    }
    Ok(true)
}
