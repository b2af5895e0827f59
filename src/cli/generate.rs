//! Man pages and shell completions, for packages.

use std::ffi::OsStr;
use std::path::Path;
use std::{fs, io};

use clap::Command;
use clap_complete::Shell;

/// The directory of `PROGRAM generate DIR`, a command that no help shows.
pub(super) fn is_requested(args: &[impl AsRef<OsStr>]) -> Option<&Path> {
    match args {
        [_, command, dir] if command.as_ref() == "generate" => Some(Path::new(dir)),
        _ => None,
    }
}

/// Writes `NAME.1`, a page for each subcommand (`NAME-SUBCOMMAND.1`), and the completions
/// `NAME.bash`, `_NAME` (zsh) and `NAME.fish`. The same program writes the same bytes.
///
/// Errors: a file cannot be written.
pub(super) fn generate(command: Command, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), &name, dir)?;
    }
    clap_mangen::generate_to(super::help::with_short_help(command), dir)
}

#[cfg(test)]
mod tests;
