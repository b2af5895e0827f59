//! Is the bot connected? Evidence in, verdict out.
//!
//! Evidence comes from [`writes`] (a quiet window without a write) and from the probes
//! the operator configures. With no probe the verdict is unknown, and unknown counts as
//! connected: failing open is the one thing never to do.

mod probe;
mod verdict;

pub use probe::{Probe, ProbeError, Template};
pub use verdict::{Evidence, Finding, State, Verdict, fold};

use std::time::Duration;

use crate::folder::{Inventory, SessionName, Timestamp};

/// How to find out whether a bot is connected.
#[derive(Clone, Debug)]
pub struct Connection {
    /// No file may have been written for this long.
    pub quiet: Duration,
    /// A probe that takes longer has said nothing.
    pub timeout: Duration,
    /// Whom to ask; all of them.
    pub probes: Vec<Probe>,
}

impl Default for Connection {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(600), timeout: Duration::from_secs(5), probes: Vec::new() }
    }
}

impl Connection {
    /// Asks everybody and folds the answers, to be shown. Whoever acts on it uses
    /// [`Connection::ask`], scans, and then [`Connection::judge`].
    pub async fn verdict(&self, session: &SessionName, inventory: &Inventory) -> Verdict {
        self.judge(self.ask(session).await, inventory)
    }

    /// Asks every probe. Slow: scan the folder after it, so that [`Connection::judge`] sees
    /// what was written meanwhile.
    pub async fn ask(&self, session: &SessionName) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        if self.probes.is_empty() {
            evidence.push(Evidence {
                source: "probe",
                finding: Finding::Silent,
                detail: "none configured (see --connection.command)".into(),
            });
        }
        for probe in &self.probes {
            evidence.push(probe.ask(session, self.timeout).await);
        }
        evidence
    }

    /// Folds what the probes said and what the files say.
    pub fn judge(&self, mut evidence: Vec<Evidence>, inventory: &Inventory) -> Verdict {
        evidence.push(writes(inventory, Timestamp::now(), self.quiet));
        fold(evidence)
    }
}

/// What the files' modification times say. Pure.
pub fn writes(inventory: &Inventory, now: Timestamp, quiet: Duration) -> Evidence {
    let evidence = |finding, detail| Evidence { source: "writes", finding, detail };
    let span = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs()));
    match inventory.newest_write() {
        None => evidence(Finding::Silent, "there is no file to tell from".into()),
        Some(newest) if newest > now => {
            evidence(Finding::Writing, "a file's modification time lies in the future".into())
        }
        Some(newest) if newest.until(now) < quiet => evidence(
            Finding::Writing,
            format!(
                "a file was written {} ago, the quiet window is {}",
                span(newest.until(now)),
                span(quiet)
            ),
        ),
        Some(newest) => {
            evidence(Finding::Quiet, format!("no file was written for {}", span(newest.until(now))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{Creds, Entry, FileName, Inside, Shape, Stamp};

    #[test]
    fn the_quiet_window() {
        let now = Timestamp::from_secs(1_000_000);
        let with = |modified: Option<Timestamp>| {
            let entry = modified.map(|modified| Entry {
                name: FileName::new("creds.json"),
                shape: Shape::Regular,
                stamp: Stamp { modified, ..Stamp::default() },
                inside: Inside::NotRead,
            });
            writes(&Inventory::new(entry, Creds::Missing), now, Duration::from_secs(600)).finding
        };
        assert_eq!(with(None), Finding::Silent);
        assert_eq!(with(Some(now.plus(Duration::from_nanos(1)))), Finding::Writing);
        assert_eq!(with(Some(now)), Finding::Writing);
        assert_eq!(with(Some(now.minus(Duration::from_secs(599)))), Finding::Writing);
        assert_eq!(with(Some(now.minus(Duration::from_secs(600)))), Finding::Quiet);
    }
}
