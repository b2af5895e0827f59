//! How the service of a session (its bot, or one process that serves many) is stopped,
//! recognised as gone, and started. Knows no policy and no journal, and starts no shell.

mod calls;
mod command;
mod container;
mod pm2;
mod systemd;
mod turn;
pub mod window;
mod word;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use globset::GlobSet;

use crate::folder::SessionName;

use turn::{Turn, Turns};
use window::Windows;

pub use command::Command;
pub use container::Container;
pub use pm2::Pm2;
pub use systemd::Unit;
pub use word::Word;

/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// So long after a start it may take until it shows that the process runs.
pub const SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether a service's process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It runs, or its supervisor is about to start it.
    Running,
    /// It is proven gone, and nobody is about to start it.
    Gone,
    /// Nobody can tell, and why.
    Unknown(String),
}

/// Why a service could not be stopped or started: a sentence that holds nothing that a
/// program printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlError(pub String);

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ControlError {}

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

/// How a service is controlled, as configured.
#[derive(Clone, Debug, PartialEq)]
pub enum Preset {
    /// A unit of systemd.
    Systemd(Unit),
    /// Processes of pm2.
    Pm2(Pm2),
    /// A container of docker or podman.
    Container(Container),
    /// Argv arrays.
    Command(Command),
}

impl Preset {
    fn words(&self) -> Vec<&Word> {
        match self {
            Preset::Systemd(unit) => vec![unit.word()],
            Preset::Pm2(pm2) => vec![pm2.word()],
            Preset::Container(container) => vec![container.word()],
            Preset::Command(command) => command.words().collect(),
        }
    }

    fn expand(&self, session: &SessionName) -> Result<Target, ControlError> {
        Ok(match self {
            Preset::Systemd(unit) => Target::Systemd(unit.expand(session)?),
            Preset::Pm2(pm2) => Target::Pm2(pm2.expand(session)?),
            Preset::Container(container) => Target::Container(container.expand(session)?),
            Preset::Command(command) => Target::Command(command.expand(session)?),
        })
    }
}

/// One entry of `service:`.
#[derive(Clone, Debug)]
pub struct ServiceRule {
    sessions: GlobSet,
    name: Word,
    preset: Preset,
    timing: Timing,
}

impl ServiceRule {
    /// The sessions it holds for, the service's name (that of the unit, the process or the
    /// container unless it is given), how it is controlled, and its times and limits.
    ///
    /// Errors: there is no name, or one that sessions with different argv would share.
    pub fn new(
        sessions: GlobSet,
        name: Option<Word>,
        preset: Preset,
        timing: Timing,
    ) -> Result<Self, String> {
        let name = match (name, &preset) {
            (Some(name), _) => name,
            (None, Preset::Command(_)) => {
                return Err("is missing: commands have no name of their own; sessions with the same name share the process".into());
            }
            (None, preset) => preset
                .words()
                .first()
                .map(|word| (*word).clone())
                .ok_or("is missing")?,
        };
        // With {session} in it every session has a name of its own.
        let named: Vec<&str> = name.placeholders().collect();
        let is_shared =
            |placeholder: &str| !named.contains(&placeholder) && !named.contains(&"session");
        let words = preset.words();
        if let Some(missing) = words
            .iter()
            .flat_map(|word| word.placeholders())
            .find(|placeholder| is_shared(placeholder))
        {
            return Err(format!(
                "must hold {{{missing}}} as well: sessions with the same name share one process, which is stopped once for all of them"
            ));
        }
        Ok(Self {
            sessions,
            name,
            preset,
            timing,
        })
    }

    /// Whether two sessions, each of one of these, would have one name and two processes
    /// for certain or by a mere likeness of what the pattern takes from them. Names that
    /// hold the whole session are those of different sessions; see [`Services::among`] for
    /// names that only turn out the same.
    fn clashes_with(&self, other: &Self) -> bool {
        let by_session = self
            .name
            .placeholders()
            .any(|placeholder| placeholder == "session");
        self.name == other.name && !by_session && self.preset != other.preset
    }
}

/// The services, in the order of the configuration: the first that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Services {
    rules: Vec<ServiceRule>,
    turns: Option<Turns>,
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
                    "service[{before}] and service[{at}] have the same name and are not the same process: sessions with the same name share one process, which is stopped once for all of them; give one of the two another `name`"
                ));
            }
        }
        Ok(Self { rules, turns: None })
    }

    /// With the directory of the files by which a call that stops or starts a service knows
    /// of an earlier one, also of one that has outlived this program.
    #[must_use]
    pub fn with_turns_in(self, dir: &Path) -> Self {
        Self {
            turns: Some(Turns::new(dir)),
            ..self
        }
    }

    /// The service of a session. One whose name or argv cannot be made from the session's
    /// name is there as well; it can neither be stopped nor started, see [`Service::check`].
    pub fn of(&self, session: &SessionName) -> Option<Service> {
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.sessions.is_match(Path::new(session.as_str())))?;
        Some(Service {
            turns: self.turns.clone(),
            ..Service::expand(rule, session)
        })
    }

    /// The service of a session that is there among these. Where another one's service has
    /// the same name and is not the same process, nobody can tell whom a stop would hit: it
    /// can neither be stopped nor started then.
    pub fn among<'a>(
        &self,
        session: &SessionName,
        all: impl IntoIterator<Item = &'a SessionName>,
    ) -> Option<Service> {
        let own = self.of(session)?;
        let others = all.into_iter().filter_map(|other| self.of(other));
        match others.into_iter().any(|other| other.name == own.name && other.target != own.target) {
            false => Some(own),
            true => Some(Service {
                target: Err(ControlError(
                    "not tried: the service of another session has the same name and is not the same process; give one of the two another `name`".into(),
                )),
                ..own
            }),
        }
    }

    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
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

