//! Stops and starts under a real systemd: each test boots one of its own, where the machine
//! allows it (root, a writable cgroup2). The bot is a service with a status API, and nothing
//! in the configuration trusts it: `gone` is proven by systemd alone while the probe is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testkit::fixture::Snapshot;
use testkit::world::{SOON, World, alert};
use testkit::{net, process, systemd};

const UNIT: &str = "bot.service";

/// A bot with a status API that writes into its folder. Files beside it say how it behaves:
/// `dies` at its start, `deaf` to SIGTERM while it is there, `mute` (not connected).
const BOT: &str = r#"
import http.server, os, signal, sys, threading, time
here, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def marked(name):
    return os.path.exists(os.path.join(here, name))
with open(os.path.join(here, "starts"), "a") as starts:
    starts.write("start\n")
if marked("dies"):
    sys.exit(1)
asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
class Status(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"connected": false}' if marked("mute") else b'{"connected": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Status)
threading.Thread(target=server.serve_forever, daemon=True).start()
while not asked.is_set() or marked("deaf"):
    if not asked.is_set():
        os.utime(os.path.join(folder, "creds.json"))
    time.sleep(0.05)
os._exit(0)
"#;

/// The real systemctl. Stops and starts are counted, and wait while `hold-WHAT` is there.
const SYSTEMCTL: &str = r#"#!/bin/sh
what=
case " $* " in *" stop "*) what=stop ;; *" start "*) what=start ;; esac
if [ "$what" ]; then
    echo $what >>DIR/calls
    i=0
    while [ -e DIR/hold-$what ] && [ $i -lt 1200 ]; do touch DIR/reached-$what; sleep 0.05; i=$((i + 1)); done
fi
exec REAL "$@"
"#;

/// One bot under systemd, and a remediator.
struct Bot {
    world: World,
    before: Snapshot,
    port: u16,
}

impl Bot {
    /// The bot runs and is connected, and the remediator has seen it alive. `service` are
    /// more lines of the section `[Service]`, `keys` more keys of its process.
    fn new(service: &str, keys: &str) -> Self {
        let mut world = testkit::world!();
        let before = world.bot("bot", "bloated-classic-387", "unused");
        let bot_port = net::free_port(None).unwrap();
        let mut times = String::new();
        for key in [
            "stop_timeout",
            "gone_timeout",
            "start_timeout",
            "connect_timeout",
        ] {
            if !keys.contains(key) {
                times += &format!("    {key}: 20s\n");
            }
        }
        world.with_config(&format!(
            "connection:
  quiet: 1s
  timeout: 5s
  http: {{url: 'http://127.0.0.1:{bot_port}/', pointer: /connected, connected: [true], disconnected: [false]}}
armed: {{look_every: 1s}}
processes:
  - systemd: {{unit: '{{session}}.service'}}
    allow_restart: true
{times}{keys}
"
        ));
        fs::write(world.path("bot.py"), BOT).unwrap();
        let bin = world.path("bin");
        fs::create_dir(&bin).unwrap();
        let real = process::find(&["systemctl"]).unwrap();
        let wrapper = SYSTEMCTL
            .replace("DIR", &world.path("").display().to_string())
            .replace("REAL", &real.display().to_string());
        fs::write(bin.join("systemctl"), wrapper).unwrap();
        fs::set_permissions(bin.join("systemctl"), Permissions::from_mode(0o755)).unwrap();
        let python = process::find(&["python3"]).unwrap();
        let unit = format!(
            "[Service]\nExecStart={} {} {} {bot_port} {}\nStandardOutput=null\nStandardError=null\n{service}\n",
            python.display(),
            world.path("bot.py").display(),
            world.path("").display(),
            world.folder("bot").display(),
        );
        unit_file(UNIT, &unit);
        let mut bot = Self {
            world,
            before,
            port: bot_port,
        };
        bot.systemctl(&["start", UNIT]);
        bot.is_back();
        fs::remove_file(bot.world.path("starts")).unwrap();
        bot.serve();
        bot.world.wait("systemd has been seen to run it", || {
            let told = bot.world.remediator(&["doctor", "bot", "--output=json"]);
            let told = told.json();
            let mut sources = told[0]["sources"].as_array().unwrap().iter();
            let process = sources.find(|source| source["source"] == "process");
            match process.is_some_and(|process| process["last_alive"].is_string()) {
                true => Ok(()),
                false => Err(told.to_string()),
            }
        });
        bot
    }

    /// Starts the remediator.
    fn serve(&mut self) {
        let path = std::env::var("PATH").unwrap();
        let path = format!("PATH={}:{path}", self.world.path("bin").display());
        self.world.start_remediator_in(&["env", &path]);
    }

