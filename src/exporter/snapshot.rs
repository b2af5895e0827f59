//! One look at every auth folder: discovery, scan, and what policy makes of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::folder::bounded_blocking::Round;
use crate::folder::discovery::{ProblemLog, Skipped, duplicate};
use crate::folder::scan::{CREDS_LOOKS, CREDS_SECOND_LOOK, needs_second_look, read_creds};
use crate::folder::{BoundedBlocking, Creds, Discovery, FolderPath, Found, SessionName, Timestamp};
use crate::policy::{LoginFolder, SameLogin, Thresholds, same_logins};

use super::advice;
use super::folder_cache::{FolderCache, ScanMode, ScanOutcome, due};
pub use super::folder_error::FolderError;
use super::latest::LatestVerdicts;
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
    /// The earliest time at which one of the folders was last looked at file by file. `None`
    /// without a folder.
    pub oldest_scan: Option<Timestamp>,
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
    /// Its folder.
    pub place: FolderPath,
    /// Where its tiers begin.
    pub thresholds: Thresholds,
    /// What was seen, or why nothing could be.
    pub state: Result<Arc<Measured>, FolderError>,
    /// Another session has the same login.
    pub same_login: Option<SameLogin>,
}

impl SessionView {
    /// Whether its folder is a copy of another session's: it has no tiers.
    pub fn is_copy(&self) -> bool {
        self.same_login.as_ref().is_some_and(SameLogin::is_copy)
    }
}

/// How long a look at one folder may take. A scrape may have to wait for a look that began
/// before it, and Prometheus waits 10 s for both.
const SCAN_TIMEOUT: Duration = Duration::from_secs(3);

/// Looks at the folders, again and again; remembers what need not be looked at twice.
#[derive(Debug)]
pub struct Collector {
    settings: Arc<Settings>,
    discovery: Discovery,
    /// A session whose process runs stays one when its directory is gone.
    latest: Arc<Mutex<LatestVerdicts>>,
    /// Whose memory it takes over at its first look.
    former: Option<Arc<Mutex<Collector>>>,
    looks: BoundedBlocking,
    folders: HashMap<FolderPath, Folder>,
    /// When it looked last, as time since the boot of the machine.
    looked_at: Option<Duration>,
    /// `None` for a command that says itself what is wrong.
    problems: Option<ProblemLog>,
    clock: Clock,
}

/// What is kept of a folder from look to look.
#[derive(Clone, Debug)]
struct Folder {
    /// A look that takes too long still leaves here what it has read.
    cache: Arc<Mutex<FolderCache>>,
    /// The last full look, as time since the boot of the machine.
    looked_at: Option<Duration>,
    /// Its login when it could be looked at last.
    login: Option<LoginFolder>,
}

impl Collector {
    /// A collector for these settings.
    pub fn new(settings: Arc<Settings>, clock: Clock) -> Self {
        let looks = BoundedBlocking::default().with_timeout(SCAN_TIMEOUT);
        Self {
            discovery: settings.discovery().explaining().with_cache(clock.clone()),
            latest: Arc::default(),
            former: None,
            looks: match settings.scan_threads {
                Some(threads) => looks.with_threads(threads.get()),
                None => looks,
            },
            settings,
            folders: HashMap::new(),
            looked_at: None,
            problems: Some(ProblemLog::default()),
            clock,
        }
    }

