use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;

fn seen(day: u64, found: &[&str], complete: bool) -> SessionsSeen {
    SessionsSeen {
        at: Timestamp::from_secs((day * DAY) as i64),
        found: found.iter().map(|name| Arc::from(*name)).collect(),
        complete,
        others: false,
    }
}

fn names(memory: &SessionMemory) -> Vec<&str> {
    memory.names().map(|name| &**name).collect()
}

#[test]
fn a_folder_is_remembered_for_30_days() {
    let mut memory = SessionMemory::default();
    memory.see(&seen(0, &["a", "b"], true));
    memory.see(&seen(1, &["a"], true));
    memory.see(&seen(31, &["a"], true));
    assert_eq!(names(&memory), ["a", "b"], "30 days");
    assert!(memory.see(&seen(32, &["a"], true)));
    assert_eq!(names(&memory), ["a"]);
    let known = KnownSessions::new(&memory, &DeclaredSessions::default());
    assert!(known.is_former("b") && !known.contains("b") && !known.is_former("a"));
    assert!(!memory.see(&seen(32, &["a"], true)));
    memory.see(&seen(33, &["a", "b"], true));
    memory.see(&seen(900, &["a", "b"], true));
    assert_eq!(names(&memory), ["a", "b"], "it is back");
}

#[test]
fn a_root_that_cannot_be_read_makes_no_folder_vanish() {
    let mut memory = SessionMemory::default();
    memory.see(&seen(0, &["a", "b"], true));
    for day in 1..100 {
        memory.see(&seen(day, &["a"], false));
    }
    assert_eq!(names(&memory), ["a", "b"]);
    memory.see(&seen(100, &["a"], true));
    memory.see(&seen(120, &["a"], true));
    assert_eq!(names(&memory), ["a", "b"], "gone since day 100");
}

#[test]
fn what_changed_is_saved_once() {
    let mut memory = SessionMemory::default();
    memory.see(&seen(0, &["a", "b"], true));
    let changes = |memory: &SessionMemory| -> Vec<(String, SavedSession)> {
        memory
            .changes()
            .map(|(name, saved)| (name.to_owned(), saved))
            .collect()
    };
    let there = |name: &str| (name.to_owned(), Some(None));
    assert_eq!(changes(&memory), [there("a"), there("b")]);
    memory.committed();
    memory.see(&seen(1, &["a", "b"], true));
    assert!(!memory.is_dirty());
    memory.see(&seen(2, &["a"], true));
    let gone = Timestamp::from_secs(2 * DAY as i64);
    assert_eq!(changes(&memory), [("b".to_owned(), Some(Some(gone)))]);
    memory.committed();
    // After a restart.
    let saved = BTreeMap::from([(Arc::from("a"), None), (Arc::from("b"), Some(gone))]);
    let mut memory = SessionMemory::from_saved(saved);
    memory.see(&seen(33, &["a"], true));
    assert!(!memory.is_dirty(), "the name is kept");
    memory.see(&seen(400, &["a"], true));
    assert_eq!(changes(&memory), [("b".to_owned(), None)]);
}

fn known(names: &[&str]) -> KnownSessions {
    KnownSessions::of(names.iter().map(|name| Arc::from(*name)))
}

#[test]
fn what_programs_call_a_session() {
    let called =
        |names: &[&str], name: &str| known(names).called(name).map(|name| name.to_string());
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(
        called(&["company_7", "other"], "company-7"),
        is("company_7")
    );
    assert_eq!(
        called(&["company_7", "company-7"], "company-7"),
        is("company-7")
    );
    assert_eq!(called(&["company_7", "company 7"], "company-7"), None);
    let waha = "default-c21f969b5f03d33d43e04f8f136e7682";
    assert_eq!(called(&[waha], "default"), is(waha));
    assert_eq!(called(&[waha, "default"], "default"), is("default"));
    assert_eq!(called(&["default-c21f"], "default"), None);
    assert_eq!(called(&["bot_sessions"], "bot"), is("bot_sessions"));
    assert_eq!(called(&["a"], "b"), None);
}

#[test]
fn one_session_and_no_other() {
    assert_eq!(known(&["a"]).only().as_deref(), Some("a"));
    assert_eq!(known(&["a", "b"]).only(), None);
    assert_eq!(known(&[]).only(), None);
    let mut memory = SessionMemory::default();
    memory.see(&SessionsSeen {
        others: true,
        ..seen(0, &["a"], true)
    });
    let known = KnownSessions::new(&memory, &DeclaredSessions::default());
    assert_eq!(known.only(), None, "there are bots that are not watched");
    assert!(known.contains("a") && !known.contains("b"));
}

proptest! {
    /// An incomplete listing never changes which sessions are known.
    #[test]
    fn an_incomplete_look_forgets_nothing(
        first in prop::collection::btree_set("[a-d]", 0..4),
        then in prop::collection::vec((prop::collection::btree_set("[a-d]", 0..4), 0u64..100), 0..6),
    ) {
        let all = |names: &BTreeSet<String>| names.iter().map(|name| Arc::from(name.as_str())).collect::<BTreeSet<Arc<str>>>();
        let mut memory = SessionMemory::default();
        memory.see(&SessionsSeen { found: all(&first), complete: true, ..SessionsSeen::default() });
        for (found, day) in then {
            let at = Timestamp::from_secs((day * DAY) as i64);
            memory.see(&SessionsSeen { at, found: all(&found), complete: false, others: false });
            for name in &first {
                prop_assert!(memory.names().any(|known| &**known == name.as_str()));
            }
        }
    }
}
