//! The restart store: the state of each restart that is not over, as JSON, and the stops of
//! the last 30 days.

use std::time::Duration;

use rusqlite::{Connection as Sqlite, params};
use serde::Serialize;

use crate::folder::Timestamp;
use crate::policy::{StopRefusal, Stopped};
use crate::remediator::restart::state::{HandedTo, Phase, Restart, RestartEnd, Trigger};

use super::clock::{Moment, Steady};
use super::counters::raise;
use super::pause::PauseState;
use super::{Store, StoreError, atomic};

/// Stops are remembered for this long; no cooldown and no budget looks further back. All of it
/// is by the steady clock of [`super::clock`].
const STOPS_KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The tables of this module.
pub(super) const SCHEMA: &str = "
CREATE TABLE restarts (
    service TEXT PRIMARY KEY,
    state TEXT NOT NULL
);
CREATE TABLE stops (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    decided_ns INTEGER NOT NULL,
    counted INTEGER NOT NULL DEFAULT 0,
    in_window INTEGER NOT NULL,
    steady_ns INTEGER NOT NULL
);
";

/// A session whose bot has not come back after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotBack {
    /// The service's name.
    pub service: String,
    /// The session that is not connected.
    pub session: String,
    /// One of [`NotBack::REASONS`].
    pub reason: &'static str,
    /// Its own run in the journal; of a session that was stopped along and had none, the
    /// run for which the service was stopped.
    pub run_id: i64,
    /// Its own run's name in the quarantine, for `undo`; none where nothing was moved.
    pub run: Option<String>,
    /// Since when.
    pub since: String,
    /// What has happened and what to do, where the configuration keeps it from being started.
    pub forbidden: Option<&'static str>,
}

impl NotBack {
    /// `not_connected`: its service runs. `down`: it does not, or that is unknown.
    pub const REASONS: [&'static str; 2] = ["not_connected", "down"];
}

/// The restart store.
#[derive(Clone, Copy, Debug)]
pub struct Restarts<'a>(pub(super) &'a Store);

