//! A pattern as it is configured.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a sign matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Wake somebody.
    Critical,
    /// Look at it by day.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One sign, as configured. Expressions are matched without regard to case, on bytes. Those of
/// the configuration see one line at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// The value of the label `pattern`.
    pub name: Cow<'static, str>,
    /// What a line must hold.
    pub regex: Cow<'static, str>,
    /// What it must not hold.
    pub exclude: Option<Cow<'static, str>>,
    /// How much it matters.
    pub severity: Severity,
    /// What it means, for a person.
    pub help: Cow<'static, str>,
    /// Which versions of Baileys print it; empty for one of the configuration.
    pub printed_by: Cow<'static, str>,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Its place in the list given to `Patterns::new`.
    pub index: usize,
    /// What is wrong, and what to do.
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
