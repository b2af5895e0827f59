use super::recovery::{Stage, is_new, stage};
use super::*;

#[test]
fn only_what_was_replaced_counts_as_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NEW);
    let slot = std::fs::File::open(dir.path()).unwrap();
    let write = |inode| {
        let record = RestoreRecord {
            version: 1,
            at_ns: 1,
            copy: 1,
            content: format!("{:016x}", xxh3_64(b"new")),
            inode,
        };
        let _ = std::fs::remove_file(dir.path().join(RECORD));
        write_record(slot.as_fd(), RECORD, &record).unwrap();
        record
    };
    std::fs::write(&path, "new").unwrap();
    assert_eq!(
        stage(slot.as_fd()).unwrap(),
        Stage::Begun,
        "without a record"
    );
    let record = write(None);
    assert_eq!(stage(slot.as_fd()).unwrap(), Stage::Prepared);
    let (_, stamp) = stat(slot.as_fd(), OsStr::new(NEW)).unwrap().unwrap();
    let unreadable = || Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
    assert!(
        is_new(&record, &stamp, unreadable()).is_err(),
        "nobody knows"
    );
    assert!(is_new(&write(Some(stamp.inode)), &stamp, unreadable()).unwrap());
    assert!(!is_new(&write(Some(stamp.inode + 1)), &stamp, unreadable()).unwrap());
    std::fs::write(&path, "old").unwrap();
    assert_eq!(stage(slot.as_fd()).unwrap(), Stage::Exchanged);
    // What a bot's folder may hold under that name, and we never wrote.
    std::fs::File::create(&path)
        .unwrap()
        .set_len(MAX_CREDS_BYTES + 1)
        .unwrap();
    assert_eq!(stage(slot.as_fd()).unwrap(), Stage::Exchanged);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    assert_eq!(stage(slot.as_fd()).unwrap(), Stage::Exchanged);
}
