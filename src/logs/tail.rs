//! Following files exactly: every line once, through every way a log is rotated.
//!
//! A file is known by device, inode and the fingerprint of its first bytes, never by its
//! name. Its descriptor stays open, so a file that was renamed or unlinked is read to its
//! end. What a file's bytes may do between two looks, and what happens then:
//!
//! | seen | done |
//! |---|---|
//! | it grew | what is new is read, up to the last newline |
//! | shorter, or other bytes at the beginning or before the offset | emptied: the bytes not yet read become an *orphan*, the file is read from 0 |
//! | its name leads to another inode, or to none | read on through the descriptor; the new inode is read from 0 |
//! | unknown files beside it, named as its rotations and written since the last look | copies of an orphan are read from its offset, others from 0 |
//! | a new file that begins with the bytes of a log and is named as its rotation | a copy being made: waits until the log is emptied |
//!
//! What nobody can count: lines written after a copy was made and before the log was
//! emptied, and lines in files that are gone before they were looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use memchr::{memchr, memchr_iter, memrchr};
use rustix::fs::OFlags;

use crate::folder::Timestamp;

use super::LogSettings;
use super::files::{Around, FileId, Listed, Stat, is_compressed, is_gzip, is_rotation_of};
use super::pattern::{Found, MAX_LINE, Pattern};
use super::print::{PRINT_BYTES, Print};
use super::store::{Changes, Known, Saved, State};

/// Before a path among the saved globs, says that it could not be looked at.
const UNREADABLE: &str = "unreadable:";
/// What a file is when it is nowhere any more.
const NO_FILE: FileId = FileId { dev: 0, ino: 0 };
/// Bytes looked at together; longer than any line that is judged whole.
const CHUNK: usize = 256 << 10;
/// Bytes of one file read before the others have their turn.
const TURN: u64 = 32 << 20;
/// A file that lost its name and has been quiet for this long has its last line taken as
/// whole, and is let go of if nobody can open it any more.
const LAST_WORD: Duration = Duration::from_secs(10);
/// A file that lost its name to another is watched for this long after its last growth: a
/// process that was not told to open the new one writes on.
const WATCHED_ON: Duration = Duration::from_secs(26 * 3_600);
/// A copy of what a log held before it was emptied is looked for this long.
const ORPHAN_FOR: Duration = Duration::from_secs(30);
/// A file that no descriptor holds is gone if so many looks in a row did not find it.
const MISSED_OFTEN: u32 = 3;
/// What a rotation is still writing, or what could not be seen while files were renamed, is
/// waited for this long.
const UNFINISHED_FOR: Duration = Duration::from_secs(60);
/// So long at every sweep, then once more at the end.
const SOUGHT_OFTEN: Duration = Duration::from_secs(6);
/// After this long without growth a file that looks like a copy is compared byte by byte.
const COMPARE_AFTER: Duration = Duration::from_secs(10);
/// Files that were read to the end are remembered for this long after they were last seen.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// And looked at this often, for they may be written to after all.
const SILENT_LOOK: Duration = Duration::from_secs(60);
/// That they were seen is noted this often.
const SEEN_NOTED: Duration = Duration::from_secs(86_400);
/// A file that grew within this time is looked at more often.
const HOT: Duration = Duration::from_secs(5);
/// Clocks of files and of this program differ by a tick.
const TICK: Duration = Duration::from_secs(2);

/// What was counted for one session.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By the pattern's name.
    pub events: HashMap<String, Count>,
    pub lines: Count,
    pub secrets: Count,
    /// When its newest line was written, if one was read since the start.
    pub last_line: Option<Timestamp>,
}

/// A number, and whether it is on disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub value: u64,
    dirty: bool,
}

impl Count {
    fn add(&mut self, more: u64) {
        if more > 0 {
            self.value += more;
            self.dirty = true;
        }
    }
}

/// Counts that belong to no session, by the name under which they are saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub unplaced: Count,
    pub overlong: Count,
    pub copies_found: Count,
    pub copies_missing: Count,
    pub read_errors: Count,
}

impl Totals {
    fn each(&mut self) -> [(&'static str, &mut Count); 5] {
        [
            ("unplaced", &mut self.unplaced),
            ("overlong", &mut self.overlong),
            ("copies_found", &mut self.copies_found),
            ("copies_missing", &mut self.copies_missing),
            ("read_errors", &mut self.read_errors),
        ]
    }
}

/// One file.
#[derive(Debug)]
struct Tracked {
    known: Known,
    file: Option<File>,
    /// Its first bytes; in memory only.
    head: Vec<u8>,
    /// What `stat` said when it was last read.
    seen: Option<Stat>,
    /// Bytes looked at, an unfinished last line included.
    read_to: u64,
    session: Option<Arc<str>>,
    /// It may be a copy of this one, being made.
    copy_of: Option<i64>,
    listed: bool,
    displaced: bool,
    /// Looks in a row in which it was nowhere, while no descriptor holds it.
    missed: u32,
    grew_at: Instant,
    dirty: bool,
}

/// What one look at a file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Same,
    Grew,
    /// There is more than one turn's worth.
    More,
    Emptied,
    /// Its path leads elsewhere and no descriptor is left.
    Lost,
}

/// All files and counts.
#[derive(Debug)]
pub struct Tailer {
    settings: Arc<LogSettings>,
    files: BTreeMap<i64, Tracked>,
    by_id: HashMap<FileId, i64>,
    next: i64,
    tallies: HashMap<Arc<str>, Tally>,
    pub totals: Totals,
    /// Sessions that a line may name.
    sessions: HashSet<Arc<str>>,
    globs: BTreeSet<String>,
    new_globs: Vec<String>,
    /// Paths that could not be looked at when their glob was first asked: what stands there
    /// was there before, and is begun at its end once it can be read.
    unreadable: BTreeSet<PathBuf>,
    gone_globs: Vec<String>,
    looked_at: Option<Timestamp>,
    /// When the files that were let go of were last looked at.
    looked_at_silent: Option<Instant>,
    /// Logs beside which stands what a rotation had not finished at the last look.
    unfinished: BTreeSet<PathBuf>,
    gone: Vec<i64>,
    open_max: usize,
    buffers: Buffers,
    /// What could not be done in this sweep, for the log.
    pub problems: Vec<String>,
    /// Something was rotated, emptied or found since the last commit.
    pub turned: bool,
    /// Bytes that were read and are not committed.
    pub uncommitted: u64,
}

#[derive(Debug, Default)]
struct Buffers {
    chunk: Vec<u8>,
    folded: Vec<u8>,
}

impl Tailer {
    /// With what was saved. `open_max` bounds the descriptors that stay open.
    pub fn new(settings: Arc<LogSettings>, saved: Saved, open_max: usize) -> Self {
        let mut this = Self {
            settings,
            files: BTreeMap::new(),
            by_id: HashMap::new(),
            next: 1,
            tallies: HashMap::new(),
            totals: Totals::default(),
            sessions: HashSet::new(),
            unreadable: saved
                .globs
                .iter()
                .filter_map(|text| text.strip_prefix(UNREADABLE).map(PathBuf::from))
                .collect(),
            globs: saved.globs,
            new_globs: Vec::new(),
            gone_globs: Vec::new(),
            looked_at: saved.looked_at,
            looked_at_silent: None,
            unfinished: BTreeSet::new(),
            gone: Vec::new(),
            open_max,
            buffers: Buffers::default(),
            problems: Vec::new(),
            turned: false,
            uncommitted: 0,
        };
        for ((session, name), value) in saved.counts {
            let count = Count {
                value,
                dirty: false,
            };
            if session.is_empty() {
                for (known, total) in this.totals.each() {
                    if known == name {
                        *total = count;
                    }
                }
                continue;
            }
            let tally = this.tallies.entry(Arc::from(session)).or_default();
            match name.as_str() {
                "lines" => tally.lines = count,
                "secrets" => tally.secrets = count,
                _ => {
                    if let Some(event) = name.strip_prefix("event:") {
                        tally.events.insert(event.to_owned(), count);
                    }
                }
            }
        }
        // What was unfinished at the end is not known: whatever may have been is asked again.
        let asked_for = |known: &Known| {
            this.settings
                .globs
                .iter()
                .any(|glob| glob.matches(&known.origin))
        };
        this.unfinished = saved
            .files
            .iter()
            .filter(|(_, known)| asked_for(known))
            .map(|(_, k)| k.origin.clone())
            .collect();
        for (row, known) in saved.files {
            this.next = this.next.max(row + 1);
            this.insert(row, known, None);
            this.by_id.clear();
            if let Some(tracked) = this.files.get_mut(&row) {
                tracked.dirty = false;
            }
        }
        // Whoever is read has the inode, rather than one that had it before.
        for state in [State::Live, State::Done, State::Orphan] {
            for (row, tracked) in &this.files {
                if tracked.known.state == state && tracked.known.id != NO_FILE {
                    this.by_id.entry(tracked.known.id).or_insert(*row);
                }
            }
        }
        this
    }

    /// Takes a changed configuration.
    pub fn configure(&mut self, settings: Arc<LogSettings>) {
        self.settings = settings;
        self.place_all();
    }

    fn place_all(&mut self) {
        for tracked in self.files.values_mut() {
            tracked.session = self
                .settings
                .placing
                .session_of(&tracked.known.origin, &self.sessions);
        }
    }

    /// The sessions there are; a line that names another is counted as unplaced.
    pub fn set_sessions(&mut self, sessions: HashSet<Arc<str>>) {
        if self.sessions != sessions {
            self.sessions = sessions;
            self.place_all();
        }
    }

    /// Everything that was counted.
    pub fn tallies(&self) -> &HashMap<Arc<str>, Tally> {
        &self.tallies
    }

    /// Sessions that have a file now, and when the newest of it was written, where it holds
    /// anything.
    pub fn sessions_with_files(&self) -> HashMap<Arc<str>, Option<Timestamp>> {
        let mut sessions: HashMap<Arc<str>, Option<Timestamp>> = HashMap::new();
        for tracked in self.live() {
            if let Some(session) = &tracked.session {
                let written = tracked
                    .seen
                    .filter(|seen| seen.size > 0)
                    .map(|seen| seen.modified);
                let newest = sessions.entry(Arc::clone(session)).or_default();
                *newest = (*newest).max(written);
            }
        }
        sessions
    }

    fn live(&self) -> impl Iterator<Item = &Tracked> {
        self.files
            .values()
            .filter(|tracked| tracked.known.state == State::Live)
    }

    /// Files that are followed.
    pub fn file_count(&self) -> usize {
        self.live()
            .filter(|tracked| tracked.copy_of.is_none())
            .count()
    }

