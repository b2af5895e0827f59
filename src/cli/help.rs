//! The help of subcommands: their own options only.

use clap::Command;

/// In the help of each subcommand, one line stands for the options that all of them share; the
/// help of the program lists those.
pub(super) fn with_short_help(program: Command) -> Command {
    let name = program.get_name().to_owned();
    let shared: Vec<_> = program
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .map(|arg| arg.clone().hide(true))
        .collect();
    let line = format!("Shared options, such as --config.file: see `{name} --help`.");
    program.mut_subcommands(|command| shorten(command, &shared, &line))
}

/// clap gives a subcommand no second argument of the same id.
fn shorten(command: Command, shared: &[clap::Arg], line: &str) -> Command {
    command
        .args(shared)
        .after_help(line.to_owned())
        .mut_subcommands(|command| shorten(command, shared, line))
}
