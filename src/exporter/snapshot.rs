//! One look at every auth folder: discovery, scan, and what policy makes of it.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::folder::bounded_blocking::Round;
use crate::folder::discovery::{ProblemLog, Skipped, duplicate, explain};
use crate::folder::scan::{CREDS_LOOKS, CREDS_SECOND_LOOK, needs_second_look, read_creds, scan};
use crate::folder::{
    BoundedBlocking, Discovery, FolderPath, Found, Inventory, ReadCache, SessionName, Timestamp,
};
use crate::policy::Thresholds;

use super::advice;
pub use super::measured::Measured;

/// A wrong name is answered with at most this many right ones.
const MAX_SUGGESTIONS: usize = 20;

/// Every session at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The sessions, by name.
    pub sessions: Vec<SessionView>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
    /// What may be wanted and was passed over, a sentence each.
    pub passed_over: Vec<String>,
    /// How long the look took.
    pub took: Duration,
    /// When it was.
    pub at: Timestamp,
}

impl Snapshot {
    /// Whether everything that was to be looked at could be.
    pub fn is_complete(&self) -> bool {
        self.skipped.is_empty() && self.sessions.iter().all(|view| view.state.is_ok())
    }

    /// Leaves only the session of this name, and what was left out because of its name.
    ///
    /// Errors: there is none; says which there are.
    pub fn select(&mut self, session: &str) -> Result<(), String> {
        let names = self.sessions.iter().map(|view| view.session.as_str());
        let names: Vec<&str> = names.take(MAX_SUGGESTIONS + 1).collect();
        if !self.sessions.iter().any(|v| v.session.as_str() == session) {
            let hint = match names.len() {
                0 => "no auth folder was found; check --sessions.path".to_owned(),
                1..=MAX_SUGGESTIONS => format!("there is: {}", names.join(", ")),
                _ => "`baileys_exporter status` lists all".to_owned(),
            };
            return Err(format!("no session is called {session:?}; {hint}"));
        }
        self.sessions
            .retain(|view| view.session.as_str() == session);
        self.skipped
            .retain(|skipped| duplicate(std::slice::from_ref(skipped), session).is_some());
        Ok(())
    }
}

/// One session.
#[derive(Debug)]
pub struct SessionView {
    /// Its name.
    pub session: SessionName,
    /// Where its tiers begin.
    pub thresholds: Thresholds,
    /// What was seen, or why nothing could be.
    pub state: Result<Measured, FolderError>,
}

/// Why a folder could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderError {
    /// Value of the label `reason`, one of [`FolderError::REASONS`].
    pub reason: &'static str,
    /// The same in words, with what to do.
    pub message: String,
}

impl FolderError {
    /// Every value of the label `reason`.
    pub const REASONS: [&'static str; 6] = [
        "io",
        "link",
        "missing",
        "not_an_auth_folder",
        "permission",
        "timeout",
    ];

    fn new(error: &io::Error) -> Self {
        let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        let reason = match error.kind() {
            _ if is_link => "link",
            io::ErrorKind::NotFound => "missing",
            io::ErrorKind::PermissionDenied => "permission",
            io::ErrorKind::TimedOut => "timeout",
            _ => "io",
        };
        Self {
            reason,
            message: explain(error),
        }
    }
}

/// How long a look at one folder may take. A scrape may have to wait for a look that began
/// before it, and Prometheus waits 10 s for both.
const SCAN_TIMEOUT: Duration = Duration::from_secs(3);

/// Looks at the folders, again and again; remembers what need not be read twice.
#[derive(Debug)]
pub struct Collector {
    settings: Arc<Settings>,
    discovery: Discovery,
    /// Whose memory it takes over at its first look.
    former: Option<Arc<Mutex<Collector>>>,
    looks: BoundedBlocking,
    /// A look that takes too long still leaves here what it has read.
    caches: HashMap<FolderPath, Arc<Mutex<ReadCache>>>,
    problems: ProblemLog,
    clock: Clock,
}

impl Collector {
    /// A collector for these settings.
    pub fn new(settings: Arc<Settings>, clock: Clock) -> Self {
        Self {
            discovery: settings.discovery().explaining(),
            former: None,
            looks: BoundedBlocking::default().with_timeout(SCAN_TIMEOUT),
            settings,
            caches: HashMap::new(),
            problems: ProblemLog::default(),
            clock,
        }
    }

    /// The same after a reload: it remembers which folders `former` has found.
    #[must_use]
    pub fn after(mut self, former: Arc<Mutex<Collector>>) -> Self {
        self.former = Some(former);
        self
    }

    /// Blocks while the former one looks.
    fn remember(&mut self) {
        if let Some(former) = self.former.take() {
            let mut former = former.lock().unwrap_or_else(PoisonError::into_inner);
            former.remember();
            self.discovery.remember(&former.discovery);
        }
    }

