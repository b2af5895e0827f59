//! `baileys_remediator serve`, as Alertmanager and everybody else on the network sees it:
//! what is turned away, what asks for nothing, what a guard refuses, what is cleaned, and
//! what a crash or a full disk leaves behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use baileys_exporter::remediator::metrics::ALL;
use exporter_toolkit::process_metrics;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use serde_json::{Value, json};
use testkit::fixture::{self, Snapshot};
use testkit::net::{self};
use testkit::process;
use testkit::world::{SOON, TOKEN, World, alert, assert_discreet, payload};

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";
const DAY: Duration = Duration::from_secs(86_400);

fn started_again(mut alert: Value) -> Value {
    alert["startsAt"] = json!("2026-11-23T19:30:00.000Z");
    alert
}

/// Writes raw bytes, piece by piece, and reads to the end of the answer.
fn exchange(port: u16, pieces: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    for piece in pieces {
        // It may have answered, and stopped reading, already.
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error} after {} bytes", answer.len()),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(authorization: &str, more: &str, length: usize) -> Vec<u8> {
    format!("POST /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}{more}Content-Length: {length}\r\n\r\n")
        .into_bytes()
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

fn status_of(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{answer:?}"))
}

/// Everything that is no delivery of Alertmanager's gets its own status, and leaves nothing
/// on record. A slow client is cut off, and delays no other.
#[test]
fn what_is_no_delivery_is_turned_away() {
    let mut world = testkit::world!();
    let before = world.bot("bot", BLOATED, "disconnected");
    world.with_probe();
    world.start_remediator();
    let good = payload(&[alert("bot", "emergency")]).to_string();
    let port = world.port;

    // The slow ones, all at the same time.
    let slow_body = {
        let mut pieces = vec![post(&bearer(), "", good.len())];
        pieces.push(good.as_bytes()[..good.len() / 2].to_vec());
        std::thread::spawn(move || (Instant::now(), exchange(port, pieces), Instant::now()))
    };
    let dripping_body = {
        let (head, body) = (post(&bearer(), "", good.len()), good.clone());
        std::thread::spawn(move || {
            let pieces = body.into_bytes().into_iter().map(|byte| {
                std::thread::sleep(Duration::from_millis(100));
                vec![byte]
            });
            (
                Instant::now(),
                exchange(port, std::iter::once(head).chain(pieces)),
                Instant::now(),
            )
        })
    };
    let slow_headers = std::thread::spawn(move || {
        let head = post("", "", 0);
        let pieces = head[..head.len() - 2].iter().map(|byte| {
            std::thread::sleep(Duration::from_millis(200));
            vec![*byte]
        });
        (Instant::now(), exchange(port, pieces), Instant::now())
    });
    let no_headers =
        std::thread::spawn(move || (Instant::now(), exchange(port, [Vec::new()]), Instant::now()));

    let send = |body: &str| {
        let answer = exchange(
            port,
            [post(&bearer(), "", body.len()), body.as_bytes().to_vec()],
        );
        assert_discreet("an answer", &answer);
        (status_of(&answer), answer)
    };
    for body in [
        "",
        "nonsense",
        "{",
        "[]",
        "null",
        "\"4\"",
        "{}",
        r#"{"version":"4"}"#,
        r#"{"version":4,"alerts":[]}"#,
        r#"{"version":"4","alerts":{}}"#,
        r#"{"version":"4","alerts":["x"]}"#,
        r#"{"version":"4","alerts":[{"status":"firing"}]}"#,
        r#"{"version":"4","alerts":[],"truncatedAlerts":-1}"#,
        &good[..good.len() - 1],
        &format!("{good}x"),
        &good.replace("\"version\":\"4\"", "\"version\":\"3\""),
        &good.replace("\"version\":\"4\"", "\"version\":\"5\""),
        // Deep nesting must not eat the stack.
        &format!(r#"{{"version":"4","alerts":[],"x":{}"#, "[".repeat(100_000)),
    ] {
        let (status, answer) = send(body);
        assert_eq!(status, 400, "{body:.60}: {answer}");
        assert!(
            answer.ends_with(".\n") || answer.contains("payload") || answer.contains("JSON"),
            "{answer}"
        );
    }

    // 10 MB, declared and not.
    let ten_megabytes = vec![b' '; 10 << 20];
    let declared = exchange(
        port,
        [
            post(&bearer(), "", ten_megabytes.len()),
            ten_megabytes.clone(),
        ],
    );
    assert_eq!(status_of(&declared), 413, "{declared}");
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\n{}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        bearer(),
        ten_megabytes.len()
    );
    let chunked = exchange(
        port,
        [head.into_bytes(), ten_megabytes, b"\r\n0\r\n\r\n".to_vec()],
    );
    assert_eq!(status_of(&chunked), 413, "{chunked}");

    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = format!(
            "{method} /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n",
            bearer()
        );
        let answer = exchange(port, [request.into_bytes()]);
        assert_eq!(status_of(&answer), 405, "{method}: {answer}");
        assert!(
            answer.to_lowercase().contains("\r\nallow: post\r\n"),
            "{method}: {answer}"
        );
    }

    let basic =
        "Authorization: Basic YWxlcnRtYW5hZ2VyOmMyVmpjbVYwTFhSdmEyVnVMVzltTFhSb1pTMTBaWE4wY3c=\r\n";
    for (what, headers) in [
        ("none", String::new()),
        (
            "wrong",
            "Authorization: Bearer c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cx\r\n".into(),
        ),
        (
            "cut off",
            format!("Authorization: Bearer {}\r\n", &TOKEN[..TOKEN.len() - 1]),
        ),
        ("too long", format!("Authorization: Bearer {TOKEN}x\r\n")),
        (
            "other case",
            format!("Authorization: Bearer {}\r\n", TOKEN.to_lowercase()),
        ),
        ("empty", "Authorization: Bearer \r\n".into()),
        ("no scheme", format!("Authorization: {TOKEN}\r\n")),
        ("twice", bearer().repeat(2)),
        ("one right, one wrong", format!("{}{basic}", bearer())),
        ("basic", basic.into()),
        (
            "basic with the token",
            format!("Authorization: Basic {TOKEN}\r\n"),
        ),
        ("in the query", String::new()),
    ] {
        let mut head = post(&headers, "", good.len());
        if what == "in the query" {
            let query = format!("POST /webhook?token={TOKEN} ");
            head = String::from_utf8(head)
                .unwrap()
                .replace("POST /webhook ", &query)
                .into_bytes();
        }
        let answer = exchange(port, [head, good.clone().into_bytes()]);
        assert_eq!(status_of(&answer), 401, "{what}: {answer}");
        assert!(
            answer
                .to_lowercase()
                .contains("\r\nwww-authenticate: bearer\r\n"),
            "{what}: {answer}"
        );
        assert_discreet(what, &answer);
    }

    for (method, path, status) in [
        ("GET", "/", 200),
        ("POST", "/", 405),
        ("GET", "/nowhere", 404),
        ("POST", "/webhook/", 404),
        ("POST", "/metrics", 405),
        ("GET", "/-/healthy", 200),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(port, [request.into_bytes()]);
        assert_eq!(status_of(&answer), status, "{method} {path}: {answer}");
    }

    // A newer Alertmanager adds fields.
    let newer = good
        .replace(
            "\"alerts\"",
            "\"notificationReason\":\"x\",\"more\":{\"a\":[1]},\"alerts\"",
        )
        .replace("\"status\"", "\"unknown\":[{}],\"status\"")
        .replace("baileys_auth_files", "somebody_elses");
    assert_eq!(send(&newer).0, 202);
    // It did all that while the slow ones were still at it.
    assert!(
        !slow_body.is_finished() && !dripping_body.is_finished() && !slow_headers.is_finished()
    );

    for (what, slow, statuses) in [
        ("half a body", slow_body, &[408][..]),
        ("a dripping body", dripping_body, &[408]),
        // Nothing, or 408: there was no request to answer.
        ("dripping headers", slow_headers, &[0, 408]),
        ("no headers", no_headers, &[0, 408]),
    ] {
        let (began, answer, ended) = slow.join().unwrap();
        let status = if answer.is_empty() {
            0
        } else {
            status_of(&answer)
        };
        assert!(statuses.contains(&status), "{what}: {answer:?}");
        let took = ended - began;
        assert!(
            took > Duration::from_secs(8) && took < Duration::from_secs(25),
            "{what}: {took:?}"
        );
    }

    assert_eq!(
        world.runs(),
        Vec::<Value>::new(),
        "nothing was put on record"
    );
    world.unchanged("bot", &before);
    let metrics = world.metrics();
    let code = |code: &str| {
        metrics
            .sum(
                "baileys_remediator_webhook_requests_total",
                &[("code", code)],
            )
            .unwrap() as u32
    };
    assert_eq!(
        [
            code("202"),
            code("400"),
            code("401"),
            code("405"),
            code("408"),
            code("413")
        ],
        [1, 18, 12, 5, 2, 2]
    );

    // Turned away at once: without a token no client makes it read a body.
    let began = Instant::now();
    let answer = exchange(port, [post("", "", 1 << 20)]);
    assert_eq!(status_of(&answer), 401);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    world.finish();
}

