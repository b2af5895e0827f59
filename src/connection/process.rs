//! Watching the bot's process: does it run, or is it proven gone?
//!
//! That it runs is no evidence of a connection; only that it is gone tells something. What
//! cannot be told for sure (a missing pid file, a unit on its way up, a name that nobody
//! knows) is no usable answer. No program is started through a shell, and `pm2` is not
//! called unless its daemon runs already: any call would start one.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::process::{Pid, getuid, test_kill_process};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::folder::{SessionName, Timestamp};

use super::probe::{ProbeError, Template, run};
use super::{Alive, Evidence, Finding, looks, source_id};

/// A unit's or a container's state is read up to here.
const MAX_STATE_BYTES: u64 = 64 << 10;
/// The list of pm2 holds the environment of every bot.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// A pid file is read up to here.
const MAX_PID_BYTES: u64 = 64;
const NO_DAEMON: &str = "its daemon does not run or does not answer, and any call could start one";
/// What is done in a thread that may hang.
const LOOKING: &str = "looking for the process";
/// In a process's flags: PF_KTHREAD.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// The kernel tells a process's start to the second only.
const START_SLACK: Duration = Duration::from_secs(2);
/// A bot writes its pid file within this time of its start.
const WRITTEN_WITHIN: Duration = Duration::from_secs(600);

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

/// Where to look for the bot's process.
#[derive(Clone, Debug)]
pub struct Process {
    id: String,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// With the PID namespace that the numbers are of, as far as it can be told.
    PidFile(Template, Option<u64>),
    SystemdUnit(Template),
    Pm2 {
        name: Template,
        home: PathBuf,
        list: SharedList,
    },
    Container {
        name: Template,
        runtime: Runtime,
    },
}

/// The last list of pm2, and when it was asked for: one call answers for all of its bots.
type SharedList = Arc<Mutex<Option<(Instant, Result<Arc<Vec<Pm2Entry>>, String>)>>>;

/// What is known of the source before it looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The mark of the process that was last seen alive.
    pub(super) last: Option<String>,
    /// Whether a person vouches for the source.
    pub(super) trusted: bool,
}

/// What a look at the process came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What it is evidence of.
    pub evidence: Evidence,
    /// The bot's processes, as far as they are known to run.
    pub pids: Vec<u32>,
}

/// What a source says of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// It runs; with what tells it from another process of the same number.
    Running(Vec<u32>, Option<String>),
    /// It is proven gone.
    Gone(String),
    /// No usable answer.
    Unclear(String),
}

impl Process {
    /// The process whose number stands in a file.
    pub fn pid_file(path: &str, pattern: Option<&Regex>) -> Result<Self, ProbeError> {
        if !path.starts_with('/') {
            return Err(ProbeError(
                "connection.process.pid_file must be an absolute path".into(),
            ));
        }
        Self::pid_file_seen_from(Path::new("/proc"), path, pattern)
    }

    fn pid_file_seen_from(
        proc: &Path,
        path: &str,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        let namespace = fs::metadata(proc.join("self/ns/pid"))
            .ok()
            .map(|metadata| metadata.ino());
        Ok(Self::new(Place::PidFile(
            template("pid_file", path, pattern)?,
            namespace,
        )))
    }

    /// The main process of a unit of systemd.
    pub fn systemd_unit(unit: &str, pattern: Option<&Regex>) -> Result<Self, ProbeError> {
        Ok(Self::new(Place::SystemdUnit(named(
            "systemd_unit",
            unit,
            pattern,
        )?)))
    }

    /// The processes that pm2 runs under a name.
    pub fn pm2(name: &str, home: &Path, pattern: Option<&Regex>) -> Result<Self, ProbeError> {
        if !home.is_absolute() {
            return Err(ProbeError(
                "connection.process.pm2.home must be an absolute path".into(),
            ));
        }
        let name = named("pm2.name", name, pattern)?;
        Ok(Self::new(Place::Pm2 {
            name,
            home: home.to_owned(),
            list: SharedList::default(),
        }))
    }

    /// The main process of a container.
    pub fn container(
        name: &str,
        runtime: Runtime,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        Ok(Self::new(Place::Container {
            name: named("container.name", name, pattern)?,
            runtime,
        }))
    }

    fn new(place: Place) -> Self {
        let configuration = match &place {
            // Seen from another PID namespace a number is another process, or none.
            Place::PidFile(path, namespace) => format!("pid_file {path:?} {namespace:?}"),
            Place::SystemdUnit(unit) => format!("systemd_unit {unit:?}"),
            Place::Pm2 { name, home, .. } => format!("pm2 {name:?} {home:?}"),
            Place::Container { name, runtime } => format!("container {name:?} {runtime:?}"),
        };
        Self {
            id: source_id("process", &configuration),
            place,
        }
    }

