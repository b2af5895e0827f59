use std::path::Path;
use std::time::SystemTime;

use log_tailer::{FileId, FileState};

use super::super::{LogStore, Unsaved, saved_half_monitored};
use super::*;

fn position(offset: u64) -> Position {
    Position {
        offset,
        skipping: offset.is_multiple_of(2),
        head: Fingerprint {
            len: 256,
            hash: u64::MAX,
        },
        tail: Fingerprint {
            len: 3,
            hash: offset,
        },
    }
}

fn checkpoint(offset: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint {
        state: FileState::Live,
        id: FileId { dev: 1, ino: 2 },
        path: "/l/a.log".into(),
        origin: "/l/a.log".into(),
        offset: 0,
        skipping: false,
        head: Fingerprint::default(),
        tail: Fingerprint::default(),
        since: SystemTime::UNIX_EPOCH,
    };
    checkpoint.move_to(position(offset));
    checkpoint
}

fn counted(counts: &[(&str, &str, u64)], gone: &[&str]) -> Unsaved {
    let count = |(session, name, value): &(&str, &str, u64)| {
        ((*session).to_owned(), (*name).to_owned(), *value)
    };
    Unsaved {
        counts: CountChanges {
            counts: counts.iter().map(count).collect(),
            gone: gone.iter().map(|gone| (*gone).to_owned()).collect(),
        },
        ..Unsaved::default()
    }
}

fn read_on(offset: u64) -> Changes {
    Changes {
        moved: vec![(1, position(offset))],
        ..Changes::default()
    }
}

/// What another start would load: the offset of the only file, and the counts.
fn saved(dir: &Path) -> (Checkpoint, BTreeMap<String, u64>) {
    let mut saved = LogStore::open(dir).unwrap().load().unwrap();
    let (_, file) = saved.tailer.files.pop().unwrap();
    assert!(saved.tailer.files.is_empty());
    let counts = saved.counts.into_iter();
    let named = counts.map(|((session, name), value)| (format!("{session}/{name}"), value));
    (file, named.collect())
}

fn rows(store: &LogStore) -> (i64, i64) {
    let query = "SELECT (SELECT offset FROM files), (SELECT count(*) FROM recent)";
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    store.db.query_row(query, [], pair).unwrap()
}

#[test]
fn what_changed_recently_is_there_again_before_and_after_it_is_in_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::open(dir.path()).unwrap();
    let found = Changes {
        files: vec![(1, checkpoint(0))],
        ..Changes::default()
    };
    store
        .commit(
            &found,
            &counted(&[("s", "lines", 1), ("t", "lines", 1)], &[]),
        )
        .unwrap();
    for n in 1..=u64::from(COMMITS) {
        let counts = [("s", "lines", n), ("s", "event:x", 2 * n)];
        store.commit(&read_on(n), &counted(&counts, &[])).unwrap();
        assert_eq!(rows(&store), (0, 1), "no row is written");
        if n % 16 == 1 {
            drop(store);
            let (file, counts) = saved(dir.path());
            assert_eq!(file, checkpoint(n));
            let counts: Vec<_> = counts.into_iter().collect();
            let expected = [("s/event:x", 2 * n), ("s/lines", n), ("t/lines", 1)];
            assert_eq!(counts, expected.map(|(name, n)| (name.to_owned(), n)));
            store = LogStore::open(dir.path()).unwrap();
        }
    }
    store.recent.commits = COMMITS;
    store.commit(&read_on(90), &Unsaved::default()).unwrap();
    assert_eq!(rows(&store), (90, 0), "all is in rows");
    drop(store);
    let (file, counts) = saved(dir.path());
    assert_eq!(file, checkpoint(90));
    assert_eq!(counts["s/lines"], u64::from(COMMITS));
}

#[test]
fn what_is_gone_or_new_is_not_overwritten_by_what_was_recent() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::open(dir.path()).unwrap();
    let files = |files: Vec<(i64, Checkpoint)>, gone: Vec<i64>| Changes {
        files,
        gone,
        ..Changes::default()
    };
    let both = files(vec![(1, checkpoint(0)), (2, checkpoint(0))], Vec::new());
    store.commit(&both, &Unsaved::default()).unwrap();
    let recent = Changes {
        moved: vec![(1, position(7)), (2, position(8))],
        ..Changes::default()
    };
    let waiting = [("\0waiting\0/l/a.log\0", "lines", 4)];
    store.commit(&recent, &counted(&waiting, &[])).unwrap();
    // The first was truncated, the second is gone, and the lines have a session.
    let moved = counted(&[("s", "lines", 4)], &[waiting[0].0]);
    store
        .commit(&files(vec![(1, checkpoint(1))], vec![2]), &moved)
        .unwrap();
    drop(store);
    let (file, counts) = saved(dir.path());
    assert_eq!(file, checkpoint(1));
    assert_eq!(counts, BTreeMap::from([("s/lines".to_owned(), 4)]));
}

#[test]
fn another_process_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::open(dir.path()).unwrap();
    let counts = [("s", "lines", 1), ("t", "lines", 1), ("t", "library", 1)];
    store
        .commit(&Changes::default(), &counted(&counts, &[]))
        .unwrap();
    let sessions: Vec<_> = saved_half_monitored(dir.path()).into_iter().collect();
    assert_eq!(sessions, [("s".into(), true), ("t".into(), false)]);
}
