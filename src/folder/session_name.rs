//! Names of sessions.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// The value of the label `session`: made of names of directories, or given by the operator.
/// Always printable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(String);

impl SessionName {
    /// From the name of a directory. Two directories of different names have different names
    /// here: control characters and bytes that are not UTF-8 are escaped, and so is `\`.
    pub fn from_dir(name: &OsStr) -> Self {
        let mut shown = String::new();
        for chunk in name.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' {
                    shown.extend(c.escape_default());
                } else {
                    shown.push(c);
                }
            }
            for byte in chunk.invalid() {
                shown.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Self(shown)
    }

    /// From several names of directories: `a` and `b` are `a-b`.
    pub fn from_dirs<'a>(names: impl IntoIterator<Item = &'a OsStr>) -> Self {
        let names: Vec<String> = names
            .into_iter()
            .map(|name| Self::from_dir(name).0)
            .collect();
        Self(names.join("-"))
    }

    /// From a name as it is shown, stored or typed. Only control characters are escaped.
    pub fn from_text(text: &str) -> Self {
        let mut shown = String::new();
        for c in text.chars() {
            if c.is_control() {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        Self(shown)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
