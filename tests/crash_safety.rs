//! kill -9 and failing system calls at every step of a clean-up, an undo and a recovery:
//! each file is in exactly one place, as it was, and a restart ends what was cut short.
//!
//! `strace` kills the real program on entry to one system call, or has the call fail, so
//! nothing in the product knows about it. A kill on entry to each call that changes
//! something leaves every state that a crash can leave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use testkit::fixture::{self, KeyFile};
use testkit::net;
use testkit::probe::HttpProbe;
use testkit::process::{self, Process};
use testkit::strace;

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const QUARANTINE: &str = ".baileys_quarantine";
const SESSION: &str = "bot";
/// No command takes this long, not even traced on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// Calls that change something on disk; the rest of what is traced only looks.
const CHANGES: [&str; 19] = [
    "mkdir",
    "mkdirat",
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "fchmod",
    "utimensat",
];
const LOOKS: [&str; 11] = [
    "flock",
    "openat2",
    "openat",
    "open",
    "newfstatat",
    "statx",
    "fstat",
    "fstatfs",
    "getdents64",
    "read",
    "pread64",
];

/// A file as it must stay, whatever happens.
#[derive(Clone, PartialEq, Eq)]
struct Kept {
    bytes: Vec<u8>,
    modified: (i64, i64),
    mode: u32,
    owner: (u32, u32),
    inode: u64,
}

impl Kept {
    fn read(path: &Path) -> Self {
        let meta = fs::symlink_metadata(path).unwrap();
        assert!(
            meta.is_file() && meta.nlink() == 1,
            "{} is a plain file",
            path.display()
        );
        Self {
            bytes: fs::read(path).unwrap(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            inode: meta.ino(),
        }
    }
}

type Files = BTreeMap<String, Kept>;

/// The plain files of a directory. Directories are left out.
fn files_of(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let plain = entries.filter(|entry| !entry.file_type().unwrap().is_dir());
    plain
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                Kept::read(&entry.path()),
            )
        })
        .collect()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// One bot's folder with everything a remediator needs to clean it.
struct Bot {
    dir: TempDir,
    folder: PathBuf,
    /// No child of the remediator, which would be killed and traced with it.
    probe: HttpProbe,
    before: Files,
    /// How many errors were injected: each time into another thread.
    turn: Cell<usize>,
}

/// A quarter of an hour ago, so that the folder is quiet.
fn then() -> SystemTime {
    SystemTime::now() - Duration::from_secs(900)
}

/// The bloated folder, thinned out to where every single call can be tried: all kinds,
/// the 50 pre-keys that stay, and of each removable kind a few that go.
fn small() -> Vec<KeyFile> {
    let mut files = fixture::read("bloated-classic-387", then()).unwrap();
    let id = |file: &KeyFile| -> Option<u32> {
        file.name
            .strip_prefix("pre-key-")?
            .strip_suffix(".json")?
            .parse()
            .ok()
    };
    let mut ids: Vec<u32> = files.iter().filter_map(id).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let kept: BTreeSet<u32> = ids
        .iter()
        .take(50)
        .chain(ids.iter().rev().take(3))
        .copied()
        .collect();
    files.sort_by_key(|file| file.modified);
    let (mut sessions, mut senders) = (0, 0);
    files.retain(|file| {
        let every = |seen: &mut usize, nth: usize| {
            *seen += 1;
            *seen % nth == 1
        };
        match id(file) {
            Some(id) => kept.contains(&id),
            None if file.name.starts_with("session-") => every(&mut sessions, 4),
            None if file.name.starts_with("sender-key-memory") => true,
            None if file.name.starts_with("sender-key-") => every(&mut senders, 3),
            None => true,
        }
    });
    files
}

struct Ran {
    /// Exit code; 137 when it was killed.
    code: i32,
    out: String,
    err: String,
    /// What strace wrote.
    trace: Vec<Call>,
    /// Lines of calls that strace had fail, of any thread.
    injected: Vec<String>,
}

/// One traced call.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    /// Its place among the calls of this name, from 1: what strace counts.
    nth: usize,
    /// As traced, without the directory of the test.
    line: String,
}

impl Call {
    /// Whether it changes something, or makes a file.
    fn changes(&self) -> bool {
        let wakes_a_thread = self.line.contains("anon_inode");
        !wakes_a_thread && (CHANGES.contains(&self.name.as_str()) || self.line.contains("O_CREAT"))
    }

    fn inject(&self, what: &str) -> String {
        format!("{}:{what}:when={}", self.name, self.nth)
    }
}

impl Ran {
    fn killed(&self) -> bool {
        self.code == 137
    }
}

/// What strace traces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracee {
    /// The first thread, from its start: the journal, and nothing in the folder. (strace
    /// counts for each thread apart, so tracing all of them would hide some calls.)
    Main,
    /// All threads, from their start.
    All,
    /// The threads that work on the folder, from the moment in which the probe is called for
    /// the first time: the lock is held, and nothing has been changed.
    Planning,
    /// The same, from the second time on: the plan is written, and nothing has been moved.
    Moving,
}

impl Bot {
    fn new(files: &[KeyFile]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::within(dir, files)
    }

