//! A child process with bounds: an argv without a shell, a time, an end of what is read,
//! and a process group of its own that ends with it. What it prints is never repeated: it
//! may hold anything.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// How long a killed child is waited for.
const REAPED_WITHIN: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    argv: &'a [String],
    timeout: Duration,
    max_bytes: u64,
    env: Vec<(OsString, OsString)>,
    only_this_env: bool,
    dir: Option<&'a Path>,
    sweep: bool,
    stdin: Option<File>,
}

/// How it ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// The beginning of what it printed.
    pub(crate) output: Vec<u8>,
}

/// It did not come to an end by itself. Completes "the command …".
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing to run.
    Empty,
    /// It cannot be started.
    NotStarted(std::io::Error),
    /// It was killed, with what it had started.
    Slow(Duration),
    /// Its end or its output cannot be read.
    Broke(std::io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Empty => f.write_str("is empty"),
            Failure::NotStarted(error) => write!(f, "cannot be started: {error}"),
            Failure::Slow(timeout) => write!(
                f,
                "took longer than {}",
                humantime::format_duration(*timeout)
            ),
            Failure::Broke(error) => write!(f, "failed: {error}"),
        }
    }
}

impl<'a> Call<'a> {
    /// `argv` for at most `timeout`; what it prints is thrown away.
    pub(crate) fn new(argv: &'a [String], timeout: Duration) -> Self {
        Self {
            argv,
            timeout,
            max_bytes: 0,
            env: Vec::new(),
            only_this_env: false,
            dir: None,
            sweep: false,
            stdin: None,
        }
    }

    /// Reads the first bytes of what it prints.
    pub(crate) fn read(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Adds to its environment.
    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// It gets only the environment that is given, and begins in the directory `dir`.
    pub(crate) fn bare(self, dir: &'a Path) -> Self {
        Self {
            only_this_env: true,
            dir: Some(dir),
            ..self
        }
    }

    /// What it leaves running in its group is killed also when it ends in time.
    pub(crate) fn sweep(self) -> Self {
        Self {
            sweep: true,
            ..self
        }
    }

    /// It reads from this; from nothing unless it is given.
    pub(crate) fn stdin(self, stdin: Option<File>) -> Self {
        Self { stdin, ..self }
    }

    /// Runs it to its end. When it takes too long, or when nobody waits any longer, it is
    /// killed with what it started.
    pub(crate) async fn run(self) -> Result<Ended, Failure> {
        let Some((program, args)) = self.argv.split_first() else {
            return Err(Failure::Empty);
        };
        let mut command = Command::new(program);
        if self.only_this_env {
            command.env_clear();
        }
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        let reads = self.max_bytes > 0;
        let mut child = command
            .args(args)
            .envs(self.env)
            .stdin(self.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(if reads { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::NotStarted)?;
        // What it reads from is now its own.
        drop(command);
        let mut group = Group(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        );
        let talk = async {
            let mut output = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                stdout.take(self.max_bytes).read_to_end(&mut output).await?;
            }
            let status = child.wait().await?;
            Ok((status, output))
        };
        match tokio::time::timeout(self.timeout, talk).await {
            Ok(Ok((status, output))) => {
                if !self.sweep {
                    group.0 = None;
                }
                Ok(Ended {
                    code: status.code(),
                    output,
                })
            }
            Ok(Err(error)) => Err(Failure::Broke(error)),
            Err(_) => {
                drop(group);
                let _ = tokio::time::timeout(REAPED_WITHIN, child.wait()).await;
                Err(Failure::Slow(self.timeout))
            }
        }
    }
}

/// A process group that is killed at the end.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
