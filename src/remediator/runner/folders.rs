//! The locked folders of a service.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::remediator::quarantine::LockedFolder;

/// Locked folders, by session.
#[derive(Clone, Debug, Default)]
pub struct Folders(pub BTreeMap<String, Arc<LockedFolder>>);

impl Folders {
    /// Releases the locks.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The same folders, for as long as they are locked.
    pub fn downgrade(&self) -> WeakFolders {
        let folders = self.0.iter();
        let weak = folders.map(|(session, folder)| (session.clone(), Arc::downgrade(folder)));
        WeakFolders(weak.collect())
    }
}

/// Folders that may be locked, by session. Keeps no lock.
#[derive(Clone, Debug, Default)]
pub struct WeakFolders(BTreeMap<String, Weak<LockedFolder>>);

impl WeakFolders {
    /// The folder of a session, if it is still locked.
    pub fn get(&self, session: &str) -> Option<Arc<LockedFolder>> {
        self.0.get(session)?.upgrade()
    }

    /// Those that are still locked.
    pub fn held(&self) -> Folders {
        let all = self.0.keys();
        let held = all.filter_map(|session| Some((session.clone(), self.get(session)?)));
        Folders(held.collect())
    }
}
