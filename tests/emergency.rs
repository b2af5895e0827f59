//! Level 3: a bot is stopped, cleaned and started again, whatever happens in between.
//!
//! The supervisor is a stand-in (`sv`, a script that keeps one process a name, as systemd
//! keeps a unit) behind the preset `command`; pm2 from npm and a real systemd are behind
//! their own (`tests/systemd.rs` has more of the latter). The bots are processes that hold a
//! folder open and write: the real Baileys where it matters that its messages can still be
//! read, a script elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use baileys_exporter::remediator::store::Store;
use baileys_exporter::remediator::store::clock::Moment;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::fixture::{self, Snapshot};
use testkit::net::Metrics;
use testkit::npm;
use testkit::supervised::{Supervised, scribbler};
use testkit::world::World;
use testkit::{pm2, process, systemd};

const BLOATED: &str = "bloated-classic-387";
/// A window that is never closed.
const WHOLE_DAY: &str = "    windows: [{from: \"00:00\", to: \"24:00\", zone: America/Lima}]";
const SOON: Duration = Duration::from_secs(60);

/// Two of the real library at a time: they work rather than wait.
struct Slot;

static SLOTS: (Mutex<u32>, Condvar) = (Mutex::new(2), Condvar::new());

impl Slot {
    fn take() -> Self {
        let left = SLOTS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = SLOTS.1.wait_while(left, |left| *left == 0);
        *taken.unwrap_or_else(PoisonError::into_inner) -= 1;
        Slot
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *SLOTS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        SLOTS.1.notify_one();
    }
}

/// These cases wait rather than work: all of them at the same time.
fn at_once(cases: &[&str], case: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for name in cases {
            scope.spawn(|| case(name));
        }
    });
}

#[test]
fn stopped_cleaned_and_started_again() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    let first = world.read("bot.pid");
    let run = world.asked("bot", "emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert!(run["accumulated_before"].as_i64() >= Some(387), "{run}");
    assert!(run["accumulated_after"].as_i64() < Some(180), "{run}");
    assert_eq!(
        (world.calls("stop", "bot"), world.calls("start", "bot")),
        (1, 1)
    );
    assert_ne!(world.read("bot.pid"), first, "another process");
    world.is_connected("bot").unwrap();
    assert!(world.nothing_is_lost("bot", &before) > 200);
    assert_eq!(world.metric("service_stops_total", &[]), 1.0);
    assert_eq!(world.metric("services_down", &[]), 0.0);
    let status = world.status();
    let service = &status["services"][0];
    assert_eq!(
        (&service["service"], &service["budget_left"]),
        (&json!("bot"), &json!(1)),
        "{status}"
    );
    assert!(
        service["cooldown_until"].is_string() && status["not_back"] == json!([]),
        "{status}"
    );
    let (code, out, _) = world.command(&["status"]).parts();
    assert!(
        code == 0 && out.contains("LEFT TODAY") && out.contains("Automatic actions are on."),
        "{out}"
    );
    what_lies_there_is_documented_and_private(&world.path("state"));
    // The restart is on record, with the downtime.
    let (code, out, err) = world
        .command(&["runs", "show", &run["id"].to_string(), "--output=json"])
        .parts();
    assert_eq!(code, 0, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    let steps = shown["steps"].as_array().unwrap();
    let mut at = 0;
    for word in ["stopping", "gone", "starting", "started", "connected"] {
        let found = steps[at..].iter().position(|step| step["step"] == word);
        at += found.unwrap_or_else(|| panic!("{word}: {out}"));
    }
    let detail = steps[at]["detail"].as_str().unwrap();
    assert!(detail.starts_with("down for "), "{out}");
    let left = world.folder("bot").join(".baileys_quarantine/restart.json");
    assert!(!left.exists(), "the second record is gone");
}

/// Another remediator on the host, with another state directory, gets the same alerts.
#[test]
fn two_remediators_start_a_bot_once() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    let other = world.second_remediator();
    world.mark("hold-start-before");
    let ports = [world.port, other.0];
    for port in ports {
        world.deliver_to(port, "firing", &[("bot", "emergency")]);
    }
    world.wait_for_file("reached-start-before");
    world.unmark("hold-start-before");
    for port in ports {
        world.wait("no run waits", || {
            let metrics = Metrics::scrape(&format!("http://127.0.0.1:{port}/metrics"))?;
            let waiting: f64 = metrics
                .having("baileys_remediator_queue_length", &[])
                .map(|sample| sample.value)
                .sum();
            match waiting {
                0.0 => Ok(()),
                waiting => Err(format!("{waiting}")),
            }
        });
    }
    world.came_back_by_one_start("bot", &before);
}

fn what_lies_there_is_documented_and_private(state: &Path) {
    let docs = include_str!("../docs/configuration.md");
    let rows = docs
        .split("### What lies in `--state.path`")
        .nth(1)
        .and_then(|rest| rest.split("###").next());
    let first_cells = rows
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let documented: Vec<&str> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(state).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let is_it = |pattern: &&&str| match pattern.split_once('*') {
            Some((begin, end)) => name.starts_with(begin) && name.ends_with(end),
            None => name == **pattern,
        };
        let pattern = documented
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{name} is not documented"));
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{name}"
        );
        seen.insert(*pattern);
    }
    assert_eq!(seen, documented.into_iter().collect(), "all of it is there");
}

#[test]
fn what_refuses_before_anything_is_stopped() {
    let mut world = testkit::supervised!();
    let small = world.bot("small", "normal");
    let creds = |world: &Supervised, session: &str, change: &dyn Fn(&mut Value)| {
        let path = world.folder(session).join("creds.json");
        let mut creds: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut creds);
        fs::write(path, creds.to_string()).unwrap();
    };
    let unpaired = world.bot("unpaired", BLOATED);
    creds(&world, "unpaired", &|creds| {
        _ = creds.as_object_mut().unwrap().remove("account")
    });
    let ended = world.bot("ended", BLOATED);
    let unknown = world.bot("unknown", BLOATED);
    // Every contact is of today: a busy bot.
    let busy = world.bot("busy", BLOATED);
    for name in busy.names().filter(|name| name.starts_with("pre-key-")) {
        let file = File::options()
            .write(true)
            .open(world.folder("busy").join(name))
            .unwrap();
        file.set_modified(SystemTime::now()).unwrap();
    }
    let line = |text: &str, more: &str| {
        format!(
            "{{\"level\":50,\"time\":\"2026-11-23T18:00:00.000Z\",\"pid\":1,\"hostname\":\"h\",{more}\"msg\":\"{text}\"}}\n"
        )
    };
    let code = "\"fullErrorNode\":{\"tag\":\"stream:error\",\"attrs\":{\"code\":\"401\"}},";
    let log = line("opened connection to WA", "") + &line("stream errored out", code);
    fs::create_dir(world.path("logs")).unwrap();
    fs::write(world.path("logs/ended-out.log"), log).unwrap();
    world.configure(
        "{session}",
        "",
        &format!(
            "logs: {{paths: ['{}/*.log']}}",
            world.path("logs").display()
        ),
    );
    world.start();
    let refused = |reason: &str| ("refused".to_owned(), reason.to_owned());
    assert_eq!(world.came_to("small", "emergency"), refused("stale_alert"));
    assert_eq!(
        world.came_to("unpaired", "emergency"),
        refused("not_logged_in")
    );
    assert_eq!(world.came_to("ended", "emergency"), refused("logged_out"));
    assert_eq!(
        world.came_to("busy", "emergency"),
        refused("not_worth_a_restart")
    );
    world.mark("gone-unknown");
    assert_eq!(
        world.came_to("unknown", "emergency"),
        refused("service_unknown")
    );
    for (session, before) in [
        ("small", small),
        ("unpaired", unpaired),
        ("ended", ended),
        ("busy", busy),
        ("unknown", unknown),
    ] {
        world.nothing_moved(session, &before);
        assert_eq!(world.calls("stop", session), 0, "{session}");
    }
    assert_eq!(world.metric("service_stops_total", &[]), 0.0);
    assert_eq!(
        world.metric("refusals_total", &[("reason", "not_worth_a_restart")]),
        1.0
    );
}

#[test]
fn a_bot_that_refuses_to_stop_goes_on_running() {
    let mut world = testkit::supervised!();
    for (name, mark, reason) in [
        ("deaf", "stop-ignored", "not_gone"),
        ("bad", "stop-fails", "not_stopped"),
    ] {
        let before = world.bot(name, BLOATED);
        world.start();
        world.mark(mark);
        assert_eq!(
            world.came_to(name, "emergency"),
            ("failed".into(), reason.into()),
            "{}",
            world.read("log")
        );
        world.unmark(mark);
        let detail = world.ended(name).unwrap()["detail"].to_string();
        assert!(!detail.contains("started again"), "{detail}");
        world.nothing_moved(name, &before);
        // Not a second one beside it, even if the command would start one.
        assert!(world.runs_now(name) && world.calls("start", name) == 0);
        assert_eq!(
            world.metric("service_not_back", &[]),
            0.0,
            "it is connected"
        );
        assert_eq!(
            world.metric("services_down", &[]),
            1.0,
            "the stop may still come"
        );
        // It does, and no other program is to repair it; also after a restart.
        let calls = world.calls("start", name);
        if name == "bad" {
            world.kill();
            world.start();
        }
        world.sv("stop", name);
        world.wait("it is started again", || {
            match world.metric("services_down", &[]) {
                0.0 if world.calls("start", name) > calls => world.is_connected(name),
                down => Err(format!("{down}")),
            }
        });
        assert_eq!(
            world.metric("service_not_back", &[]),
            0.0,
            "it is connected"
        );
        world.nothing_moved(name, &before);
        world.terminate();
    }
}

