//! The thread that reads the logs: wait, look, commit, publish, again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Handle;

use crate::folder::Timestamp;
use crate::folder::discovery::ProblemLog;

use super::LogSettings;
use super::doorbell::{Bell, Doorbell, Rung};
use super::store::Store;
use super::tail::Tailer;

/// All files are looked at this often, whatever the doorbell says.
const SWEEP: Duration = Duration::from_secs(2);
/// Files that grow are looked at this often at most.
const BEAT: Duration = Duration::from_millis(250);
/// Counts are committed this often at most, unless a file was rotated.
const COMMIT: Duration = Duration::from_secs(1);
/// And this often at least, so that a restart knows when all files were last looked at.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Rung more often than this in a second, the doorbell is taken down.
const RINGS_PER_SECOND: u64 = 200;
/// Fewer files than this grow when it is hung up again.
const QUIET_FILES: usize = 20;
/// After it was taken down it stays so for this long.
const TAKEN_DOWN: Duration = Duration::from_secs(10);
/// More problems than this are not told one by one.
const MOST_PROBLEMS: usize = 20;
/// Descriptors left for everything else.
const SPARE_DESCRIPTORS: u64 = 256;

/// What was counted and is on disk.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// By session.
    pub sessions: BTreeMap<String, SessionLog>,
    /// What a session shows that no log has spoken of.
    pub unheard: SessionLog,
    /// Files that are followed.
    pub files: usize,
    /// Lines nobody could place.
    pub unplaced: u64,
    /// Lines longer than is judged.
    pub overlong: u64,
    /// Logs that were emptied and of which a copy was found.
    pub copies_found: u64,
    /// Those without.
    pub copies_missing: u64,
    /// Attempts to read that failed.
    pub read_errors: u64,
    /// Bytes that are there and were not counted and saved.
    pub unread_bytes: u64,
    /// When it was committed.
    pub committed_at: Timestamp,
}

/// One session's counts.
#[derive(Clone, Debug, Default)]
pub struct SessionLog {
    /// Events by pattern, in the order of the configuration.
    pub events: Vec<(String, u64)>,
    /// Lines.
    pub lines: u64,
    /// Lines that show a private key.
    pub secrets: u64,
    /// When the newest line was written, where there is one.
    pub last_line: Option<Timestamp>,
    /// Whether it has a log now.
    pub has_files: bool,
}

#[derive(Debug, Default)]
struct Orders {
    stop: bool,
    settings: Option<Arc<LogSettings>>,
    sessions: Option<HashSet<Arc<str>>>,
}

#[derive(Debug)]
struct Shared {
    bell: Arc<Bell>,
    orders: Mutex<Orders>,
    published: RwLock<Arc<Published>>,
}

