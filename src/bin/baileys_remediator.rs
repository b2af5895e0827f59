//! baileys_remediator: flags and wiring only.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod runtime;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use baileys_exporter::cli::exit_codes::FAILED;
use baileys_exporter::cli::health::HealthFlags;
use baileys_exporter::cli::{self, complain, hangups, log, until_stopped};
use baileys_exporter::config::{
    CommonFlags, ConfigError, LogFlags, RemediatorFlags, Settings, System, check, parse_span,
};
use baileys_exporter::policy::Tier;
use baileys_exporter::reload::Load;
use baileys_exporter::remediator::console::{self, CleanOptions, DoctorOptions, Output};
use baileys_exporter::remediator::insurance::commands::{self as insurance, RestoreOptions};
use baileys_exporter::remediator::notify::Sender;
use baileys_exporter::remediator::pause;
use baileys_exporter::remediator::restart::operator;
use baileys_exporter::remediator::serve::{Remediator, check_settings};
use baileys_exporter::remediator::services::{self, Task};
use baileys_exporter::remediator::store::Store;
use baileys_exporter::remediator::store::audit::RunFilter;
use baileys_exporter::remediator::store::runs::Status;
use clap::{Parser, Subcommand};
use exporter_toolkit::{Listeners, WebConfig, bind};
use tokio::task::block_in_place;

/// Where `serve` listens by default.
const LISTEN: &str = "127.0.0.1:10274";

