//! The help of subcommands, their own options only; and the help for a misspelt collector.

use clap::Command;
use clap::error::{ContextKind, ContextValue};

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

/// Where `--collector.NAME` is not known, the error lists those that are.
pub(super) fn name_collectors(program: &Command, error: &mut clap::Error) {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let is_collector =
        unknown.starts_with("--collector.") || unknown.starts_with("--no-collector.");
    let longs = program.get_arguments().filter_map(|arg| arg.get_long());
    let names: Vec<&str> = longs
        .filter_map(|long| long.strip_prefix("collector."))
        .collect();
    if is_collector && !names.is_empty() {
        let tip = format!("the collectors are: {}", names.join(", "));
        error.remove(ContextKind::SuggestedArg);
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
}
