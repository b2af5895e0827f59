//! The log monitor: a thread that reads the logs, and the counts that it has saved.

mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use clock::Clock;
use log_tailer::{
    Block, Changes, Consumer, Follower, Listed, Notifier, Orders, Progress, Sink, Tailer,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Handle;

use crate::folder::Timestamp;
use crate::folder::discovery::ProblemLog;

use super::LogSettings;
use super::counter::{Counter, Counts};
use super::own::OwnLogs;
use super::session_mapper::LogsSeen;
use super::session_resolver::SessionResolver;
use super::sessions::{KnownSessions, SessionMemory, SessionsSeen};
use super::store::{LogStore, SavedLogs, Unsaved};

/// Maximum number of problems that are logged one by one.
const MOST_PROBLEMS: usize = 20;
/// Number of descriptors kept free for other purposes.
const SPARE_DESCRIPTORS: u64 = 256;

/// The first reading of logs from their beginning is over if nothing was read for this long.
const STALLED_FOR: Duration = Duration::from_secs(60);

/// The counts, all of them saved.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// By session.
    pub sessions: BTreeMap<String, SessionLog>,
    /// The counts of a session without any line.
    pub unheard: SessionLog,
    /// Number of followed files.
    pub files: usize,
    /// Number of lines without a session.
    pub unplaced: u64,
    /// Events in them, by the glob that matches their log.
    pub unplaced_events: BTreeMap<Arc<str>, Vec<(Arc<str>, u64)>>,
    /// Whether a followed file matches, by glob without what may be a phone number.
    pub globs_matched: BTreeMap<Arc<str>, bool>,
    /// Whether lines wait for a listing of the folders.
    pub waiting: bool,
    /// The sessions for which lines are counted.
    pub known: Arc<KnownSessions>,
    /// The sessions of an earlier process, and those whose counts are of old lines.
    pub former: Arc<BTreeSet<Arc<str>>>,
    /// What the logs have shown.
    pub logs: Arc<LogsSeen>,
    /// Number of overlong lines.
    pub overlong: u64,
    /// Truncated logs of which a copy was found.
    pub copies_found: u64,
    /// Truncated logs of which no copy was found.
    pub copies_missing: u64,
    /// Failed reads.
    pub read_errors: u64,
    /// Bytes that exist and were not counted and saved.
    pub unread_bytes: u64,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The logs are read from their beginning, so the counts still grow by old lines. They are not
    /// shown.
    pub is_first_reading: bool,
}

/// One session's counts.
#[derive(Clone, Debug, Default)]
pub struct SessionLog {
    /// Events by pattern, in the order of the configuration.
    pub events: Vec<(Arc<str>, u64)>,
    /// For the patterns that page: events in a form that only the library or the bot's own report
    /// uses.
    pub reports: Vec<(Arc<str>, u64)>,
    /// Whether a line of the library's logger was ever seen. Otherwise only the bot's own output is
    /// counted.
    pub library: bool,
    /// Number of lines.
    pub lines: u64,
    /// Number of lines that show a private key.
    pub secrets: u64,
    /// When the newest line was written, if there is one.
    pub last_line: Option<Timestamp>,
    /// When its log last said that the device was removed, in seconds of Unix time; 0 for never.
    pub removed_at: u64,
    /// When its log last said that the connection was opened.
    pub opened_at: u64,
    /// Whether a log of it is followed, which may be empty.
    pub has_file: bool,
    /// Whether lines are counted for it now, so that it is shown even if its folder is gone.
    pub is_known: bool,
}

impl SessionLog {
    /// Whether it has a log, or had lines.
    pub fn is_heard(&self) -> bool {
        self.has_file || self.lines > 0 || self.last_line.is_some()
    }

    /// Whether it has lines, but none of the library's logger.
    pub fn is_half_monitored(&self) -> bool {
        self.lines > 0 && !self.library
    }
}

/// Input that the thread has not read yet.
#[derive(Debug, Default)]
struct PendingOrders {
    stop: bool,
    settings: Option<Arc<LogSettings>>,
    sessions: Option<SessionsSeen>,
}

#[derive(Debug)]
struct Shared {
    notifier: Arc<Notifier>,
    orders: Mutex<PendingOrders>,
    published: RwLock<Arc<Published>>,
    /// The sessions that were shown in a scrape.
    shown: Mutex<BTreeSet<Arc<str>>>,
}

