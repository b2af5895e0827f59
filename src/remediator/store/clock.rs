//! Since when the wall clock has run without a step.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use crate::folder::Timestamp;

use super::{Store, StoreError, atomic};

/// A clock that is this far from where it should be was set.
const STEP: Duration = Duration::from_secs(3_600);
/// After a downtime longer than this the clock counts as set meanwhile.
const MAX_DOWNTIME: Duration = Duration::from_secs(86_400);

/// The table of this module; it has one row.
pub(super) const SCHEMA: &str = "
CREATE TABLE wall_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seen_ns INTEGER NOT NULL,
    since_ns INTEGER NOT NULL
);
";

/// The wall clock, as it was last seen.
#[derive(Clone, Copy, Debug)]
pub struct WallClock<'a>(pub(super) &'a Store);

impl WallClock<'_> {
    /// Since when the wall clock has run without a step, as far as is known; `now` is put on
    /// record. `passed`: how long ago, by the monotonic clock, this was last asked; `None` the
    /// first time after a start. What is dated before a step may be younger than it looks.
    pub fn runs_since(
        &self,
        now: Timestamp,
        passed: Option<Duration>,
    ) -> Result<Timestamp, StoreError> {
        atomic(&self.0.db, |tx| {
            let time = |nanos| Timestamp::from_nanos(nanos);
            let before = tx
                .query_row("SELECT seen_ns, since_ns FROM wall_clock", [], |row| {
                    Ok((time(row.get(0)?), time(row.get(1)?)))
                })
                .optional()?;
            let since = match before {
                Some((seen, since)) if is_expected(seen, passed, now) => since.min(now),
                _ => now,
            };
            tx.execute(
                "INSERT OR REPLACE INTO wall_clock (id, seen_ns, since_ns) VALUES (1, ?1, ?2)",
                params![now.nanos(), since.nanos()],
            )?;
            Ok(since)
        })
    }
}

/// Whether a clock that showed `seen` may show `now` without having been set.
fn is_expected(seen: Timestamp, passed: Option<Duration>, now: Timestamp) -> bool {
    let (from, to) = match passed {
        Some(passed) => (seen.plus(passed).minus(STEP), seen.plus(passed).plus(STEP)),
        None => (seen.minus(STEP), seen.plus(MAX_DOWNTIME)),
    };
    from <= now && now <= to
}

#[cfg(test)]
mod tests;
