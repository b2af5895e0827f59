//! Stops the service of a bot, lets its folders be cleaned, and starts it again, whatever
//! happened in between.
//!
//! | phase on disk | what is true | after a crash |
//! |---|---|---|
//! | `stopping` | written before the stop is asked for; also where it has not worked, for it may do so late | wait until the stop has played out, start |
//! | `gone` | the process is gone, the folders are being cleaned | start |
//! | `starting` | to be started | start |
//! | `failed` | the first start was tried, and it does not run | start, unless a person has paused |
//! | `started` | it runs, and nobody has seen it connected yet | look, start if it does not run |
//! | none | it was seen connected, or runs and has not come back in time | nothing is owed |
//!
//! Of a process of several sessions those are watched which were connected before the stop,
//! and those which were cleaned; each comes back, or does not, by itself.
//!
//! While a phase is on disk nothing else touches the service's sessions. A service that
//! was found stopped without one was stopped by somebody else, and is never started.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::{Finding, State};
use crate::control::{Earlier, Presence, SHOWS_WITHIN, Service};
use crate::folder::{Found, SessionName, Timestamp};
use crate::policy::guard::CleanupMode;
use crate::policy::{
    Breaker, CleanRequest, RestartBudget, StopInputs, StopRefusal, Stopped, Tier, may_stop,
};

use super::insurance::stop as insurance;
use super::journal::record::{Fate, FileRecord};
use super::journal::{Action, Ending, Journal, JournalError, Run};
use super::ledger::{NotBack, Obligation, Phase};
use super::outcome::{BotState, RunError, RunOutcome, RunResult};
use super::quarantine::{Halt, RunId, look_up};
use super::runner::{self, Context, Down, blocking};

/// Between two looks at a service.
const PAUSE: Duration = Duration::from_millis(500);
/// The control's own timeouts are waited for, and this long beyond them.
const GRACE: Duration = Duration::from_secs(15);
/// A source may go on saying `connected` for so long after the process is gone.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// Once the process is gone the folder is watched for so long (or for the quiet window where
/// that is shorter) before anything moves: had the wrong service been named, the bot that
/// still runs would be seen to write.
const WATCHED_FOR: Duration = Duration::from_secs(10);
/// One folder's clean-up may take so long while its bot is down.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(120);
/// All of them together.
const ALL_CLEAN_TIMEOUT: Duration = Duration::from_secs(300);
/// Whatever waits for a disk or a source meanwhile, so long after the service's own times it
/// is started.
const DOWN_FOR_AT_MOST: Duration = Duration::from_secs(600);
/// A clean-up of another session of the process that had begun before is waited for so long;
/// then the run waits again.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(120);
/// A move that is under way when the bot is to be started is waited for so long; one that
/// hangs for longer is one on a file system that hangs, and no other follows it.
const HALTS_WITHIN: Duration = Duration::from_secs(30);
/// A stop that did not work in its time may still do so: for so long it is watched.
const STOPS_LATE_WITHIN: Duration = Duration::from_secs(900);
/// The start waits no longer than this for a journal.
const NOTE_TIMEOUT: Duration = Duration::from_secs(5);
/// All sessions of a service are asked about within this time, so many at once.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(60);
const ASKED_AT_ONCE: usize = 8;
/// A service that dies after its start is started again so many times.
const STARTS_AGAIN: u32 = 2;

/// What lets the bot be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The emergency tier.
    Emergency,
    /// A maintenance window, for an armed clean-up.
    Window,
}

impl Way {
    const fn mode(self) -> CleanupMode {
        match self {
            Way::Emergency => CleanupMode::Emergency,
            Way::Window => CleanupMode::Cleanup,
        }
    }
}

/// What became of a run that might stop a service.
#[derive(Debug)]
pub enum Led {
    /// The service is on its way down or up; wait.
    Busy,
    /// It need not be stopped: it is down already, or its bot is disconnected.
    NeedsNoStop,
    /// It was handled.
    Ended(RunResult),
}

/// A session that is to come back after the start of its service, and its run.
#[derive(Clone, Debug)]
struct Watched {
    found: Found,
    run_id: i64,
}

/// A run of another session that was cleaned along. It ends when its bot is back.
#[derive(Debug)]
struct Beside {
    run: Run,
    found: Found,
    cleaned: RunResult,
    ending: Ending,
}

/// The other sessions of a service, before the stop.
#[derive(Debug, Default)]
struct Siblings {
    connected: Vec<Found>,
    /// Disconnected or logged out: they do not come back by a start.
    idle: BTreeSet<String>,
}

/// What a start came to.
#[derive(Debug)]
struct Outcome {
    back: BotState,
    /// The sessions that have not come back.
    late: BTreeSet<String>,
}

impl Outcome {
    fn of(&self, found: &Found) -> BotState {
        match self.late.contains(found.session.as_str()) {
            true => self.back.clone(),
            false => BotState::Connected,
        }
    }
}

/// A run that has cleaned is done when its bot is back.
fn done_if_back(cleaned: RunOutcome, bot: BotState, ending: &Ending) -> RunResult {
    match bot {
        BotState::Connected => Ok(cleaned),
        bot => Err(RunError::NotBack {
            bot,
            run: ending.run.clone(),
        }),
    }
}

/// How long a bot may be kept down. Shorter in tests only.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    clean: Duration,
    all_clean: Duration,
    down: Duration,
    /// For so long the other runs on its process are waited for before it is stopped.
    others: Duration,
}

/// Who stops and starts services.
#[derive(Debug)]
pub struct Warden {
    ctx: Context,
    bounds: Bounds,
    busy: Mutex<BTreeSet<String>>,
    claimed: Mutex<BTreeSet<i64>>,
    /// Services whose stop was asked for and has not come, and since when that is waited for:
    /// by a clock that nobody sets.
    late: Mutex<BTreeMap<String, Instant>>,
    window: tokio::sync::Mutex<()>,
}

/// The right to stop or start one service; given back when dropped.
#[derive(Debug)]
struct Lead {
    warden: Arc<Warden>,
    service: String,
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.warden.busy().remove(&self.service);
    }
}

impl Warden {
    /// Over this configuration and journal.
    pub fn new(ctx: Context) -> Arc<Self> {
        let bounds = Bounds {
            clean: CLEAN_TIMEOUT,
            all_clean: ALL_CLEAN_TIMEOUT,
            down: DOWN_FOR_AT_MOST,
            others: OTHERS_END_WITHIN,
        };
        Arc::new(Self::within(ctx, bounds))
    }

    fn within(ctx: Context, bounds: Bounds) -> Self {
        Self {
            ctx,
            bounds,
            busy: Mutex::default(),
            claimed: Mutex::default(),
            late: Mutex::default(),
            window: tokio::sync::Mutex::default(),
        }
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a stop that was asked for at `since` may still come.
    fn may_stop_late(&self, service: &str, since: Timestamp, now: Timestamp) -> bool {
        let mut late = self.late();
        if let Some(at) = late.get(service) {
            return at.elapsed() < STOPS_LATE_WITHIN;
        }
        // Asked for before a restart. One that was dated later than now was, too.
        let may_come = since > now || now < since.plus(STOPS_LATE_WITHIN);
        if may_come {
            late.insert(service.to_owned(), Instant::now());
        }
        may_come
    }

    /// Runs that are done beside another one, on the same process: nobody's leftovers.
    pub fn claimed(&self) -> std::sync::MutexGuard<'_, BTreeSet<i64>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lead(self: &Arc<Self>, service: &str) -> Option<Lead> {
        let led = self.busy().insert(service.to_owned());
        led.then(|| Lead {
            warden: Arc::clone(self),
            service: service.to_owned(),
        })
    }

    /// The sessions whose service is on its way down or up: nobody else is to clean them.
    /// Blocks.
    pub fn busy_sessions(&self, known: &[Found]) -> Result<Vec<String>, JournalError> {
        let mut busy = self.busy().clone();
        busy.extend(
            self.ctx
                .journal()
                .obligations()?
                .into_iter()
                .map(|owed| owed.service),
        );
        if busy.is_empty() {
            return Ok(Vec::new());
        }
        let names = self
            .ctx
            .settings
            .services
            .names(known.iter().map(|found| &found.session));
        let sessions = names
            .into_iter()
            .filter(|(name, _)| busy.contains(name))
            .flat_map(|(_, all)| all);
        Ok(sessions.map(|session| session.to_string()).collect())
    }

