//! What it costs to write the metrics of many sessions, beside a writer that was made by hand for
//! the very same text.
//!
//! `make bench-exposition` runs it, writes the table into docs/performance.md and draws
//! docs/plots/exposition.svg.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

#[path = "shared/plot.rs"]
mod plot;

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baileys_exporter::config::{CommonFlags, MetricGroups, RemediatorFlags, Settings};
use baileys_exporter::exporter::latest::LatestVerdicts;
use baileys_exporter::exporter::metrics::metric_families;
use baileys_exporter::exporter::snapshot::{Collector, Snapshot};
use baileys_exporter::folder::{SessionsPath, Timestamp};
use baileys_exporter::logs::{Patterns, Published, SessionLog};
use baileys_exporter::reload::ReloadState;
use clock::Clock;
use exporter_toolkit::exposition::{Format, encode};
use exporter_toolkit::metric_families::MetricFamilies;
use flate2::Compression;
use flate2::write::GzEncoder;
use plot::Line;
use rustix::time::{ClockId, clock_gettime};
use testkit::performance::write_table;

/// Pairs of runs; the table has the medians.
const RUNS: usize = 9;
/// The most that OpenMetrics, for which Prometheus asks, may cost in multiples of the writer by
/// hand.
const MOST: f64 = 2.0;

/// A file of most kinds.
const FILES: [&str; 9] = [
    "pre-key-1.json",
    "session-15550001111.0.json",
    "sender-key-15550001111-1500000000@g.us--15550001111--0.json",
    "app-state-sync-key-AAAAAA.json",
    "app-state-sync-version-regular.json",
    "lid-mapping-15550001111.json",
    "device-list-15550001111.json",
    "tctoken-15550001111.json",
    "sender-key-memory-1500000000@g.us.json",
];

/// What a scrape tells of.
struct World {
    snapshot: Snapshot,
    patterns: Arc<Patterns>,
    logs: Published,
}

impl World {
    fn new(sessions: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for session in 0..sessions {
            let folder = dir.path().join(format!("company_{session:06}"));
            fs::create_dir(&folder).unwrap();
            let creds = format!(
                r#"{{"nextPreKeyId":{0},"firstUnuploadedPreKeyId":{0},"registered":true,"me":{{"id":"15550001111:1@s.whatsapp.net"}}}}"#,
                session + 31
            );
            fs::write(folder.join("creds.json"), creds).unwrap();
            for name in FILES {
                fs::write(folder.join(name), "{}").unwrap();
            }
        }
        let flags = CommonFlags {
            sessions_path: vec![SessionsPath::parse(dir.path().as_os_str()).unwrap()],
            ..CommonFlags::default()
        };
        let settings = Settings::load(&flags, &RemediatorFlags::default()).unwrap();
        let patterns = Arc::clone(&settings.logs.patterns);
        let snapshot = Collector::new(Arc::new(settings), Clock::system()).collect();
        assert_eq!(snapshot.sessions.len(), sessions);
        assert!(snapshot.is_complete());
        let counts = |count: usize| {
            let names = patterns.patterns().iter().take(count);
            names
                .enumerate()
                .map(|(n, pattern)| (Arc::from(pattern.name.as_ref()), n as u64 * 7))
                .collect()
        };
        let log = SessionLog {
            events: counts(usize::MAX),
            reports: counts(4),
            lines: 123_456,
            last_line: Some(Timestamp::now()),
            ..SessionLog::default()
        };
        let logs = Published {
            unheard: log,
            ..Published::default()
        };
        Self {
            snapshot,
            patterns,
            logs,
        }
    }

    fn families(&self, has_logs: bool) -> MetricFamilies<'_> {
        let reload = ReloadState {
            successful: true,
            loaded_at: self.snapshot.at,
        };
        let verdicts = LatestVerdicts::default();
        metric_families(
            &self.snapshot,
            has_logs.then_some((&self.logs, self.patterns.as_ref())),
            reload,
            &MetricGroups::default(),
            |session| verdicts.of(session, Instant::now()),
        )
    }
}

/// A metric as the writer by hand gets it.
struct Family<'a> {
    head: &'a str,
    name: &'a str,
    samples: Vec<(Vec<(&'a str, &'a str)>, f64)>,
}

/// The data of a text. No label of this bench needs an escape.
fn parsed(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut begin = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let from = at;
        at += line.len();
        if line.starts_with('#') {
            begin = begin.or(Some(from));
            continue;
        }
        let (series, value) = line.trim_end().rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        if let Some(begin) = begin.take() {
            families.push(Family {
                head: &text[begin..from],
                name,
                samples: Vec::new(),
            });
        }
        let pairs = labels.trim_end_matches('}').split("\",");
        let pairs = pairs.filter_map(|pair| pair.trim_end_matches('"').split_once("=\""));
        let sample = (pairs.collect(), value.parse().unwrap());
        families.last_mut().unwrap().samples.push(sample);
    }
    families
}

