//! Proof that the process behind a run is alive.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::state_file;

/// A file in the state directory that is locked for as long as the store is open. It tells a run under way from one whose process died, also between containers.
#[derive(Debug)]
pub(super) struct ProcessLock {
    name: String,
    dir: PathBuf,
    path: PathBuf,
    lock: Option<std::fs::File>,
}

impl ProcessLock {
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        // Another process may remove the file before it is locked: then try again.
        for _ in 0..4 {
            let mut random = [0u8; 8];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let name = format!("owner-{:016x}.lock", u64::from_ne_bytes(random));
            let path = dir.join(&name);
            let mut options = std::fs::OpenOptions::new();
            let lock = state_file::open(options.create_new(true).append(true), &path)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && path.exists() {
                return Ok(Self {
                    name,
                    dir: dir.to_owned(),
                    path,
                    lock: Some(lock),
                });
            }
            let _ = std::fs::remove_file(&path);
        }
        // Files cannot be locked there. Another process that starts meanwhile may take a run of
        // this process for an interrupted one; the lock of the folder still excludes both.
        tracing::warn!(
            "no file can be locked in {}; use a local file system",
            dir.display()
        );
        Ok(Self::unproven(dir.to_owned()))
    }

    /// No proof at all.
    pub(super) fn unproven(dir: PathBuf) -> Self {
        Self {
            name: "unproven".into(),
            dir,
            path: PathBuf::new(),
            lock: None,
        }
    }

    /// The name under which this process records its runs.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether `name` is this process.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.name == name
    }

    /// Whether the process behind `name` is alive; true if that is unknown.
    pub(super) fn is_alive(&self, name: &str) -> bool {
        self.is_own(name) || is_locked(&self.dir, name)
    }

    /// Removes the files of dead processes.
    pub(super) fn tidy(&self) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with("owner-")) else {
                continue;
            };
            if !is_locked(&self.dir, name) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn is_locked(dir: &Path, name: &str) -> bool {
    if !name.starts_with("owner-") || name.contains('/') {
        return false;
    }
    match state_file::open(std::fs::OpenOptions::new().read(true), &dir.join(name)) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        let _ = std::fs::remove_file(&self.path);
    }
}
