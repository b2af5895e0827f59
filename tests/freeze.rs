//! The remediator is frozen in the middle of its moves (SIGSTOP, and so a suspend), and the bot
//! may have been started meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use testkit::process;
use testkit::world::{World, alert};

/// Longer than the remediator trusts a look at a bot.
const LONG: Duration = Duration::from_secs(6);
/// The thread that moves files is stopped after so many.
const AFTER: usize = 60;

/// Goes before the remediator: its first thread that has renamed [`AFTER`] files is stopped, and
/// all of it with that.
fn freezes() -> Option<[String; 9]> {
    let Some(strace) = process::find(&["strace"]) else {
        testkit::not_run(format_args!("strace is missing"));
        return None;
    };
    let inject = format!("inject=renameat2:signal=SIGSTOP:when={AFTER}");
    let strace = strace.display().to_string();
    let words = [
        strace.as_str(),
        "-D",
        "-f",
        "-qq",
        "-o/dev/null",
        "-e",
        "trace=renameat2",
        "-e",
        &inject,
    ];
    Some(words.map(str::to_owned))
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::from_secs(time.tv_sec.unsigned_abs())
}

/// Whether all threads are stopped.
fn is_frozen(pid: u32) -> testkit::Result<()> {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    for task in tasks.map_err(|error| error.to_string())?.flatten() {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        if !state.starts_with(['T', 't']) {
            return Err(stat);
        }
    }
    Ok(())
}

fn wake(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::CONT).unwrap();
}

/// A frozen remediator: what it had moved, once the freeze was long.
fn frozen(world: &World) -> BTreeSet<String> {
    let pid = world.pid();
    world.wait("it is frozen", || is_frozen(pid));
    let began = since_boot();
    world.wait("the freeze is long", || match since_boot() - began > LONG {
        true => is_frozen(pid),
        false => Err("not yet".into()),
    });
    world.quarantined("bot")
}

#[test]
fn a_bot_that_came_back_during_a_freeze_is_not_cleaned_further() {
    let Some(wrapper) = freezes() else { return };
    let mut world = testkit::world!();
    world.with_probe();
    let before = world.bot("bot", "bloated-classic-387", "disconnected");
    world.start_remediator_in(&wrapper.each_ref().map(String::as_str));
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    let moved = frozen(&world);
    assert!(
        moved.len() > AFTER / 2 && moved.len() < 200,
        "{}",
        moved.len()
    );
    world.probe_says("bot", "connected");
    wake(world.pid());
    world.wait_until_idle();
    let run = world.run_of("bot");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&"failed".into(), &"io".into()),
        "{run}"
    );
    let detail = run["detail"].as_str().unwrap();
    assert!(detail.contains("stood still"), "{detail}");
    let held = world.quarantined("bot");
    assert!(held.is_subset(&moved), "{} and {}", held.len(), moved.len());
    // It can be undone, and nothing is lost.
    world.probe_says("bot", "disconnected");
    let name = run["run"].as_str().unwrap();
    world.remediator(&["undo", name]).must(0, &[]);
    world.unchanged("bot", &before);
    world.finish();
}

#[test]
fn after_a_freeze_a_bot_that_is_still_down_is_cleaned_to_the_end() {
    let Some(wrapper) = freezes() else { return };
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("bot", "bloated-classic-387", "disconnected");
    world.start_remediator_in(&wrapper.each_ref().map(String::as_str));
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    let moved = frozen(&world);
    let asked = world.probe_calls("bot");
    wake(world.pid());
    world.wait_until_idle();
    let run = world.run_of("bot");
    assert_eq!(run["status"], "done", "{run}");
    assert!(world.probe_calls("bot") > asked, "it was asked again");
    assert!(world.quarantined("bot").len() > moved.len());
    world.finish();
}

/// Its service was stopped for the clean-up, and a person has started it during the freeze.
#[test]
fn a_bot_that_a_person_started_during_a_freeze_is_not_cleaned_further() {
    let Some(wrapper) = freezes() else { return };
    let (mut world, before) = testkit::supervised_bot!();
    world.start_by(&wrapper.each_ref().map(String::as_str));
    world.start();
    world.deliver("emergency");
    let pid = world.pid();
    world.wait("it is frozen", || is_frozen(pid));
    let began = since_boot();
    world.wait("the freeze is long", || match since_boot() - began > LONG {
        true => Ok(()),
        false => Err("not yet".into()),
    });
    let moved = world.moved(&before);
    assert!(moved > AFTER / 2 && moved < 200, "{moved}");
    assert!(world.sv("start").0);
    world.wait("the bot is connected", || world.is_connected());
    wake(pid);
    let run = world.wait("the run ends", || world.ended());
    assert_eq!(run["status"], "failed", "{run}");
    assert!(world.moved(&before) <= moved);
    assert_eq!(world.calls("start"), 1, "only that of the person");
    world.is_connected().unwrap();
}
