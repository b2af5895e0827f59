//! What an operator should know of a folder beyond its numbers, and what they can do. Pure.

use crate::folder::Kind;
use crate::policy::{Ambiguity, Refusal, Thresholds, Tier};

use super::measured::Measured;

const SET_THE_BATCH: &str = "set pre_key_batch for this session (overrides in the configuration, or --pre-keys.batch): 30 if its Baileys is older than 7.0.0-rc.6, else 812";

/// Advice on one folder; empty if the numbers say everything.
pub fn advice(measured: &Measured, thresholds: &Thresholds) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(measured.batches.ambiguity().map(ambiguous));
    notes.extend(unreadable_sessions(measured));
    notes.extend((measured.creds_elsewhere == Some(false)).then(creds_here));
    notes.extend(stays_high(measured, thresholds));
    notes
}

/// What the doubt about the batch is, and which setting ends it.
pub fn ambiguous(ambiguity: Ambiguity) -> String {
    let doubt = match ambiguity {
        Ambiguity::TimesLost => {
            "the pre-key batch is ambiguous: the file times do not show which pre-keys were minted together, as after a copy that does not keep times (scp -r, cp -r, docker cp)"
        }
        Ambiguity::ManyMinted => {
            "the pre-key batch is ambiguous: it is counted as 30 and guarded as 812"
        }
    };
    format!("{doubt}; {SET_THE_BATCH}")
}

fn unreadable_sessions(measured: &Measured) -> Option<String> {
    let (unreadable, all) = (measured.unreadable_sessions, measured.count(Kind::Session));
    (unreadable > 0).then(|| {
        format!(
            "{unreadable} of {all} session files cannot be read: they are torn, or in the form of another engine; a clean-up never moves them"
        )
    })
}

/// Where the configuration says `creds: elsewhere` and the folder says something else.
pub fn creds_here() -> String {
    "creds: elsewhere is set, but the folder has a creds.json, or had one: it is watched and guarded as usual; remove the setting if the bot keeps its creds in the folder".to_owned()
}

/// A folder that has reached a tier from which no clean-up would bring it down.
fn stays_high(measured: &Measured, thresholds: &Thresholds) -> Option<String> {
    if measured.tier < Some(Tier::Warning) {
        return None;
    }
    match &measured.after_emergency {
        Err(Refusal::CredsBroken(_)) => None,
        Err(Refusal::NothingRemovable) => Some(format!(
            "a clean-up could move nothing: {}",
            what_helps(measured)
        )),
        Err(refusal) => Some(format!("a clean-up could move nothing: {refusal}")),
        Ok(after) => thresholds
            .tier(*after)
            .filter(|tier| *tier >= Tier::Cleanup)
            .map(|tier| {
                format!(
                    "a clean-up would leave {after} accumulated files, still at the tier {tier}: {}",
                    what_helps(measured)
                )
            }),
    }
}

fn what_helps(measured: &Measured) -> &'static str {
    let batches = &measured.batches;
    if batches.is_ambiguous() {
        "the other keys are in use, or guarded because of the batch; set the batch first"
    } else if batches.guards_more_than_it_counts() {
        "Baileys 7 has opened this folder, so its newest 832 pre-keys are kept; give the session higher tiers, or pair the bot anew with an empty folder"
    } else {
        "the other keys are in use; give the session higher tiers, or move its keys to a database"
    }
}
