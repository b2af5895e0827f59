//! Whether a logger wrote a record, and its message.

mod http;
mod loggers;

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memchr;
use regex::bytes::Regex;
use xxhash_rust::xxh3::xxh3_64;

use self::http::FieldMap;
use super::super::record::{CLOSED, OPENED, is_library_message};

/// What the record of a logger says. Empty for other text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordShape {
    /// The message's hash; `None` if no logger wrote the record.
    pub message: Option<u64>,
    /// The library's logger wrote it: only it writes this message.
    pub library: bool,
    /// The library's own logger wrote it, whatever its message is.
    pub class: bool,
    /// It reports that the connection was opened (`true`) or ended.
    pub opened: Option<bool>,
    /// It reports a close without the reason, which is in the record before it.
    pub connection_errored: bool,
    /// The message and the reason as a bot without a logger prints them.
    pub plain: Option<Vec<u8>>,
    /// The record has a sender, and no reason but the one in its message.
    pub chat: bool,
    /// The message is about the end of a connection, and a field has the code of the reason.
    pub closes: bool,
    /// It shows a request of HTTP, or an error of one. Its code is no reason.
    pub of_http: bool,
}

/// The reasons of an end.
const CODES: [&str; 5] = ["401", "402", "403", "406", "440"];

/// Fields of a message of a chat.
const SENDER: [&str; 20] = [
    "remoteJid",
    "remote_jid",
    "jid",
    "from",
    "sender",
    "senderName",
    "pushName",
    "pushname",
    "notifyName",
    "author",
    "participant",
    "chat",
    "chatId",
    "contact",
    "phone",
    "body",
    "text",
    "user",
    "username",
    "groupName",
];

/// Fields that name the part of the bot.
const CATEGORY: [&str; 5] = ["logger", "module", "component", "scope", "context"];

