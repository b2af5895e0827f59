//! Which directories are auth folders: decided by what is in them, never by their name.

//!
//! A `--sessions.path` is one auth folder, a root, or a glob over such paths. Two levels of
//! directories below each are looked at, those in an auth folder included. A link is resolved
//! where it is found; from then on its canonical path counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clock::Clock;
use globset::GlobSet;

use super::bounded_blocking::{BoundedBlocking, Round};
use super::scan::FolderPath;
use super::session_name::SessionName;
use super::time::Timestamp;

mod found;
mod look;
mod source;
mod walk;

pub use found::{Found, SkipReason, Skipped, duplicate, explain, few_of_each, is_complete};
pub use source::{SessionsPath, is_of_copies};

use found::Filter;
use look::{DirectoryCache, Looker, is_gone};
use walk::{Candidate, Deeper, Walk, copy_hint};

/// The outcome of one look around.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Auth folders, by name. No two have one name, and no two are one folder.
    pub found: Vec<Found>,
    /// What was left out though it was asked for.
    pub skipped: Vec<Skipped>,
    /// What may be wanted and is not looked at: a sentence each, with the setting that
    /// includes it.
    pub passed_over: Vec<String>,
    /// Auth folders that include or exclude leave out. Filled by [`Discovery::explaining`].
    pub filtered: Vec<PathBuf>,
}

impl Survey {
    /// Whether it could look everywhere: a session that it has not found has no folder.
    pub fn is_complete(&self) -> bool {
        is_complete(&self.skipped)
    }

    /// What is known of a name that several folders have: a sentence. Nothing may be done to
    /// such a session.
    pub fn duplicate(&self, session: &str) -> Option<&str> {
        duplicate(&self.skipped, session)
    }
}

/// Logs what is wrong when it begins and when it ends, not each time it is seen.
#[derive(Clone, Debug, Default)]
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
/// vanishes stays a session for as long as the directory is there, or while the
/// caller of [`Discovery::survey_keeping`] keeps it.
#[derive(Debug)]
pub struct Discovery {
    sources: Vec<SessionsPath>,
    filter: Filter,
    looker: Looker,
    /// The folders that have the names.
    held: BTreeMap<SessionName, FolderPath>,
    /// What the last look into each source found.
    last: Vec<Vec<Candidate>>,
    explains: bool,
    /// What the look that explains found to lie too deep.
    deeper: Vec<Deeper>,
}

impl Discovery {
    /// `include` (all, where `None`) and `exclude` hold for names of sessions and of
    /// directories in a root.
    pub fn new(sources: Vec<SessionsPath>, include: Option<GlobSet>, exclude: GlobSet) -> Self {
        Self {
            last: vec![Vec::new(); sources.len()],
            sources,
            filter: Filter { include, exclude },
            looker: Looker {
                known: Arc::default(),
                own: rustix::process::geteuid().as_raw(),
                cache: None,
            },
            held: BTreeMap::new(),
            explains: false,
            deeper: Vec::new(),
        }
    }

    /// Makes the first look around tell also what lies too deep or is filtered out. It takes
    /// longer.
    #[must_use]
    pub fn explaining(mut self) -> Self {
        self.explains = true;
        self
    }

    /// Makes it keep what is in directories that do not change, for a program that looks
    /// around again and again.
    #[must_use]
    pub fn with_cache(mut self, clock: Clock) -> Self {
        self.looker.cache = Some(DirectoryCache::new(clock));
        self
    }

    /// Takes over what `former` remembers, as after a reload of the configuration: which folders
    /// have the names, which were auth folders, and which paths were no links.
    pub fn remember(&mut self, former: &Self) {
        self.held.clone_from(&former.held);
        self.looker.known = Arc::clone(&former.looker.known);
        for (source, last) in self.sources.iter().zip(&mut self.last) {
            let same = former.sources.iter().position(|other| other == source);
            let found = same.and_then(|at| former.last.get(at));
            let found = found.into_iter().flatten();
            let wanted =
                |one: &&Candidate| one.is_named || self.filter.wants(&[], &one.found.session);
            *last = found.filter(wanted).cloned().collect();
        }
    }

    /// Looks around once. Never fails as a whole: what cannot be looked into is in
    /// [`Survey::skipped`]. What hangs keeps the folders that it had.
    pub fn survey(&mut self) -> Survey {
        self.survey_in(&mut BoundedBlocking::default().round())
    }

