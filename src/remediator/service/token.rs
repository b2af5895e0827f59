//! The bearer token, read anew for each request, so that it can be changed without a restart.
//!
//! Whoever asks has shown nothing yet. So on a file system that hangs no request waits for
//! long, and only a few threads are lost to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use exporter_toolkit::secret;

use crate::remediator::privileges::MAX_TOKEN_BYTES;

/// Threads that read it at the same time.
const READERS: usize = 4;
/// Nobody waits longer for it.
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
            Err(
                "--webhook.token-file: it could not be read in time; its file system may hang"
                    .into(),
            )
        })
    }
}

/// What `work` gives, unless it takes longer. It keeps its place among the readers until it
/// is done.
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
        tokio::task::spawn_blocking(work).await.ok()
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
