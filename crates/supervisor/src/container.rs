//! A container of docker or podman. It is found by its exact name and then called by its full
//! id, because a name may also be the beginning of another one's id.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::exec::{Exec, argv};
use crate::proc::{wall_clock, with_mark};
use crate::{
    Absence, ArgTemplate, CallError, CallOptions, Observation, Observed, Placeholders, Presence,
    QUERY_TIMEOUT, Query, RestartObstacle, Supervisor, Template,
};

/// What `inspect` prints is read up to here.
const MAX_STATE_BYTES: u64 = 256 << 10;
/// Where the runtime listens.
const PASSED: [&str; 8] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "CONTAINER_HOST",
    "CONTAINERS_CONF",
    "XDG_RUNTIME_DIR",
];
const FORMAT: &str = r#"{"id":{{json .Id}},"name":{{json .Name}},"state":{{json .State}},"auto_remove":{{json .HostConfig.AutoRemove}},"labels":{{json .Config.Labels}},"restart":{{json .HostConfig.RestartPolicy}},"restarts":{{json .RestartCount}}}"#;
/// A task of a swarm: stopped, it is replaced by another one.
const SWARM_LABEL: &str = "com.docker.swarm.task.id";
/// What it prints on standard error is read up to here.
const MAX_ERROR_BYTES: u64 = 4 << 10;
/// The names of all containers are read up to here.
const MAX_LIST_BYTES: u64 = 4 << 20;
const NOT_UNDERSTOOD: &str = "the answer of inspect cannot be understood";

/// A program that runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Docker.
    #[default]
    Docker,
    /// Podman.
    Podman,
}

/// A container, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    name: ArgTemplate,
    runtime: Runtime,
}

impl Container {
    /// From the container's whole name.
    ///
    /// Errors: not a name.
    pub fn new(name: &str, runtime: Runtime, placeholders: &Placeholders) -> Result<Self, String> {
        Ok(Self {
            name: ArgTemplate::name(name, placeholders)?,
            runtime,
        })
    }

    pub(crate) fn template(&self) -> &Template {
        self.name.template()
    }

    pub(crate) fn fill(&self, subject: &str) -> Result<OneContainer, String> {
        let program = match self.runtime {
            Runtime::Docker => "docker",
            Runtime::Podman => "podman",
        };
        Ok(OneContainer {
            name: self.name.fill(subject)?,
            program,
        })
    }
}

/// One container.
#[derive(Debug)]
pub(crate) struct OneContainer {
    name: String,
    program: &'static str,
}

#[async_trait]
impl Supervisor for OneContainer {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn id(&self) -> String {
        format!("{} {}", self.program, self.name)
    }

    async fn observe(&self, query: &Query) -> Observed {
        match self.inspect(query.timeout).await {
            Ok(found) => {
                let mut observed = found.state.judge();
                if let Observation::Gone { on_request, .. } = &mut observed {
                    *on_request = found.was_asked_to_stop(wall_clock(0));
                }
                Observed {
                    observation: with_mark(observed, query.timeout).await,
                    restarts: found.restarts(),
                    absence: None,
                }
            }
            Err(why) => Observed::without(self.absence(query.timeout).await, why),
        }
    }

    async fn check_restart(&self, query: &Query) -> Result<Option<RestartObstacle>, String> {
        Ok(self.inspect(query.timeout).await?.obstacle())
    }

    async fn stop(&self, call: CallOptions) -> Result<(), CallError> {
        let found = self.inspect(QUERY_TIMEOUT).await;
        let found = found.map_err(CallError::NotCalled)?;
        if let Some(obstacle) = found.obstacle() {
            return Err(obstacle.into());
        }
        match found.state.judge().presence() {
            Presence::Gone => Err(CallError::AlreadyStopped),
            Presence::Running | Presence::Unknown(_) => self.act("stop", &found.id, &call).await,
        }
    }

    async fn start(&self, call: CallOptions) -> Result<(), CallError> {
        let found = self.inspect(QUERY_TIMEOUT).await;
        let found = found.map_err(CallError::NotCalled)?;
        match found.state.judge().presence() {
            Presence::Running => Ok(()),
            Presence::Gone | Presence::Unknown(_) => self.act("start", &found.id, &call).await,
        }
    }
}

impl OneContainer {
    async fn act(&self, verb: &str, id: &str, call: &CallOptions) -> Result<(), CallError> {
        let argv = argv(&[self.program, verb, id]);
        let exec = Exec::new(&argv, call.timeout).clean_env(&PASSED);
        exec.act(&format!("{} {verb}", self.program), call).await
    }

    /// Whether the runtime answers, and none of its containers has this name, or its daemon does
    /// not run: `inspect` ends alike where the runtime does not answer.
    async fn absence(&self, timeout: Duration) -> Option<Absence> {
        let argv = argv(&[self.program, "ps", "--all", "--format", "{{.Names}}"]);
        let exec = Exec::new(&argv, timeout).clean_env(&PASSED);
        let exec = exec.read(MAX_LIST_BYTES).read_error(MAX_ERROR_BYTES);
        let ended = exec.kill_group().run().await.ok()?;
        match ended.code? {
            0 => (!is_listed(&ended.output, &self.name)).then_some(Absence::HasNone),
            _ => says_no_daemon(&ended.error).then_some(Absence::RunsNone),
        }
    }

