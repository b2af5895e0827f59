//! Which session a line belongs to. [`SessionMapper::place`] and `SessionMapper::named` are pure
//! functions of the log's path, the known sessions, and what the logs have shown.
//!
//! A line counts only for a known session ([`KnownSessions`]). The rules, in this order:
//!
//! | rule | what tells the session |
//! |---|---|
//! | line | `session_line` |
//! | configured | `--logs.path=NAME=GLOB`; with a wildcard it takes no file named after another session |
//! | path | `session_path`, or by default the name of the file |
//! | directory | the directory is named after the session, holds the logs of one program only, and the log has shown a line of the library |
//! | default | `default_session` |
//! | only one | there is one session and one program, and the log has shown a line of the library |
//! | before | with `session_line`: the session that the lines before it named |

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_tailer::LogGlob;
use regex::bytes::{Captures, Regex};

use crate::folder::SessionName;
use crate::host;

use super::log_name::{Program, candidates, plain_name, writer_name};
use super::sessions::{DeclaredSessions, KnownSessions};

/// The session name is the group `session`.
const DEFAULT_NAME: &str = "{session}";
/// The group of the default rule for paths.
const DEFAULT_GROUP: &str = "session";

/// The rules for finding a line's session.
#[derive(Clone, Debug)]
pub struct SessionMapper {
    /// `session_path`; `None` for the default rules.
    path: Option<Regex>,
    line: Option<Regex>,
    name: Vec<NamePart>,
    default: Option<Arc<str>>,
    configured: Vec<(LogGlob, Arc<str>)>,
    declared: DeclaredSessions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NamePart {
    Text(String),
    Group(String),
}

/// The rule that assigned a log to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `--logs.path=NAME=GLOB`.
    Configured,
    /// Its path.
    Path,
    /// The name of its directory.
    Directory,
    /// `default_session`.
    Default,
    /// There is one session and one program.
    OnlyOne,
}

impl Rule {
    /// A phrase for the operator.
    pub const fn label(self) -> &'static str {
        match self {
            Rule::Configured => "configured",
            Rule::Path => "its path",
            Rule::Directory => "the name of its directory",
            Rule::Default => "logs.default_session",
            Rule::OnlyOne => "the only session and the only program",
        }
    }
}

/// What the logs have shown.
#[derive(Clone, Debug, Default)]
pub struct LogsSeen {
    /// The programs that write logs.
    pub programs: BTreeSet<Program>,
    /// Programs whose logs contain a line of the library or a bot's own report.
    pub bots: BTreeSet<Program>,
}

impl LogsSeen {
    /// Whether it is pm2 or a module of pm2, not a bot. It may be beside a bot's logs.
    pub fn is_companion(&self, program: &Program) -> bool {
        program.is_pm2_module() && !self.bots.contains(program)
    }

    /// The program that writes a log. A log that is named after a stream of errors (`error.log`)
    /// belongs to the only other program with logs in its directory.
    pub fn program_of(&self, log: &Path) -> Program {
        self.writer_of(Program::of(log))
    }

    fn writer_of(&self, program: Program) -> Program {
        if !program.is_only_errors() {
            return program;
        }
        let mut others = self
            .in_the_directory_of(&program)
            .filter(|other| **other != program && !self.is_companion(other));
        match (others.next(), others.next()) {
            (Some(only), None) => only.clone(),
            _ => program,
        }
    }

    fn in_the_directory_of(&self, program: &Program) -> impl Iterator<Item = &Program> + use<'_> {
        let first = Program {
            dir: program.dir.clone(),
            name: String::new(),
        };
        let dir = first.dir.clone();
        let beside = self.programs.range(first..);
        beside.take_while(move |other| other.dir == dir)
    }

    /// Whether it is this program, or pm2 or a module of pm2.
    fn is_no_other(&self, program: &Program, other: &Program) -> bool {
        other == program
            || self.is_companion(other)
            || other.is_only_errors() && self.writer_of(other.clone()) == *program
    }

    fn is_alone_in_its_directory(&self, program: &Program) -> bool {
        self.in_the_directory_of(program)
            .all(|other| self.is_no_other(program, other))
    }

    /// Whether the log's directory is named after the session and contains no other program.
    fn gives_the_directory_of(&self, session: &str, log: &Path) -> bool {
        let program = self.program_of(log);
        program.folders().iter().any(|folder| folder == session)
            && self.is_alone_in_its_directory(&program)
    }
}

