//! Reads the folders for the local trigger.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;

use crate::config::Settings;
use crate::folder::discovery::{ProblemLog, explain};
use crate::folder::scan::{scan, scan_settled};
use crate::folder::{BoundedBlocking, FolderPath, Found, ReadCache, Timestamp};
use crate::policy::ladder::Reading;
use crate::policy::{CredsPlace, LoginFolder, accumulated_files, same_logins};
use crate::remediator::insurance::store::limits_of;

/// How long a look at one folder may take.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads the folders, again and again; remembers what need not be read twice.
#[derive(Debug)]
pub struct FolderReader {
    looks: BoundedBlocking,
    /// A look that takes too long still leaves here what it has read.
    caches: HashMap<FolderPath, Arc<Mutex<ReadCache>>>,
    problems: ProblemLog,
    clock: Clock,
}

impl FolderReader {
    /// A reader that has read nothing.
    pub fn new(clock: Clock) -> Self {
        Self {
            looks: BoundedBlocking::default().with_timeout(READ_TIMEOUT),
            caches: HashMap::new(),
            problems: ProblemLog::default(),
            clock,
        }
    }

    /// Reads each folder once, with the limits of `settings`, and logs which cannot be read.
    /// Blocks; a folder that hangs is one that could not be read.
    pub fn read(&mut self, settings: &Settings, found: &[Found]) -> Vec<Reading> {
        let mut round = self.looks.round();
        let (mut readings, mut problems) = (Vec::new(), Vec::new());
        let (mut logins, now) = (Vec::new(), Timestamp::of(&self.clock));
        let mut caches = HashMap::new();
        for found in found {
            let limits = limits_of(settings, &found.session);
            let known = self.caches.remove(&found.place);
            // Later looks remember what creds.json said.
            let settles = known.is_none() && limits.creds == CredsPlace::Folder;
            let cache =
                known.unwrap_or_else(|| Arc::new(Mutex::new(ReadCache::new(self.clock.clone()))));
            let (place, own) = (found.place.clone(), Arc::clone(&cache));
            let look = round.run(&found.place.path(), move || {
                let fd = place.open()?;
                let mut cache = own.lock().unwrap_or_else(PoisonError::into_inner);
                match settles {
                    true => scan_settled(fd.as_fd(), &mut cache),
                    false => scan(fd.as_fd(), &mut cache),
                }
            });
            caches.insert(found.place.clone(), cache);
            let accumulated = match look.and_then(|look| look) {
                Ok(inventory) if inventory.history.was_auth_folder => {
                    logins.extend(
                        LoginFolder::of(&inventory, now).map(|login| (&found.session, login)),
                    );
                    Some(accumulated_files(&inventory, limits.batch))
                }
                Ok(_) => {
                    problems.push(format!(
                        "session {} is not watched: its directory is not an auth folder; it holds no creds.json and no key of Baileys",
                        found.session
                    ));
                    None
                }
                Err(error) => {
                    problems.push(format!(
                        "session {} cannot be read, and its tier is not known: {}",
                        found.session,
                        explain(&error)
                    ));
                    None
                }
            };
            readings.push(Reading {
                session: found.session.to_string(),
                accumulated,
                thresholds: limits.thresholds,
            });
        }
        self.caches = caches;
        let mut copies = same_logins(logins, now);
        copies.retain(|_, same| same.is_copy());
        // A copy has no tiers.
        readings.retain(|reading: &Reading| {
            let mut names = copies.keys();
            !names.any(|copy| copy.as_str() == reading.session)
        });
        let copies = copies.iter();
        problems.extend(copies.map(|(copy, same)| format!("session {copy}: {same}")));
        self.problems.report(problems.into_iter());
        readings
    }
}
