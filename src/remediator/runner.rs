//! Performs one run, from the lock of the folder to the record of its outcome.

mod confirm;
mod context;
mod folders;
mod recovery;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::config::Settings;
use crate::connection::{State, Verdict};
use crate::folder::{BoundedBlocking, FileName, Found, Inventory, Timestamp};
use crate::policy::{self, CleanRequest, Immovable, Limits, Plan, Refusal, accumulated_files};

use super::insurance::store::limits_of;
use super::movability;
use super::outcome::{self, ArmedChange, RunError, RunOutcome, RunResult};
use super::quarantine::{
    At, MoveOutcome, Obstacle, QuarantineName, change, look_at_async, obstacle_io,
};
use super::store::StoreError;
use super::store::audit::{Fate, FileRecord, Step};
use super::store::runs::{Action, Ending, Run, Status};

use self::confirm::Mover;
pub(super) use self::context::blocking;
pub use self::context::{ClaimedRuns, Context};
#[cfg(test)]
pub(super) use self::folders::SETTLES_WITHIN;
use self::folders::scan;
pub use self::folders::{Folders, StoppedService, WeakFolders};
pub(super) use self::folders::{ask_and_scan, lock, lock_folder, lock_within, settle};
use self::recovery::roll_forward;
pub use self::recovery::{end_orphan, recover};

/// A caller waits for this many attempts to record an outcome, with a growing pause.
const RECORD_TRIES: u32 = 3;
/// After those, the record is retried at this interval, for a day.
const RECORD_EVERY: Duration = Duration::from_secs(5);
const RECORD_LATER_TRIES: u32 = 86_400 / 5;

/// Number of accumulated files, as the tiers count them.
pub fn count(inventory: &Inventory, limits: &Limits) -> usize {
    accumulated_files(inventory, limits.batch)
}

/// Whether this plan can be carried out, as far as that can be checked: the folder can be
/// opened, files in it can be renamed, and the quarantine has room. Takes no lock.
pub async fn could_be_cleaned(
    settings: &Settings,
    found: &Found,
    plan: Plan,
) -> Result<(), RunError> {
    let (place, max_bytes) = (found.place.clone(), settings.quarantine_bytes);
    look_at_async(&found.place, move || {
        movability::check(&place, &plan, max_bytes)
    })
    .await?;
    Ok(())
}

/// Files of the folder that cannot be moved, each with the reason.
pub async fn immovable(
    found: &Found,
    inventory: &Inventory,
) -> Result<BTreeMap<FileName, Immovable>, RunError> {
    let (place, inventory) = (found.place.clone(), inventory.clone());
    let looked = look_at_async(&found.place, move || {
        let folder = place
            .open()
            .map_err(|error| obstacle_io("opening the folder", &error))?;
        movability::immovable(folder.as_fd(), &inventory)
    });
    Ok(looked.await?)
}

/// The plan without the files that cannot be moved.
///
/// Errors: no file is left.
async fn without_immovable(
    found: &Found,
    inventory: &Inventory,
    limits: &Limits,
    plan: Plan,
) -> Result<Plan, RunError> {
    let immovable = immovable(found, inventory).await?;
    let plan = policy::without_immovable(plan, inventory, limits, &immovable);
    match plan.moves.is_empty() {
        true => Err(Obstacle::Immovable(movability::in_words(&plan.left_out)).into()),
        false => Ok(plan),
    }
}

/// Records the end of a run. Retries the write, because the files have already moved and the
/// record must match.
pub async fn end(ctx: &Context, run: &Run, result: RunResult, mut ending: Ending) {
    let status = outcome::apply_result(&result, &mut ending);
    let armed = result.err().map(|error| error.armed());
    let moved: usize = ending.files.values().sum();
    tracing::info!(
        id = run.id,
        session = run.session,
        action = run.action.label(),
        status = status.label(),
        reason = ending.reason,
        run = ending.run,
        files = moved,
        "run ended"
    );
    let outcome = Outcome {
        run: run.clone(),
        status,
        armed,
        ending,
    };
    for attempt in 0..RECORD_TRIES {
        match outcome.record(ctx).await {
            Ok(()) => return,
            Err(error) => tracing::error!(
                id = run.id,
                attempt,
                "failed to record the outcome: {error}"
            ),
        }
        ctx.clock.sleep(Duration::from_secs(1 << attempt)).await;
    }
    // The disk may be full: the caller continues, and until then the run shows as running.
    let ctx = ctx.clone();
    tokio::spawn(async move {
        for _ in 0..RECORD_LATER_TRIES {
            if outcome.record(&ctx).await.is_ok() {
                tracing::info!(id = outcome.run.id, "recorded the outcome");
                return;
            }
            ctx.clock.sleep(RECORD_EVERY).await;
        }
    });
}

