use std::collections::BTreeSet;
use std::time::SystemTime;

use clock::Clock;

use super::*;
use crate::logs::log_name::Program;
use crate::logs::own::OwnLogs;
use crate::logs::sessions::{SessionMemory, SessionsSeen};
use crate::logs::{LogGlob, Patterns, SessionMapper};

fn settings(line: Option<&str>) -> Arc<LogSettings> {
    Arc::new(LogSettings {
        globs: vec![LogGlob::new("/l/*").unwrap()],
        from_start: true,
        state_path: PathBuf::new(),
        mapper: SessionMapper::new(None, line, None, None).unwrap(),
        patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
    })
}

fn seen(at: i64, found: &[&str]) -> SessionsSeen {
    SessionsSeen {
        at: Timestamp::from_secs(at),
        found: found.iter().map(|name| Arc::from(*name)).collect(),
        complete: true,
        others: false,
    }
}

/// At the second 0, with these sessions.
fn counter(line: Option<&str>, sessions: &[&str]) -> Counter {
    let settings = settings(line);
    let mut placer = Placer::new(
        Arc::clone(&settings),
        SessionMemory::default(),
        BTreeSet::<Program>::new(),
        OwnLogs::default(),
    );
    placer.see(&seen(0, sessions));
    let now = (Timestamp::from_secs(0), Clock::system().now());
    Counter::new(settings, placer, Counts::default(), now)
}

fn block<'a>(log: &'a str, lines: &'a str) -> Block<'a> {
    Block {
        origin: Path::new(log),
        modified: SystemTime::now(),
        lines: lines.as_bytes(),
    }
}

/// The folders are looked at in this second.
fn look(counter: &mut Counter, at: i64, sessions: &[&str]) {
    counter.placer().see(&seen(at, sessions));
    counter.settle(Some(Timestamp::from_secs(at)));
}

fn changes(counter: &Counter) -> Vec<(String, String, u64)> {
    let mut changes = counter.counts().changes().counts;
    changes.sort();
    changes
}

fn saved(counter: &Counter) -> Counts {
    let saved = changes(counter).into_iter();
    let saved = saved.map(|(session, name, value)| ((session, name), value));
    Counts::from_saved(&saved.collect())
}

#[test]
fn what_is_counted_is_saved_once_and_found_again() {
    let mut counter = counter(None, &["a", "b"]);
    let text = "x\nSession error:Error: Bad MAC Error: Bad MAC\n  privKey: <Buffer 00>\n";
    counter.lines(block("/l/a-out.log", text));
    counter.lines(block("/l/other", "one\ndevice_removed"));
    look(&mut counter, 1, &["a", "b"]);
    let is = |session: &str, name: &str, value| (session.to_owned(), name.to_owned(), value);
    let expected = [
        is("\0unplaced\0/l/*", "event:device_removed", 1),
        is("\0unplaced\0/l/*", "lines", 2),
        is("a", "event:bad_mac", 1),
        is("a", "lines", 3),
        is("a", "secrets", 1),
    ];
    assert_eq!(changes(&counter), expected);
    assert_eq!(counter.counts().unplaced_lines(), 2);
    let again = saved(&counter);
    counter.committed();
    assert!(!counter.counts().is_dirty());
    assert_eq!(changes(&counter), []);
    counter.counts = again;
    assert!(!counter.counts().is_dirty());
    assert_eq!(counter.counts().unplaced_lines(), 2);
    counter.lines(block("/l/a-out.log", text));
    assert_eq!(changes(&counter)[1], is("a", "lines", 6));
}

#[test]
fn a_copy_that_breaks_off_counts_nothing() {
    let mut counter = counter(None, &["a"]);
    counter.begin_copy();
    counter.lines(block("/l/a.log", "device_removed\n"));
    counter.lines(block("/l/none", "x\n"));
    counter.end_copy(false);
    assert_eq!(changes(&counter), []);
    counter.begin_copy();
    counter.lines(block("/l/a.log", "device_removed\n"));
    counter.lines(block("/l/none", "x\n"));
    counter.end_copy(true);
    look(&mut counter, 1, &["a"]);
    assert_eq!(counter.counts().sessions["a"].lines.value, 1);
    assert_eq!(changes(&counter).len(), 3);
    assert_eq!(counter.counts().unplaced_lines(), 1);
}

