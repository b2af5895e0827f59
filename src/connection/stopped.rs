//! The verdict around a stop that this program asked for: while the process is gone, and
//! after it was started again. Pure.

use std::time::Duration;

use crate::folder::{Inventory, NewestWrite, Timestamp};

use super::verdict::TICK;
use super::{
    Asked, Connection, Evidence, Finding, LogEvent, RecentStep, SessionSightings, State, Verdict,
    fold, log_says, sockets,
};

/// Between the last look before a stop and the moment when the process is found gone.
const JUST_BEFORE: Duration = Duration::from_secs(600);

impl Connection {
    /// A step of the wall clock that is so recent that [`Connection::judge_stopped`] could not
    /// tell what was written after a stop: nothing may be stopped for a clean-up.
    pub fn recent_step(&self) -> Option<RecentStep> {
        let window = self.settings.quiet.max(JUST_BEFORE);
        RecentStep::within(window, self.clock.steady_for())
    }

    /// The verdict on a bot whose service was found gone at `since`; `gone` says whether it
    /// still is. Instead of the quiet window, there must be no write since then. A source that
    /// no longer answers is normal, because most sources ask the process itself. A source that
    /// still says `connected` or `connecting` watches another process, and nothing may be moved.
    ///
    /// A log that ends with `opened` says nothing of what came after: a process that is
    /// killed logs no close, and neither does a bot that was never stopped because the wrong
    /// service is configured. If no other source has seen the change, log and folder must
    /// have been unchanged for the whole quiet window.
    pub fn judge_stopped(
        &self,
        asked: Asked,
        inventory: &Inventory,
        gone: bool,
        since: Timestamp,
    ) -> Verdict {
        let mut evidence = asked.evidence;
        let confirmed = evidence
            .iter()
            .any(|heard| confirms(heard, &asked.sightings, since));
        for heard in evidence
            .iter_mut()
            .filter(|heard| matches!(heard.finding, Finding::NoAnswer | Finding::Unreachable))
        {
            heard.finding = Finding::Nothing;
        }
        let log_written = match &asked.log {
            Some((_, Ok(Some(event)))) => event.last_line > since.plus(TICK),
            _ => false,
        };
        if let Some((_, Ok(Some(event)))) = &asked.log {
            evidence.extend(event.opener_runs());
        }
        if log_written {
            evidence.push(Evidence::new(
                "log",
                Finding::NoAnswer,
                "its log was written after it was stopped",
            ));
        }
        if let Some((
            _,
            Ok(Some(LogEvent {
                opened: Some(true),
                last_line,
                ..
            })),
        )) = &asked.log
            && !confirmed
        {
            let now = self.now();
            let still = |last: Timestamp| last <= now && last.until(now) >= self.settings.quiet;
            if !still(*last_line)
                || !inventory
                    .newest_write()
                    .is_some_and(|written| still(written.at))
            {
                let unsure = "its log ends with an opened connection, and no probe or process confirms that this bot was stopped; configure one";
                evidence.push(Evidence::new("log", Finding::NoAnswer, unsure));
            }
        }
        let written = inventory.newest_write();
        let written = written.filter(|written| written.at > since);
        evidence.push(match (written, self.recent_step()) {
            (Some(NewestWrite { kind, .. }), _) => Evidence::new(
                "writes",
                Finding::Writing,
                format!(
                    "a file was written after it was stopped (kind {})",
                    kind.label()
                ),
            ),
            (None, Some(step)) => Evidence::new("writes", Finding::Writing, step.to_string()),
            (None, None) => Evidence::new(
                "writes",
                Finding::Quiet,
                "no file was written since it was stopped",
            ),
        });
        evidence.push(match gone {
            true => Evidence::new(
                "service",
                Finding::Gone,
                "this program stopped it, and it is gone",
            ),
            false => Evidence::new(
                "service",
                Finding::NoAnswer,
                "it is not known to be gone any more",
            ),
        });
        fold(evidence)
    }

    /// Whether a bot that was started at `since` is connected. What its log said before that
    /// does not count, nor does a socket that has not lasted.
    pub fn is_back(&self, asked: Asked, inventory: &Inventory, since: Timestamp) -> bool {
        let now = self.now();
        let mut evidence = asked.evidence;
        sockets::for_the_login(&mut evidence, inventory.creds.awaits_login(), false);
        if let Some((_, event)) = asked.log {
            let new = |event: &LogEvent| event.at.is_some_and(|at| at.plus(TICK) >= since);
            let event = event.map(|event| event.filter(new));
            let written = inventory.newest_write();
            let (finding, detail) = log_says(
                event,
                false,
                written,
                now,
                self.settings.log_fresh,
                self.settings.quiet,
            );
            evidence.push(Evidence::new("log", finding, detail));
        }
        fold(evidence).state == State::Connected
    }
}

/// Whether a probe, or the process as it is watched, has seen that the bot is gone: it is
/// trusted for and says so, or saw it alive just before the stop and cannot tell any more.
fn confirms(heard: &Evidence, sightings: &SessionSightings, since: Timestamp) -> bool {
    match heard.finding {
        Finding::Disconnected | Finding::Gone => sightings.is_trusted(&heard.id, since),
        Finding::NoAnswer | Finding::Unreachable => sightings
            .last_alive(&heard.id, since)
            .is_some_and(|alive| alive.at >= since.minus(JUST_BEFORE)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
