//! A bot that was cleaned and started, and that is stopped before it has connected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the world has more than one test needs")]

mod restart_world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use testkit::{net, npm, process};

use restart_world::World;

const BOUND: Duration = Duration::from_secs(120);

fn phase(world: &World) -> Value {
    world.status()["services"][0]["phase"].clone()
}

fn wait_for_phase(world: &World, wanted: &Value) {
    world.wait(&format!("the phase {wanted}"), || match phase(world) {
        phase if phase == *wanted => Ok(()),
        phase => Err(phase.to_string()),
    });
}

fn connects_slowly(world: &World) {
    let config = fs::read_to_string(world.at("config.yml")).unwrap();
    let slow = config.replace("connect_timeout: 20s", "connect_timeout: 600s");
    fs::write(world.at("config.yml"), slow).unwrap();
}

/// A command cannot say who stopped it: there a pause keeps it stopped.
#[test]
fn under_a_pause_it_stays_stopped() {
    let (mut world, _) = World::new();
    connects_slowly(&world);
    world.start();
    world.mark("hold-start");
    world.deliver("emergency");
    world.wait_for_file("reached-start");
    world.mark("offline");
    world.unmark("hold-start");
    wait_for_phase(&world, &"waiting_for_connection".into());
    let (code, _, err) = world.command(&["pause", "--reason", "I work on it"]);
    assert_eq!(code, Some(0), "{err}");
    world.end_bot();
    let run = world.wait("the run ends", || world.ended());
    assert_eq!(run["reason"], "down", "{run}");
    let detail = run["detail"].as_str().unwrap();
    assert!(
        detail.contains("it was stopped after that") && detail.contains("resume"),
        "{detail}"
    );
    assert_eq!(phase(&world), "paused");
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 1));
    assert!(world.sv("gone").0, "it was started");
}

/// The bot `bot` under a pm2 of its own.
struct Pm2 {
    program: PathBuf,
    env: Vec<String>,
}

impl Pm2 {
    fn run(&self, args: &[&str]) -> String {
        let program = self.program.display().to_string();
        let args = args.iter().map(|arg| (*arg).to_owned());
        let all = self.env.iter().cloned().chain([program]).chain(args);
        let (status, out, err) = process::run(Path::new("env"), all, BOUND).unwrap();
        assert!(status.success(), "{out}{err}");
        out
    }

    fn status(&self) -> String {
        let list = self.run(&["jlist"]);
        let list = list.lines().find(|line| line.starts_with('[')).unwrap();
        let list: Value = serde_json::from_str(list).unwrap();
        list[0]["pm2_env"]["status"].as_str().unwrap().to_owned()
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        let program = self.program.display().to_string();
        let all = self.env.iter().cloned().chain([program, "kill".into()]);
        let _ = process::run(Path::new("env"), all, BOUND);
    }
}

/// From its second start on it does not connect.
const BOT: &str = r#"
const fs = require("fs");
const dir = process.env.DIR;
fs.appendFileSync(dir + "/starts", "start\n");
if (fs.readFileSync(dir + "/starts", "utf8").length > 6) fs.writeFileSync(dir + "/offline", "");
fs.writeFileSync(dir + "/pid", String(process.pid));
setInterval(() => {
    if (fs.existsSync(dir + "/offline")) return;
    const now = new Date();
    fs.utimesSync(dir + "/sessions/bot/creds.json", now, now);
}, 100);
"#;

/// With and without a pause: who stopped it starts it again.
#[test]
fn with_the_real_pm2_it_stays_stopped() {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pm2");
    npm::install(&installed, &[]).unwrap_or_else(|failure| panic!("{failure}"));
    for pause in [false, true] {
        let (mut world, _) = World::new();
        world.sv("stop");
        let dir = world.at("").display().to_string();
        fs::create_dir(world.at("pm2")).unwrap();
        fs::create_dir(world.at("bin")).unwrap();
        let program = installed.join("node_modules/pm2/bin/pm2");
        std::os::unix::fs::symlink(&program, world.at("bin/pm2")).unwrap();
        let pm2 = Pm2 {
            program,
            env: vec![
                format!("PM2_HOME={}", world.at("pm2").display()),
                format!("DIR={dir}"),
            ],
        };
        fs::write(world.at("bot.js"), BOT).unwrap();
        let ask = "cd \"$(dirname \"$0\")\"\nif [ ! -e offline ] && kill -0 \"$(cat pid)\" 2>/dev/null; then echo connected; else echo disconnected; fi\n";
        fs::write(world.at("ask"), ask).unwrap();
        let yaml = r#"
connection: {command: [sh, DIR/ask], timeout: 30s, quiet: 1s, trust: ["*"]}
armed: {look_every: 1s}
processes:
  - pm2: {name: "{session}", home: DIR/pm2}
    allow_restart: true
    connect_timeout: 600s
"#;
        fs::write(world.at("config.yml"), yaml.replace("DIR/", &dir)).unwrap();
        let script = world.at("bot.js").display().to_string();
        pm2.run(&["start", &script, "--name", "bot"]);
        let path = std::env::var("PATH").unwrap();
        world.start_by(&["env", &format!("PATH={dir}bin:{path}")]);
        world.start();
        world.wait("the bot runs", || match world.at("pid").exists() {
            true => Ok(()),
            false => Err("not yet".into()),
        });
        world.deliver("emergency");
        wait_for_phase(&world, &"waiting_for_connection".into());
        if pause {
            let (code, _, err) = world.command(&["pause", "--reason", "I work on it"]);
            assert_eq!(code, Some(0), "{err}");
        }
        pm2.run(&["stop", "bot"]);
        let run = world.wait("the run ends", || world.ended());
        assert_eq!(run["reason"], "down", "{run}\n{}", world.read("log"));
        let detail = run["detail"].as_str().unwrap();
        assert!(detail.contains("a person starts it again"), "{detail}");
        assert_eq!(phase(&world), Value::Null, "{}", world.read("log"));
        assert_eq!(pm2.status(), "stopped");
        assert_eq!(world.read("starts"), "start\nstart\n");
    }
}

