//! The command `service`: shows the service of each session and whether it runs; stops and
//! starts one. Touches no file of a session and writes no record of a run.

use clock::Clock;
use supervisor::Query;

use crate::cli::{complain, defer_signals, print, table};
use crate::config::Settings;
use crate::control::{Presence, Service};
use crate::folder::SessionName;

use super::console::{Exit, Output, find};
use super::restart::operator::call_for_operator;

/// What `service` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Show the services.
    Show,
    /// Stop it and wait until it is gone.
    Stop,
    /// Start it.
    Start,
}

/// `service [SESSION] [--stop | --start]`.
pub async fn service(
    settings: &Settings,
    session: Option<&str>,
    task: Task,
    output: Output,
) -> Exit {
    if !settings.services.has_observed() {
        return fail("no process is configured; see the section `processes` in docs/restarts.md");
    }
    let known = settings.discovery().survey().found;
    let all: Vec<SessionName> = known.iter().map(|found| found.session.clone()).collect();
    let every = settings.all_sessions().list_now();
    let sessions: Vec<SessionName> = match (session, task) {
        (Some(name), _) => match find(settings, name) {
            Ok(found) => vec![found.session],
            Err(error) => return fail(&error),
        },
        (None, Task::Show) => all.clone(),
        (None, _) => return fail("a session is required with --stop and --start"),
    };
    if task != Task::Show
        && let Err(error) = defer_signals()
    {
        complain(&format!("warning: failed to listen for signals: {error}"));
    }
    let mut rows = Vec::new();
    let mut exit = Exit::Done;
    for session in &sessions {
        // `--stop` and `--start` act on the process of exactly this session.
        let service = match task {
            Task::Show => {
                let service = settings.services.among(session, &all);
                let shared = settings.services.shared_by_default(session, Some(&every));
                service.map(|service| match &shared {
                    Some(why) => service.refused(why),
                    None => service,
                })
            }
            Task::Stop | Task::Start => None,
        }
        .or_else(|| settings.services.observed(session));
        let Some(service) = service else {
            rows.push(ServiceRow::new(
                session,
                None,
                Presence::Unknown("no entry of `processes` matches it".into()),
            ));
            continue;
        };
        let mut obstacle = None;
        let (done, presence) = match task {
            Task::Show => {
                obstacle = service.check_restart(&Query::default()).await;
                (Ok(()), service.presence().await)
            }
            Task::Stop | Task::Start => {
                let (clock, stop) = (Clock::system(), task == Task::Stop);
                call_for_operator(&clock, settings, &service, session, &known, stop).await
            }
        };
        if let Err(error) = done {
            complain(&format!("error: {}: {error}", service.name));
            exit = Exit::Failed;
        }
        let wanted = match task {
            Task::Show => None,
            Task::Stop => Some(Presence::Gone),
            Task::Start => Some(Presence::Running),
        };
        if wanted.is_some_and(|wanted| wanted != presence) {
            exit = Exit::Failed;
        }
        let mut row = ServiceRow::new(session, Some(&service), presence);
        if let Some(obstacle) = obstacle {
            row.detail = format!(
                "it is not stopped, because {}: {obstacle}; to fix: {}",
                obstacle.consequence(),
                obstacle.fix()
            );
        }
        rows.push(row);
    }
    show(&rows, output);
    exit
}

struct ServiceRow {
    session: String,
    service: String,
    supervisor: &'static str,
    presence: &'static str,
    detail: String,
}

impl ServiceRow {
    fn new(session: &SessionName, service: Option<&Service>, presence: Presence) -> Self {
        let (word, detail) = match presence {
            Presence::Running => ("running", String::new()),
            Presence::Gone => ("gone", String::new()),
            Presence::Unknown(why) => ("unknown", why),
        };
        Self {
            session: session.to_string(),
            service: service
                .map(|service| service.name.clone())
                .unwrap_or_default(),
            supervisor: service.map_or("none", Service::kind),
            presence: word,
            detail,
        }
    }
}

fn show(rows: &[ServiceRow], output: Output) {
    match output {
        Output::Json => {
            let all: Vec<_> = rows
                .iter()
                .map(|row| {
                    serde_json::json!({
                        "session": row.session, "service": row.service, "supervisor": row.supervisor,
                        "presence": row.presence, "detail": row.detail,
                    })
                })
                .collect();
            print(&serde_json::Value::from(all).to_string());
        }
        Output::Table => {
            let heads = ["SESSION", "SERVICE", "SUPERVISOR", "PRESENCE", ""];
            let mut shown = table::Table::new(&heads);
            for row in rows {
                let cells = [
                    &row.session,
                    &row.service,
                    row.supervisor,
                    row.presence,
                    &row.detail,
                ];
                shown.row(cells.map(table::plain).to_vec());
            }
            print(&shown.to_string());
        }
    }
}

fn fail(message: &str) -> Exit {
    complain(&format!("error: {message}"));
    Exit::Failed
}