/// Without a token that is really secret it does not start, and says how to fix that. A
/// new token counts without a restart.
#[test]
fn a_token_that_is_no_secret_is_refused() {
    let mut world = testkit::world!();
    world.bot("bot", "normal", "disconnected");
    let refused = |world: &World, says: &[&str]| {
        let bound = Duration::from_secs(20);
        let (status, out, err) =
            process::run(Path::new(REMEDIATOR), world.serve_args(), bound).unwrap();
        assert_eq!(status.code(), Some(2), "{out}{err}");
        for word in says {
            assert!(err.contains(word), "{word}: {err}");
        }
        assert_discreet("the refusal", &err);
    };
    let path = world.path("token");
    let name = path.display().to_string();
    for (mode, says) in [
        (0o604, "can be read by everybody"),
        (0o602, "can be written by everybody"),
        (0o640, "can be read by its group"),
        (0o620, "can be written by its group"),
    ] {
        world.token(TOKEN, mode);
        refused(&world, &[says, &format!("chmod 0600 {name}")]);
    }
    world.token("", 0o600);
    refused(
        &world,
        &["at least 16 characters", "head -c 32 /dev/urandom | base64"],
    );
    world.token("short", 0o600);
    refused(&world, &["at least 16 characters"]);
    fs::remove_file(&path).unwrap();
    refused(&world, &[&name, "does not exist"]);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    refused(&world, &[&name]);
    fs::remove_dir(&path).unwrap();

    let mut without = world.serve_args();
    without.retain(|arg| !arg.starts_with("--webhook.token-file"));
    let (status, _, err) = process::run(Path::new(REMEDIATOR), without, SOON).unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(
        err.contains("--webhook.token-file is missing") && err.contains("umask 077"),
        "{err}"
    );

    world.token("an-old-token-that-was-used-before", 0o600);
    world.start_remediator();
    assert_eq!(world.deliver(&[]).0, 401);
    world.token(TOKEN, 0o400);
    assert_eq!(world.deliver(&[]).0, 202);
    // Once others could read it, it is a secret no more.
    for mode in [0o644, 0o640] {
        world.token(TOKEN, mode);
        assert_eq!(world.deliver(&[]).0, 503);
    }
    world.token(TOKEN, 0o600);
    assert_eq!(world.deliver(&[]).0, 202);

    // One at a time on one journal.
    let mut second = world.serve_args();
    second[1] = format!(
        "--web.listen-address=127.0.0.1:{}",
        net::free_port(None).unwrap()
    );
    let (status, _, err) = process::run(Path::new(REMEDIATOR), second, SOON).unwrap();
    assert_eq!(status.code(), Some(2), "{err}");
    assert!(err.contains("another `serve` uses --state.path"), "{err}");
    world.finish();
}

