//! What an auth folder holds at one moment: names, kinds and times, no path and no key.
//!
//! Another store (SQL, Redis) could fill the same struct from its rows.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;

use super::creds::{Creds, LoginId, SessionTimes};
use super::kind::{Kind, NameParts, PartRanges, is_telltale_name, parse_name};
use super::time::Timestamp;

/// A file's name. It may hold a phone number, so `Debug` does not show it and nothing
/// here implements `Display`.
#[derive(Clone)]
pub struct FileName {
    name: OsString,
    parts: PartRanges,
}

impl FileName {
    /// Wraps a name as the directory listing gave it.
    pub fn new(name: impl Into<OsString>) -> Self {
        let name = name.into();
        let parts = parse_name(name.as_bytes()).ranges();
        Self { name, parts }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// The name, to hand to the file system.
    pub fn as_os_str(&self) -> &OsStr {
        &self.name
    }

    /// Kind, main file and id.
    pub fn parts(&self) -> NameParts<'_> {
        self.parts.of(self.as_bytes())
    }

    /// The kind alone.
    pub const fn kind(&self) -> Kind {
        self.parts.kind
    }
}

// The parts follow from the name.
impl PartialEq for FileName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for FileName {}

impl PartialOrd for FileName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FileName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl Hash for FileName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({}…)", self.kind().label())
    }
}

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A regular file with this one name.
    Regular,
    /// A regular file that has other names too (hard links).
    HardLinked,
    /// A symbolic link.
    Link,
    /// A directory.
    Directory,
    /// A socket, pipe or device.
    Special,
    /// `stat` failed for a reason other than the file's absence.
    Unreadable,
}

/// Identity and times of a file: enough to know later whether it is still the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time.
    pub modified: Timestamp,
    /// Inode change time.
    pub changed: Timestamp,
}

impl Stamp {
    /// Whether `other` is the same file with the same content. The change time is left
    /// out: a rename alters it.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified)
            == (other.device, other.inode, other.size, other.modified)
    }
}

/// What the inside of a session file says of its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionActivity {
    /// Not a session file: nothing was read.
    NotRead,
    /// The times in it; `None` where it holds no session.
    Times(Option<SessionTimes>),
    /// It could not be read or understood.
    Unparsable,
}

impl SessionActivity {
    /// A session file whose records all bear the time `at`.
    pub const fn at(at: Timestamp) -> Self {
        Self::Times(Some(SessionTimes {
            first: at,
            last: at,
        }))
    }
}

/// The newest write to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NewestWrite {
    /// The modification time.
    pub at: Timestamp,
    /// The kind of the file.
    pub kind: Kind,
}

impl NewestWrite {
    /// A write at the time `at` to a file of this name that may hold keys. `None` for a message
    /// store.
    pub fn to_keys(name: NameParts<'_>, at: Timestamp) -> Option<Self> {
        let kind = name.kind;
        (!name.is_message_store()).then_some(Self { at, kind })
    }
}

/// One name in the folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: FileName,
    /// What stands behind it.
    pub shape: Shape,
    /// Identity and times; all zero where `shape` is [`Shape::Unreadable`].
    pub stamp: Stamp,
    /// For session files, what the inside says.
    pub inside: SessionActivity,
}

impl Entry {
    /// The kind, from the name.
    pub const fn kind(&self) -> Kind {
        self.name.kind()
    }

    /// The modification time, where it is known.
    pub fn modified(&self) -> Option<Timestamp> {
        (self.shape != Shape::Unreadable).then_some(self.stamp.modified)
    }

    /// Last activity: the latest of the modification time and, for a session, of every
    /// `used` and `created` in it. (`used` moves only when a message is decrypted, the
    /// modification time on every encryption as well.)
    pub fn last_activity(&self) -> Timestamp {
        match self.inside {
            SessionActivity::Times(Some(inside)) => self.stamp.modified.max(inside.last),
            _ => self.stamp.modified,
        }
    }

