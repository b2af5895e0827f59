use super::*;
use crate::connection::{Evidence, fold};
use crate::folder::{Creds, CredsFacts, Entry, FileName, SessionActivity, Shape, Stamp};
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn ago(span: Duration) -> Timestamp {
    now().minus(span)
}

fn entry(name: &str, modified: Timestamp) -> Entry {
    let inside = if name.starts_with("session-") {
        SessionActivity::at(modified)
    } else {
        SessionActivity::NotRead
    };
    let stamp = Stamp {
        modified,
        size: 10,
        ..Stamp::default()
    };
    Entry {
        name: FileName::new(name),
        shape: Shape::Regular,
        stamp,
        inside,
    }
}

/// So many sessions of today, so many of 40 days ago; logged in, alive all the time.
fn folder(young: usize, old: usize) -> Inventory {
    let facts = CredsFacts {
        logged_in: true,
        next_pre_key_id: Some(31),
        ..CredsFacts::default()
    };
    let mut entries = vec![entry("creds.json", ago(DAY))];
    for n in 0..young {
        entries.push(entry(
            &format!("session-1{n:04}.0.json"),
            ago(DAY * (n as u32 % 10)),
        ));
    }
    for n in 0..old {
        entries.push(entry(&format!("session-2{n:04}.0.json"), ago(DAY * 40)));
    }
    Inventory::new(entries, Creds::Valid(facts))
}

fn verdict(findings: &[Finding]) -> Verdict {
    fold(
        findings
            .iter()
            .map(|finding| Evidence::new("test", *finding, ""))
            .collect(),
    )
}

fn rested() -> RestartBudget {
    RestartBudget {
        stops: Vec::new(),
        cooldown: DAY / 4,
        daily_budget: 2,
    }
}

struct Case {
    inventory: Inventory,
    verdict: Verdict,
    logged_out: bool,
    clock_set: Option<RecentStep>,
    mode: CleanupMode,
    tier: Tier,
    immovable: BTreeMap<FileName, Immovable>,
    obstacle: Option<RestartObstacle>,
    service: RestartBudget,
}

fn case() -> Case {
    Case {
        inventory: folder(20, 180),
        verdict: verdict(&[Finding::Connected, Finding::Writing]),
        logged_out: false,
        clock_set: None,
        mode: CleanupMode::Emergency,
        tier: Tier::Emergency,
        immovable: BTreeMap::new(),
        obstacle: None,
        service: rested(),
    }
}

impl Case {
    fn asked(&self) -> Result<Plan, StopRefusal> {
        let Case {
            inventory,
            verdict,
            logged_out,
            clock_set,
            mode,
            tier,
            immovable,
            obstacle,
            service,
        } = self;
        let limits = Limits::default();
        let before = StopInputs {
            inventory,
            verdict,
            logged_out: *logged_out,
            clock_set: *clock_set,
            limits: &limits,
            mode: *mode,
            tier: *tier,
            immovable,
            obstacle: *obstacle,
            service,
        };
        may_stop(&before, now())
    }

    fn answer(&self) -> &'static str {
        self.asked().map_or_else(|hold| hold.label(), |_| "stop")
    }
}

fn with(change: impl FnOnce(&mut Case)) -> &'static str {
    let mut case = case();
    change(&mut case);
    case.answer()
}

