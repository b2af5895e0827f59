//! The state of the remediator: pause and circuit breaker, queue, armed runs, the budget of
//! each service, and bots that have not come back. For `status`, the metrics and the page.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::config::Settings;
use crate::folder::{SessionName, Timestamp};

use super::restart::budget;
use super::store::armed::ArmedRun;
use super::store::clock::Moment;
use super::store::pause::PauseState;
use super::store::restarts::NotBack;
use super::store::session_status::SessionStatus;
use super::store::{Store, StoreError};

/// The whole state.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overview {
    /// Pause and circuit breaker.
    #[serde(flatten)]
    pub pause: PauseState,
    /// Number of runs by status: `queued`, `running`.
    pub queue: BTreeMap<String, u64>,
    /// Seconds that the run has waited that has waited longest, by action.
    pub queue_age: BTreeMap<String, u64>,
    /// Runs that wait for their bot to stop or for a maintenance window.
    pub armed: Vec<ArmedRun>,
    /// The services, by name.
    pub services: Vec<ServiceState>,
    /// The breaker opens when more services than this are in an emergency at once.
    pub breaker_limit: usize,
    /// Number of services with a pending restart.
    pub down: usize,
    /// Sessions that have not come back after a restart of their service.
    pub not_back: Vec<NotBack>,
    /// The status of each present session that has had a clean-up, by name. Refusals are
    /// included only while they last.
    #[serde(skip)]
    pub session_status: Vec<SessionStatus>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceState {
    /// Its name.
    pub service: String,
    /// Its sessions.
    pub sessions: Vec<String>,
    /// When it was last stopped for a clean-up (RFC 3339).
    pub last_stop: Option<String>,
    /// End of the cooldown (RFC 3339), if one is active.
    pub cooldown_until: Option<String>,
    /// Stops left in the day's budget.
    pub budget_left: u32,
    /// Phase of the restart that is under way.
    pub phase: Option<&'static str>,
    /// Whether a maintenance window is open now.
    pub in_window: bool,
}

/// What an operator should know first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusNotice {
    /// What it is about.
    pub kind: StatusNoticeKind,
    /// What it is about among those of its kind: the same as long as it goes on.
    pub subject: String,
    /// A sentence that follows the label of the kind.
    pub text: String,
}

/// Kinds of notices, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusNoticeKind {
    /// An operator has switched automatic actions off.
    Paused,
    /// The circuit breaker has switched them off.
    BreakerOpen,
    /// A session has not come back after a restart of its service.
    NotBack,
    /// A restart of a service is under way.
    Restart,
    /// A run waits for its bot to stop, or for a maintenance window.
    Armed,
}

impl StatusNoticeKind {
    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Paused => "Paused",
            Self::BreakerOpen => "Circuit breaker open",
            Self::NotBack => "Not back",
            Self::Restart => "Restart pending",
            Self::Armed => "Armed",
        }
    }
}

impl Overview {
    /// What an operator should know first, the most important at the top.
    pub fn notices(&self) -> Vec<StatusNotice> {
        let notice = |kind, subject: &str, text| StatusNotice {
            kind,
            subject: subject.to_owned(),
            text,
        };
        let paused = self.pause.paused.iter().map(|entry| {
            let text = format!("since {} by {}: {}", entry.since, entry.by, entry.reason);
            notice(StatusNoticeKind::Paused, "", text)
        });
        let breaker = self.pause.breaker.iter().map(|entry| {
            let text = format!("since {}: {}", entry.since, entry.reason);
            notice(StatusNoticeKind::BreakerOpen, "", text)
        });
        let not_back = self.not_back.iter().map(|late| {
            let undo = late.run.as_ref().map_or(String::new(), |run| {
                format!("; undo with: baileys_remediator undo {run}")
            });
            let forbidden = late
                .forbidden
                .map_or(String::new(), |why| format!(". {why}"));
            let text = format!(
                "({}) since {}: service {}, session {}, run {}{undo}{forbidden}",
                late.reason, late.since, late.service, late.session, late.run_id
            );
            notice(StatusNoticeKind::NotBack, &late.session, text)
        });
        let restarts = self.services.iter().filter_map(|service| {
            let text = format!("service {}, phase {}", service.service, service.phase?);
            Some(notice(StatusNoticeKind::Restart, &service.service, text))
        });
        let armed = self.armed.iter().map(|run| {
            let text = format!(
                "session {}: the {} of {} waits until the bot is stopped, or for a maintenance window of its service",
                run.session,
                run.action.label(),
                run.since
            );
            notice(StatusNoticeKind::Armed, &run.session, text)
        });
        paused
            .chain(breaker)
            .chain(not_back)
            .chain(restarts)
            .chain(armed)
            .collect()
    }
}

