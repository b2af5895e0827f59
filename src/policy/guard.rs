//! The guard table: what a clean-up may move away, and when it must refuse.
//!
//! | kind | cleanup | emergency |
//! |---|---|---|
//! | creds, app-state-sync-key, app-state-sync-version | never | never |
//! | unknown, lid-mapping, device-list, tctoken, identity-key | never | never |
//! | session | last used more than 14 days before the folder's newest activity | the same |
//! | sender-key of others | last written more than 14 days before it, where creds.json says whose it is | the same |
//! | sender-key of the bot itself, sender-key-memory | the same way, all of a group or none, and only when the process is proven gone | the same |
//! | pre-key | beyond the newest max(50, batch + 20) by id **and** minted more than 14 days before it | beyond the newest max(50, batch + 20) by id **and** minted more than 24 hours ago |
//!
//! A file that is unusual in any way (a time in the future, a link, a directory, a file with
//! two names, one that cannot be read or parsed) is kept, with its companions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::connection::{State, Verdict};
use crate::folder::kind::sender_key_id;
use crate::folder::{CredsFacts, Entry, FileName, Inventory, Kind, Shape, Stamp, Timestamp, Unit};

use super::creds::CredsPlace;
use super::left_out::LeftOut;
use super::measure::{
    BatchSetting, Batches, accumulated, accumulated_files, pre_keys, usable_pre_key,
};
use super::tiers::{Thresholds, Tier};

/// Minimum number of the newest pre-keys, by id, that stay.
pub const PRE_KEYS_KEPT: u32 = 50;
/// Pre-keys that stay in addition to one batch: the server may still hold up to 5 older ones.
pub const PRE_KEYS_BEYOND_BATCH: u32 = 20;
/// Nothing used within this span is moved, unless an operator says otherwise with `--force`.
pub const INACTIVE_FOR: Duration = Duration::from_secs(14 * 86_400);
/// A folder without activity between this long and [`INACTIVE_FOR`] before its newest
/// activity became active again only recently: see [`Refusal::WokeRecently`].
pub const WOKE_WITHIN: Duration = Duration::from_secs(3 * 86_400);

/// The kinds of files that may ever be moved.
pub const MOVABLE_KINDS: [Kind; 4] = [
    Kind::PreKey,
    Kind::Session,
    Kind::SenderKey,
    Kind::SenderKeyMemory,
];

/// How a folder is cleaned: which column of the table applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CleanupMode {
    /// From 150 files: only if the bot is disconnected anyway.
    Cleanup,
    /// From 180 files: the bot may be stopped for it.
    Emergency,
}

impl CleanupMode {
    /// Both.
    pub const ALL: [CleanupMode; 2] = [CleanupMode::Cleanup, CleanupMode::Emergency];

    /// Value of the label `action`.
    pub const fn label(self) -> &'static str {
        match self {
            CleanupMode::Cleanup => "cleanup",
            CleanupMode::Emergency => "emergency",
        }
    }
}

/// The limits that the table uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Where the tiers begin.
    pub thresholds: Thresholds,
    /// The pre-key batch.
    pub batch: BatchSetting,
    /// Where the bot keeps its creds.
    pub creds: CredsPlace,
    /// How long a key must have been inactive; at least [`INACTIVE_FOR`] unless forced.
    pub inactive_for: Duration,
    /// How many of the newest pre-keys stay; less than the table demands has no effect.
    pub pre_keys_kept: u32,
    /// How long ago a pre-key must have been minted in the emergency column.
    pub emergency_pre_key_min_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            batch: BatchSetting::Auto,
            creds: CredsPlace::Folder,
            inactive_for: INACTIVE_FOR,
            pre_keys_kept: PRE_KEYS_KEPT,
            emergency_pre_key_min_age: Duration::from_secs(86_400),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanRequest {
    /// The mode.
    pub mode: CleanupMode,
    /// The tier of the alert that asks; `None` when an operator does.
    pub tier: Option<Tier>,
    /// `Some` when a person typed `--force`: the connection check and `dormant` do not
    /// apply, and keys inactive for this long may go. Nothing else changes.
    pub force: Option<Force>,
}

