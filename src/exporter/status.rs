//! The morning check: one row a session, for the terminal, as JSON and for the page.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cli::examples::{counted, grouped};
use crate::cli::{exit_codes, table};
use crate::connection::{Connection, Evidence, State, Verdict};
use crate::folder::discovery::few_of_each;
use crate::folder::scan::newest_key_write_in;
use crate::folder::{BoundedBlocking, Creds, FolderPath, NewestWrite, SessionName, Timestamp};
use crate::logs::overview::HALF_MONITORED;
use crate::logs::{Pattern, Severity};
use crate::policy::{CleanupMode, Tier};

use super::advice::advice;
use super::snapshot::{SessionView, Snapshot};

/// The word for creds that are not in the folder, in the column `creds`.
const CREDS_ELSEWHERE: &str = "elsewhere";

/// The word for a copy of another session's folder, in the column `tier`.
pub const COPY: &str = "copy";

/// Probes that run at the same time.
const PROBES_AT_ONCE: usize = 32;

/// The table explains so many; `--output=json` has all.
const MOST_EXPLAINED: usize = 20;

/// One session's row.
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow {
    /// Its name.
    pub session: String,
    /// All files; `None` where the folder could not be looked at.
    pub files: Option<usize>,
    /// What the tiers count.
    pub accumulated_files: Option<usize>,
    /// `normal`, `monitor`, `warning`, `cleanup`, `emergency` or `fatal`; `copy` for a copy of
    /// another session's folder.
    pub tier: Option<&'static str>,
    /// Files that a clean-up could move now, whatever the connection.
    pub removable_files: Option<usize>,
    /// Pre-keys.
    pub pre_keys: Option<usize>,
    /// The pre-key batch used for counting.
    pub pre_key_batch: Option<u32>,
    /// Whether the folder does not tell the batch for sure.
    pub pre_key_batch_ambiguous: Option<bool>,
    /// Seconds since the session that has been silent longest among those active within
    /// 14 days was last active.
    pub oldest_active_session_seconds: Option<u64>,
    /// `connected`, `disconnected` or `unknown`.
    pub connection: &'static str,
    /// What that rests on.
    pub connection_evidence: Vec<String>,
    /// `ok`, `not logged in`, `missing`, `empty`, `cut off`, `not valid`, `unreadable` or
    /// `elsewhere`.
    pub creds: Option<&'static str>,
    /// What else a person should know of the folder or its logs, and what they can do.
    pub notes: Vec<String>,
    /// Why the folder could not be looked at.
    pub error: Option<String>,
    /// Where warning, cleanup, emergency and fatal begin.
    pub thresholds: [usize; 4],
    #[serde(skip)]
    rank: Rank,
}

/// How much a row needs a person; sorts worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Tier(Option<Tier>),
    BrokenCreds,
    Unseen,
}

/// What the whole table says; also the exit code of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overall {
    /// Nothing at warning or worse.
    Normal = exit_codes::DONE as isize,
    /// A session at warning or worse, or one without a valid creds.json.
    Warning = exit_codes::REFUSED as isize,
    /// Something could not be looked at, or there was nothing to look at.
    CouldNotLook = exit_codes::FAILED as isize,
}

/// Asks for every session's connection and lays the rows out, worst first.
pub async fn rows(
    snapshot: &Snapshot,
    connection: &Connection,
    half_monitored: &BTreeSet<Arc<str>>,
) -> Vec<SessionRow> {
    let verdicts = verdicts(snapshot, connection).await;
    lay_out(snapshot, &verdicts, half_monitored)
}

/// Lays the rows out, worst first; the verdicts are those of the sessions, in their order.
/// `half_monitored` are the sessions whose logs show no line of the library's logger.
pub fn lay_out(
    snapshot: &Snapshot,
    verdicts: &[Verdict],
    half_monitored: &BTreeSet<Arc<str>>,
) -> Vec<SessionRow> {
    let mut rows: Vec<SessionRow> = snapshot
        .sessions
        .iter()
        .zip(verdicts)
        .map(|(view, verdict)| row(view, verdict, snapshot.at))
        .collect();
    for row in &mut rows {
        if half_monitored.contains(row.session.as_str()) {
            row.notes.push(HALF_MONITORED.to_owned());
        }
    }
    rows.sort_by(|a, b| {
        (b.badness(), b.accumulated_files)
            .cmp(&(a.badness(), a.accumulated_files))
            .then_with(|| a.session.cmp(&b.session))
    });
    rows
}

