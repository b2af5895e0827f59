//! Processes that pm2 runs under a name.
//!
//! Every call of `pm2` without a daemon starts one, and it would know nothing of the
//! processes. So it is called only when the daemon of the home runs, and an unknown name is
//! no proof. A daemon answers to its own user only: pm2 is called as the owner of its home,
//! which must be this program's user, unless this program is root.
//!
//! Processes are found by their exact name in the list and then called by their ids: to pm2
//! a name may also be `all`, a number, a namespace, an expression, a script or a file of
//! settings.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::bounded::within;
use crate::exec::{Exec, argv};
use crate::proc::{ProcDir, with_mark};
use crate::{
    Absence, ArgTemplate, CallError, CallOptions, Observation, Observed, Placeholders,
    QUERY_TIMEOUT, Query, RestartObstacle, Supervisor, Template,
};

/// The list of pm2 holds the environment of every process.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// Between two queries about a process that is stopping.
const PAUSE: Duration = Duration::from_millis(300);

/// Processes by id and start, so that another one of the same id is not meant.
type Processes = BTreeSet<(u32, u64)>;
/// What each name consisted of when it was last seen running or was asked to stop.
type Trees = Arc<Mutex<BTreeMap<String, Processes>>>;
/// The last list and when it was asked for: one call answers for all processes of a home.
type SharedList =
    Arc<tokio::sync::Mutex<Option<(Instant, Result<Arc<Vec<Pm2Process>>, NotAsked>)>>>;

/// The processes of one name, with placeholders.
#[derive(Clone, Debug)]
pub struct Pm2 {
    name: ArgTemplate,
    home: PathBuf,
    list: SharedList,
    trees: Trees,
}

/// The same processes; what was seen of them does not count.
impl PartialEq for Pm2 {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.home) == (&other.name, &other.home)
    }
}

impl Pm2 {
    /// From the process's name in pm2, and PM2_HOME.
    ///
    /// Errors: the key, and a sentence.
    pub fn new(
        name: &str,
        home: &Path,
        placeholders: &Placeholders,
    ) -> Result<Self, (&'static str, String)> {
        let name = ArgTemplate::name(name, placeholders).map_err(|error| ("name", error))?;
        if !home.is_absolute() {
            return Err((
                "home",
                "must be an absolute path, such as /home/bots/.pm2".into(),
            ));
        }
        Ok(Self {
            name,
            home: home.to_owned(),
            list: SharedList::default(),
            trees: Trees::default(),
        })
    }

    pub(crate) fn template(&self) -> &Template {
        self.name.template()
    }

    pub(crate) fn fill(&self, subject: &str) -> Result<OnePm2, String> {
        Ok(OnePm2 {
            name: self.name.fill(subject)?,
            home: self.home.clone(),
            list: Arc::clone(&self.list),
            trees: Arc::clone(&self.trees),
        })
    }
}

/// The processes of one name.
#[derive(Debug)]
pub(crate) struct OnePm2 {
    name: String,
    home: PathBuf,
    list: SharedList,
    trees: Trees,
}

