#![allow(clippy::unwrap_used)]
use std::ffi::OsStr;
use std::os::unix::fs::symlink;

use globset::GlobSetBuilder;
use proptest::prelude::*;

use super::*;
use crate::folder::scan::QUARANTINE_TAG;

fn discovery(sources: &[&Path]) -> Discovery {
    let sources = sources
        .iter()
        .map(|path| SessionsPath {
            name: None,
            path: path.to_path_buf(),
        })
        .collect();
    Discovery::new(sources, None, GlobSetBuilder::new().build().unwrap())
}

fn names(survey: &Survey) -> Vec<&str> {
    survey
        .found
        .iter()
        .map(|found| found.session.as_str())
        .collect()
}

fn put(path: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(path).unwrap();
    for (name, text) in files {
        std::fs::write(path.join(name), text).unwrap();
    }
}

const CREDS: (&str, &str) = ("creds.json", r#"{"noiseKey":{},"nextPreKeyId":31}"#);

#[test]
fn by_content_not_by_name() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    put(&at("company_1"), &[CREDS]);
    put(&at("empty_creds"), &[("creds.json", "")]);
    put(&at("creds_gone"), &[("pre-key-7.json", "{}")]);
    put(
        &at("node_modules"),
        &[("package.json", "{}"), ("session-notes.json", "")],
    );
    put(
        &at("google"),
        &[("creds.json", r#"{"type":"service_account"}"#)],
    );
    put(
        &at("quarantine"),
        &[(QUARANTINE_TAG, ""), ("pre-key-1.json", "{}"), CREDS],
    );
    put(&at("lost+found"), &[CREDS]);
    put(&at("stray"), &[]);
    std::os::unix::fs::symlink(at("company_1"), at("link")).unwrap();
    let mut discovery = discovery(&[root.path()]);
    assert_eq!(
        names(&discovery.survey()),
        ["company_1", "creds_gone", "empty_creds"]
    );

    std::fs::remove_file(at("company_1").join("creds.json")).unwrap();
    std::fs::rename(at("creds_gone"), at("renamed")).unwrap();
    std::fs::remove_dir_all(at("empty_creds")).unwrap();
    assert_eq!(
        names(&discovery.survey()),
        ["company_1", "renamed"],
        "known stays, renamed follows, gone goes"
    );
    std::fs::remove_dir(at("company_1")).unwrap();
    assert_eq!(names(&discovery.survey()), ["renamed"]);

    put(&at("company_2"), &[CREDS]);
    put(&at("company_2_old"), &[CREDS]);
    let globs = |glob: &str| {
        let mut set = GlobSetBuilder::new();
        set.add(globset::Glob::new(glob).unwrap());
        set.build().unwrap()
    };
    let source = SessionsPath {
        name: None,
        path: root.path().to_path_buf(),
    };
    let include = Some(globs("company_*"));
    let mut chosen = Discovery::new(vec![source.clone()], include.clone(), GlobSet::empty());
    assert_eq!(
        names(&chosen.survey()),
        ["company_2", "company_2_old"],
        "included by name"
    );
    let mut chosen = Discovery::new(vec![source.clone()], include, globs("*_old"));
    assert_eq!(names(&chosen.survey()), ["company_2"], "excluded by name");

    let mut stray = Discovery::new(vec![source], None, GlobSet::empty());
    for there in [true, false] {
        put(root.path(), if there { &[CREDS][..] } else { &[] });
        assert_eq!(
            names(&stray.survey()),
            ["company_2", "company_2_old", "renamed"],
            "stray creds.json"
        );
        let _ = std::fs::remove_file(root.path().join("creds.json"));
    }

    let named = SessionsPath {
        name: Some(SessionName::from_text("bot")),
        path: root.path().to_path_buf(),
    };
    let survey = Discovery::new(vec![named], None, GlobSet::empty()).survey();
    assert!(survey.found.is_empty(), "a root is no session");
    assert!(
        survey.skipped[0].message.contains("give it without `bot=`"),
        "{:?}",
        survey.skipped
    );
}

#[test]
fn one_folder_itself_and_names() {
    let root = tempfile::tempdir().unwrap();
    let a = root.path().join("a/auth_info_baileys");
    let b = root.path().join("b/auth_info_baileys");
    put(&a, &[CREDS]);
    put(&b, &[CREDS]);
    let mut twice = discovery(&[&a, &b]);
    let survey = twice.survey();
    assert_eq!(names(&survey), ["auth_info_baileys"]);
    assert!(
        survey.skipped[0].message.contains("--sessions.path=NAME="),
        "{:?}",
        survey.skipped
    );
    let named = SessionsPath::parse(OsStr::new(&format!("bot={}", b.display()))).unwrap();
    let plain = SessionsPath {
        name: None,
        path: a.clone(),
    };
    let mut both = Discovery::new(vec![plain, named], None, GlobSet::empty());
    assert_eq!(names(&both.survey()), ["auth_info_baileys", "bot"]);
    // The hint's own advice, where both roots are listed.
    let roots = [a.parent().unwrap(), b.parent().unwrap()];
    let mut sources: Vec<SessionsPath> = roots
        .iter()
        .map(|root| SessionsPath {
            name: None,
            path: root.to_path_buf(),
        })
        .collect();
    sources.push(SessionsPath {
        name: Some(SessionName::from_text("bot")),
        path: b.clone(),
    });
    let survey = Discovery::new(sources, None, GlobSet::empty()).survey();
    assert_eq!(names(&survey), ["auth_info_baileys", "bot"]);
    assert!(survey.skipped.is_empty(), "{:?}", survey.skipped);
    let mut overlap = discovery(&[&a, a.parent().unwrap()]);
    let survey = overlap.survey();
    assert!(
        survey.skipped.is_empty(),
        "one folder named twice is one session: {:?}",
        survey.skipped
    );
}

/// A canonical root, and a directory in it for each of these paths, each an auth folder.
fn root_with(folders: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for folder in folders {
        put(&root.join(folder), &[CREDS, ("pre-key-1.json", "{}")]);
    }
    (dir, root)
}

fn over(root: &Path, paths: &[&str]) -> Discovery {
    let paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
    discovery(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>())
}

fn globs(texts: &[&str]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        set.add(globset::Glob::new(text).unwrap());
    }
    set.build().unwrap()
}

#[test]
fn what_a_glob_leaves_open_is_the_name() {
    let (_dir, root) = root_with(&[
        "p1/auth_info_baileys",
        "p2/auth_info_baileys",
        "p2/company_1",
        "p2/company_1/auth_info_baileys",
        "deep/a/b/auth",
        "bots[1]",
    ]);
    std::fs::write(root.join("p3"), "a file").unwrap();
    put(&root.join("p4/auth_info_baileys"), &[("x", "")]);
    for (glob, names_of_it) in [
        ("*/auth_info_baileys", vec!["p1", "p2"]),
        ("p[2-9]/auth_*", vec!["p2"]),
        (
            "*/{auth_info_baileys,company_*}",
            vec!["p1", "p2", "p2-company_1", "p2-company_1-auth_info_baileys"],
        ),
        ("*/*/*/auth", vec!["deep-a-b"]),
        ("**/auth", vec!["deep-a-b"]),
        (
            "p*",
            vec!["p1", "p2", "p2-company_1", "p2-company_1-auth_info_baileys"],
        ),
        ("bots[1]", vec!["bots[1]"]),
    ] {
        let survey = over(&root, &[glob]).survey();
        assert_eq!(names(&survey), names_of_it, "{glob}");
        assert_eq!(survey.skipped, [], "{glob}");
    }
    // The directory that a glob begins with must be there.
    for (glob, reason) in [
        ("*/none", SkipReason::NothingMatched),
        ("gone/*/auth", SkipReason::SourceUnreadable),
    ] {
        let survey = over(&root, &[glob]).survey();
        assert_eq!(survey.skipped[0].reason, reason, "{glob}");
        // There may be a mount that is missing.
        assert!(!survey.is_complete(), "{glob}");
    }
    let survey = over(&root, &["*/auth_info_baileys", "none"]).survey();
    assert!(!survey.found.is_empty() && !survey.is_complete());
    assert!(over(&root, &["*/auth_info_baileys"]).survey().is_complete());
}

#[test]
fn two_levels_and_sub_bots() {
    let (_dir, root) = root_with(&[
        "srv/p1/auth_info_baileys",
        "srv/p2/auth",
        "srv/p2/backup",
        "srv/p3/one",
        "srv/p3/two",
        "srv/company_7",
        "srv/x/y/auth",
        "main",
        "main/5550001",
        "main/auth",
        "main/auth.bak",
        "main/5550001/.baileys_quarantine/run",
    ]);
    let mut srv = over(&root, &["srv"]).explaining();
    for _ in 0..2 {
        let survey = srv.survey();
        assert_eq!(
            names(&survey),
            ["company_7", "p1", "p2", "p3-one", "p3-two"]
        );
        assert_eq!(survey.skipped, []);
        let [copy, deep] = survey.passed_over.as_slice() else {
            panic!("{:?}", survey.passed_over);
        };
        let backup = root.join("srv/p2/backup");
        assert!(copy.contains(&format!("--sessions.path=NAME={}", backup.display())));
        let glob = root.join("srv/*/*/auth");
        assert!(deep.contains(&format!("--sessions.path={} ", glob.display())));
    }
    let survey = over(&root, &["main"]).survey();
    assert_eq!(names(&survey), ["5550001", "auth", "main"]);
    assert_eq!(survey.passed_over.len(), 1, "{:?}", survey.passed_over);
    let behind = over(&root, &["main/auth/../5550001/.."]).survey();
    assert_eq!(names(&behind), names(&survey), "a `..` is no name");
    let survey = over(&root, &["."]).survey();
    assert_eq!(
        names(&survey),
        ["main", "main-5550001", "main-auth", "srv-company_7"],
        "as in a directory of a root"
    );

    // What the sentences say to do, does it.
    let mut sources = vec![SessionsPath::parse(root.join("srv").as_os_str()).unwrap()];
    let backup = format!("spare={}", root.join("srv/p2/backup").display());
    sources.push(SessionsPath::parse(OsStr::new(&backup)).unwrap());
    sources.push(SessionsPath::parse(root.join("srv/*/*/auth").as_os_str()).unwrap());
    let survey = Discovery::new(sources, None, GlobSet::empty()).survey();
    assert_eq!(
        names(&survey),
        ["company_7", "p1", "p2", "p3-one", "p3-two", "spare", "x-y"]
    );
    assert_eq!(survey.passed_over, [""; 0]);
}

#[test]
fn a_reload_keeps_what_was_found() {
    let (_dir, root) = root_with(&["r2/bot", "r2/gone", "r2/out", "older"]);
    let sources = ["r1", "r2"];
    put(&root.join("r1"), &[]);
    let mut former = over(&root, &sources);
    former.survey();
    // An older folder of the name of one, one that loses its key files, one that becomes a link.
    std::fs::remove_dir_all(root.join("r2/bot")).unwrap();
    put(&root.join("r2/bot"), &[CREDS]);
    former.survey();
    std::fs::rename(root.join("older"), root.join("r1/bot")).unwrap();
    std::fs::remove_file(root.join("r2/gone").join(CREDS.0)).unwrap();
    std::fs::remove_file(root.join("r2/gone/pre-key-1.json")).unwrap();
    std::fs::remove_dir_all(root.join("r2/out")).unwrap();
    symlink(root.join("r1/bot"), root.join("r2/out")).unwrap();
    let mut new = over(&root, &sources);
    new.remember(&former);
    for discovery in [&mut former, &mut new] {
        let survey = discovery.survey();
        assert_eq!(names(&survey), ["bot", "gone", "out"]);
        assert_eq!(survey.found[0].place.path(), root.join("r2/bot"));
        assert_eq!(survey.found[2].place.path(), root.join("r2/out"));
    }
}

/// A bot removes its own folder at a logout, and makes it again two seconds later. Whether a look
/// comes in between is chance.
#[test]
fn a_kept_session_is_the_same_whether_or_not_a_look_met_the_gap() {
    let (_dir, root) = root_with(&["all/bot", "all/other", "alone"]);
    let sources = [root.join("all"), root.join("alone")];
    let mut round = BoundedBlocking::default().round();
    let mut shown = Vec::new();
    for meets_the_gap in [true, false] {
        for name in ["all/bot", "alone"] {
            put(&root.join(name), &[CREDS]);
        }
        let mut discovery = discovery(&[&sources[0], &sources[1]]);
        let mut look = |kept: &[&str]| {
            let is_kept = |session: &SessionName| kept.contains(&session.as_str());
            let survey = discovery.survey_keeping(&mut round, &is_kept);
            names(&survey).join(" ")
        };
        let running = ["bot", "alone"];
        assert_eq!(look(&running), "alone bot other");
        for name in ["all/bot", "alone"] {
            std::fs::remove_dir_all(root.join(name)).unwrap();
        }
        if meets_the_gap {
            assert_eq!(look(&running), "alone bot other", "twice");
            assert_eq!(look(&running), "alone bot other");
        }
        put(&root.join("all/bot"), &[]);
        put(&root.join("alone"), &[]);
        // The process has ended; the directory is there.
        shown.push([look(&running), look(&[])]);
        for name in ["all/bot", "alone"] {
            std::fs::remove_dir(root.join(name)).unwrap();
        }
        assert_eq!(look(&[]), "other", "retired");
        assert_eq!(look(&running), "other", "and forgotten");
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0], ["alone bot other", "alone bot other"]);
}