    /// The latest time in a session file; `None` for any other.
    pub const fn last_use(&self) -> Option<Timestamp> {
        match self.inside {
            SessionActivity::Times(Some(inside)) => Some(inside.last),
            _ => None,
        }
    }

    /// The earliest time in a session file; `None` for any other.
    pub const fn first_activity(&self) -> Option<Timestamp> {
        match self.inside {
            SessionActivity::Times(Some(inside)) => Some(inside.first),
            _ => None,
        }
    }
}

/// A key as Baileys sees it: the main file with its `.tmp` and `.bak`, or what is left of them.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// What it is.
    pub kind: Kind,
    /// The id in the name.
    pub id: &'a [u8],
    /// Its position among the keys of the folder.
    pub index: usize,
    /// The files; companions first, the main file last. Never empty.
    pub files: &'a [Entry],
}

impl Unit<'_> {
    /// The latest activity of its files.
    pub fn last_activity(&self) -> Timestamp {
        self.files
            .iter()
            .map(|file| file.last_activity())
            .max()
            .unwrap_or_default()
    }

    /// Whether every file of it is a plain file with one name, understood where it is read,
    /// and named in the printable ASCII that the library uses.
    pub fn is_plain(&self) -> bool {
        self.files.iter().all(|file| {
            file.shape == Shape::Regular
                && match file.inside {
                    SessionActivity::Unparsable => false,
                    SessionActivity::NotRead => self.kind != Kind::Session,
                    SessionActivity::Times(_) => true,
                }
                && file.name.as_bytes().iter().all(|b| b.is_ascii_graphic())
        })
    }
}

/// Everything in one auth folder at one moment. Sub-directories are not part of it.
#[derive(Clone, Debug)]
pub struct Inventory {
    files: Vec<Entry>,
    /// Where the files of each key end.
    ends: Vec<usize>,
    /// What creds.json says.
    pub creds: Creds,
    /// What earlier scans saw.
    pub history: History,
}

/// What this scan and those before it saw of a folder. Without earlier scans, what this one
/// saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// `nextPreKeyId`, as creds.json last said.
    pub next_pre_key_id: Option<u32>,
    /// The login, as creds.json last said.
    pub login: Option<LoginId>,
    /// There was a creds.json, or a companion of one.
    pub had_creds: bool,
    /// It was an auth folder.
    pub was_auth_folder: bool,
}

impl History {
    /// With what `inventory` shows.
    #[must_use]
    pub fn and(self, inventory: &Inventory) -> Self {
        let facts = inventory.creds.facts();
        Self {
            next_pre_key_id: facts
                .and_then(|facts| facts.next_pre_key_id)
                .or(self.next_pre_key_id),
            login: match facts {
                Some(facts) => facts.login,
                None => self.login,
            },
            had_creds: self.had_creds || inventory.has_creds_file(),
            was_auth_folder: self.was_auth_folder || inventory.is_auth_folder(),
        }
    }
}

/// The kind, the first letter of the main file's name, which tells its prefix, and the first bytes
/// behind the prefix. In the order of kind and name it never gets less.
fn sort_key(parts: NameParts<'_>) -> (Kind, Option<u8>, u128) {
    let behind = parts.main.get(parts.prefix_len()..).unwrap_or_default();
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(behind) {
        *to = *from;
    }
    (
        parts.kind,
        parts.main.first().copied(),
        u128::from_be_bytes(first),
    )
}