    /// Bytes that are there and were not looked at.
    pub fn unread_bytes(&self) -> u64 {
        self.live()
            .filter(|tracked| tracked.copy_of.is_none())
            .filter_map(|tracked| Some(tracked.seen?.size.saturating_sub(tracked.read_to)))
            .sum()
    }

    /// Whether some file grew only just now.
    pub fn is_hot(&self) -> bool {
        self.live()
            .any(|tracked| tracked.seen.is_some() && tracked.grew_at.elapsed() < HOT)
    }

    /// How many files grew only just now.
    pub fn hot_files(&self) -> usize {
        self.live()
            .filter(|tracked| tracked.seen.is_some() && tracked.grew_at.elapsed() < HOT)
            .count()
    }

    fn insert(&mut self, row: i64, known: Known, file: Option<File>) {
        if known.state != State::Orphan && known.id != NO_FILE {
            self.by_id.insert(known.id, row);
        }
        let session = self
            .settings
            .placing
            .session_of(&known.origin, &self.sessions);
        let tracked = Tracked {
            read_to: known.offset,
            session,
            known,
            file,
            head: Vec::new(),
            seen: None,
            copy_of: None,
            listed: false,
            displaced: false,
            missed: 0,
            grew_at: Instant::now(),
            dirty: true,
        };
        self.files.insert(row, tracked);
    }

    fn add(&mut self, known: Known, file: Option<File>) -> i64 {
        let row = self.next;
        self.next += 1;
        self.insert(row, known, file);
        row
    }

    /// The descriptor stays open while there are some to spare.
    fn add_open(&mut self, known: Known, file: File) -> i64 {
        let open = self
            .files
            .values()
            .filter(|tracked| tracked.file.is_some())
            .count();
        self.add(known, Some(file).filter(|_| open < self.open_max))
    }

    fn forget(&mut self, row: i64) {
        if let Some(tracked) = self.files.remove(&row) {
            if self.by_id.get(&tracked.known.id) == Some(&row) {
                self.by_id.remove(&tracked.known.id);
            }
            self.gone.push(row);
        }
    }

    fn rows(&self, keep: impl Fn(&Tracked) -> bool) -> Vec<i64> {
        self.files
            .iter()
            .filter(|(_, tracked)| keep(tracked))
            .map(|(row, _)| *row)
            .collect()
    }

    /// Reads what is new in the files that grew just now, or in all of them. Whether a file
    /// has more than one turn's worth.
    pub fn look(&mut self, all: bool) -> bool {
        let rows = self.rows(|tracked| {
            tracked.known.state == State::Live
                && tracked.copy_of.is_none()
                && (all || tracked.grew_at.elapsed() < HOT)
        });
        // Many logs are rotated at the same hour.
        let (mut more, mut around) = (false, Around::default());
        for row in rows {
            more |= self.look_beside(row, &mut around) == Look::More;
        }
        more
    }

    fn look_at(&mut self, row: i64) -> Look {
        self.look_beside(row, &mut Around::default())
    }

    /// Reads what is new in a file, and what its rotation left beside it.
    fn look_beside(&mut self, row: i64, around: &mut Around) -> Look {
        let is_empty = |tracked: &Tracked| tracked.known.head.len == 0 && !tracked.displaced;
        let was_empty = self.files.get(&row).is_some_and(is_empty);
        let look = self.look_once_or_twice(row, around);
        if was_empty
            && self
                .files
                .get(&row)
                .is_some_and(|tracked| tracked.known.head.len > 0)
        {
            // It may have been filled, copied, emptied and filled again since the last look.
            self.adopt_unseen(row, around);
        }
        look
    }

    /// Twice if it was emptied.
    fn look_once_or_twice(&mut self, row: i64, around: &mut Around) -> Look {
        match self.read(row) {
            Ok(Look::Emptied) => {
                let orphan = self.emptied(row);
                let look = self.read(row).unwrap_or(Look::Same);
                // Only now is it known what the log holds, and what is a copy of that.
                if let Some(orphan) = orphan {
                    self.adopt_unseen(orphan, around);
                }
                look
            }
            Ok(look) => look,
            Err(error) => {
                self.totals.read_errors.add(1);
                if let Some(tracked) = self.files.get(&row) {
                    self.problems
                        .push(format!("{}: {error}", tracked.known.path.display()));
                }
                Look::Same
            }
        }
    }

