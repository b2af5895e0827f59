//! One call that stops or starts a service at a time, also over a kill of this program.
//!
//! A call outlives a program that is killed, and its successor would start a bot beside one
//! that is being started: two of one identity. So a call has a locked file as its standard
//! input: empty to whoever reads it, and locked until the call and this program have both
//! let go of it, however they end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, fchown, flock};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use supervisor::bounded::within;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::SHOWS_WITHIN;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// A disk that hangs keeps nobody from a start for longer.
const OPENED_WITHIN: Duration = Duration::from_secs(5);

/// Where the files are, and since when this program may call.
#[derive(Clone, Debug)]
pub(super) struct CallLocks {
    dir: PathBuf,
    since: Instant,
}

impl CallLocks {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            since: Instant::now(),
        }
    }

    /// The lock of a service. An earlier program's call is waited for while it may still take
    /// its time, which is `allowed`, and one beside this program for [`SHOWS_WITHIN`]; then, or
    /// where no file can be locked, it goes on without.
    pub(super) async fn acquire(&self, service: &str, allowed: Duration) -> CallLock {
        CallLock::acquire(&self.dir, service, patience(allowed, self.since.elapsed())).await
    }

    /// The lock, without a wait.
    pub(super) async fn try_acquire(&self, service: &str) -> CallLock {
        CallLock::acquire(&self.dir, service, Duration::ZERO).await
    }
}

fn patience(allowed: Duration, old: Duration) -> Duration {
    allowed.saturating_sub(old).max(SHOWS_WITHIN)
}

/// The right to call, where the lock could be had.
#[derive(Debug, Default)]
pub(super) struct CallLock {
    file: Option<Arc<File>>,
    /// An earlier call was under way.
    pub(super) has_waited: bool,
}

impl CallLock {
    async fn acquire(dir: &Path, service: &str, patience: Duration) -> Self {
        let path = path(dir, service);
        let opened = within("opening the file of its calls", OPENED_WITHIN, move || {
            open(&path).map_err(|error| format!("{}: {error}", path.display()))
        });
        let file = match opened.await {
            Ok(file) => file,
            Err(why) => {
                tracing::warn!(service, "an earlier call would not be noticed: {why}");
                return Self::default();
            }
        };
        let until = Instant::now() + patience;
        let mut has_waited = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Self {
                        file: Some(Arc::new(file)),
                        has_waited,
                    };
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {}
                Err(error) => {
                    tracing::warn!(
                        service,
                        "it is called although an earlier call may be under way: its file stays locked ({error}). A bot that was started with that file as its standard input keeps it: give it /dev/null"
                    );
                    return Self {
                        file: None,
                        has_waited,
                    };
                }
            }
            if !has_waited {
                tracing::warn!(service, "an earlier call has not ended; it is waited for");
                has_waited = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the call gets as its standard input.
    pub(super) fn stdin(&self) -> Option<Arc<File>> {
        self.file.clone()
    }
}

/// The file of a service. Its name tells nobody the service's, which may be a phone number.
fn path(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("call-{:016x}.lock", xxh3_64(service.as_bytes())))
}

/// Opens it for reading only, so that nobody writes into it; where it is not there it is made.
fn open(path: &Path) -> io::Result<File> {
    match open_plain(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // Where root is the first, `serve` must still be able to open it.
    if geteuid().is_root()
        && let Some(about) = path.parent().and_then(|dir| dir.metadata().ok())
    {
        let (owner, group) = (Uid::from_raw(about.uid()), Gid::from_raw(about.gid()));
        let _ = fchown(made.as_fd(), Some(owner), Some(group));
    }
    open_plain(path)
}

/// Never follows a link, and never blocks on a pipe: another program gets what is opened here.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file; remove it")),
    }
}

#[cfg(test)]
mod tests;