    /// The same for a command that says itself what is wrong: it logs nothing.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.problems = None;
        self
    }

    /// The same, with the verdicts that are taken from its looks.
    #[must_use]
    pub fn with_verdicts(mut self, latest: Arc<Mutex<LatestVerdicts>>) -> Self {
        self.latest = latest;
        self
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
    /// at. Names and creds.json are those of now; what only a look at each file tells is at
    /// most [`SCANNED_AGAIN_WITHIN`](super::folder_cache::SCANNED_AGAIN_WITHIN) old.
    pub fn collect(&mut self) -> Snapshot {
        let (began, moment) = (self.clock.now(), self.clock.boot());
        let mut round = self.looks.round();
        self.remember();
        // Held only to read: a lock that is taken here waits for no look.
        let latest = Arc::clone(&self.latest);
        let is_kept = move |session: &SessionName| {
            let latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            latest.has_run_lately(session, began)
        };
        let survey = self.discovery.survey_keeping(&mut round, &is_kept);
        let mut former = std::mem::take(&mut self.folders);
        let mut folders: Vec<Folder> = survey
            .found
            .iter()
            .map(|found| former.remove(&found.place).unwrap_or_else(|| self.folder()))
            .collect();
        let looked: Vec<_> = folders.iter().map(|folder| folder.looked_at).collect();
        let due = due(&looked, moment, self.looked_at.replace(moment));
        let all = survey.found.iter().zip(&folders).zip(due);
        let jobs = all.map(|((found, folder), is_full)| {
            let how = match is_full {
                true => ScanMode::Full,
                false => ScanMode::Changes,
            };
            self.job(found, folder, how)
        });
        let run = |job: ScanJob| job.run();
        let mut looked = round.run_all(jobs.collect::<Vec<_>>(), run);
        self.second_look(&survey.found, &folders, &mut looked, &mut round);
        let at = Timestamp::of(&self.clock);
        let mut sessions = Vec::with_capacity(looked.len());
        let mut oldest_scan = None;
        for ((found, folder), looked) in survey.found.iter().zip(&mut folders).zip(looked) {
            let state = match looked.and_then(|looked| looked) {
                Ok(ScanOutcome::Measured(measured, moment)) => {
                    folder.looked_at = Some(moment.boot);
                    folder.login = measured.login;
                    oldest_scan =
                        Some(oldest_scan.map_or(moment.wall, |at: Timestamp| at.min(moment.wall)));
                    Ok(measured)
                }
                Ok(ScanOutcome::NotAnAuthFolder(error)) => Err(error),
                // It was looked at again.
                Ok(ScanOutcome::Doubtful) => Err(FolderError::new(&io::ErrorKind::TimedOut.into())),
                Err(error) => Err(FolderError::new(&error)),
            };
            sessions.push(SessionView {
                session: found.session.clone(),
                place: found.place.clone(),
                thresholds: self.settings.limits(&found.session).thresholds,
                state,
                same_login: None,
            });
        }
        let logins = survey.found.iter().zip(&folders);
        let logins = logins.filter_map(|(found, folder)| Some((&found.session, folder.login?)));
        let mut same_logins = same_logins(logins, at);
        for view in &mut sessions {
            view.same_login = same_logins.remove(&view.session);
        }
        let places = survey.found.into_iter().map(|found| found.place);
        self.folders = places.zip(folders).collect();
        let snapshot = Snapshot {
            sessions,
            skipped: survey.skipped,
            passed_over: survey.passed_over,
            took: self.clock.since(began),
            at,
            oldest_scan,
        };
        self.report(&snapshot);
        snapshot
    }

    fn folder(&self) -> Folder {
        Folder {
            cache: Arc::new(Mutex::new(FolderCache::new(self.clock.clone()))),
            looked_at: None,
            login: None,
        }
    }

    fn job(&self, found: &Found, folder: &Folder, how: ScanMode) -> (PathBuf, ScanJob) {
        let job = ScanJob {
            found: found.clone(),
            cache: Arc::clone(&folder.cache),
            settings: Arc::clone(&self.settings),
            how,
        };
        (found.place.path(), job)
    }

    /// Pauses for all folders whose creds.json looks broken or gone, then looks at them again:
    /// Baileys writes it in place.
    fn second_look(
        &self,
        found: &[Found],
        folders: &[Folder],
        looked: &mut [io::Result<io::Result<ScanOutcome>>],
        round: &mut Round,
    ) {
        let is_doubtful = |looked: &io::Result<io::Result<ScanOutcome>>| {
            matches!(looked, Ok(Ok(ScanOutcome::Doubtful)))
        };
        let doubtful: Vec<usize> = (0..looked.len())
            .filter(|index| is_doubtful(&looked[*index]))
            .collect();
        let mut settled: BTreeMap<usize, Creds> = BTreeMap::new();
        for _ in 0..CREDS_LOOKS {
            let is_open = |creds: Option<&Creds>| creds.is_none_or(needs_second_look);
            let open = doubtful.iter().filter(|index| is_open(settled.get(index)));
            let open: Vec<usize> = open.copied().collect();
            if open.is_empty() {
                break;
            }
            self.clock.block(CREDS_SECOND_LOOK);
            let places = open.iter().map(|index| found[*index].place.clone());
            let reads = round.run_all(
                places.map(|place| (place.path(), place)),
                |place: FolderPath| place.open().map(|fd| read_creds(fd.as_fd())),
            );
            for (index, creds) in open.into_iter().zip(reads) {
                // What was read before stands where there is no answer now.
                if let Ok(Ok(creds)) = creds {
                    settled.insert(index, creds);
                }
            }
        }
        let jobs = doubtful.iter().map(|index| {
            let how = ScanMode::Again(settled.remove(index));
            self.job(&found[*index], &folders[*index], how)
        });
        let again = round.run_all(jobs.collect::<Vec<_>>(), |job: ScanJob| job.run());
        for (index, again) in doubtful.into_iter().zip(again) {
            looked[index] = again;
        }
    }

    fn report(&mut self, snapshot: &Snapshot) {
        let Some(problems) = &mut self.problems else {
            return;
        };
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
            let batches = view
                .state
                .as_ref()
                .ok()
                .filter(|_| !view.is_copy())?
                .batches;
            let doubt = advice::ambiguous(batches.ambiguity()?);
            Some(format!("session {}: {doubt}", view.session))
        });
        let creds_here = snapshot.sessions.iter().filter_map(|view| {
            let elsewhere = view.state.as_ref().ok()?.creds_elsewhere;
            (elsewhere == Some(false))
                .then(|| format!("session {}: {}", view.session, advice::creds_here()))
        });
        let same_logins = snapshot.sessions.iter().filter_map(|view| {
            Some(format!(
                "session {}: {}",
                view.session,
                view.same_login.as_ref()?
            ))
        });
        let noted = ambiguous.chain(creds_here).chain(same_logins);
        let passed_over = snapshot.passed_over.iter().cloned();
        let noted = noted.chain(passed_over);
        problems.report(skipped.chain(unseen).chain(noted));
    }
}

/// One look at one folder.
struct ScanJob {
    found: Found,
    cache: Arc<Mutex<FolderCache>>,
    settings: Arc<Settings>,
    how: ScanMode,
}

impl ScanJob {
    fn run(self) -> io::Result<ScanOutcome> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let Found { session, place } = &self.found;
        cache.look(place, session, &self.settings, self.how)
    }
}

#[cfg(test)]
mod tests;
