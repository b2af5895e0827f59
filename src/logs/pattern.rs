//! Signs of trouble in a log, and a fast search for them.
//!
//! A record is a line without its envelopes (`record`), together with the lines that continue it.
//! Every pattern counts a record once. A chunk of a log is converted to lower case and searched for
//! literals of which every match contains one (`sieve`). Only the records with such a literal are
//! assembled (`scan`) and judged.

mod close;
mod definition;
mod report;
mod scan;
mod shape;
mod shipped;
mod sieve;
mod words;

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use definition::build;
pub use definition::{Pattern, PatternError, Severity};
pub use log_tailer::MAX_LINE;
pub(in crate::logs) use report::is_own_report;
pub use scan::{Hit, ScanState};
use shape::RecordShape;
use shipped::SECRET;
pub use shipped::SHIPPED;
use sieve::{Sieve, folded};

/// Names of the patterns that a disconnect reason counts for.
const DEVICE_REMOVED: &str = "device_removed";
const CONNECTION_REPLACED: &str = "connection_replaced";
const ACCOUNT_BANNED: &str = "account_banned";
/// The patterns that page if the record is a report of the library or the bot.
pub const REPORTED: [&str; 4] = [
    DEVICE_REMOVED,
    CONNECTION_REPLACED,
    ACCOUNT_BANNED,
    "creds_corrupt",
];

/// One event of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The pattern's index.
    pub pattern: usize,
    /// The record has a form that only the library or the bot's own report uses, never a text that
    /// was sent to the bot.
    pub certain: bool,
    /// What reports it. Records of different kinds near each other report one event.
    pub kind: RecordKind,
}

/// The kinds of records that report one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Of the library's logger.
    Library,
    /// An error or an event of the connection, as an object or with its stack.
    Object,
    /// A line of a bot with the reason's code or name.
    Code,
    /// A bot's sentence without a reason.
    Sentence,
    /// A sentence that bots print only after the reason.
    Afterwards,
    /// A conflict without a reason.
    Conflict,
}

/// The signs in one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSigns {
    /// Each pattern at most once.
    pub signs: Vec<Sign>,
    /// Number of lines that show a private key.
    pub secrets: u64,
    /// Whether it says that the connection was opened (`true`) or ended.
    pub opened: Option<bool>,
    /// The library's logger wrote it.
    pub library: bool,
    /// The hash of the logger's message, if a logger wrote the record.
    pub message: Option<u64>,
    /// Signs that the rest of the record may cancel; counted when the record has ended.
    pub pending: Vec<Sign>,
    /// A conflict of connections. The rest of the record may say of which kind.
    pub conflict: bool,
    /// Only a code of 401, which is a reason where a conflict is beside it.
    pub bare_code: bool,
}

impl RecordSigns {
    /// Whether the record has no sign.
    pub fn is_empty(&self) -> bool {
        self.signs.is_empty()
            && self.pending.is_empty()
            && self.secrets == 0
            && self.opened.is_none()
            && !self.library
            && !self.conflict
            && !self.bare_code
    }
}

/// All patterns, compiled.
#[derive(Clone, Debug)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    /// The expressions of the patterns in their order, then that of a private key.
    set: RegexSet,
    /// For a pattern with an exclusion: its expression, and that of the exclusion.
    excludes: Vec<Option<(Regex, Regex)>>,
    secret: Regex,
    logged_out: Option<usize>,
    replaced: Option<usize>,
    banned: Option<usize>,
    /// The patterns that a record counts for when it has ended.
    at_the_end: Vec<usize>,
    sieve: Sieve,
}