    /// The source's id; see [`source_id`].
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Looks. An answer of somebody else's question may be used when it is not older than
    /// `share_for`.
    pub(super) async fn look(
        &self,
        session: &SessionName,
        timeout: Duration,
        share_for: Duration,
        known: Known,
    ) -> Look {
        let seen = self
            .ask(session, timeout, share_for, known)
            .await
            .unwrap_or_else(Seen::Unclear);
        let says = |finding, detail| Evidence {
            id: self.id.clone(),
            ..Evidence::new("process", finding, detail)
        };
        match seen {
            Seen::Running(pids, mark) => {
                let numbers: Vec<String> = pids.iter().map(u32::to_string).collect();
                let detail = format!("running (pid {})", numbers.join(", "));
                let alive = Some(Alive {
                    at: Timestamp::now(),
                    mark,
                });
                Look {
                    evidence: Evidence {
                        alive,
                        ..says(Finding::Nothing, detail)
                    },
                    pids,
                }
            }
            Seen::Gone(detail) => Look {
                evidence: says(Finding::Gone, detail),
                pids: Vec::new(),
            },
            Seen::Unclear(detail) => Look {
                evidence: says(Finding::Silent, detail),
                pids: Vec::new(),
            },
        }
    }

    async fn ask(
        &self,
        session: &SessionName,
        timeout: Duration,
        share_for: Duration,
        known: Known,
    ) -> Result<Seen, String> {
        let fill = |template: &Template| template.fill(session, str::to_owned);
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        match &self.place {
            Place::PidFile(path, namespace) => {
                if namespace.is_none() {
                    return Err(
                        "was not asked: this program's PID namespace cannot be told from /proc"
                            .into(),
                    );
                }
                if session.as_str().contains('/') {
                    return Err(
                        "was not asked: the session's name would lead to another directory".into(),
                    );
                }
                let path = PathBuf::from(fill(path)?);
                looks::within(LOOKING, timeout, move || {
                    pid_file(Path::new("/proc"), &path, &known)
                })
                .await
            }
            Place::SystemdUnit(unit) => {
                let unit = fill(unit)?;
                let properties =
                    "--property=LoadState,ActiveState,MainPID,TasksCurrent,TasksAccounting";
                let argv = words(&["systemctl", "show", properties, "--", &unit]);
                let answer = run(&argv, &[], timeout, MAX_STATE_BYTES).await;
                Ok(unit_state(
                    &answer.map_err(|why| format!("systemctl {why}"))?,
                ))
            }
            Place::Container { name, runtime } => {
                let name = fill(name)?;
                let program = match runtime {
                    Runtime::Docker => "docker",
                    Runtime::Podman => "podman",
                };
                let format = "{{json .Name}} {{json .State}}";
                let argv = words(&[
                    program,
                    "inspect",
                    "--type",
                    "container",
                    "--format",
                    format,
                    &name,
                ]);
                let answer = run(&argv, &[], timeout, MAX_STATE_BYTES).await;
                Ok(container_state(
                    &answer.map_err(|why| format!("{program} {why}"))?,
                    &name,
                ))
            }
            Place::Pm2 { name, home, list } => {
                let name = fill(name)?;
                Ok(pm2_state(
                    &pm2_list(home, list, timeout, share_for).await?,
                    &name,
                ))
            }
        }
    }
}

fn named(key: &str, text: &str, pattern: Option<&Regex>) -> Result<Template, ProbeError> {
    if text.is_empty() || text.starts_with('-') {
        return Err(ProbeError(format!(
            "connection.process.{key} must be a name"
        )));
    }
    template(key, text, pattern)
}

fn template(key: &str, text: &str, pattern: Option<&Regex>) -> Result<Template, ProbeError> {
    Template::parse(text, pattern)
        .map_err(|error| ProbeError(format!("connection.process.{key}: {error}")))
}

/// A small file that somebody else writes. A named pipe does not keep us.
pub(crate) fn read_small(path: &Path) -> io::Result<(String, fs::Metadata)> {
    let (file, metadata) = looks::open(path)?;
    let mut text = String::new();
    file.take(MAX_PID_BYTES).read_to_string(&mut text)?;
    Ok((text, metadata))
}

/// What /proc tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// It has ended, and nobody has waited for it.
    pub(crate) is_zombie: bool,
    /// It is a thread of the kernel.
    is_kernel: bool,
    /// When it started, in clock ticks since the machine started.
    pub(crate) started: u64,
}

