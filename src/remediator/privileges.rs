//! The permission check: what this process may do in the folders, in its state directory and
//! with its secrets. Each finding has the command that fixes it.
//!
//! [`look`] collects facts and changes nothing (access with the effective ids, `statx`,
//! `statvfs`). [`judge`] is pure. `doctor --try` also tries a lock and a rename inside the
//! quarantine: [`super::quarantine::LockedFolder::try_out`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, Dir, StatVfsMountFlags, Statx, StatxAttributes, StatxFlags,
};
use rustix::io::Errno;

use crate::cli::examples::names;
use crate::config::Settings;
use crate::folder::discovery::{SkipReason, Skipped, explain};
use crate::folder::no_links;
use crate::folder::scan::{QUARANTINE_DIR, QUARANTINE_TAG, stat};
use crate::folder::{BoundedBlocking, FileName, FolderPath, Kind, SessionName};
use exporter_toolkit::secret::{self, SecretError};

use super::quarantine::{Obstacle, check_filesystem};

/// Largest token file, in bytes.
pub(super) const MAX_TOKEN_BYTES: u64 = 8 << 10;
/// Fewer free bytes than this may be too few for the records of a run.
const FEW_BYTES: u64 = 16 << 20;
/// Fewer free inodes than this may be too few.
const FEW_INODES: u64 = 128;
/// Most files of a folder that are checked one by one.
const MAX_FILES_CHECKED: usize = 20_000;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// A clean-up will be refused, fail, or miss files.
    Problem,
    /// A clean-up works, with a limitation.
    Warning,
}

impl Weight {
    /// `problem` or `warning`.
    pub const fn label(self) -> &'static str {
        match self {
            Weight::Problem => "problem",
            Weight::Warning => "warning",
        }
    }
}

/// A permission that this process lacks, or should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionFinding {
    /// Name of the check.
    pub check: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// What is wrong. Names no session, so that one line can cover many.
    pub message: String,
    /// The command or setting that fixes it.
    pub fix: String,
}

/// One finding and the sessions that have it; no session if it is about the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingGroup {
    /// The finding, with the fix for the first session.
    pub finding: PermissionFinding,
    /// The sessions.
    pub sessions: Vec<String>,
}

impl FindingGroup {
    /// The sessions as text, e.g. `a, b, c and 41 more`; `this program` without a session.
    pub fn subject(&self) -> String {
        match self.sessions.as_slice() {
            [] => "this program".into(),
            sessions => names(sessions),
        }
    }
}

/// Groups equal findings of several sessions; problems first.
pub fn grouped(findings: Vec<(Option<String>, PermissionFinding)>) -> Vec<FindingGroup> {
    let mut groups: BTreeMap<(Weight, &'static str, String), FindingGroup> = BTreeMap::new();
    for (session, finding) in findings {
        let key = (finding.weight, finding.check, finding.message.clone());
        let group = groups.entry(key).or_insert_with(|| FindingGroup {
            finding,
            sessions: Vec::new(),
        });
        group.sessions.extend(session);
    }
    groups.into_values().collect()
}

/// The user of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id and the other groups.
    pub groups: Vec<u32>,
}

impl Me {
    /// The user of this process now.
    pub fn now() -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        let own = rustix::process::getegid();
        Self {
            uid: rustix::process::geteuid().as_raw(),
            groups: groups
                .into_iter()
                .chain([own])
                .map(|group| group.as_raw())
                .collect(),
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether it may give a file that it makes this owner and group.
    fn may_give(&self, (user, group): (u32, u32)) -> bool {
        self.is_root() || (self.uid == user && self.groups.contains(&group))
    }
}

/// The state of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// It does not exist; the first run creates it.
    Missing,
    /// Another file system is mounted on it.
    OtherMount,
    /// It cannot be opened.
    Closed(String),
    /// A directory.
    Directory {
        /// Its owner.
        uid: u32,
        /// Its mode.
        mode: u32,
        /// Whether files can be created in it.
        writable: bool,
        /// Whether it has the tag, or is empty.
        ours: bool,
    },
}

