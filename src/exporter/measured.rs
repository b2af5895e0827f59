//! One auth folder, measured: what it holds, and what policy makes of it.

use std::collections::BTreeMap;

use crate::config::Settings;
use crate::folder::{Inventory, Kind, SessionName, Timestamp};
use crate::policy::guard::INACTIVE_FOR;
use crate::policy::{
    Batches, CleanupMode, CredsPlace, Refusal, Tier, accumulated_files, is_dormant,
    newest_pre_key_missing, possible, pre_keys,
};

/// A folder, measured.
#[derive(Debug)]
pub struct Measured {
    /// What it holds.
    pub inventory: Inventory,
    /// Its pre-key batch.
    pub batches: Batches,
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
}

impl Measured {
    pub(super) fn new(
        inventory: Inventory,
        session: &SessionName,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        let limits = settings.limits(session);
        let batches = Batches::of(&inventory, limits.batch);
        let accumulated = accumulated_files(&inventory, limits.batch);
        let is_elsewhere = limits.creds.is_elsewhere(&inventory);
        let plan = |mode| {
            // Such a bot is never stopped; an emergency cleans it as a clean-up would.
            let mode = if is_elsewhere {
                CleanupMode::Cleanup
            } else {
                mode
            };
            possible(&inventory, now, &limits, mode, false)
        };
        let removable = CleanupMode::ALL
            .into_iter()
            .map(|mode| {
                let plan = plan(mode).map(|plan| plan.by_kind());
                (mode, plan.unwrap_or_default())
            })
            .collect();
        let after_emergency = plan(CleanupMode::Emergency).map(|plan| plan.accumulated_after);
        let oldest_active_session = inventory
            .readable()
            .filter(|entry| entry.kind() == Kind::Session)
            .map(|entry| entry.last_activity())
            .filter(|last| last.until(now) <= INACTIVE_FOR)
            .min();
        Self {
            batches,
            accumulated,
            tier: limits.thresholds.tier(accumulated),
            pre_keys: pre_keys(&inventory),
            removable,
            after_emergency,
            creds_elsewhere: (limits.creds == CredsPlace::Elsewhere).then_some(is_elsewhere),
            unreadable_sessions: inventory.unreadable_sessions(),
            newest_pre_key_missing: newest_pre_key_missing(&inventory),
            dormant: is_dormant(&inventory, now),
            oldest_active_session,
            inventory,
        }
    }
}
