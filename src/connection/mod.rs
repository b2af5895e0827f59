//! Is the bot connected? Evidence in, verdict out.
//!
//! | source | what it can say |
//! |---|---|
//! | [`writes`] | quiet, or a veto |
//! | [`Probe`] | connected, disconnected, unreachable; shared where it is asked about several sessions |
//! | the process, by its supervisor | gone; that it runs says nothing |
//! | the sockets of the process | connected, connecting; shared where the process is that of several sessions |
//! | [`LogView`] | connected, disconnected |
//!
//! [`Connection::ask`] asks them, [`discount_untrusted`] drops what a source says that never saw the
//! session alive, [`fold`] makes the verdict. Without any source the verdict is unknown,
//! and unknown counts as connected, so that a failure never allows a clean-up.

mod log;
mod probe;
mod process;
mod shared;
mod sightings;
mod sockets;
mod stopped;
mod template;
mod verdict;

pub use log::{DoubtedClose, LogEvent, LogReading, LogView, Opener, log_says};
use log::{superseded, written_after};
use probe::probe_id;
pub use probe::{Probe, ProbeError};
use shared::{LastProcesses, LastRequests};
use sightings::ReadOnly;
pub use sightings::{
    REMEMBERED_FOR, Recent, SessionSightings, SightingRecord, SightingStore, Trust,
    discount_untrusted,
};
use sockets::SeenSockets;
pub(crate) use sockets::show_within;
pub use template::SessionTemplate;
pub use verdict::{
    Alive, Evidence, Finding, ProcessLook, RestartCount, State, Verdict, fold, source_id,
};
use verdict::{TICK, span};

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use globset::GlobSet;

use crate::control::{Service, Services};
use crate::folder::bounded_blocking::blocking;
use crate::folder::{
    AllSessions, BoundedBlocking, Inventory, NewestWrite, SessionName, SessionNames, Timestamp,
};

/// A store that takes longer is not waited for: its disk may stall.
const SIGHTINGS_TIMEOUT: Duration = Duration::from_secs(15);

/// Which sources say whether a bot is connected, and how to query them.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// No file may have been written for this long.
    pub quiet: Duration,
    /// Time limit for the answer of a source.
    pub timeout: Duration,
    /// The probes to ask; all of them.
    pub probes: Vec<Probe>,
    /// The bots' processes.
    pub processes: Services,
    /// Whether the sockets of a process that runs are looked at.
    pub sockets: bool,
    /// How old the last line of a log may be.
    pub log_fresh: Duration,
    /// Sessions whose sources an operator trusts: they are believed from the start.
    pub trust: GlobSet,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(600),
            timeout: Duration::from_secs(5),
            probes: Vec::new(),
            processes: Services::default(),
            sockets: true,
            log_fresh: Duration::from_secs(900),
            trust: GlobSet::empty(),
        }
    }
}

impl ConnectionSettings {
    /// Sources that cannot answer as they are configured: commands whose program is not
    /// there or cannot be run, and logs that are old before the folder is quiet. `has_logs`:
    /// whether logs are configured.
    pub fn problems(&self, has_logs: bool) -> Vec<String> {
        let probes = self.probes.iter().filter_map(Probe::problem);
        probes
            .chain(self.log_is_old_too_early().filter(|_| has_logs))
            .collect()
    }

    /// While a process may be alive, its log counts until `log_fresh`, and its folder only after
    /// `quiet`.
    fn log_is_old_too_early(&self) -> Option<String> {
        (self.quiet >= self.log_fresh).then(|| {
            format!(
                "connection.quiet ({}) is not less than connection.log_fresh ({}): a bot that writes nothing after its connection was closed is never disconnected by its log; set connection.log_fresh to more than connection.quiet",
                span(self.quiet),
                span(self.log_fresh)
            )
        })
    }

    /// Whether a probe or a process is configured.
    pub fn has_sources(&self) -> bool {
        !self.probes.is_empty() || self.processes.has_observed()
    }

