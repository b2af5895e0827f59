//! Access to the store from async code. SQLite blocks, so no async thread may call it: the
//! lock is private, and async code gets the store only within a closure that runs on a thread
//! that may block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Store;
use crate::folder::bounded_blocking::blocking;

/// The store, shared by all tasks of a program.
#[derive(Clone, Debug)]
pub struct SharedStore(Arc<Mutex<Store>>);

/// The same on a thread that may block; exists only there.
#[derive(Debug)]
pub struct BlockingStore<'a>(&'a SharedStore);

impl SharedStore {
    /// Shares a store.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// One short access, on a thread that may block.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> T {
        self.block(move |store| work(&store.lock())).await
    }

    /// Work that blocks and accesses the store in between, on a thread that may block.
    pub async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BlockingStore<'_>) -> T + Send + 'static,
    ) -> T {
        let shared = self.clone();
        match blocking(move || work(&BlockingStore(&shared))).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// One access on the current thread, after telling the runtime that the thread blocks. For an
    /// operator's command, which has nothing else to do meanwhile.
    ///
    /// Panics within a runtime of one thread.
    pub fn in_place<T>(&self, work: impl FnOnce(&Store) -> T) -> T {
        tokio::task::block_in_place(|| work(&self.lock()))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, for a test that may block.
    #[cfg(test)]
    pub fn blocking_in_test(&self) -> BlockingStore<'_> {
        BlockingStore(self)
    }

    /// The store, for a test.
    #[cfg(test)]
    pub fn in_test(&self) -> MutexGuard<'_, Store> {
        self.lock()
    }
}

impl BlockingStore<'_> {
    /// The store, for one short access: other tasks wait for it.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock()
    }
}
