//! One auth folder, measured: what it holds, and what policy makes of it. Totals only: of ten
//! thousand folders there are millions of files.

use std::collections::BTreeMap;

use crate::config::Settings;
use crate::folder::{Creds, Entry, Inventory, Kind, NewestWrite, SessionName, Timestamp};
use crate::policy::guard::INACTIVE_FOR;
use crate::policy::{
    Batches, CleanupMode, CredsPlace, LoginFolder, Refusal, Tier, accumulated, changes_by_time,
    is_dormant, newest_pre_key_missing, possible, pre_keys,
};

/// A folder, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Its files.
    pub files: FileTotals,
    /// See [`Inventory::newest_key_write`].
    pub newest_write: Option<NewestWrite>,
    /// Its files by kind; every kind that it holds.
    pub kinds: BTreeMap<Kind, FileTotals>,
    /// What creds.json says.
    pub creds: Creds,
    /// Its pre-key batch.
    pub batches: Batches,
    /// What tells whether it is a copy of another folder.
    pub login: Option<LoginFolder>,
    /// What the tiers count.
    pub accumulated: usize,
    /// Where that puts it; `None` is normal.
    pub tier: Option<Tier>,
    /// Pre-keys.
    pub pre_keys: usize,
    /// What a clean-up could move now, for each column and kind.
    pub removable: BTreeMap<CleanupMode, BTreeMap<Kind, usize>>,
    /// Accumulated files that would stay after a clean-up with the bot stopped, or why it
    /// could move nothing.
    pub after_emergency: Result<usize, Refusal>,
    /// Session files that cannot be read or understood.
    pub unreadable_sessions: usize,
    /// For a session whose creds are configured to be elsewhere: whether that holds for its
    /// folder.
    pub creds_elsewhere: Option<bool>,
    /// Whether creds.json counts a newest pre-key whose file is not there.
    pub newest_pre_key_missing: Option<bool>,
    /// Whether a clean-up would be refused as dormant.
    pub dormant: bool,
    /// Last activity of the session that has been silent longest among those active
    /// within 14 days.
    pub oldest_active_session: Option<Timestamp>,
    /// Time alone changes something of this, from then on.
    pub holds_until: Option<Timestamp>,
}

/// Some files of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTotals {
    /// How many, companions included.
    pub count: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// The earliest and the latest modification time; `None` where none is known.
    pub modified: Option<(Timestamp, Timestamp)>,
}

impl FileTotals {
    fn of(files: &[Entry]) -> Self {
        let modified = || files.iter().filter_map(Entry::modified);
        Self {
            count: files.len(),
            bytes: files
                .iter()
                .fold(0, |bytes, file| file.stamp.size.saturating_add(bytes)),
            modified: modified().min().zip(modified().max()),
        }
    }
}

impl Measured {
    /// Measures a folder at the time `now`. Pure.
    pub fn new(
        inventory: &Inventory,
        session: &SessionName,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        let limits = settings.limits(session);
        let batches = Batches::of(inventory, limits.batch);
        let accumulated = accumulated(inventory, &batches, &|_| false);
        let is_elsewhere = limits.creds.is_elsewhere(inventory);
        let plan = |mode| {
            // Such a bot is never stopped; an emergency cleans it as a clean-up would.
            let mode = if is_elsewhere {
                CleanupMode::Cleanup
            } else {
                mode
            };
            possible(inventory, &batches, now, &limits, mode, false)
        };
        let plans = CleanupMode::ALL.map(|mode| (mode, plan(mode)));
        let after_emergency = match &plans[1].1 {
            Ok(plan) => Ok(plan.accumulated_after),
            Err(refusal) => Err(refusal.clone()),
        };
        let removable = plans
            .into_iter()
            .map(|(mode, plan)| (mode, plan.map(|plan| plan.by_kind()).unwrap_or_default()))
            .collect();
        let oldest_active_session = inventory
            .readable()
            .filter(|entry| entry.kind() == Kind::Session)
            .map(|entry| entry.last_activity())
            .filter(|last| last.until(now) <= INACTIVE_FOR)
            .min();
        let of_kind = inventory.files().chunk_by(|a, b| a.kind() == b.kind());
        let kinds = of_kind.map(|files| (files[0].kind(), FileTotals::of(files)));
        Self {
            files: FileTotals::of(inventory.files()),
            newest_write: inventory.newest_key_write(),
            kinds: kinds.collect(),
            login: LoginFolder::of(inventory, now),
            batches,
            accumulated,
            tier: limits.thresholds.tier(accumulated),
            pre_keys: pre_keys(inventory),
            removable,
            after_emergency,
            creds_elsewhere: (limits.creds == CredsPlace::Elsewhere).then_some(is_elsewhere),
            unreadable_sessions: inventory.unreadable_sessions(),
            newest_pre_key_missing: newest_pre_key_missing(inventory),
            dormant: is_dormant(inventory, now),
            oldest_active_session,
            holds_until: changes_by_time(inventory, now, &limits),
            creds: inventory.creds.clone(),
        }
    }

    /// Whether no login is in the folder and one belongs there: the bot shows a QR code, or waits
    /// for one.
    pub fn awaits_login(&self) -> bool {
        let is_missing = self.creds == Creds::Missing && self.creds_elsewhere != Some(true);
        is_missing || self.creds.awaits_login()
    }

    /// How many files of a kind there are, companions included.
    pub fn count(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).map_or(0, |files| files.count)
    }
}
