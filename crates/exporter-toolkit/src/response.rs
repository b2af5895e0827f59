//! Answers whose body is already in memory.

use std::io::Write;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    HeaderValue, REFERRER_POLICY, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode};

use crate::negotiation::accepts_gzip;
use crate::page;

/// What a handler answers: a response whose body is already in memory.
pub type Response = hyper::Response<Full<Bytes>>;

/// Builds a response with a body of the given `Content-Type`.
///
/// Tells browsers never to guess another type from the content.
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

/// What a page may do. Its only script is that of [`page::document`], known by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = ring::digest::digest(&ring::digest::SHA256, page::SCRIPT.as_bytes());
    let hash = BASE64_STANDARD.encode(digest);
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Answers `status` with an HTML page, gzipped if `Accept-Encoding` in `headers` allows it.
///
/// The headers forbid other scripts, forms, frames and every outside resource: only inline
/// styles work. The page is never stored by a cache.
pub fn html(headers: &HeaderMap, status: StatusCode, body: impl Into<Bytes>) -> Response {
    let body: Bytes = body.into();
    let zipped = if accepts_gzip(headers) {
        gzip(&body)
    } else {
        None
    };
    let is_gzip = zipped.is_some();
    let body = zipped.map_or(body, Bytes::from);
    let mut response = with_type(status, "text/html; charset=utf-8", body);
    let headers = response.headers_mut();
    // A base64 hash is always a valid value.
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// `None` if it fails, which writing into memory does not.
fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(body).ok()?;
    out.finish().ok()
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

/// Answers 404 and lists the paths that there are, such as `POST /webhook`.
pub fn not_found(paths: &[&str]) -> Response {
    let body = format!("Not found. Paths: {}\n", paths.join(", "));
    text(StatusCode::NOT_FOUND, body)
}

#[cfg(test)]
mod tests;
