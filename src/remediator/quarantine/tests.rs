use super::prepared::Moved;
use super::records::{DONE, MoveRecord, PlanRecord, write_record};
use super::*;
use crate::folder::FileName;
use crate::policy::{CleanupMode, Move, Plan};
use rustix::fs::Mode;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

struct Sample {
    _dir: tempfile::TempDir,
    place: FolderPath,
}

impl Sample {
    fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = FolderPath {
            parent: dir.path().canonicalize().unwrap(),
            name: "bot".into(),
        };
        fs::create_dir(place.path()).unwrap();
        for name in names {
            fs::write(place.path().join(name), name).unwrap();
        }
        Self { _dir: dir, place }
    }

    fn plan(&self, names: &[&str]) -> Plan {
        let folder = self.place.open().unwrap();
        let moves = names
            .iter()
            .map(|name| Move {
                name: FileName::new(*name),
                stamp: stat(folder.as_fd(), OsStr::new(name)).unwrap().unwrap().1,
            })
            .collect();
        Plan {
            mode: CleanupMode::Cleanup,
            moves,
            accumulated_before: 0,
            accumulated_after: 0,
            pre_keys_left: 0,
            left_out: Default::default(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.place.path().join(name).exists()
    }
}

const NAMES: [&str; 3] = ["pre-key-1.json", "pre-key-2.json", "session-1.0.json"];
const MIB: u64 = 1 << 20;

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

fn all() -> BTreeSet<FileName> {
    NAMES.into_iter().map(FileName::new).collect()
}

#[test]
fn a_planted_pipe_or_link_does_not_hang_or_mislead() {
    let sample = Sample::new(&NAMES);
    let quarantine = sample.place.path().join(QUARANTINE_DIR);
    fs::create_dir(&quarantine).unwrap();
    let tmp = quarantine.join(format!("{QUARANTINE_TAG}.tmp"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &tmp,
        rustix::fs::FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .unwrap();
    let folder = LockedFolder::lock(&sample.place).unwrap();
    folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap()
        .cancel()
        .unwrap();
    fs::remove_file(quarantine.join(QUARANTINE_TAG)).unwrap();
    let victim = sample.place.path().with_file_name("victim.txt");
    fs::write(&victim, "whole").unwrap();
    fs::hard_link(&victim, &tmp).unwrap();
    folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"whole");
}

#[test]
fn a_planted_record_deletes_nothing() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap()
        .cancel()
        .unwrap();
    let run = RunId::parse("20260101T000000Z-abcdef").unwrap();
    let dir = sample.place.path().join(QUARANTINE_DIR).join(run.as_str());
    fs::create_dir_all(dir.join(FILES)).unwrap();
    let victim = sample.place.path().with_file_name("victim.txt");
    fs::write(&victim, "").unwrap();
    for name in [
        "../../../../victim.txt",
        "../../../pre-key-1.json",
        "creds.json",
        "a/pre-key-1.json",
    ] {
        let record = PlanRecord {
            version: 1,
            run: run.clone(),
            made_ns: 0,
            mode: "cleanup".into(),
            identity: None,
            moves: vec![MoveRecord {
                name: name.into(),
                inode: 0,
                size: 0,
                modified_ns: 0,
            }],
        };
        for kind in [PLAN, PURGED] {
            fs::write(dir.join(kind), serde_json::to_vec(&record).unwrap()).unwrap();
            assert!(
                folder.purge(&run, now(), Duration::ZERO).is_err() || kind == PLAN,
                "{name}"
            );
            assert!(folder.undo(&run, now()).is_err(), "{name}");
            assert!(
                folder.finish(&run, &all(), now()).is_err() || kind == PURGED,
                "{name}"
            );
            fs::remove_file(dir.join(kind)).unwrap();
        }
    }
    assert!(victim.exists() && NAMES.iter().all(|name| sample.has(name)));
}

#[test]
fn a_restored_backup_can_be_undone() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let prepared = folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap();
    let run = prepared.run().clone();
    prepared.execute(now()).unwrap();
    // A copy has other inodes.
    let files = sample
        .place
        .path()
        .join(QUARANTINE_DIR)
        .join(run.as_str())
        .join(FILES);
    for name in NAMES {
        fs::copy(files.join(name), files.join("copy")).unwrap();
        fs::rename(files.join("copy"), files.join(name)).unwrap();
    }
    assert_eq!(
        folder.undo(&run, now()).unwrap(),
        Undone {
            restored: 3,
            blocked: 0,
            missing: 0
        }
    );
    assert!(NAMES.iter().all(|name| sample.has(name)));
}

