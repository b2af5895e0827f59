//! One bot under a supervisor made of a shell script, and a remediator that may stop it.
//! For tests that need no more than that; `tests/emergency.rs` has the large one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::fixture::{self, Snapshot};
use testkit::{Patience, net, process};

pub const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
pub const BOT: &str = "bot";
const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw";
const SOON: Duration = Duration::from_secs(60);

/// `sv start|stop|gone|ask`. It waits at a point while `hold-POINT` is there. With `offline`
/// the bot runs and is not connected; with `late` a stop returns, and has not stopped it.
const SV: &str = r#"
cd "$(dirname "$0")" || exit 9
hold() { while [ -e "hold-$1" ]; do touch "reached-$1"; sleep 0.05; done; }
alive() {
    pid=$(cat bot.pid 2>/dev/null) || return 1
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
    case $stat in *") Z "*) return 1 ;; esac
}
case $1 in
start)
    echo start >>calls
    hold start
    alive && exit 0
    setsid sh bot.sh </dev/null >/dev/null 2>&1 &
    echo $! >bot.part
    mv bot.part bot.pid
    ;;
stop)
    echo stop >>calls
    hold stop
    [ -e late ] && exit 0
    if alive; then kill "$pid"; fi
    ;;
gone) ! alive ;;
ask)
    hold asked
    if alive && [ ! -e offline ]; then echo connected; else
        alive || hold ask-down
        echo disconnected
    fi
    ;;
esac
"#;

pub struct World {
    dir: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
    patience: Patience,
    flags: Vec<String>,
    user: Option<u32>,
    /// Goes before the remediator's command.
    wrapper: Vec<String>,
    config: PathBuf,
}

