//! Reads the last lines of a log.

use std::io;
use std::path::Path;

use memchr::{memchr, memrchr};

use crate::file::{Stat, open_log, read_full_at};
use crate::fingerprint::{Fingerprint, head_of_file};

/// How far a log was read. The next read returns only what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMark {
    /// Size, time and inode when it was read.
    pub stat: Stat,
    head: Fingerprint,
    /// Where its last complete line ends.
    lines_end: u64,
}

impl EndMark {
    /// The offset behind the last complete line that was read.
    pub fn lines_end(&self) -> u64 {
        self.lines_end
    }
}

/// The end of a log. Only complete lines; a line that is still being written is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// The file has not changed.
    Unchanged,
    /// The file grew.
    Grew {
        /// The new lines, and some lines before them.
        lines: Vec<u8>,
        /// This many bytes of `lines` were returned before.
        known: usize,
        /// The file grew by more than the window, so lines before these were never read.
        gap: bool,
    },
    /// Another file, or the file was truncated.
    New {
        /// The last lines.
        lines: Vec<u8>,
    },
}

/// Reads at most `window` bytes at the end of a log. If an earlier read was given, reads from
/// `overlap` bytes before its end, to begin at the start of a line. `None` if there is no such
/// file.
///
/// Errors: not a regular file, or it cannot be read.
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
