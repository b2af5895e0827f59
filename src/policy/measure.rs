//! What counts: the pre-key batch of a folder, and its accumulated files.

use crate::folder::kind::{has_lid_name, pre_key_id};
use crate::folder::{Inventory, Kind, Unit};

/// Pre-keys a bot mints at login up to Baileys 7.0.0-rc.5.
pub const CLASSIC_BATCH: u32 = 30;
/// Pre-keys a bot mints at login from Baileys 7.0.0-rc.6 on.
pub const MODERN_BATCH: u32 = 812;

/// How many pre-keys the bot's Baileys mints at login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchSetting {
    /// Told from the folder.
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
    /// Decides what counts: large only on proof, because a wrong 812 paints a neglected
    /// classic folder green.
    pub measured: u32,
}

impl Batches {
    /// Tells the batch of a folder.
    ///
    /// A fixed setting decides both, with one exception: a setting below [`MODERN_BATCH`]
    /// does not lower the guard where the folder proves a large batch: it holds kinds that
    /// only such versions write (tctoken since rc.7, identity-key since rc.10), or other
    /// traces of 7.x together with more pre-keys than a small batch explains.
    pub fn of(inventory: &Inventory, setting: BatchSetting) -> Self {
        let has = |test: &dyn Fn(Kind, &[u8]) -> bool| {
            inventory.files().iter().any(|file| {
                let parts = file.name.parts();
                test(parts.kind, parts.id)
            })
        };
        let modern = has(&|kind, id| kind.is_modern_only() || has_lid_name(kind, id));
        let next_id = inventory
            .creds
            .facts()
            .and_then(|facts| facts.next_pre_key_id);
        let many = pre_keys(inventory) >= MODERN_BATCH as usize
            || next_id.is_some_and(|next| next > MODERN_BATCH);
        if let BatchSetting::Fixed(batch) = setting {
            let certain = has(&|kind, _| matches!(kind, Kind::TcToken | Kind::IdentityKey));
            let guard = if certain || (modern && many) {
                batch.max(MODERN_BATCH)
            } else {
                batch
            };
            return Self {
                guard,
                measured: batch,
            };
        }
        let batch = |large| if large { MODERN_BATCH } else { CLASSIC_BATCH };
        Self {
            guard: batch(modern || many),
            measured: batch(modern),
        }
    }

    /// Whether the two differ: the operator should set the batch.
    pub const fn is_ambiguous(&self) -> bool {
        self.guard != self.measured
    }
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
    let readable = unit
        .files
        .iter()
        .any(|file| !file.name.as_bytes().ends_with(b".tmp"));
    pre_key_id(unit.id).filter(|_| unit.kind == Kind::PreKey && readable)
}

/// What the tiers count: the files a classic folder would hold.
///
/// All keys (a main file and its `.tmp`/`.bak` are one) but the bookkeeping that only 7.x
/// keeps, less the pre-keys of one measured batch above the first 30; names that begin
/// with a dot are not Baileys' and not counted, and neither are unknown files where the
/// batch is large. On a folder that 6.x wrote this is exactly `ls | wc -l`.
pub fn accumulated_files(inventory: &Inventory, measured_batch: u32) -> usize {
    accumulated(inventory, measured_batch, &|_| false)
}

/// [`accumulated_files`] as it would be without the units that `gone` names.
pub(super) fn accumulated(
    inventory: &Inventory,
    measured_batch: u32,
    gone: &dyn Fn(&Unit<'_>) -> bool,
) -> usize {
    let modern = measured_batch > CLASSIC_BATCH;
    let (mut counted, mut pre_keys) = (0usize, 0usize);
    for unit in inventory.units().filter(|unit| !gone(unit)) {
        let hidden = unit
            .files
            .iter()
            .all(|file| file.name.as_bytes().starts_with(b"."));
        let left_out = match unit.kind {
            Kind::Unknown => modern || hidden,
            kind => kind.is_modern_only(),
        };
        counted += usize::from(!left_out);
        pre_keys += usize::from(unit.kind == Kind::PreKey && pre_key_id(unit.id).is_some());
    }
    let batch = measured_batch.max(CLASSIC_BATCH) as usize;
    counted - (pre_keys.min(batch) - pre_keys.min(CLASSIC_BATCH as usize))
}
