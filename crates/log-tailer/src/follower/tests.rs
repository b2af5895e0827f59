use super::adopt::MISSED_OFTEN;
use super::copies::ORPHAN_FOR;
use super::retire::{LAST_LINE_AFTER, REMEMBERED, RETIRED_LOOK};
use std::path::Path;

mod many;
mod packed;

use super::*;
use crate::file::Stat;
use crate::fingerprint::Fingerprint;
use crate::lines::{Block, Part};
use crate::rotation::LISTED;
use clock::ManualClock;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

/// Counts lines by bot, with logs called `NAME.log` and `NAME-out.log`.
#[derive(Debug, Default)]
struct Counter {
    bots: BTreeSet<String>,
    lines: BTreeMap<String, u64>,
    copy: Option<BTreeMap<String, u64>>,
}

/// The bot of a log or of its rotation.
fn bot(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let stem = name.split(".log").next().unwrap_or_default();
    stem.split("-out").next().unwrap_or_default().to_owned()
}

impl Consumer for Counter {
    fn lines(&mut self, block: Block<'_>) {
        let lines = match block.part {
            Part::Lines => String::from_utf8_lossy(block.lines).lines().count(),
            Part::First => 1,
            Part::Middle | Part::Last => 0,
        };
        let counts = self.copy.as_mut().unwrap_or(&mut self.lines);
        *counts.entry(bot(block.origin)).or_default() += lines as u64;
    }

    fn begin_copy(&mut self) {
        self.copy = Some(BTreeMap::new());
    }

    fn end_copy(&mut self, complete: bool) {
        for (bot, lines) in self.copy.take().filter(|_| complete).into_iter().flatten() {
            *self.lines.entry(bot).or_default() += lines;
        }
    }

    fn is_of_another(&self, path: &Path, origin: &Path) -> bool {
        self.bots.contains(&bot(path)) && bot(path) != bot(origin)
    }
}

/// Follows the files that a glob matches in `dir`, from their beginning.
fn follower_of(
    dir: &Path,
    glob: &str,
    saved: Saved,
    open_max: usize,
) -> (Follower<Counter>, ManualClock) {
    let globs = vec![LogGlob::new(&format!("{}/{glob}", dir.display())).unwrap()];
    let clock = ManualClock::new(now());
    let clock_of = clock.clock();
    let follower = Follower::new(Counter::default(), globs, true, saved, open_max, clock_of);
    (follower, clock)
}

fn follower(dir: &Path, saved: Saved, open_max: usize) -> (Follower<Counter>, ManualClock) {
    follower_of(dir, "*.log", saved, open_max)
}

fn counted(follower: &Follower<Counter>) -> u64 {
    follower.consumer.lines.values().sum()
}

fn sweeps(follower: &mut Follower<Counter>, times: u32) {
    (0..times).for_each(|_| _ = follower.sweep());
}

fn now() -> SystemTime {
    SystemTime::now()
}

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

/// The saved state after `read` of all these bytes.
fn known(path: PathBuf, id: FileId, read: &[u8]) -> Checkpoint {
    Checkpoint {
        state: FileState::Live,
        id,
        origin: path.clone(),
        path,
        offset: read.len() as u64,
        skipping: false,
        head: Fingerprint::of_head(read),
        tail: Fingerprint::of_tail(read),
        since: now(),
    }
}

/// Two logs were compressed and deleted between two looks, and the copy of one got the inode of the
/// other.
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
        looked_at: Some(now()),
        ..Saved::default()
    };
    std::fs::write(path("a-out.log"), lines("a", 100..110)).unwrap();
    let (mut follower, _) = follower(dir.path(), saved, 100);
    for _ in 0..6 {
        follower.sweep();
        // Makes the look read beside the name, in a new log.
        std::fs::write(path("a-out.log"), lines("a", 100..110)).unwrap();
    }
    assert_eq!(
        (follower.consumer.lines["a"], follower.consumer.lines["b"]),
        (10, 50),
        "the new lines, and those not read before"
    );
    assert_eq!(follower.statistics.copies_missing, 0);
}

