use super::*;

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
        .last_event(&SessionName::from_dir("a".as_ref()))
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
    assert_eq!(logs.last_event(&b), Ok(None), "there is no log");
    assert_eq!(word(&logs), None);
    log.append(&pino("10:00:00", "opened connection to WA"));
    assert_eq!(word(&logs), Some((true, at("10:00:00"))));
    log.append(&"x".repeat(200_000));
    log.append("\n");
    assert_eq!(word(&logs), Some((true, at("10:00:00"))));
    // A line being written.
    let closed = pino("11:00:00", "connection errored");
    log.append(&closed[..50]);
    assert_eq!(word(&logs), Some((true, at("10:00:00"))));
    log.append(&closed[50..]);
    assert_eq!(word(&logs), Some((false, at("11:00:00"))));
    assert_eq!(logs.last_opened(&a), at("10:00:00"));
    assert_eq!(word(&log.fresh()), word(&logs), "with and without memory");
    log.append("[12:00:00.000] INFO (7): opened connection to WA\n");
    assert_eq!(word(&logs), Some((true, None)));
    log.append("[12:00:00.000] INFO (7): connection closed\n");
    assert_eq!(word(&logs), Some((false, None)));
    // Emptied: what it said is gone.
    std::fs::write(log.path(), "").unwrap();
    assert_eq!(word(&logs), None);
}

#[test]
fn only_who_opened_can_close() {
    let log = Log::new();
    log.append(&pino("10:00:00", "connection closed"));
    assert_eq!(word(&log.fresh()), None, "nobody had opened");
    log.append(&pino("10:00:01", "opened connection to WA"));
    log.append(&by(8, "11:00:00", "connection closed"));
    assert_eq!(word(&log.fresh()), None, "another process");
    log.append(&pino("12:00:00", "connection closed"));
    assert_eq!(word(&log.fresh()), Some((false, at("12:00:00"))));
    let pid_less = pino("13:00:00", "connection closed").replace("\"pid\":7,", "");
    log.append(&pid_less);
    assert_eq!(word(&log.fresh()), None);
    // Dated ahead of the file, it has no date.
    let ahead = pino("12:00:00", "connection closed").replace("2026-", "2999-");
    log.append(&ahead);
    assert_eq!(word(&log.fresh()), Some((false, None)));
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
            logs.logged_out(&a),
            log.fresh().logged_out(&a),
            "with and without memory"
        );
        logs.logged_out(&a)
    };
    // What somebody sends the bot while it is connected.
    assert!(!after(&pino("10:00:00", "opened connection to WA")));
    assert!(!after("they wrote: device_removed, \"code\":\"401\"\n"));
    assert!(!after(&error("10:00:01", "515")));
    assert!(!after(&pino("10:00:02", "opened connection to WA")));
    assert!(after(&error("10:00:03", "401")));
    assert!(after(&pino("10:00:04", "connection errored")));
    assert!(
        after(&by(8, "10:00:05", "connection closed")),
        "whoever says so"
    );
    assert!(
        !after(&by(8, "10:00:06", "opened connection to WA")),
        "it was paired again"
    );
    // Several lines of pino-pretty.
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
    // Emptied and grown past its former size: the same inode, other bytes.
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
    assert_eq!(by_line.last_event(&b).unwrap().unwrap().at, at("13:00:00"));
    // What names no session speaks of none, whatever the path.
    log.append(&pino("14:00:00", "opened connection to WA").replace("\"session\":\"b\",", ""));
    assert_eq!(word(&by_line), None);
    assert_eq!(by_line.last_event(&b).unwrap().unwrap().opened, Some(false));
}

#[test]
fn a_log_that_is_a_fifo_is_an_error_and_hangs_nobody() {
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
        logs.last_event(&a)
            .unwrap_err()
            .contains("not a regular file")
    );
}
