use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn key(id: u32, first: i64, last: i64) -> Minted {
    Minted {
        id,
        first: Timestamp::from_nanos(first * SECOND),
        last: Timestamp::from_nanos(last * SECOND),
    }
}

/// The same by trying every span from every time.
fn largest_by_trying(minted: &[Minted]) -> usize {
    let in_window = |key: &Minted, id: u32, since: Timestamp| {
        (id..id + MODERN_BATCH).contains(&key.id)
            && key.first >= since
            && key.last <= since.plus(WITHIN)
    };
    let windows = minted
        .iter()
        .flat_map(|id| minted.iter().map(|since| (id.id, since.first)));
    windows
        .map(|(id, since)| {
            minted
                .iter()
                .filter(|key| in_window(key, id, since))
                .count()
        })
        .max()
        .unwrap_or(0)
}

fn keys() -> impl Strategy<Value = Vec<Minted>> {
    let one = (
        0u32..2500,
        0i64..600,
        prop_oneof![4 => Just(0i64), 1 => 0i64..200],
    );
    vec(one, 0..40).prop_map(|keys| {
        let by_id: std::collections::BTreeMap<u32, Minted> = keys
            .into_iter()
            .map(|(id, first, more)| (id, key(id, first, first + more)))
            .collect();
        by_id.into_values().collect()
    })
}

proptest! {
    #[test]
    fn is_what_trying_every_window_finds(minted in keys()) {
        let found = largest_group(&minted).map_or(0, |group| group.keys);
        prop_assert_eq!(found, largest_by_trying(&minted));
    }

    #[test]
    fn one_more_key_adds_at_most_one(minted in keys()) {
        let size = |keys: &[Minted]| largest_group(keys).map_or(0, |group| group.keys);
        if let Some((_, fewer)) = minted.split_last() {
            prop_assert!(size(fewer) <= size(&minted));
            prop_assert!(size(&minted) <= size(fewer) + 1);
        }
    }
}

#[test]
fn a_batch_among_others() {
    let mut minted: Vec<Minted> = (1..=812).map(|id| key(id, 1000, 1005)).collect();
    minted.extend((813..=900).map(|id| key(id, 50_000 + i64::from(id), 50_000 + i64::from(id))));
    let group = largest_group(&minted).unwrap();
    assert_eq!((group.keys, group.others), (812, 0));
    assert_eq!(group.since, Timestamp::from_nanos(1000 * SECOND));
    // Two batches at one time: the ids of one batch, and the rest.
    let minted: Vec<Minted> = (1..=1624).map(|id| key(id, 1000, 1000)).collect();
    let group = largest_group(&minted).unwrap();
    assert_eq!((group.keys, group.others), (812, 812));
    assert!(largest_group(&[]).is_none());
    assert!(
        largest_group(&[key(1, 0, 121)]).is_none(),
        "not written within 2 minutes"
    );
}
