//! The tiers on accumulated files.

use std::fmt;
use std::time::Duration;

/// A tier an auth folder can be in. Below [`Tier::Monitor`] is normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Worth watching.
    Monitor,
    /// A person should know.
    Warning,
    /// Clean up while the bot is disconnected.
    Cleanup,
    /// Stop the bot, clean up, start it again.
    Emergency,
    /// Past recovery by cleaning: a person decides.
    Fatal,
}

impl Tier {
    /// Every tier, lowest first.
    pub const ALL: [Tier; 5] = [
        Tier::Monitor,
        Tier::Warning,
        Tier::Cleanup,
        Tier::Emergency,
        Tier::Fatal,
    ];

    /// Value of the label `tier`.
    pub const fn label(self) -> &'static str {
        match self {
            Tier::Monitor => "monitor",
            Tier::Warning => "warning",
            Tier::Cleanup => "cleanup",
            Tier::Emergency => "emergency",
            Tier::Fatal => "fatal",
        }
    }

    /// How long a folder holds the tier without a break before its alert fires: `for` of the
    /// alerting rules.
    pub const fn hold(self) -> Duration {
        match self {
            Tier::Monitor | Tier::Warning | Tier::Cleanup | Tier::Emergency => {
                Duration::from_secs(2 * 60)
            }
            // In this time the emergency's run has ended, if it could help.
            Tier::Fatal => Duration::from_secs(15 * 60),
        }
    }

    /// The tier whose label is `label`.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.label() == label)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// From how many accumulated files on each tier begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// [`Tier::Monitor`].
    pub monitor: usize,
    /// [`Tier::Warning`].
    pub warning: usize,
    /// [`Tier::Cleanup`].
    pub cleanup: usize,
    /// [`Tier::Emergency`].
    pub emergency: usize,
    /// [`Tier::Fatal`].
    pub fatal: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            monitor: 100,
            warning: 120,
            cleanup: 150,
            emergency: 180,
            fatal: 200,
        }
    }
}

impl Thresholds {
    /// Where `tier` begins.
    pub const fn of(&self, tier: Tier) -> usize {
        match tier {
            Tier::Monitor => self.monitor,
            Tier::Warning => self.warning,
            Tier::Cleanup => self.cleanup,
            Tier::Emergency => self.emergency,
            Tier::Fatal => self.fatal,
        }
    }

    /// The highest tier that `accumulated` has reached; `None` is normal.
    pub fn tier(&self, accumulated: usize) -> Option<Tier> {
        Tier::ALL
            .into_iter()
            .rev()
            .find(|tier| accumulated >= self.of(*tier))
    }

    /// Whether each tier begins above the one before.
    pub fn is_ascending(&self) -> bool {
        Tier::ALL
            .map(|tier| self.of(tier))
            .is_sorted_by(|a, b| a < b)
            && self.monitor > 0
    }
}

#[cfg(test)]
mod tests;
