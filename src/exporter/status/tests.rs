#![allow(clippy::unwrap_used)]
use std::fs;
use std::time::SystemTime;

use clock::Clock;

use super::*;
use crate::app::App;
use crate::config::{CommonFlags, RemediatorFlags, Settings};
use crate::connection::Recent;
use crate::exporter::snapshot::Collector;

/// Files that are rewritten in place do not show in a snapshot at once.
#[tokio::test]
async fn a_bot_that_writes_is_not_shown_as_disconnected_by_an_old_snapshot() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sessions/bot");
    fs::create_dir_all(&folder).unwrap();
    let old = SystemTime::now() - Duration::from_secs(7200);
    for name in ["creds.json", "session-1.0.json"] {
        let path = folder.join(name);
        fs::write(&path, r#"{"noiseKey":{},"nextPreKeyId":31}"#).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    let config = root.path().join("config.yml");
    let sessions = root.path().join("sessions");
    let text = format!(
        "sessions: {{paths: [{sessions:?}]}}\nconnection: {{command: 'echo disconnected', trust: ['*']}}\n"
    );
    fs::write(&config, text).unwrap();
    let common = CommonFlags {
        config_file: Some(config),
        ..CommonFlags::default()
    };
    let settings = Settings::load(&common, &RemediatorFlags::default()).unwrap();
    let app = App::new(settings, Arc::new(Recent::default()), Clock::system());
    let snapshot = Collector::new(app.settings, Clock::system()).collect();
    let state = async || verdicts(&snapshot, &app.connection).await[0].state;
    assert_eq!(state().await, State::Disconnected);
    fs::write(folder.join("session-1.0.json"), "{}").unwrap();
    assert_eq!(state().await, State::Unknown, "it has just written");
}
