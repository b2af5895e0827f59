//! Log files as bots write them and as rotation tools treat them, and an exact account of
//! what was written.
//!
//! Every line carries a number, and the number alone says which pattern the line holds. So
//! the account of a file is one number: how many lines were begun.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{Doing, Result};

/// The patterns that lines hold, with the remainder by [`CYCLE`] that says so, the text
/// before the number and the text behind it.
const HITS: [(&str, u64, &str, &str); 4] = [
    (
        "stream_errored",
        7,
        "[12:00:01.123] ERROR (77): stream errored out {\"n\":",
        "}",
    ),
    (
        "bad_mac",
        19,
        "Session error:Error: Bad MAC Error: Bad MAC ",
        "",
    ),
    (
        "closing_open_session",
        31,
        "Closing open session in favor of incoming prekey bundle ",
        "",
    ),
    (
        "decrypted_with_closed_session",
        43,
        "Decrypted message with closed session. ",
        "",
    ),
];
/// Of so many lines each pattern is in one.
const CYCLE: u64 = 50;
/// Lines written without a rest.
const BURST: u64 = 150;
/// A log is written with this many lines a second, in bursts at full speed.
const LINES_PER_SECOND: u64 = 3000;
/// A rotated file is removed after this long, so that a long run does not fill the disk.
const KEPT: Duration = Duration::from_secs(120);
/// How long the reader may take to catch up when a style waits for that.
const READ_WITHIN: Duration = Duration::from_secs(300);

/// The pattern that line number `n` holds.
pub fn pattern(n: u64) -> Option<&'static str> {
    HITS.iter().find(|hit| hit.1 == n % CYCLE).map(|hit| hit.0)
}

/// Line number `n`, with its newline. No line is part of another one's record, except the
/// stack line behind a Bad MAC.
pub fn line(n: u64) -> String {
    if let Some((_, _, before, after)) = HITS.iter().find(|hit| hit.1 == n % CYCLE) {
        return format!("{before}{n}{after}\n");
    }
    match n % CYCLE {
        20 => format!(
            "    at Object.verifyMAC (/opt/bot/node_modules/libsignal/src/crypto.js:87:15) {n}\n"
        ),
        10 | 30 => format!("[12:00:01.123] INFO (77): uploaded pre-keys {{\"n\":{n}}}\n"),
        _ => format!(
            "{{\"level\":30,\"time\":\"2026-01-01T00:00:00.000Z\",\"pid\":77,\"class\":\"baileys\",\"msg\":\"handled 0 offline messages/notifications\",\"n\":{n}}}\n"
        ),
    }
}

/// libsignal's stderr has no time stamps: such a log may hold one line over and over.
pub const SAME: &str = "Closing open session in favor of incoming prekey bundle\n";

/// The number of a line: its last digits.
fn number(line: &[u8]) -> Option<u64> {
    let end = line.iter().rposition(u8::is_ascii_digit)? + 1;
    let begin = line[..end]
        .iter()
        .rposition(|b| !b.is_ascii_digit())
        .map_or(0, |at| at + 1);
    std::str::from_utf8(&line[begin..end]).ok()?.parse().ok()
}

/// What was written, or counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines.
    pub lines: u64,
    /// Lines by the pattern they hold.
    pub matches: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Of the lines with these numbers.
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut tally = Self {
            lines: 0,
            matches: HITS.iter().map(|(pattern, ..)| (*pattern, 0)).collect(),
        };
        for n in numbers {
            tally.lines += 1;
            if let Some(pattern) = pattern(n) {
                *tally.matches.entry(pattern).or_default() += 1;
            }
        }
        tally
    }
}

/// What the reader under test has shown so far, for styles that wait for it.
#[derive(Debug, Default)]
pub struct Board {
    /// Lines counted, by session.
    counted: Mutex<BTreeMap<String, u64>>,
    /// Sessions whose series a Prometheus has stored.
    stored: Mutex<BTreeSet<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// Tells what was counted.
    pub fn show(&self, counted: BTreeMap<String, u64>) {
        *locked(&self.counted) = counted;
    }

    /// Tells of which sessions a Prometheus has samples.
    pub fn store(&self, sessions: BTreeSet<String>) {
        *locked(&self.stored) = sessions;
    }

