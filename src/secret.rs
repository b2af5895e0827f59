//! Files that hold a secret: a token, a key, password hashes. Knows nobody else here.
//!
//! What its group or everybody may read or write is not used. The error holds the command
//! that mends it and never a byte of what is inside.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Set by systemd for a service with `LoadCredential=` and the like.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// `credential:NAME` is the file NAME in that directory.
const PREFIX: &str = "credential:";

/// Why a secret file is not used. Names the file only in the command that mends it, because
/// who mistakes a path for the secret itself finds it in no error then.
#[derive(Debug)]
pub enum SecretError {
    /// It cannot be opened or read.
    Io(io::Error),
    /// More people than its owner may read or write it.
    Exposed {
        /// What is wrong with it.
        what: &'static str,
        /// The command that puts it right.
        mend: String,
    },
    /// It is longer than this many bytes.
    TooLong(u64),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                f.write_str("does not exist")
            }
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Exposed { what, mend } => write!(f, "{what}; mend it with: {mend}"),
            Self::TooLong(limit) if limit % 1024 == 0 => {
                write!(f, "is longer than {} KiB", limit / 1024)
            }
            Self::TooLong(limit) => write!(f, "is longer than {limit} bytes"),
        }
    }
}

/// Opens a file to be read; symbolic links are followed. A named pipe keeps nobody; what is
/// not a file is an error.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(io::Error::other("it is not a file")),
    }
}

/// Reads a secret of at most `limit` bytes.
///
/// Errors: it cannot be read, is too long, or is not the owner's alone. What systemd passes
/// to the service may belong to another user and a group, through which the service reads it.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, SecretError> {
    let (bytes, exposed) = read_judged(path, limit)?;
    exposed.map_or(Ok(bytes), Err)
}

/// Reads a file of which only its content tells whether it is a secret: the error that holds
/// if it is comes beside it.
pub fn read_judged(path: &Path, limit: u64) -> Result<(Vec<u8>, Option<SecretError>), SecretError> {
    let (file, metadata) = open(path).map_err(SecretError::Io)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(SecretError::Io)?;
    if bytes.len() as u64 > limit {
        return Err(SecretError::TooLong(limit));
    }
    let passed = std::env::var_os(CREDENTIALS).is_some_and(|dir| is_inside(path, Path::new(&dir)));
    let exposed = exposure(metadata.mode(), passed).map(|what| SecretError::Exposed {
        what,
        mend: mend(path, metadata.uid(), rustix::process::geteuid().as_raw()),
    });
    Ok((bytes, exposed))
}

/// What is wrong with a secret file of this mode.
fn exposure(mode: u32, passed_by_systemd: bool) -> Option<&'static str> {
    const FORBIDDEN: [(u32, &str); 4] = [
        (0o002, "can be written by everybody"),
        (0o005, "can be read by everybody"),
        (0o020, "can be written by its group"),
        (0o050, "can be read by its group"),
    ];
    let forbidden = if passed_by_systemd {
        &FORBIDDEN[..3]
    } else {
        &FORBIDDEN[..]
    };
    forbidden
        .iter()
        .find(|(bits, _)| mode & bits != 0)
        .map(|(_, what)| *what)
}

/// The command that leaves the file to `user` alone.
fn mend(path: &Path, owner: u32, user: u32) -> String {
    let name = path.to_string_lossy();
    let quoted = shlex::try_quote(&name).unwrap_or_default();
    match user == 0 || user == owner {
        true => format!("chmod 0600 {quoted}"),
        // For the owner alone it would be out of reach.
        false => format!("sudo chown {user} {quoted} && sudo chmod 0600 {quoted}"),
    }
}

/// Whether the file is in this directory, wherever links lead.
fn is_inside(path: &Path, dir: &Path) -> bool {
    match (path.canonicalize(), dir.canonicalize()) {
        (Ok(path), Ok(dir)) => dir.parent().is_some() && path.starts_with(dir),
        _ => false,
    }
}

/// The path that was configured, or, of `credential:NAME`, that of the credential.
///
/// Errors: systemd passed no credentials, or NAME is no file name.
pub fn locate(path: &Path) -> Result<PathBuf, String> {
    locate_in(path, std::env::var_os(CREDENTIALS).map(PathBuf::from))
}

fn locate_in(path: &Path, dir: Option<PathBuf>) -> Result<PathBuf, String> {
    let Some(name) = path.to_str().and_then(|text| text.strip_prefix(PREFIX)) else {
        return Ok(path.to_owned());
    };
    let mut parts = Path::new(name).components();
    if !matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    ) || name.contains('/')
    {
        return Err(
            "credential: must be followed by the name of a credential, without a slash".into(),
        );
    }
    let dir = dir.ok_or_else(|| {
        format!("credential:NAME works only in a systemd unit with LoadCredential=NAME:PATH: ${CREDENTIALS} is not set")
    })?;
    Ok(dir.join(name))
}

/// The error of a YAML file with its line, without the lines around it and without the text
/// it stumbled on: that may be the secret, and this goes to the log.
pub fn yaml_error(error: &serde_saphyr::Error) -> String {
    let plain = serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
    let message = error.render_with_options(plain);
    // serde quotes what it did not expect: string "…", integer `…`, unknown variant `…`.
    let shown = without_quoted(&message, "string \"", &["\", ", "\""], "a string");
    let kinds = [
        ("unknown variant `", "an unknown word"),
        ("integer `", "an integer"),
        ("floating point `", "a number"),
        ("boolean `", "a boolean"),
    ];
    kinds.iter().fold(shown, |shown, (begin, told)| {
        without_quoted(&shown, begin, &["`, ", "`"], told)
    })
}

fn without_quoted(message: &str, begin: &str, ends: &[&str], told: &str) -> String {
    let mut shown = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(begin) {
        let quoted = &rest[at + begin.len()..];
        shown.push_str(&rest[..at]);
        shown.push_str(told);
        rest = ends
            .iter()
            .find_map(|end| quoted.rfind(end))
            .map_or("", |end| &quoted[end + 1..]);
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
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
                        assert_eq!(shown, format!("{says}; mend it with: chmod 0600 {quoted}"));
                        // The command does mend it.
                        let command = shown.split_once(": ").unwrap().1;
                        let mut shell = std::process::Command::new("sh");
                        assert!(shell.args(["-c", command]).status().unwrap().success());
                        assert!(read(path, 100).is_ok());
                        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                            .unwrap();
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
            mend(Path::new("/a b"), 0, 998),
            "sudo chown 998 '/a b' && sudo chmod 0600 '/a b'"
        );
        assert_eq!(mend(Path::new("/a"), 998, 998), "chmod 0600 /a");
        assert_eq!(mend(Path::new("/a"), 998, 0), "chmod 0600 /a");
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
}
