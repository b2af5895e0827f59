//! Which files there are: globs, their matches, and who is a rotated form of whom.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use crate::folder::Timestamp;

/// Directories below a glob's fixed part are entered this deep at most.
const MAX_DEPTH: usize = 16;
/// Not text: never read as a log, though looked into for a copy.
const COMPRESSED: [&str; 6] = ["gz", "zst", "xz", "bz2", "lz4", "zip"];

/// One `--logs.path`.
#[derive(Clone, Debug)]
pub struct LogGlob {
    text: String,
    base: PathBuf,
    depth: usize,
    matcher: Option<GlobMatcher>,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
}

/// What `stat` says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which file.
    pub id: FileId,
    /// Bytes.
    pub size: u64,
    /// When it was written last.
    pub modified: Timestamp,
    /// Names it has.
    pub links: u64,
}

impl From<&Metadata> for Stat {
    fn from(meta: &Metadata) -> Self {
        Self {
            id: FileId {
                dev: meta.dev(),
                ino: meta.ino(),
            },
            size: meta.len(),
            modified: Timestamp::from_stat(meta.mtime(), meta.mtime_nsec()),
            links: meta.nlink(),
        }
    }
}

/// A file that a glob matches.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its path.
    pub path: PathBuf,
    /// What it is.
    pub stat: Stat,
}

impl LogGlob {
    /// A glob over paths, `*` within one directory, `**` across; or a plain path.
    ///
    /// Errors: a sentence without the flag's name.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a path or a glob is missing".into());
        }
        let path = std::path::absolute(text).map_err(|error| format!("{text:?}: {error}"))?;
        let is_glob =
            |part: &std::ffi::OsStr| part.to_string_lossy().contains(['*', '?', '[', '{']);
        let parts: Vec<_> = path.iter().collect();
        let fixed = parts.iter().position(|part| is_glob(part));
        let Some(fixed) = fixed else {
            return Ok(Self {
                text: text.to_owned(),
                base: path,
                depth: 0,
                matcher: None,
            });
        };
        let base: PathBuf = parts[..fixed].iter().collect();
        let deep = parts[fixed..]
            .iter()
            .any(|part| part.to_string_lossy().contains("**"));
        let glob = path
            .to_str()
            .ok_or_else(|| format!("{text:?} is not UTF-8"))?;
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| format!("{text:?} is not a glob: {error}"))?
            .compile_matcher();
        let depth = if deep { MAX_DEPTH } else { parts.len() - fixed };
        Ok(Self {
            text: text.to_owned(),
            base,
            depth,
            matcher: Some(matcher),
        })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The directory to watch for changes.
    pub fn directory(&self) -> &Path {
        match self.matcher {
            Some(_) => &self.base,
            None => self.base.parent().unwrap_or(&self.base),
        }
    }

    /// Whether it matches this path.
    pub fn matches(&self, path: &Path) -> bool {
        match &self.matcher {
            Some(matcher) => matcher.is_match(path),
            None => self.base == path,
        }
    }

    /// Calls `each` for every regular file that matches, compressed ones left out, and
    /// `failed` for what could not be looked at. A base that is not there yet is no failure.
    pub fn list(&self, mut each: impl FnMut(Listed), mut failed: impl FnMut(&Path, io::Error)) {
        let mut take = |path: PathBuf| match path.metadata() {
            Ok(meta) if meta.is_file() => each(Listed {
                stat: Stat::from(&meta),
                path,
            }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed(&path, error),
        };
        let Some(matcher) = &self.matcher else {
            return take(self.base.clone());
        };
        let mut missed = Vec::new();
        for entry in WalkDir::new(&self.base).min_depth(1).max_depth(self.depth) {
            match entry {
                Ok(entry) => {
                    let path = entry.path();
                    if !entry.file_type().is_dir() && !is_compressed(path) && matcher.is_match(path)
                    {
                        take(entry.into_path());
                    }
                }
                Err(error) => missed.push(error),
            }
        }
        for error in missed {
            let path = error.path().unwrap_or(&self.base).to_owned();
            let gone = error
                .io_error()
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
            if !gone {
                failed(&path, error.into());
            }
        }
    }
}

