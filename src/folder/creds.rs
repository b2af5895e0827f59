//! Facts from creds.json and session files. Key material is never kept: the parsers
//! below skip over it, and no error carries a byte of the file.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::json::Object;
use super::time::Timestamp;

/// What creds.json says. `Debug` shows no number of the account.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CredsFacts {
    /// User part of the bot's own phone-number JID, digits only.
    pub own_number: Option<String>,
    /// User part of the bot's own LID, digits only.
    pub own_lid: Option<String>,
    /// `me.id` and `account` are both there. (`registered` says nothing: bots paired by
    /// QR code keep it `false`.)
    pub logged_in: bool,
    /// The id the next minted pre-key gets.
    pub next_pre_key_id: Option<u32>,
    /// Its login, if it is logged in.
    pub login: Option<LoginId>,
}

/// Tells logins apart: a hash of the account's address with its device, and of the public
/// identity key. Two folders with one login are copies of each other. It is compared in memory,
/// and never shown or stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginId(u64);

impl LoginId {
    /// From any number, for tests.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The login of these bytes; `None` where they do not say whose they are.
    fn of(bytes: &[u8]) -> Option<Self> {
        let raw: RawLogin<'_> = serde_json::from_slice(bytes).ok()?;
        let login = [raw.me.id.as_bytes(), raw.identity.public.get().as_bytes()];
        Some(Self(xxh3_64(&login.join(&b'\n'))))
    }
}

impl fmt::Debug for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginId(…)")
    }
}

#[derive(Deserialize)]
struct RawLogin<'a> {
    me: RawAddress,
    #[serde(rename = "signedIdentityKey", borrow)]
    identity: RawIdentityKey<'a>,
}

#[derive(Deserialize)]
struct RawAddress {
    id: String,
}

#[derive(Deserialize)]
struct RawIdentityKey<'a> {
    #[serde(borrow)]
    public: &'a RawValue,
}

impl fmt::Debug for CredsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredsFacts")
            .field("own_number", &self.own_number.as_ref().map(|_| "…"))
            .field("own_lid", &self.own_lid.as_ref().map(|_| "…"))
            .field("logged_in", &self.logged_in)
            .field("next_pre_key_id", &self.next_pre_key_id)
            .field("login", &self.login)
            .finish()
    }
}

/// State of creds.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creds {
    /// It parses and is Baileys'.
    Valid(CredsFacts),
    /// There is no creds.json.
    Missing,
    /// It is there and says nothing usable. Baileys would start a new identity.
    Broken(BrokenCreds),
    /// It could not be read (permission, link, i/o error); the text is the reason.
    Unreadable(String),
}

/// Why creds.json is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenCreds {
    /// No byte in it: a write was cut off at its start.
    Empty,
    /// JSON that ends too early: a write was cut off.
    CutOff,
    /// Not JSON, or not a JSON object with Baileys' fields.
    NotCreds,
}

impl BrokenCreds {
    /// A short word for tables.
    pub const fn word(self) -> &'static str {
        match self {
            BrokenCreds::Empty => "empty",
            BrokenCreds::CutOff => "cut off",
            BrokenCreds::NotCreds => "not valid",
        }
    }
}

impl Creds {
    /// The facts, where creds.json is valid.
    pub fn facts(&self) -> Option<&CredsFacts> {
        match self {
            Creds::Valid(facts) => Some(facts),
            _ => None,
        }
    }

    /// Whether it is whole and not logged in: the bot waits until a person pairs it.
    pub fn awaits_login(&self) -> bool {
        self.facts().is_some_and(|facts| !facts.logged_in)
    }

    /// Whether a folder with this creds.json is an auth folder, whatever else it contains. A
    /// creds.json of another program does not make it one.
    pub const fn makes_an_auth_folder(&self) -> bool {
        match self {
            Creds::Valid(_) | Creds::Unreadable(_) => true,
            Creds::Broken(BrokenCreds::Empty | BrokenCreds::CutOff) => true,
            Creds::Broken(BrokenCreds::NotCreds) | Creds::Missing => false,
        }
    }

