use std::os::unix::fs::symlink;

use super::*;

#[test]
fn each_obstacle_says_what_it_is_and_what_to_do() {
    let told: std::collections::BTreeSet<String> = RestartObstacle::ALL
        .iter()
        .map(|obstacle| obstacle.to_string())
        .collect();
    assert_eq!(told.len(), RestartObstacle::ALL.len());
    assert!(RestartObstacle::ALL.iter().all(|one| one.fix().len() > 20));
}

#[test]
fn a_unit_file_that_is_gone_or_masks() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("whole"), "[Service]\n").unwrap();
    fs::write(at("empty"), "").unwrap();
    symlink("/dev/null", at("masked")).unwrap();
    for (name, is) in [
        ("whole", UnitFile::Other),
        ("empty", UnitFile::Masks),
        ("masked", UnitFile::Masks),
        ("none", UnitFile::Missing),
    ] {
        assert_eq!(UnitFile::at(&at(name)), is, "{name}");
    }
}

/// A link leads to where it leads for a process with that root.
#[test]
fn a_path_is_looked_up_under_the_root_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("srv/releases/2")).unwrap();
    fs::write(root.join("srv/releases/2/bot.js"), "").unwrap();
    symlink("/srv/releases/2", root.join("srv/current")).unwrap();
    symlink("/srv/releases/1", root.join("srv/pruned")).unwrap();
    for (path, missing) in [
        ("/srv/releases/2", false),
        ("/srv/releases/2/bot.js", false),
        ("/srv/current/bot.js", false),
        ("/srv/releases/1/bot.js", true),
        ("/srv/pruned", true),
        ("/srv/releases/2/bot.js/x", true),
    ] {
        assert_eq!(is_missing_under(&root, Path::new(path)), missing, "{path}");
    }
    let unknown = dir.path().join("none");
    assert!(!is_missing_under(&unknown, Path::new("/srv")));
}