impl SessionMapper {
    /// From the configured expressions; see docs/configuration.md.
    ///
    /// Errors: an expression that cannot be compiled, or a name that it cannot fill. The first of
    /// the pair is the configuration's key.
    pub fn new(
        path: Option<&str>,
        line: Option<&str>,
        name: Option<&str>,
        default: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let compile = |key, source: &str| {
            Regex::new(source)
                .map_err(|error| (key, format!("{source:?} cannot be compiled: {error}")))
        };
        let path = path
            .map(|source| compile("session_path", source))
            .transpose()?;
        let line = line
            .map(|source| compile("session_line", source))
            .transpose()?;
        let name = parse(name.unwrap_or(DEFAULT_NAME)).map_err(|error| ("session_name", error))?;
        let knows = |regex: &Option<Regex>, group: &str| match regex {
            Some(regex) => regex.capture_names().flatten().any(|known| known == group),
            None => group == DEFAULT_GROUP,
        };
        let name = name.into_iter().map(|part| match part {
            NamePart::Group(group)
                if group == "hostname" && !knows(&path, &group) && !knows(&line, &group) =>
            {
                NamePart::Text(host::name())
            }
            part => part,
        });
        let name: Vec<NamePart> = name.collect();
        for part in &name {
            let NamePart::Group(group) = part else {
                continue;
            };
            let missing = || format!("it has no group (?<{group}>…), which session_name asks for");
            if !knows(&path, group) {
                return Err(("session_path", missing()));
            }
            if line.is_some() && !knows(&line, group) {
                return Err(("session_line", missing()));
            }
        }
        Ok(Self {
            path,
            line,
            name,
            declared: DeclaredSessions {
                names: default.map(Arc::from).into_iter().collect(),
                ..DeclaredSessions::default()
            },
            default: default.map(Arc::from),
            configured: Vec::new(),
        })
    }

    /// Adds globs of logs that belong to one session each, and sessions without a folder.
    #[must_use]
    pub fn with_sessions(
        mut self,
        configured: Vec<(LogGlob, Arc<str>)>,
        declared: DeclaredSessions,
    ) -> Self {
        self.declared.globs = declared.globs;
        self.declared.names.extend(declared.names);
        let names = configured.iter().map(|(_, name)| Arc::clone(name));
        self.declared.names.extend(names);
        self.configured = configured;
        self
    }

    /// The sessions that the configuration declares.
    pub fn declared(&self) -> &DeclaredSessions {
        &self.declared
    }

    /// Whether each line may name its session.
    pub fn by_line(&self) -> bool {
        self.line.is_some()
    }

    /// Whether lines give the same sessions as with `other`.
    pub fn reads_lines_like(&self, other: &Self) -> bool {
        let line = |mapper: &Self| mapper.line.as_ref().map(|line| line.as_str().to_owned());
        line(self) == line(other) && (self.line.is_none() || self.name == other.name)
    }

    /// The session of a log's lines, if the lines do not name one, and the rule that assigned it.
    /// `None`: the lines are unplaced.
    pub fn place(
        &self,
        log: &Path,
        sessions: &KnownSessions,
        logs: &LogsSeen,
    ) -> Option<(Arc<str>, Rule)> {
        let is_bot = logs.bots.contains(&logs.program_of(log));
        self.place_if(log, sessions, logs, is_bot)
    }

