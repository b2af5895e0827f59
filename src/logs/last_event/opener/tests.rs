#![allow(clippy::unwrap_used)]
use std::process::Command;

use super::super::dates::pid_on;
use super::*;

#[test]
fn a_process_runs_until_it_ends() {
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let (pid, opened) = (child.id(), Timestamp::now());
    let process = NamedProcess { pid, opened };
    let runs = |process: NamedProcess| process.look().map(|opener| opener.runs);
    assert_eq!(runs(process), Some(true));
    // It started after that: another process had the number.
    let opened = opened.minus(std::time::Duration::from_secs(3_600));
    assert_eq!(runs(NamedProcess { pid, opened }), Some(false));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(runs(process), Some(false));
    // The first process is that of a container.
    assert_eq!(runs(NamedProcess { pid: 1, ..process }), None);
}

#[test]
fn only_a_process_of_this_host_has_a_number() {
    let here = |record: &str| pid_on("vm", record.as_bytes());
    let pino = |host: &str| format!(r#"{{"level":30,"pid":42,"hostname":"{host}","msg":"x"}}"#);
    assert_eq!(here(&pino("vm")), Some(42));
    assert_eq!(here(&pino("other")), None);
    for (words, pid) in [
        ("42 on vm", Some(42)),
        ("bot/42 on vm", Some(42)),
        ("42 on other", None),
        ("42", None),
    ] {
        let line = format!("[2026-11-23 18:16:57.145 +0000] INFO ({words}): x");
        assert_eq!(here(&line), pid, "{words}");
    }
}
