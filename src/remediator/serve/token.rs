//! The bearer token, read again for each request, so that it can be changed without a restart.
//!
//! The client is not authenticated yet. So on a hung file system no request waits for long, and
//! only a few threads are blocked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use exporter_toolkit::secret;

use crate::folder::bounded_blocking::blocking;
use crate::remediator::privileges::MAX_TOKEN_BYTES;

/// Threads that read it at the same time.
const READERS: usize = 4;
/// Time limit for reading it.
const READ_FOR: Duration = Duration::from_secs(5);

pub(super) struct TokenFile {
    path: PathBuf,
    readers: Arc<Semaphore>,
}

impl TokenFile {
    /// Errors: it cannot be used now. Blocks.
    pub(super) fn new(path: PathBuf) -> Result<Self, String> {
        read(&path)?;
        Ok(Self {
            path,
            readers: Arc::new(Semaphore::new(READERS)),
        })
    }

    pub(super) async fn read(&self) -> Result<Vec<u8>, String> {
        let path = self.path.clone();
        let token = bounded(&self.readers, READ_FOR, move || read(&path)).await;
        token.unwrap_or_else(|| {
            Err("--webhook.token-file: timeout while reading it; its file system may hang".into())
        })
    }
}

/// The result of `work`; `None` on a timeout. It counts as one of the readers until it is
/// done.
async fn bounded<T: Send + 'static>(
    readers: &Arc<Semaphore>,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let done = async {
        let reader = Arc::clone(readers).acquire_owned().await.ok()?;
        let work = move || {
            let result = work();
            drop(reader);
            result
        };
        blocking(work).await.ok()
    };
    tokio::time::timeout(patience, done).await.ok().flatten()
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong =
        |error: &dyn std::fmt::Display| format!("--webhook.token-file {}: {error}", path.display());
    let located = secret::locate(path).map_err(|error| wrong(&error))?;
    let text = secret::read(&located, MAX_TOKEN_BYTES).map_err(|error| wrong(&error))?;
    let token = text.trim_ascii().to_vec();
    if token.len() < 16 {
        return Err(wrong(
            &"the token must have at least 16 characters; make one with: head -c 32 /dev/urandom | base64",
        ));
    }
    Ok(token)
}

#[cfg(test)]
mod tests;