#[test]
fn the_table() {
    let plan = case().asked().unwrap();
    assert_eq!((plan.accumulated_before, plan.accumulated_after), (201, 21));
    assert_eq!(
        with(|case| case.inventory = folder(20, 158)),
        "stale_alert",
        "179"
    );
    assert_eq!(with(|case| case.inventory = folder(20, 159)), "stop", "180");
    assert_eq!(
        with(|case| case.inventory = folder(178, 40)),
        "stop",
        "179 stay"
    );
    assert_eq!(
        with(|case| case.inventory = folder(179, 40)),
        "not_worth_a_restart",
        "180 stay"
    );
    assert_eq!(
        with(|case| case.inventory = folder(300, 0)),
        "nothing_removable"
    );
    assert_eq!(with(|case| case.logged_out = true), "logged_out");
    let clock_set = RecentStep::within(DAY, Some(Duration::ZERO));
    assert_eq!(
        with(|case| case.clock_set = clock_set),
        "connection_unknown"
    );
    let refusal = Case {
        clock_set,
        ..case()
    };
    let refusal = refusal.asked().unwrap_err();
    assert!(refusal.to_string().contains("clock"), "{refusal}");
    let creds = |case: &mut Case, creds| case.inventory.creds = creds;
    assert_eq!(with(|case| creds(case, Creds::Missing)), "creds_broken");
    assert_eq!(
        with(|case| creds(case, Creds::Valid(CredsFacts::default()))),
        "not_logged_in"
    );
    assert_eq!(
        with(|case| case.service.stops = vec![DAY / 8]),
        "service_cooldown"
    );
    assert_eq!(with(|case| case.service.stops = vec![DAY / 4]), "stop");
    assert_eq!(
        with(|case| case.service.stops = vec![DAY / 2, DAY / 3]),
        "service_budget"
    );
    assert_eq!(with(|case| case.service.stops = vec![DAY, DAY / 3]), "stop");
    assert_eq!(with(|case| case.service.daily_budget = 0), "service_budget");
    // A window's run is measured at 150, by the other column.
    let window = |young, old| {
        with(|case| {
            (case.mode, case.tier) = (CleanupMode::Cleanup, Tier::Cleanup);
            case.inventory = folder(young, old);
        })
    };
    assert_eq!(window(20, 128), "stale_alert");
    assert_eq!(window(20, 129), "stop");
    assert_eq!(window(149, 30), "not_worth_a_restart");
    // What cannot be moved stays, and then it is decided again.
    let immovable = |files: usize| {
        with(|case| {
            let names = (0..files).map(|n| FileName::new(format!("session-2{n:04}.0.json")));
            case.immovable = names.map(|name| (name, Immovable::Sticky)).collect();
        })
    };
    assert_eq!(immovable(158), "stop", "179 stay");
    assert_eq!(immovable(159), "not_worth_a_restart", "180 stay");
    // A file dated ahead would look like a write after the stop.
    let mut ahead = folder(20, 180).files().to_vec();
    ahead.push(entry(
        "app-state-sync-key-A.json",
        now().plus(Duration::from_secs(1)),
    ));
    let creds_of = folder(0, 0).creds;
    assert_eq!(
        with(|case| case.inventory = Inventory::new(ahead, creds_of)),
        "connection_unknown"
    );
}

/// It comes before a cooldown, which ends by itself.
#[test]
fn a_service_that_could_not_be_started_again_is_not_stopped() {
    for obstacle in RestartObstacle::ALL {
        let mut case = case();
        case.obstacle = Some(obstacle);
        case.service.stops = vec![Duration::ZERO];
        assert_eq!(case.asked(), Err(StopRefusal::NotRestartable(obstacle)));
    }
}

fn clock_set() -> StopRefusal {
    StopRefusal::ClockSet(RecentStep::within(DAY, Some(Duration::ZERO)).unwrap())
}

#[test]
fn a_cleanup_is_left_where_only_the_stop_is_refused() {
    let threshold = 180;
    let not_worth = StopRefusal::NotWorthARestart {
        after: 190,
        threshold,
        immovable: 0,
    };
    let cooldown = StopRefusal::Cooldown {
        ago: DAY / 24,
        cooldown: DAY,
    };
    let budget = StopRefusal::Budget { budget: 2 };
    let not_copied = StopRefusal::CredsNotCopied {
        session: "bot".into(),
        why: "x".into(),
    };
    for refusal in [
        StopRefusal::NotRestartable(RestartObstacle::AutoRemove),
        not_worth,
        cooldown,
        budget,
        not_copied,
        StopRefusal::BreakerOpen,
    ] {
        assert!(refusal.leaves_a_cleanup(), "{refusal}");
    }
    for refusal in [
        StopRefusal::Guard(Refusal::ConnectionUnknown),
        StopRefusal::NotLoggedIn,
        StopRefusal::LoggedOut,
        clock_set(),
        StopRefusal::ServiceUnknown("x".into()),
        StopRefusal::Paused,
        StopRefusal::Busy,
    ] {
        assert!(!refusal.leaves_a_cleanup(), "{refusal}");
    }
}

