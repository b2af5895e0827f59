//! Reads the end of a session's log to find out whether the last event of the connection was
//! "opened" or "closed", and when.
//!
//! A close counts only if the logs show that it ended the connection of this session: `connections`
//! decides for one log, `last_word` for all logs of a session, and `neighbours` lists the sessions
//! that the same process may run.

mod connections;
mod dates;
mod last_word;
mod layout;
mod neighbours;
mod opener;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;
use log_tailer::{EndMark, Listed, LogEnd, read_end};

use crate::connection::{DoubtedClose, LogEvent, LogReading, LogView};
use crate::folder::discovery::Discovery;
use crate::folder::{SessionName, SessionsPath, Timestamp};

use super::LogSettings;
use super::encoding::to_utf8;
use super::log_name::writer_name;
use super::own::OwnLogs;
use super::pattern::{Hit, RecordSigns, ScanState, Sign};
use connections::Connections;
use dates::{Written, close_writer_of, date_in, is_final, origin_of, pid_on, written};
use last_word::{LastWord, OneLog, doubted_close, last_word};
use layout::{Layout, PlacedLog};
use neighbours::Neighbours;
use opener::NamedProcess;

/// How many bytes are read at the end of a file.
const WINDOW: u64 = 1 << 20;
/// How many bytes are read, once, to find the beginning of a process that closed its connection.
const WIDE_WINDOW: u64 = 32 << 20;
/// Maximum number of such reads at the same time.
const MOST_WIDE_LOOKS: usize = 2;
/// A file that grew is read again from this many bytes before its former end, so that the text
/// begins with a complete line.
const OVERLAP: u64 = 64 << 10;
/// A file that holds many sessions is not read again within this time.
const LOOKED_FOR: Duration = Duration::from_secs(1);
/// Maximum number of reads at the same time. A read from a hanging file system does not return.
const MOST_LOOKS: usize = 64;
/// How long a list of the files, and of the sessions, is used.
const LISTED_FOR: Duration = Duration::from_secs(10);

/// The session name for all lines of a log if the lines do not tell the session.
const ALL: &str = "";

/// Signs that WhatsApp has ended the login.
const LOGIN_ENDED: [&str; 2] = ["device_removed", "stream_error_401"];

/// The last event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConnectionEvent {
    /// Opened or closed.
    opened: bool,
    /// When, if the line has a date.
    at: Option<Timestamp>,
}

/// What the logs of one session say about its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LastEvent {
    last: Option<ConnectionEvent>,
    /// Why a close does not count.
    unclear: Option<String>,
    /// See [`LogEvent`].
    doubted: Option<DoubtedClose>,
    /// The process that opened last.
    opener: Option<NamedProcess>,
    /// See [`LogEvent`].
    never_opened: bool,
    has_new_writer: bool,
    opened: Option<Timestamp>,
    /// When the login was ended.
    logged_out: Option<Timestamp>,
    /// When a log was last written or truncated.
    last_line: Timestamp,
    /// When the newest line was written.
    last_text: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct SeenEvent {
    at: Instant,
    mark: EndMark,
    /// By session with `session_line`, otherwise all under one empty name.
    events: Events,
    /// `WIDE_WINDOW` was read.
    is_wide: bool,
}

type Events = HashMap<Arc<str>, Connections>;

/// Reads the ends of logs, and caches the results.
#[derive(Debug)]
pub struct LastEventReader {
    settings: Arc<LogSettings>,
    sessions: Mutex<Sessions>,
    seen: Mutex<HashMap<PathBuf, Arc<SeenEvent>>>,
    looks: Arc<AtomicUsize>,
    wide_looks: Arc<AtomicUsize>,
    looked_for: Duration,
    own: OwnLogs,
    host: String,
    clock: Clock,
}

/// The sessions of this host.
#[derive(Debug)]
struct Sessions {
    discovery: Discovery,
    layout: Option<(Instant, Arc<Layout>)>,
}