/// The end of a run, to be recorded.
#[derive(Clone)]
struct Outcome {
    run: Run,
    status: Status,
    armed: Option<ArmedChange>,
    ending: Ending,
}

impl Outcome {
    async fn record(&self, ctx: &Context) -> Result<(), StoreError> {
        let (outcome, now) = (self.clone(), ctx.moment());
        ctx.with_store(move |store| {
            let run = &outcome.run;
            store.atomic(|| {
                match outcome.armed {
                    // The folder is clean now, for every tier.
                    None if run.action != Action::Plan => {
                        store.armed().disarm(&run.session, Action::Cleanup)?;
                        store.armed().disarm(&run.session, Action::Emergency)?;
                    }
                    Some(ArmedChange::Disarm) => {
                        store.armed().disarm(&run.session, run.action)?;
                    }
                    Some(ArmedChange::Arm) => store.armed().arm(run.id, now)?,
                    None | Some(ArmedChange::Keep) => {}
                }
                store
                    .runs()
                    .finish(run.id, outcome.status, &outcome.ending, now)
            })
        })
        .await
    }
}

/// Scans a folder read-only, without its lock.
pub async fn look(found: &Found) -> Result<Inventory, RunError> {
    let place = found.place.clone();
    let scan = BoundedBlocking::default()
        .run_async(&found.place.path(), move || {
            let fd = place.open()?;
            crate::folder::scan::scan_settled(fd.as_fd(), &mut crate::folder::ReadCache::default())
        })
        .await;
    scan.and_then(|scan| scan).map_err(|error| {
        RunError::Obstacle(Obstacle::Io(format!(
            "scanning the folder: {}",
            crate::folder::discovery::explain(&error)
        )))
    })
}

/// A dry run: the plan, as if the bot were disconnected, and the real verdict. Moves nothing
/// and takes no lock.
pub async fn preview(
    app: &App,
    found: &Found,
    ask: CleanRequest,
) -> (Verdict, Result<Plan, RunError>) {
    let evidence = app.connection.ask(&found.session).await;
    let inventory = match look(found).await {
        Ok(inventory) => inventory,
        Err(stop) => {
            return (Verdict::unknown("folder", "failed to scan it"), Err(stop));
        }
    };
    let verdict = app.connection.judge(evidence, &inventory);
    let limits = limits_of(&app.settings, &found.session);
    // Apply the tier and the guard table, but not the connection check.
    let assumed = Verdict {
        state: State::Disconnected,
        ..verdict.clone()
    };
    let plan = policy::decide(
        &inventory,
        &assumed,
        Timestamp::of(&app.clock),
        &limits,
        &ask,
    );
    let plan = match plan {
        Ok(plan) => without_immovable(found, &inventory, &limits, plan).await,
        Err(refusal) => Err(refusal.into()),
    };
    (verdict, plan)
}

/// A clean-up, from the lock to the last rename. Fills `ending` step by step, so that an
/// error keeps the steps so far.
pub async fn clean(
    ctx: &Context,
    id: i64,
    found: &Found,
    ask: CleanRequest,
    ending: &mut Ending,
) -> Result<RunOutcome, RunError> {
    clean_under(ctx, id, found, ask, None, ending).await
}

/// Like [`clean`], for a bot whose service this program has stopped.
pub async fn clean_while_down(
    ctx: &Context,
    id: i64,
    found: &Found,
    ask: CleanRequest,
    stopped: &StoppedService,
    ending: &mut Ending,
) -> Result<RunOutcome, RunError> {
    clean_under(ctx, id, found, ask, Some(stopped), ending).await
}

