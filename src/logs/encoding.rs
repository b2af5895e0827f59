//! Converts UTF-16, which PowerShell writes to files, to UTF-8.

use std::borrow::Cow;

use memchr::memchr;

/// Converts each line of UTF-16 to UTF-8 and keeps other lines. Leaves out byte order marks and the
/// zeros of holes.
pub fn to_utf8(lines: &[u8]) -> Cow<'_, [u8]> {
    if memchr(0, lines).is_none() {
        return Cow::Borrowed(lines);
    }
    let mut out = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        if is_utf16(text) {
            decode(text, &mut out);
        } else {
            let zeros = text.iter().take_while(|byte| **byte == 0).count();
            out.extend_from_slice(&text[zeros..]);
        }
        out.extend_from_slice(end);
    }
    Cow::Owned(out)
}

/// Whether every second byte of most of this is zero, as in Western languages.
fn is_utf16(text: &[u8]) -> bool {
    let start = &text[..text.len().min(400)];
    let zeros = start
        .windows(2)
        .filter(|pair| (pair[0] == 0) != (pair[1] == 0))
        .count();
    start.len() >= 4 && zeros * 4 >= start.len() * 3
}

/// In both byte orders: the newline's other byte is before or after it.
fn decode(text: &[u8], out: &mut Vec<u8>) {
    let text = match text {
        [0xff, 0xfe, rest @ ..] => rest,
        [0xfe, 0xff, 0, rest @ ..] => rest,
        [0, rest @ ..] => rest,
        _ => text,
    };
    let units = text
        .chunks(2)
        .map(|unit| u16::from(unit[0]) | u16::from(unit.get(1).copied().unwrap_or(0)) << 8);
    let mut buffer = [0; 4];
    for decoded in char::decode_utf16(units) {
        let decoded = decoded.unwrap_or(char::REPLACEMENT_CHARACTER);
        if decoded != '\0' {
            out.extend_from_slice(decoded.encode_utf8(&mut buffer).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
