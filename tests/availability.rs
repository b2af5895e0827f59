//! What hangs, floods or breaks beside one bot keeps no other bot from being watched, cleaned
//! or started.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use testkit::fixture::Snapshot;
use testkit::hung::HungMount;
use testkit::supervised::SupervisedBot;
use testkit::world::{World, alert};

/// More than the remediator has workers.
const HUNG: [&str; 6] = ["hung-1", "hung-2", "hung-3", "hung-4", "hung-5", "hung-6"];

/// The folders of [`HUNG`] do not answer from now on. `None`: not possible here.
fn hang(world: &World) -> Option<Vec<HungMount>> {
    let folders = HUNG.iter().map(|session| world.folder(session));
    folders.map(|folder| HungMount::over(&folder)).collect()
}

/// Lays out the bots of [`HUNG`] and one more, `fine`.
fn bots(world: &World) {
    for session in HUNG.into_iter().chain(["fine"]) {
        world.bot(session, "bloated-classic-387", "disconnected");
    }
}

fn folder_is(world: &World, session: &str, up: f64) -> testkit::Result<()> {
    let metrics = world.metrics();
    let labels = [("session", session)];
    let seen = metrics.sum("baileys_auth_folder_up", &labels)?;
    let errors = [("session", session), ("reason", "timeout")];
    let late = metrics
        .sum("baileys_auth_folder_error", &errors)
        .unwrap_or(0.0);
    match (seen, late) == (up, 1.0 - up) {
        true => Ok(()),
        false => Err(format!("{session}: up {seen}, timeout {late}")),
    }
}

fn threads(pid: u32) -> usize {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    tasks.unwrap().count()
}

#[test]
fn folders_that_hang_leave_the_exporter_its_other_folders() {
    let mut world = testkit::world!();
    bots(&world);
    world.with_probe();
    world.start_exporter();
    let Some(mounts) = hang(&world) else { return };
    for session in HUNG {
        world.wait("it is down", || folder_is(&world, session, 0.0));
    }
    folder_is(&world, "fine", 1.0).unwrap();
    let before = threads(world.pid());
    for _ in 0..40 {
        folder_is(&world, "fine", 1.0).unwrap();
    }
    let after = threads(world.pid());
    // One look at a time for each folder, and the pool of the runtime.
    assert!(
        after <= before + HUNG.len(),
        "{before} threads, {after} later"
    );
    // The commands go on as well.
    world
        .exporter(&["status"])
        .must(2, &["fine", "(hung-1, hung-2", "timeout", "may hang"]);
    drop(mounts);
    for session in HUNG {
        world.wait("it is up again", || folder_is(&world, session, 1.0));
    }
    world.finish();
}

#[test]
fn folders_that_hang_from_the_start_are_sessions() {
    let mut world = testkit::world!();
    bots(&world);
    let Some(mounts) = hang(&world) else { return };
    world.start_exporter();
    for session in HUNG {
        world.wait("it is down", || folder_is(&world, session, 0.0));
    }
    folder_is(&world, "fine", 1.0).unwrap();
    drop(mounts);
    world.finish();
}

#[test]
fn a_root_that_hangs_keeps_its_sessions() {
    let mut world = testkit::world!();
    bots(&world);
    world.start_exporter();
    let Some(mount) = HungMount::over(&world.path("sessions")) else {
        return;
    };
    world.wait("it is down", || folder_is(&world, "fine", 0.0));
    drop(mount);
    world.wait("it is up again", || folder_is(&world, "fine", 1.0));
    world.finish();
}

#[test]
fn folders_that_hang_leave_the_remediator_its_workers() {
    let mut world = testkit::world!();
    bots(&world);
    world.with_probe();
    world.start_remediator();
    let Some(mounts) = hang(&world) else { return };
    let alerts = HUNG.map(|session| alert(session, "cleanup"));
    assert_eq!(world.accepted(&alerts), HUNG.len() as u64);
    assert_eq!(world.accepted(&[alert("fine", "cleanup")]), 1);
    world.wait_until_idle();
    let run = world.run_of("fine");
    assert_eq!(run["status"], "done", "{run}");
    for session in HUNG {
        let run = world.run_of(session);
        assert_eq!(run["reason"], "io", "{run}");
        let detail = run["detail"].as_str().unwrap();
        assert!(detail.contains("may hang"), "{run}");
    }
    drop(mounts);
    world.finish();
}

