//! What is owed to services, for everybody but the part of `serve` that stops them: an
//! operator's command keeps away meanwhile, and a `serve` that cannot serve starts them
//! before it ends.

use std::time::Duration;

use crate::config::Settings;
use crate::control::{Presence, SHOWS_WITHIN, Service};
use crate::folder::SessionName;

use super::emergency::{
    NoStart, may_take_to_start, outlast_earlier_call, presence, start, wait_until_gone,
    was_started_before,
};
use super::runner::blocking;
use super::service::lock_state;
use super::store::restarts::{PendingRestart, Phase};
use super::store::{FILE, SharedStore, Store, StoreError};

/// All that is owed is started within this time, or left to the next try; more where a
/// service may take longer.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Why an operator's command keeps away from this session: its service is on its way down
/// or up, and would be started in the middle. `None` where nothing is owed, and where a
/// pause keeps `serve` from starting it again.
pub fn in_the_way(
    settings: &Settings,
    journal: &Store,
    session: &SessionName,
) -> Result<Option<String>, StoreError> {
    let service = settings.services.of(session).map(|service| service.name);
    let is_ours = |owed: &PendingRestart| match &service {
        Some(name) => owed.service == *name,
        None => owed.session == session.as_str(),
    };
    let Some(owed) = journal.restarts().pending()?.into_iter().find(is_ours) else {
        return Ok(None);
    };
    let name = &owed.service;
    Ok(match (owed.phase, journal.pause().state()?.paused) {
        (Phase::Failed, Some(_)) => None,
        (Phase::Failed, None) => Some(format!(
            "the service {name} was stopped for a clean-up and does not start; `serve` tries again every minute, also while this command is at work. Pause that first: baileys_remediator pause --reason \"…\"; go on with resume"
        )),
        (phase, _) => Some(format!(
            "the remediator has stopped the service {name} for a clean-up, and is to start it again (phase {}), which would happen while this command is at work. Wait until `baileys_remediator status` shows no phase for it, or `failed`; `serve` has to run for that",
            phase.label()
        )),
    })
}

/// For a `serve` that cannot start (a token file that others can read, an address in use):
/// starts what is owed all the same, for nobody else would. Leaves it on record as owed,
/// for nobody has seen it connected.
pub async fn settle_without_serving(settings: &Settings) {
    if !settings.state_path.join(FILE).exists() {
        return;
    }
    // Where another `serve` has the state directory, that one settles it.
    let Ok(_lock) = lock_state(&settings.state_path) else {
        return;
    };
    let state_path = settings.state_path.clone();
    let opened = blocking(move || Store::open_existing(&state_path));
    let store = match opened.await {
        Ok(store) => SharedStore::new(store),
        Err(error) => return tracing::error!("what is owed cannot be read: {error}"),
    };
    let owed = match store.call(|store| store.restarts().pending()).await {
        Ok(owed) => owed,
        Err(error) => return tracing::error!("what is owed cannot be read: {error}"),
    };
    let (mut tasks, mut longest) = (tokio::task::JoinSet::new(), SETTLE_TIMEOUT);
    for owed in owed {
        let session = SessionName::from_dir(owed.session.as_ref());
        let service = settings
            .services
            .of(&session)
            .filter(|service| service.name == owed.service);
        let Some(service) = service else {
            tracing::error!(
                service = owed.service,
                session = owed.session,
                "this program has stopped the service and is to start it again, but `processes` in the configuration no longer names it, or no longer allows a restart: start it by hand"
            );
            continue;
        };
        longest = longest.max(may_take(&service));
        tasks.spawn(async move { (needs_start(&service, owed.phase).await, service) });
    }
    let mut starts = tokio::task::JoinSet::new();
    let all = async {
        while let Some(looked) = tasks.join_next().await {
            let Ok((Some(started), service)) = looked else {
                continue;
            };
            let name = service.name.clone();
            let may_start = store.call(move |store| store.restarts().may_start(&name));
            match may_start.await {
                Ok(true) => {}
                Ok(false) => continue,
                // Better started without a record than left stopped.
                Err(error) => tracing::error!(service = service.name, "{error}"),
            }
            tracing::warn!(
                service = service.name,
                "nothing can be served, but this service is owed its start"
            );
            starts.spawn(async move { (start(&service, started).await, service.name) });
        }
        while let Some(started) = starts.join_next().await {
            let Ok((started, name)) = started else {
                continue;
            };
            let phase = match started {
                Ok(()) => {
                    tracing::warn!(service = name, "the service runs again");
                    Phase::Started
                }
                Err(why) => {
                    tracing::error!(service = name, "{why}");
                    match why {
                        NoStart::Unseen(_) => Phase::Started,
                        NoStart::Failed(_) => Phase::Failed,
                    }
                }
            };
            let service = name.clone();
            let noted = store.call(move |store| store.restarts().set_phase(&service, phase));
            if let Err(error) = noted.await {
                tracing::error!(service = name, "{error}");
            }
        }
    };
    if tokio::time::timeout(longest, all).await.is_err() {
        tracing::error!("starting what is owed takes too long");
    }
}

