use super::*;
use crate::connection::{Alive, Opener};
use crate::folder::{Creds, Entry, FileName, SessionActivity, Shape, Stamp};

fn asked(findings: &[Finding], log: Option<LogEvent>) -> Asked {
    Asked {
        evidence: findings
            .iter()
            .map(|finding| Evidence::new("probe", *finding, ""))
            .collect(),
        log: log.map(|event| ("log".into(), Ok(Some(event)))),
        logged_out: false,
        ended_by: None,
        started: None,
        own_pids: std::collections::BTreeSet::new(),
        sightings: SessionSightings {
            trusted_by_configuration: true,
            ..SessionSightings::default()
        },
    }
}

fn folder(modified: Timestamp) -> Inventory {
    let stamp = Stamp {
        modified,
        ..Stamp::default()
    };
    let inside = SessionActivity::NotRead;
    let name = FileName::new("creds.json");
    Inventory::new(
        [Entry {
            name,
            shape: Shape::Regular,
            stamp,
            inside,
        }],
        Creds::Missing,
    )
}

#[test]
fn while_it_is_stopped() {
    use Finding::*;
    let since = Timestamp::now().minus(Duration::from_secs(10));
    let later = since.plus(Duration::from_nanos(1));
    let line = |last_line| {
        Some(LogEvent {
            opened: Some(true),
            at: Some(since),
            last_line,
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        })
    };
    for (findings, log, gone, written, state) in [
        (&[][..], None, true, since, State::Disconnected),
        (&[NoAnswer], None, true, since, State::Disconnected),
        (&[Disconnected], None, true, since, State::Disconnected),
        (
            &[Gone, NoAnswer],
            line(since.plus(TICK)),
            true,
            since,
            State::Disconnected,
        ),
        (&[Connected], None, true, since, State::Unknown),
        (&[Connecting], None, true, since, State::Unknown),
        (&[Shared], None, true, since, State::Unknown),
        (&[NoAnswer], None, false, since, State::Unknown),
        (&[Gone], None, false, since, State::Unknown),
        (&[NoAnswer], None, true, later, State::Unknown),
        (
            &[Gone],
            line(since.plus(TICK * 2)),
            true,
            since,
            State::Unknown,
        ),
    ] {
        let verdict = Connection::default().judge_stopped(
            asked(findings, log.clone()),
            &folder(written),
            gone,
            since,
        );
        assert_eq!(
            verdict.state, state,
            "{findings:?} {log:?} {gone} {verdict:?}"
        );
        assert_eq!(verdict.process_gone, state == State::Disconnected);
    }
}

/// The service of another bot was stopped, and the log of this one is the only source.
#[test]
fn a_log_that_ends_with_an_opened_connection_is_not_enough() {
    use Finding::*;
    let since = Timestamp::now().minus(Duration::from_secs(10));
    let long_ago = since.minus(Duration::from_secs(3600));
    let log = |opened, last_line| {
        Some(LogEvent {
            opened,
            at: Some(long_ago),
            last_line,
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        })
    };
    let open = Some(true);
    for (source, finding, log, written, state) in [
        ("sockets", Nothing, log(open, since), since, State::Unknown),
        ("probe", Nothing, log(open, since), since, State::Unknown),
        ("process", Nothing, log(open, since), since, State::Unknown),
        ("sockets", NoAnswer, log(open, since), since, State::Unknown),
        // Either of them was still.
        (
            "sockets",
            Nothing,
            log(open, long_ago),
            since,
            State::Unknown,
        ),
        (
            "sockets",
            Nothing,
            log(open, since),
            long_ago,
            State::Unknown,
        ),
        (
            "sockets",
            Nothing,
            log(open, long_ago),
            long_ago,
            State::Disconnected,
        ),
        // Another source saw it go.
        (
            "probe",
            Disconnected,
            log(open, since),
            since,
            State::Disconnected,
        ),
        (
            "process",
            Gone,
            log(open, since),
            since,
            State::Disconnected,
        ),
        // It said so itself, or never spoke of a connection.
        (
            "sockets",
            Nothing,
            log(Some(false), since),
            since,
            State::Disconnected,
        ),
        (
            "sockets",
            Nothing,
            log(None, since),
            since,
            State::Disconnected,
        ),
    ] {
        let mut asked = asked(&[], log.clone());
        asked.evidence.push(Evidence::new(source, finding, ""));
        let verdict = Connection::default().judge_stopped(asked, &folder(written), true, since);
        assert_eq!(
            verdict.state, state,
            "{source} {finding:?} {log:?} {verdict:?}"
        );
    }
}