    /// An operator's call.
    fn systemctl(&self, args: &[&str]) -> String {
        let systemctl = process::find(&["systemctl"]).unwrap();
        let (status, out, err) = process::run(&systemctl, args, SOON).unwrap();
        assert!(
            status.success(),
            "{args:?}: {out}{err}\n{}",
            self.world.log()
        );
        out
    }

    fn property(&self, name: &str) -> String {
        let out = self.systemctl(&["show", "--value", &format!("--property={name}"), UNIT]);
        out.trim().to_owned()
    }

    fn becomes(&self, state: &str) {
        self.world
            .wait(state, || match self.property("ActiveState") {
                now if now == state => Ok(()),
                other => Err(other),
            });
    }

    fn mark(&self, name: &str) {
        fs::write(self.world.path(name), "").unwrap();
    }

    fn unmark(&self, name: &str) {
        fs::remove_file(self.world.path(name)).unwrap();
    }

    /// How often the remediator has called systemctl to stop and to start.
    fn calls(&self) -> (usize, usize) {
        let calls = fs::read_to_string(self.world.path("calls")).unwrap_or_default();
        let count = |what| calls.lines().filter(|line| *line == what).count();
        (count("stop"), count("start"))
    }

    /// How often the bot's program has begun since the remediator runs.
    fn starts(&self) -> usize {
        let starts = fs::read_to_string(self.world.path("starts")).unwrap_or_default();
        starts.lines().count()
    }

    fn is_back(&self) {
        let url = format!("http://127.0.0.1:{}/", self.port);
        self.world
            .wait("the bot is connected", || match net::get(&url)?.ok()? {
                said if said.contains("true") => Ok(()),
                said => Err(said),
            });
    }

    fn alert(&self, tier: &str) {
        assert_eq!(self.world.accepted(&[alert("bot", tier)]), 1);
    }

    fn ended(&self) -> Value {
        self.world.wait("the run ends", || {
            let run = self
                .world
                .runs_of("bot")
                .into_iter()
                .next()
                .ok_or("no run")?;
            match run["status"].as_str() {
                Some("queued" | "running") => Err(run.to_string()),
                _ => Ok(run),
            }
        })
    }

    /// Waits until no start is pending.
    fn nothing_is_pending(&self) {
        self.world.wait("no start is pending", || {
            match self.world.metric("services_down", &[]) {
                0.0 => Ok(()),
                down => Err(format!("{down}\n{}", self.systemctl(&["show", UNIT]))),
            }
        });
    }

    /// Every file is in the folder or in the quarantine: how many are in the quarantine.
    fn moved(&self) -> usize {
        let held = self.world.quarantined("bot");
        let now = self.world.snapshot("bot");
        for name in self.before.names() {
            let is_there = now.names().any(|there| there == name);
            assert!(is_there != held.contains(name), "a file is lost, or twice");
        }
        held.len()
    }

    /// Ends the bot as well.
    fn finish(self) {
        self.systemctl(&["stop", UNIT]);
        self.world.finish();
    }
}

fn unit_file(name: &str, text: &str) {
    fs::write(Path::new(systemd::UNITS).join(name), text).unwrap();
}

#[test]
fn an_emergency() {
    systemd::inside("an_emergency", || {
        let bot = Bot::new("", "");
        let first = bot.property("MainPID");
        bot.alert("emergency");
        let run = bot.ended();
        assert_eq!(run["status"], "done", "{run}\n{}", bot.world.log());
        assert!(run["accumulated_after"].as_i64() < Some(180), "{run}");
        assert!(bot.moved() > 200);
        assert_eq!((bot.calls(), bot.starts()), ((1, 1), 1));
        assert_ne!(bot.property("MainPID"), first);
        assert_eq!(bot.property("ActiveState"), "active");
        bot.is_back();
        let record = bot.world.show(run["run"].as_str().unwrap());
        let steps = record["steps"].as_array().unwrap();
        let mut at = 0;
        for word in ["stopping", "gone", "starting", "started", "connected"] {
            let found = steps[at..].iter().position(|step| step["step"] == word);
            at += found.unwrap_or_else(|| panic!("{word}: {record}"));
        }
        bot.finish();
    });
}

