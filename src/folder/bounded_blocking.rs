//! Looks at directories that may be on a file system that hangs.
//!
//! A system call on such a file system may never return, and its thread cannot be ended. So
//! each look runs on a thread of its own pool, and the caller continues after a time limit.
//!
//! | bound | what happens beyond it |
//! |---|---|
//! | one look at a time for each directory | the next one waits for it; once it is overdue, the next one fails at once |
//! | [`LOOK_TIMEOUT`] for a look | it is overdue: the caller gets `TimedOut`, and the thread is abandoned |
//! | [`MAX_STUCK`] overdue looks, [`MAX_STUCK_OF_A_MOUNT`] of one mount | further looks there fail at once |

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinError;

/// How long a look at one directory may take.
pub const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Overdue looks at a time.
pub const MAX_STUCK: usize = 64;
/// Overdue looks at a time on one mount: other mounts still get theirs.
pub const MAX_STUCK_OF_A_MOUNT: usize = 16;
/// Interval of the extra check for the end of a change, in case its wake-up is lost.
const LOST_WAKE_UP: Duration = Duration::from_secs(1);
/// A thread without a look ends after this time.
const IDLE_FOR: Duration = Duration::from_secs(30);

mod batch;

/// A look; what it returns hands over its result.
type Job = Box<dyn FnOnce() -> Deliver + Send>;
type Deliver = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Whether this thread belongs to a pool.
    static LOOKS: Cell<bool> = const { Cell::new(false) };
}

/// Runs looks within the bounds of this module. Clones share the bounds.
#[derive(Clone, Debug)]
pub struct BoundedBlocking {
    pool: Arc<Pool>,
    timeout: Duration,
    /// Directories of one batch that are looked at at the same time.
    threads: usize,
}

impl Default for BoundedBlocking {
    /// All of a program share the bounds.
    fn default() -> Self {
        static OF_THE_PROGRAM: LazyLock<BoundedBlocking> =
            LazyLock::new(|| BoundedBlocking::new(LOOK_TIMEOUT));
        OF_THE_PROGRAM.clone()
    }
}

#[derive(Debug, Default)]
struct Pool {
    state: Mutex<PoolState>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    /// The looks under way, by the path of the directory: the bytes of it, because the parts of a
    /// path take longer to hash.
    under_way: HashMap<OsString, UnderWay>,
    /// Threads that wait until one of these ends.
    waiting: usize,
    /// Threads that wait for a look.
    idle: Vec<Sender<Job>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    overdue: bool,
    /// The mount, once it is overdue.
    mount: PathBuf,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the look under way at a directory takes too long.
    fn mark_overdue(&self, directory: &Path) {
        let mount = mount_of(directory);
        let mut state = self.state();
        if let Some(look) = state.under_way.get_mut(directory.as_os_str()) {
            look.overdue = true;
            look.mount = mount;
        }
        self.notify(&state);
    }

    /// Removes a look that has ended.
    fn end(&self, directory: &Path) {
        let mut state = self.state();
        state.under_way.remove(directory.as_os_str());
        self.notify(&state);
    }

    /// Wakes the threads that wait; most of the time there is none, and waking takes a system call.
    fn notify(&self, state: &PoolState) {
        if state.waiting > 0 {
            self.ended.notify_all();
        }
    }

    /// Puts a look on record, when the one under way at the directory has ended.
    fn begin(&self, timeout: Duration, directory: &Path) -> Result<(), NotDone> {
        let is_healthy = |state: &PoolState| {
            let look = state.under_way.get(directory.as_os_str());
            look.is_some_and(|look| !look.overdue)
        };
        let mut state = self.state();
        state.waiting += 1;
        let waited = self
            .ended
            .wait_timeout_while(state, timeout, |state| is_healthy(state));
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        match state.under_way.get(directory.as_os_str()) {
            Some(look) if look.overdue => return Err(NotDone::Hangs),
            Some(_) => return Err(NotDone::Late),
            None => {}
        }
        let stuck = |state: &PoolState| state.under_way.values().filter(|l| l.overdue).count();
        if stuck(&state) > 0 {
            let mount = mount_of(directory);
            let overdue = state.under_way.values().filter(|look| look.overdue);
            let of_the_mount = overdue.filter(|look| look.mount == mount).count();
            if of_the_mount >= MAX_STUCK_OF_A_MOUNT || stuck(&state) >= MAX_STUCK {
                return Err(NotDone::TooMany);
            }
        }
        let directory = directory.as_os_str().to_owned();
        state.under_way.insert(directory, UnderWay::default());
        Ok(())
    }
}

