//! What asks `serve` for clean-ups.

use clap::ValueEnum;
use serde::Deserialize;

/// Where `serve` gets to know that a folder has reached a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TriggerSource {
    /// From the alerts of Prometheus, which Alertmanager posts, or from which it is polled.
    #[default]
    Alerts,
    /// From the folders themselves, by the same tiers and hold times.
    Local,
}
