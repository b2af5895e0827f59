//! A bot whose program dies at each start, under the real pm2: hardly a look of the exporter sees
//! its process, and the restarts are counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::time::Duration;

use testkit::pm2::Pm2;
use testkit::process;
use testkit::world::World;

/// The exporter looks every 30 seconds.
const BOUND: Duration = Duration::from_secs(300);
/// With the file `dies` beside it, it ends at once.
const BOT: &str = "const fs = require('fs');
const ends = () => { if (fs.existsSync(__dirname + '/dies')) process.exit(1); };
ends();
fs.writeFileSync(__dirname + '/pids', String(process.pid));
setInterval(ends, 20);
";

#[test]
fn a_bot_that_dies_at_each_start_is_counted_by_the_real_pm2() {
    let mut world = testkit::world!()
        .quiet(&["bot"])
        .configured(
            "connection: {timeout: 30s}\nprocesses: [{pm2: {name: '{session}', home: DIR/pm2}}]\n",
        )
        .within(BOUND);
    world.write("bot.js", BOT);
    let pm2 = Pm2::new(world.root());
    let script = world.path("bot.js").display().to_string();
    // pm2 waits longer before each start, up to 15 seconds.
    pm2.run(&[
        "start",
        &script,
        "--name",
        "bot",
        "--exp-backoff-restart-delay=100",
    ]);
    let by_pm2 = || pm2.list()[0]["pm2_env"]["restart_time"].as_u64().unwrap() as f64;
    assert_eq!(by_pm2(), 0.0);
    world.start_exporter();
    let restarts = || {
        let name = "baileys_auth_process_restarts_total";
        world.metrics().sum(name, &[("session", "bot")])
    };
    let wait_for = |what: &str, is_so: &dyn Fn(f64) -> bool| {
        world.wait(what, || match restarts()? {
            value if is_so(value) => Ok(value),
            value => Err(format!("{value} restarts")),
        })
    };
    wait_for("the process is seen", &|value| value == 0.0);

    // A person restarts it. pm2 counts that, and the process is another one: once.
    pm2.run(&["restart", "bot"]);
    wait_for("the restart of a person counts", &|value| value > 0.0);
    assert_eq!((restarts().unwrap(), by_pm2()), (1.0, 1.0));

    world.write("dies", "");
    wait_for("more than 5 restarts", &|value| value > 6.0);
    let state = |state: &str| {
        let labels = [("session", "bot"), ("state", state)];
        let name = "baileys_auth_connection_state";
        world.metrics().sum(name, &labels).unwrap()
    };
    assert_eq!((state("connected"), state("disconnected")), (0.0, 0.0));

    // It lives again: what pm2 counted was counted, and nothing twice.
    fs::remove_file(world.path("dies")).unwrap();
    world.wait("the bot lives", || match pm2.says("bot").0.as_str() {
        "online" => Ok(()),
        other => Err(other.to_owned()),
    });
    wait_for("all restarts are counted", &|value| value == by_pm2());
    // pm2's daemon dies, and its bots with it: nothing is proven, but it is known.
    let running = |world: &World| {
        let name = "baileys_auth_process_running";
        world.metrics().sum(name, &[("session", "bot")]).ok()
    };
    let unknown_and_running = |world: &World, expected: Option<f64>| {
        let labels = [("session", "bot"), ("state", "unknown")];
        let state = world
            .metrics()
            .sum("baileys_auth_connection_state", &labels)?;
        match (state, running(world)) {
            (1.0, running) if running == expected => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    let on_request = |world: &World| {
        let name = "baileys_auth_stopped_on_request";
        world.metrics().sum(name, &[("session", "bot")]).unwrap()
    };
    world.wait("it runs", || unknown_and_running(&world, Some(1.0)));
    pm2.kill();
    process::end(&world.read("pids"), "bot.js");
    world.wait("it has ended", || unknown_and_running(&world, Some(0.0)));
    assert_eq!(on_request(&world), 0.0, "pm2 does not tell");

    // The same after a reboot: as if the exporter had last seen it before.
    assert!(world.stop().success());
    let seen = world.read("exporter-state/alive.json");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(seen.contains(boot.trim()), "{seen}");
    world.write(
        "exporter-state/alive.json",
        &seen.replace(boot.trim(), "01234567-89ab-cdef-0123-456789abcdef"),
    );
    world.start_exporter();
    world.wait("it ended before", || unknown_and_running(&world, Some(0.0)));
    assert_eq!(on_request(&world), 0.0);
    drop(pm2);
    world.finish();
}
