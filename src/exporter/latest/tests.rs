use std::ffi::OsStr;

use super::*;
use crate::connection::{Alive, Evidence, Finding, RestartCount, fold};
use crate::folder::Timestamp;

fn name(text: &str) -> SessionName {
    SessionName::from_dir(OsStr::new(text))
}

/// A process that runs, as it was seen at this second.
fn runs(mark: &str, second: i64) -> Verdict {
    let alive = Some(Alive {
        at: Timestamp::from_nanos(second * 1_000_000_000),
        mark: Some(mark.to_owned()),
    });
    fold(vec![Evidence {
        alive,
        runs: Some(true),
        ..Evidence::new("process", Finding::Nothing, "running")
    }])
}

fn probe(finding: Finding) -> Verdict {
    fold(vec![Evidence::new("probe", finding, "")])
}

#[test]
fn an_old_verdict_tells_nothing() {
    let (session, at) = (name("a"), Instant::now());
    let mut latest = LatestVerdicts::default();
    let before = latest.of(&session, at);
    assert_eq!((before.state, before.is_unresolved), (State::Unknown, None));
    latest.note(
        [(&session, &probe(Finding::Connected))].into_iter(),
        at,
        &|_| true,
    );
    let after = |seconds| {
        let reading = latest.of(&session, at + Duration::from_secs(seconds));
        (reading.state, reading.is_unresolved)
    };
    assert_eq!(after(300), (State::Connected, Some(false)));
    // The rounds hang: the verdict is lost.
    assert_eq!(after(301), (State::Unknown, Some(true)));
}

#[test]
fn a_verdict_is_unresolved_if_a_source_that_was_asked_did_not_settle_it() {
    let (session, at) = (name("a"), Instant::now());
    let reading = |verdict: &Verdict| {
        let mut latest = LatestVerdicts::default();
        latest.note([(&session, verdict)].into_iter(), at, &|_| true);
        latest.of(&session, at).is_unresolved
    };
    assert_eq!(reading(&probe(Finding::Connected)), Some(false));
    assert_eq!(reading(&probe(Finding::NoAnswer)), Some(true));
    assert_eq!(reading(&probe(Finding::Unreachable)), Some(true));
    let contradiction = fold(vec![
        Evidence::new("probe", Finding::Connected, ""),
        Evidence::new("process", Finding::Gone, ""),
    ]);
    assert_eq!(reading(&contradiction), Some(true));
    // A process that runs tells nothing, and so does a quiet log.
    assert_eq!(reading(&runs("1 2 boot", 1)), Some(false));
    let log = fold(vec![Evidence::new("log", Finding::NoAnswer, "")]);
    assert_eq!(reading(&log), Some(false));
    let unseen = Verdict::unknown("folder", "it could not be looked at");
    assert_eq!(reading(&unseen), Some(false));
}

#[test]
fn each_other_process_is_a_restart() {
    let (session, at) = (name("a"), Instant::now());
    let mut latest = LatestVerdicts::default();
    let mut see = |verdict: &Verdict| {
        latest.note([(&session, verdict)].into_iter(), at, &|_| true);
        latest.of(&session, at).restarts
    };
    assert_eq!(see(&probe(Finding::Connected)), None);
    assert_eq!(see(&runs("7 100 boot", 1)), Some(0));
    assert_eq!(see(&runs("7 100 boot", 2)), Some(0));
    // Gone in between, and another one under the same number.
    assert_eq!(see(&probe(Finding::NoAnswer)), Some(0));
    assert_eq!(see(&runs("7 200 boot", 5)), Some(1));
    // A look that began before it, and ends after it.
    assert_eq!(see(&runs("7 100 boot", 4)), Some(1));
    assert_eq!(see(&runs("7 200 boot", 6)), Some(1));
    assert_eq!(see(&runs("8 300 boot", 7)), Some(2));
}

/// It is between two starts at each look.
#[test]
fn what_its_supervisor_counts_is_a_restart_too() {
    let (session, at) = (name("a"), Instant::now());
    let mut latest = LatestVerdicts::default();
    let mut see = |second: i64, number| {
        let evidence = Evidence {
            restarts: Some(RestartCount {
                at: Timestamp::from_secs(second),
                number,
            }),
            ..Evidence::new("process", Finding::NoAnswer, "")
        };
        latest.note([(&session, &fold(vec![evidence]))].into_iter(), at, &|_| {
            true
        });
        let reading = latest.of(&session, at);
        (reading.restarts, reading.state, reading.process_running)
    };
    assert_eq!(see(1, 12), (Some(0), State::Unknown, None));
    assert_eq!(see(31, 19), (Some(7), State::Unknown, None));
}