    /// The service's record.
    pub(super) fn bearing(service: &Service, stops: &[Stopped]) -> RestartBudget {
        let own = stops.iter().filter(|stop| stop.service == service.name);
        RestartBudget {
            stops: own.map(|stop| stop.at).collect(),
            cooldown: service.cooldown,
            daily_budget: service.daily_budget,
        }
    }

    fn breaker(&self) -> Breaker {
        let configured = self.ctx.settings.breaker;
        Breaker {
            services: configured.services,
            share: configured.share,
            within: configured.within,
        }
    }

    fn fleet(&self, known: &[Found]) -> usize {
        self.ctx
            .settings
            .services
            .names(known.iter().map(|found| &found.session))
            .len()
    }

    /// Who was stopped when, and when a person last said to go on.
    async fn record_of_stops(
        &self,
        now: Timestamp,
    ) -> Result<(Vec<Stopped>, Option<Timestamp>), JournalError> {
        self.ctx
            .ask(move |journal| Ok((journal.stops(now)?, journal.resumed(now)?)))
            .await
    }

    /// Whether the breaker lets this service be stopped. Emergencies count against it and
    /// windows do not, but a window never goes beyond what it allows.
    fn lets(
        &self,
        stops: &[Stopped],
        resumed: Option<Timestamp>,
        service: &str,
        way: Way,
        fleet: usize,
        now: Timestamp,
    ) -> bool {
        let counted: Vec<Stopped> = stops
            .iter()
            .filter(|stop| {
                (way == Way::Window || !stop.in_window) && resumed.is_none_or(|at| stop.at > at)
            })
            .cloned()
            .collect();
        self.breaker().lets(&counted, service, fleet, now)
    }

