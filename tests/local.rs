//! `--trigger=local`: `baileys_remediator serve` evaluates the tiers on real folders, with no
//! Prometheus and no Alertmanager. The hold times pass while monotonic time is put ahead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use baileys_exporter::policy::ladder::{Ladder, Reading};
use baileys_exporter::policy::{Thresholds, Tier};
use serde_json::{Value, json};
use testkit::fixture::Snapshot;
use testkit::net::Metrics;
use testkit::process;
use testkit::stack::INSTALL;
use testkit::world::World;
use testkit::wrong_clock::WrongClock;

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";
/// No program here takes longer.
const BOUND: Duration = Duration::from_secs(60);

/// A host with the local trigger, and its time.
struct Host {
    world: World,
    clock: WrongClock,
    ahead: i64,
}

impl Host {
    /// Armed runs are looked at often.
    fn new() -> Self {
        let mut world = testkit::world!();
        world.with_probe();
        // A probe that is under way when time is put ahead does not time out.
        let probe = "connection: {timeout: 10m}\n";
        let notify = world.path("notified").display().to_string();
        world.with_config(&format!(
            "trigger: local\narmed: {{look_every: 1s}}\n{probe}notify: {{command: [sh, -c, 'cat >> \"$1\"', sh, {notify}]}}\n"
        ));
        Self {
            clock: WrongClock::monotonic(world.root()).unwrap(),
            world,
            ahead: 0,
        }
    }

    fn start(&mut self) {
        let mut args = self.world.serve_args();
        args.retain(|arg| !arg.starts_with("--webhook.token-file"));
        let wrapper = self.clock.wrapper();
        let wrapper = wrapper.each_ref().map(String::as_str);
        self.world.start(&wrapper, Path::new(REMEDIATOR), args);
        self.wait_for_evaluation(0.0);
    }

    /// When it last evaluated. Errors: a connection that was open when time was put ahead is
    /// closed.
    fn evaluated(&self) -> testkit::Result<f64> {
        let name = "baileys_remediator_local_evaluation_timestamp_seconds";
        Metrics::scrape(&self.world.url("/metrics"))?.sum(name, &[])
    }

    fn wait_for_evaluation(&self, after: f64) {
        self.world
            .wait("an evaluation", || match self.evaluated()? {
                at if at > after => Ok(()),
                _ => Err("not yet".into()),
            });
    }

    /// Lets so many seconds pass, and then two evaluations: one may be under way.
    fn pass(&mut self, seconds: i64) {
        for seconds in [seconds, 16] {
            let before = self.world.wait("a scrape", || self.evaluated());
            self.ahead += seconds;
            self.clock.wrong_by(self.ahead).unwrap();
            self.wait_for_evaluation(before);
        }
    }

    fn armed(&self) -> usize {
        let name = "baileys_remediator_armed_runs";
        self.world.metrics().having(name, &[]).count()
    }

    fn wait_for_notification(&mut self, line: &str) {
        for _ in 0..5 {
            let text = fs::read_to_string(self.world.path("notified")).unwrap_or_default();
            if text.contains(line) {
                return;
            }
            self.pass(61);
        }
        let text = fs::read_to_string(self.world.path("notified"));
        panic!("no {line:?} in {text:?}");
    }

    fn wait_for_runs(&self, session: &str, runs: usize) {
        self.world
            .wait("runs", || match self.world.runs_of(session).len() {
                seen if seen == runs => Ok(()),
                seen => Err(format!("{seen} of {runs}")),
            });
        self.world.wait_until_idle();
    }
}

