use clock::Clock;
use std::path::Path;

use super::*;
use crate::config::flags_in;
use crate::folder::Timestamp;
use crate::remediator::restart::state::{Forbids, RestartEnd, Times, Trigger};

const SECOND: Duration = Duration::from_secs(1);

/// The service `bots` of the sessions `bot*`, which runs while DIR/runs is there.
fn settings(dir: &Path) -> Settings {
    let config = dir.join("config.yml");
    let path = dir.display();
    let yaml = format!(
        "processes:\n  - sessions: ['bot*']\n    name: bots\n    allow_restart: true\n    command: {{stop: [rm, -f, {path}/runs], start: [cp, {path}/config.yml, {path}/runs], gone: [test, '!', -e, {path}/runs]}}\n    stop_timeout: 1s\n    start_timeout: 20s\n"
    );
    std::fs::write(&config, yaml).unwrap();
    let sessions = dir.join("sessions");
    std::fs::create_dir_all(sessions.join("bot1")).unwrap();
    let creds = r#"{"noiseKey":{},"nextPreKeyId":31,"account":{},"me":{"id":"1@s.whatsapp.net"}}"#;
    std::fs::write(sessions.join("bot1/creds.json"), creds).unwrap();
    load(dir)
}

fn load(dir: &Path) -> Settings {
    let (common, remediator) = flags_in(dir);
    Settings::load(&common, &remediator).unwrap()
}

fn restart(service: &str, session: &str, phase: Phase) -> Restart {
    let times = Times {
        stop: SECOND,
        gone: SECOND,
        start: SECOND,
        shows: SECOND,
        connect: SECOND,
        clean: SECOND,
        retry: SECOND,
    };
    let decided = Timestamp::now().nanos();
    Restart {
        phase,
        ..Restart::new(service, session, 1, Trigger::Emergency, decided, times)
    }
}

fn pending() -> impl Iterator<Item = Phase> {
    Phase::ALL.into_iter().filter(|phase| phase.is_pending())
}

#[test]
fn commands_keep_away_from_a_pending_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let store = Store::open(&settings.state_path).unwrap();
    let name = |name: &str| SessionName::from_dir(name.as_ref());
    let why = |session: &str| pending_restart_of(&settings, &store, &name(session)).unwrap();
    assert_eq!(why("bot1"), None);
    let unnamed = restart("unnamed", "gone", Phase::Gone);
    store.restarts().save(&unnamed).unwrap();
    for phase in pending() {
        let state = restart("bots", "bot1", phase);
        store.restarts().save(&state).unwrap();
        for session in ["bot1", "bot2"] {
            let why = why(session).unwrap();
            assert!(why.contains("the service bots"), "{phase:?}: {why}");
        }
        assert_eq!(why("other"), None, "another service");
        let now = Timestamp::now();
        store.pause().set("ann", "undo", now).unwrap();
        let waits = matches!(phase, Phase::Down | Phase::HandedOver(HandedTo::Pause));
        assert_eq!(why("bot2").is_none(), waits, "{phase:?}");
        store.pause().resume("ann", now).unwrap();
    }
    assert!(
        why("gone").is_some(),
        "the configuration no longer names it"
    );
    let bots = store.restarts().of("bots").unwrap().unwrap();
    store.restarts().forget(&bots, RestartEnd::Stopped).unwrap();
    assert_eq!(why("bot1"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_serve_starts_what_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let runs = dir.path().join("runs");
    start_pending_without_serving(&settings, Clock::system()).await;
    let file = settings.state_path.join(FILE);
    assert!(!file.exists(), "nothing is made");
    let owe = |phase: Phase| {
        let _ = std::fs::remove_file(&runs);
        let store = Store::open(&settings.state_path).unwrap();
        store
            .restarts()
            .save(&restart("bots", "bot1", phase))
            .unwrap();
    };
    let phase = || {
        let store = Store::open(&settings.state_path).unwrap();
        store.restarts().pending().unwrap()[0].phase
    };
    for before in pending() {
        owe(before);
        start_pending_without_serving(&settings, Clock::system()).await;
        assert!(runs.exists(), "{before:?}");
        assert_eq!(phase(), Phase::WaitingForConnection, "{before:?}");
    }
    // Another `serve` is at it.
    owe(Phase::Gone);
    let held = lock_state(&settings.state_path).unwrap();
    start_pending_without_serving(&settings, Clock::system()).await;
    assert!(!runs.exists());
    drop(held);
    // A person has paused after the first start had failed.
    owe(Phase::Down);
    Store::open(&settings.state_path)
        .unwrap()
        .pause()
        .set("ann", "undo", Timestamp::now())
        .unwrap();
    start_pending_without_serving(&settings, Clock::system()).await;
    assert!(!runs.exists());
    assert_eq!(phase(), Phase::HandedOver(HandedTo::Pause));
}

/// A command that was killed leaves its call, and no remediator starts the bot beside that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_call_of_an_operator_is_on_record_while_it_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let config = dir.path().join("config.yml");
    let yaml = std::fs::read_to_string(&config).unwrap();
    let quarantine = dir.path().join("sessions/bot1/.baileys_quarantine");
    let record = quarantine.join("operator.json");
    let copied = format!("start: [cp, {}", record.display());
    let yaml = yaml.replace(&format!("start: [cp, {}", config.display()), &copied);
    std::fs::write(&config, yaml).unwrap();
    let settings = load(dir.path());
    let known = settings.discovery().survey().found;
    let service = settings.services.of(&known[0].session).unwrap();
    assert!(!quarantine.exists(), "no remediator was here before");
    let (started, _) = call_for_operator(&Clock::system(), &service, &known, false).await;
    started.unwrap();
    assert!(!record.exists(), "it has ended");
    let text = std::fs::read_to_string(dir.path().join("runs")).unwrap();
    let called: Call = serde_json::from_str(&text).unwrap();
    assert_eq!(called.kind, CallKind::Start);
    // As it is left by a command that was killed.
    std::fs::remove_file(dir.path().join("runs")).unwrap();
    std::fs::write(&record, text).unwrap();
    assert!(other_call_may_be_under_way(&Clock::system(), known.clone(), None).await);
    let (started, presence) = call_for_operator(&Clock::system(), &service, &known, false).await;
    assert!(started.unwrap_err().contains("may still be under way"));
    assert_eq!(presence, Presence::Gone);
}