    fn within(dir: TempDir, files: &[KeyFile]) -> Self {
        let folder = dir.path().join("sessions").join(SESSION);
        fixture::write(files, &folder).unwrap();
        let probe = HttpProbe::start();
        let token = dir.path().join("token");
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&token)
            .unwrap();
        file.write_all(b"a token for this test only").unwrap();
        let config = format!("connection:\n{}", probe.config());
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let before = files_of(&folder);
        Self {
            dir,
            folder,
            probe,
            before,
            turn: Cell::new(0),
        }
    }

    fn small() -> Self {
        Self::new(&small())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn quarantine(&self) -> PathBuf {
        self.folder.join(QUARANTINE)
    }

    fn args(&self, command: &[&str]) -> Vec<String> {
        let mut args: Vec<String> = command.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(format!(
            "--sessions.path={}",
            self.folder.parent().unwrap().display()
        ));
        args.push(format!(
            "--config.file={}",
            self.path("config.yml").display()
        ));
        args.push(format!("--state.path={}", self.path("state").display()));
        args
    }

    fn run(&self, command: &[&str]) -> Ran {
        let (status, out, err) =
            process::run(Path::new(REMEDIATOR), self.args(command), BOUND).unwrap();
        Ran {
            code: status.code().unwrap_or(128 + 9),
            out,
            err,
            trace: Vec::new(),
            injected: Vec::new(),
        }
    }

    /// Runs a command under strace, which does what `inject` says.
    fn traced(&self, tracee: Tracee, inject: Option<&str>, command: &[&str]) -> Ran {
        match tracee {
            Tracee::Planning => return self.attached(1, inject, self.args(command), None),
            Tracee::Moving => return self.attached(2, inject, self.args(command), None),
            Tracee::Main | Tracee::All => {}
        }
        let log = self.path("trace");
        let mut args = strace_args(&log, inject);
        if tracee == Tracee::All {
            // The kernel's filter lets every call that is not traced run at full speed.
            args.extend(["-f".into(), "--seccomp-bpf".into()]);
        }
        args.push(REMEDIATOR.into());
        args.extend(self.args(command));
        let (status, out, err) = process::run(&strace::program(), args, BOUND).unwrap();
        Ran {
            code: status.code().unwrap_or(128 + 9),
            out,
            err,
            trace: self.read_trace(&log),
            injected: self.injected(&log),
        }
    }

    /// Runs a command, and when the probe is called for the `ask`th time attaches strace to
    /// the threads that work on the folder. strace becomes the parent of what it traces, as
    /// Ubuntu demands of everybody but root.
    /// `serves`: it is `serve` on this port, which is stopped once it answers.
    fn attached(
        &self,
        ask: usize,
        inject: Option<&str>,
        args: Vec<String>,
        serves: Option<u16>,
    ) -> Ran {
        const INNER: &str = r#"dir=$1; shift
"$@" </dev/null >"$dir/out" 2>"$dir/err" & pid=$!
echo $pid >"$dir/pid.part"; mv "$dir/pid.part" "$dir/pid"
wait $pid; echo $? >"$dir/rc.part"; mv "$dir/rc.part" "$dir/rc""#;
        const OUTER: &str = r#"inner=$1 dir=$2; shift 2
sh -c "$inner" inner "$dir" "$@" <&- &
read -r strace; exec $strace"#;
        let dir = self.path("attached");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let before = self.probe.close_after(ask - 1);
        let mut child = Command::new("sh")
            .env("TOKIO_WORKER_THREADS", "1")
            .args(["-c", OUTER, "outer", INNER])
            .arg(&dir)
            .arg(REMEDIATOR)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("strace.err")).unwrap())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let number = |name: &str| -> Option<i32> {
            fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
        };
        let ended = || number("rc").is_some();
        testkit::until("a call of the probe", || {
            self.probe.asked() >= before + ask || ended()
        });
        let log = dir.join("trace");
        fs::write(&log, "").unwrap();
        if !ended() {
            testkit::until("the pid is known", || number("pid").is_some());
            let pid = number("pid").unwrap();
            // Everything in the folder is done by the threads of this name.
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let tasks = tasks.map(|task| task.unwrap());
            let is_look = |task: &fs::DirEntry| {
                fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "look\n")
            };
            let ids = tasks.filter(is_look).map(|task| {
                let id = task.file_name().into_string().unwrap();
                id.parse::<i32>().unwrap()
            });
            let mut movers: Vec<i32> = ids.collect();
            movers.sort_unstable();
            assert!(!movers.is_empty(), "no thread works on the folder");
            if inject.is_some_and(|what| what.contains("error=")) {
                // An error must come from one place only, and strace counts for each thread apart.
                let turn = self.turn.replace(self.turn.get() + 1);
                movers = vec![movers[turn % movers.len()]];
            }
            let mut line = strace::program().display().to_string();
            for arg in strace_args(&log, inject) {
                line.push(' ');
                line.push_str(&arg);
            }
            for mover in &movers {
                line.push_str(&format!(" -p {mover}"));
            }
            writeln!(stdin, "{line}").unwrap();
            let is_traced = |mover: &i32| {
                let status = fs::read_to_string(format!("/proc/{pid}/task/{mover}/status"));
                let status = status.unwrap_or_default();
                status.lines().any(|l| {
                    l.strip_prefix("TracerPid:")
                        .is_some_and(|l| l.trim() != "0")
                })
            };
            testkit::until("strace attaches", || {
                movers.iter().all(is_traced) || ended()
            });
            // It has seized the thread, and asks it to stop next.
            std::thread::sleep(Duration::from_millis(5));
        }
        self.probe.open();
        if let Some(port) = serves {
            let ready = format!("http://127.0.0.1:{port}/-/ready");
            testkit::until("serve answers or ends", || {
                ended() || net::get(&ready).is_ok_and(|a| a.ok().is_ok())
            });
            if !ended() {
                let pid = rustix_pid(number("pid").unwrap());
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        testkit::until("the end", ended);
        drop(stdin);
        testkit::until("strace ends", || child.try_wait().unwrap().is_some());
        let text =
            |name: &str| String::from_utf8_lossy(&fs::read(dir.join(name)).unwrap()).into_owned();
        Ran {
            code: number("rc").unwrap(),
            out: text("out"),
            err: text("err"),
            trace: self.read_trace(&log),
            injected: self.injected(&log),
        }
    }

    fn read_trace(&self, log: &Path) -> Vec<Call> {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
        let here = self.dir.path().display().to_string();
        let mut threads: BTreeMap<String, Vec<Call>> = BTreeMap::new();
        for strace::Line { thread, call: line } in strace::lines(&text) {
            let Some((name, _)) = line.split_once('(') else {
                continue;
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                continue;
            }
            let calls = threads.entry(thread).or_default();
            let nth = calls.iter().filter(|call| call.name == name).count() + 1;
            calls.push(Call {
                name: name.to_owned(),
                nth,
                line: line.replace(&here, ""),
            });
        }
        // strace counts for each thread apart. One does the work; another may write more, into
        // the journal.
        let work = |calls: &Vec<Call>| {
            let moves = calls.iter().filter(|call| call.name == "renameat2").count();
            (moves, calls.iter().filter(|call| call.changes()).count())
        };
        threads.into_values().max_by_key(work).unwrap_or_default()
    }

    fn injected(&self, log: &Path) -> Vec<String> {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
        let here = self.dir.path().display().to_string();
        strace::lines(&text)
            .into_iter()
            .filter(|line| line.call.contains("(INJECTED)"))
            .map(|line| line.call.replace(&here, ""))
            .collect()
    }

    /// Starts `serve` and lets it end what it finds; it answers only after that.
    fn restart(&self) {
        let port = net::free_port(None).unwrap();
        let log = self.path("serve.log");
        let mut serve =
            Process::start("serve", Path::new(REMEDIATOR), self.serve_args(port), &log).unwrap();
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        testkit::until("serve answers", || {
            serve.alive().unwrap_or_else(|why| panic!("{why}"));
            net::get(&ready).is_ok_and(|answer| answer.ok().is_ok())
        });
    }

    fn serve_args(&self, port: u16) -> Vec<String> {
        let mut args = self.args(&["serve"]);
        args.push(format!("--web.listen-address=127.0.0.1:{port}"));
        args.push(format!(
            "--webhook.token-file={}",
            self.path("token").display()
        ));
        args
    }

    fn journal(&self) -> Vec<Value> {
        let ran = self.run(&["runs", "--output", "json", "--limit", "100000"]);
        assert!(ran.code == 0, "runs: {}", ran.err);
        serde_json::from_str::<Value>(&ran.out)
            .unwrap()
            .as_array()
            .unwrap()
            .clone()
    }

    /// Names of the runs in the quarantine, oldest first.
    fn stored(&self) -> Vec<String> {
        names(&self.quarantine())
            .into_iter()
            .filter(|name| self.quarantine().join(name).is_dir())
            .collect()
    }

    fn held(&self, run: &str) -> BTreeSet<String> {
        let mut held = names(&self.quarantine().join(run).join("files"));
        held.remove("rename-probe");
        held
    }

    /// What is in the quarantine, all runs together.
    fn away(&self) -> BTreeSet<String> {
        self.stored()
            .iter()
            .flat_map(|run| self.held(run))
            .collect()
    }

    /// Runs whose end is not on record in the quarantine.
    fn unfinished(&self) -> Vec<String> {
        let is_open = |run: &String| {
            let dir = self.quarantine().join(run);
            let undone = fs::read(dir.join("undone.json")).ok();
            match undone.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap()) {
                Some(undone) => undone["finished"] != true,
                None => !dir.join("done.json").exists(),
            }
        };
        self.stored().into_iter().filter(is_open).collect()
    }

    /// Every file is in exactly one place and as it was; what never moves is in its place.
    fn nothing_is_lost(&self, movable: &BTreeSet<String>, case: &str) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut look = |dir: &Path, quarantined: bool| {
            for (name, kept) in files_of(dir) {
                if quarantined && name == "rename-probe" {
                    continue;
                }
                let expected = self.before.get(&name);
                assert!(expected.is_some(), "{case}: {name} came from nowhere");
                assert!(expected == Some(&kept), "{case}: {name} is not what it was");
                assert!(
                    !quarantined || movable.contains(&name),
                    "{case}: {name} never moves"
                );
                *seen.entry(name).or_default() += 1;
            }
        };
        look(&self.folder, false);
        for run in self.stored() {
            let files = self.quarantine().join(run).join("files");
            if files.exists() {
                look(&files, true);
            }
        }
        for name in self.before.keys() {
            let places = seen.get(name).copied().unwrap_or(0);
            assert_eq!(places, 1, "{case}: {name} is in {places} places");
        }
    }

    fn is_whole(&self, case: &str) {
        let now = files_of(&self.folder);
        let gone: Vec<&String> = self
            .before
            .keys()
            .filter(|name| !now.contains_key(*name))
            .collect();
        assert!(gone.is_empty(), "{case}: {gone:?} are not back");
        assert!(now == self.before, "{case}: every file is as it was");
    }

    /// Undoes every run that holds files, checks that all is back, and forgets the runs.
    fn undo_all(&self, case: &str) {
        self.probe.say_connected(false);
        let runs: Vec<String> = self
            .stored()
            .into_iter()
            .filter(|run| !self.held(run).is_empty())
            .collect();
        for run in &runs {
            let undo = self.run(&["undo", run]);
            assert!(undo.code == 0, "{case}: undo: {}", undo.err);
        }
        self.is_whole(case);
        let _ = fs::remove_dir_all(self.quarantine());
    }

    /// What a clean-up moves, from one that is not disturbed.
    fn movable(&self) -> BTreeSet<String> {
        let ran = self.run(&["clean", SESSION]);
        assert!(ran.code == 0, "clean: {}{}", ran.out, ran.err);
        let movable = self.away();
        assert!(movable.len() >= 6, "{movable:?}");
        self.undo_all("undisturbed");
        movable
    }
}

