//! Answers whose body is already in memory.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode};

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

/// Answers 404 and lists the paths that there are, such as `POST /webhook`.
pub fn not_found(paths: &[&str]) -> Response {
    let body = format!("Not found. Paths: {}\n", paths.join(", "));
    text(StatusCode::NOT_FOUND, body)
}

#[cfg(test)]
mod tests;
