//! The runtime of both programs.

use std::process::ExitCode;
use std::time::Duration;

use baileys_exporter::cli::exit_codes::FAILED;
use baileys_exporter::cli::{self, complain, log};

/// Threads that may block. With those of `folder::bounded_blocking`, and the processes that are queried
/// and started, they stay below usual limits of tasks.
const MAX_BLOCKING_THREADS: usize = 128;
/// At the end, threads that hang in the kernel are waited for this long.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Writes the rest of the log, also where the program panics.
struct LogFlush;

impl Drop for LogFlush {
    fn drop(&mut self) {
        log::flush();
    }
}

/// Runs a program to its end. A thread that hangs, for example on a file system that does not
/// answer, does not prevent the exit.
pub fn run(program: impl Future<Output = ExitCode>) -> ExitCode {
    let _flush = LogFlush;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let exit = runtime.block_on(program);
    runtime.shutdown_timeout(LAST_WAIT);
    cli::exit_code(exit)
}

#[cfg(test)]
mod tests;
