//! The preset `command`: whatever the operator writes, as argv arrays.

use std::time::Duration;

use super::{ControlError, Presence};

/// Expanded argv arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) stop: Vec<String>,
    pub(super) start: Vec<String>,
    /// Exit 0: gone. 1: running. Anything else: nobody knows.
    pub(super) gone: Vec<String>,
}

impl Command {
    pub(super) async fn stop(&self, timeout: Duration) -> Result<(), ControlError> {
        run(&self.stop, timeout).await
    }

    pub(super) async fn start(&self, timeout: Duration) -> Result<(), ControlError> {
        run(&self.start, timeout).await
    }

    pub(super) async fn presence(&self, timeout: Duration) -> Presence {
        match exit_code(&self.gone, timeout).await {
            Ok(Some(0)) => Presence::Gone,
            Ok(Some(1)) => Presence::Running,
            Ok(Some(code)) => Presence::Unknown(format!("the command `gone` exited with {code}")),
            Ok(None) => Presence::Unknown("the command `gone` was ended by a signal".into()),
            Err(error) => Presence::Unknown(error.to_string()),
        }
    }
}

async fn run(argv: &[String], timeout: Duration) -> Result<(), ControlError> {
    match exit_code(argv, timeout).await? {
        Some(0) => Ok(()),
        Some(code) => Err(ControlError(format!("the command exited with {code}"))),
        None => Err(ControlError("the command was ended by a signal".into())),
    }
}

async fn exit_code(argv: &[String], timeout: Duration) -> Result<Option<i32>, ControlError> {
    let [program, args @ ..] = argv else { return Err(ControlError("the command is empty".into())) };
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| ControlError(format!("the command cannot be started: {error}")))?;
    match tokio::time::timeout(timeout, child.wait()).await {
        Ok(Ok(status)) => Ok(status.code()),
        Ok(Err(error)) => Err(ControlError(format!("the command failed: {error}"))),
        Err(_) => Err(ControlError("the command took too long".into())),
    }
}
