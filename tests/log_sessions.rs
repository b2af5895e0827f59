//! Which session the lines of a log count for, through the real programs: set-ups from public
//! reports, with lines as the library and the bots print them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use testkit::net::{self, Metrics};
use testkit::process::Process;
use testkit::{Patience, fixture};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
/// How long it may take to read and count what is there.
const WITHIN: Duration = Duration::from_secs(60);

const REMOVED: &str = "{\"level\":50,\"time\":1795897492323,\"pid\":7,\"hostname\":\"vm\",\"class\":\"baileys\",\"node\":{\"tag\":\"stream:error\",\"attrs\":{\"code\":\"401\"},\"content\":[{\"tag\":\"conflict\",\"attrs\":{\"type\":\"device_removed\"}}]},\"msg\":\"stream errored out\"}\n";
const BAD_MAC: &str = "Session error:Error: Bad MAC Error: Bad MAC\n    at Object.verifyMAC (/app/node_modules/libsignal/src/crypto.js:87:15)\n";
/// An app that is no bot.
const UNRELATED: &str = "connection replaced\n";

/// A metric, labels, and the value of the first series that has them; `None` for no series.
type Series<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<f64>);

/// Folders, logs and an exporter.
struct Bots {
    dir: tempfile::TempDir,
    port: u16,
    flags: Vec<String>,
    exporter: Option<Process>,
}

impl Bots {
    fn new(folders: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("baileys-sessions-")
            .tempdir()
            .unwrap();
        for inside in ["sessions", "logs"] {
            std::fs::create_dir(dir.path().join(inside)).unwrap();
        }
        let bots = Self {
            port: net::free_port(None).unwrap(),
            flags: vec![format!("--sessions.path={}/sessions", dir.path().display())],
            exporter: None,
            dir,
        };
        for folder in folders {
            bots.add_folder(folder);
        }
        bots
    }

    /// The same with one folder named itself, as in the plainest set-up.
    fn one(folder: &str) -> Self {
        let mut bots = Self::new(&[folder]);
        bots.flags = vec![format!("--sessions.path={}", bots.folder(folder).display())];
        bots
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join("sessions").join(name)
    }

