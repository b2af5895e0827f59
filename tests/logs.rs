//! What `baileys_exporter` counts in logs that are written at full speed and rotated in every
//! style, while it is killed and started again: each line exactly once.
//!
//! `SOAK_SECONDS=600` lengthens the long run (`make soak`); `SOAK_STYLES=rename-create,gap…`
//! narrows it to some styles, and `SOAK_KILLS=no` leaves the exporter alone, to look into a
//! failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use testkit::net::{self, Metrics};
use testkit::process::{self, Process};
use testkit::rotation::{self, Board, Glob, STYLES, Site, Style, Tally, Writer};
use testkit::stack::INSTALL;
use testkit::{Patience, Result};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const LINES: &str = "baileys_auth_log_lines_total";
const MATCHES: &str = "baileys_auth_signal_warnings_total";
const TRUNCATIONS: &str = "baileys_exporter_log_truncations_total";
const COMMITTED: &str = "baileys_exporter_log_last_commit_timestamp_seconds";
const UNREAD: &str = "baileys_exporter_log_unread_bytes";
/// These must never be less than they were.
const COUNTERS: [&str; 6] = [
    LINES,
    MATCHES,
    "baileys_auth_log_secret_lines_total",
    "baileys_exporter_log_lines_unplaced_total",
    "baileys_exporter_log_overlong_lines_total",
    TRUNCATIONS,
];
/// How long it may take to read what is there. So long only on a machine that is busy with other
/// things: 5,000 files take 10 seconds on two free cores in a debug build.
const READ_WITHIN: Duration = Duration::from_secs(300);
/// For so long nothing may be added to counts that are right: longer than anything may wait.
const STILL: Duration = Duration::from_secs(15);
/// The same within a test.
const STILL_SHORT: Duration = Duration::from_secs(3);
/// No more of the machine's memory than this, whatever is in a log. A scrape of 2,500 sessions
/// builds 38 series of patterns for each.
const MEMORY: u64 = 200 << 20;

/// Of lines that are all alike so many of a hundred are counted at least. Two generations of
/// such a log that end between two looks are told from each other by nothing, and then one of
/// them is not counted: on a busy machine that happens now and then to the log that is renamed
/// every 700 ms, and with each restart of the exporter.
const LEAST_OF_ALIKE: u64 = 90;
/// The same while the exporter is killed every few seconds.
const LEAST_OF_ALIKE_KILLED: u64 = 10;
/// And so many at most: killed on a busy machine while a copy is made, the exporter may take the
/// copy of such a log for another generation. Of all other logs no line counts twice.
const MOST_OF_ALIKE_KILLED: u64 = 102;

/// An exporter that is stopped and started again with the same state.
struct Exporter {
    dir: tempfile::TempDir,
    port: u16,
    flags: Vec<String>,
    process: Option<Process>,
    starts: usize,
    spawned: SystemTime,
    peak_memory: u64,
}