fn strace_args(log: &Path, inject: Option<&str>) -> Vec<String> {
    let all: Vec<String> = CHANGES
        .iter()
        .chain(&LOOKS)
        .map(|name| format!("?{name}"))
        .collect();
    let traced = match inject {
        Some(inject) => inject.split_once(':').unwrap().0.to_owned(),
        None => all.join(","),
    };
    let mut args: Vec<String> = ["-qq", "-y", "-s", "80", "-e", "signal=none"]
        .map(String::from)
        .into();
    args.extend([
        "-o".into(),
        log.display().to_string(),
        "-e".into(),
        format!("trace={traced}"),
    ]);
    if let Some(inject) = inject {
        args.extend(["-e".into(), format!("inject={inject}")]);
    }
    args
}

fn rustix_pid(pid: i32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid).unwrap()
}

/// Calls at which to kill: all that change something, and of those that only look the
/// first, the last and `looks` between.
fn kill_points(trace: &[Call], looks: usize) -> Vec<Call> {
    let mut points: Vec<Call> = trace
        .iter()
        .filter(|call| call.changes())
        .cloned()
        .collect();
    for name in LOOKS {
        let calls: Vec<&Call> = trace
            .iter()
            .filter(|call| call.name == name && !call.changes())
            .collect();
        points.extend(sample(&calls, looks + 2).into_iter().cloned());
    }
    points
}

