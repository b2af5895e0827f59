//! Who or what asked for a run.

use std::fmt;

use serde::{Serialize, Serializer};

/// Who or what asked for a run; recorded as `alert FINGERPRINT`, `operator USER` or
/// `serve WHY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// An alert, with its fingerprint.
    Alert(String),
    /// An operator at the command line, with the user name.
    Operator(String),
    /// This program itself, with the reason.
    Serve(String),
}

impl Requester {
    /// Parses what [`fmt::Display`] wrote. Text of any other form counts as an operator's,
    /// because the program never repeats an operator's run after its own restart.
    pub fn parse(text: &str) -> Self {
        match text.split_once(' ') {
            Some(("alert", fingerprint)) => Self::Alert(fingerprint.to_owned()),
            Some(("serve", why)) => Self::Serve(why.to_owned()),
            Some(("operator", user)) => Self::Operator(user.to_owned()),
            _ => Self::Operator(text.to_owned()),
        }
    }

    /// Whether an alert asked.
    pub const fn is_alert(&self) -> bool {
        matches!(self, Requester::Alert(_))
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requester::Alert(fingerprint) => write!(f, "alert {fingerprint}"),
            Requester::Operator(user) => write!(f, "operator {user}"),
            Requester::Serve(why) => write!(f, "serve {why}"),
        }
    }
}

impl Serialize for Requester {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
