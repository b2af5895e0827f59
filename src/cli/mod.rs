//! What both programs show on a terminal.

pub mod table;

use std::future::Future;
use std::io::{self, Write};

use tokio::signal::unix::{SignalKind, signal};

/// Resolves on SIGINT or SIGTERM.
///
/// Errors: the signals cannot be listened for.
pub fn until_stopped() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Writes to standard output; colours only where that is a terminal. A closed pipe
/// (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// Writes to standard error; colours only where that is a terminal.
pub fn complain(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{text}");
}