    /// The same, as a part of a longer round of looks.
    pub fn survey_in(&mut self, round: &mut Round) -> Survey {
        self.survey_keeping(round, &|_| false)
    }

    /// The same. A session whose directory is missing stays one while `is_kept` says so. If the
    /// directory is made again, the session is known, whatever is in it.
    pub fn survey_keeping(
        &mut self,
        round: &mut Round,
        is_kept: &dyn Fn(&SessionName) -> bool,
    ) -> Survey {
        let mut survey = Survey::default();
        let mut gone: Vec<(usize, Candidate)> = Vec::new();
        let mut passed_over = Vec::new();
        let explains = std::mem::take(&mut self.explains);
        for (index, (source, last)) in self.sources.iter().zip(&mut self.last).enumerate() {
            let walk = Walk::new(round, &self.looker, &self.filter, last, explains);
            let walked = walk.walk(source);
            // A missing root is reported once, and not for each of its sessions.
            let is_unseen = is_unseen(&walked.skipped);
            let may_stay = |one: &Candidate| !is_unseen || is_source(source, &one.route);
            if walked.candidates != *last {
                let here: BTreeSet<&Path> = walked
                    .candidates
                    .iter()
                    .map(|one| one.route.as_path())
                    .collect();
                let missing = last
                    .iter()
                    .filter(|one| !here.contains(one.route.as_path()));
                let kept = missing.filter(|one| may_stay(one) && is_kept(&one.found.session));
                gone.extend(kept.map(|one| (index, one.clone())));
            }
            survey.skipped.extend(walked.skipped);
            survey.filtered.extend(walked.filtered);
            self.deeper.extend(walked.deeper);
            passed_over.extend(walked.passed_over);
            *last = walked.candidates;
        }
        self.keep(gone, round);
        let all = || self.last.iter().flatten();
        let known = all().map(|one| one.found.place.clone()).collect();
        let named: BTreeSet<&FolderPath> = all()
            .filter(|one| one.is_named)
            .map(|one| &one.found.place)
            .collect();
        // A folder that was named is not passed over.
        let is_named =
            |place: &Option<FolderPath>| place.as_ref().is_some_and(|p| named.contains(p));
        survey.skipped.retain(|skipped| !is_named(&skipped.place));
        passed_over.retain(|(place, _)| !is_named(place));
        survey.passed_over = passed_over
            .into_iter()
            .map(|(_, message)| message)
            .collect();
        let places: BTreeSet<&FolderPath> = all().map(|one| &one.found.place).collect();
        let deeper = self.deeper.iter();
        let deeper = deeper.filter(|deeper| !places.contains(&deeper.place));
        survey.passed_over.extend(deeper_hints(deeper));
        survey
            .filtered
            .retain(|path| all().all(|one| one.found.place.path() != *path));
        let candidates = all().cloned().collect();
        let (found, duplicates) = settle(candidates, &self.held, |place| born(place, round));
        survey.skipped.extend(duplicates);
        self.held = found
            .iter()
            .map(|found| (found.session.clone(), found.place.clone()))
            .collect();
        survey.found = found;
        if let Some(cache) = &self.looker.cache {
            cache.evict_unused();
        }
        self.looker.known = Arc::new(known);
        survey
    }

    /// Keeps the sessions whose directory is missing. If the session was found elsewhere, or its
    /// directory is there, the walk left it out for a reason.
    fn keep(&mut self, gone: Vec<(usize, Candidate)>, round: &mut Round) {
        for (index, one) in gone {
            let Found { session, place } = &one.found;
            let is_same =
                |other: &Candidate| other.found.session == *session || other.found.place == *place;
            let own = place.clone();
            let opened = round.run(&place.path(), move || own.open().map(drop));
            let is_missing = matches!(opened, Ok(Err(error)) if is_gone(&error));
            if is_missing
                && !self.last.iter().flatten().any(is_same)
                && let Some(last) = self.last.get_mut(index)
            {
                last.push(one);
            }
        }
    }
}

/// Whether a source could not be looked into as a whole.
fn is_unseen(skipped: &[Skipped]) -> bool {
    skipped
        .iter()
        .any(|one| one.reason == SkipReason::SourceUnreadable)
}

