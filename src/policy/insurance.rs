//! Which copies of a creds.json stay, and when one may be put back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::folder::Timestamp;
use crate::folder::identity::Identity;

/// How many copies stay, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Copies of one identity.
    pub per_identity: usize,
    /// How long a copy stays after its identity was last seen in the folder.
    pub keep_for: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            per_identity: 3,
            keep_for: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Older copies of one identity lie this far apart where there are enough of them: a busy
/// bot writes every few minutes, and what is wrong with a creds.json may be noticed late.
const SPREAD: Duration = Duration::from_secs(86_400);

/// A copy, as far as its keeping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number; a later copy has a higher one, whatever the clock said.
    pub number: u64,
    /// Whose it is.
    pub identity: Identity,
    /// When it was taken.
    pub taken: Timestamp,
    /// When its identity was last known to be the folder's (within a day).
    pub seen: Timestamp,
}

/// What the session's folder holds at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A creds.json that is logged in as this identity.
    Identity(Identity),
    /// None, a broken one, or one that is not logged in: the copies may be needed now.
    NoLogin,
    /// There is no such session any more.
    NoSession,
}

/// Copies that may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surplus {
    /// More of one identity than are kept.
    pub crowded: BTreeSet<u64>,
    /// Not seen for so long that their time is over.
    pub aged: BTreeSet<u64>,
}

/// Which copies may go. Identities do not compete: any number of writes of a new one push
/// out no copy of another. The newest copy of an identity is never crowded out, and the
/// newest of the folder's own never ages; while the folder has no login, none does.
pub fn surplus(copies: &[Kept], holds: Holds, now: Timestamp, keep: &Keep) -> Surplus {
    let mut by_identity: BTreeMap<Identity, Vec<&Kept>> = BTreeMap::new();
    for copy in copies {
        by_identity.entry(copy.identity).or_default().push(copy);
    }
    let mut surplus = Surplus::default();
    for (identity, mut copies) in by_identity {
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.number));
        while copies.len() > keep.per_identity.max(1) {
            // The newest slides along; the one behind it stays once it is a day older than
            // the next, and then the oldest goes.
            let is_close = copies.len() > 2
                && copies[2].taken <= copies[1].taken
                && copies[2].taken.until(copies[1].taken) < SPREAD;
            let at = if keep.per_identity < 2 || is_close {
                1
            } else {
                copies.len() - 1
            };
            surplus.crowded.insert(copies.remove(at).number);
        }
        let newest = copies.first().map(|copy| copy.number);
        let aged = copies
            .iter()
            .filter(|copy| copy.seen.plus(keep.keep_for) < now);
        match holds {
            Holds::NoLogin => {}
            Holds::Identity(own) if own == identity => {
                surplus.aged.extend(
                    aged.map(|copy| copy.number)
                        .filter(|number| Some(*number) != newest),
                );
            }
            Holds::Identity(_) | Holds::NoSession => {
                surplus.aged.extend(aged.map(|copy| copy.number))
            }
        }
    }
    surplus
}

/// A creds.json whose identity is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whose it is.
    pub identity: Identity,
    /// Chosen with the identity.
    pub registration_id: Option<u64>,
    /// The id the next minted pre-key gets.
    pub next_pre_key_id: u32,
    /// When Baileys wrote it.
    pub written: Timestamp,
}

impl Known {
    fn is_of_the_same(&self, other: &Self) -> bool {
        (self.identity, self.registration_id) == (other.identity, other.registration_id)
    }
}

/// The creds.json that a copy is to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// There is none, or one that says nothing usable.
    Unusable,
    /// It is whole and not logged in: what Baileys begins over an empty one.
    NotLoggedIn,
    /// It could not be read, so nobody knows.
    Unreadable,
    /// It is whole and logged in.
    LoggedIn(Known),
    /// It is logged in, and its identity cannot be told.
    LoggedInAsNobodyKnows,
}

/// Why a copy is not put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreRefusal {
    /// The folder's own is whole, logged in and not older.
    Newer,
    /// The copy is of another identity than the folder's sessions.
    OtherIdentity,
    /// The folder's own cannot be read.
    Unreadable,
}

impl RestoreRefusal {
    /// Value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            RestoreRefusal::Newer => "creds_newer",
            RestoreRefusal::OtherIdentity => "creds_other_identity",
            RestoreRefusal::Unreadable => "creds_unreadable",
        }
    }

    /// Every value of the label.
    pub const LABELS: [&'static str; 3] =
        ["creds_newer", "creds_other_identity", "creds_unreadable"];
}

impl fmt::Display for RestoreRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RestoreRefusal::Newer => "the folder's creds.json is whole, logged in and not older than this copy; leave it, or decide with --force",
            RestoreRefusal::OtherIdentity => "this copy is of another identity than the folder's sessions: with it every message would be Bad MAC; see `creds list` for the identities, or decide with --force",
            RestoreRefusal::Unreadable => "the folder's creds.json cannot be read, so nobody knows whether it is whole; give this program's user the right to read it, or decide with --force",
        })
    }
}

/// Whether `copy` may be put in the place of `present`. `last` is the newest copy of the
/// session: the identity that its sessions were made with, as far as anybody knows, where
/// the folder's own does not say. A person's `--force` is above this.
pub fn may_restore(
    present: Present,
    copy: &Known,
    last: Option<&Known>,
) -> Result<(), RestoreRefusal> {
    match present {
        Present::Unreadable => Err(RestoreRefusal::Unreadable),
        Present::LoggedInAsNobodyKnows => Err(RestoreRefusal::OtherIdentity),
        Present::LoggedIn(own) if !own.is_of_the_same(copy) => Err(RestoreRefusal::OtherIdentity),
        Present::LoggedIn(own) => {
            // Within one identity the counter only grows, and the time does. Where the two
            // disagree, somebody has put a file there: a person decides.
            let is_older =
                own.next_pre_key_id <= copy.next_pre_key_id && own.written <= copy.written;
            let is_same =
                (own.next_pre_key_id, own.written) == (copy.next_pre_key_id, copy.written);
            if is_older && !is_same {
                Ok(())
            } else {
                Err(RestoreRefusal::Newer)
            }
        }
        Present::Unusable | Present::NotLoggedIn => match last {
            Some(last) if !last.is_of_the_same(copy) => Err(RestoreRefusal::OtherIdentity),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests;
