//! All sessions of the configured paths, also those that `sessions.include` and
//! `sessions.exclude` leave out: a source of evidence may speak of any of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use clock::Clock;
use globset::GlobSet;

use super::{Discovery, SessionName, SessionsPath};

/// Longest wait for a look at the paths. After that the last one counts.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a look that waits for another one checks whether that has ended.
const WAITS_FOR: Duration = Duration::from_millis(20);

/// Names of sessions.
pub type SessionNames = BTreeSet<SessionName>;

/// Finds the sessions, and remembers them for a while.
#[derive(Debug)]
pub struct AllSessions {
    discovery: Mutex<Discovery>,
    last: Mutex<Option<(Instant, Arc<SessionNames>)>>,
    /// That of the machine: a look takes its time also where a test makes time pass faster.
    clock: Clock,
}

impl AllSessions {
    /// The sessions below these paths.
    pub fn new(sources: Vec<SessionsPath>) -> Self {
        Self {
            discovery: Mutex::new(Discovery::new(sources, None, GlobSet::empty())),
            last: Mutex::default(),
            clock: Clock::system(),
        }
    }

    /// The sessions, by a look that is at most `max_age` old; the same `Arc` as before if they are
    /// the same. Where a file system hangs, an
    /// older look counts; `None` if there was none.
    pub async fn list(self: &Arc<Self>, max_age: Duration) -> Option<Arc<SessionNames>> {
        if let Some((at, names)) = self.last()
            && self.clock.since(at) < max_age
        {
            return Some(names);
        }
        let this = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || this.look());
        let _ = self.clock.timeout(LIST_TIMEOUT, looked).await;
        self.last().map(|(_, names)| names)
    }

    /// The same by a look now. Blocks, for as long as that takes.
    pub fn list_now(&self) -> Arc<SessionNames> {
        self.look();
        self.last().map(|(_, names)| names).unwrap_or_default()
    }

    fn last(&self) -> Option<(Instant, Arc<SessionNames>)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    fn look(&self) {
        let Some(mut discovery) = self.discovery_or_newer_list() else {
            return;
        };
        let began = self.clock.now();
        let found = discovery.survey().found;
        let names: SessionNames = found.into_iter().map(|found| found.session).collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let former = last.take().filter(|(_, former)| **former == names);
        let names = former.map_or_else(|| Arc::new(names), |(_, former)| former);
        *last = Some((began, names));
    }

    /// `None`: another thread has looked meanwhile, or looks for too long.
    fn discovery_or_newer_list(&self) -> Option<MutexGuard<'_, Discovery>> {
        let began = self.clock.now();
        loop {
            match self.discovery.try_lock() {
                Ok(_) if self.last().is_some_and(|(at, _)| at > began) => return None,
                Ok(discovery) => return Some(discovery),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if self.clock.since(began) >= LIST_TIMEOUT => {
                    return None;
                }
                Err(TryLockError::WouldBlock) => self.clock.block(WAITS_FOR),
            }
        }
    }
}

/// Another of these sessions for which `same` holds, in words. `all`: `None` if they could not be
/// listed, so that there may be one. Pure.
pub fn companion(
    session: &SessionName,
    all: Option<&SessionNames>,
    same: impl Fn(&SessionName) -> bool,
) -> Option<String> {
    let Some(all) = all else {
        return Some("another session, perhaps (the folders could not be listed in time)".into());
    };
    let mut others = all.iter().filter(|other| *other != session);
    let other = others.find(|other| same(other))?;
    Some(format!("the session {other}"))
}

#[cfg(test)]
mod tests;
