//! Another configuration is put in force.

use super::*;

/// A coordinator by the same configuration, in force in the place of that of the world.
fn reloaded(world: &World) -> Arc<RestartCoordinator> {
    let former = &world.coordinator;
    let next = former.successor(former.ctx.clone());
    next.put_in_force(former, |_| Ok(())).unwrap();
    next
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_former_configuration_no_restart_begins() {
    let world = World::new(bounds(), "");
    let run = world.asked();
    let next = reloaded(&world);
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Busy), "{led:?}");
    assert!(world.runs().exists() && world.phases().is_empty());
    assert_eq!(world.stops(), (0, 0), "nothing was called");
    let world = World {
        coordinator: next,
        ..world
    };
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Ok(_))), "{led:?}");
    assert!(world.runs().exists());
}

/// The bot stays down, because its start command is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_only_waits_is_taken_up_by_the_next_configuration() {
    let world = World::new(bounds(), "").fast();
    world.write("start.sh", "exit 1");
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let RestartResult::Ended(Err(error)) = led else {
        panic!("{led:?}")
    };
    assert_eq!(error.label(), "down");
    let next = reloaded(&world);
    // It has left: otherwise this would wait for ever.
    world.coordinator.drained().await;
    assert_eq!(world.phases(), [Phase::Down]);
    world.write("start.sh", "touch runs");
    next.resume_pending_restarts(&world.known, true).await;
    next.drained().await;
    assert!(world.runs().exists() && world.phases().is_empty());
}