    /// How long after the sessions of this service have connected their sockets show it. Zero where
    /// sockets are no source.
    pub fn sockets_show_within(&self, service: &Service) -> Duration {
        match self.sockets && service.tells_pids() {
            true => show_within(self.timeout),
            false => Duration::ZERO,
        }
    }

    /// How long after the start of this service to wait for the verdict `connected`: its sessions
    /// may take `connect_timeout` to connect, and without a probe only the sockets may show it.
    pub fn connected_within(&self, service: &Service) -> Duration {
        let shown = match self.probes.is_empty() {
            true => self.sockets_show_within(service),
            false => Duration::ZERO,
        };
        service.connect_timeout + shown
    }

    /// Whether what a source of this session proves depends on which other sessions there are.
    fn asks_for_companions(&self, session: &SessionName) -> bool {
        self.processes.is_for_one_session(session)
            || self.probes.iter().any(|probe| !probe.names_the_session())
    }

    /// A sentence for each source that gives several of these sessions the same answer.
    pub fn shared_sources(&self, all: &SessionNames) -> Vec<String> {
        let probes = self.probes.iter();
        let probes = probes.filter_map(|probe| shared::sentence(probe, all));
        probes.chain(self.processes.shared_entries(all)).collect()
    }
}

/// The sources of the verdict, and the store of which of them saw a session alive.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which sources, and how to query them.
    pub settings: ConnectionSettings,
    log: Option<Arc<dyn LogView>>,
    sighting_store: Arc<dyn SightingStore>,
    /// All sessions. `None`: the one that is asked about is the only one.
    sessions: Option<Arc<AllSessions>>,
    last_requests: Arc<LastRequests>,
    last_processes: Arc<LastProcesses>,
    seen_sockets: Arc<SeenSockets>,
    looks_once: bool,
    only_tells: bool,
    share_for: Duration,
    clock: Clock,
}

impl Default for Connection {
    /// Without a source.
    fn default() -> Self {
        Self::new(
            ConnectionSettings::default(),
            None,
            Arc::new(Recent::default()),
            Clock::system(),
        )
    }
}

/// What was answered, and what is remembered of those who answered.
#[derive(Clone, Debug)]
pub struct Asked {
    evidence: Vec<Evidence>,
    log: Option<(String, Result<Option<LogEvent>, String>)>,
    logged_out: bool,
    /// The process had ended by then; `None` where it is not gone.
    ended_by: Option<Timestamp>,
    /// The process that runs started then, where that is known.
    started: Option<Timestamp>,
    /// The ids by which the processes without a connection know themselves.
    own_pids: BTreeSet<u32>,
    sightings: SessionSightings,
}

impl Asked {
    /// What is remembered of the session.
    pub fn sightings(&self) -> &SessionSightings {
        &self.sightings
    }

    /// The first source that reports this bot as connected or connecting, and what it saw. A
    /// connection that may be another session's says nothing of this one.
    pub fn who_sees_it_alive(&self) -> Option<String> {
        let is_its_own = |of: Finding| of.may_be_connected() && of != Finding::Shared;
        let mut evidence = self.evidence.iter();
        let found = evidence.find(|evidence| is_its_own(evidence.finding));
        found.map(ToString::to_string)
    }

    /// Whether a source reports a connection that may be this bot's.
    pub fn sees_a_connection(&self) -> bool {
        let mut evidence = self.evidence.iter();
        evidence.any(|evidence| evidence.finding.may_be_connected())
    }

    /// Whether the last close in the log says that the login has ended (401).
    pub fn logged_out(&self) -> bool {
        self.logged_out
    }
}

