//! The real Alertmanager with the shipped configuration.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::{self, Process};
use crate::stack::INSTALL;
use crate::{Doing, Result, net};

/// A running Alertmanager. Dropping it stops it.
#[derive(Debug)]
pub struct Alertmanager {
    /// The process.
    pub process: Process,
    url: String,
    /// Where others of its cluster reach it.
    cluster: Option<u16>,
}

/// How an [`Alertmanager`] is started, beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// Its port; any free one where `None`.
    pub port: Option<u16>,
    /// It takes part in a cluster, as the first or with this one.
    pub cluster: Option<Option<&'a Alertmanager>>,
    /// More flags.
    pub flags: Vec<String>,
}

impl Alertmanager {
    /// Starts it with `alerting-rules/alertmanager.yml`, in which each first text of `changes`
    /// stands once and becomes the second. Its files go to `dir`.
    ///
    /// # Errors
    /// It is not installed, a change does not hit, or it cannot be started.
    pub fn start(dir: &Path, changes: &[(&str, String)]) -> Result<Self> {
        Self::start_with(dir, changes, Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Alertmanager::start`].
    pub fn start_with(
        dir: &Path,
        changes: &[(&str, String)],
        options: Options<'_>,
    ) -> Result<Self> {
        let program = process::find(&["prometheus-alertmanager", "alertmanager"])
            .ok_or_else(|| format!("Alertmanager is not installed; run: {INSTALL}"))?;
        let mut text = shipped("alertmanager.yml")?;
        for (from, to) in changes {
            if text.matches(from).count() != 1 {
                return Err(format!("alertmanager.yml does not hold once: {from}"));
            }
            text = text.replace(from, to);
        }
        let config = dir.join("alertmanager.yml");
        fs::write(&config, text).doing(config.display())?;
        let port = match options.port {
            Some(port) => port,
            None => net::free_port(None)?,
        };
        let mut args = vec![
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", dir.join("alertmanager").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let mut cluster = None;
        match options.cluster {
            None => args.push("--cluster.listen-address=".to_owned()),
            Some(peer) => {
                let own = net::free_port(None)?;
                cluster = Some(own);
                args.push(format!("--cluster.listen-address=127.0.0.1:{own}"));
                if let Some(peer) = peer.and_then(|peer| peer.cluster) {
                    args.push(format!("--cluster.peer=127.0.0.1:{peer}"));
                }
            }
        }
        args.extend(options.flags);
        let log = dir.join("alertmanager.log");
        Ok(Self {
            process: Process::start("alertmanager", &program, &args, &log)?,
            url: format!("http://127.0.0.1:{port}"),
            cluster,
        })
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// What it says instead.
    pub fn ready(&self) -> Result<()> {
        let answer = net::get(&format!("{}/-/ready", self.url))?;
        answer.ok().map(drop)
    }

    /// Posts alerts as Prometheus does, all of one evaluation.
    ///
    /// # Errors
    /// It does not take them.
    pub fn post(&self, alerts: Vec<Value>) -> Result<()> {
        let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
        let body = Value::from(alerts).to_string();
        let answer = net::post(&self.alerts_url(), &headers, body.as_bytes())?;
        answer.ok().map(drop)
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Silences the alerts whose label `label` has this value; the silence's id.
    ///
    /// # Errors
    /// It does not take it.
    pub fn silence(&self, label: &str, value: &str) -> Result<String> {
        let body = serde_json::json!({
            "matchers": [{"name": label, "value": value, "isRegex": false, "isEqual": true}],
            // A start in the past is taken for now.
            "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z",
            "createdBy": "a test", "comment": "a test",
        });
        let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
        let url = format!("{}/api/v2/silences", self.url);
        let answer = net::post(&url, &headers, body.to_string().as_bytes())?.ok()?;
        let answer: Value = serde_json::from_str(&answer).doing("silence")?;
        answer["silenceID"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| "no silence".to_owned())
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// It does not know it.
    pub fn end_silence(&self, id: &str) -> Result<()> {
        let answer = net::delete(&format!("{}/api/v2/silence/{id}", self.url))?;
        answer.ok().map(drop)
    }

    /// The alerts that it knows.
    ///
    /// # Errors
    /// It does not answer with a list.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let text = net::get(&self.alerts_url())?.ok()?;
        serde_json::from_str(&text).doing("alerts of Alertmanager")
    }

    fn alerts_url(&self) -> String {
        format!("{}/api/v2/alerts", self.url)
    }
}

/// A file of `alerting-rules`.
///
/// # Errors
/// It cannot be read.
pub fn shipped(name: &str) -> Result<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../alerting-rules");
    fs::read_to_string(dir.join(name)).doing(name)
}
