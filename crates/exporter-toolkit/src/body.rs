//! Reading a body without letting the peer choose how much memory or time it
//! takes.

use std::fmt;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, StatusCode};

use crate::{Response, text};

/// Why a request's body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body is, or declares to be, longer than the limit.
    TooLarge,
    /// The body was not complete in time.
    TimedOut,
    /// The connection ended or the framing was wrong.
    Broken,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is too large",
            Self::TimedOut => "the body was not sent in time",
            Self::Broken => "the body could not be read",
        })
    }
}

impl std::error::Error for BodyError {}

impl BodyError {
    /// The answer to give: 413, 408 or 400.
    ///
    /// Part of the body is still on its way, so the connection closes after it.
    pub fn response(&self) -> Response {
        let status = match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        };
        let mut response = text(status, format!("{self}\n"));
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Reads the whole body of `request`: at most `limit` bytes within `timeout`.
///
/// # Errors
///
/// [`BodyError::TooLarge`] when the body declares more than `limit` bytes
/// (nothing is read then) or sends more, [`BodyError::TimedOut`] when it is
/// not complete within `timeout`, and [`BodyError::Broken`] when the
/// connection ends early or the framing is wrong.
pub async fn read_body<B>(
    request: Request<B>,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    match tokio::time::timeout(timeout, collect(request.into_body(), limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(CollectError::TooLarge)) => Err(BodyError::TooLarge),
        Ok(Err(CollectError::Body(_))) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TimedOut),
    }
}

/// Why [`collect`] stopped.
#[derive(Debug)]
pub(crate) enum CollectError<E> {
    /// More than the limit was declared or sent.
    TooLarge,
    /// The body itself failed.
    Body(E),
}

/// Copies a body into one buffer of at most `limit` bytes.
///
/// The pieces are copied rather than kept, so that a body sent in chunks of
/// one byte costs no more memory than one sent whole.
pub(crate) async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, CollectError<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(CollectError::TooLarge);
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        // A frame is data or trailers; trailers are of no use here.
        if let Ok(data) = frame.map_err(CollectError::Body)?.into_data() {
            if data.len() > limit - whole.len() {
                return Err(CollectError::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests;
