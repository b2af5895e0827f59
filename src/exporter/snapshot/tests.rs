#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use clock::ManualClock;
use proptest::prelude::*;

use super::*;
use crate::config::{CommonFlags, RemediatorFlags};
use crate::exporter::folder_cache::SCANNED_AGAIN_WITHIN;
use crate::folder::SessionsPath;

fn settings(root: &Path) -> Arc<Settings> {
    let common = CommonFlags {
        sessions_path: vec![SessionsPath {
            name: None,
            path: root.to_owned(),
        }],
        ..CommonFlags::default()
    };
    Arc::new(Settings::load(&common, &RemediatorFlags::default()).unwrap())
}

const CREDS: &str =
    r#"{"noiseKey":{},"nextPreKeyId":41,"me":{"id":"15550001:1@s.whatsapp.net"},"account":{}}"#;

/// On tmpfs, one of the file systems whose directory times are relied on.
fn root() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn session_file(used: SystemTime) -> String {
    let used = used
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    format!(
        r#"{{"_sessions":{{"a":{{"indexInfo":{{"used":{used},"created":{used}}}}}}},"version":"v1"}}"#
    )
}

fn write(path: &Path, text: &str, modified: SystemTime) {
    fs::write(path, text).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

fn make_folder(folder: &Path, now: SystemTime) {
    fs::create_dir_all(folder).unwrap();
    write(&folder.join("creds.json"), CREDS, now);
    for id in 1..=40 {
        let age = Duration::from_secs(3600 * id);
        write(&folder.join(format!("pre-key-{id}.json")), "{}", now - age);
    }
    for day in 0..30 {
        let at = now - Duration::from_secs(86_400 * day);
        write(
            &folder.join(format!("session-1{day}.0.json")),
            &session_file(at),
            at,
        );
    }
}

/// Waits until the file system stamps what it is asked to change with another time than before.
fn wait_for_a_tick(root: &Path) {
    let probe = root.join("tick");
    let stamp = || {
        fs::write(&probe, "").unwrap();
        let about = fs::metadata(&probe).unwrap();
        (about.ctime(), about.ctime_nsec())
    };
    let before = stamp();
    while stamp() == before {
        std::thread::yield_now();
    }
}

/// Those whose address is the same were not looked at again.
fn measured(snapshot: &Snapshot) -> Vec<Arc<Measured>> {
    let sessions = snapshot.sessions.iter();
    sessions
        .map(|view| Arc::clone(view.state.as_ref().unwrap()))
        .collect()
}

#[test]
fn an_unchanged_folder_is_not_looked_at_again_until_its_turn() {
    let root = root();
    let manual = ManualClock::new(SystemTime::now());
    for name in ["a", "b"] {
        make_folder(&root.path().join(name), SystemTime::now());
    }
    // What changed just now may change again without another time.
    manual.advance(Duration::from_secs(10));
    let mut collector = Collector::new(settings(root.path()), manual.clock());
    let first = measured(&collector.collect());
    let same = |now: &[Arc<Measured>]| -> Vec<bool> {
        let pairs = first.iter().zip(now);
        pairs.map(|(a, b)| Arc::ptr_eq(a, b)).collect()
    };
    assert_eq!(same(&measured(&collector.collect())), [true, true]);
    wait_for_a_tick(root.path());
    fs::write(
        root.path().join("b/session-77.0.json"),
        session_file(SystemTime::now()),
    )
    .unwrap();
    let changed = measured(&collector.collect());
    assert_eq!(same(&changed), [true, false]);
    assert_eq!(changed[1].count(crate::folder::Kind::Session), 31);
    // A rewrite in place shows when the folder has its turn.
    let old = root.path().join("a/session-129.0.json");
    write(&old, &session_file(SystemTime::now()), SystemTime::now());
    assert!(same(&measured(&collector.collect()))[0]);
    manual.advance(SCANNED_AGAIN_WITHIN);
    let snapshot = collector.collect();
    assert_eq!(snapshot.oldest_scan, Some(Timestamp::of(&manual.clock())));
    let again = measured(&snapshot);
    assert_eq!(same(&again), [false, false]);
    assert!(again[0].kinds != first[0].kinds, "the rewrite");
}

#[test]
fn creds_are_checked_each_time() {
    let root = root();
    let manual = ManualClock::new(SystemTime::now() + Duration::from_secs(10));
    let folder = root.path().join("a");
    make_folder(&folder, SystemTime::now());
    let mut collector = Collector::new(settings(root.path()), manual.clock());
    let facts = |collector: &mut Collector| {
        let measured = measured(&collector.collect());
        (measured[0].creds.facts().cloned(), Arc::clone(&measured[0]))
    };
    let (first, before) = facts(&mut collector);
    assert_eq!(first.unwrap().next_pre_key_id, Some(41));
    wait_for_a_tick(root.path());
    // The same facts: the rest is not looked at again.
    fs::write(folder.join("creds.json"), CREDS).unwrap();
    let (_, same) = facts(&mut collector);
    assert!(Arc::ptr_eq(&before, &same));
    wait_for_a_tick(root.path());
    fs::write(folder.join("creds.json"), CREDS.replace("41", "42")).unwrap();
    let (later, _) = facts(&mut collector);
    assert_eq!(later.unwrap().next_pre_key_id, Some(42));
}

#[test]
fn time_alone_changes_what_it_must() {
    let root = root();
    let now = SystemTime::now();
    let manual = ManualClock::new(now + Duration::from_secs(10));
    let folder = root.path().join("a");
    make_folder(&folder, now);
    let mut collector = Collector::new(settings(root.path()), manual.clock());
    let first = measured(&collector.collect());
    let until = SystemTime::from(first[0].holds_until.unwrap());
    let wait = until.duration_since(manual.clock().wall()).unwrap();
    assert!(wait > Duration::ZERO);
    manual.advance(wait + Duration::from_secs(1));
    let then = measured(&collector.collect());
    let limits = settings(root.path());
    let mut fresh = Collector::new(limits, manual.clock());
    assert_eq!(measured(&fresh.collect()), then);
}

#[test]
fn creds_that_look_broken_are_read_again_and_a_broken_file_only_once() {
    let root = root();
    let folder = root.path().join("a");
    make_folder(&folder, SystemTime::now());
    fs::write(folder.join("creds.json"), "").unwrap();
    let manual = ManualClock::new(SystemTime::now() + Duration::from_secs(10));
    let _pauses = Pauses::pass(&manual);
    let clock = manual.clock();
    let mut collector = Collector::new(settings(root.path()), clock.clone());
    let paused = |collector: &mut Collector| {
        let began = clock.now();
        assert_eq!(measured(&collector.collect())[0].creds.word(), "empty");
        clock.since(began)
    };
    let all = CREDS_SECOND_LOOK * CREDS_LOOKS;
    assert!(paused(&mut collector) >= all, "it waits for a writer");
    assert_eq!(
        paused(&mut collector),
        Duration::ZERO,
        "it is known to be empty"
    );
    manual.advance(SCANNED_AGAIN_WITHIN);
    assert_eq!(paused(&mut collector), Duration::ZERO, "it is unchanged");
    wait_for_a_tick(root.path());
    fs::write(folder.join("creds.json"), "").unwrap();
    assert!(paused(&mut collector) >= all, "it was written");
}

#[test]
fn what_could_not_be_read_is_tried_again_at_once() {
    let root = root();
    let folder = root.path().join("a");
    make_folder(&folder, SystemTime::now());
    let creds = folder.join("creds.json");
    // Even root cannot read a directory as a file.
    fs::remove_file(&creds).unwrap();
    fs::create_dir(&creds).unwrap();
    let manual = ManualClock::new(SystemTime::now() + Duration::from_secs(10));
    let mut collector = Collector::new(settings(root.path()), manual.clock());
    let first = measured(&collector.collect());
    assert_eq!(first[0].creds.word(), "unreadable");
    let second = measured(&collector.collect());
    assert!(!Arc::ptr_eq(&first[0], &second[0]), "looked at again");
}

/// Lets the pauses of a collector pass.
struct Pauses(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Pauses {
    fn pass(manual: &ManualClock) -> Self {
        let (is_over, manual) = (Arc::new(AtomicBool::new(false)), manual.clone());
        let own = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !own.load(Ordering::Relaxed) {
                if manual.sleepers() > 0 {
                    manual.advance(CREDS_SECOND_LOOK);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self(is_over, Some(thread))
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    /// A file comes, or is rewritten in place: a session that was used so many days ago.
    Write(u8, u8, u64),
    /// All pre-keys get the time of this moment, so that they look minted together.
    Touch(u8),
    Rename(u8, u8, u8),
    Delete(u8, u8),
    Creds(u8, &'static str),
    Folder(u8),
    DeleteFolder(u8),
    Nested(u8),
    Wait(u64),
    StepClock(i64),
    Reload,
}

fn changes() -> impl Strategy<Value = Change> {
    let (folder, file) = (0u8..4, 0u8..12);
    prop_oneof![
        4 => (folder.clone(), file.clone(), 0u64..30).prop_map(|(a, b, days)| Change::Write(a, b, days)),
        1 => folder.clone().prop_map(Change::Touch),
        2 => (folder.clone(), file.clone(), file.clone()).prop_map(|(a, b, c)| Change::Rename(a, b, c)),
        2 => (folder.clone(), file).prop_map(|(a, b)| Change::Delete(a, b)),
        2 => (folder.clone(), prop_oneof![
            Just(CREDS),
            Just(r#"{"noiseKey":{},"nextPreKeyId":977}"#),
            Just(r#"{"type":"service_account"}"#),
        ]).prop_map(|(a, b)| Change::Creds(a, b)),
        1 => folder.clone().prop_map(Change::Folder),
        1 => folder.clone().prop_map(Change::DeleteFolder),
        1 => folder.prop_map(Change::Nested),
        3 => (0u64..200).prop_map(Change::Wait),
        1 => (-4000i64..4000).prop_map(Change::StepClock),
        1 => Just(Change::Reload),
    ]
}

fn file_name(file: u8) -> String {
    match file % 4 {
        0 => format!("pre-key-{file}.json"),
        1 => format!("session-1{file}.0.json"),
        2 => format!("sender-key-12@g.us--1{file}--0.json"),
        _ => format!("notes-{file}.txt"),
    }
}

fn apply(change: &Change, root: &Path, manual: &ManualClock) {
    let folder = |folder: u8| root.join(format!("bot{folder}"));
    match change {
        Change::Write(at, file, days) => {
            let used = SystemTime::now() - Duration::from_secs(days * 86_400);
            let _ = fs::write(folder(*at).join(file_name(*file)), session_file(used));
        }
        Change::Touch(at) => {
            for id in 1..=40 {
                let path = folder(*at).join(format!("pre-key-{id}.json"));
                if let Ok(file) = fs::File::options().write(true).open(path) {
                    file.set_modified(SystemTime::now()).unwrap();
                }
            }
        }
        Change::Rename(at, from, to) => {
            let at = folder(*at);
            let _ = fs::rename(at.join(file_name(*from)), at.join(file_name(*to)));
        }
        Change::Delete(at, file) => {
            let _ = fs::remove_file(folder(*at).join(file_name(*file)));
        }
        Change::Creds(at, text) => {
            let _ = fs::write(folder(*at).join("creds.json"), text);
        }
        Change::Folder(at) => {
            let _ = fs::create_dir(folder(*at));
        }
        Change::DeleteFolder(at) => {
            let _ = fs::remove_dir_all(folder(*at));
        }
        Change::Nested(at) => {
            let nested = folder(*at).join("sub");
            if fs::create_dir(&nested).is_ok() {
                fs::write(nested.join("creds.json"), CREDS).unwrap();
            }
        }
        Change::Wait(seconds) => manual.advance(Duration::from_secs(*seconds)),
        Change::StepClock(by) => {
            let (wall, by_span) = (
                manual.clock().wall(),
                Duration::from_secs(by.unsigned_abs()),
            );
            manual.set_wall(if *by < 0 {
                wall - by_span
            } else {
                wall + by_span
            });
        }
        Change::Reload => {}
    }
}

/// What must be that of the moment: names, counts, tiers and creds. The rest may be 5 minutes
/// old, and so may what is accumulated where the times of pre-keys alone have changed.
fn exact(snapshot: &Snapshot, with_accumulated: bool) -> Vec<String> {
    let sessions = snapshot.sessions.iter().map(|view| {
        let state = view.state.as_ref().map(|measured| {
            let counts: Vec<_> = measured
                .kinds
                .iter()
                .map(|(kind, f)| (*kind, f.count))
                .collect();
            let m = measured;
            let accumulated = with_accumulated.then_some((m.accumulated, m.tier));
            format!(
                "{counts:?} {accumulated:?} {} {:?} {:?}",
                m.pre_keys, m.creds, m.newest_pre_key_missing
            )
        });
        format!("{}: {state:?}", view.session)
    });
    let skipped = snapshot
        .skipped
        .iter()
        .map(|skipped| skipped.message.clone());
    sessions
        .chain(skipped)
        .chain(snapshot.passed_over.iter().cloned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Beside each collector that remembers, one that looks at everything: the same folders,
    /// counts, tiers and creds after each change, and everything else after 5 minutes.
    #[test]
    fn what_is_remembered_never_differs_from_a_full_look(
        all in proptest::collection::vec(changes(), 1..25),
        is_real_time in any::<bool>(),
    ) {
        let root = root();
        let bots = root.path().join("bots");
        fs::create_dir(&bots).unwrap();
        let now = SystemTime::now();
        for name in ["bot0", "bot1"] {
            make_folder(&bots.join(name), now);
        }
        // Ahead of the file times all changes are old, so that each needs a time of its own. In
        // real time, several changes may have one time.
        let ahead = Duration::from_secs(if is_real_time { 0 } else { 10 });
        let manual = ManualClock::new(SystemTime::now() + ahead);
        let _pauses = (!is_real_time).then(|| Pauses::pass(&manual));
        let settings = settings(&bots);
        let new = || Collector::new(Arc::clone(&settings), manual.clock());
        let (mut subject, mut full) = (new(), new());
        full.discovery = settings.discovery().explaining();
        let look_at_all = |full: &mut Collector| {
            full.folders.values_mut().for_each(|folder| folder.looked_at = None);
            full.collect()
        };
        let mut is_touched = false;
        for change in all {
            is_touched |= matches!(change, Change::Touch(_));
            if matches!(change, Change::Reload) {
                subject = new().after(Arc::new(Mutex::new(subject)));
                let former = std::mem::replace(&mut full, new());
                full = full.after(Arc::new(Mutex::new(former)));
                full.discovery = settings.discovery().explaining();
            }
            if is_real_time {
                if matches!(change, Change::Wait(_) | Change::StepClock(_) | Change::Creds(..) | Change::Folder(_)) {
                    continue;
                }
                let passed = SystemTime::now().duration_since(manual.clock().wall());
                manual.advance(passed.unwrap_or_default());
            } else {
                wait_for_a_tick(root.path());
            }
            apply(&change, &bots, &manual);
            let (mine, theirs) = (subject.collect(), look_at_all(&mut full));
            prop_assert_eq!(exact(&mine, !is_touched), exact(&theirs, !is_touched), "{:?}", change);
            let oldest = mine.oldest_scan.unwrap_or(mine.at);
            prop_assert!(oldest.until(mine.at) <= SCANNED_AGAIN_WITHIN);
        }
        manual.advance(SCANNED_AGAIN_WITHIN);
        let (mine, theirs) = (subject.collect(), look_at_all(&mut full));
        for (mine, theirs) in mine.sessions.iter().zip(&theirs.sessions) {
            prop_assert_eq!(&mine.state, &theirs.state);
        }
    }
}
