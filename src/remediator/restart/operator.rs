//! Restarts for everybody but the part of `serve` that makes them: an operator's command
//! keeps away meanwhile, or stops and starts a service itself; a `serve` that cannot serve
//! starts what is pending before it ends.

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::control::{Presence, Service};
use crate::folder::{Found, SessionName};
use crate::remediator::quarantine::{LockedFolder, Obstacle};
use crate::remediator::runner::{self, Context, blocking};
use crate::remediator::service::lock_state;
use crate::remediator::store::{FILE, Store, StoreError};

use super::coordinator::{RestartCoordinator, shows_within};
use super::driver::{call, now, other_call_may_be_under_way, presence};
use super::folder_record;
use super::machine::{LONGEST_CALL, LOOK_EVERY, PERSIST_WITHIN};
use super::state::{Call, CallKind, HandedTo, Phase, Restart, Returned};

/// All that is pending is started within this time, or left to the next try; more where a
/// service may take longer.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// Why an operator's command keeps away from this session: its service is on its way down
/// or up, and would be started in the middle. `None` where no restart is pending, and where a
/// pause keeps `serve` from starting it again.
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
        // Nobody but a person starts it.
        Phase::HandedOver(HandedTo::Config(_)) if service.is_none() => None,
        Phase::Down | Phase::HandedOver(HandedTo::Pause) if paused => None,
        Phase::Down | Phase::HandedOver(HandedTo::Pause) => Some(format!(
            "the service {name} was stopped for a clean-up and does not start; `serve` tries again every minute, also while this command is at work. Pause that first: baileys_remediator pause --reason \"…\"; go on with resume"
        )),
        phase => Some(format!(
            "the remediator has stopped the service {name} for a clean-up, and is to start it again (phase {}), which would happen while this command is at work. Wait until `baileys_remediator status` shows no phase for it, or `down`; `serve` has to run for that",
            phase.label()
        )),
    })
}

/// Stops a service for an operator, or starts it: under the locks of its folders, so that no
/// run is under way on them. Waits until it is gone (`gone_timeout`), or runs (as long as `serve`
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
            // It may be for this very reason that an operator is at work.
            Err(error) => {
                tracing::warn!(session = %found.session, "its folder is not locked: {error}")
            }
        }
    }
    // Started beside it, two processes of one identity would run.
    if !stop && other_call_may_be_under_way(clock, sessions.to_vec(), None).await {
        let why = "a call of a remediator that has ended may still be under way; look again in a minute, and start it if it does not run then";
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
    // Should this command be killed, its call goes on: no remediator starts it beside that.
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

/// Writes or removes the record of the call in each folder; a file system that hangs keeps
/// nobody from stopping or starting a bot.
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
/// journal that cannot be read): starts what is pending all the same, for nobody else would.
/// It stays on record, for nobody has seen it connected.
pub async fn start_pending_without_serving(settings: &Settings, clock: Clock) {
    let known = settings.discovery().survey().found;
    // Where another `serve` has the state directory, that one starts it.
    let has_journal = settings.state_path.join(FILE).exists();
    let _lock = match has_journal.then(|| lock_state(&settings.state_path)) {
        Some(Ok(None)) => return,
        // The locks of the folders keep it apart from another one.
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
        tracing::error!("starting what is pending takes too long");
    }
}

#[cfg(test)]
mod tests;
