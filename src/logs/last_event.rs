//! The end of a session's log, read for one purpose: was the connection's last event
//! "opened" or "closed", and when?
//!
//! A close counts only if the logs show that it ended the connection of this session:
//! `connections` decides for one log, `last_word` for all logs of a session, and
//! `neighbours` knows the sessions that the same process may run.

mod connections;
mod dates;
mod last_word;
mod neighbours;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;
use log_tailer::{EndMark, Listed, LogEnd, read_end};

use crate::connection::{LogEvent, LogView};
use crate::folder::discovery::Discovery;
use crate::folder::{SessionName, SessionsPath, Timestamp};

use super::LogSettings;
use super::encoding::to_utf8;
use super::log_name::writer_name;
use super::own::OwnLogs;
use super::pattern::{Hit, RecordSigns, ScanState, Sign};
use super::session_mapper::LogsSeen;
use super::sessions::KnownSessions;
use connections::Connections;
use dates::{Written, date_in, process_of, written};
use last_word::{LastWord, OneLog, last_word};
use neighbours::Neighbours;

/// How far back a file is read.
const WINDOW: u64 = 1 << 20;
/// A file that grew is read again from a little before its former end, to begin with a line.
const OVERLAP: u64 = 64 << 10;
/// A file is not looked at twice within this time, though many sessions may stand in it.
const LOOKED_FOR: Duration = Duration::from_secs(1);
/// Looks that may be under way; one at a file system that hangs does not come back.
const MOST_LOOKS: usize = 64;
/// The list of files is good for this long, and so is that of the sessions.
const LISTED_FOR: Duration = Duration::from_secs(10);

/// The name under which all lines of a log count, where the lines do not tell the session.
const ALL: &str = "";

/// The signs of a login that WhatsApp has ended.
const LOGGED_OUT: [&str; 2] = ["device_removed", "stream_error_401"];

/// The last event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConnectionEvent {
    /// Opened, or closed.
    opened: bool,
    /// When it was, where the line carries a date.
    at: Option<Timestamp>,
}

/// What the logs of one session say of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LastEvent {
    last: Option<ConnectionEvent>,
    /// Why a close does not count.
    unclear: Option<String>,
    opened: Option<Timestamp>,
    /// When the login was ended.
    logged_out: Option<Timestamp>,
    /// When a log was last written or emptied.
    last_line: Timestamp,
    /// When the newest line was written.
    last_text: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct SeenEvent {
    at: Instant,
    mark: EndMark,
    /// By session with `session_line`, else all under one empty name.
    events: HashMap<Arc<str>, Connections>,
}

/// Reads the ends of logs, and remembers what did not change.
#[derive(Debug)]
pub struct LastEventReader {
    settings: Arc<LogSettings>,
    sessions: Mutex<Sessions>,
    listed: Mutex<Option<(Instant, Files)>>,
    seen: Mutex<HashMap<PathBuf, SeenEvent>>,
    looks: AtomicUsize,
    looked_for: Duration,
    own: OwnLogs,
    clock: Clock,
}

/// Which sessions there are.
#[derive(Debug)]
struct Sessions {
    discovery: Discovery,
    found: Option<(Instant, Arc<Neighbours>)>,
}

/// The files, each with the session that its path tells.
type Files = Arc<Vec<(Listed, Option<Arc<str>>)>>;

impl LastEventReader {
    /// Over the configured files. `sources` tell which sessions there are: those left out of
    /// the metrics have logs too.
    pub fn new(settings: Arc<LogSettings>, sources: Vec<SessionsPath>, clock: Clock) -> Self {
        let discovery = neighbours::discovery(sources);
        Self {
            settings,
            sessions: Mutex::new(Sessions {
                discovery,
                found: None,
            }),
            listed: Mutex::default(),
            seen: Mutex::default(),
            looks: AtomicUsize::new(0),
            looked_for: LOOKED_FOR,
            own: OwnLogs::of_this_process(),
            clock,
        }
    }

