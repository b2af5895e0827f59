//! Bearer tokens.

use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

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

#[cfg(test)]
mod tests;
