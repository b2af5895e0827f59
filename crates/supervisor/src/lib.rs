//! Observes, stops and starts a process under the program that keeps it running: systemd,
//! pm2, docker or podman, or commands of an operator. A pid file can only be observed.
//!
//! [`Spec`] is what an operator writes, with placeholders. [`Spec::fill`] makes a
//! [`Supervisor`] of it, the only trait that a caller needs. No shell is started anywhere,
//! every call has a timeout, and what a program prints is never repeated in an error.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::disallowed_methods,
        reason = "a test fails by panicking"
    )
)]

pub mod bounded;
mod commands;
mod container;
pub mod exec;
mod obstacle;
mod pid_file;
mod pm2;
pub mod proc;
mod systemd;
mod template;

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

pub use commands::Commands;
pub use container::{Container, Runtime};
pub use exec::ExecError;
pub use obstacle::RestartObstacle;
pub use pid_file::PidFile;
pub use pm2::Pm2;
pub use systemd::SystemdUnit;
pub use template::{ArgTemplate, Placeholders, Template, TemplateError, TemplatePart};

/// How long one query may take, unless the caller says otherwise.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The parameters of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// A query that takes longer has no answer.
    pub timeout: Duration,
    /// An answer that is shared by many processes may be this old. Zero: it must have been
    /// asked for after this query began.
    pub max_age: Duration,
    /// The mark of the process when it was last seen running; see [`Observation::Running`].
    pub last_mark: Option<String>,
    /// Whether an operator says that this source names the right process.
    pub is_trusted: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            timeout: QUERY_TIMEOUT,
            max_age: Duration::ZERO,
            last_mark: None,
            is_trusted: false,
        }
    }
}

/// What a supervisor says of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It runs.
    Running {
        /// Its process ids, as far as they are known.
        pids: Vec<u32>,
        /// Identifies this very process: another one of the same pid has another mark.
        /// `None` if that is unknown.
        mark: Option<String>,
    },
    /// Something runs or is about to run, but the process is not settled: it is starting,
    /// stopping, between two restarts, or has left child processes. Why, as a sentence.
    Changing(String),
    /// It is proven gone, and its supervisor is not about to start it.
    Gone {
        /// How that is known, as a sentence.
        how: String,
        /// It had ended by this time. `None` where the supervisor does not tell.
        ended_by: Option<SystemTime>,
        /// When it last started, where `ended_by` may be that of another process.
        last_start: Option<SystemTime>,
        /// Its supervisor was asked to stop it, and would have started it again if it had ended by
        /// itself. `false` where the supervisor does not tell.
        on_request: bool,
    },
    /// The supervisor cannot tell. Why, as a sentence.
    Unknown(String),
}

impl Observation {
    /// Gone, at a time that is not known.
    pub fn gone(how: impl Into<String>) -> Self {
        Observation::Gone {
            how: how.into(),
            ended_by: None,
            last_start: None,
            on_request: false,
        }
    }

    /// The same, for a caller that wants to know only whether anything runs.
    pub fn presence(&self) -> Presence {
        match self {
            Observation::Running { .. } | Observation::Changing(_) => Presence::Running,
            Observation::Gone { .. } => Presence::Gone,
            Observation::Unknown(why) => Presence::Unknown(why.clone()),
        }
    }
}

/// The answer of a supervisor to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What it says of its process.
    pub observation: Observation,
    /// How often it has restarted the process, by its own count, which may begin again at zero.
    /// systemd, docker and podman do not count restarts that a person asks for; pm2 counts most
    /// of them. `None` where the supervisor does not tell.
    pub restarts: Option<u64>,
    /// What an [`Observation::Unknown`] still shows. `None` if the supervisor could not be asked, or
    /// its answer was not understood: the process may run.
    pub absence: Option<Absence>,
}

/// What shows that a supervisor runs no process, although it does not tell how one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The supervisor itself does not run, or it has answered that it runs none now.
    RunsNone,
    /// It has answered, and has no such process.
    HasNone,
}

impl From<Observation> for Observed {
    /// Of a supervisor that does not count.
    fn from(observation: Observation) -> Self {
        Self {
            observation,
            restarts: None,
            absence: None,
        }
    }
}

impl Observed {
    /// Its supervisor has no such process: why, as a sentence.
    pub fn absent(why: impl Into<String>) -> Self {
        Self::without(Some(Absence::HasNone), why)
    }

    /// Unknown: why, as a sentence, and what is known nevertheless.
    pub(crate) fn without(absence: Option<Absence>, why: impl Into<String>) -> Self {
        Self {
            absence,
            ..Observation::Unknown(why.into()).into()
        }
    }

    /// Whether its supervisor has answered that it has no such process. `false` if it runs, or if
    /// the answer does not say.
    pub fn is_absent(&self) -> bool {
        self.absence == Some(Absence::HasNone)
    }
}

/// Whether a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It runs, or its supervisor is about to start it.
    Running,
    /// It is proven gone, and its supervisor is not about to start it.
    Gone,
    /// Unknown, and why.
    Unknown(String),
}

