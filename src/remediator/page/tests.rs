use super::*;
use crate::page_links::PageAddresses;
use crate::remediator::overview::ServiceState;
use crate::remediator::requester::Requester;
use crate::remediator::store::armed::ArmedRun;
use crate::remediator::store::pause::PauseEntry;
use crate::remediator::store::restarts::NotBack;
use crate::rules::RuleSettings;

#[test]
fn what_an_operator_should_know_comes_first() {
    let entry = |by: &str, reason: &str| {
        Some(PauseEntry {
            since: "noon".into(),
            by: by.into(),
            reason: reason.into(),
        })
    };
    let overview = Overview {
        pause: PauseState {
            paused: entry("<ops>", "a release"),
            breaker: entry("serve", "4 services within 1h"),
        },
        armed: vec![ArmedRun {
            session: "bot".into(),
            action: Action::Cleanup,
            tier: "cleanup".into(),
            since: "noon".into(),
            last_alert: "noon".into(),
            last_alert_at: Timestamp::from_secs(0),
        }],
        services: vec![ServiceState {
            service: "shop".into(),
            phase: Some("down"),
            sessions: vec!["shop".into()],
            last_stop: None,
            cooldown_until: None,
            budget_left: 1,
            in_window: false,
        }],
        not_back: vec![NotBack {
            service: "cafe".into(),
            session: "cafe".into(),
            reason: NotBack::REASONS[0],
            run_id: 7,
            run: None,
            since: "noon".into(),
            forbidden: None,
        }],
        ..Overview::default()
    };
    let shown = front(
        &Front {
            overview,
            ..Front::default()
        },
        Timestamp::from_secs(0),
        &PageLinks::new(&PageAddresses::default(), &RuleSettings::default()),
    );
    for text in [
        "Paused since noon by &lt;ops&gt;: a release",
        "breaker open",
        "Circuit breaker open since noon: 4 services",
        "Not back (",
        "Restart pending service shop, phase down",
        "Armed session bot: ",
    ] {
        let at = shown.find(text);
        assert!(at.is_some(), "{text}");
        assert!(at < shown.find("Waiting and under way"), "{text}");
    }
    assert!(!shown.contains(">acting<"));
    let (addresses, rules) = (PageAddresses::default(), RuleSettings::default());
    let links = PageLinks::new(&addresses, &rules);
    let empty = front(&Front::default(), Timestamp::from_secs(0), &links);
    assert!(empty.contains(">acting<"));
    assert!(!empty.contains("Auth folders"), "no link to a guess");
    let addresses = PageAddresses {
        exporter: Some("https://bots.example.org/exporter".into()),
        ..PageAddresses::default()
    };
    let links = PageLinks::new(&addresses, &rules);
    let linked = front(&Front::default(), Timestamp::from_secs(0), &links);
    assert!(linked.contains(r#"<a href="https://bots.example.org/exporter/">Auth folders</a>"#));
    // A reverse proxy may have put the page below a path.
    assert!(!linked.contains(r#"href="/"#) && linked.contains(r#"href="./metrics""#));
}

/// A bot that stays connected adds a refusal with each repeat of its alert.
#[test]
fn equal_refusals_are_one_row() {
    let run = |id: i64, session: &str, status: Status, reason: &str| Run {
        id,
        created: format!("2026-01-02T03:04:{id:02}Z"),
        created_at: Timestamp::from_secs(id),
        finished: None,
        session: session.into(),
        action: Action::Cleanup,
        tier: None,
        requested_by: Requester::Alert("f".into()),
        status,
        reason: Some(reason.into()),
        detail: None,
        note: None,
        evidence: None,
        run: None,
        accumulated_before: None,
        accumulated_after: None,
        files: BTreeMap::new(),
        owner: String::new(),
    };
    let runs = [
        run(6, "a", Status::Refused, "connected"),
        run(5, "b", Status::Refused, "connected"),
        run(4, "a", Status::Failed, "io"),
        run(3, "a", Status::Refused, "connected"),
        run(2, "a", Status::Failed, "io"),
        run(1, "a", Status::Refused, "connected"),
    ];
    let rows = folded(&runs);
    let told: Vec<(i64, usize)> = rows
        .iter()
        .map(|(run, earlier)| (run.id, earlier.len()))
        .collect();
    assert_eq!(told, [(6, 2), (5, 0), (4, 0), (2, 0)]);
    let html = folded_runs(&runs).into_string();
    assert!(html.contains("3 times since 2026-01-02 03:04:01"), "{html}");
}
