//! What is found, what is left out, and why.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use globset::GlobSet;

use crate::folder::scan::FolderPath;
use crate::folder::session_name::SessionName;

/// An auth folder that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in metrics, alerts and commands.
    pub session: SessionName,
    /// Where it is.
    pub place: FolderPath,
}

/// Why something that was asked for is not among the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Another folder has this session name, or another name was given to this folder.
    DuplicateName,
    /// A link that leads to it belongs to another user.
    LinkRefused,
    /// A path named on the command line cannot be looked into.
    SourceUnreadable,
    /// A glob matches no directory.
    NothingMatched,
    /// Directories below such a path cannot be looked into, and may be auth folders.
    DirectoryUnreadable,
    /// There are too many directories.
    TooManyDirectories,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [SkipReason; 6] = [
        SkipReason::DuplicateName,
        SkipReason::LinkRefused,
        SkipReason::SourceUnreadable,
        SkipReason::NothingMatched,
        SkipReason::DirectoryUnreadable,
        SkipReason::TooManyDirectories,
    ];

    /// Value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            SkipReason::DuplicateName => "duplicate_name",
            SkipReason::LinkRefused => "link_refused",
            SkipReason::SourceUnreadable => "source_unreadable",
            SkipReason::NothingMatched => "nothing_matched",
            SkipReason::DirectoryUnreadable => "directory_unreadable",
            SkipReason::TooManyDirectories => "too_many_directories",
        }
    }

    /// Whether folders may be there all the same.
    pub const fn hides_folders(self) -> bool {
        matches!(
            self,
            SkipReason::SourceUnreadable
                | SkipReason::DirectoryUnreadable
                | SkipReason::TooManyDirectories
        )
    }
}

/// Something left out, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Why.
    pub reason: SkipReason,
    /// For the log: the path, and the fix.
    pub message: String,
    pub(super) session: Option<SessionName>,
    pub(super) place: Option<FolderPath>,
}

/// Whether a look around that has left this out could look everywhere. Behind a link that was
/// refused there may be a folder, and what matches nothing may be a mount that is missing.
pub fn is_complete(skipped: &[Skipped]) -> bool {
    let is_known = |one: &Skipped| one.reason == SkipReason::DuplicateName;
    skipped.iter().all(is_known)
}

/// The messages; of those with one reason only three, and how many more there are.
pub fn few_of_each(skipped: &[Skipped]) -> Vec<String> {
    const FEW: usize = 3;
    let mut messages = Vec::new();
    for reason in SkipReason::ALL {
        let of_reason = || skipped.iter().filter(|skipped| skipped.reason == reason);
        messages.extend(of_reason().take(FEW).map(|skipped| skipped.message.clone()));
        match of_reason().count().saturating_sub(FEW) {
            0 => {}
            more => messages.push(format!(
                "and {more} more ({}); `baileys_remediator doctor --all` names them",
                reason.label()
            )),
        }
    }
    messages
}

/// What is known of a name that several folders have: a sentence. Nothing may be done to such a
/// session.
pub fn duplicate<'a>(skipped: &'a [Skipped], session: &str) -> Option<&'a str> {
    let mut of_the_name = skipped.iter().filter(|skipped| {
        let name = skipped.session.as_ref();
        name.is_some_and(|name| name.as_str() == session)
    });
    of_the_name.next().map(|skipped| skipped.message.as_str())
}

/// Which directories and sessions of a root are wanted.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) include: Option<GlobSet>,
    pub(super) exclude: GlobSet,
}

impl Filter {
    /// Whether directories of this name are left out, with all below.
    pub(super) fn excludes(&self, name: &OsStr) -> bool {
        self.exclude.is_match(Path::new(name))
    }

    /// Whether a session is wanted that was found by these names of directories.
    pub(super) fn wants(&self, parts: &[OsString], session: &SessionName) -> bool {
        let is_one = |globs: &GlobSet| {
            globs.is_match(session.as_str())
                || parts
                    .last()
                    .is_some_and(|name| globs.is_match(Path::new(name)))
        };
        self.include.as_ref().is_none_or(is_one) && !is_one(&self.exclude)
    }
}

/// An i/o error with what to do about it.
pub fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{error}; this program's user needs to read and search it (see `ls -ld`; run it as the bot's user, add it to the bot's group, or leave the directory out with --sessions.exclude)"
        ),
        io::ErrorKind::NotFound => format!("{error}; it will be looked for again"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            format!(
                "{error}; the folder itself is a link now, or leads nowhere: give the path it points to"
            )
        }
        _ => error.to_string(),
    }
}
