//! Where each session stands: its latest clean-up run, since when its clean-ups are being
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
use super::{Action, Journal, JournalError, KEPT_FOR, Status, raise};

/// Tables of this module; of schema 5. The index is for the runs of one episode.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS standings (
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
CREATE INDEX IF NOT EXISTS runs_by_request ON runs (session, created_ns);
";

/// Two refusals further apart are not one refusal that goes on: alerts are repeated every
/// few minutes, so in between the alert had resolved.
const REFUSED_WITHIN: Duration = Duration::from_secs(3_600);
/// Runs further apart belong to two episodes.
const EPISODE_GAP: Duration = Duration::from_secs(24 * 3_600);
/// A run that was refused for one of these had nothing to clean, so it was denied nothing:
/// the folder was below its tier, gone, or cleaned or undone since.
const DENIED_NOTHING: [&str; 3] = ["stale_alert", "unknown_session", "cooldown"];

/// Where a session stands. Only clean-ups count, of the cleanup and the emergency tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
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
    /// The latest run that moved files and ended well, whoever asked for it.
    pub cleaned: Option<Cleaned>,
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
pub struct Cleaned {
    /// When it ended.
    pub ended: Timestamp,
    /// Accumulated files after it; none where a restart ended it, for nobody counted then.
    pub files: Option<u64>,
    /// From the first alert of the episode to its end; none where a person cleaned and no
    /// alert had asked for anything.
    pub lead: Option<Duration>,
}

