use super::*;

#[tokio::test]
async fn what_runs_is_not_started_a_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(
        at("start"),
        "cd \"$(dirname \"$0\")\" && touch runs && echo once >>starts",
    )
    .unwrap();
    let argv = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let (runs, start) = (at("runs"), at("start"));
    let (start, gone) = (argv(&["sh", &start]), argv(&["test", "!", "-e", &runs]));
    let placeholders = Placeholders::new("session", "session_pattern", None);
    let stop = argv(&["rm", "-f", &runs]);
    let new = |stop, start| Commands::new(&gone, stop, start, &placeholders).unwrap();
    let argvs = new(Some(&stop), Some(&start)).fill("bot").unwrap();
    let call = || CallOptions::new(Duration::from_secs(20));
    for _ in 0..2 {
        argvs.start(call()).await.unwrap();
    }
    let starts = || {
        std::fs::read_to_string(at("starts"))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!(
        (argvs.observe(&Query::default()).await.presence(), starts()),
        (Presence::Running, 1)
    );
    argvs.stop(call()).await.unwrap();
    argvs.start(call()).await.unwrap();
    assert_eq!(starts(), 2);
    // Where it is unknown, it is started: better that than left stopped.
    let unknown = OneCommands {
        gone: argv(&["sh", "/nonexistent"]),
        ..argvs
    };
    unknown.start(call()).await.unwrap();
    assert_eq!(starts(), 3);
    // Without its commands it is only observed.
    assert!(new(Some(&stop), Some(&start)).can_restart());
    let observed = new(None, None);
    assert!(!observed.can_restart());
    let observed = observed.fill("bot").unwrap();
    for tried in [observed.stop(call()).await, observed.start(call()).await] {
        // `runs` is there, so that a start has nothing to do.
        assert!(tried.is_ok() || !tried.unwrap_err().may_have_acted());
    }
    assert_eq!(starts(), 3);
}

#[tokio::test]
async fn a_start_command_that_cannot_be_run_forbids_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for (name, mode) in [("runs", 0o755), ("closed", 0o644)] {
        std::fs::write(at(name), "#!/bin/sh\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(at(name), mode).unwrap();
    }
    let argv = |word: &str| vec![word.to_owned()];
    let placeholders = Placeholders::new("session", "session_pattern", None);
    let stopped = at("stopped");
    let stop = ["touch".to_owned(), stopped.clone()];
    for (start, obstacle) in [
        ("sh".to_owned(), None),
        (at("runs"), None),
        (at("none"), Some(StartObstacle::NoProgram)),
        (at("runs/none"), Some(StartObstacle::NoProgram)),
        ("no-such-program".into(), Some(StartObstacle::NoProgram)),
        (at("closed"), Some(StartObstacle::NotExecutable)),
        (at("."), Some(StartObstacle::NotExecutable)),
    ] {
        let commands = Commands::new(
            &argv("true"),
            Some(&stop),
            Some(&argv(&start)),
            &placeholders,
        );
        let one = commands.unwrap().fill("bot").unwrap();
        let found = one.check_restart(&Query::default()).await;
        assert_eq!(found, Ok(obstacle), "{start}");
        let _ = std::fs::remove_file(&stopped);
        let call = one.stop(CallOptions::new(Duration::from_secs(20))).await;
        assert_eq!(call.is_ok(), obstacle.is_none(), "{start}: {call:?}");
        assert_eq!(std::path::Path::new(&stopped).exists(), obstacle.is_none());
    }
}
