use super::*;
use crate::Absence;

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
    assert_eq!((argvs.runs().await, starts()), (true, 1));
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

/// A `gone` command that fails, as where its script is on a mount that is missing, says nothing.
#[tokio::test]
async fn only_one_exit_status_says_that_there_is_no_such_process() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("gone.sh");
    let placeholders = Placeholders::new("session", "session_pattern", None);
    for (status, absent) in [(0, false), (1, false), (2, false), (4, true), (127, false)] {
        std::fs::write(&script, format!("exit {status}")).unwrap();
        let gone = ["sh".to_owned(), script.display().to_string()];
        let commands = Commands::new(&gone, None, None, &placeholders).unwrap();
        let one = commands.fill("bot").unwrap();
        let seen = one.observe(&Query::default()).await;
        let expected = absent.then_some(Absence::HasNone);
        assert_eq!(seen.absence, expected, "{status}");
        let is_unknown = matches!(seen.observation, Observation::Unknown(_));
        assert_eq!(is_unknown, status > 1, "{status}");
    }
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
        (at("none"), Some(RestartObstacle::NoProgram)),
        (at("runs/none"), Some(RestartObstacle::NoProgram)),
        ("no-such-program".into(), Some(RestartObstacle::NoProgram)),
        (at("closed"), Some(RestartObstacle::NotExecutable)),
        (at("."), Some(RestartObstacle::NotExecutable)),
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

#[test]
fn a_program_whose_exit_status_would_be_misread_is_no_gone_command() {
    let placeholders = Placeholders::new("session", "session_pattern", None);
    let new = |gone: &str| {
        let gone: Vec<String> = gone.split(' ').map(str::to_owned).collect();
        Commands::new(&gone, None, None, &placeholders).map(|_| ())
    };
    let refused = [
        ("pgrep -f bot", "pid_file"),
        ("pidof node", "pid_file"),
        ("kill -0 7", "pid_file"),
        ("/usr/bin/ps -p 7", "pid_file"),
        ("systemctl is-active bot", "systemd: {unit"),
        ("/bin/systemctl --user is-active bot", "a script"),
        ("pm2 pid bot", "pm2: {name"),
        ("docker inspect bot", "docker: {container"),
        ("podman container exists bot", "docker: {container"),
    ];
    for (gone, instead) in refused {
        let (key, why) = new(gone).unwrap_err();
        assert_eq!(key, "gone");
        assert!(why.contains(instead), "{gone}: {why}");
    }
    // A test of a file, a script of the operator, and a program of a similar name.
    for gone in [
        "test ! -e /run/bot",
        "/usr/local/bin/bot is-gone",
        "pgrep2 x",
    ] {
        assert_eq!(new(gone), Ok(()), "{gone}");
    }
    // To stop and to start they are the right ones.
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (stop, start) = (words("systemctl --user stop bot"), words("pm2 start bot"));
    let gone = words("my is-gone");
    assert!(Commands::new(&gone, Some(&stop), Some(&start), &placeholders).is_ok());
}
