//! The thread that reads the logs: wait, read, commit, repeat.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clock::Clock;
use tokio::runtime::Handle;

use crate::follower::Follower;
use crate::notify::{DirectoryWatcher, Notifier, Wakeup};
use crate::sink::Sink;

/// Maximum time between two sweeps, regardless of inotify.
const SWEEP: Duration = Duration::from_secs(2);
/// Minimum time between two looks at files that grow.
const BEAT: Duration = Duration::from_millis(250);
/// Minimum time between two commits while a backlog is read or something is undecided, unless a
/// file was rotated. Otherwise a commit follows each look.
const COMMIT: Duration = Duration::from_secs(1);
/// Maximum time between two commits, so that a restart knows the time of the last sweep.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// With more events per second than this the watch costs more than reading four times a second, so
/// it ends.
const EVENTS_PER_SECOND: u64 = 200;
/// It starts again when fewer files than this grow.
const QUIET_FILES: usize = 20;
/// It does not start again before this time has passed.
const NOT_WATCHED_FOR: Duration = Duration::from_secs(10);

/// Follows logs until it is stopped.
#[derive(Debug)]
pub struct Tailer<S> {
    follower: Follower<S>,
    clock: Clock,
    notifier: Arc<Notifier>,
    runtime: Handle,
    watcher: Option<DirectoryWatcher>,
    /// When the watch ended because of too many events.
    unwatched: Option<Instant>,
    committed: Instant,
    /// Commit after the next look, as after the first one.
    commit_now: bool,
}

impl<S: Sink> Tailer<S> {
    /// Shows the saved state, with a time of 1970. `runtime` runs the watch over the directories;
    /// `notifier` wakes the server when there is an order.
    pub fn new(
        mut follower: Follower<S>,
        notifier: Arc<Notifier>,
        runtime: Handle,
        clock: Clock,
    ) -> Self {
        follower.show(SystemTime::UNIX_EPOCH, true);
        Self {
            follower,
            committed: clock.now(),
            clock,
            notifier,
            runtime,
            watcher: None,
            unwatched: None,
            commit_now: true,
        }
    }

    /// Runs until it is stopped. Blocks.
    pub fn run(mut self) {
        let mut swept: Option<Instant> = None;
        let mut beat = self.clock.now();
        let mut more = false;
        self.watch();
        loop {
            let since = |at| self.clock.since(at);
            let due = swept.map_or(Duration::ZERO, |at| SWEEP.saturating_sub(since(at)));
            let wait = match (more, self.follower.is_hot()) {
                (true, _) => Duration::ZERO,
                (false, true) => due.min(BEAT.saturating_sub(since(beat))),
                (false, false) => due,
            };
            let mut wakeup = Wakeup::default();
            if !wait.is_zero() {
                wakeup = self.notifier.wait(wait);
            }
            let rest = BEAT.saturating_sub(since(beat));
            if !wakeup.called && !more && !rest.is_zero() {
                // Handle many events with one look.
                wakeup.merge(self.notifier.wait_for_call(rest.min(due)));
            }
            if self.take_orders() {
                self.follower.sweep();
                self.follower.consumer_mut().finish();
                self.report();
                self.commit();
                return;
            }
            self.watch_less_or_again(self.clock.since(beat));
            beat = self.clock.now();
            let is_due = swept.is_none_or(|at| self.clock.since(at) >= SWEEP);
            if wakeup.names || wakeup.called || is_due {
                more = self.follower.sweep();
                swept = Some(self.clock.now());
                self.report();
            } else {
                more = self.follower.look(wakeup.any);
            }
            let is_settled = !more && !self.follower.consumer().is_undecided();
            let is_due = is_settled || self.clock.since(self.committed) >= COMMIT;
            if self.follower.must_commit() || self.commit_now || is_due {
                self.commit_now = false;
                self.commit();
            }
        }
    }

    /// Returns whether to stop.
    fn take_orders(&mut self) -> bool {
        let orders = self.follower.consumer_mut().orders();
        if let Some(globs) = orders.globs {
            self.follower.configure(globs);
            self.watch();
        }
        self.commit_now |= orders.commit;
        orders.stop
    }

    fn watch(&mut self) {
        // End the old watch first, because the machine may allow only one.
        self.watcher = None;
        self.watcher = Some(DirectoryWatcher::start(
            &self.runtime,
            self.follower.directories(),
            Arc::clone(&self.notifier),
        ));
        self.unwatched = None;
    }

    /// Ends the watch when there are too many events, and starts it again when there are few.
    fn watch_less_or_again(&mut self, since: Duration) {
        let events = self.notifier.take_events();
        let span = since.as_secs_f64().max(BEAT.as_secs_f64());
        let allowed = (EVENTS_PER_SECOND as f64 * span) as u64;
        let rested = |at| self.clock.since(at) >= NOT_WATCHED_FOR;
        if self.watcher.is_some() && events > allowed {
            self.watcher = None;
            self.unwatched = Some(self.clock.now());
        } else if self.unwatched.is_some_and(rested) {
            if self.follower.hot_files() < QUIET_FILES {
                self.watch();
            } else {
                self.unwatched = Some(self.clock.now());
            }
        }
    }

    fn report(&mut self) {
        let problems = self.follower.take_problems();
        self.follower.consumer_mut().report(problems);
    }

    fn commit(&mut self) {
        let changes = self.follower.changes();
        let is_clean = changes.is_empty() && !self.follower.consumer().is_dirty();
        let at = self.clock.wall();
        if is_clean && self.clock.since(self.committed) < HEARTBEAT {
            // Nothing to save; what was shown is still right.
            self.follower.show(at, true);
            return;
        }
        let saved = self.follower.consumer_mut().commit(&changes);
        self.committed = self.clock.now();
        if saved {
            self.follower.committed();
        }
        self.follower.show(at, saved);
    }
}

#[cfg(test)]
mod tests;
