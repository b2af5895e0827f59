use super::*;

#[test]
fn the_query_asks_for_the_ladder_and_this_host() {
    let matches = BTreeMap::from([("instance".to_owned(), "a\"b:1".to_owned())]);
    let ladder = "filter=ladder%3D%22baileys%5Fauth%5Ffiles%22";
    assert_eq!(query(&matches, true), ladder);
    assert_eq!(
        query(&matches, false),
        format!("{ladder}&filter=instance%3D%22a%5C%22b%3A1%22")
    );
}

#[test]
fn the_name_is_the_host() {
    assert_eq!(name_of("https://am-a:9093/prefix"), "am-a:9093");
}

#[test]
fn an_answer_of_alertmanager_is_understood() {
    let body = br#"[{"annotations":{"summary":"x"},"endsAt":"2026-01-01T00:05:00.000Z",
        "fingerprint":"abc","receivers":[{"name":"r"}],"startsAt":"2026-01-01T00:00:00.000Z",
        "status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":["s"],"state":"suppressed"},
        "updatedAt":"2026-01-01T00:00:00.000Z","generatorURL":"http://p/",
        "labels":{"alertname":"A","session":"bot"}}]"#;
    let alerts = parse(body).unwrap();
    assert_eq!(alerts[0].fingerprint, "abc");
    assert_eq!(alerts[0].status.silenced_by, ["s"]);
    assert_eq!(alerts[0].labels["session"], "bot");
    let error = parse(b"{\"secret\": 1}").unwrap_err();
    assert!(!error.contains("secret"), "{error}");
}
