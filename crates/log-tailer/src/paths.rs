//! Globs: which files they match, and where in each to begin.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::file::{FileId, Listed, Stat, is_compressed};

/// Maximum depth of directories below the fixed part of a glob.
const MAX_DEPTH: usize = 16;
/// Has many directories and no logs: `**` does not stand for it.
const NODE_MODULES: &str = "node_modules";
/// Marks a path among the saved globs that could not be read.
const UNREADABLE: &str = "unreadable:";

/// A glob for paths of logs.
#[derive(Clone, Debug)]
pub struct LogGlob {
    text: String,
    base: PathBuf,
    wildcards: Option<Wildcards>,
}

/// The parts of a glob from the first wildcard on.
#[derive(Clone, Debug)]
struct Wildcards {
    /// For whole paths.
    matcher: GlobMatcher,
    /// For the names of the directories below the base, one level each.
    levels: Vec<GlobMatcher>,
    /// From this level on every directory may hold a match, as behind `**`.
    deep_from: Option<usize>,
    /// How many levels a match may be below the base.
    depth: usize,
    /// There is no `**`, or a part names `node_modules`.
    enters_node_modules: bool,
}

impl Wildcards {
    /// Whether a file that matches may be in a directory of this name. `level`: how many
    /// directories are between it and the base.
    fn may_be_in(&self, level: usize, name: &OsStr) -> bool {
        match self.deep_from {
            Some(deep) if level >= deep => {
                level + 1 < self.depth && (self.enters_node_modules || name != NODE_MODULES)
            }
            _ => self
                .levels
                .get(level)
                .is_some_and(|matcher| matcher.is_match(Path::new(name))),
        }
    }

    fn matches(&self, path: &Path, base: &Path) -> bool {
        let in_node_modules = || {
            let directories = path.strip_prefix(base).ok().and_then(Path::parent);
            let deep = self.deep_from.unwrap_or(usize::MAX);
            let mut names = directories.into_iter().flatten().skip(deep);
            names.any(|name| name == NODE_MODULES)
        };
        self.matcher.is_match(path) && (self.enters_node_modules || !in_node_modules())
    }
}

fn matcher(glob: &str) -> Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(glob).literal_separator(true).build()?;
    Ok(glob.compile_matcher())
}

