//! Whether a log shows lines of a bot on Baileys: of the library, of libsignal, or the bot's
//! own report of why its connection was closed. A log that never did is never guessed to be a
//! session's.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::record::unwrap;

/// Each expression is a shape that other programs do not write. A word that a stranger can
/// type into a chat (`connection replaced`, `device_removed`) is none.
const SHAPES: &[&str] = &[
    // pino, also within the JSON of a container's log.
    r#"\\?"class\\?": ?\\?"baileys\\?""#,
    r#"\\?"msg\\?": ?\\?"(?:opened connection to WA|connected to WA|stream errored out|uploading pre-keys|uploaded pre-keys|not logged in, attempting registration|pairing configured successfully|PreKey validation|handled \d+ offline)"#,
    // pino-pretty.
    r"(?:INFO|WARN|ERROR)(?:\x1b\[[0-9;]*m)* ?\([^)]{1,100}\): (?:\x1b\[[0-9;]*m)*(?:opened connection to WA|connected to WA|stream errored out|uploading pre-keys|uploaded pre-keys|not logged in, attempting registration|pairing configured successfully|PreKey validation|handled \d+ offline)",
    // libsignal, which writes to the console.
    r"(?:Session error:|Session already closed|Closing session: SessionEntry|Opening session: SessionEntry|Removing old closed session: SessionEntry|Closing (?:stale )?open session (?:for|in favor)|Decrypted message with closed session|Failed to decrypt message with any known session|V1 session storage migration error)",
    // A stack or a node of the library.
    r"/node_modules/(?:@[^/ ]{1,60}/)?(?:libsignal(?:-node)?|[a-z-]{0,20}baileys[a-z-]{0,20})/",
    r#"\\?["']?tag\\?["']?: ?\\?["']stream:error"#,
    // The bot's own report.
    r"Stream Errored \(|DisconnectReason|lastDisconnect|connection\.update",
];

/// Whether one of these lines shows it.
pub fn shows_library(lines: &[u8]) -> bool {
    static SHAPE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(&format!("(?-u){}", SHAPES.join("|"))).ok());
    let Some(shape) = SHAPE.as_ref() else {
        return false;
    };
    // A line in an envelope carries its colours and quotes escaped.
    let in_envelope = |line: &[u8]| match unwrap(line).text {
        Cow::Borrowed(_) => false,
        Cow::Owned(text) => shape.is_match(&text),
    };
    shape.is_match(lines) || lines.split(|byte| *byte == b'\n').any(in_envelope)
}

#[cfg(test)]
mod tests;