/// The facts about a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Its mode.
    pub mode: u32,
    /// The error, if this user may not rename files in it.
    pub closed: Option<Errno>,
    /// Whether it, or a file in it, is immutable or append-only.
    pub immutable: bool,
    /// Whether its mount is read-only.
    pub read_only: bool,
    /// `f_type` of its file system.
    pub filesystem: i64,
    /// Bytes that this user may still use there.
    pub free_bytes: u64,
    /// Free inodes, if the file system counts them.
    pub free_inodes: Option<u64>,
    /// Key files that cannot be read.
    pub unreadable: usize,
    /// Key files of another owner than the folder's.
    pub foreign: usize,
    /// Owner and group of creds.json, if it exists.
    pub creds_owner: Option<(u32, u32)>,
    /// Its quarantine.
    pub quarantine: Quarantine,
}

/// Collects the facts about a folder; changes nothing. With `each_file` it checks every file,
/// otherwise only creds.json.
///
/// Errors: it cannot be opened.
pub fn look(place: &FolderPath, each_file: bool) -> Result<FolderFacts, String> {
    let own = place.clone();
    let looked = BoundedBlocking::default().run(&place.path(), move || look_now(&own, each_file));
    looked.unwrap_or_else(|error| Err(explain(&error)))
}

fn look_now(place: &FolderPath, each_file: bool) -> Result<FolderFacts, String> {
    let fd = place.open().map_err(|error| explain(&error))?;
    let broken = |error: Errno| explain(&error.into());
    let about = statx_of(fd.as_fd()).map_err(broken)?;
    let space = rustix::fs::fstatvfs(&fd).map_err(broken)?;
    let filesystem = rustix::fs::fstatfs(&fd).map_err(broken)?.f_type;
    let may = Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK;
    let mut facts = FolderFacts {
        path: place.path(),
        uid: about.stx_uid,
        mode: u32::from(about.stx_mode),
        closed: rustix::fs::accessat(&fd, ".", may, AtFlags::EACCESS).err(),
        immutable: is_immutable(&about),
        read_only: space.f_flag.contains(StatVfsMountFlags::RDONLY),
        filesystem,
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        free_inodes: (space.f_files > 0).then_some(space.f_favail),
        unreadable: 0,
        foreign: 0,
        creds_owner: rustix::fs::statat(&fd, "creds.json", AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|about| (about.st_uid, about.st_gid)),
        quarantine: look_at_quarantine(fd.as_fd()),
    };
    match each_file {
        true => look_at_files(fd.as_fd(), &mut facts),
        false => look_at_file(fd.as_fd(), OsStr::new("creds.json"), &mut facts),
    }
    Ok(facts)
}

pub(super) fn statx_of(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

pub(super) fn is_immutable(about: &Statx) -> bool {
    about
        .stx_attributes
        .intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND)
}

fn look_at_files(fd: BorrowedFd<'_>, facts: &mut FolderFacts) {
    let Ok(names) = Dir::read_from(fd) else {
        return;
    };
    for entry in names.flatten().take(MAX_FILES_CHECKED) {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if FileName::new(name).kind() != Kind::Unknown {
            look_at_file(fd, name, facts);
        }
    }
}

fn look_at_file(fd: BorrowedFd<'_>, name: &OsStr, facts: &mut FolderFacts) {
    let Ok(about) = rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
    else {
        return;
    };
    facts.immutable |= is_immutable(&about);
    facts.foreign += usize::from(about.stx_uid != facts.uid);
    let readable = rustix::fs::accessat(fd, name, Access::READ_OK, AtFlags::EACCESS);
    facts.unreadable += usize::from(readable == Err(Errno::ACCESS));
}

pub(super) fn look_at_quarantine(folder: BorrowedFd<'_>) -> Quarantine {
    let opened = no_links::open_in(folder, QUARANTINE_DIR);
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Quarantine::Missing,
        Err(Errno::XDEV) => return Quarantine::OtherMount,
        Err(error) => return Quarantine::Closed(explain(&error.into())),
    };
    let about = match statx_of(fd.as_fd()) {
        Ok(about) => about,
        Err(error) => return Quarantine::Closed(explain(&error.into())),
    };
    let tagged = matches!(stat(fd.as_fd(), OsStr::new(QUARANTINE_TAG)), Ok(Some(_)));
    let empty = || Dir::read_from(&fd).is_ok_and(|names| names.flatten().count() == 2);
    let may = Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK;
    Quarantine::Directory {
        uid: about.stx_uid,
        mode: u32::from(about.stx_mode) & 0o7777,
        writable: rustix::fs::accessat(&fd, ".", may, AtFlags::EACCESS).is_ok()
            && !is_immutable(&about),
        ours: tagged || empty(),
    }
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map_or_else(|_| format!("{text:?}"), |quoted| quoted.into_owned())
}

