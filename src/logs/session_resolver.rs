//! Assigns logs to sessions: combines the mapper, the known sessions and what the logs have shown.
//! Caches its answers until one of these changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogSettings;
use super::evidence::shows_library;
use super::log_name::{Program, redacted};
use super::own::OwnLogs;
use super::session_mapper::{LogsSeen, programs};
use super::sessions::{KnownSessions, SessionMemory, SessionsSeen};

/// Maximum number of logs with a cached answer.
pub(super) const MOST_PATHS: usize = 100_000;

/// Assigns logs and lines to sessions.
#[derive(Debug)]
pub struct SessionResolver {
    settings: Arc<LogSettings>,
    own: OwnLogs,
    memory: SessionMemory,
    sessions: Arc<KnownSessions>,
    logs: Arc<LogsSeen>,
    listed: HashSet<OsString>,
    /// Programs that have shown a line of the library and are not saved yet.
    new_bots: BTreeSet<Program>,
    /// As plain text, because to hash and compare paths part by part takes several times as long.
    by_path: HashMap<OsString, Answer>,
}

#[derive(Clone, Debug)]
struct Answer {
    session: Option<Arc<str>>,
    wants_evidence: bool,
}

impl SessionResolver {
    /// Starts with the saved sessions and programs.
    pub fn new(
        settings: Arc<LogSettings>,
        memory: SessionMemory,
        bots: BTreeSet<Program>,
        own: OwnLogs,
    ) -> Self {
        let mut this = Self {
            settings,
            own,
            memory,
            sessions: Arc::default(),
            logs: Arc::new(LogsSeen {
                bots,
                ..LogsSeen::default()
            }),
            listed: HashSet::new(),
            new_bots: BTreeSet::new(),
            by_path: HashMap::new(),
        };
        this.renew();
        this
    }

    /// Applies a changed configuration.
    pub fn configure(&mut self, settings: Arc<LogSettings>) {
        self.settings = settings;
        self.listed.clear();
        Arc::make_mut(&mut self.logs).programs.clear();
        self.renew();
    }

    /// Takes the result of a listing of the folders.
    pub fn see(&mut self, seen: &SessionsSeen) {
        if self.memory.see(seen) {
            self.renew();
        }
    }

    /// The existing logs.
    pub fn listed<'a>(&mut self, logs: impl Iterator<Item = &'a Path>) {
        let new: Vec<PathBuf> = logs
            .filter(|log| !self.listed.contains(log.as_os_str()))
            .map(Path::to_owned)
            .collect();
        if new.is_empty() {
            return;
        }
        let before = self.logs.programs.len();
        let logs = Arc::make_mut(&mut self.logs);
        logs.programs.extend(programs(&new));
        if logs.programs.len() != before {
            self.by_path.clear();
        }
        self.listed
            .extend(new.into_iter().map(PathBuf::into_os_string));
    }

    /// Uses the lines of a log as evidence, if the log needs some. Returns whether it has a session
    /// now.
    pub fn note(&mut self, log: &Path, lines: &[u8]) -> bool {
        if !self.answer(log).wants_evidence || !shows_library(lines) {
            return false;
        }
        let program = self.logs.program_of(log);
        self.new_bots.insert(program.clone());
        Arc::make_mut(&mut self.logs).bots.insert(program);
        self.by_path.clear();
        true
    }

    /// The session of a log's lines, if the lines do not name one.
    pub fn session_of(&mut self, log: &Path) -> Option<Arc<str>> {
        self.answer(log).session
    }

    /// The known session that a line means by this name.
    pub fn called(&self, name: &str) -> Option<Arc<str>> {
        self.sessions.called(name)
    }

    /// The sessions for which lines are counted.
    pub fn sessions(&self) -> &Arc<KnownSessions> {
        &self.sessions
    }

    /// What the logs have shown.
    pub fn logs(&self) -> &Arc<LogsSeen> {
        &self.logs
    }

    /// The first configured glob that matches a log, without what may be a phone number.
    pub fn glob_of(&self, log: &Path) -> Arc<str> {
        let mut globs = self.settings.globs.iter();
        let glob = globs.find(|glob| glob.matches(log));
        Arc::from(redacted(glob.map_or("", |glob| glob.as_str())))
    }

    /// Whether the file at `path` belongs to another session than the log `origin`.
    pub fn is_of_another(&self, path: &Path, origin: &Path) -> bool {
        let mapper = &self.settings.mapper;
        mapper.is_of_another(path, origin, &self.sessions)
    }

    /// The files that are never followed.
    pub fn own(&self) -> &OwnLogs {
        &self.own
    }

    /// The folders that were seen.
    pub fn memory(&self) -> &SessionMemory {
        &self.memory
    }

    /// Programs to save.
    pub fn new_bots(&self) -> &BTreeSet<Program> {
        &self.new_bots
    }

    /// Whether something is not saved yet.
    pub fn is_dirty(&self) -> bool {
        self.memory.is_dirty() || !self.new_bots.is_empty()
    }

    /// It was saved.
    pub fn committed(&mut self) {
        self.memory.committed();
        self.new_bots.clear();
    }

    fn renew(&mut self) {
        let declared = self.settings.mapper.declared();
        self.sessions = Arc::new(KnownSessions::new(&self.memory, declared));
        self.by_path.clear();
    }

    fn answer(&mut self, log: &Path) -> Answer {
        if let Some(answer) = self.by_path.get(log.as_os_str()) {
            return answer.clone();
        }
        if self.by_path.len() >= MOST_PATHS {
            self.by_path.clear();
        }
        let (mapper, sessions, logs) = (&self.settings.mapper, &self.sessions, &self.logs);
        let answer = Answer {
            session: mapper.place(log, sessions, logs).map(|(name, _)| name),
            wants_evidence: mapper.wants_evidence(log, sessions, logs),
        };
        self.by_path.insert(log.into(), answer.clone());
        answer
    }
}
