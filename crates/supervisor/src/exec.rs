//! Runs a program with bounds: an argv without a shell, a timeout, a limit on what is read,
//! and a process group of its own. No error repeats what it prints: that may hold anything.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};

use crate::{CallError, CallOptions};

/// What it said on standard error is waited for this long, where something it left running
/// still holds that.
const ERROR_WITHIN: Duration = Duration::from_millis(200);
/// How long a killed child is waited for.
const REAPED_WITHIN: Duration = Duration::from_secs(5);
/// The working directory of a program with a clean environment.
const DIR: &str = "/";
/// Where programs are searched for when this program has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run.
#[derive(Debug)]
pub struct Exec<'a> {
    argv: &'a [String],
    timeout: Duration,
    max_bytes: u64,
    max_error_bytes: u64,
    env: Vec<(OsString, OsString)>,
    is_clean: bool,
    keeps_dir: bool,
    kills_group: bool,
    stdin: Option<Arc<File>>,
    user: Option<(u32, u32)>,
}

/// How a program ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The beginning of what it printed.
    pub output: Vec<u8>,
    /// The beginning of what it printed on standard error.
    pub error: Vec<u8>,
}

/// A program that was not run, or not to a good end. Completes "the command …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecError {
    /// There is nothing to run.
    Empty,
    /// It could not be started.
    Spawn(String),
    /// It was killed after this long.
    Timeout(Duration),
    /// Its end or its output could not be read.
    Io(String),
    /// It exited with another code than 0.
    Exit(i32),
    /// A signal ended it.
    Signal,
}

impl ExecError {
    /// Whether the program has run at all.
    pub fn has_begun(&self) -> bool {
        !matches!(self, ExecError::Empty | ExecError::Spawn(_))
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecError::Empty => f.write_str("is empty"),
            ExecError::Spawn(error) => write!(f, "cannot be started: {error}"),
            ExecError::Timeout(timeout) => write!(
                f,
                "took longer than {}",
                humantime::format_duration(*timeout)
            ),
            ExecError::Io(error) => write!(f, "failed: {error}"),
            ExecError::Exit(code) => write!(f, "exited with {code}"),
            ExecError::Signal => f.write_str("was ended by a signal"),
        }
    }
}

impl std::error::Error for ExecError {}

impl<'a> Exec<'a> {
    /// Runs `argv` for at most `timeout`; what it prints is thrown away.
    pub fn new(argv: &'a [String], timeout: Duration) -> Self {
        Self {
            argv,
            timeout,
            max_bytes: 0,
            max_error_bytes: 0,
            env: Vec::new(),
            is_clean: false,
            keeps_dir: false,
            kills_group: false,
            stdin: None,
            user: None,
        }
    }

    /// Reads the first bytes of what it prints.
    #[must_use]
    pub fn read(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Reads the first bytes of what it prints on standard error.
    #[must_use]
    pub fn read_error(self, max_error_bytes: u64) -> Self {
        Self {
            max_error_bytes,
            ..self
        }
    }

    /// Adds to its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives it nothing but PATH, HOME, a plain locale, and those of `passed` that this
    /// program has. It begins in `/`.
    #[must_use]
    pub fn clean_env(mut self, passed: &[&str]) -> Self {
        self.is_clean = true;
        self = self
            .env("PATH", path())
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C.UTF-8");
        for key in ["HOME"].iter().chain(passed) {
            if let Some(value) = std::env::var_os(key).filter(|value| !value.is_empty()) {
                self = self.env(key, value);
            }
        }
        self
    }

    /// With a clean environment it begins in this program's directory all the same.
    #[must_use]
    pub fn keep_dir(self) -> Self {
        Self {
            keeps_dir: true,
            ..self
        }
    }

    /// Kills what it leaves running in its process group, also when it ends in time.
    #[must_use]
    pub fn kill_group(self) -> Self {
        Self {
            kills_group: true,
            ..self
        }
    }

    /// Sets its standard input; without it there is nothing to read.
    #[must_use]
    pub fn stdin(self, stdin: Option<Arc<File>>) -> Self {
        Self { stdin, ..self }
    }

    /// Runs it as this user and group, without further groups. Only root can.
    #[must_use]
    pub fn user(self, user: Option<(u32, u32)>) -> Self {
        Self { user, ..self }
    }

    /// Runs it to its end. When it takes too long, or when this future is dropped, it is
    /// killed with its process group.
    ///
    /// Errors: never [`ExecError::Exit`] or [`ExecError::Signal`]; see `Exec::query`.
    pub async fn run(self) -> Result<Ended, ExecError> {
        self.run_unless(std::future::ready(false)).await
    }

    /// The same, but a query comes first where a call takes too long: where `is_left` says so, it is
    /// left running with its process group, and the error is the timeout all the same.
    async fn run_unless(
        self,
        is_left: impl Future<Output = bool> + Send,
    ) -> Result<Ended, ExecError> {
        let Some((program, args)) = self.argv.split_first() else {
            return Err(ExecError::Empty);
        };
        let stdin = match &self.stdin {
            Some(file) => Stdio::from(
                file.try_clone()
                    .map_err(|error| ExecError::Spawn(error.to_string()))?,
            ),
            None => Stdio::null(),
        };
        let mut command = Command::new(program);
        if self.is_clean {
            command.env_clear();
        }
        if self.is_clean && !self.keeps_dir {
            command.current_dir(Path::new(DIR));
        }
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let piped = |max_bytes| match max_bytes {
            0 => Stdio::null(),
            _ => Stdio::piped(),
        };
        let mut child = command
            .args(args)
            .envs(self.env)
            .stdin(stdin)
            .stdout(piped(self.max_bytes))
            .stderr(piped(self.max_error_bytes))
            .process_group(0)
            .spawn()
            .map_err(|error| ExecError::Spawn(error.to_string()))?;
        // Only the child holds its standard input now.
        drop(command);
        let mut group = Group(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        );
        let (mut stderr, mut error) = (child.stderr.take(), Vec::new());
        let end = async {
            let mut output = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                stdout.take(self.max_bytes).read_to_end(&mut output).await?;
            }
            let status = child.wait().await?;
            Ok::<_, std::io::Error>((status, output))
        };
        let talk = async {
            let listen = listen(stderr.as_mut(), self.max_error_bytes, &mut error);
            let (mut end, mut listen) = (std::pin::pin!(end), std::pin::pin!(listen));
            tokio::select! {
                biased;
                ended = &mut end => {
                    let _ = tokio::time::timeout(ERROR_WITHIN, listen).await;
                    ended
                }
                () = &mut listen => end.await,
            }
        };
        let talked = tokio::time::timeout(self.timeout, talk).await;
        match talked {
            Ok(Ok((status, output))) => {
                if !self.kills_group {
                    group.0 = None;
                }
                Ok(Ended {
                    code: status.code(),
                    output,
                    error,
                })
            }
            Ok(Err(error)) => Err(ExecError::Io(error.to_string())),
            Err(_) => {
                if is_left.await {
                    group.0 = None;
                } else {
                    drop(group);
                    let _ = tokio::time::timeout(REAPED_WITHIN, child.wait()).await;
                }
                Err(ExecError::Timeout(self.timeout))
            }
        }
    }