    /// What was counted for a session.
    pub fn counted(&self, session: &str) -> Option<u64> {
        locked(&self.counted).get(session).copied()
    }

    /// Whether a Prometheus has a sample of the session.
    pub fn stored(&self, session: &str) -> bool {
        locked(&self.stored).contains(session)
    }
}

/// One log file and everything that becomes of it.
#[derive(Debug)]
pub struct Site {
    /// The session its lines belong to.
    pub session: String,
    /// Where it is written.
    pub path: PathBuf,
    begun: AtomicU64,
    /// All lines are [`SAME`].
    same: bool,
    /// Lines known to be lost or not: only where loss is inherent.
    survived: Mutex<Option<BTreeSet<u64>>>,
    rotations: AtomicU64,
    retired: Mutex<VecDeque<(Instant, PathBuf)>>,
    stop: Arc<AtomicBool>,
    board: Arc<Board>,
}

impl Site {
    /// A log `SESSION-out.log` (or `-error.log`) in a directory. Nothing is created.
    pub fn new(
        dir: &Path,
        session: &str,
        stream: &str,
        stop: Arc<AtomicBool>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            session: session.to_owned(),
            path: dir.join(format!("{session}-{stream}.log")),
            begun: AtomicU64::new(0),
            same: false,
            survived: Mutex::new(None),
            rotations: AtomicU64::new(0),
            retired: Mutex::default(),
            stop,
            board,
        }
    }

    /// All its lines are [`SAME`].
    pub fn of_same_lines(mut self) -> Self {
        self.same = true;
        self
    }

    /// A log that no test waits for.
    pub fn alone(dir: &Path, session: &str) -> Self {
        Self::new(dir, session, "out", Arc::default(), Arc::default())
    }

    /// The number of lines that were begun; a count is never higher.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// What was written. Meaningful once its writers have ended.
    pub fn written(&self) -> Tally {
        let mut tally = Tally::of(0..self.begun());
        if self.same {
            for (pattern, count) in &mut tally.matches {
                *count = if *pattern == "closing_open_session" {
                    tally.lines
                } else {
                    0
                };
            }
        }
        tally
    }

    /// What every reader could have read; less than what was written where loss is inherent.
    pub fn survived(&self) -> Tally {
        match &*locked(&self.survived) {
            Some(numbers) => Tally::of(numbers.iter().copied()),
            None => self.written(),
        }
    }

    /// How often it was rotated.
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::SeqCst)
    }

    /// Whether writing goes on.
    fn on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// Sleeps, shorter when writing ends.
    fn rest(&self, span: Duration) {
        let end = Instant::now() + span;
        while self.on() && Instant::now() < end {
            sleep(Duration::from_millis(20).min(span));
        }
    }

    /// Opens the file as a logger does, and creates it if need be.
    pub fn open(&self) -> Result<Writer<'_>> {
        Writer::at(self, &self.path)
    }

    /// `PATH` with something behind it.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// A name for a rotated file, `PATH.K`, never used before.
    pub fn rotated(&self) -> PathBuf {
        let k = self.rotations.fetch_add(1, Ordering::SeqCst) + 1;
        self.retire(self.beside(&format!(".{k}")))
    }

    /// pm2-logrotate's name for a rotated file.
    pub fn pm2_rotated(&self) -> PathBuf {
        let k = self.rotations.fetch_add(1, Ordering::SeqCst) + 1;
        let stem = self.path.with_extension("");
        let date = format!(
            "__2026-01-01_{:02}-{:02}-{:02}.log",
            k / 3600 % 24,
            k / 60 % 60,
            k % 60
        );
        let mut name = stem.into_os_string();
        name.push(date);
        self.retire(name.into())
    }

    /// Frees `PATH.1` as logrotate does: each `PATH.K` becomes `PATH.K+1`. So many are kept that
    /// none is removed within two minutes at one rotation in 0.8 seconds.
    pub fn shift(&self) -> Result<PathBuf> {
        const KEEP: u64 = 150;
        self.rotations.fetch_add(1, Ordering::SeqCst);
        for k in (1..=KEEP).rev() {
            let (from, to) = (
                self.beside(&format!(".{k}")),
                self.beside(&format!(".{}", k + 1)),
            );
            if from.exists() {
                fs::rename(&from, &to).doing(from.display())?;
            }
        }
        remove(&self.beside(&format!(".{}", KEEP + 1)))?;
        Ok(self.beside(".1"))
    }

    /// Removes rotated files that are old.
    fn retire(&self, path: PathBuf) -> PathBuf {
        let mut retired = locked(&self.retired);
        retired.push_back((Instant::now(), path.clone()));
        while retired
            .front()
            .is_some_and(|(since, _)| since.elapsed() > KEPT)
        {
            if let Some((_, old)) = retired.pop_front() {
                let _ = remove(&old);
            }
        }
        path
    }

    /// Waits until everything written was counted.
    fn wait_read(&self) -> Result<()> {
        let end = Instant::now() + READ_WITHIN;
        while self.board.counted(&self.session) != Some(self.begun()) {
            if Instant::now() > end {
                let counted = self.board.counted(&self.session);
                return Err(format!(
                    "{}: {} written, {counted:?} counted",
                    self.session,
                    self.begun()
                ));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(path.display())
        }
        _ => Ok(()),
    }
}

