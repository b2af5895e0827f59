//! A configuration that was written for one bot, on a host that has two: what a source says of one
//! of them cleans and stops no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use serde_json::Value;
use testkit::supervised::Supervised;
use testkit::world::{World, alert};

const BLOATED: &str = "bloated-classic-387";
const ONE_PROBE: &str = "connection: {command: [cat, DIR/answer], trust: ['*']}\n";
const PROBE_HINT: &str = "put {session} into connection.command";
const PROCESS_HINT: &str =
    "list the sessions of a shared process under `sessions:`, put {session} into the name, or keep";

/// Sends an alert of the cleanup tier until a new run has ended, as Alertmanager does: a folder that
/// has just appeared may not be known yet. Status and reason of that run, and the run.
fn asked(world: &World, session: &str) -> (String, String, Value) {
    let before = world.runs_of(session).len();
    let run = world.wait("a new run ends", || {
        world.accepted(&[alert(session, "cleanup")]);
        let mut runs = world.runs_of(session);
        let is_over = |run: &Value| run["status"] != "queued" && run["status"] != "running";
        match runs.len() > before && is_over(&runs[0]) {
            true => Ok(runs.remove(0)),
            false => Err(format!("{runs:?}")),
        }
    });
    let word = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"), run)
}

/// The probe tells of the first bot, which is disconnected; the second one is connected.
#[test]
fn a_probe_for_one_bot_cleans_no_other() {
    let mut world = testkit::world!().configured(ONE_PROBE);
    world.write("answer", "disconnected\n");
    let first = world.bot("first", BLOATED, "disconnected");
    world.start_remediator();
    world
        .remediator(&["doctor", "first"])
        .must(0, &["disconnected"]);
    // Its folder appears while `serve` runs.
    let second = world.bot("second", BLOATED, "connected");
    for (session, before) in [("second", &second), ("first", &first)] {
        let (status, reason, run) = asked(&world, session);
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("refused", "connection_unknown"),
            "{run}"
        );
        let evidence = run["evidence"].as_str().unwrap();
        assert!(evidence.contains(PROBE_HINT), "{evidence}");
        world.unchanged(session, before);
        world.remediator(&["plan", session]).must(0, &[PROBE_HINT]);
    }
    // A person learns why, and which setting ends it.
    let doctor = world.remediator(&["doctor"]).must(1, &[PROBE_HINT]);
    assert!(doctor.err.contains("2 sessions"), "{doctor:?}");
    let check = world.exporter(&["check-config"]);
    check.must(0, &["warning: connection.command: 2 sessions"]);
    // Also where the other one is left out.
    let excluded = ["clean", "first", "--sessions.exclude=second"];
    world.remediator(&excluded).must(1, &[PROBE_HINT]);
    world.unchanged("first", &first);

    // That the shared probe says connected proves nothing either, and keeps the files of both.
    world.write("answer", "connected\n");
    world.remediator(&["clean", "first"]).must(1, &["unknown"]);
    world.remediator(&["plan", "first"]).must(0, &[PROBE_HINT]);
    world.unchanged("first", &first);

    // With the session in it the probe tells of each bot.
    world.with_config("armed: {look_every: 1s}\nconnection: {command: [sh, DIR/probe/ask.sh, '{session}'], trust: ['*']}\n");
    assert!(world.stop().success());
    world.start_remediator();
    let connected = ["the bot is connected"];
    world.remediator(&["clean", "second"]).must(1, &connected);
    // Its run has stayed armed.
    world.wait("the first bot is cleaned", || {
        let runs = world.runs_of("first");
        match runs.iter().any(|run| run["status"] == "done") {
            true => Ok(()),
            false => Err(format!("{runs:?}")),
        }
    });
    world.unchanged("second", &second);
    assert!(!world.quarantined("first").is_empty());
    world.finish();
}

/// The recipe for one bot.
#[test]
fn with_one_bot_a_probe_without_its_name_is_enough() {
    let world = testkit::world!().configured(ONE_PROBE);
    world.write("answer", "disconnected\n");
    world.bot("first", BLOATED, "disconnected");
    let check = world.exporter(&["check-config"]).must(0, &[]);
    assert!(!check.err.contains("connection.command"), "{check:?}");
    world.remediator(&["clean", "first"]).must(0, &[]);
    assert!(!world.quarantined("first").is_empty());
}

/// What a shared probe says stands neither for nor against the proof of another source.
#[test]
fn a_process_that_is_gone_counts_beside_a_shared_probe() {
    let world = testkit::world!().configured(&format!(
        "{ONE_PROBE}processes: [{{name: '{{session}}', command: {{gone: [test, '!', -e, 'DIR/runs-{{session}}']}}}}]\n"
    ));
    let [first, second] = ["first", "second"].map(|bot| world.bot(bot, BLOATED, "disconnected"));
    world.write("runs-second", "");
    world.write("answer", "connected\n");
    world.remediator(&["clean", "first"]).must(1, &["unknown"]);
    world.unchanged("first", &first);
    world.write("answer", "disconnected\n");
    world.remediator(&["clean", "first"]).must(0, &[]);
    assert!(!world.quarantined("first").is_empty());
    world
        .remediator(&["clean", "second"])
        .must(1, &["unknown", PROBE_HINT]);
    world.unchanged("second", &second);
}

/// The process is gone, and it is not known whose it is.
#[test]
fn a_process_of_one_bot_that_is_gone_cleans_no_other() {
    let process = |sessions: &str| {
        format!(
            "connection: {{trust: ['*']}}\nprocesses: [{{{sessions}name: bot, command: {{gone: ['true']}}}}]\n"
        )
    };
    let mut world = testkit::world!().configured(&process(""));
    let before = ["first", "second"].map(|bot| world.bot(bot, BLOATED, "connected"));
    for (session, before) in ["first", "second"].iter().zip(&before) {
        let refused = world.remediator(&["clean", session]);
        refused.must(1, &["unknown", PROCESS_HINT]);
        world.unchanged(session, before);
    }
    world.remediator(&["doctor"]).must(1, &[PROCESS_HINT]);
    let check = world.exporter(&["check-config"]);
    check.must(0, &["warning: processes[0] holds for 2 sessions"]);
    // A shared process, as the operator says: both bots are gone with it.
    world.with_config(&process("sessions: [first, second], "));
    for session in ["first", "second"] {
        world.remediator(&["clean", session]).must(0, &[]);
        assert!(!world.quarantined(session).is_empty());
    }
}

#[test]
fn a_process_of_one_bot_is_not_stopped_for_another() {
    let (mut world, before) = testkit::supervised_bot!();
    world.start();
    // Whether it is the process of this bot is not known.
    let second = world.folder_of("second", BLOATED);
    for session in ["second", "bot"] {
        // Until it is taken: a folder that has just appeared may not be known yet.
        let run = world.wait("the run ends", || {
            Supervised::deliver(&world, "firing", &[(session, "emergency")]);
            Supervised::ended(&world, session)
        });
        assert_eq!(run["reason"], "service_unknown", "{run}");
        let detail = run["detail"].as_str().unwrap();
        assert!(detail.contains(PROCESS_HINT), "{detail}");
    }
    assert_eq!((world.calls("stop"), world.calls("start")), (0, 0));
    assert_eq!(world.moved(&before), 0);
    world.unchanged("second", &second);
    world
        .command(&["service"])
        .must(0, &["unknown", PROCESS_HINT]);

    // A shared process, as the operator says.
    world.terminate();
    std::fs::remove_dir_all(world.path("state")).unwrap();
    world.configure("    sessions: [bot, second]");
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 1));
    assert!(world.moved(&before) > 200);
}
