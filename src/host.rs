//! The name of this host, for `{hostname}` in the configuration.

/// The placeholder.
pub const PLACEHOLDER: &str = "{hostname}";

/// The name of this host, as `uname -n` prints it.
pub fn name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// A name with the placeholder filled in.
pub fn fill(text: &str) -> String {
    match text.contains(PLACEHOLDER) {
        true => text.replace(PLACEHOLDER, &name()),
        false => text.to_owned(),
    }
}