impl Exporter {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("baileys-logs-")
            .tempdir()
            .unwrap();
        for inside in ["sessions", "logs", "all", "one"] {
            fs::create_dir(dir.path().join(inside)).unwrap();
        }
        // The sessions have no folders here.
        fs::write(dir.path().join("config.yml"), "logs: {sessions: ['*']}\n").unwrap();
        let port = net::free_port(None).unwrap();
        Self {
            dir,
            port,
            flags: Vec::new(),
            process: None,
            starts: 0,
            spawned: UNIX_EPOCH,
            peak_memory: 0,
        }
    }

    /// Follows `*.log` in [`Self::logs`].
    fn following_logs() -> Self {
        let mut exporter = Self::new();
        exporter.follow(&exporter.logs().join("*.log"));
        exporter
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    fn follow(&mut self, glob: &Path) {
        self.flags.push(format!("--logs.path={}", glob.display()));
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Starts it and does not wait.
    fn spawn(&mut self) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut args = vec![
            format!("--sessions.path={}", path("sessions")),
            format!("--config.file={}", path("config.yml")),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            format!("--logs.state-path={}", path("state")),
        ];
        args.extend(self.flags.iter().cloned());
        self.starts += 1;
        self.spawned = SystemTime::now();
        let log = self
            .dir
            .path()
            .join(format!("exporter-{}.txt", self.starts));
        self.process =
            Some(Process::start("baileys_exporter", Path::new(EXPORTER), args, &log).unwrap());
    }

    fn start(&mut self) {
        self.spawn();
        let (ready, process) = (self.url("/-/ready"), self.process.as_mut().unwrap());
        let answered =
            Patience::new(READ_WITHIN).wait_until(READ_WITHIN, "the exporter is ready", || {
                match process.alive() {
                    Ok(()) => net::get(&ready)?.ok().map(|_| Ok(())),
                    Err(ended) => Ok(Err(ended)),
                }
            });
        answered.and_then(|alive| alive).unwrap();
    }

    /// The most memory that it ever had, without the pages of the program's file, which is large
    /// in a debug build.
    fn note_memory(&mut self) {
        let Some(process) = &self.process else { return };
        let status =
            fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap_or_default();
        let kilobytes = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let number = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
            number.unwrap_or_default()
        };
        let own = kilobytes("VmHWM:").saturating_sub(kilobytes("RssFile:"));
        self.peak_memory = self.peak_memory.max(own << 10);
    }

    fn kill(&mut self) {
        self.note_memory();
        if let Some(mut process) = self.process.take() {
            process.alive().unwrap();
            process.kill();
        }
    }

    /// Stops it as systemd does.
    fn stop(&mut self) {
        self.note_memory();
        if let Some(mut process) = self.process.take() {
            process.alive().unwrap();
            process.stop();
        }
    }

    fn scrape(&self) -> Result<Metrics> {
        Metrics::scrape(&self.url("/metrics"))
    }

    /// Whether it has looked at all files since its start, and saved what it counted.
    fn has_looked(&self) -> bool {
        let spawned = self.spawned.duration_since(UNIX_EPOCH).unwrap();
        let committed = self.scrape().and_then(|all| all.sum(COMMITTED, &[]));
        committed.is_ok_and(|at| at > spawned.as_secs_f64())
    }

    fn number(&self, metric: &str) -> f64 {
        self.scrape().unwrap().sum(metric, &[]).unwrap()
    }

    /// Waits until the counts of these sessions are right and nothing is unread, and watches
    /// for a while that they stay so. Nothing may be counted for any other session.
    fn settle(&mut self, expected: &BTreeMap<String, Expected>, still: Duration) -> Result<()> {
        let patience = Patience::new(READ_WITHIN + still);
        let check = |exporter: &Self| {
            let metrics = exporter.scrape()?;
            let differences = differences(&metrics, expected);
            let number = |metric: &str| metrics.sum(metric, &[]).unwrap_or(f64::NAN);
            match differences.is_empty() && number(UNREAD) == 0.0 {
                true => Ok(()),
                false => Err(format!(
                    "{differences:#?}, unread bytes {}, truncations {}, read errors {}",
                    number(UNREAD),
                    number(TRUNCATIONS),
                    number("baileys_exporter_log_read_errors_total"),
                )),
            }
        };
        patience.wait_until(READ_WITHIN, "every line is counted once", || check(self))?;
        patience.holds_for(still, "it stays so", || check(self))?;
        self.note_memory();
        match self.peak_memory < MEMORY {
            true => Ok(()),
            false => Err(format!("{} bytes of memory", self.peak_memory)),
        }
    }

    /// The same, for a test that ends when it is not so.
    fn settles(&mut self, expected: &BTreeMap<String, Expected>) {
        self.settle(expected, STILL_SHORT)
            .unwrap_or_else(|failure| panic!("{failure}\n{}", self.said()));
    }

    /// The end of its own log.
    fn said(&self) -> String {
        self.process
            .as_ref()
            .map(|process| process.log_tail(20))
            .unwrap_or_default()
    }

    /// Its own log never repeats what is in a bot's.
    fn assert_discreet(&self) {
        for start in 1..=self.starts {
            let log = fs::read(self.dir.path().join(format!("exporter-{start}.txt"))).unwrap();
            let log = String::from_utf8_lossy(&log);
            for part in ["\"n\":", "Bad MAC Error", "prekey bundle", "/opt/bot"] {
                assert!(!log.contains(part), "the exporter's log repeats a line");
            }
        }
    }
}

/// What must be counted for a session: between these.
#[derive(Clone, Debug)]
struct Expected {
    least: Tally,
    most: Tally,
}

impl Expected {
    fn exactly(tally: Tally) -> Self {
        Self {
            least: tally.clone(),
            most: tally,
        }
    }
}

/// Every line that was written to these.
fn everything<'a>(sites: impl IntoIterator<Item = &'a Site>) -> BTreeMap<String, Expected> {
    let all = sites.into_iter();
    all.map(|site| (site.session.clone(), Expected::exactly(site.written())))
        .collect()
}

/// So many of a hundred.
fn share(all: &Tally, percent: u64) -> Tally {
    let of = |count: u64| count * percent / 100;
    Tally {
        lines: of(all.lines),
        matches: all
            .matches
            .iter()
            .map(|(name, count)| (*name, of(*count)))
            .collect(),
    }
}

/// Counter values of one metric, by session, and by pattern where it has that label.
type Counts = BTreeMap<(String, String), u64>;

fn counts(metrics: &Metrics, name: &str) -> Counts {
    let label =
        |sample: &net::Sample, name: &str| sample.labels.get(name).cloned().unwrap_or_default();
    metrics
        .having(name, &[])
        .map(|sample| {
            (
                (label(sample, "session"), label(sample, "pattern")),
                sample.value as u64,
            )
        })
        .collect()
}

