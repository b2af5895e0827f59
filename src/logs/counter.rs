//! Counts the lines of the logs by session and pattern.
//!
//! Lines of an unknown session wait ([`Waiting`]) until the folders were listed after the lines
//! were read, because a new bot may write to its log before its folder is found. If they still
//! belong to no session, they count as unplaced.

mod counts;
mod tally;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log_tailer::{Block, Consumer, Listed, Part};
use memchr::{memchr, memchr_iter};

use crate::folder::Timestamp;

use super::LogSettings;
use super::encoding::to_utf8;
use super::evidence::shows_logger;
use super::pattern::{Hit, RecordSigns, ScanState};
use super::record::unwrap;
use super::repeats::Repeats;
use super::session_mapper::SessionMapper;
use super::session_resolver::{MOST_PATHS, SessionResolver};

pub use counts::{Count, CountChanges, Counts, EVENT, REPORT, SessionCounts, Waiting};
use tally::{HeldConflict, Tally, Target};

/// Maximum time that lines wait for a listing of the folders.
const WAIT_AT_MOST: Duration = Duration::from_secs(120);

/// What to do with the record at the end of a log.
#[derive(Clone, Copy, Debug)]
enum Flush {
    /// Count it; more of it may follow.
    Settle,
    /// It is complete.
    End,
}

/// What is known about the end of a log when its next lines arrive.
#[derive(Debug, Default)]
struct LogScan {
    state: ScanState,
    repeats: Repeats,
    /// Conflicts that a reason near them may decide.
    held: Vec<HeldConflict>,
    /// Number of lines so far.
    line: u64,
    /// Number of looks since an undecided sign was found.
    undecided_for: u32,
    /// The session that an earlier part of an unfinished line named.
    named: Option<Arc<str>>,
}

impl LogScan {
    /// Whether lines that follow may change what is counted for the lines so far.
    fn is_undecided(&self) -> bool {
        self.state.is_undecided() || !self.held.is_empty()
    }
}

/// Counts lines.
#[derive(Debug)]
pub struct Counter {
    settings: Arc<LogSettings>,
    resolver: SessionResolver,
    counts: Counts,
    /// Counts from a copy that may be incomplete.
    copy: Option<Counts>,
    /// By log, for logs whose last record may continue. As plain text, because to hash and compare
    /// paths part by part takes several times as long.
    scans: HashMap<OsString, LogScan>,
    copy_scans: HashMap<OsString, LogScan>,
    /// By log: the session that was named last, for lines that name none.
    named_last: HashMap<PathBuf, Arc<str>>,
    now: (Timestamp, Instant),
    scratch: Vec<u8>,
}

impl Counter {
    /// Continues from the saved counts; `now` is the current time.
    pub fn new(
        settings: Arc<LogSettings>,
        resolver: SessionResolver,
        mut counts: Counts,
        now: (Timestamp, Instant),
    ) -> Self {
        counts.count_by_glob(resolver.sessions());
        Self {
            settings,
            resolver,
            counts,
            copy: None,
            scans: HashMap::new(),
            copy_scans: HashMap::new(),
            named_last: HashMap::new(),
            now,
            scratch: Vec::new(),
        }
    }

    /// Applies a changed configuration.
    pub fn configure(&mut self, settings: Arc<LogSettings>) {
        // An open record refers to the old patterns.
        self.flush_all();
        self.scans.clear();
        self.settings = Arc::clone(&settings);
        self.resolver.configure(settings);
        self.counts.count_by_glob(self.resolver.sessions());
        self.named_last.clear();
    }

    /// Whether there are undecided signs.
    pub fn is_undecided(&self) -> bool {
        self.scans.values().any(LogScan::is_undecided)
    }

    /// Counts undecided signs that no later line has changed for two looks.
    pub fn flush_undecided(&mut self) {
        self.with_scans(|scan| {
            scan.undecided_for = if scan.is_undecided() {
                scan.undecided_for + 1
            } else {
                0
            };
            (scan.undecided_for > 2).then_some(Flush::Settle)
        });
    }

    /// Counts undecided signs, because the lines are about to be saved as read.
    pub fn settle_undecided(&mut self) {
        self.with_scans(|scan| scan.is_undecided().then_some(Flush::Settle));
    }

