//! Work on every byte of a log, in this crate because it is compiled for speed.

/// Replaces `into` by these bytes, with ASCII letters in lower case.
#[inline(never)]
pub fn lowercase(bytes: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend(bytes.iter().map(u8::to_ascii_lowercase));
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_ascii_letters_change() {
        let mut into = b"before".to_vec();
        super::lowercase("Bad MAC \u{c4}\u{0}[]".as_bytes(), &mut into);
        assert_eq!(into, "bad mac \u{c4}\u{0}[]".as_bytes());
    }
}