/// What a person may override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Force {
    /// Replaces the 14 days.
    pub inactive_for: Duration,
}

/// A file that will be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its name.
    pub name: FileName,
    /// What it was when the plan was made.
    pub stamp: Stamp,
}

impl Move {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.name.kind()
    }
}

/// What will be moved, in an order that is safe to interrupt: companions before
/// their main file, a group's memory before the bot's own sender-key of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The mode it was made for.
    pub mode: CleanupMode,
    /// The files.
    pub moves: Vec<Move>,
    /// Accumulated files before.
    pub accumulated_before: usize,
    /// Accumulated files after.
    pub accumulated_after: usize,
    /// Pre-keys that stay.
    pub pre_keys_left: usize,
    /// Files that the table allows to move, but that cannot be moved.
    pub left_out: LeftOut,
}

impl Plan {
    /// Files by kind.
    pub fn by_kind(&self) -> BTreeMap<Kind, usize> {
        count_by_kind(self.moves.iter().map(Move::kind))
    }
}

fn count_by_kind(kinds: impl Iterator<Item = Kind>) -> BTreeMap<Kind, usize> {
    let mut counts = BTreeMap::new();
    for kind in kinds {
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// Why nothing is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bot is connected.
    Connected,
    /// It is not known that the bot is disconnected.
    ConnectionUnknown,
    /// The live count is below the tier of the alert that asks.
    StaleAlert {
        /// Accumulated files now.
        live: usize,
        /// Where the alert's tier begins.
        threshold: usize,
    },
    /// creds.json is missing, broken or unreadable, which no clean-up can repair.
    CredsBroken(&'static str),
    /// No session or sender-key was active within the last 14 days: the bot has been down,
    /// or the clock is wrong. In such a folder the age of a file means nothing.
    Dormant {
        /// The newest activity, where there is any.
        newest: Option<Timestamp>,
    },
    /// The folder was active in its last three days and not in the eleven days before: the bot
    /// was down for a long time, or the clock jumped, so keys may only look old.
    WokeRecently,
    /// The table allows no file to be moved.
    NothingRemovable,
}

impl Refusal {
    /// Value of the label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            Refusal::Connected => "connected",
            Refusal::ConnectionUnknown => "connection_unknown",
            Refusal::StaleAlert { .. } => "stale_alert",
            Refusal::CredsBroken(_) => "creds_broken",
            Refusal::Dormant { .. } => "dormant",
            Refusal::WokeRecently => "woke_recently",
            Refusal::NothingRemovable => "nothing_removable",
        }
    }

    /// Every value of the label.
    pub const LABELS: [&'static str; 7] = [
        "connected",
        "connection_unknown",
        "stale_alert",
        "creds_broken",
        "dormant",
        "woke_recently",
        "nothing_removable",
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Connected => f.write_str("the bot is connected; stop it, or wait until it is disconnected"),
            Refusal::ConnectionUnknown => f.write_str(
                "it is unknown whether the bot is disconnected; configure --connection.command or connection.http, or see `plan` for what was asked",
            ),
            Refusal::StaleAlert { live, threshold } => {
                write!(f, "stale alert: the folder holds {live} accumulated files now, the alert's tier begins at {threshold}")
            }
            Refusal::CredsBroken(word) => write!(
                f,
                "creds.json is {word}: cleaning cannot help; stop the bot before it starts a new identity, and restore creds.json from a backup"
            ),
            Refusal::Dormant { newest: Some(newest) } => write!(
                f,
                "dormant: the newest session activity was {}; the bot has been down, or the clock is wrong, so the age of files means nothing here",
                newest.rfc3339()
            ),
            Refusal::Dormant { newest: None } => {
                f.write_str("dormant: the folder has no session and no sender-key, so its last activity is unknown")
            }
            Refusal::WokeRecently => f.write_str(
                "woke recently: activity in the last 3 days and none in the 11 days before; the bot was down, or the clock jumped, so keys only look old; wait until it has run for a few days",
            ),
            Refusal::NothingRemovable => f.write_str(
                "nothing removable: every key is in use or protected; set the pre-key batch if it is ambiguous, raise the tiers for a busy bot, or move its keys to a database",
            ),
        }
    }
}