/// Empties a file, as `truncate -s 0` does.
pub fn truncate(path: &Path) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(0))
        .doing(path.display())
}

/// Compresses a file into another one.
pub fn gzip(from: &Path, to: &Path) -> Result<()> {
    let mut encoder = GzEncoder::new(
        File::create_new(to).doing(to.display())?,
        Compression::fast(),
    );
    std::io::copy(&mut File::open(from).doing(from.display())?, &mut encoder)
        .doing(to.display())?;
    encoder.finish().doing(to.display())?;
    Ok(())
}

/// An open file descriptor of a process that writes lines.
#[derive(Debug)]
pub struct Writer<'a> {
    site: &'a Site,
    file: File,
    /// Puts bytes that are no UTF-8 into every line.
    dirty: bool,
    since: Instant,
    wrote: u64,
}

impl<'a> Writer<'a> {
    /// Appends to some file lines that belong to the site.
    pub fn at(site: &'a Site, path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .doing(path.display())?;
        Ok(Self::with(site, file))
    }

    fn with(site: &'a Site, file: File) -> Self {
        Self {
            site,
            file,
            dirty: false,
            since: Instant::now(),
            wrote: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.wrote += 1;
        self.site.begun.fetch_add(1, Ordering::SeqCst)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).doing(self.site.path.display())
    }