impl fmt::Display for LogGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether the name says that it is compressed.
pub fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|ext| {
        COMPRESSED
            .iter()
            .any(|known| ext.eq_ignore_ascii_case(known))
    })
}

/// Whether the name says gzip.
pub fn is_gzip(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ext| ext.eq_ignore_ascii_case("gz"))
}

/// Whether `name` is what a rotation would call the log `of`: `of` or its stem, then
/// numbers, dates or words such as `old`. `bot10.log` is none of `bot1.log`.
///
/// Behind the log's whole name nothing else can stand. Between its stem and its extension
/// another bot's name may go on (`company_962302.log` beside `company.log`), so there it
/// must be what rotations write: a date, or something behind a dot (logrotate's
/// `extension`) or behind two underscores (pm2-logrotate).
pub fn is_rotation_of(name: &str, of: &str) -> bool {
    let stem = of.rsplit_once('.').map_or(of, |(stem, _)| stem);
    let (tail, behind_all) = match (name.strip_prefix(of), name.strip_prefix(stem)) {
        (Some(tail), _) => (tail, stem.len() < of.len()),
        (None, Some(tail)) => (tail, false),
        (None, None) => return false,
    };
    if name == of || !tail.starts_with(['.', '-', '_']) {
        return false;
    }
    let is_marked = tail.starts_with('.') || tail.starts_with("__") || is_date(&tail[1..]);
    if !behind_all && !is_marked {
        return false;
    }
    let words = tail
        .split(['.', '-', '_', ':', '+', 'T', 'Z'])
        .filter(|word| !word.is_empty());
    let mut numbered = false;
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "old" | "bak" | "prev" | "rotated" | "orig" => numbered = true,
            "log" | "txt" | "json" | "jsonl" | "gz" => {}
            word if word.bytes().all(|b| b.is_ascii_digit()) => numbered = true,
            _ => return false,
        }
    }
    numbered || tail.ends_with(".gz")
}

/// Whether a text begins with a date of this century: `2026-01…`, `20260101`, with the hour
/// (`2026010107`) or to the second (`20260101070000`). Numbers of bots and telephones are
/// hardly ever such.
fn is_date(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (year, rest) = text.split_at(digits.min(4));
    let within = |part: Option<&str>, most: u32| {
        part.and_then(|part| part.parse::<u32>().ok())
            .is_some_and(|number| (1..=most).contains(&number))
    };
    year.starts_with("20")
        && match digits {
            4 => {
                rest.starts_with(['-', '_', '.'])
                    && within(rest.get(1..3), 12)
                    && !rest[3..].starts_with(|c: char| c.is_ascii_digit())
            }
            8 | 10 | 14 => within(rest.get(..2), 12) && within(rest.get(2..4), 31),
            _ => false,
        }
}

/// The files beside logs, for one look at many of them: a directory is listed again only
/// where it was changed since, and so often at most.
#[derive(Debug, Default)]
pub struct Around {
    directories: HashMap<PathBuf, Names>,
    /// By log, as long as its directory is as it was.
    rotations: HashMap<PathBuf, Beside>,
}

/// A directory's sorted names, and when it had been changed last.
#[derive(Debug, Default)]
struct Names {
    names: Vec<OsString>,
    changed: Option<SystemTime>,
    /// That was long enough before the listing: a change after it would show.
    settled: bool,
    /// How often it was listed in this look.
    listed: u32,
}

impl Names {
    fn list(&mut self, dir: &Path) -> io::Result<()> {
        #[cfg(test)]
        LISTED.set(LISTED.get() + 1);
        self.listed += 1;
        self.changed = changed(dir);
        // Told before the listing: between the two this thread may have had to wait.
        self.settled = self
            .changed
            .is_some_and(|at| at.elapsed().map_or(true, |ago| ago > TICKS));
        let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
        self.names = names.collect::<io::Result<Vec<OsString>>>()?;
        self.names.sort_unstable();
        Ok(())
    }

