//! Links on the way to a directory: resolved once, and only those that may be trusted.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

/// More links than this on one path are a loop.
const MAX_LINKS: u32 = 40;

/// A path without links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The canonical path.
    pub path: PathBuf,
    /// The user ids of the links that were followed.
    pub link_owners: BTreeSet<u32>,
}

impl Resolved {
    /// A path that is known to hold no link.
    pub fn of_canonical(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            link_owners: BTreeSet::new(),
        }
    }

    /// The owner of a link that may not be followed, if there is one. The owner of a link can
    /// point it at any folder. So the link must belong to this program's user, to root, or to the
    /// owner of the directory.
    pub fn foreign_link(&self, own: u32, owner_of_target: u32) -> Option<u32> {
        let mut owners = self.link_owners.iter().copied();
        owners.find(|owner| ![0, own, owner_of_target].contains(owner))
    }
}

/// Resolves an absolute path. Blocks.
///
/// # Errors
/// A part of it cannot be looked at, or the links are a loop.
pub fn resolve(path: &Path) -> io::Result<Resolved> {
    let mut links = 0;
    let mut link_owners = BTreeSet::new();
    let mut to_go: Vec<OsString> = Vec::new();
    push(&mut to_go, path);
    let mut canonical = PathBuf::from("/");
    while let Some(part) = to_go.pop() {
        if part == ".." {
            canonical.pop();
            continue;
        }
        let next = canonical.join(&part);
        let meta = next.symlink_metadata()?;
        if !meta.is_symlink() {
            canonical = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        link_owners.insert(meta.uid());
        let target = next.read_link()?;
        if target.is_absolute() {
            canonical = PathBuf::from("/");
        }
        push(&mut to_go, &target);
    }
    Ok(Resolved {
        path: canonical,
        link_owners,
    })
}

/// Puts the parts of a path before what is still to go; the last of `to_go` is the next.
fn push(to_go: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    to_go.extend(parts);
}

#[cfg(test)]
mod tests;