/// `docker` with one container, whose bot is that of `sv`. Each look that finds it stopped adds a
/// line to `looks`.
const DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")/.."
state='"Status":"exited","Running":false,"Restarting":false,"Pid":0'
case $1 in
inspect)
    if sh sv gone; then
        echo look >>looks
    else
        state="\"Status\":\"running\",\"Running\":true,\"Restarting\":false,\"Pid\":$(cat bot.pid)"
    fi
    echo "{\"id\":\"0123456789abcdef\",\"name\":\"/bot\",\"state\":{$state},\"auto_remove\":false,\"labels\":{},\"restart\":{\"Name\":\"always\"}}"
    ;;
stop) sh sv stop ;;
start) sh sv start ;;
esac
"#;

/// A container that is waited for, and that does not connect.
fn container_that_is_waited_for() -> World {
    let (mut world, _) = World::new();
    let dir = world.at("").display().to_string();
    fs::create_dir(world.at("bin")).unwrap();
    fs::write(world.at("bin/docker"), DOCKER).unwrap();
    let mode = PermissionsExt::from_mode(0o755);
    fs::set_permissions(world.at("bin/docker"), mode).unwrap();
    let yaml = r#"
connection: {command: [sh, DIR/sv, ask], timeout: 30s, quiet: 1s, trust: ["*"]}
armed: {look_every: 1s}
processes:
  - docker: {container: bot}
    allow_restart: true
    connect_timeout: 20s
"#;
    fs::write(world.at("config.yml"), yaml.replace("DIR/", &dir)).unwrap();
    let path = std::env::var("PATH").unwrap();
    world.start_by(&["env", &format!("PATH={dir}bin:{path}")]);
    world.start();
    world.mark("hold-start");
    world.deliver("emergency");
    world.wait_for_file("reached-start");
    world.mark("offline");
    world.unmark("hold-start");
    wait_for_phase(&world, &"waiting_for_connection".into());
    world.unmark("looks");
    world.sv("stop");
    world
}

/// Something restarts it while it is waited for: `docker restart`, autoheal, watchtower.
#[test]
fn a_restart_while_it_is_waited_for_is_no_stop() {
    let world = container_that_is_waited_for();
    world.wait("some looks", || match world.read("looks").lines().count() {
        0..6 => Err(world.status().to_string()),
        _ => Ok(()),
    });
    world.sv("start");
    let run = world.wait("the run ends", || world.ended());
    assert_eq!(
        run["reason"],
        "not_connected",
        "{run}\n{}",
        world.read("log")
    );
    let metrics = net::get(&format!("http://127.0.0.1:{}/metrics", world.port()));
    let is_late = |line: &str| {
        line.starts_with("baileys_remediator_service_not_back{")
            && line.contains(r#"reason="not_connected""#)
            && line.ends_with(" 1")
    };
    let body = metrics.unwrap().body;
    assert!(body.lines().any(is_late), "{body}");
    assert_eq!((world.calls("stop"), world.calls("start")), (2, 2));
}

#[test]
fn a_container_that_a_person_stops_while_it_is_waited_for_stays_stopped() {
    let world = container_that_is_waited_for();
    let run = world.wait("the run ends", || world.ended());
    assert_eq!(run["reason"], "down", "{run}\n{}", world.read("log"));
    let detail = run["detail"].as_str().unwrap();
    assert!(detail.contains("a person starts it again"), "{detail}");
    assert_eq!(phase(&world), Value::Null, "{}", world.read("log"));
    assert_eq!((world.calls("stop"), world.calls("start")), (2, 1));
}