fn differences(metrics: &Metrics, expected: &BTreeMap<String, Expected>) -> Vec<String> {
    compare(&counts(metrics, LINES), &counts(metrics, MATCHES), expected)
}

fn compare(lines: &Counts, matches: &Counts, expected: &BTreeMap<String, Expected>) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: String, seen: Option<u64>, least: u64, most: u64| match seen {
        Some(seen) if (least..=most).contains(&seen) => {}
        seen if least == most => found.push(format!("{what}: {seen:?}, expected {most}")),
        seen => found.push(format!("{what}: {seen:?}, expected {least} to {most}")),
    };
    for (session, expected) in expected {
        let seen = lines.get(&(session.clone(), String::new())).copied();
        check(
            format!("{session} lines"),
            seen,
            expected.least.lines,
            expected.most.lines,
        );
        for (pattern, most) in &expected.most.matches {
            let seen = matches
                .get(&(session.clone(), (*pattern).to_owned()))
                .copied();
            check(
                format!("{session} {pattern}"),
                seen,
                expected.least.matches[pattern],
                *most,
            );
        }
    }
    let known = |(session, pattern): &(String, String)| {
        let of = expected.get(session);
        of.is_some_and(|of| pattern.is_empty() || of.most.matches.contains_key(pattern.as_str()))
    };
    for ((session, pattern), seen) in lines
        .iter()
        .chain(matches)
        .filter(|(labels, _)| !known(labels))
    {
        check(
            format!("{session} {pattern} was never written"),
            Some(*seen),
            0,
            0,
        );
    }
    found
}

/// A small source of randomness.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        Self(RandomState::new().hash_one(Instant::now()))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn span(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }
}

/// A Prometheus that scrapes one target each second.
struct Prometheus {
    _process: Process,
    port: u16,
    began: Instant,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: u16) -> Self {
        let program =
            process::find(&["prometheus"]).unwrap_or_else(|| panic!("no prometheus; {INSTALL}"));
        let dir = tempfile::Builder::new()
            .prefix("baileys-prometheus-")
            .tempdir()
            .unwrap();
        let (port, began) = (net::free_port(None).unwrap(), Instant::now());
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: bots, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        );
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let args = [
            format!("--config.file={}", path("prometheus.yml")),
            format!("--storage.tsdb.path={}", path("data")),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let process =
            Process::start("prometheus", &program, args, &dir.path().join("log")).unwrap();
        Self {
            _process: process,
            port,
            began,
            _dir: dir,
        }
    }

    /// An instant query: value by session and pattern.
    fn query(&self, promql: &str, at: Option<f64>) -> Result<BTreeMap<(String, String), f64>> {
        let time = at.map(|at| format!("&time={at:.3}")).unwrap_or_default();
        let query = net::encode(promql);
        let url = format!(
            "http://127.0.0.1:{}/api/v1/query?query={query}{time}",
            self.port
        );
        let answer: Value =
            serde_json::from_str(&net::get(&url)?.ok()?).map_err(|e| e.to_string())?;
        let result = answer["data"]["result"]
            .as_array()
            .ok_or("prometheus: no result")?;
        let sample = |sample: &Value| {
            let label = |name: &str| {
                sample["metric"][name]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            let value = sample["value"][1].as_str()?.parse().ok()?;
            Some(((label("session"), label("pattern")), value))
        };
        result
            .iter()
            .map(sample)
            .collect::<Option<_>>()
            .ok_or_else(|| "prometheus: no vector".to_owned())
    }

    /// Sessions it has samples of.
    fn sessions(&self) -> Result<BTreeSet<String>> {
        let seen = self.query(
            &format!("count by (session) (count_over_time({LINES}[2h]))"),
            None,
        )?;
        Ok(seen.into_keys().map(|(session, _)| session).collect())
    }

    /// `increase()` and `resets()` from before the first sample to exactly the last one: with
    /// a counter that begins at 0 there is nothing to extrapolate.
    fn increases(&self, metric: &str) -> Counts {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let range = self.began.elapsed().as_secs() + 60;
        let ask = |promql: String, at: f64| self.query(&promql, Some(at)).unwrap();
        let last = ask(format!("timestamp({metric})"), now);
        let at = last.values().copied().fold(0.0, f64::max);
        assert!(
            last.values().all(|last| *last == at),
            "not every series of {metric} is still scraped"
        );
        for (what, promql) in [
            (
                "begins above 0",
                format!("min_over_time({metric}[{range}s]) > 0"),
            ),
            ("was reset", format!("resets({metric}[{range}s]) > 0")),
        ] {
            let bad = ask(promql, at);
            assert!(bad.is_empty(), "{metric} {what}: {bad:?}");
        }
        let increases = ask(format!("increase({metric}[{range}s])"), at);
        assert!(
            increases.values().all(|value| value.fract() == 0.0),
            "{metric} is extrapolated"
        );
        increases
            .into_iter()
            .map(|(labels, value)| (labels, value as u64))
            .collect()
    }
}

