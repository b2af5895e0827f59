use std::fs::{self, OpenOptions};

use super::*;
use crate::folder::Timestamp;
use crate::remediator::store::FILE;

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    (dir, store)
}

fn broken(store: &Store, says: &str) {
    let error = store.check().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_journal_that_is_there_is_fine_while_others_write() {
    let (dir, store) = open();
    store.check().unwrap();
    let other = Store::open(&dir.path().join("state")).unwrap();
    for second in 0..200 {
        let now = Timestamp::from_secs(1_800_000_000 + second);
        other.pause().set("ann", &"x".repeat(5_000), now).unwrap();
        store.unstarted().recent(1).unwrap();
        store.check().unwrap();
        other.check().unwrap();
    }
    Store::in_memory().unwrap().check().unwrap();
}

#[test]
fn a_deleted_replaced_or_truncated_journal_is_found() {
    let (dir, store) = open();
    let path = dir.path().join("state").join(FILE);
    fs::rename(&path, dir.path().join("kept")).unwrap();
    broken(&store, "is gone");
    fs::copy(dir.path().join("kept"), &path).unwrap();
    broken(&store, "was replaced");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(dir.path().join("kept"), &path).unwrap();
    broken(&store, "was replaced");
    fs::rename(dir.path().join("kept"), &path).unwrap();
    store.check().unwrap();
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    broken(&store, "is gone");

    for length in [0, 10, 100, 4096, 8192] {
        let (dir, store) = open();
        let path = dir.path().join("state").join(FILE);
        let before = fs::metadata(&path).unwrap().len();
        assert!(length < before);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
        assert!(store.check().is_err(), "{length} of {before} bytes");
    }
}

#[test]
fn a_journal_that_can_only_be_read_is_found() {
    let (dir, store) = open();
    let state = dir.path().join("state");
    let before = fs::read(state.join(FILE)).unwrap();
    store.check_write().unwrap();
    // In the place of the rollback journal: nothing can be written.
    fs::remove_file(state.join(format!("{FILE}-journal"))).unwrap();
    fs::create_dir(state.join(format!("{FILE}-journal"))).unwrap();
    store.check_write().unwrap_err();
    fs::remove_dir(state.join(format!("{FILE}-journal"))).unwrap();
    store.check_write().unwrap();
    assert_eq!(fs::read(state.join(FILE)).unwrap(), before);
    // Another process that writes is not waited for.
    let other = Store::open(&state).unwrap();
    let tx = Transaction::new_unchecked(&other.db, TransactionBehavior::Immediate).unwrap();
    store.check_write().unwrap();
    drop(tx);
    Store::in_memory().unwrap().check_write().unwrap();
}

#[test]
fn a_damaged_page_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.check_pages().unwrap();
    let path = dir.path().join(super::super::FILE);
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut found = 0;
    let pages = whole.len() / 4096;
    for page in 1..pages {
        let mut bytes = whole.clone();
        // The header of the page.
        bytes[page * 4096] = 0x77;
        std::fs::write(&path, bytes).unwrap();
        let checked = Store::open(dir.path()).and_then(|store| store.check_pages());
        found += usize::from(checked.is_err_and(|error| error.to_string().contains("is damaged")));
    }
    assert!(pages > 10 && found == pages - 1, "{found} of {pages}");
    std::fs::write(&path, whole).unwrap();
    Store::open(dir.path()).unwrap().check_pages().unwrap();
}
