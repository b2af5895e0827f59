//! Where the programs' pages lead: to each other, to Grafana and to the runbooks.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::rules::RuleSettings;

/// Addresses of the pages of both programs, each a URL without a trailing slash: section `pages`
/// of the configuration. Only a person knows what a browser reaches them by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageAddresses {
    /// Of the exporter.
    pub exporter: Option<String>,
    /// Of the remediator.
    pub remediator: Option<String>,
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

    /// The exporter's page; `None` while `pages.exporter` is not configured.
    pub fn exporter(&self) -> Option<String> {
        Some(format!("{}/", self.addresses.exporter.as_ref()?))
    }

    /// The remediator's page; `None` while `pages.remediator` is not configured.
    pub fn remediator(&self) -> Option<String> {
        Some(format!("{}/", self.addresses.remediator.as_ref()?))
    }

    /// The plan of a session, on the remediator's page.
    pub fn plan(&self, session: &str) -> Option<String> {
        let base = self.addresses.remediator.as_ref()?;
        Some(format!("{base}/{}", plan_query(session)))
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

/// The page of a session's plan, relative to the remediator's first page.
pub fn plan_query(session: &str) -> String {
    format!("plan?session={}", encoded(session))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests;
