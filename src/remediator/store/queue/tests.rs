use super::*;
use crate::folder::Timestamp;
use crate::remediator::store::Store;
use crate::remediator::store::tests::{minutes as at, open};

fn request(session: &str, action: Action, starts_at: &str) -> Request {
    Request {
        session: session.into(),
        action,
        tier: "cleanup".into(),
        fingerprint: "f".into(),
        starts_at: starts_at.into(),
        via: Via::default(),
    }
}

fn end(store: &Store, status: Status, when: Timestamp) {
    let run = store.queue().claim_next(at(0), &[]).unwrap().unwrap();
    store
        .runs()
        .finish(
            run.id,
            status,
            &Ending {
                reason: Some("connected"),
                ..Ending::default()
            },
            when,
        )
        .unwrap();
}

fn accept(store: &Store, request: &Request, now: Timestamp) -> Result<Accepted, StoreError> {
    Ok(store.queue().accept(std::slice::from_ref(request), now)?[0])
}

#[test]
fn one_run_while_it_waits_or_is_under_way() {
    let (_dir, store) = open();
    let cleanup = request("a", Action::Cleanup, "t1");
    assert!(matches!(
        accept(&store, &cleanup, at(0)).unwrap(),
        Accepted::Queued(_)
    ));
    assert_eq!(
        accept(&store, &cleanup, at(1)).unwrap(),
        Accepted::InProgress
    );
    store.queue().claim_next(at(0), &[]).unwrap().unwrap();
    assert_eq!(
        accept(&store, &cleanup, at(2)).unwrap(),
        Accepted::InProgress
    );
    let other = request("b", Action::Cleanup, "t1");
    assert!(matches!(
        accept(&store, &other, at(2)).unwrap(),
        Accepted::Queued(_)
    ));
    let plan = request("a", Action::Plan, "t1");
    assert!(
        matches!(accept(&store, &plan, at(2)).unwrap(), Accepted::Queued(_)),
        "a dry run is another thing"
    );
    assert_eq!(
        store
            .queue()
            .claim_next(at(0), &[])
            .unwrap()
            .unwrap()
            .session,
        "b",
        "one run a session at a time"
    );
    assert!(store.queue().claim_next(at(0), &[]).unwrap().is_none());
}

/// A tier that rises asks for another run, wherever the run of the lower tier stands; also where
/// the alert has the same start.
#[test]
fn a_tier_that_rises_is_acted_upon() {
    for (stands, status) in [
        ("queued", None),
        ("running", None),
        ("done", Some(Status::Done)),
        ("refused", Some(Status::Refused)),
        ("armed", Some(Status::Refused)),
        ("failed", Some(Status::Failed)),
    ] {
        let (_dir, store) = open();
        let finish = |id: i64, status: Status, now: Timestamp| {
            let ending = Ending::default();
            store.runs().finish(id, status, &ending, now).unwrap();
        };
        accept(&store, &request("a", Action::Cleanup, "t1"), at(0)).unwrap();
        let mut lower = None;
        if stands != "queued" {
            lower = store.queue().claim_next(at(0), &[]).unwrap();
        }
        if let (Some(run), Some(status)) = (&lower, status) {
            finish(run.id, status, at(1));
        }
        if let (Some(run), "armed") = (&lower, stands) {
            store.armed().arm(run.id, at(1)).unwrap();
        }
        let emergency = request("a", Action::Emergency, "t1");
        let accepted = accept(&store, &emergency, at(2)).unwrap();
        assert!(matches!(accepted, Accepted::Queued(_)), "{stands}");
        // One run of a session at a time: the lower one ends first.
        if status.is_none() {
            let run = lower.or_else(|| store.queue().claim_next(at(2), &[]).unwrap());
            let run = run.unwrap();
            assert_eq!(run.action, Action::Cleanup, "{stands}");
            assert!(store.queue().claim_next(at(2), &[]).unwrap().is_none());
            finish(run.id, Status::Refused, at(3));
        }
        let run = store.queue().claim_next(at(3), &[]).unwrap().unwrap();
        assert_eq!(run.action, Action::Emergency, "{stands}");
    }
}

