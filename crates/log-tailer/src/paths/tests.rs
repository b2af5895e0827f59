use super::*;

#[test]
fn globs() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir_all(logs.join("deep/er")).unwrap();
    for name in [
        "a-out.log",
        "b-out.log",
        "b.log.gz",
        "deep/c-out.log",
        "deep/er/d-out.log",
        "x.txt",
    ] {
        std::fs::write(logs.join(name), "x").unwrap();
    }
    let list = |glob: &str| {
        let mut names = Vec::new();
        LogGlob::new(&format!("{}/{glob}", logs.display()))
            .unwrap()
            .list(
                |listed| {
                    names.push(
                        listed
                            .path
                            .strip_prefix(&logs)
                            .unwrap()
                            .display()
                            .to_string(),
                    )
                },
                |path, error| panic!("{}: {error}", path.display()),
            );
        names.sort();
        names.join(" ")
    };
    assert_eq!(list("*.log"), "a-out.log b-out.log");
    assert_eq!(list("a-out.log"), "a-out.log");
    assert_eq!(list("b*"), "b-out.log");
    assert_eq!(list("*/*.log"), "deep/c-out.log");
    assert_eq!(
        list("**/*-out.log"),
        "a-out.log b-out.log deep/c-out.log deep/er/d-out.log"
    );
    assert_eq!(list("none/*.log"), "");
    assert!(LogGlob::new("/a/[").is_err());
    assert!(LogGlob::new("").is_err());
    let relative = LogGlob::new("logs/*.log").unwrap();
    assert!(relative.directory().is_absolute());
}