fn soak() -> Option<Duration> {
    let seconds = std::env::var("SOAK_SECONDS").ok()?;
    Some(Duration::from_secs(
        seconds.parse().expect("SOAK_SECONDS is a number"),
    ))
}

/// Watches `/metrics` all the time. Returns what it found wrong, and the number of scrapes.
fn watch(
    url: &str,
    prometheus: &Prometheus,
    sites: &[(Style, Site)],
    board: &Board,
    end: &AtomicBool,
) -> (Vec<String>, u64) {
    let (mut wrong, mut scrapes) = (BTreeSet::new(), 0);
    let mut before: BTreeMap<(&str, String), f64> = BTreeMap::new();
    while !end.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(50));
        if let Ok(stored) = prometheus.sessions() {
            board.store(stored);
        }
        // It is down now and then.
        let Ok(metrics) = Metrics::scrape(url) else {
            continue;
        };
        scrapes += 1;
        for counter in COUNTERS {
            for sample in metrics.having(counter, &[]) {
                let labels: Vec<&str> = sample.labels.values().map(String::as_str).collect();
                let key = (counter, labels.join(" "));
                let seen = before.insert(key.clone(), sample.value).unwrap_or(0.0);
                if seen > sample.value {
                    wrong.insert(format!(
                        "{} {} went from {seen} back to {}",
                        key.0, key.1, sample.value
                    ));
                }
            }
        }
        let lines = counts(&metrics, LINES);
        for (style, site) in sites {
            let counted = lines
                .get(&(site.session.clone(), String::new()))
                .copied()
                .unwrap_or(0);
            let begun = site.begun();
            let may_be = if style.same {
                begun * MOST_OF_ALIKE_KILLED / 100
            } else {
                begun
            };
            if counted > may_be {
                wrong.insert(format!(
                    "{}: {counted} lines while {begun} were begun",
                    site.session
                ));
            }
        }
        board.show(
            lines
                .into_iter()
                .map(|((session, _), lines)| (session, lines))
                .collect(),
        );
    }
    (wrong.into_iter().collect(), scrapes)
}

/// Kills the exporter at random moments and starts it again, until `done`. Returns how often.
/// All but the kills within its start leave it time for a first look, however slow the machine
/// is: a log that is never read for long loses what its rotations remove.
fn torment(exporter: &mut Exporter, kill: bool, mut done: impl FnMut() -> bool) -> u64 {
    let (mut chance, mut kills) = (Chance::new(), 0);
    let mut wait = |span: Duration, until: &dyn Fn() -> bool| {
        let end = Instant::now() + span;
        while Instant::now() < end && !done() && !until() {
            sleep(Duration::from_millis(20));
        }
        done()
    };
    let never = || false;
    loop {
        let up = match chance.below(12) {
            0..3 => chance.span(20, 400),
            life => {
                wait(READ_WITHIN, &|| exporter.has_looked());
                match life {
                    // Long enough for what it does after a while.
                    3 => chance.span(12_000, 15_000),
                    _ => chance.span(400, 5000),
                }
            }
        };
        if wait(up, &never) {
            return kills;
        }
        if !kill {
            continue;
        }
        exporter.kill();
        kills += 1;
        wait(chance.span(0, 900), &never);
        exporter.spawn();
    }
}

/// Says that it is over, also when a test fails: threads wait for that.
struct Over<'a>([&'a AtomicBool; 2]);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0
            .iter()
            .for_each(|flag| flag.store(true, Ordering::SeqCst));
    }
}