/// Asks for every session's connection, in the order of the sessions.
pub async fn verdicts(snapshot: &Snapshot, connection: &Connection) -> Vec<Verdict> {
    let unseen = || Verdict::unknown("folder", "it could not be looked at");
    let mut verdicts: Vec<Verdict> = snapshot.sessions.iter().map(|_| unseen()).collect();
    let places = Arc::new(Semaphore::new(PROBES_AT_ONCE));
    let mut tasks = JoinSet::new();
    for (index, view) in snapshot.sessions.iter().enumerate() {
        let measured = match &view.state {
            Ok(measured) => Some(measured),
            Err(error) if error.is_missing() => None,
            Err(_) => continue,
        };
        // Its answers would be those about the session.
        if view.is_copy() {
            verdicts[index] = Verdict::unknown("folder", "it is a copy");
            continue;
        }
        let (connection, places) = (connection.clone(), Arc::clone(&places));
        let (session, folder) = (view.session.clone(), view.place.clone());
        let seen = measured.map(|measured| (measured.newest_write, measured.awaits_login()));
        tasks.spawn(async move {
            let _place = places.acquire().await;
            let look = verdict(&session, folder, seen, &connection);
            let verdict = look.await;
            (index, verdict)
        });
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok((index, verdict)) = joined {
            verdicts[index] = verdict;
        }
    }
    verdicts
}

/// Asks for one session's connection. The newest write that a snapshot shows may be minutes old.
/// Where a source says that the bot is not connected, it matters, and every file is looked at.
/// `seen`: the newest write, and whether no login is there; `None` where the folder is missing.
async fn verdict(
    session: &SessionName,
    folder: FolderPath,
    seen: Option<(Option<NewestWrite>, bool)>,
    connection: &Connection,
) -> Verdict {
    let asked = connection.ask(session).await;
    let Some((newest_write, awaits_login)) = seen else {
        return connection.judge_by(asked, None, true);
    };
    let verdict = connection.judge_by(asked.clone(), newest_write, awaits_login);
    let is_negative = |e: &Evidence| e.finding.is_negative();
    if verdict.state != State::Disconnected && !verdict.evidence.iter().any(is_negative) {
        return verdict;
    }
    let path = folder.path();
    let looks = BoundedBlocking::default();
    let scanned = looks.run_async(&path, move || newest_key_write_in(folder.open()?.as_fd()));
    match scanned.await.and_then(|scanned| scanned) {
        Ok(newest_write) => connection.judge_by(asked, newest_write, awaits_login),
        Err(_) => Verdict::unknown("folder", "it could not be looked at"),
    }
}

fn row(view: &SessionView, verdict: &Verdict, now: Timestamp) -> SessionRow {
    let t = &view.thresholds;
    let mut row = SessionRow {
        session: view.session.to_string(),
        files: None,
        accumulated_files: None,
        tier: None,
        removable_files: None,
        pre_keys: None,
        pre_key_batch: None,
        pre_key_batch_ambiguous: None,
        oldest_active_session_seconds: None,
        connection: verdict.state.label(),
        connection_evidence: verdict.evidence.iter().map(ToString::to_string).collect(),
        creds: None,
        notes: Vec::new(),
        error: None,
        thresholds: [t.warning, t.cleanup, t.emergency, t.fatal],
        rank: Rank::Unseen,
    };
    match &view.state {
        Err(error) => row.error = Some(error.message.clone()),
        Ok(measured) => {
            row.files = Some(measured.files.count);
            row.accumulated_files = Some(measured.accumulated);
            row.tier = Some(measured.tier.map_or("normal", Tier::label));
            row.removable_files = measured
                .removable
                .get(&CleanupMode::Cleanup)
                .map(|kinds| kinds.values().sum());
            row.pre_keys = Some(measured.pre_keys);
            row.pre_key_batch = Some(measured.batches.measured);
            row.pre_key_batch_ambiguous = Some(measured.batches.is_ambiguous());
            row.oldest_active_session_seconds = measured
                .oldest_active_session
                .map(|at| at.until(now).as_secs());
            row.creds = Some(match measured.creds_elsewhere {
                Some(true) => CREDS_ELSEWHERE,
                _ => measured.creds.word(),
            });
            row.notes = match view.is_copy() {
                true => Vec::new(),
                false => advice(measured, t),
            };
            row.rank = match measured.creds {
                Creds::Valid(_) => Rank::Tier(measured.tier),
                _ if row.are_creds_fine() => Rank::Tier(measured.tier),
                _ => Rank::BrokenCreds,
            };
        }
    }
    row.notes
        .extend(view.same_login.iter().map(ToString::to_string));
    if view.is_copy() && row.error.is_none() {
        (row.tier, row.rank) = (Some(COPY), Rank::Tier(None));
        row.removable_files = Some(0);
    }
    row
}

