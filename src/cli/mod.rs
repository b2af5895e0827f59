//! Terminal output and signals of both programs.

pub mod examples;
pub mod exit_codes;
mod generate;
pub mod health;
mod help;
pub mod log;
pub mod neutral;
mod signals;
pub mod table;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::exit_codes::FAILED;
use self::neutral::{neutral, neutral_styled};
pub use self::signals::until_stopped;

/// Whether something could not be written to standard output.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// The SIGHUPs that ask for a reload, those of a closed terminal among them. After this call
/// none of them ends the process.
///
/// Errors: failed to install the signal handler.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Whether [`defer_signals`] was called.
static SIGNALS_DEFERRED: AtomicBool = AtomicBool::new(false);
/// Whether a signal was received since.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// For a command that must complete: from this call on no signal ends the process.
///
/// Errors: failed to install the signal handlers.
pub fn defer_signals() -> io::Result<()> {
    if SIGNALS_DEFERRED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let stopped = until_stopped()?;
    let mut hangup = signal(SignalKind::hangup())?;
    SIGNALS_DEFERRED.store(true, Ordering::Relaxed);
    tokio::spawn(async move {
        let name = tokio::select! {
            name = stopped => name,
            _ = hangup.recv() => "SIGHUP".to_owned(),
        };
        STOPPING.store(true, Ordering::Relaxed);
        log::say(&format!(
            "{name} received: completing the command before exiting"
        ));
    });
    Ok(())
}

/// Whether a deferred signal asks the command to begin nothing more.
pub fn is_stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

/// Writes to standard output, with colours only on a terminal. Escapes what a terminal would
/// interpret, except the colours of the tables. A closed pipe (`| head`) is no error; after any
/// other error the program ends with exit code 2, see [`exit_code`].
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let written = writeln!(out, "{}", neutral_styled(text)).and_then(|()| out.flush());
    drop(out);
    check_output(written);
}

fn check_output(written: io::Result<()>) {
    let Err(error) = written else { return };
    let is_closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
    if !is_closed_pipe && !OUTPUT_FAILED.swap(true, Ordering::Relaxed) {
        complain(&format!(
            "error: failed to write to standard output: {error}"
        ));
    }
}

/// The exit code of a program that ends with this one: 2 where its output could not be written.
pub fn exit_code(exit: ExitCode) -> ExitCode {
    match OUTPUT_FAILED.load(Ordering::Relaxed) {
        true => ExitCode::from(FAILED),
        false => exit,
    }
}

/// Parses the command line. Exits if it is invalid, after `--help` or `--version`, and after
/// `generate DIR`, which writes man pages and shell completions for packages.
pub fn parse<T: clap::Parser>() -> T {
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(dir) = generate::is_requested(&args) {
        let written = generate::generate(T::command(), dir);
        if let Err(error) = &written {
            complain(&format!("error: {}: {error}", dir.display()));
        }
        std::process::exit(written.map_or(FAILED.into(), |()| 0));
    }
    let matches = help::with_short_help(T::command()).try_get_matches();
    let parsed = matches.and_then(|matches| T::from_arg_matches(&matches));
    parsed.unwrap_or_else(|mut error| {
        help::name_collectors(&T::command(), &mut error);
        // `--help` and `--version` belong on standard output.
        if !error.use_stderr() {
            check_output(error.print().and_then(|()| io::stdout().flush()));
            let failed = OUTPUT_FAILED.load(Ordering::Relaxed);
            std::process::exit(if failed {
                FAILED.into()
            } else {
                error.exit_code()
            });
        }
        let text = error.render().to_string();
        let harmless = neutral(&text);
        if harmless == text {
            error.exit();
        }
        // The message repeats the arguments, which a terminal must not interpret.
        complain(&harmless);
        std::process::exit(error.exit_code())
    })
}

/// The same on standard error, behind the log. Waits for the reader.
pub fn complain(text: &str) {
    log::flush();
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{}", neutral_styled(text));
}