#[test]
fn the_age_of_the_queue_is_exported() {
    let mut world = testkit::world!();
    world.bot("bot", "bloated-classic-387", "hold");
    world.with_probe();
    world.start_remediator();
    assert_eq!(world.metric("queue_age_seconds", &[]), 0.0);
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    world.wait_until_asked("bot");
    // It waits for the clean-up, which waits for the probe.
    assert_eq!(world.accepted(&[alert("bot", "emergency")]), 1);
    world.wait("the emergency has waited", || {
        let age = world.metric("queue_age_seconds", &[("action", "emergency")]);
        (age >= 1.0).then_some(()).ok_or_else(|| format!("{age} s"))
    });
    assert_eq!(
        world.metric("queue_age_seconds", &[("action", "cleanup")]),
        0.0
    );
    world.probe_says("bot", "connected");
    world.wait_until_idle();
    assert_eq!(world.metric("queue_age_seconds", &[]), 0.0);
    world.finish();
}

/// Sends requests without a pause until `over`, and counts the answers with 503.
fn flood(port: u16, over: &AtomicBool, refused: &AtomicUsize) {
    let mut stream: Option<TcpStream> = None;
    while !over.load(Ordering::Relaxed) {
        let Ok(mut open) = stream
            .take()
            .map_or_else(|| TcpStream::connect(("127.0.0.1", port)), Ok)
        else {
            continue;
        };
        let _ = open.set_read_timeout(Some(Duration::from_secs(20)));
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        let sent = open.write_all(request.as_bytes());
        if sent.and_then(|()| open.read_to_end(&mut answer)).is_ok()
            && answer.starts_with(b"HTTP/1.1 503")
        {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An emergency in a flood of scrapes; returns the most threads that the remediator had.
fn emergency_in_a_flood(world: &SupervisedBot, before: &Snapshot, clients: usize) -> usize {
    let (over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (port, pid) = (world.port, world.pid());
    let most = std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| flood(port, &over, &refused));
        }
        let most = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(threads(pid));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        world.deliver_in_a_flood("emergency");
        let run = world.wait("the run ends", || world.ended());
        over.store(true, Ordering::Relaxed);
        (most.join().unwrap(), run)
    });
    let (most, run) = most;
    assert_eq!(run["status"], "done", "{run}");
    assert!(world.moved(before) > 0);
    world.is_connected().unwrap();
    assert!(refused.into_inner() > 0, "no scrape was refused");
    most
}

#[test]
fn a_flood_of_scrapes_keeps_no_bot_down() {
    let (mut world, before) = testkit::supervised_bot!();
    world.start();
    let most = emergency_in_a_flood(&world, &before, 100);
    // The workers of the runtime, and few threads that block.
    assert!(most < 100, "{most} threads");
}

/// The kernel refuses a thread or a process above the limit, as it does with `TasksMax=`.
#[test]
fn a_flood_under_a_limit_of_tasks_keeps_no_bot_down() {
    // Of no other test: the kernel counts the tasks of a user.
    const USER: u32 = 61_240;
    const TASKS: usize = 64;
    let (mut world, before) = testkit::supervised_bot!();
    if !world.run_all_as(USER) {
        return;
    }
    // Of util-linux, as setpriv is.
    world.start_by(&["prlimit", &format!("--nproc={TASKS}")]);
    world.start();
    emergency_in_a_flood(&world, &before, 3 * TASKS);
    let failed = ["Resource temporarily unavailable", "EAGAIN", "panicked"];
    let log = world.read("log");
    assert!(failed.iter().all(|word| !log.contains(word)), "{log}");
}

