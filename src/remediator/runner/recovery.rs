//! Recovery after a restart: completes or ends the runs that a crash interrupted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::{State, Verdict};
use crate::folder::{FileName, Found, Inventory, Timestamp};
use crate::policy::{self, CleanRequest};

use super::super::insurance;
use super::super::insurance::store::limits_of;
use super::super::outcome::{self, Crash, Interruption, RunError};
use super::super::quarantine::{
    LockedFolder, LookedUp, MoveOutcome, Obstacle, QuarantineName, StoredState, change, look_up,
    stored_runs,
};
use super::super::store::StoreError;
use super::super::store::audit::{Fate, FileRecord, Step};
use super::super::store::runs::{Action, Ending, Run, Status};
use super::{Context, ask_and_scan, blocking, lock};

/// Recovery queues a run again if no file had moved and the run is not older than this. The
/// limit keeps a run that crashes the process from being repeated forever.
const REQUEUE_WITHIN: Duration = Duration::from_secs(600);

/// Completes the interrupted runs in this folder's quarantine. While the bot is disconnected,
/// a run is rolled forward with the files that the guard table still allows, and an undo is
/// completed, unless the bot was paired anew since. Otherwise a run ends without further moves (the order of its moves makes that
/// safe), and an undo waits. A failure of one run does not stop the others. Returns whether
/// there was an interrupted run.
///
/// Errors: the quarantine cannot be listed.
pub(super) async fn roll_forward(
    ctx: &Context,
    found: &Found,
    folder: &Arc<LockedFolder>,
    verdict: &Verdict,
    inventory: &Inventory,
) -> Result<bool, Obstacle> {
    let disconnected = verdict.state == State::Disconnected
        && folder.confirm_place_async(&found.place).await.is_ok();
    let ask = CleanRequest {
        mode: policy::CleanupMode::Cleanup,
        tier: None,
        force: None,
    };
    let limits = limits_of(&ctx.settings, &found.session);
    let allowed: BTreeSet<FileName> = match disconnected {
        true => policy::plan(inventory, verdict.process_gone, ctx.now(), &limits, &ask)
            .map(|plan| plan.moves.into_iter().map(|planned| planned.name).collect())
            .unwrap_or_default(),
        false => BTreeSet::new(),
    };
    if disconnected {
        folder.confirm_moves();
    }
    let (folder, clock) = (Arc::clone(folder), ctx.clock.clone());
    change(move || {
        let mut any = false;
        for stored in folder.stored()? {
            let (run, now) = (&stored.name, Timestamp::of(&clock));
            let ended = match stored.state {
                StoredState::Empty | StoredState::Unfinished => {
                    folder.finish(run, &allowed, now).map(|done| {
                        done.map(|done| {
                            format!("run ended: {}, {} files", done.outcome.label(), done.moved)
                        })
                    })
                }
                // As in `undo`: where the record cannot be read, the undo itself says so.
                StoredState::UndoUnfinished
                    if disconnected && folder.is_of_other_identity(run).unwrap_or(false) =>
                {
                    tracing::warn!(%run, "an interrupted undo is not completed, because the bot was paired anew since that run; the rest stays in the quarantine; to put it back all the same: baileys_remediator undo {run} --force");
                    continue;
                }
                StoredState::UndoUnfinished if disconnected => folder
                    .undo(run, now)
                    .map(|undone| Some(format!("undo ended: {} files", undone.restored))),
                StoredState::Damaged => Err(Obstacle::Io(
                    "failed to read the records of the run; its files stay where they are".into(),
                )),
                _ => continue,
            };
            match ended {
                Ok(what) => {
                    any = true;
                    if let Some(what) = what {
                        tracing::warn!(%run, "interrupted {what}");
                    }
                }
                Err(error) => tracing::error!(%run, "{error}"),
            }
        }
        Ok(any)
    })
    .await
}

/// Whether the service of this session has a pending restart. Then the folder must not be
/// touched, regardless of the sources, because the bot may be started at any moment.
async fn has_pending_restart(ctx: &Context, found: &Found) -> Result<bool, StoreError> {
    let Some(service) = ctx.settings.services.of(&found.session) else {
        return Ok(false);
    };
    let pending = ctx.with_store(|store| store.restarts().pending()).await?;
    Ok(pending.iter().any(|one| one.service == service.name))
}

/// Completes the interrupted runs of this folder after a restart. Returns `false` if it
/// skipped the folder, because a run holds its lock or its service has a pending restart.
pub async fn recover(ctx: &Context, found: &Found) -> Result<bool, RunError> {
    let place = found.place.clone();
    let stored = blocking(move || stored_runs(&place)).await?;
    let unfinished = |state: &StoredState| {
        matches!(
            state,
            StoredState::Unfinished | StoredState::UndoUnfinished | StoredState::Empty
        )
    };
    if !stored.iter().any(|stored| unfinished(&stored.state)) {
        return Ok(true);
    }
    if has_pending_restart(ctx, found).await? {
        return Ok(false);
    }
    // Ask before taking the lock, so that hanging sources block no queued run. Ask again under
    // the lock, because the bot may have been started since.
    ctx.connection.ask(&found.session).await;
    let folder = match lock(&ctx.clock, found).await {
        Err(Obstacle::Locked) => return Ok(false),
        folder => folder?,
    };
    let (verdict, inventory) = ask_and_scan(&ctx.connection, found, &folder, None).await?;
    if has_pending_restart(ctx, found).await? {
        return Ok(false);
    }
    roll_forward(ctx, found, &folder, &verdict, &inventory).await?;
    Ok(true)
}