#[test]
fn a_bot_that_dies_at_once_or_never_connects_is_reported_and_never_left_stopped() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-start-before");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-start-before");
    world.mark("dies");
    world.unmark("hold-start-before");
    let run = world.wait("the run ends", || world.ended("bot"));
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed"), &json!("down")),
        "{run}"
    );
    let name = run["run"].as_str().unwrap();
    assert!(
        run["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("baileys_remediator undo {name}")),
        "{run}"
    );
    assert!(world.nothing_is_lost("bot", &before) > 200);
    let labels = [("service", "bot"), ("session", "bot"), ("run", name)];
    assert_eq!(world.metric("service_not_back", &labels), 1.0);
    assert_eq!(
        world.metric("services_down", &[]),
        1.0,
        "its start is still pending"
    );
    assert_eq!(world.status()["not_back"][0]["run"], name);

    // It can be started again, and never connects.
    world.mark("never-connects");
    world.unmark("dies");
    world.wait("it is started again", || {
        match world.metric("services_down", &[]) {
            0.0 if world.runs_now("bot") => Ok(()),
            down => Err(format!("{down}")),
        }
    });
    assert_eq!(
        world.metric("service_not_back", &labels),
        1.0,
        "it runs, and is not connected"
    );
    // A person repairs it.
    world.mark("bot.ready");
    world.wait("it has come back", || {
        match world.metric("service_not_back", &[]) {
            0.0 => Ok(()),
            late => Err(format!("{late}")),
        }
    });
    assert_eq!(world.calls("stop", "bot"), 1);
}

/// systemd, whose unit is the bot of the supervisor `sv`. From its stop on, WhatsApp refuses the
/// login.
const SYSTEMCTL: &str = r#"
if sh sv gone bot; then pid=0 tasks=0 state=inactive sub=dead
else pid=$(cat bot.pid) tasks=1 state=active sub=running; fi
case "$*" in
*SystemState*) echo SystemState=running ;;
*show*) printf '%s\n' LoadState=loaded ActiveState=$state SubState=$sub MainPID=$pid ControlPID=0 Job= \
    ControlGroup= TasksCurrent=$tasks TriggeredBy= RequiredBy= RequisiteOf= BoundBy= ConsistsOf= \
    PropagatesStopTo= InactiveEnterTimestampMonotonic="$(cat ended 2>/dev/null || echo 0)" \
    Result=success Restart=always NRestarts=0 RestartPreventExitStatus= ConditionResult=yes \
    AssertResult=yes Transient=no FragmentPath=/etc/systemd/system/bot@.service \
    NeedDaemonReload=no BindsTo= Requires= Requisite= PartOf= StopPropagatedFrom= ;;
*stop*)
    touch refused
    sh sv stop bot
    until sh sv gone bot; do sleep 0.05; done
    awk '{printf "%d\n", $1 * 1000000}' /proc/uptime >ended ;;
*start*) sh sv start bot ;;
esac
"#;

/// A bot whose connections are the only source: to this address, in the place of WhatsApp. Once
/// there is a file `refused`, its login is refused, and it tries again and again. `None`: not
/// possible here.
fn with_sockets_only(address: &str, systemctl: &str) -> Option<Supervised> {
    let whatsapp = match std::net::TcpListener::bind((address, 443)) {
        Ok(listener) => listener,
        Err(error) => {
            testkit::not_run(format_args!(
                "{address}:443: {error}; this test needs root and the port"
            ));
            return None;
        }
    };
    std::thread::spawn(move || whatsapp.incoming().collect::<Vec<_>>());
    let mut world = testkit::supervised!();
    world.folder_of("bot", BLOATED);
    let dial = "while :; do\n    exec 3<>/dev/tcp/ADDRESS/443\n    touch bot.ready\n    sleep 1\n    while [ ! -e refused ]; do sleep 0.1; done\n    exec 3>&-\ndone\n";
    world.write("dial", &dial.replace("ADDRESS", address));
    world.supervise("bot", "exec bash dial\n");
    world.stand_in("systemctl", systemctl);
    World::configure(
        &world,
        "connection: {quiet: 1s}\narmed: {look_every: 1s}\nprocesses: [{systemd: {unit: 'bot@{session}.service'}, allow_restart: true, connect_timeout: 5s}]\n",
    );
    world.start();
    Some(world)
}

/// Its time to connect is shorter than a socket takes to count.
#[test]
fn a_bot_with_nothing_but_sockets_is_back_once_they_have_lasted() {
    let accepting = SYSTEMCTL.replace("    touch refused\n", "");
    let Some(world) = with_sockets_only("127.0.0.4", &accepting) else {
        return;
    };
    world.deliver("firing", &[("bot", "emergency")]);
    let run = world.wait("the run ends", || world.ended("bot"));
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert_eq!(world.metric("service_not_back", &[]), 0.0);
    assert_eq!(
        (world.calls("stop", "bot"), world.calls("start", "bot")),
        (1, 1)
    );
}

/// Its login is refused after the start.
#[test]
fn a_bot_whose_login_is_refused_after_the_start_is_not_back() {
    let Some(world) = with_sockets_only("127.0.0.3", SYSTEMCTL) else {
        return;
    };
    world.deliver("firing", &[("bot", "emergency")]);
    let run = world.wait("the run ends", || world.ended("bot"));
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed"), &json!("not_connected")),
        "{run}\n{}",
        world.read("log")
    );
    assert_eq!(world.metric("service_not_back", &[]), 1.0);
    assert!(world.runs_now("bot"));

    // WhatsApp accepts it: the connection lasts.
    world.unmark("refused");
    world.wait("it has come back", || {
        match world.metric("service_not_back", &[]) {
            0.0 => Ok(()),
            late => Err(format!("{late}")),
        }
    });
    assert_eq!(world.calls("stop", "bot"), 1);
}

#[test]
fn a_bot_that_a_person_stopped_stays_stopped() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    world.sv("stop", "bot");
    world.wait("it is gone", || {
        if world.runs_now("bot") {
            Err("it runs".into())
        } else {
            Ok(())
        }
    });
    std::thread::sleep(Duration::from_millis(1500)); // the quiet window of this configuration
    assert_eq!(
        world.came_to("bot", "emergency"),
        ("done".into(), String::new()),
        "{}",
        world.read("log")
    );
    assert!(world.nothing_is_lost("bot", &before) > 200);
    assert!(!world.runs_now("bot") && world.calls("start", "bot") == 0);
    assert_eq!(world.metric("service_stops_total", &[]), 0.0);
}

/// The service is gone, and another process, of which the configuration knows nothing, goes
/// on writing: the wrong service was named.
#[test]
fn a_bot_that_goes_on_writing_is_not_cleaned() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    let creds = world.folder("bot").join("creds.json").display().to_string();
    let script = format!("while :; do touch {creds}; sleep 0.05; done");
    let log = world.path("other.log");
    let other =
        process::Process::start("another bot", Path::new("sh"), ["-c", &script], &log).unwrap();
    world.start();
    let run = world.asked("bot", "emergency");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("refused"), &json!("connection_unknown")),
        "{run}"
    );
    assert!(
        run["evidence"]
            .as_str()
            .unwrap()
            .contains("written after it was stopped"),
        "{run}"
    );
    drop(other);
    world.nothing_moved("bot", &before);
    assert_eq!(
        (world.calls("stop", "bot"), world.calls("start", "bot")),
        (1, 1)
    );
    world.is_connected("bot").unwrap();
}

/// The remediator is killed at each step, and started again.
#[test]
fn killed_at_each_step_the_bot_runs_again_and_no_key_is_lost() {
    let points = [
        "stop-before",
        "stop-after",
        "ask-down",
        "start-before",
        "start-after",
        "never-connects",
    ];
    at_once(&points, |point| {
        let mut world = testkit::supervised!();
        let before = world.bot("bot", BLOATED);
        world.start();
        let hold = format!("hold-{point}");
        let is_hold = point != "never-connects";
        world.mark(if is_hold { &hold } else { point });
        world.deliver("firing", &[("bot", "emergency")]);
        match is_hold {
            true => world.wait_for_file(&format!("reached-{point}")),
            false => world.wait("it is started again", || {
                match world.calls("start", "bot") {
                    0 => Err("not yet".into()),
                    _ => Ok(()),
                }
            }),
        }
        world.kill();
        // What the supervisor was asked to do goes on without us.
        world.unmark(if is_hold { &hold } else { point });
        if !is_hold {
            world.wait("it runs", || {
                if world.runs_now("bot") {
                    Ok(())
                } else {
                    Err("not yet".into())
                }
            });
            world.mark("bot.ready");
        }
        world.start();
        world.wait(
            "no restart is pending",
            || match world.status()["services"][0]["phase"].as_str() {
                None => Ok(()),
                Some(phase) => Err(format!("{point}: {phase}")),
            },
        );
        world
            .is_connected("bot")
            .unwrap_or_else(|e| panic!("{point}: {e}\n{}", world.read("log")));
        assert_eq!(world.metric("service_not_back", &[]), 0.0, "{point}");
        world.nothing_is_lost("bot", &before);
        // It is on record, and not begun anew.
        let run = world.wait("the run is ended", || world.ended("bot"));
        assert!(
            ["crashed", "interrupted", ""].contains(&run["reason"].as_str().unwrap_or_default()),
            "{run}"
        );
        assert_eq!(world.calls("stop", "bot"), 1, "{point}: {run}");
        // Alive a while later, too: no stop was still on its way.
        std::thread::sleep(Duration::from_secs(1));
        world.is_connected("bot").unwrap();
    });
}

