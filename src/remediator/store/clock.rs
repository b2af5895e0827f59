//! Time: a clock without steps, and the time since when the wall clock had no step.
//!
//! Every limit of the journal (cooldown, budget, breaker, retry) is measured by `Steady`, never by
//! the wall clock. If the wall clock were set ahead, all limits would end; if it were set back,
//! they would last too long.

use std::time::{Duration, SystemTime};

use clock::{Clock, ClockReading, Steps};
use rusqlite::{Connection as Sqlite, OptionalExtension, params};

use crate::folder::Timestamp;

use super::{Store, StoreError, atomic};

/// A clock that differs from the expected time by this much was set.
const STEP: Duration = Duration::from_secs(3_600);
/// After a downtime longer than this, the clock counts as set.
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
CREATE TABLE steady_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot INTEGER NOT NULL,
    offset_ns INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL
);
";

/// The steady clock is saved at least this often. After a boot it has lost at most this much of the
/// previous uptime.
const SEEN_EVERY: Duration = Duration::from_secs(300);

/// One reading of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall time, for output only.
    pub wall: Timestamp,
    /// The boot of the machine.
    boot: u64,
    /// Time since that boot, including suspension.
    since_boot: Duration,
}

impl Moment {
    /// Now.
    pub fn of(clock: &Clock) -> Self {
        Self {
            wall: Timestamp::of(clock),
            boot: boot_id(),
            since_boot: clock.boot(),
        }
    }

    /// The current time of this machine.
    pub fn now() -> Self {
        Self::of(&Clock::system())
    }

    /// For tests: this time on a machine that was booted at the Unix epoch and whose wall clock is
    /// right.
    pub fn agreeing(wall: Timestamp) -> Self {
        Self {
            wall,
            boot: 1,
            since_boot: Duration::from_nanos(wall.nanos().unsigned_abs()),
        }
    }
}

#[cfg(test)]
impl From<Timestamp> for Moment {
    fn from(wall: Timestamp) -> Self {
        Self::agreeing(wall)
    }
}

/// Nanoseconds of a clock that cannot be set. It counts the time since boot, continues after the
/// next boot, and never goes back. The time without power is unknown and not counted: across a boot
/// a limit lasts longer, by at most its own length, and never shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Steady(i64);

impl Steady {
    /// The time at this moment. Reads the offset of this boot from `db`.
    pub(super) fn at(db: &Sqlite, now: Moment) -> Result<Self, rusqlite::Error> {
        Ok(SteadyClock::read(db)?.map_or(Self(nanos(now.since_boot)), |clock| clock.at(now)))
    }

    /// The same in a transaction that writes: also saves the time, so that the clock continues from
    /// here after the next boot.
    pub(super) fn mark(db: &Sqlite, now: Moment) -> Result<Self, rusqlite::Error> {
        let clock = SteadyClock::read(db)?;
        let steady = clock.map_or(Self(nanos(now.since_boot)), |clock| clock.at(now));
        let offset = match clock {
            // Another process may have read its clock first and written later.
            Some(clock) if clock.boot == now.boot && now.boot != UNKNOWN_BOOT => clock.offset,
            _ => steady.0.saturating_sub(nanos(now.since_boot)),
        };
        db.execute(
            "INSERT OR REPLACE INTO steady_clock (id, boot, offset_ns, seen_ns) VALUES (1, ?1, ?2, ?3)",
            params![now.boot.cast_signed(), offset, steady.0],
        )?;
        Ok(steady)
    }

    /// From a column.
    pub(super) const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// For a column.
    pub(super) const fn nanos(self) -> i64 {
        self.0
    }

    /// This much earlier.
    pub(super) fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// Time from `earlier` to this; zero if it is later.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The row of the steady clock.
#[derive(Clone, Copy, Debug)]
struct SteadyClock {
    /// The boot in which it was last saved.
    boot: u64,
    /// Steady time minus time since that boot.
    offset: i64,
    /// The latest saved steady time.
    seen: Steady,
}

impl SteadyClock {
    fn read(db: &Sqlite) -> Result<Option<Self>, rusqlite::Error> {
        db.query_row(
            "SELECT boot, offset_ns, seen_ns FROM steady_clock",
            [],
            |row| {
                Ok(Self {
                    boot: row.get::<_, i64>(0)?.cast_unsigned(),
                    offset: row.get(1)?,
                    seen: Steady(row.get(2)?),
                })
            },
        )
        .optional()
    }

    /// Pure.
    fn at(self, now: Moment) -> Steady {
        match self.boot == now.boot {
            true => self
                .seen
                .max(Steady(self.offset.saturating_add(nanos(now.since_boot)))),
            false => self.seen,
        }
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// The boot if the kernel does not name it.
const UNKNOWN_BOOT: u64 = 0;

/// The boot of the machine. If the kernel does not name it, all boots count as one.
pub fn boot_id() -> u64 {
    static BOOT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BOOT.get_or_init(|| {
        std::fs::read("/proc/sys/kernel/random/boot_id")
            .map_or(UNKNOWN_BOOT, |id| xxhash_rust::xxh3::xxh3_64(&id))
    })
}

/// The last known wall clock.
#[derive(Clone, Copy, Debug)]
pub struct WallClock<'a>(pub(super) &'a Store);

impl WallClock<'_> {
    /// The time since when the wall clock is known to have had no step; saves `now`. `passed`: time
    /// since the last call by the monotonic clock, `None` for the first call after a start. A date
    /// from before a step may be younger than it looks.
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

    /// Adds the steps that earlier processes found since the boot to `clock`, and saves those found
    /// now. Also saves the steady clock, after a boot and every few minutes.
    ///
    /// Errors: those of the journal; then `clock` has only the steps that this process saw.
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
            let now = Moment::of(clock);
            let is_recent = SteadyClock::read(tx)?.is_some_and(|steady| {
                steady.boot == now.boot && steady.at(now).since(steady.seen) < SEEN_EVERY
            });
            if !is_recent {
                Steady::mark(tx, now)?;
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