#[test]
fn one_odd_entry_does_not_block_the_quarantine() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap()
        .cancel()
        .unwrap();
    fs::write(
        sample
            .place
            .path()
            .join(QUARANTINE_DIR)
            .join("20260101T000000Z-abcdef"),
        "",
    )
    .unwrap();
    assert_eq!(folder.stored().unwrap()[0].state, StoredState::Damaged);
    folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap();
}

#[test]
fn a_renamed_folder_is_another() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    folder.confirm_place(&sample.place).unwrap();
    fs::rename(
        sample.place.path(),
        sample.place.path().with_file_name("old"),
    )
    .unwrap();
    assert!(folder.confirm_place(&sample.place).is_err());
    fs::create_dir(sample.place.path()).unwrap();
    assert!(folder.confirm_place(&sample.place).is_err());
}

#[test]
fn there_and_back_again() {
    let sample = Sample::new(&NAMES);
    let before = fs::metadata(sample.place.path().join(NAMES[0])).unwrap();
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let prepared = folder
        .prepare(&sample.plan(&NAMES[..2]), RunId::new(now()), now(), MIB)
        .unwrap();
    let run = prepared.run().clone();
    assert!(sample.has(NAMES[0]), "nothing moves before execute");
    let done = prepared.execute(now()).unwrap().unwrap();
    assert_eq!(
        (done.outcome, done.moved, done.left),
        (MoveOutcome::Moved, 2, 0)
    );
    assert!(!sample.has(NAMES[0]) && !sample.has(NAMES[1]) && sample.has(NAMES[2]));
    let quarantine = sample.place.path().join(QUARANTINE_DIR);
    assert_eq!(
        fs::metadata(&quarantine).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let plan = fs::metadata(quarantine.join(run.as_str()).join(PLAN)).unwrap();
    assert_eq!(plan.permissions().mode() & 0o777, 0o600);
    let stored = folder.stored().unwrap();
    assert_eq!((stored.len(), stored[0].files), (1, 2));

    let undone = folder.undo(&run, now()).unwrap();
    assert_eq!(
        undone,
        Undone {
            restored: 2,
            blocked: 0,
            missing: 0
        }
    );
    let after = fs::metadata(sample.place.path().join(NAMES[0])).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
    let again = folder.undo(&run, now()).unwrap_err().to_string();
    assert!(again.contains("already undone"), "{again}");
}

#[test]
fn one_run_at_a_time() {
    let sample = Sample::new(&NAMES);
    let _held = LockedFolder::lock(&sample.place).unwrap();
    assert_eq!(
        LockedFolder::lock(&sample.place).unwrap_err(),
        Obstacle::Locked
    );
}

/// What another process does between plan and move, and what must be true after that.
fn meddle(meddle: impl FnOnce(&Path)) -> (Sample, Done) {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let prepared = folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap();
    meddle(&sample.place.path());
    let done = prepared.execute(now()).unwrap().unwrap();
    drop(folder);
    (sample, done)
}

#[test]
fn a_file_that_changed_puts_everything_back() {
    type Meddling = fn(&Path);
    let cases: [(&str, Meddling); 5] = [
        ("rewritten", |dir| {
            fs::write(dir.join(NAMES[2]), "a new ratchet").unwrap()
        }),
        ("replaced", |dir| {
            fs::remove_file(dir.join(NAMES[2])).unwrap();
            fs::write(dir.join(NAMES[2]), NAMES[2]).unwrap();
        }),
        ("deleted", |dir| {
            fs::remove_file(dir.join(NAMES[2])).unwrap()
        }),
        ("linked", |dir| {
            fs::hard_link(dir.join(NAMES[2]), dir.join("copy")).unwrap()
        }),
        ("swapped for a link", |dir| {
            fs::remove_file(dir.join(NAMES[2])).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", dir.join(NAMES[2])).unwrap();
        }),
    ];
    for (case, meddling) in cases {
        let (sample, done) = meddle(meddling);
        assert_eq!(
            (done.outcome, done.moved),
            (MoveOutcome::RolledBack, 0),
            "{case}"
        );
        assert!(sample.has(NAMES[0]) && sample.has(NAMES[1]), "{case}");
        assert_eq!(
            fs::read(sample.place.path().join(NAMES[0])).unwrap(),
            NAMES[0].as_bytes()
        );
    }
}

#[test]
fn undo_never_replaces_a_newer_file() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let prepared = folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap();
    let run = prepared.run().clone();
    prepared.execute(now()).unwrap();
    fs::write(sample.place.path().join(NAMES[0]), "newer").unwrap();
    let undone = folder.undo(&run, now()).unwrap();
    assert_eq!(
        undone,
        Undone {
            restored: 2,
            blocked: 1,
            missing: 0
        }
    );
    assert_eq!(
        fs::read(sample.place.path().join(NAMES[0])).unwrap(),
        b"newer"
    );
    assert_eq!(
        folder.stored().unwrap()[0].files,
        1,
        "the older one is kept"
    );
}