    /// A word or two for tables: `valid`, `missing`, `empty`, …
    pub fn word(&self) -> &'static str {
        match self {
            Creds::Valid(facts) if facts.logged_in => "ok",
            Creds::Valid(_) => "not logged in",
            Creds::Missing => "missing",
            Creds::Broken(why) => why.word(),
            Creds::Unreadable(_) => "unreadable",
        }
    }
}

#[derive(Deserialize)]
struct RawCreds {
    me: Option<Object<RawMe>>,
    account: Option<IgnoredAny>,
    #[serde(rename = "nextPreKeyId")]
    next_pre_key_id: Option<u32>,
    #[serde(rename = "noiseKey")]
    noise_key: Option<IgnoredAny>,
    #[serde(rename = "signedIdentityKey")]
    identity: Option<IgnoredAny>,
    #[serde(rename = "registrationId")]
    registration: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawMe {
    id: Option<String>,
    lid: Option<String>,
}

/// Reads the facts out of the bytes of a creds.json.
pub fn parse_creds(bytes: &[u8]) -> Result<CredsFacts, BrokenCreds> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(BrokenCreds::Empty);
    }
    // serde_json's own message may quote the value it stumbled on, so it goes no further.
    let Object::<RawCreds>(raw) = serde_json::from_slice(bytes).map_err(|error| {
        if error.is_eof() {
            BrokenCreds::CutOff
        } else {
            BrokenCreds::NotCreds
        }
    })?;
    let is_baileys = raw.noise_key.is_some()
        || raw.identity.is_some()
        || raw.registration.is_some()
        || raw.next_pre_key_id.is_some()
        || raw.me.is_some();
    if !is_baileys {
        return Err(BrokenCreds::NotCreds);
    }
    let me = raw.me.map_or(
        RawMe {
            id: None,
            lid: None,
        },
        |me| me.0,
    );
    let logged_in = me.id.as_ref().is_some_and(|id| !id.is_empty()) && raw.account.is_some();
    Ok(CredsFacts {
        logged_in,
        login: logged_in.then(|| LoginId::of(bytes)).flatten(),
        own_number: me.id.as_deref().and_then(jid_user),
        own_lid: me.lid.as_deref().and_then(jid_user),
        next_pre_key_id: raw.next_pre_key_id,
    })
}

/// `79001234567:12@s.whatsapp.net` -> `79001234567`; `None` where that is not a number.
fn jid_user(jid: &str) -> Option<String> {
    let user = jid.split(['@', ':', '_']).next()?;
    (!user.is_empty() && user.bytes().all(|b| b.is_ascii_digit())).then(|| user.to_owned())
}

/// When a session file was used, by the records in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// The earliest `used` or `created`.
    pub first: Timestamp,
    /// The latest `used` or `created`.
    pub last: Timestamp,
}

#[derive(Deserialize)]
struct RawSessionFile {
    #[serde(rename = "_sessions")]
    sessions: std::collections::BTreeMap<String, Object<RawSession>>,
}

#[derive(Deserialize)]
struct RawSession {
    #[serde(rename = "indexInfo")]
    index: Object<RawIndex>,
}

#[derive(Deserialize)]
struct RawIndex {
    used: f64,
    created: f64,
}

/// The earliest and the latest of all `used` and `created` times in a session file;
/// `Ok(None)` where it holds no session. An error means it cannot be understood, and it must then be kept.
pub fn parse_session(bytes: &[u8]) -> Result<Option<SessionTimes>, Unparsable> {
    let Object::<RawSessionFile>(raw) = serde_json::from_slice(bytes).map_err(|_| Unparsable)?;
    let times = || {
        let index = raw.sessions.values().map(|session| &session.0.index.0);
        index
            .flat_map(|index| [index.used, index.created])
            .map(Timestamp::from_millis)
    };
    Ok(times()
        .min()
        .zip(times().max())
        .map(|(first, last)| SessionTimes { first, last }))
}

/// A session file that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsable;

#[cfg(test)]
mod tests;
