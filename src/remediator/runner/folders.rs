//! The lock of a folder, and a look at its bot under the lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use clock::Clock;

use crate::connection::{Connection, Verdict};
use crate::control::{Presence, Service};
use crate::folder::all_sessions::LIST_TIMEOUT;
use crate::folder::{BoundedBlocking, Found, Inventory, Timestamp};
use crate::remediator::quarantine::{Halt, LockedFolder, Obstacle, look_at_async};

use super::context::{Context, blocking};

const FOLDER_LOCK_TRIES: u32 = 10;
/// A source may still report `connected` for this long after the process is gone.
pub(in crate::remediator) const SETTLES_WITHIN: Duration = Duration::from_secs(30);
const SETTLES_EVERY: Duration = Duration::from_millis(500);
const FOLDER_LOCK_PAUSE: Duration = Duration::from_millis(200);

/// Takes the folder's lock. Retries for 2 seconds, because a sweep or a scan holds it briefly.
pub(in crate::remediator) async fn lock(
    clock: &Clock,
    found: &Found,
) -> Result<Arc<LockedFolder>, Obstacle> {
    lock_under(clock, found, &Halt::default()).await
}

/// Like [`lock`], in this time. A folder whose lock was held at the last try is locked, however
/// long the tries take; one without an answer to the first try hangs.
pub(in crate::remediator) async fn lock_within(
    clock: &Clock,
    found: &Found,
    within: Duration,
) -> Result<Arc<LockedFolder>, Obstacle> {
    let mut last = Err(Obstacle::Io("locking the folder takes too long".into()));
    let tries = async {
        for _ in 0..FOLDER_LOCK_TRIES {
            let place = found.place.clone();
            last = blocking(move || LockedFolder::lock(&place)).await;
            if !matches!(last, Err(Obstacle::Locked)) {
                break;
            }
            clock.sleep(FOLDER_LOCK_PAUSE).await;
        }
    };
    let _ = clock.timeout(within, tries).await;
    last
}

pub(in crate::remediator) async fn lock_under(
    clock: &Clock,
    found: &Found,
    halt: &Halt,
) -> Result<Arc<LockedFolder>, Obstacle> {
    let mut tries = 0;
    loop {
        let (place, halt) = (found.place.clone(), halt.clone());
        let locked = blocking(move || LockedFolder::lock_under(&place, halt)).await;
        tries += 1;
        if tries == FOLDER_LOCK_TRIES || !matches!(locked, Err(Obstacle::Locked)) {
            return locked;
        }
        clock.sleep(FOLDER_LOCK_PAUSE).await;
    }
}

pub(super) async fn scan(found: &Found, folder: &Arc<LockedFolder>) -> Result<Inventory, Obstacle> {
    let folder = Arc::clone(folder);
    look_at_async(&found.place, move || folder.scan()).await
}

/// A service that this program has stopped and that is known to be gone.
#[derive(Clone, Debug)]
pub struct StoppedService {
    /// The service.
    pub service: Service,
    /// When it was found gone. Any later write to its folders proves that a bot runs.
    pub since: Timestamp,
    /// Set before the service is started again; then no further file moves.
    pub halt: Halt,
    /// The folders of the service that are locked.
    pub folders: Folders,
}

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

/// The lock of a folder: the one held for the restart of its service, or a new one. Moves
/// under it end when `halt` is set.
pub(in crate::remediator) async fn lock_folder(
    clock: &Clock,
    found: &Found,
    stopped: Option<&StoppedService>,
    halt: &Halt,
) -> Result<Arc<LockedFolder>, Obstacle> {
    let held = stopped.and_then(|stopped| stopped.folders.0.get(found.session.as_str()));
    match held {
        Some(folder) => folder.with_halt(halt.clone()),
        None => lock_under(clock, found, halt).await,
    }
}

/// Sources beside the probes: sightings, process, sockets, log. Each has the same timeout.
const OTHER_SOURCES: u32 = 4;

/// A look at the bot cannot take longer. Where it did, this program stood still meanwhile, and an
/// answer may be old.
fn longest_look(connection: &Connection) -> Duration {
    let probes = u32::try_from(connection.settings.probes.len()).unwrap_or(u32::MAX);
    let sources = probes.saturating_add(OTHER_SOURCES);
    let asked = connection.settings.timeout.saturating_mul(sources);
    asked + LIST_TIMEOUT + supervisor::QUERY_TIMEOUT + BoundedBlocking::default().timeout()
}

/// Waits until no source reports the session as connected any more, but only until
/// [`SETTLES_WITHIN`] after `began`.
pub(in crate::remediator) async fn settle(ctx: &Context, found: &Found, began: Instant) {
    while ctx.clock.since(began) < SETTLES_WITHIN {
        let asked = ctx.connection.ask(&found.session).await;
        if !asked.sees_a_connection() {
            return;
        }
        ctx.clock.sleep(SETTLES_EVERY).await;
    }
}

/// Asks the probes first and scans after that, so that the scan sees the writes of a bot that
/// woke up during a slow probe. Such a write overrules the probe.
pub(in crate::remediator) async fn ask_and_scan(
    connection: &Connection,
    found: &Found,
    folder: &Arc<LockedFolder>,
    stopped: Option<&StoppedService>,
) -> Result<(Verdict, Inventory), Obstacle> {
    // The clock of the machine: it stands still also where a test makes time pass faster.
    let clock = Clock::system();
    let began = clock.boot();
    let evidence = connection.ask(&found.session).await;
    let gone = match stopped {
        Some(stopped) => stopped.service.presence().await == Presence::Gone,
        None => false,
    };
    let inventory = scan(found, folder).await?;
    let verdict = match stopped {
        _ if clock.boot().saturating_sub(began) > longest_look(connection) => {
            Verdict::unknown("clock", "this program stood still while it asked")
        }
        Some(stopped) => connection.judge_stopped(evidence, &inventory, gone, stopped.since),
        None => connection.judge(evidence, &inventory),
    };
    Ok((verdict, inventory))
}
