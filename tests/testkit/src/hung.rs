//! A file system that hangs: a FUSE mount behind which no program answers.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A directory that does not answer until this is dropped.
#[derive(Debug)]
pub struct HungMount {
    directory: PathBuf,
    // While it is open, and nothing reads it, every call waits.
    device: Option<std::os::fd::OwnedFd>,
}

impl HungMount {
    /// Mounts it over `directory`. `None`, and a line in the output: this user or machine
    /// cannot.
    pub fn over(directory: &Path) -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mounted = rustix::fs::open("/dev/fuse", flags, Mode::empty()).and_then(|device| {
            let options = format!(
                "fd={},rootmode=40000,user_id={},group_id={}\0",
                device.as_raw_fd(),
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            );
            let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes())
                .map_err(|_| rustix::io::Errno::INVAL)?;
            mount("hung", directory, "fuse", MountFlags::empty(), options)?;
            Ok(device)
        });
        match mounted {
            Ok(device) => Some(Self {
                directory: directory.to_owned(),
                device: Some(device),
            }),
            Err(error) => {
                crate::not_run(format_args!("no FUSE mount is possible here: {error}"));
                None
            }
        }
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // What waits gets an error now.
        drop(self.device.take());
        let _ = unmount(&self.directory, UnmountFlags::DETACH);
    }
}
