//! The latest verdict on each session, and what its source reported about the process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::connection::{State, Verdict};
use crate::folder::SessionName;

use super::restarts::{RestartCounter, counted};

/// A verdict that is older tells nothing any more.
const VERDICT_FOR: Duration = Duration::from_secs(300);

/// By session.
#[derive(Clone, Debug, Default)]
pub struct LatestVerdicts(HashMap<SessionName, LatestVerdict>);

#[derive(Clone, Debug)]
struct LatestVerdict {
    at: Instant,
    state: State,
    /// A probe or the process was asked.
    is_direct: bool,
    is_unresolved: bool,
    is_stopped_on_request: bool,
    has_shared_connection: bool,
    /// `None` until the process was seen, or its supervisor told a count.
    restarts: Option<RestartCounter>,
    process_running: Option<bool>,
    /// When the session's own process was last seen to run.
    ran_at: Option<Instant>,
}

/// What the metrics tell of a session's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionReading {
    /// The verdict.
    pub state: State,
    /// Whether a probe or the process was asked and no verdict came of it; `None` before the
    /// first verdict.
    pub is_unresolved: Option<bool>,
    /// Whether the supervisor shows that it was asked to stop the process; `None` without a fresh
    /// verdict in which a probe or the process was asked.
    pub is_stopped_on_request: Option<bool>,
    /// Whether the process, which other sessions have too, has a connection that has lasted.
    pub has_shared_connection: bool,
    /// How often the process was restarted; `None` if it was never seen running and its supervisor
    /// told no count.
    pub restarts: Option<u64>,
    /// Whether the session's process runs. `None` where that is unknown, where another session has
    /// the same process, and where it has ended and something shows a connection.
    pub process_running: Option<bool>,
}

impl LatestVerdicts {
    /// Takes the verdicts of one round, and forgets the sessions that are not in it. `is_named`:
    /// whether the process of a session is named after it, so that it runs for this one only.
    pub fn note<'a>(
        &mut self,
        round: impl Iterator<Item = (&'a SessionName, &'a Verdict)>,
        now: Instant,
        is_named: &dyn Fn(&SessionName) -> bool,
    ) {
        let round: Vec<_> = round.collect();
        let mut sharing: HashMap<&str, usize> = HashMap::new();
        for (_, verdict) in &round {
            if let Some((_, mark)) = verdict.process() {
                *sharing.entry(mark).or_default() += 1;
            }
        }
        let mut former = std::mem::take(&mut self.0);
        let note = |(session, verdict): (&SessionName, &Verdict)| {
            let is_own = |mark: &str| sharing.get(mark) == Some(&1);
            let runs = verdict.process().filter(|(_, mark)| is_own(mark));
            let former = former.remove(session);
            let ran_at = former.as_ref().and_then(|former| former.ran_at);
            let known = former.and_then(|former| former.restarts);
            let latest = LatestVerdict {
                at: now,
                state: verdict.state,
                is_direct: verdict.is_direct(),
                is_unresolved: verdict.is_unresolved(),
                is_stopped_on_request: verdict.is_stopped_on_request(),
                has_shared_connection: verdict.has_shared_connection(),
                process_running: match verdict.has_ended() {
                    true => Some(false),
                    false => runs.map(|_| true),
                },
                ran_at: runs.filter(|_| is_named(session)).map(|_| now).or(ran_at),
                restarts: counted(known, verdict.process_look().as_ref()),
            };
            (session.clone(), latest)
        };
        self.0 = round.into_iter().map(note).collect();
    }

    /// Whether the session's own process runs, or did a moment ago: a supervisor may be starting
    /// it again.
    pub fn has_run_lately(&self, session: &SessionName, now: Instant) -> bool {
        let ran_at = self.0.get(session).and_then(|latest| latest.ran_at);
        ran_at.is_some_and(|at| now.saturating_duration_since(at) <= VERDICT_FOR)
    }

    /// What is known of a session now.
    pub fn of(&self, session: &SessionName, now: Instant) -> ConnectionReading {
        let latest = self.0.get(session);
        let fresh = latest.filter(|latest| now.saturating_duration_since(latest.at) <= VERDICT_FOR);
        ConnectionReading {
            state: fresh.map_or(State::Unknown, |latest| latest.state),
            is_unresolved: match fresh {
                Some(latest) => Some(latest.is_unresolved),
                None => latest.map(|latest| latest.is_direct),
            },
            is_stopped_on_request: fresh
                .filter(|latest| latest.is_direct)
                .map(|latest| latest.is_stopped_on_request),
            restarts: latest.and_then(|latest| Some(latest.restarts.as_ref()?.restarts())),
            has_shared_connection: fresh.is_some_and(|latest| latest.has_shared_connection),
            process_running: fresh.and_then(|latest| latest.process_running),
        }
    }
}

#[cfg(test)]
mod tests;
