//! A file with the process id, which can only be observed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::bounded::within;
use crate::proc::{ProcDir, boot_id, read_small, wall_clock};
use crate::{
    Absence, CallError, CallOptions, Observation, Observed, Placeholders, Query, RestartObstacle,
    Supervisor, Template, TemplateError,
};

/// The kernel tells a process's start to the second only.
const START_SLACK: Duration = Duration::from_secs(2);
/// A process writes its pid file within this time of its start.
const WRITTEN_WITHIN: Duration = Duration::from_secs(600);

/// The path of a pid file, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct PidFile {
    path: Template,
}

impl PidFile {
    /// From an absolute path.
    ///
    /// Errors: not absolute, or a placeholder that nothing fills.
    pub fn new(path: &str, placeholders: &Placeholders) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("must be an absolute path".into());
        }
        let path = Template::parse(path, placeholders).map_err(|TemplateError(error)| error)?;
        Ok(Self { path })
    }

    pub(crate) fn template(&self) -> &Template {
        &self.path
    }

    pub(crate) fn fill(&self, subject: &str) -> Result<OnePidFile, String> {
        if subject.contains('/') {
            return Err("not tried: the name would lead to another directory".into());
        }
        let path = self.path.fill(subject, str::to_owned);
        Ok(OnePidFile {
            path: path.map_err(|why| format!("not tried: {why}"))?.into(),
            proc: ProcDir::default(),
        })
    }
}

/// One pid file.
#[derive(Debug)]
pub(crate) struct OnePidFile {
    path: PathBuf,
    proc: ProcDir,
}

const OBSERVED_ONLY: &str = "not tried: a pid file can only be observed";

#[async_trait]
impl Supervisor for OnePidFile {
    fn kind(&self) -> &'static str {
        "pid_file"
    }

    /// Seen from another PID namespace a pid is another process, or none.
    fn id(&self) -> String {
        let namespace = self.proc.pid_namespace();
        format!("pid_file {} {namespace:?}", self.path.display())
    }

    async fn observe(&self, query: &Query) -> Observed {
        let (path, proc, about) = (self.path.clone(), self.proc.clone(), query.clone());
        let work = move || {
            let observed = observe(&proc, &path, &about).unwrap_or_else(Observation::Unknown);
            let is_unknown = matches!(observed, Observation::Unknown(_));
            let names_none = is_unknown && names_none(&proc, &path);
            Ok(Observed {
                absence: names_none.then_some(Absence::RunsNone),
                ..observed.into()
            })
        };
        let observed = within("reading the pid file", query.timeout, work).await;
        observed.unwrap_or_else(|why| Observed::without(None, why))
    }

    async fn check_restart(&self, _: &Query) -> Result<Option<RestartObstacle>, String> {
        Ok(None)
    }

    async fn stop(&self, _: CallOptions) -> Result<(), CallError> {
        Err(CallError::NotCalled(OBSERVED_ONLY.into()))
    }

    async fn start(&self, _: CallOptions) -> Result<(), CallError> {
        Err(CallError::NotCalled(OBSERVED_ONLY.into()))
    }
}

/// What is known of a pid file and the process that it names.
struct Named {
    pid: u32,
    written: SystemTime,
    /// When the process started by the wall clock, if that is known.
    started: Option<SystemTime>,
    /// The process and the file: another process of this id, and another run, have another
    /// mark.
    mark: String,
}

/// Reads a pid file and looks for its process. Blocks.
fn observe(proc: &ProcDir, path: &Path, query: &Query) -> Result<Observation, String> {
    if proc.pid_namespace().is_none() {
        return Err("not tried: the PID namespace of this program is not in /proc".into());
    }
    let (text, metadata) =
        read_small(path).map_err(|error| format!("the pid file cannot be read: {error}"))?;
    let pid: u32 = text
        .trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0 && i32::try_from(*pid).is_ok())
        .ok_or("the pid file does not hold a number")?;
    let run = format!(
        "{pid} {}",
        i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
    );
    let Some(info) = proc.info(pid)? else {
        return Ok(judge_gone(pid, &run, query, "is gone"));
    };
    if info.is_zombie {
        return Ok(judge_gone(pid, &run, query, "has ended"));
    }
    if info.is_kernel {
        return Err(format!(
            "process {pid} is the kernel's: the pid file is of another PID namespace"
        ));
    }
    let named = Named {
        pid,
        written: metadata.modified().map_err(|error| error.to_string())?,
        started: wall_clock(info.started),
        mark: format!("{run} {} {}", info.started, boot_id()),
    };
    Ok(judge_pid(named, query.last_mark.as_deref()))
}

/// Whether there is no such file, or no process of its number. Blocks.
fn names_none(proc: &ProcDir, path: &Path) -> bool {
    if proc.pid_namespace().is_none() {
        return false;
    }
    match read_small(path) {
        Ok((text, _)) => {
            let info = text.trim().parse().ok().map(|pid| proc.info(pid));
            matches!(info, Some(Ok(info)) if info.is_none_or(|info| info.is_zombie))
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The pid and the file's time in a mark, which are those of one run.
fn run_of(mark: &str) -> Vec<&str> {
    mark.split(' ').take(2).collect()
}

/// No process of this id runs. It counts as gone only if it was seen running with the file as
/// it is now, or if an operator says that the file is the right one.
fn judge_gone(pid: u32, run: &str, query: &Query, how: &str) -> Observation {
    let last_mark = query.last_mark.as_deref();
    let was_seen = last_mark.is_some_and(|last| run_of(last) == run_of(run));
    match was_seen || query.is_trusted {
        true => Observation::gone(format!("process {pid} {how}")),
        false => Observation::Unknown(format!(
            "process {pid} {how}, which does not count: it was not seen alive with the pid file as it is now; let `serve` run while the bot does, or trust this source with `baileys_remediator doctor --trust` or --connection.trust"
        )),
    }
}

/// A process of this id runs; is it the one that wrote the file? One that started after the
/// file was written is not, unless the clock was set since: a machine that was suspended or
/// got its time late shows just that. So only a mark, which no clock moves, proves it gone.
/// One that started long before the file was written only happens to have its id.
fn judge_pid(named: Named, last: Option<&str>) -> Observation {
    let Named {
        pid,
        written,
        started,
        mark,
    } = named;
    let running = |mark| Observation::Running {
        pids: vec![pid],
        mark: Some(mark),
    };
    match (started, last) {
        (_, Some(last)) if last == mark => running(mark),
        (Some(started), _) if started + WRITTEN_WITHIN < written => Observation::Unknown(format!(
            "process {pid} started more than {} before the pid file was written: it may be another one than the bot's; the bot must write the file at its start, and only then",
            humantime::format_duration(WRITTEN_WITHIN)
        )),
        (Some(started), _) if started <= written + START_SLACK => running(mark),
        (_, Some(last)) if run_of(last) == run_of(&mark) => Observation::gone(format!(
            "process {pid} is another one than the bot's, which is gone"
        )),
        _ => Observation::Unknown(format!(
            "process {pid} seems to have started after the pid file was written: it may be another one, or the clock was set; start the bot again, so that the file is written anew"
        )),
    }
}

#[cfg(test)]
mod tests;
