//! baileys_remediator: flags and wiring only.

mod runtime;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use baileys_exporter::cli::exit_codes::FAILED;
use baileys_exporter::cli::{self, complain, ignore_hangups, until_stopped};
use baileys_exporter::config::{CommonFlags, LogFlags, RemediatorFlags, Settings};
use baileys_exporter::remediator::console::{self, CleanOptions, Output};
use baileys_exporter::remediator::insurance::commands::{self as insurance, RestoreOptions};
use baileys_exporter::remediator::pause;
use baileys_exporter::remediator::restart::operator;
use baileys_exporter::remediator::service::Remediator;
use baileys_exporter::remediator::services::{self, Task};
use clap::{Parser, Subcommand};
use exporter_toolkit::{Listeners, WebConfig, bind};
use tokio::task::block_in_place;

/// Cleans up the auth folders of WhatsApp bots built on Baileys, under guard.
///
/// Files are moved into a quarantine inside the folder, never deleted before its retention
/// ends, and only while the bot is known to be disconnected. Exit code 0: done, 1: refused
/// by a guard, or (`doctor`) the connection of no session is known, 2: an error.
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
    /// Receive Alertmanager's webhook and act on it.
    Serve {
        /// Address to serve on. Repeatable.
        #[arg(
            long = "web.listen-address",
            value_name = "HOST:PORT",
            default_value = "127.0.0.1:10274",
            help_heading = "Web"
        )]
        listen: Vec<String>,

        /// TLS, client certificates and users, in the format of Prometheus' exporter-toolkit.
        #[arg(long = "web.config.file", value_name = "FILE", help_heading = "Web")]
        web_config: Option<PathBuf>,
    },
    /// Show what a clean-up would move, by kind, and whether it would be let. Moves nothing.
    Plan {
        /// The session's name, as `baileys_exporter status` shows it.
        session: String,
        /// Form of the output.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Clean up one session under guard.
    Clean {
        /// The session's name, as `baileys_exporter status` shows it.
        session: String,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Go on although the bot is not known to be disconnected, or the folder is dormant or has only just woken up. Asks for the session's name. Overrides nothing else.
        #[arg(long)]
        force: bool,
        /// Do not ask back (only --force does).
        #[arg(long)]
        yes: bool,
        /// With --force: keys inactive for this long may go, instead of 14d.
        #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
        inactive_for: Option<Duration>,
    },
    /// Copies of a session's creds.json: list them, put one back.
    #[command(subcommand)]
    Creds(CredsCommand),
    /// List the runs on record, newest first, or show one of them.
    Runs {
        #[command(subcommand)]
        command: Option<RunsCommand>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        /// Form of the output.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Show how things stand: what is halted, what is armed, and what each service has left.
    Status {
        /// Form of the output.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Halt all action of alerts and maintenance windows until `resume`. What would have been done is recorded.
    Pause {
        /// Why, for whoever asks later.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Resume automatic actions and reset the circuit breaker.
    Resume,
    /// Say of each session whether its bot is connected, who says so, what this user may do in its folder, and what to fix.
    Doctor {
        /// The session's name; all sessions without it.
        session: Option<String>,
        /// Vouch for the sources of this session, as they are configured now: they may say that the bot is not connected without having seen it alive within 30 days.
        #[arg(long, value_name = "SESSION")]
        trust: Option<String>,
        /// Also try a lock and a rename, inside the quarantine of each folder; without it nothing is changed.
        #[arg(long = "try")]
        trial: bool,
        /// Form of the output.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Show which service each session has and whether it runs; stop or start one, to see whether this user may.
    Service {
        /// The session's name; all sessions without it.
        session: Option<String>,
        /// Stop its service, with all sessions that it serves, and wait until it is gone.
        #[arg(long, conflicts_with = "start")]
        stop: bool,
        /// Start its service.
        #[arg(long)]
        start: bool,
        /// Form of the output.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Put back what a run moved. Never replaces a newer file; restart the bot afterwards.
    Undo {
        /// The run's number, or its name in the quarantine; `runs` shows both.
        run: String,
        /// Go on although the bot is not known to be disconnected. Asks for the session's name.
        #[arg(long)]
        force: bool,
        /// Do not ask back (only --force does).
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
enum RunsCommand {
    /// Show all that is on record of one run: who asked, the evidence, the plan, each step with its time, each file by kind and inode.
    Show {
        /// The run's number, or its name in the quarantine.
        id: String,
        /// Form of the output.
        #[arg(long, value_enum)]
        output: Option<Output>,
    },
}

#[derive(Subcommand)]
enum CredsCommand {
    /// List the copies that are kept, newest first. Shows no key.
    List {
        /// The session's name, as `baileys_exporter status` shows it.
        session: String,
        /// Form of the output.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Put a copy back, with its counters raised above every pre-key. Asks for the session's name; the bot must be stopped, and started afterwards.
    Restore {
        /// The session's name, as `baileys_exporter status` shows it.
        session: String,
        /// The copy, as `creds list` numbers it; the newest whole one without it.
        #[arg(long, value_name = "N")]
        version: Option<u64>,
        /// Go on although the bot is not known to be disconnected, or the folder's own creds.json is logged in and not older, or the copy is of another identity.
        #[arg(long)]
        force: bool,
        /// Do not ask back.
        #[arg(long)]
        yes: bool,
    },
}

fn main() -> ExitCode {
    runtime::run(program())
}

async fn program() -> ExitCode {
    let cli: Cli = cli::parse();
    cli.log.init();
    let loaded =
        Settings::load(&cli.common, &cli.remediator).and_then(|settings| match cli.command {
            Command::Runs { .. } | Command::Pause { .. } | Command::Resume => Ok(settings),
            _ => settings.require_sessions().map(|()| settings),
        });
    let settings = match loaded {
        Ok(settings) => settings,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let exit = match cli.command {
        Command::Serve { listen, web_config } => {
            return serve(settings, &listen, web_config.as_deref()).await;
        }
        Command::Plan { session, output } => console::plan(settings, &session, output).await,
        Command::Clean {
            session,
            dry_run,
            force,
            yes,
            inactive_for,
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
            output,
        } => {
            console::doctor(
                settings,
                session.as_deref(),
                trust.as_deref(),
                trial,
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
        Command::Runs {
            command: Some(RunsCommand::Show { id, output: own }),
            output,
            ..
        } => block_in_place(|| console::show(&settings, &id, own.unwrap_or(output))),
        Command::Runs {
            command: None,
            limit,
            output,
        } => block_in_place(|| console::runs(&settings, limit, output)),
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
        Command::Status { output } => block_in_place(|| pause::status(&settings, output)),
        Command::Pause { reason } => block_in_place(|| pause::pause(settings, &reason)),
        Command::Resume => block_in_place(|| pause::resume(settings)),
        Command::Undo { run, force, yes } => console::undo(settings, &run, force, yes).await,
    };
    ExitCode::from(exit as u8)
}

/// Whatever keeps it from serving: who was left stopped by a crash is started.
async fn cannot_serve(settings: &Settings, error: &str) -> ExitCode {
    complain(&format!("error: {error}"));
    operator::start_pending_without_serving(settings, clock::Clock::system()).await;
    ExitCode::from(FAILED)
}

async fn serve(settings: Settings, listen: &[String], web_config: Option<&Path>) -> ExitCode {
    let stopped = match until_stopped().and_then(|stopped| ignore_hangups().map(|()| stopped)) {
        Ok(stopped) => stopped,
        Err(error) => {
            return cannot_serve(&settings, &format!("cannot listen for signals: {error}")).await;
        }
    };
    let web_config = match web_config.map(WebConfig::open).transpose() {
        Ok(web_config) => web_config,
        Err(error) => return cannot_serve(&settings, &error).await,
    };
    let opened = block_in_place(|| console::context(settings.clone()).and_then(Remediator::new));
    let service = match opened {
        Ok(service) => Arc::new(service),
        Err(error) => return cannot_serve(&settings, &error).await,
    };
    let listeners = match bind(listen).await {
        Ok(listeners) => listeners,
        Err(error) => {
            drop(service);
            return cannot_serve(&settings, &error.to_string()).await;
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = listen.join(","),
        tls = web_config.as_ref().is_some_and(WebConfig::has_tls),
        "listening"
    );
    let shutdown = async move {
        let signal = stopped.await;
        tracing::info!(
            signal,
            "graceful shutdown: completing the runs that have begun"
        );
    };
    service
        .serve(Listeners::new(listeners, web_config), shutdown)
        .await;
    ExitCode::SUCCESS
}