    /// What the logs of this session say; `None` if it has none. Blocks.
    fn last_event_of(&self, session: &SessionName) -> io::Result<Option<LastEvent>> {
        let around = self.sessions();
        let files = self.files();
        let by_line = self.settings.mapper.by_line();
        let key = if by_line { session.as_str() } else { ALL };
        let mut event: Option<LastEvent> = None;
        let mut logs: Vec<OneLog> = Vec::new();
        let mut newest_log: HashMap<Arc<str>, Timestamp> = HashMap::new();
        for (listed, by_path) in files.iter() {
            let path = &listed.path;
            let owner = self.session_of(path, by_path.as_ref(), &around.known);
            let is_own = owner.as_deref() == Some(session.as_str());
            if let Some(owner) = owner {
                let modified = Timestamp::from(listed.stat.modified);
                let newest = newest_log.entry(owner).or_insert(modified);
                *newest = modified.max(*newest);
            }
            if !is_own && !by_line {
                continue;
            }
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
            event.opened = event.opened.max(connections.last_opened());
            event.logged_out = event.logged_out.max(connections.ended());
            logs.push(OneLog {
                writer: (path.parent().map(Path::to_owned), writer_name(path)),
                is_exact: self.settings.mapper.is_exact(path),
                contested: self.settings.mapper.contested(path, &around.known),
                written,
                connections,
            });
        }
        let Some(event) = event.as_mut() else {
            return Ok(None);
        };
        match last_word(&logs, by_line) {
            LastWord::None => {}
            LastWord::Opened { at } => event.last = Some(ConnectionEvent { opened: true, at }),
            LastWord::Unclear(why) => event.unclear = Some(why),
            LastWord::Closed { at } => {
                let log_of = |name: &str| newest_log.get(name).copied();
                let other = around.without_a_log(session.as_str(), event.last_line, log_of);
                match other.filter(|_| !by_line) {
                    Some(name) => event.unclear = Some(without_a_log(name)),
                    None => event.last = Some(ConnectionEvent { opened: false, at }),
                }
            }
        }
        Ok(Some(event.clone()))
    }

    /// The session of a log by its path: as pm2 calls it, if not as it is, and if it calls no
    /// other so. Nothing is guessed here: what another bot's log says would be believed of this
    /// one.
    fn session_of(
        &self,
        path: &Path,
        by_path: Option<&Arc<str>>,
        known: &KnownSessions,
    ) -> Option<Arc<str>> {
        let placed = self
            .settings
            .mapper
            .place(path, known, &LogsSeen::default());
        placed.map(|(name, _)| name).or_else(|| by_path.cloned())
    }

