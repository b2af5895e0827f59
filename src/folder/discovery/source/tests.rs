#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

#[test]
fn sources_are_parsed() {
    let parse = |text: &str| {
        let source = SessionsPath::parse(OsStr::new(text));
        source.map(|s| (s.name.map(|n| n.as_str().to_owned()), s.path))
    };
    assert_eq!(parse("/a/b").unwrap(), (None, "/a/b".into()));
    assert_eq!(
        parse("bot=/a/b").unwrap(),
        (Some("bot".into()), "/a/b".into())
    );
    assert_eq!(parse("/a=b/c").unwrap(), (None, "/a=b/c".into()));
    assert_eq!(parse("./a=b").unwrap(), (None, "./a=b".into()));
    assert_eq!(parse("/a/*/b").unwrap(), (None, "/a/*/b".into()));
    assert!(
        parse("bot=/a/[b]").is_ok(),
        "a name takes the path as it is"
    );
    for wrong in [
        "=x",
        "",
        "bot=",
        "bot=/a/*/b",
        "/a/[",
        "/a/*/../b",
        "/a/{b/c}",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    assert!(SessionsPath::parse(OsStr::from_bytes(b"\xff=/a")).is_err());
}

#[test]
fn a_glob_begins_where_the_path_varies() {
    let pattern = |text: &str| PathGlob::of(Path::new(text)).unwrap();
    assert!(pattern("/srv/bots").is_none());
    let pattern = pattern("/srv/*/x/**/auth").unwrap();
    assert_eq!(pattern.base, Path::new("/srv"));
    assert!(matches!(
        pattern.steps.as_slice(),
        [
            GlobPart::Varying(_),
            GlobPart::Fixed(_),
            GlobPart::Deep,
            GlobPart::Fixed(_)
        ]
    ));
}

#[test]
fn a_session_is_called_by_what_varies() {
    let name = |parts: &[&str], inside| {
        let parts: Vec<OsString> = parts.iter().map(OsString::from).collect();
        name_of(&parts, inside).as_str().to_owned()
    };
    assert_eq!(name(&["p1"], false), "p1");
    assert_eq!(name(&["p1", "auth_info_baileys"], false), "p1");
    assert_eq!(name(&["p1", ".Auth"], false), "p1");
    assert_eq!(name(&["p1", "company_2"], false), "p1-company_2");
    assert_eq!(name(&["auth"], false), "auth", "there is no other");
    assert_eq!(name(&["main", "auth"], true), "main-auth");
    assert_eq!(name(&["a", "b", "sessions"], false), "a-b");
}

#[test]
fn copies_are_recognized_by_their_names() {
    for copy in [
        "backup",
        "auth_backup_2024",
        "bot.bak",
        "old",
        "bot-old",
        "bot copy 2",
    ] {
        assert!(is_of_copies(OsStr::new(copy)), "{copy}");
    }
    for bot in [
        "bot",
        "gold",
        "copy-shop",
        "old-town",
        "5215550001",
        "threshold",
    ] {
        assert!(!is_of_copies(OsStr::new(bot)), "{bot}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(text in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = SessionsPath::parse(OsStr::from_bytes(&text));
    }

    #[test]
    fn directories_of_one_depth_and_plain_signs_get_names_of_their_own(
        a in prop::collection::vec("[a-z_.0-9]{1,8}", 2),
        b in prop::collection::vec("[a-z_.0-9]{1,8}", 2),
    ) {
        let name = |parts: &[String]| {
            let parts: Vec<OsString> = parts.iter().map(OsString::from).collect();
            name_of(&parts, true)
        };
        prop_assert_eq!(name(&a) == name(&b), a == b);
    }
}

#[test]
fn a_path_with_brackets_that_exists_is_no_glob() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bots [old");
    assert!(PathGlob::of(&path).is_err());
    std::fs::create_dir(&path).unwrap();
    assert!(PathGlob::of(&path).unwrap().is_none());
    assert!(PathGlob::of(&path.join("*")).is_err());
}
