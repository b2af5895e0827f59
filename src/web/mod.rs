//! A small HTTP/1.1 server and client: what a Prometheus exporter and a
//! webhook receiver need, and nothing else.
//!
//! Everything a client can make the process spend is bounded: connections,
//! header bytes, body bytes and the time each may take. The server and client
//! wrap bare [hyper](https://docs.rs/hyper), without a router: a handler is
//! one function with a `match` on method and path.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod body;
mod client;
pub mod expose;
pub mod families;
mod guard;
pub mod openmetrics;
pub mod page;
mod seats;
mod server;

pub use body::{BodyError, read_body};
pub use client::{ClientError, get};
pub use guard::{Guard, web_config_of_text};
pub use server::{BindError, Door, Limits, admitted, bind, serve};

/// What a handler answers: a response whose body is already in memory.
pub type Response = hyper::Response<Full<Bytes>>;

/// Builds a response with a body of the given `Content-Type`.
///
/// Browsers are told never to guess another type from the content.
fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Answers `status` with a plain text body, in UTF-8, sent as it is given.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

/// Answers 200 with an HTML page.
///
/// The headers forbid scripts, forms, frames and every outside resource:
/// only inline styles work. The page is never stored by a cache.
pub fn html(body: impl Into<Bytes>) -> Response {
    let mut response = with_type(StatusCode::OK, "text/html; charset=utf-8", body.into());
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Answers `status` with a JSON document and a newline after it.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    with_type(status, "application/json", format!("{body}\n").into())
}

/// Answers 405, naming the methods the path does accept.
pub fn method_not_allowed(allowed: &[Method]) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n");
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    // A method is a token, so the joined list is always a valid value.
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// Answers 401 and asks for a bearer token.
pub fn unauthorized() -> Response {
    let mut response = text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Whether the request carries exactly this bearer token.
///
/// The scheme's case does not matter. The comparison takes the same time
/// wherever the tokens differ; only the token's length can be learnt from it.
/// No header, several `Authorization` headers, another scheme and an empty
/// token (on either side) are all `false`.
pub fn bearer_matches(headers: &HeaderMap, token: &[u8]) -> bool {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    // With two headers, a proxy in front may have checked the other one.
    let (Some(value), None) = (given.next(), given.next()) else {
        return false;
    };
    let value = value.as_bytes();
    let Some(space) = value.iter().position(|&byte| byte == b' ') else {
        return false;
    };
    let (scheme, rest) = value.split_at(space);
    let offered = rest.trim_ascii();
    scheme.eq_ignore_ascii_case(b"bearer") && !offered.is_empty() && offered.ct_eq(token).into()
}

/// Bounds how many requests are worked on at the same time.
///
/// A clone shares the bound.
#[derive(Clone, Debug)]
pub struct Gate {
    /// `None` when there is no bound.
    slots: Option<Arc<Semaphore>>,
    max: usize,
}

/// A place inside a [`Gate`], given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back as soon as the permit is dropped"]
pub struct Permit(#[allow(dead_code, reason = "held for its Drop")] Option<OwnedSemaphorePermit>);

impl Gate {
    /// A gate for at most `max` requests at a time; 0 means no bound, as with
    /// the `--web.max-requests` flag of other exporters.
    pub fn new(max: usize) -> Self {
        let slots = (max > 0).then(|| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))));
        Self { slots, max }
    }

    /// Takes a place without waiting, or `None` when all are taken.
    pub fn try_enter(&self) -> Option<Permit> {
        match &self.slots {
            None => Some(Permit(None)),
            Some(slots) => Arc::clone(slots)
                .try_acquire_owned()
                .ok()
                .map(|place| Permit(Some(place))),
        }
    }

    /// The 503 to answer when [`Gate::try_enter`] gives `None`.
    pub fn refusal(&self) -> Response {
        let max = self.max;
        let body = format!("Limit of concurrent requests reached ({max}), try again later.\n");
        let mut response = text(StatusCode::SERVICE_UNAVAILABLE, body);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

/// One element of a header that holds a weighted list, such as `Accept`.
#[derive(Debug, PartialEq)]
struct Weighted<'a> {
    /// The value before the first `;`, as it was sent.
    value: &'a str,
    /// The parameters before `q`, quotes removed.
    params: Vec<(&'a str, &'a str)>,
    /// The weight in thousandths, 0 to 1000.
    q: u16,
}