#[async_trait]
impl Supervisor for OnePm2 {
    fn kind(&self) -> &'static str {
        "pm2"
    }

    fn id(&self) -> String {
        format!("pm2 {} {}", self.home.display(), self.name)
    }

    async fn observe(&self, query: &Query) -> Observed {
        let looked = self.look(query).await;
        looked.unwrap_or_else(|not_asked| {
            let absence = not_asked.is_down.then_some(Absence::RunsNone);
            Observed::without(absence, not_asked.why)
        })
    }

    async fn check_restart(&self, query: &Query) -> Result<Option<RestartObstacle>, String> {
        let list = self.settled_list(query.timeout, query.max_age).await;
        let list = list.map_err(|error| error.why)?;
        self.obstacle(&self.entries(&list)?, query.timeout).await
    }

    async fn stop(&self, call: CallOptions) -> Result<(), CallError> {
        let not_called = CallError::NotCalled;
        let list = self.settled_list(QUERY_TIMEOUT, Duration::ZERO).await;
        let list = list.map_err(|error| not_called(error.why))?;
        let entries = self.entries(&list).map_err(not_called)?;
        if entries.iter().all(|entry| entry.has_ended()) {
            return Err(CallError::AlreadyStopped);
        }
        // Where it is unknown whether a file is missing, the stop is called.
        if let Ok(Some(obstacle)) = self.obstacle(&entries, QUERY_TIMEOUT).await {
            return Err(obstacle.into());
        }
        let ids: Vec<String> = entries
            .iter()
            .map(|entry| entry.pm_id.to_string())
            .collect();
        let pids: BTreeSet<u32> = entries.iter().filter_map(|entry| entry.pid()).collect();
        let kept = self.keep_tree(pids, QUERY_TIMEOUT).await;
        kept.map_err(not_called)?;
        self.act("stop", &ids, &call).await
    }

    async fn start(&self, call: CallOptions) -> Result<(), CallError> {
        let not_called = CallError::NotCalled;
        let until = Instant::now() + call.timeout;
        loop {
            let list = self.settled_list(QUERY_TIMEOUT, Duration::ZERO).await;
            let list = list.map_err(|error| not_called(error.why))?;
            let entries = self.entries(&list).map_err(not_called)?;
            // Started now, pm2 would lose count of it.
            let stopping = |entry: &&Pm2Process| {
                entry.pm2_env.status == "stopping" || entry.unclear_for().is_some()
            };
            if entries.iter().any(stopping) && Instant::now() < until {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let ids: Vec<String> = entries
                .iter()
                .filter(|entry| {
                    matches!(entry.pm2_env.status.as_str(), "stopped" | "errored")
                        || entry.is_given_up
                })
                .map(|entry| entry.pm_id.to_string())
                .collect();
            return match ids.is_empty() {
                true => Ok(()),
                false => self.act("restart", &ids, &call).await,
            };
        }
    }
}

impl OnePm2 {
    async fn look(&self, query: &Query) -> Result<Observed, NotAsked> {
        let list = self.settled_list(query.timeout, query.max_age).await?;
        let entries = match self.entries(&list) {
            Ok(entries) => entries,
            Err(none) => return Ok(Observed::absent(none)),
        };
        let seen = self.see(&entries, query).await;
        Ok(Observed {
            observation: seen.unwrap_or_else(Observation::Unknown),
            restarts: restarts(&entries),
            absence: None,
        })
    }

    async fn see(&self, entries: &[&Pm2Process], query: &Query) -> Result<Observation, String> {
        if let Some(observed) = judge(entries)? {
            // For what is only shown, a walk through all processes is too much.
            if let Observation::Running { pids, .. } = &observed
                && query.max_age.is_zero()
            {
                let pids = pids.iter().copied().collect();
                // It runs, even if the rest of this fails.
                let _ = self.keep_tree(pids, query.timeout).await;
            }
            return Ok(with_mark(observed, query.timeout).await);
        }
        // pm2 watches only the process that it has started itself.
        let mut kept = self.trees().get(&self.name).cloned().unwrap_or_default();
        if let Some(mark) = &query.last_mark {
            kept.extend(ProcDir::processes_in(mark));
        }
        let (home, ids) = (
            self.home.clone(),
            entries.iter().map(|entry| entry.pm_id).collect(),
        );
        let work = move || remains(&ProcDir::default(), &kept, &home, &ids);
        match within("looking for child processes", query.timeout, work).await? {
            true => Ok(Observation::Changing(
                "pm2 has stopped it, and a process that it has started still runs".into(),
            )),
            false => {
                self.trees().remove(&self.name);
                Ok(Observation::Gone {
                    how: "pm2 has stopped it".into(),
                    ended_by: self.last_change(entries, query.timeout).await,
                    last_start: last_start(entries),
                    on_request: entries
                        .iter()
                        .all(|entry| entry.pm2_env.was_asked_to_stop()),
                })
            }
        }
    }

    /// What stands in the way of a stop and a start of these.
    ///
    /// Errors: it is unknown whether a file is missing, and nothing else does.
    async fn obstacle(
        &self,
        entries: &[&Pm2Process],
        timeout: Duration,
    ) -> Result<Option<RestartObstacle>, String> {
        match obstacle_in(entries) {
            Some(obstacle) => Ok(Some(obstacle)),
            None => self.missing(entries, timeout).await,
        }
    }

