//! What a scrape costs, beside what the file system makes anybody pay who wants the age of
//! every file. All of it in one run on one machine, because only the ratios mean something
//! elsewhere.
//!
//! `make bench-folders` runs it and writes the table into docs/performance.md.
//! `BENCH_FOLDERS=500,5000` names the sizes; with other ones the file is left alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags};
use testkit::net;
use testkit::performance::write_table;
use testkit::process::Process;

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const FILES: usize = 200;
const SIZES: [usize; 2] = [500, 5000];
/// One folder in so many changes before a scrape of the steady state.
const CHANGED: usize = 100;
const DAY: u64 = 86_400;
/// After this time every file is looked at again.
const ROUND: Duration = Duration::from_secs(240);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, floor, root] = arguments.as_slice()
        && floor == "--floor"
    {
        return bare_loop(Path::new(root));
    }
    let sizes: Vec<usize> = match std::env::var("BENCH_FOLDERS") {
        Ok(sizes) => sizes.split(',').map(|size| size.parse().unwrap()).collect(),
        Err(_) => SIZES.to_vec(),
    };
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-folders");
    let mut table = String::from(
        "| folders of 200 files | | processor seconds | seconds | ratio, processor / clock | peak memory |\n|---|---|---|---|---|---|\n",
    );
    for folders in &sizes {
        let root = base.join(folders.to_string());
        make_tree(&root, *folders);
        measure(&root, *folders, &mut table);
    }
    println!("{table}");
    if sizes == SIZES {
        write_table("make bench-folders", &table);
    }
}

/// What one way to look cost.
#[derive(Clone, Copy)]
struct Cost {
    cpu: f64,
    wall: f64,
}

impl Cost {
    fn median(mut costs: Vec<Cost>) -> Cost {
        costs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
        let cpu = costs[costs.len() / 2].cpu;
        costs.sort_by(|a, b| a.wall.total_cmp(&b.wall));
        let wall = costs[costs.len() / 2].wall;
        Cost { cpu, wall }
    }
}

fn measure(root: &Path, folders: usize, table: &mut String) {
    // The first one fills the page cache.
    let floor = || floor(root);
    floor();
    let bare = Cost::median((0..5).map(|_| floor()).collect());
    let mut row = |what: &str, cost: Cost, memory: Option<u64>| {
        let memory = memory.map_or(String::new(), |kib| format!("{} MiB", kib / 1024));
        let (cpu, wall) = (cost.cpu / bare.cpu, cost.wall / bare.wall);
        writeln!(
            table,
            "| {folders} | {what} | {:.3} | {:.3} | {cpu:.2} / {wall:.2} | {memory} |",
            cost.cpu, cost.wall
        )
        .unwrap();
    };
    row("the bare loop", bare, None);

    let port = net::free_port(None).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let log = root.with_extension("log");
    let began = Instant::now();
    let mut exporter = Process::start(
        "exporter",
        Path::new(EXPORTER),
        [
            format!("--sessions.path={}", root.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
        &log,
    )
    .unwrap();
    while !net::get(&format!("{url}/-/ready")).is_ok_and(|answer| answer.status == 200) {
        exporter.alive().unwrap();
        sleep(Duration::from_millis(20));
    }
    let pid = exporter.pid();
    let start = Cost {
        cpu: cpu_seconds(pid),
        wall: began.elapsed().as_secs_f64(),
    };
    row(
        "start until ready: the first look, which reads session files",
        start,
        None,
    );
    let scrape = || {
        let (cpu, began) = (cpu_seconds(pid), Instant::now());
        scrape_as_prometheus(port);
        Cost {
            cpu: cpu_seconds(pid) - cpu,
            wall: began.elapsed().as_secs_f64(),
        }
    };
    let unchanged = Cost::median((0..5).map(|_| scrape()).collect());
    let changed = (0..5).map(|turn| {
        for folder in (turn..folders).step_by(CHANGED) {
            let name = folder_of(root, folder).join(format!("pre-key-{}.json", 9000 + turn));
            fs::write(name, "{}").unwrap();
        }
        let changed = scrape();
        // A change is seen again until it is too old to hide another one.
        sleep(Duration::from_millis(2500));
        scrape();
        changed
    });
    let changed = Cost::median(changed.collect());
    row("scrape, 1 % of the folders changed", changed, None);
    row("scrape, nothing changed", unchanged, None);
    sleep(ROUND + Duration::from_secs(5));
    // The kernel may have given the page cache away meanwhile.
    floor();
    let full = scrape();
    row(
        "scrape after 4 minutes: a full look, with all ages",
        full,
        Some(peak_memory(pid)),
    );
    exporter.stop();
}

/// Answers of thousands of sessions are larger than a client for tests takes.
fn scrape_as_prometheus(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/openmetrics-text;version=1.0.0\r\nAccept-Encoding: gzip\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

/// `getdents64` and `statx` of every file, and a read of each creds.json and each session file
/// older than 14 days; two threads.
fn bare_loop(root: &Path) {
    let folders: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let old = SystemTime::now() - Duration::from_secs(14 * DAY);
    let old = old.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut names = vec![MaybeUninit::uninit(); 32 << 10];
                let mut content = vec![0; 64 << 10];
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fd = rustix::fs::openat(CWD, folder, flags, Mode::empty()).unwrap();
                    let mut listing = RawDir::new(fd.as_fd(), &mut names);
                    while let Some(entry) = listing.next() {
                        let name = entry.as_ref().unwrap().file_name();
                        let about = rustix::fs::statx(
                            &fd,
                            name,
                            AtFlags::SYMLINK_NOFOLLOW,
                            StatxFlags::BASIC_STATS,
                        )
                        .unwrap();
                        let is_old_session = name.to_bytes().starts_with(b"session-")
                            && about.stx_mtime.tv_sec < old;
                        if is_old_session || name.to_bytes() == b"creds.json" {
                            let file = rustix::fs::openat(&fd, name, OFlags::RDONLY, Mode::empty())
                                .unwrap();
                            let _ = File::from(file).read(&mut content).unwrap();
                        }
                    }
                }
            });
        }
    });
}

