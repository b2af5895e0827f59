//! Rate limits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};

use crate::{Response, text};

/// How many requests there may be.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// One more after each.
    pub interval: Duration,
    /// At once; at least 1.
    pub burst: u32,
}

/// A token bucket: how many requests may still come, and since when.
#[derive(Debug, Default)]
pub(crate) struct TokenBucket {
    last: Option<(Instant, f64)>,
}

impl TokenBucket {
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let burst = f64::from(rate.burst);
        let left = self.last.map_or(burst, |(at, left)| {
            let earned =
                now.saturating_duration_since(at).as_secs_f64() / rate.interval.as_secs_f64();
            (left + earned).min(burst)
        });
        let taken = left >= 1.0;
        self.last = Some((now, if taken { left - 1.0 } else { left }));
        taken
    }
}

/// Limits how often an action is taken, for all callers together.
#[derive(Debug)]
pub struct RateLimit {
    rate: Rate,
    clock: Clock,
    bucket: Mutex<TokenBucket>,
}

impl RateLimit {
    /// A limit that is not used up.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        Self {
            rate,
            clock,
            bucket: Mutex::default(),
        }
    }

    /// Counts a request. `Some(429)` when it is one too many.
    pub fn refusal(&self) -> Option<Response> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(self.rate, self.clock.now()) {
            return None;
        }
        let mut response = text(StatusCode::TOO_MANY_REQUESTS, "Too many requests\n");
        let seconds = self.rate.interval.as_secs().max(1);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
        Some(response)
    }
}

#[cfg(test)]
mod tests;
