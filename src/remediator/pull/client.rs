//! Asks the Alertmanagers.

use std::collections::BTreeMap;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinSet;

use crate::config::Alertmanagers;
use crate::folder::json::Object;
use crate::remediator::webhook::LADDER;

use super::merge::PolledAlert;

/// Largest answer that is read, in bytes. A thousand alerts have about two million.
const MAX_BODY_BYTES: usize = 16 << 20;

/// What each Alertmanager answered, in the order of the configuration.
pub type Poll = Vec<Result<Vec<PolledAlert>, String>>;

/// Polls the Alertmanagers.
#[derive(Clone, Debug)]
pub struct Poller {
    config: Alertmanagers,
}

impl Poller {
    /// With this configuration.
    pub fn new(config: Alertmanagers) -> Self {
        Self { config }
    }

    /// The names of the Alertmanagers for metrics and logs: host and port of each.
    pub fn names(&self) -> Vec<String> {
        self.config.urls.iter().map(|url| name_of(url)).collect()
    }

    /// The labels of this host's alerts.
    pub fn matches(&self) -> &BTreeMap<String, String> {
        &self.config.matches
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
                let answer = client.get(&url, timeout, MAX_BODY_BYTES).await;
                let alerts = answer
                    .map_err(|error| error.to_string())
                    .and_then(|body| parse(&body));
                (index, alerts)
            });
        }
        let mut poll: Poll = vec![Err("the request broke off".into()); self.config.urls.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, alerts)) = answer
                && let Some(slot) = poll.get_mut(index)
            {
                *slot = alerts;
            }
        }
        poll
    }

    /// How long to wait until the next poll; `random` is from 0 to 1.
    pub fn pause(&self, random: f64) -> Duration {
        self.config
            .interval
            .mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
    }
}

/// Errors: the answer is not a list of alerts. Repeats nothing of it.
fn parse(body: &[u8]) -> Result<Vec<PolledAlert>, String> {
    serde_json::from_slice::<Vec<Object<PolledAlert>>>(body)
        .map(|alerts| alerts.into_iter().map(|alert| alert.0).collect())
        .map_err(|error| {
            format!(
                "the answer is not Alertmanager's list of alerts (line {}, column {})",
                error.line(),
                error.column()
            )
        })
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

fn name_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests;
