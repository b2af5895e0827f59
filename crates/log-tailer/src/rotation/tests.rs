use super::*;
use clock::ManualClock;

#[test]
fn what_rotations_are_called() {
    for (name, of, is) in [
        ("a-out.log.1", "a-out.log", true),
        ("a-out.log.12.gz", "a-out.log", true),
        ("a-out.log.gz", "a-out.log", true),
        ("a-out.log-20260101", "a-out.log", true),
        ("a-out__2026-01-01_00-00-00.log", "a-out.log", true),
        ("a-out__2026-01-01_00-00-00.log.gz", "a-out.log", true),
        ("a-out-2026-01-01T00:00:00Z.log", "a-out.log", true),
        ("a-out.log.old", "a-out.log", true),
        ("a-out.1.log", "a-out.log", true),
        ("a-out.log", "a-out.log", false),
        ("a-out1.log", "a-out.log", false),
        ("bot10.log", "bot1.log", false),
        ("company_962303.log", "company_962302.log", false),
        ("a-out-extra.log", "a-out.log", false),
        ("a-error.log.1", "a-out.log", false),
        ("a-out.log.tmp", "a-out.log", false),
        // What logrotate writes with `extension .log`, and the dates of other loggers.
        ("a-out-20260101.log", "a-out.log", true),
        ("a-out-2026010107.log", "a-out.log", true),
        ("a-out-20260101-1767225600.log", "a-out.log", true),
        ("a-out.2026-01-01.log", "a-out.log", true),
        ("a-out.old.log", "a-out.log", true),
        ("a-out__01-02-2026.log", "a-out.log", true),
        ("a-out.log-1767225600", "a-out.log", true),
        ("wa.1", "wa", true),
        ("wa-20260101", "wa", true),
        ("wa-20260101.gz", "wa", true),
        // Logs of other bots, and of other processes of the same name under pm2.
        ("company_962302.log", "company.log", false),
        ("wa-1.log", "wa.log", false),
        ("wa-1.log.1", "wa.log", false),
        ("wa-1.log.gz", "wa.log", false),
        ("wa_2.log", "wa.log", false),
        ("wa-old.log", "wa.log", false),
        ("wa-79151112233.log", "wa.log", false),
        ("wa-201501230567.log", "wa.log", false),
        ("wa-2026.log", "wa.log", false),
        ("wa-20261301.log", "wa.log", false),
        ("wa-2026-13.log", "wa.log", false),
        ("a-out-0.log", "a-out.log", false),
        ("wa_962302", "wa", false),
        ("wa-1", "wa", false),
    ] {
        assert_eq!(is_rotation_of(name, of), is, "{name} of {of}");
    }
}

/// A file that is renamed during the listing does not count as gone.
#[test]
fn a_directory_that_changes_is_not_taken_for_listed() {
    const FILES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let (log, relaxed) = (
        dir.path().join("a.log"),
        std::sync::atomic::Ordering::Relaxed,
    );
    let name = |n: usize| dir.path().join(format!("a.log.{n}"));
    for n in 1..=FILES {
        std::fs::write(name(n), "x").unwrap();
    }
    let later = ManualClock::new(SystemTime::now() + TICKS * 2);
    let all = RotationIndex::new(later.clock())
        .rotations(&log)
        .unwrap()
        .clone();
    assert_eq!((all.files.len(), all.complete), (FILES, true));
    let (stop, shifts) = (
        std::sync::atomic::AtomicBool::new(false),
        std::sync::atomic::AtomicUsize::new(0),
    );
    let (mut whole, mut parts) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As logrotate does it; then back again, and a pause.
            while !stop.load(relaxed) {
                (1..=FILES)
                    .rev()
                    .for_each(|n| std::fs::rename(name(n), name(n + 1)).unwrap());
                (1..=FILES).for_each(|n| std::fs::rename(name(n + 1), name(n)).unwrap());
                shifts.fetch_add(1, relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let end = std::time::Instant::now() + Duration::from_secs(60);
        // The scheduler may prevent either now and then.
        while (whole < 50 || parts < 50 || shifts.load(relaxed) < 20)
            && std::time::Instant::now() < end
        {
            let beside = RotationIndex::new(Clock::system())
                .rotations(&log)
                .unwrap()
                .clone();
            match beside.complete {
                true if beside.files.len() != FILES => {
                    stop.store(true, relaxed);
                    panic!("{} of {FILES} files are taken for all", beside.files.len());
                }
                true => whole += 1,
                false => parts += 1,
            }
        }
        stop.store(true, relaxed);
    });
    assert!(
        whole > 0 && shifts.load(relaxed) >= 20,
        "{whole} whole, {parts} parts, {shifts:?} shifts"
    );
}

/// Other files beside a log come and go. That hides no rotation, and does not cost one listing for
/// each log.
#[test]
fn what_changes_beside_a_log_is_no_matter() {
    let dir = tempfile::tempdir().unwrap();
    let (stop, relaxed) = (
        std::sync::atomic::AtomicBool::new(false),
        std::sync::atomic::Ordering::Relaxed,
    );
    std::fs::write(dir.path().join("a.log.1"), "x").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(relaxed) {
                std::fs::write(dir.path().join("elsewhere"), "x").unwrap();
                std::fs::remove_file(dir.path().join("elsewhere")).unwrap();
            }
        });
        let (mut index, before) = (RotationIndex::new(Clock::system()), LISTED.get());
        let asked: Vec<Rotations> = (0..200)
            .map(|n| {
                let log = dir.path().join(if n == 0 {
                    "a.log".to_owned()
                } else {
                    format!("b{n}.log")
                });
                index.rotations(&log).unwrap().clone()
            })
            .collect();
        stop.store(true, relaxed);
        assert_eq!((asked[0].files.len(), asked[0].complete), (1, true));
        assert!(
            LISTED.get() - before <= LISTINGS_IN_ALL,
            "{} listings",
            LISTED.get() - before
        );
    });
}

/// A directory is listed again for another log: the earlier result for this log is outdated.
#[test]
fn what_was_found_before_the_last_listing_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let rested = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    let rest = |seconds| {
        let dir = std::fs::File::open(dir.path()).unwrap();
        dir.set_modified(rested(seconds)).unwrap();
    };
    let mut index = RotationIndex::new(Clock::system());
    let mut beside = |name: &str| {
        let found = index.rotations(&at(name)).unwrap();
        (found.files.len(), found.complete)
    };
    std::fs::write(at("a.log.1"), "").unwrap();
    rest(60);
    assert_eq!(beside("a.log"), (1, true));
    std::fs::write(at("a.log.2"), "").unwrap();
    rest(30);
    assert_eq!(beside("b.log"), (0, true));
    assert_eq!(beside("a.log"), (2, true));
}