/// `count` of them at even distances, the first and the last among them.
fn sample<'a, T>(all: &[&'a T], count: usize) -> Vec<&'a T> {
    if all.len() <= count {
        return all.to_vec();
    }
    (0..count)
        .map(|i| all[i * (all.len() - 1) / (count - 1)])
        .collect()
}

/// What happens after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// `serve` starts, and the bot is disconnected.
    Restart,
    /// Another clean-up.
    CleanAgain,
    /// `serve` starts, and the bot is connected.
    RestartConnected,
}

const AFTER: [After; 3] = [After::Restart, After::CleanAgain, After::RestartConnected];

impl Bot {
    /// After a kill: nothing is lost, a restart ends what was begun, and everything can be
    /// brought back.
    fn recovers(&self, movable: &BTreeSet<String>, after: After, case: &str) {
        let case = format!("{case}, then {after:?}");
        self.nothing_is_lost(movable, &case);
        let away = self.away();
        match after {
            After::Restart => {
                self.restart();
                self.nothing_is_lost(movable, &case);
                assert_eq!(self.unfinished(), Vec::<String>::new(), "{case}");
                self.is_on_record(&case);
            }
            After::CleanAgain => {
                let clean = self.run(&["clean", SESSION]);
                assert!(matches!(clean.code, 0 | 1), "{case}: {}", clean.err);
                self.nothing_is_lost(movable, &case);
                assert_eq!(self.unfinished(), Vec::<String>::new(), "{case}");
                assert_eq!(&self.away(), movable, "{case}: everything is away now");
            }
            After::RestartConnected => {
                self.probe.say_connected(true);
                self.restart();
                self.probe.say_connected(false);
                self.nothing_is_lost(movable, &case);
                assert_eq!(
                    self.away(),
                    away,
                    "{case}: nothing moves while the bot is connected"
                );
                // An undo waits for the bot to be disconnected; a clean-up has ended.
                let begun =
                    |run: &String| !self.quarantine().join(run).join("undone.json").exists();
                let open: Vec<String> = self.unfinished().into_iter().filter(begun).collect();
                assert_eq!(open, Vec::<String>::new(), "{case}");
                self.is_on_record(&case);
            }
        }
        self.undo_all(&case);
    }

    /// What the journal says is what is in the quarantine.
    fn is_on_record(&self, case: &str) {
        let journal = self.journal();
        for run in &journal {
            assert!(
                run["status"] != "running" && run["status"] != "queued",
                "{case}: {run}"
            );
        }
        for stored in self.stored() {
            let held = self.held(&stored);
            if held.is_empty() || self.quarantine().join(&stored).join("undone.json").exists() {
                continue;
            }
            let run = journal
                .iter()
                .find(|run| run["run"] == stored.as_str() && run["action"] == "cleanup");
            let run =
                run.unwrap_or_else(|| panic!("{case}: `runs` does not show {stored}: {journal:?}"));
            let files: u64 = run["files"]
                .as_object()
                .unwrap()
                .values()
                .map(|n| n.as_u64().unwrap())
                .sum();
            // A part of a plan is no success: it must not hold the next clean-up off.
            let plan = fs::read(self.quarantine().join(&stored).join("plan.json")).unwrap();
            let plan: Value = serde_json::from_slice(&plan).unwrap();
            let whole = plan["moves"].as_array().unwrap().len() == held.len();
            let (status, reason) = if whole {
                ("done", Value::Null)
            } else {
                ("failed", "interrupted".into())
            };
            assert_eq!(
                (&run["status"], files),
                (&Value::from(status), held.len() as u64),
                "{case}: {run}"
            );
            assert_eq!(run["reason"], reason, "{case}: {run}");
        }
    }

    /// The calls of a command that is not disturbed, with all of `expected` among them: once
    /// in a while two threads share the work, and one alone has not all of it.
    fn baseline(
        &self,
        tracee: Tracee,
        expected: &[&str],
        prepare: impl Fn() -> Vec<String>,
    ) -> Vec<Call> {
        for _ in 0..20 {
            let command = prepare();
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let ran = self.traced(tracee, None, &command);
            assert!(matches!(ran.code, 0 | 1), "{}", ran.err);
            self.undo_all("baseline");
            if expected
                .iter()
                .all(|part| ran.trace.iter().any(|call| call.line.contains(part)))
            {
                return ran.trace;
            }
        }
        panic!("no trace has {expected:?}");
    }

    /// A clean-up's calls up to the first move.
    fn planning(&self) -> Vec<Call> {
        let mut calls = self.baseline(Tracee::Planning, &PLANS, clean);
        let planned = calls
            .iter()
            .rposition(|call| call.line.contains("\"plan.json.tmp\""))
            .unwrap();
        // The directories are saved after it.
        let looks_again = |call: &Call| call.name == "newfstatat" || call.name == "renameat2";
        let saved = calls[planned..]
            .iter()
            .take_while(|call| !looks_again(call))
            .count();
        calls.truncate(planned + saved);
        calls
    }

    /// Its calls from there on.
    fn moving(&self, movable: &BTreeSet<String>) -> Vec<Call> {
        let calls = self.baseline(Tracee::Moving, &MOVES, clean);
        let moves = calls.iter().filter(|call| call.name == "renameat2").count();
        assert_eq!(moves, movable.len());
        calls
    }

    /// Kills the command that `prepare` gives at a call. Once in a while another thread gets
    /// the work than the one that strace watches, and nothing is killed; then it is undone
    /// and tried again.
    fn crash(&self, tracee: Tracee, at: &Call, prepare: impl Fn() -> Vec<String>) -> bool {
        for _ in 0..12 {
            let command = prepare();
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let ran = self.traced(tracee, Some(&at.inject("signal=KILL")), &command);
            if ran.killed() {
                return true;
            }
            // Refused: a recovery has left nothing to clean.
            assert!(matches!(ran.code, 0 | 1), "{}: {}", at.line, ran.err);
            self.undo_all(&at.line);
        }
        false
    }
}

/// Counts what was tried.
struct Tally {
    what: &'static str,
    began: Instant,
    killed: usize,
    missed: Vec<String>,
}

