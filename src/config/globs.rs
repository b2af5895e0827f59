//! Globs over names of sessions and directories.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// A set of globs.
///
/// Errors: a sentence with `key`, where a pattern is no glob.
pub(super) fn globs(patterns: &[String], key: &str) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|error| format!("{key}: {error}"))?);
    }
    set.build().map_err(|error| format!("{key}: {error}"))
}
