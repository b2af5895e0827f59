//! Arithmetic on wall time that does not fail, because a file may have any time.

use std::time::{Duration, SystemTime};

/// Time from `earlier` to `later`; zero if it is not before it.
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
