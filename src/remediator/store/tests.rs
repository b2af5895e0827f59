use super::*;
use crate::folder::Timestamp;
use crate::remediator::store::queue::{Accepted, Request, Via};
use crate::remediator::store::runs::Action;

/// A new journal in a directory of its own.
pub(super) fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// So many seconds after a fixed time.
pub(super) fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + seconds)
}

/// So many minutes after the same time.
pub(super) fn minutes(minutes: impl Into<i64>) -> Timestamp {
    seconds(minutes.into() * 60)
}

/// An alert of the tier that asks for this.
pub(super) fn request(session: &str, action: Action) -> Request {
    Request {
        session: session.into(),
        action,
        tier: action.label().into(),
        fingerprint: "f".into(),
        starts_at: "s".into(),
        via: Via::default(),
    }
}

/// An alert of the tier `cleanup`, with its delivery.
pub(super) fn delivered(session: &str) -> Request {
    Request {
        fingerprint: "f00".into(),
        starts_at: "t1".into(),
        via: Via {
            receiver: "hook".into(),
            group_key: "{}:{}".into(),
        },
        ..request(session, Action::Cleanup)
    }
}

/// Queues a run for an alert; its number.
pub(super) fn accept(store: &Store, session: &str, action: Action, now: Timestamp) -> i64 {
    match store
        .queue()
        .accept(&[request(session, action)], now)
        .unwrap()[..]
    {
        [Accepted::Queued(id)] => id,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn errors_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file/state"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("--state.path"), "{error}");
    let path = dir.path().join(FILE);
    for text in ["no", "not a database, and longer than the header of one"] {
        std::fs::write(&path, text).unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is no database"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    std::fs::write(&path, "").unwrap();
    Store::open(dir.path()).unwrap();
}

/// One transaction spans the views, and what fails leaves nothing of any of them.
#[test]
fn a_transaction_spans_views() {
    let (dir, store) = open();
    let other = Store::open(dir.path()).unwrap();
    let both = |fails: bool| {
        store.atomic(|| {
            store.pause().set("ann", "a release", seconds(0))?;
            store.counters().purged(1)?;
            assert!(other.pause().state()?.paused.is_none(), "not yet");
            match fails {
                true => Err(StoreError::Full),
                false => Ok(()),
            }
        })
    };
    both(true).unwrap_err();
    assert!(store.pause().state().unwrap().paused.is_none());
    assert_eq!(store.counters().totals().unwrap().purged, 0);
    both(false).unwrap();
    assert!(other.pause().state().unwrap().paused.is_some());
    assert_eq!(other.counters().totals().unwrap().purged, 1);
}

#[test]
fn another_version_is_refused_and_left_as_it_is() {
    let (dir, store) = open();
    store.pause().set("ann", "a release", seconds(0)).unwrap();
    for version in [SCHEMA_VERSION + 1, -1] {
        store
            .db
            .pragma_update(None, "user_version", version)
            .unwrap();
        let before = std::fs::read(dir.path().join(FILE)).unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("version {version}")) && error.contains("move the file"),
            "{error}"
        );
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), before);
    }
    store
        .db
        .pragma_update(None, "user_version", SCHEMA_VERSION)
        .unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.pause().state().unwrap().paused.is_some());
}

/// A journal of a development version: its write-ahead log holds what the file does not.
#[test]
fn a_write_ahead_log_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let db = Sqlite::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1")
        .unwrap();
    let refused = || {
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("another version") && error.contains("Move "),
            "{error}"
        );
    };
    assert!(dir.path().join("journal.sqlite-wal").exists());
    refused();
    // A clean end removes the log; the header of the file still asks for one.
    drop(db);
    assert!(!dir.path().join("journal.sqlite-wal").exists());
    let before = std::fs::read(&path).unwrap();
    refused();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // What was left beside a file that is gone.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(dir.path().join("journal.sqlite-shm"), "").unwrap();
    refused();
}

/// What another process writes at the same moment is waited for.
#[test]
fn several_processes_write_at_once() {
    let (dir, _store) = open();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let dir = dir.path().to_owned();
            std::thread::spawn(move || {
                let store = Store::open(&dir).unwrap();
                for _ in 0..25 {
                    store.counters().purged(1).unwrap();
                    store.audit().recent(10).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.counters().totals().unwrap().purged, 100);
}
