//! Whether the process that opened a connection, as a log names it, still runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use supervisor::proc::runs_since;

use crate::connection::Opener;
use crate::folder::{SessionName, Timestamp};

/// A process of this host, as a log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedProcess {
    pub(super) pid: u32,
    /// When it opened its connection.
    pub(super) opened: Timestamp,
}

/// The openers that were seen running. Only of these it is known that they have ended: another
/// number may be of another PID namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Openers(Arc<Mutex<HashMap<SessionName, NamedProcess>>>);

impl Openers {
    /// Whether the process that opened last still runs; `None` where that cannot be told. Blocks.
    pub(super) fn state_of(&self, session: &SessionName, opener: NamedProcess) -> Option<Opener> {
        let runs = runs_since(opener.pid, opener.opened.into())?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs {
            seen.insert(session.clone(), opener);
        }
        let is_known = seen.get(session) == Some(&opener);
        is_known.then_some(Opener {
            pid: opener.pid,
            runs,
        })
    }
}

#[cfg(test)]
mod tests;
