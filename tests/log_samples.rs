//! What the real library prints, counted: every file of tests/fixtures/logs through the
//! running exporter, against counts made by hand (`expected.tsv`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use baileys_exporter::logs::pattern::SHIPPED;
use testkit::net;
use testkit::process::Process;
use testkit::{Patience, fixture};

/// File and pattern, and how often.
type Counts = BTreeMap<(String, String), u64>;

fn by_hand(name: &str, below: &str) -> Counts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/logs")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            (
                (format!("{below}{}", cells[0]), cells[1].to_owned()),
                cells[2].parse().unwrap(),
            )
        })
        .collect()
}

/// The value of a label in a line of the exposition.
fn label<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

fn counted(metrics: &str) -> Counts {
    let mut counts = Counts::new();
    for line in metrics.lines() {
        let pattern = match line.split('{').next().unwrap() {
            "baileys_auth_signal_warnings_total" => label(line, "pattern"),
            "baileys_auth_log_secret_lines_total" => "secret_lines",
            "baileys_auth_log_lines_total" => "lines",
            _ => continue,
        };
        let value = line.rsplit(' ').next().unwrap().parse().unwrap();
        counts.insert(
            (label(line, "session").to_owned(), pattern.to_owned()),
            value,
        );
    }
    counts
}

#[test]
fn every_file_of_the_real_library_counts_as_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs");
    fixture::unpack(
        "normal",
        &dir.path().join("sessions/bot"),
        SystemTime::now(),
    )
    .unwrap();
    // Each file is a session of its own.
    let config = dir.path().join("config.yml");
    let yaml = format!(
        "logs:\n  paths: ['{logs}/*.log', '{logs}/samples/*.txt', '{logs}/samples/*.jsonl', '{logs}/samples/pm2/*.log']\n  from_start: true\n  session_path: 'fixtures/logs/(?<file>.+)$'\n  session_name: '{{file}}'\n  sessions: ['*']\n  state_path: '{state}'\n",
        logs = logs.display(),
        state = dir.path().join("state").display(),
    );
    std::fs::write(&config, yaml).unwrap();
    let port = net::free_port(None).unwrap();
    let mut exporter = Process::start(
        "exporter",
        Path::new(env!("CARGO_BIN_EXE_baileys_exporter")),
        [
            format!("--sessions.path={}", dir.path().join("sessions").display()),
            format!("--config.file={}", config.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
        &dir.path().join("log"),
    )
    .unwrap();

    let mut wanted = by_hand("expected.tsv", "");
    wanted.extend(by_hand("samples-expected.tsv", "samples/"));
    assert!(wanted.len() > 40 * 20, "{}", wanted.len());
    let all_lines = |counts: &Counts| -> u64 {
        counts
            .iter()
            .filter(|((_, pattern), _)| pattern == "lines")
            .map(|(_, count)| count)
            .sum()
    };
    let patience = Patience::new(Duration::from_secs(60));
    let mut text = String::new();
    patience
        .wait_until(Duration::from_secs(50), "all lines are read", || {
            exporter.alive()?;
            text = net::get(&format!("http://127.0.0.1:{port}/metrics"))?.ok()?;
            let lines = all_lines(&counted(&text));
            if lines >= all_lines(&wanted) {
                Ok(())
            } else {
                Err(format!("{lines} lines"))
            }
        })
        .unwrap();

    // The folder that has no log is there as well, at 0.
    let mut seen = counted(&text);
    let silent: Vec<_> = seen
        .keys()
        .filter(|(session, _)| session == "bot")
        .cloned()
        .collect();
    assert_eq!(
        silent.len(),
        SHIPPED.len() + 2,
        "every session has every pattern"
    );
    for key in silent {
        assert_eq!(seen.remove(&key), Some(0));
    }
    for (key, count) in &wanted {
        assert_eq!(seen.get(key), Some(count), "{key:?}");
    }
    assert_eq!(seen.len(), wanted.len());

    // No line, key or number of a phone is repeated anywhere.
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let page = net::get(&format!("http://127.0.0.1:{port}/"))
        .unwrap()
        .ok()
        .unwrap();
    for shown in [&text, &log, &page] {
        for secret in ["<Buffer", "SessionEntry", "@s.whatsapp.net", "privKey: "] {
            assert!(!shown.contains(secret), "{secret} is shown");
        }
    }
    for entry in std::fs::read_dir(dir.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [
            &b"<Buffer"[..],
            b"SessionEntry",
            b"@s.whatsapp.net",
            b"Bad MAC",
        ] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "the state holds a raw line"
            );
        }
    }
}

