//! `health` of both programs: asks the running program whether it is healthy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use exporter_toolkit::HealthCheck;

use super::exit_codes::{FAILED, REFUSED};
use super::{complain, print};

/// Shorter than the usual timeouts of those who run the command.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Flags of `health`.
#[derive(Args, Debug)]
pub struct HealthFlags {
    /// Address on which the program listens; of several, each must answer. Repeatable.
    #[arg(long = "web.listen-address", value_name = "HOST:PORT")]
    listen: Vec<String>,

    /// File that the program has as its --web.config.file.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config: Option<PathBuf>,
}

impl HealthFlags {
    /// Asks each address. Those given here take the place of the program's.
    pub async fn run(&self, listen: &[String], web_config: Option<&Path>) -> ExitCode {
        let listen = match self.listen.is_empty() {
            true => listen,
            false => &self.listen,
        };
        let check = match HealthCheck::new(self.web_config.as_deref().or(web_config)) {
            Ok(check) => check,
            Err(error) => {
                complain(&format!("error: {error}"));
                return ExitCode::from(FAILED);
            }
        };
        for address in listen {
            if let Err(error) = check.ask(address, "/-/healthy", TIMEOUT).await {
                complain(&format!("not healthy: {error}"));
                return ExitCode::from(REFUSED);
            }
        }
        print("healthy");
        ExitCode::SUCCESS
    }
}