impl LogGlob {
    /// A glob, where `*` stays within one directory and `**` does not; or a plain path.
    ///
    /// Errors: a sentence, without the name of the flag.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a path or a glob is missing".into());
        }
        let path = std::path::absolute(text).map_err(|error| format!("{text:?}: {error}"))?;
        let is_glob = |part: &OsStr| part.to_string_lossy().contains(['*', '?', '[', '{']);
        let parts: Vec<_> = path.iter().collect();
        let fixed = parts.iter().position(|part| is_glob(part));
        let Some(fixed) = fixed else {
            return Ok(Self {
                text: text.to_owned(),
                base: path,
                wildcards: None,
            });
        };
        let (base, rest) = parts.split_at(fixed);
        let glob = path
            .to_str()
            .ok_or_else(|| format!("{text:?} is not UTF-8"))?;
        let whole = matcher(glob).map_err(|error| format!("{text:?} is not a glob: {error}"))?;
        let names: Vec<_> = rest.iter().map(|part| part.to_string_lossy()).collect();
        let is_deep = names.iter().any(|name| name.contains("**"));
        let directories = names.split_last().map_or(&[][..], |(_, others)| others);
        let own = directories.iter().map_while(|name| {
            let single = !name.contains("**");
            // A part alone is no glob where braces hold a `/`.
            matcher(name).ok().filter(|_| single)
        });
        let levels: Vec<_> = own.collect();
        let is_split = levels.len() == directories.len();
        Ok(Self {
            text: text.to_owned(),
            base: base.iter().collect(),
            wildcards: Some(Wildcards {
                matcher: whole,
                deep_from: (is_deep || !is_split).then_some(levels.len()),
                depth: if is_deep { MAX_DEPTH } else { names.len() },
                enters_node_modules: !is_deep
                    || names.iter().any(|name| name.contains(NODE_MODULES)),
                levels,
            }),
        })
    }

    /// The text that was configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The directory to watch for changes.
    pub fn directory(&self) -> &Path {
        match self.wildcards {
            Some(_) => &self.base,
            None => self.base.parent().unwrap_or(&self.base),
        }
    }

    /// Whether it matches this path.
    pub fn matches(&self, path: &Path) -> bool {
        match &self.wildcards {
            Some(wildcards) => wildcards.matches(path, &self.base),
            None => self.base == path,
        }
    }

    /// Calls `each` for every regular file that matches and is not compressed, and `failed` for
    /// paths that cannot be read. A base directory that does not exist yet is no error, and a
    /// directory that can hold no match is not opened.
    pub fn list(&self, each: impl FnMut(Listed), failed: impl FnMut(&Path, io::Error)) {
        self.list_by(|directory| fs::read_dir(directory), each, failed);
    }

    /// [`LogGlob::list`], where `open` opens a directory.
    fn list_by(
        &self,
        open: impl FnMut(&Path) -> io::Result<ReadDir>,
        mut each: impl FnMut(Listed),
        mut failed: impl FnMut(&Path, io::Error),
    ) {
        let mut take = |path: PathBuf| match path.metadata() {
            Ok(meta) if meta.is_file() => each(Listed {
                stat: Stat::from(&meta),
                path,
            }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed(&path, error),
        };
        let Some(wildcards) = &self.wildcards else {
            return take(self.base.clone());
        };
        for (path, error) in self.walk(wildcards, open, take) {
            if error.kind() != io::ErrorKind::NotFound {
                failed(&path, error);
            }
        }
    }

    /// Calls `take` for every file that matches. Returns the directories that could not be read.
    /// Does not follow links to directories.
    fn walk(
        &self,
        wildcards: &Wildcards,
        mut open: impl FnMut(&Path) -> io::Result<ReadDir>,
        mut take: impl FnMut(PathBuf),
    ) -> Vec<(PathBuf, io::Error)> {
        match self.base.metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Vec::new(),
            Err(error) => return vec![(self.base.clone(), error)],
        }
        let mut missed = Vec::new();
        let mut left = vec![(0, self.base.clone())];
        while let Some((level, directory)) = left.pop() {
            let entries = match open(&directory) {
                Ok(entries) => entries,
                Err(error) => {
                    missed.push((directory, error));
                    continue;
                }
            };
            for entry in entries {
                let found = entry.and_then(|entry| Ok((entry.file_type()?, entry)));
                let (kind, entry) = match found {
                    Ok(found) => found,
                    Err(error) => {
                        missed.push((directory.clone(), error));
                        continue;
                    }
                };
                if kind.is_dir() {
                    if wildcards.may_be_in(level, &entry.file_name()) {
                        left.push((level + 1, entry.path()));
                    }
                    continue;
                }
                let path = entry.path();
                if !is_compressed(&path) && wildcards.matcher.is_match(&path) {
                    take(path);
                }
            }
        }
        missed
    }
}

impl fmt::Display for LogGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The globs, and which of them were listed before.
#[derive(Debug)]
pub(crate) struct PathsProvider {
    globs: Vec<LogGlob>,
    from_start: bool,
    /// Globs that were listed before.
    asked: BTreeSet<String>,
    /// Paths that could not be read when their glob was first listed. Their files existed before,
    /// so they are read from their end once that is possible.
    unreadable: BTreeSet<PathBuf>,
    /// Not saved yet.
    added: Vec<String>,
    removed: Vec<String>,
}

