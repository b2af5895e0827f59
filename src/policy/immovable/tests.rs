use super::*;
use crate::folder::{Creds, Entry, SessionActivity, Shape, Stamp, Timestamp};
use crate::policy::{CleanupMode, LeftOut, Move};
use proptest::prelude::*;

const NAMES: [&str; 9] = [
    "session-1.0.json",
    "session-1.0.json.bak",
    "session-2.0.json",
    "sender-key-g@g.us--9--0.json",
    "sender-key-g@g.us--8--0.json",
    "sender-key-memory-g@g.us.json",
    "sender-key-h@g.us--9--0.json",
    "sender-key-memory-h@g.us.json",
    "pre-key-1.json",
];

fn inventory() -> Inventory {
    let entries = NAMES.map(|name| Entry {
        name: FileName::new(name),
        shape: Shape::Regular,
        stamp: Stamp::default(),
        inside: SessionActivity::NotRead,
    });
    Inventory::new(entries.to_vec(), Creds::Missing)
}

fn plan() -> Plan {
    Plan {
        mode: CleanupMode::Cleanup,
        moves: NAMES
            .iter()
            .map(|name| Move {
                name: FileName::new(*name),
                stamp: Stamp {
                    modified: Timestamp::from_secs(1),
                    ..Stamp::default()
                },
            })
            .collect(),
        accumulated_before: 3,
        accumulated_after: 0,
        pre_keys_left: 0,
        left_out: LeftOut::new(),
    }
}

fn stays(immovable: &[&str]) -> Vec<String> {
    let set = immovable
        .iter()
        .map(|name| (FileName::new(*name), Immovable::Immutable))
        .collect();
    let left = without_immovable(plan(), &inventory(), &Limits::default(), &set);
    let gone: BTreeSet<FileName> = left.moves.into_iter().map(|planned| planned.name).collect();
    NAMES
        .iter()
        .filter(|name| !gone.contains(&FileName::new(**name)))
        .map(|name| (*name).to_owned())
        .collect()
}

#[test]
fn a_unit_and_its_partner_leave_the_plan_together() {
    assert_eq!(stays(&[]), Vec::<String>::new());
    assert_eq!(stays(&["session-1.0.json.bak"]), NAMES[..2]);
    assert_eq!(stays(&["session-2.0.json"]), NAMES[2..3]);
    // A sender key with its memory, both ways.
    for one in &NAMES[3..6] {
        assert_eq!(stays(&[one]), NAMES[3..6], "{one}");
    }
    assert_eq!(stays(&["pre-key-1.json"]), NAMES[8..]);
    // One that is not planned.
    assert_eq!(stays(&["pre-key-7.json"]), Vec::<String>::new());
}

#[test]
fn what_is_left_out_is_counted_by_reason_and_kind() {
    let set = BTreeMap::from([
        (FileName::new("session-1.0.json"), Immovable::Sticky),
        (
            FileName::new("sender-key-memory-h@g.us.json"),
            Immovable::Immutable,
        ),
    ]);
    let left = without_immovable(plan(), &inventory(), &Limits::default(), &set);
    let told: Vec<_> = left.left_out.into_iter().collect();
    assert_eq!(
        told,
        [
            ((Immovable::Immutable, Kind::SenderKeyMemory), 1),
            ((Immovable::Sticky, Kind::Session), 1),
            ((Immovable::Partner, Kind::Session), 1),
            ((Immovable::Partner, Kind::SenderKey), 1),
        ]
        .into_iter()
        .collect::<LeftOut>()
        .into_iter()
        .collect::<Vec<_>>()
    );
}

proptest! {
    /// It only ever keeps more, and never one of a pair.
    #[test]
    fn it_only_keeps_more(immovable in proptest::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len())) {
        let kept = stays(&immovable);
        for name in &immovable {
            prop_assert!(kept.iter().any(|kept| kept == name));
        }
        for group in [&NAMES[..2], &NAMES[3..6], &NAMES[6..8]] {
            let there = group.iter().filter(|name| kept.iter().any(|kept| kept == *name)).count();
            prop_assert!(there == 0 || there == group.len());
        }
    }
}