    async fn inspect(&self, timeout: Duration) -> Result<InspectedContainer, String> {
        let argv = argv(&[
            self.program,
            "inspect",
            "--type",
            "container",
            "--format",
            FORMAT,
            "--",
            &self.name,
        ]);
        let exec = Exec::new(&argv, timeout).clean_env(&PASSED);
        let what = format!("{} inspect", self.program);
        let answer = exec.query(&what, MAX_STATE_BYTES).await?;
        parse(&answer, &self.name)
    }
}

#[derive(Debug, Deserialize)]
struct InspectedContainer {
    id: String,
    name: String,
    state: ContainerState,
    auto_remove: Option<bool>,
    labels: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    restart: Option<RestartPolicy>,
    /// Restarts by the policy.
    #[serde(default)]
    restarts: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

impl InspectedContainer {
    fn obstacle(&self) -> Option<RestartObstacle> {
        let mut labels = self.labels.iter();
        if labels.any(|labels| labels.contains_key(SWARM_LABEL)) {
            return Some(RestartObstacle::SwarmTask);
        }
        (self.auto_remove != Some(false)).then_some(RestartObstacle::AutoRemove)
    }

    fn restarts(&self) -> Option<u64> {
        self.restarts.as_u64()
    }

    /// The runtime starts it again after any end but a stop. One that ended before the boot, or
    /// whose start failed, may be down without that.
    fn was_asked_to_stop(&self, booted_at: Option<SystemTime>) -> bool {
        let policy = self.restart.as_ref().map(|policy| policy.name.as_str());
        let finished = self.state.finished();
        matches!(policy, Some("always" | "unless-stopped"))
            && matches!(self.state.status.as_str(), "exited" | "stopped")
            && self.state.error.is_empty()
            && booted_at.is_some_and(|boot| finished.is_some_and(|end| end > boot))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerState {
    status: String,
    running: bool,
    #[serde(default)]
    restarting: bool,
    pid: u32,
    #[serde(default)]
    finished_at: Option<String>,
    /// Why its last start failed.
    #[serde(default)]
    error: String,
}

/// Whether `docker` says that nothing listens at the socket of its daemon on this machine. Where
/// this user may not connect to a daemon that runs, it says something else.
fn says_no_daemon(error: &[u8]) -> bool {
    let error = String::from_utf8_lossy(error);
    let says = |words: &str| error.contains(words);
    // Newer versions say the second.
    says("Cannot connect to the Docker daemon at unix://")
        || says("failed to connect to the docker API at unix://")
            && (says("connect: no such file") || says("connect: connection refused"))
}

/// Whether one of the containers has this name. A container may have several, with commas.
fn is_listed(names: &[u8], name: &str) -> bool {
    let mut names = names.split(|byte| matches!(byte, b'\n' | b','));
    names.any(|one| one.trim_ascii() == name.as_bytes())
}

fn parse(answer: &[u8], name: &str) -> Result<InspectedContainer, String> {
    let found: InspectedContainer =
        serde_json::from_slice(answer).map_err(|_| NOT_UNDERSTOOD.to_owned())?;
    // Docker writes /NAME.
    if found.name.strip_prefix('/').unwrap_or(&found.name) != name {
        return Err("no container has this name".into());
    }
    let is_id = found.id.len() >= 12 && found.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_id {
        true => Ok(found),
        false => Err(NOT_UNDERSTOOD.into()),
    }
}

impl ContainerState {
    /// docker tells it in UTC, podman in the zone of the machine. One that has never run ended in
    /// the year 1.
    fn finished(&self) -> Option<SystemTime> {
        let at: jiff::Timestamp = self.finished_at.as_deref()?.parse().ok()?;
        // A negative number of seconds is no `Duration`.
        let since_epoch = Duration::try_from(at.as_duration()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(since_epoch)
    }

    fn judge(&self) -> Observation {
        let status = self.status.as_str();
        if self.running && self.pid > 0 && matches!(status, "running" | "paused") {
            return Observation::Running {
                pids: vec![self.pid],
                mark: None,
            };
        }
        match (self.running || self.restarting || self.pid > 0, status) {
            // A restart policy waits before it starts it again.
            (true, _) | (_, "restarting" | "running" | "paused" | "stopping") => {
                Observation::Changing("the container neither runs for good nor has ended".into())
            }
            (false, "exited" | "created" | "dead" | "stopped") => Observation::Gone {
                how: format!("the container is {status}"),
                ended_by: self.finished(),
                last_start: None,
                on_request: false,
            },
            _ => Observation::Unknown("the container neither runs nor has ended".into()),
        }
    }
}

#[cfg(test)]
mod tests;
