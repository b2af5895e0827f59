//! Whether the process that opened a connection, as a log names it, still runs.

use std::os::unix::fs::MetadataExt;

use supervisor::proc::runs_since;

use crate::connection::Opener;
use crate::folder::Timestamp;

/// A process of this host, as a log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedProcess {
    pub(super) pid: u32,
    /// When it opened its connection.
    pub(super) opened: Timestamp,
}

impl NamedProcess {
    /// Whether it still runs; `None` where that cannot be told. Blocks.
    pub(super) fn look(self) -> Option<Opener> {
        let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
        Some(Opener {
            pid: self.pid,
            namespace,
            opened: self.opened,
            runs: runs_since(self.pid, self.opened.into())?,
        })
    }
}

#[cfg(test)]
mod tests;
