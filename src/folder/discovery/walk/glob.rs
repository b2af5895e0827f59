//! The paths that a glob of `--sessions.path` matches.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::super::look::{Child, children, is_gone};
use super::super::source::{GlobPart, PathGlob};
use super::Walk;

/// `**` stands for so many directories, at most.
const MAX_DEEP: usize = 8;

impl Walk<'_> {
    /// The paths that a glob matches, each with what varies.
    pub(super) fn expand(
        &mut self,
        pattern: &PathGlob,
    ) -> io::Result<Vec<(PathBuf, Vec<OsString>)>> {
        let mut paths = vec![(pattern.base.clone(), Vec::new())];
        for step in &pattern.steps {
            let mut next = Vec::new();
            for (path, parts) in paths {
                match step {
                    GlobPart::Fixed(name) => next.push((path.join(name), parts)),
                    GlobPart::Varying(glob) => {
                        for child in self.children(&path, &pattern.base)? {
                            if glob.is_match(Path::new(&child.name)) {
                                let mut parts = parts.clone();
                                parts.push(child.name.clone());
                                next.push((path.join(child.name), parts));
                            }
                        }
                    }
                    GlobPart::Deep => self.deep(path, parts, &pattern.base, &mut next)?,
                }
            }
            paths = next;
        }
        Ok(paths)
    }

    /// A directory and all below it, links not followed.
    fn deep(
        &mut self,
        path: PathBuf,
        parts: Vec<OsString>,
        base: &Path,
        found: &mut Vec<(PathBuf, Vec<OsString>)>,
    ) -> io::Result<()> {
        let mut level = vec![(path, parts)];
        for _ in 0..MAX_DEEP {
            let mut next = Vec::new();
            for (path, parts) in &level {
                for child in self.children(path, base)? {
                    if !child.is_link {
                        let mut parts = parts.clone();
                        parts.push(child.name.clone());
                        next.push((path.join(child.name), parts));
                    }
                }
            }
            found.extend(std::mem::replace(&mut level, next));
        }
        found.extend(level);
        Ok(())
    }

    fn children(&mut self, path: &Path, base: &Path) -> io::Result<Vec<Child>> {
        if self.left == 0 {
            return Ok(Vec::new());
        }
        self.left -= 1;
        let own = path.to_owned();
        let listed = self.round.run(path, move || children(&own));
        match listed.and_then(|listed| listed) {
            Ok(children) => Ok(children),
            Err(error) if path == base => Err(error),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(error) => {
                self.cannot_look(path, &error);
                Ok(Vec::new())
            }
        }
    }
}
