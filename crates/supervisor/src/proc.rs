//! What /proc says of processes, by the crate `procfs`. One read is done by hand: `procfs`
//! reads an environment without a limit, and a process can make its own as long as it likes.

mod connections;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use procfs::process::{Process, Stat, StatFlags};
use procfs::{CurrentSI, KernelStats, ProcError};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, test_kill_process};

pub use connections::{ProcessConnections, connections_to};

use crate::Observation;
use crate::bounded::within;

/// The environment of one process is read up to here.
const MAX_ENVIRON_BYTES: u64 = 4 << 20;
/// A small file is read up to here.
const MAX_SMALL_BYTES: u64 = 64;

/// A directory like /proc; another one in tests.
#[derive(Clone, Debug)]
pub(crate) struct ProcDir(PathBuf);

impl Default for ProcDir {
    fn default() -> Self {
        Self("/proc".into())
    }
}

/// A process that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessInfo {
    /// It has ended and was not waited for.
    pub(crate) is_zombie: bool,
    /// It is a thread of the kernel.
    pub(crate) is_kernel: bool,
    /// When it started, in clock ticks since the machine started.
    pub(crate) started: u64,
    /// The process that started it, or that adopted it.
    pub(crate) parent: u32,
}

impl From<Stat> for ProcessInfo {
    fn from(stat: Stat) -> Self {
        Self {
            // The first thread may end before the others.
            is_zombie: matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1,
            is_kernel: StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD),
            started: stat.starttime,
            parent: u32::try_from(stat.ppid).unwrap_or(0),
        }
    }
}

impl ProcDir {
    #[cfg(test)]
    pub(crate) fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    fn place(&self, pid: u32) -> PathBuf {
        self.0.join(pid.to_string())
    }

    fn process(&self, pid: u32) -> Result<Process, ProcError> {
        Process::new_with_root(self.place(pid))
    }

    /// `None`: there is no process of this id.
    pub(crate) fn info(&self, pid: u32) -> Result<Option<ProcessInfo>, String> {
        match self.process(pid).and_then(|process| process.stat()) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(ProcError::NotFound(_)) => {
                // With hidepid the processes of others are there and not shown.
                let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
                match number.map(test_kill_process) {
                    Some(Err(rustix::io::Errno::SRCH)) => Ok(None),
                    _ => Err(format!(
                        "process {pid} is there, but hidden from this user in /proc"
                    )),
                }
            }
            Err(_) => Err(format!("/proc of process {pid} cannot be read")),
        }
    }

    /// Whether a process of this id runs.
    pub(crate) fn runs(&self, pid: u32) -> bool {
        matches!(self.info(pid), Ok(Some(info)) if !info.is_zombie)
    }

    /// Whether this is the number of a thread, which is found as that of a process is.
    fn is_thread(&self, pid: u32) -> bool {
        let status = self.process(pid).and_then(|process| process.status());
        status.is_ok_and(|status| u32::try_from(status.tgid) != Ok(pid))
    }

    /// Whether a process knows itself by this id. In a PID namespace of its own it has another one
    /// there, which it writes to its log.
    fn knows_itself_as(&self, pid: u32) -> bool {
        let status = self.process(pid).and_then(|process| process.status());
        let ids = status.ok().and_then(|status| status.nspid);
        let own = ids.and_then(|ids| ids.last().copied());
        own.is_none_or(|own| u32::try_from(own) == Ok(pid))
    }

    /// The user that a process runs as.
    pub(crate) fn owner(&self, pid: u32) -> Option<u32> {
        Some(fs::metadata(self.place(pid)).ok()?.uid())
    }

    /// All process ids.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// The start of a process's environment. `None` where this user may not read it.
    pub(crate) fn environ(&self, pid: u32) -> Option<Vec<u8>> {
        let file = self.process(pid).ok()?.open_relative("environ").ok()?;
        let mut environ = Vec::new();
        file.take(MAX_ENVIRON_BYTES)
            .read_to_end(&mut environ)
            .ok()?;
        Some(environ)
    }

    /// The PID namespace of this program. Seen from another one, a pid is another process.
    pub(crate) fn pid_namespace(&self) -> Option<u64> {
        Some(fs::metadata(self.0.join("self/ns/pid")).ok()?.ino())
    }

    /// Identifies these very processes: their ids and starts, and the boot. `None` where one
    /// cannot be seen, or where it runs in another PID namespace.
    pub(crate) fn mark(&self, pids: &[u32]) -> Option<String> {
        let mut mark = String::new();
        for pid in pids {
            let info = self.info(*pid).ok()??;
            mark += &format!("{pid} {} ", info.started);
        }
        (!pids.is_empty()).then(|| mark + &boot_id())
    }

    /// The ids and starts of the processes in a mark of this boot.
    pub(crate) fn processes_in(mark: &str) -> Vec<(u32, u64)> {
        let words = match mark.rsplit_once(' ') {
            Some((processes, boot)) if boot == boot_id() => processes.split(' '),
            _ => return Vec::new(),
        };
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let pairs = numbers.chunks_exact(2);
        let pair = |pair: &[u64]| match pair {
            [pid, started] => Some((u32::try_from(*pid).ok()?, *started)),
            _ => None,
        };
        pairs.filter_map(pair).collect()
    }

    /// Whether the process of this id that started then still runs.
    pub(crate) fn is_same(&self, pid: u32, started: u64) -> bool {
        matches!(self.info(pid), Ok(Some(info)) if !info.is_zombie && info.started == started)
    }
}

