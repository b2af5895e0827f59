//! A folder that does not exist before the start, and was whole before the stop.

use super::creds::{sizes, torn_by_the_stop, were_whole};
use super::*;

/// Where neither the stop nor a start does anything to a folder, but `stop.sh` runs this as well.
fn stopped_by(more: &str) -> World {
    let world = torn_by_the_stop("a", "");
    world.write("stop.sh", &format!("rm runs; {more}"));
    world.write("gone.sh", "echo x >>looks; test ! -e runs");
    world
}

fn is_away(world: &World, session: &str, away: bool) {
    let folder = world.dir.path().join("sessions").join(session);
    let aside = world.dir.path().join("aside");
    match away {
        true => std::fs::rename(folder, aside).unwrap(),
        false => std::fs::rename(aside, folder).unwrap(),
    }
}

fn looks(world: &World) -> usize {
    let looks = std::fs::read_to_string(world.dir.path().join("looks")).unwrap_or_default();
    looks.lines().count()
}

/// It is found gone often enough for a start, and is not started.
async fn is_left_alone(world: &World, known: &[Found], is_complete: bool) {
    let (began, enough) = (Instant::now(), looks(world) + 8);
    let coordinator = &world.coordinator;
    while looks(world) < enough {
        assert!(began.elapsed() < PATIENCE, "{:?}", world.phases());
        coordinator
            .resume_pending_restarts(known, is_complete)
            .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!world.runs().exists() && sizes(world).is_empty());
    assert_eq!(world.phases().len(), 1);
}

/// Its mount goes away while the bot is stopped. A new identity would be made, and be written over
/// the real one once the mount is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_whose_folder_is_gone_after_the_stop_is_not_started() {
    for session in ["a", "b"] {
        let world = stopped_by(&format!("mv sessions/{session} aside"));
        let run = world.asked();
        let (led, _) = world.lead(&run).await;
        let RestartResult::Ended(Err(error)) = led else {
            panic!("{led:?}")
        };
        let detail = error.to_string();
        assert!(detail.contains("does not exist"), "{detail}");
        assert_eq!((world.phases(), sizes(&world)), (vec![Phase::Down], vec![]));
        let store = &world.coordinator.ctx.store;
        assert_eq!(store.in_test().restarts().not_back().unwrap().len(), 2);
        is_away(&world, session, false);
        world.resumed_until(|| world.phases().is_empty()).await;
        assert!(
            world.runs().exists() && were_whole(&world),
            "{:?}",
            sizes(&world)
        );
    }
}

/// A person moves the folder away, without a pause, and pm2 still knows the bot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_is_down_is_not_started_without_its_folder() {
    let world = stopped_by("true");
    world.write("start.sh", "exit 1");
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Err(_))), "{led:?}");
    assert_eq!(world.phases(), [Phase::Down]);
    is_away(&world, "a", true);
    world.write(
        "start.sh",
        "wc -c sessions/?/creds.json >>sizes; touch runs",
    );
    let known: Vec<Found> = world.coordinator.ctx.settings.discovery().survey().found;
    assert_eq!(known.len(), 1);
    is_left_alone(&world, &known, true).await;
    // A person wants a new login and starts it.
    std::fs::write(world.runs(), "").unwrap();
    world.resumed_until(|| world.phases().is_empty()).await;
    assert!(sizes(&world).is_empty(), "no second one was started");
}

/// The machine boots in the middle of a restart, and the mount of the folder is late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_whose_mount_is_late_after_a_crash_is_not_started_before() {
    let world = stopped_by("true");
    world.write("start.sh", "exit 1");
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Err(_))), "{led:?}");
    world.coordinator.leave().await;
    is_away(&world, "a", true);
    world.write(
        "start.sh",
        "wc -c sessions/?/creds.json >>sizes; touch runs",
    );
    {
        let store = world.coordinator.ctx.store.in_test();
        let mut state = store.restarts().all().unwrap().remove(0);
        (state.phase, state.started_ns) = (Phase::Cleaning, None);
        assert_eq!(state.folders.len(), 2);
        store.restarts().save(&state).unwrap();
    }
    let settings = World::settings(world.dir.path());
    let again = World {
        coordinator: Arc::new(RestartCoordinator::within(
            context(settings).unwrap(),
            bounds(),
        )),
        ..world
    }
    .fast();
    let of = |again: &World| again.coordinator.ctx.settings.discovery().survey().found;
    is_left_alone(&again, &of(&again), false).await;
    is_away(&again, "a", false);
    let known = of(&again);
    assert_eq!(known.len(), 2);
    let again = World { known, ..again };
    again.resumed_until(|| again.phases().is_empty()).await;
    assert!(
        again.runs().exists() && were_whole(&again),
        "{:?}",
        sizes(&again)
    );
}

/// WhatsApp has ended its login: it removes its folder, and ends. It is started again, and shows a
/// QR code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_removes_its_folder_is_started_again() {
    let world = stopped_by("true");
    world.write("start.sh", "echo x >>starts; touch runs");
    // The first look after the start sees it running, and then it ends.
    world.write(
        "gone.sh",
        "[ -e runs ] || exit 0
         [ ! -e starts ] || [ -e ended ] || { touch ended; rm -r sessions/a; rm runs; }
         exit 1",
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let starts = std::fs::read_to_string(world.dir.path().join("starts")).unwrap();
    assert!(
        starts.lines().count() >= 2 && world.runs().exists(),
        "{led:?}"
    );
    assert!(!world.dir.path().join("sessions/a").exists());
}

/// Leaving the bot stopped would not bring it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_copy_the_bot_is_started_on_a_missing_folder() {
    let world = stopped_by("mv sessions/b aside; rm -r state/creds");
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(!world.dir.path().join("sessions/b").exists(), "{led:?}");
    assert!(!sizes(&world).is_empty(), "it was started: {led:?}");
}