/// The result of listing the globs.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The files. `true`: begin at the end, if the file is new.
    pub(crate) found: HashMap<FileId, (Listed, bool)>,
    /// Paths that could not be read.
    pub(crate) failed: Vec<(PathBuf, io::Error)>,
    /// Globs that were listed for the first time.
    pub(crate) first_asked: Vec<String>,
}

impl PathsProvider {
    /// `from_start`: if no glob was listed before, read the files of the first listing from the
    /// beginning.
    pub(crate) fn new(globs: Vec<LogGlob>, from_start: bool, saved: BTreeSet<String>) -> Self {
        Self {
            globs,
            from_start: from_start && saved.is_empty(),
            unreadable: saved
                .iter()
                .filter_map(|text| text.strip_prefix(UNREADABLE).map(PathBuf::from))
                .collect(),
            asked: saved,
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    pub(crate) fn configure(&mut self, globs: Vec<LogGlob>) {
        self.globs = globs;
    }

    /// Whether a glob matches this path.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        self.globs.iter().any(|glob| glob.matches(path))
    }

    /// The directories to watch for changes.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        let all = self.globs.iter();
        all.map(|glob| glob.directory().to_owned()).collect()
    }

    /// Lists all globs. If several paths lead to one file, keeps the path for which `is_known_path`
    /// returns true.
    pub(crate) fn list(&mut self, is_known_path: impl Fn(&Listed) -> bool) -> Listing {
        let mut listing = Listing::default();
        let mut failed_first = Vec::new();
        for glob in &self.globs {
            let first = !self.asked.contains(glob.as_str());
            if first {
                listing.first_asked.push(glob.as_str().to_owned());
            }
            let at_end = first && !self.from_start;
            let Listing { found, failed, .. } = &mut listing;
            let each = |listed: Listed| {
                if is_compressed(&listed.path) {
                    return;
                }
                match found.get_mut(&listed.stat.id) {
                    Some((kept, end)) => {
                        *end &= at_end;
                        if is_known_path(&listed) {
                            *kept = listed;
                        }
                    }
                    None => {
                        found.insert(listed.stat.id, (listed, at_end));
                    }
                }
            };
            glob.list(each, |path, error| {
                if at_end {
                    failed_first.push(path.to_owned());
                }
                failed.push((path.to_owned(), error));
            });
        }
        for path in failed_first {
            self.note_unreadable(path);
        }
        for (listed, at_end) in listing.found.values_mut() {
            *at_end |= self
                .unreadable
                .iter()
                .any(|path| listed.path.starts_with(path));
        }
        // From now on, a path that could be read this time counts as any other.
        let readable: Vec<PathBuf> = self
            .unreadable
            .iter()
            .filter(|path| {
                path.is_dir() && listing.failed.iter().all(|(failed, _)| failed != *path)
            })
            .cloned()
            .collect();
        for path in readable {
            self.note_readable(&path);
        }
        listing
    }

    /// These globs were listed, and their files are followed.
    pub(crate) fn note_asked(&mut self, globs: Vec<String>) {
        self.from_start &= globs.is_empty();
        for glob in globs {
            if self.asked.insert(glob.clone()) {
                self.added.push(glob);
            }
        }
    }

    pub(crate) fn note_unreadable(&mut self, path: PathBuf) {
        if let Some(text) = path.to_str()
            && self.unreadable.insert(path.clone())
        {
            self.added.push(format!("{UNREADABLE}{text}"));
        }
    }

    pub(crate) fn note_readable(&mut self, path: &Path) {
        if self.unreadable.remove(path) {
            self.removed.push(format!("{UNREADABLE}{}", path.display()));
        }
    }

    /// Where files begin must be saved before anything else.
    pub(crate) fn has_changes(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// Texts to add to the saved globs, and texts to remove.
    pub(crate) fn changes(&self) -> (Vec<String>, Vec<String>) {
        (self.added.clone(), self.removed.clone())
    }

    pub(crate) fn committed(&mut self) {
        self.added.clear();
        self.removed.clear();
    }
}

#[cfg(test)]
mod tests;
