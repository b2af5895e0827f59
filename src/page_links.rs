//! Where the programs' pages lead: to each other, to Grafana and to the runbooks.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::rules::RuleSettings;

/// Addresses of the pages of both programs: section `pages` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAddresses {
    /// Of the exporter: a URL without a trailing slash.
    pub exporter: String,
    /// Of the remediator.
    pub remediator: String,
}

impl Default for PageAddresses {
    fn default() -> Self {
        // Where the programs listen unless told otherwise.
        Self {
            exporter: "http://127.0.0.1:10273".into(),
            remediator: "http://127.0.0.1:10274".into(),
        }
    }
}

/// The links of a page.
#[derive(Clone, Debug)]
pub struct PageLinks<'a> {
    addresses: &'a PageAddresses,
    rules: &'a RuleSettings,
}

impl<'a> PageLinks<'a> {
    /// The links for this configuration.
    pub fn new(addresses: &'a PageAddresses, rules: &'a RuleSettings) -> Self {
        Self { addresses, rules }
    }

    /// The exporter's page.
    pub fn exporter(&self) -> String {
        format!("{}/", self.addresses.exporter)
    }

    /// The remediator's page.
    pub fn remediator(&self) -> String {
        format!("{}/", self.addresses.remediator)
    }

    /// The plan of a session.
    pub fn plan(&self, session: &str) -> String {
        format!("{}{}", self.addresses.remediator, plan_path(session))
    }

    /// The session's dashboard; `None` while `rules.dashboards` is not configured.
    pub fn dashboard(&self, session: &str) -> Option<String> {
        let base = &self.rules.dashboards;
        let is_set = *base != RuleSettings::default().dashboards;
        is_set.then(|| format!("{base}/d/baileys-session?var-session={}", encoded(session)))
    }

    /// A runbook by its name; `None` while `rules.runbooks` is not configured.
    pub fn runbook(&self, name: &str) -> Option<String> {
        let is_set = self.rules.runbooks != RuleSettings::default().runbooks;
        is_set.then(|| self.rules.runbook(name))
    }
}

/// Path of the page of a session's plan.
pub fn plan_path(session: &str) -> String {
    format!("/plan?session={}", encoded(session))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests;
