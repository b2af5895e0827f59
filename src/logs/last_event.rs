//! The end of a session's log, read for one purpose: was the connection's last event
//! "opened" or "closed", and when?

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;
use globset::GlobSet;
use log_tailer::{EndMark, Listed, LogEnd, read_end};
use regex::bytes::Regex;
use xxhash_rust::xxh3::xxh3_64;

use crate::connection::{LogEvent, LogView};
use crate::folder::discovery::Discovery;
use crate::folder::{SessionName, SessionsPath, Timestamp};

use super::LogSettings;
use super::own::OwnLogs;
use super::pattern::{Hit, RecordSigns, ScanState, Sign};
use super::session_mapper::LogsSeen;
use super::sessions::KnownSessions;

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

/// The signs of a login that WhatsApp has ended.
const LOGGED_OUT: [&str; 2] = ["device_removed", "stream_error_401"];

/// The last event of a connection in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConnectionEvent {
    /// Opened, or closed.
    opened: bool,
    /// When it was, where the line carries a date.
    at: Option<Timestamp>,
}

/// What one log says of one session.
#[derive(Clone, Copy, Debug, Default)]
struct SessionEvents {
    /// A closing counts only from the process that had opened: another one's says nothing of
    /// a connection, and who writes to the bot does not know its number.
    last: Option<ConnectionEvent>,
    /// The last dated "opened".
    opened: Option<Timestamp>,
    /// The process that wrote it: process and host, as a hash.
    by: Option<u64>,
    /// Whether the connection is closed, by either side.
    closed: bool,
    /// When it was closed for good (401), if it was not opened since.
    logged_out: Option<Timestamp>,
}

/// What the logs of one session say of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastEvent {
    last: Option<ConnectionEvent>,
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
    events: HashMap<Arc<str>, SessionEvents>,
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
    found: Option<(Instant, Arc<KnownSessions>)>,
}

/// The files, each with the session that its path tells.
type Files = Arc<Vec<(Listed, Option<Arc<str>>)>>;

impl LastEventReader {
    /// Over the configured files. `sources` tell which sessions there are: those left out of
    /// the metrics have logs too.
    pub fn new(settings: Arc<LogSettings>, sources: Vec<SessionsPath>, clock: Clock) -> Self {
        let discovery = Discovery::new(sources, None, GlobSet::empty());
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
        let mut event: Option<LastEvent> = None;
        // How far each file's last event reaches. An undated closing reaches nowhere.
        let mut newest: Option<Timestamp> = None;
        for (listed, by_path) in self.files().iter() {
            // As pm2 calls it, if not as it is, and if it calls no other so: what another bot's
            // log tells would be believed of this one.
            let called = by_path.as_deref().unwrap_or_default();
            // Nothing is guessed here.
            let logs = LogsSeen::default();
            let mapper = &self.settings.mapper;
            let by_path = match mapper.place(&listed.path, &self.sessions(), &logs) {
                Some((placed, _)) => *placed == *session.as_str(),
                None => called == session.as_str(),
            };
            let called = if by_path && !self.settings.mapper.by_line() {
                called
            } else {
                session.as_str()
            };
            if !by_path && !self.settings.mapper.by_line() {
                continue;
            }
            let Some(seen) = self.look(&listed.path)? else {
                continue;
            };
            let events = seen.events.get(called);
            if !by_path && events.is_none() {
                continue;
            }
            let written = Timestamp::from(seen.mark.stat.modified);
            let event = event.get_or_insert(LastEvent {
                last: None,
                opened: None,
                logged_out: None,
                last_line: written,
                last_text: None,
            });
            if seen.mark.stat.size > 0 {
                event.last_text = event.last_text.max(Some(written));
            }
            event.last_line = event.last_line.max(written);
            let Some(events) = events else { continue };
            event.opened = event.opened.max(events.opened);
            event.logged_out = event.logged_out.max(events.logged_out);
            let Some(last) = events.last else { continue };
            let reach = last.at.or(Some(written).filter(|_| last.opened));
            // Of two that reach as far the one that says connected is believed.
            if event.last.is_none() || reach > newest || reach == newest && last.opened {
                event.last = Some(last);
                newest = reach;
            }
        }
        Ok(event)
    }

