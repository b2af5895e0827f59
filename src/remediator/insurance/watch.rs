//! Takes the copies while `serve` runs: at its start and every ten minutes one look at each
//! creds.json, by `stat` first, without the folder's lock and without writing there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Insurance;
use crate::folder::identity::{Identity, Insurable, insurable};
use crate::folder::scan::{CREDS_LOOKS, CREDS_SECOND_LOOK, MAX_CREDS_BYTES, read_plain_file, stat};
use crate::folder::{Found, Shape, Stamp, Timestamp, creds};
use crate::policy::insurance::{Holds, Kept, surplus};
use crate::remediator::runner::blocking;

use super::restore;
use super::store::{CopyEntry, CopyStore};

/// Sessions that are looked at at the same time.
const AT_ONCE: usize = 8;
/// A look that takes longer hangs on its file system; that session is left alone until it ends.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// A copy must have been due to go for this long by the monotonic clock: a wall clock that
/// jumped ahead must cost nobody the insurance.
const DUE_FOR: Duration = Duration::from_secs(6 * 3_600);
/// A file written less than this long ago is read again even when nothing seems changed.
const RACY: Duration = Duration::from_secs(2);

/// What is known of the insurance after a look at all sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// For each session with a copy: when its newest copy was last known to be what the
    /// folder holds.
    pub insured: BTreeMap<String, Timestamp>,
    /// When the look ended.
    pub ended: Option<Timestamp>,
    /// Looks that could not keep a copy they should have kept.
    pub failures: u64,
}

/// Whether anything may be deleted because its time is over.
#[derive(Clone, Copy, Debug)]
pub struct Deletes {
    /// Since when the clock on the wall runs as a clock does: what was dated before may have
    /// been dated wrong, and its time begins anew.
    pub since: Timestamp,
    /// A person has paused all action.
    pub paused: bool,
}

impl Deletes {
    /// Whether what has to stay for `span` may be over at all.
    fn allows(self, span: Duration, now: Timestamp) -> bool {
        !self.paused && self.since.plus(span) < now
    }
}

/// What the last look at a session's creds.json found.
#[derive(Clone, Copy)]
struct Looked {
    stamp: Stamp,
    identity: Identity,
    content: u64,
}

/// What a creds.json is, read until it held still.
pub enum Reading {
    /// Whole, logged in, and the same at two reads.
    Good {
        /// Private keys.
        bytes: Vec<u8>,
        /// What they say.
        facts: Box<Insurable>,
        /// The file.
        stamp: Stamp,
    },
    /// Missing, broken, unreadable, not logged in, or of nobody's identity.
    Nothing,
    /// It changed with every read.
    Restless,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reading::Good { facts, stamp, .. } => f
                .debug_struct("Good")
                .field("facts", facts)
                .field("stamp", stamp)
                .finish_non_exhaustive(),
            Reading::Nothing => f.write_str("Nothing"),
            Reading::Restless => f.write_str("Restless"),
        }
    }
}

/// One read of creds.json: the file it was, and its bytes.
type Read = Option<(Stamp, Vec<u8>)>;

/// Reads creds.json twice, until both reads and both looks at the file agree. Baileys writes
/// in place, so a single read may be of half a file.
pub fn read_settled(folder: BorrowedFd<'_>) -> Reading {
    let name = OsStr::new("creds.json");
    settle(
        || {
            let (shape, stamp) = stat(folder, name).ok().flatten()?;
            let bytes = read_plain_file(folder, name, MAX_CREDS_BYTES).ok()?;
            is_file(shape).then_some((stamp, bytes))
        },
        || std::thread::sleep(CREDS_SECOND_LOOK),
    )
}

fn settle(mut read: impl FnMut() -> Read, pause: impl Fn()) -> Reading {
    let mut former = read();
    let mut seen_good = false;
    for _ in 0..CREDS_LOOKS {
        let is_pairing = |(_, bytes): &(Stamp, Vec<u8>)| {
            creds::parse_creds(bytes).is_ok_and(|facts| !facts.logged_in)
        };
        if former.as_ref().is_some_and(is_pairing) {
            return Reading::Nothing;
        }
        pause();
        let again = read();
        let facts = former.as_ref().and_then(|(_, bytes)| insurable(bytes));
        seen_good |= facts.is_some();
        match (facts, again) {
            (Some(facts), Some((stamp, bytes))) if former == Some((stamp, bytes.clone())) => {
                return Reading::Good {
                    bytes,
                    facts: Box::new(facts),
                    stamp,
                };
            }
            (_, again) => former = again,
        }
    }
    if seen_good {
        Reading::Restless
    } else {
        Reading::Nothing
    }
}