/// A bot that is ended while it writes creds.json leaves a torn one, and its next start would
/// begin a new identity over it; also where the remediator is killed before it could repair that.
#[test]
fn a_stop_that_tears_creds_json_costs_no_identity() {
    at_once(&["", "stop-after", "ask-down", "start-before"], |point| {
        let mut world = testkit::supervised!();
        let before = world.folder_of("bot", BLOATED);
        let (dir, creds) = (
            world.root().display(),
            world.folder("bot").join("creds.json"),
        );
        let whole: Value = serde_json::from_slice(&fs::read(&creds).unwrap()).unwrap();
        let creds = creds.display();
        let script = format!(
            "cd {dir}\ntrap 'printf \\173 >{creds}; exit' TERM\nsed -n '/registrationId/p' {creds} | grep -q . || touch new-identity\ntouch bot.ready\nwhile :; do touch {creds}; sleep 0.1; done\n"
        );
        world.supervise("bot", &script);
        world.start();
        world.wait("a copy is kept", || {
            match world.command(&["creds", "list", "bot"]).parts() {
                (0, out, _) if out.contains("in the folder") => Ok(()),
                (_, out, err) => Err(format!("{out}{err}")),
            }
        });
        // It has changed since; the next regular look is minutes away.
        let mut newer = whole.clone();
        newer["accountSyncCounter"] = json!(77);
        fs::write(world.folder("bot").join("creds.json"), newer.to_string()).unwrap();
        let run = if point.is_empty() {
            world.deliver("firing", &[("bot", "emergency")]);
            world.wait("the run ends", || {
                let ended = world
                    .runs()
                    .into_iter()
                    .find(|run| run["action"] == "emergency");
                ended
                    .filter(|run| run["status"] != "running" && run["status"] != "queued")
                    .ok_or("not yet".into())
            })
        } else {
            world.mark(&format!("hold-{point}"));
            world.deliver("firing", &[("bot", "emergency")]);
            world.wait_for_file(&format!("reached-{point}"));
            world.kill();
            world.unmark(&format!("hold-{point}"));
            world.start();
            world.wait(
                "no restart is pending",
                || match world.status()["services"][0]["phase"].as_str() {
                    None => Ok(Value::Null),
                    Some(phase) => Err(format!("{point}: {phase}")),
                },
            )
        };
        let log = world.read("log");
        world
            .is_connected("bot")
            .unwrap_or_else(|error| panic!("{point}: {error}\n{log}"));
        assert!(
            !world.path("new-identity").exists(),
            "{point}: {run}\n{log}"
        );
        let now: Value =
            serde_json::from_slice(&fs::read(world.folder("bot").join("creds.json")).unwrap())
                .unwrap();
        for key in [
            "noiseKey",
            "signedIdentityKey",
            "registrationId",
            "me",
            "account",
        ] {
            assert_eq!(now[key], whole[key], "{point}: {key}");
        }
        assert_eq!(
            now["accountSyncCounter"], 77,
            "{point}: the copy is of just before the stop"
        );
        assert!(now["nextPreKeyId"].as_u64() >= whole["nextPreKeyId"].as_u64());
        world.nothing_is_lost("bot", &before);
        let restored: Vec<Value> = world
            .runs()
            .into_iter()
            .filter(|run| run["action"] == "restore")
            .collect();
        let told = |key: &str| {
            restored
                .iter()
                .map(|run| run[key].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told("status"),
            [json!("done")],
            "{point}: {restored:?}\n{log}"
        );
        assert_eq!(
            told("requested_by"),
            [json!("serve before the start of bot")]
        );
    });
}

/// Killed between the plan and its first move: what a restart hears about the stopped bot
/// is out of date once it has started it.
#[test]
fn killed_after_the_plan_nothing_moves_under_the_bot_that_is_started() {
    let mut world = testkit::supervised!();
    let before = world.folder_of("bot", BLOATED);
    // It does not write, so no quiet window helps.
    let script = format!(
        "cd {}; touch bot.ready; exec sleep 600",
        world.root().display()
    );
    world.supervise("bot", &script);
    world.start();
    world.mark("hold-planned");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-planned");
    world.kill();
    world.unmark("reached-planned");
    world.spawn();
    // While it is down, its status is held, too.
    world.wait("the bot is started", || match world.runs_now("bot") {
        false => Err("not yet".into()),
        true => world.is_connected("bot"),
    });
    world.unmark("hold-planned");
    let run = world.wait("the run is ended", || world.ended("bot"));
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed"), &json!("interrupted")),
        "{run}"
    );
    world.nothing_moved("bot", &before);
    world.is_connected("bot").unwrap();
}

/// The look before a stop is slow, and a person pauses meanwhile.
#[test]
fn paused_during_the_look_nothing_is_stopped() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-ask-up");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait("it is under way", || match world.runs().first() {
        Some(run) if run["status"] == "running" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.wait_for_file("reached-ask-up");
    std::thread::sleep(Duration::from_millis(500)); // beyond the first look at the switches
    assert_eq!(
        world.command(&["pause", "--reason", "a new release"]).code,
        0
    );
    world.unmark("hold-ask-up");
    let run = world.wait("the run ends", || world.ended("bot"));
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("refused"), &json!("paused")),
        "{run}"
    );
    world.nothing_moved("bot", &before);
    assert_eq!(
        (
            world.calls("stop", "bot"),
            world.metric("service_stops_total", &[])
        ),
        (0, 0.0)
    );
}

#[test]
fn asked_to_end_it_finishes_what_it_has_begun() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-ask-down");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-ask-down");
    world.signal(Signal::TERM);
    world.unmark("hold-ask-down");
    assert!(world.ends().success());
    assert_eq!(world.ended("bot").unwrap()["status"], "done");
    assert!(world.nothing_is_lost("bot", &before) > 200);
    world.is_connected("bot").unwrap();
}

#[test]
fn one_process_under_two_names_is_not_stopped() {
    let mut world = testkit::supervised!();
    let before = ["a", "b"].map(|session| world.folder_of(session, BLOATED));
    let folders = ["a", "b"].map(|session| world.folder(session));
    let script = scribbler(world.root(), "bots", &folders);
    world.configure("bots", "", "");
    let yaml = world.read("config.yml");
    let yaml = yaml.replace("name: \"bots\"", "name: \"{session}\"");
    fs::write(world.path("config.yml"), yaml).unwrap();
    world.supervise("bots", &script);
    world.start();
    world.deliver("firing", &[("a", "emergency"), ("b", "emergency")]);
    for (session, before) in ["a", "b"].iter().zip(&before) {
        let run = world.wait("the run ends", || world.ended(session));
        assert_eq!(run["reason"], "service_unknown", "{run}");
        world.nothing_moved(session, before);
    }
    assert_eq!(world.calls("stop", "bots"), 0, "{}", world.read("log"));
}

#[test]
fn a_restart_of_another_state_directory_is_logged_and_not_resumed() {
    let mut world = testkit::supervised!();
    world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-ask-down");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-ask-down");
    world.kill();
    world.unmark("hold-ask-down");
    fs::rename(world.path("state"), world.path("before")).unwrap();
    let record = world.folder("bot").join(".baileys_quarantine/restart.json");
    let text = fs::read_to_string(&record).unwrap();
    let (now, before) = (world.path("state"), world.path("before"));
    let text = text.replace(now.to_str().unwrap(), before.to_str().unwrap());
    fs::write(&record, text).unwrap();
    world.start();
    world.says(&format!("another state directory ({})", before.display()));
    assert_eq!(world.calls("start", "bot"), 0);
    world.terminate();
    // With that one it is resumed.
    fs::remove_dir_all(world.path("state")).unwrap();
    fs::rename(&before, &now).unwrap();
    world.start();
    world.wait("it is started", || world.is_connected("bot"));
}

/// The state directory may be read-only, or its lock may be planted.
#[test]
fn a_lock_that_cannot_be_opened_leaves_no_bot_down() {
    let mut world = testkit::supervised!();
    world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-ask-down");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-ask-down");
    world.kill();
    world.unmark("hold-ask-down");
    let lock = world.path("state/serve.lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(world.path("log"), &lock).unwrap();
    world.spawn();
    world.wait("it is started", || world.is_connected("bot"));
    assert_eq!(world.calls("start", "bot"), 1);
    assert!(!world.ends().success());
}

#[test]
fn one_process_of_several_sessions_is_stopped_once_for_all() {
    let mut world = testkit::supervised!();
    let sessions = ["a", "b", "c"];
    let before: Vec<Snapshot> = sessions
        .iter()
        .map(|session| world.folder_of(session, BLOATED))
        .collect();
    let folders: Vec<PathBuf> = sessions
        .iter()
        .map(|session| world.folder(session))
        .collect();
    let idle = world.folder_of("d", BLOATED);
    let script = scribbler(world.root(), "bots", &folders);
    world.configure("bots", "", "");
    world.supervise("bots", &script);
    world.start();
    // c waits armed, b is queued while a is under way; the clean-up of c is one of level 2.
    let armed = world.asked("c", "cleanup");
    assert_eq!(
        (&armed["status"], &armed["reason"]),
        (&json!("refused"), &json!("connected")),
        "{armed}"
    );
    assert_eq!(
        world.metric("armed_runs", &[("session", "c"), ("action", "cleanup")]),
        1.0
    );
    world.mark("hold-stop-before");
    world.deliver("firing", &[("a", "emergency")]);
    world.wait_for_file("reached-stop-before");
    world.deliver("firing", &[("b", "emergency")]);
    world.unmark("hold-stop-before");
    for (session, before) in sessions.iter().zip(&before) {
        let run = world.wait("the run ends", || match world.ended(session)? {
            run if run["status"] == "done" => Ok(run),
            run => Err(run.to_string()),
        });
        assert!(world.nothing_is_lost(session, before) > 200, "{run}");
    }
    assert_eq!(
        (world.calls("stop", "bots"), world.calls("start", "bots")),
        (1, 1)
    );
    assert_eq!(world.metric("armed_runs", &[]), 0.0, "it is done");
    world.is_connected("bots").unwrap();
    // No alert was about d. The budget is the process's.
    assert_eq!(
        world.came_to("d", "emergency"),
        ("refused".into(), "service_cooldown".into())
    );
    world.nothing_moved("d", &idle);
}

