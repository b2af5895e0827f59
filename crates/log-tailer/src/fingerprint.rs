//! Fingerprints identify a file after it was renamed, copied or truncated. Only hashes are saved,
//! because a log may hold keys.

use std::fs::File;
use std::io;

use flate2::read::MultiGzDecoder;
use xxhash_rust::xxh3::xxh3_64;

use crate::file::{Listed, is_gzip, open_same, read_full, read_full_at};

/// A fingerprint covers at most this many bytes.
pub(crate) const FINGERPRINT_BYTES: usize = 256;

/// The hash of some bytes, and their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Number of bytes, at most 256. Zero bytes match anything.
    pub len: u16,
    /// Their hash.
    pub hash: u64,
}

impl Fingerprint {
    /// The fingerprint of the first 256 bytes at most.
    pub fn of_head(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(FINGERPRINT_BYTES)];
        Self {
            len: bytes.len() as u16,
            hash: xxh3_64(bytes),
        }
    }

    /// The fingerprint of the last 256 bytes at most.
    pub fn of_tail(bytes: &[u8]) -> Self {
        Self::of_head(&bytes[bytes.len().saturating_sub(FINGERPRINT_BYTES)..])
    }

    /// Whether `bytes` begin with the bytes of this fingerprint.
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

/// The first bytes of a listed file.
pub(crate) fn head_of(listed: &Listed) -> io::Result<Vec<u8>> {
    head_of_file(&open_same(&listed.path, listed.stat.id)?)
}

/// The first bytes of a listed file, decompressed if it is a gzip file.
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

/// The fingerprint of the bytes before `offset`.
pub(crate) fn tail_before(file: &File, offset: u64) -> io::Result<Fingerprint> {
    let len = offset.min(FINGERPRINT_BYTES as u64) as usize;
    let mut tail = vec![0; len];
    let read = read_full_at(file, &mut tail, offset - len as u64)?;
    Ok(Fingerprint::of_tail(&tail[..read]))
}

/// Whether the bytes before `offset` have this fingerprint.
pub(crate) fn tail_matches(file: &File, offset: u64, tail: Fingerprint) -> bool {
    let len = usize::from(tail.len);
    let Some(start) = offset.checked_sub(len as u64) else {
        return false;
    };
    let mut bytes = vec![0; len];
    read_full_at(file, &mut bytes, start).is_ok_and(|read| read == len) && tail.begins(&bytes)
}
