use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::policy::Thresholds;

fn status(session: &str, accumulated: usize, firing: &[Tier]) -> TierStatus {
    let firing = firing.iter().map(|tier| (*tier, Duration::from_secs(30)));
    TierStatus {
        session: session.into(),
        accumulated,
        thresholds: Thresholds::default(),
        is_read: true,
        firing: firing.collect(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000)
}

/// Action and tier of each request.
fn shown(requests: &[Request]) -> Vec<(&str, &str)> {
    let pairs = requests.iter().map(|r| (r.action.label(), r.tier.as_str()));
    pairs.collect()
}

#[test]
fn the_highest_tier_asks_and_lower_ones_are_suppressed() {
    use Tier::{Cleanup, Emergency, Fatal, Monitor, Warning};
    for (firing, wanted, suppressed) in [
        (&[][..], vec![], vec![]),
        (&[Monitor], vec![], vec![]),
        (&[Monitor, Warning], vec![("plan", "warning")], vec![]),
        (
            &[Monitor, Warning, Cleanup],
            vec![("cleanup", "cleanup")],
            vec![("plan", "warning")],
        ),
        // The fatal tier is for a person; the emergency goes on asking.
        (
            &[Monitor, Warning, Cleanup, Emergency, Fatal],
            vec![("emergency", "emergency")],
            vec![("cleanup", "cleanup"), ("plan", "warning")],
        ),
    ] {
        let asked = requests_of(&[status("bot", 300, firing)], &[], now());
        assert_eq!(shown(&asked.wanted), wanted, "{firing:?}");
        assert_eq!(shown(&asked.suppressed), suppressed, "{firing:?}");
        assert!(asked.over.is_empty());
    }
}

#[test]
fn a_request_says_when_its_tier_began_to_fire() {
    let asked = requests_of(&[status("bot", 160, &[Tier::Cleanup])], &[], now());
    let request = &asked.wanted[0];
    assert_eq!(request.session, "bot");
    assert_eq!(request.fingerprint, "local");
    assert_eq!(request.via.receiver, "local");
    let began: jiff::Timestamp = request.starts_at.parse().unwrap();
    assert_eq!(began.as_second(), 1_700_000_000 - 30);
}

/// Only a reading below the tier ends what is armed.
#[test]
fn an_armed_run_ends_with_a_reading_below_its_tier() {
    let armed = [
        ("bot".to_owned(), Action::Cleanup),
        ("bot".to_owned(), Action::Emergency),
    ];
    let over = |status: &TierStatus| requests_of(std::slice::from_ref(status), &armed, now()).over;
    assert_eq!(over(&status("bot", 149, &[])), armed);
    assert_eq!(over(&status("bot", 150, &[])), armed[1..]);
    assert_eq!(over(&status("bot", 180, &[])), []);
    assert_eq!(over(&status("other", 0, &[])), []);
    let unread = TierStatus {
        is_read: false,
        firing: BTreeMap::new(),
        ..status("bot", 0, &[])
    };
    assert_eq!(over(&unread), []);
    assert_eq!(requests_of(&[], &armed, now()).over, []);
}
