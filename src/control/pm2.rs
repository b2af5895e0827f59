//! The preset `pm2`: processes that pm2 runs under a name, for one user.
//!
//! Every call of `pm2` without a daemon starts one, and it would know nothing of the bots.
//! So it is called only when the daemon of the home runs, and what it says of an unknown
//! name is no proof. Processes are found by their exact name in its list and then called by
//! their numbers: to pm2 a name may also be `all`, a number, a namespace, an expression, a
//! script or a file of settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regex::Regex;
use rustix::process::getuid;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::connection::{Stat, pm2_list_in, read_small, stat, within};
use crate::folder::SessionName;

use super::calls::{act, bare, look, words};
use super::turn::Turn;
use super::word::Word;
use super::{ControlError, LOOK_TIMEOUT, Presence};

/// The list of pm2 holds the environment of every bot.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// The environment of one process is read up to here.
const MAX_ENVIRON_BYTES: u64 = 4 << 20;
/// `id -u` prints a number.
const MAX_UID_BYTES: u64 = 64;
const PROC: &str = "/proc";
/// Between two looks at a process that is on its way down.
const PAUSE: Duration = Duration::from_millis(300);

/// Processes by number and start, so that another one of the same number is not meant.
type Processes = BTreeSet<(u32, u64)>;
/// What a service consisted of when it was asked to stop.
type Left = Arc<Mutex<BTreeMap<String, Processes>>>;

/// Processes of pm2, with placeholders.
#[derive(Clone, Debug)]
pub struct Pm2 {
    name: Word,
    home: PathBuf,
    user: Option<String>,
    left: Left,
}

/// The same processes; what was seen of them does not count.
impl PartialEq for Pm2 {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.home, &self.user) == (&other.name, &other.home, &other.user)
    }
}

impl Pm2 {
    /// From the process's name, PM2_HOME and the user who runs pm2.
    ///
    /// Errors: the key, and a sentence.
    pub fn new(
        name: &str,
        home: &Path,
        user: Option<&str>,
        pattern: Option<&Regex>,
    ) -> Result<Self, (&'static str, String)> {
        let name = Word::name(name, pattern).map_err(|error| ("name", error))?;
        if !home.is_absolute() {
            return Err((
                "home",
                "must be an absolute path, such as /home/bots/.pm2".into(),
            ));
        }
        let is_user = |user: &str| {
            user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && user
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if user.is_some_and(|user| !is_user(user)) {
            return Err(("user", "must be the name of a user".into()));
        }
        Ok(Self {
            name,
            home: home.to_owned(),
            user: user.map(str::to_owned),
            left: Left::default(),
        })
    }

    pub(super) fn word(&self) -> &Word {
        &self.name
    }

    pub(super) fn expand(&self, session: &SessionName) -> Result<OnePm2, ControlError> {
        Ok(OnePm2 {
            name: self.name.fill(session)?,
            home: self.home.clone(),
            user: self.user.clone(),
            left: Arc::clone(&self.left),
        })
    }
}

/// The processes of one session.
#[derive(Clone, Debug)]
pub(super) struct OnePm2 {
    name: String,
    home: PathBuf,
    user: Option<String>,
    left: Left,
}

impl PartialEq for OnePm2 {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.home, &self.user) == (&other.name, &other.home, &other.user)
    }
}

/// How pm2 is called as the bots' user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// This program runs as that user.
    Directly,
    /// This program is root.
    Runuser,
    /// Neither.
    Sudo,
}

impl OnePm2 {
    pub(super) async fn stop(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        let list = self.list().await?;
        let entries = self.entries(&list)?;
        if entries
            .iter()
            .any(|entry| entry.pm2_env.is_started_by_others())
        {
            return Err(ControlError(
                "not tried: pm2 starts the process by itself, by the clock (cron_restart) or when a file changes (watch), and would do so in the middle of the clean-up; turn that off".into(),
            ));
        }
        let ids = to_stop(&entries)?;
        if ids.is_empty() {
            return Ok(());
        }
        let pids: BTreeSet<u32> = entries
            .iter()
            .filter_map(|entry| entry.pid.filter(|p| *p > 0))
            .collect();
        let tree = within("listing processes", LOOK_TIMEOUT, move || {
            Ok(tree(Path::new(PROC), &pids))
        })
        .await;
        let tree = tree.map_err(ControlError)?;
        self.left()
            .entry(self.name.clone())
            .or_default()
            .extend(tree);
        self.act("stop", &ids, timeout, turn).await
    }