#[test]
fn a_line_names_its_session() {
    let mut counter = counter(Some("bot=(?<session>[a-z]+)"), &["a", "b"]);
    let text = "bot=a device_removed\nbot=b\nbot=c device_removed\nx\n";
    counter.lines(block("/l/b.log", text));
    look(&mut counter, 1, &["a", "b"]);
    let counts = counter.counts();
    assert_eq!(counts.sessions["a"].lines.value, 1);
    assert_eq!(counts.sessions["a"].events["device_removed"].value, 1);
    assert_eq!(counts.sessions["b"].lines.value, 2, "x by its path");
    assert!(counts.sessions["b"].events.is_empty());
    assert_eq!(counts.unplaced_lines(), 1, "c is no session");
    // Another set of sessions places the lines anew.
    look(&mut counter, 2, &["c"]);
    counter.lines(block("/l/b.log", "bot=c\n"));
    assert_eq!(counter.counts().sessions["c"].lines.value, 1);
}

#[test]
fn a_line_that_names_none_follows_the_one_before() {
    let mut counter = counter(Some(r"\[(?<session>[a-z]+)\]"), &["shop", "salon"]);
    counter.lines(block("/l/all.log", "first\n[shop] x\nstream errored out\n"));
    // The next block goes on where the last one ended.
    counter.lines(block("/l/all.log", "    at x\n[salon] x\ndevice_removed\n"));
    counter.lines(block("/l/else.log", "y\n"));
    let lines = |counter: &Counter, session: &str| counter.counts().sessions[session].lines.value;
    assert_eq!((lines(&counter, "shop"), lines(&counter, "salon")), (3, 2));
    assert_eq!(
        counter.counts().sessions["salon"].events["device_removed"].value,
        1
    );
    look(&mut counter, 1, &["shop", "salon"]);
    assert_eq!(
        counter.counts().unplaced_lines(),
        2,
        "what no line was before"
    );
}

#[test]
fn lines_of_a_new_bot_wait_for_a_look_at_its_folder() {
    let mut counter = counter(None, &[]);
    counter.set_time((Timestamp::from_secs(10), Clock::system().now()));
    counter.lines(block("/l/a-out.log", "device_removed\n"));
    counter.lines(block("/l/b-out.log", "device_removed\n"));
    look(&mut counter, 9, &[]);
    assert_eq!(
        counter.counts().unplaced_lines(),
        0,
        "that look began before"
    );
    assert!(counter.counts().has_waiting());
    // They are saved meanwhile.
    let mut after_restart = self::counter(None, &[]);
    after_restart.counts = saved(&counter);
    for counter in [&mut counter, &mut after_restart] {
        look(counter, 20, &["a"]);
        assert_eq!(
            counter.counts().sessions["a"].events["device_removed"].value,
            1
        );
        assert_eq!(counter.counts().unplaced_lines(), 1);
        assert!(!counter.counts().has_waiting());
        assert_eq!(counter.counts().changes().gone.len(), 2);
        look(counter, 30, &["a", "b"]);
        assert_eq!(
            counter.counts().unplaced_lines(),
            1,
            "a counter never falls"
        );
    }
}

#[test]
fn nothing_waits_for_ever() {
    let mut counter = counter(None, &[]);
    let began = Clock::system().now();
    counter.set_time((Timestamp::from_secs(10), began));
    counter.lines(block("/l/a-out.log", "x\n"));
    counter.settle(None);
    assert!(counter.counts().has_waiting());
    counter.set_time((Timestamp::from_secs(0), began + WAIT_AT_MOST));
    counter.settle(None);
    assert_eq!(counter.counts().unplaced_lines(), 1);
    for log in 0..MOST_WAITING + 7 {
        counter.lines(block(&format!("/l/{log}-out.log"), "x\n"));
    }
    assert_eq!(
        counter.counts().unplaced_lines(),
        8,
        "and no more than so many"
    );
}

#[test]
fn a_line_of_the_library_places_the_only_program() {
    let mut counter = counter(None, &["auth"]);
    let logs = ["/l/index-out.log", "/l/index-error.log"].map(Path::new);
    counter.listed(&mut logs.into_iter());
    counter.lines(block("/l/index-error.log", "ws: connection replaced\n"));
    counter.lines(block(
        "/l/index-out.log",
        "[1] INFO (7): connected to WA\ny\n",
    ));
    let lines = |counter: &Counter| counter.counts().sessions["auth"].lines.value;
    assert_eq!(lines(&counter), 3, "what waited as well");
    assert_eq!(counter.placer().new_bots().len(), 1);
    // Another program comes.
    counter.listed(&mut [Path::new("/l/shop-out.log")].into_iter());
    counter.lines(block("/l/shop-out.log", "ws: connection replaced\n"));
    counter.lines(block("/l/index-out.log", "z\n"));
    look(&mut counter, 1, &["auth"]);
    assert_eq!(lines(&counter), 3);
    assert_eq!(counter.counts().unplaced_lines(), 2);
}