/// Safely cleans up the auth folders of WhatsApp bots built on Baileys.
///
/// It moves files into a quarantine inside the folder, only while the bot is known to be
/// disconnected, and deletes them only after the retention time. Exit code 0: done, 1: refused
/// by a guard, or (`doctor`) the connection state of no session is known, 2: error.
#[derive(Parser)]
#[command(name = "baileys_remediator", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    common: CommonFlags,

    #[command(flatten)]
    remediator: RemediatorFlags,

    #[command(flatten)]
    log: LogFlags,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration file. Exit code 0: it can be used, 2: an error, with its line and column.
    CheckConfig,
    /// Ask the running `serve` whether it is healthy, for the health check of a container. Exit code 1: it is not.
    Health(HealthFlags),
    /// Act on alerts: poll Alertmanager, receive its webhook, or evaluate the folders.
    Serve {
        /// Address to listen on. Repeatable.
        #[arg(
            long = "web.listen-address",
            value_name = "HOST:PORT",
            default_value = LISTEN
        )]
        listen: Vec<String>,

        /// File with TLS and authentication settings, in the format of Prometheus' exporter-toolkit.
        #[arg(long = "web.config.file", value_name = "FILE")]
        web_config: Option<PathBuf>,
    },
    /// Show what a clean-up would move, by kind, and whether the guards would allow it. Moves nothing.
    Plan {
        /// Session name, as `baileys_exporter status` shows it.
        session: String,
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Clean up one session, or several one after the other, if the guards allow it.
    Clean {
        /// Session name, as `baileys_exporter status` shows it.
        #[arg(required_unless_present_any = ["tier", "all"])]
        session: Option<String>,
        /// Clean up every session at this tier or above: monitor, warning, cleanup, emergency or fatal.
        #[arg(long, value_name = "TIER", value_parser = tier, conflicts_with_all = ["session", "all", "force", "inactive_for"])]
        tier: Option<Tier>,
        /// Clean up every session.
        #[arg(long, conflicts_with_all = ["session", "force", "inactive_for"])]
        all: bool,
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Clean up even if the bot is not known to be disconnected, or the folder is dormant or has only just become active again. Asks you to type the session name. All other guards still apply.
        #[arg(long)]
        force: bool,
        /// Skip the confirmation of --force.
        #[arg(long)]
        yes: bool,
        /// With --force: move keys that were inactive for this long, instead of 14d.
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        inactive_for: Option<Duration>,
    },
    /// List the saved copies of a session's creds.json, or restore one.
    #[command(subcommand)]
    Creds(CredsCommand),
    /// List recorded runs, newest first, or show one of them.
    Runs {
        #[command(subcommand)]
        command: Option<RunsCommand>,
        /// List only runs of this session.
        #[arg(long, value_name = "SESSION")]
        session: Option<String>,
        /// List only runs with this status: queued, running, done, refused or failed.
        #[arg(long, value_name = "STATUS", value_parser = run_status)]
        status: Option<Status>,
        /// Maximum number of runs.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Show whether actions are paused, which clean-ups are waiting, and the remaining restart budget of each service.
    Status {
        /// Session name; without it, everything. With it, also the latest runs of the session.
        session: Option<String>,
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Stop acting on alerts and maintenance windows until `resume`. What would have been done is recorded.
    Pause {
        /// Reason, shown by `status`.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Resume automatic actions and reset the circuit breaker.
    Resume,
    /// Show for each session whether its bot is connected and how that is known, what this user may do in its folder, and what to fix.
    Doctor {
        /// Session name; without it, all sessions.
        session: Option<String>,
        /// Trust the connection sources of this session as they are configured now: "not connected" counts even if a source has not seen the bot connected within 30 days.
        #[arg(long, value_name = "SESSION")]
        trust: Option<String>,
        /// Also test a lock and a rename inside the quarantine of each folder. Without it, nothing is changed.
        #[arg(long = "try")]
        trial: bool,
        /// Show every session. Without it, of several sessions with equal findings three are shown.
        #[arg(long)]
        all: bool,
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Send a test message by the configured `notify`, and say what became of it. Exit code 1: it was not sent.
    Notify {
        /// Send one message now.
        #[arg(long, required = true)]
        test: bool,
    },
    /// Show the service of each session and whether it runs; or stop or start one, for example to test permissions.
    Service {
        /// Session name; without it, all sessions.
        session: Option<String>,
        /// Stop the service, with all its sessions, and wait until its process is gone.
        #[arg(long, conflicts_with = "start")]
        stop: bool,
        /// Start the service.
        #[arg(long)]
        start: bool,
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Put back the files that a run moved. Never replaces a newer file; restart the bot afterwards.
    Undo {
        /// Run number, or its name in the quarantine; `runs` shows both.
        run: String,
        /// Undo even if the bot is not known to be disconnected, or was paired anew since. Asks you to type the session name.
        #[arg(long)]
        force: bool,
        /// Skip the confirmation of --force.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
enum RunsCommand {
    /// Show the record of one run: trigger, evidence, plan, each step with its time, each file by kind and inode.
    Show {
        /// Run number, or its name in the quarantine.
        id: String,
        /// Output format.
        #[arg(long, value_enum)]
        output: Option<Output>,
    },
}

#[derive(Subcommand)]
enum CredsCommand {
    /// List the saved copies, newest first. Shows no keys.
    List {
        /// Session name, as `baileys_exporter status` shows it.
        session: String,
        /// Output format.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Restore a copy, with its counters raised above every pre-key. Asks you to type the session name. Stop the bot first, and start it afterwards.
    Restore {
        /// Session name, as `baileys_exporter status` shows it.
        session: String,
        /// Version of the copy, as `creds list` shows it; without it, the newest complete one of the identity that was seen last.
        #[arg(long, value_name = "N")]
        version: Option<u64>,
        /// Restore even if the bot is not known to be disconnected, or the current creds.json is logged in and not older, or the copy belongs to another identity.
        #[arg(long)]
        force: bool,
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
}

fn tier(text: &str) -> Result<Tier, String> {
    Tier::from_label(text).ok_or_else(|| one_of(Tier::ALL.map(Tier::label)))
}

fn run_status(text: &str) -> Result<Status, String> {
    Status::from_label(text).ok_or_else(|| one_of(Status::ALL.map(Status::label)))
}

fn one_of<const N: usize>(words: [&str; N]) -> String {
    format!("it is one of {}", words.join(", "))
}

fn main() -> ExitCode {
    runtime::run(program())
}

async fn program() -> ExitCode {
    let cli: Cli = cli::parse();
    cli.log.init();
    if let Command::Health(health) = &cli.command {
        return health.run(&[LISTEN.to_owned()], None).await;
    }
    let needs_sessions = !matches!(
        cli.command,
        Command::Runs { .. } | Command::Pause { .. } | Command::Resume | Command::Notify { .. }
    );
    let load = move || -> Result<Settings, ConfigError> {
        let settings = Settings::load(&cli.common, &cli.remediator)?;
        if needs_sessions {
            settings.require_sessions()?;
        }
        Ok(settings)
    };
    let loaded = load();
    if matches!(cli.command, Command::CheckConfig) {
        let checked = loaded.and_then(|settings| {
            check_settings(&settings)?;
            Ok(settings)
        });
        let report = check::report(checked, |settings| {
            let sender = settings.notify.clone().map(Sender::new);
            sender
                .and_then(|sender| sender.problem())
                .into_iter()
                .collect()
        });
        return ExitCode::from(report);
    }
    let settings = match loaded {
        Ok(settings) => settings,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let exit = match cli.command {
        // Above.
        Command::CheckConfig | Command::Health(_) => return ExitCode::SUCCESS,
        Command::Serve { listen, web_config } => {
            let load = Box::new(move || {
                let mut settings = load().map_err(|error| error.to_string())?;
                settings.labels.resolve(&System)?;
                Ok(settings)
            });
            return serve(settings, load, &listen, web_config.as_deref()).await;
        }
        Command::Plan { session, output } => console::plan(settings, &session, output).await,
        Command::Clean {
            session: None,
            tier,
            dry_run,
            ..
        } => console::clean_many(settings, tier, dry_run).await,
        Command::Clean {
            session: Some(session),
            dry_run,
            force,
            yes,
            inactive_for,
            ..
        } => {
            console::clean(
                settings,
                &session,
                CleanOptions {
                    dry_run,
                    force,
                    yes,
                    inactive_for,
                },
            )
            .await
        }
        Command::Doctor {
            session,
            trust,
            trial,
            all,
            output,
        } => {
            console::doctor(
                settings,
                session.as_deref(),
                trust.as_deref(),
                DoctorOptions { trial, all },
                output,
            )
            .await
        }
        Command::Service {
            session,
            stop,
            start,
            output,
        } => {
            let task = match (stop, start) {
                (true, _) => Task::Stop,
                (_, true) => Task::Start,
                _ => Task::Show,
            };
            services::service(&settings, session.as_deref(), task, output).await
        }
        Command::Notify { test: _ } => console::test_notify(&settings).await,
        Command::Runs {
            command: Some(RunsCommand::Show { id, output: own }),
            output,
            ..
        } => block_in_place(|| console::show(&settings, &id, own.unwrap_or(output))),
        Command::Runs {
            command: None,
            session,
            status,
            limit,
            output,
        } => {
            let filter = RunFilter { session, status };
            block_in_place(|| console::runs(&settings, &filter, limit, output))
        }
        Command::Creds(CredsCommand::List { session, output }) => {
            insurance::list(&settings, &session, output)
        }
        Command::Creds(CredsCommand::Restore {
            session,
            version,
            force,
            yes,
        }) => {
            insurance::restore(
                settings,
                &session,
                RestoreOptions {
                    version,
                    force,
                    yes,
                },
            )
            .await
        }
        Command::Status { session, output } => {
            let clock = clock::Clock::system();
            block_in_place(|| pause::status(&settings, &clock, session.as_deref(), output))
        }
        Command::Pause { reason } => block_in_place(|| pause::pause(&settings, &reason)),
        Command::Resume => block_in_place(|| pause::resume(&settings)),
        Command::Undo { run, force, yes } => console::undo(settings, &run, force, yes).await,
    };
    ExitCode::from(exit as u8)
}

/// Reports why it cannot serve, and starts the bots that a crash left stopped.
async fn cannot_serve(settings: &Settings, error: &str) -> ExitCode {
    // A reader that hangs keeps no bot down.
    log::say(&format!("error: {error}"));
    operator::start_pending_without_serving(settings, clock::Clock::system()).await;
    ExitCode::from(FAILED)
}

async fn serve(
    mut settings: Settings,
    load: Load,
    listen: &[String],
    web_config: Option<&Path>,
) -> ExitCode {
    let signals = until_stopped().and_then(|stopped| Ok((stopped, hangups()?)));
    let (stopped, mut hangups) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            return cannot_serve(&settings, &format!("cannot listen for signals: {error}")).await;
        }
    };
    // Another environment than that of the `serve` before may lack a variable.
    if let Err(error) = settings.labels.resolve(&System) {
        return cannot_serve(&settings, &error).await;
    }
    let web_config = match web_config.map(WebConfig::open).transpose() {
        Ok(web_config) => web_config,
        Err(error) => return cannot_serve(&settings, &error).await,
    };
    let opened = block_in_place(|| {
        let ctx = console::context(settings.clone())?;
        let checked = ctx.store.in_place(Store::check_pages);
        checked.map_err(|error| error.to_string())?;
        Remediator::new(ctx, load)
    });
    let remediator = match opened {
        Ok(remediator) => Arc::new(remediator),
        Err(error) => return cannot_serve(&settings, &error).await,
    };
    let listeners = match bind(listen).await {
        Ok(listeners) => listeners,
        Err(error) => {
            drop(remediator);
            return cannot_serve(&settings, &error.to_string()).await;
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = listen.join(","),
        tls = web_config.as_ref().is_some_and(WebConfig::has_tls),
        "listening"
    );
    let reloads = tokio::spawn({
        let remediator = Arc::clone(&remediator);
        async move {
            while hangups.recv().await.is_some() {
                let _ = remediator.reload().await;
            }
        }
    });
    let shutdown = async move {
        let signal = stopped.await;
        tracing::info!(
            signal,
            "graceful shutdown: completing the runs that have begun"
        );
    };
    remediator
        .serve(Listeners::new(listeners, web_config), shutdown)
        .await;
    reloads.abort();
    ExitCode::SUCCESS
}
