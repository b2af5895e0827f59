//! What an effect says beside its event.

use std::fs::File;
use std::sync::Arc;

use crate::remediator::outcome::RunError;
use crate::remediator::restart::checks::Checked;
use crate::remediator::restart::cleaning::Cleaned;
use crate::remediator::restart::state::Restart;
use crate::remediator::runner::Folders;

/// What an awaited effect returns in addition to its event.
pub(super) enum EffectOutput {
    None,
    Locked(Folders),
    Saved(Box<SavedRestart>),
    Checked(Box<Checked>),
    /// What was cleaned, and why a torn creds.json was not put back.
    Cleaned(Option<Box<Cleaned>>, Option<String>),
    Refused(Box<RunError>),
    /// What is unclear about the process.
    Looked(String),
    /// Why the call failed; empty where it did not.
    Called(String),
}

/// What a write of the state has brought.
pub(super) struct SavedRestart {
    /// The state as it is on record.
    pub(super) state: Restart,
    /// For the call that follows; see `call_lock`.
    pub(super) call_lock: Option<Arc<File>>,
}

pub(super) fn refused(error: RunError) -> EffectOutput {
    EffectOutput::Refused(Box::new(error))
}
