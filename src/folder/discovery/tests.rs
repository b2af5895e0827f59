#![allow(clippy::unwrap_used)]
use super::*;
use globset::GlobSetBuilder;

fn discovery(sources: &[&Path]) -> Discovery {
    let sources = sources
        .iter()
        .map(|path| Source {
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
fn sources_are_parsed() {
    let parse = |text: &str| Source::parse(OsStr::new(text)).map(|s| (s.name.map(|n| n.0), s.path));
    assert_eq!(parse("/a/b").unwrap(), (None, "/a/b".into()));
    assert_eq!(
        parse("bot=/a/b").unwrap(),
        (Some("bot".into()), "/a/b".into())
    );
    assert_eq!(parse("/a=b/c").unwrap(), (None, "/a=b/c".into()));
    assert_eq!(parse("./a=b").unwrap(), (None, "./a=b".into()));
    assert!(parse("=x").is_err() && parse("").is_err() && parse("bot=").is_err());
}

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
    let source = Source {
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

    let named = Source {
        name: Some(SessionName("bot".into())),
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
    let named = Source::parse(OsStr::new(&format!("bot={}", b.display()))).unwrap();
    let plain = Source {
        name: None,
        path: a.clone(),
    };
    let mut both = Discovery::new(vec![plain, named], None, GlobSet::empty());
    assert_eq!(names(&both.survey()), ["auth_info_baileys", "bot"]);
    // The hint's own advice, where both roots are listed.
    let roots = [a.parent().unwrap(), b.parent().unwrap()];
    let mut sources: Vec<Source> = roots
        .iter()
        .map(|root| Source {
            name: None,
            path: root.to_path_buf(),
        })
        .collect();
    sources.push(Source {
        name: Some(SessionName("bot".into())),
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

#[test]
fn names_are_printable() {
    assert_eq!(
        SessionName::from_dir(OsStr::from_bytes(b"a\xff\n\x1b[31m")).as_str(),
        "a\\xff\\n\\u{1b}[31m"
    );
}
