//! A journal that was lost or cannot be written, and mounts that appear late.

use super::*;

/// The folders are on two mounts, and the record of the restart is on the one that comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_appears_late_is_read_as_well() {
    let world = World::new(bounds(), "");
    let (_, service) = world.service();
    let times = world.coordinator.times(&service);
    let decided = Timestamp::now().nanos();
    let mut state = Restart::new(&service.name, "b", 99, Trigger::Emergency, decided, times);
    state.phase = Phase::Cleaning;
    let of = |name: &str| {
        let mut all = world.known.iter();
        all.find(|found| found.session.as_str() == name)
            .unwrap()
            .clone()
    };
    let (first, later) = (of("a"), of("b"));
    let state_path = &world.coordinator.ctx.settings.state_path;
    let folder = crate::remediator::quarantine::LockedFolder::lock(&later.place).unwrap();
    folder_record::write(&folder, state_path, &state).unwrap();
    drop(folder);
    std::fs::remove_file(world.runs()).unwrap();
    let resume = async |known: &[Found]| {
        world.coordinator.resume_pending_restarts(known, true).await;
        world.coordinator.drained().await;
    };
    resume(std::slice::from_ref(&first)).await;
    assert!(!world.runs().exists(), "nothing is known of it");
    resume(&[first.clone(), later.clone()]).await;
    assert!(world.runs().exists() && world.phases().is_empty());
    // Each folder is read once: what a person stops stays stopped.
    std::fs::remove_file(world.runs()).unwrap();
    let folder = crate::remediator::quarantine::LockedFolder::lock(&later.place).unwrap();
    folder_record::write(&folder, state_path, &state).unwrap();
    drop(folder);
    resume(&[first, later]).await;
    assert!(!world.runs().exists());
}

/// After a reload, the next configuration finds it there and not in the folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_restart_is_in_the_journal_once_it_is_resumed() {
    let world = World::new(bounds(), "");
    world.write("gone.sh", "exit 2");
    let (found, service) = world.service();
    let times = world.coordinator.times(&service);
    let decided = Timestamp::now().nanos();
    let mut state = Restart::new(&service.name, "a", 99, Trigger::Emergency, decided, times);
    state.phase = Phase::Down;
    // The owner of the folder may have planted it: it names no place for a creds.json.
    let elsewhere = world.dir.path().join("elsewhere");
    state.folders.insert("victim".into(), elsewhere);
    state.before = Some(Box::new(state.clone()));
    let state_path = &world.coordinator.ctx.settings.state_path;
    let folder = crate::remediator::quarantine::LockedFolder::lock(&found.place).unwrap();
    folder_record::write(&folder, state_path, &state).unwrap();
    drop(folder);
    let known = &world.known;
    world.coordinator.resume_pending_restarts(known, true).await;
    assert_eq!(world.phases(), [Phase::Down]);
    let store = world.coordinator.ctx.store.in_test();
    let saved = store.restarts().all().unwrap().remove(0);
    assert!(!saved.folders.contains_key("victim"), "{saved:?}");
    let before = saved.before.unwrap();
    assert!(before.folders.is_empty(), "{before:?}");
}

/// The disk of the journal is full, and then `serve` is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_stays_over_though_the_journal_could_not_delete_it() {
    let own = "test ! -e runs";
    let person = "[ -e runs ] || exit 0; grep -q stop_intended state/journal.sqlite && rm runs && exit; exit 1";
    for (gone, phase, stops) in [
        (own, Phase::WaitingForConnection, (1, 1)),
        // A person stopped it after the stop was on record: nothing was called.
        (person, Phase::StopIntended, (0, 0)),
    ] {
        let world = World::new(bounds(), "");
        world.write("gone.sh", gone);
        world.sql(
            "CREATE TRIGGER full BEFORE DELETE ON restarts BEGIN SELECT RAISE(FAIL, 'full'); END",
        );
        let run = world.asked();
        let (led, _) = world.lead(&run).await;
        world.coordinator.drained().await;
        assert_eq!(world.phases(), [phase], "it is still on record: {led:?}");
        let _ = std::fs::remove_file(world.runs());
        let again = World {
            dir: tempfile::tempdir().unwrap(),
            known: world.known.clone(),
            coordinator: Arc::new(RestartCoordinator::within(
                context(World::settings(world.dir.path())).unwrap(),
                bounds(),
            )),
        };
        for _ in 0..2 {
            again
                .coordinator
                .resume_pending_restarts(&again.known, true)
                .await;
            again.coordinator.drained().await;
            assert!(!world.runs().exists(), "a person has stopped it: {phase:?}");
        }
        world.sql("DROP TRIGGER full");
        again.resumed_until(|| again.phases().is_empty()).await;
        assert!(!world.runs().exists());
        assert_eq!(again.stops(), stops, "{phase:?}");
    }
}

/// `rsync -a A:/srv/bots/ B:/srv/bots/` while the bot was down on A, with the same configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_came_with_a_copied_folder_starts_nothing() {
    let world = World::new(bounds(), "");
    let (found, service) = world.service();
    let times = world.coordinator.times(&service);
    let decided = Timestamp::now().nanos();
    let mut state = Restart::new(&service.name, "a", 99, Trigger::Emergency, decided, times);
    state.phase = Phase::Down;
    let state_path = &world.coordinator.ctx.settings.state_path;
    let folder = crate::remediator::quarantine::LockedFolder::lock(&found.place).unwrap();
    folder_record::write(&folder, state_path, &state).unwrap();
    drop(folder);
    std::fs::remove_file(world.runs()).unwrap();
    // Another folder at the same path.
    let (place, aside) = (found.place.path(), world.dir.path().join("aside"));
    std::fs::rename(&place, &aside).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(&aside)
        .arg(&place)
        .status();
    assert!(copied.unwrap().success());
    let resume = async || {
        let known = &world.known;
        world.coordinator.resume_pending_restarts(known, true).await;
    };
    resume().await;
    world.coordinator.drained().await;
    assert!(!world.runs().exists() && world.phases().is_empty());
    assert!(
        place
            .join(".baileys_quarantine")
            .join(folder_record::NAME)
            .exists()
    );
    // What the journal knows is due wherever its folder is now.
    let store = &world.coordinator.ctx.store;
    store.in_test().restarts().save(&state).unwrap();
    world.resumed_until(|| world.runs().exists()).await;
}
