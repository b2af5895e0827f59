//! The section `alertmanager`: which Alertmanagers are polled for alerts, and which of their
//! alerts are for this host.

use std::collections::BTreeMap;
use std::time::Duration;

use exporter_toolkit::client::check_url;
use exporter_toolkit::http_config::{HttpClient, HttpConfig};
use serde::Deserialize;

use super::alert_match::AlertMatch;
use super::list::list;
use super::placeholders::{Anywhere, Placeholders, expand};
use super::span::span;

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
pub struct AlertmanagerSettings {
    /// With placeholders in its URLs, and without labels.
    polled: Alertmanagers,
    matches: AlertMatch,
}

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
        let between = |key: &str, given: Option<Duration>, default| match given {
            Some(given) if !(SHORTEST..=LONGEST).contains(&given) => {
                Err(format!("alertmanager.{key}: from 1s to 1h"))
            }
            given => Ok(given.unwrap_or(default)),
        };
        let matches = AlertMatch::new("alertmanager.match", self.r#match)?;
        let polled = Alertmanagers {
            urls: self.urls,
            matches: BTreeMap::new(),
            interval: between("interval", self.interval, DEFAULT_INTERVAL)?,
            timeout: between("timeout", self.timeout, DEFAULT_TIMEOUT)?,
            client: self
                .http_config
                .build()
                .map_err(|error| format!("alertmanager.http_config.{error}"))?,
        };
        let settings = AlertmanagerSettings { polled, matches };
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
        for (index, text) in self.polled.urls.iter().enumerate() {
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
        Ok(Alertmanagers {
            urls,
            matches: self.matches.resolve(placeholders)?,
            ..self.polled.clone()
        })
    }
}

#[cfg(test)]
mod tests;
