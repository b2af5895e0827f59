use super::*;
use crate::folder::Kind;
use crate::remediator::store::tests::{self, minutes as at, open};
use crate::remediator::store::{
    queue::{Accepted, Request},
    runs::Ending,
};

fn request(action: Action, starts_at: &str) -> Request {
    Request {
        starts_at: starts_at.into(),
        ..tests::request("a", action)
    }
}

const DONE: Result<(), (Status, &str)> = Ok(());

const CONNECTED: Result<(), (Status, &str)> = Err((Status::Refused, "connected"));

const STALE: Result<(), (Status, &str)> = Err((Status::Refused, "stale_alert"));

const FAILED: Result<(), (Status, &str)> = Err((Status::Failed, "io"));

fn finish(store: &Store, id: i64, told: Result<(), (Status, &'static str)>, when: i64) {
    let ending = match told {
        Ok(()) => Ending {
            files: BTreeMap::from([(Kind::Session, 9)]),
            accumulated: Some((160, 70)),
            ..Ending::default()
        },
        Err((_, reason)) => Ending {
            reason: Some(reason),
            ..Ending::default()
        },
    };
    let status = told.map_or_else(|(status, _)| status, |()| Status::Done);
    store.runs().finish(id, status, &ending, at(when)).unwrap();
}

/// A run of the session `a` that an alert asked for and that ended a minute later.
fn alert(
    store: &Store,
    action: Action,
    starts_at: &str,
    when: i64,
    told: Result<(), (Status, &'static str)>,
) {
    let accepted = store
        .queue()
        .accept(&[request(action, starts_at)], at(when))
        .unwrap();
    assert!(
        matches!(accepted[0], Accepted::Queued(_)),
        "{accepted:?} at {when}"
    );
    let run = store.queue().claim_next(at(when), &[]).unwrap().unwrap();
    finish(store, run.id, told, when + 1);
}

/// One that a person asked for.
fn person(store: &Store, action: Action, when: i64, told: Result<(), (Status, &'static str)>) {
    let id = store
        .runs()
        .begin("a", action, "a person", at(when))
        .unwrap();
    finish(store, id, told, when + 1);
}

fn status_of(store: &Store) -> SessionStatus {
    let all = store.session_status().all().unwrap();
    assert_eq!(all.len(), 1, "one row a session");
    all[0].clone()
}

fn since(store: &Store) -> Option<Timestamp> {
    status_of(store).refused.map(|refused| refused.since)
}

fn minutes(cleaned: Option<LastCleanup>) -> Option<u64> {
    cleaned.unwrap().lead.map(|lead| lead.as_secs() / 60)
}

#[test]
fn the_latest_run_is_a_clean_up_and_tells_why() {
    let (_dir, store) = open();
    alert(&store, Action::Plan, "", 0, DONE);
    assert_eq!(
        store.session_status().all().unwrap(),
        [],
        "a dry run is none"
    );
    alert(&store, Action::Cleanup, "", 5, CONNECTED);
    let now = status_of(&store);
    assert_eq!(
        (now.ended, now.action, now.status),
        (at(6), Action::Cleanup, Status::Refused)
    );
    assert_eq!(
        (now.reason.as_deref(), now.cleaned),
        (Some("connected"), None)
    );
    alert(&store, Action::Emergency, "", 10, FAILED);
    let now = status_of(&store);
    assert_eq!(
        (now.action, now.status, now.reason.as_deref()),
        (Action::Emergency, Status::Failed, Some("io"))
    );
    person(&store, Action::Cleanup, 20, DONE);
    let now = status_of(&store);
    assert_eq!(
        (now.ended, now.action, now.status, now.reason),
        (at(21), Action::Cleanup, Status::Done, None)
    );
    // A run that waited meanwhile ends when it is its turn.
    let accepted = store
        .queue()
        .accept(&[request(Action::Cleanup, "")], at(20))
        .unwrap();
    assert!(matches!(accepted[0], Accepted::Cooldown));
}

#[test]
fn refusals_go_on_until_something_else_or_an_hour_without_any() {
    let (_dir, store) = open();
    for when in [0, 6, 12] {
        alert(&store, Action::Cleanup, "", when, CONNECTED);
        assert_eq!(since(&store), Some(at(1)));
    }
    // Another tier and another reason are the same trouble; the latest reason counts.
    alert(
        &store,
        Action::Emergency,
        "",
        18,
        Err((Status::Refused, "paused")),
    );
    let refused = status_of(&store).refused.unwrap();
    assert_eq!(
        (refused.since, refused.last, refused.reason.as_str()),
        (at(1), at(19), "paused")
    );
    assert!(
        refused.goes_on(at(79)) && !refused.goes_on(at(80)),
        "an hour"
    );
    assert!(!refused.goes_on(at(19 - 61)), "a wrong clock");
    // The answer to a person says nothing about the alerts.
    for told in [STALE, CONNECTED, FAILED] {
        person(&store, Action::Cleanup, 30, told);
        assert_eq!(status_of(&store).refused, Some(refused.clone()));
    }
    assert_eq!(status_of(&store).status, Status::Failed);
    alert(&store, Action::Cleanup, "", 79, CONNECTED);
    assert_eq!(
        since(&store),
        Some(at(80)),
        "more than an hour: another one"
    );
    alert(&store, Action::Cleanup, "", 139, CONNECTED);
    assert_eq!(since(&store), Some(at(80)), "an hour and no more");

    let mut when = 200;
    for breaks in [STALE, FAILED, Err((Status::Refused, "unknown_session"))] {
        alert(&store, Action::Cleanup, "", when, CONNECTED);
        assert_eq!(since(&store), Some(at(when + 1)));
        alert(&store, Action::Cleanup, "", when + 7, breaks);
        assert_eq!(since(&store), None, "{breaks:?}");
        when += 14;
    }
    alert(&store, Action::Cleanup, "", when, CONNECTED);
    person(&store, Action::Cleanup, when + 7, DONE);
    assert_eq!(since(&store), None, "a person has cleaned");
    let later = when + 7 + 6 * 60 + 10;
    alert(&store, Action::Cleanup, "", later, CONNECTED);
    alert(&store, Action::Cleanup, "", later + 7, DONE);
    assert_eq!(since(&store), None, "cleaned");
}

#[test]
fn a_run_that_waited_while_its_session_was_cleaned_was_denied_nothing() {
    let (_dir, store) = open();
    alert(&store, Action::Cleanup, "", 0, CONNECTED);
    store
        .queue()
        .accept(&[request(Action::Cleanup, "")], at(10))
        .unwrap();
    person(&store, Action::Cleanup, 11, DONE);
    assert!(store.queue().claim_next(at(13), &[]).unwrap().is_none());
    let now = status_of(&store);
    assert_eq!(
        (now.ended, now.reason.as_deref(), now.refused),
        (at(13), Some("cooldown"), None)
    );
    assert_eq!(now.cleaned.unwrap().ended, at(12));
}

#[test]
fn a_clock_that_was_put_back_ends_the_refusals() {
    let (_dir, store) = open();
    // Each time long enough after the run before that the alert is accepted.
    let alert = |when| {
        let long_ago = "UPDATE runs SET created_steady_ns = 0";
        store.db.execute(long_ago, []).unwrap();
        alert(&store, Action::Cleanup, "", when, CONNECTED);
    };
    alert(60 * 24 * 365);
    alert(0);
    let now = status_of(&store);
    assert_eq!(
        (now.ended, now.refused.unwrap().since),
        (at(1), at(1)),
        "the latest to end"
    );
    alert(30);
    alert(20);
    assert_eq!(since(&store), Some(at(1)), "a little is nothing");
}

#[test]
fn a_clean_up_is_measured_from_the_first_alert() {
    let (_dir, store) = open();
    // The warning tier came first, and began before its alert was delivered.
    alert(&store, Action::Plan, &at(-90).rfc3339(), 0, DONE);
    alert(&store, Action::Cleanup, &at(600).rfc3339(), 610, CONNECTED);
    alert(&store, Action::Cleanup, &at(600).rfc3339(), 620, DONE);
    let cleaned = status_of(&store).cleaned.unwrap();
    assert_eq!((cleaned.ended, cleaned.files), (at(621), Some(70)));
    assert_eq!(minutes(Some(cleaned)), Some(90 + 621));
    assert_eq!(store.counters().totals().unwrap().cleanups["cleanup"], 1);

    // What was on record before a clean-up belongs to it; an alert that goes on is of the
    // next episode from the clean-up on.
    alert(&store, Action::Emergency, &at(600).rfc3339(), 1_200, DONE);
    assert_eq!(minutes(status_of(&store).cleaned), Some(1_201 - 621));
    let cleanups = store.counters().totals().unwrap().cleanups;
    assert_eq!((cleanups["cleanup"], cleanups["emergency"]), (1, 1));
}

#[test]
fn an_episode_has_no_gap_of_a_day_and_no_alert_of_which_nothing_was_left() {
    let (_dir, store) = open();
    let day = 24 * 60;
    alert(&store, Action::Plan, "", 0, DONE);
    alert(&store, Action::Cleanup, "", day + 1, CONNECTED);
    alert(&store, Action::Plan, "", 2 * day, DONE);
    alert(&store, Action::Cleanup, "", 3 * day, DONE);
    assert_eq!(
        minutes(status_of(&store).cleaned),
        Some(2 * day as u64),
        "from {day} + 1 on"
    );

    alert(&store, Action::Cleanup, "", 6 * day, STALE);
    alert(&store, Action::Cleanup, "", 6 * day + 30, DONE);
    assert_eq!(minutes(status_of(&store).cleaned), Some(1));
}

#[test]
fn a_persons_clean_up_has_a_lead_where_alerts_had_asked() {
    let (_dir, store) = open();
    person(&store, Action::Cleanup, 0, DONE);
    let now = status_of(&store).cleaned.unwrap();
    assert_eq!((now.ended, now.lead), (at(1), None));
    alert(&store, Action::Cleanup, "", 1_000, CONNECTED);
    person(&store, Action::Cleanup, 1_050, DONE);
    assert_eq!(minutes(status_of(&store).cleaned), Some(51));
    person(&store, Action::Cleanup, 1_060, DONE);
    assert_eq!(
        status_of(&store).cleaned.unwrap().lead,
        None,
        "those alerts have had theirs"
    );
    assert_eq!(store.counters().totals().unwrap().cleanups["cleanup"], 3);
}

#[test]
fn an_undo_is_no_clean_up_and_takes_none_back() {
    let (_dir, store) = open();
    alert(&store, Action::Cleanup, "", 0, DONE);
    let before = status_of(&store);
    person(&store, Action::Undo, 30, DONE);
    assert_eq!(status_of(&store), before);
    assert_eq!(store.counters().totals().unwrap().cleanups["cleanup"], 1);
    alert(&store, Action::Cleanup, "", 1_000, DONE);
    assert_eq!(
        minutes(status_of(&store).cleaned),
        Some(1),
        "the next episode began after it"
    );
}

#[test]
fn a_run_that_moved_nothing_is_no_clean_up() {
    let (_dir, store) = open();
    for (status, files) in [(Status::Done, 0), (Status::Failed, 7), (Status::Refused, 7)] {
        let id = store
            .runs()
            .begin("a", Action::Cleanup, "a person", at(0))
            .unwrap();
        let ending = Ending {
            files: BTreeMap::from([(Kind::Session, files)]),
            ..Ending::default()
        };
        store.runs().finish(id, status, &ending, at(1)).unwrap();
        assert_eq!(
            (status_of(&store).cleaned, status_of(&store).status),
            (None, status)
        );
    }
    // A restart ended it: what was left was not counted.
    let id = store
        .runs()
        .begin("a", Action::Cleanup, "a person", at(2))
        .unwrap();
    let ending = Ending {
        files: BTreeMap::from([(Kind::Session, 7)]),
        ..Ending::default()
    };
    store
        .runs()
        .finish(id, Status::Done, &ending, at(3))
        .unwrap();
    assert_eq!(
        status_of(&store).cleaned,
        Some(LastCleanup {
            ended: at(3),
            files: None,
            lead: None
        })
    );
    assert_eq!(store.counters().totals().unwrap().cleanups["cleanup"], 1);
}

#[test]
fn an_alerts_start_may_have_any_offset_and_must_make_sense() {
    let utc = |text: &str| point_in_time(text).map(Timestamp::rfc3339);
    let expected = Some("2026-11-23T18:00:00Z".to_owned());
    assert_eq!(utc("2026-11-23T18:00:00.123Z"), expected);
    assert_eq!(utc("2026-11-23T20:00:00.123456789+02:00"), expected);
    for nonsense in [
        "",
        "s",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-30T00:00:00Z",
    ] {
        assert_eq!(utc(nonsense), None, "{nonsense}");
    }
    // One that is in the future began when it came.
    let (_dir, store) = open();
    alert(&store, Action::Cleanup, &at(500).rfc3339(), 0, DONE);
    assert_eq!(minutes(status_of(&store).cleaned), Some(1));
}

#[test]
fn a_restart_changes_nothing_and_a_session_is_forgotten_with_its_runs() {
    let (dir, store) = open();
    alert(&store, Action::Cleanup, "", 0, CONNECTED);
    alert(&store, Action::Cleanup, "", 10, DONE);
    let before = store.session_status().all().unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.session_status().all().unwrap(), before);
    let kept_until = before[0].ended.plus(KEPT_FOR);
    store.prune(kept_until).unwrap();
    assert_eq!(store.session_status().all().unwrap(), before);
    store
        .prune(kept_until.plus(Duration::from_secs(1)))
        .unwrap();
    assert_eq!(store.session_status().all().unwrap(), []);
    assert_eq!(store.counters().totals().unwrap().cleanups["cleanup"], 1);
}

/// What a scrape reads grows with the sessions and not with their runs, and what the end of a
/// run reads grows with its episode.
#[test]
fn no_query_reads_all_runs() {
    let (_dir, store) = open();
    let plan = |query: &str| -> Vec<String> {
        let mut plan = store
            .db
            .prepare(&format!("EXPLAIN QUERY PLAN {query}"))
            .unwrap();
        let nulls = vec![rusqlite::types::Null; plan.parameter_count()];
        plan.query_map(rusqlite::params_from_iter(nulls), |row| row.get("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    };
    let scrape = plan(&format!("{STATUS} ORDER BY session"));
    assert!(
        scrape.iter().all(|step| step == "SCAN session_status"),
        "{scrape:?}"
    );
    let episode = plan(EPISODE);
    assert!(
        episode
            .iter()
            .all(|step| step.starts_with("SEARCH runs USING INDEX runs_by_request ")),
        "{episode:?}"
    );
}
