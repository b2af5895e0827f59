//! The wall clock is set while the remediator runs: no limit is passed, and none lasts longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the world has more than one test needs")]

mod restart_world;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::{fixture, process};

use restart_world::{REMEDIATOR, World};

/// Wall time of the program is off by as many seconds as the file `$WRONG_BY` says. The other
/// clocks are right.
const SHIM: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, id, time);
    const char *path = getenv("WRONG_BY");
    if (failed || id != CLOCK_REALTIME || !path) return failed;
    char text[32] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return failed;
    if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
    close(file);
    return failed;
}
"#;
const HOUR: i64 = 3_600;

/// The words that go before a program whose wall clock is wrong.
fn wrapper(world: &World) -> [String; 3] {
    let (source, library) = (world.at("shim.c"), world.at("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let args = ["-shared", "-fPIC", "-o"].map(str::to_owned);
    let paths = [&library, &source].map(|path| path.display().to_string());
    let args = args.into_iter().chain(paths);
    let (status, _, err) = process::run(Path::new("cc"), args, Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{err}");
    wrong_by(world, 0);
    [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("WRONG_BY={}", world.at("wrong-by").display()),
    ]
}

/// Sets the wall clock.
fn wrong_by(world: &World, seconds: i64) {
    fs::write(world.at("wrong-by.new"), seconds.to_string()).unwrap();
    fs::rename(world.at("wrong-by.new"), world.at("wrong-by")).unwrap();
}

/// What `status` says of the service, by the same wall clock.
fn service(world: &World, wrapper: &[String]) -> Value {
    let command = [REMEDIATOR, "status", "--output=json"].map(str::to_owned);
    let args = wrapper[1..].iter().cloned().chain(command);
    let args = args.chain(world.all_flags());
    let ran = process::run(Path::new(&wrapper[0]), args, Duration::from_secs(60));
    let (status, out, err) = ran.unwrap();
    assert!(status.success(), "{err}");
    let overview: Value = serde_json::from_str(&out).unwrap();
    overview["services"][0].clone()
}

/// The bot is stopped and cleaned while the clock is wrong by `before`, and needs it again after
/// the clock was set.
fn set_after_a_stop(before: i64, after: &[i64]) {
    let (mut world, _) = World::new();
    let wrapper = wrapper(&world);
    wrong_by(&world, before);
    world.start_by(&wrapper.each_ref().map(String::as_str));
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}");
    for wrong in after {
        wrong_by(&world, *wrong);
        let quiet = SystemTime::now() - Duration::from_secs(900);
        fixture::unpack("bloated-classic-387", &world.folder(), quiet).unwrap();
        let answer = world.try_deliver_for("bot", "emergency").unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer["queued"], 0, "{before} {wrong}: {answer}");
        let service = service(&world, &wrapper);
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
        let (mut world, before) = World::new();
        let wrapper = wrapper(&world);
        world.start_by(&wrapper.each_ref().map(String::as_str));
        world.start();
        wrong_by(&world, by);
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
        let service = service(&world, &wrapper);
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
