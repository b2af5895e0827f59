use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(minutes: u32) -> Timestamp {
    Timestamp::from_secs(1_800_000_000).plus(MINUTE * minutes)
}

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn a_clock_that_was_set_is_noticed() {
    let day = 24 * 60;
    let (dir, store) = open();
    let since = |minute: u32, passed: Option<u32>| {
        let since = store
            .clock()
            .runs_since(at(minute), passed.map(|minutes| MINUTE * minutes))
            .unwrap();
        (at(0).until(since).as_secs() / 60) as u32
    };
    assert_eq!(since(100 * day, None), 100 * day, "nothing is known before");
    assert_eq!(since(100 * day + 10, Some(10)), 100 * day);
    assert_eq!(
        since(100 * day + 70, Some(10)),
        100 * day,
        "an hour is none"
    );
    // Set ahead, and back.
    assert_eq!(since(190 * day, Some(10)), 190 * day);
    assert_eq!(since(190 * day + 10, Some(10)), 190 * day);
    assert_eq!(
        since(101 * day, Some(10)),
        101 * day,
        "nothing is held up until then"
    );
    // Weeks of uptime under a pause are no leap; nor is a restart; weeks of absence may be.
    assert_eq!(since(131 * day, Some(30 * day)), 101 * day);
    assert_eq!(since(132 * day, None), 101 * day);
    assert_eq!(since(134 * day, None), 134 * day);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let again = store.clock().runs_since(at(134 * day + 5), None).unwrap();
    assert_eq!(again, at(134 * day), "it is on disk");
}
