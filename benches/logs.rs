//! What reading logs costs, beside what it must cost and what mtail takes for it. All of it in
//! one run on one machine, because only the ratios mean something elsewhere.
//!
//! `make bench` runs it and writes the table into docs/performance.md. `BENCH_BACKLOG_MB` and
//! `BENCH_FOLLOW_SECONDS` make it shorter while one works on it; then the file is left alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use baileys_exporter::logs::pattern::SHIPPED;
use testkit::net::{self, Metrics};
use testkit::process;

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const FILES: usize = 500;
const LINES_PER_SECOND: usize = 20_000;
/// How often the bare loop looks.
const CADENCE: Duration = Duration::from_millis(250);
/// Following costs at most so many times what the bare loop does.
const MOST_OF_BARE: f64 = 2.0;
/// A backlog is read at least so many times as fast as mtail reads it.
const LEAST_OF_MTAIL: f64 = 30.0;
const MB: u64 = 1_000_000;
/// mtail reads this much of the backlog; all of it would take many minutes.
const MTAIL_MB: u64 = 200;

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
    url: String,
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
            url: format!("http://127.0.0.1:{port}/metrics"),
            began,
        }
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&Metrics) -> bool) -> Metrics {
        loop {
            if let Ok(metrics) = Metrics::scrape(&self.url)
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

/// The least that following files can cost: stat each, read what is new.
fn bare_loop(dir: &Path) -> ! {
    let paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut files: Vec<(PathBuf, File, u64)> = paths
        .into_iter()
        .map(|path| {
            let file = File::open(&path).unwrap();
            (path, file, 0)
        })
        .collect();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let began = Instant::now();
        for (path, file, offset) in &mut files {
            let size = fs::metadata(path).unwrap().len();
            while *offset < size {
                *offset += file.read_at(&mut buffer, *offset).unwrap() as u64;
            }
        }
        sleep(CADENCE.saturating_sub(began.elapsed()));
    }
}

/// Processor time of the exporter and of the bare loop, on the same files at the same time.
fn follow(dir: &Path, seconds: u64) -> (Duration, Duration) {
    let logs = dir.join("logs");
    fs::create_dir(&logs).unwrap();
    let mut files: Vec<File> = (0..FILES)
        .map(|k| {
            let path = logs.join(format!("bot{k}-out.log"));
            OpenOptions::new()
                .create_new(true)
                .append(true)
                .open(path)
                .unwrap()
        })
        .collect();
    let exporter = Exporter::start(dir, &format!("{}/*.log", logs.display()), &[]);
    exporter.wait("it follows the files", |metrics| {
        metrics
            .sum("baileys_exporter_log_files", &[])
            .unwrap_or(0.0)
            == FILES as f64
    });
    let me = std::env::current_exe().unwrap();
    let bare = Running::start(
        &me,
        &["--bare-loop".to_owned(), logs.display().to_string()],
        Stdio::null(),
    );
    sleep(Duration::from_secs(2));

    let (exporter_before, bare_before) = (exporter.running.cpu(), bare.cpu());
    let (began, mut n, mut text) = (Instant::now(), 0, Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        let due = (began.elapsed().as_secs_f64() * LINES_PER_SECOND as f64) as usize;
        while n < due {
            line(n, &mut text);
            files[n % FILES].write_all(&text).unwrap();
            n += 1;
        }
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(500));
    let took = (
        exporter.running.cpu() - exporter_before,
        bare.cpu() - bare_before,
    );
    exporter.wait("it counts every line", |metrics| {
        let counted = lines_counted(metrics);
        assert!(counted <= n as u64, "{counted} lines counted of {n}");
        counted == n as u64
    });
    took
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

fn write_backlog(path: &Path, bytes: u64) -> (u64, u64) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let (mut lines, mut written, mut text) = (0, 0, Vec::new());
    while written < bytes {
        line(lines as usize, &mut text);
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

/// With the same patterns as the exporter.
const MTAIL: &str = "mtail";

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
    let mut source = "counter warnings by pattern\ncounter lines\n/$/ {\n  lines++\n}\n".to_owned();
    for (name, regex) in patterns {
        let regex = regex.replace('/', r"\/");
        write!(
            source,
            "/{flags}{regex}/ {{\n  warnings[\"{name}\"]++\n}}\n"
        )
        .unwrap();
    }
    fs::write(programs.join("bench.mtail"), source).unwrap();
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
        for (pattern, every, at) in [("bad_mac", 400, 99), ("stream_error_515", 400, 399)] {
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

fn backlog(dir: &Path, megabytes: u64) -> (u64, Vec<Took>) {
    let logs = dir.join("backlog");
    fs::create_dir(&logs).unwrap();
    let all = logs.join("bot-out.log");
    let (lines, bytes) = write_backlog(&all, megabytes * MB);
    warm(&all);
    let mut took = Vec::new();

    let exporter = Exporter::start(dir, &all.display().to_string(), &["--logs.from-start"]);
    let metrics = exporter.wait("it has read the backlog", |metrics| {
        lines_counted(metrics) > 0 && unread(metrics) == 0.0
    });
    let (cpu, wall) = (exporter.running.cpu(), exporter.began.elapsed());
    took.push(Took {
        what: "baileys_exporter",
        bytes,
        cpu,
        wall,
    });
    assert_eq!(lines_counted(&metrics), lines, "every line is counted once");
    let matches = metrics
        .sum(
            "baileys_auth_signal_warnings_total",
            &[("pattern", "bad_mac")],
        )
        .unwrap();
    assert_eq!(
        matches as u64,
        (0..lines).filter(|n| n % 400 == 99).count() as u64
    );
    drop(exporter);

    let part = dir.join("part.log");
    let part_of = write_backlog(&part, MTAIL_MB.min(megabytes) * MB);
    warm(&part);
    took.push(mtail(dir, &part, part_of, MTAIL, "(?i)", &patterns()));
    took.push(mtail(
        dir,
        &part,
        part_of,
        "mtail, four simple patterns",
        "(?i)",
        &SIMPLE,
    ));
    took.push(mtail(
        dir,
        &part,
        part_of,
        "mtail, the four with regard to case",
        "",
        &SIMPLE,
    ));

    let mut args = vec![
        "--no-config".to_owned(),
        "-i".to_owned(),
        "-a".to_owned(),
        "-c".to_owned(),
    ];
    args.extend(
        patterns()
            .iter()
            .flat_map(|(_, regex)| ["-e".to_owned(), (*regex).to_owned()]),
    );
    args.push(all.display().to_string());
    let began = Instant::now();
    let (cpu, wall) = Running::start(&program("rg"), &args, Stdio::null()).finish(began);
    took.push(Took {
        what: "ripgrep -i -c",
        bytes,
        cpu,
        wall,
    });
    (lines, took)
}

fn report(
    seconds: u64,
    (exporter, bare): (Duration, Duration),
    lines: u64,
    took: &[Took],
) -> String {
    let mut text = String::new();
    let (exporter, bare) = (exporter.as_secs_f64(), bare.as_secs_f64());
    let ms = CADENCE.as_millis();
    writeln!(
        text,
        "Following {FILES} files, {LINES_PER_SECOND} lines/s in all, for {seconds} s:\n\n\
         | reader | processor seconds | ratio |\n|---|---|---|\n\
         | stat and read every {ms} ms, nothing else | {bare:.2} | 1 |\n\
         | baileys_exporter | {exporter:.2} | {:.2} |\n",
        exporter / bare
    )
    .unwrap();
    writeln!(
        text,
        "A backlog of {:.0} MB ({:.1} million lines of {} bytes, 1 % hits, {} patterns):\n\n\
         | reader | read | processor seconds | MB per processor second | MB/s | throughput of the exporter in multiples of it |\n\
         |---|---|---|---|---|---|",
        took[0].bytes as f64 / MB as f64,
        lines as f64 / 1e6,
        took[0].bytes / lines,
        SHIPPED.len(),
    )
    .unwrap();
    for one in took {
        writeln!(
            text,
            "| {} | {} MB | {:.2} | {:.0} | {:.0} | {:.2} per processor second, {:.2} by the clock |",
            one.what,
            one.bytes / MB,
            one.cpu.as_secs_f64(),
            one.mb_per_cpu_second(),
            one.mb_per_second(),
            took[0].mb_per_cpu_second() / one.mb_per_cpu_second(),
            took[0].mb_per_second() / one.mb_per_second(),
        )
        .unwrap();
    }
    text
}

/// Replaces what stands between the markers in docs/performance.md.
fn write_down(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let (begin, end) = ("<!-- BEGIN make bench -->\n", "<!-- END make bench -->");
    let text = fs::read_to_string(&path).unwrap();
    let from = text.find(begin).expect("the first marker") + begin.len();
    let to = text.find(end).expect("the second marker");
    fs::write(&path, format!("{}{table}{}", &text[..from], &text[to..])).unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "--bare-loop") {
        bare_loop(Path::new(&args[2]));
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
    let dir = tempfile::Builder::new()
        .prefix("baileys-bench-")
        .tempdir()
        .unwrap();
    let seconds = short_follow.unwrap_or(40);
    println!("following {FILES} files for {seconds} s");
    let followed = follow(dir.path(), seconds);
    let second = dir.path().join("second");
    fs::create_dir(&second).unwrap();
    println!("reading a backlog; mtail takes a while");
    let (lines, took) = backlog(&second, short_backlog.unwrap_or(2000));
    let table = report(seconds, followed, lines, &took);
    println!("\n{table}");
    if short_follow.is_none() && short_backlog.is_none() {
        hold(followed, &took);
        write_down(&table);
        println!("written to docs/performance.md");
    }
}

/// What the project promises of these ratios; a run that misses one ends with an error, and
/// leaves what is written down as it was.
fn hold((exporter, bare): (Duration, Duration), took: &[Took]) {
    let following = exporter.as_secs_f64() / bare.as_secs_f64();
    assert!(
        following <= MOST_OF_BARE,
        "following costs {following:.2} times the bare loop"
    );
    let same: Vec<&Took> = took.iter().filter(|one| one.what == MTAIL).collect();
    assert_eq!(same.len(), 1, "mtail was not measured");
    for mtail in same {
        let times = took[0].mb_per_cpu_second() / mtail.mb_per_cpu_second();
        assert!(
            times >= LEAST_OF_MTAIL,
            "only {times:.1} times as fast as {}",
            mtail.what
        );
    }
    println!(
        "within the promised ratios: at most {MOST_OF_BARE} times the bare loop, at least {LEAST_OF_MTAIL} times mtail"
    );
}
