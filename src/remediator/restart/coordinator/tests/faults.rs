//! A supervisor, a source, a disk or a record that is wrong.

use super::*;

/// A supervisor that does not answer is no reason to start a second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_connected_is_not_started() {
    let world = World::new(
        bounds(),
        "[ -e lies ] && touch unknown && echo connected && exit",
    )
    .fast();
    world.write("gone.sh", "[ -e unknown ] && exit 7; test ! -e runs");
    std::fs::write(world.dir.path().join("lies"), "").unwrap();
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Err(_))), "{led:?}");
    assert_eq!(world.phases(), [Phase::StartIntended]);
    assert!(!world.runs().exists());
    for file in ["lies", "unknown"] {
        std::fs::remove_file(world.dir.path().join(file)).unwrap();
    }
    world.resumed_until(|| world.phases().is_empty()).await;
    assert!(world.runs().exists());
}

/// Of many sessions whose source hangs, the one that is connected is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sessions_are_queried_at_once() {
    let world = World::new(bounds(), "");
    for n in 0..20 {
        std::fs::create_dir(world.dir.path().join(format!("sessions/c{n:02}"))).unwrap();
        let creds = world
            .dir
            .path()
            .join(format!("sessions/c{n:02}/creds.json"));
        std::fs::copy(world.dir.path().join("sessions/a/creds.json"), creds).unwrap();
    }
    world.write(
        "ask.sh",
        "case $1 in c19) echo connected;; *) exec sleep 600;; esac",
    );
    let world = world.configured(|yaml| yaml);
    assert_eq!(world.known.len(), 22);
    let ctx = &world.coordinator.ctx;
    assert!(
        crate::remediator::restart::driver::who_is_alive(ctx, &world.known)
            .await
            .is_some()
    );
}

/// A probe without the name of the session says connected because of another bot: that keeps the
/// bot from being stopped, and not from being started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_probe_forbids_a_stop_and_no_start() {
    let world = World::new(bounds(), "").configured(|yaml| {
        yaml.replace(", '{session}']", "]")
            .replace("sessions: ['*']", "sessions: [a]")
    });
    world.write("ask.sh", "echo connected");
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let RestartResult::Ended(Err(error)) = led else {
        panic!("{led:?}")
    };
    assert_eq!(error.label(), "connection_unknown", "{error}");
    assert!(world.runs().exists() && world.phases().is_empty());
    // It was stopped before there was another bot, and its start is due.
    let mut state = world.intend(&run, Trigger::Emergency).unwrap();
    state.phase = Phase::Down;
    let store = &world.coordinator.ctx.store;
    store.in_test().restarts().save(&state).unwrap();
    std::fs::remove_file(world.runs()).unwrap();
    world.resumed_until(|| world.runs().exists()).await;
    // That it is back, the shared answer does not tell.
    assert!(!world.phases().is_empty());
}

/// As on a full disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_is_over_is_not_resumed_while_its_record_cannot_be_deleted() {
    let world = World::new(bounds(), "");
    let file = world
        .dir
        .path()
        .join("state")
        .join(crate::remediator::store::FILE);
    let sql = |text: &str| {
        rusqlite::Connection::open(&file)
            .unwrap()
            .execute_batch(text)
            .unwrap()
    };
    sql("CREATE TRIGGER full BEFORE DELETE ON restarts BEGIN SELECT RAISE(FAIL, 'full'); END");
    // A person stops it after the stop is on record.
    world.write(
        "gone.sh",
        "[ -e runs ] || exit 0; grep -q stop_intended state/journal.sqlite && rm runs && exit; exit 1",
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::CleanWithoutStop), "{led:?}");
    assert_eq!(
        world.phases(),
        [Phase::StopIntended],
        "it is still on record"
    );
    for _ in 0..2 {
        world
            .coordinator
            .resume_pending_restarts(&world.known, true)
            .await;
        world.coordinator.drained().await;
        assert!(!world.runs().exists(), "a person has stopped it");
    }
    sql("DROP TRIGGER full");
    world.resumed_until(|| world.phases().is_empty()).await;
    assert!(!world.runs().exists());
    assert_eq!(world.stops(), (0, 0), "nothing was called");
}

/// Any user that may write into one folder may have written it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_in_a_folder_speaks_for_its_own_service_only() {
    let world = World::new(bounds(), "").configured(|yaml| yaml.replace("bots", "'{session}'"));
    std::fs::remove_file(world.runs()).unwrap();
    let of = |name: &str| {
        let mut all = world.known.iter();
        all.find(|found| found.session.as_str() == name).unwrap()
    };
    let (a, b) = (of("a"), of("b"));
    let service = world
        .coordinator
        .ctx
        .settings
        .services
        .of(&b.session)
        .unwrap();
    let times = world.coordinator.times(&service);
    let decided = Timestamp::now().nanos();
    let mut state = Restart::new("b", "b", 99, Trigger::Emergency, decided, times);
    state.phase = Phase::Cleaning;
    let state_path = &world.coordinator.ctx.settings.state_path;
    let folder = crate::remediator::quarantine::LockedFolder::lock(&a.place).unwrap();
    folder_record::write(&folder, state_path, &state).unwrap();
    drop(folder);
    world
        .coordinator
        .resume_pending_restarts(&world.known, true)
        .await;
    world.coordinator.drained().await;
    assert!(!world.runs().exists(), "b was stopped by a person");
}