/// Whether an emergency may stop the bot of this session, with its creds.json insured.
pub fn is_stopped(settings: &Settings, session: &SessionName) -> bool {
    settings.insurance.enabled && settings.services.of(session).is_some()
}

/// The findings that follow from these facts for a process of this user. `is_stopped`: an
/// emergency may stop the bot. Pure.
pub fn judge(facts: &FolderFacts, me: &Me, is_stopped: bool) -> Vec<PermissionFinding> {
    let mut findings = Vec::new();
    let mut add = |check, weight, message: String, fix: String| {
        findings.push(PermissionFinding {
            check,
            weight,
            message,
            fix,
        });
    };
    let path = quoted(&facts.path);
    let quarantine = quoted(&facts.path.join(QUARANTINE_DIR));
    let owner = facts.uid;
    let as_owner = format!(
        "run the remediator as the bot's user: User={owner} in its unit, or sudo -u '#{owner}'"
    );

    if let Err(Obstacle::Filesystem(what)) = check_filesystem(facts.filesystem) {
        add(
            "filesystem",
            Weight::Problem,
            what,
            format!("move {path} to a local file system such as ext4 or xfs"),
        );
    } else if let Some(name) = doubtful(facts.filesystem) {
        add(
            "filesystem",
            Weight::Warning,
            format!(
                "the folder is on {name}; only a trial shows whether locks and renames are safe there"
            ),
            "baileys_remediator doctor --try".into(),
        );
    }
    if facts.read_only {
        add(
            "read_only",
            Weight::Problem,
            "the file system is mounted read-only: no file can be moved".into(),
            format!(
                "mount -o remount,rw \"$(findmnt -n -o TARGET -T {path})\"  (under systemd: ReadWritePaths={path})"
            ),
        );
    } else if facts.closed.is_some() && !facts.immutable {
        let fix = match me.uid == owner {
            true => format!("chmod u+rwx {path}"),
            false => as_owner.clone(),
        };
        add(
            "rename",
            Weight::Problem,
            "this user may not rename files in the folder: no file can be moved".into(),
            fix,
        );
    } else if facts.mode & 0o1000 != 0 && !me.is_root() && me.uid != owner {
        add(
            "sticky",
            Weight::Problem,
            "the folder is sticky (mode +t) and belongs to another user: files of other users cannot be moved"
                .into(),
            format!("sudo chmod -t {path}, or {as_owner}"),
        );
    }
    if facts.immutable {
        add(
            "immutable",
            Weight::Problem,
            "the folder or a file in it is immutable or append-only (chattr +i, +a): it cannot be moved"
                .into(),
            format!("sudo chattr -R -i -a {path}"),
        );
    }
    if facts.unreadable > 0 {
        add(
            "read",
            Weight::Problem,
            "this user may not read some key files: unreadable files are kept, and without creds.json no clean-up is allowed".into(),
            as_owner.clone(),
        );
    }
    if facts.foreign > 0 {
        add(
            "foreign_files",
            Weight::Warning,
            "some key files belong to another user than the folder; a rename keeps owner and mode, but the bot may not be able to write these files".into(),
            format!("sudo chown -R {owner} {path}, if the files belong to the bot"),
        );
    }
    if let Some((uid, gid)) = facts.creds_owner.filter(|owner| !me.may_give(*owner)) {
        match is_stopped {
            true => add(
                "restore",
                Weight::Problem,
                format!(
                    "an emergency stops no bot here: a stop may damage creds.json, and only root or user {uid} (in group {gid}) may put a copy back"
                ),
                as_owner.clone(),
            ),
            false => add(
                "restore",
                Weight::Warning,
                format!(
                    "creds restore must run as root or as the bot's user {uid} (in group {gid}): it keeps owner and group of the file"
                ),
                "sudo baileys_remediator creds restore SESSION, with the configuration of `serve`"
                    .into(),
            ),
        }
    }
    match &facts.quarantine {
        Quarantine::Missing if !me.is_root() && me.uid != owner && facts.closed.is_none() => add(
            "quarantine_owner",
            Weight::Warning,
            format!("the quarantine will belong to user {}, not to the bot's user {owner}: only user {} and root can undo", me.uid, me.uid),
            as_owner.clone(),
        ),
        Quarantine::Missing => {}
        Quarantine::OtherMount => add(
            "quarantine_mount",
            Weight::Problem,
            "another file system is mounted on the quarantine: a rename cannot cross mounts, and files are never copied".into(),
            format!("sudo umount {quarantine}"),
        ),
        Quarantine::Closed(why) => add(
            "quarantine",
            Weight::Problem,
            format!("the quarantine cannot be opened: {why}"),
            format!("check it: ls -ld {quarantine}; to take it over: sudo chown {} {quarantine}", me.uid),
        ),
        Quarantine::Directory { uid, mode, writable, ours } => {
            if !ours {
                add(
                    "quarantine",
                    Weight::Problem,
                    "a directory with the quarantine's name exists, is not empty and has no quarantine tag".into(),
                    format!("mv {quarantine} {}", quoted(&facts.path.join("not-a-quarantine"))),
                );
            } else if !writable {
                add(
                    "quarantine",
                    Weight::Problem,
                    format!("this user may not write into the quarantine, which belongs to user {uid}"),
                    format!("sudo find {quarantine} -type d -exec chown {owner} {{}} +  and {as_owner}"),
                );
            } else if *uid != owner {
                add(
                    "quarantine_owner",
                    Weight::Warning,
                    format!("the quarantine belongs to user {uid}, the folder to user {owner}: only user {uid} and root can undo"),
                    format!("sudo find {quarantine} -type d -exec chown {owner} {{}} +"),
                );
            }
            if mode & 0o077 != 0 {
                add(
                    "quarantine_mode",
                    Weight::Warning,
                    "other users can read the quarantine, which holds keys".into(),
                    format!("chmod 700 {quarantine}"),
                );
            }
        }
    }
    let few_inodes = facts.free_inodes.is_some_and(|free| free < FEW_INODES);
    if !facts.read_only && (facts.free_bytes < FEW_BYTES || few_inodes) {
        let what = if few_inodes { "inodes" } else { "bytes" };
        add(
            "space",
            Weight::Warning,
            format!(
                "few free {what} left: if the plan of a clean-up cannot be written, no file is moved"
            ),
            format!("free some; to check: df -h {path}; df -i {path}"),
        );
    }
    findings
}

