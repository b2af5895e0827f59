use super::*;

#[test]
fn the_nearest_known_key_is_named() {
    let unknown = |key: &str| {
        hint(
            &format!("unknown field `{key}`, expected one of paths, include, exclude"),
            "",
        )
    };
    assert_eq!(unknown("pathes").as_deref(), Some("did you mean `paths`?"));
    assert_eq!(
        unknown("exlude").as_deref(),
        Some("did you mean `exclude`?")
    );
    assert_eq!(unknown("retention"), None);
    let quoted = hint("unknown field `fil`, expected `name` or `file`", "");
    assert_eq!(quoted.as_deref(), Some("did you mean `file`?"));
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("kitten", "sitting"), 3);
}

#[test]
fn what_yaml_reads_otherwise_is_explained() {
    let says = |message: &str, line: &str, word: &str| {
        let hint = hint(message, line).unwrap();
        assert!(hint.contains(word), "{hint}");
    };
    says("x", "\tpaths: /a", "spaces");
    says("x", "  exclude: *_old", "quotes");
    says("x", "  - {hostname}:1", "quotes");
    says("x, expected mapping", "sessions: /a", "indented");
    says("duplicate key", "a: b", "once");
}
