//! Whether a logger's record is about a request of HTTP, or has an error of a web framework or of a
//! client. The code of either is no reason of a close.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde_json::value::RawValue;

use super::super::words::expression;

/// The fields of a record.
pub(super) type FieldMap<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Where loggers put an error.
const ERRORS: [&str; 2] = ["err", "error"];
/// Where an error of HTTP has its code.
const CODES: [&str; 3] = ["statusCode", "status", "code"];

/// In the stack of an error of the library.
const LIBRARY: &str = "baileys/lib/";
/// Classes of errors of HTTP.
const OF_HTTP: &str = r"\A(?:axios|fastify|http|fetch|request|response|unauthori[sz]ed|forbidden)";
/// Classes of a bot's own errors.
const OF_THE_BOT: &str = r"disconnect|connection|logged_?out|session|baileys|whatsapp|boom";

/// A request as pino-pretty prints it.
const PRETTY_REQUEST: &str =
    r#"^ {4}(?:responsetime: \d|res: \{\s{1,8}"statuscode"|req: \{\s{1,8}"(?:id|method|url)")"#;
/// An error with a code of its own, as pino-pretty prints it.
const PRETTY_ERROR: &str = concat!(
    r#"^ {4}(?:err|error): \{\n {6}"type": "(?P<class>[^"\n]{0,80})",?\n"#,
    r#"(?: {6}[^\n]*\n)*? {6}"(?:statuscode|status|code)": "?(?:\d{3}\b|fst_)"#
);

/// For a record in JSON, or the object of a line of pino-pretty. Pure.
pub(super) fn is_of_http(fields: &FieldMap<'_>) -> bool {
    let has = |key: &str, inner: &[&str]| {
        object(fields, key).is_some_and(|found| inner.iter().any(|one| found.contains_key(*one)))
    };
    // Fastify gives its requests names. The numbers of WAHA are none of HTTP.
    let of_fastify = text(fields, "reqId").is_some_and(|id| id.starts_with("req-"));
    let has_error =
        |key: &&str| object(fields, key).is_some_and(|error| is_error_of_http(&error, of_fastify));
    fields.contains_key("responseTime")
        || has("res", &["statusCode"])
        || has("req", &["method", "url"])
        || ERRORS.iter().any(has_error)
}

/// For a record of pino-pretty, whose fields are on lines of their own. Pure.
pub(super) fn is_of_http_in_lines(record: &[u8]) -> bool {
    static REQUEST: LazyLock<Option<Regex>> = LazyLock::new(|| expression(PRETTY_REQUEST));
    static ERROR: LazyLock<Option<Regex>> = LazyLock::new(|| expression(PRETTY_ERROR));
    let is_request = REQUEST
        .as_ref()
        .is_some_and(|request| request.is_match(record));
    is_request
        || ERROR.as_ref().is_some_and(|error| {
            error.captures(record).is_some_and(|found| {
                let class = found
                    .name("class")
                    .map_or(&b""[..], |class| class.as_bytes());
                let has = |text: &str| memchr::memmem::find(record, text.as_bytes()).is_some();
                !is_own(class) && !has("\"isBoom\"") && !has(LIBRARY)
            })
        })
}

/// The errors of the library have no code of their own: it is in their `output`. `in_a_request`:
/// its logger is that of a request.
fn is_error_of_http(error: &FieldMap<'_>, in_a_request: bool) -> bool {
    let is_the_librarys = ["isBoom", "output"]
        .iter()
        .any(|key| error.contains_key(*key))
        || text(error, "stack").is_some_and(|stack| stack.contains(LIBRARY));
    if is_the_librarys {
        return false;
    }
    let class = text(error, "type").or_else(|| text(error, "name"));
    let class = class.unwrap_or_default().as_bytes();
    // A logger has printed an error, and not a bot an object of its own.
    let is_error = error.contains_key("type") || error.contains_key("stack") || in_a_request;
    let has_code = CODES.iter().any(|key| {
        let code = text(error, key).unwrap_or_default();
        code.starts_with("FST_") || code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit())
    });
    is_class(class) || is_error && has_code && !is_own(class)
}

fn is_class(class: &[u8]) -> bool {
    static CLASS: LazyLock<Option<Regex>> = LazyLock::new(|| expression(OF_HTTP));
    CLASS.as_ref().is_some_and(|known| known.is_match(class))
}

fn is_own(class: &[u8]) -> bool {
    static OWN: LazyLock<Option<Regex>> = LazyLock::new(|| expression(OF_THE_BOT));
    OWN.as_ref().is_some_and(|own| own.is_match(class))
}

fn object<'a>(fields: &FieldMap<'a>, key: &str) -> Option<FieldMap<'a>> {
    serde_json::from_str(fields.get(key).copied()?.get()).ok()
}

/// A text or a number, as it is written.
fn text<'a>(fields: &FieldMap<'a>, key: &str) -> Option<&'a str> {
    Some(fields.get(key).copied()?.get().trim_matches('"'))
}

#[cfg(test)]
mod tests;