/// Ends a look on record, also where it panics.
struct Ends<'a> {
    pool: &'a Pool,
    directory: &'a Path,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.pool.end(self.directory);
    }
}

impl BoundedBlocking {
    /// Bounds of their own, for a test. Programs use [`BoundedBlocking::default`].
    pub fn new(timeout: Duration) -> Self {
        Self {
            pool: Arc::default(),
            timeout,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// A look takes no longer, or counts as without an answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same bounds, with another time limit.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// The same bounds; a batch looks at so many directories at the same time. The default is
    /// one for each processor.
    #[must_use]
    pub fn with_threads(&self, threads: usize) -> Self {
        Self {
            threads,
            ..self.clone()
        }
    }

    /// How many looks are overdue now.
    pub fn overdue(&self) -> usize {
        let state = self.pool.state();
        state.under_way.values().filter(|look| look.overdue).count()
    }

    /// Looks at several directories one after the other.
    pub fn round(&self) -> Round {
        Round {
            looks: self.clone(),
            spent: Duration::ZERO,
        }
    }

    /// Runs `work`, which looks at `directory`. Blocks. A look within a look is a part of it.
    ///
    /// # Errors
    /// `TimedOut`: it took longer than [`LOOK_TIMEOUT`], or an earlier look at the directory
    /// is overdue, or too many are. `work` may still be under way; what it returns is dropped.
    pub fn run<T: Send + 'static>(
        &self,
        directory: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        Ok(self.run_within(self.timeout, directory, work)?)
    }

    /// The same for async code.
    ///
    /// # Errors
    /// As [`BoundedBlocking::run`].
    pub async fn run_async<T: Send + 'static>(
        &self,
        directory: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (looks, directory) = (self.clone(), directory.to_owned());
        match blocking(move || looks.run(&directory, work)).await {
            Ok(looked) => looked,
            Err(error) => resume_unwind(error.into_panic()),
        }
    }

    /// Runs `work`, which changes a directory, on a thread of the pool. There is no time limit,
    /// because a change must not be left halfway.
    ///
    /// # Errors
    /// No thread could be started. A panic of `work` is resumed.
    pub async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.give(Box::new(move || {
            let value = catch_unwind(AssertUnwindSafe(work));
            Box::new(move || _ = done.send(value))
        }))?;
        // Looked at every second as well: a wake-up that is lost must not lose a change.
        let mut result = std::pin::pin!(result);
        let ended = loop {
            if let Ok(ended) = tokio::time::timeout(LOST_WAKE_UP, &mut result).await {
                break ended;
            }
        };
        match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(io::Error::other("the thread has ended")),
        }
    }

    fn run_within<T: Send + 'static>(
        &self,
        timeout: Duration,
        directory: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        if LOOKS.get() {
            return Ok(work());
        }
        let result = Slot::default();
        let give = result.clone();
        self.run_job(
            timeout,
            directory,
            Box::new(move || {
                let value = work();
                // The caller may have gone on.
                Box::new(move || give.put(value))
            }),
        )?;
        let broke = || NotDone::Broke(io::Error::other("the look broke off"));
        result.take().ok_or_else(broke)
    }

    fn run_job(&self, timeout: Duration, directory: &Path, work: Job) -> Result<(), NotDone> {
        self.pool.begin(timeout, directory)?;
        let (done, ended) = mpsc::sync_channel(1);
        let (pool, own) = (Arc::clone(&self.pool), directory.to_owned());
        let job: Job = Box::new(move || {
            let ends = Ends {
                pool: &pool,
                directory: &own,
            };
            let deliver = work();
            drop(ends);
            Box::new(move || {
                deliver();
                _ = done.send(());
            })
        });
        if let Err(error) = self.give(job) {
            self.pool.end(directory);
            return Err(NotDone::Broke(error));
        }
        match ended.recv_timeout(timeout) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(NotDone::Broke(io::Error::other("the look broke off")))
            }
            Err(RecvTimeoutError::Timeout) => {
                let mount = mount_of(directory);
                let mut state = self.pool.state();
                // It may have ended this moment.
                if ended.try_recv().is_ok() {
                    return Ok(());
                }
                if let Some(look) = state.under_way.get_mut(directory.as_os_str()) {
                    look.overdue = true;
                    look.mount = mount;
                }
                self.pool.notify(&state);
                drop(state);
                Err(NotDone::Late)
            }
        }
    }

    /// Gives a job to a thread that waits for one, or to a new one.
    fn give(&self, mut job: Job) -> io::Result<()> {
        loop {
            let Some(idle) = self.pool.state().idle.pop() else {
                break;
            };
            match idle.send(job) {
                Ok(()) => return Ok(()),
                Err(unsent) => job = unsent.0,
            }
        }
        let pool = Arc::downgrade(&self.pool);
        std::thread::Builder::new()
            .name("look".into())
            .spawn(move || {
                LOOKS.set(true);
                let mut next = Some(job);
                while let Some(job) = next.take() {
                    // After a panic the caller finds that the look broke off.
                    let looked = catch_unwind(AssertUnwindSafe(job));
                    let (give, wait) = mpsc::channel();
                    let pool = pool.upgrade();
                    // First, so that looks one after the other use one thread.
                    if let Some(pool) = &pool {
                        pool.state().idle.push(give);
                    }
                    if let Ok(deliver) = looked {
                        deliver();
                    }
                    if pool.is_none() {
                        return;
                    }
                    drop(pool);
                    next = wait.recv_timeout(IDLE_FOR).ok();
                }
            })?;
        Ok(())
    }
}

