use std::time::Duration;

use super::*;
use crate::remediator::store::tests::{minutes as at, open};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn switches_stay_until_a_person_turns_them() {
    let (dir, store) = open();
    assert_eq!(store.pause().state().unwrap(), PauseState::default());
    store.pause().set("ann", "new release", at(0)).unwrap();
    store.pause().open_breaker("4 services", at(1)).unwrap();
    store.pause().open_breaker("5 services", at(2)).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let switches = store.pause().state().unwrap();
    assert_eq!(switches.paused.unwrap().by, "ann");
    assert_eq!(
        switches.breaker.unwrap().reason,
        "4 services",
        "the first word stays"
    );
    assert!(store.pause().resumed(at(9)).unwrap().is_none());
    assert!(store.pause().resume("bob", at(3)).unwrap().paused.is_some());
    assert_eq!(store.pause().state().unwrap(), PauseState::default());
    assert_eq!(store.pause().resumed(at(9)).unwrap(), Some(MINUTE * 6));
}
