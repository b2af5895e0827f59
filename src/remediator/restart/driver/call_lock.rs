//! A lock file that a call to the supervisor gets as its standard input. It stays locked as long
//! as any process of the call is left. After a crash it shows whether the call has ended.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clock::Clock;
use rustix::fs::{FlockOperation, flock};

use crate::remediator::restart::machine::PERSIST_WITHIN;
use crate::remediator::restart::state::Restart;
use crate::remediator::runner::blocking;
use crate::state_file;

/// More than the text of any call.
const MAX_CALL_BYTES: u64 = 100;

fn path(state_path: &Path, service: &str) -> PathBuf {
    let hash = xxhash_rust::xxh3::xxh3_64(service.as_bytes());
    state_path.join(format!("call-{hash:016x}"))
}

/// The content of the file: identifies the call. Every call of a service has a new file.
fn text(state: &Restart) -> Option<String> {
    let id = state.call?.id;
    Some(format!("{} {} {id}\n", state.run_id, state.decided_ns))
}

/// Creates the locked file for the intended call. `None` if there is no call, or if creating it
/// fails: then the call counts as under way until its time is over. Blocks.
pub(super) fn create(state_path: &Path, state: &Restart) -> Option<Arc<File>> {
    let (text, path) = (text(state)?, path(state_path, &state.service));
    let made = (|| {
        // Processes of an earlier call may still hold the old file.
        let _ = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        let mut file = state_file::open(options, &path)?;
        // The offset is at the end now: a program that reads its standard input gets nothing.
        file.write_all(text.as_bytes())?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok::<_, std::io::Error>(file)
    })();
    match made {
        Ok(file) => Some(Arc::new(file)),
        Err(error) => {
            let service = &state.service;
            tracing::warn!(service, "failed to create the lock file of a call: {error}");
            None
        }
    }
}

/// Whether the last call has ended: no process holds the file of that call. Blocks.
fn has_ended(state_path: &Path, state: &Restart) -> bool {
    let Some(expected) = text(state) else {
        return false;
    };
    let path = path(state_path, &state.service);
    let Ok(file) = state_file::open(OpenOptions::new().read(true), &path) else {
        return false;
    };
    let mut text = String::new();
    let read = (&file).take(MAX_CALL_BYTES).read_to_string(&mut text);
    read.is_ok()
        && text == expected
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Like [`has_ended`]; `false` if the disk hangs.
pub(super) async fn has_ended_within(clock: &Clock, state_path: PathBuf, state: Restart) -> bool {
    let looked = blocking(move || has_ended(&state_path, &state));
    clock.timeout(PERSIST_WITHIN, looked).await.unwrap_or(false)
}

#[cfg(test)]
mod tests;