/// `None`: there is no process of this number.
pub(crate) fn stat(proc: &Path, pid: u32) -> Result<Option<Stat>, String> {
    match fs::read(proc.join(pid.to_string()).join("stat")) {
        Ok(text) => parse_stat(&String::from_utf8_lossy(&text))
            .map(Some)
            .ok_or_else(|| format!("what /proc tells of process {pid} cannot be understood")),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) || is_esrch(&error) => {
            // With hidepid the processes of others are there and not shown.
            let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
            match number.map(test_kill_process) {
                Some(Err(rustix::io::Errno::SRCH)) => Ok(None),
                _ => Err(format!(
                    "process {pid} is there, but hidden from this user in /proc"
                )),
            }
        }
        Err(error) => Err(format!("process {pid} cannot be looked at: {error}")),
    }
}

fn is_esrch(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in parentheses may hold anything, parentheses too.
    let (_, rest) = text.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let threads: u64 = words.get(17)?.parse().ok()?;
    let has_ended = matches!(*words.first()?, "Z" | "X" | "x");
    let flags: u64 = words.get(6)?.parse().ok()?;
    Some(Stat {
        // The first thread may end before the others.
        is_zombie: has_ended && threads <= 1,
        is_kernel: flags & KERNEL_THREAD != 0,
        started: words.get(19)?.parse().ok()?,
    })
}

/// What is known of a pid file and the process it names.
struct Named {
    pid: u32,
    written: Timestamp,
    /// When the process started by the wall clock, as far as that can be told.
    started: Option<Timestamp>,
    /// The process and the file: another process under this number, and another run of the
    /// bot, have another mark.
    mark: String,
}

/// Reads a pid file and looks for its process.
fn pid_file(proc: &Path, path: &Path, known: &Known) -> Result<Seen, String> {
    let (text, metadata) =
        read_small(path).map_err(|error| format!("the pid file cannot be read: {error}"))?;
    let written = Timestamp::from_stat(metadata.mtime(), metadata.mtime_nsec());
    let pid: u32 = text
        .trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0 && i32::try_from(*pid).is_ok())
        .ok_or("the pid file does not hold a number")?;
    let Some(stat) = stat(proc, pid)? else {
        return Ok(judge_gone(pid, written, known, "is gone"));
    };
    if stat.is_zombie {
        return Ok(judge_gone(pid, written, known, "has ended"));
    }
    if stat.is_kernel {
        return Err(format!(
            "process {pid} is the kernel's: the pid file is of another PID namespace"
        ));
    }
    let boot = fs::read_to_string(proc.join("sys/kernel/random/boot_id")).unwrap_or_default();
    let mark = format!("{pid} {} {} {}", written.nanos(), stat.started, boot.trim());
    let named = Named {
        pid,
        written,
        started: started_at(proc, stat.started),
        mark,
    };
    Ok(judge_pid(named, known.last.as_deref()))
}

/// The number and the file's time in a mark, which are those of one run of the bot.
fn run_of(mark: &str) -> Vec<&str> {
    mark.split(' ').take(2).collect()
}

/// No process of this number runs. Was it the bot's? Whoever was seen alive with another
/// pid file vouches for nothing here.
fn judge_gone(pid: u32, written: Timestamp, known: &Known, how: &str) -> Seen {
    let run = format!("{pid} {}", written.nanos());
    let was_seen = known
        .last
        .as_deref()
        .is_some_and(|last| run_of(last) == run_of(&run));
    match was_seen || known.trusted {
        true => Seen::Gone(format!("process {pid} {how}")),
        false => Seen::Unclear(format!(
            "process {pid} {how}, which does not count: it was not seen alive with the pid file as it is now; let `serve` run while the bot does, or vouch for this source with `baileys_remediator doctor --trust` or --connection.trust"
        )),
    }
}

/// A process of this number runs; is it the bot's? One that started after the file was
/// written is not, unless the clock was set since: a machine that was suspended or got
/// its time late shows just that. So only a mark, which no clock moves, proves it gone.
/// One that started long before the file was written only happens to have its number.
fn judge_pid(named: Named, last: Option<&str>) -> Seen {
    let Named {
        pid,
        written,
        started,
        mark,
    } = named;
    match (started, last) {
        (_, Some(last)) if last == mark => Seen::Running(vec![pid], Some(mark)),
        (Some(started), _) if started < written.minus(WRITTEN_WITHIN) => Seen::Unclear(format!(
            "process {pid} started more than {} before the pid file was written: it may be another one than the bot's; the bot must write the file at its start, and only then",
            humantime::format_duration(WRITTEN_WITHIN)
        )),
        (Some(started), _) if started <= written.plus(START_SLACK) => {
            Seen::Running(vec![pid], Some(mark))
        }
        (_, Some(last)) if run_of(last) == run_of(&mark) => Seen::Gone(format!(
            "process {pid} is another one than the bot's, which is gone"
        )),
        _ => Seen::Unclear(format!(
            "process {pid} seems to have started after the pid file was written: it may be another one, or the clock was set; start the bot again, so that the file is written anew"
        )),
    }
}

