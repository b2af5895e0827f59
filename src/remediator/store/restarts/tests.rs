use super::*;
use crate::remediator::store::{
    queue::{Accepted, Request, Via},
    runs::Action,
};

const MINUTE: Duration = Duration::from_secs(60);

fn at(minutes: u32) -> Timestamp {
    Timestamp::from_secs(1_800_000_000).plus(MINUTE * minutes)
}

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn request(session: &str, action: Action) -> Request {
    Request {
        session: session.into(),
        action,
        tier: action.label().into(),
        fingerprint: "f".into(),
        starts_at: "s".into(),
        via: Via::default(),
    }
}

fn accept(store: &Store, session: &str, action: Action, now: Timestamp) -> i64 {
    match store
        .queue()
        .accept(&[request(session, action)], now)
        .unwrap()[..]
    {
        [Accepted::Queued(id)] => id,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_owed_outlasts_the_process() {
    let (dir, store) = open();
    store
        .restarts()
        .intend_stop("bots", &["a"], 7, false, at(0), |_, _, _, _| Ok(()))
        .unwrap()
        .unwrap();
    let again = store
        .restarts()
        .intend_stop("bots", &["b"], 8, false, at(1), |_, _, _, _| Ok(()));
    assert!(again.is_err(), "one at a time");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let owed = store.restarts().pending().unwrap().remove(0);
    assert_eq!(
        (owed.service.as_str(), owed.run_id, owed.phase),
        ("bots", 7, Phase::Stopping)
    );
    for phase in Phase::ALL {
        store.restarts().set_phase("bots", phase).unwrap();
        assert_eq!(store.restarts().pending().unwrap()[0].phase, phase);
    }
    assert!(
        store.restarts().was_stopped_for(7).unwrap()
            && !store.restarts().was_stopped_for(8).unwrap()
    );
    store.restarts().complete("bots").unwrap();
    assert!(store.restarts().pending().unwrap().is_empty());
    assert_eq!(
        store.restarts().stops(at(1)).unwrap().len(),
        1,
        "it was stopped all the same"
    );
    store
        .restarts()
        .intend_stop("bots", &["a"], 9, true, at(2), |_, _, _, _| Ok(()))
        .unwrap()
        .unwrap();
    let stops = store.restarts().stops(at(2)).unwrap();
    assert_eq!(
        stops.iter().map(|stop| stop.in_window).collect::<Vec<_>>(),
        [false, true]
    );
    store.prune(at(60 * 24 * 31)).unwrap();
    assert!(store.restarts().stops(at(2)).unwrap().is_empty());
}

#[test]
fn what_holds_within_the_transaction_leaves_no_trace() {
    let (dir, store) = open();
    store
        .restarts()
        .intend_stop("a", &["a"], 1, false, at(0), |_, _, _, _| Ok(()))
        .unwrap()
        .unwrap();
    // Another process pauses, after the first look.
    Store::open(dir.path())
        .unwrap()
        .pause()
        .set("ann", "a release", at(1))
        .unwrap();
    let held = store.restarts().intend_stop(
        "b",
        &["b"],
        2,
        false,
        at(2),
        |_, switches, stops, resumed| {
            assert!(switches.paused.is_some() && stops.len() == 1 && resumed.is_none());
            Err(StopRefusal::Paused)
        },
    );
    assert_eq!(held.unwrap(), Err(StopRefusal::Paused));
    assert_eq!(store.restarts().pending().unwrap().len(), 1);
    assert_eq!(store.restarts().stops(at(2)).unwrap().len(), 1);
    assert!(!store.restarts().was_stopped_for(2).unwrap());
}

#[test]
fn a_start_that_has_failed_is_not_tried_again_under_a_pause() {
    let (_dir, store) = open();
    store
        .restarts()
        .intend_stop("bots", &["a"], 1, false, at(0), |_, _, _, _| Ok(()))
        .unwrap()
        .unwrap();
    store.pause().set("ann", "undo", at(1)).unwrap();
    for phase in [
        Phase::Stopping,
        Phase::Gone,
        Phase::Starting,
        Phase::Started,
    ] {
        store.restarts().set_phase("bots", phase).unwrap();
        assert!(
            store.restarts().may_start("bots").unwrap(),
            "{phase:?}: never left stopped by a pause"
        );
        // A stop that may still come is not forgotten.
        let noted = if phase == Phase::Stopping {
            phase
        } else {
            Phase::Starting
        };
        assert_eq!(store.restarts().pending().unwrap()[0].phase, noted);
    }
    store.restarts().set_phase("bots", Phase::Failed).unwrap();
    assert!(!store.restarts().may_start("bots").unwrap());
    assert_eq!(store.restarts().pending().unwrap()[0].phase, Phase::Failed);
    store.pause().resume("ann", at(2)).unwrap();
    assert!(store.restarts().may_start("bots").unwrap());
    assert!(
        !store.restarts().may_start("other").unwrap(),
        "nothing is owed there"
    );
}

#[test]
fn who_is_not_back_is_named_with_its_run() {
    let (_dir, store) = open();
    let a = accept(&store, "a", Action::Emergency, at(0));
    let b = accept(&store, "b", Action::Emergency, at(0));
    store
        .restarts()
        .intend_stop("bots", &["a", "b", "c"], a, false, at(0), |_, _, _, _| {
            Ok(())
        })
        .unwrap()
        .unwrap();
    store.restarts().watch("bots", "b", b, at(0)).unwrap();
    let all = [
        ("a".to_owned(), a),
        ("b".to_owned(), b),
        ("c".to_owned(), a),
    ];
    assert_eq!(store.restarts().watched("bots", at(0)).unwrap(), all);
    assert!(
        store.restarts().not_back().unwrap().is_empty(),
        "watched only"
    );
    store.runs().set_name(a, "20261123T201510Z-aaaaaa").unwrap();
    store.runs().set_name(b, "20261123T201510Z-bbbbbb").unwrap();
    for (session, run_id) in &all {
        store
            .restarts()
            .set_not_back("bots", session, *run_id, at(1))
            .unwrap();
        store
            .restarts()
            .set_not_back("bots", session, *run_id, at(2))
            .unwrap();
    }
    let late = store.restarts().not_back().unwrap();
    let runs: Vec<_> = late
        .iter()
        .map(|late| (late.session.as_str(), late.run.as_deref()))
        .collect();
    let (of_a, of_b) = (
        Some("20261123T201510Z-aaaaaa"),
        Some("20261123T201510Z-bbbbbb"),
    );
    assert_eq!(
        runs,
        [("a", of_a), ("b", of_b), ("c", None)],
        "the run of a is none to undo for c"
    );
    assert!(
        late.iter()
            .all(|late| late.since == at(1).rfc3339() && late.stopped == at(0)),
        "{late:?}"
    );
    // Each comes back by itself, and not after a stop that is not meant.
    store.restarts().clear_not_back("bots", "a", at(0)).unwrap();
    store.restarts().clear_not_back("bots", "b", at(9)).unwrap();
    let late: Vec<_> = store
        .restarts()
        .not_back()
        .unwrap()
        .into_iter()
        .map(|late| late.session)
        .collect();
    assert_eq!(late, ["b", "c"]);
    assert_eq!(
        store.restarts().watched("bots", at(0)).unwrap(),
        all,
        "the start is still owed"
    );
    // Stopped again for a: b goes on being late, c is watched anew.
    store.restarts().complete("bots").unwrap();
    assert_eq!(store.restarts().watched("bots", at(0)).unwrap(), all[1..]);
    let again = accept(&store, "a", Action::Cleanup, at(5));
    store
        .restarts()
        .intend_stop(
            "bots",
            &["a", "c"],
            again,
            false,
            at(5),
            |_, _, _, _| Ok(()),
        )
        .unwrap()
        .unwrap();
    let both = [("a".to_owned(), again), ("c".to_owned(), again)];
    assert_eq!(store.restarts().watched("bots", at(5)).unwrap(), both);
    let late: Vec<_> = store
        .restarts()
        .not_back()
        .unwrap()
        .into_iter()
        .map(|late| late.session)
        .collect();
    assert_eq!(late, ["b", "c"]);
    // Of whom no stop is known.
    store
        .restarts()
        .set_not_back("other", "x", 99, at(7))
        .unwrap();
    assert_eq!(store.restarts().not_back().unwrap()[2].stopped, at(7));
}
