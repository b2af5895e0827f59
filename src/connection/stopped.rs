//! The verdict around a stop that this program asked for: while the process is gone, and
//! after it was started again. Pure.

use std::time::Duration;

use crate::folder::{Inventory, Timestamp};

use super::{
    Asked, Connection, Evidence, Finding, LogEvent, Recollection, State, Verdict, fold, log_says,
};

/// The resolution of what is compared: a line's date against the clock.
const TICK: Duration = Duration::from_secs(2);
/// Between the last look before a stop and the moment when the process is found gone.
const JUST_BEFORE: Duration = Duration::from_secs(600);

impl Connection {
    /// The verdict on a bot whose service was found gone at `since`, and `gone` says whether
    /// it still is. In the place of the quiet window nobody may have written since. A source
    /// that no longer answers is as it should be, for most ask the process itself; one that
    /// still says `connected` watches another process, and nothing may be moved.
    ///
    /// A log that ends with `opened` says nothing of what came after: a process that is
    /// killed writes no farewell, and neither does a bot that was never stopped, because
    /// another one's service is configured. Where no other source has seen the change, log
    /// and folder must have been still for the whole quiet window.
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
            .any(|heard| confirms(heard, &asked.memory, since));
        for heard in evidence
            .iter_mut()
            .filter(|heard| heard.finding == Finding::NoAnswer)
        {
            heard.finding = Finding::Nothing;
        }
        let log_written = match &asked.log {
            Some((_, Ok(Some(event)))) => event.last_line > since.plus(TICK),
            _ => false,
        };
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
            let now = Timestamp::now();
            let still = |last: Timestamp| last <= now && last.until(now) >= self.settings.quiet;
            if !still(*last_line) || !inventory.newest_write().is_some_and(still) {
                let unsure = "its log ends with an opened connection, and no probe and no process says that it was this bot which was stopped; give one";
                evidence.push(Evidence::new("log", Finding::NoAnswer, unsure));
            }
        }
        let written = inventory
            .newest_write()
            .is_some_and(|written| written > since);
        evidence.push(match written {
            true => Evidence::new(
                "writes",
                Finding::Writing,
                "a file was written after it was stopped",
            ),
            false => Evidence::new(
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
    /// does not count.
    pub fn is_back(&self, asked: Asked, inventory: &Inventory, since: Timestamp) -> bool {
        let now = Timestamp::now();
        let mut evidence = asked.evidence;
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
/// vouched for and says so, or saw it alive just before the stop and cannot tell any more.
fn confirms(heard: &Evidence, memory: &Recollection, since: Timestamp) -> bool {
    match heard.finding {
        Finding::Disconnected | Finding::Gone => memory.vouches_for(&heard.id, since),
        Finding::NoAnswer => memory
            .last_alive(&heard.id, since)
            .is_some_and(|alive| alive.at >= since.minus(JUST_BEFORE)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Alive;
    use crate::folder::{Creds, Entry, FileName, Inside, Shape, Stamp};

    fn asked(findings: &[Finding], log: Option<LogEvent>) -> Asked {
        Asked {
            evidence: findings
                .iter()
                .map(|finding| Evidence::new("probe", *finding, ""))
                .collect(),
            log: log.map(|event| ("log".into(), Ok(Some(event)))),
            logged_out: false,
            memory: Recollection {
                trusted_by_configuration: true,
                ..Recollection::default()
            },
        }
    }

    fn folder(modified: Timestamp) -> Inventory {
        let stamp = Stamp {
            modified,
            ..Stamp::default()
        };
        let inside = Inside::NotRead;
        let name = FileName::new("creds.json");
        Inventory::new(
            [Entry {
                name,
                shape: Shape::Regular,
                stamp,
                inside,
            }],
            Creds::Missing,
        )
    }

    #[test]
    fn while_it_is_stopped() {
        use Finding::*;
        let since = Timestamp::now().minus(Duration::from_secs(10));
        let later = since.plus(Duration::from_nanos(1));
        let line = |last_line| {
            Some(LogEvent {
                opened: Some(true),
                at: Some(since),
                last_line,
            })
        };
        for (findings, log, gone, written, state) in [
            (&[][..], None, true, since, State::Disconnected),
            (&[NoAnswer], None, true, since, State::Disconnected),
            (&[Disconnected], None, true, since, State::Disconnected),
            (
                &[Gone, NoAnswer],
                line(since.plus(TICK)),
                true,
                since,
                State::Disconnected,
            ),
            (&[Connected], None, true, since, State::Unknown),
            (&[NoAnswer], None, false, since, State::Unknown),
            (&[Gone], None, false, since, State::Unknown),
            (&[NoAnswer], None, true, later, State::Unknown),
            (
                &[Gone],
                line(since.plus(TICK * 2)),
                true,
                since,
                State::Unknown,
            ),
        ] {
            let verdict = Connection::default().judge_stopped(
                asked(findings, log),
                &folder(written),
                gone,
                since,
            );
            assert_eq!(
                verdict.state, state,
                "{findings:?} {log:?} {gone} {verdict:?}"
            );
            assert_eq!(verdict.process_gone, state == State::Disconnected);
        }
    }

    /// The service of another bot was stopped, and the log of this one is the only source.
    #[test]
    fn a_log_that_ends_with_an_opened_connection_is_not_enough() {
        use Finding::*;
        let since = Timestamp::now().minus(Duration::from_secs(10));
        let long_ago = since.minus(Duration::from_secs(3600));
        let log = |opened, last_line| {
            Some(LogEvent {
                opened,
                at: Some(long_ago),
                last_line,
            })
        };
        let open = Some(true);
        for (source, finding, log, written, state) in [
            ("sockets", Nothing, log(open, since), since, State::Unknown),
            ("probe", Nothing, log(open, since), since, State::Unknown),
            ("process", Nothing, log(open, since), since, State::Unknown),
            ("sockets", NoAnswer, log(open, since), since, State::Unknown),
            // Either of them was still.
            (
                "sockets",
                Nothing,
                log(open, long_ago),
                since,
                State::Unknown,
            ),
            (
                "sockets",
                Nothing,
                log(open, since),
                long_ago,
                State::Unknown,
            ),
            (
                "sockets",
                Nothing,
                log(open, long_ago),
                long_ago,
                State::Disconnected,
            ),
            // Somebody else saw it go.
            (
                "probe",
                Disconnected,
                log(open, since),
                since,
                State::Disconnected,
            ),
            (
                "process",
                Gone,
                log(open, since),
                since,
                State::Disconnected,
            ),
            // It said so itself, or never spoke of a connection.
            (
                "sockets",
                Nothing,
                log(Some(false), since),
                since,
                State::Disconnected,
            ),
            (
                "sockets",
                Nothing,
                log(None, since),
                since,
                State::Disconnected,
            ),
        ] {
            let mut asked = asked(&[], log);
            asked.evidence.push(Evidence::new(source, finding, ""));
            let verdict = Connection::default().judge_stopped(asked, &folder(written), true, since);
            assert_eq!(
                verdict.state, state,
                "{source} {finding:?} {log:?} {verdict:?}"
            );
        }
    }

    #[test]
    fn who_saw_that_it_went() {
        use Finding::*;
        let since = Timestamp::now();
        let seen = |seconds| Recollection {
            alive: [(
                "id".to_owned(),
                Alive::at(since.minus(Duration::from_secs(seconds))),
            )]
            .into(),
            ..Recollection::default()
        };
        let heard = |finding| Evidence {
            id: "id".into(),
            ..Evidence::new("probe", finding, "")
        };
        let nobody = Recollection::default();
        let trusted = Recollection {
            trusted_by_configuration: true,
            ..Recollection::default()
        };
        for (finding, memory, confirmed) in [
            (Gone, &seen(86_400), true),
            (Disconnected, &trusted, true),
            // It never saw this bot at all.
            (Gone, &nobody, false),
            (NoAnswer, &nobody, false),
            (NoAnswer, &trusted, false),
            // It may have been out of order for long.
            (NoAnswer, &seen(86_400), false),
            (NoAnswer, &seen(60), true),
            (Nothing, &seen(60), false),
            (Connected, &seen(60), false),
        ] {
            assert_eq!(
                confirms(&heard(finding), memory, since),
                confirmed,
                "{finding:?} {memory:?}"
            );
        }
    }

    #[test]
    fn after_it_was_started() {
        use Finding::*;
        let since = Timestamp::now().minus(Duration::from_secs(10));
        let opened = |at| {
            Some(LogEvent {
                opened: Some(true),
                at,
                last_line: Timestamp::now(),
            })
        };
        for (findings, log, back) in [
            (&[Connected][..], None, true),
            (&[Disconnected], None, false),
            (&[NoAnswer], None, false),
            (&[Connected, Gone], None, false),
            (&[], opened(Some(since)), true),
            (&[], opened(Some(since.minus(TICK * 2))), false),
            (&[], opened(None), false),
            (&[Disconnected], opened(Some(since)), false),
        ] {
            let is_back =
                Connection::default().is_back(asked(findings, log), &folder(since), since);
            assert_eq!(is_back, back, "{findings:?} {log:?}");
        }
    }
}
