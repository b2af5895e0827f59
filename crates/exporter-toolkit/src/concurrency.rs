//! Bounding how many requests are worked on at the same time.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Response, text};

/// Bounds how many requests are worked on at the same time, and with them the threads that
/// they block. A clone shares the bound.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    /// `None` when there is no bound.
    slots: Option<Arc<Semaphore>>,
    max: usize,
}

/// A place within a [`ConcurrencyLimit`], given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back as soon as the permit is dropped"]
pub struct Permit(#[allow(dead_code, reason = "held for its Drop")] Option<OwnedSemaphorePermit>);

impl ConcurrencyLimit {
    /// At most `max` requests at a time; 0 means no bound, as with the `--web.max-requests`
    /// flag of other exporters.
    pub fn new(max: usize) -> Self {
        let slots = (max > 0).then(|| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))));
        Self { slots, max }
    }

    /// Takes a place without waiting, or `None` when all are taken.
    pub fn try_acquire(&self) -> Option<Permit> {
        match &self.slots {
            None => Some(Permit(None)),
            Some(slots) => {
                let slot = Arc::clone(slots).try_acquire_owned().ok()?;
                Some(Permit(Some(slot)))
            }
        }
    }

    /// Answers with what `work` gives, or with 503 when all places are taken.
    ///
    /// The work is a task of its own and keeps its place until it ends, even when the client
    /// goes away or the request times out. So a file system that hangs blocks at most as many
    /// threads as there are places. A panic is answered with 500.
    pub async fn run(&self, work: impl Future<Output = Response> + Send + 'static) -> Response {
        let Some(permit) = self.try_acquire() else {
            return self.refusal();
        };
        let task = tokio::spawn(async move {
            let _permit = permit;
            work.await
        });
        match task.await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(%error, "a request handler failed");
                text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
            }
        }
    }

    /// The 503 to answer when [`ConcurrencyLimit::try_acquire`] gives `None`.
    pub fn refusal(&self) -> Response {
        let max = self.max;
        let body = format!("Limit of concurrent requests reached ({max}), try again later.\n");
        let mut response = text(StatusCode::SERVICE_UNAVAILABLE, body);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

#[cfg(test)]
mod tests;
