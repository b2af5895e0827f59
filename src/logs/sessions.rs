//! The sessions for which lines are counted: those with a folder, those that had one within 30
//! days, and those that the configuration declares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;

use crate::folder::Timestamp;

/// How long lines count for a session after its folder is gone: many bots delete the folder at the
/// moment when the log says `device_removed`.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// How long the name of a session is kept after that, so that a log named after it is not assigned
/// to another session.
const NAME_KEPT_FOR: Duration = Duration::from_secs(365 * 86_400);

/// The result of a listing of the folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsSeen {
    /// When it was made.
    pub at: Timestamp,
    /// The names of the folders that were found.
    pub found: BTreeSet<Arc<str>>,
    /// Every root could be read, so a folder that was not found is gone.
    pub complete: bool,
    /// There are auth folders beside the found ones that are not watched.
    pub others: bool,
}

/// The folders that were seen, each with the time since when it is gone.
#[derive(Clone, Debug, Default)]
pub struct SessionMemory {
    sessions: BTreeMap<Arc<str>, Option<Timestamp>>,
    /// When the last listing was made.
    at: Timestamp,
    others: bool,
    changed: BTreeSet<Arc<str>>,
}

/// What is saved for one session: `None` deletes it, otherwise the time since when its folder is
/// gone.
pub type SavedSession = Option<Option<Timestamp>>;

impl SessionMemory {
    /// Loads the saved folders.
    pub fn from_saved(sessions: BTreeMap<Arc<str>, Option<Timestamp>>) -> Self {
        Self {
            sessions,
            ..Self::default()
        }
    }

    /// Adds the result of a listing. If it could not read every root, no folder counts as gone.
    /// Returns whether the known sessions have changed.
    pub fn see(&mut self, seen: &SessionsSeen) -> bool {
        let sizes = |this: &Self| (this.names().count(), this.sessions.len(), this.others);
        let is_known = |name: &Arc<str>| self.names().any(|known| known == name);
        let is_new = seen.found.iter().any(|name| match self.sessions.get(name) {
            Some(None) => false,
            Some(Some(_)) => !is_known(name),
            None => true,
        });
        let before = sizes(self);
        self.at = seen.at;
        self.others = seen.others;
        for name in &seen.found {
            let known = self.sessions.insert(Arc::clone(name), None);
            if known != Some(None) {
                self.changed.insert(Arc::clone(name));
            }
        }
        for (name, gone) in &mut self.sessions {
            if seen.complete && gone.is_none() && !seen.found.contains(name) {
                *gone = Some(seen.at);
                self.changed.insert(Arc::clone(name));
            }
        }
        let (sessions, changed) = (&mut self.sessions, &mut self.changed);
        sessions.retain(|name, gone| {
            let keep = gone.is_none_or(|since| since.until(seen.at) <= NAME_KEPT_FOR);
            if !keep {
                changed.insert(Arc::clone(name));
            }
            keep
        });
        is_new || before != sizes(self)
    }

    /// The sessions that have a folder or had one within [`REMEMBERED_FOR`].
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let all = self.sessions.iter();
        all.filter(|(_, gone)| self.is_recent(**gone))
            .map(|(name, _)| name)
    }

    /// The sessions that had a folder before.
    pub fn former(&self) -> impl Iterator<Item = &Arc<str>> {
        let all = self.sessions.iter();
        all.filter(|(_, gone)| !self.is_recent(**gone))
            .map(|(name, _)| name)
    }

    fn is_recent(&self, gone: Option<Timestamp>) -> bool {
        gone.is_none_or(|since| since.until(self.at) <= REMEMBERED_FOR)
    }

    /// What is not saved yet.
    pub fn changes(&self) -> impl Iterator<Item = (&str, SavedSession)> {
        self.changed
            .iter()
            .map(|name| (&**name, self.sessions.get(name).copied()))
    }

    /// Whether something is not saved yet.
    pub fn is_dirty(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The changes were saved.
    pub fn committed(&mut self) {
        self.changed.clear();
    }
}

