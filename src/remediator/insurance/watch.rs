//! Takes the copies while `serve` runs: checks each creds.json at the start and every ten
//! minutes. Calls `stat` first, takes no folder lock and writes nothing into the folder.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;

use crate::config::Insurance;
use crate::folder::identity::{Identity, Insurable, insurable};
use crate::folder::scan::{
    CREDS_LOOKS, CREDS_SECOND_LOOK, MAX_CREDS_BYTES, RACY, read_plain_file, stat,
};
use crate::folder::{Found, Shape, Stamp, Timestamp, creds};
use crate::policy::insurance::{CopyFacts, Holds, surplus};
use crate::remediator::quarantine::DUE_FOR;
use crate::remediator::runner::blocking;

use super::restore;
use super::store::{CopyEntry, CopyStore};

/// Sessions that are checked at the same time.
const AT_ONCE: usize = 8;
/// A check that takes longer hangs in its file system. The session is skipped until it ends.
const COPY_TIMEOUT: Duration = Duration::from_secs(60);

/// The state of the insurance after a check of all sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// For each session with a copy: when the newest copy last matched the folder.
    pub insured: BTreeMap<String, Timestamp>,
    /// When the check ended.
    pub ended: Option<Timestamp>,
    /// Checks that failed to keep a copy.
    pub failures: u64,
}

/// Whether expired files may be deleted.
#[derive(Clone, Copy, Debug)]
pub struct Deletes {
    /// Since when the wall clock has run without a step. Earlier dates may be wrong, so
    /// retention counts from this time at the earliest.
    pub since: Timestamp,
    /// An operator has paused automatic actions.
    pub paused: bool,
}

impl Deletes {
    /// Whether anything with a retention of `span` may have expired.
    fn allows(self, span: Duration, now: Timestamp) -> bool {
        !self.paused && self.since.plus(span) < now
    }
}

/// What the last check of a session's creds.json found.
#[derive(Clone, Copy)]
struct Looked {
    stamp: Stamp,
    identity: Identity,
    content: u64,
}

/// A creds.json, read until two reads agree.
pub enum CredsReading {
    /// Complete, logged in, and the same in two reads.
    Good {
        /// Private keys.
        bytes: Vec<u8>,
        /// Their parsed content.
        facts: Box<Insurable>,
        /// The file.
        stamp: Stamp,
    },
    /// Missing, broken, unreadable, not logged in, or without an identity.
    Nothing,
    /// It changed with every read.
    Unstable,
}

impl std::fmt::Debug for CredsReading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CredsReading::Good { facts, stamp, .. } => f
                .debug_struct("Good")
                .field("facts", facts)
                .field("stamp", stamp)
                .finish_non_exhaustive(),
            CredsReading::Nothing => f.write_str("Nothing"),
            CredsReading::Unstable => f.write_str("Unstable"),
        }
    }
}

/// One read of creds.json: the file's stamp and its bytes.
type Read = Option<(Stamp, Vec<u8>)>;

/// Reads creds.json until two reads in a row give the same stamp and bytes. Baileys writes in
/// place, so a single read may see half a file.
pub fn read_settled(folder: BorrowedFd<'_>) -> CredsReading {
    let name = OsStr::new("creds.json");
    read_until_stable(
        || {
            let (shape, stamp) = stat(folder, name).ok().flatten()?;
            let bytes = read_plain_file(folder, name, MAX_CREDS_BYTES).ok()?;
            is_file(shape).then_some((stamp, bytes))
        },
        || std::thread::sleep(CREDS_SECOND_LOOK),
    )
}

fn read_until_stable(mut read: impl FnMut() -> Read, pause: impl Fn()) -> CredsReading {
    let mut former = read();
    let mut seen_good = false;
    for _ in 0..CREDS_LOOKS {
        let is_pairing = |(_, bytes): &(Stamp, Vec<u8>)| {
            creds::parse_creds(bytes).is_ok_and(|facts| !facts.logged_in)
        };
        if former.as_ref().is_some_and(is_pairing) {
            return CredsReading::Nothing;
        }
        pause();
        let again = read();
        let facts = former.as_ref().and_then(|(_, bytes)| insurable(bytes));
        seen_good |= facts.is_some();
        match (facts, again) {
            (Some(facts), Some((stamp, bytes))) if former == Some((stamp, bytes.clone())) => {
                return CredsReading::Good {
                    bytes,
                    facts: Box::new(facts),
                    stamp,
                };
            }
            (_, again) => former = again,
        }
    }
    if seen_good {
        CredsReading::Unstable
    } else {
        CredsReading::Nothing
    }
}

fn is_file(shape: Shape) -> bool {
    matches!(shape, Shape::Regular | Shape::HardLinked)
}

/// Checks every session, again and again.
#[derive(Clone, Debug)]
pub struct CredsWatch {
    store: CopyStore,
    insurance: Insurance,
    retention: Duration,
    clock: Clock,
    memory: Arc<WatchMemory>,
}

