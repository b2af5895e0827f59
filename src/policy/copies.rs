//! Which of several folders of one login is in use: the others are copies. Pure.
//!
//! | folders of one login | what they are |
//! |---|---|
//! | one was active later | it is the session; the other one is its copy, if that is certain (`is_certain`) |
//! | both were written within [`IN_USE_WITHIN`], and both also after they were made | both are in use: two bots take the connection from each other |
//!
//! A copy that does not keep times makes every file new. Such a folder is as old as the last use
//! that its session records tell of.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use crate::folder::discovery::is_of_copies;
use crate::folder::{Inventory, Kind, LoginId, SessionName, Timestamp};

/// A folder that was written within this time may be in use: a bot that connects writes its
/// creds.json. The exporter's look at each file is up to 5 minutes old.
pub const IN_USE_WITHIN: Duration = Duration::from_secs(900);
/// How long it takes to copy a folder.
const COPY_TAKES: Duration = Duration::from_secs(300);

/// What tells whether a folder is a copy of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginFolder {
    /// The login that it holds.
    pub login: LoginId,
    /// The earliest and the latest modification of its files.
    written: (Timestamp, Timestamp),
    /// The latest use that a session record tells of.
    used: Option<Timestamp>,
    /// The earliest change of an inode: it was there by then.
    made: Timestamp,
}

impl LoginFolder {
    /// From what the folder holds; `None` where it was never seen logged in. A file that is not
    /// Baileys' tells nothing, because a person may have put it there, nor does one from the
    /// future.
    pub fn of(inventory: &Inventory, now: Timestamp) -> Option<Self> {
        let login = inventory.history.login.or(inventory.creds.facts()?.login)?;
        let files = || {
            let known = inventory.readable();
            known.filter(|file| file.kind() != Kind::Unknown && file.stamp.modified <= now)
        };
        let modified = || files().map(|file| file.stamp.modified);
        Some(Self {
            login,
            written: (modified().min()?, modified().max()?),
            used: files().filter_map(|file| file.last_use()).max(),
            made: files().map(|file| file.stamp.changed).min()?,
        })
    }

    /// Whether all files have the time of a copy.
    fn is_without_times(&self) -> bool {
        let (first, last) = self.written;
        first.until(last) <= COPY_TAKES
    }

    /// The last activity that is its own, as far as it can be known.
    fn active(&self) -> Timestamp {
        let (_, last) = self.written;
        match self.is_without_times() {
            // Without a record the copying itself would count as its last use.
            true => self
                .used
                .map_or(Timestamp::from_secs(0), |used| used.min(last)),
            false => last,
        }
    }

    /// Whether a bot may be using it at `now`: it was written just now, and not by the copy.
    fn is_in_use(&self, now: Timestamp) -> bool {
        let last = self.written.1;
        last.until(now) <= IN_USE_WITHIN && last > self.made.plus(COPY_TAKES)
    }
}

/// Another session has the same login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SameLogin {
    /// The folder is a copy of that session's.
    CopyOf(SessionName),
    /// Both folders are in use.
    UsedWith(SessionName),
}

impl SameLogin {
    /// Whether the folder is a copy: it has no tiers, and nothing in it is cleaned.
    pub const fn is_copy(&self) -> bool {
        matches!(self, Self::CopyOf(_))
    }
}

impl fmt::Display for SameLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopyOf(of) => write!(
                f,
                "it is a copy of the session {of}: it has the same login, and the folder of {of} was active later; it has no tiers and is never cleaned; move it out of the sessions directories"
            ),
            Self::UsedWith(other) => write!(
                f,
                "it has the same login as the session {other}, and both folders were written within the last 15 minutes: two bots take the connection from each other (BaileysConnectionReplaced); stop one of them, and move its folder out of the sessions directories"
            ),
        }
    }
}

/// The sessions that share their login with another one.
pub fn same_logins<'a>(
    folders: impl IntoIterator<Item = (&'a SessionName, LoginFolder)>,
    now: Timestamp,
) -> BTreeMap<SessionName, SameLogin> {
    let mut by_login: BTreeMap<LoginId, Vec<(&SessionName, LoginFolder)>> = BTreeMap::new();
    for (session, folder) in folders {
        by_login
            .entry(folder.login)
            .or_default()
            .push((session, folder));
    }
    let mut same = BTreeMap::new();
    for mut folders in by_login.into_values() {
        // Of two that were active at one time, the copy is called so, or was made later.
        folders.sort_by_key(|(session, folder)| {
            (
                Reverse(folder.active()),
                is_called_copy(session),
                folder.made,
                *session,
            )
        });
        let mut folders = folders.into_iter();
        let Some((live, folder)) = folders.next() else {
            continue;
        };
        for (session, other) in folders {
            let is_in_use = folder.is_in_use(now) && other.is_in_use(now);
            if is_in_use {
                same.insert(live.clone(), SameLogin::UsedWith(session.clone()));
            } else if !is_certain((live, &folder), (session, &other)) {
                continue;
            }
            let status = match is_in_use {
                true => SameLogin::UsedWith(live.clone()),
                false => SameLogin::CopyOf(live.clone()),
            };
            same.insert(session.clone(), status);
        }
    }
    same
}

fn is_called_copy(session: &SessionName) -> bool {
    is_of_copies(OsStr::new(session.as_str()))
}

/// Whether the second folder is a copy of the first one, which was active later. A bot that was
/// restored loses its alerts if its folder is taken for a copy. So its name says so, or nothing was
/// written in it after the other one was active.
fn is_certain(live: (&SessionName, &LoginFolder), other: (&SessionName, &LoginFolder)) -> bool {
    match (is_called_copy(live.0), is_called_copy(other.0)) {
        (_, true) => true,
        (true, false) => false,
        (false, false) => other.1.written.1 <= live.1.active(),
    }
}

#[cfg(test)]
mod tests;
