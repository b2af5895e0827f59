use super::*;
use crate::remediator::restart::state::{Times, WaitingSession};
use crate::remediator::store::runs::Action;
use crate::remediator::store::tests::{self, minutes as at, open};

const MINUTE: Duration = Duration::from_secs(60);

fn here() -> Vec<String> {
    ["a", "b", "c"].map(str::to_owned).to_vec()
}

fn accept(store: &Store, session: &str) -> i64 {
    tests::accept(store, session, Action::Emergency, at(0))
}

fn restart(service: &str, session: &str, run_id: i64, trigger: Trigger) -> Restart {
    let times = Times {
        stop: MINUTE,
        gone: MINUTE,
        start: MINUTE,
        shows: MINUTE,
        connect: MINUTE,
        sockets: MINUTE,
        clean: MINUTE,
        retry: MINUTE,
    };
    Restart {
        phase: Phase::StopIntended,
        ..Restart::new(service, session, run_id, trigger, at(0).nanos(), times)
    }
}

#[test]
fn a_pending_restart_outlasts_the_process() {
    let (dir, store) = open();
    let mut state = restart("bots", "a", 7, Trigger::Emergency);
    let intended = store
        .restarts()
        .intend_stop(&mut state, &here(), at(0), |_, _, _, _| Ok(()));
    intended.unwrap().unwrap();
    let mut other = restart("bots", "b", 8, Trigger::Emergency);
    let again = store
        .restarts()
        .intend_stop(&mut other, &here(), at(1), |_, _, _, _| Ok(()));
    assert_eq!(again.unwrap(), Err(StopRefusal::Busy), "one at a time");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let restarts = store.restarts();
    assert_eq!(restarts.pending().unwrap(), [state.clone()]);
    assert!(restarts.was_stopped_for(7).unwrap() && !restarts.was_stopped_for(8).unwrap());
    state.phase = Phase::Down;
    restarts.save(&state).unwrap();
    assert_eq!(restarts.of("bots").unwrap(), Some(state.clone()));
    restarts.forget(&state, RestartEnd::Stopped).unwrap();
    assert!(restarts.all().unwrap().is_empty());
    let stops = restarts.stops(at(1)).unwrap();
    assert_eq!(stops.len(), 1, "it was stopped all the same");
    let mut window = restart("bots", "a", 9, Trigger::Window);
    let intended = restarts.intend_stop(&mut window, &here(), at(2), |_, _, _, _| Ok(()));
    intended.unwrap().unwrap();
    let stops = restarts.stops(at(2)).unwrap();
    let windows: Vec<bool> = stops.iter().map(|stop| stop.in_window).collect();
    assert_eq!(windows, [false, true]);
    store.prune(at(60 * 24 * 31)).unwrap();
    assert!(store.restarts().stops(at(2)).unwrap().is_empty());
}

#[test]
fn what_refuses_within_the_transaction_leaves_no_trace() {
    let (dir, store) = open();
    let mut a = restart("a", "a", 1, Trigger::Emergency);
    let intended = store
        .restarts()
        .intend_stop(&mut a, &here(), at(0), |_, _, _, _| Ok(()));
    intended.unwrap().unwrap();
    // Another process pauses, after the first look.
    Store::open(dir.path())
        .unwrap()
        .pause()
        .set("ann", "a release", at(1))
        .unwrap();
    let mut b = restart("b", "b", 2, Trigger::Emergency);
    let refused =
        store
            .restarts()
            .intend_stop(&mut b, &here(), at(2), |_, pause, stops, resumed| {
                assert!(pause.paused.is_some() && stops.len() == 1 && resumed.is_none());
                Err(StopRefusal::Paused)
            });
    assert_eq!(refused.unwrap(), Err(StopRefusal::Paused));
    assert_eq!(store.restarts().pending().unwrap().len(), 1);
    assert_eq!(store.restarts().stops(at(2)).unwrap().len(), 1);
    assert!(!store.restarts().was_stopped_for(2).unwrap());
}

