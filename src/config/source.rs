//! Which configuration file is read, and whether it may be: it holds commands.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use exporter_toolkit::secret;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::error::ConfigError;

/// Names the file where no flag does.
pub const VARIABLE: &str = "BAILEYS_CONFIG";
/// The file of the machine.
pub const OF_THE_MACHINE: &str = "/etc/baileys/config.yml";
/// The file of the user, in `$XDG_CONFIG_HOME`.
const OF_THE_USER: &str = "baileys/config.yml";
/// As a file it says that none is read.
const NONE: &str = "/dev/null";
/// A longer file is none of ours.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// As in Linux.
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;

/// The file that is read: the first of `--config.file`, `$BAILEYS_CONFIG`,
/// `$XDG_CONFIG_HOME/baileys/config.yml` (`~/.config` where that is not set) and
/// `/etc/baileys/config.yml`. One that is named must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    /// The file.
    pub path: PathBuf,
    /// The flag or variable that names it; empty where it was found.
    named_by: &'static str,
}

impl ConfigSource {
    /// The file to read; `None` where there is none. `variable` looks into the environment.
    pub fn find(flag: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let named =
            |path: PathBuf, named_by| (path != Path::new(NONE)).then_some(Self { path, named_by });
        if let Some(path) = flag {
            return named(path.to_owned(), "--config.file ");
        }
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(path) = variable(VARIABLE) {
            return named(path.into(), "BAILEYS_CONFIG ");
        }
        // A relative one does not count, says its specification.
        let absolute = |name| {
            variable(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let of_the_user = match absolute("XDG_CONFIG_HOME") {
            Some(dir) => Some((dir, false)),
            // A home that belongs to another user, as after a change of the user, is passed over.
            None => absolute("HOME").map(|home| (home.join(".config"), true)),
        };
        let of_the_user = of_the_user.map(|(dir, lenient)| (dir.join(OF_THE_USER), lenient));
        let candidates = of_the_user
            .into_iter()
            .chain([(OF_THE_MACHINE.into(), false)]);
        for (path, lenient) in candidates {
            let is_there = match path.symlink_metadata() {
                Ok(_) => true,
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => false,
                    io::ErrorKind::PermissionDenied => !lenient,
                    _ => true,
                },
            };
            if is_there {
                let named_by = "";
                return Some(Self { path, named_by });
            }
        }
        None
    }

    /// The text.
    ///
    /// Errors: it cannot be read, is no file, is not UTF-8, or others may write it.
    pub fn read(&self) -> Result<String, ConfigError> {
        let wrong = |message: String, hint: Option<String>| ConfigError {
            file: None,
            position: None,
            message: format!("{}{}: {message}", self.named_by, self.path.display()),
            hint,
        };
        let (file, metadata) =
            secret::open(&self.path).map_err(|error| wrong(error.to_string(), None))?;
        let user = rustix::process::geteuid().as_raw();
        let mut checked = vec![(self.path.clone(), metadata)];
        let failed = |error: io::Error| wrong(error.to_string(), None);
        let way = way(&self.path).map_err(failed)?;
        for (link, dir) in way.links {
            let owner = link.symlink_metadata().map_err(failed)?.uid();
            let mode = dir.metadata().map_err(failed)?.mode();
            // In another directory a link cannot be changed, or that directory is refused.
            if mode & STICKY != 0 && owner != 0 && owner != user && !is_read_only(&dir) {
                let shown = link.to_string_lossy();
                let quoted = shlex::try_quote(&shown).unwrap_or_default();
                return Err(wrong(
                    format!(
                        "the configuration holds commands, so others must not be able to change it, and the link {} belongs to another user",
                        link.display()
                    ),
                    Some(format!("fix it with: sudo chown -h {user} {quoted}")),
                ));
            }
        }
        for dir in way.dirs {
            let metadata = dir.metadata().map_err(failed)?;
            checked.push((dir, metadata));
        }
        for (path, metadata) in checked {
            let Some(why) = exposure(metadata.is_dir(), metadata.mode(), metadata.uid(), user)
            else {
                continue;
            };
            let what = match metadata.is_dir() {
                true if is_read_only(&path) => continue,
                true => format!("its directory {} {why}", path.display()),
                false => format!("it {why}"),
            };
            let fix = fix(&path, metadata.mode(), metadata.uid(), user);
            return Err(wrong(
                format!(
                    "the configuration holds commands, so others must not be able to change it, and {what}"
                ),
                Some(format!("fix it with: {fix}")),
            ));
        }
        let mut text = String::new();
        let read = file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| wrong(error.to_string(), None))?;
        match text.len() as u64 > MAX_CONFIG_BYTES {
            true => Err(wrong("it is longer than 4 MiB".to_owned(), None)),
            false => Ok(text),
        }
    }
}

/// What makes a file, or the directory of one, writable by others than root and `user`.
fn exposure(is_dir: bool, mode: u32, owner: u32, user: u32) -> Option<&'static str> {
    if owner != 0 && owner != user {
        return Some("belongs to another user");
    }
    // In a sticky directory, such as /tmp, no user replaces the file of another.
    if is_dir && mode & STICKY != 0 {
        return None;
    }
    match mode {
        mode if mode & 0o002 != 0 => Some("can be written by everybody"),
        mode if mode & 0o020 != 0 => Some("can be written by its group"),
        _ => None,
    }
}

/// What is passed on the way to a file.
#[derive(Default)]
struct Way {
    /// The directories in which a part of the path is looked up, the last one first.
    dirs: Vec<PathBuf>,
    /// The links, each with its directory.
    links: Vec<(PathBuf, PathBuf)>,
}

/// The way to a file of this name, through each link.
fn way(path: &Path) -> io::Result<Way> {
    let mut way = Way::default();
    let mut dir = PathBuf::from("/");
    let parts_of = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        let parts = parts.map(|part| part.as_os_str().to_owned());
        parts.collect()
    };
    // The next one is the last.
    let mut parts = parts_of(&std::path::absolute(path)?);
    while let Some(part) = parts.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => dir = PathBuf::from("/"),
            Some(Component::ParentDir) => _ = dir.pop(),
            Some(Component::Normal(name)) => {
                if !way.dirs.contains(&dir) {
                    way.dirs.insert(0, dir.clone());
                }
                let next = dir.join(name);
                if !next.symlink_metadata()?.is_symlink() {
                    dir = next;
                    continue;
                }
                if way.links.len() >= MAX_LINKS {
                    return Err(io::Error::other("too many links"));
                }
                parts.extend(parts_of(&next.read_link()?));
                way.links.push((next, dir.clone()));
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    Ok(way)
}

/// On a mount that is read-only, as that of a ConfigMap of Kubernetes, nothing is replaced.
fn is_read_only(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The command after which only root and `user` may write it.
fn fix(path: &Path, mode: u32, owner: u32, user: u32) -> String {
    let name = path.to_string_lossy();
    let quoted = shlex::try_quote(&name).unwrap_or_default();
    let mut commands = Vec::new();
    if owner != 0 && owner != user {
        commands.push(format!("sudo chown {user} {quoted}"));
    }
    if mode & 0o022 != 0 {
        commands.push(format!("chmod go-w {quoted}"));
    }
    commands.join(" && ")
}

#[cfg(test)]
mod tests;
