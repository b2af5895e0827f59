//! The YAML file's shape. Unknown keys are refused: a misspelt guard is worse than none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::alertmanager::AlertmanagerSection;
use super::error::ConfigError;
use super::hint::{hint, nearest};
use super::list::{list, optional_values, optional_words};
use super::position::Position;
use crate::connection::Probe;
use crate::logs::{Pattern, Severity};
use crate::page_links::PageAddresses;
use crate::policy::insurance::Keep;
use crate::policy::measure::{CLASSIC_BATCH, MODERN_BATCH};
use crate::policy::{BatchSetting, CredsPlace, Thresholds};
use crate::rules::alerts::{self, AlertSetting};
use crate::rules::{RuleSettings, is_base_url};
use exporter_toolkit::secret;

use super::notify::NotifySection;
use super::processes::{BreakerSection, ProcessSection};
use super::span::span;
use super::trigger::TriggerSource;

/// The file's text.
pub fn parse(text: &str) -> Result<File, ConfigError> {
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let says = secret::yaml_error(&error);
        let position = error.location().map(|location| Position {
            line: location.line(),
            column: location.column(),
        });
        let line = position.and_then(|position| {
            let index = usize::try_from(position.line).ok()?.checked_sub(1)?;
            text.lines().nth(index)
        });
        let hint = hint(&says, line.unwrap_or_default());
        let message = match says.rsplit_once(" at line ") {
            Some((message, _)) if position.is_some() => message.to_owned(),
            _ => says,
        };
        ConfigError {
            file: None,
            position,
            message,
            hint,
        }
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub sessions: SessionsSection,
    pub labels: BTreeMap<String, String>,
    pub collectors: BTreeMap<String, bool>,
    pub tiers: Tiers,
    pub pre_key_batch: Option<Batch>,
    pub overrides: Vec<OverrideEntry>,
    pub limits: LimitsSection,
    pub emergency: Emergency,
    pub connection: ConnectionSection,
    pub logs: Logs,
    pub trigger: Option<TriggerSource>,
    pub webhook: Webhook,
    pub alertmanager: Option<AlertmanagerSection>,
    pub notify: Option<NotifySection>,
    pub quarantine: QuarantineSection,
    pub insurance: InsuranceSection,
    pub state: StateSection,
    pub processes: Vec<ProcessSection>,
    pub breaker: BreakerSection,
    pub armed: ArmedSection,
    pub rules: RulesSection,
    pub pages: PagesSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagesSection {
    exporter: Option<String>,
    remediator: Option<String>,
}

impl PagesSection {
    /// Errors: a key, and what it should be.
    pub fn build(self) -> Result<PageAddresses, String> {
        let pages = PageAddresses {
            exporter: self.exporter,
            remediator: self.remediator,
        };
        for (key, url) in [
            ("exporter", &pages.exporter),
            ("remediator", &pages.remediator),
        ] {
            if url.as_ref().is_some_and(|url| !is_base_url(url)) {
                return Err(format!(
                    "pages.{key}: a URL such as https://bots.example.org/{key}, without a trailing slash"
                ));
            }
        }
        Ok(pages)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesSection {
    exporter_job: Option<String>,
    remediator_job: Option<String>,
    runbooks: Option<String>,
    dashboards: Option<String>,
    #[serde(deserialize_with = "span")]
    refused_for: Option<Duration>,
    alerts: BTreeMap<String, AlertSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlertSection {
    #[serde(rename = "for", deserialize_with = "span")]
    hold: Option<Duration>,
    severity: Option<Severity>,
}

impl RulesSection {
    /// Errors: a key, and what it should be.
    pub fn build(self) -> Result<RuleSettings, String> {
        let default = RuleSettings::default();
        let known = alerts::names();
        let known = || known.iter().map(String::as_str);
        for name in self.alerts.keys() {
            let is_alert = |known: &str| known.split('/').next() == Some(name);
            if !known().any(|known| known == name || is_alert(known)) {
                let near = nearest(name, known());
                let hint = near.map(|near| format!("; did you mean `{near}`?"));
                return Err(format!(
                    "rules.alerts: no alert is named {name:?}{}",
                    hint.unwrap_or_default()
                ));
            }
        }
        let setting = |section: AlertSection| AlertSetting {
            hold: section.hold,
            severity: section.severity,
        };
        let alerts = self.alerts.into_iter();
        let rules = RuleSettings {
            exporter_job: self.exporter_job.unwrap_or(default.exporter_job),
            remediator_job: self.remediator_job.unwrap_or(default.remediator_job),
            runbooks: self.runbooks.unwrap_or(default.runbooks),
            dashboards: self.dashboards.unwrap_or(default.dashboards),
            refused_for: self.refused_for.unwrap_or(default.refused_for),
            alerts: alerts.map(|(name, own)| (name, setting(own))).collect(),
            labels: default.labels,
        };
        rules.check().map_err(|error| format!("rules.{error}"))?;
        Ok(rules)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArmedSection {
    #[serde(deserialize_with = "span")]
    pub look_every: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub keep_for: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionsSection {
    #[serde(deserialize_with = "list")]
    pub paths: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub include: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub exclude: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tiers {
    monitor: Option<usize>,
    warning: Option<usize>,
    cleanup: Option<usize>,
    emergency: Option<usize>,
    fatal: Option<usize>,
}

impl Tiers {
    /// These tiers; those that are not named are as in `default`.
    pub fn thresholds(&self, default: Thresholds) -> Thresholds {
        Thresholds {
            monitor: self.monitor.unwrap_or(default.monitor),
            warning: self.warning.unwrap_or(default.warning),
            cleanup: self.cleanup.unwrap_or(default.cleanup),
            emergency: self.emergency.unwrap_or(default.emergency),
            fatal: self.fatal.unwrap_or(default.fatal),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideEntry {
    #[serde(default, deserialize_with = "list")]
    pub hosts: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    pub sessions: Vec<String>,
    pub pre_key_batch: Option<Batch>,
    pub tiers: Option<Tiers>,
    pub creds: Option<CredsKey>,
}

/// `folder` or `elsewhere`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredsKey {
    Folder,
    Elsewhere,
}

impl CredsKey {
    pub const fn place(self) -> CredsPlace {
        match self {
            CredsKey::Folder => CredsPlace::Folder,
            CredsKey::Elsewhere => CredsPlace::Elsewhere,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    #[serde(deserialize_with = "span")]
    pub inactive_for: Option<Duration>,
    pub pre_keys_kept: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Emergency {
    #[serde(deserialize_with = "span")]
    pub pre_key_min_age: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionSection {
    #[serde(deserialize_with = "span")]
    pub quiet: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub timeout: Option<Duration>,
    pub session_pattern: Option<String>,
    #[serde(deserialize_with = "optional_words")]
    pub command: Option<Vec<String>>,
    #[serde(deserialize_with = "list")]
    pub env: Vec<String>,
    pub http: Option<Http>,
    pub sockets: Option<bool>,
    #[serde(deserialize_with = "list")]
    pub trust: Vec<String>,
    #[serde(deserialize_with = "span")]
    pub log_fresh: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    preset: Option<String>,
    base_url: Option<String>,
    instance: Option<String>,
    url: Option<String>,
    pointer: Option<String>,
    #[serde(deserialize_with = "optional_values")]
    connected: Option<Vec<serde_json::Value>>,
    #[serde(deserialize_with = "optional_values")]
    disconnected: Option<Vec<serde_json::Value>>,
    header: Option<HttpHeader>,
    ca_file: Option<PathBuf>,
}

/// The value stands in a file, never here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpHeader {
    name: Option<String>,
    file: String,
}

impl Http {
    /// The probe that was configured.
    ///
    /// Errors: neither a preset nor a URL, a mixture, or one that cannot be used.
    pub fn probe(self, pattern: Option<&Regex>) -> Result<Probe, String> {
        let by_hand = self.url.is_some()
            || self.pointer.is_some()
            || self.connected.is_some()
            || self.disconnected.is_some();
        let probe = match (self.preset, self.base_url) {
            (Some(_), _) if by_hand => {
                return Err("connection.http: a preset knows url, pointer, connected and disconnected itself; give it base_url instead, or leave the preset out".into());
            }
            (Some(_), None) => {
                return Err("connection.http.base_url is missing: where the preset's API listens, e.g. http://localhost:8080".into());
            }
            (Some(preset), Some(base)) => Probe::preset(
                &preset,
                &base,
                self.instance.as_deref().unwrap_or("{session}"),
                pattern,
            ),
            (None, base) if base.is_some() || self.instance.is_some() => {
                return Err("connection.http: base_url and instance belong to a preset (evolution, waha or wppconnect); without one give url".into());
            }
            (None, _) => match (self.url, self.pointer) {
                (Some(url), Some(pointer)) => Probe::http(
                    &url,
                    &pointer,
                    self.connected.unwrap_or_default(),
                    self.disconnected.unwrap_or_default(),
                    pattern,
                ),
                _ => {
                    return Err("connection.http needs either preset and base_url, or url, pointer, connected and disconnected".into());
                }
            },
        };
        let probe = match self.header {
            Some(header) => probe
                .and_then(|probe| probe.with_header(header.name.as_deref(), &header.file, pattern)),
            None => probe,
        };
        let probe = match &self.ca_file {
            Some(file) => probe.and_then(|probe| probe.with_authorities(file)),
            None => probe,
        };
        probe.map_err(|error| error.to_string())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    #[serde(deserialize_with = "list")]
    pub paths: Vec<String>,
    pub from_start: bool,
    pub state_path: Option<PathBuf>,
    pub session_path: Option<String>,
    pub session_line: Option<String>,
    pub session_name: Option<String>,
    pub default_session: Option<String>,
    #[serde(deserialize_with = "list")]
    pub sessions: Vec<String>,
    pub patterns: Vec<LogPattern>,
}

/// The key is `name` and so on; see docs/configuration.md.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPattern {
    name: String,
    regex: String,
    exclude: Option<String>,
    severity: Severity,
    help: String,
}

impl LogPattern {
    pub fn pattern(&self) -> Pattern {
        let own = |text: &Option<String>| text.clone().map(Cow::Owned);
        Pattern {
            name: Cow::Owned(self.name.clone()),
            regex: Cow::Owned(self.regex.clone()),
            exclude: own(&self.exclude),
            severity: self.severity,
            help: Cow::Owned(self.help.clone()),
            printed_by: Cow::Borrowed(""),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    pub token_file: Option<PathBuf>,
    pub r#match: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineSection {
    #[serde(deserialize_with = "span")]
    pub retention: Option<Duration>,
    pub max_bytes: Option<u64>,
}

/// Whether and how long copies of each creds.json are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insurance {
    /// Whether `serve` takes copies and lets old ones go.
    pub enabled: bool,
    /// How many, and how long.
    pub keep: Keep,
}

impl Default for Insurance {
    fn default() -> Self {
        Self {
            enabled: true,
            keep: Keep::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InsuranceSection {
    enabled: Option<bool>,
    keep: Option<usize>,
    #[serde(deserialize_with = "span")]
    r#for: Option<Duration>,
}

impl InsuranceSection {
    /// Errors: a key, and what it should be.
    pub fn build(&self) -> Result<Insurance, String> {
        let mut insurance = Insurance::default();
        insurance.enabled = self.enabled.unwrap_or(insurance.enabled);
        if let Some(keep) = self.keep {
            if !(1..=20).contains(&keep) {
                return Err("insurance.keep: from 1 to 20 copies of one identity".into());
            }
            insurance.keep.per_identity = keep;
        }
        if let Some(span) = self.r#for {
            if span < Duration::from_secs(86_400) {
                return Err(
                    "insurance.for: not less than 1d; to keep no copies set insurance.enabled: false".into(),
                );
            }
            insurance.keep.keep_for = span;
        }
        Ok(insurance)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateSection {
    pub path: Option<PathBuf>,
}

/// `auto`, `30` or `812`.
#[derive(Clone, Copy, Debug)]
pub struct Batch(pub BatchSetting);

/// Parses `auto`, `30` or `812`.
pub fn parse_batch(text: &str) -> Result<BatchSetting, String> {
    match text {
        "auto" => Ok(BatchSetting::Auto),
        _ => match text.parse() {
            Ok(batch @ (CLASSIC_BATCH | MODERN_BATCH)) => Ok(BatchSetting::Fixed(batch)),
            _ => Err(format!(
                "the pre-key batch is 30, 812 or auto, not {text:?}"
            )),
        },
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Batch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("30, 812 or auto")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Batch, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Batch, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Batch, E> {
                // A value of the file is never repeated.
                parse_batch(text)
                    .map(Batch)
                    .map_err(|_| E::custom("the pre-key batch is 30, 812 or auto"))
            }
        }
        deserializer.deserialize_any(Word)
    }
}
