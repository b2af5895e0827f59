//! When processes of pm2 have ended, by its pid files: pm2 removes each at the end of its process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{OnePm2, Pm2Process};
use crate::bounded::within;

impl OnePm2 {
    /// When a pid file beside those of these processes last came or went: they had ended by then.
    pub(super) async fn last_change(
        &self,
        entries: &[&Pm2Process],
        timeout: Duration,
    ) -> Option<SystemTime> {
        let of_home = || self.home.join("pids");
        let places: BTreeSet<PathBuf> = entries
            .iter()
            .map(|entry| entry.pid_file_place().unwrap_or_else(of_home))
            .collect();
        let work = move || {
            let changed = |place| fs::metadata(place)?.modified();
            let all: std::io::Result<Vec<_>> = places.into_iter().map(changed).collect();
            all.map_err(|error| error.to_string())
        };
        let all = within("looking at the pid files", timeout, work).await;
        all.ok()?.into_iter().max()
    }
}

impl Pm2Process {
    /// The directory of its pid file, which may be configured (`pid_file`).
    fn pid_file_place(&self) -> Option<PathBuf> {
        let file = Path::new(self.pm2_env.pm_pid_path.as_str()?);
        let place = file.parent().filter(|_| file.is_absolute());
        place.map(Path::to_owned)
    }
}

#[cfg(test)]
mod tests;
