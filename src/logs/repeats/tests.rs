use super::*;

#[test]
fn one_event_in_records_with_different_messages_counts_once() {
    let mut repeats = Repeats::default();
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let (trace, error, end) = (1, 2, 3);
    let mut counted = |session: &Arc<str>, message, line| {
        u32::from(!repeats.is_repeat(session, 7, message, line))
    };
    // Two sessions in one log, in turns.
    let first = counted(&a, trace, 1) + counted(&b, trace, 2);
    let second = counted(&a, error, 3) + counted(&b, error, 4);
    assert_eq!((first, second), (2, 0));
    // The same message again is another event.
    assert_eq!(counted(&a, error, 5), 1);
    assert_eq!(counted(&a, trace, 6), 0);
    assert_eq!(counted(&a, end, 7), 0);
    assert_eq!(counted(&a, end, 8), 0);
    assert_eq!(counted(&a, end, 9), 1);
    // Far away it is another event, whatever its message.
    assert_eq!(counted(&a, end, 10 + NEAR_LINES), 1);
    assert!(repeats.is_reported(&a, &[1, 7], 20 + NEAR_LINES));
    assert!(!repeats.is_reported(&b, &[1, 7], 20 + NEAR_LINES));
    assert!(!repeats.is_reported(&a, &[1], 20 + NEAR_LINES));
}

#[test]
fn little_is_remembered() {
    let mut repeats = Repeats::default();
    for session in 0..1000 {
        let session = Arc::from(session.to_string().as_str());
        assert!(!repeats.is_repeat(&session, 0, 0, 0));
    }
    assert!(repeats.groups.len() <= MOST);
}

/// The sentence that a bot prints after the reason is no event of its own.
#[test]
fn what_follows_the_reason_is_known_for_some_lines() {
    let mut repeats = Repeats::default();
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let bot = [ReasonBy::Bot];
    assert_eq!(repeats.follows_reason(&a, 7, 1, &bot), None);
    for (session, pattern, line, follows) in [
        (&a, 7, 2, Some(true)),
        (&a, 7, 1 + NEAR_LINES, Some(true)),
        (&a, 7, 2 + NEAR_LINES, None),
        (&b, 7, 2, None),
        (&a, 8, 2, None),
    ] {
        repeats.note_reason(&a, 7, 1, (ReasonBy::Bot, true));
        assert_eq!(
            repeats.follows_reason(session, pattern, line, &bot),
            follows
        );
    }
    repeats.note_reason(&a, 7, 1, (ReasonBy::Library, false));
    assert_eq!(repeats.follows_reason(&a, 7, 2, &bot), None);
    let library = [ReasonBy::Library];
    assert_eq!(repeats.follows_reason(&a, 7, 2, &library), Some(false));
    assert_eq!(
        repeats.follows_reason(&a, 7, 2, &library),
        None,
        "of one sentence only"
    );
    for session in 0..1000 {
        repeats.note_reason(
            &Arc::from(session.to_string().as_str()),
            7,
            1,
            (ReasonBy::Bot, true),
        );
    }
    assert!(repeats.reasons.len() <= MOST);
}
