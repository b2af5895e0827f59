use clock::ManualClock;

use super::*;
use crate::config::{CommonFlags, RemediatorFlags, Settings};
use crate::folder::SessionsPath;

/// A slow `gone` has the whole time limit that is documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_takes_as_long_as_its_supervisor_may() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let yaml = format!("processes:\n  - name: bot\n    command: {{gone: [sh, {path}/gone.sh]}}\n");
    let script = format!("until [ -e {path}/answer ]; do sleep 0.02; done");
    std::fs::write(dir.path().join("gone.sh"), script).unwrap();
    std::fs::write(dir.path().join("config.yml"), yaml).unwrap();
    std::fs::create_dir_all(dir.path().join("sessions/bot")).unwrap();
    std::fs::write(dir.path().join("sessions/bot/creds.json"), "{}").unwrap();
    let common = CommonFlags {
        config_file: Some(dir.path().join("config.yml")),
        sessions_path: vec![SessionsPath::parse(dir.path().join("sessions").as_os_str()).unwrap()],
        ..CommonFlags::default()
    };
    let settings = Settings::load(&common, &RemediatorFlags::default()).unwrap();
    let name = crate::folder::SessionName::from_text("bot");
    let service = settings.services.observed(&name).unwrap();
    let time = ManualClock::new(std::time::SystemTime::UNIX_EPOCH);
    let clock = time.clock();
    let look = tokio::spawn(async move { observe(&clock, &service).await });
    time.wait_for_sleepers(1).await;
    time.advance(supervisor::QUERY_TIMEOUT);
    tokio::task::yield_now().await;
    std::fs::write(dir.path().join("answer"), "").unwrap();
    let seen = look.await.unwrap();
    assert!(matches!(seen, Observation::Gone { .. }), "{seen:?}");
}