#[test]
fn every_line_is_counted_once_in_every_style_while_the_exporter_is_killed() {
    let span = soak().unwrap_or(Duration::from_secs(60));
    let mut exporter = Exporter::following_logs();
    let (stop, board): (Arc<AtomicBool>, Arc<Board>) = Default::default();
    let wanted = std::env::var("SOAK_STYLES").ok();
    let is_wanted = |style: &Style| match wanted.as_deref() {
        Some(all) => all.split(',').any(|one| one == style.name),
        None => true,
    };
    let sites: Vec<(Style, Site)> = STYLES
        .into_iter()
        .filter(is_wanted)
        .map(|style| {
            let inside = match style.glob {
                Glob::Shared => "logs",
                Glob::All => "all",
                Glob::One => "one",
            };
            let dir = exporter.dir.path().join(inside);
            let site = Site::new(&dir, style.name, style.stream, stop.clone(), board.clone());
            let site = if style.same {
                site.of_same_lines()
            } else {
                site
            };
            match style.glob {
                Glob::Shared => {}
                Glob::All => exporter.follow(&dir.join(format!("{}*", site.session))),
                Glob::One => exporter.follow(&site.path),
            }
            if style.there {
                File::create_new(&site.path).unwrap();
            }
            (style, site)
        })
        .collect();
    let there: Vec<&str> = sites
        .iter()
        .filter(|(style, _)| style.there)
        .map(|(style, _)| style.name)
        .collect();
    let kill = std::env::var("SOAK_KILLS").as_deref() != Ok("no");
    exporter.start();
    let prometheus = Prometheus::start(exporter.port);
    let (url, over) = (exporter.url("/metrics"), AtomicBool::new(false));

    std::thread::scope(|scope| {
        let ended = Over([&stop, &over]);
        let watcher = scope.spawn(|| watch(&url, &prometheus, &sites, &board, &over));
        // Every series is at 0 in the Prometheus before the first line is written.
        Patience::new(READ_WITHIN)
            .wait_until(
                READ_WITHIN,
                "Prometheus has every session at 0",
                || match there.iter().find(|session| !board.stored(session)) {
                    None => Ok(()),
                    Some(session) => Err(format!("nothing of {session}")),
                },
            )
            .unwrap_or_else(|failure| panic!("{failure}\n{}", exporter.said()));

        let began = Instant::now();
        let writers: Vec<_> = sites
            .iter()
            .map(|(style, site)| scope.spawn(|| style.run(site)))
            .collect();
        // Some styles wait for the counts, so the killing goes on until all are done.
        let kills = torment(&mut exporter, kill, || {
            let failed = writers.iter().any(|writer| writer.is_finished());
            if began.elapsed() > span || failed {
                stop.store(true, Ordering::SeqCst);
            }
            writers.iter().all(|writer| writer.is_finished())
        });
        let failed: Vec<String> = writers
            .into_iter()
            .filter_map(|writer| writer.join().unwrap().err())
            .collect();

        let expected: BTreeMap<String, Expected> = sites
            .iter()
            .map(|(style, site)| {
                let least = match (style.same && !style.exact, kills) {
                    (false, _) => site.survived(),
                    (true, 0) => share(&site.written(), LEAST_OF_ALIKE),
                    (true, _) => share(&site.written(), LEAST_OF_ALIKE_KILLED),
                };
                let most = match (style.same, kills) {
                    (false, _) | (true, 0) => site.written(),
                    (true, _) => share(&site.written(), MOST_OF_ALIKE_KILLED),
                };
                (site.session.clone(), Expected { least, most })
            })
            .collect();
        let settled = exporter.settle(&expected, STILL);
        say(&table(&exporter, &sites, kills));
        if let Err(failure) = settled {
            panic!("{failure}\n{failed:#?}\n{}", exporter.said());
        }
        assert!(failed.is_empty(), "{failed:#?}");

        // Two more scrapes of what stands still.
        sleep(Duration::from_secs(2));
        let metrics = exporter.scrape().unwrap();
        for metric in [LINES, MATCHES] {
            let (shown, increases) = (counts(&metrics, metric), prometheus.increases(metric));
            assert!(
                shown == increases,
                "increase() of {metric}: {increases:?}, counted {shown:?}"
            );
        }
        let truncations = metrics.sum(TRUNCATIONS, &[]).unwrap();
        assert!(truncations > 0.0 || wanted.is_some());
        drop(ended);
        let (wrong, scrapes) = watcher.join().unwrap();
        say(&format!(
            "{kills} kills, {scrapes} scrapes, {truncations} truncations seen, {} MB of memory at most\n",
            exporter.peak_memory >> 20
        ));
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(
            (kills > 0 || !kill) && scrapes > 0,
            "{kills} kills, {scrapes} scrapes"
        );
    });
    exporter.assert_discreet();
}

/// Shown always, also when the test succeeds.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// What was written and what was counted.
fn table(exporter: &Exporter, sites: &[(Style, Site)], kills: u64) -> String {
    let lines = exporter
        .scrape()
        .map(|metrics| counts(&metrics, LINES))
        .unwrap_or_default();
    let mut text = format!(
        "\n{:<30} {:>12} {:>12} {:>12} {:>10} {:>6}\n",
        "style", "written", "survived", "counted", "rotations", "kills"
    );
    for (style, site) in sites {
        let counted = lines.get(&(site.session.clone(), String::new())).copied();
        let counted = counted.map_or("nothing".to_owned(), |counted| counted.to_string());
        let (written, survived) = (site.written().lines, site.survived().lines);
        let rotations = site.rotations();
        text += &format!(
            "{:<30} {written:>12} {survived:>12} {counted:>12} {rotations:>10} {kills:>6}\n",
            style.name
        );
    }
    text
}

/// The steps of a rotation, one file each, so that the exporter can be away between any two.
struct Slow<'a> {
    site: &'a Site,
    old: Option<Writer<'a>>,
    log: Writer<'a>,
    rotated: PathBuf,
}

type Step = fn(&mut Slow);

const LINES_A_STEP: u64 = 70;

fn write_some(slow: &mut Slow) {
    slow.log.burst(LINES_A_STEP).unwrap();
}

fn write_old(slow: &mut Slow) {
    slow.old.as_mut().unwrap().burst(LINES_A_STEP).unwrap();
}