#[test]
fn a_bot_that_no_source_can_see_is_not_stopped() {
    use Finding::*;
    for (findings, answer) in [
        (&[Connected, Quiet][..], "stop"),
        (&[Connected, Writing], "stop"),
        (&[Connected, NoAnswer], "stop"),
        // Its connection is new, or its login is refused: that shows in time whether it is back.
        (&[Connecting, Quiet], "stop"),
        (&[Connecting, Writing], "stop"),
        (&[Connecting, NoAnswer], "stop"),
        (&[Connecting, Disconnected, Quiet], "connection_unknown"),
        (&[Disconnected, Quiet], "stop"),
        // It writes while it tries to connect.
        (&[Disconnected, Writing], "stop"),
        (&[Connected, Disconnected, Quiet], "connection_unknown"),
        // Nothing would tell that this session of the process is back.
        (&[Shared, Quiet], "connection_unknown"),
        (&[Shared, Disconnected, Quiet], "connection_unknown"),
        (&[Shared, Connected, Quiet], "stop"),
        (&[NoAnswer, Quiet], "connection_unknown"),
        (&[Disconnected, NoAnswer, Quiet], "connection_unknown"),
        (&[Nothing, Quiet], "connection_unknown"),
        (&[Ambiguous, Quiet], "connection_unknown"),
        (&[Ambiguous, Disconnected, Quiet], "stop"),
        (&[Writing], "connection_unknown"),
        (&[], "connection_unknown"),
    ] {
        assert_eq!(
            with(|case| case.verdict = verdict(findings)),
            answer,
            "{findings:?}"
        );
    }
}

