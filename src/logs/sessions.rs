//! Which sessions a line may count for: those with a folder, those that had one within 30 days,
//! and those that the configuration declares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;

use crate::folder::Timestamp;

/// A session counts for so long after its folder was seen to be gone: many bots delete the
/// folder at the moment when the log says `device_removed`.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// The name of a session that does not count any more is kept for so long: what is named after
/// it is not guessed to be another's.
const NAME_KEPT_FOR: Duration = Duration::from_secs(365 * 86_400);

/// What one look at the folders saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsSeen {
    /// When it was.
    pub at: Timestamp,
    /// The names of the folders that were found.
    pub found: BTreeSet<Arc<str>>,
    /// Every root could be read, so that a folder that was not found is gone.
    pub complete: bool,
    /// There are auth folders beside the found ones that are not watched.
    pub others: bool,
}

/// The folders that were seen, each with the time since which it is gone.
#[derive(Clone, Debug, Default)]
pub struct SessionMemory {
    sessions: BTreeMap<Arc<str>, Option<Timestamp>>,
    /// When the last look was.
    at: Timestamp,
    others: bool,
    changed: BTreeSet<Arc<str>>,
}

/// What is saved of one session: `None` is to be deleted, else the time since which its folder
/// is gone.
pub type SavedSession = Option<Option<Timestamp>>;

impl SessionMemory {
    /// With what was saved.
    pub fn from_saved(sessions: BTreeMap<Arc<str>, Option<Timestamp>>) -> Self {
        Self {
            sessions,
            ..Self::default()
        }
    }

    /// Takes what a look saw. A look that could not read every root makes no folder vanish.
    /// Whether other sessions are known now.
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

    /// Those that had a folder before.
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

/// Sessions that the configuration declares.
#[derive(Clone, Debug, Default)]
pub struct DeclaredSessions {
    /// By their names.
    pub names: BTreeSet<Arc<str>>,
    /// By globs over names.
    pub globs: GlobSet,
}

/// The sessions that a line may count for.
#[derive(Clone, Debug, Default)]
pub struct KnownSessions {
    names: BTreeSet<Arc<str>>,
    globs: GlobSet,
    /// What pm2 calls them in the names of logs; `None` where it calls two so.
    by_pm2: BTreeMap<String, Option<Arc<str>>>,
    /// What a bot calls them whose folder has a longer name.
    by_bot: BTreeMap<String, Option<Arc<str>>>,
    others: bool,
    /// Those that had a folder before.
    former: Option<Arc<KnownSessions>>,
}

impl KnownSessions {
    /// Those of the memory and those declared.
    pub fn new(memory: &SessionMemory, declared: &DeclaredSessions) -> Self {
        let names = memory.names().chain(&declared.names).cloned();
        Self {
            globs: declared.globs.clone(),
            others: memory.others,
            former: Some(Arc::new(Self::of(memory.former().cloned()))),
            ..Self::of(names)
        }
    }

    /// These.
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

    /// The session that `name` means: the one of that name, the only one that pm2 or its bot
    /// calls so, or one that a glob declares.
    pub fn called(&self, name: &str) -> Option<Arc<str>> {
        self.named(name).or_else(|| self.declared(name))
    }

    /// The session that a glob declares.
    pub fn declared(&self, name: &str) -> Option<Arc<str>> {
        self.globs.is_match(name).then(|| Arc::from(name))
    }

    /// The session of that name, or the only one that pm2 or its bot calls so.
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

    /// The session, where there is one and no other.
    pub fn only(&self) -> Option<Arc<str>> {
        let mut names = self.names.iter();
        match (names.next(), names.next()) {
            (Some(name), None) if !self.others && self.globs.is_empty() => Some(Arc::clone(name)),
            _ => None,
        }
    }

    /// Whether a line may count for the session of this very name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name) || self.globs.is_match(name)
    }

    /// All that are known by name.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }
}

/// What pm2 makes of an app's name in the name of its log: a dash for each sign that is no
/// letter, digit, dot or dash.
pub fn pm2_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

/// What a bot calls the session of this folder: WAHA's folders are NAME-MD5, those of
/// BuilderBot NAME_sessions.
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
