//! Commands of the operator, as argv arrays.

use std::time::Duration;

use async_trait::async_trait;

use crate::bounded::within;
use crate::exec::{Exec, ProgramProblem};
use crate::{
    ArgTemplate, CallError, CallOptions, Observation, Observed, Placeholders, Presence, Query,
    RestartObstacle, Supervisor, Template,
};

/// For `systemctl --user` and the like.
const PASSED: [&str; 1] = ["XDG_RUNTIME_DIR"];
/// The query before and after a start takes no longer: one that hangs must not keep it back.
const ASKED_FOR: Duration = Duration::from_secs(10);

/// Programs whose exit status is not that of a `gone` command, and what takes their place. They
/// exit with 0 while the process runs, or whatever it does, and with 1 also where they were called
/// wrongly.
const NOT_A_GONE_COMMAND: [(&[&str], &str); 5] = [
    (
        &["pgrep", "pkill", "pidof", "killall", "kill", "ps"],
        "use the entry of what starts the process (systemd, pm2, docker), or pid_file",
    ),
    (
        &["systemctl", "service"],
        "use systemd: {unit: NAME}, or a script for a unit of `systemctl --user`",
    ),
    (&["pm2"], "use pm2: {name: NAME}"),
    (&["docker", "podman"], "use docker: {container: NAME}"),
    (&["supervisorctl"], "use a script that exits so"),
];

/// Why a program cannot be the `gone` command. Pure.
fn misread(program: &str) -> Option<String> {
    let base = program.rsplit('/').next().unwrap_or_default();
    let mut all = NOT_A_GONE_COMMAND.iter();
    let (_, instead) = all.find(|(programs, _)| programs.contains(&base))?;
    Some(format!(
        "{base} does not exit with 0 when the process is gone, 1 when it runs and another code otherwise; {instead}"
    ))
}

/// Argv arrays, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Commands {
    gone: Vec<ArgTemplate>,
    stop: Option<Vec<ArgTemplate>>,
    start: Option<Vec<ArgTemplate>>,
}

impl Commands {
    /// `gone` exits with 0 when the process is gone and with 1 when it runs. `stop` and
    /// `start` may be missing where the process is only observed.
    ///
    /// Errors: which one, and a sentence. `gone` may be no program of which it is known that its
    /// exit status means something else.
    pub fn new(
        gone: &[String],
        stop: Option<&[String]>,
        start: Option<&[String]>,
        placeholders: &Placeholders,
    ) -> Result<Self, (&'static str, String)> {
        let argv = |key, argv: &[String]| {
            ArgTemplate::argv(argv, placeholders).map_err(|error| (key, error))
        };
        if let Some(why) = gone.first().and_then(|program| misread(program)) {
            return Err(("gone", why));
        }
        Ok(Self {
            gone: argv("gone", gone)?,
            stop: stop.map(|stop| argv("stop", stop)).transpose()?,
            start: start.map(|start| argv("start", start)).transpose()?,
        })
    }

    pub(crate) fn can_restart(&self) -> bool {
        self.stop.is_some() && self.start.is_some()
    }

    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let acting = self.stop.iter().chain(&self.start).flatten();
        acting.chain(&self.gone).map(ArgTemplate::template)
    }

    pub(crate) fn fill(&self, subject: &str) -> Result<OneCommands, String> {
        let fill = |argv: &Vec<ArgTemplate>| {
            argv.iter()
                .map(|arg| arg.fill(subject))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(OneCommands {
            gone: fill(&self.gone)?,
            stop: self.stop.as_ref().map(fill).transpose()?,
            start: self.start.as_ref().map(fill).transpose()?,
        })
    }
}

/// The commands for one process.
#[derive(Debug)]
pub(crate) struct OneCommands {
    gone: Vec<String>,
    stop: Option<Vec<String>>,
    start: Option<Vec<String>>,
}

#[async_trait]
impl Supervisor for OneCommands {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn id(&self) -> String {
        format!("command {:?} {:?} {:?}", self.gone, self.stop, self.start)
    }

    /// The start command may return before the `gone` command sees the process.
    fn shows_at_once(&self) -> bool {
        false
    }

    fn tells_pids(&self) -> bool {
        false
    }

    async fn observe(&self, query: &Query) -> Observed {
        let exec = Exec::new(&self.gone, query.timeout).clean_env(&PASSED);
        let observation = match exec.kill_group().run().await.map(|ended| ended.code) {
            Ok(Some(0)) => Observation::gone("the gone command says that it is gone"),
            Ok(Some(1)) => Observation::Running {
                pids: Vec::new(),
                mark: None,
            },
            Ok(Some(4)) => {
                return Observed::absent("the gone command says that there is no such process (4)");
            }
            Ok(Some(code)) => Observation::Unknown(format!(
                "the gone command exited with {code}; 0 means gone, 1 means running"
            )),
            Ok(None) => Observation::Unknown("the gone command was ended by a signal".into()),
            Err(error) => Observation::Unknown(format!("the gone command {error}")),
        };
        observation.into()
    }

    async fn check_restart(&self, query: &Query) -> Result<Option<RestartObstacle>, String> {
        let Some(start) = self.start.clone() else {
            return Ok(None);
        };
        let work = move || {
            let problem = Exec::new(&start, Duration::ZERO).problem();
            Ok(problem.map(|problem| match problem {
                ProgramProblem::Missing => RestartObstacle::NoProgram,
                ProgramProblem::NotExecutable => RestartObstacle::NotExecutable,
            }))
        };
        within("looking for the start command", query.timeout, work).await
    }

    async fn stop(&self, call: CallOptions) -> Result<(), CallError> {
        // Where that is unknown, the stop is called.
        if let Ok(Some(obstacle)) = self.check_restart(&Query::default()).await {
            return Err(obstacle.into());
        }
        act(
            "stop",
            self.stop.as_deref(),
            &call,
            std::future::ready(false),
        )
        .await
    }

    /// What runs is not started: the command might start a second process beside it. A command
    /// that does not return and has started the process may be the process itself: it is left
    /// alone.
    async fn start(&self, call: CallOptions) -> Result<(), CallError> {
        if self.runs().await {
            return Ok(());
        }
        let mut is_left = false;
        let started = act("start", self.start.as_deref(), &call, async {
            is_left = self.runs().await;
            is_left
        });
        let started = started.await;
        match started {
            Err(_) if is_left => Ok(()),
            started => started,
        }
    }
}

impl OneCommands {
    /// Whether the `gone` command says that it runs.
    async fn runs(&self) -> bool {
        let query = Query {
            timeout: ASKED_FOR,
            ..Query::default()
        };
        self.observe(&query).await.observation.presence() == Presence::Running
    }
}

/// `is_left`: whether a command that takes too long is left alone.
async fn act(
    verb: &str,
    argv: Option<&[String]>,
    call: &CallOptions,
    is_left: impl Future<Output = bool> + Send,
) -> Result<(), CallError> {
    let Some(argv) = argv else {
        return Err(CallError::NotCalled(format!(
            "not tried: no {verb} command is configured"
        )));
    };
    let exec = Exec::new(argv, call.timeout).clean_env(&PASSED);
    let what = format!("the {verb} command");
    exec.act_unless(&what, call, is_left).await
}

#[cfg(test)]
mod tests;
