//! What must be there for a start by pm2: the directory, the script and its interpreter. The
//! files are looked for where the daemon would look.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Env, OnePm2, Pm2Process, daemon_pid};
use crate::RestartObstacle;
use crate::bounded::within;
use crate::obstacle::is_missing_under;

/// Where a bare name is searched for if the process has no PATH.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

impl OnePm2 {
    /// Looks for the files of these processes.
    pub(super) async fn missing(
        &self,
        entries: &[&Pm2Process],
        timeout: Duration,
    ) -> Result<Option<RestartObstacle>, String> {
        let envs = entries.iter().map(|entry| &entry.pm2_env);
        let needed: Vec<(RestartObstacle, Place)> = envs.flat_map(Env::needed).collect();
        let home = self.home.clone();
        let work = move || {
            let Some(daemon) = daemon_pid(&home) else {
                return Ok(None);
            };
            let mut needed = needed.into_iter();
            let missing = needed.find(|(_, place)| place.is_missing(daemon));
            Ok(missing.map(|(obstacle, _)| obstacle))
        };
        within("looking for the script", timeout, work).await
    }
}

/// Where something must be.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In one of these paths, all absolute.
    OneOf(Vec<PathBuf>),
    /// The program that the daemon itself runs.
    OfDaemon,
}

impl Place {
    /// Whether it is certainly not there. Blocks.
    fn is_missing(&self, daemon: u32) -> bool {
        let root = PathBuf::from(format!("/proc/{daemon}/root"));
        match self {
            Self::OneOf(paths) => paths.iter().all(|path| is_missing_under(&root, path)),
            Self::OfDaemon => {
                let exe = fs::read_link(format!("/proc/{daemon}/exe"));
                // The kernel marks a removed file. Another one may have its name now.
                exe.is_ok_and(|exe| {
                    let exe = exe.to_string_lossy();
                    let former = exe.strip_suffix(" (deleted)").map(Path::new);
                    former.is_some_and(|path| {
                        is_missing_under(&root, path) && is_missing_under(Path::new("/"), path)
                    })
                })
            }
        }
    }
}

impl Env {
    /// What must be there for a start, and what is wrong if it is not.
    fn needed(&self) -> Vec<(RestartObstacle, Place)> {
        let places = [
            (RestartObstacle::NoDirectory, &self.pm_cwd),
            (RestartObstacle::NoScript, &self.pm_exec_path),
        ];
        let files = places.into_iter().filter_map(|(obstacle, place)| {
            let path = Path::new(place.as_str()?);
            let place = Place::OneOf(vec![path.to_owned()]);
            path.is_absolute().then_some((obstacle, place))
        });
        let interpreter = self.interpreter();
        let interpreter = interpreter.map(|place| (RestartObstacle::NoInterpreter, place));
        files.chain(interpreter).collect()
    }

    /// Where pm2 finds the program that runs the script. `None`: there is none, or it is unknown.
    fn interpreter(&self) -> Option<Place> {
        match (self.exec_mode.as_str()?, self.exec_interpreter.as_str()) {
            // Whatever the interpreter is, pm2 forks itself.
            ("cluster_mode", _) | ("fork_mode", None | Some("")) => Some(Place::OfDaemon),
            ("fork_mode", Some("none")) => None,
            ("fork_mode", Some(path)) if path.starts_with('/') => {
                Some(Place::OneOf(vec![path.into()]))
            }
            ("fork_mode", Some(name)) if !name.contains('/') => {
                let path = self.path.as_str().unwrap_or(DEFAULT_PATH);
                let dirs = path.split(':').map(Path::new);
                // A relative one begins where the process does.
                let dirs: Option<Vec<PathBuf>> = dirs
                    .map(|dir| dir.is_absolute().then(|| dir.join(name)))
                    .collect();
                dirs.map(Place::OneOf)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
