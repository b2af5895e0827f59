use std::path::Path;

use super::*;
use crate::config::{Settings, flags_in};
use crate::folder::identity::insurable;
use crate::remediator::console::context;
use crate::remediator::quarantine::LockedFolder;
use crate::remediator::store::runs::Run;

fn creds(identity: &str) -> String {
    format!(
        r#"{{"noiseKey":{{}},"signedIdentityKey":{{"public":{{"type":"Buffer","data":"{identity}"}}}},"registrationId":7,"me":{{"id":"1@s.whatsapp.net"}},"account":{{}},"nextPreKeyId":31}}"#
    )
}

/// A bot that is down. While DIR/hold is there, no answer to whether it is gone ends.
fn settings(dir: &Path) -> Settings {
    let path = dir.display();
    std::fs::create_dir_all(dir.join("sessions/bot")).unwrap();
    let gone = format!(
        "n=0; while [ -e {path}/hold ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.05; done; true"
    );
    std::fs::write(dir.join("gone.sh"), gone).unwrap();
    let yaml = format!(
        "connection: {{command: [echo, disconnected], quiet: 1ms, trust: ['*']}}\nprocesses:\n  - name: bots\n    allow_restart: true\n    command: {{stop: ['true'], start: ['true'], gone: [sh, {path}/gone.sh]}}\n"
    );
    std::fs::write(dir.join("config.yml"), yaml).unwrap();
    let (common, remediator) = flags_in(dir);
    Settings::load(&common, &remediator).unwrap()
}

/// The identity that was whole before the stop is put back, not the one with the newest number.
/// Recovery never sees the run without its claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_damages_creds_loses_neither_the_identity_nor_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(settings(dir.path())).unwrap();
    let file = dir.path().join("sessions/bot/creds.json");
    let (own, other) = (creds("Q0M="), creds("QUE="));
    std::fs::write(&file, &own).unwrap();
    let found = ctx.settings.discovery().survey().found;
    let copies = CopyStore::new(&ctx.settings.state_path);
    for bytes in [&own, &other] {
        let (bytes, now) = (bytes.as_bytes(), ctx.now());
        let facts = insurable(bytes).unwrap();
        copies
            .add("bot", bytes, &facts, now, now, &Keep::default())
            .unwrap();
    }
    let locked = LockedFolder::lock(&found[0].place).unwrap();
    let folders = Folders([("bot".to_owned(), locked)].into());
    let whole = before_a_stop(&ctx, &found, &folders).await.unwrap();
    assert!(whole.contains("bot"));

    std::fs::write(&file, &own[..40]).unwrap();
    let hold = dir.path().join("hold");
    std::fs::write(&hold, "").unwrap();
    let check = CredsCheck {
        folders: true,
        whole,
        missing: true,
        claimed: ClaimedRuns::default(),
    };
    let stopped = StoppedService {
        service: ctx.settings.services.of(&found[0].session).unwrap(),
        since: ctx.now(),
        halt: Halt::default(),
        folders,
    };
    let starting = {
        let (ctx, check) = (ctx.clone(), check.clone());
        tokio::spawn(async move { before_a_start(&ctx, &stopped, found, &check).await })
    };
    let mut under_way: Vec<Run> = Vec::new();
    for _ in 0..600 {
        under_way = ctx
            .with_store(|store| store.runs().orphans())
            .await
            .unwrap();
        if !under_way.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let is_claimed = under_way
        .first()
        .map(|run| check.claimed.lock().contains(&run.id));
    std::fs::remove_file(&hold).unwrap();
    starting.await.unwrap();
    assert_eq!(is_claimed, Some(true));
    assert!(check.claimed.lock().is_empty());
    let ended = ctx
        .with_store(|store| store.runs().orphans())
        .await
        .unwrap();
    assert!(ended.is_empty(), "{ended:?}");
    let back = insurable(&std::fs::read(&file).unwrap()).map(|facts| facts.identity);
    let own = insurable(own.as_bytes()).unwrap().identity;
    assert_eq!(back, Some(own));
}

/// A folder that cannot be looked at may be there.
#[tokio::test]
async fn only_what_does_not_exist_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::fs::create_dir(dir.join("bot")).unwrap();
    std::fs::write(dir.join("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("link")).unwrap();
    for (path, missing) in [
        ("none", true),
        ("none/bot", true),
        ("bot", false),
        ("file", false),
        ("file/bot", false),
        ("link", false),
        ("link/bot", false),
    ] {
        let path = dir.join(path);
        let found = Found {
            session: crate::folder::SessionName::from_text("bot"),
            place: crate::folder::scan::FolderPath {
                parent: path.parent().unwrap().to_owned(),
                name: path.file_name().unwrap().to_owned(),
            },
        };
        assert_eq!(is_missing(&found).await, missing, "{}", path.display());
    }
}
