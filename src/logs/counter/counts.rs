//! Counts by session and pattern, and which of them are not saved yet.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::folder::Timestamp;
use crate::logs::sessions::KnownSessions;

/// Maximum number of sessions without a folder that are counted because a glob of `logs.sessions`
/// declares them. A line can name any session.
pub(super) const MOST_BY_GLOB: usize = 5000;

/// Stands for a session's name in the saved counts: for unplaced lines by glob, and for waiting
/// lines by log and name. No session's name contains this byte.
const UNPLACED: &str = "\0unplaced\0";
const WAITING: &str = "\0waiting\0";
/// Before a pattern's name, in the names of saved counts.
pub const EVENT: &str = "event:";
pub const REPORT: &str = "report:";

/// The counts of one session.
#[derive(Clone, Debug, Default)]
pub struct SessionCounts {
    /// By the pattern's name.
    pub events: HashMap<String, Count>,
    /// Of these, events in a form that only the library or the bot's own report uses. Only for the
    /// patterns that page.
    pub reports: HashMap<String, Count>,
    pub lines: Count,
    pub secrets: Count,
    /// 1 after a line of the library's logger was seen.
    pub library: Count,
    /// When the device was last said to be removed, in seconds of Unix time; 0 for never.
    pub removed_at: Count,
    /// The same of an opened connection.
    pub opened_at: Count,
    /// When its newest line was written, if one was read since the start.
    pub last_line: Option<Timestamp>,
}

/// A number, and whether it is on disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub value: u64,
    dirty: bool,
}

impl Count {
    /// A later value, or none.
    fn raise(&mut self, to: u64) {
        self.add(to.saturating_sub(self.value));
    }

    pub(super) fn add(&mut self, more: u64) {
        if more > 0 {
            self.value += more;
            self.dirty = true;
        }
    }
}

/// Which lines wait.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiting {
    /// The log.
    pub log: PathBuf,
    /// The session that the lines name.
    pub named: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct WaitingCounts {
    pub(super) counts: SessionCounts,
    /// When the first of them was read; `None` if an earlier process saved them.
    pub(super) since: Option<(Timestamp, Instant)>,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub sessions: HashMap<Arc<str>, SessionCounts>,
    /// Lines without a session, by the glob that matches their log.
    pub unplaced: BTreeMap<Arc<str>, SessionCounts>,
    /// Lines without a session and without a glob.
    unplaced_before: Count,
    /// 1 while the logs are read from their beginning, until each was read to its end once.
    first_reading: Count,
    pub(super) waiting: BTreeMap<Waiting, WaitingCounts>,
    /// Number of sessions without a folder that a glob declares.
    by_glob: usize,
    /// Saved names whose counts were moved.
    pub(super) moved: Vec<String>,
}

/// What must be saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountChanges {
    /// Session (empty if none), name and value.
    pub counts: Vec<(String, String, u64)>,
    /// Sessions whose saved counts are deleted. This happens before `counts` is written.
    pub gone: Vec<String>,
}

impl Counts {
    /// Built from the values that [`Counts::changes`] returned.
    pub fn from_saved(saved: &HashMap<(String, String), u64>) -> Self {
        let mut counts = Self::default();
        for ((session, name), value) in saved {
            let count = Count {
                value: *value,
                dirty: false,
            };
            if session.is_empty() {
                match name.as_str() {
                    "unplaced" => counts.unplaced_before = count,
                    "first_reading" => counts.first_reading = count,
                    _ => {}
                }
            } else if let Some(glob) = session.strip_prefix(UNPLACED) {
                let unplaced = counts.unplaced.entry(Arc::from(glob)).or_default();
                unplaced.set(name, count);
            } else if let Some(key) = Waiting::from_saved(session) {
                let waiting = counts.waiting.entry(key).or_default();
                waiting.counts.set(name, count);
            } else {
                let session = counts
                    .sessions
                    .entry(Arc::from(session.as_str()))
                    .or_default();
                session.set(name, count);
            }
        }
        counts
    }

