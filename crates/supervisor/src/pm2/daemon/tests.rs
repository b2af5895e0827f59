use super::*;
use crate::pm2::Pm2;
use crate::{Absence, Observation, Observed, Placeholders, Query, Supervisor};
use std::os::unix::net::UnixListener;

/// pm2 is called as the owner of its home, or not at all.
#[test]
fn pm2_is_called_as_the_owner_of_its_home() {
    let dir = tempfile::tempdir().unwrap();
    let own = geteuid().as_raw();
    let proc = ProcDir::default();
    assert_eq!(daemon_user(&proc, dir.path(), own).unwrap_err(), NO_DAEMON);
    // As far as files tell a daemon runs there.
    fs::write(dir.path().join("pm2.pid"), std::process::id().to_string()).unwrap();
    fs::write(dir.path().join("rpc.sock"), "").unwrap();
    assert_eq!(daemon_user(&proc, dir.path(), own), Ok(None));
    let (home, owner) = if own == 0 {
        std::os::unix::fs::chown(dir.path(), Some(4711), Some(4712)).unwrap();
        (dir.path(), 4711)
    } else {
        (Path::new("/"), 0)
    };
    // Another user than root may not become the owner.
    let why = daemon_user(&proc, home, 4710).unwrap_err();
    assert!(
        why.contains(&format!(
            "belongs to uid {owner}, and this program runs as uid 4710"
        )),
        "{why}"
    );
    if own == 0 {
        // The daemon must be the owner's as well.
        assert_eq!(daemon_user(&proc, home, 0).unwrap_err(), NO_DAEMON);
        let mut daemon = std::process::Command::new("sleep");
        let mut daemon = std::os::unix::process::CommandExt::uid(daemon.arg("60"), 4711)
            .spawn()
            .unwrap();
        fs::write(home.join("pm2.pid"), daemon.id().to_string()).unwrap();
        assert_eq!(daemon_user(&proc, home, 0), Ok(Some((4711, 4712))));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert_eq!(daemon_user(&proc, home, 0).unwrap_err(), NO_DAEMON);
    }
}

/// What is said of a process of the pm2 of this home.
async fn look(home: &Path) -> Observed {
    let placeholders = Placeholders::new("session", "session_pattern", None);
    let pm2 = Pm2::new("bot", home, &placeholders).unwrap();
    let query = Query {
        timeout: Duration::from_secs(3),
        ..Query::default()
    };
    let observed = pm2.fill("bot").unwrap().observe(&query).await;
    assert!(matches!(observed.observation, Observation::Unknown(_)));
    observed
}

/// After a reboot without `pm2 resurrect`, pm2 runs no bot.
#[tokio::test]
async fn a_daemon_that_does_not_run_runs_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let absence = async || look(home).await.absence;
    assert_eq!(absence().await, Some(Absence::RunsNone), "`pm2 kill`");
    fs::write(home.join("pm2.pid"), u32::MAX.to_string()).unwrap();
    assert_eq!(absence().await, Some(Absence::RunsNone));
    drop(UnixListener::bind(home.join("rpc.sock")).unwrap());
    assert_eq!(absence().await, Some(Absence::RunsNone), "the old socket");
    // The number is that of another process of this user.
    fs::write(home.join("pm2.pid"), std::process::id().to_string()).unwrap();
    assert_eq!(absence().await, Some(Absence::RunsNone));
}

/// As after an update of node that took the program `pm2` along, or of another pm2.
#[tokio::test]
async fn a_daemon_that_could_not_be_asked_may_run_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let own = std::process::id().to_string();
    fs::write(home.join("pm2.pid"), &own).unwrap();
    // The daemon runs, and its socket was removed.
    assert_eq!(look(home).await.absence, None);
    // It listens, and `pm2 jlist` gives no list.
    let _daemon = UnixListener::bind(home.join("rpc.sock")).unwrap();
    assert_eq!(look(home).await.absence, None);
    // As from a container with a PID namespace of its own.
    fs::write(home.join("pm2.pid"), u32::MAX.to_string()).unwrap();
    assert_eq!(look(home).await.absence, None);
    assert_eq!(look(&home.join("none")).await.absence, None);
}