    /// Whether these are all the names there are, as far as its time tells.
    fn holds(&self, dir: &Path) -> bool {
        self.settled && self.changed == changed(dir)
    }
}

/// The files beside a log that a rotation of it may have made, compressed ones included,
/// oldest first.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The files.
    pub files: Vec<Listed>,
    /// Whether that is all: files that are renamed in turn while they are listed may be
    /// missed.
    pub all: bool,
}

#[cfg(test)]
thread_local! {
    /// Directories listed by this thread, for tests of the cost.
    pub(super) static LISTED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// For one log a directory that changes meanwhile is listed so often,
const LISTINGS: u32 = 4;
/// and for all logs in it so often. Many logs may be rotated at once; those that are left
/// over have their turn at the next look.
const LISTINGS_IN_ALL: u32 = 32;
/// A directory's time is that of the kernel's last tick.
const TICKS: Duration = Duration::from_millis(10);

impl Around {
    /// What is beside the log `path`.
    pub fn rotations(&mut self, path: &Path) -> io::Result<&Beside> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(self
                .rotations
                .entry(path.to_owned())
                .insert_entry(Beside::nothing())
                .into_mut());
        };
        let is_known = self.rotations.get(path).is_some_and(|beside| beside.all)
            && self
                .directories
                .get(dir)
                .is_some_and(|names| names.holds(dir));
        if !is_known {
            let beside = self.list(dir, name)?;
            self.rotations.insert(path.to_owned(), beside);
        }
        Ok(self.rotations.entry(path.to_owned()).or_default())
    }

    /// In a directory that is at rest one listing tells all. Where it changes, a file is missed
    /// if it is renamed during the listing; it is all if two listings in a row agree on this
    /// log's names and on which file each is, for whatever is renamed shows in the second.
    fn list(&mut self, dir: &Path, name: &OsStr) -> io::Result<Beside> {
        let known = self.directories.entry(dir.to_owned()).or_default();
        let mut union: Vec<Listed> = Vec::new();
        let mut before: Option<Vec<(PathBuf, FileId)>> = None;
        let mut all = false;
        for _ in 0..LISTINGS {
            if before.is_some() || !known.holds(dir) {
                if known.listed >= LISTINGS_IN_ALL {
                    union = with(union, rotations_among(&known.names, dir, name));
                    break;
                }
                known.list(dir)?;
            }
            let files = rotations_among(&known.names, dir, name);
            let mut now: Vec<_> = files.iter().map(|l| (l.path.clone(), l.stat.id)).collect();
            now.sort_unstable();
            union = with(union, files);
            all = known.holds(dir) || before.is_some_and(|before| before == now);
            if all {
                break;
            }
            before = Some(now);
        }
        union.sort_by_key(|listed| listed.stat.modified);
        Ok(Beside { files: union, all })
    }
}

/// Both; of a file that is in both what was seen last.
fn with(before: Vec<Listed>, now: Vec<Listed>) -> Vec<Listed> {
    let is_old = |listed: &Listed| now.iter().all(|new| new.stat.id != listed.stat.id);
    before
        .into_iter()
        .filter(is_old)
        .chain(now.clone())
        .collect()
}

impl Beside {
    fn nothing() -> Self {
        Self {
            files: Vec::new(),
            all: true,
        }
    }
}

fn changed(dir: &Path) -> Option<SystemTime> {
    dir.metadata().and_then(|meta| meta.modified()).ok()
}

