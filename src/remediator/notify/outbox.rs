//! Reports that wait to be sent: bounded, rate-limited, tried again with a backoff. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines of one message at most.
pub const MAX_LINES: usize = 20;
/// Bytes of one message at most, with its title. Telegram takes 4,096 characters and ntfy 4,096
/// bytes.
pub const MAX_MESSAGE_BYTES: usize = 3_500;
/// Reports of each kind that wait at most; of more only their number is kept.
const MAX_WAITING: usize = 200;
/// Characters of one report at most.
const MAX_REPORT_CHARS: usize = 300;
/// Space for what a message says about reports that it does not hold.
const TAIL_BYTES: usize = 120;
/// Between two messages. What is reported in between is one message.
const BETWEEN: Duration = Duration::from_secs(60);
/// Messages within an hour at most.
const MAX_AN_HOUR: usize = 12;
const HOUR: Duration = Duration::from_secs(3_600);
/// After the first failure; it doubles with each further one.
const SEND_BACKOFF: Duration = Duration::from_secs(60);
const MAX_SEND_BACKOFF: Duration = Duration::from_secs(1_920);

/// The reports that wait. Times are monotonic, from any start.
#[derive(Debug)]
pub struct Outbox {
    /// Of the state: they come first.
    states: VecDeque<String>,
    events: VecDeque<String>,
    /// Reports beyond those that wait.
    beyond: usize,
    /// How many states and events the last message held.
    offered: (usize, usize),
    /// Lines that the next message may have.
    max_lines: usize,
    /// When messages of the last hour were sent.
    sent: VecDeque<Duration>,
    failures: u32,
    not_before: Duration,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            states: VecDeque::new(),
            events: VecDeque::new(),
            beyond: 0,
            offered: (0, 0),
            max_lines: MAX_LINES,
            sent: VecDeque::new(),
            failures: 0,
            not_before: Duration::ZERO,
        }
    }
}

impl Outbox {
    /// Adds reports of events.
    pub fn add(&mut self, reports: impl IntoIterator<Item = String>) {
        self.beyond += push(&mut self.events, reports);
    }

    /// Adds reports of the state, such as a bot that has not come back. They come before those
    /// of events, also before those that wait already.
    pub fn add_states(&mut self, reports: impl IntoIterator<Item = String>) {
        self.beyond += push(&mut self.states, reports);
    }

    /// The message to send now, if any; `title` is its first line. What does not fit waits for
    /// the next one. The reports wait until [`Outbox::sent`].
    pub fn due(&mut self, title: &str, now: Duration) -> Option<String> {
        while self
            .sent
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= HOUR)
        {
            self.sent.pop_front();
        }
        let waiting = self.states.len() + self.events.len();
        let is_due = waiting > 0 && now >= self.not_before && self.sent.len() < MAX_AN_HOUR;
        if !is_due {
            return None;
        }
        let (mut text, mut lines) = (title.to_owned(), 0);
        for report in self.states.iter().chain(&self.events) {
            let fits = text.len() + 1 + report.len() + TAIL_BYTES <= MAX_MESSAGE_BYTES;
            if lines == self.max_lines || (lines > 0 && !fits) {
                break;
            }
            text.push('\n');
            text.push_str(report);
            lines += 1;
        }
        let states = lines.min(self.states.len());
        self.offered = (states, lines - states);
        if waiting > lines {
            text.push_str(&format!(
                "\nand {} more in the next message",
                waiting - lines
            ));
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
        self.drop_offered();
        self.beyond = 0;
        self.failures = 0;
        self.max_lines = (self.max_lines * 2).min(MAX_LINES);
        self.sent.push_back(now);
        self.not_before = now + BETWEEN;
    }

    /// The receiver refuses this message. The next one has half the lines. One that had a single
    /// line is dropped, so that it does not block those that follow. Returns whether it was.
    pub fn refused(&mut self, now: Duration) -> bool {
        let lines = self.offered.0 + self.offered.1;
        if lines > 1 {
            self.max_lines = lines / 2;
            self.not_before = now + BETWEEN;
            return false;
        }
        self.drop_offered();
        self.max_lines = MAX_LINES;
        self.failed(now);
        true
    }

    fn drop_offered(&mut self) {
        let (states, events) = std::mem::take(&mut self.offered);
        self.states.drain(..states.min(self.states.len()));
        self.events.drain(..events.min(self.events.len()));
    }

    /// It could not be sent: it is tried again later, with what comes until then.
    pub fn failed(&mut self, now: Duration) {
        let backoff = SEND_BACKOFF.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + backoff.min(MAX_SEND_BACKOFF);
    }
}

/// Adds reports at the end. Returns how many there is no room for.
fn push(waiting: &mut VecDeque<String>, reports: impl IntoIterator<Item = String>) -> usize {
    let mut beyond = 0;
    for report in reports {
        if waiting.len() >= MAX_WAITING {
            beyond += 1;
            continue;
        }
        let plain = report.chars().map(|c| if c.is_control() { ' ' } else { c });
        waiting.push_back(plain.take(MAX_REPORT_CHARS).collect());
    }
    beyond
}

#[cfg(test)]
mod tests;
