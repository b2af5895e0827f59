//! Opens the files that a program keeps in its state directory.
//!
//! Such a file is a regular file with one name, and belongs to this process's user, to root or,
//! where this process is root, to the owner of the directory. Anything else is refused: a link
//! leads a write into another file, a lock of another user proves nothing, and a named pipe
//! blocks.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

const ROOT: u32 = 0;

/// What is known about a file before it is trusted.
#[derive(Clone, Copy, Debug)]
struct FileFacts {
    is_file: bool,
    is_link: bool,
    names: u64,
    owner: u32,
    /// Owner of the directory.
    dir_owner: u32,
    /// Effective user of this process.
    user: u32,
}

/// Whether another user than this process's one (`user`) may change a directory of `owner`. Root
/// works in directories of other users.
fn dir_is_foreign(owner: u32, user: u32) -> bool {
    user != ROOT && ![user, ROOT].contains(&owner)
}

/// Whether something of `owner`, in a directory of `dir_owner`, was put there by another user
/// than this process's one (`user`), root and the owner of the directory.
pub fn is_foreign(owner: u32, dir_owner: u32, user: u32) -> bool {
    ![user, ROOT, dir_owner].contains(&owner)
}

/// Why a file is refused. Pure.
fn refusal(facts: FileFacts) -> Option<String> {
    let FileFacts {
        owner,
        dir_owner,
        user,
        ..
    } = facts;
    if facts.is_link {
        Some("is a symbolic link".into())
    } else if !facts.is_file {
        Some("is no regular file".into())
    } else if dir_is_foreign(dir_owner, user) {
        Some(format!("is in a directory of the user {dir_owner}"))
    } else if is_foreign(owner, dir_owner, user) {
        Some(format!("belongs to the user {owner}"))
    } else {
        (facts.names > 1).then(|| "has more than one name (a hard link)".into())
    }
}

/// Directory that `path` is in.
fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn judge(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let facts = FileFacts {
        is_file: metadata.is_file(),
        is_link: metadata.is_symlink(),
        names: metadata.nlink(),
        owner: metadata.uid(),
        dir_owner: std::fs::metadata(dir_of(path))?.uid(),
        user: geteuid().as_raw(),
    };
    match refusal(facts) {
        None => Ok(()),
        Some(why) => Err(io::Error::other(format!(
            "{} {why}; this program did not make it. Find out who did, and remove it",
            path.display()
        ))),
    }
}

/// Refuses what is at `path` and is not this program's. Nothing there is fine.
///
/// Errors: as [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => judge(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What root makes in a directory of another user belongs to that user: the program usually runs
/// as that one, and must be able to open it.
fn hand_over(path: &Path, made: &File) -> io::Result<()> {
    let dir = std::fs::metadata(dir_of(path))?;
    match geteuid().is_root() && dir.uid() != ROOT {
        true => std::os::unix::fs::fchown(made, Some(dir.uid()), Some(dir.gid())),
        false => Ok(()),
    }
}

/// Opens a file with these options; one that it makes has the mode 0600 and belongs to the owner
/// of the directory where this process is root. Never follows a link and never blocks.
///
/// Errors: it cannot be opened, or is not this program's: what is wrong with it.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let is_new = std::fs::symlink_metadata(path).is_err();
    let opened = options
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    match opened {
        Ok(file) => {
            judge(path, &file.metadata()?)?;
            if is_new {
                hand_over(path, &file)?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(of_another_user(path, error))
        }
        // A link, a directory, a pipe without a reader.
        Err(error) => Err(check(path).err().unwrap_or(error)),
    }
}

/// Not permitted: the usual cause is that the program once ran as another user.
fn of_another_user(path: &Path, error: io::Error) -> io::Error {
    let user = geteuid().as_raw();
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.uid() != user => {
            let (kind, path, owner) = (error.kind(), path.display(), metadata.uid());
            let text = format!(
                "{error}: it belongs to the user {owner}, and this program runs as {user}; run it as the same user always, and give it the file: chown {user} '{path}'"
            );
            io::Error::new(kind, text)
        }
        _ => error,
    }
}

/// Reads a file of at most `limit` bytes.
///
/// Errors: as [`open`], and it is longer.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(OpenOptions::new().read(true), path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::other(format!("it is longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Replaces the content of a file at once; `path` with the extension `new` is used meanwhile.
///
/// Errors: those of the file system.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open(OpenOptions::new().write(true).create_new(true), &new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// The state directory without links, for SQLite. Links that lead to it are followed (systemd
/// makes one for `DynamicUser=`), but not one that another user has put in its place.
///
/// Errors: it is missing, or in the place of another user's link.
pub fn resolve_dir(dir: &Path) -> io::Result<PathBuf> {
    let at = std::fs::symlink_metadata(dir)?;
    let owner = std::fs::metadata(dir)?.uid();
    let user = geteuid().as_raw();
    if at.is_symlink() && is_foreign(at.uid(), owner, user) {
        return Err(io::Error::other(format!(
            "it is a link of the user {}; this program did not make it",
            at.uid()
        )));
    }
    std::fs::canonicalize(dir)
}

#[cfg(test)]
mod tests;