/// An exporter over `dir/sessions`, with these flags.
fn exporter(dir: &Path, port: u16, flags: &[String]) -> Process {
    let mut args = vec![
        format!("--sessions.path={}", dir.join("sessions").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        format!("--logs.state-path={}", dir.join("state").display()),
    ];
    args.extend_from_slice(flags);
    let program = Path::new(env!("CARGO_BIN_EXE_baileys_exporter"));
    Process::start("exporter", program, args, &dir.join("log")).unwrap()
}

fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn one_process_that_runs_many_sessions() {
    let dir = tempfile::tempdir().unwrap();
    for id in [1, 2] {
        let folder = dir.path().join(format!("sessions/company_{id}"));
        fixture::unpack("normal", &folder, SystemTime::now()).unwrap();
    }
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    // A line that names a session, one that names none and so follows the one before, one that
    // names a session that is not there, and one that follows that.
    let lines = |file: &str, texts: &[&str]| {
        std::fs::write(
            logs.join(file),
            texts
                .iter()
                .map(|text| format!("{text}\n"))
                .collect::<String>(),
        )
        .unwrap();
    };
    let named = |id: u32| format!(r#"{{"company":{id},"msg":"stream errored out"}}"#);
    lines(
        "all-out.log",
        &[
            &named(1),
            &named(2),
            &named(2),
            "stream errored out",
            &named(99),
            "nothing",
        ],
    );
    lines(
        "company_2-error.log",
        &[
            "Closing open session in favor of incoming prekey bundle",
            &named(1),
        ],
    );
    let config = dir.path().join("config.yml");
    std::fs::write(
        &config,
        format!(
            "logs:\n  paths: ['{}/*.log']\n  session_line: '\"company\":(?<id>\\d+)'\n  session_path: 'company_(?<id>\\d+)'\n  session_name: 'company_{{id}}'\n",
            logs.display()
        ),
    )
    .unwrap();
    let port = net::free_port(None).unwrap();
    let flags = [
        format!("--config.file={}", config.display()),
        "--logs.from-start".into(),
    ];
    let mut exporter = exporter(dir.path(), port, &flags);
    let mut text = String::new();
    Patience::new(Duration::from_secs(30))
        .wait_until(Duration::from_secs(25), "the lines are read", || {
            exporter.alive()?;
            text = net::get(&format!("http://127.0.0.1:{port}/metrics"))?.ok()?;
            let unplaced = value(&text, "baileys_exporter_log_lines_unplaced_total ");
            if unplaced == Some(2.0) {
                Ok(())
            } else {
                Err(format!("{unplaced:?}"))
            }
        })
        .unwrap();
    for (series, count) in [
        (r#"baileys_auth_log_lines_total{session="company_1"} "#, 2.0),
        (r#"baileys_auth_log_lines_total{session="company_2"} "#, 4.0),
        (
            r#"baileys_auth_signal_warnings_total{session="company_1",pattern="stream_errored"} "#,
            2.0,
        ),
        (
            r#"baileys_auth_signal_warnings_total{session="company_2",pattern="stream_errored"} "#,
            3.0,
        ),
        (
            r#"baileys_auth_signal_warnings_total{session="company_2",pattern="closing_open_session"} "#,
            1.0,
        ),
    ] {
        assert_eq!(value(&text, series), Some(count), "{series}\n{text}");
    }
    assert!(
        !text.contains("company_99"),
        "a line cannot make a session up"
    );
}

#[test]
fn the_log_tells_whether_the_bot_is_connected() {
    let dir = tempfile::tempdir().unwrap();
    let bot = dir.path().join("sessions/bot");
    let now = SystemTime::now();
    let hours = |hours: u64| now - Duration::from_secs(hours * 3_600);
    fixture::unpack("normal", &bot, hours(24)).unwrap();
    let log = dir.path().join("bot-out.log");
    let flags = [format!("--logs.path={}", log.display())];
    let line = |at: SystemTime, text: &str| {
        let at = humantime::format_rfc3339_millis(at);
        format!(
            "{{\"level\":30,\"time\":\"{at}\",\"pid\":7,\"hostname\":\"vm\",\"class\":\"baileys\",\"msg\":\"{text}\"}}\n"
        )
    };
    let opened = |ago| line(hours(ago), "opened connection to WA");
    let status = |text: &str| {
        std::fs::write(&log, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_baileys_exporter"))
            .args(["status", "--output=json"])
            .arg(format!(
                "--sessions.path={}",
                dir.path().join("sessions").display()
            ))
            .arg(format!(
                "--logs.state-path={}",
                dir.path().join("state").display()
            ))
            .args(&flags)
            .output()
            .unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = &rows[0];
        (
            row["connection"].as_str().unwrap().to_owned(),
            row["connection_evidence"].to_string(),
        )
    };
    for (text, connection, because) in [
        (String::new(), "unknown", "it does not tell of a connection"),
        (opened(3), "connected", "the connection was opened 3h"),
        // A source that showed this bot's connection is believed when it shows its end.
        (opened(3) + &line(hours(2), "connection closed"), "disconnected", "the connection was closed 2h"),
        (line(hours(2), "connection errored"), "unknown", "that the same logger of the same process had opened it"),
        (opened(24 * 40) + &line(hours(2), "connection closed"), "unknown", "has not seen the session alive"),
        // Something was written since: a bot connected.
        (opened(60) + &line(hours(50), "connection closed"), "unknown", "a file was written since"),
        // pino-pretty gives no date.
        (
            "[09:00:00.000] INFO (7): opened connection to WA\n[10:00:00.000] INFO (7): connection closed\n"
                .into(),
            "unknown",
            "carries no date",
        ),
        // Only who opened can close: what others write to the bot is no word of its own.
        (
            opened(3) + &line(hours(2), "connection closed").replace("\"pid\":7", "\"pid\":8"),
            "unknown",
            "that the same logger of the same process had opened it",
        ),
        (
            opened(3)
                + "{\"level\":30,\"text\":\"hello INFO: connection closed\",\"msg\":\"message received\"}\n",
            "connected",
            "opened 3h",
        ),
        (opened(3) + &line(hours(2), "connection closed") + &opened(1), "connected", "opened 1h"),
    ] {
        let (seen, evidence) = status(&text);
        assert_eq!(seen, connection, "{evidence}");
        assert!(evidence.contains(because), "{evidence} does not say: {because}");
    }
    // A log that is no longer written says nothing.
    std::fs::write(&log, opened(3)).unwrap();
    let file = std::fs::File::options().append(true).open(&log).unwrap();
    let port = net::free_port(None).unwrap();
    let mut exporter = exporter(dir.path(), port, &flags);
    let mut state = |wanted: &str| {
        Patience::new(Duration::from_secs(60))
            .wait_until(Duration::from_secs(50), wanted, || {
                exporter.alive()?;
                let text = net::get(&format!("http://127.0.0.1:{port}/metrics"))?.ok()?;
                let series =
                    format!("baileys_auth_connection_state{{session=\"bot\",state=\"{wanted}\"}} ");
                if value(&text, &series) == Some(1.0) {
                    Ok(())
                } else {
                    Err("not so".into())
                }
            })
            .unwrap();
    };
    state("connected");
    file.set_modified(hours(1)).unwrap();
    state("unknown");
}

/// pm2 calls the log of `a_1` as that of `a-1`: what one says is no word of the other's.
#[test]
fn of_two_sessions_that_pm2_calls_alike_the_log_tells_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let hours = |hours: u64| now - Duration::from_secs(hours * 3_600);
    let line = |at: SystemTime, text: &str| {
        let at = humantime::format_rfc3339_millis(at);
        format!(
            "{{\"level\":30,\"time\":\"{at}\",\"pid\":7,\"hostname\":\"vm\",\"msg\":\"{text}\"}}\n"
        )
    };
    let ended = line(hours(3), "opened connection to WA") + &line(hours(2), "connection closed");
    std::fs::write(dir.path().join("a-1-out.log"), ended).unwrap();
    let status = || -> Vec<(String, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_baileys_exporter"))
            .args([
                "status",
                "--output=json",
                "--sessions.exclude=excluded*",
                "--sessions.exclude=a-1",
            ])
            .arg(format!(
                "--sessions.path={}",
                dir.path().join("sessions").display()
            ))
            .arg(format!(
                "--logs.state-path={}",
                dir.path().join("state").display()
            ))
            .arg(format!("--logs.path={}/*.log", dir.path().display()))
            .output()
            .unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let word = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| (word(row, "session"), word(row, "connection")))
            .collect()
    };
    let is = |sessions: &[(&str, &str)]| -> Vec<(String, String)> {
        sessions
            .iter()
            .map(|(name, state)| ((*name).to_owned(), (*state).to_owned()))
            .collect()
    };
    let add = |name: &str| {
        fixture::unpack("normal", &dir.path().join("sessions").join(name), hours(24)).unwrap()
    };
    add("a_1");
    assert_eq!(
        status(),
        is(&[("a_1", "disconnected")]),
        "no other session has this name"
    );
    // Which of the two is unknown.
    add("a 1");
    assert_eq!(status(), is(&[("a 1", "unknown"), ("a_1", "unknown")]));
    // A session with the very name, though this program leaves it out.
    std::fs::remove_dir_all(dir.path().join("sessions/a 1")).unwrap();
    add("a-1");
    assert_eq!(status(), is(&[("a_1", "unknown")]));
}

const BAD_MAC: &str = "Session error:Error: Bad MAC Error: Bad MAC\n";

/// Waits until a metric has this value.
fn wait_for_value(exporter: &mut Process, port: u16, series: &str, wanted: f64) -> String {
    let mut text = String::new();
    Patience::new(Duration::from_secs(60))
        .wait_until(
            Duration::from_secs(50),
            &format!("{series}{wanted}"),
            || {
                exporter.alive()?;
                text = net::get(&format!("http://127.0.0.1:{port}/metrics"))?.ok()?;
                let seen = value(&text, series);
                if seen == Some(wanted) {
                    Ok(())
                } else {
                    Err(format!("{seen:?}"))
                }
            },
        )
        .unwrap();
    text
}

/// Waits until so many lines of the session `bot` are counted.
fn wait_for_lines(exporter: &mut Process, port: u16, lines: u64) -> String {
    let series = r#"baileys_auth_log_lines_total{session="bot"} "#;
    wait_for_value(exporter, port, series, lines as f64)
}

fn append(log: &Path) {
    let mut log = std::fs::File::options().append(true).open(log).unwrap();
    std::io::Write::write_all(&mut log, BAD_MAC.as_bytes()).unwrap();
}

/// The path `moved` is away while the exporter starts again. The tests of the follower let the
/// time pass in which a copy of the log is looked for.
fn out_of_reach(moved: &str) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fixture::unpack("normal", &at("sessions/bot"), SystemTime::now()).unwrap();
    std::fs::create_dir(at("logs")).unwrap();
    std::fs::create_dir(at("more")).unwrap();
    std::fs::write(at("logs/bot-out.log"), BAD_MAC.repeat(50)).unwrap();
    std::fs::write(at("more/bot-error.log"), BAD_MAC).unwrap();
    let port = net::free_port(None).unwrap();
    let flags = [
        format!("--logs.path={}/*.log", at("logs").display()),
        format!("--logs.path={}/*.log", at("more").display()),
        "--logs.from-start".into(),
    ];
    let mut running = exporter(dir.path(), port, &flags);
    wait_for_lines(&mut running, port, 51);
    drop(running);
    std::fs::rename(at(moved), at("away")).unwrap();
    let mut running = exporter(dir.path(), port, &flags);
    // It has looked at the logs.
    append(&at("more/bot-error.log"));
    wait_for_lines(&mut running, port, 52);
    std::fs::rename(at("away"), at(moved)).unwrap();
    append(&at("logs/bot-out.log"));
    wait_for_lines(&mut running, port, 53);
    append(&at("logs/bot-out.log"));
    wait_for_lines(&mut running, port, 54);
}

#[test]
fn a_folder_of_logs_out_of_reach_at_a_restart_is_not_counted_again() {
    out_of_reach("logs");
}

#[test]
fn a_log_out_of_reach_at_a_restart_is_not_counted_again() {
    out_of_reach("logs/bot-out.log");
}

#[test]
fn what_could_not_be_read_at_the_first_start_is_begun_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fixture::unpack("normal", &at("sessions/bot"), SystemTime::now()).unwrap();
    // A link to itself cannot be followed, by root neither.
    std::os::unix::fs::symlink(at("bot-out.log"), at("bot-out.log")).unwrap();
    let port = net::free_port(None).unwrap();
    let flags = [format!("--logs.path={}", at("bot-out.log").display())];
    let mut running = exporter(dir.path(), port, &flags);
    wait_for_lines(&mut running, port, 0);
    drop(running);
    let mut running = exporter(dir.path(), port, &flags);
    let files = "baileys_exporter_log_files ";
    wait_for_value(&mut running, port, files, 0.0);
    std::fs::write(at("fixed"), BAD_MAC.repeat(50)).unwrap();
    std::fs::rename(at("fixed"), at("bot-out.log")).unwrap();
    // It stands at the end of the log.
    wait_for_value(&mut running, port, files, 1.0);
    wait_for_lines(&mut running, port, 0);
    append(&at("bot-out.log"));
    wait_for_lines(&mut running, port, 1);
}

#[test]
fn more_files_than_may_be_open() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fixture::unpack("normal", &at("sessions/bot"), SystemTime::now()).unwrap();
    std::fs::create_dir(at("logs")).unwrap();
    for n in 0..400 {
        std::fs::write(at(&format!("logs/bot-out-{n}.log")), BAD_MAC).unwrap();
    }
    let port = net::free_port(None).unwrap();
    let script = format!(
        "ulimit -n 300; exec {} --sessions.path={} --web.listen-address=127.0.0.1:{port} --logs.state-path={} --logs.path='{}/*.log' --logs.from-start",
        env!("CARGO_BIN_EXE_baileys_exporter"),
        at("sessions").display(),
        at("state").display(),
        at("logs").display(),
    );
    let mut running = Process::start(
        "exporter",
        Path::new("/bin/sh"),
        ["-c".into(), script],
        &at("log"),
    )
    .unwrap();
    wait_for_lines(&mut running, port, 400);
    for n in 0..400 {
        append(&at(&format!("logs/bot-out-{n}.log")));
    }
    let text = wait_for_lines(&mut running, port, 800);
    assert_eq!(
        value(&text, "baileys_exporter_log_read_errors_total "),
        Some(0.0)
    );
}