    /// Reads what is new in one file.
    fn read(&mut self, row: i64) -> io::Result<Look> {
        let closed = self
            .files
            .get(&row)
            .is_some_and(|tracked| tracked.file.is_none());
        let open = if closed {
            self.files.values().filter(|t| t.file.is_some()).count()
        } else {
            0
        };
        let Self {
            files,
            tallies,
            totals,
            settings,
            sessions,
            buffers,
            uncommitted,
            ..
        } = self;
        let Some(tracked) = files.get_mut(&row) else {
            return Ok(Look::Lost);
        };
        if tracked.copy_of.is_some() {
            return Ok(Look::Same);
        }
        let transient;
        let file = match &tracked.file {
            Some(file) => file,
            None => {
                let file = match open_log(&tracked.known.path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Lost),
                    Err(error) => return Err(error),
                };
                if Stat::from(&file.metadata()?).id != tracked.known.id {
                    return Ok(Look::Lost);
                }
                if open < self.open_max {
                    tracked.file.insert(file)
                } else {
                    transient = file;
                    &transient
                }
            }
        };
        let stat = Stat::from(&file.metadata()?);
        let same = tracked
            .seen
            .is_some_and(|seen| (seen.size, seen.modified) == (stat.size, stat.modified));
        if same && tracked.read_to == stat.size {
            // The number of names may have changed.
            tracked.seen = Some(stat);
            return Ok(Look::Same);
        }
        let mut head = [0; PRINT_BYTES];
        // As much is compared before the offset, with the same read that fetches what is new.
        let read = if tracked.head.len() == PRINT_BYTES
            && usize::from(tracked.known.tail.len) == PRINT_BYTES
        {
            head.copy_from_slice(&tracked.head);
            PRINT_BYTES
        } else {
            read_full_at(file, &mut head, 0)?
        };
        let head = &head[..read];
        if stat.size < tracked.known.offset || !tracked.known.head.begins(head) {
            return Ok(Look::Emptied);
        }
        let mut cursor = Cursor {
            offset: tracked.known.offset,
            skipping: tracked.known.skipping,
            tail: tracked.known.tail,
        };
        let mut tally = Sink::new(settings, sessions, tallies, totals, &mut buffers.folded)
            .of(tracked.session.clone(), stat.modified);
        let drained = cursor.drain(file, &mut buffers.chunk, TURN, &mut tally)?;
        *uncommitted += cursor.offset - tracked.known.offset;
        if drained == Drained::Emptied {
            // What was taken before that was there, and stands.
            tracked.advance(&cursor, head);
            return Ok(Look::Emptied);
        }
        let grew = tracked.seen.is_none_or(|seen| seen.size != stat.size) && stat.size > 0;
        tracked.advance(&cursor, head);
        tracked.seen = Some(stat);
        match drained {
            Drained::To(read_to) => tracked.read_to = read_to,
            Drained::More | Drained::Emptied => tracked.read_to = cursor.offset,
        }
        if grew {
            tracked.grew_at = Instant::now();
        }
        Ok(match drained {
            Drained::More => Look::More,
            _ if grew => Look::Grew,
            _ => Look::Same,
        })
    }

    /// A log was emptied: what was not read may be in a copy; the file begins anew.
    /// The row of the orphan is returned.
    fn emptied(&mut self, row: i64) -> Option<i64> {
        self.turned = true;
        let tracked = self.files.get_mut(&row)?;
        let old = tracked.known.clone();
        tracked.known.offset = 0;
        tracked.known.skipping = false;
        tracked.known.head = Print::default();
        tracked.known.tail = Print::default();
        tracked.head.clear();
        tracked.seen = None;
        tracked.read_to = 0;
        tracked.dirty = true;
        if old.path != old.origin {
            // A rotated file was written over. With what? Perhaps with a copy of its log.
            let origin = old.origin.clone();
            let log = self.rows(|other| {
                other.known.state == State::Live && !other.displaced && other.known.path == origin
            });
            if let (Some(log), Some(tracked)) = (log.first(), self.files.get_mut(&row)) {
                tracked.copy_of = Some(*log);
                tracked.grew_at = Instant::now();
                return None;
            }
        }
        // The inode stays the log's.
        let orphan = Known {
            state: State::Orphan,
            id: NO_FILE,
            since: Timestamp::now(),
            ..old
        };
        Some(self.add(orphan, None))
    }

    /// Looks at everything: which files there are, and what is new in them. Whether a file
    /// has more than one turn's worth.
    pub fn sweep(&mut self) -> bool {
        let now = Timestamp::now();
        let (fresh, unseen_globs) = self.list();
        let displaced = self.find_displaced();
        self.wake_silent(now);
        let mut more = self.look(true);
        let mut around = Around::default();
        let mut origins = std::mem::take(&mut self.unfinished);
        origins.extend(
            displaced
                .iter()
                .filter_map(|row| Some(self.files.get(row)?.known.origin.clone())),
        );
        for row in self.rows(|tracked| tracked.known.state == State::Orphan) {
            self.find_copy(row, &mut around);
        }
        for origin in origins {
            self.adopt_beside(&origin, &mut around);
        }
        for (listed, at_end) in fresh {
            more |= self.adopt(listed, at_end);
        }
        self.settle_copies();
        self.let_go(now);
        for glob in unseen_globs {
            if self.globs.insert(glob.clone()) {
                // Where it begins must be on disk before anything else is.
                self.turned = true;
                self.new_globs.push(glob);
            }
        }
        self.note_look(now);
        more
    }

    /// What was not finished is not taken for old at the next look, or after a restart: not
    /// before it has been there for a while.
    fn note_look(&mut self, now: Timestamp) {
        let waits = !self.unfinished.is_empty();
        self.looked_at = match self.looked_at {
            // What is there at the first look of all is old.
            None if waits => None,
            Some(at) if waits && at <= now => Some(at.max(now.minus(UNFINISHED_FOR))),
            _ => Some(now),
        };
    }

    /// Asks the globs. Returns files not known yet, each with whether it is to be begun at
    /// its end, and the globs that were asked for the first time.
    fn list(&mut self) -> (Vec<(Listed, bool)>, Vec<String>) {
        let settings = Arc::clone(&self.settings);
        let mut found: HashMap<FileId, (Listed, bool)> = HashMap::new();
        let mut unseen_globs = Vec::new();
        let mut failed: Vec<(PathBuf, io::Error)> = Vec::new();
        let mut failed_first = Vec::new();
        for glob in &settings.globs {
            let first = !self.globs.contains(glob.as_str());
            if first {
                unseen_globs.push(glob.as_str().to_owned());
            }
            let at_end = first && !settings.from_start;
            let mut each = |listed: Listed| {
                if is_compressed(&listed.path) {
                    return;
                }
                let id = listed.stat.id;
                let is_known_path = |path: &Path| {
                    self.by_id
                        .get(&id)
                        .and_then(|row| self.files.get(row))
                        .is_some_and(|t| t.known.path == path)
                };
                match found.get_mut(&id) {
                    Some((kept, end)) => {
                        *end &= at_end;
                        if is_known_path(&listed.path) {
                            *kept = listed;
                        }
                    }
                    None => {
                        found.insert(id, (listed, at_end));
                    }
                }
            };
            glob.list(&mut each, |path, error| {
                if at_end {
                    failed_first.push(path.to_owned());
                }
                failed.push((path.to_owned(), error));
            });
        }
        for path in failed_first {
            self.note_unreadable(path);
        }
        for (listed, at_end) in found.values_mut() {
            *at_end |= self
                .unreadable
                .iter()
                .any(|path| listed.path.starts_with(path));
        }
        // What could be looked at this time is like any other from the next time on.
        let readable: Vec<PathBuf> = self
            .unreadable
            .iter()
            .filter(|path| path.is_dir() && failed.iter().all(|(failed, _)| failed != *path))
            .cloned()
            .collect();
        for path in readable {
            self.note_readable(&path);
        }
        self.totals.read_errors.add(failed.len() as u64);
        self.problems.extend(
            failed
                .into_iter()
                .map(|(path, error)| format!("{}: {error}", path.display())),
        );
        for tracked in self.files.values_mut() {
            tracked.listed = false;
        }
        let mut fresh = Vec::new();
        for (id, (listed, at_end)) in found {
            let is_certain = self.notice_recycled(&listed);
            let row = self
                .by_id
                .get(&id)
                .copied()
                .or_else(|| self.renumbered(&listed));
            let Some(row) = row else {
                fresh.push((listed, at_end));
                continue;
            };
            let Some(tracked) = self.files.get_mut(&row) else {
                continue;
            };
            tracked.missed = 0;
            if !is_certain {
                // It is there, under whatever name: the next look knows more.
                tracked.listed = true;
                continue;
            }
            if tracked.known.state != State::Live {
                let same = match tracked.known.state {
                    State::Orphan => holds(&listed, &tracked.known),
                    _ => head_of(&listed).map(|head| tracked.known.head.begins(&head)),
                };
                let Ok(same) = same else { continue };
                if !same {
                    self.part(row);
                    fresh.push((listed, at_end));
                    continue;
                }
                tracked.known.state = State::Live;
                tracked.dirty = true;
            }
            tracked.listed = true;
            tracked.displaced = false;
            if tracked.known.path != listed.path {
                tracked.known.path = listed.path;
                tracked.dirty = true;
            }
        }
        // A log before its rotations, older before newer.
        fresh.sort_by(|(a, _), (b, _)| {
            let key = |listed: &Listed| (listed.path.as_os_str().len(), listed.stat.modified);
            key(a).cmp(&key(b))
        });
        (fresh, unseen_globs)
    }

    fn note_unreadable(&mut self, path: PathBuf) {
        if let Some(text) = path.to_str()
            && self.unreadable.insert(path.clone())
        {
            self.new_globs.push(format!("{UNREADABLE}{text}"));
            self.turned = true;
        }
    }

    fn note_readable(&mut self, path: &Path) {
        if self.unreadable.remove(path) {
            self.gone_globs
                .push(format!("{UNREADABLE}{}", path.display()));
            self.turned = true;
        }
    }

    /// Without a descriptor of it a known file's inode may have become another file's.
    /// Whether that is certain, either way.
    fn notice_recycled(&mut self, listed: &Listed) -> bool {
        let Some(row) = self.by_id.get(&listed.stat.id).copied() else {
            return true;
        };
        let Some(tracked) = self.files.get(&row) else {
            return true;
        };
        // What is read there shows at the next look whether it is another.
        let is_read = tracked.known.state == State::Live && tracked.known.path == listed.path;
        if tracked.file.is_some() || is_read {
            return true;
        }
        match is_still(tracked, listed) {
            Some(true) => true,
            Some(false) => {
                self.part(row);
                true
            }
            None => false,
        }
    }

    /// A file that is known by another device: after a restart of the machine a file system
    /// may have another number. Its row, which has the new one from now on.
    fn renumbered(&mut self, listed: &Listed) -> Option<i64> {
        let FileId { dev, ino } = listed.stat.id;
        let is_same = |tracked: &Tracked| {
            let known = &tracked.known;
            let is_there = known.id.ino == ino || known.path == listed.path;
            tracked.file.is_none()
                && known.id != NO_FILE
                && known.id.dev != dev
                && is_there
                && known.head.len > 0
                && holds(listed, known).unwrap_or(false)
        };
        let row = *self.files.iter().find(|(_, tracked)| is_same(tracked))?.0;
        let tracked = self.files.get_mut(&row)?;
        if self.by_id.get(&tracked.known.id) == Some(&row) {
            self.by_id.remove(&tracked.known.id);
        }
        tracked.known.id = listed.stat.id;
        tracked.dirty = true;
        self.by_id.insert(listed.stat.id, row);
        Some(row)
    }

    /// A file's inode is another file's by now. It is kept in mind without: its bytes may be
    /// in a copy, and a copy of what was counted must be known.
    fn part(&mut self, row: i64) {
        let Some(tracked) = self.files.get_mut(&row) else {
            return;
        };
        if self.by_id.get(&tracked.known.id) == Some(&row) {
            self.by_id.remove(&tracked.known.id);
        }
        if tracked.copy_of.is_some() {
            // Nothing was read of it.
            return self.forget(row);
        }
        tracked.known.id = NO_FILE;
        tracked.file = None;
        tracked.dirty = true;
        if tracked.known.state == State::Live {
            tracked.known.state = State::Orphan;
            tracked.known.since = Timestamp::now();
        }
    }

    /// Files whose name leads elsewhere now. Those that lost it in this sweep are returned.
    fn find_displaced(&mut self) -> Vec<i64> {
        let (mut lost, mut around) = (Vec::new(), Around::default());
        for row in self.rows(|tracked| tracked.known.state == State::Live && !tracked.listed) {
            let Some(tracked) = self.files.get_mut(&row) else {
                continue;
            };
            let is_there = |tracked: &Tracked| {
                let meta = tracked.known.path.metadata();
                meta.is_ok_and(|meta| Stat::from(&meta).id == tracked.known.id)
            };
            if tracked.displaced && (tracked.file.is_some() || is_there(tracked)) {
                continue;
            }
            let (path, origin) = (&tracked.known.path, &tracked.known.origin);
            if !self
                .settings
                .globs
                .iter()
                .any(|glob| glob.matches(path) || glob.matches(origin))
            {
                // No glob asks for it any more.
                tracked.known.state = State::Done;
                tracked.known.since = Timestamp::now();
                tracked.file = None;
                tracked.dirty = true;
                continue;
            }
            // What cannot be looked at is not gone: a mount that is late, a permission.
            if tracked.file.is_some() {
                tracked.displaced = true;
                lost.push(row);
                continue;
            }
            let Ok(beside) = around.rotations(origin) else {
                continue;
            };
            // After a restart: find it under its new name.
            let (id, head) = (tracked.known.id, tracked.known.head);
            let same = |listed: &&Listed| {
                listed.stat.id == id && head_of(listed).is_ok_and(|bytes| head.begins(&bytes))
            };
            let itself = origin.metadata().ok().map(|meta| Listed {
                stat: Stat::from(&meta),
                path: origin.clone(),
            });
            let found = beside
                .files
                .iter()
                .chain(itself.as_ref())
                .find(same)
                .map(|listed| listed.path.clone());
            if tracked.missed == 0 {
                lost.push(row);
            }
            match found {
                Some(path) => {
                    tracked.displaced = true;
                    tracked.missed = 0;
                    tracked.known.path = path;
                    tracked.dirty = true;
                }
                // A listing misses what is renamed while it is made.
                None if !beside.all => {}
                None if tracked.missed + 1 < MISSED_OFTEN => tracked.missed += 1,
                None => {
                    // Its bytes may be in a copy, compressed perhaps; or it comes back.
                    tracked.displaced = true;
                    lost.push(row);
                    tracked.known.state = State::Orphan;
                    tracked.known.since = Timestamp::now();
                    tracked.dirty = true;
                }
            }
        }
        self.turned |= !lost.is_empty();
        lost
    }

    /// Files that were let go of, and are beside their log still under whatever name: a process
    /// that never opened the new one may write on after days.
    fn wake_silent(&mut self, now: Timestamp) {
        if self
            .looked_at_silent
            .is_some_and(|at| at.elapsed() < SILENT_LOOK)
        {
            return;
        }
        self.looked_at_silent = Some(Instant::now());
        let mut around = Around::default();
        // Where a compressed copy ends its size does not tell.
        for row in self.rows(|tracked| {
            tracked.known.state == State::Done
                && tracked.known.id != NO_FILE
                && !is_compressed(&tracked.known.path)
        }) {
            let Some(tracked) = self.files.get_mut(&row) else {
                continue;
            };
            let known = &mut tracked.known;
            if self.by_id.get(&known.id) != Some(&row) {
                continue;
            }
            let Ok(beside) = around.rotations(&known.origin) else {
                continue;
            };
            let Some(listed) = beside
                .files
                .iter()
                .find(|listed| listed.stat.id == known.id)
            else {
                continue;
            };
            if listed.stat.size > known.offset && holds(listed, known).unwrap_or(false) {
                known.state = State::Live;
                known.path.clone_from(&listed.path);
                tracked.displaced = true;
                tracked.seen = None;
                tracked.read_to = tracked.known.offset;
                tracked.dirty = true;
            } else if known.since < now.minus(SEEN_NOTED) {
                known.since = now;
                tracked.dirty = true;
            }
        }
    }

    /// Begins with a file that was not known. Whether it has more than one turn's worth.
    fn adopt(&mut self, listed: Listed, at_end: bool) -> bool {
        // It may have been found as the copy of another meanwhile.
        if self.by_id.contains_key(&listed.stat.id) {
            return false;
        }
        let (log, origin) = self.log_of(&listed.path);
        let mut known = Known {
            state: State::Live,
            id: listed.stat.id,
            origin: origin.unwrap_or_else(|| listed.path.clone()),
            path: listed.path,
            offset: 0,
            skipping: false,
            head: Print::default(),
            tail: Print::default(),
            since: Timestamp::now(),
        };
        let file = match open_log(&known.path) {
            Ok(file) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.unfinished.insert(known.origin);
                } else {
                    self.totals.read_errors.add(1);
                    self.problems
                        .push(format!("{}: {error}", known.path.display()));
                    if at_end {
                        self.note_unreadable(known.path);
                    }
                }
                return false;
            }
        };
        self.note_readable(&known.path);
        if !file
            .metadata()
            .is_ok_and(|meta| Stat::from(&meta).id == known.id)
        {
            // Rotated since it was listed, and perhaps after what is beside it was: at the next
            // look it must not be taken for old.
            self.unfinished.insert(known.origin);
            return false;
        }
        if at_end {
            match end_of(&file) {
                Ok((offset, skipping, head, tail)) => {
                    known = Known {
                        offset,
                        skipping,
                        head,
                        tail,
                        ..known
                    };
                }
                Err(error) => {
                    self.problems
                        .push(format!("{}: {error}", known.path.display()));
                    return false;
                }
            }
            let row = self.add_open(known, file);
            return self.look_at(row) == Look::More;
        }
        if let Some((row, cursor)) = self.known_copy(&known, &file, log) {
            known.offset = cursor.offset;
            known.skipping = cursor.skipping;
            known.tail = cursor.tail;
            if self
                .files
                .get(&row)
                .is_some_and(|tracked| tracked.known.state == State::Orphan)
            {
                // Here its bytes are: nothing of it is missing.
                self.totals.copies_found.add(1);
                self.forget(row);
            }
        }
        let row = self.add_open(known, file);
        self.turned = true;
        if let (Some(log), Some(tracked)) = (log, self.files.get_mut(&row))
            && tracked.known.offset == 0
        {
            tracked.copy_of = Some(log);
            return false;
        }
        self.look_at(row) == Look::More
    }

    /// The log that a file is named as the rotation of: if it is followed now, and its path.
    fn log_of(&self, path: &Path) -> (Option<i64>, Option<PathBuf>) {
        let Some(name) = path.file_name() else {
            return (None, None);
        };
        let name = name.to_string_lossy();
        let mut best: (Option<i64>, Option<PathBuf>) = (None, None);
        for (row, other) in &self.files {
            let origin = &other.known.origin;
            if !path
                .as_os_str()
                .as_bytes()
                .starts_with(without_extension(origin))
            {
                continue;
            }
            if origin.parent() != path.parent()
                || !origin
                    .file_name()
                    .is_some_and(|of| is_rotation_of(&name, &of.to_string_lossy()))
                || self
                    .settings
                    .placing
                    .is_of_another(path, origin, &self.sessions)
            {
                continue;
            }
            best.1 = Some(origin.clone());
            if other.known.state == State::Live && !other.displaced && &other.known.path == origin {
                best.0 = Some(*row);
            }
        }
        best
    }

    /// Where to begin in a file that holds again what was read from another, which is done
    /// with or gone: its beginning and the bytes before the offset are the same. One that also
    /// begins like the `log` whose copy it may be is no continuation of what is done with: all
    /// lines are alike.
    fn known_copy(&self, new: &Known, file: &File, log: Option<i64>) -> Option<(i64, Cursor)> {
        let head = head_of_file(file).ok()?;
        let log = log
            .and_then(|row| self.files.get(&row))
            .map(|log| log.known.head);
        let is_like_log = log.is_some_and(|log| log.len > 0 && log.begins(&head));
        let is_copied = |known: &Known| match known.state {
            State::Done => usize::from(known.head.len) == PRINT_BYTES && !is_like_log,
            State::Orphan => known.head.len > 0,
            State::Live => false,
        };
        let mut all: Vec<(i64, &Known)> = self
            .files
            .iter()
            .map(|(row, tracked)| (*row, &tracked.known))
            .filter(|(_, known)| {
                known.origin == new.origin && is_copied(known) && known.head.begins(&head)
            })
            .collect();
        all.sort_by_key(|(_, known)| known.state != State::Orphan);
        all.into_iter()
            .find(|(_, known)| tail_matches(file, known.offset, known.tail))
            .map(
                |(
                    row,
                    Known {
                        offset,
                        skipping,
                        tail,
                        ..
                    },
                )| {
                    (
                        row,
                        Cursor {
                            offset: *offset,
                            skipping: *skipping,
                            tail: *tail,
                        },
                    )
                },
            )
    }

    /// Files beside a log that its rotation made since the last look and that no glob need
    /// match: copies of the orphan `row`, and generations that came and went between looks.
    fn adopt_unseen(&mut self, row: i64, around: &mut Around) {
        let Some(origin) = self
            .files
            .get(&row)
            .map(|tracked| tracked.known.origin.clone())
        else {
            return;
        };
        self.find_copy(row, around);
        self.adopt_beside(&origin, around);
    }

    fn adopt_beside(&mut self, origin: &Path, around: &mut Around) {
        let Some(looked_at) = self.looked_at else {
            return;
        };
        let beside = match around.rotations(origin) {
            Ok(beside) => beside.clone(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.problems.push(format!("{}: {error}", origin.display()));
                }
                return;
            }
        };
        if !beside.all {
            // One that was missed is not to be taken for old at the next look.
            self.unfinished.insert(origin.to_owned());
        }
        for listed in beside.files {
            if self
                .settings
                .placing
                .is_of_another(&listed.path, origin, &self.sessions)
            {
                continue;
            }
            self.notice_recycled(&listed);
            if self.by_id.contains_key(&listed.stat.id)
                || listed.stat.modified < looked_at.minus(TICK)
            {
                continue;
            }
            let matched = self
                .settings
                .globs
                .iter()
                .any(|glob| glob.matches(&listed.path));
            if matched && !is_compressed(&listed.path) {
                // Listed like any other.
                continue;
            }
            // A copy of what is followed, read, or looked for is nothing new; one that is only
            // begun will be seen when it is whole.
            let head = beginning_of(&listed).ok().filter(|head| !head.is_empty());
            match head.and_then(|head| self.is_known_content(&listed, &head, origin)) {
                Some(false) => {}
                Some(true) => continue,
                None => {
                    self.unfinished.insert(origin.to_owned());
                    continue;
                }
            }
            let known = Known {
                state: State::Live,
                id: listed.stat.id,
                origin: origin.to_owned(),
                path: listed.path.clone(),
                offset: 0,
                skipping: false,
                head: Print::default(),
                tail: Print::default(),
                since: Timestamp::now(),
            };
            self.turned = true;
            if is_gzip(&listed.path) {
                self.take_copy(
                    &listed,
                    &Known {
                        state: State::Done,
                        ..known
                    },
                );
            } else if !is_compressed(&listed.path) {
                let row = self.add(known, None);
                if let Some(tracked) = self.files.get_mut(&row) {
                    tracked.displaced = true;
                }
                self.look_at(row);
            }
        }
    }

    /// Whether a file holds what is known of another generation of the same log. Nobody can
    /// tell of one that cannot be read to its end.
    fn is_known_content(&self, listed: &Listed, head: &[u8], origin: &Path) -> Option<bool> {
        // Nobody copies a log that was renamed, other than to compress it: one that begins
        // like it is another generation of a log whose lines are all the same.
        let packed = is_compressed(&listed.path);
        let mut certain = true;
        for tracked in self.files.values() {
            let known = &tracked.known;
            let may_be = packed || !tracked.displaced;
            if !may_be || known.head.len == 0 || !known.head.begins(head) || known.origin != origin
            {
                continue;
            }
            match holds(listed, known) {
                Ok(true) => return Some(true),
                Ok(false) => {}
                Err(_) => certain = false,
            }
        }
        certain.then_some(false)
    }

    /// Looks for a copy of an orphan's bytes and counts what was not read of them.
    fn find_copy(&mut self, row: i64, around: &mut Around) {
        let Some(orphan) = self.files.get(&row).map(|tracked| tracked.known.clone()) else {
            return;
        };
        if orphan.state != State::Orphan {
            return;
        }
        let waited = orphan.since.until(Timestamp::now());
        let last = waited >= ORPHAN_FOR || orphan.since > Timestamp::now().plus(TICK);
        if waited > SOUGHT_OFTEN && !last {
            return;
        }
        let mut beside = around
            .rotations(&orphan.origin)
            .map(|beside| beside.files.clone())
            .unwrap_or_default();
        // Plain files first: a compressed one may still be written. Of those one that ends before
        // the offset last: it is a copy that was cut short, or one of lines that are all alike.
        beside.sort_by_key(|listed| match is_compressed(&listed.path) {
            false => u8::from(listed.stat.size < orphan.offset),
            true => 2,
        });
        for listed in beside {
            if !self.may_be_copy(&listed, &orphan) {
                continue;
            }
            if self.take_copy(&listed, &orphan) {
                self.totals.copies_found.add(1);
                self.turned = true;
                self.forget(row);
                return;
            }
        }
        if last {
            // Nothing was unread if nothing had ever been there.
            if orphan.head.len > 0 {
                self.totals.copies_missing.add(1);
            }
            match self.files.get_mut(&row) {
                // Should it, or a copy, come after all, it is known.
                Some(tracked) if orphan.head.len > 0 => {
                    tracked.known.state = State::Done;
                    tracked.known.since = Timestamp::now();
                    tracked.dirty = true;
                }
                _ => self.forget(row),
            }
        }
    }

    fn may_be_copy(&self, listed: &Listed, orphan: &Known) -> bool {
        if is_compressed(&listed.path) && !is_gzip(&listed.path)
            || self
                .settings
                .placing
                .is_of_another(&listed.path, &orphan.origin, &self.sessions)
        {
            return false;
        }
        let known = self
            .by_id
            .get(&listed.stat.id)
            .and_then(|row| self.files.get(row))
            .filter(|tracked| tracked.known.state != State::Orphan);
        let Ok(head) = beginning_of(listed) else {
            return false;
        };
        if head.is_empty() {
            return false;
        }
        if let Some(tracked) = known {
            // Known, and its bytes are those it is known for: it is itself.
            let itself = tracked.known.head.len > 0 && tracked.known.head.begins(&head);
            if tracked.copy_of.is_none() && itself {
                return false;
            }
        }
        match orphan.head.len {
            // It was empty when last looked at: whatever has come since is new.
            // But not what was read of another, whose compressed copy nobody took note of.
            0 => {
                self.looked_at
                    .is_some_and(|at| listed.stat.modified >= at.minus(TICK))
                    && known.is_none()
                    && self.is_known_content(listed, &head, &orphan.origin) == Some(false)
            }
            _ => orphan.head.begins(&head) && holds(listed, orphan).unwrap_or(false),
        }
    }

    /// Counts what a copy holds beyond `from.offset` and remembers it. The caller has seen
    /// that it is one, and whole.
    fn take_copy(&mut self, listed: &Listed, from: &Known) -> bool {
        let session = self
            .settings
            .placing
            .session_of(&from.origin, &self.sessions);
        let Self {
            settings,
            sessions,
            buffers,
            ..
        } = self;
        let mut cursor = Cursor {
            offset: from.offset,
            skipping: from.skipping,
            tail: from.tail,
        };
        // What was counted of a copy that breaks off must not stand: it is read again.
        let (mut tallies, mut totals) = (HashMap::new(), Totals::default());
        let mut sink = Sink::new(
            settings,
            sessions,
            &mut tallies,
            &mut totals,
            &mut buffers.folded,
        )
        .of(session, listed.stat.modified);
        let mut take = || -> io::Result<(Stat, Vec<u8>)> {
            let file = open_listed(listed)?;
            let stat = Stat::from(&file.metadata()?);
            if is_gzip(&listed.path) {
                cursor.pour(
                    &mut MultiGzDecoder::new(&file),
                    &mut buffers.chunk,
                    &mut sink,
                )?;
                return Ok((stat, beginning_of(listed)?));
            }
            while stat.size > cursor.offset {
                match cursor.drain(&file, &mut buffers.chunk, TURN, &mut sink)? {
                    Drained::More => {}
                    Drained::Emptied => break,
                    Drained::To(read_to) => {
                        cursor.finish(&file, read_to, &mut sink)?;
                        break;
                    }
                }
            }
            // A copy that was cut short ends before the cursor.
            cursor.offset = cursor.offset.min(stat.size);
            cursor.tail = tail_before(&file, cursor.offset)?;
            Ok((stat, head_of_file(&file)?))
        };
        // It may be gone by now; the next sweep looks again.
        let Ok((stat, head)) = take() else {
            return false;
        };
        for (session, tally) in &tallies {
            self.tallies
                .entry(Arc::clone(session))
                .or_default()
                .add_all(tally);
        }
        for ((_, total), (_, more)) in self.totals.each().into_iter().zip(totals.each()) {
            total.add(more.value);
        }
        let known = Known {
            state: State::Done,
            id: stat.id,
            path: listed.path.clone(),
            origin: from.origin.clone(),
            offset: cursor.offset,
            skipping: false,
            head: Print::of_head(&head),
            tail: cursor.tail,
            since: Timestamp::now(),
        };
        // The copy may have the inode of a file that is gone: that one's bytes are still
        // looked for, and must be known as counted when they turn up.
        self.part_from(stat.id, &head);
        let mut state = State::Done;
        if let Some(row) = self.by_id.get(&stat.id).copied() {
            if self
                .files
                .get(&row)
                .is_some_and(|tracked| tracked.known.state == State::Live)
            {
                state = State::Live;
            }
            self.forget(row);
        }
        self.add(Known { state, ..known }, None);
        true
    }

    /// Whoever is known by an inode that another file has now, as these first bytes show.
    fn part_from(&mut self, id: FileId, head: &[u8]) {
        let Some(row) = self.by_id.get(&id).copied() else {
            return;
        };
        let is_other = self.files.get(&row).is_some_and(|tracked| {
            tracked.file.is_none()
                && !(tracked.known.head.len > 0 && tracked.known.head.begins(head))
        });
        if is_other {
            self.part(row);
        }
    }

    /// Files that look like a copy of a log being made: waits, or finds that they are not.
    fn settle_copies(&mut self) {
        for row in self.rows(|tracked| tracked.copy_of.is_some()) {
            let Some(copy) = self.files.get(&row) else {
                continue;
            };
            let (id, path) = (copy.known.id, copy.known.path.clone());
            let log = copy.copy_of.and_then(|log| self.files.get(&log));
            let verdict = (|| -> io::Result<Option<bool>> {
                let file = match &copy.file {
                    Some(file) => file.try_clone()?,
                    None => open_log(&path)?,
                };
                let stat = Stat::from(&file.metadata()?);
                if stat.id != id && copy.listed {
                    // Renamed just now.
                    return Ok(None);
                }
                if stat.id != id {
                    return Ok(Some(true));
                }
                let head = head_of_file(&file)?;
                if head.is_empty() {
                    return Ok(None);
                }
                let Some(log) = log.filter(|log| log.known.state == State::Live) else {
                    // What it was a copy of is done with, and was read.
                    return Ok(Some(true));
                };
                let orphaned = self.files.values().any(|other| {
                    other.known.state == State::Orphan
                        && other.known.origin == log.known.origin
                        && other.known.head.begins(&head)
                });
                if orphaned {
                    return Ok(None);
                }
                let shared = head.len().min(log.head.len());
                if shared > 0 && head[..shared] != log.head[..shared] {
                    return Ok(Some(false));
                }
                if shared == 0 {
                    // The log is empty now, and nothing emptied it: not a copy of it.
                    return Ok(
                        (log.seen.is_some() && copy.grew_at.elapsed() > LAST_WORD).then_some(false)
                    );
                }
                if copy.grew_at.elapsed() < COMPARE_AFTER {
                    return Ok(None);
                }
                let same = match &log.file {
                    Some(log) => is_prefix(&file, log, stat.size)?,
                    None => is_prefix(&file, &open_log(&log.known.path)?, stat.size)?,
                };
                Ok(if same { None } else { Some(false) })
            })();
            match verdict {
                Ok(None) => {}
                // A copy of what was read: known from now on.
                Ok(Some(true)) => {
                    let known = self.files.get(&row).map(|tracked| tracked.known.clone());
                    self.forget(row);
                    if let (Some(known), Ok(file)) = (known, open_log(&path))
                        && let (Ok(meta), Ok(head)) = (file.metadata(), head_of_file(&file))
                    {
                        let stat = Stat::from(&meta);
                        if stat.id == known.id {
                            let tail = tail_before(&file, stat.size).unwrap_or_default();
                            self.add(
                                Known {
                                    state: State::Done,
                                    offset: stat.size,
                                    head: Print::of_head(&head),
                                    tail,
                                    ..known
                                },
                                None,
                            );
                        }
                    }
                }
                Ok(Some(false)) => {
                    if let Some(tracked) = self.files.get_mut(&row) {
                        tracked.copy_of = None;
                        tracked.dirty = true;
                    }
                    self.look_at(row);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.forget(row),
                Err(error) => self.problems.push(format!("{}: {error}", path.display())),
            }
        }
    }

    /// Files that will not grow any more.
    fn let_go(&mut self, now: Timestamp) {
        for row in self.rows(|tracked| tracked.known.state == State::Live && tracked.displaced) {
            let Some(tracked) = self.files.get(&row) else {
                continue;
            };
            // By the file's own time, which outlasts a restart.
            let quiet = tracked
                .seen
                .map_or(Duration::ZERO, |seen| seen.modified.until(now));
            if quiet < LAST_WORD || tracked.copy_of.is_some() {
                continue;
            }
            if tracked.read_to > tracked.known.offset && !tracked.known.skipping {
                self.take_last_line(row);
            }
            let Some(tracked) = self.files.get_mut(&row) else {
                continue;
            };
            let unlinked = tracked.seen.is_some_and(|seen| seen.links == 0);
            let all_read = tracked
                .seen
                .is_some_and(|seen| seen.size <= tracked.read_to);
            if all_read && (unlinked || quiet >= WATCHED_ON) {
                tracked.known.state = State::Done;
                tracked.known.since = now;
                tracked.file = None;
                tracked.dirty = true;
                if unlinked {
                    // The inode may be anybody's from now on.
                    self.by_id.remove(&tracked.known.id);
                    tracked.known.id = NO_FILE;
                }
            }
        }
        let old = now.minus(REMEMBERED);
        for row in
            self.rows(|tracked| tracked.known.state == State::Done && tracked.known.since < old)
        {
            self.forget(row);
        }
    }

    /// The last line of a file that has gone is whole, though no newline ends it.
    fn take_last_line(&mut self, row: i64) {
        let Self {
            files,
            tallies,
            totals,
            settings,
            sessions,
            buffers,
            ..
        } = self;
        let Some(tracked) = files.get_mut(&row) else {
            return;
        };
        let opened;
        let file = match &tracked.file {
            Some(file) => file,
            // There were more files than descriptors.
            None => {
                let Ok(file) = open_log(&tracked.known.path) else {
                    return;
                };
                if !file
                    .metadata()
                    .is_ok_and(|meta| Stat::from(&meta).id == tracked.known.id)
                {
                    return;
                }
                opened = file;
                &opened
            }
        };
        let modified = tracked
            .seen
            .map_or_else(Timestamp::now, |seen| seen.modified);
        let mut sink = Sink::new(settings, sessions, tallies, totals, &mut buffers.folded)
            .of(tracked.session.clone(), modified);
        let mut cursor = Cursor {
            offset: tracked.known.offset,
            skipping: tracked.known.skipping,
            tail: tracked.known.tail,
        };
        if cursor.finish(file, tracked.read_to, &mut sink).is_ok() {
            tracked.known.offset = cursor.offset;
            tracked.known.tail = cursor.tail;
            // Should the rest of the line come after all, it is no line of its own.
            tracked.known.skipping = true;
            tracked.dirty = true;
        }
    }

    /// What is to be committed.
    pub fn changes(&self) -> Changes {
        let mut changes = Changes {
            gone: self.gone.clone(),
            globs: self.new_globs.clone(),
            gone_globs: self.gone_globs.clone(),
            looked_at: self.looked_at,
            ..Changes::default()
        };
        for (row, tracked) in &self.files {
            // A copy in the making is met anew after a restart.
            if tracked.dirty && tracked.copy_of.is_none() {
                changes.files.push((*row, tracked.known.clone()));
            }
        }
        for (session, tally) in &self.tallies {
            let mut push = |name: String, count: Count| {
                if count.dirty {
                    changes
                        .counts
                        .push((session.to_string(), name, count.value));
                }
            };
            push("lines".into(), tally.lines);
            push("secrets".into(), tally.secrets);
            for (name, count) in &tally.events {
                push(format!("event:{name}"), *count);
            }
        }
        let mut totals = self.totals;
        for (name, count) in totals.each() {
            if count.dirty {
                changes
                    .counts
                    .push((String::new(), name.to_owned(), count.value));
            }
        }
        changes
    }

    /// They were.
    pub fn committed(&mut self) {
        self.gone.clear();
        self.new_globs.clear();
        self.gone_globs.clear();
        self.turned = false;
        self.uncommitted = 0;
        for tracked in self.files.values_mut() {
            if tracked.copy_of.is_none() {
                tracked.dirty = false;
            }
        }
        for tally in self.tallies.values_mut() {
            tally.lines.dirty = false;
            tally.secrets.dirty = false;
            for count in tally.events.values_mut() {
                count.dirty = false;
            }
        }
        for (_, count) in self.totals.each() {
            count.dirty = false;
        }
    }
}

