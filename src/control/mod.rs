//! The process of a session (its bot, or one process that serves many): how it is observed,
//! stopped and started. Knows no policy and no journal; the crate `supervisor` makes the calls.

pub mod window;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;
use regex::Regex;
use supervisor::{
    ArgTemplate, CallOptions, ExecError, Placeholders, QUERY_TIMEOUT, Query, Spec, Supervisor,
    Template,
};

use crate::folder::all_sessions::companion;
use crate::folder::{SessionName, SessionNames};

use window::Windows;

pub use supervisor::{CallError, Observation, Observed, Presence, RestartObstacle};

/// What fills the placeholders of a text: a session's name, the named groups of
/// `connection.session_pattern`, and the name of this host.
pub fn placeholders(pattern: Option<&Regex>) -> Placeholders {
    Placeholders::new("session", "connection.session_pattern", pattern)
        .with_constant("hostname", crate::host::name())
}

/// What an operator does about an entry that stands for several sessions by default.
const SHARED_HINT: &str = "list the sessions of a shared process under `sessions:`, put {session} into the name, or keep the other folders out of `sessions.paths`";

/// Times and limits of a service; the same for all that a rule matches.
#[derive(Clone, Debug)]
pub struct Timing {
    /// How long the call that stops it may take.
    pub stop_timeout: Duration,
    /// How long to wait, after that call, for the proof that it is gone.
    pub gone_timeout: Duration,
    /// How long the call that starts it may take.
    pub start_timeout: Duration,
    /// How long to wait, after the start, until the verdict is `connected`.
    pub connect_timeout: Duration,
    /// How long it is left alone after a run.
    pub cooldown: Duration,
    /// Runs within 24 hours.
    pub daily_budget: u32,
    /// When it may be stopped although it is healthy.
    pub windows: Windows,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stop_timeout: Duration::from_secs(60),
            gone_timeout: Duration::from_secs(120),
            start_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(180),
            cooldown: Duration::from_secs(6 * 3600),
            daily_budget: 2,
            windows: Windows::default(),
        }
    }
}

/// One entry of `processes`.
#[derive(Clone, Debug)]
pub struct ServiceRule {
    /// `None`: the operator lists none, so it holds for every session.
    sessions: Option<GlobSet>,
    name: Option<ArgTemplate>,
    spec: Spec,
    may_restart: bool,
    timing: Timing,
}

impl ServiceRule {
    /// The sessions it holds for (all where the operator lists none), the service's name (that of the unit, the process or the
    /// container unless it is given), the process, whether it may be stopped and started, and
    /// its times and limits.
    ///
    /// Errors: there is no name, or one that sessions with different argv would share.
    pub fn new(
        sessions: Option<GlobSet>,
        name: Option<ArgTemplate>,
        spec: Spec,
        may_restart: bool,
        timing: Timing,
    ) -> Result<Self, String> {
        let rule = Self {
            sessions,
            name,
            spec,
            may_restart,
            timing,
        };
        let Some(name) = rule.name() else {
            return Err("is missing: commands have no name of their own; sessions with the same name share the process".into());
        };
        let named: Vec<&str> = name.placeholders().collect();
        let templates = rule.spec.templates();
        let missing = templates
            .iter()
            .flat_map(|text| text.placeholders())
            // With {session} in it every session has a name of its own.
            .find(|placeholder| !name.has_subject() && !named.contains(placeholder));
        if let Some(missing) = missing {
            return Err(format!(
                "must hold {{{missing}}} as well: sessions with the same name share one process, which is stopped once for all of them"
            ));
        }
        drop(templates);
        Ok(rule)
    }

    fn matches(&self, session: &SessionName) -> bool {
        let name = Path::new(session.as_str());
        self.sessions
            .as_ref()
            .is_none_or(|globs| globs.is_match(name))
    }

    /// Whether it is one process for every session, and the operator does not say which sessions
    /// share it.
    fn is_for_one_session(&self) -> bool {
        let templates = self.spec.templates();
        let mut placeholders = templates.iter().flat_map(|text| text.placeholders());
        self.sessions.is_none() && placeholders.next().is_none()
    }

    fn name(&self) -> Option<&Template> {
        match &self.name {
            Some(name) => Some(name.template()),
            None => self.spec.name(),
        }
    }

