//! The sessions that one process may run together: those that are watched or declared, and the auth
//! folders beside and inside the watched ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;

use crate::folder::discovery::Discovery;
use crate::folder::scan::QUARANTINE_DIR;
use crate::folder::{SessionName, SessionsPath, Timestamp};
use crate::logs::session_mapper::SessionMapper;
use crate::logs::sessions::{KnownSessions, SessionMemory};

/// Maximum number of directories beside the watched ones that are read.
const MOST_DIRECTORIES: usize = 2_000;
/// Maximum number of watched folders that are searched for sub-bots, in addition to discovery.
const MOST_FOLDERS: usize = 64;
/// A connect writes creds.json. A log that ended longer than this before that no longer belongs to
/// the bot.
const STALE_AFTER: Duration = Duration::from_secs(3_600);
/// A bot whose creds.json is older than this was not connected.
const DORMANT_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// The sessions of this host.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// For the rules that find the session of a log. Every directory beside an auth folder counts:
    /// if a single folder is configured, the ones around it are bots as well.
    pub(super) known: KnownSessions,
    /// The bots, with the time of their creds.json if they have a folder.
    bots: BTreeMap<Arc<str>, Option<PathBuf>>,
}

impl Neighbours {
    /// Reads the directories. Blocks.
    pub(super) fn look(discovery: &mut Discovery, mapper: &SessionMapper) -> Self {
        let survey = discovery.survey();
        let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut bots = BTreeMap::new();
        let declared = mapper.declared();
        for name in &declared.names {
            names.insert(Arc::clone(name));
            if !mapper.is_default(name) {
                bots.insert(Arc::clone(name), None);
            }
        }
        let folders: BTreeSet<PathBuf> = survey.found.iter().map(|one| one.place.path()).collect();
        let mut parents: BTreeSet<&Path> = BTreeSet::new();
        for found in &survey.found {
            let name: Arc<str> = Arc::from(found.session.as_str());
            names.insert(Arc::clone(&name));
            bots.insert(name, Some(found.place.path().join("creds.json")));
            parents.insert(&found.place.parent);
        }
        let mut left = MOST_DIRECTORIES;
        let add = |bots: &mut BTreeMap<Arc<str>, Option<PathBuf>>, dirs: &[&OsStr], dir: &Path| {
            let creds = dir.join("creds.json");
            if !folders.contains(dir) && creds.symlink_metadata().is_ok() {
                let name = SessionName::from_dirs(dirs.iter().copied());
                bots.entry(Arc::from(name.as_str())).or_insert(Some(creds));
            }
        };
        for parent in parents {
            for beside in directories(parent, &mut left) {
                let Some(name) = beside.file_name() else {
                    continue;
                };
                names.insert(Arc::from(SessionName::from_dir(name).as_str()));
                add(&mut bots, &[name], &beside);
                // Discovery normally has searched these already.
                if folders.contains(&beside) && folders.len() > MOST_FOLDERS
                    || name == "node_modules"
                    || name.as_encoded_bytes().starts_with(b".")
                {
                    continue;
                }
                for inside in directories(&beside, &mut left) {
                    if let Some(last) = inside.file_name() {
                        add(&mut bots, &[name, last], &inside);
                    }
                }
            }
        }
        names.extend(bots.keys().cloned());
        let memory =
            SessionMemory::from_saved(names.into_iter().map(|name| (name, None)).collect());
        Self {
            known: KnownSessions::new(&memory, declared),
            bots,
        }
    }

    /// The first other session without a log that was not dormant at `at`, when the log of
    /// `session` was written. `log_of` returns when the newest log that tells of its own connection
    /// was written.
    pub(super) fn without_a_log(
        &self,
        session: &str,
        at: Timestamp,
        log_of: impl Fn(&str) -> Option<Timestamp>,
    ) -> Option<&str> {
        let mut others = self.bots.iter().filter(|(name, _)| ***name != *session);
        let (name, _) = others.find(|(name, creds)| {
            let creds = creds
                .as_ref()
                .and_then(|creds| creds.symlink_metadata().ok());
            let creds = creds
                .and_then(|creds| creds.modified().ok())
                .map(Timestamp::from);
            match log_of(name) {
                None => creds.is_none_or(|creds| creds >= at.minus(DORMANT_AFTER)),
                Some(written) => creds.is_some_and(|creds| creds > written.plus(STALE_AFTER)),
            }
        })?;
        Some(name)
    }
}

/// The directories in a directory, without quarantines.
fn directories(parent: &Path, left: &mut usize) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_dir || entry.file_name() == QUARANTINE_DIR {
            continue;
        }
        if *left == 0 {
            break;
        }
        *left -= 1;
        found.push(entry.path());
    }
    found.sort();
    found
}

/// A [`Discovery`] without a filter, because sessions left out of the metrics have logs too.
pub(super) fn discovery(sources: Vec<SessionsPath>) -> Discovery {
    Discovery::new(sources, None, GlobSet::empty())
}

#[cfg(test)]
mod tests;