    /// The sessions, and every directory beside one: where a single folder is named, those
    /// around it are bots as well.
    fn sessions(&self) -> Arc<KnownSessions> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, found)) = sessions.found.as_ref()
            && self.clock.since(*at) < LISTED_FOR
        {
            return Arc::clone(found);
        }
        let survey = sessions.discovery.survey();
        let parents: BTreeSet<&Path> = survey
            .found
            .iter()
            .map(|found| &*found.place.parent)
            .collect();
        let beside = parents
            .into_iter()
            .filter_map(|parent| parent.read_dir().ok())
            .flatten()
            .flatten();
        let beside = beside.filter(|entry| entry.path().is_dir());
        let beside = beside.map(|entry| SessionName::from_dir(&entry.file_name()));
        let named = survey.found.iter().map(|found| found.session.clone());
        let names = named.chain(beside).map(|name| Arc::from(name.as_str()));
        let found = Arc::new(KnownSessions::of(names));
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
        let text = match end {
            LogEnd::Unchanged => return Ok(Some(self.keep(path, SeenEvent { at, mark, events }))),
            LogEnd::Grew { lines, gap } => {
                if gap {
                    // What stands between was never read, and may be the last event.
                    events.values_mut().for_each(|events| {
                        *events = SessionEvents {
                            opened: events.opened,
                            ..SessionEvents::default()
                        }
                    });
                }
                lines
            }
            LogEnd::New { lines } => {
                events.clear();
                lines
            }
        };
        let modified = Timestamp::from(mark.stat.modified);
        let by_path = self.settings.mapper.of_path(path);
        let by_line = self.settings.mapper.by_line();
        let mut scratch = Vec::new();
        let names = self.settings.patterns.patterns();
        let is_401 = |sign: &Sign| {
            names
                .get(sign.pattern)
                .is_some_and(|pattern| LOGGED_OUT.contains(&pattern.name.as_ref()))
        };
        let mut state = ScanState::default();
        let mut sink = |hit: Hit<'_>, found: &RecordSigns| {
            let for_good = found.signs.iter().any(|sign| sign.certain && is_401(sign));
            if found.opened.is_none() && !for_good {
                return;
            }
            // One process that runs many sessions: what names none speaks of none.
            let session = if by_line {
                let mapper = &self.settings.mapper;
                mapper.of_line(hit.raw).or_else(|| mapper.of_line(hit.text))
            } else {
                by_path.clone()
            };
            let Some(session) = session else { return };
            // A line cannot be younger than the file.
            let at = date_in(hit.text).or_else(|| date_in(hit.raw));
            let at = at.filter(|at| *at <= modified.plus(Duration::from_secs(2)));
            let events = events.entry(session).or_default();
            if let Some(opened) = found.opened {
                events.apply(opened, at, process_of(hit.text));
            }
            // Only for a closed connection: a text that was sent to the bot closes none.
            if for_good && events.closed {
                events.logged_out = at.or(Some(modified));
            }
        };
        let patterns = &self.settings.patterns;
        patterns.scan(&text, &mut state, &mut scratch, &mut sink);
        patterns.flush(&mut state, &mut sink);
        let seen = SeenEvent {
            at: self.clock.now(),
            mark,
            events,
        };
        Ok(Some(self.keep(path, seen)))
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

impl SessionEvents {
    fn apply(&mut self, opened: bool, at: Option<Timestamp>, by: Option<u64>) {
        self.closed = !opened;
        if opened {
            self.logged_out = None;
            self.opened = self.opened.max(at);
            self.by = by;
            self.last = Some(ConnectionEvent { opened, at });
        } else {
            let same = by.is_some() && by == self.by;
            self.last = same.then_some(ConnectionEvent { opened, at });
        }
    }
}

impl LogView for LastEventReader {
    fn last_event(&self, session: &SessionName) -> Result<Option<LogEvent>, String> {
        Ok(self.bounded(session)?.map(|event| LogEvent {
            opened: event.last.map(|last| last.opened),
            at: event.last.and_then(|last| last.at),
            last_line: event.last_line,
            last_text: event.last_text,
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

/// Which process says so, and on which host: pino writes both into every line.
fn process_of(record: &[u8]) -> Option<u64> {
    static PROCESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r#"(?-u)[{,]"pid":(?<pid>\d+)|[{,]"hostname":"(?<host>[^"\\]{1,255})"|"#,
            r"^\[[^\]\n]{5,40}\] (?:INFO|WARN|ERROR) \((?<pretty>[^)\n]{1,100})\): "
        ))
        .ok()
    });
    let (mut pid, mut host) = (None, None);
    for found in PROCESS.as_ref()?.captures_iter(record) {
        let of = |name: &str| found.name(name).map(|part| part.as_bytes().to_vec());
        if let Some(pretty) = of("pretty") {
            return Some(xxh3_64(&pretty));
        }
        pid = pid.or_else(|| of("pid"));
        host = host.or_else(|| of("host"));
        if let (Some(pid), Some(host)) = (&pid, &host) {
            return Some(xxh3_64(&[&pid[..], b"@", &host[..]].concat()));
        }
    }
    None
}

/// The date that a line carries: pino's `time`, or one before the text (pm2, pino-pretty),
/// which counts only with a zone: a date without one may be hours off.
fn date_in(line: &[u8]) -> Option<Timestamp> {
    static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r#"(?-u)"time":(?<millis>\d{13})[,}]|"#,
            r"(?<y>20\d\d)-(?<mo>\d\d)-(?<d>\d\d)[T ](?<h>\d\d):(?<mi>\d\d):(?<s>\d\d)(?:[.,](?<ms>\d{3})\d*)?\s?(?<zone>Z|[+-]\d\d:?\d\d)"
        ))
        .ok()
    });
    let found = DATE.as_ref()?.captures(line)?;
    let number = |name: &str| -> Option<i64> {
        std::str::from_utf8(found.name(name)?.as_bytes())
            .ok()?
            .parse()
            .ok()
    };
    if let Some(millis) = number("millis") {
        return Some(Timestamp::from_nanos(millis.saturating_mul(1_000_000)));
    }
    let zone = std::str::from_utf8(found.name("zone")?.as_bytes()).ok()?;
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        number("y")?,
        number("mo")?,
        number("d")?,
        number("h")?,
        number("mi")?,
        number("s")?
    );
    let utc = Timestamp::from(humantime::parse_rfc3339(&text).ok()?);
    let utc = utc.plus(Duration::from_millis(
        number("ms").and_then(|ms| ms.try_into().ok()).unwrap_or(0),
    ));
    if zone == "Z" {
        return Some(utc);
    }
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = (
        digits.get(..2)?.parse::<u64>().ok()?,
        digits.get(2..)?.parse::<u64>().ok()?,
    );
    let shift = Duration::from_secs(hours * 3_600 + minutes * 60);
    Some(if zone.starts_with('-') {
        utc.plus(shift)
    } else {
        utc.minus(shift)
    })
}

#[cfg(test)]
mod tests;
