//! The queue: which requests become runs, and which run is next.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection as Sqlite, OptionalExtension, params};

use crate::folder::Timestamp;

use super::audit::{self, Step};
use super::clock::{Moment, Steady};
use super::db::MAX_QUEUED;
use super::new_run::NewRun;
use super::pause::HALTED;
pub use super::request::{Request, Via};
use super::run_record::{Action, Ending, Run, SELECT, Status, read_run};
use super::{Store, StoreError, atomic, session_status, unstarted};

/// After a successful run the same session is left alone for this long.
pub const COOLDOWN: Duration = Duration::from_secs(6 * 3_600);
/// An alert starts no run while a refused run is younger than this, or a failed one ended less
/// than this ago.
///
/// Alertmanager repeats an alert every 5 to 6 minutes (`repeat_interval` 5 m, looked at every
/// `group_interval` of 1 m). This is shorter than the shortest pause, by more than deliveries
/// vary, so the next repeat is always accepted. A refused run counts from when it was queued,
/// as the repeats do: from its end, one that took long would miss the next repeat. A failed
/// run may have stopped the bot, and counts from its end.
pub const RETRY_AFTER: Duration = Duration::from_secs(240);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A run was recorded and waits.
    Queued(i64),
    /// A run of the kind waits or is under way.
    InProgress,
    /// A run succeeded less than [`COOLDOWN`] ago.
    Cooldown,
    /// A run was refused or failed, and [`RETRY_AFTER`] is not over.
    RetryLater,
}

impl Accepted {
    /// Value of the label `outcome`.
    pub const fn label(self) -> &'static str {
        match self {
            Accepted::Queued(_) => "queued",
            Accepted::InProgress => "in_progress",
            Accepted::Cooldown => "cooldown",
            Accepted::RetryLater => "retry_later",
        }
    }
}

/// The runs that wait.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a>(pub(super) &'a Store);

