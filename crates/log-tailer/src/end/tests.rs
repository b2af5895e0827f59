use super::*;
use std::fs::File;
use std::io::Write;

#[test]
fn only_what_is_new_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let read = |before: Option<&EndMark>| read_end(&path, before, 100, 10).unwrap();
    let append = |text: &str| {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let grew = |lines: &str, known: &str, gap| LogEnd::Grew {
        lines: lines.into(),
        known: known.len(),
        gap,
    };
    assert_eq!(read(None), None, "there is no file");
    append("one\ntwo\nthr");
    let (first, end) = read(None).unwrap();
    let lines = b"one\ntwo\n".to_vec();
    assert_eq!(end, LogEnd::New { lines }, "no unfinished line");
    assert_eq!(read(Some(&first)).unwrap(), (first, LogEnd::Unchanged));
    append("ee\nfour\n");
    let (second, end) = read(Some(&first)).unwrap();
    assert_eq!(end, grew("two\nthree\nfour\n", "two\n", false));
    append(&"x".repeat(200));
    append("\nlast\n");
    let (third, end) = read(Some(&second)).unwrap();
    assert_eq!(end, grew("last\n", "", true));
    // Another file with that name, then one that was truncated and is longer.
    std::fs::write(&path, "new\n".repeat(100)).unwrap();
    let (_, end) = read(Some(&third)).unwrap();
    assert!(matches!(end, LogEnd::New { lines } if lines.starts_with(b"new\n")));
}
