//! What changed most recently, as one value.

use std::collections::BTreeMap;

use log_tailer::{Changes, Checkpoint, Fingerprint, Position};
use rusqlite::{Connection, OptionalExtension, Transaction, params, types};
use serde::{Deserialize, Serialize};

use crate::logs::counter::CountChanges;

use super::counts::save_count;

pub(super) const SCHEMA: &str =
    "CREATE TABLE recent (one INTEGER PRIMARY KEY CHECK (one = 1), changes TEXT NOT NULL);";

/// After this many commits the rows are written.
const COMMITS: u32 = 40;

/// Positions and counts that are newer than the rows of their tables.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RecentChanges {
    /// By row.
    positions: BTreeMap<i64, SavedPosition>,
    /// By session and name.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Number of commits since the rows were written.
    #[serde(skip)]
    commits: u32,
}

/// The offset, whether it is inside an overlong line, and the length and hash of both fingerprints.
type SavedPosition = (u64, bool, (u16, u64), (u16, u64));

impl RecentChanges {
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let text: Option<String> = db
            .query_row("SELECT changes FROM recent", [], |row| row.get(0))
            .optional()?;
        let Some(text) = text else {
            return Ok(Self::default());
        };
        serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(0, types::Type::Text, Box::new(error))
        })
    }

    /// Sets the positions of these files.
    pub(super) fn move_files(&self, files: &mut [(i64, Checkpoint)]) {
        let fingerprint = |(len, hash)| Fingerprint { len, hash };
        for (row, checkpoint) in files {
            if let Some((offset, skipping, head, tail)) = self.positions.get(row) {
                checkpoint.move_to(Position {
                    offset: *offset,
                    skipping: *skipping,
                    head: fingerprint(*head),
                    tail: fingerprint(*tail),
                });
            }
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = ((String, String), u64)> {
        self.counts.iter().flat_map(|(session, counts)| {
            let count = |(name, value): (&String, &u64)| ((session.clone(), name.clone()), *value);
            counts.iter().map(count)
        })
    }

    /// Adds what changed. Adding the same again changes nothing.
    pub(super) fn add(&mut self, changes: &Changes, counts: &CountChanges) {
        let saved = changes.files.iter().map(|(row, _)| row);
        for row in saved.chain(&changes.gone) {
            self.positions.remove(row);
        }
        let fingerprint = |of: Fingerprint| (of.len, of.hash);
        for (row, position) in &changes.moved {
            let Position {
                offset,
                skipping,
                head,
                tail,
            } = *position;
            let saved = (offset, skipping, fingerprint(head), fingerprint(tail));
            self.positions.insert(*row, saved);
        }
        for session in &counts.gone {
            self.counts.remove(session);
        }
        for (session, name, value) in &counts.counts {
            // Almost always they are known.
            let known = self.counts.get_mut(session);
            match known.and_then(|counts| counts.get_mut(name)) {
                Some(known) => *known = *value,
                None => {
                    let counts = self.counts.entry(session.clone()).or_default();
                    counts.insert(name.clone(), *value);
                }
            }
        }
    }

    /// Whether the rows should be written again.
    pub(super) fn is_due(&self) -> bool {
        self.commits >= COMMITS
    }

    pub(super) fn write(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let text = serde_json::to_string(self)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let mut write =
            tx.prepare_cached("INSERT OR REPLACE INTO recent (one, changes) VALUES (1, ?)")?;
        write.execute([text])?;
        Ok(())
    }

    /// Writes all of it as rows.
    pub(super) fn write_rows(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut file = tx.prepare_cached(
            "UPDATE files SET offset = ?, skipping = ?, head_len = ?, head = ?, tail_len = ?, tail = ? WHERE id = ?",
        )?;
        for (row, (offset, skipping, head, tail)) in &self.positions {
            file.execute(params![
                *offset as i64,
                skipping,
                head.0,
                head.1 as i64,
                tail.0,
                tail.1 as i64,
                row,
            ])?;
        }
        for (session, counts) in &self.counts {
            for (name, value) in counts {
                save_count(tx, session, name, *value)?;
            }
        }
        tx.execute("DELETE FROM recent", [])?;
        Ok(())
    }

    /// A commit has succeeded; `as_rows`: it wrote the rows.
    pub(super) fn committed(&mut self, as_rows: bool) {
        match as_rows {
            true => *self = Self::default(),
            false => self.commits += 1,
        }
    }
}

#[cfg(test)]
mod tests;