    fn add_folder(&self, name: &str) {
        fixture::unpack("normal", &self.folder(name), SystemTime::now()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self, name: &str, text: &str) {
        use std::io::Write;
        let path = self.path("logs").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn config(&mut self, text: &str) {
        let path = self.path("config.yml");
        std::fs::write(&path, text).unwrap();
        self.flags.push(format!("--config.file={}", path.display()));
    }

    fn all_logs(&self) -> String {
        format!("--logs.path={}/*", self.path("logs").display())
    }

    fn start(&mut self) -> &mut Self {
        self.start_with(&self.all_logs(), &self.path("exporter.txt"))
    }

    fn start_with(&mut self, logs: &str, own_log: &Path) -> &mut Self {
        let mut args = self.flags.clone();
        args.push(logs.to_owned());
        args.push("--logs.from-start".into());
        args.push(format!(
            "--logs.state-path={}",
            self.path("state").display()
        ));
        args.push(format!("--web.listen-address=127.0.0.1:{}", self.port));
        let process = Process::start("baileys_exporter", Path::new(EXPORTER), args, own_log);
        self.exporter = Some(process.unwrap());
        self
    }

    fn stop(&mut self) {
        self.exporter.take().unwrap().stop();
    }

    /// Waits until these series have these values, and everything is read.
    fn shows(&mut self, expected: &[Series<'_>]) -> Metrics {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let process = self.exporter.as_mut().unwrap();
        let shown = Patience::new(WITHIN).wait_until(WITHIN, "the lines are counted", || {
            if let Err(ended) = process.alive() {
                return Ok(Err(ended));
            }
            let metrics = Metrics::scrape(&url)?;
            for (name, labels, value) in expected {
                let seen = metrics
                    .having(name, labels)
                    .next()
                    .map(|sample| sample.value);
                if seen != *value {
                    return Err(format!("{name} {labels:?}: {seen:?}, expected {value:?}"));
                }
            }
            match metrics.sum("baileys_exporter_log_unread_bytes", &[])? {
                0.0 => Ok(Ok(metrics)),
                unread => Err(format!("{unread} unread bytes")),
            }
        });
        let said = || process.log_tail(20);
        shown
            .and_then(|alive| alive)
            .unwrap_or_else(|failure| panic!("{failure}\n{}", said()))
    }

    /// Waits for counts of one session by pattern and for a number of unplaced lines.
    fn counts(&mut self, session: &str, events: &[(&str, f64)], unplaced: f64) -> Metrics {
        let labels: Vec<[(&str, &str); 2]> = events
            .iter()
            .map(|(pattern, _)| [("session", session), ("pattern", *pattern)])
            .collect();
        let mut expected: Vec<Series<'_>> = labels
            .iter()
            .zip(events)
            .map(|(labels, (_, value))| {
                (
                    "baileys_auth_signal_warnings_total",
                    &labels[..],
                    Some(*value),
                )
            })
            .collect();
        expected.push((
            "baileys_exporter_log_lines_unplaced_total",
            &[],
            Some(unplaced),
        ));
        self.shows(&expected)
    }

    fn run(&self, program: &str, command: &str) -> String {
        let mut args = vec![command.to_owned(), self.all_logs()];
        args.extend(self.flags.iter().cloned());
        args.push(format!("--state.path={}", self.path("journal").display()));
        if program == EXPORTER {
            args.pop();
        }
        let out = Command::new(program).args(args).output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The sessions that have counts of logs.
fn sessions(metrics: &Metrics) -> Vec<&str> {
    metrics
        .having("baileys_auth_log_lines_total", &[])
        .map(|sample| sample.labels["session"].as_str())
        .collect()
}

#[test]
fn one_bot_whose_app_has_another_name_than_its_folder() {
    let mut bots = Bots::one("auth_info_baileys");
    bots.log("index-error.log", BAD_MAC);
    bots.log("index-out.log", REMOVED);
    let events = [("device_removed", 1.0), ("bad_mac", 1.0)];
    let metrics = bots.start().counts("auth_info_baileys", &events, 0.0);
    assert_eq!(
        sessions(&metrics),
        ["auth_info_baileys"],
        "and no session `index`"
    );
    // After a restart the log need not show a line of the library again.
    bots.stop();
    bots.log("index-out.log", UNRELATED);
    let events = [("device_removed", 1.0), ("connection_replaced", 1.0)];
    bots.start().counts("auth_info_baileys", &events, 0.0);
    let said = bots.run(REMEDIATOR, "doctor");
    assert!(said.contains("index-error.log, index-out.log"), "{said}");
    assert!(
        said.contains("the only session and the only program"),
        "{said}"
    );
    assert!(!said.contains("belong to no session"), "{said}");
}

/// A bot that silences the library's logger and prints only why its connection ended.
const CLOSED: &str = "Connection closed. Status: 440, Reason: Stream Errored (conflict)\n";

#[test]
fn a_session_without_a_line_of_the_librarys_logger_is_half_monitored() {
    let mut bots = Bots::new(&["full", "silent"]);
    let state = bots.path("state");
    bots.config(&format!("logs: {{state_path: {}}}\n", state.display()));
    bots.log("silent-out.log", CLOSED);
    bots.log("full-out.log", REMOVED);
    let says = |bots: &Bots, by: &str, half: bool| {
        for (program, command) in [(EXPORTER, "status"), (REMEDIATOR, "doctor")] {
            let said = bots.run(program, command);
            let times = said
                .matches("half monitored: its log shows no line")
                .count();
            assert_eq!(times, usize::from(half), "{by}: {command}: {said}");
        }
    };
    // By the end of the log, before anything was counted.
    says(&bots, "without a state", true);
    let said = bots.run(EXPORTER, "status");
    assert!(said.contains("silent: half monitored: its log"), "{said}");
    let half = |session: &'static str, value| {
        let labels: &'static [(&str, &str)] = match session {
            "full" => &[("session", "full")],
            _ => &[("session", "silent")],
        };
        ("baileys_auth_log_half_monitored", labels, Some(value))
    };
    bots.start()
        .shows(&[half("silent", 1.0), half("full", 0.0)]);
    let url = format!("http://127.0.0.1:{}/", bots.port);
    let page = net::get(&url).unwrap().ok().unwrap();
    assert_eq!(page.matches("half monitored: its log").count(), 1, "{page}");
    says(&bots, "with a state", true);
    // What was seen once is remembered when the log is begun anew.
    bots.log("silent-out.log", REMOVED);
    bots.shows(&[half("silent", 0.0)]);
    bots.stop();
    std::fs::write(bots.path("logs/silent-out.log"), CLOSED).unwrap();
    says(&bots, "after the log was emptied", false);
}

/// It has no row in a table.
#[test]
fn a_declared_session_without_a_folder_is_said_to_be_half_monitored() {
    let mut bots = Bots::new(&["full"]);
    let state = bots.path("state");
    bots.config(&format!(
        "logs: {{state_path: {}, sessions: [faraway]}}\n",
        state.display()
    ));
    bots.log("faraway-out.log", CLOSED);
    bots.log("full-out.log", REMOVED);
    let says = |said: &str, by: &str| {
        let expected = "session faraway has no auth folder here, and is half monitored";
        assert_eq!(said.matches(expected).count(), 1, "{by}: {said}");
    };
    says(&bots.run(EXPORTER, "status"), "status");
    says(&bots.run(REMEDIATOR, "doctor"), "doctor");
    bots.start().shows(&[(
        "baileys_auth_log_half_monitored",
        &[("session", "faraway")],
        Some(1.0),
    )]);
    let url = format!("http://127.0.0.1:{}/", bots.port);
    says(&net::get(&url).unwrap().ok().unwrap(), "page");
    bots.log("faraway-out.log", REMOVED);
    bots.shows(&[(
        "baileys_auth_log_half_monitored",
        &[("session", "faraway")],
        Some(0.0),
    )]);
    let said = bots.run(EXPORTER, "status");
    assert!(!said.contains("half monitored"), "{said}");
}

#[test]
fn a_bot_that_prints_only_why_its_connection_ended_is_placed() {
    for (text, pattern) in [
        (
            "Device Logged Out, Please Scan Again And Run.\n",
            "device_removed",
        ),
        ("statusCode: 440\n", "connection_replaced"),
    ] {
        let mut bots = Bots::one("auth_info_baileys");
        bots.log("index-out.log", text);
        bots.start()
            .counts("auth_info_baileys", &[(pattern, 1.0)], 0.0);
        let said = bots.run(EXPORTER, "status");
        assert!(!said.contains("has no log"), "{said}");
        assert!(said.contains("auth_info_baileys: half monitored"), "{said}");
    }
    // What a program of another kind prints as well.
    let mut bots = Bots::one("auth_info_baileys");
    let lines = "statusCode: 401\nYou are logged out\nuser logged out, please log in again\n";
    bots.log("shop-api-out.log", lines);
    let events = [("connection_replaced", 0.0), ("device_removed", 0.0)];
    bots.start().counts("auth_info_baileys", &events, 3.0);
}

#[test]
fn an_unrelated_app_is_never_placed() {
    let mut bots = Bots::one("auth_info_baileys");
    bots.log("shop-api-out.log", UNRELATED);
    let metrics = bots
        .start()
        .counts("auth_info_baileys", &[("connection_replaced", 0.0)], 1.0);
    assert_eq!(
        sessions(&metrics),
        ["auth_info_baileys"],
        "no session `shop-api`"
    );
    let glob = format!("{}/*", bots.path("logs").display());
    let labels = |pattern: &'static str| [("glob", glob.as_str()), ("pattern", pattern)];
    let (replaced, removed) = (labels("connection_replaced"), labels("device_removed"));
    let name = "baileys_exporter_log_unplaced_signals_total";
    bots.shows(&[(name, &replaced, Some(1.0)), (name, &removed, Some(0.0))]);
    // Nor beside a bot with another name, whose log shows lines of the library.
    bots.log("index-out.log", REMOVED);
    let events = [("connection_replaced", 0.0), ("device_removed", 0.0)];
    bots.counts("auth_info_baileys", &events, 2.0);
    for (program, command) in [(REMEDIATOR, "doctor"), (EXPORTER, "status")] {
        let said = bots.run(program, command);
        for part in [
            "session auth_info_baileys has no log",
            "index-out.log",
            "shop-api-out.log",
            "--logs.path='auth_info_baileys=",
        ] {
            assert!(said.contains(part), "{command}: {part}: {said}");
        }
    }
    let page = net::get(&format!("http://127.0.0.1:{}/", bots.port))
        .unwrap()
        .ok()
        .unwrap();
    assert!(
        page.contains("session auth_info_baileys has no log"),
        "{page}"
    );
}

#[test]
fn a_bot_that_is_not_watched_keeps_its_logs() {
    let mut bots = Bots::one("a");
    bots.add_folder("b");
    bots.log("index-out.log", REMOVED);
    bots.start().counts("a", &[("device_removed", 0.0)], 1.0);
}

#[test]
fn the_default_session_gets_what_no_rule_places() {
    let mut bots = Bots::new(&["auth_info_baileys", "other"]);
    bots.config("logs: {default_session: auth_info_baileys}\n");
    bots.log("index-error.log", BAD_MAC);
    bots.log("index-out.log", REMOVED);
    let events = [("device_removed", 1.0), ("bad_mac", 1.0)];
    bots.start().counts("auth_info_baileys", &events, 0.0);
}

#[test]
fn logs_are_given_to_a_session() {
    let mut bots = Bots::new(&["auth_info_baileys", "other"]);
    let logs = format!(
        "--logs.path=auth_info_baileys={}/index-*",
        bots.path("logs").display()
    );
    bots.flags.push(logs);
    bots.log("index-out.log", REMOVED);
    bots.log("other-out.log", REMOVED);
    bots.log("shop-out.log", UNRELATED);
    bots.start()
        .counts("auth_info_baileys", &[("device_removed", 1.0)], 1.0);
    bots.counts("other", &[("device_removed", 1.0)], 1.0);
}

#[test]
fn dated_names_make_no_sessions() {
    let mut bots = Bots::new(&["bot", "other"]);
    bots.log("bot-2026-11-28.log", REMOVED);
    bots.log("bot-2026-11-29.log", BAD_MAC);
    bots.log("bot-error-20261129.log", BAD_MAC);
    let events = [("device_removed", 1.0), ("bad_mac", 2.0)];
    let metrics = bots.start().counts("bot", &events, 0.0);
    assert_eq!(sessions(&metrics), ["bot", "other"]);
}

#[test]
fn waha_calls_a_session_by_the_beginning_of_its_folder() {
    let folder = "default-c21f969b5f03d33d43e04f8f136e7682";
    let mut bots = Bots::new(&[folder, "sales-0123456789abcdef0123456789abcdef"]);
    bots.config("logs: {session_line: '\"session\":\"(?<session>[^\"]+)\"'}\n");
    bots.log("bot.log", "[03:21:09.021] ERROR (NOWEBEngine/7): session:default - stream errored out {\"session\":\"default\",\"node\":{\"tag\":\"stream:error\",\"attrs\":{\"code\":\"401\"},\"content\":[{\"tag\":\"conflict\",\"attrs\":{\"type\":\"device_removed\"}}]}}\n");
    bots.start().counts(folder, &[("device_removed", 1.0)], 0.0);
}

#[test]
fn evolution_names_the_session_in_its_own_lines_only() {
    let mut bots = Bots::new(&["shop", "salon"]);
    bots.config("logs: {session_line: '\\[Evolution API\\].*?\\[(?<session>[a-z]+)\\]'}\n");
    let own = |session: &str| {
        format!(
            "\x1b[33m[Evolution API]\x1b[0m  \x1b[36m[{session}]\x1b[0m  v2.2.2  163   -  \x1b[37mThu Nov 26 2026 22:36:12    \x1b[0m \x1b[42mINFO\x1b[0m   \x1b[37m[ChannelStartupService]\x1b[0m  [string]  Browser: x\n"
        )
    };
    bots.log(
        "evolution.log",
        &format!("{}{}{}{REMOVED}", own("shop"), BAD_MAC, own("salon")),
    );
    bots.start()
        .counts("salon", &[("device_removed", 1.0), ("bad_mac", 0.0)], 0.0);
    bots.counts("shop", &[("device_removed", 0.0), ("bad_mac", 1.0)], 0.0);
}

#[test]
fn a_session_in_a_database_is_declared() {
    let mut bots = Bots::new(&["bot"]);
    bots.config("logs: {sessions: [sql_1, 'shop_*']}\n");
    for name in ["sql-1", "shop_7", "index"] {
        bots.log(&format!("{name}-out.log"), REMOVED);
    }
    let metrics = bots
        .start()
        .counts("sql_1", &[("device_removed", 1.0)], 1.0);
    assert_eq!(sessions(&metrics), ["bot", "shop_7", "sql_1"]);
    bots.counts("shop_7", &[("device_removed", 1.0)], 1.0);
}

#[test]
fn a_folder_that_its_bot_deletes_is_remembered() {
    let mut bots = Bots::new(&["a", "b"]);
    bots.log("a-out.log", "x\n");
    bots.start().counts("a", &[("device_removed", 0.0)], 0.0);
    // At the moment when the device is removed.
    std::fs::remove_dir_all(bots.folder("a")).unwrap();
    bots.shows(&[("baileys_auth_folder_up", &[("session", "a")], None)]);
    bots.log("a-out.log", REMOVED);
    bots.counts("a", &[("device_removed", 1.0)], 0.0);
    bots.stop();
    bots.log("a-out.log", REMOVED);
    bots.start().counts("a", &[("device_removed", 2.0)], 0.0);
    bots.stop();
    // What is on disk says for how long.
    let state = rusqlite::Connection::open(bots.path("state/logs.sqlite")).unwrap();
    let nanos = 31 * 86_400 * 1_000_000_000_i64;
    let aged = state.execute(
        "UPDATE sessions SET gone = gone - ? WHERE gone IS NOT NULL",
        [nanos],
    );
    assert_eq!(aged, Ok(1));
    drop(state);
    bots.log("a-out.log", REMOVED);
    let metrics = bots.start().counts("b", &[("device_removed", 0.0)], 1.0);
    assert_eq!(sessions(&metrics), ["b"]);
}

#[test]
fn a_root_that_cannot_be_read_changes_no_mapping() {
    let mut bots = Bots::new(&["a"]);
    let (second, away) = (bots.path("second"), bots.path("away"));
    fixture::unpack("normal", &second.join("b"), SystemTime::now()).unwrap();
    bots.flags
        .push(format!("--sessions.path={}", second.display()));
    for log in ["b-out.log", "index-out.log"] {
        bots.log(log, REMOVED);
    }
    bots.start().counts("b", &[("device_removed", 1.0)], 1.0);
    std::fs::rename(&second, &away).unwrap();
    for restart in [false, true] {
        if restart {
            bots.stop();
            bots.start();
        }
        bots.shows(&[(
            "baileys_exporter_sessions_skipped",
            &[("reason", "source_unreadable")],
            Some(1.0),
        )]);
        for log in ["b-out.log", "index-out.log"] {
            bots.log(log, REMOVED);
        }
        let more = if restart { 2.0 } else { 1.0 };
        bots.counts("b", &[("device_removed", 1.0 + more)], 1.0 + more);
        bots.counts("a", &[("device_removed", 0.0)], 1.0 + more);
    }
}

#[test]
fn a_new_bot_counts_from_its_first_line() {
    let mut bots = Bots::new(&["a"]);
    bots.log("a-out.log", "x\n");
    bots.start().counts("a", &[("device_removed", 0.0)], 0.0);
    // The folder comes at the same time as the log; it has not been read yet.
    bots.add_folder("new");
    bots.log("new-out.log", REMOVED);
    bots.counts("new", &[("device_removed", 1.0)], 0.0);
}

/// Prometheus takes the first value of a counter for old: a session that came while the exporter
/// was away, and one that only its first line makes known, are shown at 0 before they count.
#[test]
fn a_new_session_is_shown_at_0_before_its_first_event() {
    let mut bots = Bots::new(&["a"]);
    bots.config("logs: {sessions: ['shop_*']}\n");
    bots.log("a-out.log", REMOVED);
    bots.start().counts("a", &[("device_removed", 1.0)], 0.0);
    bots.stop();
    bots.add_folder("new");
    for log in ["a-out.log", "new-out.log", "shop_7-out.log"] {
        bots.log(log, REMOVED);
    }
    bots.start();
    let url = format!("http://127.0.0.1:{}/metrics", bots.port);
    let mut values: [Vec<f64>; 3] = Default::default();
    let shown = Patience::new(WITHIN).wait_until(WITHIN, "all are counted", || {
        let metrics = Metrics::scrape(&url)?;
        for (session, values) in ["a", "new", "shop_7"].iter().zip(&mut values) {
            let labels = [("session", *session), ("pattern", "device_removed")];
            let mut series = metrics.having("baileys_auth_signal_reports_total", &labels);
            values.extend(series.next().map(|sample| sample.value));
        }
        let last: Vec<_> = values.iter().map(|values| values.last().copied()).collect();
        match last == [Some(2.0), Some(1.0), Some(1.0)] {
            true => Ok(()),
            false => Err(format!("{last:?}")),
        }
    });
    shown.unwrap();
    let first: Vec<f64> = values.iter().map(|values| values[0]).collect();
    assert_eq!(first[1..], [0.0, 0.0]);
    assert!(first[0] >= 1.0, "what was shown before is not begun again");
    bots.stop();
}

#[test]
fn the_exporter_does_not_follow_its_own_log() {
    let mut bots = Bots::new(&["bot"]);
    bots.log("bot-out.log", "x\n");
    bots.log("baileys_remediator-out.log", "connection replaced\n");
    let (logs, own) = (bots.all_logs(), bots.path("logs").join("monitor.log"));
    // The state directory does not exist yet, and a glob matches nothing: it says so.
    let nothing = format!("--logs.path={}/*.none", bots.path("logs").display());
    bots.flags.push(nothing);
    bots.start_with(&logs, &own);
    bots.shows(&[
        ("baileys_exporter_log_files", &[], Some(1.0)),
        ("baileys_exporter_log_lines_unplaced_total", &[], Some(0.0)),
        (
            "baileys_auth_log_lines_total",
            &[("session", "bot")],
            Some(1.0),
        ),
    ]);
    let said = std::fs::read_to_string(&own).unwrap();
    assert!(said.contains("*.none: no file matches"), "{said}");
}

#[test]
fn a_home_that_no_shell_has_expanded_is_reported() {
    let mut bots = Bots::new(&["bot"]);
    bots.flags.push("--sessions.path=~/bots".into());
    let own = bots.path("exporter.txt");
    bots.start_with("--logs.path=~/.pm2/logs/*.log", &own);
    bots.shows(&[("baileys_exporter_log_files", &[], Some(0.0))]);
    let said = std::fs::read_to_string(&own).unwrap();
    for part in [
        "--sessions.path ~/bots: ~ was not expanded",
        "--logs.path ~/.pm2/logs/*.log: ~ was not expanded",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_the_exporter_offers_gives_a_session_its_own_logs_only() {
    let mut bots = Bots::new(&["ventas", "soporte", "tienda"]);
    bots.log("ventas-out.log", BAD_MAC);
    bots.log("soporte-out.log", REMOVED);
    bots.log("bot3-out.log", BAD_MAC);
    bots.start()
        .counts("soporte", &[("device_removed", 1.0)], 2.0);
    let said = bots.run(EXPORTER, "status");
    let offered = said
        .split('\'')
        .find(|part| part.starts_with("--logs.path=tienda="))
        .or_else(|| said.split("--logs.path='").nth(1)?.split('\'').next())
        .unwrap_or_else(|| panic!("{said}"));
    assert!(offered.starts_with("tienda="), "{said}");
    assert!(offered.ends_with("/bot3-out.log"), "{said}");
    bots.flags.push(format!("--logs.path={offered}"));
    bots.stop();
    for log in ["soporte-out.log", "bot3-out.log"] {
        bots.log(log, REMOVED);
    }
    bots.start();
    bots.counts("tienda", &[("device_removed", 1.0)], 2.0);
    bots.counts("soporte", &[("device_removed", 2.0)], 2.0);
    bots.stop();
    // Also a glob over the logs of all bots gives each session its own.
    let all = bots.path("logs").join("*-out.log");
    bots.flags.pop();
    bots.flags
        .push(format!("--logs.path=tienda={}", all.display()));
    for log in ["soporte-out.log", "bot3-out.log"] {
        bots.log(log, REMOVED);
    }
    bots.start();
    bots.counts("tienda", &[("device_removed", 2.0)], 2.0);
    bots.counts("soporte", &[("device_removed", 3.0)], 2.0);
    let said = bots.run(REMEDIATOR, "doctor");
    let warning = "--logs.path=tienda=GLOB also matches logs that are named after other sessions: soporte, ventas";
    assert!(said.contains(warning), "{said}");
}

#[test]
fn a_module_of_pm2_beside_the_only_bot() {
    let mut bots = Bots::one("auth_info_baileys");
    bots.log("pm2-logrotate-out.log", "rotated\n");
    bots.log("index-out.log", REMOVED);
    let events = [("device_removed", 1.0)];
    bots.start().counts("auth_info_baileys", &events, 1.0);
    let said = std::fs::read_to_string(bots.path("exporter.txt")).unwrap();
    assert!(!said.contains("belong to no session"), "{said}");
}

#[test]
fn from_start_shows_no_count_that_still_grows() {
    let mut bots = Bots::new(&["ventas"]);
    let line = REMOVED
        .replace("stream errored out", "handled 3 offline messages")
        .replace("401", "0")
        .replace("device_removed", "x");
    bots.log("ventas-out.log", REMOVED);
    bots.log("ventas-out.log", &line.repeat((24 << 20) / line.len()));
    bots.log("ventas-out.log", REMOVED);
    bots.start();
    let url = format!("http://127.0.0.1:{}/metrics", bots.port);
    let labels = [("session", "ventas"), ("pattern", "device_removed")];
    let mut grew = Vec::new();
    let shown = Patience::new(WITHIN).wait_until(WITHIN, "both are counted", || {
        let metrics = Metrics::scrape(&url)?;
        let mut reports = metrics.having("baileys_auth_signal_reports_total", &labels);
        let value = reports.next().map(|sample| sample.value);
        grew.extend(value);
        match value {
            Some(2.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    shown.unwrap();
    assert_eq!(grew, [2.0]);
    bots.stop();
}
