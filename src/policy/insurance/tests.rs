use super::*;
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(86_400);
const A: Identity = Identity::from_number(1);
const B: Identity = Identity::from_number(2);

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + minutes * 60)
}

fn copy(number: u64, identity: Identity, minutes: i64) -> CopyFacts {
    CopyFacts {
        number,
        identity,
        taken: at(minutes),
        seen: at(minutes),
    }
}

/// Takes a copy every ten minutes and keeps what is kept.
fn run(minutes: std::ops::RangeInclusive<i64>, keep: &Keep) -> Vec<i64> {
    let mut copies: Vec<CopyFacts> = Vec::new();
    for (number, minute) in minutes.step_by(10).enumerate() {
        copies.push(copy(number as u64, A, minute));
        let gone = surplus(&copies, Holds::Identity(A), at(minute), keep);
        copies.retain(|c| !gone.crowded.contains(&c.number) && !gone.aged.contains(&c.number));
    }
    copies
        .iter()
        .rev()
        .map(|c| (c.taken.nanos() - at(0).nanos()) / 60_000_000_000)
        .collect()
}

#[test]
fn a_busy_bot_keeps_the_newest_and_some_days() {
    let keep = Keep::default();
    assert_eq!(
        run(0..=20, &keep),
        [20, 10, 0],
        "the first three as they come"
    );
    assert_eq!(run(0..=600, &keep), [600, 10, 0]);
    for end in [3_000, 14_400, 40_000] {
        let kept = run(0..=end, &keep);
        assert_eq!((kept.len(), kept[0]), (3, end));
        let ages: Vec<i64> = kept.iter().map(|minute| end - minute).collect();
        assert!(
            ages[2] - ages[1] >= 1_440 && ages[2] <= 2 * 1_440 + 20,
            "{ages:?}"
        );
    }
    assert_eq!(
        run(
            0..=9_000,
            &Keep {
                per_identity: 1,
                ..keep
            }
        ),
        [9_000]
    );
    assert_eq!(
        run(
            0..=9_000,
            &Keep {
                per_identity: 2,
                ..keep
            }
        )
        .len(),
        2
    );
}

#[test]
fn ten_writes_of_a_new_identity_push_nothing_out() {
    let mut copies: Vec<CopyFacts> = (0..3).map(|n| copy(n, A, n as i64)).collect();
    copies.extend((3..13).map(|n| copy(n, B, n as i64)));
    let gone = surplus(&copies, Holds::Identity(B), at(20), &Keep::default());
    assert!(gone.crowded.iter().all(|number| *number >= 3), "{gone:?}");
    assert_eq!((gone.crowded.len(), gone.aged.len()), (7, 0));
}

#[test]
fn a_quiet_bot_keeps_its_insurance() {
    let copies = [copy(1, A, 0), copy(2, A, 5)];
    let late = at(0).plus(DAY * 400);
    let aged = |holds| surplus(&copies, holds, late, &Keep::default()).aged;
    assert_eq!(aged(Holds::Identity(A)), BTreeSet::from([1]));
    assert_eq!(
        aged(Holds::NoLogin),
        BTreeSet::new(),
        "it may be needed now"
    );
    assert_eq!(aged(Holds::Identity(B)), BTreeSet::from([1, 2]));
    assert_eq!(aged(Holds::NoSession), BTreeSet::from([1, 2]));
}

#[test]
fn the_identity_that_was_seen_last_counts_and_then_the_newest_copy() {
    let copy = |number, identity, seen| CopyFacts {
        number,
        identity,
        taken: at(0),
        seen: at(seen),
    };
    assert_eq!(seen_last([]), None);
    assert_eq!(seen_last([copy(1, A, 9), copy(2, B, 8)]), Some(A));
    assert_eq!(seen_last([copy(1, A, 9), copy(2, B, 9)]), Some(B));
    let older = copy(1, A, 1);
    assert_eq!(seen_last([older, copy(3, A, 9), copy(2, B, 8)]), Some(A));
}

