//! One terminal: a bash that gets one command after the other.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use testkit::Patience;

/// A command has ended by then, on a busy machine too: one of them calls jq for 387 files.
const BOUND: Duration = Duration::from_secs(600);

/// What a command came to.
#[derive(Debug)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Standard output; of a command on a terminal, all of it.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A bash whose variables stay from one command to the next.
#[derive(Debug)]
pub struct Shell {
    bash: Child,
    typed: Option<ChildStdin>,
    dir: PathBuf,
    count: usize,
}

impl Shell {
    /// Begins in the directory `at`. Its own files go to `dir`.
    pub fn start(dir: &Path, at: &Path, variables: &[(String, String)]) -> Self {
        fs::create_dir_all(dir).unwrap();
        let mut bash = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .envs(variables.iter().cloned())
            .current_dir(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("bash.err")).unwrap())
            .spawn()
            .unwrap();
        let typed = bash.stdin.take();
        let dir = dir.to_owned();
        let mut shell = Self {
            bash,
            typed,
            dir,
            count: 0,
        };
        // A command on a terminal runs in a bash of its own, with the variables of this one.
        shell.run("set -a");
        shell
    }

    /// Runs a command to its end.
    pub fn run(&mut self, command: &str) -> Ended {
        self.give(command, "</dev/null")
    }

    /// Runs a command on a terminal, where a person types this line.
    pub fn run_on_terminal(&mut self, command: &str, line: &str) -> Ended {
        let (script, typed) = (self.dir.join("script.sh"), self.dir.join("typed"));
        fs::write(&script, command).unwrap();
        fs::write(&typed, format!("{line}\n")).unwrap();
        let command = format!("script -qec 'bash \"{}\"' /dev/null", script.display());
        self.give(&command, &format!("<'{}'", typed.display()))
    }

    fn give(&mut self, command: &str, input: &str) -> Ended {
        self.count += 1;
        let count = self.count;
        let file = |kind: &str| self.dir.join(format!("{count}.{kind}"));
        let quoted = |kind: &str| format!("'{}'", file(kind).display());
        let text = format!(
            "{{\n{command}\n}} {input} >{} 2>{}\necho $? >{}\nmv {} {}\n",
            quoted("out"),
            quoted("err"),
            quoted("part"),
            quoted("part"),
            quoted("code"),
        );
        let typed = self.typed.as_mut().unwrap();
        typed.write_all(text.as_bytes()).unwrap();
        typed.flush().unwrap();
        let read = |kind: &str| {
            let bytes = fs::read(file(kind)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let seen = Patience::new(BOUND).wait_until(BOUND, command, || {
            let has_ended = self.bash.try_wait().is_ok_and(|ended| ended.is_some());
            match (file("code").exists(), has_ended) {
                (true, _) => Ok(true),
                (false, true) => Ok(false),
                (false, false) => Err("it runs".to_owned()),
            }
        });
        let has_code = seen.unwrap_or_else(|failure| panic!("{failure}\n{}", read("err")));
        let said = fs::read_to_string(self.dir.join("bash.err")).unwrap_or_default();
        assert!(has_code, "the shell ended: {command}\n{said}");
        Ended {
            code: read("code").trim().parse().unwrap(),
            out: read("out"),
            err: read("err"),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.typed.take());
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}