/// Reads every line of a weighted list header (RFC 9110, section 12.4.2).
///
/// `None` when the header is absent or any part of it is malformed: a client
/// that cannot say what it wants gets the default.
fn weighted_list(headers: &HeaderMap, name: HeaderName) -> Option<Vec<Weighted<'_>>> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use http_body_util::BodyExt;
    use hyper::header::ACCEPT;
    use proptest::prelude::*;

    fn authorization(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn bearer_tokens() {
        let ok = |values: &[&str]| bearer_matches(&authorization(values), b"s3cret");
        assert!(ok(&["Bearer s3cret"]));
        assert!(ok(&["bEARER   s3cret "]));
        assert!(!ok(&[]));
        assert!(!ok(&["Bearer s3cre"]));
        assert!(!ok(&["Bearer s3cret2"]));
        assert!(!ok(&["Bearer S3cret"]));
        assert!(!ok(&["s3cret"]));
        assert!(!ok(&["Bearers3cret"]));
        assert!(!ok(&["Basic s3cret"]));
        assert!(!ok(&["Bearer s3cret", "Bearer s3cret"]));
        assert!(!ok(&["Bearer s3cret", "Basic x"]));
    }

    #[test]
    fn an_empty_token_matches_nothing() {
        for value in ["Bearer ", "Bearer", "Bearer  ", "", "Bearer x"] {
            assert!(!bearer_matches(&authorization(&[value]), b""), "{value:?}");
        }
    }

    #[tokio::test]
    async fn gate_is_bounded_and_gives_places_back() {
        let gate = Gate::new(2);
        let first = gate.try_enter();
        let second = gate.clone().try_enter();
        assert!(first.is_some() && second.is_some());
        assert!(gate.try_enter().is_none());
        drop(first);
        assert!(gate.try_enter().is_some());
        let refusal = gate.refusal();
        assert_eq!(refusal.status(), 503);
        let body = refusal.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            "Limit of concurrent requests reached (2), try again later.\n"
        );
        let open = Gate::new(0);
        let all: Vec<_> = (0..100).map(|_| open.try_enter()).collect();
        assert!(all.iter().all(Option::is_some));
    }

    #[tokio::test]
    async fn response_helpers() {
        let response = method_not_allowed(&[Method::GET, Method::HEAD]);
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "GET, HEAD");
        let page = html("<p>");
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'"));
        assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(page.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        let document = json(StatusCode::ACCEPTED, &serde_json::json!({"a": 1}));
        assert_eq!(document.status(), 202);
        let body = document.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"a\":1}\n");
        assert_eq!(unauthorized().headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn weights() {
        for (text, q) in [
            ("0", 0),
            ("1", 1000),
            ("0.5", 500),
            ("0.001", 1),
            ("1.000", 1000),
        ] {
            assert_eq!(thousandths(text), Some(q), "{text}");
        }
        for text in [
            "", "2", "1.1", "-1", "0.1234", ".5", "0.x", "nan", "1e0", "+1",
        ] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn weighted_lists_never_panic(
            value in proptest::string::string_regex("[ -~\t]{0,80}").unwrap(),
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(&value).unwrap());
            if let Some(list) = weighted_list(&headers, ACCEPT) {
                prop_assert!(list.iter().all(|item| item.q <= 1000 && !item.value.is_empty()));
            }
        }

        #[test]
        fn only_the_same_token_matches(token in "[!-~]{1,40}", other in "[!-~]{1,40}") {
            let headers = authorization(&[&format!("Bearer {token}")]);
            prop_assert!(bearer_matches(&headers, token.as_bytes()));
            prop_assert_eq!(bearer_matches(&headers, other.as_bytes()), token == other);
        }
    }
}
