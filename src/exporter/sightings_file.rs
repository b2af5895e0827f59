//! Which bots were seen alive, and which processes opened their connections, saved beside the
//! counts of the logs for the next start. The remediator has its own record: it acts on it, and
//! trusts no other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};

use clock::Clock;

use crate::connection::{Alive, Recent, SessionSightings, SightingStore};
use crate::folder::{SessionName, Timestamp};
use crate::state_file;

const FILE: &str = "alive.json";
/// More than the records of any number of sessions.
const MAX_SIGHTINGS_BYTES: u64 = 64 << 20;

/// A store that can be saved in a state directory.
#[derive(Debug)]
pub struct SightingsFile {
    recent: Recent,
    /// Set once it is open.
    path: OnceLock<PathBuf>,
    changed: AtomicBool,
    /// The last save failed, and that was logged. Held while it reads or saves.
    has_failed: Mutex<bool>,
    clock: Clock,
}

impl SightingsFile {
    /// Nothing is saved before it is open.
    pub fn new(clock: Clock) -> Self {
        Self {
            recent: Recent::default(),
            path: OnceLock::new(),
            changed: AtomicBool::new(false),
            has_failed: Mutex::new(false),
            clock,
        }
    }

    /// With what was saved in `dir`.
    pub fn load(dir: &Path, clock: Clock) -> Self {
        let sightings = Self::new(clock);
        sightings.open(dir);
        sightings
    }

    /// Adds what was saved in `dir`, if anything was and can be understood: what is lost comes
    /// again with the next look at a bot that lives. From now on it is saved there. Where it is
    /// open already, or another thread reads it, nothing happens. Blocks.
    pub fn open(&self, dir: &Path) {
        let path = dir.join(FILE);
        if self.path.get().is_some() {
            return;
        }
        let Some(_turn) = self.turn() else {
            return;
        };
        let read = state_file::read(&path, MAX_SIGHTINGS_BYTES);
        match read.map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(records)) => self.recent.load(records),
            Ok(Err(_)) => tracing::warn!(
                "{}: cannot be understood and is written anew; until a bot is seen alive again, a bot that is down shows as unknown",
                path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!("{}: {error}", path.display());
            }
            Err(error) => tracing::warn!("{}: {error}", path.display()),
        }
        // The first save tells whether it can be written. None comes before all was read.
        self.changed.store(true, Ordering::Relaxed);
        let _ = self.path.set(path);
    }

    /// Whether it is open in another directory.
    pub fn is_elsewhere(&self, dir: &Path) -> bool {
        self.path.get().is_some_and(|path| *path != dir.join(FILE))
    }

    /// Saves what changed, if it is open. Of failures in a row the first is a warning. Blocks.
    pub fn save(&self) {
        let Some(path) = self.path.get() else {
            return;
        };
        let Some(mut has_failed) = self.turn() else {
            return;
        };
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let saved = self.write(path);
        let had_failed = std::mem::replace(&mut *has_failed, saved.is_err());
        let Err(error) = saved else {
            return;
        };
        self.changed.store(true, Ordering::Relaxed);
        match had_failed {
            true => tracing::debug!("{}: {error}", path.display()),
            false => tracing::warn!(
                "{}: cannot be written: {error}; after a restart a bot that is down shows as unknown, not as disconnected: make the directory, owned by this user, or name another with logs.state_path",
                path.display()
            ),
        }
    }

    /// What hangs in the file system keeps the lock: no other thread waits for it.
    fn turn(&self) -> Option<MutexGuard<'_, bool>> {
        match self.has_failed.try_lock() {
            Ok(has_failed) => Some(has_failed),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(&self.recent.save(Timestamp::of(&self.clock)))?;
        state_file::replace(path, &text)
    }
}

impl SightingStore for SightingsFile {
    fn recall(&self, session: &SessionName) -> SessionSightings {
        self.recent.recall(session)
    }

    fn remember(&self, session: &SessionName, seen: &[(String, Alive)]) {
        self.recent.remember(session, seen);
        self.changed.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