impl LastEventReader {
    /// Reads the configured files. `sources` tell which sessions exist, including those left out of
    /// the metrics, because they have logs too.
    pub fn new(settings: Arc<LogSettings>, sources: Vec<SessionsPath>, clock: Clock) -> Self {
        let discovery = neighbours::discovery(sources);
        Self {
            settings,
            sessions: Mutex::new(Sessions {
                discovery,
                layout: None,
            }),
            seen: Mutex::default(),
            looks: Arc::default(),
            wide_looks: Arc::default(),
            looked_for: LOOKED_FOR,
            own: OwnLogs::of_this_process(),
            host: crate::host::name(),
            clock,
        }
    }

    /// The same after a reload: it remembers what `former` has read, where the same would be
    /// read in it now. Reads that `former` waits for count here as well.
    #[must_use]
    pub fn after(self, former: &Self) -> Self {
        let held = |reader: &Self| {
            let seen = reader.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.clone()
        };
        let reads_the_same = |a: &LogSettings, b: &LogSettings| {
            a.patterns.patterns() == b.patterns.patterns() && a.mapper.reads_lines_like(&b.mapper)
        };
        let seen = match reads_the_same(&self.settings, &former.settings) {
            true => held(former),
            false => HashMap::new(),
        };
        // While a look around takes long, nothing is remembered of the folders.
        if let Ok(known) = former.sessions.try_lock() {
            let mut own = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            own.discovery.remember(&known.discovery);
        }
        Self {
            seen: Mutex::new(seen),
            looks: Arc::clone(&former.looks),
            wide_looks: Arc::clone(&former.wide_looks),
            ..self
        }
    }

    /// What the logs of this session say; `None` if it has no log. Blocks.
    fn last_event_of(&self, session: &SessionName) -> io::Result<Option<LastEvent>> {
        let layout = self.layout();
        let by_line = self.settings.mapper.by_line();
        let key = if by_line { session.as_str() } else { ALL };
        // A line may name the session in any log.
        let candidates: Vec<&PlacedLog> = match by_line {
            true => layout.logs.iter().collect(),
            false => layout.logs_of(session.as_str()).collect(),
        };
        let mut event: Option<LastEvent> = None;
        let mut logs: Vec<OneLog> = Vec::new();
        for log in candidates {
            let path = &log.listed.path;
            let is_own = log.session.as_deref() == Some(session.as_str());
            let Some(seen) = self.look(path)? else {
                continue;
            };
            let connections = seen.events.get(key);
            if !is_own && !connections.is_some_and(Connections::tells) {
                continue;
            }
            let written = Timestamp::from(seen.mark.stat.modified);
            let event = event.get_or_insert(LastEvent {
                last: None,
                unclear: None,
                doubted: None,
                opener: None,
                never_opened: false,
                has_new_writer: false,
                opened: None,
                logged_out: None,
                last_line: written,
                last_text: None,
            });
            if seen.mark.stat.size > 0 {
                event.last_text = event.last_text.max(Some(written));
            }
            event.last_line = event.last_line.max(written);
            let connections = connections.cloned().unwrap_or_default();
            let opener = connections.opener_here();
            // A later connection that names no process of this host leaves it unknown who opened.
            let is_later = connections.last_opened() > event.opened;
            if is_later || opener.is_some() && connections.last_opened() >= event.opened {
                event.opener = opener;
            }
            event.opened = event.opened.max(connections.last_opened());
            event.logged_out = event.logged_out.max(connections.ended());
            logs.push(OneLog {
                writer: (path.parent().map(Path::to_owned), writer_name(path)),
                is_exact: self.settings.mapper.is_exact(path),
                contested: self
                    .settings
                    .mapper
                    .contested(path, &layout.neighbours.known),
                written,
                connections,
            });
        }
        let Some(event) = event.as_mut() else {
            return Ok(None);
        };
        match last_word(&logs, by_line) {
            LastWord::None => {}
            LastWord::Opened { at, has_new_writer } => {
                if at.is_none() {
                    event.opener = None;
                }
                event.last = Some(ConnectionEvent { opened: true, at });
                event.has_new_writer = has_new_writer;
            }
            LastWord::Unclear(why) => {
                event.unclear = Some(why);
                event.never_opened = logs.iter().any(|log| log.connections.never_opened());
            }
            LastWord::Closed { at, by, opened } => {
                let log_of = |name: &str| self.newest_beside(layout.logs_of(name), by, opened);
                let neighbours = &layout.neighbours;
                let other = (!by_line)
                    .then(|| neighbours.without_a_log(session.as_str(), event.last_line, log_of));
                match other.flatten() {
                    Some(name) => event.unclear = Some(without_a_log(name)),
                    None => event.last = Some(ConnectionEvent { opened: false, at }),
                }
            }
        }
        event.doubted = doubted_close(&logs, by_line).filter(|close| {
            let log_of = |name: &str| self.newest_beside(layout.logs_of(name), 0, None);
            let neighbours = &layout.neighbours;
            let is_named = by_line || close.pid.is_some();
            let other = || neighbours.without_a_log(session.as_str(), event.last_line, log_of);
            is_named || other().is_none()
        });
        Ok(Some(event.clone()))
    }

