use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::time::Duration;

use super::*;
use crate::folder::{FolderPath, SessionName};
use crate::remediator::restart::state::{CallKind, Times, Trigger};

/// The folder's owner can put anything into the quarantine, and this program may be root.
#[test]
fn a_record_overwrites_no_other_file_and_belongs_to_the_folders_owner() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("bot"), dir.path().join("other"));
    fs::create_dir(&path).unwrap();
    fs::write(&other, "kept").unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(&path, Some(4321), Some(4321)).unwrap();
    }
    let found = Found {
        session: SessionName::from_text("bot"),
        place: FolderPath {
            parent: dir.path().canonicalize().unwrap(),
            name: "bot".into(),
        },
    };
    let folder = LockedFolder::lock(&found.place).unwrap();
    let quarantine = path.join(QUARANTINE_DIR);
    let now = Now {
        boot: 1,
        at: Duration::ZERO,
    };
    let call = Call::new(1, CallKind::Stop, now, Duration::ZERO);
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &quarantine).unwrap();
    assert!(write_call(&folder, &call).is_err(), "a planted link");
    fs::remove_file(&quarantine).unwrap();
    fs::create_dir(&quarantine).unwrap();
    fs::write(quarantine.join("mine"), "").unwrap();
    assert!(
        write_call(&folder, &call).is_err(),
        "a directory of someone else"
    );
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_file(quarantine.join("mine")).unwrap();
    fs::remove_dir(&quarantine).unwrap();
    write_call(&folder, &call).unwrap();
    let about = fs::metadata(&quarantine).unwrap();
    assert_eq!(
        (about.mode() & 0o777, about.uid() == 4321),
        (0o700, is_root)
    );
    fs::remove_file(quarantine.join(OPERATOR)).unwrap();
    for planted in ["operator.json", "operator.json.new", "operator.json.tmp"] {
        fs::hard_link(&other, quarantine.join(planted)).unwrap();
    }
    write_call(&folder, &call).unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"kept");
    let fifo = quarantine.join("operator.json.tmp");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    write_call(&folder, &call).unwrap();
    let owner = fs::metadata(quarantine.join(OPERATOR)).unwrap().uid();
    assert_eq!(owner == 4321, is_root);
    assert!(read_json::<Call>(&found, OPERATOR).unwrap().is_some());
}

/// Two containers may call their state directories the same: a record of another restart counts
/// whatever its path.
#[test]
fn the_call_of_another_restart_counts_and_that_of_the_own_does_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bot")).unwrap();
    let found = Found {
        session: SessionName::from_text("bot"),
        place: FolderPath {
            parent: dir.path().canonicalize().unwrap(),
            name: "bot".into(),
        },
    };
    let now = Now {
        boot: 1,
        at: Duration::from_secs(100),
    };
    let times = Times::all(Duration::from_secs(1));
    let restart = |decided_ns| Restart::new("bot", "bot", 1, Trigger::Emergency, decided_ns, times);
    let mut state = restart(1);
    state.call = Some(Call::new(1, CallKind::Start, now, Duration::from_secs(60)));
    let folder = LockedFolder::lock(&found.place).unwrap();
    let state_path = Path::new("/var/lib/baileys_remediator");
    write(&folder, state_path, &state).unwrap();
    let is_under_way =
        |own: i64| other_call_may_be_under_way(&found, Some(&restart(own).id()), now);
    assert!(is_under_way(2));
    assert!(!is_under_way(1));
    assert!(read(&found, state_path).unwrap().is_some());
    // Where the journal cannot delete its own record.
    for how in [RestartEnd::Stopped, RestartEnd::NothingCalled] {
        write(&folder, state_path, &state).unwrap();
        end(&folder, how).unwrap();
        end(&folder, how).unwrap();
        assert!(read(&found, state_path).unwrap().is_none());
        let own = over(&found, state_path).unwrap();
        assert!(matches!(&own[..], [(one, of)] if *of == how && one.id() == state.id()));
        let other = over(&found, Path::new("/var/lib/other")).unwrap();
        assert!(other.is_empty(), "{other:?}");
        remove(&folder).unwrap();
        assert!(over(&found, state_path).unwrap().is_empty());
    }
    drop(folder);
    fs::remove_dir_all(dir.path().join("bot")).unwrap();
    assert!(read(&found, state_path).is_err(), "its mount is missing");
}

/// `rsync -a` to another machine, a clone under the same path, or a backup that is put back.
#[test]
fn a_record_that_came_with_a_copy_of_the_folder_is_not_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let found = |name: &str| Found {
        session: SessionName::from_text(name),
        place: FolderPath {
            parent: dir.path().canonicalize().unwrap(),
            name: name.into(),
        },
    };
    let (own, copy) = (found("bot"), found("copy"));
    let record = |found: &Found| found.place.path().join(QUARANTINE_DIR).join(NAME);
    fs::create_dir(own.place.path()).unwrap();
    let state_path = Path::new("/var/lib/baileys_remediator");
    let times = Times::all(Duration::from_secs(1));
    let mut state = Restart::new("bot", "bot", 1, Trigger::Emergency, 1, times);
    state.phase = crate::remediator::restart::state::Phase::Down;
    let folder = LockedFolder::lock(&own.place).unwrap();
    write(&folder, state_path, &state).unwrap();
    drop(folder);
    let is_resumed = |found: &Found| read(found, state_path).unwrap().is_some();
    assert!(is_resumed(&own));
    // A rename keeps the folder. A creds.json that is put back does not change it.
    fs::rename(own.place.path(), copy.place.path()).unwrap();
    fs::write(copy.place.path().join("creds.json"), "{}").unwrap();
    assert!(is_resumed(&copy));
    fs::create_dir_all(own.place.path().join(QUARANTINE_DIR)).unwrap();
    fs::copy(record(&copy), record(&own)).unwrap();
    assert!(!is_resumed(&own), "another folder");
    let text = fs::read_to_string(record(&copy)).unwrap();
    // The same folder of another machine, and a record that does not tell where it was written.
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, value) in [
        ("machine", serde_json::json!("machine-0000000000000000")),
        ("inode", serde_json::json!(0)),
    ] {
        let mut other = json.clone();
        other["written_in"][key] = value;
        fs::write(record(&copy), other.to_string()).unwrap();
        assert!(!is_resumed(&copy), "{key}");
    }
    json["written_in"] = serde_json::Value::Null;
    fs::write(record(&copy), json.to_string()).unwrap();
    assert!(!is_resumed(&copy));
    assert!(record(&copy).exists(), "it is left alone");
    fs::write(record(&copy), text).unwrap();
    assert!(is_resumed(&copy));
}

#[test]
fn a_machine_is_named_without_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("machine-id");
    assert_eq!(machine(&file), None);
    for none in ["", "\n", "uninitialized\n"] {
        fs::write(&file, none).unwrap();
        assert_eq!(machine(&file), None, "{none:?}");
    }
    let of = |id: &str| {
        fs::write(&file, format!("{id}\n")).unwrap();
        machine(&file).unwrap()
    };
    let (one, other) = (
        "00112233445566778899aabbccddeeff",
        "ff112233445566778899aabbccddeeff",
    );
    assert!(of(one) == of(one) && of(one) != of(other));
    assert!(!of(one).contains(one) && of(one).len() == "machine-".len() + 16);
}
