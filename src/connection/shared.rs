//! A source that gives several sessions the same answer. What it says may be about any of them,
//! so that it calls one disconnected, or its process gone, proves nothing of the others.
//! `connected` stands, because it only keeps a clean-up from being made.

use std::collections::BTreeMap;

use crate::folder::all_sessions::companion;
use crate::folder::{SessionName, SessionNames};

use super::{Evidence, Finding, Probe};

/// Evidence of such a source: no proof, and no sighting of this session either. Pure.
pub(super) fn of_several(evidence: Evidence, why: &str) -> Evidence {
    let (finding, detail) = match evidence.finding.is_negative() {
        true => {
            let detail = format!("{}, which does not count: {why}", evidence.detail);
            (Finding::NoAnswer, detail)
        }
        false => (evidence.finding, evidence.detail),
    };
    Evidence {
        finding,
        detail,
        ..Evidence::new(evidence.source, finding, "")
    }
}

/// Why the answer of this probe may be about another of `all` (`None`: those are unknown). Pure.
pub(super) fn shared_probe(
    probe: &Probe,
    session: &SessionName,
    all: Option<&SessionNames>,
) -> Option<String> {
    if probe.names_the_session() {
        return None;
    }
    let request = probe.request(session)?;
    let is_same = |other: &SessionName| probe.request(other).as_ref() == Some(&request);
    let other = companion(session, all, is_same)?;
    Some(format!(
        "{other} is asked about by the same request, so the answer may be about that bot; put {{session}} into {}, or keep the other folder out of `sessions.paths`",
        probe.key()
    ))
}

/// A sentence for a probe that asks about several of these sessions by one request. Pure.
pub(super) fn sentence(probe: &Probe, all: &SessionNames) -> Option<String> {
    if probe.names_the_session() {
        return None;
    }
    let mut requests: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for request in all.iter().filter_map(|session| probe.request(session)) {
        *requests.entry(request).or_default() += 1;
    }
    let count: usize = requests.into_values().filter(|count| *count > 1).sum();
    (count > 1).then(|| {
        format!(
            "{}: {count} sessions share a request with another one: that it says disconnected proves nothing for them, so they are not cleaned; put {{session}} into it, or keep the other folders out of `sessions.paths`",
            probe.key()
        )
    })
}

#[cfg(test)]
mod tests;
