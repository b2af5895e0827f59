use log_tailer::Statistics;
use std::collections::BTreeSet;

use super::*;

fn checkpoint(ino: u64) -> Checkpoint {
    Checkpoint {
        state: FileState::Live,
        id: FileId { dev: u64::MAX, ino },
        path: "/l/a.log.1".into(),
        origin: "/l/a.log".into(),
        offset: 77,
        skipping: true,
        head: Fingerprint {
            len: 256,
            hash: u64::MAX,
        },
        tail: Fingerprint { len: 3, hash: 5 },
        since: Timestamp::from_secs(9).into(),
    }
}

#[test]
fn what_is_committed_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::open(dir.path()).unwrap();
    assert!(
        LogStore::open(dir.path())
            .unwrap_err()
            .contains("another baileys_exporter")
    );
    let changes = Changes {
        files: vec![(1, checkpoint(1)), (2, checkpoint(2))],
        globs: vec!["/l/*".into()],
        looked_at: Some(Timestamp::from_secs(4).into()),
        statistics: Some(Statistics {
            overlong: 5,
            ..Statistics::default()
        }),
        ..Changes::default()
    };
    let program = |name: &str| Program {
        dir: "/l".into(),
        name: name.to_owned(),
    };
    let gone = Timestamp::from_secs(8);
    let unsaved = Unsaved {
        counts: CountChanges {
            counts: vec![("s".into(), "n".into(), 3), ("t".into(), "n".into(), 4)],
            gone: Vec::new(),
        },
        sessions: vec![
            ("a".into(), Some(None)),
            ("b".into(), Some(None)),
            ("c".into(), Some(Some(gone))),
        ],
        bots: vec![program("x"), program("")],
    };
    store.commit(&changes, &unsaved).unwrap();
    store
        .commit(
            &Changes {
                gone: vec![2],
                ..Changes::default()
            },
            &Unsaved {
                counts: CountChanges {
                    counts: Vec::new(),
                    gone: vec!["t".into()],
                },
                sessions: vec![("b".into(), None)],
                bots: vec![program("x")],
            },
        )
        .unwrap();
    drop(store);
    let SavedLogs {
        tailer,
        counts,
        sessions,
        bots,
    } = LogStore::open(dir.path()).unwrap().load().unwrap();
    assert_eq!(counts.len(), 5, "s, and the four totals");
    assert_eq!(
        sessions,
        BTreeMap::from([(Arc::from("a"), None), (Arc::from("c"), Some(gone))])
    );
    assert_eq!(bots, BTreeSet::from([program("x"), program("")]));
    assert_eq!(tailer.files, [(1, checkpoint(1))]);
    assert_eq!(counts[&("s".into(), "n".into())], 3);
    assert_eq!(tailer.globs, BTreeSet::from(["/l/*".to_owned()]));
    assert_eq!(tailer.looked_at, Some(Timestamp::from_secs(4).into()));
    assert_eq!(tailer.statistics.overlong, 5);
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "other users have no access");
    }
}

#[test]
fn a_database_of_the_first_schema_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::open(dir.path()).unwrap();
    let unsaved = Unsaved {
        counts: CountChanges {
            counts: vec![("s".into(), "lines".into(), 3)],
            gone: Vec::new(),
        },
        ..Unsaved::default()
    };
    let in_rows = Changes {
        gone: vec![1],
        ..Changes::default()
    };
    store.commit(&in_rows, &unsaved).unwrap();
    store
        .db
        .execute_batch(
            "DROP TABLE recent; DROP TABLE sessions; DROP TABLE bots; PRAGMA user_version = 1",
        )
        .unwrap();
    drop(store);
    let saved = LogStore::open(dir.path()).unwrap().load().unwrap();
    assert_eq!(saved.counts[&("s".into(), "lines".into())], 3);
    assert!(saved.sessions.is_empty() && saved.bots.is_empty());
}

#[test]
fn a_damaged_database_and_a_newer_one_are_distinguished() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join(FILE),
        "this is not a database, not at all, not even nearly",
    )
    .unwrap();
    assert!(
        LogStore::open(dir.path())
            .unwrap_err()
            .contains("move it away")
    );
    let dir = tempfile::tempdir().unwrap();
    drop(LogStore::open(dir.path()).unwrap());
    Connection::open(dir.path().join(FILE))
        .unwrap()
        .pragma_update(None, "user_version", 9)
        .unwrap();
    assert!(
        LogStore::open(dir.path())
            .unwrap_err()
            .contains("newer version")
    );
    assert!(
        LogStore::open(Path::new("/proc/nothing/here"))
            .unwrap_err()
            .contains("--logs.state-path")
    );
}
