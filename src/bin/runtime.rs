//! The runtime of both programs.

use std::process::ExitCode;
use std::time::Duration;

use baileys_exporter::cli::complain;

/// Threads that may block. With those of `folder::looks`, and the processes that are asked and
/// started, they stay below the `TasksMax` of the shipped units.
const MAX_BLOCKING_THREADS: usize = 128;
/// What hangs in the kernel gets this long at the end.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Runs a program to its end. A look that hangs, on a file system that does not answer for
/// example, does not keep it from ending.
pub fn run(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
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
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn what_hangs_does_not_keep_the_program() {
        let began = Instant::now();
        let exit = run(async {
            drop(tokio::task::spawn_blocking(|| {
                std::thread::sleep(Duration::from_secs(40))
            }));
            tokio::time::sleep(Duration::from_millis(100)).await;
            ExitCode::from(7)
        });
        assert_eq!(exit, ExitCode::from(7));
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
    }
}
