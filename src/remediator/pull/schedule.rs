//! When to poll next. Pure.
//!
//! Alertmanager answers few requests at the same time, and others with 503. Such a poll is
//! retried early, with exponential backoff and jitter, so that one rejection does not cost a
//! whole interval. The retries are few, and begin anew only after a poll without a 503: an
//! Alertmanager that is always busy is polled once an interval, as before.

use std::time::Duration;

/// Early retries in a row, at most.
const RETRIES: u32 = 4;
/// The first backoff; each further one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The pause before the next poll. `busy`: polls in a row in which an Alertmanager was busy.
/// `random` is from 0 to 1.
///
/// A backoff is shifted by up to a half, and never longer than the regular pause, which is
/// `interval` shifted by up to a tenth.
pub fn pause(interval: Duration, busy: u32, random: f64) -> Duration {
    let random = random.clamp(0.0, 1.0);
    let regular = interval.mul_f64(0.9 + 0.2 * random);
    if busy == 0 || busy > RETRIES {
        return regular;
    }
    let backoff = FIRST_BACKOFF * 2u32.pow(busy - 1);
    backoff.mul_f64(0.5 + random).min(regular)
}

#[cfg(test)]
mod tests;
