//! What it costs a real Alertmanager when 500 hosts poll it, beside one that is not polled and
//! one that posts to each host by a route of its own. All of them at the same time, with the
//! same alerts, which are posted again every minute as Prometheus does.
//!
//! `make bench-fleet` runs it and writes the table into docs/performance.md.
//! `BENCH_FLEET_SECONDS` makes it shorter; then the file is left alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baileys_exporter::config::{AlertmanagerSettings, Placeholders, Settings};
use baileys_exporter::remediator::pull::Poller;
use serde_json::{Value, json};
use testkit::alertmanager::{Alertmanager, Options, shipped, without_route};
use testkit::performance::write_table;
use testkit::recorder::Recorder;

const HOSTS: usize = 500;
/// Alerts of the ladder for each host that has some.
const TIERS: [&str; 2] = ["warning", "cleanup"];
/// Six minutes: Alertmanager repeats each of its posts once in that time.
const SECONDS: u64 = 360;
/// As in `src/remediator/serve/polling.rs`: a host without alerts looks at those of all hosts
/// at every 20th poll.
const ALL_HOSTS_EVERY: u32 = 20;
/// How many alerts Prometheus posts together.
const BATCH: usize = 64;
const TICKS_PER_SECOND: f64 = 100.0;

fn name(host: usize) -> String {
    format!("bots-{host:03}")
}

/// A host that is simulated.
struct Simulated(String);

