//! Compares the content of a file with the checkpoint of another.

use std::fs::File;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use memchr::memrchr;

use crate::checkpoint::Checkpoint;
use crate::file::{Listed, is_gzip, open_same, read_full, read_full_at};
use crate::fingerprint::{FINGERPRINT_BYTES, Fingerprint, head_of_file, tail_before, tail_matches};
use crate::lines::{CHUNK, Cursor, MAX_LINE};

/// Whether a file has the content that a checkpoint describes: the same first bytes, and the same
/// bytes before the offset, unless the file is shorter.
///
/// Errors: the file cannot be read, or a gzip file is incomplete.
pub(crate) fn has_content_of(listed: &Listed, known: &Checkpoint) -> io::Result<bool> {
    let file = open_same(&listed.path, listed.stat.id)?;
    if !is_gzip(&listed.path) {
        return repeats(&file, known);
    }
    let mut stream = MultiGzDecoder::new(file);
    let mut bytes = vec![0; FINGERPRINT_BYTES];
    let read = read_full(&mut stream, &mut bytes)?;
    bytes.truncate(read);
    if !known.head.begins(&bytes) {
        return Ok(false);
    }
    // The bytes before the offset. They may overlap the head.
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
    // Read to the end: this shows that the gzip file is complete.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(bytes.len() < tail || known.tail.begins(&bytes))
}

/// [`has_content_of`] for an open file that is not compressed.
pub(crate) fn repeats(file: &File, known: &Checkpoint) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let head = head_of_file(file)?;
    // A writer that kept its position when a log was truncated leaves a hole of zeros. Every such
    // file begins with the same bytes.
    let is_hole = head.iter().all(|byte| *byte == 0);
    let is_shorter = size < known.offset && !is_hole;
    Ok(known.head.begins(&head) && (is_shorter || tail_matches(file, known.offset, known.tail)))
}

/// Where to begin in a file whose present lines are not wanted: after its last newline, so that a
/// line that is still being written is read when it is complete. Also returns the fingerprint of
/// the head.
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
