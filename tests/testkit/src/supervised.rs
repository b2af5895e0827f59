//! Bots under a supervisor made of a shell script, and a remediator that may stop them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::fixture::{self, Snapshot};
use crate::net::{self, Answer};
use crate::process::{self, Process};
use crate::stack::Programs;
use crate::world::{QUARTER, Ran, SOON, TOKEN, World};
use crate::{Result, not_run};

/// A supervisor: start, stop and gone as the preset `command` calls them, and the answer of
/// the bots' own status (`ask NAME [SESSION]`; what follows is not looked at). Without a name it is
/// about `bot`.
///
/// `hold-POINT` makes it wait there, and it says `reached-POINT`. With `offline` a bot runs and
/// is not connected; with `stop-ignored` a stop returns and stops nothing; with `NAME.removed` there
/// is no such bot any more.
const SV: &str = r#"
cd "$(dirname "$0")" || exit 9
what=$1 name=${2:-bot}
hold() { while [ -e "hold-$1" ]; do touch "reached-$1"; sleep 0.05; done; }
alive() {
    pid=$(cat "$name.pid" 2>/dev/null) || return 1
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
    case $stat in *") Z "*) return 1 ;; esac
}
case $what in
start)
    echo start >>"$name.calls"
    echo "start $name" >>all.calls
    hold start-before
    [ -e start-fails ] && exit 1
    alive && { hold start-after; exit 0; }
    rm -f "$name.ready"
    setsid sh "$name.bot" </dev/null >"$name.out" 2>&1 &
    echo $! >"$name.part"
    if [ -e shows-late ]; then (sleep 3; mv "$name.part" "$name.pid") & else mv "$name.part" "$name.pid"; fi
    hold start-after
    ;;
stop)
    echo stop >>"$name.calls"
    echo "stop $name" >>all.calls
    hold stop-before
    [ -e stop-fails ] && exit 1
    if [ ! -e stop-ignored ] && alive; then kill "$pid"; fi
    hold stop-after
    ;;
gone)
    [ -e "$name.removed" ] && exit 4
    if [ -e gone-unknown ]; then echo unknown >>"$name.answers"; exit 7; fi
    alive && exit 1
    exit 0
    ;;
ask)
    hold asked
    if alive; then
        hold ask-up
        if [ -e offline ]; then echo disconnected
        elif [ -e "${3:-$name}.ready" ] || grep -qsx ready "$name.out"; then echo connected; else echo disconnected; fi
    else
        hold ask-down
        ls "sessions/$name/.baileys_quarantine/"*/plan.json >/dev/null 2>&1 && hold planned
        echo disconnected
    fi
    ;;
esac
exit 0
"#;

/// A script that writes into folders until it is ended. It does not while it is `offline`.
pub fn scribbler(dir: &Path, name: &str, folders: &[PathBuf]) -> String {
    let files = folders.iter().map(|folder| folder.join("creds.json"));
    let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
    format!(
        "cd {}\n[ -e dies ] && exit 1\n[ -e never-connects ] || touch {name}.ready\nwhile :; do [ -e offline ] || touch {}; sleep 0.1; done\n",
        dir.display(),
        files.join(" ")
    )
}

/// A [`World`] whose bots have processes under the supervisor `sv`.
#[derive(Debug)]
pub struct Supervised {
    world: World,
    bots: Vec<String>,
    user: Option<u32>,
    /// Goes before the remediator's command.
    wrapper: Vec<String>,
}

impl Deref for Supervised {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Supervised {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Supervised {
    /// No bot. One service for each session, which may be stopped.
    pub fn new(programs: Programs) -> Self {
        // A restart under the real pm2 takes more than a minute on a machine that is busy enough.
        let mut world = World::new(programs).within(3 * SOON).patient(12 * SOON);
        world.write("sv", SV);
        world.with_config("");
        let supervised = Self {
            world,
            bots: Vec::new(),
            user: None,
            wrapper: Vec::new(),
        };
        supervised.configure("{session}", "", "");
        supervised
    }

