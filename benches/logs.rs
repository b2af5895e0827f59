//! What reading logs costs, beside what it must cost and what mtail takes for it. All of it in
//! one run on one machine, because only the ratios mean something elsewhere.
//!
//! `make bench` runs it, writes the tables into docs/performance.md and draws docs/plots/logs.svg.
//! `BENCH_BACKLOG_MB` and `BENCH_FOLLOW_SECONDS` make it shorter while one works on it; then the
//! files are left alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

#[path = "logs/following.rs"]
mod following;
#[path = "shared/plot.rs"]
mod plot;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use baileys_exporter::logs::pattern::SHIPPED;
use testkit::fixture;
use testkit::net::{self, Metrics};
use testkit::performance::write_table;
use testkit::process;

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
/// A backlog is read at least so many times as fast as mtail reads it.
const LEAST_OF_MTAIL: f64 = 40.0;
/// And as ripgrep does: of the plain lines, and of the wrapped ones.
const LEAST_OF_RIPGREP: f64 = 1.0;
const LEAST_OF_RIPGREP_WRAPPED: f64 = 0.5;
const MB: u64 = 1_000_000;
/// mtail reads this much of the backlog; all of it would take many minutes.
const MTAIL_MB: u64 = 20;

/// The shipped patterns, as expressions for mtail and ripgrep, without what a line must not hold.
fn patterns() -> Vec<(&'static str, &'static str)> {
    SHIPPED
        .iter()
        .map(|pattern| (pattern.name.as_ref(), pattern.regex.as_ref()))
        .collect()
}

/// Four simple patterns, with which mtail is at its best.
const SIMPLE: [(&str, &str); 4] = [
    ("closing_stale_open_session", "Closing stale open session"),
    ("waiting_for_message", "waiting for message"),
    ("device_removed", "device_removed"),
    ("connection_replaced", "Connection replaced"),
];

/// A line of about 120 bytes, one in a hundred with a pattern.
fn line(n: usize, into: &mut Vec<u8>) {
    into.clear();
    let second = n / 20 % 60;
    if n % 100 == 99 {
        match n / 100 % 4 {
            0 => write!(into, "Session error:Error: Bad MAC Error: Bad MAC"),
            1 => write!(into, "Closing open session in favor of incoming prekey bundle"),
            2 => write!(into, "Decrypted message with closed session."),
            _ => write!(
                into,
                r#"{{"level":50,"time":"2026-01-01T00:00:{second:02}.125Z","pid":77,"hostname":"vm","class":"baileys","node":{{"tag":"stream:error","attrs":{{"code":"515"}}}},"msg":"stream errored out"}}"#
            ),
        }
    } else {
        match n % 5 {
            0 => write!(
                into,
                r#"{{"level":30,"time":"2026-01-01T00:00:{second:02}.125Z","pid":77,"hostname":"vm","class":"baileys","n":{n},"msg":"handled 0 offline messages/notifications"}}"#
            ),
            1 => write!(
                into,
                "    at async SessionCipher.decryptWithSessions (/opt/bot/node_modules/libsignal/src/session_cipher.js:147:29) {n}"
            ),
            2 => write!(
                into,
                r#"[12:00:{second:02}.123] INFO (77): message upsert {{"n":{n},"remoteJid":"15550001111@s.whatsapp.net","type":"notify","fromMe":false}}"#
            ),
            3 => write!(
                into,
                r#"{{"level":20,"time":"2026-01-01T00:00:{second:02}.125Z","pid":77,"hostname":"vm","recv":{{"tag":"receipt","n":{n}}},"msg":"recv xml"}}"#
            ),
            _ => write!(into, "2026-01-01T00:00:{second:02}: chat 15550001111@s.whatsapp.net: order {n} answered in 213 ms by the shop's own code"),
        }
    }
    .unwrap();
    into.push(b'\n');
}

/// Processor time of a process so far, all its threads; a zombie still has it.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_ascii_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A child that is ended when it is dropped.
struct Running(Child);

