//! A service is stopped, recognised as gone and started: by the real pm2 from npm, by plain
//! commands, and by stand-ins for systemd and docker, which keep a bot-shaped process under
//! a supervisor and write down how they were called.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::Patience;
use testkit::pm2::Pm2;
use testkit::process::{Process, end, is_alive};
use testkit::world::World;

const BOUND: Duration = Duration::from_secs(90);

fn config(processes: &str) -> String {
    format!("connection: {{session_pattern: 'bot(?<id>.*)'}}\nprocesses:\n{processes}")
}

/// Quiet bots, and processes that belong to them.
fn with_processes(sessions: &[&str], processes: &str) -> World {
    let mut world = testkit::world!().quiet(sessions);
    world.env.push("SECRET_OF_THE_REMEDIATOR=1".to_owned());
    world.configured(&config(processes)).within(BOUND)
}

/// What `doctor` says of the process of `session`: finding and detail.
fn process_of(world: &World, session: &str) -> (String, String) {
    let trust = format!("--connection.trust={session}");
    let doctor = world.doctor(session, &[&trust]);
    (
        doctor.finding("process").to_owned(),
        doctor.detail("process").to_owned(),
    )
}

/// A service manager in small: it starts `bot.sh`, starts it again when it dies, and kills
/// it when it does not stop within a second.
const SUPERVISOR: &str = r#"
cd "$1"
state() { printf '%s\n' "LoadState=loaded" "ActiveState=$1" "SubState=$2" "MainPID=$3" "ControlPID=0" "ControlGroup=" "TasksCurrent=[not set]" "TriggeredBy=" >state.new; mv state.new state; }
state inactive dead 0
while [ ! -e quit ]; do
  if [ -e wanted ]; then
    sh ./bot.sh >/dev/null 2>&1 &
    pid=$!
    echo "$pid" >>starts
    state active running "$pid"
    while kill -0 "$pid" 2>/dev/null && [ -e wanted ] && [ ! -e quit ]; do sleep 0.05; done
    if kill -0 "$pid" 2>/dev/null; then
      state deactivating stop-sigterm "$pid"
      kill -TERM "$pid"
      n=0
      while kill -0 "$pid" 2>/dev/null && [ "$n" -lt 20 ]; do sleep 0.05; n=$((n + 1)); done
      kill -KILL "$pid" 2>/dev/null && echo "$pid" >>killed
    fi
    wait "$pid"
    if [ -e wanted ]; then state activating auto-restart 0; sleep 0.3; else state inactive dead 0; fi
  else
    state inactive dead 0
    sleep 0.05
  fi
done
"#;

/// Asks the supervisor as systemctl asks systemd. It answers to one unit.
const SYSTEMCTL: &str = r#"
printf '%s|' "$@" >>asked; echo >>asked
env | grep -c SECRET >>env
[ "$1" = --no-ask-password ] || exit 9
shift
for unit; do :; done
if [ "$unit" = api.service ]; then
  # Asked about because a stop of the bot would take it along.
  [ "$*" = "show --property=Id,ActiveState,RequiredBy,RequisiteOf,BoundBy,ConsistsOf,PropagatesStopTo -- multi-user.target api.service" ] &&
    { printf 'Id=multi-user.target\nActiveState=active\n\nId=api.service\n'; cat api; exit 0; }
  exit 5
fi
if [ "$unit" != bot@7.service ]; then
  [ "$1" = show ] && { printf 'LoadState=not-found\nActiveState=inactive\nSubState=dead\nMainPID=0\nControlPID=0\nControlGroup=\nTasksCurrent=[not set]\nTriggeredBy=\n'; exit 0; }
  exit 5
fi
[ -e denied ] && [ "$1" != show ] && exit 4
case "$1" in
  show) cat state; [ ! -e along ] || cat along ;;
  --no-block) [ "$2" = stop ] && rm -f wanted ;;
  start) touch wanted; while ! grep -q ActiveState=active state; do sleep 0.05; done ;;
  *) exit 1 ;;
esac
"#;

