//! The names of directories in a quarantine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::folder::Timestamp;

/// The directory in a quarantine that holds the files of one clean-up: its start time (UTC) and
/// six random hex digits, `20261123T201510Z-4f2a91`. A clean-up and its undo have the same name,
/// but different numbers in the journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuarantineName(String);

impl QuarantineName {
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

impl TryFrom<String> for QuarantineName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "not the name of a run".to_owned())
    }
}

impl From<QuarantineName> for String {
    fn from(name: QuarantineName) -> Self {
        name.0
    }
}

impl fmt::Display for QuarantineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
