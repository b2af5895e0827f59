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

/// Smallest distance between the older copies of one identity. A busy bot writes every few
/// minutes, and a fault in a creds.json may be noticed late.
const SPREAD: Duration = Duration::from_secs(86_400);

/// A copy, for the decision whether to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFacts {
    /// Its number. A later copy has a higher one, whatever the clock showed.
    pub number: u64,
    /// The identity in it.
    pub identity: Identity,
    /// When it was taken.
    pub taken: Timestamp,
    /// When the folder last had this identity, to the day.
    pub seen: Timestamp,
}

/// What the session's folder holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A creds.json that is logged in as this identity.
    Identity(Identity),
    /// No creds.json, a broken one, or one that is not logged in: a copy may be needed now.
    NoLogin,
    /// The session no longer exists.
    NoSession,
}

/// Numbers of copies that may be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surplus {
    /// Copies above the limit of their identity.
    pub crowded: BTreeSet<u64>,
    /// Copies whose identity was not seen for [`Keep::keep_for`].
    pub aged: BTreeSet<u64>,
}

/// Which copies may be deleted. The limit holds for each identity: writes of one identity
/// never delete a copy of another. The newest copy of an identity is never above the limit.
/// The newest copy of the folder's own identity never ages; while the folder has no login, no
/// copy ages.
pub fn surplus(copies: &[CopyFacts], holds: Holds, now: Timestamp, keep: &Keep) -> Surplus {
    let mut by_identity: BTreeMap<Identity, Vec<&CopyFacts>> = BTreeMap::new();
    for copy in copies {
        by_identity.entry(copy.identity).or_default().push(copy);
    }
    let mut surplus = Surplus::default();
    for (identity, mut copies) in by_identity {
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.number));
        while copies.len() > keep.per_identity.max(1) {
            // Drop the second newest while it is less than a day younger than the third.
            // Otherwise drop the oldest.
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
    /// The identity in it.
    pub identity: Identity,
    /// Chosen together with the identity.
    pub registration_id: Option<u64>,
    /// The id of the next minted pre-key.
    pub next_pre_key_id: u32,
    /// When Baileys wrote it.
    pub written: Timestamp,
}

impl Known {
    fn is_of_the_same(&self, other: &Self) -> bool {
        (self.identity, self.registration_id) == (other.identity, other.registration_id)
    }
}

/// The creds.json that a copy would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// Missing, or broken.
    Unusable,
    /// Complete and not logged in. Baileys creates such a file if there is none.
    NotLoggedIn,
    /// It cannot be read, so its state is unknown.
    Unreadable,
    /// Complete and logged in.
    LoggedIn(Known),
    /// Logged in, with an unknown identity.
    LoggedInUnknown,
}

/// Why a copy is not put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreRefusal {
    /// The folder's creds.json is complete, logged in and not older.
    Newer,
    /// The copy has another identity than the sessions in the folder.
    OtherIdentity,
    /// The folder's creds.json cannot be read.
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
            RestoreRefusal::Newer => "the folder's creds.json is complete, logged in and not older than this copy; keep it, or override with --force",
            RestoreRefusal::OtherIdentity => "this copy has another identity than the sessions in the folder: every message would fail with Bad MAC; see `creds list` for the identities, or override with --force",
            RestoreRefusal::Unreadable => "the folder's creds.json cannot be read, so its state is unknown; give this program's user read access, or override with --force",
        })
    }
}

/// The identity that the folder had last; of those seen at the same time, the one of the newest
/// copy. A number does not tell: an identity that comes back may need no new copy. `None` without
/// a copy.
pub fn seen_last(copies: impl IntoIterator<Item = CopyFacts>) -> Option<Identity> {
    let last = copies
        .into_iter()
        .max_by_key(|copy| (copy.seen, copy.number));
    last.map(|copy| copy.identity)
}

/// Whether `copy` may replace `present`. `last` is the newest copy of the identity that was seen
/// last. If the folder does not show its identity, the sessions are assumed to be of the identity
/// of `last`. An operator's `--force` overrides this check.
pub fn may_restore(
    present: Present,
    copy: &Known,
    last: Option<&Known>,
) -> Result<(), RestoreRefusal> {
    match present {
        Present::Unreadable => Err(RestoreRefusal::Unreadable),
        Present::LoggedInUnknown => Err(RestoreRefusal::OtherIdentity),
        Present::LoggedIn(own) if !own.is_of_the_same(copy) => Err(RestoreRefusal::OtherIdentity),
        Present::LoggedIn(own) => {
            // Within one identity, counter and time only grow. If they disagree, the file was
            // put there from outside: an operator must decide.
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
