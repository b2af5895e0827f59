//! The first phase of matching: finds the lines of a chunk that may contain a sign.

use std::collections::BTreeSet;

use aho_corasick::packed::Searcher;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition,
};

use super::definition::{PatternError, build};

/// A shorter literal is in too many lines.
const SHORTEST_LITERAL: usize = 4;
/// More literals than this are not faster than the expression.
const MOST_LITERALS: usize = 192;
/// Number of literals that are searched for in one pass: as many as the search takes.
const IN_ONE_PASS: usize = 64;
/// Words that are in too many lines, if there is another literal.
const COMMON: [&str; 9] = [
    "session",
    "message",
    "connection",
    "conflict",
    "another",
    "type",
    "attrs",
    "with",
    "whatsapp",
];
/// Literals in addition to those of the patterns: about the connection, and why it ended.
const BESIDE: [&[u8]; 29] = [
    b"opened connection to wa",
    b"connection errored",
    b"connection closed",
    b"stream errored",
    b"loggedout",
    b"logged_out",
    b"logged out",
    b"logout",
    b"forbidden",
    b"reconnect",
    b"reconect",
    b"expired",
    b"expirada",
    b"berakhir",
    b" phone",
    b"desde el tel",
    b"celular",
    b"cerrado la ses",
    // The first lines of a node; the rest may be in the next chunk.
    b"stream:error",
    b"conflict",
    // A line of journald whose text is written as numbers.
    b"\"message\":[",
    // Parts of a line in CRI and journald.
    b" stdout p ",
    b" stderr p ",
    b"line-max",
    // Disconnect reasons without a name.
    b"401",
    b"402",
    b"403",
    b"406",
    b"440",
];

/// The first phase: where a line with a sign may be.
#[derive(Clone, Debug)]
pub(super) enum Sieve {
    /// Every pattern needs one of these literals.
    Literals(Vec<Searcher>),
    /// One of the patterns has no literal, or there are too many.
    Expression(Regex),
}

/// A search in one chunk.
#[derive(Debug)]
pub(super) struct Search<'a> {
    sieve: &'a Sieve,
    folded: &'a [u8],
    /// The last result of each pass.
    next: Vec<Option<usize>>,
}

impl Sieve {
    /// For expressions that are already in lower case. Only complete records are judged, so the
    /// literal may be anywhere in a line.
    pub(super) fn new(expressions: &[Hir]) -> Result<Self, PatternError> {
        let literals: Option<Vec<_>> = expressions.iter().map(required).collect();
        if let Some(literals) = literals
            && let Some(searchers) = searchers(literals.into_iter().flatten().collect())
        {
            return Ok(Self::Literals(searchers));
        }
        // Use literals if there are some: a record begins with one of its lines, and the others may
        // be in the next chunk.
        let mut all: Vec<Hir> = expressions.iter().map(literals_or_all).collect();
        all.extend(BESIDE.iter().map(|literal| Hir::literal(*literal)));
        let any = Hir::alternation(all);
        build(
            // The printed form shows what is matched on bytes.
            |source: &str| RegexBuilder::new(source).build(),
            any.to_string().as_str(),
        )
        .map(Self::Expression)
    }

    /// Whether it also finds text in an envelope, where quotes are escaped.
    pub(super) fn sees_through_envelopes(&self) -> bool {
        matches!(self, Self::Literals(_))
    }

    /// Searches text in lower case.
    pub(super) fn search<'a>(&'a self, folded: &'a [u8]) -> Search<'a> {
        let passes = match self {
            Self::Literals(searchers) => searchers.len(),
            Self::Expression(_) => 1,
        };
        Search {
            sieve: self,
            folded,
            next: vec![Some(0); passes],
        }
    }
}

impl Search<'_> {
    /// The position of the next such line at or after `at`, which never decreases.
    pub(super) fn find(&mut self, at: usize) -> Option<usize> {
        let folded = self.folded;
        match self.sieve {
            Sieve::Literals(searchers) => {
                for (searcher, next) in searchers.iter().zip(&mut self.next) {
                    // 0: not searched yet.
                    if next.is_some_and(|next| next < at || next == 0) {
                        *next = find_literal(searcher, folded, at);
                    }
                }
                self.next.iter().flatten().min().copied()
            }
            Sieve::Expression(regex) => regex.find_at(folded, at).map(|found| found.start()),
        }
    }
}

fn find_literal(searcher: &Searcher, folded: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = searcher.find_in(folded, (at..folded.len()).into())?;
        let number = found.end() - found.start() < SHORTEST_LITERAL;
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let within_another = number
            && (digit(folded.get(found.end()))
                || digit(
                    found
                        .start()
                        .checked_sub(1)
                        .and_then(|before| folded.get(before)),
                ));
        if !within_another {
            return Some(found.start());
        }
        at = found.start() + 1;
    }
}

fn searchers(mut literals: BTreeSet<Vec<u8>>) -> Option<Vec<Searcher>> {
    literals.extend(BESIDE.iter().map(|literal| literal.to_vec()));
    let holds = |long: &[u8], short: &[u8]| {
        long != short
            && short.len() >= SHORTEST_LITERAL
            && long.windows(short.len()).any(|window| window == short)
    };
    let all: Vec<&Vec<u8>> = literals
        .iter()
        .filter(|long| !literals.iter().any(|short| holds(long, short)))
        .collect();
    if all.len() > MOST_LITERALS {
        return None;
    }
    all.chunks(IN_ONE_PASS).map(Searcher::new).collect()
}

/// Literals of which every match contains one, even in an envelope: without bytes that JSON
/// escapes.
fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" _:.,()-".contains(byte);
            let longest = literal
                .0
                .split(|byte| !plain(byte))
                .max_by_key(|run| run.len())?;
            (longest.len() >= SHORTEST_LITERAL).then(|| vec![longest.to_vec()])
        }
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(subs) => {
            let all: Option<Vec<_>> = subs.iter().map(required).collect();
            all.map(|all| all.concat())
                .filter(|all| all.len() <= MOST_LITERALS)
        }
        // The rarest one, judged by its length.
        HirKind::Concat(subs) => subs
            .iter()
            .filter_map(required)
            .max_by_key(|literals| literals.iter().map(|literal| worth(literal)).min()),
        _ => None,
    }
}

fn literals_or_all(hir: &Hir) -> Hir {
    match required(hir) {
        Some(literals) => Hir::alternation(literals.into_iter().map(Hir::literal).collect()),
        None => hir.clone(),
    }
}

fn worth(literal: &[u8]) -> usize {
    let word = literal.trim_ascii();
    if COMMON.iter().any(|common| common.as_bytes() == word) {
        return 0;
    }
    literal.len()
}

/// The expression for text in lower case: it matches wherever the original matches the original
/// text, and perhaps elsewhere. Literals stay literals, which makes the search fast.
pub(super) fn folded(hir: &Hir) -> Hir {
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
        // The bytes beside it in the file (`\r`, an escape) may not be in the record.
        HirKind::Look(_) => Hir::empty(),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(folded(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Capture(capture) => folded(&capture.sub),
        HirKind::Concat(subs) => Hir::concat(subs.iter().map(folded).collect()),
        HirKind::Alternation(subs) => Hir::alternation(subs.iter().map(folded).collect()),
    }
}