    /// Writes lines as fast as it can, each with a write of its own, as loggers do.
    pub fn burst(&mut self, lines: u64) -> Result<()> {
        for _ in 0..lines {
            let n = self.next();
            let text = if self.site.same {
                SAME.to_owned()
            } else {
                line(n)
            };
            if self.dirty {
                let mut bytes = b"\xff\xfe\x80 ".to_vec();
                bytes.extend_from_slice(text.trim_end().as_bytes());
                bytes.extend_from_slice(b" \xc3\x28\xf0\n");
                self.write(&bytes)?;
            } else {
                self.write(text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes until the next line is number `remainder` of a cycle.
    fn align(&mut self, remainder: u64) -> Result<()> {
        while self.site.begun() % CYCLE != remainder {
            self.burst(1)?;
        }
        Ok(())
    }

    /// Writes bursts at full speed with rests in between.
    fn run(&mut self, span: Duration, lines_per_second: u64) -> Result<()> {
        (self.since, self.wrote) = (Instant::now(), 0);
        while self.since.elapsed() < span && self.site.on() {
            self.burst(BURST)?;
            let due = Duration::from_micros(self.wrote * 1_000_000 / lines_per_second);
            sleep(due.saturating_sub(self.since.elapsed()));
        }
        Ok(())
    }

    /// Writes for a number of milliseconds at the usual pace.
    fn go(&mut self, ms: u64) -> Result<()> {
        self.run(Duration::from_millis(ms), LINES_PER_SECOND)
    }

    /// Writes a line that holds a pattern but stops within it; returns the rest.
    pub fn half(&mut self) -> Result<Vec<u8>> {
        let hit = HITS[(self.site.begun() / CYCLE % HITS.len() as u64) as usize];
        self.align(hit.1)?;
        let text = line(self.next()).into_bytes();
        // The pattern stands before the number.
        let (half, rest) = text.split_at(hit.2.len() - 8);
        self.write(half)?;
        Ok(rest.to_vec())
    }

    /// Writes what [`Self::half`] left.
    pub fn rest(&mut self, rest: &[u8]) -> Result<()> {
        self.write(rest)
    }

    /// Writes a line that holds a pattern, and no newline behind it.
    pub fn unfinished(&mut self) -> Result<()> {
        let mut rest = self.half()?;
        rest.pop();
        self.write(&rest)
    }
}

/// Which files of a site the reader follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glob {
    /// `*.log` of the directory they share, as `~/.pm2/logs/*.log`.
    Shared,
    /// `SESSION*` of another directory: rotated files too.
    All,
    /// `SESSION-out.log`: one file.
    One,
}

/// A way to write and rotate a log.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Its name, and the session's.
    pub name: &'static str,
    /// What the reader follows.
    pub glob: Glob,
    /// `out` or `error`.
    pub stream: &'static str,
    /// Whether the file is there, empty, before the reader starts.
    pub there: bool,
    /// Whether all lines are the same.
    pub same: bool,
    /// Whether every line can be counted by a reader that looks often enough. Where all lines
    /// are the same, one generation cannot always be distinguished from a copy of another: then only
    /// that nothing is counted twice is certain.
    pub exact: bool,
    run: fn(&Site) -> Result<()>,
}

impl Style {
    /// Writes and rotates until the site is stopped.
    pub fn run(&self, site: &Site) -> Result<()> {
        (self.run)(site).doing(self.name)
    }
}

const fn style(name: &'static str, run: fn(&Site) -> Result<()>) -> Style {
    Style {
        name,
        glob: Glob::Shared,
        stream: "out",
        there: true,
        same: false,
        exact: true,
        run,
    }
}

/// All styles.
pub const STYLES: [Style; 27] = [
    style("no-rotation", no_rotation),
    style("rename-create", rename_create),
    Style {
        stream: "error",
        ..style("old-still-written", old_still_written)
    },
    style("gap-before-the-new-file", gap),
    Style {
        stream: "error",
        ..style("copytruncate-paused", copytruncate_paused)
    },
    Style {
        exact: false,
        ..style("copytruncate-under-load", copytruncate_under_load)
    },
    style("regrown-past-the-old-offset", regrown),
    style("truncated-without-copy", truncated_without_copy),
    style("pm2-logrotate", pm2_logrotate),
    Style {
        glob: Glob::One,
        ..style("pm2-logrotate-one-file", pm2_logrotate)
    },
    style("pm2-logrotate-gzip", pm2_logrotate_gzip),
    style("hard-link", hard_link),
    style("rename-gzip-unlink", rename_gzip),
    style("deleted-and-recreated", deleted),
    style("renamed-into-place", renamed_into_place),
    Style {
        glob: Glob::All,
        ..style("glob-matches-rotated", glob_matches_rotated)
    },
    Style {
        glob: Glob::All,
        ..style("glob-matches-copies", copytruncate_paused)
    },
    style("match-cut-in-two", cut),
    Style {
        there: false,
        ..style("appears-later", appears_later)
    },
    style("no-newline-at-the-end", no_newline),
    style("invalid-utf-8", invalid_utf8),
    style("sparse-after-truncation", sparse),
    Style {
        stream: "error",
        ..style("rename-full-speed", rename_full_speed)
    },
    style("long-lines", long_lines),
    Style {
        same: true,
        exact: false,
        stream: "error",
        ..style("same-lines-renamed", rename_create)
    },
    Style {
        same: true,
        exact: false,
        stream: "error",
        ..style("same-lines-copytruncate", copytruncate_paused)
    },
    Style {
        same: true,
        exact: false,
        stream: "error",
        ..style("same-lines-pm2-logrotate", pm2_logrotate)
    },
];

fn no_rotation(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(1000)?;
    }
    Ok(())
}

fn rename_create(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(700)?;
        log.burst(BURST)?;
        fs::rename(&site.path, site.shift()?).doing("rename")?;
        log = site.open()?;
        log.burst(BURST)?;
    }
    Ok(())
}

