use super::*;
use std::os::unix::fs::DirBuilderExt;

fn me(uid: u32) -> Me {
    Me {
        uid,
        groups: vec![uid, 1300],
    }
}

fn sound() -> FolderFacts {
    FolderFacts {
        path: "/bots/a b".into(),
        uid: 1000,
        mode: 0o40700,
        closed: None,
        immutable: false,
        read_only: false,
        filesystem: 0xEF53,
        free_bytes: 1 << 30,
        free_inodes: Some(100_000),
        unreadable: 0,
        foreign: 0,
        creds_owner: Some((1000, 1300)),
        quarantine: Quarantine::Missing,
    }
}

fn checks(facts: &FolderFacts, me: Me) -> Vec<(&'static str, Weight)> {
    judge(facts, &me, false)
        .into_iter()
        .map(|finding| (finding.check, finding.weight))
        .collect()
}

#[test]
fn each_fact_has_its_finding_and_a_sound_folder_none() {
    use Weight::{Problem, Warning};
    assert_eq!(checks(&sound(), me(1000)), []);
    let tagged = |uid, mode, writable| Quarantine::Directory {
        uid,
        mode,
        writable,
        ours: true,
    };
    assert_eq!(
        checks(
            &FolderFacts {
                quarantine: tagged(1000, 0o700, true),
                ..sound()
            },
            me(1000)
        ),
        []
    );
    let odd = Quarantine::Directory {
        uid: 1000,
        mode: 0o700,
        writable: true,
        ours: false,
    };
    let cases = [
        (
            FolderFacts {
                closed: Some(Errno::ACCESS),
                ..sound()
            },
            "rename",
            Problem,
        ),
        (
            FolderFacts {
                read_only: true,
                closed: Some(Errno::ROFS),
                ..sound()
            },
            "read_only",
            Problem,
        ),
        (
            FolderFacts {
                immutable: true,
                ..sound()
            },
            "immutable",
            Problem,
        ),
        (
            FolderFacts {
                filesystem: 0x6969,
                ..sound()
            },
            "filesystem",
            Problem,
        ),
        (
            FolderFacts {
                filesystem: 0x6573_5546,
                ..sound()
            },
            "filesystem",
            Warning,
        ),
        (
            FolderFacts {
                unreadable: 1,
                ..sound()
            },
            "read",
            Problem,
        ),
        (
            FolderFacts {
                foreign: 1,
                ..sound()
            },
            "foreign_files",
            Warning,
        ),
        (
            FolderFacts {
                creds_owner: Some((1001, 1300)),
                ..sound()
            },
            "restore",
            Warning,
        ),
        (
            FolderFacts {
                free_bytes: 4096,
                ..sound()
            },
            "space",
            Warning,
        ),
        (
            FolderFacts {
                free_inodes: Some(3),
                ..sound()
            },
            "space",
            Warning,
        ),
        (
            FolderFacts {
                quarantine: Quarantine::OtherMount,
                ..sound()
            },
            "quarantine_mount",
            Problem,
        ),
        (
            FolderFacts {
                quarantine: Quarantine::Closed("x".into()),
                ..sound()
            },
            "quarantine",
            Problem,
        ),
        (
            FolderFacts {
                quarantine: odd,
                ..sound()
            },
            "quarantine",
            Problem,
        ),
        (
            FolderFacts {
                quarantine: tagged(0, 0o700, false),
                ..sound()
            },
            "quarantine",
            Problem,
        ),
        (
            FolderFacts {
                quarantine: tagged(0, 0o700, true),
                ..sound()
            },
            "quarantine_owner",
            Warning,
        ),
        (
            FolderFacts {
                quarantine: tagged(1000, 0o755, true),
                ..sound()
            },
            "quarantine_mode",
            Warning,
        ),
        (
            FolderFacts {
                uid: 1001,
                ..sound()
            },
            "quarantine_owner",
            Warning,
        ),
    ];
    for (facts, check, weight) in cases {
        let found = judge(&facts, &me(1000), false);
        assert_eq!(checks(&facts, me(1000)), [(check, weight)], "{facts:?}");
        assert!(!found[0].fix.is_empty());
        assert!(
            !found[0].message.contains("/bots"),
            "a message covers many folders"
        );
    }
    let theirs = FolderFacts {
        creds_owner: Some((1001, 1300)),
        ..sound()
    };
    // Where an emergency may stop the bot, its creds.json must be one that can be put back.
    let other_group = FolderFacts {
        creds_owner: Some((1000, 1301)),
        ..sound()
    };
    for facts in [&theirs, &other_group] {
        let found = judge(facts, &me(1000), true);
        let found: Vec<_> = found.iter().map(|f| (f.check, f.weight)).collect();
        assert_eq!(found, [("restore", Problem)]);
        assert_eq!(checks(facts, me(1000)), [("restore", Warning)]);
    }
    assert_eq!(checks(&theirs, me(0)), [], "root may chown to any user");
    assert_eq!(
        checks(
            &FolderFacts {
                creds_owner: None,
                ..sound()
            },
            me(1000)
        ),
        []
    );
    let quarantine = tagged(1001, 0o700, true);
    let sticky = FolderFacts {
        mode: 0o41777,
        uid: 1001,
        creds_owner: None,
        quarantine,
        ..sound()
    };
    assert_eq!(checks(&sticky, me(1000)), [("sticky", Problem)]);
    assert_eq!(checks(&sticky, me(1001)), [], "the owner may");
    assert_eq!(checks(&sticky, me(0)), [], "root may");
    assert_eq!(
        checks(
            &FolderFacts {
                free_inodes: None,
                ..sound()
            },
            me(1000)
        ),
        [],
        "btrfs counts none"
    );
    let fix = &judge(
        &FolderFacts {
            closed: Some(Errno::ACCESS),
            ..sound()
        },
        &me(1000),
        false,
    )[0]
    .fix;
    assert_eq!(
        fix, "chmod u+rwx '/bots/a b'",
        "a command that can be pasted"
    );
}

