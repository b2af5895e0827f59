//! Errors that prevent the moves of a run.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Why a run that the guard table allows cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Another process holds the folder's lock.
    Locked,
    /// The file system cannot make a move safe.
    Filesystem(String),
    /// The quarantine may not grow further.
    QuarantineFull {
        /// Bytes in it now.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// No planned file can be moved: how many of which kind, and why.
    Immovable(String),
    /// Not permitted, read-only, full, gone, or another i/o error.
    Io(String),
}

impl Obstacle {
    /// Value of the label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            Obstacle::Locked => "locked",
            Obstacle::Filesystem(_) => "filesystem",
            Obstacle::QuarantineFull { .. } => "quarantine_full",
            Obstacle::Immovable(_) => "immovable",
            Obstacle::Io(_) => "io",
        }
    }

    /// Every value of the label that is a refusal; `io` is a failure.
    pub const REFUSALS: [&'static str; 4] =
        ["locked", "filesystem", "quarantine_full", "immovable"];
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Locked => f.write_str(
                "another run holds the lock of this folder; try again when it has ended",
            ),
            Obstacle::Filesystem(what) => {
                write!(f, "moves are not safe on this file system: {what}")
            }
            Obstacle::QuarantineFull { bytes, limit } => write!(
                f,
                "the quarantine is full: it holds {bytes} bytes, the limit is {limit}; wait for the retention, or raise quarantine.max_bytes"
            ),
            Obstacle::Immovable(what) => write!(
                f,
                "no planned file can be moved: {what}; run baileys_remediator doctor"
            ),
            Obstacle::Io(what) => f.write_str(what),
        }
    }
}

/// The obstacle for an errno. `doing` is the operation that failed.
pub(in crate::remediator) fn obstacle(doing: &str, errno: Errno) -> Obstacle {
    match errno {
        Errno::XDEV => Obstacle::Filesystem(format!(
            "{doing}: the quarantine is on another file system or mount; files are never copied"
        )),
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK => {
            Obstacle::Filesystem(format!(
                "{doing}: not supported here ({errno}); the folder must be on a local file system such as ext4 or xfs"
            ))
        }
        Errno::ROFS => Obstacle::Io(format!(
            "{doing}: the file system is read-only; remount it read-write"
        )),
        Errno::ACCESS | Errno::PERM => Obstacle::Io(format!(
            "{doing}: not permitted; run as the bot's user, or give this program's user write access to the folder"
        )),
        Errno::NOSPC | Errno::DQUOT => {
            Obstacle::Io(format!("{doing}: no space left; free some and try again"))
        }
        Errno::LOOP => Obstacle::Io(format!(
            "{doing}: a symbolic link is there instead of a directory; find out what created it, and remove it"
        )),
        Errno::STALE => Obstacle::Io(format!(
            "{doing}: {errno}: replaced on the file server; keep keys on a local file system such as ext4 or xfs"
        )),
        other => Obstacle::Io(format!("{doing}: {other}")),
    }
}

pub(in crate::remediator) fn obstacle_io(doing: &str, error: &io::Error) -> Obstacle {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(errno) => obstacle(doing, errno),
        None => Obstacle::Io(format!("{doing}: {error}")),
    }
}