    /// When the newest of another session's own logs was written. Its own are those that tell of a
    /// connection, those that the configuration names exactly, and those that only other processes
    /// write, also since the process `by` opened its connection. An empty log is none of these.
    fn newest_beside<'a>(
        &self,
        logs: impl Iterator<Item = &'a PlacedLog>,
        by: u64,
        opened: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let is_its_own = |log: &Listed| {
            let Ok(Some(seen)) = self.glance(&log.path) else {
                return false;
            };
            let stat = seen.mark.stat;
            let is_newer = opened.is_some_and(|opened| opened < Timestamp::from(stat.modified));
            stat.size > 0 && self.settings.mapper.is_exact(&log.path)
                || seen.events.values().any(Connections::tells)
                || is_newer && seen.events.values().any(|log| log.is_only_of_others(by))
        };
        let mut logs: Vec<&Listed> = logs.map(|log| &log.listed).collect();
        logs.sort_by_key(|log| std::cmp::Reverse(log.stat.modified));
        let own = logs.into_iter().find(|log| is_its_own(log))?;
        Some(Timestamp::from(own.stat.modified))
    }

    /// The logs and their sessions, at most [`LISTED_FOR`] old.
    fn layout(&self) -> Arc<Layout> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, layout)) = sessions.layout.as_ref()
            && self.clock.since(*at) < LISTED_FOR
        {
            return Arc::clone(layout);
        }
        let mapper = &self.settings.mapper;
        let neighbours = Neighbours::look(&mut sessions.discovery, mapper);
        let layout = Arc::new(Layout::new(neighbours, self.files(), mapper));
        sessions.layout = Some((self.clock.now(), Arc::clone(&layout)));
        layout
    }

    /// The configured files. What was read in others is forgotten.
    fn files(&self) -> Vec<Listed> {
        let mut files: Vec<Listed> = Vec::new();
        for glob in &self.settings.globs {
            glob.list(|file| files.push(file), |_, _| {});
        }
        files.retain(|file| !self.own.contains(file));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.stat.id == b.stat.id);
        let listed: HashSet<&PathBuf> = files.iter().map(|file| &file.path).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|path, _| listed.contains(path));
        files
    }

    /// Reads what is new in a log of the session that is asked for.
    fn look(&self, path: &Path) -> io::Result<Option<Arc<SeenEvent>>> {
        let Some(seen) = self.glance(path)? else {
            return Ok(None);
        };
        // With session_line, a close of another session of the process is not taken for this one's.
        let is_needed = !seen.is_wide && !self.settings.mapper.by_line();
        if !is_needed || !seen.events.values().any(Connections::needs_earlier_lines) {
            return Ok(Some(seen));
        }
        let mut wide = SeenEvent::clone(&seen);
        self.look_further_back(path, &mut wide)?;
        Ok(Some(self.keep(path, wide)))
    }

    /// Reads what is new in a log.
    fn glance(&self, path: &Path) -> io::Result<Option<Arc<SeenEvent>>> {
        let before = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned();
        if let Some(seen) = before
            .as_ref()
            .filter(|seen| self.clock.since(seen.at) < self.looked_for)
        {
            return Ok(Some(Arc::clone(seen)));
        }
        let mark = before.as_ref().map(|seen| &seen.mark);
        let Some((mark, end)) = read_end(path, mark, WINDOW, OVERLAP)? else {
            return Ok(None);
        };
        let mut is_wide = before.as_ref().is_some_and(|seen| seen.is_wide);
        let mut events = before.map_or_else(Events::new, |seen| seen.events.clone());
        let modified = Timestamp::from(mark.stat.modified);
        match end {
            LogEnd::Unchanged => {}
            LogEnd::Grew { lines, known, gap } => {
                if gap {
                    events.values_mut().for_each(Connections::missed_lines);
                    is_wide = false;
                }
                self.take(&lines, known, modified, gap, &mut events);
            }
            LogEnd::New { lines } => {
                is_wide = mark.stat.size <= WINDOW;
                self.take_anew(&mark, &lines, &mut events);
            }
        }
        let seen = SeenEvent {
            at: self.clock.now(),
            mark,
            events,
            is_wide,
        };
        Ok(Some(self.keep(path, seen)))
    }

    /// Reads more of a log, to find the beginning of the process that closed.
    fn look_further_back(&self, path: &Path, seen: &mut SeenEvent) -> io::Result<()> {
        let looks = self.wide_looks.fetch_add(1, Ordering::Relaxed);
        let read = match looks < MOST_WIDE_LOOKS {
            true => read_end(path, None, WIDE_WINDOW, OVERLAP),
            false => Ok(None),
        };
        if let Ok(Some((mark, LogEnd::New { lines }))) = &read {
            self.take_anew(mark, lines, &mut seen.events);
            (seen.mark, seen.is_wide) = (*mark, true);
        }
        self.wide_looks.fetch_sub(1, Ordering::Relaxed);
        read.map(|_| ())
    }

    /// Reads a log as one that is not known.
    fn take_anew(&self, mark: &EndMark, lines: &[u8], events: &mut Events) {
        let is_cut = mark.lines_end() > lines.len() as u64;
        events
            .values_mut()
            .for_each(|known| known.began_anew(is_cut));
        let modified = Timestamp::from(mark.stat.modified);
        self.take(lines, 0, modified, is_cut, events);
    }

    /// Adds the lines of a log. The first `known` bytes were added before. `is_cut`: lines before
    /// them were not read.
    fn take(
        &self,
        lines: &[u8],
        known: usize,
        modified: Timestamp,
        is_cut: bool,
        events: &mut Events,
    ) {
        let patterns = &self.settings.patterns;
        let names = patterns.patterns();
        let is_401 = |sign: &Sign| {
            names
                .get(sign.pattern)
                .is_some_and(|pattern| LOGIN_ENDED.contains(&pattern.name.as_ref()))
        };
        let mapper = &self.settings.mapper;
        // In a process that runs many sessions, a line without a name is about none of them.
        let session = |raw: &[u8], text: &[u8]| match mapper.by_line() {
            true => mapper.of_line(raw).or_else(|| mapper.of_line(text)),
            false => Some(Arc::from(ALL)),
        };
        let mut scratch = Vec::new();
        let mut state = ScanState::default();
        let (before, new) = lines.split_at(known.min(lines.len()));
        patterns.scan(before, &mut state, &mut scratch, |_, _| {});
        let new_log = || Connections::new(is_cut);
        let sink = |events: &mut Events, hit: Hit<'_>, found: &RecordSigns| {
            let for_good = found.signs.iter().any(|sign| sign.certain && is_401(sign));
            if found.opened.is_none() && !for_good {
                return;
            }
            let Some(session) = session(hit.raw, hit.text) else {
                return;
            };
            // A line cannot be younger than the file.
            let at = date_in(hit.text).or_else(|| date_in(hit.raw));
            let at = at.filter(|at| *at <= modified.plus(Duration::from_secs(2)));
            let events = events.entry(session).or_insert_with(new_log);
            match found.opened {
                Some(true) => {
                    events.opened(at, origin_of(hit.text));
                    if let Some(pid) = pid_on(&self.host, hit.text) {
                        events.opened_here_by(pid);
                    }
                }
                Some(false) => {
                    events.closed(at, origin_of(hit.text), is_final(hit.text));
                    events.closed_by(close_writer_of(hit.text));
                }
                None => {}
            }
            if for_good {
                events.logged_out(at.or(Some(modified)));
            }
        };
        let new = to_utf8(new);
        let (mut from, mut at) = (0, 0);
        let mut last = None;
        for line in new.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            // Put the lines of processes, the starts of connections and the events in order.
            let Some(Written { by, starts, text }) = written(line) else {
                continue;
            };
            let session = session(line, &text);
            if !starts && last == Some((by, session.clone())) {
                continue;
            }
            // Not this line, because lines that belong to it may follow.
            let begin = at - line.len();
            patterns.scan(&new[from..begin], &mut state, &mut scratch, |hit, found| {
                sink(events, hit, found);
            });
            from = begin;
            if let Some(session) = &session {
                let events = events.entry(Arc::clone(session)).or_insert_with(new_log);
                let at = date_in(&text).or_else(|| date_in(line));
                match starts {
                    true => events.started(by, at),
                    false => events.wrote(by, at),
                }
            }
            last = Some((by, session));
        }
        patterns.scan(&new[from..], &mut state, &mut scratch, |hit, found| {
            sink(events, hit, found);
        });
        patterns.flush(&mut state, |hit, found| sink(events, hit, found));
    }

    fn keep(&self, path: &Path, seen: SeenEvent) -> Arc<SeenEvent> {
        let seen = Arc::new(seen);
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(path.to_owned(), Arc::clone(&seen));
        seen
    }

    /// The last event, unless too many reads hang.
    fn bounded(&self, session: &SessionName) -> Result<Option<LastEvent>, String> {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        let answer = match looks < MOST_LOOKS {
            true => self
                .last_event_of(session)
                .map_err(|error| format!("a log cannot be read: {error}")),
            false => Err("failed to read the logs: earlier reads hang".to_owned()),
        };
        self.looks.fetch_sub(1, Ordering::Relaxed);
        answer
    }
}