#[test]
fn a_credential_of_the_unit_is_no_problem_in_a_shell() {
    let found = |path: &str| token(Path::new(path)).map(|finding| (finding.check, finding.weight));
    assert_eq!(
        found("credential:webhook"),
        Some(("token", Weight::Warning))
    );
    assert_eq!(found("credential:a/b"), Some(("token", Weight::Problem)));
    assert_eq!(found("/nowhere/token"), Some(("token", Weight::Problem)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "x").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(token(&path).map(|finding| finding.check), None);
}

#[test]
fn one_line_stands_for_many_sessions() {
    let finding = |check| PermissionFinding {
        check,
        weight: Weight::Problem,
        message: "m".into(),
        fix: "x".into(),
    };
    let warning = PermissionFinding {
        weight: Weight::Warning,
        ..finding("a")
    };
    let mut all = vec![(None, warning)];
    all.extend((0..500).map(|n| (Some(format!("s{n}")), finding("rename"))));
    let groups = grouped(all);
    let subjects: Vec<String> = groups.iter().map(FindingGroup::subject).collect();
    assert_eq!(subjects, ["s0, s1, s2 and 497 more", "this program"]);
}

#[test]
fn looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("bot");
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .unwrap();
    std::fs::write(folder.join("creds.json"), "{}").unwrap();
    let seen = || {
        let about = std::fs::metadata(&folder).unwrap();
        (
            about.mtime_nsec(),
            about.ctime_nsec(),
            about.ctime(),
            std::fs::read_dir(&folder).unwrap().count(),
        )
    };
    let before = seen();
    let place = FolderPath {
        parent: dir.path().to_owned(),
        name: "bot".into(),
    };
    let facts = look(&place, true).unwrap();
    assert_eq!(judge(&facts, &Me::now(), true), []);
    assert_eq!(seen(), before);
    let gone = FolderPath {
        parent: dir.path().to_owned(),
        name: "gone".into(),
    };
    assert!(look(&gone, true).is_err());
}

#[test]
fn a_configured_path_that_cannot_be_used_is_a_problem() {
    use crate::folder::Discovery;
    use crate::folder::discovery::SessionsPath;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let found = |name: &str| {
        let path = SessionsPath::parse(dir.path().join(name).as_os_str()).unwrap();
        let survey = Discovery::new(vec![path], None, globset::GlobSet::empty()).survey();
        paths(&survey.skipped)
    };
    for name in ["missing", "file"] {
        let findings = found(name);
        let [finding] = findings.as_slice() else {
            panic!("{name}: {findings:?}");
        };
        assert_eq!((finding.check, finding.weight), ("path", Weight::Problem));
        let path = dir.path().join(name).display().to_string();
        assert!(finding.message.contains(&path), "{finding:?}");
        assert!(finding.message.contains("no such directory"), "{finding:?}");
        assert!(finding.fix.contains("sessions.paths"), "{finding:?}");
    }
    // A host that has no bot yet.
    for name in ["empty", "*/auth"] {
        assert_eq!(found(name), [], "{name}");
    }
}
