//! Which log belongs to which session, and likely mistakes of the configuration, for the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_tailer::{LogEnd, LogGlob, read_end};

use super::LogSettings;
use super::evidence::{shows_library, shows_logger};
use super::log_name::{Program, is_dated, redacted};
use super::own::OwnLogs;
use super::session_mapper::{LogsSeen, Rule, programs};
use super::sessions::{KnownSessions, SessionMemory, SessionsSeen};
use super::store::saved_half_monitored;

/// How many bytes at the end of a log are searched for a line of the library.
const WINDOW: u64 = 1 << 20;
/// Maximum number of programs that a sentence names.
const MAX_NAMES: usize = 10;

/// A note about a session whose log has no line of the library's logger.
pub const HALF_MONITORED: &str = "half monitored: its log shows no line of the library's logger (pino at silent or fatal), so only what the bot itself prints is counted; give Baileys a logger of level info to count all signs";

/// The logs of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramLogs {
    /// The file names, without what may be a phone number.
    pub files: Vec<String>,
    /// The configured glob that matches the first of them.
    pub glob: String,
    /// A glob that matches these files and no others, if one can be written without what may be a
    /// phone number.
    pub own_glob: Option<String>,
    /// The session, and the rule that assigned it.
    pub session: Option<(Arc<str>, Rule)>,
}

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOverview {
    /// The programs.
    pub programs: Vec<ProgramLogs>,
    /// Likely mistakes, one sentence each.
    pub warnings: Vec<String>,
    /// Sessions whose logs have lines, but none of the library's logger; see [`HALF_MONITORED`].
    /// Filled only by [`look_once`].
    pub half_monitored: BTreeSet<Arc<str>>,
}

/// The content of a log's end.
#[derive(Clone, Copy, Debug, Default)]
struct TailContent {
    lines: bool,
    library: bool,
    logger: bool,
}

/// The same without a running exporter: reads the ends of the logs, and knows nothing about folders
/// that are gone. Blocks.
pub fn look_once(settings: &LogSettings, seen: &SessionsSeen) -> LogOverview {
    let mut memory = SessionMemory::default();
    memory.see(seen);
    let sessions = KnownSessions::new(&memory, settings.mapper.declared());
    let files = list(settings);
    let mut shown: BTreeMap<PathBuf, TailContent> = BTreeMap::new();
    for log in files.iter().flatten() {
        shown.entry(log.clone()).or_insert_with(|| end_of(log));
    }
    let mut logs = LogsSeen {
        programs: programs(shown.keys()),
        ..LogsSeen::default()
    };
    let bots = shown.iter().filter(|(_, shown)| shown.library);
    logs.bots = bots.map(|(log, _)| logs.program_of(log)).collect();
    let mut found = overview(settings, &files, &sessions, &seen.found, &logs);
    let saved = saved_half_monitored(&settings.state_path);
    found.half_monitored = half_monitored(settings, &shown, &sessions, &logs, saved);
    let no_row = half_without_folder(&found.half_monitored, &seen.found);
    found.warnings.extend(no_row);
    found
}

/// Half monitored sessions without a folder, and so without a row in a table: one sentence each.
pub fn half_without_folder(half: &BTreeSet<Arc<str>>, folders: &BTreeSet<Arc<str>>) -> Vec<String> {
    let without = half.difference(folders);
    without
        .map(|session| {
            format!("session {session} has no auth folder here, and is {HALF_MONITORED}")
        })
        .collect()
}

/// The same with a running monitor, which provides `sessions` and `seen`. `folders`: names of the
/// sessions that have a folder. Blocks.
pub fn look(
    settings: &LogSettings,
    sessions: &KnownSessions,
    folders: &BTreeSet<Arc<str>>,
    seen: &LogsSeen,
) -> LogOverview {
    overview(settings, &list(settings), sessions, folders, seen)
}

