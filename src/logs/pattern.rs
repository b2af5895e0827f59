//! Signs of trouble in a log, and how to find them fast.
//!
//! Matching has two phases. A chunk of whole lines is folded to lower case and searched
//! for all patterns at once, which may only say "perhaps here"; each line it stops at is then
//! judged by itself, as a loop over all lines would have done. What is searched for are
//! literals of which every match holds one, where all patterns have such, else one
//! alternation of all expressions.
//!
//! A record of pm2's `log_type: json` holds several lines of the bot in one line of the
//! file. It is taken apart, and each of its lines is judged.

mod shipped;
mod sieve;

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memrchr};
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use serde::{Deserialize, Serialize};

pub use log_tailer::MAX_LINE;
pub use shipped::SHIPPED;
use shipped::{CLOSED, OPENED, SECRET};
use sieve::{Sieve, folded};

/// How a record of pm2's `log_type: json` begins.
const PM2_RECORD: &[u8] = b"{\"message\":\"";

/// How much a sign matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Wake somebody.
    Critical,
    /// Look at it by day.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One sign, as configured. All expressions are matched without regard to case, on
/// bytes, within one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// The value of the label `pattern`.
    pub name: Cow<'static, str>,
    /// What a line must hold.
    pub regex: Cow<'static, str>,
    /// What it must not hold.
    pub exclude: Option<Cow<'static, str>>,
    /// How much it matters.
    pub severity: Severity,
    /// What it means, for a person.
    pub help: Cow<'static, str>,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Its place in the list given to [`Patterns::new`].
    pub index: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What one expression of the set stands for.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// The pattern of this index.
    Sign(usize),
    Secret,
    Opened,
    Closed,
}

/// What one line of the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The index of a pattern for each event.
    pub signs: Vec<usize>,
    /// Lines of the bot that show a private key.
    pub secrets: u64,
    /// The connection's last word: opened (`true`) or closed.
    pub opened: Option<bool>,
}

impl Found {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.signs.is_empty() && self.secrets == 0 && self.opened.is_none()
    }

    fn clear(&mut self) {
        self.signs.clear();
        self.secrets = 0;
        self.opened = None;
    }
}

/// All patterns, ready to search with.
#[derive(Clone, Debug)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    roles: Vec<Role>,
    set: RegexSet,
    excludes: Vec<Option<Regex>>,
    sieve: Sieve,
}

impl Patterns {
    /// The shipped patterns and `more`; one with the name of a shipped one replaces it.
    ///
    /// Errors: a name given twice, or an expression that cannot be compiled or could match
    /// across lines. The index is that in `more`.
    pub fn shipped_and(more: &[Pattern]) -> Result<Self, PatternError> {
        let kept = SHIPPED
            .iter()
            .filter(|shipped| more.iter().all(|pattern| pattern.name != shipped.name));
        let all: Vec<Pattern> = kept.cloned().chain(more.iter().cloned()).collect();
        let shipped = all.len() - more.len();
        Self::new(all).map_err(|error| PatternError {
            index: error.index.saturating_sub(shipped),
            ..error
        })
    }

