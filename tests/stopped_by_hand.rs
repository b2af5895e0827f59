//! A bot that was cleaned and started, and that is stopped before it has connected; and the command
//! that stops or starts it during a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use testkit::fixture::Snapshot;
use testkit::pm2::Pm2;
use testkit::process::Process;
use testkit::supervised::SupervisedBot;

fn phase(world: &SupervisedBot) -> Value {
    world.status()["services"][0]["phase"].clone()
}

fn wait_for_phase(world: &SupervisedBot, wanted: &Value) {
    world.wait(&format!("the phase {wanted}"), || match phase(world) {
        phase if phase == *wanted => Ok(()),
        phase => Err(phase.to_string()),
    });
}

fn connects_slowly(world: &SupervisedBot) {
    let config = fs::read_to_string(world.path("config.yml")).unwrap();
    let slow = config.replace("connect_timeout: 20s", "connect_timeout: 600s");
    fs::write(world.path("config.yml"), slow).unwrap();
}

/// A command cannot say who stopped it: there a pause keeps it stopped.
#[test]
fn under_a_pause_it_stays_stopped() {
    let (mut world, _) = testkit::supervised_bot!();
    connects_slowly(&world);
    world.start();
    world.mark("hold-start-before");
    world.deliver("emergency");
    world.wait_for_file("reached-start-before");
    world.mark("offline");
    world.unmark("hold-start-before");
    wait_for_phase(&world, &"waiting_for_connection".into());
    let (code, _, err) = world
        .command(&["pause", "--reason", "I work on it"])
        .parts();
    assert_eq!(code, 0, "{err}");
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

/// From its second start on it does not connect.
const BOT: &str = r#"
const fs = require("fs");
const dir = process.env.DIR;
fs.appendFileSync(dir + "/starts", "start\n");
if (fs.readFileSync(dir + "/starts", "utf8").length > 6) fs.writeFileSync(dir + "/offline", "");
fs.writeFileSync(dir + "/pid", String(process.pid));
fs.appendFileSync(dir + "/pids", process.pid + "\n");
setInterval(() => {
    if (fs.existsSync(dir + "/offline")) return;
    const now = new Date();
    fs.utimesSync(dir + "/sessions/bot/creds.json", now, now);
}, 100);
"#;

/// With and without a pause: who stopped it starts it again.
#[test]
fn with_the_real_pm2_it_stays_stopped() {
    for pause in [false, true] {
        let (mut world, _) = testkit::supervised_bot!();
        world.sv("stop");
        let dir = world.root().display().to_string();
        let mut pm2 = Pm2::new(world.root());
        pm2.env.push(format!("DIR={dir}"));
        fs::write(world.path("bot.js"), BOT).unwrap();
        let ask = "cd \"$(dirname \"$0\")\"\nif [ ! -e offline ] && kill -0 \"$(cat pid)\" 2>/dev/null; then echo connected; else echo disconnected; fi\n";
        fs::write(world.path("ask"), ask).unwrap();
        let yaml = r#"
connection: {command: [sh, DIR/ask], timeout: 30s, quiet: 1s, trust: ["*"]}
armed: {look_every: 1s}
processes:
  - pm2: {name: "{session}", home: DIR/pm2}
    allow_restart: true
    connect_timeout: 600s
"#;
        fs::write(world.path("config.yml"), yaml.replace("DIR", &dir)).unwrap();
        let script = world.path("bot.js").display().to_string();
        pm2.run(&["start", &script, "--name", "bot"]);
        world.start();
        world.wait("the bot runs", || match world.path("pid").exists() {
            true => Ok(()),
            false => Err("not yet".into()),
        });
        world.deliver("emergency");
        wait_for_phase(&world, &"waiting_for_connection".into());
        if pause {
            let (code, _, err) = world
                .command(&["pause", "--reason", "I work on it"])
                .parts();
            assert_eq!(code, 0, "{err}");
        }
        pm2.run(&["stop", "bot"]);
        let run = world.wait("the run ends", || world.ended());
        assert_eq!(run["reason"], "down", "{run}\n{}", world.read("log"));
        let detail = run["detail"].as_str().unwrap();
        assert!(detail.contains("a person starts it again"), "{detail}");
        assert_eq!(phase(&world), Value::Null, "{}", world.read("log"));
        assert_eq!(pm2.says("bot").0, "stopped");
        assert_eq!(world.read("starts"), "start\nstart\n");
    }
}

/// `docker` with one container, whose bot is that of `sv`. Each look that finds it stopped adds a
/// line to `looks`.
const DOCKER: &str = r#"
state="\"Status\":\"exited\",\"Running\":false,\"Restarting\":false,\"Pid\":0,\"Error\":\"\",\"FinishedAt\":\"$(date -u +%FT%TZ)\""
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

/// A container and its remediator, which starts. `docker` begins with this.
fn container(docker: &str) -> (SupervisedBot, Snapshot) {
    let (mut world, before) = testkit::supervised_bot!();
    let dir = world.root().display().to_string();
    world.stand_in("docker", &format!("{docker}\n{DOCKER}"));
    let yaml = r#"
connection: {command: [sh, DIR/sv, ask], timeout: 30s, quiet: 1s, trust: ["*"]}
armed: {look_every: 1s}
processes:
  - docker: {container: bot}
    allow_restart: true
    connect_timeout: 20s
"#;
    fs::write(world.path("config.yml"), yaml.replace("DIR", &dir)).unwrap();
    let path = std::env::var("PATH").unwrap();
    world.start_by(&["env", &format!("PATH={dir}/bin:{path}")]);
    world.start();
    (world, before)
}

/// A container that is waited for, and that does not connect.
fn container_that_is_waited_for() -> SupervisedBot {
    let (world, _) = container("");
    world.mark("hold-start-before");
    world.deliver("emergency");
    world.wait_for_file("reached-start-before");
    world.mark("offline");
    world.unmark("hold-start-before");
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
    let late = world.metric("service_not_back", &[("reason", "not_connected")]);
    assert_eq!(late, 1.0);
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

/// `serve` holds the lock of the folder. When it was killed, the restart is still in the journal:
/// the next one would start what the command has stopped, and puts back a damaged creds.json
/// before it starts.
#[test]
fn the_command_service_waits_for_a_restart() {
    let (mut world, _) = testkit::supervised_bot!();
    world.start();
    world.mark("hold-ask-down");
    world.deliver("emergency");
    world.wait_for_file("reached-ask-down");
    let is_refused = |world: &SupervisedBot, why: &str| {
        for verb in ["--stop", "--start"] {
            let (code, _, err) = world.command(&["service", "bot", verb]).parts();
            assert!(code == 2 && err.contains(why), "{verb}: {code} {err}");
            let calls = (world.calls("stop"), world.calls("start"));
            assert_eq!(calls, (1, 0), "{verb}");
        }
    };
    is_refused(&world, "another run holds the lock");
    world.signal(Signal::KILL);
    assert!(!world.ends().success());
    is_refused(&world, "has stopped the service bot for a clean-up");
    world.unmark("hold-ask-down");
    world.start();
    world.wait("the bot is connected", || world.is_connected());
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 1));
}