impl Connection {
    /// `log` reads the bots' logs; `sighting_store` keeps which sources have seen a session alive.
    pub fn new(
        settings: ConnectionSettings,
        log: Option<Arc<dyn LogView>>,
        sighting_store: Arc<dyn SightingStore>,
        clock: Clock,
    ) -> Self {
        Self {
            settings,
            log,
            sighting_store,
            sessions: None,
            last_requests: Arc::default(),
            last_processes: Arc::default(),
            seen_sockets: Arc::default(),
            looks_once: false,
            only_tells: false,
            share_for: Duration::ZERO,
            clock,
        }
    }

    /// The same, where these are all sessions: a source that answers for several of them proves
    /// nothing.
    #[must_use]
    pub fn among(mut self, sessions: Arc<AllSessions>) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// The same after a reload: the sockets that were seen stay known.
    #[must_use]
    pub fn after(mut self, former: &Self) -> Self {
        self.seen_sockets = Arc::clone(&former.seen_sockets);
        self
    }

    /// The same, for a command: it has no earlier look, and its verdict takes a socket for a
    /// connection at the first one. That keeps files from being moved, as a proven connection does.
    #[must_use]
    pub fn looking_once(mut self) -> Self {
        self.looks_once = true;
        self
    }

    /// The same, for a program that only tells, as the exporter does for its alerts: a close in the
    /// log counts where the process has lost its connection, see [`Finding::ClosedInDoubt`]. A
    /// program that moves files by the verdict takes no such close: the bot may have reached
    /// WhatsApp through a proxy on another port, or by a process that has left the tree.
    #[must_use]
    pub fn only_telling(mut self) -> Self {
        self.only_tells = true;
        self
    }

    /// All sessions, or at least this one; `None` where they could not be listed.
    async fn companions(&self, session: &SessionName) -> Option<Arc<SessionNames>> {
        match &self.sessions {
            Some(all) => all.list(self.share_for).await,
            None => Some(Arc::new([session.clone()].into())),
        }
    }

    /// Why the process of this session, as these entries name it, may be that of another one.
    /// Then it may not be stopped.
    pub async fn shared_process(
        &self,
        services: &Services,
        session: &SessionName,
    ) -> Option<String> {
        if !services.is_for_one_session(session) {
            return None;
        }
        let all = self.companions(session).await;
        services.shared_by_default(session, all.as_deref())
    }

    /// The same, where an answer that holds for many sessions may be this old. Zero, as it is
    /// without this, for what acts on it.
    #[must_use]
    pub fn sharing_for(mut self, share_for: Duration) -> Self {
        self.share_for = share_for;
        self
    }

    /// The same sources, with a store that records nothing.
    #[must_use]
    pub fn without_remembering(mut self) -> Self {
        self.sighting_store = Arc::new(ReadOnly(self.sighting_store));
        self
    }

    fn now(&self) -> Timestamp {
        Timestamp::of(&self.clock)
    }

    /// Sources that cannot answer as they are configured.
    pub fn problems(&self) -> Vec<String> {
        self.settings.problems(self.log.is_some())
    }

    /// Whether any source is configured.
    pub fn has_sources(&self) -> bool {
        self.settings.has_sources() || self.log.is_some()
    }

    /// The ids of a session's sources that an operator can trust.
    pub fn ids(&self, session: &SessionName) -> Vec<String> {
        let probes = self.settings.probes.iter().map(probe_id);
        let process = self.settings.processes.observed(session);
        let process = process.iter().map(process::process_id);
        probes
            .chain(process)
            .chain(self.log.iter().map(|log| log_id(log.as_ref())))
            .collect()
    }

    /// Asks all sources and folds the answers, for display. Code that acts on the verdict uses
    /// [`Connection::ask`], scans, and then [`Connection::judge`].
    pub async fn verdict(&self, session: &SessionName, inventory: &Inventory) -> Verdict {
        self.judge(self.ask(session).await, inventory)
    }

