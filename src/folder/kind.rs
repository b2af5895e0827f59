//! What a file in an auth folder is, by its name alone.
//!
//! Source of the names: Baileys' `useMultiFileAuthState`, which writes
//! `<type>-<id>.json` with `/` as `__` and `:` as `-` in the id. That escaping loses
//! information, so an id is never turned back into a JID.

/// The kind of a key file. The list is closed: a name that is none of the others is
/// [`Kind::Unknown`], and unknown files are never touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `creds.json`: the identity. Losing it means a new QR scan.
    Creds,
    /// One-time pre-key, `pre-key-100.json`.
    PreKey,
    /// A Signal session with one device, `session-79100000000.0.json`.
    Session,
    /// A group member's sender key, `sender-key-<group>--<user>--<device>.json`.
    SenderKey,
    /// Who already holds the bot's sender key of a group.
    SenderKeyMemory,
    /// Key of the app state (contacts, chats, settings).
    AppStateSyncKey,
    /// Version of one app state collection.
    AppStateSyncVersion,
    /// Phone number to LID and back (7.x).
    LidMapping,
    /// The devices of a user (7.x).
    DeviceList,
    /// Trusted-contact token (7.x), and the salt that some forks make one from.
    TcToken,
    /// A contact's identity key (7.x).
    IdentityKey,
    /// Anything else.
    Unknown,
}

impl Kind {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Kind; 12] = [
        Kind::Creds,
        Kind::PreKey,
        Kind::Session,
        Kind::SenderKey,
        Kind::SenderKeyMemory,
        Kind::AppStateSyncKey,
        Kind::AppStateSyncVersion,
        Kind::LidMapping,
        Kind::DeviceList,
        Kind::TcToken,
        Kind::IdentityKey,
        Kind::Unknown,
    ];

    /// The name in metrics, plans and tables; also the file name's prefix where it has one. For
    /// the prefixes of forks see [`PREFIXES`].
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Creds => "creds",
            Kind::PreKey => "pre-key",
            Kind::Session => "session",
            Kind::SenderKey => "sender-key",
            Kind::SenderKeyMemory => "sender-key-memory",
            Kind::AppStateSyncKey => "app-state-sync-key",
            Kind::AppStateSyncVersion => "app-state-sync-version",
            Kind::LidMapping => "lid-mapping",
            Kind::DeviceList => "device-list",
            Kind::TcToken => "tctoken",
            Kind::IdentityKey => "identity-key",
            Kind::Unknown => "unknown",
        }
    }

    /// The kind whose label is `label`.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }

    /// Kinds that only Baileys 7.x writes.
    pub const fn is_modern_only(self) -> bool {
        matches!(
            self,
            Kind::LidMapping | Kind::DeviceList | Kind::TcToken | Kind::IdentityKey
        )
    }
}

/// What stands before `-` and the id, longest first: `sender-key-memory-` starts with
/// `sender-key-`. Those of one kind begin with different letters.
///
/// Forks of Baileys 6 write `contacts-tc-token` (libzapitu, and the code in issue 2441 of
/// WhiskeySockets/Baileys) and `nct-salt` (erickythierry/WSocket).
pub const PREFIXES: [(&str, Kind); 12] = [
    (Kind::AppStateSyncVersion.label(), Kind::AppStateSyncVersion),
    (Kind::AppStateSyncKey.label(), Kind::AppStateSyncKey),
    (Kind::SenderKeyMemory.label(), Kind::SenderKeyMemory),
    ("contacts-tc-token", Kind::TcToken),
    (Kind::IdentityKey.label(), Kind::IdentityKey),
    (Kind::LidMapping.label(), Kind::LidMapping),
    (Kind::DeviceList.label(), Kind::DeviceList),
    (Kind::SenderKey.label(), Kind::SenderKey),
    ("nct-salt", Kind::TcToken),
    (Kind::PreKey.label(), Kind::PreKey),
    (Kind::Session.label(), Kind::Session),
    (Kind::TcToken.label(), Kind::TcToken),
];

/// A file name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameParts<'a> {
    /// What the file is.
    pub kind: Kind,
    /// The main file's name: `creds.json` for `creds.json.bak`.
    pub main: &'a [u8],
    /// The id between prefix and `.json`; empty for `creds.json` and unknown names.
    pub id: &'a [u8],
    /// Whether this is a `.tmp` or `.bak` beside the main file.
    pub companion: bool,
}

/// The parts of a name as positions in it. The main file's name and the id begin where the
/// name and its prefix do.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartRanges {
    pub(super) kind: Kind,
    companion: bool,
    main: u32,
    id: (u32, u32),
}

impl NameParts<'_> {
    /// How long the prefix is, with the `-` behind it; 0 for a name without one.
    pub(super) fn prefix_len(&self) -> usize {
        match self.kind {
            Kind::Creds | Kind::Unknown => 0,
            _ => self
                .main
                .len()
                .saturating_sub(self.id.len() + b".json".len()),
        }
    }

    /// Whether this is a message store: chats and contacts, and no key. Baileys'
    /// `makeInMemoryStore` writes it under a name of the bot's choice, often every 10 seconds. So
    /// a write to it shows that a process runs, and not that it is connected.
    pub fn is_message_store(&self) -> bool {
        let Some(stem) = self.main.strip_suffix(b".json") else {
            return false;
        };
        self.kind == Kind::Unknown
            && (stem.starts_with(b"baileys_store") || stem == b"store" || stem.ends_with(b"_store"))
    }

    /// Whether only Baileys 7.x writes this name. What forks call otherwise is theirs, and forks
    /// of Baileys 6 do.
    pub fn is_of_modern(&self) -> bool {
        self.kind.is_modern_only() && self.main.starts_with(self.kind.label().as_bytes())
    }

    /// As positions in the name that was taken apart.
    pub(super) fn ranges(&self) -> PartRanges {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let main = length(self.main);
        // An id ends where `.json` begins.
        let end = match self.id {
            [] => 0,
            _ => main.saturating_sub(length(b".json")),
        };
        PartRanges {
            kind: self.kind,
            companion: self.companion,
            main,
            id: (end.saturating_sub(length(self.id)), end),
        }
    }
}

