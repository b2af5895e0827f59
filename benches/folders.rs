//! What a scrape costs, beside what the file system makes anybody pay who wants the age of
//! every file, from 10 folders to 10,000 and from 100 files in each to 10,000. All of it in one
//! run on one machine, because only the ratios mean something elsewhere.
//!
//! `make bench-folders` runs it and writes the table into docs/performance.md and the plots into
//! docs/plots. `BENCH_FOLDERS=500` bounds the number of folders; then the files are left alone.
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
use std::fs::{self, File};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use plot::Line;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags};
use testkit::net;
use testkit::performance::write_table;
use testkit::process::Process;

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
/// Files in a folder of the first half.
const FILES: usize = 200;
/// Numbers of folders. Each has those of the size before, and a root with the rest.
const SIZES: [usize; 6] = [10, 100, 500, 1000, 5000, 10_000];
/// Files in a folder of the second half, in so many folders.
const FILES_EACH: [usize; 5] = [100, 300, 1000, 3000, 10_000];
const LARGE_FOLDERS: usize = 10;
/// One folder in so many changes before a scrape of the steady state.
const CHANGED: usize = 100;
const DAY: u64 = 86_400;
/// After this time every file is looked at again.
const ROUND: Duration = Duration::from_secs(240);
/// How often Prometheus scrapes, and the size of the host that is watched while it does nothing
/// else.
const INTERVAL: Duration = Duration::from_secs(15);
const IDLE_SIZE: usize = 500;
/// A host that is scraped as often, with changes: it has a million files.
const STEADY_SIZE: usize = 5000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, floor, roots @ ..] = arguments.as_slice()
        && floor == "--floor"
    {
        bare_loop(roots);
        println!("{}", cpu_seconds(std::process::id()));
        return;
    }
    let most: usize = match std::env::var("BENCH_FOLDERS") {
        Ok(most) => most.parse().unwrap(),
        Err(_) => usize::MAX,
    };
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-folders");
    let mut roots = Vec::new();
    let mut hosts = Vec::new();
    for (index, size) in SIZES.into_iter().enumerate().filter(|(_, n)| *n <= most) {
        let before = if index == 0 { 0 } else { SIZES[index - 1] };
        let root = base.join(format!("folders-{size}"));
        make_tree(&root, before..size, FILES);
        roots.push(root);
        hosts.push(Host::start(size, FILES, roots.clone()));
    }
    for files in FILES_EACH {
        let root = base.join(format!("files-{files}"));
        make_tree(&root, 0..LARGE_FOLDERS, files);
        hosts.push(Host::start(LARGE_FOLDERS, files, vec![root]));
    }
    let of_size = |size| hosts.iter().find(|host| host.folders == size);
    let again = |size| of_size(size).map(|host| Host::start(size, FILES, host.roots.clone()));
    let (idle, steady) = (again(IDLE_SIZE), again(STEADY_SIZE));
    for host in hosts.iter_mut().filter(|host| host.files == FILES) {
        host.scrape_often();
    }
    let (idle, steady) = scrape_at_intervals(idle, steady);
    if let Some(host) = hosts.iter_mut().find(|host| host.folders == STEADY_SIZE) {
        host.steady = steady;
    }
    sleep(ROUND + Duration::from_secs(5));
    for host in &mut hosts {
        host.scrape_in_full();
    }
    let table = table(&hosts, idle);
    println!("{table}");
    if most == usize::MAX {
        write_table("make bench-folders", &table);
        draw(&hosts);
    }
}

/// What one way to look cost, in seconds.
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

/// An exporter over some folders, and what it has cost.
struct Host {
    folders: usize,
    files: usize,
    roots: Vec<PathBuf>,
    exporter: Process,
    port: u16,
    bare: Cost,
    start: Cost,
    changed: Option<Cost>,
    /// Of each scrape of a Prometheus, with the files that have their turn.
    steady: Option<Cost>,
    unchanged: Option<Cost>,
    full: Option<Cost>,
    /// The peak of it all, in KiB.
    memory: u64,
}

