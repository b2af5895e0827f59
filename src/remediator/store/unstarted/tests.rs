use super::*;
use crate::remediator::store::tests::{delivered as request, open, seconds as at};

#[test]
fn alerts_asked_in_vain_are_counted_once_each() {
    let (_dir, store) = open();
    for second in 0..3 {
        store.queue().accept(&[request("a")], at(second)).unwrap();
    }
    store
        .unstarted()
        .add(&[request("stranger")], "unknown_session", at(9))
        .unwrap();
    let seen: Vec<(String, String, i64)> = store
        .unstarted()
        .recent(9)
        .unwrap()
        .into_iter()
        .map(|over| (over.session, over.outcome, over.times))
        .collect();
    let text = |s: &str| s.to_owned();
    assert_eq!(
        seen,
        [
            (text("stranger"), text("unknown_session"), 1),
            (text("a"), text("in_progress"), 2)
        ]
    );
}

#[test]
fn the_oldest_are_deleted_first() {
    let (_dir, store) = open();
    for n in 0..20 {
        store
            .unstarted()
            .add(&[request(&format!("s{n}"))], "unknown_session", at(n))
            .unwrap();
    }
    prune_to(&store.db, at(20), 9).unwrap();
    assert_eq!(store.unstarted().recent(99).unwrap().len(), 10);
}
