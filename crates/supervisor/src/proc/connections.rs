//! The TCP connections of a process and of all that it has started. A bot is often a child of the
//! process that its supervisor watches: of `npm`, `sh -c`, `nodemon`, or `tini` in a container.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;

use procfs::ProcError;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};

use super::{ProcDir, ProcessInfo};

/// At most this many processes of one tree are looked at.
const MOST_PROCESSES: usize = 128;
/// At most this many threads of one process are asked what they have started.
const MOST_THREADS: usize = 256;

/// The established TCP connections to one port of a process and of all that it has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConnections {
    /// When the process started, in clock ticks since the machine started: tells it from another
    /// one of the same id.
    pub started: u64,
    /// The inodes of the sockets. A new socket has another one than those before it.
    pub inodes: BTreeSet<u64>,
    /// The sockets of all these processes were seen. `false` where one is another user's, or
    /// where there are too many.
    pub is_whole: bool,
    /// Where there is no socket: the ids by which these processes know themselves, as they write
    /// them to their logs. In a PID namespace of its own a process has another one.
    pub own_pids: BTreeSet<u32>,
}

/// The established TCP connections to `port` of a process and of all that it has started. Blocks.
///
/// Errors: this user cannot see the sockets of the process itself.
pub fn connections_to(pid: u32, port: u16) -> io::Result<ProcessConnections> {
    let number = i32::try_from(pid).map_err(io::Error::other)?;
    let root = Process::new(number).map_err(other)?;
    let started = root.stat().map_err(other)?.starttime;
    let mut tables = TcpTables::to(port);
    let mut inodes = tables.sockets_of(&root).map_err(other)?;
    let mut tree = vec![root];
    let mut is_whole = true;
    let mut next = 0;
    while let Some(parent) = tree.get(next) {
        next += 1;
        let (started_by, is_all) = started_by(parent);
        is_whole &= is_all;
        for child in started_by {
            if tree.len() >= MOST_PROCESSES {
                is_whole = false;
                break;
            }
            match tables.sockets_of(&child) {
                Ok(sockets) => inodes.extend(sockets),
                Err(_) => is_whole &= info(&child).is_none_or(|info| info.is_zombie),
            }
            tree.push(child);
        }
    }
    let own_pids = match inodes.is_empty() {
        true => tree.iter().filter_map(own_pid).collect(),
        false => BTreeSet::new(),
    };
    Ok(ProcessConnections {
        started,
        inodes,
        is_whole,
        own_pids,
    })
}

fn other(error: ProcError) -> io::Error {
    io::Error::other(error.to_string())
}

fn own_pid(process: &Process) -> Option<u32> {
    let ids = process.status().ok()?.nspid;
    let own = ids.and_then(|ids| ids.last().copied());
    u32::try_from(own.unwrap_or(process.pid)).ok()
}

/// `None`: it has ended.
fn info(process: &Process) -> Option<ProcessInfo> {
    Some(process.stat().ok()?.into())
}

/// The processes that one has started and that are still its own, and whether these are all. Where
/// the kernel does not tell (`CONFIG_PROC_CHILDREN`), it has none.
fn started_by(parent: &Process) -> (Vec<Process>, bool) {
    let mut children = Vec::new();
    let mut is_all = true;
    // The kernel lists them by the thread that has started them.
    for (number, task) in parent.tasks().into_iter().flatten().flatten().enumerate() {
        if number >= MOST_THREADS {
            is_all = false;
            break;
        }
        children.extend(task.children().unwrap_or_default());
    }
    let mut found = Vec::new();
    for pid in children.iter().take(MOST_PROCESSES) {
        let process = i32::try_from(*pid).ok().map(Process::new);
        let Some(Ok(process)) = process else {
            // It has ended since, or is hidden from this user.
            is_all &= ProcDir::default().info(*pid) == Ok(None);
            continue;
        };
        // A process that has got its number since has another parent.
        let is_own = |info: ProcessInfo| i64::from(info.parent) == i64::from(parent.pid);
        if info(&process).is_some_and(is_own) {
            found.push(process);
        }
    }
    (found, is_all && children.len() <= MOST_PROCESSES)
}

/// The established connections to one port, by network namespace. Those of one tree are mostly in
/// one, whose table is read once.
struct TcpTables {
    port: u16,
    established: BTreeMap<u64, BTreeSet<u64>>,
}

impl TcpTables {
    fn to(port: u16) -> Self {
        Self {
            port,
            established: BTreeMap::new(),
        }
    }

    /// The inodes of the sockets of a process that are in the table.
    ///
    /// Errors: this user cannot see them, or the process has ended.
    fn sockets_of(&mut self, process: &Process) -> Result<BTreeSet<u64>, ProcError> {
        let namespace = process.open_relative("ns/net")?.metadata()?.ino();
        let established = self.established.entry(namespace);
        let established = established.or_insert_with(|| established_to(process, self.port));
        // Read even where there is nothing to find, so that "cannot be seen" is an error.
        let descriptors = process.fd()?;
        // A descriptor may be closed meanwhile.
        let own = descriptors.filter_map(|descriptor| match descriptor.ok()?.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        });
        Ok(own.filter(|inode| established.contains(inode)).collect())
    }
}

/// The sockets of the network namespace of a process that are connected to a port.
fn established_to(process: &Process, port: u16) -> BTreeSet<u64> {
    let mut established = BTreeSet::new();
    // Without IPv6 there is no tcp6.
    for table in [process.tcp(), process.tcp6()].into_iter().flatten() {
        let found = table.into_iter().filter(|entry| {
            entry.state == TcpState::Established && entry.remote_address.port() == port
        });
        established.extend(found.map(|entry| entry.inode).filter(|inode| *inode != 0));
    }
    established
}

#[cfg(test)]
mod tests;
