//! Terminal output and signals of both programs.

pub mod exit_codes;
pub mod neutral;
pub mod table;

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use self::neutral::neutral_styled;

/// The flags and commands of the process. What is wrong with them is printed, without what a
/// terminal would obey; so are help and version.
///
/// Errors: the exit code, where the process has nothing else to do.
pub fn parse<Cli: clap::Parser>() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        if error.use_stderr() {
            complain(error.render().to_string().trim_end());
        } else {
            let _ = error.print();
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

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

/// The same on standard error.
pub fn complain(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{}", neutral_styled(text));
}
