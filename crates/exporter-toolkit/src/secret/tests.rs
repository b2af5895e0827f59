use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn only_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a secret");
    std::fs::write(&path, "TOPSECRET").unwrap();
    // A secret mounted by Kubernetes is a link to a link.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for (mode, says) in [
        (0o600, None),
        (0o400, None),
        (0o700, None),
        (0o640, Some("can be read by its group")),
        (0o660, Some("can be written by its group")),
        (0o620, Some("can be written by its group")),
        (0o644, Some("can be read by everybody")),
        (0o604, Some("can be read by everybody")),
        (0o602, Some("can be written by everybody")),
    ] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for path in [&path, &link] {
            match (read(path, 100), says) {
                (Ok(bytes), None) => assert_eq!(bytes, b"TOPSECRET"),
                (Err(error), Some(says)) => {
                    let quoted = shlex::try_quote(path.to_str().unwrap()).unwrap();
                    let shown = error.to_string();
                    assert_eq!(shown, format!("{says}; fix it with: chmod 0600 {quoted}"));
                    // The command does fix it.
                    let command = shown.split_once(": ").unwrap().1;
                    let mut shell = std::process::Command::new("sh");
                    assert!(shell.args(["-c", command]).status().unwrap().success());
                    assert!(read(path, 100).is_ok());
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
                }
                (got, says) => panic!("{mode:o}: {got:?}, expected {says:?}"),
            }
        }
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        read(&path, 8).unwrap_err().to_string(),
        "is longer than 8 bytes"
    );
    assert_eq!(
        read(&dir.path().join("none"), 8).unwrap_err().to_string(),
        "does not exist"
    );
    assert!(
        read(dir.path(), 8)
            .unwrap_err()
            .to_string()
            .contains("not a file")
    );
}

#[test]
fn another_owner_has_to_give_it_away() {
    assert_eq!(
        fix_command(Path::new("/a b"), 0, 998),
        "sudo chown 998 '/a b' && sudo chmod 0600 '/a b'"
    );
    assert_eq!(fix_command(Path::new("/a"), 998, 998), "chmod 0600 /a");
    assert_eq!(fix_command(Path::new("/a"), 998, 0), "chmod 0600 /a");
}

#[test]
fn what_systemd_passes_may_be_its_groups() {
    assert_eq!(exposure(0o440, true), None);
    assert_eq!(exposure(0o400, true), None);
    assert_eq!(exposure(0o440, false), Some("can be read by its group"));
    assert_eq!(exposure(0o460, true), Some("can be written by its group"));
    assert_eq!(exposure(0o444, true), Some("can be read by everybody"));
    let dir = tempfile::tempdir().unwrap();
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    for name in ["credentials/token", "token"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    std::os::unix::fs::symlink(dir.path().join("token"), credentials.join("out")).unwrap();
    assert!(is_inside(&credentials.join("token"), &credentials));
    assert!(!is_inside(&credentials.join("out"), &credentials));
    assert!(!is_inside(&credentials.join("../token"), &credentials));
    assert!(!is_inside(&dir.path().join("token"), &credentials));
    assert!(!is_inside(&dir.path().join("token"), Path::new("/")));
}

#[test]
fn credentials_are_found_by_name() {
    let dir = || Some(PathBuf::from("/run/credentials/x"));
    let at = |path: &str| locate_in(Path::new(path), dir());
    assert_eq!(at("/etc/token").unwrap(), Path::new("/etc/token"));
    assert_eq!(
        at("credential:token").unwrap(),
        Path::new("/run/credentials/x/token")
    );
    for path in [
        "credential:",
        "credential:..",
        "credential:a/b",
        "credential:../a",
        "credential:/a",
    ] {
        assert!(at(path).unwrap_err().contains("without a slash"), "{path}");
    }
    let error = locate_in(Path::new("credential:token"), None).unwrap_err();
    assert!(
        error.contains("LoadCredential=") && error.contains("$CREDENTIALS_DIRECTORY"),
        "{error}"
    );
}

#[test]
fn yaml_errors_tell_no_value() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Shape {
        #[serde(default)]
        number: u32,
        #[serde(default)]
        flag: bool,
        #[serde(default)]
        list: Vec<String>,
    }
    for yaml in [
        "number: TOPSECRET",
        "number: 'TOP\", SECRET'",
        "flag: 77777",
        "list: 77777",
        "list: TOPSECRET",
        "list: 777.77",
        "number: true",
        "number: -77777",
    ] {
        let error = serde_saphyr::from_str::<Shape>(&format!("\n{yaml}")).unwrap_err();
        let told = yaml_error(&error);
        assert!(told.contains("line 2"), "{told}");
        for part in ["SECRET", "777", "true"] {
            assert!(!told.contains(part), "{yaml}: {told}");
        }
    }
    let error = serde_saphyr::from_str::<Shape>("number: 1\nnumbr: 1").unwrap_err();
    let told = yaml_error(&error);
    assert!(
        told.contains("`numbr`") && told.contains("line 2"),
        "{told}"
    );
}
