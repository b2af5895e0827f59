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
}

impl Alertmanager {
    /// Starts it with `alerting-rules/alertmanager.yml`, in which each first text of `changes`
    /// stands once and becomes the second. Its files go to `dir`.
    ///
    /// # Errors
    /// It is not installed, a change does not hit, or it cannot be started.
    pub fn start(dir: &Path, changes: &[(&str, String)]) -> Result<Self> {
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
        let port = net::free_port(None)?;
        let args = [
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", dir.join("alertmanager").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".to_owned(),
        ];
        let log = dir.join("alertmanager.log");
        Ok(Self {
            process: Process::start("alertmanager", &program, &args, &log)?,
            url: format!("http://127.0.0.1:{port}"),
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
