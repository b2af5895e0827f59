//! Protects creds.json around a stop by this program.
//!
//! Baileys writes creds.json in place. A process that is killed during the write leaves a torn
//! file, and the next start would create a new identity over it. So this program takes a copy
//! before the stop, and puts the newest copy of that identity back before the start if the file
//! is missing or broken then. Without a copy, or where the copy could not be put back, nothing is stopped.
//! While a torn file could not be put back, or its folder does not exist, the bot is not started.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::control::Presence;
use crate::folder::scan::read_creds;
use crate::folder::{BoundedBlocking, Creds, Found, Timestamp};
use crate::policy::insurance::Keep;
use crate::policy::{Refusal, StopRefusal};
use crate::remediator::outcome::{self, RunError, RunOutcome};
use crate::remediator::quarantine::{Halt, LockedFolder, look_at};
use crate::remediator::runner::{self, ClaimedRuns, Context, Folders, StoppedService, blocking};
use crate::remediator::store::runs::{Action, Ending};
use crate::remediator::store::{BlockingStore, StoreError};

use super::restore::{rehearse, restore};
use super::store::{CopyStore, default_copy};
use super::watch::{CredsReading, read_settled};

/// Longest wait for one copy before a stop.
const COPY_TIMEOUT: Duration = Duration::from_secs(15);
/// Copies that are taken at once.
const COPIED_AT_ONCE: usize = 8;
/// A bot may write its creds.json all the time: so often it is read until it stays the same.
const UNSTABLE_TRIES: u32 = 20;
/// Longest wait for each part of a restore before a start.
pub const RESTORE_TIMEOUT: Duration = Duration::from_secs(60);

/// Keeps a copy of each complete creds.json that differs from the newest copy of its identity, and
/// marks that identity as the one that was seen last: its newest copy is put back after a stop
/// that damages the file. Returns the
/// sessions whose file is complete; none if the insurance is off.
///
/// `folders`: those of the service that are locked.
///
/// Errors: a file that is complete, or that cannot be read, could not be copied or put back. The
/// stop might damage it.
pub async fn before_a_stop(
    ctx: &Context,
    sessions: &[Found],
    folders: &Folders,
) -> Result<BTreeSet<String>, StopRefusal> {
    let mut whole = BTreeSet::new();
    if !ctx.settings.insurance.enabled {
        return Ok(whole);
    }
    let (keep, now) = (ctx.settings.insurance.keep, ctx.now());
    for some in sessions.chunks(COPIED_AT_ONCE) {
        let copies = some.iter().cloned().map(|found| {
            let store = CopyStore::new(&ctx.settings.state_path);
            let (session, clock) = (found.session.to_string(), ctx.clock.clone());
            let folder = folders.0.get(&session).cloned();
            let copy = tokio::spawn(async move {
                let taking = blocking(move || copy_creds(&store, &found, folder, now, &keep));
                let taken = clock.timeout(COPY_TIMEOUT, taking).await;
                taken.unwrap_or_else(|_| Err("timeout".into()))
            });
            (session, copy)
        });
        for (session, copy) in copies.collect::<Vec<_>>() {
            match copy.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(true) => _ = whole.insert(session),
                Ok(false) => {}
                Err(why) => {
                    tracing::error!(session, "creds.json is not safe from a stop: {why}");
                    return Err(StopRefusal::CredsNotCopied { session, why });
                }
            }
        }
    }
    Ok(whole)
}

/// Keeps a copy if the file is complete, tries to put it back beside the file, and returns
/// whether it is complete. Blocks.
fn copy_creds(
    store: &CopyStore,
    found: &Found,
    folder: Option<Arc<LockedFolder>>,
    now: Timestamp,
    keep: &Keep,
) -> Result<bool, String> {
    for _ in 0..UNSTABLE_TRIES {
        let place = found.place.clone();
        let read = BoundedBlocking::default().run(&found.place.path(), move || {
            let folder = match place.open() {
                Ok(folder) => folder,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok((CredsReading::Nothing, Creds::Missing));
                }
                Err(error) => return Err(error),
            };
            let reading = read_settled(folder.as_fd());
            Ok((reading, read_creds(folder.as_fd())))
        });
        let read = read.and_then(|read| read);
        match read.map_err(|error| format!("reading it: {error}"))? {
            (
                CredsReading::Good {
                    bytes,
                    facts,
                    stamp,
                },
                _,
            ) => {
                let session = found.session.as_str();
                let added = store.add(session, &bytes, &facts, stamp.modified, now, keep);
                added.map_err(|error| error.to_string())?;
                let folder = folder.ok_or("its folder could not be locked")?;
                let tried = look_at(&found.place, move || rehearse(&folder, &bytes, now));
                return match tried {
                    Ok(()) => Ok(true),
                    Err(why) => Err(format!("the copy could not be put back: {why}")),
                };
            }
            (CredsReading::Nothing, Creds::Unreadable(why)) => {
                return Err(format!("reading it: {why}"));
            }
            (CredsReading::Nothing, _) => return Ok(false),
            (CredsReading::Unstable, _) => {}
        }
    }
    Err("it changes all the time".into())
}

