//! What the path of a log tells: the program that wrote it, and the sessions that it may be
//! named after. Pure functions over text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::folder::SessionName;

/// Names of files that tell a stream and no program.
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

/// The program that wrote a log: all its streams, instances, dates and rotations are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Program {
    /// The directory of its logs.
    pub dir: PathBuf,
    /// Its name in the names of the files; empty where they tell a stream only.
    pub name: String,
}

impl Program {
    /// The program that wrote the log at `path`.
    pub fn of(path: &Path) -> Self {
        let name = base_name(&stem(path));
        let is_stream = STREAMS.contains(&name.to_ascii_lowercase().as_str())
            || name.bytes().all(|byte| byte.is_ascii_digit());
        Self {
            dir: path.parent().unwrap_or(Path::new("")).to_owned(),
            name: if is_stream { String::new() } else { name },
        }
    }

    /// Whether it is pm2 itself or a module of pm2 (`pm2-logrotate`), by its name.
    pub fn is_pm2_module(&self) -> bool {
        self.name == "pm2" || self.name.starts_with("pm2-")
    }

    /// The names of sessions that the directory may tell, the likeliest first: that of the
    /// logs, or the one above a directory `logs`, with and without the one above it.
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

/// The names of sessions that the file's name may tell, the likeliest first: without what
/// tells a stream or an instance, with and without a date.
pub fn candidates(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    collect(&stem(path), &mut names);
    names
}

/// The name without any stream, date or number of a rotation: `bot` of
/// `bot-2026-11-28-error.log.1`. `None` where the file has no extension of a log.
pub fn plain_name(path: &Path) -> Option<String> {
    let name = shown(path.file_name()?);
    LOG_EXTENSION
        .as_ref()?
        .is_match(&name)
        .then(|| base_name(&stem(path)))
        .filter(|name| !name.is_empty())
}

/// The part of the file's name that one process has for itself: without dates and rotations, and
/// without pm2's `-out` and `-error`; the number of an instance stays. Empty where the name tells
/// a stream only.
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

/// Whether the file's name holds a date or the number of a rotation.
pub fn is_dated(path: &Path) -> bool {
    without_date(&stem(path)).is_some()
        || without_stream(&stem(path)).is_some_and(|name| without_date(name).is_some())
}

/// A name or a glob without what may be a phone number: six digits or more, separators between
/// them allowed, become `*`.
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

/// The file's name up to its extension; what stands behind that is a rotation's.
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
        // pm2 adds `-out` or `-error`; `ventas-info-out` is of `ventas-info`, not of `ventas`.
        // Any other stream may as well be a part of the bot's name.
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

fn base_name(stem: &str) -> String {
    let mut name = stem;
    while let Some(shorter) = without_stream(name).or_else(|| without_date(name)) {
        name = shorter;
    }
    name.to_owned()
}

/// Without pm2's `-out`, `-error`, `-out-0` and the like.
fn without_stream(name: &str) -> Option<&str> {
    static STREAM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let streams = STREAMS.join("|");
        Regex::new(&format!(r"(?i)[-_.](?:{streams})(?:-\d{{1,4}})?$")).ok()
    });
    let at = STREAM.as_ref()?.find(name)?.start();
    (at > 0).then(|| &name[..at])
}

/// Without a date at its end or its begin, or the number of a rotation.
fn without_date(name: &str) -> Option<&str> {
    /// A year, a month and perhaps a day, or the other way round.
    const DATE: &str = r"(?:20\d\d([-._]?)(?:0[1-9]|1[0-2])(?:[-._]?(?:0[1-9]|[12]\d|3[01]))?|(?:0[1-9]|[12]\d|3[01])[-._](?:0[1-9]|1[0-2])[-._]20\d\d)";
    static LAST: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(&format!(
            r"(?:__\d[\dTZ_:.+-]*|(?:^|[-._ ]){DATE}(?:[-._T ]?\d{{1,6}}Z?){{0,4}}|\.\d{{1,3}})$"
        ))
        .ok()
    });
    static FIRST: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(&format!(r"^{DATE}(?:[-._T ]\d{{1,6}}Z?){{0,4}}[-._ ]")).ok());
    if let Some(found) = LAST.as_ref()?.find(name) {
        return Some(&name[..found.start()]);
    }
    let found = FIRST.as_ref()?.find(name)?;
    Some(&name[found.end()..])
}

#[cfg(test)]
mod tests;
