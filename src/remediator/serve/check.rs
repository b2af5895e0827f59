//! What `check-config` finds of what `serve` refuses.

use crate::config::{Settings, System};

use super::token::TokenFile;

/// The checks of the configuration that `serve` makes at its start. Changes nothing.
///
/// Errors: a sentence; `serve` would not start.
pub fn check_settings(settings: &Settings) -> Result<(), String> {
    settings.require_trigger()?;
    let token_file = settings.token_file.clone();
    if token_file.map(TokenFile::new).transpose()?.is_some() {
        settings.alert_match.resolve(&System)?;
    }
    if let Some(polled) = &settings.alertmanagers {
        polled.resolve(&System)?;
    }
    settings.labels.clone().resolve(&System)
}
