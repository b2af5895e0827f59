//! Reports that wait to be sent: bounded, rate-limited, tried again with a backoff. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Reports that wait at most, and that one message holds; of more only their number is kept.
pub const MAX_REPORTS: usize = 20;
/// Characters of one report at most.
const MAX_CHARS: usize = 300;
/// Between two messages. What is reported in between is one message.
const BETWEEN: Duration = Duration::from_secs(60);
/// Messages within an hour at most.
const MAX_AN_HOUR: usize = 12;
const HOUR: Duration = Duration::from_secs(3_600);
/// After the first failure; it doubles with each further one.
const BACKOFF: Duration = Duration::from_secs(60);
const MAX_BACKOFF: Duration = Duration::from_secs(1_920);

/// The reports that wait. Times are monotonic, from any start.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<String>,
    /// Reports beyond those that wait.
    beyond: usize,
    /// When messages of the last hour were sent.
    sent: VecDeque<Duration>,
    failures: u32,
    not_before: Duration,
}

impl Outbox {
    /// Adds reports.
    pub fn add(&mut self, reports: impl IntoIterator<Item = String>) {
        for report in reports {
            if self.waiting.len() >= MAX_REPORTS {
                self.beyond += 1;
                continue;
            }
            let plain = report.chars().map(|c| if c.is_control() { ' ' } else { c });
            self.waiting.push_back(plain.take(MAX_CHARS).collect());
        }
    }

    /// The message to send now, if any; `title` is its first line. It waits until
    /// [`Outbox::sent`].
    pub fn due(&mut self, title: &str, now: Duration) -> Option<String> {
        while self
            .sent
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= HOUR)
        {
            self.sent.pop_front();
        }
        let is_due =
            !self.waiting.is_empty() && now >= self.not_before && self.sent.len() < MAX_AN_HOUR;
        if !is_due {
            return None;
        }
        let mut text = title.to_owned();
        for report in &self.waiting {
            text.push('\n');
            text.push_str(report);
        }
        if self.beyond > 0 {
            text.push_str(&format!(
                "\nand {} more; see: baileys_remediator runs",
                self.beyond
            ));
        }
        Some(text)
    }

    /// The message was sent.
    pub fn sent(&mut self, now: Duration) {
        self.waiting.clear();
        self.beyond = 0;
        self.failures = 0;
        self.sent.push_back(now);
        self.not_before = now + BETWEEN;
    }

    /// It could not be sent: it is tried again later, with what comes until then.
    pub fn failed(&mut self, now: Duration) {
        let backoff = BACKOFF.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + backoff.min(MAX_BACKOFF);
    }
}

#[cfg(test)]
mod tests;