/// It is not kept beside a folder of its name, nor for a root that is gone.
#[test]
fn what_is_kept_stands_in_the_way_of_nothing() {
    let (_dir, root) = root_with(&["r1/bot", "r1/other", "r2/third"]);
    let mut discovery = over(&root, &["r1", "r2"]);
    let mut round = BoundedBlocking::default().round();
    let mut look = || discovery.survey_keeping(&mut round, &|_| true);
    look();
    std::fs::rename(root.join("r1/bot"), root.join("r2/bot")).unwrap();
    let survey = look();
    assert_eq!(names(&survey), ["bot", "other", "third"]);
    assert_eq!(survey.found[0].place.path(), root.join("r2/bot"));
    assert!(survey.skipped.is_empty(), "{:?}", survey.skipped);
    put(&root.join("r2/third"), &[(QUARANTINE_TAG, "")]);
    assert_eq!(names(&look()), ["bot", "other"], "left out for a reason");
    std::fs::rename(root.join("r2"), root.join("away")).unwrap();
    let survey = look();
    assert_eq!(names(&survey), ["other"]);
    assert_eq!(survey.skipped.len(), 1);
}

#[test]
fn a_directory_with_too_many_directories_leaves_the_others() {
    let (_dir, root) = root_with(&["srv/z/auth", "srv/zbot"]);
    for n in 0..20_000 {
        std::fs::create_dir_all(root.join(format!("srv/a/{n}"))).unwrap();
    }
    let survey = over(&root, &["srv"]).survey();
    assert_eq!(names(&survey), ["z", "zbot"]);
    assert_eq!(survey.skipped[0].reason, SkipReason::TooManyDirectories);
}

