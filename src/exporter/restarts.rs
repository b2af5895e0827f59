//! How often the process of a session was restarted. Its supervisor counts that, also where a
//! process ends before the next look. Without such a count, and for a restart that the supervisor
//! does not count, it is told by the process that runs: it is another one than before.

use std::time::Duration;

use supervisor::proc::names_another;

use crate::connection::ProcessLook;
use crate::folder::Timestamp;

/// What a supervisor counted since an older look may be old: the alerts take a count as news.
const COUNT_FOR: Duration = Duration::from_secs(600);

/// The restarts since the first look.
#[derive(Clone, Debug)]
pub(super) struct RestartCounter {
    /// When the last look was.
    at: Timestamp,
    restarts: u64,
    /// The process as it was last seen running.
    mark: Option<String>,
    /// What was counted since then. The start of the process that is seen next may be among it.
    since_seen: u64,
    told: Option<Told>,
    /// What was counted by the process alone since then. The supervisor's count may hold it too.
    since_told: u64,
}

/// The last count of a supervisor.
#[derive(Clone, Debug)]
struct Told {
    at: Timestamp,
    source: String,
    number: u64,
}

impl RestartCounter {
    /// After the first look, which counts nothing.
    fn new(look: &ProcessLook<'_>) -> Self {
        let mut counter = Self {
            at: look.at,
            restarts: 0,
            mark: look.mark.map(str::to_owned),
            since_seen: 0,
            told: None,
            since_told: 0,
        };
        counter.listen(look);
        counter
    }

    /// How often the process was restarted.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// After one more look. One that ended late does not count.
    fn look(&mut self, look: &ProcessLook<'_>) {
        if look.at < self.at {
            return;
        }
        self.at = look.at;
        let counted = self.listen(look);
        self.restarts += counted;
        self.since_seen += counted;
        let Some(mark) = look.mark else {
            return;
        };
        let before = self.mark.as_deref();
        let is_another = before.is_some_and(|before| names_another(before, mark));
        if is_another && self.since_seen == 0 {
            self.restarts += 1;
            self.since_told += u64::from(look.restarts.is_none());
        }
        // One of several processes that has ended may come back as another one: until then those
        // before are kept.
        if is_another || before.is_none_or(|before| before == mark) {
            self.mark = Some(mark.to_owned());
            self.since_seen = 0;
        }
    }

    /// How many restarts are new by the supervisor's count. A count that went back has begun again.
    fn listen(&mut self, look: &ProcessLook<'_>) -> u64 {
        let Some(number) = look.restarts else {
            return 0;
        };
        let told = Told {
            at: look.at,
            source: look.source.to_owned(),
            number,
        };
        let known = std::mem::take(&mut self.since_told);
        let before = self
            .told
            .replace(told)
            .filter(|before| before.source == look.source && before.at.until(look.at) <= COUNT_FOR);
        let grown = before.map_or(0, |before| number.saturating_sub(before.number));
        grown.saturating_sub(known)
    }
}

/// The counter after one more round, in which the process may not have been seen. Pure.
pub(super) fn counted(
    counter: Option<RestartCounter>,
    look: Option<&ProcessLook<'_>>,
) -> Option<RestartCounter> {
    match (counter, look) {
        (counter, None) => counter,
        (None, Some(look)) => Some(RestartCounter::new(look)),
        (Some(mut counter), Some(look)) => {
            counter.look(look);
            Some(counter)
        }
    }
}

#[cfg(test)]
mod tests;
