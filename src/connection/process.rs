//! The bot's process as a source of evidence. That it runs is no evidence of a connection;
//! only that it is proven gone tells something.

use std::time::Duration;

use clock::Clock;
use supervisor::Query;
use supervisor::proc::{have_ended, is_of_this_boot};

use crate::control::{Observation, Observed, Service};
use crate::folder::Timestamp;

use super::{Alive, Evidence, Finding, RestartCount, SessionSightings, source_id};

/// What a query about the process came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessEvidence {
    /// What it is evidence of.
    pub(super) evidence: Evidence,
    /// The bot's processes, as far as they are known to run.
    pub(super) pids: Vec<u32>,
    /// It had ended by then, where its supervisor tells.
    pub(super) ended_by: Option<Timestamp>,
    /// See [`Observation::Gone`].
    pub(super) last_start: Option<Timestamp>,
}

/// The id of the process as a source of evidence.
pub(super) fn process_id(service: &Service) -> String {
    source_id("process", &service.id().unwrap_or_default())
}

/// Observes the process. An answer that holds for other processes as well may be `max_age`
/// old.
pub(super) async fn look(
    service: &Service,
    timeout: Duration,
    max_age: Duration,
    sightings: &SessionSightings,
    clock: &Clock,
) -> ProcessEvidence {
    let id = process_id(service);
    let last = sightings.last_alive(&id, Timestamp::of(clock));
    let last = last.and_then(|alive| alive.mark.clone());
    let query = Query {
        timeout,
        max_age,
        last_mark: last.clone(),
        is_trusted: sightings.trusted_by_configuration || sightings.trusted.contains_key(&id),
    };
    let observed = service.observe(&query).await;
    let (absence, is_absent) = (observed.absence, observed.is_absent());
    let mut found = judge(id, observed, Timestamp::of(clock));
    // A supervisor that could not be asked may run the bot as another process.
    if absence.is_some()
        && let Some(mark) = last
        && have_ended(&mark, timeout).await == Some(true)
    {
        // It changes no verdict: the bot may run as another process.
        found.evidence.runs = Some(false);
        found.evidence.is_on_request = is_absent && is_of_this_boot(&mark);
        found.evidence.detail += ", and the process that was last seen has ended";
    }
    found
}

/// Whether another entry of the configuration that matches the session contradicts that its
/// process is gone, or could not be asked; `None` if it says so too. It need not have seen the
/// session alive before.
pub(super) async fn doubt(service: &Service, timeout: Duration) -> Option<Evidence> {
    let query = Query {
        timeout,
        is_trusted: true,
        ..Query::default()
    };
    let why = match service.observe(&query).await.observation {
        Observation::Gone { .. } => return None,
        Observation::Running { .. } => "it runs".to_owned(),
        Observation::Changing(why) | Observation::Unknown(why) => why,
    };
    let detail = format!(
        "another entry of `processes` that matches this session ({}) does not say that it is gone: {why}",
        service.kind()
    );
    Some(Evidence::new("process", Finding::NoAnswer, detail))
}

/// What an observation is evidence of. Pure.
fn judge(id: String, observed: Observed, now: Timestamp) -> ProcessEvidence {
    let number = observed.restarts;
    let says = |finding, detail| Evidence {
        id,
        restarts: number.map(|number| RestartCount { at: now, number }),
        ..Evidence::new("process", finding, detail)
    };
    let (mut ended, mut started) = (None, None);
    let (evidence, pids) = match observed.observation {
        Observation::Running { pids, mark } => {
            let numbers: Vec<String> = pids.iter().map(u32::to_string).collect();
            let detail = match pids.is_empty() {
                true => "running".to_owned(),
                false => format!("running (pid {})", numbers.join(", ")),
            };
            let evidence = Evidence {
                alive: Some(Alive { at: now, mark }),
                runs: Some(true),
                ..says(Finding::Nothing, detail)
            };
            (evidence, pids)
        }
        Observation::Gone {
            how,
            ended_by,
            last_start,
            on_request,
        } => {
            ended = ended_by.map(Timestamp::from);
            started = last_start.map(Timestamp::from);
            let evidence = Evidence {
                runs: Some(false),
                is_on_request: on_request,
                ..says(Finding::Gone, how)
            };
            (evidence, Vec::new())
        }
        // Not settled: it keeps the verdict from being disconnected.
        Observation::Changing(why) | Observation::Unknown(why) => {
            (says(Finding::NoAnswer, why), Vec::new())
        }
    };
    ProcessEvidence {
        evidence,
        pids,
        ended_by: ended,
        last_start: started,
    }
}

/// The process had ended by this time. What its supervisor tells may be the end of another
/// process; where it was found gone before and has not started since, that may be earlier. What
/// is before its last start is no end of it: it had ended by the look, at `now`. Pure.
pub(super) fn had_ended_by(
    look: &ProcessEvidence,
    first_gone: Timestamp,
    now: Timestamp,
) -> Timestamp {
    let Some(start) = look.last_start else {
        return look.ended_by.unwrap_or(first_gone);
    };
    let ends = [look.ended_by, Some(first_gone)].into_iter().flatten();
    ends.filter(|end| *end > start).min().unwrap_or(now)
}

#[cfg(test)]
mod tests;