/// The decision: a plan, or the reason why there is none. Pure: the same inventory,
/// verdict, clock and limits give the same answer.
pub fn decide(
    inventory: &Inventory,
    verdict: &Verdict,
    now: Timestamp,
    limits: &Limits,
    ask: &CleanRequest,
) -> Result<Plan, Refusal> {
    if ask.force.is_none() {
        match verdict.state {
            State::Disconnected => {}
            State::Connected => return Err(Refusal::Connected),
            State::Unknown => return Err(Refusal::ConnectionUnknown),
        }
    }
    if let Some(tier) = ask.tier {
        let live = accumulated_files(inventory, limits.batch);
        let threshold = limits.thresholds.of(tier);
        if live < threshold {
            return Err(Refusal::StaleAlert { live, threshold });
        }
    }
    plan(inventory, verdict.process_gone, now, limits, ask)
}

fn is_recent(activity: Timestamp, now: Timestamp) -> bool {
    activity.until(now) <= INACTIVE_FOR
}

/// Whether a clean-up without force refuses the folder as dormant: no session and no
/// sender-key was active within 14 days.
pub fn is_dormant(inventory: &Inventory, now: Timestamp) -> bool {
    !inventory
        .newest_activity(now)
        .is_some_and(|newest| is_recent(newest, now))
}

/// What creds.json says of the account.
///
/// Errors: [`Refusal::CredsBroken`].
pub(super) fn facts(creds: CredsPlace, inventory: &Inventory) -> Result<&CredsFacts, Refusal> {
    creds
        .facts(inventory)
        .map_err(|broken| Refusal::CredsBroken(broken.word()))
}

/// What could be moved, regardless of the connection and the tier: the same table, for the
/// exporter's gauge and for dry runs.
pub fn plan(
    inventory: &Inventory,
    process_gone: bool,
    now: Timestamp,
    limits: &Limits,
    ask: &CleanRequest,
) -> Result<Plan, Refusal> {
    let batches = Batches::of(inventory, limits.batch);
    plan_with(inventory, &batches, process_gone, now, limits, ask)
}

/// [`plan`], where the batches are known already.
fn plan_with(
    inventory: &Inventory,
    batches: &Batches,
    process_gone: bool,
    now: Timestamp,
    limits: &Limits,
    ask: &CleanRequest,
) -> Result<Plan, Refusal> {
    let facts = facts(limits.creds, inventory)?;
    let newest = inventory.newest_activity(now);
    let reference = match ask.force {
        Some(_) => newest.unwrap_or(now),
        None => {
            let newest = newest
                .filter(|newest| is_recent(*newest, now))
                .ok_or(Refusal::Dormant { newest })?;
            if woke_recently(inventory, newest) {
                return Err(Refusal::WokeRecently);
            }
            newest
        }
    };
    let inactive_for = match ask.force {
        Some(force) => force.inactive_for,
        None => limits.inactive_for.max(INACTIVE_FOR),
    };
    let table = GuardTable {
        now,
        cutoff: reference.minus(inactive_for),
        facts,
        process_gone,
    };

    let units: Vec<Unit<'_>> = inventory.units().collect();
    let mut chosen: Vec<&Unit<'_>> = Vec::new();
    chosen.extend(units.iter().filter(|unit| match unit.kind {
        Kind::Session => table.is_inactive(unit),
        Kind::SenderKey => table.is_inactive(unit) && table.owner(unit) == Owner::Other,
        _ => false,
    }));
    chosen.extend(table.own_sender_keys(&units));
    let minted_before = match ask.mode {
        CleanupMode::Cleanup => table.cutoff,
        CleanupMode::Emergency => now.minus(limits.emergency_pre_key_min_age),
    };
    chosen.extend(table.spare_pre_keys(
        &units,
        pre_keys_to_keep(batches.guard, limits),
        minted_before,
    ));

    if chosen.is_empty() {
        return Err(Refusal::NothingRemovable);
    }
    let mut goes = vec![false; units.len()];
    for unit in &chosen {
        goes[unit.index] = true;
    }
    let is_chosen = |unit: &Unit<'_>| goes[unit.index];
    let chosen_pre_keys = chosen
        .iter()
        .filter(|unit| unit.kind == Kind::PreKey)
        .count();
    Ok(Plan {
        mode: ask.mode,
        accumulated_before: accumulated(inventory, batches, &|_| false),
        accumulated_after: accumulated(inventory, batches, &is_chosen),
        pre_keys_left: pre_keys(inventory) - chosen_pre_keys,
        left_out: LeftOut::new(),
        moves: chosen
            .iter()
            .flat_map(|unit| unit.files)
            .map(|file| Move {
                name: file.name.clone(),
                stamp: file.stamp,
            })
            .collect(),
    })
}

