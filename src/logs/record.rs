//! Removes the envelopes that were added to a line on the way to the log file.
//!
//! Known envelopes: Docker's json-file, `journalctl -o json`, CRI (Kubernetes), records of
//! filebeat, fluent-bit, vector and pm2 (`log_type: json`), with their keys in any order; the
//! prefixes of syslog, Docker Compose, `docker logs -t`, Heroku, pm2 and others (`prefix`). Several
//! may be nested. All functions are pure.

mod prefix;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::{self, Finder};
use regex::bytes::Regex;
use serde_json::value::RawValue;

pub use prefix::is_pretty_header;
use prefix::prefix;

/// Maximum depth of nested envelopes.
const DEEPEST: usize = 5;

/// The fields of a record that has only a message.
const ALONE: [&str; 9] = [
    "message",
    "level",
    "severity",
    "time",
    "timestamp",
    "@timestamp",
    "ts",
    "date",
    "stream",
];

/// The library's message that its connection was opened.
pub const OPENED: &str = "opened connection to WA";
/// Its messages about the end of its connection.
pub const CLOSED: [&str; 3] = [
    "connection errored",
    "connection closed",
    "stream errored out",
];
/// Other messages that only the library's logger writes.
const LIBRARY: [&str; 8] = [
    "connected to WA",
    "logging in...",
    "recv xml",
    "xml send",
    "uploading pre-keys",
    "failed to decrypt message",
    "transaction failed, rolling back",
    "not logged in, attempting registration...",
];

/// Whether only the library's logger writes this message.
pub fn is_library_message(message: &str) -> bool {
    message == OPENED || CLOSED.contains(&message) || LIBRARY.contains(&message)
}

/// A line without its envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwrapped<'a> {
    /// The program's text without colours. It contains newlines if one record has several lines.
    pub text: Cow<'a, [u8]>,
    /// The line continues in the next record.
    pub partial: bool,
}

/// Removes the envelopes of a line, which has no newline.
pub fn unwrap(line: &[u8]) -> Unwrapped<'_> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let mut text = without_colours(Cow::Borrowed(trim_cr(line)));
    let mut partial = false;
    for _ in 0..DEEPEST {
        if text.first() == Some(&b'{') {
            let Some(payload) = envelope(&text) else {
                break;
            };
            partial |= payload.partial;
            text = without_colours(Cow::Owned(payload.text));
        } else if let Some((end, cut)) = prefix(&text) {
            partial |= cut;
            text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[end..]),
                Cow::Owned(mut text) => {
                    text.drain(..end);
                    Cow::Owned(text)
                }
            };
            if text.starts_with(b"\"{\"\"") {
                text = Cow::Owned(without_csv_quotes(&text));
            }
        } else {
            break;
        }
    }
    Unwrapped { text, partial }
}

/// Whether a line without envelopes continues the record before it.
pub fn is_continuation(text: &[u8]) -> bool {
    matches!(text.first(), Some(b' ' | b'\t' | b'}' | b']' | b')'))
}

/// Whether the line is `key=value …`, which WAHA writes below the header of a record.
pub fn is_key_value(text: &[u8]) -> bool {
    let key = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count();
    key > 0 && text.get(key) == Some(&b'=')
}

/// Every line of Docker's json-file contains this.
pub const DOCKER: &[u8] = b"\"log\":\"";

/// Whether a line with [`DOCKER`] may be a part of a longer line: only the last part ends with a
/// newline. Never false for such a part.
pub fn may_be_docker_part(line: &[u8]) -> bool {
    // Docker writes `log` first, so the newline is near the end.
    static END: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\\n\""));
    let near = &line[line.len().saturating_sub(120)..];
    END.find(near).is_none() && END.find(line).is_none()
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn without_colours(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    static COLOUR: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?-u)\x1b\[[0-9;]*[A-Za-z]").ok());
    if memchr(0x1b, &text).is_none() {
        return text;
    }
    match COLOUR.as_ref() {
        Some(colour) => Cow::Owned(colour.replace_all(&text, &b""[..]).into_owned()),
        None => text,
    }
}