fn rename_away(slow: &mut Slow) {
    slow.rotated = slow.site.rotated();
    fs::rename(&slow.site.path, &slow.rotated).unwrap();
}

fn reopen(slow: &mut Slow) {
    slow.old = Some(std::mem::replace(&mut slow.log, slow.site.open().unwrap()));
}

fn copy(slow: &mut Slow) {
    slow.rotated = slow.site.rotated();
    fs::copy(&slow.site.path, &slow.rotated).unwrap();
}

fn copy_half(slow: &mut Slow) {
    slow.rotated = slow.site.pm2_rotated();
    let bytes = fs::read(&slow.site.path).unwrap();
    fs::write(&slow.rotated, &bytes[..bytes.len() / 2]).unwrap();
}

fn copy_rest(slow: &mut Slow) {
    let bytes = fs::read(&slow.site.path).unwrap();
    let have = fs::metadata(&slow.rotated).unwrap().len() as usize;
    File::options()
        .append(true)
        .open(&slow.rotated)
        .unwrap()
        .write_all(&bytes[have..])
        .unwrap();
}

fn truncate(slow: &mut Slow) {
    rotation::truncate(&slow.site.path).unwrap();
}

fn link(slow: &mut Slow) {
    slow.rotated = slow.site.rotated();
    fs::hard_link(&slow.site.path, &slow.rotated).unwrap();
}

fn rename_new_over(slow: &mut Slow) {
    let new = slow.site.beside(".new");
    let opened = Writer::at(slow.site, &new).unwrap();
    fs::rename(new, &slow.site.path).unwrap();
    slow.old = Some(std::mem::replace(&mut slow.log, opened));
}

const ROTATIONS: [(&str, [Step; 7]); 4] = [
    (
        "rename",
        [
            write_some,
            rename_away,
            write_some,
            reopen,
            write_some,
            write_old,
            write_some,
        ],
    ),
    (
        "copytruncate",
        [
            write_some, copy, truncate, write_some, write_some, write_some, write_some,
        ],
    ),
    (
        "hardlink",
        [
            write_some,
            link,
            write_some,
            rename_new_over,
            write_old,
            write_some,
            write_some,
        ],
    ),
    (
        "pm2",
        [
            write_some, copy_half, write_some, copy_rest, truncate, write_some, write_some,
        ],
    ),
];

#[test]
fn a_restart_in_the_middle_of_a_rotation() {
    let mut exporter = Exporter::following_logs();
    let sites: Vec<Site> = ROTATIONS
        .iter()
        .map(|(name, _)| Site::alone(&exporter.logs(), name))
        .collect();
    let mut slow: Vec<Slow> = sites
        .iter()
        .map(|site| Slow {
            site,
            old: None,
            log: site.open().unwrap(),
            rotated: PathBuf::new(),
        })
        .collect();
    let mut chance = Chance::new();
    exporter.start();
    // Down from before step `from` to before step `to`.
    for from in 0..7 {
        for to in from..=7 {
            for step in 0..7 {
                if step == from && from != to {
                    sleep(chance.span(0, 150));
                    if chance.below(3) == 0 {
                        exporter.stop()
                    } else {
                        exporter.kill()
                    }
                }
                if step == to && from != to {
                    exporter.start();
                }
                for (slow, (_, steps)) in slow.iter_mut().zip(&ROTATIONS) {
                    steps[step](slow);
                }
                if from == to {
                    sleep(chance.span(0, 300));
                }
            }
            if to == 7 {
                exporter.start();
            }
            // Everything is read before the next one, or two rotations would be missed.
            let (expected, patience) = (everything(&sites), Patience::new(READ_WITHIN));
            let read = patience.wait_until(
                Duration::from_secs(20),
                "every line is counted once",
                || match differences(&exporter.scrape()?, &expected) {
                    differences if differences.is_empty() => Ok(()),
                    differences => Err(format!("{differences:#?}")),
                },
            );
            if let Err(failure) = read {
                panic!(
                    "down from before step {from} to before step {to}: {failure}\n{}",
                    exporter.said()
                );
            }
        }
    }
    exporter.settles(&everything(&sites));
    exporter.assert_discreet();
}