#[test]
fn an_emergency_does_not_rest_after_a_clean_up() {
    let (_dir, store) = open();
    accept(&store, &request("a", Action::Cleanup, "t1"), at(0)).unwrap();
    end(&store, Status::Done, at(1));
    let emergency = request("a", Action::Emergency, "t2");
    assert!(matches!(
        accept(&store, &emergency, at(30)).unwrap(),
        Accepted::Queued(_)
    ));
    let run = store.queue().claim_next(at(30), &[]).unwrap().unwrap();
    assert_eq!(run.action, Action::Emergency);
    store
        .runs()
        .finish(run.id, Status::Done, &Ending::default(), at(31))
        .unwrap();
    for action in [Action::Cleanup, Action::Emergency] {
        assert_eq!(
            accept(&store, &request("a", action, "t3"), at(60)).unwrap(),
            Accepted::Cooldown
        );
    }
    // A person's undo is a word to both.
    let later = at(31 + 6 * 60);
    let undo = store
        .runs()
        .begin("a", Action::Undo, "a person", later)
        .unwrap();
    store
        .runs()
        .finish(undo, Status::Done, &Ending::default(), later)
        .unwrap();
    let emergency = request("a", Action::Emergency, "t4");
    assert_eq!(
        accept(&store, &emergency, at(32 + 6 * 60)).unwrap(),
        Accepted::Cooldown
    );
}

#[test]
fn cooldown_is_per_session_whatever_the_start() {
    let (_dir, store) = open();
    accept(&store, &request("a", Action::Emergency, "t1"), at(0)).unwrap();
    end(&store, Status::Done, at(1));
    for (action, starts_at) in [
        (Action::Cleanup, "t1"),
        (Action::Cleanup, "t2"),
        (Action::Emergency, "t3"),
    ] {
        assert_eq!(
            accept(&store, &request("a", action, starts_at), at(300)).unwrap(),
            Accepted::Cooldown
        );
    }
    let later = at(1 + 6 * 60);
    assert!(matches!(
        accept(&store, &request("a", Action::Cleanup, "t1"), later).unwrap(),
        Accepted::Queued(_)
    ));
    assert!(matches!(
        accept(&store, &request("b", Action::Cleanup, "t1"), at(2)).unwrap(),
        Accepted::Queued(_)
    ));
}

fn seconds(seconds: u64) -> Timestamp {
    at(0).plus(Duration::from_secs(seconds))
}

#[test]
fn the_next_repeat_of_a_refused_emergency_is_accepted() {
    let emergency = request("a", Action::Emergency, "t1");
    // How long the refusal took, and when Alertmanager repeats the alert.
    for (took, repeat) in [
        (0, 300),
        (1, 300),
        (90, 300),
        (240, 300),
        (299, 300),
        (1, 360),
    ] {
        let (_dir, store) = open();
        accept(&store, &emergency, at(0)).unwrap();
        // Another Alertmanager of the same cluster.
        assert_eq!(
            accept(&store, &emergency, seconds(15)).unwrap(),
            Accepted::InProgress
        );
        end(&store, Status::Refused, seconds(took));
        if took < RETRY_AFTER.as_secs() {
            assert_eq!(
                accept(&store, &emergency, seconds(RETRY_AFTER.as_secs() - 1)).unwrap(),
                Accepted::RetryLater
            );
        }
        let again = accept(&store, &emergency, seconds(repeat)).unwrap();
        assert!(
            matches!(again, Accepted::Queued(_)),
            "refused after {took} s, repeated after {repeat} s: {again:?}"
        );
    }
}

#[test]
fn a_failed_run_is_left_alone_from_its_end() {
    let (_dir, store) = open();
    let cleanup = request("a", Action::Cleanup, "t1");
    accept(&store, &cleanup, at(0)).unwrap();
    end(&store, Status::Failed, seconds(30));
    assert_eq!(
        accept(&store, &cleanup, seconds(269)).unwrap(),
        Accepted::RetryLater
    );
    assert!(
        matches!(
            accept(&store, &request("a", Action::Emergency, "t1"), seconds(269)).unwrap(),
            Accepted::Queued(_)
        ),
        "another action does not wait"
    );
    assert!(matches!(
        accept(&store, &cleanup, seconds(270)).unwrap(),
        Accepted::Queued(_)
    ));
}

/// The wall clock is set, and time passes: minutes, and by how many the clock is wrong then.
fn wrong_by(clock: &clock::ManualClock, passed: u64, wrong: i64) -> Moment {
    clock.advance(Duration::from_secs(passed * 60));
    let true_time = at(0).plus(clock.clock().boot());
    let span = Duration::from_secs(wrong.unsigned_abs() * 60);
    clock.set_wall(match wrong < 0 {
        true => true_time.minus(span).into(),
        false => true_time.plus(span).into(),
    });
    Moment::of(&clock.clock())
}

