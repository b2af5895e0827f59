//! Labels that an alert for this host carries: `alertmanager.match` and `webhook.match`.

use std::collections::BTreeMap;

use super::placeholders::{Anywhere, Placeholders, expand, is_label};

/// Names and values of labels, with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertMatch {
    key: &'static str,
    labels: BTreeMap<String, String>,
}

impl AlertMatch {
    /// `key`: where it stands in the configuration.
    ///
    /// Errors: a sentence that names the key.
    pub(super) fn new(key: &'static str, labels: BTreeMap<String, String>) -> Result<Self, String> {
        for label in labels.keys() {
            if !is_label(label) {
                return Err(format!(
                    "{key}: {label:?} is not the name of a label; use letters, digits and _"
                ));
            }
        }
        let matches = Self { key, labels };
        matches.resolve(&Anywhere)?;
        Ok(matches)
    }

    /// Whether any alert is for this host.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Fills in the placeholders.
    ///
    /// Errors: a sentence that names the key. Repeats no value: it may hold a secret.
    pub fn resolve(
        &self,
        placeholders: &dyn Placeholders,
    ) -> Result<BTreeMap<String, String>, String> {
        let mut resolved = BTreeMap::new();
        for (label, text) in &self.labels {
            let key = format!("{}.{label}", self.key);
            let value = expand(text, placeholders).map_err(|error| format!("{key}: {error}"))?;
            if value.is_empty() {
                return Err(format!("{key}: the value is empty; no alert has it"));
            }
            resolved.insert(label.clone(), value);
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests;