    /// Looks at everything once. Blocks; a folder that hangs is one that could not be looked
    /// at.
    pub fn collect(&mut self) -> Snapshot {
        let began = self.clock.now();
        let mut round = self.looks.round();
        self.remember();
        let survey = self.discovery.survey_in(&mut round);
        let mut scanned: Vec<(Found, io::Result<Inventory>)> = Vec::new();
        let mut caches = HashMap::new();
        for found in survey.found {
            let cache = self
                .caches
                .remove(&found.place)
                .unwrap_or_else(|| Arc::new(Mutex::new(ReadCache::new(self.clock.clone()))));
            let (place, own) = (found.place.clone(), Arc::clone(&cache));
            let scan = round.run(&found.place.path(), move || {
                let fd = place.open()?;
                scan(
                    fd.as_fd(),
                    &mut own.lock().unwrap_or_else(PoisonError::into_inner),
                )
            });
            caches.insert(found.place.clone(), cache);
            scanned.push((found, scan.and_then(|scan| scan)));
        }
        self.caches = caches;
        second_look(&mut scanned, &mut round, &self.clock);
        let at = Timestamp::of(&self.clock);
        let sessions = scanned
            .into_iter()
            .map(|(found, scan)| {
                let state = scan
                    .map_err(|error| FolderError::new(&error))
                    .and_then(|inventory| {
                        if !inventory.history.was_auth_folder {
                            return Err(not_an_auth_folder(&inventory));
                        }
                        Ok(Measured::new(inventory, &found.session, &self.settings, at))
                    });
                let thresholds = self.settings.limits(&found.session).thresholds;
                SessionView {
                    session: found.session,
                    thresholds,
                    state,
                }
            })
            .collect();
        let snapshot = Snapshot {
            sessions,
            skipped: survey.skipped,
            passed_over: survey.passed_over,
            took: self.clock.since(began),
            at,
        };
        self.report(&snapshot);
        snapshot
    }

    fn report(&mut self, snapshot: &Snapshot) {
        let skipped = snapshot
            .skipped
            .iter()
            .map(|skipped| skipped.message.clone());
        let unseen = snapshot.sessions.iter().filter_map(|view| {
            let error = view.state.as_ref().err()?;
            Some(format!(
                "session {} cannot be looked at: {}",
                view.session, error.message
            ))
        });
        let ambiguous = snapshot.sessions.iter().filter_map(|view| {
            let batches = view.state.as_ref().ok()?.batches;
            let doubt = advice::ambiguous(batches.ambiguity()?);
            Some(format!("session {}: {doubt}", view.session))
        });
        let creds_here = snapshot.sessions.iter().filter_map(|view| {
            let elsewhere = view.state.as_ref().ok()?.creds_elsewhere;
            (elsewhere == Some(false))
                .then(|| format!("session {}: {}", view.session, advice::creds_here()))
        });
        let noted = ambiguous.chain(creds_here);
        let passed_over = snapshot.passed_over.iter().cloned();
        let noted = noted.chain(passed_over);
        self.problems.report(skipped.chain(unseen).chain(noted));
    }
}

/// Where an operator named a directory that is no auth folder, and was none before.
fn not_an_auth_folder(inventory: &Inventory) -> FolderError {
    let message = format!(
        "it is not an auth folder: it holds no creds.json and no key of Baileys, and {} other files; give the folder that holds creds.json, or wait until the bot has logged in",
        inventory.files().len()
    );
    FolderError {
        reason: "not_an_auth_folder",
        message,
    }
}

/// One pause for all folders whose creds.json looks broken or gone, then a second read:
/// Baileys writes it in place.
fn second_look(scanned: &mut [(Found, io::Result<Inventory>)], round: &mut Round, clock: &Clock) {
    let mut doubtful: Vec<(&FolderPath, &mut Inventory)> = scanned
        .iter_mut()
        .filter_map(|(found, scan)| Some((&found.place, scan.as_mut().ok()?)))
        .filter(|(_, inventory)| needs_second_look(&inventory.creds))
        .collect();
    for _ in 0..CREDS_LOOKS {
        doubtful.retain(|(_, inventory)| needs_second_look(&inventory.creds));
        if doubtful.is_empty() {
            return;
        }
        clock.block(CREDS_SECOND_LOOK);
        for (place, inventory) in &mut doubtful {
            let own = FolderPath::clone(place);
            let creds = round.run(&place.path(), move || {
                own.open().map(|fd| read_creds(fd.as_fd()))
            });
            if let Ok(Ok(creds)) = creds {
                inventory.creds = creds;
            }
        }
    }
}
