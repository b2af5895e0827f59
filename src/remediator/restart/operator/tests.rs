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

/// `service bot1 --stop` or `--start`.
async fn by_hand(clock: &Clock, settings: &Settings, stop: bool) -> (Result<(), String>, Presence) {
    let known = settings.discovery().survey().found;
    let bot = SessionName::from_text("bot1");
    let service = settings.services.of(&bot).unwrap();
    call_for_operator(clock, settings, &service, &bot, &known, stop).await
}

fn restart(service: &str, session: &str, phase: Phase) -> Restart {
    let times = Times {
        stop: SECOND,
        gone: SECOND,
        start: SECOND,
        shows: SECOND,
        connect: SECOND,
        sockets: SECOND,
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
    assert!(!quarantine.exists(), "no remediator was here before");
    let (started, _) = by_hand(&Clock::system(), &settings, false).await;
    started.unwrap();
    assert!(!record.exists(), "it has ended");
    let text = std::fs::read_to_string(dir.path().join("runs")).unwrap();
    let called: Call = serde_json::from_str(&text).unwrap();
    assert_eq!(called.kind, CallKind::Start);
    // As it is left by a command that was killed.
    std::fs::remove_file(dir.path().join("runs")).unwrap();
    std::fs::write(&record, text).unwrap();
    assert!(other_call_may_be_under_way(&Clock::system(), known.clone(), None).await);
    let (started, presence) = by_hand(&Clock::system(), &settings, false).await;
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
    let (started, presence) = by_hand(&Clock::system(), &settings, false).await;
    assert_eq!((started, presence), (Ok(()), Presence::Running));
    // One that never shows is an error that says so.
    for file in ["runs", "started"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    let settings = edit("'true'");
    let (started, presence) = by_hand(&Clock::fast(20), &settings, false).await;
    let why = started.unwrap_err();
    assert!(why.contains("30s later the service does not run"), "{why}");
    assert_eq!(presence, Presence::Gone);
}

/// `serve` would start what an operator stops, and puts back a damaged creds.json before it starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_a_pending_restart_is_not_stopped_or_started_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let runs = dir.path().join("runs");
    let store = Store::open(&settings.state_path).unwrap();
    let now = Timestamp::now();
    let is_done = async |stop: bool| {
        match stop {
            true => std::fs::write(&runs, "").unwrap(),
            false => _ = std::fs::remove_file(&runs),
        }
        let (done, presence) = by_hand(&Clock::system(), &settings, stop).await;
        let has_changed = runs.exists() != stop;
        assert_eq!(done.is_ok(), has_changed, "{done:?}");
        assert_eq!(presence == Presence::Running, runs.exists());
        if let Err(why) = &done {
            assert!(why.contains("the service bots"), "{why}");
        }
        has_changed
    };
    for phase in pending() {
        let state = restart("bots", "bot1", phase);
        store.restarts().save(&state).unwrap();
        for paused in [false, true] {
            match paused {
                true => store.pause().set("ann", "undo", now).unwrap(),
                false => _ = store.pause().resume("ann", now).unwrap(),
            }
            let is_left = matches!(phase, Phase::Down | Phase::HandedOver(HandedTo::Pause));
            assert_eq!(is_done(true).await, is_left && paused, "stop: {phase:?}");
            let by_person = is_left || matches!(phase, Phase::HandedOver(_));
            assert_eq!(is_done(false).await, by_person, "start: {phase:?}");
        }
    }
    // One that is over, or of another service.
    let bots = store.restarts().of("bots").unwrap().unwrap();
    store.restarts().forget(&bots, RestartEnd::Stopped).unwrap();
    let other = restart("other", "bot9", Phase::Gone);
    store.restarts().save(&other).unwrap();
    assert!(is_done(true).await && is_done(false).await);
    // The journal is damaged.
    drop(store);
    std::fs::write(settings.state_path.join(FILE), "no journal").unwrap();
    assert!(is_done(true).await && is_done(false).await);
}

/// A run moves files in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_folder_of_the_process_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let config = dir.path().join("config.yml");
    let yaml = std::fs::read_to_string(&config).unwrap();
    // The same process under another name, and a session that is left out.
    let (_, entry) = yaml.split_once("  - sessions: ['bot*']\n").unwrap();
    let other = entry.replace("name: bots", "name: other");
    let other = format!("  - sessions: [other]\n{other}");
    let exclude = "sessions: {exclude: [bot2]}\n";
    std::fs::write(&config, format!("{yaml}{other}{exclude}")).unwrap();
    let sessions = dir.path().join("sessions");
    let creds = std::fs::read_to_string(sessions.join("bot1/creds.json")).unwrap();
    for (name, id) in [("bot2", "2@"), ("other", "3@"), ("alone", "4@")] {
        std::fs::create_dir_all(sessions.join(name)).unwrap();
        let creds = creds.replace("1@", id);
        std::fs::write(sessions.join(name).join("creds.json"), creds).unwrap();
    }
    let settings = load(dir.path());
    let runs = dir.path().join("runs");
    std::fs::write(&runs, "").unwrap();
    let found = settings.unfiltered_discovery().unwrap().survey().found;
    for name in ["bot1", "bot2", "other", "alone"] {
        let its = found.iter().find(|found| found.session.as_str() == name);
        let held = LockedFolder::lock(&its.unwrap().place).unwrap();
        let (stopped, _) = by_hand(&Clock::system(), &settings, true).await;
        match name {
            "alone" => stopped.unwrap(),
            _ => {
                let why = stopped.unwrap_err();
                assert!(why.starts_with(&format!("{name}: another run")), "{why}");
            }
        }
        assert_eq!(runs.exists(), name != "alone", "{name}");
        drop(held);
    }
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
        coordinator.resume_pending_restarts(&known, true).await;
        let mut drivers = std::mem::take(&mut *coordinator.drivers());
        let ended = drivers.join_next().await.expect("it looks");
        assert!(ended.is_ok(), "look {look}: {ended:?}");
    }
}
