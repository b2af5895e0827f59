//! `{hostname}` and `${NAME}` in values of the configuration.

use crate::host;

/// What stands for a placeholder: the host's name and the environment.
pub trait Placeholders {
    /// For `{hostname}`.
    fn hostname(&self) -> String;
    /// For `${NAME}`; `None` where it is not set.
    fn variable(&self, name: &str) -> Option<String>;
}

/// This host and this process.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Placeholders for System {
    fn hostname(&self) -> String {
        host::name()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Any host and any environment, to check the form of a text.
pub(super) struct Anywhere;

impl Placeholders for Anywhere {
    fn hostname(&self) -> String {
        "host".into()
    }

    fn variable(&self, _name: &str) -> Option<String> {
        Some("value".into())
    }
}

/// Whether Prometheus takes this as the name of a label.
pub(super) fn is_label(name: &str) -> bool {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_word)
}

/// Fills in `{hostname}` and `${NAME}`.
///
/// Errors: a variable is not set or is empty, a brace is not closed, or another placeholder.
pub fn expand(text: &str, placeholders: &dyn Placeholders) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{hostname}") {
            out.push_str(&placeholders.hostname());
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or("a ${ is not closed; write ${NAME}")?;
            let value = placeholders
                .variable(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| {
                    format!("the environment variable {name:?} is not set or is empty")
                })?;
            out.push_str(&value);
            rest = after;
        } else if rest.starts_with('{') {
            return Err("the only placeholders are {hostname} and ${NAME}".into());
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}
