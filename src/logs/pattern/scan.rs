//! Splits a chunk of a log into records: joins lines that belong together, near a sign.

use std::borrow::Cow;

use log_tailer::lowercase;
use memchr::{memchr, memchr2, memmem, memrchr};

use super::super::encoding::to_utf8;
use super::super::record::{
    DOCKER, Unwrapped, is_continuation, is_key_value, is_pretty_header, may_be_docker_part, unwrap,
};
use super::{Patterns, RecordSigns, report, shape::RecordShape};

/// Maximum number of lines and bytes of a record.
const MOST_LINES: usize = 120;
const MOST_BYTES: usize = 64 << 10;
/// How many bytes of a line in parts are kept together.
const MOST_JOINED: usize = 256 << 10;
/// How many bytes of a part are judged again with the next part.
const PART_OVERLAP: usize = 2 << 10;

/// The position of a sign.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The original lines, from the first one of the record.
    pub raw: &'a [u8],
    /// The record without envelopes.
    pub text: &'a [u8],
}

/// The state at the end of a log's last chunk.
#[derive(Clone, Debug, Default)]
pub struct ScanState {
    /// The record at the end of the last chunk.
    open: Option<OpenRecord>,
    /// The signs so far in a line whose parts are in several envelopes.
    joined: Option<Vec<u8>>,
    /// A line that is longer than a chunk.
    long: Option<LongLine>,
}

#[derive(Clone, Debug)]
struct OpenRecord {
    raw: Vec<u8>,
    text: Vec<u8>,
    lines: usize,
    found: RecordSigns,
}