#[test]
fn a_process_of_several_sessions_is_no_session_s_own() {
    let (main, sub, other, none) = (name("main"), name("sub"), name("other"), name("none"));
    let at = Instant::now();
    let mut latest = LatestVerdicts::default();
    let (shared, own) = (runs("7 100 boot", 1), runs("8 100 boot", 1));
    let silent = probe(Finding::NoAnswer);
    let round = [
        (&main, &shared),
        (&sub, &shared),
        (&other, &own),
        (&none, &silent),
    ];
    latest.note(round.into_iter(), at, &|_| true);
    let own = |session| latest.of(session, at).process_running;
    assert_eq!(
        [own(&main), own(&sub), own(&other), own(&none)],
        [None, None, Some(true), None]
    );
}

#[test]
fn a_shared_connection_counts_once_it_has_lasted() {
    let (session, at) = (name("a"), Instant::now());
    let sockets = |finding| Evidence::new("sockets", finding, "");
    for (findings, has) in [
        (vec![Finding::Shared], true),
        // None of the process has lasted.
        (vec![Finding::Shared, Finding::Ambiguous], false),
        (vec![Finding::Connected], false),
        (vec![Finding::Nothing], false),
    ] {
        let probe = findings.iter().map(|of| Evidence::new("probe", *of, ""));
        let by_probe = fold(probe.collect()).has_shared_connection();
        assert_eq!(by_probe, findings.contains(&Finding::Shared));
        let verdict = fold(findings.into_iter().map(sockets).collect());
        let mut latest = LatestVerdicts::default();
        latest.note([(&session, &verdict)].into_iter(), at, &|_| true);
        assert_eq!(latest.of(&session, at).has_shared_connection, has);
        let later = at + VERDICT_FOR + Duration::from_secs(1);
        assert!(!latest.of(&session, later).has_shared_connection);
    }
}

/// Its supervisor may not tell: after a reboot, pm2 may not have been started again.
#[test]
fn a_process_that_has_ended_does_not_run() {
    let (session, at) = (name("a"), Instant::now());
    let reading = |finding, runs, others: &[Finding]| {
        let process = Evidence {
            runs,
            ..Evidence::new("process", finding, "")
        };
        let others = others.iter().map(|other| Evidence::new("log", *other, ""));
        let verdict = fold(others.chain([process]).collect());
        let mut latest = LatestVerdicts::default();
        latest.note([(&session, &verdict)].into_iter(), at, &|_| true);
        latest.of(&session, at).process_running
    };
    use Finding::*;
    assert_eq!(reading(NoAnswer, Some(false), &[]), Some(false));
    assert_eq!(reading(NoAnswer, None, &[]), None);
    assert_eq!(reading(Gone, Some(false), &[Quiet]), Some(false));
    assert_eq!(reading(Gone, Some(false), &[Disconnected]), Some(false));
    // Another process may be the bot.
    assert_eq!(reading(NoAnswer, Some(false), &[Connected]), None);
    assert_eq!(reading(Gone, Some(false), &[Shared]), None);
    assert_eq!(reading(NoAnswer, Some(false), &[NoAnswer]), None);
}

/// A supervisor may be starting it again: that is no reason to forget its session.
#[test]
fn a_process_that_ran_a_moment_ago_has_run_lately() {
    let (session, other, at) = (name("a"), name("b"), Instant::now());
    let mut latest = LatestVerdicts::default();
    let lately = |latest: &LatestVerdicts, seconds| {
        latest.has_run_lately(&session, at + Duration::from_secs(seconds))
    };
    assert!(!lately(&latest, 0));
    latest.note([(&session, &runs("1", 0))].into_iter(), at, &|_| true);
    assert!(lately(&latest, 0) && lately(&latest, 300));
    latest.note(
        [(&session, &probe(Finding::Connected))].into_iter(),
        at + Duration::from_secs(100),
        &|_| true,
    );
    assert!(lately(&latest, 300) && !lately(&latest, 301));
    // A process of several sessions is none of its own.
    let both = runs("2", 0);
    let mut shared = LatestVerdicts::default();
    shared.note(
        [(&session, &both), (&other, &both)].into_iter(),
        at,
        &|_| true,
    );
    assert!(!lately(&shared, 0));
    latest.note([(&other, &both)].into_iter(), at, &|_| true);
    assert!(!lately(&latest, 0), "it is no session any more");
    // A process that is not named after the session may go on without it.
    let mut unnamed = LatestVerdicts::default();
    unnamed.note([(&session, &runs("3", 0))].into_iter(), at, &|_| false);
    assert!(!lately(&unnamed, 0));
}