/// Killed before its call has ended: the call goes on, and no remediator starts what it stops.
#[test]
fn what_a_killed_command_stops_stays_stopped() {
    let (mut world, before) = testkit::supervised_bot!();
    world.reconfigure("stop_timeout: 20s", "stop_timeout: 5s");
    world.mark("hold-stop-before");
    let mut args = vec!["service".to_owned(), "bot".into(), "--stop".into()];
    args.extend(world.remediator_flags());
    let log = world.path("command.log");
    let program = Path::new(env!("CARGO_BIN_EXE_baileys_remediator"));
    let mut command = Process::start("service", program, &args, &log).unwrap();
    world.wait_for_file("reached-stop-before");
    command.kill();
    world.start();
    world.deliver("emergency");
    world.unmark("hold-stop-before");
    world.wait_until_gone("bot");
    let run = world.wait("the run ends", || world.ended());
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert!(world.moved(&before) > 200);
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 0));
    assert!(world.sv("gone").0, "it was started");
}

/// Once the intent to stop it is on record the bot is looked at twice: before the stop, and by the
/// stop. A person stops it between the two.
const STOPPED_BETWEEN: &str = r#"
if [ "$1" = inspect ] && [ -e sessions/bot/.baileys_quarantine/restart.json ]; then
    echo intended >>intended
    if [ "$(wc -l <intended)" = 2 ]; then
        sh sv stop
        while ! sh sv gone; do sleep 0.05; done
    fi
fi
"#;

#[test]
fn a_container_that_a_person_stops_just_before_the_remediator_stays_stopped() {
    let (world, before) = container(STOPPED_BETWEEN);
    world.deliver("emergency");
    let run = world.wait("the run ends", || world.ended());
    let steps = world.show(&run).to_string();
    assert!(steps.contains("stopping"), "{steps}\n{}", world.read("log"));
    assert_eq!(phase(&world), Value::Null, "{}", world.read("log"));
    // The run is armed, and cleans it once its folder is quiet.
    world.wait("it is cleaned", || match world.moved(&before) {
        200.. => Ok(()),
        moved => Err(format!("{moved} moved: {}", world.status())),
    });
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 0));
    assert!(world.sv("gone").0, "it was started");
}
