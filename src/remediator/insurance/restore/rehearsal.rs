//! Tries, before a stop, what a restore would have to do after it.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::fs::RenameFlags;

use crate::folder::Timestamp;
use crate::folder::scan::stat;
use crate::remediator::movability::check_directory;
use crate::remediator::privileges::Me;
use crate::remediator::quarantine::{LockedFolder, Obstacle, QuarantineName, make_dir, obstacle};

use super::record::{CREDS, NEW, PREFIX};
use super::recovery::remove;
use super::{owner_of, usual_owner, write_new};

/// Removed by [`remove`], as is [`NEW`].
const SECOND: &str = "restore.json.tmp";

/// Whether `bytes` could be put back as creds.json of this folder: writes them into its
/// quarantine with the owner of creds.json, and of most files in the folder in case creds.json is
/// missing then, exchanges two files there, and removes all of it. After a crash the next look
/// at the quarantine removes what is left. Blocks.
///
/// Errors: what a restore would fail of.
pub fn rehearse(folder: &LockedFolder, bytes: &[u8], now: Timestamp) -> Result<(), Obstacle> {
    let usual = usual_owner(folder.fd())?;
    let creds = match stat(folder.fd(), CREDS) {
        Ok(None) => usual,
        _ => owner_of(folder.fd(), CREDS.as_ref())?,
    };
    let about = check_directory(folder.fd())?;
    let me = Me::now();
    let is_sticky = about.stx_mode & 0o1000 != 0 && !me.is_root() && about.stx_uid != me.uid;
    if is_sticky && creds.0 != me.uid {
        return Err(Obstacle::Io(format!(
            "the folder is sticky (mode +t), and creds.json belongs to user {}",
            creds.0
        )));
    }
    let owners = BTreeSet::from([creds, usual]);
    let quarantine = folder
        .quarantine(true)?
        .ok_or_else(|| Obstacle::Io("no quarantine".into()))?;
    let name = format!("{PREFIX}{}", QuarantineName::new(now));
    let slot = make_dir(quarantine.as_fd(), &name, true)?;
    let tried = (|| {
        let mut all = owners.iter().cycle().copied();
        for file in [NEW, SECOND] {
            let owner = all.next().unwrap_or(creds);
            write_new(slot.as_fd(), file, bytes, owner, now)?;
        }
        rustix::fs::renameat_with(&slot, NEW, &slot, SECOND, RenameFlags::EXCHANGE)
            .map_err(|error| obstacle("exchanging two files", error))
    })();
    let removed = remove(quarantine.as_fd(), slot.as_fd(), &name);
    tried.and(removed)
}

#[cfg(test)]
mod tests;