/// Whether it is to be started, and if so whether it may have been before. A stop that was
/// asked for may still be on its way.
async fn needs_start(service: &Service, phase: Phase) -> Option<bool> {
    if phase == Phase::Stopping {
        wait_until_gone(service, service.stop_timeout).await;
    }
    let earlier = outlast_earlier_call(service, phase).await;
    // Where nobody can tell, it is started, but never again.
    let needs = !earlier.runs && presence(service).await != Presence::Running;
    needs.then(|| was_started_before(phase, earlier))
}

/// All that is waited for until it runs.
fn may_take(service: &Service) -> Duration {
    service.stop_timeout
        + service.earlier_call_takes()
        + SHOWS_WITHIN
        + service.start_timeout
        + may_take_to_start(service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CommonFlags, RemediatorFlags};
    use crate::folder::Timestamp;
    use std::path::Path;

    /// The service `bots` of the sessions `bot*`, which runs while DIR/runs is there.
    fn settings(dir: &Path, more: &str) -> Settings {
        let config = dir.join("config.yml");
        let path = dir.display();
        let yaml = format!(
            "processes:\n  - sessions: ['bot*']\n    name: bots\n    allow_restart: true\n    command: {{stop: [rm, -f, {path}/runs], start: [cp, {path}/config.yml, {path}/runs], gone: [test, '!', -e, {path}/runs]}}\n    stop_timeout: 1s\n    start_timeout: 1s\n{more}"
        );
        std::fs::write(&config, yaml).unwrap();
        let common = CommonFlags {
            config_file: Some(config),
            ..CommonFlags::default()
        };
        let remediator = RemediatorFlags {
            state_path: Some(dir.to_owned()),
            ..RemediatorFlags::default()
        };
        Settings::load(&common, &remediator).unwrap()
    }

    fn session(name: &str) -> SessionName {
        SessionName::from_dir(name.as_ref())
    }

    #[test]
    fn commands_keep_away_from_what_is_owed() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), "");
        let journal = Store::open(dir.path()).unwrap();
        let now = Timestamp::now();
        let way =
            |journal: &Store, name: &str| in_the_way(&settings, journal, &session(name)).unwrap();
        assert_eq!(way(&journal, "bot1"), None);
        journal
            .restarts()
            .intend_stop("bots", &["bot1"], 1, false, now, |_, _, _, _| Ok(()))
            .unwrap()
            .unwrap();
        journal
            .restarts()
            .intend_stop("unnamed", &["gone"], 2, false, now, |_, _, _, _| Ok(()))
            .unwrap()
            .unwrap();
        for phase in [
            Phase::Stopping,
            Phase::Gone,
            Phase::Starting,
            Phase::Started,
            Phase::Failed,
        ] {
            journal.restarts().set_phase("bots", phase).unwrap();
            for name in ["bot1", "bot2"] {
                assert!(
                    way(&journal, name).unwrap().contains("the service bots"),
                    "{phase:?}"
                );
            }
            assert_eq!(way(&journal, "other"), None, "another service");
            journal.pause().set("ann", "undo", now).unwrap();
            assert_eq!(
                way(&journal, "bot2").is_none(),
                phase == Phase::Failed,
                "{phase:?}"
            );
            journal.pause().resume("ann", now).unwrap();
        }
        assert!(
            way(&journal, "gone").is_some(),
            "the configuration no longer names it"
        );
        journal.restarts().complete("bots").unwrap();
        assert_eq!(way(&journal, "bot1"), None);
    }

    #[tokio::test]
    async fn what_cannot_serve_starts_what_is_owed() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), "");
        let runs = dir.path().join("runs");
        settle_without_serving(&settings).await;
        assert!(
            !dir.path().join("journal.sqlite").exists(),
            "nothing is made"
        );
        let owe = |phase: Phase| {
            let journal = Store::open(dir.path()).unwrap();
            let _ = std::fs::remove_file(&runs);
            journal.restarts().complete("bots").unwrap();
            journal
                .restarts()
                .intend_stop(
                    "bots",
                    &["bot1"],
                    1,
                    false,
                    Timestamp::now(),
                    |_, _, _, _| Ok(()),
                )
                .unwrap()
                .unwrap();
            journal.restarts().set_phase("bots", phase).unwrap();
        };
        let phase = || {
            Store::open(dir.path())
                .unwrap()
                .restarts()
                .pending()
                .unwrap()[0]
                .phase
        };
        for before in [
            Phase::Stopping,
            Phase::Gone,
            Phase::Starting,
            Phase::Started,
            Phase::Failed,
        ] {
            owe(before);
            settle_without_serving(&settings).await;
            assert!(runs.exists(), "{before:?}");
            assert_eq!(phase(), Phase::Started, "still to be seen connected");
        }
        // Another `serve` is at it.
        owe(Phase::Gone);
        let held = lock_state(dir.path()).unwrap();
        settle_without_serving(&settings).await;
        assert!(!runs.exists());
        drop(held);
        // A person has paused after the first start had failed.
        owe(Phase::Failed);
        Store::open(dir.path())
            .unwrap()
            .pause()
            .set("ann", "undo", Timestamp::now())
            .unwrap();
        settle_without_serving(&settings).await;
        assert!(!runs.exists());
        assert_eq!(phase(), Phase::Failed);
    }
}