#[test]
fn a_log_alone_stops_no_bot_that_writes() {
    use Finding::*;
    let from = |sources: &[(&'static str, Finding)]| {
        let evidence = sources
            .iter()
            .map(|(source, finding)| Evidence::new(source, *finding, ""));
        let verdict = fold(evidence.collect());
        Case { verdict, ..case() }.answer()
    };
    let refused = "connection_unknown";
    assert_eq!(from(&[("log", Connected), ("writes", Writing)]), refused);
    assert_eq!(
        from(&[
            ("sockets", Connected),
            ("log", Connected),
            ("writes", Writing)
        ]),
        refused
    );
    for process in [NoAnswer, Ambiguous] {
        assert_eq!(
            from(&[
                ("process", process),
                ("log", Connected),
                ("writes", Writing)
            ]),
            refused
        );
    }
    assert_eq!(from(&[("log", Connected), ("writes", Quiet)]), "stop");
    // A source that watches the process will see it go.
    assert_eq!(
        from(&[
            ("process", Nothing),
            ("log", Connected),
            ("writes", Writing)
        ]),
        "stop"
    );
    assert_eq!(from(&[("probe", Connected), ("writes", Writing)]), "stop");
    // A probe that may tell of another bot would do so after the stop as well. The sockets of the
    // process go with it.
    let beside = |source| from(&[(source, Shared), ("log", Connected), ("writes", Quiet)]);
    assert_eq!(beside("probe"), refused);
    assert_eq!(beside("sockets"), "stop");
}

#[test]
fn the_first_reason_is_the_one_that_matters() {
    let all_wrong = |inventory: Inventory| {
        with(|case| {
            case.inventory = inventory;
            case.logged_out = true;
            case.verdict = verdict(&[]);
            case.service.stops = vec![Duration::ZERO];
        })
    };
    let mut broken = folder(300, 0);
    broken.creds = Creds::Missing;
    assert_eq!(all_wrong(broken), "creds_broken");
    assert_eq!(all_wrong(folder(1, 1)), "stale_alert");
    assert_eq!(all_wrong(folder(300, 0)), "logged_out");
}

#[test]
fn labels_are_whole() {
    let holds = [
        StopRefusal::CredsElsewhere,
        StopRefusal::NotWorthARestart {
            after: 1,
            threshold: 1,
            immovable: 0,
        },
        StopRefusal::NotRestartable(RestartObstacle::NoScript),
        StopRefusal::NotLoggedIn,
        StopRefusal::LoggedOut,
        StopRefusal::ServiceUnknown("x".into()),
        StopRefusal::Cooldown {
            ago: DAY / 24,
            cooldown: DAY,
        },
        StopRefusal::Budget { budget: 2 },
        StopRefusal::BreakerOpen,
        StopRefusal::CredsNotCopied {
            session: "bot".into(),
            why: "x".into(),
        },
        StopRefusal::Paused,
    ];
    assert_eq!(
        holds.each_ref().map(StopRefusal::label),
        StopRefusal::LABELS
    );
    assert!(holds.iter().all(|hold| hold.to_string().len() > 20));
    assert!(
        StopRefusal::LABELS
            .iter()
            .all(|label| !Refusal::LABELS.contains(label))
    );
}

#[test]
fn a_small_fleet_has_the_number_and_a_large_one_the_share() {
    let breaker = Breaker::default();
    for (fleet, limit) in [
        (0, 3),
        (1, 3),
        (5, 3),
        (60, 3),
        (79, 3),
        (80, 4),
        (200, 10),
        (1000, 50),
    ] {
        assert_eq!(breaker.limit(fleet), limit, "{fleet}");
    }
    assert_eq!(
        Breaker {
            share: f64::NAN,
            ..breaker
        }
        .limit(9000),
        3
    );
    let stop = |service: &str, minutes: u64| Stopped {
        service: service.into(),
        ago: Duration::from_secs(60 * minutes),
        in_window: false,
    };
    let stops = [stop("a", 1), stop("b", 30), stop("b", 5), stop("c", 59)];
    assert!(breaker.lets(&stops, "c", 5), "one of the three again");
    assert!(!breaker.lets(&stops, "d", 5), "a fourth");
    assert!(breaker.lets(&stops, "d", 80), "5 % of 80 are four");
    assert!(
        breaker.lets(&[&stops[..3], &[stop("c", 60)]].concat(), "d", 5),
        "an hour ago"
    );
    assert!(
        !Breaker {
            services: 0,
            ..breaker
        }
        .lets(&[], "a", 5)
    );
}

proptest! {
    /// What stops never makes worse: more stops never allow more, and an old one counts
    /// for nothing.
    #[test]
    fn more_stops_never_allow_more(
        minutes in proptest::collection::vec(0_u64..4_000, 0..6),
        more in 0_u64..4_000,
        budget in 0_u32..4,
    ) {
        let at = |minutes: u64| Duration::from_secs(60 * minutes);
        let few = RestartBudget {
            stops: minutes.iter().map(|m| at(*m)).collect(),
            cooldown: DAY / 4,
            daily_budget: budget,
        };
        let mut many = few.clone();
        many.stops.push(at(more));
        prop_assert!(many.may_be_stopped().is_err() || few.may_be_stopped().is_ok());
        prop_assert!(many.budget_left() <= few.budget_left());
        if more >= 24 * 60 {
            prop_assert_eq!(many.may_be_stopped(), few.may_be_stopped());
        }
        // Never more than the budget in a day, however often it is asked.
        let in_a_day = few.stops.iter().filter(|ago| **ago < DAY).count();
        if few.may_be_stopped().is_ok() {
            prop_assert!(in_a_day < budget as usize);
        }
    }

    /// Asked before each stop, the breaker never lets more than its limit through.
    #[test]
    fn the_breaker_holds(
        asked in proptest::collection::vec((0_u64..40, 0_u64..30), 0..60),
        fleet in 0_usize..200,
    ) {
        let breaker = Breaker::default();
        let mut stops: Vec<Stopped> = Vec::new();
        for (service, minutes) in asked {
            for stop in &mut stops {
                stop.ago += Duration::from_secs(60 * minutes);
            }
            let service = format!("s{service}");
            if breaker.lets(&stops, &service, fleet) {
                stops.push(Stopped { service, ago: Duration::ZERO, in_window: false });
            }
            let recent: BTreeSet<&str> = stops
                .iter()
                .filter(|stop| stop.ago < breaker.within)
                .map(|stop| stop.service.as_str())
                .collect();
            prop_assert!(recent.len() <= breaker.limit(fleet));
        }
    }
}
