//! The status of each session: its latest clean-up run, since when its clean-ups are being
//! refused, and how its latest clean-up went. For the metrics.
//!
//! A row a session, written in the transaction that ends a run: a scrape reads as many rows
//! as there are sessions, however long the journal is. Rows follow the order in which runs
//! ended, so a clock that was put back leaves no wrong "latest".
//!
//! An undo changes no row. A clean-up that was undone still took place, as the counters say
//! too, which cannot go back; the next episode begins after it.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection as Sqlite, OptionalExtension, Row, params};

use crate::folder::Timestamp;

use super::super::requester::Requester;
use super::counters::raise;
use super::run_record::{Action, Status};
use super::{KEPT_FOR, Store, StoreError};

/// The tables of this module. The index is for the runs of one episode.
pub(super) const SCHEMA: &str = "
CREATE TABLE session_status (
    session TEXT PRIMARY KEY,
    ended_ns INTEGER NOT NULL,
    action TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    refused_since_ns INTEGER,
    refused_ns INTEGER,
    refused_reason TEXT,
    cleaned_ns INTEGER,
    cleaned_files INTEGER,
    cleaned_lead_ns INTEGER
) WITHOUT ROWID;
CREATE INDEX runs_by_request ON runs (session, created_ns);
";

/// Two refusals further apart are not one refusal that goes on: alerts are repeated every
/// few minutes, so in between the alert had resolved.
const REFUSED_WITHIN: Duration = Duration::from_secs(3_600);
/// Runs further apart belong to two episodes.
const EPISODE_GAP: Duration = Duration::from_secs(24 * 3_600);
/// A run that was refused for one of these had nothing to clean, so it was denied nothing:
/// the folder was below its tier, gone, or cleaned or undone since.
const DENIED_NOTHING: [&str; 3] = ["stale_alert", "unknown_session", "cooldown"];

/// The status of a session. Only clean-ups count, of the cleanup and the emergency tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// The session.
    pub session: String,
    /// When its latest run ended.
    pub ended: Timestamp,
    /// What that run was to do: [`Action::Cleanup`] or [`Action::Emergency`].
    pub action: Action,
    /// How it ended: [`Status::Done`], [`Status::Refused`] or [`Status::Failed`].
    pub status: Status,
    /// Why it was refused or failed, in one word; none for one that is done.
    pub reason: Option<String>,
    /// The refusals up to now of what alerts ask for, if the latest of these runs was refused.
    pub refused: Option<Refused>,
    /// The latest successful run that moved files, requested by an alert or by an operator.
    pub cleaned: Option<LastCleanup>,
}

/// Refusals one after the other, never more than an hour apart, of runs that alerts asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the first of them ended.
    pub since: Timestamp,
    /// When the latest ended.
    pub last: Timestamp,
    /// Why the latest was refused, in one word.
    pub reason: String,
}

impl Refused {
    /// Whether it still goes on: the latest one ended within the last hour.
    pub fn goes_on(&self, now: Timestamp) -> bool {
        near(self.last, now)
    }
}

/// A clean-up that moved files and ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCleanup {
    /// When it ended.
    pub ended: Timestamp,
    /// Accumulated files after it; none where a restart ended the run: they were not counted then.
    pub files: Option<u64>,
    /// From the first alert of the episode to its end; none where a person cleaned and no
    /// alert had asked for anything.
    pub lead: Option<Duration>,
}

/// A clean-up run that has ended.
#[derive(Debug)]
struct EndedRun {
    session: String,
    action: Action,
    status: Status,
    reason: Option<String>,
    by_alert: bool,
    created: Timestamp,
    ended: Timestamp,
    moved: bool,
    files: Option<u64>,
}

const ENDED: &str = "SELECT session, action, status, reason, requested_by, created_ns, finished_ns,
    files, accumulated_after FROM runs WHERE action IN ('cleanup','emergency')
    AND status IN ('done','refused','failed') AND finished_ns IS NOT NULL";

const STATUS: &str = "SELECT session, ended_ns, action, status, reason, refused_since_ns,
    refused_ns, refused_reason, cleaned_ns, cleaned_files, cleaned_lead_ns FROM session_status";

/// What may belong to the episode of one clean-up, the newest first.
const EPISODE: &str = "SELECT created_ns, starts_at, requested_by, status, reason FROM runs
         WHERE session = ?1 AND action IN ('plan','cleanup','emergency')
         AND created_ns > ?2 AND created_ns <= ?3 ORDER BY created_ns DESC";