#[test]
fn a_clock_that_is_set_neither_ends_a_cooldown_nor_makes_it_last() {
    let year = 365 * 24 * 60;
    for (before, after) in [(0, year), (year, 0), (0, -year), (-year, 0), (0, 7 * 60)] {
        let (_dir, store) = open();
        let clock = clock::ManualClock::new(at(0).into());
        let cleanup = request("a", Action::Cleanup, "t1");
        let accepted = |now: Moment| {
            let accepted = store.queue().accept(std::slice::from_ref(&cleanup), now);
            accepted.unwrap()[0]
        };
        let begins = wrong_by(&clock, 0, before);
        assert!(matches!(accepted(begins), Accepted::Queued(_)));
        let run = store.queue().claim_next(begins, &[]).unwrap().unwrap();
        store
            .runs()
            .finish(run.id, Status::Done, &Ending::default(), begins)
            .unwrap();
        let soon = wrong_by(&clock, 10, after);
        assert_eq!(accepted(soon), Accepted::Cooldown, "{before} {after}");
        store.prune(soon).unwrap();
        let late = wrong_by(&clock, 6 * 60 - 11, after);
        assert_eq!(accepted(late), Accepted::Cooldown, "{before} {after}");
        let later = wrong_by(&clock, 1, after);
        assert!(matches!(accepted(later), Accepted::Queued(_)));
        let ages = store
            .queue()
            .ages(None, wrong_by(&clock, 2, before))
            .unwrap();
        assert_eq!(ages["cleanup"], 120, "{before} {after}");
    }
}

#[test]
fn a_repeat_does_not_wait_for_the_try_of_an_armed_run() {
    let (_dir, store) = open();
    let emergency = request("a", Action::Emergency, "t1");
    accept(&store, &emergency, at(0)).unwrap();
    let run = store.queue().claim_next(at(0), &[]).unwrap().unwrap();
    store.armed().arm(run.id, at(0)).unwrap();
    let refused = Ending {
        reason: Some("connected"),
        ..Ending::default()
    };
    let refuse = |id, when| {
        let ended = store.runs().finish(id, Status::Refused, &refused, when);
        ended.unwrap();
    };
    refuse(run.id, at(0));
    let tried = store.armed().enqueue("a", Action::Emergency, at(4));
    let tried = tried.unwrap().unwrap();
    assert_eq!(
        store.queue().claim_next(at(4), &[]).unwrap().unwrap().id,
        tried,
        "the armed run"
    );
    refuse(tried, at(4));
    let repeat = accept(&store, &emergency, at(5)).unwrap();
    assert!(matches!(repeat, Accepted::Queued(_)), "{repeat:?}");
}

#[test]
fn what_was_done_while_a_run_waited_is_seen() {
    let (_dir, store) = open();
    accept(&store, &request("a", Action::Cleanup, "t1"), at(0)).unwrap();
    let id = store
        .runs()
        .begin("a", Action::Undo, "a person", at(0))
        .unwrap();
    assert!(
        store.queue().claim_next(at(0), &[]).unwrap().is_none(),
        "an operator is at work"
    );
    store
        .runs()
        .finish(id, Status::Done, &Ending::default(), at(1))
        .unwrap();
    assert!(
        store.queue().claim_next(at(2), &[]).unwrap().is_none(),
        "an undo is not undone at once"
    );
    let runs = store.audit().recent(10).unwrap();
    assert_eq!(
        (runs[1].status, runs[1].reason.as_deref()),
        (Status::Refused, Some("cooldown"))
    );
}

#[test]
fn sessions_of_a_stopped_service_are_claimed_and_not_taken() {
    let (_dir, store) = open();
    let a = queued(&store, "a", Action::Cleanup, at(0));
    queued(&store, "b", Action::Emergency, at(0));
    queued(&store, "a", Action::Plan, at(0));
    let busy = ["a".to_owned(), "b".to_owned()];
    let taken = store.queue().claim_next(at(0), &busy).unwrap().unwrap();
    assert_eq!(
        (taken.session.as_str(), taken.action),
        ("a", Action::Plan),
        "a plan stops no bot"
    );
    assert_eq!(store.queue().claim_next(at(0), &busy).unwrap(), None);
    assert_eq!(
        store.queue().claim("a", at(0)).unwrap(),
        None,
        "something is under way there"
    );
    store
        .runs()
        .finish(taken.id, Status::Done, &Ending::default(), at(0))
        .unwrap();
    assert_eq!(store.queue().claim("a", at(0)).unwrap().unwrap().id, a);
    assert_eq!(store.queue().claim("c", at(0)).unwrap(), None);
    assert_eq!(
        store
            .queue()
            .claim_next(at(0), &["a".to_owned()])
            .unwrap()
            .unwrap()
            .session,
        "b"
    );
}

fn queued(store: &Store, session: &str, action: Action, now: Timestamp) -> i64 {
    match accept(store, &request(session, action, "s"), now).unwrap() {
        Accepted::Queued(id) => id,
        other => panic!("{other:?}"),
    }
}