impl Tracked {
    fn advance(&mut self, cursor: &Cursor, head: &[u8]) {
        let print = Print::of_head(head);
        let changed = (self.known.offset, self.known.skipping, self.known.head)
            != (cursor.offset, cursor.skipping, print);
        if changed {
            self.known.offset = cursor.offset;
            self.known.skipping = cursor.skipping;
            self.known.tail = cursor.tail;
            self.known.head = print;
            self.head.clear();
            self.head.extend_from_slice(head);
            self.dirty = true;
        } else if self.head.is_empty() {
            self.head.extend_from_slice(head);
        }
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    offset: u64,
    skipping: bool,
    tail: Print,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// Read up to here; beyond the cursor is an unfinished line.
    To(u64),
    /// The turn is over.
    More,
    /// The bytes before the cursor are no longer those that were read.
    Emptied,
}

impl Cursor {
    /// Reads whole lines from the cursor on.
    fn drain(
        &mut self,
        file: &File,
        chunk: &mut Vec<u8>,
        turn: u64,
        sink: &mut Sink<'_>,
    ) -> io::Result<Drained> {
        chunk.resize(CHUNK + PRINT_BYTES, 0);
        let began = self.offset;
        loop {
            // With the bytes before it, which tell whether the file is still the same.
            let before = usize::from(self.tail.len);
            // A regular file gives less than was asked for at its end only, mostly; where not,
            // the rest comes with the next look.
            let mut read = file.read_at(chunk, self.offset - before as u64)?;
            if read < before {
                read = read_full_at(file, chunk, self.offset - before as u64)?;
            }
            if read < before || !self.tail.begins(&chunk[..read]) {
                return Ok(Drained::Emptied);
            }
            let data = &chunk[before..read];
            let full = read == chunk.len();
            let taken = sink.feed(&mut self.skipping, data, full);
            self.offset += taken as u64;
            self.tail = Print::of_tail(&chunk[..before + taken]);
            if !full {
                return Ok(Drained::To(self.offset + (data.len() - taken) as u64));
            }
            if self.offset - began >= turn {
                return Ok(Drained::More);
            }
        }
    }