/// Each session of the process comes back, or does not, by itself.
#[test]
fn one_process_of_several_sessions_each_comes_back_by_itself() {
    let mut world = testkit::supervised!();
    let sessions = ["b0", "b1", "b2", "out"];
    let before: Vec<Snapshot> = sessions
        .iter()
        .map(|session| world.folder_of(session, BLOATED))
        .collect();
    // b2 is connected and has no alert; `out` and `gone` are not connected, ever.
    world.folder_of("gone", BLOATED);
    world.configure("bots", "", "");
    let text = world
        .read("config.yml")
        .replace("ask, \"bots\", \"\"", "ask, \"bots\", \"{session}\"");
    fs::write(world.path("config.yml"), text).unwrap();
    let connects = |session: &str| format!("[ -e late-{session} ] || touch {session}.ready\n");
    let script = format!(
        "cd {}\nrm -f b?.ready\n{}touch bots.ready\nexec sleep 600\n",
        world.root().display(),
        sessions[..3]
            .iter()
            .map(|session| connects(session))
            .collect::<String>()
    );
    world.supervise("bots", &script);
    world.start();
    for session in ["b1", "b2"] {
        world.mark(&format!("late-{session}"));
    }
    world.mark("hold-stop-before");
    world.deliver("firing", &[("b0", "emergency")]);
    world.wait_for_file("reached-stop-before");
    world.deliver("firing", &[("b1", "emergency"), ("out", "emergency")]);
    world.unmark("hold-stop-before");
    let ended = |session: &str| world.wait("the run ends", || world.ended(session));
    let (b0, b1, out) = (ended("b0"), ended("b1"), ended("out"));
    assert_eq!(
        (&b0["status"], &b0["reason"]),
        (&json!("done"), &Value::Null),
        "{b0}"
    );
    assert_eq!(
        (&out["status"], &out["reason"]),
        (&json!("done"), &Value::Null),
        "{out}"
    );
    assert_eq!(
        (&b1["status"], &b1["reason"]),
        (&json!("failed"), &json!("not_connected")),
        "{b1}"
    );
    let own = b1["run"].as_str().unwrap();
    assert!(
        b1["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("baileys_remediator undo {own}")),
        "{b1}"
    );
    for (index, moved) in [(0, true), (1, true), (2, false), (3, true)] {
        assert_eq!(
            world.nothing_is_lost(sessions[index], &before[index]) > 200,
            moved,
            "{index}"
        );
    }
    assert_eq!(
        (world.calls("stop", "bots"), world.calls("start", "bots")),
        (1, 1)
    );

    // Each with its own run; b2 has none to undo. Who was not connected before is not missed.
    let late = |world: &Supervised, session: &str, run: &str| {
        let labels = [("service", "bots"), ("session", session), ("run", run)];
        world.metric("service_not_back", &labels)
    };
    assert_eq!(
        (late(&world, "b1", own), late(&world, "b2", "-")),
        (1.0, 1.0)
    );
    assert_eq!(
        world.metric("service_not_back", &[]),
        2.0,
        "{}",
        world.status()
    );
    assert_eq!(world.metric("services_down", &[]), 0.0, "it runs");
    // b2 comes back; b1 is still missed, also by a remediator that was started again.
    world.mark("b2.ready");
    let wait_for = |world: &Supervised, left: f64| {
        world.wait("who has come back", || {
            match world.metric("service_not_back", &[]) {
                now if now == left => Ok(()),
                now => Err(format!("{now}")),
            }
        });
    };
    wait_for(&world, 1.0);
    world.kill();
    world.start();
    assert_eq!(late(&world, "b1", own), 1.0);
    world.mark("b1.ready");
    wait_for(&world, 0.0);
}

/// Killed after the start, with all that is to come back on record.
#[test]
fn killed_while_several_sessions_come_back_all_of_them_are_watched() {
    let mut world = testkit::supervised!();
    for session in ["b0", "b1"] {
        world.folder_of(session, BLOATED);
    }
    world.configure("bots", "", "");
    let text = world
        .read("config.yml")
        .replace("ask, \"bots\", \"\"", "ask, \"bots\", \"{session}\"");
    fs::write(world.path("config.yml"), text).unwrap();
    let script = format!(
        "cd {}\nrm -f b?.ready\ntouch b0.ready bots.ready\n[ -e late ] || touch b1.ready\nexec sleep 600\n",
        world.root().display()
    );
    world.supervise("bots", &script);
    world.start();
    world.mark("late");
    world.mark("hold-start-after");
    world.deliver("firing", &[("b0", "emergency")]);
    world.wait_for_file("reached-start-after");
    world.kill();
    world.unmark("hold-start-after");
    world.start();
    let labels = [("service", "bots"), ("session", "b1"), ("run", "-")];
    world.wait("b1 is missed", || {
        match world.metric("service_not_back", &labels) {
            1.0 => Ok(()),
            now => Err(format!("{now}")),
        }
    });
    assert_eq!(world.metric("service_not_back", &[]), 1.0, "b0 is back");
}

#[test]
fn an_armed_run_waits_for_its_window_or_until_the_bot_is_found_stopped() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    let refused = world.asked("bot", "cleanup");
    assert_eq!(refused["status"], "refused", "{refused}");
    assert_eq!(world.status()["armed"][0]["session"], "bot");
    // Its alert resolves.
    world.deliver("resolved", &[("bot", "emergency")]);
    assert_eq!(
        world.metric("armed_runs", &[]),
        1.0,
        "that is another tier's"
    );
    world.deliver("resolved", &[("bot", "cleanup")]);
    assert_eq!(world.metric("armed_runs", &[]), 0.0);
    world.terminate();

    // Armed again, in a window of the whole day.
    world.configure("{session}", WHOLE_DAY, "");
    fs::remove_dir_all(world.path("state")).unwrap();
    world.start();
    world.deliver("firing", &[("bot", "cleanup")]);
    let run = world.wait("its window", || match world.ended("bot")? {
        run if run["status"] == "done" => Ok(run),
        run => Err(run.to_string()),
    });
    assert_eq!(run["action"], "cleanup", "{run}");
    assert!(
        world.runs().iter().any(|run| run["status"] == "refused"),
        "it was armed first"
    );
    assert_eq!(
        (world.calls("stop", "bot"), world.calls("start", "bot")),
        (1, 1)
    );
    assert!(world.nothing_is_lost("bot", &before) > 0);
    world.is_connected("bot").unwrap();

    // Another bot, whose window is closed now: it is left alone until a person stops it.
    world.terminate();
    let today = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 86_400;
    let other_day = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][(today as usize + 3) % 7];
    let window = format!(
        "    windows: [{{days: [{other_day}], from: \"03:00\", to: \"04:30\", zone: UTC}}]"
    );
    world.configure("{session}", &window, "");
    let other = world.bot("other", BLOATED);
    world.start();
    let refused = world.asked("other", "cleanup");
    assert_eq!(refused["status"], "refused", "{refused}");
    assert_eq!(world.metric("armed_runs", &[("session", "other")]), 1.0);
    world.nothing_moved("other", &other);
    world.sv("stop", "other");
    let calls = world.calls("stop", "other");
    world.wait("it is found stopped", || match world.ended("other")? {
        run if run["status"] == "done" => Ok(()),
        run => Err(run.to_string()),
    });
    assert!(world.nothing_is_lost("other", &other) > 0);
    assert_eq!(
        (calls, world.calls("start", "other")),
        (1, 0),
        "by a person, who starts it again"
    );
    assert!(!world.runs_now("other"));
}

#[test]
fn too_many_at_once_halt_everything_until_a_person_resumes() {
    let mut world = testkit::supervised!();
    world.configure(
        "{session}",
        "",
        "breaker: {services: 1, share: 1%, within: 1h}",
    );
    let before: Vec<Snapshot> = ["a", "b", "c"]
        .iter()
        .map(|session| world.bot(session, BLOATED))
        .collect();
    world.start();
    assert_eq!(
        world.came_to("a", "emergency"),
        ("done".into(), String::new()),
        "{}",
        world.read("log")
    );
    assert_eq!(
        world.came_to("b", "emergency"),
        ("refused".into(), "breaker_open".into())
    );
    assert_eq!(world.metric("breaker_open", &[]), 1.0);
    // It halts level 2 as well, also after a restart, and records what would have been done.
    world.kill();
    world.start();
    let run = world.asked("c", "cleanup");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("refused"), &json!("breaker_open")),
        "{run}"
    );
    assert_eq!(
        run["note"], "halted; it would have been refused as connected",
        "{run}"
    );
    world.nothing_moved("b", &before[1]);
    world.nothing_moved("c", &before[2]);
    assert_eq!(world.calls("stop", "b"), 0);
    assert!(
        world
            .command(&["status"])
            .out
            .contains("CIRCUIT BREAKER OPEN")
    );
    let (code, out, err) = world.command(&["resume"]).parts();
    assert!(code == 0 && out.contains("breaker is closed"), "{out}{err}");
    assert_eq!(world.metric("breaker_open", &[]), 0.0);
    assert_eq!(
        world.came_to("c", "emergency"),
        ("done".into(), String::new()),
        "{}",
        world.read("log")
    );
}

