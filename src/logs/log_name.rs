//! What the path of a log tells: the program that wrote it, and the sessions that its name may
//! mean. Pure functions on text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::folder::SessionName;

/// File names that name a stream and no program.
const STREAMS: [&str; 16] = [
    "out",
    "err",
    "error",
    "errors",
    "stdout",
    "stderr",
    "combined",
    "output",
    "console",
    "log",
    "logs",
    "current",
    "latest",
    "exceptions",
    "rejections",
    "info",
];

/// Streams of errors. Alone in a directory with the logs of one program, they are that program's.
const ERROR_STREAMS: [&str; 10] = [
    "err",
    "error",
    "errors",
    "stderr",
    "warn",
    "warning",
    "warnings",
    "fatal",
    "exceptions",
    "rejections",
];
/// The name of the program that writes only a stream of errors. No file name has a slash.
const ONLY_ERRORS: &str = "/error";

/// The program that wrote a log. All its streams, instances, dates and rotations are one program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Program {
    /// The directory of its logs.
    pub dir: PathBuf,
    /// Its name in the file names; empty if they name only a stream, `/error` if a stream of errors.
    pub name: String,
}

impl Program {
    /// The program that wrote the log at `path`.
    pub fn of(path: &Path) -> Self {
        let stem = stem(path);
        let name = without_epoch(base_name(&stem));
        let lower = name.to_ascii_lowercase();
        let is_stream =
            STREAMS.contains(&lower.as_str()) || name.bytes().all(|byte| byte.is_ascii_digit());
        let name = match is_stream {
            _ if ERROR_STREAMS.contains(&lower.as_str()) => ONLY_ERRORS,
            true => "",
            false => name,
        };
        Self {
            dir: path.parent().unwrap_or(Path::new("")).to_owned(),
            name: name.to_owned(),
        }
    }

    /// Whether its logs are named only after a stream of errors (`error.log`), so it may be the
    /// program that writes the other logs of the directory.
    pub fn is_only_errors(&self) -> bool {
        self.name == ONLY_ERRORS
    }

    /// Whether it is pm2 itself or a module of pm2 (`pm2-logrotate`), by its name.
    pub fn is_pm2_module(&self) -> bool {
        self.name == "pm2" || self.name.starts_with("pm2-")
    }

    /// Session names that the directory may mean, the likeliest first: the directory of the logs,
    /// or its parent if it is called `logs`; alone, and with the name of the directory above.
    pub fn folders(&self) -> Vec<String> {
        let mut dir = self.dir.as_path();
        if dir.ends_with("log") || dir.ends_with("logs") {
            dir = dir.parent().unwrap_or(dir);
        }
        let Some(own) = dir.file_name() else {
            return Vec::new();
        };
        let above = dir.parent().and_then(Path::file_name);
        let joined = above.map(|above| SessionName::from_dirs([above, own]));
        let names = joined.into_iter().chain([SessionName::from_dir(own)]);
        names.map(|name| name.as_str().to_owned()).collect()
    }
}

/// Session names that the file name may mean, the likeliest first: without the stream or instance,
/// with and without a date.
pub fn candidates(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    collect(&stem(path), &mut names);
    names
}

/// The name without stream, date and rotation number: `bot` for `bot-2026-11-28-error.log.1`.
/// `None` if the file has no extension of a log.
pub fn plain_name(path: &Path) -> Option<String> {
    let name = shown(path.file_name()?);
    LOG_EXTENSION
        .as_ref()?
        .is_match(&name)
        .then(|| base_name(&stem(path)).to_owned())
        .filter(|name| !name.is_empty())
}

/// The part of the file name that is unique to one process: without dates, rotation numbers and
/// pm2's `-out` and `-error`; an instance number stays. Empty if the name has only a stream.
pub fn writer_name(path: &Path) -> String {
    static PM2_STREAM: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)-(?:out|error)(?P<instance>-\d{1,4})?$").ok());
    let stem = stem(path);
    let mut name = stem.as_str();
    while let Some(shorter) = without_date(name) {
        name = shorter;
    }
    if STREAMS.contains(&name.to_ascii_lowercase().as_str()) {
        return String::new();
    }
    match PM2_STREAM.as_ref() {
        Some(stream) => stream.replace(name, "$instance").into_owned(),
        None => name.to_owned(),
    }
}

/// Whether the file name contains a date or a rotation number.
pub fn is_dated(path: &Path) -> bool {
    without_date(&stem(path)).is_some()
        || without_stream(&stem(path)).is_some_and(|name| without_date(name).is_some())
}

/// Replaces what may be a phone number in a name or a glob with `*`: six digits or more, with or
/// without separators.
pub fn redacted(text: &str) -> String {
    static NUMBER: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\+?\d(?:[-_. ()]{0,2}\d){5,}").ok());
    match NUMBER.as_ref() {
        Some(number) => number.replace_all(text, "*").into_owned(),
        None => "*".to_owned(),
    }
}