fn is_file(shape: Shape) -> bool {
    matches!(shape, Shape::Regular | Shape::ManyNames)
}

/// Looks at every session again and again.
#[derive(Debug)]
pub struct Watch {
    store: CopyStore,
    insurance: Insurance,
    retention: Duration,
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

impl Watch {
    /// Over the copies in `store`. `retention`: how long files that a restore replaced stay
    /// in the quarantine. Where the insurance is switched off, only those are looked after.
    pub fn new(store: CopyStore, insurance: Insurance, retention: Duration) -> Self {
        Self {
            store,
            insurance,
            retention,
            looked: Mutex::default(),
            due: Mutex::default(),
            hanging: Mutex::default(),
        }
    }

    /// One look at all sessions that are there.
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
        held(&self.looked).retain(|session, _| names.contains(session));
        if !self.insurance.enabled {
            report.ended = Some(Timestamp::now());
            return report;
        }
        let watch = Arc::clone(self);
        let now = (Timestamp::now(), Instant::now());
        blocking(move || watch.expire_the_gone(&directories, &names, deletes, now.0, now.1)).await;
        report.ended = Some(Timestamp::now());
        report
    }

    async fn look_within(self: Arc<Self>, found: Found, deletes: Deletes) -> (String, Outcome) {
        let session = found.session.to_string();
        if !held(&self.hanging).insert(session.clone()) {
            return (
                session,
                Outcome {
                    failed: true,
                    insured: None,
                },
            );
        }
        let watch = Arc::clone(&self);
        let look = blocking(move || {
            let looked = watch.look(&found, deletes, Timestamp::now(), Instant::now());
            held(&watch.hanging).remove(found.session.as_str());
            looked
        });
        match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(looked) => (session, looked),
            Err(_) => {
                tracing::error!(
                    session,
                    "looking at creds.json takes too long; its file system may hang"
                );
                (
                    session,
                    Outcome {
                        failed: true,
                        insured: None,
                    },
                )
            }
        }
    }

    /// One look at one session. Blocks.
    fn look(&self, found: &Found, deletes: Deletes, now: Timestamp, clock: Instant) -> Outcome {
        let session = found.session.as_str();
        let mut outcome = Outcome::default();
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
            tracing::error!(session, "what a restore replaced: {error}");
        }
        outcome
    }

    fn look_at_creds(
        &self,
        found: &Found,
        deletes: Deletes,
        now: Timestamp,
        clock: Instant,
    ) -> Outcome {
        let session = found.session.as_str();
        let mut outcome = Outcome::default();
        let holds = match self.insure(found, now) {
            Ok(holds) => holds,
            Err(error) => {
                tracing::error!(session, "no copy of creds.json was kept: {error}");
                outcome.failed = true;
                // What cannot be replaced is not let go.
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

    /// Keeps a copy, where there is something new to keep.
    fn insure(&self, found: &Found, now: Timestamp) -> Result<Holds, String> {
        let session = found.session.as_str();
        // A folder that cannot be opened is reported by the discovery; nothing is let go.
        let Ok(folder) = found.place.open() else {
            return Ok(Holds::NoLogin);
        };
        let known = held(&self.looked).get(session).copied();
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
        held(&self.looked).remove(session);
        match read_settled(folder.as_fd()) {
            Reading::Nothing | Reading::Restless => Ok(Holds::NoLogin),
            Reading::Good {
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
                tracing::debug!(session, ?added, "creds.json looked at");
                if stamp.changed < now.minus(RACY) {
                    let content = xxhash_rust::xxh3::xxh3_64(&bytes);
                    let looked = Looked {
                        stamp,
                        identity: facts.identity,
                        content,
                    };
                    held(&self.looked).insert(session.to_owned(), looked);
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
        let kept: Vec<Kept> = entries.iter().map(CopyEntry::kept).collect();
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
                "old copies of creds.json deleted"
            ),
            Err(error) => tracing::error!(session, "{error}"),
        }
    }

    /// `present`: the directories of the sessions that are there; `names`: their names.
    fn expire_the_gone(
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
                Ok(copies) => tracing::info!(copies, "copies of a session that is gone deleted"),
                Err(error) => tracing::error!("{error}"),
            }
        }
        // What is due no longer begins anew when it is due again.
        let asked = asked.into_inner();
        held(&self.due).retain(|key, _| names.contains(&key.0) || asked.contains(key));
    }

    /// Whether this was due already [`DUE_FOR`] ago.
    fn is_due(&self, session: &str, what: &str, clock: Instant) -> bool {
        let key = (session.to_owned(), what.to_owned());
        let since = *held(&self.due).entry(key).or_insert(clock);
        clock.saturating_duration_since(since) >= DUE_FOR
    }

    fn forget_due(&self, session: &str, no_longer: impl Fn(&str) -> bool) {
        held(&self.due).retain(|(whose, what), _| whose != session || !no_longer(what));
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    insured: Option<Timestamp>,
    failed: bool,
}

/// When the newest copy was last what the folder holds: now, where its identity is.
fn insured_at(entries: &[CopyEntry], holds: Holds, now: Timestamp) -> Option<Timestamp> {
    match holds {
        Holds::Identity(own) if entries.iter().any(|entry| entry.identity == own) => Some(now),
        _ => entries.first().map(|entry| entry.seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::scan::QUARANTINE_DIR;
    use crate::folder::{Place, SessionName};
    use crate::remediator::quarantine::{LockedFolder, make_dir, write_record};

    const SLOT: &str = "creds-20261123T201510Z-4f2a91";

    fn creds(next: u32) -> String {
        format!(
            r#"{{"signedIdentityKey":{{"public":{{"type":"Buffer","data":"Q0M="}}}},"registrationId":7,"me":{{"id":"999100000000:1@s.whatsapp.net"}},"account":{{}},"nextPreKeyId":{next}}}"#
        )
    }

    /// No pause, and a clock that has always been right.
    const ANY: Deletes = Deletes {
        since: Timestamp::from_nanos(0),
        paused: false,
    };

    struct Sample {
        dir: tempfile::TempDir,
        watch: Watch,
        found: Found,
    }

    impl Sample {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("bot")).unwrap();
            let store = CopyStore::new(dir.path());
            let watch = Watch::new(store, Insurance::default(), Duration::from_secs(86_400));
            let place = Place {
                parent: dir.path().to_owned(),
                name: "bot".into(),
            };
            let found = Found {
                session: SessionName::from_dir(OsStr::new("bot")),
                place,
            };
            Self { dir, watch, found }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.file(), text).unwrap();
        }

        fn file(&self) -> std::path::PathBuf {
            self.dir.path().join("bot/creds.json")
        }

        /// Until the file is not a young one any more; its change time cannot be set.
        fn age(&self) {
            std::thread::sleep(RACY + Duration::from_millis(100));
        }

        fn slot(&self) -> std::path::PathBuf {
            self.dir.path().join("bot").join(QUARANTINE_DIR).join(SLOT)
        }

        fn copies(&self) -> Vec<u64> {
            self.watch
                .store
                .entries("bot")
                .unwrap()
                .iter()
                .map(|entry| entry.number)
                .collect()
        }
    }

    #[test]
    fn what_was_read_is_never_shown() {
        let sample = Sample::new();
        sample.write(&creds(31));
        let reading = read_settled(sample.found.place.open().unwrap().as_fd());
        assert!(matches!(reading, Reading::Good { .. }));
        let told = format!("{reading:?}");
        assert!(
            told.starts_with("Good") && !told.contains("999100") && !told.contains("bytes"),
            "{told}"
        );
    }

    #[test]
    fn a_copy_of_a_gone_session_that_was_seen_again_is_due_anew() {
        let sample = Sample::new();
        let long = sample.watch.insurance.keep.keep_for * 2;
        let (then, clock) = (Timestamp::now(), Instant::now());
        sample.write(&creds(31));
        sample.watch.look(&sample.found, ANY, then, clock);
        let none = HashSet::new();
        let expire = |now, clock| sample.watch.expire_the_gone(&none, &none, ANY, now, clock);
        expire(then.plus(long), clock);
        // The clock was wrong: for a time nothing was due.
        expire(then, clock + DUE_FOR / 2);
        expire(then.plus(long), clock + DUE_FOR);
        assert_eq!(sample.copies(), [1], "due for no time at all");
        expire(then.plus(long), clock + DUE_FOR * 2);
        assert_eq!(sample.copies(), Vec::<u64>::new());
    }

    #[test]
    fn a_look_keeps_what_is_new_and_good() {
        let sample = Sample::new();
        let mut clock = Instant::now();
        let mut look = |now: Timestamp| {
            clock += DUE_FOR;
            sample.watch.look(&sample.found, ANY, now, clock)
        };
        let now = Timestamp::now();
        assert_eq!(look(now).insured, None);
        sample.write(&creds(31));
        sample.age();
        let now = Timestamp::now();
        assert_eq!(look(now).insured, Some(now));
        assert_eq!(look(now).insured, Some(now));
        assert_eq!(sample.copies(), [1]);
        assert!(
            held(&sample.watch.looked).contains_key("bot"),
            "the next look is a stat"
        );
        // A quiet bot: seen every day, its copy never ages.
        let month = Duration::from_secs(31 * 86_400);
        let later = now.plus(month);
        assert_eq!(look(later).insured, Some(later));
        // Nothing that is torn, or not logged in, is kept, and while it lasts nothing is let go.
        for bad in [
            &creds(32)[..100],
            "",
            "{\"noiseKey\":{},\"nextPreKeyId\":1}",
        ] {
            sample.write(bad);
            for at in [later, later.plus(month * 40)] {
                let outcome = look(at);
                assert_eq!(
                    (outcome.insured, outcome.failed),
                    (Some(later), false),
                    "{bad}"
                );
            }
            assert_eq!(sample.copies(), [1], "{bad}");
        }
        std::fs::remove_file(sample.file()).unwrap();
        look(later.plus(month * 40));
        assert_eq!(sample.copies(), [1]);
    }

    #[test]
    fn a_former_identity_goes_when_its_time_is_over_by_both_clocks() {
        let sample = Sample::new();
        sample.write(&creds(31));
        let (now, clock) = (Timestamp::now(), Instant::now());
        sample.watch.look(&sample.found, ANY, now, clock);
        sample.write(&creds(31).replace("Q0M=", "QUE="));
        let later = now.plus(Duration::from_secs(31 * 86_400));
        let hour = Duration::from_secs(3_600);
        for (after, left) in [(0, vec![2, 1]), (5, vec![2, 1])] {
            sample
                .watch
                .look(&sample.found, ANY, later, clock + hour * after);
            assert_eq!(
                sample.copies(),
                left,
                "a clock that jumped ahead costs nothing"
            );
        }
        // Back to the right time: the count begins anew.
        sample.watch.look(&sample.found, ANY, now, clock + hour * 6);
        sample
            .watch
            .look(&sample.found, ANY, later, clock + hour * 7);
        assert_eq!(sample.copies(), [2, 1]);
        sample
            .watch
            .look(&sample.found, ANY, later, clock + hour * 13);
        assert_eq!(sample.copies(), [2]);
    }

    /// What a restore replaced, a copy of a former identity, and one of a session that is
    /// gone: all three, at the same moments.
    #[test]
    fn what_is_over_goes_but_not_under_a_pause_or_after_a_leap_of_the_clock() {
        let day = Duration::from_secs(86_400);
        let hour = Duration::from_secs(3_600);
        let clock = Instant::now();
        let start = Timestamp::now();
        let set_up = || {
            let mut sample = Sample::new();
            sample.watch.retention = sample.watch.insurance.keep.keep_for;
            for identity in ["Q0M=", "QUE="] {
                sample.write(&creds(31).replace("Q0M=", identity));
                sample.watch.look(&sample.found, ANY, start, clock);
            }
            let path = sample.dir.path().join("bot/creds.json");
            let gone = SessionName::from_dir(OsStr::new("gone"));
            let facts = insurable(&std::fs::read(path).unwrap()).unwrap();
            let keep = &sample.watch.insurance.keep;
            sample
                .watch
                .store
                .add(
                    gone.as_str(),
                    creds(31).as_bytes(),
                    &facts,
                    start,
                    start,
                    keep,
                )
                .unwrap();
            let folder = LockedFolder::lock(&sample.found.place).unwrap();
            let quarantine = folder.quarantine(true).unwrap().unwrap();
            let slot = make_dir(quarantine.as_fd(), SLOT, false).unwrap();
            let record = serde_json::json!({"version": 1, "at_ns": start.nanos(), "copy": 1, "content": "0"});
            write_record(slot.as_fd(), "restore.json", &record).unwrap();
            std::fs::write(sample.slot().join("replaced.json"), "keys").unwrap();
            sample
        };
        // At this hour, and what is left afterwards: replaced, former, gone.
        let left = |sample: &Sample, deletes: Deletes, at: Duration| {
            let (now, clock) = (start.plus(at), clock + at);
            sample.watch.look(&sample.found, deletes, now, clock);
            let names = HashSet::from(["bot".to_owned()]);
            let present = HashSet::from([CopyStore::directory("bot")]);
            sample
                .watch
                .expire_the_gone(&present, &names, deletes, now, clock);
            let of_gone = sample.watch.store.entries("gone").unwrap().len();
            (
                sample.slot().join("replaced.json").exists(),
                sample.copies().len(),
                of_gone,
            )
        };
        let (all, none) = ((true, 2, 1), (false, 1, 0));
        let paused = Deletes {
            paused: true,
            ..ANY
        };
        let sample = set_up();
        assert_eq!(left(&sample, ANY, day * 29), all, "before its time");
        assert_eq!(
            left(&sample, ANY, day * 29 + hour * 7),
            all,
            "before its time"
        );
        assert_eq!(
            left(&sample, ANY, day * 31),
            all,
            "due, but not for six hours"
        );
        assert_eq!(
            left(&sample, ANY, day * 31 + hour * 7),
            none,
            "its time is over"
        );

        let sample = set_up();
        for at in [day * 31, day * 31 + hour * 7, day * 90] {
            assert_eq!(left(&sample, paused, at), all, "paused");
        }
        assert_eq!(
            left(&sample, ANY, day * 90 + hour),
            all,
            "resumed, and due for no six hours"
        );
        assert_eq!(left(&sample, ANY, day * 90 + hour * 8), none, "resumed");

        // The clock was set at the 40th day: from then on all of it stays its whole time.
        let sample = set_up();
        let leapt = Deletes {
            since: start.plus(day * 40),
            ..ANY
        };
        for at in [day * 40, day * 40 + hour * 7, day * 69] {
            assert_eq!(left(&sample, leapt, at), all, "begun anew");
        }
        assert_eq!(
            left(&sample, leapt, day * 71),
            all,
            "due, but not for six hours"
        );
        assert_eq!(left(&sample, leapt, day * 71 + hour * 7), none);
    }

    #[test]
    fn only_what_two_reads_agree_on_is_good() {
        let stamp = |nanos| Stamp {
            modified: Timestamp::from_nanos(nanos),
            ..Stamp::default()
        };
        let whole = |next: u32, nanos| Some((stamp(nanos), creds(next).into_bytes()));
        let torn = || Some((stamp(1), creds(31).into_bytes()[..90].to_vec()));
        let said = |reads: Vec<Read>| {
            let count = reads.len();
            let mut reads = reads.into_iter();
            let mut taken = 0;
            let reading = settle(
                || {
                    taken += 1;
                    reads.next().unwrap_or(None)
                },
                || {},
            );
            match reading {
                Reading::Good { facts, .. } => {
                    assert_eq!(taken, count, "not before the last two agree");
                    format!("good {}", facts.next_pre_key_id)
                }
                Reading::Nothing => "nothing".into(),
                Reading::Restless => "restless".into(),
            }
        };
        assert_eq!(said(vec![whole(31, 1), whole(31, 1)]), "good 31");
        assert_eq!(
            said(vec![whole(31, 1), whole(32, 2), whole(32, 2)]),
            "good 32"
        );
        // The same file by its times and other bytes, and the reverse: somebody is writing.
        assert_eq!(
            said(vec![whole(31, 1), whole(32, 1), whole(32, 1)]),
            "good 32"
        );
        assert_eq!(
            said(vec![whole(31, 1), whole(31, 2), whole(31, 2)]),
            "good 31"
        );
        assert_eq!(
            said(vec![
                torn(),
                whole(31, 1),
                torn(),
                whole(31, 1),
                whole(31, 1)
            ]),
            "good 31"
        );
        assert_eq!(said(vec![torn(); 20]), "nothing");
        assert_eq!(said(vec![None; 20]), "nothing");
        assert_eq!(said((0..20).map(|n| whole(31, n)).collect()), "restless");
    }

    #[test]
    fn beside_a_busy_writer_only_whole_copies_are_kept() {
        let sample = Sample::new();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (file, stopped) = (sample.file(), Arc::clone(&stop));
        sample.write(&creds(31));
        let writer = std::thread::spawn(move || {
            let mut next = 32;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::write(&file, creds(next)).unwrap();
                next += 1;
            }
        });
        for _ in 0..5 {
            sample
                .watch
                .look(&sample.found, ANY, Timestamp::now(), Instant::now());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
        sample
            .watch
            .look(&sample.found, ANY, Timestamp::now(), Instant::now());
        let copies = sample.watch.store.copies("bot").unwrap();
        assert!(copies.iter().all(|(_, copy)| copy.is_some()));
        let newest = copies[0].1.as_ref().unwrap();
        assert_eq!(newest.bytes, std::fs::read(sample.file()).unwrap());
    }
}