/// Reads the state. `sessions` are the present sessions.
///
/// Errors: the journal cannot be read.
pub fn overview(
    settings: &Settings,
    store: &Store,
    sessions: &[SessionName],
    now: Moment,
) -> Result<Overview, StoreError> {
    let (stops, pending) = (store.restarts().stops(now)?, store.restarts().pending()?);
    let names = settings.services.names(sessions);
    let mut services = Vec::new();
    for (name, sessions) in &names {
        let Some(service) = sessions
            .first()
            .and_then(|session| settings.services.of(session))
        else {
            continue;
        };
        let budget = budget(&service, &stops);
        let at = |ago: Duration| now.wall.minus(ago);
        services.push(ServiceState {
            service: name.clone(),
            sessions: sessions.iter().map(ToString::to_string).collect(),
            last_stop: budget.stops.iter().min().map(|ago| at(*ago).rfc3339()),
            cooldown_until: budget
                .cooling_since()
                .map(|ago| at(ago).plus(service.cooldown).rfc3339()),
            budget_left: budget.budget_left(),
            phase: pending
                .iter()
                .find(|state| state.service == *name)
                .map(|state| state.phase.label()),
            in_window: service.windows.contains(now.wall),
        });
    }
    Ok(Overview {
        pause: store.pause().state()?,
        queue: store.queue().lengths(None)?,
        queue_age: store.queue().ages(None, now)?,
        armed: store.armed().all()?,
        services,
        down: pending.len(),
        breaker_limit: settings.breaker.limit(names.len()),
        not_back: store.restarts().not_back()?,
        session_status: of_present_sessions(store.session_status().all()?, sessions, now.wall),
    })
}

/// The part of the state that is about one session.
///
/// Errors: the journal cannot be read.
pub fn overview_of(
    settings: &Settings,
    store: &Store,
    sessions: &[SessionName],
    session: &str,
    now: Moment,
) -> Result<Overview, StoreError> {
    let mut part = overview(settings, store, sessions, now)?;
    part.queue = store.queue().lengths(Some(session))?;
    part.queue_age = store.queue().ages(Some(session), now)?;
    part.armed.retain(|run| run.session == session);
    part.not_back.retain(|late| late.session == session);
    part.services
        .retain(|service| service.sessions.iter().any(|name| name == session));
    part.down = part.services.iter().filter(|s| s.phase.is_some()).count();
    part.session_status
        .retain(|status| status.session == session);
    Ok(part)
}

/// Drops sessions whose folder is gone, and refusals that have ended.
fn of_present_sessions(
    all: Vec<SessionStatus>,
    sessions: &[SessionName],
    now: Timestamp,
) -> Vec<SessionStatus> {
    let here: BTreeSet<&str> = sessions.iter().map(SessionName::as_str).collect();
    let mut session_status = all;
    session_status.retain(|status| here.contains(status.session.as_str()));
    for status in &mut session_status {
        status.refused.take_if(|refused| !refused.goes_on(now));
    }
    session_status
}

#[cfg(test)]
mod tests;