static LOG_EXTENSION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\.(?:log|txt|json|jsonl|ndjson)(?:[-._]|$)").ok());

fn shown(name: &OsStr) -> String {
    SessionName::from_dir(OsStr::from_bytes(name.as_bytes()))
        .as_str()
        .to_owned()
}

/// The file name up to its extension; rotations add text after it.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(shown).unwrap_or_default();
    let end = LOG_EXTENSION
        .as_ref()
        .and_then(|extension| extension.find(&name))
        .map(|found| found.start())
        .filter(|at| *at > 0);
    match end {
        Some(at) => name[..at].to_owned(),
        None => name,
    }
}

fn collect(name: &str, names: &mut Vec<String>) {
    if name.is_empty() || names.len() > 8 {
        return;
    }
    if let Some(shorter) = without_stream(name) {
        // pm2 adds `-out` or `-error`; `ventas-info-out` belongs to `ventas-info`, not to `ventas`.
        // Any other stream may be a part of the bot's name.
        let of_pm2 = name[shorter.len()..].to_ascii_lowercase();
        let of_pm2 = of_pm2.starts_with("-out") || of_pm2.starts_with("-error");
        names.push(if of_pm2 { shorter } else { name }.to_owned());
        collect(shorter, names);
        names.push(name.to_owned());
        names.dedup();
    } else {
        names.push(name.to_owned());
        if let Some(shorter) = without_date(name) {
            collect(shorter, names);
        }
    }
}

fn base_name(stem: &str) -> &str {
    let mut name = stem;
    while let Some(shorter) = without_stream(name).or_else(|| without_date(name)) {
        name = shorter;
    }
    name
}

/// Removes a Unix time in seconds or milliseconds at the end. It may be a phone number, so it names
/// no session, and no evidence about a connection depends on it.
fn without_epoch(name: &str) -> &str {
    static EPOCH: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"[-_.]1[6-9]\d{8}(?:\d{3})?$").ok());
    let found = EPOCH.as_ref().and_then(|epoch| epoch.find(name));
    match found {
        Some(found) if found.start() > 0 => base_name(&name[..found.start()]),
        _ => name,
    }
}

/// Removes pm2's `-out`, `-error`, `-out-0` and the like.
fn without_stream(name: &str) -> Option<&str> {
    static STREAM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let streams = STREAMS.join("|");
        Regex::new(&format!(r"(?i)[-_.](?:{streams})(?:-\d{{1,4}})?$")).ok()
    });
    let at = STREAM.as_ref()?.find(name)?.start();
    (at > 0).then(|| &name[..at])
}

/// Removes a date at either end, or a rotation number.
fn without_date(name: &str) -> Option<&str> {
    /// A year, a month and perhaps a day; the reverse; a month, a day and a year; or the name of a
    /// month, in the languages of the shipped texts, between or before a day and a year.
    const DATE: &str = concat!(
        r"(?:20\d\d([-._]?)(?:0[1-9]|1[0-2])(?:[-._]?(?:0[1-9]|[12]\d|3[01]))?",
        r"|(?:0[1-9]|[12]\d|3[01])[-._](?:0[1-9]|1[0-2])[-._]20\d\d",
        r"|(?:0[1-9]|1[0-2])[-._](?:0[1-9]|[12]\d|3[01])[-._]20\d\d",
        r"|(?:0?[1-9]|[12]\d|3[01])[-._ ]?(?:MONTH)[-._ ]?20\d\d",
        r"|(?:MONTH)[-._ ](?:0?[1-9]|[12]\d|3[01])[-._ ]20\d\d",
        r"|20\d\d[-._ ]?(?:MONTH)[-._ ]?(?:0?[1-9]|[12]\d|3[01]))",
    );
    const MONTH: &str = r"(?i:(?:jan|ene|feb|fev|mar|apr|abr|may|mai|mei|jun|jul|aug|ago|agu|sep|set|oct|out|okt|nov|dec|dic|dez|des)[a-zç]{0,7})";
    static DATES: LazyLock<String> = LazyLock::new(|| DATE.replace("MONTH", MONTH));
    static LAST: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let date = DATES.as_str();
        Regex::new(&format!(
            r"(?:__\d[\dTZ_:.+-]*|(?:^|[-._ ]){date}(?:[-._T ]?\d{{1,6}}Z?){{0,4}}|\.\d{{1,3}})$"
        ))
        .ok()
    });
    static FIRST: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let date = DATES.as_str();
        Regex::new(&format!(r"^{date}(?:[-._T ]\d{{1,6}}Z?){{0,4}}[-._ ]")).ok()
    });
    if let Some(found) = LAST.as_ref()?.find(name) {
        return Some(&name[..found.start()]);
    }
    let found = FIRST.as_ref()?.find(name)?;
    Some(&name[found.end()..])
}

#[cfg(test)]
mod tests;