impl Host {
    /// The bare loop and a first start run before, so that the page cache has everything.
    fn start(folders: usize, files: usize, roots: Vec<PathBuf>) -> Self {
        bare(&roots);
        let bare = Cost::median((0..5).map(|_| bare(&roots)).collect());
        let port = net::free_port(None).unwrap();
        drop(start_exporter(&roots, port));
        let mut starts = Vec::new();
        let exporter = loop {
            let (exporter, start) = start_exporter(&roots, port);
            starts.push(start);
            if starts.len() == 3 {
                break exporter;
            }
        };
        let first = folders_up(&scrape_as_prometheus(port));
        assert_eq!(first, folders, "the first scrape is complete");
        Self {
            folders,
            files,
            roots,
            exporter,
            port,
            bare,
            start: Cost::median(starts),
            changed: None,
            steady: None,
            unchanged: None,
            full: None,
            memory: 0,
        }
    }

    /// Adds a file to one folder in so many.
    fn change_some(&self, turn: usize) {
        let folders = self.roots.iter().flat_map(|root| directories(root));
        for folder in folders.skip(turn).step_by(CHANGED) {
            fs::write(folder.join(format!("pre-key-{}.json", 9000 + turn)), "{}").unwrap();
        }
    }

    fn scrape(&self) -> Cost {
        let pid = self.exporter.pid();
        let (cpu, began) = (cpu_seconds(pid), Instant::now());
        scrape_as_prometheus(self.port);
        Cost {
            cpu: cpu_seconds(pid) - cpu,
            wall: began.elapsed().as_secs_f64(),
        }
    }

    /// Scrapes of the steady state: a look at each file has its turn later.
    fn scrape_often(&mut self) {
        let scrapes = (0..5).map(|_| self.scrape()).collect();
        let changed = (0..5).map(|turn| {
            self.change_some(turn);
            let changed = self.scrape();
            // A change is seen again until it is too old to hide another one.
            sleep(Duration::from_millis(2500));
            self.scrape();
            changed
        });
        let changed = changed.collect();
        self.unchanged = Some(Cost::median(scrapes));
        self.changed = Some(Cost::median(changed));
    }

    fn scrape_in_full(&mut self) {
        // The kernel may have given the page cache away meanwhile.
        bare(&self.roots);
        self.full = Some(self.scrape());
        self.memory = peak_memory(self.exporter.pid());
    }
}

/// Starts an exporter, and what it took until it was ready.
fn start_exporter(roots: &[PathBuf], port: u16) -> (Process, Cost) {
    let url = format!("http://127.0.0.1:{port}");
    let paths = roots
        .iter()
        .map(|root| format!("--sessions.path={}", root.display()));
    let address = format!("--web.listen-address=127.0.0.1:{port}");
    let log = roots[0].with_extension(format!("{port}.log"));
    let began = Instant::now();
    let program = Path::new(EXPORTER);
    let mut exporter = Process::start("exporter", program, paths.chain([address]), &log).unwrap();
    while !net::get(&format!("{url}/-/ready")).is_ok_and(|answer| answer.status == 200) {
        exporter.alive().unwrap();
        sleep(Duration::from_millis(5));
    }
    let start = Cost {
        cpu: cpu_seconds(exporter.pid()),
        wall: began.elapsed().as_secs_f64(),
    };
    (exporter, start)
}

/// Scrapes two hosts as Prometheus does, for as long as each file needs to have its turn: one that
/// is left alone, and one where folders change. The first is the share of a processor and the peak
/// of memory in KiB, the second the cost of a scrape.
fn scrape_at_intervals(
    idle: Option<Host>,
    steady: Option<Host>,
) -> (Option<(f64, u64)>, Option<Cost>) {
    let Some(idle) = idle else {
        return (None, None);
    };
    let scrapes = 16;
    let (before, began) = (cpu_seconds(idle.exporter.pid()), Instant::now());
    let steady_before = steady.as_ref().map(|host| cpu_seconds(host.exporter.pid()));
    let mut walls = Vec::new();
    for scrape in 0..scrapes {
        idle.scrape();
        if let Some(steady) = &steady {
            steady.change_some(scrape);
            walls.push(steady.scrape());
        }
        sleep((INTERVAL * (scrape as u32 + 1)).saturating_sub(began.elapsed()));
    }
    let spent = cpu_seconds(idle.exporter.pid()) - before;
    let share = spent / began.elapsed().as_secs_f64();
    let cost = steady.zip(steady_before).map(|(host, before)| Cost {
        cpu: (cpu_seconds(host.exporter.pid()) - before) / scrapes as f64,
        wall: Cost::median(walls).wall,
    });
    (Some((share, peak_memory(idle.exporter.pid()))), cost)
}