/// The paths that each glob matches.
fn list(settings: &LogSettings) -> Vec<Vec<PathBuf>> {
    let own = OwnLogs::of_this_process();
    let of_glob = |glob: &LogGlob| {
        let mut files = Vec::new();
        glob.list(
            |listed| {
                if !own.contains(&listed) {
                    files.push(listed.path);
                }
            },
            |_, _| {},
        );
        files.sort();
        files
    };
    settings.globs.iter().map(of_glob).collect()
}

fn end_of(log: &Path) -> TailContent {
    match read_end(log, None, WINDOW, 0) {
        Ok(Some((_, LogEnd::New { lines } | LogEnd::Grew { lines, .. }))) => TailContent {
            lines: !lines.is_empty(),
            library: shows_library(&lines),
            logger: shows_logger(&lines),
        },
        _ => TailContent::default(),
    }
}

/// From what a running exporter has saved (`saved`: whether a session is half monitored) and from
/// the ends of the logs.
fn half_monitored(
    settings: &LogSettings,
    shown: &BTreeMap<PathBuf, TailContent>,
    sessions: &KnownSessions,
    logs: &LogsSeen,
    saved: BTreeMap<Arc<str>, bool>,
) -> BTreeSet<Arc<str>> {
    let mut half = saved;
    for (log, shown) in shown.iter().filter(|(_, shown)| shown.lines) {
        if let Some((session, _)) = settings.mapper.place(log, sessions, logs) {
            *half.entry(session).or_insert(true) &= !shown.logger;
        }
    }
    half.retain(|session, half| *half && sessions.contains(session));
    half.into_keys().collect()
}

/// The same as a pure function. `files`: the paths that each glob matches, in the order of the
/// globs.
pub fn overview(
    settings: &LogSettings,
    files: &[Vec<PathBuf>],
    sessions: &KnownSessions,
    folders: &BTreeSet<Arc<str>>,
    logs: &LogsSeen,
) -> LogOverview {
    let mapper = &settings.mapper;
    let mut all: BTreeMap<Program, ProgramLogs> = BTreeMap::new();
    let mut warnings = Vec::new();
    for (glob, files) in settings.globs.iter().zip(files) {
        let glob = redacted(glob.as_str());
        // A quoted `~` is reported elsewhere.
        if files.is_empty() && !glob.starts_with('~') {
            warnings.push(format!("--logs.path {glob}: no file matches"));
        }
        for file in files {
            let logs = all
                .entry(logs.program_of(file))
                .or_insert_with(|| ProgramLogs {
                    files: Vec::new(),
                    glob: glob.clone(),
                    own_glob: None,
                    session: mapper.place(file, sessions, logs),
                });
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let name = redacted(&name);
            if !logs.files.contains(&name) {
                logs.files.push(name);
            }
        }
    }
    let paths: BTreeSet<&PathBuf> = files.iter().flatten().collect();
    let mut by_program: BTreeMap<Program, Vec<&PathBuf>> = BTreeMap::new();
    for path in &paths {
        by_program
            .entry(logs.program_of(path))
            .or_default()
            .push(path);
    }
    for (program, paths) in by_program {
        if let Some(logs) = all.get_mut(&program) {
            logs.own_glob = own_glob(&program, &paths);
        }
    }
    warnings.extend(contested(&paths, |path| mapper.contested(path, sessions)));
    // With session_line the lines decide.
    if !mapper.by_line() {
        let lost: Vec<&ProgramLogs> = all
            .iter()
            .filter(|(program, found)| found.session.is_none() && !logs.is_companion(program))
            .map(|(_, found)| found)
            .collect();
        let heard: BTreeSet<&Arc<str>> = all
            .values()
            .filter_map(|logs| Some(&logs.session.as_ref()?.0))
            .collect();
        let silent: Vec<&Arc<str>> = folders
            .iter()
            .filter(|name| !heard.contains(name))
            .collect();
        warnings.extend(lost_logs(&lost, &silent));
        if lost.is_empty() && !all.is_empty() && !silent.is_empty() {
            warnings.push(format!(
                "sessions without a log: {}; while there is one, no log is evidence that a bot is disconnected. If one process runs several sessions, set logs.session_line",
                names_of(&silent)
            ));
        }
    }
    LogOverview {
        programs: all.into_values().collect(),
        warnings,
        half_monitored: BTreeSet::new(),
    }
}

