//! The flags both programs know, named as exporter-toolkit names them.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::cli::log::{self, LogWriter};
use crate::folder::SessionsPath;
use crate::policy::BatchSetting;

use super::file::parse_batch;
use super::metric_groups::CollectorFlags;
use super::span::parse_span;
use super::trigger::TriggerSource;

/// Flags about sessions, their connection and the state; global, so that they are allowed
/// before or after a command.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonFlags {
    /// A directory that holds auth folders, up to two levels deep; or NAME=PATH for one auth folder with a session name of its own; or a quoted glob such as '/home/bots/*/auth_info_baileys', where the part that `*` matches is the session name. Repeatable.
    #[arg(long = "sessions.path", value_name = "[NAME=]PATH", global = true, value_parser = source_parser(), help_heading = "Sessions")]
    pub sessions_path: Vec<SessionsPath>,

    /// Include only sessions whose name or directory name matches. Repeatable.
    #[arg(
        long = "sessions.include",
        value_name = "GLOB",
        global = true,
        help_heading = "Sessions"
    )]
    pub sessions_include: Vec<String>,

    /// Exclude sessions whose name matches, and directories whose name matches with everything in them. Repeatable.
    #[arg(
        long = "sessions.exclude",
        value_name = "GLOB",
        global = true,
        help_heading = "Sessions"
    )]
    pub sessions_exclude: Vec<String>,

    /// Number of pre-keys that Baileys creates at login: 30 (up to 7.0.0-rc.5), 812 (later versions), or auto (detect it for each folder) [default: auto]
    #[arg(long = "pre-keys.batch", value_name = "30|812|auto", global = true, value_parser = parse_batch, help_heading = "Sessions")]
    pub pre_key_batch: Option<BatchSetting>,

    /// Command that reports whether a bot is connected: it must exit 0 and print exactly `connected` or `disconnected`. `{session}` is replaced by the session name. Quoting works as in a shell, but no shell runs.
    #[arg(
        long = "connection.command",
        value_name = "CMD ARG...",
        global = true,
        help_heading = "Connection"
    )]
    pub connection_command: Option<String>,

    /// Treat a bot as disconnected only if none of its files was written for this long [default: 10m]
    #[arg(long = "connection.quiet", value_name = "SPAN", global = true, value_parser = parse_span, help_heading = "Connection")]
    pub connection_quiet: Option<Duration>,

    /// Sessions whose connection sources you trust: "not connected" counts even if the source has never seen the bot connected. Repeatable.
    #[arg(
        long = "connection.trust",
        value_name = "GLOB",
        global = true,
        help_heading = "Connection"
    )]
    pub connection_trust: Vec<String>,

    /// Log files of the bots: a path or a quoted glob. pm2 writes NAME-out.log and NAME-error.log; match both. NAME=GLOB assigns the logs to the session NAME. Repeatable.
    #[arg(
        long = "logs.path",
        value_name = "[NAME=]GLOB",
        global = true,
        help_heading = "Logs"
    )]
    pub logs_path: Vec<String>,

    /// YAML configuration file; both programs read the same one. Flags take precedence over it [default: the first of $BAILEYS_CONFIG, $XDG_CONFIG_HOME/baileys/config.yml and /etc/baileys/config.yml].
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
}

/// Flags that only the exporter knows.
#[derive(Args, Clone, Debug, Default)]
pub struct ExporterFlags {
    /// Auth folders that are scanned at the same time [default: one for each processor]
    #[arg(
        long = "sessions.scan-threads",
        value_name = "N",
        global = true,
        help_heading = "Sessions"
    )]
    pub scan_threads: Option<NonZeroUsize>,

    /// On the very first start, read the logs from the beginning instead of the end.
    #[arg(long = "logs.from-start", help_heading = "Logs")]
    pub logs_from_start: bool,

    /// Directory for read positions and counters of the logs, and which bots were seen alive [default: /var/lib/baileys_exporter]
    #[arg(
        long = "logs.state-path",
        value_name = "DIR",
        global = true,
        help_heading = "Logs"
    )]
    pub logs_state_path: Option<PathBuf>,

    /// Groups of metrics.
    #[command(flatten)]
    pub collectors: CollectorFlags,
}

/// Flags that only the remediator knows.
#[derive(Args, Clone, Debug, Default)]
pub struct RemediatorFlags {
    /// Directory of the journal. All commands must use the same one as `serve` [default: /var/lib/baileys_remediator]
    #[arg(long = "state.path", value_name = "DIR", global = true)]
    pub state_path: Option<PathBuf>,

    /// What asks for clean-ups: `alerts` (Prometheus and Alertmanager) or `local` (the folders themselves, without them) [default: alerts]
    #[arg(
        long = "trigger",
        value_name = "TRIGGER",
        value_enum,
        global = true,
        hide_possible_values = true
    )]
    pub trigger: Option<TriggerSource>,

    /// File with the bearer token that Alertmanager sends.
    #[arg(
        long = "webhook.token-file",
        value_name = "FILE",
        global = true,
        help_heading = "Webhook"
    )]
    pub webhook_token_file: Option<PathBuf>,

    /// Act only on alerts with this label, e.g. instance=bots1:10273. Repeatable.
    #[arg(long = "webhook.match", value_name = "LABEL=VALUE", global = true, value_parser = label_value, help_heading = "Webhook")]
    pub webhook_match: Vec<(String, String)>,
}

fn label_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, value)) if !label.is_empty() => Ok((label.to_owned(), value.to_owned())),
        _ => Err("give LABEL=VALUE, for example instance=bots1:10273".to_owned()),
    }
}

fn source_parser() -> impl TypedValueParser<Value = SessionsPath> {
    OsStringValueParser::new().try_map(|text| SessionsPath::parse(OsStr::new(&text)))
}

/// Flags about the log.
#[derive(Args, Clone, Debug)]
pub struct LogFlags {
    /// Minimum level of messages to log: debug, info, warn or error.
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        default_value = "info",
        global = true,
        help_heading = "Log"
    )]
    pub level: tracing::Level,

    /// Log format. The log is written to standard error.
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

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `ts=… level=info message="…" key=value`
    Logfmt,
    /// One JSON object per line.
    Json,
}

impl LogFlags {
    /// Sets the log up for the whole process.
    pub fn init(&self) {
        if let Err(error) = log::start() {
            log::say(&format!("warning: failed to start the log: {error}"));
        }
        log::log_panics();
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
                        .with_writer(|| LogWriter),
                )
                .init(),
            LogFormat::Json => registry
                .with(
                    tracing_subscriber::fmt::layer()
                        .json()
                        .flatten_event(true)
                        .with_writer(|| LogWriter),
                )
                .init(),
        }
    }
}

/// Flags for a unit test: `config.yml` in `dir` if it is there, sessions and state below `dir`.
#[cfg(test)]
pub(crate) fn flags_in(dir: &std::path::Path) -> (CommonFlags, RemediatorFlags) {
    let common = CommonFlags {
        config_file: Some(dir.join("config.yml")).filter(|path| path.exists()),
        sessions_path: vec![SessionsPath::parse(dir.join("sessions").as_os_str()).unwrap()],
        ..CommonFlags::default()
    };
    let remediator = RemediatorFlags {
        state_path: Some(dir.join("state")),
        ..RemediatorFlags::default()
    };
    (common, remediator)
}
