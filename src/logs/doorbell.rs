//! The doorbell: linemux tells that something happened in a directory of logs, so that it is
//! looked at at once. It decides nothing. A ring that is missed costs latency, never a line.
//!
//! Being rung for every write costs more than looking four times a second. Under load the
//! doorbell is therefore taken down, and hung up again when it is quiet.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use linemux::MuxedEvents;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// linemux watches the directory of a file that is not there yet; this one never is.
const NEVER_THERE: &str = ".baileys_exporter.doorbell";

/// What was rung since the last wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rung {
    /// Something happened.
    pub any: bool,
    /// A file was made, renamed or removed.
    pub names: bool,
    /// Somebody wants this thread's attention (stop, reload).
    pub called: bool,
}

/// Wakes the thread that reads.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<Rung>,
    wake: Condvar,
    count: AtomicU64,
}

impl Bell {
    fn ring(&self, names: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.any = true;
        rung.names |= names;
        self.wake.notify_all();
    }

    /// Asks for attention.
    pub fn call(&self) {
        self.rung
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .called = true;
        self.wake.notify_all();
    }

    /// Waits until it is rung, at most for `span`.
    pub fn wait(&self, span: Duration) -> Rung {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |rung: &mut Rung| *rung == Rung::default();
        let (mut rung, _) = self
            .wake
            .wait_timeout_while(rung, span, quiet)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }

    /// How often it was rung since this was asked last.
    pub fn rings(&self) -> u64 {
        self.count.swap(0, Ordering::Relaxed)
    }
}

/// The watch over some directories; taken down when dropped.
#[derive(Debug)]
pub struct Doorbell {
    task: JoinHandle<()>,
}

impl Doorbell {
    /// Watches these directories, those that exist. Whatever fails is left to the sweep.
    pub fn hang(runtime: &Handle, directories: BTreeSet<PathBuf>, bell: Arc<Bell>) -> Self {
        let task = runtime.spawn(async move {
            let mut events = match MuxedEvents::new() {
                Ok(events) => events,
                Err(error) => {
                    tracing::debug!(
                        "no doorbell for the logs, they are looked at every two seconds: {error}"
                    );
                    return;
                }
            };
            let mut watched = 0;
            for directory in directories.iter().filter(|directory| directory.is_dir()) {
                match events.add_file(directory.join(NEVER_THERE)).await {
                    Ok(_) => watched += 1,
                    Err(error) => {
                        tracing::debug!("no doorbell for {}: {error}", directory.display())
                    }
                }
            }
            if watched == 0 {
                return;
            }
            loop {
                match events.next_event().await {
                    Ok(Some(event)) => {
                        let kind = format!("{:?}", event.kind);
                        if kind.starts_with("Access") {
                            continue;
                        }
                        bell.ring(!kind.starts_with("Modify(Data"));
                    }
                    // Nothing is watched any more: polling it again would spin.
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!("the doorbell for the logs failed: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
        Self { task }
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_rings_for_writes_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        std::fs::write(&log, "x\n").unwrap();
        let bell = Arc::new(Bell::default());
        let directories = BTreeSet::from([dir.path().to_owned(), dir.path().join("not there")]);
        let _doorbell = Doorbell::hang(&Handle::current(), directories, Arc::clone(&bell));
        let wait = |bell: Arc<Bell>| async move {
            tokio::task::spawn_blocking(move || bell.wait(Duration::from_secs(10)))
                .await
                .unwrap()
        };
        // It is hung up in the background.
        let mut rung = Rung::default();
        for _ in 0..50 {
            std::fs::write(&log, "x\ny\n").unwrap();
            let bell = Arc::clone(&bell);
            rung = tokio::task::spawn_blocking(move || bell.wait(Duration::from_millis(100)))
                .await
                .unwrap();
            if rung.any {
                break;
            }
        }
        assert!(rung.any);
        std::fs::rename(&log, dir.path().join("b.log")).unwrap();
        let mut names = false;
        for _ in 0..10 {
            names |= wait(Arc::clone(&bell)).await.names;
            if names {
                break;
            }
        }
        assert!(names);
        bell.call();
        assert!(wait(bell).await.called);
    }
}
