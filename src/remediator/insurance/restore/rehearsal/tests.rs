use std::fs;

use super::*;
use crate::folder::FolderPath;
use crate::folder::scan::QUARANTINE_DIR;
use crate::remediator::insurance::restore::recovery::complete_all;

fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn it_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CREDS), "{}").unwrap();
    let path = dir.path().canonicalize().unwrap();
    let place = FolderPath {
        parent: path.parent().unwrap().to_owned(),
        name: path.file_name().unwrap().to_owned(),
    };
    let folder = LockedFolder::lock(&place).unwrap();
    let now = Timestamp::from_secs(1_800_000_000);
    rehearse(&folder, b"{}", now).unwrap();
    assert_eq!(names(dir.path()), [QUARANTINE_DIR, CREDS]);
    let quarantine = dir.path().join(QUARANTINE_DIR);
    assert_eq!(names(&quarantine), ["BAILEYS_QUARANTINE.TAG"]);
    // As after a crash in the middle.
    let slot = quarantine.join(format!("{PREFIX}{}", RunId::new(now)));
    fs::create_dir(&slot).unwrap();
    fs::write(slot.join(NEW), "").unwrap();
    fs::write(slot.join(SECOND), "").unwrap();
    complete_all(&folder).unwrap();
    assert_eq!(names(&quarantine), ["BAILEYS_QUARANTINE.TAG"]);
    rehearse(&folder, b"{}", now).unwrap();
    // What a restore would fail of.
    fs::remove_file(quarantine.join("BAILEYS_QUARANTINE.TAG")).unwrap();
    fs::write(quarantine.join("other"), "").unwrap();
    let error = rehearse(&folder, b"{}", now).unwrap_err();
    assert!(error.to_string().contains("quarantine tag"), "{error}");
}
