use super::*;
use std::ffi::OsStr;

#[test]
fn it_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let session = SessionName::from_dir(OsStr::new("a"));
    let seen = [("probe-1".into(), Alive::at(Timestamp::now()))];
    let kept = SightingsFile::new(Clock::system());
    kept.remember(&session, &seen);
    kept.save();
    assert!(!dir.path().join(FILE).exists(), "it is not open");
    kept.open(dir.path());
    kept.save();
    let written = || std::fs::metadata(dir.path().join(FILE)).unwrap().modified();
    let first = written().unwrap();
    kept.save();
    assert_eq!(written().unwrap(), first, "nothing changed");
    let again = SightingsFile::load(dir.path(), Clock::system());
    assert_eq!(again.recall(&session), kept.recall(&session));
    assert_eq!(again.recall(&session).alive.len(), 1);
    std::fs::write(dir.path().join(FILE), "[{").unwrap();
    let unreadable = SightingsFile::load(dir.path(), Clock::system());
    assert!(unreadable.recall(&session).alive.is_empty());
}

#[test]
fn the_first_save_shows_whether_it_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    SightingsFile::load(dir.path(), Clock::system()).save();
    assert!(dir.path().join(FILE).exists());
    let missing = dir.path().join("missing");
    let kept = SightingsFile::load(&missing, Clock::system());
    kept.save();
    assert!(*kept.has_failed.lock().unwrap());
    assert!(kept.is_elsewhere(dir.path()) && !kept.is_elsewhere(&missing));
    // Made later, it is used.
    std::fs::create_dir(&missing).unwrap();
    kept.save();
    assert!(!*kept.has_failed.lock().unwrap());
    assert!(missing.join(FILE).exists());
}

#[test]
fn a_boot_with_a_clock_that_is_behind_keeps_what_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let session = SessionName::from_dir(OsStr::new("a"));
    let later = Timestamp::now().plus(std::time::Duration::from_secs(3 * 365 * 86_400));
    let kept = SightingsFile::load(dir.path(), Clock::system());
    kept.remember(&session, &[("probe-1".into(), Alive::at(later))]);
    kept.save();
    let again = SightingsFile::load(dir.path(), Clock::system());
    again.save();
    let again = SightingsFile::load(dir.path(), Clock::system());
    assert_eq!(again.recall(&session).alive.len(), 1);
}

#[test]
fn a_save_does_not_wait_for_one_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let kept = SightingsFile::load(dir.path(), Clock::system());
    let hangs = kept.has_failed.lock().unwrap();
    kept.save();
    assert!(!dir.path().join(FILE).exists());
    drop(hangs);
    kept.save();
    assert!(dir.path().join(FILE).exists());
}

#[test]
fn nothing_waits_for_a_read_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let kept = SightingsFile::new(Clock::system());
    let hangs = kept.has_failed.lock().unwrap();
    kept.open(dir.path());
    kept.save();
    assert!(!dir.path().join(FILE).exists(), "it may hold what was seen");
    drop(hangs);
    kept.open(dir.path());
    kept.save();
    assert!(dir.path().join(FILE).exists());
}