/// Ends the record of a run whose process died. The quarantine shows the outcome; [`recover`]
/// has already completed the moves. `sessions` are all present sessions, because the folder
/// may have been renamed.
pub async fn end_orphan(ctx: &Context, orphan: Run, sessions: Vec<Found>) -> Result<(), RunError> {
    if orphan.action == Action::Restore {
        return insurance::restore::end_orphan(ctx, &orphan, sessions).await;
    }
    let name = orphan.run.as_deref().and_then(QuarantineName::parse);
    let is_here = sessions
        .iter()
        .any(|found| found.session.as_str() == orphan.session);
    let by_alert = orphan.requested_by.is_alert();
    let looked = match name {
        None => Ok(None),
        Some(name) => {
            blocking(move || {
                let mut failed = None;
                for found in &sessions {
                    match look_up(&found.place, &name) {
                        Ok(None) => {}
                        Ok(found) => return Ok(found),
                        Err(error) => failed = Some(error),
                    }
                }
                failed.map_or(Ok(None), Err)
            })
            .await
        }
    };
    let moves = match &looked {
        Ok(Some(LookedUp { moves, .. })) if orphan.action == Action::Undo => {
            FileRecord::found(moves, Fate::Blocked, Fate::Restored)
        }
        Ok(Some(LookedUp {
            state: StoredState::Undone { .. },
            moves,
            ..
        })) => FileRecord::found(moves, Fate::Blocked, Fate::Restored),
        Ok(Some(LookedUp { moves, .. })) => FileRecord::found(moves, Fate::Moved, Fate::Left),
        Ok(None) => {
            let id = orphan.id;
            ctx.with_store(move |store| store.audit().planned_are_left(id))
                .await?;
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    let (now, moment) = (ctx.now(), ctx.moment());
    let age = orphan.created_at.until(now);
    // Not queued again: the service was stopped once. The restart coordinator starts it.
    let id = orphan.id;
    let was_stopped = ctx
        .with_store(move |store| store.restarts().was_stopped_for(id))
        .await?;
    let failed = |error: RunError| {
        let mut ending = Ending::default();
        (outcome::apply_result(&Err(error), &mut ending), ending)
    };
    let (status, ending) = match looked {
        Ok(None) if was_stopped => failed(RunError::Crashed(Crash::WhileDown)),
        Ok(None) if by_alert && is_here && orphan.created_at <= now && age < REQUEUE_WITHIN => {
            let why = "the remediator was stopped before the first move";
            ctx.with_store(move |store| store.queue().requeue(id, why, now))
                .await?;
            tracing::warn!(
                session = orphan.session,
                id,
                "queued an interrupted run again"
            );
            return Ok(());
        }
        Ok(None) => failed(RunError::Crashed(Crash::NothingMoved)),
        // Another process works on the folder; the next sweep tries again.
        Ok(Some(LookedUp {
            state: StoredState::Unfinished | StoredState::Empty,
            ..
        })) => return Ok(()),
        Ok(Some(LookedUp {
            state: StoredState::Undone { .. },
            ..
        })) => {
            let detail = "the remediator was stopped during the undo; recovery completed the undo";
            (
                Status::Done,
                Ending {
                    detail: Some(detail.into()),
                    ..Ending::default()
                },
            )
        }
        Ok(Some(LookedUp {
            state: StoredState::Done(done),
            files,
            ..
        })) if orphan.action != Action::Undo => match done.outcome {
            MoveOutcome::Moved | MoveOutcome::RolledForward => {
                let detail =
                    "the remediator was stopped during the run; recovery completed the run";
                (
                    Status::Done,
                    Ending {
                        detail: Some(detail.into()),
                        files,
                        ..Ending::default()
                    },
                )
            }
            MoveOutcome::RolledBack | MoveOutcome::Interrupted => {
                let (status, ending) = failed(RunError::Interrupted(Interruption::Clean));
                (status, Ending { files, ..ending })
            }
        },
        Ok(Some(_)) => failed(RunError::Interrupted(Interruption::Undo)),
        Err(error) => failed(RunError::Crashed(Crash::Unreadable(error.to_string()))),
    };
    let restarted = Step::new(ctx.now(), "found_after_restart", None);
    let ending = Ending {
        moves,
        steps: vec![restarted],
        ..ending
    };
    ctx.with_store(move |store| store.runs().finish(id, status, &ending, moment))
        .await?;
    tracing::warn!(
        session = orphan.session,
        id,
        status = status.label(),
        "ended an interrupted run"
    );
    Ok(())
}