/// The probe of a stopped bot is refused. That does not stand against the proof of systemd.
#[test]
fn a_bot_that_an_operator_stopped_is_cleaned_and_stays_stopped() {
    systemd::inside(
        "a_bot_that_an_operator_stopped_is_cleaned_and_stays_stopped",
        || {
            let bot = Bot::new("", "");
            bot.systemctl(&["stop", UNIT]);
            assert!(net::get(&format!("http://127.0.0.1:{}/", bot.port)).is_err());
            bot.world.wait("the folder is quiet", || {
                let creds = fs::metadata(bot.world.folder("bot").join("creds.json"));
                let age = creds.unwrap().modified().unwrap().elapsed();
                match age {
                    Ok(age) if age > Duration::from_secs(2) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            bot.alert("cleanup");
            let run = bot.ended();
            assert_eq!(run["status"], "done", "{run}\n{}", bot.world.log());
            assert!(bot.moved() > 100);
            assert_eq!((bot.calls(), bot.starts()), ((0, 0), 0));
            assert_eq!(bot.property("ActiveState"), "inactive");
            bot.finish();
        },
    );
}

/// systemd kills the bot when its TimeoutStopSec has passed. The unit is `failed` then.
#[test]
fn a_bot_that_does_not_stop_is_killed_by_systemd() {
    systemd::inside("a_bot_that_does_not_stop_is_killed_by_systemd", || {
        let bot = Bot::new("TimeoutStopSec=2s", "");
        bot.mark("deaf");
        bot.alert("emergency");
        bot.becomes("deactivating");
        assert_eq!(bot.calls(), (1, 0));
        let run = bot.ended();
        assert_eq!(run["status"], "done", "{run}\n{}", bot.world.log());
        assert!(bot.moved() > 200);
        assert_eq!((bot.calls(), bot.starts()), ((1, 1), 1));
        bot.unmark("deaf");
        bot.is_back();
        bot.finish();
    });
}

#[test]
fn a_stop_that_hangs_is_neither_repeated_nor_followed_by_a_start() {
    systemd::inside(
        "a_stop_that_hangs_is_neither_repeated_nor_followed_by_a_start",
        || {
            let bot = Bot::new("TimeoutStopSec=infinity", "    gone_timeout: 2s");
            bot.mark("deaf");
            bot.alert("emergency");
            let run = bot.ended();
            assert_eq!(run["reason"], "not_gone", "{run}\n{}", bot.world.log());
            assert_eq!(bot.property("ActiveState"), "deactivating");
            assert_eq!(bot.world.metric("services_down", &[]), 1.0);
            // Another alert does not reach it either.
            bot.world.accepted(&[alert("bot", "emergency")]);
            assert_eq!((bot.calls(), bot.starts()), ((1, 0), 0));
            assert_eq!(bot.moved(), 0);
            // The stop works at last.
            bot.unmark("deaf");
            bot.nothing_is_pending();
            bot.is_back();
            assert_eq!((bot.calls(), bot.starts()), ((1, 1), 1));
            bot.finish();
        },
    );
}

/// systemd ends the main process and calls the unit inactive while others of it go on.
#[test]
fn a_unit_that_leaves_processes_is_not_gone() {
    systemd::inside("a_unit_that_leaves_processes_is_not_gone", || {
        let service = "KillMode=process\nExecStartPost=/bin/sh -c 'sleep 600 &'";
        let bot = Bot::new(service, "    gone_timeout: 3s");
        bot.alert("emergency");
        let run = bot.ended();
        assert_eq!(run["reason"], "not_gone", "{run}\n{}", bot.world.log());
        let said = bot.world.remediator(&["service"]);
        assert!(said.out.contains(" running "), "{said:?}");
        assert_eq!(bot.property("ActiveState"), "inactive");
        assert_eq!((bot.calls(), bot.starts()), ((1, 0), 0));
        assert_eq!(bot.moved(), 0);
        bot.systemctl(&["kill", "--signal=KILL", UNIT]);
        bot.nothing_is_pending();
        bot.is_back();
        assert_eq!((bot.calls(), bot.starts()), ((1, 1), 1));
        bot.finish();
    });
}

#[test]
fn a_unit_that_fails_at_its_start() {
    systemd::inside("a_unit_that_fails_at_its_start", || {
        let bot = Bot::new("", "    connect_timeout: 5s");
        bot.mark("dies");
        bot.alert("emergency");
        let run = bot.ended();
        assert_eq!(run["reason"], "down", "{run}\n{}", bot.world.log());
        assert!(bot.moved() > 200);
        assert_eq!(bot.property("ActiveState"), "failed");
        assert_eq!(bot.calls().0, 1);
        assert_eq!(bot.world.metric("services_down", &[]), 1.0);
        assert!(bot.starts() <= bot.calls().1, "a call is one start");
        // An operator repairs and starts it.
        bot.unmark("dies");
        bot.systemctl(&["start", UNIT]);
        bot.nothing_is_pending();
        bot.is_back();
        assert_eq!(bot.calls().0, 1);
        bot.finish();
    });
}

/// systemd starts it again and again, and gives up at its start limit.
#[test]
fn a_unit_that_reaches_its_start_limit() {
    systemd::inside("a_unit_that_reaches_its_start_limit", || {
        // It reaches the limit however slow the machine is, long before `connect_timeout`.
        let service = "Restart=always\nRestartSec=50ms\n[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=infinity";
        let times = "    start_timeout: 10s\n    connect_timeout: 90s";
        let bot = Bot::new(service, times);
        bot.mark("dies");
        bot.alert("emergency");
        let run = bot.ended();
        assert_eq!(run["reason"], "down", "{run}\n{}", bot.world.log());
        assert!(bot.moved() > 200);
        assert_eq!(bot.property("ActiveState"), "failed");
        assert!(bot.starts() > bot.calls().1, "systemd has started it again");
        assert_eq!(bot.world.metric("services_down", &[]), 1.0);
        bot.unmark("dies");
        bot.systemctl(&["reset-failed", UNIT]);
        bot.systemctl(&["start", UNIT]);
        bot.nothing_is_pending();
        bot.is_back();
        assert_eq!(bot.calls().0, 1);
        bot.finish();
    });
}

/// An operator's stop is under way: the unit is `deactivating` for long. No emergency
/// begins; once it is stopped, a person can clean its folder.
#[test]
fn a_stop_of_an_operator_is_left_alone() {
    systemd::inside("a_stop_of_an_operator_is_left_alone", || {
        let bot = Bot::new("TimeoutStopSec=infinity", "");
        bot.mark("deaf");
        bot.systemctl(&["stop", "--no-block", UNIT]);
        bot.becomes("deactivating");
        bot.alert("emergency");
        let run = bot.ended();
        assert_eq!(
            run["reason"],
            "service_unknown",
            "{run}\n{}",
            bot.world.log()
        );
        assert_eq!((bot.calls(), bot.starts(), bot.moved()), ((0, 0), 0, 0));
        bot.unmark("deaf");
        bot.becomes("inactive");
        bot.world.wait("the quiet window is over", || {
            match bot.world.remediator(&["clean", "bot"]) {
                clean if clean.code == 0 => Ok(()),
                clean => Err(format!("{clean:?}")),
            }
        });
        assert!(bot.moved() > 100);
        assert_eq!((bot.calls(), bot.starts()), ((0, 0), 0));
        assert_eq!(bot.property("ActiveState"), "inactive");
        bot.finish();
    });
}

/// An operator stops the unit just before the remediator does: two stops, one start.
#[test]
fn an_operator_stops_it_during_the_run() {
    systemd::inside("an_operator_stops_it_during_the_run", || {
        let bot = Bot::new("", "");
        bot.mark("hold-stop");
        bot.alert("emergency");
        let reached = bot.world.path("reached-stop");
        bot.world.wait_for_file("the stop is called", &reached);
        bot.systemctl(&["stop", UNIT]);
        bot.unmark("hold-stop");
        let run = bot.ended();
        assert_eq!(run["status"], "done", "{run}\n{}", bot.world.log());
        assert_eq!((bot.calls(), bot.starts()), ((1, 1), 1));
        assert!(bot.moved() > 200);
        bot.is_back();
        bot.finish();
    });
}

#[test]
fn a_remediator_that_is_killed_during_the_stop_starts_the_bot_later() {
    systemd::inside(
        "a_remediator_that_is_killed_during_the_stop_starts_the_bot_later",
        || {
            let mut bot = Bot::new("TimeoutStopSec=infinity", "");
            bot.mark("deaf");
            bot.alert("emergency");
            bot.becomes("deactivating");
            bot.world.kill();
            bot.serve();
            assert_eq!(bot.property("ActiveState"), "deactivating");
            assert_eq!((bot.calls(), bot.starts()), ((1, 0), 0));
            bot.unmark("deaf");
            bot.nothing_is_pending();
            bot.is_back();
            assert_eq!((bot.calls(), bot.starts()), ((1, 1), 1));
            assert_eq!(bot.moved(), 0);
            let run = bot.ended();
            assert_eq!(run["status"], "failed", "{run}");
            bot.finish();
        },
    );
}

/// Units that a stop would take along, and a timer that could start the unit.
#[test]
fn a_unit_that_would_not_come_back_as_it_was_is_not_stopped() {
    systemd::inside(
        "a_unit_that_would_not_come_back_as_it_was_is_not_stopped",
        || {
            let others = [
                (
                    "other.service",
                    "[Unit]\nRequires=bot.service\n[Service]\nExecStart=/bin/sleep 600\n",
                ),
                (
                    "other.service",
                    "[Unit]\nPartOf=bot.service\n[Service]\nExecStart=/bin/sleep 600\n",
                ),
                (
                    "other.service",
                    "[Unit]\nBindsTo=bot.service\nAfter=bot.service\n[Service]\nExecStart=/bin/sleep 600\n",
                ),
                (
                    "other.service",
                    "[Unit]\nUpholds=bot.service\n[Service]\nExecStart=/bin/sleep 600\n",
                ),
                ("other.timer", "[Timer]\nOnActiveSec=1h\nUnit=bot.service\n"),
            ];
            let bot = Bot::new("", "");
            for (name, text) in others {
                unit_file(name, text);
                bot.systemctl(&["daemon-reload"]);
                bot.systemctl(&["start", name]);
                let call = bot.world.remediator(&["service", "bot", "--stop"]);
                assert_ne!(call.code, 0, "{text}: {call:#?}");
                assert!(call.err.contains("not tried"), "{text}: {call:#?}");
                assert_eq!(bot.property("ActiveState"), "active", "{text}");
                bot.systemctl(&["stop", name]);
                fs::remove_file(Path::new(systemd::UNITS).join(name)).unwrap();
                bot.systemctl(&["daemon-reload"]);
            }
            // A target that needs the bot stops with it, and so do the parts of the target.
            unit_file(
                "bots.target",
                "[Unit]\nDefaultDependencies=no\nRequires=bot.service\n",
            );
            unit_file(
                "other.service",
                "[Unit]\nDefaultDependencies=no\nPartOf=bots.target\n[Service]\nExecStart=/bin/sleep 600\n",
            );
            bot.systemctl(&["daemon-reload"]);
            bot.systemctl(&["start", "bots.target", "other.service"]);
            let call = bot.world.remediator(&["service", "bot", "--stop"]);
            assert_ne!(call.code, 0, "{call:#?}");
            assert!(call.err.contains("would be stopped along"), "{call:#?}");
            assert_eq!(bot.property("ActiveState"), "active");
            assert_eq!(bot.starts(), 0);
            bot.finish();
        },
    );
}

/// A unit without its file, a masked one, one with RefuseManualStart=yes, and one of
/// `systemd-run`.
#[test]
fn a_unit_that_could_not_be_started_again_is_not_stopped() {
    systemd::inside(
        "a_unit_that_could_not_be_started_again_is_not_stopped",
        || {
            let bot = Bot::new("", "");
            let path = Path::new(systemd::UNITS).join(UNIT);
            let text = fs::read_to_string(&path).unwrap();
            let refused = |why: &str| {
                assert_eq!(bot.property("ActiveState"), "active", "{why}");
                let call = bot.world.remediator(&["service", "bot", "--stop"]);
                assert_ne!(call.code, 0, "{why}: {call:#?}");
                assert!(call.err.contains(why), "{why}: {call:#?}");
                assert_eq!(bot.property("ActiveState"), "active", "{why}");
            };
            // systemd has not been told.
            fs::remove_file(&path).unwrap();
            refused("its file was removed");
            bot.alert("emergency");
            let run = bot.ended();
            assert_eq!(run["reason"], "not_restartable", "{run}");
            bot.systemctl(&["daemon-reload"]);
            refused("its file was removed");
            std::os::unix::fs::symlink("/dev/null", &path).unwrap();
            bot.systemctl(&["daemon-reload"]);
            refused("the unit is masked");
            fs::remove_file(&path).unwrap();
            let refuses = format!("[Unit]\nRefuseManualStart=yes\n{text}");
            fs::write(&path, refuses).unwrap();
            bot.systemctl(&["daemon-reload"]);
            refused("RefuseManualStart=yes");
            fs::remove_file(&path).unwrap();
            bot.systemctl(&["daemon-reload"]);
            assert_eq!((bot.calls(), bot.starts(), bot.moved()), ((0, 0), 0, 0));

            bot.systemctl(&["stop", UNIT]);
            bot.becomes("inactive");
            let argv = text
                .lines()
                .find_map(|line| line.strip_prefix("ExecStart="));
            let argv = argv.unwrap().split(' ');
            let args: Vec<&str> = ["--unit", UNIT, "--"].into_iter().chain(argv).collect();
            let systemd_run = process::find(&["systemd-run"]).unwrap();
            let (status, out, err) = process::run(&systemd_run, &args, SOON).unwrap();
            assert!(status.success(), "{out}{err}");
            bot.is_back();
            refused("the unit is transient");
            bot.finish();
        },
    );
}
