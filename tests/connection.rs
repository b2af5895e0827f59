//! Where the bot's process is to be seen: pm2 from npm, and stand-ins for systemd and
//! docker. And who is believed that it is gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, test_kill_process};
use testkit::doctor::Doctor;
use testkit::fixture::Snapshot;
use testkit::net::Metrics;
use testkit::pm2::Pm2;
use testkit::world::World;
use testkit::{Patience, fixture, net, process};

const BOUND: Duration = Duration::from_secs(60);

/// Quiet bots and a configuration.
fn with_config(sessions: &[&str], config: &str) -> World {
    testkit::world!().quiet(sessions).configured(config)
}

/// A journal is wanted from the start, as `serve` makes it.
fn with_journal(world: &World) {
    let (code, _, err) = world.remediator(&["clean", "bot"]).parts();
    assert_eq!(code, 1, "no source has said yet that it is gone: {err}");
}

#[test]
fn a_unit_that_is_gone_is_believed_once_it_was_seen_alive() {
    let world = with_config(
        &["bot", "other"],
        "processes: [{systemd: {unit: 'baileys@{session}.service'}}]\n",
    );
    world.stand_in("systemctl", "printf '%s\\n' \"$@\" >asked; cat \"$5\"");
    let unit = |active: &str, sub: &str, pid: u32| {
        format!(
            "MainPID={pid}\nControlPID=0\nLoadState=loaded\nActiveState={active}\nSubState={sub}\nControlGroup=\n"
        )
    };
    let gone = unit("inactive", "dead", 0);
    world.write("baileys@bot.service", &gone);
    world.write("baileys@other.service", &gone);
    with_journal(&world);
    let asked = fs::read_to_string(world.path("asked")).unwrap();
    assert!(
        asked.starts_with("--no-ask-password\nshow\n--property=LoadState,ActiveState,")
            && asked.ends_with("\n--\nbaileys@bot.service\n"),
        "{asked}"
    );

    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "silent"),
        "{report:?}"
    );
    assert!(
        report.detail("process").contains("doctor --trust"),
        "{report:?}"
    );
    assert!(
        report.0["to_fix"][0]
            .as_str()
            .unwrap()
            .contains("the process"),
        "{report:?}"
    );

    // It runs, which says nothing of the connection.
    world.write(
        "baileys@bot.service",
        &unit("active", "running", std::process::id()),
    );
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "nothing"),
        "{report:?}"
    );
    assert_eq!(report.finding("sockets"), "nothing", "{report:?}");
    assert!(
        report.source("process")["last_alive"].is_string(),
        "{report:?}"
    );

    world.write("baileys@bot.service", &gone);
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("disconnected", true), "gone"),
        "{report:?}"
    );
    assert_eq!(
        world.doctor("other", &[]).verdict(),
        ("unknown", false),
        "what was seen was another bot"
    );
    // It left a process behind: KillMode=process.
    world.write("baileys@bot.service", &format!("{gone}TasksCurrent=7\n"));
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "silent"),
        "{report:?}"
    );
    world.write(
        "baileys@bot.service",
        &format!("{gone}TasksCurrent=[not set]\n"),
    );
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", true));

    // A person's word, for the sources as they are now and for this session only.
    let report = world.doctor("other", &["--trust=other"]);
    assert_eq!(report.verdict(), ("disconnected", true), "{report:?}");
    assert!(
        report.source("process")["trusted_by"]
            .as_str()
            .unwrap()
            .contains("uid"),
        "{report:?}"
    );
    assert_eq!(
        world.doctor("other", &[]).verdict(),
        ("disconnected", true),
        "it is on record"
    );
    world.configure("processes: [{systemd: {unit: '{session}.service'}}]\n");
    for session in ["bot", "other"] {
        world.write(&format!("{session}.service"), &gone);
        let report = world.doctor(session, &[]);
        assert_eq!(
            report.verdict(),
            ("unknown", false),
            "another unit is another source: {report:?}"
        );
        let report = world.doctor(session, &["--connection.trust=*"]);
        assert_eq!(report.verdict(), ("disconnected", true), "{report:?}");
    }
    let (_, out, _) = world.remediator(&["doctor"]).parts();
    for word in [
        "LAST SEEN ALIVE",
        "never",
        "TRUSTED BY",
        "bot: process: the unit is inactive",
        "to fix: ",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
    for (args, says) in [
        (&["doctor", "nobody"][..], "no session is called"),
        (&["doctor", "bot", "--trust=other"], "one session"),
    ] {
        let (code, _, err) = world.remediator(args).parts();
        assert_eq!(code, 2);
        assert!(err.contains(says), "{err}");
    }
}

/// Something at the bot's address that answers each request, or accepts it and says nothing.
struct Address {
    port: u16,
    says: Arc<Mutex<String>>,
}

impl Address {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Arc::new(Mutex::new(String::new()));
        let report = Arc::clone(&says);
        std::thread::spawn(move || {
            // Held open, so that no client sees an end.
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 2048]);
                let says = report.lock().unwrap().clone();
                stream.write_all(says.as_bytes()).unwrap();
                if says.is_empty() {
                    held.push(stream);
                }
            }
        });
        Self { port, says }
    }

    fn says(&self, status: &str, body: &str) {
        let length = body.len();
        *self.says.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    }

    fn says_raw(&self, text: &str) {
        *self.says.lock().unwrap() = text.to_owned();
    }
}

