//! Signals that reach the remediator while a bot is stopped: the bot runs again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the world has more than one test needs")]

mod restart_world;

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use restart_world::{REMEDIATOR, World};
use rustix::process::{Pid, Signal, kill_process};

/// Signals that ask for a graceful shutdown.
const END: [(&str, Signal); 6] = [
    ("SIGINT", Signal::INT),
    ("SIGTERM", Signal::TERM),
    ("SIGQUIT", Signal::QUIT),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
    ("SIGALRM", Signal::ALARM),
];
/// Signals with which it goes on.
const IGNORED: [(&str, Signal); 2] = [("SIGHUP", Signal::HUP), ("SIGPIPE", Signal::PIPE)];

/// The cases wait rather than work: three at a time.
fn few_at_once<T: Sync>(cases: &[T], case: impl Fn(&T) + Sync) {
    for some in cases.chunks(3) {
        thread::scope(|scope| {
            for one in some {
                scope.spawn(|| case(one));
            }
        });
    }
}

/// A remediator that has stopped the bot, and holds there.
fn stopped_bot() -> (World, testkit::fixture::Snapshot) {
    let (mut world, before) = World::new();
    world.start();
    world.mark("hold-ask-down");
    world.deliver("emergency");
    world.wait_for_file("reached-ask-down");
    assert_eq!((world.calls("stop"), world.calls("start")), (1, 0));
    (world, before)
}

fn is_done(world: &World, before: &testkit::fixture::Snapshot) {
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
        world.signal(*signal);
        world.says(&format!("signal={name}"));
        world.unmark("hold-ask-down");
        assert!(world.ends(), "{name}");
        is_done(&world, &before);
    });
}

#[test]
fn with_a_hangup_it_goes_on() {
    few_at_once(&IGNORED, |(name, signal)| {
        let (world, before) = stopped_bot();
        world.signal(*signal);
        if *signal == Signal::HUP {
            world.says("reload is not supported yet; ignoring");
        }
        world.unmark("hold-ask-down");
        is_done(&world, &before);
        assert!(world.serves(), "{name}");
    });
}

/// The terminal that it was started from is closed: SIGHUP, and nothing can be written to it.
#[test]
fn a_closed_terminal_leaves_no_bot_down() {
    let (world, before) = World::new();
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
        world.at("server.pid").display(),
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
    assert!(world.serves());
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
        let (world, before) = World::new();
        let (args, point): (&[&str], _) = match *what {
            "stop" => (&["service", "--stop", "bot"], "stop"),
            _ => {
                world.mark("offline");
                world.mark("hold-asked");
                (&["clean", "bot"], "asked")
            }
        };
        world.mark(&format!("hold-{point}"));
        let mut command = Command::new(REMEDIATOR)
            .args(args)
            .args(world.all_flags())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        world.wait_for_file(&format!("reached-{point}"));
        for (_, signal) in END.iter().chain(&IGNORED) {
            kill_process(Pid::from_child(&command), *signal).unwrap();
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
