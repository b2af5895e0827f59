//! Signals that reach the remediator while a bot is stopped: the bot runs again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use testkit::supervised::SupervisedBot;

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
use rustix::process::{Pid, Signal, kill_process};

/// Signals that ask for a graceful shutdown.
const END: [(&str, i32); 17] = [
    ("SIGINT", libc::SIGINT),
    ("SIGTERM", libc::SIGTERM),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGALRM", libc::SIGALRM),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGIO", libc::SIGIO),
    ("SIGPWR", libc::SIGPWR),
    ("SIGSTKFLT", libc::SIGSTKFLT),
    ("SIGSYS", libc::SIGSYS),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
    ("SIGRTMIN+1", 0),
    ("SIGRTMIN+30", 0),
];
/// Signals with which it goes on.
const IGNORED: [(&str, i32); 3] = [
    ("SIGHUP", libc::SIGHUP),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGXFSZ", libc::SIGXFSZ),
];

fn send(pid: u32, name: &str, number: i32) {
    let number = match name.strip_prefix("SIGRTMIN+") {
        Some(beyond) => libc::SIGRTMIN() + beyond.parse::<i32>().unwrap(),
        None => number,
    };
    // The real-time signals have no name in rustix.
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{number} {pid}")])
        .status();
    assert!(sent.unwrap().success(), "{name}");
}

/// The cases wait rather than work: six at a time.
fn few_at_once<T: Sync>(cases: &[T], case: impl Fn(&T) + Sync) {
    for some in cases.chunks(6) {
        thread::scope(|scope| {
            for one in some {
                scope.spawn(|| case(one));
            }
        });
    }
}

/// A remediator that has stopped the bot, and holds there.
fn stopped_bot() -> (SupervisedBot, testkit::fixture::Snapshot) {
    let (mut world, before) = testkit::supervised_bot!();
    world.start();
    world.mark("hold-ask-down");
    world.deliver("emergency");
    world.wait_for_file("reached-ask-down");
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 0));
    (world, before)
}

fn is_done(world: &SupervisedBot, before: &testkit::fixture::Snapshot) {
    let run = world.wait("the run ends", || world.ended());
    assert_eq!(run["status"], "done", "{run}");
    assert!(world.moved(before) > 200);
    world.is_connected().unwrap();
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 1));
}

#[test]
fn the_others_complete_what_has_begun_and_end() {
    few_at_once(&END, |(name, signal)| {
        let (mut world, before) = stopped_bot();
        send(world.pid(), name, *signal);
        world.says(&format!("signal={name}"));
        world.unmark("hold-ask-down");
        assert!(world.ends().success(), "{name}");
        is_done(&world, &before);
    });
}

#[test]
fn with_a_hangup_it_goes_on() {
    few_at_once(&IGNORED, |(name, signal)| {
        let (world, before) = stopped_bot();
        send(world.pid(), name, *signal);
        if *signal == libc::SIGHUP {
            world.says("configuration loaded");
        }
        world.unmark("hold-ask-down");
        is_done(&world, &before);
        assert!(world.is_healthy(), "{name}");
    });
}

/// The terminal that it was started from is closed: SIGHUP, and nothing can be written to it.
#[test]
fn a_closed_terminal_leaves_no_bot_down() {
    let (world, before) = testkit::supervised_bot!();
    let line: Vec<String> = {
        let command = world.serve_command();
        let words = command.get_args().skip_while(|word| *word != REMEDIATOR);
        words
            .map(|word| {
                shlex::try_quote(word.to_str().unwrap())
                    .unwrap()
                    .into_owned()
            })
            .collect()
    };
    let script = format!(
        "echo $$ >{}; exec {}",
        world.path("server.pid").display(),
        line.join(" ")
    );
    // `script` gives it a terminal of its own, which ends with it.
    let mut terminal = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "script",
            "-q",
            "-c",
            &script,
            "/dev/null",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("script (bsdutils) starts");
    world.wait_until_ready();
    let server: i32 = world.read("server.pid").trim().parse().unwrap();
    let server = Pid::from_raw(server).unwrap();
    let _ends = Ends(server);
    world.mark("hold-ask-down");
    world.deliver("emergency");
    world.wait_for_file("reached-ask-down");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    world.unmark("hold-ask-down");
    is_done(&world, &before);
    assert!(world.is_healthy());
}