/// File systems on which only a trial shows whether locks and renames are safe.
fn doubtful(magic: i64) -> Option<&'static str> {
    match magic {
        0x6573_5546 => Some("FUSE"),
        0x0102_1997 => Some("9p"),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => Some("SMB"),
        0x5346_414F => Some("AFS"),
        0x00C3_6400 => Some("CephFS"),
        _ => None,
    }
}

/// The finding for a folder that cannot be opened.
pub fn closed(place: &FolderPath, why: &str) -> PermissionFinding {
    PermissionFinding {
        check: "open",
        weight: Weight::Problem,
        message: format!("the folder cannot be opened: {why}"),
        fix: format!(
            "ls -ld {}; run the remediator as the bot's user",
            quoted(&place.path())
        ),
    }
}

/// Findings about the configured paths: those that are missing or cannot be looked into, so that
/// their folders cannot be cleaned. A glob that matches nothing is none: folders may appear
/// later. Pure.
pub fn paths(skipped: &[Skipped]) -> Vec<PermissionFinding> {
    let fix = |reason| match reason {
        SkipReason::SourceUnreadable => Some(
            "correct sessions.paths; or create or mount the directory, and let this user read it (`namei -l PATH` shows each part)",
        ),
        SkipReason::DirectoryUnreadable => {
            Some("let this user read it, or leave it out with sessions.exclude")
        }
        SkipReason::LinkRefused => Some("give the path that the link leads to"),
        SkipReason::NothingMatched | SkipReason::DuplicateName | SkipReason::TooManyDirectories => {
            None
        }
    };
    let problem = |skipped: &Skipped| {
        Some(PermissionFinding {
            check: "path",
            weight: Weight::Problem,
            message: skipped.message.clone(),
            fix: fix(skipped.reason)?.to_owned(),
        })
    };
    skipped.iter().filter_map(problem).collect()
}

