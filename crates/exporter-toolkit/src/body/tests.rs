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
