//! The rotations of a log: which files beside it one may have made.

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

/// The rotations of many logs, for one look at all of them: a directory is listed again only
/// if it changed since, and a bounded number of times.
#[derive(Debug)]
pub(crate) struct RotationIndex {
    clock: Clock,
    directories: HashMap<PathBuf, Names>,
    /// By log, as long as its directory is as it was.
    rotations: HashMap<PathBuf, FoundRotations>,
}

/// A directory's sorted names, and when it had been changed last.
#[derive(Debug, Default)]
struct Names {
    names: Vec<OsString>,
    changed: Option<SystemTime>,
    /// That was long enough before the listing: a change after it would show.
    settled: bool,
    /// How often it was listed in this look.
    listed: u32,
}

/// What was found beside a log.
#[derive(Debug)]
struct FoundRotations {
    rotations: Rotations,
    /// The listing of the directory that it comes from ([`Names::listed`]).
    listing: u32,
}

impl Names {
    fn list(&mut self, dir: &Path, clock: &Clock) -> io::Result<()> {
        #[cfg(test)]
        LISTED.set(LISTED.get() + 1);
        self.listed += 1;
        self.changed = changed(dir);
        // Told before the listing: between the two this thread may have had to wait.
        let now = clock.wall();
        self.settled = self
            .changed
            .is_some_and(|at| at > now || until(at, now) > TICKS);
        let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
        self.names = names.collect::<io::Result<Vec<OsString>>>()?;
        self.names.sort_unstable();
        Ok(())
    }

    /// Whether these are all the names there are, as far as its time tells.
    fn holds(&self, dir: &Path) -> bool {
        self.settled && self.changed == changed(dir)
    }
}

/// The files that a rotation of a log may have made, compressed ones included, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rotations {
    /// The files.
    pub(crate) files: Vec<Listed>,
    /// Whether these are all: files that are renamed in turn while they are listed may be
    /// missed.
    pub(crate) complete: bool,
}

#[cfg(test)]
thread_local! {
    /// Directories listed by this thread, for tests of the cost.
    pub(crate) static LISTED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A directory that changes meanwhile is listed so many times for one log.
const LISTINGS: u32 = 4;
/// And so many times for all logs in it. Many logs may be rotated at once; those that are left
/// over have their turn at the next look.
const LISTINGS_IN_ALL: u32 = 32;
/// A directory's time is that of the kernel's last tick.
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

    /// In a directory that is at rest one listing tells all. Where it changes, a file is missed
    /// if it is renamed during the listing; it is all if two listings in a row agree on this
    /// log's names and on which file each is, for whatever is renamed shows in the second.
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

/// The files of both lists; for a file in both, the later entry.
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

/// Of sorted names in `dir` those that a rotation of `of` may have made.
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
