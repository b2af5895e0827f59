use super::*;
use crate::folder::Kind;
use crate::remediator::store::tests::{accept, minutes as at, open};

#[test]
fn only_runs_of_dead_processes_are_orphans_and_end_once() {
    let (_dir, store) = open();
    let id = store
        .runs()
        .begin("a", Action::Cleanup, "a person", at(0))
        .unwrap();
    assert_eq!(
        store.runs().orphans().unwrap().len(),
        1,
        "this process knows its own"
    );
    let other = Store::open(_dir.path()).unwrap();
    assert!(
        other.runs().orphans().unwrap().is_empty(),
        "its process lives"
    );
    let orphan = other
        .runs()
        .begin("b", Action::Cleanup, "a person", at(0))
        .unwrap();
    drop(other);
    let ids: Vec<i64> = store
        .runs()
        .orphans()
        .unwrap()
        .iter()
        .map(|run| run.id)
        .collect();
    assert_eq!(ids, [id, orphan], "the other process is gone");
    store
        .runs()
        .finish(orphan, Status::Failed, &Ending::default(), at(1))
        .unwrap();
    for _ in 0..2 {
        store
            .runs()
            .finish(id, Status::Done, &Ending::default(), at(1))
            .unwrap();
    }
    assert_eq!(
        store.counters().totals().unwrap().runs["cleanup"],
        2,
        "each counted once"
    );
}

#[test]
fn what_was_accepted_and_counted_survives_a_restart() {
    let (dir, store) = open();
    accept(&store, "a", Action::Cleanup, at(0));
    let run = store.queue().claim_next(at(0), &[]).unwrap().unwrap();
    let ending = Ending {
        files: BTreeMap::from([(Kind::PreKey, 278)]),
        ..Ending::default()
    };
    store
        .runs()
        .finish(run.id, Status::Done, &ending, at(1))
        .unwrap();
    accept(&store, "b", Action::Cleanup, at(2));
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let totals = store.counters().totals().unwrap();
    assert_eq!(
        (
            totals.runs["cleanup"],
            totals.moved["pre-key"],
            totals.queued
        ),
        (1, 278, 1)
    );
    assert_eq!(totals.last_success, Some(at(1)));
    assert_eq!(store.audit().recent(10).unwrap().len(), 2);
    assert_eq!(
        store
            .queue()
            .claim_next(at(0), &[])
            .unwrap()
            .unwrap()
            .session,
        "b"
    );
    store.prune(at(60 * 24 * 1000)).unwrap();
    assert_eq!(
        store.counters().totals().unwrap().moved["pre-key"],
        278,
        "counters outlive their runs"
    );
    assert_eq!(store.audit().recent(10).unwrap().len(), 1);
}

#[test]
fn a_run_on_another_session_of_the_process_is_seen() {
    let (dir, store) = open();
    let a = accept(&store, "a", Action::Emergency, at(0));
    assert_eq!(store.queue().claim_next(at(0), &[]).unwrap().unwrap().id, a);
    let all = ["a", "b"];
    assert!(!store.runs().is_under_way(&all, a).unwrap(), "itself");
    accept(&store, "b", Action::Plan, at(0));
    let plan = store.queue().claim_next(at(0), &[]).unwrap().unwrap();
    assert!(
        !store.runs().is_under_way(&all, a).unwrap(),
        "it moves nothing"
    );
    store
        .runs()
        .finish(plan.id, Status::Done, &Ending::default(), at(0))
        .unwrap();
    let other = Store::open(dir.path()).unwrap();
    other.runs().begin("b", Action::Undo, "ann", at(0)).unwrap();
    assert!(store.runs().is_under_way(&all, a).unwrap());
    assert!(
        !store.runs().is_under_way(&["a", "c"], a).unwrap(),
        "another process of bots"
    );
    drop(other);
    assert!(
        !store.runs().is_under_way(&all, a).unwrap(),
        "what a dead process left"
    );
}

/// A bot that stays connected above its tier adds a refused run with each repeat of its alert.
#[test]
fn of_refused_runs_the_newest_of_each_session_are_kept() {
    let (_dir, store) = open();
    let refused = |session: &str, minute: u32| {
        let id = accept(&store, session, Action::Cleanup, at(minute));
        store.queue().claim(session, at(minute)).unwrap().unwrap();
        let ending = Ending {
            reason: Some("connected"),
            ..Ending::default()
        };
        let status = Status::Refused;
        store
            .runs()
            .finish(id, status, &ending, at(minute))
            .unwrap();
        id
    };
    let other = refused("b", 0);
    let first = refused("a", 0);
    let ids: Vec<i64> = (1..6).map(|n| refused("a", n * 10)).collect();
    prune_refused(&store.db, ids[4], 3).unwrap();
    let left: Vec<i64> = {
        let mut query = store.db.prepare("SELECT id FROM runs ORDER BY id").unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert!(!left.contains(&first));
    assert_eq!(left, [&[other], &ids[2..]].concat());
}

/// Of the many refused runs of a session none is looked at that is not recent.
#[test]
fn a_request_looks_at_recent_runs_only() {
    let (_dir, store) = open();
    let sql = "EXPLAIN QUERY PLAN SELECT 1 FROM runs WHERE session = 'a' AND action = 'cleanup' AND status = 'refused' AND created_steady_ns > 5";
    let plan: String = store.db.query_row(sql, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("created_steady_ns>"), "{plan}");
}
