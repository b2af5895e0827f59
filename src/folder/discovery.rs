//! Which directories are auth folders. Told by what is in them, never by their name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::GlobSet;
use rustix::fs::Dir;
use walkdir::WalkDir;

use super::kind::is_telltale;
use super::scan::{FolderPath, QUARANTINE_TAG, open_dir, read_creds, stat};

/// The value of the label `session`: a directory name or the name the operator gave.
/// Always printable: bytes that are not UTF-8 and control characters are escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(String);

impl SessionName {
    /// From a directory name.
    pub fn from_dir(name: &OsStr) -> Self {
        let mut shown = String::new();
        for chunk in name.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    shown.extend(c.escape_default());
                } else {
                    shown.push(c);
                }
            }
            for byte in chunk.invalid() {
                shown.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Self(shown)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One `--sessions.path=[NAME=]PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name given, where one was given: then PATH is one auth folder.
    pub name: Option<SessionName>,
    /// A root whose sub-directories are auth folders, or one auth folder.
    pub path: PathBuf,
}

impl Source {
    /// Parses `[NAME=]PATH`. A `=` behind a `/` belongs to the path.
    ///
    /// Errors: an empty name or path.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let name_end = bytes.iter().position(|b| matches!(b, b'=' | b'/'));
        let (name, path) = match name_end {
            Some(at) if bytes[at] == b'=' => (Some(&bytes[..at]), &bytes[at + 1..]),
            _ => (None, bytes),
        };
        if path.is_empty() {
            return Err("the path is empty; give --sessions.path=[NAME=]PATH".into());
        }
        if name.is_some_and(<[u8]>::is_empty) {
            return Err("the name before `=` is empty; give --sessions.path=NAME=PATH".into());
        }
        Ok(Self {
            name: name.map(|name| SessionName::from_dir(OsStr::from_bytes(name))),
            path: PathBuf::from(OsStr::from_bytes(path)),
        })
    }
}

/// An auth folder that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in metrics, alerts and commands.
    pub session: SessionName,
    /// Where it is.
    pub place: FolderPath,
}

/// Why a place that was named, or a directory in a root, is not among the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Another folder has this session name already.
    DuplicateName,
    /// A path named on the command line cannot be looked into.
    SourceUnreadable,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [SkipReason; 2] = [SkipReason::DuplicateName, SkipReason::SourceUnreadable];

    /// Value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            SkipReason::DuplicateName => "duplicate_name",
            SkipReason::SourceUnreadable => "source_unreadable",
        }
    }
}

/// Something left out, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Why.
    pub reason: SkipReason,
    /// For the log: the path, and the mend.
    pub message: String,
    session: Option<SessionName>,
}

impl Skipped {
    /// Whether it is a folder of this name that was left out.
    pub fn names(&self, session: &str) -> bool {
        self.session
            .as_ref()
            .is_some_and(|name| name.as_str() == session)
    }
}

/// The outcome of one look around.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Auth folders, by name.
    pub found: Vec<Found>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

impl Survey {
    /// The hint for the first two folders that share a name, if any do. Programs refuse to
    /// start with such folders; found later, the second one is left out.
    pub fn duplicate(&self) -> Option<&str> {
        let duplicate = self
            .skipped
            .iter()
            .find(|skipped| skipped.reason == SkipReason::DuplicateName)?;
        Some(&duplicate.message)
    }
}

/// Logs what is wrong when it begins and when it ends, not each time it is seen.
#[derive(Debug, Default)]
pub struct ProblemLog {
    known: BTreeSet<String>,
}

impl ProblemLog {
    /// Takes everything that is wrong now.
    pub fn report(&mut self, wrong: impl Iterator<Item = String>) {
        let wrong: BTreeSet<String> = wrong.collect();
        for message in wrong.difference(&self.known) {
            tracing::warn!("{message}");
        }
        for message in self.known.difference(&wrong) {
            tracing::info!("no longer so: {message}");
        }
        self.known = wrong;
    }
}

/// Finds auth folders. Remembers those it has seen, so that a folder whose creds.json
/// vanishes stays a session for as long as the directory is there.
#[derive(Debug)]
pub struct Discovery {
    sources: Vec<Source>,
    include: Option<GlobSet>,
    exclude: GlobSet,
    known: BTreeSet<FolderPath>,
}

impl Discovery {
    /// `include` (all, where `None`) and `exclude` hold for names of directories in a root.
    pub fn new(sources: Vec<Source>, include: Option<GlobSet>, exclude: GlobSet) -> Self {
        Self {
            sources,
            include,
            exclude,
            known: BTreeSet::new(),
        }
    }

    /// Looks around once. Never fails as a whole: what cannot be looked into is in
    /// [`Survey::skipped`].
    pub fn survey(&mut self) -> Survey {
        let mut survey = Survey::default();
        let mut by_name: BTreeMap<SessionName, FolderPath> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        // A folder that was given a name has that name alone, also where its root is listed.
        let named = self.sources.iter().filter(|source| source.name.is_some());
        let named: BTreeSet<FolderPath> = named
            .filter_map(|source| place_of(&source.path).ok())
            .collect();
        for source in &self.sources {
            match self.look_into(source) {
                Ok(found) => {
                    for found in found {
                        if source.name.is_none() && named.contains(&found.place) {
                            continue;
                        }
                        seen.insert(found.place.clone());
                        match by_name.get(&found.session) {
                            // Named twice by overlapping paths: one folder, one session.
                            Some(place) if *place == found.place => {}
                            Some(place) => survey.skipped.push(Skipped {
                                reason: SkipReason::DuplicateName,
                                message: duplicate_hint(&found.session, place, &found.place),
                                session: Some(found.session),
                            }),
                            None => {
                                by_name.insert(found.session.clone(), found.place.clone());
                                survey.found.push(found);
                            }
                        }
                    }
                }
                Err(error) => survey.skipped.push(Skipped {
                    reason: SkipReason::SourceUnreadable,
                    message: format!(
                        "cannot look into {}: {}",
                        source.path.display(),
                        explain(&error)
                    ),
                    session: None,
                }),
            }
        }
        survey.found.sort_by(|a, b| a.session.cmp(&b.session));
        self.known = seen;
        survey
    }

    fn look_into(&self, source: &Source) -> io::Result<Vec<Found>> {
        if let Some(session) = &source.name {
            // A named folder is a session from the start, even before it is there.
            let place = place_of(&source.path)?;
            if is_root_of_auth_folders(&place) {
                return Err(io::Error::other(format!(
                    "it holds auth folders and is none itself; give it without `{session}=`"
                )));
            }
            return Ok(vec![Found {
                session: session.clone(),
                place,
            }]);
        }
        let root = open_dir(&source.path)?;
        if is_quarantine(root.as_fd()) {
            return Err(io::Error::other("this is a quarantine, not an auth folder"));
        }
        if let Ok(place) = place_of(&source.path) {
            let known = self.known.contains(&place) && place.open().is_ok();
            let is_one = known || is_auth_folder(root.as_fd())?;
            // A stray creds.json in a root must not hide the folders below it.
            if is_one && (has_telltale(root.as_fd())? || !has_auth_folders(&place)) {
                let session = SessionName::from_dir(&place.name);
                return Ok(vec![Found { session, place }]);
            }
        }
        let parent = source.path.canonicalize()?;
        let mut found = Vec::new();
        for child in WalkDir::new(&source.path).min_depth(1).max_depth(1) {
            let child = match child {
                Ok(child) => child,
                // It vanished while we looked: not there.
                Err(error)
                    if error
                        .io_error()
                        .is_none_or(|e| e.kind() == io::ErrorKind::NotFound) =>
                {
                    continue;
                }
                Err(error) if error.depth() == 0 => return Err(error.into()),
                Err(_) => continue,
            };
            if !child.file_type().is_dir() || !self.wanted(child.file_name()) {
                continue;
            }
            let place = FolderPath {
                parent: parent.clone(),
                name: child.file_name().to_owned(),
            };
            let is_session = match place.open() {
                Ok(fd) => {
                    !is_quarantine(fd.as_fd())
                        && (self.known.contains(&place)
                            || is_auth_folder(fd.as_fd()).unwrap_or(true))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                // It cannot be looked into, so it cannot be called something else either.
                Err(_) => true,
            };
            if is_session {
                let session = SessionName::from_dir(&place.name);
                found.push(Found { session, place });
            }
        }
        Ok(found)
    }

    fn wanted(&self, name: &OsStr) -> bool {
        let name = Path::new(name);
        self.include
            .as_ref()
            .is_none_or(|globs| globs.is_match(name))
            && !self.exclude.is_match(name)
    }
}

/// Splits a path into its parent, links resolved, and its last name, not resolved.
fn place_of(path: &Path) -> io::Result<FolderPath> {
    let absolute = std::path::absolute(path)?;
    let name: OsString = absolute
        .file_name()
        .ok_or_else(|| io::Error::other("not the path of an auth folder"))?
        .to_owned();
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    // A parent that is not there yet keeps its name; opening it tells.
    Ok(FolderPath {
        parent: parent.canonicalize().unwrap_or_else(|_| parent.to_owned()),
        name,
    })
}

/// Whether a folder that is no auth folder has sub-directories that are.
fn is_root_of_auth_folders(place: &FolderPath) -> bool {
    let Ok(fd) = place.open() else { return false };
    !is_auth_folder(fd.as_fd()).unwrap_or(true) && has_auth_folders(place)
}

fn has_auth_folders(place: &FolderPath) -> bool {
    let children = WalkDir::new(place.path())
        .min_depth(1)
        .max_depth(1)
        .into_iter()
        .flatten();
    children
        .filter(|child| child.file_type().is_dir())
        .any(|child| {
            let child = FolderPath {
                parent: place.path(),
                name: child.file_name().to_owned(),
            };
            child
                .open()
                .is_ok_and(|fd| is_auth_folder(fd.as_fd()).unwrap_or(false))
        })
}

fn is_quarantine(fd: BorrowedFd<'_>) -> bool {
    match stat(fd, OsStr::new(QUARANTINE_TAG)) {
        Ok(found) => found.is_some(),
        // A folder that may not be searched must not silently be none: nothing can be moved
        // in it, and it is reported.
        Err(error) => error.kind() != io::ErrorKind::PermissionDenied,
    }
}

/// A folder is an auth folder when its creds.json is Baileys' or unusable, or when a name
/// in it is plainly Baileys'.
fn is_auth_folder(fd: BorrowedFd<'_>) -> io::Result<bool> {
    use super::creds::{BrokenCreds, Creds};
    match read_creds(fd) {
        Creds::Valid(_)
        | Creds::Broken(BrokenCreds::Empty | BrokenCreds::CutOff)
        | Creds::Unreadable(_) => {
            return Ok(true);
        }
        // Somebody else's creds.json, or none: the other names decide.
        Creds::Broken(BrokenCreds::NotCreds) | Creds::Missing => {}
    }
    has_telltale(fd)
}

fn has_telltale(fd: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(fd)? {
        if is_telltale(entry?.file_name().to_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn duplicate_hint(session: &SessionName, first: &FolderPath, second: &FolderPath) -> String {
    format!(
        "two auth folders are called {session}: {} and {}; name one of them yourself: --sessions.path=NAME={}",
        first.path().display(),
        second.path().display(),
        second.path().display(),
    )
}

/// An i/o error with what to do about it.
pub fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{error}; this program's user needs to read and search it (see `ls -ld`; run it as the bot's user, add it to the bot's group, or leave the directory out with --sessions.exclude)"
        ),
        io::ErrorKind::NotFound => format!("{error}; it will be looked for again"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            format!("{error}; the folder itself is a link: give the path it points to")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