#[test]
fn paused_nothing_is_done_and_all_of_it_is_on_record() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.bot("small", "normal");
    world.folder_of("idle", BLOATED);
    world.start();
    let (code, _, err) = world.command(&["pause", "--reason", " "]).parts();
    assert!(code == 2 && err.contains("give a reason"), "{err}");
    let (code, out, err) = world
        .command(&["pause", "--reason", "a new release"])
        .parts();
    assert!(code == 0 && out.contains("Paused"), "{out}{err}");
    assert_eq!(world.metric("paused", &[]), 1.0);
    assert_eq!(world.status()["paused"]["reason"], "a new release");
    // What a run would have been refused for is shown as well: a clean-up stops no bot.
    for (session, tier, refused) in [
        ("bot", "emergency", None),
        ("bot", "cleanup", Some("connected")),
        ("idle", "cleanup", None),
        ("small", "emergency", Some("stale_alert")),
    ] {
        let run = world.asked(session, tier);
        assert_eq!(
            (&run["status"], &run["reason"]),
            (&json!("refused"), &json!("paused")),
            "{run}"
        );
        if let Some(reason) = refused {
            let note = format!("halted; it would have been refused as {reason}");
            assert_eq!(
                (&run["note"], &run["files"]),
                (&json!(note), &json!({})),
                "{run}"
            );
            assert_eq!(run["accumulated_after"], run["accumulated_before"], "{run}");
            continue;
        }
        assert!(
            run["files"]["pre-key"].as_u64() > Some(100),
            "what would have been moved: {run}"
        );
        assert!(
            run["accumulated_after"].as_i64() < run["accumulated_before"].as_i64(),
            "{run}"
        );
    }
    world.nothing_moved("bot", &before);
    assert_eq!(
        (
            world.calls("stop", "bot"),
            world.metric("files_moved_total", &[])
        ),
        (0, 0.0)
    );
    let (code, out, _) = world.command(&["resume"]).parts();
    assert!(code == 0 && out.contains("The pause has ended"), "{out}");
    assert_eq!(world.metric("paused", &[]), 0.0);
}

/// A window that is open, and a switch that halts everything.
#[test]
fn a_pause_and_an_open_breaker_hold_against_an_open_window() {
    at_once(&["pause", "breaker"], |switch| {
        let mut world = testkit::supervised!();
        let before = world.bot("bot", BLOATED);
        world.start();
        assert_eq!(
            world.came_to("bot", "cleanup"),
            ("refused".into(), "connected".into())
        );
        world.terminate();
        world.configure("{session}", WHOLE_DAY, "");
        match switch {
            "pause" => assert_eq!(world.command(&["pause", "--reason", "a release"]).code, 0),
            _ => Store::open(&world.path("state"))
                .unwrap()
                .pause()
                .open_breaker("a test", Moment::now())
                .unwrap(),
        }
        world.start();
        // Armed, in its window, and looked at every second.
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(
            world.metric("armed_runs", &[("session", "bot"), ("action", "cleanup")]),
            1.0
        );
        assert_eq!(
            (
                world.calls("stop", "bot"),
                world.metric("service_stops_total", &[])
            ),
            (0, 0.0),
            "{switch}"
        );
        world.nothing_moved("bot", &before);
        assert_eq!(world.command(&["resume"]).code, 0);
        world.wait("its window", || match world.ended("bot")? {
            run if run["status"] == "done" => Ok(()),
            run => Err(run.to_string()),
        });
        assert_eq!(world.calls("stop", "bot"), 1, "the window was open");
    });
}

#[test]
fn in_windows_one_service_after_the_other_and_the_breaker_stays_closed() {
    let mut world = testkit::supervised!();
    world.configure(
        "{session}",
        WHOLE_DAY,
        "breaker: {services: 2, share: 1%, within: 1h}",
    );
    for session in ["a", "b", "c"] {
        world.bot(session, BLOATED);
    }
    world.unmark("all.calls");
    world.start();
    world.mark("hold-stop-before");
    world.deliver("firing", &[("a", "cleanup")]);
    world.wait_for_file("reached-stop-before");
    // a is on its way down.
    world.deliver("firing", &[("b", "cleanup"), ("c", "cleanup")]);
    let armed = |session: &str| match world.metric("armed_runs", &[("session", session)]) {
        1.0 => Ok(()),
        other => Err(format!("{other}")),
    };
    for session in ["b", "c"] {
        world.wait("it is armed", || armed(session));
    }
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.read("all.calls"), "stop a\n", "one at a time");
    world.unmark("hold-stop-before");
    world.wait("two of them", || {
        match world.read("all.calls").lines().count() {
            4 => Ok(()),
            _ => Err(world.read("all.calls")),
        }
    });
    world.wait("nothing is down", || {
        match world.metric("queue_length", &[]) {
            0.0 => Ok(()),
            waiting => Err(format!("{waiting}")),
        }
    });
    let calls = world.read("all.calls");
    let second = if calls.contains("stop b") { "b" } else { "c" };
    assert_eq!(
        calls,
        format!("stop a\nstart a\nstop {second}\nstart {second}\n")
    );
    // A window never goes beyond the breaker, and does not open it: an emergency is let.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.read("all.calls"), calls);
    assert_eq!(world.metric("breaker_open", &[]), 0.0);
    let third = if second == "b" { "c" } else { "b" };
    assert_eq!(
        world.came_to(third, "emergency"),
        ("done".into(), String::new()),
        "{}",
        world.read("log")
    );
    assert_eq!(world.metric("breaker_open", &[]), 0.0);
}

#[test]
fn a_persons_clean_and_undo_go_through_a_pause() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    assert_eq!(
        world.command(&["pause", "--reason", "I do it myself"]).code,
        0
    );
    world.sv("stop", "bot");
    world.wait("it is gone", || {
        if world.runs_now("bot") {
            Err("it runs".into())
        } else {
            Ok(())
        }
    });
    std::thread::sleep(Duration::from_millis(1500)); // the quiet window of this configuration
    assert_eq!(
        world.came_to("bot", "emergency"),
        ("refused".into(), "paused".into()),
        "an alert does not"
    );
    let (code, out, err) = world.command(&["clean", "bot"]).parts();
    assert_eq!(code, 0, "{out}{err}");
    assert!(world.nothing_is_lost("bot", &before) > 200);
    let run = world.ended("bot").unwrap();
    let (code, out, err) = world
        .command(&["undo", run["run"].as_str().unwrap()])
        .parts();
    assert_eq!(code, 0, "{out}{err}");
    world.nothing_moved("bot", &before);
    assert_eq!(world.metric("paused", &[]), 1.0);
}

/// Killed while the bot was down, and the configuration was changed meanwhile: another name.
#[test]
fn a_service_that_the_configuration_no_longer_names_is_reported() {
    forbidden_while_down(
        |text| text.replace("- name: \"{session}\"", "- name: \"{session}.other\""),
        "the configuration no longer names it: start it by hand, or name it again",
        false,
    );
}

/// The same, and `allow_restart` was set to `false` meanwhile.
#[test]
fn a_service_that_may_no_longer_be_restarted_is_reported() {
    let edit = |text: &str| text.replace("allow_restart: true", "allow_restart: false");
    let says = "its entry of `processes` has no `allow_restart: true` any more: start it by hand, or set that again";
    forbidden_while_down(edit, says, false);
    forbidden_while_down(edit, says, true);
}

/// Killed while the bot was down; then the configuration as `edit` makes it keeps `serve` from
/// starting it. It is started by hand, or by `serve` under the old configuration.
fn forbidden_while_down(edit: impl Fn(&str) -> String, says: &str, by_hand: bool) {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-ask-down");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-ask-down");
    world.kill();
    world.unmark("hold-ask-down");
    let text = world.read("config.yml");
    fs::write(world.path("config.yml"), edit(&text)).unwrap();
    world.start();
    let labels = [("service", "bot"), ("session", "bot")];
    world.wait("it is reported", || {
        match world.metric("service_not_back", &labels) {
            1.0 => Ok(()),
            late => Err(format!("{late}")),
        }
    });
    let said = world.read("log");
    assert!(said.contains(says), "{said}");
    let (code, out, _) = world.command(&["status"]).parts();
    assert!(code == 0 && out.contains(says), "{out}");
    assert_eq!(
        (
            world.calls("start", "bot"),
            world.metric("services_down", &[])
        ),
        (0, 1.0)
    );
    if by_hand {
        world.sv("start", "bot");
    } else {
        // Named again, it is started.
        world.terminate();
        fs::write(world.path("config.yml"), text).unwrap();
        world.start();
    }
    world.wait("no bot is missing", || {
        match world.metric("service_not_back", &[]) {
            0.0 => world.is_connected("bot"),
            late => Err(format!("{late}")),
        }
    });
    assert_eq!(world.metric("services_down", &[]), 0.0);
    world.nothing_is_lost("bot", &before);
}

/// Two at a time would be two bots of one identity.
#[test]
fn a_start_that_outlives_its_remediator_is_waited_for() {
    at_once(
        &[
            "it ends meanwhile",
            "it has just ended",
            "its result is unknown",
        ],
        |case| {
            let mut world = testkit::supervised!();
            let text = world
                .read("config.yml")
                .replace("start_timeout: 4s", "start_timeout: 60s");
            fs::write(world.path("config.yml"), text).unwrap();
            let before = world.bot("bot", BLOATED);
            world.start();
            world.mark("hold-start-before");
            // It is over before anybody can see what it has started.
            world.mark("shows-late");
            world.deliver("firing", &[("bot", "emergency")]);
            world.wait_for_file("reached-start-before");
            world.kill();
            if case == "its result is unknown" {
                world.mark("gone-unknown");
            }
            let first = world.read("bot.pid");
            if case != "it has just ended" {
                world.start();
                world.says("an earlier call may be under way");
                assert_eq!(world.calls("start", "bot"), 1);
                world.unmark("hold-start-before");
            } else {
                world.unmark("hold-start-before");
                world.wait("its start has ended", || {
                    match world.path("bot.part").exists() || world.read("bot.pid") != first {
                        true => Ok(()),
                        false => Err("not yet".into()),
                    }
                });
                world.start();
            }
            if case == "its result is unknown" {
                // The machine's own tests let the time pass in which it must show.
                world.wait("its start has ended", || {
                    match world.read("bot.pid") != first {
                        true => Ok(()),
                        false => Err("not yet".into()),
                    }
                });
                let answers = || world.read("bot.answers").lines().count();
                let before = answers();
                world.wait("it is queried again and again", || {
                    match answers() >= before + 3 {
                        true => Ok(()),
                        false => Err(format!("{} answers", answers())),
                    }
                });
                assert_eq!(
                    world.metric("services_down", &[]),
                    1.0,
                    "it is still pending"
                );
                world.unmark("gone-unknown");
            }
            world.came_back_by_one_start("bot", &before);
        },
    );
}

