//! What both programs show on a terminal.

pub mod table;

use std::future::Future;
use std::io::{self, Write};

use tokio::signal::unix::{SignalKind, signal};

/// Resolves with the name of the first signal that asks for a graceful shutdown: SIGINT,
/// SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2 or SIGALRM. From this call on none of them ends the
/// process by itself. SIGPIPE is ignored by every Rust program: a client that disconnects
/// would raise it.
///
/// Errors: the signals cannot be listened for.
pub fn until_stopped() -> io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    let mut alarm = signal(SignalKind::alarm())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = quit.recv() => "SIGQUIT",
            _ = user1.recv() => "SIGUSR1",
            _ = user2.recv() => "SIGUSR2",
            _ = alarm.recv() => "SIGALRM",
        }
    })
}

/// Keeps SIGHUP, also that of a closed terminal, from ending the process.
///
/// Errors: the signal cannot be listened for.
pub fn ignore_hangups() -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::warn!("SIGHUP received: reload is not supported yet; ignoring");
        }
    });
    Ok(())
}

/// For a command that has begun something: no signal ends the process before it is complete.
///
/// Errors: the signals cannot be listened for.
pub fn complete_what_has_begun() -> io::Result<()> {
    let stopped = until_stopped()?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let name = tokio::select! {
            name = stopped => name,
            _ = hangup.recv() => "SIGHUP",
        };
        complain(&format!(
            "{name} received: completing what has begun, then ending"
        ));
    });
    Ok(())
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