    /// Keeps these processes and all that they have started, beside those kept before that
    /// still run.
    async fn keep_tree(&self, roots: BTreeSet<u32>, timeout: Duration) -> Result<(), String> {
        let before = self.trees().get(&self.name).cloned().unwrap_or_default();
        let work = move || {
            let proc = ProcDir::default();
            let mut kept = tree(&proc, &roots);
            let is_left = |(pid, started): &(u32, u64)| proc.is_same(*pid, *started);
            kept.extend(before.into_iter().filter(is_left));
            Ok(kept)
        };
        let kept = within("listing processes", timeout, work).await?;
        self.trees().insert(self.name.clone(), kept);
        Ok(())
    }

    fn trees(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Processes>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes of the name; at least one.
    fn entries<'a>(&self, list: &'a [Pm2Process]) -> Result<Vec<&'a Pm2Process>, String> {
        let entries: Vec<&Pm2Process> = list
            .iter()
            .filter(|entry| entry.is_named(&self.name))
            .collect();
        match entries.is_empty() {
            true => Err(self.no_such_process(list)),
            false => Ok(entries),
        }
    }

    /// Names the process that was looked for, and some that there are.
    fn no_such_process(&self, list: &[Pm2Process]) -> String {
        let is_printable = |name: &&str| name.bytes().all(|byte| byte.is_ascii_graphic());
        let names: BTreeSet<&str> = list
            .iter()
            .filter_map(|entry| entry.name.as_str())
            .collect();
        let names: Vec<&str> = names.into_iter().filter(is_printable).take(5).collect();
        match names.is_empty() {
            true => format!("pm2 knows no process named {:?}", self.name),
            false => format!(
                "pm2 knows no process named {:?}, but {}",
                self.name,
                names.join(", ")
            ),
        }
    }

    /// The list, which may be one that was asked for up to `max_age` before now.
    async fn list(
        &self,
        timeout: Duration,
        max_age: Duration,
    ) -> Result<Arc<Vec<Pm2Process>>, NotAsked> {
        let asked = Instant::now();
        let mut shared = self.list.lock().await;
        if let Some((began, list)) = shared.as_ref()
            && *began + max_age >= asked
        {
            return list.clone();
        }
        let began = Instant::now();
        let mut list = self.ask(timeout).await;
        if let Ok(list) = &mut list {
            let before = shared.as_ref().and_then(|(_, list)| list.as_ref().ok());
            let before = before.map_or(&[][..], |list| list);
            Pm2Process::find_given_up(list, before, began, Instant::now());
        }
        let list = list.map(Arc::new);
        *shared = Some((began, list.clone()));
        list
    }

    async fn ask(&self, timeout: Duration) -> Result<Vec<Pm2Process>, NotAsked> {
        let user = pm2_user(&self.home, timeout).await?;
        let argv = argv(&["pm2", "jlist"]);
        let exec = self.exec(&argv, timeout, user);
        let answer = exec.query("pm2 jlist", MAX_LIST_BYTES).await?;
        let list = list_in(&answer).ok_or("the list of pm2 cannot be understood");
        Ok(list.map_err(str::to_owned)?)
    }

    async fn act(&self, verb: &str, ids: &[String], call: &CallOptions) -> Result<(), CallError> {
        let user = pm2_user(&self.home, QUERY_TIMEOUT).await;
        let user = user.map_err(|error| CallError::NotCalled(error.why))?;
        let args = ["pm2", verb].into_iter();
        let argv = argv(
            &args
                .chain(ids.iter().map(String::as_str))
                .collect::<Vec<_>>(),
        );
        let exec = self.exec(&argv, call.timeout, user);
        exec.act(&format!("pm2 {verb}"), call).await
    }

    fn exec<'a>(
        &self,
        argv: &'a [String],
        timeout: Duration,
        user: Option<(u32, u32)>,
    ) -> Exec<'a> {
        let exec = Exec::new(argv, timeout).clean_env(&[]).user(user);
        let exec = exec.env("PM2_HOME", &self.home);
        match user {
            Some(_) => exec.env("HOME", self.home.parent().unwrap_or(&self.home)),
            None => exec,
        }
    }
}

