//! What an alert asks for.

use super::run_record::Action;

/// An alert that asks for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The session.
    pub session: String,
    /// What to do.
    pub action: Action,
    /// The alert's tier.
    pub tier: String,
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// The alert's start, as it was given.
    pub starts_at: String,
    /// How it came.
    pub via: Via,
}

/// Which delivery brought an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// Alertmanager's receiver.
    pub receiver: String,
    /// The group of alerts.
    pub group_key: String,
}