/// The program gets a signal to reopen its log, and takes a second over it; another process of
/// the same program has done so already.
fn old_still_written(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(1500)?;
        fs::rename(&site.path, site.rotated()).doing("rename")?;
        let mut new = site.open()?;
        for _ in 0..20 {
            log.burst(BURST / 2)?;
            new.burst(BURST / 2)?;
            sleep(Duration::from_millis(50));
        }
        log = new;
    }
    Ok(())
}

fn gap(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(1200)?;
        fs::rename(&site.path, site.rotated()).doing("rename")?;
        log.burst(BURST)?;
        sleep(Duration::from_millis(300));
        log = site.open()?;
        log.burst(BURST)?;
    }
    Ok(())
}

fn copytruncate_paused(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(2500)?;
        log.burst(BURST)?;
        fs::copy(&site.path, site.shift()?).doing("copy")?;
        truncate(&site.path)?;
        log.burst(BURST)?;
    }
    Ok(())
}

/// The writer takes no notice of the copying, so lines fall between copy and truncation.
/// Which ones did survive is read from the files.
fn copytruncate_under_load(site: &Site) -> Result<()> {
    let mut survived = BTreeSet::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut log = site.open()?;
            while site.on() {
                log.run(Duration::from_secs(1), 4 * LINES_PER_SECOND)?;
            }
            Result::Ok(())
        });
        while site.on() {
            site.rest(Duration::from_millis(2500));
            let copy = site.rotated();
            fs::copy(&site.path, &copy).doing("copy")?;
            // As on a machine that has other things to do as well.
            sleep(Duration::from_millis(2));
            truncate(&site.path)?;
            survivors(&copy, &mut survived)?;
        }
        writer.join().map_err(|_| "the writer panicked")?
    })?;
    survivors(&site.path, &mut survived)?;
    *locked(&site.survived) = Some(survived);
    Ok(())
}

fn survivors(path: &Path, into: &mut BTreeSet<u64>) -> Result<()> {
    let bytes = fs::read(path).doing(path.display())?;
    let whole = bytes
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    into.extend(bytes[..whole].split(|b| *b == b'\n').filter_map(number));
    Ok(())
}

/// So quickly that a look before and a look after see a file that only grew.
fn regrown(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(2500)?;
        let len = fs::metadata(&site.path).doing("stat")?.len();
        fs::copy(&site.path, site.rotated()).doing("copy")?;
        truncate(&site.path)?;
        while fs::metadata(&site.path).doing("stat")?.len() < len + 4096 {
            log.burst(100)?;
        }
        site.rest(Duration::from_millis(300));
    }
    Ok(())
}

fn truncated_without_copy(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(2500)?;
        site.wait_read()?;
        site.rotations.fetch_add(1, Ordering::SeqCst);
        truncate(&site.path)?;
        log.burst(BURST)?;
    }
    Ok(())
}

/// The copy is written bit by bit while the log grows, then the log is truncated. pm2-logrotate
/// loses what is written between its last read and the truncation; here nothing is.
fn pm2_logrotate(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(2500)?;
        let to = site.pm2_rotated();
        let mut copy = File::create_new(&to).doing(to.display())?;
        stream(site, &mut log, &mut copy)?;
        truncate(&site.path)?;
        log.burst(BURST)?;
    }
    Ok(())
}

fn pm2_logrotate_gzip(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(2500)?;
        let mut to = site.pm2_rotated().into_os_string();
        to.push(".gz");
        let to = site.retire(to.into());
        let mut copy = GzEncoder::new(
            File::create_new(&to).doing(to.display())?,
            Compression::fast(),
        );
        stream(site, &mut log, &mut copy)?;
        copy.finish().doing("gzip")?;
        truncate(&site.path)?;
        log.burst(BURST)?;
    }
    Ok(())
}

