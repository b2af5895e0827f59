//! The patterns that are shipped, as data. A new one goes into [`SHIPPED`].

use std::borrow::Cow;

use super::{Pattern, Severity};

pub(super) const fn sign(
    name: &'static str,
    severity: Severity,
    regex: &'static str,
    exclude: Option<&'static str>,
    help: &'static str,
) -> Pattern {
    const fn own(text: Option<&'static str>) -> Option<Cow<'static, str>> {
        match text {
            Some(text) => Some(Cow::Borrowed(text)),
            None => None,
        }
    }
    Pattern {
        name: Cow::Borrowed(name),
        regex: Cow::Borrowed(regex),
        exclude: own(exclude),
        severity,
        help: Cow::Borrowed(help),
    }
}

/// The code of WhatsApp's own error, which is a node `stream:error`: many a program prints an
/// error with a code. pino-pretty gives the code a line of its own, without another attribute
/// behind it and always as deep; of what stands around it a line knows nothing.
macro_rules! stream_error {
    ($code:literal) => {
        concat!(
            r#""tag":"stream:error","attrs":\{[^{}]*"code":""#,
            $code,
            r#""|(?:^|: |\| ) {8}"code": ""#,
            $code,
            r#""$"#
        )
    };
}

/// The signs that are shipped, taken from what libsignal and Baileys 6.7 to 7.0.0-rc14
/// print. libsignal writes to stderr, the logger (pino) to stdout, and no event to both: of
/// a message in a known session libsignal gives the reason and pino only that none matched,
/// of a first message only pino tells.
///
/// Multi-line pino-pretty of 7.x shows a conflict twice, as `reasonNode` (8 spaces) and in
/// `fullErrorNode` (12 spaces); the first is left out.
pub const SHIPPED: &[Pattern] = {
    use Severity::{Critical, Info, Warning};
    &[
        sign(
            "closing_stale_open_session",
            Warning,
            "closing stale open session",
            None,
            "libsignal before 2025-11-20 threw an open session away to begin a new one.",
        ),
        sign(
            "closing_open_session",
            Info,
            "closing open session in favor of incoming prekey bundle",
            None,
            "A contact began a new session: it had lost the old one, or could not read the bot.",
        ),
        sign(
            "decrypted_with_closed_session",
            Warning,
            "decrypted message with closed session",
            None,
            "A message was read with a session closed before; libsignal damages the open one while it tries.",
        ),
        sign(
            "bad_mac",
            Warning,
            r#"session error: ?error: bad mac|"message": ?"bad mac"#,
            None,
            "A message could not be decrypted: the keys of the two sides differ.",
        ),
        sign(
            "key_used_already",
            Warning,
            r#"session error: ?messagecountererror: key used already|"message": ?"key used already"#,
            None,
            "A message came twice, or the folder was put back to an older state.",
        ),
        sign(
            "over_2000_messages",
            Warning,
            r#"session error: ?sessionerror: over 2000 messages into the future|"message": ?"over 2000 messages into the future"#,
            None,
            "More than 2,000 messages of a contact never reached this folder.",
        ),
        sign(
            "invalid_pre_key_id",
            Warning,
            r#""message": ?"invalid prekey id"#,
            None,
            "A contact used a pre-key that is no longer in the folder.",
        ),
        sign(
            "no_session_record",
            Warning,
            r#""message": ?"no session record"#,
            None,
            "A contact wrote in a session that is no longer in the folder.",
        ),
        sign(
            "decrypt_failed",
            Warning,
            "failed to decrypt message",
            Some("with any known session"),
            "The bot could not read a message, whatever the reason.",
        ),
        sign(
            "waiting_for_message",
            Warning,
            "waiting for (?:this )?message",
            None,
            "The other side, or the bot, waits for a message that could not be read.",
        ),
        sign(
            "device_removed",
            Critical,
            "device_removed",
            Some(r#"(?:^|: |\| ) {8}"type": "device_removed""#),
            "WhatsApp has removed the device: somebody must scan a QR code.",
        ),
        sign(
            "connection_replaced",
            Critical,
            r#"connection ?replaced|"type": ?"replaced""#,
            Some(r#"(?:^|: |\| ) {8}"type": "replaced""#),
            "Another process connected with the same auth folder.",
        ),
        sign(
            "stream_errored",
            Warning,
            "stream errored out",
            None,
            "WhatsApp ended the connection with an error, whatever its code.",
        ),
        sign(
            "stream_error_401",
            Critical,
            stream_error!("401"),
            None,
            "WhatsApp ended the connection with 401: the login is no longer valid.",
        ),
        sign(
            "stream_error_500",
            Warning,
            stream_error!("500"),
            None,
            "WhatsApp ended the connection with 500.",
        ),
        sign(
            "stream_error_503",
            Warning,
            stream_error!("503"),
            None,
            "WhatsApp ended the connection with 503: its service is not available.",
        ),
        sign(
            "stream_error_515",
            Info,
            stream_error!("515"),
            None,
            "WhatsApp asked for a restart (515), as it does after pairing.",
        ),
        sign(
            "connection_failure",
            Warning,
            "error: connection failure",
            None,
            "WhatsApp refused the login (Connection Failure).",
        ),
        sign(
            "pre_key_upload",
            Info,
            "uploading pre-keys",
            None,
            "The bot minted and uploaded new pre-keys.",
        ),
    ]
};

/// A private key or a root key in the clear, as `console.info` and JSON print them.
pub(super) const SECRET: &str = concat!(
    r#"\b(?:privkey|rootkey|private(?:key)?)['"]?\s?:\s?"#,
    r#"(?:<buffer [0-9a-f]|uint8array\(|\{\s?['"]?type['"]?:\s?['"]buffer|['"][a-z0-9+/]{40})"#,
    r#"|\badvsecretkey['"]?\s?:\s?['"][a-z0-9+/]{8}"#,
);

/// What pm2 puts before a line.
macro_rules! prefix {
    () => {
        r"^(?:\d{4}-[0-9T:. +Z-]{10,40}: |\d{1,4}\|[^|{]{1,60}\| )?"
    };
}
/// A whole line of pino's with this message, raw or pretty (colours allowed). A text that
/// somebody sent the bot and that it logs must not look like one, so all of the line has to
/// fit; within a string of JSON no bare quote can stand.
macro_rules! message {
    ($text:literal) => {
        concat!(
            prefix!(),
            r#"\{"level":\d\d,"time":(?:"[^"]{10,40}"|\d{13}),.*"msg":"(?:"#,
            $text,
            r#")"\}$|"#,
            prefix!(),
            r"\[[^\]]{5,40}\] (?:\x1b\[[0-9;]*m)*(?:INFO|WARN|ERROR)(?:\x1b\[[0-9;]*m)* \([^)]{1,100}\): ",
            r"(?:\x1b\[[0-9;]*m)*(?:",
            $text,
            r")(?:\x1b\[[0-9;]*m)*(?: \{.*)?$"
        )
    };
}
pub(super) const OPENED: &str = message!("opened connection to WA");
pub(super) const CLOSED: &str = message!("connection errored|connection closed|stream errored out");
