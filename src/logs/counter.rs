//! What the lines of the logs amount to: counts by session and pattern.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_tailer::{Block, Consumer};
use memchr::memchr_iter;

use crate::folder::Timestamp;

use super::LogSettings;
use super::pattern::{Found, Pattern};

/// The sessions of so many logs are remembered at most.
const MOST_PATHS: usize = 100_000;

/// What was counted for one session.
#[derive(Clone, Debug, Default)]
pub struct SessionCounts {
    /// By the pattern's name.
    pub events: HashMap<String, Count>,
    pub lines: Count,
    pub secrets: Count,
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
    fn add(&mut self, more: u64) {
        if more > 0 {
            self.value += more;
            self.dirty = true;
        }
    }
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub sessions: HashMap<Arc<str>, SessionCounts>,
    /// Lines of no session.
    pub unplaced: Count,
}

impl Counts {
    /// From what [`Counts::changes`] gave.
    pub fn from_saved(saved: &HashMap<(String, String), u64>) -> Self {
        let mut counts = Self::default();
        for ((session, name), value) in saved {
            let count = Count {
                value: *value,
                dirty: false,
            };
            if session.is_empty() {
                if name == "unplaced" {
                    counts.unplaced = count;
                }
                continue;
            }
            let session = counts
                .sessions
                .entry(Arc::from(session.as_str()))
                .or_default();
            match name.as_str() {
                "lines" => session.lines = count,
                "secrets" => session.secrets = count,
                _ => {
                    if let Some(event) = name.strip_prefix("event:") {
                        session.events.insert(event.to_owned(), count);
                    }
                }
            }
        }
        counts
    }

    /// What is not saved yet: session (empty for none), name and value.
    pub fn changes(&self) -> Vec<(String, String, u64)> {
        let mut changes = Vec::new();
        for (session, counts) in &self.sessions {
            let mut push = |name: String, count: Count| {
                if count.dirty {
                    changes.push((session.to_string(), name, count.value));
                }
            };
            push("lines".into(), counts.lines);
            push("secrets".into(), counts.secrets);
            for (name, count) in &counts.events {
                push(format!("event:{name}"), *count);
            }
        }
        if self.unplaced.dirty {
            changes.push((String::new(), "unplaced".into(), self.unplaced.value));
        }
        changes
    }

    /// Whether something is not saved yet.
    pub fn is_dirty(&self) -> bool {
        let is_dirty = |counts: &SessionCounts| {
            let mut events = counts.events.values();
            counts.lines.dirty || counts.secrets.dirty || events.any(|count| count.dirty)
        };
        self.unplaced.dirty || self.sessions.values().any(is_dirty)
    }

    /// The changes were saved.
    pub fn committed(&mut self) {
        self.unplaced.dirty = false;
        for counts in self.sessions.values_mut() {
            counts.lines.dirty = false;
            counts.secrets.dirty = false;
            for count in counts.events.values_mut() {
                count.dirty = false;
            }
        }
    }

    fn add_all(&mut self, more: &Self) {
        self.unplaced.add(more.unplaced.value);
        for (session, counts) in &more.sessions {
            self.sessions
                .entry(Arc::clone(session))
                .or_default()
                .add_all(counts);
        }
    }
}

impl SessionCounts {
    fn add_all(&mut self, more: &Self) {
        self.lines.add(more.lines.value);
        self.secrets.add(more.secrets.value);
        for (name, count) in &more.events {
            self.events
                .entry(name.clone())
                .or_default()
                .add(count.value);
        }
        self.last_line = self.last_line.max(more.last_line);
    }

    fn add(&mut self, found: &Found, patterns: &[Pattern]) {
        self.secrets.add(found.secrets);
        for name in found
            .signs
            .iter()
            .filter_map(|sign| patterns.get(*sign))
            .map(|pattern| &pattern.name)
        {
            match self.events.get_mut(name.as_ref()) {
                Some(count) => count.add(1),
                None => {
                    let count = Count {
                        value: 1,
                        dirty: true,
                    };
                    self.events.insert(name.to_string(), count);
                }
            }
        }
    }
}