/// How a call that stops or starts is made.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// A call that takes longer is killed.
    pub timeout: Duration,
    /// What the called program gets as its standard input; nothing unless given.
    pub stdin: Option<Arc<File>>,
}

impl CallOptions {
    /// A call without standard input.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            stdin: None,
        }
    }
}

/// Why a process was not stopped or started. Holds nothing that a program printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The stop was not called: it had stopped already.
    AlreadyStopped,
    /// The stop was not called: this stands in the way.
    Refused(RestartObstacle),
    /// The stop or start was not called. Why, as a sentence.
    NotCalled(String),
    /// It was called and did not exit with 0.
    Failed {
        /// What was called, such as `systemctl stop`.
        call: String,
        /// How it ended.
        error: ExecError,
        /// What the operator may do, after a semicolon; or nothing.
        hint: &'static str,
    },
}

impl From<RestartObstacle> for CallError {
    fn from(obstacle: RestartObstacle) -> Self {
        CallError::Refused(obstacle)
    }
}

impl CallError {
    /// Whether the call may have had an effect, now or later.
    pub fn may_have_acted(&self) -> bool {
        match self {
            CallError::AlreadyStopped | CallError::Refused(_) | CallError::NotCalled(_) => false,
            CallError::Failed { error, .. } => error.has_begun(),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::AlreadyStopped => f.write_str("not called: it had stopped already"),
            CallError::Refused(obstacle) => write!(
                f,
                "not tried: {obstacle}, so {}; to fix: {}",
                obstacle.consequence(),
                obstacle.fix()
            ),
            CallError::NotCalled(why) => f.write_str(why),
            CallError::Failed { call, error, hint } => write!(f, "{call} {error}{hint}"),
        }
    }
}

impl std::error::Error for CallError {}

/// One process under its supervisor.
#[async_trait]
pub trait Supervisor: fmt::Debug + Send + Sync {
    /// `systemd`, `pm2`, `docker`, `command` or `pid_file`.
    fn kind(&self) -> &'static str;

    /// Names the process. Two supervisors with the same id watch the same process.
    fn id(&self) -> String;

    /// Whether the process shows at once when [`start`](Self::start) has returned. Where it does
    /// not, its absence does not mean that the start failed.
    fn shows_at_once(&self) -> bool {
        true
    }

    /// Whether it tells the ids of the processes that run.
    fn tells_pids(&self) -> bool {
        true
    }

    /// Whether the process runs, and how often it was restarted. Changes nothing, and never fails:
    /// what goes wrong is [`Observation::Unknown`].
    async fn observe(&self, query: &Query) -> Observed;

    /// What certainly stands in the way of a stop and a start afterwards. Changes nothing.
    /// [`stop`](Self::stop) refuses for the same.
    ///
    /// Errors: it is unknown. Why, as a sentence.
    async fn check_restart(&self, query: &Query) -> Result<Option<RestartObstacle>, String>;

    /// Asks it to stop. Does not wait until it is gone: observe it.
    ///
    /// Errors: [`CallError::AlreadyStopped`] if the supervisor shows that it has stopped.
    async fn stop(&self, call: CallOptions) -> Result<(), CallError>;

    /// Starts it. Starting what runs is no error and starts no second process.
    async fn start(&self, call: CallOptions) -> Result<(), CallError>;
}

/// A process as an operator names it, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// A unit of systemd.
    Systemd(SystemdUnit),
    /// The processes that pm2 runs under a name.
    Pm2(Pm2),
    /// A container of docker or podman.
    Container(Container),
    /// Commands of the operator.
    Commands(Commands),
    /// A file with the process id; observed only.
    PidFile(PidFile),
}

impl Spec {
    /// The process of one subject.
    ///
    /// Errors: the subject's name cannot be filled in; why, as a sentence.
    pub fn fill(&self, subject: &str) -> Result<Arc<dyn Supervisor>, String> {
        Ok(match self {
            Spec::Systemd(unit) => Arc::new(unit.fill(subject)?),
            Spec::Pm2(pm2) => Arc::new(pm2.fill(subject)?),
            Spec::Container(container) => Arc::new(container.fill(subject)?),
            Spec::Commands(commands) => Arc::new(commands.fill(subject)?),
            Spec::PidFile(file) => Arc::new(file.fill(subject)?),
        })
    }

    /// The template that names the process; commands have none.
    pub fn name(&self) -> Option<&Template> {
        match self {
            Spec::Systemd(unit) => Some(unit.template()),
            Spec::Pm2(pm2) => Some(pm2.template()),
            Spec::Container(container) => Some(container.template()),
            Spec::Commands(_) => None,
            Spec::PidFile(file) => Some(file.template()),
        }
    }

    /// All that is filled in.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Spec::Commands(commands) => commands.templates().collect(),
            spec => spec.name().into_iter().collect(),
        }
    }

    /// Whether it has what it needs to stop and to start.
    pub fn can_restart(&self) -> bool {
        match self {
            Spec::PidFile(_) => false,
            Spec::Commands(commands) => commands.can_restart(),
            Spec::Systemd(_) | Spec::Pm2(_) | Spec::Container(_) => true,
        }
    }
}
