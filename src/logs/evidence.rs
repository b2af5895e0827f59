//! Whether a log contains lines of a bot on Baileys: of the library, of libsignal, or the bot's own
//! report of why its connection was closed. A log without such a line is not assigned to a session
//! by a guess.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem;
use regex::bytes::Regex;

use super::pattern::is_own_report;
use super::record::unwrap;

/// Messages of the library's logger as pino writes them, also inside Docker's JSON, and as
/// pino-pretty writes them.
const LOGGER: [&str; 2] = [
    r#"\\?"msg\\?": ?\\?"(?:opened connection to WA|connected to WA|stream errored out|uploading pre-keys|uploaded pre-keys|not logged in, attempting registration|pairing configured successfully|PreKey validation|handled \d+ offline)"#,
    r"(?:INFO|WARN|ERROR)(?:\x1b\[[0-9;]*m)* ?\([^)]{1,100}\): (?:\x1b\[[0-9;]*m)*(?:session:[\w.-]{1,100} - )?(?:opened connection to WA|connected to WA|stream errored out|uploading pre-keys|uploaded pre-keys|not logged in, attempting registration|pairing configured successfully|PreKey validation|handled \d+ offline)",
];

/// Each expression has a form that other programs do not write. Words that anyone can type into a
/// chat (`connection replaced`, `device_removed`) are not among them.
const SHAPES: &[&str] = &[
    r#"\\?"class\\?": ?\\?"baileys\\?""#,
    LOGGER[0],
    LOGGER[1],
    // libsignal, which writes to the console.
    r"(?:Session error:|Session already closed|Closing session: SessionEntry|Opening session: SessionEntry|Removing old closed session: SessionEntry|Closing (?:stale )?open session (?:for|in favor)|Decrypted message with closed session|Failed to decrypt message with any known session|V1 session storage migration error)",
    // A stack trace or a node of the library.
    r"/node_modules/(?:@[^/ ]{1,60}/)?(?:libsignal(?:-node)?|[a-z-]{0,20}baileys[a-z-]{0,20})/",
    r#"\\?["']?tag\\?["']?: ?\\?["']stream:error"#,
    // The bot's own report.
    r"Stream Errored \(|DisconnectReason|lastDisconnect|connection\.update",
];

/// Whether one of these lines is evidence.
pub fn shows_library(lines: &[u8]) -> bool {
    static SHAPE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(&format!("(?-u){}", SHAPES.join("|"))).ok());
    let Some(shape) = SHAPE.as_ref() else {
        return false;
    };
    // A line in an envelope has escaped colours and quotes.
    let within = |line: &[u8]| {
        let text = unwrap(line).text;
        matches!(text, Cow::Owned(_)) && shape.is_match(&text)
            || text.split(|byte| *byte == b'\n').any(is_own_report)
    };
    shape.is_match(lines) || lines.split(|byte| *byte == b'\n').any(within)
}

/// Whether the library's logger wrote one of these lines. Otherwise only the bot's own output is
/// counted.
pub fn shows_logger(lines: &[u8]) -> bool {
    static MESSAGE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(&format!("(?-u){}", LOGGER.join("|"))).ok());
    let has_class = memmem::find_iter(lines, b"baileys").any(|at| {
        let before = &lines[at.saturating_sub(16)..at];
        let key: Vec<u8> = before
            .iter()
            .copied()
            .filter(|byte| byte.is_ascii_alphabetic() || *byte == b':')
            .collect();
        key.ends_with(b"class:")
    });
    has_class || MESSAGE.as_ref().is_some_and(|set| set.is_match(lines))
}

#[cfg(test)]
mod tests;