    /// Counts undecided signs; no more lines follow.
    pub fn flush_all(&mut self) {
        self.with_scans(|_| Some(Flush::End));
    }

    fn with_scans(&mut self, mut due: impl FnMut(&mut LogScan) -> Option<Flush>) {
        // Not in a copy that is being read.
        let copy = self.copy.take();
        let mut scans = std::mem::take(&mut self.scans);
        for (log, scan) in &mut scans {
            if let Some(flush) = due(scan) {
                self.flush_scan(Path::new(log), scan, flush);
            }
        }
        self.scans = scans;
        self.copy = copy;
    }

    /// Counts the open record of this log, in the copy that is being read if there is one.
    fn flush_scan(&mut self, log: &Path, scan: &mut LogScan, flush: Flush) {
        let unnamed = self.target_of_unnamed(log);
        let Self {
            settings,
            resolver,
            counts,
            copy,
            now,
            ..
        } = &mut *self;
        let (counts, base) = match copy {
            Some(copy) => (copy, Some(&*counts)),
            None => (counts, None),
        };
        let mut tally = Tally {
            log,
            counts,
            base,
            written: None,
            now: *now,
            resolver,
        };
        let LogScan {
            state,
            repeats,
            held,
            line,
            ..
        } = scan;
        let patterns = &settings.patterns;
        let sink = |hit: Hit<'_>, found: &RecordSigns| {
            let named = named_by(&settings.mapper, hit);
            let target = named.map(|name| tally.resolver.target(log, Some(name)));
            let target = target.as_ref().unwrap_or(&unnamed);
            tally.add(target, found, patterns, (repeats, held), *line);
        };
        match flush {
            Flush::Settle => patterns.settle(state, sink),
            Flush::End => patterns.flush(state, sink),
        }
        tally.release(patterns, (repeats, held), u64::MAX);
    }

    /// What assigns lines to sessions.
    pub fn resolver(&mut self) -> &mut SessionResolver {
        &mut self.resolver
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Sets [`Counts::is_first_reading`].
    pub fn set_first_reading(&mut self, reading: bool) {
        self.counts.set_first_reading(reading);
    }

    /// Whether something is not saved yet.
    pub fn is_dirty(&self) -> bool {
        self.counts.is_dirty() || self.resolver.is_dirty()
    }

    pub fn committed(&mut self) {
        self.counts.committed();
        self.resolver.committed();
    }

    /// Sets the time of the lines that follow.
    pub fn set_time(&mut self, now: (Timestamp, Instant)) {
        self.now = now;
    }

    /// Counts the waiting lines for their session, if it is known now, or as unplaced, if the
    /// folders were listed (at `looked_at`) after the lines were read. Returns whether any were
    /// counted.
    pub fn settle(&mut self, looked_at: Option<Timestamp>) -> bool {
        let now = self.now.1;
        let waiting = std::mem::take(&mut self.counts.waiting);
        let before = waiting.len();
        for (key, waiting) in waiting {
            let session = match &key.named {
                Some(name) => self.resolver.called(name),
                None => self.resolver.session_of(&key.log),
            };
            let is_due = match waiting.since {
                Some((read_at, since)) => {
                    looked_at.is_some_and(|at| at >= read_at)
                        || now.saturating_duration_since(since) >= WAIT_AT_MOST
                }
                None => looked_at.is_some(),
            };
            let known = self.resolver.sessions();
            let is_named = session.is_some();
            let counts = session.and_then(|session| {
                let counts = self.counts.of_session(&session, None, known)?;
                counts.add_all(&waiting.counts);
                Some(())
            });
            match counts {
                Some(()) => {}
                None if is_due || is_named => {
                    let glob = self.resolver.glob_of(&key.log);
                    let unplaced = self.counts.unplaced.entry(glob).or_default();
                    unplaced.add_all(&waiting.counts);
                    unplaced.forget_times();
                }
                None => {
                    self.counts.waiting.insert(key, waiting);
                    continue;
                }
            }
            self.counts.moved.push(key.saved());
        }
        self.counts.waiting.len() != before
    }

    /// Where to count a line of this log that names no session: by the log's path, or else for the
    /// session that was named last.
    fn target_of_unnamed(&mut self, log: &Path) -> Target {
        match self.resolver.session_of(log) {
            Some(session) => Target::Session(session),
            None => {
                let last = self.named_last.get(log).cloned();
                self.resolver.target(log, last)
            }
        }
    }

    /// For each line of `lines`: the end of its last byte, and where it is counted. Without
    /// `session_line` all have the target of lines without a name.
    fn targets(&mut self, log: &Path, lines: &[u8], unnamed: &Target) -> Vec<(usize, Target)> {
        if !self.settings.mapper.by_line() {
            return vec![(lines.len(), unnamed.clone())];
        }
        let by_path = self.resolver.session_of(log).is_some();
        let mut targets: Vec<(usize, Target)> = Vec::new();
        let mut last = None;
        let mut current = unnamed.clone();
        let mut at = 0;
        while at < lines.len() {
            let end = memchr(b'\n', &lines[at..]).map_or(lines.len(), |newline| at + newline + 1);
            let line = lines[at..end]
                .strip_suffix(b"\n")
                .unwrap_or(&lines[at..end]);
            match named_by_line(&self.settings.mapper, line) {
                Some(name) => {
                    if last.as_ref() != Some(&name) {
                        current = self.resolver.target(log, Some(Arc::clone(&name)));
                        last = Some(name);
                    } else if by_path {
                        current = self.resolver.target(log, Some(name));
                    }
                }
                None if by_path => current = unnamed.clone(),
                None => {}
            }
            match targets.last_mut() {
                Some((before, same)) if *same == current => *before = end,
                _ => targets.push((end, current.clone())),
            }
            at = end;
        }
        if let Some(last) = last {
            if self.named_last.len() >= MOST_PATHS {
                self.named_last.clear();
            }
            self.named_last.insert(log.to_owned(), last);
        }
        targets
    }

    /// The target of a part of a line. `named`: the session that an earlier part named.
    fn target_of_part(
        &mut self,
        log: &Path,
        part: &[u8],
        named: &mut Option<Arc<str>>,
    ) -> (usize, Target) {
        if named.is_none() {
            *named = named_by_line(&self.settings.mapper, part);
            if let Some(name) = &*named {
                self.named_last.insert(log.to_owned(), Arc::clone(name));
            }
        }
        let target = match &*named {
            Some(name) => self.resolver.target(log, Some(Arc::clone(name))),
            None => self.target_of_unnamed(log),
        };
        (part.len(), target)
    }
}

