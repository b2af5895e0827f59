//! Wakes the server when something changes in the directories of the logs. A missed event only
//! delays the next look and never loses a line. Without inotify each look waits for its time.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linemux::MuxedEvents;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// linemux watches the directory of a file that does not exist yet. This file never exists.
const NEVER_THERE: &str = ".log-tailer.never-there";

/// What happened since the last wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wakeup {
    /// Some file changed.
    pub(crate) any: bool,
    /// A file was created, renamed or deleted.
    pub(crate) names: bool,
    /// The owner has a new order.
    pub(crate) called: bool,
}

impl Wakeup {
    pub(crate) fn merge(&mut self, later: Self) {
        self.any |= later.any;
        self.names |= later.names;
        self.called |= later.called;
    }
}

/// Wakes the thread of the server.
#[derive(Debug, Default)]
pub struct Notifier {
    pending: Mutex<Wakeup>,
    wake: Condvar,
    events: AtomicU64,
}

impl Notifier {
    /// Makes the server read its orders at once.
    pub fn call(&self) {
        self.pending().called = true;
        self.wake.notify_all();
    }

    fn event(&self, names: bool) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let mut pending = self.pending();
        pending.any = true;
        pending.names |= names;
        self.wake.notify_all();
    }

    fn pending(&self) -> MutexGuard<'_, Wakeup> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an event, at most for `span`.
    pub(crate) fn wait(&self, span: Duration) -> Wakeup {
        self.wait_while(span, |pending| *pending == Wakeup::default())
    }

    /// Waits for a call of the owner, at most for `span`. Also returns other events of that time.
    pub(crate) fn wait_for_call(&self, span: Duration) -> Wakeup {
        self.wait_while(span, |pending| !pending.called)
    }

    fn wait_while(&self, span: Duration, keep: impl Fn(&Wakeup) -> bool) -> Wakeup {
        let (mut pending, _) = self
            .wake
            .wait_timeout_while(self.pending(), span, |pending| keep(pending))
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *pending)
    }

    /// Number of events since the last call.
    pub(crate) fn take_events(&self) -> u64 {
        self.events.swap(0, Ordering::Relaxed)
    }
}

/// Watches directories until it is dropped.
#[derive(Debug)]
pub(crate) struct DirectoryWatcher {
    task: JoinHandle<()>,
}

impl DirectoryWatcher {
    /// Watches those of these directories that exist.
    pub(crate) fn start(
        runtime: &Handle,
        directories: BTreeSet<PathBuf>,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self::start_with(MuxedEvents::new, runtime, directories, notifier)
    }

    fn start_with(
        open: impl FnOnce() -> io::Result<MuxedEvents> + Send + 'static,
        runtime: &Handle,
        directories: BTreeSet<PathBuf>,
        notifier: Arc<Notifier>,
    ) -> Self {
        let task = runtime.spawn(async move {
            if let Err(error) = watch(open, directories, &notifier).await {
                tracing::debug!(
                    "inotify is not available, reading the logs every two seconds: {error}"
                );
            }
        });
        Self { task }
    }
}

impl Drop for DirectoryWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(
    open: impl FnOnce() -> io::Result<MuxedEvents>,
    directories: BTreeSet<PathBuf>,
    notifier: &Notifier,
) -> io::Result<()> {
    let mut events = open()?;
    let mut watched = 0;
    for directory in directories.iter().filter(|directory| directory.is_dir()) {
        match events.add_file(directory.join(NEVER_THERE)).await {
            Ok(_) => watched += 1,
            Err(error) => tracing::debug!("failed to watch {}: {error}", directory.display()),
        }
    }
    if watched == 0 {
        return Ok(());
    }
    loop {
        match events.next_event().await {
            Ok(Some(event)) => {
                let kind = format!("{:?}", event.kind);
                if !kind.starts_with("Access") {
                    notifier.event(!kind.starts_with("Modify(Data"));
                }
            }
            // The watch has ended, and polling it again would return at once.
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!("the watch over the logs failed: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
