//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::position::Position;

/// Why a configuration cannot be used. Displayed on one line, as
/// `FILE:LINE:COLUMN: message; hint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file; `None` where there is none, or where a flag is wrong.
    pub file: Option<PathBuf>,
    /// Where in the file, if one place is to blame.
    pub position: Option<Position>,
    /// What is wrong. Repeats no value that may be a secret.
    pub message: String,
    /// What to do, if the message does not say it.
    pub hint: Option<String>,
}

impl ConfigError {
    /// The error without its hint: `FILE:LINE:COLUMN: message`, or as much of it as there is.
    pub fn headline(&self) -> String {
        let message = &self.message;
        match (&self.file, self.position) {
            (Some(file), Some(Position { line, column })) => {
                format!("{}:{line}:{column}: {message}", file.display())
            }
            (Some(file), None) => format!("{}: {message}", file.display()),
            (None, _) => message.clone(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<String> for ConfigError {
    fn from(message: String) -> Self {
        Self {
            file: None,
            position: None,
            message,
            hint: None,
        }
    }
}
