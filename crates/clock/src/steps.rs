//! Finds steps of the wall clock by the time since boot, which does not step.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A difference up to this is no step: a leap second, and what cannot be measured.
const TOLERANCE: Duration = Duration::from_secs(2);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Wall time.
    pub wall: SystemTime,
    /// Time since boot, read before the wall time.
    pub before: Duration,
    /// Time since boot, read after it.
    pub after: Duration,
}

/// What is known about the steps of the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// A reading since which there was no step.
    pub since: Option<ClockReading>,
    /// Time since boot at which the last step was found; it happened at or before that.
    pub found: Option<Duration>,
}

impl Steps {
    /// Takes in a reading. Small steps add up, because it is compared with the first reading
    /// and not with the last. Pure.
    #[must_use]
    pub fn with(self, now: ClockReading) -> Self {
        let Some(since) = self.since else {
            return Self {
                since: Some(now),
                ..self
            };
        };
        // Of two processes the later one may have read first.
        let nanos = |span: Duration| i128::try_from(span.as_nanos()).unwrap_or(i128::MAX);
        let passed = match now.wall.duration_since(since.wall) {
            Ok(passed) => nanos(passed),
            Err(back) => -nanos(back.duration()),
        };
        let least = nanos(now.before) - nanos(since.after) - nanos(TOLERANCE);
        let most = nanos(now.after) - nanos(since.before) + nanos(TOLERANCE);
        let is_steady = (least..=most).contains(&passed);
        match is_steady {
            true => self,
            false => Self {
                since: Some(now),
                found: Some(now.after),
            },
        }
    }

    /// How long the wall clock is known to have run without a step; `None` where no step was
    /// ever found.
    pub fn steady_for(self, boot: Duration) -> Option<Duration> {
        self.found.map(|found| boot.saturating_sub(found))
    }
}

/// The steps of one clock.
#[derive(Debug)]
pub(crate) struct Detector(Mutex<Steps>);

impl Detector {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Steps {
            since: None,
            found: None,
        }))
    }

    pub(crate) fn steps(&self) -> Steps {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what an earlier process of this boot has seen.
    pub(crate) fn add_earlier(&self, earlier: Steps) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = steps.since.map_or(earlier, |since| earlier.with(since));
        *steps = Steps {
            found: joined.found.max(steps.found),
            ..joined
        };
    }

    pub(crate) fn take(&self, read: impl FnOnce() -> ClockReading) -> Option<Duration> {
        // Read under the lock: readings must not overtake each other.
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = read();
        *steps = steps.with(reading);
        steps.steady_for(reading.after)
    }
}
