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
        part: Part::Lines,
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

/// A line that is longer than a chunk of the tailer.
#[test]
fn a_line_in_parts_is_one_line_and_counts_to_its_end() {
    let mut counter = counter(None);
    let x = "x".repeat(300_000);
    let mut part = |part, lines: &str| {
        counter.lines(Block {
            part,
            ..block("/l/a-out.log", lines)
        });
    };
    part(Part::First, &x);
    part(Part::Middle, &x);
    part(Part::Last, r#""type":"device_removed"}"#);
    part(Part::Lines, "device_removed\n");
    let changes = changes(&counter);
    let is = |name: &str, value| ("a".to_owned(), name.to_owned(), value);
    assert!(
        changes.contains(&is("event:device_removed", 2)),
        "{changes:?}"
    );
    assert!(changes.contains(&is("lines", 2)), "{changes:?}");
}

/// One event that the library logs at trace level and as an error, then the bot's own report.
#[test]
fn an_event_at_two_levels_counts_once_and_the_bots_report_again() {
    let mut counter = counter(None);
    let node = r#"reasonNode={"tag":"conflict","attrs":{"type":"device_removed"}}"#;
    let cri = "2026-11-28T20:00:00.123456789Z stdout F ";
    let record = |level: &str, message: &str| {
        format!(
            "{cri}[00:42:03.670] {level} (N/7): session:a - {message} \n{cri}reqId=1 {node} {node}\n"
        )
    };
    let library = record("TRACE", "recv xml") + &record("ERROR", "stream errored out");
    counter.lines(block("/l/a-out.log", &library));
    let nest = "[Nest] 30  - 11/28/2026 ERROR [Session] Error: Stream Errored (conflict)\n";
    counter.lines(block("/l/a-out.log", nest));
    let is = |name: &str, value| ("a".to_owned(), name.to_owned(), value);
    for _ in 0..4 {
        counter.flush_undecided();
    }
    let first = changes(&counter);
    assert!(first.contains(&is("event:device_removed", 1)), "{first:?}");
    assert!(first.contains(&is("report:device_removed", 1)), "{first:?}");
    assert!(first.contains(&is("library", 1)), "{first:?}");
    assert!(
        !first.iter().any(|(_, name, _)| name.contains("replaced")),
        "{first:?}"
    );
    let own = "Device Logged Out, Please Scan Again And Run.\n";
    counter.lines(block("/l/a-out.log", own));
    assert!(changes(&counter).contains(&is("event:device_removed", 2)));
}

/// What a conflict was is known when its record has ended; a log that falls silent ends it.
#[test]
fn a_conflict_at_the_end_of_a_log_counts_when_nothing_follows() {
    let mut counter = counter(None);
    counter.lines(block(
        "/l/a-out.log",
        "closed: Error: Stream Errored (conflict)\n",
    ));
    let replaced = |counter: &Counter| {
        let changes = changes(counter);
        changes
            .iter()
            .any(|(_, name, _)| name == "event:connection_replaced")
    };
    assert!(!replaced(&counter));
    for _ in 0..4 {
        counter.flush_undecided();
    }
    assert!(replaced(&counter));
}