    /// Takes what stands between the cursor and `end` as the last line.
    fn finish(&mut self, file: &File, end: u64, sink: &mut Sink<'_>) -> io::Result<()> {
        let left = end.saturating_sub(self.offset).min(CHUNK as u64) as usize;
        if left == 0 || self.skipping {
            return Ok(());
        }
        let mut line = vec![0; left];
        let read = read_full_at(file, &mut line, self.offset)?;
        sink.lines(&line[..read]);
        self.offset += read as u64;
        self.tail = tail_before(file, self.offset)?;
        Ok(())
    }

    /// Reads a stream of which everything before the cursor is thrown away, to its end.
    fn pour(
        &mut self,
        stream: &mut impl Read,
        chunk: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        io::copy(&mut stream.by_ref().take(self.offset), &mut io::sink())?;
        chunk.resize(CHUNK + PRINT_BYTES, 0);
        let mut held = 0;
        loop {
            let read = read_full(stream, &mut chunk[held..])?;
            let full = held + read == chunk.len();
            let taken = sink.feed(&mut self.skipping, &chunk[..held + read], full);
            self.offset += taken as u64;
            self.tail = Print::of_tail(&chunk[..taken]);
            chunk.copy_within(taken..held + read, 0);
            held = held + read - taken;
            if !full {
                if held > 0 && !self.skipping {
                    sink.lines(&chunk[..held]);
                    self.tail = Print::of_tail(&chunk[..held]);
                    self.offset += held as u64;
                }
                return Ok(());
            }
        }
    }
}

/// Where lines are counted.
struct Sink<'a> {
    settings: &'a LogSettings,
    sessions: &'a HashSet<Arc<str>>,
    tallies: &'a mut HashMap<Arc<str>, Tally>,
    totals: &'a mut Totals,
    folded: &'a mut Vec<u8>,
    session: Option<Arc<str>>,
    written: Timestamp,
}

