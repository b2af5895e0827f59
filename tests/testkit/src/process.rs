//! A child process that never outlives its owner.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Doing, Result};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at whether a child has ended.
const POLL: Duration = Duration::from_millis(3);

/// A running child. Dropping it stops it.
///
/// Only its own pid is ever signalled, and only while it has not been waited for, so the
/// pid cannot be that of another process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`; what it prints goes to the file `log`.
    ///
    /// It gets its own process group, so that Ctrl-C in a terminal reaches its owner only,
    /// and dies with the thread that started it should that be killed.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Result<Self> {
        File::create(log).doing(log.display())?;
        let mut process = Self::start_in(&[], program, args, log)?;
        name.clone_into(&mut process.name);
        Ok(process)
    }

    /// Starts `program` behind `wrapper`, which must end with an exec of its arguments;
    /// what it prints is appended to the file `log`. Its name is that of the program.
    pub fn start_in<A: AsRef<OsStr>>(
        wrapper: &[&str],
        program: &Path,
        args: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.doing(log.display())?;
        let errors = output.try_clone().doing(log.display())?;
        let dies_with_parent: &[&str] = match *SETPRIV_WORKS {
            true => &["setpriv", "--pdeathsig", "KILL", "--"],
            false => &[],
        };
        let mut words: Vec<&OsStr> = dies_with_parent.iter().map(OsStr::new).collect();
        words.extend(wrapper.iter().map(OsStr::new));
        words.push(program.as_os_str());
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(args)
            // What is configured on this machine does not count.
            .env("BAILEYS_CONFIG", "/dev/null")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        Self::spawn(&program.display().to_string(), command, log)
    }

    /// Spawns a command that appends what it prints to the file `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let child = command.spawn();
        Ok(Self {
            name: name.to_owned(),
            child: child.doing(format_args!("cannot start {name}"))?,
            log: log.to_owned(),
            ended: None,
        })
    }

    /// What it was called at its start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().doing(&self.name)?;
        }
        Ok(self.ended)
    }

    /// Fails when it has ended, with the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(format!(
                "{} ended ({status}):\n{}",
                self.name,
                self.log_tail(15)
            )),
        }
    }

    /// The last lines it printed.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..]
            .iter()
            .map(|line| format!("    {line}\n"))
            .collect()
    }

    /// Its pid, for a look into /proc.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// Asks it to end, and does not wait.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal, unless it has been waited for.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // It may be gone already; then there is nothing to do.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Asks it to end, waits, and kills it when it does not.
    pub fn stop(&mut self) {
        self.terminate();
        let end = Instant::now() + GRACE;
        while self.ended.is_none() && Instant::now() < end {
            match self.child.try_wait() {
                Ok(status) => self.ended = status,
                Err(_) => break,
            }
            if self.ended.is_none() {
                std::thread::sleep(POLL);
            }
        }
        self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether `setpriv` (util-linux) is here and knows `--pdeathsig`.
static SETPRIV_WORKS: LazyLock<bool> = LazyLock::new(|| {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
});

/// Runs a command to its end, at most `bound` long. Returns whether it succeeded and what
/// it printed on standard output and standard error.
pub fn run<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
    bound: Duration,
) -> Result<(ExitStatus, String, String)> {
    let name = program.display();
    let out = tempfile::NamedTempFile::new().doing(&name)?;
    let err = tempfile::NamedTempFile::new().doing(&name)?;
    let mut child = Command::new(program)
        .args(args)
        .env("BAILEYS_CONFIG", "/dev/null")
        .stdin(Stdio::null())
        .stdout(out.reopen().doing(&name)?)
        .stderr(err.reopen().doing(&name)?)
        .spawn()
        .doing(format_args!("cannot start {name}"))?;
    let end = Instant::now() + bound;
    let status = loop {
        if let Some(status) = child.try_wait().doing(&name)? {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} did not end within {bound:?}"));
        }
        std::thread::sleep(POLL);
    };
    let read = |file: &tempfile::NamedTempFile| std::fs::read(file.path()).doing(&name);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status, text(read(&out)?), text(read(&err)?)))
}

/// Kills the process of this number, if its command line still holds `shape`.
pub fn end(pid: &str, shape: &str) {
    let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) else {
        return;
    };
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    if String::from_utf8_lossy(&line.unwrap_or_default()).contains(shape) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Asks the process of this number to end (SIGTERM).
pub fn terminate(pid: &str) {
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("a pid"), Signal::TERM);
}

/// Whether there is a process of this number that has not ended.
pub fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    !pid.trim().is_empty() && stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Finds a program on the PATH under one of its names.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    names
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_stops_and_a_deaf_process_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let process = Process::start("sleep", Path::new("sleep"), ["60"], &log).unwrap();
        let pid = Pid::from_child(&process.child);
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());

        let mut gone =
            Process::start("false", Path::new("sh"), ["-c", "echo why; exit 3"], &log).unwrap();
        let failure = crate::Patience::new(Duration::from_secs(5))
            .wait_until(Duration::from_secs(5), "its end", || match gone.alive() {
                Ok(()) => Err("running".to_owned()),
                Err(failure) => Ok(failure),
            })
            .unwrap();
        assert!(
            failure.contains("why") && failure.contains('3'),
            "{failure}"
        );
    }
}