/// What is known from one check to the next.
#[derive(Debug, Default)]
struct WatchMemory {
    looked: Mutex<HashMap<String, Looked>>,
    due: Mutex<HashMap<(String, String), Instant>>,
    hanging: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Looked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looked")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CredsWatch {
    /// `retention` is how long the quarantine keeps files that a restore replaced. If the
    /// insurance is off, the watch only deletes those files.
    pub fn new(store: CopyStore, insurance: Insurance, retention: Duration, clock: Clock) -> Self {
        Self {
            store,
            insurance,
            retention,
            clock,
            memory: Arc::default(),
        }
    }

    /// The same with other settings, as after a reload. It knows what this one knows.
    #[must_use]
    pub fn with_settings(&self, insurance: Insurance, retention: Duration) -> Self {
        Self {
            insurance,
            retention,
            ..self.clone()
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::of(&self.clock)
    }

    /// Checks all these sessions once.
    pub async fn look_at_all(self: &Arc<Self>, found: Vec<Found>, deletes: Deletes) -> Report {
        let mut report = Report::default();
        let mut looks = tokio::task::JoinSet::new();
        let directories: HashSet<String> = found
            .iter()
            .map(|found| CopyStore::directory(found.session.as_str()))
            .collect();
        let names: HashSet<String> = found
            .iter()
            .map(|found| found.session.to_string())
            .collect();
        let mut found = found.into_iter();
        loop {
            while looks.len() < AT_ONCE
                && let Some(found) = found.next()
            {
                looks.spawn(Arc::clone(self).look_within(found, deletes));
            }
            match looks.join_next().await {
                None => break,
                Some(Err(_)) => report.failures += 1,
                Some(Ok((session, looked))) => {
                    report.failures += u64::from(looked.failed);
                    if let Some(at) = looked.insured {
                        report.insured.insert(session, at);
                    }
                }
            }
        }
        held(&self.memory.looked).retain(|session, _| names.contains(session));
        if !self.insurance.enabled {
            report.ended = Some(self.now());
            return report;
        }
        let watch = Arc::clone(self);
        let now = (self.now(), self.clock.now());
        blocking(move || watch.expire_removed(&directories, &names, deletes, now.0, now.1)).await;
        report.ended = Some(self.now());
        report
    }

    async fn look_within(
        self: Arc<Self>,
        found: Found,
        deletes: Deletes,
    ) -> (String, CheckOutcome) {
        let session = found.session.to_string();
        if !held(&self.memory.hanging).insert(session.clone()) {
            return (
                session,
                CheckOutcome {
                    failed: true,
                    insured: None,
                },
            );
        }
        let watch = Arc::clone(&self);
        let look = blocking(move || {
            let looked = watch.look(&found, deletes, watch.now(), watch.clock.now());
            held(&watch.memory.hanging).remove(found.session.as_str());
            looked
        });
        match self.clock.timeout(COPY_TIMEOUT, look).await {
            Ok(looked) => (session, looked),
            Err(_) => {
                tracing::error!(
                    session,
                    "timeout: checking creds.json takes too long; its file system may hang"
                );
                (
                    session,
                    CheckOutcome {
                        failed: true,
                        insured: None,
                    },
                )
            }
        }
    }

    /// Checks one session. Blocks.
    fn look(
        &self,
        found: &Found,
        deletes: Deletes,
        now: Timestamp,
        clock: Instant,
    ) -> CheckOutcome {
        let session = found.session.as_str();
        let mut outcome = CheckOutcome::default();
        if self.insurance.enabled {
            outcome = self.look_at_creds(found, deletes, now, clock);
        }
        let tidied = restore::tidy(&found.place, |run, at| {
            let is_over = deletes.allows(self.retention, now) && at.plus(self.retention) < now;
            if !is_over {
                self.forget_due(session, |what| what == run);
            }
            is_over && self.is_due(session, run, clock)
        });
        if let Err(error) = tidied {
            tracing::error!(session, "failed to clean up after a restore: {error}");
        }
        outcome
    }

    fn look_at_creds(
        &self,
        found: &Found,
        deletes: Deletes,
        now: Timestamp,
        clock: Instant,
    ) -> CheckOutcome {
        let session = found.session.as_str();
        let mut outcome = CheckOutcome::default();
        let holds = match self.insure(found, now) {
            Ok(holds) => holds,
            Err(error) => {
                tracing::error!(session, "no copy of creds.json was kept: {error}");
                outcome.failed = true;
                // Delete no old copy while a new one cannot be taken.
                Holds::NoLogin
            }
        };
        match self.store.entries(session) {
            Ok(entries) => {
                outcome.insured = insured_at(&entries, holds, now);
                self.expire(session, &entries, holds, deletes, now, clock);
            }
            Err(error) => {
                tracing::error!(session, "{error}");
                outcome.failed = true;
            }
        }
        outcome
    }

    /// Keeps a copy if the file is new or changed.
    fn insure(&self, found: &Found, now: Timestamp) -> Result<Holds, String> {
        let session = found.session.as_str();
        // Discovery reports a folder that cannot be opened. Delete nothing.
        let Ok(folder) = found.place.open() else {
            return Ok(Holds::NoLogin);
        };
        let known = held(&self.memory.looked).get(session).copied();
        let there = stat(folder.as_fd(), OsStr::new("creds.json"))
            .ok()
            .flatten();
        if let (Some(known), Some((shape, stamp))) = (known, there)
            && is_file(shape)
            && known.stamp == stamp
        {
            let entries = self
                .store
                .entries(session)
                .map_err(|error| error.to_string())?;
            let newest = entries
                .iter()
                .find(|entry| entry.identity == known.identity);
            if let Some(newest) = newest.filter(|newest| newest.content == known.content) {
                self.store
                    .mark(session, newest, now)
                    .map_err(|error| error.to_string())?;
                return Ok(Holds::Identity(known.identity));
            }
        }
        held(&self.memory.looked).remove(session);
        match read_settled(folder.as_fd()) {
            CredsReading::Nothing | CredsReading::Unstable => Ok(Holds::NoLogin),
            CredsReading::Good {
                bytes,
                facts,
                stamp,
            } => {
                let added = self.store.add(
                    session,
                    &bytes,
                    &facts,
                    stamp.modified,
                    now,
                    &self.insurance.keep,
                );
                let added = added.map_err(|error| error.to_string())?;
                tracing::debug!(session, ?added, "checked creds.json");
                if stamp.changed < now.minus(RACY) {
                    let content = xxhash_rust::xxh3::xxh3_64(&bytes);
                    let looked = Looked {
                        stamp,
                        identity: facts.identity,
                        content,
                    };
                    held(&self.memory.looked).insert(session.to_owned(), looked);
                }
                Ok(Holds::Identity(facts.identity))
            }
        }
    }

    fn expire(
        &self,
        session: &str,
        entries: &[CopyEntry],
        holds: Holds,
        deletes: Deletes,
        now: Timestamp,
        clock: Instant,
    ) {
        let kept: Vec<CopyFacts> = entries.iter().map(CopyEntry::kept).collect();
        let aged = match deletes.allows(self.insurance.keep.keep_for, now) {
            true => surplus(&kept, holds, now, &self.insurance.keep).aged,
            false => BTreeSet::new(),
        };
        self.forget_due(session, |key| {
            key.parse().is_ok_and(|number: u64| {
                kept.iter().any(|c| c.number == number) && !aged.contains(&number)
            })
        });
        let gone: Vec<u64> = aged
            .into_iter()
            .filter(|number| self.is_due(session, &number.to_string(), clock))
            .collect();
        if gone.is_empty() {
            return;
        }
        match self.store.remove(session, &gone) {
            Ok(()) => tracing::info!(
                session,
                copies = gone.len(),
                "deleted old copies of creds.json"
            ),
            Err(error) => tracing::error!(session, "{error}"),
        }
    }

    /// Deletes expired copies of sessions that no longer exist. `present` and `names` are the
    /// directories and names of the sessions that do.
    fn expire_removed(
        &self,
        present: &HashSet<String>,
        names: &HashSet<String>,
        deletes: Deletes,
        now: Timestamp,
        clock: Instant,
    ) {
        let asked = std::cell::RefCell::new(HashSet::new());
        let may_go = deletes.allows(self.insurance.keep.keep_for, now);
        let directories = match self.store.directories() {
            Ok(directories) => directories,
            Err(error) => return tracing::error!("{error}"),
        };
        for directory in directories
            .into_iter()
            .filter(|directory| !present.contains(directory))
        {
            let due = |number: u64| {
                if !may_go {
                    return false;
                }
                asked
                    .borrow_mut()
                    .insert((directory.clone(), number.to_string()));
                self.is_due(&directory, &number.to_string(), clock)
            };
            match self
                .store
                .expire_directory(&directory, now, &self.insurance.keep, due)
            {
                Ok(0) => {}
                Ok(copies) => tracing::info!(copies, "deleted copies of a removed session"),
                Err(error) => tracing::error!("{error}"),
            }
        }
        // The wait starts again for copies that are no longer due.
        let asked = asked.into_inner();
        held(&self.memory.due).retain(|key, _| names.contains(&key.0) || asked.contains(key));
    }

    /// Whether this has been due for at least [`DUE_FOR`].
    fn is_due(&self, session: &str, what: &str, clock: Instant) -> bool {
        let key = (session.to_owned(), what.to_owned());
        let since = *held(&self.memory.due).entry(key).or_insert(clock);
        clock.saturating_duration_since(since) >= DUE_FOR
    }

    fn forget_due(&self, session: &str, no_longer: impl Fn(&str) -> bool) {
        held(&self.memory.due).retain(|(owner, what), _| owner != session || !no_longer(what));
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct CheckOutcome {
    insured: Option<Timestamp>,
    failed: bool,
}

/// When the newest copy last matched the folder: now, if the folder's identity has a copy.
fn insured_at(entries: &[CopyEntry], holds: Holds, now: Timestamp) -> Option<Timestamp> {
    match holds {
        Holds::Identity(own) if entries.iter().any(|entry| entry.identity == own) => Some(now),
        _ => entries.first().map(|entry| entry.seen),
    }
}

#[cfg(test)]
mod tests;