#[test]
fn key_files_beside_an_auth_folder_do_not_rename_it() {
    let (_dir, root) = root_with(&["srv/p2/auth"]);
    let mut running = over(&root, &["srv"]);
    assert_eq!(names(&running.survey()), ["p2"]);
    put(&root.join("srv/p2"), &[CREDS]);
    for discovery in [&mut running, &mut over(&root, &["srv"])] {
        let survey = discovery.survey();
        assert_eq!(names(&survey), ["p2"]);
        assert_eq!(survey.found[0].place.path(), root.join("srv/p2/auth"));
        assert_eq!(survey.skipped, []);
    }
    put(&root.join("srv/p2"), &[("pre-key-1.json", "{}")]);
    for _ in 0..2 {
        let survey = running.survey();
        assert_eq!(names(&survey), ["p2"]);
        assert_eq!(survey.found[0].place.path(), root.join("srv/p2/auth"));
        assert!(survey.duplicate("p2").is_some());
    }
    assert_eq!(
        names(&over(&root, &["srv"]).survey()),
        ["p2", "p2-auth"],
        "after a restart"
    );
}

#[test]
fn include_and_exclude_hold_for_both_levels() {
    let (_dir, root) = root_with(&["p1/auth", "p2/auth", "p2/company_1", "company_2"]);
    let with = |include: Option<&str>, exclude: &[&str]| {
        let source = SessionsPath::parse(root.as_os_str()).unwrap();
        let include = include.map(|glob| globs(&[glob]));
        let mut discovery = Discovery::new(vec![source], include, globs(exclude)).explaining();
        let survey = discovery.survey();
        let names = names(&survey).join(" ");
        (names, survey.filtered.len())
    };
    assert_eq!(with(None, &[]), ("company_2 p1 p2 p2-company_1".into(), 0));
    assert_eq!(with(Some("company_*"), &[]).0, "company_2 p2-company_1");
    assert_eq!(with(Some("p1"), &[]), ("p1".into(), 3));
    assert_eq!(with(None, &["p2"]).0, "company_2 p1");
    assert_eq!(
        with(None, &["p2-company_1", "company_2"]),
        ("p1 p2".into(), 2)
    );
}