/// A file system may get another device number at a restart of the machine.
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
    let (mut follower, _) = follower(dir.path(), saved, 100);
    sweeps(&mut follower, MISSED_OFTEN + 1);
    assert_eq!(counted(&follower), 7, "the lines written since");
}

/// With more files than descriptors, none stays open.
#[test]
fn the_last_line_of_a_rotated_file_counts_without_a_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a-out.log");
    std::fs::write(
        &path,
        [lines("a", 0..10).as_slice(), b"a: no newline ends it"].concat(),
    )
    .unwrap();
    let (mut follower, clock) = follower(dir.path(), Saved::default(), 0);
    follower.sweep();
    assert_eq!(counted(&follower), 10);
    let rotated = dir.path().join("a-out.log.1");
    std::fs::rename(&path, &rotated).unwrap();
    clock.advance(LAST_LINE_AFTER * 2);
    sweeps(&mut follower, MISSED_OFTEN + 1);
    assert_eq!(counted(&follower), 11);
}

/// A listing during renames misses some files.
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
    let (mut follower, _) = follower_of(dir.path(), "*", saved, 100);
    let hidden = tempfile::tempdir().unwrap();
    let away = hidden.path().join("renamed");
    for (looks, found) in [
        (1, true),
        (MISSED_OFTEN - 1, true),
        (MISSED_OFTEN + 1, false),
    ] {
        std::fs::rename(path("a-out.log.1"), &away).unwrap();
        // As after a restart: it is not open.
        follower.files.iter_mut().for_each(|file| file.file = None);
        sweeps(&mut follower, looks);
        let is_live = follower.files.live().next().is_some();
        assert_eq!(is_live, found, "after {looks} looks");
        std::fs::rename(&away, path("a-out.log.1")).unwrap();
        follower.sweep();
        assert_eq!(counted(&follower), 0, "after {looks} looks");
    }
}

#[test]
fn another_bots_log_is_no_rotation() {
    let dir = tempfile::tempdir().unwrap();
    // Also one whose number looks like a date.
    let bots = [
        "company",
        "company_962302",
        "company_20260101",
        "wa",
        "wa-1",
        "wa.1",
    ];
    let (mut follower, _) = follower(dir.path(), Saved::default(), 100);
    follower.consumer.bots = bots.map(str::to_owned).into();
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
        follower.sweep();
    }
    follower.sweep();
    assert_eq!(follower.consumer.lines, expected(10));
    // Each is rotated with unread lines, to a name that no glob matches.
    for (k, bot) in bots.iter().enumerate() {
        let path = dir.path().join(format!("{bot}.log"));
        let mut log = File::options().append(true).open(&path).unwrap();
        log.write_all(&lines(bot, 0..k as u32 + 1)).unwrap();
        std::fs::copy(&path, dir.path().join(format!("{bot}.log.1"))).unwrap();
        std::fs::write(&path, lines(bot, 100..100 + k as u32 + 1)).unwrap();
    }
    sweeps(&mut follower, 3);
    assert_eq!(follower.consumer.lines, expected(12));
}

/// logrotate without `copytruncate`, and a bot that never reopens its log: it writes to the renamed
/// file, whose name no glob matches.
#[test]
fn a_renamed_file_that_was_silent_for_days_is_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("a-out.log"), lines("a", 0..10)).unwrap();
    let (mut follower, clock) = follower(dir.path(), Saved::default(), 100);
    follower.sweep();
    let mut log = File::options().append(true).open(at("a-out.log")).unwrap();
    std::fs::rename(at("a-out.log"), at("a-out.log.1")).unwrap();
    std::fs::write(at("a-out.log"), "").unwrap();
    let state = |follower: &Follower<Counter>, state| {
        let files = follower.files.iter();
        files
            .filter(|(_, file)| file.checkpoint.state == state)
            .count()
    };
    for days in [2, 4, 12] {
        clock.advance(Duration::from_secs(days * 86_400));
        sweeps(&mut follower, 2);
        assert_eq!(state(&follower, FileState::Done), 1, "after {days} days");
        let files = follower.files.iter();
        assert_eq!(files.filter(|(_, file)| file.file.is_some()).count(), 1);
        if days == 4 {
            std::fs::rename(at("a-out.log.1"), at("a-out.log.2")).unwrap();
        }
        let before = counted(&follower);
        log.write_all(&lines("a", 0..3)).unwrap();
        clock.advance(RETIRED_LOOK);
        sweeps(&mut follower, 2);
        assert_eq!(counted(&follower), before + 3, "after {days} days");
    }
    // It is remembered while it exists, and forgotten some time after it is deleted.
    clock.advance(REMEMBERED * 2);
    sweeps(&mut follower, 2);
    assert_eq!(state(&follower, FileState::Done), 1);
    std::fs::remove_file(at("a-out.log.2")).unwrap();
    clock.advance(REMEMBERED * 2);
    sweeps(&mut follower, 2);
    assert_eq!(follower.files.iter().count(), 1);
    assert_eq!(counted(&follower), 19);
}

