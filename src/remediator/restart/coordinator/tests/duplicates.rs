//! A process one of whose sessions has a name that two folders have.

use super::*;
use crate::folder::SessionsPath;

/// It is unknown which of the two folders the run is for, and both may belong to the process that is
/// stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_two_folders_is_not_cleaned_along() {
    let world = World::new(bounds(), "");
    let more = world.dir.path().join("more");
    std::fs::create_dir_all(more.join("b")).unwrap();
    for file in std::fs::read_dir(world.dir.path().join("sessions/b")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), more.join("b").join(file.file_name())).unwrap();
    }
    let (mut common, remediator) = flags_in(world.dir.path());
    let second = SessionsPath::parse(more.as_os_str()).unwrap();
    common.sessions_path.push(second);
    let ctx = context(Settings::load(&common, &remediator).unwrap()).unwrap();
    let survey = ctx.settings.discovery().survey();
    assert!(survey.duplicate("b").is_some(), "{:?}", survey.skipped);
    let world = World {
        known: survey.found,
        coordinator: Arc::new(RestartCoordinator::within(ctx, bounds())),
        dir: world.dir,
    };
    // Its lock is held, and its creds.json is copied, all the same.
    world.write(
        "start.sh",
        "ls -d sessions/b/.baileys_quarantine more/b/.baileys_quarantine >locked; touch runs",
    );
    let run = world.asked();
    world.queue("b");
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Ok(_))), "{led:?}");
    assert!(world.left("a") < 201, "a is cleaned");
    assert_eq!((world.left("b"), world.left("../more/b")), (201, 201));
    let locked = std::fs::read_to_string(world.dir.path().join("locked")).unwrap();
    assert_eq!(locked.lines().count(), 1, "{locked}");
    // Its run waits for a worker, which refuses it.
    let recent = world
        .coordinator
        .ctx
        .store
        .in_test()
        .audit()
        .recent(2)
        .unwrap();
    let own = recent.iter().find(|run| run.session == "b").unwrap();
    assert_eq!(own.status, Status::Queued);
}
