//! Which session a line belongs to: told by the line, by the path of its file, or by
//! configuration, in that order.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use regex::bytes::{Captures, Regex};

use crate::folder::SessionName;

/// pm2's `NAME-out.log`, `NAME-error.log` and `NAME-out-0.log`, the same names rotated, and
/// plain `NAME.log`.
pub const DEFAULT_PATH: &str = r"(?-u)(?:^|/)(?<session>[^/]+?)(?:[-_.](?:out|err|error|stdout|stderr)(?:-\d+)?)?(?:__\d[\dTZ_:.+-]*)?\.(?:log|txt|json|jsonl|ndjson)(?:[-._].*)?$";
/// The name of a session, where the group `session` is it.
pub const DEFAULT_NAME: &str = "{session}";

/// How to find a line's session.
#[derive(Clone, Debug)]
pub struct SessionMapper {
    path: Regex,
    line: Option<Regex>,
    name: Vec<Part>,
    fallback: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Group(String),
}

impl SessionMapper {
    /// From the configured expressions; see docs/configuration.md.
    ///
    /// Errors: an expression that cannot be compiled, or a name that it cannot fill. The
    /// first of the pair is the configuration's key.
    pub fn new(
        path: Option<&str>,
        line: Option<&str>,
        name: Option<&str>,
        fallback: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let compile = |key, source: &str| {
            Regex::new(source)
                .map_err(|error| (key, format!("{source:?} cannot be compiled: {error}")))
        };
        let path = compile("session_path", path.unwrap_or(DEFAULT_PATH))?;
        let line = line
            .map(|source| compile("session_line", source))
            .transpose()?;
        let name = parse(name.unwrap_or(DEFAULT_NAME)).map_err(|error| ("session_name", error))?;
        for (key, regex) in [
            ("session_path", Some(&path)),
            ("session_line", line.as_ref()),
        ] {
            let Some(regex) = regex else { continue };
            let knows = |group: &str| regex.capture_names().flatten().any(|known| known == group);
            for part in &name {
                if let Part::Group(group) = part
                    && !knows(group)
                {
                    return Err((
                        key,
                        format!("it has no group (?<{group}>…), which session_name asks for"),
                    ));
                }
            }
        }
        Ok(Self {
            path,
            line,
            name,
            fallback: fallback.map(Arc::from),
        })
    }

    /// Whether lines are to be asked one by one.
    pub fn by_line(&self) -> bool {
        self.line.is_some()
    }

    /// The session of a file's lines, where they do not tell it themselves.
    pub fn of_path(&self, path: &Path) -> Option<Arc<str>> {
        self.named_by(path).or_else(|| self.fallback.clone())
    }

    fn named_by(&self, path: &Path) -> Option<Arc<str>> {
        self.path
            .captures(path.as_os_str().as_bytes())
            .and_then(|found| self.fill(&found))
    }

    /// Whether a file's name is that of a log of another session than `origin`'s: of one that
    /// exists, and told by the name itself.
    pub fn is_of_another(&self, path: &Path, origin: &Path, sessions: &HashSet<Arc<str>>) -> bool {
        let Some(session) = self.named_by(path).map(|name| among(name, sessions)) else {
            return false;
        };
        sessions.contains(&session) && Some(session) != self.session_of(origin, sessions)
    }

    /// The session of a file's lines among those that exist. pm2 writes a dash into a file's
    /// name for whatever is no letter, digit, dot or dash, so the log of `company_7` is
    /// `company-7-out.log`: where no session has the very name, the one that pm2 would call
    /// so is meant.
    pub fn session_of(&self, path: &Path, sessions: &HashSet<Arc<str>>) -> Option<Arc<str>> {
        Some(among(self.of_path(path)?, sessions))
    }

    /// The session that a line names.
    pub fn of_line(&self, line: &[u8]) -> Option<Arc<str>> {
        self.fill(&self.line.as_ref()?.captures(line)?)
    }

    fn fill(&self, captures: &Captures<'_>) -> Option<Arc<str>> {
        let mut name: Vec<u8> = Vec::new();
        for part in &self.name {
            match part {
                Part::Text(text) => name.extend_from_slice(text.as_bytes()),
                Part::Group(group) => name.extend_from_slice(captures.name(group)?.as_bytes()),
            }
        }
        (!name.is_empty())
            .then(|| Arc::from(SessionName::from_dir(OsStr::from_bytes(&name)).as_str()))
    }
}

/// The session that is called so, by itself or, where it is the only one, by pm2.
fn among(name: Arc<str>, sessions: &HashSet<Arc<str>>) -> Arc<str> {
    if sessions.contains(&name) {
        return name;
    }
    let mut called_so = sessions.iter().filter(|session| pm2_name(session) == *name);
    match (called_so.next(), called_so.next()) {
        (Some(session), None) => Arc::clone(session),
        _ => name,
    }
}

/// What pm2 makes of an app's name in the name of its log.
pub fn pm2_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

/// `{group}` and text; `{{` and `}}` are braces.
fn parse(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
        } else if let ("{", Some((name, after))) = (brace, after.split_once('}')) {
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Group(name.to_owned()));
            rest = after;
        } else {
            return Err(format!(
                "a single {brace} stands in {text:?}; write {brace}{brace} for a brace"
            ));
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    if !parts.iter().any(|part| matches!(part, Part::Group(_))) {
        return Err(format!(
            "{text:?} holds no {{group}}, so all lines would be of one session"
        ));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