impl Running {
    fn start(program: &Path, args: &[String], out: Stdio) -> Self {
        let mut command = Command::new(program);
        Self(
            command
                .args(args)
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn cpu(&self) -> Duration {
        cpu(self.0.id())
    }

    /// Waits for its end; processor and wall time from its start.
    fn finish(mut self, began: Instant) -> (Duration, Duration) {
        loop {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
            if stat
                .rsplit_once(')')
                .unwrap()
                .1
                .trim_start()
                .starts_with('Z')
            {
                break;
            }
            sleep(Duration::from_millis(5));
        }
        let took = (self.cpu(), began.elapsed());
        assert!(self.0.wait().unwrap().code().is_some_and(|code| code < 2));
        took
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Exporter {
    running: Running,
    address: SocketAddr,
    began: Instant,
}

impl Exporter {
    fn start(dir: &Path, logs: &str, flags: &[&str]) -> Self {
        let port = net::free_port(None).unwrap();
        fs::create_dir_all(dir.join("sessions")).unwrap();
        let mut args = vec![
            format!("--sessions.path={}", dir.join("sessions").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            format!("--logs.state-path={}", dir.join("state").display()),
            format!("--logs.path={logs}"),
        ];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let began = Instant::now();
        let running = Running::start(Path::new(EXPORTER), &args, Stdio::null());
        Self {
            running,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            began,
        }
    }

    /// The metrics of the logs; those of thousands of sessions are too many for
    /// [`Metrics::scrape`].
    fn scrape(&self) -> io::Result<Metrics> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let is_wanted = |line: &&str| {
            let of_logs = [
                "baileys_auth_log_",
                "baileys_auth_signal_",
                "baileys_exporter_log_",
            ];
            of_logs.iter().any(|prefix| line.starts_with(prefix))
        };
        let wanted: Vec<&str> = answer.lines().filter(is_wanted).collect();
        Metrics::parse(&wanted.join("\n")).map_err(io::Error::other)
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&Metrics) -> bool) -> Metrics {
        loop {
            if let Ok(metrics) = self.scrape()
                && done(&metrics)
            {
                return metrics;
            }
            assert!(self.began.elapsed() < Duration::from_secs(900), "{what}");
            sleep(Duration::from_millis(20));
        }
    }
}

fn lines_counted(metrics: &Metrics) -> u64 {
    metrics
        .sum("baileys_auth_log_lines_total", &[])
        .unwrap_or(0.0) as u64
}

fn unread(metrics: &Metrics) -> f64 {
    metrics
        .sum("baileys_exporter_log_unread_bytes", &[])
        .unwrap_or(f64::MAX)
}

/// A way to read a backlog, and what it took.
struct Took {
    what: &'static str,
    bytes: u64,
    cpu: Duration,
    wall: Duration,
}

impl Took {
    fn mb_per_cpu_second(&self) -> f64 {
        self.bytes as f64 / MB as f64 / self.cpu.as_secs_f64()
    }

    fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / MB as f64 / self.wall.as_secs_f64()
    }
}

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    /// As Docker's json-file wraps them.
    Docker,
}

/// Puts a line into the envelope of Docker's json-file.
fn wrap(line: &mut Vec<u8>) {
    let log = serde_json::to_string(str::from_utf8(line).unwrap()).unwrap();
    line.clear();
    writeln!(
        line,
        r#"{{"log":{log},"stream":"stdout","time":"2026-01-01T00:00:00.125430871Z"}}"#
    )
    .unwrap();
}

/// A creds.json of a paired bot.
fn creds() -> Vec<u8> {
    let folder = fixture::read("normal", SystemTime::now()).unwrap();
    let creds = folder.into_iter().find(|file| file.name == "creds.json");
    creds.unwrap().bytes
}

fn write_backlog(path: &Path, form: Form, bytes: u64) -> (u64, u64) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let (mut lines, mut written, mut text) = (0, 0, Vec::new());
    while written < bytes {
        line(lines as usize, &mut text);
        if form == Form::Docker {
            wrap(&mut text);
        }
        file.write_all(&text).unwrap();
        written += text.len() as u64;
        lines += 1;
    }
    file.into_inner().unwrap().sync_all().unwrap();
    (lines, written)
}

/// Reads it once, so that all find it in the page cache.
fn warm(path: &Path) {
    let (mut file, mut buffer) = (File::open(path).unwrap(), vec![0; 1 << 20]);
    while file.read(&mut buffer).unwrap() > 0 {}
}

/// A program that the bench cannot do without.
fn program(name: &str) -> PathBuf {
    process::find(&[name])
        .unwrap_or_else(|| panic!("no {name} on the PATH; `make bench` installs it"))
}

/// With the same patterns as the exporter, as far as it accepts them.
const MTAIL: &str = "mtail";
const MTAIL_CASE: &str = "mtail, the four with regard to case";
const RIPGREP: &str = "ripgrep -i -c --no-unicode";
/// Of these patterns every so manieth line is a hit, from this one on.
const EXPECTED: [(&str, u64, u64); 2] = [("bad_mac", 400, 99), ("stream_error_515", 400, 399)];

