//! Opens directories without following links.
//!
//! The kernel's `openat2` does so in one call. It is missing (`ENOSYS`) under systemd's
//! `RestrictSUIDSGID=` and in some sandboxes; there, the path is opened one name at a time.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Opens a directory by path.
///
/// Errors: `ELOOP` where a part of the path is a link.
pub fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(CWD, path, DIRECTORY, Mode::empty(), links) {
        Err(Errno::NOSYS) => walk(path),
        opened => opened,
    }
}

/// Opens the directory of this name in `dir`.
///
/// Errors: `ELOOP` where it is a link, `EXDEV` where it is on another mount or the name is a
/// path.
pub fn open_in(dir: BorrowedFd<'_>, name: impl AsRef<OsStr>) -> Result<OwnedFd, Errno> {
    let name = name.as_ref();
    let inside = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(dir, name, DIRECTORY, Mode::empty(), inside) {
        Err(Errno::NOSYS) => step_in(dir, name),
        opened => opened,
    }
}

/// [`open_path`] without `openat2`.
fn walk(path: &Path) -> Result<OwnedFd, Errno> {
    let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut at = rustix::fs::openat(CWD, start, through, Mode::empty())?;
    for part in path.components() {
        at = match part {
            Component::Normal(name) => step(at.as_fd(), name, through)?,
            Component::ParentDir => rustix::fs::openat(&at, "..", through, Mode::empty())?,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => at,
        };
    }
    rustix::fs::openat(&at, ".", DIRECTORY, Mode::empty())
}

/// [`open_in`] without `openat2`.
fn step_in(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let mut parts = Path::new(name).components();
    let (Some(Component::Normal(only)), None) = (parts.next(), parts.next()) else {
        return Err(Errno::XDEV);
    };
    let opened = step(dir, only, DIRECTORY)?;
    match mount_of(dir)? == mount_of(opened.as_fd())? {
        true => Ok(opened),
        false => Err(Errno::XDEV),
    }
}

/// Opens the directory of this name in `dir`; a link is `ELOOP`.
fn step(dir: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
        // What the kernel says of a link where it wants a directory.
        Err(Errno::NOTDIR) => {
            let about = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Symlink => Err(Errno::LOOP),
                _ => Err(Errno::NOTDIR),
            }
        }
        opened => opened,
    }
}

/// The id of the mount. Errors: `ENOSYS` where the kernel (before 5.8) does not tell.
fn mount_of(dir: BorrowedFd<'_>) -> Result<u64, Errno> {
    let about = rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    match StatxFlags::from_bits_retain(about.stx_mask).contains(StatxFlags::MNT_ID) {
        true => Ok(about.stx_mnt_id),
        false => Err(Errno::NOSYS),
    }
}

#[cfg(test)]
mod tests;
