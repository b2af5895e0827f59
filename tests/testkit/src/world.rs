//! One host for a test: auth folders, bots that say what the test wants, a configuration,
//! one server (exporter or remediator) on a port of its own, and the commands of both.
//!
//! Methods panic with the server's log when something is not as it must be.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{self, Snapshot};
use crate::net::{self, Metrics};
use crate::process::{self, Process};
use crate::stack::{Programs, quote};
use crate::{Patience, Result};

/// The token of every [`World`]'s webhook.
pub const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw";
/// Everything that is waited for happens within this time, or the test fails.
pub const SOON: Duration = Duration::from_secs(60);
/// How long [`World::bot`] has been silent.
pub const QUARTER: Duration = Duration::from_secs(900);

/// The programs under test. Use it in an integration test of the main package.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::stack::Programs {
            exporter: env!("CARGO_BIN_EXE_baileys_exporter").into(),
            remediator: env!("CARGO_BIN_EXE_baileys_remediator").into(),
        }
    };
}

/// A [`World`] with the programs under test.
#[macro_export]
macro_rules! world {
    () => {
        $crate::world::World::new($crate::programs!())
    };
}

/// What the probe does with the file of a session, `$1`:
///
/// - `hold`: answer `connected` to the first call, hold later ones until the word changes;
///   `$1.called` and `$1.asked` say that the first and a later one came
/// - `hang`, `fails`, `chatty`, `silent`: misbehave
/// - any other word: say it
///
/// With a number in `$1.hold` it holds that call (`$1.held`) until that file is gone.
/// `$1.n` is the number of calls.
const PROBE: &str = r#"cd "$(dirname "$0")" || exit 3
n=0; [ -e "$1.n" ] && read -r n < "$1.n"
n=$((n + 1)); echo $n >"$1.part"; mv "$1.part" "$1.n"
if [ -e "$1.hold" ] && [ "$(cat "$1.hold")" = $n ]; then
    touch "$1.held"
    i=0
    while [ -e "$1.hold" ] && [ $i -lt 4500 ]; do sleep 0.01; i=$((i + 1)); done
fi
read -r word < "$1" || exit 4
if [ "$word" = hold ]; then
    if [ ! -e "$1.called" ]; then
        touch "$1.called"
        echo connected
        exit
    fi
    touch "$1.asked"
    while [ "$word" = hold ]; do sleep 0.01; read -r word < "$1"; done
fi
case $word in
    hang) exec sleep 30 ;;
    fails) echo disconnected; exit 1 ;;
    chatty) echo disconnected; echo disconnected ;;
    silent) ;;
    *) echo "$word" ;;
esac
"#;

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; 137 when it was killed.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Runs `program` to its end.
    pub fn of(program: &Path, args: impl IntoIterator<Item = String>) -> Self {
        let (status, out, err) =
            process::run(program, args, SOON).unwrap_or_else(|failure| panic!("{failure}"));
        Self {
            code: status.code().unwrap_or(137),
            out,
            err,
        }
    }

    /// Fails unless it exited with `code` and said each of `words` somewhere.
    pub fn must(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(
                self.out.contains(word) || self.err.contains(word),
                "{word}: {self:#?}"
            );
        }
        self
    }

    /// Exit code, standard output and standard error.
    pub fn parts(self) -> (i32, String, String) {
        (self.code, self.out, self.err)
    }

    /// Its standard output, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// One host with bots.
#[derive(Debug)]
pub struct World {
    // Dropped before the directory it writes to.
    server: Option<Process>,
    programs: Programs,
    patience: Patience,
    within: Duration,
    /// Port of the server.
    pub port: u16,
    /// Flags for the server and for commands, beside those for the directories.
    pub flags: Vec<String>,
    /// Variables for the server and for commands, as `NAME=value`.
    pub env: Vec<String>,
    dir: TempDir,
}

