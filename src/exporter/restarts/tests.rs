use proptest::prelude::*;

use super::*;

/// What one look saw: the process that runs, and the count of its supervisor.
type MarkAndCount = (Option<&'static str>, Option<u64>);

fn look<'a>(
    second: i64,
    source: &'a str,
    (mark, restarts): (Option<&'a str>, Option<u64>),
) -> ProcessLook<'a> {
    ProcessLook {
        at: Timestamp::from_secs(second),
        source,
        mark,
        restarts,
    }
}

/// The counter after each of these looks, 30 seconds apart.
fn counts(seen: &[MarkAndCount]) -> Vec<u64> {
    let mut counter = None;
    let mut count = |(index, seen): (usize, &MarkAndCount)| {
        let at = 30 * i64::try_from(index).unwrap();
        counter = counted(counter.take(), Some(&look(at, "pm2", *seen)));
        counter.as_ref().unwrap().restarts()
    };
    seen.iter().enumerate().map(&mut count).collect()
}

const A: Option<&str> = Some("7 100 boot");
const B: Option<&str> = Some("7 200 boot");
const C: Option<&str> = Some("9 300 boot");

/// The fault that this is for: no look sees the process.
#[test]
fn a_process_that_no_look_sees_is_counted_by_its_supervisor() {
    let seen = [
        (A, Some(3)),
        (None, Some(20)),
        (None, Some(41)),
        (None, Some(41)),
    ];
    assert_eq!(counts(&seen), [0, 17, 38, 38]);
    // The exporter started in the middle of it: the first look is only a base.
    assert_eq!(counts(&[(None, Some(20)), (None, Some(41))]), [0, 21]);
}

#[test]
fn a_restart_counts_once_however_it_is_seen() {
    for (seen, expected) in [
        // By both at one look.
        (vec![(A, Some(0)), (B, Some(1))], 1),
        // The supervisor counts it before the new process is seen.
        (vec![(A, Some(0)), (None, Some(1)), (B, Some(1))], 1),
        (
            vec![
                (A, Some(0)),
                (None, Some(1)),
                (None, Some(1)),
                (B, Some(1)),
                (B, Some(1)),
            ],
            1,
        ),
        // A person restarts it: systemd does not count that, and begins at 0 again.
        (vec![(A, Some(4)), (B, Some(4))], 1),
        (vec![(A, Some(4)), (B, Some(0)), (B, Some(0))], 1),
        // First by the supervisor, then by a person.
        (vec![(A, Some(0)), (B, Some(1)), (C, Some(0))], 2),
        // No supervisor tells.
        (vec![(A, None), (B, None), (None, None), (C, None)], 2),
        // It tells at some looks only.
        (vec![(A, Some(0)), (B, None), (B, Some(1))], 1),
        (vec![(A, Some(0)), (B, None), (C, Some(2))], 2),
        (vec![(A, Some(0)), (None, None), (B, Some(1))], 1),
    ] {
        let last = counts(&seen).pop().unwrap();
        assert_eq!(last, expected, "{seen:?}");
    }
}

/// `pm2 reset`, `pm2 delete`, or another container of the same name.
#[test]
fn a_count_that_went_back_begins_again() {
    let seen = [
        (A, Some(40)),
        (A, Some(0)),
        (A, Some(0)),
        (B, Some(1)),
        (None, Some(5)),
    ];
    assert_eq!(counts(&seen), [0, 0, 0, 1, 5]);
    // It grew before it was seen: only what follows is known.
    assert_eq!(
        counts(&[(A, Some(40)), (None, Some(7)), (None, Some(9))]),
        [0, 0, 2]
    );
}

/// Of several processes of one name one ends, and comes back.
#[test]
fn one_of_several_processes_counts_once() {
    let both = Some("7 100 8 100 boot");
    let later = Some("7 100 8 200 boot");
    for restarts in [
        [None, None, None],
        [Some(0), Some(0), Some(1)],
        [Some(0), Some(1), Some(1)],
    ] {
        let seen = [(both, restarts[0]), (A, restarts[1]), (later, restarts[2])];
        assert_eq!(counts(&seen).pop(), Some(1), "{restarts:?}");
    }
}

