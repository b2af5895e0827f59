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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const A: Identity = Identity::from_number(1);
    const B: Identity = Identity::from_number(2);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + minutes * 60)
    }

    fn copy(number: u64, identity: Identity, minutes: i64) -> Kept {
        Kept {
            number,
            identity,
            taken: at(minutes),
            seen: at(minutes),
        }
    }

    /// Takes a copy every ten minutes and keeps what is kept.
    fn run(minutes: std::ops::RangeInclusive<i64>, keep: &Keep) -> Vec<i64> {
        let mut copies: Vec<Kept> = Vec::new();
        for (number, minute) in minutes.step_by(10).enumerate() {
            copies.push(copy(number as u64, A, minute));
            let gone = surplus(&copies, Holds::Identity(A), at(minute), keep);
            copies.retain(|c| !gone.crowded.contains(&c.number) && !gone.aged.contains(&c.number));
        }
        copies
            .iter()
            .rev()
            .map(|c| (c.taken.nanos() - at(0).nanos()) / 60_000_000_000)
            .collect()
    }

    #[test]
    fn a_busy_bot_keeps_the_newest_and_some_days() {
        let keep = Keep::default();
        assert_eq!(
            run(0..=20, &keep),
            [20, 10, 0],
            "the first three as they come"
        );
        assert_eq!(run(0..=600, &keep), [600, 10, 0]);
        for end in [3_000, 14_400, 40_000] {
            let kept = run(0..=end, &keep);
            assert_eq!((kept.len(), kept[0]), (3, end));
            let ages: Vec<i64> = kept.iter().map(|minute| end - minute).collect();
            assert!(
                ages[2] - ages[1] >= 1_440 && ages[2] <= 2 * 1_440 + 20,
                "{ages:?}"
            );
        }
        assert_eq!(
            run(
                0..=9_000,
                &Keep {
                    per_identity: 1,
                    ..keep
                }
            ),
            [9_000]
        );
        assert_eq!(
            run(
                0..=9_000,
                &Keep {
                    per_identity: 2,
                    ..keep
                }
            )
            .len(),
            2
        );
    }

    #[test]
    fn ten_writes_of_a_new_identity_push_nothing_out() {
        let mut copies: Vec<Kept> = (0..3).map(|n| copy(n, A, n as i64)).collect();
        copies.extend((3..13).map(|n| copy(n, B, n as i64)));
        let gone = surplus(&copies, Holds::Identity(B), at(20), &Keep::default());
        assert!(gone.crowded.iter().all(|number| *number >= 3), "{gone:?}");
        assert_eq!((gone.crowded.len(), gone.aged.len()), (7, 0));
    }

    #[test]
    fn a_quiet_bot_keeps_its_insurance() {
        let copies = [copy(1, A, 0), copy(2, A, 5)];
        let late = at(0).plus(DAY * 400);
        let aged = |holds| surplus(&copies, holds, late, &Keep::default()).aged;
        assert_eq!(aged(Holds::Identity(A)), BTreeSet::from([1]));
        assert_eq!(
            aged(Holds::NoLogin),
            BTreeSet::new(),
            "it may be needed now"
        );
        assert_eq!(aged(Holds::Identity(B)), BTreeSet::from([1, 2]));
        assert_eq!(aged(Holds::NoSession), BTreeSet::from([1, 2]));
    }

    fn copies() -> impl Strategy<Value = Vec<Kept>> {
        let one = (0u64..4, -100_000i64..100_000, 0i64..100_000);
        proptest::collection::vec(one, 0..40).prop_map(|raw| {
            let kept = raw
                .into_iter()
                .enumerate()
                .map(|(number, (identity, taken, seen))| Kept {
                    number: number as u64,
                    identity: Identity::from_number(identity),
                    taken: at(taken),
                    seen: at(taken + seen),
                });
            kept.collect()
        })
    }

    fn holds() -> impl Strategy<Value = Holds> {
        prop_oneof![
            (0u64..5).prop_map(|id| Holds::Identity(Identity::from_number(id))),
            Just(Holds::NoLogin),
            Just(Holds::NoSession)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]
        #[test]
        fn what_must_hold(copies in copies(), holds in holds(), minutes in -200_000i64..300_000, most in 0usize..6, days in 1u32..60) {
            let keep = Keep { per_identity: most, keep_for: DAY * days };
            let now = at(minutes);
            let gone = surplus(&copies, holds, now, &keep);
            prop_assert!(gone.crowded.is_disjoint(&gone.aged));
            for copy in &copies {
                let (crowded, aged) = (gone.crowded.contains(&copy.number), gone.aged.contains(&copy.number));
                let same: Vec<&Kept> = copies.iter().filter(|c| c.identity == copy.identity).collect();
                let is_newest = same.iter().all(|c| c.number <= copy.number);
                prop_assert!(!(crowded && is_newest), "the newest is never crowded out");
                prop_assert!(!aged || copy.seen.until(now) > keep.keep_for, "too young to go");
                prop_assert!(!(aged && holds == Holds::NoLogin));
                prop_assert!(!(aged && is_newest && holds == Holds::Identity(copy.identity)));
                // The others change nothing.
                let alone: Vec<Kept> = same.iter().map(|c| **c).collect();
                let of_alone = surplus(&alone, holds, now, &keep);
                prop_assert_eq!(of_alone.crowded.contains(&copy.number), crowded);
                prop_assert_eq!(of_alone.aged.contains(&copy.number), aged);
                let left = same.iter().filter(|c| !gone.crowded.contains(&c.number)).count();
                prop_assert!(left <= most.max(1));
                prop_assert!(left == same.len() || left == most.max(1), "no more go than must");
            }
        }

        #[test]
        fn a_restore_never_loses_a_newer_login(own in known(), copy in known(), last in proptest::option::of(known())) {
            let allowed = may_restore(Present::LoggedIn(own), &copy, last.as_ref()).is_ok();
            let older = (own.next_pre_key_id < copy.next_pre_key_id && own.written <= copy.written)
                || (own.next_pre_key_id == copy.next_pre_key_id && own.written < copy.written);
            let same = own.identity == copy.identity && own.registration_id == copy.registration_id;
            prop_assert_eq!(allowed, same && older);
            prop_assert!(may_restore(Present::LoggedInAsNobodyKnows, &copy, last.as_ref()).is_err());
            prop_assert!(may_restore(Present::Unreadable, &copy, last.as_ref()).is_err());
            for present in [Present::Unusable, Present::NotLoggedIn] {
                let fits = last.is_none_or(|l| l.identity == copy.identity && l.registration_id == copy.registration_id);
                prop_assert_eq!(may_restore(present, &copy, last.as_ref()).is_ok(), fits);
            }
        }
    }

    fn known() -> impl Strategy<Value = Known> {
        (0u64..2, 0u64..2, 30u32..33, 0i64..3).prop_map(
            |(identity, registration, next, minutes)| Known {
                identity: Identity::from_number(identity),
                registration_id: Some(registration),
                next_pre_key_id: next,
                written: at(minutes),
            },
        )
    }
}
