use super::*;
use crate::{Placeholders, Pm2, QUERY_TIMEOUT};

/// What the ecosystem key `pid_file` names, and what it does not.
#[tokio::test]
async fn the_directory_of_the_pid_file_tells_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    for (name, secs) in [("pids", 1000), ("run", 2000), ("other", 3000)] {
        let place = dir.path().join(name);
        fs::create_dir(&place).unwrap();
        fs::File::open(place)
            .unwrap()
            .set_modified(at(secs))
            .unwrap();
    }
    let named = Placeholders::new("session", "session_pattern", None);
    let pm2 = Pm2::new("bot", dir.path(), &named).unwrap();
    let pm2 = pm2.fill("bot").unwrap();
    let last = async |files: &[&str]| {
        let of = |file: &&str| {
            let file = file.replace("DIR", &dir.path().display().to_string());
            let entry = format!(
                r#"{{"name":"bot","pm_id":1,"pm2_env":{{"status":"stopped","pm_pid_path":{file}}}}}"#
            );
            serde_json::from_str(&entry).unwrap()
        };
        let entries: Vec<Pm2Process> = files.iter().map(of).collect();
        let entries: Vec<&Pm2Process> = entries.iter().collect();
        pm2.last_change(&entries, QUERY_TIMEOUT).await
    };
    assert_eq!(last(&[r#""DIR/run/bot-0.pid""#]).await, Some(at(2000)));
    assert_eq!(
        last(&[r#""DIR/run/bot-0.pid""#, r#""DIR/other/bot-1.pid""#]).await,
        Some(at(3000))
    );
    assert_eq!(last(&["null"]).await, Some(at(1000)));
    assert_eq!(last(&[r#""bot.pid""#]).await, Some(at(1000)));
    assert_eq!(last(&[r#""DIR/none/bot.pid""#]).await, None);
}