fn table(hosts: &[Host], idle: Option<(f64, u64)>) -> String {
    let mut table = String::from(
        "| folders | files in each | | processor seconds | seconds | ratio, processor / clock | peak memory |\n|---|---|---|---|---|---|---|\n",
    );
    for host in hosts {
        let rows = [
            ("the bare loop", Some(host.bare), None),
            ("start until ready, first look", Some(host.start), None),
            (
                "scrape, 1 % of the folders changed, no other has its turn",
                host.changed,
                None,
            ),
            (
                "scrape every 15 s, 1 % changed, some folders in full",
                host.steady,
                None,
            ),
            ("scrape, nothing changed", host.unchanged, None),
            (
                "scrape after 4 minutes, full look",
                host.full,
                Some(host.memory),
            ),
        ];
        for (what, cost, memory) in rows {
            let Some(cost) = cost else { continue };
            let memory = memory.map_or(String::new(), |kib| format!("{} MiB", kib / 1024));
            let (cpu, wall) = (cost.cpu / host.bare.cpu, cost.wall / host.bare.wall);
            writeln!(
                table,
                "| {} | {} | {what} | {:.3} | {:.3} | {cpu:.2} / {wall:.2} | {memory} |",
                host.folders, host.files, cost.cpu, cost.wall
            )
            .unwrap();
        }
    }
    if let Some((share, memory)) = idle {
        writeln!(
            table,
            "\n{IDLE_SIZE} folders, scraped every {} s for 4 minutes and otherwise left alone: {:.2} % of a processor, {} MiB.",
            INTERVAL.as_secs(),
            share * 100.0,
            memory / 1024
        )
        .unwrap();
    }
    table
}

fn draw(hosts: &[Host]) {
    let (by_folders, by_files): (Vec<&Host>, Vec<&Host>) =
        hosts.iter().partition(|host| host.files == FILES);
    let line = |name: &str, of: &[&Host], point: &dyn Fn(&Host) -> Option<(f64, f64)>| Line {
        name: name.into(),
        points: of.iter().filter_map(|host| point(host)).collect(),
    };
    let ms = |cost: Cost| (cost.cpu * 1e3).max(1.0);
    let folders = |host: &Host| host.folders as f64;
    plot::growth(
        "folders.svg",
        "Processor time by number of folders (200 files each)",
        "folders",
        "processor time, ms",
        &[
            line("bare loop", &by_folders, &|h| {
                Some((folders(h), ms(h.bare)))
            }),
            line("first look", &by_folders, &|h| {
                Some((folders(h), ms(h.start)))
            }),
            line("full look", &by_folders, &|h| {
                Some((folders(h), ms(h.full?)))
            }),
            line("1 % changed", &by_folders, &|h| {
                Some((folders(h), ms(h.changed?)))
            }),
        ],
    );
    plot::growth(
        "memory.svg",
        "Peak memory by number of folders (200 files each)",
        "folders",
        "peak memory, MiB",
        &[line("baileys_exporter", &by_folders, &|h| {
            Some((folders(h), h.memory as f64 / 1024.0))
        })],
    );
    plot::growth(
        "files.svg",
        "Processor time by number of files in a folder (10 folders)",
        "files in each folder",
        "processor time, ms",
        &[
            line("bare loop", &by_files, &|h| {
                Some((h.files as f64, ms(h.bare)))
            }),
            line("first look", &by_files, &|h| {
                Some((h.files as f64, ms(h.start)))
            }),
            line("full look", &by_files, &|h| {
                Some((h.files as f64, ms(h.full?)))
            }),
        ],
    );
}

/// Answers of thousands of sessions are larger than a client for tests takes. HTTP/1.0: the body
/// comes as it is.
fn scrape_as_prometheus(port: u16) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0\r\nAccept-Encoding: gzip\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer[8..].starts_with(b" 200 "));
    answer
}

