//! Logs refused requests that carry, or should carry, the token: a wrong token or an invalid
//! body would stay unnoticed, because Alertmanager only counts them. Rate-limited, because every client that can reach the
//! address can cause them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;

/// One line for each status within this time.
const ONE_LINE_EACH: Duration = Duration::from_secs(60);

/// Logs refused requests.
#[derive(Debug)]
pub(super) struct RefusalLog {
    /// What was asked.
    what: &'static str,
    clock: Clock,
    by_status: Mutex<BTreeMap<u16, LogRateLimit>>,
}

impl RefusalLog {
    pub(super) fn new(what: &'static str, clock: Clock) -> Self {
        Self {
            what,
            clock,
            by_status: Mutex::default(),
        }
    }

    /// Logs a request refused with this status. `why` contains nothing from the request.
    pub(super) fn refused(&self, status: u16, why: &str) {
        let left_out = {
            let mut by_status = self
                .by_status
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            by_status.entry(status).or_default().take(self.clock.now())
        };
        if let Some(left_out) = left_out {
            tracing::warn!(
                status,
                not_logged_before = left_out,
                "a request to {} was refused: {why}",
                self.what
            );
        }
    }
}

/// When a line was last written, and how many were left out since. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct LogRateLimit {
    last: Option<Instant>,
    left_out: u64,
}

impl LogRateLimit {
    /// Whether a line may be written now, and how many were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let is_due = |last: Instant| now.saturating_duration_since(last) >= ONE_LINE_EACH;
        if self.last.is_none_or(is_due) {
            self.last = Some(now);
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out = self.left_out.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests;