/// Which creds.json is put back before a start.
#[derive(Clone, Debug)]
pub struct CredsCheck {
    /// The sessions whose file was whole before the stop.
    pub whole: BTreeSet<String>,
    /// Also one that is missing, beside one that is broken.
    pub missing: bool,
    /// Each folder has to exist.
    pub folders: bool,
    /// Holds each restore until it is over.
    pub claimed: ClaimedRuns,
}

/// Puts the newest copy of the identity that was seen last back if creds.json is broken, or missing,
/// and was whole before the stop. Each restore is a run of its own. A file that was missing or broken
/// before the stop is left for an operator. Acts only while the service is known to be gone, and
/// within a bounded time, so that a file system that hangs does not hold up the start.
///
/// Returns why the service must not be started yet: such a file is still torn, or its folder does not
/// exist, although there is a whole copy. The bot would make a new identity. A folder that cannot be
/// looked at forbids no start, and neither does one that a bot may have removed since the stop.
pub async fn before_a_start(
    ctx: &Context,
    stopped: &StoppedService,
    mut sessions: Vec<Found>,
    check: &CredsCheck,
) -> Option<String> {
    sessions.retain(|found| check.whole.contains(found.session.as_str()));
    let (puts_missing, claimed) = (check.missing, check.claimed.clone());
    let needs_folders = check.folders;
    if !ctx.settings.insurance.enabled || sessions.is_empty() {
        return None;
    }
    let (service, halt) = (&stopped.service, Halt::default());
    let stopped = StoppedService {
        halt: halt.clone(),
        ..stopped.clone()
    };
    let torn = TornFiles::default();
    // A separate task, so that it can still record its runs after the timeout.
    let restoring = {
        let (ctx, halt, torn) = (ctx.clone(), halt.clone(), torn.clone());
        tokio::spawn(async move {
            let (broken, missing) = all_torn(sessions, puts_missing, needs_folders).await;
            let late = |found: &Found| (found.session.to_string(), not_put_back(found, "timeout"));
            torn.lock().extend(broken.iter().map(late));
            let gone = |found: &Found| (found.session.to_string(), no_folder(found));
            torn.lock().extend(missing.iter().map(gone));
            for found in &missing {
                let session = found.session.as_str();
                match has_copy(&ctx, session).await {
                    true => tracing::error!(session, "{}; retrying", no_folder(found)),
                    false => {
                        tracing::error!(
                            session,
                            "its folder does not exist, and no whole copy of its creds.json is left: the bot starts with a new identity"
                        );
                        torn.lock().remove(session);
                    }
                }
            }
            // A source may lag, and nothing is put back while one reports the bot as connected.
            let began = ctx.clock.now();
            for found in &broken {
                runner::settle(&ctx, found, began).await;
            }
            for found in broken.iter().take_while(|_| !halt.is_halted()) {
                let restored = restore_torn(&ctx, &stopped, found, puts_missing, &claimed).await;
                let (mut torn, session) = (torn.lock(), found.session.to_string());
                match restored {
                    Ok(()) => _ = torn.remove(&session),
                    Err(why) => _ = torn.insert(session, not_put_back(found, &why)),
                }
            }
        })
    };
    let restored = ctx.clock.timeout(RESTORE_TIMEOUT, restoring).await;
    if restored.is_err() {
        tracing::error!(
            service = service.name,
            "timeout: checking creds.json before the start takes too long"
        );
    }
    // No file moves after this line.
    halt.halt();
    let wait = blocking(move || halt.wait());
    if ctx.clock.timeout(RESTORE_TIMEOUT, wait).await.is_err() {
        tracing::error!(
            service = service.name,
            "timeout: putting creds.json back hangs in the file system"
        );
    }
    let torn = torn.lock();
    torn.first_key_value().map(|(_, why)| why.clone())
}

fn not_put_back(found: &Found, why: &str) -> String {
    let session = &found.session;
    format!("creds.json of {session} is broken, and its copy could not be put back: {why}")
}

fn no_folder(found: &Found) -> String {
    let session = &found.session;
    format!(
        "the folder of {session} does not exist, and there is a copy of its creds.json: mount the folder or move it back; for a new login start the bot with its supervisor"
    )
}

/// The sessions whose creds.json is torn or missing, each with why it was not put back.
#[derive(Clone, Debug, Default)]
struct TornFiles(Arc<Mutex<BTreeMap<String, String>>>);

impl TornFiles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has become of a creds.json that was whole before the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CredsState {
    /// It is whole, or a bot has removed it on purpose.
    Fine,
    /// It is broken, or missing.
    Torn,
    /// Its folder does not exist.
    NoFolder,
    /// The folder cannot be looked at.
    Unknown,
}

