//! baileys_exporter: flags and wiring only.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod runtime;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use baileys_exporter::app::App;
use baileys_exporter::cli::exit_codes::FAILED;
use baileys_exporter::cli::health::HealthFlags;
use baileys_exporter::cli::{self, complain, log, print, until_stopped};
use baileys_exporter::config::{
    CommonFlags, ConfigError, ExporterFlags, LogFlags, RemediatorFlags, Settings, System, check,
};
use baileys_exporter::connection::{Recent, SightingStore};
use baileys_exporter::exporter::server::{Exporter, keeps_state};
use baileys_exporter::exporter::sightings_file::SightingsFile;
use baileys_exporter::exporter::snapshot::Collector;
use baileys_exporter::exporter::status;
use baileys_exporter::rules::prometheus_rule;
use clap::{Parser, Subcommand, ValueEnum};
use clock::Clock;
use exporter_toolkit::{Listeners, WebConfig, bind};
use tikv_jemallocator::Jemalloc;

/// For 10,000 folders it takes a fifth less memory than glibc's allocator, and less time
/// (docs/performance.md). .cargo/config.toml bounds its arenas.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Prometheus exporter for the auth folders of WhatsApp bots built on Baileys.
///
/// It never changes an auth folder. To start it: `baileys_exporter --sessions.path=DIR`. Exit
/// code 0: ended by a signal, 2: failed to start.
#[derive(Parser)]
#[command(name = "baileys_exporter", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    common: CommonFlags,

    #[command(flatten)]
    exporter: ExporterFlags,

    #[command(flatten)]
    log: LogFlags,

    /// Address to listen on. Repeatable.
    #[arg(
        long = "web.listen-address",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:10273",
        help_heading = "Web"
    )]
    listen: Vec<String>,

    /// File with TLS and authentication settings, in the format of Prometheus' exporter-toolkit.
    #[arg(long = "web.config.file", value_name = "FILE", help_heading = "Web")]
    web_config: Option<PathBuf>,

    /// Path of the metrics endpoint.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = metrics_path, help_heading = "Web")]
    metrics_path: String,

    /// Maximum number of parallel scrapes; further ones get 503. 0 means no limit.
    #[arg(
        long = "web.max-requests",
        value_name = "N",
        default_value_t = 40,
        help_heading = "Web"
    )]
    max_requests: usize,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration file. Exit code 0: it can be used, 2: an error, with its line and column.
    CheckConfig,
    /// List the log patterns, built-in and configured.
    Patterns {
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: OutputFormat,
    },
    /// Ask the running exporter whether it is healthy, for the health check of a container. Exit code 1: it is not.
    Health(HealthFlags),
    /// Print the alerting rules for the configured tiers.
    Rules {
        /// Print a rule file of Prometheus, or an object of the Prometheus operator in Kubernetes.
        #[arg(
            id = "rule_format",
            long = "format",
            value_enum,
            default_value = "prometheus"
        )]
        format: RuleFormat,
    },
    /// Show the current state of every session. Exit code 0: normal, 1: warning or worse, 2: error.
    Status {
        /// Session name; without it, all sessions.
        session: Option<String>,
        /// Show only the N worst sessions, 20 without a number.
        #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "20", conflicts_with = "session")]
        worst: Option<usize>,
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: OutputFormat,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum RuleFormat {
    Prometheus,
    #[value(name = "prometheusrule")]
    PrometheusRule,
}

#[derive(Clone, Copy, ValueEnum)]
enum OutputFormat {
    Table,
    Json,
}

fn metrics_path(text: &str) -> Result<String, String> {
    match text {
        "/" | "/-/healthy" | "/-/ready" | "/-/reload" => Err(format!("{text} has another meaning")),
        _ if text.starts_with('/') => Ok(text.to_owned()),
        _ => Err("it must begin with /".to_owned()),
    }
}

fn main() -> ExitCode {
    runtime::run(program())
}

async fn program() -> ExitCode {
    let cli: Cli = cli::parse();
    cli.log.init();
    if let Some(Command::Health(health)) = &cli.command {
        return health.run(&cli.listen, cli.web_config.as_deref()).await;
    }
    let (common, own) = (cli.common.clone(), cli.exporter.clone());
    let needs_sessions = !matches!(
        cli.command,
        Some(Command::Patterns { .. } | Command::Rules { .. })
    );
    let shows_metrics = matches!(cli.command, None | Some(Command::CheckConfig));
    let load = move || -> Result<Settings, ConfigError> {
        let mut settings = Settings::load(&common, &RemediatorFlags::default())?.with_flags(&own);
        if shows_metrics {
            settings.labels.resolve(&System)?;
        }
        if needs_sessions {
            settings.require_sessions()?;
        }
        Ok(settings)
    };
    if matches!(cli.command, Some(Command::CheckConfig)) {
        let report = check::report(load(), |settings| {
            let rules = settings.alerting_rules().err();
            let rules =
                rules.map(|error| format!("`baileys_exporter rules` prints no rules: {error}"));
            rules.into_iter().collect()
        });
        return ExitCode::from(report);
    }
    let settings = match load() {
        Ok(settings) => settings,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    match cli.command {
        // Above.
        Some(Command::CheckConfig | Command::Health(_)) => ExitCode::SUCCESS,
        Some(Command::Status {
            session,
            worst,
            output,
        }) => show_status(settings, session.as_deref(), worst, output).await,
        Some(Command::Rules { format }) => match settings.alerting_rules() {
            Ok(rules) => {
                match format {
                    RuleFormat::Prometheus => print(rules.trim_end()),
                    RuleFormat::PrometheusRule => print(prometheus_rule(&rules).trim_end()),
                }
                let unset = settings.rules.placeholders();
                if !unset.is_empty() {
                    complain(&format!(
                        "warning: the links in the alerts lead nowhere; set {}",
                        unset.join(" and ")
                    ));
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&format!("error: {error}"));
                ExitCode::from(FAILED)
            }
        },
        Some(Command::Patterns { output }) => {
            let patterns = settings.logs.patterns.patterns();
            show(output, || status::patterns_table(patterns), patterns)
        }
        None => {
            for problem in settings.connection_problems() {
                tracing::warn!("{problem}");
            }
            let exporter = Exporter::new(
                settings,
                Box::new(move || load().map_err(|error| error.to_string())),
                cli.metrics_path,
                cli.max_requests,
                Clock::system(),
            );
            serve(Arc::new(exporter), &cli.listen, cli.web_config.as_deref()).await
        }
    }
}

fn show(
    output: OutputFormat,
    as_table: impl FnOnce() -> String,
    as_json: impl serde::Serialize,
) -> ExitCode {
    match output {
        OutputFormat::Table => print(&as_table()),
        OutputFormat::Json => match serde_json::to_string_pretty(&as_json) {
            Ok(text) => print(&text),
            Err(error) => {
                complain(&format!("error: {error}"));
                return ExitCode::from(FAILED);
            }
        },
    }
    ExitCode::SUCCESS
}

async fn show_status(
    settings: Settings,
    session: Option<&str>,
    worst: Option<usize>,
    output: OutputFormat,
) -> ExitCode {
    let sighting_store: Arc<dyn SightingStore> = match keeps_state(&settings) {
        // Use the sightings of the running exporter as well.
        true => Arc::new(SightingsFile::load(
            &settings.logs.state_path,
            Clock::system(),
        )),
        false => Arc::new(Recent::default()),
    };
    let App {
        settings,
        connection,
        ..
    } = App::new(settings, sighting_store, Clock::system());
    let connection = connection.looking_once();
    let session = session.map(str::to_owned);
    // Those about all logs are for the whole table.
    let is_one = session.is_some();
    let look = tokio::task::spawn_blocking(move || {
        let collector = Collector::new(Arc::clone(&settings), Clock::system());
        let mut snapshot = collector.quiet().collect();
        let names = snapshot.sessions.iter().map(|view| &view.session);
        let logs = settings.log_overview(names);
        let selected = session.map_or(Ok(()), |session| snapshot.select(&session));
        selected.map(|()| (snapshot, logs))
    });
    let (mut snapshot, mut logs) = match look.await {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => {
            complain(&format!("error: {error}"));
            return ExitCode::from(FAILED);
        }
        Err(_) => return ExitCode::from(FAILED),
    };
    if is_one {
        logs.warnings.clear();
        snapshot.passed_over.clear();
    }
    for warning in status::left_out(&snapshot) {
        complain(&format!("warning: {warning}"));
    }
    for warning in &logs.warnings {
        complain(&format!("warning: {warning}"));
    }
    let rows = status::rows(&snapshot, &connection, &logs.half_monitored).await;
    match output {
        OutputFormat::Table if rows.is_empty() => {
            complain("no auth folder found; check --sessions.path");
        }
        OutputFormat::Table => print(&status::table(&rows, worst)),
        OutputFormat::Json => match serde_json::to_string_pretty(status::first(&rows, worst)) {
            Ok(text) => print(&text),
            Err(error) => {
                complain(&format!("error: {error}"));
                return ExitCode::from(FAILED);
            }
        },
    }
    ExitCode::from(status::overall(&rows, &snapshot) as u8)
}

async fn serve(exporter: Arc<Exporter>, listen: &[String], web_config: Option<&Path>) -> ExitCode {
    let (Ok(stopped), Ok(mut hangup)) = (until_stopped(), cli::hangups()) else {
        log::say("error: cannot listen for signals");
        return ExitCode::from(FAILED);
    };
    let web_config = match web_config.map(WebConfig::open).transpose() {
        Ok(web_config) => web_config,
        Err(error) => {
            log::say(&format!("error: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let listeners = match bind(listen).await {
        Ok(listeners) => listeners,
        Err(error) => {
            log::say(&format!("error: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let first = exporter.look().await;
    if let Err(error) = exporter.follow_logs(&first).await {
        log::say(&format!("error: {error}"));
        return ExitCode::from(FAILED);
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        sessions = first.sessions.len(),
        listen = listen.join(","),
        tls = web_config.as_ref().is_some_and(WebConfig::has_tls),
        "listening"
    );
    if first.sessions.is_empty() {
        tracing::warn!("no auth folder was found yet; each scrape looks again");
    }
    let reloads = tokio::spawn({
        let exporter = Arc::clone(&exporter);
        async move {
            while hangup.recv().await.is_some() {
                let _ = Arc::clone(&exporter).reload_now().await;
            }
        }
    });
    let shutdown = async move {
        let signal = stopped.await;
        tracing::info!(signal, "graceful shutdown");
    };
    exporter
        .serve(Listeners::new(listeners, web_config), shutdown)
        .await;
    reloads.abort();
    ExitCode::SUCCESS
}
