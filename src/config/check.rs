//! The command `check-config` of both programs.

use crate::cli::exit_codes::{DONE, FAILED};
use crate::cli::{complain, print};

use super::{ConfigError, OF_THE_MACHINE, Settings, VARIABLE};

/// Reports whether a program would start with this configuration, as an exit code. What
/// discovery leaves out is a warning: a directory may appear later. `warnings` are those that the
/// program alone knows.
pub fn report(
    loaded: Result<Settings, ConfigError>,
    warnings: impl FnOnce(&Settings) -> Vec<String>,
) -> u8 {
    let settings = match loaded {
        Ok(settings) => settings,
        Err(error) => {
            complain(&error.headline());
            if let Some(hint) = &error.hint {
                complain(&format!("hint: {hint}"));
            }
            return FAILED;
        }
    };
    let Some(file) = &settings.config_file else {
        complain(&format!(
            "there is no configuration file: --config.file and {VARIABLE} name none, and neither $XDG_CONFIG_HOME/baileys/config.yml nor {OF_THE_MACHINE} is there"
        ));
        return FAILED;
    };
    let common = settings.connection_problems();
    let left_out = settings.discovery().survey().skipped;
    let common = common
        .into_iter()
        .chain(settings.quoted_homes())
        .chain(settings.shared_sources())
        .chain(left_out.into_iter().map(|skipped| skipped.message));
    for warning in common.chain(warnings(&settings)) {
        complain(&format!("warning: {warning}"));
    }
    print(&format!("{}: ok", file.display()));
    DONE
}
