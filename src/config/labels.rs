//! The section `labels`: labels on every series of both programs.

use std::collections::BTreeMap;

use super::Placeholders;
use super::placeholders::{Anywhere, expand, is_label};

/// Labels of Prometheus, of the alerting rules and of the metrics of both programs.
const RESERVED: [&str; 26] = [
    "action",
    "alertmanager",
    "alertname",
    "code",
    "collector",
    "copy",
    "found",
    "glob",
    "instance",
    "job",
    "kind",
    "ladder",
    "le",
    "outcome",
    "override",
    "pattern",
    "quantile",
    "reason",
    "run",
    "service",
    "session",
    "severity",
    "state",
    "status",
    "tier",
    "version",
];

/// Labels that the operator adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomLabels(BTreeMap<String, String>);

impl CustomLabels {
    /// Errors: a sentence that names the key.
    pub(super) fn new(labels: BTreeMap<String, String>) -> Result<Self, String> {
        for (name, value) in &labels {
            if !is_label(name) || name.starts_with("__") {
                return Err(format!(
                    "labels: {name:?} is not the name of a label; use letters, digits and _"
                ));
            }
            if RESERVED.contains(&name.as_str()) {
                return Err(format!(
                    "labels.{name}: the programs use this name themselves"
                ));
            }
            expand(value, &Anywhere).map_err(|error| format!("labels.{name}: {error}"))?;
        }
        Ok(Self(labels))
    }

    /// Fills in `{hostname}` and `${NAME}`: only a program that shows metrics needs the
    /// variables.
    ///
    /// Errors: a sentence that names the key; a variable is not set or is empty.
    pub fn resolve(&mut self, placeholders: &dyn Placeholders) -> Result<(), String> {
        for (name, value) in &mut self.0 {
            *value =
                expand(value, placeholders).map_err(|error| format!("labels.{name}: {error}"))?;
        }
        Ok(())
    }

    /// Names and values.
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
