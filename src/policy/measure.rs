//! What counts: the pre-key batch of a folder, and its accumulated files.

use std::time::Duration;

use crate::folder::identity::MAX_PRE_KEY_ID;
use crate::folder::kind::{NameParts, has_lid_name, pre_key_id};
use crate::folder::{Entry, Inventory, Kind, Shape, Timestamp, Unit};

pub use super::minted::{CLASSIC_BATCH, MODERN_BATCH};
use super::minted::{Minted, MintedGroup, largest_group};

/// How many pre-keys the bot's Baileys mints at login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchSetting {
    /// Derived from the folder.
    #[default]
    Auto,
    /// The operator says so.
    Fixed(u32),
}

/// The pre-key batch, for two purposes that err in opposite directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Decides what may go: large on any hint, because a wrong 30 deletes live keys.
    pub guard: u32,
    /// Decides what counts: large only where a large batch is seen, because a wrong 812
    /// makes a neglected folder read as healthy.
    pub measured: u32,
    deduction: Deduction,
    ambiguity: Option<Ambiguity>,
}

/// Which pre-keys are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deduction {
    /// All are counted: no large batch was ever minted.
    Nothing,
    /// The largest group that was minted together, of so many, beyond its first 30.
    MintedTogether(usize),
    /// A batch of this size, beyond its first 30.
    Batch(u32),
}

/// Why the folder does not tell its pre-key batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// A copy has changed the file times, so they do not show what was minted together.
    TimesLost,
    /// More pre-keys were minted than one large batch, and nothing else shows Baileys 7: it
    /// counts as small and is guarded as large.
    ManyMinted,
}

impl Batches {
    /// Tells the batch of a folder.
    ///
    /// No kind of file proves that a batch of 812 was minted, and no counter does. A counter
    /// of at most 812 proves that none was. Beyond it, what counts is what was visibly minted
    /// together. Only where a copy has lost the times do the kinds decide.
    ///
    /// A fixed setting decides both, with two exceptions. A setting below [`MODERN_BATCH`]
    /// does not lower the guard where the folder suggests a large batch: it holds kinds that
    /// only such versions write (tctoken since rc.7, identity-key since rc.10), or other
    /// traces of 7.x together with more pre-keys than a small batch explains. And a setting
    /// of [`MODERN_BATCH`] deducts nothing as long as creds.json says that no such batch was
    /// minted.
    pub fn of(inventory: &Inventory, setting: BatchSetting) -> Self {
        let has = |test: &dyn Fn(NameParts<'_>) -> bool| {
            let mut files = inventory.files().iter();
            files.any(|file| test(file.name.parts()))
        };
        let modern = has(&|name| name.is_of_modern() || has_lid_name(name.kind, name.id));
        let many = pre_keys(inventory) >= MODERN_BATCH as usize
            || next_pre_key_id(inventory) > MODERN_BATCH;
        if let BatchSetting::Fixed(batch) = setting {
            let is_certain = |kind| matches!(kind, Kind::TcToken | Kind::IdentityKey);
            let certain = has(&|name| is_certain(name.kind) && name.is_of_modern());
            let guard = if certain || (modern && many) {
                batch.max(MODERN_BATCH)
            } else {
                batch
            };
            // creds.json itself says that no large batch was minted yet.
            let none_yet = batch >= MODERN_BATCH
                && reported_next_pre_key_id(inventory).is_some_and(|next| next <= MODERN_BATCH);
            let (measured, deduction) = match none_yet {
                true => (CLASSIC_BATCH, Deduction::Nothing),
                false => (batch, Deduction::Batch(batch)),
            };
            return Self {
                guard,
                measured,
                deduction,
                ambiguity: None,
            };
        }
        let batch = |large| if large { MODERN_BATCH } else { CLASSIC_BATCH };
        let none_yet = counter(inventory) <= MODERN_BATCH;
        let group = match none_yet {
            true => None,
            false => minted_together(inventory, &|_| false),
        };
        let keys = group.map_or(0, |group| group.keys);
        let is_large = |group: &MintedGroup| group.keys > CLASSIC_BATCH as usize;
        let (deduction, measured) = match group.filter(is_large) {
            _ if none_yet => (Deduction::Nothing, CLASSIC_BATCH),
            None => (Deduction::MintedTogether(keys), CLASSIC_BATCH),
            Some(group) if times_are_lost(inventory, &group) => {
                (Deduction::Batch(batch(modern)), batch(modern))
            }
            Some(_) => (Deduction::MintedTogether(keys), MODERN_BATCH),
        };
        let ambiguity = match deduction {
            Deduction::Batch(_) => Some(Ambiguity::TimesLost),
            _ if many && !modern && measured == CLASSIC_BATCH => Some(Ambiguity::ManyMinted),
            _ => None,
        };
        Self {
            guard: batch(modern || many),
            measured,
            deduction,
            ambiguity,
        }
    }

