//! Fingerprints: how a file is known again after it was renamed, copied or emptied. Only
//! hashes are kept on disk, because a log may hold keys.

use xxhash_rust::xxh3::xxh3_64;

/// How many bytes a fingerprint covers at most.
pub const PRINT_BYTES: usize = 256;

/// The hash of some bytes and how many they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Print {
    pub len: u16,
    pub hash: u64,
}

impl Print {
    /// Of at most [`PRINT_BYTES`] bytes from the beginning.
    pub fn of_head(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(PRINT_BYTES)];
        Self {
            len: bytes.len() as u16,
            hash: xxh3_64(bytes),
        }
    }

    /// Of at most [`PRINT_BYTES`] bytes up to the end.
    pub fn of_tail(bytes: &[u8]) -> Self {
        Self::of_head(&bytes[bytes.len().saturating_sub(PRINT_BYTES)..])
    }

    /// Whether `bytes` begin with what this is a print of.
    pub fn begins(self, bytes: &[u8]) -> bool {
        bytes
            .get(..usize::from(self.len))
            .is_some_and(|bytes| xxh3_64(bytes) == self.hash)
            || self.len == 0
    }
}
