use super::*;
use crate::folder::scan::QUARANTINE_DIR;
use crate::folder::{FolderPath, SessionName};
use crate::remediator::quarantine::{LockedFolder, make_dir, write_record};

const SLOT: &str = "creds-20261123T201510Z-4f2a91";

fn creds(next: u32) -> String {
    format!(
        r#"{{"signedIdentityKey":{{"public":{{"type":"Buffer","data":"Q0M="}}}},"registrationId":7,"me":{{"id":"999100000000:1@s.whatsapp.net"}},"account":{{}},"nextPreKeyId":{next}}}"#
    )
}

/// No pause, and a clock that has always been right.
const ANY: Deletes = Deletes {
    since: Timestamp::from_nanos(0),
    paused: false,
};

struct WatchedBot {
    dir: tempfile::TempDir,
    watch: CredsWatch,
    found: Found,
}

impl WatchedBot {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bot")).unwrap();
        let store = CopyStore::new(dir.path());
        let watch = CredsWatch::new(
            store,
            Insurance::default(),
            Duration::from_secs(86_400),
            Clock::system(),
        );
        let place = FolderPath {
            parent: dir.path().to_owned(),
            name: "bot".into(),
        };
        let found = Found {
            session: SessionName::from_dir(OsStr::new("bot")),
            place,
        };
        Self { dir, watch, found }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("bot/creds.json")
    }

    /// Until the file is not a young one any more; its change time cannot be set.
    fn age(&self) {
        std::thread::sleep(RACY + Duration::from_millis(100));
    }

    fn slot(&self) -> std::path::PathBuf {
        self.dir.path().join("bot").join(QUARANTINE_DIR).join(SLOT)
    }

    fn copies(&self) -> Vec<u64> {
        self.watch
            .store
            .entries("bot")
            .unwrap()
            .iter()
            .map(|entry| entry.number)
            .collect()
    }
}

#[test]
fn what_was_read_is_never_shown() {
    let sample = WatchedBot::new();
    sample.write(&creds(31));
    let reading = read_settled(sample.found.place.open().unwrap().as_fd());
    assert!(matches!(reading, CredsReading::Good { .. }));
    let told = format!("{reading:?}");
    assert!(
        told.starts_with("Good") && !told.contains("999100") && !told.contains("bytes"),
        "{told}"
    );
}

#[test]
fn a_copy_of_a_gone_session_that_was_seen_again_is_due_anew() {
    let sample = WatchedBot::new();
    let long = sample.watch.insurance.keep.keep_for * 2;
    let (then, clock) = (Timestamp::now(), Instant::now());
    sample.write(&creds(31));
    sample.watch.look(&sample.found, ANY, then, clock);
    let none = HashSet::new();
    let expire = |now, clock| sample.watch.expire_removed(&none, &none, ANY, now, clock);
    expire(then.plus(long), clock);
    // The clock was wrong: for a time nothing was due.
    expire(then, clock + DUE_FOR / 2);
    expire(then.plus(long), clock + DUE_FOR);
    assert_eq!(sample.copies(), [1], "due for no time at all");
    expire(then.plus(long), clock + DUE_FOR * 2);
    assert_eq!(sample.copies(), Vec::<u64>::new());
}

#[test]
fn a_look_keeps_what_is_new_and_good() {
    let sample = WatchedBot::new();
    let mut clock = Instant::now();
    let mut look = |now: Timestamp| {
        clock += DUE_FOR;
        sample.watch.look(&sample.found, ANY, now, clock)
    };
    let now = Timestamp::now();
    assert_eq!(look(now).insured, None);
    sample.write(&creds(31));
    sample.age();
    let now = Timestamp::now();
    assert_eq!(look(now).insured, Some(now));
    assert_eq!(look(now).insured, Some(now));
    assert_eq!(sample.copies(), [1]);
    assert!(
        held(&sample.watch.memory.looked).contains_key("bot"),
        "the next look is a stat"
    );
    // A quiet bot: seen every day, its copy never ages.
    let month = Duration::from_secs(31 * 86_400);
    let later = now.plus(month);
    assert_eq!(look(later).insured, Some(later));
    // Nothing that is torn, or not logged in, is kept, and while it lasts nothing is let go.
    for bad in [
        &creds(32)[..100],
        "",
        "{\"noiseKey\":{},\"nextPreKeyId\":1}",
    ] {
        sample.write(bad);
        for at in [later, later.plus(month * 40)] {
            let outcome = look(at);
            assert_eq!(
                (outcome.insured, outcome.failed),
                (Some(later), false),
                "{bad}"
            );
        }
        assert_eq!(sample.copies(), [1], "{bad}");
    }
    std::fs::remove_file(sample.file()).unwrap();
    look(later.plus(month * 40));
    assert_eq!(sample.copies(), [1]);
}