/// The row of the verdict's table for a bot that was stopped, and all that stands against it.
#[test]
fn a_stopped_bot_answers_no_probe() {
    let address = Address::open();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nothing = free.local_addr().unwrap().port();
    drop(free);
    let unit = "processes: [{systemd: {unit: '{session}.service'}}";
    let http = |port: u16, rest: &str| {
        format!(
            "connection: {{timeout: 2s, http: {{url: 'http://127.0.0.1:{port}/', pointer: /up, connected: [true], disconnected: [false]}}}}\n{unit}{rest}]\n"
        )
    };
    let command = |script: &str| {
        format!("connection: {{timeout: 2s, command: [sh, -c, '{script}']}}\n{unit}]\n")
    };
    let world = with_config(&["bot", "other"], &http(address.port, ""));
    world.stand_in("systemctl", "[ -e \"$5\" ] && cat \"$5\"");
    world.write("bin/docker", "");
    let state = |active: &str, sub: &str, pid: u32| {
        format!(
            "MainPID={pid}\nControlPID=0\nLoadState=loaded\nActiveState={active}\nSubState={sub}\nControlGroup=\n"
        )
    };
    let (gone, runs) = (
        state("inactive", "dead", 0),
        state("active", "running", std::process::id()),
    );
    let unreachable = |report: &Doctor| report.finding("probe") == "unreachable";

    // No source has seen this process alive, and a person's word is not enough.
    world.configure(&http(nothing, ""));
    for session in ["bot", "other"] {
        world.write(&format!("{session}.service"), &gone);
    }
    with_journal(&world);
    let report = world.doctor("other", &["--trust=other"]);
    assert_eq!(report.verdict(), ("unknown", false), "{report:?}");
    assert_eq!(report.finding("process"), "gone", "{report:?}");
    assert_eq!(report.finding("probe"), "silent", "{report:?}");

    // It runs, and the address answers.
    address.says("200 OK", r#"{"up":true}"#);
    world.configure(&http(address.port, ""));
    world.write("bot.service", &runs);
    assert_eq!(world.doctor("bot", &[]).verdict(), ("connected", false));
    world.write("bot.service", &gone);

    // Whatever answers at its address may be the bot.
    for (status, body) in [
        ("200 OK", r#"{"up":true}"#),
        ("200 OK", r#"{"up":"?"}"#),
        ("200 OK", "nonsense"),
        ("500 Internal Server Error", r#"{"up":false}"#),
        ("503 Service Unavailable", ""),
        ("404 Not Found", ""),
        ("302 Found", ""),
    ] {
        address.says(status, body);
        let report = world.doctor("bot", &[]);
        assert_eq!(report.verdict(), ("unknown", false), "{status} {report:?}");
    }
    for text in ["nonsense\r\n\r\n", "HTTP/1.1 2", ""] {
        address.says_raw(text);
        let report = world.doctor("bot", &[]);
        assert_eq!(report.verdict(), ("unknown", false), "{text:?} {report:?}");
        assert_eq!(report.finding("probe"), "silent", "{text:?} {report:?}");
    }

    // No listener.
    world.configure(&http(nothing, ""));
    let report = world.doctor("bot", &[]);
    assert_eq!(report.verdict(), ("disconnected", true), "{report:?}");
    assert!(unreachable(&report), "{report:?}");
    for script in [
        "exit 4",
        "false",
        "true",
        "echo connection refused >&2; exit 1",
    ] {
        world.configure(&command(script));
        let report = world.doctor("bot", &[]);
        assert_eq!(
            report.verdict(),
            ("disconnected", true),
            "{script} {report:?}"
        );
        assert!(unreachable(&report), "{script} {report:?}");
    }
    for script in [
        "sleep 30",
        "exit 127",
        "kill -9 $$",
        "echo no; exit 1",
        "echo curl: 22 >&2; exit 22",
        "/no/such/program",
    ] {
        world.configure(&command(script));
        let report = world.doctor("bot", &[]);
        assert_eq!(report.verdict(), ("unknown", false), "{script} {report:?}");
    }

    // Another entry that matches the session has a word as well.
    let second = |service: &str| http(nothing, &format!(", {{name: b, {service}}}"));
    for (service, verdict) in [
        ("systemd: {unit: other.service}", ("disconnected", true)),
        ("systemd: {unit: missing.service}", ("unknown", false)),
        ("docker: {container: x}", ("unknown", false)),
        ("pm2: {name: x, home: DIR/pm2}", ("unknown", false)),
        ("pid_file: DIR/none.pid", ("unknown", false)),
        (
            "sessions: [\"o*\"], systemd: {unit: missing.service}",
            ("disconnected", true),
        ),
    ] {
        world.configure(&second(service));
        let report = world.doctor("bot", &[]);
        assert_eq!(report.verdict(), verdict, "{service} {report:?}");
    }
    world.write("other.service", &runs);
    world.configure(&second("systemd: {unit: other.service}"));
    assert_eq!(world.doctor("bot", &[]).verdict(), ("unknown", false));

    // A process is left, or a file was just written.
    world.configure(&http(nothing, ""));
    world.write("bot.service", &format!("{gone}TasksCurrent=1\n"));
    assert_eq!(world.doctor("bot", &[]).verdict(), ("unknown", false));
    world.write("bot.service", &gone);
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", true));
    fs::write(world.path("sessions/bot/pre-key-1.json"), "{}").unwrap();
    assert_eq!(world.doctor("bot", &[]).verdict(), ("unknown", false));
}

#[test]
fn a_line_in_the_log_from_after_the_end_stands_against_it() {
    let config = "connection: {quiet: 1m}\nprocesses: [{systemd: {unit: '{session}.service'}}]\nlogs: {paths: ['bot=DIR/bot.log']}\n";
    let world = with_config(&["bot"], config);
    world.stand_in("systemctl", "cat \"$5\"");
    let state = |active: &str, rest: &str| {
        world.write(
            "bot.service",
            &format!("LoadState=loaded\nControlPID=0\nControlGroup=\nActiveState={active}\n{rest}"),
        );
    };
    let log = |ago: u64, text: &str| {
        world.write("bot.log", text);
        let file = File::options()
            .append(true)
            .open(world.path("bot.log"))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(ago))
            .unwrap();
    };
    log(900, "hello\n");
    state(
        "active",
        &format!("SubState=running\nMainPID={}\n", std::process::id()),
    );
    with_journal(&world);
    // It ended 8 minutes ago, as systemd says.
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let ended = ((uptime - 480.0) * 1e6) as u64;
    state(
        "inactive",
        &format!("SubState=dead\nMainPID=0\nInactiveEnterTimestampMonotonic={ended}\n"),
    );
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", true));
    log(300, "hello\n");
    let report = world.doctor("bot", &[]);
    assert_eq!(report.verdict(), ("unknown", false), "{report:?}");
    assert!(
        report.0["to_fix"]
            .to_string()
            .contains("after the end of its process"),
        "{report:?}"
    );
    // Emptied by a rotation it has no line.
    log(300, "");
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", true));

    // So does a file: the bot may run under another supervisor, which this program does not know.
    let creds = world.path("sessions/bot/creds.json");
    let creds = File::options().append(true).open(creds).unwrap();
    creds
        .set_modified(SystemTime::now() - Duration::from_secs(300))
        .unwrap();
    let report = world.doctor("bot", &[]);
    assert_eq!(report.verdict(), ("unknown", false), "{report:?}");
    assert!(
        report.0["to_fix"]
            .to_string()
            .contains("a file was written after the end of its process"),
        "{report:?}"
    );
    let before = Snapshot::take(&world.path("sessions/bot")).unwrap();
    let (code, _, err) = world.remediator(&["clean", "bot"]).parts();
    assert_eq!(code, 1, "{err}");
    let after = Snapshot::take(&world.path("sessions/bot")).unwrap();
    assert_eq!(before.differences(&after), Vec::<String>::new());
}

#[test]
fn an_opened_connection_of_an_earlier_process_proves_nothing() {
    let config =
        "processes: [{systemd: {unit: '{session}.service'}}]\nlogs: {paths: ['bot=DIR/bot.log']}\n";
    let world = with_config(&["bot"], config);
    world.stand_in("systemctl", "cat \"$5\"");
    let state = |active: &str, pid: u32| {
        world.write(
            "bot.service",
            &format!("LoadState=loaded\nControlPID=0\nControlGroup=\nActiveState={active}\nMainPID={pid}\n"),
        );
    };
    let says = || {
        let report = world.doctor("bot", &[]);
        let finding = report.finding("log").to_owned();
        (report.verdict().0.to_owned(), finding)
    };
    let is = |verdict: &str, log: &str| (verdict.to_owned(), log.to_owned());
    state("active\nSubState=running", std::process::id());
    world.write("bot.log", &pino(0, 7, OPENED));
    assert_eq!(says(), is("connected", "connected"));
    // Its supervisor is about to start it again.
    state("activating\nSubState=auto-restart", 0);
    assert_eq!(says(), is("unknown", "nothing"));
    // It runs again, and waits for a QR code.
    let second = Program::start();
    state("active\nSubState=running", second.0.id());
    let waits = "not logged in, attempting registration...";
    world.write("bot.log", &(pino(60, 7, OPENED) + &pino(0, 8, waits)));
    assert_eq!(says(), is("unknown", "ambiguous"));
    world.write("bot.log", &(pino(60, 7, OPENED) + &pino(0, 8, OPENED)));
    assert_eq!(says(), is("connected", "connected"));
    // Without a supervisor the log itself shows that another process began.
    world.configure("logs: {paths: ['bot=DIR/bot.log']}\n");
    world.write("bot.log", &(pino(60, 7, OPENED) + &pino(0, 8, waits)));
    assert_eq!(says(), is("unknown", "nothing"));
}

/// A line of the library's logger.
fn pino(ago: u64, pid: u32, text: &str) -> String {
    let at = SystemTime::now() - Duration::from_secs(ago);
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = at.as_millis();
    format!(
        "{{\"level\":30,\"time\":{at},\"pid\":{pid},\"hostname\":\"vm\",\"class\":\"baileys\",\"msg\":\"{text}\"}}\n"
    )
}

const OPENED: &str = "opened connection to WA";
const CLOSED: &str = "connection closed";

/// A host whose only source is the logs.
fn with_logs(sessions: &[&str], logs: &str) -> World {
    let config = format!("connection: {{trust: ['*']}}\nlogs: {{paths: [{logs}]}}\n");
    let world = with_config(sessions, &config);
    fs::create_dir(world.path("logs")).unwrap();
    world
}

#[test]
fn a_close_of_another_session_of_the_process_is_no_evidence() {
    let world = with_logs(&["main", "cliente2"], "'DIR/logs/*-out.log'");
    let opened = pino(9000, 500, OPENED);
    let closed = pino(700, 500, CLOSED);
    world.write(
        "logs/main-out.log",
        &format!("{opened}{}{closed}", pino(8000, 500, OPENED)),
    );
    let unknown = ("unknown", false);
    assert_eq!(world.doctor("main", &[]).verdict(), unknown);
    // Also where the log shows only what the other session did.
    world.write("logs/main-out.log", &format!("{opened}{closed}"));
    let report = world.doctor("main", &[]);
    assert_eq!(report.verdict(), unknown);
    let why = "the connection was closed, but session cliente2 has no log of its own that shows a connection";
    assert!(report.detail("log").starts_with(why), "{report:?}");
    let (code, out, err) = world.remediator(&["clean", "main"]).parts();
    assert_eq!(code, 1, "{out}{err}");
    let (_, out, err) = world.remediator(&["doctor"]).parts();
    assert!(
        err.contains("sessions without a log: cliente2"),
        "{out}{err}"
    );
    // A process and a log for each.
    world.write("logs/cliente2-out.log", &pino(9000, 600, OPENED));
    assert_eq!(world.doctor("main", &[]).verdict(), ("disconnected", false));
    assert_eq!(
        world.doctor("cliente2", &[]).verdict(),
        ("connected", false)
    );
}

#[test]
fn a_bot_with_one_process_and_one_log_gets_its_verdict() {
    let world = with_logs(&["bot"], "'DIR/logs/*-out.log'");
    let before = format!(
        "{}{}",
        pino(20_000, 400, "connected to WA"),
        pino(20_000, 400, OPENED)
    );
    let log = format!(
        "{before}{}{}",
        pino(9000, 500, OPENED),
        pino(700, 500, CLOSED)
    );
    world.write("logs/bot-out.log", &log);
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", false));
    // Under another name.
    let world = with_logs(&["bot"], "'DIR/logs/*-out.log', 'bot=DIR/logs/index-*.log'");
    world.write("logs/index-out.log", &log);
    world.write("logs/index-error.log", "hello\n");
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", false));
}

#[test]
fn a_close_in_the_log_of_another_bot_is_no_evidence() {
    let all = "'DIR/logs/*-out.log', 'tienda=DIR/logs/*-out.log'";
    let world = with_logs(&["ventas", "soporte", "tienda"], all);
    world.write("logs/ventas-out.log", &pino(3000, 101, OPENED));
    let closed = format!("{}{}", pino(2900, 102, OPENED), pino(700, 102, CLOSED));
    world.write("logs/soporte-out.log", &closed);
    world.write("logs/bot3-out.log", &pino(3100, 103, OPENED));
    let state = |session: &str| world.doctor(session, &[]).verdict().0.to_owned();
    assert_eq!(state("tienda"), "connected");
    assert_eq!(state("ventas"), "connected");
    assert_eq!(state("soporte"), "unknown", "two sessions claim its log");
    world.write("logs/bot3-out.log", "its connection was opened long ago\n");
    world.write("logs/other-out.log", &closed);
    assert_eq!(state("tienda"), "unknown");
    // As it is offered.
    let own = all.replace("tienda=DIR/logs/*-out.log", "tienda=DIR/logs/bot3-out.log");
    world.configure(&format!(
        "connection: {{trust: ['*']}}\nlogs: {{paths: [{own}]}}\n"
    ));
    assert_eq!(state("tienda"), "unknown", "its log says nothing");
    assert_eq!(state("soporte"), "disconnected");
}

#[test]
fn a_container_and_a_contradiction() {
    const HANGS: &str = "sleep 600 & echo $! >hangs; wait";
    let world = with_config(
        &["bot"],
        "connection: {timeout: 1s, command: [cat, DIR/answer]}\nprocesses: [{docker: {container: 'bot-{session}', runtime: podman}}]\n",
    );
    world.stand_in("podman", "printf '%s\\n' \"$@\" >asked; . ./does");
    world.write("answer", "connected\n");
    let container = |name: &str, state: &str| {
        format!(r#"echo '{{"id":"0123456789abcdef","name":"{name}","state":{state}}}'"#)
    };
    let running = r#"{"Status":"running","Running":true,"Pid":1,"Health":{}}"#;
    let exited = r#"{"Status":"exited","Running":false,"Pid":0,"ExitCode":0}"#;
    world.write("does", &container("bot-bot", running));
    with_journal(&world);
    let asked = fs::read_to_string(world.path("asked")).unwrap();
    assert!(
        asked.starts_with("inspect\n--type\ncontainer\n--format\n")
            && asked.ends_with("\n--\nbot-bot\n"),
        "{asked}"
    );
    assert_eq!(world.doctor("bot", &[]).verdict(), ("connected", false));

    world.write("does", &container("bot-bot", exited));
    let report = world.doctor("bot", &[]);
    assert_eq!(
        report.verdict(),
        ("unknown", false),
        "gone and connected contradict each other: {report:?}"
    );
    assert!(
        report.0["to_fix"][0]
            .as_str()
            .unwrap()
            .contains("contradict"),
        "{report:?}"
    );
    world.write("answer", "disconnected\n");
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", true));

    // No usable answer of one source keeps the other from being enough.
    for does in ["exit 1", "echo '[]'", HANGS, "yes", "kill -9 $$"] {
        world.write("does", does);
        let began = Instant::now();
        let report = world.doctor("bot", &[]);
        assert_eq!(
            (report.verdict(), report.finding("process")),
            (("unknown", false), "silent"),
            "{does}"
        );
        assert!(began.elapsed() < Duration::from_secs(30), "{does}");
    }
    // On a busy machine it may have been killed before it had written its number.
    world.write("does", HANGS);
    let has_hung = (0..30).any(|_| {
        world.doctor("bot", &[]);
        fs::read_to_string(world.path("hangs")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    assert!(has_hung);
    let hung: i32 = fs::read_to_string(world.path("hangs"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let is_gone = || match test_kill_process(Pid::from_raw(hung).unwrap()) {
        Err(_) => Ok(()),
        Ok(()) => Err("it still runs".to_owned()),
    };
    // A zombie, where no init reaps orphans, has ended too.
    let is_gone = || match fs::read_to_string(format!("/proc/{hung}/stat")) {
        Ok(stat) if stat.contains(") Z ") => Ok(()),
        _ => is_gone(),
    };
    Patience::new(BOUND)
        .wait_until(BOUND, "what hung is killed", is_gone)
        .unwrap();
    fs::remove_file(world.path("bin/podman")).unwrap();
    world.configure("processes: [{docker: {container: bot}}]\n");
    let docker = |name: &str| world.stand_in("docker", &container(name, exited));
    docker("/bot");
    assert_eq!(
        world.doctor("bot", &["--trust=bot"]).verdict(),
        ("disconnected", true)
    );
    // The name may be the beginning of another container's id.
    docker("/something-else");
    assert_eq!(world.doctor("bot", &[]).verdict(), ("unknown", false));
}

#[test]
fn a_pid_file() {
    let world = with_config(&["bot"], "processes: [{pid_file: 'DIR/{session}.pid'}]\n");
    with_journal(&world);
    assert_eq!(
        world.doctor("bot", &[]).finding("process"),
        "silent",
        "no file"
    );
    let (mut bot, pid) = start_bot(&world, "log");
    world.write("bot.pid", &format!("{pid}\n"));
    let report = world.doctor("bot", &[]);
    assert_eq!(report.finding("process"), "nothing", "{report:?}");
    assert!(
        report.detail("process").contains(&format!("pid {pid}")),
        "{report:?}"
    );
    bot.stop();
    let report = world.doctor("bot", &[]);
    assert_eq!(report.verdict(), ("disconnected", true), "{report:?}");
    // The number is that of another process now (this test), and the file is the same.
    let modified = fs::metadata(world.path("bot.pid"))
        .unwrap()
        .modified()
        .unwrap();
    world.write("bot.pid", &format!("{}\n", std::process::id()));
    file_time(&world, modified - Duration::from_secs(86_400));
    let report = world.doctor("bot", &[]);
    assert_eq!(
        report.finding("process"),
        "silent",
        "by the clock alone nothing is proven: {report:?}"
    );

    // An old file, and a process that had that number before it was written: no evidence.
    fs::remove_dir_all(world.path("state")).unwrap();
    with_journal(&world);
    let (mut other, pid) = start_bot(&world, "other.log");
    world.write("bot.pid", &format!("{pid}\n"));
    file_time(&world, SystemTime::now() + Duration::from_secs(3600));
    let report = world.doctor("bot", &[]);
    assert_eq!(report.finding("process"), "silent", "{report:?}");
    assert!(
        report.source("process")["last_alive"].is_null(),
        "{report:?}"
    );
    other.stop();
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "silent"),
        "{report:?}"
    );
    assert!(
        report.detail("process").contains("doctor --trust"),
        "{report:?}"
    );
    assert_eq!(
        world.doctor("bot", &["--connection.trust=bot"]).verdict(),
        ("disconnected", true)
    );
    assert_eq!(world.doctor("bot", &[]).verdict(), ("unknown", false));
    assert_eq!(
        world.doctor("bot", &["--trust=bot"]).verdict(),
        ("disconnected", true)
    );
    assert_eq!(
        world.doctor("bot", &[]).verdict(),
        ("disconnected", true),
        "it is on record"
    );
}

/// A bot that was seen alive, and the pid file of a later run, which was not.
#[test]
fn a_pid_file_that_was_written_anew() {
    let world = with_config(&["bot"], "processes: [{pid_file: 'DIR/{session}.pid'}]\n");
    with_journal(&world);
    let (mut bot, pid) = start_bot(&world, "log");
    world.write("bot.pid", &format!("{pid}\n"));
    assert!(world.doctor("bot", &[]).source("process")["last_alive"].is_string());
    bot.stop();
    assert_eq!(world.doctor("bot", &[]).verdict(), ("disconnected", true));
    file_time(&world, SystemTime::now() + Duration::from_secs(60));
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "silent"),
        "{report:?}"
    );
}

#[test]
fn a_pid_file_that_is_a_named_pipe_blocks_no_reader() {
    let world = with_config(&["bot"], "processes: [{pid_file: 'DIR/{session}.pid'}]\n");
    let (status, _, err) =
        process::run(Path::new("mkfifo"), [world.path("bot.pid")], BOUND).unwrap();
    assert!(status.success(), "{err}");
    with_journal(&world);
    let report = world.doctor("bot", &["--connection.trust=*"]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "silent"),
        "{report:?}"
    );
    assert!(
        report.detail("process").contains("not a file"),
        "{report:?}"
    );
}

/// A connection to WhatsApp's port, on this machine.
#[test]
fn a_connection_to_port_443_tells_that_the_bot_is_connected() {
    let whatsapp = match TcpListener::bind("127.0.0.1:443") {
        Ok(listener) => listener,
        Err(error) => {
            return testkit::not_run(format_args!(
                "127.0.0.1:443: {error}; this test needs root and the port"
            ));
        }
    };
    let process = "processes: [{pid_file: 'DIR/{session}.pid'}]\n";
    let world = with_config(&["bot"], process);
    with_journal(&world);
    let script = "exec 3<>/dev/tcp/127.0.0.1/443; echo $$; exec sleep 600";
    let (_bot, pid) = start_program(&world, "log", Path::new("bash"), script);
    world.write("bot.pid", &format!("{pid}\n"));
    let (connection, _) = whatsapp.accept().unwrap();

    // A command looks once.
    let status = world.exporter(&["status", "--output=json"]).json();
    assert_eq!(status[0]["connection"], "connected", "{status}");
    let report = world.doctor("bot", &[]);
    assert_eq!(report.verdict(), ("connected", false), "{report:?}");
    assert!(report.detail("sockets").contains("looks only once"));
    assert_eq!(
        (report.finding("process"), report.finding("sockets")),
        ("nothing", "connected"),
        "{report:?}"
    );
    assert!(
        report.detail("sockets").contains(&format!("process {pid}")),
        "{report:?}"
    );
    let (code, out, err) = world.remediator(&["clean", "bot"]).parts();
    assert_eq!(code, 1, "{out}{err}");
    assert!(format!("{out}{err}").contains("connected"), "{out}{err}");
    world.configure(&format!("{process}connection: {{sockets: false}}\n"));
    assert_eq!(world.doctor("bot", &[]).verdict(), ("unknown", false));

    // While no login is in the folder, the bot waits to be paired.
    world.configure(process);
    let creds = world.folder("bot").join("creds.json");
    let paired = fs::read_to_string(&creds).unwrap();
    let mut unpaired: serde_json::Value = serde_json::from_str(&paired).unwrap();
    unpaired.as_object_mut().unwrap().remove("account").unwrap();
    fs::write(&creds, unpaired.to_string()).unwrap();
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("sockets")),
        (("unknown", false), "connecting"),
        "{report:?}"
    );
    fs::write(&creds, paired).unwrap();

    // Another process's connection is none of the bot's, and one that was closed is none.
    world.configure(process);
    let (_other, pid_of_other) = start_bot(&world, "other.log");
    world.write("bot.pid", &format!("{pid_of_other}\n"));
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("sockets")),
        (("unknown", false), "nothing"),
        "{report:?}"
    );
    world.write("bot.pid", &format!("{pid}\n"));
    assert_eq!(world.doctor("bot", &[]).verdict(), ("connected", false));
    drop(connection);
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("sockets")),
        (("unknown", false), "nothing"),
        "{report:?}"
    );
}

