//! The section `alertmanager`: which Alertmanagers are polled for alerts, and which of their
//! alerts are for this host.

use std::collections::BTreeMap;
use std::time::Duration;

use exporter_toolkit::client::check_url;
use exporter_toolkit::http_config::{HttpClient, HttpConfig};
use serde::Deserialize;

use super::list::list;
use super::span::span;
use crate::host;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3_600);
/// Alertmanagers at most: each is queried at every poll.
const MAX_URLS: usize = 16;

/// The Alertmanagers that are polled.
#[derive(Clone, Debug)]
pub struct Alertmanagers {
    /// The base URL of each, without a slash at its end.
    pub urls: Vec<String>,
    /// Labels that an alert for this host carries.
    pub matches: BTreeMap<String, String>,
    /// How often they are polled; each poll is shifted by up to a tenth.
    pub interval: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// Credentials and TLS.
    pub client: HttpClient,
}

/// The checked section. Its placeholders are filled in by [`AlertmanagerSettings::resolve`]:
/// only `serve` and `doctor` poll, and only their environment has to hold the variables.
#[derive(Clone, Debug)]
pub struct AlertmanagerSettings(Alertmanagers);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerSection {
    #[serde(deserialize_with = "list")]
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
        host::name()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Any host and any environment, to check the form of a text.
pub(super) struct Anywhere;

impl Placeholders for Anywhere {
    fn hostname(&self) -> String {
        "host".into()
    }

    fn variable(&self, _name: &str) -> Option<String> {
        Some("value".into())
    }
}

/// Whether Prometheus takes this as the name of a label.
pub(super) fn is_label(name: &str) -> bool {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_word)
}

impl AlertmanagerSection {
    /// Errors: a sentence that names the key.
    pub fn build(self) -> Result<AlertmanagerSettings, String> {
        if self.urls.is_empty() {
            return Err(
                "alertmanager.urls: at least one URL, such as http://localhost:9093".into(),
            );
        }
        if self.urls.len() > MAX_URLS {
            return Err(format!("alertmanager.urls: not more than {MAX_URLS}"));
        }
        for label in self.r#match.keys() {
            if !is_label(label) {
                return Err(format!(
                    "alertmanager.match: {label:?} is not the name of a label; use letters, digits and _"
                ));
            }
        }
        let between = |key: &str, given: Option<Duration>, default| match given {
            Some(given) if !(SHORTEST..=LONGEST).contains(&given) => {
                Err(format!("alertmanager.{key}: from 1s to 1h"))
            }
            given => Ok(given.unwrap_or(default)),
        };
        let settings = AlertmanagerSettings(Alertmanagers {
            urls: self.urls,
            matches: self.r#match,
            interval: between("interval", self.interval, DEFAULT_INTERVAL)?,
            timeout: between("timeout", self.timeout, DEFAULT_TIMEOUT)?,
            client: self
                .http_config
                .build()
                .map_err(|error| format!("alertmanager.http_config.{error}"))?,
        });
        // A variable may hold a part of a URL that cannot be guessed here, such as its scheme.
        settings.expanded(&Anywhere, |url| url.contains("${"))?;
        Ok(settings)
    }
}

impl AlertmanagerSettings {
    /// Fills in the placeholders.
    ///
    /// Errors: a sentence that names the key. Repeats no value: it may hold a secret.
    pub fn resolve(&self, placeholders: &dyn Placeholders) -> Result<Alertmanagers, String> {
        self.expanded(placeholders, |_| false)
    }

    /// The form of a URL is not checked where `is_unchecked` holds for its text.
    fn expanded(
        &self,
        placeholders: &dyn Placeholders,
        is_unchecked: impl Fn(&str) -> bool,
    ) -> Result<Alertmanagers, String> {
        let mut urls = Vec::new();
        for (index, text) in self.0.urls.iter().enumerate() {
            let key = format!("alertmanager.urls[{index}]");
            let url = expand(text, placeholders).map_err(|error| format!("{key}: {error}"))?;
            let url = url.trim_end_matches('/').to_owned();
            if !is_unchecked(text) {
                if url.contains(['?', '#']) || check_url(&url).is_err() {
                    return Err(format!(
                        "{key}: must look like http://host:9093 or https://host/prefix, without credentials and without a query"
                    ));
                }
                if urls.contains(&url) {
                    return Err(format!("{key}: the same URL stands there twice"));
                }
            }
            urls.push(url);
        }
        let mut matches = BTreeMap::new();
        for (label, text) in &self.0.matches {
            let key = format!("alertmanager.match.{label}");
            let value = expand(text, placeholders).map_err(|error| format!("{key}: {error}"))?;
            if value.is_empty() {
                return Err(format!("{key}: the value is empty; no alert has it"));
            }
            matches.insert(label.clone(), value);
        }
        Ok(Alertmanagers {
            urls,
            matches,
            ..self.0.clone()
        })
    }
}

/// Fills in `{hostname}` and `${NAME}`.
///
/// Errors: a variable is not set or is empty, a brace is not closed, or another placeholder.
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
                .filter(|value| !value.is_empty())
                .ok_or_else(|| {
                    format!("the environment variable {name:?} is not set or is empty")
                })?;
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