/// What a clean-up could move now, regardless of the connection and the tier. `batches` are
/// those of the folder.
pub fn possible(
    inventory: &Inventory,
    batches: &Batches,
    now: Timestamp,
    limits: &Limits,
    mode: CleanupMode,
    process_gone: bool,
) -> Result<Plan, Refusal> {
    let ask = CleanRequest {
        mode,
        tier: None,
        force: None,
    };
    plan_with(inventory, batches, process_gone, now, limits, &ask)
}

/// The earliest time after `now` at which [`possible`], [`is_dormant`] or the activity of a
/// session within [`INACTIVE_FOR`] may change although the folder does not. `None`: never.
pub fn changes_by_time(
    inventory: &Inventory,
    now: Timestamp,
    limits: &Limits,
) -> Option<Timestamp> {
    let times = |file: &Entry| {
        // A time in the future counts once it has come; activity counts until it is too old.
        [file.last_activity(), file.stamp.modified].map(|at| {
            [
                at,
                at.plus(INACTIVE_FOR),
                at.plus(limits.emergency_pre_key_min_age),
            ]
        })
    };
    let all = inventory.files().iter().flat_map(times).flatten();
    all.filter(|at| *at >= now).min()
}

/// Files by kind that a clean-up could move now, regardless of the connection. Empty if the
/// table refuses.
pub fn removable(
    inventory: &Inventory,
    now: Timestamp,
    limits: &Limits,
    mode: CleanupMode,
    process_gone: bool,
) -> BTreeMap<Kind, usize> {
    let batches = Batches::of(inventory, limits.batch);
    possible(inventory, &batches, now, limits, mode, process_gone)
        .map(|plan| plan.by_kind())
        .unwrap_or_default()
}

/// How many of the newest pre-keys stay.
fn pre_keys_to_keep(guard_batch: u32, limits: &Limits) -> usize {
    let by_batch = guard_batch.saturating_add(PRE_KEYS_BEYOND_BATCH);
    PRE_KEYS_KEPT.max(by_batch).max(limits.pre_keys_kept) as usize
}

/// Activity is a write to a plain file of a known kind, or the use of a session. (Sessions
/// alone are not enough: in a small bot all active contacts may have written today.)
fn woke_recently(inventory: &Inventory, newest: Timestamp) -> bool {
    let (from, to) = (newest.minus(INACTIVE_FOR), newest.minus(WOKE_WITHIN));
    let lived = |at: Timestamp| at >= from && at <= to;
    !inventory
        .files()
        .iter()
        .filter(|file| file.shape == Shape::Regular && file.kind() != Kind::Unknown)
        .any(|file| lived(file.last_activity()) || lived(file.stamp.modified))
}