    /// One service, called `name`, with `more` keys; and `rest` of the file. Without a placeholder in
    /// the name it is that of all sessions.
    pub fn configure(&self, name: &str, more: &str, rest: &str) {
        let sessions = match name.contains('{') {
            true => "",
            false => "    sessions: ['*']\n",
        };
        let yaml = r#"
connection: {command: [sh, DIR/sv, ask, "NAME", "", "{session}"], timeout: 30s, quiet: 1s, trust: ["*"]}
armed: {look_every: 1s}
processes:
  - name: "NAME"
    allow_restart: true
    command:
      stop: [sh, DIR/sv, stop, "NAME"]
      start: [sh, DIR/sv, start, "NAME"]
      gone: [sh, DIR/sv, gone, "NAME"]
    stop_timeout: 20s
    gone_timeout: 3s
    start_timeout: 4s
    connect_timeout: 5s
ALL-MORE
REST
"#;
        let yaml = yaml.replace("NAME", name);
        let yaml = yaml.replace("ALL-", sessions).replace("MORE", more);
        self.world.configure(&yaml.replace("REST", rest));
    }

    /// The same configuration with a text replaced, which must be there.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let yaml = self.read("config.yml");
        assert!(yaml.contains(from), "{from}: {yaml}");
        self.write("config.yml", &yaml.replace(from, to));
    }

    /// The remediator reads this configuration.
    pub fn use_config(&mut self, file: &Path) {
        self.flags
            .retain(|flag| !flag.starts_with("--config.file="));
        self.flags.push(format!("--config.file={}", file.display()));
    }

    /// Makes an empty file.
    pub fn mark(&self, name: &str) {
        self.write(name, "");
    }