impl OpenRecord {
    fn is_undecided(&self) -> bool {
        self.found.conflict || self.found.bare_code || !self.found.pending.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
struct LongLine {
    overlap: Vec<u8>,
    found: RecordSigns,
}

impl ScanState {
    /// Whether it is the state of a new log.
    pub fn is_empty(&self) -> bool {
        self.open.is_none() && self.joined.is_none() && self.long.is_none()
    }

    /// Whether a sign is counted only when its record has ended.
    pub fn is_undecided(&self) -> bool {
        self.open.as_ref().is_some_and(OpenRecord::is_undecided)
    }
}

/// A line of a chunk.
#[derive(Clone, Copy)]
struct Line {
    start: usize,
    /// Without the newline.
    end: usize,
}

impl Patterns {
    /// Calls `sink` in order for each record with a sign. `chunk` has complete lines and follows
    /// the text that `state` describes. `scratch` is overwritten.
    pub fn scan(
        &self,
        chunk: &[u8],
        state: &mut ScanState,
        scratch: &mut Vec<u8>,
        mut sink: impl FnMut(Hit<'_>, &RecordSigns),
    ) {
        let chunk = to_utf8(chunk);
        lowercase(&chunk, scratch);
        self.scan_chunk(&chunk, scratch, None, state, &mut sink);
    }

    /// Like [`scan`](Self::scan), for a part of a line that is longer than a chunk. `last`: the
    /// line ends here.
    pub fn scan_part(
        &self,
        part: &[u8],
        last: bool,
        state: &mut ScanState,
        mut sink: impl FnMut(Hit<'_>, &RecordSigns),
    ) {
        self.close_record(state, &mut sink);
        let mut long = state.long.take().unwrap_or_default();
        let part = to_utf8(part);
        let mut text = std::mem::take(&mut long.overlap);
        text.extend_from_slice(&part);
        let folded = text.to_ascii_lowercase();
        let found = match self.sieve.search(&folded).find(0) {
            Some(_) => self.judge(&without_escapes(&text)),
            None => RecordSigns::default(),
        };
        let mut fresh = RecordSigns {
            message: None,
            opened: None,
            secrets: u64::from(found.secrets > 0 && long.found.secrets == 0),
            conflict: false,
            bare_code: false,
            library: found.library && !long.found.library,
            signs: [found.signs, found.pending].concat(),
            pending: Vec::new(),
        };
        let seen = &long.found.signs;
        fresh
            .signs
            .retain(|sign| seen.iter().all(|other| other.pattern != sign.pattern));
        if !fresh.is_empty() {
            sink(
                Hit {
                    raw: &text,
                    text: &text,
                },
                &fresh,
            );
        }
        if last {
            return;
        }
        long.found.signs.extend(fresh.signs);
        long.found.secrets += fresh.secrets;
        long.found.library |= fresh.library;
        let from = text.len().saturating_sub(PART_OVERLAP);
        long.overlap = text.split_off(from);
        state.long = Some(long);
    }

    /// Ends the record at the end of the scanned text.
    pub fn flush(&self, state: &mut ScanState, mut sink: impl FnMut(Hit<'_>, &RecordSigns)) {
        self.close_record(state, &mut sink);
    }

    /// Counts pending signs as if the record had ended. More lines of it may still follow.
    pub fn settle(&self, state: &mut ScanState, mut sink: impl FnMut(Hit<'_>, &RecordSigns)) {
        if let Some(open) = state.open.as_mut() {
            let pending = RecordSigns {
                message: open.found.message,
                library: open.found.library,
                pending: std::mem::take(&mut open.found.pending),
                conflict: std::mem::take(&mut open.found.conflict),
                bare_code: std::mem::take(&mut open.found.bare_code),
                ..RecordSigns::default()
            };
            let signs = &mut open.found.signs;
            self.end_record(&open.raw, &open.text, pending, &mut |hit, found| {
                signs.extend_from_slice(&found.signs);
                sink(hit, found);
            });
        }
    }

    /// `raw` is the line with the envelope, if an envelope contains these lines.
    fn scan_chunk(
        &self,
        chunk: &[u8],
        folded: &[u8],
        raw: Option<&[u8]>,
        state: &mut ScanState,
        sink: &mut impl FnMut(Hit<'_>, &RecordSigns),
    ) {
        let mut at = self.continue_record(chunk, 0, raw, state, sink);
        let mut search = self.sieve.search(folded);
        // In an envelope, the text that an expression looks for may contain other bytes.
        let every_line =
            raw.is_none() && !self.sieve.sees_through_envelopes() && may_hide_text(chunk);
        let mut parts = DockerParts::new(raw.is_none());
        while at < chunk.len() {
            let line = if every_line || state.joined.is_some() {
                line_at(chunk, at)
            } else {
                let found = search.find(at);
                let part = parts.find(chunk, at);
                let perhaps = match (found, part) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                perhaps.and_then(|perhaps| {
                    let start =
                        memrchr(b'\n', &chunk[at..perhaps]).map_or(at, |newline| at + newline + 1);
                    line_at(chunk, start)
                })
            };
            let Some(line) = line else { break };
            if line.start > at {
                self.close_record(state, sink);
            }
            at = self.take_line(chunk, at, line, raw, state, sink);
        }
        // An open record has ended if lines without a hit follow.
        if state.open.is_some() && at < chunk.len() {
            self.close_record(state, sink);
        }
        if state.joined.is_none() && at < chunk.len() {
            // It has no sign so far.
            state.open = last_record(chunk, at, raw);
        }
    }

    /// Judges the record of this line; returns where the next record begins.
    fn take_line(
        &self,
        chunk: &[u8],
        from: usize,
        line: Line,
        raw: Option<&[u8]>,
        state: &mut ScanState,
        sink: &mut impl FnMut(Hit<'_>, &RecordSigns),
    ) -> usize {
        let bytes = &chunk[line.start..line.end];
        let next = (line.end + 1).min(chunk.len());
        let Unwrapped { text, partial } = match raw {
            Some(_) => Unwrapped {
                text: Cow::Borrowed(bytes),
                partial: false,
            },
            None => unwrap(bytes),
        };
        if partial || state.joined.is_some() {
            self.join_part(bytes, &text, partial, state, sink);
            return next;
        }
        if memchr(b'\n', &text).is_some() {
            let folded = text.to_ascii_lowercase();
            self.scan_chunk(&text, &folded, Some(bytes), state, sink);
            return self.continue_record(chunk, next, raw, state, sink);
        }
        self.close_record(state, sink);
        let closed = is_complete(&text);
        let mut lines = vec![text];
        let mut start = line.start;
        if !closed {
            start = first_line(chunk, from, start, raw, &mut lines);
        }
        let mut count = lines.len();
        let mut text = lines.join(&b'\n');
        let mut end = next;
        if !closed {
            let header = is_pretty_header(&text);
            end = self.extend(chunk, next, raw, header, &mut text, &mut count);
        }
        let found = self.judge(&text);
        let lines = raw.unwrap_or(&chunk[start..end]);
        let fresh = counted(&found, None);
        if !fresh.is_empty() {
            sink(
                Hit {
                    raw: lines,
                    text: &text,
                },
                &fresh,
            );
        }
        if !closed && end >= chunk.len() && count < MOST_LINES && text.len() < MOST_BYTES {
            state.open = Some(OpenRecord {
                raw: short(lines),
                text,
                lines: count,
                found,
            });
        } else {
            self.end_record(lines, &text, found, sink);
        }
        end
    }

    /// Appends the lines that continue a record; returns where the first other line begins.
    fn extend(
        &self,
        chunk: &[u8],
        mut at: usize,
        raw: Option<&[u8]>,
        mut header: bool,
        text: &mut Vec<u8>,
        count: &mut usize,
    ) -> usize {
        while *count < MOST_LINES
            && text.len() < MOST_BYTES
            && let Some(line) = line_at(chunk, at)
        {
            // A part of a longer line, and a line that contains several, begin a new record.
            let Some(more) = line_of_record(&chunk[line.start..line.end], raw) else {
                break;
            };
            if !(is_continuation(&more) || header && is_key_value(&more)) {
                break;
            }
            header = false;
            text.push(b'\n');
            text.extend_from_slice(&more);
            *count += 1;
            at = (line.end + 1).min(chunk.len());
        }
        at
    }

    /// Continues the open record with the lines from `at`; returns where the next record begins.
    fn continue_record(
        &self,
        chunk: &[u8],
        at: usize,
        raw: Option<&[u8]>,
        state: &mut ScanState,
        sink: &mut impl FnMut(Hit<'_>, &RecordSigns),
    ) -> usize {
        let Some(mut open) = state.open.take() else {
            return at;
        };
        let header = open.lines == 1 && is_pretty_header(&open.text);
        let before = open.lines;
        let end = self.extend(chunk, at, raw, header, &mut open.text, &mut open.lines);
        if open.lines > before {
            self.judge_again(open, state, sink);
        } else {
            state.open = Some(open);
        }
        if end < chunk.len() {
            self.close_record(state, sink);
        }
        end
    }

    /// Judges a record after lines were added.
    fn judge_again(
        &self,
        mut open: OpenRecord,
        state: &mut ScanState,
        sink: &mut impl FnMut(Hit<'_>, &RecordSigns),
    ) {
        let mut found = self.judge(&open.text);
        let fresh = counted(&found, Some(&open.found));
        if !fresh.is_empty() {
            let hit = Hit {
                raw: &open.raw,
                text: &open.text,
            };
            sink(hit, &fresh);
        }
        // Counted signs stay counted, even if the new lines would cancel them.
        found.signs = std::mem::take(&mut open.found.signs);
        found.signs.extend(fresh.signs);
        let counted = |pattern| found.signs.iter().any(|sign| sign.pattern == pattern);
        found.pending.retain(|sign| !counted(sign.pattern));
        found.conflict &= !self.of_conflicts().into_iter().any(counted);
        open.found = found;
        state.open = Some(open);
    }

    /// Adds a part of a line whose parts are in several envelopes. `raw` contains the part.
    fn join_part(
        &self,
        raw: &[u8],
        part: &[u8],
        partial: bool,
        state: &mut ScanState,
        sink: &mut impl FnMut(Hit<'_>, &RecordSigns),
    ) {
        self.close_record(state, sink);
        let mut joined = state.joined.take().unwrap_or_default();
        joined.extend_from_slice(part);
        if partial && joined.len() > MOST_JOINED {
            self.scan_part(&joined, false, state, &mut *sink);
            joined.clear();
        }
        if partial {
            state.joined = Some(joined);
        } else if state.long.is_some() {
            self.scan_part(&joined, true, state, &mut *sink);
        } else {
            // The joined parts may be another envelope.
            self.emit(raw, &unwrap(&joined).text, sink);
        }
    }

    fn close_record(&self, state: &mut ScanState, sink: &mut impl FnMut(Hit<'_>, &RecordSigns)) {
        if let Some(open) = state.open.take() {
            self.end_record(&open.raw, &open.text, open.found, sink);
        }
    }

    /// Counts the signs that depend on the complete record.
    fn end_record(
        &self,
        raw: &[u8],
        text: &[u8],
        found: RecordSigns,
        sink: &mut impl FnMut(Hit<'_>, &RecordSigns),
    ) {
        // Only pending signs, and a conflict.
        let hit = Hit { raw, text };
        if !found.pending.is_empty() {
            let ended = RecordSigns {
                signs: found.pending,
                message: found.message,
                library: found.library,
                ..RecordSigns::default()
            };
            sink(hit, &ended);
        }
        if found.bare_code {
            let ended = RecordSigns {
                bare_code: true,
                ..RecordSigns::default()
            };
            sink(hit, &ended);
        }
        if found.conflict {
            // Nothing in the record explains the conflict.
            let shape = RecordShape::of(text);
            let mut found = RecordSigns {
                message: shape.message,
                conflict: true,
                ..RecordSigns::default()
            };
            self.decide_conflict(&mut found, report::is_certain(text, &shape));
            if !found.signs.is_empty() {
                sink(hit, &found);
            }
        }
    }

    /// Judges a complete record.
    fn emit(&self, raw: &[u8], text: &[u8], sink: &mut impl FnMut(Hit<'_>, &RecordSigns)) {
        let found = self.judge(text);
        let fresh = counted(&found, None);
        if !fresh.is_empty() {
            sink(Hit { raw, text }, &fresh);
        }
        self.end_record(raw, text, found, sink);
    }
}

/// The signs that were not counted before. Those that depend on the complete record are still
/// undecided.
fn counted(found: &RecordSigns, before: Option<&RecordSigns>) -> RecordSigns {
    let mut fresh = RecordSigns {
        conflict: false,
        bare_code: false,
        pending: Vec::new(),
        ..found.clone()
    };
    if let Some(before) = before {
        let seen = &before.signs;
        fresh
            .signs
            .retain(|sign| seen.iter().all(|other| other.pattern != sign.pattern));
        fresh.secrets = found.secrets.saturating_sub(before.secrets);
        fresh.opened = found.opened.filter(|_| before.opened.is_none());
        fresh.library &= !before.library;
    }
    fresh
}

/// Goes back from the last known line of a record, which begins at `start`, to its first line, but
/// not before `from`. Returns where that begins; `lines` then has all lines in order.
fn first_line<'a>(
    chunk: &'a [u8],
    from: usize,
    mut start: usize,
    raw: Option<&[u8]>,
    lines: &mut Vec<Cow<'a, [u8]>>,
) -> usize {
    while lines.len() < MOST_LINES && start > from {
        let first = &lines[lines.len() - 1];
        let beneath = is_key_value(first);
        if !is_continuation(first) && !beneath {
            break;
        }
        let before = Line {
            start: memrchr(b'\n', &chunk[from..start - 1])
                .map_or(from, |newline| from + newline + 1),
            end: start - 1,
        };
        let Some(text) = line_of_record(&chunk[before.start..before.end], raw) else {
            break;
        };
        if is_complete(&text) || beneath && !is_pretty_header(&text) {
            break;
        }
        start = before.start;
        lines.push(text);
    }
    lines.reverse();
    start
}

/// The record at the end of a chunk, with no sign from `from` on. The next chunk may continue it.
fn last_record(chunk: &[u8], from: usize, raw: Option<&[u8]>) -> Option<OpenRecord> {
    let end = chunk.len() - usize::from(chunk.ends_with(b"\n"));
    if end < from {
        return None;
    }
    let start = memrchr(b'\n', &chunk[from..end]).map_or(from, |newline| from + newline + 1);
    let last = line_of_record(&chunk[start..end], raw)?;
    if is_complete(&last) {
        return None;
    }
    let mut lines = vec![last];
    let start = first_line(chunk, from, start, raw, &mut lines);
    let count = lines.len();
    let text = lines.join(&b'\n');
    (count < MOST_LINES && text.len() < MOST_BYTES).then(|| OpenRecord {
        raw: short(raw.unwrap_or(&chunk[start..])),
        text,
        lines: count,
        found: RecordSigns::default(),
    })
}

/// A line without its envelopes, unless `raw` contains it. `None` for a part of a longer line and
/// for a line that contains several.
fn line_of_record<'a>(line: &'a [u8], raw: Option<&[u8]>) -> Option<Cow<'a, [u8]>> {
    let unwrapped = match raw {
        Some(_) => Unwrapped {
            text: Cow::Borrowed(line),
            partial: false,
        },
        None => unwrap(line),
    };
    let whole = !unwrapped.partial && memchr(b'\n', &unwrapped.text).is_none();
    whole.then_some(unwrapped.text)
}

/// The position of the next line of Docker's json-file that may be a part of a longer line. The
/// sieve finds those in other envelopes.
struct DockerParts {
    /// No such line begins before this position; `None` if there is none.
    next: Option<usize>,
    searched: bool,
}

impl DockerParts {
    /// `wanted`: whether there may be any.
    fn new(wanted: bool) -> Self {
        Self {
            next: wanted.then_some(0),
            searched: false,
        }
    }

    /// At or after `at`, which never decreases.
    fn find(&mut self, chunk: &[u8], at: usize) -> Option<usize> {
        let next = self.next?;
        if self.searched && next >= at {
            return self.next;
        }
        self.searched = true;
        let mut from = at;
        self.next = loop {
            let Some(found) = memmem::find(&chunk[from..], DOCKER) else {
                break None;
            };
            let start =
                memrchr(b'\n', &chunk[at..from + found]).map_or(at, |newline| at + newline + 1);
            let Some(line) = line_at(chunk, start) else {
                break None;
            };
            if may_be_docker_part(&chunk[line.start..line.end]) {
                break Some(line.start);
            }
            from = (line.end + 1).min(chunk.len());
        };
        self.next
    }
}

/// Whether a line may contain text that reads differently without its envelope: with escapes,
/// colours or doubled quotes.
fn may_hide_text(chunk: &[u8]) -> bool {
    memchr2(b'\\', 0x1b, chunk).is_some() || memmem::find(chunk, b"\"\"").is_some()
}

/// The part of a record that is kept.
fn short(raw: &[u8]) -> Vec<u8> {
    raw[..raw.len().min(MOST_BYTES)].to_vec()
}

/// Whether no line can continue this one, because it is a complete JSON object.
fn is_complete(text: &[u8]) -> bool {
    text.len() > 2 && text.first() == Some(&b'{') && text.trim_ascii_end().ends_with(b"}")
}

/// The line that begins here.
fn line_at(chunk: &[u8], start: usize) -> Option<Line> {
    (start < chunk.len()).then(|| Line {
        start,
        end: memchr(b'\n', &chunk[start..]).map_or(chunk.len(), |newline| start + newline),
    })
}

/// Removes the escapes of JSON within JSON, as far as patterns need it.
fn without_escapes(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.iter().copied().filter(|byte| *byte != b'\\').collect())
}

#[cfg(test)]
mod tests;
