use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Two processes on one folder, a clean-up under a bot, a stop without its record, and a
    /// start of what an operator stopped are asserted at every step. At the end everything
    /// works, and the bot runs unless an operator has stopped it.
    #[test]
    fn whatever_happens_the_bot_is_alone_and_runs_in_the_end(
        steps in prop::collection::vec(any::<u8>(), 0..160),
        choices in prop::collection::vec(any::<u8>(), 400),
    ) {
        let mut world = ModelWorld::new(choices);
        world.alert(0);
        for step in steps {
            world.step(step);
        }
        let had_restart = world.is_pending();
        world.works_for(Duration::from_secs(3 * 3600));
        for one in &world.all {
            let phases = [&one.alive, &one.disk].into_iter().flatten();
            for state in phases {
                prop_assert!(!state.phase.is_pending(), "it never ends: {world:#?}");
            }
        }
        if had_restart && !world.stays_stopped {
            prop_assert_eq!(world.live.len(), 1, "it is left stopped: {:#?}", world);
        }
    }

    /// A start that never works is retried, and the notice repeated, for as long as it lasts.
    #[test]
    fn a_start_that_never_works_is_retried_and_reported(
        steps in prop::collection::vec(any::<u8>(), 0..60),
        choices in prop::collection::vec(any::<u8>(), 200),
    ) {
        let mut world = ModelWorld::new(choices);
        world.alert(0);
        for step in steps {
            world.step(step);
        }
        world.start_fails = true;
        world.works_for(Duration::from_secs(3600));
        if world.is_pending() && world.live.is_empty() {
            let before = (world.starts, world.notices);
            world.works_for(Duration::from_secs(3600));
            let after = (world.starts - before.0, world.notices - before.1);
            prop_assert!(after.0 >= 20 && after.1 >= 20, "{after:?}: {world:#?}");
        }
    }
}