impl Tally {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            began: Instant::now(),
            killed: 0,
            missed: Vec::new(),
        }
    }

    fn count(&mut self, killed: bool, case: &str) {
        if killed {
            self.killed += 1;
        } else {
            self.missed.push(case.to_owned());
        }
    }

    /// A few calls come once more or less where threads wake each other: a transaction of the
    /// journal more or less is three.
    fn end(self) {
        let (killed, missed) = (self.killed, self.missed.len());
        eprintln!(
            "{}: {killed} kills in {:.1?}, {missed} not reached",
            self.what,
            self.began.elapsed()
        );
        assert!(
            missed <= 3 + killed / 40,
            "{}: {:?}",
            self.what,
            self.missed
        );
    }
}

/// What the two halves of a clean-up and a whole undo have among their calls.
const PLANS: [&str; 4] = [
    "mkdirat(",
    "TAG.tmp",
    "\"rename-probe\"",
    "\"plan.json.tmp\"",
];
const MOVES: [&str; 2] = ["renameat2(", "\"done.json.tmp\""];
const UNDOES: [&str; 2] = ["finished\\\":false", "finished\\\":true"];

fn clean() -> Vec<String> {
    vec!["clean".into(), SESSION.into()]
}

fn case(what: &str, at: &Call) -> String {
    let line: String = at.line.chars().take(140).collect();
    format!("{what} killed at {} {}: {line}", at.name, at.nth)
}

#[test]
fn a_clean_up_killed_at_any_call_in_the_folder() {
    let bot = Bot::small();
    let movable = bot.movable();
    let mut tally = Tally::new("clean, in the folder");
    let halves = [
        (Tracee::Planning, bot.planning()),
        (Tracee::Moving, bot.moving(&movable)),
    ];
    for (tracee, baseline) in halves {
        for (i, at) in kill_points(&baseline, 4).iter().enumerate() {
            // Every way on from every state; calls that only look leave none of their own.
            let ways = if at.changes() {
                &AFTER[..]
            } else {
                &AFTER[i % 3..=i % 3]
            };
            for after in ways {
                let case = case("clean", at);
                tally.count(bot.crash(tracee, at, clean), &case);
                bot.recovers(&movable, *after, &case);
            }
        }
    }
    tally.end();
}

#[test]
fn a_clean_up_killed_at_any_call_of_the_journal() {
    let bot = Bot::small();
    let movable = bot.movable();
    let mut tally = Tally::new("clean, in the journal and before the lock");
    for fresh in [false, true] {
        let forget = || {
            if fresh {
                let _ = fs::remove_dir_all(bot.path("state"));
            }
        };
        forget();
        let baseline = bot.baseline(Tracee::Main, &["journal.sqlite-journal"], clean);
        // With a journal to make, what comes after that is the same.
        let looks = if fresh { 0 } else { 2 };
        for (i, at) in kill_points(&baseline, looks).iter().enumerate() {
            let case = case("clean", at);
            let prepare = || {
                forget();
                clean()
            };
            let killed = bot.crash(Tracee::Main, at, prepare);
            tally.count(killed, &case);
            bot.recovers(&movable, AFTER[i % 3], &case);
        }
    }
    // Taking the lock, and the first look at the folder under it.
    let baseline = bot.traced(Tracee::All, None, &["clean", SESSION]);
    bot.undo_all("baseline");
    let looks = baseline
        .trace
        .iter()
        .filter(|call| matches!(call.name.as_str(), "flock" | "newfstatat" | "getdents64"));
    for at in sample(&looks.collect::<Vec<_>>(), 8) {
        // Which thread comes to this number first is not known; wherever it is, it is safe.
        let killed = bot.crash(Tracee::All, at, clean);
        assert!(killed || at.name != "flock", "{}", at.line);
        bot.recovers(&movable, After::Restart, &case("clean", at));
    }
    tally.end();
}

#[test]
fn an_undo_killed_at_any_call() {
    let bot = Bot::small();
    let movable = bot.movable();
    let undo = || -> Vec<String> {
        let clean = bot.run(&["clean", SESSION]);
        assert_eq!(clean.code, 0, "{}", clean.err);
        vec!["undo".into(), bot.stored().pop().unwrap()]
    };
    let mut tally = Tally::new("undo");
    for tracee in [Tracee::Planning, Tracee::Main] {
        let expected = if tracee == Tracee::Planning {
            &UNDOES[..]
        } else {
            &["journal.sqlite-journal"]
        };
        let baseline = bot.baseline(tracee, expected, undo);
        let points = kill_points(&baseline, 1);
        // The journal is written as by a clean-up, of which every call is tried.
        let points = if tracee == Tracee::Planning {
            points.iter().collect()
        } else {
            sample(&points.iter().collect::<Vec<_>>(), 16)
        };
        for (i, at) in points.into_iter().enumerate() {
            let all = at.changes() && tracee == Tracee::Planning;
            let ways = if all {
                &AFTER[..]
            } else {
                &AFTER[i % 3..=i % 3]
            };
            for after in ways {
                let case = case("undo", at);
                let killed = bot.crash(tracee, at, undo);
                tally.count(killed, &case);
                bot.recovers(&movable, *after, &case);
            }
        }
    }
    tally.end();
}

