use super::*;

fn alert(status: &str, labels: &[(&str, &str)]) -> Alert {
    Alert {
        status: status.into(),
        labels: labels
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        starts_at: "2026-11-23T18:00:00Z".into(),
        fingerprint: "abc".into(),
    }
}

#[test]
fn only_version_4_json() {
    assert_eq!(parse(b"nonsense").unwrap_err(), BadPayload::Shape(1, 2));
    assert!(matches!(parse(b"{}").unwrap_err(), BadPayload::Shape(..)));
    assert!(matches!(
        parse(br#"["4",[],0]"#).unwrap_err(),
        BadPayload::Shape(..)
    ));
    assert_eq!(
        parse(br#"{"version":"3","alerts":[]}"#).unwrap_err(),
        BadPayload::Version
    );
    let newer =
        parse(br#"{"version":"4","alerts":[],"truncatedAlerts":2,"notificationReason":"x"}"#)
            .unwrap();
    assert_eq!(newer.truncated, 2);
    let secret = parse(br#"{"version":"4","alerts":["s3cret"]}"#)
        .unwrap_err()
        .to_string();
    assert!(!secret.contains("s3cret"));
}

#[test]
fn which_alerts_ask_for_what() {
    let demanded = BTreeMap::from([("instance".to_owned(), "host1".to_owned())]);
    let ours = [("ladder", LADDER), ("session", "a"), ("instance", "host1")];
    let with = |more: &[(&str, &str)]| {
        let labels: Vec<_> = ours.iter().chain(more).copied().collect();
        request(&alert("firing", &labels), &demanded).map(|r| r.action)
    };
    assert_eq!(with(&[("tier", "warning")]), Ok(Action::Plan));
    assert_eq!(with(&[("tier", "cleanup")]), Ok(Action::Cleanup));
    assert_eq!(with(&[("tier", "emergency")]), Ok(Action::Emergency));
    for tier in ["monitor", "fatal", "", "Cleanup"] {
        assert_eq!(with(&[("tier", tier)]), Err(Ignored::NoAction), "{tier}");
    }
    assert_eq!(
        with(&[("tier", "cleanup"), ("instance", "host2")]),
        Err(Ignored::OtherTarget)
    );
    assert_eq!(
        with(&[("tier", "cleanup"), ("ladder", "x")]),
        Err(Ignored::OtherLadder)
    );
    assert_eq!(
        with(&[("tier", "cleanup"), ("session", "")]),
        Err(Ignored::NoSession)
    );
    let resolved = alert("resolved", &[("ladder", LADDER), ("tier", "cleanup")]);
    assert_eq!(request(&resolved, &demanded), Err(Ignored::Resolved));
    let over = |status: &str, more: &[(&str, &str)]| {
        let labels: Vec<_> = ours.iter().chain(more).copied().collect();
        super::resolved(&alert(status, &labels), &demanded).map(|r| (r.session, r.action))
    };
    let tier = [("tier", "cleanup")];
    assert_eq!(
        over("resolved", &tier),
        Some(("a".to_owned(), Action::Cleanup))
    );
    assert_eq!(over("firing", &tier), None);
    assert_eq!(
        over("resolved", &[tier[0], ("instance", "host2")]),
        None,
        "another host's"
    );
}