/// A control group that is removed when it is empty at last.
struct ControlGroup(PathBuf);

impl ControlGroup {
    /// One that allows so many tasks. `None`: not possible here.
    fn with_tasks(tasks: usize) -> Option<Self> {
        let name = format!("baileys-test-{}", std::process::id());
        for root in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            let group = Self(Path::new(root).join(&name));
            if fs::create_dir(&group.0).is_ok()
                && fs::write(group.0.join("pids.max"), tasks.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        testkit::not_run(format_args!(
            "no control group with a limit of tasks can be made here"
        ));
        None
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The bot was killed a moment ago.
        let until = testkit::Patience::new(Duration::from_secs(10));
        let _ = until.wait_until(
            Duration::from_secs(10),
            "it is empty",
            || match fs::remove_dir(&self.0) {
                Err(error) if self.0.exists() => Err(error.to_string()),
                _ => Ok(()),
            },
        );
    }
}

/// The limit of `TasksMax=`: also for the bot, which the remediator starts.
#[test]
fn a_flood_in_a_control_group_with_few_tasks_keeps_no_bot_down() {
    const TASKS: usize = 64;
    let Some(group) = ControlGroup::with_tasks(TASKS) else {
        return;
    };
    let (mut world, before) = testkit::supervised_bot!();
    let procs = group.0.join("cgroup.procs");
    let join = format!("echo $$ > {} && exec \"$0\" \"$@\"", procs.display());
    world.start_by(&["sh", "-c", &join]);
    world.start();
    emergency_in_a_flood(&world, &before, 3 * TASKS);
    let failed = ["Resource temporarily unavailable", "EAGAIN", "panicked"];
    let log = world.read("log");
    assert!(failed.iter().all(|word| !log.contains(word)), "{log}");
    let bot = fs::read_to_string(procs).unwrap();
    assert!(bot.lines().any(|pid| pid == world.read("bot.pid").trim()));
    drop(world);
}

#[test]
fn an_emergency_does_not_wait_for_other_bots_whose_folders_hang() {
    let (mut world, before) = testkit::supervised_bot!();
    world.configure("    sessions: [bot]");
    let folders = HUNG.map(|session| world.path("sessions").join(session));
    for folder in &folders {
        let quiet = std::time::SystemTime::now() - Duration::from_secs(900);
        testkit::fixture::unpack("bloated-classic-387", folder, quiet).unwrap();
    }
    world.start();
    let mounts: Option<Vec<HungMount>> = folders
        .iter()
        .map(|folder| HungMount::over(folder))
        .collect();
    let Some(mounts) = mounts else { return };
    for session in HUNG {
        let answer = world
            .post(world.port, "firing", &[(session, "emergency")])
            .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}");
    assert!(world.moved(&before) > 0);
    world.is_connected().unwrap();
    drop(mounts);
}

/// A person tries it as root, once; then it runs as the user it is meant to run as.
#[test]
fn what_root_makes_in_the_state_directory_belongs_to_its_owner() {
    // Of no other test.
    const USER: u32 = 61_241;
    let (mut world, _) = testkit::supervised_bot!();
    fs::create_dir(world.path("state")).unwrap();
    if !world.run_all_as(USER) {
        return;
    }
    // Root runs only the commands that root alone can write.
    let etc = tempfile::tempdir().unwrap();
    fs::set_permissions(etc.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let config = etc.path().join("config.yml");
    fs::copy(world.path("config.yml"), &config).unwrap();
    world.use_config(&config);
    world.run_as(0);
    world.start();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}");
    world.signal(rustix::process::Signal::KILL);
    assert!(!world.ends().success());
    let mut names = Vec::new();
    for entry in walkdir::WalkDir::new(world.path("state")) {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&about);
        assert_eq!(owner, USER, "{}", entry.path().display());
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    for name in ["serve.lock", "journal.sqlite", "journal.sqlite-journal"] {
        assert!(names.iter().any(|there| there == name), "{names:?}");
    }
    for start in ["call-", "owner-"] {
        let is_there = |name: &String| name.starts_with(start);
        let is_there = names.iter().any(is_there);
        assert!(is_there, "{names:?} {run}\n{}", world.read("log"));
    }
    world.run_as(USER);
    world.start();
    world.status();
}

/// The ways to lose a journal, by what is done to the state directory.
type Loss = fn(&Path);
const LOSSES: [(&str, Loss); 4] = [
    ("its directory is deleted", |state| {
        fs::remove_dir_all(state).unwrap();
    }),
    ("it is deleted", |state| {
        fs::remove_file(state.join("journal.sqlite")).unwrap();
    }),
    ("it is truncated", |state| {
        let mut file = fs::File::options();
        let file = file.write(true).open(state.join("journal.sqlite")).unwrap();
        file.set_len(0).unwrap();
    }),
    ("it is replaced", |state| {
        let (file, new) = (state.join("journal.sqlite"), state.join("new"));
        fs::copy(&file, &new).unwrap();
        fs::rename(new, file).unwrap();
    }),
];

#[test]
fn a_journal_that_is_lost_is_found_and_nothing_is_accepted() {
    for (how, lose) in LOSSES {
        let mut world = testkit::world!();
        let before = world.bot("bot", "bloated-classic-387", "disconnected");
        world.with_probe();
        world.start_remediator();
        assert_eq!(world.metric("journal_up", &[]), 1.0);
        lose(&world.path("state"));
        // Whatever comes first finds it.
        let (status, said) = world.deliver(&[alert("bot", "cleanup")]);
        assert_eq!(status, 503, "{how}: {said}");
        assert_eq!(world.metric("journal_up", &[]), 0.0, "{how}");
        let ready = || testkit::net::get(&world.url("/-/ready"));
        assert_eq!(ready().unwrap().status, 503, "{how}");
        assert_eq!(
            world.metric("webhook_requests_total", &[("code", "503")]),
            1.0
        );
        world.wait_for_log("no run begins");
        world.unchanged("bot", &before);
        let _ = fs::remove_dir_all(world.path("state"));
        world.stop();
        // A new journal.
        world.start_remediator();
        assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1, "{how}");
        world.wait_until_idle();
        assert_eq!(world.run_of("bot")["status"], "done", "{how}");
        world.finish();
    }
}

