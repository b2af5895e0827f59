//! One look at one directory: whether it is an auth folder, and what is in it. These functions
//! block, and run in a look of [`crate::folder::bounded_blocking`].

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::Clock;
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use crate::folder::inventory::Shape;
use crate::folder::kind::{Kind, is_telltale, parse_name};
use crate::folder::resolve::{Resolved, resolve};
use crate::folder::scan::{
    FolderPath, QUARANTINE_DIR, QUARANTINE_TAG, list, open_dir, read_creds, stat,
};
use crate::folder::unchanged::{DirectoryStamp, Listed, ScanTime};

/// What is known before a look.
#[derive(Clone, Debug)]
pub(super) struct Looker {
    /// Folders that were auth folders.
    pub(super) known: Arc<BTreeSet<FolderPath>>,
    /// The user of this program.
    pub(super) own: u32,
    /// What earlier looks found, if it is kept.
    pub(super) cache: Option<DirectoryCache>,
}

/// What looks at directories found, for as long as the directories do not change. Clones share
/// it.
#[derive(Clone, Debug)]
pub(super) struct DirectoryCache {
    by_path: Arc<Mutex<HashMap<OsString, CachedDirectory>>>,
    clock: Clock,
}

#[derive(Clone, Debug)]
struct CachedDirectory {
    listed: Listed,
    depth: Depth,
    is_folder: bool,
    children: Vec<Child>,
    /// Whether it was used since the last [`DirectoryCache::evict_unused`].
    is_used: bool,
}

impl DirectoryCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            by_path: Arc::default(),
            clock,
        }
    }

    fn by_path(&self) -> MutexGuard<'_, HashMap<OsString, CachedDirectory>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the directories that were not used since the last call.
    pub(super) fn evict_unused(&self) {
        self.by_path()
            .retain(|_, cached| std::mem::take(&mut cached.is_used));
    }

    /// What is known of a directory that has `stamp` now.
    fn get(&self, path: &Path, stamp: &DirectoryStamp, depth: Depth) -> Option<CachedDirectory> {
        let now = ScanTime::of(&self.clock);
        let mut by_path = self.by_path();
        let cached = by_path.get_mut(path.as_os_str())?;
        if cached.depth != depth || !cached.listed.holds(stamp, &now) {
            return None;
        }
        cached.is_used = true;
        Some(cached.clone())
    }
}

/// What is known of the directory above one that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Above {
    /// Its path was found to hold no link just before.
    Canonical,
    /// Nothing.
    Any,
}

/// What a directory is.
#[derive(Debug)]
pub(super) enum Nature {
    /// An auth folder.
    Folder,
    /// Another directory.
    Other,
    /// A quarantine.
    Quarantine,
    /// It cannot be looked into.
    Unsure(io::Error),
}

/// A directory that was looked at.
#[derive(Debug)]
pub(super) struct Inspected {
    /// Its canonical place.
    pub(super) place: FolderPath,
    /// The path that led there is a link itself.
    pub(super) is_link: bool,
    /// What it is.
    pub(super) nature: Nature,
    /// The directories and links in it, by name.
    pub(super) children: Vec<Child>,
}

/// A directory, or a link, in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Child {
    /// Its name.
    pub(super) name: OsString,
    /// A link, to anything.
    pub(super) is_link: bool,
}

/// Why there is nothing to look at.
#[derive(Debug)]
pub(super) enum Fault {
    /// No directory is there.
    Gone,
    /// A link of another user leads to an auth folder.
    Refused {
        /// The owner of the link.
        owner: u32,
        /// Where it leads.
        target: PathBuf,
    },
    /// The path cannot be followed.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let is_loop = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
        if is_loop || is_gone(&error) {
            Self::Gone
        } else {
            Self::Io(error)
        }
    }
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether the look at a directory lists what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The directory only; of one with very many files not all.
    Itself,
    /// What is in it as well.
    Children,
    /// As [`Depth::Children`]; and a stray creds.json makes no auth folder of a root or of a
    /// project.
    Root,
}

/// Names that are read of a directory deep in a tree, where it has no creds.json.
const FEW_NAMES: usize = 1_000;

