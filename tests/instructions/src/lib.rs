//! The hot paths whose instructions valgrind counts, and whose time divan measures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool of the tests"
)]
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use baileys_exporter::config::{MetricGroups, Settings};
use baileys_exporter::connection::State;
use baileys_exporter::exporter::latest::ConnectionReading;
use baileys_exporter::exporter::metrics::metric_families;
use baileys_exporter::exporter::snapshot::Collector;
use baileys_exporter::folder::scan::{open_dir, scan};
use baileys_exporter::folder::{Inventory, ReadCache, Timestamp};
use baileys_exporter::logs::Patterns;
use baileys_exporter::logs::pattern::ScanState;
use baileys_exporter::policy::{
    BatchSetting, Batches, CleanRequest, CleanupMode, Force, Limits, accumulated_files, plan,
};
use baileys_exporter::reload::ReloadState;
use clock::Clock;
use exporter_toolkit::exposition::respond;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, HeaderValue};

/// The time from which the times of the fixtures are counted: 2026-01-01T00:00:00Z.
fn now() -> Timestamp {
    Timestamp::from_secs(1_767_225_600)
}

/// Lines of a backlog.
const LINES: usize = 2_000;

/// A line of a bot's log; one in a hundred is looked for.
fn line(number: usize) -> String {
    let second = number / 20 % 60;
    match number % 5 {
        _ if number % 100 == 99 => "Session error:Error: Bad MAC Error: Bad MAC".into(),
        0 => format!(
            r#"{{"level":30,"time":"2026-01-01T00:00:{second:02}.125Z","pid":77,"hostname":"vm","class":"baileys","n":{number},"msg":"handled 0 offline messages/notifications"}}"#
        ),
        1 => format!(
            "    at async SessionCipher.decryptWithSessions (/opt/bot/node_modules/libsignal/src/session_cipher.js:147:29) {number}"
        ),
        2 => format!(
            r#"[12:00:{second:02}.123] INFO (77): message upsert {{"n":{number},"remoteJid":"15550001111@s.whatsapp.net","type":"notify","fromMe":false}}"#
        ),
        3 => format!(
            r#"{{"level":20,"time":"2026-01-01T00:00:{second:02}.125Z","pid":77,"hostname":"vm","recv":{{"tag":"receipt","n":{number}}},"msg":"recv xml"}}"#
        ),
        _ => format!(
            "2026-01-01T00:00:{second:02}: chat 15550001111@s.whatsapp.net: order {number} answered in 213 ms by the shop's own code"
        ),
    }
}

