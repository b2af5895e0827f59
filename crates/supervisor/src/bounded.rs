//! Blocking work that may hang in the kernel: it is given up after a timeout, and only so
//! many threads may be left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::time::Duration;

/// Each task that was left behind holds a thread.
const MAX_LEFT_BEHIND: isize = 64;

static BLOCKING: BoundedBlocking = BoundedBlocking::new();

/// Runs `work` in a thread of its own for at most `timeout`. The error begins with `what`.
pub async fn within<T: Send + 'static>(
    what: &str,
    timeout: Duration,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    BLOCKING.within(what, timeout, work).await
}

/// Counts the tasks that were given up and have not come back.
struct BoundedBlocking {
    left_behind: AtomicIsize,
}

impl BoundedBlocking {
    const fn new() -> Self {
        Self {
            left_behind: AtomicIsize::new(0),
        }
    }

    async fn within<T: Send + 'static>(
        &'static self,
        what: &str,
        timeout: Duration,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if self.left_behind.load(Ordering::SeqCst) >= MAX_LEFT_BEHIND {
            return Err(format!(
                "{what} was not tried: earlier ones have not come back"
            ));
        }
        let one_ended = Arc::new(AtomicBool::new(false));
        let worker = Side {
            blocking: self,
            one_ended: Arc::clone(&one_ended),
            waits: false,
        };
        let _waiter = Side {
            blocking: self,
            one_ended,
            waits: true,
        };
        let working =
            tokio::task::spawn_blocking(move || match worker.one_ended.load(Ordering::SeqCst) {
                // It was given up before a thread was free.
                true => Err(String::new()),
                false => work(),
            });
        match tokio::time::timeout(timeout, working).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(format!("{what} broke off")),
            Err(_) => Err(format!(
                "{what} took longer than {}",
                humantime::format_duration(timeout)
            )),
        }
    }
}

/// The one that waits, or the one that works. If the one that waits ends first (its future
/// may be dropped as well), the work is left behind until it ends.
struct Side {
    blocking: &'static BoundedBlocking,
    one_ended: Arc<AtomicBool>,
    waits: bool,
}

impl Drop for Side {
    fn drop(&mut self) {
        let left_behind = &self.blocking.left_behind;
        match (self.one_ended.swap(true, Ordering::SeqCst), self.waits) {
            (false, true) => left_behind.fetch_add(1, Ordering::SeqCst),
            (true, false) => left_behind.fetch_sub(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

#[cfg(test)]
mod tests;