/// A crash in the middle of the moves, and another one during the recovery from it.
#[test]
fn a_recovery_killed_at_any_call() {
    let bot = Bot::small();
    let movable = bot.movable();
    let baseline = bot.moving(&movable);
    let moves: Vec<&Call> = baseline
        .iter()
        .filter(|call| call.name == "renameat2")
        .collect();
    let middle = moves[moves.len() / 2];
    let crashed = || {
        assert!(
            bot.crash(Tracee::Moving, middle, clean),
            "killed at {}",
            middle.line
        );
        let away = bot.away();
        assert!(!away.is_empty() && away.len() < movable.len(), "{away:?}");
        clean()
    };
    let mut tally = Tally::new("recovery by clean");
    let baseline = bot.baseline(Tracee::Planning, &MOVES, crashed);
    for (i, at) in kill_points(&baseline, 1).iter().enumerate() {
        let ways = if at.changes() {
            &AFTER[..2]
        } else {
            &AFTER[i % 3..=i % 3]
        };
        for after in ways {
            let case = case("recovery", at);
            tally.count(bot.crash(Tracee::Planning, at, crashed), &case);
            bot.recovers(&movable, *after, &case);
        }
    }
    tally.end();

    let serve = |inject: Option<&str>| -> Ran {
        let port = net::free_port(None).unwrap();
        bot.attached(1, inject, bot.serve_args(port), Some(port))
    };
    // Its threads share the work out differently each time: of three traces that have the moves
    // the shortest has the fewest calls that another one may lack.
    let mut traces = Vec::new();
    for _ in 0..30 {
        if traces.len() == 3 {
            break;
        }
        crashed();
        let ran = serve(None);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(bot.unfinished(), Vec::<String>::new());
        bot.undo_all("baseline");
        if ran.trace.iter().any(|call| call.name == "renameat2") {
            traces.push(ran.trace);
        }
    }
    let baseline = traces
        .into_iter()
        .min_by_key(Vec::len)
        .expect("the thread that ends the moves is traced");
    let mut tally = Tally::new("recovery by serve");
    let changes: Vec<&Call> = baseline.iter().filter(|call| call.changes()).collect();
    for (i, at) in changes.into_iter().enumerate() {
        let case = case("recovery by serve", at);
        let killed = (0..8).any(|_| {
            bot.undo_all(&case);
            crashed();
            serve(Some(&at.inject("signal=KILL"))).killed()
        });
        tally.count(killed, &case);
        bot.recovers(&movable, AFTER[i % 3], &case);
    }
    tally.end();
}

/// The whole folder, at a few calls of each kind.
#[test]
fn the_bloated_folder_survives_kills() {
    let bot = Bot::new(&fixture::read("bloated-classic-387", then()).unwrap());
    let movable = bot.movable();
    assert!(
        bot.before.len() == 387 && movable.len() > 280,
        "{}",
        movable.len()
    );
    let mut tally = Tally::new("387 files");
    let halves = [
        (Tracee::Planning, bot.planning()),
        (Tracee::Moving, bot.moving(&movable)),
    ];
    for (tracee, baseline) in halves {
        for name in ["mkdirat", "renameat2", "renameat", "fsync"] {
            let calls: Vec<&Call> = baseline.iter().filter(|call| call.name == name).collect();
            for (i, at) in sample(&calls, 5).into_iter().enumerate() {
                let case = case("clean", at);
                tally.count(bot.crash(tracee, at, clean), &case);
                bot.recovers(&movable, AFTER[i % 3], &case);
            }
        }
    }
    tally.end();
}

/// Has the command fail where `at` says, and returns what it said. `None`: not reached.
fn failing(
    bot: &Bot,
    tracee: Tracee,
    at: &Call,
    error: &str,
    prepare: impl Fn() -> Vec<String>,
) -> Option<Ran> {
    // Its first two arguments, without numbers and names of runs. Of a read the name alone: in
    // which order files are read, and where to, is not known.
    let arguments = match at.name.as_str() {
        "read" | "pread64" | "fstat" | "getdents64" => 0,
        _ => 2,
    };
    let shape = |line: &str| -> String {
        let call: String = line.split(',').take(arguments).collect();
        let call = call.split(") = ").next().unwrap_or_default();
        call.chars().filter(|c| !c.is_ascii_hexdigit()).collect()
    };
    for _ in 0..10 {
        let command = prepare();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let ran = bot.traced(
            tracee,
            Some(&at.inject(&format!("error={error}"))),
            &command,
        );
        // The order of the files in a directory may have changed: another call has this number.
        if !ran.injected.is_empty()
            && ran
                .injected
                .iter()
                .all(|line| shape(line) == shape(&at.line))
        {
            return Some(ran);
        }
        bot.undo_all(&at.line);
    }
    None
}

/// Exit code, reason in the journal and words of the message.
fn expected_result(error: &str) -> (i32, &'static str, &'static str) {
    match error {
        "EROFS" => (2, "io", "read-only; remount it read-write"),
        "ENOSPC" => (2, "io", "no space left"),
        "EACCES" => (2, "io", "not permitted; run as the bot's user"),
        "EXDEV" => (1, "filesystem", "files are never copied"),
        "EINVAL" | "ENOLCK" => (
            1,
            "filesystem",
            "must be on a local file system such as ext4 or xfs",
        ),
        _ => (2, "io", "error"),
    }
}

/// The last clean-up on record says what the person saw.
fn is_recorded(bot: &Bot, ran: &Ran, case: &str) {
    let journal = bot.journal();
    let last = &journal[0];
    let status = if ran.code == 1 { "refused" } else { "failed" };
    assert_eq!(last["status"], status, "{case}: {last}");
    let detail = last["detail"].as_str().unwrap_or_default();
    assert!(
        !detail.is_empty() && ran.err.contains(detail),
        "{case}: {last}\n{}",
        ran.err
    );
    assert!(last["reason"].is_string(), "{case}: {last}");
}