#[test]
fn who_is_not_back_is_named_with_its_run() {
    let (_dir, store) = open();
    let (a, b) = (accept(&store, "a"), accept(&store, "b"));
    let mut state = restart("bots", "a", a, Trigger::Emergency);
    for (session, run_id) in [("b", b), ("c", a)] {
        state.waiting.push(WaitingSession {
            session: session.into(),
            run_id,
            seen: 0,
        });
    }
    store.restarts().save(&state).unwrap();
    assert!(
        store.restarts().not_back().unwrap().is_empty(),
        "waiting only"
    );
    store.runs().set_name(a, "20261123T201510Z-aaaaaa").unwrap();
    store.runs().set_name(b, "20261123T201510Z-bbbbbb").unwrap();
    (state.phase, state.late_ns) = (Phase::RunningNotConnected, Some(at(1).nanos()));
    store.restarts().save(&state).unwrap();
    let late = |store: &Store| {
        let late = store.restarts().not_back().unwrap();
        late.into_iter()
            .map(|late| (late.session, late.run, late.reason))
            .collect::<Vec<_>>()
    };
    let run = |name: &str| Some(format!("20261123T201510Z-{name}"));
    assert_eq!(
        late(&store),
        [
            ("a".into(), run("aaaaaa"), "not_connected"),
            ("b".into(), run("bbbbbb"), "not_connected"),
            ("c".into(), None, "not_connected")
        ],
        "the run of a is none to undo for c"
    );
    // Each comes back by itself.
    state.waiting.retain(|one| one.session == "b");
    store.restarts().save(&state).unwrap();
    assert_eq!(late(&store).len(), 1);
    assert!(store.restarts().pending().unwrap().is_empty(), "it runs");
    // Restarted again for a: b goes on being missed.
    let mut again = restart("bots", "a", accept(&store, "c"), Trigger::Emergency);
    let intended = store
        .restarts()
        .intend_stop(&mut again, &here(), at(5), |_, _, _, _| Ok(()));
    intended.unwrap().unwrap();
    let sessions: Vec<_> = again
        .waiting
        .iter()
        .map(|one| one.session.as_str())
        .collect();
    assert_eq!(sessions, ["a", "b"]);
    (again.phase, again.late_ns) = (Phase::Down, Some(at(6).nanos()));
    store.restarts().save(&again).unwrap();
    assert!(late(&store).iter().all(|(.., reason)| *reason == "down"));
}

#[test]
fn a_journal_that_was_lost_does_not_know_the_run() {
    let (_dir, store) = open();
    let id = accept(&store, "a");
    let mut state = restart("bots", "a", id, Trigger::Emergency);
    assert!(store.restarts().knows_run_of(&state).unwrap());
    state.decided_ns = at(0).minus(MINUTE).nanos();
    assert!(
        !store.restarts().knows_run_of(&state).unwrap(),
        "another run of this number"
    );
    state.run_id = 99;
    assert!(!store.restarts().knows_run_of(&state).unwrap());
}

/// Or the next emergency would be refused by the cooldown, the budget or the breaker.
#[test]
fn a_stop_that_was_not_called_is_no_stop() {
    let (_dir, store) = open();
    let restarts = store.restarts();
    let stops = || {
        let counted = store.counters().totals().unwrap().stops;
        (restarts.stops(at(9)).unwrap().len(), counted)
    };
    let intend = |run_id, decided: u32| {
        let mut state = restart("bots", "a", run_id, Trigger::Emergency);
        state.decided_ns = at(decided).nanos();
        let intended = restarts.intend_stop(&mut state, &here(), at(decided), |_, _, _, _| Ok(()));
        intended.unwrap().unwrap();
        state
    };
    // A run may try it more than once.
    for decided in [0, 1] {
        let mut state = intend(7, decided);
        assert_eq!(stops(), (1, 0), "it counts from its intent");
        state.phase = Phase::Stopping;
        restarts.save(&state).unwrap();
        assert_eq!(stops(), (1, 0));
        state.phase = Phase::Released;
        restarts.forget(&state, RestartEnd::NothingCalled).unwrap();
        assert_eq!(stops(), (0, 0));
        assert!(!restarts.was_stopped_for(7).unwrap());
    }
    let mut called = intend(7, 2);
    for phase in [Phase::Stopping, Phase::Gone, Phase::WaitingForConnection] {
        called.phase = phase;
        restarts.save(&called).unwrap();
    }
    assert_eq!(stops(), (1, 1), "once");
    // The first one is deleted late, as after a disk that was full.
    let mut first = called.clone();
    first.decided_ns = at(0).nanos();
    restarts.forget(&first, RestartEnd::NothingCalled).unwrap();
    called.phase = Phase::Back;
    restarts.forget(&called, RestartEnd::Stopped).unwrap();
    assert_eq!(stops(), (1, 1));
    // No write since its intent has succeeded.
    let mut full = intend(8, 3);
    full.phase = Phase::Back;
    restarts.forget(&full, RestartEnd::Stopped).unwrap();
    assert_eq!(stops(), (2, 2));
}

