use super::*;

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
        let look = judge("id".into(), observed.clone(), now);
        assert_eq!(look.evidence.finding, finding, "{observed:?}");
        assert_eq!(look.evidence.alive.is_some(), is_alive, "{observed:?}");
        assert_eq!(!look.pids.is_empty(), is_alive, "{observed:?}");
        assert_eq!(look.evidence.id, "id");
    }
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
        let look = judge("id".into(), observed, Timestamp::now());
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
        had_ended_by(&judge("id".into(), gone, at(900)), at(500), at(900))
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
