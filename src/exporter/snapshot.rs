//! One look at every auth folder: discovery, scan, and what policy makes of it.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::folder::discovery::{ProblemLog, Skipped, explain};
use crate::folder::scan::{CREDS_LOOKS, CREDS_SECOND_LOOK, needs_second_look, read_creds, scan};
use crate::folder::{
    Discovery, FolderPath, Found, Inventory, Kind, ReadCache, SessionName, Timestamp,
};
use crate::policy::guard::INACTIVE_FOR;
use crate::policy::{
    Batches, CleanupMode, Thresholds, Tier, accumulated_files, is_dormant, newest_pre_key_missing,
    pre_keys, removable,
};

/// Every session at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The sessions, by name.
    pub sessions: Vec<SessionView>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
    /// How long the look took.
    pub took: Duration,
    /// When it was.
    pub at: Timestamp,
}

impl Snapshot {
    /// Whether everything that was to be looked at could be.
    pub fn is_complete(&self) -> bool {
        self.skipped.is_empty() && self.sessions.iter().all(|view| view.state.is_ok())
    }
}

/// One session.
#[derive(Debug)]
pub struct SessionView {
    /// Its name.
    pub session: SessionName,
    /// Where its tiers begin.
    pub thresholds: Thresholds,
    /// What was seen, or why nothing could be.
    pub state: Result<Measured, String>,
}

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
    /// Whether creds.json counts a newest pre-key whose file is not there.
    pub newest_pre_key_missing: Option<bool>,
    /// Whether a clean-up would be refused as dormant.
    pub dormant: bool,
    /// Last activity of the session that has been silent longest among those active
    /// within 14 days.
    pub oldest_active_session: Option<Timestamp>,
}

impl Measured {
    fn new(
        inventory: Inventory,
        session: &SessionName,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        let limits = settings.limits(session);
        let batches = Batches::of(&inventory, limits.batch);
        let accumulated = accumulated_files(&inventory, batches.measured);
        let removable = CleanupMode::ALL
            .into_iter()
            .map(|column| (column, removable(&inventory, now, &limits, column, false)))
            .collect();
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
            newest_pre_key_missing: newest_pre_key_missing(&inventory),
            dormant: is_dormant(&inventory, now),
            oldest_active_session,
            inventory,
        }
    }
}

/// Looks at the folders, again and again; remembers what need not be read twice.
#[derive(Debug)]
pub struct Collector {
    settings: Arc<Settings>,
    discovery: Discovery,
    caches: HashMap<FolderPath, ReadCache>,
    problems: ProblemLog,
    clock: Clock,
}

impl Collector {
    /// A collector for these settings.
    pub fn new(settings: Arc<Settings>, clock: Clock) -> Self {
        Self {
            discovery: settings.discovery(),
            settings,
            caches: HashMap::new(),
            problems: ProblemLog::default(),
            clock,
        }
    }

    /// Looks at everything once. Blocks.
    pub fn collect(&mut self) -> Snapshot {
        let began = self.clock.now();
        let survey = self.discovery.survey();
        let mut scanned: Vec<(Found, std::io::Result<Inventory>)> = Vec::new();
        let mut caches = HashMap::new();
        for found in survey.found {
            let mut cache = self
                .caches
                .remove(&found.place)
                .unwrap_or_else(|| ReadCache::new(self.clock.clone()));
            let scan = found
                .place
                .open()
                .and_then(|fd| scan(fd.as_fd(), &mut cache));
            caches.insert(found.place.clone(), cache);
            scanned.push((found, scan));
        }
        self.caches = caches;
        second_look(&mut scanned, &self.clock);
        let at = Timestamp::of(&self.clock);
        let sessions = scanned
            .into_iter()
            .map(|(found, scan)| {
                let state = scan
                    .map(|inventory| Measured::new(inventory, &found.session, &self.settings, at))
                    .map_err(|error| explain(&error));
                let thresholds = self.settings.limits(&found.session).thresholds;
                SessionView {
                    session: found.session,
                    thresholds,
                    state,
                }
            })
            .collect();
        let snapshot = Snapshot {
            sessions,
            skipped: survey.skipped,
            took: self.clock.since(began),
            at,
        };
        self.report(&snapshot);
        snapshot
    }

    fn report(&mut self, snapshot: &Snapshot) {
        let skipped = snapshot
            .skipped
            .iter()
            .map(|skipped| skipped.message.clone());
        let unseen = snapshot.sessions.iter().filter_map(|view| {
            let error = view.state.as_ref().err()?;
            Some(format!(
                "session {} cannot be looked at: {error}",
                view.session
            ))
        });
        self.problems.report(skipped.chain(unseen));
    }
}

/// One pause for all folders whose creds.json looks broken or gone, then a second read:
/// Baileys writes it in place.
fn second_look(scanned: &mut [(Found, std::io::Result<Inventory>)], clock: &Clock) {
    let mut doubtful: Vec<(&FolderPath, &mut Inventory)> = scanned
        .iter_mut()
        .filter_map(|(found, scan)| Some((&found.place, scan.as_mut().ok()?)))
        .filter(|(_, inventory)| needs_second_look(&inventory.creds))
        .collect();
    for _ in 0..CREDS_LOOKS {
        doubtful.retain(|(_, inventory)| needs_second_look(&inventory.creds));
        if doubtful.is_empty() {
            return;
        }
        clock.block(CREDS_SECOND_LOOK);
        for (place, inventory) in &mut doubtful {
            if let Ok(fd) = place.open() {
                inventory.creds = read_creds(fd.as_fd());
            }
        }
    }
}
