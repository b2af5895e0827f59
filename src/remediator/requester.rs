//! Who asked for a run.

use std::fmt;

use serde::{Serialize, Serializer};

/// Who asked for a run; on record as `alert FINGERPRINT`, `operator USER` or `serve WHY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// An alert, with its fingerprint.
    Alert(String),
    /// A person at the command line.
    Operator(String),
    /// This program itself, and why.
    Serve(String),
}

impl Requester {
    /// Parses what [`fmt::Display`] wrote. Text of any other form counts as an operator's,
    /// because a restart does not begin an operator's run anew.
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
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for requester in [
            Requester::Alert("a b".into()),
            Requester::Operator("ann (uid 1000)".into()),
            Requester::Serve("before the start of bots".into()),
        ] {
            assert_eq!(Requester::parse(&requester.to_string()), requester);
        }
        assert!(!Requester::parse("alerting").is_alert());
        assert!(Requester::parse("alert f").is_alert());
    }
}
