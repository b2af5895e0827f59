use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

fn find(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<(PathBuf, &'static str)> {
    let variable = |name: &str| {
        let value = variables.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| OsString::from(value))
    };
    ConfigSource::find(flag.map(Path::new), variable).map(|found| (found.path, found.named_by))
}

/// What stands in /etc on this machine is the last resort.
fn of_the_machine() -> Option<(PathBuf, &'static str)> {
    let path = PathBuf::from(OF_THE_MACHINE);
    path.exists().then_some((path, ""))
}

#[test]
fn the_first_that_is_named_or_there_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap().to_owned();
    let in_home = dir.path().join(".config/baileys/config.yml");
    let xdg = dir.path().join("xdg");
    let in_xdg = xdg.join("baileys/config.yml");
    let xdg = xdg.to_str().unwrap();
    let all = [
        (VARIABLE, "/named.yml"),
        ("XDG_CONFIG_HOME", xdg),
        ("HOME", home.as_str()),
    ];
    for file in [&in_home, &in_xdg] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    // Named: whether it is there or not.
    let flag = Some((PathBuf::from("/flag.yml"), "--config.file "));
    assert_eq!(find(Some("/flag.yml"), &all), flag);
    assert_eq!(
        find(None, &all),
        Some((PathBuf::from("/named.yml"), "BAILEYS_CONFIG "))
    );
    // Found: only where it is there.
    assert_eq!(find(None, &all[1..]), of_the_machine());
    fs::write(&in_home, "").unwrap();
    assert_eq!(find(None, &all[1..]), of_the_machine(), "not both");
    assert_eq!(find(None, &all[2..]), Some((in_home, "")));
    fs::write(&in_xdg, "").unwrap();
    assert_eq!(find(None, &all[1..]), Some((in_xdg, "")));
    // None at all.
    assert_eq!(find(Some("/dev/null"), &all), None);
    assert_eq!(find(None, &[(VARIABLE, "/dev/null"), all[1]]), None);
    // An empty variable is none, and a relative directory does not count.
    let odd = [(VARIABLE, ""), ("XDG_CONFIG_HOME", "xdg")];
    assert_eq!(find(None, &odd), of_the_machine());
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let path = path.to_owned();
    let named_by = "--config.file ";
    ConfigSource { path, named_by }.read()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("etc");
    fs::create_dir(&inner).unwrap();
    let file = inner.join("config.yml");
    fs::write(&file, "tiers: {}\n").unwrap();
    for mode in [0o400, 0o600, 0o640, 0o644, 0o444] {
        chmod(&file, mode);
        assert_eq!(read(&file).unwrap(), "tiers: {}\n", "{mode:o}");
    }
    for (mode, says) in [
        (0o666, "written by everybody"),
        (0o602, "written by everybody"),
        (0o664, "written by its group"),
        (0o620, "written by its group"),
    ] {
        chmod(&file, mode);
        let error = read(&file).unwrap_err();
        assert!(error.message.contains(says), "{mode:o}: {error}");
        let fix = format!("fix it with: chmod go-w {}", file.display());
        assert_eq!(error.hint, Some(fix));
    }
    chmod(&file, 0o644);
    // One who may write its directory may replace it; also behind a link.
    let link = dir.path().join("link.yml");
    symlink(&file, &link).unwrap();
    for mode in [0o777, 0o775] {
        chmod(&inner, mode);
        for path in [&file, &link] {
            let error = read(path).unwrap_err();
            let says = format!("its directory {} can be written by", inner.display());
            assert!(error.message.contains(&says), "{error}");
        }
    }
    chmod(&inner, 0o1777);
    read(&file).unwrap();
    read(&link).unwrap();
    chmod(&inner, 0o755);
    chmod(dir.path(), 0o777);
    assert!(read(&file).is_err(), "nor any above it");
}

/// One who may replace a link chooses the commands.
#[test]
fn each_link_on_the_way_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let [open, safe, far] = ["open", "safe", "far"].map(|name| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    let file = safe.join("config.yml");
    fs::write(&file, "tiers: {}\n").unwrap();
    // To a file, and to a directory; absolute and relative.
    symlink(&file, open.join("mid.yml")).unwrap();
    symlink("../safe", open.join("dir")).unwrap();
    symlink("../open/mid.yml", far.join("link.yml")).unwrap();
    symlink(open.join("dir"), far.join("dir")).unwrap();
    for path in [far.join("link.yml"), far.join("dir/config.yml")] {
        chmod(&open, 0o755);
        assert_eq!(read(&path).unwrap(), "tiers: {}\n");
        chmod(&open, 0o777);
        let error = read(&path).unwrap_err();
        let says = format!("its directory {} can be written by", open.display());
        assert!(error.message.contains(&says), "{error}");
        chmod(&open, 0o1777);
        assert_eq!(read(&path).unwrap(), "tiers: {}\n");
    }
    // Only root can give a link to another user.
    if rustix::process::geteuid().is_root() {
        let link = open.join("mid.yml");
        std::os::unix::fs::lchown(&link, Some(4711), None).unwrap();
        let error = read(&far.join("link.yml")).unwrap_err();
        // With fs.protected_symlinks the kernel refuses such a link before it is read.
        let refused = ["belongs to another user", "Permission denied"];
        let is_refused = refused.iter().any(|says| error.message.contains(says));
        assert!(is_refused, "{error}");
    }
    let round = far.join("round");
    symlink(&round, &round).unwrap();
    assert!(read(&round).is_err());
}

#[test]
fn another_user_s_file_is_refused() {
    assert_eq!(exposure(false, 0o644, 0, 1000), None);
    assert_eq!(exposure(false, 0o644, 1000, 1000), None);
    for user in [0, 1001] {
        assert!(exposure(false, 0o644, 1000, user).is_some());
        assert!(exposure(true, 0o1755, 1000, user).is_some());
    }
    assert_eq!(
        fix(Path::new("/a b"), 0o666, 7, 8),
        "sudo chown 8 '/a b' && chmod go-w '/a b'"
    );
}

#[test]
fn what_is_no_file_of_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(error.message.contains("not a file"), "{error}");
    let file = dir.path().join("config.yml");
    let error = read(&file).unwrap_err();
    let says = format!("--config.file {}: No such file", file.display());
    assert!(error.message.starts_with(&says), "{error}");
    fs::write(&file, b"\xff").unwrap();
    assert!(read(&file).is_err());
}