impl Patterns {
    /// The shipped patterns and `more`; one with the name of a shipped pattern replaces it.
    ///
    /// Errors: a name that occurs twice, or an expression that cannot be compiled or could match
    /// across lines. The index is the one in `more`.
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
        let mut sources: Vec<String> = Vec::new();
        let mut literals = Vec::new();
        let mut excludes = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let at = |message| PatternError { index, message };
            check_name(&pattern.name).map_err(at)?;
            if patterns[..index]
                .iter()
                .any(|other| other.name == pattern.name)
            {
                return Err(at(format!("the pattern {} is given twice", pattern.name)));
            }
            literals.push(checked(&pattern.regex).map_err(at)?);
            sources.push(in_both_cases(&pattern.regex).into_owned());
            excludes.push(match &pattern.exclude {
                Some(exclude) => {
                    checked(exclude).map_err(at)?;
                    let compiled =
                        |source: &str| bytes(source).map_err(|error| at(error.to_string()));
                    Some((compiled(&pattern.regex)?, compiled(exclude)?))
                }
                None => None,
            });
        }
        let of_secret = |message| PatternError { index: 0, message };
        literals.push(checked(SECRET).map_err(of_secret)?);
        let secret = bytes(SECRET).map_err(|error| of_secret(error.to_string()))?;
        sources.push(SECRET.to_owned());
        let set = build(
            |sources| {
                RegexSetBuilder::new(sources)
                    .multi_line(true)
                    .case_insensitive(true)
                    .unicode(false)
                    .build()
            },
            &sources,
        )?;
        let literals: Vec<Hir> = literals.iter().map(folded).collect();
        // A pattern of the configuration that replaces a shipped one also replaces its special
        // rules.
        let shipped = |name: &str| {
            let is = |pattern: &Pattern| pattern.name == name && !pattern.printed_by.is_empty();
            patterns.iter().position(is)
        };
        Ok(Self {
            logged_out: shipped(DEVICE_REMOVED),
            replaced: shipped(CONNECTION_REPLACED),
            banned: shipped(ACCOUNT_BANNED),
            at_the_end: REPORTED.iter().filter_map(|name| shipped(name)).collect(),
            sieve: Sieve::new(&literals)?,
            patterns,
            set,
            excludes,
            secret,
        })
    }

    /// The patterns, in the order of their counts.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The signs in a record without its envelopes. Signs that later lines may cancel are pending.
    pub fn judge(&self, record: &[u8]) -> RecordSigns {
        let shape = RecordShape::of(record);
        let mut found = RecordSigns {
            opened: shape.opened,
            library: shape.library || shape.class,
            message: shape.message,
            ..RecordSigns::default()
        };
        let mut signs = Vec::new();
        for index in self.set.matches(record) {
            match self.excludes.get(index) {
                Some(Some((regex, exclude))) if is_excluded(record, regex, exclude) => {}
                Some(_) if !self.is_in_one_line(record, index) => {}
                Some(_) => signs.push(index),
                None => {
                    let lines = record.split(|byte| *byte == b'\n');
                    found.secrets = lines.filter(|line| self.secret.is_match(line)).count() as u64;
                }
            }
        }
        let mut reason = close::reason(record, &shape);
        let plain = shape.plain.as_deref();
        if let Some(plain) = plain.filter(|_| !found.library && !reason.of_http) {
            reason = reason.or(close::reason(plain, &shape));
        }
        let kind = match found.library {
            true => RecordKind::Library,
            false if record.contains(&b'\n') || report::is_object(record) => RecordKind::Object,
            false => RecordKind::Code,
        };
        // A word that anybody may write is no reason.
        let has_sign = !signs.is_empty() || reason.is_close();
        let certain = has_sign && report::is_certain(record, &shape);
        let kind = match kind {
            RecordKind::Code if !reason.coded && !certain => RecordKind::Sentence,
            kind => kind,
        };
        let sentence = match kind {
            RecordKind::Library => kind,
            _ => RecordKind::Sentence,
        };
        let afterwards = match reason.after_the_reason {
            true => RecordKind::Afterwards,
            false => kind,
        };
        let mut kinds = Vec::new();
        for (pattern, closed, by_reason) in [
            (self.logged_out, reason.logged_out, afterwards),
            (self.replaced, reason.replaced, kind),
            (self.banned, reason.banned, kind),
        ] {
            let Some(pattern) = pattern else { continue };
            match (signs.contains(&pattern), closed) {
                (true, true) if by_reason != RecordKind::Afterwards => {
                    kinds.push((pattern, by_reason));
                }
                (true, _) => kinds.push((pattern, sentence)),
                (false, true) => {
                    signs.push(pattern);
                    kinds.push((pattern, by_reason));
                }
                (false, false) => {}
            }
        }
        let none = self
            .of_conflicts()
            .into_iter()
            .all(|pattern| !signs.contains(&pattern));
        found.conflict = reason.conflict && none;
        found.bare_code = reason.bare_code && none && !found.conflict;
        if !signs.is_empty() {
            signs.sort_unstable();
            let signs = signs.into_iter().map(|pattern| Sign {
                pattern,
                certain,
                kind: kinds
                    .iter()
                    .find(|(of, _)| *of == pattern)
                    .map_or(kind, |(_, kind)| *kind),
            });
            (found.pending, found.signs) =
                signs.partition(|sign| self.at_the_end.contains(&sign.pattern));
        }
        found
    }

    /// Whether a pattern of the configuration matches a single line; the shipped ones may match
    /// across the lines of a record.
    fn is_in_one_line(&self, record: &[u8], index: usize) -> bool {
        let pattern = self.patterns.get(index);
        if pattern.is_some_and(|pattern| !pattern.printed_by.is_empty()) {
            return true;
        }
        record
            .split(|byte| *byte == b'\n')
            .any(|line| self.set.matches(line).matched(index))
    }

    /// The patterns that a conflict may count for.
    fn of_conflicts(&self) -> Vec<usize> {
        self.logged_out.into_iter().chain(self.replaced).collect()
    }

    /// The patterns of a removed device and of a replaced connection.
    pub(super) fn removed_and_replaced(&self) -> (Option<usize>, Option<usize>) {
        (self.logged_out, self.replaced)
    }

    /// The kind of a conflict that nothing else in its record explains.
    fn decide_conflict(&self, found: &mut RecordSigns, certain: bool) {
        if found.conflict
            && let Some(pattern) = self.replaced
        {
            found.signs.push(Sign {
                pattern,
                certain,
                kind: RecordKind::Conflict,
            });
        }
    }
}

