//! Restarts outside a running `serve`: an operator's command is refused during a restart, or
//! stops or starts a service itself; a `serve` that fails to start makes the pending starts
//! before it exits.

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::control::{Presence, Service};
use crate::folder::{Found, SessionName};
use crate::remediator::quarantine::{LockedFolder, Obstacle};
use crate::remediator::runner::{Context, WeakFolders, blocking};
use crate::remediator::serve::lock_state;
use crate::remediator::store::{FILE, Store, StoreError};

use super::checks::folders_left_out;
use super::coordinator::RestartCoordinator;
use super::driver::{NotLocked, call, lock_all, now, other_call_may_be_under_way, presence};
use super::folder_record;
use super::machine::{GRACE, LONGEST_CALL, LOOK_EVERY, PERSIST_WITHIN};
use super::run::shows_within;
use super::state::{Call, CallKind, HandedTo, Phase, Restart, Returned};

/// Time limit for all pending starts; the rest is left to the next try. Longer if a service has
/// longer timeouts.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// Why an operator's command must not touch this session: its service is being restarted, and
/// would be started during the command. `None` if no restart is pending, or if a pause keeps
/// `serve` from starting it again.
pub fn pending_restart_of(
    settings: &Settings,
    store: &Store,
    session: &SessionName,
) -> Result<Option<String>, StoreError> {
    let Some(state) = pending_of(settings, store, session)? else {
        return Ok(None);
    };
    let name = &state.service;
    let paused = store.pause().state()?.paused.is_some();
    Ok(match state.phase {
        // Only a person starts it.
        Phase::HandedOver(HandedTo::Config(_)) if settings.services.of(session).is_none() => None,
        Phase::Down | Phase::HandedOver(HandedTo::Pause) if paused => None,
        Phase::Down | Phase::HandedOver(HandedTo::Pause) => Some(format!(
            "the service {name} was stopped for a clean-up and does not start; `serve` retries every minute, also while this command runs. Pause that first: baileys_remediator pause --reason \"…\"; afterwards: baileys_remediator resume"
        )),
        phase => Some(format!(
            "the remediator has stopped the service {name} for a clean-up and is about to start it again (phase {}), which would happen while this command runs. Keep `serve` running, and wait until `baileys_remediator status` shows no phase for the service, or `down`",
            phase.label()
        )),
    })
}

/// The pending restart of the service of a session.
fn pending_of(
    settings: &Settings,
    store: &Store,
    session: &SessionName,
) -> Result<Option<Restart>, StoreError> {
    let service = settings.services.of(session).map(|service| service.name);
    let is_ours = |state: &Restart| match &service {
        Some(name) => state.service == *name,
        None => state.session == session.as_str(),
    };
    Ok(store.restarts().pending()?.into_iter().find(is_ours))
}

/// Why an operator must not start the service of this session: a restart is pending that first
/// puts back a creds.json which the stop has damaged. `None` if that is done, or if only a person
/// starts the service.
fn pending_start_of(
    settings: &Settings,
    store: &Store,
    session: &SessionName,
) -> Result<Option<String>, StoreError> {
    let Some(state) = pending_of(settings, store, session)? else {
        return Ok(None);
    };
    Ok(match state.phase {
        Phase::Down | Phase::HandedOver(_) => None,
        phase => Some(format!(
            "the remediator has stopped the service {} for a clean-up and starts it again (phase {}), after it has put back a creds.json that the stop has damaged. If `serve` does not run, start that",
            state.service,
            phase.label()
        )),
    })
}

/// The pending restart that forbids this stop or start. `None` also if the journal cannot be read:
/// the operator may be working on exactly this problem.
async fn pending_restart_against(
    clock: &Clock,
    settings: &Settings,
    session: &SessionName,
    stop: bool,
) -> Option<String> {
    if !settings.state_path.join(FILE).exists() {
        return None;
    }
    let (settings, session) = (settings.clone(), session.clone());
    let read = blocking(move || {
        let store = Store::open_existing(&settings.state_path)?;
        match stop {
            true => pending_restart_of(&settings, &store, &session),
            false => pending_start_of(&settings, &store, &session),
        }
    });
    let failed = match clock.timeout(GRACE, read).await {
        Ok(Ok(pending)) => return pending,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "timeout".into(),
    };
    tracing::warn!("continuing without the pending restarts: {failed}");
    None
}

/// The folders of the process of a service, also those that the configuration gives another
/// service or leaves out.
async fn folders_of(
    clock: &Clock,
    settings: &Settings,
    service: &Service,
    known: &[Found],
) -> Vec<Found> {
    let process = service.id().ok();
    let is_its_own = |found: &&Found| {
        let other = settings.services.observed(&found.session);
        other.is_some_and(|other| {
            other.name == service.name || (process.is_some() && other.id().ok() == process)
        })
    };
    let mut folders: Vec<Found> = known.iter().filter(is_its_own).cloned().collect();
    folders.extend(folders_left_out(clock, settings, &service.name, known).await);
    folders
}

