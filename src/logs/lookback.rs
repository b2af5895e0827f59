//! The end of a session's log, read for one purpose: was the connection's last word
//! "opened" or "closed", and when?

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memchr::memchr;
use regex::bytes::Regex;

use crate::connection::{LogEvent, LogView};
use crate::folder::{SessionName, Timestamp};

use super::LogSettings;
use super::files::{Listed, Stat};
use super::pattern::Found;

/// How far back a file is read.
const WINDOW: u64 = 4 << 20;
/// The list of files is good for this long.
const LISTED_FOR: Duration = Duration::from_secs(10);

/// The connection's last word in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastWord {
    /// Opened, or closed.
    opened: bool,
    /// When it was said, where the line carries a date.
    at: Option<Timestamp>,
}

/// What one log says of one session.
#[derive(Clone, Copy, Debug)]
struct Words {
    last: LastWord,
    /// The last dated "opened".
    opened: Option<Timestamp>,
}

/// What the logs of one session say of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    last: Option<LastWord>,
    opened: Option<Timestamp>,
    /// When the newest line was written.
    last_line: Timestamp,
}

#[derive(Clone, Debug)]
struct Seen {
    stat: Stat,
    words: HashMap<Arc<str>, Words>,
}

/// Reads the ends of logs, and remembers what did not change.
#[derive(Debug)]
pub struct Lookback {
    settings: Arc<LogSettings>,
    listed: Mutex<Option<(Instant, Arc<Vec<Listed>>)>>,
    seen: Mutex<HashMap<PathBuf, Seen>>,
}

impl Lookback {
    /// Over the configured files.
    pub fn new(settings: Arc<LogSettings>) -> Self {
        Self { settings, listed: Mutex::default(), seen: Mutex::default() }
    }

    /// What the logs of this session say; `None` if it has none. Blocks.
    fn said(&self, session: &SessionName) -> io::Result<Option<Said>> {
        let mut said: Option<Said> = None;
        // How far each file's last word reaches: its date, or at most the file's.
        let mut newest: Option<Timestamp> = None;
        for listed in self.files().iter() {
            let by_path = self.settings.placing.of_path(&listed.path);
            let by_path = by_path.as_deref() == Some(session.as_str());
            if !by_path && !self.settings.placing.by_line() {
                continue;
            }
            let Some(seen) = self.look(&listed.path)? else { continue };
            let words = seen.words.get(session.as_str());
            if !by_path && words.is_none() {
                continue;
            }
            let written = seen.stat.modified;
            let said = said.get_or_insert(Said { last: None, opened: None, last_line: written });
            said.last_line = said.last_line.max(written);
            let Some(words) = words else { continue };
            said.opened = said.opened.max(words.opened);
            let reach = words.last.at.unwrap_or(written);
            if newest.is_none_or(|newest| reach > newest) {
                said.last = Some(words.last);
                newest = Some(reach);
            }
        }
        Ok(said)
    }

    fn files(&self) -> Arc<Vec<Listed>> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, files)) = listed.as_ref()
            && at.elapsed() < LISTED_FOR
        {
            return Arc::clone(files);
        }
        let mut files: Vec<Listed> = Vec::new();
        for glob in &self.settings.globs {
            glob.list(|file| files.push(file), |_, _| {});
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.stat.id == b.stat.id);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|path, _| files.iter().any(|file| &file.path == path));
        let files = Arc::new(files);
        *listed = Some((Instant::now(), Arc::clone(&files)));
        files
    }

    fn look(&self, path: &Path) -> io::Result<Option<Seen>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = Stat::from(&file.metadata()?);
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let (from, mut words) = match before {
            Some(seen) if seen.stat == stat => return Ok(Some(seen)),
            // It grew: only what is new is read, from a line's beginning before it.
            Some(seen) if seen.stat.id == stat.id && seen.stat.size <= stat.size => {
                (seen.stat.size.saturating_sub(64 << 10), seen.words)
            }
            _ => (0, HashMap::new()),
        };
        let from = from.max(stat.size.saturating_sub(WINDOW));
        let mut bytes = vec![0; usize::try_from(stat.size - from).unwrap_or(0)];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], from + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        let mut text = &bytes[..read];
        if from > 0 {
            // Begin with a whole line.
            text = memchr(b'\n', text).map_or(&[][..], |newline| &text[newline + 1..]);
        }
        let by_path = self.settings.placing.of_path(path);
        let mut scratch = Vec::new();
        self.settings.patterns.scan(text, &mut scratch, |line, found: &Found| {
            let Some(opened) = found.opened else { return };
            let session = self.settings.placing.of_line(line).or_else(|| by_path.clone());
            if let Some(session) = session {
                let last = LastWord { opened, at: date_in(line) };
                let before = words.get(&session).and_then(|words: &Words| words.opened);
                let opened = if opened { last.at.max(before) } else { before };
                words.insert(session, Words { last, opened });
            }
        });
        let seen = Seen { stat, words };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), seen.clone());
        Ok(Some(seen))
    }
}

impl LogView for Lookback {
    fn last_event(&self, session: &SessionName) -> Result<Option<LogEvent>, String> {
        match self.said(session) {
            Ok(said) => Ok(said.and_then(|said| {
                let LastWord { opened, at } = said.last?;
                Some(LogEvent { opened, at, last_line: said.last_line })
            })),
            Err(error) => Err(format!("a log cannot be read: {error}")),
        }
    }

    fn last_opened(&self, session: &SessionName) -> Option<Timestamp> {
        self.said(session).ok()??.opened
    }

