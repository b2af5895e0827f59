use super::*;
use crate::remediator::store::tests::{minutes as at, open};

const MINUTE: Duration = Duration::from_secs(60);

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
    // Weeks of uptime under a pause are not a step, nor is a restart; weeks of downtime may be.
    assert_eq!(since(131 * day, Some(30 * day)), 101 * day);
    assert_eq!(since(132 * day, None), 101 * day);
    assert_eq!(since(134 * day, None), 134 * day);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let again = store.clock().runs_since(at(134 * day + 5), None).unwrap();
    assert_eq!(again, at(134 * day), "it is on disk");
}

#[test]
fn a_step_between_two_programs_is_found_and_remembered() {
    let start = SystemTime::from(at(0));
    let hour = MINUTE * 60;
    let (dir, store) = open();
    let serve = clock::ManualClock::new(start);
    store.clock().share_steps(&serve.clock()).unwrap();
    assert_eq!(serve.clock().steady_for(), None);
    // A command after the clock was set, and one after that which sees no step itself.
    for passed in [MINUTE, MINUTE * 2] {
        let command = clock::ManualClock::new(start + hour);
        command.advance(passed);
        let store = Store::open(dir.path()).unwrap();
        store.clock().share_steps(&command.clock()).unwrap();
        let steady = command.clock().steady_for();
        assert_eq!(steady, Some(passed - MINUTE));
    }
    // `serve` loads it, and two that agree write nothing.
    serve.set_wall(start + hour);
    serve.advance(MINUTE * 3);
    store.clock().share_steps(&serve.clock()).unwrap();
    assert!(serve.clock().steady_for().is_some());
    let changes = store.db.changes();
    for _ in 0..3 {
        store.clock().share_steps(&serve.clock()).unwrap();
    }
    assert_eq!(store.db.changes(), changes);
    // After another boot there are no steps.
    store
        .db
        .execute("UPDATE clock_steps SET boot = boot + 1", [])
        .unwrap();
    let booted = clock::ManualClock::new(start);
    store.clock().share_steps(&booted.clock()).unwrap();
    assert_eq!(booted.clock().steady_for(), None);
}

/// Minutes of the steady clock. `boot` and `up` (minutes since then) give the time; the wall clock
/// shows anything.
fn steady(store: &Store, boot: u64, up: u32, marked: bool) -> u64 {
    let now = Moment {
        wall: at(up ^ 0x55),
        boot,
        since_boot: MINUTE * up,
    };
    let steady = match marked {
        true => Steady::mark(&store.db, now),
        false => Steady::at(&store.db, now),
    };
    steady.unwrap().since(Steady(0)).as_secs() / 60
}

#[test]
fn the_steady_clock_goes_on_over_a_boot_and_never_back() {
    let (dir, store) = open();
    assert_eq!(steady(&store, 7, 100, false), 100, "nothing is on record");
    assert_eq!(steady(&store, 7, 100, true), 100);
    assert_eq!(steady(&store, 7, 160, false), 160);
    assert_eq!(steady(&store, 7, 160, true), 160);
    assert_eq!(
        steady(&store, 7, 150, true),
        160,
        "read first, written later"
    );
    assert_eq!(steady(&store, 7, 170, true), 170);
    drop(store);
    // After a boot it continues from there; before the first save it stands still.
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(steady(&store, 8, 1, false), 170);
    assert_eq!(steady(&store, 8, 5, true), 170);
    assert_eq!(steady(&store, 8, 65, false), 230);
    // A longer uptime than that of the boot before.
    assert_eq!(steady(&store, 9, 1_000, true), 170);
    assert_eq!(steady(&store, 9, 1_001, true), 171);
    // If the kernel names no boot, an earlier time belongs to another boot.
    for (up, expected) in [(500, 171), (501, 172), (3, 172), (4, 173)] {
        assert_eq!(steady(&store, UNKNOWN_BOOT, up, true), expected, "{up}");
    }
}

#[test]
fn the_steady_clock_is_put_on_record_after_a_boot_and_then_seldom() {
    let (_dir, store) = open();
    let clock = clock::ManualClock::new(at(0).into());
    let seen = || SteadyClock::read(&store.db).unwrap().unwrap().seen;
    store.clock().share_steps(&clock.clock()).unwrap();
    let first = seen();
    clock.advance(MINUTE * 4);
    store.clock().share_steps(&clock.clock()).unwrap();
    assert_eq!(seen(), first);
    clock.advance(MINUTE);
    store.clock().share_steps(&clock.clock()).unwrap();
    assert_eq!(seen().since(first), MINUTE * 5);
    let other_boot = "UPDATE steady_clock SET boot = boot + 1";
    store.db.execute(other_boot, []).unwrap();
    clock.advance(MINUTE);
    store.clock().share_steps(&clock.clock()).unwrap();
    assert_eq!(seen().since(first), MINUTE * 5, "continues from there");
    assert_eq!(
        SteadyClock::read(&store.db).unwrap().unwrap().boot,
        boot_id()
    );
}
