//! Whether a record was written by a logger, and what its message is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memchr;
use regex::bytes::Regex;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

/// Messages of the library's logger about its connection.
const OPENED: &str = "opened connection to WA";
const CLOSED: [&str; 3] = [
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
}

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
        fields.get("level")?;
        let value = fields.get("msg").or_else(|| fields.get("message"))?.get();
        let message: Cow<'_, str> = serde_json::from_str(value).ok()?;
        let dated = ["time", "timestamp", "@timestamp", "ts", "date"];
        let dated = dated.iter().any(|key| fields.contains_key(*key));
        let class = fields
            .get("class")
            .is_some_and(|class| class.get() == "\"baileys\"");
        let mut shape = Self::of_message(&message);
        shape.library |= class;
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
            library: message == OPENED || closed || LIBRARY.contains(&message),
            opened: if closed {
                Some(false)
            } else {
                (message == OPENED).then_some(true)
            },
            connection_errored: message == CLOSED[0],
        }
    }
}
