//! The logs of this program and of the other one. They are never followed, because their messages
//! about a bot would count as the bot's own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use log_tailer::{FileId, Listed, Stat};

use super::log_name::Program;

/// Variables by which pm2 tells a process the paths of its logs.
const PM2_VARIABLES: [&str; 2] = ["pm_out_log_path", "pm_err_log_path"];

/// Finds the logs of this program.
#[derive(Clone, Debug, Default)]
pub struct OwnLogs {
    files: HashSet<FileId>,
    paths: HashSet<PathBuf>,
    /// The id of the container that this process runs in, or its beginning.
    container: Option<String>,
}

impl OwnLogs {
    /// The files to which standard output, standard error, pm2 and the container of this process
    /// write.
    pub fn of_this_process() -> Self {
        let file = |number: u8| {
            let meta = std::fs::metadata(format!("/proc/self/fd/{number}")).ok()?;
            meta.is_file().then(|| Stat::from(&meta).id)
        };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self {
            files: [1, 2].into_iter().filter_map(file).collect(),
            paths: PM2_VARIABLES
                .iter()
                .filter_map(std::env::var_os)
                .map(PathBuf::from)
                .collect(),
            container: host
                .map(|host| host.trim().to_owned())
                .filter(|host| is_container_id(host)),
        }
    }

    /// Whether a file is one of them, or has the name of one of the two programs.
    pub fn contains(&self, listed: &Listed) -> bool {
        self.files.contains(&listed.stat.id) || self.is_own_path(&listed.path)
    }

    /// The same for a path alone.
    pub fn is_own_path(&self, path: &Path) -> bool {
        let name = Program::of(path).name.replace('-', "_");
        if matches!(name.as_str(), "baileys_exporter" | "baileys_remediator")
            || self.paths.contains(path)
        {
            return true;
        }
        let of_container = |own: &String| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(own.as_str()))
        };
        self.container.as_ref().is_some_and(of_container)
    }
}

/// Docker's host name for a container is the first 12 digits of its id; the log has the full id as
/// its name.
fn is_container_id(host: &str) -> bool {
    host.len() == 12 && host.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
