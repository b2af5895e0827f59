//! The files of a restore in a folder's quarantine.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::folder::scan::stat;
use crate::folder::{Kind, Stamp};
use crate::remediator::store::audit::{Fate, FileRecord};

pub(super) const CREDS: &str = "creds.json";
pub(super) const NEW: &str = "new.json";
pub(super) const RECORD: &str = "restore.json";
pub(super) const REPLACED: &str = "replaced.json";
pub(super) const PREFIX: &str = "creds-";

/// restore.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RestoreRecord {
    pub(super) version: u32,
    pub(super) at_ns: i64,
    pub(super) copy: u64,
    /// Fingerprint of the file to put back, in hex.
    pub(super) content: String,
    /// Inode of that file, used when the file cannot be read.
    #[serde(default)]
    pub(super) inode: Option<u64>,
}

/// creds.json in the record of a run.
pub(super) fn creds_record(stamp: &Stamp, fate: Fate) -> FileRecord {
    FileRecord {
        kind: Kind::Creds.label(),
        inode: stamp.inode,
        size: stamp.size,
        modified: stamp.modified,
        fate,
    }
}

/// The two files of a restore after the exchange: the one moved out and the one put back.
pub(super) fn exchanged(slot: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> Vec<FileRecord> {
    let look = |at, name: &str, fate| {
        let (_, stamp) = stat(at, OsStr::new(name)).ok().flatten()?;
        Some(creds_record(&stamp, fate))
    };
    let files = [
        look(slot, REPLACED, Fate::Moved),
        look(folder, CREDS, Fate::Restored),
    ];
    files.into_iter().flatten().collect()
}
