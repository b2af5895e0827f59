//! Is the bot connected? Evidence in, verdict out.
//!
//! | source | what it can say |
//! |---|---|
//! | [`writes`] | quiet, or a veto |
//! | [`Probe`] | connected, disconnected |
//! | the process, by its supervisor | gone; that it runs says nothing |
//! | the sockets of the process | connected |
//! | [`LogView`] | connected, disconnected |
//!
//! [`Connection::ask`] asks them, [`vouched`] drops what a source says that never saw the
//! session alive, [`fold`] makes the verdict. With nobody to ask the verdict is unknown,
//! and unknown counts as connected: failing open is the one thing never to do.

mod log;
mod memory;
mod probe;
mod process;
mod sockets;
mod stopped;
mod template;
mod verdict;

pub use log::{LogEvent, LogView, log_says};
pub use memory::{Memory, REMEMBERED_FOR, Recent, Recollection, Record, Trust, vouched};
pub use probe::{Probe, ProbeError};
pub use template::Template;
pub use verdict::{Alive, Evidence, Finding, State, Verdict, fold, source_id};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;

use crate::control::Services;
use crate::folder::{Inventory, Looks, SessionName, Timestamp};

/// A memory that takes longer remembers nothing: its disk may stall.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(15);

/// How to find out whether a bot is connected.
#[derive(Clone, Debug)]
pub struct Connection {
    /// No file may have been written for this long.
    pub quiet: Duration,
    /// A source that takes longer has said nothing.
    pub timeout: Duration,
    /// Whom to ask; all of them.
    pub probes: Vec<Probe>,
    /// The bots' processes.
    pub processes: Services,
    /// Whether the sockets of a process that runs are looked at.
    pub sockets: bool,
    /// Who reads the bots' logs.
    pub log: Option<Arc<dyn LogView>>,
    /// How old the last line of a log may be.
    pub log_fresh: Duration,
    /// Sessions for which a person vouches: their sources are believed from the start.
    pub trust: GlobSet,
    /// Who was seen alive.
    pub memory: Arc<dyn Memory>,
    /// An answer that holds for many sessions may be this old. Zero for whoever acts on it.
    pub share_for: Duration,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(600),
            timeout: Duration::from_secs(5),
            probes: Vec::new(),
            processes: Services::default(),
            sockets: true,
            log: None,
            log_fresh: Duration::from_secs(900),
            trust: GlobSet::empty(),
            memory: Arc::new(Recent::default()),
            share_for: Duration::ZERO,
        }
    }
}

/// What was answered, and what is remembered of those who answered.
#[derive(Clone, Debug)]
pub struct Asked {
    evidence: Vec<Evidence>,
    log: Option<(String, Result<Option<LogEvent>, String>)>,
    logged_out: bool,
    memory: Recollection,
}

impl Asked {
    /// What is remembered of the session.
    pub fn memory(&self) -> &Recollection {
        &self.memory
    }

    /// Whether somebody says this, believed or not.
    pub fn says(&self, finding: Finding) -> bool {
        self.evidence
            .iter()
            .any(|evidence| evidence.finding == finding)
    }

    /// Whether the log's last word is that the login has ended (401).
    pub fn logged_out(&self) -> bool {
        self.logged_out
    }
}

impl Connection {
    /// Whether there is anybody to ask.
    pub fn has_sources(&self) -> bool {
        !self.probes.is_empty() || self.processes.has_observed() || self.log.is_some()
    }

    /// The ids of a session's sources that an operator can vouch for.
    pub fn ids(&self, session: &SessionName) -> Vec<String> {
        let probes = self.probes.iter().map(probe_id);
        let process = self.processes.observed(session);
        let process = process.iter().map(process::process_id);
        probes
            .chain(process)
            .chain(self.log.iter().map(|log| log_id(log.as_ref())))
            .collect()
    }

    /// Asks everybody and folds the answers, to be shown. Whoever acts on it uses
    /// [`Connection::ask`], scans, and then [`Connection::judge`].
    pub async fn verdict(&self, session: &SessionName, inventory: &Inventory) -> Verdict {
        self.judge(self.ask(session).await, inventory)
    }

