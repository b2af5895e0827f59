//! Files that cannot be moved: with them their whole unit and its partner leave a plan. Pure;
//! which files these are is found out at the edge (`remediator::movability`).

use std::collections::{BTreeMap, BTreeSet};

use crate::folder::kind::sender_key_id;
use crate::folder::{FileName, Inventory, Kind};

use super::guard::{Limits, Plan};
use super::left_out::Immovable;
use super::measure::{Batches, accumulated, pre_keys};

/// A unit, or all sender keys and the memory of one group, which stay or go together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Together {
    Unit(Kind, Vec<u8>),
    Group(Vec<u8>),
}

impl Together {
    fn of(name: &FileName) -> Self {
        let parts = name.parts();
        let group = match parts.kind {
            Kind::SenderKeyMemory => Some(parts.id.to_vec()),
            Kind::SenderKey => sender_key_id(parts.id).map(|key| key.group.to_vec()),
            _ => None,
        };
        group.map_or_else(
            || Together::Unit(parts.kind, parts.id.to_vec()),
            Together::Group,
        )
    }
}

/// The plan without what cannot be moved, nor what goes with it. It only ever keeps more.
/// `immovable` holds files of the folder, planned or not.
pub fn without_immovable(
    plan: Plan,
    inventory: &Inventory,
    limits: &Limits,
    immovable: &BTreeMap<FileName, Immovable>,
) -> Plan {
    if immovable.is_empty() {
        return plan;
    }
    let kept: BTreeSet<Together> = immovable.keys().map(Together::of).collect();
    let (stays, goes): (Vec<_>, Vec<_>) = plan
        .moves
        .into_iter()
        .partition(|planned| kept.contains(&Together::of(&planned.name)));
    let mut left_out = plan.left_out;
    for planned in &stays {
        let why = immovable.get(&planned.name).copied();
        let why = why.unwrap_or(Immovable::Partner);
        *left_out.entry((why, planned.kind())).or_default() += 1;
    }
    let planned: BTreeSet<(Kind, Vec<u8>)> = goes
        .iter()
        .map(|planned| {
            let parts = planned.name.parts();
            (parts.kind, parts.id.to_vec())
        })
        .collect();
    let is_gone = |unit: &crate::folder::Unit<'_>| planned.contains(&(unit.kind, unit.id.to_vec()));
    let measured = Batches::of(inventory, limits.batch).measured;
    let pre_keys_gone = planned
        .iter()
        .filter(|(kind, _)| *kind == Kind::PreKey)
        .count();
    Plan {
        accumulated_after: accumulated(inventory, measured, &is_gone),
        pre_keys_left: pre_keys(inventory).saturating_sub(pre_keys_gone),
        moves: goes,
        left_out,
        ..plan
    }
}

#[cfg(test)]
mod tests;