#[test]
fn a_lost_journal_is_found_without_a_request() {
    let mut world = testkit::world!();
    world.bot("bot", "normal", "disconnected");
    world.with_probe();
    world.start_remediator();
    fs::remove_dir_all(world.path("state")).unwrap();
    world.wait_for_log("no run begins");
    world.finish();
}

#[test]
fn a_full_disk_is_found_without_a_request() {
    let mut world = testkit::world!();
    world.bot("bot", "normal", "disconnected");
    world.with_probe();
    // No file may grow. (The signal that comes with it would kill the program.)
    world.start_remediator_in(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    let pid = format!("--pid={}", world.pid());
    let limit = |bytes: &str| {
        let mut prlimit = std::process::Command::new("prlimit");
        let status = prlimit.args([&pid, &format!("--fsize={bytes}:unlimited")]);
        assert!(status.status().expect("prlimit (util-linux)").success());
    };
    let is_ready = |world: &World| {
        let answer = testkit::net::get(&world.url("/-/ready"));
        answer.is_ok_and(|answer| answer.status == 200)
    };
    let wait = |world: &World, up: bool| {
        world.wait("the check finds it", || match is_ready(world) == up {
            true => Ok(()),
            false => Err("not yet".into()),
        });
        assert_eq!(world.metric("journal_up", &[]), f64::from(up));
        // It can be read all the while.
        assert_eq!(world.metric("runs_total", &[("action", "cleanup")]), 0.0);
    };
    wait(&world, true);
    limit("0");
    wait(&world, false);
    assert_eq!(world.deliver(&[alert("bot", "cleanup")]).0, 503);
    assert!(
        !is_ready(&world),
        "a request ends no failure of the journal"
    );
    limit("unlimited");
    wait(&world, true);
    world.finish();
}

/// Loses the journal of a remediator at a point of a restart, in all ways.
fn lose_while(held: &str, then: impl Fn(&str, SupervisedBot, &Snapshot) + Sync) {
    std::thread::scope(|scope| {
        for (how, lose) in LOSSES {
            let then = &then;
            scope.spawn(move || {
                let (mut world, before) = testkit::supervised_bot!();
                world.start();
                world.mark(&format!("hold-{held}"));
                world.deliver("emergency");
                world.wait_for_file(&format!("reached-{held}"));
                world.wait("the run is under way", || match world.ended() {
                    Err(run) if run.contains("\"running\"") => Ok(()),
                    other => Err(format!("{other:?}")),
                });
                lose(&world.path("state"));
                world.unmark(&format!("hold-{held}"));
                then(how, world, &before);
            });
        }
    });
}

#[test]
fn a_bot_that_is_down_is_started_without_a_journal() {
    for held in ["stop-before", "start-before"] {
        lose_while(held, |how, world, _| {
            world.wait(how, || match world.calls("start") {
                0 => Err("not started".into()),
                _ => world.is_connected(),
            });
            assert_eq!(world.calls("stop"), 1, "{how}");
        });
    }
}

#[test]
fn no_bot_is_stopped_that_could_not_be_put_on_record() {
    lose_while("asked", |how, mut world, before| {
        world.says("no run begins");
        world.signal(rustix::process::Signal::TERM);
        assert!(world.ends().success(), "{how}");
        assert_eq!(world.calls("stop"), 0, "{how}: {}", world.read("log"));
        assert_eq!(world.moved(before), 0, "{how}");
    });
}

/// Puts something at a path; returns the file that a program which follows it would change.
type Plant = fn(&World, &Path) -> std::path::PathBuf;

/// What another user can put in the place of a file.
const PLANTS: [(&str, Plant); 5] = [
    ("is a symbolic link", |world, at| {
        let target = world.path("victim");
        std::os::unix::fs::symlink(&target, at).unwrap();
        target
    }),
    ("is a symbolic link", |world, at| {
        let target = world.path("missing");
        std::os::unix::fs::symlink(&target, at).unwrap();
        target
    }),
    ("has more than one name", |world, at| {
        let target = world.path("victim");
        fs::hard_link(&target, at).unwrap();
        target
    }),
    ("is no regular file", |world, at| {
        rustix::fs::mkfifoat(rustix::fs::CWD, at, 0o600.into()).unwrap();
        world.path("victim")
    }),
    ("belongs to the user 4711", |world, at| {
        fs::write(at, "").unwrap();
        // Only root can be two users.
        let is_root = rustix::process::geteuid().is_root();
        match is_root {
            true => std::os::unix::fs::chown(at, Some(4711), None).unwrap(),
            false => fs::remove_file(at).unwrap(),
        }
        world.path("victim")
    }),
];

/// Plants each of [`PLANTS`] at `at` in turn, and lets `program` start and refuse it.
fn refuses_plants(world: &World, at: &Path, program: &Path, args: &[String]) {
    for (says, plant) in PLANTS {
        fs::write(world.path("victim"), "").unwrap();
        let target = plant(world, at);
        let before = fs::read(&target).ok();
        if fs::symlink_metadata(at).is_err() {
            continue;
        }
        let ran = testkit::world::Ran::of(program, args.iter().cloned());
        assert_ne!(ran.code, 0, "{}: {ran:#?}", at.display());
        assert!(ran.err.contains(says), "{}: {ran:#?}", at.display());
        assert!(ran.err.contains("this program did not make it"), "{ran:#?}");
        assert_eq!(fs::read(&target).ok(), before, "{}", at.display());
        fs::remove_file(at).unwrap();
    }
}

#[test]
fn the_remediator_refuses_what_others_put_in_its_state_directory() {
    let mut world = testkit::world!();
    let before = world.bot("bot", "bloated-classic-387", "disconnected");
    world.with_probe();
    let state = world.path("state");
    fs::create_dir(&state).unwrap();
    let args = world.serve_args();
    for name in ["journal.sqlite", "journal.sqlite-journal", "serve.lock"] {
        refuses_plants(
            &world,
            &state.join(name),
            &testkit::programs!().remediator,
            &args,
        );
        for entry in fs::read_dir(&state).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    // Those that belong to another process are passed over, and block nothing.
    for name in ["owner-0123456789abcdef.lock", "call-0123456789abcdef"] {
        rustix::fs::mkfifoat(rustix::fs::CWD, state.join(name), 0o600.into()).unwrap();
    }
    world.start_remediator();
    // Planted under a running `serve`.
    let journal = state.join("journal.sqlite-journal");
    let _ = fs::remove_file(&journal);
    fs::write(world.path("victim"), "victim").unwrap();
    fs::hard_link(world.path("victim"), &journal).unwrap();
    let (status, said) = world.deliver(&[alert("bot", "cleanup")]);
    assert_eq!(status, 503, "{said}");
    assert_eq!(fs::read(world.path("victim")).unwrap(), b"victim");
    world.unchanged("bot", &before);
    world.wait_for_log("hard link");
    fs::remove_file(&journal).unwrap();
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    world.wait_until_idle();
    world.finish();
}

#[test]
fn the_exporter_refuses_what_others_put_in_its_state_directory() {
    let mut world = testkit::world!();
    world.bot("bot", "normal", "disconnected");
    let state = world.path("counts");
    fs::create_dir(&state).unwrap();
    world.flags.extend([
        format!("--logs.path={}", world.path("bot.log").display()),
        format!("--logs.state-path={}", state.display()),
    ]);
    let mut args = vec![format!("--web.listen-address=127.0.0.1:{}", world.port)];
    args.extend(world.exporter_flags());
    for name in [
        "lock",
        "logs.sqlite",
        "logs.sqlite-journal",
        "logs.sqlite-wal",
        "logs.sqlite-shm",
    ] {
        refuses_plants(
            &world,
            &state.join(name),
            &testkit::programs!().exporter,
            &args,
        );
        for entry in fs::read_dir(&state).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn a_linked_state_directory_is_fine() {
    let mut world = testkit::world!();
    world.bot("bot", "bloated-classic-387", "disconnected");
    world.with_probe();
    fs::create_dir(world.path("private")).unwrap();
    std::os::unix::fs::symlink(world.path("private"), world.path("state")).unwrap();
    world.start_remediator();
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    world.wait_until_idle();
    assert_eq!(world.run_of("bot")["status"], "done");
    world.finish();
}

#[test]
fn a_clock_that_was_set_makes_no_folder_quiet() {
    let mut world = testkit::world!();
    let before = world.bot("bot", "bloated-classic-387", "disconnected");
    world.with_probe();
    world.start_remediator();
    world.stop();
    // As if the clock had been set by an hour meanwhile.
    let journal = rusqlite::Connection::open(world.path("state/journal.sqlite")).unwrap();
    let changed = "UPDATE clock_steps SET wall_ns = wall_ns - 3600 * 1000000000";
    assert_eq!(journal.execute(changed, []).unwrap(), 1);
    drop(journal);
    world.start_remediator();
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    world.wait_until_idle();
    let ran = world.remediator(&["clean", "bot", "--yes"]);
    ran.must(1, &["the clock of this machine was set"]);
    for run in world.runs_of("bot") {
        assert_eq!(run["status"], "refused", "{run:#}");
        assert_eq!(run["reason"], "connection_unknown", "{run:#}");
    }
    world.unchanged("bot", &before);
    world.finish();
}

/// Other bytes in the pages of a journal; its header stays.
fn damage_pages(journal: &Path) {
    const PAGE: usize = 4096;
    let mut bytes = fs::read(journal).unwrap();
    let mut random = 1_u64;
    for page in bytes.chunks_mut(PAGE).skip(1) {
        for byte in page.iter_mut().skip(2).step_by(7) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = random.to_be_bytes()[0];
        }
    }
    fs::write(journal, bytes).unwrap();
}

#[test]
fn a_journal_with_damaged_pages_is_refused_at_the_start_and_a_bot_that_is_down_is_started() {
    let (mut world, before) = testkit::supervised_bot!();
    world.start();
    world.mark("hold-stop-before");
    world.deliver("emergency");
    world.wait_for_file("reached-stop-before");
    world.signal(rustix::process::Signal::KILL);
    assert!(!world.ends().success());
    let journal = world.path("state/journal.sqlite");
    damage_pages(&journal);
    let damaged = fs::read(&journal).unwrap();
    let mut again = world.serve_command().spawn().unwrap();
    // The bot still runs at its first looks, and is stopped later.
    world.wait("it looks", || {
        match world.read("log").contains("waiting for it") {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(again.try_wait().unwrap(), None, "{}", world.read("log"));
    world.unmark("hold-stop-before");
    let ended = world.wait("it ends", || {
        let ended = again.try_wait().map_err(|error| error.to_string())?;
        ended.ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(ended.code(), Some(2), "{}", world.read("log"));
    let log = world.read("log");
    assert!(
        log.contains("the journal is damaged") && log.contains("Move journal.sqlite"),
        "{log}"
    );
    assert_eq!(fs::read(&journal).unwrap(), damaged, "it is left as it is");
    world.wait("the bot is started", || world.is_connected());
    assert_eq!(world.moved(&before), 0);
}

/// A full disk while a run is to wait again.
#[test]
fn a_run_that_is_to_wait_again_waits_as_soon_as_the_journal_takes_it() {
    let (mut world, before) = testkit::supervised_bot!();
    world.start();
    let journal = rusqlite::Connection::open(world.path("state/journal.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON runs WHEN NEW.status = 'queued' BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    journal.execute_batch(full).unwrap();
    // Another program is at work in the folder.
    let folder = fs::File::open(world.folder()).unwrap();
    folder.lock().unwrap();
    world.deliver("emergency");
    world.says("failed to queue a run again");
    drop(folder);
    world.wait("all tries have failed", || {
        let log = world.read("log");
        match log.matches("failed to queue a run again").count() {
            2.. => Ok(()),
            tries => Err(format!("{tries} tries")),
        }
    });
    journal.execute_batch("DROP TRIGGER full").unwrap();
    drop(journal);
    let run = world.wait("the run ends", || world.ended());
    assert_eq!(run["status"], "done", "{run}");
    assert!(world.moved(&before) > 0);
}

/// A journal that takes no outcome, as on a full disk.
#[test]
fn an_outcome_is_recorded_as_soon_as_the_journal_takes_it() {
    let mut world = testkit::world!();
    world.bot("bot", "bloated-classic-387", "disconnected");
    world.with_probe();
    world.start_remediator();
    let journal = rusqlite::Connection::open(world.path("state/journal.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON runs WHEN NEW.status = 'done' BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    journal.execute_batch(full).unwrap();
    assert_eq!(world.accepted(&[alert("bot", "cleanup")]), 1);
    world.wait("all tries have failed", || {
        let tries = world.log().matches("failed to record the outcome").count();
        match tries >= 3 {
            true => Ok(()),
            false => Err(format!("{tries} tries")),
        }
    });
    assert_eq!(world.run_of("bot")["status"], "running");
    journal.execute_batch("DROP TRIGGER full").unwrap();
    drop(journal);
    world.wait_until_idle();
    let run = world.run_of("bot");
    assert_eq!(run["status"], "done", "{run:#}");
    // What came of it, and not what a crash would have left.
    assert!(!run.to_string().contains("was stopped during"), "{run:#}");
    world.finish();
}