async fn clean_under(
    ctx: &Context,
    id: i64,
    found: &Found,
    ask: CleanRequest,
    stopped: Option<&StoppedService>,
    ending: &mut Ending,
) -> Result<RunOutcome, RunError> {
    let limits = limits_of(&ctx.settings, &found.session);
    let count = |inventory: &Inventory| count(inventory, &limits);

    let halt = stopped
        .map(|stopped| stopped.halt.clone())
        .unwrap_or_default();
    let folder = lock_folder(&ctx.clock, found, stopped, &halt).await?;
    ending.step(Step::new(ctx.now(), "locked", None));
    let (verdict, inventory) = ask_and_scan(&ctx.connection, found, &folder, stopped).await?;
    ending.step(Step::verdict(ctx.now(), &verdict, false));
    let before = count(&inventory);
    ending.accumulated = Some((before, before));
    ending.evidence = Some(verdict.because());
    let inventory = match roll_forward(ctx, found, &folder, &verdict, &inventory).await? {
        true => {
            ending.step(Step::new(
                ctx.now(),
                "earlier_run_ended",
                Some("a crash had interrupted it".into()),
            ));
            scan(found, &folder).await?
        }
        false => inventory,
    };
    let plan = policy::decide(&inventory, &verdict, ctx.now(), &limits, &ask)?;
    let plan = without_immovable(found, &inventory, &limits, plan).await?;

    let max_bytes = ctx.settings.quarantine_bytes;
    let kinds = plan.by_kind();
    let name = QuarantineName::new(ctx.now());
    let planned = FileRecord::planned(&plan);
    let left = || {
        planned
            .iter()
            .map(|file| FileRecord {
                fate: Fate::Left,
                ..file.clone()
            })
            .collect()
    };
    ending.step(Step::plan(ctx.now(), &plan));
    // Record the run before its plan exists, so that recovery always knows the run.
    {
        let (name, planned) = (name.clone(), planned.clone());
        let steps = std::mem::take(&mut ending.steps);
        ctx.with_store(move |store| store.audit().set_plan(id, name.as_str(), &steps, &planned))
            .await?;
    }
    let prepared = {
        let (folder, name) = (Arc::clone(&folder), name.clone());
        let now = ctx.now();
        change(move || folder.prepare(&plan, name, now, max_bytes)).await
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(obstacle) => {
            ending.moves = left();
            ctx.with_store(move |store| store.runs().forget_name(id))
                .await?;
            return Err(obstacle.into());
        }
    };
    ending.step(Step::new(
        ctx.now(),
        "prepared",
        Some("the plan is in the quarantine, no file has moved".into()),
    ));

    // The plan is written and no file has moved. Ask again before the first move.
    let prepared = Arc::new(prepared);
    let cancel = || {
        let prepared = Arc::clone(&prepared);
        change(move || prepared.cancel())
    };
    let mover = Mover {
        ctx,
        found,
        folder: &folder,
        stopped,
        first: &verdict,
        is_forced: ask.force.is_some(),
    };
    let confirmed = mover.confirm(ending).await;
    if let Err(error) = confirmed {
        cancel().await?;
        ending.step(Step::new(
            ctx.now(),
            "cancelled",
            Some("the plan was dropped, no file has moved".into()),
        ));
        ending.moves = left();
        ctx.with_store(move |store| store.runs().forget_name(id))
            .await?;
        return Err(error);
    }
    ending.run = Some(name.to_string());
    ending.step(Step::new(ctx.now(), "moving", None));
    let noted = {
        let steps = std::mem::take(&mut ending.steps);
        ctx.with_store(move |store| store.audit().note(id, &steps))
            .await
    };
    if let Err(error) = noted {
        // No move without a record.
        cancel().await?;
        ending.moves = left();
        ctx.with_store(move |store| store.runs().forget_name(id))
            .await?;
        return Err(error.into());
    }
    let executed = mover.execute(&prepared, ending).await;
    // `whereabouts` uses the open descriptors, so it looks at the same directories.
    let files = change(move || prepared.whereabouts()).await;
    let (away, stayed) = match &executed {
        Ok((done, _)) if done.outcome != MoveOutcome::RolledBack => (Fate::Moved, Fate::Left),
        _ => (Fate::Moved, Fate::PutBack),
    };
    match (files, &executed) {
        (Ok(files), _) => ending.moves = FileRecord::found(&files, away, stayed),
        (Err(_), Ok((done, _))) if done.outcome == MoveOutcome::Moved => {
            ending.moves = planned
                .iter()
                .map(|file| FileRecord {
                    fate: away,
                    ..file.clone()
                })
                .collect();
        }
        (Err(error), _) => tracing::error!(run = %name, "failed to find the moved files: {error}"),
    }
    let (done, why) = executed?;
    ending.step(Step::new(
        ctx.now(),
        done.outcome.label(),
        Some(format!("{} files", done.moved)),
    ));
    if let Ok(after) = scan(found, &folder).await {
        ending.accumulated = Some((before, count(&after)));
    }
    match done.outcome {
        MoveOutcome::RolledBack => Err(RunError::Changed(done.moved)),
        MoveOutcome::Interrupted => {
            let name = name.clone();
            ending.files = change(move || folder.held_kinds(&name))
                .await
                .unwrap_or_default();
            Err(Obstacle::Io(format!("aborted, because {why}")).into())
        }
        _ => {
            ending.files = kinds;
            let (before, after) = ending.accumulated.unwrap_or_default();
            Ok(RunOutcome::Cleaned {
                moved: done.moved,
                before,
                after,
                run: name.to_string(),
            })
        }
    }
}