#[test]
fn what_happens_while_the_exporter_is_away() {
    let mut exporter = Exporter::following_logs();
    let logs = exporter.logs();
    let names = [
        "plain",
        "renamed",
        "shifted",
        "linked",
        "copied",
        "streamed",
        "packed",
        "recreated",
    ];
    let sites: Vec<Site> = names.iter().map(|name| Site::alone(&logs, name)).collect();
    for site in &sites {
        File::create_new(&site.path).unwrap();
    }
    exporter.start();
    for round in 0..4 {
        for site in &sites {
            site.open().unwrap().burst(400).unwrap();
        }
        if round == 0 {
            exporter.settles(&everything(&sites));
        }
        if round % 2 == 0 {
            // All of it is read, for two of the styles lose what was not.
            let expected = everything(&sites);
            Patience::new(READ_WITHIN)
                .wait_until(READ_WITHIN, "read", || {
                    match differences(&exporter.scrape()?, &expected) {
                        differences if differences.is_empty() => Ok(()),
                        differences => Err(format!("{differences:#?}")),
                    }
                })
                .unwrap();
            exporter.kill();
        } else {
            exporter.stop();
        }
        for (name, site) in names.iter().zip(&sites) {
            if round % 2 == 1 && *name == "recreated" {
                // What was not read is gone with the file.
                continue;
            }
            // Twice, and lines before, between and after.
            for _ in 0..2 {
                let mut log = site.open().unwrap();
                if *name != "recreated" {
                    log.burst(400).unwrap();
                }
                match *name {
                    "plain" => {}
                    "renamed" => fs::rename(&site.path, site.rotated()).unwrap(),
                    "shifted" => fs::rename(&site.path, site.shift().unwrap()).unwrap(),
                    "linked" => {
                        fs::hard_link(&site.path, site.rotated()).unwrap();
                        let new = site.beside(".new");
                        File::create_new(&new).unwrap();
                        fs::rename(new, &site.path).unwrap();
                    }
                    "copied" => {
                        fs::copy(&site.path, site.rotated()).unwrap();
                        rotation::truncate(&site.path).unwrap();
                    }
                    "streamed" => {
                        fs::copy(&site.path, site.pm2_rotated()).unwrap();
                        rotation::truncate(&site.path).unwrap();
                    }
                    "packed" => {
                        let old = site.rotated();
                        fs::rename(&site.path, &old).unwrap();
                        let mut packed = old.clone().into_os_string();
                        packed.push(".gz");
                        rotation::gzip(&old, Path::new(&packed)).unwrap();
                        fs::remove_file(&old).unwrap();
                    }
                    _ => {
                        // The second time nothing is in it.
                        fs::remove_file(&site.path).unwrap();
                    }
                }
                site.open().unwrap();
            }
            site.open().unwrap().burst(400).unwrap();
        }
        exporter.start();
        exporter.settles(&everything(&sites));
    }
    exporter.assert_discreet();
}

