use std::collections::BTreeMap;

use super::*;
use crate::folder::Timestamp;
use crate::policy::Thresholds;
use crate::remediator::store::session_status::Refused;

const MINUTE: Duration = Duration::from_secs(60);

fn run(status: Status, reason: Option<&str>) -> Run {
    Run {
        id: 7,
        created: String::new(),
        created_at: Timestamp::default(),
        finished: None,
        session: "bot".into(),
        action: Action::Cleanup,
        tier: Some("cleanup".into()),
        requested_by: Requester::Alert("local".into()),
        status,
        reason: reason.map(str::to_owned),
        detail: Some("/srv/a/path: session-447700900123.0.json".into()),
        note: None,
        evidence: None,
        run: Some("20260101T000000Z-1".into()),
        accumulated_before: Some(160),
        accumulated_after: Some(70),
        files: BTreeMap::from([("session".to_owned(), 90)]),
        owner: String::new(),
    }
}

#[test]
fn a_clean_up_is_reported_with_its_numbers_and_the_way_back() {
    let mut reports = Reports::default();
    let said = reports.of_runs(&[run(Status::Done, None)], MINUTE);
    assert_eq!(
        said,
        [
            "bot: cleanup done, 90 files moved, accumulated 160 to 70 (run 7); undo with: baileys_remediator undo 20260101T000000Z-1"
        ]
    );
    let nothing = Run {
        files: BTreeMap::new(),
        ..run(Status::Done, None)
    };
    let by_hand = Run {
        requested_by: Requester::Operator("ann".into()),
        ..run(Status::Done, None)
    };
    let plan = Run {
        action: Action::Plan,
        ..run(Status::Done, None)
    };
    for quiet in [nothing, by_hand, plan, run(Status::Running, None)] {
        assert!(
            reports
                .of_runs(std::slice::from_ref(&quiet), MINUTE)
                .is_empty(),
            "{quiet:?}"
        );
    }
}

#[test]
fn a_refusal_is_reported_once_until_something_changes() {
    let mut reports = Reports::default();
    let refused = |reason| [run(Status::Refused, Some(reason))];
    let said = reports.of_runs(&refused("connected"), MINUTE);
    assert_eq!(
        said,
        ["bot: cleanup refused: connected; see: baileys_remediator runs show 7"]
    );
    // An hour without it is not over while it goes on.
    for minute in (5..200).step_by(5) {
        assert!(
            reports
                .of_runs(&refused("connected"), MINUTE * minute)
                .is_empty()
        );
    }
    assert_eq!(reports.of_runs(&refused("dormant"), MINUTE * 200).len(), 1);
    assert_eq!(
        reports.of_runs(&refused("connected"), MINUTE * 201).len(),
        1
    );
    assert_eq!(
        reports.of_runs(&refused("connected"), MINUTE * 262).len(),
        1
    );
    reports.of_runs(&[run(Status::Done, None)], MINUTE * 263);
    assert_eq!(
        reports.of_runs(&refused("connected"), MINUTE * 264).len(),
        1
    );
    let failed = [run(Status::Failed, Some("connected"))];
    assert_eq!(reports.of_runs(&failed, MINUTE * 265).len(), 1);
    // There was nothing to clean.
    for reason in ["stale_alert", "cooldown", "unknown_session"] {
        assert!(reports.of_runs(&refused(reason), MINUTE * 266).is_empty());
    }
}

#[test]
fn no_report_holds_the_sentence_of_an_error() {
    let mut reports = Reports::default();
    for status in [Status::Refused, Status::Failed] {
        for line in reports.of_runs(&[run(status, Some("io"))], MINUTE) {
            assert!(!line.contains('/') && !line.contains("447700"), "{line}");
        }
    }
}

fn notice(kind: StatusNoticeKind, text: &str) -> StatusNotice {
    StatusNotice {
        kind,
        subject: "bot".into(),
        text: text.into(),
    }
}

/// A tier that has risen is another event, although the reason is the same.
#[test]
fn a_refusal_of_a_higher_tier_is_reported_as_well() {
    let mut reports = Reports::default();
    let refused = [run(Status::Refused, Some("connected"))];
    let emergency = [Run {
        action: Action::Emergency,
        ..refused[0].clone()
    }];
    assert_eq!(reports.of_runs(&refused, MINUTE).len(), 1);
    assert_eq!(
        reports.of_runs(&emergency, MINUTE * 2),
        ["bot: emergency refused: connected; see: baileys_remediator runs show 7"]
    );
    assert!(reports.of_runs(&refused, MINUTE * 3).is_empty());
    assert!(reports.of_runs(&emergency, MINUTE * 4).is_empty());
}

