#![allow(clippy::unwrap_used)]
use super::*;
use crate::folder::Kind;
use Finding::*;

#[test]
fn the_rules() {
    let now = Timestamp::from_secs(1_800_000_000);
    let ago = |seconds: u64| now.minus(Duration::from_secs(seconds));
    let event = |opened, at: u64, line: u64| {
        Some(LogEvent {
            opened: Some(opened),
            at: Some(ago(at)),
            last_line: ago(line),
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        })
    };
    let ahead = now.plus(Duration::from_secs(1));
    let is = |opened, at, last_line| {
        Some(LogEvent {
            opened,
            at,
            last_line,
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        })
    };
    for (event, gone, written, finding) in [
        (None, false, None, Nothing),
        (None, true, None, Nothing),
        (event(true, 5000, 900), false, None, Connected),
        (event(true, 5000, 901), false, None, Nothing),
        (event(false, 5000, 900), false, None, Disconnected),
        (
            event(false, 5000, 900),
            false,
            Some(ago(4998)),
            Disconnected,
        ),
        (event(false, 5000, 900), false, Some(ago(4997)), Nothing),
        (event(false, 5000, 901), false, None, Nothing),
        (event(true, 5000, 5000), true, None, Nothing),
        (event(false, 5000, 5000), true, None, Disconnected),
        (event(false, 5000, 5000), true, Some(ago(1)), Disconnected),
        // A log that is still written contradicts a process that is gone.
        (event(true, 5000, 599), true, None, NoAnswer),
        (event(false, 5000, 599), true, None, NoAnswer),
        (is(None, None, ago(599)), true, None, NoAnswer),
        (is(None, None, ago(600)), true, None, Nothing),
        (is(None, None, ago(5)), false, None, Nothing),
        (is(Some(false), Some(ago(5)), ahead), false, None, Nothing),
        (is(Some(false), None, ago(1)), false, None, Nothing),
        (is(Some(true), None, ago(1)), false, None, Connected),
        (is(Some(true), Some(ahead), ago(0)), false, None, Nothing),
        (is(Some(false), Some(ahead), ahead), true, None, NoAnswer),
    ] {
        let (seen, why) = log_says(
            Ok(event.clone()),
            gone,
            written.map(|at| NewestWrite {
                at,
                kind: Kind::Session,
            }),
            now,
            Duration::from_secs(900),
            Duration::from_secs(600),
        );
        assert_eq!(seen, finding, "{event:?} {gone} {written:?}: {why}");
    }
    let unreadable = log_says(
        Err("x".into()),
        false,
        None,
        now,
        Duration::from_secs(900),
        Duration::from_secs(600),
    );
    assert_eq!(unreadable, (NoAnswer, "x".to_owned()));
}

#[test]
fn a_line_from_after_the_end_of_the_process() {
    let end = Timestamp::from_secs(1_000_000);
    let after = |seconds| end.plus(Duration::from_secs(seconds));
    let log = |last_text| {
        Ok(Some(LogEvent {
            opened: None,
            at: None,
            last_line: after(3600),
            last_text,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        }))
    };
    let vetoes = |event: Result<Option<LogEvent>, String>, ended_by| {
        written_after(&event, ended_by).map(|evidence| evidence.finding)
    };
    assert_eq!(
        vetoes(log(Some(after(3))), Some(end)),
        Some(Finding::NoAnswer)
    );
    assert_eq!(
        vetoes(log(Some(after(2))), Some(end)),
        None,
        "its own last line"
    );
    assert_eq!(vetoes(log(Some(end)), Some(end)), None);
    assert_eq!(vetoes(log(None), Some(end)), None, "it was only emptied");
    assert_eq!(vetoes(log(Some(after(3))), None), None);
    assert_eq!(vetoes(Ok(None), Some(end)), None);
}

#[test]
fn an_unclear_close_says_why() {
    let now = Timestamp::from_secs(1_800_000_000);
    let event = LogEvent {
        opened: None,
        at: None,
        last_line: now.minus(Duration::from_secs(700)),
        last_text: None,
        unclear: Some("session b has no log of its own".into()),
        doubted: None,
        opener: None,
        never_opened: false,
        has_new_writer: false,
    };
    for gone in [false, true] {
        let (quiet, fresh) = (Duration::from_secs(600), Duration::from_secs(900));
        let (finding, why) = log_says(Ok(Some(event.clone())), gone, None, now, fresh, quiet);
        assert_eq!(finding, Nothing);
        assert_eq!(
            why,
            "the connection was closed, but session b has no log of its own"
        );
    }
}

