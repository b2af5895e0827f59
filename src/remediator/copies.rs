//! Which sessions share their login with another one: a copy of a folder is not cleaned.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::folder::scan::{read_creds, scan_settled};
use crate::folder::{BoundedBlocking, FolderPath, Found, ReadCache, SessionName, Timestamp};
use crate::policy::{LoginFolder, SameLogin, same_logins};

use super::outcome::RunError;
use super::runner::blocking;

/// How long a look at one folder may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// The sessions that share their login with another one of `found`. Reads each creds.json, and
/// scans the folders of those that share one. A folder that cannot be read has no part in it.
/// Blocks.
pub fn of(found: &[Found], now: Timestamp) -> BTreeMap<SessionName, SameLogin> {
    let mut round = BoundedBlocking::default()
        .with_timeout(LOOK_TIMEOUT)
        .round();
    let places = |found: &[&Found]| -> Vec<_> {
        let places = found.iter().map(|found| found.place.clone());
        places.map(|place| (place.path(), place)).collect()
    };
    let all: Vec<&Found> = found.iter().collect();
    let read = |place: FolderPath| {
        let folder = place.open().ok()?;
        read_creds(folder.as_fd()).facts()?.login
    };
    let logins = round.run_all(places(&all), read).into_iter();
    let logins: Vec<_> = logins.map(|login| login.ok().flatten()).collect();
    let (mut seen, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for login in logins.iter().flatten() {
        if !seen.insert(*login) {
            shared.insert(*login);
        }
    }
    let of_several = all.into_iter().zip(&logins);
    let of_several = of_several.filter(|(_, login)| login.is_some_and(|own| shared.contains(&own)));
    let of_several: Vec<&Found> = of_several.map(|(found, _)| found).collect();
    let scan = move |place: FolderPath| {
        let folder = place.open().ok()?;
        let scanned = scan_settled(folder.as_fd(), &mut ReadCache::default()).ok()?;
        LoginFolder::of(&scanned, now)
    };
    let folders = round.run_all(places(&of_several), scan).into_iter();
    let folders = folders.map(|folder| folder.ok().flatten());
    let folders = of_several.iter().zip(folders);
    same_logins(
        folders.filter_map(|(found, folder)| Some((&found.session, folder?))),
        now,
    )
}

/// Refuses a run on a folder that is a copy of another one of `known`.
pub async fn refuse_copy(found: &Found, known: Vec<Found>, now: Timestamp) -> Result<(), RunError> {
    let mut same_logins = blocking(move || of(&known, now)).await;
    match same_logins.remove(&found.session) {
        Some(same) if same.is_copy() => Err(RunError::CopiedFolder(same)),
        _ => Ok(()),
    }
}
