#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use super::*;

/// Opens both ways: the error, or the inode.
fn by_path(path: &Path) -> [Result<u64, Errno>; 2] {
    [open_path(path), walk(path)].map(|opened| opened.map(inode))
}

fn by_name(dir: &Path, name: &str) -> [Result<u64, Errno>; 2] {
    let dir = File::open(dir).unwrap();
    let opened = [
        open_in(dir.as_fd(), name),
        step_in(dir.as_fd(), OsStr::new(name)),
    ];
    opened.map(|opened| opened.map(inode))
}

fn inode(fd: OwnedFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

#[test]
fn both_ways_open_the_same_directory_and_refuse_the_same() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let inside = root.join("a/b");
    fs::create_dir_all(&inside).unwrap();
    fs::write(root.join("file"), "").unwrap();
    symlink("a", root.join("link")).unwrap();
    symlink("b", root.join("a/last")).unwrap();
    symlink("nowhere", root.join("broken")).unwrap();
    let there = Ok(inode(File::open(&inside).unwrap().into()));
    for (path, wanted) in [
        ("a/b", there),
        ("a/b/", there),
        ("a/../a/./b", there),
        ("link/b", Err(Errno::LOOP)),
        ("a/last", Err(Errno::LOOP)),
        ("broken", Err(Errno::LOOP)),
        ("file", Err(Errno::NOTDIR)),
        ("file/b", Err(Errno::NOTDIR)),
        ("missing", Err(Errno::NOENT)),
        ("a/missing/b", Err(Errno::NOENT)),
    ] {
        assert_eq!(by_path(&root.join(path)), [wanted; 2], "{path}");
    }
    for (name, wanted) in [
        ("b", there),
        ("last", Err(Errno::LOOP)),
        ("..", Err(Errno::XDEV)),
        ("missing", Err(Errno::NOENT)),
    ] {
        assert_eq!(by_name(&root.join("a"), name), [wanted; 2], "{name}");
    }
    // A path is no name.
    let dir = File::open(&root).unwrap();
    let opened = step_in(dir.as_fd(), OsStr::new("a/b"));
    assert_eq!(opened.map(inode), Err(Errno::XDEV));
}

#[test]
fn a_directory_on_another_mount_is_refused_both_ways() {
    // `proc` is a mount wherever this runs.
    assert_eq!(by_name(Path::new("/"), "proc"), [Err(Errno::XDEV); 2]);
    assert!(by_path(Path::new("/proc")).iter().all(Result::is_ok));
}
