//! The host of the pages: a bot under the real pm2, both programs beside it, a Prometheus and an
//! Alertmanager. What the pages name in `/etc`, `/opt`, `/var` and `/home` is in one directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use testkit::process::Process;
use testkit::stack::Programs;
use testkit::{Patience, fixture, net, npm, process};

use super::repository;
use super::shell::{Ended, Shell};

/// Each wait.
const BOUND: Duration = Duration::from_secs(120);
/// All waits together.
const ALL: Duration = Duration::from_secs(3_600);
/// The session of all examples.
pub const SESSION: &str = "company_962302";

/// Prints what the runbooks count, once, and then writes nothing.
const BOT: &str = r#"
console.log('{"level":30,"msg":"uploading pre-keys"}');
console.log('{"level":30,"msg":"uploaded pre-keys"}');
console.error('Session error:Error: Bad MAC');
console.info('Closing session:', {currentRatchet: {ephemeralKeyPair: {privKey: 'not a key'}}});
setInterval(() => {}, 1000);
"#;

/// `sudo` of a person who may do all that the pages do as other users.
pub const SUDO: &str = r#"#!/bin/sh
while :; do
    case $1 in
        -u) shift 2 ;;
        *) exec "$@" ;;
    esac
done
"#;

/// Writes a program.
pub fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// One host with one bot.
#[derive(Debug)]
pub struct Host {
    // Dropped before the directory they write to.
    prometheus: Process,
    alertmanager: Process,
    ports: [(u16, u16); 4],
    patience: Patience,
    /// The last run that a clean-up put into the quarantine.
    pub run: String,
    dir: TempDir,
}

impl Host {
    /// Starts all of it, and waits until `serve` has seen the bot alive.
    pub fn new(programs: &Programs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "bin",
            "tmp",
            "shells",
            "backup",
            "etc/baileys",
            "etc/prometheus",
            "opt/ai-admin/baileys_sessions",
            "var/lib/baileys_exporter",
            "var/lib/baileys_remediator",
            "var/log",
            "home/bots/shop/node_modules/baileys",
        ] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["var/lib/baileys_exporter", "var/lib/baileys_remediator"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let package = repository("tests/pm2");
        npm::install(&package, &[]).unwrap_or_else(|failure| panic!("{failure}"));
        for (name, target) in [
            ("baileys_exporter", programs.exporter.clone()),
            ("baileys_remediator", programs.remediator.clone()),
            ("pm2", package.join("node_modules/pm2/bin/pm2")),
        ] {
            symlink(target, at("bin").join(name)).unwrap();
        }
        executable(&at("bin/sudo"), SUDO);
        fs::write(at("opt/ai-admin/bot.js"), BOT).unwrap();
        let manifest =
            r#"{"name": "shop", "version": "1.0.0", "dependencies": {"baileys": "7.0.0"}}"#;
        fs::write(at("home/bots/shop/package.json"), manifest).unwrap();
        let manifest = r#"{"name": "baileys", "version": "7.0.0"}"#;
        fs::write(
            at("home/bots/shop/node_modules/baileys/package.json"),
            manifest,
        )
        .unwrap();
        let ports = [10273, 10274, 9090, 9093].map(|usual| (usual, net::free_port(None).unwrap()));
        let mut host = Self {
            prometheus: prometheus(dir.path(), &ports),
            alertmanager: alertmanager(dir.path(), ports[3].1),
            ports,
            patience: Patience::new(ALL),
            run: String::new(),
            dir,
        };
        host.begin();
        host
    }

    fn begin(&mut self) {
        self.write(
            "etc/baileys/webhook.token",
            "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw\n",
            0o600,
        );
        self.configure();
        self.lay("bloated-classic-387");
        let mut shell = self.shell("home/bots/shop");
        self.ok(&mut shell, &self.start_of_the_bot());
        let ecosystem = repository("deploy/pm2/ecosystem.config.js");
        self.ok(&mut shell, &format!("pm2 start '{}'", ecosystem.display()));
        for port in self.ports {
            let url = format!("http://127.0.0.1:{}/-/ready", port.1);
            self.wait("it is ready", || net::get(&url)?.ok());
        }
        let doctor = format!("baileys_remediator doctor {SESSION} --output=json");
        self.wait("the bot was seen alive", || {
            let said = shell.run(&doctor).out;
            let told: Value = serde_json::from_str(&said).map_err(|e| e.to_string())?;
            let sources = told[0]["sources"].as_array().ok_or("no sources")?;
            let is_alive = |source: &Value| source["last_alive"].is_string();
            match sources.iter().any(is_alive) {
                true => Ok(()),
                false => Err(said),
            }
        });
    }