#[test]
fn a_link_counts_as_its_canonical_path() {
    let (_dir, root) = root_with(&["srv/p1/auth", "srv/p2/auth", "bots/real", "bots/p3"]);
    let at = |path: &str| root.join(path);
    symlink(at("srv/p1/auth"), at("bots/p1")).unwrap();
    symlink("../srv/p2", at("bots/p2")).unwrap();
    symlink("real", at("bots/another")).unwrap();
    symlink(".", at("bots/loop")).unwrap();
    symlink("self", at("bots/self")).unwrap();
    symlink("gone", at("bots/dangling")).unwrap();
    let mut bots = over(&root, &["bots"]);
    let survey = bots.survey();
    assert_eq!(names(&survey), ["p1", "p2", "p3", "real"]);
    let place = |name: &str, survey: &Survey| {
        let mut found = survey.found.iter();
        let found = found.find(|found| found.session.as_str() == name).unwrap();
        found.place.clone()
    };
    assert_eq!(place("p1", &survey).path(), at("srv/p1/auth"));
    assert_eq!(place("p2", &survey).path(), at("srv/p2/auth"));
    for name in ["p1", "p2", "p3", "real"] {
        place(name, &survey).open().unwrap();
    }

    // Both roots, a link as a root, and a named link: one path is one session.
    symlink(at("bots"), at("link")).unwrap();
    assert_eq!(names(&over(&root, &["link"]).survey()), names(&survey));
    let mut sources: Vec<SessionsPath> = ["srv", "link", "bots"]
        .iter()
        .map(|path| SessionsPath::parse(at(path).as_os_str()).unwrap())
        .collect();
    let named = format!("shop={}", at("bots/p1").display());
    sources.push(SessionsPath::parse(OsStr::new(&named)).unwrap());
    let mut all = Discovery::new(sources, None, GlobSet::empty());
    let survey = all.survey();
    assert_eq!(names(&survey), ["p2", "p3", "real", "shop"]);
    assert_eq!(survey.skipped, []);

    // A link that leads elsewhere now is followed; a directory that became one is not.
    std::fs::remove_file(at("bots/p1")).unwrap();
    symlink(at("srv/p2/auth"), at("bots/p1")).unwrap();
    std::fs::rename(at("bots/p3"), at("away")).unwrap();
    symlink(at("srv/p1/auth"), at("bots/p3")).unwrap();
    for _ in 0..2 {
        let survey = bots.survey();
        assert_eq!(names(&survey), ["p2", "p3", "real"], "{survey:?}");
        let opened = place("p3", &survey).open().unwrap_err();
        assert_eq!(
            opened.raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
        assert!(survey.passed_over[0].contains("before a restart"));
    }
    assert_eq!(
        names(&over(&root, &["bots"]).survey()),
        ["p1", "p3", "real"]
    );
}

#[test]
fn a_link_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_dir, root) = root_with(&["srv/p1/auth", "srv/p2/auth", "bots/real"]);
    put(&root.join("srv/other"), &[("x", "")]);
    let at = |path: &str| root.join(path);
    for (target, link) in [
        ("srv/p1/auth", "bots/p1"),
        ("srv/p2", "bots/p2"),
        ("srv/other", "bots/other"),
        ("bots", "link"),
    ] {
        symlink(at(target), at(link)).unwrap();
        std::os::unix::fs::lchown(at(link), Some(65_534), None).unwrap();
    }
    let survey = over(&root, &["bots"]).survey();
    assert_eq!(names(&survey), ["real"]);
    let said: Vec<_> = survey
        .skipped
        .iter()
        .map(|skipped| &skipped.message)
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    let canonical = format!("--sessions.path=NAME={}", at("srv/p1/auth").display());
    assert!(said[0].contains(&canonical), "{said:?}");
    for path in ["link", "link/real", "bots/p*"] {
        let survey = over(&root, &[path]).survey();
        assert_eq!(names(&survey), [""; 0], "{path}");
        assert_eq!(survey.skipped[0].reason, SkipReason::LinkRefused, "{path}");
    }
    let named = format!("shop={}", at("bots/p1").display());
    let named = || SessionsPath::parse(OsStr::new(&named)).unwrap();
    let survey = Discovery::new(vec![named()], None, GlobSet::empty()).survey();
    assert_eq!(survey.skipped[0].reason, SkipReason::LinkRefused);
    // The owner of the folder may link to it.
    std::os::unix::fs::chown(at("srv/p1/auth"), Some(65_534), None).unwrap();
    let survey = Discovery::new(vec![named()], None, GlobSet::empty()).survey();
    assert_eq!(names(&survey), ["shop"]);
}

