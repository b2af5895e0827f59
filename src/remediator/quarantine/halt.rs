//! Whether a file may move now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;

/// A file moves only so soon after the last look at the bot, or after the file before. In between
/// this program may have been stopped (SIGSTOP), frozen (cgroup) or suspended with the machine,
/// and the bot may have been started.
pub const MOVES_WITHIN: Duration = Duration::from_secs(5);

/// Stops the moves of a run from outside, because a blocking call cannot be dropped.
#[derive(Clone, Debug, Default)]
pub struct Halt {
    halted: Arc<AtomicBool>,
    moving: Arc<Mutex<Lease>>,
    /// The clock of the machine: a freeze is real also where a test makes time pass faster.
    clock: Clock,
}

/// Until when a file may move.
#[derive(Debug, Default)]
struct Lease {
    /// When the bot was looked at, or the last file moved, by the time since boot. `None`: a
    /// person has forced it, and what the bot does is not asked.
    renewed: Option<Duration>,
}

impl Lease {
    fn is_over(&self, now: Duration) -> bool {
        let renewed = self.renewed;
        renewed.is_some_and(|renewed| now.saturating_sub(renewed) > MOVES_WITHIN)
    }
}

/// The right to one move.
#[derive(Debug)]
pub(in crate::remediator) struct Permit<'a> {
    lease: MutexGuard<'a, Lease>,
    clock: &'a Clock,
}

impl Permit<'_> {
    /// Whether the move that was made came in time.
    pub(super) fn was_in_time(&self) -> bool {
        !self.lease.is_over(self.clock.boot())
    }
}

impl Halt {
    /// Allows no further move. A move that is under way completes.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
    }

    /// Whether [`Halt::halt`] was called.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }

    /// Blocks until the move under way has ended. After [`Halt::halt`], no file moves from
    /// then on.
    pub fn wait(&self) {
        drop(self.moving.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The bot was looked at just now, and may not be running: files may move, for
    /// [`MOVES_WITHIN`] or as long as one move follows the other.
    pub(super) fn confirm(&self) {
        let mut lease = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        lease.renewed = Some(self.clock.boot());
    }

    /// The right to one move.
    pub(super) fn permit(&self) -> Option<Permit<'_>> {
        let mut lease = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.boot();
        if self.is_halted() || lease.is_over(now) {
            return None;
        }
        lease.renewed = lease.renewed.map(|_| now);
        Some(Permit {
            lease,
            clock: &self.clock,
        })
    }
}

#[cfg(test)]
mod tests;
