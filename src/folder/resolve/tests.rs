#![allow(clippy::unwrap_used)]
use super::*;
use std::os::unix::fs::symlink;

#[test]
fn links_lead_to_the_canonical_path() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name);
    std::fs::create_dir_all(at("a/b/auth")).unwrap();
    symlink("../a/b", at("a/relative")).unwrap();
    symlink(at("a/relative/auth"), at("absolute")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink("gone", at("dangling")).unwrap();
    for (path, links) in [
        ("a/b/auth", 0),
        ("a/relative/auth", 1),
        ("absolute", 1),
        ("a/relative/../b/auth", 1),
    ] {
        let resolved = resolve(&at(path)).unwrap();
        assert_eq!(resolved.path, at("a/b/auth"), "{path}");
        assert_eq!(resolved.path, at(path).canonicalize().unwrap());
        assert_eq!(resolved.link_owners.len(), links, "{path}");
    }
    let error = |path: &str| resolve(&at(path)).unwrap_err();
    assert_eq!(
        error("loop").raw_os_error(),
        Some(Errno::LOOP.raw_os_error())
    );
    assert_eq!(error("dangling").kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_link_of_another_user_is_foreign() {
    let of = |owners: &[u32]| Resolved {
        path: "/".into(),
        link_owners: owners.iter().copied().collect(),
    };
    let (own, bot, other) = (10, 20, 30);
    for allowed in [&[][..], &[0], &[own], &[bot], &[0, own, bot]] {
        assert_eq!(of(allowed).foreign_link(own, bot), None, "{allowed:?}");
    }
    assert_eq!(of(&[0, other]).foreign_link(own, bot), Some(other));
    assert_eq!(of(&[bot]).foreign_link(own, other), Some(bot));
}