impl Queue<'_> {
    /// Queues the runs that alerts ask for. An alert starts none
    /// while a run of this action on this session waits or is under way; for
    /// [`COOLDOWN`] after a run of this session succeeded, regardless of the alert's start
    /// (after a gap in the scrapes the same problem has a new start); and until
    /// [`RETRY_AFTER`] is over for one that was refused or failed.
    ///
    /// One delivery is one transaction: either all of it is recorded, or nothing.
    pub fn accept(
        &self,
        requests: &[Request],
        now: impl Into<Moment>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| {
            let steady = Steady::mark(tx, now)?;
            let accepted = requests
                .iter()
                .map(|request| {
                    let accepted = Self::accept_one(tx, request, now, steady)?;
                    match accepted {
                        Accepted::Queued(id) => audit::accepted(tx, id, request, now.wall)?,
                        other => unstarted::add(tx, request, other.label(), now.wall)?,
                    }
                    Ok(accepted)
                })
                .collect::<Result<_, StoreError>>()?;
            Ok(accepted)
        })
    }

    fn accept_one(
        tx: &Sqlite,
        request: &Request,
        now: Moment,
        steady: Steady,
    ) -> Result<Accepted, StoreError> {
        let exists =
            |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<bool, rusqlite::Error> {
                tx.query_row(&format!("SELECT EXISTS ({sql})"), values, |row| row.get(0))
            };
        let (session, action) = (&request.session, request.action);
        let in_progress = exists(
            "SELECT 1 FROM runs WHERE session = ?1 AND action = ?2 AND status IN ('queued','running')",
            &[session, &action.label()],
        )?;
        if in_progress {
            return Ok(Accepted::InProgress);
        }
        if is_cooling(tx, session, action, steady)? {
            return Ok(Accepted::Cooldown);
        }
        let too_soon = exists(
            "SELECT 1 FROM runs WHERE session = ?1 AND action = ?2 AND status = 'refused'
             AND created_steady_ns > ?3 AND NOT was_armed
             UNION ALL SELECT 1 FROM runs WHERE session = ?1 AND action = ?2 AND status = 'failed'
             AND finished_steady_ns > ?3",
            &[session, &action.label(), &steady.minus(RETRY_AFTER).nanos()],
        )?;
        if too_soon {
            return Ok(Accepted::RetryLater);
        }
        let waiting: i64 = tx.query_row(
            "SELECT count(*) FROM runs WHERE status = 'queued'",
            [],
            |row| row.get(0),
        )?;
        if waiting >= MAX_QUEUED as i64 {
            return Err(StoreError::Full);
        }
        let id = NewRun::queued(request, false).insert(tx, now, steady)?;
        Ok(Accepted::Queued(id))
    }

    /// Takes the next waiting run whose session has none under way. One whose session was
    /// cleaned or undone since it was accepted is refused instead.
    ///
    /// Clean-ups of the sessions `but` are left waiting: their service is being stopped, or
    /// started again.
    pub fn claim_next(
        &self,
        now: impl Into<Moment>,
        but: &[String],
    ) -> Result<Option<Run>, StoreError> {
        let but = serde_json::to_string(but).unwrap_or_default();
        self.claim_where(
            now.into(),
            "(action = 'plan' OR session NOT IN (SELECT value FROM json_each(?1)))",
            &[&but as &dyn rusqlite::ToSql],
        )
    }

    /// Takes the next waiting clean-up of one session that has no run under way; its bot is
    /// stopped now. While automatic actions are off it takes none, and the clean-up waits.
    pub fn claim(&self, session: &str, now: impl Into<Moment>) -> Result<Option<Run>, StoreError> {
        self.claim_where(
            now.into(),
            &format!("session = ?1 AND action IN ('cleanup', 'emergency') AND NOT {HALTED}"),
            &[&session as &dyn rusqlite::ToSql],
        )
    }

    fn claim_where(
        &self,
        now: Moment,
        which: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Option<Run>, StoreError> {
        atomic(&self.0.db, |tx| {
            let steady = Steady::at(tx, now)?;
            let next = format!(
                "{SELECT} WHERE status = 'queued' AND {which} AND session NOT IN (SELECT session FROM runs WHERE status = 'running') ORDER BY id LIMIT 1"
            );
            let taken = loop {
                let Some(run) = tx.query_row(&next, values, read_run).optional()? else {
                    break None;
                };
                if !is_cooling(tx, &run.session, run.action, steady)? {
                    tx.execute(
                        "UPDATE runs SET status = 'running', owner = ?2 WHERE id = ?1",
                        params![run.id, self.0.process.name()],
                    )?;
                    audit::write_steps(tx, run.id, &[Step::new(now.wall, "begun", None)])?;
                    break Some(run);
                }
                let ending = Ending {
                    reason: Some("cooldown"),
                    detail: Some(
                        "this session was cleaned or undone since the alert was accepted".into(),
                    ),
                    ..Ending::default()
                };
                tx.execute(
                "UPDATE runs SET status = 'refused', finished_ns = ?2, finished_steady_ns = ?3, reason = ?4, detail = ?5 WHERE id = ?1",
                params![run.id, now.wall.nanos(), steady.nanos(), ending.reason, ending.detail],
            )?;
                audit::ended(tx, run.id, Status::Refused.label(), &ending, now.wall)?;
                session_status::ended(tx, run.id)?;
            };
            Ok(taken)
        })
    }

    /// Queues a run again that was taken but has not begun to move anything; `why` is
    /// recorded.
    pub fn requeue(&self, id: i64, why: &str, now: Timestamp) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            let requeued = tx.execute(
            "UPDATE runs SET status = 'queued', run = NULL WHERE id = ?1 AND status = 'running'",
            [id],
        )?;
            if requeued > 0 {
                audit::write_steps(
                    tx,
                    id,
                    &[Step::new(now, "waits_again", Some(why.to_owned()))],
                )?;
            }
            Ok(())
        })
    }

    /// Seconds that the run has waited that has waited longest, by action.
    /// Those of `session`; of all where that is `None`.
    pub fn ages(
        &self,
        session: Option<&str>,
        now: impl Into<Moment>,
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let steady = Steady::at(&self.0.db, now.into())?;
        let mut query = self.0.db.prepare(
            "SELECT action, min(created_steady_ns) FROM runs
             WHERE status = 'queued' AND (?1 IS NULL OR session = ?1) GROUP BY action",
        )?;
        let rows = query.query_map([session], |row| {
            let since = Steady::from_nanos(row.get(1)?);
            Ok((row.get(0)?, steady.since(since).as_secs()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Runs that wait, and runs under way: those of `session`; all where that is `None`.
    pub fn lengths(&self, session: Option<&str>) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut query = self.0.db.prepare(
            "SELECT status, count(*) FROM runs
             WHERE status IN ('queued', 'running') AND (?1 IS NULL OR session = ?1)
             GROUP BY status",
        )?;
        let rows = query.query_map([session], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Whether a run of this session succeeded less than [`COOLDOWN`] ago.
fn is_cooling(
    db: &Sqlite,
    session: &str,
    action: Action,
    now: Steady,
) -> Result<bool, rusqlite::Error> {
    db.query_row(
        &format!(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE session = ?1 AND action IN {} AND status = 'done' AND finished_steady_ns > ?2)",
            action.cooled_by()
        ),
        params![session, now.minus(COOLDOWN).nanos()],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests;
