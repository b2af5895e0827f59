//! Whose creds.json it is, and its two pre-key counters: identified by a fingerprint, raised
//! without a change to any other byte.

use std::fmt;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::creds::{CredsFacts, Unparsable, parse_creds};

/// Pre-key ids are sent in three bytes; a larger number is not a pre-key.
pub const MAX_PRE_KEY_ID: u32 = 0x00FF_FFFF;

/// Fingerprint of an identity key's public half: a hash, from which no key can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(u64);

impl Identity {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }

    /// From any number, for tests of what is decided about identities.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Sixteen lower-case hex digits.
pub fn parse_hex(text: &str) -> Option<u64> {
    let fits = text.len() == 16
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    fits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// A creds.json that is worth keeping a copy of: it parses, is logged in and says whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insurable {
    /// Fingerprint of the identity key.
    pub identity: Identity,
    /// Chosen at random with the identity.
    pub registration_id: Option<u64>,
    /// The id the next minted pre-key gets.
    pub next_pre_key_id: u32,
    /// The facts every reader takes.
    pub facts: CredsFacts,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "signedIdentityKey", borrow)]
    identity: Option<RawPair<'a>>,
    #[serde(rename = "registrationId")]
    registration: Option<u64>,
}

#[derive(Deserialize)]
struct RawPair<'a> {
    #[serde(borrow)]
    public: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawBuffer {
    data: String,
}

impl Raw<'_> {
    fn identity(&self) -> Option<Identity> {
        let public = self.identity.as_ref()?.public?.get();
        // The key itself where it has the form that Baileys writes, so that spaces do not count.
        Some(Identity(match serde_json::from_str::<RawBuffer>(public) {
            Ok(buffer) => xxh3_64(buffer.data.trim_end_matches('=').as_bytes()),
            Err(_) => xxh3_64(public.as_bytes()),
        }))
    }
}

/// The identity of a whole creds.json, which need not be logged in: the key is made before.
pub fn identity_of(bytes: &[u8]) -> Option<Identity> {
    serde_json::from_slice::<Raw<'_>>(bytes).ok()?.identity()
}

/// What makes these bytes worth keeping; `None` where they are not.
pub fn insurable(bytes: &[u8]) -> Option<Insurable> {
    let facts = parse_creds(bytes).ok().filter(|facts| facts.logged_in)?;
    let raw: Raw<'_> = serde_json::from_slice(bytes).ok()?;
    Some(Insurable {
        identity: raw.identity()?,
        registration_id: raw.registration,
        next_pre_key_id: facts.next_pre_key_id?,
        facts,
    })
}

const COUNTERS: [&str; 2] = ["nextPreKeyId", "firstUnuploadedPreKeyId"];

/// The highest pre-key counter that these bytes mention, whole creds.json or the torn rest
/// of one. (A number that was cut off is smaller than it was, which does no harm here.)
pub fn highest_counter(bytes: &[u8]) -> Option<u32> {
    // It is a literal, and a test runs it: never `None`.
    static MENTION: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#""(?:nextPreKeyId|firstUnuploadedPreKeyId)"\s*:\s*([0-9]+)"#).ok()
    });
    let numbers = MENTION.as_ref()?.captures_iter(bytes).filter_map(|found| {
        let digits = std::str::from_utf8(found.get(1)?.as_bytes()).ok()?;
        digits
            .parse::<u32>()
            .ok()
            .filter(|number| *number <= MAX_PRE_KEY_ID + 1)
    });
    numbers.max()
}

/// Both counters raised to the same number: the largest of `at_least` and what the file says
/// of either. Every other byte stays as it is, unknown fields, number formats, order and
/// spaces included. Returns the new bytes and the number.
///
/// Both, because ids between the two were minted and perhaps not uploaded, and their files
/// may be gone: an upload would ask for them.
pub fn raise_counters(bytes: &[u8], at_least: u32) -> Result<(Vec<u8>, u32), Unparsable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unparsable)?;
    let Fields(fields) = serde_json::from_str(text).map_err(|_| Unparsable)?;
    let mut raised = at_least;
    for (name, value) in &fields {
        if COUNTERS.contains(&name.as_str()) {
            raised = raised.max(value.get().parse().map_err(|_| Unparsable)?);
        }
    }
    let number = raised.to_string();
    let mut out = String::with_capacity(text.len() + 64);
    let mut from = 0;
    for (_, value) in fields
        .iter()
        .filter(|(name, _)| COUNTERS.contains(&name.as_str()))
    {
        // A raw value is a part of the text it was read from.
        let at = (value.get().as_ptr() as usize)
            .checked_sub(text.as_ptr() as usize)
            .ok_or(Unparsable)?;
        out.push_str(text.get(from..at).ok_or(Unparsable)?);
        out.push_str(&number);
        from = at + value.get().len();
    }
    let rest = text.get(from..).ok_or(Unparsable)?;
    let end = rest.rfind('}').ok_or(Unparsable)?;
    out.push_str(&rest[..end]);
    let mut comma = if fields.is_empty() { "" } else { "," };
    for counter in COUNTERS {
        if fields.iter().all(|(name, _)| name != counter) {
            out.push_str(&format!("{comma}\"{counter}\":{number}"));
            comma = ",";
        }
    }
    out.push_str(&rest[end..]);
    Ok((out.into_bytes(), raised))
}

/// The top level of a JSON object, in its order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    fields.push((name, map.next_value::<&'de RawValue>()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Top)
    }
}

#[cfg(test)]
mod tests;