impl World {
    /// A host without a bot. Everything in it takes at most four times [`SOON`].
    pub fn new(programs: Programs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["sessions", "probe"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        // For tests that run a program as another user.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("probe/ask.sh"), PROBE).unwrap();
        let world = Self {
            server: None,
            programs,
            patience: Patience::new(4 * SOON),
            within: SOON,
            port: net::free_port(None).unwrap(),
            flags: Vec::new(),
            env: Vec::new(),
            dir,
        };
        world.token(TOKEN, 0o600);
        world
    }

    /// All that is waited for, and all of it together, takes at most `bound`.
    pub fn within(mut self, bound: Duration) -> Self {
        self.within = bound;
        self.patience = Patience::new(bound);
        self
    }

    /// All that is waited for together takes at most `bound`.
    pub fn patient(mut self, bound: Duration) -> Self {
        self.patience = Patience::new(bound);
        self
    }

    /// The directory of this world.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Below the directory of this world. `log` is what the server printed.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the directory of this world, and the directories for it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file below the directory of this world; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// A program of this name comes first on the PATH from now on: a shell script, which runs in
    /// the directory of this world.
    pub fn stand_in(&self, name: &str, script: &str) {
        let text = format!("#!/bin/sh\ncd {}\n{script}", self.root().display());
        self.write(&format!("bin/{name}"), &text);
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(self.path("bin").join(name), mode).unwrap();
    }

    /// What goes before a program, so that it gets [`World::env`] and finds what
    /// [`World::stand_in`] wrote.
    pub(crate) fn env_wrapper(&self) -> Vec<String> {
        let bin = self.path("bin");
        let mut words = self.env.clone();
        if bin.exists() {
            let path = std::env::var("PATH").unwrap_or_default();
            words.push(format!("PATH={}:{path}", bin.display()));
        }
        if !words.is_empty() {
            words.insert(0, "env".to_owned());
        }
        words
    }

    /// The auth folder of a session.
    pub fn folder(&self, session: &str) -> PathBuf {
        self.path("sessions").join(session)
    }

    /// Writes the file with the webhook's token.
    pub fn token(&self, token: &str, mode: u32) {
        let path = self.path("token");
        fs::write(&path, format!("{token}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    /// Lays out a bot that has been silent for a quarter of an hour.
    pub fn bot(&self, session: &str, fixture: &str, probe: &str) -> Snapshot {
        self.bot_of(session, fixture, probe, QUARTER)
    }

    /// The same world, with bots that have a normal folder and have been silent for a quarter
    /// of an hour. The probe is not prepared for them.
    pub fn quiet(self, sessions: &[&str]) -> Self {
        let quiet = SystemTime::now() - QUARTER;
        for session in sessions {
            fixture::unpack("normal", &self.folder(session), quiet).unwrap();
        }
        self
    }

    /// Lays out a bot that has been `silent` for so long.
    pub fn bot_of(&self, session: &str, fixture: &str, probe: &str, silent: Duration) -> Snapshot {
        fixture::unpack(fixture, &self.folder(session), SystemTime::now() - silent).unwrap();
        self.probe_says(session, probe);
        self.snapshot(session)
    }

    /// What the probe does when a program asks about the session.
    pub fn probe_says(&self, session: &str, what: &str) {
        // Never half a word.
        let (part, path) = (self.path("probe/part"), self.path("probe").join(session));
        fs::write(&part, format!("{what}\n")).unwrap();
        fs::rename(part, path).unwrap();
    }

    /// How often the probe was asked about the session.
    pub fn probe_calls(&self, session: &str) -> usize {
        let path = self.path("probe").join(format!("{session}.n"));
        fs::read_to_string(path).map_or(0, |text| text.trim().parse().unwrap())
    }

    /// The probe holds its `nth` call for the session until [`World::release_probe`].
    pub fn hold_probe(&self, session: &str, nth: usize) {
        let path = self.path("probe").join(format!("{session}.hold"));
        fs::write(path, nth.to_string()).unwrap();
    }

    /// Lets go on what [`World::hold_probe`] holds.
    pub fn release_probe(&self, session: &str) {
        fs::remove_file(self.path("probe").join(format!("{session}.hold"))).unwrap();
    }

    /// Waits until a file exists.
    pub fn wait_for_file(&self, what: &str, path: &Path) {
        self.wait(what, || match path.exists() {
            true => Ok(()),
            false => Err("not yet".into()),
        });
    }

    /// Waits until the probe holds a call for a session whose word is `hold`.
    pub fn wait_until_asked(&self, session: &str) {
        let asked = self.path("probe").join(format!("{session}.asked"));
        self.wait_for_file("a call of the probe", &asked);
    }

    /// The folder as it is now.
    pub fn snapshot(&self, session: &str) -> Snapshot {
        Snapshot::take(&self.folder(session)).unwrap()
    }

    /// Fails if a file of the session has changed or is in the quarantine.
    pub fn unchanged(&self, session: &str, before: &Snapshot) {
        let differences = before.differences(&self.snapshot(session));
        assert_eq!(differences, Vec::<String>::new(), "{session}");
        let held = self.quarantined(session);
        assert!(held.is_empty(), "{session}: {held:?}");
    }

    /// Names of the files in all quarantined runs of a session.
    pub fn quarantined(&self, session: &str) -> BTreeSet<String> {
        let runs = fs::read_dir(self.folder(session).join(".baileys_quarantine"));
        let files = runs
            .into_iter()
            .flatten()
            .filter_map(|run| fs::read_dir(run.unwrap().path().join("files")).ok());
        files
            .flatten()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The flags that make the probe the source of the connection, and trusted.
    pub fn probe_flags(&self) -> Vec<String> {
        let script = self.path("probe/ask.sh");
        vec![
            format!("--connection.command=sh {} {{session}}", script.display()),
            "--connection.trust=*".to_owned(),
        ]
    }

    /// From now on every program asks the probe.
    pub fn with_probe(&mut self) {
        self.flags.extend(self.probe_flags());
    }

    /// The same world; every program asks the probe.
    pub fn probed(mut self) -> Self {
        self.with_probe();
        self
    }

    /// The same world; every program reads this configuration.
    pub fn configured(mut self, yaml: &str) -> Self {
        self.with_config(yaml);
        self
    }

    /// From now on every program reads this configuration.
    pub fn with_config(&mut self, yaml: &str) {
        self.configure(yaml);
        let flag = format!("--config.file={}", self.path("config.yml").display());
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// Writes the configuration; `DIR` is the directory of this world.
    pub fn configure(&self, yaml: &str) {
        let dir = self.root().display().to_string();
        self.write("config.yml", &yaml.replace("DIR", &dir));
    }

    /// The flags of the exporter: sessions and [`World::flags`].
    pub fn exporter_flags(&self) -> Vec<String> {
        let mut flags = vec![format!(
            "--sessions.path={}",
            self.path("sessions").display()
        )];
        flags.extend(self.flags.iter().cloned());
        flags
    }

    /// A directory of this world for the exporter, unless the test names one.
    fn exporter_state(&self) -> Option<String> {
        let flag = "--logs.state-path=";
        let named = self.flags.iter().any(|given| given.starts_with(flag))
            || self.read("config.yml").contains("state_path:");
        (!named).then(|| {
            let state = self.path("exporter-state");
            fs::create_dir_all(&state).unwrap();
            format!("{flag}{}", state.display())
        })
    }

    /// The flags of the remediator: sessions, journal and [`World::flags`].
    pub fn remediator_flags(&self) -> Vec<String> {
        let mut flags = self.exporter_flags();
        flags.push(format!("--state.path={}", self.path("state").display()));
        flags
    }

    /// The arguments of `baileys_remediator serve`.
    pub fn serve_args(&self) -> Vec<String> {
        let mut args = vec![
            "serve".to_owned(),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            format!("--webhook.token-file={}", self.path("token").display()),
            "--log.level=debug".to_owned(),
        ];
        args.extend(self.remediator_flags());
        args
    }

    /// Starts the exporter and waits until it is ready.
    pub fn start_exporter(&mut self) {
        let mut args = vec![
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            "--log.level=debug".to_owned(),
        ];
        args.extend(self.exporter_flags());
        args.extend(self.exporter_state());
        self.start(&[], &self.programs.exporter.clone(), args);
    }

    /// Starts the remediator and waits until it is ready.
    pub fn start_remediator(&mut self) {
        self.start_remediator_in(&[]);
    }

    /// Starts the remediator behind `wrapper`, which must end with an exec of its arguments.
    pub fn start_remediator_in(&mut self, wrapper: &[&str]) {
        let args = self.serve_args();
        self.start(wrapper, &self.programs.remediator.clone(), args);
    }

    /// Starts a server behind `wrapper` and waits until it is ready.
    pub fn start(&mut self, wrapper: &[&str], program: &Path, args: Vec<String>) {
        let log = self.path("log");
        let env = self.env_wrapper();
        let words = env
            .iter()
            .map(String::as_str)
            .chain(wrapper.iter().copied());
        let words: Vec<&str> = words.collect();
        let server = Process::start_in(&words, program, args, &log);
        self.adopt(server.unwrap());
        self.wait_until_ready();
        self.wait_for_first_calls();
    }

    /// From now on this is the server.
    pub(crate) fn adopt(&mut self, server: Process) {
        self.server = Some(server);
    }

    /// The programs under test.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Waits until the server is ready.
    pub fn wait_until_ready(&self) {
        let ready = self.url("/-/ready");
        self.wait("the server is ready", || net::get(&ready)?.ok());
    }

    /// Until a probe that holds its calls has answered the first one, which the start makes.
    fn wait_for_first_calls(&self) {
        let asks = |flag: &String| flag.starts_with("--connection.command");
        if !self.flags.iter().any(asks) {
            return;
        }
        for probe in fs::read_dir(self.path("probe")).unwrap() {
            let probe = probe.unwrap().path();
            if fs::read_to_string(&probe).is_ok_and(|word| word == "hold\n") {
                let called = probe.with_extension("called");
                self.wait_for_file("the first call of the probe", &called);
            }
        }
    }

    /// The server.
    pub fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("a server was started")
    }

    /// The pid of the server.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("a server was started").pid()
    }

    /// The bounds on waiting.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("a server was started");
        server.signal(signal);
    }

    /// Kills the server (SIGKILL), if there is one.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Ends the server as systemd does and returns how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.server().terminate();
        self.wait_for_end()
    }

    /// Waits until the server has ended, and returns how.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("a server was started");
        self.wait("the server ends", || {
            server.ended()?.ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Ends the server, if there is one, and fails unless it succeeds and its log is discreet.
    pub fn finish(mut self) {
        if self.server.is_some() {
            let status = self.stop();
            assert!(status.success(), "{status}\n{}", self.log());
        }
        assert_discreet("the log", &self.log());
    }

    /// What all servers of this world have printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// Tries until `attempt` succeeds.
    pub fn wait<T>(&self, what: &str, attempt: impl FnMut() -> Result<T>) -> T {
        let seen = self.patience.wait_until(self.within, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}\n{}", self.log()))
    }

    /// Waits until the log has `text`. The programs write their logs in a thread, so a line may
    /// come after the answer to the request that caused it.
    pub fn wait_for_log(&self, text: &str) {
        let what = format!("the log has {text:?}");
        self.wait(&what, || match self.log().contains(text) {
            true => Ok(()),
            false => Err("not yet".into()),
        });
    }

    /// A URL of the server.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A scrape of the server, which must succeed and be discreet.
    pub fn metrics(&self) -> Metrics {
        let text = net::get(&self.url("/metrics")).and_then(net::Answer::ok);
        let text = text.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        assert_discreet("a scrape", &text);
        Metrics::parse(&text).unwrap()
    }

    /// The sum of series of the remediator, named without `baileys_remediator_`.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics()
            .sum(&format!("baileys_remediator_{name}"), labels)
            .unwrap()
    }

    /// Waits until no run waits or is under way.
    pub fn wait_until_idle(&self) {
        self.wait("every run ends", || {
            match self.metric("queue_length", &[]) {
                0.0 => Ok(()),
                queued => Err(format!("{queued} runs wait or are under way")),
            }
        });
    }

    /// Sends alerts as Alertmanager does; returns status and body.
    pub fn deliver(&self, alerts: &[Value]) -> (u16, Value) {
        let body = payload(alerts).to_string();
        let headers = [
            ("Authorization".to_owned(), format!("Bearer {TOKEN}")),
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("User-Agent".to_owned(), "Alertmanager/0.25.0".to_owned()),
        ];
        let answer = net::post(&self.url("/webhook"), &headers, body.as_bytes()).unwrap();
        assert_discreet("an answer", &answer.body);
        let said = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        (answer.status, said)
    }

    /// Sends alerts, which must be accepted; returns how many of them were queued.
    pub fn accepted(&self, alerts: &[Value]) -> u64 {
        let (status, said) = self.deliver(alerts);
        assert_eq!(status, 202, "{said}\n{}", self.log());
        let count = |name: &str| said[name].as_u64().unwrap();
        let all = count("queued") + count("others");
        assert_eq!(all, alerts.len() as u64, "{said}");
        count("queued")
    }

    /// Runs a program with these arguments and flags.
    pub fn run(&self, program: impl AsRef<Path>, args: &[&str], flags: Vec<String>) -> Ran {
        let args = args.iter().map(|arg| (*arg).to_owned()).chain(flags);
        let env = self.env_wrapper();
        let Some(first) = env.first() else {
            return discreet_run(program.as_ref(), args);
        };
        let program = program.as_ref().display().to_string();
        let words = env[1..].iter().cloned().chain([program]).chain(args);
        discreet_run(Path::new(first), words)
    }

    /// Runs a command of `baileys_exporter` on this host.
    pub fn exporter(&self, args: &[&str]) -> Ran {
        let mut flags = self.exporter_flags();
        flags.extend(self.exporter_state());
        self.run(&self.programs.exporter, args, flags)
    }

    /// Runs a command of `baileys_remediator` on this host.
    pub fn remediator(&self, args: &[&str]) -> Ran {
        self.run(&self.programs.remediator, args, self.remediator_flags())
    }

    /// Runs a command on a terminal and types `typed`. All that it prints is in `out`.
    pub fn on_terminal(&self, program: &Path, args: &[String], typed: &str) -> Ran {
        let program = program.display().to_string();
        let words = std::iter::once(&program).chain(args);
        let line: Vec<String> = words.map(|word| quote(word)).collect();
        let record = self.path("typescript");
        let mut child = Command::new("timeout")
            .args(["60", "script", "-qec", &line.join(" ")])
            .arg(&record)
            .env("TERM", "xterm-256color")
            .env("BAILEYS_CONFIG", "/dev/null")
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("script (bsdutils, util-linux) makes a terminal");
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, typed.as_bytes()).unwrap();
        drop(stdin);
        let status = child.wait().unwrap();
        Ran {
            code: status.code().unwrap(),
            out: String::from_utf8_lossy(&fs::read(record).unwrap()).into_owned(),
            err: String::new(),
        }
    }

    /// The runs on record, newest first.
    pub fn runs(&self) -> Vec<Value> {
        let ran = self.remediator(&["runs", "--output=json", "--limit=5000"]);
        let runs = ran.must(0, &[]).json();
        runs.as_array().unwrap().clone()
    }

    /// The runs of one session, newest first.
    pub fn runs_of(&self, session: &str) -> Vec<Value> {
        let mut runs = self.runs();
        runs.retain(|run| run["session"] == session);
        runs
    }

    /// The only run of a session.
    pub fn run_of(&self, session: &str) -> Value {
        let mut runs = self.runs_of(session);
        assert_eq!(runs.len(), 1, "{session}: {runs:#?}\n{}", self.log());
        runs.remove(0)
    }

    /// The record of one run.
    pub fn show(&self, id: &str) -> Value {
        let ran = self.remediator(&["runs", "show", id, "--output=json"]);
        ran.must(0, &[]).json()
    }
}

fn discreet_run(program: &Path, args: impl IntoIterator<Item = String>) -> Ran {
    let ran = Ran::of(program, args);
    for text in [&ran.out, &ran.err] {
        assert_discreet("a command's output", text);
        assert!(!text.contains("panicked at"), "{ran:#?}");
        assert!(!text.contains('\x1b'), "colours in a pipe: {ran:#?}");
    }
    ran
}

/// Fails if a text that a program shows holds the token, a key, a telephone number, or the
/// name of a key file.
#[track_caller]
pub fn assert_discreet(what: &str, text: &str) {
    for line in text.lines() {
        // The value of a metric may be any number.
        let line = match line.starts_with("baileys_") {
            true => line.rsplit_once(' ').map_or(line, |(series, _)| series),
            false => line,
        };
        if let Some(word) = indiscreet_word(line) {
            panic!("{what} holds {word}:\n{line}");
        }
    }
}

fn indiscreet_word(line: &str) -> Option<&'static str> {
    const WORDS: [&str; 10] = [
        TOKEN,
        "privKey",
        "private\"",
        "private\\\"",
        "pubKey",
        "\"_sessions\"",
        "\\\"_sessions\\\"",
        "noiseKey",
        "447700",
        "@g.us",
    ];
    /// Names of key files go on with a digit.
    const PREFIXES: [&str; 2] = ["pre-key-", "session-"];
    let numbered = |prefix: &&&str| {
        let mut rests = line.split(**prefix).skip(1);
        rests.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let word = WORDS.iter().find(|word| line.contains(**word));
    word.or_else(|| PREFIXES.iter().find(numbered)).copied()
}

/// A firing alert for a session at a tier.
pub fn alert(session: &str, tier: &str) -> Value {
    json!({
        "status": "firing",
        "labels": {
            "alertname": "BaileysAuthFiles", "ladder": "baileys_auth_files", "tier": tier,
            "session": session, "instance": "host1:10273", "job": "baileys", "severity": "critical",
        },
        "annotations": {"summary": "too many files"},
        "startsAt": "2026-11-23T18:00:00.000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://localhost:9090/graph",
        "fingerprint": format!("{:016x}", session.len() * 31 + tier.len()),
    })
}

/// What Alertmanager posts for these alerts.
pub fn payload(alerts: &[Value]) -> Value {
    json!({
        "version": "4", "groupKey": "{}/{ladder=\"baileys_auth_files\"}:{}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "baileys-remediator", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://localhost:9093", "alerts": alerts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_names_and_numbers_are_found_and_values_are_not() {
        let words = |line| indiscreet_word(line).is_some();
        assert!(words("a pre-key-12.json"));
        assert!(words("session-4477.0.json"));
        assert!(words(r#"{\"private\":1}"#));
        assert!(words(TOKEN));
        assert!(!words("session-count of pre-key-files, private"));
        assert_discreet("a scrape", "baileys_auth_x{a=\"b\"} 447700");
        let held = std::panic::catch_unwind(|| assert_discreet("x", "baileys_x{a=\"447700\"} 1"));
        assert!(held.is_err());
    }
}