/// What log shippers and bots make of the library's events: text, pattern and count.
#[test]
fn logs_in_every_form_count_what_they_show() {
    let node = |kind: &str| {
        format!(
            r#"{{"level":50,"time":1795897492308,"pid":7,"hostname":"vm","class":"baileys","node":{{"tag":"stream:error","attrs":{{"code":"401"}},"content":[{{"tag":"conflict","attrs":{{"type":"{kind}"}}}}]}},"msg":"stream errored out"}}"#
        )
    };
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let removed = node("device_removed");
    let docker = |text: &str| {
        format!(
            "{{\"log\":{},\"stream\":\"stdout\",\"time\":\"2026-11-28T20:00:00Z\"}}\n",
            json(text)
        )
    };
    let long = format!(
        "{{\"x\":\"{}\",\"k\":\"device_removed\"}}\n",
        "y".repeat(16_375)
    );
    let (first, rest) = long.split_at(16_384);
    let utf16: Vec<u8> = format!("\u{feff}{removed}\r\n")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let pretty = "[20:24:52.386] ERROR (7): stream errored out\r\n    node: {\r\n      \"tag\": \"stream:error\",\r\n      \"attrs\": {\r\n        \"code\": \"401\"\r\n      }\r\n    }\r\n";
    let indented = "close {\n  \"tag\": \"stream:error\",\n  \"attrs\": {},\n  \"content\": [\n    {\n      \"tag\": \"conflict\",\n      \"attrs\": {\n        \"type\": \"replaced\"\n      }\n    }\n  ]\n}\n";
    let pm2: String = [
        "connection closed due to  Error: Stream Errored (conflict)",
        "    at x (y) {",
        "  isBoom: true,",
        "  output: { statusCode: 401 }",
        "} , reconnecting  false",
    ]
    .iter()
    .map(|line| format!("29-11-2026 10:00 +00:00: {line}\n"))
    .collect();
    let megabytes = format!("{}device_removed\n", "z".repeat(3 << 20));
    let cases: Vec<(&str, Vec<u8>, &str, f64)> = vec![
        ("docker", docker(&format!("{removed}\n")).into(), "stream_error_401", 1.0),
        ("docker_parts", (docker(first) + &docker(rest)).into(), "device_removed", 1.0),
        ("journald", format!("{{\"__CURSOR\":\"s=1\",\"MESSAGE\":{}}}\n", json(&removed)).into(), "device_removed", 1.0),
        ("cri", format!("2026-11-28T20:00:00.1Z stdout F {}\n", node("replaced")).into(), "connection_replaced", 1.0),
        ("pm2_keys", format!("{{\"timestamp\":\"t\",\"message\":{},\"type\":\"out\",\"process_id\":0,\"app_name\":\"x\"}}\n", json(&node("replaced"))).into(), "connection_replaced", 1.0),
        ("utf_16", utf16, "device_removed", 1.0),
        ("crlf", pretty.into(), "stream_error_401", 1.0),
        ("indented", indented.into(), "connection_replaced", 1.0),
        ("three_megabytes", megabytes.into(), "device_removed", 1.0),
        ("silent", b"Connection closed. Status: 440, Reason: Stream Errored (conflict)\n".to_vec(), "connection_replaced", 1.0),
        ("spanish", "[ ⚠ ] 401 Sesión cerrada, elimina la carpeta\n".into(), "device_removed", 1.0),
        ("portuguese", "Bot deslogado!\n".into(), "device_removed", 1.0),
        ("indonesian", b"Perangkat Keluar, Silakan Pindai\n".to_vec(), "device_removed", 1.0),
        ("evolution", b"[x]  WARN  [WAMonitoringService]  Instance \"x\" - LOGOUT\n".to_vec(), "device_removed", 1.0),
        ("code_only", b"closed: 401 Unauthorized\n".to_vec(), "device_removed", 1.0),
        ("reason_and_sentence", b"Connection closed. Status: 401\nLogged out, clearing session\n".to_vec(), "device_removed", 1.0),
        ("banned", b"Connection closed. Status: 403\n".to_vec(), "account_banned", 1.0),
        ("another_service", b"Desconectado del CRM. Estado: 401\n".to_vec(), "device_removed", 0.0),
        ("comparison", b"statusCode(515) !== DisconnectReason.loggedOut(401)\n".to_vec(), "device_removed", 0.0),
        ("mixed", b"plain\n2026-11-28T20:00:00.1Z stdout P x device_re\n2026-11-28T20:00:00.1Z stdout F moved\n".to_vec(), "device_removed", 1.0),
        ("idle", b"Worker Waiting For Messages!\nINFO: Waiting for message...\n".to_vec(), "waiting_for_message", 0.0),
        ("screen", b"Waiting for this message. This may take a while.\n".to_vec(), "waiting_for_message", 1.0),
        ("other_socket", b"ws: connection replaced\n".to_vec(), "connection_replaced", 0.0),
        ("pm2_format", pm2.into(), "device_removed", 1.0),
        ("stays_closed", b"Connection closed. Reconnecting: false\n".to_vec(), "device_removed", 1.0),
        ("winston", b"{\"level\":\"warn\",\"message\":\"Connection closed\",\"statusCode\":401,\"reason\":\"loggedOut\"}\n".to_vec(), "device_removed", 1.0),
        ("log4j", b"2026-11-29 10:00:00,123 ERROR [main] com.example.Bot - Connection closed. Status: 440\n".to_vec(), "connection_replaced", 1.0),
        ("aligned", b"2026-11-29T10:00:00.1Z  INFO bot::wa: device_removed\n2026-11-29T10:00:00.2Z  INFO bot::wa: x\n2026-11-29T10:00:01.1Z  WARN bot::wa: Connection closed: 440\n".to_vec(), "connection_replaced", 1.0),
        ("turkish", "Bağlantı kapandı: 401\n".into(), "device_removed", 1.0),
        ("chat", "{\n  \"key\": {\n    \"remoteJid\": \"521@s.whatsapp.net\"\n  },\n  \"message\": {\n    \"conversation\": \"la sesión fue cerrada\"\n  }\n}\n".into(), "device_removed", 1.0),
        ("own", "CONEXIÓN CERRADA\nconexión cerrada\n".into(), "own", 2.0),
    ];
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    for (name, text, ..) in &cases {
        let folder = dir.path().join("sessions").join(name);
        fixture::unpack("normal", &folder, SystemTime::now()).unwrap();
        std::fs::write(logs.join(format!("{name}.log")), text).unwrap();
    }
    let config = dir.path().join("config.yml");
    let yaml = format!(
        "logs:\n  paths: ['{}/*.log']\n  patterns:\n    - {{name: own, regex: 'conexión cerrada', severity: info, help: x}}\n",
        logs.display()
    );
    std::fs::write(&config, yaml).unwrap();
    let port = net::free_port(None).unwrap();
    let flags = [
        format!("--config.file={}", config.display()),
        "--logs.from-start".into(),
    ];
    let mut exporter = exporter(dir.path(), port, &flags);
    let differences = |text: &str| -> Vec<String> {
        let counted = |name: &str, pattern: &str| {
            let series = format!(
                "baileys_auth_signal_warnings_total{{session=\"{name}\",pattern=\"{pattern}\"}} "
            );
            value(text, &series)
        };
        cases
            .iter()
            .filter(|(name, _, pattern, wanted)| counted(name, pattern) != Some(*wanted))
            .map(|(name, _, pattern, _)| format!("{name}: {:?}", counted(name, pattern)))
            .collect()
    };
    Patience::new(Duration::from_secs(60))
        .wait_until(Duration::from_secs(50), "all is counted", || {
            exporter.alive()?;
            let text = net::get(&format!("http://127.0.0.1:{port}/metrics"))?.ok()?;
            let differ = differences(&text);
            // A file that was not read yet differs as well, but for those that count nothing.
            let unread = value(&text, "baileys_exporter_log_unread_bytes ");
            if differ.is_empty() && unread == Some(0.0) {
                Ok(())
            } else {
                Err(format!("{differ:?}"))
            }
        })
        .unwrap();
    let text = net::get(&format!("http://127.0.0.1:{port}/metrics"))
        .unwrap()
        .ok()
        .unwrap();
    for (name, reports) in [
        ("pm2_format", 1.0),
        ("stays_closed", 1.0),
        ("winston", 1.0),
        ("chat", 0.0),
    ] {
        let series = format!(
            "baileys_auth_signal_reports_total{{session=\"{name}\",pattern=\"device_removed\"}} "
        );
        assert_eq!(value(&text, &series), Some(reports), "{name}");
    }
    for (name, half) in [("docker", 0.0), ("silent", 1.0)] {
        let series = format!("baileys_auth_log_half_monitored{{session=\"{name}\"}} ");
        assert_eq!(value(&text, &series), Some(half), "{name}");
    }
}