/// What came of a call of an earlier program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// It was still under way.
    pub was_seen: bool,
    /// The service runs.
    pub runs: bool,
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
    /// How long to wait, after the start, until the verdict is `connected`.
    pub connect_timeout: Duration,
    /// When it may be stopped although it is healthy.
    pub windows: Windows,
    /// How long it is left alone after a run.
    pub cooldown: Duration,
    /// Runs within 24 hours.
    pub daily_budget: u32,
    turns: Option<Turns>,
    target: Result<Target, ControlError>,
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Systemd(systemd::OneUnit),
    Pm2(pm2::OnePm2),
    Container(container::OneContainer),
    Command(command::Argvs),
}

impl Service {
    fn expand(rule: &ServiceRule, session: &SessionName) -> Self {
        let (name, target) = match rule.name.fill(session) {
            Ok(name) => (name, rule.preset.expand(session)),
            Err(error) => (session.as_str().to_owned(), Err(error)),
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
            turns: None,
            target,
        }
    }

    /// Whether it can be controlled at all.
    ///
    /// Errors: why it can neither be stopped nor started; nothing was tried.
    pub fn check(&self) -> Result<(), ControlError> {
        self.target.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// `systemd`, `pm2`, `docker` or `command`; `none` when it cannot be controlled.
    pub fn preset(&self) -> &'static str {
        match &self.target {
            Ok(Target::Systemd(_)) => "systemd",
            Ok(Target::Pm2(_)) => "pm2",
            Ok(Target::Container(_)) => "docker",
            Ok(Target::Command(_)) => "command",
            Err(_) => "none",
        }
    }

    fn target(&self) -> Result<&Target, ControlError> {
        self.target.as_ref().map_err(Clone::clone)
    }

    /// Asks it to stop; does not wait until it is gone. Stopping what is stopped is no error.
    pub async fn stop(&self) -> Result<(), ControlError> {
        let timeout = self.stop_timeout;
        // While an earlier start is under way nobody asks it to stop: that is settled first.
        let turn = match &self.turns {
            Some(turns) => turns.take_at_once(&self.name).await,
            None => Turn::default(),
        };
        match self.target()? {
            Target::Systemd(unit) => unit.stop(timeout, &turn).await,
            Target::Pm2(pm2) => pm2.stop(timeout, &turn).await,
            Target::Container(container) => container.stop(timeout, &turn).await,
            Target::Command(argvs) => argvs.stop(timeout, &turn).await,
        }
    }

    /// Whether its process runs.
    pub async fn presence(&self) -> Presence {
        match &self.target {
            Err(error) => Presence::Unknown(error.to_string()),
            Ok(Target::Systemd(unit)) => unit.presence().await,
            Ok(Target::Pm2(pm2)) => pm2.presence().await,
            Ok(Target::Container(container)) => container.presence().await,
            Ok(Target::Command(argvs)) => argvs.presence(LOOK_TIMEOUT).await,
        }
    }

    async fn turn(&self) -> Turn {
        match &self.turns {
            Some(turns) => turns.take(&self.name, self.earlier_call_takes()).await,
            None => Turn::default(),
        }
    }

    /// How long a call of an earlier program is waited for before a start.
    pub fn earlier_call_takes(&self) -> Duration {
        self.start_timeout.max(self.stop_timeout)
    }

    /// Waits for a call of an earlier program, and for what may have come of it.
    pub async fn outlasts_earlier_call(&self) -> Earlier {
        let was_seen = self.turn().await.has_waited;
        Earlier {
            was_seen,
            runs: self.shows_up().await,
        }
    }

    /// Whether it runs, as soon as that shows.
    async fn shows_up(&self) -> bool {
        let until = tokio::time::Instant::now() + SHOWS_WITHIN;
        let looks = async {
            while self.presence().await != Presence::Running {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout_at(until, looks).await.is_ok()
    }

    /// Starts it. A call of an earlier program that has not ended is waited for, while it may
    /// still take its time. Starting what runs is no error.
    pub async fn start(&self) -> Result<(), ControlError> {
        let timeout = self.start_timeout;
        let turn = self.turn().await;
        // That may have been a start.
        if turn.has_waited && self.shows_up().await {
            return Ok(());
        }
        match self.target()? {
            Target::Systemd(unit) => unit.start(timeout, &turn).await,
            Target::Pm2(pm2) => pm2.start(timeout, &turn).await,
            Target::Container(container) => container.start(timeout, &turn).await,
            Target::Command(argvs) => argvs.start(timeout, &turn).await,
        }
    }
}