/// Whether each line that matches also contains the exclusion. An expression may span lines.
fn is_excluded(record: &[u8], regex: &Regex, exclude: &Regex) -> bool {
    let mut matching = record
        .split(|byte| *byte == b'\n')
        .filter(|line| regex.is_match(line))
        .peekable();
    if matching.peek().is_none() {
        return exclude.is_match(record);
    }
    matching.all(|line| exclude.is_match(line))
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
    RegexBuilder::new(&in_both_cases(source))
        .multi_line(true)
        .case_insensitive(true)
        .unicode(false)
        .build()
}

/// Replaces letters outside ASCII by both cases, because on bytes an expression ignores case for
/// ASCII only. In a class they become alternatives of the class.
fn in_both_cases(source: &str) -> Cow<'_, str> {
    if source.is_ascii() {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len() * 2);
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '[' => {
                let mut class = String::from("[");
                let mut others = Vec::new();
                let mut depth = 1;
                while depth > 0
                    && let Some(c) = chars.next()
                {
                    match c {
                        '\\' => {
                            class.push(c);
                            class.extend(chars.next());
                            continue;
                        }
                        '[' => depth += 1,
                        ']' if class != "[" && class != "[^" => depth -= 1,
                        _ => {}
                    }
                    if c.is_ascii() {
                        class.push(c);
                    } else {
                        others.push(both_cases(c));
                    }
                }
                let alone = class == "[]";
                if others.is_empty() || class.starts_with("[^") {
                    // A negated class matches single bytes, so it stays as it is without them.
                    out.push_str(&class);
                } else if alone {
                    out.push_str(&format!("(?:{})", others.join("|")));
                } else {
                    out.push_str(&format!("(?:{class}|{})", others.join("|")));
                }
            }
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("(?:{})", both_cases(c))),
        }
    }
    Cow::Owned(out)
}

/// A letter in both cases, as alternatives.
fn both_cases(c: char) -> String {
    let mut forms = vec![c.to_string()];
    for other in [c.to_lowercase().to_string(), c.to_uppercase().to_string()] {
        if !forms.contains(&other) {
            forms.push(other);
        }
    }
    forms.join("|")
}

/// Compiles the expression, if it can be used.
fn checked(source: &str) -> Result<Hir, String> {
    bytes(source).map_err(|error| format!("{source:?} cannot be compiled: {error}"))?;
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(true)
        .multi_line(true)
        .unicode(false)
        .utf8(false)
        .build()
        .parse(&in_both_cases(source))
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

/// Whether an expression needs more than one line. A class that merely contains the newline (`\s`,
/// `[^"]`) does not: lines contain none.
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
