//! Why a folder could not be looked at.

use std::io;

use crate::folder::discovery::explain;

/// Why a folder could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderError {
    /// Value of the label `reason`, one of [`FolderError::REASONS`].
    pub reason: &'static str,
    /// The same in words, with what to do.
    pub message: String,
}

impl FolderError {
    /// Every value of the label `reason`.
    pub const REASONS: [&'static str; 6] = [
        "io",
        "link",
        "missing",
        "not_an_auth_folder",
        "permission",
        "timeout",
    ];

    /// Whether there is no such directory.
    pub fn is_missing(&self) -> bool {
        self.reason == "missing"
    }

    pub(super) fn new(error: &io::Error) -> Self {
        let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        let reason = match error.kind() {
            _ if is_link => "link",
            io::ErrorKind::NotFound => "missing",
            io::ErrorKind::PermissionDenied => "permission",
            io::ErrorKind::TimedOut => "timeout",
            _ => "io",
        };
        Self {
            reason,
            message: explain(error),
        }
    }
}
