//! The only place that reads the time, so that tests can set it forward.

use std::time::{Duration, Instant, SystemTime};

/// Tells the time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far a test has set it forward.
    #[cfg(test)]
    ahead: std::sync::Arc<std::sync::Mutex<Duration>>,
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self::default()
    }

    /// Wall time, to compare with the times of files. It may step in either direction.
    pub fn wall(&self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now() + self.ahead()
    }

    /// Monotonic time since `start`; zero if `start` is in the future.
    pub fn since(&self, start: Instant) -> Duration {
        self.now().saturating_duration_since(start)
    }

    #[cfg(not(test))]
    fn ahead(&self) -> Duration {
        Duration::ZERO
    }

    #[cfg(test)]
    fn ahead(&self) -> Duration {
        *self.ahead.lock().unwrap()
    }

    /// Sets this clock and all its clones forward.
    #[cfg(test)]
    pub(crate) fn advance(&self, span: Duration) {
        *self.ahead.lock().unwrap() += span;
    }
}

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
