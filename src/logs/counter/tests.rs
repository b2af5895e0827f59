use super::*;
use crate::logs::{Patterns, SessionMapper};
use std::time::SystemTime;

fn counter(line: Option<&str>) -> Counter {
    let settings = LogSettings {
        globs: Vec::new(),
        from_start: true,
        state_path: PathBuf::new(),
        mapper: SessionMapper::new(None, line, None, None).unwrap(),
        patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
    };
    let sessions = ["a", "b"].map(Arc::from).into();
    Counter::new(Arc::new(settings), sessions, Counts::default())
}

fn block<'a>(log: &'a str, lines: &'a str) -> Block<'a> {
    Block {
        origin: Path::new(log),
        modified: SystemTime::now(),
        lines: lines.as_bytes(),
    }
}

fn changes(counter: &Counter) -> Vec<(String, String, u64)> {
    let mut changes = counter.counts().changes();
    changes.sort();
    changes
}

#[test]
fn what_is_counted_is_saved_once_and_found_again() {
    let mut counter = counter(None);
    let text = "x\nSession error:Error: Bad MAC Error: Bad MAC\n  privKey: <Buffer 00>\n";
    counter.lines(block("/l/a-out.log", text));
    counter.lines(block("/l/other", "one\ntwo"));
    let is = |session: &str, name: &str, value| (session.to_owned(), name.to_owned(), value);
    let expected = [
        is("", "unplaced", 2),
        is("a", "event:bad_mac", 1),
        is("a", "lines", 3),
        is("a", "secrets", 1),
    ];
    assert_eq!(changes(&counter), expected);
    let saved = changes(&counter).into_iter();
    let saved = saved.map(|(session, name, value)| ((session, name), value));
    counter.committed();
    assert!(!counter.counts().is_dirty());
    assert_eq!(changes(&counter), []);
    counter.counts = Counts::from_saved(&saved.collect());
    assert!(!counter.counts().is_dirty());
    counter.lines(block("/l/a-out.log", text));
    assert_eq!(changes(&counter)[1], is("a", "lines", 6));
}

#[test]
fn a_copy_that_breaks_off_counts_nothing() {
    let mut counter = counter(None);
    counter.begin_copy();
    counter.lines(block("/l/a.log", "device_removed\n"));
    counter.lines(block("/l/none", "x\n"));
    counter.end_copy(false);
    assert_eq!(changes(&counter), []);
    counter.begin_copy();
    counter.lines(block("/l/a.log", "device_removed\n"));
    counter.end_copy(true);
    assert_eq!(counter.counts().sessions["a"].lines.value, 1);
    assert_eq!(changes(&counter).len(), 2);
}

#[test]
fn a_line_names_its_session() {
    let mut counter = counter(Some("bot=(?<session>[a-z]+)"));
    let text = "bot=a device_removed\nbot=b\nbot=c device_removed\nx\n";
    counter.lines(block("/l/b.log", text));
    let counts = counter.counts();
    assert_eq!(counts.sessions["a"].lines.value, 1);
    assert_eq!(counts.sessions["a"].events["device_removed"].value, 1);
    assert_eq!(counts.sessions["b"].lines.value, 2, "x by its path");
    assert!(counts.sessions["b"].events.is_empty());
    assert_eq!(counts.unplaced.value, 1, "c is no session");
    // Another set of sessions places the lines anew.
    counter.set_sessions(["c"].map(Arc::from).into());
    counter.lines(block("/l/b.log", "bot=c\n"));
    assert_eq!(counter.counts().sessions["c"].lines.value, 1);
}
