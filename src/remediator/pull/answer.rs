//! The answer of `GET /api/v2/alerts`, read with bounds: whatever answers at the URL may not
//! be an Alertmanager.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::folder::json::Object;

/// Alerts of one answer at most.
pub const MAX_ALERTS: usize = 10_000;
/// Labels of one alert at most.
const MAX_LABELS: usize = 64;

/// One alert. Unknown fields are ignored, because newer versions add some.
#[derive(Clone, Debug, Deserialize)]
pub struct PolledAlert {
    /// Its labels.
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// When it began, as Alertmanager writes it.
    #[serde(rename = "startsAt")]
    pub starts_at: String,
    /// What identifies it.
    pub fingerprint: String,
    /// Whether Alertmanager would notify of it.
    pub status: AlertStatus,
}

/// The status of a polled alert.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
    /// One for each silence.
    #[serde(default)]
    pub silenced_by: Option<Vec<IgnoredAny>>,
    /// One for each alert that inhibits it.
    #[serde(default)]
    pub inhibited_by: Option<Vec<IgnoredAny>>,
    /// One for each time interval that mutes it.
    #[serde(default)]
    pub muted_by: Option<Vec<IgnoredAny>>,
}

fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Labels;
    impl<'de> Visitor<'de> for Labels {
        type Value = BTreeMap<String, String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels")
        }
        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut labels = BTreeMap::new();
            while let Some((name, value)) = map.next_entry::<String, String>()? {
                if labels.len() >= MAX_LABELS {
                    return Err(A::Error::custom("too many labels"));
                }
                if labels.insert(name, value).is_some() {
                    return Err(A::Error::custom("a label twice"));
                }
            }
            Ok(labels)
        }
    }
    from.deserialize_map(Labels)
}

/// The alerts of an answer.
struct Alerts {
    alerts: Vec<PolledAlert>,
    /// There were more than [`MAX_ALERTS`].
    is_cut: bool,
}

impl<'de> Deserialize<'de> for Alerts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Alerts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of alerts")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Alerts, A::Error> {
                let mut alerts = Vec::new();
                while alerts.len() < MAX_ALERTS {
                    match list.next_element::<Object<PolledAlert>>()? {
                        Some(alert) => alerts.push(alert.0),
                        None => {
                            return Ok(Alerts {
                                alerts,
                                is_cut: false,
                            });
                        }
                    }
                }
                let mut is_cut = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    is_cut = true;
                }
                Ok(Alerts { alerts, is_cut })
            }
        }
        from.deserialize_seq(List)
    }
}

/// Reads an answer, all of it or nothing.
///
/// Errors: it is not a list of alerts, or one of too many. Repeats nothing of it.
pub fn parse(body: &[u8]) -> Result<Vec<PolledAlert>, String> {
    let answer: Alerts = serde_json::from_slice(body).map_err(|error| {
        format!(
            "the answer is not the list of alerts of an Alertmanager (line {}, column {}); check the URL and its path prefix",
            error.line(),
            error.column()
        )
    })?;
    match answer.is_cut {
        false => Ok(answer.alerts),
        true => Err(format!(
            "the answer has more than {MAX_ALERTS} alerts; name the labels of this host in alertmanager.match"
        )),
    }
}

#[cfg(test)]
mod tests;