    /// Whether the two rules can give one name to two processes: always, or when the pattern
    /// takes the same text from two sessions. Names that contain the whole session name are
    /// different for different sessions. [`Services::among`] checks the remaining case, names
    /// that turn out to be the same.
    fn clashes_with(&self, other: &Self) -> bool {
        let by_session = self.name().is_some_and(Template::has_subject);
        self.name() == other.name() && !by_session && self.spec != other.spec
    }
}

/// The services, in the order of the configuration: the first that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Services {
    rules: Vec<ServiceRule>,
}

impl Services {
    /// These rules.
    ///
    /// Errors: two of them give one name to two processes.
    pub fn new(rules: Vec<ServiceRule>) -> Result<Self, String> {
        for (at, rule) in rules.iter().enumerate() {
            if let Some(before) = rules
                .iter()
                .take(at)
                .position(|before| before.clashes_with(rule))
            {
                return Err(format!(
                    "processes[{before}] and processes[{at}] have the same name and are not the same process: sessions with the same name share one process, which is stopped once for all of them; give one of the two another `name`"
                ));
            }
        }
        Ok(Self { rules })
    }

    /// The service of a session, if it may be stopped and started. One whose name or argv
    /// cannot be made from the session's name is there as well; it can neither be stopped nor
    /// started, see [`Service::check`].
    pub fn of(&self, session: &SessionName) -> Option<Service> {
        self.observed(session).filter(|service| service.may_restart)
    }

    /// The process of a session, which may be one that is only observed.
    pub fn observed(&self, session: &SessionName) -> Option<Service> {
        let (_, rule) = self.rule_of(session)?;
        Some(Service::new(rule, session))
    }

    /// The first entry that matches, and its index.
    fn rule_of(&self, session: &SessionName) -> Option<(usize, &ServiceRule)> {
        let mut rules = self.rules.iter().enumerate();
        rules.find(|(_, rule)| rule.matches(session))
    }

    /// Whether [`Services::shared_by_default`] depends on which other sessions there are.
    pub fn is_for_one_session(&self, session: &SessionName) -> bool {
        let rule = self.rule_of(session);
        rule.is_some_and(|(_, rule)| rule.is_for_one_session())
    }

    /// Why the process of this session may be that of another one, where its entry lists no
    /// sessions, has no placeholder, and stands for another of `all` as well (`None`: those are
    /// unknown). Then it proves nothing that it is gone, and it may not be stopped. Pure.
    pub fn shared_by_default(
        &self,
        session: &SessionName,
        all: Option<&SessionNames>,
    ) -> Option<String> {
        let (at, _) = self
            .rule_of(session)
            .filter(|(_, rule)| rule.is_for_one_session())?;
        let is_same =
            |other: &SessionName| self.rule_of(other).is_some_and(|(index, _)| index == at);
        let other = companion(session, all, is_same)?;
        Some(format!(
            "processes[{at}] holds for {other} as well, so its process may be that of the other bot; {SHARED_HINT}"
        ))
    }

    /// Whether it is plain that each session has a process of its own: there is one entry, and its
    /// text holds the whole name of the session.
    pub fn names_each_session(&self) -> bool {
        match &self.rules[..] {
            [rule] => rule.spec.templates().iter().any(|text| text.has_subject()),
            _ => false,
        }
    }

    /// Whether the entry of this session holds its name, so that its process is of this one.
    pub fn names_session(&self, session: &SessionName) -> bool {
        let rule = self.rule_of(session);
        rule.is_some_and(|(_, rule)| rule.spec.templates().iter().any(|text| text.has_subject()))
    }

    /// A sentence for each entry that stands for several of these sessions by default.
    pub fn shared_entries(&self, all: &SessionNames) -> Vec<String> {
        let rules = self.rules.iter().enumerate();
        let entries = rules.filter(|(_, rule)| rule.is_for_one_session());
        entries
            .filter_map(|(at, _)| {
                let is_its_own = |session: &&SessionName| {
                    self.rule_of(session).is_some_and(|(index, _)| index == at)
                };
                let count = all.iter().filter(is_its_own).count();
                (count > 1).then(|| format!(
                    "processes[{at}] holds for {count} sessions and lists none: it is not known whose process it is, so it proves no bot gone, and is never stopped; {SHARED_HINT}"
                ))
            })
            .collect()
    }

    /// The processes of the further entries that match a session, beside
    /// [`Services::observed`].
    pub fn others(&self, session: &SessionName) -> Vec<Service> {
        let matching = self.rules.iter().filter(|rule| rule.matches(session));
        let mut services = matching.map(|rule| Service::new(rule, session));
        let own = services.next().map(|own| own.id());
        services.filter(|other| Some(other.id()) != own).collect()
    }