#[test]
fn a_count_of_another_supervisor_or_of_long_ago_is_only_a_base() {
    let after = |second, source| {
        let before = counted(None, Some(&look(0, "pm2", (None, Some(3)))));
        let after = counted(before, Some(&look(second, source, (None, Some(50)))));
        after.unwrap().restarts()
    };
    assert_eq!(after(600, "pm2"), 47);
    assert_eq!(after(601, "pm2"), 0);
    assert_eq!(after(30, "systemd"), 0);
}

#[test]
fn a_look_that_ended_late_does_not_count() {
    let mut counter = counted(None, Some(&look(0, "pm2", (A, Some(3)))));
    counter = counted(counter, Some(&look(60, "pm2", (B, Some(4)))));
    counter = counted(counter, Some(&look(30, "pm2", (A, Some(3)))));
    counter = counted(counter, None);
    counter = counted(counter, Some(&look(90, "pm2", (B, Some(4)))));
    assert_eq!(counter.unwrap().restarts(), 1);
}

/// What may happen to a process, between looks at it.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Ends,
    /// It ends, and docker counts the restart that follows already.
    EndsCounted,
    /// Its supervisor restarts it.
    Restarts,
    /// A person starts or restarts it. pm2 counts that, systemd begins at 0, and docker too.
    ByHand {
        is_counted: bool,
        begins_again: bool,
    },
    /// A person lets the supervisor count from 0 again.
    Resets,
    /// `shows`: whether the supervisor's count is in the answer.
    Look {
        shows: bool,
    },
    /// The supervisor does not answer.
    BlindLook,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        1 => Just(Happens::Ends),
        1 => Just(Happens::EndsCounted),
        4 => Just(Happens::Restarts),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(is_counted, begins_again)| Happens::ByHand {
            is_counted,
            begins_again: begins_again && !is_counted,
        }),
        1 => Just(Happens::Resets),
        4 => prop::bool::weighted(0.8).prop_map(|shows| Happens::Look { shows }),
        1 => Just(Happens::BlindLook),
    ]
}

proptest! {
    /// Never more than happened, never less than the processes that were seen, and exactly what
    /// happened where the supervisor counts all and always tells.
    #[test]
    fn no_restart_counts_twice(story in prop::collection::vec(happens(), 0..60)) {
        let (mut process, mut runs, mut number) = (0_u64, true, 5_u64);
        let (mut happened, mut others, mut last_seen) = (0_u64, 0_u64, None);
        let mut counter: Option<RestartCounter> = None;
        let mut shown = 0;
        let mut is_due = false;
        let is_complete = !story.iter().any(|what| {
            matches!(
                what,
                Happens::ByHand { .. } | Happens::Resets | Happens::Look { shows: false }
            )
        });
        let end = [Happens::Look { shows: true }];
        for (at, what) in (0_i64..).zip(story.iter().chain(&end)) {
            let begun = u64::from(counter.is_some());
            match *what {
                Happens::Ends => runs = false,
                Happens::EndsCounted if runs => {
                    (runs, number, is_due) = (false, number + 1, true);
                    happened += begun;
                }
                Happens::EndsCounted => {}
                Happens::Restarts if is_due => {
                    (process, runs, is_due) = (process + 1, true, false);
                }
                Happens::Restarts => {
                    (process, runs, number) = (process + 1, true, number + 1);
                    happened += begun;
                }
                Happens::ByHand { is_counted, begins_again } => {
                    (process, runs, is_due) = (process + 1, true, false);
                    number = if begins_again { 0 } else { number + u64::from(is_counted) };
                    happened += begun;
                }
                Happens::Resets => number = 0,
                Happens::BlindLook => counter = counted(counter, None),
                Happens::Look { shows } => {
                    let mark = runs.then(|| format!("7 {process} boot"));
                    if let Some(mark) = &mark {
                        others += u64::from(last_seen.replace(mark.clone()).is_some_and(|last| last != *mark));
                    }
                    let seen = (mark.as_deref(), shows.then_some(number));
                    counter = counted(counter, Some(&look(at, "pm2", seen)));
                    let now = counter.as_ref().unwrap().restarts();
                    prop_assert!(now >= shown, "it went back");
                    shown = now;
                }
            }
        }
        prop_assert!(shown <= happened, "{shown} of {happened}");
        prop_assert!(shown >= others, "{shown}, and {others} others were seen");
        if is_complete {
            prop_assert_eq!(shown, happened);
        }
    }
}
