use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn lines(count: usize) -> Vec<String> {
    (1..=count).map(|nth| format!("report {nth}")).collect()
}

#[test]
fn what_comes_within_a_minute_is_one_message() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.due("host", MINUTE), None);
    outbox.add(lines(1));
    assert_eq!(outbox.due("host", MINUTE).unwrap(), "host\nreport 1");
    outbox.sent(MINUTE);
    outbox.add(lines(1));
    outbox.add(lines(2));
    assert_eq!(outbox.due("host", MINUTE + MINUTE / 2), None);
    let text = outbox.due("host", MINUTE * 2).unwrap();
    assert_eq!(text, "host\nreport 1\nreport 1\nreport 2");
}

#[test]
fn an_hour_has_twelve_messages_at_most() {
    let mut outbox = Outbox::default();
    let mut sent = 0;
    for minute in 1..=60 {
        outbox.add(lines(1));
        if outbox.due("host", MINUTE * minute).is_some() {
            outbox.sent(MINUTE * minute);
            sent += 1;
        }
    }
    assert_eq!(sent, MAX_AN_HOUR);
    assert!(outbox.due("host", MINUTE * 61).is_some());
}

#[test]
fn a_message_is_bounded_and_names_what_is_left_out() {
    let mut outbox = Outbox::default();
    outbox.add(lines(MAX_REPORTS + 7));
    outbox.add(["x".repeat(10_000)]);
    let text = outbox.due("host", MINUTE).unwrap();
    assert_eq!(text.lines().count(), MAX_REPORTS + 2);
    assert!(text.ends_with("and 8 more; see: baileys_remediator runs"));
    outbox.sent(MINUTE);
    outbox.add([format!("a\u{1b}[31mb\nc{}", "x".repeat(10_000))]);
    let text = outbox.due("host", MINUTE * 2).unwrap();
    assert!(
        text.len() < 400 && text.starts_with("host\na [31mb c"),
        "{text}"
    );
}

#[test]
fn a_failure_is_tried_again_with_a_backoff() {
    let mut outbox = Outbox::default();
    outbox.add(lines(1));
    let mut now = MINUTE;
    for minutes in [1, 2, 4, 8, 16, 32, 32, 32] {
        assert!(outbox.due("host", now).is_some());
        outbox.failed(now);
        let next = now + MINUTE * minutes;
        assert_eq!(outbox.due("host", next - MINUTE / 2), None, "{minutes}");
        now = next;
    }
    outbox.add(lines(2));
    let text = outbox.due("host", now).unwrap();
    assert_eq!(text, "host\nreport 1\nreport 1\nreport 2");
    outbox.sent(now);
    outbox.add(lines(1));
    outbox.failed(now);
    assert!(outbox.due("host", now + MINUTE).is_some(), "it begins anew");
}