impl PartRanges {
    /// The parts of the same name.
    pub(super) fn of<'a>(&self, name: &'a [u8]) -> NameParts<'a> {
        let slice = |from: u32, to: u32| name.get(from as usize..to as usize).unwrap_or_default();
        NameParts {
            kind: self.kind,
            main: slice(0, self.main),
            id: slice(self.id.0, self.id.1),
            companion: self.companion,
        }
    }
}

/// Takes a file name apart. Any bytes are accepted.
pub fn parse_name(name: &[u8]) -> NameParts<'_> {
    let stripped = [&b".tmp"[..], b".bak"]
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix));
    let (main, companion) = match stripped {
        Some(main) => (main, true),
        None => (name, false),
    };
    if main == b"creds.json" {
        return NameParts {
            kind: Kind::Creds,
            main,
            id: b"",
            companion,
        };
    }
    if let Some(stem) = main.strip_suffix(b".json") {
        let may_be = |(prefix, _): &(&str, Kind)| prefix.as_bytes().first() == stem.first();
        for (prefix, kind) in PREFIXES.into_iter().filter(may_be) {
            let id = stem
                .strip_prefix(prefix.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"-"));
            if let Some(id) = id {
                return NameParts {
                    kind,
                    main,
                    id,
                    companion,
                };
            }
        }
    }
    // A companion of a file we do not know is a file of its own.
    NameParts {
        kind: Kind::Unknown,
        main: name,
        id: b"",
        companion: false,
    }
}

/// The number of a pre-key id. Only the form the library writes: no sign, no leading
/// zero, at most 32 bits. `None` for anything else, and such a file is never moved.
pub fn pre_key_id(id: &[u8]) -> Option<u32> {
    let digits = match id {
        [] | [b'0', _, ..] => return None,
        digits => digits,
    };
    digits.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The parts of a sender key's id, `<group>--<user>[_<domain>]--<device>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderKeyId<'a> {
    /// Group, as it stands in the file name; equals the id of its sender-key-memory.
    pub group: &'a [u8],
    /// User part without the domain suffix.
    pub user: &'a [u8],
    /// Whether the user carries a domain suffix (`_1`: a LID).
    pub lid: bool,
}

/// Takes a sender key's id apart; `None` where it does not have the known shape.
pub fn sender_key_id(id: &[u8]) -> Option<SenderKeyId<'_>> {
    let (rest, device) = rsplit_twice_dash(id)?;
    let (group, user) = rsplit_twice_dash(rest)?;
    let (user, domain) = split_domain(user);
    let fits =
        !group.is_empty() && is_digits(user) && is_digits(device) && domain.is_none_or(is_digits);
    fits.then_some(SenderKeyId {
        group,
        user,
        lid: domain.is_some(),
    })
}

/// Whether a session or sender-key id names a LID or hosted address (`user_1`, `user_128`):
/// only 7.x writes those.
pub fn has_lid_name(kind: Kind, id: &[u8]) -> bool {
    match kind {
        Kind::Session => {
            let user = id
                .iter()
                .rposition(|b| *b == b'.')
                .map_or(id, |dot| &id[..dot]);
            let (user, domain) = split_domain(user);
            is_digits(user) && domain.is_some_and(is_digits)
        }
        Kind::SenderKey => sender_key_id(id).is_some_and(|key| key.lid),
        _ => false,
    }
}

/// Whether a name is so plainly Baileys' own that a folder holding it is an auth folder
/// even when its creds.json is gone.
pub fn is_telltale(name: &[u8]) -> bool {
    is_telltale_name(parse_name(name))
}

/// [`is_telltale`] for a name that was taken apart.
pub(super) fn is_telltale_name(parts: NameParts<'_>) -> bool {
    match parts.kind {
        Kind::PreKey => pre_key_id(parts.id).is_some(),
        Kind::Session => {
            let mut halves = parts.id.rsplitn(2, |b| *b == b'.');
            let (device, user) = (halves.next(), halves.next());
            device.is_some_and(is_digits)
                && user.is_some_and(|user| {
                    let (user, domain) = split_domain(user);
                    is_digits(user) && domain.is_none_or(is_digits)
                })
        }
        Kind::SenderKey => sender_key_id(parts.id).is_some(),
        Kind::AppStateSyncVersion => matches!(
            parts.id,
            b"critical_block"
                | b"critical_unblock_low"
                | b"regular_high"
                | b"regular_low"
                | b"regular"
        ),
        _ => false,
    }
}

fn rsplit_twice_dash(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(2).rposition(|pair| pair == b"--")?;
    Some((&bytes[..at], &bytes[at + 2..]))
}

fn split_domain(user: &[u8]) -> (&[u8], Option<&[u8]>) {
    match user.iter().position(|b| *b == b'_') {
        Some(at) => (&user[..at], Some(&user[at + 1..])),
        None => (user, None),
    }
}

fn is_digits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