#[test]
fn an_interrupted_run_is_finished_or_left() {
    for forward in [true, false] {
        let sample = Sample::new(&NAMES);
        let folder = LockedFolder::lock(&sample.place).unwrap();
        let prepared = folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap();
        let run = prepared.run().clone();
        assert!(matches!(
            prepared.move_one(&prepared.record.moves[0]),
            Ok(Moved::Yes)
        ));
        drop(prepared);
        assert_eq!(folder.stored().unwrap()[0].state, StoredState::Unfinished);
        let allowed = if forward { all() } else { BTreeSet::new() };
        let done = folder.finish(&run, &allowed, now()).unwrap().unwrap();
        assert_eq!(done.moved, if forward { 3 } else { 1 });
        assert_eq!(
            folder.finish(&run, &all(), now()).unwrap(),
            Some(done),
            "an ended run stays ended"
        );
        assert_eq!(
            folder.undo(&run, now()).unwrap().restored,
            if forward { 3 } else { 1 }
        );
        assert!(NAMES.iter().all(|name| sample.has(name)));
    }
}

#[test]
fn an_undo_that_was_interrupted_is_never_rolled_forward() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let prepared = folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap();
    let run = prepared.run().clone();
    write_record(
        prepared.dir.as_fd(),
        UNDONE,
        &UndoRecord {
            at_ns: 1,
            finished: false,
        },
    )
    .unwrap();
    drop(prepared);
    assert_eq!(folder.finish(&run, &all(), now()).unwrap(), None);
    assert!(NAMES.iter().all(|name| sample.has(name)));
}

#[test]
fn a_full_quarantine_refuses_before_anything_moves() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let refused = folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), 3)
        .unwrap_err();
    assert_eq!(refused.label(), "quarantine_full");
    assert!(folder.stored().unwrap().is_empty());
    assert!(NAMES.iter().all(|name| sample.has(name)));
}

#[test]
fn a_planted_quarantine_is_not_used() {
    let sample = Sample::new(&NAMES);
    let elsewhere = tempfile::tempdir().unwrap();
    let quarantine = sample.place.path().join(QUARANTINE_DIR);
    std::os::unix::fs::symlink(elsewhere.path(), &quarantine).unwrap();
    let folder = LockedFolder::lock(&sample.place).unwrap();
    assert_eq!(
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap_err()
            .label(),
        "io"
    );
    fs::remove_file(&quarantine).unwrap();
    fs::create_dir(&quarantine).unwrap();
    fs::write(quarantine.join("holiday.jpg"), "").unwrap();
    assert_eq!(
        folder
            .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
            .unwrap_err()
            .label(),
        "io"
    );
    assert!(quarantine.join("holiday.jpg").exists() && NAMES.iter().all(|name| sample.has(name)));
}

#[test]
fn a_folder_swapped_for_a_link_is_refused() {
    let sample = Sample::new(&NAMES);
    let real = sample.place.path().with_file_name("elsewhere");
    fs::rename(sample.place.path(), &real).unwrap();
    std::os::unix::fs::symlink(&real, sample.place.path()).unwrap();
    assert_eq!(LockedFolder::lock(&sample.place).unwrap_err().label(), "io");
}

