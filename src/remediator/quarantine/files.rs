//! Creates, writes and removes files and directories of a quarantine, without following links.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::folder::no_links;
use crate::folder::scan::stat;

use super::{Obstacle, obstacle, obstacle_io};

/// `f_type` of NFS.
const NFS_MAGIC: i64 = 0x6969;

/// tmp, fsync, rename, fsync of the directory.
pub(in crate::remediator) fn write_file(
    dir: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
) -> Result<(), Obstacle> {
    let doing = "writing a record into the quarantine";
    let tmp = format!("{name}.tmp");
    // A file of this name is incomplete or planted. A planted pipe would block the write, and
    // a planted link would redirect it.
    unlink(dir, &tmp)?;
    let fd = rustix::fs::openat(
        dir,
        tmp.as_str(),
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
    .map_err(|e| obstacle(doing, e))?;
    give_to_owner_of(dir, fd.as_fd())?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| obstacle_io(doing, &error))?;
    rustix::fs::renameat(dir, tmp.as_str(), dir, name).map_err(|e| obstacle(doing, e))?;
    sync(&[dir])
}

pub(in crate::remediator) fn sync(dirs: &[BorrowedFd<'_>]) -> Result<(), Obstacle> {
    for dir in dirs {
        rustix::fs::fsync(dir).map_err(|e| obstacle("saving a directory", e))?;
    }
    Ok(())
}

pub(in crate::remediator) fn exists(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Obstacle> {
    stat(dir, OsStr::new(name))
        .map(|found| found.is_some())
        .map_err(|error| obstacle_io("looking into the quarantine", &error))
}

pub(in crate::remediator) fn open_beneath(
    dir: BorrowedFd<'_>,
    name: &str,
) -> Result<OwnedFd, Errno> {
    no_links::open_in(dir, name)
}

pub(in crate::remediator) fn make_dir(
    parent: BorrowedFd<'_>,
    name: &str,
    must_be_new: bool,
) -> Result<OwnedFd, Obstacle> {
    let doing = "creating a directory in the quarantine";
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) if !must_be_new => {}
        Err(error) => return Err(obstacle(doing, error)),
    }
    let fd = open_beneath(parent, name).map_err(|e| obstacle(doing, e))?;
    give_to_owner_of(parent, fd.as_fd())?;
    sync(&[parent])?;
    Ok(fd)
}

/// Gives a file that root created to the owner of its directory, so that a remediator that
/// runs as that user can use it.
pub(in crate::remediator) fn give_to_owner_of(
    parent: BorrowedFd<'_>,
    made: BorrowedFd<'_>,
) -> Result<(), Obstacle> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let doing = "giving the quarantine to the folder's owner";
    let owner = rustix::fs::fstat(parent).map_err(|e| obstacle(doing, e))?;
    let (user, group) = (
        rustix::fs::Uid::from_raw(owner.st_uid),
        rustix::fs::Gid::from_raw(owner.st_gid),
    );
    rustix::fs::fchown(made, Some(user), Some(group)).map_err(|e| obstacle(doing, e))
}

/// Refuses file systems on which locks or renames are not reliable.
pub(in crate::remediator) fn check_filesystem(magic: i64) -> Result<(), Obstacle> {
    match magic {
        NFS_MAGIC => Err(Obstacle::Filesystem(
            "the folder is on NFS, where locks and renames are not reliable".into(),
        )),
        _ => Ok(()),
    }
}

/// Checks with a temporary file that this file system supports RENAME_NOREPLACE.
pub(super) fn check_noreplace(dir: BorrowedFd<'_>, files: BorrowedFd<'_>) -> Result<(), Obstacle> {
    let probe = "rename-probe";
    write_file(dir, probe, b"")?;
    let moved = rename(dir, files, OsStr::new(probe));
    let at = if moved.is_ok() { files } else { dir };
    unlink(at, probe)?;
    moved.map_err(|e| obstacle("trying a rename that does not replace", e))
}

pub(in crate::remediator) fn unlink(dir: BorrowedFd<'_>, name: &str) -> Result<(), Obstacle> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(obstacle("removing a record", error)),
    }
}

/// `OsStr` of a directory entry's name.
pub(super) trait FromCStr {
    fn from_bytes_of(name: &std::ffi::CStr) -> &OsStr;
}

impl FromCStr for OsStr {
    fn from_bytes_of(name: &std::ffi::CStr) -> &OsStr {
        use std::os::unix::ffi::OsStrExt;
        OsStr::from_bytes(name.to_bytes())
    }
}

pub(super) fn rename(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE)
}
