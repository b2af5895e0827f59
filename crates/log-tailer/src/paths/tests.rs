use std::cell::RefCell;

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

/// Lists a glob below `base`, where the directories `closed` cannot be opened: the files, the
/// directories that were opened, and those that are an error.
fn listed(base: &Path, glob: &str, closed: &[&str]) -> [Vec<String>; 3] {
    let below = |path: &Path| path.strip_prefix(base).unwrap().display().to_string();
    let [files, opened, failed] = [const { RefCell::new(Vec::new()) }; 3];
    LogGlob::new(&format!("{}/{glob}", base.display()))
        .unwrap()
        .list_by(
            |directory| {
                opened.borrow_mut().push(below(directory));
                match closed.contains(&below(directory).as_str()) {
                    true => Err(io::ErrorKind::PermissionDenied.into()),
                    false => fs::read_dir(directory),
                }
            },
            |listed| files.borrow_mut().push(below(&listed.path)),
            |path, _| failed.borrow_mut().push(below(path)),
        );
    [files, opened, failed].map(|names| {
        let mut names = names.into_inner();
        names.sort();
        names
    })
}

fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    dir
}

#[test]
fn a_directory_that_can_hold_no_match_is_neither_opened_nor_an_error() {
    let dir = tree(&[
        "a/logs/out.log",
        "a/logs/old/out.log",
        "a/auth/session-1.0.json",
        "a/node_modules/pino/test.log",
        "b/logs/out.log",
        "other/logs.d/out.log",
        "top.log",
    ]);
    let base = dir.path();
    let closed = ["a/auth", "a/node_modules", "a/logs/old", "other/logs.d"];
    let [files, opened, failed] = listed(base, "*/logs/*.log", &closed);
    assert_eq!(files, ["a/logs/out.log", "b/logs/out.log"]);
    assert_eq!(opened, ["", "a", "a/logs", "b", "b/logs", "other"]);
    assert_eq!(failed, [""; 0]);
    // Only what may hold a log is missed.
    let [files, _, failed] = listed(base, "*/logs/*.log", &["a/logs", "a/auth"]);
    assert_eq!(
        (files, failed),
        (vec!["b/logs/out.log".into()], vec!["a/logs".into()])
    );
    let [files, opened, failed] = listed(base, "[a-b]/{logs,auth}/*", &["other"]);
    let found = [
        "a/auth/session-1.0.json",
        "a/logs/out.log",
        "b/logs/out.log",
    ];
    assert_eq!(files, found);
    assert_eq!(opened, ["", "a", "a/auth", "a/logs", "b", "b/logs"]);
    assert_eq!(failed, [""; 0]);
    // A glob of one level opens nothing below it.
    let [files, opened, _] = listed(base, "*.log", &[]);
    assert_eq!(
        (files, opened),
        (vec!["top.log".into()], vec![String::new()])
    );
}

#[test]
fn two_stars_stand_for_every_directory_but_node_modules() {
    let dir = tree(&[
        "a/logs/deep/er/out.log",
        "a/logs/node_modules/pino/test.log",
        "b/node_modules/logs/out.log",
        "node_modules/logs/out.log",
    ]);
    let base = dir.path();
    let [files, opened, failed] = listed(base, "a/**/*.log", &["a/logs/node_modules"]);
    assert_eq!(files, ["a/logs/deep/er/out.log"]);
    assert_eq!(
        opened,
        ["", "logs", "logs/deep", "logs/deep/er"]
            .map(|below| format!("a/{below}").trim_end_matches('/').to_owned())
    );
    assert_eq!(failed, [""; 0]);
    let [files, opened, _] = listed(base, "*/logs/**", &[]);
    assert_eq!(
        files,
        ["a/logs/deep/er/out.log", "node_modules/logs/out.log"]
    );
    assert!(!opened.contains(&"b/node_modules".to_owned()), "{opened:?}");
    // A glob that names it means it.
    let [files, ..] = listed(base, "**/node_modules/**/test.log", &[]);
    assert_eq!(files, ["a/logs/node_modules/pino/test.log"]);
    let glob = |text: &str| LogGlob::new(&format!("{}/{text}", base.display())).unwrap();
    for (text, path, matches) in [
        ("**/*.log", "a/logs/deep/er/out.log", true),
        ("**/*.log", "b/node_modules/logs/out.log", false),
        ("**/*.log", "b/node_modules", false),
        ("*/logs/**", "node_modules/logs/out.log", true),
        (
            "*/node_modules/*/*.log",
            "b/node_modules/logs/out.log",
            true,
        ),
    ] {
        assert_eq!(
            glob(text).matches(&base.join(path)),
            matches,
            "{text} {path}"
        );
    }
}

