//! What the bot's own log says of its connection.

use std::fmt;
use std::time::Duration;

use crate::folder::{SessionName, Timestamp};

use super::Finding;

/// A bot that connects writes creds.json, at most this long after it said so.
const WRITES_WITHIN: Duration = Duration::from_secs(60);

/// The last thing a session's log says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Opened, or closed (errored, logged out).
    pub opened: bool,
    /// When, where the line carries a date.
    pub at: Option<Timestamp>,
    /// When the log's last line, of whatever kind, was written.
    pub last_line: Timestamp,
}

/// Somebody who reads the logs.
pub trait LogView: fmt::Debug + Send + Sync {
    /// The last event of a session, if its log tells of any. May block.
    ///
    /// Errors: a log could not be read; a sentence without anything out of it.
    fn last_event(&self, session: &SessionName) -> Result<Option<LogEvent>, String>;

    /// When the log last told of an opened connection, if that is known to be earlier than
    /// the last event.
    fn last_opened(&self, _session: &SessionName) -> Option<Timestamp> {
        None
    }

    /// What of the configuration makes this log another source.
    fn configuration(&self) -> String {
        String::new()
    }
}

/// What the last event is evidence of. Pure.
///
/// An open connection of a process that is gone is none. While the process may live, only
/// a fresh log tells, and a write after the closing contradicts it: somebody connected.
pub fn log_says(
    event: Result<Option<LogEvent>, String>,
    process_gone: bool,
    newest_write: Option<Timestamp>,
    now: Timestamp,
    fresh: Duration,
) -> (Finding, String) {
    let LogEvent { opened, at, last_line } = match event {
        Ok(Some(event)) => event,
        Ok(None) => return (Finding::Nothing, "no log tells of a connection".into()),
        Err(error) => return (Finding::Silent, error),
    };
    let ago = at.map_or("at a time the log does not tell".to_owned(), |at| {
        format!("{} ago", humantime::format_duration(Duration::from_secs(at.until(now).as_secs())))
    });
    let nothing = |why: &str| (Finding::Nothing, why.to_owned());
    if at.is_some_and(|at| at > now) || last_line > now {
        return nothing("the log is dated in the future");
    }
    if process_gone {
        return match opened {
            true => nothing("the connection was opened, and the process is gone since"),
            false => (Finding::Disconnected, format!("the connection was closed {ago}")),
        };
    }
    if last_line.until(now) > fresh {
        return nothing("the last line is too old to tell anything");
    }
    if opened {
        return (Finding::Connected, format!("the connection was opened {ago}"));
    }
    let Some(at) = at else { return nothing("the connection was closed, but the line carries no date") };
    match newest_write.is_some_and(|written| written > at.plus(WRITES_WITHIN)) {
        true => nothing("the connection was closed, but a file was written since"),
        false => (Finding::Disconnected, format!("the connection was closed {ago}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Finding::*;

    #[test]
    fn the_rules() {
        let now = Timestamp::from_secs(1_800_000_000);
        let ago = |seconds: u64| now.minus(Duration::from_secs(seconds));
        let event =
            |opened, at: u64, line: u64| Some(LogEvent { opened, at: Some(ago(at)), last_line: ago(line) });
        let ahead = now.plus(Duration::from_secs(1));
        for (event, gone, written, finding) in [
            (None, false, None, Nothing),
            (None, true, None, Nothing),
            (event(true, 5000, 900), false, None, Connected),
            (event(true, 5000, 901), false, None, Nothing),
            (event(false, 5000, 900), false, None, Disconnected),
            (event(false, 5000, 900), false, Some(ago(4940)), Disconnected),
            (event(false, 5000, 900), false, Some(ago(4939)), Nothing),
            (event(false, 5000, 901), false, None, Nothing),
            (event(true, 5000, 5000), true, None, Nothing),
            (event(true, 5000, 5), true, None, Nothing),
            (event(false, 5000, 5000), true, None, Disconnected),
            (event(false, 5000, 5000), true, Some(ago(1)), Disconnected),
            (Some(LogEvent { opened: false, at: Some(ago(5)), last_line: ahead }), false, None, Nothing),
            (Some(LogEvent { opened: false, at: None, last_line: ago(1) }), false, None, Nothing),
            (Some(LogEvent { opened: true, at: None, last_line: ago(1) }), false, None, Connected),
            (Some(LogEvent { opened: true, at: Some(ahead), last_line: ago(0) }), false, None, Nothing),
            (Some(LogEvent { opened: false, at: Some(ahead), last_line: ahead }), true, None, Nothing),
        ] {
            let (seen, why) = log_says(Ok(event), gone, written, now, Duration::from_secs(900));
            assert_eq!(seen, finding, "{event:?} {gone} {written:?}: {why}");
        }
        let unreadable = log_says(Err("x".into()), false, None, now, Duration::from_secs(900));
        assert_eq!(unreadable, (Silent, "x".to_owned()));
    }
}