/// One process of pm2's list.
#[derive(Debug, Deserialize)]
struct Pm2Process {
    name: Value,
    pm_id: u32,
    pid: Option<u32>,
    pm2_env: Env,
    /// See [`given_up`].
    #[serde(skip)]
    is_given_up: bool,
    #[serde(skip)]
    waits_since: Option<Instant>,
}

#[derive(Debug, Deserialize)]
struct Env {
    status: String,
    /// Its restarts: those by pm2 itself, and those that a person asked for while it ran.
    #[serde(default)]
    restart_time: Value,
    /// When it was last started, in milliseconds since the epoch.
    #[serde(default)]
    pm_uptime: Value,
    /// The script or program, absolute.
    #[serde(default)]
    pm_exec_path: Value,
    /// The file to which pm2 writes the pid, and which it removes at the end.
    #[serde(default)]
    pm_pid_path: Value,
    /// The directory it is started in.
    #[serde(default)]
    pm_cwd: Value,
    /// `fork_mode` or `cluster_mode`.
    #[serde(default)]
    exec_mode: Value,
    /// What runs the script in `fork_mode`; `none` if it runs by itself.
    #[serde(default)]
    exec_interpreter: Value,
    /// The PATH of the process, where a bare name of an interpreter is searched for.
    #[serde(default, rename = "PATH")]
    path: Value,
    #[serde(default)]
    watch: Value,
    #[serde(default)]
    cron_restart: Value,
    #[serde(default)]
    autorestart: Value,
    /// Exit codes after which pm2 does not start it again.
    #[serde(default)]
    stop_exit_codes: Value,
    /// While pm2 stops it, how often pm2 checks whether it has ended, in milliseconds.
    #[serde(default)]
    kill_retry_time: Value,
}

impl Pm2Process {
    fn is_named(&self, name: &str) -> bool {
        match &self.name {
            Value::String(text) => text == name,
            // A name of digits in pm2's own configuration file stays a number.
            Value::Number(number) => number.to_string() == name,
            _ => false,
        }
    }

    fn pid(&self) -> Option<u32> {
        self.pid.filter(|pid| *pid > 0)
    }

    /// It has no process, and pm2 does not start one. Between an exit and the restart pm2 says
    /// `stopped` and still names the process.
    fn has_ended(&self) -> bool {
        let has_ended = matches!(self.pm2_env.status.as_str(), "stopped" | "errored");
        (has_ended || self.is_given_up) && self.pid().is_none()
    }
}

impl Env {
    fn is_known(&self) -> bool {
        let known = [
            "online",
            "launching",
            "stopping",
            "stopped",
            "errored",
            "waiting restart",
            "one-launch-status",
        ];
        known.contains(&self.status.as_str())
    }

    /// pm2 starts again what ends by itself, and calls it `errored` where it gives up.
    fn was_asked_to_stop(&self) -> bool {
        let has_codes = match &self.stop_exit_codes {
            Value::Null => false,
            Value::Array(codes) => !codes.is_empty(),
            _ => true,
        };
        self.status == "stopped" && self.autorestart == Value::Bool(true) && !has_codes
    }

    fn is_started_by_others(&self) -> bool {
        let is_set = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !matches!(text.as_str(), "" | "0" | "false"),
            Value::Number(number) => number.as_i64() != Some(0),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        };
        is_set(&self.watch) || is_set(&self.cron_restart)
    }
}

/// When one of these was last started.
fn last_start(entries: &[&Pm2Process]) -> Option<SystemTime> {
    let starts = entries
        .iter()
        .map(|entry| entry.pm2_env.pm_uptime.as_u64().map(Duration::from_millis));
    let last = starts.collect::<Option<Vec<_>>>()?.into_iter().max()?;
    SystemTime::UNIX_EPOCH.checked_add(last)
}

/// How often these were restarted, all together.
fn restarts(entries: &[&Pm2Process]) -> Option<u64> {
    entries.iter().try_fold(0, |sum: u64, entry| {
        Some(sum.saturating_add(entry.pm2_env.restart_time.as_u64()?))
    })
}