/// Copies to the end of the log, which grows meanwhile.
fn stream(site: &Site, log: &mut Writer, to: &mut dyn Write) -> Result<()> {
    let mut from = File::open(&site.path).doing("open")?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut chunk).doing("read")?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..read]).doing("copy")?;
        if read == chunk.len() {
            log.burst(50)?;
            sleep(Duration::from_millis(10));
        }
    }
}

fn hard_link(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(1200)?;
        log.burst(BURST)?;
        fs::hard_link(&site.path, site.rotated()).doing("link")?;
        let new = site.beside(".new");
        File::create_new(&new).doing(new.display())?;
        fs::rename(&new, &site.path).doing("rename")?;
        log.burst(BURST)?;
        log = site.open()?;
        log.burst(BURST)?;
    }
    Ok(())
}

fn rename_gzip(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(2500)?;
        log.burst(BURST)?;
        let old = site.rotated();
        fs::rename(&site.path, &old).doing("rename")?;
        log = site.open()?;
        log.burst(BURST)?;
        let mut packed = old.clone().into_os_string();
        packed.push(".gz");
        gzip(&old, &site.retire(packed.into()))?;
        fs::remove_file(&old).doing("unlink")?;
    }
    Ok(())
}

fn deleted(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(1500)?;
        site.wait_read()?;
        site.rotations.fetch_add(1, Ordering::SeqCst);
        fs::remove_file(&site.path).doing("unlink")?;
        // Closed first: the new file may then get the inode of the old one.
        drop(log);
        log = site.open()?;
        log.burst(BURST)?;
    }
    Ok(())
}

fn renamed_into_place(site: &Site) -> Result<()> {
    let prepared = site
        .path
        .parent()
        .ok_or("a path without a directory")?
        .with_file_name("prepared");
    fs::create_dir_all(&prepared).doing(prepared.display())?;
    let prepared = prepared.join(&site.session);
    let mut log = site.open()?;
    while site.on() {
        log.go(1500)?;
        site.wait_read()?;
        site.rotations.fetch_add(1, Ordering::SeqCst);
        let mut new = Writer::at(site, &prepared)?;
        new.burst(2 * BURST)?;
        fs::rename(&prepared, &site.path).doing("rename")?;
        new.burst(BURST)?;
        log = new;
    }
    Ok(())
}

/// Rotated files are renamed on and on, and packed some rotations later.
fn glob_matches_rotated(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(1200)?;
        log.burst(BURST)?;
        fs::rename(&site.path, site.shift()?).doing("rename")?;
        log = site.open()?;
        log.burst(BURST)?;
        let (old, packed) = (
            site.beside(".9"),
            site.beside(&format!("-{}.gz", site.rotations())),
        );
        if old.exists() {
            gzip(&old, &packed)?;
            fs::remove_file(&old).doing("unlink")?;
        }
    }
    Ok(())
}

/// Every fourth time the file is rotated between the two halves.
fn cut(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    for turn in 1u64.. {
        if !site.on() {
            break;
        }
        log.go(150)?;
        let rest = log.half()?;
        sleep(Duration::from_millis(turn * 37 % 300));
        if turn % 4 == 0 {
            fs::rename(&site.path, site.rotated()).doing("rename")?;
            let mut new = site.open()?;
            new.burst(BURST)?;
            sleep(Duration::from_millis(turn * 37 % 300));
            log.rest(&rest)?;
            log = new;
        } else {
            log.rest(&rest)?;
        }
    }
    Ok(())
}

fn appears_later(site: &Site) -> Result<()> {
    site.rest(Duration::from_secs(5));
    let mut log = site.open()?;
    while site.on() && !site.board.stored(&site.session) {
        // Its series has to begin at 0 for `increase()`.
        sleep(Duration::from_millis(50));
    }
    while site.on() {
        log.go(1000)?;
    }
    Ok(())
}

fn no_newline(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        log.go(1500)?;
        log.unfinished()?;
        fs::rename(&site.path, site.rotated()).doing("rename")?;
        log = site.open()?;
        log.burst(BURST)?;
    }
    Ok(())
}

fn invalid_utf8(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    log.dirty = true;
    while site.on() {
        log.go(2000)?;
        fs::rename(&site.path, site.rotated()).doing("rename")?;
        log = site.open()?;
        log.dirty = true;
        log.burst(BURST)?;
    }
    Ok(())
}