impl Restarts<'_> {
    /// Records the intent to stop a service, and the stop in the list of stops.
    /// Nothing may be stopped before this has succeeded. `lets` checks the pause and the
    /// stops of all services within the same transaction: the checks before are slow, and in the
    /// meantime an operator may have paused, another worker stopped the last service that the
    /// breaker allows, or a run begun on another session of the process. If it refuses,
    /// nothing is recorded. The sessions in `here` that have not come back since an earlier
    /// restart are added to those of this one, which keeps the earlier record.
    pub fn intend_stop(
        &self,
        state: &mut Restart,
        here: &[String],
        now: impl Into<Moment>,
        lets: impl FnOnce(&Store, &PauseState, &[Stopped], Option<Duration>) -> Result<(), StopRefusal>,
    ) -> Result<Result<(), StopRefusal>, StoreError> {
        let now = now.into();
        atomic(&self.0.db, |tx| {
            let earlier = self.of(&state.service)?;
            if earlier.as_ref().is_some_and(|one| one.phase.is_pending()) {
                return Ok(Err(StopRefusal::Busy));
            }
            let pause = self.0.pause();
            if let Err(refusal) = lets(
                self.0,
                &pause.state()?,
                &self.stops(now)?,
                pause.resumed(now)?,
            ) {
                return Ok(Err(refusal));
            }
            for late in earlier.iter().flat_map(|one| &one.waiting) {
                let is_new = state.waiting.iter().all(|one| one.session != late.session);
                if is_new && here.contains(&late.session) {
                    state.waiting.push(late.clone());
                }
            }
            state.before = earlier.map(Box::new);
            write(tx, state)?;
            let in_window = state.trigger == Trigger::Window;
            let steady = Steady::mark(tx, now)?;
            tx.execute(
                "INSERT INTO stops (service, run_id, decided_ns, in_window, steady_ns) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![state.service, state.run_id, state.decided_ns, in_window, steady.nanos()],
            )?;
            Ok(Ok(()))
        })
    }

    /// Saves the state of a restart. Once its stop is known to have been called, it is counted.
    pub fn save(&self, state: &Restart) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            if RestartEnd::from_phase(state.phase) == RestartEnd::Stopped {
                count_stop(tx, state)?;
            }
            Ok(write(tx, state)?)
        })
    }

    /// This restart is over. The record of another restart of the service stays. Where nothing
    /// was called, its stop is deleted, and the restart before is on record again.
    pub fn forget(&self, state: &Restart, end: RestartEnd) -> Result<(), StoreError> {
        atomic(&self.0.db, |tx| {
            match end {
                RestartEnd::Stopped => count_stop(tx, state)?,
                RestartEnd::NothingCalled => {
                    let delete =
                        "DELETE FROM stops WHERE service = ?1 AND run_id = ?2 AND decided_ns = ?3";
                    tx.execute(
                        delete,
                        params![state.service, state.run_id, state.decided_ns],
                    )?;
                }
            }
            let there = self.of(&state.service)?;
            let before = match there {
                Some(there) if !there.is_same(state) => return Ok(()),
                Some(there) if end == RestartEnd::NothingCalled => there.before,
                _ => None,
            };
            match before {
                Some(before) => write(tx, &before)?,
                None => {
                    let delete = "DELETE FROM restarts WHERE service = ?1";
                    tx.execute(delete, [&state.service])?;
                }
            }
            Ok(())
        })
    }

    /// All restarts that are not over, the oldest first. A record that cannot be read is
    /// logged and left out.
    pub fn all(&self) -> Result<Vec<Restart>, StoreError> {
        let mut query = self.0.db.prepare("SELECT service, state FROM restarts")?;
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut all = Vec::new();
        for row in rows {
            let (service, state) = row?;
            match serde_json::from_str::<Restart>(&state) {
                Ok(state) => all.push(state),
                Err(error) => tracing::error!(service, "failed to load a pending restart: {error}"),
            }
        }
        all.sort_by_key(|state| state.decided_ns);
        Ok(all)
    }

    /// The restart of a service.
    pub fn of(&self, service: &str) -> Result<Option<Restart>, StoreError> {
        Ok(self.all()?.into_iter().find(|one| one.service == service))
    }

    /// Restarts of services that are on the way down or up, the oldest first.
    pub fn pending(&self) -> Result<Vec<Restart>, StoreError> {
        let mut all = self.all()?;
        all.retain(|state| state.phase.is_pending());
        Ok(all)
    }

    /// Whether the journal knows the run of this restart: then it was not lost since.
    pub fn knows_run_of(&self, state: &Restart) -> Result<bool, StoreError> {
        let mut query = self.0.db.prepare(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1 AND session = ?2 AND created_ns <= ?3)",
        )?;
        let known = params![state.run_id, state.session, state.decided_ns];
        Ok(query.query_row(known, |row| row.get(0))?)
    }

    /// Whether a service was stopped for this run.
    pub fn was_stopped_for(&self, run_id: i64) -> Result<bool, StoreError> {
        let mut query = self
            .0
            .db
            .prepare("SELECT EXISTS (SELECT 1 FROM stops WHERE run_id = ?1)")?;
        Ok(query.query_row([run_id], |row| row.get(0))?)
    }

    /// The stops of all services, as far back as any limit looks.
    pub fn stops(&self, now: impl Into<Moment>) -> Result<Vec<Stopped>, StoreError> {
        let steady = Steady::at(&self.0.db, now.into())?;
        let mut query = self
            .0
            .db
            .prepare("SELECT service, steady_ns, in_window FROM stops WHERE steady_ns > ?1")?;
        let rows = query.query_map([steady.minus(STOPS_KEPT_FOR).nanos()], |row| {
            Ok(Stopped {
                service: row.get(0)?,
                ago: steady.since(Steady::from_nanos(row.get(1)?)),
                in_window: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Sessions that have not come back.
    pub fn not_back(&self) -> Result<Vec<NotBack>, StoreError> {
        let mut query = self
            .0
            .db
            .prepare("SELECT run FROM runs WHERE id = ?1 AND session = ?2")?;
        let mut late = Vec::new();
        for state in self.all()? {
            let Some(since) = state.late_ns else { continue };
            for one in state.waiting.iter().filter(|one| one.seen < 2) {
                // Another session's run is none to undo for this one.
                let mut rows = query.query(params![one.run_id, one.session])?;
                let run = match rows.next()? {
                    Some(row) => row.get(0)?,
                    None => None,
                };
                let [not_connected, down] = NotBack::REASONS;
                late.push(NotBack {
                    service: state.service.clone(),
                    session: one.session.clone(),
                    reason: match state.phase {
                        Phase::RunningNotConnected | Phase::WaitingForConnection
                            if !state.ended =>
                        {
                            not_connected
                        }
                        _ => down,
                    },
                    run_id: one.run_id,
                    run,
                    since: Timestamp::from_nanos(since).rfc3339(),
                    forbidden: match state.phase {
                        Phase::HandedOver(HandedTo::Config(how)) => Some(how.text()),
                        _ => None,
                    },
                });
            }
        }
        late.sort_by(|a, b| (&a.service, &a.session).cmp(&(&b.service, &b.session)));
        Ok(late)
    }
}

impl Restart {
    /// Whether both are states of one restart.
    fn is_same(&self, other: &Self) -> bool {
        (self.run_id, self.decided_ns) == (other.run_id, other.decided_ns)
    }

    /// Whether its sessions count as not back in this phase.
    pub(in crate::remediator) fn is_late(&self) -> bool {
        match self.phase {
            Phase::RunningNotConnected
            | Phase::Down
            | Phase::HandedOver(HandedTo::Pause | HandedTo::Config(_)) => true,
            Phase::StartUnknown => self.told_unknown,
            Phase::StartIntended => self.contradicted,
            _ => false,
        }
    }
}

fn write(db: &Sqlite, state: &Restart) -> Result<(), rusqlite::Error> {
    let text = serde_json::to_string(state)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    db.execute(
        "INSERT OR REPLACE INTO restarts (service, state) VALUES (?1, ?2)",
        params![state.service, text],
    )?;
    Ok(())
}

/// Counts the stop of this restart, once. The counter never goes backwards, so a stop that may
/// still be deleted is not in it.
fn count_stop(db: &Sqlite, state: &Restart) -> Result<(), rusqlite::Error> {
    let counted = db.execute(
        "UPDATE stops SET counted = 1 WHERE service = ?1 AND run_id = ?2 AND decided_ns = ?3 AND counted = 0",
        params![state.service, state.run_id, state.decided_ns],
    )?;
    match counted {
        0 => Ok(()),
        _ => raise(db, "stops", "", 1),
    }
}

/// Deletes stops that are too old for any limit.
pub(super) fn prune(db: &Sqlite, now: Moment) -> Result<(), rusqlite::Error> {
    let steady = Steady::at(db, now)?;
    db.execute(
        "DELETE FROM stops WHERE steady_ns < ?1",
        [steady.minus(STOPS_KEPT_FOR).nanos()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