    pub(super) async fn start(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        let until = Instant::now() + timeout;
        loop {
            let list = self.list().await?;
            let entries = self.entries(&list)?;
            // Started now, pm2 would lose count of it.
            if entries
                .iter()
                .any(|entry| entry.pm2_env.status == "stopping")
                && Instant::now() < until
            {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let ids: Vec<String> = entries
                .iter()
                .filter(|entry| matches!(entry.pm2_env.status.as_str(), "stopped" | "errored"))
                .map(|entry| entry.pm_id.to_string())
                .collect();
            return match ids.is_empty() {
                true => Ok(()),
                false => self.act("restart", &ids, timeout, turn).await,
            };
        }
    }

    pub(super) async fn presence(&self) -> Presence {
        match self.look().await {
            Ok(true) => Presence::Running,
            Ok(false) => Presence::Gone,
            Err(error) => Presence::Unknown(error.to_string()),
        }
    }

    /// Whether it runs.
    async fn look(&self) -> Result<bool, ControlError> {
        let list = self.list().await?;
        let entries = self.entries(&list)?;
        for entry in &entries {
            if !entry.pm2_env.is_known() {
                return Err(ControlError(
                    "pm2 reports a status that is not known here".into(),
                ));
            }
            if !entry.has_ended() {
                return Ok(true);
            }
        }
        // pm2 watches only the process that it has started itself.
        let left = self.left().get(&self.name).cloned().unwrap_or_default();
        let (home, ids) = (
            self.home.clone(),
            entries.iter().map(|entry| entry.pm_id).collect(),
        );
        let look = move || remains(Path::new(PROC), &left, &home, &ids);
        let remains = within("looking for what it has left", LOOK_TIMEOUT, look).await;
        let remains = remains.map_err(ControlError)?;
        if !remains {
            self.left().remove(&self.name);
        }
        Ok(remains)
    }

    fn left(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Processes>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes of the name; at least one.
    fn entries<'a>(&self, list: &'a [Entry]) -> Result<Vec<&'a Entry>, ControlError> {
        let entries: Vec<&Entry> = list
            .iter()
            .filter(|entry| entry.is_named(&self.name))
            .collect();
        match entries.is_empty() {
            true => Err(ControlError("pm2 knows no process of this name".into())),
            false => Ok(entries),
        }
    }

    async fn list(&self) -> Result<Vec<Entry>, ControlError> {
        let argv = self.argv(&["jlist"]).await?;
        let call = bare(&argv, LOOK_TIMEOUT, &[]).env("PM2_HOME", &self.home);
        let answer = look("pm2 jlist", call, MAX_LIST_BYTES).await?;
        pm2_list_in(&answer)
            .ok_or_else(|| ControlError("the list of pm2 cannot be understood".into()))
    }

    async fn act(
        &self,
        verb: &str,
        ids: &[String],
        timeout: Duration,
        turn: &Turn,
    ) -> Result<(), ControlError> {
        let args: Vec<&str> = [verb]
            .into_iter()
            .chain(ids.iter().map(String::as_str))
            .collect();
        let argv = self.argv(&args).await?;
        let call = bare(&argv, timeout, &[]).env("PM2_HOME", &self.home);
        act(&format!("pm2 {verb}"), call, turn).await
    }

    /// The call of pm2, once it is certain that its daemon runs.
    async fn argv(&self, args: &[&str]) -> Result<Vec<String>, ControlError> {
        let own = getuid().as_raw();
        let wanted = match &self.user {
            None => own,
            Some(user) => uid(user).await?,
        };
        let way = match (wanted == own, own) {
            (true, _) => Way::Directly,
            (false, 0) => Way::Runuser,
            (false, _) => Way::Sudo,
        };
        let home = self.home.clone();
        let check = move || daemon_runs(Path::new(PROC), &home, wanted, way);
        within("looking for the daemon of pm2", LOOK_TIMEOUT, check)
            .await
            .map_err(not_asked)?;
        // Another user may not connect.
        if way != Way::Sudo {
            // Never waits for a daemon that hangs: with a full backlog it fails.
            let connects = UnixStream::connect(self.home.join("rpc.sock"));
            if !matches!(
                tokio::time::timeout(LOOK_TIMEOUT, connects).await,
                Ok(Ok(_))
            ) {
                return Err(not_asked(NO_DAEMON.into()));
            }
        }
        argv(
            way,
            self.user.as_deref().unwrap_or_default(),
            &self.home,
            args,
        )
    }
}

