use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

fn alert(fingerprint: &str, host: &str, tier: &str, state: &str) -> PolledAlert {
    let by = |is: bool| Some(vec![IgnoredAny; usize::from(is)]);
    PolledAlert {
        labels: [
            ("ladder", webhook::LADDER),
            ("instance", host),
            ("tier", tier),
            ("session", fingerprint),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        starts_at: "2026-01-01T00:00:00.000Z".into(),
        fingerprint: fingerprint.into(),
        status: AlertStatus {
            state: state.into(),
            silenced_by: by(state == "suppressed"),
            inhibited_by: None,
            muted_by: Some(Vec::new()),
        },
    }
}

fn mine() -> BTreeMap<String, String> {
    BTreeMap::from([("instance".into(), "a:10273".into())])
}

fn sessions(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|r| r.session.as_str()).collect()
}

fn cleanup(state: &str) -> PolledAlert {
    alert("bot", "a:10273", "cleanup", state)
}

#[test]
fn the_table() {
    let merge = |answers: Vec<Option<Vec<PolledAlert>>>| {
        let merged = Absences::default().merge(&answers, &mine(), &[]);
        (merged.active.len(), merged.suppressed.len())
    };
    let has = |state| Some(vec![cleanup(state)]);
    for (answers, wanted) in [
        (vec![has("active")], (1, 0)),
        (vec![has("active"), has("active")], (1, 0)),
        (vec![has("active"), None], (1, 0)),
        // A partition between the two: one has it, the other does not yet.
        (vec![has("active"), Some(vec![])], (1, 0)),
        (vec![has("active"), has("suppressed")], (0, 1)),
        (vec![has("suppressed"), has("active")], (0, 1)),
        (vec![has("unprocessed"), has("active")], (1, 0)),
        (vec![has("unprocessed")], (0, 0)),
        (vec![has("a state of a later version")], (0, 1)),
        (vec![None, None], (0, 0)),
        (vec![], (0, 0)),
    ] {
        assert_eq!(merge(answers.clone()), wanted, "{answers:?}");
    }
}

/// Silenced by a silence that its state does not show yet.
#[test]
fn what_suppresses_counts_whatever_the_state_says() {
    let mut silenced = cleanup("active");
    silenced.status.inhibited_by = Some(vec![IgnoredAny]);
    let merged = Absences::default().merge(&[Some(vec![silenced])], &mine(), &[]);
    assert!(merged.active.is_empty());
    assert_eq!(sessions(&merged.suppressed), ["bot"]);
}

#[test]
fn another_host_and_another_ladder_are_not_ours() {
    let other = alert("bot", "b:10273", "cleanup", "active");
    let mut foreign = cleanup("active");
    foreign.labels.insert("ladder".into(), "disks".into());
    let answers = [Some(vec![other.clone(), foreign]), Some(vec![other])];
    let merged = Absences::default().merge(&answers, &mine(), &[]);
    assert_eq!((merged.active.len(), merged.others), (0, 1));
}

#[test]
fn only_two_complete_polls_without_the_alert_disarm() {
    let armed = [("bot".to_owned(), Action::Cleanup)];
    let none = || Some(Vec::new());
    let mut absences = Absences::default();
    let mut gone =
        |answers: &[Option<Vec<PolledAlert>>]| absences.merge(answers, &mine(), &armed).gone.len();
    assert_eq!(gone(&[none(), none()]), 0);
    // One did not answer: no poll that counts, and none that starts the count again.
    assert_eq!(gone(&[none(), None]), 0);
    assert_eq!(gone(&[none(), none()]), 1);
    // It is back, suppressed or not: counted from the start.
    assert_eq!(gone(&[none(), Some(vec![cleanup("suppressed")])]), 0);
    assert_eq!(gone(&[none(), none()]), 0);
    assert_eq!(gone(&[none(), none()]), 1);
}

