#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn of(name: &[u8]) -> String {
    SessionName::from_dir(OsStr::from_bytes(name)).0
}

/// What [`SessionName::from_dir`] escaped, undone.
fn undone(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend(c.to_string().bytes());
            continue;
        }
        let (kind, after) = rest.split_at(1);
        rest = after;
        let c = match kind {
            "\\" => '\\',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "x" => {
                let (hex, after) = rest.split_at(2);
                rest = after;
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                continue;
            }
            "u" => {
                let (hex, after) = rest[1..].split_once('}').unwrap();
                rest = after;
                char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap()
            }
            other => panic!("{other}"),
        };
        bytes.extend(c.to_string().bytes());
    }
    bytes
}

#[test]
fn names_are_printable() {
    assert_eq!(of(b"a\xff\n\x1b[31m"), "a\\xff\\n\\u{1b}[31m");
    assert_eq!(
        SessionName::from_dirs(["a".as_ref(), "b c".as_ref()]).as_str(),
        "a-b c"
    );
}

#[test]
fn a_raw_byte_and_its_escaped_spelling_differ() {
    for (raw, spelled) in [
        (&b"a\xff"[..], &b"a\\xff"[..]),
        (b"a\n", b"a\\n"),
        (b"\x1b", b"\\u{1b}"),
        (b"\\", b"\\\\"),
    ] {
        assert_ne!(of(raw), of(spelled));
    }
}

proptest! {
    #[test]
    fn no_two_directories_have_one_name(name in prop::collection::vec(
        prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x'), Just(b'n'), Just(b'u'), Just(b'{')],
        0..24,
    )) {
        let shown = of(&name);
        prop_assert_eq!(undone(&shown), name);
        prop_assert!(!shown.chars().any(char::is_control));
        let stored = SessionName::from_text(&shown);
        prop_assert_eq!(stored.as_str(), shown, "a stored name stays as it is");
    }
}