fn floor(root: &Path) -> Cost {
    let (cpu, began) = (cpu_of_children(), Instant::now());
    let status = Command::new(std::env::current_exe().unwrap())
        .arg("--floor")
        .arg(root)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    Cost {
        cpu: cpu_of_children() - cpu,
        wall: began.elapsed().as_secs_f64(),
    }
}

/// Processor seconds of all threads, by nanoseconds on a processor.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Of the whole process, in hundredths; the threads that ended are in it.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64
}

fn cpu_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(13) + ticks(14)) / rustix::param::clock_ticks_per_second() as f64
}

fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn folder_of(root: &Path, folder: usize) -> PathBuf {
    root.join(format!("bot{folder:05}"))
}

/// Folders of bots that have run for weeks. Kept from run to run.
fn make_tree(root: &Path, folders: usize) {
    let done = root.with_extension("done");
    if done.exists() {
        return;
    }
    println!("writing {} files", folders * FILES);
    let _ = fs::remove_dir_all(root);
    let now = SystemTime::now();
    for folder in 0..folders {
        write_folder(&folder_of(root, folder), folder, now);
    }
    fs::write(done, "").unwrap();
}

fn write_folder(path: &Path, seed: usize, now: SystemTime) {
    fs::create_dir_all(path).unwrap();
    let write = |name: String, content: &str, age: u64| {
        let file = File::create(path.join(name)).unwrap();
        (&file).write_all(content.as_bytes()).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    };
    let key = "A".repeat(44);
    let creds = format!(
        r#"{{"noiseKey":{{"private":{{"type":"Buffer","data":"{key}"}},"public":{{"type":"Buffer","data":"{key}"}}}},"signedIdentityKey":{{"private":{{"type":"Buffer","data":"{key}"}},"public":{{"type":"Buffer","data":"{key}"}}}},"registrationId":77,"nextPreKeyId":161,"firstUnuploadedPreKeyId":161,"account":{{"details":"{key}","accountSignature":"{key}"}},"me":{{"id":"155500{seed:05}:1@s.whatsapp.net","lid":"2000000{seed:05}:1@lid"}}}}"#
    );
    write("creds.json".into(), &creds, 600);
    for id in 0..60 {
        let age = if id < 40 { 3600 * (id + 1) } else { id * DAY };
        let used = (now - Duration::from_secs(age))
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let session = format!(
            r#"{{"_sessions":{{"BQ{key}":{{"registrationId":99,"currentRatchet":{{"ephemeralKeyPair":{{"pubKey":"{key}","privKey":"{key}"}},"lastRemoteEphemeralKey":"{key}","previousCounter":0,"rootKey":"{key}"}},"indexInfo":{{"baseKey":"{key}","baseKeyType":2,"closed":-1,"used":{used},"created":{used},"remoteIdentityKey":"{key}"}},"_chains":{{"{key}":{{"chainKey":{{"counter":3,"key":"{key}"}},"chainType":1,"messageKeys":{{}}}}}}}}}},"version":"v1"}}"#
        );
        write(format!("session-1666000{id:04}.0.json"), &session, age);
    }
    for id in 101..161 {
        write(
            format!("pre-key-{id}.json"),
            &format!(r#"{{"public":"{key}","private":"{key}"}}"#),
            (170 - id) * 3600,
        );
    }
    for id in 0..30 {
        write(
            format!("sender-key-1203630000{id:04}@g.us--1666000{id:04}--0.json"),
            &format!(r#"[{{"senderKeyId":1,"senderChainKey":{{"iteration":1,"seed":"{key}"}}}}]"#),
            id * DAY / 2,
        );
    }
    for id in 0..10 {
        write(
            format!("sender-key-memory-1203630000{id:04}@g.us.json"),
            r#"{"1":true}"#,
            id * DAY / 2,
        );
    }
    for id in 0..20 {
        write(
            format!("lid-mapping-1666000{id:04}.json"),
            "\"2000\"",
            id * 3600,
        );
    }
    for id in 0..10 {
        write(
            format!("device-list-1666000{id:04}.json"),
            "[\"0\"]",
            id * 3600,
        );
    }
    for id in 0..9 {
        write(format!("app-state-sync-key-AAAAA{id}.json"), "{}", DAY);
    }
}
