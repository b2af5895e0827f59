//! The pending restarts in the journal: one row a service, its state as JSON.

use rusqlite::{Transaction, TransactionBehavior, params};
use serde::Serialize;

use crate::folder::Timestamp;
use crate::policy::{StopRefusal, Stopped};
use crate::remediator::journal::{Journal, JournalError};
use crate::remediator::ledger::Switches;

use super::state::{HandedTo, Phase, Restart, Trigger};

/// The table of this module.
pub(in crate::remediator) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS restarts (
    service TEXT PRIMARY KEY,
    state TEXT NOT NULL
);
";

/// A session whose bot has not come back after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotBack {
    /// The service's name.
    pub service: String,
    /// The session that is not connected.
    pub session: String,
    /// `not_connected`: its service runs. `down`: it does not, or that is unknown.
    pub reason: &'static str,
    /// Its own run in the journal; of a session that was stopped along and had none, the
    /// run for which the service was stopped.
    pub run_id: i64,
    /// Its own run's name in the quarantine, for `undo`; none where nothing was moved.
    pub run: Option<String>,
    /// Since when.
    pub since: String,
}

/// Every value of the label `reason` of [`NotBack`].
pub const NOT_BACK_REASONS: [&str; 2] = ["not_connected", "down"];

impl Journal {
    /// Puts the intent to stop a service on record, and the stop in the list of stops.
    /// Nothing may be stopped before this has succeeded. `lets` is asked about the switches
    /// and the stops of all services within the same transaction: looks are slow, and in the
    /// meantime a person may have paused, another worker stopped the last service that the
    /// breaker allows, or a run begun on another session of the process. Where it refuses,
    /// nothing is on record. Who has not come back since an earlier restart still has to.
    ///
    /// Errors: also where a restart is pending.
    pub fn intend_restart(
        &mut self,
        state: &mut Restart,
        now: Timestamp,
        lets: impl FnOnce(&Self, &Switches, &[Stopped], Option<Timestamp>) -> Result<(), StopRefusal>,
    ) -> Result<Result<(), StopRefusal>, JournalError> {
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        let earlier = self.restart(&state.service)?;
        if earlier.as_ref().is_some_and(|one| one.phase.is_pending()) {
            return Ok(Err(StopRefusal::Busy));
        }
        if let Err(refusal) = lets(
            self,
            &self.switches()?,
            &self.stops(now)?,
            self.resumed(now)?,
        ) {
            return Ok(Err(refusal));
        }
        for late in earlier.into_iter().flat_map(|one| one.waiting) {
            if state.waiting.iter().all(|one| one.session != late.session) {
                state.waiting.push(late);
            }
        }
        write(&tx, state)?;
        let in_window = state.trigger == Trigger::Window;
        tx.execute(
            "INSERT INTO stops (service, run_id, in_window, at_ns) VALUES (?1, ?2, ?3, ?4)",
            params![state.service, state.run_id, in_window, now.nanos()],
        )?;
        crate::remediator::journal::raise(&tx, "stops", "", 1)?;
        tx.commit()?;
        Ok(Ok(()))
    }

    /// Puts the state of a restart on record.
    pub fn save_restart(&mut self, state: &Restart) -> Result<(), JournalError> {
        Ok(write(&self.db, state)?)
    }

    /// The restart of a service is over.
    pub fn forget_restart(&mut self, service: &str) -> Result<(), JournalError> {
        self.db
            .execute("DELETE FROM restarts WHERE service = ?1", [service])?;
        Ok(())
    }

    /// The restart of a service.
    pub fn restart(&self, service: &str) -> Result<Option<Restart>, JournalError> {
        let all = self.restarts()?;
        Ok(all.into_iter().find(|one| one.service == service))
    }

    /// All restarts that are not over, the oldest first.
    ///
    /// A record that cannot be read is logged and left out.
    pub fn restarts(&self) -> Result<Vec<Restart>, JournalError> {
        let mut query = self.db.prepare("SELECT service, state FROM restarts")?;
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

    /// Services on the way down or up, the oldest first.
    pub fn pending_restarts(&self) -> Result<Vec<Restart>, JournalError> {
        let mut all = self.restarts()?;
        all.retain(|state| state.phase.is_pending());
        Ok(all)
    }

    /// Whether the journal knows the run of this restart: then it was not lost since.
    pub fn knows_run_of(&self, state: &Restart) -> Result<bool, JournalError> {
        let mut query = self.db.prepare(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1 AND session = ?2 AND created_ns <= ?3)",
        )?;
        let known = params![state.run_id, state.session, state.decided_ns];
        Ok(query.query_row(known, |row| row.get(0))?)
    }

    /// Sessions that have not come back.
    pub fn not_back(&self) -> Result<Vec<NotBack>, JournalError> {
        let mut query = self
            .db
            .prepare("SELECT run FROM runs WHERE id = ?1 AND session = ?2")?;
        let mut late = Vec::new();
        for state in self.restarts()? {
            let Some(since) = state.late_ns else { continue };
            for one in state.waiting.iter().filter(|one| one.seen < 2) {
                // Another session's run is none to undo for this one.
                let mut rows = query.query(params![one.run_id, one.session])?;
                let run = match rows.next()? {
                    Some(row) => row.get(0)?,
                    None => None,
                };
                late.push(NotBack {
                    service: state.service.clone(),
                    session: one.session.clone(),
                    reason: reason(state.phase),
                    run_id: one.run_id,
                    run,
                    since: Timestamp::from_nanos(since).rfc3339(),
                });
            }
        }
        late.sort_by(|a, b| (&a.service, &a.session).cmp(&(&b.service, &b.session)));
        Ok(late)
    }
}

fn write(db: &rusqlite::Connection, state: &Restart) -> Result<(), rusqlite::Error> {
    let text = serde_json::to_string(state)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    db.execute(
        "INSERT OR REPLACE INTO restarts (service, state) VALUES (?1, ?2)",
        params![state.service, text],
    )?;
    Ok(())
}

const fn reason(phase: Phase) -> &'static str {
    match phase {
        Phase::RunningNotConnected | Phase::WaitingForConnection => NOT_BACK_REASONS[0],
        _ => NOT_BACK_REASONS[1],
    }
}

/// Whether the sessions of a restart in this phase count as not back.
pub(super) fn is_late(state: &Restart) -> bool {
    match state.phase {
        Phase::RunningNotConnected
        | Phase::Down
        | Phase::HandedOver(HandedTo::Pause | HandedTo::Removed) => true,
        Phase::StartUnknown => state.told_unknown,
        Phase::StartIntended => state.contradicted,
        _ => false,
    }
}