/// The writer by hand.
fn write_by_hand(families: &[Family<'_>], format: Format, out: &mut impl Write) {
    for family in families {
        out.write_all(family.head.as_bytes()).unwrap();
        for (labels, value) in &family.samples {
            out.write_all(family.name.as_bytes()).unwrap();
            for (n, (name, value)) in labels.iter().enumerate() {
                out.write_all(if n == 0 { b"{" } else { b"," }).unwrap();
                out.write_all(name.as_bytes()).unwrap();
                out.write_all(b"=\"").unwrap();
                write_escaped(value, out);
                out.write_all(b"\"").unwrap();
            }
            if !labels.is_empty() {
                out.write_all(b"}").unwrap();
            }
            match format {
                Format::Text => writeln!(out, " {value}").unwrap(),
                Format::OpenMetrics => writeln!(out, " {value:?}").unwrap(),
            }
        }
    }
    if format == Format::OpenMetrics {
        out.write_all(b"# EOF\n").unwrap();
    }
}

fn write_escaped(value: &str, out: &mut impl Write) {
    let mut rest = value.as_bytes();
    while let Some(at) = memchr::memchr3(b'\\', b'"', b'\n', rest) {
        out.write_all(&rest[..at]).unwrap();
        let escaped: &[u8] = match rest[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        };
        out.write_all(escaped).unwrap();
        rest = &rest[at + 1..];
    }
    out.write_all(rest).unwrap();
}

fn by_hand(families: &[Family<'_>], format: Format, is_gzip: bool) -> Vec<u8> {
    match is_gzip {
        false => {
            let mut out = Vec::new();
            write_by_hand(families, format, &mut out);
            out
        }
        true => {
            // Buffered, as the compressor does better with larger pieces.
            let gzip = GzEncoder::new(Vec::new(), Compression::fast());
            let mut out = std::io::BufWriter::with_capacity(64 << 10, gzip);
            write_by_hand(families, format, &mut out);
            out.into_inner().ok().unwrap().finish().unwrap()
        }
    }
}

/// Processor time of this thread.
fn cpu<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let before = now();
    let done = work();
    (now() - before, done)
}

/// A field of /proc/self/status, in bytes.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// By how much memory grows at most.
fn peak<T>(work: impl FnOnce() -> T) -> u64 {
    // Begins the peak anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    drop(work());
    status("VmHWM:") - before
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let mut table = "| sessions | logs | format | series | MB | by hand, ms | the exporter, ms | ratio | memory beside the samples' source, MB |\n|---|---|---|---|---|---|---|---|---|\n".to_owned();
    let mut worst: f64 = 0.0;
    let mut lines: Vec<Line> = Vec::new();
    for sessions in [10, 100, 1_000, 10_000] {
        let world = World::new(sessions);
        for (has_logs, format, is_gzip) in [
            (false, Format::Text, false),
            (false, Format::OpenMetrics, false),
            (false, Format::OpenMetrics, true),
            (true, Format::Text, false),
            (true, Format::OpenMetrics, true),
        ] {
            let write = |is_gzip| encode(world.families(has_logs), format, is_gzip).unwrap();
            let peak = peak(|| write(is_gzip));
            let text = String::from_utf8(write(false)).unwrap();
            let families = parsed(text.trim_end_matches("# EOF\n"));
            let again = by_hand(&families, format, false);
            let same = |text: &[u8]| {
                // What the process uses changes all the time.
                let lines = text.split(|byte| *byte == b'\n');
                let lines = lines.filter(|line| !line.starts_with(b"process_"));
                lines.map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
            assert!(same(&again) == same(text.as_bytes()), "not the same text");
            drop(again);
            let series: usize = families.iter().map(|family| family.samples.len()).sum();
            let (mut hand, mut own, mut bytes) = (Vec::new(), Vec::new(), 0);
            for _ in 0..RUNS {
                hand.push(cpu(|| by_hand(&families, format, is_gzip)).0);
                let (took, out) = cpu(|| write(is_gzip));
                bytes = out.len();
                own.push(took);
            }
            let (hand, own) = (median(hand), median(own));
            let ratio = own.as_secs_f64() / hand.as_secs_f64();
            // With few sessions, what both do not do for a session is most of it.
            if format == Format::OpenMetrics && sessions >= 1_000 {
                worst = worst.max(ratio);
            }
            let format = match (format, is_gzip) {
                (Format::Text, _) => "text",
                (Format::OpenMetrics, false) => "OpenMetrics",
                (Format::OpenMetrics, true) => "OpenMetrics, gzip",
            };
            let logs = if has_logs { "yes" } else { "no" };
            let name = match has_logs {
                true => format!("{format}, with logs"),
                false => format.to_owned(),
            };
            let point = (sessions as f64, own.as_secs_f64());
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    name,
                    points: vec![point],
                }),
            }
            let row = format!(
                "| {sessions} | {logs} | {format} | {series} | {:.1} | {:.1} | {:.1} | {ratio:.2} | {:.1} |",
                bytes as f64 / 1e6,
                hand.as_secs_f64() * 1e3,
                own.as_secs_f64() * 1e3,
                peak as f64 / 1e6
            );
            println!("{row}");
            writeln!(table, "{row}").unwrap();
        }
    }
    write_table("make bench-exposition", &table);
    plot::growth(
        "exposition.svg",
        "Writing the metrics",
        "sessions",
        "processor seconds",
        &lines,
    );
    assert!(worst <= MOST, "{worst:.2} times the writer by hand");
}