fn opened_by(runs: bool, opened: Timestamp) -> LogEvent {
    LogEvent {
        opened: Some(true),
        at: Some(opened),
        last_line: opened,
        last_text: Some(opened),
        unclear: None,
        doubted: None,
        opener: Some(Opener {
            pid: 4242,
            namespace: 4_026_531_836,
            opened,
            runs,
        }),
        never_opened: false,
        has_new_writer: false,
    }
}

/// Of a process that runs it is not said that it is gone, nor of one that has ended that its
/// connection is open. That it has ended is told however old the log is.
#[test]
fn what_is_known_of_the_process_that_opened_counts() {
    let now = Timestamp::from_secs(1_780_000_000);
    let long_ago = now.minus(Duration::from_secs(3_600));
    let minute = Duration::from_secs(60);
    let says = |opened, runs, last_line, gone| {
        let event = LogEvent {
            opened,
            last_line,
            ..opened_by(runs, long_ago)
        };
        log_says(Ok(Some(event)), gone, None, now, minute, minute).0
    };
    for (opened, runs, last_line, finding) in [
        (Some(true), true, now, Connected),
        (Some(true), true, long_ago, Nothing),
        (Some(true), false, now, Ambiguous),
        (Some(true), false, long_ago, Ambiguous),
        (None, false, long_ago, Ambiguous),
        // The close was reported while it was fresh.
        (Some(false), false, now, Disconnected),
        (Some(false), false, long_ago, Nothing),
        (Some(true), false, now.plus(minute), Nothing),
    ] {
        let seen = says(opened, runs, last_line, false);
        assert_eq!(seen, finding, "{opened:?} {runs} {last_line:?}");
    }
    // Where the process is proven gone, nothing more is needed.
    assert_eq!(says(Some(true), false, long_ago, true), Nothing);
    assert!(opened_by(false, long_ago).opener_runs().is_none());
    let against = opened_by(true, long_ago).opener_runs().unwrap();
    assert_eq!(against.finding, Finding::NoAnswer);
}

#[test]
fn a_process_has_ended_only_if_it_was_seen_running() {
    let seen_at = Timestamp::from_secs(1_780_000_000);
    let after = |days: u64| seen_at.plus(Duration::from_secs(days * 86_400));
    let second = Duration::from_secs(1);
    let mut sightings = SessionSightings::default();
    let known = |event: LogEvent, sightings: &SessionSightings, now| {
        let mut event = event;
        let sighting = event.keep_known_opener(sightings, now);
        (event.opener.map(|opener| opener.runs), sighting)
    };
    // It may be of another PID namespace, or was never seen.
    assert_eq!(
        known(opened_by(false, seen_at), &sightings, seen_at).0,
        None
    );
    let (runs, sighting) = known(opened_by(true, seen_at), &sightings, seen_at);
    assert_eq!(runs, Some(true));
    let sighting = sighting.unwrap();
    sightings.alive = sightings
        .missing(std::slice::from_ref(&sighting), seen_at)
        .into_iter()
        .collect();
    assert_eq!(sightings.alive.len(), 1);
    let ended = |event, now| known(event, &sightings, now).0;
    assert_eq!(ended(opened_by(false, seen_at), after(30)), Some(false));
    assert_eq!(ended(opened_by(false, seen_at), after(31)), None, "too old");
    // It has connected again since, and ended before the next look.
    let again = opened_by(false, seen_at.plus(second));
    assert_eq!(ended(again, after(1)), Some(false));
    // One that was not seen running for long before is another process of this number.
    let later = |seconds| opened_by(false, seen_at.plus(second * seconds));
    assert_eq!(ended(later(900), after(1)), Some(false));
    assert_eq!(ended(later(901), after(1)), None);
    let other = |change: fn(&mut Opener)| {
        let mut event = opened_by(false, seen_at);
        event.opener.iter_mut().for_each(change);
        event
    };
    for event in [
        other(|opener| opener.pid = 1),
        other(|opener| opener.namespace = 1),
        opened_by(false, seen_at.minus(second)),
    ] {
        assert_eq!(ended(event.clone(), after(1)), None, "{event:?}");
    }
    for mark in [
        None,
        Some(""),
        Some("4026531836"),
        Some("4026531836 4242 x"),
    ] {
        let mut damaged = sightings.clone();
        let mark = mark.map(str::to_owned);
        damaged
            .alive
            .values_mut()
            .for_each(|alive| alive.mark.clone_from(&mark));
        let event = opened_by(false, seen_at);
        assert_eq!(known(event, &damaged, after(1)).0, None, "{mark:?}");
    }
}

