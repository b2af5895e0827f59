//! What the lines of the logs amount to: counts by session and pattern.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_tailer::{Block, Consumer, Part};
use memchr::{memchr_iter, memmem};

use crate::folder::Timestamp;

use super::LogSettings;
use super::pattern::{Found, Hit, Patterns, REPORTED, ScanState};
use super::repeats::Repeats;
use super::session_mapper::SessionMapper;

/// The sessions of so many logs are remembered at most.
const MOST_PATHS: usize = 100_000;

/// What was counted for one session.
#[derive(Clone, Debug, Default)]
pub struct SessionCounts {
    /// By the pattern's name.
    pub events: HashMap<String, Count>,
    /// Of these, those in a form that only the library or the bot's own report writes; of
    /// the patterns that page.
    pub reports: HashMap<String, Count>,
    pub lines: Count,
    pub secrets: Count,
    /// 1 once a line of the library's logger was seen.
    pub library: Count,
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
                "library" => session.library = count,
                _ => {
                    if let Some(report) = name.strip_prefix("report:") {
                        session.reports.insert(report.to_owned(), count);
                    } else if let Some(event) = name.strip_prefix("event:") {
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
            push("library".into(), counts.library);
            for (name, count) in &counts.events {
                push(format!("event:{name}"), *count);
            }
            for (name, count) in &counts.reports {
                push(format!("report:{name}"), *count);
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
            let mut named = counts.events.values().chain(counts.reports.values());
            let single = [counts.lines, counts.secrets, counts.library];
            single.iter().any(|count| count.dirty) || named.any(|count| count.dirty)
        };
        self.unplaced.dirty || self.sessions.values().any(is_dirty)
    }

    /// The changes were saved.
    pub fn committed(&mut self) {
        self.unplaced.dirty = false;
        for counts in self.sessions.values_mut() {
            counts.lines.dirty = false;
            counts.secrets.dirty = false;
            counts.library.dirty = false;
            let named = counts.events.values_mut();
            for count in named.chain(counts.reports.values_mut()) {
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
        self.last_line = self.last_line.max(more.last_line);
    }

    fn library_was_seen(&mut self) {
        if self.library.value == 0 {
            self.library.add(1);
        }
    }
}

fn add_one(counts: &mut HashMap<String, Count>, name: &str) {
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

/// Where a log's next lines are judged from.
#[derive(Debug, Default)]
struct LogScan {
    state: ScanState,
    repeats: Repeats,
    /// Lines so far.
    line: u64,
    /// Looks since something undecided was found.
    undecided_for: u32,
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
    /// By log, as far as its last lines may belong to its next ones.
    scans: HashMap<PathBuf, LogScan>,
    copy_scans: HashMap<PathBuf, LogScan>,
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
            scans: HashMap::new(),
            copy_scans: HashMap::new(),
            by_path: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes a changed configuration.
    pub fn configure(&mut self, settings: Arc<LogSettings>) {
        // An open record refers to the patterns before.
        self.flush(|_| true);
        self.scans.clear();
        self.settings = settings;
        self.by_path.clear();
    }

    /// Counts what was found and depends on lines that have not come since the last look but
    /// one.
    pub fn flush_undecided(&mut self) {
        self.flush(|scan| {
            let undecided = scan.state.is_undecided();
            scan.undecided_for = if undecided { scan.undecided_for + 1 } else { 0 };
            scan.undecided_for > 2
        });
    }

    fn flush(&mut self, mut due: impl FnMut(&mut LogScan) -> bool) {
        let settings = Arc::clone(&self.settings);
        let mut scans = std::mem::take(&mut self.scans);
        for (log, scan) in &mut scans {
            if !due(scan) {
                continue;
            }
            let session = self.session_of(log);
            let LogScan {
                state,
                repeats,
                line,
                ..
            } = scan;
            let mut tally = Tally {
                counts: &mut self.counts,
                written: None,
            };
            let (mapper, sessions) = (&settings.mapper, &self.sessions);
            settings.patterns.flush(state, |hit, found| {
                if let Some(session) = session_of_hit(mapper, sessions, session.as_ref(), hit) {
                    tally.add(&session, found, &settings.patterns, repeats, *line);
                }
            });
        }
        self.scans = scans;
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

/// The session that a record names, or that of its log.
fn session_of_hit(
    mapper: &SessionMapper,
    sessions: &HashSet<Arc<str>>,
    of_log: Option<&Arc<str>>,
    hit: Hit<'_>,
) -> Option<Arc<str>> {
    if !mapper.by_line() {
        return of_log.cloned();
    }
    match mapper.of_line(hit.raw).or_else(|| mapper.of_line(hit.text)) {
        Some(named) => sessions.get(&named).cloned(),
        None => of_log.cloned(),
    }
}

/// Whether a line of these shows that the library's logger wrote it.
fn shows_library(lines: &[u8]) -> bool {
    memmem::find_iter(lines, b"baileys").any(|at| {
        let before = &lines[at.saturating_sub(16)..at];
        let key: Vec<u8> = before
            .iter()
            .copied()
            .filter(|byte| byte.is_ascii_alphabetic() || *byte == b':')
            .collect();
        key.ends_with(b"class:")
    })
}

impl Consumer for Counter {
    fn lines(&mut self, block: Block<'_>) {
        let session = self.session_of(block.origin);
        let Self {
            settings,
            sessions,
            counts,
            copy,
            scans,
            copy_scans,
            scratch,
            ..
        } = self;
        let mapper = &settings.mapper;
        let scans = if copy.is_some() { copy_scans } else { scans };
        let mut tally = Tally {
            counts: copy.as_mut().unwrap_or(counts),
            written: Some(block.modified.into()),
        };
        let session_of = |line: &[u8]| match mapper.of_line(line) {
            Some(named) => sessions.get(&named).cloned(),
            None => session.clone(),
        };
        let ended = match block.part {
            Part::Lines => memchr_iter(b'\n', block.lines).count() as u64,
            Part::First => 1,
            Part::Middle | Part::Last => 0,
        };
        if block.part != Part::Lines {
            let session = session_of(block.lines);
            tally.lines(session.as_ref(), ended);
        } else if mapper.by_line() {
            let whole = block.lines.strip_suffix(b"\n").unwrap_or(block.lines);
            for line in whole.split(|byte| *byte == b'\n') {
                tally.lines(session_of(line).as_ref(), 1);
            }
        } else {
            let count = ended + u64::from(block.lines.last() != Some(&b'\n'));
            tally.lines(session.as_ref(), count);
            if let Some(session) = &session {
                let counts = tally.session(session);
                if counts.library.value == 0 && shows_library(block.lines) {
                    counts.library_was_seen();
                }
            }
        }
        if scans.len() >= MOST_PATHS {
            scans.clear();
        }
        let mut scan = scans.remove(block.origin).unwrap_or_default();
        let LogScan {
            state,
            repeats,
            line,
            undecided_for,
        } = &mut scan;
        *undecided_for = 0;
        let patterns = &settings.patterns;
        let start = block.lines.as_ptr() as usize;
        let first = *line;
        let sink = |hit: Hit<'_>, found: &Found| {
            // Within the block, or in front of it.
            let at = (hit.raw.as_ptr() as usize).wrapping_sub(start);
            let before = block.lines.get(..at).unwrap_or_default();
            if let Some(session) = session_of_hit(mapper, sessions, session.as_ref(), hit) {
                let line = first + memchr_iter(b'\n', before).count() as u64;
                tally.add(&session, found, patterns, repeats, line);
            }
        };
        match block.part {
            Part::Lines => patterns.scan(block.lines, state, scratch, sink),
            part => patterns.scan_part(block.lines, part == Part::Last, state, sink),
        }
        *line += ended;
        if !scan.state.is_empty() || !scan.repeats.is_empty() {
            scans.insert(block.origin.to_owned(), scan);
        }
    }

    fn begin_copy(&mut self) {
        self.copy = Some(Counts::default());
        self.copy_scans.clear();
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
    written: Option<Timestamp>,
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
        counts.last_line = counts.last_line.max(self.written);
        counts
    }

    /// Counts what one record holds; it stands at this line of its log.
    fn add(
        &mut self,
        session: &Arc<str>,
        found: &Found,
        patterns: &Patterns,
        repeats: &mut Repeats,
        line: u64,
    ) {
        let counts = self.session(session);
        counts.secrets.add(found.secrets);
        if found.library {
            counts.library_was_seen();
        }
        // What a conflict is, the library has said already.
        if found.conflict && repeats.is_reported(session, &patterns.of_conflicts(), line) {
            return;
        }
        for sign in &found.signs {
            let Some(pattern) = patterns.patterns().get(sign.pattern) else {
                continue;
            };
            let shipped = !pattern.printed_by.is_empty();
            if let Some(message) = found.message.filter(|_| shipped)
                && repeats.is_repeat(session, sign.pattern, message, line)
            {
                continue;
            }
            add_one(&mut counts.events, &pattern.name);
            if sign.certain && REPORTED.contains(&pattern.name.as_ref()) {
                add_one(&mut counts.reports, &pattern.name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