#[test]
fn retention_deletes_only_what_it_moved_and_only_when_due() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let prepared = folder
        .prepare(&sample.plan(&NAMES[..2]), RunId::new(now()), now(), MIB)
        .unwrap();
    let run = prepared.run().clone();
    let month = Duration::from_secs(30 * 86_400);
    drop(prepared);
    let late = now().plus(month * 2);
    assert!(
        !folder.purge(&run, late, month).unwrap(),
        "an unfinished run is never purged"
    );
    folder.finish(&run, &all(), now()).unwrap();
    assert!(!folder.purge(&run, now().plus(month), month).unwrap());
    let strange = sample
        .place
        .path()
        .join(QUARANTINE_DIR)
        .join(run.as_str())
        .join(FILES)
        .join("creds.json");
    fs::write(&strange, "put here by hand").unwrap();
    assert!(
        folder.purge(&run, late, month).is_err(),
        "a file it did not move keeps the run"
    );
    assert!(strange.exists());
    assert_eq!(
        folder.undo(&run, late).unwrap_err().label(),
        "io",
        "a purge that began is not undone"
    );
    fs::remove_file(&strange).unwrap();
    assert!(folder.purge(&run, late, month).unwrap());
    assert!(folder.stored().unwrap().is_empty());
    assert!(sample.has(NAMES[2]));
}

#[test]
fn a_cancelled_plan_leaves_no_trace() {
    let sample = Sample::new(&NAMES);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    folder
        .prepare(&sample.plan(&NAMES), RunId::new(now()), now(), MIB)
        .unwrap()
        .cancel()
        .unwrap();
    assert!(folder.stored().unwrap().is_empty());
    assert!(NAMES.iter().all(|name| sample.has(name)));
}

#[test]
fn nfs_is_refused() {
    let refused = check_filesystem(0x6969).unwrap_err();
    assert!(
        refused.label() == "filesystem" && refused.to_string().contains("NFS"),
        "{refused}"
    );
    // ext4, xfs, btrfs, tmpfs, overlayfs
    for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794c_7630] {
        assert_eq!(check_filesystem(local), Ok(()));
    }
}

#[test]
fn run_ids_never_carry_a_path() {
    let id = RunId::new(now());
    assert_eq!(RunId::parse(id.as_str()), Some(id));
    for bad in [
        "",
        "../../etc",
        "20261123T201510Z-4f2a9g",
        "20261123T201510Z-4f2a91/",
        "20261123T201510Z/4f2a91",
    ] {
        assert_eq!(RunId::parse(bad), None, "{bad}");
    }
}

#[test]
fn once_halted_nothing_moves_in_either_direction() {
    let names = ["pre-key-1.json", "pre-key-2.json", "pre-key-3.json"];
    let sample = Sample::new(&names);
    let halt = Halt::default();
    let folder = LockedFolder::lock_under(&sample.place, halt.clone()).unwrap();
    let now = Timestamp::now();
    let there = || {
        names
            .iter()
            .filter(|name| sample.place.path().join(name).exists())
            .count()
    };

    // Halted between the plan and its first move: a waiting thread gets no permit.
    let prepared = folder
        .prepare(&sample.plan(&names), RunId::new(now), now, 1 << 20)
        .unwrap();
    let run = prepared.run().clone();
    let moving = halt.permit().unwrap();
    let mover = std::thread::spawn(move || prepared.execute(now).map(Option::unwrap));
    halt.halt();
    drop(moving);
    halt.wait();
    assert_eq!(there(), 3);
    let done = mover.join().unwrap().unwrap();
    assert_eq!(
        (done.outcome, done.moved, done.left),
        (MoveOutcome::Interrupted, 0, 3)
    );
    assert_eq!(there(), 3);
    drop(folder);

    // Recovery moves no file either, and an undo stops.
    fs::remove_file(
        sample
            .place
            .path()
            .join(QUARANTINE_DIR)
            .join(run.as_str())
            .join(DONE),
    )
    .unwrap();
    let halted = LockedFolder::lock_under(&sample.place, halt.clone()).unwrap();
    let all: BTreeSet<FileName> = names.iter().map(|name| FileName::new(*name)).collect();
    assert_eq!(halted.finish(&run, &all, now).unwrap().unwrap().moved, 0);
    drop(halted);
    let folder = LockedFolder::lock(&sample.place).unwrap();
    let prepared = folder
        .prepare(&sample.plan(&names), RunId::new(now), now, 1 << 20)
        .unwrap();
    let run = prepared.run().clone();
    assert_eq!(
        prepared.execute(now).unwrap().unwrap().outcome,
        MoveOutcome::Moved
    );
    drop((prepared, folder));
    let halted = LockedFolder::lock_under(&sample.place, halt).unwrap();
    assert!(halted.undo(&run, now).is_err());
    assert_eq!(there(), 0);
}