/// A session whose folder is gone is waited for no longer.
#[test]
fn the_restart_before_is_on_record_again_where_nothing_was_stopped() {
    let (_dir, store) = open();
    let restarts = store.restarts();
    let mut late = restart("bots", "a", 1, Trigger::Emergency);
    (late.phase, late.late_ns) = (Phase::RunningNotConnected, Some(at(0).nanos()));
    restarts.save(&late).unwrap();
    // One that is refused has no record of its own to delete.
    let mut refused = restart("bots", "b", 2, Trigger::Emergency);
    let intended = restarts.intend_stop(&mut refused, &here(), at(1), |_, _, _, _| {
        Err(StopRefusal::Paused)
    });
    assert!(intended.unwrap().is_err());
    refused.phase = Phase::Released;
    let nothing = RestartEnd::NothingCalled;
    restarts.forget(&refused, nothing).unwrap();
    assert_eq!(restarts.all().unwrap(), [late.clone()]);
    // One that a person has stopped meanwhile.
    let mut stopped = restart("bots", "b", 3, Trigger::Emergency);
    let intended =
        restarts.intend_stop(&mut stopped, &["b".to_owned()], at(2), |_, _, _, _| Ok(()));
    intended.unwrap().unwrap();
    assert_eq!(stopped.waiting.len(), 1, "the folder of a is gone");
    stopped.phase = Phase::HandedOver(HandedTo::Operator);
    restarts.forget(&stopped, nothing).unwrap();
    assert_eq!(restarts.all().unwrap(), [late.clone()]);
    // One that is over replaces it.
    let mut back = restart("bots", "b", 4, Trigger::Emergency);
    let intended = restarts.intend_stop(&mut back, &here(), at(3), |_, _, _, _| Ok(()));
    intended.unwrap().unwrap();
    assert_eq!(back.waiting.len(), 2);
    back.phase = Phase::Back;
    restarts.forget(&back, RestartEnd::Stopped).unwrap();
    assert!(restarts.all().unwrap().is_empty());
}

#[test]
fn a_clock_that_is_set_hides_no_stop() {
    let (_dir, store) = open();
    let clock = clock::ManualClock::new(at(0).into());
    let mut state = restart("bots", "a", 7, Trigger::Emergency);
    let now = Moment::of(&clock.clock());
    let intended = store
        .restarts()
        .intend_stop(&mut state, &here(), now, |_, _, _, _| Ok(()));
    intended.unwrap().unwrap();
    let day = MINUTE * 60 * 24;
    for wall in [at(0).plus(day * 60), at(0).minus(day * 60), at(0)] {
        clock.advance(MINUTE);
        clock.set_wall(wall.into());
        let now = Moment::of(&clock.clock());
        store.prune(now).unwrap();
        let ago: Vec<Duration> = (store.restarts().stops(now).unwrap().iter())
            .map(|stop| stop.ago)
            .collect();
        assert_eq!(ago, [now_since(&clock)], "{}", wall.rfc3339());
    }
}

/// Since the clock was made.
fn now_since(clock: &clock::ManualClock) -> Duration {
    clock.clock().boot() - Duration::from_secs(3600)
}
