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

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::packed::Searcher;
use memchr::{memchr, memrchr};
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind,
};
use regex_syntax::hir::{Look, Repetition};
use serde::{Deserialize, Serialize};

/// A longer line is judged by its first bytes up to here, and counted as overlong.
pub const MAX_LINE: usize = 64 << 10;
/// A literal shorter than this stands in too many lines to look for.
const SHORTEST_LITERAL: usize = 4;
/// More of them than this are no quicker than the expression.
const MOST_LITERALS: usize = 16;
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

const fn sign(
    name: &'static str,
    severity: Severity,
    regex: &'static str,
    exclude: Option<&'static str>,
    help: &'static str,
) -> Pattern {
    const fn own(text: Option<&'static str>) -> Option<Cow<'static, str>> {
        match text {
            Some(text) => Some(Cow::Borrowed(text)),
            None => None,
        }
    }
    Pattern {
        name: Cow::Borrowed(name),
        regex: Cow::Borrowed(regex),
        exclude: own(exclude),
        severity,
        help: Cow::Borrowed(help),
    }
}

/// The code of WhatsApp's own error, which is a node `stream:error`: many a program prints an
/// error with a code. pino-pretty gives the code a line of its own, without another attribute
/// behind it and always as deep; of what stands around it a line knows nothing.
macro_rules! stream_error {
    ($code:literal) => {
        concat!(
            r#""tag":"stream:error","attrs":\{[^{}]*"code":""#,
            $code,
            r#""|(?:^|: |\| ) {8}"code": ""#,
            $code,
            r#""$"#
        )
    };
}

/// The signs that are shipped, taken from what libsignal and Baileys 6.7 to 7.0.0-rc14
/// print. libsignal writes to stderr, the logger (pino) to stdout, and no event to both: of
/// a message in a known session libsignal gives the reason and pino only that none matched,
/// of a first message only pino tells.
///
/// Multi-line pino-pretty of 7.x shows a conflict twice, as `reasonNode` (8 spaces) and in
/// `fullErrorNode` (12 spaces); the first is left out.
pub const SHIPPED: &[Pattern] = {
    use Severity::{Critical, Info, Warning};
    &[
        sign(
            "closing_stale_open_session",
            Warning,
            "closing stale open session",
            None,
            "libsignal before 2025-11-20 threw an open session away to begin a new one.",
        ),
        sign(
            "closing_open_session",
            Info,
            "closing open session in favor of incoming prekey bundle",
            None,
            "A contact began a new session: it had lost the old one, or could not read the bot.",
        ),
        sign(
            "decrypted_with_closed_session",
            Warning,
            "decrypted message with closed session",
            None,
            "A message was read with a session closed before; libsignal damages the open one while it tries.",
        ),
        sign(
            "bad_mac",
            Warning,
            r#"session error: ?error: bad mac|"message": ?"bad mac"#,
            None,
            "A message could not be decrypted: the keys of the two sides differ.",
        ),
        sign(
            "key_used_already",
            Warning,
            r#"session error: ?messagecountererror: key used already|"message": ?"key used already"#,
            None,
            "A message came twice, or the folder was put back to an older state.",
        ),
        sign(
            "over_2000_messages",
            Warning,
            r#"session error: ?sessionerror: over 2000 messages into the future|"message": ?"over 2000 messages into the future"#,
            None,
            "More than 2,000 messages of a contact never reached this folder.",
        ),
        sign(
            "invalid_pre_key_id",
            Warning,
            r#""message": ?"invalid prekey id"#,
            None,
            "A contact used a pre-key that is no longer in the folder.",
        ),
        sign(
            "no_session_record",
            Warning,
            r#""message": ?"no session record"#,
            None,
            "A contact wrote in a session that is no longer in the folder.",
        ),
        sign(
            "decrypt_failed",
            Warning,
            "failed to decrypt message",
            Some("with any known session"),
            "The bot could not read a message, whatever the reason.",
        ),
        sign(
            "waiting_for_message",
            Warning,
            "waiting for (?:this )?message",
            None,
            "The other side, or the bot, waits for a message that could not be read.",
        ),
        sign(
            "device_removed",
            Critical,
            "device_removed",
            Some(r#"(?:^|: |\| ) {8}"type": "device_removed""#),
            "WhatsApp has removed the device: somebody must scan a QR code.",
        ),
        sign(
            "connection_replaced",
            Critical,
            r#"connection ?replaced|"type": ?"replaced""#,
            Some(r#"(?:^|: |\| ) {8}"type": "replaced""#),
            "Another process connected with the same auth folder.",
        ),
        sign(
            "stream_errored",
            Warning,
            "stream errored out",
            None,
            "WhatsApp ended the connection with an error, whatever its code.",
        ),
        sign(
            "stream_error_401",
            Critical,
            stream_error!("401"),
            None,
            "WhatsApp ended the connection with 401: the login is no longer valid.",
        ),
        sign(
            "stream_error_500",
            Warning,
            stream_error!("500"),
            None,
            "WhatsApp ended the connection with 500.",
        ),
        sign(
            "stream_error_503",
            Warning,
            stream_error!("503"),
            None,
            "WhatsApp ended the connection with 503: its service is not available.",
        ),
        sign(
            "stream_error_515",
            Info,
            stream_error!("515"),
            None,
            "WhatsApp asked for a restart (515), as it does after pairing.",
        ),
        sign(
            "connection_failure",
            Warning,
            "error: connection failure",
            None,
            "WhatsApp refused the login (Connection Failure).",
        ),
        sign(
            "pre_key_upload",
            Info,
            "uploading pre-keys",
            None,
            "The bot minted and uploaded new pre-keys.",
        ),
    ]
};

/// A private key or a root key in the clear, as `console.info` and JSON print them.
const SECRET: &str = concat!(
    r#"\b(?:privkey|rootkey|private(?:key)?)['"]?\s?:\s?"#,
    r#"(?:<buffer [0-9a-f]|uint8array\(|\{\s?['"]?type['"]?:\s?['"]buffer|['"][a-z0-9+/]{40})"#,
    r#"|\badvsecretkey['"]?\s?:\s?['"][a-z0-9+/]{8}"#,
);

/// What pm2 puts before a line.
macro_rules! prefix {
    () => {
        r"^(?:\d{4}-[0-9T:. +Z-]{10,40}: |\d{1,4}\|[^|{]{1,60}\| )?"
    };
}
/// A whole line of pino's with this message, raw or pretty (colours allowed). A text that
/// somebody sent the bot and that it logs must not look like one, so all of the line has to
/// fit; within a string of JSON no bare quote can stand.
macro_rules! message {
    ($text:literal) => {
        concat!(
            prefix!(),
            r#"\{"level":\d\d,"time":(?:"[^"]{10,40}"|\d{13}),.*"msg":"(?:"#,
            $text,
            r#")"\}$|"#,
            prefix!(),
            r"\[[^\]]{5,40}\] (?:\x1b\[[0-9;]*m)*(?:INFO|WARN|ERROR)(?:\x1b\[[0-9;]*m)* \([^)]{1,100}\): ",
            r"(?:\x1b\[[0-9;]*m)*(?:",
            $text,
            r")(?:\x1b\[[0-9;]*m)*(?: \{.*)?$"
        )
    };
}
const OPENED: &str = message!("opened connection to WA");
const CLOSED: &str = message!("connection errored|connection closed|stream errored out");

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

/// The first phase: where a line might be that holds something.
#[derive(Clone, Debug)]
enum Sieve {
    /// Every pattern needs one of some literals. `None` finds nothing.
    Literals(Option<Searcher>),
    /// One of them does not, or there are too many.
    Expression(Regex),
}

impl Sieve {
    /// For expressions that are folded already. Only whole lines are judged, so it does not
    /// matter where in a line the literal stands.
    fn new(expressions: &[Hir]) -> Result<Self, PatternError> {
        let literals: Option<Vec<_>> = expressions.iter().map(required).collect();
        let searcher = literals.and_then(|literals| {
            let all: BTreeSet<Vec<u8>> = literals.into_iter().flatten().collect();
            let holds = |long: &[u8], short: &[u8]| {
                long != short && long.windows(short.len()).any(|window| window == short)
            };
            Searcher::new(
                all.iter()
                    .filter(|long| !all.iter().any(|short| holds(long, short))),
            )
        });
        if searcher.is_some() {
            return Ok(Self::Literals(searcher));
        }
        let any = Hir::alternation(expressions.to_vec());
        build(
            |source: &str| RegexBuilder::new(source).unicode(false).build(),
            any.to_string().as_str(),
        )
        .map(Self::Expression)
    }

    /// Where the next such line might be, at or after `at`.
    fn find(&self, folded: &[u8], at: usize) -> Option<usize> {
        match self {
            Sieve::Literals(searcher) => searcher
                .as_ref()?
                .find_in(folded, (at..folded.len()).into())
                .map(|found| found.start()),
            Sieve::Expression(regex) => regex.find_at(folded, at).map(|found| found.start()),
        }
    }
}

/// Literals of which every match holds one.
fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.len() >= SHORTEST_LITERAL => {
            Some(vec![literal.0.to_vec()])
        }
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(subs) => {
            let all: Option<Vec<_>> = subs.iter().map(required).collect();
            all.map(|all| all.concat())
                .filter(|all| all.len() <= MOST_LITERALS)
        }
        // The rarest one, as far as length tells. A JSON key stands in too many lines.
        HirKind::Concat(subs) => subs.iter().filter_map(required).max_by_key(|literals| {
            let worth = |literal: &Vec<u8>| {
                if literal.ends_with(b":") {
                    0
                } else {
                    literal.len()
                }
            };
            literals.iter().map(worth).min()
        }),
        _ => None,
    }
}

/// The expression for text folded to lower case: it matches wherever the original matches
/// the text as it was, and perhaps elsewhere. Literals become literals again, which is what
/// makes the search fast.
fn folded(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0.to_ascii_lowercase()),
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            let mut upper = ClassBytes::new([ClassBytesRange::new(b'A', b'Z')]);
            let mut lower = class.clone();
            lower.intersect(&upper);
            class.union(&ClassBytes::new(lower.ranges().iter().map(|range| {
                ClassBytesRange::new(
                    range.start().to_ascii_lowercase(),
                    range.end().to_ascii_lowercase(),
                )
            })));
            upper.intersect(&class);
            class.difference(&upper);
            Hir::class(Class::Bytes(class))
        }
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            let upper = ClassUnicode::new([ClassUnicodeRange::new('A', 'Z')]);
            let mut lower = class.clone();
            lower.intersect(&upper);
            class.union(&ClassUnicode::new(lower.ranges().iter().map(|range| {
                ClassUnicodeRange::new(
                    range.start().to_ascii_lowercase(),
                    range.end().to_ascii_lowercase(),
                )
            })));
            class.difference(&upper);
            Hir::class(Class::Unicode(class))
        }
        HirKind::Look(look) => Hir::look(*look),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(folded(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Capture(capture) => folded(&capture.sub),
        HirKind::Concat(subs) => Hir::concat(subs.iter().map(folded).collect()),
        HirKind::Alternation(subs) => Hir::alternation(subs.iter().map(folded).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shipped() -> Patterns {
        Patterns::shipped_and(&[]).unwrap()
    }

    fn own(regex: &str) -> Pattern {
        Pattern {
            regex: regex.to_owned().into(),
            ..sign("own", Severity::Info, "", None, "")
        }
    }

    /// What the two phases find, as pairs of line number and what was found.
    fn scanned(patterns: &Patterns, text: &[u8]) -> Vec<(usize, Found)> {
        let mut all = Vec::new();
        patterns.scan(text, &mut Vec::new(), |line, found| {
            let at = line.as_ptr() as usize - text.as_ptr() as usize;
            all.push((
                text[..at].iter().filter(|byte| **byte == b'\n').count(),
                found.clone(),
            ));
        });
        all
    }

    /// What a loop over all lines finds.
    fn naive(patterns: &Patterns, text: &[u8]) -> Vec<(usize, Found)> {
        let whole = text.strip_suffix(b"\n").unwrap_or(text);
        let mut all = Vec::new();
        for (number, line) in whole.split(|byte| *byte == b'\n').enumerate() {
            let mut found = Found::default();
            patterns.judge(line, &mut found);
            if !found.is_empty() {
                all.push((number, found));
            }
        }
        all
    }

    fn counts(text: &str) -> Vec<(&'static str, u64)> {
        let patterns = shipped();
        let mut counts = vec![0; SHIPPED.len()];
        for (_, found) in scanned(&patterns, text.as_bytes()) {
            found.signs.iter().for_each(|sign| counts[*sign] += 1);
        }
        let all = SHIPPED.iter().zip(counts);
        all.filter(|(_, count)| *count > 0)
            .map(|(pattern, count)| (pattern.name.as_ref(), count))
            .collect()
    }

    #[test]
    fn one_event_counts_once() {
        let is = |name, count| vec![(name, count)];
        assert_eq!(
            counts("Session error:Error: Bad MAC Error: Bad MAC\n    at x (y)\n"),
            is("bad_mac", 1)
        );
        let first_message = r#"{"err":{"message":"Bad MAC","stack":"Error: Bad MAC\n"},"msg":"x"}"#;
        assert_eq!(counts(first_message), is("bad_mac", 1));
        let record = r#"{"message":"a\nClosing stale open session for x\nClosing stale open session for x\n","timestamp":"t","type":"err","process_id":3,"app_name":"a"}"#;
        assert_eq!(counts(record), is("closing_stale_open_session", 2));
        let many = format!(
            r#"{{"message":"{}","app_name":"a"}}"#,
            r"Closing stale open session for new outgoing prekey bundle\n".repeat(2_000)
        );
        assert!(many.len() > MAX_LINE);
        assert_eq!(counts(&many), is("closing_stale_open_session", 2_000));
        let pretty = concat!(
            "    reasonNode: {\n      \"tag\": \"conflict\",\n      \"attrs\": {\n        \"type\": \"device_removed\"\n      }\n    }\n",
            "    fullErrorNode: {\n          \"attrs\": {\n            \"type\": \"device_removed\"\n"
        );
        assert_eq!(counts(pretty), is("device_removed", 1));
        let prefixed: String = pretty
            .lines()
            .map(|line| format!("2026-11-23T18:16:57: {line}\n"))
            .collect();
        assert_eq!(counts(&prefixed), is("device_removed", 1));
        assert_eq!(
            counts("Connection replaced\nconnectionReplaced\n"),
            is("connection_replaced", 2)
        );
    }

    /// Many a program prints the code of an error.
    #[test]
    fn a_code_counts_only_in_whatsapps_own_error() {
        let codes = |text: &str| {
            let all = counts(&format!("{text}\n")).into_iter();
            all.filter(|(name, _)| name.starts_with("stream_error_"))
                .collect::<Vec<_>>()
        };
        for code in ["401", "500", "503", "515"] {
            let name = SHIPPED
                .iter()
                .find(|pattern| pattern.name.ends_with(code))
                .unwrap()
                .name
                .as_ref();
            let raw = format!(r#""node":{{"tag":"stream:error","attrs":{{"code":"{code}"}}}}"#);
            let pretty = format!(r#"        "code": "{code}""#);
            for line in [
                format!(r#"{{"level":50,"time":"t",{raw},"msg":"stream errored out"}}"#),
                format!(r#"2026-11-23T23:47:18: {{"level":50,{raw},"msg":"stream errored out"}}"#),
                format!(r#"[23:47:12.135] ERROR (2): stream errored out {{{raw}}}"#),
                pretty.clone(),
                format!("2026-11-23 23:47:29.822 +00:00: {pretty}"),
                format!("0|wbot  | {pretty}"),
            ] {
                assert_eq!(codes(&line), [(name, 1)], "{line}");
            }
            for line in [
                format!(
                    r#"{{"level":50,"err":{{"type":"AxiosError","code":"{code}"}},"msg":"the shop said no"}}"#
                ),
                format!(r#"{{"level":50,"err":{{"code":"{code}"}},"msg":"stream errored out"}}"#),
                format!(
                    r#"{{"body":{{"code":"{code}"}},{},"msg":"x"}}"#,
                    raw.replace(code, "999")
                ),
                format!(r#"      "code": "{code}""#),
                format!(r#"          "code": "{code}""#),
                format!("{pretty},"),
                format!(r#"they wrote: "code":"{code}""#),
            ] {
                assert_eq!(codes(&line), [], "{line}");
            }
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (regex, says) in [
            ("a\\nb", "across lines"),
            ("a\nb", "across lines"),
            ("(?s)a.b", "across lines"),
            ("a[\\s\\S]b", "across lines"),
            ("a\\z", "across lines"),
            ("\\Aa", "across lines"),
            ("(?-m)^a", "across lines"),
            ("a(\\n|x)b", "across lines"),
            ("a(b", "cannot be compiled"),
            ("a*", "empty line"),
            ("", "empty line"),
            ("^$", "empty line"),
        ] {
            let error = Patterns::shipped_and(&[
                own("fine"),
                Pattern {
                    name: "two".into(),
                    ..own(regex)
                },
            ]);
            let error = error.unwrap_err();
            assert!(error.message.contains(says), "{regex:?}: {error}");
            assert_eq!(error.index, 1, "{regex:?}");
        }
        for regex in ["a\\sb", "a[^\"]+b", "^a.*b$", "\\bä\\b", "a\\D"] {
            Patterns::shipped_and(&[own(regex)]).unwrap_or_else(|error| panic!("{regex}: {error}"));
        }
        let bad = |pattern| Patterns::shipped_and(&[pattern]).unwrap_err().message;
        assert!(
            bad(Pattern {
                name: "Own".into(),
                ..own("x")
            })
            .contains("a-z")
        );
        assert!(
            bad(Pattern {
                exclude: Some("(".into()),
                ..own("x")
            })
            .contains("compiled")
        );
        assert!(
            bad(Pattern {
                exclude: Some("x\\n".into()),
                ..own("x")
            })
            .contains("across")
        );
        assert!(
            Patterns::shipped_and(&[own("x"), own("y")])
                .unwrap_err()
                .message
                .contains("twice")
        );
        let replaced = Patterns::shipped_and(&[Pattern {
            name: "bad_mac".into(),
            ..own("x")
        }])
        .unwrap();
        assert_eq!(replaced.patterns().len(), SHIPPED.len());
    }

    #[test]
    fn only_what_pino_says_tells_of_the_connection() {
        let patterns = shipped();
        let opened = |line: &str| {
            let mut found = Found::default();
            patterns.judge(line.as_bytes(), &mut found);
            found.opened
        };
        let raw = |msg: &str, more: &str| {
            format!(
                r#"{{"level":30,"time":"2026-11-23T18:14:04.021Z","pid":7,"hostname":"vm",{more}"msg":"{msg}"}}"#
            )
        };
        let is = raw("opened connection to WA", "");
        assert_eq!(opened(&is), Some(true));
        assert_eq!(opened(&format!("2026-11-23T18:16:57: {is}")), Some(true));
        assert_eq!(opened(&format!("0|wbot  | {is}")), Some(true));
        assert_eq!(
            opened(&raw("connection errored", r#""trace":"Error: {x}\n","#)),
            Some(false)
        );
        assert_eq!(
            opened("[18:14:04.021] INFO (26088): opened connection to WA"),
            Some(true)
        );
        assert_eq!(
            opened(
                "2026-11-23 18:16:57.145 +00:00: [18:14:04.021] ERROR (26088): stream errored out"
            ),
            Some(false)
        );
        assert_eq!(
            opened(
                "[18:14:04.021] \u{1b}[32mINFO\u{1b}[39m (26088): \u{1b}[36mconnection closed\u{1b}[39m"
            ),
            Some(false)
        );
        assert_eq!(
            opened("[18:14:04.021] INFO (2): connection errored {\"class\":\"baileys\"}"),
            Some(false)
        );
        // What somebody wrote to the bot.
        for text in [
            "hello INFO: connection closed",
            r#"\"msg\":\"connection closed\"}"#,
            "[18:14:04.021] INFO (7): connection closed",
        ] {
            assert_eq!(
                opened(&raw("message received", &format!(r#""text":"{text}","#))),
                None,
                "{text}"
            );
            assert_eq!(opened(&raw(text, "")), None, "{text}");
            assert_eq!(
                opened(&format!("[18:14:04.021] INFO (7): got {text}")),
                None,
                "{text}"
            );
        }
        assert_eq!(opened("he wrote: opened connection to WA"), None);
        assert_eq!(opened("INFO (7): opened connection to WA"), None);
        assert_eq!(opened(r#"{"msg":"connection closed"}"#), None);
    }

    #[test]
    fn secrets() {
        let patterns = shipped();
        let secrets = |line: &str| {
            let mut found = Found::default();
            patterns.judge(line.as_bytes(), &mut found);
            found.secrets
        };
        for line in [
            "      privKey: <Buffer 00 00 00 00>",
            "2026-11-23T18:16:58:     rootKey: <Buffer 00>",
            r#"{"keyPair":{"private":{"type":"Buffer","data":"AAAA"}}}"#,
            r#""rootKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=""#,
            "  private: Uint8Array(32) [",
            r#"{"advSecretKey":"AAAAAAAAAAAA"}"#,
        ] {
            assert_eq!(secrets(line), 1, "{line}");
        }
        for line in [
            "pubKey: <Buffer 05 00>",
            "chainKey: [Object]",
            "a private: chat",
            "privKey: [Object]",
        ] {
            assert_eq!(secrets(line), 0, "{line}");
        }
        let record =
            r#"{"message":"  privKey: <Buffer 00>\n  rootKey: <Buffer 00>\n","app_name":"a"}"#;
        assert_eq!(secrets(record), 2);
    }

    /// Pieces that make hits, near misses and broken lines likely.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&[u8]> = vec![
            b"\n",
            b"\n",
            b"\n",
            b" ",
            b"\r",
            b"\0",
            b"\xff\xfe",
            b"Session error:",
            b"Error: Bad MAC",
            b"\"message\":\"Bad MAC\"",
            b"\"tag\":\"stream:error\",\"attrs\":{",
            b"\"code\":\"401\"",
            b"        \"code\": \"401\"",
            b"closing STALE open session",
            b"closing stale open",
            b" session",
            b"waiting for message",
            b"device_removed",
            b"        \"type\": \"replaced\"",
            b"            \"type\": \"replaced\"",
            b": ",
            b"{\"message\":\"",
            b"\\n",
            b"\",\"app_name\":\"x\"}",
            b"privKey: <Buffer 0",
            b"aXb",
            b"a",
            b"b",
            b"own",
            b"OWN",
            b"foo",
            b"\"msg\":\"connection closed\"}",
        ];
        prop_oneof![8 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec), 1 => proptest::collection::vec(any::<u8>(), 0..6)]
    }

    fn any_own() -> impl Strategy<Value = Vec<Pattern>> {
        let regexes = vec![
            "own",
            "a.b",
            "^a",
            "b$",
            "a\\sb",
            "a[^x]b",
            "(?-i)OWN",
            "(?-i)[A-Z]Wn",
            "\\bown\\b",
            "o|w",
            "[[:upper:]]o",
            "\\x{ff}",
            "foo\\s+a",
            "[^a]b",
            "a{2,3}",
            "\\W{2}a",
        ];
        proptest::sample::subsequence(regexes, 0..6).prop_map(|regexes| {
            regexes
                .into_iter()
                .enumerate()
                .map(|(index, regex)| Pattern {
                    name: format!("own_{index}").into(),
                    ..own(regex)
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn two_phases_find_what_a_loop_over_lines_finds(
            // Compiling the patterns takes longer than searching.
            texts in proptest::collection::vec(proptest::collection::vec(piece(), 0..60), 40),
            own in any_own(),
        ) {
            let patterns = Patterns::shipped_and(&own).unwrap();
            for text in texts {
                let text = text.concat();
                prop_assert_eq!(scanned(&patterns, &text), naive(&patterns, &text));
            }
        }
    }

    #[test]
    fn a_line_is_judged_by_its_beginning() {
        let patterns = shipped();
        let mut text = vec![b'x'; MAX_LINE - 10];
        text.extend_from_slice(b"device_removed\n");
        assert!(scanned(&patterns, &text).is_empty());
        let mut text = vec![b'x'; MAX_LINE - 14];
        text.extend_from_slice(b"device_removed and more\n");
        assert_eq!(scanned(&patterns, &text).len(), 1);
    }
}
