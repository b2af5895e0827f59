//! What `--sessions.path` names, and how a session is called by where it was found. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::folder::SessionName;

/// Names of directories that say nothing about the bot: a folder of such a name in a directory
/// of a root is called as that directory.
const PLAIN_NAMES: [&str; 20] = [
    "auth",
    "auth-info",
    "auth_info",
    "auth_info_baileys",
    "auth_info_multi",
    "auth_baileys",
    "auth_session",
    "baileys",
    "baileys_auth",
    "baileys_auth_info",
    "baileys_session",
    "baileys_sessions",
    "bot_sessions",
    "credentials",
    "creds",
    "session",
    "sessions",
    "wa_auth",
    "wa_session",
    "whatsapp",
];

/// One `--sessions.path=[NAME=]PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionsPath {
    /// The name given, where one was given: then PATH is one auth folder.
    pub name: Option<SessionName>,
    /// One auth folder, or a root with auth folders in it, or a glob over such paths.
    pub path: PathBuf,
}

impl SessionsPath {
    /// Parses `[NAME=]PATH`. A `=` behind a `/` belongs to the path.
    ///
    /// Errors: an empty name or path, a name before a glob, or a glob that cannot be used.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let name_end = bytes.iter().position(|b| matches!(b, b'=' | b'/'));
        let (name, path) = match name_end {
            Some(at) if bytes[at] == b'=' => (Some(&bytes[..at]), &bytes[at + 1..]),
            _ => (None, bytes),
        };
        if path.is_empty() {
            return Err("the path is empty; give --sessions.path=[NAME=]PATH".into());
        }
        if name.is_some_and(<[u8]>::is_empty) {
            return Err("the name before `=` is empty; give --sessions.path=NAME=PATH".into());
        }
        let path = PathBuf::from(OsStr::from_bytes(path));
        let name = name
            .map(|name| std::str::from_utf8(name).map(SessionName::from_text))
            .transpose()
            .map_err(|_| "the name before `=` is not UTF-8".to_owned())?;
        if let Some(name) = &name
            && path
                .as_os_str()
                .as_bytes()
                .iter()
                .any(|b| b"*?".contains(b))
        {
            return Err(format!(
                "{name}= names one auth folder, and {} is a glob; leave the name out: what a `*` stands for becomes the name",
                path.display()
            ));
        }
        if name.is_none() {
            PathGlob::of(&path)?;
        }
        Ok(Self { name, path })
    }
}

/// A glob over paths, part by part.
#[derive(Clone, Debug)]
pub(super) struct PathGlob {
    /// The path before the first part that varies.
    pub(super) base: PathBuf,
    /// The parts below it.
    pub(super) steps: Vec<GlobPart>,
}

/// A part of a [`PathGlob`].
#[derive(Clone, Debug)]
pub(super) enum GlobPart {
    /// This name.
    Fixed(OsString),
    /// Names that match.
    Varying(GlobMatcher),
    /// `**`: any number of directories, none included.
    Deep,
}

impl PathGlob {
    /// `None`: the path is no glob.
    ///
    /// Errors: a glob that cannot be used.
    pub(super) fn of(path: &Path) -> Result<Option<Self>, String> {
        let is_glob = |part: &OsStr| {
            let mut bytes = part.as_bytes().iter();
            bytes.any(|b| b"*?[{".contains(b))
        };
        let absolute =
            std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let parts: Vec<Component<'_>> = absolute.components().collect();
        let Some(first) = parts.iter().position(|part| is_glob(part.as_os_str())) else {
            return Ok(None);
        };
        // Names may hold brackets.
        if !absolute
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|b| b"*?".contains(b))
            && absolute.symlink_metadata().is_ok()
        {
            return Ok(None);
        }
        let (fixed, rest) = parts.split_at(first);
        let mut steps = Vec::new();
        for part in rest {
            steps.push(match part {
                Component::Normal(name) if *name == "**" => GlobPart::Deep,
                Component::Normal(name) if is_glob(name) => GlobPart::Varying(matcher(name)?),
                Component::Normal(name) => GlobPart::Fixed(name.into()),
                _ => return Err(format!("{}: no `..` behind a `*`", path.display())),
            });
        }
        Ok(Some(Self {
            base: fixed.iter().collect(),
            steps,
        }))
    }
}

fn matcher(name: &OsStr) -> Result<GlobMatcher, String> {
    let text = name
        .to_str()
        .ok_or_else(|| format!("the glob {} is not UTF-8", name.display()))?;
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .map_err(|error| format!("{text:?} is not a glob of one directory's name: {error}"))?;
    Ok(glob.compile_matcher())
}

/// How a session is called whose folder was found by these names: what the `*` of the glob
/// stood for, and the directories below. A plain last name is left out, unless the folder is
/// inside another session's folder.
pub(super) fn name_of(parts: &[OsString], is_inside_another: bool) -> SessionName {
    let parts = match parts {
        [before @ .., last] if !before.is_empty() && !is_inside_another && is_plain(last) => before,
        _ => parts,
    };
    SessionName::from_dirs(parts.iter().map(OsString::as_os_str))
}

/// Whether a name says nothing about the bot.
pub(super) fn is_plain(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    PLAIN_NAMES.contains(&name.trim_start_matches('.'))
}

/// Whether a directory's name says that it holds copies.
pub fn is_of_copies(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    let is_separator = |c: char| matches!(c, '.' | '-' | '_' | ' ');
    let begin = name.trim_end_matches(|c: char| c.is_ascii_digit() || is_separator(c));
    let last = begin.rsplit(is_separator).next();
    name.contains("backup") || matches!(last, Some("bak" | "old" | "copy"))
}

#[cfg(test)]
mod tests;
