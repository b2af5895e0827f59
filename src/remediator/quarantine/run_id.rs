//! The name of a run in a quarantine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::folder::Timestamp;

/// Name of one run: its start time and six random hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// A new name.
    pub fn new(now: Timestamp) -> Self {
        let stamp: String = now
            .rfc3339()
            .chars()
            .filter(|c| !matches!(c, '-' | ':'))
            .collect();
        let stamp = if stamp.len() == 16 {
            stamp
        } else {
            "19700101T000000Z".to_owned()
        };
        let mut random = [0u8; 3];
        // The name only has to be unique, and mkdir refuses a name that is taken.
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        Self(format!(
            "{stamp}-{:02x}{:02x}{:02x}",
            random[0], random[1], random[2]
        ))
    }

    /// Parses a name; `None` for any other shape, so that a name never contains a path.
    pub fn parse(text: &str) -> Option<Self> {
        let shape = b"00000000T000000Z-xxxxxx";
        let fits = text.len() == shape.len()
            && text.bytes().zip(shape).all(|(b, s)| match s {
                b'0' => b.is_ascii_digit(),
                b'x' => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
                other => b == *other,
            });
        fits.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "not a run id".to_owned())
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