/// A glob that matches these files of a program and no others.
fn own_glob(program: &Program, paths: &[&PathBuf]) -> Option<String> {
    // No glob is offered if it would need quoting for a shell, a glob or a terminal.
    let is_plain = |text: &str| {
        let plain = |c: char| c.is_alphanumeric() || "/._-+@ ".contains(c);
        text.chars().all(plain) && redacted(text) == text
    };
    // Rotations of a log are followed with it. Of a dated name, tomorrow's is unknown.
    let names: Option<Vec<&str>> = paths
        .iter()
        .filter(|path| !is_dated(path))
        .map(|path| path.file_name()?.to_str().filter(|name| is_plain(name)))
        .collect();
    let dir = program.dir.to_str().filter(|dir| is_plain(dir))?;
    match names?.as_slice() {
        [] => None,
        [name] => Some(format!("{dir}/{name}")),
        names if names.len() <= MAX_NAMES => Some(format!("{dir}/{{{}}}", names.join(","))),
        _ => None,
    }
}

/// Globs of one session that match logs named after other sessions.
fn contested(
    paths: &BTreeSet<&PathBuf>,
    claims: impl Fn(&Path) -> Option<[Arc<str>; 2]>,
) -> Vec<String> {
    let mut by_claim: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
    for [claims, named] in paths.iter().filter_map(|path| claims(path)) {
        by_claim.entry(claims).or_default().insert(named);
    }
    let warning = |(claims, named): (Arc<str>, BTreeSet<Arc<str>>)| {
        let named: Vec<&Arc<str>> = named.iter().collect();
        format!(
            "--logs.path={claims}=GLOB also matches logs that are named after other sessions: {}. These logs are no evidence that a bot is disconnected; give {claims} a narrower GLOB",
            names_of(&named)
        )
    };
    by_claim.into_iter().map(warning).collect()
}

fn names_of(sessions: &[&Arc<str>]) -> String {
    let names: Vec<&str> = sessions
        .iter()
        .take(MAX_NAMES)
        .map(|name| &***name)
        .collect();
    format!("{}{}", names.join(", "), more(sessions.len()))
}

fn more(all: usize) -> String {
    match all.saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// Logs without a session, together with sessions without a log.
fn lost_logs(lost: &[&ProgramLogs], silent: &[&Arc<str>]) -> Option<String> {
    if lost.is_empty() {
        return None;
    }
    let named: Vec<String> = lost
        .iter()
        .take(MAX_NAMES)
        .map(|logs| format!("{} ({})", logs.files.join(", "), logs.glob))
        .collect();
    let named = format!("{}{}", named.join("; "), more(lost.len()));
    let remedy = |session: &str, glob: Option<&String>| match glob {
        Some(glob) => format!("give --logs.path='{session}={glob}', or set logs.session_path"),
        None => format!(
            "give --logs.path='{session}=GLOB' with a GLOB that matches its logs and no others, or set logs.session_path"
        ),
    };
    let any = lost.iter().find_map(|logs| logs.own_glob.as_ref());
    let is_plain = |name: &str| {
        name.chars()
            .all(|c| c.is_alphanumeric() || "._-+@".contains(c))
    };
    Some(match silent {
        [] => format!(
            "these logs belong to no session: {named}; what they hold raises no page. Leave them out of --logs.path, or {}",
            remedy("NAME", any)
        ),
        [session] => {
            // With several programs, which one is the session's is not guessed.
            let glob = any.filter(|_| lost.len() == 1);
            format!(
                "session {session} has no log, and these logs belong to no session: {named}. If they are of {session}, {}",
                remedy(if is_plain(session) { session } else { "NAME" }, glob)
            )
        }
        several => format!(
            "sessions without a log: {}; logs that belong to no session: {named}. Say which belongs to which, for each: {}",
            names_of(several),
            remedy("NAME", any)
        ),
    })
}

#[cfg(test)]
mod tests;
