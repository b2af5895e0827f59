//! What is run, with which environment, and how its end reads as a sentence.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::child::{Call, Ended};

use super::ControlError;
use super::turn::Turn;

/// Where a program begins that was told no directory.
const DIR: &str = "/";
/// Where programs are looked for when this program has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A call with nothing in its environment but PATH, HOME, a plain locale, and those of
/// `passed` that this program has.
pub(super) fn bare<'a>(argv: &'a [String], timeout: Duration, passed: &[&str]) -> Call<'a> {
    let own = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty());
    let mut call = Call::new(argv, timeout)
        .bare(Path::new(DIR))
        .env("PATH", path())
        .env("LANG", "C.UTF-8")
        .env("LC_ALL", "C.UTF-8");
    for key in ["HOME"].iter().chain(passed) {
        if let Some(value) = own(key) {
            call = call.env(key, value);
        }
    }
    call
}

/// Where programs are looked for.
pub(super) fn path() -> OsString {
    std::env::var_os("PATH")
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| DEFAULT_PATH.into())
}

/// Runs a look and returns what it printed; it must exit 0.
pub(super) async fn look(
    what: &str,
    call: Call<'_>,
    max_bytes: u64,
) -> Result<Vec<u8>, ControlError> {
    let ended = call.read(max_bytes).sweep().run().await;
    let ended = ended.map_err(|failure| ControlError(format!("{what} {failure}")))?;
    exit_zero(what, &ended)?;
    Ok(ended.output)
}

/// Runs something that acts; it must exit 0. What it leaves running stays.
pub(super) async fn act(what: &str, call: Call<'_>, turn: &Turn) -> Result<(), ControlError> {
    let ended = call
        .stdin(turn.hold())
        .run()
        .await
        .map_err(|failure| ControlError(format!("{what} {failure}")))?;
    exit_zero(what, &ended)
}

fn exit_zero(what: &str, ended: &Ended) -> Result<(), ControlError> {
    match ended.code {
        Some(0) => Ok(()),
        Some(code) => Err(ControlError(format!("{what} exited with {code}"))),
        None => Err(ControlError(format!("{what} was ended by a signal"))),
    }
}

/// Words of an argv.
pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
