//! A bot that a person has removed for good while its start was due.

use super::*;
use crate::remediator::restart::state::HandedTo;

/// A restart of `a` in this phase, which counts as not back. Its supervisor knows no such process.
fn pending(phase: Phase) -> World {
    let world = World::new(bounds(), "");
    let run = world.asked();
    let mut state = world.intend(&run, Trigger::Emergency).unwrap();
    (state.phase, state.reported) = (phase, true);
    state.late_ns = Some(state.decided_ns);
    let store = &world.coordinator.ctx.store;
    store.in_test().restarts().save(&state).unwrap();
    std::fs::remove_file(world.runs()).unwrap();
    world.write("gone.sh", "echo x >>looks; exit 4");
    world
}

impl World {
    /// The folder of `a` is moved away.
    fn without_a(mut self) -> Self {
        let sessions = self.dir.path().join("sessions");
        std::fs::rename(sessions.join("a"), self.dir.path().join("aside")).unwrap();
        self.known
            .retain(|found| sessions.join(found.session.as_str()).exists());
        self.fast()
    }

    fn is_forgotten(&self) -> bool {
        let store = self.coordinator.ctx.store.in_test();
        store.restarts().all().unwrap().is_empty()
    }

    fn looks(&self) -> usize {
        let looks = std::fs::read_to_string(self.dir.path().join("looks")).unwrap_or_default();
        looks.lines().count()
    }
}

/// Its alert would fire for ever, and the service would count as down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_was_removed_for_good_is_forgotten() {
    for phase in [
        Phase::Down,
        Phase::StartUnknown,
        Phase::HandedOver(HandedTo::Pause),
    ] {
        let world = pending(phase).without_a();
        let store = &world.coordinator.ctx.store;
        assert_eq!(store.in_test().restarts().not_back().unwrap().len(), 1);
        world.resumed_until(|| world.is_forgotten()).await;
        assert!(store.in_test().restarts().not_back().unwrap().is_empty());
        assert!(!world.runs().exists(), "{phase:?}");
        assert!(world.looks() > 3, "not at the first look");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_was_removed_for_good_is_forgotten_without_allow_restart() {
    let world = pending(Phase::Down)
        .configured(|yaml| yaml.replace("allow_restart: true", "allow_restart: false"))
        .without_a();
    world.resumed_until(|| world.is_forgotten()).await;
    assert!(!world.runs().exists());
}

/// A mount may be missing, or the process not be known yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_come_back_is_not_forgotten() {
    let goes_on = async |world: &World, known: &[Found], is_complete: bool| {
        let coordinator = &world.coordinator;
        let (began, enough) = (Instant::now(), world.looks() + 14);
        while world.looks() < enough {
            assert!(began.elapsed() < PATIENCE && !world.is_forgotten());
            coordinator
                .resume_pending_restarts(known, is_complete)
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!world.is_forgotten());
    };
    // Its folder is there.
    let world = pending(Phase::Down).fast();
    goes_on(&world, &world.known, true).await;
    // A folder could not be looked at.
    let world = pending(Phase::Down).without_a();
    goes_on(&world, &world.known, false).await;
    // No folder is left.
    goes_on(&world, &[], true).await;
    // Once its supervisor knows it and its folder is back, it is started.
    let sessions = world.dir.path().join("sessions");
    std::fs::rename(world.dir.path().join("aside"), sessions.join("a")).unwrap();
    world.write("gone.sh", "test ! -e runs");
    let known = world.coordinator.ctx.settings.discovery().survey().found;
    let world = World { known, ..world };
    world.resumed_until(|| world.phases().is_empty()).await;
    assert!(world.runs().exists());
}