impl<'a> Sink<'a> {
    fn new(
        settings: &'a LogSettings,
        sessions: &'a HashSet<Arc<str>>,
        tallies: &'a mut HashMap<Arc<str>, Tally>,
        totals: &'a mut Totals,
        folded: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            settings,
            sessions,
            tallies,
            totals,
            folded,
            session: None,
            written: Timestamp::default(),
        }
    }

    fn of(mut self, session: Option<Arc<str>>, written: Timestamp) -> Self {
        self.session = session;
        self.written = written;
        self
    }

    /// Takes the whole lines of `data`; how many bytes that were. `full` says that no more
    /// fits, so that a line without an end is overlong.
    fn feed(&mut self, skipping: &mut bool, data: &[u8], full: bool) -> usize {
        let mut at = 0;
        if *skipping {
            let Some(newline) = memchr(b'\n', data) else {
                return data.len();
            };
            at = newline + 1;
            *skipping = false;
        }
        // A writer that kept its place when the file was emptied leaves a hole.
        at += data[at..]
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(data.len() - at);
        match memrchr(b'\n', &data[at..]) {
            Some(newline) => {
                let end = at + newline + 1;
                self.lines(&data[at..end]);
                end
            }
            None if full && at == 0 => {
                self.lines(&data[..MAX_LINE]);
                self.totals.overlong.add(1);
                *skipping = true;
                data.len()
            }
            None => at,
        }
    }

    fn lines(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        self.totals.overlong.add(overlong(lines));
        let settings = self.settings;
        if settings.placing.by_line() {
            let whole = lines.strip_suffix(b"\n").unwrap_or(lines);
            for line in whole.split(|byte| *byte == b'\n') {
                match self.session_of(line) {
                    Some(session) => self.tally(&session).lines.add(1),
                    None => self.totals.unplaced.add(1),
                }
            }
        } else {
            let ended = memchr_iter(b'\n', lines).count() as u64;
            let count = ended + u64::from(lines.last() != Some(&b'\n'));
            match self.session.clone() {
                Some(session) => self.tally(&session).lines.add(count),
                None => self.totals.unplaced.add(count),
            }
        }
        let mut folded = std::mem::take(self.folded);
        settings.patterns.scan(lines, &mut folded, |line, found| {
            if let Some(session) = self.session_of(line) {
                self.tally(&session)
                    .add(found, settings.patterns.patterns());
            }
        });
        *self.folded = folded;
    }

    fn session_of(&self, line: &[u8]) -> Option<Arc<str>> {
        if self.settings.placing.by_line()
            && let Some(session) = self.settings.placing.of_line(line)
        {
            return self.sessions.get(&session).cloned();
        }
        self.session.clone()
    }

    fn tally(&mut self, session: &Arc<str>) -> &mut Tally {
        let tally = self.tallies.entry(Arc::clone(session)).or_default();
        tally.last_line = tally.last_line.max(Some(self.written));
        tally
    }
}

impl Tally {
    fn add_all(&mut self, other: &Tally) {
        self.lines.add(other.lines.value);
        self.secrets.add(other.secrets.value);
        for (name, count) in &other.events {
            self.events
                .entry(name.clone())
                .or_default()
                .add(count.value);
        }
        self.last_line = self.last_line.max(other.last_line);
    }

    fn add(&mut self, found: &Found, patterns: &[Pattern]) {
        self.secrets.add(found.secrets);
        for name in found
            .signs
            .iter()
            .filter_map(|sign| patterns.get(*sign))
            .map(|pattern| &pattern.name)
        {
            match self.events.get_mut(name.as_ref()) {
                Some(count) => count.add(1),
                None => {
                    self.events.insert(
                        name.to_string(),
                        Count {
                            value: 1,
                            dirty: true,
                        },
                    );
                }
            }
        }
    }
}

/// Whether a file that has another name now is the one that is known; nobody can tell of one
/// that cannot be opened, or was renamed once more.
fn is_still(tracked: &Tracked, listed: &Listed) -> Option<bool> {
    let origin = &tracked.known.origin;
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let is_named = listed.path == *origin
        || listed.path.parent() == origin.parent()
            && is_rotation_of(&name(&listed.path), &name(origin));
    if !is_named || listed.stat.size < tracked.known.offset {
        return Some(false);
    }
    holds(listed, &tracked.known).ok()
}

/// How many of these lines are longer than is judged.
fn overlong(lines: &[u8]) -> u64 {
    let mut count = 0;
    let mut at = 0;
    while lines.len() - at > MAX_LINE {
        match memrchr(b'\n', &lines[at..=at + MAX_LINE]) {
            Some(newline) => at += newline + 1,
            None => {
                count += 1;
                let Some(newline) = memchr(b'\n', &lines[at..]) else {
                    break;
                };
                at += newline + 1;
            }
        }
    }
    count
}

/// A path's bytes up to the last dot of its name.
fn without_extension(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    let name = memrchr(b'/', bytes).map_or(0, |slash| slash + 1);
    &bytes[..memrchr(b'.', &bytes[name..]).map_or(bytes.len(), |dot| name + dot)]
}

/// Opens a regular file to read; never waits for a FIFO.
pub(super) fn open_log(path: &Path) -> io::Result<File> {
    let open = |flags: OFlags| {
        OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)
    };
    // Reading is no use of the file that is worth a write to its inode each time. Only its
    // owner and root may ask for that.
    let file = match open(OFlags::NONBLOCK | OFlags::NOATIME) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OFlags::NONBLOCK)?,
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(file)
}

/// Opens what a listing found. A name may lead elsewhere by now, when files are renamed in
/// turn: that is an error, and says nothing about the file that was listed.
fn open_listed(listed: &Listed) -> io::Result<File> {
    let file = open_log(&listed.path)?;
    match Stat::from(&file.metadata()?).id == listed.stat.id {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "renamed while it was looked at",
        )),
    }
}

pub(super) fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn read_full(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match stream.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

pub(super) fn head_of_file(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; PRINT_BYTES];
    let read = read_full_at(file, &mut head, 0)?;
    head.truncate(read);
    Ok(head)
}

fn head_of(listed: &Listed) -> io::Result<Vec<u8>> {
    head_of_file(&open_listed(listed)?)
}

/// The first bytes, of what a gzip file holds where it is one.
fn beginning_of(listed: &Listed) -> io::Result<Vec<u8>> {
    let file = open_listed(listed)?;
    if !is_gzip(&listed.path) {
        return head_of_file(&file);
    }
    let mut head = vec![0; PRINT_BYTES];
    let read = read_full(&mut MultiGzDecoder::new(file), &mut head)?;
    head.truncate(read);
    Ok(head)
}

fn tail_before(file: &File, offset: u64) -> io::Result<Print> {
    let len = offset.min(PRINT_BYTES as u64) as usize;
    let mut tail = vec![0; len];
    let read = read_full_at(file, &mut tail, offset - len as u64)?;
    Ok(Print::of_tail(&tail[..read]))
}