    /// These patterns.
    pub fn new(patterns: Vec<Pattern>) -> Result<Self, PatternError> {
        let mut this = Self {
            patterns: Vec::new(),
            roles: Vec::new(),
            set: RegexSet::empty(),
            excludes: Vec::new(),
            sieve: Sieve::Literals(None),
        };
        let mut sources: Vec<String> = Vec::new();
        let mut sieves = Vec::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            let at = |message| PatternError { index, message };
            check_name(&pattern.name).map_err(at)?;
            if this.patterns.iter().any(|other| other.name == pattern.name) {
                return Err(at(format!(
                    "the pattern {} stands there twice",
                    pattern.name
                )));
            }
            this.roles.push(Role::Sign(index));
            sieves.push(checked(&pattern.regex).map_err(at)?);
            sources.push(pattern.regex.to_string());
            this.excludes.push(match &pattern.exclude {
                Some(exclude) => {
                    checked(exclude).map_err(at)?;
                    Some(bytes(exclude).map_err(|error| at(error.to_string()))?)
                }
                None => None,
            });
            this.patterns.push(pattern);
        }
        let ours = [
            (Role::Secret, SECRET),
            (Role::Opened, OPENED),
            (Role::Closed, CLOSED),
        ];
        for (role, source) in ours {
            this.roles.push(role);
            sieves.push(checked(source).map_err(|message| PatternError { index: 0, message })?);
            sources.push(source.to_owned());
        }
        sieves.push(Hir::concat(vec![
            Hir::look(Look::StartLF),
            Hir::literal(PM2_RECORD),
        ]));
        this.set = build(
            |sources| {
                RegexSetBuilder::new(sources)
                    .multi_line(true)
                    .case_insensitive(true)
                    .unicode(false)
                    .build()
            },
            &sources,
        )?;
        this.sieve = Sieve::new(&sieves.iter().map(folded).collect::<Vec<_>>())?;
        Ok(this)
    }

    /// The patterns, in the order of their counts.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Calls `sink` for each line of `chunk` that holds something, in order, with its place
    /// in the chunk. `chunk` holds whole lines. `scratch` is overwritten.
    pub fn scan(&self, chunk: &[u8], scratch: &mut Vec<u8>, mut sink: impl FnMut(&[u8], &Found)) {
        scratch.clear();
        scratch.extend_from_slice(chunk);
        scratch.make_ascii_lowercase();
        let mut found = Found::default();
        let mut at = 0;
        while at < chunk.len() {
            let Some(perhaps) = self.sieve.find(scratch, at) else {
                return;
            };
            let start = memrchr(b'\n', &chunk[at..perhaps]).map_or(at, |newline| at + newline + 1);
            let end =
                memchr(b'\n', &chunk[perhaps..]).map_or(chunk.len(), |newline| perhaps + newline);
            let line = &chunk[start..end];
            self.judge(line, &mut found);
            if !found.is_empty() {
                sink(line, &found);
            }
            at = end + 1;
        }
    }

    /// What one line of a file, without its newline, holds.
    pub fn judge(&self, line: &[u8], found: &mut Found) {
        found.clear();
        match pm2_message(line) {
            Some(message) => message
                .split('\n')
                .for_each(|line| self.judge_plain(line.as_bytes(), found)),
            None => self.judge_plain(line, found),
        }
    }

    fn judge_plain(&self, line: &[u8], found: &mut Found) {
        let line = &line[..line.len().min(MAX_LINE)];
        for role in self
            .set
            .matches(line)
            .into_iter()
            .filter_map(|index| self.roles.get(index))
        {
            match *role {
                Role::Sign(index) => {
                    let excluded = self.excludes.get(index).and_then(Option::as_ref);
                    if !excluded.is_some_and(|exclude| exclude.is_match(line)) {
                        found.signs.push(index);
                    }
                }
                Role::Secret => found.secrets += 1,
                Role::Opened => found.opened = Some(true),
                Role::Closed => found.opened = Some(false),
            }
        }
    }
}

/// The bot's lines in a record of pm2's `log_type: json`; `None` if it is none.
fn pm2_message(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Record {
        message: String,
        #[serde(rename = "app_name")]
        _app_name: serde::de::IgnoredAny,
    }
    line.starts_with(PM2_RECORD)
        .then(|| serde_json::from_slice::<Record>(line).ok())?
        .map(|r| r.message)
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if name.is_empty() || name.len() > 64 || !fits {
        return Err(format!(
            "the name {name:?} must be a-z, 0-9 and _ only, 64 characters at most"
        ));
    }
    Ok(())
}

fn bytes(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source)
        .multi_line(true)
        .case_insensitive(true)
        .unicode(false)
        .build()
}

fn build<S, T>(
    build: impl FnOnce(S) -> Result<T, regex::Error>,
    source: S,
) -> Result<T, PatternError> {
    build(source).map_err(|error| PatternError {
        index: 0,
        message: format!("the patterns together cannot be compiled: {error}"),
    })
}

/// The expression, if it can be used.
fn checked(source: &str) -> Result<Hir, String> {
    bytes(source).map_err(|error| format!("{source:?} cannot be compiled: {error}"))?;
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(true)
        .multi_line(true)
        .unicode(false)
        .utf8(false)
        .build()
        .parse(source)
        .map_err(|error| format!("{source:?} cannot be compiled: {error}"))?;
    if crosses_lines(&hir) {
        return Err(format!(
            "{source:?} could match across lines (\\n, (?s)., [\\s\\S], \\A or \\z); a pattern sees one line at a time, use ^ and $"
        ));
    }
    if hir.properties().minimum_len() == Some(0) {
        return Err(format!(
            "{source:?} matches an empty line, so it would count every line"
        ));
    }
    Ok(hir)
}

/// Whether an expression asks for more than one line. A class that merely includes the
/// newline (`\s`, `[^"]`) does not: it never meets one.
fn crosses_lines(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty => false,
        HirKind::Literal(literal) => literal.0.contains(&b'\n'),
        HirKind::Class(Class::Bytes(class)) => {
            let all = class
                .ranges()
                .iter()
                .map(|r| usize::from(r.end()) - usize::from(r.start()) + 1);
            all.sum::<usize>() == 256
        }
        HirKind::Class(Class::Unicode(class)) => class
            .ranges()
            .first()
            .is_some_and(|range| range.start() == '\0' && range.end() == char::MAX),
        HirKind::Look(look) => matches!(look, Look::Start | Look::End),
        HirKind::Repetition(repetition) => crosses_lines(&repetition.sub),
        HirKind::Capture(capture) => crosses_lines(&capture.sub),
        HirKind::Concat(subs) | HirKind::Alternation(subs) => subs.iter().any(crosses_lines),
    }
}

#[cfg(test)]
mod tests;