#[test]
fn who_saw_that_it_went() {
    use Finding::*;
    let since = Timestamp::now();
    let seen = |seconds| SessionSightings {
        alive: [(
            "id".to_owned(),
            Alive::at(since.minus(Duration::from_secs(seconds))),
        )]
        .into(),
        ..SessionSightings::default()
    };
    let heard = |finding| Evidence {
        id: "id".into(),
        ..Evidence::new("probe", finding, "")
    };
    let never = SessionSightings::default();
    let trusted = SessionSightings {
        trusted_by_configuration: true,
        ..SessionSightings::default()
    };
    for (finding, sightings, confirmed) in [
        (Gone, &seen(86_400), true),
        (Disconnected, &trusted, true),
        // It never saw this bot at all.
        (Gone, &never, false),
        (NoAnswer, &never, false),
        (NoAnswer, &trusted, false),
        // It may have been out of order for long.
        (NoAnswer, &seen(86_400), false),
        (NoAnswer, &seen(60), true),
        (Nothing, &seen(60), false),
        (Connected, &seen(60), false),
    ] {
        assert_eq!(
            confirms(&heard(finding), sightings, since),
            confirmed,
            "{finding:?} {sightings:?}"
        );
    }
}

#[test]
fn after_it_was_started() {
    use Finding::*;
    let since = Timestamp::now().minus(Duration::from_secs(10));
    let opened = |at| {
        Some(LogEvent {
            opened: Some(true),
            at,
            last_line: Timestamp::now(),
            last_text: None,
            unclear: None,
            doubted: None,
            opener: None,
            never_opened: false,
            has_new_writer: false,
        })
    };
    for (findings, log, back) in [
        (&[Connected][..], None, true),
        // A socket that has not lasted, beside another source that tells.
        (&[Connecting], None, false),
        (&[Connecting, Connected], None, true),
        // Another session of its process may be the one that is connected.
        (&[Shared], None, false),
        (&[Shared, Connected], None, true),
        (&[Shared], opened(Some(since)), true),
        (&[Connecting], opened(Some(since)), true),
        (&[Connecting], opened(Some(since.minus(TICK * 2))), false),
        (&[Disconnected], None, false),
        (&[NoAnswer], None, false),
        (&[Connected, Gone], None, false),
        (&[], opened(Some(since)), true),
        (&[], opened(Some(since.minus(TICK * 2))), false),
        (&[], opened(None), false),
        (&[Disconnected], opened(Some(since)), false),
    ] {
        let is_back =
            Connection::default().is_back(asked(findings, log.clone()), &folder(since), since);
        assert_eq!(is_back, back, "{findings:?} {log:?}");
    }
}

/// The supervisor says that the bot is gone, and the process that opened the connection runs.
#[test]
fn a_process_that_opened_and_still_runs_keeps_the_files() {
    let since = Timestamp::now().minus(Duration::from_secs(10));
    for (opener, state) in [
        (None, State::Disconnected),
        (Some(false), State::Disconnected),
        (Some(true), State::Unknown),
    ] {
        for opened in [Some(true), Some(false), None] {
            let event = LogEvent {
                opened,
                at: Some(since),
                last_line: since,
                last_text: None,
                unclear: None,
                doubted: None,
                opener: opener.map(|runs| Opener {
                    pid: 4242,
                    namespace: 1,
                    opened: since,
                    runs,
                }),
                never_opened: false,
                has_new_writer: false,
            };
            let asked = asked(&[Finding::Gone], Some(event));
            let connection = Connection::default();
            let verdict = connection.judge_stopped(asked, &folder(since), true, since);
            assert_eq!(verdict.state, state, "{opener:?} {opened:?}");
        }
    }
}

/// After the start it shows a QR code: its socket lasts, and no login is in the folder.
#[test]
fn a_bot_that_waits_to_be_paired_is_not_back() {
    let since = Timestamp::now().minus(Duration::from_secs(10));
    let back = |source, creds| {
        let evidence = Evidence::new(source, Finding::Connected, "");
        let asked = Asked {
            evidence: vec![evidence],
            ..asked(&[], None)
        };
        let folder = Inventory::new([], creds);
        Connection::default().is_back(asked, &folder, since)
    };
    let facts = |logged_in| {
        Creds::Valid(crate::folder::CredsFacts {
            logged_in,
            ..Default::default()
        })
    };
    assert!(back("sockets", facts(true)));
    assert!(!back("sockets", facts(false)));
    assert!(back("sockets", Creds::Missing), "they may be elsewhere");
    assert!(back("probe", facts(false)), "it says so itself");
}
