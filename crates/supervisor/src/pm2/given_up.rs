//! Entries that pm2 will not start again, although it says `waiting restart`, `online` or
//! `launching`: they have no process.
//!
//! pm2 says `waiting restart` at every end of a process with `restart_delay` or `exp_backoff_restart_delay`, also
//! where it starts nothing: after too many restarts, with `autorestart: false`, and after a code
//! of `stop_exit_codes`. Then it names no process; where it waits, it still names the one that has
//! ended. During `pm2 stop` and `pm2 restart` both hold as well, until pm2 next checks whether the
//! process has ended. So a second look, after that time, decides.
//!
//! Where pm2 cannot run the interpreter, or the machine has no process left, it says `online`, or
//! in cluster mode `launching`, and names no process. It never tries again. A start that
//! works names its process from the first moment, so the second look only makes sure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::daemon::NotAsked;
use super::{OnePm2, PAUSE, Pm2Process};

/// Between two of these checks of pm2 (`kill_retry_time`), unless it is configured.
const CHECKED_EVERY: Duration = Duration::from_millis(100);
/// Between the two looks at what pm2 calls started.
const STARTED_WITHIN: Duration = Duration::from_secs(1);
/// The longest pause before the second look. If it is too short, a later look decides.
const MAX_PAUSE: Duration = Duration::from_secs(5);

impl OnePm2 {
    /// [`OnePm2::list`], once it tells whether pm2 has given up on one of this name.
    pub(super) async fn settled_list(
        &self,
        timeout: Duration,
        max_age: Duration,
    ) -> Result<Arc<Vec<Pm2Process>>, NotAsked> {
        let list = self.list(timeout, max_age).await?;
        let of_name = list.iter().filter(|entry| entry.is_named(&self.name));
        match of_name.filter_map(Pm2Process::unclear_for).max() {
            None => Ok(list),
            Some(pause) => {
                tokio::time::sleep(pause.min(MAX_PAUSE)).await;
                self.list(timeout, Duration::ZERO).await
            }
        }
    }
}

impl Pm2Process {
    /// How long to wait before the next look tells whether pm2 has given up on it; `None` if
    /// that is known.
    pub(super) fn unclear_for(&self) -> Option<Duration> {
        (self.waits_for_nothing() && !self.is_given_up).then(|| self.checked_within())
    }

    fn waits_for_nothing(&self) -> bool {
        self.pid().is_none() && (self.pm2_env.status == "waiting restart" || self.is_to_run())
    }

    fn is_to_run(&self) -> bool {
        matches!(self.pm2_env.status.as_str(), "online" | "launching")
    }

    fn checked_within(&self) -> Duration {
        if self.is_to_run() {
            return STARTED_WITHIN;
        }
        let every = self.pm2_env.kill_retry_time.as_u64();
        let every = every.map_or(CHECKED_EVERY, Duration::from_millis);
        // Once its `kill_timeout` is over, pm2 begins again to wait for the next check.
        every.saturating_mul(2).saturating_add(PAUSE)
    }

    /// Finds those on which pm2 has given up. `before` is the last list, `asked` and `answered` are
    /// the times of this one.
    pub(super) fn find_given_up(
        list: &mut [Self],
        before: &[Self],
        asked: Instant,
        answered: Instant,
    ) {
        for entry in list.iter_mut().filter(|entry| entry.waits_for_nothing()) {
            let is_same = |old: &&Self| {
                let is_as_before = old.is_to_run() == entry.is_to_run();
                let same_start = old.pm2_env.pm_uptime == entry.pm2_env.pm_uptime;
                old.pm_id == entry.pm_id && is_as_before && same_start
            };
            let seen = before.iter().find(is_same);
            let since = seen.and_then(|old| old.waits_since).unwrap_or(answered);
            entry.is_given_up = asked.saturating_duration_since(since) >= entry.checked_within();
            entry.waits_since = Some(since);
        }
    }
}

#[cfg(test)]
mod tests;
