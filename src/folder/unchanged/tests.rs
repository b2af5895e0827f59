#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn moment(wall: i64, boot: u64) -> ScanTime {
    ScanTime {
        wall: Timestamp::from_nanos(wall),
        boot: Duration::from_nanos(boot),
    }
}

#[test]
fn a_directory_of_an_unknown_file_system_never_holds() {
    let proc = std::fs::File::open("/proc/self/fd").unwrap();
    let fd = std::os::fd::AsFd::as_fd(&proc);
    let clock = Clock::system();
    let listed = Listed::before(fd, &clock).unwrap();
    let later = moment(i64::MAX / 2, 0);
    let stamp = DirectoryStamp::default();
    let same = Listed {
        stamp,
        at: later,
        ..listed
    };
    assert!(!same.is_reliable && !same.holds(&stamp, &later));
    let reliable = Listed {
        is_reliable: true,
        ..same
    };
    assert!(reliable.holds(&stamp, &later));
    let after = |span: Duration| ScanTime {
        wall: later.wall.plus(span),
        boot: later.boot + span,
    };
    let almost = HOLDS_FOR - Duration::from_secs(1);
    assert!(reliable.holds(&stamp, &after(almost)));
    assert!(!reliable.holds(&stamp, &after(HOLDS_FOR)), "too old");
}

#[test]
fn a_step_of_the_wall_clock_is_seen_in_both_directions() {
    let second = 1_000_000_000;
    let at = moment(1_000 * second, 5 * second as u64);
    assert!(!at.is_before_a_step(&moment(1_060 * second, 65 * second as u64)));
    assert!(at.is_before_a_step(&moment(1_062 * second, 65 * second as u64)));
    assert!(at.is_before_a_step(&moment(1_058 * second, 65 * second as u64)));
}

proptest! {
    /// A model of a directory whose times are as coarse as those of a reliable file system can
    /// be (a second), on a machine whose wall clock is set once in a while: where the
    /// names are said to hold, they do.
    #[test]
    fn what_holds_is_unchanged(
        grain in prop_oneof![Just(1i64), Just(4_000_000), Just(1_000_000_000)],
        changes in proptest::collection::vec(0u64..10_000, 1..12),
        listed in 0u64..10_000,
        step in prop_oneof![Just((0u64, 0i64)), (0u64..10_000, -5_000i64..5_000)],
        checked in 0u64..10_000,
    ) {
        // All times in milliseconds since the boot.
        let wall = |boot: u64| {
            let (at, by) = step;
            let stepped = if boot >= at { by } else { 0 };
            (1_700_000_000_000 + boot as i64 + stepped) * 1_000_000
        };
        let stamp = |until: u64| {
            let last = changes.iter().filter(|at| **at < until).max();
            let time = last.map_or(0, |at| wall(*at) / grain * grain);
            let time = Timestamp::from_nanos(time);
            DirectoryStamp { device: 1, inode: 2, modified: time, changed: time }
        };
        let checked = listed + checked;
        let before = Listed {
            stamp: stamp(listed),
            at: moment(wall(listed), listed * 1_000_000),
            is_reliable: true,
        };
        let now = moment(wall(checked), checked * 1_000_000);
        if before.holds(&stamp(checked), &now) {
            let between = changes.iter().filter(|at| (listed..checked).contains(*at)).count();
            prop_assert_eq!(between, 0);
        }
    }
}
