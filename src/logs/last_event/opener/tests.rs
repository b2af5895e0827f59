#![allow(clippy::unwrap_used)]
use std::process::Command;

use super::super::dates::pid_on;
use super::*;

#[test]
fn a_process_has_ended_only_if_it_was_seen_running() {
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let (session, pid) = (SessionName::from_text("bot"), child.id());
    let opened = Timestamp::now();
    let process = NamedProcess { pid, opened };
    let (openers, later) = (Openers::default(), Openers::default());
    let runs = |runs| Some(Opener { pid, runs });
    assert_eq!(openers.state_of(&session, process), runs(true));
    // It started after that: another process had the number.
    let opened = opened.minus(std::time::Duration::from_secs(3_600));
    let earlier = NamedProcess { pid, opened };
    assert_eq!(openers.state_of(&session, earlier), None);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(openers.state_of(&session, process), runs(false));
    assert_eq!(later.state_of(&session, process), None);
    // The first process is that of a container.
    let first = NamedProcess { pid: 1, ..process };
    assert_eq!(openers.state_of(&session, first), None);
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