/// `node bot.js > log`: without O_APPEND the writer goes on where it was, behind a hole.
fn sparse(site: &Site) -> Result<()> {
    let open = || {
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&site.path)
            .doing("open")
    };
    let mut log = Writer::with(site, open()?);
    for turn in 1u64.. {
        if !site.on() {
            break;
        }
        log.go(2500)?;
        // The line behind the hole is one that holds no pattern.
        log.align(0)?;
        fs::copy(&site.path, site.rotated()).doing("copy")?;
        truncate(&site.path)?;
        if turn % 4 == 0 {
            // The bot restarts, or the hole would grow for ever.
            log.file.rewind().doing("seek")?;
        }
        log.burst(BURST)?;
    }
    Ok(())
}

fn rename_full_speed(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    while site.on() {
        // Three rotations in one go, then a rest: for its bursts this one has no pace.
        for _ in 0..3 {
            log.burst(20 * BURST)?;
            fs::rename(&site.path, site.rotated()).doing("rename")?;
            log.burst(BURST)?;
            log = site.open()?;
        }
        site.rest(Duration::from_millis(2500));
    }
    Ok(())
}

/// Lines of many kilobytes, below any sensible bound, cut by a reader of chunks.
fn long_lines(site: &Site) -> Result<()> {
    let mut log = site.open()?;
    for turn in 1u64.. {
        if !site.on() {
            break;
        }
        log.go(100)?;
        log.align(20)?;
        let n = log.next();
        let text = format!(
            "{}{n}\n",
            "x".repeat((1000 + turn * 7919 % 50_000) as usize)
        );
        log.write(text.as_bytes())?;
        if turn % 16 == 0 {
            fs::rename(&site.path, site.rotated()).doing("rename")?;
            log = site.open()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_number() {
        for n in 0..2000 {
            assert_eq!(number(line(n).as_bytes()), Some(n));
        }
        let tally = Tally::of(0..100);
        assert_eq!(tally.lines, 100);
        assert!(tally.matches.len() == 4 && tally.matches.values().all(|count| *count == 2));
    }

    #[test]
    fn halves_and_unfinished_lines_are_one_line_each() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::alone(dir.path(), "bot");
        let mut log = site.open().unwrap();
        let rest = log.half().unwrap();
        assert!(!fs::read(&site.path).unwrap().ends_with(b"\n"));
        log.rest(&rest).unwrap();
        log.burst(3).unwrap();
        log.unfinished().unwrap();
        let text = fs::read_to_string(&site.path).unwrap();
        assert_eq!(text.lines().count() as u64, site.begun());
        let expected: String = (0..site.begun()).map(line).collect();
        assert_eq!(text, expected.trim_end());
    }

    #[test]
    fn every_style_leaves_the_lines_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let (stop, board): (Arc<AtomicBool>, Arc<Board>) = Default::default();
        let sites: Vec<(Style, Site)> = STYLES
            .into_iter()
            .map(|style| {
                let logs = dir.path().join(style.name).join("logs");
                fs::create_dir_all(&logs).unwrap();
                (
                    style,
                    Site::new(&logs, style.name, style.stream, stop.clone(), board.clone()),
                )
            })
            .collect();
        std::thread::scope(|scope| {
            let running: Vec<_> = sites
                .iter()
                .map(|(style, site)| scope.spawn(|| style.run(site)))
                .collect();
            let began = Instant::now();
            while !running.iter().all(|thread| thread.is_finished()) {
                // A reader that has always read everything.
                board.show(
                    sites
                        .iter()
                        .map(|(_, site)| (site.session.clone(), site.begun()))
                        .collect(),
                );
                sleep(Duration::from_millis(5));
                stop.store(
                    began.elapsed() > Duration::from_millis(800),
                    Ordering::SeqCst,
                );
            }
            for thread in running {
                thread.join().unwrap().unwrap();
            }
        });
        for (style, site) in sites {
            let (written, survived) = (site.written(), site.survived());
            assert!(written.lines > 0 || !style.there, "{}", style.name);
            assert!(if style.exact {
                survived == written
            } else {
                survived.lines <= written.lines
            });
        }
    }
}
