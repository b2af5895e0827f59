//! Hosts that poll, with one configuration file for all: three with the real exporter and the
//! real remediator, a real Prometheus with the shipped rules, and two clustered Alertmanagers,
//! each in a network namespace of its own; and forty at one Alertmanager.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod fleet;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use testkit::alertmanager::{Alertmanager, Options, shipped, without_route};
use testkit::fixture::{self, KeyFile, Snapshot};
use testkit::hosts::{Hosts, Isolation, Network, Wanted, inside};
use testkit::net::Metrics;
use testkit::process::{self, Process};
use testkit::recorder::Recorder;
use testkit::world::{QUARTER, World, assert_discreet};
use testkit::wrong_clock::WrongClock;
use testkit::{Patience, Result, stack};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";
/// Everything in the test of three hosts; it takes half a minute.
const BOUND: Duration = Duration::from_secs(240);
const STEP: Duration = Duration::from_secs(60);
/// How many seconds a clock is off.
const MINUTE: i64 = 60;

/// One of the three hosts: its bots and its two programs.
struct Host {
    name: &'static str,
    /// Its only bot that gets too many files.
    session: &'static str,
    /// By how many seconds its clock is ahead.
    is_off_by: i64,
    world: World,
    calm: Snapshot,
    /// What goes before each program of this host.
    wrapper: Vec<String>,
    flags: Vec<String>,
    exporter: (Process, String),
    remediator: (Process, String),
}

/// A folder of 387 files: 90 of them, and the rest.
fn bloated_in_two_parts() -> (Vec<KeyFile>, Vec<KeyFile>) {
    let mut files = fixture::read(BLOATED, SystemTime::now() - QUARTER).unwrap();
    let id = |file: &KeyFile| {
        let id = file.name.strip_prefix("pre-key-");
        id.map(|id| id.trim_end_matches(".json").parse::<u32>().unwrap())
    };
    // Everything but pre-keys, and the newest of these.
    files.sort_by_key(|file| id(file).map(std::cmp::Reverse));
    let rest = files.split_off(90);
    (files, rest)
}

impl Host {
    /// The bots and the clock; nothing runs yet.
    fn lay_out(session: &'static str, is_off_by: i64) -> (World, Snapshot, WrongClock) {
        let world = testkit::world!();
        let calm = world.bot("calm", "normal", "disconnected");
        fixture::write(&bloated_in_two_parts().0, &world.folder(session)).unwrap();
        world.probe_says(session, "disconnected");
        let clock = WrongClock::wall(world.root()).unwrap();
        clock.wrong_by(is_off_by).unwrap();
        (world, calm, clock)
    }

    fn start(
        hosts: &Hosts,
        (name, session, is_off_by): (&'static str, &'static str, i64),
        (world, calm, clock): (World, Snapshot, WrongClock),
        config: &Path,
    ) -> Self {
        let mut wrapper = hosts.wrapper(name).unwrap();
        wrapper.extend(clock.wrapper());
        let own = hosts.own_dir(name).unwrap();
        let own = own.display();
        let flags = vec![
            format!("--config.file={}", config.display()),
            format!("--sessions.path={own}/sessions"),
            format!("--connection.command=sh {own}/probe/ask.sh {{session}}"),
            "--connection.trust=*".to_owned(),
        ];
        let address = hosts.address(name).unwrap();
        let start = |program: &str, command: Option<&str>, usual: u16, more: Vec<String>| {
            let port = hosts.port(usual).unwrap();
            // The same arguments on each host, where each has its own network.
            let listen = match hosts.are_wired() {
                true => format!("--web.listen-address=:{port}"),
                false => format!("--web.listen-address={address}:{port}"),
            };
            let args = command.map(str::to_owned).into_iter().chain([listen]);
            let args = args.chain(more).chain(flags.iter().cloned());
            let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
            let log = world.path("log");
            let process = Process::start_in(&wrapper, Path::new(program), args, &log);
            (process.unwrap(), format!("{address}:{port}"))
        };
        let state = format!("--state.path={own}/state");
        let exporter = start(EXPORTER, None, 10273, Vec::new());
        // No token: nothing can be posted to it.
        let remediator = start(REMEDIATOR, Some("serve"), 10274, vec![state.clone()]);
        let mut flags = flags;
        flags.push(state);
        Self {
            name,
            session,
            is_off_by,
            world,
            calm,
            wrapper,
            flags,
            exporter,
            remediator,
        }
    }