    /// Whether a line of the library in this log would assign it to a session.
    pub fn wants_evidence(&self, log: &Path, sessions: &KnownSessions, logs: &LogsSeen) -> bool {
        let place = |is_bot| self.place_if(log, sessions, logs, is_bot);
        !logs.bots.contains(&logs.program_of(log)) && place(false) != place(true)
    }

    /// `is_bot`: the log's program has shown a line of the library.
    fn place_if(
        &self,
        log: &Path,
        sessions: &KnownSessions,
        logs: &LogsSeen,
        is_bot: bool,
    ) -> Option<(Arc<str>, Rule)> {
        let named = self.named(log, sessions);
        if let Some((glob, session)) = self.configured_for(log)
            && (named.as_ref().is_none_or(|named| named == session)
                || pins_the_name(glob, log)
                || logs.gives_the_directory_of(session, log))
        {
            return Some((Arc::clone(session), Rule::Configured));
        }
        if let Some(session) = named {
            return Some((session, Rule::Path));
        }
        let full = |name: &str| self.fill(|_| Some(name.to_owned()));
        // With a configured expression nothing is guessed. The log of a session that had a folder
        // before is not guessed either.
        let is_former = |name: &String| full(name).is_some_and(|name| sessions.is_former(&name));
        let may_guess = is_bot && self.path.is_none() && !candidates(log).iter().any(is_former);
        let program = may_guess.then(|| logs.program_of(log));
        if let Some(program) = &program
            && logs.is_alone_in_its_directory(program)
            && let names = program.folders()
            && let Some(session) = names
                .iter()
                .find_map(|folder| sessions.named(&full(folder)?))
                .or_else(|| sessions.declared(&full(names.last()?)?))
        {
            return Some((session, Rule::Directory));
        }
        if let Some(session) = &self.default {
            return Some((Arc::clone(session), Rule::Default));
        }
        let program = program?;
        let mut all = logs.programs.iter();
        let alone = all.all(|other| logs.is_no_other(&program, other));
        let session = sessions.only().filter(|_| alone)?;
        Some((session, Rule::OnlyOne))
    }

    /// The `NAME=GLOB` that matches. One that contains the file name comes first.
    fn configured_for(&self, log: &Path) -> Option<&(LogGlob, Arc<str>)> {
        let all = || self.configured.iter().filter(|(glob, _)| glob.matches(log));
        all()
            .find(|(glob, _)| pins_the_name(glob, log))
            .or_else(|| all().next())
    }

    /// Whether `--logs.path=NAME=GLOB` names this file, without a wildcard.
    pub fn is_exact(&self, log: &Path) -> bool {
        self.configured_for(log)
            .is_some_and(|(glob, _)| !glob.as_str().contains(['*', '?', '[']))
    }

    /// If `--logs.path=NAME=GLOB` matches a file that is named after another session, without
    /// naming that file: NAME and the other session.
    pub fn contested(&self, log: &Path, sessions: &KnownSessions) -> Option<[Arc<str>; 2]> {
        let (glob, session) = self.configured_for(log)?;
        let named = self.named(log, sessions)?;
        (named != *session && !pins_the_name(glob, log)).then(|| [Arc::clone(session), named])
    }

    /// Whether this is `default_session`.
    pub fn is_default(&self, session: &str) -> bool {
        self.default.as_deref() == Some(session)
    }

    /// The known session that the path names.
    fn named(&self, log: &Path, sessions: &KnownSessions) -> Option<Arc<str>> {
        let Some(path) = &self.path else {
            let full = |name: &str| self.fill(|_| Some(name.to_owned()));
            let names = candidates(log);
            let named = names.iter().filter_map(|name| full(name));
            return named
                .into_iter()
                .find_map(|name| sessions.named(&name))
                .or_else(|| sessions.declared(&full(&plain_name(log)?)?));
        };
        let found = path.captures(log.as_os_str().as_bytes())?;
        sessions.called(&self.fill_from(&found)?)
    }