/// Findings about the program: its user, its state directory, its token.
pub fn program(settings: &Settings, me: &Me) -> Vec<PermissionFinding> {
    let mut findings = Vec::new();
    if me.is_root() {
        findings.push(PermissionFinding {
            check: "root",
            weight: Weight::Warning,
            message:
                "the remediator runs as root, which it does not need: a fault could damage the whole machine"
                    .into(),
            fix: "run it as the bots' user: User= in its unit, and chown its --state.path to that user"
                .into(),
        });
    }
    findings.extend(state(&settings.state_path, me));
    if let Some(path) = &settings.token_file {
        findings.extend(token(path));
    }
    findings
}

fn state(dir: &Path, me: &Me) -> Vec<PermissionFinding> {
    let mut findings = Vec::new();
    // The first command that needs it creates it with mode 0700.
    let Ok(about) = std::fs::metadata(dir) else {
        return findings;
    };
    let path = quoted(dir);
    let may = Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK;
    if rustix::fs::accessat(CWD, dir, may, AtFlags::EACCESS).is_err() {
        findings.push(PermissionFinding {
            check: "state",
            weight: Weight::Problem,
            message:
                "this user may not write into the state directory: without a record there is no run"
                    .into(),
            fix: format!("sudo chown -R {} {path}", me.uid),
        });
    }
    let journal = dir.join("journal.sqlite");
    let others = |about: &std::fs::Metadata| about.mode() & 0o077 != 0;
    if others(&about) || std::fs::metadata(&journal).is_ok_and(|about| others(&about)) {
        findings.push(PermissionFinding {
            check: "state_mode",
            weight: Weight::Warning,
            message: "other users can read the state directory or its journal".into(),
            fix: format!("chmod -R go= {path}"),
        });
    }
    let nfs = rustix::fs::statfs(dir).is_ok_and(|fs| check_filesystem(fs.f_type).is_err());
    if nfs {
        findings.push(PermissionFinding {
            check: "state_filesystem",
            weight: Weight::Problem,
            message:
                "the state directory is on NFS, where the locks of the journal are not reliable"
                    .into(),
            fix: "set --state.path to a local file system".into(),
        });
    }
    findings
}

fn token(path: &Path) -> Option<PermissionFinding> {
    let problem = |message: String, fix: String| PermissionFinding {
        check: "token",
        weight: Weight::Problem,
        message,
        fix,
    };
    let path = match secret::locate(path) {
        Ok(path) => path,
        // Only the unit can read its credentials; a shell cannot check them.
        Err(error) if error.contains("LoadCredential=") => {
            return Some(PermissionFinding {
                weight: Weight::Warning,
                ..problem(
                    format!("the token cannot be checked from this shell: {error}"),
                    "sudo systemd-run --pipe --wait -p User=USER -p LoadCredential=NAME:PATH, followed by this command".into(),
                )
            });
        }
        Err(error) => {
            return Some(problem(
                format!("token file: {error}"),
                "see \"Secret files\" in docs/configuration.md".into(),
            ));
        }
    };
    let name = quoted(&path);
    match secret::read(&path, MAX_TOKEN_BYTES) {
        Ok(_) => None,
        Err(SecretError::Exposed { what, fix }) => {
            Some(problem(format!("the token file {what}"), fix))
        }
        Err(error @ SecretError::Io(_)) if path.exists() => {
            let owner = Me::now().uid;
            Some(problem(
                format!("the token file {error}"),
                format!("sudo chown {owner} {name}"),
            ))
        }
        Err(error) => Some(problem(
            format!("the token file {error}"),
            format!("(umask 077; head -c 32 /dev/urandom | base64 > {name})"),
        )),
    }
}

#[cfg(test)]
mod tests;