/// It might stop what was started meanwhile.
#[test]
fn a_stop_that_outlives_its_remediator_is_waited_for() {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-stop-after");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-stop-after");
    world.kill();
    world.start();
    world.says("an earlier call may be under way");
    assert!(!world.runs_now("bot") && world.calls("start", "bot") == 0);
    world.unmark("hold-stop-after");
    world.came_back_by_one_start("bot", &before);
}

/// However long it might have taken.
#[test]
fn a_call_that_has_ended_with_its_remediator_is_not_waited_for() {
    let mut world = testkit::supervised!();
    let text = world.read("config.yml");
    let text = text.replace("stop_timeout: 20s", "stop_timeout: 50m");
    fs::write(world.path("config.yml"), text).unwrap();
    let before = world.bot("bot", BLOATED);
    world.start();
    world.mark("hold-stop-after");
    world.deliver("firing", &[("bot", "emergency")]);
    world.wait_for_file("reached-stop-after");
    world.kill();
    world.start();
    world.says("an earlier call may be under way");
    assert_eq!(world.calls("start", "bot"), 0);
    world.unmark("hold-stop-after");
    world.came_back_by_one_start("bot", &before);
}

#[test]
fn a_stopped_bot_is_started_every_minute_however_seldom_armed_runs_are_looked_at() {
    let mut world = testkit::supervised!();
    let text = world
        .read("config.yml")
        .replace("look_every: 1s", "look_every: 1h");
    fs::write(world.path("config.yml"), text).unwrap();
    world.bot("bot", BLOATED);
    world.start();
    world.mark("start-fails");
    assert_eq!(
        world.came_to("bot", "emergency"),
        ("failed".into(), "down".into())
    );
    let detail = world.ended("bot").unwrap()["detail"].to_string();
    assert!(
        detail.contains("exited with 1") && !detail.contains("service was started"),
        "{detail}"
    );
    assert_eq!(world.metric("services_down", &[]), 1.0);
    world.unmark("start-fails");
    let started = world
        .patience()
        .wait_until(2 * SOON, "it is started", || world.is_connected("bot"));
    started.unwrap_or_else(|failure| panic!("{failure}\n{}", world.read("log")));
}

/// A person removes a bot that is down: its folder first, and then its process.
#[test]
fn a_bot_that_is_removed_while_it_is_down_is_not_started_and_then_forgotten() {
    let mut world = testkit::supervised!();
    world.bot("bot", BLOATED);
    world.folder_of("other", "normal");
    world.start();
    world.mark("start-fails");
    assert_eq!(
        world.came_to("bot", "emergency"),
        ("failed".into(), "down".into())
    );
    fs::rename(world.folder("bot"), world.path("aside")).unwrap();
    world.says("the folder of bot does not exist");
    world.unmark("start-fails");
    let calls = world.calls("start", "bot");
    world.says("or its folder does not exist, so the service is not started");
    let late = world.metric("service_not_back", &[("session", "bot")]);
    assert_eq!((late, world.metric("services_down", &[])), (1.0, 1.0));
    world.mark("bot.removed");
    world.wait("it is forgotten", || {
        let down = world.metric("services_down", &[]);
        match world.metric("service_not_back", &[]) + down {
            0.0 => Ok(()),
            late => Err(format!("{late}: {}", world.read("log"))),
        }
    });
    // A restart of `serve` finds nothing either.
    world.terminate();
    world.start();
    assert_eq!(world.metric("services_down", &[]), 0.0);
    assert_eq!(world.metric("service_not_back", &[]), 0.0);
    assert!(world.calls("start", "bot") == calls && !world.folder("bot").exists());
}

/// Without `processes` no bot is stopped, and neither where its process is only named.
#[test]
fn off_until_configured() {
    let named = |text: &str| text.replace("allow_restart: true", "allow_restart: false");
    let unnamed = |text: &str| text[..text.find("processes:").unwrap()].to_owned();
    never_stopped(named);
    never_stopped(unnamed);
}

/// An emergency, with the configuration as `edit` makes it.
fn never_stopped(edit: impl Fn(&str) -> String) {
    let mut world = testkit::supervised!();
    let before = world.bot("bot", BLOATED);
    let text = world.read("config.yml");
    fs::write(world.path("config.yml"), edit(&text)).unwrap();
    world.start();
    let run = world.asked("bot", "emergency");
    assert_eq!(
        (&run["status"], &run["note"]),
        (
            &json!("refused"),
            &json!("restart not allowed by the configuration")
        )
    );
    world.nothing_moved("bot", &before);
    assert_eq!(world.calls("stop", "bot"), 0);
    assert!(
        world
            .command(&["status"])
            .out
            .contains("no bot is ever stopped")
    );
}

/// The library of one version, and a bloated bot in conversation under it.
mod real {
    use super::*;

    fn scripts() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real-baileys")
    }

    /// Installs what a lockfile says, unless it has been installed before.
    pub fn install(dir: &Path, flags: &[&str]) {
        npm::install(dir, flags).unwrap_or_else(|failure| panic!("{failure}"));
    }

    pub fn library() -> PathBuf {
        let dir = scripts().join("6.7.18");
        install(&dir, &["--legacy-peer-deps"]);
        dir
    }

    pub const SESSION: &str = "company_962302";

    /// The script that runs the bot: one message every 50 ms, through the key cache. It says
    /// `ready` after the first one. With the file `dies` there it is killed at once; with
    /// `mute` it never talks; with `deaf` it ignores a stop.
    pub fn script(world: &Supervised, library: &Path) -> String {
        let dir = world.root().display();
        let node = format!(
            "env BAILEYS_DIR={} node {} {dir}/sessions --every 50 --seconds 600 --cache",
            library.display(),
            scripts().join("busy.mjs").display()
        );
        format!(
            "cd {dir}\necho begins\nflags=\n[ -e dies ] && flags=--die\n[ -e mute ] && flags=--mute\n[ -e deaf ] && flags=--deaf\nexec {node} $flags\n"
        )
    }

    /// The shipped bot of 387 files with everybody who writes to it.
    pub fn unpack(world: &Supervised) -> Snapshot {
        let before = world.folder_of(SESSION, BLOATED);
        let archive = fixture::dir().join(format!("{BLOATED}.peers.tar.gz"));
        let out = world.path("sessions");
        let args = [
            OsStr::new("xzf"),
            archive.as_os_str(),
            OsStr::new("-C"),
            out.as_os_str(),
        ];
        let (status, _, errors) = process::run(Path::new("tar"), args, SOON).unwrap();
        assert!(status.success(), "{errors}");
        before
    }

    /// Asks the library whether everybody can still be read.
    pub fn verify(world: &Supervised, library: &Path) {
        let words = [
            format!("BAILEYS_DIR={}", library.display()),
            "node".to_owned(),
            scripts().join("verify.mjs").display().to_string(),
            world.path("sessions").display().to_string(),
            "--allow-inflight-fail".to_owned(),
        ];
        let (status, out, err) = process::run(Path::new("env"), words, 4 * SOON).unwrap();
        assert!(status.success(), "{out}{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        for category in ["active", "newcontact", "group"] {
            assert_eq!(report[format!("{category}_fail")], 0, "{report}");
            assert_ne!(report[format!("{category}_ok")], 0, "{report}");
        }
    }
}

/// The real library in conversation, kept by the stand-in of a supervisor.
struct UnderSv {
    world: Supervised,
    library: PathBuf,
    before: Snapshot,
    _slot: Slot,
}

impl UnderSv {
    fn new(connect_timeout: &str) -> Self {
        let (library, slot) = (real::library(), Slot::take());
        let mut world = testkit::supervised!();
        let before = real::unpack(&world);
        world.supervise(real::SESSION, &real::script(&world, &library));
        world.configure(
            "{session}",
            "",
            &format!("sessions: {{include: [{}]}}", real::SESSION),
        );
        let timeout = format!("connect_timeout: {connect_timeout}");
        let text = world
            .read("config.yml")
            .replace("connect_timeout: 5s", &timeout);
        // A call that waits for its test is not ended by its time.
        let text = text.replace(
            "start_timeout: 4s",
            &format!("start_timeout: {connect_timeout}"),
        );
        fs::write(world.path("config.yml"), text).unwrap();
        world.start();
        Self {
            world,
            library,
            before,
            _slot: slot,
        }
    }

    /// It goes on talking for a while, and ends well: no message was lost, and everybody can
    /// still be read.
    fn ends_well(mut self) {
        let world = &mut self.world;
        world.is_connected(real::SESSION).unwrap();
        assert!(world.nothing_is_lost(real::SESSION, &self.before) > 200);
        world.terminate();
        std::thread::sleep(Duration::from_secs(1));
        world.sv("stop", real::SESSION);
        let gone = || {
            if world.runs_now(real::SESSION) {
                Err("it runs".into())
            } else {
                Ok(())
            }
        };
        world.wait("it is gone", gone);
        let said = world.read(&format!("{}.out", real::SESSION));
        assert!(said.contains("\"failed\": 0"), "{said}");
        real::verify(world, &self.library);
    }
}

