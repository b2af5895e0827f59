//! Protects creds.json around a stop by this program.
//!
//! Baileys writes creds.json in place. A process that is killed during the write leaves a torn
//! file, and the next start would create a new identity over it. So this program takes a copy
//! before the stop, and puts the newest copy back before the start if the file is missing or
//! broken.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::control::Presence;
use crate::folder::{Creds, Found, Looks, Timestamp};
use crate::policy::Refusal;
use crate::policy::insurance::Keep;
use crate::remediator::outcome::{self, RunError, RunOutcome};
use crate::remediator::quarantine::Halt;
use crate::remediator::runner::{self, Context, Down, blocking};
use crate::remediator::store::runs::{Action, Ending};

use super::restore::restore;
use super::store::CopyStore;
use super::watch::{CredsReading, read_settled};

/// Longest wait for the copies before a stop.
const COPY_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for each part of a restore before a start.
pub const RESTORE_TIMEOUT: Duration = Duration::from_secs(60);

/// Keeps a copy of each complete creds.json that differs from the newest copy. Returns the
/// sessions whose file is complete; `None` on a timeout, or if the insurance is off.
pub async fn before_a_stop(ctx: &Context, sessions: Vec<Found>) -> Option<BTreeSet<String>> {
    if !ctx.settings.insurance.enabled {
        return None;
    }
    let (store, keep) = (
        CopyStore::new(&ctx.settings.state_path),
        ctx.settings.insurance.keep,
    );
    let now = ctx.now();
    let taken = blocking(move || {
        let mut whole = BTreeSet::new();
        for found in &sessions {
            match take(&store, found, now, &keep) {
                Ok(true) => _ = whole.insert(found.session.to_string()),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(session = %found.session, "no copy of creds.json was kept: {error}");
                }
            }
        }
        whole
    });
    let whole = ctx.clock.timeout(COPY_TIMEOUT, taken).await.ok();
    if whole.is_none() {
        tracing::error!("timeout while copying creds.json before the stop");
    }
    whole
}

/// Keeps a copy if the file is complete, and returns whether it is. Blocks.
fn take(store: &CopyStore, found: &Found, now: Timestamp, keep: &Keep) -> Result<bool, String> {
    let place = found.place.clone();
    let read = Looks::default().run(&found.place.path(), move || {
        let folder = place.open()?;
        Ok::<_, std::io::Error>(read_settled(std::os::fd::AsFd::as_fd(&folder)))
    });
    let CredsReading::Good {
        bytes,
        facts,
        stamp,
    } = read
        .and_then(|read| read)
        .map_err(|error| error.to_string())?
    else {
        return Ok(false);
    };
    let session = found.session.as_str();
    let added = store.add(session, &bytes, &facts, stamp.modified, now, keep);
    added.map(|_| true).map_err(|error| error.to_string())
}

/// Puts the newest copy back if creds.json is missing or broken and was `whole` before the
/// stop. After a crash `whole` is unknown; then any session with a copy qualifies. Each restore
/// is a run of its own. A file that was broken before the stop is left for an operator. Acts
/// only while the service is known to be gone, and within a bounded time, so that a file system
/// that hangs does not hold up the start.
pub async fn before_a_start(
    ctx: &Context,
    down: &Down,
    sessions: Vec<Found>,
    whole: Option<BTreeSet<String>>,
) {
    if !ctx.settings.insurance.enabled {
        return;
    }
    let (service, halt) = (&down.service, Halt::default());
    let down = Down {
        halt: halt.clone(),
        ..down.clone()
    };
    // A separate task, so that it can still record its runs after the timeout.
    let restoring = {
        let (ctx, halt) = (ctx.clone(), halt.clone());
        tokio::spawn(async move {
            for found in sessions.iter().take_while(|_| !halt.is_halted()) {
                let Ok(inventory) = runner::look(found).await else {
                    continue;
                };
                let is_torn = matches!(inventory.creds, Creds::Missing | Creds::Broken(_));
                if is_torn && was_whole(&ctx, found.session.as_str(), whole.as_ref()).await {
                    restore_torn(&ctx, &down, found).await;
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
}

async fn was_whole(ctx: &Context, session: &str, whole: Option<&BTreeSet<String>>) -> bool {
    if let Some(whole) = whole {
        return whole.contains(session);
    }
    let (store, session) = (CopyStore::new(&ctx.settings.state_path), session.to_owned());
    blocking(move || {
        store
            .entries(&session)
            .is_ok_and(|copies| !copies.is_empty())
    })
    .await
}

async fn restore_torn(ctx: &Context, down: &Down, found: &Found) {
    let service = &down.service;
    let session = found.session.to_string();
    let why = format!("before the start of {}", service.name);
    let (name, now) = (session.clone(), ctx.moment());
    let begun = ctx
        .ask(move |store| store.runs().begin_own(&name, Action::Restore, &why, now))
        .await;
    let id = match begun {
        Ok(id) => id,
        Err(error) => {
            return tracing::error!(
                session,
                "creds.json was not put back: failed to record the run: {error}"
            );
        }
    };
    let down = Down {
        since: ctx.now(),
        ..down.clone()
    };
    let mut ending = Ending::default();
    let restored = match service.presence().await {
        Presence::Gone => restore(ctx, id, found, None, false, Some(&down), &mut ending).await,
        _ => Err(RunError::Refused(Refusal::ConnectionUnknown)),
    };
    let status = outcome::apply_result(&restored, &mut ending);
    match restored {
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
        }
        Ok(_) => {}
        Err(stop) => {
            tracing::error!(
                session,
                "creds.json is broken, and no copy was put back: {stop}. The bot starts with a new identity: stop it, then run baileys_remediator creds restore {session}"
            );
        }
    }
    let now = ctx.moment();
    let ended = ctx
        .ask(move |store| store.runs().finish(id, status, &ending, now))
        .await;
    if let Err(error) = ended {
        tracing::error!(
            session,
            "failed to record the restore of creds.json: {error}"
        );
    }
}
