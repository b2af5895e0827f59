//! The configuration of a pattern.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The severity of a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Page a person.
    Critical,
    /// Look at it during the day.
    Warning,
    /// For information.
    Info,
}

impl Severity {
    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One sign, as configured. Expressions ignore case and match bytes. Those of the configuration see
/// one line at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// The value of the label `pattern`.
    pub name: Cow<'static, str>,
    /// An expression that a line must match.
    pub regex: Cow<'static, str>,
    /// An expression that a line must not match.
    pub exclude: Option<Cow<'static, str>>,
    /// The severity.
    pub severity: Severity,
    /// The meaning, for the operator.
    pub help: Cow<'static, str>,
    /// The versions of Baileys that print it; empty for a pattern of the configuration.
    pub printed_by: Cow<'static, str>,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Its index in the list given to `Patterns::new`.
    pub index: usize,
    /// What is wrong, and the fix.
    pub message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

pub(super) fn build<S, T>(
    build: impl FnOnce(S) -> Result<T, regex::Error>,
    source: S,
) -> Result<T, PatternError> {
    build(source).map_err(|error| PatternError {
        index: 0,
        message: format!("the patterns together cannot be compiled: {error}"),
    })
}
