use super::*;

#[test]
fn one_event_in_records_with_different_messages_counts_once() {
    let mut repeats = Repeats::default();
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let (trace, error, end) = (1, 2, 3);
    let mut counted = |session: &Arc<str>, message, line| {
        u32::from(!repeats.is_repeat(session, 7, message, line))
    };
    // Two sessions in one log, alternating.
    let first = counted(&a, trace, 1) + counted(&b, trace, 2);
    let second = counted(&a, error, 3) + counted(&b, error, 4);
    assert_eq!((first, second), (2, 0));
    // The same message again is another event.
    assert_eq!(counted(&a, error, 5), 1);
    assert_eq!(counted(&a, trace, 6), 0);
    assert_eq!(counted(&a, end, 7), 0);
    assert_eq!(counted(&a, end, 8), 0);
    assert_eq!(counted(&a, end, 9), 1);
    // Far away it is another event, whatever its message is.
    assert_eq!(counted(&a, end, 10 + NEAR_LINES), 1);
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

/// An error, a code and a sentence of a bot are one event.
#[test]
fn records_of_several_kinds_near_each_other_are_one_event() {
    use RecordKind::{Afterwards, Code, Library, Object, Sentence};
    let mut repeats = Repeats::default();
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    for (session, pattern, line, kind, certain, joined) in [
        (&a, 7, 1, Library, true, None),
        (&a, 7, 2, Object, false, None),
        (&a, 7, 3, Code, true, Some(false)),
        (&b, 7, 3, Code, true, None),
        (&a, 8, 3, Code, true, None),
        (&a, 7, 4, Sentence, true, Some(true)),
        (&a, 7, 5, Afterwards, true, Some(true)),
        // Another event.
        (&a, 7, 6, Sentence, true, None),
        (&a, 7, 7, Object, true, Some(true)),
        (&a, 7, 7 + NEAR_LINES, Code, true, None),
        // Only a sentence that never comes alone is added to an event of the library.
        (&a, 9, 1, Library, true, None),
        (&a, 9, 2, Library, true, None),
        (&a, 9, 3, Afterwards, true, Some(true)),
        (&a, 9, 4, Sentence, true, None),
    ] {
        assert_eq!(
            repeats.join(session, pattern, line, (kind, certain)),
            joined,
            "{pattern} {line} {kind:?}"
        );
    }
    for session in 0..1000 {
        let session = Arc::from(session.to_string().as_str());
        repeats.join(&session, 7, 1, (Code, true));
    }
    assert!(repeats.events.len() <= MOST);
}

#[test]
fn a_conflict_belongs_to_the_event_beside_it() {
    use RecordKind::{Code, Library, Sentence};
    let mut repeats = Repeats::default();
    let a: Arc<str> = "a".into();
    let kinds = (Some(7), Some(8));
    assert_eq!(repeats.join_conflict(&a, kinds, 1, true), None);
    repeats.join(&a, 7, 1, (Sentence, false));
    assert_eq!(repeats.join_conflict(&a, kinds, 2, true), None, "a chat");
    repeats.join(&a, 7, 2, (Code, false));
    assert_eq!(repeats.join_conflict(&a, kinds, 3, true), Some((7, false)));
    assert_eq!(repeats.join_conflict(&a, kinds, 4, true), Some((7, true)));
    let far = 10 + NEAR_LINES;
    assert_eq!(repeats.join_conflict(&a, kinds, far, true), None);
    repeats.join(&a, 8, far, (Code, true));
    assert_eq!(repeats.join_conflict(&a, kinds, far, true), Some((8, true)));
    assert_eq!(repeats.join_conflict(&a, kinds, far, true), None);
    repeats.join(&a, 8, far, (Library, true));
    for _ in 0..2 {
        assert_eq!(repeats.join_conflict(&a, kinds, far, true), Some((8, true)));
    }
}