/// What is listed is what the whole glob matches, however its parts are written.
#[test]
fn the_parts_of_a_glob_leave_out_nothing_that_the_whole_matches() {
    let names = ["a", "b", "a.b", ".hidden", "x{y", "ab"];
    let mut files: Vec<String> = names.map(|name| format!("{name}.log")).to_vec();
    for first in names {
        files.extend(names.map(|second| format!("{first}/{second}.log")));
        files.extend(names.map(|second| format!("{first}/{second}/c.log")));
    }
    let paths: Vec<&str> = files.iter().map(String::as_str).collect();
    let dir = tree(&paths);
    for glob in [
        "*.log",
        "*/*.log",
        "*/*/*.log",
        "?/*/c.log",
        "[a-b]/*.log",
        "[!a]/[^b]/*.log",
        "{a,b}/{a,b}*/*.log",
        "{a/b,b}/*.log",
        "{a,b/{a,b}}/*.log",
        "*/b/*.log",
        "*/{b,.*}/c.log",
        "*/x\\{y/*.log",
        "*/x[{]y/*.log",
        "**",
        "**/b/*.log",
        "a*/**/c.log",
        "*/b**/*.log",
        "**/*",
        "*/**",
    ] {
        let whole = format!("{}/{glob}", dir.path().display());
        let whole = matcher(&whole).unwrap();
        let mut expected: Vec<String> = files.clone();
        expected.retain(|file| whole.is_match(dir.path().join(file)));
        expected.sort();
        assert!(!expected.is_empty(), "{glob}");
        assert_eq!(listed(dir.path(), glob, &[])[0], expected, "{glob}");
    }
}

#[test]
fn links_hidden_files_and_a_base_that_is_no_directory() {
    let dir = tree(&[
        "real/out.log",
        "real/.hidden.log",
        "bots/a/logs/x.log",
        "file",
    ]);
    let base = dir.path();
    for (to, link) in [
        ("real", "link"),
        ("real", "bots/b"),
        ("real/out.log", "bots/a/logs/linked.log"),
        ("nowhere", "bots/a/logs/gone.log"),
    ] {
        std::os::unix::fs::symlink(base.join(to), base.join(link)).unwrap();
    }
    let files = |glob: &str| listed(base, glob, &[])[0].join(" ");
    // The base may be a link, and a directory below it may not.
    assert_eq!(files("link/*.log"), "link/.hidden.log link/out.log");
    assert_eq!(files("bots/*/*.log"), "");
    assert_eq!(
        files("bots/*/logs/*.log"),
        "bots/a/logs/linked.log bots/a/logs/x.log"
    );
    for glob in ["file/*.log", "none/*/*.log"] {
        let [files, _, failed] = listed(base, glob, &[]);
        assert_eq!((files.len(), failed.len()), (0, 0), "{glob}");
    }
}

#[test]
fn a_closed_directory_beside_the_logs_is_no_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tree(&["a/logs/out.log", "a/auth/creds.json"]);
    let closed = dir.path().join("a/auth");
    let set = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
    set(0o000);
    // Root may open it.
    let is_closed = fs::read_dir(&closed).is_err();
    let (mut files, mut failed) = (0, 0);
    let glob = LogGlob::new(&format!("{}/*/logs/*.log", dir.path().display())).unwrap();
    glob.list(|_| files += 1, |_, _| failed += 1);
    set(0o700);
    assert_eq!((files, failed), (1, 0), "closed: {is_closed}");
}
