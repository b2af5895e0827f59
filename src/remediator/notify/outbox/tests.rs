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
fn a_message_is_bounded_and_what_does_not_fit_comes_later() {
    let mut outbox = Outbox::default();
    outbox.add(lines(MAX_LINES + 7));
    let text = outbox.due("host", MINUTE).unwrap();
    assert_eq!(text.lines().count(), MAX_LINES + 2);
    assert!(text.ends_with("\nand 7 more in the next message"), "{text}");
    outbox.sent(MINUTE);
    let text = outbox.due("host", MINUTE * 2).unwrap();
    assert!(text.starts_with("host\nreport 21\n") && text.ends_with("\nreport 27"));
    outbox.sent(MINUTE * 2);
    assert_eq!(outbox.due("host", MINUTE * 3), None);
    // Of very many only the number is kept.
    outbox.add(lines(MAX_WAITING + 8));
    let text = outbox.due("host", MINUTE * 3).unwrap();
    assert!(text.ends_with("\nand 8 more; see: baileys_remediator runs"));
    let mut outbox = Outbox::default();
    outbox.add([format!("a\u{1b}[31mb\nc{}", "x".repeat(10_000))]);
    let text = outbox.due("host", MINUTE * 2).unwrap();
    assert!(
        text.len() < 400 && text.starts_with("host\na [31mb c"),
        "{text}"
    );
}

/// A receiver that refuses one that is too long would never get it. Bytes count, not characters.
#[test]
fn the_bytes_of_a_message_are_bounded() {
    let long = |nth| format!("{nth} {}", "é".repeat(10_000));
    for count in 1..=MAX_LINES {
        let mut outbox = Outbox::default();
        outbox.add_states((0..count).map(long));
        let mut told = 0;
        for minute in 1..=20 {
            let Some(text) = outbox.due("a title", MINUTE * minute) else {
                break;
            };
            assert!(text.len() <= MAX_MESSAGE_BYTES, "{}", text.len());
            told += text.matches('é').count() / (MAX_REPORT_CHARS - 3);
            outbox.sent(MINUTE * minute);
        }
        assert!(told >= count, "{told} of {count}");
    }
}

#[test]
fn a_state_comes_before_the_events_that_wait() {
    let mut outbox = Outbox::default();
    outbox.add(lines(MAX_WAITING));
    let due = outbox.due("host", MINUTE);
    assert!(due.is_some());
    outbox.failed(MINUTE);
    outbox.add_states(["Not back bot".to_owned()]);
    let text = outbox.due("host", MINUTE * 2).unwrap();
    assert!(text.starts_with("host\nNot back bot\nreport 1\n"), "{text}");
    outbox.sent(MINUTE * 2);
    let text = outbox.due("host", MINUTE * 3).unwrap();
    assert!(text.starts_with("host\nreport 20\n"), "{text}");
}

#[test]
fn a_message_that_is_refused_gets_smaller_and_blocks_nothing() {
    let mut outbox = Outbox::default();
    outbox.add(["poison".to_owned()]);
    outbox.add(lines(30));
    let (mut now, mut dropped, mut told) = (MINUTE, 0, Vec::new());
    for _ in 0..40 {
        now += MINUTE;
        let Some(text) = outbox.due("host", now) else {
            continue;
        };
        match text.contains("poison") {
            true => dropped += usize::from(outbox.refused(now)),
            false => {
                let reports = text.lines().filter(|line| line.starts_with("report"));
                told.extend(reports.map(str::to_owned));
                outbox.sent(now);
            }
        }
    }
    assert_eq!((dropped, told), (1, lines(30)));
    // A receiver that takes three lines at most.
    let mut outbox = Outbox::default();
    outbox.add(lines(9));
    let mut told = 0;
    for minute in 1..=40 {
        if let Some(text) = outbox.due("host", MINUTE * minute) {
            let reports = text.matches("report").count();
            match reports > 3 {
                true => assert!(!outbox.refused(MINUTE * minute)),
                false => {
                    told += reports;
                    outbox.sent(MINUTE * minute);
                }
            }
        }
    }
    assert_eq!(told, 9);
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
