use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn new_folders_and_overdue_ones_are_due_at_once() {
    let now = 1000 * SECOND;
    let looked = [None, Some(now - 299 * SECOND), Some(now - 300 * SECOND)];
    assert_eq!(due(&looked, now, Some(now)), [true, false, true]);
    assert_eq!(due(&looked, now, None), [true, true, true]);
    assert_eq!(due(&[], now, None), Vec::<bool>::new());
}

proptest! {
    /// However often it is asked, within 5 minutes each folder has its turn, and not much more.
    #[test]
    fn folders_take_turns(
        count in 1usize..60,
        pauses in proptest::collection::vec(1u64..100, 10..60),
    ) {
        let mut now = 5000 * SECOND;
        let mut looked = vec![Some(now); count];
        let (mut before, mut looks, mut passed) = (now, 0, 0);
        for pause in &pauses {
            now += Duration::from_secs(*pause);
            passed += pause;
            let due = due(&looked, now, Some(before));
            before = now;
            for (at, due) in looked.iter_mut().zip(due) {
                if due {
                    *at = Some(now);
                    looks += 1;
                }
            }
            for at in &looked {
                prop_assert!(now.saturating_sub(at.unwrap_or_default()) < SCANNED_AGAIN_WITHIN);
            }
        }
        let rounds = passed as f64 / ROUND.as_secs_f64();
        let most = rounds * count as f64 + pauses.len() as f64;
        prop_assert!(f64::from(looks) <= most, "{} {}", looks, most);
    }
}
