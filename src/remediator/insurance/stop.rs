//! creds.json around a stop that this program makes.
//!
//! Baileys writes creds.json in place. A process that is ended in the middle of that leaves a
//! torn file, and its next start would begin a new identity over it. So a copy is taken before
//! the stop, and a file that is missing or broken gets the newest copy back before the start.

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
use super::watch::{Reading, read_settled};

/// A stop waits no longer for the copies.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// Nor does a start for what is put back.
pub const MENDED_WITHIN: Duration = Duration::from_secs(60);

/// Keeps a copy of each creds.json that is whole, where it is newer than the newest copy.
/// The sessions whose file is whole, if all could be looked at in time.
pub async fn before_a_stop(ctx: &Context, sessions: Vec<Found>) -> Option<BTreeSet<String>> {
    if !ctx.settings.insurance.enabled {
        return None;
    }
    let (store, keep) = (
        CopyStore::new(&ctx.settings.state_path),
        ctx.settings.insurance.keep,
    );
    let taken = blocking(move || {
        let mut whole = BTreeSet::new();
        for found in &sessions {
            match take(&store, found, &keep) {
                Ok(true) => _ = whole.insert(found.session.to_string()),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(session = %found.session, "no copy of creds.json was kept: {error}");
                }
            }
        }
        whole
    });
    let whole = tokio::time::timeout(TAKEN_WITHIN, taken).await.ok();
    if whole.is_none() {
        tracing::error!("not every creds.json could be copied in time before the stop");
    }
    whole
}

/// Whether it is whole, and kept. Blocks.
fn take(store: &CopyStore, found: &Found, keep: &Keep) -> Result<bool, String> {
    let place = found.place.clone();
    let read = Looks::default().run(&found.place.path(), move || {
        let folder = place.open()?;
        Ok::<_, std::io::Error>(read_settled(std::os::fd::AsFd::as_fd(&folder)))
    });
    let Reading::Good {
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
    let added = store.add(
        session,
        &bytes,
        &facts,
        stamp.modified,
        Timestamp::now(),
        keep,
    );
    added.map(|_| true).map_err(|error| error.to_string())
}

/// Puts the newest copy back wherever creds.json is missing or broken and was `whole` before
/// the stop (after a crash nobody knows: wherever there is a copy), each in a run of its own.
/// What was broken before is for a person to decide. Only while `service` is known to be gone,
/// and not beyond a bounded time: the start is not held up by a file system that hangs.
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
    // In a task of its own, which ends its runs however late it is.
    let mended = {
        let (ctx, halt) = (ctx.clone(), halt.clone());
        tokio::spawn(async move {
            for found in sessions.iter().take_while(|_| !halt.is_halted()) {
                let Ok(inventory) = runner::look(found).await else {
                    continue;
                };
                let is_torn = matches!(inventory.creds, Creds::Missing | Creds::Broken(_));
                if is_torn && was_whole(&ctx, found.session.as_str(), whole.as_ref()).await {
                    mend(&ctx, &down, found).await;
                }
            }
        })
    };
    if tokio::time::timeout(MENDED_WITHIN, mended).await.is_err() {
        tracing::error!(
            service = service.name,
            "looking at creds.json before the start takes too long"
        );
    }
    // From here on nothing changes places.
    halt.halt();
    let wait = blocking(move || halt.wait());
    if tokio::time::timeout(MENDED_WITHIN, wait).await.is_err() {
        tracing::error!(
            service = service.name,
            "putting a creds.json back hangs in the file system"
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

async fn mend(ctx: &Context, down: &Down, found: &Found) {
    let service = &down.service;
    let session = found.session.to_string();
    let told = format!("before the start of {}", service.name);
    let name = session.clone();
    let begun = ctx
        .ask(move |store| {
            store
                .runs()
                .begin_own(&name, Action::Restore, &told, Timestamp::now())
        })
        .await;
    let id = match begun {
        Ok(id) => id,
        Err(error) => return tracing::error!(session, "its creds.json is not put back: {error}"),
    };
    let down = Down {
        since: Timestamp::now(),
        ..down.clone()
    };
    let mut ending = Ending::default();
    let restored = match service.presence().await {
        Presence::Gone => restore(ctx, id, found, None, false, Some(&down), &mut ending).await,
        _ => Err(RunError::Refused(Refusal::ConnectionUnknown)),
    };
    let status = outcome::settle(&restored, &mut ending);
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
                "its creds.json was torn by the stop; the newest copy was put back before the start"
            );
        }
        Ok(_) => {}
        Err(stop) => {
            tracing::error!(
                session,
                "its creds.json is broken, and no copy was put back: {stop}. What is started now begins a new identity: stop it, then baileys_remediator creds restore {session}"
            );
        }
    }
    let ended = ctx
        .ask(move |store| store.runs().finish(id, status, &ending, Timestamp::now()))
        .await;
    if let Err(error) = ended {
        tracing::error!(
            session,
            "what became of its creds.json is not on record: {error}"
        );
    }
}
