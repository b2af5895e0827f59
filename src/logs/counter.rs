//! What the lines of the logs amount to: counts by session and pattern.
//!
//! Lines of no known session wait ([`Waiting`]) until the folders were looked at after they
//! were read: a new bot writes to its log before anyone has looked at its folder. Then they are
//! unplaced.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log_tailer::{Block, Consumer, Listed};
use memchr::{memchr, memchr_iter};

use crate::folder::Timestamp;

use super::LogSettings;
use super::pattern::{Found, Pattern};
use super::placer::Placer;

/// Lines wait for a look at the folders so long at most.
const WAIT_AT_MOST: Duration = Duration::from_secs(120);
/// Lines of so many logs and names wait at most.
const MOST_WAITING: usize = 1000;
/// In the place of a session's name in the saved counts: lines that are unplaced, by glob, and
/// lines that wait, by log and name. No session's name holds such a byte.
const UNPLACED: &str = "\0unplaced\0";
const WAITING: &str = "\0waiting\0";

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

/// Whose lines wait.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiting {
    /// The log.
    pub log: PathBuf,
    /// The session that the lines name themselves.
    pub named: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
struct WaitingCounts {
    counts: SessionCounts,
    /// When the first of them was read; `None` for what was saved by an earlier process.
    since: Option<(Timestamp, Instant)>,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub sessions: HashMap<Arc<str>, SessionCounts>,
    /// Lines of no session, by the glob that names their log.
    pub unplaced: BTreeMap<Arc<str>, SessionCounts>,
    /// Lines of no session that were counted without a glob.
    unplaced_before: Count,
    waiting: BTreeMap<Waiting, WaitingCounts>,
    /// Saved names whose counts were moved elsewhere.
    moved: Vec<String>,
}

/// What is to be saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountChanges {
    /// Session (empty for none), name and value.
    pub counts: Vec<(String, String, u64)>,
    /// Sessions of which nothing is saved from now on. Deleted before `counts` is written.
    pub gone: Vec<String>,
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
                    counts.unplaced_before = count;
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
        !self.moved.is_empty() || all.any(SessionCounts::is_dirty)
    }

    /// The changes were saved.
    pub fn committed(&mut self) {
        self.moved.clear();
        let waiting = self.waiting.values_mut().map(|waiting| &mut waiting.counts);
        let all = self
            .sessions
            .values_mut()
            .chain(self.unplaced.values_mut())
            .chain(waiting);
        all.for_each(SessionCounts::committed);
    }

    /// Lines that belong to no session, those that wait left out.
    pub fn unplaced_lines(&self) -> u64 {
        let lines = self.unplaced.values().map(|counts| counts.lines.value);
        self.unplaced_before.value + lines.sum::<u64>()
    }

    /// Whether lines wait for the next look at the folders.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn add_all(&mut self, more: Self) {
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
    fn saved(&self) -> String {
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
            _ => {
                if let Some(event) = name.strip_prefix("event:") {
                    self.events.insert(event.to_owned(), count);
                }
            }
        }
    }

    fn changes(&self, session: &str, changes: &mut Vec<(String, String, u64)>) {
        let mut push = |name: String, count: Count| {
            if count.dirty {
                changes.push((session.to_owned(), name, count.value));
            }
        };
        push("lines".into(), self.lines);
        push("secrets".into(), self.secrets);
        for (name, count) in &self.events {
            push(format!("event:{name}"), *count);
        }
    }

    fn is_dirty(&self) -> bool {
        let mut events = self.events.values();
        self.lines.dirty || self.secrets.dirty || events.any(|count| count.dirty)
    }

    fn committed(&mut self) {
        self.lines.dirty = false;
        self.secrets.dirty = false;
        for count in self.events.values_mut() {
            count.dirty = false;
        }
    }

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

/// Where a line counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Session(Arc<str>),
    Waiting(Waiting),
}

/// Counts lines.
#[derive(Debug)]
pub struct Counter {
    settings: Arc<LogSettings>,
    placer: Placer,
    counts: Counts,
    /// What was counted of a copy that is not known to be complete.
    copy: Option<Counts>,
    /// Where the last line that named a session counted, by log.
    named_last: HashMap<PathBuf, Target>,
    now: (Timestamp, Instant),
    scratch: Vec<u8>,
}

impl Counter {
    /// Goes on counting, at this time.
    pub fn new(
        settings: Arc<LogSettings>,
        placer: Placer,
        counts: Counts,
        now: (Timestamp, Instant),
    ) -> Self {
        Self {
            settings,
            placer,
            counts,
            copy: None,
            named_last: HashMap::new(),
            now,
            scratch: Vec::new(),
        }
    }

    /// Takes a changed configuration.
    pub fn configure(&mut self, settings: Arc<LogSettings>) {
        self.settings = Arc::clone(&settings);
        self.placer.configure(settings);
        self.named_last.clear();
    }