    /// Asks every source, and remembers which of them saw the bot alive. Slow: scan the
    /// folder after it, so that [`Connection::judge`] sees what was written meanwhile.
    pub async fn ask(&self, session: &SessionName) -> Asked {
        self.clock.steady_for();
        let mut sightings = {
            let (store, session) = (Arc::clone(&self.sighting_store), session.clone());
            let recalled = blocking(move || store.recall(&session));
            self.clock
                .timeout(SIGHTINGS_TIMEOUT, recalled)
                .await
                .ok()
                .and_then(Result::ok)
                .unwrap_or_default()
        };
        sightings.trusted_by_configuration =
            self.settings.trust.is_match(Path::new(session.as_str()));
        let mut evidence = Vec::new();
        let (mut first_gone, mut ended_by, mut started) = (None, None, None);
        let mut own_pids = BTreeSet::new();
        if !self.has_sources() {
            let none = "none configured (see --connection.command)";
            evidence.push(Evidence::new("probe", Finding::NoAnswer, none));
        }
        let all = match self.settings.asks_for_companions(session) {
            true => self.companions(session).await,
            false => Some(Arc::default()),
        };
        for probe in &self.settings.probes {
            let answer = probe.ask(session, self.settings.timeout, &self.clock).await;
            let shared = self
                .last_requests
                .shared_probe(probe, session, all.as_ref());
            if let Some(why) = shared {
                evidence.push(shared::of_several(answer, &why));
                continue;
            }
            let alive = (answer.finding == Finding::Connected).then(|| Alive::at(self.now()));
            evidence.push(Evidence {
                id: probe_id(probe),
                alive,
                ..answer
            });
        }
        if let Some(process) = self.settings.processes.observed(session) {
            let mut look = process::look(
                &process,
                self.settings.timeout,
                self.share_for,
                &sightings,
                &self.clock,
            )
            .await;
            let shared = self
                .settings
                .processes
                .shared_by_default(session, all.as_deref());
            if let Some(why) = shared {
                look.evidence = shared::of_several(look.evidence, &why);
            }
            if look.evidence.finding == Finding::Gone {
                let id = look.evidence.id.clone();
                let now = self.now();
                let gone = sightings.first_gone(&id, now);
                ended_by = Some(process::had_ended_by(&look, gone.1.at, now));
                first_gone = Some(gone);
                evidence.extend(self.doubts(session, &evidence).await);
            }
            // A process that may be another session's tells nothing of this one.
            if let Some(Alive { mark: Some(_), .. }) = look.evidence.alive {
                let start = supervisor::proc::first_start(&look.pids, self.settings.timeout);
                started = start.await.map(Timestamp::from);
            }
            evidence.push(look.evidence);
            if self.settings.sockets && !look.pids.is_empty() {
                let (found, pids) = self.sockets(session, &process, look.pids).await;
                evidence.extend(found);
                own_pids = pids;
            }
        }
        let mut seen_now = evidence.clone();
        seen_now.extend(first_gone.map(|(id, gone)| Evidence {
            id,
            alive: Some(gone),
            ..Evidence::new("process", Finding::Gone, "")
        }));
        let (mut log, mut logged_out) = (None, false);
        if let Some(view) = &self.log {
            let (reader, session) = (Arc::clone(view), session.clone());
            // One read at a time for each session: its file system may hang.
            let key = Path::new("log").join(session.as_str());
            let looks = BoundedBlocking::default().with_timeout(self.settings.timeout);
            let read = looks.run_async(&key, move || reader.read(&session));
            let LogReading {
                mut event,
                last_opened,
                logged_out: is_logged_out,
            } = read.await.unwrap_or_else(|_| {
                LogReading::from(Err("the log could not be read in time".into()))
            });
            logged_out = is_logged_out;
            if let Ok(Some(event)) = event.as_mut() {
                seen_now.extend(event.keep_known_opener(&sightings, self.now()));
            }
            let last = event.as_ref().ok().and_then(|event| {
                event
                    .as_ref()
                    .filter(|event| event.opened == Some(true))?
                    .at
            });
            let opened = last.max(last_opened);
            let id = log_id(view.as_ref());
            let seen = Evidence::new("log", Finding::Nothing, "");
            seen_now.push(Evidence {
                id: id.clone(),
                alive: opened.map(Alive::at),
                ..seen
            });
            log = Some((id, event));
        }
        let missing = sightings.missing(&seen_now, self.now());
        if !missing.is_empty() {
            let (store, session, seen) = (
                Arc::clone(&self.sighting_store),
                session.clone(),
                missing.clone(),
            );
            let remembered = blocking(move || store.remember(&session, &seen));
            let _ = self.clock.timeout(SIGHTINGS_TIMEOUT, remembered).await;
            sightings.alive.extend(missing);
        }
        Asked {
            evidence,
            log,
            logged_out,
            ended_by,
            started,
            own_pids,
            sightings,
        }
    }

