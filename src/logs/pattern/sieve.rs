//! The first phase of matching: where in a chunk a line might hold something.

use std::collections::BTreeSet;

use aho_corasick::packed::Searcher;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition,
};

use super::{PatternError, build};

/// A literal shorter than this stands in too many lines to look for.
const SHORTEST_LITERAL: usize = 4;
/// More of them than this are no quicker than the expression.
const MOST_LITERALS: usize = 16;

/// The first phase: where a line might be that holds something.
#[derive(Clone, Debug)]
pub(super) enum Sieve {
    /// Every pattern needs one of some literals. `None` finds nothing.
    Literals(Option<Searcher>),
    /// One of them does not, or there are too many.
    Expression(Regex),
}

impl Sieve {
    /// For expressions that are folded already. Only whole lines are judged, so it does not
    /// matter where in a line the literal stands.
    pub(super) fn new(expressions: &[Hir]) -> Result<Self, PatternError> {
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
    pub(super) fn find(&self, folded: &[u8], at: usize) -> Option<usize> {
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