fn without_a_log(name: &str) -> String {
    format!(
        "session {name} has no log of its own that shows a connection, so it may be {name} that was disconnected; give the log of {name} (--logs.path={name}=PATH), name the supervisor under processes, or set logs.session_line if one process runs both"
    )
}

impl LogView for LastEventReader {
    fn read(&self, session: &SessionName) -> LogReading {
        let event = match self.bounded(session) {
            Ok(Some(event)) => event,
            Ok(None) => return LogReading::from(Ok(None)),
            Err(error) => return LogReading::from(Err(error)),
        };
        let is_open = event.last.is_some_and(|last| last.opened);
        LogReading {
            last_opened: event.opened,
            logged_out: event.logged_out.is_some() && !is_open && event.logged_out >= event.opened,
            event: Ok(Some(LogEvent {
                opener: event.opener.and_then(NamedProcess::look),
                opened: event.last.map(|last| last.opened),
                at: event.last.and_then(|last| last.at),
                last_line: event.last_line,
                last_text: event.last_text,
                unclear: event.unclear,
                doubted: event.doubted,
                never_opened: event.never_opened,
                has_new_writer: event.has_new_writer,
            })),
        }
    }

    fn configuration(&self) -> String {
        let globs: Vec<&str> = self
            .settings
            .globs
            .iter()
            .map(|glob| glob.as_str())
            .collect();
        format!("{globs:?} {:?}", self.settings.mapper)
    }
}

#[cfg(test)]
mod tests;
