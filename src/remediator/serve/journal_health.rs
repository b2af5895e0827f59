//! What is known of the journal.

use std::sync::{Mutex, PoisonError};

use crate::remediator::store::StoreError;

/// What the last check found.
#[derive(Debug, Default)]
pub(super) struct JournalHealth(Mutex<Option<String>>);

impl JournalHealth {
    /// What is wrong; `None` while nothing is.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problem.clone()
    }

    /// Notes a failure between two checks; the next check tells when it is over.
    pub(super) fn note_failure(&self, checked: &Result<(), StoreError>) {
        if checked.is_err() {
            self.note(checked);
        }
    }

    /// Notes a check; logs what has changed.
    pub(super) fn note(&self, checked: &Result<(), StoreError>) {
        let now = checked.as_ref().err().map(ToString::to_string);
        let mut problem = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*problem, &now) {
            (before, Some(error)) if before.as_ref() != Some(error) => {
                tracing::error!("no run begins: {error}");
            }
            (Some(_), None) => tracing::info!("the journal can be used again"),
            _ => {}
        }
        *problem = now;
    }
}