#[test]
fn a_clean_up_in_which_any_call_fails() {
    let bot = Bot::small();
    let movable = bot.movable();
    let is = |call: &Call, part: &str| call.line.contains(part);
    let (planning, moving) = (bot.planning(), bot.moving(&movable));
    let last_move = moving
        .iter()
        .rposition(|call| call.name == "renameat2")
        .unwrap();
    let steps = planning.iter().map(|at| (Tracee::Planning, None, at));
    let steps = steps.chain(
        moving
            .iter()
            .enumerate()
            .map(|(i, at)| (Tracee::Moving, Some(i), at)),
    );
    let (mut tried, mut missed, began) = (0, Vec::new(), Instant::now());
    for (tracee, i, at) in steps {
        let in_folder = is(at, QUARANTINE) || is(at, "/sessions/bot");
        let errors: &[&str] = match at.name.as_str() {
            _ if !in_folder => continue,
            "mkdirat" => &["EROFS", "ENOSPC", "EACCES"],
            "openat" if at.changes() => &["EROFS", "ENOSPC"],
            "openat2" => &["EXDEV"],
            "write" | "fsync" => &["ENOSPC", "EIO"],
            "renameat" => &["EIO"],
            "renameat2" => &["EXDEV", "EINVAL", "EIO"],
            "unlinkat" => &["EIO"],
            // Of the looks, those at the files that move.
            "newfstatat" if i.is_some() && movable.iter().any(|name| is(at, name)) => &["EIO"],
            _ => continue,
        };
        for error in errors {
            let case = format!("{error} from {} {}: {}", at.name, at.nth, at.line);
            let Some(ran) = failing(&bot, tracee, at, error, clean) else {
                missed.push(case);
                continue;
            };
            tried += 1;
            bot.nothing_is_lost(&movable, &case);
            let away = bot.away();
            // A second look at the whole folder can do without one file. And without an earlier
            // run to end it does not matter whether the folder still has its name, which is
            // looked at once more before the first move.
            if ran.code == 0 {
                let by_name = at.name == "openat2" && is(at, "\"/sessions/bot\"");
                assert!(
                    at.name == "newfstatat" || by_name,
                    "{case}: it went on: {}",
                    ran.out
                );
                bot.undo_all(&case);
                continue;
            }
            let (code, reason, words) = expected_result(error);
            let held = !away.is_empty();
            if held {
                // Only what ends a run fails after the last move; then it says what to do.
                assert!(i > Some(last_move), "{case}: {away:?} were not put back");
                assert!(
                    ran.err.contains("baileys_remediator undo"),
                    "{case}: {}",
                    ran.err
                );
                assert_eq!(away, movable, "{case}");
            }
            // A file that cannot be looked at after its move may have been written to.
            let changed =
                at.name == "newfstatat" && ran.err.contains("a process writes into the folder");
            if !changed {
                assert!(ran.err.contains(words), "{case}: {}", ran.err);
                let expected = if held { (2, "io") } else { (code, reason) };
                let found = &bot.journal()[0]["reason"];
                assert_eq!(
                    (ran.code, found),
                    (expected.0, &Value::from(expected.1)),
                    "{case}: {}",
                    ran.err
                );
            }
            assert!(
                !held || !ran.err.contains("no file was moved"),
                "{case}: {}",
                ran.err
            );
            is_recorded(&bot, &ran, &case);
            bot.restart();
            assert_eq!(bot.unfinished(), Vec::<String>::new(), "{case}");
            // What was called off is not carried out after a restart.
            assert_eq!(bot.away(), away, "{case}: after a restart");
            bot.undo_all(&case);
        }
    }
    eprintln!(
        "errors in a clean-up: {tried} tried in {:.1?}, {} not reached",
        began.elapsed(),
        missed.len()
    );
    assert!(tried > 100 && missed.is_empty(), "{missed:?}");
}

/// EXDEV, ENOSPC, EROFS, EACCES and ESTALE at every call that a clean-up and an undo make in
/// the folder, those that only look included: whatever fails, each file is in exactly one
/// place and as it was, the failure is reported, nothing is left half done, and all can be brought
/// back. `make soak` tries all five at every call (`ERRNOS=all`), `make test` each of them
/// once for each kind of call.
#[test]
fn every_errno_at_every_call() {
    const ERRNOS: [&str; 5] = ["EXDEV", "ENOSPC", "EROFS", "EACCES", "ESTALE"];
    let all = std::env::var("ERRNOS").is_ok_and(|what| what == "all");
    let bot = Bot::small();
    let movable = bot.movable();
    let undo = || -> Vec<String> {
        let clean = bot.run(&["clean", SESSION]);
        assert_eq!(clean.code, 0, "{}", clean.err);
        vec!["undo".into(), bot.stored().pop().unwrap()]
    };
    let (planning, moving) = (bot.planning(), bot.moving(&movable));
    let undoing = bot.baseline(Tracee::Planning, &UNDOES, undo);
    let steps = planning.iter().map(|at| (Tracee::Planning, true, at));
    let steps = steps.chain(moving.iter().map(|at| (Tracee::Moving, true, at)));
    let steps = steps.chain(undoing.iter().map(|at| (Tracee::Planning, false, at)));
    let (mut tried, mut failed, mut missed, began) =
        (BTreeMap::new(), 0, Vec::new(), Instant::now());
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (tracee, cleans, at) in steps.filter(|(_, _, at)| at.line.contains("/sessions/bot")) {
        let nth = seen.entry(at.name.as_str()).or_default();
        *nth += 1;
        for (index, error) in ERRNOS.into_iter().enumerate() {
            // Of each name the first five calls, each with another one.
            if !all && *nth != index + 1 {
                continue;
            }
            let what = if cleans { "clean" } else { "undo" };
            let case = format!("{what}: {error} from {} {}: {}", at.name, at.nth, at.line);
            let ran = match cleans {
                true => failing(&bot, tracee, at, error, clean),
                false => failing(&bot, tracee, at, error, undo),
            };
            let Some(ran) = ran else {
                missed.push(case);
                continue;
            };
            *tried.entry((at.name.clone(), error)).or_insert(0) += 1;
            failed += usize::from(ran.code != 0);
            assert!(!ran.err.contains("panicked"), "{case}: {}", ran.err);
            bot.nothing_is_lost(&movable, &case);
            let away = bot.away();
            if ran.code == 0 {
                // It could do without: a file that cannot be looked at stays, and so may others.
                assert!(away.is_subset(&movable), "{case}: {}", ran.out);
                assert!(away.is_empty() != cleans, "{case}: {away:?}: {}", ran.out);
            } else {
                assert!(!ran.err.trim().is_empty(), "{case}: not reported");
                is_recorded(&bot, &ran, &case);
                // What was moved and could not be put back is named with the way back.
                let told = away.is_empty() || ran.err.contains("baileys_remediator undo");
                assert!(
                    !cleans || told,
                    "{case}: {} files are away: {}",
                    away.len(),
                    ran.err
                );
            }
            // A restart takes longer than all of this, so only where there is something to end.
            if all || !bot.unfinished().is_empty() {
                bot.restart();
                bot.nothing_is_lost(&movable, &case);
                assert_eq!(
                    bot.unfinished(),
                    Vec::<String>::new(),
                    "{case}: after a restart"
                );
            }
            bot.undo_all(&case);
        }
    }
    let count: usize = tried.values().sum();
    eprintln!(
        "{count} errors tried in {:.1?}, {failed} of them fatal, {} not reached; kinds of call and errno: {}",
        began.elapsed(),
        missed.len(),
        tried.len()
    );
    assert!(missed.is_empty(), "{missed:?}");
    let calls: BTreeSet<&str> = tried.keys().map(|(name, _)| name.as_str()).collect();
    for call in [
        "mkdirat",
        "openat",
        "renameat",
        "renameat2",
        "fsync",
        "write",
        "newfstatat",
    ] {
        assert!(calls.contains(call), "{call} was not tried: {calls:?}");
    }
}

