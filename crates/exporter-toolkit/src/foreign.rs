//! Requests that a foreign web page made a browser send.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};

use crate::{Response, text};

/// Refuses a request that changes something and may come from a foreign web page: `Some(403)`.
///
/// Accepted are requests whose `Host` is an IP address, `localhost` or this machine's name
/// (with or without its domain), whose `Origin`, if any, is that same host, and whose
/// `Sec-Fetch-Site`, if any, is `same-origin` or `none`. Any other name may be one that a
/// foreign site points at this machine (DNS rebinding).
pub fn refuse_foreign<B>(request: &Request<B>) -> Option<Response> {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    // An absolute URI in the request line counts like the header.
    let uri = request.uri().authority();
    let foreign = match is_foreign_host(uri, request.headers(), &name) {
        true => "Host",
        false if is_foreign_origin(request.headers()) => "Origin",
        false => return None,
    };
    Some(text(
        StatusCode::FORBIDDEN,
        format!(
            "Refused: a foreign {foreign}. Use an IP address, localhost or this machine's name, and no other site's page.\n"
        ),
    ))
}

/// The only value of a header; `Err` when there are several or it is not a text.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

fn authority(text: &str) -> Option<Authority> {
    let authority = text.parse::<Authority>().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

fn is_foreign_host(uri: Option<&Authority>, headers: &HeaderMap, own_name: &str) -> bool {
    let is_own = |authority: &Authority| is_own_host(authority.host(), own_name);
    let Ok(host) = only(headers, HOST) else {
        return true;
    };
    // HTTP/1.0 needs no Host; a browser always sends one.
    let is_own_header = host.is_none_or(|host| authority(host).as_ref().is_some_and(is_own));
    !is_own_header || !uri.is_none_or(is_own)
}

fn is_own_host(host: &str, own_name: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let first = own_name.split('.').next().unwrap_or_default();
    inner.unwrap_or(host).parse::<IpAddr>().is_ok()
        || ["localhost", own_name, first]
            .iter()
            .any(|own| !own.is_empty() && host.eq_ignore_ascii_case(own))
}

fn is_foreign_origin(headers: &HeaderMap) -> bool {
    let site = only(headers, HeaderName::from_static("sec-fetch-site"));
    if !matches!(site, Ok(None | Some("same-origin" | "none"))) {
        return true;
    }
    let (Ok(origin), Ok(host)) = (only(headers, ORIGIN), only(headers, HOST)) else {
        return true;
    };
    match (origin, host) {
        (None, _) => false,
        (Some(origin), Some(host)) => !is_origin_of(origin, host),
        (Some(_), None) => true,
    }
}

/// Whether a page of `origin` (`https://HOST[:PORT]`) comes from `host` (`HOST[:PORT]`).
fn is_origin_of(origin: &str, host: &str) -> bool {
    let http = origin.strip_prefix("http://").map(|rest| (rest, 80));
    let https = || origin.strip_prefix("https://").map(|rest| (rest, 443));
    let Some((origin, default)) = http.or_else(https) else {
        return false;
    };
    let (Some(origin), Some(host)) = (authority(origin), authority(host)) else {
        return false;
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(&host)
}

#[cfg(test)]
mod tests;