/// A CSV field without its quotes.
fn without_csv_quotes(field: &[u8]) -> Vec<u8> {
    let field = field.strip_prefix(b"\"").unwrap_or(field);
    let field = field.strip_suffix(b"\"").unwrap_or(field);
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = memmem::find(rest, b"\"\"") {
        out.extend_from_slice(&rest[..=at]);
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    out
}

struct RecordPayload {
    text: Vec<u8>,
    partial: bool,
}

type RecordFields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The content of a JSON object, if it is an envelope.
fn envelope(text: &[u8]) -> Option<RecordPayload> {
    static KEYS: LazyLock<[Finder<'_>; 5]> = LazyLock::new(|| {
        [
            r#""log""#,
            r#""MESSAGE""#,
            r#""message""#,
            r#""line""#,
            r#""textPayload""#,
        ]
        .map(Finder::new)
    });
    if !KEYS.iter().any(|key| key.find(text).is_some()) {
        return None;
    }
    let fields: RecordFields<'_> = serde_json::from_slice(text).ok()?;
    let has = |key: &str| fields.contains_key(key);
    let string = |key: &str| -> Option<Vec<u8>> {
        let value = fields.get(key)?.get();
        if value.starts_with('"') {
            return serde_json::from_str::<String>(value)
                .ok()
                .map(String::into_bytes);
        }
        // journald writes bytes that are not printable as numbers.
        (value.starts_with('[') && key == "MESSAGE")
            .then(|| serde_json::from_str(value).ok())
            .flatten()
    };
    let own = has("msg") || has("level") && has("pid");
    if let Some(log) = string("log").filter(|_| !own) {
        let docker = fields
            .keys()
            .all(|key| matches!(key.as_ref(), "log" | "stream" | "attrs" | "time"));
        let tag = string("logtag");
        let ended = log.ends_with(b"\n");
        return Some(RecordPayload {
            partial: docker && has("stream") && !ended || tag.as_deref() == Some(b"P"),
            text: trimmed(log),
        });
    }
    if let Some(message) = string("MESSAGE") {
        return Some(RecordPayload {
            partial: string("_LINE_BREAK").as_deref() == Some(b"line-max"),
            text: trimmed(message),
        });
    }
    if let Some(message) = string("message") {
        let pm2 = has("app_name");
        let shipped = [
            "@timestamp",
            "source_type",
            "kubernetes",
            "agent",
            "container",
        ];
        let shipper = shipped.iter().any(|key| has(key))
            || has("stream")
            || fields.keys().any(|key| key.starts_with('_'));
        let details = [
            "level",
            "node",
            "err",
            "error",
            "trace",
            "fullErrorNode",
            "pid",
        ];
        let own = details.iter().any(|key| has(key));
        // Nothing is lost, and the level of a logger says as little as a prefix of text.
        let alone = (has("level") || has("severity"))
            && fields.keys().all(|key| ALONE.contains(&key.as_ref()))
            && !std::str::from_utf8(&message).is_ok_and(is_library_message);
        return (pm2 || alone || shipper && !own || looks_like_record(&message)).then(|| {
            RecordPayload {
                partial: false,
                text: trimmed(message),
            }
        });
    }
    let line = string("line").or_else(|| string("textPayload"))?;
    (!own && !has("level") || looks_like_record(&line)).then(|| RecordPayload {
        partial: false,
        text: trimmed(line),
    })
}

/// Removes a newline at the end.
fn trimmed(mut text: Vec<u8>) -> Vec<u8> {
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    text
}

/// Whether this text is a complete record of a logger.
fn looks_like_record(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.starts_with(b"{\"") && text.ends_with(b"}") && memmem::find(text, b"\"msg\"").is_some()
        || is_pretty_header(text)
        || matches!(prefix(text), Some((end, _)) if text[end..].starts_with(b"{\""))
}

#[cfg(test)]
mod tests;