/// Whether less than [`REFUSED_WITHIN`] lies between, whichever is first: a time far ahead
/// was written under a wrong clock.
fn near(one: Timestamp, other: Timestamp) -> bool {
    one.until(other).max(other.until(one)) <= REFUSED_WITHIN
}

fn is_alert(requested_by: &str) -> bool {
    Requester::parse(requested_by).is_alert()
}

/// Whether a run that was refused for this had nothing to clean.
pub(in crate::remediator) fn denied_nothing(reason: Option<&str>) -> bool {
    reason.is_some_and(|reason| DENIED_NOTHING.contains(&reason))
}

impl EndedRun {
    /// Whether it counts as a clean-up.
    fn cleaned(&self) -> bool {
        self.status == Status::Done && self.moved
    }

    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let (action, status): (String, String) = (row.get(1)?, row.get(2)?);
        let status = Status::from_label(&status).ok_or(rusqlite::Error::InvalidQuery)?;
        // Of a run that was refused they are what would have been moved.
        let files: Option<String> = if status == Status::Done {
            row.get(7)?
        } else {
            None
        };
        let kinds: BTreeMap<String, u64> = files
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        Ok(Self {
            session: row.get(0)?,
            action: Action::from_label(&action).ok_or(rusqlite::Error::InvalidQuery)?,
            status,
            reason: row.get(3)?,
            by_alert: is_alert(&row.get::<_, String>(4)?),
            created: Timestamp::from_nanos(row.get(5)?),
            ended: Timestamp::from_nanos(row.get(6)?),
            moved: kinds.values().any(|count| *count > 0),
            files: row
                .get::<_, Option<i64>>(8)?
                .and_then(|count| u64::try_from(count).ok()),
        })
    }
}

impl SessionStatus {
    /// The status after this run; the lead of a clean-up is not known yet.
    fn after(before: Option<&Self>, run: &EndedRun) -> Self {
        let former = before.and_then(|before| before.refused.as_ref());
        let is_denied = run.status == Status::Refused && !denied_nothing(run.reason.as_deref());
        let refused = match (run.by_alert, is_denied, run.status) {
            (true, true, _) => Some(Refused {
                since: former
                    .filter(|former| near(former.last, run.ended))
                    .map_or(run.ended, |former| former.since.min(run.ended)),
                last: run.ended,
                reason: run.reason.clone().unwrap_or_default(),
            }),
            // What a person was refused says nothing of the alerts, but a clean folder does.
            (true, ..) | (false, _, Status::Done) => None,
            (false, ..) => former.cloned(),
        };
        let cleaned = match run.cleaned() {
            true => Some(LastCleanup {
                ended: run.ended,
                files: run.files,
                lead: None,
            }),
            false => before.and_then(|before| before.cleaned),
        };
        Self {
            session: run.session.clone(),
            ended: run.ended,
            action: run.action,
            status: run.status,
            reason: run.reason.clone().filter(|_| run.status != Status::Done),
            refused,
            cleaned,
        }
    }

    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let (action, status): (String, String) = (row.get(2)?, row.get(3)?);
        let time = |nanos: i64| Timestamp::from_nanos(nanos);
        let refused: (Option<i64>, Option<i64>, Option<String>) =
            (row.get(5)?, row.get(6)?, row.get(7)?);
        let (files, lead): (Option<i64>, Option<i64>) = (row.get(9)?, row.get(10)?);
        Ok(Self {
            session: row.get(0)?,
            ended: time(row.get(1)?),
            action: Action::from_label(&action).ok_or(rusqlite::Error::InvalidQuery)?,
            status: Status::from_label(&status).ok_or(rusqlite::Error::InvalidQuery)?,
            reason: row.get(4)?,
            refused: match refused {
                (Some(since), Some(last), reason) => Some(Refused {
                    since: time(since),
                    last: time(last),
                    reason: reason.unwrap_or_default(),
                }),
                _ => None,
            },
            cleaned: row.get::<_, Option<i64>>(8)?.map(|ended| LastCleanup {
                ended: time(ended),
                files: files.and_then(|count| u64::try_from(count).ok()),
                lead: lead
                    .and_then(|nanos| u64::try_from(nanos).ok())
                    .map(Duration::from_nanos),
            }),
        })
    }

    fn write(&self, db: &Sqlite) -> Result<(), rusqlite::Error> {
        let (refused, cleaned) = (self.refused.as_ref(), self.cleaned.as_ref());
        let lead = cleaned.and_then(|cleaned| cleaned.lead);
        let files = cleaned.and_then(|cleaned| cleaned.files);
        let mut write = db.prepare_cached(
            "INSERT OR REPLACE INTO session_status (session, ended_ns, action, status, reason, refused_since_ns,
             refused_ns, refused_reason, cleaned_ns, cleaned_files, cleaned_lead_ns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        write.execute(params![
            self.session,
            self.ended.nanos(),
            self.action.label(),
            self.status.label(),
            self.reason,
            refused.map(|refused| refused.since.nanos()),
            refused.map(|refused| refused.last.nanos()),
            refused.map(|refused| &refused.reason),
            cleaned.map(|cleaned| cleaned.ended.nanos()),
            files.and_then(|files| i64::try_from(files).ok()),
            lead.and_then(|lead| i64::try_from(lead.as_nanos()).ok()),
        ])?;
        Ok(())
    }
}

