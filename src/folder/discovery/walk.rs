//! From one `--sessions.path` to auth folders: the paths that a glob matches, and two levels
//! of directories below each.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::folder::SessionName;
use crate::folder::bounded_blocking::Round;
use crate::folder::scan::FolderPath;

use super::found::{Filter, Found, SkipReason, Skipped, explain};
use super::look::{
    Above, Child, Depth, Fault, Inspected, Looker, NamedFault, Nature, place_without_a_look,
};
use super::source::{PathGlob, SessionsPath, is_of_copies, is_plain, name_of};

mod glob;
mod left_out;

pub(super) use left_out::copy_hint;

/// Directories that are looked at for one path, at most.
const MAX_DIRECTORIES: usize = 20_000;
/// After so many directories of one that time out the others of it are not looked at.
const MAX_LATE: usize = 64;

/// An auth folder, and the path that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) found: Found,
    /// The path as it was walked.
    pub(super) route: PathBuf,
    /// The path is a link itself, or nothing was there yet.
    pub(super) is_link: bool,
    /// Directories of the walk that are links.
    pub(super) links: usize,
    /// The operator named the folder.
    pub(super) is_named: bool,
}

/// What one walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) candidates: Vec<Candidate>,
    pub(super) skipped: Vec<Skipped>,
    /// A sentence for each thing passed over, with the place if it is one auth folder.
    pub(super) passed_over: Vec<(Option<FolderPath>, String)>,
    /// Auth folders below the second level; filled if it is to be explained.
    pub(super) deeper: Vec<Deeper>,
    /// Auth folders that include or exclude leave out; filled if it is to be explained.
    pub(super) filtered: Vec<PathBuf>,
}

/// An auth folder below the second level.
#[derive(Clone, Debug)]
pub(super) struct Deeper {
    pub(super) place: FolderPath,
    /// The glob that would include it; `None` for a copy.
    pub(super) glob: Option<PathBuf>,
}