/// The wall-clock time of a number of ticks since the machine started.
fn started_at(proc: &Path, ticks: u64) -> Option<Timestamp> {
    let text = fs::read_to_string(proc.join("stat")).ok()?;
    let boot: i64 = text
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    let since =
        Duration::from_millis(ticks.checked_mul(1000)? / rustix::param::clock_ticks_per_second());
    Some(Timestamp::from_secs(boot).plus(since))
}

/// Reads what `systemctl show` prints.
fn unit_state(answer: &[u8]) -> Seen {
    let text = String::from_utf8_lossy(answer);
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let (load, active) = (value("LoadState"), value("ActiveState"));
    let pid: Option<u32> = value("MainPID").and_then(|pid| pid.parse().ok());
    // A unit with KillMode=process ends and leaves processes running.
    let tasks = value("TasksCurrent").unwrap_or_default();
    let is_unset = matches!(tasks, "" | "[not set]" | "18446744073709551615");
    match (load, active, pid) {
        (Some("loaded"), Some("active"), Some(pid)) if pid > 0 => Seen::Running(vec![pid], None),
        (Some("loaded"), Some(state @ ("inactive" | "failed")), Some(0)) => match tasks {
            _ if is_unset && value("TasksAccounting") == Some("no") => Seen::Unclear(format!(
                "the unit is {state}, and with TasksAccounting=no nobody can tell whether it left processes running"
            )),
            _ if is_unset || tasks == "0" => Seen::Gone(format!("the unit is {state}")),
            _ => Seen::Unclear(format!(
                "the unit is {state} and has left processes running (see KillMode)"
            )),
        },
        (Some("not-found"), ..) => Seen::Unclear("systemd knows no such unit".into()),
        (Some("loaded"), Some("active"), _) => {
            Seen::Unclear("the unit is active and has no main process".into())
        }
        (Some("loaded"), Some(_), _) => {
            Seen::Unclear("the unit is neither active nor inactive".into())
        }
        _ => Seen::Unclear("the answer of systemctl cannot be understood".into()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerState {
    status: String,
    running: bool,
    pid: u32,
}

/// Reads the name and the state that `docker inspect` or `podman inspect` print of the
/// container `name`.
fn container_state(answer: &[u8], name: &str) -> Seen {
    let mut values = serde_json::Deserializer::from_slice(answer).into_iter::<Value>();
    let (Some(Ok(Value::String(found))), Some(Ok(state)), None) =
        (values.next(), values.next(), values.next())
    else {
        return Seen::Unclear("the container's state cannot be understood".into());
    };
    // The beginning of another one's id is an answer to both. Docker writes /NAME.
    let plain = |name: &str| name.strip_prefix('/').unwrap_or(name).to_owned();
    if plain(&found) != plain(name) {
        return Seen::Unclear("the answer is of a container of another name".into());
    }
    let Ok(state) = serde_json::from_value::<ContainerState>(state) else {
        return Seen::Unclear("the container's state cannot be understood".into());
    };
    match (state.running, state.pid, state.status.as_str()) {
        (true, pid, "running" | "paused") if pid > 0 => Seen::Running(vec![pid], None),
        (false, 0, status @ ("exited" | "created" | "dead")) => {
            Seen::Gone(format!("the container is {status}"))
        }
        _ => Seen::Unclear("the container is neither running nor ended".into()),
    }
}

/// One process of pm2's list.
#[derive(Debug, Deserialize)]
struct Pm2Entry {
    name: Value,
    pid: Option<u32>,
    pm2_env: Pm2Env,
}

#[derive(Debug, Deserialize)]
struct Pm2Env {
    status: String,
}

async fn pm2_list(
    home: &Path,
    shared: &SharedList,
    timeout: Duration,
    share_for: Duration,
) -> Result<Arc<Vec<Pm2Entry>>, String> {
    let asked = Instant::now();
    let mut shared = shared.lock().await;
    if let Some((began, list)) = shared.as_ref()
        && *began + share_for >= asked
    {
        return list.clone();
    }
    let began = Instant::now();
    let list = ask_pm2(home, timeout).await.map(Arc::new);
    *shared = Some((began, list.clone()));
    list
}

async fn ask_pm2(home: &Path, timeout: Duration) -> Result<Vec<Pm2Entry>, String> {
    let place = home.to_owned();
    looks::within(LOOKING, timeout, move || pm2_runs(&place)).await?;
    // Never waits for a daemon that hangs: with a full backlog it fails.
    let answers = tokio::time::timeout(timeout, UnixStream::connect(home.join("rpc.sock"))).await;
    if !matches!(answers, Ok(Ok(_))) {
        return Err(pm2_not_asked(NO_DAEMON));
    }
    let argv = ["pm2", "jlist"].map(str::to_owned);
    let answer = run(
        &argv,
        &[("PM2_HOME", home.as_os_str())],
        timeout,
        MAX_LIST_BYTES,
    )
    .await;
    pm2_list_in(&answer.map_err(|why| format!("pm2 {why}"))?)
        .ok_or_else(|| "the list of pm2 cannot be understood".into())
}

/// Whether the daemon of this home runs, and is ours; else a call would start another one.
fn pm2_runs(home: &Path) -> Result<(), String> {
    let owner = fs::metadata(home)
        .map_err(|error| pm2_not_asked(&format!("its home: {}", error.kind())))?
        .uid();
    let own = getuid().as_raw();
    if owner != own {
        return Err(pm2_not_asked(&format!(
            "its home belongs to uid {owner}, and this program runs as uid {own}; run it as the bots' user"
        )));
    }
    let pid = read_small(&home.join("pm2.pid"))
        .ok()
        .and_then(|(text, _)| text.trim().parse::<u32>().ok());
    let runs = pid.is_some_and(|pid| {
        matches!(
            stat(Path::new("/proc"), pid),
            Ok(Some(Stat {
                is_zombie: false,
                ..
            }))
        )
    });
    // Looked for here, where it may hang.
    if !runs || fs::metadata(home.join("rpc.sock")).is_err() {
        return Err(pm2_not_asked(NO_DAEMON));
    }
    Ok(())
}

fn pm2_not_asked(why: &str) -> String {
    format!("pm2 was not asked: {why}")
}

/// The list among whatever else pm2 prints before it.
pub(crate) fn pm2_list_in<T: DeserializeOwned>(answer: &[u8]) -> Option<Vec<T>> {
    let mut at = 0;
    for line in answer.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"[")
            && let Some(Ok(list)) = serde_json::Deserializer::from_slice(&answer[at..])
                .into_iter::<Vec<T>>()
                .next()
        {
            return Some(list);
        }
        at += line.len();
    }
    None
}

fn pm2_state(list: &[Pm2Entry], name: &str) -> Seen {
    let named = |entry: &&Pm2Entry| match &entry.name {
        Value::String(text) => text == name,
        // A name of digits in pm2's own configuration file stays a number.
        Value::Number(number) => number.to_string() == name,
        _ => false,
    };
    let entries: Vec<&Pm2Entry> = list.iter().filter(named).collect();
    if entries.is_empty() {
        return Seen::Unclear("pm2 knows no process of this name".into());
    }
    let has_ended = |entry: &&Pm2Entry| {
        matches!(entry.pm2_env.status.as_str(), "stopped" | "errored")
            && entry.pid.unwrap_or(0) == 0
    };
    if entries.iter().all(has_ended) {
        return Seen::Gone("pm2 has stopped it".into());
    }
    let pids: Vec<u32> = entries
        .iter()
        .filter(|entry| {
            matches!(
                entry.pm2_env.status.as_str(),
                "online" | "launching" | "stopping"
            )
        })
        .filter_map(|entry| entry.pid.filter(|pid| *pid > 0))
        .collect();
    match pids.is_empty() {
        true => Seen::Unclear("pm2 has neither started nor stopped it for good".into()),
        false => Seen::Running(pids, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(seen: &Seen) -> &'static str {
        match seen {
            Seen::Running(..) => "running",
            Seen::Gone(_) => "gone",
            Seen::Unclear(_) => "unclear",
        }
    }

    #[test]
    fn units() {
        for (answer, is) in [
            (
                "LoadState=loaded\nActiveState=active\nMainPID=77\n",
                "running",
            ),
            (
                "MainPID=0\nLoadState=loaded\nActiveState=inactive\n",
                "gone",
            ),
            ("LoadState=loaded\nActiveState=failed\nMainPID=0", "gone"),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=77",
                "unclear",
            ),
            (
                "LoadState=loaded\nActiveState=activating\nMainPID=0",
                "unclear",
            ),
            (
                "LoadState=loaded\nActiveState=deactivating\nMainPID=77",
                "unclear",
            ),
            ("LoadState=loaded\nActiveState=active\nMainPID=0", "unclear"),
            (
                "LoadState=not-found\nActiveState=inactive\nMainPID=0",
                "unclear",
            ),
            (
                "LoadState=masked\nActiveState=inactive\nMainPID=0",
                "unclear",
            ),
            ("ActiveState=inactive\nMainPID=0", "unclear"),
            ("LoadState=loaded\nActiveState=inactive", "unclear"),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=none",
                "unclear",
            ),
            ("", "unclear"),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=0\nTasksCurrent=[not set]",
                "gone",
            ),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=0\nTasksCurrent=18446744073709551615",
                "gone",
            ),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=0\nTasksCurrent=0",
                "gone",
            ),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=0\nTasksCurrent=11",
                "unclear",
            ),
            (
                "LoadState=loaded\nActiveState=failed\nMainPID=0\nTasksCurrent=1",
                "unclear",
            ),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=0\nTasksCurrent=many",
                "unclear",
            ),
            (
                "LoadState=loaded\nActiveState=inactive\nMainPID=0\nTasksCurrent=[not set]\nTasksAccounting=no",
                "unclear",
            ),
            (
                "LoadState=loaded\nActiveState=active\nMainPID=77\nTasksCurrent=11",
                "running",
            ),
        ] {
            assert_eq!(word(&unit_state(answer.as_bytes())), is, "{answer}");
        }
    }

    #[test]
    fn containers() {
        for (answer, is) in [
            (
                r#"{"Status":"running","Running":true,"Paused":false,"Restarting":false,"Pid":77}"#,
                "running",
            ),
            (
                r#"{"Status":"paused","Running":true,"Paused":true,"Pid":77}"#,
                "running",
            ),
            (
                r#"{"Status":"exited","Running":false,"Pid":0,"ExitCode":137}"#,
                "gone",
            ),
            (r#"{"Status":"created","Running":false,"Pid":0}"#, "gone"),
            (r#"{"Status":"dead","Running":false,"Pid":0}"#, "gone"),
            (
                r#"{"Status":"restarting","Running":true,"Pid":0}"#,
                "unclear",
            ),
            (r#"{"Status":"exited","Running":false,"Pid":77}"#, "unclear"),
            (
                r#"{"Status":"removing","Running":false,"Pid":0}"#,
                "unclear",
            ),
            (r#"{"Status":"exited","Pid":0}"#, "unclear"),
            ("null", "unclear"),
            ("", "unclear"),
        ] {
            for found in ["/bot", "bot"] {
                let answer = format!("\"{found}\" {answer}\n");
                assert_eq!(
                    word(&container_state(answer.as_bytes(), "bot")),
                    is,
                    "{answer}"
                );
            }
        }
        let ended = r#"{"Status":"exited","Running":false,"Pid":0}"#;
        for (found, name) in [
            ("/other", "ab12"),
            ("/bot-2", "bot"),
            ("", "bot"),
            ("/", "bot"),
        ] {
            let answer = format!("\"{found}\" {ended}\n");
            assert_eq!(
                word(&container_state(answer.as_bytes(), name)),
                "unclear",
                "{found} is not {name}"
            );
        }
        for answer in [
            ended.to_owned(),
            format!("null {ended}"),
            format!("\"bot\" {ended} {ended}"),
        ] {
            assert_eq!(
                word(&container_state(answer.as_bytes(), "bot")),
                "unclear",
                "{answer}"
            );
        }
    }

    #[test]
    fn the_list_of_pm2() {
        let entry = |name: &str, status: &str, pid: u32| {
            format!(
                r#"{{"pid":{pid},"name":"{name}","pm2_env":{{"status":"{status}","env":{{"a":"["}}}},"monit":{{}}}}"#
            )
        };
        for (entries, is) in [
            (vec![entry("bot", "online", 7)], "running"),
            (vec![entry("bot", "stopping", 7)], "running"),
            (vec![entry("bot", "stopped", 0)], "gone"),
            (
                vec![entry("bot", "errored", 0), entry("bot", "stopped", 0)],
                "gone",
            ),
            (
                vec![entry("bot", "stopped", 0), entry("bot", "online", 8)],
                "running",
            ),
            (vec![entry("bot", "stopped", 7)], "unclear"),
            (vec![entry("bot", "waiting restart", 0)], "unclear"),
            (vec![entry("bot", "online", 0)], "unclear"),
            (vec![entry("bot2", "stopped", 0)], "unclear"),
            (vec![], "unclear"),
        ] {
            let answer = format!(
                ">>>> In-memory PM2 is out-of-date, do:\n>>>> $ pm2 update\n[PM2] a line\n[{}]\n",
                entries.join(",")
            );
            let list = pm2_list_in(answer.as_bytes()).unwrap();
            assert_eq!(word(&pm2_state(&list, "bot")), is, "{entries:?}");
        }
        assert!(pm2_list_in::<Pm2Entry>(b"").is_none());
        assert!(
            pm2_list_in::<Pm2Entry>(b"[PM2][ERROR] no\n[{\"pid\":1").is_none(),
            "cut off"
        );
    }

    /// Asked of another user's home pm2 would start a daemon there, and as whoever asks.
    #[test]
    fn the_home_of_another_user_is_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        let own = getuid().as_raw();
        // As far as files tell a daemon runs there.
        fs::write(dir.path().join("pm2.pid"), std::process::id().to_string()).unwrap();
        fs::write(dir.path().join("rpc.sock"), "").unwrap();
        assert_eq!(pm2_runs(dir.path()), Ok(()));
        let (home, owner) = if own == 0 {
            std::os::unix::fs::chown(dir.path(), Some(4711), None).unwrap();
            (dir.path(), 4711)
        } else {
            (Path::new("/"), 0)
        };
        let why = pm2_runs(home).unwrap_err();
        assert!(why.contains("pm2 was not asked"), "{why}");
        assert!(
            why.contains(&format!(
                "belongs to uid {owner}, and this program runs as uid {own}"
            )),
            "{why}"
        );
    }

    #[test]
    fn a_line_of_proc() {
        let line = |state: &str, threads: u32| {
            format!(
                "7 (a) S 1 (b) {state} 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 9 9 9"
            )
        };
        let stat = |is_zombie| {
            Some(Stat {
                is_zombie,
                is_kernel: false,
                started: 4711,
            })
        };
        assert_eq!(parse_stat(&line("S", 11)), stat(false));
        assert_eq!(parse_stat(&line("Z", 1)), stat(true));
        assert_eq!(parse_stat(&line("Z", 3)), stat(false));
        let kernel = line("I", 1).replace("4194304", "69238880");
        assert!(parse_stat(&kernel).unwrap().is_kernel);
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn is_the_process_of_this_number_the_bot() {
        let written = Timestamp::from_secs(1_800_000_000);
        let judge = |started: Option<Timestamp>, mark: &str, last: Option<&str>| {
            word(&judge_pid(
                Named {
                    pid: 7,
                    written,
                    started,
                    mark: mark.into(),
                },
                last,
            ))
        };
        let later = Some(written.plus(Duration::from_secs(3)));
        let (this, reused, rewritten) = ("7 1 100 boot", "7 1 200 boot", "7 2 200 boot");
        assert_eq!(
            judge(Some(written.plus(START_SLACK)), this, None),
            "running"
        );
        assert_eq!(
            judge(Some(written.minus(START_SLACK)), this, Some(reused)),
            "running"
        );
        let long_ago = written.minus(WRITTEN_WITHIN);
        assert_eq!(judge(Some(long_ago), this, None), "running");
        let longer_ago = Some(long_ago.minus(Duration::from_secs(1)));
        assert_eq!(
            judge(longer_ago, this, None),
            "unclear",
            "an older process of this number"
        );
        assert_eq!(judge(longer_ago, reused, Some(this)), "unclear");
        assert_eq!(
            judge(longer_ago, this, Some(this)),
            "running",
            "the clock was set"
        );
        assert_eq!(
            judge(later, this, None),
            "unclear",
            "another process, or the clock was set"
        );
        assert_eq!(
            judge(later, this, Some(this)),
            "running",
            "the clock was set"
        );
        assert_eq!(judge(later, reused, Some(this)), "gone");
        assert_eq!(judge(later, "7 1 100 another-boot", Some(this)), "gone");
        assert_eq!(
            judge(later, rewritten, Some(this)),
            "unclear",
            "the file is of a later run"
        );
        assert_eq!(judge(later, "8 1 100 boot", Some(this)), "unclear");
        assert_eq!(judge(None, this, None), "unclear");
    }

    #[test]
    fn who_counts_as_gone() {
        let written = Timestamp::from_secs(1_800_000_000);
        let run = format!("7 {}", written.nanos());
        let judge = |last: Option<&str>, trusted: bool| {
            let known = Known {
                last: last.map(str::to_owned),
                trusted,
            };
            word(&judge_gone(7, written, &known, "is gone"))
        };
        assert_eq!(judge(Some(&format!("{run} 100 boot")), false), "gone");
        for other in [
            format!("7{run} 100 boot"),
            format!("{run}1 100 boot"),
            "7 1 100 boot".into(),
        ] {
            assert_eq!(judge(Some(&other), false), "unclear", "{other}");
            assert_eq!(judge(Some(&other), true), "gone", "{other}");
        }
        assert_eq!(judge(None, false), "unclear");
        assert_eq!(judge(None, true), "gone");
    }

    #[tokio::test]
    async fn a_pid_file_is_another_source_in_another_pid_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let seen_from = |namespace: &str, path: &str| {
            let proc = dir.path().join(namespace);
            Process::pid_file_seen_from(&proc, path, None).unwrap()
        };
        for namespace in ["host", "container"] {
            fs::create_dir_all(dir.path().join(namespace).join("self/ns")).unwrap();
            fs::write(dir.path().join(namespace).join("self/ns/pid"), "").unwrap();
        }
        assert_eq!(seen_from("host", "/a").id(), seen_from("host", "/a").id());
        assert_ne!(
            seen_from("host", "/a").id(),
            seen_from("container", "/a").id()
        );
        assert_ne!(seen_from("host", "/a").id(), seen_from("host", "/b").id());
        // Where it cannot be told, nobody is believed.
        let path = dir.path().join("bot.pid");
        fs::write(&path, std::process::id().to_string()).unwrap();
        let nowhere = seen_from("nowhere", &path.display().to_string());
        let session = SessionName::from_dir(std::ffi::OsStr::new("bot"));
        let known = Known {
            last: None,
            trusted: true,
        };
        let look = nowhere
            .look(&session, Duration::from_secs(60), Duration::ZERO, known)
            .await;
        assert_eq!(
            look.evidence.finding,
            Finding::Silent,
            "{}",
            look.evidence.detail
        );
        assert!(
            look.evidence.detail.contains("PID namespace"),
            "{}",
            look.evidence.detail
        );
    }

    #[tokio::test]
    async fn a_named_pipe_keeps_nobody() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bot.pid", "pm2.pid"] {
            let made = std::process::Command::new("mkfifo")
                .arg(dir.path().join(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        let (done, told) = std::sync::mpsc::channel();
        let home = dir.path().to_owned();
        std::thread::spawn(move || {
            let from_file = pid_file(Path::new("/proc"), &home.join("bot.pid"), &Known::default());
            let _ = done.send((from_file, pm2_runs(&home)));
        });
        let (from_file, pm2) = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(from_file.unwrap_err().contains("not a file"));
        assert!(pm2.unwrap_err().contains("pm2 was not asked"));
    }

    #[test]
    fn pid_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bot.pid");
        let look = |last: Option<&str>| {
            let known = Known {
                last: last.map(str::to_owned),
                trusted: false,
            };
            pid_file(Path::new("/proc"), &path, &known)
        };
        assert!(look(None).unwrap_err().contains("cannot be read"));
        for nonsense in ["", "x", "-1", "0", "12 13", "99999999999", "4294967295"] {
            fs::write(&path, nonsense).unwrap();
            assert!(
                look(None).unwrap_err().contains("does not hold a number"),
                "{nonsense:?}"
            );
        }
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        fs::write(&path, format!("{}\n", child.id())).unwrap();
        let Seen::Running(pids, Some(mark)) = look(None).unwrap() else {
            panic!("it runs")
        };
        assert_eq!(pids, [child.id()]);
        // As if the clock had been set forward since, or the number been given anew.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        assert_eq!(word(&look(None).unwrap()), "unclear");
        assert_eq!(
            word(&look(Some(&mark)).unwrap()),
            "unclear",
            "the file is another one"
        );
        // As if an older process had the number that an old file names.
        file.set_modified(std::time::SystemTime::now() + Duration::from_secs(3600))
            .unwrap();
        assert!(
            matches!(look(None).unwrap(), Seen::Unclear(why) if why.contains("more than 10m before"))
        );
        fs::write(&path, format!("{}\n", child.id())).unwrap();
        let Seen::Running(_, Some(mark)) = look(None).unwrap() else {
            panic!("it runs")
        };
        child.kill().unwrap();
        for _ in 0..500 {
            if matches!(
                stat(Path::new("/proc"), child.id()),
                Ok(Some(Stat {
                    is_zombie: true,
                    ..
                }))
            ) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(word(&look(None).unwrap()), "unclear");
        assert!(matches!(look(Some(&mark)).unwrap(), Seen::Gone(why) if why.contains("has ended")));
        child.wait().unwrap();
        assert!(matches!(look(Some(&mark)).unwrap(), Seen::Gone(why) if why.contains("is gone")));
        assert_eq!(word(&look(None).unwrap()), "unclear");
    }

    #[test]
    fn names_that_are_refused() {
        assert!(Process::pid_file("bot.pid", None).is_err());
        assert!(Process::systemd_unit("", None).is_err());
        assert!(Process::systemd_unit("--now", None).is_err());
        assert!(Process::pm2("bot", Path::new("home"), None).is_err());
        assert!(Process::container("{nobody}", Runtime::Docker, None).is_err());
        let id = |name: &str| {
            Process::container(name, Runtime::Docker, None)
                .unwrap()
                .id()
                .to_owned()
        };
        assert_eq!(id("a"), id("a"));
        assert_ne!(id("a"), id("b"));
    }
}