#[test]
fn a_former_identity_goes_when_its_time_is_over_by_both_clocks() {
    let sample = WatchedBot::new();
    sample.write(&creds(31));
    let (now, clock) = (Timestamp::now(), Instant::now());
    sample.watch.look(&sample.found, ANY, now, clock);
    sample.write(&creds(31).replace("Q0M=", "QUE="));
    let later = now.plus(Duration::from_secs(31 * 86_400));
    let hour = Duration::from_secs(3_600);
    for (after, left) in [(0, vec![2, 1]), (5, vec![2, 1])] {
        sample
            .watch
            .look(&sample.found, ANY, later, clock + hour * after);
        assert_eq!(
            sample.copies(),
            left,
            "a clock that jumped ahead costs nothing"
        );
    }
    // Back to the right time: the count begins anew.
    sample.watch.look(&sample.found, ANY, now, clock + hour * 6);
    sample
        .watch
        .look(&sample.found, ANY, later, clock + hour * 7);
    assert_eq!(sample.copies(), [2, 1]);
    sample
        .watch
        .look(&sample.found, ANY, later, clock + hour * 13);
    assert_eq!(sample.copies(), [2]);
}

/// What a restore replaced, a copy of a former identity, and one of a session that is
/// gone: all three, at the same moments.
#[test]
fn what_is_over_goes_but_not_under_a_pause_or_after_a_leap_of_the_clock() {
    let day = Duration::from_secs(86_400);
    let hour = Duration::from_secs(3_600);
    let clock = Instant::now();
    let start = Timestamp::now();
    let set_up = || {
        let mut sample = WatchedBot::new();
        sample.watch.retention = sample.watch.insurance.keep.keep_for;
        for identity in ["Q0M=", "QUE="] {
            sample.write(&creds(31).replace("Q0M=", identity));
            sample.watch.look(&sample.found, ANY, start, clock);
        }
        let path = sample.dir.path().join("bot/creds.json");
        let gone = SessionName::from_dir(OsStr::new("gone"));
        let facts = insurable(&std::fs::read(path).unwrap()).unwrap();
        let keep = &sample.watch.insurance.keep;
        sample
            .watch
            .store
            .add(
                gone.as_str(),
                creds(31).as_bytes(),
                &facts,
                start,
                start,
                keep,
            )
            .unwrap();
        let folder = LockedFolder::lock(&sample.found.place).unwrap();
        let quarantine = folder.quarantine(true).unwrap().unwrap();
        let slot = make_dir(quarantine.as_fd(), SLOT, false).unwrap();
        let record =
            serde_json::json!({"version": 1, "at_ns": start.nanos(), "copy": 1, "content": "0"});
        write_record(slot.as_fd(), "restore.json", &record).unwrap();
        std::fs::write(sample.slot().join("replaced.json"), "keys").unwrap();
        sample
    };
    // At this hour, and what is left afterwards: replaced, former, gone.
    let left = |sample: &WatchedBot, deletes: Deletes, at: Duration| {
        let (now, clock) = (start.plus(at), clock + at);
        sample.watch.look(&sample.found, deletes, now, clock);
        let names = HashSet::from(["bot".to_owned()]);
        let present = HashSet::from([CopyStore::directory("bot")]);
        sample
            .watch
            .expire_removed(&present, &names, deletes, now, clock);
        let of_gone = sample.watch.store.entries("gone").unwrap().len();
        (
            sample.slot().join("replaced.json").exists(),
            sample.copies().len(),
            of_gone,
        )
    };
    let (all, none) = ((true, 2, 1), (false, 1, 0));
    let paused = Deletes {
        paused: true,
        ..ANY
    };
    let sample = set_up();
    assert_eq!(left(&sample, ANY, day * 29), all, "before its time");
    assert_eq!(
        left(&sample, ANY, day * 29 + hour * 7),
        all,
        "before its time"
    );
    assert_eq!(
        left(&sample, ANY, day * 31),
        all,
        "due, but not for six hours"
    );
    assert_eq!(
        left(&sample, ANY, day * 31 + hour * 7),
        none,
        "its time is over"
    );

    let sample = set_up();
    for at in [day * 31, day * 31 + hour * 7, day * 90] {
        assert_eq!(left(&sample, paused, at), all, "paused");
    }
    assert_eq!(
        left(&sample, ANY, day * 90 + hour),
        all,
        "resumed, and due for no six hours"
    );
    assert_eq!(left(&sample, ANY, day * 90 + hour * 8), none, "resumed");

    // The clock was set at the 40th day: from then on all of it stays its whole time.
    let sample = set_up();
    let leapt = Deletes {
        since: start.plus(day * 40),
        ..ANY
    };
    for at in [day * 40, day * 40 + hour * 7, day * 69] {
        assert_eq!(left(&sample, leapt, at), all, "begun anew");
    }
    assert_eq!(
        left(&sample, leapt, day * 71),
        all,
        "due, but not for six hours"
    );
    assert_eq!(left(&sample, leapt, day * 71 + hour * 7), none);
}

