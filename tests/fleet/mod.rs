//! Many small bots, the API that knows whether they are connected, and their remediator.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use testkit::net::{self, Metrics};
use testkit::probe::HttpProbe;
use testkit::process;
use testkit::world::{TOKEN, World};

pub const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
pub const DAY: Duration = Duration::from_secs(86_400);
/// Whatever is waited for happens within this time, at the full size and on a busy machine.
pub const BOUND: Duration = Duration::from_secs(900);
/// Posts at the same time; the remediator takes 64 and turns the others away with 503.
const POSTERS: usize = 80;

/// Many bots and their remediator.
pub struct Fleet {
    world: World,
    pub probe: HttpProbe,
}

impl std::ops::Deref for Fleet {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

/// How many of a folder's files go when it is cleaned.
pub const GO: usize = 9;

impl Fleet {
    /// `bloated` bots at the emergency tier, and `slim` ones below the first.
    pub fn new(bloated: usize, slim: usize) -> Self {
        let mut world = World::new(testkit::programs!()).within(BOUND);
        let probe = HttpProbe::start();
        // Small tiers, so that a thousand folders fit into a test.
        world.with_config(&format!(
            "tiers: {{monitor: 5, warning: 6, cleanup: 7, emergency: 8, fatal: 9}}\nconnection:\n  timeout: 5m\n{}",
            probe.config()
        ));
        let fleet = Self { world, probe };
        for index in 0..bloated {
            folder(&fleet.folder(&name(index)), GO);
        }
        for index in 0..slim {
            folder(&fleet.folder(&format!("slim_{index:04}")), 2);
        }
        fleet
    }

    pub fn flags(&self) -> Vec<String> {
        self.remediator_flags()
    }

    /// Starts the remediator. Its log is not at debug level: there would be too much of it.
    pub fn start(&mut self) {
        let mut args = self.serve_args();
        args.retain(|arg| arg != "--log.level=debug");
        self.world.start(&[], Path::new(REMEDIATOR), args);
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub fn kill(&mut self) {
        self.world.kill();
    }

    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> testkit::Result<f64> {
        Metrics::scrape(&self.url("/metrics"))?.sum(&format!("baileys_remediator_{name}"), labels)
    }

    pub fn wait_until_idle(&self) {
        let url = self.url("/metrics");
        self.wait("every run ends", || queue(&url));
    }

    /// The most memory the process ever had, in KiB.
    pub fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Posts until it is accepted, as Alertmanager does; how often it was turned away.
    pub fn post(&self, body: &Value) -> testkit::Result<usize> {
        self.post_to(&self.url("/webhook"), body)
    }

    /// The same, to any remediator with this token.
    pub fn post_to(&self, url: &str, body: &Value) -> testkit::Result<usize> {
        let headers = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))];
        let body = body.to_string();
        let mut away = 0;
        self.patience()
            .wait_until(BOUND, "a post is accepted", || {
                let answer = net::post(url, &headers, body.as_bytes());
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
    pub fn storm(&self, bodies: &[Value]) -> usize {
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
    pub fn runs(&self) -> BTreeMap<String, Vec<Value>> {
        runs(&self.flags())
    }

    /// A session was cleaned exactly once: one run that succeeded, one quarantine with what
    /// had to go, and the rest where it was.
    pub fn cleaned_once(&self, session: &str, runs: &BTreeMap<String, Vec<Value>>) {
        let runs = runs
            .get(session)
            .unwrap_or_else(|| panic!("{session}: accepted and lost"));
        let done = runs.iter().filter(|run| run["status"] == "done").count();
        assert_eq!(done, 1, "{session}: {runs:#?}");
        let others = runs.iter().filter(|run| run["status"] != "done");
        for run in others {
            assert_eq!(run["reason"], "cooldown", "{session}: {run:#}");
        }
        let dir = self.folder(session);
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

    pub fn untouched(&self, session: &str, runs: &BTreeMap<String, Vec<Value>>) {
        assert!(
            !runs.contains_key(session),
            "{session}: {:#?}",
            runs[session]
        );
        assert_eq!(key_files(&self.folder(session)).len(), 5, "{session}");
    }
}

/// The runs on record in the journal that these flags name, by session.
pub fn runs(flags: &[String]) -> BTreeMap<String, Vec<Value>> {
    let args = ["runs", "--output=json", "--limit=100000"]
        .map(str::to_owned)
        .into_iter();
    let (status, out, err) = process::run(
        Path::new(REMEDIATOR),
        args.chain(flags.iter().cloned()),
        BOUND,
    )
    .unwrap();
    assert!(status.success(), "{err}");
    let mut runs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for run in serde_json::from_str::<Vec<Value>>(&out).unwrap() {
        runs.entry(run["session"].as_str().unwrap().to_owned())
            .or_default()
            .push(run);
    }
    runs
}

/// Fails while runs wait or are under way.
pub fn queue(metrics: &str) -> testkit::Result<()> {
    match Metrics::scrape(metrics)?.sum("baileys_remediator_queue_length", &[])? {
        0.0 => Ok(()),
        queued => Err(format!("{queued} runs wait or are under way")),
    }
}

pub fn name(index: usize) -> String {
    format!("bot_{index:04}")
}

/// A bot silent for a quarter of an hour, with `old` sessions of 40 days ago.
pub fn folder(dir: &Path, old: usize) {
    fs::create_dir_all(dir).unwrap();
    let now = SystemTime::now();
    let write = |name: &str, text: &str, age: Duration| {
        let mut file = File::create(dir.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_modified(now - age).unwrap();
    };
    let quarter = Duration::from_secs(900);
    let creds = r#"{"noiseKey":{},"nextPreKeyId":31,"me":{"id":"447700900001:1@s.whatsapp.net"},"account":{}}"#;
    write("creds.json", creds, quarter);
    for index in 1..=old + 2 {
        let age = match index {
            1 => quarter,
            // Else it would look like one that has only just woken up.
            2 => DAY * 5,
            _ => DAY * 40,
        };
        write(
            &format!("session-{index}.0.json"),
            r#"{"_sessions":{},"version":"v1"}"#,
            age,
        );
    }
}

pub fn key_files(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let plain = entries.filter(|entry| entry.file_type().unwrap().is_file());
    plain
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

pub fn labels(session: &str) -> Value {
    json!({
        "alertname": "BaileysAuthFilesCleanup", "ladder": "baileys_auth_files", "tier": "cleanup",
        "session": session, "instance": "127.0.0.1:10273", "job": "baileys", "severity": "warning",
    })
}

pub fn payload(sessions: &[String]) -> Value {
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