const NO_DAEMON: &str = "its daemon does not run or does not answer, and any call would start another one; start it as the bots' user with `pm2 resurrect`";

fn not_asked(why: String) -> ControlError {
    ControlError(format!("pm2 was not asked: {why}"))
}

/// The number of a user.
async fn uid(user: &str) -> Result<u32, ControlError> {
    let argv = words(&["id", "-u", user]);
    let answer = look("id", bare(&argv, LOOK_TIMEOUT, &[]), MAX_UID_BYTES).await;
    let answer = answer.map_err(|_| not_asked(format!("there is no user {user}")))?;
    let text = String::from_utf8_lossy(&answer);
    text.trim()
        .parse()
        .map_err(|_| not_asked(format!("the number of the user {user} cannot be told")))
}

/// Pure: the words of the call.
fn argv(way: Way, user: &str, home: &Path, args: &[&str]) -> Result<Vec<String>, ControlError> {
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| not_asked("its home is not UTF-8".into()))
    };
    let home_dir = home.parent().unwrap_or(home);
    let (pm2_home, home) = (
        format!("PM2_HOME={}", text(home)?),
        format!("HOME={}", text(home_dir)?),
    );
    let before: &[&str] = match way {
        Way::Directly => &[],
        Way::Runuser => &["runuser", "-u", user, "--", "env", &pm2_home, &home],
        Way::Sudo => &["sudo", "-n", "-H", "-u", user, "--", "env", &pm2_home],
    };
    Ok(words(&[before, &["pm2"], args].concat()))
}

/// Errors: it does not, or it is not that user's; a call would start one.
fn daemon_runs(proc: &Path, home: &Path, wanted: u32, way: Way) -> Result<(), String> {
    let owner = fs::metadata(home)
        .map_err(|error| format!("its home: {}", error.kind()))?
        .uid();
    if owner != wanted {
        return Err(format!(
            "its home belongs to uid {owner}, and it would be called as uid {wanted}; run the remediator as the bots' user, or set pm2.user"
        ));
    }
    let pid = read_small(&home.join("pm2.pid"))
        .ok()
        .and_then(|(text, _)| text.trim().parse::<u32>().ok());
    let Some(pid) = pid else {
        return Err(NO_DAEMON.into());
    };
    if !matches!(
        stat(proc, pid),
        Ok(Some(Stat {
            is_zombie: false,
            ..
        }))
    ) {
        return Err(NO_DAEMON.into());
    }
    let place = proc.join(pid.to_string());
    if fs::metadata(&place).map(|metadata| metadata.uid()).ok() != Some(wanted) {
        return Err(NO_DAEMON.into());
    }
    if way == Way::Sudo {
        // Nothing answers us; its title names its home.
        let title = fs::read(place.join("cmdline")).unwrap_or_default();
        let home = home.as_os_str().as_bytes();
        if !title.windows(home.len().max(1)).any(|part| part == home) {
            return Err(NO_DAEMON.into());
        }
    }
    match fs::symlink_metadata(home.join("rpc.sock")) {
        Ok(_) => Ok(()),
        Err(_) => Err(NO_DAEMON.into()),
    }
}

/// One process of pm2's list.
#[derive(Debug, Deserialize)]
struct Entry {
    name: Value,
    pm_id: u32,
    pid: Option<u32>,
    pm2_env: Env,
}

#[derive(Debug, Deserialize)]
struct Env {
    status: String,
    #[serde(default)]
    watch: Value,
    #[serde(default)]
    cron_restart: Value,
}

impl Entry {
    fn is_named(&self, name: &str) -> bool {
        match &self.name {
            Value::String(text) => text == name,
            // A name of digits in pm2's own configuration file stays a number.
            Value::Number(number) => number.to_string() == name,
            _ => false,
        }
    }

