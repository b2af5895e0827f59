//! Resumes the restarts that a crash or the end of the program interrupted, and those whose
//! sessions are not back.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::control::Service;
use crate::folder::{Found, SessionName};
use crate::remediator::runner::blocking;

use super::coordinator::RestartCoordinator;
use super::driver::Driver;
use super::folder_record;
use super::machine::GRACE;
use super::state::{Event, Forbids, HandedTo, Phase, Restart};

impl RestartCoordinator {
    /// Resumes pending restarts and those whose sessions are not back: at the start of the
    /// program, and at each later call. Skips restarts that are under way. `known` are the sessions
    /// of a discovery, which `is_complete` if it could look everywhere.
    pub async fn resume_pending_restarts(self: &Arc<Self>, known: &[Found], is_complete: bool) {
        self.resume(known, is_complete, false).await;
    }

    pub(super) async fn resume(
        self: &Arc<Self>,
        known: &[Found],
        is_complete: bool,
        only_start: bool,
    ) {
        self.discovered(known, is_complete);
        let read = self.ctx.with_store(|store| store.restarts().all()).await;
        let mut all = match read {
            Ok(all) => all,
            Err(error) => {
                tracing::error!("failed to load pending restarts: {error}");
                Vec::new()
            }
        };
        let lost = self.lost(known, &all).await;
        all.extend(lost);
        for state in all {
            let Some(lease) = self.lease(&state.service) else {
                continue;
            };
            // It may have ended since it was read.
            let (name, phase) = (state.service.clone(), state.phase);
            let still = self
                .ctx
                .with_store(move |store| store.restarts().of(&name))
                .await;
            let mut state = match still {
                Ok(Some(still)) => still,
                Ok(None) if phase != Phase::Released && !state.adopted => continue,
                _ => state,
            };
            state.adopted = false;
            let end = self.over().get(&state.id()).copied();
            if let Some(end) = end {
                if let Err(error) = self.forget(&state, end).await {
                    let service = &state.service;
                    tracing::error!(
                        service,
                        "failed to delete the record of a restart that is over; retrying: {error}"
                    );
                }
                continue;
            }
            // Do not wait for a session whose folder was removed. The next look saves that. A bot
            // whose start is due is reported as long as that is so.
            let starts_nothing = matches!(
                state.phase,
                Phase::RunningNotConnected | Phase::HandedOver(HandedTo::Config(Forbids::Removed))
            );
            if starts_nothing && !known.is_empty() {
                let is_here = |name: &str| known.iter().any(|found| found.session.as_str() == name);
                state.waiting.retain(|one| is_here(&one.session));
            }
            let service = self.service_of(&state, known);
            let forbids = match &service {
                None => Some(Forbids::Removed),
                Some(service) if !service.may_restart() => Some(Forbids::NotAllowed),
                Some(_) => None,
            };
            let first = match (forbids, state.phase) {
                (Some(how), Phase::HandedOver(HandedTo::Config(Forbids::Removed)))
                    if how == Forbids::Removed =>
                {
                    let (service, session) = (&state.service, &state.session);
                    tracing::error!(service, session, "{}", how.text());
                    Event::OwnRestart
                }
                (Some(how), _) => Event::Forbidden(how),
                (None, Phase::HandedOver(HandedTo::Config(_))) => Event::Configured,
                (None, _) => Event::OwnRestart,
            };
            if let Some(service) = &service {
                state.times = self.times(service);
            }
            if !state.phase.is_pending() && only_start {
                continue;
            }
            if state.phase.is_pending() {
                let (service, phase) = (&state.service, state.phase.label());
                tracing::warn!(service, phase, "resuming a pending restart");
            }
            if state.call_may_be_under_way(super::driver::now(&self.ctx.clock)) {
                let service = &state.service;
                tracing::warn!(service, "an earlier call may be under way; waiting for it");
            }
            let left_out = self.left_out(&state.service, known).await;
            let mut driver = Driver::new(self, lease, service, known, left_out, state);
            driver.only_start = only_start;
            self.spawn(driver, first);
        }
    }