/// Counts lines.
#[derive(Debug)]
pub struct Counter {
    settings: Arc<LogSettings>,
    /// Sessions that a line may name; one that names another is counted as unplaced.
    sessions: HashSet<Arc<str>>,
    counts: Counts,
    /// What was counted of a copy that is not known to be complete.
    copy: Option<Counts>,
    /// By log; told anew when the sessions or the settings change.
    by_path: HashMap<PathBuf, Option<Arc<str>>>,
    scratch: Vec<u8>,
}

impl Counter {
    /// Goes on counting.
    pub fn new(settings: Arc<LogSettings>, sessions: HashSet<Arc<str>>, counts: Counts) -> Self {
        Self {
            settings,
            sessions,
            counts,
            copy: None,
            by_path: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes a changed configuration.
    pub fn configure(&mut self, settings: Arc<LogSettings>) {
        self.settings = settings;
        self.by_path.clear();
    }

    /// The sessions there are.
    pub fn set_sessions(&mut self, sessions: HashSet<Arc<str>>) {
        if self.sessions != sessions {
            self.sessions = sessions;
            self.by_path.clear();
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn committed(&mut self) {
        self.counts.committed();
    }

    /// The session of a log's lines, where they do not tell it themselves.
    pub fn session_of(&mut self, log: &Path) -> Option<Arc<str>> {
        if let Some(session) = self.by_path.get(log) {
            return session.clone();
        }
        if self.by_path.len() >= MOST_PATHS {
            self.by_path.clear();
        }
        let session = self.settings.mapper.session_of(log, &self.sessions);
        self.by_path.insert(log.to_owned(), session.clone());
        session
    }
}

impl Consumer for Counter {
    fn lines(&mut self, block: Block<'_>) {
        let session = self.session_of(block.origin);
        let Self {
            settings,
            sessions,
            counts,
            copy,
            scratch,
            ..
        } = self;
        let mapper = &settings.mapper;
        let mut tally = Tally {
            counts: copy.as_mut().unwrap_or(counts),
            written: block.modified.into(),
        };
        let session_of = |line: &[u8]| match mapper.of_line(line) {
            Some(named) => sessions.get(&named).cloned(),
            None => session.clone(),
        };
        if mapper.by_line() {
            let whole = block.lines.strip_suffix(b"\n").unwrap_or(block.lines);
            for line in whole.split(|byte| *byte == b'\n') {
                tally.lines(session_of(line).as_ref(), 1);
            }
        } else {
            let ended = memchr_iter(b'\n', block.lines).count() as u64;
            let count = ended + u64::from(block.lines.last() != Some(&b'\n'));
            tally.lines(session.as_ref(), count);
        }
        let patterns = &settings.patterns;
        patterns.scan(block.lines, scratch, |line, found| {
            if let Some(session) = session_of(line) {
                tally.session(&session).add(found, patterns.patterns());
            }
        });
    }

    fn begin_copy(&mut self) {
        self.copy = Some(Counts::default());
    }

    fn end_copy(&mut self, complete: bool) {
        if let Some(copy) = self.copy.take()
            && complete
        {
            self.counts.add_all(&copy);
        }
    }

    fn is_of_another(&self, path: &Path, origin: &Path) -> bool {
        self.settings
            .mapper
            .is_of_another(path, origin, &self.sessions)
    }
}

/// Where the lines of one block are counted.
struct Tally<'a> {
    counts: &'a mut Counts,
    written: Timestamp,
}

impl Tally<'_> {
    fn lines(&mut self, session: Option<&Arc<str>>, count: u64) {
        match session {
            Some(session) => self.session(session).lines.add(count),
            None => self.counts.unplaced.add(count),
        }
    }

    fn session(&mut self, session: &Arc<str>) -> &mut SessionCounts {
        let counts = self.counts.sessions.entry(Arc::clone(session)).or_default();
        counts.last_line = counts.last_line.max(Some(self.written));
        counts
    }
}

#[cfg(test)]
mod tests;