impl Placeholders for Simulated {
    fn hostname(&self) -> String {
        self.0.clone()
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

/// What all hosts have in their configuration: the interval and the timeout are the defaults.
fn settings(url: &str) -> AlertmanagerSettings {
    let yaml =
        format!("alertmanager: {{urls: [{url}], match: {{instance: \"{{hostname}}:10273\"}}}}");
    Settings::of_text(&yaml)
        .unwrap()
        .unwrap()
        .alertmanagers
        .unwrap()
}

/// The alerts of the first `hosts` hosts, with labels and annotations of the usual size.
fn alerts(hosts: usize) -> Vec<Value> {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(4);
    let of_host = |host: usize| {
        TIERS.map(|tier| {
            json!({
                "labels": {
                    "alertname": format!("BaileysAuthFiles{tier}"), "ladder": "baileys_auth_files",
                    "tier": tier, "session": "company_bot", "severity": "warning",
                    "instance": format!("{}:10273", name(host)), "job": "baileys",
                },
                "annotations": {
                    "summary": "company_bot: 155 accumulated files",
                    "description": "The auth folder of company_bot holds 155 files that accumulate. From 150 on the remediator cleans it as soon as the bot is not connected.",
                    "runbook_url": "https://example.org/runbooks/baileysauthfilescleanup.md",
                },
                "endsAt": end.to_string(),
                "generatorURL": "http://prometheus:9090/graph?g0.expr=baileys%3Aauth_accumulated_files",
            })
        })
    };
    (0..hosts).flat_map(of_host).collect()
}

/// One Alertmanager under measurement.
struct Measured {
    what: String,
    alertmanager: Alertmanager,
    /// How many hosts have alerts.
    hosts: usize,
    config_lines: usize,
    /// Of the polls of this one.
    polls: Arc<Mutex<Polls>>,
    remediators: Recorder,
    _person: Recorder,
}

#[derive(Default)]
struct Polls {
    /// Milliseconds of each.
    took: Vec<f64>,
    /// Answered with 503: Alertmanager answers 8 requests at a time, or one for each processor.
    turned_away: u64,
    failed: Vec<String>,
}

/// What Alertmanager has used so far.
#[derive(Clone, Copy)]
struct Used {
    cpu: f64,
    sent: f64,
    posts: usize,
}

impl Measured {
    fn start(dir: &Path, what: String, hosts: usize, has_routes: bool) -> Self {
        let dir = dir.join(what.replace(' ', "-"));
        fs::create_dir(&dir).unwrap();
        let (person, remediators) = (
            Recorder::start(None).unwrap(),
            Recorder::start(None).unwrap(),
        );
        let text = shipped("alertmanager.yml").unwrap();
        let mut changes = without_route(&text, Some(&person.url())).unwrap();
        if has_routes {
            let token = dir.join("token");
            fs::write(&token, "token").unwrap();
            let routes = changes[0].0;
            let receivers = changes[1].0;
            changes[0].1 = (0..HOSTS).map(|host| of_host(routes, host)).collect();
            changes[1].1 = (0..HOSTS)
                .map(|host| {
                    of_host(receivers, host)
                        .replace("http://127.0.0.1:10274/webhook", &remediators.url())
                        .replace(
                            "/etc/prometheus/webhook.token",
                            &token.display().to_string(),
                        )
                })
                .collect();
        }
        let alertmanager = Alertmanager::start_with(&dir, &changes, Options::default()).unwrap();
        let config = fs::read_to_string(dir.join("alertmanager.yml")).unwrap();
        let lines = config.lines().filter(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        Self {
            what,
            alertmanager,
            hosts,
            config_lines: lines.count(),
            polls: Arc::default(),
            remediators,
            _person: person,
        }
    }

    fn used(&self) -> Used {
        let pid = self.alertmanager.process.pid();
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let stat = read("stat");
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        let io = read("io");
        let sent = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        Used {
            cpu: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
            sent: sent.unwrap().parse().unwrap(),
            posts: self.remediators.sent().len(),
        }
    }

    /// Posts the alerts, as Prometheus does.
    fn post(&self) {
        for batch in alerts(self.hosts).chunks(BATCH) {
            self.alertmanager.post(batch.to_vec()).unwrap();
        }
    }

    /// Polls as `serve` does, from now on.
    fn poll(&self, stop: &Arc<AtomicBool>) {
        let settings = settings(self.alertmanager.url());
        for host in 0..HOSTS {
            let poller = Poller::new(settings.resolve(&Simulated(name(host))).unwrap());
            let (polls, stop) = (Arc::clone(&self.polls), Arc::clone(stop));
            let expected = if host < self.hosts { TIERS.len() } else { 0 };
            // As if it had been running for some time.
            let mut poll = (random() * f64::from(ALL_HOSTS_EVERY)) as u32;
            tokio::spawn(async move {
                let mut busy = 0u32;
                tokio::time::sleep(poller.pause(0, 0.5).mul_f64(random())).await;
                while !stop.load(Ordering::Relaxed) {
                    match ask(&poller, false, expected, &polls).await {
                        true => busy += 1,
                        false => busy = 0,
                    }
                    poll += 1;
                    if expected == 0 && poll.is_multiple_of(ALL_HOSTS_EVERY) {
                        ask(&poller, true, 0, &polls).await;
                    }
                    tokio::time::sleep(poller.pause(busy, random())).await;
                }
            });
        }
    }
}

/// Polls once; whether Alertmanager was busy. An answer without the alerts that it must hold has
/// failed.
async fn ask(poller: &Poller, all_hosts: bool, expected: usize, polls: &Mutex<Polls>) -> bool {
    let began = Instant::now();
    let answers = poller.poll(all_hosts).await;
    let took = began.elapsed().as_secs_f64() * 1e3;
    let wrong = answers.into_iter().find_map(|answer| match answer {
        Ok(alerts) if alerts.len() == expected || (all_hosts && !alerts.is_empty()) => None,
        Ok(alerts) => Some(format!("{} alerts, not {expected}", alerts.len())),
        Err(error) => Some(error.to_string()),
    });
    let mut polls = polls.lock().unwrap();
    polls.took.push(took);
    match wrong {
        Some(error) if error.ends_with("503") => {
            polls.turned_away += 1;
            return true;
        }
        wrong => polls.failed.extend(wrong),
    }
    false
}

/// The shipped route or receiver of the remediator, for one host.
fn of_host(shipped: &str, host: usize) -> String {
    let matcher = format!("matchers: ['instance=\"{}:10273\"', ", name(host));
    let lines = shipped.lines().filter(|line| !line.trim().starts_with('#'));
    lines
        .map(|line| {
            let line = line.replace("matchers: [", &matcher);
            line.replace("baileys_remediator", &format!("remediator-{}", name(host))) + "\n"
        })
        .collect()
}

/// From 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

fn report(measured: &[Measured], used: &[(Used, Used)], minutes: f64) -> String {
    let mut text = format!(
        "{HOSTS} hosts for {:.0} s, {} alerts of the ladder for each host that has some:\n\n\
         | Alertmanager | lines of its configuration | processor seconds a minute | ratio | requests a second | MB sent a minute | answered in, median | 99 % within | answered with 503 |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        minutes * 60.0,
        TIERS.len(),
    );
    let cpu = |(before, after): &(Used, Used)| (after.cpu - before.cpu) / minutes;
    for (one, used_by_it) in measured.iter().zip(used) {
        let mut polls = one.polls.lock().unwrap();
        assert_eq!(polls.failed, Vec::<String>::new(), "{}", one.what);
        polls.took.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let at = (polls.took.len() as f64 * part) as usize;
            let took = polls.took.get(at);
            took.map_or_else(String::new, |ms| format!("{ms:.1} ms"))
        };
        let (before, after) = used_by_it;
        let requests = polls.took.len() + after.posts - before.posts;
        writeln!(
            text,
            "| {} | {} | {:.2} | {:.1} | {:.1} | {:.2} | {} | {} | {} |",
            one.what,
            one.config_lines,
            cpu(used_by_it),
            cpu(used_by_it) / cpu(&used[0]),
            requests as f64 / minutes / 60.0,
            (after.sent - before.sent) / minutes / 1e6,
            at(0.5),
            at(0.99),
            match polls.took.len() {
                0 => String::new(),
                all => format!("{:.2} %", 100.0 * polls.turned_away as f64 / all as f64),
            },
        )
        .unwrap();
    }
    text
}

/// Lets so much time pass, and posts the alerts to all once a minute.
async fn pass(measured: &[Measured], span: Duration) {
    let began = Instant::now();
    while began.elapsed() < span {
        measured.iter().for_each(Measured::post);
        let left = span.saturating_sub(began.elapsed());
        tokio::time::sleep(left.min(Duration::from_secs(60))).await;
    }
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap()
}

fn main() {
    let short = std::env::var("BENCH_FLEET_SECONDS").ok();
    let seconds = short.as_ref().map_or(SECONDS, |text| text.parse().unwrap());
    println!("load average before: {}", load().trim());
    let dir = tempfile::Builder::new()
        .prefix("baileys-bench-")
        .tempdir()
        .unwrap();
    let start = |what: &str, hosts, has_routes| {
        Measured::start(dir.path(), what.to_owned(), hosts, has_routes)
    };
    let measured = [
        start("not polled", HOSTS, false),
        start("polled by all, all have alerts", HOSTS, false),
        start("polled by all, half of them have alerts", HOSTS / 2, false),
        start("polled by all, 10 of them have alerts", 10, false),
        start("posts, with a route for each host", HOSTS, true),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (used, minutes) = runtime.block_on(async {
        for one in &measured {
            while one.alertmanager.ready().is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // All first notifications are out by then, and all hosts have polled.
        println!("warming up for a minute, then measuring for {seconds} s");
        measured.iter().for_each(Measured::post);
        for one in &measured[1..4] {
            one.poll(&stop);
        }
        pass(&measured, Duration::from_secs(60)).await;
        let before: Vec<Used> = measured.iter().map(Measured::used).collect();
        for one in &measured {
            *one.polls.lock().unwrap() = Polls::default();
        }
        let began = Instant::now();
        pass(&measured, Duration::from_secs(seconds)).await;
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        let after = measured.iter().map(Measured::used);
        let used: Vec<_> = before.into_iter().zip(after).collect();
        stop.store(true, Ordering::Relaxed);
        (used, minutes)
    });
    runtime.shutdown_background();
    let table = report(&measured, &used, minutes);
    println!("load average after: {}\n\n{table}", load().trim());
    if short.is_none() {
        write_table("make bench-fleet", &table);
        println!("written to docs/performance.md");
    }
}