    /// Runs it and returns what it printed.
    ///
    /// Errors: also when it does not exit with 0.
    pub async fn output(self) -> Result<Vec<u8>, ExecError> {
        ended_well(self.run().await?)
    }

    /// Runs a query: returns the first `max_bytes` of its output and kills what it leaves
    /// running. `what` begins the error.
    pub(crate) async fn query(self, what: &str, max_bytes: u64) -> Result<Vec<u8>, String> {
        let output = self.read(max_bytes).kill_group().output().await;
        output.map_err(|error| format!("{what} {error}"))
    }

    /// Runs what stops or starts a process. What it leaves running stays.
    pub(crate) async fn act(self, what: &str, call: &CallOptions) -> Result<(), CallError> {
        self.act_unless(what, call, std::future::ready(false)).await
    }

    /// The same; see [`Exec::run_unless`].
    pub(crate) async fn act_unless(
        self,
        what: &str,
        call: &CallOptions,
        is_left: impl Future<Output = bool> + Send,
    ) -> Result<(), CallError> {
        let ended = self.stdin(call.stdin.clone()).run_unless(is_left).await;
        ended
            .and_then(ended_well)
            .map(|_| ())
            .map_err(|error| CallError::Failed {
                call: what.to_owned(),
                error,
                hint: "",
            })
    }
}

/// What it printed, if it exited with 0.
fn ended_well(ended: Ended) -> Result<Vec<u8>, ExecError> {
    match ended.code {
        Some(0) => Ok(ended.output),
        Some(code) => Err(ExecError::Exit(code)),
        None => Err(ExecError::Signal),
    }
}

/// Keeps the first bytes and reads the others as well: a program that cannot write ends
/// otherwise.
async fn listen(stderr: Option<&mut ChildStderr>, max_bytes: u64, kept: &mut Vec<u8>) {
    let Some(stderr) = stderr else { return };
    let mut start = (&mut *stderr).take(max_bytes);
    if start.read_to_end(kept).await.is_ok() {
        let _ = tokio::io::copy(stderr, &mut tokio::io::sink()).await;
    }
}

/// Where programs are searched for.
fn path() -> OsString {
    std::env::var_os("PATH")
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| DEFAULT_PATH.into())
}

/// What keeps a program from being run. Completes "the program …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramProblem {
    /// There is no such file.
    Missing,
    /// This user may not execute it.
    NotExecutable,
}

impl fmt::Display for ProgramProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "does not exist",
            Self::NotExecutable => "may not be run by this user",
        })
    }
}

impl Exec<'_> {
    /// What keeps the program from being run with a clean environment. Blocks.
    pub fn problem(&self) -> Option<ProgramProblem> {
        let program = self.argv.first()?;
        let dir = Path::new(if self.keeps_dir { "" } else { DIR });
        let places: Vec<PathBuf> = match program.contains('/') {
            true => vec![dir.join(program)],
            false => std::env::split_paths(&path())
                .map(|dir| dir.join(program))
                .collect(),
        };
        let is_there = |place: &Path| match fs::metadata(place) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        };
        let can_run = |place: &Path| {
            let is_directory = fs::metadata(place).is_ok_and(|metadata| metadata.is_dir());
            let denied = matches!(access(place, Access::EXEC_OK), Err(Errno::ACCESS));
            !is_directory && !denied
        };
        let found: Vec<&PathBuf> = places.iter().filter(|place| is_there(place)).collect();
        match (found.is_empty(), found.iter().any(|place| can_run(place))) {
            (true, _) => Some(ProgramProblem::Missing),
            (false, false) => Some(ProgramProblem::NotExecutable),
            (false, true) => None,
        }
    }
}

/// Owned arguments.
pub(crate) fn argv(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
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