/// As with `npm start` or nodemon: the process that is named starts the bot by a shell.
#[test]
fn the_connection_of_a_wrapped_bot_counts() {
    let whatsapp = match TcpListener::bind("127.0.0.4:443") {
        Ok(listener) => listener,
        Err(error) => {
            return testkit::not_run(format_args!(
                "127.0.0.4:443: {error}; this test needs root and the port"
            ));
        }
    };
    let world = with_config(&["bot"], "processes: [{pid_file: 'DIR/{session}.pid'}]\n");
    with_journal(&world);
    let bot = "exec 3<>/dev/tcp/127.0.0.4/443; read -r end <&3";
    let script = format!("echo $$; sh -c \"bash -c '{bot}'; exit\"; exec sleep 600");
    let (_wrapper, pid) = start_program(&world, "log", Path::new("bash"), &script);
    world.write("bot.pid", &format!("{pid}\n"));
    let (connection, _) = whatsapp.accept().unwrap();
    let report = world.doctor("bot", &[]);
    assert_eq!(report.verdict(), ("connected", false), "{report:?}");
    // The bot ends, and its wrapper waits for a change of a file.
    drop(connection);
    world.wait("the bot has ended", || {
        let report = world.doctor("bot", &[]);
        let says = (report.verdict(), report.finding("sockets"));
        match says == (("unknown", false), "nothing") {
            true => Ok(()),
            false => Err(format!("{report:?}")),
        }
    });
}

