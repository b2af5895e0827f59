//! A new row of the table of runs.

use rusqlite::{Connection as Sqlite, params};

use super::super::requester::Requester;
use super::clock::{Moment, Steady};
use super::request::Request;
use super::run_record::{Action, Status};

/// A run that is not on record yet.
#[derive(Debug)]
pub(super) struct NewRun<'a> {
    session: &'a str,
    action: Action,
    by: Requester,
    alert: Option<&'a Request>,
    status: Status,
    was_armed: bool,
    owner: Option<&'a str>,
}

impl<'a> NewRun<'a> {
    /// A run that an alert asked for; it waits in the queue.
    pub(super) fn queued(request: &'a Request, was_armed: bool) -> Self {
        Self {
            session: &request.session,
            action: request.action,
            by: Requester::Alert(request.fingerprint.clone()),
            alert: Some(request),
            status: Status::Queued,
            was_armed,
            owner: None,
        }
    }

    /// A run that begins at once. `owner`: the lock file of the process that performs it.
    pub(super) fn running(
        session: &'a str,
        action: Action,
        by: &Requester,
        owner: &'a str,
    ) -> Self {
        Self {
            session,
            action,
            by: by.clone(),
            alert: None,
            status: Status::Running,
            was_armed: false,
            owner: Some(owner),
        }
    }

    /// Records it; its number.
    pub(super) fn insert(
        &self,
        tx: &Sqlite,
        now: Moment,
        steady: Steady,
    ) -> Result<i64, rusqlite::Error> {
        tx.execute(
            "INSERT INTO runs (created_ns, created_steady_ns, session, action, tier, requested_by,
             fingerprint, starts_at, status, owner, was_armed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                now.wall.nanos(),
                steady.nanos(),
                self.session,
                self.action.label(),
                self.alert.map(|request| &request.tier),
                self.by.to_string(),
                self.alert.map(|request| &request.fingerprint),
                self.alert.map(|request| &request.starts_at),
                self.status.label(),
                self.owner,
                self.was_armed,
            ],
        )?;
        Ok(tx.last_insert_rowid())
    }
}