/// How many folders could be looked at, by this answer.
fn folders_up(answer: &[u8]) -> usize {
    let mut ends = answer.windows(4);
    let headers = ends.position(|four| four == b"\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut body = MultiGzDecoder::new(&answer[headers + 4..]);
    body.read_to_string(&mut text).unwrap();
    let is_up = |line: &&str| {
        let value = line.rsplit(' ').next().unwrap();
        line.starts_with("baileys_auth_folder_up{") && value.parse() == Ok(1.0)
    };
    text.lines().filter(is_up).count()
}

/// `getdents64` and `statx` of every file, and a read of each creds.json and each session file
/// older than 14 days; two threads.
fn bare_loop(roots: &[String]) {
    let folders: Vec<PathBuf> = roots
        .iter()
        .flat_map(|root| directories(Path::new(root)))
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

fn directories(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Runs the bare loop over these roots, as a process of its own, which prints what it took.
fn bare(roots: &[PathBuf]) -> Cost {
    let began = Instant::now();
    let out = Command::new(std::env::current_exe().unwrap())
        .arg("--floor")
        .args(roots)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let cpu = String::from_utf8(out.stdout).unwrap();
    Cost {
        cpu: cpu.trim().parse().unwrap(),
        wall: began.elapsed().as_secs_f64(),
    }
}

/// Processor seconds of all its threads, those that ended included.
fn cpu_seconds(pid: u32) -> f64 {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    let clock = nix::time::clock_getcpuclockid(pid).unwrap();
    Duration::from(clock.now().unwrap()).as_secs_f64()
}

fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Folders of bots that have run for weeks. Kept from run to run.
fn make_tree(root: &Path, folders: Range<usize>, files: usize) {
    let done = root.with_extension("done");
    if done.exists() {
        return;
    }
    println!("writing {} files", folders.len() * files);
    let _ = fs::remove_dir_all(root);
    let now = SystemTime::now();
    for folder in folders {
        write_folder(&root.join(format!("bot{folder:05}")), folder, files, now);
    }
    fs::write(done, "").unwrap();
}

/// A folder of so many files: of 200 one is creds.json, 60 are sessions.
fn write_folder(path: &Path, seed: usize, files: usize, now: SystemTime) {
    let of_200 = |part: u64| (part * files as u64).div_ceil(200);
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
    let sessions = of_200(60);
    for id in 0..sessions {
        // Two of three are active.
        let age = match id * 3 / sessions {
            0 | 1 => 3600 * (id * 40 / sessions + 1),
            _ => id * 60 / sessions * DAY,
        };
        let used = (now - Duration::from_secs(age))
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let session = format!(
            r#"{{"_sessions":{{"BQ{key}":{{"registrationId":99,"currentRatchet":{{"ephemeralKeyPair":{{"pubKey":"{key}","privKey":"{key}"}},"lastRemoteEphemeralKey":"{key}","previousCounter":0,"rootKey":"{key}"}},"indexInfo":{{"baseKey":"{key}","baseKeyType":2,"closed":-1,"used":{used},"created":{used},"remoteIdentityKey":"{key}"}},"_chains":{{"{key}":{{"chainKey":{{"counter":3,"key":"{key}"}},"chainType":1,"messageKeys":{{}}}}}}}}}},"version":"v1"}}"#
        );
        write(format!("session-1666000{id:05}.0.json"), &session, age);
    }
    // The last 60 count as one batch.
    for id in 161 - of_200(60).min(60)..161 {
        write(
            format!("pre-key-{id}.json"),
            &format!(r#"{{"public":"{key}","private":"{key}"}}"#),
            (170 - id) * 3600,
        );
    }
    for id in 0..of_200(30) + of_200(60).saturating_sub(60) {
        write(
            format!("sender-key-1203630000{id:05}@g.us--1666000{id:05}--0.json"),
            &format!(r#"[{{"senderKeyId":1,"senderChainKey":{{"iteration":1,"seed":"{key}"}}}}]"#),
            id % 60 * DAY / 2,
        );
    }
    for id in 0..of_200(10) {
        write(
            format!("sender-key-memory-1203630000{id:05}@g.us.json"),
            r#"{"1":true}"#,
            id % 60 * DAY / 2,
        );
    }
    for id in 0..of_200(20) {
        write(
            format!("lid-mapping-1666000{id:05}.json"),
            "\"2000\"",
            id % 500 * 3600,
        );
    }
    for id in 0..of_200(10) {
        write(
            format!("device-list-1666000{id:05}.json"),
            "[\"0\"]",
            id % 500 * 3600,
        );
    }
    for id in 0..of_200(9) {
        write(format!("app-state-sync-key-AAAAA{id}.json"), "{}", DAY);
    }
}
