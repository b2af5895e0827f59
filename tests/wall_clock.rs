//! The wall clock is set while the remediator runs: no limit is passed, and none lasts longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::wrong_clock::WrongClock;
use testkit::{fixture, process};

use testkit::supervised::SupervisedBot;

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");

const HOUR: i64 = 3_600;

/// A wall clock for the programs of this world.
fn wall_clock(world: &SupervisedBot) -> WrongClock {
    WrongClock::wall(world.root()).unwrap()
}

/// What `status` says of the service, by the same wall clock.
fn service(world: &SupervisedBot, clock: &WrongClock) -> Value {
    let command = [REMEDIATOR, "status", "--output=json"].map(str::to_owned);
    let wrapper = clock.wrapper();
    let args = wrapper[1..].iter().cloned().chain(command);
    let args = args.chain(world.remediator_flags());
    let ran = process::run(Path::new(&wrapper[0]), args, Duration::from_secs(60));
    let (status, out, err) = ran.unwrap();
    assert!(status.success(), "{err}");
    let overview: Value = serde_json::from_str(&out).unwrap();
    overview["services"][0].clone()
}

/// The bot is stopped and cleaned while the clock is wrong by `before`, and needs it again after
/// the clock was set.
fn set_after_a_stop(before: i64, after: &[i64]) {
    let (mut world, _) = testkit::supervised_bot!();
    let clock = wall_clock(&world);
    clock.wrong_by(before).unwrap();
    world.start_by(&clock.wrapper().each_ref().map(String::as_str));
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}");
    for wrong in after {
        clock.wrong_by(*wrong).unwrap();
        let quiet = SystemTime::now() - Duration::from_secs(900);
        fixture::unpack("bloated-classic-387", &world.folder(), quiet).unwrap();
        let answer = world
            .post(world.port, "firing", &[("bot", "emergency")])
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer["queued"], 0, "{before} {wrong}: {answer}");
        let service = service(&world, &clock);
        assert!(service["cooldown_until"].is_string(), "{wrong}: {service}");
        assert_eq!(service["budget_left"], 1, "{before} {wrong}: {service}");
    }
    assert_eq!(world.calls("stop"), 1);
    world.is_connected().unwrap();
}

/// A resumed machine, or the time daemon's first step: after the stop nothing could prove that
/// nothing writes, so the stop would clean nothing and use up the budget.
#[test]
fn no_bot_is_stopped_just_after_the_clock_was_set() {
    for by in [5, -HOUR] {
        let (mut world, before) = testkit::supervised_bot!();
        let clock = wall_clock(&world);
        world.start_by(&clock.wrapper().each_ref().map(String::as_str));
        world.start();
        clock.wrong_by(by).unwrap();
        let run = world.asked("emergency");
        assert_eq!(run["status"], "refused", "{by}: {run}");
        assert_eq!(run["reason"], "connection_unknown", "{by}: {run}");
        let detail = run["detail"].as_str().unwrap();
        assert!(
            detail.contains("the clock of this machine was set"),
            "{detail}"
        );
        assert_eq!((world.calls("stop"), world.calls("start")), (0, 0), "{run}");
        assert_eq!(world.moved(&before), 0);
        let service = service(&world, &clock);
        assert_eq!(service["cooldown_until"], Value::Null, "{service}");
        assert_eq!(service["budget_left"], 2, "{service}");
        assert_eq!(world.status()["armed"][0]["session"], "bot");
        world.is_connected().unwrap();
    }
}

#[test]
fn a_clock_that_is_set_ahead_passes_no_limit() {
    set_after_a_stop(0, &[7 * HOUR, 30 * HOUR, 24 * 40 * HOUR]);
}

#[test]
fn a_clock_that_is_set_back_passes_no_limit() {
    set_after_a_stop(30 * HOUR, &[20 * HOUR, 0, -30 * HOUR]);
}
