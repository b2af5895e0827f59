//! A clock that is wrong, for some programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Doing, Result, process};

/// The clock `CLOCK` of the program is off by as many seconds as the file `$WRONG_BY` says. The
/// other clocks are right.
const SHIM: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, id, time);
    const char *path = getenv("WRONG_BY");
    if (failed || id != CLOCK || !path) return failed;
    char text[32] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return failed;
    if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
    close(file);
    return failed;
}
"#;

/// One clock of a program. At first it is right.
#[derive(Debug)]
pub struct WrongClock {
    library: PathBuf,
    wrong_by: PathBuf,
}

impl WrongClock {
    /// The wall clock. Its files go to `dir`.
    ///
    /// # Errors
    /// `cc` is missing or fails.
    pub fn wall(dir: &Path) -> Result<Self> {
        Self::new(dir, "CLOCK_REALTIME")
    }

    /// Monotonic time. Its files go to `dir`.
    ///
    /// # Errors
    /// `cc` is missing or fails.
    pub fn monotonic(dir: &Path) -> Result<Self> {
        Self::new(dir, "CLOCK_MONOTONIC")
    }

    fn new(dir: &Path, clock: &str) -> Result<Self> {
        let source = dir.join("wrong-clock.c");
        let which = format!("-DCLOCK={clock}");
        let clock = Self {
            library: dir.join("wrong-clock.so"),
            wrong_by: dir.join("wrong-by"),
        };
        fs::write(&source, SHIM).doing(source.display())?;
        let args = [which.as_str(), "-shared", "-fPIC", "-o"].map(str::to_owned);
        let paths = [&clock.library, &source].map(|path| path.display().to_string());
        let args = args.into_iter().chain(paths);
        let (status, _, err) = process::run(Path::new("cc"), args, Duration::from_secs(60))?;
        if !status.success() {
            return Err(format!("cc: {err}"));
        }
        clock.wrong_by(0)?;
        Ok(clock)
    }

    /// Sets it: so many seconds ahead of the true time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn wrong_by(&self, seconds: i64) -> Result<()> {
        let new = self.wrong_by.with_extension("new");
        fs::write(&new, seconds.to_string()).doing(new.display())?;
        fs::rename(&new, &self.wrong_by).doing(new.display())
    }

    /// The words that go before a program that has this clock.
    pub fn wrapper(&self) -> [String; 3] {
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("WRONG_BY={}", self.wrong_by.display()),
        ]
    }
}