fn tail_matches(file: &File, offset: u64, tail: Print) -> bool {
    let len = usize::from(tail.len);
    let Some(start) = offset.checked_sub(len as u64) else {
        return false;
    };
    let mut bytes = vec![0; len];
    read_full_at(file, &mut bytes, start).is_ok_and(|read| read == len) && tail.begins(&bytes)
}

/// Whether a file holds what is known of another: the same beginning, and the same bytes
/// before the offset unless it ends earlier. An unfinished gzip file is an error.
fn holds(listed: &Listed, known: &Known) -> io::Result<bool> {
    let file = open_listed(listed)?;
    if !is_gzip(&listed.path) {
        let size = file.metadata()?.len();
        let head = head_of_file(&file)?;
        // The hole that a writer leaves who kept its place is in every such file.
        let is_hole = head.iter().all(|byte| *byte == 0);
        let is_shorter = size < known.offset && !is_hole;
        return Ok(known.head.begins(&head)
            && (is_shorter || tail_matches(&file, known.offset, known.tail)));
    }
    let mut stream = MultiGzDecoder::new(file);
    let mut bytes = vec![0; PRINT_BYTES];
    let read = read_full(&mut stream, &mut bytes)?;
    bytes.truncate(read);
    if !known.head.begins(&bytes) {
        return Ok(false);
    }
    // The bytes before the offset; they may begin within the head.
    let start = known.offset.saturating_sub(u64::from(known.tail.len));
    let tail = usize::from(known.tail.len);
    if start < bytes.len() as u64 {
        bytes.drain(..start as usize);
    } else {
        io::copy(
            &mut stream.by_ref().take(start - bytes.len() as u64),
            &mut io::sink(),
        )?;
        bytes.clear();
    }
    let had = bytes.len();
    if had < tail {
        bytes.resize(tail, 0);
        let read = read_full(&mut stream, &mut bytes[had..])?;
        bytes.truncate(had + read);
    }
    // To the end, which shows that it is whole.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(bytes.len() < tail || known.tail.begins(&bytes))
}

/// Where to begin with a file whose lines so far are not to be counted: behind its last
/// newline, so that a line being written is counted when it is whole.
fn end_of(file: &File) -> io::Result<(u64, bool, Print, Print)> {
    let size = file.metadata()?.len();
    let head = Print::of_head(&head_of_file(file)?);
    let look = size.min(MAX_LINE as u64) as usize;
    let mut end = vec![0; look];
    let read = read_full_at(file, &mut end, size - look as u64)?;
    let (offset, skipping) = match memrchr(b'\n', &end[..read]) {
        Some(newline) => (size - look as u64 + newline as u64 + 1, false),
        None if look as u64 == size => (0, false),
        None => (size, true),
    };
    Ok((offset, skipping, head, tail_before(file, offset)?))
}