    /// Looks up the service by the session of the restart or, if that matches another entry of
    /// `processes` now, by another session of the service.
    fn service_of(&self, state: &Restart, known: &[Found]) -> Option<Service> {
        let named = |session: &SessionName| {
            let service = self.ctx.settings.services.observed(session);
            service.filter(|service| service.name == state.service)
        };
        let own = SessionName::from_text(&state.session);
        named(&own).or_else(|| known.iter().find_map(|found| named(&found.session)))
    }

    /// The records in the quarantines of those folders that were not read before: each is read
    /// once, as soon as it answers, because a mount may appear late. Restarts that they call over
    /// are not resumed.
    async fn records(&self, known: &[Found]) -> Vec<(SessionName, Restart)> {
        let unread: Vec<Found> = {
            let mut read = self.folders_read();
            let here: BTreeSet<_> = known.iter().map(|found| found.place.path()).collect();
            read.retain(|path| here.contains(path));
            let is_new = |found: &&Found| !read.contains(&found.place.path());
            known.iter().filter(is_new).cloned().collect()
        };
        if unread.is_empty() {
            return Vec::new();
        }
        let state_path = self.ctx.settings.state_path.clone();
        let (sender, records) = std::sync::mpsc::channel();
        let reading = blocking(move || {
            for found in unread {
                // A folder that does not answer is read the next time.
                let (Ok(record), Ok(over)) = (
                    folder_record::read(&found, &state_path),
                    folder_record::over(&found, &state_path),
                ) else {
                    continue;
                };
                if sender.send((found, record, over)).is_err() {
                    return;
                }
            }
        });
        // A hung file system must not keep other bots down.
        let _ = self.ctx.clock.timeout(GRACE, reading).await;
        let mut read = self.folders_read();
        let records = records.try_iter().filter_map(|(found, record, over)| {
            read.insert(found.place.path());
            for (state, end) in over {
                if self.is_of(&found.session, &state) {
                    self.mark_over(&state, end);
                }
            }
            Some((found.session, record?))
        });
        records.collect()
    }

    /// Whether a record in the folder of `session` is valid: only one of its own service is.
    fn is_of(&self, session: &SessionName, state: &Restart) -> bool {
        match self.ctx.settings.services.of(session) {
            Some(service) => service.name == state.service,
            None => state.session == session.as_str(),
        }
    }

    /// Restarts that are recorded in the quarantines, and whose run is not in the journal.
    async fn lost(&self, known: &[Found], on_record: &[Restart]) -> Vec<Restart> {
        let found = self.records(known).await;
        let is_its_own = |(session, state): &(SessionName, Restart)| {
            let is_its_own = self.is_of(session, state);
            if !is_its_own {
                tracing::error!(
                    %session,
                    service = state.service,
                    "not resuming the restart recorded in the folder of this session, because the configuration assigns another service to the session; check whether the bot runs"
                );
            }
            is_its_own
        };
        let mut found: Vec<Restart> = found
            .into_iter()
            .filter(is_its_own)
            .map(|(_, state)| without_places(state))
            .collect();
        found.sort_by(|a, b| (&a.service, b.awaited).cmp(&(&b.service, a.awaited)));
        found.dedup_by(|a, b| a.service == b.service);
        let mut lost = Vec::new();
        for mut state in found {
            let is_on_record = on_record.iter().any(|one| one.service == state.service);
            let asked = state.clone();
            let is_over = self
                .ctx
                .with_store(move |store| store.restarts().knows_run_of(&asked))
                .await
                .unwrap_or(false);
            let is_known = is_on_record || is_over || self.adopted().contains(&state.id());
            if is_known || !state.phase.is_pending() {
                continue;
            }
            let service = &state.service;
            tracing::error!(
                service,
                "the journal has lost this restart; resuming it from the quarantine"
            );
            // After a reload it is resumed from the journal.
            let record = state.clone();
            let saved = self
                .ctx
                .with_store(move |store| store.restarts().save(&record))
                .await;
            match saved {
                Ok(()) => {
                    self.adopted().insert(state.id());
                }
                Err(error) => tracing::error!("failed to save a pending restart: {error}"),
            }
            state.adopted = true;
            lost.push(state);
        }
        lost
    }
}

/// A record from a quarantine, without the paths of folders: the owner of the folder can write it,
/// and a creds.json is put back only where discovery finds the session.
fn without_places(mut state: Restart) -> Restart {
    state.folders.clear();
    state.before = state.before.map(|before| Box::new(without_places(*before)));
    state
}
