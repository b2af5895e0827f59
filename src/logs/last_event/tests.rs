use super::dates::date_in;
use super::*;

mod doubted;
mod openers;

#[test]
fn dates() {
    let at = |line: &str| date_in(line.as_bytes()).map(Timestamp::rfc3339);
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(
        at(r#"{"level":30,"time":"2026-11-23T18:14:04.021Z","msg":"x"}"#),
        is("2026-11-23T18:14:04Z")
    );
    assert_eq!(
        at(r#"{"level":30,"time":1795457644021,"msg":"x"}"#),
        is("2026-11-23T18:14:04Z")
    );
    assert_eq!(
        at("2026-11-23 20:16:57.145 +02:00: x"),
        is("2026-11-23T18:16:57Z")
    );
    assert_eq!(
        at("[2026-11-23 18:16:57.145 +0000] INFO: x"),
        is("2026-11-23T18:16:57Z")
    );
    assert_eq!(
        at("[2026-11-23 13:16:57 -0500] INFO: x"),
        is("2026-11-23T18:16:57Z")
    );
    assert_eq!(at("2026-11-23T18:16:57: no zone"), None);
    assert_eq!(at("[18:14:04.039] INFO (26088): x"), None);
    assert_eq!(at("2026-19-23T18:14:04Z"), None);
}

fn reader(dir: &Path, line: Option<&str>) -> LastEventReader {
    let settings = Arc::new(LogSettings {
        globs: vec![super::super::LogGlob::new(&format!("{}/*.log", dir.display())).unwrap()],
        from_start: false,
        state_path: dir.to_owned(),
        mapper: super::super::SessionMapper::new(None, line, None, None).unwrap(),
        patterns: Arc::new(super::super::Patterns::shipped_and(&[]).unwrap()),
    });
    let logs = LastEventReader::new(settings, Vec::new(), Clock::system());
    LastEventReader {
        looked_for: Duration::ZERO,
        ..logs
    }
}

fn by(pid: u32, at: &str, text: &str) -> String {
    format!(
        "{{\"level\":30,\"time\":\"2026-11-23T{at}.000Z\",\"pid\":{pid},\"hostname\":\"vm\",\"session\":\"b\",\"msg\":\"{text}\"}}\n"
    )
}

fn pino(at: &str, text: &str) -> String {
    by(7, at, text)
}

fn at(clock: &str) -> Option<Timestamp> {
    humantime::parse_rfc3339(&format!("2026-11-23T{clock}Z"))
        .ok()
        .map(Timestamp::from)
}

/// Auth folders and logs.
struct LogDir(tempfile::TempDir);

impl LogDir {
    fn new(folders: &[&str]) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(host.0.path().join("logs")).unwrap();
        for folder in folders {
            let folder = host.0.path().join("sessions").join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            for file in ["creds.json", "pre-key-1.json"] {
                std::fs::write(folder.join(file), "{}").unwrap();
            }
        }
        host
    }

    fn log(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join("logs").join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `configured`: `NAME=GLOB`s over the directory of the logs.
    fn says(&self, session: &str, configured: &[(&str, &str)]) -> LastEvent {
        let root = self.0.path();
        let glob = |glob: &str| {
            super::super::LogGlob::new(&format!("{}/logs/{glob}", root.display())).unwrap()
        };
        let globs = configured
            .iter()
            .map(|(name, text)| (glob(text), Arc::from(*name)));
        let mapper = super::super::SessionMapper::new(None, None, None, None).unwrap();
        let settings = Arc::new(LogSettings {
            globs: vec![glob("*.log")],
            from_start: false,
            state_path: root.to_owned(),
            mapper: mapper.with_sessions(globs.collect(), Default::default()),
            patterns: Arc::new(super::super::Patterns::shipped_and(&[]).unwrap()),
        });
        let sessions = SessionsPath {
            name: None,
            path: root.join("sessions"),
        };
        let logs = LastEventReader::new(settings, vec![sessions], Clock::system());
        logs.last_event_of(&SessionName::from_text(session))
            .unwrap()
            .unwrap()
    }

    fn is_closed(&self, session: &str) -> bool {
        let event = self.says(session, &[]);
        event.last.is_some_and(|last| !last.opened)
    }

    /// Why a close of the session does not count.
    fn unclear(&self, session: &str, configured: &[(&str, &str)]) -> String {
        let event = self.says(session, configured);
        assert_eq!(event.last, None);
        event.unclear.unwrap()
    }
}

const OPENED: &str = "opened connection to WA";
const CLOSED: &str = "connection closed";

#[test]
fn a_close_of_another_session_of_the_process() {
    let text = pino("10:00:00", OPENED) + &pino("11:00:00", CLOSED);
    let two = pino("10:00:00", OPENED) + &pino("10:10:00", OPENED) + &pino("11:00:00", CLOSED);
    let host = LogDir::new(&["main", "cliente2"]);
    host.log("main-out.log", &text);
    let why = host.unclear("main", &[]);
    assert!(
        why.starts_with("session cliente2 has no log of its own"),
        "{why}"
    );
    // The other bot has its own log, and another process.
    let other = host.log("cliente2-out.log", &by(8, "09:00:00", OPENED));
    assert!(host.is_closed("main"));
    assert_eq!(
        host.says("cliente2", &[]).last.map(|last| last.opened),
        Some(true)
    );
    // A log that the bot no longer writes: its folder was written later.
    let file = std::fs::File::options().append(true).open(&other).unwrap();
    let before = std::time::SystemTime::now() - Duration::from_secs(2 * 86_400);
    file.set_modified(before).unwrap();
    let why = host.unclear("main", &[]);
    assert!(
        why.starts_with("session cliente2 has no log of its own"),
        "{why}"
    );
    // One process with two connections, even if every session has a log.
    let host = LogDir::new(&["main"]);
    host.log("main-out.log", &text);
    assert!(host.is_closed("main"), "a single bot gets its verdict");
    host.log("main-out.log", &two);
    assert!(host.unclear("main", &[]).contains("several connections"));
}

#[test]
fn a_close_of_a_sub_bot() {
    let text = pino("10:00:00", OPENED) + &pino("11:00:00", CLOSED);
    for folders in [&["ventas", "ventas/sub1"][..], &["ventas", "jadibot/sub1"]] {
        let host = LogDir::new(folders);
        host.log("ventas-out.log", &text);
        assert!(
            host.unclear("ventas", &[]).contains("sub1 has no log"),
            "{folders:?}"
        );
    }
    // Directories that are not auth folders are not bots.
    let host = LogDir::new(&["ventas"]);
    for other in ["src", "node_modules/x", "tmp"] {
        std::fs::create_dir_all(host.0.path().join("sessions").join(other)).unwrap();
    }
    host.log("ventas-out.log", &text);
    assert!(host.is_closed("ventas"));
}

#[test]
fn a_log_of_another_session_that_tells_of_no_connection() {
    let text = pino("10:00:00", OPENED) + &pino("11:00:00", CLOSED);
    let host = LogDir::new(&["main", "cliente2"]);
    host.log("main-out.log", &text);
    // Made by logrotate; lines of the bot; lines of the same process, and of a former one.
    let own = by(7, "10:30:00", "message sent");
    for other in [
        "",
        "2026-11-23 10:30:00 cliente2: message sent\n",
        &own,
        &(by(6, "09:00:00", "message sent") + &own),
    ] {
        let path = host.log("cliente2-out.log", other);
        let why = host.unclear("main", &[]);
        assert!(
            why.starts_with("session cliente2 has no log"),
            "{other}: {why}"
        );
        // The operator says that it is the log of cliente2.
        let named = host.says("main", &[("cliente2", "cliente2-out.log")]);
        assert_eq!(named.last.is_some(), !other.is_empty(), "{other}");
        std::fs::remove_file(path).unwrap();
    }
    // Another process writes it, but no longer.
    let other = host.log("cliente2-out.log", &by(8, "10:30:00", "message sent"));
    assert!(host.is_closed("main"));
    let before = std::time::SystemTime::from(at("09:59:00").unwrap());
    let file = std::fs::File::options().append(true).open(other).unwrap();
    file.set_modified(before).unwrap();
    assert!(!host.is_closed("main"));
}

#[test]
fn a_process_that_ran_before_its_log() {
    let (starts, host) = ("connected to WA", LogDir::new(&["main"]));
    let session = |first: String| {
        first + &pino("10:00:00", starts) + &pino("10:00:01", OPENED) + &pino("11:00:00", CLOSED)
    };
    host.log("main-out.log", &session(pino("09:59:30", "bot begins")));
    assert!(host.is_closed("main"));
    host.log("main-out.log", &session(by(6, "09:00:00", CLOSED)));
    assert!(host.is_closed("main"), "a former process");
    // Yesterday's log may show other connections of the process.
    for first in [
        pino("09:59:59", CLOSED),
        pino("09:00:00", "handled 3 offline messages"),
        pino("09:59:59", "undated").replace("2026", "x"),
    ] {
        host.log("main-out.log", &session(first.clone()));
        let why = host.unclear("main", &[]);
        assert!(why.contains("was running before"), "{first}: {why}");
        let exact = host.says("main", &[("main", "main-out.log")]);
        assert!(exact.last.is_some(), "{first}");
    }
}

#[test]
fn connections_before_the_window() {
    let filler = |count: usize| pino("10:10:00", "handled 3 offline messages").repeat(count);
    let window = WINDOW as usize / 100;
    let again =
        pino("11:00:00", CLOSED) + &pino("11:00:01", "connected to WA") + &pino("11:00:02", OPENED);
    let closed = pino("12:00:00", CLOSED);
    let host = LogDir::new(&["main"]);
    let one = pino("10:00:00", OPENED) + &filler(window) + &again;
    host.log("main-out.log", &(one.clone() + &closed));
    assert!(host.is_closed("main"), "it has one connection");
    let two = pino("09:00:00", OPENED) + &one + &closed;
    host.log("main-out.log", &two);
    assert!(host.unclear("main", &[]).contains("several connections"));
    // The same, where the log is read again as it grows.
    for (first, expected) in [
        (String::new(), Some(false)),
        (pino("09:00:00", OPENED), None),
    ] {
        let log = Log::new();
        log.append(&first);
        log.append(&one);
        let logs = log.fresh();
        assert_eq!(word(&logs).map(|(opened, _)| opened), Some(true));
        log.append(&closed);
        assert_eq!(word(&logs).map(|(opened, _)| opened), expected);
        log.append(&(pino("12:00:01", OPENED) + &pino("12:00:02", CLOSED)));
        assert_eq!(word(&logs).map(|(opened, _)| opened), expected);
    }
    // The part that is read does not reach the beginning of the process.
    let long = filler(WIDE_WINDOW as usize / 100) + &again + &closed;
    host.log("main-out.log", &long);
    assert!(host.unclear("main", &[]).contains("was running before"));
}

#[test]
fn containers_with_one_host_name() {
    let open = by(1, "09:00:00", OPENED);
    let host = LogDir::new(&["main"]);
    host.log("c1-json.log", &open);
    host.log(
        "c2-json.log",
        &(by(1, "10:00:00", OPENED) + &by(1, "11:00:00", CLOSED)),
    );
    let glob = [("main", "*-json.log")];
    assert!(host.unclear("main", &glob).contains("several programs"));
    let exact = [("main", "c1-json.log"), ("main", "c2-json.log")];
    assert!(
        host.unclear("main", &exact)
            .contains("another process has opened")
    );
    host.log("c1-json.log", &(open + &by(1, "09:30:00", CLOSED)));
    assert_eq!(
        host.says("main", &exact).last.map(|last| last.opened),
        Some(false)
    );
}

#[test]
fn a_glob_over_the_logs_of_many_programs() {
    let host = LogDir::new(&["ventas", "soporte", "tienda"]);
    host.log("ventas-out.log", &by(1, "10:00:00", OPENED));
    host.log(
        "soporte-out.log",
        &(by(2, "10:00:00", OPENED) + &by(2, "11:00:00", CLOSED)),
    );
    let own = by(3, "09:00:00", OPENED);
    host.log("bot3-out.log", &own);
    let all = [("tienda", "*-out.log")];
    assert_eq!(
        host.says("tienda", &all).last.map(|last| last.opened),
        Some(true)
    );
    assert!(
        host.unclear("soporte", &all)
            .contains("named after soporte")
    );
    // A bot with a meaningless name, and a connection that was opened long ago.
    host.log("bot3-out.log", "hello\n");
    host.log(
        "other-out.log",
        &(by(4, "10:00:00", OPENED) + &by(4, "11:00:00", CLOSED)),
    );
    assert!(host.unclear("tienda", &all).contains("several programs"));
    // Named without a wildcard.
    let exact = [("tienda", "{bot3-out.log,bot3-error.log}")];
    assert_eq!(host.says("tienda", &exact).last, None);
    host.log("bot3-out.log", &(own + &by(3, "11:00:00", CLOSED)));
    assert_eq!(
        host.says("tienda", &exact).last.map(|last| last.opened),
        Some(false)
    );
    assert!(!host.is_closed("ventas"));
}

#[test]
fn several_logs_of_one_bot() {
    let closed = by(7, "10:00:00", OPENED) + &by(7, "11:00:00", CLOSED);
    let host = LogDir::new(&["a"]);
    host.log("a-out.log", &closed);
    host.log(
        "a-error.log",
        "Session error:Error: Bad MAC Error: Bad MAC\n",
    );
    host.log("a-out__2026-11-22_00-00-00.log", &by(6, "09:00:00", OPENED));
    assert!(host.is_closed("a"), "a former process was replaced");
    let later = host.log("a-error.log", &by(6, "10:30:00", OPENED));
    assert!(
        host.unclear("a", &[])
            .contains("another process has opened")
    );
    std::fs::remove_file(later).unwrap();
    let instance = host.log("a-out-1.log", "hello\n");
    assert!(host.unclear("a", &[]).contains("several programs"));
    std::fs::remove_file(instance).unwrap();
    assert!(host.is_closed("a"));
}

#[test]
fn what_is_read_again_is_not_taken_twice() {
    let log = Log::new();
    let logs = log.fresh();
    log.append(&pino("10:00:00", "connected to WA"));
    log.append(&pino("10:00:01", OPENED));
    for _ in 0..3 {
        log.append("hello\n");
        assert_eq!(word(&logs), Some((true, at("10:00:01"))));
    }
    log.append(&pino("11:00:00", CLOSED));
    assert_eq!(word(&logs), Some((false, at("11:00:00"))));
}

/// The logs of the real library: one process with one connection, which is opened and closed
/// repeatedly.
#[test]
fn the_real_library_never_looks_like_several_connections() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs");
    let mut closed = 0;
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let logs = reader(path.parent().unwrap(), None);
        let seen = logs.look(&path).unwrap().unwrap();
        let Some(connections) = seen.events.get(ALL) else {
            continue;
        };
        let last = connections.word();
        assert!(
            connections
                .opener()
                .is_none_or(|by| !connections.has_several(by) && !connections.ran_before(by)),
            "{path:?}"
        );
        closed += usize::from(matches!(last, Some(connections::LogWord::Closed { .. })));
    }
    assert!(closed > 5, "{closed}");
}