/// 202, counted, and nothing else: alerts that are not ours to act on, and names that
/// discovery did not find, whatever they look like.
#[test]
fn alerts_that_ask_for_nothing() {
    let mut world = testkit::world!();
    let before = world.bot("bot", BLOATED, "disconnected");
    // What `../../etc` would be, were a path ever made of it.
    let decoy = world.path("etc");
    fixture::unpack(
        BLOATED,
        &decoy,
        SystemTime::now() - Duration::from_secs(900),
    )
    .unwrap();
    let decoy_before = Snapshot::take(&decoy).unwrap();
    world.probe_says("etc", "disconnected");
    world.with_probe();
    world
        .flags
        .push("--webhook.match=instance=host1:10273".to_owned());
    world.flags.push("--webhook.match=job=baileys".to_owned());
    world.start_remediator();

    // Every series is there from the start, at 0, but those that name what is so just now.
    let start = world.metrics();
    let now_and_then = [
        "baileys_remediator_armed_runs",
        "baileys_remediator_last_run_timestamp_seconds",
        "baileys_remediator_refused_since_timestamp_seconds",
        "baileys_remediator_last_cleanup_timestamp_seconds",
        "baileys_remediator_last_cleanup_accumulated_files",
        "baileys_remediator_last_cleanup_lead_seconds",
        "baileys_remediator_service_not_back",
        "baileys_remediator_creds_insured_timestamp_seconds",
        // Nothing is polled.
        "baileys_remediator_alertmanager_up",
        "baileys_remediator_polled_alerts",
    ];
    let is_constant = |name: &&str| !now_and_then.contains(name);
    let names: BTreeSet<&str> = start
        .0
        .iter()
        .map(|sample| sample.name.as_str())
        .filter(is_constant)
        .collect();
    let all = || ALL.iter().chain(process_metrics::ALL);
    let declared: BTreeSet<&str> = all()
        .map(|metric| metric.name)
        .filter(is_constant)
        .collect();
    assert_eq!(names, declared);
    for sample in &start.0 {
        let metric = all().find(|metric| metric.name == sample.name).unwrap();
        let labels: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
        assert_eq!(
            labels,
            metric.labels.iter().copied().collect(),
            "{}",
            sample.name
        );
        let expected = match sample.name.as_str() {
            "baileys_remediator_build_info"
            | "baileys_remediator_config_last_reload_successful"
            | "baileys_remediator_journal_up"
            | "baileys_remediator_sessions" => 1.0,
            "baileys_remediator_config_last_reload_success_timestamp_seconds" => sample.value,
            // The first look for copies may be over by now.
            name if name.starts_with("baileys_remediator_creds_insur") => sample.value,
            name if name.starts_with("process_") => sample.value,
            _ => 0.0,
        };
        assert_eq!(sample.value, expected, "{sample:?}");
    }
    let values = |name: &str, label: &str| -> BTreeSet<String> {
        start
            .having(name, &[])
            .map(|sample| sample.labels[label].clone())
            .collect()
    };
    let set = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        values("baileys_remediator_runs_total", "action"),
        set(&["plan", "cleanup", "emergency", "undo", "restore"])
    );
    let reasons = values("baileys_remediator_refusals_total", "reason");
    for reason in [
        "connected",
        "connection_unknown",
        "stale_alert",
        "creds_broken",
        "dormant",
        "nothing_removable",
        "locked",
        "filesystem",
        "quarantine_full",
        "unknown_session",
        "duplicate_name",
    ] {
        assert!(reasons.contains(reason), "{reason}: {reasons:?}");
    }
    assert!(
        values("baileys_remediator_webhook_requests_total", "code")
            .is_superset(&set(&["202", "400", "401", "405", "408", "413", "503"]))
    );

    let with = |label: &str, value: Value| {
        let mut alert = alert("bot", "emergency");
        match value {
            Value::Null => alert["labels"].as_object_mut().unwrap().remove(label),
            value => alert["labels"]
                .as_object_mut()
                .unwrap()
                .insert(label.to_owned(), value),
        };
        alert
    };
    let mut resolved = alert("bot", "emergency");
    resolved["status"] = json!("resolved");
    let by_outcome: BTreeMap<&str, Vec<Value>> = BTreeMap::from([
        (
            "unknown_session",
            [
                "../../etc",
                "/etc",
                "..",
                ".",
                "bot/",
                "./bot",
                "bot/../bot",
                "BOT",
                " bot",
                "bot\0",
                "nobody",
                ".baileys_quarantine",
                "a\nlevel=error msg=forged",
            ]
            .map(|name| alert(name, "emergency"))
            .into_iter()
            .chain([alert(&"x".repeat(100_000), "cleanup")])
            .collect(),
        ),
        (
            "no_session",
            vec![alert("", "emergency"), with("session", Value::Null)],
        ),
        (
            "other_target",
            vec![
                with("instance", json!("host2:10273")),
                with("instance", Value::Null),
                with("instance", json!("")),
                with("job", json!("other")),
            ],
        ),
        (
            "other_ladder",
            vec![
                with("ladder", json!("node_filesystem")),
                with("ladder", Value::Null),
            ],
        ),
        (
            "no_action",
            ["fatal", "monitor", "unknown", "", "Emergency"]
                .map(|tier| alert("bot", tier))
                .into_iter()
                .chain([with("tier", Value::Null)])
                .collect(),
        ),
        ("resolved", vec![resolved]),
    ]);
    for (outcome, alerts) in &by_outcome {
        assert_eq!(world.accepted(alerts), 0, "{outcome}");
        let counted = world.metric("webhook_alerts_total", &[("outcome", outcome)]);
        assert_eq!(counted, alerts.len() as f64, "{outcome}");
    }
    // A label that is no string is no alert of Alertmanager's.
    assert_eq!(world.deliver(&[with("session", json!(["bot"]))]).0, 400);

    assert_eq!(world.runs(), Vec::<Value>::new());
    world.unchanged("bot", &before);
    let decoy_now = Snapshot::take(&decoy).unwrap();
    assert_eq!(decoy_before.differences(&decoy_now), Vec::<String>::new());
    assert!(!decoy.join(".baileys_quarantine").exists());
    // What a stranger writes into a label does not become a line of the log.
    let log = world.log();
    assert!(
        !log.contains("forged") && !log.contains("xxxxxxxx"),
        "{log}"
    );

    promtool_accepts(&world.url("/metrics"));
    world.finish();
}