/// Those of `sessions` whose creds.json is torn, and those whose folder does not exist.
async fn all_torn(
    sessions: Vec<Found>,
    puts_missing: bool,
    needs_folders: bool,
) -> (Vec<Found>, Vec<Found>) {
    let (mut torn, mut missing) = (Vec::new(), Vec::new());
    for some in sessions.chunks(COPIED_AT_ONCE) {
        let looks = some.iter().cloned().map(|found| {
            tokio::spawn(async move {
                let state = creds_state(&found, puts_missing).await;
                (found, state)
            })
        });
        for look in looks.collect::<Vec<_>>() {
            match look.await {
                Ok((found, CredsState::Torn)) => torn.push(found),
                Ok((found, CredsState::NoFolder)) if needs_folders => missing.push(found),
                _ => {}
            }
        }
    }
    (torn, missing)
}

async fn creds_state(found: &Found, puts_missing: bool) -> CredsState {
    // One that hangs costs the time limit only once.
    match open(found).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return CredsState::NoFolder,
        Err(_) => return CredsState::Unknown,
    }
    match runner::look(found).await.map(|inventory| inventory.creds) {
        Ok(Creds::Missing) if puts_missing => CredsState::Torn,
        Ok(Creds::Broken(_)) => CredsState::Torn,
        Ok(_) => CredsState::Fine,
        Err(_) => CredsState::Unknown,
    }
}

/// Whether the folder certainly does not exist. One that hangs or cannot be read may.
pub async fn is_missing(found: &Found) -> bool {
    matches!(open(found).await, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

async fn open(found: &Found) -> io::Result<()> {
    let place = found.place.clone();
    let opened = BoundedBlocking::default()
        .run_async(&found.place.path(), move || place.open().map(|_| ()))
        .await;
    opened?
}

/// Whether there is a copy that could be put back. A state directory that cannot be read may hold
/// one.
async fn has_copy(ctx: &Context, session: &str) -> bool {
    let (store, session) = (CopyStore::new(&ctx.settings.state_path), session.to_owned());
    let copies = blocking(move || store.copies(&session)).await;
    copies.map_or(true, |copies| default_copy(&copies).is_some())
}

/// Puts a torn creds.json back.
///
/// Errors: why that failed. The file is still torn, and there is a whole copy of it.
async fn restore_torn(
    ctx: &Context,
    stopped: &StoppedService,
    found: &Found,
    puts_missing: bool,
    claimed: &ClaimedRuns,
) -> Result<(), String> {
    let session = found.session.as_str();
    let Err(why) = put_back(ctx, stopped, found, claimed).await else {
        return Ok(());
    };
    // It may have changed meanwhile.
    if creds_state(found, puts_missing).await == CredsState::Fine {
        return Ok(());
    }
    if has_copy(ctx, session).await {
        tracing::error!(
            session,
            "creds.json is broken, and its copy was not put back: {why}. The bot is not started before that, because it would make a new identity; retrying"
        );
        return Err(why);
    }
    tracing::error!(
        session,
        "creds.json is broken, and no whole copy is left: {why}. The bot starts with a new identity: stop it, and put a backup of the folder back"
    );
    Ok(())
}

async fn put_back(
    ctx: &Context,
    stopped: &StoppedService,
    found: &Found,
    claimed: &ClaimedRuns,
) -> Result<(), String> {
    let service = &stopped.service;
    let session = found.session.to_string();
    let why = format!("before the start of {}", service.name);
    let (name, now) = (session.clone(), ctx.moment());
    let claims = claimed.clone();
    let begin = move |store: &BlockingStore<'_>| {
        // Claim it before recovery can take it for an interrupted run.
        let mut claimed = claims.lock();
        let id = store
            .lock()
            .runs()
            .begin_own(&name, Action::Restore, &why, now)?;
        claimed.insert(id);
        Ok::<_, StoreError>(id)
    };
    let begun = ctx.store.block(begin).await;
    let id = begun.map_err(|error| format!("failed to record the run: {error}"))?;
    let stopped = StoppedService {
        since: ctx.now(),
        ..stopped.clone()
    };
    let mut ending = Ending::default();
    let restored = match service.presence().await {
        Presence::Gone => restore(ctx, id, found, None, false, Some(&stopped), &mut ending).await,
        _ => Err(RunError::Refused(Refusal::ConnectionUnknown)),
    };
    let status = outcome::apply_result(&restored, &mut ending);
    let result = match restored {
        Ok(RunOutcome::Restored {
            copy,
            counters: (_, counter),
            ..
        }) => {
            tracing::warn!(
                session,
                copy,
                next_pre_key_id = counter,
                "the stop damaged creds.json; put back the newest copy before the start"
            );
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(stop) => Err(stop.to_string()),
    };
    let now = ctx.moment();
    let ended = ctx
        .with_store(move |store| store.runs().finish(id, status, &ending, now))
        .await;
    if let Err(error) = ended {
        tracing::error!(
            session,
            "failed to record the restore of creds.json: {error}"
        );
    }
    // Where that failed, recovery records the outcome later.
    let claimed = claimed.clone();
    blocking(move || claimed.lock().remove(&id)).await;
    result
}

#[cfg(test)]
mod tests;