    /// Removes a file, if it is there.
    pub fn unmark(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// Waits until a file is there.
    pub fn wait_for_file(&self, name: &str) {
        self.world.wait_for_file(name, &self.path(name));
    }

    /// A bot's folder, and its process under the supervisor.
    pub fn bot(&mut self, session: &str, fixture: &str) -> Snapshot {
        let before = self.folder_of(session, fixture);
        let script = scribbler(self.root(), session, &[self.folder(session)]);
        self.supervise(session, &script);
        before
    }

    /// A bot's folder, quiet for a quarter of an hour.
    pub fn folder_of(&self, session: &str, fixture: &str) -> Snapshot {
        let quiet = SystemTime::now() - QUARTER;
        fixture::unpack(fixture, &self.folder(session), quiet).unwrap();
        self.snapshot(session)
    }

    /// Starts a script under the supervisor, and waits until it is connected.
    pub fn supervise(&mut self, name: &str, script: &str) {
        self.write(&format!("{name}.bot"), script);
        self.bots.push(name.to_owned());
        self.sv("start", name);
        self.wait("the bot is connected", || self.is_connected(name));
        self.unmark(&format!("{name}.calls"));
    }

    /// Calls the supervisor: whether it succeeded, and what it printed.
    pub fn sv(&self, what: &str, name: &str) -> (bool, String) {
        let args = [&self.path("sv").display().to_string(), what, name].map(str::to_owned);
        let (status, out, _) = process::run(Path::new("sh"), args, SOON).unwrap();
        (status.success(), out)
    }

    /// Fails unless its status says that it is connected.
    pub fn is_connected(&self, name: &str) -> Result<()> {
        match self.sv("ask", name).1.trim() {
            "connected" => Ok(()),
            other => Err(format!("{other}: {}", self.read(&format!("{name}.out")))),
        }
    }

    /// Whether its process runs.
    pub fn runs_now(&self, name: &str) -> bool {
        !self.sv("gone", name).0
    }

    /// Waits until its process is gone.
    pub fn wait_until_gone(&self, name: &str) {
        self.wait("the bot is gone", || match self.runs_now(name) {
            true => Err("it runs".into()),
            false => Ok(()),
        });
    }

    /// How often the supervisor was asked to.
    pub fn calls(&self, what: &str, name: &str) -> usize {
        let calls = self.read(&format!("{name}.calls"));
        calls.lines().filter(|line| *line == what).count()
    }

    /// The remediator gets these words before its command.
    pub fn start_by(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// The remediator and its commands run as this user, without capabilities.
    pub fn run_as(&mut self, uid: u32) {
        self.user = Some(uid);
    }

    /// All files belong to this user, and the remediator and `bot` run as it. `false`: this user
    /// cannot give files away.
    pub fn run_all_as(&mut self, bot: &str, uid: u32) -> bool {
        self.sv("stop", bot);
        self.wait_until_gone(bot);
        if let Err(error) = give_away(self.root(), uid) {
            not_run(format_args!("chown cannot be done here: {error}"));
            return false;
        }
        self.run_as(uid);
        let sv = self.path("sv").display().to_string();
        let words = ["sh", &sv, "start", bot].map(str::to_owned);
        let args = self.as_user().into_iter().skip(1).chain(words);
        let (status, _, err) = process::run(Path::new("setpriv"), args, SOON).unwrap();
        assert!(status.success(), "{err}");
        self.wait("the bot is connected", || self.is_connected(bot));
        self.unmark(&format!("{bot}.calls"));
        true
    }

    /// The words that make the command behind them run as the user; none if it is this one.
    fn as_user(&self) -> Vec<String> {
        let Some(uid) = self.user else {
            return Vec::new();
        };
        let (reuid, regid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        ["setpriv", &reuid, &regid, "--clear-groups", "--"]
            .map(str::to_owned)
            .into()
    }

    /// The command that serves; its output goes to the file `log`.
    pub fn serve_command(&self) -> Command {
        let mut options = File::options();
        let log = options.create(true).append(true).open(self.path("log"));
        let log = log.unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(self.as_user())
            .args(self.env_wrapper())
            .args(&self.wrapper)
            .arg(&self.programs().remediator)
            .arg("serve")
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg(format!(
                "--webhook.token-file={}",
                self.path("token").display()
            ))
            .args(self.remediator_flags())
            .env("BAILEYS_CONFIG", "/dev/null")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        command
    }

    /// Starts the remediator and waits until it is ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Starts the remediator.
    pub fn spawn(&mut self) {
        self.adopt(self.serve_command());
    }

    /// Starts the remediator with this as its standard error.
    pub fn spawn_with_log(&mut self, log: Stdio) {
        let mut command = self.serve_command();
        command.stderr(log);
        self.adopt(command);
    }

    fn adopt(&mut self, command: Command) {
        let server = Process::spawn("the remediator", command, &self.path("log"));
        self.world.adopt(server.unwrap());
    }

    /// A second remediator for the same bots, with a state directory of its own, and its port.
    /// It has started when this returns.
    pub fn second_remediator(&self) -> (u16, Process) {
        let port = net::free_port(None).unwrap();
        let path = |name: &str| self.path(name).display().to_string();
        let args = [
            "serve".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
            format!("--webhook.token-file={}", path("token")),
            format!("--sessions.path={}", path("sessions")),
            format!("--state.path={}", path("other-state")),
            format!("--config.file={}", path("config.yml")),
        ];
        let program = &self.programs().remediator;
        let server = Process::start("second", program, args, &self.path("other.log"));
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        self.wait("the other remediator is ready", || net::get(&ready)?.ok());
        (port, server.unwrap())
    }

    /// Waits until the remediator has ended.
    pub fn ends(&mut self) -> ExitStatus {
        self.world.wait_for_end()
    }

    /// Whether the remediator answers.
    pub fn is_healthy(&self) -> bool {
        net::get(&self.url("/-/healthy")).is_ok_and(|answer| answer.status == 200)
    }

    /// Asks the remediator to end, and waits until it has, with success.
    pub fn terminate(&mut self) {
        let status = self.world.stop();
        assert!(status.success(), "{status}");
    }

    /// Waits until the log of the remediator holds this.
    pub fn says(&self, text: &str) {
        self.wait(text, || match self.log().contains(text) {
            true => Ok(()),
            false => Err("not yet".into()),
        });
    }

    /// Sends alerts of sessions and tiers to a remediator.
    pub fn post(&self, port: u16, status: &str, alerts: &[(&str, &str)]) -> Result<Answer> {
        let alert = |(session, tier): &(&str, &str)| {
            json!({
                "status": status,
                "labels": {"ladder": "baileys_auth_files", "tier": tier, "session": session},
                "startsAt": "2026-11-23T18:00:00.000Z",
                "fingerprint": format!("{session}-{tier}"),
            })
        };
        let alerts: Vec<Value> = alerts.iter().map(alert).collect();
        let body = json!({"version": "4", "alerts": alerts}).to_string();
        let url = format!("http://127.0.0.1:{port}/webhook");
        net::post(&url, &bearer(), body.as_bytes())
    }

    /// Sends alerts, which must be accepted.
    pub fn deliver(&self, status: &str, alerts: &[(&str, &str)]) {
        self.deliver_to(self.port, status, alerts);
    }

    /// Sends alerts to a remediator on another port; they must be accepted.
    pub fn deliver_to(&self, port: u16, status: &str, alerts: &[(&str, &str)]) {
        let answer = self.post(port, status, alerts).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }

    /// `POST /-/reload`.
    pub fn reload(&self) -> Answer {
        net::post(&self.url("/-/reload"), &bearer(), b"").unwrap()
    }

    /// The sum of series of the remediator, named without `baileys_remediator_`; 0 if there is
    /// none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.metrics();
        let name = format!("baileys_remediator_{name}");
        let series = metrics.having(&name, labels);
        series.map(|sample| sample.value).sum()
    }

    /// Runs a command of the remediator, as the user that serves.
    pub fn command(&self, args: &[&str]) -> Ran {
        let args = args.iter().map(|arg| (*arg).to_owned());
        let args = args.chain(self.remediator_flags());
        let program = self.programs().remediator.display().to_string();
        let words = self.as_user().into_iter().chain([program]).chain(args);
        let words: Vec<String> = words.collect();
        Ran::of(Path::new(&words[0]), words[1..].iter().cloned())
    }

    fn json(&self, args: &[&str]) -> Value {
        self.command(args).must(0, &[]).json()
    }

    /// What `status` shows.
    pub fn status(&self) -> Value {
        self.json(&["status", "--output=json"])
    }

    /// The runs on record, newest first.
    pub fn runs(&self) -> Vec<Value> {
        let runs = self.json(&["runs", "--output=json", "--limit=500"]);
        runs.as_array().unwrap().clone()
    }

    /// All that is on record of a run.
    pub fn show(&self, run: &Value) -> Value {
        self.json(&["runs", "show", &run["id"].to_string(), "--output=json"])
    }

    /// The newest run of a session, once it has ended. A restore of creds.json does not count.
    pub fn ended(&self, session: &str) -> Result<Value> {
        let mut runs = self.runs().into_iter();
        let run = runs.find(|run| run["session"] == session && run["action"] != "restore");
        let run = run.ok_or("no run")?;
        match run["status"].as_str().unwrap() {
            "queued" | "running" => Err(run.to_string()),
            _ => Ok(run),
        }
    }

    /// Sends an alert, and waits for its run.
    pub fn asked(&self, session: &str, tier: &str) -> Value {
        self.deliver("firing", &[(session, tier)]);
        self.wait("the run ends", || self.ended(session))
    }

    /// Sends an alert; status and reason of its run.
    pub fn came_to(&self, session: &str, tier: &str) -> (String, String) {
        let run = self.asked(session, tier);
        let word = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
        (word("status"), word("reason"))
    }

    /// Every file of before is in the folder or in the quarantine, and none in both: how many
    /// are in the quarantine.
    pub fn nothing_is_lost(&self, session: &str, before: &Snapshot) -> usize {
        let held = self.quarantined(session);
        let now = self.snapshot(session);
        let there: BTreeSet<&str> = now.names().collect();
        for name in before.names() {
            assert!(
                there.contains(name) != held.contains(name),
                "a file is lost, or there twice"
            );
        }
        held.len()
    }

    /// Fails if a file is in the quarantine, or lost.
    pub fn nothing_moved(&self, session: &str, before: &Snapshot) {
        assert_eq!(self.nothing_is_lost(session, before), 0, "{}", self.log());
    }

    /// Waits until no restart is pending, and fails unless there was one stop and one start.
    pub fn came_back_by_one_start(&self, session: &str, before: &Snapshot) {
        self.wait("no restart is pending", || {
            match self.metric("services_down", &[]) {
                0.0 => self.is_connected(session),
                down => Err(format!("{down}")),
            }
        });
        let calls = (self.calls("stop", session), self.calls("start", session));
        assert_eq!(calls, (1, 1), "{}", self.log());
        self.nothing_is_lost(session, before);
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.world.kill();
        for entry in fs::read_dir(self.root()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("hold-") {
                let _ = fs::remove_file(entry.path());
            }
        }
        for name in &self.bots {
            let pid = self.read(&format!("{name}.pid"));
            for shape in [format!("{name}.bot"), "busy.mjs".to_owned()] {
                process::end(&pid, &shape);
            }
        }
    }
}

fn bearer() -> [(String, String); 1] {
    [("Authorization".to_owned(), format!("Bearer {TOKEN}"))]
}

/// Makes `path` and all below it a user's.
fn give_away(path: &Path, uid: u32) -> std::io::Result<()> {
    lchown(path, Some(uid), Some(uid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            give_away(&entry?.path(), uid)?;
        }
    }
    Ok(())
}

/// A [`Supervised`] with the programs under test.
#[macro_export]
macro_rules! supervised {
    () => {
        $crate::supervised::Supervised::new($crate::programs!())
    };
}

/// One bot under the supervisor.
#[derive(Debug)]
pub struct SupervisedBot(Supervised);

/// The session of a [`SupervisedBot`].
pub const BOT: &str = "bot";

/// A [`SupervisedBot`] with the programs under test, and its folder as it is now.
#[macro_export]
macro_rules! supervised_bot {
    () => {
        $crate::supervised::SupervisedBot::new($crate::programs!())
    };
}

impl Deref for SupervisedBot {
    type Target = Supervised;
    fn deref(&self) -> &Supervised {
        &self.0
    }
}

impl DerefMut for SupervisedBot {
    fn deref_mut(&mut self) -> &mut Supervised {
        &mut self.0
    }
}

impl SupervisedBot {
    /// The bot runs, and its folder holds `bloated-classic-387`; the remediator does not run.
    pub fn new(programs: Programs) -> (Self, Snapshot) {
        let mut world = Self(Supervised::new(programs));
        world.configure("");
        let before = world.0.bot(BOT, "bloated-classic-387");
        (world, before)
    }

    /// Writes the configuration, with `more` keys of the service.
    pub fn configure(&self, more: &str) {
        let yaml = r#"
connection: {command: [sh, DIR/sv, ask, bot, "", "{session}"], timeout: 30s, quiet: 1s, trust: ["*"]}
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
        self.0.world.configure(&yaml.replace("MORE", more));
    }

    /// The auth folder.
    pub fn folder(&self) -> PathBuf {
        self.0.folder(BOT)
    }

    /// See [`Supervised::run_all_as`].
    pub fn run_all_as(&mut self, uid: u32) -> bool {
        self.0.run_all_as(BOT, uid)
    }

    /// See [`Supervised::sv`].
    pub fn sv(&self, what: &str) -> (bool, String) {
        self.0.sv(what, BOT)
    }

    /// See [`Supervised::is_connected`].
    pub fn is_connected(&self) -> Result<()> {
        self.0.is_connected(BOT)
    }

    /// Ends the process of the bot, as a stop that comes late.
    pub fn end_bot(&self) {
        process::terminate(&self.read("bot.pid"));
    }

    /// See [`Supervised::calls`].
    pub fn calls(&self, what: &str) -> usize {
        self.0.calls(what, BOT)
    }

    /// Sends an alert of a tier, which must be accepted.
    pub fn deliver(&self, tier: &str) {
        self.0.deliver("firing", &[(BOT, tier)]);
    }

    /// Sends an alert of a tier until it is accepted, as Alertmanager does.
    pub fn deliver_in_a_flood(&self, tier: &str) {
        self.wait("the alert is accepted", || {
            match self.post(self.port, "firing", &[(BOT, tier)])?.status {
                202 => Ok(()),
                other => Err(other.to_string()),
            }
        });
    }

    /// See [`Supervised::ended`].
    pub fn ended(&self) -> Result<Value> {
        self.0.ended(BOT)
    }

    /// See [`Supervised::asked`].
    pub fn asked(&self, tier: &str) -> Value {
        self.0.asked(BOT, tier)
    }

    /// See [`Supervised::nothing_is_lost`].
    pub fn moved(&self, before: &Snapshot) -> usize {
        self.nothing_is_lost(BOT, before)
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
}
