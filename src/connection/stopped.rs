//! The verdict around a stop that this program asked for: while the process is gone, and
//! after it was started again. Pure.

use std::time::Duration;

use crate::folder::{Inventory, Timestamp};

use super::{Asked, Connection, Evidence, Finding, LogEvent, State, Verdict, fold, log_says};

/// The resolution of what is compared: a line's date against the clock.
const TICK: Duration = Duration::from_secs(2);

impl Connection {
    /// The verdict on a bot whose service was found gone at `since`, and `gone` says whether
    /// it still is. In the place of the quiet window nobody may have written since. A source
    /// that no longer answers is as it should be, for most ask the process itself; one that
    /// still says `connected` watches another process, and nothing may be moved.
    pub fn judge_stopped(
        &self,
        asked: Asked,
        inventory: &Inventory,
        gone: bool,
        since: Timestamp,
    ) -> Verdict {
        let mut evidence = asked.evidence;
        for heard in evidence.iter_mut().filter(|heard| heard.finding == Finding::Silent) {
            heard.finding = Finding::Nothing;
        }
        let log_written = match &asked.log {
            Some((_, Ok(Some(event)))) => event.last_line > since.plus(TICK),
            _ => false,
        };
        if log_written {
            evidence.push(Evidence::new("log", Finding::Silent, "its log was written after it was stopped"));
        }
        let written = inventory.newest_write().is_some_and(|written| written > since);
        evidence.push(match written {
            true => Evidence::new("writes", Finding::Writing, "a file was written after it was stopped"),
            false => Evidence::new("writes", Finding::Quiet, "no file was written since it was stopped"),
        });
        evidence.push(match gone {
            true => Evidence::new("service", Finding::Gone, "this program stopped it, and it is gone"),
            false => Evidence::new("service", Finding::Silent, "it is not known to be gone any more"),
        });
        fold(evidence)
    }

    /// Whether a bot that was started at `since` is connected. What its log said before that
    /// does not count.
    pub fn is_back(&self, asked: Asked, inventory: &Inventory, since: Timestamp) -> bool {
        let now = Timestamp::now();
        let mut evidence = asked.evidence;
        if let Some((_, event)) = asked.log {
            let new = |event: &LogEvent| event.at.is_some_and(|at| at.plus(TICK) >= since);
            let event = event.map(|event| event.filter(new));
            let written = inventory.newest_write();
            let (finding, detail) = log_says(event, false, written, now, self.log_fresh, self.quiet);
            evidence.push(Evidence::new("log", finding, detail));
        }
        fold(evidence).state == State::Connected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Recollection;
    use crate::folder::{Creds, Entry, FileName, Inside, Shape, Stamp};

    fn asked(findings: &[Finding], log: Option<LogEvent>) -> Asked {
        Asked {
            evidence: findings.iter().map(|finding| Evidence::new("probe", *finding, "")).collect(),
            log: log.map(|event| ("log".into(), Ok(Some(event)))),
            logged_out: false,
            memory: Recollection::default(),
        }
    }

    fn folder(modified: Timestamp) -> Inventory {
        let stamp = Stamp { modified, ..Stamp::default() };
        let inside = Inside::NotRead;
        let name = FileName::new("creds.json");
        Inventory::new([Entry { name, shape: Shape::Regular, stamp, inside }], Creds::Missing)
    }

    #[test]
    fn while_it_is_stopped() {
        use Finding::*;
        let since = Timestamp::now().minus(Duration::from_secs(10));
        let later = since.plus(Duration::from_nanos(1));
        let line = |last_line| Some(LogEvent { opened: Some(true), at: Some(since), last_line });
        for (findings, log, gone, written, state) in [
            (&[][..], None, true, since, State::Disconnected),
            (&[Silent], None, true, since, State::Disconnected),
            (&[Disconnected], None, true, since, State::Disconnected),
            (&[Gone, Silent], line(since.plus(TICK)), true, since, State::Disconnected),
            (&[Connected], None, true, since, State::Unknown),
            (&[Silent], None, false, since, State::Unknown),
            (&[Gone], None, false, since, State::Unknown),
            (&[Silent], None, true, later, State::Unknown),
            (&[Gone], line(since.plus(TICK * 2)), true, since, State::Unknown),
        ] {
            let verdict =
                Connection::default().judge_stopped(asked(findings, log), &folder(written), gone, since);
            assert_eq!(verdict.state, state, "{findings:?} {log:?} {gone} {verdict:?}");
            assert_eq!(verdict.process_gone, state == State::Disconnected);
        }
    }

    #[test]
    fn after_it_was_started() {
        use Finding::*;
        let since = Timestamp::now().minus(Duration::from_secs(10));
        let opened = |at| Some(LogEvent { opened: Some(true), at, last_line: Timestamp::now() });
        for (findings, log, back) in [
            (&[Connected][..], None, true),
            (&[Disconnected], None, false),
            (&[Silent], None, false),
            (&[Connected, Gone], None, false),
            (&[], opened(Some(since)), true),
            (&[], opened(Some(since.minus(TICK * 2))), false),
            (&[], opened(None), false),
            (&[Disconnected], opened(Some(since)), false),
        ] {
            let is_back = Connection::default().is_back(asked(findings, log), &folder(since), since);
            assert_eq!(is_back, back, "{findings:?} {log:?}");
        }
    }
}