#[test]
fn of_two_of_one_name_the_one_known_before_is_kept() {
    let (_dir, root) = root_with(&["b/bot"]);
    std::fs::create_dir(root.join("a")).unwrap();
    let place = |survey: &Survey| survey.found[0].place.parent.file_name().unwrap().to_owned();
    let mut both = over(&root, &["a", "b"]);
    assert_eq!(place(&both.survey()), "b");
    put(&root.join("a/bot"), &[CREDS]);
    for _ in 0..2 {
        let survey = both.survey();
        assert_eq!(names(&survey), ["bot"]);
        assert_eq!(
            place(&survey),
            "b",
            "not the first, but the one known before"
        );
        let said = survey.duplicate("bot").unwrap();
        assert!(said.contains("--sessions.path=NAME="), "{said}");
        assert_eq!(survey.duplicate("bo"), None);
    }
    std::fs::remove_dir_all(root.join("b/bot")).unwrap();
    let survey = both.survey();
    assert_eq!(
        (place(&survey), survey.duplicate("bot")),
        ("a".into(), None)
    );
}

fn candidate(session: &str, path: &str, is_named: bool, is_link: bool) -> Candidate {
    let path = Path::new(path);
    Candidate {
        found: Found {
            session: SessionName::from_text(session),
            place: FolderPath {
                parent: path.parent().unwrap().to_owned(),
                name: path.file_name().unwrap().to_owned(),
            },
        },
        route: path.to_owned(),
        is_link,
        links: usize::from(is_link),
        is_named,
    }
}

