//! Armed runs: a clean-up that was refused because its bot is connected waits until the bot
//! is found stopped, or for a maintenance window.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use crate::folder::Timestamp;

use super::clock::{Moment, Steady};
use super::new_run::NewRun;
use super::pause::HALTED;
use super::queue::{RETRY_AFTER, Request, Via};
use super::runs::Action;
use super::{Store, StoreError, atomic};

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE armed (
    session TEXT NOT NULL,
    action TEXT NOT NULL,
    tier TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    starts_at TEXT NOT NULL,
    since_ns INTEGER NOT NULL,
    alert_ns INTEGER NOT NULL,
    alert_steady_ns INTEGER NOT NULL,
    queued_steady_ns INTEGER,
    PRIMARY KEY (session, action)
);
";

/// A run that waits until its bot is found stopped, or for a maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArmedRun {
    /// The session.
    pub session: String,
    /// What it is to do.
    pub action: Action,
    /// The alert's tier.
    pub tier: String,
    /// Since when.
    pub since: String,
    /// When the alert was last repeated.
    pub last_alert: String,
    #[serde(skip)]
    pub(in crate::remediator) last_alert_at: Timestamp,
}

/// The armed runs.
#[derive(Clone, Copy, Debug)]
pub struct ArmedRuns<'a>(pub(super) &'a Store);

impl ArmedRuns<'_> {
    /// Lets a run that was refused because its bot is connected wait for a better moment.
    pub fn arm(&self, run_id: i64, now: impl Into<Moment>) -> Result<(), StoreError> {
        let now = now.into();
        let steady = Steady::at(&self.0.db, now)?;
        self.0.db.execute(
            "INSERT INTO armed (session, action, tier, fingerprint, starts_at, since_ns, alert_ns, alert_steady_ns)
             SELECT session, action, tier, coalesce(fingerprint, ''), coalesce(starts_at, ''), ?2, ?2, ?3
             FROM runs WHERE id = ?1 AND tier IS NOT NULL
             ON CONFLICT (session, action) DO UPDATE
             SET tier = excluded.tier, fingerprint = excluded.fingerprint, starts_at = excluded.starts_at",
            params![run_id, now.wall.nanos(), steady.nanos()],
        )?;
        Ok(())
    }

    /// The alerts were repeated: what they armed goes on waiting.
    pub fn repeated(&self, requests: &[Request], now: impl Into<Moment>) -> Result<(), StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| {
            let steady = Steady::at(tx, now)?;
            for request in requests {
                tx.execute(
                    "UPDATE armed SET alert_ns = ?3, alert_steady_ns = ?4 WHERE session = ?1 AND action = ?2",
                    params![
                        request.session,
                        request.action.label(),
                        now.wall.nanos(),
                        steady.nanos()
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Drops an armed run: it was done, or its alert has resolved. Says whether there was one.
    pub fn disarm(&self, session: &str, action: Action) -> Result<bool, StoreError> {
        let dropped = self.0.db.execute(
            "DELETE FROM armed WHERE session = ?1 AND action = ?2",
            params![session, action.label()],
        )?;
        Ok(dropped > 0)
    }

    /// Drops armed runs whose alert was not repeated for `span`; how many.
    pub fn disarm_forgotten(
        &self,
        span: Duration,
        now: impl Into<Moment>,
    ) -> Result<usize, StoreError> {
        let steady = Steady::at(&self.0.db, now.into())?;
        Ok(self.0.db.execute(
            "DELETE FROM armed WHERE alert_steady_ns < ?1",
            [steady.minus(span).nanos()],
        )?)
    }

    /// The armed runs.
    pub fn all(&self) -> Result<Vec<ArmedRun>, StoreError> {
        let mut query = self.0.db.prepare(
            "SELECT session, action, tier, since_ns, alert_ns FROM armed ORDER BY since_ns, session, action",
        )?;
        let rows = query.query_map([], |row| {
            let (action, since, alert): (String, i64, i64) =
                (row.get(1)?, row.get(3)?, row.get(4)?);
            let last_alert_at = Timestamp::from_nanos(alert);
            Ok(ArmedRun {
                session: row.get(0)?,
                action: Action::from_label(&action).unwrap_or(Action::Cleanup),
                tier: row.get(2)?,
                since: Timestamp::from_nanos(since).rfc3339(),
                last_alert: last_alert_at.rfc3339(),
                last_alert_at,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether this run is armed.
    pub fn contains(&self, session: &str, action: Action) -> Result<bool, StoreError> {
        let mut query = self
            .0
            .db
            .prepare("SELECT EXISTS (SELECT 1 FROM armed WHERE session = ?1 AND action = ?2)")?;
        Ok(query.query_row(params![session, action.label()], |row| row.get(0))?)
    }

    /// Queues an armed run, unless one waits or is under way, it was tried less than
    /// [`RETRY_AFTER`] ago, or all action is halted; its number.
    pub fn enqueue(
        &self,
        session: &str,
        action: Action,
        now: impl Into<Moment>,
    ) -> Result<Option<i64>, StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| {
            let steady = Steady::at(tx, now)?;
            let select = format!(
                "SELECT tier, fingerprint, starts_at FROM armed WHERE session = ?1 AND action = ?2
                 AND (queued_steady_ns IS NULL OR queued_steady_ns < ?3)
                 AND NOT EXISTS (SELECT 1 FROM runs WHERE session = ?1 AND status IN ('queued', 'running')
                                 AND action IN ('cleanup', 'emergency'))
                 AND NOT {HALTED}"
            );
            let due = params![session, action.label(), steady.minus(RETRY_AFTER).nanos()];
            let request = tx.query_row(&select, due, |row| {
                Ok(Request {
                    session: session.to_owned(),
                    action,
                    tier: row.get(0)?,
                    fingerprint: row.get(1)?,
                    starts_at: row.get(2)?,
                    via: Via::default(),
                })
            });
            let Some(request) = request.optional()? else {
                return Ok(None);
            };
            let id = NewRun::queued(&request, true).insert(tx, now, steady)?;
            tx.execute(
                "UPDATE armed SET queued_steady_ns = ?3 WHERE session = ?1 AND action = ?2",
                params![session, action.label(), steady.nanos()],
            )?;
            Ok(Some(id))
        })
    }
}

#[cfg(test)]
mod tests;