/// The sessions that the configuration declares.
#[derive(Clone, Debug, Default)]
pub struct DeclaredSessions {
    /// By their names.
    pub names: BTreeSet<Arc<str>>,
    /// By globs for names.
    pub globs: GlobSet,
}

/// The sessions for which lines are counted.
#[derive(Clone, Debug, Default)]
pub struct KnownSessions {
    names: BTreeSet<Arc<str>>,
    globs: GlobSet,
    /// pm2's names for them in the names of logs; `None` if two have the same.
    by_pm2: BTreeMap<String, Option<Arc<str>>>,
    /// A bot's name for a session whose folder has a longer name.
    by_bot: BTreeMap<String, Option<Arc<str>>>,
    others: bool,
    /// Those that had a folder before.
    former: Option<Arc<KnownSessions>>,
}

impl KnownSessions {
    /// The remembered and the declared sessions.
    pub fn new(memory: &SessionMemory, declared: &DeclaredSessions) -> Self {
        let names = memory.names().chain(&declared.names).cloned();
        Self {
            globs: declared.globs.clone(),
            others: memory.others,
            former: Some(Arc::new(Self::of(memory.former().cloned()))),
            ..Self::of(names)
        }
    }

    /// These sessions.
    pub fn of(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let names: BTreeSet<Arc<str>> = names.into_iter().collect();
        let (mut by_pm2, mut by_bot) = (BTreeMap::new(), BTreeMap::new());
        let add = |map: &mut BTreeMap<String, Option<Arc<str>>>, alias: String, name: &Arc<str>| {
            map.entry(alias)
                .and_modify(|known| *known = None)
                .or_insert_with(|| Some(Arc::clone(name)));
        };
        for name in &names {
            add(&mut by_pm2, pm2_name(name), name);
            if let Some(alias) = bot_name(name) {
                add(&mut by_bot, alias.to_owned(), name);
            }
        }
        Self {
            names,
            by_pm2,
            by_bot,
            ..Self::default()
        }
    }

    /// The session that `name` means: the one of that name, the only one with this name in pm2 or
    /// its bot, or one that a glob declares.
    pub fn called(&self, name: &str) -> Option<Arc<str>> {
        self.named(name).or_else(|| self.declared(name))
    }

    /// The session that a glob declares.
    pub fn declared(&self, name: &str) -> Option<Arc<str>> {
        self.globs.is_match(name).then(|| Arc::from(name))
    }

    /// The session of that name, or the only one with this name in pm2 or its bot.
    pub fn named(&self, name: &str) -> Option<Arc<str>> {
        if let Some(name) = self.names.get(name) {
            return Some(Arc::clone(name));
        }
        let alias = self.by_pm2.get(name).or_else(|| self.by_bot.get(name))?;
        alias.clone()
    }

    /// Whether this is the name of a session that had a folder before.
    pub fn is_former(&self, name: &str) -> bool {
        let former = self.former.as_ref();
        former.is_some_and(|former| former.named(name).is_some())
    }

    /// The session, if there is exactly one.
    pub fn only(&self) -> Option<Arc<str>> {
        let mut names = self.names.iter();
        match (names.next(), names.next()) {
            (Some(name), None) if !self.others && self.globs.is_empty() => Some(Arc::clone(name)),
            _ => None,
        }
    }

    /// Whether only a glob declares the session of this name: it has no folder.
    pub fn is_only_declared_by_glob(&self, name: &str) -> bool {
        !self.names.contains(name) && self.globs.is_match(name)
    }

    /// Whether lines are counted for the session of exactly this name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name) || self.globs.is_match(name)
    }

    /// All that are known by name.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }
}

/// How pm2 writes an app's name in the name of its log: every character that is not a letter,
/// digit, dot or dash becomes a dash.
fn pm2_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

/// A bot's name for the session of this folder: WAHA's folders are NAME-MD5, BuilderBot's are
/// NAME_sessions.
fn bot_name(folder: &str) -> Option<&str> {
    if let Some(name) = folder.strip_suffix("_sessions") {
        return Some(name).filter(|name| !name.is_empty());
    }
    let (name, hash) = folder.rsplit_once('-')?;
    let is_md5 = hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_md5 && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