#[derive(PartialEq)]
enum Owner {
    Bot,
    Other,
    Unsure,
}

struct GuardTable<'a> {
    now: Timestamp,
    cutoff: Timestamp,
    facts: &'a CredsFacts,
    process_gone: bool,
}

impl GuardTable<'_> {
    fn is_movable(&self, unit: &Unit<'_>) -> bool {
        unit.last_activity() <= self.now && unit.is_plain()
    }

    fn is_inactive(&self, unit: &Unit<'_>) -> bool {
        unit.last_activity() < self.cutoff && self.is_movable(unit)
    }

    /// The owner of a sender key. Any device of the bot's own account counts as the bot. If
    /// creds.json does not name the identity in the name of the key, the owner is
    /// [`Owner::Unsure`].
    fn owner(&self, unit: &Unit<'_>) -> Owner {
        let Some(key) = sender_key_id(unit.id) else {
            return Owner::Unsure;
        };
        let is = |own: &Option<String>| own.as_ref().map(|own| own.as_bytes() == key.user);
        let (number, lid) = (is(&self.facts.own_number), is(&self.facts.own_lid));
        match (number, lid) {
            (Some(true), _) | (_, Some(true)) => Owner::Bot,
            (None, _) => Owner::Unsure,
            (Some(false), None) if key.lid => Owner::Unsure,
            (Some(false), _) => Owner::Other,
        }
    }

    /// The bot's own sender-keys of a group go with that group's memory, all or none.
    fn own_sender_keys<'u>(&self, units: &'u [Unit<'u>]) -> Vec<&'u Unit<'u>> {
        let mut chosen = Vec::new();
        if !self.process_gone {
            return chosen;
        }
        for memory in units
            .iter()
            .filter(|unit| unit.kind == Kind::SenderKeyMemory)
        {
            let of_group: Vec<&Unit<'_>> = units
                .iter()
                .filter(|unit| {
                    unit.kind == Kind::SenderKey
                        && sender_key_id(unit.id).is_some_and(|key| key.group == memory.id)
                })
                .collect();
            let unsure = of_group
                .iter()
                .any(|unit| self.owner(unit) == Owner::Unsure);
            let own: Vec<&Unit<'_>> = of_group
                .into_iter()
                .filter(|unit| self.owner(unit) == Owner::Bot)
                .collect();
            let all_inactive =
                self.is_inactive(memory) && own.iter().all(|unit| self.is_inactive(unit));
            if !unsure && !own.is_empty() && all_inactive {
                // A memory without its key is harmless (the key is sent out again), the
                // reverse is not: so the memory goes first.
                chosen.push(memory);
                chosen.extend(own);
            }
        }
        chosen
    }

    /// Pre-keys beyond the newest `keep` by id. Only plain files count among the newest, so that
    /// a planted name cannot displace a live key. Ids that creds.json has not minted yet are
    /// suspicious, and stay.
    fn spare_pre_keys<'u>(
        &self,
        units: &'u [Unit<'u>],
        keep: usize,
        minted_before: Timestamp,
    ) -> Vec<&'u Unit<'u>> {
        let numbered: Vec<(u32, &Unit<'_>)> = units
            .iter()
            .filter(|unit| unit.kind == Kind::PreKey)
            .filter_map(|unit| Some((usable_pre_key(unit)?, unit)))
            .collect();
        let highest = numbered.iter().map(|(id, _)| *id).max();
        let mut ranked: Vec<(u32, &Unit<'_>)> = numbered
            .into_iter()
            .filter(|(id, _)| self.facts.next_pre_key_id.is_none_or(|next| *id < next))
            .filter(|(_, unit)| self.is_movable(unit))
            .collect();
        ranked.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        ranked
            .into_iter()
            .skip(keep)
            .filter(|(id, unit)| Some(*id) != highest && unit.last_activity() < minted_before)
            .map(|(_, unit)| unit)
            .collect()
    }
}