    fn start_of_the_bot(&self) -> String {
        let dir = self.path("opt/ai-admin");
        let dir = dir.display();
        format!("pm2 start '{dir}/bot.js' --name {SESSION} --cwd '{dir}'")
    }

    /// Below the directory of this host.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The auth folder of the bot.
    pub fn folder(&self) -> PathBuf {
        self.path("opt/ai-admin/baileys_sessions").join(SESSION)
    }

    /// Writes a file below the directory of this host.
    pub fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The configuration of both programs. A quiet window of 10 minutes is too long for a test,
    /// and on a busy machine `pm2 jlist` takes longer than the default.
    pub fn configure(&self) {
        let text = "sessions: {paths: [/opt/ai-admin/baileys_sessions]}
processes:
  - pm2: {name: '{session}', home: /home/bots/.pm2}
    allow_restart: true
connection: {quiet: 1s, timeout: 90s}
logs:
  paths: ['/home/bots/.pm2/logs/*-out.log', '/home/bots/.pm2/logs/*-error.log']
  state_path: /var/lib/baileys_exporter
webhook: {token_file: /etc/baileys/webhook.token}
state: {path: /var/lib/baileys_remediator}
notify: {command: [tee, -a, /var/log/notified]}
";
        self.write("etc/baileys/config.yml", &self.here(text), 0o644);
    }

