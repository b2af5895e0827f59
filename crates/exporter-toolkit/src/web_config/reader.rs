//! Reads the files of a web configuration, and knows when one of them has changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clock::Clock;

use crate::secret;

/// No file read here is longer.
const MAX_BYTES: u64 = 1 << 20;

/// The files that a configuration consists of, each as it was right before it was read.
#[derive(Default)]
pub struct Watch {
    files: Vec<(PathBuf, Stamp)>,
}

impl Watch {
    /// Whether a file is another one now, or was written so shortly before it was read that
    /// it may have changed within one tick of the clock.
    pub fn has_changed(&self) -> bool {
        self.files
            .iter()
            .any(|(path, stamp)| stamp.is_young || Stamp::of(path) != *stamp)
    }

    pub fn add(&mut self, path: &Path) {
        self.files.push((path.to_owned(), Stamp::of(path)));
    }
}

/// What tells two states of a file apart.
#[derive(Debug)]
struct Stamp {
    /// Device, inode, length, mode and times; nothing of a file that is not there.
    state: Option<[i64; 8]>,
    is_young: bool,
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
    }
}

impl Stamp {
    fn of(path: &Path) -> Self {
        let Ok(found) = std::fs::metadata(path) else {
            return Self {
                state: None,
                is_young: false,
            };
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(found.ctime().unsigned_abs());
        // A time in the future is a wrong clock, not a change.
        let age = Clock::system().wall().duration_since(changed);
        let is_young = age.is_ok_and(|age| age < Duration::from_secs(2));
        let state = [
            found.dev().cast_signed(),
            found.ino().cast_signed(),
            found.len().cast_signed(),
            i64::from(found.mode()),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ];
        Self {
            state: Some(state),
            is_young,
        }
    }
}

/// Reads files, and remembers which and what.
pub struct Reader {
    pub dir: PathBuf,
    pub watch: Watch,
    pub digest: ring::digest::Context,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            watch: Watch::default(),
            digest: ring::digest::Context::new(&ring::digest::SHA256),
        }
    }
}

impl Reader {
    /// Reads a file that is named relative to the configuration's directory. With `secret`
    /// it must be its owner's alone.
    pub fn read(&mut self, name: &Path, secret: bool) -> Result<Vec<u8>, String> {
        let path = self.dir.join(secret::locate(name)?);
        let (bytes, exposed) = self.read_any(&path)?;
        match exposed {
            Some(error) if secret => Err(format!("{} {error}", path.display())),
            _ => Ok(bytes),
        }
    }

    /// Reads a file by its whole path, and says what exposes it to others.
    pub fn read_any(
        &mut self,
        path: &Path,
    ) -> Result<(Vec<u8>, Option<secret::SecretError>), String> {
        self.watch.add(path);
        let (bytes, exposed) = secret::read_with_exposure(path, MAX_BYTES)
            .map_err(|error| format!("{} {error}", path.display()))?;
        self.digest.update(&(bytes.len() as u64).to_be_bytes());
        self.digest.update(&bytes);
        Ok((bytes, exposed))
    }
}