/// libsignal's warnings without a date, copied and truncated by pm2-logrotate: the copy of one
/// generation does not continue the copy of another.
#[test]
fn a_copy_of_a_log_whose_lines_are_all_alike_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let log = at("a-out.log");
    let alike =
        |count: usize| "Closing open session in favor of incoming prekey bundle\n".repeat(count);
    let append = |count: usize| {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        file.write_all(alike(count).as_bytes()).unwrap();
    };
    let (mut follower, _) = follower(dir.path(), Saved::default(), 100);
    // First truncated by hand, so that there is a generation with a checkpoint and without a copy.
    append(50);
    sweeps(&mut follower, 2);
    std::fs::write(&log, alike(5)).unwrap();
    follower.sweep();
    let ago = follower.clock.wall() - ORPHAN_FOR;
    let files = follower.files.iter_mut();
    files.for_each(|file| file.checkpoint.since = ago);
    follower.sweep();
    assert_eq!(
        (counted(&follower), follower.statistics.copies_missing),
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
        sweeps(&mut follower, 2);
        append(unread);
        std::fs::copy(
            &log,
            at(&format!("a-out__2026-01-01_00-00-0{generation}.log")),
        )
        .unwrap();
        written += more as u64 + unread as u64;
        sweeps(&mut follower, 2);
        assert_eq!(
            counted(&follower),
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
        sweeps(&mut follower, 2);
        assert_eq!(
            counted(&follower),
            written,
            "generation {generation} is truncated"
        );
    }
}

/// Incomplete rotations are not saved, and after a log was copied and truncated nothing shows that
/// there were generations in between.
#[test]
fn what_came_and_went_between_two_looks_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("a-out.log"), "").unwrap();
    std::fs::write(at("a-out.log.1"), lines("a", 0..7)).unwrap();
    let id = Stat::from(&at("a-out.log").metadata().unwrap()).id;
    for (ago, read) in [(60, 7), (0, 0)] {
        let looked_at = now() + TICK * 2 - Duration::from_secs(ago);
        let saved = Saved {
            files: vec![(1, known(at("a-out.log"), id, b""))],
            looked_at: Some(looked_at),
            ..Saved::default()
        };
        let (mut follower, _) = follower(dir.path(), saved, 100);
        sweeps(&mut follower, 3);
        assert_eq!(counted(&follower), read, "last looked {ago} s ago");
    }
}

/// A slow look: the log is rotated after it was listed and before it is opened, and after its
/// rotations were listed.
#[test]
fn a_log_rotated_between_being_found_and_being_opened_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("a-out.log"), lines("a", 0..10)).unwrap();
    let (mut follower, _) = follower(dir.path(), Saved::default(), 100);
    follower.sweep();
    std::fs::rename(at("a-out.log"), at("a-out.log.1")).unwrap();
    std::fs::write(at("a-out.log"), lines("a", 10..15)).unwrap();
    // The steps of a sweep.
    let begun = now();
    let fresh = follower.list().fresh;
    assert_eq!(follower.find_renamed().len(), 1);
    follower.adopt_beside(&at("a-out.log"), &mut RotationIndex::new(Clock::system()));
    std::fs::rename(at("a-out.log"), at("a-out.log.2")).unwrap();
    std::fs::write(at("a-out.log"), lines("a", 15..18)).unwrap();
    let mut index = RotationIndex::new(Clock::system());
    for (listed, at_end) in fresh {
        let begin = if at_end { Begin::End } else { Begin::Start };
        follower.adopt(listed, begin, &mut index);
    }
    follower.note_look(begun + Duration::from_secs(10));
    sweeps(&mut follower, 2);
    assert_eq!(counted(&follower), 18);
}

