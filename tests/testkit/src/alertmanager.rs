//! The real Alertmanager with the shipped configuration.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
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
    cluster: Option<SocketAddrV4>,
}

/// How an [`Alertmanager`] is started, beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// Words that go before it, of which the last one runs its arguments.
    pub wrapper: Vec<String>,
    /// Its address; 127.0.0.1 where `None`.
    pub address: Option<Ipv4Addr>,
    /// Its port; any free one where `None`.
    pub port: Option<u16>,
    /// It takes part in a cluster, as the first or with this one.
    pub cluster: Option<Option<&'a Alertmanager>>,
    /// Its port in the cluster; any free one where `None`.
    pub cluster_port: Option<u16>,
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
        let address = options.address.unwrap_or(Ipv4Addr::LOCALHOST);
        let port_of = |port: Option<u16>| port.map_or_else(|| net::free_port(None), Ok);
        let port = port_of(options.port)?;
        let mut args = vec![
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", dir.join("alertmanager").display()),
            format!("--web.listen-address={address}:{port}"),
        ];
        let mut cluster = None;
        match options.cluster {
            None => args.push("--cluster.listen-address=".to_owned()),
            Some(peer) => {
                let own = SocketAddrV4::new(address, port_of(options.cluster_port)?);
                cluster = Some(own);
                args.push(format!("--cluster.listen-address={own}"));
                if let Some(peer) = peer.and_then(|peer| peer.cluster) {
                    args.push(format!("--cluster.peer={peer}"));
                }
            }
        }
        args.extend(options.flags);
        let log = dir.join("alertmanager.log");
        let wrapper: Vec<&str> = options.wrapper.iter().map(String::as_str).collect();
        Ok(Self {
            process: Process::start_in(&wrapper, &program, &args, &log)?,
            url: format!("http://{address}:{port}"),
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

    /// How many members of its cluster it reaches, itself among them.
    ///
    /// # Errors
    /// It does not say so.
    pub fn members(&self) -> Result<usize> {
        let text = net::get(&format!("{}/api/v2/status", self.url))?.ok()?;
        let status: Value = serde_json::from_str(&text).doing("status of Alertmanager")?;
        let peers = status["cluster"]["peers"].as_array();
        peers.map(Vec::len).ok_or_else(|| "no cluster".to_owned())
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

/// What to change in the shipped configuration, `shipped`, so that nothing is posted to a
/// remediator: neither its route nor its receiver is there. What is for a person goes to the
/// webhook `person`, or is not sent.
///
/// # Errors
/// The shipped configuration has another form.
pub fn without_route<'a>(shipped: &'a str, person: Option<&str>) -> Result<Vec<(&'a str, String)>> {
    let part = |from: &str, to: &str| {
        let begin = shipped.find(from);
        let end = begin.and_then(|begin| Some(begin + shipped[begin..].find(to)?));
        begin
            .zip(end)
            .map(|(begin, end)| &shipped[begin..end])
            .ok_or_else(|| format!("alertmanager.yml: from {from:?} to {to:?}"))
    };
    let people = part("  - name: operator\n", "\n# Only the highest tier")?;
    let webhook = person.map_or_else(String::new, |url| {
        format!("    webhook_configs:\n      - url: {url}\n")
    });
    Ok(vec![
        (
            part("    # The tiers that the", "    # What cannot wait")?,
            String::new(),
        ),
        (
            part("  - name: baileys_remediator\n", "  - name: operator\n")?,
            String::new(),
        ),
        (
            people,
            format!("  - name: operator\n{webhook}  - name: \"null\"\n  - name: pager\n"),
        ),
    ])
}

/// A file of `alerting-rules`.
///
/// # Errors
/// It cannot be read.
pub fn shipped(name: &str) -> Result<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../alerting-rules");
    fs::read_to_string(dir.join(name)).doing(name)
}