#[test]
fn an_emptied_log_counts_as_one_with_or_without_a_copy() {
    let mut exporter = Exporter::following_logs();
    let sites = ["copied", "flushed"].map(|name| Site::alone(&exporter.logs(), name));
    exporter.start();
    for site in &sites {
        site.open().unwrap().burst(300).unwrap();
    }
    exporter.settles(&everything(&sites));
    let truncations = |exporter: &Exporter| {
        let metrics = exporter.scrape().unwrap();
        ["found", "missing"].map(|copy| metrics.sum(TRUNCATIONS, &[("copy", copy)]).unwrap())
    };
    assert_eq!(truncations(&exporter), [0.0, 0.0]);
    fs::copy(&sites[0].path, sites[0].rotated()).unwrap();
    for site in &sites {
        rotation::truncate(&site.path).unwrap();
        site.open().unwrap().burst(50).unwrap();
    }
    let counted =
        Patience::new(READ_WITHIN).wait_until(
            READ_WITHIN,
            "both are counted",
            || match truncations(&exporter) {
                [1.0, 1.0] => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
    counted.unwrap_or_else(|failure| panic!("{failure}\n{}", exporter.said()));
    // Everything had been read: one is missing a copy, and not a line.
    exporter.settles(&everything(&sites));
    assert_eq!(truncations(&exporter), [1.0, 1.0]);
}

#[test]
fn counts_that_cannot_be_saved_stand_still_and_catch_up() {
    let mut exporter = Exporter::following_logs();
    let site = Site::alone(&exporter.logs(), "bot");
    exporter.start();
    site.open().unwrap().burst(500).unwrap();
    exporter.settles(&everything([&site]));
    let shown = |exporter: &Exporter| {
        let metrics = exporter.scrape().unwrap();
        (counts(&metrics, LINES), counts(&metrics, MATCHES))
    };
    let before = shown(&exporter);
    let database =
        rusqlite::Connection::open(exporter.dir.path().join("state/logs.sqlite")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    site.open().unwrap().burst(300).unwrap();
    fs::rename(&site.path, site.rotated()).unwrap();
    site.open().unwrap().burst(200).unwrap();
    // It waits for its turn a while, then says that it has not had it.
    let backlog = Patience::new(READ_WITHIN).wait_until(READ_WITHIN, "the backlog shows", || {
        assert_eq!(
            shown(&exporter),
            before,
            "counts that are not on disk are shown"
        );
        match exporter.number(UNREAD) > 0.0 && exporter.said().contains("failed to save the counts")
        {
            true => Ok(()),
            false => Err(exporter.said()),
        }
    });
    backlog.unwrap();
    site.open().unwrap().burst(100).unwrap();
    sleep(Duration::from_secs(2));
    assert_eq!(shown(&exporter), before);
    database.execute_batch("ROLLBACK").unwrap();
    exporter.settles(&everything([&site]));
    assert!(
        exporter.said().contains("are saved again"),
        "{}",
        exporter.said()
    );
}

#[test]
fn the_first_start_begins_at_the_end_and_from_start_at_the_start() {
    for from_start in [false, true] {
        let mut exporter = Exporter::following_logs();
        let later = exporter.dir.path().join("later/logs");
        exporter.follow(&later.join("*.log"));
        if from_start {
            exporter.flags.push("--logs.from-start".to_owned());
        }
        let logs = exporter.logs();
        // The lines that were there before are of another session.
        let old = Site::alone(&logs, "bot");
        old.open().unwrap().burst(500).unwrap();
        let new = Site::alone(&logs, "bot");
        // In a rotated file of the past nothing is new, whatever the flag says.
        let past = Site::alone(&logs, "past");
        past.open().unwrap().burst(100).unwrap();
        fs::rename(&past.path, past.rotated()).unwrap();
        exporter.start();
        let tally = |old_too: bool| {
            let numbers = (0..new.begun()).chain(0..if old_too { old.begun() } else { 0 });
            BTreeMap::from([("bot".to_owned(), Expected::exactly(Tally::of(numbers)))])
        };
        exporter.settles(&tally(from_start));
        new.open().unwrap().burst(333).unwrap();
        exporter.settles(&tally(from_start));
        exporter.kill();
        new.open().unwrap().burst(77).unwrap();
        exporter.start();
        exporter.settles(&tally(from_start));

        // A file that appears is read from its start, also in a directory that appears.
        fs::create_dir_all(&later).unwrap();
        let appeared = [Site::alone(&logs, "second"), Site::alone(&later, "third")];
        for site in &appeared {
            site.open().unwrap().burst(211).unwrap();
        }
        let mut expected = tally(from_start);
        expected.extend(everything(&appeared));
        exporter.settles(&expected);
        exporter.assert_discreet();
    }
}

#[test]
fn five_thousand_files() {
    const BOTS: usize = 2500;
    let mut exporter = Exporter::following_logs();
    exporter.flags.push("--logs.from-start".to_owned());
    let logs = exporter.logs();
    let sites: Vec<[Site; 2]> = (0..BOTS)
        .map(|k| {
            ["out", "error"].map(|stream| {
                Site::new(
                    &logs,
                    &format!("bot{k}"),
                    stream,
                    Arc::default(),
                    Arc::default(),
                )
            })
        })
        .collect();
    // A number of its own for each file, so that no two make up for each other.
    let append = |turn: usize| {
        for (k, site) in sites.iter().flatten().enumerate() {
            site.open()
                .unwrap()
                .burst(((k * 7 + turn * 13) % 23) as u64)
                .unwrap();
        }
    };
    let expected = || -> BTreeMap<String, Expected> {
        let both = |sites: &[Site; 2]| (0..sites[0].begun()).chain(0..sites[1].begun());
        sites
            .iter()
            .map(|sites| {
                (
                    sites[0].session.clone(),
                    Expected::exactly(Tally::of(both(sites))),
                )
            })
            .collect()
    };
    append(0);
    exporter.start();
    exporter.settles(&expected());
    assert_eq!(
        exporter.number("baileys_exporter_log_files"),
        2.0 * BOTS as f64
    );
    append(1);
    exporter.settles(&expected());
    exporter.kill();
    append(2);
    // A third of them is rotated meanwhile.
    for site in sites.iter().flatten().step_by(3) {
        fs::rename(&site.path, site.rotated()).unwrap();
    }
    append(3);
    exporter.start();
    append(4);
    exporter.settles(&expected());
    exporter.stop();
    append(5);
    exporter.start();
    exporter.settles(&expected());
    exporter.assert_discreet();
}

#[test]
fn a_line_of_300_megabytes() {
    let mut exporter = Exporter::following_logs();
    let site = Site::alone(&exporter.logs(), "bot");
    let mut log = site.open().unwrap();
    exporter.start();
    log.burst(1000).unwrap();
    let mut file = File::options().append(true).open(&site.path).unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    for written in 0..300 {
        file.write_all(&megabyte).unwrap();
        if written == 150 {
            // It is killed within the line.
            sleep(Duration::from_millis(500));
            exporter.kill();
            exporter.start();
        }
    }
    file.write_all(b" device_removed\n").unwrap();
    log.burst(1000).unwrap();
    // The long line is a line, and judged to its end.
    let mut tally = site.written();
    tally.lines += 1;
    *tally.matches.entry("device_removed").or_default() += 1;
    exporter.settles(&BTreeMap::from([(
        site.session.clone(),
        Expected::exactly(tally),
    )]));
    assert_eq!(
        exporter.number("baileys_exporter_log_overlong_lines_total"),
        1.0
    );
}
