//! Whether the database is still the file in the state directory, and whole.

use rusqlite::{Connection as Sqlite, ErrorCode, Transaction, TransactionBehavior};

use crate::state_file;

use super::db::{OpenFile, SCHEMA_VERSION, Store, StoreError, id, rollback_journal, wait_for_lock};

impl OpenFile {
    /// Checks within a read transaction, so that no other process changes the length meanwhile.
    fn check(&self, db: &Sqlite) -> Result<(), StoreError> {
        let lost = |what: &str| {
            StoreError::Unusable(format!(
                "the journal {} {what}. Restore or remove it, and restart `serve`: no run begins before that",
                self.path.display()
            ))
        };
        let metadata = match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) => return Err(lost(&format!("is gone: {error}"))),
        };
        if !metadata.is_file() || id(&metadata) != self.id {
            return Err(lost("was replaced"));
        }
        state_file::check(&rollback_journal(&self.path))
            .map_err(|error| lost(&format!("cannot be written: {error}")))?;
        let number = |pragma| -> Result<u64, rusqlite::Error> {
            db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
        };
        let tx = Transaction::new_unchecked(db, TransactionBehavior::Deferred)?;
        let version = number("user_version")?;
        let bytes = number("page_count")? * number("page_size")?;
        let metadata = std::fs::symlink_metadata(&self.path);
        let is_whole = metadata.is_ok_and(|metadata| metadata.len() >= bytes);
        tx.commit()?;
        match version == SCHEMA_VERSION.unsigned_abs() && is_whole {
            true => Ok(()),
            false => Err(lost("was truncated or overwritten")),
        }
    }
}

impl Store {
    /// Whether what is written now stays: the database is whole, and still the file at its
    /// path. A store in memory always is.
    ///
    /// Errors: [`StoreError::Unusable`], with what to do.
    pub fn check(&self) -> Result<(), StoreError> {
        match &self.file {
            Some(file) => file.check(&self.db),
            None => Ok(()),
        }
    }

    /// Checks every page. Slow: about a second for a journal of 100,000 runs that is in memory,
    /// and as long as the disk takes to read it. What a page holds where its structure is right
    /// is not checked; SQLite keeps no sum of it.
    ///
    /// Errors: [`StoreError::Unusable`], with the first damage and what to do.
    pub fn check_pages(&self) -> Result<(), StoreError> {
        let found: String = self
            .db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        match found.as_str() {
            "ok" => Ok(()),
            damage => Err(StoreError::damaged(
                damage.lines().next().unwrap_or_default(),
            )),
        }
    }

    /// As [`Store::check`], and whether something can be written: on a full or read-only disk
    /// everything can still be read. Changes nothing, and waits for no lock.
    ///
    /// Errors: [`StoreError::Unusable`].
    pub fn check_write(&self) -> Result<(), StoreError> {
        self.check()?;
        if self.file.is_none() {
            return Ok(());
        }
        self.db.busy_handler(None)?;
        let tried = try_to_write(&self.db);
        self.db.busy_handler(Some(wait_for_lock))?;
        match tried {
            // Another process writes, so it can be written.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            tried => Ok(tried?),
        }
    }
}

/// Begins to write and rolls back: only the rollback journal is written.
fn try_to_write(db: &Sqlite) -> Result<(), rusqlite::Error> {
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    tx.rollback()
}

#[cfg(test)]
mod tests;
