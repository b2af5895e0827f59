//! The locks of the folders of a service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use tokio::task::JoinSet;

use crate::folder::{Found, SessionName};
use crate::remediator::quarantine::{LockedFolder, Obstacle};
use crate::remediator::restart::folder_record::{self, Kept};
use crate::remediator::restart::machine::PERSIST_WITHIN;
use crate::remediator::restart::state::{Event, Restart, RestartEnd, RestartId};
use crate::remediator::runner::{self, Context, Folders, WeakFolders, blocking};

use super::effect_output::{EffectOutput, refused};
use super::looks::other_call_may_be_under_way;

/// A folder that cannot be opened within this time counts as hung.
const OPENED_WITHIN: Duration = Duration::from_secs(6);
/// Time limit for the locks of all other folders together.
const LOCKED_WITHIN: Duration = Duration::from_secs(6);

/// Why the locks are not held.
pub(in crate::remediator::restart) enum NotLocked {
    /// Another process holds the lock of the folder of this session.
    Busy(SessionName),
    /// The one folder that must be lockable is not.
    Own(Obstacle),
}

/// Takes the lock of every folder, after a pause. A lock that a write of this restart still has,
/// `last_held`, is taken over.
pub(super) async fn lock(
    clock: Clock,
    id: u64,
    after: Duration,
    sessions: Vec<Found>,
    own: Option<SessionName>,
    restart: RestartId,
    last_held: WeakFolders,
) -> (Event, EffectOutput) {
    clock.sleep(after).await;
    let folders = match lock_all(&clock, &sessions, own.as_ref(), &last_held).await {
        Ok(folders) => folders,
        Err(NotLocked::Busy(_)) => return (Event::LockBusy(id), EffectOutput::None),
        Err(NotLocked::Own(error)) => return (Event::LockBusy(id), refused(error.into())),
    };
    match other_call_may_be_under_way(&clock, sessions, Some(restart)).await {
        true => (Event::LockBusy(id), EffectOutput::None),
        false => (Event::Locked(id), EffectOutput::Locked(folders)),
    }
}

/// Takes the lock of every folder. A folder that cannot be locked is left out, so that a hung file
/// system does not keep a bot down; `own` must be lockable.
pub(in crate::remediator::restart) async fn lock_all(
    clock: &Clock,
    sessions: &[Found],
    own: Option<&SessionName>,
    last_held: &WeakFolders,
) -> Result<Folders, NotLocked> {
    // Two processes that lock the same folders do so in the same order.
    let mut sessions: Vec<&Found> = sessions.iter().collect();
    sessions.sort_by(|a, b| a.session.as_str().cmp(b.session.as_str()));
    let answering = answering(clock, &sessions).await;
    let began = clock.now();
    let mut folders = BTreeMap::new();
    for found in sessions {
        let locked = match answering.contains(found.session.as_str()) {
            true => {
                let within = LOCKED_WITHIN.saturating_sub(clock.since(began));
                lock_or_take_over(clock, found, last_held, within).await
            }
            false => Err(Obstacle::Io("opening the folder takes too long".into())),
        };
        match locked {
            Ok(folder) => _ = folders.insert(found.session.to_string(), folder),
            Err(Obstacle::Locked) => return Err(NotLocked::Busy(found.session.clone())),
            Err(error) if own == Some(&found.session) => return Err(NotLocked::Own(error)),
            Err(error) => {
                tracing::warn!(session = %found.session, "continuing without the lock of its folder: {error}");
            }
        }
    }
    Ok(Folders(folders))
}

async fn lock_or_take_over(
    clock: &Clock,
    found: &Found,
    last_held: &WeakFolders,
    within: Duration,
) -> Result<Arc<LockedFolder>, Obstacle> {
    let began = clock.now();
    if let Some(folder) = last_held.get(found.session.as_str()) {
        let confirmed = clock.timeout(within, folder.confirm_place_async(&found.place));
        if matches!(confirmed.await, Ok(Ok(()))) {
            return Ok(folder);
        }
    }
    let within = within.saturating_sub(clock.since(began));
    runner::lock_within(clock, found, within).await
}

/// Sessions whose folder can be opened, or fails at once. All are tried at the same time, so that
/// several hung folders cost the time limit only once.
async fn answering(clock: &Clock, sessions: &[&Found]) -> BTreeSet<String> {
    let mut looks = JoinSet::new();
    for found in sessions.iter().copied().cloned() {
        looks.spawn(async move {
            let place = found.place;
            blocking(move || _ = place.open()).await;
            found.session.to_string()
        });
    }
    let mut answering = BTreeSet::new();
    let asked = async {
        while let Some(looked) = looks.join_next().await {
            answering.extend(looked.ok());
        }
    };
    let _ = clock.timeout(OPENED_WITHIN, asked).await;
    answering
}

/// Marks the records in the locked folders as over. They do not wait for a journal that hangs: the
/// locks are given back next.
pub(super) async fn end_records(ctx: &Context, folders: Folders, state: Restart, end: RestartEnd) {
    let state_path = ctx.settings.state_path.clone();
    let ending = move || folder_record::keep(&folders.0, &state_path, &state, Kept::Over(end));
    let _ = ctx.clock.timeout(PERSIST_WITHIN, blocking(ending)).await;
}

/// Whether the path of each locked folder still leads to it. A folder that does not answer in
/// time counts as replaced.
pub(super) async fn still_protect(clock: &Clock, folders: Folders, sessions: &[Found]) -> bool {
    let places: Vec<_> = sessions
        .iter()
        .filter_map(|found| {
            let folder = folders.0.get(found.session.as_str())?;
            Some((folder.clone(), found.place.clone()))
        })
        .collect();
    let looked = blocking(move || {
        let mut all = places.iter();
        all.all(|(folder, place)| folder.confirm_place(place).is_ok())
    });
    clock.timeout(OPENED_WITHIN, looked).await.unwrap_or(false)
}

#[cfg(test)]
mod tests;