    /// Whether the folder does not tell the batch: the operator should set it.
    pub const fn is_ambiguous(&self) -> bool {
        self.ambiguity.is_some()
    }

    /// Why the operator should set the batch; `None` where the folder tells it.
    pub const fn ambiguity(&self) -> Option<Ambiguity> {
        self.ambiguity
    }

    /// Whether the guard keeps more pre-keys than the batch used for counting explains.
    pub const fn guards_more_than_it_counts(&self) -> bool {
        self.guard > self.measured
    }
}

/// The id that the next minted pre-key gets, by creds.json. Where creds.json does not tell:
/// one more than the highest pre-key id.
fn next_pre_key_id(inventory: &Inventory) -> u32 {
    reported_next_pre_key_id(inventory).unwrap_or_else(|| {
        let ids = inventory.units().filter_map(|unit| usable_pre_key(&unit));
        ids.filter(|id| *id <= MAX_PRE_KEY_ID)
            .max()
            .map_or(0, |highest| highest + 1)
    })
}

fn reported_next_pre_key_id(inventory: &Inventory) -> Option<u32> {
    inventory
        .creds
        .facts()
        .and_then(|facts| facts.next_pre_key_id)
}

/// [`next_pre_key_id`], for counting: a torn creds.json does not change it.
fn counter(inventory: &Inventory) -> u32 {
    match (inventory.creds.facts(), inventory.history.next_pre_key_id) {
        (None, Some(last)) => last,
        _ => next_pre_key_id(inventory),
    }
}