/// A clean-up run that has ended.
#[derive(Debug)]
struct Ended {
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

const STANDING: &str = "SELECT session, ended_ns, action, status, reason, refused_since_ns,
    refused_ns, refused_reason, cleaned_ns, cleaned_files, cleaned_lead_ns FROM standings";

/// Whether less than [`REFUSED_WITHIN`] lies between, whichever is first: a time far ahead
/// was written under a wrong clock.
fn near(one: Timestamp, other: Timestamp) -> bool {
    one.until(other).max(other.until(one)) <= REFUSED_WITHIN
}

fn is_alert(requested_by: &str) -> bool {
    Requester::parse(requested_by).is_alert()
}

fn denied_nothing(reason: Option<&str>) -> bool {
    reason.is_some_and(|reason| DENIED_NOTHING.contains(&reason))
}

impl Ended {
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

impl Standing {
    /// Where the session stands after this run; the lead of a clean-up is not known yet.
    fn after(before: Option<&Self>, run: &Ended) -> Self {
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
            true => Some(Cleaned {
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
            cleaned: row.get::<_, Option<i64>>(8)?.map(|ended| Cleaned {
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
            "INSERT OR REPLACE INTO standings (session, ended_ns, action, status, reason, refused_since_ns,
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
    let Some(run) = query.query_row([id], Ended::read).optional()? else {
        return Ok(());
    };
    let mut query = db.prepare_cached(&format!("{STANDING} WHERE session = ?1"))?;
    let before = query.query_row([&run.session], Standing::read).optional()?;
    let mut standing = Standing::after(before.as_ref(), &run);
    if run.cleaned() {
        if let Some(cleaned) = &mut standing.cleaned {
            cleaned.lead = lead(db, &run, before.and_then(|before| before.cleaned))?;
        }
        raise(db, "cleanups", run.action.label(), 1)?;
    }
    standing.write(db)
}

/// From the first alert of the episode that this clean-up ended; the clean-up before, if
/// any, was the end of an earlier one.
fn lead(
    db: &Sqlite,
    run: &Ended,
    former: Option<Cleaned>,
) -> Result<Option<Duration>, rusqlite::Error> {
    // One that is dated after this one was written under a wrong clock.
    let former = former
        .map(|former| former.ended)
        .filter(|former| *former <= run.ended);
    let mut query = db.prepare_cached(
        "SELECT created_ns, starts_at, requested_by, status, reason FROM runs
         WHERE session = ?1 AND action IN ('plan','cleanup','emergency')
         AND created_ns > ?2 AND created_ns <= ?3 ORDER BY created_ns DESC",
    )?;
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

/// Makes the rows, and the counter of clean-ups, from the runs that an older journal holds.
pub(super) fn take_over(db: &Sqlite) -> Result<(), rusqlite::Error> {
    let mut standings = BTreeMap::<String, Standing>::new();
    let mut leads = BTreeMap::<String, (Ended, Option<Cleaned>)>::new();
    let mut cleanups = BTreeMap::<Action, u64>::new();
    let mut query = db.prepare(&format!("{ENDED} ORDER BY finished_ns, id"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let run = Ended::read(row)?;
        let before = standings.remove(&run.session);
        let standing = Standing::after(before.as_ref(), &run);
        standings.insert(run.session.clone(), standing);
        if run.cleaned() {
            *cleanups.entry(run.action).or_default() += 1;
            leads.insert(
                run.session.clone(),
                (run, before.and_then(|before| before.cleaned)),
            );
        }
    }
    for standing in standings.values_mut() {
        if let (Some(cleaned), Some((run, former))) =
            (&mut standing.cleaned, leads.get(&standing.session))
        {
            cleaned.lead = lead(db, run, *former)?;
        }
        standing.write(db)?;
    }
    for (action, count) in cleanups {
        raise(db, "cleanups", action.label(), count)?;
    }
    Ok(())
}

/// Forgets sessions whose latest run was forgotten.
pub(super) fn prune(db: &Sqlite, now: Timestamp) -> Result<(), rusqlite::Error> {
    db.execute(
        "DELETE FROM standings WHERE ended_ns < ?1",
        [now.minus(KEPT_FOR).nanos()],
    )?;
    Ok(())
}

impl Journal {
    /// Where every session stands of which a clean-up has ended in the last 400 days, by
    /// name; also of those whose folder is gone.
    ///
    /// Errors: the database cannot be read.
    pub fn standings(&self) -> Result<Vec<Standing>, JournalError> {
        let mut query = self
            .db
            .prepare_cached(&format!("{STANDING} ORDER BY session"))?;
        let rows = query.query_map([], Standing::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Accepted, Ending, Request, Via};
    use super::*;
    use crate::folder::Kind;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + minutes * 60)
    }

    fn open() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        (dir, journal)
    }

    fn request(action: Action, starts_at: &str) -> Request {
        Request {
            session: "a".into(),
            action,
            tier: action.label().into(),
            fingerprint: "f".into(),
            starts_at: starts_at.into(),
            via: Via::default(),
        }
    }

    const DONE: Result<(), (Status, &str)> = Ok(());
    const CONNECTED: Result<(), (Status, &str)> = Err((Status::Refused, "connected"));
    const STALE: Result<(), (Status, &str)> = Err((Status::Refused, "stale_alert"));
    const FAILED: Result<(), (Status, &str)> = Err((Status::Failed, "io"));

    fn finish(journal: &mut Journal, id: i64, told: Result<(), (Status, &'static str)>, when: i64) {
        let ending = match told {
            Ok(()) => Ending {
                files: BTreeMap::from([(Kind::Session, 9)]),
                accumulated: Some((160, 70)),
                ..Ending::default()
            },
            Err((_, reason)) => Ending {
                reason: Some(reason),
                ..Ending::default()
            },
        };
        let status = told.map_or_else(|(status, _)| status, |()| Status::Done);
        journal.finish(id, status, &ending, at(when)).unwrap();
    }

    /// A run of the session `a` that an alert asked for and that ended a minute later.
    fn alert(
        journal: &mut Journal,
        action: Action,
        starts_at: &str,
        when: i64,
        told: Result<(), (Status, &'static str)>,
    ) {
        let accepted = journal
            .accept(&[request(action, starts_at)], at(when))
            .unwrap();
        assert!(
            matches!(accepted[0], Accepted::Queued(_)),
            "{accepted:?} at {when}"
        );
        let run = journal.take(at(when), &[]).unwrap().unwrap();
        finish(journal, run.id, told, when + 1);
    }

    /// One that a person asked for.
    fn person(
        journal: &mut Journal,
        action: Action,
        when: i64,
        told: Result<(), (Status, &'static str)>,
    ) {
        let id = journal.begin("a", action, "somebody", at(when)).unwrap();
        finish(journal, id, told, when + 1);
    }

    fn standing(journal: &Journal) -> Standing {
        let all = journal.standings().unwrap();
        assert_eq!(all.len(), 1, "one row a session");
        all[0].clone()
    }

    fn since(journal: &Journal) -> Option<Timestamp> {
        standing(journal).refused.map(|refused| refused.since)
    }

    fn minutes(cleaned: Option<Cleaned>) -> Option<u64> {
        cleaned.unwrap().lead.map(|lead| lead.as_secs() / 60)
    }

    #[test]
    fn the_latest_run_is_a_clean_up_and_tells_why() {
        let (_dir, mut journal) = open();
        alert(&mut journal, Action::Plan, "", 0, DONE);
        assert_eq!(journal.standings().unwrap(), [], "a dry run is none");
        alert(&mut journal, Action::Cleanup, "", 5, CONNECTED);
        let now = standing(&journal);
        assert_eq!(
            (now.ended, now.action, now.status),
            (at(6), Action::Cleanup, Status::Refused)
        );
        assert_eq!(
            (now.reason.as_deref(), now.cleaned),
            (Some("connected"), None)
        );
        alert(&mut journal, Action::Emergency, "", 10, FAILED);
        let now = standing(&journal);
        assert_eq!(
            (now.action, now.status, now.reason.as_deref()),
            (Action::Emergency, Status::Failed, Some("io"))
        );
        person(&mut journal, Action::Cleanup, 20, DONE);
        let now = standing(&journal);
        assert_eq!(
            (now.ended, now.action, now.status, now.reason),
            (at(21), Action::Cleanup, Status::Done, None)
        );
        // A run that waited meanwhile ends when it is its turn.
        let accepted = journal
            .accept(&[request(Action::Cleanup, "")], at(20))
            .unwrap();
        assert!(matches!(accepted[0], Accepted::Cooldown));
    }

    #[test]
    fn refusals_go_on_until_something_else_or_an_hour_without_any() {
        let (_dir, mut journal) = open();
        for when in [0, 6, 12] {
            alert(&mut journal, Action::Cleanup, "", when, CONNECTED);
            assert_eq!(since(&journal), Some(at(1)));
        }
        // Another tier and another reason are the same trouble; the latest reason counts.
        alert(
            &mut journal,
            Action::Emergency,
            "",
            18,
            Err((Status::Refused, "paused")),
        );
        let refused = standing(&journal).refused.unwrap();
        assert_eq!(
            (refused.since, refused.last, refused.reason.as_str()),
            (at(1), at(19), "paused")
        );
        assert!(
            refused.goes_on(at(79)) && !refused.goes_on(at(80)),
            "an hour"
        );
        assert!(!refused.goes_on(at(19 - 61)), "a wrong clock");
        // What a person is told says nothing of the alerts.
        for told in [STALE, CONNECTED, FAILED] {
            person(&mut journal, Action::Cleanup, 30, told);
            assert_eq!(standing(&journal).refused, Some(refused.clone()));
        }
        assert_eq!(standing(&journal).status, Status::Failed);
        alert(&mut journal, Action::Cleanup, "", 79, CONNECTED);
        assert_eq!(
            since(&journal),
            Some(at(80)),
            "more than an hour: another one"
        );
        alert(&mut journal, Action::Cleanup, "", 139, CONNECTED);
        assert_eq!(since(&journal), Some(at(80)), "an hour and no more");

        let mut when = 200;
        for breaks in [STALE, FAILED, Err((Status::Refused, "unknown_session"))] {
            alert(&mut journal, Action::Cleanup, "", when, CONNECTED);
            assert_eq!(since(&journal), Some(at(when + 1)));
            alert(&mut journal, Action::Cleanup, "", when + 7, breaks);
            assert_eq!(since(&journal), None, "{breaks:?}");
            when += 14;
        }
        alert(&mut journal, Action::Cleanup, "", when, CONNECTED);
        person(&mut journal, Action::Cleanup, when + 7, DONE);
        assert_eq!(since(&journal), None, "a person has cleaned");
        let later = when + 7 + 6 * 60 + 10;
        alert(&mut journal, Action::Cleanup, "", later, CONNECTED);
        alert(&mut journal, Action::Cleanup, "", later + 7, DONE);
        assert_eq!(since(&journal), None, "cleaned");
    }

    #[test]
    fn a_run_that_waited_while_its_session_was_cleaned_was_denied_nothing() {
        let (_dir, mut journal) = open();
        alert(&mut journal, Action::Cleanup, "", 0, CONNECTED);
        journal
            .accept(&[request(Action::Cleanup, "")], at(10))
            .unwrap();
        person(&mut journal, Action::Cleanup, 11, DONE);
        assert!(journal.take(at(13), &[]).unwrap().is_none());
        let now = standing(&journal);
        assert_eq!(
            (now.ended, now.reason.as_deref(), now.refused),
            (at(13), Some("cooldown"), None)
        );
        assert_eq!(now.cleaned.unwrap().ended, at(12));
    }

    #[test]
    fn a_clock_that_was_put_back_ends_the_refusals() {
        let (_dir, mut journal) = open();
        alert(&mut journal, Action::Cleanup, "", 60 * 24 * 365, CONNECTED);
        alert(&mut journal, Action::Cleanup, "", 0, CONNECTED);
        let now = standing(&journal);
        assert_eq!(
            (now.ended, now.refused.unwrap().since),
            (at(1), at(1)),
            "the latest to end"
        );
        alert(&mut journal, Action::Cleanup, "", 30, CONNECTED);
        alert(&mut journal, Action::Cleanup, "", 20, CONNECTED);
        assert_eq!(since(&journal), Some(at(1)), "a little is nothing");
    }

    #[test]
    fn a_clean_up_is_measured_from_the_first_alert() {
        let (_dir, mut journal) = open();
        // The warning tier came first, and began before its alert was delivered.
        alert(&mut journal, Action::Plan, &at(-90).rfc3339(), 0, DONE);
        alert(
            &mut journal,
            Action::Cleanup,
            &at(600).rfc3339(),
            610,
            CONNECTED,
        );
        alert(&mut journal, Action::Cleanup, &at(600).rfc3339(), 620, DONE);
        let cleaned = standing(&journal).cleaned.unwrap();
        assert_eq!((cleaned.ended, cleaned.files), (at(621), Some(70)));
        assert_eq!(minutes(Some(cleaned)), Some(90 + 621));
        assert_eq!(journal.totals().unwrap().cleanups["cleanup"], 1);

        // What was on record before a clean-up belongs to it; an alert that goes on is of the
        // next episode from the clean-up on.
        alert(
            &mut journal,
            Action::Emergency,
            &at(600).rfc3339(),
            1_200,
            DONE,
        );
        assert_eq!(minutes(standing(&journal).cleaned), Some(1_201 - 621));
        let cleanups = journal.totals().unwrap().cleanups;
        assert_eq!((cleanups["cleanup"], cleanups["emergency"]), (1, 1));
    }

    #[test]
    fn an_episode_has_no_gap_of_a_day_and_no_alert_of_which_nothing_was_left() {
        let (_dir, mut journal) = open();
        let day = 24 * 60;
        alert(&mut journal, Action::Plan, "", 0, DONE);
        alert(&mut journal, Action::Cleanup, "", day + 1, CONNECTED);
        alert(&mut journal, Action::Plan, "", 2 * day, DONE);
        alert(&mut journal, Action::Cleanup, "", 3 * day, DONE);
        assert_eq!(
            minutes(standing(&journal).cleaned),
            Some(2 * day as u64),
            "from {day} + 1 on"
        );

        alert(&mut journal, Action::Cleanup, "", 6 * day, STALE);
        alert(&mut journal, Action::Cleanup, "", 6 * day + 30, DONE);
        assert_eq!(minutes(standing(&journal).cleaned), Some(1));
    }

    #[test]
    fn a_persons_clean_up_has_a_lead_where_alerts_had_asked() {
        let (_dir, mut journal) = open();
        person(&mut journal, Action::Cleanup, 0, DONE);
        let now = standing(&journal).cleaned.unwrap();
        assert_eq!((now.ended, now.lead), (at(1), None));
        alert(&mut journal, Action::Cleanup, "", 1_000, CONNECTED);
        person(&mut journal, Action::Cleanup, 1_050, DONE);
        assert_eq!(minutes(standing(&journal).cleaned), Some(51));
        person(&mut journal, Action::Cleanup, 1_060, DONE);
        assert_eq!(
            standing(&journal).cleaned.unwrap().lead,
            None,
            "those alerts have had theirs"
        );
        assert_eq!(journal.totals().unwrap().cleanups["cleanup"], 3);
    }

    #[test]
    fn an_undo_is_no_clean_up_and_takes_none_back() {
        let (_dir, mut journal) = open();
        alert(&mut journal, Action::Cleanup, "", 0, DONE);
        let before = standing(&journal);
        person(&mut journal, Action::Undo, 30, DONE);
        assert_eq!(standing(&journal), before);
        assert_eq!(journal.totals().unwrap().cleanups["cleanup"], 1);
        alert(&mut journal, Action::Cleanup, "", 1_000, DONE);
        assert_eq!(
            minutes(standing(&journal).cleaned),
            Some(1),
            "the next episode began after it"
        );
    }

    #[test]
    fn a_run_that_moved_nothing_is_no_clean_up() {
        let (_dir, mut journal) = open();
        for (status, files) in [(Status::Done, 0), (Status::Failed, 7), (Status::Refused, 7)] {
            let id = journal
                .begin("a", Action::Cleanup, "somebody", at(0))
                .unwrap();
            let ending = Ending {
                files: BTreeMap::from([(Kind::Session, files)]),
                ..Ending::default()
            };
            journal.finish(id, status, &ending, at(1)).unwrap();
            assert_eq!(
                (standing(&journal).cleaned, standing(&journal).status),
                (None, status)
            );
        }
        // A restart ended it: nobody counted what was left.
        let id = journal
            .begin("a", Action::Cleanup, "somebody", at(2))
            .unwrap();
        let ending = Ending {
            files: BTreeMap::from([(Kind::Session, 7)]),
            ..Ending::default()
        };
        journal.finish(id, Status::Done, &ending, at(3)).unwrap();
        assert_eq!(
            standing(&journal).cleaned,
            Some(Cleaned {
                ended: at(3),
                files: None,
                lead: None
            })
        );
        assert_eq!(journal.totals().unwrap().cleanups["cleanup"], 1);
    }

    #[test]
    fn an_alerts_start_may_have_any_offset_and_must_make_sense() {
        let utc = |text: &str| point_in_time(text).map(Timestamp::rfc3339);
        let expected = Some("2026-11-23T18:00:00Z".to_owned());
        assert_eq!(utc("2026-11-23T18:00:00.123Z"), expected);
        assert_eq!(utc("2026-11-23T20:00:00.123456789+02:00"), expected);
        for nonsense in [
            "",
            "s",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-12-30T00:00:00Z",
        ] {
            assert_eq!(utc(nonsense), None, "{nonsense}");
        }
        // One that is in the future began when it came.
        let (_dir, mut journal) = open();
        alert(&mut journal, Action::Cleanup, &at(500).rfc3339(), 0, DONE);
        assert_eq!(minutes(standing(&journal).cleaned), Some(1));
    }

    /// The journal as schema 4 would have left it.
    fn back_to_schema_4(journal: &Journal) {
        journal
            .db
            .execute_batch(
                "DROP TABLE standings; DROP INDEX runs_by_request;
                 DELETE FROM counters WHERE name = 'cleanups'; PRAGMA user_version = 4;",
            )
            .unwrap();
    }

    #[test]
    fn an_older_journal_is_taken_over_as_if_it_had_been_written_now() {
        let (dir, mut journal) = open();
        let mut seed = 7u64;
        let mut any = |choices: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % choices
        };
        let (mut now, mut compared) = (0, 0);
        for step in 0..200 {
            now += [7, 59, 70, 400, 2_000][any(5)];
            let action = [Action::Plan, Action::Cleanup, Action::Emergency][any(3)];
            let told = [DONE, CONNECTED, CONNECTED, STALE, FAILED][any(5)];
            let starts_at = [String::new(), at(now - 100).rfc3339()][any(2)].clone();
            match any(8) {
                0 => person(&mut journal, Action::Cleanup, now, told),
                1 => person(&mut journal, Action::Undo, now, told),
                _ => {
                    let request = request(action, &starts_at);
                    journal.accept(&[request], at(now)).unwrap();
                    if let Some(run) = journal.take(at(now), &[]).unwrap() {
                        finish(&mut journal, run.id, told, now + 1);
                    }
                }
            }
            if step % 20 == 0 {
                let (standings, totals) = (journal.standings().unwrap(), journal.totals().unwrap());
                back_to_schema_4(&journal);
                drop(journal);
                journal = Journal::open(dir.path()).unwrap();
                assert_eq!(journal.standings().unwrap(), standings, "{step}");
                assert_eq!(journal.totals().unwrap(), totals, "{step}");
                compared += totals.cleanups.values().sum::<u64>();
            }
        }
        assert!(compared > 50, "{compared}");
        // A restart alone changes nothing.
        let standings = journal.standings().unwrap();
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.standings().unwrap(), standings);
        let kept_until = standings[0].ended.plus(KEPT_FOR);
        journal.prune(kept_until).unwrap();
        assert_eq!(journal.standings().unwrap(), standings);
        journal
            .prune(kept_until.plus(Duration::from_secs(1)))
            .unwrap();
        assert_eq!(journal.standings().unwrap(), [], "forgotten with the runs");
        assert!(journal.totals().unwrap().cleanups["cleanup"] > 0);
    }

    /// 400 days of 500 sessions, 200,000 runs, and 50,000 of one more: what a scrape reads does
    /// not grow with them.
    #[test]
    fn a_scrape_of_a_long_journal_is_cheap() {
        let (dir, journal) = open();
        let fill = |runs: i64, session: &str| {
            journal
                .db
                .execute(
                    &format!(
                        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
                         INSERT INTO runs (created_ns, finished_ns, session, action, tier, requested_by, status,
                            reason, accumulated_after, files)
                         SELECT ?2 + i * 172800000000, ?2 + i * 172800000000 + 1000000000, {session},
                            iif(i % 3 = 0, 'plan', 'cleanup'), 'cleanup', 'alert f',
                            iif(i % 7 = 0, 'done', 'refused'), iif(i % 7 = 0, NULL, 'connected'), 70,
                            '{{\"session\":9}}' FROM n"
                    ),
                    params![runs, at(0).nanos()],
                )
                .unwrap();
        };
        fill(200_000, "'s' || (i % 500)");
        // One that was refused for all of it.
        fill(50_000, "'z'");
        journal
            .db
            .execute(
                "UPDATE runs SET status = 'refused', reason = 'connected' WHERE session = 'z'",
                [],
            )
            .unwrap();
        back_to_schema_4(&journal);
        drop(journal);
        let began = Instant::now();
        let mut journal = Journal::open(dir.path()).unwrap();
        let taken_over = began.elapsed();
        assert_eq!(journal.standings().unwrap().len(), 501);
        let quickest = |work: &dyn Fn()| -> Duration {
            let took = |_| {
                let began = Instant::now();
                work();
                began.elapsed()
            };
            (0..7).map(took).min().unwrap()
        };
        let standings = quickest(&|| drop(journal.standings().unwrap()));
        let totals = quickest(&|| drop(journal.totals().unwrap()));
        let plain = journal
            .begin("z", Action::Cleanup, "somebody", at(0))
            .unwrap();
        let began = Instant::now();
        finish(&mut journal, plain, CONNECTED, 5_000_000);
        let refused = began.elapsed();
        let last = journal
            .begin("z", Action::Cleanup, "somebody", at(144_010))
            .unwrap();
        let began = Instant::now();
        finish(&mut journal, last, DONE, 5_000_001);
        let cleaned = began.elapsed();
        assert!(
            standing_of(&journal, "z").cleaned.unwrap().lead
                > Some(Duration::from_secs(100 * 86_400))
        );
        assert!(
            standings < totals,
            "standings {standings:?}, totals {totals:?}; taken over {taken_over:?}, a refusal {refused:?}, a clean-up {cleaned:?}"
        );
    }

    fn standing_of(journal: &Journal, session: &str) -> Standing {
        journal
            .standings()
            .unwrap()
            .into_iter()
            .find(|standing| standing.session == session)
            .unwrap()
    }
}