/// Its record stays until then: typed again after a kill, it would start a second process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_is_waited_for_until_the_process_shows() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let config = dir.path().join("config.yml");
    let path = dir.path().display();
    let edit = |start: &str| {
        let yaml = std::fs::read_to_string(&config).unwrap();
        let (before, rest) = yaml.split_once("start: [").unwrap();
        let (_, after) = rest.split_once(']').unwrap();
        std::fs::write(&config, format!("{before}start: [{start}]{after}")).unwrap();
        load(dir.path())
    };
    // It returns at once; the process shows at the second query.
    std::fs::write(
        dir.path().join("gone.sh"),
        format!(
            "cd {path}; [ -e started ] || exit 0; [ -e asked ] && [ -e sessions/bot1/.baileys_quarantine/operator.json ] && touch runs; touch asked; test ! -e runs"
        ),
    )
    .unwrap();
    let yaml = std::fs::read_to_string(&config).unwrap();
    let yaml = yaml.replace("start_timeout: 20s", "start_timeout: 30s");
    let yaml = yaml.replace(
        &format!("gone: [test, '!', -e, {path}/runs]"),
        &format!("gone: [sh, {path}/gone.sh]"),
    );
    std::fs::write(&config, yaml).unwrap();
    let settings = edit(&format!("touch, {path}/started"));
    let known = settings.discovery().survey().found;
    let service = settings.services.of(&known[0].session).unwrap();
    let (started, presence) = call_for_operator(&Clock::system(), &service, &known, false).await;
    assert_eq!((started, presence), (Ok(()), Presence::Running));
    // One that never shows is an error that says so.
    for file in ["runs", "started"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    let settings = edit("'true'");
    let service = settings.services.of(&known[0].session).unwrap();
    let (started, presence) = call_for_operator(&Clock::fast(20), &service, &known, false).await;
    let why = started.unwrap_err();
    assert!(why.contains("30s later the service does not run"), "{why}");
    assert_eq!(presence, Presence::Gone);
}

/// Between two looks nothing is awaited, and no ended task is polled again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_service_that_is_not_configured_ends_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let known = settings.discovery().survey().found;
    let store = Store::open(&settings.state_path).unwrap();
    let removed = Phase::HandedOver(HandedTo::Config(Forbids::Removed));
    let state = restart("unnamed", "bot1", removed);
    store.restarts().save(&state).unwrap();
    let ctx = Context::new(settings, store, Clock::system());
    let coordinator = RestartCoordinator::new(ctx);
    for look in 0..2 {
        coordinator.resume_pending_restarts(&known).await;
        let mut drivers = std::mem::take(&mut *coordinator.drivers());
        let ended = drivers.join_next().await.expect("it looks");
        assert!(ended.is_ok(), "look {look}: {ended:?}");
    }
}
