//! Since when the wall clock has run without a step.

use std::time::{Duration, SystemTime};

use clock::{Clock, ClockReading, Steps};
use rusqlite::{OptionalExtension, params};

use crate::folder::Timestamp;

use super::{Store, StoreError, atomic};

/// A clock that is this far from where it should be was set.
const STEP: Duration = Duration::from_secs(3_600);
/// After a downtime longer than this the clock counts as set meanwhile.
const MAX_DOWNTIME: Duration = Duration::from_secs(86_400);

/// The tables of this module; each has one row. Times with `boot_` count from the boot.
pub(super) const SCHEMA: &str = "
CREATE TABLE wall_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seen_ns INTEGER NOT NULL,
    since_ns INTEGER NOT NULL
);
CREATE TABLE clock_steps (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    boot_before_ns INTEGER NOT NULL,
    boot_after_ns INTEGER NOT NULL,
    boot_found_ns INTEGER
);
";

/// Which boot of the machine this is. Where the kernel does not tell, all boots are one.
pub fn boot_id() -> u64 {
    static BOOT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BOOT.get_or_init(|| {
        std::fs::read("/proc/sys/kernel/random/boot_id")
            .map_or(0, |id| xxhash_rust::xxh3::xxh3_64(&id))
    })
}

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

    /// Tells `clock` of the steps that earlier processes found since the boot of the machine,
    /// and puts on record what it finds now.
    ///
    /// Errors: those of the journal; `clock` then knows what this process has seen.
    pub fn share_steps(&self, clock: &Clock) -> Result<(), StoreError> {
        let boot = boot_id().cast_signed();
        atomic(&self.0.db, |tx| {
            let span = |nanos: i64| Duration::from_nanos(nanos.unsigned_abs());
            let saved = tx
                .query_row(
                    "SELECT wall_ns, boot_before_ns, boot_after_ns, boot_found_ns FROM clock_steps WHERE boot = ?1",
                    [boot],
                    |row| {
                        Ok(Steps {
                            since: Some(ClockReading {
                                wall: SystemTime::from(Timestamp::from_nanos(row.get(0)?)),
                                before: span(row.get(1)?),
                                after: span(row.get(2)?),
                            }),
                            found: row.get::<_, Option<i64>>(3)?.map(span),
                        })
                    },
                )
                .optional()?;
            if let Some(saved) = saved {
                clock.add_earlier_steps(saved);
            }
            clock.steady_for();
            let known = clock.steps();
            if let Some(since) = known.since
                && saved != Some(known)
            {
                let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
                tx.execute(
                    "INSERT OR REPLACE INTO clock_steps (id, boot, wall_ns, boot_before_ns, boot_after_ns, boot_found_ns) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                    params![
                        boot,
                        Timestamp::from(since.wall).nanos(),
                        nanos(since.before),
                        nanos(since.after),
                        known.found.map(nanos)
                    ],
                )?;
            }
            Ok(())
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
