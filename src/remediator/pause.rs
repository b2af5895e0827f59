//! The commands `status`, `pause` and `resume`.

use anstyle::{AnsiColor, Style};
use clock::Clock;
use serde::Serialize;

use crate::cli::{print, table};
use crate::config::Settings;
use crate::folder::SessionName;

use super::console::{Exit, Output, fail, find, operator, runs_table};
use super::overview::{Overview, StatusNotice, StatusNoticeKind, overview, overview_of};
use super::store::audit::RunFilter;
use super::store::clock::Moment;
use super::store::runs::Run;
use super::store::{FILE, Store};

/// Runs that `status SESSION` lists.
const LISTED_RUNS: u32 = 5;

/// `status`: pause and circuit breaker, queue, armed runs, and the budget of each service. With
/// `session` the part that is about it, and its latest runs.
pub fn status(settings: &Settings, clock: &Clock, session: Option<&str>, output: Output) -> Exit {
    let sessions: Vec<SessionName> = settings
        .discovery()
        .survey()
        .found
        .into_iter()
        .map(|found| found.session)
        .collect();
    let now = Moment::of(clock);
    let looked = Store::open_existing(&settings.state_path).and_then(|store| match session {
        None => Ok((overview(settings, &store, &sessions, now)?, None)),
        Some(session) => {
            let filter = RunFilter {
                session: Some(session.to_owned()),
                status: None,
            };
            let runs = store.audit().matching(&filter, LISTED_RUNS)?;
            let part = overview_of(settings, &store, &sessions, session, now)?;
            Ok((part, Some(runs)))
        }
    });
    let (overview, runs) = match looked {
        Ok(looked) => looked,
        Err(error) => return fail(&error.to_string()),
    };
    // One whose folder is gone may still have runs.
    if let (Some(session), Some([])) = (session, runs.as_deref())
        && let Err(error) = find(settings, session)
    {
        return fail(&error);
    }
    match output {
        Output::Json => {
            let shown = StatusShown { overview, runs };
            match serde_json::to_string_pretty(&shown) {
                Ok(text) => print(&text),
                Err(error) => return fail(&error.to_string()),
            }
        }
        Output::Table => {
            print(&text(&overview, session));
            match runs.as_deref() {
                None => {}
                Some([]) => print("\nNo run of this session is on record."),
                Some(runs) => print(&format!("\n{}", runs_table(runs))),
            }
        }
    }
    Exit::Done
}

/// The shape of `status --output json`.
#[derive(Serialize)]
struct StatusShown {
    #[serde(flatten)]
    overview: Overview,
    /// The latest runs of the session that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<Run>>,
}

/// For a person: all of it, or what is about one session. Pure.
fn text(overview: &Overview, session: Option<&str>) -> String {
    let mut out = String::new();
    let notices: Vec<StatusNotice> = overview.notices();
    let lines = |kinds: &[StatusNoticeKind]| -> String {
        notices
            .iter()
            .filter(|notice| kinds.contains(&notice.kind))
            .map(|notice| format!("{} {}\n", notice.kind.label().to_uppercase(), notice.text))
            .collect()
    };
    match lines(&[StatusNoticeKind::Paused, StatusNoticeKind::BreakerOpen]) {
        off if off.is_empty() => out.push_str("Automatic actions are on.\n"),
        off => {
            out.push_str(&off);
            out.push_str("Automatic actions are off. To resume them: baileys_remediator resume\n");
        }
    }
    let count = |status: &str| overview.queue.get(status).copied().unwrap_or(0);
    out.push_str(&format!(
        "Runs: {} waiting, {} under way.\n",
        count("queued"),
        count("running")
    ));
    out.push_str(&lines(&[StatusNoticeKind::NotBack]));
    if !overview.armed.is_empty() {
        let mut armed =
            table::Table::new(&["ARMED SESSION", "ACTION", "TIER", "SINCE", "LAST ALERT"]);
        for run in &overview.armed {
            armed.row(vec![
                table::plain(&run.session),
                table::plain(run.action.label()),
                table::plain(&run.tier),
                table::plain(&run.since),
                table::plain(&run.last_alert),
            ]);
        }
        out.push_str(&format!("\n{armed}"));
    }
    if overview.services.is_empty() {
        out.push_str(match session {
            None => "\nThe configuration allows no restart, so no bot is ever stopped.",
            Some(_) => {
                "\nThe configuration allows no restart of this session's bot, so it is never stopped."
            }
        });
        return out;
    }
    let mut services = table::Table::new(&[
        "SERVICE",
        "SESSIONS",
        "STOPS LEFT TODAY",
        "LAST STOP",
        "COOLDOWN UNTIL",
        "NOW",
    ]);
    for service in &overview.services {
        let now = match (service.phase, service.in_window) {
            (Some(phase), _) => table::styled(phase, AnsiColor::Yellow.on_default()),
            (None, true) => table::plain("maintenance window"),
            (None, false) => table::styled("-", Style::new()),
        };
        let or_none =
            |text: &Option<String>| table::plain(text.clone().unwrap_or_else(|| "-".into()));
        services.row(vec![
            table::plain(&service.service),
            table::right(service.sessions.len().to_string()),
            table::right(service.budget_left.to_string()),
            or_none(&service.last_stop),
            or_none(&service.cooldown_until),
            now,
        ]);
    }
    out.push_str(&format!(
        "\n{services}\nThe circuit breaker opens when more than {} of these services are in an emergency at once.",
        overview.breaker_limit
    ));
    out
}

/// Names the journal: another one would halt another `serve`, or none.
fn journal(settings: &Settings) -> String {
    format!("Journal: {}", settings.state_path.join(FILE).display())
}

/// `pause`: switches automatic actions off until `resume`.
pub fn pause(settings: &Settings, reason: &str) -> Exit {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().any(char::is_control) {
        return fail(
            "give a reason in one line: baileys_remediator pause --reason \"new release of the bot\"",
        );
    }
    let now = Moment::of(&Clock::system());
    // A new journal would halt no `serve`.
    let paused = Store::open_existing(&settings.state_path)
        .and_then(|store| store.pause().set(&operator(), reason, now));
    match paused {
        Ok(()) => {
            print(&format!(
                "Paused. Alerts are still recorded (`runs`, reason `paused`). A service that is already stopped for a run is still started again. To resume: baileys_remediator resume\n{}",
                journal(settings)
            ));
            Exit::Done
        }
        Err(error) => fail(&error.to_string()),
    }
}

/// `resume`: resumes automatic actions and resets the circuit breaker.
pub fn resume(settings: &Settings) -> Exit {
    let now = Moment::of(&Clock::system());
    let halted = Store::open_existing(&settings.state_path)
        .and_then(|store| store.pause().resume(&operator(), now));
    match halted {
        Ok(halted) => {
            let what = match (halted.paused.is_some(), halted.breaker.is_some()) {
                (true, true) => "The pause has ended and the circuit breaker is closed.",
                (true, false) => "The pause has ended.",
                (false, true) => "The circuit breaker is closed.",
                (false, false) => "Automatic actions were already on.",
            };
            print(&format!("{what}\n{}", journal(settings)));
            Exit::Done
        }
        Err(error) => fail(&error.to_string()),
    }
}

#[cfg(test)]
mod tests;
