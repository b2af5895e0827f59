//! The section `alertmanager`: which Alertmanagers are polled for alerts, and which of their
//! alerts are for this host.

use std::collections::BTreeMap;
use std::time::Duration;

use exporter_toolkit::http_config::{HttpClient, HttpConfig};
use serde::Deserialize;

use super::span::span;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_secs(1);

/// The Alertmanagers that are polled.
#[derive(Clone, Debug)]
pub struct Alertmanagers {
    /// The base URL of each, without a slash at its end.
    pub urls: Vec<String>,
    /// Labels that an alert for this host carries.
    pub matches: BTreeMap<String, String>,
    /// How often they are asked; each poll is shifted by up to a tenth.
    pub interval: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// Credentials and TLS.
    pub client: HttpClient,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerSection {
    urls: Vec<String>,
    #[serde(default)]
    r#match: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "span")]
    interval: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    timeout: Option<Duration>,
    #[serde(default)]
    http_config: HttpConfig,
}

/// What stands for a placeholder: the host's name and the environment.
pub trait Placeholders {
    /// For `{hostname}`.
    fn hostname(&self) -> String;
    /// For `${NAME}`; `None` where it is not set.
    fn variable(&self, name: &str) -> Option<String>;
}

/// This host and this process.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Placeholders for System {
    fn hostname(&self) -> String {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl AlertmanagerSection {
    /// Errors: a sentence that names the key.
    pub fn build(self, placeholders: &dyn Placeholders) -> Result<Alertmanagers, String> {
        if self.urls.is_empty() {
            return Err(
                "alertmanager.urls: at least one URL, such as http://localhost:9093".into(),
            );
        }
        let mut urls = Vec::new();
        for (index, url) in self.urls.iter().enumerate() {
            let key = format!("alertmanager.urls[{index}]");
            let url = expand(url, placeholders).map_err(|error| format!("{key}: {error}"))?;
            let rest = url
                .strip_prefix("http://")
                .or_else(|| url.strip_prefix("https://"));
            // The value is not repeated: it may hold a password.
            let is_plain = rest.is_some_and(|rest| {
                !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']) && !rest.starts_with('/')
            });
            if !is_plain {
                return Err(format!(
                    "{key}: must look like http://host:9093 or https://host/prefix, without credentials and without a query"
                ));
            }
            let url = url.trim_end_matches('/').to_owned();
            if urls.contains(&url) {
                return Err(format!("{key}: the same URL stands there twice"));
            }
            urls.push(url);
        }
        let mut matches = BTreeMap::new();
        for (label, value) in self.r#match {
            let value = expand(&value, placeholders)
                .map_err(|error| format!("alertmanager.match.{label}: {error}"))?;
            matches.insert(label, value);
        }
        let at_least = |key: &str, given: Option<Duration>, default| match given {
            Some(given) if given < SHORTEST => Err(format!("alertmanager.{key}: not less than 1s")),
            given => Ok(given.unwrap_or(default)),
        };
        Ok(Alertmanagers {
            urls,
            matches,
            interval: at_least("interval", self.interval, DEFAULT_INTERVAL)?,
            timeout: at_least("timeout", self.timeout, DEFAULT_TIMEOUT)?,
            client: self
                .http_config
                .build()
                .map_err(|error| format!("alertmanager.http_config.{error}"))?,
        })
    }
}

/// Fills in `{hostname}` and `${NAME}`.
///
/// Errors: a variable is not set, or a brace is not closed.
pub fn expand(text: &str, placeholders: &dyn Placeholders) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{hostname}") {
            out.push_str(&placeholders.hostname());
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or("a ${ is not closed; write ${NAME}")?;
            let value = placeholders
                .variable(name)
                .ok_or_else(|| format!("the environment variable {name} is not set"))?;
            out.push_str(&value);
            rest = after;
        } else if rest.starts_with('{') {
            return Err("the only placeholders are {hostname} and ${NAME}".into());
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests;