    /// What is not saved yet.
    pub fn changes(&self) -> CountChanges {
        let mut changes = Vec::new();
        if self.first_reading.dirty {
            changes.push((
                String::new(),
                "first_reading".to_owned(),
                self.first_reading.value,
            ));
        }
        for (session, counts) in &self.sessions {
            counts.changes(session, &mut changes);
        }
        for (glob, counts) in &self.unplaced {
            counts.changes(&format!("{UNPLACED}{glob}"), &mut changes);
        }
        for (key, waiting) in &self.waiting {
            waiting.counts.changes(&key.saved(), &mut changes);
        }
        CountChanges {
            counts: changes,
            gone: self.moved.clone(),
        }
    }

    /// Whether something is not saved yet.
    pub fn is_dirty(&self) -> bool {
        let waiting = self.waiting.values().map(|waiting| &waiting.counts);
        let mut all = self
            .sessions
            .values()
            .chain(self.unplaced.values())
            .chain(waiting);
        self.first_reading.dirty || !self.moved.is_empty() || all.any(SessionCounts::is_dirty)
    }

    /// The changes were saved.
    pub fn committed(&mut self) {
        self.moved.clear();
        self.first_reading.dirty = false;
        let waiting = self.waiting.values_mut().map(|waiting| &mut waiting.counts);
        let all = self
            .sessions
            .values_mut()
            .chain(self.unplaced.values_mut())
            .chain(waiting);
        all.for_each(SessionCounts::committed);
    }

    /// Whether the logs are read from their beginning, and were not read to their end once.
    pub fn is_first_reading(&self) -> bool {
        self.first_reading.value > 0
    }

    /// Sets [`Self::is_first_reading`].
    pub fn set_first_reading(&mut self, reading: bool) {
        if reading != self.is_first_reading() {
            self.first_reading = Count {
                value: u64::from(reading),
                dirty: true,
            };
        }
    }

    /// Number of unplaced lines, without those that wait.
    pub fn unplaced_lines(&self) -> u64 {
        let lines = self.unplaced.values().map(|counts| counts.lines.value);
        self.unplaced_before.value + lines.sum::<u64>()
    }

    /// Whether lines wait for the next listing of the folders.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Counts again which sessions only a glob declares.
    pub(super) fn count_by_glob(&mut self, known: &KnownSessions) {
        let names = self.sessions.keys();
        let by_glob = names.filter(|name| known.is_only_declared_by_glob(name));
        self.by_glob = by_glob.count();
    }

    /// The counts of a session. `before`: the counts that these will be added to. `None` if there
    /// are too many sessions without a folder, and this is a new one.
    pub(super) fn of_session(
        &mut self,
        session: &Arc<str>,
        before: Option<&Counts>,
        known: &KnownSessions,
    ) -> Option<&mut SessionCounts> {
        let is_counted = self.sessions.contains_key(session)
            || before.is_some_and(|before| before.sessions.contains_key(session));
        if !is_counted && known.is_only_declared_by_glob(session) {
            let by_glob = self.by_glob + before.map_or(0, |before| before.by_glob);
            if by_glob >= MOST_BY_GLOB {
                return None;
            }
            self.by_glob += 1;
            if by_glob + 1 == MOST_BY_GLOB {
                tracing::warn!(
                    "logs.sessions declares {MOST_BY_GLOB} sessions without an auth folder by globs; lines of more such sessions are unplaced. Anchor session_line to what only the logger writes, or name the sessions"
                );
            }
        }
        Some(self.sessions.entry(Arc::clone(session)).or_default())
    }

    pub(super) fn add_all(&mut self, more: Self) {
        self.by_glob += more.by_glob;
        for (session, counts) in more.sessions {
            self.sessions.entry(session).or_default().add_all(&counts);
        }
        for (glob, counts) in more.unplaced {
            self.unplaced.entry(glob).or_default().add_all(&counts);
        }
        for (key, waiting) in more.waiting {
            let mine = self.waiting.entry(key).or_default();
            mine.counts.add_all(&waiting.counts);
            mine.since = mine.since.or(waiting.since);
        }
    }
}