/// The largest group of pre-keys that were minted together, without the units that `gone`
/// names.
fn minted_together(inventory: &Inventory, gone: &dyn Fn(&Unit<'_>) -> bool) -> Option<MintedGroup> {
    let minted: Vec<Minted> = inventory
        .units()
        .filter(|unit| unit.kind == Kind::PreKey && !gone(unit))
        .filter_map(|unit| {
            let is_file = |file: &Entry| matches!(file.shape, Shape::Regular | Shape::HardLinked);
            let times = || unit.files.iter().map(|file| file.stamp.modified);
            Some(Minted {
                id: pre_key_id(unit.id).filter(|_| unit.files.iter().all(is_file))?,
                first: times().min()?,
                last: times().max()?,
            })
        })
        .collect();
    largest_group(&minted)
}

/// How long a copy of a folder may take, and how far two clocks may differ.
const COPY_TAKES: Duration = Duration::from_secs(3600);

/// Whether the files of `group` bear the time of a copy, and not the time they were minted.
///
/// Session records keep times of their own: after a copy there are sessions older than the
/// group whose files are not, and next to no file is older. In a folder whose times are its
/// own, some files are older than the group, or no session is. More keys at one time than one
/// batch explains are a sign as well.
fn times_are_lost(inventory: &Inventory, group: &MintedGroup) -> bool {
    let before = group.since.minus(COPY_TAKES);
    let (mut older_files, mut older_inside) = (0usize, 0usize);
    for file in inventory.readable() {
        let hidden = file.name.as_bytes().starts_with(b".");
        if file.kind() == Kind::Unknown || hidden {
            continue;
        }
        if file.stamp.modified < before {
            older_files += 1;
        } else if file
            .first_activity()
            .is_some_and(|first| first < before && first > Timestamp::default())
        {
            older_inside += 1;
        }
    }
    older_inside > 10 * older_files || group.others > CLASSIC_BATCH as usize
}

/// How many pre-keys the folder holds: a main file and its companions are one, and a
/// `.tmp` alone, which the library never reads, is none.
pub fn pre_keys(inventory: &Inventory) -> usize {
    inventory
        .units()
        .filter(|unit| usable_pre_key(unit).is_some())
        .count()
}

/// Whether creds.json counts a newest pre-key whose file is not there: a contact used it, or
/// something deleted it. `None` where creds.json does not tell.
pub fn newest_pre_key_missing(inventory: &Inventory) -> Option<bool> {
    let next = inventory.creds.facts()?.next_pre_key_id?;
    let newest = next.checked_sub(1).filter(|id| *id > 0);
    let is_there = |id| {
        inventory
            .units()
            .any(|unit| usable_pre_key(&unit) == Some(id))
    };
    Some(newest.is_some_and(|id| !is_there(id)))
}

/// The id of a pre-key that the library can read.
pub(super) fn usable_pre_key(unit: &Unit<'_>) -> Option<u32> {
    let is_readable = |file: &Entry| !file.name.as_bytes().ends_with(b".tmp");
    match unit.kind {
        Kind::PreKey if unit.files.iter().any(is_readable) => pre_key_id(unit.id),
        _ => None,
    }
}

/// What the tiers count: the files a classic folder would hold.
///
/// All keys (a main file and its `.tmp`/`.bak` are one) but the bookkeeping that only 7.x
/// keeps, and what forks call otherwise, less the pre-keys of one large batch above the first 30; names that begin with a
/// dot are not Baileys' and not counted. Unknown files are not counted either where the
/// batch is set to 812, or the kinds alone suggest it. On a folder that 6.x wrote this is
/// exactly `ls | wc -l`.
///
/// For a fixed creds.json and times that no copy has changed, one more file never lowers it.
pub fn accumulated_files(inventory: &Inventory, setting: BatchSetting) -> usize {
    accumulated(inventory, &Batches::of(inventory, setting), &|_| false)
}

/// [`accumulated_files`] as it would be without the units that `gone` names. `batches` are those
/// of the folder.
pub fn accumulated(
    inventory: &Inventory,
    batches: &Batches,
    gone: &dyn Fn(&Unit<'_>) -> bool,
) -> usize {
    let leaves_unknown_out =
        matches!(batches.deduction, Deduction::Batch(batch) if batch > CLASSIC_BATCH);
    let (mut counted, mut pre_keys, mut pre_keys_go) = (0usize, 0usize, false);
    for unit in inventory.units() {
        if gone(&unit) {
            pre_keys_go |= unit.kind == Kind::PreKey;
            continue;
        }
        let hidden = unit
            .files
            .iter()
            .all(|file| file.name.as_bytes().starts_with(b"."));
        let left_out = match unit.kind {
            Kind::Unknown => leaves_unknown_out || hidden,
            kind => kind.is_modern_only(),
        };
        counted += usize::from(!left_out);
        pre_keys += usize::from(unit.kind == Kind::PreKey && pre_key_id(unit.id).is_some());
    }
    let together = match batches.deduction {
        Deduction::Nothing => 0,
        Deduction::MintedTogether(keys) if !pre_keys_go => keys,
        Deduction::MintedTogether(_) => {
            minted_together(inventory, gone).map_or(0, |group| group.keys)
        }
        Deduction::Batch(batch) => pre_keys.min(batch as usize),
    };
    counted - together.saturating_sub(CLASSIC_BATCH as usize)
}

#[cfg(test)]
mod tests;