/// One walk.
pub(super) struct Walk<'a> {
    pub(super) round: &'a mut Round,
    pub(super) looker: &'a Looker,
    pub(super) filter: &'a Filter,
    /// What the walk before found.
    pub(super) last: &'a [Candidate],
    /// Places of `last`, by route.
    last_by_route: HashMap<&'a Path, Vec<usize>>,
    /// Also look for what is passed over.
    pub(super) explains: bool,
    walked: Walked,
    left: usize,
    /// Links on the way to the directories that are looked at now.
    links: usize,
    /// As `left`, for what is looked at only to explain.
    left_to_explain: usize,
    /// Paths that could not be looked at: what was found there before is still there.
    failed: Vec<PathBuf>,
    /// Directories that may hold auth folders and cannot be looked at: how many, and the first.
    unclear: Option<(usize, String)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        round: &'a mut Round,
        looker: &'a Looker,
        filter: &'a Filter,
        last: &'a [Candidate],
        explains: bool,
    ) -> Self {
        Self {
            round,
            looker,
            filter,
            last,
            last_by_route: by_route(last),
            explains,
            walked: Walked::default(),
            left: MAX_DIRECTORIES,
            links: 0,
            left_to_explain: MAX_DIRECTORIES,
            failed: Vec::new(),
            unclear: None,
        }
    }

    /// Walks. Blocks, for as long as a [`Round`] does.
    pub(super) fn walk(mut self, source: &SessionsPath) -> Walked {
        let walked = match &source.name {
            Some(session) => self.named(session, &source.path),
            None => self.unnamed(&source.path),
        };
        if let Err(error) = walked {
            if error.kind() == io::ErrorKind::TimedOut {
                self.failed.push(PathBuf::from("/"));
            }
            let path = source.path.display();
            let message = format!("cannot look into {path}: {}", explain(&error));
            self.skip(SkipReason::SourceUnreadable, message, None);
        }
        if self.left == 0 {
            self.failed.push(PathBuf::from("/"));
            let message = format!(
                "{}: more than {MAX_DIRECTORIES} directories; the others are not looked at; give a narrower --sessions.path, such as a glob",
                source.path.display()
            );
            self.skip(SkipReason::TooManyDirectories, message, None);
        }
        self.keep_what_was_there();
        if let Some((count, first)) = self.unclear.take() {
            let message = format!(
                "{}: directories that cannot be looked into, and may be auth folders: {count}; let this program's user read them, or leave them out with `exclude`; the first: {first}",
                source.path.display()
            );
            self.skip(SkipReason::DirectoryUnreadable, message, None);
        }
        self.walked
    }

    fn named(&mut self, session: &SessionName, path: &Path) -> io::Result<()> {
        // A named folder is a session from the start, even before it is there.
        let (own, looker) = (path.to_owned(), self.looker.clone());
        let (place, is_link) = match self.round.run(path, move || looker.named(&own)) {
            Ok(Ok(found)) => found,
            Ok(Err(NamedFault::Root)) => {
                return Err(io::Error::other(format!(
                    "it holds auth folders and is none itself; give it without `{session}=`"
                )));
            }
            Ok(Err(NamedFault::Fault(Fault::Refused { owner, target }))) => {
                self.refuse(path, owner, &target);
                return Ok(());
            }
            Ok(Err(NamedFault::Fault(Fault::Io(error)))) => return Err(error),
            Ok(Err(NamedFault::Fault(Fault::Gone))) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            // And while it hangs; the look at the folder tells why.
            Err(_) => match self.last.first() {
                Some(last) => (last.found.place.clone(), last.is_link),
                None => (place_without_a_look(path)?, true),
            },
        };
        self.add(path, session.clone(), place, is_link, true);
        Ok(())
    }

    fn unnamed(&mut self, path: &Path) -> io::Result<()> {
        let pattern = PathGlob::of(path).map_err(io::Error::other)?;
        let own = path.to_owned();
        let pattern = match pattern {
            // A directory of that very name is no glob.
            Some(_) if self.round.run(path, move || own.exists())? => None,
            pattern => pattern,
        };
        let Some(pattern) = pattern else {
            let route = std::path::absolute(path)?;
            return match self.inspect(&route, Depth::Root)? {
                Err(Fault::Gone) => Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "there is no such directory",
                )),
                Err(Fault::Io(error)) => Err(error),
                Err(Fault::Refused { owner, target }) => {
                    self.refuse(&route, owner, &target);
                    Ok(())
                }
                Ok(Inspected {
                    nature: Nature::Unsure(error),
                    ..
                }) => Err(error),
                Ok(Inspected {
                    nature: Nature::Quarantine,
                    ..
                }) => Err(io::Error::other("this is a quarantine, not an auth folder")),
                Ok(root) => {
                    // Behind a `..` the path does not tell the name.
                    let place = root.place.path();
                    let route = route.file_name().map_or(&place, |_| &route);
                    self.root(route, &[], root);
                    Ok(())
                }
            };
        };
        let is_excluded = |(_, parts): &(PathBuf, Vec<OsString>)| {
            parts.iter().any(|part| self.filter.excludes(part))
        };
        let (excluded, wanted): (Vec<_>, Vec<_>) =
            self.expand(&pattern)?.into_iter().partition(is_excluded);
        for (route, _) in &excluded {
            self.note_excluded(route);
        }
        let mut matches = excluded.len();
        let routes = wanted.iter().map(|(route, _)| route.clone()).collect();
        let looked = self.inspect_all(routes, Depth::Root, Above::Any);
        for ((route, parts), inspected) in wanted.into_iter().zip(looked) {
            matches += usize::from(!matches!(inspected, Ok(Err(Fault::Gone))));
            if let Some(root) = self.certain(&route, inspected, &parts, false) {
                self.root(&route, &parts, root);
            }
        }
        if matches == 0 && self.failed.is_empty() {
            let path = path.display();
            let message = format!("no directory matches {path}; it will be looked for again");
            self.skip(SkipReason::NothingMatched, message, None);
        }
        Ok(())
    }

    /// A path that was given, or that a glob matches: an auth folder, a root, or both.
    fn root(&mut self, route: &Path, parts: &[OsString], root: Inspected) {
        let is_folder = matches!(root.nature, Nature::Folder);
        if is_folder {
            let session = called(route, parts, false);
            if parts.is_empty() || self.wants(parts, &session, &root.place) {
                self.add(route, session, root.place.clone(), root.is_link, false);
            }
        }
        let inside = root.place.path();
        self.links = usize::from(root.is_link);
        let is_excluded = |child: &Child| self.filter.excludes(&child.name);
        let (excluded, children): (Vec<_>, Vec<_>) =
            root.children.into_iter().partition(is_excluded);
        for child in excluded {
            self.note_excluded(&inside.join(child.name));
        }
        let depth = if is_folder {
            Depth::Children
        } else {
            Depth::Root
        };
        let routes = children.iter().map(|c| inside.join(&c.name)).collect();
        let looked = self.inspect_all(routes, depth, Above::Canonical);
        let mut below = Vec::new();
        for (child, inspected) in children.into_iter().zip(looked) {
            let mut parts = parts.to_vec();
            parts.push(child.name.clone());
            below.extend(self.first_level(&inside, &child, inspected, parts, is_folder));
        }
        // One with very many directories, such as uploads, comes last: it may use up the limit.
        below.sort_by_key(|(found, _)| found.children.len());
        for (found, parts) in below {
            let is_folder = matches!(found.nature, Nature::Folder);
            self.links = usize::from(root.is_link) + usize::from(found.is_link);
            self.second_level(&found.place.path(), found.children, &parts, is_folder);
        }
        self.links = 0;
    }

    /// What was found of a directory of a root; `None`: what is in it is not looked at.
    fn first_level(
        &mut self,
        above: &Path,
        child: &Child,
        inspected: io::Result<Result<Inspected, Fault>>,
        parts: Vec<OsString>,
        inside: bool,
    ) -> Option<(Inspected, Vec<OsString>)> {
        let route = above.join(&child.name);
        // Without an answer it cannot be called something else.
        let found = self.certain(&route, inspected, &parts, child.is_link)?;
        match found.nature {
            Nature::Folder => {
                if inside && is_of_copies(&child.name) && !self.is_known(&found.place) {
                    self.pass_over_copy(&found.place);
                    return None;
                }
                let session = name_of(&parts, inside);
                if self.wants(&parts, &session, &found.place) {
                    self.add(&route, session, found.place.clone(), found.is_link, false);
                }
            }
            Nature::Other => {}
            Nature::Quarantine | Nature::Unsure(_) => return None,
        }
        Some((found, parts))
    }

    fn second_level(
        &mut self,
        above: &Path,
        children: Vec<Child>,
        parts: &[OsString],
        inside: bool,
    ) {
        let is_excluded = |child: &Child| self.filter.excludes(&child.name);
        let (excluded, mut children): (Vec<_>, Vec<_>) =
            children.into_iter().partition(is_excluded);
        for child in excluded {
            self.note_excluded(&above.join(child.name));
        }
        children.truncate(self.left);
        self.left -= children.len();
        if children.is_empty() {
            return;
        }
        let looker = self.looker.clone();
        let routes: Vec<PathBuf> = children.iter().map(|c| above.join(&c.name)).collect();
        let all = routes.clone();
        // A name of its own: if one of them hangs, the directory itself can still be looked at.
        let looked = self.round.run(&above.join("*"), move || {
            let look = |route: &PathBuf| looker.at(route, Depth::Itself, Above::Canonical);
            all.iter().map(look).collect::<Vec<_>>()
        });
        let looked: Vec<io::Result<Result<Inspected, Fault>>> = match looked {
            Ok(looked) => looked.into_iter().map(Ok).collect(),
            Err(_) => self.one_by_one(&routes),
        };
        if looked.len() < routes.len() {
            self.failed.push(above.to_owned());
            let message = format!(
                "{}: {} directories in it are not looked at, because {MAX_LATE} others time out; their file system may hang",
                above.display(),
                routes.len() - looked.len()
            );
            self.skip(SkipReason::SourceUnreadable, message, None);
        }
        for ((child, route), inspected) in children.into_iter().zip(routes).zip(looked) {
            let mut parts = parts.to_vec();
            parts.push(child.name.clone());
            self.at_second_level(&route, &parts, inspected, inside);
        }
    }

    /// Looks at directories until too many of them time out: there may be fewer answers.
    fn one_by_one(&mut self, routes: &[PathBuf]) -> Vec<io::Result<Result<Inspected, Fault>>> {
        let mut late = 0;
        let looked = routes.iter().map_while(|route| {
            let (looker, own) = (self.looker.clone(), route.clone());
            let look = move || looker.at(&own, Depth::Itself, Above::Canonical);
            let looked = (late < MAX_LATE).then(|| self.round.run(route, look));
            late += usize::from(matches!(looked, Some(Err(_))));
            looked
        });
        looked.collect()
    }

    fn at_second_level(
        &mut self,
        route: &Path,
        parts: &[OsString],
        inspected: io::Result<Result<Inspected, Fault>>,
        inside: bool,
    ) {
        let session = name_of(parts, inside);
        let (place, is_link) = match inspected {
            Ok(Ok(found)) => match found.nature {
                Nature::Folder => (found.place, found.is_link),
                Nature::Unsure(error) => return self.unsure_below(route, session, parts, &error),
                Nature::Other => return self.look_deeper(route, false),
                Nature::Quarantine => return,
            },
            Ok(Err(Fault::Gone)) => return,
            Ok(Err(Fault::Refused { owner, target })) => {
                return self.refuse(route, owner, &target);
            }
            Ok(Err(Fault::Io(error))) | Err(error) => {
                return self.unsure_below(route, session, parts, &error);
            }
        };
        let mut below = parts.iter().rev().take(2);
        if below.any(|part| is_of_copies(part)) && !self.is_known(&place) {
            return self.pass_over_copy(&place);
        }
        if self.wants(parts, &session, &place) {
            self.add(route, session, place, is_link, false);
            self.look_deeper(route, true);
        }
    }

    /// A directory at the second level that cannot be looked at: its name decides whether it
    /// may be an auth folder.
    fn unsure_below(
        &mut self,
        route: &Path,
        session: SessionName,
        parts: &[OsString],
        error: &io::Error,
    ) {
        self.failed.push(route.to_owned());
        if self.last_at(route).next().is_some() {
            return;
        }
        match place_without_a_look(route) {
            Ok(place) if parts.last().is_some_and(|name| is_plain(name)) => {
                if self.wants(parts, &session, &place) {
                    self.add(route, session, place, false, false);
                }
            }
            _ => self.cannot_look(route, error),
        }
    }

    /// What could be looked at; the rest is kept, reported, or taken for what it may be.
    fn certain(
        &mut self,
        route: &Path,
        inspected: io::Result<Result<Inspected, Fault>>,
        parts: &[OsString],
        is_link: bool,
    ) -> Option<Inspected> {
        let (place, error) = match inspected {
            Ok(Ok(Inspected {
                nature: Nature::Unsure(error),
                place,
                ..
            })) => (Some(place), error),
            Ok(Ok(found)) => return Some(found),
            Ok(Err(Fault::Gone)) => return None,
            Ok(Err(Fault::Refused { owner, target })) => {
                self.refuse(route, owner, &target);
                return None;
            }
            Ok(Err(Fault::Io(error))) => (None, error),
            Err(error) => (None, error),
        };
        self.failed.push(route.to_owned());
        let was_there = self.last.iter().any(|last| last.route.starts_with(route));
        let is_over = self.left == 0;
        if was_there || is_over {
            return None;
        }
        match place.or_else(|| place_without_a_look(route).ok()) {
            Some(place) if !is_link => {
                let session = called(route, parts, false);
                if self.wants(parts, &session, &place) {
                    self.add(route, session, place, false, false);
                }
            }
            _ => self.cannot_look(route, &error),
        }
        None
    }

    /// Adds an auth folder. One that was a directory and is a link now stays where it was: it
    /// must not become another folder while the program runs.
    fn add(
        &mut self,
        route: &Path,
        mut session: SessionName,
        mut place: FolderPath,
        mut is_link: bool,
        is_named: bool,
    ) {
        let before = self.last_at(route).next();
        if let Some(before) = before
            && is_link
            && !before.is_link
        {
            place = before.found.place.clone();
            is_link = false;
            let message = format!(
                "{} was a directory and is a link now; it is not followed before a restart",
                route.display()
            );
            self.walked.passed_over.push((None, message));
        }
        // Nor is it called something else because the directory above became an auth folder.
        let is_here = |last: &&Candidate| last.found.place == place;
        let names = || {
            self.last_at(route)
                .filter(is_here)
                .map(|l| &l.found.session)
        };
        if let Some(first) = names().next()
            && names().all(|name| *name != session)
        {
            session = first.clone();
        }
        self.walked.candidates.push(Candidate {
            found: Found { session, place },
            route: route.to_owned(),
            links: self.links + usize::from(is_link),
            is_link,
            is_named,
        });
    }

    /// [`Walk::inspect`] for many directories.
    fn inspect_all(
        &mut self,
        routes: Vec<PathBuf>,
        depth: Depth,
        above: Above,
    ) -> Vec<io::Result<Result<Inspected, Fault>>> {
        let count = routes.len();
        let within = count.min(self.left);
        self.left -= within;
        let items = routes.into_iter().take(within);
        let looker = self.looker.clone();
        let mut looked = self.round.run_all(
            items.map(|route| (route.clone(), route)),
            move |route: PathBuf| looker.at(&route, depth, above),
        );
        looked.resize_with(count, || Err(io::Error::other("too many directories")));
        looked
    }

    fn inspect(&mut self, route: &Path, depth: Depth) -> io::Result<Result<Inspected, Fault>> {
        if self.left == 0 {
            return Err(io::Error::other("too many directories"));
        }
        self.left -= 1;
        let (looker, own) = (self.looker.clone(), route.to_owned());
        self.round
            .run(route, move || looker.at(&own, depth, Above::Any))
    }

    /// What the walk before found at a route.
    fn last_at(&self, route: &Path) -> impl Iterator<Item = &'a Candidate> + use<'a, '_> {
        let last = self.last;
        let at = self.last_by_route.get(route).into_iter().flatten();
        at.filter_map(move |index| last.get(*index))
    }

    fn is_known(&self, place: &FolderPath) -> bool {
        self.looker.known.contains(place)
    }

    fn keep_what_was_there(&mut self) {
        for last in self.last {
            let is_here = |found: &Candidate| found.route == last.route;
            let cannot_tell = self.failed.iter().any(|path| last.route.starts_with(path));
            if cannot_tell && !self.walked.candidates.iter().any(is_here) {
                self.walked.candidates.push(last.clone());
            }
        }
    }
}

fn by_route(candidates: &[Candidate]) -> HashMap<&Path, Vec<usize>> {
    let mut by_route: HashMap<&Path, Vec<usize>> = HashMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        by_route.entry(&candidate.route).or_default().push(index);
    }
    by_route
}

/// As [`name_of`]; a path that was given is called as its directory.
fn called(route: &Path, parts: &[OsString], is_inside_another: bool) -> SessionName {
    match (parts, route.file_name()) {
        ([], Some(name)) => SessionName::from_dir(name),
        ([], None) => SessionName::from_text("/"),
        _ => name_of(parts, is_inside_another),
    }
}
