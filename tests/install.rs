//! What the packages install (the units, the configuration, the ecosystem file of pm2), and
//! the parts of docs/install.md and docs/guide.md that need no fresh machine: those run in
//! tests/packages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use testkit::process::Process;
use testkit::recorder::Recorder;
use testkit::{Patience, fixture, net, npm, process};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BOUND: Duration = Duration::from_secs(90);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn unit(program: &str) -> String {
    fs::read_to_string(repository(&format!("deploy/systemd/{program}@.service"))).unwrap()
}

fn systemd_analyze(args: &[&str]) -> (bool, String) {
    let analyze = process::find(&["systemd-analyze"])
        .expect("no systemd-analyze on the PATH; this test needs it: apt-get install systemd");
    let (status, out, err) = process::run(&analyze, args, BOUND).unwrap();
    (status.success(), format!("{out}{err}"))
}

/// Values of a key in a unit, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let prefix = format!("{key}=");
    unit.lines()
        .filter_map(|line| line.strip_prefix(prefix.as_str()))
        .collect()
}

#[test]
fn systemd_reads_the_units() {
    let dir = tempfile::tempdir().unwrap();
    for program in ["baileys_exporter", "baileys_remediator"] {
        let text = unit(program);
        // systemd finds the program in /usr/local/bin or /usr/bin.
        let starts = format!("ExecStart={program} ");
        assert!(text.contains(&starts), "{text}");
        let path = dir.path().join(format!("{program}@.service"));
        fs::write(&path, text.replace(&starts, "ExecStart=/bin/true ")).unwrap();
        let path = path.display().to_string();
        let (is_valid, said) = systemd_analyze(&["verify", "--man=no", &path]);
        let ours: Vec<&str> = said.lines().filter(|line| line.contains(program)).collect();
        assert!(is_valid && ours.is_empty(), "{program}: {said}");
    }
}

