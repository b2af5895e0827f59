//! The sessions that a configuration finds, and how old that knowledge may be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use clock::Clock;

use crate::config::Settings;
use crate::folder::discovery::{self, ProblemLog, Skipped};
use crate::folder::{Discovery, Found};
use crate::remediator::restart::coordinator::DiscoveredSessions;
use crate::remediator::runner::blocking;
use crate::remediator::store::StoreError;

/// Discovery runs at most this often, unless a name is unknown.
const SURVEY_FOR: Duration = Duration::from_secs(10);
/// The same before a run, because its name must belong to exactly one folder.
pub(super) const SURVEY_FOR_A_RUN: Duration = Duration::from_secs(1);
/// Time limit for the discovery before pending restarts are resumed.
const LOOK_AROUND_TIMEOUT: Duration = Duration::from_secs(10);
/// An unknown name, and a reload, wait this long for a discovery that is under way.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Another discovery takes very long: a file system may hang.
#[derive(Debug)]
pub(super) struct Busy;

impl Busy {
    const TEXT: &str = "looking for the sessions takes too long; a file system may hang";
}

impl From<Busy> for StoreError {
    fn from(_: Busy) -> Self {
        Self::Unusable(Busy::TEXT.into())
    }
}

/// What the last discovery found.
#[derive(Default)]
struct LastSurvey {
    found: Vec<Found>,
    /// What was left out.
    skipped: Vec<Skipped>,
    at: Option<Instant>,
}

/// The sessions that a configuration finds.
pub(super) struct SessionFinder {
    discovery: Mutex<(Discovery, ProblemLog)>,
    known: Mutex<LastSurvey>,
    clock: Clock,
}

impl SessionFinder {
    /// Looks for the sessions once. Blocks.
    pub(super) fn new(settings: &Settings, clock: Clock) -> Self {
        Self::survey_first(settings.discovery(), ProblemLog::default(), clock)
    }

    /// The same after a reload: what `former` remembers of the folders stays known. Blocks.
    ///
    /// Errors: `former` is looking around for too long.
    pub(super) fn after(former: &Self, settings: &Settings) -> Result<Self, String> {
        let mut discovery = settings.discovery();
        let problems = {
            let former = former.discovery_within(DISCOVERY_TIMEOUT);
            let former = former.ok_or_else(|| Busy::TEXT.to_owned())?;
            discovery.remember(&former.0);
            former.1.clone()
        };
        let clock = former.clock.clone();
        Ok(Self::survey_first(discovery, problems, clock))
    }

    fn survey_first(mut discovery: Discovery, problems: ProblemLog, clock: Clock) -> Self {
        let survey = discovery.survey();
        Self {
            discovery: Mutex::new((discovery, problems)),
            // A scrape before the first discovery of the watch loop reports these.
            known: Mutex::new(LastSurvey {
                found: survey.found,
                skipped: survey.skipped,
                at: None,
            }),
            clock,
        }
    }

    /// The session of this name, if discovery finds one.
    pub(super) async fn find(self: &Arc<Self>, name: String) -> Result<Option<Found>, Busy> {
        self.find_by(name, SURVEY_FOR).await
    }

    /// Like [`Self::find`]; uses a discovery that is at most `max_age` old.
    pub(super) async fn find_by(
        self: &Arc<Self>,
        name: String,
        max_age: Duration,
    ) -> Result<Option<Found>, Busy> {
        let sessions = Arc::clone(self);
        blocking(move || sessions.find_now_by(&name, max_age)).await
    }

    /// Like [`Self::find`], but blocks. Runs the discovery again if the name is unknown, or if
    /// the last one is old and no other thread is running one. (On a hung mount it may never
    /// end; then the last result stays in use.)
    pub(super) fn find_now(&self, name: &str) -> Result<Option<Found>, Busy> {
        self.find_now_by(name, SURVEY_FOR)
    }

