//! Looks at many directories on several threads. One that hangs costs a thread, and the
//! others go on.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;

use super::{Ends, NotDone, Pool, Round};

/// A panic may leave a look without a result; it is noticed after this time at the latest.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// The looks of one batch.
struct LookBatch<T> {
    state: Mutex<BatchState<T>>,
    changed: Condvar,
}

struct BatchState<T> {
    /// Index of the next item to begin.
    next: usize,
    results: Vec<Option<Result<T, NotDone>>>,
    workers: Vec<Worker>,
    /// What a look may take now.
    timeout: Duration,
    /// The caller has returned; results are dropped.
    is_over: bool,
}

/// A thread of the batch.
#[derive(Default)]
struct Worker {
    /// The item that it looks at, and since when.
    at: Option<(usize, Instant)>,
    has_ended: bool,
}

impl<T> LookBatch<T> {
    fn state(&self) -> MutexGuard<'_, BatchState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directories, and the work for one of them.
struct Work<I, F> {
    directories: Vec<PathBuf>,
    items: Vec<Mutex<Option<I>>>,
    work: F,
}

impl Round {
    /// Runs `work` for each item, which looks at the directory beside it, on several threads at
    /// a time ([`BoundedBlocking::with_threads`](super::BoundedBlocking::with_threads)). The
    /// results are in the order of the items. Blocks; hanging directories are bounded as in
    /// [`Round::run`].
    ///
    /// Errors: of each item, as [`BoundedBlocking::run`](super::BoundedBlocking::run).
    pub fn run_all<I, T>(
        &mut self,
        items: impl IntoIterator<Item = (PathBuf, I)>,
        work: impl Fn(I) -> T + Send + Sync + 'static,
    ) -> Vec<io::Result<T>>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let (directories, items): (Vec<PathBuf>, Vec<Mutex<Option<I>>>) = items
            .into_iter()
            .map(|(directory, item)| (directory, Mutex::new(Some(item))))
            .unzip();
        let count = directories.len();
        let work = Arc::new(Work {
            directories,
            items,
            work,
        });
        let batch = Arc::new(LookBatch {
            state: Mutex::new(BatchState {
                next: 0,
                results: (0..count).map(|_| None).collect(),
                workers: Vec::new(),
                timeout: self.timeout(),
                is_over: false,
            }),
            changed: Condvar::new(),
        });
        let clock = Clock::system();
        let mut failed_to_start = None;
        loop {
            let mut state = batch.state();
            let active = |state: &BatchState<T>| {
                state
                    .workers
                    .iter()
                    .filter(|worker| !worker.has_ended)
                    .count()
            };
            // A thread that hangs is replaced while there is something left to look at.
            while failed_to_start.is_none()
                && state.next < count
                && active(&state) < self.looks.threads.clamp(1, count - state.next)
            {
                let index = state.workers.len();
                state.workers.push(Worker::default());
                drop(state);
                let (own, shared) = (Arc::clone(&batch), Arc::clone(&work));
                let (pool, clock) = (Arc::clone(&self.looks.pool), clock.clone());
                let started = self.looks.give(Box::new(move || {
                    look_at_all(&own, &shared, &pool, index, &clock);
                    Box::new(|| ())
                }));
                state = batch.state();
                if let Err(error) = started {
                    state.workers[index].has_ended = true;
                    failed_to_start = Some(error);
                }
            }
            if state.results.iter().all(Option::is_some) || active(&state) == 0 {
                state.is_over = true;
                break;
            }
            let now = clock.now();
            let deadlines = state
                .workers
                .iter()
                .filter(|worker| !worker.has_ended)
                .map(|worker| {
                    worker
                        .at
                        .map_or(now + CHECK_EVERY, |(_, began)| began + state.timeout)
                });
            let earliest = deadlines.min().unwrap_or(now);
            let wait = earliest.saturating_duration_since(now);
            let waited = batch
                .changed
                .wait_timeout(state, wait.max(Duration::from_millis(1)));
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            self.give_up_on_overdue(state, &work.directories, clock.now());
        }
        let results = std::mem::take(&mut batch.state().results);
        let lost = || {
            let why = failed_to_start.as_ref();
            let why = why.map_or("the look broke off".to_owned(), ToString::to_string);
            NotDone::Broke(io::Error::other(why))
        };
        let each = |result: Option<Result<T, NotDone>>| Ok(result.unwrap_or_else(|| Err(lost()))?);
        results.into_iter().map(each).collect()
    }

    /// Marks the looks that take too long as overdue.
    fn give_up_on_overdue<T>(
        &mut self,
        mut state: MutexGuard<'_, BatchState<T>>,
        directories: &[PathBuf],
        now: Instant,
    ) {
        for index in 0..state.workers.len() {
            let Worker {
                at: Some((item, began)),
                has_ended: false,
            } = state.workers[index]
            else {
                continue;
            };
            if now.saturating_duration_since(began) < state.timeout {
                continue;
            }
            state.workers[index].has_ended = true;
            state.results[item] = Some(Err(NotDone::Late));
            self.looks.pool.mark_overdue(&directories[item]);
            self.spent += state.timeout;
            state.timeout = self.timeout();
        }
    }
}

/// What each thread does: looks at the next directory until none is left.
fn look_at_all<I, T, F: Fn(I) -> T>(
    batch: &LookBatch<T>,
    work: &Work<I, F>,
    pool: &Arc<Pool>,
    worker: usize,
    clock: &Clock,
) {
    loop {
        let (item, timeout) = {
            let mut state = batch.state();
            if state.is_over || state.workers[worker].has_ended || state.next == work.items.len() {
                state.workers[worker].has_ended = true;
                batch.changed.notify_all();
                return;
            }
            state.next += 1;
            (state.next - 1, state.timeout)
        };
        let directory = &work.directories[item];
        let input = work.items[item]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let result = match (pool.begin(timeout, directory), input) {
            (Err(not_done), _) => Err(not_done),
            (Ok(()), None) => Err(NotDone::Broke(io::Error::other("the look broke off"))),
            (Ok(()), Some(input)) => {
                batch.state().workers[worker].at = Some((item, clock.now()));
                run(pool, directory, || (work.work)(input))
            }
        };
        let mut state = batch.state();
        // Otherwise it was overdue, and its result is dropped.
        if !state.workers[worker].has_ended {
            state.workers[worker].at = None;
            state.results[item] = Some(result);
        }
    }
}

fn run<T>(pool: &Pool, directory: &Path, work: impl FnOnce() -> T) -> Result<T, NotDone> {
    let ends = Ends { pool, directory };
    let looked = catch_unwind(AssertUnwindSafe(work));
    drop(ends);
    looked.map_err(|_| NotDone::Broke(io::Error::other("the look broke off")))
}
