//! The runtime of both programs.

use std::process::ExitCode;
use std::time::Duration;

use baileys_exporter::cli::complain;

/// What hangs in the kernel gets this long at the end.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Runs a program to its end. A look that hangs, on a file system that does not answer for
/// example, does not keep it from ending.
pub fn run(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(program);
    runtime.shutdown_timeout(LAST_WAIT);
    exit
}

#[cfg(test)]
mod tests;
