use serde_json::json;

use super::*;
use crate::{Placeholders, Pm2, QUERY_TIMEOUT};

fn entry(json: &str) -> Pm2Process {
    serde_json::from_str(json).unwrap()
}

/// A release directory that was removed under a running process.
#[tokio::test]
async fn a_process_whose_script_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let release = dir.path().join("releases/7");
    let home = dir.path().join(".pm2");
    fs::create_dir_all(&release).unwrap();
    fs::create_dir(&home).unwrap();
    // This process takes the daemon's part.
    fs::write(home.join("pm2.pid"), std::process::id().to_string()).unwrap();
    let script = release.join("bot.js");
    fs::write(&script, "").unwrap();
    let named = Placeholders::new("session", "session_pattern", None);
    let pm2 = Pm2::new("bot", &home, &named).unwrap().fill("bot").unwrap();
    let of = async |exec: &str, cwd: &str| {
        let entry = entry(&format!(
            r#"{{"name":"bot","pm_id":1,"pid":7,"pm2_env":{{"status":"online","pm_exec_path":{exec},"pm_cwd":{cwd}}}}}"#
        ));
        pm2.missing(&[&entry], QUERY_TIMEOUT).await
    };
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let (exec, cwd) = (quoted(&script), quoted(&release));
    assert_eq!(of(&exec, &cwd).await, Ok(None));
    // Nothing is known of these.
    assert_eq!(of("null", "null").await, Ok(None));
    assert_eq!(of(r#""bot.js""#, "7").await, Ok(None));
    fs::remove_file(&script).unwrap();
    assert_eq!(of(&exec, &cwd).await, Ok(Some(RestartObstacle::NoScript)));
    fs::remove_dir(&release).unwrap();
    assert_eq!(
        of(&exec, &cwd).await,
        Ok(Some(RestartObstacle::NoDirectory))
    );
    fs::remove_file(home.join("pm2.pid")).unwrap();
    assert_eq!(
        of(&exec, &cwd).await,
        Ok(None),
        "no daemon, nothing is known"
    );
}

/// After an upgrade of Node.js the former program is gone, and pm2 says `online` all the same.
#[tokio::test]
async fn a_process_whose_interpreter_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bin) = (dir.path().join(".pm2"), dir.path().join("v20/bin"));
    for made in [&home, &bin] {
        fs::create_dir_all(made).unwrap();
    }
    // This process takes the daemon's part.
    fs::write(home.join("pm2.pid"), std::process::id().to_string()).unwrap();
    let node = bin.join("node");
    fs::write(&node, "").unwrap();
    let named = Placeholders::new("session", "session_pattern", None);
    let pm2 = Pm2::new("bot", &home, &named).unwrap().fill("bot").unwrap();
    let of = async |mode: &str, interpreter: Option<&str>, path: Option<&str>| {
        let env = json!({"status": "online", "exec_mode": mode, "exec_interpreter": interpreter, "PATH": path});
        let entry = json!({"name": "bot", "pm_id": 1, "pid": 7, "pm2_env": env});
        let found = pm2
            .missing(&[&entry_of(entry)], QUERY_TIMEOUT)
            .await
            .unwrap();
        assert!(matches!(found, None | Some(RestartObstacle::NoInterpreter)));
        found.is_some()
    };
    let absolute = node.display().to_string();
    let path = format!("/no/such/dir:{}", bin.display());
    let relative = format!("{path}:");
    // A bare name, and the whole path, before and after the upgrade.
    for (interpreter, path, is_gone_later) in [
        (Some(absolute.as_str()), None, true),
        (Some("node"), Some(path.as_str()), true),
        // It may be in the directory of the process.
        (Some("node"), Some(relative.as_str()), false),
        (Some("./node"), Some(path.as_str()), false),
        (Some("none"), Some(path.as_str()), false),
        // The daemon's own program.
        (None, Some(path.as_str()), false),
        (Some("sh"), None, false),
    ] {
        assert!(!of("fork_mode", interpreter, path).await, "{interpreter:?}");
        fs::remove_file(&node).unwrap();
        let is_gone = of("fork_mode", interpreter, path).await;
        assert_eq!(is_gone, is_gone_later, "{interpreter:?} {path:?}");
        // In cluster mode pm2 runs itself, and of another mode nothing is known.
        for mode in ["cluster_mode", "other"] {
            assert!(!of(mode, interpreter, path).await, "{mode} {interpreter:?}");
        }
        fs::write(&node, "").unwrap();
    }
    assert!(of("fork_mode", Some("no-such-interpreter"), None).await);
}

fn entry_of(entry: serde_json::Value) -> Pm2Process {
    serde_json::from_value(entry).unwrap()
}

/// In cluster mode pm2 forks the program that its daemon runs.
#[tokio::test]
async fn a_daemon_whose_own_program_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("node");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut daemon = std::process::Command::new(&program)
        .arg("60")
        .spawn()
        .unwrap();
    let is_missing = || Place::OfDaemon.is_missing(daemon.id());
    assert!(!is_missing());
    fs::remove_file(&program).unwrap();
    assert!(is_missing());
    // Another version in its place.
    fs::write(&program, "").unwrap();
    assert!(!is_missing());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