/// A log of the session `a`.
struct Log(tempfile::TempDir);

impl Log {
    fn new() -> Self {
        let log = Self(tempfile::tempdir().unwrap());
        log.append("nothing of that kind\n");
        log
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("a-out.log")
    }
    fn append(&self, text: &str) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path())
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    fn fresh(&self) -> LastEventReader {
        reader(self.0.path(), None)
    }
}

fn word(logs: &LastEventReader) -> Option<(bool, Option<Timestamp>)> {
    let event = logs
        .read(&SessionName::from_dir("a".as_ref()))
        .event
        .unwrap()
        .unwrap();
    event.opened.map(|opened| (opened, event.at))
}

#[test]
fn the_last_word_counts() {
    let log = Log::new();
    let (a, b) = (
        SessionName::from_dir("a".as_ref()),
        SessionName::from_dir("b".as_ref()),
    );
    let logs = log.fresh();
    assert_eq!(logs.read(&b).event, Ok(None), "there is no log");
    assert_eq!(word(&logs), None);
    log.append(&pino("10:00:00", "opened connection to WA"));
    assert_eq!(word(&logs), Some((true, at("10:00:00"))));
    log.append(&"x".repeat(200_000));
    log.append("\n");
    assert_eq!(word(&logs), Some((true, at("10:00:00"))));
    // A line that is being written.
    let closed = pino("11:00:00", "connection errored");
    log.append(&closed[..50]);
    assert_eq!(word(&logs), Some((true, at("10:00:00"))));
    log.append(&closed[50..]);
    assert_eq!(word(&logs), Some((false, at("11:00:00"))));
    assert_eq!(logs.read(&a).last_opened, at("10:00:00"));
    assert_eq!(word(&log.fresh()), word(&logs), "with and without memory");
    log.append("[12:00:00.000] INFO (7): opened connection to WA\n");
    assert_eq!(word(&logs), Some((true, None)));
    log.append("[12:00:00.000] INFO (7): connection closed\n");
    assert_eq!(word(&logs), Some((false, None)));
    // Truncated: its former lines are gone.
    std::fs::write(log.path(), "").unwrap();
    assert_eq!(word(&logs), None);
}

