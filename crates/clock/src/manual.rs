//! A clock that stands still until a test advances it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::steps::Detector;

/// Advances the clocks that [`ManualClock::clock`] hands out. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock(pub(crate) Arc<Manual>);

impl ManualClock {
    /// A clock whose wall time is `wall`. The machine has been up for an hour.
    pub fn new(wall: SystemTime) -> Self {
        let (changes, _) = watch::channel(());
        Self(Arc::new(Manual {
            start: Instant::now(),
            time: Mutex::new(Time {
                passed: Duration::ZERO,
                wall,
                deadlines: Vec::new(),
            }),
            changes,
            changed: Condvar::new(),
            steps: Detector::new(),
        }))
    }

    /// Lets `span` pass, on every clock, and wakes what has slept long enough.
    pub fn advance(&self, span: Duration) {
        self.0.change(|time| {
            time.passed += span;
            time.wall += span;
        });
    }

    /// Steps wall time. Monotonic time does not change, so no sleeper wakes.
    pub fn set_wall(&self, wall: SystemTime) {
        self.0.change(|time| time.wall = wall);
    }

    /// How many tasks and threads sleep.
    pub fn sleepers(&self) -> usize {
        self.0.time().deadlines.len()
    }

    /// The earliest time at which a sleeper wakes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.time().deadlines.iter().min().copied()
    }

    /// Waits until at least `count` tasks and threads sleep.
    pub async fn wait_for_sleepers(&self, count: usize) {
        let mut changes = self.0.changes.subscribe();
        while self.sleepers() < count {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Manual {
    start: Instant,
    time: Mutex<Time>,
    /// Wakes tasks after each change.
    changes: watch::Sender<()>,
    /// Wakes threads after each change.
    changed: Condvar,
    steps: Detector,
}

#[derive(Debug)]
struct Time {
    passed: Duration,
    wall: SystemTime,
    /// One for each sleeper.
    deadlines: Vec<Instant>,
}

/// A sleeper, until it is dropped.
struct Sleeper<'a>(&'a Manual, Instant);

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.change(|time| {
            if let Some(at) = time.deadlines.iter().position(|at| *at == self.1) {
                time.deadlines.swap_remove(at);
            }
        });
    }
}

impl Manual {
    fn time(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Time)) {
        change(&mut self.time());
        self.changes.send_replace(());
        self.changed.notify_all();
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.time().wall
    }

    pub(crate) fn steps(&self) -> &Detector {
        &self.steps
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.time().passed
    }

    pub(crate) fn boot(&self) -> Duration {
        Duration::from_secs(3600) + self.time().passed
    }

    pub(crate) fn after(&self, span: Duration) -> Instant {
        self.now() + span
    }

    fn sleeper(&self, deadline: Instant) -> Sleeper<'_> {
        self.change(|time| time.deadlines.push(deadline));
        Sleeper(self, deadline)
    }

    pub(crate) async fn sleep_until(&self, deadline: Instant) {
        let mut changes = self.changes.subscribe();
        let _sleeper = self.sleeper(deadline);
        while self.now() < deadline {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    pub(crate) fn block_until(&self, deadline: Instant) {
        let _sleeper = self.sleeper(deadline);
        let time = self.time();
        let sleeps = |time: &mut Time| self.start + time.passed < deadline;
        drop(self.changed.wait_while(time, sleeps));
    }
}
