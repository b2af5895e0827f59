//! What the start of a service may do to its bot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;

use testkit::supervised::SupervisedBot;

/// Changes the supervisor's script.
fn with(world: &SupervisedBot, from: &str, to: &str) {
    let script = fs::read_to_string(world.path("sv")).unwrap();
    assert!(script.contains(from), "{script}");
    fs::write(world.path("sv"), script.replacen(from, to, 1)).unwrap();
}

const STARTS: &str = "    alive && { hold start-after; exit 0; }\n";

/// The bot itself, or a script that runs it: it is not killed when the time of the call is over.
#[test]
fn a_start_that_does_not_return_is_the_bot() {
    let (mut world, before) = testkit::supervised_bot!();
    let config = fs::read_to_string(world.path("config.yml")).unwrap();
    let short = config.replace("start_timeout: 10s", "start_timeout: 3s");
    fs::write(world.path("config.yml"), short).unwrap();
    with(
        &world,
        STARTS,
        &format!("{STARTS}    rm -f bot.ready\n    echo $$ >bot.pid\n    exec sh bot.bot\n"),
    );
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert!(world.moved(&before) > 200);
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 1));
    world.is_connected().unwrap();
    world.says("the start command did not return");
}

/// A bot that is killed while it writes leaves a torn creds.json, after its start as well.
#[test]
fn before_each_further_start_a_torn_creds_json_is_put_back() {
    let (mut world, _) = testkit::supervised_bot!();
    let first = "    if [ ! -e torn ]; then\n        : >torn\n        setsid sh -c 'sleep 2; : >sessions/bot/creds.json' </dev/null >/dev/null 2>&1 &\n        echo $! >bot.pid\n        touch offline\n        exit 0\n    fi\n    rm -f offline\n";
    with(
        &world,
        STARTS,
        &format!("{STARTS}    wc -c <sessions/bot/creds.json >>sizes\n{first}"),
    );
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 2));
    let sizes = world.read("sizes");
    let sizes: Vec<u64> = sizes.lines().map(|n| n.trim().parse().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    world.is_connected().unwrap();
}