    /// It has no process. Between an exit and the restart pm2 says `stopped` and still
    /// names the process.
    fn has_ended(&self) -> bool {
        matches!(self.pm2_env.status.as_str(), "stopped" | "errored") && self.pid.unwrap_or(0) == 0
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

/// The numbers in `proc`.
fn pids(proc: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The numbers of those to stop, all of them or none. Pure.
///
/// Errors: some run and some have ended. The start afterwards starts all that have ended,
/// also what a person had stopped before.
fn to_stop(entries: &[&Entry]) -> Result<Vec<String>, ControlError> {
    let (ended, running): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.has_ended());
    if !ended.is_empty() && !running.is_empty() {
        return Err(ControlError(format!(
            "not tried: of the processes of this name {} run and {} are stopped or errored already, and the start afterwards would start those as well; start them, delete them from pm2, or give them another name",
            running.len(),
            ended.len()
        )));
    }
    Ok(running
        .iter()
        .map(|entry| entry.pm_id.to_string())
        .collect())
}

/// These processes and all that they have started, as far as it is still theirs.
fn tree(proc: &Path, roots: &BTreeSet<u32>) -> Processes {
    let mut processes: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for pid in pids(proc) {
        let text = fs::read(proc.join(pid.to_string()).join("stat")).unwrap_or_default();
        if let Some(found) = parent_and_start(&String::from_utf8_lossy(&text)) {
            processes.insert(pid, found);
        }
    }
    let mut found: BTreeSet<u32> = roots.clone();
    loop {
        let before = found.len();
        found.extend(
            processes
                .iter()
                .filter(|(_, (parent, _))| found.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    found
        .iter()
        .filter_map(|pid| processes.get(pid).map(|(_, started)| (*pid, *started)))
        .collect()
}

fn parent_and_start(stat: &str) -> Option<(u32, u64)> {
    // The name in parentheses may hold anything, parentheses too.
    let words: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some((words.get(1)?.parse().ok()?, words.get(19)?.parse().ok()?))
}

/// Whether one of these processes still runs, or another one that pm2 has started under one
/// of these numbers: whatever a bot starts has its environment.
fn remains(
    proc: &Path,
    left: &Processes,
    home: &Path,
    ids: &BTreeSet<u32>,
) -> Result<bool, String> {
    for (pid, started) in left {
        if stat(proc, *pid)?.is_some_and(|stat| !stat.is_zombie && stat.started == *started) {
            return Ok(true);
        }
    }
    let daemon = read_small(&home.join("pm2.pid"))
        .ok()
        .and_then(|(text, _)| text.trim().parse::<u32>().ok());
    let home = [b"PM2_HOME=", home.as_os_str().as_bytes()].concat();
    let ids: Vec<Vec<u8>> = ids
        .iter()
        .map(|id| format!("pm_id={id}").into_bytes())
        .collect();
    for pid in pids(proc).filter(|pid| Some(*pid) != daemon) {
        // Those of other users cannot be read; they are not of this pm2.
        let Ok(file) = fs::File::open(proc.join(pid.to_string()).join("environ")) else {
            continue;
        };
        let mut environ = Vec::new();
        if file
            .take(MAX_ENVIRON_BYTES)
            .read_to_end(&mut environ)
            .is_err()
        {
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Entry {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_has_ended() {
        for (status, pid, ended) in [
            ("stopped", "0", true),
            ("stopped", "null", true),
            ("errored", "0", true),
            // About to be started again.
            ("stopped", "77", false),
            // Could not be killed.
            ("errored", "77", false),
            ("waiting restart", "0", false),
            ("online", "77", false),
            ("online", "0", false),
            ("launching", "0", false),
            ("stopping", "77", false),
        ] {
            let entry = entry(&format!(
                r#"{{"name":"a","pm_id":1,"pid":{pid},"pm2_env":{{"status":"{status}"}}}}"#
            ));
            assert_eq!(entry.has_ended(), ended, "{status} {pid}");
            assert!(entry.pm2_env.is_known());
        }
    }

    #[test]
    fn all_of_a_name_are_stopped_or_none() {
        let entry = |id: u32, status: &str, pid: u32| {
            entry(&format!(
                r#"{{"name":"a","pm_id":{id},"pid":{pid},"pm2_env":{{"status":"{status}"}}}}"#
            ))
        };
        let (one, two) = (entry(1, "online", 71), entry(2, "online", 72));
        let (stopped, errored) = (entry(3, "stopped", 0), entry(4, "errored", 0));
        assert_eq!(to_stop(&[&one, &two]).unwrap(), ["1", "2"]);
        assert!(to_stop(&[&stopped, &errored]).unwrap().is_empty());
        for mixed in [[&one, &stopped], [&errored, &two]] {
            let error = to_stop(&mixed).unwrap_err().to_string();
            assert!(error.contains("1 run and 1 are stopped"), "{error}");
        }
    }

    #[test]
    fn what_others_start() {
        for (env, started) in [
            (r#""watch":false"#, false),
            (r#""watch":true"#, true),
            (r#""watch":["src"]"#, true),
            (r#""watch":[]"#, false),
            (r#""cron_restart":"0 3 * * *""#, true),
            (r#""cron_restart":null"#, false),
            (r#""cron_restart":"0""#, false),
        ] {
            let entry = entry(&format!(
                r#"{{"name":"a","pm_id":1,"pm2_env":{{"status":"online",{env}}}}}"#
            ));
            assert_eq!(entry.pm2_env.is_started_by_others(), started, "{env}");
        }
    }

    #[test]
    fn a_name_is_meant_as_it_is() {
        let named = |name: &str| {
            entry(&format!(
                r#"{{"name":{name},"pm_id":1,"pm2_env":{{"status":"online"}}}}"#
            ))
        };
        assert!(named("\"all\"").is_named("all"));
        assert!(!named("\"bot\"").is_named("all"));
        assert!(named("7").is_named("7"));
        assert!(!named("\"bot-7\"").is_named("7"));
    }

    #[test]
    fn as_another_user() {
        let home = Path::new("/home/bots/.pm2");
        let call = |way| argv(way, "bots", home, &["stop", "3"]).unwrap().join(" ");
        assert_eq!(call(Way::Directly), "pm2 stop 3");
        assert_eq!(
            call(Way::Runuser),
            "runuser -u bots -- env PM2_HOME=/home/bots/.pm2 HOME=/home/bots pm2 stop 3"
        );
        assert_eq!(
            call(Way::Sudo),
            "sudo -n -H -u bots -- env PM2_HOME=/home/bots/.pm2 pm2 stop 3"
        );
    }

    #[test]
    fn what_remains_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (proc, home) = (dir.path(), Path::new("/home/bots/.pm2"));
        // Numbers that no real process has: the kernel is asked about missing ones.
        let process = |pid: u32, name: &str, state: &str, parent: u32, environ: &str| {
            let place = proc.join(pid.to_string());
            fs::create_dir(&place).unwrap();
            let stat = format!(
                "{pid} ({name}) {state} {parent} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {}",
                pid + 5
            );
            fs::write(place.join("stat"), stat).unwrap();
            fs::write(place.join("environ"), environ.replace(' ', "\0")).unwrap();
        };
        process(5_000_001, "npm) S 1", "S", 1, "");
        process(5_000_002, "node", "S", 5_000_001, "");
        process(5_000_003, "sh", "S", 5_000_002, "");
        process(
            5_000_004,
            "other",
            "S",
            1,
            "PM2_HOME=/home/bots/.pm2 pm_id=12 ",
        );
        let roots = BTreeSet::from([5_000_001]);
        let all = tree(proc, &roots);
        let numbers: Vec<u32> = all.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(numbers, [5_000_001, 5_000_002, 5_000_003]);

        let one = BTreeSet::from([1]);
        assert_eq!(remains(proc, &all, home, &one), Ok(true));
        for pid in [5_000_001, 5_000_003] {
            fs::remove_dir_all(proc.join(pid.to_string())).unwrap();
        }
        assert_eq!(
            remains(proc, &all, home, &one),
            Ok(true),
            "the grandchild is still there"
        );
        let other = BTreeSet::from([(5_000_002, 1)]);
        assert_eq!(
            remains(proc, &other, home, &one),
            Ok(false),
            "another process of that number"
        );
        fs::remove_dir_all(proc.join("5000002")).unwrap();
        assert_eq!(remains(proc, &all, home, &one), Ok(false));
        assert_eq!(
            remains(proc, &all, home, &BTreeSet::from([12])),
            Ok(true),
            "known by its environment"
        );
        assert_eq!(
            remains(proc, &all, Path::new("/home/bots"), &BTreeSet::from([12])),
            Ok(false)
        );
    }
}