/// Stops or starts the service of a session for an operator: one call of the driver, under the
/// same locks. Refused while a run or a restart has the service. Waits until it is gone
/// (`gone_timeout`), or runs (as long as `serve` waits). Says whether that worked, and whether it
/// runs. The journal gets no restart, because that would be completed by a start.
pub async fn call_for_operator(
    clock: &Clock,
    settings: &Settings,
    service: &Service,
    session: &SessionName,
    known: &[Found],
    stop: bool,
) -> (Result<(), String>, Presence) {
    let sessions = folders_of(clock, settings, service, known).await;
    let folders = match lock_all(clock, &sessions, None, &WeakFolders::default()).await {
        Ok(folders) => folders,
        Err(NotLocked::Busy(session)) => {
            let why = format!("{session}: {}", Obstacle::Locked);
            return (Err(why), presence(clock, service).await);
        }
        Err(NotLocked::Own(error)) => {
            return (Err(error.to_string()), presence(clock, service).await);
        }
    };
    // Under the locks, so that none begins meanwhile.
    if let Some(why) = pending_restart_against(clock, settings, session, stop).await {
        return (Err(why), presence(clock, service).await);
    }
    // With both starts, two processes with one identity would run.
    if !stop && other_call_may_be_under_way(clock, sessions, None).await {
        let why = "a call of a remediator that has ended may still be under way; check again in a minute, and start the service if it does not run then";
        return (Err(why.into()), presence(clock, service).await);
    }
    let (kind, wanted, within) = match stop {
        true => (CallKind::Stop, Presence::Gone, service.gone_timeout),
        false => (CallKind::Start, Presence::Running, shows_within(service)),
    };
    // A start may return before the process shows. Until then its record keeps others away.
    let timeout = match stop {
        true => service.stop_timeout,
        false => (service.start_timeout + within).min(LONGEST_CALL / 2),
    };
    // If this command is killed, its call goes on: the record prevents a second start meanwhile.
    let record = Call::new(0, kind, now(clock), timeout);
    let folders: Arc<[_]> = folders.0.into_values().collect();
    let written = move |folder: &_| folder_record::write_call(folder, &record);
    note_call(clock, &folders, written).await;
    let (returned, error) = match call(service, kind, None).await {
        // Nothing is to be done about that.
        (Returned::AlreadyStopped, error) => (Returned::Ok, error),
        called => called,
    };
    let presence = match returned {
        Returned::Ok => shows(clock, service, &wanted, within).await,
        _ => presence(clock, service).await,
    };
    if returned != Returned::Timeout {
        let removed = |folder: &_| folder_record::remove_call(folder).map_err(|e| e.to_string());
        note_call(clock, &folders, removed).await;
    }
    let done = match (returned, &presence) {
        (Returned::Ok, presence) if *presence == wanted => Ok(()),
        (Returned::Ok, _) => Err(format!(
            "the {} ended without an error, but {} later the service {}",
            if stop { "stop" } else { "start" },
            humantime::format_duration(within),
            match &presence {
                Presence::Running => "still runs".to_owned(),
                Presence::Gone => "does not run".to_owned(),
                Presence::Unknown(why) => format!("may run or not: {why}"),
            }
        )),
        _ => Err(error.map_or_else(String::new, |error| error.to_string())),
    };
    (done, presence)
}

/// Whether it runs, once it is as wanted, or this time is over.
async fn shows(clock: &Clock, service: &Service, wanted: &Presence, within: Duration) -> Presence {
    let until = clock.now() + within;
    loop {
        let presence = presence(clock, service).await;
        if presence == *wanted || clock.now() >= until {
            return presence;
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

/// Writes or removes the record of the call in each folder. A hung file system does not prevent
/// the stop or the start.
async fn note_call(
    clock: &Clock,
    folders: &Arc<[Arc<LockedFolder>]>,
    note: impl Fn(&Arc<LockedFolder>) -> Result<(), String> + Send + 'static,
) {
    let folders = Arc::clone(folders);
    let noted = blocking(move || {
        for folder in folders.iter() {
            if let Err(error) = note(folder) {
                tracing::warn!("failed to note the call in the quarantine: {error}");
            }
        }
    });
    if clock.timeout(PERSIST_WITHIN, noted).await.is_err() {
        tracing::warn!("failed to note the call in the quarantine: timeout");
    }
}

/// For a `serve` that cannot start (a token file that others can read, an address in use, a
/// journal that cannot be read): makes the pending starts anyway, because nothing else would.
/// The restarts stay recorded, because no connection was seen.
pub async fn start_pending_without_serving(settings: &Settings, clock: Clock) {
    let survey = settings.discovery().survey();
    let is_complete = survey.is_complete();
    let known = survey.found;
    // If another `serve` uses the state directory, that one makes the starts.
    let has_journal = settings.state_path.join(FILE).exists();
    let _lock = match has_journal.then(|| lock_state(&settings.state_path)) {
        Some(Ok(None)) => return,
        // The locks of the folders still exclude another remediator.
        Some(Err(error)) => {
            tracing::error!("{error}");
            None
        }
        Some(Ok(lock)) => lock,
        None => None,
    };
    let store = match has_journal.then(|| Store::open_existing(&settings.state_path)) {
        Some(Ok(store)) => Ok(store),
        Some(Err(error)) => {
            tracing::error!("failed to load pending restarts: {error}");
            Store::in_memory()
        }
        None => Store::in_memory(),
    };
    let store = match store {
        Ok(store) => store,
        Err(error) => return tracing::error!("{error}"),
    };
    let coordinator = RestartCoordinator::new(Context::new(settings.clone(), store, clock));
    coordinator.resume(&known, is_complete, true).await;
    let longest = settings
        .services
        .names(known.iter().map(|found| &found.session))
        .values()
        .filter_map(|sessions| settings.services.of(sessions.first()?))
        .map(|service| (service.stop_timeout + service.start_timeout) * 2)
        .max();
    let longest = START_TIMEOUT.max(longest.unwrap_or_default());
    let clock = &coordinator.ctx.clock;
    if clock.timeout(longest, coordinator.drained()).await.is_err() {
        tracing::error!("timeout: not all pending starts are complete");
    }
}

#[cfg(test)]
mod tests;
