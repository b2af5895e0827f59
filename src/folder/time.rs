//! Points in time as files and session records give them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clock::Clock;

/// Nanoseconds since the Unix epoch; may be negative. Arithmetic saturates, so no
/// timestamp found on a disk (year 1901, year 292277026596) can make the program fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From `stat`'s seconds and nanoseconds; saturates.
    pub fn from_stat(seconds: i64, nanos: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// From the milliseconds that libsignal writes (`used`, `created`); saturates.
    pub fn from_millis(millis: f64) -> Self {
        // `as` saturates for floats and turns NaN into 0.
        Self((millis * 1e6) as i64)
    }

    /// From whole seconds since the epoch; saturates.
    pub fn from_secs(seconds: i64) -> Self {
        Self::from_stat(seconds, 0)
    }

    /// Wall time of `clock`.
    pub fn of(clock: &Clock) -> Self {
        clock.wall().into()
    }

    /// Wall time of the machine. New code takes a [`Clock`] and uses [`Timestamp::of`].
    pub fn now() -> Self {
        Self::of(&Clock::system())
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, with the fraction.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This point less `span`.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos_of(span)))
    }

    /// This point plus `span`.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos_of(span)))
    }

    /// How long before `later` this point is; zero when it is not before it.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0).max(0) as u64)
    }

    /// RFC 3339 in UTC, to the second, e.g. `2026-11-23T18:14:04Z`; a date outside the
    /// years that format can hold is given as seconds since the epoch.
    pub fn rfc3339(self) -> String {
        let secs = self.0.div_euclid(1_000_000_000);
        match u64::try_from(secs) {
            Ok(secs) => humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs))
                .to_string(),
            Err(_) => format!("@{secs}"),
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(nanos_of(after)),
            Err(before) => Self(nanos_of(before.duration()).saturating_neg()),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let span = Duration::from_nanos(time.0.unsigned_abs());
        let time = match time.0 < 0 {
            true => UNIX_EPOCH.checked_sub(span),
            false => UNIX_EPOCH.checked_add(span),
        };
        time.unwrap_or(UNIX_EPOCH)
    }
}

fn nanos_of(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
