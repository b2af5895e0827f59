//! Headers that hold a weighted list: `Accept` and `Accept-Encoding`.

use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderName};

/// One element of a header that holds a weighted list, such as `Accept`.
#[derive(Debug, PartialEq)]
pub(crate) struct Weighted<'a> {
    /// The value before the first `;`, as it was sent.
    pub(crate) value: &'a str,
    /// The parameters before `q`, quotes removed.
    pub(crate) params: Vec<(&'a str, &'a str)>,
    /// The weight in thousandths, 0 to 1000.
    pub(crate) q: u16,
}

/// Reads every line of a weighted list header (RFC 9110, section 12.4.2).
///
/// `None` when the header is absent or any part of it is malformed: a client
/// that cannot say what it wants gets the default.
pub(crate) fn weighted_list(headers: &HeaderMap, name: HeaderName) -> Option<Vec<Weighted<'_>>> {
    let mut list = Vec::new();
    for line in headers.get_all(name) {
        for element in split_unquoted(line.to_str().ok()?, ',')? {
            // Empty elements are legal and mean nothing.
            if !element.is_empty() {
                list.push(weighted(element)?);
            }
        }
    }
    (!list.is_empty()).then_some(list)
}

fn weighted(element: &str) -> Option<Weighted<'_>> {
    let mut parts = split_unquoted(element, ';')?.into_iter();
    let value = parts.next().filter(|value| !value.is_empty())?;
    if !value.bytes().all(|byte| is_token(byte) || byte == b'/') {
        return None;
    }
    let mut params = Vec::new();
    let mut q = None;
    for part in parts {
        let (name, content) = part.split_once('=')?;
        let (name, content) = (name.trim_ascii_end(), content.trim_ascii_start());
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let content = match content.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"')?,
            None if !content.is_empty() && content.bytes().all(is_token) => content,
            None => return None,
        };
        if q.is_some() {
            // Parameters after the weight belong to no known extension.
        } else if name.eq_ignore_ascii_case("q") {
            q = Some(thousandths(content)?);
        } else {
            params.push((name, content));
        }
    }
    let q = q.unwrap_or(1000);
    Some(Weighted { value, params, q })
}

/// Reads a weight: `0` to `1` with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", decimals) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Splits at `separator` outside double quotes and trims each piece; `None`
/// when a quote is left open.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let pieces = text
        .split(|char: char| {
            if escaped {
                escaped = false;
            } else if quoted && char == '\\' {
                escaped = true;
            } else if char == '"' {
                quoted = !quoted;
            }
            char == separator && !quoted
        })
        .map(str::trim_ascii)
        .collect();
    (!quoted).then_some(pieces)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether gzip is allowed and not liked less than no compression.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let Some(codings) = weighted_list(headers, ACCEPT_ENCODING) else {
        return false;
    };
    let weight = |names: &[&str]| {
        let named = |coding: &&Weighted<'_>| {
            names
                .iter()
                .any(|name| coding.value.eq_ignore_ascii_case(name))
        };
        codings.iter().filter(named).map(|coding| coding.q).max()
    };
    let gzip = weight(&["gzip", "x-gzip"])
        .or_else(|| weight(&["*"]))
        .unwrap_or(0);
    gzip > 0 && gzip >= weight(&["identity"]).unwrap_or(0)
}

#[cfg(test)]
mod tests;