    /// The folder gets its other 297 files, and the bot is in this state.
    fn bloat(&self, probe: &str) -> Snapshot {
        self.world.probe_says(self.session, probe);
        let (_, rest) = bloated_in_two_parts();
        fixture::write(&rest, &self.world.folder(self.session)).unwrap();
        let before = self.world.snapshot(self.session);
        assert_eq!(before.len(), 387);
        before
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let metrics = Metrics::scrape(&format!("http://{}/metrics", self.remediator.1))?;
        metrics.sum(&format!("baileys_remediator_{name}"), labels)
    }

    /// How many runs are armed.
    fn armed(&self) -> Result<usize> {
        let metrics = Metrics::scrape(&format!("http://{}/metrics", self.remediator.1))?;
        let name = "baileys_remediator_armed_runs";
        Ok(metrics.having(name, &[]).count())
    }

    /// Runs a program on the host.
    fn run(&self, program: &str, args: &[&str]) -> String {
        let words = self.wrapper[1..].iter().map(String::as_str);
        let words = words.chain([program]).chain(args.iter().copied());
        let ran = process::run(Path::new(&self.wrapper[0]), words, STEP);
        let (status, out, err) = ran.unwrap();
        assert!(status.success(), "{}: {program} {args:?}: {err}", self.name);
        out
    }

    /// What `runs` on this host shows.
    fn runs(&self) -> Vec<Value> {
        let mut args = vec!["runs", "--output=json", "--limit=1000"];
        args.extend(self.flags.iter().map(String::as_str));
        let out = self.run(REMEDIATOR, &args);
        assert_discreet("runs", &out);
        serde_json::from_str::<Value>(&out)
            .unwrap()
            .as_array()
            .unwrap()
            .clone()
    }

    /// The clean-ups that are done.
    fn done(&self) -> usize {
        self.runs().iter().filter(|run| is_done(run)).count()
    }
}

/// All that runs.
struct Fleet {
    first: Alertmanager,
    second: Alertmanager,
    prometheus: Process,
    hosts: [Host; 3],
    wires: Hosts,
    patience: Patience,
    // Dropped last.
    dir: tempfile::TempDir,
}

/// The one configuration of all hosts.
fn config(hosts: &Hosts, alertmanagers: &[&str]) -> String {
    // On loopback addresses all hosts have one name.
    let host = if hosts.are_wired() {
        "{hostname}"
    } else {
        "${HOST}"
    };
    format!(
        "alertmanager:\n  urls: {alertmanagers:?}\n  match: {{instance: \"{host}:10273\"}}\n  interval: 1s\n  timeout: 1s\narmed: {{look_every: 1s}}\n"
    )
}

/// An Alertmanager on a host of its own, without a route to any remediator.
fn alertmanager(
    hosts: &Hosts,
    dir: &Path,
    name: &str,
    peer: Option<&Alertmanager>,
) -> Alertmanager {
    let dir = dir.join(name);
    fs::create_dir(&dir).unwrap();
    let text = shipped("alertmanager.yml").unwrap();
    let flags = [
        "--cluster.probe-interval=500ms",
        "--cluster.probe-timeout=250ms",
        "--cluster.pushpull-interval=1s",
        "--cluster.reconnect-interval=1s",
        "--cluster.settle-timeout=1s",
    ];
    let options = Options {
        wrapper: hosts.wrapper(name).unwrap(),
        address: Some(hosts.address(name).unwrap()),
        port: Some(hosts.port(9093).unwrap()),
        cluster: Some(peer),
        cluster_port: Some(hosts.port(9094).unwrap()),
        flags: flags.map(str::to_owned).into(),
    };
    Alertmanager::start_with(&dir, &without_route(&text, None).unwrap(), options).unwrap()
}