/// The webhook may have armed it for an alert of an Alertmanager that is not polled.
#[test]
fn beside_the_webhook_only_an_alert_that_was_seen_can_be_gone() {
    let armed = [("bot".to_owned(), Action::Cleanup)];
    let mut absences = Absences::beside_the_webhook();
    let mut gone =
        |answer: Vec<PolledAlert>| absences.merge(&[Some(answer)], &mine(), &armed).gone.len();
    for _ in 0..5 {
        assert_eq!(gone(Vec::new()), 0);
    }
    assert_eq!(gone(vec![cleanup("active")]), 0);
    assert_eq!(gone(Vec::new()), 0);
    assert_eq!(gone(Vec::new()), 1);
}

/// What identifies an alert is what the webhook records of it.
#[test]
fn the_key_is_that_of_the_webhook() {
    let pushed: webhook::Payload = webhook::parse(
        br#"{"version":"4","alerts":[{"status":"firing","fingerprint":"bot",
            "startsAt":"2026-01-01T01:00:00.123987654+01:00",
            "labels":{"ladder":"baileys_auth_files","tier":"cleanup","session":"bot"}}]}"#,
    )
    .unwrap();
    let pushed = webhook::request(&pushed.alerts[0], &BTreeMap::new()).unwrap();
    let mut polled = cleanup("active");
    polled.starts_at = "2026-01-01T00:00:00.123Z".into();
    let merged = Absences::default().merge(&[Some(vec![polled])], &mine(), &[]);
    assert_eq!(merged.active, [pushed]);
}

/// Two of a cluster may tell another start for a moment; and one fingerprint for two
/// sessions, which no Alertmanager has, is two alerts.
#[test]
fn one_alert_is_one_request() {
    let mut later = cleanup("active");
    later.starts_at = "2026-01-01T00:00:01.000Z".into();
    let mut other = cleanup("suppressed");
    other.labels.insert("session".into(), "other".into());
    let answers = [Some(vec![later, other]), Some(vec![cleanup("active")])];
    let merged = Absences::default().merge(&answers, &mine(), &[]);
    assert_eq!(sessions(&merged.active), ["bot"]);
    assert_eq!(merged.active[0].starts_at, "2026-01-01T00:00:00.000Z");
    assert_eq!(sessions(&merged.suppressed), ["other"]);
}

fn answer() -> impl Strategy<Value = Option<Vec<PolledAlert>>> {
    let one = (
        prop::sample::select(vec!["x", "y"]),
        prop::sample::select(vec!["a:10273", "b:10273"]),
        prop::sample::select(vec!["active", "suppressed", "unprocessed"]),
    )
        .prop_map(|(name, host, state)| alert(name, host, "cleanup", state));
    prop::option::weighted(0.8, prop::collection::vec(one, 0..4))
}

proptest! {
    /// Never a request for another host, never one that is suppressed anywhere, and nothing
    /// disarmed that any answer has or that was absent from fewer than two complete polls.
    #[test]
    fn a_poll_never_goes_beyond_what_was_answered(
        polls in prop::collection::vec(prop::collection::vec(answer(), 1..4), 1..8),
    ) {
        let armed: Vec<_> = ["x", "y"].map(|s| (s.to_owned(), Action::Cleanup)).into();
        let mut absences = Absences::default();
        let mut complete_without: BTreeMap<String, u32> = BTreeMap::new();
        for answers in &polls {
            let merged = absences.merge(answers, &mine(), &armed);
            let all: Vec<&PolledAlert> = answers.iter().flatten().flatten().collect();
            let ours = |name: &str| -> Vec<&&PolledAlert> {
                all.iter()
                    .filter(|a| a.fingerprint == name && a.labels["instance"] == "a:10273")
                    .collect()
            };
            for request in &merged.active {
                let seen = ours(&request.session);
                prop_assert!(seen.iter().any(|a| a.status.state == "active"));
                prop_assert!(seen.iter().all(|a| a.status.state != "suppressed"));
            }
            for (name, _) in &armed {
                let count = complete_without.entry(name.clone()).or_default();
                if !ours(name).is_empty() {
                    *count = 0;
                } else if answers.iter().all(Option::is_some) {
                    *count += 1;
                }
                let is_gone = merged.gone.iter().any(|(gone, _)| gone == name);
                prop_assert_eq!(is_gone, *count >= 2 && ours(name).is_empty()
                    && answers.iter().all(Option::is_some));
            }
        }
    }
}
