//! What the real library prints, counted: every file of tests/fixtures/logs through the
//! running exporter, against counts made by hand (`expected.tsv`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use testkit::net;
use testkit::process::Process;
use testkit::{Patience, fixture};

/// File and pattern, and how often.
type Counts = BTreeMap<(String, String), u64>;

fn by_hand(name: &str, below: &str) -> Counts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            ((format!("{below}{}", cells[0]), cells[1].to_owned()), cells[2].parse().unwrap())
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
        counts.insert((label(line, "session").to_owned(), pattern.to_owned()), value);
    }
    counts
}

#[test]
fn every_file_of_the_real_library_counts_as_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs");
    fixture::unpack("normal", &dir.path().join("sessions/bot"), SystemTime::now()).unwrap();
    // Each file is a session of its own.
    let config = dir.path().join("config.yml");
    let yaml = format!(
        "logs:\n  paths: ['{logs}/*.log', '{logs}/samples/*.txt', '{logs}/samples/*.jsonl', '{logs}/samples/pm2/*.log']\n  from_start: true\n  session_path: 'fixtures/logs/(?<file>.+)$'\n  session_name: '{{file}}'\n  state_path: '{state}'\n",
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
        counts.iter().filter(|((_, pattern), _)| pattern == "lines").map(|(_, count)| count).sum()
    };
    let patience = Patience::new(Duration::from_secs(60));
    let mut text = String::new();
    patience
        .wait_until(Duration::from_secs(50), "all lines are read", || {
            exporter.alive()?;
            text = net::get(&format!("http://127.0.0.1:{port}/metrics"))?.ok()?;
            let lines = all_lines(&counted(&text));
            if lines >= all_lines(&wanted) { Ok(()) } else { Err(format!("{lines} lines")) }
        })
        .unwrap();

    // The folder that has no log is there as well, at 0.
    let mut seen = counted(&text);
    let silent: Vec<_> = seen.keys().filter(|(session, _)| session == "bot").cloned().collect();
    assert_eq!(silent.len(), 21, "every session has every pattern");
    for key in silent {
        assert_eq!(seen.remove(&key), Some(0));
    }
    for (key, count) in &wanted {
        assert_eq!(seen.get(key), Some(count), "{key:?}");
    }
    assert_eq!(seen.len(), wanted.len());

    // No line, key or number of a phone is repeated anywhere.
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let page = net::get(&format!("http://127.0.0.1:{port}/")).unwrap().ok().unwrap();
    for shown in [&text, &log, &page] {
        for secret in ["<Buffer", "SessionEntry", "@s.whatsapp.net", "privKey: "] {
            assert!(!shown.contains(secret), "{secret} is shown");
        }
    }
    for entry in std::fs::read_dir(dir.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&b"<Buffer"[..], b"SessionEntry", b"@s.whatsapp.net", b"Bad MAC"] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "the state holds a raw line"
            );
        }
    }
}