/// The real Prometheus with the shipped rules; alerts are held for 2 seconds.
fn prometheus(wires: &Hosts, dir: &Path, alertmanagers: [&str; 2], hosts: &[Host]) -> Process {
    let program = process::find(&["prometheus"]).expect("Prometheus is installed");
    let targets = |address: fn(&Host) -> &str, port: u16| -> String {
        let one = |host: &Host| match wires.are_wired() {
            // The label is that address.
            true => format!("      - targets: [\"{}:{port}\"]\n", host.name),
            false => format!(
                "      - targets: [{:?}]\n        labels: {{instance: \"{}:{port}\"}}\n",
                address(host),
                host.name
            ),
        };
        hosts.iter().map(one).collect()
    };
    let alertmanagers = alertmanagers.map(|url| url.replace("http://", ""));
    let text = stack::short_prometheus(
        &alertmanagers,
        &targets(|host| &host.exporter.1, 10273),
        &targets(|host| &host.remediator.1, 10274),
    );
    let config = dir.join("prometheus.yml");
    fs::write(&config, text.unwrap()).unwrap();
    let rules = stack::short_rules(Duration::from_secs(2)).unwrap();
    fs::write(dir.join("baileys.rules.yml"), rules).unwrap();
    let (address, port) = (
        wires.address("prometheus").unwrap(),
        wires.port(9090).unwrap(),
    );
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.join("prometheus").display()),
        format!("--web.listen-address={address}:{port}"),
    ];
    let wrapper = wires.wrapper("prometheus").unwrap();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    Process::start_in(&wrapper, &program, args, &dir.join("prometheus.log")).unwrap()
}

impl Fleet {
    fn start(isolation: Isolation) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The clock of the second one is a minute behind, that of the third one ahead.
        let wanted = [
            ("host-a", "bot", 0),
            ("host-b", "bot", -MINUTE),
            ("host-c", "other", MINUTE),
        ];
        let laid_out = wanted.map(|(_, session, off)| Host::lay_out(session, off));
        let mut nodes: Vec<Wanted<'_>> = wanted
            .iter()
            .zip(&laid_out)
            .map(|((name, _, _), (world, _, _))| Wanted {
                name,
                network: Network::Metrics,
                own: Some(world.root().to_owned()),
            })
            .collect();
        for (name, network) in [
            ("am-a", Network::Alerts),
            ("am-b", Network::Alerts),
            ("prometheus", Network::Metrics),
        ] {
            nodes.push(Wanted {
                name,
                network,
                own: None,
            });
        }
        let wires = Hosts::new(isolation, dir.path(), nodes).unwrap();
        let first = alertmanager(&wires, dir.path(), "am-a", None);
        let second = alertmanager(&wires, dir.path(), "am-b", Some(&first));
        let urls = match wires.are_wired() {
            true => ["http://am-a:9093", "http://am-b:9093"],
            false => [first.url(), second.url()],
        };
        let file = dir.path().join("config.yml");
        fs::write(&file, config(&wires, &urls)).unwrap();
        let hosts: Vec<Host> = wanted
            .into_iter()
            .zip(laid_out)
            .map(|(wanted, laid)| Host::start(&wires, wanted, laid, &file))
            .collect();
        let prometheus = prometheus(&wires, dir.path(), urls, &hosts);
        let hosts = hosts.try_into().ok().unwrap();
        let fleet = Self {
            first,
            second,
            prometheus,
            hosts,
            wires,
            patience: Patience::new(BOUND),
            dir,
        };
        for host in &fleet.hosts {
            fleet.wait_until_up(host, 2.0);
        }
        fleet.wait("the Alertmanagers find each other", || {
            match (fleet.first.members()?, fleet.second.members()?) {
                (2, 2) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        });
        fleet
    }

    /// Tries until `attempt` succeeds; fails with all logs.
    fn wait<T>(&self, what: &str, attempt: impl FnMut() -> Result<T>) -> T {
        let seen = self.patience.wait_until(STEP, what, attempt);
        seen.unwrap_or_else(|failure| {
            let ends = |process: &Process| process.log_tail(12);
            let mut logs: Vec<String> = vec![
                ends(&self.first.process),
                ends(&self.second.process),
                ends(&self.prometheus),
            ];
            logs.extend(self.hosts.iter().map(|host| host.remediator.0.log_tail(40)));
            panic!("{failure}\n{}", logs.join("\n--\n"))
        })
    }

    /// Waits until that many Alertmanagers answer the host.
    fn wait_until_up(&self, host: &Host, count: f64) {
        self.wait(host.name, || match host.metric("alertmanager_up", &[])? {
            up if up == count => Ok(()),
            up => Err(format!("{up} of {count} Alertmanagers answer")),
        });
    }

    /// Waits until an Alertmanager shows the emergency of a host in this state.
    fn wait_for_alert(&self, at: &Alertmanager, host: &Host, state: &str) {
        self.wait("the alert", || {
            let alerts = at.alerts()?;
            let instance = format!("{}:10273", host.name);
            let is_it = |alert: &&Value| {
                let labels = &alert["labels"];
                labels["instance"] == instance.as_str()
                    && labels["session"] == host.session
                    && labels["tier"] == "emergency"
            };
            match alerts.iter().find(is_it) {
                Some(alert) if alert["status"]["state"] == state => Ok(()),
                Some(alert) => Err(format!("{}", alert["status"])),
                None => Err(format!("{} alerts, not this one", alerts.len())),
            }
        });
    }