#[test]
fn a_unit_is_stopped_and_started_under_its_supervisor() {
    let world = with_processes(
        &["bot7", "bot8", "bot*"],
        "  - {allow_restart: true, systemd: {unit: 'bot@{id}.service'}, stop_timeout: 30s, gone_timeout: 60s}\n",
    );
    world.stand_in("systemctl", SYSTEMCTL);
    world.stand_in("supervisor", &SUPERVISOR.replace("cd \"$1\"", ""));
    world.write("bot.sh", "while :; do sleep 0.1; done\n");
    let mut supervisor = Process::start(
        "supervisor",
        &world.path("bin/supervisor"),
        [""; 0],
        &world.path("log"),
    )
    .unwrap();
    Patience::new(BOUND)
        .wait_until(BOUND, "its state", || {
            match world.read("state").is_empty() {
                true => Err("none".into()),
                false => Ok(()),
            }
        })
        .unwrap();

    // Stop of what is stopped, start, and start of what runs.
    let report = world.service("bot7", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );
    let report = world.service("bot7", &["--start"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "running"),
        "{report:?}"
    );
    let first = world.read("starts");
    let report = world.service("bot7", &["--start"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "running"),
        "{report:?}"
    );
    assert_eq!(world.read("starts"), first, "it was not started twice");

    // One that dies and is started again is never gone.
    kill_process(
        Pid::from_raw(first.trim().parse().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    Patience::new(BOUND)
        .wait_until(BOUND, "a restart", || {
            let report = world.service("bot7", &[]);
            assert_eq!(report.presence, "running", "{report:?}");
            match world.read("starts").lines().count() {
                2.. => Ok(()),
                one => Err(format!("{one} start")),
            }
        })
        .unwrap();

    // Stopped, with the argv that was promised and no environment of ours.
    world.write("asked", "");
    let report = world.service("bot7", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );
    let last = world.read("starts");
    assert!(
        !is_alive(last.lines().last().unwrap()),
        "its process is gone"
    );
    let asked = world.read("asked");
    assert!(
        asked.contains("--no-ask-password|--no-block|stop|--|bot@7.service|\n"),
        "{asked}"
    );
    assert!(
        asked
            .lines()
            .all(|line| line.ends_with("|--|bot@7.service|")),
        "{asked}"
    );
    assert!(
        world.read("env").lines().all(|count| count == "0"),
        "a minimal environment"
    );

    // Another unit that runs would be stopped along, and not be started.
    world.service("bot7", &["--start"]);
    for along in ["RequiredBy", "BoundBy", "ConsistsOf"] {
        world.write("along", &format!("{along}=multi-user.target api.service\n"));
        world.write("api", "ActiveState=active\n");
        world.write("asked", "");
        let report = world.service("bot7", &["--stop"]);
        assert!(
            report.code == 2 && report.err.contains("would be stopped along"),
            "{along}: {report:?}"
        );
        assert_eq!(report.presence, "running", "{along}: it was left alone");
        assert!(!world.read("asked").contains("|stop|"), "{along}");
    }
    world.write("api", "ActiveState=inactive\n");
    let report = world.service("bot7", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );
    world.write("along", "RequiredBy=multi-user.target\n");

    // It refuses to stop: Running until its supervisor kills it.
    world.write("bot.sh", "trap '' TERM INT\nwhile :; do sleep 0.1; done\n");
    world.service("bot7", &["--start"]);
    let report = world.service("bot7", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );
    let last = world.read("starts");
    let last = last.lines().last().unwrap();
    assert_eq!(world.read("killed").trim(), last, "it had to be killed");
    assert!(!is_alive(last));

    // It dies at once after each start: there again and again, never gone.
    world.write("bot.sh", "exit 1\n");
    world.service("bot7", &["--start"]);
    for _ in 0..5 {
        assert_eq!(world.service("bot7", &[]).presence, "running");
    }
    let report = world.service("bot7", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );

    // A person has stopped it, so the remediator does not stop it again.
    world.write("asked", "");
    let report = world.service("bot7", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );
    assert!(!world.read("asked").contains("|stop|"));

    // Not allowed; unknown; a name that means other units.
    world.write("bot.sh", "while :; do sleep 0.1; done\n");
    world.service("bot7", &["--start"]);
    world.write("denied", "");
    for verb in ["--stop", "--start"] {
        let report = world.service("bot7", &[verb]);
        assert_eq!(report.code, 2, "{report:?}");
        assert!(
            report
                .err
                .contains("exited with 4; may this user do it? See deploy/polkit"),
            "{report:?}"
        );
    }
    let report = world.service("bot8", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("knows no such unit"),
        "{report:?}"
    );
    assert_eq!(report.presence, "unknown", "an unknown unit is not gone");
    world.write("asked", "");
    let report = world.service("bot*", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("not tried: "),
        "{report:?}"
    );
    assert_eq!(world.read("asked"), "", "systemctl would read a glob in it");

    world.write("quit", "");
    supervisor.stop();
}

/// Answers for one container `bot-7`, whose state is a file.
const DOCKER: &str = r#"
printf '%s|' "$@" >>asked; echo >>asked
for name; do :; done
case "$1 $name" in
  "inspect bot-7"|"inspect bot-0123") cat state ;;
  "stop 0123456789abcdef")
    sed -i 's/"Running":true/"Running":false/; s/"Pid":[0-9]*/"Pid":0/; s/"Status":"[a-z]*"/"Status":"exited"/; s/"Restarting":true/"Restarting":false/' state ;;
  "start 0123456789abcdef")
    sed -i 's/"Running":false/"Running":true/; s/"Pid":0/"Pid":77/; s/"Status":"[a-z]*"/"Status":"running"/' state ;;
  *) echo "token=SECRET" >&2; exit 1 ;;
