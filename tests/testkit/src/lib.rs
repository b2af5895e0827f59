//! What the end-to-end tests and `make demo` share: auth folders written by the real
//! library, processes that never outlive their owner, and the whole loop (exporter,
//! Prometheus, Alertmanager, remediator) on loopback with short intervals.
//!
//! | module | what it holds |
//! |---|---|
//! | [`fixture`] | unpacks `tests/fixtures`, compares folders |
//! | [`process`] | a child process that is stopped by its own pid |
//! | [`mod@world`] | one host for a test: folders, bots, a configuration, one server, its commands |
//! | [`probe`] | a bot's status API |
//! | [`alertmanager`] | the real Alertmanager with the shipped configuration |
//! | [`canned`] | an HTTP server that answers as the test says |
//! | [`doctor`] | what `doctor` and `service` say |
//! | [`hosts`] | hosts with a network and a name of their own |
//! | [`npm`] | packages as a lockfile says |
//! | [`pm2`] | the real pm2 with a home of its own |
//! | [`net`] | free ports, a small HTTP client, the text form of metrics |
//! | [`rotation`] | log files, written and rotated in every style, with what was written |
//! | [`recorder`] | a webhook receiver that remembers what it was sent |
//! | [`stack`] | the loop, from the shipped `alerting-rules` |
//! | [`story`] | what the demo shows and the tests check, step by step |
//! | [`strace`] | the calls in a trace |
//! | [`mod@supervised`] | bots under a supervisor that is a script, and a remediator that may stop them |
//! | [`systemd`] | a real systemd of its own for one test |
//! | [`wrong_clock`] | a clock that is wrong |

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub mod alertmanager;
pub mod canned;
pub mod doctor;
pub mod fixture;
pub mod hosts;
pub mod hung;
pub mod net;
pub mod notification;
pub mod npm;
pub mod performance;
pub mod pm2;
pub mod probe;
pub mod process;
pub mod recorder;
pub mod rotation;
pub mod stack;
pub mod story;
pub mod strace;
pub mod supervised;
pub mod systemd;
pub mod world;
pub mod wrong_clock;

/// A failure is a sentence for a person.
pub type Result<T> = std::result::Result<T, String>;

/// Says what was being done when something failed.
pub trait Doing<T> {
    /// `doing: error`.
    fn doing(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// Between two attempts: most of what is waited for happens within milliseconds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Bounds everything that waits: each wait by its own limit, all of them together by one,
/// and at once after a request to stop.
#[derive(Clone, Debug)]
pub struct Patience {
    began: Instant,
    end: Instant,
    stop: Arc<AtomicBool>,
}

impl Patience {
    /// All waits together end after `bound`.
    pub fn new(bound: Duration) -> Self {
        Self::with_stop(bound, Arc::default())
    }

    /// The same, and no wait goes on once `stop` is true.
    pub fn with_stop(bound: Duration, stop: Arc<AtomicBool>) -> Self {
        let began = Instant::now();
        Self {
            began,
            end: began + bound,
            stop,
        }
    }

    /// Since it was made.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether there was a request to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tries until `attempt` succeeds. Its error says what was seen instead; the last one
    /// is part of the failure.
    pub fn wait_until<T>(
        &self,
        within: Duration,
        what: &str,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let end = (began + within).min(self.end);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let seen = match attempt() {
                Ok(value) => return Ok(value),
                Err(seen) => seen,
            };
            if self.stopped() {
                return Err(format!("{what}: interrupted"));
            }
            if Instant::now() >= end {
                return Err(format!(
                    "{what}: not within {:.0?}; last seen: {seen}",
                    began.elapsed()
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Lets time pass while `holds` stays true.
    pub fn holds_for(
        &self,
        span: Duration,
        what: &str,
        mut holds: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let end = (Instant::now() + span).min(self.end);
        while Instant::now() < end {
            holds().doing(what)?;
            if self.stopped() {
                return Err(format!("{what}: interrupted"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

/// Waits until `holds`, at most a minute. Panics after that.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let bound = Duration::from_secs(60);
    let held = Patience::new(bound).wait_until(bound, what, || match holds() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    });
    held.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Says that a test, or a part of it, cannot run on this machine. Also shown when the test
/// passes; `scripts/test.sh` puts it into its table.
pub fn not_run(why: impl Display) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("NOT RUN: {why}\n").as_bytes());
}
