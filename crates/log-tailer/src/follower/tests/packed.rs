//! Generations that are compressed and deleted before they are read, or while they are away.

use super::*;

fn append(path: &Path, bytes: &[u8]) {
    let file = File::options().append(true).open(path);
    file.unwrap().write_all(bytes).unwrap();
}

fn id(path: &Path) -> FileId {
    Stat::from(&path.metadata().unwrap()).id
}

/// Saves as the owner does.
fn commit(follower: &mut Follower<Counter>, disk: &mut Saved) {
    let changes = follower.changes();
    let mut files: BTreeMap<i64, Checkpoint> =
        std::mem::take(&mut disk.files).into_iter().collect();
    files.extend(changes.files);
    for (row, position) in changes.moved {
        files.get_mut(&row).unwrap().move_to(position);
    }
    changes.gone.iter().for_each(|row| _ = files.remove(row));
    disk.files = files.into_iter().collect();
    disk.globs.extend(changes.globs);
    disk.looked_at = changes.looked_at;
    follower.committed();
}

fn copy_of(disk: &Saved) -> Saved {
    Saved {
        files: disk.files.clone(),
        globs: disk.globs.clone(),
        looked_at: disk.looked_at,
        ..Saved::default()
    }
}

/// The log is still empty, so nothing shows yet that the generation before it is no copy.
#[test]
fn a_generation_that_is_compressed_while_it_waits_counts_once() {
    // Whether the exporter is killed while it waits.
    for killed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a-out.log"), lines("a", 0..10)).unwrap();
        let glob = "*.log*";
        let (mut follower, clock) = follower_of(dir.path(), glob, Saved::default(), 100);
        follower.sweep();
        let mut disk = Saved::default();
        commit(&mut follower, &mut disk);
        assert_eq!(counted(&follower), 10);
        // Two rotations between two looks.
        std::fs::rename(at("a-out.log"), at("a-out.log.2")).unwrap();
        std::fs::write(at("a-out.log.1"), lines("a", 100..115)).unwrap();
        std::fs::write(at("a-out.log"), "").unwrap();
        follower.sweep();
        assert_eq!(counted(&follower), 10, "the newer generation waits");
        gzip(&at("a-out.log.1.gz"), &lines("a", 100..115));
        std::fs::remove_file(at("a-out.log.1")).unwrap();
        // It is known that the compressed file holds what waits.
        clock.advance(TICK * 3);
        follower.sweep();
        assert_eq!(counted(&follower), 10, "it still waits");
        if killed {
            commit(&mut follower, &mut disk);
            let (restarted, _) = follower_of(dir.path(), glob, copy_of(&disk), 100);
            follower = restarted;
            follower.consumer.lines.insert("a".into(), 10);
        }
        append(&at("a-out.log"), &lines("a", 200..203));
        sweeps(&mut follower, 3);
        assert_eq!(counted(&follower), 28, "killed: {killed}");
        assert_eq!(follower.statistics.copies_missing, 0);
    }
}

/// A slow sweep: what it has found is compressed before it is read.
#[test]
fn a_generation_that_is_compressed_within_a_sweep_counts_once() {
    for is_deleted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let log = at("a-out.log");
        std::fs::write(&log, lines("a", 0..10)).unwrap();
        let (mut follower, _) = follower_of(dir.path(), "*.log*", Saved::default(), 100);
        follower.sweep();
        std::fs::rename(&log, at("a-out.log.9")).unwrap();
        std::fs::write(at("a-out.log.8"), lines("a", 100..115)).unwrap();
        std::fs::write(&log, lines("a", 200..203)).unwrap();
        // The steps of a sweep.
        let fresh = follower.list().fresh;
        follower.find_renamed();
        follower.look(true);
        let mut index = RotationIndex::new(Clock::system());
        for (listed, _) in fresh {
            follower.adopt(listed, Begin::EndIfOld, &mut index);
        }
        gzip(&at("a-out.log-8.gz"), &lines("a", 100..115));
        if is_deleted {
            std::fs::remove_file(at("a-out.log.8")).unwrap();
        }
        follower.adopt_beside(&log, &mut index);
        follower.settle_copies(&mut index);
        follower.note_look(now());
        sweeps(&mut follower, 3);
        assert_eq!(counted(&follower), 28, "deleted: {is_deleted}");
    }
}