esac
"#;

#[test]
fn a_container_is_found_by_name_and_called_by_id() {
    for runtime in ["docker", "podman"] {
        let world = with_processes(
            &["bot7", "bot0123", "bot9"],
            &format!(
                "  - {{allow_restart: true, docker: {{container: 'bot-{{id}}', runtime: {runtime}}}, gone_timeout: 5s}}\n"
            ),
        );
        world.stand_in(runtime, DOCKER);
        let state = |status: &str, running: bool, restarting: bool, pid: u32, more: &str| {
            let state = format!(
                r#"{{"id":"0123456789abcdef","name":"/bot-7","state":{{"Status":"{status}","Running":{running},"Restarting":{restarting},"Pid":{pid}}},{more}}}"#
            );
            world.write("state", &state);
        };
        let plain = r#""auto_remove":false,"labels":{}"#;
        state("running", true, false, 77, plain);
        let report = world.service("bot7", &["--stop"]);
        assert_eq!(
            (report.code, report.presence.as_str()),
            (0, "gone"),
            "{report:?}"
        );
        // A person has stopped it, so the remediator does not stop it again.
        let report = world.service("bot7", &["--stop"]);
        assert_eq!(
            (report.code, report.presence.as_str()),
            (0, "gone"),
            "{report:?}"
        );
        let asked = world.read("asked");
        let stops = asked.lines().filter(|line| line.starts_with("stop|"));
        assert_eq!(
            stops.collect::<Vec<_>>(),
            ["stop|0123456789abcdef|"],
            "{asked}"
        );
        assert!(
            asked.lines().next().unwrap().ends_with("|--|bot-7|"),
            "{asked}"
        );

        let report = world.service("bot7", &["--start"]);
        assert_eq!(
            (report.code, report.presence.as_str()),
            (0, "running"),
            "{report:?}"
        );
        world.write("asked", "");
        world.service("bot7", &["--start"]);
        assert!(
            !world.read("asked").contains("start|"),
            "what runs is not started"
        );

        // Between two tries of its restart policy.
        state("restarting", false, true, 0, plain);
        assert_eq!(world.service("bot7", &[]).presence, "running");

        // Its name is also the beginning of another one's id.
        world.write("asked", "");
        let report = world.service("bot0123", &["--stop"]);
        assert!(
            report.code == 2 && report.err.contains("no container has this name"),
            "{report:?}"
        );
        assert_eq!(report.presence, "unknown");

        // Stopped, these could not be started again, or would be replaced.
        for (more, says) in [
            (r#""auto_remove":true,"labels":{}"#, "--rm"),
            (r#""auto_remove":null,"labels":{}"#, "--rm"),
            (
                r#""auto_remove":false,"labels":{"com.docker.swarm.task.id":"x"}"#,
                "swarm",
            ),
        ] {
            state("running", true, false, 77, more);
            let report = world.service("bot7", &["--stop"]);
            assert!(report.code == 2 && report.err.contains(says), "{report:?}");
            assert_eq!(report.presence, "running", "it was left alone");
        }
        assert!(!world.read("asked").contains("stop|"));

        let report = world.service("bot9", &["--stop"]);
        assert!(
            report.code == 2 && report.err.contains("inspect exited with 1"),
            "{report:?}"
        );
        assert!(
            !report.err.contains("SECRET") && !report.detail.contains("SECRET"),
            "{report:?}"
        );
    }
}

#[test]
fn plain_commands() {
    let world = with_processes(
        &["bot7", "bot 8"],
        "  - name: '{session}'\n    allow_restart: true\n    stop_timeout: 2s\n    command: {stop: [my, stop, '{id}', 'a b $(x)'], start: [my, start, '--bot={session}'], gone: [my, gone, '{id}']}\n",
    );
    world.stand_in(
        "my",
        "printf '%s|' \"$@\" >>asked; echo >>asked; . ./does\n",
    );
    world.write("does", "[ $1 = gone ] && exit $(cat gone)\nexit 0\n");
    for (code, presence) in [
        ("0", "gone"),
        ("1", "running"),
        ("2", "unknown"),
        ("127", "unknown"),
    ] {
        world.write("gone", code);
        assert_eq!(world.service("bot7", &[]).presence, presence, "exit {code}");
    }
    world.write("does", "kill -9 $$\n");
    assert_eq!(
        world.service("bot7", &[]).presence,
        "unknown",
        "ended by a signal"
    );

    world.write("gone", "0");
    world.write("asked", "");
    world.write(
        "does",
        "echo token=SECRET; echo SECRET >&2; [ $1 = gone ] && exit 0\nexit 3\n",
    );
    let report = world.service("bot7", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("the stop command exited with 3"),
        "{report:?}"
    );
    assert!(
        !report.err.contains("SECRET") && !report.detail.contains("SECRET"),
        "{report:?}"
    );
    let report = world.service("bot7", &["--start"]);
    assert!(report.code == 2, "{report:?}");
    let asked = world.read("asked");
    assert!(
        asked.contains("stop|7|a b $(x)|") && asked.contains("start|--bot=bot7|"),
        "{asked}"
    );

    let report = world.service("bot 8", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("not tried: "),
        "{report:?}"
    );

    // A stop that hangs is killed with all that it has started.
    world.write(
        "does",
        "[ $1 = gone ] && exit 1\nsleep 86399 & echo $! >child\necho $$ >self\nwait\n",
    );
    let report = world.service("bot7", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("took longer than 2s"),
        "{report:?}"
    );
    Patience::new(BOUND)
        .wait_until(BOUND, "the end of both", || {
            match is_alive(&world.read("child")) || is_alive(&world.read("self")) {
                true => Err("alive".into()),
                false => Ok(()),
            }
        })
        .unwrap();

    // It may have been carried out all the same, so nothing is started beside it yet.
    let report = world.service("bot7", &["--start"]);
    assert!(
        report.code == 2 && report.err.contains("may still be under way"),
        "{report:?}"
    );
    fs::remove_file(world.path("sessions/bot7/.baileys_quarantine/operator.json")).unwrap();

    // What a start command leaves running stays; what a look leaves does not.
    world.write(
        "does",
        "sleep 86398 & echo $! >child_of_$1\n[ $1 = gone ] && [ -e child_of_start ] && exit 1\nexit 0\n",
    );
    let report = world.service("bot7", &["--start"]);
    assert_eq!(report.code, 0, "{report:?}");
    let (kept, swept) = (world.read("child_of_start"), world.read("child_of_gone"));
    Patience::new(BOUND)
        .wait_until(BOUND, "the end of one", || match is_alive(&swept) {
            true => Err("alive".into()),
            false => Ok(()),
        })
        .unwrap();
    assert!(is_alive(&kept), "the bot that was started");
    end(&kept, "86398");
}

/// A bot that writes down its number, and behaves as the file next to it says.
const BOT: &str = r#"
const fs = require('fs');
fs.appendFileSync(__dirname + '/pids', process.pid + '\n');
fs.writeFileSync(__dirname + '/environ', JSON.stringify(process.env));
const mode = fs.readFileSync(__dirname + '/mode', 'utf8');
if (mode === 'dies') process.exit(1);
if (mode === 'deaf') for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => {});
if (mode === 'orphan' && !process.argv[2]) {
  require('child_process').spawn(process.execPath, [__filename, 'child'], { detached: true, stdio: 'ignore' }).unref();
}
setInterval(() => {}, 1000);
"#;

#[test]
fn the_real_pm2() {
    let world = with_processes(
        &["bot", "all", "bot7"],
        "  - {allow_restart: true, sessions: [all], pm2: {name: all, home: DIR/pm2}}\n  - {allow_restart: true, sessions: [bot7], pm2: {name: '{id}', home: DIR/pm2}}\n  - {allow_restart: true, pm2: {name: '{session}', home: DIR/pm2}, stop_timeout: 60s, gone_timeout: 10s}\n",
    );
    let pm2 = Pm2::new(world.root());

    // Without a daemon it is not called, for that would start one; and nothing is gone.
    for args in [&[][..], &["--stop"], &["--start"]] {
        let report = world.service("bot", args);
        assert_eq!(report.presence, "unknown", "{report:?}");
        assert!(
            report
                .detail
                .contains("pm2 was not asked: its daemon does not run"),
            "{report:?}"
        );
        assert_eq!(
            report.code,
            if args.is_empty() { 0 } else { 2 },
            "{report:?}"
        );
    }
    assert_eq!(
        fs::read_dir(world.path("pm2")).unwrap().count(),
        0,
        "nothing was made in its home"
    );

    world.write("bot.js", BOT);
    world.write("mode", "plain");
    let script = world.path("bot.js").display().to_string();
    pm2.run(&["start", &script, "--name", "bot"]);
    pm2.run(&["start", &script, "--name", "neighbour", "--force"]);
    world.wait_for_presence("bot", "running");
    let neighbour = pm2.says("neighbour");
    assert_eq!(neighbour.0, "online");

    // Start of what runs changes nothing.
    let before = pm2.says("bot");
    let report = world.service("bot", &["--start"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "running"),
        "{report:?}"
    );
    assert_eq!(pm2.says("bot"), before, "it was not started again");

    // Killed from outside, pm2 starts it again: it is not gone.
    end(&before.1.to_string(), "bot.js");
    Patience::new(BOUND)
        .wait_until(BOUND, "a restart by pm2", || {
            let report = world.service("bot", &[]);
            assert_eq!(report.presence, "running", "{report:?}");
            match pm2.says("bot") {
                (status, pid) if status == "online" && pid != before.1 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();

    // Stop, stop of what is stopped, start. The entry stays, and so does the neighbour.
    let pid = pm2.says("bot").1;
    for _ in 0..2 {
        let report = world.service("bot", &["--stop"]);
        assert_eq!(
            (report.code, report.presence.as_str()),
            (0, "gone"),
            "{report:?}"
        );
        assert_eq!(pm2.says("bot"), ("stopped".to_owned(), 0));
        assert!(!is_alive(&pid.to_string()));
    }
    let report = world.service("bot", &["--start"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "running"),
        "{report:?}"
    );
    assert_eq!(pm2.says("bot").0, "online");
    assert_eq!(pm2.says("neighbour"), neighbour, "it was left alone");
    let environ = world.read("environ");
    assert!(
        !environ.contains("SECRET_OF_THE_REMEDIATOR"),
        "our environment is not the bot's"
    );

    // Names that mean something to pm2 are only names.
    for (session, why) in [("all", "every process"), ("bot7", "a number")] {
        for verb in ["--stop", "--start"] {
            let report = world.service(session, &[verb]);
            assert_eq!(report.code, 2, "{why}: {report:?}");
            assert!(
                report.err.contains("pm2 knows no process named"),
                "{why}: {report:?}"
            );
            assert_eq!(report.presence, "unknown", "{why}");
        }
    }
    assert_eq!(pm2.says("neighbour"), neighbour);

    // It refuses to stop; pm2 kills it after its kill_timeout.
    world.write("mode", "deaf");
    pm2.run(&["restart", "bot"]);
    let deaf = Patience::new(BOUND)
        .wait_until(BOUND, "the deaf bot", || {
            let pid = pm2.says("bot").1.to_string();
            if world.read("pids").lines().any(|line| line == pid) {
                Ok(pid)
            } else {
                Err(pid)
            }
        })
        .unwrap();
    let report = world.service("bot", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );
    assert!(!is_alive(&deaf));

    // It dies at once after each start: never gone until pm2 gives up or it is stopped.
    world.write("mode", "dies");
    let report = world.service("bot", &["--start"]);
    assert!(
        report.presence == "running" || report.presence == "gone",
        "{report:?}"
    );
    let report = world.service("bot", &["--stop"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "gone"),
        "{report:?}"
    );
    assert!(matches!(pm2.says("bot"), (status, 0) if status == "stopped" || status == "errored"));

    // It leaves a child that pm2 does not know of: pm2 says stopped, and it is not gone.
    world.write("mode", "orphan");
    pm2.run(&["delete", "bot"]);
    let pids = world.read("pids").lines().count();
    pm2.run(&[
        "start",
        &script,
        "--name",
        "bot",
        "--no-treekill",
        "--force",
    ]);
    let orphan = Patience::new(BOUND)
        .wait_until(BOUND, "its child", || {
            let (main, all) = (pm2.says("bot").1.to_string(), world.read("pids"));
            let child = all.lines().skip(pids).find(|pid| **pid != main);
            child.map(str::to_owned).ok_or(all.clone())
        })
        .unwrap();
    let report = world.service("bot", &["--stop"]);
    assert_eq!(pm2.says("bot"), ("stopped".to_owned(), 0));
    assert_eq!(
        (report.code, report.presence.as_str()),
        (2, "running"),
        "{report:?}"
    );
    end(&orphan, "bot.js");
    world.wait_for_presence("bot", "gone");

    // pm2 would start it by itself while it is cleaned: it is not stopped.
    world.write("mode", "plain");
    pm2.run(&["delete", "bot"]);
    pm2.run(&[
        "start",
        &script,
        "--name",
        "bot",
        "--cron-restart",
        "0 3 * * *",
        "--force",
    ]);
    world.wait_for_presence("bot", "running");
    let shown = world.service("bot", &[]);
    assert!(shown.detail.contains("cron_restart"), "{shown:?}");
    let report = world.service("bot", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("cron_restart"),
        "{report:?}"
    );
    assert_eq!(pm2.says("bot").0, "online");

    // One of two was stopped on purpose: a start would start that one too.
    world.write("mode", "plain");
    pm2.run(&["delete", "bot"]);
    for _ in 0..2 {
        pm2.run(&["start", &script, "--name", "bot", "--force"]);
    }
    let entries = pm2.list();
    let first = entries.iter().find(|entry| entry["name"] == "bot").unwrap();
    pm2.run(&["stop", &first["pm_id"].to_string()]);
    let both = pm2.all("bot");
    let states: Vec<&str> = both.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(states, ["stopped", "online"]);
    let report = world.service("bot", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("some run and others are stopped"),
        "{report:?}"
    );
    assert_eq!(pm2.all("bot"), both, "both are as they were");

    // The daemon dies: all is unknown, and no other daemon is started.
    let daemon = pm2.daemon();
    pm2.kill();
    for args in [&[][..], &["--stop"], &["--start"]] {
        assert_eq!(world.service("bot", args).presence, "unknown");
    }
    assert_eq!(pm2.daemon(), daemon);
    assert!(std::os::unix::net::UnixStream::connect(world.path("pm2/rpc.sock")).is_err());
}

/// After an upgrade of Node.js the interpreter of a process is gone. pm2 calls what it could not
/// start `online`, and does nothing more.
#[test]
fn the_real_pm2_without_the_interpreter() {
    let world = with_processes(
        &["bot"],
        "  - {allow_restart: true, pm2: {name: '{session}', home: DIR/pm2}, stop_timeout: 60s, gone_timeout: 10s}\n",
    );
    let pm2 = Pm2::new(world.root());
    world.write("bot.js", BOT);
    world.write("mode", "plain");
    let node = testkit::process::find(&["node"]).unwrap();
    let own = world.path("bin/v20-node");
    std::os::unix::fs::symlink(&node, &own).unwrap();
    let (script, interpreter) = (world.path("bot.js"), own.display().to_string());
    let script = script.display().to_string();
    let start = ["start", &script, "--name", "bot", "--interpreter"];
    pm2.run(&[&start[..], &[&interpreter]].concat());
    world.wait_for_presence("bot", "running");
    let before = pm2.says("bot");

    // It runs on, and is not stopped.
    fs::remove_file(&own).unwrap();
    let shown = world.service("bot", &[]);
    assert!(shown.detail.contains("exec_interpreter"), "{shown:?}");
    let report = world.service("bot", &["--stop"]);
    assert!(
        report.code == 2 && report.err.contains("exec_interpreter"),
        "{report:?}"
    );
    assert_eq!(pm2.says("bot"), before);

    // It ends in another way.
    pm2.run(&["restart", "bot"]);
    assert_eq!(pm2.says("bot"), ("online".to_owned(), 0));
    assert_eq!(world.service("bot", &[]).presence, "gone");
    let report = world.service("bot", &["--start"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (2, "gone"),
        "{report:?}"
    );
    std::os::unix::fs::symlink(&node, &own).unwrap();
    let report = world.service("bot", &["--start"]);
    assert_eq!(
        (report.code, report.presence.as_str()),
        (0, "running"),
        "{report:?}"
    );
    let after = pm2.says("bot");
    assert!(after.0 == "online" && after.1 > 0 && after.1 != before.1);
}

/// `service` and `doctor` ask the same supervisor in the same way. Before, `service` called
/// pm2 as the user of the home, and `doctor` said that pm2 was not asked.
#[test]
fn service_and_doctor_say_the_same_of_a_pm2_home_of_another_user() {
    const OTHER: u32 = 4711;
    let world = with_processes(
        &["bot"],
        "  - {allow_restart: true, pm2: {name: '{session}', home: DIR/pm2}, gone_timeout: 10s}\n",
    );
    let home = world.path("pm2");
    fs::create_dir(&home).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.join("rpc.sock")).unwrap();
    world.stand_in(
        "pm2",
        "echo \"$(id -u) $HOME $*\" >>pm2/called\n[ \"$1\" = stop ] && cp pm2/stopped pm2/list\ncat pm2/list\n",
    );
    let program = world.path("bin/pm2");
    for shown in [world.root(), &program] {
        fs::set_permissions(shown, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let list = |status: &str, pid: u32| {
        format!(r#"[{{"name":"bot","pm_id":3,"pid":{pid},"pm2_env":{{"status":"{status}"}}}}]"#)
    };
    let mut sleep = Command::new("sleep");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::process::CommandExt::uid(&mut sleep, OTHER);
    }
    // The daemon, and the bot.
    let mut daemon = sleep.arg("600").spawn().unwrap();
    let mut bot = sleep.spawn().unwrap();
    world.write("pm2/pm2.pid", &daemon.id().to_string());
    world.write("pm2/list", &list("online", bot.id()));
    world.write("pm2/stopped", &list("stopped", 0));
    world.write("pm2/called", "");
    for name in ["pm2", "pm2/list", "pm2/stopped", "pm2/called"] {
        let _ = std::os::unix::fs::chown(world.path(name), Some(OTHER), Some(OTHER));
    }
    let report = world.service("bot", &[]);
    let (finding, detail) = process_of(&world, "bot");
    if is_root {
        assert_eq!(report.presence, "running", "{report:?}");
        assert_eq!(finding, "nothing", "{detail}");
        assert!(detail.contains(&format!("pid {}", bot.id())), "{detail}");
    }
    bot.kill().unwrap();
    bot.wait().unwrap();
    let stopped = world.service("bot", &["--stop"]);
    if is_root {
        assert_eq!(
            (stopped.code, stopped.presence.as_str()),
            (0, "gone"),
            "{stopped:?}"
        );
        assert_eq!(process_of(&world, "bot").0, "gone");
        // Each call as the user of the home.
        let called = world.read("pm2/called");
        let prefix = format!("{OTHER} {} ", world.root().display());
        assert!(called.contains(&format!("{prefix}stop 3\n")), "{called}");
        assert!(
            called.lines().all(|line| line.starts_with(&prefix)),
            "{called}"
        );
    }
    // The daemon is gone: again both say the same, and nothing is called.
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    world.write("pm2/called", "");
    let report = world.service("bot", &[]);
    let (finding, detail) = process_of(&world, "bot");
    assert_eq!(
        (report.presence.as_str(), finding.as_str()),
        ("unknown", "silent")
    );
    assert_eq!(report.detail, detail);
    assert!(detail.contains("pm2 was not asked"), "{detail}");
    assert_eq!(world.read("pm2/called"), "");
}

/// A process that is named is observed; to stop it needs its own key.
#[test]
fn naming_a_process_permits_only_observing_it() {
    let world = with_processes(
        &["bot"],
        "  - {name: bot, command: {gone: [my, gone], stop: [my, stop], start: [my, start]}}\n",
    );
    world.stand_in("my", "echo $1 >>asked; [ $1 != gone ]\n");
    for verb in ["--stop", "--start"] {
        let report = world.service("bot", &[verb]);
        assert!(
            report.code == 2 && report.err.contains("`allow_restart: true`"),
            "{report:?}"
        );
    }
    let report = world.service("bot", &[]);
    assert_eq!((report.code, report.presence.as_str()), (0, "running"));
    assert_eq!(process_of(&world, "bot").0, "nothing");
    assert!(world.read("asked").lines().all(|line| line == "gone"));
    // The two sections before.
    for (old, says) in [
        ("service: []\n", "unknown field `service`"),
        (
            "connection: {process: {pid_file: /a}}\n",
            "unknown field `process`",
        ),
    ] {
        world.write("config.yml", old);
        let report = world.service("bot", &[]);
        assert!(
            report.code == 2
                && report.err.contains(says)
                && report.err.contains("one section `processes`"),
            "{report:?}"
        );
    }
}

/// The shipped rule, asked as polkit asks it.
#[test]
fn the_polkit_rule() {
    let rule =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/polkit/50-baileys_remediator.rules");
    let script = r#"
const rules = [];
const polkit = { Result: { YES: 'yes', NO: 'no' }, addRule: f => rules.push(f), log: () => {} };
new Function('polkit', require('fs').readFileSync(process.argv[1], 'utf8'))(polkit);
const ask = (user, id, unit, verb) => rules[0](
  { id, lookup: key => ({ unit, verb })[key] }, { user, isInGroup: () => false, active: true, local: true }) || 'ask';
const manage = 'org.freedesktop.systemd1.manage-units';
const me = 'bots';
const yes = [[me, manage, 'bot@7.service', 'stop'], [me, manage, 'bot@company_7.service', 'start'], [me, manage, 'bot@a.b-c.service', 'restart']];
const no = [
  ['root2', manage, 'bot@7.service', 'stop'], [undefined, manage, 'bot@7.service', 'stop'],
  [me, 'org.freedesktop.systemd1.manage-unit-files', 'bot@7.service', 'stop'],
  [me, manage, 'sshd.service', 'stop'], [me, manage, 'bot@7.service', 'kill'], [me, manage, 'bot@7.service', 'set-property'],
  [me, manage, 'bot@7.service', undefined], [me, manage, undefined, 'stop'], [me, manage, 'bot@7.service.target', 'stop'],
  [me, manage, 'xbot@7.service', 'stop'], [me, manage, 'bot@7.service\nsshd.service', 'stop'], [me, manage, 'bot@.service', 'stop'],
  [me, manage, 'bot@*.service', 'stop'], [me, manage, 'bot@7.slice', 'stop'], [me, manage, 'bot@7.service', 'stop '],
];
const wrong = [...yes.filter(a => ask(...a) !== 'yes'), ...no.filter(a => ask(...a) !== 'ask')];
console.log(rules.length + ' ' + JSON.stringify(wrong));
"#;
    let output = Command::new("node")
        .args(["-e", script])
        .arg(&rule)
        .output()
        .expect("node");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "1 []",
        "{errors}"
    );
}
