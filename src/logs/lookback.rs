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
pub struct LastWord {
    /// Opened, or closed.
    pub opened: bool,
    /// When it was said, where the line carries a date.
    pub at: Option<Timestamp>,
}

/// What the logs of one session say of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The last word, if there is one within reach.
    pub last: Option<LastWord>,
    /// When the newest line was written.
    pub last_line: Timestamp,
}

#[derive(Clone, Debug)]
struct Seen {
    stat: Stat,
    /// By session; the empty name is the path's.
    words: HashMap<Arc<str>, LastWord>,
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
    ///
    /// Errors: a log could not be read.
    pub fn said(&self, session: &SessionName) -> io::Result<Option<Said>> {
        let mut said: Option<Said> = None;
        let mut newest: Option<Timestamp> = None;
        for listed in self.files().iter() {
            let by_path = self.settings.placing.of_path(&listed.path);
            let by_path = by_path.as_deref() == Some(session.as_str());
            if !by_path && !self.settings.placing.by_line() {
                continue;
            }
            let Some(seen) = self.look(&listed.path)? else { continue };
            let word = seen.words.get(session.as_str()).copied();
            if !by_path && word.is_none() {
                continue;
            }
            let said = said.get_or_insert(Said { last: None, last_line: seen.stat.modified });
            said.last_line = said.last_line.max(seen.stat.modified);
            if let Some(word) = word {
                // Of two files that both know one, the dated and newer speaks.
                let rank = word.at.or(Some(seen.stat.modified).filter(|_| said.last.is_none()));
                if said.last.is_none() || rank > newest {
                    said.last = Some(word);
                    newest = rank;
                }
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
                words.insert(session, LastWord { opened, at: date_in(line) });
            }
        });
        let seen = Seen { stat, words };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), seen.clone());
        Ok(Some(seen))
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
}