impl Looker {
    /// Looks at the directory that `route` leads to.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(super) fn at(&self, route: &Path, depth: Depth, above: Above) -> Result<Inspected, Fault> {
        let about = rustix::fs::lstat(route).map_err(io::Error::from)?;
        let kind = FileType::from_raw_mode(about.st_mode);
        let is_link = kind == FileType::Symlink;
        let (resolved, about) = match above {
            Above::Canonical if !is_link => (Resolved::of_canonical(route), about),
            _ => {
                let resolved = resolve(route)?;
                let about = rustix::fs::lstat(&resolved.path).map_err(io::Error::from)?;
                (resolved, about)
            }
        };
        if FileType::from_raw_mode(about.st_mode) != FileType::Directory {
            return Err(Fault::Gone);
        }
        let mut found = match self.cached(&resolved.path, &DirectoryStamp::new(&about), depth) {
            Some(found) => found,
            None => self.inspect(&resolved.path, depth)?,
        };
        if let Some(owner) = resolved.foreign_link(self.own, about.st_uid) {
            let matters = match found.nature {
                Nature::Folder | Nature::Unsure(_) => true,
                Nature::Other => has_auth_folders(&found.place),
                Nature::Quarantine => false,
            };
            let target = resolved.path;
            return Err(match matters {
                true => Fault::Refused { owner, target },
                false => Fault::Gone,
            });
        }
        found.is_link = is_link;
        Ok(found)
    }

    /// What an earlier look found, if that still holds.
    fn cached(&self, path: &Path, stamp: &DirectoryStamp, depth: Depth) -> Option<Inspected> {
        let place = place_without_a_look(path).ok()?;
        let cached = self.cache.as_ref()?.get(path, stamp, depth)?;
        // One that is not known may be one by a creds.json that is rewritten in place.
        let holds = !cached.is_folder || self.known.contains(&place);
        holds.then_some(Inspected {
            place,
            is_link: false,
            nature: match cached.is_folder {
                true => Nature::Folder,
                false => Nature::Other,
            },
            children: cached.children,
        })
    }

    fn inspect(&self, path: &Path, depth: Depth) -> Result<Inspected, Fault> {
        let place = place_without_a_look(path).unwrap_or_else(|_| FolderPath {
            parent: path.to_owned(),
            name: ".".into(),
        });
        let mut found = Inspected {
            place,
            is_link: false,
            nature: Nature::Other,
            children: Vec::new(),
        };
        let fd = match found.place.open() {
            Ok(fd) => fd,
            Err(error) if is_gone(&error) => return Err(Fault::Gone),
            Err(error) => {
                found.nature = Nature::Unsure(error);
                return Ok(found);
            }
        };
        let fd = fd.as_fd();
        let listed = self
            .cache
            .as_ref()
            .and_then(|cache| Listed::before(fd, &cache.clock).ok());
        if is_quarantine(fd) {
            found.nature = Nature::Quarantine;
            return Ok(found);
        }
        let is_known = self.known.contains(&found.place);
        if depth == Depth::Itself {
            if is_known || is_auth_folder(fd, FEW_NAMES)? {
                found.nature = Nature::Folder;
            }
            self.keep(path, listed, depth, fd, &found);
            return Ok(found);
        }
        let names = Names::of(fd);
        let is_certain = is_known || read_creds(fd).makes_an_auth_folder();
        let names = match names {
            Err(_) if is_known || (is_certain && depth == Depth::Children) => Names::default(),
            names => names?,
        };
        let is_stray = depth == Depth::Root && !is_known && !names.has_telltale;
        if (is_certain || names.has_telltale) && !(is_stray && has_auth_folders(&found.place)) {
            found.nature = Nature::Folder;
        }
        found.children = names.children;
        self.keep(path, listed, depth, fd, &found);
        Ok(found)
    }

    /// Keeps what depends on the names in a directory alone.
    fn keep(
        &self,
        path: &Path,
        listed: Option<Listed>,
        depth: Depth,
        fd: BorrowedFd<'_>,
        found: &Inspected,
    ) {
        let is_folder = matches!(found.nature, Nature::Folder);
        // A creds.json that is rewritten in place may make it an auth folder.
        let has_creds = || !matches!(stat(fd, "creds.json"), Ok(None));
        if let (Some(cache), Some(listed)) = (&self.cache, listed)
            && (is_folder || !has_creds())
        {
            let cached = CachedDirectory {
                listed,
                depth,
                is_folder,
                children: found.children.clone(),
                is_used: true,
            };
            cache.by_path().insert(path.as_os_str().to_owned(), cached);
        }
    }

    /// The place of a folder that the operator named, and whether its path is a link itself.
    ///
    /// # Errors
    /// A link of another user, or a directory that is no auth folder and holds some.
    pub(super) fn named(&self, path: &Path) -> Result<(FolderPath, bool), NamedFault> {
        let io = |error| NamedFault::Fault(Fault::Io(error));
        let raw = place_without_a_look(path).map_err(io)?;
        let Ok((resolved, meta)) = canonical(&raw.path()) else {
            // It is not there yet, or not any more; opening it tells.
            let parent = raw.parent.canonicalize().unwrap_or(raw.parent);
            let name = raw.name;
            return Ok((FolderPath { parent, name }, true));
        };
        let is_link = raw.path().symlink_metadata().is_ok_and(|m| m.is_symlink());
        if let Some(owner) = resolved.foreign_link(self.own, meta.uid()) {
            let target = resolved.path;
            return Err(NamedFault::Fault(Fault::Refused { owner, target }));
        }
        let place = place_without_a_look(&resolved.path).map_err(io)?;
        if is_root_of_auth_folders(&place) {
            return Err(NamedFault::Root);
        }
        Ok((place, is_link))
    }
}