/// As an operator with a few bots meets it, from the start to a clean folder.
#[test]
fn a_folder_is_cleaned_when_it_has_held_its_tier_for_two_minutes() {
    let mut host = Host::new();
    host.world.bot("bot", BLOATED, "disconnected");
    let busy = host.world.bot("busy", BLOATED, "connected");
    let warned = host.world.bot("warned", "warning-130", "disconnected");
    let calm = host.world.bot("calm", "normal", "disconnected");
    host.start();
    host.pass(60);
    assert_eq!(host.world.runs(), Vec::<Value>::new());

    host.pass(60);
    host.wait_for_runs("bot", 1);
    host.wait_for_runs("busy", 1);
    host.wait_for_runs("warned", 1);
    let run = host.world.run_of("bot");
    assert_eq!(run["status"], "done", "{run:#}");
    assert_eq!(run["action"], "emergency", "{run:#}");
    assert_eq!(run["requested_by"], "alert local", "{run:#}");
    assert!(!host.world.quarantined("bot").is_empty());
    let record = host.world.show(&run["id"].to_string());
    assert!(record.to_string().contains("local"), "{record:#}");
    // The guards are those of any alert.
    let run = host.world.run_of("busy");
    assert_eq!(run["reason"], "connected", "{run:#}");
    host.world.unchanged("busy", &busy);
    let run = host.world.run_of("warned");
    assert_eq!(
        (&run["action"], &run["status"]),
        (&json!("plan"), &json!("done"))
    );
    host.world.unchanged("warned", &warned);
    assert!(host.world.runs_of("calm").is_empty());
    host.world.unchanged("calm", &calm);

    // What goes on is on record, and starts no second run.
    host.pass(0);
    assert_eq!(host.world.runs_of("bot").len(), 1);
    assert_eq!(host.armed(), 1);
    host.world.probe_says("busy", "disconnected");
    host.world.wait("the armed run", || {
        let runs = host.world.runs_of("busy");
        match runs.iter().any(|run| run["status"] == "done") {
            true => Ok(()),
            false => Err(format!("{runs:#?}")),
        }
    });
    // A person is told, and the next message is a minute later at the earliest.
    for line in [
        "\nwarned: warning tier, 130 accumulated files\n",
        "\nbot: emergency done, 294 files moved, ",
        "\nbusy: emergency refused: connected; ",
        "\nbot: emergency tier is over, ",
    ] {
        host.wait_for_notification(line);
    }
    // It is off, and says so.
    let (status, _) = host.world.deliver(&[]);
    assert_eq!(status, 404);
    host.world.finish();
}

/// The time begins again with the program, as that of the rules does with Prometheus. A pause
/// holds for this trigger too.
#[test]
fn the_hold_time_begins_again_after_a_restart_and_a_pause_holds() {
    let mut host = Host::new();
    let before = host.world.bot("bot", BLOATED, "disconnected");
    host.start();
    host.pass(60);
    host.world.kill();
    host.start();
    host.pass(60);
    assert_eq!(host.world.runs(), Vec::<Value>::new());
    host.world
        .remediator(&["pause", "--reason=a test"])
        .must(0, &[]);
    host.pass(60);
    host.wait_for_runs("bot", 1);
    assert_eq!(host.world.run_of("bot")["reason"], "paused");
    host.world.unchanged("bot", &before);
    host.world.finish();
}

/// Removes session files until so many files are left.
fn shrink(world: &World, session: &str, left: usize) -> Snapshot {
    let files = fs::read_dir(world.folder(session)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap() != "creds.json");
    files.sort();
    for path in files.iter().skip(left) {
        fs::remove_file(path).unwrap();
    }
    world.snapshot(session)
}

/// Only a reading below the tier ends an armed run: a folder that is gone, or cannot be read,
/// says nothing.
#[test]
fn an_armed_run_ends_when_its_folder_was_read_below_the_tier() {
    let mut host = Host::new();
    host.world.bot("bot", BLOATED, "connected");
    let gone = host.world.path("gone");
    host.world
        .flags
        .push(format!("--sessions.path=gone={}", gone.display()));
    host.start();
    assert_eq!(host.world.metric("local_unread_sessions", &[]), 1.0);
    host.world.wait_for_log("session gone cannot be read");
    host.pass(120);
    host.wait_for_runs("bot", 1);
    host.world.wait("an armed run", || match host.armed() {
        1 => Ok(()),
        seen => Err(format!("{seen}")),
    });

    let folder = host.world.folder("bot");
    let away = host.world.path("away");
    fs::rename(&folder, &away).unwrap();
    for _ in 0..3 {
        host.pass(120);
    }
    assert_eq!(host.armed(), 1);
    fs::rename(&away, &folder).unwrap();
    let before = shrink(&host.world, "bot", 100);
    host.pass(0);
    host.world.wait("nothing is armed", || match host.armed() {
        0 => Ok(()),
        seen => Err(format!("{seen}")),
    });
    host.world.wait_for_log("its alert has resolved");
    host.world.unchanged("bot", &before);
    host.world.finish();
}