    /// What the sockets of this session's process tell. They prove it connected only where no other
    /// session has the same process.
    async fn sockets(
        &self,
        session: &SessionName,
        process: &Service,
        pids: Vec<u32>,
    ) -> (Vec<Evidence>, BTreeSet<u32>) {
        let timeout = self.settings.timeout;
        let look = sockets::look(pids, timeout, &self.seen_sockets, &self.clock);
        let (mut found, own_pids) = look.await;
        let services = &self.settings.processes;
        if found.finding == Finding::Lost && !self.only_tells {
            found.finding = Finding::Ambiguous;
        }
        let is_of_one = found.finding.may_be_connected() || found.finding == Finding::Lost;
        if !is_of_one || services.names_each_session() {
            return (vec![found], own_pids);
        }
        let all = self.companions(session).await;
        let id = process.id().unwrap_or_default();
        let shared = self
            .last_processes
            .shared_process(services, &id, session, all.as_ref());
        let evidence = match shared {
            Some(why) => shared::of_one_process(found, &why, self.looks_once),
            None => vec![found],
        };
        (evidence, own_pids)
    }

    /// Where a probe is unreachable and the process is gone, the further entries of
    /// `processes` that match the session are queried as well.
    async fn doubts(&self, session: &SessionName, heard: &[Evidence]) -> Vec<Evidence> {
        let mut doubts = Vec::new();
        if heard.iter().any(|e| e.finding == Finding::Unreachable) {
            for other in self.settings.processes.others(session) {
                doubts.extend(process::doubt(&other, self.settings.timeout).await);
            }
        }
        doubts
    }

    /// Whether the process of this session is named after it.
    pub fn has_process_named_after(&self, session: &SessionName) -> bool {
        self.settings.processes.names_session(session)
    }

    /// Folds what the sources said and what the files say.
    pub fn judge(&self, asked: Asked, inventory: &Inventory) -> Verdict {
        let awaits_login = inventory.creds.awaits_login();
        self.judge_by(asked, inventory.newest_write(), awaits_login)
    }