/// Fields of a record that give the reason of a close.
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
    /// For a record without envelopes.
    pub(super) fn of(record: &[u8]) -> Self {
        let line = &record[..memchr(b'\n', record).unwrap_or(record.len())];
        if line.first() == Some(&b'{') {
            return Self::of_json(record).unwrap_or_default();
        }
        let mut shape = Self::of_pretty(line, record)
            .or_else(|| Self::of_key_values(record))
            .unwrap_or_default();
        let text = shape.plain.as_deref().unwrap_or(record);
        if let Some(message) = loggers::header(text).and_then(|end| text.get(end..)) {
            shape.plain = Some(message.to_vec());
        }
        shape
    }

    /// Whether it is about something else than the end of the library's connection.
    pub(super) fn is_of_something_else(&self) -> bool {
        self.class && self.opened != Some(false)
    }

    fn of_json(record: &[u8]) -> Option<Self> {
        let fields: FieldMap<'_> = serde_json::from_slice(record).ok()?;
        let first = |keys: &[&str]| keys.iter().find_map(|key| fields.get(*key));
        first(&["level", "severity", "levelname", "lvl", "@l"])?;
        let value = first(&["msg", "message", "@m", "@mt"])?.get();
        let message: Cow<'_, str> = serde_json::from_str(value).ok()?;
        let dated = [
            "time",
            "timestamp",
            "@timestamp",
            "ts",
            "date",
            "asctime",
            "@t",
        ];
        let dated = dated.iter().any(|key| fields.contains_key(*key));
        let class = fields
            .get("class")
            .is_some_and(|class| class.get() == "\"baileys\"");
        let mut shape = Self::of_message(&message);
        shape.class = class;
        let has = |key: &&str| fields.contains_key(*key);
        let code = fields.iter().any(|(key, value)| is_code(key, value.get()))
            || CODES
                .iter()
                .any(|code| message.ends_with(&format!("({code})")));
        let reason = code || ["lastDisconnect", "err", "error"].iter().any(has);
        let of_another_part = CATEGORY.iter().any(|key| {
            let category = fields.get(*key).map(|value| value.get());
            category.is_some_and(|category| loggers::is_of_another_part(category.as_bytes()))
        });
        shape.chat = !reason && (SENDER.iter().any(has) || of_another_part);
        shape.closes = code && is_close(&message);
        shape.plain = Some(plain(&message, &fields));
        shape.of_http = !class && !shape.library && http::is_of_http(&fields);
        if !dated {
            // Kept for the library's own records, which are judged by it.
            shape.opened = None;
            shape.class &= !CLOSED.contains(&message.as_ref());
        }
        Some(shape)
    }

    /// `level=warn msg="connection closed" statusCode=401`.
    fn of_key_values(record: &[u8]) -> Option<Self> {
        static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(concat!(
                r#"(?-u)\A(?:(?:ts|time|timestamp|t|date|level|lvl|caller|logger)=(?:"[^"\n]*"|[^\s"]+) ){1,6}"#,
                r#"(?:msg|message)=(?:"(?P<quoted>[^"\n]*)"|(?P<word>[^\s"]+))(?P<rest>[^\n]*)\z"#
            ))
            .ok()
        });
        let found = FORM.as_ref()?.captures(record)?;
        let message = found.name("quoted").or_else(|| found.name("word"))?;
        Some(Self {
            plain: Some([message.as_bytes(), &found["rest"]].concat()),
            ..Self::default()
        })
    }

    fn of_pretty(line: &[u8], record: &[u8]) -> Option<Self> {
        static HEADER: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(concat!(
                r"(?-u)^(?:\[[^\]\n]{5,40}\] (?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL) ?(?:\([^)\n]{1,100}\))?|",
                r"(?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL) (?:\[[^\]\n]{5,40}\] )?\([^)\n]{1,100}\)): ",
                // WAHA writes the session before the message.
                r"(?:session:[\w.-]{1,100} - )?",
                r"(?P<message>[^{\n]*?) ?(?:\{.*)?$"
            ))
            .ok()
        });
        let found = HEADER.as_ref()?.captures(line)?;
        let message = found.name("message")?;
        let text = String::from_utf8_lossy(message.as_bytes());
        // Without a time it is not known that a logger wrote it.
        let mut shape = match line.first() {
            Some(b'[') => Self::of_message(&text),
            _ => Self::default(),
        };
        shape.plain = record.get(message.start()..).map(<[u8]>::to_vec);
        let object = line.get(message.end()..).unwrap_or_default();
        let fields: Option<FieldMap<'_>> = serde_json::from_slice(object.trim_ascii()).ok();
        let of_http = fields.is_some_and(|fields| http::is_of_http(&fields));
        shape.of_http = !shape.library && (of_http || http::is_of_http_in_lines(record));
        Some(shape)
    }

    fn of_message(message: &str) -> Self {
        let closed = CLOSED.contains(&message);
        Self {
            message: Some(xxh3_64(message.as_bytes())),
            library: is_library_message(message),
            class: false,
            opened: if closed {
                Some(false)
            } else {
                (message == OPENED).then_some(true)
            },
            connection_errored: message == CLOSED[0],
            plain: None,
            chat: false,
            closes: false,
            of_http: false,
        }
    }
}

/// Whether a field gives the code of a reason.
fn is_code(key: &str, value: &str) -> bool {
    static INSIDE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?-u)\A\{[^{}]*"(?:statusCode|code|reason)":(?:40[1236]|440)\b"#).ok()
    });
    let plain = value.trim_matches('"');
    match key {
        "evt" | "event" => matches!(plain, "logged_out" | "loggedOut"),
        "disconnect" | "lastDisconnect" | "output" => INSIDE
            .as_ref()
            .is_some_and(|inside| inside.is_match(value.as_bytes())),
        key => REASONS.contains(&key) && CODES.contains(&plain),
    }
}

/// Whether a short message is about the end of a connection.
fn is_close(message: &str) -> bool {
    static CLOSE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i-u)\A[^\n]{0,60}\b(?:connection|socket|session|whatsapp|wa|baileys|bot|client|instance|device)\b[^\n]{0,60}",
            r"\b(?:closed?|disconnect(?:ed|ion)?|logged out|lost|terminated)\b[^\n]{0,20}\z|",
            r"\A(?:wa |whatsapp |baileys )?(?:logged out|disconnected)\W{0,3}\z"
        ))
        .ok()
    });
    CLOSE
        .as_ref()
        .is_some_and(|close| close.is_match(message.as_bytes()))
}

/// The message, followed by the fields that give a reason.
fn plain(message: &str, fields: &FieldMap<'_>) -> Vec<u8> {
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
