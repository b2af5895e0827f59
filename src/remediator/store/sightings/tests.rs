use super::*;
use crate::remediator::store::tests::{minutes as at, open};

#[test]
fn who_was_seen_alive_survives_and_a_wrong_clock_does_not() {
    let (dir, store) = open();
    let alive = |minutes| Alive {
        at: at(minutes),
        mark: Some("m".into()),
    };
    let year = 60 * 24 * 365;
    store
        .sightings()
        .remember("a", &[("p".into(), alive(0)), ("q".into(), alive(year))])
        .unwrap();
    store
        .sightings()
        .remember("b", &[("p".into(), alive(year))])
        .unwrap();
    store
        .sightings()
        .trust("a", &["p".into()], "a person", at(0))
        .unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let sightings = store.sightings().recall("a").unwrap();
    assert_eq!(sightings.alive["p"], alive(0));
    assert_eq!(
        sightings.trusted["p"],
        Trust {
            by: "a person".into(),
            at: at(0)
        }
    );
    assert!(!sightings.is_trusted("q", at(0)), "from the future");
    // The next sighting replaces it, though it is earlier.
    store
        .sightings()
        .remember("a", &[("q".into(), alive(1))])
        .unwrap();
    assert!(
        store
            .sightings()
            .recall("a")
            .unwrap()
            .is_trusted("q", at(1))
    );
    // Otherwise it is forgotten before its time comes.
    store.prune(at(1)).unwrap();
    assert!(store.sightings().recall("b").unwrap().alive.is_empty());
    assert_eq!(store.sightings().recall("a").unwrap().alive.len(), 2);
    store.prune(at(60 * 24 * 31)).unwrap();
    assert!(
        store.sightings().recall("a").unwrap().alive.is_empty(),
        "after 30 days"
    );
    assert_eq!(
        store.sightings().recall("a").unwrap().trusted.len(),
        1,
        "a person's word stays"
    );
}
