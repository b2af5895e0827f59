//! The loop on loopback: exporter, Prometheus, Alertmanager, remediator.
//!
//! The configuration is the shipped one (`alerting-rules/`). Only durations, addresses,
//! the token's path and the person's receiver are replaced, and each replacement must
//! hit, so that what is tested stays what is shipped.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::net::{self, Metrics, Sample};
use crate::process::{self, Process};
use crate::recorder::Recorder;
use crate::{Doing, Patience, Result};

/// What to say when Prometheus or Alertmanager is missing.
pub const INSTALL: &str =
    "sudo apt-get install --no-install-recommends prometheus prometheus-alertmanager";

/// How long a program may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Where the two programs under test are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `baileys_exporter`.
    pub exporter: PathBuf,
    /// `baileys_remediator`.
    pub remediator: PathBuf,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The programs under test.
    pub programs: Programs,
    /// 10273, 10274, 9090 and 9093 where they are free.
    pub usual_ports: bool,
    /// In the place of the rules' `for: 2m`.
    pub alert_for: Duration,
    /// One host a name, with that as its `instance` and as what its remediator demands.
    /// Empty: one host, as shipped.
    pub instances: Vec<String>,
    /// Whether to record what the remediator is sent.
    pub tap_webhook: bool,
    /// Whether the probe is believed of a bot that it never called connected.
    pub trust: bool,
}

impl Setup {
    /// One host, any ports, alerts after 2 seconds.
    pub fn new(programs: Programs) -> Self {
        Self {
            programs,
            usual_ports: false,
            alert_for: Duration::from_secs(2),
            instances: Vec::new(),
            tap_webhook: false,
            trust: false,
        }
    }
}

/// One machine with bots: its auth folders, its exporter, its remediator.
#[derive(Debug)]
pub struct Host {
    instance: Option<String>,
    sessions: PathBuf,
    state: PathBuf,
    exporter_state: PathBuf,
    probe: PathBuf,
    token: PathBuf,
    programs: Programs,
    trust: bool,
    /// Port of the exporter.
    pub exporter_port: u16,
    /// Port of the remediator.
    pub remediator_port: u16,
    tap: Option<Recorder>,
}

impl Host {
    /// The auth folder of a session.
    pub fn folder(&self, session: &str) -> PathBuf {
        self.sessions.join(session)
    }

    /// What the connection probe does when a program asks about a session: print
    /// `connected`, `disconnected` or any other word, `hang`, or `crash`.
    pub fn probe_says(&self, session: &str, what: &str) -> Result<()> {
        let path = self.probe.with_file_name("answers").join(session);
        fs::write(&path, format!("{what}\n")).doing(path.display())
    }