/// One bot that has logged in, and one whose login WhatsApp refuses each time.
#[test]
fn a_connection_counts_once_it_has_lasted() {
    let whatsapp = match TcpListener::bind("127.0.0.2:443") {
        Ok(listener) => listener,
        Err(error) => {
            return testkit::not_run(format_args!(
                "127.0.0.2:443: {error}; this test needs root and the port"
            ));
        }
    };
    std::thread::spawn(move || whatsapp.incoming().collect::<Vec<_>>());
    let bots = ["bot", "refused"];
    let mut world = with_config(&bots, "processes: [{pid_file: 'DIR/{session}.pid'}]\n");
    let connect = "exec 3<>/dev/tcp/127.0.0.2/443";
    let stays = format!("echo $$; {connect}; exec sleep 600");
    let again = format!("echo $$; while :; do {connect}; sleep 1; exec 3>&-; done");
    let mut running = Vec::new();
    for (name, script) in bots.into_iter().zip([&stays, &again]) {
        let (bot, pid) = start_program(&world, &format!("{name}.out"), Path::new("bash"), script);
        world.write(&format!("{name}.pid"), &format!("{pid}\n"));
        running.push(bot);
    }
    world.start_exporter();
    let reading = |world: &World, session: &str| {
        let labels = [("session", session), ("state", "connected")];
        let all = world.metrics();
        let connected = all.sum("baileys_auth_connection_state", &labels)?;
        let unresolved = all.sum("baileys_auth_connection_unresolved", &labels[..1])?;
        Ok::<_, String>((connected, unresolved))
    };
    let lasted = || match reading(&world, "bot")? {
        (1.0, 0.0) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    let patience = Patience::new(2 * BOUND);
    let waited = patience.wait_until(2 * BOUND, "a connection that has lasted", lasted);
    waited.unwrap();
    assert_eq!(reading(&world, "refused").unwrap(), (0.0, 1.0));
    // A command of the remediator sees the same, and moves nothing.
    let (code, out, err) = world.remediator(&["clean", "refused"]).parts();
    assert_eq!(code, 1, "{out}{err}");
    world.finish();
}

/// Two sessions in one process, of which one has a connection to WhatsApp, and a session of its
/// own process.
#[test]
fn a_connection_of_a_shared_process_proves_no_session_connected() {
    let whatsapp = match TcpListener::bind("127.0.0.3:443") {
        Ok(listener) => listener,
        Err(error) => {
            return testkit::not_run(format_args!(
                "127.0.0.3:443: {error}; this test needs root and the port"
            ));
        }
    };
    std::thread::spawn(move || whatsapp.incoming().collect::<Vec<_>>());
    let sessions = ["a", "b", "bot"];
    let processes = "processes: [{sessions: [bot], pid_file: DIR/bot.pid}, {sessions: ['*'], pid_file: DIR/all.pid}]\n";
    let mut world = with_config(&sessions, processes);
    with_journal(&world);
    let stays = "exec 3<>/dev/tcp/127.0.0.3/443; echo $$; exec sleep 600";
    let mut running = Vec::new();
    for name in ["bot", "all"] {
        let (bot, pid) = start_program(&world, &format!("{name}.out"), Path::new("bash"), stays);
        world.write(&format!("{name}.pid"), &format!("{pid}\n"));
        running.push(bot);
    }
    // A command looks once.
    assert_eq!(world.doctor("bot", &[]).verdict(), ("connected", false));
    for (session, other) in [("a", "b"), ("b", "a")] {
        let report = world.doctor(session, &[]);
        assert_eq!(
            (report.verdict(), report.finding("sockets")),
            (("unknown", false), "shared"),
            "{report:?}"
        );
        let why = format!("the session {other} has the same process");
        assert!(report.detail("sockets").contains(&why), "{report:?}");
    }
    world.start_exporter();
    let reading = |world: &World, session: &str, state: &str| {
        let labels = [("session", session), ("state", state)];
        let all = world.metrics();
        let is_so = all.sum("baileys_auth_connection_state", &labels)?;
        let unresolved = all.sum("baileys_auth_connection_unresolved", &labels[..1])?;
        Ok::<_, String>((is_so, unresolved))
    };
    let lasted = || {
        let [own, a, b] = [("bot", "connected"), ("a", "unknown"), ("b", "unknown")]
            .map(|(session, state)| reading(&world, session, state));
        match [own?, a?, b?] {
            [(1.0, 0.0), (1.0, 0.0), (1.0, 0.0)] => Ok(()),
            others => Err(format!("{others:?}")),
        }
    };
    let patience = Patience::new(2 * BOUND);
    let waited = patience.wait_until(2 * BOUND, "connections that have lasted", lasted);
    waited.unwrap();

    // A source of each session tells which is connected, and the connection still keeps files.
    let probe = "connection: {command: [cat, 'DIR/answer-{session}'], trust: ['*']}\n";
    world.configure(&format!("{processes}{probe}"));
    for (session, answer) in [
        ("a", "connected"),
        ("b", "disconnected"),
        ("bot", "connected"),
    ] {
        world.write(&format!("answer-{session}"), &format!("{answer}\n"));
    }
    assert_eq!(world.doctor("a", &[]).verdict(), ("connected", false));
    assert_eq!(world.doctor("b", &[]).verdict(), ("unknown", false));
    let before = world.remediator(&["clean", "b"]).parts();
    assert_eq!(before.0, 1, "{before:?}");
    world.configure(&format!(
        "{processes}{}",
        probe.replace("trust", "sockets: false, trust")
    ));
    assert_eq!(world.doctor("b", &[]).verdict(), ("disconnected", false));
    world.finish();
}

fn start_bot(world: &World, log: &str) -> (process::Process, u32) {
    start_program(world, log, Path::new("sh"), "echo $$; exec sleep 600")
}

/// A script that writes its number.
fn start_program(world: &World, log: &str, shell: &Path, script: &str) -> (process::Process, u32) {
    let log = world.path(log);
    let bot = process::Process::start("bot", shell, ["-c", script], &log).unwrap();
    let its_pid = || {
        fs::read_to_string(&log)
            .unwrap()
            .trim()
            .parse::<u32>()
            .map_err(|e| e.to_string())
    };
    let pid = Patience::new(BOUND)
        .wait_until(BOUND, "its pid", its_pid)
        .unwrap();
    (bot, pid)
}

fn file_time(world: &World, at: SystemTime) {
    File::options()
        .write(true)
        .open(world.path("bot.pid"))
        .unwrap()
        .set_modified(at)
        .unwrap();
}

/// The exporter remembers while it runs.
#[test]
fn the_exporter_tells_the_state() {
    let world = with_config(
        &["bot", "stranger"],
        "connection: {command: [cat, 'DIR/{session}']}\n",
    );
    world.write("bot", "connected\n");
    world.write("stranger", "disconnected\n");
    let port = net::free_port(None).unwrap();
    let args = [
        format!("--sessions.path={}", world.path("sessions").display()),
        format!("--config.file={}", world.path("config.yml").display()),
        format!("--logs.state-path={}", world.path("state").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let exporter = Path::new(env!("CARGO_BIN_EXE_baileys_exporter"));
    let mut exporter =
        process::Process::start("exporter", exporter, args, &world.path("log")).unwrap();
    let patience = Patience::new(BOUND);
    let mut wait_for = |session: &str, state: &str| {
        let report = patience.wait_until(BOUND, &format!("{session} is {state}"), || {
            exporter.alive()?;
            let metrics = Metrics::scrape(&url("/metrics"))?;
            for known in ["connected", "disconnected", "unknown"] {
                let labels = [("session", session), ("state", known)];
                let value = metrics.sum("baileys_auth_connection_state", &labels)?;
                if value != f64::from(known == state) {
                    return Err(format!("{known} is {value}"));
                }
            }
            Ok(())
        });
        report.unwrap();
    };
    wait_for("bot", "connected");
    wait_for("stranger", "unknown");
    let metrics = Metrics::scrape(&url("/metrics")).unwrap();
    // A source that is not believed settles nothing.
    for (session, unresolved) in [("bot", 0.0), ("stranger", 1.0)] {
        let labels = [("session", session)];
        let value = metrics.sum("baileys_auth_connection_unresolved", &labels);
        assert_eq!(value.unwrap(), unresolved, "{session}");
    }
    world.write("bot", "disconnected\n");
    // A look at the page queries all sources.
    let page = net::get(&url("/")).unwrap().ok().unwrap();
    assert!(
        page.contains("which does not count: this source has not seen the session alive"),
        "{page}"
    );
    wait_for("bot", "disconnected");
    // What was seen outlives a reload.
    assert_eq!(net::post(&url("/-/reload"), &[], b"").unwrap().status, 200);
    wait_for("bot", "disconnected");
    wait_for("stranger", "unknown");
}

/// Waits until the exporter shows this state, and whether a source was asked for nothing.
fn wait_for_state(world: &World, session: &str, state: &str, unresolved: bool) {
    let what = format!("{session} is {state}");
    world.wait(&what, || {
        // A look at the page queries all sources.
        net::get(&world.url("/"))?.ok()?;
        let metrics = Metrics::scrape(&world.url("/metrics"))?;
        for known in ["connected", "disconnected", "unknown"] {
            let labels = [("session", session), ("state", known)];
            let value = metrics.sum("baileys_auth_connection_state", &labels)?;
            if value != f64::from(known == state) {
                return Err(format!("{known} is {value}"));
            }
        }
        let labels = [("session", session)];
        match metrics.sum("baileys_auth_connection_unresolved", &labels)? {
            value if value == f64::from(unresolved) => Ok(()),
            value => Err(format!("unresolved is {value}")),
        }
    });
}

/// A reboot after which the bot does not come back; no log is configured.
#[test]
fn the_exporter_knows_after_a_restart_who_was_seen_alive() {
    let config = "connection: {command: [cat, 'DIR/{session}']}\nlogs: {state_path: 'DIR/kept'}\n";
    let mut world = with_config(&["bot", "stranger"], config);
    fs::create_dir(world.path("kept")).unwrap();
    world.write("bot", "connected\n");
    world.write("stranger", "disconnected\n");
    world.start_exporter();
    wait_for_state(&world, "bot", "connected", false);
    assert!(world.stop().success());
    world.write("bot", "disconnected\n");
    world.start_exporter();
    wait_for_state(&world, "bot", "disconnected", false);
    wait_for_state(&world, "stranger", "unknown", true);
    let status = world.exporter(&["status", "bot"]);
    assert!(status.out.contains("disconnected"), "{}", status.out);
    assert!(
        !world.log().contains("cannot be written"),
        "{}",
        world.log()
    );
    world.configure(&config.replace("kept", "other"));
    let reload = net::post(&world.url("/-/reload"), &[], b"").unwrap();
    assert_ne!(reload.status, 200);
    world.wait_for_log("logs.state_path changes only with a restart");
    world.finish();
}

#[test]
fn an_exporter_that_cannot_save_what_it_saw_says_so_once() {
    let mut world = with_config(&["bot"], "connection: {command: [cat, 'DIR/{session}']}\n");
    world.write("bot", "connected\n");
    world.flags.push("--logs.state-path=/proc/nowhere".into());
    world.start_exporter();
    let warnings = |world: &World| {
        let log = world.log();
        let says = |line: &&str| line.contains("level=warn") && line.contains("logs.state_path");
        log.lines().filter(says).count()
    };
    world.wait_for_log("another with logs.state_path");
    wait_for_state(&world, "bot", "connected", false);
    assert!(world.stop().success());
    assert_eq!(warnings(&world), 1, "{}", world.log());
    // Without a source there is nothing to save.
    world.configure("{}\n");
    world.start_exporter();
    assert!(world.stop().success());
    assert_eq!(warnings(&world), 1, "{}", world.log());
}

/// As `pino`, of this host.
fn pino_here(ago: u64, pid: u32, text: &str) -> String {
    let (_, host, _) = process::run(Path::new("uname"), ["-n"], BOUND).unwrap();
    let host = format!("\"hostname\":\"{}\"", host.trim());
    pino(ago, pid, text).replace("\"hostname\":\"vm\"", &host)
}

/// Its log is the only source, and names its process.
#[test]
fn a_bot_that_was_killed_is_told_from_one_that_is_silent() {
    let mut world = with_config(&["bot"], "logs: {paths: ['bot=DIR/bot.log']}\n");
    let (mut bot, pid) = start_bot(&world, "pid");
    let log = pino_here(5, pid, "connected to WA") + &pino_here(0, pid, OPENED);
    world.write("bot.log", &log);
    world.start_exporter();
    wait_for_state(&world, "bot", "connected", false);
    with_journal(&world);
    assert_eq!(world.doctor("bot", &[]).verdict(), ("connected", false));
    bot.kill();
    wait_for_state(&world, "bot", "unknown", true);
    let says = format!("the process that opened the connection has ended (pid {pid})");
    let knows = |world: &World, what: &str| {
        let status = world.exporter(&["status", "bot", "--output=json"]);
        assert!(status.out.contains(&says), "{what}: {}", status.out);
        let report = world.doctor("bot", &[]);
        assert_eq!(
            (report.verdict(), report.finding("log")),
            (("unknown", false), "ambiguous"),
            "{what}: {report:?}"
        );
    };
    knows(&world, "at once");
    // The same after a restart, also of a log that is too old to prove a connection.
    world.kill();
    let logs = "logs: {paths: ['bot=DIR/bot.log']}\n";
    world.configure(&format!("{logs}connection: {{log_fresh: 1s}}\n"));
    world.start_exporter();
    wait_for_state(&world, "bot", "unknown", true);
    knows(&world, "later");
    world.configure(logs);
    let reload = net::post(&world.url("/-/reload"), &[], b"").unwrap();
    assert_eq!(reload.status, 200);
    let (code, out, err) = world.remediator(&["clean", "bot"]).parts();
    assert_eq!(code, 1, "{out}{err}");
    // It runs again.
    let (_bot, pid) = start_bot(&world, "pid");
    let log = log + &pino_here(0, pid, OPENED);
    world.write("bot.log", &log);
    wait_for_state(&world, "bot", "connected", false);
    assert_eq!(world.doctor("bot", &[]).verdict(), ("connected", false));
    world.finish();
}

/// A program that does nothing; it ends with the test.
struct Program(std::process::Child);

impl Program {
    fn start() -> Self {
        let mut command = std::process::Command::new("sleep");
        Self(command.arg("900").spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_exporter_tells_of_restarts_and_of_a_bot_without_a_log() {
    let world = with_config(
        &["bot", "main", "sub"],
        "processes: [{sessions: [main, sub], pid_file: 'DIR/main.pid'}, {pid_file: 'DIR/{session}.pid'}]\nlogs: {paths: ['DIR/logs/*-out.log', 'DIR/none/*.log'], state_path: 'DIR/state'}\n",
    );
    fs::create_dir(world.path("logs")).unwrap();
    world.write("logs/main-out.log", "hello\n");
    let (first, main) = (Program::start(), Program::start());
    world.write("main.pid", &main.0.id().to_string());
    world.write("bot.pid", &first.0.id().to_string());
    let port = net::free_port(None).unwrap();
    let args = [
        format!("--sessions.path={}", world.path("sessions").display()),
        format!("--config.file={}", world.path("config.yml").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let url = format!("http://127.0.0.1:{port}/metrics");
    let exporter = Path::new(env!("CARGO_BIN_EXE_baileys_exporter"));
    let mut exporter =
        process::Process::start("exporter", exporter, args, &world.path("log")).unwrap();
    // A look at the processes every 30 seconds.
    let bound = Duration::from_secs(300);
    let patience = Patience::new(bound);
    let mut wait_for = |name: &str, labels: &[(&str, &str)], expected: f64| {
        let shown = patience.wait_until(bound, name, || {
            exporter.alive()?;
            match Metrics::scrape(&url)?.sum(name, labels)? {
                value if value == expected => Ok(()),
                value => Err(format!("{name} {labels:?} is {value}")),
            }
        });
        shown.unwrap();
    };
    let missing = "baileys_auth_log_missing";
    wait_for(missing, &[("session", "bot")], 1.0);
    wait_for(missing, &[("session", "main")], 0.0);
    wait_for(missing, &[("session", "sub")], 0.0);
    for (glob, matched) in [("logs/*-out.log", 1.0), ("none/*.log", 0.0)] {
        let glob = world.path(glob).display().to_string();
        let name = "baileys_exporter_log_glob_matched";
        wait_for(name, &[("glob", &glob)], matched);
    }
    let restarts = "baileys_auth_process_restarts_total";
    wait_for(restarts, &[("session", "bot")], 0.0);
    drop(first);
    let second = Program::start();
    world.write("bot.pid", &second.0.id().to_string());
    world.write("logs/bot-out.log", "hello\n");
    wait_for(restarts, &[("session", "bot")], 1.0);
    wait_for(restarts, &[("session", "main")], 0.0);
    wait_for(missing, &[("session", "bot")], 0.0);
    // A process that runs is not expected to tell.
    let unresolved = "baileys_auth_connection_unresolved";
    wait_for(unresolved, &[("session", "main")], 0.0);
}

#[test]
fn the_real_pm2() {
    let world = with_config(
        &["bot", "other"],
        "connection: {timeout: 30s, session_pattern: '(?<name>.+)'}\nprocesses: [{pm2: {name: '{name}', home: DIR/pm2}}]\n",
    );
    let pm2 = Pm2::new(world.root());
    with_journal(&world);

    // Without a daemon it is not called: that would start one.
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "silent"),
        "{report:?}"
    );
    assert!(
        report.detail("process").contains("pm2 was not asked"),
        "{report:?}"
    );
    assert_eq!(
        fs::read_dir(world.path("pm2")).unwrap().count(),
        0,
        "nothing was made in its home"
    );

    world.write(
        "bot.js",
        "require('fs').writeFileSync(__dirname + '/pids', String(process.pid));\nsetInterval(() => {}, 1000);\n",
    );
    pm2.run(&[
        "start",
        &world.path("bot.js").display().to_string(),
        "--name",
        "bot",
    ]);
    let running = Patience::new(BOUND).wait_until(BOUND, "pm2 runs the bot", || {
        let report = world.doctor("bot", &[]);
        match report.finding("process") {
            "nothing" => Ok(report),
            _ => Err(format!("{report:?}")),
        }
    });
    let report = running.unwrap();
    assert_eq!(
        report.verdict(),
        ("unknown", false),
        "that it runs is no evidence: {report:?}"
    );
    let number = || fs::read_to_string(world.path("pids")).map_err(|error| error.to_string());
    let pid = Patience::new(BOUND)
        .wait_until(BOUND, "the bot tells its number", number)
        .unwrap();
    assert!(report.detail("process").contains(pid.trim()), "{report:?}");
    assert!(
        report.source("process")["last_alive"].is_string(),
        "{report:?}"
    );
    let report = world.doctor("other", &[]);
    assert_eq!(report.finding("process"), "silent", "{report:?}");
    assert!(
        report.detail("process").contains("knows no process"),
        "{report:?}"
    );

    pm2.run(&["stop", "bot"]);
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("disconnected", true), "gone"),
        "{report:?}"
    );

    // The daemon dies and leaves its files: again no other one is started.
    let daemon = pm2.daemon();
    pm2.kill();
    let report = world.doctor("bot", &[]);
    assert_eq!(
        (report.verdict(), report.finding("process")),
        (("unknown", false), "silent"),
        "{report:?}"
    );
    assert_eq!(pm2.daemon(), daemon, "no other daemon was started");
    assert!(std::os::unix::net::UnixStream::connect(world.path("pm2/rpc.sock")).is_err());
}

/// The recipe of the README: a probe that asks the bot, and pm2. The bot is stopped, and
/// cleaned.
#[test]
fn a_bot_stopped_with_the_real_pm2_is_cleaned() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let probe = format!(
        "#!/bin/sh\n# $1\ncurl -fsS --max-time 20 \"http://localhost:{port}/status/$1\" | jq -er '\n  if .status.connected == true then \"connected\"\n  elif .status.connected == false then \"disconnected\"\n  else error(\"no answer\") end'\n"
    );
    for asks in ["command", "http"] {
        let world = with_config(&["bot"], "");
        let quiet = SystemTime::now() - Duration::from_secs(900);
        let folder = world.path("sessions/bot");
        fs::remove_dir_all(&folder).unwrap();
        fixture::unpack("bloated-classic-387", &folder, quiet).unwrap();
        let by = match asks {
            "command" => "command: [DIR/bin/bot-state, '{session}']".to_owned(),
            _ => format!(
                "http: {{url: 'http://localhost:{port}/status/{{session}}', pointer: /status/connected, connected: [true], disconnected: [false]}}"
            ),
        };
        world.configure(&format!(
            "connection: {{timeout: 30s, {by}}}\nprocesses: [{{pm2: {{name: '{{session}}', home: DIR/pm2}}}}]\n"
        ));
        world.write("bin/bot-state", &probe);
        fs::set_permissions(
            world.path("bin/bot-state"),
            PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        let pm2 = Pm2::new(world.root());
        world.write(
            "bot.js",
            &format!(
                "require('http').createServer((_, answer) => answer.end('{{\"status\":{{\"connected\":true}}}}')).listen({port}, '127.0.0.1', () =>\n  require('fs').writeFileSync(__dirname + '/pids', String(process.pid)));\n"
            ),
        );
        let script = world.path("bot.js").display().to_string();
        pm2.run(&["start", &script, "--name", "bot"]);
        with_journal(&world);
        let connected = Patience::new(BOUND).wait_until(BOUND, "the bot is connected", || {
            let report = world.doctor("bot", &[]);
            match report.verdict() {
                ("connected", _) => Ok(()),
                _ => Err(format!("{report:?}")),
            }
        });
        connected.unwrap();
        let (code, out, err) = world.remediator(&["clean", "bot"]).parts();
        assert_eq!(code, 1, "{out}{err}");

        pm2.run(&["stop", "bot"]);
        let (code, out, err) = world.remediator(&["clean", "bot"]).parts();
        assert_eq!(code, 0, "{asks}: {out}{err}");
        assert!(out.contains("moved into the quarantine"), "{out}");
    }
}
