use super::*;
use proptest::prelude::*;

/// As Alertmanager 0.25 and 0.28 answer.
const ANSWER: &str = r#"[{"annotations":{"summary":"x"},"endsAt":"2026-01-01T00:05:00.000Z",
    "fingerprint":"abc","receivers":[{"name":"r"}],"startsAt":"2026-01-01T00:00:00.000Z",
    "status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":["s"],"state":"suppressed"},
    "updatedAt":"2026-01-01T00:00:00.000Z","generatorURL":"http://p/",
    "labels":{"alertname":"A","session":"bot"}}]"#;

#[test]
fn an_answer_of_alertmanager_is_understood() {
    let alerts = parse(ANSWER.as_bytes()).unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].fingerprint, "abc");
    assert_eq!(alerts[0].starts_at, "2026-01-01T00:00:00.000Z");
    assert_eq!(alerts[0].status.silenced_by.as_ref().map(Vec::len), Some(1));
    assert_eq!(alerts[0].labels["session"], "bot");
    assert!(parse(b"[]").unwrap().is_empty());
    let without_muted = ANSWER.replace("\"mutedBy\":[],", "");
    assert!(parse(without_muted.as_bytes()).is_ok());
}

#[test]
fn anything_else_is_an_error_that_repeats_nothing() {
    let many_labels: Vec<String> = (0..65).map(|n| format!("\"l{n}\":\"\"")).collect();
    let many_labels = ANSWER.replace("\"alertname\":\"A\"", &many_labels.join(","));
    let twice = ANSWER.replace("\"alertname\":\"A\"", "\"session\":\"secret\"");
    for body in [
        "",
        "secret",
        "{\"secret\": 1}",
        "[1]",
        "[[]]",
        "[{}]",
        "null",
        "[] secret",
        "[{\"labels\":{\"secret\":\"x\"}}]",
        &ANSWER[..ANSWER.len() - 1],
        &ANSWER.replace("\"suppressed\"", "7"),
        &ANSWER.replace("\"bot\"", "[\"bot\"]"),
        &many_labels,
        &twice,
    ] {
        let error = parse(body.as_bytes()).unwrap_err();
        assert!(
            error.contains("check the URL and its path prefix"),
            "{body}: {error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn too_many_alerts_are_not_taken_for_some() {
    let one = ANSWER.trim_start_matches('[').trim_end_matches(']');
    let list = |count: usize| format!("[{}]", vec![one; count].join(","));
    assert_eq!(
        parse(list(MAX_ALERTS).as_bytes()).unwrap().len(),
        MAX_ALERTS
    );
    let error = parse(list(MAX_ALERTS + 1).as_bytes()).unwrap_err();
    assert!(error.contains("alertmanager.match"), "{error}");
    // What follows need not be an alert to be too many.
    let padded = format!("{},{}]", list(MAX_ALERTS).trim_end_matches(']'), "0");
    assert!(parse(padded.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_break_it(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_damage_to_an_answer_breaks_it(at in 0..ANSWER.len(), byte: u8) {
        let mut body = ANSWER.as_bytes().to_vec();
        body[at] = byte;
        let _ = parse(&body);
    }
}