    /// What the pages say, for this host: paths, ports and users.
    pub fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for dir in [
            "/etc/baileys",
            "/etc/prometheus",
            "/opt/ai-admin",
            "/var/lib/baileys_",
            "/var/log",
            "/home/bots",
        ] {
            let own = self.path(&dir[1..]).display().to_string();
            text = text.replace(dir, &own);
        }
        let backup = self.path("backup").display().to_string();
        text = text.replace("/path/to/backup", &backup);
        for (usual, own) in self.ports {
            text = text.replace(&format!(":{usual}"), &format!(":{own}"));
        }
        let user = rustix::process::getuid().as_raw();
        for name in ["-o bots", "-o prometheus"] {
            text = text.replace(name, &format!("-o {user}"));
        }
        text.replace("chown -R bots:", "chown -R \"$(id -un)\":")
    }

    /// A terminal of the bots' user in a directory of this host, or in the repository.
    pub fn shell(&self, at: &str) -> Shell {
        let path = |name: &str| self.path(name).display().to_string();
        let programs = format!("{}:{}", path("bin"), std::env::var("PATH").unwrap());
        let listen = |nth: usize| format!("--web.listen-address=127.0.0.1:{}", self.ports[nth].1);
        let variables = [
            ("PATH", programs),
            ("HOME", path("home/bots")),
            ("USER", "bots".to_owned()),
            ("TMPDIR", path("tmp")),
            ("BAILEYS_CONFIG", path("etc/baileys/config.yml")),
            ("EXPORTER_ARGS", listen(0)),
            ("REMEDIATOR_ARGS", listen(1)),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let number = fs::read_dir(self.path("shells")).unwrap().count();
        let own = self.path("shells").join(number.to_string());
        let at = match at {
            "" => repository(""),
            at => self.path(at),
        };
        Shell::start(&own, &at, &variables)
    }

    /// Runs a command, which must succeed.
    pub fn ok(&self, shell: &mut Shell, command: &str) -> Ended {
        let ended = shell.run(command);
        assert_eq!(ended.code, 0, "{command}: {ended:#?}");
        ended
    }

    /// Lays out the bot's folder anew, with these files, as it was 25 minutes ago.
    pub fn lay(&self, files: &str) {
        let newest = SystemTime::now() - Duration::from_secs(25 * 60);
        let _ = fs::remove_dir_all(self.folder());
        fixture::unpack(files, &self.folder(), newest).unwrap();
    }

    /// The state in which most pages begin: 387 files, a bot that is stopped or runs, and a
    /// remediator that may act.
    pub fn reset(&self, bot_runs: bool) {
        self.configure();
        let mut shell = self.shell("home/bots/shop");
        self.ok(&mut shell, "baileys_remediator resume");
        let listed = self.ok(&mut shell, "pm2 jlist").out;
        let list = listed.lines().find(|line| line.starts_with('['));
        let list: Value = serde_json::from_str(list.unwrap()).unwrap();
        let entries = list.as_array().unwrap().iter();
        let own: Vec<&Value> = entries.filter(|entry| entry["name"] == SESSION).collect();
        let runs = own
            .iter()
            .any(|entry| entry["pm2_env"]["status"] == "online");
        if own.is_empty() {
            self.ok(&mut shell, &self.start_of_the_bot());
        } else if bot_runs && !runs {
            self.ok(&mut shell, &format!("pm2 start {SESSION}"));
        }
        self.lay("bloated-classic-387");
        if !bot_runs && (runs || own.is_empty()) {
            self.stop_bot(&mut shell);
        }
    }

    /// Stops the bot, and waits until nothing has written for the quiet window.
    pub fn stop_bot(&self, shell: &mut Shell) {
        self.ok(shell, &format!("pm2 stop {SESSION}"));
        self.wait("the bot is disconnected", || {
            let doctor = shell.run(&format!("baileys_remediator doctor {SESSION}"));
            let is_verdict =
                |line: &str| line.starts_with(SESSION) && line.contains(" disconnected ");
            match doctor.out.lines().any(is_verdict) {
                true => Ok(()),
                false => Err(format!("{doctor:#?}")),
            }
        });
    }

    /// Has both of them read their files again.
    pub fn reload_prometheus(&self) -> String {
        let pids = [self.prometheus.pid(), self.alertmanager.pid()];
        format!("kill -HUP {} {}", pids[0], pids[1])
    }

    /// Asks Prometheus, which must take the query.
    pub fn query(&self, query: &str) -> Result<(), String> {
        let path = self.path("query");
        fs::write(&path, query).unwrap();
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.ports[2].1);
        let args = ["-sS", "--data-urlencode"];
        let query = format!("query@{}", path.display());
        let args = args.iter().map(|arg| (*arg).to_owned()).chain([query, url]);
        let (_, out, err) = process::run(Path::new("curl"), args, BOUND)?;
        let answer: Value = serde_json::from_str(&out).map_err(|e| format!("{e}: {out}{err}"))?;
        match answer["status"] == "success" {
            true => Ok(()),
            false => Err(answer.to_string()),
        }
    }

    /// Waits, or fails.
    pub fn wait<T>(&self, what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
        let seen = self.patience.wait_until(BOUND, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The daemon of this home alone, with all that it runs.
        let ended = self.shell("home/bots/shop").run("pm2 kill");
        if ended.code != 0 && !std::thread::panicking() {
            panic!("pm2 kill: {ended:#?}");
        }
    }
}

fn prometheus(dir: &Path, ports: &[(u16, u16); 4]) -> Process {
    let [exporter, remediator, own, alertmanager] = ports.map(|(_, port)| port);
    let rules = dir.join("etc/prometheus/*.rules.yml");
    let text = format!(
        "global: {{scrape_interval: 5s, evaluation_interval: 5s}}
rule_files: ['{}']
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}
scrape_configs:
  - {{job_name: baileys, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}
  - {{job_name: baileys_remediator, static_configs: [{{targets: ['127.0.0.1:{remediator}']}}]}}
",
        rules.display()
    );
    let config = dir.join("prometheus.yml");
    fs::write(&config, text).unwrap();
    let program = process::find(&["prometheus"]).expect("Prometheus is not installed");
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{own}"),
    ];
    Process::start("prometheus", &program, &args, &dir.join("prometheus.log")).unwrap()
}

/// It sends nothing: the test wants no run but its own.
fn alertmanager(dir: &Path, port: u16) -> Process {
    let config = dir.join("alertmanager.yml");
    let text = "route: {receiver: none}\nreceivers: [{name: none}]\n";
    fs::write(&config, text).unwrap();
    let names = ["prometheus-alertmanager", "alertmanager"];
    let program = process::find(&names).expect("Alertmanager is not installed");
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", dir.join("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    Process::start(
        "alertmanager",
        &program,
        &args,
        &dir.join("alertmanager.log"),
    )
    .unwrap()
}
