use super::*;
use std::ffi::OsStr;

#[test]
fn it_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let session = SessionName::from_dir(OsStr::new("a"));
    let kept = SightingsFile::load(dir.path(), Clock::system());
    kept.save();
    assert!(!dir.path().join(FILE).exists(), "nothing changed");
    kept.remember(&session, &[("probe-1".into(), Alive::at(Timestamp::now()))]);
    kept.save();
    let again = SightingsFile::load(dir.path(), Clock::system());
    assert_eq!(again.recall(&session), kept.recall(&session));
    assert_eq!(again.recall(&session).alive.len(), 1);
    std::fs::write(dir.path().join(FILE), "[{").unwrap();
    let unreadable = SightingsFile::load(dir.path(), Clock::system());
    assert!(unreadable.recall(&session).alive.is_empty());
}