#[test]
fn only_who_opened_can_close() {
    let log = Log::new();
    log.append(&pino("10:00:00", "connection closed"));
    assert_eq!(word(&log.fresh()), None, "no connection was opened");
    let log = Log::new();
    log.append(&pino("10:00:01", "opened connection to WA"));
    log.append(&by(8, "11:00:00", "connection closed"));
    assert_eq!(word(&log.fresh()), None, "another process");
    log.append(&pino("12:00:00", "connection closed"));
    assert_eq!(word(&log.fresh()), Some((false, at("12:00:00"))));
    let pid_less = pino("13:00:00", "connection closed").replace("\"pid\":7,", "");
    log.append(&pid_less);
    assert_eq!(word(&log.fresh()), None);
    // A line dated later than the file counts as undated.
    let ahead = pino("12:00:00", "connection closed").replace("2026-", "2999-");
    log.append(&ahead);
    assert_eq!(word(&log.fresh()), Some((false, None)));
}

/// A part of the bot with its own connections may write the same words.
#[test]
fn only_the_logger_that_opened_can_close() {
    let class = |line: String| line.replace("\"msg\"", "\"class\":\"baileys\",\"msg\"");
    let with = |fields: &str, message: &str| {
        pino("11:00:00", message).replace("\"msg\"", &format!("{fields},\"msg\""))
    };
    let pretty =
        |at: &str, message: &str, fields: &str| format!("[{at}.000] INFO (7): {message}\n{fields}");
    let opened = "opened connection to WA";
    let others = [
        (
            class(pino("10:00:00", opened)),
            with(r#""reqId":"req-9","module":"ws""#, CLOSED),
        ),
        (class(pino("10:00:00", opened)), pino("11:00:00", CLOSED)),
        (pino("10:00:00", opened), with(r#""name":"redis""#, CLOSED)),
        (
            pino("10:00:00", opened),
            with(
                r#""db":"mongo","err":{"type":"Error"}"#,
                "connection errored",
            ),
        ),
        (
            pino("10:00:00", opened),
            with(r#""remoteJid":"5@s.whatsapp.net","pushName":"Ana""#, CLOSED),
        ),
        (
            pretty("10:00:00", opened, ""),
            pretty("11:00:00", CLOSED, "    name: \"redis\"\n"),
        ),
        // Of a sub-bot whose logger writes errors only: it was paired.
        (
            pino("10:00:00", opened),
            with(r#""node":{"tag":"stream:error"}"#, "stream errored out"),
        ),
    ];
    for (opened, closed) in others {
        let log = Log::new();
        log.append(&opened);
        log.append(&closed);
        assert_eq!(word(&log.fresh()), None, "{closed}");
    }
    let own = [
        (
            class(pino("10:00:00", opened)),
            class(with(r#""trace":"Error: x""#, "connection errored")),
        ),
        (
            with(r#""name":"bot""#, opened),
            with(r#""name":"bot""#, CLOSED),
        ),
        (
            pretty("10:00:00", opened, "    class: \"baileys\"\n"),
            pretty(
                "11:00:00",
                "connection errored",
                "    class: \"baileys\"\n    trace: \"Error: x\"\n",
            ),
        ),
        (
            pretty("10:00:00", opened, ""),
            pretty("11:00:00", CLOSED, ""),
        ),
    ];
    for (opened, closed) in own {
        let log = Log::new();
        log.append(&opened);
        log.append(&closed);
        assert!(matches!(word(&log.fresh()), Some((false, _))), "{closed}");
    }
}

#[test]
fn a_401_is_the_end_of_the_login() {
    let (a, out) = (SessionName::from_dir("a".as_ref()), "stream errored out");
    let error = |at: &str, code: &str| {
        pino(at, out).replace(
            "\"msg\"",
            &format!(
                "\"fullErrorNode\":{{\"tag\":\"stream:error\",\"attrs\":{{\"code\":\"{code}\"}}}},\"msg\""
            ),
        )
    };
    let log = Log::new();
    let logs = log.fresh();
    let after = |text: &str| {
        log.append(text);
        assert_eq!(
            logs.read(&a).logged_out,
            log.fresh().read(&a).logged_out,
            "with and without memory"
        );
        logs.read(&a).logged_out
    };
    // A message that someone sends to the bot while it is connected.
    assert!(!after(&pino("10:00:00", "opened connection to WA")));
    assert!(!after("they wrote: device_removed, \"code\":\"401\"\n"));
    assert!(!after(&error("10:00:01", "515")));
    assert!(!after(&pino("10:00:02", "opened connection to WA")));
    assert!(after(&error("10:00:03", "401")));
    assert!(after(&pino("10:00:04", "connection errored")));
    assert!(
        after(&by(8, "10:00:05", "connection closed")),
        "regardless of the process"
    );
    assert!(
        !after(&by(8, "10:00:06", "opened connection to WA")),
        "it was paired again"
    );
    // A record of several lines by pino-pretty.
    assert!(!after(
        "[10:00:07.000] ERROR (8): stream errored out\n    node: {\n"
    ));
    assert!(!after(
        "      \"tag\": \"stream:error\",\n      \"attrs\": {\n"
    ));
    assert!(after("        \"code\": \"401\"\n      }\n    }\n"));
}

#[test]
fn what_was_not_read_may_be_the_last_word() {
    let filler = "a line of no interest whatever\n".repeat(WINDOW as usize / 31 + 1);
    let log = Log::new();
    log.append(&pino("10:00:00", "opened connection to WA"));
    log.append(&pino("11:00:00", "connection closed"));
    let logs = log.fresh();
    assert_eq!(word(&logs), Some((false, at("11:00:00"))));
    log.append(&pino("11:00:10", "opened connection to WA"));
    log.append(&filler);
    log.append(&filler);
    assert_eq!(word(&logs), None);
    assert_eq!(word(&log.fresh()), None);
    // Truncated, and now larger than before: the same inode, other bytes.
    let log = Log::new();
    log.append(&pino("10:00:00", "opened connection to WA"));
    log.append(&pino("11:00:00", "connection closed"));
    let logs = log.fresh();
    assert_eq!(word(&logs), Some((false, at("11:00:00"))));
    std::fs::write(log.path(), filler).unwrap();
    assert_eq!(word(&logs), None);
}

#[test]
fn one_process_of_many_sessions() {
    let log = Log::new();
    let by_line = reader(log.0.path(), Some("\"session\":\"(?<session>[^\"]+)\""));
    let b = SessionName::from_dir("b".as_ref());
    log.append(&pino("12:59:00", "opened connection to WA"));
    log.append(&pino("13:00:00", "connection closed"));
    assert_eq!(by_line.read(&b).event.unwrap().unwrap().at, at("13:00:00"));
    // A line that names no session is about none, whatever the path is.
    log.append(&pino("14:00:00", "opened connection to WA").replace("\"session\":\"b\",", ""));
    assert_eq!(word(&by_line), None);
    assert_eq!(by_line.read(&b).event.unwrap().unwrap().opened, Some(false));
}

#[test]
fn a_log_that_is_a_fifo_is_an_error_and_blocks_no_reader() {
    let log = Log::new();
    let logs = log.fresh();
    assert_eq!(word(&logs), None);
    std::fs::remove_file(log.path()).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(log.path())
        .status()
        .unwrap();
    assert!(made.success());
    let a = SessionName::from_dir("a".as_ref());
    assert!(
        logs.read(&a)
            .event
            .unwrap_err()
            .contains("not a regular file")
    );
}

/// What was read long before the end of the log, which a new reader would not read.
#[test]
fn a_reload_forgets_nothing_that_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.log");
    let text = pino("10:00:00", OPENED) + &pino("11:00:00", CLOSED);
    std::fs::write(&path, &text).unwrap();
    let before = reader(dir.path(), None);
    let session = SessionName::from_text("b");
    let says = |reader: &LastEventReader| reader.last_event_of(&session).unwrap().unwrap();
    let noise = pino("11:00:01", "nothing of interest").repeat(4_000);
    assert!(noise.len() < WINDOW as usize && noise.len() * 4 > WINDOW as usize);
    for _ in 0..4 {
        let last = says(&before).last.unwrap();
        assert!(!last.opened);
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, noise.as_bytes()).unwrap();
    }
    let known = says(&before);
    assert!(known.last.is_some_and(|last| !last.opened), "{known:?}");
    assert_eq!(says(&reader(dir.path(), None)).last, None, "too long ago");
    assert_eq!(says(&reader(dir.path(), None).after(&before)), known);
    // Where lines are read in another way nothing is taken over.
    let by_line = reader(dir.path(), Some(r#""session":"(?P<session>[^"]+)""#));
    assert_eq!(says(&by_line.after(&before)).last, None);
}