    /// The flags that say where the sessions are and how to ask about a bot.
    pub fn session_flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--sessions.path={}", self.sessions.display()),
            format!(
                "--connection.command={} {{session}}",
                quote(&self.probe.display().to_string())
            ),
        ];
        flags.extend(self.trust.then(|| "--connection.trust=*".to_owned()));
        flags
    }

    /// The flag that says where the remediator keeps its journal.
    pub fn state_flag(&self) -> String {
        format!("--state.path={}", self.state.display())
    }

    /// The flags that every command of the remediator takes.
    pub fn remediator_flags(&self) -> Vec<String> {
        let mut flags = self.session_flags();
        flags.push(self.state_flag());
        flags
    }

    /// Runs a command of the remediator, e.g. `undo RUN --yes`.
    pub fn remediator(&self, args: &[&str]) -> Result<(ExitStatus, String, String)> {
        let args = args
            .iter()
            .map(|arg| (*arg).to_owned())
            .chain(self.remediator_flags());
        process::run(&self.programs.remediator, args, Duration::from_secs(30))
    }

    /// The recorded runs.
    pub fn runs(&self) -> Result<Vec<Value>> {
        let (status, out, err) = self.remediator(&["runs", "--output", "json"])?;
        if !status.success() {
            return Err(format!("baileys_remediator runs: {status}: {err}"));
        }
        let runs: Value = serde_json::from_str(&out).doing("baileys_remediator runs")?;
        runs.as_array()
            .cloned()
            .ok_or_else(|| "baileys_remediator runs: not a list".to_owned())
    }

    /// The ids of a session's runs that moved something, oldest first.
    pub fn quarantined_runs(&self, session: &str) -> Result<Vec<String>> {
        let quarantine = self.folder(session).join(".baileys_quarantine");
        if !quarantine.exists() {
            return Ok(Vec::new());
        }
        let mut ids = Vec::new();
        for entry in fs::read_dir(&quarantine).doing(quarantine.display())? {
            let entry = entry.doing(quarantine.display())?;
            if entry.path().is_dir() {
                ids.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// What the exporter says now.
    pub fn exporter_metrics(&self) -> Result<Metrics> {
        Metrics::scrape(&format!("http://127.0.0.1:{}/metrics", self.exporter_port))
    }

    /// What the remediator says now.
    pub fn remediator_metrics(&self) -> Result<Metrics> {
        Metrics::scrape(&format!(
            "http://127.0.0.1:{}/metrics",
            self.remediator_port
        ))
    }

    /// What the remediator was sent, where that is recorded.
    pub fn webhook(&self) -> Option<&Recorder> {
        self.tap.as_ref()
    }

    fn webhook_url(&self) -> String {
        match &self.tap {
            Some(tap) => tap.url(),
            None => self.real_webhook_url(),
        }
    }

    fn real_webhook_url(&self) -> String {
        format!("http://127.0.0.1:{}/webhook", self.remediator_port)
    }
}

/// An alert as Prometheus or Alertmanager shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// `alertname`.
    pub name: String,
    /// `session`, or empty.
    pub session: String,
    /// `instance`, or empty.
    pub instance: String,
    /// `pending` or `firing`; in Alertmanager `active` or `suppressed`.
    pub state: String,
}

impl Alert {
    fn from_json(alert: &Value, state: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = &alert["labels"];
        Self {
            name: text(&labels["alertname"]),
            session: text(&labels["session"]),
            instance: text(&labels["instance"]),
            state: text(state),
        }
    }
}

/// Everything that runs. Dropping it stops it all and removes the directory.
#[derive(Debug)]
pub struct Stack {
    // Dropped in this order: processes before the directory they write to.
    processes: Vec<Process>,
    /// The machines with bots.
    pub hosts: Vec<Host>,
    /// The messages to the person.
    pub person: Recorder,
    /// Port of Prometheus.
    pub prometheus_port: u16,
    /// Port of Alertmanager.
    pub alertmanager_port: u16,
    setup: Setup,
    prometheus: PathBuf,
    alertmanager: PathBuf,
    dir: TempDir,
}

impl Stack {
    /// Makes the directories and chooses the ports; nothing runs yet, so that auth
    /// folders can be laid out.
    pub fn new(setup: Setup) -> Result<Self> {
        let missing = |what: &str| format!("{what} is not installed; run: {INSTALL}");
        let prometheus = process::find(&["prometheus"]).ok_or_else(|| missing("prometheus"))?;
        let alertmanager = process::find(&["prometheus-alertmanager", "alertmanager"])
            .ok_or_else(|| missing("prometheus-alertmanager"))?;
        for program in [&setup.programs.exporter, &setup.programs.remediator] {
            if !program.is_file() {
                return Err(format!("{} is not built", program.display()));
            }
        }
        let dir = tempfile::Builder::new()
            .prefix("baileys-loop-")
            .tempdir()
            .doing("a directory")?;
        let instances = match setup.instances.as_slice() {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        let port = |usual: u16| net::free_port(setup.usual_ports.then_some(usual));
        let mut hosts = Vec::new();
        for instance in instances {
            hosts.push(make_host(
                dir.path(),
                instance,
                &setup,
                port(10273)?,
                port(10274)?,
            )?);
        }
        Ok(Self {
            processes: Vec::new(),
            hosts,
            person: Recorder::start(None)?,
            prometheus_port: port(9090)?,
            alertmanager_port: port(9093)?,
            setup,
            prometheus,
            alertmanager,
            dir,
        })
    }

    /// The first host, which is the only one in most stacks.
    pub fn host(&self) -> &Host {
        &self.hosts[0]
    }

    /// The directory with everything in it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts everything and waits until all of it answers.
    pub fn start(&mut self, patience: &Patience) -> Result<()> {
        self.start_hosts(patience)?;
        self.start_monitoring()?;
        self.wait_ready(patience)
    }

    /// Starts what runs beside the bots, and waits until it answers.
    pub fn start_hosts(&mut self, patience: &Patience) -> Result<()> {
        for host in 0..self.hosts.len() {
            self.start_remediator(host)?;
            self.start_exporter(host)?;
        }
        self.wait_ready(patience)
    }

    /// Starts the exporter of one host.
    pub fn start_exporter(&mut self, host: usize) -> Result<()> {
        let host = &self.hosts[host];
        let mut args = host.session_flags();
        args.push(format!(
            "--web.listen-address=127.0.0.1:{}",
            host.exporter_port
        ));
        args.push(format!(
            "--logs.state-path={}",
            host.exporter_state.display()
        ));
        let program = host.programs.exporter.clone();
        self.spawn("baileys_exporter", &program, &args)
    }

    /// Starts the remediator of one host.
    pub fn start_remediator(&mut self, host: usize) -> Result<()> {
        let host = &self.hosts[host];
        let mut args = vec!["serve".to_owned()];
        args.extend(host.remediator_flags());
        args.push(format!(
            "--web.listen-address=127.0.0.1:{}",
            host.remediator_port
        ));
        args.push(format!("--webhook.token-file={}", host.token.display()));
        if let Some(instance) = &host.instance {
            args.push(format!("--webhook.match=instance={instance}"));
        }
        let program = host.programs.remediator.clone();
        self.spawn("baileys_remediator", &program, &args)
    }

    /// Writes the configuration and starts Prometheus and Alertmanager.
    pub fn start_monitoring(&mut self) -> Result<()> {
        let (rules, prometheus, alertmanager) = self.configuration()?;
        for (name, text) in [
            ("baileys.rules.yml", rules),
            ("prometheus.yml", prometheus),
            ("alertmanager.yml", alertmanager),
        ] {
            fs::write(self.dir().join(name), text).doing(name)?;
        }
        let file = |name: &str| self.dir().join(name).display().to_string();
        let web = |port: u16| {
            [
                format!("--web.listen-address=127.0.0.1:{port}"),
                format!("--web.external-url=http://127.0.0.1:{port}/"),
            ]
        };
        let mut args = vec![
            format!("--config.file={}", file("alertmanager.yml")),
            format!("--storage.path={}", file("alertmanager")),
            // Alone: no gossip, no second port.
            "--cluster.listen-address=".to_owned(),
        ];
        args.extend(web(self.alertmanager_port));
        let mut prometheus_args = vec![
            format!("--config.file={}", file("prometheus.yml")),
            format!("--storage.tsdb.path={}", file("prometheus")),
        ];
        prometheus_args.extend(web(self.prometheus_port));
        self.spawn("alertmanager", &self.alertmanager.clone(), &args)?;
        self.spawn("prometheus", &self.prometheus.clone(), &prometheus_args)
    }

    /// Waits until everything that was started answers.
    pub fn wait_ready(&mut self, patience: &Patience) -> Result<()> {
        let mut ports = vec![
            ("prometheus", self.prometheus_port),
            ("alertmanager", self.alertmanager_port),
        ];
        ports.extend(
            self.hosts
                .iter()
                .map(|host| ("baileys_remediator", host.remediator_port)),
        );
        ports.extend(
            self.hosts
                .iter()
                .map(|host| ("baileys_exporter", host.exporter_port)),
        );
        let started: Vec<String> = self.processes.iter().map(|p| p.name().to_owned()).collect();
        for (name, port) in ports {
            // A host whose exporter is started later is waited for later.
            if !started
                .iter()
                .any(|started| *started == format!("{name}-{port}"))
            {
                continue;
            }
            patience.wait_until(READY_WITHIN, &format!("{name} answers"), || {
                if let Err(ended) = self.alive() {
                    return Ok(Err(ended));
                }
                net::get(&format!("http://127.0.0.1:{port}/-/ready"))?
                    .ok()
                    .map(|_| Ok(()))
            })??;
        }
        Ok(())
    }

    /// Fails when something that was started has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::alive)
    }

    /// The ends of all logs, to explain a failure.
    pub fn logs(&self) -> String {
        self.processes
            .iter()
            .map(|p| format!("  {}:\n{}", p.name(), p.log_tail(12)))
            .collect()
    }

    /// Stops everything; the directory stays until this is dropped.
    pub fn stop(&mut self) {
        // All at once, then one after the other: together they take no longer than one.
        self.processes.iter_mut().for_each(Process::terminate);
        self.processes.clear();
    }

    /// `GET /api/v1/alerts` of Prometheus.
    pub fn prometheus_alerts(&self) -> Result<Vec<Alert>> {
        let answer = self.prometheus_api("alerts")?;
        let alerts = answer["alerts"]
            .as_array()
            .ok_or("prometheus: no list of alerts")?;
        Ok(alerts
            .iter()
            .map(|alert| Alert::from_json(alert, &alert["state"]))
            .collect())
    }

    /// `GET /api/v2/alerts` of Alertmanager, as it answers.
    ///
    /// # Errors
    /// It gives no list of alerts.
    pub fn alertmanager_answer(&self) -> Result<Vec<Value>> {
        let url = format!("http://127.0.0.1:{}/api/v2/alerts", self.alertmanager_port);
        let answer: Value = serde_json::from_str(&net::get(&url)?.ok().doing(&url)?).doing(&url)?;
        let alerts = answer.as_array().ok_or("alertmanager: no list of alerts")?;
        Ok(alerts.clone())
    }

    /// `GET /api/v2/alerts` of Alertmanager.
    pub fn alertmanager_alerts(&self) -> Result<Vec<Alert>> {
        Ok(self
            .alertmanager_answer()?
            .iter()
            .map(|alert| Alert::from_json(alert, &alert["status"]["state"]))
            .collect())
    }

    /// An instant query.
    pub fn query(&self, promql: &str) -> Result<Vec<Sample>> {
        let answer = self.prometheus_api(&format!("query?query={}", net::encode(promql)))?;
        let result = answer["result"].as_array().ok_or("prometheus: no result")?;
        let sample = |sample: &Value| {
            let mut labels: BTreeMap<String, String> = sample["metric"]
                .as_object()?
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            let name = labels.remove("__name__").unwrap_or_default();
            Some(Sample {
                name,
                labels,
                value: sample["value"][1].as_str()?.parse().ok()?,
            })
        };
        let samples: Option<Vec<Sample>> = result.iter().map(sample).collect();
        samples.ok_or_else(|| format!("prometheus: not an instant vector: {promql}"))
    }

    fn prometheus_api(&self, what: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/{what}", self.prometheus_port);
        let answer: Value = serde_json::from_str(&net::get(&url)?.ok().doing(&url)?).doing(&url)?;
        Ok(answer["data"].clone())
    }

    fn spawn(&mut self, program: &str, path: &Path, args: &[String]) -> Result<()> {
        let port = args
            .iter()
            .find_map(|arg| arg.strip_prefix("--web.listen-address=127.0.0.1:"))
            .ok_or("every program here listens")?;
        let name = format!("{program}-{port}");
        let log = self.dir().join(format!("{name}.log"));
        self.processes
            .push(Process::start(&name, path, args, &log)?);
        Ok(())
    }

    /// Rules, Prometheus, Alertmanager.
    fn configuration(&self) -> Result<(String, String, String)> {
        let rules = short_rules(self.setup.alert_for)?;

        let scrape = |port: fn(&Host) -> u16| -> String {
            let one = |host: &Host| {
                let target = format!("      - targets: [\"127.0.0.1:{}\"]\n", port(host));
                match &host.instance {
                    None => target,
                    Some(instance) => {
                        format!("{target}        labels:\n          instance: {instance}\n")
                    }
                }
            };
            self.hosts.iter().map(one).collect()
        };
        let alertmanager = format!("127.0.0.1:{}", self.alertmanager_port);
        let prometheus = short_prometheus(
            &[alertmanager],
            &scrape(|host| host.exporter_port),
            &scrape(|host| host.remediator_port),
        )?;

        let shipped = shipped("alertmanager.yml")?;
        let webhook = between(&shipped, "    webhook_configs:\n", "\n  - name: operator")?;
        let person = between(
            &shipped,
            "  - name: operator\n",
            "\n# Only the highest tier",
        )?;
        let mut webhooks = String::new();
        for host in &self.hosts {
            webhooks += &replace(
                webhook,
                &[
                    ("http://127.0.0.1:10274/webhook", &host.webhook_url(), 1),
                    (
                        "/etc/prometheus/webhook.token",
                        &host.token.display().to_string(),
                        1,
                    ),
                ],
            )?;
        }
        // The pager sends nothing: it hears nothing that the person does not.
        let receivers = format!(
            "    webhook_configs:\n      - url: {}\n\n  - name: \"null\"\n\n  - name: pager\n",
            self.person.url()
        );
        let alertmanager = replace(
            &shipped,
            &[
                (webhook, &webhooks, 1),
                (person, &receivers, 1),
                ("group_wait: 10m", "group_wait: 1s", 1),
                // Long enough to see the alert before it is answered, also on a busy machine.
                ("group_wait: 10s", "group_wait: 3s", 1),
                ("group_interval: 5m", "group_interval: 2s", 1),
                ("group_interval: 1m", "group_interval: 2s", 1),
                ("group_interval: 12h", "group_interval: 2s", 2),
                ("group_interval: 1d", "group_interval: 2s", 1),
                ("repeat_interval: 5m", "repeat_interval: 5s", 1),
            ],
        )?;
        Ok((rules, prometheus, alertmanager))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The shipped rules, in which the ladder's alerts are held for so long.
///
/// # Errors
/// They have another form.
pub fn short_rules(alert_for: Duration) -> Result<String> {
    let held = format!("        for: {}s\n", alert_for.as_secs());
    let changes = [
        ("        for: 2m\n", held.as_str(), 6),
        ("        keep_firing_for: 1h\n", "", 4),
    ];
    adapt("baileys.rules.yml", &changes)
}

/// The shipped configuration of Prometheus with intervals of a second, these Alertmanagers, and
/// these entries of `static_configs`.
///
/// # Errors
/// It has another form.
pub fn short_prometheus(
    alertmanagers: &[String],
    exporters: &str,
    remediators: &str,
) -> Result<String> {
    adapt(
        "prometheus.yml",
        &[
            ("scrape_interval: 15s", "scrape_interval: 1s", 1),
            ("evaluation_interval: 15s", "evaluation_interval: 1s", 1),
            ("[\"127.0.0.1:9093\"]", &format!("{alertmanagers:?}"), 1),
            (
                "      - targets: [\"127.0.0.1:10273\"]\n        # labels:\n        #   instance: bots1:10273\n",
                exporters,
                1,
            ),
            ("      - targets: [\"127.0.0.1:10274\"]\n", remediators, 1),
        ],
    )
}

fn make_host(
    dir: &Path,
    instance: Option<String>,
    setup: &Setup,
    exporter_port: u16,
    remediator_port: u16,
) -> Result<Host> {
    let dir = match &instance {
        Some(name) => dir.join(name),
        None => dir.to_owned(),
    };
    let (sessions, state, answers) = (dir.join("sessions"), dir.join("state"), dir.join("answers"));
    let exporter_state = dir.join("exporter-state");
    for private in [&sessions, &state, &answers, &exporter_state] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(private)
            .doing(private.display())?;
    }
    let token = dir.join("webhook.token");
    let mut random = [0u8; 32];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).doing("a token")?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    write_new(&token, 0o600, &hex)?;
    let probe = dir.join("probe");
    write_new(&probe, 0o700, PROBE)?;
    let mut host = Host {
        instance,
        sessions,
        state,
        exporter_state,
        probe,
        token,
        programs: setup.programs.clone(),
        trust: setup.trust,
        exporter_port,
        remediator_port,
        tap: None,
    };
    if setup.tap_webhook {
        host.tap = Some(Recorder::start(Some(host.real_webhook_url()))?);
    }
    Ok(host)
}

/// Stands in for the service that knows the bots: the answer for a session is in a file.
const PROBE: &str = r#"#!/bin/sh
# probe SESSION: is this bot connected? The answers are in the directory beside this file.
read -r answer < "${0%/*}/answers/$1" || exit 1
case $answer in
  hang) exec sleep 600 ;;
  crash) echo disconnected; exit 1 ;;
  *) echo "$answer" ;;