    /// The service of a session that is there among these. It can neither be stopped nor started
    /// where another session's service has the same name and is not the same process (it is
    /// unknown which one a stop would hit), nor where the process is that of another session
    /// under another name or without `allow_restart` (the locks of that session's folder would
    /// not be taken, and the two would be stopped and started beside each other).
    pub fn among<'a>(
        &self,
        session: &SessionName,
        all: impl IntoIterator<Item = &'a SessionName>,
    ) -> Option<Service> {
        let own = self.of(session)?;
        let why = all.into_iter().find_map(|other| {
            let other = self.observed(other)?;
            let has_name = other.may_restart && other.name == own.name;
            match (has_name, other.id() == own.id()) {
                (true, false) => Some("not tried: the service of another session has the same name and is not the same process; give one of the two another `name`"),
                (false, true) if own.id().is_ok() => Some("not tried: the process is also that of another session, whose service has another name or no `allow_restart: true`; give both the same `name` and `allow_restart`"),
                _ => None,
            }
        });
        Some(match why {
            None => own,
            Some(why) => Service {
                supervisor: Err(why.into()),
                ..own
            },
        })
    }

    /// A sentence for each entry that is the first for none of these sessions: its globs match
    /// none, or an earlier entry comes first.
    pub fn unused<'a>(&self, sessions: impl IntoIterator<Item = &'a SessionName>) -> Vec<String> {
        // How many sessions each entry matches, and whether it is the first for one.
        let mut matching = vec![(0_usize, false); self.rules.len()];
        for session in sessions {
            let mut is_first = true;
            for (rule, (count, first)) in self.rules.iter().zip(&mut matching) {
                if rule.matches(session) {
                    *count += 1;
                    *first |= std::mem::take(&mut is_first);
                }
            }
        }
        let unused = matching.iter().enumerate().filter(|(_, (_, first))| !first);
        unused
            .map(|(at, (count, _))| match count {
                0 => format!("processes[{at}]: its `sessions` match no session"),
                _ => format!(
                    "processes[{at}]: an earlier entry comes first for each of the {count} sessions that it matches, so it stops and starts nothing; put it before that entry"
                ),
            })
            .collect()
    }

    /// Whether none may be stopped and started.
    pub fn is_empty(&self) -> bool {
        !self.rules.iter().any(|rule| rule.may_restart)
    }

    /// Whether any is observed.
    pub fn has_observed(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The services of these sessions, by name, with the sessions of each.
    pub fn names<'a>(
        &self,
        sessions: impl IntoIterator<Item = &'a SessionName>,
    ) -> BTreeMap<String, Vec<SessionName>> {
        let mut names: BTreeMap<String, Vec<SessionName>> = BTreeMap::new();
        for session in sessions {
            if let Some(service) = self.of(session) {
                names.entry(service.name).or_default().push(session.clone());
            }
        }
        names
    }
}

/// The service of one session.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name; two sessions with the same name share the process.
    pub name: String,
    /// How long the call that stops it may take.
    pub stop_timeout: Duration,
    /// How long to wait, after that call, for the proof that it is gone.
    pub gone_timeout: Duration,
    /// How long the call that starts it may take.
    pub start_timeout: Duration,
    /// How long after the start it may take to connect.
    pub connect_timeout: Duration,
    /// When it may be stopped although it is healthy.
    pub windows: Windows,
    /// How long it is left alone after a run.
    pub cooldown: Duration,
    /// Runs within 24 hours.
    pub daily_budget: u32,
    may_restart: bool,
    supervisor: Result<Arc<dyn Supervisor>, String>,
}

impl Service {
    fn new(rule: &ServiceRule, session: &SessionName) -> Self {
        let session = session.as_str();
        let filled = match (&rule.name, rule.spec.name()) {
            (Some(name), _) => name.fill(session),
            (None, Some(name)) => name.fill(session, str::to_owned),
            (None, None) => Ok(session.to_owned()),
        };
        let (name, supervisor) = match filled {
            Ok(name) => (name, rule.spec.fill(session)),
            Err(why) => (session.to_owned(), Err(why)),
        };
        let Timing {
            stop_timeout,
            gone_timeout,
            start_timeout,
            connect_timeout,
            cooldown,
            daily_budget,
            windows,
        } = rule.timing.clone();
        Self {
            name,
            stop_timeout,
            gone_timeout,
            start_timeout,
            connect_timeout,
            windows,
            cooldown,
            daily_budget,
            may_restart: rule.may_restart,
            supervisor,
        }
    }