fn copies() -> impl Strategy<Value = Vec<CopyFacts>> {
    let one = (0u64..4, -100_000i64..100_000, 0i64..100_000);
    proptest::collection::vec(one, 0..40).prop_map(|raw| {
        let kept = raw
            .into_iter()
            .enumerate()
            .map(|(number, (identity, taken, seen))| CopyFacts {
                number: number as u64,
                identity: Identity::from_number(identity),
                taken: at(taken),
                seen: at(taken + seen),
            });
        kept.collect()
    })
}

fn holds() -> impl Strategy<Value = Holds> {
    prop_oneof![
        (0u64..5).prop_map(|id| Holds::Identity(Identity::from_number(id))),
        Just(Holds::NoLogin),
        Just(Holds::NoSession)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]
    #[test]
    fn what_must_hold(copies in copies(), holds in holds(), minutes in -200_000i64..300_000, most in 0usize..6, days in 1u32..60) {
        let keep = Keep { per_identity: most, keep_for: DAY * days };
        let now = at(minutes);
        let gone = surplus(&copies, holds, now, &keep);
        prop_assert!(gone.crowded.is_disjoint(&gone.aged));
        for copy in &copies {
            let (crowded, aged) = (gone.crowded.contains(&copy.number), gone.aged.contains(&copy.number));
            let same: Vec<&CopyFacts> = copies.iter().filter(|c| c.identity == copy.identity).collect();
            let is_newest = same.iter().all(|c| c.number <= copy.number);
            prop_assert!(!(crowded && is_newest), "the newest is never crowded out");
            prop_assert!(!aged || copy.seen.until(now) > keep.keep_for, "too young to go");
            prop_assert!(!(aged && holds == Holds::NoLogin));
            prop_assert!(!(aged && is_newest && holds == Holds::Identity(copy.identity)));
            // The others change nothing.
            let alone: Vec<CopyFacts> = same.iter().map(|c| **c).collect();
            let of_alone = surplus(&alone, holds, now, &keep);
            prop_assert_eq!(of_alone.crowded.contains(&copy.number), crowded);
            prop_assert_eq!(of_alone.aged.contains(&copy.number), aged);
            let left = same.iter().filter(|c| !gone.crowded.contains(&c.number)).count();
            prop_assert!(left <= most.max(1));
            prop_assert!(left == same.len() || left == most.max(1), "no more go than must");
        }
    }

    #[test]
    fn a_restore_never_loses_a_newer_login(own in known(), copy in known(), last in proptest::option::of(known())) {
        let allowed = may_restore(Present::LoggedIn(own), &copy, last.as_ref()).is_ok();
        let older = (own.next_pre_key_id < copy.next_pre_key_id && own.written <= copy.written)
            || (own.next_pre_key_id == copy.next_pre_key_id && own.written < copy.written);
        let same = own.identity == copy.identity && own.registration_id == copy.registration_id;
        prop_assert_eq!(allowed, same && older);
        prop_assert!(may_restore(Present::LoggedInUnknown, &copy, last.as_ref()).is_err());
        prop_assert!(may_restore(Present::Unreadable, &copy, last.as_ref()).is_err());
        for present in [Present::Unusable, Present::NotLoggedIn] {
            let fits = last.is_none_or(|l| l.identity == copy.identity && l.registration_id == copy.registration_id);
            prop_assert_eq!(may_restore(present, &copy, last.as_ref()).is_ok(), fits);
        }
    }
}

fn known() -> impl Strategy<Value = Known> {
    (0u64..2, 0u64..2, 30u32..33, 0i64..3).prop_map(|(identity, registration, next, minutes)| {
        Known {
            identity: Identity::from_number(identity),
            registration_id: Some(registration),
            next_pre_key_id: next,
            written: at(minutes),
        }
    })
}