#[test]
fn only_what_two_reads_agree_on_is_good() {
    let stamp = |nanos| Stamp {
        modified: Timestamp::from_nanos(nanos),
        ..Stamp::default()
    };
    let whole = |next: u32, nanos| Some((stamp(nanos), creds(next).into_bytes()));
    let torn = || Some((stamp(1), creds(31).into_bytes()[..90].to_vec()));
    let said = |reads: Vec<Read>| {
        let count = reads.len();
        let mut reads = reads.into_iter();
        let mut taken = 0;
        let reading = read_until_stable(
            || {
                taken += 1;
                reads.next().unwrap_or(None)
            },
            || {},
        );
        match reading {
            CredsReading::Good { facts, .. } => {
                assert_eq!(taken, count, "not before the last two agree");
                format!("good {}", facts.next_pre_key_id)
            }
            CredsReading::Nothing => "nothing".into(),
            CredsReading::Unstable => "unstable".into(),
        }
    };
    assert_eq!(said(vec![whole(31, 1), whole(31, 1)]), "good 31");
    assert_eq!(
        said(vec![whole(31, 1), whole(32, 2), whole(32, 2)]),
        "good 32"
    );
    // The same file by its times and other bytes, and the reverse: another process is writing.
    assert_eq!(
        said(vec![whole(31, 1), whole(32, 1), whole(32, 1)]),
        "good 32"
    );
    assert_eq!(
        said(vec![whole(31, 1), whole(31, 2), whole(31, 2)]),
        "good 31"
    );
    assert_eq!(
        said(vec![
            torn(),
            whole(31, 1),
            torn(),
            whole(31, 1),
            whole(31, 1)
        ]),
        "good 31"
    );
    assert_eq!(said(vec![torn(); 20]), "nothing");
    assert_eq!(said(vec![None; 20]), "nothing");
    assert_eq!(said((0..20).map(|n| whole(31, n)).collect()), "unstable");
}

#[test]
fn beside_a_busy_writer_only_whole_copies_are_kept() {
    let sample = WatchedBot::new();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (file, stopped) = (sample.file(), Arc::clone(&stop));
    sample.write(&creds(31));
    let writer = std::thread::spawn(move || {
        let mut next = 32;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            std::fs::write(&file, creds(next)).unwrap();
            next += 1;
        }
    });
    for _ in 0..5 {
        sample
            .watch
            .look(&sample.found, ANY, Timestamp::now(), Instant::now());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    sample
        .watch
        .look(&sample.found, ANY, Timestamp::now(), Instant::now());
    let copies = sample.watch.store.copies("bot").unwrap();
    assert!(copies.iter().all(|(_, copy)| copy.is_some()));
    let newest = copies[0].1.as_ref().unwrap();
    assert_eq!(newest.bytes, std::fs::read(sample.file()).unwrap());
}