    /// What places the lines.
    pub fn placer(&mut self) -> &mut Placer {
        &mut self.placer
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether something is not saved yet.
    pub fn is_dirty(&self) -> bool {
        self.counts.is_dirty() || self.placer.is_dirty()
    }

    pub fn committed(&mut self) {
        self.counts.committed();
        self.placer.committed();
    }

    /// Sets the time at which the lines that follow are read.
    pub fn set_time(&mut self, now: (Timestamp, Instant)) {
        self.now = now;
    }

    /// Counts the lines that wait: for the session that they are known to belong to by now, or
    /// as unplaced where the folders were looked at (`looked_at`) after they were read. Whether
    /// any was counted.
    pub fn settle(&mut self, looked_at: Option<Timestamp>) -> bool {
        let now = self.now.1;
        let waiting = std::mem::take(&mut self.counts.waiting);
        let before = waiting.len();
        for (key, waiting) in waiting {
            let session = match &key.named {
                Some(name) => self.placer.called(name),
                None => self.placer.session_of(&key.log),
            };
            let is_due = match waiting.since {
                Some((read_at, since)) => {
                    looked_at.is_some_and(|at| at >= read_at)
                        || now.saturating_duration_since(since) >= WAIT_AT_MOST
                }
                None => looked_at.is_some(),
            };
            let counts = match session {
                Some(session) => self.counts.sessions.entry(session).or_default(),
                None if is_due => {
                    let glob = self.placer.glob_of(&key.log);
                    self.counts.unplaced.entry(glob).or_default()
                }
                None => {
                    self.counts.waiting.insert(key, waiting);
                    continue;
                }
            };
            counts.add_all(&waiting.counts);
            self.counts.moved.push(key.saved());
        }
        self.named_last.clear();
        self.counts.waiting.len() != before
    }

    /// The target of each line of `lines`: the end of its last byte, and where it counts.
    fn targets(&mut self, log: &Path, lines: &[u8]) -> Vec<(usize, Target)> {
        let waiting = |named| {
            Target::Waiting(Waiting {
                log: log.to_owned(),
                named,
            })
        };
        let by_path = self.placer.session_of(log).map(Target::Session);
        let mapper = &self.settings.mapper;
        if !mapper.by_line() {
            return vec![(lines.len(), by_path.unwrap_or_else(|| waiting(None)))];
        }
        let mut targets: Vec<(usize, Target)> = Vec::new();
        let mut last = self.named_last.remove(log);
        let mut at = 0;
        while at < lines.len() {
            let end = memchr(b'\n', &lines[at..]).map_or(lines.len(), |newline| at + newline + 1);
            let line = lines[at..end]
                .strip_suffix(b"\n")
                .unwrap_or(&lines[at..end]);
            let target = match mapper.of_line(line) {
                Some(name) => {
                    let known = self.placer.called(&name).map(Target::Session);
                    let target = known.unwrap_or_else(|| waiting(Some(name)));
                    last = Some(target.clone());
                    target
                }
                None => by_path
                    .clone()
                    .or_else(|| last.clone())
                    .unwrap_or_else(|| waiting(None)),
            };
            match targets.last_mut() {
                Some((before, same)) if *same == target => *before = end,
                _ => targets.push((end, target)),
            }
            at = end;
        }
        if let Some(last) = last {
            self.named_last.insert(log.to_owned(), last);
        }
        targets
    }
}

impl Consumer for Counter {
    fn lines(&mut self, block: Block<'_>) {
        if self.placer.note(block.origin, block.lines) {
            self.settle(None);
        }
        let targets = self.targets(block.origin, block.lines);
        let Self {
            settings,
            placer,
            counts,
            copy,
            now,
            scratch,
            ..
        } = self;
        let mut tally = Tally {
            counts: copy.as_mut().unwrap_or(counts),
            written: block.modified.into(),
            now: *now,
            placer,
        };
        let mut begin = 0;
        for (end, target) in &targets {
            let lines = &block.lines[begin..*end];
            let ended = memchr_iter(b'\n', lines).count() as u64;
            let count = ended + u64::from(lines.last() != Some(&b'\n'));
            tally.of(target).lines.add(count);
            begin = *end;
        }
        let patterns = &settings.patterns;
        let start = block.lines.as_ptr() as usize;
        patterns.scan(block.lines, scratch, |line, found| {
            let at = (line.as_ptr() as usize).saturating_sub(start);
            let index = targets.partition_point(|(end, _)| *end <= at);
            if let Some((_, target)) = targets.get(index) {
                tally.of(target).add(found, patterns.patterns());
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
            self.counts.add_all(copy);
        }
    }

    fn is_of_another(&self, path: &Path, origin: &Path) -> bool {
        self.placer.is_of_another(path, origin)
    }

    fn is_wanted(&self, listed: &Listed) -> bool {
        !self.placer.own().contains(listed)
    }

    fn listed(&mut self, logs: &mut dyn Iterator<Item = &Path>) {
        self.placer.listed(logs);
    }
}

/// Where the lines of one block are counted.
struct Tally<'a> {
    counts: &'a mut Counts,
    written: Timestamp,
    now: (Timestamp, Instant),
    placer: &'a Placer,
}

impl Tally<'_> {
    fn of(&mut self, target: &Target) -> &mut SessionCounts {
        let counts = match target {
            Target::Session(session) => {
                self.counts.sessions.entry(Arc::clone(session)).or_default()
            }
            Target::Waiting(key)
                if self.counts.waiting.len() < MOST_WAITING
                    || self.counts.waiting.contains_key(key) =>
            {
                let waiting = self.counts.waiting.entry(key.clone()).or_default();
                waiting.since.get_or_insert(self.now);
                &mut waiting.counts
            }
            Target::Waiting(key) => {
                let glob = self.placer.glob_of(&key.log);
                self.counts.unplaced.entry(glob).or_default()
            }
        };
        counts.last_line = counts.last_line.max(Some(self.written));
        counts
    }
}

#[cfg(test)]
mod tests;
