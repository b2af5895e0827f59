//! Work on every byte of a log.

/// Replaces `into` by these bytes, with ASCII letters in lower case. Eight bytes at a time: the
/// release profile compiles a loop over single bytes as it is written, and it would then be a third
/// of what a line costs.
pub fn lowercase(bytes: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(bytes);
    let (words, rest) = into.as_chunks_mut();
    for word in words {
        *word = lowercase_word(u64::from_le_bytes(*word)).to_le_bytes();
    }
    rest.make_ascii_lowercase();
}

/// The high bit of each byte is set by adding what takes `A`, and what takes the byte after `Z`, to
/// 128; a letter has it from the first sum alone.
const fn lowercase_word(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 255;
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let after_z = low + EACH * (0x7f - b'Z' as u64);
    let is_upper = (from_a ^ after_z) & !word & (EACH * 0x80);
    word | is_upper >> 2
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_what_the_standard_library_does() {
        let all: Vec<u8> = (0..=255).collect();
        let mut into = b"before".to_vec();
        for from in 0..16 {
            for length in 0..=all.len() - from {
                let bytes = &all[from..from + length];
                super::lowercase(bytes, &mut into);
                assert_eq!(into, bytes.to_ascii_lowercase());
            }
        }
    }
}