/// Labels with placeholders, and alerts of which none has them.
#[test]
fn alerts_of_other_hosts_are_counted_until_one_is_of_this_host() {
    let host = process::run(&process::find(&["uname"]).unwrap(), ["-n"], SOON);
    let host = host.unwrap().1.trim().to_owned();
    let mut world = testkit::world!()
        .probed()
        .configured("webhook: {match: {instance: '{hostname}:10273', job: '${JOB}'}}\n");
    world.bot("bot", BLOATED, "disconnected");
    // Where the webhook is on, the variable must be set.
    let args: Vec<String> = world.serve_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let not_set = ["webhook.match.job", "\"JOB\" is not set"];
    world.run(REMEDIATOR, &args, Vec::new()).must(2, &not_set);
    let token = format!("--webhook.token-file={}", world.path("token").display());
    world
        .remediator(&["check-config", &token])
        .must(2, &not_set);
    world.start_remediator_in(&["env", "JOB=baileys"]);
    let here = |tier: &str| {
        let mut alert = alert("bot", tier);
        alert["labels"]["instance"] = json!(format!("{host}:10273"));
        alert
    };
    let others = [alert("bot", "cleanup"), alert("bot", "emergency")];
    for _ in 0..2 {
        assert_eq!(world.accepted(&others), 0);
        assert_eq!(world.metric("unmatched_alerts", &[]), 2.0);
    }
    let told = "none has the labels of this host: correct webhook.match";
    let line = world.log();
    let line: Vec<&str> = line.lines().filter(|line| line.contains(told)).collect();
    assert_eq!(line.len(), 1, "{line:?}");
    assert!(
        line[0].contains("job=baileys") && line[0].contains(&format!("instance={host}:10273")),
        "{line:?}"
    );
    assert!(world.runs().is_empty());

    assert_eq!(world.accepted(&[here("warning")]), 1);
    assert_eq!(world.metric("unmatched_alerts", &[]), 0.0);
    assert_eq!(world.accepted(&others), 0);
    assert_eq!(world.metric("unmatched_alerts", &[]), 0.0);
    world.wait_until_idle();
    world.finish();
}

fn promtool_accepts(url: &str) {
    let promtool =
        process::find(&["promtool"]).expect("promtool is missing: sudo apt-get install prometheus");
    let text = net::get(url).unwrap().ok().unwrap();
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{}: {said}",
        output.status
    );
}

