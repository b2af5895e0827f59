//! What both programs show on a terminal.

pub mod table;

use std::io::Write;

/// Writes to standard output; colours only where that is a terminal. A closed pipe
/// (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// Writes to standard error; colours only where that is a terminal.
pub fn complain(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{text}");
}
