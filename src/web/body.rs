//! Reading a body without letting the peer choose how much memory or time it
//! takes.

use std::fmt;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, StatusCode};

use super::{Response, text};

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
pub(super) enum CollectError<E> {
    /// More than the limit was declared or sent.
    TooLarge,
    /// The body itself failed.
    Body(E),
}

/// Copies a body into one buffer of at most `limit` bytes.
///
/// The pieces are copied rather than kept, so that a body sent in chunks of
/// one byte costs no more memory than one sent whole.
pub(super) async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, CollectError<B::Error>>
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use http_body_util::Full;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body of unknown length: what a chunked request is.
    struct Chunks(VecDeque<Vec<u8>>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
            let chunk = self.0.pop_front();
            Poll::Ready(chunk.map(|chunk| Ok(hyper::body::Frame::data(chunk.into()))))
        }
    }

    #[tokio::test]
    async fn the_limit_is_inclusive() {
        let read = |size: usize, limit| {
            let request = Request::new(Full::new(Bytes::from(vec![b'x'; size])));
            read_body(request, limit, Duration::from_secs(5))
        };
        assert_eq!(read(10, 10).await.unwrap().len(), 10);
        assert_eq!(read(11, 10).await, Err(BodyError::TooLarge));
        assert_eq!(read(0, 0).await.unwrap().len(), 0);
    }

    #[test]
    fn errors_have_their_status() {
        for (error, status) in [
            (BodyError::TooLarge, 413),
            (BodyError::TimedOut, 408),
            (BodyError::Broken, 400),
        ] {
            let response = error.response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONNECTION], "close");
        }
    }

    proptest! {
        #[test]
        fn chunks_are_joined_or_refused(
            chunks in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..40), 0..12),
            limit in 0usize..200,
        ) {
            let whole: Vec<u8> = chunks.concat();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            let request = Request::new(Chunks(chunks.into()));
            let got = runtime.block_on(read_body(request, limit, Duration::from_secs(5)));
            if whole.len() <= limit {
                prop_assert_eq!(got.unwrap(), whole);
            } else {
                prop_assert_eq!(got, Err(BodyError::TooLarge));
            }
        }
    }
}