/// The real library is in conversation, is stopped for it, and reads everybody afterwards.
#[test]
fn the_real_baileys_under_a_supervisor() {
    let bot = UnderSv::new("40s");
    let (world, session) = (&bot.world, real::SESSION);
    let first = world.read(&format!("{session}.pid"));
    let run = world.asked(session, "emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", world.read("log"));
    assert!(run["accumulated_after"].as_i64() < Some(180), "{run}");
    assert_ne!(world.read(&format!("{session}.pid")), first);
    bot.ends_well();
}

/// The real library ignores a stop: it goes on talking, and nothing moves under it.
#[test]
fn the_real_baileys_refuses_to_stop() {
    let (library, _slot) = (real::library(), Slot::take());
    let mut world = testkit::supervised!();
    let before = real::unpack(&world);
    world.mark("deaf");
    world.supervise(real::SESSION, &real::script(&world, &library));
    let text = world.read("config.yml") + &format!("sessions: {{include: [{}]}}\n", real::SESSION);
    fs::write(world.path("config.yml"), text).unwrap();
    world.start();
    let first = world.read(&format!("{}.pid", real::SESSION));
    let came_to = world.came_to(real::SESSION, "emergency");
    assert_eq!(
        came_to,
        ("failed".into(), "not_gone".into()),
        "{}",
        world.read("log")
    );
    world.nothing_moved(real::SESSION, &before);
    world.is_connected(real::SESSION).unwrap();
    assert_eq!(
        world.read(&format!("{}.pid", real::SESSION)),
        first,
        "the same process"
    );
    assert_eq!(world.calls("start", real::SESSION), 0, "and no second one");
    assert_eq!(
        world.metric("service_not_back", &[]),
        0.0,
        "it is connected"
    );
}

/// The real library dies at once after its start, then starts and never connects.
#[test]
fn the_real_baileys_dies_and_then_never_connects() {
    let bot = UnderSv::new("10s");
    let (world, session) = (&bot.world, real::SESSION);
    world.mark("dies");
    let run = world.asked(session, "emergency");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed"), &json!("down")),
        "{run}"
    );
    assert_eq!(
        world.metric("services_down", &[]),
        1.0,
        "its start is still pending"
    );
    world.mark("mute");
    world.unmark("dies");
    world.wait("it is started again", || {
        match world.metric("services_down", &[]) {
            0.0 if world.runs_now(session) => Ok(()),
            down => Err(format!("{down}")),
        }
    });
    let labels = [("session", session), ("run", run["run"].as_str().unwrap())];
    assert_eq!(
        world.metric("service_not_back", &labels),
        1.0,
        "it runs, and is not connected"
    );
    // A person repairs it.
    world.unmark("mute");
    world.sv("stop", session);
    world.wait("it is gone", || {
        if world.runs_now(session) {
            Err("it runs".into())
        } else {
            Ok(())
        }
    });
    world.sv("start", session);
    world.wait("it has come back", || {
        match world.metric("service_not_back", &[]) {
            0.0 => world.is_connected(session),
            late => Err(format!("{late}")),
        }
    });
    bot.ends_well();
}

/// The remediator of a real library is killed at each step: before the stop and after it, at
/// the looks at the stopped bot, with the plan on disk, before the start and after it.
#[test]
fn the_real_baileys_outlives_a_remediator_that_is_killed() {
    real::library();
    at_once(
        &[
            "stop-before",
            "stop-after",
            "ask-down",
            "planned",
            "start-before",
            "start-after",
        ],
        |point| {
            let mut bot = UnderSv::new("40s");
            let world = &mut bot.world;
            world.mark(&format!("hold-{point}"));
            world.deliver("firing", &[(real::SESSION, "emergency")]);
            world.wait_for_file(&format!("reached-{point}"));
            world.kill();
            world.unmark(&format!("hold-{point}"));
            world.start();
            world.wait(
                "no restart is pending",
                || match world.status()["services"][0]["phase"].as_str() {
                    None => world.is_connected(real::SESSION),
                    Some(phase) => Err(format!("{point}: {phase}")),
                },
            );
            let run = world.wait("the run is ended", || world.ended(real::SESSION));
            assert_eq!(world.calls("stop", real::SESSION), 1, "{point}: {run}");
            assert_eq!(world.calls("start", real::SESSION), 1, "{point}: {run}");
            assert_eq!(world.metric("service_not_back", &[]), 0.0, "{point}");
            if point.starts_with("start-") {
                bot.ends_well();
            } else {
                world.nothing_is_lost(real::SESSION, &bot.before);
            }
        },
    );
}

const WRAPPED: &str = r#"#!/bin/sh
hold() { while [ -e "DIR/hold-$1" ]; do touch "DIR/reached-$1"; sleep 0.05; done; }
case " $* " in
*" stop "*) what=stop ;;
*" start "* | *" restart "*) what=start ;;
*) exec PM2 "$@" ;;
esac
hold $what-before
PM2 "$@"
code=$?
hold $what-after
exit $code
"#;

/// The real library in conversation under the real pm2. Its daemon is killed by its own
/// number.
struct UnderPm2 {
    world: Supervised,
    library: PathBuf,
    before: Snapshot,
    program: PathBuf,
    _slot: Slot,
}

