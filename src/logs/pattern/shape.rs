//! Whether a record was written by a logger, and what its message is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memchr;
use regex::bytes::Regex;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::super::record::{CLOSED, OPENED, is_library_message};

/// What a record of a logger says. Other text has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordShape {
    /// The message's hash; `None` where no logger wrote the record.
    pub message: Option<u64>,
    /// The library's own logger wrote it.
    pub library: bool,
    /// It reports that the connection was opened (`true`) or ended.
    pub opened: Option<bool>,
    /// It is a close record without the reason: the record before it has that.
    pub connection_errored: bool,
    /// Of a record of JSON: its message and reason as a bot without a logger prints them.
    pub plain: Option<Vec<u8>>,
}

/// Fields of a record that say why a connection was closed.
const REASONS: [&str; 14] = [
    "statusCode",
    "status_code",
    "code",
    "status",
    "statusReason",
    "reason",
    "reasonCode",
    "disconnectReason",
    "loggedOut",
    "isLoggedOut",
    "shouldReconnect",
    "willReconnect",
    "reconnecting",
    "reconnect",
];

impl RecordShape {
    /// Of a record without envelopes.
    pub(super) fn of(record: &[u8]) -> Self {
        let line = &record[..memchr(b'\n', record).unwrap_or(record.len())];
        if line.first() == Some(&b'{') {
            return Self::of_json(record).unwrap_or_default();
        }
        Self::of_pretty(line).unwrap_or_default()
    }

    fn of_json(record: &[u8]) -> Option<Self> {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(record).ok()?;
        fields.get("level").or_else(|| fields.get("severity"))?;
        let value = fields.get("msg").or_else(|| fields.get("message"))?.get();
        let message: Cow<'_, str> = serde_json::from_str(value).ok()?;
        let dated = ["time", "timestamp", "@timestamp", "ts", "date"];
        let dated = dated.iter().any(|key| fields.contains_key(*key));
        let class = fields
            .get("class")
            .is_some_and(|class| class.get() == "\"baileys\"");
        let mut shape = Self::of_message(&message);
        shape.library |= class;
        shape.plain = Some(plain(&message, &fields));
        if !dated {
            shape.opened = None;
        }
        Some(shape)
    }

    fn of_pretty(line: &[u8]) -> Option<Self> {
        static HEADER: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(concat!(
                r"(?-u)^\[[^\]\n]{5,40}\] (?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL) ?(?:\([^)\n]{1,100}\))?: ",
                // WAHA names the session before the message.
                r"(?:session:[\w.-]{1,100} - )?",
                r"(?P<message>[^{\n]*?) ?(?:\{.*)?$"
            ))
            .ok()
        });
        let found = HEADER.as_ref()?.captures(line)?;
        let message = String::from_utf8_lossy(found.name("message")?.as_bytes()).into_owned();
        Some(Self::of_message(&message))
    }

    fn of_message(message: &str) -> Self {
        let closed = CLOSED.contains(&message);
        Self {
            message: Some(xxh3_64(message.as_bytes())),
            library: is_library_message(message),
            opened: if closed {
                Some(false)
            } else {
                (message == OPENED).then_some(true)
            },
            connection_errored: message == CLOSED[0],
            plain: None,
        }
    }
}

/// The message, and behind it the fields that give a reason.
fn plain(message: &str, fields: &BTreeMap<Cow<'_, str>, &RawValue>) -> Vec<u8> {
    let mut text = message.as_bytes().to_vec();
    for key in REASONS {
        let Some(value) = fields.get(key).map(|value| value.get()) else {
            continue;
        };
        let value = value.trim_matches('"');
        if value.len() <= 60 && !value.contains(['{', '[', '\\', '"']) {
            text.extend_from_slice(format!(" | {key}: {value}").as_bytes());
        }
    }
    text
}
