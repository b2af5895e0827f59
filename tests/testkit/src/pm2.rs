//! The real pm2, with a home of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::{npm, process};

const BOUND: Duration = Duration::from_secs(90);

/// The pm2 of `tests/pm2`, which is installed if it is not there.
pub fn program() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pm2");
    npm::install(&dir, &[]).unwrap_or_else(|failure| panic!("{failure}"));
    dir.join("node_modules/pm2/bin/pm2")
}

/// A pm2 whose home is `pm2` in a directory. At the end its daemon is killed by its pid, and
/// then the processes that the file `pids` there names, if they run a `bot.js`.
#[derive(Debug)]
pub struct Pm2 {
    dir: PathBuf,
    program: PathBuf,
    /// More variables for it, and so for the processes that it starts.
    pub env: Vec<String>,
}

impl Pm2 {
    /// Makes the home, and `bin/pm2` beside it.
    pub fn new(dir: &Path) -> Self {
        let program = program();
        for name in ["pm2", "bin"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        symlink(&program, dir.join("bin/pm2")).unwrap();
        let env = vec![format!("PM2_HOME={}", dir.join("pm2").display())];
        let dir = dir.to_owned();
        Self { dir, program, env }
    }

    /// Runs a command, which must succeed; returns what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let program = self.program.display().to_string();
        let args = args.iter().map(|arg| (*arg).to_owned());
        let words = self.env.iter().cloned().chain([program]).chain(args);
        let (status, out, err) = process::run(Path::new("env"), words, BOUND).unwrap();
        assert!(status.success(), "{out}\n{err}");
        out
    }

    /// What `jlist` shows: one object for each process.
    pub fn list(&self) -> Vec<Value> {
        let out = self.run(&["jlist"]);
        // pm2 may say before that it has started its daemon.
        let list = out.lines().find(|line| line.starts_with('[')).unwrap();
        serde_json::from_str(list).unwrap()
    }

    /// Status and pid of the processes of one name.
    pub fn all(&self, name: &str) -> Vec<(String, u64)> {
        let mut entries = self.list();
        entries.retain(|entry| entry["name"] == name);
        let shown = entries.iter().map(|entry| {
            let status = entry["pm2_env"]["status"].as_str().unwrap();
            (status.to_owned(), entry["pid"].as_u64().unwrap_or(0))
        });
        shown.collect()
    }

    /// Status and pid of the first process of a name.
    pub fn says(&self, name: &str) -> (String, u64) {
        self.all(name).swap_remove(0)
    }

    /// The pid that the daemon wrote down.
    pub fn daemon(&self) -> String {
        fs::read_to_string(self.dir.join("pm2/pm2.pid")).unwrap_or_default()
    }

    /// Kills the daemon, if it still is that of this home, and waits for its end.
    pub fn kill(&self) {
        let daemon = self.daemon();
        process::end(&daemon, &self.dir.join("pm2").display().to_string());
        for _ in 0..200 {
            if !process::is_alive(&daemon) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        self.kill();
        let pids = fs::read_to_string(self.dir.join("pids")).unwrap_or_default();
        for pid in pids.lines() {
            process::end(pid, "bot.js");
        }
    }
}