    /// Puts the stop on record, if nothing that has happened during the looks holds it.
    async fn intend(
        self: &Arc<Self>,
        run: &Run,
        found: &Found,
        service: &Service,
        way: Way,
        known: &[Found],
        connected: &[Found],
    ) -> Result<(), RunError> {
        let (warden, service, id) = (Arc::clone(self), service.clone(), run.id);
        let sessions: Vec<String> = [found]
            .into_iter()
            .chain(connected)
            .map(|found| found.session.to_string())
            .collect();
        let all = self.sessions_of(&service, found, known);
        let fleet = self.fleet(known);
        let intended = blocking(move || {
            let now = Timestamp::now();
            let mut journal = warden.ctx.journal();
            let window = way == Way::Window;
            let sessions: Vec<&str> = sessions.iter().map(String::as_str).collect();
            journal.intend_stop(
                &service.name,
                &sessions,
                id,
                window,
                now,
                |journal, switches, stops, resumed| {
                    // It would be started in the middle of that.
                    let all: Vec<&str> = all.iter().map(String::as_str).collect();
                    if journal.is_under_way(&all, id).unwrap_or(true) {
                        return Err(StopRefusal::Busy);
                    }
                    if switches.paused.is_some() {
                        return Err(StopRefusal::Paused);
                    }
                    // The looks took time, and the window has ended: the run waits for the next.
                    if window && !service.windows.contains(now) {
                        return Err(StopRefusal::Busy);
                    }
                    Self::bearing(&service, stops).may_be_stopped(now)?;
                    let open = switches.breaker.is_some();
                    match !open && warden.lets(stops, resumed, &service.name, way, fleet, now) {
                        true => Ok(()),
                        false => Err(StopRefusal::BreakerOpen),
                    }
                },
            )
        });
        match intended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(StopRefusal::BreakerOpen)) if way == Way::Emergency => {
                Err(self.trip(known, Timestamp::now()).await)
            }
            Ok(Err(hold)) => Err(hold.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the breaker.
    async fn trip(&self, known: &[Found], now: Timestamp) -> RunError {
        let breaker = self.breaker();
        let limit = breaker.limit(self.fleet(known));
        let reason = format!(
            "more than {limit} services in an emergency within {}",
            humantime::format_duration(breaker.within)
        );
        tracing::error!("the breaker opens, nothing is stopped or cleaned any more: {reason}");
        match self
            .ctx
            .ask(move |journal| journal.open_breaker(&reason, now))
            .await
        {
            Ok(()) => StopRefusal::BreakerOpen.into(),
            Err(error) => error.into(),
        }
    }

    /// Whether an armed run may use a window now: the service has one, it is rested, and the
    /// breaker would let it. Blocks.
    pub fn window_is_open(
        &self,
        session: &SessionName,
        known: &[Found],
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let Some(service) = self.ctx.settings.services.of(session) else {
            return Ok(false);
        };
        if !service.windows.contains(now) || self.window.try_lock().is_err() {
            return Ok(false);
        }
        let (stops, resumed) = {
            let journal = self.ctx.journal();
            (journal.stops(now)?, journal.resumed(now)?)
        };
        Ok(Self::bearing(&service, &stops).may_be_stopped(now).is_ok()
            && self.lets(
                &stops,
                resumed,
                &service.name,
                Way::Window,
                self.fleet(known),
                now,
            ))
    }

    /// Stops the service if the table of [`may_stop`] lets it, cleans, and starts it again.
    pub async fn run(
        self: &Arc<Self>,
        run: &Run,
        found: &Found,
        service: Service,
        way: Way,
        known: &[Found],
        ending: &mut Ending,
    ) -> Led {
        let Some(lead) = self.lead(&service.name) else {
            return Led::Busy;
        };
        let _one_window_at_a_time = match way {
            Way::Emergency => None,
            Way::Window => match self.window.try_lock() {
                Ok(slot) => Some(slot),
                Err(_) => return Led::NeedsNoStop,
            },
        };
        match self.ctx.ask(|journal| journal.obligations()).await {
            Ok(owed) if owed.iter().any(|owed| owed.service == service.name) => return Led::Busy,
            Ok(_) => {}
            Err(error) => return Led::Ended(Err(error.into())),
        }
        match self.others_have_ended(run, found, &service, known).await {
            Ok(true) => {}
            Ok(false) => return Led::Busy,
            Err(error) => return Led::Ended(Err(error.into())),
        }
        match presence(&service).await {
            Presence::Running => {}
            Presence::Gone => return Led::NeedsNoStop,
            // Whose bot is disconnected need not be stopped; the clean-up itself looks again.
            Presence::Unknown(_) if self.is_disconnected(found).await => return Led::NeedsNoStop,
            Presence::Unknown(why) => {
                return Led::Ended(Err(StopRefusal::ServiceUnknown(why).into()));
            }
        }
        match self
            .may_stop(run, found, &service, way, known, ending)
            .await
        {
            Ok(true) => {}
            Ok(false) => return Led::NeedsNoStop,
            Err(error) => return Led::Ended(Err(error)),
        }
        let siblings = self.siblings(found, &service, known).await;
        let all = self.found_of(&service, found, known);
        let whole = insurance::before_a_stop(&self.ctx, all.clone()).await;
        match self
            .intend(run, found, &service, way, known, &siblings.connected)
            .await
        {
            Ok(()) => {}
            Err(RunError::StopRefused(StopRefusal::Busy)) => return Led::Busy,
            Err(error) => return Led::Ended(Err(error)),
        }
        self.late().remove(&service.name);
        // Whom a person has stopped during the looks stays stopped.
        if presence(&service).await == Presence::Gone {
            let name = service.name.clone();
            return match self.ctx.ask(move |journal| journal.fulfil(&name)).await {
                Ok(()) => Led::NeedsNoStop,
                Err(error) => Led::Ended(Err(error.into())),
            };
        }
        tracing::warn!(id = run.id, session = %found.session, service = service.name, "stopping the service");

        // In a task of its own: whatever becomes of it, the service is started again.
        let (began, halt) = (Instant::now(), Halt::default());
        let besides = Arc::new(Mutex::new(Vec::new()));
        let work = {
            let (warden, besides) = (Arc::clone(self), Arc::clone(&besides));
            let down = Down {
                service: service.clone(),
                since: Timestamp::now(),
                halt: halt.clone(),
            };
            let (run, found, known) = (run.clone(), found.clone(), known.to_vec());
            let ending = ending.clone();
            tokio::spawn(async move {
                warden
                    .while_down(&run, &found, down, way, &known, &besides, ending)
                    .await
            })
        };
        // A disk that stalls keeps nobody stopped.
        let abort = work.abort_handle();
        let cleaned = match tokio::time::timeout(self.down_for_at_most(&service), work).await {
            Ok(Ok((told, cleaned))) => {
                *ending = told;
                cleaned
            }
            Ok(Err(error)) => Err(RunError::BrokeOff(error.to_string())),
            Err(_) => {
                abort.abort();
                Err(RunError::DownTimeout)
            }
        };
        // Also where it broke off or took too long, and its moves go on in a thread.
        end_moves(&halt).await;
        let besides = std::mem::take(&mut *besides.lock().unwrap_or_else(PoisonError::into_inner));
        let watched = self
            .to_be_watched(run, found, &service, siblings, &besides)
            .await;
        let stop_may_come = cleaned.as_ref().is_err_and(RunError::may_stop_late);
        if stop_may_come {
            self.late().insert(service.name.clone(), Instant::now());
        } else {
            insurance::before_a_start(&self.ctx, &service, all, whole).await;
        }
        let outcome = self
            .bring_back(&service, &watched, began, stop_may_come, false)
            .await;
        for beside in besides {
            let told = match beside.cleaned {
                Ok(done) => done_if_back(done, outcome.of(&beside.found), &beside.ending),
                Err(error) => Err(error),
            };
            runner::end(&self.ctx, &beside.run, told, beside.ending).await;
            let (warden, id) = (Arc::clone(self), beside.run.id);
            blocking(move || warden.claimed().remove(&id)).await;
        }
        drop(lead);
        let told = match (cleaned, outcome.of(found)) {
            (Ok(done), bot) => done_if_back(done, bot, ending),
            (Err(error), bot) => Err(RunError::AfterStop {
                error: Box::new(error),
                bot,
            }),
        };
        Led::Ended(told)
    }

    /// This session and the others of its process.
    fn found_of(&self, service: &Service, found: &Found, known: &[Found]) -> Vec<Found> {
        let same = |other: &&Found| {
            self.ctx
                .settings
                .services
                .of(&other.session)
                .is_some_and(|s| s.name == service.name)
        };
        let others = known
            .iter()
            .filter(|other| other.session != found.session)
            .filter(same);
        [found].into_iter().chain(others).cloned().collect()
    }

    fn sessions_of(&self, service: &Service, found: &Found, known: &[Found]) -> Vec<String> {
        self.found_of(service, found, known)
            .iter()
            .map(|found| found.session.to_string())
            .collect()
    }

    /// Waits until no run is under way on another session of the process; none begins
    /// anew while the service is led.
    async fn others_have_ended(
        &self,
        run: &Run,
        found: &Found,
        service: &Service,
        known: &[Found],
    ) -> Result<bool, JournalError> {
        let (began, id) = (Instant::now(), run.id);
        let all = self.sessions_of(service, found, known);
        loop {
            let all = all.clone();
            let asked = self.ctx.ask(move |journal| {
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                journal.is_under_way(&all, id)
            });
            if !asked.await? {
                return Ok(true);
            }
            if began.elapsed() >= self.bounds.others {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// From the stop on; whatever has not ended then is broken off.
    fn down_for_at_most(&self, service: &Service) -> Duration {
        service.stop_timeout + service.gone_timeout + self.bounds.down
    }

    /// The live look before the stop; `false` where no stop is needed.
    async fn may_stop(
        &self,
        run: &Run,
        found: &Found,
        service: &Service,
        way: Way,
        known: &[Found],
        ending: &mut Ending,
    ) -> Result<bool, RunError> {
        let settings = &self.ctx.settings;
        let asked = settings.connection.ask(&found.session).await;
        let logged_out = asked.logged_out();
        let inventory = runner::look(found).await?;
        let verdict = settings.connection.judge(asked, &inventory);
        ending.evidence = Some(verdict.because());
        if way == Way::Window && verdict.state == State::Disconnected {
            return Ok(false);
        }
        let now = Timestamp::now();
        let (stops, resumed) = self.record_of_stops(now).await?;
        let bearing = Self::bearing(service, &stops);
        let limits = settings.limits(&found.session);
        let tier = run
            .tier
            .as_deref()
            .and_then(Tier::from_label)
            .unwrap_or(Tier::Emergency);
        let before = StopInputs {
            inventory: &inventory,
            verdict: &verdict,
            logged_out,
            limits: &limits,
            mode: way.mode(),
            tier,
            service: &bearing,
        };
        let live = runner::count(&inventory, &limits);
        ending.accumulated = Some((live, live));
        may_stop(&before, now)?;
        // What would refuse the clean-up afterwards must not cost a restart.
        runner::could_be_cleaned(found).await?;
        match (
            self.lets(&stops, resumed, &service.name, way, self.fleet(known), now),
            way,
        ) {
            (true, _) => Ok(true),
            (false, Way::Window) => Ok(false),
            (false, Way::Emergency) => Err(self.trip(known, now).await),
        }
    }

    /// How the other sessions of the process stand. Of whom nothing is heard in time is in
    /// neither list.
    async fn siblings(&self, found: &Found, service: &Service, known: &[Found]) -> Siblings {
        let mut siblings = Siblings::default();
        let all = self.sessions_of(service, found, known);
        let others: Vec<Found> = known
            .iter()
            .filter(|other| {
                other.session != found.session && all.iter().any(|s| s == other.session.as_str())
            })
            .cloned()
            .collect();
        let survey = async {
            for some in others.chunks(ASKED_AT_ONCE) {
                let mut looks = tokio::task::JoinSet::new();
                for other in some.iter().cloned() {
                    let ctx = self.ctx.clone();
                    looks.spawn(async move {
                        let connection = &ctx.settings.connection;
                        let asked = connection.ask(&other.session).await;
                        let logged_out = asked.logged_out();
                        let inventory = runner::look(&other).await.ok()?;
                        Some((connection.judge(asked, &inventory).state, logged_out, other))
                    });
                }
                while let Some(looked) = looks.join_next().await {
                    let Ok(Some((state, logged_out, other))) = looked else {
                        continue;
                    };
                    match state {
                        _ if logged_out => _ = siblings.idle.insert(other.session.to_string()),
                        State::Connected => siblings.connected.push(other),
                        State::Disconnected => _ = siblings.idle.insert(other.session.to_string()),
                        _ => {}
                    }
                }
            }
        };
        if tokio::time::timeout(SURVEY_TIMEOUT, survey).await.is_err() {
            tracing::warn!(
                service = service.name,
                "not all of its sessions could be asked in time"
            );
        }
        siblings
    }

    /// Who is to come back: the session itself, and of the others who was connected, or was
    /// cleaned and not known to be idle.
    async fn to_be_watched(
        &self,
        run: &Run,
        found: &Found,
        service: &Service,
        siblings: Siblings,
        besides: &[Beside],
    ) -> Vec<Watched> {
        let mut watched = vec![Watched {
            found: found.clone(),
            run_id: run.id,
        }];
        let run_of = |found: &Found| {
            let own = besides
                .iter()
                .find(|beside| beside.found.session == found.session);
            own.map_or(run.id, |beside| beside.run.id)
        };
        watched.extend(siblings.connected.into_iter().map(|found| Watched {
            run_id: run_of(&found),
            found,
        }));
        for beside in besides {
            let is_in = watched
                .iter()
                .any(|watched| watched.found.session == beside.found.session);
            let is_idle = siblings.idle.contains(beside.found.session.as_str());
            if !is_in && !is_idle && beside.cleaned.is_ok() {
                watched.push(Watched {
                    found: beside.found.clone(),
                    run_id: beside.run.id,
                });
            }
        }
        let cleaned: Vec<(String, i64)> = watched
            .iter()
            .filter(|watched| watched.run_id != run.id)
            .map(|watched| (watched.found.session.to_string(), watched.run_id))
            .collect();
        if cleaned.is_empty() {
            return watched;
        }
        // For whoever goes on after a crash.
        let (ctx, name) = (self.ctx.clone(), service.name.clone());
        let noted = blocking(move || {
            let mut journal = ctx.journal();
            let stopped = stopped_at(&journal, &name)?;
            cleaned
                .iter()
                .try_for_each(|(session, run_id)| journal.watch(&name, session, *run_id, stopped))
        });
        match tokio::time::timeout(NOTE_TIMEOUT, noted).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(
                    service = service.name,
                    "who is watched is not on record: {error}"
                );
            }
            Err(_) => tracing::error!(
                service = service.name,
                "who is watched is not on record in time"
            ),
        }
        watched
    }

    /// From the stop to the last clean-up. `besides` gets the other sessions' runs.
    #[expect(clippy::too_many_arguments, reason = "all of it belongs to one run")]
    async fn while_down(
        self: Arc<Self>,
        run: &Run,
        found: &Found,
        mut down: Down,
        way: Way,
        known: &[Found],
        besides: &Arc<Mutex<Vec<Beside>>>,
        mut ending: Ending,
    ) -> (Ending, RunResult) {
        let service = &down.service.clone();
        if let Err(why) = within(service.stop_timeout + GRACE, service.stop()).await {
            return (ending, Err(RunError::NotStopped(why)));
        }
        if !wait_until_gone(service, service.gone_timeout).await {
            return (ending, Err(RunError::NotGone(service.gone_timeout)));
        }
        down.since = Timestamp::now();
        self.note(&service.name, Phase::Gone).await;
        let gone = Instant::now();
        self.settle(found).await;
        let watched = WATCHED_FOR.min(self.ctx.settings.connection.quiet);
        tokio::time::sleep(watched.saturating_sub(gone.elapsed())).await;
        let began = Instant::now();
        let cleaned = self.clean(run, found, &down, way.mode(), &mut ending).await;
        for other in known.iter().filter(|other| other.session != found.session) {
            let same = self
                .ctx
                .settings
                .services
                .of(&other.session)
                .is_some_and(|s| s.name == service.name);
            if same && !down.halt.is_halted() && began.elapsed() < self.bounds.all_clean {
                self.clean_beside(other, &down, besides).await;
            }
        }
        (ending, cleaned)
    }

    /// Waits until nobody calls it connected any more; a status may lag.
    async fn settle(&self, found: &Found) {
        let began = Instant::now();
        while began.elapsed() < SETTLES_WITHIN {
            let asked = self.ctx.settings.connection.ask(&found.session).await;
            if !asked.says(Finding::Connected) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn clean(
        &self,
        run: &Run,
        found: &Found,
        down: &Down,
        mode: CleanupMode,
        ending: &mut Ending,
    ) -> RunResult {
        let ask = CleanRequest {
            mode,
            tier: run.tier.as_deref().and_then(Tier::from_label),
            force: None,
        };
        let clean = runner::clean_while_down(&self.ctx, run.id, found, ask, down, ending);
        match tokio::time::timeout(self.bounds.clean, clean).await {
            Ok(result) => result,
            Err(_) => {
                end_moves(&down.halt).await;
                self.look_what_moved(found, ending).await;
                Err(RunError::CleanTimeout(self.bounds.clean))
            }
        }
    }

    /// For the record of a run that was broken off.
    async fn look_what_moved(&self, found: &Found, ending: &mut Ending) {
        let Some(run) = ending.run.as_deref().and_then(RunId::parse) else {
            return;
        };
        let place = found.place.clone();
        let looked = blocking(move || look_up(&place, &run));
        if let Ok(Ok(Some(there))) = tokio::time::timeout(GRACE, looked).await {
            ending.moves = FileRecord::found(&there.moves, Fate::Moved, Fate::Left);
            ending.files = there.files;
        }
    }

    /// Another session of the process that is stopped anyway: what is armed or queued for it
    /// is done now. Its run goes to `besides`, also where this breaks off.
    async fn clean_beside(
        self: &Arc<Self>,
        other: &Found,
        down: &Down,
        besides: &Arc<Mutex<Vec<Beside>>>,
    ) {
        let (warden, found, halt) = (Arc::clone(self), other.clone(), down.halt.clone());
        let all = Arc::clone(besides);
        let claimed = blocking(move || warden.claim(&found, &halt, &all));
        let (run, mut ending) = match claimed.await {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return,
            Err(error) => return tracing::error!("{error}"),
        };
        self.settle(other).await;
        let mode = if run.action == Action::Emergency {
            CleanupMode::Emergency
        } else {
            CleanupMode::Cleanup
        };
        let cleaned = self.clean(&run, other, down, mode, &mut ending).await;
        let mut besides = besides.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(beside) = besides.last_mut() {
            (beside.cleaned, beside.ending) = (cleaned, ending);
        }
    }

    /// Takes what waits for a session of a service that is down. Blocks, perhaps until
    /// nobody waits for it any more: then the run waits again.
    fn claim(
        &self,
        found: &Found,
        halt: &Halt,
        besides: &Mutex<Vec<Beside>>,
    ) -> Result<Option<(Run, Ending)>, JournalError> {
        let session = found.session.as_str();
        for action in [Action::Emergency, Action::Cleanup] {
            self.ctx
                .journal()
                .nudge(session, action, Timestamp::now())?;
        }
        // Known before anybody can take it for a leftover.
        let mut ours = self.claimed();
        let Some(run) = self.ctx.journal().claim(session, Timestamp::now())? else {
            return Ok(None);
        };
        // Whoever collects them says `halt` first, and must not wait for the journal.
        let mut besides = besides.lock().unwrap_or_else(PoisonError::into_inner);
        if halt.is_halted() {
            drop(besides);
            self.ctx
                .journal()
                .requeue(run.id, "its service was to be started again")?;
            return Ok(None);
        }
        ours.insert(run.id);
        let ending = Ending {
            note: Some("its process was stopped for another session".into()),
            ..Ending::default()
        };
        let broke_off = Err(RunError::BrokeOff("it was not completed".into()));
        let beside = Beside {
            run: run.clone(),
            found: found.clone(),
            cleaned: broke_off,
            ending: ending.clone(),
        };
        besides.push(beside);
        Ok(Some((run, ending)))
    }

    /// Starts the service and waits until its bots are connected. What it comes to is on
    /// disk; while the service does not run it goes on being owed, and so it does where a
    /// stop that has not worked may still come.
    async fn bring_back(
        &self,
        service: &Service,
        watched: &[Watched],
        began: Instant,
        stop_may_come: bool,
        before: bool,
    ) -> Outcome {
        let (starting, started) = match stop_may_come {
            false => (Phase::Starting, Phase::Started),
            true => (Phase::Stopping, Phase::Stopping),
        };
        self.note(&service.name, starting).await;
        let since = Timestamp::now();
        let outcome = self
            .start_and_watch(service, watched, began, since, started, before)
            .await;
        self.told(service, watched, &outcome, stop_may_come).await;
        outcome
    }

    /// Puts on record what a start came to, for each session.
    async fn told(
        &self,
        service: &Service,
        watched: &[Watched],
        outcome: &Outcome,
        stop_may_come: bool,
    ) {
        let (ctx, name) = (self.ctx.clone(), service.name.clone());
        let owed = match outcome.back {
            BotState::Connected | BotState::NotConnected(_) if !stop_may_come => None,
            BotState::Connected | BotState::NotConnected(_) => Some(None),
            // Known by its phase.
            BotState::StartUnknown(_) => Some(None),
            BotState::Down(_) => Some(Some(Phase::Failed)),
        };
        let back = &outcome.back;
        let sessions: Vec<(String, i64, bool)> = watched
            .iter()
            .map(|one| {
                (
                    one.found.session.to_string(),
                    one.run_id,
                    outcome.of(&one.found) != BotState::Connected,
                )
            })
            .collect();
        for (session, run_id, _) in sessions.iter().filter(|(.., is_late)| *is_late) {
            tracing::error!(
                service = name,
                session,
                run = run_id,
                "after a clean-up {back}"
            );
        }
        let kept = blocking(move || {
            let mut journal = ctx.journal();
            let stopped = stopped_at(&journal, &name)?;
            for (session, run_id, is_late) in &sessions {
                match is_late {
                    true => journal.set_not_back(&name, session, *run_id, Timestamp::now())?,
                    false => journal.clear_not_back(&name, session, stopped)?,
                }
            }
            match owed {
                None => journal.fulfil(&name),
                Some(None) => Ok(()),
                Some(Some(phase)) => journal.set_phase(&name, phase),
            }
        });
        if let Err(error) = kept.await {
            tracing::error!(
                service = service.name,
                "that it runs again could not be put on record: {error}"
            );
        }
    }

    async fn start_and_watch(
        &self,
        service: &Service,
        watched: &[Watched],
        began: Instant,
        since: Timestamp,
        started: Phase,
        before: bool,
    ) -> Outcome {
        let all = || {
            watched
                .iter()
                .map(|one| one.found.session.to_string())
                .collect::<BTreeSet<_>>()
        };
        if let Err(why) = start(service, before).await {
            if matches!(why, NoStart::Unseen(_)) {
                self.note(&service.name, started).await;
            }
            return Outcome {
                back: why.back(),
                late: all(),
            };
        }
        tracing::info!(
            service = service.name,
            down_seconds = began.elapsed().as_secs(),
            "the service runs again"
        );
        self.note(&service.name, started).await;
        let (clock, mut starts) = (Instant::now(), 0);
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        loop {
            let there = presence(service).await;
            if there != Presence::Running {
                // One that dies at once may have said that it is connected.
                seen.clear();
            } else {
                // Twice, for the same reason.
                let late: Vec<(Found, Timestamp)> = watched
                    .iter()
                    .filter(|one| {
                        seen.get(one.found.session.as_str())
                            .is_none_or(|times| *times < 2)
                    })
                    .map(|one| (one.found.clone(), since))
                    .collect();
                for (session, is_back) in self.who_is_back(late).await {
                    let times = seen.entry(session).or_default();
                    *times = if is_back { *times + 1 } else { 0 };
                }
            }
            let mut late = all();
            late.retain(|session| seen.get(session).is_none_or(|times| *times < 2));
            if late.is_empty() && there == Presence::Running {
                return Outcome {
                    back: BotState::Connected,
                    late,
                };
            }
            if there == Presence::Gone && starts < STARTS_AGAIN {
                starts += 1;
                tracing::warn!(
                    service = service.name,
                    "it has ended after its start; it is started again"
                );
                tokio::time::sleep(PAUSE * 2_u32.pow(starts)).await;
                if let Err(why) = start(service, false).await {
                    return Outcome {
                        back: why.back(),
                        late,
                    };
                }
            }
            if clock.elapsed() >= service.connect_timeout {
                let not_in_time = format!(
                    "not connected within {}",
                    humantime::format_duration(service.connect_timeout)
                );
                let back = match there {
                    Presence::Running => BotState::NotConnected(not_in_time),
                    Presence::Gone => BotState::Down("it ended after its start".into()),
                    Presence::Unknown(why) => BotState::StartUnknown(why),
                };
                return Outcome { back, late };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Who of these is connected since then.
    async fn who_is_back(&self, asked: Vec<(Found, Timestamp)>) -> Vec<(String, bool)> {
        let mut told = Vec::new();
        for some in asked.chunks(ASKED_AT_ONCE) {
            let mut looks = tokio::task::JoinSet::new();
            for (found, since) in some.iter().cloned() {
                let ctx = self.ctx.clone();
                looks.spawn(async move {
                    let is_back = is_back(&ctx, &found, since).await;
                    (found.session.to_string(), is_back)
                });
            }
            while let Some(looked) = looks.join_next().await {
                told.extend(looked);
            }
        }
        told
    }

    async fn is_disconnected(&self, found: &Found) -> bool {
        let connection = &self.ctx.settings.connection;
        let asked = connection.ask(&found.session).await;
        let looked = runner::look(found).await;
        looked
            .is_ok_and(|inventory| connection.judge(asked, &inventory).state == State::Disconnected)
    }

    /// Puts a phase on record. The start does not wait for a journal that cannot be written.
    async fn note(&self, service: &str, phase: Phase) {
        let (ctx, name) = (self.ctx.clone(), service.to_owned());
        let noted = blocking(move || ctx.journal().set_phase(&name, phase));
        let error = match tokio::time::timeout(NOTE_TIMEOUT, noted).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the journal hangs".to_owned(),
        };
        tracing::error!(
            service,
            phase = phase.label(),
            "a phase could not be put on record: {error}"
        );
    }

    /// Starts what is owed: at the start of the program, and whenever it is called again.
    /// Each in a task of `tasks`; a service that somebody leads is left to them.
    pub async fn settle_debts(
        self: &Arc<Self>,
        known: &[Found],
        tasks: &mut tokio::task::JoinSet<()>,
    ) {
        let ctx = self.ctx.clone();
        let read = blocking(move || {
            let journal = ctx.journal();
            Ok::<_, JournalError>((journal.obligations()?, journal.not_back()?))
        });
        let (owed, not_back) = match read.await {
            Ok(read) => read,
            Err(error) => return tracing::error!("{error}"),
        };
        let owing: BTreeSet<String> = owed.iter().map(|owed| owed.service.clone()).collect();
        for owed in owed {
            if let Some(lead) = self.lead(&owed.service) {
                let (warden, known) = (Arc::clone(self), known.to_vec());
                tasks.spawn(async move { warden.settle_debt(lead, &owed, &known).await });
            }
        }
        let mut by_service: BTreeMap<String, Vec<NotBack>> = BTreeMap::new();
        for late in not_back
            .into_iter()
            .filter(|late| !owing.contains(&late.service))
        {
            by_service
                .entry(late.service.clone())
                .or_default()
                .push(late);
        }
        for (service, late) in by_service {
            if let Some(lead) = self.lead(&service) {
                let (warden, known) = (Arc::clone(self), known.to_vec());
                tasks.spawn(async move { warden.look_again(lead, &late, &known).await });
            }
        }
    }

    async fn settle_debt(&self, lead: Lead, owed: &Obligation, known: &[Found]) {
        // It may have been settled since it was read.
        let open = self.ctx.ask(|journal| journal.obligations()).await;
        if !open.is_ok_and(|open| open.contains(owed)) {
            return;
        }
        let session = SessionName::from_dir(owed.session.as_ref());
        let named = |session: &SessionName| {
            self.ctx
                .settings
                .services
                .of(session)
                .filter(|service| service.name == owed.service)
        };
        // Should its own session be matched by another entry now, a sibling still names it.
        let service =
            named(&session).or_else(|| known.iter().find_map(|found| named(&found.session)));
        let Some(service) = service else {
            tracing::error!(
                service = owed.service,
                session = owed.session,
                "this program has stopped the service and is to start it again, but `service` in the configuration no longer names it: start it by hand"
            );
            self.nobody_is_asked(owed, self.to_come_back(owed).await)
                .await;
            return;
        };
        // A start that has failed before waits for the end of a pause.
        let name = owed.service.clone();
        if owed.phase == Phase::Failed
            && self
                .ctx
                .ask(move |journal| journal.may_start(&name))
                .await
                .is_ok_and(|may| !may)
        {
            return;
        }
        let began = Instant::now();
        let sessions = known
            .iter()
            .filter(|found| named(&found.session).is_some())
            .cloned()
            .collect();
        // A stop that was asked for may still be on its way. While it may, this is called
        // again every minute.
        if owed.phase == Phase::Stopping && !wait_until_gone(&service, service.stop_timeout).await {
            let may_come = self.may_stop_late(&owed.service, owed.since, Timestamp::now());
            if may_come && presence(&service).await == Presence::Running {
                return;
            }
        }
        tracing::warn!(
            service = owed.service,
            session = owed.session,
            phase = owed.phase.label(),
            "a service from an interrupted run is started again"
        );
        let (mut watched, mut unseen) = (Vec::new(), Vec::new());
        for (session, run_id) in self.to_come_back(owed).await {
            match known.iter().find(|found| found.session.as_str() == session) {
                Some(found) => watched.push(Watched {
                    found: found.clone(),
                    run_id,
                }),
                None => unseen.push((session, run_id)),
            }
        }
        for (session, _) in &unseen {
            tracing::error!(
                service = owed.service,
                session,
                "its auth folder cannot be found"
            );
        }
        self.nobody_is_asked(owed, unseen).await;
        let earlier = outlast_earlier_call(&service, owed.phase).await;
        // A stop may have torn what nobody has looked at since.
        if !earlier.runs && matches!(owed.phase, Phase::Stopping | Phase::Gone | Phase::Starting) {
            insurance::before_a_start(&self.ctx, &service, sessions, None).await;
        }
        let before = was_started_before(owed.phase, earlier);
        let back = match watched.is_empty() {
            // It was started before the interruption, and may have connected before now.
            false if owed.phase == Phase::Started => {
                let (since, phase) = (owed.since, Phase::Started);
                let outcome = self
                    .start_and_watch(&service, &watched, began, since, phase, true)
                    .await;
                self.told(&service, &watched, &outcome, false).await;
                outcome.back
            }
            false => {
                self.bring_back(&service, &watched, began, false, before)
                    .await
                    .back
            }
            true => self.bring_back_unseen(&service, began, before).await,
        };
        tracing::warn!(service = owed.service, "after an interrupted run {back}");
        drop(lead);
    }

    /// The sessions, each with its run, that are to come back after this stop.
    async fn to_come_back(&self, owed: &Obligation) -> Vec<(String, i64)> {
        let (name, since) = (owed.service.clone(), owed.since);
        let watched = self
            .ctx
            .ask(move |journal| journal.watched(&name, since))
            .await;
        let mut watched = watched.unwrap_or_else(|error| {
            tracing::error!("{error}");
            Vec::new()
        });
        if !watched.iter().any(|(session, _)| *session == owed.session) {
            watched.push((owed.session.clone(), owed.run_id));
        }
        watched
    }

    /// They are out of reach, so they count as not back.
    async fn nobody_is_asked(&self, owed: &Obligation, sessions: Vec<(String, i64)>) {
        for (session, run_id) in sessions {
            let name = owed.service.clone();
            let late = self
                .ctx
                .ask(move |journal| journal.set_not_back(&name, &session, run_id, Timestamp::now()))
                .await;
            if let Err(error) = late {
                tracing::error!("{error}");
            }
        }
    }

    /// No folder is in reach; the service is started all the same.
    async fn bring_back_unseen(&self, service: &Service, began: Instant, before: bool) -> BotState {
        let back = match start(service, before).await {
            Ok(()) => BotState::NotConnected("its auth folder cannot be found".into()),
            Err(why) => why.back(),
        };
        tracing::warn!(
            service = service.name,
            down_seconds = began.elapsed().as_secs(),
            "started"
        );
        let name = service.name.clone();
        let owed = match back {
            BotState::Connected | BotState::NotConnected(_) => None,
            BotState::StartUnknown(_) => Some(Phase::Started),
            BotState::Down(_) => Some(Phase::Failed),
        };
        let kept = self.ctx.ask(move |journal| match owed {
            None => journal.fulfil(&name),
            Some(phase) => journal.set_phase(&name, phase),
        });
        if let Err(error) = kept.await {
            tracing::error!("{error}");
        }
        back
    }

    /// Which sessions of a service that had not come back have come back since.
    async fn look_again(&self, lead: Lead, late: &[NotBack], known: &[Found]) {
        let asked = late.iter().filter_map(|late| {
            let found = known
                .iter()
                .find(|found| found.session.as_str() == late.session)?;
            Some((found.clone(), late.stopped))
        });
        for (session, is_back) in self.who_is_back(asked.collect()).await {
            let Some(late) = late.iter().find(|late| is_back && late.session == session) else {
                continue;
            };
            tracing::info!(service = late.service, session, "it has come back");
            let (name, stopped) = (late.service.clone(), late.stopped);
            let cleared = self
                .ctx
                .ask(move |journal| journal.clear_not_back(&name, &session, stopped));
            if let Err(error) = cleared.await {
                tracing::error!("{error}");
            }
        }
        drop(lead);
    }
}

/// When the stop was decided that is under way.
fn stopped_at(journal: &Journal, service: &str) -> Result<Timestamp, JournalError> {
    let owed = journal
        .obligations()?
        .into_iter()
        .find(|owed| owed.service == service);
    Ok(owed.map_or_else(Timestamp::now, |owed| owed.since))
}

async fn is_back(ctx: &Context, found: &Found, since: Timestamp) -> bool {
    let connection = &ctx.settings.connection;
    let asked = connection.ask(&found.session).await;
    match runner::look(found).await {
        Ok(inventory) => connection.is_back(asked, &inventory, since),
        Err(_) => false,
    }
}

/// A start that an earlier program has asked for may still be on its way, or just have come to
/// its end, whatever it could put on record; and so may a stop.
pub(super) async fn outlast_earlier_call(service: &Service, phase: Phase) -> Earlier {
    match phase {
        // It was seen to fail.
        Phase::Failed => Earlier::default(),
        _ => service.outlasts_earlier_call().await,
    }
}

/// Whether it must not be started again while nobody can tell whether it runs.
pub(super) fn was_started_before(phase: Phase, earlier: Earlier) -> bool {
    phase == Phase::Started || (phase == Phase::Starting && earlier.was_seen)
}

/// From here on nothing moves.
async fn end_moves(halt: &Halt) {
    halt.halt();
    let halt = halt.clone();
    if tokio::time::timeout(HALTS_WITHIN, blocking(move || halt.wait()))
        .await
        .is_err()
    {
        tracing::error!(
            "a move hangs in the file system; no other follows it, and the service is started"
        );
    }
}

/// Whether it runs; a look that does not end says nothing.
pub(super) async fn presence(service: &Service) -> Presence {
    match tokio::time::timeout(GRACE, service.presence()).await {
        Ok(presence) => presence,
        Err(_) => Presence::Unknown("the look took too long".into()),
    }
}

pub(super) async fn wait_until_gone(service: &Service, patience: Duration) -> bool {
    let began = Instant::now();
    loop {
        if presence(service).await == Presence::Gone {
            return true;
        }
        if began.elapsed() >= patience {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why a service is not known to run after its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoStart {
    /// The start succeeded, and nobody can tell what came of it.
    Unseen(String),
    /// It does not run.
    Failed(String),
}

impl NoStart {
    fn back(self) -> BotState {
        match self {
            NoStart::Unseen(why) => BotState::StartUnknown(why),
            NoStart::Failed(why) => BotState::Down(why),
        }
    }
}

impl fmt::Display for NoStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoStart::Unseen(why) => write!(f, "the service was started, and {why}"),
            NoStart::Failed(why) => f.write_str(why),
        }
    }
}

/// Starts it, again and again within its time, until it runs. `started`: a start has
/// succeeded before. While nobody can tell what came of one it is not started again, for that
/// may be a second bot beside the first.
pub(super) async fn start(service: &Service, mut started: bool) -> Result<(), NoStart> {
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        let is_unseen = started && matches!(presence(service).await, Presence::Unknown(_));
        let told = match is_unseen {
            true => Ok(()),
            false => within(may_take_to_start(service), service.start()).await,
        };
        let looked = Instant::now();
        let mut there = presence(service).await;
        while there != Presence::Running && told.is_ok() && looked.elapsed() < SHOWS_WITHIN {
            tokio::time::sleep(PAUSE).await;
            there = presence(service).await;
        }
        let why = match (there, told) {
            // A start that failed on what runs is none of our business.
            (Presence::Running, _) => return Ok(()),
            (_, Err(why)) => NoStart::Failed(format!("the service could not be started: {why}")),
            (Presence::Gone, Ok(())) => {
                NoStart::Failed("the service was started, and does not run".into())
            }
            (Presence::Unknown(why), Ok(())) => {
                NoStart::Unseen(format!("nobody can say whether it runs: {why}"))
            }
        };
        started = matches!(why, NoStart::Unseen(_));
        if began.elapsed() >= service.start_timeout {
            return Err(why);
        }
        tracing::warn!(
            service = service.name,
            "{why}; {}",
            if started {
                "looking again"
            } else {
                "trying again"
            }
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(8));
    }
}

/// How long one call that starts it may take, and what it waits for.
pub(super) fn may_take_to_start(service: &Service) -> Duration {
    service.earlier_call_takes() + SHOWS_WITHIN + service.start_timeout + GRACE
}

async fn within<E: fmt::Display>(
    patience: Duration,
    call: impl Future<Output = Result<(), E>>,
) -> Result<(), String> {
    match tokio::time::timeout(patience, call).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "it took longer than {}",
            humantime::format_duration(patience)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CommonFlags, RemediatorFlags, Settings};
    use crate::folder::Source;
    use crate::remediator::console::context;
    use crate::remediator::journal::{Accepted, Request, Status, Via};
    use std::ffi::OsStr;
    use std::path::PathBuf;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// The bots `a` and `b` of one process, which runs while DIR/runs is there; `DIR/down.sh`
    /// is asked about them while it does not.
    struct World {
        dir: tempfile::TempDir,
        known: Vec<Found>,
        warden: Arc<Warden>,
    }

    impl World {
        fn new(bounds: Bounds, down: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().display();
            for session in ["a", "b"] {
                let bot = dir.path().join("sessions").join(session);
                std::fs::create_dir_all(&bot).unwrap();
                let creds = r#"{"noiseKey":{},"nextPreKeyId":31,"account":{},"me":{"id":"1@s.whatsapp.net"}}"#;
                std::fs::write(bot.join("creds.json"), creds).unwrap();
                for n in 0..200 {
                    let file = bot.join(format!("session-{n}.0.json"));
                    std::fs::write(&file, r#"{"_sessions":{},"version":"v1"}"#).unwrap();
                    let age = SECOND * 86_400 * if n < 20 { n % 10 + 1 } else { 40 };
                    let file = std::fs::File::options().write(true).open(&file).unwrap();
                    file.set_modified(std::time::SystemTime::now() - age)
                        .unwrap();
                }
            }
            std::fs::write(dir.path().join("down.sh"), down).unwrap();
            std::fs::write(
                dir.path().join("start.sh"),
                format!("cd {path}; touch runs"),
            )
            .unwrap();
            std::fs::write(
                dir.path().join("gone.sh"),
                format!("cd {path}; test ! -e runs"),
            )
            .unwrap();
            let ask = format!(
                "cd {path}; [ -e runs ] && echo connected && exit; . ./down.sh; echo disconnected"
            );
            std::fs::write(dir.path().join("ask.sh"), ask).unwrap();
            std::fs::write(dir.path().join("runs"), "").unwrap();
            let yaml = format!(
                "connection: {{command: [sh, {path}/ask.sh], timeout: 30s, quiet: 0s, trust: ['*']}}\nservice:\n  - name: bots\n    command: {{stop: [rm, {path}/runs], start: [sh, {path}/start.sh], gone: [sh, {path}/gone.sh]}}\n    stop_timeout: 1s\n    gone_timeout: 1s\n    start_timeout: 5s\n    connect_timeout: 20s\n"
            );
            std::fs::write(dir.path().join("config.yml"), yaml).unwrap();
            let common = CommonFlags {
                sessions_path: vec![
                    Source::parse(OsStr::new(&dir.path().join("sessions"))).unwrap(),
                ],
                config_file: Some(dir.path().join("config.yml")),
                ..CommonFlags::default()
            };
            let state_path = Some(dir.path().join("state"));
            let remediator = RemediatorFlags {
                state_path,
                ..RemediatorFlags::default()
            };
            let ctx = context(Settings::load(&common, &remediator).unwrap()).unwrap();
            let known = ctx.settings.discovery().survey().found;
            Self {
                dir,
                known,
                warden: Arc::new(Warden::within(ctx, bounds)),
            }
        }

        fn runs(&self) -> PathBuf {
            self.dir.path().join("runs")
        }

        /// An emergency of `a`, taken.
        fn asked(&self) -> Run {
            let request = Request {
                session: "a".into(),
                action: Action::Emergency,
                tier: "emergency".into(),
                fingerprint: "f".into(),
                starts_at: "s".into(),
                via: Via::default(),
            };
            let mut journal = self.warden.ctx.journal();
            let accepted = journal.accept(&[request], Timestamp::now()).unwrap();
            assert!(matches!(accepted[0], Accepted::Queued(_)));
            journal.take(Timestamp::now(), &[]).unwrap().unwrap()
        }

        async fn lead(&self, run: &Run) -> (Led, Ending) {
            let found = self
                .known
                .iter()
                .find(|found| found.session.as_str() == "a")
                .unwrap();
            let service = self
                .warden
                .ctx
                .settings
                .services
                .of(&found.session)
                .unwrap();
            let mut ending = Ending::default();
            let led = self
                .warden
                .run(
                    run,
                    found,
                    service,
                    Way::Emergency,
                    &self.known,
                    &mut ending,
                )
                .await;
            (led, ending)
        }

        fn write(&self, script: &str, text: &str) {
            let text = format!("cd {}; {text}", self.dir.path().display());
            std::fs::write(self.dir.path().join(script), text).unwrap();
        }

        fn phases(&self) -> Vec<Phase> {
            let owed = self.warden.ctx.journal().obligations().unwrap();
            owed.into_iter().map(|owed| owed.phase).collect()
        }

        async fn settle_debts(&self) {
            let mut tasks = tokio::task::JoinSet::new();
            self.warden.settle_debts(&self.known, &mut tasks).await;
            while tasks.join_next().await.is_some() {}
        }

        fn left(&self, session: &str) -> usize {
            let files = std::fs::read_dir(self.dir.path().join("sessions").join(session)).unwrap();
            files
                .filter(|file| file.as_ref().unwrap().file_name() != ".baileys_quarantine")
                .count()
        }
    }

    fn bounds() -> Bounds {
        Bounds {
            clean: PATIENCE,
            all_clean: PATIENCE,
            down: PATIENCE,
            others: PATIENCE,
        }
    }

    /// Waits until the file is there, or is not.
    fn wait_for(path: &std::path::Path, there: bool) -> bool {
        let began = Instant::now();
        while path.exists() != there {
            if began.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_journal_that_stalls_after_the_stop_leaves_nobody_stopped() {
        let world = World::new(
            Bounds {
                down: SECOND * 3,
                ..bounds()
            },
            "",
        );
        let run = world.asked();
        let (ctx, runs) = (world.warden.ctx.clone(), world.runs());
        let stalled = std::thread::spawn(move || {
            let stopped = wait_for(&runs, false);
            let _held = ctx.journal();
            (stopped, wait_for(&runs, true))
        });
        let (led, _) = world.lead(&run).await;
        assert_eq!(
            stalled.join().unwrap(),
            (true, true),
            "it was started while the journal stalled"
        );
        let Led::Ended(Err(error)) = led else {
            panic!("{led:?}")
        };
        let (reason, status, detail) = (error.label(), error.status(), error.to_string());
        assert_eq!((reason, status), ("timeout", Status::Failed), "{detail}");
        assert!(detail.contains("connected again"), "{detail}");
        assert!(
            world.warden.ctx.journal().obligations().unwrap().is_empty(),
            "nothing is owed"
        );
        assert_eq!(
            (world.left("a"), world.left("b")),
            (201, 201),
            "nothing moved"
        );
        assert!(world.warden.claimed().is_empty());
    }

    /// The same where it stalls before a sibling's run is taken: that one waits again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_that_is_taken_too_late_waits_again() {
        let world = World::new(bounds(), "");
        let found = world
            .known
            .iter()
            .find(|found| found.session.as_str() == "b")
            .unwrap();
        let request = Request {
            session: "b".into(),
            action: Action::Cleanup,
            tier: "cleanup".into(),
            fingerprint: "f".into(),
            starts_at: "s".into(),
            via: Via::default(),
        };
        world
            .warden
            .ctx
            .journal()
            .accept(&[request], Timestamp::now())
            .unwrap();
        let (halt, besides) = (Halt::default(), Mutex::default());
        halt.halt();
        assert!(
            world
                .warden
                .claim(found, &halt, &besides)
                .unwrap()
                .is_none()
        );
        assert!(besides.lock().unwrap().is_empty() && world.warden.claimed().is_empty());
        let queued = world.warden.ctx.journal().runs(1).unwrap().remove(0);
        assert_eq!(queued.status, Status::Queued);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_clean_up_that_takes_too_long_is_broken_off_and_the_bot_started() {
        let world = World::new(
            Bounds {
                clean: SECOND * 2,
                ..bounds()
            },
            "[ -e asked ] && sleep 20; touch asked",
        );
        let run = world.asked();
        let began = Instant::now();
        let (led, ending) = world.lead(&run).await;
        let Led::Ended(Err(error)) = led else {
            panic!("{led:?}")
        };
        let (reason, status, detail) = (error.label(), error.status(), error.to_string());
        assert_eq!((reason, status), ("timeout", Status::Failed), "{detail}");
        assert!(
            detail.contains("longer than 2s") && detail.contains("connected again"),
            "{detail}"
        );
        assert!(
            world.runs().exists() && began.elapsed() < SECOND * 20,
            "{:?}",
            began.elapsed()
        );
        assert_eq!(world.left("a"), 201, "nothing moved: {ending:?}");
        assert!(
            world.warden.ctx.journal().obligations().unwrap().is_empty(),
            "nothing is owed"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_is_stopped_and_started_under_a_clean_up_of_the_same_process() {
        let world = World::new(
            Bounds {
                others: SECOND,
                ..bounds()
            },
            "",
        );
        let run = world.asked();
        // A clean-up of b had begun before.
        let other = world
            .warden
            .ctx
            .journal()
            .begin("b", Action::Cleanup, "ann", Timestamp::now())
            .unwrap();
        let (led, _) = world.lead(&run).await;
        assert!(matches!(led, Led::Busy), "{led:?}");
        // Nor if it began during the looks.
        let found = world
            .known
            .iter()
            .find(|found| found.session.as_str() == "a")
            .unwrap();
        let service = world
            .warden
            .ctx
            .settings
            .services
            .of(&found.session)
            .unwrap();
        let held = world
            .warden
            .intend(&run, found, &service, Way::Emergency, &world.known, &[])
            .await;
        assert!(
            matches!(held, Err(RunError::StopRefused(StopRefusal::Busy))),
            "{held:?}"
        );
        assert!(
            world
                .warden
                .ctx
                .journal()
                .stops(Timestamp::now())
                .unwrap()
                .is_empty()
        );
        world
            .warden
            .ctx
            .journal()
            .finish(other, Status::Done, &Ending::default(), Timestamp::now())
            .unwrap();
        let (led, _) = world.lead(&run).await;
        assert!(matches!(led, Led::Ended(Ok(_))), "{led:?}");
        assert!(world.runs().exists() && world.left("a") < 201 && world.left("b") == 201);
    }

    /// The looks take time, and a person who was paged is as fast.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whom_a_person_stops_during_the_looks_is_not_started() {
        let world = World::new(bounds(), "");
        // The second one to be asked is the sibling.
        world.write(
            "ask.sh",
            "echo x >>asks; [ -e runs ] && echo connected && [ $(wc -l <asks) -ge 2 ] && rm runs; exit 0",
        );
        let run = world.asked();
        let (led, _) = world.lead(&run).await;
        assert!(matches!(led, Led::NeedsNoStop), "{led:?}");
        assert!(!world.runs().exists() && world.phases().is_empty());
        world.settle_debts().await;
        assert!(!world.runs().exists(), "nobody has started it");
    }

    /// Two bots of one identity break its keys.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_nobody_can_see_is_started_once() {
        let world = World::new(bounds(), "");
        world.write("start.sh", "echo x >>starts; touch unknown");
        world.write("gone.sh", "[ -e unknown ] && exit 7; test ! -e runs");
        let starts = || {
            std::fs::read_to_string(world.dir.path().join("starts"))
                .unwrap()
                .lines()
                .count()
        };
        let run = world.asked();
        let (led, _) = world.lead(&run).await;
        let Led::Ended(Err(error)) = led else {
            panic!("{led:?}")
        };
        let (reason, detail) = (error.label(), error.to_string());
        assert!(
            reason == "start_unknown" && detail.contains("unknown whether it runs"),
            "{detail}"
        );
        assert_eq!((starts(), world.phases()), (1, vec![Phase::Started]));
        assert_eq!(world.warden.ctx.journal().not_back().unwrap().len(), 2);
        world.settle_debts().await;
        assert_eq!((starts(), world.phases()), (1, vec![Phase::Started]));
        // Known to be gone it is started again.
        std::fs::remove_file(world.dir.path().join("unknown")).unwrap();
        world.write("start.sh", "echo x >>starts; touch runs");
        world.settle_debts().await;
        assert_eq!((starts(), world.phases()), (2, vec![]));
        assert!(world.runs().exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_stop_begins_after_its_window() {
        let world = World::new(bounds(), "");
        let run = world.asked();
        let found = world
            .known
            .iter()
            .find(|found| found.session.as_str() == "a")
            .unwrap();
        let service = world
            .warden
            .ctx
            .settings
            .services
            .of(&found.session)
            .unwrap();
        let held = world
            .warden
            .intend(&run, found, &service, Way::Window, &world.known, &[])
            .await;
        assert!(
            matches!(held, Err(RunError::StopRefused(StopRefusal::Busy)))
                && world.phases().is_empty(),
            "{held:?}"
        );
        let held = world
            .warden
            .intend(&run, found, &service, Way::Emergency, &world.known, &[])
            .await;
        assert!(held.is_ok() && world.phases().len() == 1, "{held:?}");
    }

    /// A stop that may still come is waited for by a clock that nobody sets.
    #[tokio::test]
    async fn a_clock_that_is_set_ends_no_wait_for_a_late_stop() {
        let world = World::new(bounds(), "");
        let (now, warden) = (Timestamp::now(), &world.warden);
        let long_ago = now.minus(STOPS_LATE_WITHIN * 2);
        assert!(
            !warden.may_stop_late("other", long_ago, now),
            "before a restart, and long ago"
        );
        warden.late().insert("bots".into(), Instant::now());
        assert!(
            warden.may_stop_late("bots", long_ago, now),
            "the clock was set forward"
        );
        assert!(
            warden.may_stop_late("third", now.plus(SECOND * 3_600), now),
            "the clock was set back"
        );
        let ago = Instant::now().checked_sub(STOPS_LATE_WITHIN);
        if let Some(ago) = ago {
            warden.late().insert("third".into(), ago);
            assert!(
                !warden.may_stop_late("third", now.plus(SECOND * 3_600), now),
                "it is over once"
            );
        }
    }

    /// What the unit of systemd waits for before it kills.
    #[test]
    fn the_shipped_unit_waits_for_the_longest_run() {
        let timing = crate::control::Timing::default();
        // The last try begins within its time.
        let starts = (timing.start_timeout * 2 + SHOWS_WITHIN * 3 + GRACE * 2) * (STARTS_AGAIN + 1);
        let noted = NOTE_TIMEOUT * 3;
        let longest = timing.stop_timeout
            + timing.gone_timeout
            + DOWN_FOR_AT_MOST
            + HALTS_WITHIN
            + insurance::MENDED_WITHIN * 2
            + noted
            + starts
            + timing.connect_timeout;
        let unit = include_str!("../../deploy/systemd/baileys_remediator.service");
        let waits = unit
            .lines()
            .find_map(|line| line.strip_prefix("TimeoutStopSec="))
            .unwrap();
        assert!(
            humantime::parse_duration(waits).unwrap() > longest,
            "{waits} < {longest:?}"
        );
        let minutes = format!("{} minutes", longest.as_secs().div_ceil(60));
        let docs = include_str!("../../docs/configuration.md");
        assert!(
            unit.contains(&minutes) && docs.contains(&format!("({minutes} with the defaults")),
            "{minutes}"
        );
        assert!(
            DOWN_FOR_AT_MOST
                > ALL_CLEAN_TIMEOUT
                    + CLEAN_TIMEOUT
                    + SETTLES_WITHIN * 2
                    + WATCHED_FOR
                    + HALTS_WITHIN
        );
    }
}