/// A look falls between the rename of a log and the creation of the next one. Before the look after
/// that, more generations are created and deleted, and the newest one is empty.
#[test]
fn what_came_and_went_while_the_log_had_no_file_is_read() {
    for (away, absent_again) in [(0, false), (0, true), (100, false)] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a-out.log"), lines("a", 0..10)).unwrap();
        let (mut follower, clock) = follower(dir.path(), Saved::default(), 100);
        follower.sweep();
        std::fs::rename(at("a-out.log"), at("a-out.log.1")).unwrap();
        follower.sweep();
        clock.advance(Duration::from_secs(away));
        follower.sweep();
        std::fs::write(at("a-out.log.2"), lines("a", 10..15)).unwrap();
        let rotated = File::options().append(true).open(at("a-out.log.2"));
        rotated.unwrap().set_modified(clock.clock().wall()).unwrap();
        clock.advance(TICK * 3);
        if absent_again {
            follower.sweep();
        }
        std::fs::write(at("a-out.log"), "").unwrap();
        follower.sweep();
        clock.advance(TICK * 3);
        std::fs::write(at("a-out.log"), lines("a", 15..18)).unwrap();
        sweeps(&mut follower, 2);
        assert_eq!(
            counted(&follower),
            18,
            "{away} s away, absent again: {absent_again}"
        );
    }
}

/// A rotated file has the inode of a deleted file, and is renamed while it is compared with the
/// checkpoint of that file.
#[test]
fn a_file_that_could_not_be_compared_is_requested_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("a-out.log"), lines("a", 20..30)).unwrap();
    std::fs::write(at("a-out.log.1"), lines("a", 10..20)).unwrap();
    let id = |name: &str| Stat::from(&at(name).metadata().unwrap()).id;
    let mut gone = known(at("a-out.log.9"), id("a-out.log.1"), &lines("a", 0..5));
    gone.origin = at("a-out.log");
    gone.state = FileState::Done;
    let all = lines("a", 20..30);
    let saved = Saved {
        files: vec![
            (1, gone),
            (2, known(at("a-out.log"), id("a-out.log"), &all)),
        ],
        looked_at: Some(now()),
        ..Saved::default()
    };
    let (mut follower, clock) = follower(dir.path(), saved, 100);
    follower.unfinished.clear();
    let mut index = RotationIndex::new(Clock::system());
    // Long enough ago that one listing is complete.
    let rested = now() - Duration::from_secs(60);
    let rest = || {
        File::open(dir.path())
            .unwrap()
            .set_modified(rested)
            .unwrap()
    };
    rest();
    assert!(index.rotations(&at("a-out.log")).unwrap().complete);
    std::fs::rename(at("a-out.log.1"), at("a-out.log.2")).unwrap();
    rest();
    follower.adopt_beside(&at("a-out.log"), &mut index);
    assert_eq!(counted(&follower), 0);
    follower.note_look(now());
    clock.advance(TICK * 3);
    sweeps(&mut follower, 2);
    assert_eq!(counted(&follower), 10);
}