/// Whether the first `size` bytes of both are the same.
fn is_prefix(copy: &File, of: &File, size: u64) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < size {
        let want = (size - at).min(CHUNK as u64) as usize;
        let (x, y) = (
            read_full_at(copy, &mut a[..want], at)?,
            read_full_at(of, &mut b[..want], at)?,
        );
        if x == 0 || a[..x] != b[..y] {
            return Ok(false);
        }
        at += x as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{LogGlob, Patterns, Placing, files};
    use std::io::Write;

    fn lines(of: &str, numbers: std::ops::Range<u32>) -> Vec<u8> {
        numbers
            .flat_map(|n| format!("{of}: line number {n}\n").into_bytes())
            .collect()
    }

    fn gzip(path: &Path, bytes: &[u8]) -> FileId {
        let file = File::create(path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        Stat::from(&encoder.finish().unwrap().metadata().unwrap()).id
    }

    /// As it is saved after `read` of all these bytes.
    fn known(path: PathBuf, id: FileId, read: &[u8]) -> Known {
        Known {
            state: State::Live,
            id,
            origin: path.clone(),
            path,
            offset: read.len() as u64,
            skipping: false,
            head: Print::of_head(read),
            tail: Print::of_tail(read),
            since: Timestamp::now(),
        }
    }

    /// Two logs were compressed and unlinked while nobody looked, and the copy of the one got
    /// the inode that the other had.
    #[test]
    fn a_copy_with_the_inode_of_another_log_counts_neither_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (a, b) = (lines("a", 0..100), lines("b", 0..100));
        let taken_over = gzip(&path("b-out.log.1.gz"), &b);
        gzip(&path("a-out.log.1.gz"), &a);
        let half = lines("b", 0..50);
        let nowhere = FileId {
            dev: taken_over.dev,
            ino: u64::MAX,
        };
        let saved = Saved {
            files: vec![
                (1, known(path("a-out.log"), taken_over, &a)),
                (2, known(path("b-out.log"), nowhere, &half)),
            ],
            looked_at: Some(Timestamp::now()),
            ..Saved::default()
        };
        std::fs::write(path("a-out.log"), lines("a", 100..110)).unwrap();
        let settings = LogSettings {
            globs: vec![LogGlob::new(&format!("{}/*.log", dir.path().display())).unwrap()],
            from_start: true,
            state_path: dir.path().into(),
            placing: Placing::new(None, None, None, None).unwrap(),
            patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
        };
        let mut tailer = Tailer::new(Arc::new(settings), saved, 100);
        tailer.set_sessions(["a", "b"].into_iter().map(Arc::from).collect());
        for _ in 0..6 {
            tailer.sweep();
            // What wakes the look beside the name, in a log that is new.
            std::fs::write(path("a-out.log"), lines("a", 100..110)).unwrap();
        }
        let counted = |session: &str| {
            tailer
                .tallies()
                .get(session)
                .map_or(0, |tally| tally.lines.value)
        };
        assert_eq!(
            (counted("a"), counted("b")),
            (10, 50),
            "what is new, and what was not read"
        );
        assert_eq!(tailer.totals.copies_missing.value, 0);
    }

    /// A tailer of all logs in `dir`, from their beginning.
    fn tailer(dir: &Path, saved: Saved, open_max: usize) -> Tailer {
        let settings = LogSettings {
            globs: vec![LogGlob::new(&format!("{}/*.log", dir.display())).unwrap()],
            from_start: true,
            state_path: dir.into(),
            placing: Placing::new(None, None, None, None).unwrap(),
            patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
        };
        let mut tailer = Tailer::new(Arc::new(settings), saved, open_max);
        tailer.set_sessions([Arc::from("a")].into_iter().collect());
        tailer
    }

    fn counted(tailer: &Tailer) -> u64 {
        tailer
            .tallies()
            .get("a")
            .map_or(0, |tally| tally.lines.value)
    }

    /// A file system may have another device number after a restart of the machine.
    #[test]
    fn a_file_on_a_renumbered_device_is_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-out.log");
        let bytes = lines("a", 0..100);
        std::fs::write(&path, [bytes.as_slice(), &lines("a", 100..107)].concat()).unwrap();
        let id = Stat::from(&path.metadata().unwrap()).id;
        let was = FileId {
            dev: id.dev + 1,
            ..id
        };
        let saved = Saved {
            files: vec![(1, known(path, was, &bytes))],
            ..Saved::default()
        };
        let mut tailer = tailer(dir.path(), saved, 100);
        (0..MISSED_OFTEN + 1).for_each(|_| _ = tailer.sweep());
        assert_eq!(counted(&tailer), 7, "what was written since");
    }

    /// With more files than descriptors, none is held open.
    #[test]
    fn the_last_line_of_a_rotated_file_counts_without_a_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-out.log");
        std::fs::write(
            &path,
            [lines("a", 0..10).as_slice(), b"a: no newline ends it"].concat(),
        )
        .unwrap();
        let mut tailer = tailer(dir.path(), Saved::default(), 0);
        tailer.sweep();
        assert_eq!(counted(&tailer), 10);
        let rotated = dir.path().join("a-out.log.1");
        std::fs::rename(&path, &rotated).unwrap();
        let long_ago = std::time::SystemTime::now() - LAST_WORD * 2;
        File::options()
            .write(true)
            .open(&rotated)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        (0..MISSED_OFTEN + 1).for_each(|_| _ = tailer.sweep());
        assert_eq!(counted(&tailer), 11);
    }

    /// A listing that is made while files are renamed misses some of them.
    #[test]
    fn a_file_that_one_listing_missed_is_not_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let bytes = lines("a", 0..100);
        std::fs::write(path("a-out.log.1"), &bytes).unwrap();
        let id = Stat::from(&path("a-out.log.1").metadata().unwrap()).id;
        let saved = Saved {
            files: vec![(1, known(path("a-out.log"), id, &bytes))],
            ..Saved::default()
        };
        let settings = LogSettings {
            globs: vec![LogGlob::new(&format!("{}/*", dir.path().display())).unwrap()],
            from_start: true,
            state_path: dir.path().into(),
            placing: Placing::new(None, None, None, None).unwrap(),
            patterns: Arc::new(Patterns::shipped_and(&[]).unwrap()),
        };
        let mut tailer = Tailer::new(Arc::new(settings), saved, 100);
        tailer.set_sessions([Arc::from("a")].into_iter().collect());
        let hidden = tempfile::tempdir().unwrap();
        let away = hidden.path().join("renamed");
        for (looks, found) in [
            (1, true),
            (MISSED_OFTEN as usize - 1, true),
            (MISSED_OFTEN as usize + 1, false),
        ] {
            std::fs::rename(path("a-out.log.1"), &away).unwrap();
            // As after a restart: no descriptor holds it.
            tailer
                .files
                .values_mut()
                .for_each(|tracked| tracked.file = None);
            (0..looks).for_each(|_| _ = tailer.sweep());
            let is_live = tailer
                .files
                .values()
                .any(|tracked| tracked.known.state == State::Live);
            assert_eq!(is_live, found, "after {looks} looks");
            std::fs::rename(&away, path("a-out.log.1")).unwrap();
            tailer.sweep();
            let counted: u64 = tailer
                .tallies()
                .values()
                .map(|tally| tally.lines.value)
                .sum();
            assert_eq!(counted, 0, "after {looks} looks");
        }
    }

    /// Whose lines are counted as whose, of all that was written to these.
    fn tallied(tailer: &Tailer) -> BTreeMap<String, u64> {
        tailer
            .tallies()
            .iter()
            .map(|(session, tally)| (session.to_string(), tally.lines.value))
            .collect()
    }

    #[test]
    fn another_bots_log_is_no_rotation() {
        let dir = tempfile::tempdir().unwrap();
        // One whose number looks like a date, too.
        let bots = [
            "company",
            "company_962302",
            "company_20260101",
            "wa",
            "wa-1",
            "wa.1",
        ];
        let mut tailer = tailer(dir.path(), Saved::default(), 100);
        tailer.set_sessions(bots.into_iter().map(Arc::from).collect());
        let expected = |lines: u64| {
            let of = |(k, bot): (usize, &&str)| ((*bot).to_owned(), lines * (k as u64 + 1));
            bots.iter()
                .enumerate()
                .map(of)
                .collect::<BTreeMap<String, u64>>()
        };
        // They appear one after the other, as they are deployed.
        for (k, bot) in bots.iter().enumerate() {
            let bytes = lines(bot, 0..10 * (k as u32 + 1));
            std::fs::write(dir.path().join(format!("{bot}.log")), bytes).unwrap();
            tailer.sweep();
        }
        tailer.sweep();
        assert_eq!(tallied(&tailer), expected(10));
        // Rotated with what was not read, under a name that no glob asks for: of each its own.
        for (k, bot) in bots.iter().enumerate() {
            let path = dir.path().join(format!("{bot}.log"));
            let mut log = File::options().append(true).open(&path).unwrap();
            log.write_all(&lines(bot, 0..k as u32 + 1)).unwrap();
            std::fs::copy(&path, dir.path().join(format!("{bot}.log.1"))).unwrap();
            std::fs::write(&path, lines(bot, 100..100 + k as u32 + 1)).unwrap();
        }
        (0..3).for_each(|_| _ = tailer.sweep());
        assert_eq!(tallied(&tailer), expected(12));
    }

    /// logrotate without `copytruncate`, of a bot that never opens the new file: its lines go
    /// to the file that was renamed, under a name that no glob asks for.
    #[test]
    fn a_renamed_file_that_was_silent_for_days_is_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a-out.log"), lines("a", 0..10)).unwrap();
        let mut tailer = tailer(dir.path(), Saved::default(), 100);
        tailer.sweep();
        let mut log = File::options().append(true).open(at("a-out.log")).unwrap();
        std::fs::rename(at("a-out.log"), at("a-out.log.1")).unwrap();
        std::fs::write(at("a-out.log"), "").unwrap();
        for (days, name) in [(2, "a-out.log.1"), (4, "a-out.log.2"), (12, "a-out.log.2")] {
            log.set_modified(std::time::SystemTime::now() - Duration::from_secs(days * 86_400))
                .unwrap();
            (0..2).for_each(|_| _ = tailer.sweep());
            let let_go = tailer
                .files
                .values()
                .any(|tracked| tracked.known.state == State::Done);
            assert!(let_go && tailer.files.values().filter(|t| t.file.is_some()).count() == 1);
            if days > 7 {
                // As if it had been let go that long ago; it is not forgotten while it is there.
                let ago = Timestamp::now().minus(REMEMBERED * 2);
                tailer
                    .files
                    .values_mut()
                    .for_each(|tracked| tracked.known.since = ago);
                tailer.looked_at_silent = None;
                (0..2).for_each(|_| _ = tailer.sweep());
            } else if name.ends_with('2') {
                std::fs::rename(at("a-out.log.1"), at(name)).unwrap();
            }
            let before = counted(&tailer);
            log.write_all(&lines("a", 0..3)).unwrap();
            tailer.looked_at_silent = None;
            (0..2).for_each(|_| _ = tailer.sweep());
            assert_eq!(counted(&tailer), before + 3, "after {days} days");
        }
        // Once it is gone, so is what is known of it.
        log.set_modified(std::time::SystemTime::now() - Duration::from_secs(86_400 * 2))
            .unwrap();
        (0..2).for_each(|_| _ = tailer.sweep());
        std::fs::remove_file(at("a-out.log.2")).unwrap();
        let ago = Timestamp::now().minus(REMEMBERED * 2);
        tailer
            .files
            .values_mut()
            .for_each(|tracked| tracked.known.since = ago);
        tailer.looked_at_silent = None;
        (0..2).for_each(|_| _ = tailer.sweep());
        assert_eq!(tailer.files.len(), 1);
        assert_eq!(counted(&tailer), 19);
    }

    /// libsignal's warnings without a date, copied and emptied by pm2-logrotate: the copy of one
    /// generation is no continuation of the copy of another.
    #[test]
    fn a_copy_of_a_log_whose_lines_are_all_alike_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let log = at("a-out.log");
        let alike = |count: usize| {
            "Closing open session in favor of incoming prekey bundle\n".repeat(count)
        };
        let append = |count: usize| {
            let mut file = File::options()
                .append(true)
                .create(true)
                .open(&log)
                .unwrap();
            file.write_all(alike(count).as_bytes()).unwrap();
        };
        let mut tailer = tailer(dir.path(), Saved::default(), 100);
        // Emptied by hand at first, so that it is known how far a generation was read of which
        // there is no copy.
        append(50);
        (0..2).for_each(|_| _ = tailer.sweep());
        std::fs::write(&log, alike(5)).unwrap();
        tailer.sweep();
        let ago = Timestamp::now().minus(ORPHAN_FOR);
        tailer
            .files
            .values_mut()
            .for_each(|tracked| tracked.known.since = ago);
        tailer.sweep();
        assert_eq!(
            (counted(&tailer), tailer.totals.copies_missing.value),
            (55, 1)
        );
        let mut written = 55;
        for (generation, more, unread) in [
            (1, 100, 0),
            (2, 120, 0),
            (3, 90, 7),
            (4, 200, 0),
            (5, 150, 3),
        ] {
            append(more);
            (0..2).for_each(|_| _ = tailer.sweep());
            append(unread);
            std::fs::copy(
                &log,
                at(&format!("a-out__2026-01-01_00-00-0{generation}.log")),
            )
            .unwrap();
            written += more as u64 + unread as u64;
            (0..2).for_each(|_| _ = tailer.sweep());
            assert_eq!(
                counted(&tailer),
                written,
                "generation {generation} is copied"
            );
            append(unread);
            std::fs::copy(
                &log,
                at(&format!("a-out__2026-01-01_00-00-0{generation}.log")),
            )
            .unwrap();
            std::fs::write(&log, alike(5)).unwrap();
            written += 5 + unread as u64;
            (0..2).for_each(|_| _ = tailer.sweep());
            assert_eq!(
                counted(&tailer),
                written,
                "generation {generation} is emptied"
            );
        }
    }

    /// What is unfinished is not on disk, and of a log that was copied and emptied nothing shows
    /// that anything came and went.
    #[test]
    fn what_came_and_went_while_nobody_looked_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a-out.log"), "").unwrap();
        std::fs::write(at("a-out.log.1"), lines("a", 0..7)).unwrap();
        let id = Stat::from(&at("a-out.log").metadata().unwrap()).id;
        for (ago, read) in [(60, 7), (0, 0)] {
            let looked_at = Timestamp::now()
                .plus(TICK * 2)
                .minus(Duration::from_secs(ago));
            let saved = Saved {
                files: vec![(1, known(at("a-out.log"), id, b""))],
                looked_at: Some(looked_at),
                ..Saved::default()
            };
            let mut tailer = tailer(dir.path(), saved, 100);
            (0..3).for_each(|_| _ = tailer.sweep());
            assert_eq!(counted(&tailer), read, "last looked {ago} s ago");
        }
    }

    /// A look that takes long: the log that it found is rotated before it is opened, and after
    /// what stands beside it was listed.
    #[test]
    fn a_log_rotated_between_being_found_and_being_opened_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a-out.log"), lines("a", 0..10)).unwrap();
        let mut tailer = tailer(dir.path(), Saved::default(), 100);
        tailer.sweep();
        std::fs::rename(at("a-out.log"), at("a-out.log.1")).unwrap();
        std::fs::write(at("a-out.log"), lines("a", 10..15)).unwrap();
        // The steps of a sweep.
        let begun = Timestamp::now();
        let (fresh, _) = tailer.list();
        assert_eq!(tailer.find_displaced().len(), 1);
        tailer.adopt_beside(&at("a-out.log"), &mut Around::default());
        std::fs::rename(at("a-out.log"), at("a-out.log.2")).unwrap();
        std::fs::write(at("a-out.log"), lines("a", 15..18)).unwrap();
        for (listed, at_end) in fresh {
            tailer.adopt(listed, at_end);
        }
        tailer.note_look(begun.plus(Duration::from_secs(10)));
        (0..2).for_each(|_| _ = tailer.sweep());
        assert_eq!(counted(&tailer), 18);
    }

    /// Every log of a fleet is rotated at midnight.
    #[test]
    fn many_logs_emptied_at_once_list_their_directory_a_few_times() {
        const LOGS: usize = 300;
        let dir = tempfile::tempdir().unwrap();
        let path = |k: usize| dir.path().join(format!("a-out-{k}.log"));
        for k in 0..LOGS {
            std::fs::write(path(k), lines("a", 0..10)).unwrap();
        }
        let mut tailer = tailer(dir.path(), Saved::default(), LOGS);
        tailer.sweep();
        for turn in 1..=2 {
            for k in 0..LOGS {
                let mut log = File::options().append(true).open(path(k)).unwrap();
                log.write_all(&lines("a", 10..13)).unwrap();
                std::fs::copy(path(k), dir.path().join(format!("a-out-{k}.log.{turn}"))).unwrap();
                std::fs::write(path(k), lines("a", 100 * turn..100 * turn + 10)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
            let before = files::LISTED.get();
            tailer.sweep();
            assert_eq!(
                counted(&tailer),
                10 * LOGS as u64 + u64::from(turn) * 13 * LOGS as u64
            );
            let listed = files::LISTED.get() - before;
            assert!(
                listed <= 4,
                "{LOGS} logs were emptied, and their directory listed {listed} times"
            );
        }
        // While somebody goes on renaming beside them, it is not listed for each either.
        for k in 0..LOGS {
            std::fs::copy(path(k), dir.path().join(format!("a-out-{k}.log.3"))).unwrap();
            std::fs::write(path(k), lines("a", 900..905)).unwrap();
        }
        let (stop, relaxed) = (
            std::sync::atomic::AtomicBool::new(false),
            std::sync::atomic::Ordering::Relaxed,
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(relaxed) {
                    std::fs::write(dir.path().join("b"), "x").unwrap();
                    std::fs::remove_file(dir.path().join("b")).unwrap();
                }
            });
            let before = files::LISTED.get();
            tailer.sweep();
            stop.store(true, relaxed);
            let listed = files::LISTED.get() - before;
            assert!(
                listed < LOGS as u32,
                "{LOGS} logs were emptied, and their directory listed {listed} times"
            );
        });
        (0..3).for_each(|_| _ = tailer.sweep());
        assert_eq!(counted(&tailer), LOGS as u64 * (10 + 2 * 13 + 5));
        assert_eq!(tailer.totals.copies_missing.value, 0);
    }
}