/// Its alert would fire for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_folder_is_gone_is_not_waited_for() {
    let world = World::new(bounds(), "");
    let run = world.asked();
    let mut state = world.intend(&run, Trigger::Emergency).unwrap();
    state.phase = Phase::RunningNotConnected;
    state.late_ns = Some(state.decided_ns);
    state.waiting[0].session = "removed".into();
    let store = &world.coordinator.ctx.store;
    store.in_test().restarts().save(&state).unwrap();
    assert_eq!(store.in_test().restarts().not_back().unwrap().len(), 1);
    // A mount may be missing.
    world.coordinator.resume_pending_restarts(&[], true).await;
    world.coordinator.drained().await;
    assert_eq!(store.in_test().restarts().not_back().unwrap().len(), 1);
    world
        .coordinator
        .resume_pending_restarts(&world.known, true)
        .await;
    world.coordinator.drained().await;
    assert!(store.in_test().restarts().all().unwrap().is_empty());
}

/// Another folder stands where the locked one was: its lock protects nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bot_is_stopped_whose_folder_was_replaced() {
    let world = World::new(bounds(), "");
    // The second one to be asked is the sibling.
    world.write(
        "ask.sh",
        "echo x >>asks; [ $(wc -l <asks) -eq 2 ] && mv sessions/a aside && cp -a aside sessions/a; echo connected",
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Busy), "{led:?}");
    assert!(world.dir.path().join("aside").exists(), "it was replaced");
    assert!(world.runs().exists() && world.phases().is_empty());
}

/// The stop fails before it is called, or the journal hangs at its record: the cooldown, the
/// budget, the breaker and the metric count what was called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_was_not_called_is_not_counted() {
    let world = World::new(bounds(), "")
        .configured(|yaml| yaml.replace("stop: [rm,", "stop: [/nonexistent/rm,"));
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let RestartResult::Ended(Err(RunError::NotStopped(_))) = led else {
        panic!("{led:?}")
    };
    assert!(world.runs().exists() && world.phases().is_empty());
    assert_eq!(world.stops(), (0, 0));

    // What the checks look for comes between them and the stop: it is refused as by them, which
    // leaves the clean-up to an emergency.
    let world =
        World::new(bounds(), "").configured(|yaml| yaml.replace("start: [sh, ", "start: ["));
    let start = world.dir.path().join("start.sh");
    std::fs::set_permissions(&start, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    world.write(
        "gone.sh",
        "grep -q stop_intended state/journal.sqlite && rm -f start.sh; test ! -e runs",
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let RestartResult::Ended(Err(RunError::StopRefused(refusal))) = led else {
        panic!("{led:?}")
    };
    assert_eq!(refusal.label(), "not_restartable");
    assert!(refusal.leaves_a_cleanup() && !start.exists());
    assert!(world.runs().exists() && world.phases().is_empty());
    assert_eq!(world.stops(), (0, 0));

    let world = World::new(bounds(), "").fast();
    // The sibling is queried last.
    world.write("ask.sh", "[ $1 = b ] && touch asked; echo connected");
    let run = world.asked();
    let (ctx, asked) = (
        world.coordinator.ctx.clone(),
        world.dir.path().join("asked"),
    );
    let (ended, wait) = std::sync::mpsc::channel::<()>();
    let stalled = std::thread::spawn(move || {
        let was_asked = wait_for(&asked, true);
        let _held = ctx.store.in_test();
        let _ = wait.recv();
        was_asked
    });
    let (led, _) = world.lead(&run).await;
    drop(ended);
    assert!(stalled.join().unwrap());
    let RestartResult::Ended(Err(RunError::Store(_))) = led else {
        panic!("{led:?}")
    };
    let began = Instant::now();
    while !world.coordinator.over().is_empty() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(world.runs().exists() && world.phases().is_empty());
    assert_eq!(world.stops(), (0, 0));

    let world = World::new(bounds(), "");
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Ok(_))), "{led:?}");
    assert_eq!(world.stops(), (1, 1));
}

/// Neither the locks nor the record of a sibling's run wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_stalls_after_a_failed_start_leaves_no_bot_stopped() {
    for has_sibling in [false, true] {
        let world = World::new(bounds(), "").fast();
        world.write("start.sh", "[ -e called ] && touch runs; touch called");
        let run = world.asked();
        if has_sibling {
            world.queue("b");
        }
        let (ctx, runs) = (world.coordinator.ctx.clone(), world.runs());
        let called = world.dir.path().join("called");
        let stalled = std::thread::spawn(move || {
            let was_called = wait_for(&called, true);
            let _held = ctx.store.in_test();
            (was_called, wait_for(&runs, true))
        });
        let (led, _) = world.lead(&run).await;
        assert_eq!(stalled.join().unwrap(), (true, true), "{has_sibling}");
        let RestartResult::Ended(Err(error)) = led else {
            panic!("{led:?}")
        };
        assert_eq!(error.label(), "down", "{error}");
        assert_eq!(world.left("b") < 201, has_sibling, "it was cleaned");
        world.coordinator.drained().await;
        assert!(world.phases().is_empty(), "{:?}", world.phases());
        assert!(world.coordinator.claimed().is_empty());
        let store = world.coordinator.ctx.store.in_test();
        assert!(!store.runs().is_under_way(&["b"], 0).unwrap());
    }
}