    /// Whether a file name is that of a log of another existing session than `origin`'s, judged by
    /// the name alone.
    pub fn is_of_another(&self, path: &Path, origin: &Path, sessions: &KnownSessions) -> bool {
        let Some(session) = self.named(path, sessions) else {
            return false;
        };
        let of_origin = self.place(origin, sessions, &LogsSeen::default());
        of_origin.is_none_or(|(of_origin, _)| of_origin != session)
    }

    /// The session that a line names, known or not.
    pub fn of_line(&self, line: &[u8]) -> Option<Arc<str>> {
        self.fill_from(&self.line.as_ref()?.captures(line)?)
    }

    /// The name that the path gives, whether such a session exists or not.
    pub fn of_path(&self, path: &Path) -> Option<Arc<str>> {
        let from_path = || match &self.path {
            Some(regex) => self.fill_from(&regex.captures(path.as_os_str().as_bytes())?),
            None => {
                let name = plain_name(path)?;
                self.fill(|_| Some(name.clone()))
            }
        };
        self.configured_for(path)
            .map(|(_, session)| Arc::clone(session))
            .or_else(from_path)
            .or_else(|| self.default.clone())
    }

    fn fill_from(&self, captures: &Captures<'_>) -> Option<Arc<str>> {
        self.fill(|group| {
            let found = OsStr::from_bytes(captures.name(group)?.as_bytes());
            Some(SessionName::from_dir(found).as_str().to_owned())
        })
    }

    /// `group` returns the text of a group, escaped as in a session's name.
    fn fill(&self, group: impl Fn(&str) -> Option<String>) -> Option<Arc<str>> {
        let mut name = String::new();
        for part in &self.name {
            match part {
                NamePart::Text(text) => name.push_str(text),
                NamePart::Group(asked) => name.push_str(&group(asked)?),
            }
        }
        (!name.is_empty()).then(|| Arc::from(SessionName::from_text(&name).as_str()))
    }
}

/// Whether the glob contains the name of the log: it matches no log with a longer name.
fn pins_the_name(glob: &LogGlob, log: &Path) -> bool {
    let Some(name) = log.file_name().and_then(OsStr::to_str) else {
        return true;
    };
    let end = writer_name(log).len().min(name.len());
    let longer = |at: usize| log.with_file_name(format!("{}\u{1}{}", &name[..at], &name[at..]));
    let mut places = (0..=end).filter(|at| name.is_char_boundary(*at));
    !places.any(|at| glob.matches(&longer(at)))
}

/// Splits `[NAME=]GLOB`. A `=` after a `/` belongs to the glob.
///
/// Errors: an empty name.
pub fn split_name(text: &str) -> Result<(Option<Arc<str>>, &str), String> {
    match text.find(['=', '/']) {
        Some(0) if text.starts_with('=') => {
            Err("the name before `=` is empty; give NAME=GLOB".into())
        }
        Some(at) if text[at..].starts_with('=') => {
            let name = SessionName::from_text(&text[..at]);
            Ok((Some(Arc::from(name.as_str())), &text[at + 1..]))
        }
        _ => Ok((None, text)),
    }
}

/// The programs that write these logs.
pub fn programs<'a>(logs: impl IntoIterator<Item = &'a PathBuf>) -> BTreeSet<Program> {
    logs.into_iter().map(|log| Program::of(log)).collect()
}

/// `{group}` and text; `{{` and `}}` are braces.
fn parse(text: &str) -> Result<Vec<NamePart>, String> {
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
                parts.push(NamePart::Text(std::mem::take(&mut literal)));
            }
            parts.push(NamePart::Group(name.to_owned()));
            rest = after;
        } else {
            return Err(format!(
                "a single {brace} stands in {text:?}; write {brace}{brace} for a brace"
            ));
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(NamePart::Text(literal));
    }
    if !parts.iter().any(|part| matches!(part, NamePart::Group(_))) {
        return Err(format!(
            "{text:?} holds no {{group}}, so all lines would be of one session"
        ));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
