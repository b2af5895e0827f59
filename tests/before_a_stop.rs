//! What can be known before a bot is stopped is checked before: seven kinds of restarts that
//! could only fail; what an emergency does that may not stop the bot; and what of before the
//! stop still counts after it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, reason = "what is skipped is said")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::fixture::{self, Snapshot};
use testkit::supervised::SupervisedBot;

/// Undoes what `set` did when it is dropped.
struct Undo(Vec<String>);

impl Drop for Undo {
    fn drop(&mut self) {
        let _ = Command::new(&self.0[0]).args(&self.0[1..]).status();
    }
}

fn words(line: &[&str], path: &Path) -> Vec<String> {
    let mut words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
    words.push(path.display().to_string());
    words
}

/// Runs a command of the system, and its opposite at the end. `None`, and a line in the
/// output, where this user or this file system cannot do it.
fn set(how: &[&str], opposite: &[&str], path: &Path) -> Option<Undo> {
    let set = words(how, path);
    let done = Command::new(&set[0]).args(&set[1..]).output().unwrap();
    if done.status.success() {
        return Some(Undo(words(opposite, path)));
    }
    println!(
        "SKIPPED: {how:?} cannot be done here: {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    None
}

/// An emergency ends for this reason, and the bot is not stopped for it.
fn no_bot_is_stopped(world: &SupervisedBot, before: &Snapshot, reason: &str) -> Value {
    let run = world.asked("emergency");
    assert_eq!(run["reason"], reason, "{run}\n{}", world.read("log"));
    assert_eq!((world.calls("stop"), world.calls("start")), (0, 0), "{run}");
    assert_eq!(world.moved(before), 0);
    world.is_connected().unwrap();
    run
}

#[test]
fn a_full_quarantine() {
    let (mut world, before) = testkit::supervised_bot!();
    world.configure("quarantine: {max_bytes: 10}");
    world.start();
    no_bot_is_stopped(&world, &before, "quarantine_full");
}

#[test]
fn a_quarantine_on_another_mount() {
    let (mut world, before) = testkit::supervised_bot!();
    let quarantine = world.folder().join(".baileys_quarantine");
    fs::create_dir(&quarantine).unwrap();
    let mount = ["mount", "-t", "tmpfs", "none"];
    let Some(_mounted) = set(&mount, &["umount"], &quarantine) else {
        return;
    };
    world.start();
    no_bot_is_stopped(&world, &before, "filesystem");
}

#[test]
fn a_read_only_folder() {
    let (mut world, before) = testkit::supervised_bot!();
    let folder = world.folder();
    let path = folder.display().to_string();
    let bind = ["mount", "--bind", path.as_str()];
    let Some(_mounted) = set(&bind, &["umount"], &folder) else {
        return;
    };
    let read_only = ["mount", "-o", "remount,ro,bind"];
    let Some(_read_only) = set(&read_only, &["true"], &folder) else {
        return;
    };
    world.start();
    let run = no_bot_is_stopped(&world, &before, "io");
    let detail = run["detail"].as_str().unwrap();
    assert!(detail.contains("read-only"), "{detail}");
}

fn of_kind(before: &Snapshot, kind: &str) -> Vec<String> {
    let names = before.names().filter(|name| name.starts_with(kind));
    names.map(str::to_owned).collect()
}

#[test]
fn immutable_files() {
    let (mut world, before) = testkit::supervised_bot!();
    // One of them costs only itself.
    let name = of_kind(&before, "pre-key-").remove(0);
    let lowest = of_kind(&before, "pre-key-")
        .into_iter()
        .min_by_key(|name| {
            let id = name
                .trim_start_matches("pre-key-")
                .trim_end_matches(".json");
            id.parse::<u32>().unwrap_or(u32::MAX)
        })
        .unwrap_or(name);
    let one = world.folder().join(&lowest);
    let Some(_one) = set(&["chattr", "+i"], &["chattr", "-i"], &one) else {
        return;
    };
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert!(one.exists() && world.moved(&before) > 200);
    let record = world.show(&run);
    let steps = record["steps"].as_array().unwrap();
    let plan = steps.iter().find(|step| step["step"] == "planned").unwrap();
    assert_eq!(
        plan["facts"]["left_out"],
        json!({"immutable": {"pre-key": 1}}),
        "{plan}"
    );
    assert!(
        !record.to_string().contains(&lowest),
        "the record names no file"
    );
}

#[test]
fn nearly_all_files_are_immutable() {
    let (mut world, before) = testkit::supervised_bot!();
    let mut flags = Vec::new();
    for name in of_kind(&before, "pre-key-") {
        let path = world.folder().join(name);
        match set(&["chattr", "+i"], &["chattr", "-i"], &path) {
            Some(flag) => flags.push(flag),
            None => return,
        }
    }
    world.start();
    let run = no_bot_is_stopped(&world, &before, "not_worth_a_restart");
    let detail = run["detail"].as_str().unwrap();
    assert!(detail.contains("files cannot be moved"), "{detail}");
}

/// The folder is sticky and another user's: without root, only its own files can be moved.
#[test]
fn a_sticky_folder_of_another_owner() {
    const BOT: u32 = 61_234;
    const OTHER: u32 = 61_235;
    let (mut world, before) = testkit::supervised_bot!();
    let chown = |path: PathBuf, uid: u32| std::os::unix::fs::chown(path, Some(uid), Some(uid));
    if let Err(error) = chown(world.folder(), BOT) {
        println!("SKIPPED: chown cannot be done here: {error}");
        return;
    }
    for name in before.names() {
        chown(world.folder().join(name), BOT).unwrap();
        let mode = PermissionsExt::from_mode(0o644);
        fs::set_permissions(world.folder().join(name), mode).unwrap();
    }
    fs::create_dir(world.path("state")).unwrap();
    for name in ["state", "token", "log", "bot.calls"] {
        let path = world.path(name);
        if !path.exists() {
            world.mark(name);
        }
        chown(path, OTHER).unwrap();
    }
    let open = PermissionsExt::from_mode(0o755);
    fs::set_permissions(world.path("."), open).unwrap();
    fs::set_permissions(world.folder(), PermissionsExt::from_mode(0o1777)).unwrap();
    world.run_as(OTHER);
    world.start();
    let run = no_bot_is_stopped(&world, &before, "not_worth_a_restart");
    let detail = run["detail"].as_str().unwrap();
    assert!(detail.contains("files cannot be moved"), "{detail}");
    let (_, out, _) = world.command(&["plan", "bot"]).parts();
    assert!(!out.contains("pre-key-1.json"), "{out}");
}

const NO_BUDGET: &str = "    daily_budget: 0";

/// The alert of the emergency hides that of the cleanup tier, so nothing else would clean.
#[test]
fn an_emergency_that_may_not_stop_a_disconnected_bot_cleans_it() {
    let (mut world, before) = testkit::supervised_bot!();
    world.configure(NO_BUDGET);
    world.mark("offline");
    world.start();
    world.wait_until_quiet();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    let note = run["note"].as_str().unwrap();
    assert!(
        note.contains("cleaned without a restart") && note.contains("daily_budget"),
        "{note}"
    );
    assert!(world.moved(&before) > 100);
    assert_eq!((world.calls("stop"), world.calls("start")), (0, 0));
}

#[test]
fn an_emergency_that_may_not_stop_a_connected_bot_is_armed() {
    let (mut world, before) = testkit::supervised_bot!();
    world.configure(NO_BUDGET);
    world.start();
    let run = no_bot_is_stopped(&world, &before, "service_budget");
    assert_eq!(run["status"], "refused", "{run}");
    let detail = run["detail"].as_str().unwrap();
    assert!(
        detail.contains("daily_budget") && detail.contains("the bot is connected"),
        "{detail}"
    );
    let armed = world.status()["armed"][0].clone();
    assert_eq!(
        (&armed["session"], &armed["action"]),
        (&json!("bot"), &json!("emergency"))
    );
    // Its moment.
    world.mark("offline");
    let run = world.wait("it is cleaned", || match world.ended()? {
        run if run["status"] == "done" => Ok(run),
        run => Err(run.to_string()),
    });
    assert!(world.moved(&before) > 100, "{run}");
    assert_eq!((world.calls("stop"), world.calls("start")), (0, 0));
    assert_eq!(world.status()["armed"], json!([]));
}

/// A stop may damage it, and there would be no copy to put back.
#[test]
fn a_creds_json_that_cannot_be_copied() {
    let (mut world, before) = testkit::supervised_bot!();
    if !world.run_all_as(61_241) {
        return;
    }
    let state = world.path("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(61_241), Some(61_241)).unwrap();
    // Of root.
    fs::create_dir(state.join("creds")).unwrap();
    fs::set_permissions(state.join("creds"), PermissionsExt::from_mode(0o700)).unwrap();
    world.start();
    let run = no_bot_is_stopped(&world, &before, "creds_not_copied");
    let detail = run["detail"].as_str().unwrap();
    assert!(
        detail.contains("chown") && detail.contains("the bot is connected"),
        "{detail}"
    );
    assert_eq!(world.status()["armed"][0]["session"], "bot");
}

/// Only the owner of a file, and root, may make another one of that owner and group.
#[test]
fn a_creds_json_that_could_not_be_put_back() {
    let (mut world, before) = testkit::supervised_bot!();
    if !world.run_all_as(61_244) {
        return;
    }
    // The bot, of the remediator's user, may write it by its group.
    let shared = |path: &Path, mode: u32| {
        std::os::unix::fs::chown(path, Some(61_245), Some(61_244)).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    for name in before.names() {
        shared(&world.folder().join(name), 0o660);
    }
    shared(&world.folder(), 0o770);
    world.start();
    let run = no_bot_is_stopped(&world, &before, "creds_not_copied");
    let detail = run["detail"].as_str().unwrap();
    assert!(
        detail.contains("could not be put back") && detail.contains("user 61245"),
        "{detail}"
    );
    assert!(world.read("log").contains("an emergency stops no bot here"));
    let left = fs::read_dir(world.folder().join(".baileys_quarantine")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["BAILEYS_QUARANTINE.TAG"]);
}

/// The process is that of two sessions.
const OF_TWO: &str = "    sessions: [bot, two]";

/// The same for each other session of the process.
#[test]
fn a_creds_json_of_another_session_that_could_not_be_put_back() {
    let (mut world, before) = testkit::supervised_bot!();
    world.configure(OF_TWO);
    let folder = world.path("sessions/two");
    let quiet = std::time::SystemTime::now() - std::time::Duration::from_secs(900);
    fixture::unpack("bloated-classic-387", &folder, quiet).unwrap();
    if !world.run_all_as(61_244) {
        return;
    }
    std::os::unix::fs::chown(&folder, Some(61_245), Some(61_245)).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    world.start();
    let run = no_bot_is_stopped(&world, &before, "creds_not_copied");
    let detail = run["detail"].as_str().unwrap();
    assert!(
        detail.contains("creds.json of two") && detail.contains("could not be put back"),
        "{detail}"
    );
}

/// The same for a session of the process that is left out of the runs.
#[test]
fn a_creds_json_that_is_left_out_is_copied_before_the_stop() {
    let (mut world, before) = testkit::supervised_bot!();
    world.configure(&format!("{OF_TWO}\nsessions: {{exclude: [two]}}"));
    let folder = world.path("sessions/two");
    let quiet = std::time::SystemTime::now() - std::time::Duration::from_secs(900);
    fixture::unpack("bloated-classic-387", &folder, quiet).unwrap();
    let left_out = fixture::Snapshot::take(&folder).unwrap();
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert!(world.moved(&before) > 100);
    // The insurance of `serve` does not look at it, so this is the copy before the stop.
    let copies = fs::read_dir(world.path("state/creds/two")).unwrap();
    assert_ne!(copies.count(), 0);
    let after = fixture::Snapshot::take(&folder).unwrap();
    assert_eq!(left_out.differences(&after), [""; 0]);
}

/// A second session of the process, whose creds.json has a copy and is missing: a person is
/// about to pair it anew.
fn unpaired(world: &mut SupervisedBot) -> PathBuf {
    world.configure(OF_TWO);
    let folder = world.path("sessions/two");
    let quiet = std::time::SystemTime::now() - std::time::Duration::from_secs(900);
    testkit::fixture::unpack("bloated-classic-387", &folder, quiet).unwrap();
    world.start();
    world.wait("it has a copy", || {
        let (code, out, err) = world.command(&["creds", "list", "two"]).parts();
        match code == 0 && out.contains("in the folder") {
            true => Ok(()),
            false => Err(format!("{out}{err}")),
        }
    });
    let creds = folder.join("creds.json");
    fs::remove_file(&creds).unwrap();
    creds
}

fn nothing_was_put_back(world: &SupervisedBot, creds: &Path) {
    world.wait("the restart is over", || {
        match world.status()["services"][0]["phase"].as_str() {
            None => Ok(()),
            Some(phase) => Err(phase.to_owned()),
        }
    });
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 1));
    world.is_connected().unwrap();
    assert!(!creds.exists(), "{}", world.read("log"));
    assert_eq!(
        world
            .metrics()
            .sum("baileys_remediator_service_stops_total", &[]),
        Ok(1.0)
    );
}

#[test]
fn a_creds_json_that_was_missing_before_a_late_stop_stays_missing() {
    let (mut world, _) = testkit::supervised_bot!();
    let creds = unpaired(&mut world);
    world.mark("stop-ignored");
    let run = world.asked("emergency");
    assert_eq!(run["reason"], "not_gone", "{run}");
    world.end_bot();
    nothing_was_put_back(&world, &creds);
}

#[test]
fn a_creds_json_that_was_missing_before_a_crash_stays_missing() {
    let (mut world, _) = testkit::supervised_bot!();
    let creds = unpaired(&mut world);
    world.mark("hold-ask-down");
    world.deliver("emergency");
    world.wait_for_file("reached-ask-down");
    world.signal(rustix::process::Signal::KILL);
    world.ends();
    world.unmark("hold-ask-down");
    world.start();
    nothing_was_put_back(&world, &creds);
}

#[test]
fn a_stop_that_cannot_be_called_counts_as_none() {
    let (mut world, before) = testkit::supervised_bot!();
    let config = fs::read_to_string(world.path("config.yml")).unwrap();
    let missing = config.replace("stop: [sh,", "stop: [/nonexistent/sh,");
    fs::write(world.path("config.yml"), missing).unwrap();
    world.start();
    no_bot_is_stopped(&world, &before, "not_stopped");
    let service = world.status()["services"][0].clone();
    assert_eq!(service["last_stop"], Value::Null, "{service}");
    assert_eq!(service["cooldown_until"], Value::Null, "{service}");
    assert_eq!(service["budget_left"], 2, "{service}");
    assert_eq!(
        world
            .metrics()
            .sum("baileys_remediator_service_stops_total", &[]),
        Ok(0.0)
    );
}

/// A release that was removed, with the program that starts the bot in it.
#[test]
fn a_start_command_that_does_not_exist() {
    let (mut world, before) = testkit::supervised_bot!();
    world.reconfigure("start: [sh,", "start: [/srv/releases/7/start,");
    world.start();
    let run = no_bot_is_stopped(&world, &before, "not_restartable");
    let detail = run["detail"].as_str().unwrap();
    let why = "the program of the start command does not exist";
    assert!(
        detail.contains(why) && detail.contains("the bot is connected"),
        "{detail}"
    );
    assert_eq!(world.status()["armed"][0]["action"], "emergency");
    let (_, doctor, _) = world.command(&["doctor", "bot"]).parts();
    assert!(doctor.contains(why), "{doctor}");
    let (code, service, err) = world.command(&["service", "bot"]).parts();
    assert!(code == 0 && service.contains(why), "{service}{err}");
    // Nor by hand.
    let (code, _, err) = world.command(&["service", "bot", "--stop"]).parts();
    assert!(code == 2 && err.contains(why), "{code} {err}");
    world.is_connected().unwrap();
    assert_eq!(world.calls("stop"), 0);
}

/// `docker` with a task of a swarm, whose bot is that of `sv`.
const SWARM: &str = r#"
case $1 in
inspect)
    echo "{\"id\":\"0123456789abcdef\",\"name\":\"/bot\",\"state\":{\"Status\":\"running\",\"Running\":true,\"Restarting\":false,\"Pid\":$(cat bot.pid)},\"auto_remove\":false,\"labels\":{\"com.docker.swarm.task.id\":\"x\"}}"
    ;;
