//! Whether a directory still holds the names that an earlier listing found.
//!
//! Every name that comes or goes changes the times of its directory, on a file system that
//! keeps them. A rewrite in place does not. File times are coarse: a directory that was changed
//! shortly before it was listed may be changed again without another time.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use clock::Clock;
use rustix::fs::Stat;

use super::scan::{RACY, stamp_of};
use super::time::Timestamp;

/// The file systems whose directory times can be relied on, by the number that `statfs` gives:
/// ext2 to ext4, xfs, btrfs, tmpfs.
const RELIABLE: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// What was listed longer ago is listed again, whatever the times say: a file system may have
/// reasons of its own for other names (a key that unlocks a directory).
pub const HOLDS_FOR: Duration = Duration::from_secs(300);

/// How far the wall clock may run from the monotonic clock without a step.
const DRIFT: Duration = Duration::from_secs(1);

/// A moment, by two clocks: together they show that the wall clock was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanTime {
    /// Wall time.
    pub wall: Timestamp,
    /// Time since the boot of the machine.
    pub boot: Duration,
}

impl ScanTime {
    /// Now.
    pub fn of(clock: &Clock) -> Self {
        Self {
            wall: Timestamp::of(clock),
            boot: clock.boot(),
        }
    }

    /// Whether the wall clock was set between this moment and `later`.
    pub fn is_before_a_step(&self, later: &Self) -> bool {
        let expected = self.wall.plus(later.boot.saturating_sub(self.boot));
        let difference = expected.until(later.wall).max(later.wall.until(expected));
        difference > DRIFT
    }
}

/// Identity and times of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryStamp {
    device: u64,
    inode: u64,
    modified: Timestamp,
    changed: Timestamp,
}

impl DirectoryStamp {
    /// From what `stat` says.
    pub fn new(stat: &Stat) -> Self {
        let stamp = stamp_of(stat);
        Self {
            device: stamp.device,
            inode: stamp.inode,
            modified: stamp.modified,
            changed: stamp.changed,
        }
    }

    /// Of an open directory.
    ///
    /// Errors: those of `fstat`.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::new(&rustix::fs::fstat(fd)?))
    }
}

/// What was known of a directory just before it was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    stamp: DirectoryStamp,
    at: ScanTime,
    is_reliable: bool,
}

impl Listed {
    /// To be called before the listing: what changes during it changes the stamp.
    ///
    /// Errors: those of `fstat`.
    pub fn before(fd: BorrowedFd<'_>, clock: &Clock) -> io::Result<Self> {
        // A file system that does not tell its kind is none of those.
        let kind = rustix::fs::fstatfs(fd).map_or(0, |about| about.f_type.cast_unsigned());
        Ok(Self {
            stamp: DirectoryStamp::of(fd)?,
            at: ScanTime::of(clock),
            is_reliable: RELIABLE.contains(&kind),
        })
    }

    /// When it was listed.
    pub const fn at(&self) -> ScanTime {
        self.at
    }

    /// Whether the names found then are those of a directory that has `stamp` at `now`. Pure.
    pub fn holds(&self, stamp: &DirectoryStamp, now: &ScanTime) -> bool {
        let last_change = stamp.modified.max(stamp.changed);
        self.is_reliable
            && self.stamp == *stamp
            && last_change.plus(RACY) < self.at.wall
            && now.boot.saturating_sub(self.at.boot) < HOLDS_FOR
            && !self.at.is_before_a_step(now)
    }
}

#[cfg(test)]
mod tests;
