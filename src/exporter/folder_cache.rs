//! One folder, looked at again and again. What depends on names alone is not looked at again
//! while the directory is unchanged; creds.json is checked each time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::folder::scan::{RACY, needs_second_look, read_creds, scan, stat};
use crate::folder::unchanged::{DirectoryStamp, HOLDS_FOR, Listed, ScanTime};
use crate::folder::{Creds, FolderPath, Inventory, ReadCache, SessionName, Stamp, Timestamp};

use super::folder_error::FolderError;
use super::measured::Measured;

/// Every file is looked at again within this time: ages and activity are never older.
pub const SCANNED_AGAIN_WITHIN: Duration = HOLDS_FOR;
/// So that this holds between two scrapes as well, one round of full looks takes less.
const ROUND: Duration = Duration::from_secs(240);

/// What is remembered of a folder.
#[derive(Debug)]
pub(super) struct FolderCache {
    reads: ReadCache,
    last: Option<LastScan>,
    clock: Clock,
}

/// The last full look, and what is known to hold since.
#[derive(Debug)]
struct LastScan {
    session: SessionName,
    listed: Listed,
    creds: CredsSeen,
    /// Everything could be read.
    is_certain: bool,
    measured: Arc<Measured>,
}

/// creds.json when it was read; without a stamp it was not there.
#[derive(Clone, Copy, Debug)]
struct CredsSeen {
    stamp: Option<Stamp>,
    at: Timestamp,
}

impl CredsSeen {
    fn of(fd: BorrowedFd<'_>, at: Timestamp) -> io::Result<Self> {
        let stamp = stat(fd, "creds.json")?.map(|(_, stamp)| stamp);
        Ok(Self { stamp, at })
    }

    /// Whether it cannot have been rewritten between this and `later`.
    fn is_same(&self, later: &Self) -> bool {
        let is_old = |stamp: Stamp| stamp.changed.plus(RACY) < self.at;
        self.stamp == later.stamp && self.stamp.is_none_or(is_old)
    }
}

/// The outcome of a look.
#[derive(Debug)]
pub(super) enum ScanOutcome {
    /// The folder, and when its files were last looked at.
    Measured(Arc<Measured>, ScanTime),
    /// No auth folder, and none before.
    NotAnAuthFolder(FolderError),
    /// creds.json looks broken or gone, and did not before: it may be written now.
    Doubtful,
}

/// How to look.
#[derive(Clone, Debug)]
pub(super) enum ScanMode {
    /// At what may have changed.
    Changes,
    /// At each file.
    Full,
    /// At each file, after a pause because creds.json was doubtful; with what it said then, if it
    /// could be read.
    Again(Option<Creds>),
}

impl FolderCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            reads: ReadCache::new(clock.clone()),
            last: None,
            clock,
        }
    }

    /// Looks at a folder. Blocks.
    ///
    /// Errors: it cannot be opened or listed.
    pub(super) fn look(
        &mut self,
        place: &FolderPath,
        session: &SessionName,
        settings: &Settings,
        how: ScanMode,
    ) -> io::Result<ScanOutcome> {
        let fd = place.open()?;
        let fd = fd.as_fd();
        let now = ScanTime::of(&self.clock);
        if matches!(how, ScanMode::Changes)
            && let Some(looked) = self.unchanged(fd, session, now)
        {
            return Ok(looked);
        }
        let listed = Listed::before(fd, &self.clock)?;
        let creds = CredsSeen::of(fd, now.wall)?;
        let mut inventory = scan(fd, &mut self.reads)?;
        let mut is_certain = is_certain(&inventory);
        if needs_second_look(&inventory.creds) && !self.is_known(&inventory.creds, &creds) {
            match how {
                ScanMode::Again(Some(settled)) => inventory.creds = settled,
                ScanMode::Again(None) => is_certain = false,
                ScanMode::Changes | ScanMode::Full => return Ok(ScanOutcome::Doubtful),
            }
        }
        if !inventory.history.was_auth_folder {
            self.last = None;
            return Ok(ScanOutcome::NotAnAuthFolder(not_an_auth_folder(&inventory)));
        }
        let measured = Arc::new(Measured::new(&inventory, session, settings, now.wall));
        self.last = Some(LastScan {
            session: session.clone(),
            listed,
            creds,
            is_certain,
            measured: Arc::clone(&measured),
        });
        Ok(ScanOutcome::Measured(measured, listed.at()))
    }

    /// The last look, if it still holds.
    fn unchanged(
        &mut self,
        fd: BorrowedFd<'_>,
        session: &SessionName,
        now: ScanTime,
    ) -> Option<ScanOutcome> {
        let last = self.last.as_mut()?;
        let stamp = DirectoryStamp::of(fd).ok()?;
        let until = last.measured.holds_until;
        if !last.is_certain
            || last.session != *session
            || !last.listed.holds(&stamp, &now)
            || until.is_some_and(|until| now.wall >= until)
        {
            return None;
        }
        let creds = CredsSeen::of(fd, now.wall).ok()?;
        if !last.creds.is_same(&creds) {
            let said = read_creds(fd);
            if said != last.measured.creds || needs_second_look(&said) {
                return None;
            }
            last.creds = creds;
        }
        let measured = Arc::clone(&last.measured);
        Some(ScanOutcome::Measured(measured, last.listed.at()))
    }

    /// Whether creds.json said this at the last look, and was not written since.
    fn is_known(&self, creds: &Creds, seen: &CredsSeen) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| last.measured.creds == *creds && last.creds.is_same(seen))
    }
}

/// Whether everything could be read. What could not, such as for a lack of descriptors, is tried
/// again at the next look.
fn is_certain(inventory: &Inventory) -> bool {
    !matches!(inventory.creds, Creds::Unreadable(_))
        && inventory.readable().count() == inventory.files().len()
}

/// Where an operator named a directory that is no auth folder, and was none before.
fn not_an_auth_folder(inventory: &Inventory) -> FolderError {
    let message = format!(
        "it is not an auth folder: it holds no creds.json and no key of Baileys, and {} other files; give the folder that holds creds.json, or wait until the bot has logged in",
        inventory.files().len()
    );
    FolderError {
        reason: "not_an_auth_folder",
        message,
    }
}

/// Which of the folders are looked at in full now. `looked` tells for each when that was last
/// done, if it was, and `before` when this was asked last: the folders take turns, and each has
/// one within [`SCANNED_AGAIN_WITHIN`]. All times since the boot of the machine. Pure.
pub(super) fn due(
    looked: &[Option<Duration>],
    now: Duration,
    before: Option<Duration>,
) -> Vec<bool> {
    let waited = before.map_or(ROUND, |before| now.saturating_sub(before));
    let share = (waited.as_secs_f64() / ROUND.as_secs_f64()).min(1.0);
    let turns = (share * looked.len() as f64).ceil() as usize;
    let mut due: Vec<bool> = looked
        .iter()
        .map(|at| at.is_none_or(|at| now.saturating_sub(at) >= SCANNED_AGAIN_WITHIN))
        .collect();
    let mut oldest: Vec<(Duration, usize)> = looked
        .iter()
        .enumerate()
        .filter_map(|(index, at)| Some(((*at)?, index)))
        .collect();
    oldest.sort_unstable();
    for (_, index) in oldest.into_iter().take(turns) {
        due[index] = true;
    }
    due
}

#[cfg(test)]
mod tests;