/// The log as a source of the verdict, in each way a log is kept.
#[test]
fn the_verdict_reads_every_form_of_a_log() {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let raw = format!(
        r#"{{"level":30,"time":"{now}","pid":7,"hostname":"h","class":"baileys","msg":"opened connection to WA"}}"#
    );
    let json = |text: &str| serde_json::to_string(text).unwrap();
    for line in [
        raw.clone(),
        format!("{raw}\r"),
        format!("{}: {raw}", &now[..19]),
        format!(
            "{{\"log\":{},\"stream\":\"stdout\",\"time\":\"{now}\"}}",
            json(&format!("{raw}\n"))
        ),
        format!("{now} stdout F {raw}"),
        format!("{now} {raw}"),
        format!("{now} app[worker.1]: {raw}"),
        format!("Nov 28 20:00:01 vps node[7]: {raw}"),
        format!("bot-1  | {raw}"),
        "[20:00:01.021] INFO (7): opened connection to WA".to_owned(),
        "[03:21:09.021] INFO (N/7): session:bot - opened connection to WA {\"session\":\"bot\"}"
            .to_owned(),
        raw.replace("\"level\":30", "\"level\":\"INFO\""),
        format!(
            r#"{{"name":"bot","hostname":"h","pid":7,"level":30,"msg":"opened connection to WA","time":"{now}","v":0}}"#
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bot = dir.path().join("sessions/bot");
        fixture::unpack("normal", &bot, SystemTime::now()).unwrap();
        let log = dir.path().join("bot.log");
        std::fs::write(&log, format!("{line}\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_baileys_exporter"))
            .args(["status", "--output=json"])
            .arg(format!(
                "--sessions.path={}",
                dir.path().join("sessions").display()
            ))
            .arg(format!(
                "--logs.state-path={}",
                dir.path().join("state").display()
            ))
            .arg(format!("--logs.path={}", log.display()))
            .output()
            .unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows[0]["connection"], "connected", "{line}");
    }
}