    /// [`Connection::judge`] for a folder whose newest write is `newest_write`.
    /// `awaits_login`: it holds no login, so that a socket cannot be that of a bot that has logged in.
    pub fn judge_by(
        &self,
        mut asked: Asked,
        newest_write: Option<NewestWrite>,
        awaits_login: bool,
    ) -> Verdict {
        let now = self.now();
        sockets::for_the_login(&mut asked.evidence, awaits_login, self.looks_once);
        let mut evidence = discount_untrusted(asked.evidence, &asked.sightings, now);
        let gone = evidence.iter().any(|e| e.finding == Finding::Gone);
        let ended_by = asked.ended_by.filter(|_| gone);
        evidence.extend(files_written_after(newest_write, ended_by));
        if let Some((id, event)) = asked.log {
            evidence.extend(written_after(&event, ended_by));
            let known = event.as_ref().ok().and_then(Option::as_ref);
            let has_ended = evidence.iter().any(|e| e.runs == Some(false));
            evidence.extend(known.filter(|_| has_ended).and_then(LogEvent::opener_runs));
            let doubt = superseded(&event, &evidence, asked.started);
            let has_lost = evidence.iter().any(|e| e.finding == Finding::Lost);
            let (fresh, quiet) = (self.settings.log_fresh, self.settings.quiet);
            let says = |event| log_says(event, gone, newest_write, now, fresh, quiet);
            let closed = event.as_ref().ok().and_then(Option::as_ref);
            let closed = closed.filter(|_| has_lost);
            let closed = closed.and_then(|event| event.closed_by_one_of(&asked.own_pids));
            let said = match closed.map(|event| says(Ok(Some(event)))) {
                Some((Finding::Disconnected, said)) => (Finding::ClosedInDoubt, said),
                _ => says(event),
            };
            let (finding, detail) = match (said, doubt) {
                ((Finding::Connected, said), Some((finding, why))) => {
                    (finding, format!("{said}, but {why}"))
                }
                (said, _) => said,
            };
            let said = Evidence {
                id,
                ..Evidence::new("log", finding, detail)
            };
            evidence.extend(discount_untrusted(vec![said], &asked.sightings, now));
        }
        let quiet = self.settings.quiet;
        evidence.push(writes(newest_write, now, quiet, self.clock.steady_for()));
        fold(evidence)
    }
}

fn log_id(log: &dyn LogView) -> String {
    source_id("log", &log.configuration())
}

/// A folder with a file that is younger than the end of the process: another process writes it,
/// and may be the bot. What a process writes at its end is earlier. Pure.
fn files_written_after(
    newest_write: Option<NewestWrite>,
    ended_by: Option<Timestamp>,
) -> Option<Evidence> {
    let NewestWrite { at, kind } = newest_write?;
    (at > ended_by?.plus(TICK)).then(|| {
        let detail = format!(
            "a file was written after the end of its process (kind {}): another process may be the bot",
            kind.label()
        );
        Evidence::new("writes", Finding::NoAnswer, detail)
    })
}

/// What the files' modification times say. `steady`: how long the wall clock has run without a
/// step, if it ever stepped; what was written before the step may be younger than it looks. Pure.
pub fn writes(
    newest_write: Option<NewestWrite>,
    now: Timestamp,
    quiet: Duration,
    steady: Option<Duration>,
) -> Evidence {
    let evidence = |finding, detail: String| Evidence::new("writes", finding, detail);
    let Some(NewestWrite { at: newest, kind }) = newest_write else {
        return evidence(Finding::NoAnswer, "there is no file to tell from".into());
    };
    let kind = kind.label();
    if newest > now {
        return evidence(
            Finding::Writing,
            format!("a file's modification time lies in the future (kind {kind})"),
        );
    }
    let since = newest.until(now);
    if since < quiet {
        return evidence(
            Finding::Writing,
            format!(
                "a file was written {} ago (kind {kind}), the quiet window is {}",
                span(since),
                span(quiet)
            ),
        );
    }
    match RecentStep::within(quiet, steady) {
        Some(step) => evidence(Finding::Writing, step.to_string()),
        None => evidence(
            Finding::Quiet,
            format!("no file was written for {}", span(since)),
        ),
    }
}

/// The wall clock was set within a window: the ages of files are unknown until it has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentStep {
    ago: Duration,
    window: Duration,
}

impl RecentStep {
    /// `steady`: how long the wall clock has run without a step, if it ever stepped. Pure.
    pub fn within(window: Duration, steady: Option<Duration>) -> Option<Self> {
        steady
            .filter(|ago| *ago < window)
            .map(|ago| Self { ago, window })
    }
}

impl fmt::Display for RecentStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the clock of this machine was set {} ago, so the age of the files is unknown for the quiet window of {}",
            span(self.ago),
            span(self.window)
        )
    }
}

#[cfg(test)]
mod tests;
