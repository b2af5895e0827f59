//! Terminal output and signals of both programs.

pub mod exit_codes;
pub mod neutral;
pub mod table;

use std::future::Future;
use std::io::{self, Write};

use tokio::signal::unix::{SignalKind, signal};

use self::neutral::{neutral, neutral_styled};

/// Resolves with the name of the first signal that asks for a graceful shutdown: SIGINT,
/// SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2 or SIGALRM. After this call none of them ends the
/// process by itself. Every Rust program ignores SIGPIPE, which a client that disconnects
/// would raise.
///
/// Errors: failed to install the signal handlers.
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

/// Keeps SIGHUP, including that of a closed terminal, from ending the process.
///
/// Errors: failed to install the signal handler.
pub fn ignore_hangups() -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::warn!("SIGHUP received: reload is not supported yet; ignoring");
        }
    });
    Ok(())
}

/// For a command that must complete: from this call on no signal ends the process.
///
/// Errors: failed to install the signal handlers.
pub fn defer_signals() -> io::Result<()> {
    let stopped = until_stopped()?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let name = tokio::select! {
            name = stopped => name,
            _ = hangup.recv() => "SIGHUP",
        };
        complain(&format!(
            "{name} received: completing the command before exiting"
        ));
    });
    Ok(())
}

/// Writes to standard output, with colours only on a terminal. What a terminal would obey, but
/// for the colours of the tables, is escaped. A closed pipe (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = writeln!(out, "{}", neutral_styled(text));
}

/// Parses the command line. Ends the program where it is wrong, and for `--help` and
/// `--version`.
pub fn parse<T: clap::Parser>() -> T {
    T::try_parse().unwrap_or_else(|error| {
        // `--help` and `--version` belong on standard output.
        if !error.use_stderr() {
            error.exit();
        }
        let text = error.render().to_string();
        let harmless = neutral(&text);
        if harmless == text {
            error.exit();
        }
        // It repeats what was given, which a terminal must not obey.
        complain(&harmless);
        std::process::exit(error.exit_code())
    })
}

/// The same on standard error.
pub fn complain(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{}", neutral_styled(text));
}