/// Notes that a run has ended, in the transaction that ends it. Does nothing for a run that
/// is no clean-up.
pub(super) fn ended(db: &Sqlite, id: i64) -> Result<(), rusqlite::Error> {
    let mut query = db.prepare_cached(&format!("{ENDED} AND id = ?1"))?;
    let Some(run) = query.query_row([id], EndedRun::read).optional()? else {
        return Ok(());
    };
    let mut query = db.prepare_cached(&format!("{STATUS} WHERE session = ?1"))?;
    let before = query
        .query_row([&run.session], SessionStatus::read)
        .optional()?;
    let mut status = SessionStatus::after(before.as_ref(), &run);
    if run.cleaned() {
        if let Some(cleaned) = &mut status.cleaned {
            cleaned.lead = lead(db, &run, before.and_then(|before| before.cleaned))?;
        }
        raise(db, "cleanups", run.action.label(), 1)?;
    }
    status.write(db)
}

/// From the first alert of the episode that this clean-up ended; the clean-up before, if
/// any, was the end of an earlier one.
fn lead(
    db: &Sqlite,
    run: &EndedRun,
    former: Option<LastCleanup>,
) -> Result<Option<Duration>, rusqlite::Error> {
    // One that is dated after this one was written under a wrong clock.
    let former = former
        .map(|former| former.ended)
        .filter(|former| *former <= run.ended);
    let mut query = db.prepare_cached(EPISODE)?;
    let after = former.map_or(i64::MIN, Timestamp::nanos);
    let mut rows = query.query(params![run.session, after, run.created.nanos()])?;
    let (mut next, mut first) = (run.created, None::<Timestamp>);
    while let Some(row) = rows.next()? {
        let (created, starts_at): (i64, Option<String>) = (row.get(0)?, row.get(1)?);
        let (requested_by, status, reason): (String, String, Option<String>) =
            (row.get(2)?, row.get(3)?, row.get(4)?);
        let was_refused = status == Status::Refused.label();
        if !is_alert(&requested_by) || (was_refused && denied_nothing(reason.as_deref())) {
            continue;
        }
        let created = Timestamp::from_nanos(created);
        if created.until(next) > EPISODE_GAP {
            break;
        }
        next = created;
        let began = starts_at
            .as_deref()
            .and_then(point_in_time)
            .unwrap_or(created)
            .min(created);
        // An alert that went on firing after the clean-up before: the episode began with that.
        let began = former.map_or(began, |former| began.max(former));
        first = Some(first.map_or(began, |first| first.min(began)));
    }
    Ok(first.map(|first| first.until(run.ended)))
}

/// An alert's start, RFC 3339 with any offset; none where it is no time after 1970.
fn point_in_time(text: &str) -> Option<Timestamp> {
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    i64::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos > 0)
        .map(Timestamp::from_nanos)
}

/// Forgets sessions whose latest run was forgotten.
pub(super) fn prune(db: &Sqlite, now: Timestamp) -> Result<(), rusqlite::Error> {
    db.execute(
        "DELETE FROM session_status WHERE ended_ns < ?1",
        [now.minus(KEPT_FOR).nanos()],
    )?;
    Ok(())
}

/// The status of every session.
#[derive(Clone, Copy, Debug)]
pub struct SessionStatuses<'a>(pub(super) &'a Store);

impl SessionStatuses<'_> {
    /// The sessions of which a clean-up has ended in the last 400 days, by name; also those
    /// whose folder is gone.
    ///
    /// Errors: the database cannot be read.
    pub fn all(&self) -> Result<Vec<SessionStatus>, StoreError> {
        let mut query = self
            .0
            .db
            .prepare_cached(&format!("{STATUS} ORDER BY session"))?;
        let rows = query.query_map([], SessionStatus::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests;
