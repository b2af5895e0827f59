use super::*;
use crate::remediator::store::runs::{Ending, Status};
use crate::remediator::store::tests::{accept, minutes as at, open, request};

const MINUTE: Duration = Duration::from_secs(60);

fn refuse(store: &Store, id: i64, now: Timestamp) {
    assert_eq!(store.queue().claim_next(now, &[]).unwrap().unwrap().id, id);
    store.armed().arm(id, now).unwrap();
    let ending = Ending {
        reason: Some("connected"),
        ..Ending::default()
    };
    store
        .runs()
        .finish(id, Status::Refused, &ending, now)
        .unwrap();
}

#[test]
fn an_armed_run_waits_until_its_alert_is_over() {
    let (_dir, store) = open();
    let id = accept(&store, "a", Action::Cleanup, at(0));
    refuse(&store, id, at(0));
    assert_eq!(store.armed().all().unwrap().len(), 1);
    // Nudged once, not again while it waits, nor at once after it was refused.
    let again = store
        .armed()
        .enqueue("a", Action::Cleanup, at(1))
        .unwrap()
        .unwrap();
    assert_eq!(
        store.armed().enqueue("a", Action::Cleanup, at(2)).unwrap(),
        None
    );
    let run = store.queue().claim_next(at(2), &[]).unwrap().unwrap();
    assert_eq!(
        (run.id, run.requested_by.to_string()),
        (again, "alert f".to_owned())
    );
    store
        .runs()
        .finish(again, Status::Refused, &Ending::default(), at(2))
        .unwrap();
    assert_eq!(
        store.armed().enqueue("a", Action::Cleanup, at(5)).unwrap(),
        None
    );
    assert!(
        store
            .armed()
            .enqueue("a", Action::Cleanup, at(7))
            .unwrap()
            .is_some()
    );
    assert_eq!(
        store
            .armed()
            .enqueue("a", Action::Emergency, at(7))
            .unwrap(),
        None,
        "that one is not armed"
    );
    // It is dropped by its own alert only.
    assert!(!store.armed().disarm("a", Action::Emergency).unwrap());
    assert!(store.armed().disarm("a", Action::Cleanup).unwrap());
    assert!(!store.armed().contains("a", Action::Cleanup).unwrap());
}

#[test]
fn an_alert_that_is_not_repeated_is_forgotten() {
    let (_dir, store) = open();
    let id = accept(&store, "a", Action::Cleanup, at(0));
    refuse(&store, id, at(0));
    assert_eq!(
        store.armed().disarm_forgotten(MINUTE * 60, at(59)).unwrap(),
        0
    );
    store
        .armed()
        .repeated(
            &[request("a", Action::Cleanup), request("b", Action::Cleanup)],
            at(59),
        )
        .unwrap();
    assert_eq!(
        store
            .armed()
            .disarm_forgotten(MINUTE * 60, at(110))
            .unwrap(),
        0
    );
    assert_eq!(store.armed().all().unwrap()[0].since, at(0).rfc3339());
    assert_eq!(
        store
            .armed()
            .disarm_forgotten(MINUTE * 60, at(120))
            .unwrap(),
        1
    );
}

/// The service is down for a run that had begun before.
#[test]
fn while_all_is_halted_no_other_run_begins_beside_one() {
    for breaker in [false, true] {
        let (dir, store) = open();
        let armed = accept(&store, "a", Action::Cleanup, at(0));
        refuse(&store, armed, at(0));
        let queued = accept(&store, "b", Action::Emergency, at(1));
        // Another process turns the switch.
        let other = Store::open(dir.path()).unwrap();
        match breaker {
            false => other.pause().set("ann", "a release", at(1)).unwrap(),
            true => other.pause().open_breaker("4 services", at(1)).unwrap(),
        }
        assert_eq!(
            store.armed().enqueue("a", Action::Cleanup, at(2)).unwrap(),
            None,
            "breaker: {breaker}"
        );
        assert_eq!(
            store.queue().claim("b", at(2)).unwrap(),
            None,
            "breaker: {breaker}"
        );
        other.pause().resume("ann", at(3)).unwrap();
        let nudged = store.armed().enqueue("a", Action::Cleanup, at(3)).unwrap();
        assert_eq!(
            store.queue().claim("a", at(3)).unwrap().map(|run| run.id),
            nudged,
            "it had waited"
        );
        assert!(nudged.is_some());
        assert_eq!(store.queue().claim("b", at(3)).unwrap().unwrap().id, queued);
    }
}
