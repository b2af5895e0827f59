//! What a line says about itself: when it was written, and by which process. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use memchr::memmem::{self, Finder};
use memchr::{memchr, memchr2};
use regex::bytes::Regex;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::folder::Timestamp;
use crate::logs::record::unwrap;

use super::connections::{CloseWriter, Origin};

/// A line that names the process that wrote it.
pub(super) struct Written<'a> {
    /// The process; see [`process_of`].
    pub(super) by: u64,
    /// It reports that a socket was connected and the login begins.
    pub(super) starts: bool,
    /// The line without its envelopes.
    pub(super) text: Cow<'a, [u8]>,
}

/// The process that wrote a line, if the line names it.
pub(super) fn written(line: &[u8]) -> Option<Written<'_>> {
    // The library's logger writes this once for each socket.
    static STARTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r#"(?-u)[{,]"(?:msg|message)": ?"connected to WA"|"#,
            r"^\[[^\]\n]{5,40}\] INFO ?\([^)\n]{1,100}\): (?:session:[\w.-]{1,100} - )?connected to WA"
        ))
        .ok()
    });
    static SIGNS: LazyLock<[Finder<'_>; 2]> = LazyLock::new(|| ["pid", "): "].map(Finder::new));
    static MESSAGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("connected to WA"));
    if SIGNS.iter().all(|sign| sign.find(line).is_none()) {
        return None;
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let text = unwrap(line).text;
    let by = process_of(&text)?;
    let starts = MESSAGE.find(&text).is_some()
        && STARTS.as_ref().is_some_and(|starts| starts.is_match(&text));
    Some(Written { by, starts, text })
}

/// The process and its host, which pino writes into every line.
fn process_of(record: &[u8]) -> Option<u64> {
    Some(xxh3_64(&match process_words(record)? {
        ProcessWords::Pretty(words) => words,
        ProcessWords::Fields { pid, host } => [&pid[..], b"@", &host[..]].concat(),
    }))
}

/// The number of the process that wrote a record, if the record names it and says that it was on
/// this host.
pub(super) fn pid_on(this_host: &str, record: &[u8]) -> Option<u32> {
    let (pid, host) = match process_words(record)? {
        ProcessWords::Fields { pid, host } => (pid, host),
        ProcessWords::Pretty(words) => {
            let at = memmem::find(&words, b" on ")?;
            let pid = words[..at].rsplit(|byte| *byte == b'/').next()?;
            (pid.to_vec(), words[at + 4..].to_vec())
        }
    };
    let pid = std::str::from_utf8(&pid).ok()?.parse().ok()?;
    (host == this_host.as_bytes()).then_some(pid)
}

/// Which process a record about a close names as the one that wrote it.
pub(super) fn close_writer_of(record: &[u8]) -> CloseWriter {
    let pid = match process_words(record) {
        None => return CloseWriter::Unnamed,
        Some(ProcessWords::Fields { pid, .. }) => pid,
        Some(ProcessWords::Pretty(words)) => {
            let name = memmem::find(&words, b" on ").map_or(&words[..], |at| &words[..at]);
            let number = name.rsplit(|byte| *byte == b'/').next();
            number.unwrap_or_default().to_vec()
        }
    };
    let pid = std::str::from_utf8(&pid)
        .ok()
        .and_then(|pid| pid.parse().ok());
    pid.map_or(CloseWriter::Unknown, CloseWriter::Pid)
}

/// What a record says of the process that wrote it.
enum ProcessWords {
    /// pino-pretty: `NUMBER`, `NUMBER on HOST` or `NAME/NUMBER on HOST`.
    Pretty(Vec<u8>),
    /// pino's own form.
    Fields { pid: Vec<u8>, host: Vec<u8> },
}

fn process_words(record: &[u8]) -> Option<ProcessWords> {
    static PRETTY: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^(?-u)\[[^\]\n]{5,40}\] (?:INFO|WARN|ERROR) \(([^)\n]{1,100})\): ").ok()
    });
    static FIELDS: LazyLock<[Finder<'_>; 2]> =
        LazyLock::new(|| [r#""pid":"#, r#""hostname":""#].map(Finder::new));
    if record.starts_with(b"[")
        && let Some(found) = PRETTY.as_ref()?.captures(record)
    {
        return Some(ProcessWords::Pretty(found[1].to_vec()));
    }
    let [pid, host] = &*FIELDS;
    let pid = values_of(pid, record).find_map(|value| {
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        (digits > 0).then(|| value[..digits].to_vec())
    });
    let host = values_of(host, record).find_map(|value| {
        let end = memchr2(b'"', b'\\', value)?;
        let is_name = value[end] == b'"' && (1..=255).contains(&end);
        is_name.then(|| value[..end].to_vec())
    });
    Some(ProcessWords::Fields {
        pid: pid?,
        host: host?,
    })
}

/// What follows each field of this name in a JSON record.
fn values_of<'a>(name: &'a Finder<'_>, record: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let starts = name.find_iter(record);
    let fields = starts.filter(|at| *at > 0 && matches!(record[at - 1], b'{' | b','));
    fields.map(|at| &record[at + name.needle().len()..])
}

/// The process and the logger that wrote a record, if it names the process.
pub(super) fn origin_of(record: &[u8]) -> Option<Origin> {
    Some(Origin {
        process: process_of(record)?,
        logger: logger_of(record),
    })
}

/// The logger of a process that wrote a record: what it adds to each record (`class`, `name`, and
/// what a child logger binds). A part of the bot that shares the library's process and words has
/// another one.
fn logger_of(record: &[u8]) -> u64 {
    /// Fields that differ between the records of one logger.
    const OF_A_RECORD: [&str; 17] = [
        "level",
        "time",
        "timestamp",
        "@timestamp",
        "ts",
        "date",
        "pid",
        "hostname",
        "msg",
        "message",
        "trace",
        "err",
        "error",
        "node",
        "reasonNode",
        "fullErrorNode",
        "stack",
    ];
    type RawFields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;
    let mut own: Vec<u8> = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| {
        if !OF_A_RECORD.iter().any(|name| name.as_bytes() == key) {
            own.extend([key, b"=", value, b"\n"].concat());
        }
    };
    let (header, rest) = match memchr(b'\n', record) {
        Some(end) => record.split_at(end),
        None => (record, &b""[..]),
    };
    // pino's own form, or what pino-pretty writes behind the message.
    let json = memchr(b'{', header).map(|at| &record[at..]);
    let fields = json.and_then(|json| serde_json::from_slice::<RawFields<'_>>(json).ok());
    for (key, value) in fields.iter().flatten() {
        add(key.as_bytes(), value.get().as_bytes());
    }
    if fields.is_none() {
        // pino-pretty: a line for each field.
        for line in rest.split(|byte| *byte == b'\n') {
            let field = line.strip_prefix(b"    ").unwrap_or_default();
            if let Some(colon) = memmem::find(field, b": ")
                && !field.starts_with(b" ")
            {
                add(&field[..colon], &field[colon + 2..]);
            }
        }
    }
    xxh3_64(&own)
}

/// Whether a record about the end of a connection is the last one about it: behind "stream errored
/// out" the library always writes another.
pub(super) fn is_final(record: &[u8]) -> bool {
    [&b"connection errored"[..], b"connection closed"]
        .iter()
        .any(|message| memmem::find(record, message).is_some())
}

/// The date of a line: pino's `time`, or one before the text (pm2, pino-pretty). Needs a time zone,
/// because without one it may be hours off.
pub(super) fn date_in(line: &[u8]) -> Option<Timestamp> {
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
