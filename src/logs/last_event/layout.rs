//! Which logs there are, and whose.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use log_tailer::Listed;

use super::neighbours::Neighbours;
use super::{LISTED_FOR, LastEventReader};
use crate::logs::session_mapper::LogsSeen;
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
    /// The logs of a session, in the order of their paths.
    pub(super) fn logs_of(&self, session: &str) -> impl Iterator<Item = &PlacedLog> {
        let own = self.by_session.get(session).into_iter().flatten();
        own.filter_map(|at| self.logs.get(*at))
    }
}

impl LastEventReader {
    /// Reads the directories, at most every [`LISTED_FOR`]. Blocks.
    pub(super) fn layout(&self) -> Arc<Layout> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, layout)) = sessions.layout.as_ref()
            && self.clock.since(*at) < LISTED_FOR
        {
            return Arc::clone(layout);
        }
        let neighbours = Neighbours::look(&mut sessions.discovery, &self.settings.mapper);
        let mut by_session: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        let logs: Vec<PlacedLog> = self
            .files()
            .into_iter()
            .map(|listed| PlacedLog {
                session: self.session_of(&listed.path, &neighbours.known),
                listed,
            })
            .collect();
        for (at, log) in logs.iter().enumerate() {
            if let Some(session) = &log.session {
                by_session.entry(Arc::clone(session)).or_default().push(at);
            }
        }
        let layout = Arc::new(Layout {
            neighbours,
            logs,
            by_session,
        });
        sessions.layout = Some((self.clock.now(), Arc::clone(&layout)));
        layout
    }

    /// The configured files. What was read in others is forgotten.
    fn files(&self) -> Vec<Listed> {
        let mut files: Vec<Listed> = Vec::new();
        for glob in &self.settings.globs {
            glob.list(|file| files.push(file), |_, _| {});
        }
        files.retain(|file| !self.own.contains(file));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.stat.id == b.stat.id);
        let listed: HashSet<&PathBuf> = files.iter().map(|file| &file.path).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|path, _| listed.contains(path));
        files
    }

    /// The session of a log by its path: by pm2's name for it, or else by the path itself if pm2
    /// has no other name for the session. Never a guess, because lines of another bot's log would
    /// count for this session.
    fn session_of(&self, path: &Path, known: &KnownSessions) -> Option<Arc<str>> {
        let mapper = &self.settings.mapper;
        let placed = mapper.place(path, known, &LogsSeen::default());
        placed
            .map(|(name, _)| name)
            .or_else(|| mapper.of_path(path))
    }
}
