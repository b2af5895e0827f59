//! Files that hold a secret: a token, a key, password hashes.
//!
//! A file that its group or everybody may read or write is not used. The error holds the
//! command that fixes it and never a byte of the content.

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

/// Why a secret file is not used. Names the file only in the command that fixes it: someone
/// may have configured the secret itself in place of a path.
#[derive(Debug)]
pub enum SecretError {
    /// It cannot be opened or read.
    Io(io::Error),
    /// More people than its owner may read or write it.
    Exposed {
        /// What is wrong with it.
        what: &'static str,
        /// The command that fixes it.
        fix: String,
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
            Self::Exposed { what, fix } => write!(f, "{what}; fix it with: {fix}"),
            Self::TooLong(limit) if limit % 1024 == 0 => {
                write!(f, "is longer than {} KiB", limit / 1024)
            }
            Self::TooLong(limit) => write!(f, "is longer than {limit} bytes"),
        }
    }
}

/// Opens a file to be read; symbolic links are followed. A named pipe does not block; what
/// is not a file is an error.
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
    let (bytes, exposed) = read_with_exposure(path, limit)?;
    exposed.map_or(Ok(bytes), Err)
}

/// Reads a file of which only the content shows whether it is a secret. Returns also the
/// error that applies if it is.
pub fn read_with_exposure(
    path: &Path,
    limit: u64,
) -> Result<(Vec<u8>, Option<SecretError>), SecretError> {
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
        fix: fix_command(path, metadata.uid(), rustix::process::geteuid().as_raw()),
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
fn fix_command(path: &Path, owner: u32, user: u32) -> String {
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

/// A secret of one line, such as a password or a token, read up to here.
const MAX_LINE_BYTES: u64 = 8 << 10;

/// Reads a secret of one line from the file, or from `credential:NAME`. Blocks.
///
/// Errors: as [`read`], in a sentence; or it is empty.
pub fn read_line(path: &Path) -> Result<String, String> {
    let located = locate(path)?;
    let bytes =
        read(&located, MAX_LINE_BYTES).map_err(|error| format!("{} {error}", located.display()))?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", located.display()))?;
    match text.trim() {
        "" => Err(format!("{} is empty", located.display())),
        text => Ok(text.to_owned()),
    }
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
    kinds.iter().fold(shown, |shown, (begin, shown_instead)| {
        without_quoted(&shown, begin, &["`, ", "`"], shown_instead)
    })
}

fn without_quoted(message: &str, begin: &str, ends: &[&str], shown_instead: &str) -> String {
    let mut shown = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(begin) {
        let quoted = &rest[at + begin.len()..];
        shown.push_str(&rest[..at]);
        shown.push_str(shown_instead);
        rest = ends
            .iter()
            .find_map(|end| quoted.rfind(end))
            .map_or("", |end| &quoted[end + 1..]);
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests;
