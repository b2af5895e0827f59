use super::*;
use crate::control::{ServiceRule, Services, Timing};
use crate::folder::SessionName;

#[test]
fn only_a_settled_process_counts_as_alive() {
    let now = Timestamp::now();
    for (observed, finding, is_alive) in [
        (
            Observation::Running {
                pids: vec![7],
                mark: Some("m".into()),
            },
            Finding::Nothing,
            true,
        ),
        (Observation::gone("x"), Finding::Gone, false),
        (Observation::Changing("x".into()), Finding::NoAnswer, false),
        (Observation::Unknown("x".into()), Finding::NoAnswer, false),
    ] {
        let look = judge("id".into(), observed.clone().into(), now);
        assert_eq!(look.evidence.finding, finding, "{observed:?}");
        assert_eq!(look.evidence.alive.is_some(), is_alive, "{observed:?}");
        assert_eq!(!look.pids.is_empty(), is_alive, "{observed:?}");
        assert_eq!(look.evidence.id, "id");
    }
}

/// Also while it is between two starts, or gone for good.
#[test]
fn the_count_of_the_supervisor_is_passed_on() {
    let at = Timestamp::from_secs(900);
    let running = Observation::Running {
        pids: vec![7],
        mark: Some("m".into()),
    };
    for observation in [
        running,
        Observation::Changing("x".into()),
        Observation::gone("x"),
        Observation::Unknown("x".into()),
    ] {
        for restarts in [None, Some(4)] {
            let observed = Observed {
                observation: observation.clone(),
                restarts,
                absence: None,
            };
            let told = judge("id".into(), observed, at).evidence.restarts;
            let expected = restarts.map(|number| RestartCount { at, number });
            assert_eq!(told, expected, "{observation:?}");
        }
    }
}

/// A daemon of pm2 that listens in this directory, as far as files and sockets tell.
fn pm2_in(home: &std::path::Path) -> Service {
    let pm2 = supervisor::Pm2::new("bot", home, &crate::control::placeholders(None)).unwrap();
    let spec = supervisor::Spec::Pm2(pm2);
    let rule = ServiceRule::new(None, None, spec, false, Timing::default()).unwrap();
    let services = Services::new(vec![rule]).unwrap();
    services.observed(&SessionName::from_text("bot")).unwrap()
}

/// After an update of node, `pm2` may be missing while its daemon runs on and has started the bot
/// again since it was last seen.
#[tokio::test]
async fn a_supervisor_that_could_not_be_asked_may_run_the_bot() {
    let dir = tempfile::tempdir().unwrap();
    let service = pm2_in(dir.path());
    let mark = "4711 5 00000000-boot".to_owned();
    let mut sightings = SessionSightings::default();
    let alive = Alive {
        at: Timestamp::now(),
        mark: Some(mark),
    };
    sightings.alive.insert(process_id(&service), alive);
    let ran = async || {
        let timeout = Duration::from_secs(3);
        let clock = Clock::system();
        let look = look(&service, timeout, Duration::ZERO, &sightings, &clock).await;
        assert_eq!(look.evidence.finding, Finding::NoAnswer);
        let runs = look.evidence.runs;
        let has_ended = crate::connection::fold(vec![look.evidence]).has_ended();
        assert_eq!(has_ended, runs == Some(false));
        runs
    };
    assert_eq!(ran().await, Some(false), "no daemon");
    let own = std::process::id().to_string();
    std::fs::write(dir.path().join("pm2.pid"), own).unwrap();
    let daemon = std::os::unix::net::UnixListener::bind(dir.path().join("rpc.sock")).unwrap();
    assert_eq!(ran().await, None, "`pm2 jlist` fails");
    drop(daemon);
    assert_eq!(ran().await, Some(false), "the socket of one that has ended");
}

#[test]
fn a_stop_on_request_is_told_of() {
    let gone = |on_request| Observation::Gone {
        how: "x".into(),
        ended_by: None,
        last_start: None,
        on_request,
    };
    let says = |observed| {
        let look = judge("id".into(), Observed::from(observed), Timestamp::now());
        crate::connection::fold(vec![look.evidence]).is_stopped_on_request()
    };
    assert!(says(gone(true)));
    assert!(!says(gone(false)));
    assert!(!says(Observation::Unknown("x".into())));
}

/// pm2 tells when any of its processes last came or went.
#[test]
fn the_end_of_another_process_does_not_count() {
    let at = Timestamp::from_secs;
    let look = |ended: Option<i64>, started: Option<i64>| {
        let wall = |secs: Option<i64>| secs.map(|secs| at(secs).into());
        let gone = Observation::Gone {
            how: "x".into(),
            ended_by: wall(ended),
            last_start: wall(started),
            on_request: false,
        };
        had_ended_by(&judge("id".into(), gone.into(), at(900)), at(500), at(900))
    };
    assert_eq!(look(None, None), at(500));
    assert_eq!(look(Some(800), None), at(800));
    assert_eq!(look(Some(800), Some(100)), at(500), "another process ended");
    assert_eq!(look(Some(400), Some(100)), at(400));
    assert_eq!(look(Some(800), Some(600)), at(800), "it has run since");
    // It cannot have ended before it started.
    assert_eq!(look(Some(100), Some(400)), at(500));
    assert_eq!(look(Some(550), Some(600)), at(900));
    assert_eq!(look(None, Some(400)), at(500));
    assert_eq!(look(None, Some(600)), at(900));
}