/// The running monitor.
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    clock: Clock,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Monitor {
    /// Opens the state and begins to read. Must be called in a tokio runtime, which runs the
    /// inotify watch.
    ///
    /// Errors: the state directory cannot be used; a sentence with the fix.
    pub fn start(
        settings: Arc<LogSettings>,
        first: &SessionsSeen,
        clock: Clock,
    ) -> Result<Self, String> {
        let store = LogStore::open(&settings.state_path)?;
        let saved = store.load().map_err(|error| {
            format!(
                "{}: failed to load the saved counts: {error}; move the directory away to start again",
                settings.state_path.display()
            )
        })?;
        let shared = Arc::new(Shared {
            notifier: Arc::default(),
            orders: Mutex::default(),
            published: RwLock::default(),
            shown: Mutex::default(),
        });
        let SavedLogs {
            tailer,
            counts,
            sessions,
            bots,
        } = saved;
        let mut former: BTreeSet<Arc<str>> = sessions.keys().cloned().collect();
        let memory = SessionMemory::from_saved(sessions);
        let own = OwnLogs::of_this_process();
        let mut resolver = SessionResolver::new(Arc::clone(&settings), memory, bots, own);
        resolver.see(first);
        let is_new = tailer.globs.is_empty();
        let mut counts = Counts::from_saved(&counts);
        former.extend(counts.sessions.keys().cloned());
        counts.set_first_reading(is_new && settings.from_start || counts.is_first_reading());
        let is_first_reading = counts.is_first_reading();
        let sink = CountingSink {
            shared: Arc::clone(&shared),
            counter: Counter::new(Arc::clone(&settings), resolver, counts, time_of(&clock)),
            clock: clock.clone(),
            settings: Arc::clone(&settings),
            store,
            former: Arc::new(former),
            reads_old_lines: is_new || is_first_reading,
            commit_failed: false,
            problems: ProblemLog::default(),
            reading: ReadingProgress::new(clock.now()),
            changed: None,
            published_all: None,
        };
        let (globs, from_start) = (settings.globs.clone(), settings.from_start);
        let follower = Follower::new(sink, globs, from_start, tailer, open_max(), clock.clone());
        let notifier = Arc::clone(&shared.notifier);
        let server = Tailer::new(follower, notifier, Handle::current(), clock.clone());
        let thread = std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || server.run())
            .map_err(|error| format!("cannot start the thread that reads the logs: {error}"))?;
        Ok(Self {
            shared,
            clock,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The counts as of the last commit.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(
            &self
                .shared
                .published
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The counts for a scrape, in which these sessions have a folder. A session that is shown for
    /// the first time is shown without events: Prometheus takes the first value of a counter for
    /// old.
    pub fn scraped(&self, folders: &BTreeSet<Arc<str>>) -> Arc<Published> {
        let published = self.published();
        if published.committed_at == Timestamp::default() || published.is_first_reading {
            return published;
        }
        let known = published.sessions.iter().filter(|(_, log)| log.is_known);
        let mut names: BTreeSet<Arc<str>> =
            known.map(|(name, _)| Arc::from(name.as_str())).collect();
        names.extend(folders.iter().cloned());
        let mut shown = self
            .shared
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let new: Vec<Arc<str>> = names
            .into_iter()
            .filter(|name| !published.former.contains(name) && shown.insert(Arc::clone(name)))
            .filter(|name| published.sessions.contains_key(&**name))
            .collect();
        if new.is_empty() {
            return published;
        }
        let mut published = Published::clone(&published);
        for name in new {
            if let Some(log) = published.sessions.get_mut(&*name) {
                *log = SessionLog {
                    last_line: log.last_line,
                    is_known: log.is_known,
                    ..published.unheard.clone()
                };
            }
        }
        Arc::new(published)
    }

    /// Waits until the files were read once and their offsets are saved, at most for `span`.
    /// Blocks.
    pub fn wait_for_first_look(&self, span: Duration) {
        let began = self.clock.now();
        while self.published().committed_at == Timestamp::default()
            && self.clock.since(began) < span
        {
            self.clock.block(Duration::from_millis(10));
        }
    }

    /// The result of a listing of the folders.
    pub fn set_sessions(&self, seen: SessionsSeen) {
        self.orders().sessions = Some(seen);
        if self.published().waiting {
            self.shared.notifier.call();
        }
    }

    /// Applies a changed configuration. The state directory stays the same.
    pub fn configure(&self, settings: Arc<LogSettings>) {
        self.orders().settings = Some(settings);
        self.shared.notifier.call();
    }

    /// Ends the thread after a last commit.
    pub fn stop(&self) {
        self.orders().stop = true;
        self.shared.notifier.call();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads the logs panicked");
        }
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, PendingOrders> {
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

fn time_of(clock: &Clock) -> (Timestamp, Instant) {
    (Timestamp::of(clock), clock.now())
}

/// Raises the limit of open files as far as allowed, and returns how many logs may stay open.
fn open_max() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(allowed.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(usize::MAX)
}

/// Counts lines, and saves the counts together with the checkpoints.
#[derive(Debug)]
struct CountingSink {
    shared: Arc<Shared>,
    settings: Arc<LogSettings>,
    counter: Counter,
    clock: Clock,
    store: LogStore,
    former: Arc<BTreeSet<Arc<str>>>,
    /// What is counted stood in the logs before the first start.
    reads_old_lines: bool,
    commit_failed: bool,
    problems: ProblemLog,
    reading: ReadingProgress,
    /// The counts of the last commit, if that and later looks changed nothing else that is
    /// published.
    changed: Option<Vec<(String, String, u64)>>,
    /// When everything was published.
    published_all: Option<Instant>,
}

/// Whether the first reading of the logs goes on.
#[derive(Clone, Copy, Debug)]
struct ReadingProgress {
    /// The smallest number of unread bytes, and since when.
    least: (u64, Instant),
}

impl ReadingProgress {
    fn new(now: Instant) -> Self {
        Self {
            least: (u64::MAX, now),
        }
    }

    /// Whether it is over: all was read, or nothing more can be read.
    fn is_over(&mut self, is_at_the_end: bool, unread: u64, now: Instant) -> bool {
        if unread < self.least.0 {
            self.least = (unread, now);
        }
        is_at_the_end || now.saturating_duration_since(self.least.1) >= STALLED_FOR
    }
}

impl Consumer for CountingSink {
    fn lines(&mut self, block: Block<'_>) {
        self.counter.lines(block);
    }

    fn begin_copy(&mut self) {
        self.counter.begin_copy();
    }

    fn end_copy(&mut self, complete: bool) {
        self.counter.end_copy(complete);
    }

    fn is_of_another(&self, path: &Path, origin: &Path) -> bool {
        self.counter.is_of_another(path, origin)
    }

    fn is_wanted(&self, listed: &Listed) -> bool {
        self.counter.is_wanted(listed)
    }

    fn listed(&mut self, logs: &mut dyn Iterator<Item = &Path>) {
        self.counter.listed(logs);
    }
}

impl Sink for CountingSink {
    fn orders(&mut self) -> Orders {
        let mut pending = self
            .shared
            .orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let PendingOrders {
            stop,
            settings,
            sessions,
        } = std::mem::take(&mut *pending);
        drop(pending);
        if settings.is_some() || sessions.is_some() {
            self.published_all = None;
        }
        self.counter.set_time(time_of(&self.clock));
        if let Some(seen) = &sessions {
            self.counter.resolver().see(seen);
        }
        self.counter.flush_undecided();
        let globs = settings.map(|settings| {
            self.counter.configure(Arc::clone(&settings));
            self.settings = settings;
            self.settings.globs.clone()
        });
        let commit = self.counter.settle(sessions.map(|seen| seen.at));
        Orders {
            stop,
            globs,
            commit,
        }
    }

    fn finish(&mut self) {
        self.counter.flush_all();
    }

    fn report(&mut self, mut problems: Vec<String>) {
        problems.sort();
        if problems.len() > MOST_PROBLEMS {
            problems.truncate(MOST_PROBLEMS);
            problems.push(
                "failed to read more logs; check the limit of open files and the permissions"
                    .to_owned(),
            );
        }
        self.problems.report(problems.into_iter());
    }

    fn is_dirty(&self) -> bool {
        self.counter.is_dirty()
    }

    fn is_undecided(&self) -> bool {
        self.counter.is_undecided()
    }

    fn commit(&mut self, changes: &Changes) -> bool {
        // Lines that were read are not read again after a crash.
        self.counter.settle_undecided();
        let resolver = self.counter.resolver();
        let unsaved = Unsaved {
            sessions: resolver
                .memory()
                .changes()
                .map(|(name, saved)| (name.to_owned(), saved))
                .collect(),
            bots: resolver.new_bots().iter().cloned().collect(),
            counts: self.counter.counts().changes(),
        };
        match self.store.commit(changes, &unsaved) {
            Ok(()) => {
                self.changed = unsaved
                    .is_reading_on(changes)
                    .then_some(unsaved.counts.counts);
                self.counter.committed();
                if std::mem::take(&mut self.commit_failed) {
                    tracing::info!("the counts of the logs are saved again");
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.commit_failed, true) {
                    tracing::error!(
                        "{}: failed to save the counts of the logs, the metrics keep the last saved values: {error}",
                        self.settings.state_path.display()
                    );
                }
                false
            }
        }
    }

    fn show(&mut self, progress: &Progress<'_>, saved: bool) {
        if saved {
            let counts = self.counter.counts();
            if counts.is_first_reading() && progress.at > SystemTime::UNIX_EPOCH {
                let is_at_the_end = progress.is_at_the_end() && !counts.has_waiting();
                let (unread, now) = (progress.unread_bytes(), self.clock.now());
                let is_over = self.reading.is_over(is_at_the_end, unread, now);
                self.counter.set_first_reading(!is_over);
            }
            if !self.publish_changed(progress) {
                self.publish_all(progress);
            }
            return;
        }
        // Unsaved counts are not published, but the number of unread bytes is.
        let mut shown = self
            .shared
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let unread_bytes = progress.unread_bytes() + progress.uncommitted_bytes;
        *shown = Arc::new(Published {
            unread_bytes,
            ..Published::clone(&shown)
        });
    }
}

#[cfg(test)]
mod tests;