/// What the table says as a whole.
pub fn overall(rows: &[SessionRow], snapshot: &Snapshot) -> Overall {
    if rows.is_empty() || !snapshot.skipped.is_empty() {
        return Overall::CouldNotLook;
    }
    rows.iter()
        .map(|row| match row.rank {
            Rank::Unseen => Overall::CouldNotLook,
            Rank::BrokenCreds => Overall::Warning,
            Rank::Tier(tier) if tier >= Some(Tier::Warning) => Overall::Warning,
            Rank::Tier(_) => Overall::Normal,
        })
        .max()
        .unwrap_or(Overall::CouldNotLook)
}

/// A span in the two largest units, e.g. `13d 21h`.
fn short_span(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let words: Vec<&str> = text.split(' ').take(2).collect();
    words.join(" ").replace("days", "d").replace("day", "d")
}

impl SessionRow {
    /// Whether nothing is wrong with the creds, as far as the folder tells.
    pub fn are_creds_fine(&self) -> bool {
        self.creds
            .is_some_and(|word| matches!(word, "ok" | CREDS_ELSEWHERE))
    }

    /// Whether a person should look at it: a folder that cannot be looked at, a creds.json that
    /// is not fine, the tier warning or above, or a bot that is not connected.
    pub fn needs_attention(&self) -> bool {
        self.rank >= Rank::Tier(Some(Tier::Warning))
            || self.connection == State::Disconnected.label()
    }

    /// A number that is higher the more it needs a person.
    pub fn badness(&self) -> usize {
        let tier = match self.rank {
            Rank::Tier(None) => 0,
            Rank::Tier(Some(tier)) => 1 + tier as usize,
            Rank::BrokenCreds => 20,
            Rank::Unseen => 21,
        };
        // A bot that is down is at least as bad as the tier cleanup.
        match self.connection == State::Disconnected.label() {
            true => tier.max(1 + Tier::Cleanup as usize),
            false => tier,
        }
    }

    /// Name of the runbook for its state, if it needs attention.
    pub fn runbook(&self) -> Option<&'static str> {
        match self.rank {
            Rank::Unseen => Some("baileysauthfolderunreadable"),
            Rank::BrokenCreds => Some("baileyscredsbroken"),
            Rank::Tier(Some(Tier::Fatal)) => Some("baileysauthfilesfatal"),
            Rank::Tier(Some(Tier::Emergency)) => Some("baileysauthfilesemergency"),
            Rank::Tier(Some(Tier::Cleanup)) => Some("baileysauthfilescleanup"),
            Rank::Tier(Some(Tier::Warning)) => Some("baileysauthfileswarning"),
            Rank::Tier(_) => {
                (self.connection == State::Disconnected.label()).then_some("baileysbotdown")
            }
        }
    }

    /// What is wrong with the folder, in a word; else its tier.
    fn state_word(&self) -> &'static str {
        match self.rank {
            Rank::Unseen => "not readable",
            Rank::BrokenCreds => "with a broken creds.json",
            Rank::Tier(_) => self.tier_word(),
        }
    }

    /// The word in the column `tier`.
    pub fn tier_word(&self) -> &'static str {
        self.tier.unwrap_or("?")
    }

    /// The pre-keys with the batch, e.g. `328 / 30`.
    pub fn pre_keys_word(&self) -> String {
        match (self.pre_keys, self.pre_key_batch) {
            (Some(keys), Some(batch)) => {
                let doubt = if self.pre_key_batch_ambiguous == Some(true) {
                    "?"
                } else {
                    ""
                };
                format!("{keys} / {batch}{doubt}")
            }
            _ => "?".into(),
        }
    }

    /// The last activity of the oldest active session.
    pub fn oldest_active_word(&self) -> String {
        match (self.oldest_active_session_seconds, &self.error) {
            (Some(seconds), _) => short_span(seconds),
            (None, None) => "none".into(),
            (None, Some(_)) => "?".into(),
        }
    }
}