/// Each guard says no by its own reason, moves nothing, and is not asked again at once.
#[test]
fn every_guard_refuses_with_its_reason() {
    let mut world = testkit::world!();
    world.with_probe();
    world.with_config("connection: {timeout: 2s}\n");
    let year = 365 * DAY;
    let quarter = Duration::from_secs(900);
    // Session, fixture, probe, silent for, reason, and what the record says of it.
    let cases: [(&str, &str, &str, Duration, &str, &str); 13] = [
        (
            "talks",
            BLOATED,
            "connected",
            quarter,
            "connected",
            "probe: connected",
        ),
        (
            "hangs",
            BLOATED,
            "hang",
            quarter,
            "connection_unknown",
            "took longer than 2s",
        ),
        (
            "babbles",
            BLOATED,
            "maybe",
            quarter,
            "connection_unknown",
            "printed neither",
        ),
        (
            "shouts",
            BLOATED,
            "DISCONNECTED",
            quarter,
            "connection_unknown",
            "printed neither",
        ),
        (
            "repeats",
            BLOATED,
            "chatty",
            quarter,
            "connection_unknown",
            "printed neither",
        ),
        (
            "is_mute",
            BLOATED,
            "silent",
            quarter,
            "connection_unknown",
            "printed neither",
        ),
        (
            "crashes",
            BLOATED,
            "fails",
            quarter,
            "connection_unknown",
            "exited with 1",
        ),
        (
            "writes",
            BLOATED,
            "disconnected",
            Duration::ZERO,
            "connection_unknown",
            "quiet window is 10m",
        ),
        (
            "shrank",
            "normal",
            "disconnected",
            quarter,
            "stale_alert",
            "holds 76",
        ),
        (
            "year_ahead",
            BLOATED,
            "disconnected",
            year,
            "dormant",
            "dormant",
        ),
        (
            "three_weeks",
            BLOATED,
            "disconnected",
            21 * DAY,
            "dormant",
            "dormant",
        ),
        (
            "empty_creds",
            BLOATED,
            "disconnected",
            quarter,
            "creds_broken",
            "creds.json is empty",
        ),
        (
            "no_creds",
            BLOATED,
            "disconnected",
            quarter,
            "creds_broken",
            "creds.json is missing",
        ),
    ];
    let mut before = BTreeMap::new();
    for (session, fixture, probe, silent, ..) in cases {
        world.bot_of(session, fixture, probe, silent);
        let creds = world.folder(session).join("creds.json");
        match session {
            "empty_creds" => {
                File::create(&creds)
                    .unwrap()
                    .set_modified(SystemTime::now() - quarter)
                    .unwrap();
            }
            "no_creds" => fs::remove_file(&creds).unwrap(),
            _ => {}
        }
        before.insert(session, Snapshot::take(&world.folder(session)).unwrap());
    }
    // A clock that went back leaves files from the future.
    let ahead = world.bot("future", BLOATED, "disconnected");
    let newest = SystemTime::now() + DAY;
    File::open(world.folder("future").join("creds.json"))
        .unwrap()
        .set_modified(newest)
        .unwrap();
    drop(ahead);
    before.insert("future", Snapshot::take(&world.folder("future")).unwrap());
    // Another process holds the folder's lock.
    before.insert("locked", world.bot("locked", BLOATED, "disconnected"));
    world.start_remediator();
    let lock = File::open(world.folder("locked")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();

    let alerts: Vec<Value> = before
        .keys()
        .map(|session| alert(session, "cleanup"))
        .collect();
    assert_eq!(world.accepted(&alerts), alerts.len() as u64);
    world.wait_until_idle();
    // At once again, and with a new start: nothing, for five minutes.
    assert_eq!(world.accepted(&alerts), 0);
    let again: Vec<Value> = alerts.iter().cloned().map(started_again).collect();
    assert_eq!(world.accepted(&again), 0);
    let later = world.metric("webhook_alerts_total", &[("outcome", "retry_later")]);
    assert_eq!(later, 2.0 * alerts.len() as f64);

    let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
    let others = [
        ("future", "connection_unknown", "lies in the future"),
        ("locked", "locked", "another run holds the lock"),
    ];
    let cases = cases
        .iter()
        .map(|(session, _, _, _, reason, says)| (*session, *reason, *says));
    for (session, reason, says) in cases.chain(others) {
        let run = world.run_of(session);
        let told = (&run["status"], &run["reason"], &run["action"], &run["run"]);
        assert_eq!(
            told,
            (
                &json!("refused"),
                &json!(reason),
                &json!("cleanup"),
                &Value::Null
            ),
            "{session}: {run:#}"
        );
        let text = format!("{} {}", run["detail"], run["evidence"]);
        assert!(text.contains(says), "{session}: {text}");
        world.unchanged(session, &before[session]);
        *reasons.entry(reason).or_default() += 1;
    }
    let metrics = world.metrics();
    for run in world.runs() {
        let text = |key: &str| run[key].as_str().unwrap().to_owned();
        let (session, reason) = (text("session"), text("reason"));
        let of_it = [("session", session.as_str())];
        let last: Vec<_> = metrics
            .having("baileys_remediator_last_run_timestamp_seconds", &of_it)
            .collect();
        let labels = [
            ("action", "cleanup"),
            ("status", "refused"),
            ("reason", reason.as_str()),
        ];
        assert!(
            last.len() == 1
                && labels
                    .iter()
                    .all(|(name, value)| last[0].labels[*name] == *value)
        );
        let since: Vec<_> = metrics
            .having("baileys_remediator_refused_since_timestamp_seconds", &of_it)
            .map(|sample| (sample.labels["reason"].clone(), sample.value))
            .collect();
        match reason.as_str() {
            "stale_alert" => assert_eq!(since, []),
            _ => assert_eq!(since, [(reason, last[0].value)]),
        }
    }
    for sample in metrics.having("baileys_remediator_refusals_total", &[]) {
        let expected = reasons
            .get(sample.labels["reason"].as_str())
            .copied()
            .unwrap_or(0);
        assert_eq!(sample.value, f64::from(expected), "{sample:?}");
    }
    for (name, expected) in [
        ("runs_total", before.len() as f64),
        ("run_failures_total", 0.0),
    ] {
        let name = format!("baileys_remediator_{name}");
        assert_eq!(
            metrics.sum(&name, &[("action", "cleanup")]).unwrap(),
            expected
        );
    }
    assert_eq!(
        metrics
            .sum("baileys_remediator_files_moved_total", &[])
            .unwrap(),
        0.0
    );
    assert_eq!(
        metrics
            .sum("baileys_remediator_last_success_timestamp_seconds", &[])
            .unwrap(),
        0.0
    );
    world.finish();
}

/// No probe: no bot is known to be disconnected, so nothing is ever moved. And a
/// quarantine that may not grow is a refusal too.
#[test]
fn no_probe_and_a_full_quarantine_refuse() {
    let mut blind = testkit::world!();
    let before = blind.bot("bot", BLOATED, "disconnected");
    blind.start_remediator();
    assert_eq!(blind.accepted(&[alert("bot", "emergency")]), 1);
    blind.wait_until_idle();
    let run = blind.run_of("bot");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("refused"), &json!("connection_unknown"))
    );
    assert!(
        run["evidence"]
            .as_str()
            .unwrap()
            .contains("probe: none configured"),
        "{run:#}"
    );
    blind.unchanged("bot", &before);
    blind.wait_for_log("no connection probe is configured");
    blind.finish();

    let mut full = testkit::world!();
    let before = full.bot("bot", BLOATED, "disconnected");
    full.with_probe();
    full.with_config("quarantine: {max_bytes: 1}\n");
    full.start_remediator();
    assert_eq!(full.accepted(&[alert("bot", "emergency")]), 1);
    full.wait_until_idle();
    let run = full.run_of("bot");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("refused"), &json!("quarantine_full"))
    );
    assert!(
        run["detail"]
            .as_str()
            .unwrap()
            .contains("quarantine.max_bytes"),
        "{run:#}"
    );
    assert_eq!(run["note"], "restart not allowed by the configuration");
    full.unchanged("bot", &before);
    assert_eq!(
        full.metric("refusals_total", &[("reason", "quarantine_full")]),
        1.0
    );
    full.finish();
}

/// On a file system that was remounted read-only the run fails, says so, and moves nothing.
#[test]
fn a_read_only_file_system_is_an_error_that_says_so() {
    let mut world = testkit::world!();
    let before = world.bot("bot", BLOATED, "disconnected");
    world.with_probe();
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let sessions = world.path("sessions").display().to_string();
    let wrapper = [
        "unshare",
        "--map-root-user",
        "--mount",
        "--",
        "sh",
        "-c",
        script,
        &sessions,
    ];
    let works = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        // This machine does not allow a mount namespace.
        return;
    }
    world.start_remediator_in(&wrapper);
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    world.wait_until_idle();
    let run = world.run_of("bot");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed"), &json!("io")),
        "{run:#}"
    );
    assert!(
        run["detail"].as_str().unwrap().contains("read-only"),
        "{run:#}"
    );
    assert_eq!(
        world.metric("run_failures_total", &[("action", "cleanup")]),
        1.0
    );
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 0);
    world.unchanged("bot", &before);
    world.finish();
}