/// The list among whatever else pm2 prints before it.
fn list_in(answer: &[u8]) -> Option<Vec<Pm2Process>> {
    let mut at = 0;
    for line in answer.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"[")
            && let Some(Ok(list)) = serde_json::Deserializer::from_slice(&answer[at..])
                .into_iter()
                .next()
        {
            return Some(list);
        }
        at += line.len();
    }
    None
}

/// What the list says of the processes of a name. `None`: all have ended. Pure.
fn judge(entries: &[&Pm2Process]) -> Result<Option<Observation>, String> {
    if !entries.iter().all(|entry| entry.pm2_env.is_known()) {
        return Err("pm2 reports a status that is not known here".into());
    }
    if entries.iter().all(|entry| entry.has_ended()) {
        return Ok(None);
    }
    let is = |statuses: &'static [&'static str]| {
        move |entry: &&&Pm2Process| statuses.contains(&entry.pm2_env.status.as_str())
    };
    let mut left = entries.iter().filter(|entry| !entry.has_ended());
    if left.any(|entry| is(&["launching", "stopping"])(&entry)) {
        return Ok(Some(Observation::Changing("pm2 stops or starts it".into())));
    }
    let pids: Vec<u32> = entries
        .iter()
        .filter(is(&["online"]))
        .filter_map(|entry| entry.pid())
        .collect();
    Ok(Some(match pids.is_empty() {
        true => Observation::Changing("pm2 has neither started nor stopped it for good".into()),
        false => Observation::Running { pids, mark: None },
    }))
}

/// What the list says that stands in the way of a stop and a start of these. Pure.
fn obstacle_in(entries: &[&Pm2Process]) -> Option<RestartObstacle> {
    let mut envs = entries.iter().map(|entry| &entry.pm2_env);
    if envs.any(Env::is_started_by_others) {
        return Some(RestartObstacle::StartedByPm2);
    }
    // The start starts all that have ended, also what an operator had stopped before.
    let ended = entries.iter().filter(|entry| entry.has_ended()).count();
    (ended > 0 && ended < entries.len()).then_some(RestartObstacle::EndedInPart)
}

/// These processes and all that they have started, as far as it is still theirs. Blocks.
fn tree(proc: &ProcDir, roots: &BTreeSet<u32>) -> Processes {
    let processes: BTreeMap<u32, _> = proc
        .pids()
        .filter_map(|pid| Some((pid, proc.info(pid).ok()??)))
        .collect();
    let mut found: BTreeSet<u32> = roots.clone();
    loop {
        let before = found.len();
        let children: Vec<u32> = processes
            .iter()
            .filter(|(_, info)| found.contains(&info.parent))
            .map(|(pid, _)| *pid)
            .collect();
        found.extend(children);
        if found.len() == before {
            break;
        }
    }
    found
        .iter()
        .filter_map(|pid| processes.get(pid).map(|info| (*pid, info.started)))
        .collect()
}

/// Whether one of these processes still runs, or another one that pm2 has started under one
/// of these ids: whatever such a process starts has its environment. Blocks.
fn remains(
    proc: &ProcDir,
    kept: &Processes,
    home: &Path,
    ids: &BTreeSet<u32>,
) -> Result<bool, String> {
    for (pid, started) in kept {
        if proc
            .info(*pid)?
            .is_some_and(|info| !info.is_zombie && info.started == *started)
        {
            return Ok(true);
        }
    }
    let daemon = daemon_pid(home);
    let home = [b"PM2_HOME=", home.as_os_str().as_bytes()].concat();
    let ids: Vec<Vec<u8>> = ids
        .iter()
        .map(|id| format!("pm_id={id}").into_bytes())
        .collect();
    for pid in proc.pids().filter(|pid| Some(*pid) != daemon) {
        // Those of other users cannot be read; they are not of this pm2.
        let Some(environ) = proc.environ(pid) else {
            continue;
        };
        let has = |wanted: &[u8]| {
            environ
                .split(|byte| *byte == 0)
                .any(|entry| entry == wanted)
        };
        if has(&home) && ids.iter().any(|id| has(id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

mod daemon;
mod given_up;
mod pid_files;
mod places;

use daemon::{NotAsked, daemon_pid, pm2_user};

#[cfg(test)]
mod tests;