    fn sessions(&self) -> Arc<Neighbours> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, found)) = sessions.found.as_ref()
            && self.clock.since(*at) < LISTED_FOR
        {
            return Arc::clone(found);
        }
        let found = Neighbours::look(&mut sessions.discovery, &self.settings.mapper);
        let found = Arc::new(found);
        sessions.found = Some((self.clock.now(), Arc::clone(&found)));
        found
    }

    fn files(&self) -> Files {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, files)) = listed.as_ref()
            && self.clock.since(*at) < LISTED_FOR
        {
            return Arc::clone(files);
        }
        let mut files: Vec<Listed> = Vec::new();
        for glob in &self.settings.globs {
            glob.list(|file| files.push(file), |_, _| {});
        }
        files.retain(|file| !self.own.contains(file));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.stat.id == b.stat.id);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|path, _| files.iter().any(|file| &file.path == path));
        let place = |file: Listed| {
            let session = self.settings.mapper.of_path(&file.path);
            (file, session)
        };
        let files: Files = Arc::new(files.into_iter().map(place).collect());
        *listed = Some((self.clock.now(), Arc::clone(&files)));
        files
    }

    fn look(&self, path: &Path) -> io::Result<Option<SeenEvent>> {
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
            return Ok(Some(seen.clone()));
        }
        let mark = before.as_ref().map(|seen| &seen.mark);
        let Some((mark, end)) = read_end(path, mark, WINDOW, OVERLAP)? else {
            return Ok(None);
        };
        let mut events = before.map(|seen| seen.events).unwrap_or_default();
        let at = self.clock.now();
        let (lines, known) = match end {
            LogEnd::Unchanged => return Ok(Some(self.keep(path, SeenEvent { at, mark, events }))),
            LogEnd::Grew { lines, known, gap } => {
                if gap {
                    events.values_mut().for_each(Connections::missed_lines);
                }
                (lines, known)
            }
            LogEnd::New { lines } => {
                events.values_mut().for_each(Connections::began_anew);
                (lines, 0)
            }
        };
        let modified = Timestamp::from(mark.stat.modified);
        self.take(&lines, known, modified, &mut events);
        let seen = SeenEvent {
            at: self.clock.now(),
            mark,
            events,
        };
        Ok(Some(self.keep(path, seen)))
    }

    /// Takes the lines of a log. The first `known` bytes were taken before.
    fn take(
        &self,
        lines: &[u8],
        known: usize,
        modified: Timestamp,
        events: &mut HashMap<Arc<str>, Connections>,
    ) {
        let patterns = &self.settings.patterns;
        let names = patterns.patterns();
        let is_401 = |sign: &Sign| {
            names
                .get(sign.pattern)
                .is_some_and(|pattern| LOGGED_OUT.contains(&pattern.name.as_ref()))
        };
        let mapper = &self.settings.mapper;
        // One process that runs many sessions: what names none speaks of none.
        let session = |raw: &[u8], text: &[u8]| match mapper.by_line() {
            true => mapper.of_line(raw).or_else(|| mapper.of_line(text)),
            false => Some(Arc::from(ALL)),
        };
        let mut scratch = Vec::new();
        let mut state = ScanState::default();
        let (before, new) = lines.split_at(known.min(lines.len()));
        patterns.scan(before, &mut state, &mut scratch, |_, _| {});
        let sink =
            |events: &mut HashMap<Arc<str>, Connections>, hit: Hit<'_>, found: &RecordSigns| {
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
                let events = events.entry(session).or_default();
                match found.opened {
                    Some(true) => events.opened(at, process_of(hit.text)),
                    Some(false) => events.closed(at, process_of(hit.text)),
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
            // The lines of a process, and the starts of its connections, in order with the rest.
            let Some(Written { by, starts, text }) = written(line) else {
                continue;
            };
            let session = session(line, &text);
            if !starts && last == Some((by, session.clone())) {
                continue;
            }
            patterns.scan(&new[from..at], &mut state, &mut scratch, |hit, found| {
                sink(events, hit, found);
            });
            from = at;
            if let Some(session) = &session {
                let events = events.entry(Arc::clone(session)).or_default();
                match starts {
                    true => events.started(by),
                    false => events.wrote(by),
                }
            }
            last = Some((by, session));
        }
        patterns.scan(&new[from..], &mut state, &mut scratch, |hit, found| {
            sink(events, hit, found);
        });
        patterns.flush(&mut state, |hit, found| sink(events, hit, found));
    }

    fn keep(&self, path: &Path, seen: SeenEvent) -> SeenEvent {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned(), seen.clone());
        seen
    }

    /// The last event, unless too many reads have not come back.
    fn bounded(&self, session: &SessionName) -> Result<Option<LastEvent>, String> {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        let answer = match looks < MOST_LOOKS {
            true => self
                .last_event_of(session)
                .map_err(|error| format!("a log cannot be read: {error}")),
            false => Err("the logs cannot be read: earlier looks have not come back".to_owned()),
        };
        self.looks.fetch_sub(1, Ordering::Relaxed);
        answer
    }
}

fn without_a_log(name: &str) -> String {
    format!(
        "session {name} has no log of its own, so it may be {name} that was disconnected; give the log of {name}, or set logs.session_line if one process runs both"
    )
}

impl LogView for LastEventReader {
    fn last_event(&self, session: &SessionName) -> Result<Option<LogEvent>, String> {
        Ok(self.bounded(session)?.map(|event| LogEvent {
            opened: event.last.map(|last| last.opened),
            at: event.last.and_then(|last| last.at),
            last_line: event.last_line,
            last_text: event.last_text,
            unclear: event.unclear,
        }))
    }

    fn last_opened(&self, session: &SessionName) -> Option<Timestamp> {
        self.bounded(session).ok()??.opened
    }

    fn logged_out(&self, session: &SessionName) -> bool {
        let Ok(Some(event)) = self.bounded(session) else {
            return false;
        };
        let opened = event.last.is_some_and(|last| last.opened);
        event.logged_out.is_some() && !opened && event.logged_out >= event.opened
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