    fn find_now_by(&self, name: &str, max_age: Duration) -> Result<Option<Found>, Busy> {
        let known = |max_age: Duration| {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = known.at.is_some_and(|at| self.clock.since(at) < max_age);
            let mut found = known.found.iter();
            let found = found.find(|found| found.session.as_str() == name);
            (found.cloned(), is_fresh)
        };
        match known(max_age) {
            (Some(found), true) => return Ok(Some(found)),
            (Some(found), false) => match self.discovery.try_lock() {
                Ok(mut discovery) => self.survey(&mut discovery),
                Err(_) => return Ok(Some(found)),
            },
            (None, _) => {
                let Some(mut discovery) = self.discovery_within(DISCOVERY_TIMEOUT) else {
                    return Err(Busy);
                };
                // Another thread may have run it meanwhile.
                if !known(Duration::from_secs(1)).1 {
                    self.survey(&mut discovery);
                }
            }
        }
        Ok(known(SURVEY_FOR).0)
    }

    /// The discovery; `None` if another thread uses it for longer than `patience`.
    fn discovery_within(
        &self,
        patience: Duration,
    ) -> Option<MutexGuard<'_, (Discovery, ProblemLog)>> {
        let began = self.clock.now();
        loop {
            match self.discovery.try_lock() {
                Ok(discovery) => return Some(discovery),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if self.clock.since(began) >= patience => {
                    return None;
                }
                Err(TryLockError::WouldBlock) => self.clock.block(Duration::from_millis(20)),
            }
        }
    }

    fn survey(&self, (discovery, problems): &mut (Discovery, ProblemLog)) {
        let survey = discovery.survey();
        let skipped = survey.skipped.iter().map(|skipped| skipped.message.clone());
        problems.report(skipped.chain(survey.passed_over));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.found = survey.found;
        known.skipped = survey.skipped;
        known.at = Some(self.clock.now());
    }

    /// Whether the last discovery found several folders of this name.
    pub(super) fn is_duplicate(&self, session: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        discovery::duplicate(&known.skipped, session).is_some()
    }

    /// Looks for all sessions.
    pub(super) async fn all(self: &Arc<Self>) -> Vec<Found> {
        let sessions = Arc::clone(self);
        blocking(move || sessions.all_now()).await
    }

    /// What the last discovery left out.
    pub(super) fn skipped(&self) -> Vec<Skipped> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.skipped.clone()
    }

    /// Like [`Self::all`], but blocks.
    pub(super) fn all_now(&self) -> Vec<Found> {
        self.survey(
            &mut self
                .discovery
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.known()
    }

    /// Like [`Self::all_now`], but returns the last result if another thread is running
    /// the discovery. So on a hung mount one thread waits, not one more every minute.
    fn all_unless_busy(&self) -> Vec<Found> {
        match self.discovery.try_lock() {
            Ok(mut discovery) => self.survey(&mut discovery),
            Err(TryLockError::Poisoned(poisoned)) => self.survey(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
        self.known()
    }

    /// Those of the last discovery.
    pub(super) fn known(&self) -> Vec<Found> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.found.clone()
    }

    /// Those of the last discovery, with the names that several folders have.
    pub(super) fn known_with_duplicates(&self) -> DiscoveredSessions {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        DiscoveredSessions::new(known.found.clone(), &known.skipped)
    }

    /// Whether the last discovery was just now, and could look everywhere: a session that it has
    /// not found has no folder.
    pub(super) fn is_complete(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = known
            .at
            .is_some_and(|at| self.clock.since(at) < LOOK_AROUND_TIMEOUT);
        is_fresh && discovery::is_complete(&known.skipped)
    }

    /// All sessions; those of the last discovery if it takes long, because a hung file system
    /// must not delay the others.
    pub(super) async fn look_around(self: &Arc<Self>) -> Vec<Found> {
        let sessions = Arc::clone(self);
        let looked = blocking(move || sessions.all_unless_busy());
        match self.clock.timeout(LOOK_AROUND_TIMEOUT, looked).await {
            Ok(known) => known,
            Err(_) => self.known(),
        }
    }
}