/// The running monitor.
#[derive(Debug)]
pub struct Monitor {
    state_path: PathBuf,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Monitor {
    /// Opens the state and begins to read. Must be called within a tokio runtime, which
    /// carries the doorbell.
    ///
    /// Errors: the state directory cannot be used; a sentence that says what to do.
    pub fn start(settings: Arc<LogSettings>, sessions: HashSet<Arc<str>>) -> Result<Self, String> {
        let store = Store::open(&settings.state_path)?;
        let saved = store.load().map_err(|error| {
            format!(
                "{}: what was saved cannot be read: {error}; move the directory away to begin anew",
                settings.state_path.display()
            )
        })?;
        let mut tailer = Tailer::new(Arc::clone(&settings), saved, open_max());
        tailer.set_sessions(sessions);
        let shared = Arc::new(Shared {
            bell: Arc::default(),
            orders: Mutex::default(),
            published: RwLock::default(),
        });
        let state_path = settings.state_path.clone();
        let mut reader = Reader {
            shared: Arc::clone(&shared),
            runtime: Handle::current(),
            settings,
            tailer,
            store,
            doorbell: None,
            taken_down: None,
            committed: Instant::now(),
            commit_failed: false,
            first: true,
            problems: ProblemLog::default(),
        };
        reader.publish(Timestamp::default());
        let thread = std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || reader.run())
            .map_err(|error| format!("cannot start the thread that reads the logs: {error}"))?;
        Ok(Self {
            state_path,
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where the counts are kept.
    pub fn state_path(&self) -> &Path {
        &self.state_path
    }

    /// What was counted, as of the last commit.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(
            &self
                .shared
                .published
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Waits until the files were looked at once and where they begin is saved, at most for
    /// `span`. Blocks.
    pub fn wait_for_first_look(&self, span: Duration) {
        let began = Instant::now();
        while self.published().committed_at == Timestamp::default() && began.elapsed() < span {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The sessions there are.
    pub fn set_sessions(&self, sessions: HashSet<Arc<str>>) {
        self.orders().sessions = Some(sessions);
    }

    /// Takes a changed configuration. The state directory stays.
    pub fn configure(&self, settings: Arc<LogSettings>) {
        self.orders().settings = Some(settings);
        self.shared.bell.call();
    }

    /// Ends the thread after a last commit.
    pub fn stop(&self) {
        self.orders().stop = true;
        self.shared.bell.call();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads the logs had failed");
        }
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, Orders> {
        self.shared
            .orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Raises the limit of open files as far as it may be, and says how many logs may stay open.
fn open_max() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(allowed.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(usize::MAX)
}

struct Reader {
    shared: Arc<Shared>,
    runtime: Handle,
    settings: Arc<LogSettings>,
    tailer: Tailer,
    store: Store,
    doorbell: Option<Doorbell>,
    taken_down: Option<Instant>,
    committed: Instant,
    commit_failed: bool,
    /// Nothing was committed yet.
    first: bool,
    problems: ProblemLog,
}

impl Reader {
    fn run(&mut self) {
        let mut swept: Option<Instant> = None;
        let mut beat = Instant::now();
        let mut more = false;
        self.hang_doorbell();
        loop {
            let due = swept.map_or(Duration::ZERO, |at| SWEEP.saturating_sub(at.elapsed()));
            let wait = match (more, self.tailer.is_hot()) {
                (true, _) => Duration::ZERO,
                (false, true) => due.min(BEAT.saturating_sub(beat.elapsed())),
                (false, false) => due,
            };
            let mut rung = if wait.is_zero() {
                Rung::default()
            } else {
                self.shared.bell.wait(wait)
            };
            if !rung.called && !more && beat.elapsed() < BEAT {
                // Many rings make one look.
                std::thread::sleep(BEAT.saturating_sub(beat.elapsed()).min(due));
                let later = self.shared.bell.wait(Duration::ZERO);
                rung.any |= later.any;
                rung.names |= later.names;
                rung.called |= later.called;
            }
            if self.take_orders() {
                self.tailer.sweep();
                self.report();
                self.commit();
                return;
            }
            self.mind_doorbell(beat.elapsed());
            beat = Instant::now();
            if rung.names || rung.called || swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                more = self.tailer.sweep();
                swept = Some(Instant::now());
                self.report();
            } else {
                more = self.tailer.look(rung.any);
            }
            if self.tailer.turned || self.first || self.committed.elapsed() >= COMMIT {
                self.first = false;
                self.commit();
            }
        }
    }

    /// Whether to stop.
    fn take_orders(&mut self) -> bool {
        let mut orders = self
            .shared
            .orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (stop, settings, sessions) =
            (orders.stop, orders.settings.take(), orders.sessions.take());
        drop(orders);
        if let Some(sessions) = sessions {
            self.tailer.set_sessions(sessions);
        }
        if let Some(settings) = settings {
            self.settings = Arc::clone(&settings);
            self.tailer.configure(settings);
            self.doorbell = None;
            self.hang_doorbell();
        }
        stop
    }

    fn hang_doorbell(&mut self) {
        let directories: BTreeSet<PathBuf> = self
            .settings
            .globs
            .iter()
            .map(|glob| glob.directory().to_owned())
            .collect();
        self.doorbell = Some(Doorbell::hang(
            &self.runtime,
            directories,
            Arc::clone(&self.shared.bell),
        ));
        self.taken_down = None;
    }

    fn mind_doorbell(&mut self, since: Duration) {
        let rings = self.shared.bell.rings();
        let allowed =
            (RINGS_PER_SECOND as f64 * since.as_secs_f64().max(BEAT.as_secs_f64())) as u64;
        if self.doorbell.is_some() && rings > allowed {
            self.doorbell = None;
            self.taken_down = Some(Instant::now());
        } else if self.taken_down.is_some_and(|at| at.elapsed() >= TAKEN_DOWN) {
            if self.tailer.hot_files() < QUIET_FILES {
                self.hang_doorbell();
            } else {
                self.taken_down = Some(Instant::now());
            }
        }
    }

    fn report(&mut self) {
        let mut problems = std::mem::take(&mut self.tailer.problems);
        problems.sort();
        if problems.len() > MOST_PROBLEMS {
            problems.truncate(MOST_PROBLEMS);
            problems.push(
                "more logs cannot be read; the limit of open files, a permission?".to_owned(),
            );
        }
        self.problems.report(problems.into_iter());
    }

    fn commit(&mut self) {
        let changes = self.tailer.changes();
        let nothing = changes.files.is_empty()
            && changes.gone.is_empty()
            && changes.counts.is_empty()
            && changes.globs.is_empty()
            && changes.gone_globs.is_empty();
        let at = Timestamp::now();
        if nothing && self.committed.elapsed() < HEARTBEAT {
            // Nothing to write; what is published still holds.
            self.publish(at);
            return;
        }
        match self.store.commit(&changes) {
            Ok(()) => {
                self.tailer.committed();
                self.committed = Instant::now();
                self.publish(at);
                if std::mem::take(&mut self.commit_failed) {
                    tracing::info!("the counts of the logs can be saved again");
                }
            }
            Err(error) => {
                self.committed = Instant::now();
                self.publish_backlog();
                if !std::mem::replace(&mut self.commit_failed, true) {
                    tracing::error!(
                        "{}: the counts of the logs cannot be saved, those shown stand still until they can: {error}",
                        self.settings.state_path.display()
                    );
                }
            }
        }
    }

    /// What cannot be saved is not shown, but that there is more is.
    fn publish_backlog(&self) {
        let mut shown = self
            .shared
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let unread_bytes = self.tailer.unread_bytes() + self.tailer.uncommitted;
        *shown = Arc::new(Published {
            unread_bytes,
            ..Published::clone(&shown)
        });
    }

    fn publish(&mut self, committed_at: Timestamp) {
        let with_files = self.tailer.sessions_with_files();
        let patterns = self.settings.patterns.patterns();
        let events = |count: &dyn Fn(&str) -> u64| -> Vec<(String, u64)> {
            patterns
                .iter()
                .map(|pattern| (pattern.name.to_string(), count(&pattern.name)))
                .collect()
        };
        let mut sessions: BTreeMap<String, SessionLog> = BTreeMap::new();
        for (name, tally) in self.tailer.tallies() {
            let log = SessionLog {
                events: events(&|name| tally.events.get(name).map_or(0, |count| count.value)),
                lines: tally.lines.value,
                secrets: tally.secrets.value,
                last_line: tally.last_line.max(with_files.get(name).copied().flatten()),
                has_files: with_files.contains_key(name),
            };
            sessions.insert(name.to_string(), log);
        }
        let none = || SessionLog {
            events: events(&|_| 0),
            ..SessionLog::default()
        };
        for (name, last_line) in &with_files {
            sessions
                .entry(name.to_string())
                .or_insert_with(|| SessionLog {
                    has_files: true,
                    last_line: *last_line,
                    ..none()
                });
        }
        let totals = &self.tailer.totals;
        let published = Published {
            sessions,
            unheard: none(),
            files: self.tailer.file_count(),
            unplaced: totals.unplaced.value,
            overlong: totals.overlong.value,
            copies_found: totals.copies_found.value,
            copies_missing: totals.copies_missing.value,
            read_errors: totals.read_errors.value,
            unread_bytes: self.tailer.unread_bytes(),
            committed_at,
        };
        *self
            .shared
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
    }
}
