//! Storms: many posts, many sessions, a kill in the middle. Each session is cleaned once,
//! memory stays bounded, and nothing that was answered with 202 is lost. And alerts that
//! Alertmanager leaves out of its request are found by looking at every folder.
//!
//! `make test` sends 2,000 posts about 200 sessions, `make soak` 10,000 about 1,000:
//! `STORM_POSTS` and `STORM_SESSIONS` say how many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use testkit::Patience;
use testkit::net::{self, Metrics};
use testkit::process::{self, Process};
use testkit::stack::INSTALL;

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw";
const DAY: Duration = Duration::from_secs(86_400);
/// Whatever is waited for happens within this time, at the full size and on a busy machine.
const BOUND: Duration = Duration::from_secs(900);
/// Posts at the same time; the remediator takes 64 and turns the others away with 503.
const POSTERS: usize = 80;
/// What the process may need above what it had when it was ready.
///
/// 64 requests at a time, each with a thread's stack that is touched (some 100 KiB), a
/// body of 20 alerts and its JSON (some 40 KiB); the same for 16 probes and 4 runs; 2 MiB
/// of SQLite's page cache; and as much again for what the allocator keeps in its arenas.
/// A remediator that kept what it was sent would need more with every post.
const MORE_MEMORY_KIB: u64 = 48 << 10;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn sessions() -> usize {
    number("STORM_SESSIONS", 200)
}

fn posts() -> usize {
    number("STORM_POSTS", 2_000)
}

/// Answers `disconnected`; once it is told to, only when it is let go on.
struct Probe {
    port: u16,
    /// How often it was asked, and up to which ask it answers.
    gate: Arc<(Mutex<(usize, usize)>, Condvar)>,
}

impl Probe {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Arc::new((Mutex::new((0, usize::MAX)), Condvar::new()));
        let waits = Arc::clone(&gate);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let waits = Arc::clone(&waits);
                std::thread::spawn(move || {
                    let Ok(reading) = stream.try_clone() else { return };
                    let mut lines = BufReader::new(reading).lines();
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let (gate, changed) = &*waits;
                    let mut counts = gate.lock().unwrap();
                    counts.0 += 1;
                    let mine = counts.0;
                    drop(changed.wait_timeout_while(counts, BOUND, |(_, upto)| *upto < mine));
                    let body = r#"{"connected":false}"#;
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                });
            }
        });
        Self { port, gate }
    }

    /// Answers so many times more, and then no more.
    fn close_after(&self, some: usize) {
        let mut counts = self.gate.0.lock().unwrap();
        counts.1 = counts.0 + some;
    }

    fn open(&self) {
        self.gate.0.lock().unwrap().1 = usize::MAX;
        self.gate.1.notify_all();
    }
}

/// Many bots and their remediator.
struct Fleet {
    // Dropped before the directory it writes to.
    server: Option<Process>,
    port: u16,
    probe: Probe,
    patience: Patience,
    starts: usize,
    dir: tempfile::TempDir,
}

/// How many of a folder's files go when it is cleaned.
const GO: usize = 9;

