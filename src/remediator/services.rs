//! The command `service`: whose service is whose, whether it runs, and whether this user may
//! stop and start it. What it does is not on record: no file of a session is touched.

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::{complain, complete_what_has_begun, print, table};
use crate::config::Settings;
use crate::control::{ControlError, Presence, Service};
use crate::folder::SessionName;

use super::console::{Exit, Output, find};

/// Between two looks at a service that is on its way down.
const PAUSE: Duration = Duration::from_millis(500);

/// What `service` was told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Only look.
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
    if settings.services.is_empty() {
        return fail(
            "no service is configured; see the section `service` in docs/configuration.md",
        );
    }
    let all: Vec<SessionName> = settings
        .discovery()
        .survey()
        .found
        .into_iter()
        .map(|found| found.session)
        .collect();
    let sessions: Vec<SessionName> = match (session, task) {
        (Some(name), _) => match find(settings, name) {
            Ok(found) => vec![found.session],
            Err(error) => return fail(&error),
        },
        (None, Task::Show) => all.clone(),
        (None, _) => return fail("name the session whose service is to be stopped or started"),
    };
    if task != Task::Show
        && let Err(error) = complete_what_has_begun()
    {
        complain(&format!("warning: failed to listen for signals: {error}"));
    }
    let mut rows = Vec::new();
    let mut exit = Exit::Done;
    for session in &sessions {
        // A person's word is for the process of this very session.
        let service = match task {
            Task::Show => settings.services.among(session, &all),
            Task::Stop | Task::Start => settings.services.of(session),
        };
        let Some(service) = service else {
            rows.push(Row::new(
                session,
                None,
                Presence::Unknown("no entry of `service` matches it".into()),
            ));
            continue;
        };
        let (done, presence) = match task {
            Task::Show => (Ok(()), service.presence().await),
            Task::Stop => stop(&service).await,
            Task::Start => {
                let done = service.start().await;
                (done, service.presence().await)
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
        rows.push(Row::new(session, Some(&service), presence));
    }
    show(&rows, output);
    exit
}

/// Asks it to stop and waits until it is proven gone.
async fn stop(service: &Service) -> (Result<(), ControlError>, Presence) {
    if let Err(error) = service.stop().await {
        return (Err(error), service.presence().await);
    }
    let until = Instant::now() + service.gone_timeout;
    loop {
        let presence = service.presence().await;
        if presence == Presence::Gone || Instant::now() >= until {
            return (Ok(()), presence);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Row {
    session: String,
    service: String,
    preset: &'static str,
    presence: &'static str,
    detail: String,
}

impl Row {
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
            preset: service.map_or("none", Service::preset),
            presence: word,
            detail,
        }
    }
}

fn show(rows: &[Row], output: Output) {
    match output {
        Output::Json => {
            let all: Vec<_> = rows
                .iter()
                .map(|row| {
                    serde_json::json!({
                        "session": row.session, "service": row.service, "preset": row.preset,
                        "presence": row.presence, "detail": row.detail,
                    })
                })
                .collect();
            print(&serde_json::Value::from(all).to_string());
        }
        Output::Table => {
            let mut shown = table::Table::new(&["SESSION", "SERVICE", "PRESET", "PRESENCE", ""]);
            for row in rows {
                let cells = [
                    &row.session,
                    &row.service,
                    row.preset,
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
