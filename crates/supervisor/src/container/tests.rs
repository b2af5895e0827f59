use super::*;

fn state(status: &str, running: bool, restarting: bool, pid: u32) -> &'static str {
    match (ContainerState {
        status: status.into(),
        running,
        restarting,
        pid,
        finished_at: None,
        error: String::new(),
    })
    .judge()
    {
        Observation::Running { .. } => "settled",
        Observation::Changing(_) => "running",
        Observation::Gone { .. } => "gone",
        Observation::Unknown(_) => "unknown",
    }
}

#[test]
fn only_what_is_proven_is_gone() {
    for (status, running, restarting, pid, is) in [
        ("running", true, false, 7, "settled"),
        ("running", true, false, 0, "running"),
        ("paused", true, false, 7, "settled"),
        ("exited", false, false, 0, "gone"),
        ("created", false, false, 0, "gone"),
        ("stopped", false, false, 0, "gone"),
        ("restarting", true, true, 0, "running"),
        ("exited", false, true, 0, "running"),
        ("restarting", false, false, 0, "running"),
        ("exited", false, false, 7, "running"),
        ("stopping", false, false, 0, "running"),
        ("removing", false, false, 0, "unknown"),
        ("", false, false, 0, "unknown"),
    ] {
        assert_eq!(
            state(status, running, restarting, pid),
            is,
            "{status} {running} {restarting} {pid}"
        );
    }
}

#[test]
fn only_the_container_of_this_name() {
    let answer = |id: &str, name: &str| {
        format!(
            r#"{{"id":"{id}","name":"{name}","state":{{"Status":"exited","Running":false,"Pid":0}},"auto_remove":false,"labels":null}}"#
        )
    };
    let id = "0123456789abcdef";
    assert!(parse(answer(id, "/bot").as_bytes(), "bot").is_ok());
    assert!(parse(answer(id, "bot").as_bytes(), "bot").is_ok());
    for (answer, says) in [
        (answer(id, "/other"), "no container has this name"),
        (answer("--all", "/bot"), "cannot be understood"),
        (answer("", "/bot"), "cannot be understood"),
        ("[]".into(), "cannot be understood"),
        (String::new(), "cannot be understood"),
    ] {
        assert!(
            parse(answer.as_bytes(), "bot").unwrap_err().contains(says),
            "{answer}"
        );
    }
}

#[test]
fn how_often_the_runtime_has_restarted_it() {
    let restarts = |more: &str| {
        let answer = format!(
            r#"{{"id":"0123456789abcdef","name":"/bot","state":{{"Status":"restarting","Running":true,"Restarting":true,"Pid":0}},"auto_remove":false,"labels":null{more}}}"#
        );
        parse(answer.as_bytes(), "bot").unwrap().restarts()
    };
    assert_eq!(restarts(r#","restarts":12"#), Some(12));
    assert_eq!(restarts(r#","restarts":0"#), Some(0));
    assert_eq!(restarts(r#","restarts":null"#), None);
    assert_eq!(restarts(r#","restarts":-1"#), None);
    assert_eq!(restarts(""), None);
    assert!(FORMAT.contains(r#""restarts":{{json .RestartCount}}"#));
}

/// With another policy a container that ends by itself looks the same.
#[test]
fn who_was_asked_to_stop() {
    let boot = humantime::parse_rfc3339("2026-11-30T06:00:00Z").unwrap();
    let ended = |status: &str, more: &str, restart: &str| {
        let answer = format!(
            r#"{{"id":"0123456789abcdef","name":"/bot","state":{{"Status":"{status}","Running":false,"Pid":0{more}}},"auto_remove":false,"labels":null{restart}}}"#
        );
        parse(answer.as_bytes(), "bot")
            .unwrap()
            .was_asked_to_stop(Some(boot))
    };
    let since_boot = r#","Error":"","FinishedAt":"2026-11-30T07:00:00.5Z""#;
    let asked = |status: &str, restart: &str| ended(status, since_boot, restart);
    let policy = |name: &str| format!(r#","restart":{{"Name":"{name}","MaximumRetryCount":0}}"#);
    assert!(asked("exited", &policy("always")));
    assert!(asked("exited", &policy("unless-stopped")));
    // podman, in the zone of the machine: an hour after the boot, and an hour before it.
    for (finished, is_asked) in [
        ("2026-11-30T04:00:00.123456789-03:00", true),
        ("2026-11-30T07:00:00+02:00", false),
    ] {
        let finished = format!(r#","Error":"","FinishedAt":"{finished}""#);
        assert_eq!(
            ended("exited", &finished, &policy("always")),
            is_asked,
            "{finished}"
        );
    }
    assert!(!asked("exited", &policy("on-failure")));
    assert!(!asked("exited", &policy("no")));
    assert!(!asked("created", &policy("always")));
    assert!(!asked("exited", ""));
    assert!(!asked("exited", r#","restart":null"#));
    // The host was switched off; a start failed; nothing tells when it ended.
    for more in [
        r#","Error":"","FinishedAt":"2026-11-30T05:00:00Z""#,
        r#","Error":"no such file","FinishedAt":"2026-11-30T07:00:00Z""#,
        r#","FinishedAt":"0001-01-01T00:00:00Z""#,
        "",
    ] {
        assert!(!ended("exited", more, &policy("always")), "{more}");
    }
}

/// A container of an unknown kind counts as one that is removed.
#[test]
fn a_container_that_is_removed_when_it_stops() {
    let task = r#"{"com.docker.swarm.task.id":"x"}"#;
    for (auto_remove, labels, obstacle) in [
        ("false", "null", None),
        ("false", "{}", None),
        // It is replaced.
        ("false", task, Some(RestartObstacle::SwarmTask)),
        ("true", "null", Some(RestartObstacle::AutoRemove)),
        ("null", "null", Some(RestartObstacle::AutoRemove)),
    ] {
        let answer = format!(
            r#"{{"id":"0123456789abcdef","name":"/bot","state":{{"Status":"running","Running":true,"Pid":7}},"auto_remove":{auto_remove},"labels":{labels}}}"#
        );
        let found = parse(answer.as_bytes(), "bot").unwrap();
        assert_eq!(found.obstacle(), obstacle, "{auto_remove}");
    }
}

/// `inspect` ends alike where there is no such container and where the runtime does not answer.
#[test]
fn a_daemon_that_does_not_run_is_told_from_one_that_may_not_be_asked() {
    for (error, is_down) in [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            true,
        ),
        (
            "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory",
            true,
        ),
        (
            "failed to connect to the docker API at unix:///var/run/docker.sock: dial unix /var/run/docker.sock: connect: resource temporarily unavailable",
            false,
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            false,
        ),
        (
            "Cannot connect to the Docker daemon at tcp://host:2375. Is the docker daemon running?",
            false,
        ),
        ("", false),
    ] {
        assert_eq!(says_no_daemon(error.as_bytes()), is_down, "{error}");
    }
}

#[test]
fn a_container_is_absent_if_no_other_has_its_name() {
    for (names, listed) in [
        ("", false),
        ("bot-2\nmy-bot\n", false),
        ("bot-2\nbot\n", true),
        ("other/alias,bot\n", true),
        ("bot\r\n", true),
    ] {
        assert_eq!(is_listed(names.as_bytes(), "bot"), listed, "{names:?}");
    }
}