    /// Waits until a run of the host is armed, because its bot is connected.
    fn wait_until_armed(&self, host: &Host) {
        self.wait("an armed run", || match host.armed()? {
            0 => Err("none".into()),
            _ => Ok(()),
        });
    }

    /// Waits until the host has cleaned its bot.
    fn wait_until_cleaned(&self, host: &Host, before: &Snapshot) {
        self.wait("a run that is done", || match host.done() {
            0 => Err(format!("{:#?}", host.runs())),
            _ => Ok(()),
        });
        let after = host.world.snapshot(host.session);
        assert!(after.len() < 120, "{}: {} files", host.name, after.len());
        assert_eq!(
            before.without(&after).into_iter().collect::<BTreeSet<_>>(),
            host.world
                .quarantined(host.session)
                .iter()
                .map(String::as_str)
                .collect(),
        );
    }

    /// Ends all, and holds each journal to what it must hold: one run that is done, of the
    /// host's own session, and no file moved beside those of this run.
    fn finish(mut self) {
        for host in &self.hosts {
            let (name, session) = (host.name, host.session);
            let runs = host.runs();
            let done: Vec<&Value> = runs.iter().filter(|run| is_done(run)).collect();
            assert_eq!(done.len(), 1, "{name}: {runs:#?}");
            for run in &runs {
                assert_eq!(run["session"], session, "{name}: {run:#}");
                let by = run["requested_by"].as_str().unwrap();
                assert!(by.starts_with("alert "), "{name}: {run:#}");
                // Asked before the bot was stopped, or again after it was cleaned.
                let is_expected = is_done(run)
                    || run["action"] == "plan"
                    || ["connected", "cooldown"]
                        .map(Value::from)
                        .contains(&run["reason"]);
                assert!(is_expected, "{name}: {run:#}");
            }
            let quarantine = host.world.folder(session).join(".baileys_quarantine");
            let held = fs::read_dir(quarantine).unwrap();
            let held = held.filter(|entry| entry.as_ref().unwrap().path().is_dir());
            assert_eq!(held.count(), 1, "{name}");
            host.world.unchanged("calm", &host.calm);
        }
        for host in &mut self.hosts {
            for (process, _) in [&mut host.remediator, &mut host.exporter] {
                process.alive().unwrap();
                process.stop();
                let status = process.ended().unwrap().unwrap();
                assert!(status.success(), "{}: {status}", host.name);
            }
            assert_discreet("the log", &host.world.log());
        }
        self.prometheus.alive().unwrap();
        assert!(self.dir.path().exists());
    }
}

/// Three hosts, two with a session of one name. The two Alertmanagers are parted, and joined
/// again; one is killed; one host is parted from them. Two clocks are a minute off.
#[test]
fn each_of_three_hosts_cleans_its_own_session_once() {
    inside(
        "each_of_three_hosts_cleans_its_own_session_once",
        three_hosts,
    );
}

/// The same without namespaces: no host can be parted from the others.
#[test]
fn each_of_three_hosts_on_loopback_addresses_cleans_its_own_session_once() {
    three_hosts(Isolation::Loopback);
}

