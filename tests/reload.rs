//! `serve` reads its configuration again: SIGHUP and `POST /-/reload`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::canned::{Canned, CannedServer};
use testkit::fixture;
use testkit::hung::HungMount;
use testkit::net::{self, Answer};
use testkit::world::{QUARTER, SOON, TOKEN, World, alert};

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";
/// Tiers that the fixture has not reached.
const HIGH: &str =
    "tiers: {monitor: 2000, warning: 3000, cleanup: 4000, emergency: 5000, fatal: 6000}\n";
const LOADED: &str = "configuration loaded";

fn post(port: u16, token: Option<&str>) -> Answer {
    let headers = token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
    let headers: Vec<_> = headers.into_iter().collect();
    let url = format!("http://127.0.0.1:{port}/-/reload");
    net::post(&url, &headers, b"").unwrap()
}

/// A request with these headers; returns status and body.
fn raw(port: u16, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!(
        "POST /-/reload HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

/// `config_last_reload_successful` and the time of the configuration in force.
fn loaded(world: &World) -> (f64, f64) {
    let metrics = world.metrics();
    let value = |name: &str| {
        let name = format!("baileys_remediator_config_last_reload_{name}");
        metrics.sum(&name, &[]).unwrap()
    };
    (value("successful"), value("success_timestamp_seconds"))
}

/// Writes a configuration and waits until SIGHUP has put it in force.
fn hang_up(world: &mut World, yaml: &str) {
    world.with_config(yaml);
    let (_, before) = loaded(world);
    world.signal(Signal::HUP);
    world.wait("the new configuration is in force", || {
        match loaded(world) {
            (1.0, at) if at > before => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// The newest run of a session, once all have ended.
fn newest(world: &World, session: &str) -> Value {
    world.wait_until_idle();
    world.runs_of(session).remove(0)
}

fn again(session: &str, tier: &str, hour: u32) -> Value {
    let mut alert = alert(session, tier);
    alert["startsAt"] = json!(format!("2026-11-23T{hour:02}:30:00.000Z"));
    alert
}

#[test]
fn a_changed_limit_counts_for_the_next_run() {
    let mut world = testkit::world!();
    world.with_probe();
    for session in ["a", "b", "c", "d"] {
        world.bot(session, BLOATED, "disconnected");
    }
    world.with_config(HIGH);
    world.start_remediator();
    let ends = |world: &World, session: &str, status: &str, reason: Value| {
        assert_eq!(world.accepted(&[alert(session, "cleanup")]), 1);
        world.wait_until_idle();
        let run = world.run_of(session);
        assert_eq!(run["status"], status, "{run}");
        assert_eq!(run["reason"], reason, "{run}");
    };
    ends(&world, "a", "refused", json!("stale_alert"));
    hang_up(&mut world, "{}");
    ends(&world, "b", "done", Value::Null);
    world.with_config(HIGH);
    let answer = post(world.port, Some(TOKEN));
    assert_eq!((answer.status, answer.body.trim()), (200, LOADED));
    ends(&world, "c", "refused", json!("stale_alert"));
    world.with_config("{}");
    assert_eq!(post(world.port, Some(TOKEN)).status, 200);
    ends(&world, "d", "done", Value::Null);
    world.finish();
}

#[test]
fn a_broken_file_changes_nothing() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("a", BLOATED, "disconnected");
    world.with_config("{}");
    world.start_remediator();
    let first = loaded(&world);
    assert_eq!(first.0, 1.0);
    let secret = "c2VjcmV0LW9mLWEtY29uZmlndXJhdGlvbg";
    world.with_config(&format!(
        "notify:\n  webhook: {{url: \"https://ntfy.invalid/{secret}\"}}\nconnection:\n  quite: 10m\n"
    ));
    let answer = post(world.port, Some(TOKEN));
    assert_eq!(answer.status, 500);
    for words in ["the former one stays in force", "config.yml:4:3", "quite"] {
        assert!(answer.body.contains(words), "{words}: {}", answer.body);
    }
    assert!(!answer.body.contains(secret), "{}", answer.body);
    assert_eq!(loaded(&world), (0.0, first.1));
    world.signal(Signal::HUP);
    world.wait("the log tells of the second failure", || {
        match world.log().matches("config.yml:4:3").count() {
            2 => Ok(()),
            times => Err(format!("{times} times")),
        }
    });
    assert!(!world.log().contains(secret));
    fs::remove_file(world.path("config.yml")).unwrap();
    assert_eq!(post(world.port, Some(TOKEN)).status, 500);
    // What was in force goes on.
    world.accepted(&[alert("a", "cleanup")]);
    world.wait_until_idle();
    hang_up(&mut world, "{}");
    let run = world.run_of("a");
    assert_eq!(run["status"], "done", "{run}");
    world.finish();
}

#[test]
fn a_reload_wants_the_token_and_no_foreign_page() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("a", "normal", "disconnected");
    world.start_remediator();
    for token in [None, Some("c2VjcmV0LXRva2VuLW9mLXRoZS1vdGhlcg")] {
        assert_eq!(post(world.port, token).status, 401, "{token:?}");
    }
    let with_token = |headers: &str| {
        raw(
            world.port,
            &format!("Authorization: Bearer {TOKEN}\r\n{headers}"),
        )
    };
    for (headers, what) in [
        ("Host: evil.example\r\n", "Host"),
        (
            "Host: localhost\r\nOrigin: http://evil.example\r\n",
            "Origin",
        ),
        (
            "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
            "Origin",
        ),
    ] {
        let (status, answer) = with_token(headers);
        assert_eq!(status, 403, "{headers}");
        assert!(answer.contains(&format!("foreign {what}")), "{answer}");
    }
    let get = net::get(&world.url("/-/reload")).unwrap();
    assert_eq!((get.status, get.headers["allow"].as_str()), (405, "POST"));
    let nothing = net::get(&world.url("/nothing")).unwrap();
    assert!(nothing.body.contains("POST /-/reload"), "{}", nothing.body);
    assert!(!world.log().contains(LOADED));
    // Too many are refused, and those before them are not; requests without the token use up
    // nothing.
    let answers: Vec<u16> = (0..20)
        .map(|_| with_token("Host: localhost\r\n").0)
        .collect();
    assert_eq!(answers[0], 200, "{answers:?}");
    assert!(answers.contains(&429), "{answers:?}");
    assert!(
        answers.iter().all(|status| [200, 429].contains(status)),
        "{answers:?}"
    );
    world.finish();
}

#[test]
fn without_a_token_only_a_signal_reloads() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("a", "normal", "disconnected");
    world.with_config("{}");
    let mut args = world.serve_args();
    args.retain(|arg| !arg.starts_with("--webhook.token-file"));
    args.push("--trigger=local".to_owned());
    world.start(&[], Path::new(REMEDIATOR), args);
    let answer = post(world.port, Some(TOKEN));
    assert_eq!(answer.status, 403);
    for words in ["--webhook.token-file", "SIGHUP"] {
        assert!(answer.body.contains(words), "{}", answer.body);
    }
    hang_up(&mut world, "armed: {look_every: 2s}");
    world.finish();
}

#[test]
fn a_new_root_is_watched_after_a_reload() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("a", BLOATED, "disconnected");
    let now = std::time::SystemTime::now() - QUARTER;
    fixture::unpack(BLOATED, &world.path("more/b"), now).unwrap();
    world.probe_says("b", "disconnected");
    let roots = |names: &[&str]| {
        let roots = names.iter().map(|name| world.path(name));
        let roots: Vec<_> = roots.map(|path| path.display().to_string()).collect();
        format!("sessions: {{paths: [{}]}}\n", roots.join(", "))
    };
    let (one, both) = (roots(&["sessions"]), roots(&["sessions", "more"]));
    world.with_config(&one);
    let mut args = world.serve_args();
    args.retain(|arg| !arg.starts_with("--sessions.path"));
    world.start(&[], Path::new(REMEDIATOR), args);
    assert_eq!(world.accepted(&[alert("b", "cleanup")]), 0);
    hang_up(&mut world, &both);
    assert_eq!(world.metric("sessions", &[]), 2.0);
    assert_eq!(world.accepted(&[again("b", "cleanup", 19)]), 1);
    world.wait_until_idle();
    // The commands of this world read the other root by its flag.
    world
        .flags
        .push(format!("--sessions.path={}", world.path("more").display()));
    let run = newest(&world, "b");
    assert_eq!(run["status"], "done", "{run}");
    assert!(world.path("more/b/.baileys_quarantine").exists());
    // And not after it was taken out again.
    hang_up(&mut world, &one);
    assert_eq!(world.accepted(&[again("b", "cleanup", 20)]), 0);
    world.finish();
}

#[test]
fn a_reload_changes_who_is_polled_and_who_is_told() {
    let servers = ["[]"; 2].map(|none| CannedServer::start(Canned::json(none)).unwrap());
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("a", BLOATED, "disconnected");
    let config = |n: usize| {
        let url = servers[n].url();
        let told = world.path(&format!("told-{n}"));
        format!(
            "alertmanager: {{urls: [{url:?}], interval: 1s, timeout: 5s}}\nnotify: {{command: [/bin/sh, -c, 'cat >> \"$1\"', sh, {}]}}\n",
            told.display()
        )
    };
    let (first, second) = (config(0), config(1));
    let polled = |world: &World, n: usize, times: usize| {
        let before = servers[n].requests().len();
        world.wait("polls", || match servers[n].requests().len() - before {
            seen if seen >= times => Ok(()),
            seen => Err(format!("{seen} of {times}")),
        });
    };
    world.with_config(&first);
    world.start_remediator();
    polled(&world, 0, 2);
    // What is there at its first look is no news.
    world.wait_for_log("news");
    hang_up(&mut world, &second);
    polled(&world, 1, 1);
    let former = servers[0].requests().len();
    // An alert of the new Alertmanager starts a run, and the new command reports it.
    let mut firing = alert("a", "cleanup");
    firing["fingerprint"] = json!("1");
    firing["status"] = json!({"state": "active"});
    servers[1].answers(Canned::json(json!([firing]).to_string()));
    world.wait("a run", || match world.runs_of("a").len() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    let run = newest(&world, "a");
    assert_eq!(run["status"], "done", "{run}");
    let told = world.path("told-1");
    world.wait("a message", || match fs::read_to_string(&told) {
        Ok(text) if text.contains("a: cleanup done") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!world.path("told-0").exists());
    assert_eq!(servers[0].requests().len(), former, "it is still polled");
    // Without the key no Alertmanager is polled.
    hang_up(&mut world, "{}");
    world.wait("no Alertmanager is polled", || {
        let name = "baileys_remediator_alertmanager_up";
        match world.metrics().having(name, &[]).count() {
            0 => Ok(()),
            more => Err(format!("{more}")),
        }
    });
    world.finish();
}

/// The probe is believed because it was seen to know the bot connected, before the reload.
#[test]
fn a_reload_changes_no_verdict() {
    let mut world = testkit::world!();
    world.bot("a", BLOATED, "connected");
    let script = world.path("probe/ask.sh");
    world.flags.push(format!(
        "--connection.command=sh {} {{session}}",
        script.display()
    ));
    world.with_config("{}");
    world.start_remediator();
    world.accepted(&[alert("a", "warning")]);
    let run = newest(&world, "a");
    let evidence = run["evidence"].as_str().unwrap();
    assert!(evidence.contains("probe: connected"), "{run}");
    for _ in 0..3 {
        hang_up(&mut world, "connection: {timeout: 20s}");
        hang_up(&mut world, "{}");
    }
    world.probe_says("a", "disconnected");
    world.accepted(&[alert("a", "cleanup")]);
    let run = newest(&world, "a");
    assert_eq!(run["status"], "done", "{run}");
    world.finish();
}

/// The exporter begins to use its state directory with a reload, and that directory hangs.
#[test]
fn a_state_directory_that_hangs_holds_up_no_scrape() {
    for (yaml, ends) in [
        ("processes: [{pid_file: DIR/none.pid}]\n", LOADED),
        ("logs: {paths: [DIR/*.log]}\n", "was not loaded"),
    ] {
        let mut world = testkit::world!();
        world.bot("a", BLOATED, "connected");
        world.with_config("{}");
        world.start_exporter();
        let state = world.path("exporter-state");
        let Some(mount) = HungMount::over(&state) else {
            return;
        };
        world.with_config(yaml);
        world.signal(Signal::HUP);
        // A scrape that is held up fails.
        let reloaded = |world: &World, text: &str| {
            world.wait(text, || match (world.metrics(), world.log()) {
                (_, log) if log.contains(text) => Ok(()),
                _ => Err("not yet".into()),
            });
        };
        reloaded(&world, "logs.state_path does not answer");
        reloaded(&world, ends);
        drop(mount);
        world.wait("it is in force", || {
            world.signal(Signal::HUP);
            match world.log().contains(LOADED) {
                true => Ok(()),
                false => Err("not yet".into()),
            }
        });
        // What was seen is saved there now.
        world.wait_for_file("alive.json", &state.join("alive.json"));
        world.finish();
    }
}

#[test]
fn hundreds_of_reloads_lose_no_run() {
    const BOTS: usize = 12;
    const RELOADS: usize = 240;
    let mut world = testkit::world!();
    world.with_probe();
    let names: Vec<String> = (0..BOTS).map(|n| format!("bot-{n}")).collect();
    for name in &names {
        world.bot(name, BLOATED, "disconnected");
    }
    world.with_config("{}");
    world.start_remediator();
    for n in 0..RELOADS {
        if n % (RELOADS / BOTS) == 0 {
            let name = &names[n / (RELOADS / BOTS)];
            assert_eq!(world.accepted(&[alert(name, "cleanup")]), 1);
        }
        hang_up(&mut world, ["{}", "armed: {look_every: 30s}"][n % 2]);
    }
    world.wait_until_idle();
    for name in &names {
        let run = world.run_of(name);
        assert_eq!(run["status"], "done", "{run}");
    }
    assert!(world.log().matches(LOADED).count() >= RELOADS);
    world.finish();
}

mod restarts {
    //! A bot that is stopped, cleaned and started while the configuration changes.

    use super::*;
    use testkit::supervised::SupervisedBot;

    /// The same file with a text replaced.
    fn replaced(world: &SupervisedBot, from: &str, to: &str) {
        let yaml = world.read("config.yml");
        assert!(yaml.contains(from), "{yaml}");
        fs::write(world.path("config.yml"), yaml.replace(from, to)).unwrap();
    }

    fn reload(world: &SupervisedBot) -> Answer {
        world.wait("there may be a reload", || match world.reload() {
            answer if answer.status == 429 => Err("too many".into()),
            answer => Ok(answer),
        })
    }

    #[test]
    fn a_reload_in_the_middle_of_a_restart_leaves_it_as_it_began() {
        for point in ["stop-before", "ask-down", "start-before"] {
            let (mut world, before) = testkit::supervised_bot!();
            world.start();
            world.mark(&format!("hold-{point}"));
            world.deliver("emergency");
            world.wait_for_file(&format!("reached-{point}"));
            // With the commands of the new one the bot would not come back.
            replaced(&world, "/sv, start]", "/other, start]");
            replaced(&world, "/sv, gone]", "/other, gone]");
            replaced(&world, "connect_timeout: 20s", "connect_timeout: 1s");
            assert_eq!(reload(&world).status, 200, "{point}");
            for _ in 0..10 {
                world.signal(Signal::HUP);
            }
            world.unmark(&format!("hold-{point}"));
            let run = world.wait("the run ends", || world.ended());
            assert_eq!(run["status"], "done", "{point}: {run}");
            assert!(world.moved(&before) > 200, "{point}");
            world.is_connected().unwrap();
            assert_eq!((world.calls("stop"), world.calls("start")), (1, 1));
        }
    }

    #[test]
    fn a_service_with_a_pending_restart_stays_configured() {
        let (mut world, _) = testkit::supervised_bot!();
        world.start();
        let whole = world.read("config.yml");
        world.mark("hold-ask-down");
        world.deliver("emergency");
        world.wait_for_file("reached-ask-down");
        let begin = whole.find("processes:").unwrap();
        let without = whole[..begin].to_owned();
        let changes = [
            without.clone(),
            whole.replace("allow_restart: true", "allow_restart: false"),
            whole.replace("name: bot", "name: other"),
        ];
        for yaml in &changes {
            fs::write(world.path("config.yml"), yaml).unwrap();
            let answer = reload(&world);
            assert_eq!(answer.status, 500, "{yaml}");
            assert!(
                answer.body.contains("service bot has a pending restart"),
                "{}",
                answer.body
            );
            let reloaded = world.metrics();
            let reloaded = reloaded.sum("baileys_remediator_config_last_reload_successful", &[]);
            assert_eq!(reloaded, Ok(0.0));
        }
        world.unmark("hold-ask-down");
        let run = world.wait("the run ends", || world.ended());
        assert_eq!(run["status"], "done", "{run}");
        world.is_connected().unwrap();
        fs::write(world.path("config.yml"), without).unwrap();
        world.wait("its restart is over", || match reload(&world) {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.body),
        });
    }

    /// Its start fails until the file is corrected.
    #[test]
    fn a_restart_that_waits_goes_on_under_the_new_configuration() {
        let (mut world, _) = testkit::supervised_bot!();
        replaced(&world, "/sv, start]", "/none, start]");
        replaced(&world, "start_timeout: 10s", "start_timeout: 2s");
        world.start();
        let run = world.asked("emergency");
        assert_eq!(run["reason"], "down", "{run}");
        replaced(&world, "/none, start]", "/sv, start]");
        assert_eq!(reload(&world).status, 200);
        world.wait("the bot is connected", || world.is_connected());
        assert_eq!(world.calls("start"), 1);
    }
}