impl UnderPm2 {
    fn new(connect_timeout: &str, mark: Option<&str>) -> Self {
        let library = real::library();
        let program = pm2::program();
        let slot = Slot::take();
        let world = testkit::supervised!();
        let before = real::unpack(&world);
        for dir in ["bin", "pm2"] {
            fs::create_dir(world.path(dir)).unwrap();
        }
        if let Some(mark) = mark {
            world.mark(mark);
        }
        // pm2 itself, which waits before and after a stop or a start where a test says so.
        let wrapper = WRAPPED.replace("DIR", &world.root().display().to_string());
        let wrapper = wrapper.replace("PM2", &program.display().to_string());
        fs::write(world.path("bin/pm2"), wrapper).unwrap();
        fs::set_permissions(world.path("bin/pm2"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(world.path("bot.sh"), real::script(&world, &library)).unwrap();
        // Connected is whose process lives and has said nothing since its first message.
        let ask = format!(
            "cd {}\npid=$(cat pm2/pids/*.pid) && kill -0 $pid && [ \"$(tail -n1 bot.out)\" = ready ] && echo connected && exit\nhold() {{ while [ -e hold-$1 ]; do touch reached-$1; sleep 0.05; done; }}\nhold ask\nls sessions/*/.baileys_quarantine/*/plan.json >/dev/null 2>&1 && hold planned\necho disconnected\n",
            world.root().display()
        );
        fs::write(world.path("ask-pm2"), ask).unwrap();
        let yaml = "sessions: {include: [SESSION]}
connection: {command: [sh, DIR/ask-pm2, '{session}'], timeout: 30s, quiet: 1s, trust: ['*']}
armed: {look_every: 1s}
processes: [{allow_restart: true, pm2: {name: '{session}', home: DIR/pm2}, connect_timeout: TIMEOUT, stop_timeout: 20s, gone_timeout: 20s, start_timeout: 20s}]
";
        let yaml = yaml.replace("DIR", &world.root().display().to_string());
        let yaml = yaml
            .replace("SESSION", real::SESSION)
            .replace("TIMEOUT", connect_timeout);
        fs::write(world.path("config.yml"), yaml).unwrap();
        let mut bot = Self {
            world,
            library,
            before,
            program,
            _slot: slot,
        };
        // pm2 gives up after two deaths, however long a busy machine takes to start the bot.
        let app = json!({"apps": [{
            "name": real::SESSION,
            "script": "/bin/sh",
            "interpreter": "none",
            "args": [bot.world.path("bot.sh")],
            "out_file": bot.world.path("bot.out"),
            "max_restarts": 2,
            "min_uptime": "600s",
        }]});
        let file = bot.world.path("bot.config.json");
        fs::write(&file, app.to_string()).unwrap();
        bot.call(&["start", &file.display().to_string()]);
        bot.world.wait("its first message", || bot.talks());
        bot.world.start();
        bot
    }

    fn call(&self, args: &[&str]) {
        let home = format!("PM2_HOME={}", self.world.path("pm2").display());
        let words = [home, self.program.display().to_string()];
        let words = words
            .into_iter()
            .chain(args.iter().map(|arg| (*arg).to_owned()));
        let (status, out, err) = process::run(Path::new("env"), words, SOON).unwrap();
        assert!(status.success(), "{out}{err}");
    }

    fn talks(&self) -> testkit::Result<()> {
        let said = self.world.read("bot.out");
        if said.trim_end().ends_with("ready") {
            Ok(())
        } else {
            Err(said)
        }
    }

    fn pid(&self) -> String {
        let pids = fs::read_dir(self.world.path("pm2/pids"))
            .into_iter()
            .flatten()
            .flatten();
        pids.map(|entry| fs::read_to_string(entry.path()).unwrap_or_default())
            .collect()
    }

    /// Ended well, it has lost no message, and everybody can still be read.
    fn ends_well(mut self) {
        self.talks().unwrap();
        self.world.terminate();
        std::thread::sleep(Duration::from_secs(1));
        self.call(&["stop", real::SESSION]);
        let said = self.world.read("bot.out");
        assert!(
            said.contains("\"failed\": 0") && !said.contains("\"failed\": 1"),
            "{said}"
        );
        real::verify(&self.world, &self.library);
    }
}

impl Drop for UnderPm2 {
    fn drop(&mut self) {
        // A call that is under way when its daemon is killed starts another one: first who
        // calls, then every process with this home in its environment, which is that of this test only.
        self.world.kill();
        let home = format!("PM2_HOME={}\0", self.world.path("pm2").display());
        for _ in 0..20 {
            let mut any = false;
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let pid = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok())
                    .and_then(Pid::from_raw);
                let Some(pid) = pid else { continue };
                let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
                if environ
                    .windows(home.len())
                    .any(|window| window == home.as_bytes())
                {
                    any = true;
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if !any {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The same under the real pm2, by its preset.
#[test]
fn the_real_baileys_under_the_real_pm2() {
    let bot = UnderPm2::new("40s", None);
    let first = bot.pid();
    let run = bot.world.asked(real::SESSION, "emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", bot.world.read("log"));
    assert!(run["accumulated_after"].as_i64() < Some(180), "{run}");
    assert!(bot.world.nothing_is_lost(real::SESSION, &bot.before) > 200);
    let again = bot.pid();
    assert!(
        !again.is_empty() && again != first,
        "pm2 runs another process: {again} {first}"
    );
    bot.ends_well();
}

/// A bot that ignores a stop is killed by pm2, which is its supervisor's right; it is
/// cleaned and started all the same. What a kill tears in the middle of a write is the
/// library's, so this does not check whether all can be read.
#[test]
fn the_real_baileys_refuses_to_stop_under_the_real_pm2() {
    let bot = UnderPm2::new("40s", Some("deaf"));
    bot.world.unmark("deaf");
    let first = bot.pid();
    let run = bot.world.asked(real::SESSION, "emergency");
    assert_eq!(run["status"], "done", "{run}\n{}", bot.world.read("log"));
    assert!(bot.world.nothing_is_lost(real::SESSION, &bot.before) > 200);
    assert_ne!(bot.pid(), first, "another process");
    bot.talks().unwrap();
}

#[test]
fn the_real_baileys_dies_and_then_never_connects_under_the_real_pm2() {
    let bot = UnderPm2::new("15s", None);
    let (world, session) = (&bot.world, real::SESSION);
    world.mark("dies");
    let run = world.asked(session, "emergency");
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed"), &json!("down")),
        "{run}"
    );
    // pm2 starts it again and again, which to pm2 is running; were it to give up within the
    // time to connect, the remediator would.
    world.mark("mute");
    world.unmark("dies");
    world.wait("it is started again", || {
        let pid = bot.pid();
        std::thread::sleep(Duration::from_secs(3));
        match world.metric("services_down", &[]) {
            0.0 if !pid.is_empty() && bot.pid() == pid => Ok(()),
            down => Err(format!("{down} {pid}")),
        }
    });
    let labels = [("session", session), ("run", run["run"].as_str().unwrap())];
    assert_eq!(
        world.metric("service_not_back", &labels),
        1.0,
        "it runs, and is not connected"
    );
    // A person repairs it.
    world.unmark("mute");
    bot.call(&["restart", session]);
    world.wait("it has come back", || {
        match world.metric("service_not_back", &[]) {
            0.0 => bot.talks(),
            late => Err(format!("{late}")),
        }
    });
    assert!(world.nothing_is_lost(session, &bot.before) > 200);
    bot.ends_well();
}

/// Killed at each step, as under the stand-in.
#[test]
fn the_real_baileys_under_the_real_pm2_outlives_a_remediator_that_is_killed() {
    real::library();
    at_once(
        &[
            "stop-before",
            "stop-after",
            "ask",
            "planned",
            "start-before",
            "start-after",
        ],
        |point| {
            let mut bot = UnderPm2::new("40s", None);
            bot.world.mark(&format!("hold-{point}"));
            bot.world.deliver("firing", &[(real::SESSION, "emergency")]);
            bot.world.wait_for_file(&format!("reached-{point}"));
            bot.world.kill();
            bot.world.unmark(&format!("hold-{point}"));
            bot.world.start();
            bot.world.wait("no restart is pending", || {
                match bot.world.status()["services"][0]["phase"].as_str() {
                    None => bot.talks(),
                    Some(phase) => Err(format!("{point}: {phase}")),
                }
            });
            let run = bot
                .world
                .wait("the run is ended", || bot.world.ended(real::SESSION));
            let reason = run["reason"].as_str().unwrap_or_default();
            assert!(
                ["crashed", "interrupted", ""].contains(&reason),
                "{point}: {run}"
            );
            assert_eq!(bot.world.metric("service_not_back", &[]), 0.0, "{point}");
            match point {
                "start-before" | "start-after" => {
                    assert!(
                        bot.world.nothing_is_lost(real::SESSION, &bot.before) > 200,
                        "{point}: {run}"
                    );
                    bot.ends_well();
                }
                "planned" => _ = bot.world.nothing_is_lost(real::SESSION, &bot.before),
                _ => bot.world.nothing_moved(real::SESSION, &bot.before),
            }
        },
    );
}

/// The real library in conversation as a service of a real systemd, which the test has booted
/// for itself.
struct UnderSystemd {
    world: Supervised,
    library: PathBuf,
    before: Snapshot,
}

impl UnderSystemd {
    const UNIT: &str = "company_962302.service";

    fn new() -> Self {
        let library = real::library();
        let world = testkit::supervised!();
        let before = real::unpack(&world);
        let dir = world.root().display().to_string();
        fs::write(world.path("bot.sh"), real::script(&world, &library)).unwrap();
        let path = std::env::var("PATH").unwrap();
        let unit = format!(
            "[Service]\nExecStart=/bin/sh {dir}/bot.sh\nEnvironment=\"PATH={path}\"\nStandardOutput=append:{dir}/bot.out\nStandardError=inherit\n"
        );
        fs::write(Path::new(systemd::UNITS).join(Self::UNIT), unit).unwrap();
        // Connected is a bot that runs and has said nothing since its first message.
        let ask = format!(
            "cd {dir}\n[ \"$(systemctl is-active {})\" = active ] && [ \"$(tail -n1 bot.out)\" = ready ] && echo connected && exit\nwhile [ -e hold-ask ]; do touch reached-ask; sleep 0.05; done\necho disconnected\n",
            Self::UNIT
        );
        fs::write(world.path("ask"), ask).unwrap();
        let yaml = format!(
            "sessions: {{include: [{}]}}
connection: {{command: [sh, {dir}/ask, '{{session}}'], timeout: 30s, quiet: 1s}}
armed: {{look_every: 1s}}
processes: [{{allow_restart: true, systemd: {{unit: '{{session}}.service'}}, connect_timeout: 40s, stop_timeout: 20s, gone_timeout: 20s, start_timeout: 20s}}]
",
            real::SESSION
        );
        fs::write(world.path("config.yml"), yaml).unwrap();
        let mut bot = Self {
            world,
            library,
            before,
        };
        bot.call("start");
        bot.world.wait("its first message", || bot.talks());
        bot.world.start();
        bot
    }

    fn call(&self, what: &str) -> String {
        let args = match what {
            "start" | "stop" => vec![what, Self::UNIT],
            property => vec!["show", "--value", "--property", property, Self::UNIT],
        };
        let (status, out, err) = process::run(Path::new("systemctl"), args, SOON).unwrap();
        assert!(status.success(), "{out}{err}");
        out
    }

    fn talks(&self) -> testkit::Result<()> {
        let said = self.world.read("bot.out");
        match said.trim_end().ends_with("ready") {
            true => Ok(()),
            false => Err(said),
        }
    }

    /// Ended well, it has lost no message, and everybody can still be read.
    fn ends_well(mut self) {
        self.talks().unwrap();
        self.world.terminate();
        self.call("stop");
        let said = self.world.read("bot.out");
        assert!(
            said.contains("\"failed\": 0") && !said.contains("\"failed\": 1"),
            "{said}"
        );
        real::verify(&self.world, &self.library);
    }
}

#[test]
fn the_real_baileys_under_the_real_systemd() {
    real::library();
    let _slot = Slot::take();
    systemd::inside("the_real_baileys_under_the_real_systemd", || {
        let bot = UnderSystemd::new();
        let first = bot.call("MainPID");
        let run = bot.world.asked(real::SESSION, "emergency");
        assert_eq!(run["status"], "done", "{run}\n{}", bot.world.read("log"));
        assert!(run["accumulated_after"].as_i64() < Some(180), "{run}");
        assert!(bot.world.nothing_is_lost(real::SESSION, &bot.before) > 200);
        assert_ne!(bot.call("MainPID"), first, "another process");
        bot.ends_well();
    });
}

/// Killed while the bot is gone, before the plan.
#[test]
fn the_real_baileys_under_the_real_systemd_outlives_a_remediator_that_is_killed() {
    real::library();
    let _slot = Slot::take();
    let name = "the_real_baileys_under_the_real_systemd_outlives_a_remediator_that_is_killed";
    systemd::inside(name, || {
        let mut bot = UnderSystemd::new();
        bot.world.mark("hold-ask");
        bot.world.deliver("firing", &[(real::SESSION, "emergency")]);
        bot.world.wait_for_file("reached-ask");
        bot.world.kill();
        assert_eq!(bot.call("ActiveState").trim(), "inactive");
        bot.world.unmark("hold-ask");
        bot.world.start();
        bot.world.wait("the bot is back", || {
            match bot.world.status()["services"][0]["phase"].as_str() {
                None => bot.talks(),
                Some(phase) => Err(phase.to_owned()),
            }
        });
        let run = bot
            .world
            .wait("the run is ended", || bot.world.ended(real::SESSION));
        assert_eq!(run["reason"], "crashed", "{run}");
        assert_eq!(bot.call("ActiveState").trim(), "active");
        assert_eq!(bot.world.metric("service_not_back", &[]), 0.0);
        bot.world.nothing_moved(real::SESSION, &bot.before);
        bot.ends_well();
    });
}