/// Puts the files of a run back. Refuses unless the bot is disconnected, because a running bot
/// has its own state of these keys in memory, and where the folder has another identity by now.
/// An operator's `force` is above both.
pub async fn undo(
    ctx: &Context,
    id: i64,
    found: &Found,
    name: &QuarantineName,
    force: bool,
    ending: &mut Ending,
) -> Result<RunOutcome, RunError> {
    let folder = lock(&ctx.clock, found).await?;
    ending.step(Step::new(ctx.now(), "locked", None));
    let (verdict, _) = ask_and_scan(&ctx.connection, found, &folder, None).await?;
    ending.step(Step::verdict(ctx.now(), &verdict, false));
    ending.evidence = Some(verdict.because());
    match verdict.state {
        _ if force => {}
        State::Disconnected => {}
        State::Connected => return Err(Refusal::Connected.into()),
        State::Unknown => return Err(Refusal::ConnectionUnknown.into()),
    }
    if !force {
        folder.confirm_moves();
    }
    folder.confirm_place_async(&found.place).await?;
    if !force {
        let (folder, name) = (Arc::clone(&folder), name.clone());
        // Where the record cannot be read, the undo itself says so.
        let is_other = change(move || folder.is_of_other_identity(&name)).await;
        if is_other.unwrap_or(false) {
            return Err(RunError::OtherIdentity);
        }
    }
    let held = {
        let (folder, name) = (Arc::clone(&folder), name.clone());
        change(move || folder.whereabouts(&name))
            .await
            .unwrap_or_default()
    };
    let is_held: Vec<bool> = held.iter().map(|file| file.at == At::Quarantine).collect();
    let of_this_undo = |files: Vec<FileRecord>| -> Vec<FileRecord> {
        files
            .into_iter()
            .zip(&is_held)
            .filter(|(_, held)| **held)
            .map(|(file, _)| file)
            .collect()
    };
    // Record the plan before the first move, so that recovery knows the run.
    ending.step(Step::new(
        ctx.now(),
        "moving",
        Some("back into the folder".into()),
    ));
    let steps = std::mem::take(&mut ending.steps);
    let planned = of_this_undo(FileRecord::found(&held, Fate::Planned, Fate::Planned));
    let noted = name.clone();
    ctx.with_store(move |store| store.audit().set_plan(id, noted.as_str(), &steps, &planned))
        .await?;
    ending.run = Some(name.to_string());
    let before = {
        let (folder, name) = (Arc::clone(&folder), name.clone());
        change(move || folder.held_kinds(&name)).await?
    };
    if !force && !folder.may_move() {
        let mover = Mover {
            ctx,
            found,
            folder: &folder,
            stopped: None,
            first: &verdict,
            is_forced: false,
        };
        mover.confirm(ending).await?;
    }
    let (folder, name) = (Arc::clone(&folder), name.clone());
    let clock = ctx.clock.clone();
    let (undone, after, files) = change(move || {
        let undone = folder.undo(&name, Timestamp::of(&clock));
        let after = folder.held_kinds(&name).unwrap_or_default();
        let files = folder.whereabouts(&name).unwrap_or_default();
        Ok((undone, after, files))
    })
    .await?;
    // Record the files that are back even if the undo failed.
    ending.moves = of_this_undo(FileRecord::found(&files, Fate::Blocked, Fate::Restored));
    let undone = undone?;
    ending.step(Step::new(
        ctx.now(),
        "restored",
        Some(format!(
            "{} files; the bot must be restarted",
            undone.restored
        )),
    ));
    ending.files = before
        .into_iter()
        .map(|(kind, held)| {
            (
                kind,
                held - after.get(&kind).copied().unwrap_or(0).min(held),
            )
        })
        .filter(|(_, restored)| *restored > 0)
        .collect();
    Ok(RunOutcome::Undone {
        restored: undone.restored,
        blocked: undone.blocked,
        missing: undone.missing,
    })
}