/// While the exporter is away, a rotated file is compressed and deleted, and another generation
/// gets its inode and then its name.
#[test]
fn a_generation_whose_inode_and_name_another_has_counts_once() {
    for unread in [0, 4] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let log = at("a-out.log");
        std::fs::write(&log, lines("a", 300..310)).unwrap();
        std::fs::write(at("a-out.log.1"), lines("a", 200..220)).unwrap();
        gzip(&at("a-out.log-1.gz"), &lines("a", 100..100 + 40 + unread));
        let mut gone = known(
            at("a-out.log.1"),
            id(&at("a-out.log.1")),
            &lines("a", 100..140),
        );
        gone.origin = log.clone();
        let mut disk = Saved {
            files: vec![
                (1, gone),
                (2, known(log.clone(), id(&log), &lines("a", 300..310))),
            ],
            globs: BTreeSet::from([format!("{}/*.log*", dir.path().display())]),
            looked_at: Some(now()),
            ..Saved::default()
        };
        let (mut written, mut missing) = (0, 0);
        // It is killed after one sweep, and again.
        for times in [1, 1, 3] {
            let (mut follower, _) = follower_of(dir.path(), "*.log*", copy_of(&disk), 100);
            sweeps(&mut follower, times);
            commit(&mut follower, &mut disk);
            written += counted(&follower);
            missing += follower.statistics.copies_missing;
        }
        assert_eq!(written, 20 + u64::from(unread), "{unread} lines unread");
        assert_eq!(missing, 0);
    }
}

/// After a restart, between the rename of the log and the creation of the next one. The log that is
/// known was compressed and deleted, and the generation after it was never seen.
#[test]
fn a_generation_beside_a_log_that_is_gone_is_read() {
    // Whether the log that is known was read, and its copy is found.
    for (read, is_packed) in [(40, true), (40, false), (0, false)] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let log = at("a-out.log");
        std::fs::write(at("a-out.log.1"), lines("a", 200..220)).unwrap();
        if is_packed {
            gzip(&at("a-out.log-1.gz"), &lines("a", 100..140));
        }
        let nowhere = FileId {
            ino: u64::MAX,
            ..id(&at("a-out.log.1"))
        };
        let saved = Saved {
            files: vec![(1, known(log.clone(), nowhere, &lines("a", 100..100 + read)))],
            globs: BTreeSet::from([format!("{}/*.log*", dir.path().display())]),
            looked_at: Some(now()),
            ..Saved::default()
        };
        let (mut follower, _) = follower_of(dir.path(), "*.log*", saved, 100);
        sweeps(&mut follower, MISSED_OFTEN + 1);
        std::fs::write(&log, lines("a", 300..310)).unwrap();
        sweeps(&mut follower, 2);
        assert_eq!(counted(&follower), 30, "{read} lines read, {is_packed}");
    }
}

/// A log is copied, and deleted before it is truncated.
#[test]
fn a_copy_of_a_log_that_is_gone_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let log = at("a-out.log");
    for count in [3, 100] {
        std::fs::write(&log, lines("a", 0..count)).unwrap();
        let (mut follower, clock) = follower_of(dir.path(), "*.log*", Saved::default(), 100);
        follower.sweep();
        assert_eq!(counted(&follower), u64::from(count));
        std::fs::copy(&log, at("a-out.log.1")).unwrap();
        follower.sweep();
        std::fs::remove_file(&log).unwrap();
        for _ in 0..4 {
            clock.advance(LAST_LINE_AFTER);
            follower.sweep();
        }
        std::fs::write(&log, lines("b", 0..10)).unwrap();
        sweeps(&mut follower, 2);
        assert_eq!(counted(&follower), u64::from(count) + 10);
        std::fs::remove_file(&log).unwrap();
        std::fs::remove_file(at("a-out.log.1")).unwrap();
    }
}