impl World {
    /// The bot runs, and its folder holds `bloated-classic-387`; the remediator does not run.
    pub fn new() -> (Self, Snapshot) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sessions")).unwrap();
        fs::write(dir.path().join("sv"), SV).unwrap();
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        let mode = PermissionsExt::from_mode(0o600);
        fs::set_permissions(dir.path().join("token"), mode).unwrap();
        let world = Self {
            port: net::free_port(None).unwrap(),
            config: dir.path().join("config.yml"),
            dir,
            server: None,
            patience: Patience::new(6 * SOON),
            flags: Vec::new(),
            user: None,
            wrapper: Vec::new(),
        };
        world.configure("");
        let quiet = SystemTime::now() - Duration::from_secs(900);
        fixture::unpack("bloated-classic-387", &world.folder(), quiet).unwrap();
        let creds = world.folder().join("creds.json");
        // A bot that is not connected does not write either.
        let script = format!(
            "cd {}\nwhile :; do [ -e offline ] || touch {}; sleep 0.1; done\n",
            world.dir.path().display(),
            creds.display()
        );
        fs::write(world.at("bot.sh"), script).unwrap();
        world.sv("start");
        world.wait("the bot is connected", || world.is_connected());
        world.unmark("calls");
        let before = Snapshot::take(&world.folder()).unwrap();
        (world, before)
    }

    /// Writes the configuration, with `more` keys of the service.
    pub fn configure(&self, more: &str) {
        let yaml = r#"
connection: {command: [sh, DIR/sv, ask], timeout: 30s, quiet: 1s, trust: ["*"]}
armed: {look_every: 1s}
processes:
  - name: bot
    allow_restart: true
    command: {stop: [sh, DIR/sv, stop], start: [sh, DIR/sv, start], gone: [sh, DIR/sv, gone]}
    stop_timeout: 20s
    gone_timeout: 5s
    start_timeout: 10s
    connect_timeout: 20s
MORE
"#;
        let yaml = yaml
            .replace("DIR", &self.dir.path().display().to_string())
            .replace("MORE", more);
        fs::write(self.at("config.yml"), yaml).unwrap();
    }

    /// The remediator reads this configuration.
    pub fn use_config(&mut self, file: PathBuf) {
        self.config = file;
    }

    /// The remediator gets this flag as well.
    pub fn flag(&mut self, flag: String) {
        self.flags.push(flag);
    }

    /// The remediator is started by this command.
    pub fn start_by(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// The remediator runs as this user, without capabilities.
    pub fn run_as(&mut self, uid: u32) {
        self.user = Some(uid);
    }

    /// The remediator and the bot run as this user, and all files are its. `false`: this user
    /// cannot give files away.
    pub fn run_all_as(&mut self, uid: u32) -> bool {
        self.sv("stop");
        self.wait("the bot is gone", || match self.sv("gone") {
            (true, _) => Ok(()),
            (false, said) => Err(said),
        });
        for entry in walkdir::WalkDir::new(self.dir.path()) {
            let path = entry.unwrap().into_path();
            if let Err(error) = std::os::unix::fs::lchown(path, Some(uid), Some(uid)) {
                testkit::not_run(format_args!("chown cannot be done here: {error}"));
                return false;
            }
        }
        self.run_as(uid);
        let sv = self.at("sv").display().to_string();
        let (reuid, regid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        let args = [reuid.as_str(), &regid, "--clear-groups", "sh", &sv, "start"];
        let args = args.map(str::to_owned);
        let (status, _, err) = process::run(Path::new("setpriv"), args, SOON).unwrap();
        assert!(status.success(), "{err}");
        self.wait("the bot is connected", || self.is_connected());
        self.unmark("calls");
        true
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn folder(&self) -> PathBuf {
        self.at("sessions").join(BOT)
    }

    pub fn mark(&self, name: &str) {
        fs::write(self.at(name), "").unwrap();
    }

    pub fn unmark(&self, name: &str) {
        let _ = fs::remove_file(self.at(name));
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.at(name)).unwrap_or_default()).into_owned()
    }

    pub fn sv(&self, what: &str) -> (bool, String) {
        let args = [self.at("sv").display().to_string(), what.to_owned()];
        let (status, out, _) = process::run(Path::new("sh"), args, SOON).unwrap();
        (status.success(), out)
    }

    pub fn is_connected(&self) -> testkit::Result<()> {
        match self.sv("ask").1.trim() {
            "connected" => Ok(()),
            other => Err(other.to_owned()),
        }
    }

    /// As a stop that comes late.
    pub fn end_bot(&self) {
        let pid = self.read("bot.pid").trim().parse().ok();
        kill_process(pid.and_then(Pid::from_raw).unwrap(), Signal::TERM).unwrap();
    }

    /// How often the supervisor was asked to.
    pub fn calls(&self, what: &str) -> usize {
        self.read("calls")
            .lines()
            .filter(|line| *line == what)
            .count()
    }

    pub fn all_flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--sessions.path={}", self.at("sessions").display()),
            format!("--state.path={}", self.at("state").display()),
            format!("--config.file={}", self.config.display()),
        ];
        flags.extend(self.flags.iter().cloned());
        flags
    }

    /// The command that serves; its output goes to the file `log`.
    pub fn serve_command(&self) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.at("log"))
            .unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(uid) = self.user {
            command.args([
                &format!("--reuid={uid}"),
                &format!("--regid={uid}"),
                "--clear-groups",
            ]);
        }
        command
            .arg("--")
            .args(&self.wrapper)
            .args([REMEDIATOR, "serve"])
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg(format!(
                "--webhook.token-file={}",
                self.at("token").display()
            ))
            .args(self.all_flags())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        command
    }

    pub fn start(&mut self) {
        let child = self.serve_command().spawn();
        self.server = Some(child.expect("setpriv (util-linux) starts the remediator"));
        self.wait_until_ready();
    }

    /// The same, with this as its standard error.
    pub fn start_with_log(&mut self, log: Stdio) {
        self.spawn_with_log(log);
        self.wait_until_ready();
    }

    /// Serves, or fails to.
    pub fn spawn_with_log(&mut self, log: Stdio) {
        let child = self.serve_command().stderr(log).spawn();
        self.server = Some(child.expect("setpriv (util-linux) starts the remediator"));
    }

    pub fn wait_until_ready(&self) {
        let ready = format!("http://127.0.0.1:{}/-/ready", self.port);
        self.wait("the remediator is ready", || net::get(&ready)?.ok());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.server.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the remediator has ended, and returns whether it ended well.
    pub fn ends(&mut self) -> bool {
        let mut server = self.server.take().unwrap();
        let ended = self.wait("the remediator ends", || {
            let ended = server.try_wait().map_err(|e| e.to_string())?;
            ended.ok_or_else(|| "it runs".to_owned())
        });
        ended.success()
    }

    pub fn serves(&self) -> bool {
        net::get(&format!("http://127.0.0.1:{}/-/healthy", self.port))
            .is_ok_and(|answer| answer.status == 200)
    }

    pub fn wait<T>(&self, what: &str, attempt: impl FnMut() -> testkit::Result<T>) -> T {
        let seen = self.patience.wait_until(SOON, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}\n{}", self.read("log")))
    }

    /// Waits until the folder has been quiet for longer than `connection.quiet`.
    pub fn wait_until_quiet(&self) {
        self.wait("the folder is quiet", || {
            let about = fs::metadata(self.folder().join("creds.json"));
            let written = about.and_then(|about| about.modified());
            let age = written.map_err(|error| error.to_string())?.elapsed();
            match age.is_ok_and(|age| age > Duration::from_millis(2_500)) {
                true => Ok(()),
                false => Err("not yet".into()),
            }
        });
    }

    pub fn wait_for_file(&self, name: &str) {
        self.wait(name, || match self.at(name).exists() {
            true => Ok(()),
            false => Err("not there".into()),
        });
    }

    pub fn says(&self, text: &str) {
        self.wait(text, || match self.read("log").contains(text) {
            true => Ok(()),
            false => Err("not yet".into()),
        });
    }

    pub fn deliver(&self, tier: &str) {
        let answer = self.try_deliver(tier).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }

    /// As Alertmanager does, until it is accepted.
    pub fn deliver_in_a_flood(&self, tier: &str) {
        self.wait("the alert is accepted", || {
            match self.try_deliver(tier)?.status {
                202 => Ok(()),
                other => Err(other.to_string()),
            }
        });
    }

    fn try_deliver(&self, tier: &str) -> testkit::Result<net::Answer> {
        self.try_deliver_for(BOT, tier)
    }

    pub fn try_deliver_for(&self, session: &str, tier: &str) -> testkit::Result<net::Answer> {
        let alerts = json!([{
            "status": "firing",
            "labels": {"ladder": "baileys_auth_files", "tier": tier, "session": session},
            "startsAt": "2026-11-23T18:00:00.000Z",
            "fingerprint": format!("{session}-{tier}"),
        }]);
        let body = json!({"version": "4", "alerts": alerts}).to_string();
        let headers = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))];
        let url = format!("http://127.0.0.1:{}/webhook", self.port);
        net::post(&url, &headers, body.as_bytes())
    }

    /// Runs a command as the user that serves.
    pub fn command(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let args = args.iter().map(|arg| (*arg).to_owned());
        let args = args.chain(self.all_flags());
        let run = |program: &str, args: Vec<String>| {
            process::run(Path::new(program), args, SOON).unwrap()
        };
        let (status, out, err) = match self.user {
            None => run(REMEDIATOR, args.collect()),
            Some(uid) => {
                let user = [format!("--reuid={uid}"), format!("--regid={uid}")];
                let rest = ["--clear-groups", "--", REMEDIATOR].map(str::to_owned);
                run(
                    "setpriv",
                    user.into_iter().chain(rest).chain(args).collect(),
                )
            }
        };
        (status.code(), out, err)
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.command(args);
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str(&out).unwrap()
    }

    pub fn metric(&self, name: &str) -> Option<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let metrics = net::get(&url).unwrap().body;
        let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
        lines.find_map(|(found, value)| (found == name).then(|| value.parse().unwrap()))
    }

    pub fn status(&self) -> Value {
        self.json(&["status", "--output=json"])
    }

    /// All that is on record of a run.
    pub fn show(&self, run: &Value) -> Value {
        self.json(&["runs", "show", &run["id"].to_string(), "--output=json"])
    }

    /// The newest clean-up, once it has ended.
    pub fn ended(&self) -> testkit::Result<Value> {
        let runs = self.json(&["runs", "--output=json"]);
        let mut runs = runs.as_array().unwrap().iter();
        // A restore of creds.json before a start is a run as well.
        let run = runs.find(|run| run["action"] != "restore");
        let run = run.cloned().ok_or("no run")?;
        match run["status"].as_str().unwrap() {
            "queued" | "running" => Err(run.to_string()),
            _ => Ok(run),
        }
    }

    /// Sends an alert, and waits for what it came to.
    pub fn asked(&self, tier: &str) -> Value {
        self.deliver(tier);
        self.wait("the run ends", || self.ended())
    }

    /// Every file of before is in the folder or in the quarantine, and none in both: how many
    /// are in the quarantine.
    pub fn moved(&self, before: &Snapshot) -> usize {
        let mut held = BTreeSet::new();
        let runs = fs::read_dir(self.folder().join(".baileys_quarantine"));
        for run in runs.into_iter().flatten().flatten() {
            let files = fs::read_dir(run.path().join("files"));
            let names = files.into_iter().flatten().flatten();
            held.extend(names.map(|file| file.file_name().into_string().unwrap()));
        }
        let now = Snapshot::take(&self.folder()).unwrap();
        let there: BTreeSet<&str> = now.names().collect();
        for name in before.names() {
            assert!(
                there.contains(name) != held.contains(name),
                "a file is lost, or there twice"
            );
        }
        held.len()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        for name in ["hold-start", "hold-stop", "hold-asked", "hold-ask-down"] {
            self.unmark(name);
        }
        let pid = self.read("bot.pid").trim().parse().ok();
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return;
        };
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains("bot.sh") {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