/// Below 1.5 and 2.0, in tenths, as systemd rates the files alone.
#[test]
fn the_units_are_confined() {
    for (program, at_most) in [("baileys_exporter", 14), ("baileys_remediator", 19)] {
        let path = repository(&format!("deploy/systemd/{program}@.service"));
        let (is_below, said) = systemd_analyze(&[
            "security",
            "--no-pager",
            "--offline=yes",
            &format!("--threshold={at_most}"),
            &path.display().to_string(),
        ]);
        assert!(is_below, "{said}");
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn both_units_run_as_the_bots_user_and_read_the_same_variable() {
    let units = ["baileys_exporter", "baileys_remediator"].map(unit);
    for text in &units {
        assert_eq!(values(text, "User"), ["%i"]);
        assert_eq!(values(text, "Group"), [""; 0]);
        assert_eq!(values(text, "EnvironmentFile"), ["-/etc/default/baileys"]);
        let variables = values(text, "Environment").join(" ");
        assert!(variables.contains("BAILEYS_CONFIG=/etc/baileys/config.yml"));
        let starts = values(text, "ExecStart").join(" ");
        assert!(starts.contains(" --config.file=${BAILEYS_CONFIG} "));
        // A path with a `-` before it would hide a mistake.
        for key in ["ReadWritePaths", "BindPaths", "ReadOnlyPaths"] {
            assert_eq!(values(text, key), [""; 0]);
        }
    }
    // The bot that the remediator starts by a command counts for its unit.
    let [_, remediator] = units;
    assert_eq!(values(&remediator, "TasksMax"), ["infinity"]);
    assert_eq!(values(&remediator, "MemoryMax"), [""; 0]);
    assert_eq!(values(&remediator, "KillMode"), ["mixed"]);
    assert_eq!(values(&remediator, "Restart"), ["always"]);
}

/// A bot under the real pm2, the shipped configuration with its one line edited, and both
/// programs.
struct Host {
    dir: TempDir,
    patience: Patience,
    exporter: u16,
    remediator: u16,
}

impl Host {
    fn new() -> Self {
        Self::with("normal", SystemTime::now())
    }

    /// With this folder, whose newest file is of this time.
    fn with(folder: &str, newest: SystemTime) -> Self {
        let package = repository("tests/pm2");
        npm::install(&package, &[]).unwrap_or_else(|failure| panic!("{failure}"));
        let dir = tempfile::tempdir().unwrap();
        for name in ["bin", "pm2"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for (name, target) in [
            ("baileys_exporter", Path::new(EXPORTER)),
            ("baileys_remediator", Path::new(REMEDIATOR)),
            ("pm2", &package.join("node_modules/pm2/bin/pm2")),
        ] {
            symlink(target, dir.path().join("bin").join(name)).unwrap();
        }
        let at = dir.path().join("sessions/company_962302");
        fixture::unpack(folder, &at, newest).unwrap();
        let shipped = fs::read_to_string(repository("deploy/config.yml")).unwrap();
        let line = "sessions: {paths: [/opt/ai-admin/baileys_sessions]}";
        assert_eq!(shipped.matches(line).count(), 1);
        let sessions = dir.path().join("sessions");
        let edited = format!("sessions: {{paths: [{}]}}", sessions.display());
        fs::write(
            dir.path().join("config.yml"),
            shipped.replace(line, &edited),
        )
        .unwrap();
        fs::write(dir.path().join("bot.js"), "setInterval(() => {}, 1000);\n").unwrap();
        Self {
            dir,
            patience: Patience::new(2 * BOUND),
            exporter: net::free_port(None).unwrap(),
            remediator: net::free_port(None).unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Runs one of the programs as the bots' user would.
    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let variables = [
            format!(
                "PATH={}:{}",
                self.path("bin"),
                std::env::var("PATH").unwrap()
            ),
            format!("PM2_HOME={}", self.path("pm2")),
            format!("BAILEYS_CONFIG={}", self.path("config.yml")),
            format!(
                "EXPORTER_ARGS=--web.listen-address=127.0.0.1:{}",
                self.exporter
            ),
            format!(
                "REMEDIATOR_ARGS=--web.listen-address=127.0.0.1:{} --state.path={}",
                self.remediator,
                self.path("state")
            ),
        ];
        let args = variables
            .iter()
            .map(String::as_str)
            .chain(args.iter().copied());
        let (status, out, err) = process::run(Path::new("env"), args, BOUND).unwrap();
        (status.code(), format!("{out}{err}"))
    }

    fn pm2(&self, args: &[&str]) -> String {
        let (code, said) = self.run(&[&["pm2"], args].concat());
        assert_eq!(code, Some(0), "pm2 {args:?}: {said}");
        said
    }

    /// What pm2 says of a process.
    fn entry(&self, name: &str) -> Value {
        let said = self.pm2(&["jlist"]);
        let list = said.lines().find(|line| line.starts_with("[{")).unwrap();
        let list: Value = serde_json::from_str(list).unwrap();
        let found = list
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {said}")).clone()
    }

    fn wait<T>(&self, what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
        let seen = self.patience.wait_until(BOUND, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn both_are_ready(&self) {
        for port in [self.exporter, self.remediator] {
            let url = format!("http://127.0.0.1:{port}/-/ready");
            self.wait("the program is ready", || net::get(&url)?.ok());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The daemon of this home alone, with all that it runs.
        let (code, said) = self.run(&["pm2", "kill"]);
        if code != Some(0) && !std::thread::panicking() {
            panic!("pm2 kill: {said}");
        }
    }
}

#[test]
fn pm2_runs_both_programs_beside_a_bot() {
    let host = Host::new();
    host.pm2(&["start", &host.path("bot.js"), "--name", "company_962302"]);
    let ecosystem = repository("deploy/pm2/ecosystem.config.js");
    host.pm2(&["start", &ecosystem.display().to_string()]);
    host.both_are_ready();
    for name in ["baileys_exporter", "baileys_remediator"] {
        let entry = host.entry(name);
        assert_eq!(entry["pm2_env"]["status"], "online", "{entry}");
        assert_eq!(entry["pm2_env"]["treekill"], false, "{entry}");
    }
    let kill_timeout = &host.entry("baileys_remediator")["pm2_env"]["kill_timeout"];
    assert_eq!(kill_timeout, 40 * 60 * 1000);

    // The home of pm2 stands nowhere in the configuration.
    let (_, said) = host.run(&[
        "baileys_remediator",
        "service",
        &format!("--config.file={}", host.path("config.yml")),
        "--output=json",
    ]);
    let services: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(services[0]["presence"], "running", "{said}");

    // Whatever ends it, it is started again.
    let first = host.entry("baileys_remediator")["pid"].as_i64().unwrap();
    let pid = i32::try_from(first).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    host.wait("pm2 starts it again", || {
        match host.entry("baileys_remediator")["pid"].as_i64() {
            Some(pid) if pid != 0 && pid != first => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    host.both_are_ready();

    // A stop lets it end by itself.
    host.pm2(&["stop", "baileys_remediator"]);
    let log = fs::read_to_string(host.path("pm2/logs/baileys-remediator-error.log")).unwrap();
    assert!(log.contains("graceful shutdown"), "{log}");

    // As after a boot: `pm2 startup` calls `pm2 resurrect`.
    host.pm2(&["restart", "baileys_remediator"]);
    host.both_are_ready();
    host.pm2(&["save"]);
    host.pm2(&["kill"]);
    host.pm2(&["resurrect"]);
    host.both_are_ready();
    assert_eq!(host.entry("company_962302")["pm2_env"]["status"], "online");
}

/// The pages whose commands are run.
const PAGES: [&str; 2] = ["docs/install.md", "docs/guide.md"];

/// The block of one of these pages behind `<!-- KIND: NAME -->`.
fn marked(kind: &str, name: &str) -> String {
    let pages = PAGES.map(|page| fs::read_to_string(repository(page)).unwrap());
    let mark = format!("<!-- {kind}: {name} -->\n");
    let mut found = pages.iter().filter_map(|page| page.split_once(&mark));
    let (_, from) = found.next().unwrap_or_else(|| panic!("no {mark}"));
    assert!(found.next().is_none(), "two {mark}");
    let lines = from.lines().skip(1).take_while(|line| *line != "```");
    lines.map(|line| format!("{line}\n")).collect()
}

/// The block with commands, or with a part of a configuration, of this name.
fn block(name: &str) -> String {
    marked("test", name)
}

/// Of docs/install.md, the routes of Alertmanager and its inhibition.
fn routes_and_inhibition() -> (String, String) {
    let text = block("alertmanager.yml");
    let (_, rest) = text.split_once("  routes:\n").unwrap();
    let (routes, rest) = rest.split_once("receivers:\n").unwrap();
    let (_, inhibition) = rest.split_once("inhibit_rules:\n").unwrap();
    (routes.to_owned(), inhibition.to_owned())
}

/// An Alertmanager that is there already, with the parts of docs/install.md in it.
fn merged(operator: &str) -> String {
    let (routes, inhibition) = routes_and_inhibition();
    format!(
        "route:
  receiver: others
  group_wait: 0s
  routes:
{routes}    - receiver: others
      matchers: ['severity=\"warning\"']
receivers:
  - name: others
  - name: 'null'
  - name: pager
  - name: operator
    webhook_configs: [{{url: '{operator}'}}]
inhibit_rules:
{inhibition}"
    )
}

#[test]
fn the_routes_fit_into_an_existing_alertmanager() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("alertmanager.yml");
    fs::write(&config, merged("http://127.0.0.1:1/")).unwrap();
    let config = format!("--config.file={}", config.display());
    for (labels, receiver) in [
        (
            &["alertname=BaileysDecryptErrors", "severity=warning"][..],
            "operator",
        ),
        (
            &["alertname=BaileysDeviceRemoved", "severity=critical"],
            "pager",
        ),
        (
            &["alertname=BaileysAccountRestricted", "severity=critical"],
            "pager",
        ),
        (
            &["alertname=BaileysAccountRestricted", "severity=warning"],
            "operator",
        ),
        (&["alertname=BaileysBotDown", "severity=critical"], "pager"),
        (
            &["alertname=BaileysAuthFilesWarning", "severity=info"],
            "null",
        ),
        (&["alertname=BaileysLogsUnread", "severity=info"], "null"),
        (&["alertname=DiskFull", "severity=warning"], "others"),
        (&["alertname=DiskFull"], "others"),
    ] {
        let args = ["config", "routes", "test", &config];
        let args = args.iter().chain(labels);
        let (status, out, err) = process::run(Path::new("amtool"), args, BOUND).unwrap();
        assert!(
            status.success() && out.trim() == receiver,
            "{labels:?}: {out}{err}"
        );
    }
    // A route above them that takes every alert hides them, unless it says `continue`.
    let text = fs::read_to_string(dir.path().join("alertmanager.yml")).unwrap();
    for (goes_on, receivers) in [("", "others"), (", continue: true", "others,operator")] {
        let above = format!("  routes:\n    - {{receiver: others{goes_on}}}\n");
        let catching = dir.path().join("catching.yml");
        fs::write(&catching, text.replacen("  routes:\n", &above, 1)).unwrap();
        let catching = format!("--config.file={}", catching.display());
        let labels = ["alertname=BaileysDecryptErrors", "severity=warning"];
        let args = ["config", "routes", "test", &catching];
        let args = args.iter().chain(&labels);
        let (status, out, err) = process::run(Path::new("amtool"), args, BOUND).unwrap();
        assert!(
            status.success() && out.trim() == receivers,
            "{goes_on}: {out}{err}"
        );
    }
    // The same inhibition as that of the shipped file.
    let shipped = fs::read_to_string(repository("alerting-rules/alertmanager.yml")).unwrap();
    let (_, inhibition) = shipped.split_once("inhibit_rules:\n").unwrap();
    assert_eq!(inhibition, routes_and_inhibition().1);
}

#[test]
fn the_test_alert_reaches_a_person() {
    let dir = tempfile::tempdir().unwrap();
    let operator = Recorder::start(None).unwrap();
    let config = dir.path().join("alertmanager.yml");
    fs::write(&config, merged(&operator.url())).unwrap();
    let program = process::find(&["prometheus-alertmanager", "alertmanager"])
        .expect("Alertmanager is not installed");
    let port = net::free_port(None).unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", dir.path().join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let _alertmanager =
        Process::start("alertmanager", &program, &args, &dir.path().join("log")).unwrap();
    let patience = Patience::new(2 * BOUND);
    let wait = |what: &str, attempt: &mut dyn FnMut() -> Result<(), String>| {
        let seen = patience.wait_until(BOUND, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}"));
    };
    let ready = format!("http://127.0.0.1:{port}/-/ready");
    wait("Alertmanager is ready", &mut || {
        net::get(&ready)?.ok().map(drop)
    });
    let command = block("alert");
    let command = command.replace("127.0.0.1:9093", &format!("127.0.0.1:{port}"));
    let (status, out, err) = process::run(Path::new("sh"), ["-c", &command], BOUND).unwrap();
    assert!(status.success(), "{out}{err}");
    // Telegram refuses a message without a text, and the receivers of the page show this one.
    let alerts = format!("http://127.0.0.1:{port}/api/v2/alerts");
    let alerts: Value = serde_json::from_str(&net::get(&alerts).unwrap().ok().unwrap()).unwrap();
    assert_eq!(alerts[0]["annotations"]["summary"], "A test alert.");
    wait("the alert reaches the operator", &mut || match operator
        .sent()
        .iter()
        .any(|sent| sent.alert == "BaileysTest")
    {
        true => Ok(()),
        false => Err(format!("{:?}", operator.sent())),
    });
}

/// Programs that stand in for those of the machine, in `bin` of `dir`: `sudo` runs its command,
/// `systemctl` writes down what it was asked, and `sudoedit` writes the variable WRITTEN.
fn stand_ins(dir: &Path) -> String {
    let bin = dir.join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(EXPORTER, bin.join("baileys_exporter")).unwrap();
    let asked = dir.join("systemctl.asked");
    let systemctl = format!("echo \"$*\" >> '{}'", asked.display());
    for (name, does) in [
        ("sudo", "exec \"$@\""),
        ("systemctl", systemctl.as_str()),
        ("sudoedit", "echo \"$WRITTEN\" > \"$1\""),
        // Only root may do it.
        ("chgrp", "test \"$1\" = prometheus"),
    ] {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

/// The blocks with the rules and the checks, with their files in a directory of their own, and
/// then a real Prometheus with what they have left there.
#[test]
fn prometheus_loads_the_rules_as_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = stand_ins(dir.path());
    let at = |name: &str| dir.path().join(name);
    for name in ["baileys", "prometheus"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::copy(repository("deploy/config.yml"), at("baileys/config.yml")).unwrap();
    fs::write(at("prometheus/prometheus.yml"), block("prometheus.yml")).unwrap();
    let whole = block("alertmanager.yml");
    fs::write(at("prometheus/alertmanager.yml"), whole).unwrap();
    let run = |name: &str| {
        let etc = format!("{}/", dir.path().display());
        let command = block(name);
        assert!(command.contains("/etc/"), "{command}");
        let command = format!("set -e\n{}", command.replace("/etc/", &etc));
        let variable = format!("PATH={path}");
        let args = [variable.as_str(), "sh", "-c", &command];
        let (status, out, err) = process::run(Path::new("env"), args, BOUND).unwrap();
        assert!(status.success(), "{command}\n{out}{err}");
    };
    run("rules");
    let rules = fs::read_to_string(at("prometheus/baileys.rules.yml")).unwrap();
    assert!(rules.contains("alert: BaileysAuthFilesCleanup"));
    run("load");
    let asked = fs::read_to_string(at("systemctl.asked")).unwrap();
    assert_eq!(asked, "restart prometheus prometheus-alertmanager\n");

    let program = process::find(&["prometheus"]).expect("Prometheus is not installed");
    let port = net::free_port(None).unwrap();
    let args = [
        format!(
            "--config.file={}",
            at("prometheus/prometheus.yml").display()
        ),
        format!("--storage.tsdb.path={}", at("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let _prometheus = Process::start("prometheus", &program, &args, &at("log")).unwrap();
    let patience = Patience::new(2 * BOUND);
    let seen = patience.wait_until(BOUND, "Prometheus has the rules", || {
        let answer = net::get(&format!("http://127.0.0.1:{port}/api/v1/rules"))?.ok()?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        let groups = answer["data"]["groups"].as_array();
        match groups.is_some_and(|groups| groups.iter().any(|g| g["name"] == "baileys-programs")) {
            true => Ok(()),
            false => Err(answer.to_string()),
        }
    });
    seen.unwrap_or_else(|failure| panic!("{failure}"));
}

/// The page has an operator ask Prometheus whether it reaches both programs.
#[test]
fn prometheus_reaches_both_programs_as_the_page_says() {
    let host = Host::new();
    let ecosystem = repository("deploy/pm2/ecosystem.config.js");
    host.pm2(&["start", &ecosystem.display().to_string()]);
    host.both_are_ready();
    let port = net::free_port(None).unwrap();
    let mut text = block("prometheus.yml").replace("  - baileys.rules.yml\n", "  []\n");
    for (shipped, own) in [(10273, host.exporter), (10274, host.remediator)] {
        let shipped = format!("127.0.0.1:{shipped}");
        assert!(text.contains(&shipped), "{text}");
        text = text.replace(&shipped, &format!("127.0.0.1:{own}"));
    }
    assert!(text.contains("scrape_interval: 15s"), "{text}");
    let text = text.replace("scrape_interval: 15s", "scrape_interval: 1s");
    fs::write(host.path("prometheus.yml"), text).unwrap();
    let program = process::find(&["prometheus"]).expect("Prometheus is not installed");
    let args = [
        format!("--config.file={}", host.path("prometheus.yml")),
        format!("--storage.tsdb.path={}", host.path("data")),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let log = host.path("prometheus.log");
    let _prometheus = Process::start("prometheus", &program, &args, Path::new(&log)).unwrap();
    let command = block("targets").replace(":9090", &format!(":{port}"));
    host.wait("both are up", || {
        let args = ["-c", &command].map(str::to_owned);
        let (_, out, err) = process::run(Path::new("sh"), args, BOUND)?;
        let is_up = |line: &&str| line.contains("bots1:1027") && line.contains("=> 1 ");
        match out.lines().filter(is_up).count() {
            2 => Ok(()),
            _ => Err(format!("{out}{err}")),
        }
    });
}

#[test]
fn the_readme_installs_as_the_page_does() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let commands = format!("```sh\n{}```\n", block("debian"));
    assert!(readme.contains(&commands), "{commands}");
}

/// What `check-config` says of this text, written to this file: its exit code and its words.
fn check_config(config: &Path, text: &str) -> (Option<i32>, String) {
    fs::write(config, text).unwrap();
    let args = [
        "check-config".to_owned(),
        format!("--config.file={}", config.display()),
    ];
    let (status, out, err) = process::run(Path::new(REMEDIATOR), args, BOUND).unwrap();
    (status.code(), format!("{out}{err}"))
}

/// The file says so. What stands in the place of pm2 is put behind the dash.
#[test]
fn a_key_of_the_shipped_configuration_is_set_by_removing_its_sign() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yml");
    let shipped = fs::read_to_string(repository("deploy/config.yml")).unwrap();
    let mut seen = 0;
    for line in shipped.lines() {
        let key = line.trim_start().strip_prefix('#');
        let Some(key) = key.filter(|key| !key.starts_with(' ')) else {
            continue;
        };
        seen += 1;
        let is_instead = key.starts_with("systemd:") || key.starts_with("docker:");
        let text = match is_instead {
            true => shipped.replacen("pm2: {name: \"{session}\"}", key, 1),
            false => shipped.replacen(line, &line.replacen('#', "", 1), 1),
        };
        assert_ne!(text, shipped, "{line}");
        let (code, said) = check_config(&config, &text);
        assert_eq!(code, Some(0), "{line}: {said}");
    }
    assert_eq!(seen, 5, "{shipped}");
}

/// The set-up without Prometheus: the shipped configuration with one block replaced, and a
/// stand-in for Telegram behind the file with its address.
#[test]
fn the_local_trigger_fits_into_the_shipped_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = stand_ins(dir.path());
    let telegram = Recorder::start(None).unwrap();
    let here = |text: &str| text.replace("/etc/baileys/", &format!("{}/", dir.path().display()));
    let user = format!("-o {}", rustix::process::getuid().as_raw());
    let command = here(&block("secret"));
    assert!(command.contains("-o bots"), "{command}");
    let args = [
        format!("PATH={path}"),
        format!("WRITTEN={}bot12345:AAsecretAA/sendMessage", telegram.url()),
        "sh".to_owned(),
        "-ec".to_owned(),
        command.replace("-o bots", &user),
    ];
    let (status, out, err) = process::run(Path::new("env"), args, BOUND).unwrap();
    assert!(status.success(), "{out}{err}");
    let mode = fs::metadata(dir.path().join("notify.url")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    let shipped = fs::read_to_string(repository("deploy/config.yml")).unwrap();
    let (before, rest) = shipped.split_once("\nalertmanager:\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let config = dir.path().join("config.yml");
    let local = here(&block("local"));
    // Not beside it.
    let (code, said) = check_config(&config, &format!("{shipped}\n{local}"));
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = check_config(&config, &format!("{before}\n{local}\n{after}"));
    assert_eq!(code, Some(0), "{said}");
    let command = block("notify").replace("baileys_remediator", REMEDIATOR);
    let variable = format!("BAILEYS_CONFIG={}", config.display());
    let args = [variable, "sh".to_owned(), "-ec".to_owned(), command];
    let (status, out, err) = process::run(Path::new("env"), args, BOUND).unwrap();
    let said = format!("{out}{err}");
    assert!(status.success(), "{said}");
    assert!(said.contains("The test message was sent"), "{said}");
    assert!(!said.contains("AAsecretAA"), "{said}");
}

/// The lines of a text, without what differs from run to run: times, ages and names of runs.
fn steady(text: &str) -> Vec<String> {
    let is_run = |word: &str| {
        let rest = word.get(8..).unwrap_or_default();
        word.len() == 23 && rest.starts_with('T') && rest.contains("Z-")
    };
    let words = |line: &str| {
        let words = line.split_whitespace();
        let words = words.map(|word| if is_run(word) { "RUN" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(words).collect()
}

/// What is printed has each line that the page shows. `…` stands for anything.
fn has_the_output(name: &str, said: &str) -> Result<(), String> {
    let said_lines = steady(said);
    for shown in steady(&marked("output", name)) {
        let parts: Vec<&str> = shown.split('…').map(str::trim).collect();
        let fits = |line: &String| match parts[..] {
            [whole] => line == whole,
            [begin, end] => line.starts_with(begin) && line.ends_with(end),
            _ => panic!("{shown}"),
        };
        if !said_lines.iter().any(fits) {
            return Err(format!("{shown:?} is not in\n{said}"));
        }
    }
    Ok(())
}

/// The commands of docs/guide.md about one bot under a real pm2, in their order, and what the
/// page shows of their output.
#[test]
fn the_guide_works_as_it_is_written() {
    let newest = SystemTime::now() - Duration::from_secs(25 * 60);
    let host = Host::with("bloated-classic-387", newest);
    let config = host.path("config.yml");
    let shipped = fs::read_to_string(&config).unwrap();
    let state = format!("\nstate: {{path: '{}'}}\n", host.path("state"));
    // On a busy machine `pm2 jlist` takes longer than the default.
    let patient = "connection: {timeout: 90s}\n";
    fs::write(&config, format!("{shipped}{state}{patient}")).unwrap();
    host.pm2(&["start", &host.path("bot.js"), "--name", "company_962302"]);
    let ecosystem = repository("deploy/pm2/ecosystem.config.js");
    host.pm2(&["start", &ecosystem.display().to_string()]);
    host.both_are_ready();
    let shown_run = "20261130T055651Z-141421";
    let mut run_of_the_cleanup = String::new();
    let mut run = |name: &str| -> String {
        let command = block(name).replace(shown_run, &run_of_the_cleanup);
        let is_a_look = name == "look";
        let shell = if is_a_look { "-c" } else { "-ec" };
        let (code, said) = host.run(&["sh", shell, &command]);
        assert!(is_a_look || code == Some(0), "{name}: {said}");
        if let Some((_, rest)) = said.split_once("baileys_remediator undo ") {
            run_of_the_cleanup = rest.split_whitespace().next().unwrap().to_owned();
        }
        said
    };
    let has = |name: &str, said: &str| has_the_output(name, said).unwrap_or_else(|e| panic!("{e}"));
    has("look", &run("look"));
    // `serve` must have seen the bot alive once.
    host.wait("the bot was seen alive", || {
        let args = ["baileys_remediator", "doctor", "--output=json"];
        let (_, said) = host.run(&args);
        let from = said.find('[').ok_or("no JSON")?;
        let to = said.rfind(']').ok_or("no JSON")?;
        let told: Value = serde_json::from_str(&said[from..=to]).map_err(|e| e.to_string())?;
        let sources = told[0]["sources"].as_array().ok_or("no sources")?;
        match sources
            .iter()
            .any(|source| source["last_alive"].is_string())
        {
            true => Ok(()),
            false => Err(said),
        }
    });
    has("plan", &run("plan"));
    has("clean", &run("clean"));
    assert_eq!(host.entry("company_962302")["pm2_env"]["status"], "online");
    // It is refused after a write of the bot. This one writes nothing.
    run("stop");
    has("undo", &run("undo"));
    run("start");
    assert_eq!(host.entry("company_962302")["pm2_env"]["status"], "online");
    run("resume");
    let folder = fs::read_dir(host.path("sessions/company_962302")).unwrap();
    let files = folder.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file());
    assert_eq!(files.count(), 387, "all of it is back");
}

/// Each command of these pages is one that a test runs, or is named here.
#[test]
fn every_block_of_the_pages_is_run() {
    let pages = PAGES.map(|page| fs::read_to_string(repository(page)).unwrap());
    let page = pages.concat();
    let here = fs::read_to_string(repository("tests/install.rs")).unwrap();
    let inside = fs::read_to_string(repository("tests/packages/inside.sh")).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let (mut marked, mut outputs) = (0, 0);
    let mut unmarked = Vec::new();
    let mut is_inside = false;
    for (nth, line) in lines.iter().enumerate() {
        if !line.starts_with("```") {
            continue;
        }
        is_inside = !is_inside;
        if !is_inside {
            continue;
        }
        // What a command prints.
        if *line == "```" {
            let output = lines[nth - 1].strip_prefix("<!-- output: ");
            let name = output.and_then(|output| output.strip_suffix(" -->"));
            outputs += usize::from(name.is_some_and(|name| {
                let is_compared = format!("has(\"{name}\", &run(\"{name}\"))");
                assert!(here.contains(&is_compared), "no test compares {name:?}");
                true
            }));
            continue;
        }
        let mark = lines[nth - 1].strip_prefix("<!-- test: ");
        match mark.and_then(|mark| mark.strip_suffix(" -->")) {
            Some(name) => {
                marked += 1;
                let by_rust = ["block", "run"].map(|call| format!("{call}(\"{name}\")"));
                let by_shell = [
                    format!("run_block {name}\n"),
                    format!("run_block \"{name}\"\n"),
                    format!("run_block {name})"),
                    format!("run_block_as_bots {name}\n"),
                    format!("run_block_as_bots \"{name}\"\n"),
                ];
                let is_run = by_rust.iter().any(|call| here.contains(call))
                    || by_shell.iter().any(|call| inside.contains(call));
                assert!(is_run, "no test runs the block {name:?}");
            }
            None => unmarked.push(lines[nth + 1]),
        }
    }
    assert!(marked >= 15 && outputs >= 4, "{marked}, {outputs}");
    // What needs the network: the clone, and Debian's packages.
    assert_eq!(
        unmarked,
        [
            "git clone URL baileys_exporter    # the URL of this repository",
            "sudo apt install prometheus prometheus-alertmanager",
        ]
    );
}

/// What Prometheus scrapes has the label that the shipped configuration asks for.
#[test]
fn the_instance_of_prometheus_is_what_the_remediator_matches() {
    let dir = tempfile::tempdir().unwrap();
    let text = block("prometheus.yml");
    let config = dir.path().join("prometheus.yml");
    fs::write(&config, &text).unwrap();
    let rules = repository("alerting-rules/baileys.rules.yml");
    fs::copy(rules, dir.path().join("baileys.rules.yml")).unwrap();
    let args = ["check", "config", &config.display().to_string()].map(str::to_owned);
    let (status, out, err) = process::run(Path::new("promtool"), args, BOUND).unwrap();
    assert!(status.success(), "{out}{err}");
    let shipped = fs::read_to_string(repository("deploy/config.yml")).unwrap();
    assert!(shipped.contains("match: {instance: \"{hostname}:10273\"}"));
    assert!(text.contains("instance: \"bots1:10273\""), "{text}");
}
