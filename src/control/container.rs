//! The preset `docker`: a container of docker or podman. It is found by its exact name and
//! then called by its full id, because a name may also be the beginning of another one's id.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::connection::Runtime;
use crate::folder::SessionName;

use super::calls::{act, bare, look, words};
use super::turn::Turn;
use super::word::Word;
use super::{ControlError, LOOK_TIMEOUT, Presence};

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
const FORMAT: &str = r#"{"id":{{json .Id}},"name":{{json .Name}},"state":{{json .State}},"auto_remove":{{json .HostConfig.AutoRemove}},"labels":{{json .Config.Labels}}}"#;
/// A task of a swarm: stopped, it is replaced by another one.
const SWARM_LABEL: &str = "com.docker.swarm.task.id";

/// A container, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    name: Word,
    runtime: Runtime,
}

impl Container {
    /// From the container's name.
    pub fn new(name: &str, runtime: Runtime, pattern: Option<&Regex>) -> Result<Self, String> {
        Ok(Self {
            name: Word::name(name, pattern)?,
            runtime,
        })
    }

    pub(super) fn word(&self) -> &Word {
        &self.name
    }

    pub(super) fn expand(&self, session: &SessionName) -> Result<OneContainer, ControlError> {
        let program = match self.runtime {
            Runtime::Docker => "docker",
            Runtime::Podman => "podman",
        };
        Ok(OneContainer {
            name: self.name.fill(session)?,
            program,
        })
    }
}

/// The container of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OneContainer {
    name: String,
    program: &'static str,
}

impl OneContainer {
    pub(super) async fn stop(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        let found = self.inspect().await?;
        if found.auto_remove != Some(false) {
            return Err(ControlError(
                "not tried: the container is removed when it stops (--rm), and could not be started again"
                    .into(),
            ));
        }
        if found.labels.unwrap_or_default().contains_key(SWARM_LABEL) {
            return Err(ControlError(
                "not tried: the container is a task of a swarm, which would replace it; use the preset command".into(),
            ));
        }
        let argv = words(&[self.program, "stop", &found.id]);
        act(
            &format!("{} stop", self.program),
            bare(&argv, timeout, &PASSED),
            turn,
        )
        .await
    }

    pub(super) async fn start(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        let found = self.inspect().await?;
        if found.state.presence() == Presence::Running {
            return Ok(());
        }
        let argv = words(&[self.program, "start", &found.id]);
        act(
            &format!("{} start", self.program),
            bare(&argv, timeout, &PASSED),
            turn,
        )
        .await
    }

    pub(super) async fn presence(&self) -> Presence {
        match self.inspect().await {
            Ok(found) => found.state.presence(),
            Err(error) => Presence::Unknown(error.to_string()),
        }
    }

    async fn inspect(&self) -> Result<Found, ControlError> {
        let argv = words(&[
            self.program,
            "inspect",
            "--type",
            "container",
            "--format",
            FORMAT,
            "--",
            &self.name,
        ]);
        let call = bare(&argv, LOOK_TIMEOUT, &PASSED);
        let answer = look(&format!("{} inspect", self.program), call, MAX_STATE_BYTES).await?;
        parse(&answer, &self.name)
    }
}

#[derive(Debug, Deserialize)]
struct Found {
    id: String,
    name: String,
    state: State,
    auto_remove: Option<bool>,
    labels: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    running: bool,
    #[serde(default)]
    restarting: bool,
    pid: u32,
}

fn parse(answer: &[u8], name: &str) -> Result<Found, ControlError> {
    let found: Found = serde_json::from_slice(answer).map_err(|_| {
        ControlError("what inspect says of the container cannot be understood".into())
    })?;
    // Docker writes /NAME.
    if found.name.strip_prefix('/').unwrap_or(&found.name) != name {
        return Err(ControlError("no container has this name".into()));
    }
    let is_id = found.id.len() >= 12 && found.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_id {
        true => Ok(found),
        false => Err(ControlError(
            "what inspect says of the container cannot be understood".into(),
        )),
    }
}

impl State {
    fn presence(&self) -> Presence {
        match (
            self.running || self.restarting || self.pid > 0,
            self.status.as_str(),
        ) {
            // A restart policy waits before it starts it again.
            (true, _) | (_, "restarting" | "running" | "paused" | "stopping") => Presence::Running,
            (false, "exited" | "created" | "dead" | "stopped") => Presence::Gone,
            _ => Presence::Unknown("the container neither runs nor has ended".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &str, running: bool, restarting: bool, pid: u32) -> &'static str {
        match (State {
            status: status.into(),
            running,
            restarting,
            pid,
        })
        .presence()
        {
            Presence::Running => "running",
            Presence::Gone => "gone",
            Presence::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn only_what_is_proven_is_gone() {
        for (status, running, restarting, pid, is) in [
            ("running", true, false, 7, "running"),
            ("paused", true, false, 7, "running"),
            ("exited", false, false, 0, "gone"),
            ("created", false, false, 0, "gone"),
            ("stopped", false, false, 0, "gone"),
            ("restarting", true, true, 0, "running"),
            ("exited", false, true, 0, "running"),
            ("restarting", false, false, 0, "running"),
            ("exited", false, false, 7, "running"),
            ("stopping", false, false, 0, "running"),
            ("removing", false, false, 0, "unknown"),
            ("", false, false, 0, "unknown"),
        ] {
            assert_eq!(
                state(status, running, restarting, pid),
                is,
                "{status} {running} {restarting} {pid}"
            );
        }
    }

    #[test]
    fn only_the_container_of_this_name() {
        let answer = |id: &str, name: &str| {
            format!(
                r#"{{"id":"{id}","name":"{name}","state":{{"Status":"exited","Running":false,"Pid":0}},"auto_remove":false,"labels":null}}"#
            )
        };
        let id = "0123456789abcdef";
        assert!(parse(answer(id, "/bot").as_bytes(), "bot").is_ok());
        assert!(parse(answer(id, "bot").as_bytes(), "bot").is_ok());
        for (answer, says) in [
            (answer(id, "/other"), "no container has this name"),
            (answer("--all", "/bot"), "cannot be understood"),
            (answer("", "/bot"), "cannot be understood"),
            ("[]".into(), "cannot be understood"),
            (String::new(), "cannot be understood"),
        ] {
            assert!(
                parse(answer.as_bytes(), "bot")
                    .unwrap_err()
                    .0
                    .contains(says),
                "{answer}"
            );
        }
    }
}
