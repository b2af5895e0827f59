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
use crate::remediator::runner::{self, Context, blocking};
use crate::remediator::serve::lock_state;
use crate::remediator::store::{FILE, Store, StoreError};

use super::coordinator::RestartCoordinator;
use super::driver::{call, now, other_call_may_be_under_way, presence};
use super::folder_record;
use super::machine::{LONGEST_CALL, LOOK_EVERY, PERSIST_WITHIN};
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
    let service = settings.services.of(session).map(|service| service.name);
    let is_ours = |state: &Restart| match &service {
        Some(name) => state.service == *name,
        None => state.session == session.as_str(),
    };
    let Some(state) = store.restarts().pending()?.into_iter().find(is_ours) else {
        return Ok(None);
    };
    let name = &state.service;
    let paused = store.pause().state()?.paused.is_some();
    Ok(match state.phase {
        // Only a person starts it.
        Phase::HandedOver(HandedTo::Config(_)) if service.is_none() => None,
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

/// Stops or starts a service for an operator, under the locks of its folders, so that no run is
/// under way on them. Waits until it is gone (`gone_timeout`), or runs (as long as `serve`
/// waits). Says whether that worked, and whether it runs.
pub async fn call_for_operator(
    clock: &Clock,
    service: &Service,
    sessions: &[Found],
    stop: bool,
) -> (Result<(), String>, Presence) {
    let mut folders = Vec::new();
    for found in sessions {
        match runner::lock(clock, found).await {
            Ok(folder) => folders.push(folder),
            Err(Obstacle::Locked) => {
                let why = format!("{}: {}", found.session, Obstacle::Locked);
                return (Err(why), presence(clock, service).await);
            }
            // Continue: the operator may be working on exactly this problem.
            Err(error) => {
                tracing::warn!(session = %found.session, "continuing without the lock of its folder: {error}")
            }
        }
    }
    // With both starts, two processes with one identity would run.
    if !stop && other_call_may_be_under_way(clock, sessions.to_vec(), None).await {
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
    let folders: Arc<[_]> = folders.into();
    let written = move |folder: &_| folder_record::write_call(folder, &record);
    note_call(clock, &folders, written).await;
    let (returned, why) = call(service, kind, None).await;
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
        _ => Err(why),
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
    let known = settings.discovery().survey().found;
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
    coordinator.resume(&known, true).await;
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
