//! Alertmanager's webhook payload, version 4, and the runs that its alerts ask for.
//!
//! No value of the payload is used as a path: a session is a name that discovery found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::folder::json::Object;
use crate::policy::Tier;

use super::store::queue::{Request, Via};
use super::store::runs::Action;

/// Value of the label `ladder` of every alert from this project's rules.
pub const LADDER: &str = "baileys_auth_files";
/// Largest body that is read, in bytes. A group of a thousand alerts has about 2 MB.
pub const MAX_DELIVERY_BYTES: usize = 4 << 20;

/// The payload. Unknown fields are ignored, because newer versions add some.
#[derive(Clone, Debug, Deserialize)]
pub struct Payload {
    version: String,
    #[serde(default)]
    receiver: String,
    #[serde(default, rename = "groupKey")]
    group_key: String,
    /// The alerts of the group.
    #[serde(deserialize_with = "objects")]
    pub alerts: Vec<Alert>,
    /// How many alerts Alertmanager truncated from the request.
    #[serde(default, rename = "truncatedAlerts")]
    pub truncated: u64,
}

fn objects<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Alert>, D::Error> {
    let alerts = Vec::<Object<Alert>>::deserialize(deserializer)?;
    Ok(alerts.into_iter().map(|alert| alert.0).collect())
}

impl Payload {
    /// Identifies this delivery in the record.
    pub fn via(&self) -> Via {
        Via {
            receiver: short(&self.receiver),
            group_key: cut(&self.group_key, 256),
        }
    }
}

/// One alert.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    status: String,
    labels: BTreeMap<String, String>,
    #[serde(default, rename = "startsAt")]
    starts_at: String,
    #[serde(default)]
    fingerprint: String,
}

impl Alert {
    /// Identifies it among all alerts of one Alertmanager.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// The action that an alert of this tier asks for, if any.
pub const fn action_of(tier: Tier) -> Option<Action> {
    match tier {
        Tier::Warning => Some(Action::Plan),
        Tier::Cleanup => Some(Action::Cleanup),
        Tier::Emergency => Some(Action::Emergency),
        Tier::Monitor | Tier::Fatal => None,
    }
}

/// Why a body is not a payload. Contains no part of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPayload {
    /// Not JSON, or not the shape of the payload; line and column.
    Shape(usize, usize),
    /// A version other than 4.
    Version,
}

impl fmt::Display for BadPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPayload::Shape(line, column) => {
                write!(
                    f,
                    "the body is not Alertmanager's webhook JSON (line {line}, column {column})"
                )
            }
            BadPayload::Version => {
                f.write_str("only version 4 of Alertmanager's webhook payload is supported")
            }
        }
    }
}

/// Parses a body.
pub fn parse(body: &[u8]) -> Result<Payload, BadPayload> {
    let Object::<Payload>(payload) = serde_json::from_slice(body)
        .map_err(|error| BadPayload::Shape(error.line(), error.column()))?;
    if payload.version == "4" {
        Ok(payload)
    } else {
        Err(BadPayload::Version)
    }
}

/// Why an alert asks for no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It has resolved. That never interrupts a run: a successful clean-up resolves its alert.
    Resolved,
    /// It is from other rules (label `ladder`).
    OtherLadder,
    /// It lacks a label that the configuration requires: it is for another host.
    OtherTarget,
    /// Its tier asks for no run.
    NoAction,
    /// It names no session.
    NoSession,
}

impl Ignored {
    /// Value of the label `outcome`.
    pub const fn label(self) -> &'static str {
        match self {
            Ignored::Resolved => "resolved",
            Ignored::OtherLadder => "other_ladder",
            Ignored::OtherTarget => "other_target",
            Ignored::NoAction => "no_action",
            Ignored::NoSession => "no_session",
        }
    }

    /// Every value of the label.
    pub const LABELS: [&'static str; 5] = [
        "resolved",
        "other_ladder",
        "other_target",
        "no_action",
        "no_session",
    ];
}

/// The run that a firing alert asks for. Pure.
pub fn request(alert: &Alert, demanded: &BTreeMap<String, String>) -> Result<Request, Ignored> {
    match alert.status == "firing" {
        true => about(alert, demanded),
        false => Err(Ignored::Resolved),
    }
}

/// The run that a resolved alert asked for, so that it can be disarmed. Pure.
pub fn resolved(alert: &Alert, demanded: &BTreeMap<String, String>) -> Option<Request> {
    (alert.status == "resolved")
        .then(|| about(alert, demanded).ok())
        .flatten()
}

fn about(alert: &Alert, demanded: &BTreeMap<String, String>) -> Result<Request, Ignored> {
    request_of(
        &alert.labels,
        &alert.starts_at,
        &alert.fingerprint,
        demanded,
    )
}

/// What an alert with these labels asks for, if it fires. Pure.
pub fn request_of(
    labels: &BTreeMap<String, String>,
    starts_at: &str,
    fingerprint: &str,
    demanded: &BTreeMap<String, String>,
) -> Result<Request, Ignored> {
    let label = |name: &str| labels.get(name).map(String::as_str);
    if label("ladder") != Some(LADDER) {
        return Err(Ignored::OtherLadder);
    }
    if demanded
        .iter()
        .any(|(name, value)| label(name) != Some(value))
    {
        return Err(Ignored::OtherTarget);
    }
    let tier = label("tier")
        .and_then(Tier::from_label)
        .ok_or(Ignored::NoAction)?;
    let action = action_of(tier).ok_or(Ignored::NoAction)?;
    let session = label("session")
        .filter(|name| !name.is_empty())
        .ok_or(Ignored::NoSession)?;
    Ok(Request {
        session: session.to_owned(),
        action,
        tier: tier.label().to_owned(),
        fingerprint: short(fingerprint),
        starts_at: start_of(starts_at),
        via: Via::default(),
    })
}

/// An alert's start in UTC with milliseconds: the webhook sends nanoseconds and any offset,
/// `GET /api/v2/alerts` of the same Alertmanager milliseconds. Other text is kept as it is.
fn start_of(text: &str) -> String {
    let at = text.parse::<jiff::Timestamp>().ok();
    let at = at.and_then(|at| jiff::Timestamp::from_millisecond(at.as_millisecond()).ok());
    at.map_or_else(|| short(text), |at| format!("{at:.3}"))
}

/// The part of an identifying text that is kept.
fn short(text: &str) -> String {
    cut(text, 64)
}

fn cut(text: &str, at: usize) -> String {
    text.chars()
        .filter(char::is_ascii_graphic)
        .take(at)
        .collect()
}

#[cfg(test)]
mod tests;