impl Waiting {
    pub(super) fn saved(&self) -> String {
        let named = self.named.as_deref().unwrap_or_default();
        format!("{WAITING}{}\0{named}", self.log.display())
    }

    fn from_saved(text: &str) -> Option<Self> {
        let (log, named) = text.strip_prefix(WAITING)?.split_once('\0')?;
        Some(Self {
            log: log.into(),
            named: Some(named).filter(|name| !name.is_empty()).map(Arc::from),
        })
    }
}

impl SessionCounts {
    fn set(&mut self, name: &str, count: Count) {
        match name {
            "lines" => self.lines = count,
            "secrets" => self.secrets = count,
            "library" => self.library = count,
            "removed_at" => self.removed_at = count,
            "opened_at" => self.opened_at = count,
            _ => {
                if let Some(report) = name.strip_prefix(REPORT) {
                    self.reports.insert(report.to_owned(), count);
                } else if let Some(event) = name.strip_prefix(EVENT) {
                    self.events.insert(event.to_owned(), count);
                }
            }
        }
    }

    fn changes(&self, session: &str, changes: &mut Vec<(String, String, u64)>) {
        let mut push = |prefix: &str, name: &str, count: &Count| {
            if count.dirty {
                changes.push((session.to_owned(), format!("{prefix}{name}"), count.value));
            }
        };
        push("", "lines", &self.lines);
        push("", "secrets", &self.secrets);
        push("", "library", &self.library);
        push("", "removed_at", &self.removed_at);
        push("", "opened_at", &self.opened_at);
        for (name, count) in &self.events {
            push(EVENT, name, count);
        }
        for (name, count) in &self.reports {
            push(REPORT, name, count);
        }
    }

    fn is_dirty(&self) -> bool {
        let mut named = self.events.values().chain(self.reports.values());
        let single = [
            self.lines,
            self.secrets,
            self.library,
            self.removed_at,
            self.opened_at,
        ];
        single.iter().any(|count| count.dirty) || named.any(|count| count.dirty)
    }

    fn committed(&mut self) {
        self.lines.dirty = false;
        self.secrets.dirty = false;
        self.library.dirty = false;
        self.removed_at.dirty = false;
        self.opened_at.dirty = false;
        let named = self.events.values_mut();
        for count in named.chain(self.reports.values_mut()) {
            count.dirty = false;
        }
    }

    pub(super) fn add_all(&mut self, more: &Self) {
        self.lines.add(more.lines.value);
        self.secrets.add(more.secrets.value);
        if more.library.value > 0 {
            self.library_was_seen();
        }
        for (all, more) in [
            (&mut self.events, &more.events),
            (&mut self.reports, &more.reports),
        ] {
            for (name, count) in more {
                all.entry(name.clone()).or_default().add(count.value);
            }
        }
        self.removed_at.raise(more.removed_at.value);
        self.opened_at.raise(more.opened_at.value);
        self.last_line = self.last_line.max(more.last_line);
    }

    /// Of lines that belong to no session no times are kept.
    pub(super) fn forget_times(&mut self) {
        (self.removed_at, self.opened_at) = (Count::default(), Count::default());
    }

    /// The device was removed. What comes later in a log is at least a second later, so that the
    /// two times tell the order.
    pub(super) fn removed(&mut self, at: Timestamp) {
        let after = self.opened_at.value + 1;
        self.removed_at.raise(whole_seconds(at).max(after));
    }

    /// The connection was opened.
    pub(super) fn opened(&mut self, at: Timestamp) {
        let after = self.removed_at.value + 1;
        self.opened_at.raise(whole_seconds(at).max(after));
    }

    pub(super) fn library_was_seen(&mut self) {
        if self.library.value == 0 {
            self.library.add(1);
        }
    }
}

fn whole_seconds(at: Timestamp) -> u64 {
    at.seconds().max(0.0) as u64
}

/// Adds one to this name.
pub(super) fn add_one(counts: &mut HashMap<String, Count>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => count.add(1),
        None => {
            let count = Count {
                value: 1,
                dirty: true,
            };
            counts.insert(name.to_owned(), count);
        }
    }
}