/// What an emergency, a warning and a clean-up do, once each, however often they are asked
/// for; what is no plain, understood key file stays where it is.
#[test]
fn what_an_alert_requests_is_done_once() {
    let mut world = testkit::world!();
    world.with_probe();
    world.flags.push(format!(
        "--sessions.path=swapped={}",
        world.path("swapped").display()
    ));
    world.bot("jumped", BLOATED, "hold");
    let warned = world.bot("warned", "warning-130", "disconnected");
    world.bot("undone", BLOATED, "disconnected");
    let odd = plant_odd_files(&world);
    // A folder swapped for a link: before the run, and in the middle of it.
    let decoy = world.path("decoy");
    let old = SystemTime::now() - Duration::from_secs(900);
    fixture::unpack(BLOATED, &decoy, old).unwrap();
    let decoy_before = Snapshot::take(&decoy).unwrap();
    fixture::unpack(BLOATED, &world.path("swapped"), old).unwrap();
    world.probe_says("swapped", "disconnected");
    world.bot("slipped", BLOATED, "hold");
    world.start_remediator();
    fs::rename(world.path("swapped"), world.path("swapped-away")).unwrap();
    symlink(&decoy, world.path("swapped")).unwrap();

    // An emergency, delivered while it waits or is under way.
    let emergency = alert("jumped", "emergency");
    assert_eq!(world.accepted(&[emergency.clone(), emergency.clone()]), 1);
    world.wait_until_asked("jumped");
    for _ in 0..3 {
        assert_eq!(
            world.accepted(&[emergency.clone(), started_again(emergency.clone())]),
            0
        );
    }
    let mut resolved = emergency.clone();
    resolved["status"] = json!("resolved");
    assert_eq!(
        world.accepted(&[resolved]),
        0,
        "a resolve interrupts nothing"
    );
    assert_eq!(world.metric("queue_length", &[]), 1.0);

    // The folder slips away under a run, and a link to another one takes its place.
    assert_eq!(
        world.accepted(&[alert("slipped", "cleanup"), alert("swapped", "cleanup")]),
        2
    );
    world.wait_until_asked("slipped");
    fs::rename(world.folder("slipped"), world.path("slipped-away")).unwrap();
    symlink(&decoy, world.folder("slipped")).unwrap();
    world.probe_says("slipped", "disconnected");
    world.probe_says("jumped", "disconnected");

    assert_eq!(
        world.accepted(&[alert("warned", "warning"), alert("odd", "cleanup")]),
        2
    );
    assert_eq!(world.accepted(&[alert("undone", "emergency")]), 1);
    world.wait_until_idle();

    let run = world.run_of("jumped");
    assert_eq!(
        (&run["status"], &run["action"]),
        (&json!("done"), &json!("emergency")),
        "{run:#}"
    );
    assert_eq!(run["note"], "restart not allowed by the configuration");
    assert_eq!(run["accumulated_before"], 387);
    assert!(run["accumulated_after"].as_u64().unwrap() < 120, "{run:#}");
    let files: u64 = run["files"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(world.quarantined("jumped").len() as u64, files);
    assert_eq!(
        Snapshot::take(&world.folder("jumped")).unwrap().len() as u64,
        387 - files
    );

    let run = world.run_of("warned");
    assert_eq!(
        (&run["status"], &run["action"]),
        (&json!("done"), &json!("plan")),
        "{run:#}"
    );
    assert_eq!(
        (&run["note"], &run["run"]),
        (&json!("dry run: no file was moved"), &Value::Null)
    );
    assert!(
        !run["files"].as_object().unwrap().is_empty(),
        "the plan is on record: {run:#}"
    );
    assert!(
        run["evidence"]
            .as_str()
            .unwrap()
            .contains("probe: disconnected"),
        "{run:#}"
    );
    world.unchanged("warned", &warned);

    let run = world.run_of("odd");
    assert_eq!(run["status"], "done", "{run:#}");
    odd.are_where_they_were(&world);

    let run = world.run_of("swapped");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed"), &json!("io")),
        "{run:#}"
    );
    assert!(run["detail"].as_str().unwrap().contains("link"), "{run:#}");
    let decoy_now = Snapshot::take(&decoy).unwrap();
    assert_eq!(decoy_before.differences(&decoy_now), Vec::<String>::new());
    assert!(!decoy.join(".baileys_quarantine").exists());

    // Each succeeded, so each is left alone, whatever its start. (An emergency does not rest
    // after a clean-up: the journal's own tests.)
    for (session, tier) in [
        ("jumped", "emergency"),
        ("jumped", "cleanup"),
        ("warned", "warning"),
        ("odd", "cleanup"),
    ] {
        let alert = alert(session, tier);
        assert_eq!(
            world.accepted(&[alert.clone(), started_again(alert)]),
            0,
            "{session}"
        );
    }
    assert_eq!(
        world.metric("webhook_alerts_total", &[("outcome", "cooldown")]),
        8.0
    );

    // What a person puts back is not taken away again by the alert that comes back.
    let run = world.run_of("undone")["run"].as_str().unwrap().to_owned();
    let (code, _, err) = world.remediator(&["undo", &run]).parts();
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        world.accepted(&[started_again(alert("undone", "emergency"))]),
        0
    );
    assert_eq!(Snapshot::take(&world.folder("undone")).unwrap().len(), 387);

    let metrics = world.metrics();
    for (session, action) in [
        ("jumped", "emergency"),
        ("odd", "cleanup"),
        ("undone", "emergency"),
    ] {
        let run = world
            .runs()
            .into_iter()
            .find(|run| run["session"] == session && run["action"] == action);
        let files = run.unwrap()["accumulated_after"].as_f64().unwrap();
        let of = |name: &str, labels: &[(&str, &str)]| {
            let labels: Vec<_> = [("session", session)]
                .iter()
                .chain(labels)
                .copied()
                .collect();
            let name = format!("baileys_remediator_{name}");
            let values: Vec<f64> = metrics
                .having(&name, &labels)
                .map(|sample| sample.value)
                .collect();
            assert_eq!(values.len(), 1, "{name} of {session}");
            values[0]
        };
        let last = of(
            "last_run_timestamp_seconds",
            &[("action", action), ("status", "done"), ("reason", "")],
        );
        assert_eq!(of("last_cleanup_timestamp_seconds", &[]), last);
        assert_eq!(of("last_cleanup_accumulated_files", &[]), files);
        assert!(of("last_cleanup_lead_seconds", &[]) > 0.0);
    }
    let of_swapped = |name: &str| metrics.having(name, &[("session", "swapped")]).count();
    assert_eq!(
        of_swapped("baileys_remediator_last_cleanup_timestamp_seconds"),
        0,
        "it failed"
    );
    for (action, expected) in [("cleanup", 1.0), ("emergency", 2.0)] {
        assert_eq!(
            metrics.sum("baileys_remediator_cleanups_total", &[("action", action)]),
            Ok(expected)
        );
    }
    let moved = metrics
        .sum("baileys_remediator_files_moved_total", &[])
        .unwrap();
    assert!(moved > 3.0 * 250.0, "{moved}");
    let last = metrics
        .sum("baileys_remediator_last_success_timestamp_seconds", &[])
        .unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!((now - last).abs() < 120.0, "{last}");
    assert!(
        metrics
            .sum("baileys_remediator_quarantined_bytes", &[])
            .unwrap()
            > 10_000.0
    );
    promtool_accepts(&world.url("/metrics"));
    world.finish();
}