/// `serve` takes one source of alerts or the other, and nothing else asks.
#[test]
fn the_local_trigger_excludes_push_and_pull() {
    let mut world = testkit::world!();
    world.with_probe();
    let before = world.bot("bot", BLOATED, "disconnected");
    let port = format!("--web.listen-address=127.0.0.1:{}", world.port);
    let token = format!("--webhook.token-file={}", world.path("token").display());
    let pushed = format!(
        "webhook: {{token_file: {}}}\n",
        world.path("token").display()
    );
    let polled = "alertmanager: {urls: ['http://127.0.0.1:1']}\n";
    let local = "trigger: local\n";
    let and = |one: &str, other: &str| format!("{one}{other}");
    for (yaml, args, said) in [
        (local, &[&*token][..], "webhook.token_file"),
        (&and(local, &pushed), &[], "webhook.token_file"),
        (&pushed, &["--trigger=local"], "webhook.token_file"),
        (&and(local, polled), &[], "excludes alertmanager"),
        (polled, &["--trigger=local"], "excludes alertmanager"),
        (
            local,
            &["--webhook.match=instance=h:10273"],
            "webhook.match",
        ),
        // The flag wins over the file.
        (local, &["--trigger=alerts"], "no source of alerts"),
        ("tiers: {}\n", &[], "--trigger=local"),
    ] {
        world.with_config(yaml);
        let args: Vec<&str> = ["serve", &*port].iter().chain(args).copied().collect();
        world.remediator(&args).must(2, &[said]);
    }
    world.with_config("trigger: sometimes\n");
    world
        .remediator(&["serve", &*port])
        .must(2, &["alerts, local"]);
    // Only `serve` needs it to be right.
    world.with_config(&and(local, polled));
    world.remediator(&["plan", "bot"]).must(0, &[]);
    world.exporter(&["status"]).must(1, &["bot"]);
    world.unchanged("bot", &before);
}

/// Numbers that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// Readings every 15 seconds: levels around the tiers, and gaps. A gap that ends when the last
/// reading is just five minutes old is left out: Prometheus 2 and 3 differ there.
fn readings(seed: u64) -> Vec<Option<usize>> {
    let mut numbers = Numbers(seed);
    let mut readings = Vec::new();
    while readings.len() < 360 {
        let level = [90, 100, 119, 125, 150, 160, 185, 210][numbers.below(8) as usize];
        let times = 1 + numbers.below(20) * numbers.below(5);
        readings.extend((0..times).map(|_| Some(level)));
        let missing = match numbers.below(4) {
            0 => numbers.below(19),
            1 => 23 + numbers.below(10),
            _ => 0,
        };
        readings.extend((0..missing).map(|_| None));
    }
    readings
}

/// The shipped rules, evaluated by promtool, fire when the ladder of this trigger does.
#[test]
fn the_ladder_fires_when_the_rules_fire() {
    let promtool = process::find(&["promtool"])
        .unwrap_or_else(|| panic!("promtool is not installed; run: {INSTALL}"));
    let mut tests = Vec::new();
    let mut fired = BTreeMap::<&str, usize>::new();
    for seed in 1..=4 {
        let (mut ladder, mut expected) = (Ladder::default(), Vec::new());
        let (mut values, mut since_read) = (Vec::new(), 0);
        for (step, accumulated) in readings(seed).into_iter().enumerate() {
            values.push(accumulated.map_or_else(|| "_".to_owned(), |count| count.to_string()));
            since_read = if accumulated.is_some() {
                0
            } else {
                since_read + 1
            };
            let reading = Reading {
                session: "bot".into(),
                accumulated,
                thresholds: Thresholds::default(),
            };
            let now = Duration::from_secs(15) * u32::try_from(step).unwrap();
            let standings = ladder.evaluate(now, &[reading]);
            if since_read == 20 {
                continue;
            }
            let tiers = standings.first().into_iter().flat_map(|s| s.firing.keys());
            // The tier monitor has no alert, and that of fatal goes on for an hour.
            let samples: Vec<Value> = tiers
                .filter(|tier| !matches!(tier, Tier::Monitor | Tier::Fatal))
                .map(|tier| {
                    *fired.entry(tier.label()).or_default() += 1;
                    json!({"labels": format!("{{tier=\"{tier}\"}}"), "value": 1})
                })
                .collect();
            expected.push(json!({
                "expr": "count by (tier) (ALERTS{alertstate=\"firing\", ladder=\"baileys_auth_files\", tier!=\"fatal\"})",
                "eval_time": format!("{}s", now.as_secs()),
                "exp_samples": samples,
            }));
        }
        tests.push(json!({
            "interval": "15s",
            "input_series": [{
                "series": "baileys_auth_accumulated_files{job=\"baileys\", instance=\"a:10273\", session=\"bot\"}",
                "values": values.join(" "),
            }],
            "promql_expr_test": expected,
        }));
    }
    assert_eq!(fired.len(), 3, "{fired:?}");
    let dir = tempfile::tempdir().unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerting-rules/baileys.rules.yml");
    let test = json!({"rule_files": [rules], "evaluation_interval": "15s", "tests": tests});
    let path = dir.path().join("test.yml");
    fs::write(&path, test.to_string()).unwrap();
    let args = ["test", "rules", &path.display().to_string()].map(str::to_owned);
    let (status, out, err) = process::run(&promtool, args, 3 * BOUND).unwrap();
    assert!(status.success(), "{out}{err}");
}
