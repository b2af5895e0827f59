use super::*;
use std::ffi::OsStr;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

fn says(id: &str, finding: Finding) -> Evidence {
    Evidence {
        id: id.into(),
        ..Evidence::new("probe", finding, "disconnected")
    }
}

fn seen(at: Timestamp) -> SessionSightings {
    let alive = BTreeMap::from([("probe-1".to_owned(), Alive::at(at))]);
    SessionSightings {
        alive,
        ..SessionSightings::default()
    }
}

fn heard(sightings: &SessionSightings, evidence: Evidence) -> Evidence {
    discount_untrusted(vec![evidence], sightings, now()).remove(0)
}

#[test]
fn only_a_source_that_saw_this_session_alive_may_say_that_it_is_not() {
    for finding in [Finding::Disconnected, Finding::Gone] {
        for (sightings, counts) in [
            (SessionSightings::default(), false),
            (seen(now()), true),
            (seen(now().minus(30 * DAY)), true),
            (seen(now().minus(30 * DAY + Duration::from_nanos(1))), false),
            (seen(now().plus(Duration::from_secs(300))), true),
            // Written when the clock was ahead.
            (seen(now().plus(Duration::from_secs(301))), false),
            (seen(now().plus(3000 * DAY)), false),
            (seen(Timestamp::from_nanos(i64::MAX)), false),
            (seen(Timestamp::from_nanos(i64::MIN)), false),
            (
                SessionSightings {
                    trusted_by_configuration: true,
                    ..SessionSightings::default()
                },
                true,
            ),
        ] {
            let told = heard(&sightings, says("probe-1", finding));
            assert_eq!(
                told.finding,
                if counts { finding } else { Finding::NoAnswer },
                "{sightings:?}"
            );
            assert_eq!(
                told.detail.contains("doctor --trust"),
                !counts,
                "{}",
                told.detail
            );
        }
    }
    let other = heard(&seen(now()), says("probe-2", Finding::Disconnected));
    assert_eq!(
        other.finding,
        Finding::NoAnswer,
        "what another source saw does not count"
    );
    let nameless = heard(&seen(now()), says("", Finding::Gone));
    assert_eq!(nameless.finding, Finding::NoAnswer);
    let trust = Trust {
        by: "a person".into(),
        at: now(),
    };
    let trusted = SessionSightings {
        trusted: BTreeMap::from([("probe-1".into(), trust)]),
        ..SessionSightings::default()
    };
    assert_eq!(
        heard(&trusted, says("probe-1", Finding::Gone)).finding,
        Finding::Gone
    );
    assert_eq!(
        heard(&trusted, says("probe-2", Finding::Gone)).finding,
        Finding::NoAnswer
    );
}

#[test]
fn what_says_nothing_against_the_bot_needs_no_sighting() {
    use Finding::*;
    for finding in [Connected, Quiet, Writing, NoAnswer, Nothing] {
        assert_eq!(
            heard(&SessionSightings::default(), says("", finding)).finding,
            finding
        );
    }
}

#[test]
fn a_wrong_clock_is_corrected_by_the_next_sighting() {
    let connected = |at| Evidence {
        alive: Some(Alive::at(at)),
        ..says("probe-1", Finding::Connected)
    };
    let told = |sightings: &SessionSightings, at| sightings.missing(&[connected(at)], now()).len();
    assert_eq!(told(&SessionSightings::default(), now()), 1);
    assert_eq!(
        told(&seen(now().plus(3000 * DAY)), now()),
        1,
        "replaced, though it is later"
    );
    assert_eq!(told(&seen(now()), now()), 0, "not every time");
    assert_eq!(told(&seen(now().minus(Duration::from_secs(61))), now()), 1);
    assert_eq!(
        told(&SessionSightings::default(), now().plus(DAY)),
        0,
        "never from the future"
    );
    assert_eq!(told(&SessionSightings::default(), now().minus(31 * DAY)), 0);
    // An older line of a log does not replace a later sighting.
    assert_eq!(told(&seen(now()), now().minus(DAY)), 0);
}

#[test]
fn the_memory_of_a_process_can_be_kept() {
    let (a, ab) = (
        SessionName::from_dir(OsStr::new("a")),
        SessionName::from_dir(OsStr::new("ab")),
    );
    let recent = Recent::default();
    recent.remember(
        &a,
        &[(
            "probe-1".into(),
            Alive {
                at: now(),
                mark: Some("m".into()),
            },
        )],
    );
    recent.remember(&ab, &[("probe-2".into(), Alive::at(now().minus(31 * DAY)))]);
    assert_eq!(recent.recall(&a).alive.len(), 1);
    let kept = recent.save(now());
    assert_eq!(kept.len(), 1, "what is too old is forgotten");
    let again = Recent::default();
    again.load(kept);
    assert_eq!(again.recall(&a), recent.recall(&a));
    assert!(again.recall(&ab).alive.is_empty());
}

#[test]
fn what_is_unreachable_counts_as_silent_unless_the_process_was_seen_alive_and_is_gone() {
    use Finding::*;
    let trusted = SessionSightings {
        trusted_by_configuration: true,
        ..SessionSightings::default()
    };
    let by_person = SessionSightings {
        trusted: BTreeMap::from([(
            "probe-1".to_owned(),
            Trust {
                by: "a".into(),
                at: now(),
            },
        )]),
        ..SessionSightings::default()
    };
    for (sightings, source, excused) in [
        (seen(now()), Gone, true),
        (seen(now().minus(30 * DAY)), Gone, true),
        (seen(now().minus(31 * DAY)), Gone, false),
        (SessionSightings::default(), Gone, false),
        (trusted, Gone, false),
        (by_person, Gone, false),
        (seen(now()), Disconnected, false),
        (seen(now()), Nothing, false),
        (seen(now()), Quiet, false),
    ] {
        let heard = vec![says("probe-2", Unreachable), says("probe-1", source)];
        let found = discount_untrusted(heard, &sightings, now())
            .remove(0)
            .finding;
        let expected = if excused { Unreachable } else { NoAnswer };
        assert_eq!(found, expected, "{source:?} {sightings:?}");
    }
}

#[test]
fn when_a_process_was_first_found_gone() {
    let id = "process-1";
    let alive = |ago: u64, mark: &str| Alive {
        at: now().minus(Duration::from_secs(ago)),
        mark: Some(mark.to_owned()),
    };
    let first = |seen: Option<Alive>, gone: Option<Alive>| {
        let records = [(id.to_owned(), seen), (format!("{id}-gone"), gone)];
        let alive = records
            .into_iter()
            .filter_map(|(id, alive)| Some((id, alive?)));
        let sightings = SessionSightings {
            alive: alive.collect(),
            ..SessionSightings::default()
        };
        sightings.first_gone(id, now()).1.at
    };
    assert_eq!(first(None, None), now());
    assert_eq!(first(Some(alive(60, "a")), None), now());
    assert_eq!(
        first(Some(alive(60, "a")), Some(alive(30, "a"))),
        now().minus(Duration::from_secs(30))
    );
    // It ran again since.
    assert_eq!(first(Some(alive(20, "a")), Some(alive(30, "a"))), now());
    assert_eq!(first(Some(alive(60, "b")), Some(alive(30, "a"))), now());
    let ahead = Alive {
        at: now().plus(Duration::from_secs(9)),
        mark: None,
    };
    assert_eq!(first(None, Some(ahead)), now());
}
