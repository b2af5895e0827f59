//! How the service of a session (its bot, or one process that serves many) is stopped,
//! recognised as gone, and started. Knows no policy and no journal, and starts no shell.

mod command;
pub mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use globset::GlobSet;

use crate::connection::Template;
use crate::folder::SessionName;

use command::Command;
use window::Windows;

/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

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
#[derive(Clone, Debug)]
pub enum Preset {
    /// Argv arrays.
    Command {
        /// Stops it.
        stop: Vec<Template>,
        /// Starts it.
        start: Vec<Template>,
        /// Exit 0: gone, 1: running.
        gone: Vec<Template>,
    },
}

/// One entry of `service:`.
#[derive(Clone, Debug)]
pub struct ServiceRule {
    /// The sessions it holds for.
    pub sessions: GlobSet,
    /// The service's name.
    pub name: Template,
    /// How it is controlled.
    pub preset: Preset,
    /// Times and limits.
    pub timing: Timing,
}

/// The services, in the order of the configuration: the first that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Services(Vec<ServiceRule>);

impl Services {
    /// These rules.
    pub fn new(rules: Vec<ServiceRule>) -> Self {
        Self(rules)
    }

    /// The service of a session. One whose name or argv cannot be made from the session's
    /// name is there as well; it can neither be stopped nor started, see [`Service::check`].
    pub fn of(&self, session: &SessionName) -> Option<Service> {
        let rule = self.0.iter().find(|rule| rule.sessions.is_match(Path::new(session.as_str())))?;
        Some(Service::expand(rule, session))
    }

    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
    /// How long to wait, after the start, until the verdict is `connected`.
    pub connect_timeout: Duration,
    /// When it may be stopped although it is healthy.
    pub windows: Windows,
    /// How long it is left alone after a run.
    pub cooldown: Duration,
    /// Runs within 24 hours.
    pub daily_budget: u32,
    target: Result<Target, ControlError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Command(Command),
}

impl Service {
    fn expand(rule: &ServiceRule, session: &SessionName) -> Self {
        let fill = |template: &Template| {
            template.filled(session, str::to_owned).map_err(|why| ControlError(format!("not tried: {why}")))
        };
        let all = |argv: &[Template]| argv.iter().map(fill).collect::<Result<Vec<_>, _>>();
        let target = || {
            let Preset::Command { stop, start, gone } = &rule.preset;
            Ok(Target::Command(Command { stop: all(stop)?, start: all(start)?, gone: all(gone)? }))
        };
        let (name, target) = match fill(&rule.name) {
            Ok(name) => (name, target()),
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
            target,
        }
    }

    /// Whether it can be controlled at all.
    ///
    /// Errors: why it can neither be stopped nor started; nothing was tried.
    pub fn check(&self) -> Result<(), ControlError> {
        self.target.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Asks it to stop; does not wait until it is gone. Stopping what is stopped is no error.
    pub async fn stop(&self) -> Result<(), ControlError> {
        match self.target.as_ref().map_err(Clone::clone)? {
            Target::Command(command) => command.stop(self.stop_timeout).await,
        }
    }

    /// Whether its process runs.
    pub async fn presence(&self) -> Presence {
        match &self.target {
            Err(error) => Presence::Unknown(error.to_string()),
            Ok(Target::Command(command)) => command.presence(LOOK_TIMEOUT).await,
        }
    }

    /// Starts it. Starting what runs is no error.
    pub async fn start(&self) -> Result<(), ControlError> {
        match self.target.as_ref().map_err(Clone::clone)? {
            Target::Command(command) => command.start(self.start_timeout).await,
        }
    }
}