/// Kills what it names: a process that is no child of ours.
struct Ends(Pid);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// A command that is stopping a service, or moving files, completes that first.
#[test]
fn a_command_completes_what_has_begun() {
    few_at_once(&["stop", "clean"], |what| {
        let (world, before) = testkit::supervised_bot!();
        let (args, point): (&[&str], _) = match *what {
            "stop" => (&["service", "--stop", "bot"], "stop-before"),
            _ => {
                world.mark("offline");
                world.wait_until_quiet();
                world.mark("hold-asked");
                (&["clean", "bot"], "asked")
            }
        };
        world.mark(&format!("hold-{point}"));
        let mut command = Command::new(REMEDIATOR)
            .args(args)
            .args(world.remediator_flags())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        world.wait_for_file(&format!("reached-{point}"));
        for (name, signal) in END.iter().chain(&IGNORED) {
            send(command.id(), name, *signal);
        }
        world.unmark(&format!("hold-{point}"));
        let ended = world.wait("the command ends", || {
            let ended = command.try_wait().map_err(|error| error.to_string())?;
            ended.ok_or_else(|| "it runs".to_owned())
        });
        assert_eq!(ended.code(), Some(0), "{what}");
        match *what {
            "stop" => assert_eq!(world.calls("stop"), 1),
            _ => assert!(world.moved(&before) > 200),
        }
    });
}

/// A pipe that takes no more, as that of a log reader that hangs.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filled = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))
        .unwrap();
    let full = loop {
        if let Err(error) = filled.write(&[b'x'; 4096]) {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    (reader, writer)
}

#[test]
fn a_log_reader_that_hangs_leaves_no_bot_down() {
    let (mut world, before) = testkit::supervised_bot!();
    let (reader, writer) = full_pipe();
    world.spawn_with_log(writer.try_clone().unwrap().into());
    world.wait_until_ready();
    let run = world.asked("emergency");
    assert_eq!(run["status"], "done", "{run}");
    assert!(world.moved(&before) > 200);
    world.is_connected().unwrap();
    world.signal(Signal::TERM);
    assert!(world.ends().success(), "it does not wait for the reader");
    // Killed while the bot is down, it cannot serve at its next start.
    let (mut world, _) = stopped_bot();
    world.signal(Signal::KILL);
    assert!(!world.ends().success());
    world.unmark("hold-ask-down");
    std::fs::remove_file(world.path("token")).unwrap();
    world.spawn_with_log(writer.into());
    world.wait("the bot is connected", || world.is_connected());
    assert!(!world.ends().success(), "it could not serve");
    drop(reader);
}

/// Another environment than that of the `serve` before, such as the shell of a person.
#[test]
fn a_variable_that_is_not_set_leaves_no_bot_down() {
    let (mut world, _) = stopped_bot();
    world.signal(Signal::KILL);
    assert!(!world.ends().success());
    world.unmark("hold-ask-down");
    let config = std::fs::read_to_string(world.path("config.yml")).unwrap();
    let labels = "labels: {host: \"${SURELY_NOT_SET}\"}\n";
    std::fs::write(world.path("config.yml"), format!("{config}{labels}")).unwrap();
    let log = std::fs::File::create(world.path("second-log")).unwrap();
    world.spawn_with_log(log.into());
    world.wait("the bot is connected", || world.is_connected());
    assert!(!world.ends().success(), "it could not serve");
    assert!(world.read("second-log").contains("labels.host"));
}

#[test]
fn a_log_reader_that_hangs_does_not_stop_the_exporter() {
    let dir = tempfile::tempdir().unwrap();
    let (_reader, writer) = full_pipe();
    let port = testkit::net::free_port(None).unwrap();
    let mut exporter = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(env!("CARGO_BIN_EXE_baileys_exporter"))
        .arg(format!("--sessions.path={}", dir.path().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let (world, _) = testkit::supervised_bot!();
    let url = format!("http://127.0.0.1:{port}/metrics");
    world.wait("a scrape", || testkit::net::get(&url)?.ok());
    kill_process(Pid::from_child(&exporter), Signal::TERM).unwrap();
    let ended = world.wait("the exporter ends", || {
        let ended = exporter.try_wait().map_err(|error| error.to_string())?;
        ended.ok_or_else(|| "it runs".to_owned())
    });
    assert!(ended.success());
}

/// What is logged until the end is written, also before an exit with an error.
#[test]
fn the_log_is_written_to_its_end() {
    let (mut world, _) = testkit::supervised_bot!();
    world.start();
    world.signal(Signal::TERM);
    assert!(world.ends().success());
    assert!(world.read("log").contains("graceful shutdown"));
    std::fs::remove_file(world.path("token")).unwrap();
    let log = std::fs::File::create(world.path("log")).unwrap();
    world.spawn_with_log(log.into());
    assert!(!world.ends().success());
    assert!(
        world.read("log").contains("error: "),
        "{}",
        world.read("log")
    );
}