/// Files that a clean-up would move, were they plain: each by its name, and what it was.
struct Odd {
    link: PathBuf,
    target: PathBuf,
    hard: PathBuf,
    unparsable: PathBuf,
}

impl Odd {
    fn are_where_they_were(&self, world: &World) {
        assert_eq!(fs::read_link(&self.link).unwrap(), self.target);
        assert_eq!(
            fs::read(&self.target).unwrap(),
            b"{\"somebody\":\"else's\"}"
        );
        assert!(self.hard.exists(), "a file with two names stays");
        assert_eq!(fs::read(&self.unparsable).unwrap(), b"{\"_sessions\":");
        let held = world.quarantined("odd");
        assert!(held.len() > 200, "{}", held.len());
        for kept in [&self.link, &self.hard, &self.unparsable] {
            assert!(!held.contains(kept.file_name().unwrap().to_str().unwrap()));
        }
    }
}

/// Puts a link, a second name and an unparsable session where old key files were.
fn plant_odd_files(world: &World) -> Odd {
    world.bot("odd", BLOATED, "disconnected");
    let folder = world.folder("odd");
    let target = world.path("somebody-elses.json");
    fs::write(&target, b"{\"somebody\":\"else's\"}").unwrap();
    let all: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    // The lowest ids are the oldest, and go first.
    let id = |name: &str| {
        name.strip_prefix("pre-key-")?
            .strip_suffix(".json")?
            .parse::<u32>()
            .ok()
    };
    let mut ids: Vec<u32> = all.iter().filter_map(|name| id(name)).collect();
    ids.sort_unstable();
    let pre_key = |at: usize| folder.join(format!("pre-key-{}.json", ids[at]));
    let (link, hard) = (pre_key(0), pre_key(1));
    fs::remove_file(&link).unwrap();
    symlink(&target, &link).unwrap();
    let time = Timespec {
        tv_sec: 1_700_000_000,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    fs::hard_link(&hard, world.path("second-name")).unwrap();
    let sessions = all
        .iter()
        .filter(|name| name.starts_with("session-"))
        .map(|name| folder.join(name));
    let unparsable = sessions
        .min_by_key(|path| path.metadata().unwrap().modified().unwrap())
        .unwrap();
    let modified = unparsable.metadata().unwrap().modified().unwrap();
    fs::write(&unparsable, b"{\"_sessions\":").unwrap();
    File::options()
        .append(true)
        .open(&unparsable)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    Odd {
        link,
        target,
        hard,
        unparsable,
    }
}

/// A storm: one alert a thousand times, from many at once, is one run; and many alerts in
/// one delivery are one run each, none in the way of another.
#[test]
fn a_storm_of_deliveries() {
    let mut world = testkit::world!();
    world.with_probe();
    // The probe answers after the storm, which takes as long as the disk does.
    world.with_config("connection: {timeout: 50s}\n");
    world.bot("stormy", BLOATED, "hold");
    let many: Vec<String> = (0..24).map(|n| format!("many_{n}")).collect();
    for session in &many {
        world.bot(session, BLOATED, "disconnected");
    }
    world.start_remediator();
    let storm = alert("stormy", "emergency");
    let queued: u64 = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..125)
                        .map(|_| world.accepted(std::slice::from_ref(&storm)))
                        .sum::<u64>()
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .sum()
    });
    assert_eq!(queued, 1);
    assert_eq!(
        world.metric("webhook_requests_total", &[("code", "202")]),
        1_000.0
    );
    world.probe_says("stormy", "disconnected");
    world.wait_until_idle();
    assert_eq!(world.accepted(&[storm]), 0);
    assert_eq!(world.run_of("stormy")["status"], "done");

    let alerts: Vec<Value> = many
        .iter()
        .map(|session| alert(session, "cleanup"))
        .collect();
    assert_eq!(world.accepted(&alerts), many.len() as u64);
    world.wait_until_idle();
    let runs = world.runs();
    let ended: BTreeSet<String> = runs
        .iter()
        .map(|run| format!("{} {}", run["status"], run["reason"]))
        .collect();
    assert_eq!(
        ended,
        BTreeSet::from(["\"done\" null".to_owned()]),
        "no run hinders another"
    );
    assert_eq!(runs.len(), many.len() + 1);
    world.finish();
}