#[test]
fn the_older_of_two_is_taken_for_the_one_known_before() {
    let two = vec![
        candidate("bot", "/a/bot", false, false),
        candidate("bot", "/b/bot", false, false),
    ];
    let place = |found: &[Found]| found[0].place.path();
    let seconds = |place: &FolderPath| match place.parent.to_str() {
        Some("/a") => Some(Timestamp::from_secs(20)),
        _ => Some(Timestamp::from_secs(10)),
    };
    let (found, skipped) = settle(two.clone(), &BTreeMap::new(), seconds);
    assert_eq!((place(&found), skipped.len()), ("/b/bot".into(), 1));
    let (found, _) = settle(two.clone(), &BTreeMap::new(), |_| None);
    assert_eq!(place(&found), Path::new("/a/bot"));
    let mut named = two;
    named[0].is_named = true;
    let (found, _) = settle(named, &BTreeMap::new(), seconds);
    assert_eq!(place(&found), Path::new("/a/bot"), "the operator said so");
}

#[test]
fn one_folder_with_two_names_has_the_first() {
    let two = vec![
        candidate("b", "/x/bot", true, false),
        candidate("a", "/x/bot", true, false),
        candidate("bot", "/x/bot", false, false),
    ];
    let (found, skipped) = settle(two, &BTreeMap::new(), |_| None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].session.as_str(), "b");
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert!(duplicate(&skipped, "a").is_some());
}