#[test]
fn only_the_position_of_a_file_that_was_read_on_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let append = |name: &str, text: &str| {
        let file = File::options().append(true).open(at(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    for name in ["a.log", "b.log"] {
        std::fs::write(at(name), "one\n").unwrap();
    }
    let (mut follower, _) = follower(dir.path(), Saved::default(), 10);
    follower.sweep();
    let changes = follower.changes();
    assert_eq!((changes.files.len(), changes.moved.len()), (2, 0));
    assert!(!changes.is_reading_on());
    let mut saved = saved_by(&follower);
    follower.committed();
    append("b.log", "two\nthr");
    follower.look(true);
    let changes = follower.changes();
    assert!(changes.is_reading_on() && !changes.is_empty());
    let [(row, position)] = changes.moved[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(position.offset, 8);
    // Until it is saved.
    assert_eq!(follower.changes().moved, [(row, position)]);
    follower.committed();
    assert!(follower.changes().is_empty());
    // A restart reads on from there.
    for (of, checkpoint) in &mut saved.files {
        if *of == row {
            checkpoint.move_to(position);
            assert_eq!(checkpoint.position(), position);
        }
    }
    append("b.log", "ee\n");
    let (mut restarted, _) = self::follower(dir.path(), saved, 10);
    restarted.sweep();
    assert_eq!(counted(&restarted), 1);
}

/// The state as it would be saved now.
fn saved_by(follower: &Follower<Counter>) -> Saved {
    let changes = follower.changes();
    Saved {
        files: changes.files,
        globs: changes.globs.into_iter().collect(),
        looked_at: changes.looked_at,
        statistics: follower.statistics,
    }
}

/// Across a restart that takes longer than the search for a copy.
#[test]
fn a_log_that_was_out_of_reach_is_read_on_and_not_counted_again() {
    // A missing directory says nothing about its files, so wait for it.
    for (moved, given_up) in [("logs", 0), ("logs/a-out.log", 1)] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("logs")).unwrap();
        std::fs::write(at("logs/a-out.log"), lines("a", 0..50)).unwrap();
        let (mut before, _) = follower(&at("logs"), Saved::default(), 100);
        sweeps(&mut before, 2);
        assert_eq!(counted(&before), 50);
        let saved = saved_by(&before);
        drop(before);
        std::fs::rename(at(moved), at("away")).unwrap();
        let (mut follower, clock) = follower(&at("logs"), saved, 100);
        for _ in 0..8 {
            sweeps(&mut follower, MISSED_OFTEN + 1);
            clock.advance(ORPHAN_FOR / 4);
        }
        assert_eq!(follower.statistics.copies_missing, given_up, "{moved}");
        std::fs::rename(at("away"), at(moved)).unwrap();
        let log = at("logs/a-out.log");
        for read in 1..=2 {
            let mut log = File::options().append(true).open(&log).unwrap();
            log.write_all(&lines("a", 50..51)).unwrap();
            sweeps(&mut follower, MISSED_OFTEN + 1);
            assert_eq!(counted(&follower), read, "{moved}");
            clock.advance(ORPHAN_FOR * 2);
        }
    }
}

/// A bot that is moved here brings its old logs.
#[test]
fn files_that_were_not_written_since_the_last_look_begin_at_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (mut follower, clock) = follower_of(dir.path(), "*.log*", Saved::default(), 100);
    std::fs::write(path("a.log"), lines("a", 0..10)).unwrap();
    follower.sweep();
    assert_eq!(counted(&follower), 10, "the first listing");
    clock.advance(OLD_AFTER * 2);
    follower.sweep();
    let write = |name: &str, modified: SystemTime| {
        std::fs::write(path(name), lines(name, 0..7)).unwrap();
        let file = File::options().append(true).open(path(name)).unwrap();
        file.set_modified(modified).unwrap();
    };
    write("moved.log", now() - Duration::from_secs(864_000));
    write("moved.log.1", now() - Duration::from_secs(1_864_000));
    sweeps(&mut follower, 3);
    assert_eq!(counted(&follower), 10, "they are old");
    write("new.log", clock.clock().wall());
    sweeps(&mut follower, 3);
    assert_eq!(counted(&follower), 17);
    let mut moved = File::options()
        .append(true)
        .open(path("moved.log"))
        .unwrap();
    moved.write_all(&lines("moved", 7..9)).unwrap();
    sweeps(&mut follower, 3);
    assert_eq!(counted(&follower), 19, "what is new in them counts");
}

/// Only the very first listing reads files from their beginning.
#[test]
fn a_glob_of_later_begins_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, _) = follower(dir.path(), Saved::default(), 100);
    std::fs::write(dir.path().join("a.log"), lines("a", 0..10)).unwrap();
    std::fs::write(dir.path().join("b.txt"), lines("b", 0..10)).unwrap();
    follower.sweep();
    let glob = |text: &str| LogGlob::new(&format!("{}/{text}", dir.path().display())).unwrap();
    follower.configure(vec![glob("*.log"), glob("*.txt")]);
    sweeps(&mut follower, 2);
    assert_eq!(counted(&follower), 10);
}
