//! Many logs at once.

use super::*;

/// Every log of a fleet is rotated at midnight.
#[test]
fn many_logs_emptied_at_once_list_their_directory_a_few_times() {
    const LOGS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let path = |k: usize| dir.path().join(format!("a-out-{k}.log"));
    for k in 0..LOGS {
        std::fs::write(path(k), lines("a", 0..10)).unwrap();
    }
    let (mut follower, clock) = follower(dir.path(), Saved::default(), LOGS);
    follower.sweep();
    for turn in 1..=2 {
        for k in 0..LOGS {
            let mut log = File::options().append(true).open(path(k)).unwrap();
            log.write_all(&lines("a", 10..13)).unwrap();
            std::fs::copy(path(k), dir.path().join(format!("a-out-{k}.log.{turn}"))).unwrap();
            std::fs::write(path(k), lines("a", 100 * turn..100 * turn + 10)).unwrap();
        }
        // A directory that changed just now may change again within the same tick.
        clock.advance(Duration::from_secs(1));
        let before = LISTED.get();
        follower.sweep();
        assert_eq!(
            counted(&follower),
            10 * LOGS as u64 + u64::from(turn) * 13 * LOGS as u64
        );
        let listed = LISTED.get() - before;
        assert!(
            listed <= 4,
            "{LOGS} logs were truncated, and their directory listed {listed} times"
        );
    }
    // While files beside them are renamed, the directory is not listed for each log either.
    for k in 0..LOGS {
        std::fs::copy(path(k), dir.path().join(format!("a-out-{k}.log.3"))).unwrap();
        std::fs::write(path(k), lines("a", 900..905)).unwrap();
    }
    let (stop, relaxed) = (
        std::sync::atomic::AtomicBool::new(false),
        std::sync::atomic::Ordering::Relaxed,
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(relaxed) {
                std::fs::write(dir.path().join("b"), "x").unwrap();
                std::fs::remove_file(dir.path().join("b")).unwrap();
            }
        });
        let before = LISTED.get();
        follower.sweep();
        stop.store(true, relaxed);
        let listed = LISTED.get() - before;
        assert!(
            listed < LOGS as u32,
            "{LOGS} logs were truncated, and their directory listed {listed} times"
        );
    });
    sweeps(&mut follower, 3);
    assert_eq!(counted(&follower), LOGS as u64 * (10 + 2 * 13 + 5));
    assert_eq!(follower.statistics.copies_missing, 0);
}

#[test]
fn many_new_logs_list_their_directory_a_few_times() {
    const LOGS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let path = |k: usize| dir.path().join(format!("a-out-{k}.log"));
    for k in 0..LOGS {
        std::fs::write(path(k), lines("a", 0..10)).unwrap();
    }
    let (mut follower, clock) = follower(dir.path(), Saved::default(), LOGS);
    follower.sweep();
    for k in 0..LOGS {
        std::fs::rename(path(k), dir.path().join(format!("a-out-{k}.log.1"))).unwrap();
        std::fs::write(path(k), lines("a", 10..13)).unwrap();
    }
    clock.advance(Duration::from_secs(1));
    let before = LISTED.get();
    follower.sweep();
    assert_eq!(counted(&follower), 13 * LOGS as u64);
    let listed = LISTED.get() - before;
    assert!(
        listed <= 4,
        "{LOGS} logs appeared, and their directory was listed {listed} times"
    );
}