/// Whether the second mark names a process that the first one does not. Where one of several
/// processes has ended, it does not. Pure.
pub fn names_another(before: &str, after: &str) -> bool {
    match (processes_of(before), processes_of(after)) {
        _ if before == after => false,
        (Some((before, boot)), Some((after, later))) if boot == later => !after.is_subset(&before),
        _ => true,
    }
}

/// The ids and starts of the processes in a mark, and its boot. `None`: it is that of a pid file.
fn processes_of(mark: &str) -> Option<(BTreeSet<(&str, &str)>, &str)> {
    let (processes, boot) = mark.rsplit_once(' ')?;
    let words: Vec<&str> = processes.split(' ').collect();
    let pairs = words.chunks_exact(2);
    let has_pairs = pairs.remainder().is_empty();
    let mut named = BTreeSet::new();
    for pair in pairs {
        if let [pid, started] = pair {
            named.insert((*pid, *started));
        }
    }
    has_pairs.then_some((named, boot))
}

/// Whether all processes in this mark have ended. `None` where that cannot be told. A mark of
/// another boot names none that runs.
pub async fn have_ended(mark: &str, timeout: Duration) -> Option<bool> {
    let mark = mark.to_owned();
    let work = move || Ok(have_ended_in(&ProcDir::default(), &mark));
    within("reading /proc", timeout, work).await.ok().flatten()
}

fn have_ended_in(proc: &ProcDir, mark: &str) -> Option<bool> {
    if boot_id().is_empty() {
        return None;
    }
    if !is_of_this_boot(mark) {
        return Some(true);
    }
    let processes = ProcDir::processes_in(mark);
    let has_ended = |(pid, started): &(u32, u64)| {
        let info = proc.info(*pid).ok()?;
        Some(info.is_none_or(|info| info.is_zombie || info.started != *started))
    };
    let ended: Option<Vec<bool>> = processes.iter().map(has_ended).collect();
    let is_known = processes_of(mark).is_some() && !processes.is_empty();
    ended
        .filter(|_| is_known)
        .map(|ended| !ended.contains(&false))
}

/// Whether this mark was made since the machine has started. Pure but for the boot id.
pub fn is_of_this_boot(mark: &str) -> bool {
    mark.rsplit_once(' ')
        .is_some_and(|(_, boot)| boot == boot_id())
}

/// The observation, with the mark of the processes that run.
pub(crate) async fn with_mark(observed: Observation, timeout: Duration) -> Observation {
    let Observation::Running { pids, .. } = observed else {
        return observed;
    };
    let of = pids.clone();
    let work = move || Ok(ProcDir::default().mark(&of));
    let mark = within("reading /proc", timeout, work).await.ok().flatten();
    Observation::Running { pids, mark }
}

/// When the first of these processes started, by the wall clock. `None` where one of them cannot be
/// seen.
pub async fn first_start(pids: &[u32], timeout: Duration) -> Option<SystemTime> {
    let pids = pids.to_vec();
    let work = move || {
        let start = |pid: u32| wall_clock(ProcDir::default().info(pid).ok()??.started);
        let starts: Option<Vec<SystemTime>> = pids.into_iter().map(start).collect();
        Ok(starts.and_then(|starts| starts.into_iter().min()))
    };
    within("reading /proc", timeout, work).await.ok().flatten()
}

/// Differs from boot to boot; empty where it cannot be read.
pub(crate) fn boot_id() -> String {
    procfs::sys::kernel::random::boot_id().unwrap_or_default()
}

/// When a number of clock ticks after the machine's start was, by the wall clock. Not
/// `procfs::boot_time_secs`, which remembers its first answer: the clock may be set.
pub(crate) fn wall_clock(ticks: u64) -> Option<SystemTime> {
    let boot = KernelStats::current().ok()?.btime;
    let since = Duration::from_millis(ticks.checked_mul(1000)? / procfs::ticks_per_second());
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(boot) + since)
}

/// How far the wall clock may have been set since a process started.
const CLOCK_SET: Duration = Duration::from_secs(60);

/// Whether a process of this id runs that ran already at `by`. `None` where that cannot be told,
/// as of a process of the kernel, the first one, or one that has another id in its own PID
/// namespace: the id is of another PID namespace. Blocks.
pub fn runs_since(pid: u32, by: SystemTime) -> Option<bool> {
    runs_since_in(&ProcDir::default(), pid, by)
}

fn runs_since_in(proc: &ProcDir, pid: u32, by: SystemTime) -> Option<bool> {
    // A thread, or this program: then the number is of another PID namespace.
    if pid <= 1 || pid == std::process::id() || proc.is_thread(pid) {
        return None;
    }
    match proc.info(pid).ok()? {
        Some(info) if info.is_kernel => None,
        Some(info) if !info.is_zombie => {
            let ran = wall_clock(info.started)? <= by + CLOCK_SET;
            (!ran || proc.knows_itself_as(pid)).then_some(ran)
        }
        _ => Some(false),
    }
}

/// The start of a file that another program writes, and when it was written. Symbolic links
/// are followed. A named pipe does not block.
pub(crate) fn read_small(path: &Path) -> io::Result<(String, fs::Metadata)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    file.take(MAX_SMALL_BYTES).read_to_string(&mut text)?;
    Ok((text, metadata))
}

#[cfg(test)]
mod tests;