proptest! {
    /// Small names and few paths, so that they meet.
    #[test]
    fn each_folder_has_one_name_and_each_name_one_folder(
        all in prop::collection::vec((0..4u8, 0..4u8, any::<bool>(), any::<bool>()), 0..10),
        later in prop::collection::vec((0..4u8, 0..4u8, any::<bool>()), 0..6),
    ) {
        let build = |(name, path, is_named, is_link): (u8, u8, bool, bool)| {
            candidate(&format!("s{name}"), &format!("/r/{path}"), is_named, is_link)
        };
        let first: Vec<Candidate> = all.into_iter().map(build).collect();
        let (found, skipped) = settle(first.clone(), &BTreeMap::new(), |_| None);
        let names: BTreeSet<_> = found.iter().map(|found| found.session.clone()).collect();
        let places: BTreeSet<_> = found.iter().map(|found| found.place.clone()).collect();
        prop_assert_eq!((names.len(), places.len()), (found.len(), found.len()));
        for one in &first {
            let place = &one.found.place;
            let told = duplicate(&skipped, one.found.session.as_str()).is_some();
            prop_assert!(places.contains(place) || told || first.iter().any(|other| {
                other.found.place == *place && duplicate(&skipped, other.found.session.as_str()).is_some()
            }), "no folder is left out without a word");
        }
        // What was not named by the operator comes later: nothing loses its folder.
        let held: BTreeMap<_, _> = found
            .iter()
            .map(|found| (found.session.clone(), found.place.clone()))
            .collect();
        let later = later.into_iter().map(|(name, path, link)| build((name, path, false, link)));
        let more = later.chain(first).collect();
        let (after, _) = settle(more, &held, |_| None);
        for before in &found {
            prop_assert!(after.contains(before), "{:?} lost its folder", before);
        }
    }
}
