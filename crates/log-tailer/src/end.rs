//! The end of a log, read once: for what its last lines say rather than for all of them.

use std::io;
use std::path::Path;

use memchr::{memchr, memrchr};

use crate::file::{Stat, open_log, read_full_at};
use crate::fingerprint::{Fingerprint, head_of_file};

/// How far a log was read, so that the next read takes only what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMark {
    /// What the file was.
    pub stat: Stat,
    head: Fingerprint,
    /// Where its whole lines end.
    lines_end: u64,
}

/// What a log's end holds. Lines are whole; one that is being written is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// The file is as it was.
    Unchanged,
    /// The file grew.
    Grew {
        /// The lines that are new, and some before them.
        lines: Vec<u8>,
        /// So many bytes of `lines` were given before.
        known: usize,
        /// It grew by more than was read: lines before these were never seen.
        gap: bool,
    },
    /// Another file, or it was truncated: these are all lines that there are.
    New {
        /// The last lines.
        lines: Vec<u8>,
    },
}

/// Reads `window` bytes at most from the end of a log. What was read before is read again
/// from `overlap` bytes before its end, so that it begins with a whole line. `None` if there
/// is no such file.
///
/// Errors: it is no regular file, or cannot be read.
pub fn read_end(
    path: &Path,
    before: Option<&EndMark>,
    window: u64,
    overlap: u64,
) -> io::Result<Option<(EndMark, LogEnd)>> {
    let file = match open_log(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = Stat::from(&file.metadata()?);
    let head = head_of_file(&file)?;
    let fingerprint = Fingerprint::of_head(&head);
    if let Some(before) = before
        && before.stat == stat
        && before.head == fingerprint
    {
        return Ok(Some((*before, LogEnd::Unchanged)));
    }
    let start = stat.size.saturating_sub(window);
    let grew = before.filter(|before| {
        before.stat.id == stat.id && before.stat.size <= stat.size && before.head.begins(&head)
    });
    let again = grew.map(|before| before.stat.size.saturating_sub(overlap));
    let from = again.unwrap_or(start).max(start);
    let mut lines = vec![0; usize::try_from(stat.size - from).unwrap_or(0)];
    let read = read_full_at(&file, &mut lines, from)?;
    lines.truncate(memrchr(b'\n', &lines[..read]).map_or(0, |newline| newline + 1));
    let mut begin = from;
    if from > 0 {
        let whole = memchr(b'\n', &lines).map_or(lines.len(), |newline| newline + 1);
        lines.drain(..whole);
        begin += whole as u64;
    }
    let mark = EndMark {
        stat,
        head: fingerprint,
        lines_end: begin + lines.len() as u64,
    };
    let known = grew.map_or(0, |before| before.lines_end.saturating_sub(begin));
    let end = match again {
        Some(again) => LogEnd::Grew {
            known: usize::try_from(known)
                .unwrap_or(usize::MAX)
                .min(lines.len()),
            lines,
            gap: again < start,
        },
        None => LogEnd::New { lines },
    };
    Ok(Some((mark, end)))
}

#[cfg(test)]
mod tests;
