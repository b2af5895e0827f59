//! A source that gives several sessions the same answer. What it says may be about any of them,
//! so that it calls one disconnected, or its process gone, proves nothing of the others, and says
//! nothing against it. A connection that it reports only keeps files: a stop of one bot would not
//! end it, and it is no reason not to start the bot again.
//! A probe that is asked about several sessions is a mistake, and `check-config` warns of it. One
//! process of several sessions is not: see [`of_one_process`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::control::Services;
use crate::folder::all_sessions::companion;
use crate::folder::{SessionName, SessionNames};

use super::probe::{Probe, probe_id};
use super::verdict::{Evidence, Finding};

/// Evidence of such a source: no proof, and no sighting of this session either. It vetoes only where
/// it says connected or does not answer. Pure.
pub(super) fn of_several(evidence: Evidence, why: &str) -> Evidence {
    let said = evidence.detail;
    let (finding, detail) = match evidence.finding {
        of if of.is_negative() => (
            Finding::Ambiguous,
            format!("{said}, which does not count: {why}"),
        ),
        of if of.may_be_connected() => (
            Finding::Shared,
            format!("{said}, which may be another session: {why}"),
        ),
        of => (of, said),
    };
    Evidence {
        finding,
        detail,
        ..Evidence::new(evidence.source, finding, "")
    }
}

/// What the sockets of a process that other sessions have as well are evidence of: a connection
/// may be any session's, and that none of them has lasted is true for all. Pure.
pub(super) fn of_one_process(sockets: Evidence, why: &str, looks_once: bool) -> Vec<Evidence> {
    if !sockets.finding.may_be_connected() {
        let finding = match sockets.finding {
            Finding::Lost => Finding::Ambiguous,
            other => other,
        };
        return vec![Evidence { finding, ..sockets }];
    }
    let is_young = sockets.finding == Finding::Connecting && !looks_once;
    let detail = format!(
        "{}, which may be that of another session: {why}",
        sockets.detail
    );
    let shared = Evidence {
        finding: Finding::Shared,
        detail,
        ..sockets
    };
    let young = "no connection of the process has lasted yet: logins may be refused";
    let young = is_young.then(|| Evidence::new(shared.source, Finding::Ambiguous, young));
    [shared].into_iter().chain(young).collect()
}

/// The sessions of the list that was last asked about, by the id of their process: to make the ids
/// for each session anew would take the square of their number.
#[derive(Debug, Default)]
pub(super) struct LastProcesses(Mutex<ProcessesOfList>);

#[derive(Debug, Default)]
struct ProcessesOfList {
    all: Arc<SessionNames>,
    by_id: HashMap<String, SessionNames>,
}

impl LastProcesses {
    /// Why the process with this id may be that of another of `all` as well (`None`: those are
    /// unknown).
    pub(super) fn shared_process(
        &self,
        services: &Services,
        id: &str,
        session: &SessionName,
        all: Option<&Arc<SessionNames>>,
    ) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = all
            && !Arc::ptr_eq(&last.all, all)
        {
            let mut by_id: HashMap<String, SessionNames> = HashMap::new();
            for session in all.iter() {
                let id = services.observed(session).map(|service| service.id());
                if let Some(Ok(id)) = id {
                    by_id.entry(id).or_default().insert(session.clone());
                }
            }
            *last = ProcessesOfList {
                all: Arc::clone(all),
                by_id,
            };
        }
        let none = SessionNames::new();
        let same = all.map(|_| last.by_id.get(id).unwrap_or(&none));
        let other = companion(session, same, |_| true)?;
        Some(format!(
            "{other} has the same process; a probe or a log tells which session is connected"
        ))
    }
}

/// Which of the sessions of one list a probe asks about by the same request.
#[derive(Debug, Default)]
pub(super) struct Requests(HashMap<Vec<String>, SessionNames>);

impl Requests {
    /// Those of this probe. Pure.
    pub(super) fn of(probe: &Probe, all: &SessionNames) -> Self {
        let mut requests = Self::default();
        for session in all {
            if let Some(request) = probe.request(session) {
                let same = requests.0.entry(request).or_default();
                same.insert(session.clone());
            }
        }
        requests
    }

    /// How many sessions share a request with another one. Pure.
    fn shared(&self) -> usize {
        let counts = self.0.values().map(SessionNames::len);
        counts.filter(|count| *count > 1).sum()
    }
}

/// The requests for the list that was last asked about, by the id of the probe: to make them for
/// each session anew would take the square of their number.
#[derive(Debug, Default)]
pub(super) struct LastRequests(Mutex<RequestsOfList>);

#[derive(Debug, Default)]
struct RequestsOfList {
    all: Arc<SessionNames>,
    by_probe: HashMap<String, Arc<Requests>>,
}

impl LastRequests {
    fn of(&self, probe: &Probe, all: &Arc<SessionNames>) -> Arc<Requests> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&last.all, all) {
            *last = RequestsOfList {
                all: Arc::clone(all),
                by_probe: HashMap::new(),
            };
        }
        let requests = last.by_probe.entry(probe_id(probe));
        Arc::clone(requests.or_insert_with(|| Arc::new(Requests::of(probe, all))))
    }

    /// Why the answer of this probe may be about another of `all` (`None`: those are unknown).
    pub(super) fn shared_probe(
        &self,
        probe: &Probe,
        session: &SessionName,
        all: Option<&Arc<SessionNames>>,
    ) -> Option<String> {
        if probe.names_the_session() {
            return None;
        }
        let request = probe.request(session)?;
        let requests = all.map(|all| self.of(probe, all));
        let none = SessionNames::new();
        let same = requests
            .as_ref()
            .map(|all| all.0.get(&request).unwrap_or(&none));
        let other = companion(session, same, |_| true)?;
        Some(format!(
            "{other} is asked about by the same request, so the answer may be about that bot; put {{session}} into {}, or keep the other folder out of `sessions.paths`",
            probe.key()
        ))
    }
}

/// A sentence for a probe that asks about several of these sessions by one request. Pure.
pub(super) fn sentence(probe: &Probe, all: &SessionNames) -> Option<String> {
    if probe.names_the_session() {
        return None;
    }
    let count = Requests::of(probe, all).shared();
    (count > 1).then(|| {
        format!(
            "{}: {count} sessions share a request with another one: what it says proves nothing for them, so they are not cleaned unless another source proves it, and not stopped while it says connected; put {{session}} into it, or keep the other folders out of `sessions.paths`",
            probe.key()
        )
    })
}

#[cfg(test)]
mod tests;
