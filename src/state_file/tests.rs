use std::os::unix::fs::symlink;

use super::*;

const OURS: FileFacts = FileFacts {
    is_file: true,
    is_link: false,
    names: 1,
    owner: 1000,
    dir_owner: 1000,
    user: 1000,
};

#[test]
fn owners_and_kinds() {
    let refused = |facts| refusal(facts).unwrap_or_default();
    assert_eq!(refusal(OURS), None);
    // Root works for the service's user, and what root makes there is no foreign file.
    assert_eq!(refusal(FileFacts { user: 0, ..OURS }), None);
    assert_eq!(refusal(FileFacts { owner: 0, ..OURS }), None);
    assert_eq!(
        refusal(FileFacts {
            dir_owner: 0,
            ..OURS
        }),
        None
    );

    assert!(refused(FileFacts { owner: 7, ..OURS }).contains("user 7"));
    assert!(
        refused(FileFacts {
            owner: 7,
            user: 0,
            ..OURS
        })
        .contains("user 7")
    );
    assert!(
        refused(FileFacts {
            owner: 7,
            dir_owner: 7,
            ..OURS
        })
        .contains("directory of the user 7")
    );
    assert!(
        refused(FileFacts {
            dir_owner: 7,
            ..OURS
        })
        .contains("directory of the user 7")
    );
    assert!(refused(FileFacts { names: 2, ..OURS }).contains("hard link"));
    assert!(
        refused(FileFacts {
            is_file: false,
            ..OURS
        })
        .contains("regular")
    );
    let link = FileFacts {
        is_file: false,
        is_link: true,
        ..OURS
    };
    assert!(refused(link).contains("symbolic link"));
}

#[test]
fn what_was_planted_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("victim"), "victim").unwrap();
    std::fs::write(at("other"), "other").unwrap();
    symlink(at("victim"), at("link")).unwrap();
    symlink(at("missing"), at("dangling")).unwrap();
    std::fs::hard_link(at("other"), at("hard")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
    std::fs::create_dir(at("dir")).unwrap();
    for (name, says) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("hard", "hard link"),
        ("pipe", "no regular file"),
        ("dir", "no regular file"),
    ] {
        let mut append = OpenOptions::new();
        let append = append.create(true).append(true);
        for error in [
            check(&at(name)).unwrap_err(),
            open(append, &at(name)).unwrap_err(),
            open(OpenOptions::new().read(true), &at(name)).unwrap_err(),
            read(&at(name), 10).unwrap_err(),
        ] {
            assert!(error.to_string().contains(says), "{name}: {error}");
        }
    }
    assert!(!at("missing").exists());
    check(&at("missing")).unwrap();
    let missing = read(&at("missing"), 10).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_file_is_replaced_without_following_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("victim"), "victim").unwrap();
    symlink(at("victim"), at("kept.new")).unwrap();
    symlink(at("victim"), at("kept.json")).unwrap();
    for text in ["first", "second"] {
        replace(&at("kept.json"), text.as_bytes()).unwrap();
        assert_eq!(read(&at("kept.json"), 10).unwrap(), text.as_bytes());
    }
    assert!(read(&at("kept.json"), 5).is_err());
    assert_eq!(std::fs::read(at("victim")).unwrap(), b"victim");
}

#[test]
fn a_directory_may_be_linked() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap().join("private");
    std::fs::create_dir(&real).unwrap();
    let link = dir.path().join("state");
    symlink(&real, &link).unwrap();
    assert_eq!(resolve_dir(&link).unwrap(), real);
    assert!(resolve_dir(&dir.path().join("missing")).is_err());
}