/// Whether the folder on this route is the source itself.
fn is_source(source: &SessionsPath, route: &Path) -> bool {
    std::path::absolute(&source.path).is_ok_and(|path| path == route)
}

/// Gives each folder one name and each name one folder; pure but for `born`, the time at which
/// a directory was made. The order of preference: what the operator named, what had the name
/// before, a folder found without a link; of two of one name the older; the first in order.
fn settle(
    candidates: Vec<Candidate>,
    held: &BTreeMap<SessionName, FolderPath>,
    mut born: impl FnMut(&FolderPath) -> Option<Timestamp>,
) -> (Vec<Found>, Vec<Skipped>) {
    let is_held = |one: &Candidate| held.get(&one.found.session) == Some(&one.found.place);
    let mut skipped = Vec::new();
    let mut by_place: BTreeMap<FolderPath, Vec<Candidate>> = BTreeMap::new();
    for one in candidates {
        by_place
            .entry(one.found.place.clone())
            .or_default()
            .push(one);
    }
    let mut by_name: BTreeMap<SessionName, Vec<Candidate>> = BTreeMap::new();
    for (_, mut same) in by_place {
        same.sort_by_key(|one| (!one.is_named, !is_held(one), one.links));
        let mut same = same.into_iter();
        let Some(first) = same.next() else { continue };
        for other in same {
            if other.is_named && other.found.session != first.found.session {
                skipped.push(Skipped {
                    reason: SkipReason::DuplicateName,
                    message: second_name_hint(&first.found, &other.found),
                    session: Some(other.found.session),
                    place: None,
                });
            }
        }
        by_name
            .entry(first.found.session.clone())
            .or_default()
            .push(first);
    }
    let mut found = Vec::new();
    for (session, mut same) in by_name {
        if same.len() > 1 {
            same.sort_by_cached_key(|one| {
                let born = born(&one.found.place);
                (!one.is_named, !is_held(one), born.is_none(), born)
            });
        }
        let mut same = same.into_iter();
        let Some(first) = same.next() else { continue };
        for other in same {
            skipped.push(Skipped {
                reason: SkipReason::DuplicateName,
                message: duplicate_hint(&session, &first.found.place, &other.found.place),
                session: Some(session.clone()),
                place: None,
            });
        }
        found.push(first.found);
    }
    (found, skipped)
}

/// When a directory was made, where its file system knows.
fn born(place: &FolderPath, round: &mut Round) -> Option<Timestamp> {
    let own = place.clone();
    let made = round.run(&place.path(), move || {
        let fd = own.open().ok()?;
        std::fs::File::from(fd).metadata().ok()?.created().ok()
    });
    made.ok().flatten().map(Timestamp::from)
}

fn duplicate_hint(session: &SessionName, first: &FolderPath, second: &FolderPath) -> String {
    let (first, second) = (first.path(), second.path());
    let (first, second) = (first.display(), second.display());
    format!(
        "two auth folders are called {session}: {first} is watched, {second} is not, and neither is cleaned; name one of them yourself: --sessions.path=NAME={second}"
    )
}

/// A sentence for each copy, and one for each glob.
fn deeper_hints<'a>(deeper: impl Iterator<Item = &'a Deeper>) -> Vec<String> {
    let mut hints = Vec::new();
    let mut by_glob: BTreeMap<&Path, Vec<&FolderPath>> = BTreeMap::new();
    for Deeper { place, glob } in deeper {
        match glob {
            Some(glob) => by_glob.entry(glob).or_default().push(place),
            None => hints.push(copy_hint(place)),
        }
    }
    for (glob, places) in by_glob {
        let [first, ..] = places.as_slice() else {
            continue;
        };
        hints.push(format!(
            "auth folders more than two levels below a --sessions.path are passed over: {}, such as {}; to include them add --sessions.path={} (in quotes)",
            places.len(),
            first.path().display(),
            glob.display()
        ));
    }
    hints
}

fn second_name_hint(first: &Found, other: &Found) -> String {
    format!(
        "{} and {} are one auth folder, {}; it is watched as {}: remove one of the two --sessions.path=NAME=PATH",
        first.session,
        other.session,
        first.place.path().display(),
        first.session
    )
}

#[cfg(test)]
mod tests;
