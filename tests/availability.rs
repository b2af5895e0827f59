//! What hangs, floods or breaks beside one bot keeps no other bot from being watched, cleaned
//! or started.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use testkit::hung::HungMount;
use testkit::world::{World, alert};

/// More than the remediator has workers.
const HUNG: [&str; 6] = ["hung-1", "hung-2", "hung-3", "hung-4", "hung-5", "hung-6"];

fn new_world() -> World {
    World::new(testkit::programs!())
}

/// The folders of [`HUNG`] do not answer from now on. `None`: not possible here.
fn hang(world: &World) -> Option<Vec<HungMount>> {
    let folders = HUNG.iter().map(|session| world.folder(session));
    folders.map(|folder| HungMount::over(&folder)).collect()
}

/// Lays out the bots of [`HUNG`] and one more, `fine`.
fn bots(world: &World) {
    for session in HUNG.into_iter().chain(["fine"]) {
        world.bot(session, "bloated-classic-387", "disconnected");
    }
}

fn folder_is(world: &World, session: &str, up: f64) -> testkit::Result<()> {
    let metrics = world.metrics();
    let labels = [("session", session)];
    let seen = metrics.sum("baileys_auth_folder_up", &labels)?;
    let errors = [("session", session), ("reason", "timeout")];
    let late = metrics
        .sum("baileys_auth_folder_error", &errors)
        .unwrap_or(0.0);
    match (seen, late) == (up, 1.0 - up) {
        true => Ok(()),
        false => Err(format!("{session}: up {seen}, timeout {late}")),
    }
}

fn threads(pid: u32) -> usize {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    tasks.unwrap().count()
}

#[test]
fn folders_that_hang_leave_the_exporter_its_other_folders() {
    let mut world = new_world();
    bots(&world);
    world.with_probe();
    world.start_exporter();
    let Some(mounts) = hang(&world) else { return };
    for session in HUNG {
        world.wait("it is down", || folder_is(&world, session, 0.0));
    }
    folder_is(&world, "fine", 1.0).unwrap();
    let before = threads(world.pid());
    for _ in 0..40 {
        folder_is(&world, "fine", 1.0).unwrap();
    }
    let after = threads(world.pid());
    // One look at a time for each folder, and the pool of the runtime.
    assert!(
        after <= before + HUNG.len(),
        "{before} threads, {after} later"
    );
    // The commands go on as well.
    world
        .exporter(&["status"])
        .must(2, &["fine", "hung-1: timeout", "may hang"]);
    drop(mounts);
    for session in HUNG {
        world.wait("it is up again", || folder_is(&world, session, 1.0));
    }
    world.finish();
}

#[test]
fn folders_that_hang_from_the_start_are_sessions() {
    let mut world = new_world();
    bots(&world);
    let Some(mounts) = hang(&world) else { return };
    world.start_exporter();
    for session in HUNG {
        world.wait("it is down", || folder_is(&world, session, 0.0));
    }
    folder_is(&world, "fine", 1.0).unwrap();
    drop(mounts);
    world.finish();
}

#[test]
fn a_root_that_hangs_keeps_its_sessions() {
    let mut world = new_world();
    bots(&world);
    world.start_exporter();
    let Some(mount) = HungMount::over(&world.path("sessions")) else {
        return;
    };
    world.wait("it is down", || folder_is(&world, "fine", 0.0));
    drop(mount);
    world.wait("it is up again", || folder_is(&world, "fine", 1.0));
    world.finish();
}

#[test]
fn folders_that_hang_leave_the_remediator_its_workers() {
    let mut world = new_world();
    bots(&world);
    world.with_probe();
    world.start_remediator();
    let Some(mounts) = hang(&world) else { return };
    let alerts = HUNG.map(|session| alert(session, "cleanup"));
    assert_eq!(world.accepted(&alerts), HUNG.len() as u64);
    assert_eq!(world.accepted(&[alert("fine", "cleanup")]), 1);
    world.wait_until_idle();
    let run = world.run_of("fine");
    assert_eq!(run["status"], "done", "{run}");
    for session in HUNG {
        let run = world.run_of(session);
        assert_eq!(run["reason"], "io", "{run}");
        let detail = run["detail"].as_str().unwrap();
        assert!(detail.contains("may hang"), "{run}");
    }
    drop(mounts);
    world.finish();
}

#[test]
fn the_age_of_the_queue_is_exported() {
    let mut world = new_world();
    world.bot("bot", "bloated-classic-387", "hold");
    world.with_probe();
    world.start_remediator();
    assert_eq!(world.metric("queue_age_seconds", &[]), 0.0);
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    world.wait_until_asked("bot");
    // It waits for the clean-up, which waits for the probe.
    assert_eq!(world.accepted(&[alert("bot", "emergency")]), 1);
    world.wait("the emergency has waited", || {
        let age = world.metric("queue_age_seconds", &[("action", "emergency")]);
        (age >= 1.0).then_some(()).ok_or_else(|| format!("{age} s"))
    });
    assert_eq!(
        world.metric("queue_age_seconds", &[("action", "cleanup")]),
        0.0
    );
    world.probe_says("bot", "connected");
    world.wait_until_idle();
    assert_eq!(world.metric("queue_age_seconds", &[]), 0.0);
    world.finish();
}
