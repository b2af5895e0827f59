//! The only place that reads the time.
//!
//! Code takes a [`Clock`] and asks it for wall time, monotonic time and sleep. Programs use
//! [`Clock::system`]. Tests use [`ManualClock::new`]: its time stands still until the test
//! advances it, which wakes what sleeps.
//!
//! `clippy.toml` disallows `Instant::now` and `SystemTime::now` elsewhere.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// This crate is the exception that `clippy.toml` names.
#![allow(clippy::disallowed_methods)]

mod manual;
mod steps;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use manual::Manual;
pub use manual::ManualClock;
use steps::Detector;
pub use steps::{ClockReading, Steps};

/// The steps of the machine's clock, which all system clocks of a process share.
static MACHINE: Detector = Detector::new();

/// Tells the time and sleeps. Cheap to clone; all clones of a manual clock share its time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Fast(Arc<Fast>),
    Manual(Arc<Manual>),
}

/// The clock of the machine, from a moment on `factor` times as fast.
#[derive(Debug)]
struct Fast {
    start: Instant,
    wall: SystemTime,
    boot: Duration,
    factor: u32,
    steps: Detector,
}

impl Fast {
    fn passed(&self) -> Duration {
        self.start.elapsed() * self.factor
    }
}

/// The time of [`Clock::timeout`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("timeout")
    }
}

impl std::error::Error for TimedOut {}

impl Clock {
    /// The clock of the machine.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that begins at the time of the machine and runs `factor` times as fast, for tests
    /// of code that works with real processes and waits long.
    pub fn fast(factor: u32) -> Self {
        Self(Source::Fast(Arc::new(Fast {
            start: Instant::now(),
            wall: SystemTime::now(),
            boot: since_boot(),
            factor: factor.max(1),
            steps: Detector::new(),
        })))
    }

    /// Wall time. It may step in either direction.
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System => SystemTime::now(),
            Source::Fast(fast) => fast.wall + fast.passed(),
            Source::Manual(manual) => manual.wall(),
        }
    }

    /// Monotonic time. It does not count while the machine is suspended.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Fast(fast) => fast.start + fast.passed(),
            Source::Manual(manual) => manual.now(),
        }
    }

    /// Time since the boot of the machine, including suspension (`CLOCK_BOOTTIME`). Values
    /// of two processes can be compared while the machine has not been booted in between.
    pub fn boot(&self) -> Duration {
        match &self.0 {
            Source::System => since_boot(),
            Source::Fast(fast) => fast.boot + fast.passed(),
            Source::Manual(manual) => manual.boot(),
        }
    }

    /// How long the wall clock is known to have run without a step; `None` where it was never
    /// found to have stepped. A step is found by the first call after it, and counts from then:
    /// what is dated by the wall clock is older than this only if it was dated before the step.
    /// The first call of a process finds none, unless it knows of an earlier process.
    pub fn steady_for(&self) -> Option<Duration> {
        self.detector().take(|| {
            let before = self.boot();
            let wall = self.wall();
            ClockReading {
                wall,
                before,
                after: self.boot(),
            }
        })
    }

    /// What is known about the steps, for a later process.
    pub fn steps(&self) -> Steps {
        self.detector().steps()
    }

    /// Adds what an earlier process has seen since the same boot of the machine.
    pub fn add_earlier_steps(&self, earlier: Steps) {
        self.detector().add_earlier(earlier);
    }

    fn detector(&self) -> &Detector {
        match &self.0 {
            Source::System => &MACHINE,
            Source::Fast(fast) => &fast.steps,
            Source::Manual(manual) => manual.steps(),
        }
    }

    /// Monotonic time since `start`; zero if `start` is in the future.
    pub fn since(&self, start: Instant) -> Duration {
        self.now().saturating_duration_since(start)
    }

    /// Sleeps for `span` of monotonic time.
    pub async fn sleep(&self, span: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(span).await,
            Source::Fast(fast) => tokio::time::sleep(span / fast.factor).await,
            Source::Manual(manual) => manual.sleep_until(manual.after(span)).await,
        }
    }

    /// Sleeps until `deadline`; returns at once if it has passed.
    pub async fn sleep_until(&self, deadline: Instant) {
        match &self.0 {
            Source::System => tokio::time::sleep_until(deadline.into()).await,
            Source::Fast(fast) => {
                let left = deadline.saturating_duration_since(fast.start + fast.passed());
                tokio::time::sleep(left / fast.factor).await;
            }
            Source::Manual(manual) => manual.sleep_until(deadline).await,
        }
    }

    /// Waits for `work`, at most for `span`.
    ///
    /// # Errors
    /// `work` took longer. It is dropped.
    pub async fn timeout<T>(
        &self,
        span: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, TimedOut> {
        tokio::select! {
            biased;
            value = work => Ok(value),
            () = self.sleep(span) => Err(TimedOut),
        }
    }

    /// Blocks the thread for `span`. Not for async code.
    pub fn block(&self, span: Duration) {
        match &self.0 {
            Source::System => std::thread::sleep(span),
            Source::Fast(fast) => std::thread::sleep(span / fast.factor),
            Source::Manual(manual) => manual.block_until(manual.after(span)),
        }
    }
}

impl ManualClock {
    /// The clock for the code under test.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Both are never negative for this clock.
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        time.tv_sec.unsigned_abs() as u64,
        time.tv_nsec.unsigned_abs() as u32,
    )
}