    /// Asks every source, and remembers which of them saw the bot alive. Slow: scan the
    /// folder after it, so that [`Connection::judge`] sees what was written meanwhile.
    pub async fn ask(&self, session: &SessionName) -> Asked {
        let mut memory = {
            let (memory, session) = (Arc::clone(&self.memory), session.clone());
            let recalled = blocking(move || memory.recall(&session));
            tokio::time::timeout(MEMORY_TIMEOUT, recalled)
                .await
                .ok()
                .flatten()
                .unwrap_or_default()
        };
        memory.trusted_by_configuration = self.trust.is_match(Path::new(session.as_str()));
        let mut evidence = Vec::new();
        if !self.has_sources() {
            let nobody = "none configured (see --connection.command)";
            evidence.push(Evidence::new("probe", Finding::NoAnswer, nobody));
        }
        for probe in &self.probes {
            let answer = probe.ask(session, self.timeout).await;
            let alive = (answer.finding == Finding::Connected).then(|| Alive::at(Timestamp::now()));
            evidence.push(Evidence {
                id: probe_id(probe),
                alive,
                ..answer
            });
        }
        if let Some(process) = self.processes.observed(session) {
            let look = process::look(&process, self.timeout, self.share_for, &memory).await;
            evidence.push(look.evidence);
            if self.sockets && !look.pids.is_empty() {
                evidence.push(sockets::look(look.pids, self.timeout).await);
            }
        }
        let mut sightings = evidence.clone();
        let (mut log, mut logged_out) = (None, false);
        if let Some(view) = &self.log {
            let (reader, session) = (Arc::clone(view), session.clone());
            // One read at a time for each session: its file system may hang.
            let key = Path::new("log").join(session.as_str());
            let looks = Looks::default().with_timeout(self.timeout);
            let read = looks.run_async(&key, move || {
                (
                    reader.last_event(&session),
                    reader.last_opened(&session),
                    reader.logged_out(&session),
                )
            });
            let read = read.await.ok();
            let (event, opened, ended) =
                read.unwrap_or((Err("the log could not be read in time".into()), None, false));
            logged_out = ended;
            let last = event
                .as_ref()
                .ok()
                .and_then(|event| event.filter(|event| event.opened == Some(true))?.at);
            let opened = last.max(opened);
            let id = log_id(view.as_ref());
            let seen = Evidence::new("log", Finding::Nothing, "");
            sightings.push(Evidence {
                id: id.clone(),
                alive: opened.map(Alive::at),
                ..seen
            });
            log = Some((id, event));
        }
        let missing = memory.missing(&sightings, Timestamp::now());
        if !missing.is_empty() {
            let (store, session, seen) =
                (Arc::clone(&self.memory), session.clone(), missing.clone());
            let _ = tokio::time::timeout(
                MEMORY_TIMEOUT,
                blocking(move || store.remember(&session, &seen)),
            )
            .await;
            memory.alive.extend(missing);
        }
        Asked {
            evidence,
            log,
            logged_out,
            memory,
        }
    }

    /// Folds what the sources said and what the files say.
    pub fn judge(&self, asked: Asked, inventory: &Inventory) -> Verdict {
        let now = Timestamp::now();
        let mut evidence = vouched(asked.evidence, &asked.memory, now);
        if let Some((id, event)) = asked.log {
            let gone = evidence.iter().any(|e| e.finding == Finding::Gone);
            let (finding, detail) = log_says(
                event,
                gone,
                inventory.newest_write(),
                now,
                self.log_fresh,
                self.quiet,
            );
            let said = Evidence {
                id,
                ..Evidence::new("log", finding, detail)
            };
            evidence.extend(vouched(vec![said], &asked.memory, now));
        }
        evidence.push(writes(inventory, now, self.quiet));
        fold(evidence)
    }
}

fn probe_id(probe: &Probe) -> String {
    source_id("probe", &format!("{probe:?}"))
}

fn log_id(log: &dyn LogView) -> String {
    source_id("log", &log.configuration())
}