/// `serve` has begun anew, and the same refusal goes on.
#[test]
fn a_refusal_of_before_the_first_look_goes_on() {
    let status = |session: &str, reason: &str| SessionStatus {
        session: session.into(),
        ended: Timestamp::from_secs(1),
        action: Action::Cleanup,
        status: Status::Refused,
        reason: Some(reason.into()),
        refused: Some(Refused {
            since: Timestamp::from_secs(1),
            last: Timestamp::from_secs(1),
            reason: reason.into(),
        }),
        cleaned: None,
    };
    let refused = [run(Status::Refused, Some("connected"))];
    let mut reports = Reports::default();
    reports.begin(&[status("bot", "connected"), status("two", "dormant")]);
    assert_eq!(
        reports.of_runs(&refused, MINUTE),
        ["still: bot: cleanup refused: connected; see: baileys_remediator runs show 7"]
    );
    assert!(reports.of_runs(&refused, MINUTE * 2).is_empty());
    // An hour is over without it: it is another event.
    let again = reports.of_runs(&refused, MINUTE * 63);
    assert!(again[0].starts_with("bot: cleanup refused"), "{again:?}");
    // Another reason is news, and so is what was done in between.
    for (before, done) in [("dormant", false), ("connected", true)] {
        let mut reports = Reports::default();
        reports.begin(&[status("bot", before)]);
        if done {
            reports.of_runs(&[run(Status::Done, None)], MINUTE);
        }
        let said = reports.of_runs(&refused, MINUTE);
        assert!(said[0].starts_with("bot: cleanup refused"), "{said:?}");
    }
}

#[test]
fn the_loss_of_the_journal_is_reported_once() {
    let mut reports = Reports::default();
    assert_eq!(reports.of_journal(false), None);
    let lost = reports.of_journal(true).unwrap();
    assert!(lost.starts_with("The journal cannot be used"), "{lost}");
    assert_eq!(reports.of_journal(true), None);
    assert_eq!(
        reports.of_journal(false),
        Some(format!("no longer: {lost}"))
    );
    assert_eq!(reports.of_journal(false), None);
}

/// The bot of a session is not back, at first for another reason.
#[test]
fn what_goes_on_with_other_words_is_no_new_event() {
    let mut reports = Reports::default();
    assert!(reports.of_notices(&[]).is_empty());
    let one = notice(StatusNoticeKind::NotBack, "(not_connected) since 1");
    assert_eq!(
        reports.of_notices(&[one]),
        ["Not back (not_connected) since 1"]
    );
    let other = notice(StatusNoticeKind::NotBack, "(down) since 2");
    assert_eq!(
        reports.of_notices(std::slice::from_ref(&other)),
        ["still: Not back (down) since 2"]
    );
    assert!(reports.of_notices(&[other]).is_empty());
    assert_eq!(
        reports.of_notices(&[]),
        ["no longer: Not back (down) since 2"]
    );
}

#[test]
fn notices_are_reported_when_they_begin_and_end() {
    let paused = notice(StatusNoticeKind::Paused, "since 1 by ann: why");
    let armed = notice(StatusNoticeKind::Armed, "session bot");
    let mut reports = Reports::default();
    // It was so before the start.
    assert!(reports.of_notices(std::slice::from_ref(&paused)).is_empty());
    assert_eq!(
        reports.of_notices(&[]),
        ["no longer: Paused since 1 by ann: why"]
    );
    let said = reports.of_notices(&[paused.clone(), armed]);
    assert_eq!(said, ["Paused since 1 by ann: why"]);
    assert!(reports.of_notices(&[paused]).is_empty());
}

/// It may have begun before the first look, while `serve` was starting or down.
#[test]
fn a_bot_that_is_not_back_is_reported_at_the_first_look() {
    let all = [
        notice(StatusNoticeKind::Paused, "since 1"),
        notice(StatusNoticeKind::BreakerOpen, "since 2"),
        notice(StatusNoticeKind::NotBack, "(down) since 3: session bot"),
        notice(StatusNoticeKind::Restart, "service bot"),
    ];
    let mut reports = Reports::default();
    assert_eq!(
        reports.of_notices(&all),
        [
            "still: Circuit breaker open since 2",
            "still: Not back (down) since 3: session bot",
        ]
    );
    assert!(reports.of_notices(&all).is_empty());
    assert_eq!(reports.of_notices(&[]).len(), 3);
}

fn status(accumulated: usize, firing: &[Tier]) -> [TierStatus; 1] {
    [TierStatus {
        session: "bot".into(),
        accumulated,
        thresholds: Thresholds::default(),
        is_read: true,
        firing: firing.iter().map(|tier| (*tier, MINUTE)).collect(),
    }]
}

#[test]
fn a_tier_is_reported_when_it_rises_and_when_it_is_over() {
    use Tier::{Cleanup, Emergency, Fatal, Monitor, Warning};
    let mut reports = Reports::default();
    let mut said =
        |accumulated, firing: &[Tier]| reports.of_standings(&status(accumulated, firing));
    assert!(said(110, &[Monitor]).is_empty());
    let up = said(130, &[Monitor, Warning]);
    assert_eq!(up, ["bot: warning tier, 130 accumulated files"]);
    assert!(said(135, &[Monitor, Warning]).is_empty());
    assert_eq!(said(190, &[Warning, Cleanup, Emergency]).len(), 1);
    // It goes down to a lower one, and up again.
    assert!(said(140, &[Warning]).is_empty());
    assert!(said(190, &[Warning, Cleanup, Emergency]).is_empty());
    let fatal = said(210, &[Warning, Cleanup, Emergency, Fatal]);
    assert!(fatal[0].contains("a person has to decide"), "{fatal:?}");
    // Not held for long enough, and not over either.
    assert!(said(125, &[]).is_empty());
    let over = said(119, &[]);
    assert_eq!(over, ["bot: fatal tier is over, 119 accumulated files"]);
    assert_eq!(said(130, &[Warning]).len(), 1);
}