fn mtail_program(flags: &str, patterns: &[(&str, &str)]) -> String {
    let mut source = "counter warnings by pattern\ncounter lines\n/$/ {\n  lines++\n}\n".to_owned();
    for (name, regex) in patterns {
        let regex = regex.replace('/', r"\/");
        write!(
            source,
            "/{flags}{regex}/ {{\n  warnings[\"{name}\"]++\n}}\n"
        )
        .unwrap();
    }
    source
}

/// The patterns that mtail accepts. It refuses long expressions.
fn patterns_of_mtail(dir: &Path) -> Vec<(&'static str, &'static str)> {
    let source = dir.join("one.mtail");
    let args = [
        "--compile_only".to_owned(),
        format!("--log_dir={}", dir.display()),
        format!("--progs={}", source.display()),
    ];
    let mut accepted = patterns();
    accepted.retain(|pattern| {
        fs::write(&source, mtail_program("(?i)", &[*pattern])).unwrap();
        let status = Command::new(program("mtail"))
            .args(&args)
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    });
    assert!(accepted.len() + 3 > patterns().len(), "{}", accepted.len());
    accepted
}

/// mtail, once over so many lines and bytes.
fn mtail(
    dir: &Path,
    log: &Path,
    (lines, bytes): (u64, u64),
    what: &'static str,
    flags: &str,
    patterns: &[(&str, &str)],
) -> Took {
    let programs = dir.join(what);
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("bench.mtail"), mtail_program(flags, patterns)).unwrap();
    let out = dir.join("mtail.out");
    let args = [
        "--one_shot".to_owned(),
        "--one_shot_format=prometheus".to_owned(),
        "--address=127.0.0.1".to_owned(),
        "--port=0".to_owned(),
        format!("--log_dir={}", dir.display()),
        format!("--progs={}", programs.display()),
        format!("--logs={}", log.display()),
    ];
    let began = Instant::now();
    let running = Running::start(&program("mtail"), &args, File::create(&out).unwrap().into());
    let (cpu, wall) = running.finish(began);
    let metrics = Metrics::parse(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(
        metrics.sum("lines", &[]).unwrap() as u64,
        lines,
        "mtail read all of it"
    );
    if what == MTAIL {
        for (pattern, every, at) in EXPECTED {
            let matches = metrics.sum("warnings", &[("pattern", pattern)]).unwrap();
            assert_eq!(
                matches as u64,
                (0..lines).filter(|n| n % every == at).count() as u64,
                "{pattern}"
            );
        }
    }
    Took {
        what,
        bytes,
        cpu,
        wall,
    }
}

/// The exporter, from its start until it has counted and saved all of a backlog.
fn exporter(dir: &Path, log: &Path, (lines, bytes): (u64, u64)) -> Took {
    let exporter = Exporter::start(dir, &log.display().to_string(), &["--logs.from-start"]);
    let metrics = exporter.wait("it has read the backlog", |metrics| {
        lines_counted(metrics) > 0 && unread(metrics) == 0.0
    });
    let (cpu, wall) = (exporter.running.cpu(), exporter.began.elapsed());
    assert_eq!(lines_counted(&metrics), lines, "every line is counted once");
    for (pattern, every, at) in EXPECTED {
        let labels = [("pattern", pattern)];
        let matches = metrics.sum("baileys_auth_signal_warnings_total", &labels);
        let expected = (0..lines).filter(|n| n % every == at).count() as u64;
        assert_eq!(matches.unwrap() as u64, expected, "{pattern}");
    }
    Took {
        what: "baileys_exporter",
        bytes,
        cpu,
        wall,
    }
}

fn ripgrep(log: &Path, bytes: u64) -> Took {
    let mut args: Vec<String> = ["--no-config", "--no-unicode", "-i", "-a", "-c"]
        .map(str::to_owned)
        .into();
    for (_, regex) in patterns() {
        args.extend(["-e".to_owned(), regex.to_owned()]);
    }
    args.push(log.display().to_string());
    let began = Instant::now();
    let (cpu, wall) = Running::start(&program("rg"), &args, Stdio::null()).finish(began);
    Took {
        what: RIPGREP,
        bytes,
        cpu,
        wall,
    }
}

/// One backlog, read in several ways; the first is the exporter's.
struct Backlog {
    form: Form,
    lines: u64,
    took: Vec<Took>,
}

impl Backlog {
    /// The throughput of the exporter per processor second, in multiples of another's.
    fn multiple_of(&self, other: &Took) -> f64 {
        self.took[0].mb_per_cpu_second() / other.mb_per_cpu_second()
    }
}

