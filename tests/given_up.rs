//! What the real pm2 shows of a bot that it does not start again, and where it writes the pid.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use testkit::pm2::Pm2;
use testkit::world::World;

const BOUND: Duration = Duration::from_secs(90);

/// It exits at once with the code that its file says, if any.
const BOT: &str = r#"
const fs = require('fs');
const exits = __dirname + '/' + process.env.name + '.exits';
if (fs.existsSync(exits)) process.exit(Number(fs.readFileSync(exits, 'utf8')));
setInterval(() => {}, 1000);
"#;

/// Bots under the real pm2, with these keys of its ecosystem file. These exit at once.
fn bots(apps: &[(&str, Value)], exiting: &[&str]) -> (World, Pm2) {
    let names: Vec<&str> = apps.iter().map(|(name, _)| *name).collect();
    let world = testkit::world!().quiet(&names).within(BOUND).configured(
        "connection: {quiet: 1s, timeout: 30s, trust: ['*']}\nprocesses:\n  - {allow_restart: true, pm2: {name: '{session}', home: DIR/pm2}, stop_timeout: 60s, gone_timeout: 30s}\n",
    );
    let pm2 = Pm2::new(world.root());
    world.write("bot.js", BOT);
    let mut entries = Vec::new();
    for (name, keys) in apps {
        let mut entry = json!({"name": name, "script": world.path("bot.js")});
        let keys = keys.as_object().unwrap().clone();
        entry.as_object_mut().unwrap().extend(keys);
        entries.push(entry);
    }
    for name in exiting {
        world.write(&format!("{name}.exits"), "1");
    }
    let ecosystem = json!({"apps": entries}).to_string();
    world.write("ecosystem.json", &ecosystem);
    let ecosystem = world.path("ecosystem.json").display().to_string();
    pm2.run(&["start", &ecosystem]);
    (world, pm2)
}

/// pm2 says `waiting restart` of each of these and starts none of them again.
#[test]
fn a_bot_that_pm2_does_not_start_again_is_down_and_can_be_started() {
    let limits = |delay: &str| json!({"max_restarts": 3, "min_uptime": "10s", delay: 200});
    let apps = [
        ("limit", limits("restart_delay")),
        ("backoff", limits("exp_backoff_restart_delay")),
        (
            "code",
            json!({"stop_exit_codes": [1], "restart_delay": 200}),
        ),
        ("once", json!({"autorestart": false, "restart_delay": 200})),
    ];
    let (world, pm2) = bots(&apps, &["limit", "backoff", "code", "once"]);
    for (name, _) in apps {
        let waits = ("waiting restart".to_owned(), 0);
        world.wait("pm2 gives up", || match pm2.says(name) {
            says if says == waits => Ok(()),
            says => Err(format!("{name}: {says:?}")),
        });
        let doctor = world.doctor(name, &[]);
        assert_eq!(
            (doctor.verdict(), doctor.finding("process")),
            (("disconnected", true), "gone"),
            "{name}: {doctor:?}"
        );
        let report = world.service(name, &["--stop"]);
        assert_eq!(
            (report.code, report.presence.as_str()),
            (0, "gone"),
            "{name}: {report:?}"
        );
        assert_eq!(pm2.says(name), waits, "{name}: nothing was called");

        fs::remove_file(world.path(&format!("{name}.exits"))).unwrap();
        let report = world.service(name, &["--start"]);
        assert_eq!(
            (report.code, report.presence.as_str()),
            (0, "running"),
            "{name}: {report:?}"
        );
        assert_eq!(pm2.says(name).0, "online", "{name}");
    }
}

/// One that waits is about to run. One in the middle of `pm2 restart` shows the same for too short a
/// time to be met here; the unit tests have it.
#[test]
fn a_bot_that_pm2_starts_again_is_not_gone() {
    let (world, pm2) = bots(&[("waits", json!({"restart_delay": 600_000}))], &["waits"]);
    world.wait("it waits", || match pm2.says("waits") {
        (status, 1..) if status == "waiting restart" => Ok(()),
        says => Err(format!("{says:?}")),
    });
    let report = world.service("waits", &[]);
    assert_eq!(report.presence, "running", "{report:?}");
}

/// Where pm2 writes the pid elsewhere, its own directory tells nothing of the end of this bot.
#[test]
fn a_bot_with_its_pid_file_elsewhere_is_known_to_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let keys = json!({"pid_file": dir.path().join("bot.pid")});
    let (world, pm2) = bots(&[("bot", keys)], &[]);
    world.wait_for_presence("bot", "running");
    let before = SystemTime::now() - Duration::from_secs(3600);
    let pids = File::open(world.path("pm2/pids")).unwrap();
    pids.set_modified(before).unwrap();
    let creds = world.folder("bot").join("creds.json");
    let creds = File::options().append(true).open(creds).unwrap();
    creds.set_modified(SystemTime::now()).unwrap();
    pm2.run(&["stop", "bot"]);
    world.wait("the folder is quiet", || {
        let doctor = world.doctor("bot", &[]);
        match doctor.verdict() {
            ("disconnected", true) => Ok(()),
            _ => Err(format!("{doctor:?}")),
        }
    });
}
