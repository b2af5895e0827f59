//! Globs: which files they match, and where in each to begin.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use crate::file::{FileId, Listed, Stat, is_compressed};

/// Maximum depth of directories below the fixed part of a glob.
const MAX_DEPTH: usize = 16;
/// Marks a path among the saved globs that could not be read.
const UNREADABLE: &str = "unreadable:";

/// A glob for paths of logs.
#[derive(Clone, Debug)]
pub struct LogGlob {
    text: String,
    base: PathBuf,
    depth: usize,
    matcher: Option<GlobMatcher>,
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
        let is_glob =
            |part: &std::ffi::OsStr| part.to_string_lossy().contains(['*', '?', '[', '{']);
        let parts: Vec<_> = path.iter().collect();
        let fixed = parts.iter().position(|part| is_glob(part));
        let Some(fixed) = fixed else {
            return Ok(Self {
                text: text.to_owned(),
                base: path,
                depth: 0,
                matcher: None,
            });
        };
        let base: PathBuf = parts[..fixed].iter().collect();
        let deep = parts[fixed..]
            .iter()
            .any(|part| part.to_string_lossy().contains("**"));
        let glob = path
            .to_str()
            .ok_or_else(|| format!("{text:?} is not UTF-8"))?;
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| format!("{text:?} is not a glob: {error}"))?
            .compile_matcher();
        let depth = if deep { MAX_DEPTH } else { parts.len() - fixed };
        Ok(Self {
            text: text.to_owned(),
            base,
            depth,
            matcher: Some(matcher),
        })
    }

    /// The text that was configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The directory to watch for changes.
    pub fn directory(&self) -> &Path {
        match self.matcher {
            Some(_) => &self.base,
            None => self.base.parent().unwrap_or(&self.base),
        }
    }

    /// Whether it matches this path.
    pub fn matches(&self, path: &Path) -> bool {
        match &self.matcher {
            Some(matcher) => matcher.is_match(path),
            None => self.base == path,
        }
    }

    /// Calls `each` for every regular file that matches and is not compressed, and `failed` for
    /// paths that cannot be read. A base directory that does not exist yet is no error.
    pub fn list(&self, mut each: impl FnMut(Listed), mut failed: impl FnMut(&Path, io::Error)) {
        let mut take = |path: PathBuf| match path.metadata() {
            Ok(meta) if meta.is_file() => each(Listed {
                stat: Stat::from(&meta),
                path,
            }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed(&path, error),
        };
        let Some(matcher) = &self.matcher else {
            return take(self.base.clone());
        };
        let mut missed = Vec::new();
        for entry in WalkDir::new(&self.base).min_depth(1).max_depth(self.depth) {
            match entry {
                Ok(entry) => {
                    let path = entry.path();
                    if !entry.file_type().is_dir() && !is_compressed(path) && matcher.is_match(path)
                    {
                        take(entry.into_path());
                    }
                }
                Err(error) => missed.push(error),
            }
        }
        for error in missed {
            let path = error.path().unwrap_or(&self.base).to_owned();
            let gone = error
                .io_error()
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
            if !gone {
                failed(&path, error.into());
            }
        }
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
