//! Ctrl-C in `make demo` stops everything it started.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Parent and start of every process, by number.
fn processes() -> Vec<(u32, u32, String)> {
    let numbers = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            (fields[0] != "Z").then_some(())?;
            Some((pid, fields[1].parse().ok()?, fields[19].to_owned()))
        })
        .collect()
}

fn descendants(of: u32) -> BTreeSet<(u32, String)> {
    let all = processes();
    let mut family = BTreeSet::from([of]);
    let mut found = BTreeSet::new();
    // Parents may stand behind their children in the list.
    for _ in 0..8 {
        for (pid, parent, start) in &all {
            if family.contains(parent) {
                family.insert(*pid);
                found.insert((*pid, start.clone()));
            }
        }
    }
    found
}

#[test]
fn ctrl_c_stops_everything() {
    let demo = Path::new(env!("CARGO_BIN_EXE_demo"));
    assert!(
        demo.with_file_name("baileys_exporter").exists(),
        "build the programs first: cargo build --workspace"
    );
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let file = fs::File::create(&output).unwrap();
    let mut child = Command::new(demo)
        .env("TMPDIR", dir.path())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(150);
    while descendants(child.id()).len() < 4 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "{}",
            fs::read_to_string(&output).unwrap()
        );
        assert!(
            Instant::now() < deadline,
            "{}",
            fs::read_to_string(&output).unwrap()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let started = descendants(child.id());
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not stop");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(matches!(status.code(), Some(0 | 130)), "{status}");
    let left: BTreeSet<(u32, String)> = processes()
        .into_iter()
        .map(|(pid, _, start)| (pid, start))
        .filter(|one| started.contains(one))
        .collect();
    assert!(left.is_empty(), "still running: {left:?}");
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        // The lock files with which programs that run side by side reserve ports.
        .filter(|name| !name.to_string_lossy().starts_with("baileys-testkit-ports-"))
        .collect();
    assert_eq!(names, ["output"], "its temporary directory is gone");
}