#[test]
fn an_undo_in_which_any_call_fails() {
    let bot = Bot::small();
    let movable = bot.movable();
    let undo = || -> Vec<String> {
        let clean = bot.run(&["clean", SESSION]);
        assert_eq!(clean.code, 0, "{}", clean.err);
        vec!["undo".into(), bot.stored().pop().unwrap()]
    };
    let baseline = bot.baseline(Tracee::Planning, &UNDOES, undo);
    let mut tried = 0;
    for at in baseline
        .iter()
        .filter(|call| call.changes() && call.line.contains(QUARANTINE))
    {
        let error = if at.name == "renameat2" {
            "EROFS"
        } else {
            "ENOSPC"
        };
        let case = format!("{error} from {} {}: {}", at.name, at.nth, at.line);
        let Some(ran) = failing(&bot, Tracee::Planning, at, error, undo) else {
            continue;
        };
        tried += 1;
        bot.nothing_is_lost(&movable, &case);
        assert_eq!(ran.code, 2, "{case}: {}", ran.err);
        assert!(
            ran.err.contains(expected_result(error).2),
            "{case}: {}",
            ran.err
        );
        assert!(
            !ran.err.contains("no file was moved"),
            "{case}: {}",
            ran.err
        );
        is_recorded(&bot, &ran, &case);
        // The same command again takes it to its end.
        bot.undo_all(&case);
    }
    eprintln!("errors in an undo: {tried} tried");
    assert!(tried > 12, "{tried}");
}

/// The lock, as on NFS; and the folder itself.
#[test]
fn a_folder_that_cannot_be_locked_or_opened() {
    let bot = Bot::small();
    for (call, error) in [("flock", "ENOLCK"), ("flock", "EINVAL"), ("flock", "EIO")] {
        let ran = bot.traced(
            Tracee::All,
            Some(&format!("{call}:error={error}:when=1")),
            &["clean", SESSION],
        );
        let (code, reason, words) = expected_result(error);
        assert_eq!(ran.code, code, "{call} {error}: {}", ran.err);
        assert!(ran.err.contains(words), "{call} {error}: {}", ran.err);
        is_recorded(&bot, &ran, call);
        assert_eq!(bot.journal()[0]["reason"], reason, "{call} {error}");
        bot.is_whole(call);
        assert!(
            !bot.quarantine().exists(),
            "{call} {error}: no trace is left"
        );
    }
    let ran = bot.traced(Tracee::All, Some("flock:error=EAGAIN"), &["clean", SESSION]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err
            .contains("another run holds the lock of this folder; try again"),
        "{}",
        ran.err
    );
    bot.is_whole("locked");
    for error in ["EACCES", "EIO"] {
        let ran = bot.traced(
            Tracee::All,
            Some(&format!("openat2:error={error}")),
            &["clean", SESSION],
        );
        assert_eq!(ran.code, 2, "{error}: {}", ran.err);
        assert!(!ran.err.is_empty());
        bot.is_whole(error);
    }
}

/// Two real mounts, where this machine lets us mount. The same errors are injected above,
/// so nothing rests on this alone.
#[test]
fn a_read_only_file_system_and_a_quarantine_on_another_mount() {
    let unshare = |script: &str, args: &[String]| {
        // Root may mount as it is; anybody else as root of a user namespace of their own.
        let flags = if rustix::process::geteuid().is_root() {
            "-m"
        } else {
            "-rm"
        };
        let mut all = vec![
            flags.to_owned(),
            "sh".into(),
            "-ec".into(),
            script.into(),
            "sh".into(),
        ];
        all.extend_from_slice(args);
        process::run(Path::new("unshare"), all, BOUND)
    };
    let can = unshare("mount -t tmpfs none /mnt", &[]).is_ok_and(|(status, _, _)| status.success());
    if !can {
        eprintln!("no mount namespaces here: EROFS and EXDEV were injected only");
        return;
    }
    let bot = Bot::small();
    let folder = bot.folder.display().to_string();
    let clean = |script: &str| -> Ran {
        let mut args = vec![folder.clone(), REMEDIATOR.to_owned()];
        args.extend(bot.args(&["clean", SESSION]));
        let script = format!("dir=$1; shift; {script}; exec \"$@\"");
        let (status, out, err) = unshare(&script, &args).unwrap();
        Ran {
            code: status.code().unwrap_or(137),
            out,
            err,
            trace: Vec::new(),
            injected: Vec::new(),
        }
    };

    let ran = clean(r#"mount --bind "$dir" "$dir"; mount -o remount,ro,bind "$dir""#);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains(expected_result("EROFS").2), "{}", ran.err);
    is_recorded(&bot, &ran, "read-only");
    bot.is_whole("read-only");
    assert!(!bot.quarantine().exists());

    // Another file system, and the same one under another mount: rename refuses both.
    fs::create_dir(bot.quarantine()).unwrap();
    fs::create_dir(bot.path("elsewhere")).unwrap();
    let elsewhere = bot.path("elsewhere").display().to_string();
    for mount in [
        r#"mount -t tmpfs none "$dir/.baileys_quarantine""#.to_owned(),
        format!(r#"mount --bind '{elsewhere}' "$dir/.baileys_quarantine""#),
    ] {
        let ran = clean(&mount);
        let (code, reason, words) = expected_result("EXDEV");
        assert_eq!(ran.code, code, "{}", ran.err);
        assert!(ran.err.contains(words), "{}", ran.err);
        is_recorded(&bot, &ran, "another mount");
        assert_eq!(bot.journal()[0]["reason"], reason);
        bot.is_whole("another mount");
        assert!(names(&bot.quarantine()).is_empty() && names(Path::new(&elsewhere)).is_empty());
    }
}