fn three_hosts(isolation: Isolation) {
    let fleet = Fleet::start(isolation);
    let [a, b, c] = &fleet.hosts;
    for host in [a, b, c] {
        clock_is_off(host);
    }
    if fleet.wires.are_wired() {
        assert_eq!(b.run("uname", &["-n"]).trim(), "host-b");
    }

    // Parted, one Alertmanager knows of a silence and the other does not.
    part(&fleet, true, 1);
    let silence = fleet.second.silence("instance", "host-b:10273").unwrap();
    let b_before = b.bloat("disconnected");
    fleet.wait_for_alert(&fleet.second, b, "suppressed");
    if fleet.wires.are_wired() {
        fleet.wait_for_alert(&fleet.first, b, "active");
    }
    fleet.wait("the alert is on record", || {
        match b.metric("polled_alerts", &[("outcome", "suppressed")])? {
            0.0 => Err("not yet".into()),
            _ => Ok(()),
        }
    });
    // A session of the same name has an alert that nothing silences, until its bot is stopped.
    let a_before = a.bloat("connected");
    fleet.wait_until_armed(a);
    part(&fleet, false, 2);
    assert_eq!(b.runs(), Vec::<Value>::new());
    fleet.wait_for_alert(&fleet.first, b, "suppressed");
    assert_eq!(b.runs(), Vec::<Value>::new());
    b.world.unchanged("bot", &b_before);
    let ended = jiff::Timestamp::now().as_second();
    fleet.first.end_silence(&silence).unwrap();
    fleet.wait_until_cleaned(b, &b_before);
    for run in b.runs() {
        let created: jiff::Timestamp = run["created"].as_str().unwrap().parse().unwrap();
        // By the clock of its own host, which is off.
        let created = created.as_second() - b.is_off_by;
        let now = jiff::Timestamp::now().as_second();
        assert!(
            (ended..=now).contains(&created),
            "{created} {ended} {now} {run:#}"
        );
    }

    // An Alertmanager dies while a run is armed.
    let mut fleet = fleet;
    fleet.first.process.kill();
    let [a, b, c] = &fleet.hosts;
    for host in [a, b, c] {
        fleet.wait_until_up(host, 1.0);
    }
    a.world.unchanged("bot", &a_before);
    fleet.wait_until_armed(a);
    a.world.probe_says("bot", "disconnected");
    fleet.wait_until_cleaned(a, &a_before);

    // One host loses its way to the Alertmanagers, and is still scraped.
    if fleet.wires.are_wired() {
        fleet.wires.plug("host-c", Network::Alerts, false).unwrap();
        fleet.wait_until_up(c, 0.0);
    }
    let c_before = c.bloat("disconnected");
    fleet.wait_for_alert(&fleet.second, c, "active");
    if fleet.wires.are_wired() {
        assert_eq!(c.runs(), Vec::<Value>::new());
        c.world.unchanged("other", &c_before);
        fleet.wires.plug("host-c", Network::Alerts, true).unwrap();
        fleet.wait_until_up(c, 1.0);
    }
    fleet.wait_until_cleaned(c, &c_before);
    fleet.finish();
}