fn canonical(path: &Path) -> io::Result<(Resolved, std::fs::Metadata)> {
    let resolved = resolve(path)?;
    let meta = resolved.path.symlink_metadata()?;
    Ok((resolved, meta))
}

/// Why a folder that the operator named is none.
#[derive(Debug)]
pub(super) enum NamedFault {
    /// It holds auth folders and is none itself.
    Root,
    /// It cannot be looked at.
    Fault(Fault),
}

/// A directory at the top of some file systems. It belongs to root, and only root may read it.
const LOST_AND_FOUND: &str = "lost+found";

/// What the names in a directory tell.
#[derive(Debug, Default)]
struct Names {
    /// The directories and links in it, by name; not the quarantine, nor key files, nor
    /// `lost+found`.
    children: Vec<Child>,
    /// One of them is plainly Baileys' own.
    has_telltale: bool,
}

impl Names {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let mut names = Self::default();
        list(fd, |name, kind| {
            let raw = name.to_bytes();
            names.has_telltale = names.has_telltale || is_telltale(raw);
            let (is_dir, is_link) = match kind {
                FileType::Unknown => match stat(fd, name) {
                    Ok(Some((shape, _))) => (shape == Shape::Directory, shape == Shape::Link),
                    _ => return Ok(()),
                },
                kind => (kind == FileType::Directory, kind == FileType::Symlink),
            };
            // What is named as a key file is no folder, and its name is not to be repeated.
            let is_none = || {
                raw == QUARANTINE_DIR.as_bytes()
                    || raw == LOST_AND_FOUND.as_bytes()
                    || parse_name(raw).kind != Kind::Unknown
            };
            if (is_dir || is_link) && !is_none() {
                let name = OsStr::from_bytes(raw).to_owned();
                names.children.push(Child { name, is_link });
            }
            Ok(())
        })?;
        names.children.sort();
        Ok(names)
    }
}

/// [`Names::children`] of the directory that a path leads to.
pub(super) fn children(path: &Path) -> io::Result<Vec<Child>> {
    Ok(Names::of(open_dir(path)?.as_fd())?.children)
}

/// Splits a path into its parent and its last name; no link is resolved.
pub(super) fn place_without_a_look(path: &Path) -> io::Result<FolderPath> {
    let absolute = std::path::absolute(path)?;
    let name = absolute
        .file_name()
        .ok_or_else(|| io::Error::other("not the path of an auth folder"))?
        .to_owned();
    let parent = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(FolderPath { parent, name })
}

/// Whether a folder that is no auth folder has sub-directories that are.
fn is_root_of_auth_folders(place: &FolderPath) -> bool {
    let Ok(fd) = place.open() else { return false };
    !is_auth_folder(fd.as_fd(), usize::MAX).unwrap_or(true) && has_auth_folders(place)
}

fn has_auth_folders(place: &FolderPath) -> bool {
    let children = children(&place.path()).unwrap_or_default();
    children
        .into_iter()
        .filter(|child| !child.is_link)
        .any(|child| {
            let child = FolderPath {
                parent: place.path(),
                name: child.name,
            };
            child.open().is_ok_and(|fd| {
                !is_quarantine(fd.as_fd())
                    && is_auth_folder(fd.as_fd(), usize::MAX).unwrap_or(false)
            })
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
fn is_auth_folder(fd: BorrowedFd<'_>, names: usize) -> io::Result<bool> {
    Ok(read_creds(fd).makes_an_auth_folder() || has_telltale(fd, names)?)
}

fn has_telltale(fd: BorrowedFd<'_>, names: usize) -> io::Result<bool> {
    for entry in Dir::read_from(fd)?.take(names) {
        if is_telltale(entry?.file_name().to_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
