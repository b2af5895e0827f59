//! Arithmetic on wall time that cannot fail: a file may carry any time.

use std::time::{Duration, SystemTime};

/// How long before `later` a time is; zero if it is not before it.
pub(crate) fn until(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

/// `span` before a time; saturates.
pub(crate) fn before(at: SystemTime, span: Duration) -> SystemTime {
    at.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// `span` after a time; saturates.
pub(crate) fn after(at: SystemTime, span: Duration) -> SystemTime {
    at.checked_add(span).unwrap_or(at)
}