/// Parts the Alertmanagers from each other, or joins them, and waits until they know it.
fn part(fleet: &Fleet, are_apart: bool, members: usize) {
    if !fleet.wires.are_wired() {
        return;
    }
    let both = ["am-a", "am-b"];
    fleet.wires.part(&both, Network::Alerts, are_apart).unwrap();
    fleet.wait("each Alertmanager notices", || {
        match (fleet.first.members()?, fleet.second.members()?) {
            seen if seen == (members, members) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    });
}

/// What a program of the host takes for the time.
fn clock_is_off(host: &Host) {
    let now = || jiff::Timestamp::now().as_second();
    let before = now();
    let there: i64 = host.run("date", &["+%s"]).trim().parse().unwrap();
    assert!(
        (before..=now()).contains(&(there - host.is_off_by)),
        "{}",
        host.name
    );
}

/// Whether it is a clean-up that is done. A scrape while the files of a bloated folder are written
/// may show a lower tier, whose alert asks for a plan.
fn is_done(run: &Value) -> bool {
    run["status"] == "done" && run["action"] != "plan"
}

/// A firing alert for the session `bot` of a host, as Prometheus posts it.
fn alert(host: &str) -> Value {
    json!({
        "labels": {
            "alertname": "BaileysAuthFilesCleanup", "ladder": "baileys_auth_files",
            "tier": "cleanup", "session": "bot", "instance": format!("{host}:10273"),
            "job": "baileys", "severity": "warning",
        },
        "endsAt": "2099-01-01T00:00:00.000Z",
    })
}

/// Starts the remediator of a host that has its name from its environment, without a token.
fn start(world: &mut World, name: &str) {
    let host = format!("HOST={name}");
    let mut args = world.serve_args();
    args.retain(|arg| !arg.starts_with("--webhook.token-file"));
    world.start(&["env", &host], Path::new(REMEDIATOR), args);
}

/// Waits until a host has cleaned its bot, and its alert still fires.
fn wait_until_done(world: &World) {
    world.wait("a run that is done", || {
        match world.metric("polled_alerts", &[("outcome", "cooldown")]) {
            1.0 => Ok(()),
            seen => Err(format!("{seen} alerts were answered")),
        }
    });
}

/// What `match` is for. Without it the test of three hosts fails, too: host-b acts on the alert
/// of host-a.
#[test]
fn without_match_the_session_of_the_same_name_is_cleaned_too() {
    let dir = tempfile::tempdir().unwrap();
    let text = shipped("alertmanager.yml").unwrap();
    let changes = without_route(&text, None).unwrap();
    let alertmanager = Alertmanager::start(dir.path(), &changes).unwrap();
    let yaml = format!(
        "alertmanager: {{urls: [{}], interval: 1s}}\n",
        alertmanager.url()
    );
    let worlds = ["host-a", "host-b"].map(|name| {
        let mut world = testkit::world!();
        world.with_probe();
        world.with_config(&yaml);
        world.bot("bot", BLOATED, "disconnected");
        start(&mut world, name);
        world
    });
    worlds[0].wait("Alertmanager is ready", || alertmanager.ready());
    alertmanager.post(vec![alert("host-a")]).unwrap();
    for world in worlds {
        wait_until_done(&world);
        assert!(!world.quarantined("bot").is_empty());
        world.finish();
    }
}

/// Forty remediators with one configuration file, each with a session of the same name, and an
/// Alertmanager that knows none of them. Three of the hosts are down at first.
#[test]
fn forty_hosts_need_no_route_and_no_token() {
    const HOSTS: usize = 40;
    const DOWN: [usize; 3] = [4, 17, 34];
    let name = |index: usize| format!("host-{index:02}");
    let dir = tempfile::tempdir().unwrap();
    let person = Recorder::start(None).unwrap();
    let text = shipped("alertmanager.yml").unwrap();
    let mut changes = without_route(&text, Some(&person.url())).unwrap();
    changes.push(("group_wait: 10m", "group_wait: 1s".to_owned()));
    let alertmanager = Alertmanager::start(dir.path(), &changes).unwrap();
    let config = dir.path().join("config.yml");
    let yaml = format!(
        "tiers: {{monitor: 5, warning: 6, cleanup: 7, emergency: 8, fatal: 9}}\nalertmanager: {{urls: [{}], match: {{instance: \"${{HOST}}:10273\"}}, interval: 2s}}\n",
        alertmanager.url()
    );
    fs::write(&config, yaml).unwrap();

    let mut worlds: Vec<World> = (0..HOSTS)
        .map(|index| {
            let mut world = testkit::world!().within(BOUND);
            world.with_probe();
            world
                .flags
                .push(format!("--config.file={}", config.display()));
            fleet::folder(&world.folder("bot"), fleet::GO);
            world.probe_says("bot", "disconnected");
            if !DOWN.contains(&index) {
                start(&mut world, &name(index));
            }
            world
        })
        .collect();
    worlds[0].wait("Alertmanager is ready", || alertmanager.ready());
    let is_up = |index: &usize| !DOWN.contains(index);

    // Every second host has an alert.
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..HOSTS).partition(|index| index % 2 == 0);
    let post = |of: &[usize]| {
        let alerts = of.iter().map(|index| alert(&name(*index)));
        alertmanager.post(alerts.collect()).unwrap();
    };
    post(&even);
    for index in even.iter().copied().filter(is_up) {
        wait_until_done(&worlds[index]);
    }
    for index in odd.iter().copied().filter(is_up) {
        assert_eq!(worlds[index].runs(), Vec::<Value>::new(), "{}", name(index));
    }
    // Now all have one.
    post(&odd);
    for index in odd.into_iter().filter(is_up) {
        wait_until_done(&worlds[index]);
    }
    for index in DOWN {
        start(&mut worlds[index], &name(index));
        wait_until_done(&worlds[index]);
    }

    // What was posted went to the person, and nothing failed.
    let metrics = || Metrics::scrape(&format!("{}/metrics", alertmanager.url()));
    let notifications = |metrics: &Metrics, name: &str| {
        metrics.sum(&format!("alertmanager_notification{name}_total"), &[])
    };
    // Tiers go to a person in a digest.
    worlds[0].wait("a notification", || {
        match notifications(&metrics()?, "s")? {
            0.0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    let metrics = metrics().unwrap();
    for failed in ["s_failed", "_requests_failed"] {
        assert_eq!(notifications(&metrics, failed), Ok(0.0), "{failed}");
    }
    assert!(!person.sent().is_empty());
    for world in worlds {
        let run = world.run_of("bot");
        assert_eq!(run["status"], "done", "{run:#}");
        assert_eq!(world.quarantined("bot").len(), fleet::GO);
        world.finish();
    }
}