    fn configuration(&self) -> String {
        let globs: Vec<&str> = self.settings.globs.iter().map(|glob| glob.as_str()).collect();
        format!("{globs:?} {:?}", self.settings.placing)
    }
}

/// The date that a line carries: pino's `time`, or one before the text (pm2, pino-pretty),
/// which counts only with a zone: a date without one may be hours off.
fn date_in(line: &[u8]) -> Option<Timestamp> {
    static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r#"(?-u)"time":(?<millis>\d{13})[,}]|"#,
            r"(?<y>20\d\d)-(?<mo>\d\d)-(?<d>\d\d)[T ](?<h>\d\d):(?<mi>\d\d):(?<s>\d\d)(?:[.,]\d+)?\s?(?<zone>Z|[+-]\d\d:?\d\d)"
        ))
        .ok()
    });
    let found = DATE.as_ref()?.captures(line)?;
    let number =
        |name: &str| -> Option<i64> { std::str::from_utf8(found.name(name)?.as_bytes()).ok()?.parse().ok() };
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
    if zone == "Z" {
        return Some(utc);
    }
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = (digits.get(..2)?.parse::<u64>().ok()?, digits.get(2..)?.parse::<u64>().ok()?);
    let shift = Duration::from_secs(hours * 3_600 + minutes * 60);
    Some(if zone.starts_with('-') { utc.plus(shift) } else { utc.minus(shift) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |line: &str| date_in(line.as_bytes()).map(Timestamp::rfc3339);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(
            at(r#"{"level":30,"time":"2026-11-23T18:14:04.021Z","msg":"x"}"#),
            is("2026-11-23T18:14:04Z")
        );
        assert_eq!(at(r#"{"level":30,"time":1795457644021,"msg":"x"}"#), is("2026-11-23T18:14:04Z"));
        assert_eq!(at("2026-11-23 20:16:57.145 +02:00: x"), is("2026-11-23T18:16:57Z"));
        assert_eq!(at("[2026-11-23 18:16:57.145 +0000] INFO: x"), is("2026-11-23T18:16:57Z"));
        assert_eq!(at("[2026-11-23 13:16:57 -0500] INFO: x"), is("2026-11-23T18:16:57Z"));
        assert_eq!(at("2026-11-23T18:16:57: no zone"), None);
        assert_eq!(at("[18:14:04.039] INFO (26088): x"), None);
        assert_eq!(at("2026-19-23T18:14:04Z"), None);
    }

    fn lookback(dir: &Path, line: Option<&str>) -> Lookback {
        Lookback::new(Arc::new(LogSettings {
            globs: vec![super::super::LogGlob::new(&format!("{}/*.log", dir.display())).unwrap()],
            from_start: false,
            state_path: dir.to_owned(),
            placing: super::super::Placing::new(None, line, None, None).unwrap(),
            patterns: Arc::new(super::super::Patterns::shipped_and(&[]).unwrap()),
        }))
    }

    fn pino(at: &str, text: &str) -> String {
        format!("{{\"level\":30,\"time\":\"2026-11-23T{at}.000Z\",\"session\":\"b\",\"msg\":\"{text}\"}}\n")
    }

    fn at(clock: &str) -> Option<Timestamp> {
        humantime::parse_rfc3339(&format!("2026-11-23T{clock}Z")).ok().map(Timestamp::from)
    }

    #[test]
    fn the_last_word_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (SessionName::from_dir("a".as_ref()), SessionName::from_dir("b".as_ref()));
        let log = dir.path().join("a-out.log");
        let logs = lookback(dir.path(), None);
        assert_eq!(logs.last_event(&a), Ok(None), "there is no log");
        let append = |text: &str| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let word = |logs: &Lookback| logs.last_event(&a).unwrap().map(|event| (event.opened, event.at));
        append("nothing of that kind\n");
        // The list of files is good for a while; another instance asks anew.
        let logs = lookback(dir.path(), None);
        assert_eq!(word(&logs), None);
        append(&pino("10:00:00", "opened connection to WA"));
        assert_eq!(word(&logs), Some((true, at("10:00:00"))));
        append(&"x".repeat(200_000));
        append("\n");
        assert_eq!(word(&logs), Some((true, at("10:00:00"))));
        append(&pino("11:00:00", "connection errored"));
        assert_eq!(word(&logs), Some((false, at("11:00:00"))));
        assert_eq!(logs.last_opened(&a), at("10:00:00"));
        assert_eq!(word(&lookback(dir.path(), None)), word(&logs), "with and without memory");
        append("[12:00:00.000] INFO (7): opened connection to WA\n");
        assert_eq!(word(&logs), Some((true, None)));
        // Emptied: what it said is gone.
        std::fs::write(&log, "").unwrap();
        assert_eq!(word(&logs), None);
        assert_eq!(logs.last_event(&b), Ok(None));
        let by_line = lookback(dir.path(), Some("\"session\":\"(?<session>[^\"]+)\""));
        append(&pino("13:00:00", "connection closed"));
        assert_eq!(by_line.last_event(&b).unwrap().unwrap().at, at("13:00:00"));
    }

    #[test]
    fn what_is_too_far_back_is_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut text = pino("10:00:00", "connection closed");
        text.push_str(&"a line of no interest whatever\n".repeat(WINDOW as usize / 31 + 1));
        std::fs::write(dir.path().join("a-out.log"), text).unwrap();
        let a = SessionName::from_dir("a".as_ref());
        assert_eq!(lookback(dir.path(), None).last_event(&a), Ok(None));
    }
}