    /// The same service, which can be neither stopped nor started: why.
    #[must_use]
    pub fn refused(self, why: &str) -> Self {
        Self {
            supervisor: Err(format!("not tried: {why}")),
            ..self
        }
    }

    /// Whether it can be stopped and started at all.
    ///
    /// Errors: why not; nothing was tried.
    pub fn check(&self) -> Result<(), CallError> {
        self.restartable().map(|_| ())
    }

    /// Whether it may be stopped and started, or only observed.
    pub fn may_restart(&self) -> bool {
        self.may_restart
    }

    /// `systemd`, `pm2`, `docker`, `command` or `pid_file`; `none` when the session's name
    /// cannot be filled in.
    pub fn kind(&self) -> &'static str {
        self.supervisor
            .as_ref()
            .map_or("none", |supervisor| supervisor.kind())
    }

    /// See [`Supervisor::shows_at_once`].
    pub fn shows_at_once(&self) -> bool {
        self.supervisor
            .as_ref()
            .is_ok_and(|supervisor| supervisor.shows_at_once())
    }

    /// See [`Supervisor::tells_pids`].
    pub fn tells_pids(&self) -> bool {
        self.supervisor
            .as_ref()
            .is_ok_and(|supervisor| supervisor.tells_pids())
    }

    /// Names the process; see [`Supervisor::id`].
    pub fn id(&self) -> Result<String, String> {
        let supervisor = self.supervisor.as_ref().map_err(Clone::clone)?;
        Ok(supervisor.id())
    }

    fn restartable(&self) -> Result<&Arc<dyn Supervisor>, CallError> {
        match &self.supervisor {
            Ok(supervisor) if self.may_restart => Ok(supervisor),
            Ok(_) => Err(CallError::NotCalled(
                "not tried: the process is only observed; its entry of `processes` needs `allow_restart: true`".into(),
            )),
            Err(why) => Err(CallError::NotCalled(why.clone())),
        }
    }

    /// What its supervisor says of it.
    pub async fn observe(&self, query: &Query) -> Observed {
        match &self.supervisor {
            Ok(supervisor) => supervisor.observe(query).await,
            Err(why) => Observation::Unknown(why.clone()).into(),
        }
    }

    /// Whether its process runs.
    pub async fn presence(&self) -> Presence {
        let observed = self.observe(&Query::default()).await;
        observed.observation.presence()
    }

    /// What certainly stands in the way of a stop and a start afterwards. `None` also where that is unknown,
    /// and where it may not be stopped.
    pub async fn check_restart(&self, query: &Query) -> Option<RestartObstacle> {
        let supervisor = self.restartable().ok()?;
        supervisor.check_restart(query).await.ok().flatten()
    }

    /// Asks it to stop; does not wait until it is gone. See [`Supervisor::stop`]. `held` is the
    /// standard input of the call, and open as long as a process of it is left.
    pub async fn stop(&self, held: Option<Arc<File>>) -> Result<(), CallError> {
        let supervisor = self.restartable()?;
        let call = call(self.stop_timeout, held);
        bounded(self.stop_timeout, supervisor.stop(call)).await
    }

    /// Starts it. Starting what runs is no error. `held` as for [`Service::stop`].
    pub async fn start(&self, held: Option<Arc<File>>) -> Result<(), CallError> {
        let supervisor = self.restartable()?;
        let call = call(self.start_timeout, held);
        bounded(self.start_timeout, supervisor.start(call)).await
    }
}

fn call(timeout: Duration, stdin: Option<Arc<File>>) -> CallOptions {
    CallOptions { timeout, stdin }
}

/// A query before the call has a time limit of its own. Dropped, the call is killed.
async fn bounded(
    timeout: Duration,
    call: impl Future<Output = Result<(), CallError>>,
) -> Result<(), CallError> {
    let timeout = timeout + QUERY_TIMEOUT;
    match tokio::time::timeout(timeout, call).await {
        Ok(called) => called,
        Err(_) => Err(CallError::Failed {
            call: "the call".into(),
            error: ExecError::Timeout(timeout),
            hint: "",
        }),
    }
}