esac
"#;

fn write_new(path: &Path, mode: u32, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .doing(path.display())?;
    file.write_all(text.as_bytes()).doing(path.display())
}

/// Quotes a word as a shell understands it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn shipped(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../alerting-rules")
        .join(name);
    fs::read_to_string(&path).doing(path.display())
}

fn adapt(name: &str, changes: &[(&str, &str, usize)]) -> Result<String> {
    replace(&shipped(name)?, changes).doing(name)
}

/// Replaces each text, which must be there exactly that many times.
fn replace(text: &str, changes: &[(&str, &str, usize)]) -> Result<String> {
    changes
        .iter()
        .try_fold(text.to_owned(), |text, (from, to, times)| {
            match text.matches(from).count() {
                hits if hits == *times => Ok(text.replace(from, to)),
                hits => Err(format!(
                    "expected {times} times, found {hits} times: {from:?}"
                )),
            }
        })
}

fn between<'a>(text: &'a str, after: &str, before: &str) -> Result<&'a str> {
    let (_, rest) = text
        .split_once(after)
        .ok_or_else(|| format!("not found: {after:?}"))?;
    let (inside, _) = rest
        .split_once(before)
        .ok_or_else(|| format!("not found: {before:?}"))?;
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_that_misses_is_an_error() {
        assert_eq!(
            replace("a b a", &[("a", "c", 2), ("b", "d", 1)]),
            Ok("c d c".to_owned())
        );
        assert!(replace("a b a", &[("a", "c", 1)]).is_err());
        assert!(replace("a", &[("b", "c", 1)]).is_err());
        assert_eq!(between("x[y]z", "[", "]"), Ok("y"));
    }
}
