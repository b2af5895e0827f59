//! The flags both programs know, named as exporter-toolkit names them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::cli::neutral::NeutralStderr;
use crate::folder::SessionsPath;
use crate::policy::BatchSetting;

use super::file::parse_batch;

/// Flags about sessions, their connection and the state; global, so that they may stand
/// before or behind a command.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonFlags {
    /// A root with auth folders in it, two levels deep; or one auth folder (NAME then is its session); or a glob in quotes, such as '/srv/*/auth_info_baileys', where what `*` stands for is the name. Repeatable.
    #[arg(long = "sessions.path", value_name = "[NAME=]PATH", global = true, value_parser = source_parser(), help_heading = "Sessions")]
    pub sessions_path: Vec<SessionsPath>,

    /// Only sessions whose name, or whose directory's name, matches. Repeatable.
    #[arg(
        long = "sessions.include",
        value_name = "GLOB",
        global = true,
        help_heading = "Sessions"
    )]
    pub sessions_include: Vec<String>,

    /// No session whose name matches, and no directory of a root, with all in it, whose name matches. Repeatable.
    #[arg(
        long = "sessions.exclude",
        value_name = "GLOB",
        global = true,
        help_heading = "Sessions"
    )]
    pub sessions_exclude: Vec<String>,

    /// Pre-keys that the bots' Baileys mints at login: 30 (up to 7.0.0-rc.5), 812 (later), or auto (told from each folder).
    #[arg(long = "pre-keys.batch", value_name = "30|812|auto", global = true, value_parser = parse_batch, help_heading = "Sessions")]
    pub pre_key_batch: Option<BatchSetting>,

    /// Asks whether a bot is connected: exits 0 and prints exactly `connected` or `disconnected`. `{session}` is the session's name. Split into words as a shell would, run without one.
    #[arg(
        long = "connection.command",
        value_name = "CMD ARG...",
        global = true,
        help_heading = "Connection"
    )]
    pub connection_command: Option<String>,

    /// A bot counts as disconnected only when no file of it was written for this long [default: 10m]
    #[arg(long = "connection.quiet", value_name = "SPAN", global = true, value_parser = humantime::parse_duration, help_heading = "Connection")]
    pub connection_quiet: Option<Duration>,

    /// Sessions whose sources a person vouches for: they may say "not connected" without having seen the bot alive first. Repeatable.
    #[arg(
        long = "connection.trust",
        value_name = "GLOB",
        global = true,
        help_heading = "Connection"
    )]
    pub connection_trust: Vec<String>,

    /// Logs of the bots: a path, or a glob in quotes. pm2 writes NAME-out.log and NAME-error.log; name both. NAME=GLOB: they are the session NAME's. Repeatable.
    #[arg(
        long = "logs.path",
        value_name = "[NAME=]GLOB",
        global = true,
        help_heading = "Logs"
    )]
    pub logs_path: Vec<String>,

    /// The YAML configuration file, the same for both programs; flags win over it.
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
}

/// Flags that only the exporter knows.
#[derive(Args, Clone, Debug, Default)]
pub struct ExporterFlags {
    /// At the very first start, count the logs from their beginning, not from their end.
    #[arg(long = "logs.from-start", help_heading = "Logs")]
    pub logs_from_start: bool,

    /// Directory that remembers how far the logs were read and what was counted; used only with --logs.path [default: /var/lib/baileys_exporter]
    #[arg(
        long = "logs.state-path",
        value_name = "DIR",
        global = true,
        help_heading = "Logs"
    )]
    pub logs_state_path: Option<PathBuf>,
}

/// Flags that only the remediator knows.
#[derive(Args, Clone, Debug, Default)]
pub struct RemediatorFlags {
    /// Directory of the journal; must be the same for `serve` and the other commands [default: /var/lib/baileys_remediator]
    #[arg(long = "state.path", value_name = "DIR", global = true)]
    pub state_path: Option<PathBuf>,

    /// File with the bearer token that Alertmanager sends.
    #[arg(
        long = "webhook.token-file",
        value_name = "FILE",
        global = true,
        help_heading = "Webhook"
    )]
    pub webhook_token_file: Option<PathBuf>,

    /// A label that an alert must carry before it acts, e.g. instance=host1:10273. Repeatable.
    #[arg(long = "webhook.match", value_name = "LABEL=VALUE", global = true, value_parser = label_value, help_heading = "Webhook")]
    pub webhook_match: Vec<(String, String)>,
}

fn label_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, value)) if !label.is_empty() => Ok((label.to_owned(), value.to_owned())),
        _ => Err("give LABEL=VALUE, for example instance=host1:10273".to_owned()),
    }
}

fn source_parser() -> impl TypedValueParser<Value = SessionsPath> {
    OsStringValueParser::new().try_map(|text| SessionsPath::parse(OsStr::new(&text)))
}

/// Flags about the log.
#[derive(Args, Clone, Debug)]
pub struct LogFlags {
    /// Least severe message that is logged: debug, info, warn or error.
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        default_value = "info",
        global = true,
        help_heading = "Log"
    )]
    pub level: tracing::Level,

    /// Form of the log, which goes to standard error.
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        value_enum,
        default_value = "logfmt",
        global = true,
        help_heading = "Log"
    )]
    pub format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `ts=… level=info message="…" key=value`
    Logfmt,
    /// One JSON object a line.
    Json,
}

impl LogFlags {
    /// Sets the log up for the whole process.
    pub fn init(&self) {
        use tracing_subscriber::filter::LevelFilter;
        use tracing_subscriber::prelude::*;
        let level = LevelFilter::from_level(self.level);
        let registry = tracing_subscriber::registry().with(level);
        match self.format {
            LogFormat::Logfmt => registry
                .with(
                    tracing_logfmt::builder()
                        .with_target(false)
                        .layer()
                        .with_writer(|| NeutralStderr),
                )
                .init(),
            LogFormat::Json => registry
                .with(
                    tracing_subscriber::fmt::layer()
                        .json()
                        .flatten_event(true)
                        .with_writer(|| NeutralStderr),
                )
                .init(),
        }
    }
}
