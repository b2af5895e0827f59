//! `clean --tier` and `clean --all`: one clean-up after the other, each by its own guards.

use clock::Clock;
use tokio::task::block_in_place;

use crate::cli::{complain, is_stopping, print};
use crate::config::Settings;
use crate::folder::{Found, Timestamp};
use crate::policy::guard::CleanupMode;
use crate::policy::{CleanRequest, Tier, accumulated_files};

use super::super::copies;
use super::super::insurance::store::limits_of;
use super::super::runner;
use super::{Exit, clean_recorded, command_context, fail, no_folder, preview, with_memory};

/// Cleans up every session at `tier` or above; all sessions where that is `None`. `dry_run` only
/// shows what would be done. The exit code is that of the session that went worst.
pub async fn clean_many(settings: Settings, tier: Option<Tier>, dry_run: bool) -> Exit {
    let survey = block_in_place(|| settings.discovery().survey());
    let mut worst = Exit::Done;
    for skipped in &survey.skipped {
        complain(&format!("warning: {}", skipped.message));
    }
    if survey.found.is_empty() {
        return fail(&no_folder(&settings));
    }
    let mut chosen: Vec<Found> = Vec::new();
    let same_logins = block_in_place(|| copies::of(&survey.found, Timestamp::of(&Clock::system())));
    for found in survey.found.iter().cloned() {
        let name = found.session.as_str();
        let copy = same_logins.get(&found.session);
        if let Some(copy) = copy.filter(|same| same.is_copy()) {
            complain(&format!("note: {name} is left out: {copy}"));
            continue;
        }
        match is_at(&settings, &found, tier).await {
            // Which of the two is meant is not known.
            Ok(true) if survey.duplicate(name).is_some() => {
                complain(&format!("{name}: several folders have this name"));
                worst = Exit::Failed;
            }
            Ok(true) => chosen.push(found),
            Ok(false) => {}
            Err(error) => {
                complain(&format!("{name}: {error}"));
                worst = Exit::Failed;
            }
        }
    }
    if chosen.is_empty() {
        let all = survey.found.len();
        print(&match tier {
            Some(tier) => format!("None of {all} sessions is at {tier} or above."),
            None => "No session can be cleaned up.".to_owned(),
        });
        return worst;
    }
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: None,
        force: None,
    };
    if dry_run {
        let app = block_in_place(|| with_memory(settings));
        for found in &chosen {
            worst = worst.max(preview(&app, found, ask).await);
        }
        print("Dry run: no file was moved.");
        return worst;
    }
    let ctx = match block_in_place(|| command_context(settings)) {
        Ok(ctx) => ctx,
        Err(error) => return fail(&error),
    };
    let mut done = 0;
    for (index, found) in chosen.iter().enumerate() {
        if is_stopping() {
            let left = chosen.len() - index;
            return fail(&format!(
                "stopped by a signal before {left} of the sessions"
            ));
        }
        let exit = clean_recorded(&ctx, found, ask).await;
        done += usize::from(exit == Exit::Done);
        worst = worst.max(exit);
    }
    print(&format!("{done} of {} sessions cleaned up.", chosen.len()));
    worst
}

/// Whether a session is at this tier or above.
async fn is_at(settings: &Settings, found: &Found, tier: Option<Tier>) -> Result<bool, String> {
    let Some(tier) = tier else { return Ok(true) };
    let inventory = runner::look(found).await.map_err(|e| e.to_string())?;
    let limits = limits_of(settings, &found.session);
    let accumulated = accumulated_files(&inventory, limits.batch);
    Ok(limits.thresholds.tier(accumulated) >= Some(tier))
}
