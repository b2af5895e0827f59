mod samples;

use std::collections::BTreeSet;
use std::time::SystemTime;

use clock::Clock;

use super::tally::MOST_WAITING;
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

/// At second 0, with these sessions.
fn counter(line: Option<&str>, sessions: &[&str]) -> Counter {
    let settings = settings(line);
    let mut resolver = SessionResolver::new(
        Arc::clone(&settings),
        SessionMemory::default(),
        BTreeSet::<Program>::new(),
        OwnLogs::default(),
    );
    resolver.see(&seen(0, sessions));
    let now = (Timestamp::from_secs(0), Clock::system().now());
    Counter::new(settings, resolver, Counts::default(), now)
}

fn block<'a>(log: &'a str, lines: &'a str) -> Block<'a> {
    Block {
        origin: Path::new(log),
        modified: SystemTime::now(),
        lines: lines.as_bytes(),
        part: Part::Lines,
    }
}

/// Lists the folders in this second, after the logs have ended.
fn look(counter: &mut Counter, at: i64, sessions: &[&str]) {
    counter.flush_all();
    counter.resolver().see(&seen(at, sessions));
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
fn the_order_of_a_removal_and_an_open_is_kept() {
    let open = r#"{"level":30,"time":1764500000000,"pid":1,"msg":"opened connection to WA"}"#;
    let mut counter = counter(None, &["a"]);
    let times = |counter: &Counter| {
        let counts = &counter.counts().sessions["a"];
        (counts.removed_at.value, counts.opened_at.value)
    };
    counter.lines(block("/l/a.log", "device_removed\n"));
    counter.flush_all();
    let (removed, opened) = times(&counter);
    assert!(removed > 0 && opened == 0);
    // In one read, and in the second of the one before.
    counter.lines(block(
        "/l/a.log",
        &format!("{open}\ndevice_removed\n{open}\n"),
    ));
    counter.flush_all();
    let (removed, opened) = times(&counter);
    assert!(opened > removed, "{removed} {opened}");
    let again = saved(&counter);
    counter.counts = again;
    assert_eq!(times(&counter), (removed, opened));
    // Old lines have no time.
    let mut counter = self::counter(None, &["a"]);
    counter.set_first_reading(true);
    counter.lines(block("/l/a.log", "device_removed\n"));
    counter.flush_all();
    assert_eq!(times(&counter), (0, 0));
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
    assert_eq!(changes(&counter).len(), 4);
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
    // Another set of sessions: the lines are assigned again.
    look(&mut counter, 2, &["c"]);
    counter.lines(block("/l/b.log", "bot=c\n"));
    assert_eq!(counter.counts().sessions["c"].lines.value, 1);
}

/// A line that is longer than a chunk of the tailer.
#[test]
fn a_line_in_parts_is_one_line_and_counts_to_its_end() {
    let mut counter = counter(None, &["a"]);
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
    counter.flush_all();
    let changes = changes(&counter);
    let is = |name: &str, value| ("a".to_owned(), name.to_owned(), value);
    assert!(
        changes.contains(&is("event:device_removed", 2)),
        "{changes:?}"
    );
    assert!(changes.contains(&is("lines", 2)), "{changes:?}");
}

/// One event that the library logs at trace level and as an error, and then the bot's own report.
#[test]
fn an_event_at_two_levels_counts_once_and_the_bots_report_again() {
    let mut counter = counter(None, &["a"]);
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
    counter.flush_all();
    assert!(changes(&counter).contains(&is("event:device_removed", 2)));
}

/// A bot prints the reason, and then a sentence that explains it.
#[test]
fn the_sentence_after_the_reason_is_the_same_event() {
    let events = |text: &str| {
        let mut counter = counter(None, &["a"]);
        counter.lines(block("/l/a-out.log", text));
        counter.flush_all();
        let event = counter.counts().sessions["a"].events.get("device_removed");
        event.map_or(0, |count| count.value)
    };
    for (text, count) in [
        (
            "Connection closed. Status: 401\nLogged out, clearing session and restarting...\n",
            1,
        ),
        ("Logged out, clearing session and restarting...\n", 1),
        ("Logged out\nx\nLogged out\n", 2),
        ("Closed. Code: 401\nLogged out\nLogged out\n", 2),
        (
            "Closed. Code: 401\nx\n[Baileys] Logged out\nClosed. Code: 401\nLogged out\n",
            2,
        ),
    ] {
        assert_eq!(events(text), count, "{text}");
    }
}

/// Events and reports of removed devices and of replaced connections.
fn ends(counter: &Counter, session: &str) -> [u64; 4] {
    let counts = &counter.counts().sessions[session];
    let of =
        |all: &HashMap<String, Count>, name: &str| all.get(name).map_or(0, |count| count.value);
    let [removed, replaced] = ["device_removed", "connection_replaced"]
        .map(|name| [of(&counts.events, name), of(&counts.reports, name)]);
    [removed[0], removed[1], replaced[0], replaced[1]]
}

const CONFLICT: &str = "Connection closed: Stream Errored (conflict)\n";

/// The kind of a conflict is in the record before it or after it.
#[test]
fn a_conflict_is_decided_by_the_reason_beside_it() {
    let x = "x\n".repeat(30);
    let node = r#"{"level":50,"time":1,"class":"baileys","node":{"tag":"stream:error","attrs":{"code":"401"},"content":[{"tag":"conflict","attrs":{"type":"device_removed"}}]},"msg":"stream errored out"}"#;
    for (text, wanted) in [
        (CONFLICT.repeat(10), [0, 0, 10, 10]),
        (format!("{CONFLICT}Reason: 401\n"), [1, 1, 0, 0]),
        (
            format!("{CONFLICT}Código de desconexión: 401\n"),
            [1, 1, 0, 0],
        ),
        (format!("{CONFLICT}statusCode: 401\n"), [1, 1, 0, 0]),
        (
            format!("Connection closed. Status: 401\n{CONFLICT}"),
            [1, 1, 0, 0],
        ),
        (
            format!("{CONFLICT}Connection closed. Status: 440\n"),
            [0, 0, 1, 1],
        ),
        (format!("{CONFLICT}Logged out, please scan\n"), [1, 1, 0, 0]),
        (format!("{node}\n{CONFLICT}"), [1, 1, 0, 0]),
        // Too far away, of another session, a word in a chat, and a code of something else.
        (
            format!("{CONFLICT}{x}Connection closed. Status: 401\n"),
            [1, 1, 1, 1],
        ),
        (
            format!("{CONFLICT}[b] Connection closed. Status: 401\n"),
            [0, 0, 1, 1],
        ),
        (format!("{CONFLICT}Ana: device_removed\n"), [1, 0, 1, 1]),
        ("Reason: 401\n".to_owned(), [0, 0, 0, 0]),
    ] {
        let mut counter = counter(Some(r"^\[(?<session>[a-z]+)\]"), &["a", "b"]);
        counter.lines(block("/l/a-out.log", &text));
        counter.flush_all();
        assert_eq!(ends(&counter, "a"), wanted, "{text}");
    }
}

/// The reason may come at the next look. What is saved does not wait.
#[test]
fn a_conflict_waits_for_its_reason_until_it_is_saved() {
    let with = |between: fn(&mut Counter)| {
        let mut counter = counter(None, &["a"]);
        counter.lines(block("/l/a-out.log", CONFLICT));
        counter.lines(block("/l/a-out.log", "x\n"));
        assert_eq!(ends(&counter, "a"), [0, 0, 0, 0]);
        assert!(counter.is_undecided(), "a commit waits");
        between(&mut counter);
        counter.lines(block("/l/a-out.log", "Closed. Code: 401\nx\n"));
        ends(&counter, "a")
    };
    assert_eq!(with(Counter::flush_undecided), [1, 1, 0, 0]);
    assert_eq!(with(Counter::settle_undecided), [1, 1, 1, 1]);
}

/// One connection that was replaced, as the library, an object, a code and a sentence report it.
#[test]
fn a_replaced_connection_is_one_event_of_the_library_and_one_of_the_bot() {
    let library = r#"{"level":50,"time":1,"class":"baileys","node":{"tag":"stream:error","attrs":{"code":"440"},"content":[{"tag":"conflict","attrs":{"type":"replaced"}}]},"msg":"stream errored out"}"#;
    let object = "connection closed due to Error: Stream Errored (conflict)\n    at x (y) {\n  isBoom: true,\n  output: {\n    statusCode: 440\n  }\n}";
    let code = "Connection closed, status 440";
    let sentence = "Connection Replaced, Another New Session Opened";
    for (records, count) in [
        (vec![library, object, code, sentence], 2),
        (vec![object, code, sentence], 1),
        (vec![sentence, object], 1),
        (vec![sentence, sentence], 2),
        (
            vec![object, sentence, object, sentence, object, sentence],
            3,
        ),
    ] {
        let mut counter = counter(None, &["a"]);
        counter.lines(block("/l/a-out.log", &format!("{}\n", records.join("\n"))));
        counter.flush_all();
        assert_eq!(ends(&counter, "a"), [0, 0, count, count], "{records:?}");
    }
    for (text, pattern) in [
        (
            "Closed. Code: 403\nYour account has been banned by WhatsApp\n",
            "account_banned",
        ),
        (
            "Closed. Code: 401\nDevice Logged Out, Please Scan Again\n",
            "device_removed",
        ),
    ] {
        let mut counter = counter(None, &["a"]);
        counter.lines(block("/l/a-out.log", text));
        counter.flush_all();
        assert_eq!(counter.counts().sessions["a"].events[pattern].value, 1);
    }
}

/// The end of a log that was rotated.
#[test]
fn the_last_record_of_a_copy_counts() {
    let mut counter = counter(None, &["a"]);
    counter.begin_copy();
    counter.lines(block("/l/a.log", "x\nConnection closed. Status: 401\n"));
    counter.end_copy(true);
    assert_eq!(
        counter.counts().sessions["a"].events["device_removed"].value,
        1
    );
}

/// The kind of a conflict is known when its record has ended. A log without new lines ends it.
#[test]
fn a_conflict_at_the_end_of_a_log_counts_when_nothing_follows() {
    let mut counter = counter(None, &["a"]);
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

#[test]
fn a_line_that_names_none_follows_the_one_before() {
    let mut counter = counter(Some(r"\[(?<session>[a-z]+)\]"), &["shop", "salon"]);
    counter.lines(block("/l/all.log", "first\n[shop] x\nstream errored out\n"));
    // The next block continues where the last one ended.
    counter.lines(block("/l/all.log", "    at x\n[salon] x\ndevice_removed\n"));
    counter.lines(block("/l/else.log", "y\n"));
    counter.flush_all();
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
        "not as if no line had come before"
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
    // They are saved in between.
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
        "and not more than the limit"
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
    assert_eq!(lines(&counter), 3, "including the lines that waited");
    assert_eq!(counter.resolver().new_bots().len(), 1);
    // Another program appears.
    counter.listed(&mut [Path::new("/l/shop-out.log")].into_iter());
    counter.lines(block("/l/shop-out.log", "ws: connection replaced\n"));
    counter.lines(block("/l/index-out.log", "z\n"));
    look(&mut counter, 1, &["auth"]);
    assert_eq!(lines(&counter), 3);
    assert_eq!(counter.counts().unplaced_lines(), 2);
}

/// Waiting and unplaced lines are saved like those of a session.
#[test]
fn reports_and_the_library_wait_and_are_saved() {
    let mut counter = counter(None, &[]);
    let closed = "Device Logged Out, Please Scan Again And Run.\n";
    let library = "{\"level\":30,\"class\":\"baileys\",\"msg\":\"x\"}\n";
    for log in ["/l/a-out.log", "/l/b-out.log"] {
        counter.lines(block(log, closed));
        counter.lines(block(log, library));
    }
    let mut after_restart = self::counter(None, &[]);
    after_restart.counts = saved(&counter);
    for counter in [&mut counter, &mut after_restart] {
        look(counter, 1, &["a"]);
        let changes = changes(counter);
        for session in ["a", "\0unplaced\0/l/*"] {
            for (name, value) in [
                ("event:device_removed", 1),
                ("report:device_removed", 1),
                ("library", 1),
                ("lines", 2),
            ] {
                let expected = (session.to_owned(), name.to_owned(), value);
                assert!(changes.contains(&expected), "{expected:?}: {changes:?}");
            }
        }
        counter.committed();
        assert!(!counter.is_dirty());
    }
}

/// The envelope escapes the quotes that the expression looks for.
#[test]
fn a_line_names_its_session_within_an_envelope() {
    let line = r#""session":"(?<session>[a-z]+)""#;
    let docker = |text: &str| {
        let text = text.trim_end().replace('"', "\\\"");
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\"}}\n")
    };
    let utf16 = |text: &str| -> String {
        // Each byte of this text is one character.
        text.chars().flat_map(|c| [c, '\0']).collect()
    };
    for wrap in [&docker as &dyn Fn(&str) -> String, &utf16] {
        let mut counter = counter(Some(line), &["shop", "salon"]);
        let text = [
            wrap("{\"session\":\"shop\",\"msg\":\"x\"}\n"),
            wrap("Device Logged Out, Please Scan Again And Run.\n"),
        ]
        .concat();
        counter.lines(block("/l/all.log", &text));
        // The folders are listed between two blocks.
        look(&mut counter, 1, &["shop", "salon"]);
        counter.lines(block("/l/all.log", &wrap("one more\n")));
        look(&mut counter, 2, &["shop", "salon"]);
        let shop = &counter.counts().sessions["shop"];
        assert_eq!(shop.events["device_removed"].value, 1, "{text}");
        assert_eq!(shop.reports["device_removed"].value, 1);
        assert_eq!(shop.lines.value, 3);
        assert_eq!(counter.counts().unplaced_lines(), 0);
    }
}

/// A line that arrives in parts counts for the session that its first part names.
#[test]
fn the_parts_of_a_line_count_for_one_session() {
    let mut counter = counter(Some(r"bot=(?<session>[a-z]+)"), &["a", "b"]);
    let x = "x".repeat(10_000);
    for (part, lines) in [
        (Part::First, format!("bot=b {x}")),
        (Part::Middle, format!("{x} bot=a")),
        (Part::Last, r#""type":"device_removed"}"#.to_owned()),
        (Part::Lines, "device_removed\n".to_owned()),
    ] {
        counter.lines(Block {
            part,
            ..block("/l/a-out.log", &lines)
        });
    }
    counter.flush_all();
    let counts = counter.counts();
    assert_eq!(counts.sessions["b"].lines.value, 1);
    assert_eq!(counts.sessions["b"].events["device_removed"].value, 1);
    assert_eq!(counts.sessions["a"].lines.value, 1);
    assert_eq!(counts.sessions["a"].events["device_removed"].value, 1);
}

/// A record that is open at the end of a block belongs to the lines before the next block.
#[test]
fn an_open_record_counts_for_its_own_session() {
    let mut counter = counter(Some(r"^\[(?<session>[a-z]+)\]"), &["shop", "salon"]);
    counter.lines(block("/l/all.log", "[shop] x\n"));
    counter.lines(block(
        "/l/all.log",
        "closed: Error: Stream Errored (conflict)\n",
    ));
    counter.lines(block("/l/all.log", "[salon] x\n"));
    for _ in 0..4 {
        counter.flush_undecided();
    }
    let counts = counter.counts();
    assert_eq!(
        counts.sessions["shop"].events["connection_replaced"].value,
        1
    );
    assert!(counts.sessions["salon"].events.is_empty());
    // The same if nothing follows.
    counter.lines(block(
        "/l/all.log",
        "closed: Error: Stream Errored (conflict)\n",
    ));
    for second in 2..6 {
        counter.flush_undecided();
        look(&mut counter, second, &["shop", "salon"]);
    }
    let counts = counter.counts();
    assert_eq!(
        counts.sessions["salon"].events["connection_replaced"].value,
        1
    );
}

/// A line can name any session, and a person may have written it.
#[test]
fn sessions_that_only_a_glob_declares_are_bounded() {
    let settings = |mapper: SessionMapper| {
        let globs = globset::GlobSetBuilder::new()
            .add(globset::Glob::new("company_*").unwrap())
            .build()
            .unwrap();
        let declared = crate::logs::sessions::DeclaredSessions {
            names: [Arc::from("company_named")].into(),
            globs,
        };
        Arc::new(LogSettings {
            mapper: mapper.with_sessions(Vec::new(), declared),
            ..LogSettings::clone(&settings(None))
        })
    };
    let mapper = SessionMapper::new(None, Some(r"^\[(?<session>\w+)\]"), None, None).unwrap();
    let mut counter = counter(None, &["company_folder"]);
    counter.configure(settings(mapper));
    let lines = |names: std::ops::Range<usize>| -> String {
        names.map(|n| format!("[company_{n}] x\n")).collect()
    };
    counter.lines(block("/l/a.log", &lines(0..counts::MOST_BY_GLOB + 100)));
    counter.begin_copy();
    counter.lines(block("/l/a.log", &lines(100_000..100_010)));
    counter.lines(block("/l/a.log", &lines(0..5)));
    counter.end_copy(true);
    let all = counter.counts();
    assert_eq!(all.sessions.len(), counts::MOST_BY_GLOB);
    assert_eq!(all.unplaced_lines(), 110);
    assert_eq!(all.sessions["company_0"].lines.value, 2);
    // Those that are known otherwise are not among them.
    for session in ["company_folder", "company_named"] {
        counter.lines(block("/l/a.log", &format!("[{session}] x\n")));
        assert_eq!(counter.counts().sessions[session].lines.value, 1);
    }
    assert_eq!(counter.counts().unplaced_lines(), 110);
}

#[test]
fn the_first_reading_is_remembered() {
    let mut counts = Counts::default();
    counts.set_first_reading(true);
    let saved = |counts: &Counts| {
        let all = counts.changes().counts.into_iter();
        all.map(|(session, name, value)| ((session, name), value))
            .collect()
    };
    let mut again = Counts::from_saved(&saved(&counts));
    assert!(again.is_first_reading() && !again.is_dirty());
    again.set_first_reading(false);
    assert!(again.is_dirty());
    assert!(!Counts::from_saved(&saved(&again)).is_first_reading());
}
