//! Finds the rotations of a log: files beside it that a rotation may have made.

mod names;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clock::Clock;

use crate::file::{FileId, Listed, Stat};
use crate::time::until;

pub(crate) use names::is_rotation_of;

/// The rotations of many logs, for one look. Lists a directory again only if it changed, and a
/// limited number of times.
#[derive(Debug)]
pub(crate) struct RotationIndex {
    clock: Clock,
    directories: HashMap<PathBuf, Names>,
    /// By log, for as long as its directory does not change.
    rotations: HashMap<PathBuf, FoundRotations>,
}

/// The sorted names in a directory, and when it was last modified.
#[derive(Debug, Default)]
struct Names {
    names: Vec<OsString>,
    changed: Option<SystemTime>,
    /// It was last modified long enough before the listing that a later change has another time.
    settled: bool,
    /// How often it was listed in this look.
    listed: u32,
}

/// The rotations of one log.
#[derive(Debug)]
struct FoundRotations {
    rotations: Rotations,
    /// The number of the listing ([`Names::listed`]) that they come from.
    listing: u32,
}

impl Names {
    fn list(&mut self, dir: &Path, clock: &Clock) -> io::Result<()> {
        #[cfg(test)]
        LISTED.set(LISTED.get() + 1);
        self.listed += 1;
        self.changed = changed(dir);
        // Read the clock before the listing, because this thread may be delayed in between.
        let now = clock.wall();
        self.settled = self
            .changed
            .is_some_and(|at| at > now || until(at, now) > TICKS);
        let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
        self.names = names.collect::<io::Result<Vec<OsString>>>()?;
        self.names.sort_unstable();
        Ok(())
    }

    /// Whether the listing is complete, judged by the directory's time.
    fn holds(&self, dir: &Path) -> bool {
        self.settled && self.changed == changed(dir)
    }
}

/// The files that a rotation of a log may have made, including compressed files, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rotations {
    /// The files.
    pub(crate) files: Vec<Listed>,
    /// Whether these are all. Files that are renamed during the listing may be missed.
    pub(crate) complete: bool,
}

#[cfg(test)]
thread_local! {
    /// Number of directories that this thread listed; tests use it to measure the cost.
    pub(crate) static LISTED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How often a directory that keeps changing is listed for one log.
const LISTINGS: u32 = 4;
/// How often it is listed for all its logs together. Many logs may be rotated at the same time; the
/// others wait for the next look.
const LISTINGS_IN_ALL: u32 = 32;
/// The kernel sets a directory's time with this resolution.
const TICKS: Duration = Duration::from_millis(10);

impl RotationIndex {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            directories: HashMap::new(),
            rotations: HashMap::new(),
        }
    }

    /// The rotations of the log `path`.
    pub(crate) fn rotations(&mut self, path: &Path) -> io::Result<&Rotations> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(const { &Rotations::nothing() });
        };
        let listing = |this: &Self| this.directories.get(dir).map_or(0, |names| names.listed);
        let is_known = self.rotations.get(path).is_some_and(|found| {
            let names = self.directories.get(dir);
            found.rotations.complete
                && found.listing == listing(self)
                && names.is_some_and(|names| names.holds(dir))
        });
        if !is_known {
            let rotations = self.list(dir, name)?;
            let listing = listing(self);
            let found = FoundRotations { rotations, listing };
            self.rotations.insert(path.to_owned(), found);
        }
        Ok(self
            .rotations
            .get(path)
            .map_or(const { &Rotations::nothing() }, |found| &found.rotations))
    }

    /// If the directory does not change, one listing is complete. If it changes, a file that is
    /// renamed during the listing may be missed. Then two listings in a row must agree on the names
    /// and inodes of this log, because the second one shows every rename.
    fn list(&mut self, dir: &Path, name: &OsStr) -> io::Result<Rotations> {
        let known = self.directories.entry(dir.to_owned()).or_default();
        let mut union: Vec<Listed> = Vec::new();
        let mut before: Option<Vec<(PathBuf, FileId)>> = None;
        let mut all = false;
        for _ in 0..LISTINGS {
            if before.is_some() || !known.holds(dir) {
                if known.listed >= LISTINGS_IN_ALL {
                    union = with(union, rotations_among(&known.names, dir, name));
                    break;
                }
                known.list(dir, &self.clock)?;
            }
            let files = rotations_among(&known.names, dir, name);
            let mut now: Vec<_> = files.iter().map(|l| (l.path.clone(), l.stat.id)).collect();
            now.sort_unstable();
            union = with(union, files);
            all = known.holds(dir) || before.is_some_and(|before| before == now);
            if all {
                break;
            }
            before = Some(now);
        }
        union.sort_by_key(|listed| listed.stat.modified);
        Ok(Rotations {
            files: union,
            complete: all,
        })
    }
}

/// The files of both lists. For a file in both, the later entry.
fn with(before: Vec<Listed>, now: Vec<Listed>) -> Vec<Listed> {
    let is_old = |listed: &Listed| now.iter().all(|new| new.stat.id != listed.stat.id);
    before
        .into_iter()
        .filter(is_old)
        .chain(now.clone())
        .collect()
}

impl Rotations {
    const fn nothing() -> Self {
        Self {
            files: Vec::new(),
            complete: true,
        }
    }
}

fn changed(dir: &Path) -> Option<SystemTime> {
    dir.metadata().and_then(|meta| meta.modified()).ok()
}

/// The names in `dir` (sorted) that a rotation of `of` may have made.
fn rotations_among(names: &[OsString], dir: &Path, of: &OsStr) -> Vec<Listed> {
    let text = of.to_string_lossy();
    let stem = of
        .as_bytes()
        .rsplitn(2, |byte| *byte == b'.')
        .last()
        .unwrap_or_default();
    let first = names.partition_point(|name| name.as_bytes() < stem);
    let beside = names[first..]
        .iter()
        .take_while(|name| name.as_bytes().starts_with(stem));
    let mut found = Vec::new();
    for name in beside.filter(|name| is_rotation_of(&name.to_string_lossy(), &text)) {
        let path = dir.join(name);
        if let Ok(meta) = path.metadata()
            && meta.is_file()
        {
            found.push(Listed {
                stat: Stat::from(&meta),
                path,
            });
        }
    }
    found.sort_by_key(|listed| listed.stat.modified);
    found
}

#[cfg(test)]
mod tests;