/// Of sorted names in `dir` those that a rotation of `of` may have made.
fn rotations_among(names: &[OsString], dir: &Path, of: &OsStr) -> Vec<Listed> {
    let text = of.to_string_lossy();
    let stem = of
        .as_bytes()
        .rsplitn(2, |byte| *byte == b'.')
        .last()
        .unwrap_or_default();
    let first = names.partition_point(|name| name.as_bytes() < stem);
    let beside = names[first..]
        .iter()
        .take_while(|name| name.as_bytes().starts_with(stem));
    let mut found = Vec::new();
    for name in beside.filter(|name| is_rotation_of(&name.to_string_lossy(), &text)) {
        let path = dir.join(name);
        if let Ok(meta) = path.metadata()
            && meta.is_file()
        {
            found.push(Listed {
                stat: Stat::from(&meta),
                path,
            });
        }
    }
    found.sort_by_key(|listed| listed.stat.modified);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rotations_are_called() {
        for (name, of, is) in [
            ("a-out.log.1", "a-out.log", true),
            ("a-out.log.12.gz", "a-out.log", true),
            ("a-out.log.gz", "a-out.log", true),
            ("a-out.log-20260101", "a-out.log", true),
            ("a-out__2026-01-01_00-00-00.log", "a-out.log", true),
            ("a-out__2026-01-01_00-00-00.log.gz", "a-out.log", true),
            ("a-out-2026-01-01T00:00:00Z.log", "a-out.log", true),
            ("a-out.log.old", "a-out.log", true),
            ("a-out.1.log", "a-out.log", true),
            ("a-out.log", "a-out.log", false),
            ("a-out1.log", "a-out.log", false),
            ("bot10.log", "bot1.log", false),
            ("company_962303.log", "company_962302.log", false),
            ("a-out-extra.log", "a-out.log", false),
            ("a-error.log.1", "a-out.log", false),
            ("a-out.log.tmp", "a-out.log", false),
            // What logrotate writes with `extension .log`, and dates of other loggers.
            ("a-out-20260101.log", "a-out.log", true),
            ("a-out-2026010107.log", "a-out.log", true),
            ("a-out-20260101-1767225600.log", "a-out.log", true),
            ("a-out.2026-01-01.log", "a-out.log", true),
            ("a-out.old.log", "a-out.log", true),
            ("a-out__01-02-2026.log", "a-out.log", true),
            ("a-out.log-1767225600", "a-out.log", true),
            ("wa.1", "wa", true),
            ("wa-20260101", "wa", true),
            ("wa-20260101.gz", "wa", true),
            // Other bots' logs, and those of other processes of the same name under pm2.
            ("company_962302.log", "company.log", false),
            ("wa-1.log", "wa.log", false),
            ("wa-1.log.1", "wa.log", false),
            ("wa-1.log.gz", "wa.log", false),
            ("wa_2.log", "wa.log", false),
            ("wa-old.log", "wa.log", false),
            ("wa-79151112233.log", "wa.log", false),
            ("wa-201501230567.log", "wa.log", false),
            ("wa-2026.log", "wa.log", false),
            ("wa-20261301.log", "wa.log", false),
            ("wa-2026-13.log", "wa.log", false),
            ("a-out-0.log", "a-out.log", false),
            ("wa_962302", "wa", false),
            ("wa-1", "wa", false),
        ] {
            assert_eq!(is_rotation_of(name, of), is, "{name} of {of}");
        }
    }

    /// A file that is renamed behind the listing's back is not taken for gone.
    #[test]
    fn a_directory_that_changes_is_not_taken_for_listed() {
        const FILES: usize = 200;
        let dir = tempfile::tempdir().unwrap();
        let (log, relaxed) = (
            dir.path().join("a.log"),
            std::sync::atomic::Ordering::Relaxed,
        );
        let name = |n: usize| dir.path().join(format!("a.log.{n}"));
        for n in 1..=FILES {
            std::fs::write(name(n), "x").unwrap();
        }
        std::thread::sleep(TICKS * 2);
        let all = Around::default().rotations(&log).unwrap().clone();
        assert_eq!((all.files.len(), all.all), (FILES, true));
        let (stop, shifts) = (
            std::sync::atomic::AtomicBool::new(false),
            std::sync::atomic::AtomicUsize::new(0),
        );
        let (mut whole, mut parts) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // As logrotate does it; then back again, and a rest.
                while !stop.load(relaxed) {
                    (1..=FILES)
                        .rev()
                        .for_each(|n| std::fs::rename(name(n), name(n + 1)).unwrap());
                    (1..=FILES).for_each(|n| std::fs::rename(name(n + 1), name(n)).unwrap());
                    shifts.fetch_add(1, relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let end = std::time::Instant::now() + Duration::from_secs(60);
            // The scheduler may keep either from it now and then.
            while (whole < 50 || parts < 50 || shifts.load(relaxed) < 20)
                && std::time::Instant::now() < end
            {
                let beside = Around::default().rotations(&log).unwrap().clone();
                match beside.all {
                    true if beside.files.len() != FILES => {
                        stop.store(true, relaxed);
                        panic!("{} of {FILES} files are taken for all", beside.files.len());
                    }
                    true => whole += 1,
                    false => parts += 1,
                }
            }
            stop.store(true, relaxed);
        });
        assert!(
            whole > 0 && shifts.load(relaxed) >= 20,
            "{whole} whole, {parts} parts, {shifts:?} shifts"
        );
    }

    /// Others come and go beside a log; that hides nothing of its own, nor does it cost a
    /// listing for each log.
    #[test]
    fn what_changes_beside_a_log_is_no_matter() {
        let dir = tempfile::tempdir().unwrap();
        let (stop, relaxed) = (
            std::sync::atomic::AtomicBool::new(false),
            std::sync::atomic::Ordering::Relaxed,
        );
        std::fs::write(dir.path().join("a.log.1"), "x").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(relaxed) {
                    std::fs::write(dir.path().join("elsewhere"), "x").unwrap();
                    std::fs::remove_file(dir.path().join("elsewhere")).unwrap();
                }
            });
            let (mut around, before) = (Around::default(), LISTED.get());
            let asked: Vec<Beside> = (0..200)
                .map(|n| {
                    let log = dir.path().join(if n == 0 {
                        "a.log".to_owned()
                    } else {
                        format!("b{n}.log")
                    });
                    around.rotations(&log).unwrap().clone()
                })
                .collect();
            stop.store(true, relaxed);
            assert_eq!((asked[0].files.len(), asked[0].all), (1, true));
            assert!(
                LISTED.get() - before <= LISTINGS_IN_ALL,
                "{} listings",
                LISTED.get() - before
            );
        });
    }

    #[test]
    fn globs() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        std::fs::create_dir_all(logs.join("deep/er")).unwrap();
        for name in [
            "a-out.log",
            "b-out.log",
            "b.log.gz",
            "deep/c-out.log",
            "deep/er/d-out.log",
            "x.txt",
        ] {
            std::fs::write(logs.join(name), "x").unwrap();
        }
        let list = |glob: &str| {
            let mut names = Vec::new();
            LogGlob::new(&format!("{}/{glob}", logs.display()))
                .unwrap()
                .list(
                    |listed| {
                        names.push(
                            listed
                                .path
                                .strip_prefix(&logs)
                                .unwrap()
                                .display()
                                .to_string(),
                        )
                    },
                    |path, error| panic!("{}: {error}", path.display()),
                );
            names.sort();
            names.join(" ")
        };
        assert_eq!(list("*.log"), "a-out.log b-out.log");
        assert_eq!(list("a-out.log"), "a-out.log");
        assert_eq!(list("b*"), "b-out.log");
        assert_eq!(list("*/*.log"), "deep/c-out.log");
        assert_eq!(
            list("**/*-out.log"),
            "a-out.log b-out.log deep/c-out.log deep/er/d-out.log"
        );
        assert_eq!(list("none/*.log"), "");
        assert!(LogGlob::new("/a/[").is_err());
        assert!(LogGlob::new("").is_err());
        let relative = LogGlob::new("logs/*.log").unwrap();
        assert!(relative.directory().is_absolute());
    }
}
