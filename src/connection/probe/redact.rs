//! What of a program's error may be shown: no key, no token, no number of a telephone, no name
//! of a key file.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A line is shown up to here, in characters.
const MAX_LINE_CHARS: usize = 160;
/// Stands for what is left out.
const HIDDEN: &str = "…";

/// What is left out, the first that matches at a place:
///
/// 1. the value behind a word such as `token` or `authorization`, to the end of the line
/// 2. what of a URL may hold a secret: user, path and query
/// 3. an address such as a JID or an e-mail address
/// 4. a user with a password, as in `user:password`
/// 5. the name of a key file
/// 6. a number of seven digits or more
/// 7. a word of letters and digits mixed that is too long to be a word
static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?i)(?<name>(?:(?:key|auth|authorization|cookie|credentials?|qr|code|pin)["']?\s*[:=]|(?:token|secret|pass|password|passwd|passphrase|pwd|bearer|basic|api[-_ ]?key|pairing code)["']?[\s:=])\s*)\S.*$"#,
        r#"|(?<scheme>[a-z][a-z0-9+.-]*://)(?:[^\s/@]*@)?(?<host>[^\s/?#"'<>()]*)(?<tail>[^\s"'<>()]*)"#,
        r"|\S+@\S+",
        r#"|[^\s:/"'(]+:(?:[^\s:/\d"'][^\s"']*|\d+[a-z_][^\s"']*)"#,
        r"|\S*(?:pre-key|session|sender-key|app-state|identity-key|lid-mapping|device-list|tctoken|tc-token|nct-salt)[-_]\S*",
        r"|\S+\.json\b",
        r"|(?<number>\+?\d(?:[-_. ()]{0,2}\d){6,})",
        r"|(?<word>[a-z0-9+/_=-]{12,})",
    ))
    .ok()
});

/// A part of a word that no key looks like: `refused`, `ECONNREFUSED`, `ConnectionRefusedError`.
static PLAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(?:[A-Z]?[a-z]{0,20}|[A-Z]{1,20}|[A-Z]?[a-z]{2,20}(?:[A-Z][a-z]{2,20}){1,4})$")
        .ok()
});

/// The first line that is not blank, redacted and cut; `None` if there is none.
pub(super) fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let line: String = line.chars().map(plain).collect();
    // Without the rules everything is a secret.
    let shown = match SECRET.as_ref() {
        Some(secret) => secret.replace_all(&line, redact).into_owned(),
        None => HIDDEN.to_owned(),
    };
    let mut short: String = shown.chars().take(MAX_LINE_CHARS).collect();
    if short.len() < shown.len() {
        short.push_str(HIDDEN);
    }
    Some(short)
}

/// No control character, and none that turns the writing around.
fn plain(c: char) -> char {
    match c {
        c if c.is_control() => ' ',
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => ' ',
        c => c,
    }
}

fn redact(found: &Captures<'_>) -> String {
    let part = |name| found.name(name).map_or("", |part| part.as_str());
    let whole = found.get(0).map_or("", |whole| whole.as_str());
    if found.name("name").is_some() {
        return format!("{}{HIDDEN}", part("name"));
    }
    if found.name("scheme").is_some() {
        // Where a password holds a `/` or an `@`, nothing tells where it ends.
        return match part("host").contains('@') || part("tail").contains('@') {
            true => format!("{}{HIDDEN}", part("scheme")),
            false => format!("{}{}/{HIDDEN}", part("scheme"), part("host")),
        };
    }
    if found.name("word").is_some() {
        let is_plain = |part: &str| PLAIN.as_ref().is_some_and(|plain| plain.is_match(part));
        if whole.split(['_', '-', '/', '=', '+']).all(is_plain) {
            return whole.to_owned();
        }
    }
    HIDDEN.to_owned()
}

#[cfg(test)]
mod tests;
