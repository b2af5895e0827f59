//! The daemon of pm2, which must run before pm2 is called.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::net::UnixStream;

use crate::bounded::within;
use crate::proc::{ProcDir, read_small};

pub(super) const NO_DAEMON: &str = "its daemon does not run or does not answer, and any call would start another one; start it as the bots' user with `pm2 resurrect`";

/// Why pm2 has given no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotAsked {
    /// As a sentence.
    pub(super) why: String,
    /// The daemon does not run, and pm2 runs no process without it. `false` where that is unknown.
    pub(super) is_down: bool,
}

impl From<String> for NotAsked {
    fn from(why: String) -> Self {
        Self {
            why,
            is_down: false,
        }
    }
}

/// The user and group to call pm2 as, unless they are this program's, once it is certain that the
/// daemon of this home runs.
pub(super) async fn pm2_user(
    home: &Path,
    timeout: Duration,
) -> Result<Option<(u32, u32)>, NotAsked> {
    let not_asked = |why: String, is_down| NotAsked {
        why: format!("pm2 was not asked: {why}"),
        is_down,
    };
    let socket = home.join("rpc.sock");
    let home = home.to_owned();
    let own = geteuid().as_raw();
    let work = move || Ok(daemon_user(&ProcDir::default(), &home, own));
    let found = within("looking for the daemon of pm2", timeout, work);
    let user = match found.await.unwrap_or_else(Err) {
        Err(why) if why != NO_DAEMON => return Err(not_asked(why, false)),
        found => found.ok(),
    };
    // Never waits for a daemon that hangs: with a full backlog it fails.
    let connects = UnixStream::connect(socket);
    let is_down = match (tokio::time::timeout(timeout, connects).await, user) {
        (Ok(Ok(_)), Some(user)) => return Ok(user),
        // Nothing listens: after a reboot the number may be that of another process.
        (Ok(Err(error)), _) if error.kind() == ErrorKind::ConnectionRefused => true,
        (Ok(Err(error)), None) => error.kind() == ErrorKind::NotFound,
        _ => false,
    };
    Err(not_asked(NO_DAEMON.to_owned(), is_down))
}

/// The user and group of the home, unless the user is `own`. Blocks.
///
/// Errors: the daemon does not run ([`NO_DAEMON`]), or is another user's than this program may call
/// as.
pub(super) fn daemon_user(
    proc: &ProcDir,
    home: &Path,
    own: u32,
) -> Result<Option<(u32, u32)>, String> {
    let metadata = fs::metadata(home).map_err(|error| format!("its home: {}", error.kind()))?;
    let owner = metadata.uid();
    if owner != own && own != 0 {
        return Err(format!(
            "its home belongs to uid {owner}, and this program runs as uid {own}; run it as the bots' user"
        ));
    }
    let daemon = daemon_pid(home).filter(|pid| proc.runs(*pid) && proc.owner(*pid) == Some(owner));
    if daemon.is_none() {
        return Err(NO_DAEMON.into());
    }
    // Checked here, where it may hang.
    if fs::symlink_metadata(home.join("rpc.sock")).is_err() {
        return Err(format!("{NO_DAEMON} (its rpc.sock is missing)"));
    }
    Ok((owner != own).then(|| (owner, metadata.gid())))
}

/// The process id of the daemon, as its home says.
pub(super) fn daemon_pid(home: &Path) -> Option<u32> {
    let (text, _) = read_small(&home.join("pm2.pid")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests;
