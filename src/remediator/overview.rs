//! How things stand: what halts all action, what is armed, what each service has left of
//! its budget, and who has not come back. For `status`, the metrics and the page.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::Settings;
use crate::folder::{SessionName, Timestamp};
use crate::policy::{Breaker, RestartBudget};

use super::store::armed::ArmedRun;
use super::store::pause::PauseState;
use super::store::restarts::NotBack;
use super::store::session_status::SessionStatus;
use super::store::{Store, StoreError};

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overview {
    /// What halts all action.
    #[serde(flatten)]
    pub switches: PauseState,
    /// Runs that wait, and runs under way.
    pub queue: BTreeMap<String, u64>,
    /// Seconds that the run has waited that has waited longest, by action.
    pub queue_age: BTreeMap<String, u64>,
    /// Runs that wait for a better moment.
    pub armed: Vec<ArmedRun>,
    /// The services, by name.
    pub services: Vec<ServiceState>,
    /// How many services may be stopped within the breaker's span.
    pub breaker_limit: usize,
    /// Services whose restart is pending.
    pub down: usize,
    /// Sessions whose service was started again, and which have not come back.
    pub not_back: Vec<NotBack>,
    /// Where the sessions stand that are here and of which a clean-up has ended, by name;
    /// refusals only where they go on.
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
    /// When it was last stopped for a clean-up.
    pub last_stop: Option<String>,
    /// When it may be stopped again, where it rests.
    pub rests_until: Option<String>,
    /// Stops left of the day's budget.
    pub budget_left: u32,
    /// How far a restart that is under way has come.
    pub phase: Option<&'static str>,
    /// Whether a maintenance window is open now.
    pub in_window: bool,
}

/// Looks it up. `sessions` are those that are here.
///
/// Errors: the journal cannot be read.
pub fn overview(
    settings: &Settings,
    store: &Store,
    sessions: &[SessionName],
    now: Timestamp,
) -> Result<Overview, StoreError> {
    let (stops, pending) = (store.restarts().stops(now)?, store.restarts().pending()?);
    let names = settings.services.names(sessions);
    let breaker = Breaker {
        services: settings.breaker.services,
        share: settings.breaker.share,
        within: settings.breaker.within,
    };
    let mut services = Vec::new();
    for (name, sessions) in &names {
        let Some(service) = sessions
            .first()
            .and_then(|session| settings.services.of(session))
        else {
            continue;
        };
        let own: Vec<Timestamp> = stops
            .iter()
            .filter(|stop| stop.service == *name)
            .map(|stop| stop.at)
            .collect();
        let bearing = RestartBudget {
            stops: own,
            cooldown: service.cooldown,
            daily_budget: service.daily_budget,
        };
        services.push(ServiceState {
            service: name.clone(),
            sessions: sessions.iter().map(ToString::to_string).collect(),
            last_stop: bearing.stops.iter().max().map(|at| at.rfc3339()),
            rests_until: bearing
                .cooling_since(now)
                .map(|at| at.plus(service.cooldown).rfc3339()),
            budget_left: bearing.budget_left(now),
            phase: pending
                .iter()
                .find(|state| state.service == *name)
                .map(|state| state.phase.label()),
            in_window: service.windows.contains(now),
        });
    }
    Ok(Overview {
        switches: store.pause().state()?,
        queue: store.queue().lengths()?,
        queue_age: store.queue().ages(now)?,
        armed: store.armed().all()?,
        services,
        down: pending.len(),
        breaker_limit: breaker.limit(names.len()),
        not_back: store.restarts().not_back()?,
        session_status: of_those_here(store.session_status().all()?, sessions, now),
    })
}

/// Without the sessions whose folder is gone, and without refusals that do not go on.
fn of_those_here(
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