impl SessionResolver {
    /// Where to count lines of this log that name this session, or none.
    fn target(&self, log: &Path, named: Option<Arc<str>>) -> Target {
        match named.as_ref().and_then(|name| self.called(name)) {
            Some(session) => Target::Session(session),
            None => Target::Waiting(Waiting {
                log: log.to_owned(),
                named,
            }),
        }
    }
}

/// The session that a line names, with or without its envelopes.
fn named_by_line(mapper: &SessionMapper, line: &[u8]) -> Option<Arc<str>> {
    if !mapper.by_line() {
        return None;
    }
    mapper
        .of_line(line)
        .or_else(|| mapper.of_line(&unwrap(line).text))
}

/// The session that a record names.
fn named_by(mapper: &SessionMapper, hit: Hit<'_>) -> Option<Arc<str>> {
    mapper.of_line(hit.raw).or_else(|| mapper.of_line(hit.text))
}

impl Consumer for Counter {
    fn lines(&mut self, block: Block<'_>) {
        let log = block.origin;
        let text = to_utf8(block.lines);
        let text = &text[..];
        if self.resolver.note(log, text) {
            self.settle(None);
        }
        let scans = match self.copy {
            Some(_) => &mut self.copy_scans,
            None => &mut self.scans,
        };
        if scans.len() >= MOST_PATHS {
            scans.clear();
        }
        let (key, scan) = scans.remove_entry(log.as_os_str()).unzip();
        let mut scan: LogScan = scan.unwrap_or_default();
        // Part of what the lines before hold.
        let before = self.target_of_unnamed(log);
        let targets = match block.part {
            Part::Lines => self.targets(log, text, &before),
            _ => vec![self.target_of_part(log, text, &mut scan.named)],
        };
        let LogScan {
            state,
            repeats,
            held,
            line,
            undecided_for,
            named: named_by_part,
        } = &mut scan;
        *undecided_for = 0;
        let Self {
            settings,
            resolver,
            counts,
            copy,
            now,
            scratch,
            ..
        } = &mut *self;
        let (counts, base) = match copy {
            Some(copy) => (copy, Some(&*counts)),
            None => (counts, None),
        };
        let mut tally = Tally {
            log,
            counts,
            base,
            written: Some(block.modified.into()),
            now: *now,
            resolver,
        };
        let (mut begin, mut newlines_in_all) = (0, 0);
        for (end, target) in &targets {
            let lines = &text[begin..*end];
            let newlines = memchr_iter(b'\n', lines).count() as u64;
            newlines_in_all += newlines;
            let counts = tally.of(target);
            counts.lines.add(match block.part {
                Part::Lines => newlines + u64::from(lines.last() != Some(&b'\n')),
                Part::First => 1,
                Part::Middle | Part::Last => 0,
            });
            if counts.library.value == 0 && shows_logger(lines) {
                counts.library_was_seen();
            }
            begin = *end;
        }
        let patterns = &settings.patterns;
        let start = text.as_ptr() as usize;
        let first = *line;
        // The lines before this byte of the block are counted.
        let mut counted = (0, first);
        let sink = |hit: Hit<'_>, found: &RecordSigns| {
            // Within the block, or before it.
            let at = (hit.raw.as_ptr() as usize).wrapping_sub(start);
            let named = match &*named_by_part {
                Some(_) => None,
                None => {
                    named_by(&settings.mapper, hit).map(|name| resolver.target(log, Some(name)))
                }
            };
            let index = targets.partition_point(|(end, _)| *end <= at);
            let of_line = targets.get(index).map(|(_, target)| target);
            let target = named.as_ref().or(of_line).unwrap_or(match block.part {
                Part::Lines => &before,
                _ => &targets[0].1,
            });
            let newlines = |lines: &[u8]| memchr_iter(b'\n', lines).count() as u64;
            let line = match text.get(counted.0..at) {
                Some(more) => {
                    counted = (at, counted.1 + newlines(more));
                    counted.1
                }
                // Before an earlier one, or before the block.
                None => first + newlines(text.get(..at).unwrap_or_default()),
            };
            tally.add(target, found, patterns, (repeats, held), line);
        };
        match block.part {
            Part::Lines => patterns.scan(text, state, scratch, sink),
            part => patterns.scan_part(text, part == Part::Last, state, sink),
        }
        *line += match block.part {
            Part::Lines => newlines_in_all,
            Part::First => 1,
            Part::Middle | Part::Last => 0,
        };
        tally.release(patterns, (repeats, held), *line);
        if matches!(block.part, Part::Lines | Part::Last) {
            scan.named = None;
        }
        let keep = !scan.state.is_empty()
            || !scan.repeats.is_empty()
            || !scan.held.is_empty()
            || scan.named.is_some();
        if keep {
            let scans = match self.copy {
                Some(_) => &mut self.copy_scans,
                None => &mut self.scans,
            };
            scans.insert(key.unwrap_or_else(|| log.into()), scan);
        }
    }

    fn begin_copy(&mut self) {
        self.copy = Some(Counts::default());
        self.copy_scans.clear();
    }

    fn end_copy(&mut self, complete: bool) {
        // The copy was read to its end.
        for (log, mut scan) in std::mem::take(&mut self.copy_scans) {
            self.flush_scan(Path::new(&log), &mut scan, Flush::End);
        }
        if let Some(copy) = self.copy.take()
            && complete
        {
            self.counts.add_all(copy);
        }
    }

    fn is_of_another(&self, path: &Path, origin: &Path) -> bool {
        self.resolver.is_of_another(path, origin)
    }

    fn is_wanted(&self, listed: &Listed) -> bool {
        !self.resolver.own().contains(listed)
    }

    fn listed(&mut self, logs: &mut dyn Iterator<Item = &Path>) {
        self.resolver.listed(logs);
    }
}

#[cfg(test)]
mod tests;
