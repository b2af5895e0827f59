//! Makes untrusted text safe for a terminal: names, paths and errors may contain anything.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Styles that the tables use: reset, bold, dim, and four colours.
const STYLES: [&str; 7] = ["0", "1", "2", "31", "32", "33", "36"];
/// Stands for what was cut out.
const CUT: char = '…';

/// Whether a terminal would interpret a character, or reorder the text after it.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with control and bidi characters as `\u001b`, which JSON reads as the same text.
/// Line ends and tabs stay.
pub fn neutral(text: &str) -> Cow<'_, str> {
    escape(text, |c, _| matches!(c, '\n' | '\t'))
}

/// The same on one line.
pub fn neutral_line(text: &str) -> Cow<'_, str> {
    escape(text, |_, _| false)
}

/// The same as [`neutral`]; the styles of the tables stay as well.
pub fn neutral_styled(text: &str) -> Cow<'_, str> {
    escape(text, |c, rest| {
        let style = rest.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        matches!(c, '\n' | '\t')
            || c == '\x1b' && style.is_some_and(|(style, _)| STYLES.contains(&style))
    })
}

/// Escapes active characters, except those for which `stays` returns true.
fn escape(text: &str, stays: impl Fn(char, &str) -> bool) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match is_active(c) && !stays(c, chars.as_str()) {
            // All of them have four hexadecimal digits.
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The text, cut to this many terminal columns. The middle is cut out, because names differ
/// at their ends.
pub fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    // The variation selector makes what is before it wide.
    let width = |c: char| match c {
        '\u{fe0f}' => 1,
        _ => c.width().unwrap_or(0),
    };
    if text.chars().map(width).sum::<usize>() <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(1);
    let take = |chars: &mut dyn Iterator<Item = char>, room: usize| {
        let mut left = room;
        let mut taken = String::new();
        for c in chars {
            let Some(less) = left.checked_sub(width(c)) else {
                break;
            };
            left = less;
            taken.push(c);
        }
        taken
    };
    let tail = take(&mut text.chars().rev(), room / 2);
    let head = take(&mut text.chars(), room - room / 2);
    let tail = tail.chars().rev();
    Cow::Owned(head.chars().chain([CUT]).chain(tail).collect())
}

#[cfg(test)]
mod tests;
