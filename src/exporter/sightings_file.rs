//! Which bots were seen alive, saved beside the counts of the logs for the next start. The
//! remediator has its own record: it acts on it, and trusts no other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

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
    path: PathBuf,
    changed: AtomicBool,
    clock: Clock,
}

impl SightingsFile {
    /// With what was saved in `dir`, if anything was and can be understood: what is lost
    /// comes again with the next look at a bot that lives.
    pub fn load(dir: &Path, clock: Clock) -> Self {
        let kept = Self {
            recent: Recent::default(),
            path: dir.join(FILE),
            changed: AtomicBool::new(false),
            clock,
        };
        match state_file::read(&kept.path, MAX_SIGHTINGS_BYTES)
            .map(|bytes| serde_json::from_slice(&bytes))
        {
            Ok(Ok(records)) => kept.recent.load(records),
            Ok(Err(_)) => tracing::warn!(
                "{}: cannot be understood and is written anew; until a bot is seen alive again, a bot that is down shows as unknown",
                kept.path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!("{}: {error}", kept.path.display());
            }
            Err(error) => tracing::warn!("{}: {error}", kept.path.display()),
        }
        kept
    }

    /// Saves what changed. Blocks.
    pub fn save(&self) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.write() {
            self.changed.store(true, Ordering::Relaxed);
            tracing::debug!("{}: {error}", self.path.display());
        }
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.recent.save(Timestamp::of(&self.clock)))?;
        state_file::replace(&self.path, &text)
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
