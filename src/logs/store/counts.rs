//! Rows of the table of counts.

use rusqlite::{Transaction, params};

pub(super) fn save_count(
    tx: &Transaction<'_>,
    session: &str,
    name: &str,
    value: u64,
) -> rusqlite::Result<()> {
    let mut count =
        tx.prepare_cached("INSERT OR REPLACE INTO counts (session, name, value) VALUES (?, ?, ?)")?;
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    count.execute(params![session, name, value])?;
    Ok(())
}