#[test]
fn an_opened_connection_of_an_earlier_process() {
    let opened = Timestamp::from_secs(1_000_000);
    let after = |seconds| Some(opened.plus(Duration::from_secs(seconds)));
    let event = |at, has_new_writer| {
        Ok(Some(LogEvent {
            opened: Some(true),
            at,
            last_line: opened,
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer,
        }))
    };
    let process = |id: &str, finding| {
        vec![Evidence {
            id: id.into(),
            ..Evidence::new("process", finding, "")
        }]
    };
    let runs = process("a", Nothing);
    for (event, evidence, started, finding) in [
        (event(Some(opened), false), &runs, after(3), Some(Ambiguous)),
        (event(Some(opened), false), &runs, after(2), None),
        (event(Some(opened), false), &runs, None, None),
        // A supervisor knows better which process runs.
        (event(Some(opened), true), &runs, Some(opened), None),
        (event(Some(opened), true), &runs, None, Some(Nothing)),
        (event(None, true), &runs, after(3), Some(Nothing)),
        (event(None, false), &runs, after(3), None),
        (event(Some(opened), true), &vec![], None, Some(Nothing)),
        (event(Some(opened), false), &vec![], None, None),
        // It is between two starts, or its supervisor did not answer.
        (
            event(Some(opened), false),
            &process("a", NoAnswer),
            None,
            Some(Nothing),
        ),
        // This may be the process of another session.
        (
            event(Some(opened), false),
            &process("", NoAnswer),
            None,
            None,
        ),
        (Ok(None), &runs, after(3), None),
    ] {
        let doubt = superseded(&event, evidence, started).map(|(finding, _)| finding);
        assert_eq!(doubt, finding, "{event:?} {evidence:?} {started:?}");
    }
}

#[test]
fn a_process_that_never_opened_a_connection() {
    let now = Timestamp::from_secs(1_800_000_000);
    let says = |gone, last_line| {
        let event = LogEvent {
            opened: None,
            at: None,
            last_line,
            last_text: None,
            unclear: Some("another process had opened it".into()),
            doubted: None,
            opener: None,
            never_opened: true,
            has_new_writer: false,
        };
        let (quiet, fresh) = (Duration::from_secs(600), Duration::from_secs(900));
        log_says(Ok(Some(event)), gone, None, now, fresh, quiet).0
    };
    let ago = |seconds| now.minus(Duration::from_secs(seconds));
    assert_eq!(says(false, ago(900)), Ambiguous);
    assert_eq!(says(false, ago(901)), Nothing);
    assert_eq!(says(true, ago(700)), Nothing);
}

proptest::proptest! {
    /// That the process has ended is neither a proof nor a veto: it only replaces what would be
    /// said of a connection.
    #[test]
    fn an_opener_that_has_ended_changes_no_proof(
        opened in proptest::sample::select(&[None, Some(true), Some(false)][..]),
        at in proptest::option::of(0u64..2_000),
        last_line in 0u64..2_000,
        written in proptest::option::of(0u64..2_000),
        gone: bool,
        never_opened: bool,
        unclear: bool,
    ) {
        let now = Timestamp::from_secs(1_800_000_000);
        // Some are in the future.
        let ago = |seconds| now.plus(Duration::from_secs(10)).minus(Duration::from_secs(seconds));
        let event = LogEvent {
            opened,
            at: at.map(ago),
            last_line: ago(last_line),
            unclear: unclear.then(|| "another process had opened it".into()),
            doubted: None,
            never_opened,
            ..opened_by(false, ago(2_000))
        };
        let without = LogEvent { opener: None, ..event.clone() };
        let says = |event: LogEvent| {
            let (quiet, fresh) = (Duration::from_secs(600), Duration::from_secs(900));
            let written = written.map(|seconds| NewestWrite { at: ago(seconds), kind: Kind::Session });
            log_says(Ok(Some(event)), gone, written, now, fresh, quiet).0
        };
        let (before, after) = (says(without), says(event));
        let replaced = matches!(before, Connected | Nothing | Ambiguous) && after == Ambiguous;
        proptest::prop_assert!(before == after || replaced, "{before:?} {after:?}");
        proptest::prop_assert_ne!(after, Connected);
    }
}
