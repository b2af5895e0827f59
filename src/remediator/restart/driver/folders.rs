//! The folders of the process that is restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::folder::scan::FolderPath;
use crate::folder::{Found, SessionName};
use crate::remediator::insurance::stop::is_missing;
use crate::remediator::restart::coordinator::RestartCoordinator;
use crate::remediator::restart::state::{Phase, WaitingSession};

use super::Driver;

impl Driver {
    /// All folders whose creds.json the stop may tear, each once: also those that held a whole one
    /// before the stop, and are not found now.
    pub(super) fn folders_of_the_process(&self) -> Vec<Found> {
        let mut all = [&self.sessions[..], &self.left_out].concat();
        for (session, path) in &self.state.folders {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let found = Found {
                session: SessionName::from_text(session),
                place: FolderPath {
                    parent: parent.to_owned(),
                    name: name.to_owned(),
                },
            };
            let is_same = |one: &Found| one.session == found.session || one.place == found.place;
            if !all.iter().any(is_same) {
                all.push(found);
            }
        }
        all
    }

    /// Where these are. A path that JSON cannot hold is left out.
    pub(super) fn places(&self) -> BTreeMap<String, PathBuf> {
        let all = self.folders_of_the_process();
        let places = all
            .iter()
            .map(|found| (found.session.to_string(), found.place.path()));
        places.filter(|(_, path)| path.to_str().is_some()).collect()
    }

    /// A restart may wait for days: a mount that was late, and a folder that was moved, are found
    /// meanwhile. What is not found any more stays, as it may only hang.
    pub(super) fn take_up_found(&mut self) {
        if self.state.phase == Phase::Checking {
            return;
        }
        for found in self.coordinator.found_last().iter() {
            let services = &self.coordinator.ctx.settings.services;
            let service = services.of(&found.session).map(|service| service.name);
            put(&mut self.known, found);
            if service.as_ref() == Some(&self.state.service) {
                self.left_out.retain(|one| one.session != found.session);
                put(&mut self.sessions, found);
            }
        }
    }
}

/// Adds it, in the place of one of the same name.
fn put(all: &mut Vec<Found>, found: &Found) {
    match all.iter_mut().find(|one| one.session == found.session) {
        Some(one) => one.place.clone_from(&found.place),
        None => all.push(found.clone()),
    }
}

/// Whether none of these sessions has a folder. `false` unless the last discovery could look
/// everywhere, and found others: a mount may be missing.
pub(super) async fn are_gone(
    coordinator: &Arc<RestartCoordinator>,
    waiting: &[WaitingSession],
) -> bool {
    let Some(all) = coordinator.found_completely() else {
        return false;
    };
    let names: BTreeSet<&str> = waiting.iter().map(|one| one.session.as_str()).collect();
    for found in all.iter() {
        // One that the configuration names is found even before it exists.
        if names.contains(found.session.as_str()) && !is_missing(found).await {
            return false;
        }
    }
    true
}
