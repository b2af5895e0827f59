//! Asks the Alertmanagers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinSet;

use crate::config::Alertmanagers;
use crate::remediator::webhook::LADDER;

use exporter_toolkit::http_config::HttpError;

use super::answer::{PolledAlert, parse};
use super::schedule;

/// Largest answer that is read, in bytes. A thousand alerts have about two million.
const MAX_ALERTS_BYTES: usize = 8 << 20;
/// The first poll comes within this time, or within the interval, so that hosts that start
/// together do not ask together.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// What each Alertmanager answered, in the order of the configuration.
pub type Poll = Vec<Result<Vec<PolledAlert>, PollError>>;

/// Why an Alertmanager gave no alerts, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollError {
    message: String,
    is_busy: bool,
}

impl PollError {
    pub(in crate::remediator) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_busy: false,
        }
    }

    /// Whether it answers others at the moment (503), so that a retry soon may succeed.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }
}

impl From<HttpError> for PollError {
    fn from(error: HttpError) -> Self {
        Self {
            is_busy: matches!(error, HttpError::Status(503)),
            message: error.to_string(),
        }
    }
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Polls the Alertmanagers.
#[derive(Clone, Debug)]
pub struct Poller {
    config: Alertmanagers,
    names: Vec<String>,
}

impl Poller {
    /// With this configuration.
    pub fn new(config: Alertmanagers) -> Self {
        let names = names_of(&config.urls);
        Self { config, names }
    }

    /// The names of the Alertmanagers for metrics and logs: host and port of each, without
    /// the path, which may hold a secret. No name occurs twice.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the same Alertmanagers are polled for the same labels.
    pub fn asks_like(&self, other: &Self) -> bool {
        self.config.urls == other.config.urls && self.config.matches == other.config.matches
    }

    /// The labels of this host's alerts.
    pub fn matches(&self) -> &BTreeMap<String, String> {
        &self.config.matches
    }

    /// The same in one line, for a person.
    pub fn matches_text(&self) -> String {
        let matches = self.config.matches.iter();
        let matches = matches.map(|(label, value)| format!("{label}={value}"));
        matches.collect::<Vec<_>>().join(", ")
    }

    /// Asks all of them at once for the ladder's alerts: those with the labels of this host,
    /// or those of all hosts.
    pub async fn poll(&self, all_hosts: bool) -> Poll {
        let query = query(&self.config.matches, all_hosts);
        let mut asked = JoinSet::new();
        for (index, url) in self.config.urls.iter().enumerate() {
            let url = format!("{url}/api/v2/alerts?{query}");
            let (client, timeout) = (self.config.client.clone(), self.config.timeout);
            asked.spawn(async move {
                let answer = client.get(&url, timeout, MAX_ALERTS_BYTES).await;
                let alerts = answer
                    .map_err(PollError::from)
                    .and_then(|body| parse(&body).map_err(PollError::new));
                (index, alerts)
            });
        }
        let broken = PollError::new("the request broke off");
        let mut poll: Poll = vec![Err(broken); self.config.urls.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, alerts)) = answer
                && let Some(slot) = poll.get_mut(index)
            {
                *slot = alerts;
            }
        }
        poll
    }

    /// How long to wait until the next poll. `busy`: polls in a row in which an Alertmanager was
    /// busy; `random` is from 0 to 1.
    pub fn pause(&self, busy: u32, random: f64) -> Duration {
        schedule::pause(self.config.interval, busy, random)
    }

    /// How long to wait until the first poll; `random` is from 0 to 1.
    pub fn first_pause(&self, random: f64) -> Duration {
        self.config
            .interval
            .min(FIRST_WITHIN)
            .mul_f64(random.clamp(0.0, 1.0))
    }
}

fn query(matches: &BTreeMap<String, String>, all_hosts: bool) -> String {
    let ladder = ("ladder".to_owned(), LADDER.to_owned());
    let of_host = matches.iter().filter(|_| !all_hosts);
    std::iter::once((&ladder.0, &ladder.1))
        .chain(of_host)
        .map(|(label, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            let matcher = format!("{label}=\"{}\"", value.replace('\n', "\\n"));
            let matcher = utf8_percent_encode(&matcher, NON_ALPHANUMERIC).to_string();
            format!("filter={matcher}")
        })
        .collect::<Vec<_>>()
        .join("&")
}

fn names_of(urls: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for url in urls {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or(rest);
        let same = |number: usize| match number {
            1 => host.to_owned(),
            number => format!("{host} ({number})"),
        };
        // One of the first that many is free.
        let free = (1..=urls.len()).map(same);
        let name = free.into_iter().find(|name| !names.contains(name));
        names.push(name.unwrap_or_else(|| host.to_owned()));
    }
    names
}

#[cfg(test)]
mod tests;