/// Runs something that blocks; `None` when it broke off.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// What the files' modification times say. Pure.
pub fn writes(inventory: &Inventory, now: Timestamp, quiet: Duration) -> Evidence {
    let evidence = |finding, detail: String| Evidence::new("writes", finding, detail);
    let span = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs()));
    match inventory.newest_write() {
        None => evidence(Finding::NoAnswer, "there is no file to tell from".into()),
        Some(newest) if newest > now => evidence(
            Finding::Writing,
            "a file's modification time lies in the future".into(),
        ),
        Some(newest) if newest.until(now) < quiet => evidence(
            Finding::Writing,
            format!(
                "a file was written {} ago, the quiet window is {}",
                span(newest.until(now)),
                span(quiet)
            ),
        ),
        Some(newest) => evidence(
            Finding::Quiet,
            format!("no file was written for {}", span(newest.until(now))),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{Creds, Entry, FileName, Inside, Shape, Stamp};
    use std::ffi::OsStr;

    /// A log that tells what a test says.
    #[derive(Debug)]
    struct Told(Option<LogEvent>, Option<Timestamp>);

    impl LogView for Told {
        fn last_event(&self, _: &SessionName) -> Result<Option<LogEvent>, String> {
            Ok(self.0)
        }
        fn last_opened(&self, _: &SessionName) -> Option<Timestamp> {
            self.1
        }
    }

    fn quiet_folder() -> Inventory {
        let modified = Timestamp::now().minus(Duration::from_secs(7200));
        let entry = Entry {
            name: FileName::new("creds.json"),
            shape: Shape::Regular,
            stamp: Stamp {
                modified,
                ..Stamp::default()
            },
            inside: Inside::NotRead,
        };
        Inventory::new([entry], Creds::Missing)
    }

    #[tokio::test]
    async fn a_log_counts_once_it_told_of_an_opened_connection() {
        let ago = |seconds| Timestamp::now().minus(Duration::from_secs(seconds));
        let session = SessionName::from_dir(OsStr::new("a"));
        let mut connection = Connection::default();
        let mut says = async |event: Option<(bool, u64)>, opened: Option<u64>| {
            let event = event.map(|(opened, at)| LogEvent {
                opened: Some(opened),
                at: Some(ago(at)),
                last_line: ago(60),
            });
            connection.log = Some(Arc::new(Told(event, opened.map(ago))));
            let verdict = connection.verdict(&session, &quiet_folder()).await;
            (verdict.state, verdict.evidence[0].finding)
        };
        assert_eq!(says(None, None).await, (State::Unknown, Finding::Nothing));
        assert_eq!(
            says(Some((false, 3600)), None).await,
            (State::Unknown, Finding::NoAnswer)
        );
        let older = Some(31 * 86_400);
        assert_eq!(
            says(Some((false, 3600)), older).await,
            (State::Unknown, Finding::NoAnswer)
        );
        let opened = Some(7200);
        assert_eq!(
            says(Some((false, 3600)), opened).await,
            (State::Disconnected, Finding::Disconnected)
        );
        assert_eq!(
            says(Some((true, 3600)), None).await,
            (State::Connected, Finding::Connected)
        );
        // It is remembered, though the log no longer tells.
        assert_eq!(
            says(Some((false, 3600)), None).await,
            (State::Disconnected, Finding::Disconnected)
        );
    }

    #[tokio::test]
    async fn whom_nobody_knows_is_asked_and_not_believed() {
        let session = SessionName::from_dir(OsStr::new("a"));
        let probe = |word: &str| vec![Probe::command_line(&format!("echo {word}"), None).unwrap()];
        let mut connection = Connection {
            probes: probe("disconnected"),
            ..Connection::default()
        };
        let folder = quiet_folder();
        let verdict = connection.verdict(&session, &folder).await;
        assert_eq!(verdict.state, State::Unknown);
        assert!(
            verdict.because().contains("--connection.trust"),
            "{}",
            verdict.because()
        );
        let trusted = Connection {
            trust: globset::GlobSetBuilder::new()
                .add(globset::Glob::new("a*").unwrap())
                .build()
                .unwrap(),
            ..connection.clone()
        };
        assert_eq!(
            trusted.verdict(&session, &folder).await.state,
            State::Disconnected
        );
        let other = SessionName::from_dir(OsStr::new("b"));
        assert_eq!(trusted.verdict(&other, &folder).await.state, State::Unknown);
        // Another command that calls it connected vouches for itself only.
        connection.probes = probe("connected");
        assert_eq!(
            connection.verdict(&session, &folder).await.state,
            State::Connected
        );
        connection.probes = probe("disconnected");
        assert_eq!(
            connection.verdict(&session, &folder).await.state,
            State::Unknown
        );
        assert_eq!(connection.ids(&session).len(), 1);
        assert_eq!(connection.memory.recall(&session).alive.len(), 1);
        connection.probes.clear();
        assert!(
            connection
                .verdict(&session, &folder)
                .await
                .because()
                .contains("none configured")
        );
    }

    #[test]
    fn the_quiet_window() {
        let now = Timestamp::from_secs(1_000_000);
        let with = |modified: Option<Timestamp>| {
            let entry = modified.map(|modified| Entry {
                name: FileName::new("creds.json"),
                shape: Shape::Regular,
                stamp: Stamp {
                    modified,
                    ..Stamp::default()
                },
                inside: Inside::NotRead,
            });
            writes(
                &Inventory::new(entry, Creds::Missing),
                now,
                Duration::from_secs(600),
            )
            .finding
        };
        assert_eq!(with(None), Finding::NoAnswer);
        assert_eq!(
            with(Some(now.plus(Duration::from_nanos(1)))),
            Finding::Writing
        );
        assert_eq!(with(Some(now)), Finding::Writing);
        assert_eq!(
            with(Some(now.minus(Duration::from_secs(599)))),
            Finding::Writing
        );
        assert_eq!(
            with(Some(now.minus(Duration::from_secs(600)))),
            Finding::Quiet
        );
    }
}