impl Inventory {
    /// From the names found, in any order; directories are left out.
    pub fn new(found: impl IntoIterator<Item = Entry>, creds: Creds) -> Self {
        let mut files: Vec<Entry> = found
            .into_iter()
            .filter(|entry| entry.shape != Shape::Directory)
            .collect();
        // The files of one key side by side, its main file last. Nearly all names differ in what
        // `sort_key` holds of them, and to compare that is fast.
        files.sort_by_cached_key(|entry| sort_key(entry.name.parts()));
        let alike = |a: &Entry, b: &Entry| sort_key(a.name.parts()) == sort_key(b.name.parts());
        for some in files.chunk_by_mut(alike).filter(|some| some.len() > 1) {
            some.sort_unstable_by(|left, right| {
                let (a, b) = (left.name.parts(), right.name.parts());
                let order = (a.main, !a.companion).cmp(&(b.main, !b.companion));
                order.then_with(|| left.name.cmp(&right.name))
            });
        }
        let same = |a: &Entry, b: &Entry| {
            let (a, b) = (a.name.parts(), b.name.parts());
            (a.kind, a.main) == (b.kind, b.main)
        };
        let ends = files.chunk_by(same).scan(0, |end, files| {
            *end += files.len();
            Some(*end)
        });
        Self {
            ends: ends.collect(),
            files,
            creds,
            history: History::default(),
        }
    }

    /// All files, grouped by key.
    pub fn files(&self) -> &[Entry] {
        &self.files
    }

    /// The keys: main files joined with their companions, by kind and name.
    pub fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        let mut from = 0;
        self.ends.iter().enumerate().map(move |(index, end)| {
            let files = &self.files[from..*end];
            from = *end;
            let parts = files[0].name.parts();
            Unit {
                kind: parts.kind,
                id: parts.id,
                index,
                files,
            }
        })
    }

    /// Files of one kind, companions included.
    pub fn count(&self, kind: Kind) -> usize {
        self.files
            .iter()
            .filter(|entry| entry.kind() == kind)
            .count()
    }

    /// Bytes in all files.
    pub fn size_bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|entry| entry.stamp.size)
            .fold(0, u64::saturating_add)
    }

    /// The newest activity of a session or sender-key that is not later than `now`: a file
    /// from the future says nothing. `None` where there is none.
    pub fn newest_activity(&self, now: Timestamp) -> Option<Timestamp> {
        self.files
            .iter()
            .filter(|entry| matches!(entry.kind(), Kind::Session | Kind::SenderKey))
            .filter(|entry| entry.shape == Shape::Regular)
            .map(|entry| entry.last_activity())
            .filter(|last| *last <= now)
            .max()
    }

    /// Whether there is a creds.json, whatever is in it, or a companion of one.
    pub fn has_creds_file(&self) -> bool {
        self.creds != Creds::Missing || self.files.iter().any(|file| file.kind() == Kind::Creds)
    }

    /// Whether this is an auth folder: its creds.json is Baileys' or unusable, or a name in it
    /// is plainly Baileys' own.
    pub fn is_auth_folder(&self) -> bool {
        self.creds.makes_an_auth_folder()
            || self
                .files
                .iter()
                .any(|file| is_telltale_name(file.name.parts()))
    }

    /// Session files that cannot be read or understood: written in another format, or torn.
    /// None of them is ever moved.
    pub fn unreadable_sessions(&self) -> usize {
        let sessions = self
            .files
            .iter()
            .filter(|file| file.kind() == Kind::Session);
        sessions
            .filter(|file| file.inside == SessionActivity::Unparsable)
            .count()
    }

    /// The newest write to any file: a clean-up waits for all of them. `None` where there is no
    /// file.
    pub fn newest_write(&self) -> Option<NewestWrite> {
        let writes = self.readable().map(|entry| NewestWrite {
            at: entry.stamp.modified,
            kind: entry.kind(),
        });
        writes.max()
    }

    /// The newest write to a file that may hold keys: only such a write shows that a bot is
    /// connected. `None` where there is no such file.
    pub fn newest_key_write(&self) -> Option<NewestWrite> {
        let writes = self
            .readable()
            .filter_map(|entry| NewestWrite::to_keys(entry.name.parts(), entry.stamp.modified));
        writes.max()
    }

    /// Files whose times are known.
    pub fn readable(&self) -> impl Iterator<Item = &Entry> {
        self.files
            .iter()
            .filter(|entry| entry.shape != Shape::Unreadable)
    }
}

#[cfg(test)]
mod tests;