/// The same as Docker writes it.
fn in_docker(line: &str) -> String {
    let log = line.replace('\\', r"\\").replace('"', r#"\""#);
    format!(r#"{{"log":"{log}\n","stream":"stdout","time":"2026-01-01T00:00:00.125000000Z"}}"#)
}

/// One hot path, ready to run again and again.
pub type HotPath = Box<dyn FnMut()>;

fn count_patterns(wrapped: impl Fn(&str) -> String) -> HotPath {
    let patterns = Patterns::shipped_and(&[]).unwrap();
    let mut chunk = String::new();
    for number in 0..LINES {
        writeln!(chunk, "{}", wrapped(&line(number))).unwrap();
    }
    let mut scratch = Vec::new();
    Box::new(move || {
        let (mut state, mut found) = (ScanState::default(), 0);
        let mut count = |signs: usize| found += signs;
        patterns.scan(chunk.as_bytes(), &mut state, &mut scratch, |_, signs| {
            count(signs.signs.len());
        });
        patterns.flush(&mut state, |_, signs| count(signs.signs.len()));
        assert_eq!(black_box(found), LINES / 100);
    })
}

fn scanned(dir: &Path) -> Inventory {
    let fd = open_dir(&dir.join("folder")).unwrap();
    scan(fd.as_fd(), &mut ReadCache::default()).unwrap()
}

fn plan_of(inventory: &Inventory) -> usize {
    let ask = CleanRequest {
        mode: CleanupMode::Emergency,
        tier: None,
        force: Some(Force {
            inactive_for: Duration::ZERO,
        }),
    };
    let plan = plan(inventory, true, now(), &Limits::default(), &ask);
    plan.unwrap().moves.len()
}

/// A collector of the thousand folders.
fn collector(dir: &Path) -> Collector {
    let text = format!("sessions: {{paths: [{:?}]}}", dir.join("sessions"));
    let settings = Settings::of_text(&text).unwrap().unwrap();
    Collector::new(Arc::new(settings), Clock::system())
}

/// The metrics of the thousand folders, for a client that accepts this format.
fn expose(dir: &Path, accepted: &'static str) -> HotPath {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accepted))]);
    let reload = ReloadState {
        successful: true,
        loaded_at: now(),
    };
    let reading = ConnectionReading {
        state: State::Connected,
        is_unresolved: Some(false),
        is_stopped_on_request: Some(false),
        has_shared_connection: false,
        restarts: None,
        process_running: None,
    };
    let snapshot = collector(dir).collect();
    assert_eq!(snapshot.sessions.len(), 1_000);
    assert!(snapshot.sessions.iter().all(|view| view.state.is_ok()));
    Box::new(move || {
        let families = metric_families(&snapshot, None, reload, &MetricGroups::default(), |_| {
            reading
        });
        black_box(respond(&headers, families));
    })
}

/// The names of the hot paths.
pub const PATHS: [&str; 8] = [
    "log_lines",
    "log_lines_docker",
    "scan",
    "measure",
    "plan",
    "steady_scan",
    "exposition",
    "openmetrics",
];

/// Makes one of [`PATHS`] ready. `dir` is what [`make_ready`] has filled.
pub fn hot_path(name: &str, dir: &Path) -> HotPath {
    match name {
        "log_lines" => count_patterns(str::to_owned),
        "log_lines_docker" => count_patterns(in_docker),
        "scan" => {
            let dir = dir.to_owned();
            Box::new(move || assert_eq!(black_box(scanned(&dir)).files().len(), 1_003))
        }
        "measure" => {
            let inventory = scanned(dir);
            Box::new(move || {
                black_box(Batches::of(&inventory, BatchSetting::Auto));
                assert!(accumulated_files(&inventory, BatchSetting::Auto) > 0);
            })
        }
        "plan" => {
            let inventory = scanned(dir);
            Box::new(move || assert!(black_box(plan_of(&inventory)) > 0))
        }
        "steady_scan" => {
            let mut collector = collector(dir);
            collector.collect();
            Box::new(move || assert_eq!(black_box(collector.collect()).sessions.len(), 1_000))
        }
        "exposition" => expose(dir, "text/plain"),
        "openmetrics" => expose(dir, "application/openmetrics-text;version=1.0.0"),
        other => panic!("there is no path {other:?}"),
    }
}

/// Fills an empty directory: `folder` is an unpacked fixture, `sessions` holds a thousand auth
/// folders of a few files.
pub fn make_ready(dir: &Path) {
    let (folder, sessions) = (dir.join("folder"), dir.join("sessions"));
    fs::create_dir(&folder).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/modern-1003.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&folder).arg("-xzf").arg(fixture);
    assert!(tar.status().unwrap().success());
    let is_kept = |name: &str| {
        name == "creds.json" || (name.starts_with("pre-key-1") && name.ends_with("0.json"))
    };
    let few: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_kept(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    for number in 1..=1_000 {
        let session = sessions.join(format!("bot{number}"));
        fs::create_dir_all(&session).unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-p").args(&few).arg(&session);
        assert!(copy.status().unwrap().success());
        // Each is a bot, and not a copy of the first one.
        let creds = session.join("creds.json");
        let modified = fs::metadata(&creds).unwrap().modified().unwrap();
        let text = fs::read_to_string(&creds).unwrap();
        let device = format!(":{number}@s.whatsapp.net");
        fs::write(&creds, text.replace(":12@s.whatsapp.net", &device)).unwrap();
        let file = fs::File::options().write(true).open(&creds).unwrap();
        file.set_modified(modified).unwrap();
    }
}