fn backlog(dir: &Path, form: Form, megabytes: u64) -> Backlog {
    // The log counts for a session that has a folder.
    let session = dir.join("sessions/bot");
    fs::create_dir_all(&session).unwrap();
    fs::write(session.join("creds.json"), creds()).unwrap();
    let all = dir.join("bot-out.log");
    let of_all = write_backlog(&all, form, megabytes * MB);
    warm(&all);
    let mut took = vec![exporter(dir, &all, of_all), ripgrep(&all, of_all.1)];
    fs::remove_file(&all).unwrap();
    if form == Form::Plain {
        let part = dir.join("part.log");
        let of_part = write_backlog(&part, form, MTAIL_MB.min(megabytes) * MB);
        warm(&part);
        for (what, flags, patterns) in [
            (MTAIL, "(?i)", patterns_of_mtail(dir)),
            ("mtail, four simple patterns", "(?i)", SIMPLE.to_vec()),
            (MTAIL_CASE, "", SIMPLE.to_vec()),
        ] {
            took.push(mtail(dir, &part, of_part, what, flags, &patterns));
        }
    }
    Backlog {
        form,
        lines: of_all.0,
        took,
    }
}

fn table(backlog: &Backlog) -> String {
    let took = &backlog.took;
    let mut text = format!(
        "A backlog of {:.0} MB of {} ({:.1} million lines of {} bytes, 1 % hits, {} patterns):\n\n\
         | reader | read | processor seconds | MB per processor second | MB/s | throughput of the exporter in multiples of it |\n\
         |---|---|---|---|---|---|\n",
        took[0].bytes as f64 / MB as f64,
        match backlog.form {
            Form::Plain => "plain lines",
            Form::Docker => "the same lines as Docker's json-file wraps them",
        },
        backlog.lines as f64 / 1e6,
        took[0].bytes / backlog.lines,
        SHIPPED.len(),
    );
    for one in took {
        writeln!(
            text,
            "| {} | {} MB | {:.2} | {:.0} | {:.0} | {:.2} per processor second, {:.2} by the clock |",
            one.what,
            one.bytes / MB,
            one.cpu.as_secs_f64(),
            one.mb_per_cpu_second(),
            one.mb_per_second(),
            backlog.multiple_of(one),
            took[0].mb_per_second() / one.mb_per_second(),
        )
        .unwrap();
    }
    text.push('\n');
    text
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "--bare-loop") {
        following::bare_loop(Path::new(&args[2]));
    }
    // Found out now rather than after some minutes.
    for needed in ["mtail", "rg"] {
        program(needed);
    }
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().unwrap())
    };
    let (short_follow, short_backlog) =
        (number("BENCH_FOLLOW_SECONDS"), number("BENCH_BACKLOG_MB"));
    let (seconds, megabytes) = (short_follow.unwrap_or(40), short_backlog.unwrap_or(2000));
    let dir = tempfile::Builder::new()
        .prefix("baileys-bench-")
        .tempdir()
        .unwrap();
    let mut followed = Vec::new();
    for files in following::SIZES {
        println!("following {files} files for {seconds} s");
        let dir = dir.path().join(files.to_string());
        followed.push(following::follow(&dir, files, seconds));
    }
    let following = following::table(&followed, seconds);
    println!("\n{following}reading a backlog; mtail takes a while");
    let backlogs = [Form::Plain, Form::Docker]
        .map(|form| backlog(&dir.path().join(format!("{form:?}")), form, megabytes));
    let mut text = following;
    backlogs.iter().for_each(|one| text.push_str(&table(one)));
    println!("\n{text}");
    if short_follow.is_none() && short_backlog.is_none() {
        write_table("make bench", &format!("{}\n", text.trim_end()));
        following::draw(&followed);
        println!("written to docs/performance.md");
        following::hold(&followed);
        backlogs.iter().for_each(hold);
    }
}

/// What the project promises of these ratios; a run that misses one ends with an error.
fn hold(backlog: &Backlog) {
    for one in &backlog.took[1..] {
        let least = match (one.what, backlog.form) {
            (RIPGREP, Form::Plain) => LEAST_OF_RIPGREP,
            (RIPGREP, Form::Docker) => LEAST_OF_RIPGREP_WRAPPED,
            // Then mtail does less: it has expressions with literals.
            (MTAIL_CASE, _) => 1.0,
            _ => LEAST_OF_MTAIL,
        };
        let times = backlog.multiple_of(one);
        assert!(
            times >= least,
            "only {times:.2} times as fast as {}, {:?}",
            one.what,
            backlog.form
        );
    }
}
