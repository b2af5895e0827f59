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
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, fchown, flock};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::SHOWS_WITHIN;
use crate::connection::within;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// A disk that hangs keeps nobody from a start for longer.
const OPENED_WITHIN: Duration = Duration::from_secs(5);

/// Where the files are, and since when this program may call.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    dir: PathBuf,
    since: Instant,
}

impl Turns {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            since: Instant::now(),
        }
    }

    /// A turn for a service. An earlier program's call is waited for while it may still take
    /// its time, which is `allowed`, and one beside this program for [`SHOWS_WITHIN`]; then, or
    /// where no file can be locked, it goes on without.
    pub(super) async fn take(&self, service: &str, allowed: Duration) -> Turn {
        Turn::take(&self.dir, service, patience(allowed, self.since.elapsed())).await
    }

    /// A turn without a wait.
    pub(super) async fn take_at_once(&self, service: &str) -> Turn {
        Turn::take(&self.dir, service, Duration::ZERO).await
    }
}

fn patience(allowed: Duration, old: Duration) -> Duration {
    allowed.saturating_sub(old).max(SHOWS_WITHIN)
}

/// The right to call, if it could be had.
#[derive(Debug, Default)]
pub(super) struct Turn {
    file: Option<File>,
    /// An earlier call was under way.
    pub(super) has_waited: bool,
}

impl Turn {
    async fn take(dir: &Path, service: &str, patience: Duration) -> Self {
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
                        file: Some(file),
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
    pub(super) fn hold(&self) -> Option<File> {
        self.file.as_ref().and_then(|file| file.try_clone().ok())
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
mod tests {
    use super::*;
    use crate::child::Call;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_call_keeps_its_turn_after_this_program_has_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let go = dir.path().join("go");
        let script = format!("while [ ! -e {} ]; do sleep 0.05; done; cat", go.display());
        let argv = ["sh", "-c", &script].map(str::to_owned);
        let turn = Turn::take(dir.path(), "bot", Duration::ZERO).await;
        let held = turn.hold();
        assert!(held.is_some());
        let call =
            tokio::spawn(async move { Call::new(&argv, LONG).stdin(held).read(9).run().await });
        // As if the program had been killed, once the call has begun.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(turn);
        let take = |service, patience| Turn::take(dir.path(), service, patience);
        assert!(
            take("bot", Duration::ZERO).await.file.is_none(),
            "it is still under way"
        );
        assert!(
            take("bot", Duration::from_millis(300)).await.file.is_none(),
            "and waited for in vain"
        );
        assert!(
            take("another", Duration::ZERO).await.file.is_some(),
            "each service has its own"
        );
        let (next, _) = tokio::join!(take("bot", LONG), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            std::fs::write(&go, "").unwrap();
        });
        assert!(next.file.is_some() && next.has_waited, "it has ended");
        let ended = call.await.unwrap().unwrap();
        assert_eq!(
            (ended.code, ended.output),
            (Some(0), Vec::new()),
            "there is nothing to read"
        );
        let nowhere = dir.path().join("nowhere");
        assert!(
            Turn::take(&nowhere, "bot", LONG).await.hold().is_none(),
            "no reason not to call"
        );
    }

    #[tokio::test]
    async fn what_is_held_for_longer_than_a_call_may_take_is_no_call() {
        let seconds = Duration::from_secs;
        assert_eq!(
            patience(seconds(60), seconds(0)),
            seconds(60),
            "a program that has just begun"
        );
        assert_eq!(patience(seconds(60), seconds(20)), seconds(40));
        assert_eq!(
            patience(seconds(60), seconds(3600)),
            SHOWS_WITHIN,
            "an operator's, beside it"
        );
        let dir = tempfile::tempdir().unwrap();
        let turns = Turns::new(dir.path());
        let _by_a_bot = turns.take_at_once("bot").await;
        let taken = tokio::time::timeout(LONG, turns.take_at_once("bot"))
            .await
            .unwrap();
        assert!(taken.hold().is_none() && !taken.has_waited);
    }

    #[test]
    fn its_file_is_private_and_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "447700900001");
        for _ in 0..2 {
            open(&path).unwrap();
        }
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(!path.display().to_string().contains("447700900001"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_somebody_else_has_put_there_is_given_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "s").unwrap();
        let (link, pipe) = (path(dir.path(), "link"), path(dir.path(), "pipe"));
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        for path in [&link, &pipe] {
            assert!(open(path).is_err());
        }
    }
}