/// The table for a terminal. With `worst`, only so many rows.
pub fn table(all: &[SessionRow], worst: Option<usize>) -> String {
    let rows = first(all, worst);
    let number = |n: Option<usize>| n.map_or("?".to_owned(), |n| n.to_string());
    let mut out = table::Table::new(&[
        "SESSION",
        "FILES",
        "ACCUMULATED",
        "TIER",
        "REMOVABLE",
        "PRE-KEYS / BATCH",
        "OLDEST ACTIVE",
        "CONNECTION",
        "CREDS",
    ]);
    for row in rows {
        let style = match row.rank {
            Rank::Unseen | Rank::BrokenCreds => AnsiColor::Red.on_default().bold(),
            Rank::Tier(Some(Tier::Emergency | Tier::Fatal)) => AnsiColor::Red.on_default(),
            Rank::Tier(Some(Tier::Cleanup | Tier::Warning)) => AnsiColor::Yellow.on_default(),
            Rank::Tier(Some(Tier::Monitor)) => AnsiColor::Cyan.on_default(),
            Rank::Tier(None) => AnsiColor::Green.on_default(),
        };
        let connection = match row.connection {
            "connected" => AnsiColor::Green.on_default(),
            "disconnected" => AnsiColor::Yellow.on_default(),
            _ => Style::new().dimmed(),
        };
        debug_assert!(
            [State::Connected, State::Disconnected, State::Unknown]
                .iter()
                .any(|s| s.label() == row.connection)
        );
        out.row(vec![
            table::plain(&row.session),
            table::right(number(row.files)),
            table::right(number(row.accumulated_files)),
            table::styled(row.tier_word(), style),
            table::right(number(row.removable_files)),
            table::right(row.pre_keys_word()),
            table::right(row.oldest_active_word()),
            table::styled(row.connection, connection),
            table::styled(
                row.creds.unwrap_or("?"),
                if row.are_creds_fine() {
                    Style::new()
                } else {
                    AnsiColor::Red.on_default().bold()
                },
            ),
        ]);
    }
    let mut text = out.to_string();
    // The sources of an answer, where one was asked and not all is well.
    let doubtful = |row: &&SessionRow| {
        row.connection != "connected" && row.error.is_none() && row.tier != Some(COPY)
    };
    let asked = |row: &&SessionRow| {
        !row.connection_evidence
            .iter()
            .any(|evidence| evidence.contains("none configured"))
    };
    for row in rows
        .iter()
        .filter(doubtful)
        .filter(asked)
        .take(MOST_EXPLAINED)
    {
        text.push_str(&format!(
            "\n{}: {}: {}",
            row.session,
            row.connection,
            row.connection_evidence.join("; ")
        ));
    }
    let said = rows.iter().flat_map(|row| {
        let texts = row.error.iter().chain(&row.notes);
        texts.map(|text| (row.session.as_str(), text.as_str()))
    });
    for group in grouped(said, |(_, text)| *text) {
        let sessions: Vec<&str> = group.iter().map(|(session, _)| *session).collect();
        text.push_str(&format!("\n{}: {}", counted(&sessions), group[0].1));
    }
    if rows.len() < all.len() {
        text.push_str(&format!("\n{}", not_shown(&all[rows.len()..])));
    }
    text
}

/// The first rows, which are the worst; all of them without a number.
pub fn first(rows: &[SessionRow], worst: Option<usize>) -> &[SessionRow] {
    rows.get(..worst.unwrap_or(rows.len())).unwrap_or(rows)
}

/// What was left out and what may be wanted: a sentence each, of those with one reason only a
/// few.
pub fn left_out(snapshot: &Snapshot) -> Vec<String> {
    few_of_each(&snapshot.skipped)
        .into_iter()
        .chain(snapshot.passed_over.iter().cloned())
        .collect()
}

/// How many further rows there are, by tier.
fn not_shown(rest: &[SessionRow]) -> String {
    let tiers = grouped(rest.iter(), |row| std::cmp::Reverse(row.rank));
    let tiers = tiers
        .iter()
        .map(|rows| format!("{} {}", rows.len(), rows[0].state_word()));
    let tiers: Vec<String> = tiers.collect();
    format!("and {} more sessions: {}", rest.len(), tiers.join(", "))
}

/// What is looked for in the logs, for a terminal.
pub fn patterns_table(patterns: &[Pattern]) -> String {
    let mut out = table::Table::new(&["PATTERN", "SEVERITY", "MEANING"]);
    for pattern in patterns {
        let style = match pattern.severity {
            Severity::Critical => AnsiColor::Red.on_default(),
            Severity::Warning => AnsiColor::Yellow.on_default(),
            Severity::Info => Style::new(),
        };
        out.row(vec![
            table::plain(pattern.name.as_ref()),
            table::styled(pattern.severity.label(), style),
            table::plain(pattern.help.as_ref()),
        ]);
    }
    out.to_string()
}

#[cfg(test)]
mod tests;
