//! How things stand: what halts all action, what is armed, what each service has left of
//! its budget, and who has not come back. For `status`, the metrics and the page.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::Settings;
use crate::folder::{SessionName, Timestamp};
use crate::policy::{Breaker, RestartBudget};

use super::journal::standing::Standing;
use super::journal::{Journal, JournalError};
use super::ledger::{Armed, NotBack, Phase, Switches};

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overview {
    /// What halts all action.
    #[serde(flatten)]
    pub switches: Switches,
    /// Runs that wait, and runs under way.
    pub queue: BTreeMap<String, u64>,
    /// Runs that wait for a better moment.
    pub armed: Vec<Armed>,
    /// The services, by name.
    pub services: Vec<ServiceState>,
    /// How many services may be stopped within the breaker's span.
    pub breaker_limit: usize,
    /// Services stopped and not seen to run again yet.
    pub down: usize,
    /// Sessions whose service was started again, and which have not come back.
    pub not_back: Vec<NotBack>,
    /// Where the sessions stand that are here and of which a clean-up has ended, by name;
    /// refusals only where they go on.
    #[serde(skip)]
    pub standings: Vec<Standing>,
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
    /// How far a stop that is under way has come.
    pub phase: Option<Phase>,
    /// Whether a maintenance window is open now.
    pub in_window: bool,
}

/// Looks it up. `sessions` are those that are here.
///
/// Errors: the journal cannot be read.
pub fn overview(
    settings: &Settings,
    journal: &Journal,
    sessions: &[SessionName],
    now: Timestamp,
) -> Result<Overview, JournalError> {
    let (stops, owed) = (journal.stops(now)?, journal.obligations()?);
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
            phase: owed
                .iter()
                .find(|owed| owed.service == *name)
                .map(|owed| owed.phase),
            in_window: service.windows.contains(now),
        });
    }
    Ok(Overview {
        switches: journal.switches()?,
        queue: journal.queue()?,
        armed: journal.armed()?,
        services,
        down: owed.len(),
        breaker_limit: breaker.limit(names.len()),
        not_back: journal.not_back()?,
        standings: of_those_here(journal.standings()?, sessions, now),
    })
}

/// Without the sessions whose folder is gone, and without refusals that do not go on.
fn of_those_here(all: Vec<Standing>, sessions: &[SessionName], now: Timestamp) -> Vec<Standing> {
    let here: BTreeSet<&str> = sessions.iter().map(SessionName::as_str).collect();
    let mut standings = all;
    standings.retain(|standing| here.contains(standing.session.as_str()));
    for standing in &mut standings {
        standing.refused.take_if(|refused| !refused.goes_on(now));
    }
    standings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remediator::journal::standing::Refused;
    use crate::remediator::journal::{Action, Status};

    #[test]
    fn what_is_gone_or_over_is_not_told() {
        let at = Timestamp::from_secs;
        let standing = |session: &str, last: i64| Standing {
            session: session.into(),
            ended: at(last),
            action: Action::Cleanup,
            status: Status::Refused,
            reason: Some("connected".into()),
            refused: Some(Refused {
                since: at(1),
                last: at(last),
                reason: "connected".into(),
            }),
            cleaned: None,
        };
        let all = vec![
            standing("a", 5_000),
            standing("b", 9_000),
            standing("gone", 9_000),
        ];
        let here = ["a", "b", "new"].map(|name| SessionName::from_dir(name.as_ref()));
        let told = of_those_here(all.clone(), &here, at(9_000));
        let over = Standing {
            refused: None,
            ..all[0].clone()
        };
        assert_eq!(told, [over, all[1].clone()]);
    }
}
