//! Which logs there are, and whose.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use log_tailer::Listed;

use super::neighbours::Neighbours;
use crate::logs::session_mapper::{LogsSeen, SessionMapper};
use crate::logs::sessions::KnownSessions;

/// The sessions of this host and the configured logs, each with its session. It is made once for
/// all sessions, because to find the session of each log takes long.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) neighbours: Neighbours,
    pub(super) logs: Vec<PlacedLog>,
    /// Positions in `logs`.
    by_session: HashMap<Arc<str>, Vec<usize>>,
}

#[derive(Debug)]
pub(super) struct PlacedLog {
    pub(super) listed: Listed,
    pub(super) session: Option<Arc<str>>,
}

impl Layout {
    /// Finds the session of each log.
    pub(super) fn new(neighbours: Neighbours, logs: Vec<Listed>, mapper: &SessionMapper) -> Self {
        let place = |listed: Listed| PlacedLog {
            session: session_of(&listed.path, mapper, &neighbours.known),
            listed,
        };
        let logs: Vec<PlacedLog> = logs.into_iter().map(place).collect();
        let mut by_session: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (at, log) in logs.iter().enumerate() {
            if let Some(session) = &log.session {
                by_session.entry(Arc::clone(session)).or_default().push(at);
            }
        }
        Self {
            neighbours,
            logs,
            by_session,
        }
    }

    /// The logs of a session, in the order of their paths.
    pub(super) fn logs_of(&self, session: &str) -> impl Iterator<Item = &PlacedLog> {
        let own = self.by_session.get(session).into_iter().flatten();
        own.filter_map(|at| self.logs.get(*at))
    }
}

/// The session of a log by its path: by pm2's name for it, or else by the path itself if pm2 has no
/// other name for the session. Never a guess, because lines of another bot's log would count for
/// this session.
fn session_of(path: &Path, mapper: &SessionMapper, known: &KnownSessions) -> Option<Arc<str>> {
    let placed = mapper.place(path, known, &LogsSeen::default());
    placed
        .map(|(name, _)| name)
        .or_else(|| mapper.of_path(path))
}