*) echo "$1" >>called ;;
esac
"#;

/// What its supervisor would start again is not stopped, and is cleaned once it is disconnected.
#[test]
fn a_bot_that_would_not_stay_stopped() {
    let (mut world, before) = testkit::supervised_bot!();
    let dir = world.root().display().to_string();
    world.stand_in("docker", SWARM);
    let yaml = r#"
connection: {command: [sh, DIR/sv, ask], timeout: 30s, quiet: 1s, trust: ["*"]}
armed: {look_every: 1s}
processes:
  - docker: {container: bot}
    allow_restart: true
"#;
    fs::write(world.path("config.yml"), yaml.replace("DIR", &dir)).unwrap();
    let path = std::env::var("PATH").unwrap();
    world.start_by(&["env", &format!("PATH={dir}/bin:{path}")]);
    world.start();
    let run = no_bot_is_stopped(&world, &before, "not_restartable");
    let detail = run["detail"].as_str().unwrap();
    assert!(
        detail.contains("a task of a swarm") && detail.contains("the bot is connected"),
        "{detail}"
    );
    let armed = world.status()["armed"][0].clone();
    assert_eq!(armed["action"], "emergency", "{armed}");
    // It is disconnected, and its process runs.
    world.mark("offline");
    world.wait("it is cleaned", || match world.ended()? {
        run if run["status"] == "done" => Ok(()),
        run => Err(run.to_string()),
    });
    assert!(world.moved(&before) > 100);
    assert_eq!(world.read("called"), "", "nothing was stopped or started");
}

/// A glob that is written wrongly, or an entry behind one that takes every session.
#[test]
fn an_entry_of_processes_that_no_session_uses_is_named() {
    let (mut world, _) = testkit::supervised_bot!();
    let config = fs::read_to_string(world.path("config.yml")).unwrap();
    let more = "  - {name: x, sessions: ['Bot_*'], command: {gone: ['true']}}\n  - {name: y, sessions: [bot], command: {gone: ['true']}}\n";
    fs::write(world.path("config.yml"), format!("{config}{more}")).unwrap();
    let (_, _, err) = world.command(&["doctor"]).parts();
    let wanted = [
        "processes[1]: its `sessions` match no session",
        "processes[2]: an earlier entry comes first",
    ];
    for wanted in wanted {
        assert!(err.contains(wanted), "{err}");
    }
    world.start();
    for wanted in wanted {
        world.says(wanted);
    }
}