/// 503 while it cannot put an alert on record, so that Alertmanager comes again; it goes on
/// serving, and works again by itself.
#[test]
fn what_cannot_be_put_on_record_is_not_accepted() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("bot", BLOATED, "disconnected");
    // A full disk: no file may grow. (The signal that comes with it would kill anybody.)
    world.start_remediator_in(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    let pid = world.server().pid().to_string();
    let limit = |bytes: &str| {
        let status = Command::new("prlimit")
            .args([format!("--pid={pid}"), format!("--fsize={bytes}:unlimited")])
            .status()
            .expect("prlimit (util-linux)");
        assert!(status.success());
    };
    limit("0");
    let (status, _) = world.deliver(&[alert("bot", "cleanup")]);
    assert_eq!(status, 503);
    assert_eq!(net::get(&world.url("/-/healthy")).unwrap().status, 200);
    limit("unlimited");
    assert_eq!(world.runs(), Vec::<Value>::new());

    // Another process holds the journal's write lock for longer than it waits.
    let db = rusqlite::Connection::open(world.path("state/journal.sqlite")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = payload(&[alert("bot", "cleanup")]).to_string();
    let began = Instant::now();
    let answer = exchange(
        world.port,
        [post(&bearer(), "", body.len()), body.clone().into_bytes()],
    );
    let took = began.elapsed();
    assert_eq!(status_of(&answer), 503, "{answer}");
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_discreet("an answer", &answer);
    let began = Instant::now();
    assert_eq!(net::get(&world.url("/-/healthy")).unwrap().status, 200);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);

    // And then it works again.
    let answer = exchange(
        world.port,
        [post(&bearer(), "", body.len()), body.into_bytes()],
    );
    assert_eq!(status_of(&answer), 202, "{answer}");
    world.wait_until_idle();
    assert_eq!(world.run_of("bot")["status"], "done");
    assert!(world.metric("webhook_requests_total", &[("code", "503")]) >= 1.0);
    world.finish();

    // A state directory that cannot be one is reported at the start.
    let world = testkit::world!();
    fs::write(world.path("state"), b"").unwrap();
    let (status, _, err) = process::run(Path::new(REMEDIATOR), world.serve_args(), SOON).unwrap();
    assert_eq!(status.code(), Some(2), "{err}");
    assert!(err.contains("--state.path"), "{err}");
}

/// Nothing of the journal is mapped into memory, so a file that is truncated under `serve` is
/// an error and no SIGBUS.
#[test]
fn a_truncated_file_beside_the_journal_does_not_end_serve() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("bot", BLOATED, "disconnected");
    world.start_remediator();
    world.accepted(&[alert("bot", "cleanup")]);
    world.wait_until_idle();
    assert_eq!(world.run_of("bot")["status"], "done");
    let truncate = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
    };
    let mut truncated = 0;
    for entry in fs::read_dir(world.path("state")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("journal.sqlite-") {
            truncate(&world.path("state").join(&name));
            truncated += 1;
        }
    }
    assert!(truncated > 0, "the test knows the name of the file");
    world.accepted(&[alert("bot", "cleanup")]);
    assert_eq!(world.runs().len(), 1, "the cooldown is known");
    // The journal itself: nothing is accepted, and `serve` goes on.
    truncate(&world.path("state/journal.sqlite"));
    let (status, _) = world.deliver(&[alert("bot", "cleanup")]);
    assert_eq!(status, 503);
    assert_eq!(net::get(&world.url("/-/healthy")).unwrap().status, 200);
    world.finish();
}

/// kill -9: what was accepted and had not begun is done after the restart; what had begun
/// ends on record, with every file in exactly one place.
#[test]
fn what_was_accepted_survives_a_kill() {
    let mut world = testkit::world!();
    world.with_probe();
    let holding = ["a", "b", "c", "d"];
    let mut before = BTreeMap::new();
    for session in holding {
        before.insert(session, world.bot(session, BLOATED, "hold"));
    }
    before.insert("waiting", world.bot("waiting", BLOATED, "disconnected"));
    world.start_remediator();
    // All workers are busy, so the last one waits.
    let alerts: Vec<Value> = holding
        .iter()
        .map(|session| alert(session, "cleanup"))
        .collect();
    assert_eq!(world.accepted(&alerts), 4);
    for session in holding {
        world.wait_until_asked(session);
    }
    assert_eq!(world.accepted(&[alert("waiting", "emergency")]), 1);
    world.kill();
    for session in holding {
        world.probe_says(session, "disconnected");
    }
    assert_eq!(world.run_of("waiting")["status"], "queued");
    for (session, before) in &before {
        world.unchanged(session, before);
    }

    world.start_remediator();
    world.wait_until_idle();
    let run = world.run_of("waiting");
    assert_eq!(
        (&run["status"], &run["accumulated_before"]),
        (&json!("done"), &json!(387)),
        "{run:#}"
    );
    assert!(run["accumulated_after"].as_u64().unwrap() < 120, "{run:#}");
    for session in holding {
        // Whether it is done again or left to the next delivery, it ends, and nothing is lost.
        let runs = world.runs_of(session);
        assert!(
            runs.iter()
                .all(|run| run["status"] != "running" && run["status"] != "queued"),
            "{runs:#?}"
        );
        let (left, held) = (
            Snapshot::take(&world.folder(session)).unwrap(),
            world.quarantined(session),
        );
        let mut all: BTreeSet<&str> = left.names().collect();
        assert_eq!(left.len() + held.len(), 387, "{session}");
        all.extend(held.iter().map(String::as_str));
        assert_eq!(all, before[session].names().collect(), "{session}");
    }
    world.finish();
}