/// Where a job puts its result. The jobs themselves are all of one type: the program would
/// otherwise hold the code of tasks and channels once for each kind of result.
#[derive(Debug)]
struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Slot<T> {
    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    fn take(&self) -> Option<T> {
        let mut value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        value.take()
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Runs `work` on a thread that may block, without any bounds.
///
/// # Errors
/// It panicked, or the program ends.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let result = Slot::default();
    let give = result.clone();
    let job: Box<dyn FnOnce() + Send> = Box::new(move || give.put(work()));
    tokio::task::spawn_blocking(job).await?;
    match result.take() {
        Some(value) => Ok(value),
        None => unreachable!("the job has ended"),
    }
}

/// Looks at several directories one after the other. However many of them hang, it takes
/// little longer than for one: what one has taken too long leaves less for the others.
#[derive(Debug)]
pub struct Round {
    looks: BoundedBlocking,
    /// What was spent on looks that did not answer.
    spent: Duration,
}

impl Round {
    /// What a look may take now.
    fn timeout(&self) -> Duration {
        let full = self.looks.timeout;
        match self.spent {
            Duration::ZERO => full,
            spent if spent < full + full / 2 => full / 20,
            _ => full / 200,
        }
    }

    /// As [`BoundedBlocking::run`].
    ///
    /// # Errors
    /// As [`BoundedBlocking::run`].
    pub fn run<T: Send + 'static>(
        &mut self,
        directory: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let timeout = self.timeout();
        let looked = self.looks.run_within(timeout, directory, work);
        if matches!(looked, Err(NotDone::Late)) {
            self.spent += timeout;
        }
        Ok(looked?)
    }
}

/// Why a look gave nothing.
#[derive(Debug)]
enum NotDone {
    /// It took too long.
    Late,
    /// An earlier one at the same directory did, and is still under way.
    Hangs,
    /// Too many hang.
    TooMany,
    /// It could not begin, or panicked.
    Broke(io::Error),
}

impl From<NotDone> for io::Error {
    fn from(error: NotDone) -> Self {
        let what = match error {
            NotDone::Late => "timeout",
            NotDone::Hangs => "timeout: an earlier look is still under way",
            NotDone::TooMany => "timeout: too many looks are still under way",
            NotDone::Broke(error) => return error,
        };
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{what}; its file system may hang"),
        )
    }
}

/// The mount that holds `path`, by the system's table: to ask the file system may hang.
fn mount_of(path: &Path) -> PathBuf {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    mount_in(&table, path)
}

/// The longest mount point that `path` begins with; `/` where there is none. Pure.
fn mount_in(table: &[u8], path: &Path) -> PathBuf {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|point| PathBuf::from(std::ffi::OsString::from_vec(unescaped(point))))
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.as_os_str().as_bytes().len())
        .unwrap_or_else(|| PathBuf::from("/"))
}

/// A field of the table: `\040` is a space.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = match (first, after) {
            (b'\\', [a, b, c, ..]) => std::str::from_utf8(&[*a, *b, *c])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 8).ok()),
            _ => None,
        };
        plain.push(octal.unwrap_or(*first));
        rest = match octal {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    plain
}

#[cfg(test)]
mod tests;