impl Fleet {
    /// `bloated` bots at the emergency tier, and `slim` ones below the first.
    fn new(bloated: usize, slim: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("storm-").tempdir().unwrap();
        let probe = Probe::start();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sessions")).unwrap();
        fs::write(path("token"), TOKEN).unwrap();
        fs::set_permissions(path("token"), PermissionsExt::from_mode(0o600)).unwrap();
        // Small tiers, so that a thousand folders fit into a test.
        let config = format!(
            "tiers: {{monitor: 5, warning: 6, cleanup: 7, emergency: 8, fatal: 9}}\nconnection:\n  timeout: 5m\n  trust: ['*']\n  http:\n    url: http://127.0.0.1:{}/\n    pointer: /connected\n    connected: [true]\n    disconnected: [false]\n",
            probe.port
        );
        fs::write(path("config.yml"), config).unwrap();
        for index in 0..bloated {
            folder(&path("sessions").join(name(index)), GO);
        }
        for index in 0..slim {
            folder(&path("sessions").join(format!("slim_{index:04}")), 2);
        }
        let port = net::free_port(None).unwrap();
        Self { server: None, port, probe, patience: Patience::new(BOUND), starts: 0, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn flags(&self) -> Vec<String> {
        vec![
            format!("--sessions.path={}", self.path("sessions").display()),
            format!("--state.path={}", self.path("state").display()),
            format!("--config.file={}", self.path("config.yml").display()),
        ]
    }

    fn start(&mut self) {
        let mut args = vec![
            "serve".to_owned(),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            format!("--webhook.token-file={}", self.path("token").display()),
        ];
        args.extend(self.flags());
        self.starts += 1;
        let log = self.path(&format!("log-{}", self.starts));
        self.server = Some(Process::start("remediator", Path::new(REMEDIATOR), &args, &log).unwrap());
        let ready = self.url("/-/ready");
        self.wait("the remediator is ready", || net::get(&ready)?.ok());
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    fn wait<T>(&self, what: &str, attempt: impl FnMut() -> testkit::Result<T>) -> T {
        let seen = self.patience.wait_until(BOUND, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}\n{}", self.log_tail()))
    }

    fn log_tail(&self) -> String {
        self.server.as_ref().map(|server| server.log_tail(20)).unwrap_or_default()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> testkit::Result<f64> {
        Metrics::scrape(&self.url("/metrics"))?.sum(&format!("baileys_remediator_{name}"), labels)
    }

    fn wait_until_idle(&self) {
        self.wait("every run ends", || match self.metric("queue_length", &[])? {
            0.0 => Ok(()),
            queued => Err(format!("{queued} runs wait or are under way")),
        });
    }

    /// The most memory the process ever had, in KiB.
    fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.as_ref().unwrap().pid()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Posts until it is accepted, as Alertmanager does; how often it was turned away.
    fn post(&self, body: &Value) -> testkit::Result<usize> {
        let headers = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))];
        let body = body.to_string();
        let mut away = 0;
        self.patience.wait_until(BOUND, "a post is accepted", || {
            let answer = net::post(&self.url("/webhook"), &headers, body.as_bytes());
            match answer {
                Ok(answer) if answer.status == 202 => Ok(()),
                Ok(answer) if answer.status == 503 => {
                    away += 1;
                    Err("503".into())
                }
                Ok(answer) => panic!("{}: {}", answer.status, answer.body),
                Err(error) => Err(error),
            }
        })?;
        Ok(away)
    }

    /// Sends them all, many at a time; how many were turned away at first.
    fn storm(&self, bodies: &[Value]) -> usize {
        let (next, away) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..POSTERS {
                scope.spawn(|| {
                    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                        away.fetch_add(self.post(body).unwrap(), Ordering::Relaxed);
                    }
                });
            }
        });
        away.into_inner()
    }

    /// The runs on record, by session.
    fn runs(&self) -> BTreeMap<String, Vec<Value>> {
        let args =
            ["runs", "--output=json", "--limit=100000"].map(str::to_owned).into_iter().chain(self.flags());
        let (status, out, err) = process::run(Path::new(REMEDIATOR), args, BOUND).unwrap();
        assert!(status.success(), "{err}");
        let mut runs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for run in serde_json::from_str::<Vec<Value>>(&out).unwrap() {
            runs.entry(run["session"].as_str().unwrap().to_owned()).or_default().push(run);
        }
        runs
    }

    /// A session was cleaned exactly once: one run that succeeded, one quarantine with what
    /// had to go, and the rest where it was.
    fn cleaned_once(&self, session: &str, runs: &BTreeMap<String, Vec<Value>>) {
        let runs = runs.get(session).unwrap_or_else(|| panic!("{session}: accepted and lost"));
        let done = runs.iter().filter(|run| run["status"] == "done").count();
        assert_eq!(done, 1, "{session}: {runs:#?}");
        let others = runs.iter().filter(|run| run["status"] != "done");
        for run in others {
            assert_eq!(run["reason"], "cooldown", "{session}: {run:#}");
        }
        let dir = self.path("sessions").join(session);
        let stays = ["creds.json", "session-1.0.json", "session-2.0.json"].map(str::to_owned);
        assert_eq!(key_files(&dir), BTreeSet::from(stays));
        let held: Vec<PathBuf> = fs::read_dir(dir.join(".baileys_quarantine"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        assert_eq!(held.len(), 1, "{session}: {held:?}");
        assert_eq!(key_files(&held[0].join("files")).len(), GO, "{session}");
    }

    fn untouched(&self, session: &str, runs: &BTreeMap<String, Vec<Value>>) {
        assert!(!runs.contains_key(session), "{session}: {:#?}", runs[session]);
        assert_eq!(key_files(&self.path("sessions").join(session)).len(), 5, "{session}");
    }
}

fn name(index: usize) -> String {
    format!("bot_{index:04}")
}

/// A bot silent for a quarter of an hour, with `old` sessions of 40 days ago.
fn folder(dir: &Path, old: usize) {
    fs::create_dir_all(dir).unwrap();
    let now = SystemTime::now();
    let write = |name: &str, text: &str, age: Duration| {
        let mut file = File::create(dir.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_modified(now - age).unwrap();
    };
    let quarter = Duration::from_secs(900);
    let creds =
        r#"{"noiseKey":{},"nextPreKeyId":31,"me":{"id":"447700900001:1@s.whatsapp.net"},"account":{}}"#;
    write("creds.json", creds, quarter);
    for index in 1..=old + 2 {
        let age = match index {
            1 => quarter,
            // Else it would look like one that has only just woken up.
            2 => DAY * 5,
            _ => DAY * 40,
        };
        write(&format!("session-{index}.0.json"), r#"{"_sessions":{},"version":"v1"}"#, age);
    }
}

fn key_files(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let plain = entries.filter(|entry| entry.file_type().unwrap().is_file());
    plain.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn labels(session: &str) -> Value {
    json!({
        "alertname": "BaileysAuthFilesCleanup", "ladder": "baileys_auth_files", "tier": "cleanup",
        "session": session, "instance": "127.0.0.1:10273", "job": "baileys", "severity": "warning",
    })
}

fn payload(sessions: &[String]) -> Value {
    let alert = |session: &String| {
        json!({
            "status": "firing", "labels": labels(session), "annotations": {"summary": "too many files"},
            "startsAt": "2026-11-23T18:00:00.000Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://localhost:9090/graph", "fingerprint": "0123456789abcdef",
        })
    };
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "remediator", "groupLabels": {"alertname": "BaileysAuthFilesCleanup"},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://localhost:9093",
        "alerts": sessions.iter().map(alert).collect::<Vec<_>>(),
    })
}

/// So many posts about sessions `0..count`, each of them named; now and then one of twenty.
fn bodies(posts: usize, count: usize) -> Vec<Value> {
    let body = |index: usize| {
        let some = if index % 10 == 9 { 20 } else { 1 };
        // Far apart, so that neighbours do not come together; every one comes up.
        let at = |step: usize| name((index * 7 + step * 13) % count);
        payload(&(0..some).map(at).collect::<Vec<_>>())
    };
    let mut all: Vec<Value> = (0..posts.saturating_sub(count)).map(body).collect();
    all.extend((0..count).map(|index| payload(&[name(index)])));
    all
}

#[test]
fn a_storm_from_a_load_generator() {
    let (sessions, posts) = (sessions(), posts());
    let half = sessions / 2;
    let mut fleet = Fleet::new(sessions, 0);
    fleet.start();
    let at_first = fleet.most_memory();

    // The first half of the fleet. Some runs go to their end, then the bots' API says no
    // more: four runs hang in the middle, the others wait.
    fleet.probe.close_after(2 * (half / 4) + 1);
    let mut away = fleet.storm(&bodies(posts / 2, half));
    let waiting = fleet.metric("queue_length", &[]).unwrap();
    assert!(waiting >= half as f64 / 4.0, "only {waiting} runs are there to be lost");
    let first_memory = fleet.most_memory();
    fleet.kill();
    fleet.probe.open();

    // Nobody asks for them again.
    fleet.start();
    let at_second = fleet.most_memory();
    fleet.wait_until_idle();
    let runs = fleet.runs();
    (0..half).for_each(|index| fleet.cleaned_once(&name(index), &runs));
    assert_eq!(runs.len(), half);

    // All of the fleet. The first half is left alone.
    away += fleet.storm(&bodies(posts - posts / 2, sessions));
    fleet.wait_until_idle();
    let runs = fleet.runs();
    (0..sessions).for_each(|index| fleet.cleaned_once(&name(index), &runs));
    let second_memory = fleet.most_memory();
    eprintln!(
        "{posts} posts, {away} turned away at first; {waiting} runs waited at the kill; most memory {at_first} -> {first_memory} KiB, {at_second} -> {second_memory} KiB"
    );
    for (before, after) in [(at_first, first_memory), (at_second, second_memory)] {
        assert!(after <= before + MORE_MEMORY_KIB, "{before} -> {after} KiB");
    }
}

/// Starts the real Alertmanager with the shipped configuration, in which only addresses and
/// durations are replaced, and `more`.
fn alertmanager(fleet: &Fleet, more: &[(&str, &str)]) -> (Process, u16) {
    let program = process::find(&["prometheus-alertmanager", "alertmanager"])
        .unwrap_or_else(|| panic!("Alertmanager is not installed; run: {INSTALL}"));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerting-rules/alertmanager.yml");
    let mut text = fs::read_to_string(shipped).unwrap();
    let (webhook, token) = (fleet.url("/webhook"), fleet.path("token").display().to_string());
    let changes = [
        ("http://127.0.0.1:10274/webhook", webhook.as_str()),
        ("/etc/baileys_remediator/webhook.token", token.as_str()),
        ("smtp_smarthost: localhost:25", "smtp_smarthost: 127.0.0.1:1"),
        ("group_wait: 10s", "group_wait: 1s"),
        ("group_interval: 1m", "group_interval: 1s"),
        ("repeat_interval: 5m", "repeat_interval: 1s"),
    ];
    for (from, to) in changes.iter().chain(more) {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    let config = fleet.path("alertmanager.yml");
    fs::write(&config, text).unwrap();
    let port = net::free_port(None).unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", fleet.path("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let process = Process::start("alertmanager", &program, &args, &fleet.path("alertmanager.log")).unwrap();
    fleet.wait("alertmanager is ready", || net::get(&format!("http://127.0.0.1:{port}/-/ready"))?.ok());
    (process, port)
}

/// Tells Alertmanager that these alerts fire.
fn fire(fleet: &Fleet, port: u16, sessions: &[String]) {
    let alerts: Vec<Value> = sessions
        .iter()
        .map(|session| {
            json!({
                "labels": labels(session), "annotations": {"summary": "too many files"},
                "startsAt": "2026-11-23T18:00:00.000Z", "endsAt": "2099-01-01T00:00:00.000Z",
            })
        })
        .collect();
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    let body = Value::from(alerts).to_string();
    fleet.wait("alertmanager takes the alerts", || {
        net::post(&format!("http://127.0.0.1:{port}/api/v2/alerts"), &headers, body.as_bytes())?.ok()
    });
}

#[test]
fn a_storm_from_a_real_alertmanager() {
    let (sessions, posts) = (sessions(), posts());
    let mut fleet = Fleet::new(sessions, 0);
    fleet.start();
    let at_first = fleet.most_memory();
    let (mut alertmanager, port) = alertmanager(&fleet, &[]);
    // One group a session, as shipped: each is a post of its own, repeated every second or two.
    fire(&fleet, port, &(0..sessions).map(name).collect::<Vec<_>>());
    let accepted = |fleet: &Fleet, least: usize| -> usize {
        fleet.wait(&format!("{least} posts are accepted"), || {
            let seen = fleet.metric("webhook_requests_total", &[("code", "202")])? as usize;
            if seen >= least { Ok(seen) } else { Err(format!("{seen} posts")) }
        })
    };
    // Killed while runs are under way, and again in the middle of the repeats.
    let mut all = accepted(&fleet, sessions / 4);
    let first_memory = fleet.most_memory();
    fleet.kill();
    fleet.start();
    all += accepted(&fleet, posts / 2);
    let second_memory = fleet.most_memory();
    fleet.kill();
    fleet.start();
    let at_third = fleet.most_memory();
    all += accepted(&fleet, posts.saturating_sub(all).max(1));
    alertmanager.stop();
    fleet.wait_until_idle();
    let runs = fleet.runs();
    (0..sessions).for_each(|index| fleet.cleaned_once(&name(index), &runs));
    assert_eq!(runs.len(), sessions);
    let third_memory = fleet.most_memory();
    eprintln!(
        "at least {all} posts; most memory {at_first} -> {first_memory}, {second_memory}, {at_third} -> {third_memory} KiB"
    );
    assert!(all >= posts);
    for after in [first_memory, second_memory, third_memory] {
        assert!(after <= at_first.min(at_third) + MORE_MEMORY_KIB, "{at_first} -> {after} KiB");
    }
}

/// With `max_alerts: 1` and all sessions in one group a single alert arrives, and of the
/// others only their number: every folder is looked at, also after a kill, and those at the
/// tier are cleaned as their alerts would have asked.
#[test]
fn alerts_that_alertmanager_leaves_out_are_found() {
    let (bloated, slim) = (30, 10);
    let mut fleet = Fleet::new(bloated, slim);
    fleet.start();
    fleet.probe.close_after(0);
    let more = [
        (
            "        send_resolved: false\n        http_config:",
            "        max_alerts: 1\n        send_resolved: false\n        http_config:",
        ),
        ("group_by: [job, instance, session, alertname]", "group_by: [job, instance, alertname]"),
        // Said once: what is found must not be owed to a repeat.
        ("repeat_interval: 1s", "repeat_interval: 1h"),
    ];
    let (mut alertmanager, port) = alertmanager(&fleet, &more);
    fire(&fleet, port, &(0..bloated).map(name).collect::<Vec<_>>());
    fleet.wait("a post is accepted", || match fleet.metric("webhook_alerts_truncated_total", &[])? {
        left_out if left_out == (bloated - 1) as f64 => Ok(()),
        left_out => Err(format!("{left_out} alerts were left out")),
    });
    // At once: whether it has looked or not, it must after the restart.
    fleet.kill();
    alertmanager.stop();
    fleet.probe.open();
    fleet.start();
    fleet.wait("all are found", || match fleet.metric("runs_total", &[("action", "cleanup")])? {
        done if done >= bloated as f64 => Ok(()),
        done => Err(format!("{done} runs\n{}", fleet.log_tail())),
    });
    fleet.wait_until_idle();
    let runs = fleet.runs();
    (0..bloated).for_each(|index| fleet.cleaned_once(&name(index), &runs));
    (0..slim).for_each(|index| fleet.untouched(&format!("slim_{index:04}"), &runs));
    let left_out = runs.values().flatten().filter(|run| run["requested_by"] == "alert left-out").count();
    assert_eq!(left_out, bloated - 1, "one alert came");
    assert!(runs.values().flatten().all(|run| run["action"] == "cleanup"), "no other action than its own");
}
