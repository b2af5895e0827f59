//! Probes: a command or a URL that reports whether the bot is connected.
//!
//! A probe that crashes, times out, prints or answers anything unforeseen has said
//! nothing. Of what it printed only the first line of its error is repeated, redacted.

mod http;
mod redact;

use std::cell::Cell;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use clock::Clock;
use regex::Regex;
use serde_json::Value;
use supervisor::exec::{Ended, Exec};
use supervisor::{ArgTemplate, TemplatePart};

use crate::control::placeholders;
use crate::folder::SessionName;

pub use http::HttpProbe;

use super::{Evidence, Finding, SessionTemplate, source_id};

/// A command's answer is read up to here; `disconnected` has 12 bytes.
const MAX_OUTPUT_BYTES: u64 = 64;
/// What it says on standard error is read up to here.
const MAX_ERROR_BYTES: u64 = 4 << 10;
/// The exit codes with which a shell says that it could not run a program.
const NOT_RUN: [i32; 2] = [126, 127];

/// A command or a URL to ask.
#[derive(Clone, Debug)]
pub enum Probe {
    /// A program, run without a shell. It must exit 0 and print exactly `connected` or
    /// `disconnected`. (An exit status alone would fail open: a crashed check exits 1 too.)
    Command {
        /// Program and arguments.
        argv: Vec<SessionTemplate>,
        /// Names of variables that it gets beside `PATH`, `HOME` and a plain locale.
        env: Vec<String>,
    },
    /// `GET` of a URL that answers 200 with JSON.
    Http(Box<HttpProbe>),
}

/// A probe that cannot be used as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeError(pub String);

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Probe {
    /// A command from its program and arguments, each a [`SessionTemplate`].
    ///
    /// Errors: no program, a placeholder that nothing fills, or one behind a lone dash.
    pub fn command(argv: &[String], pattern: Option<&Regex>) -> Result<Self, ProbeError> {
        if argv.first().is_none_or(String::is_empty) {
            return Err(ProbeError("the connection command is empty".into()));
        }
        let parse = |(index, word): (usize, &String)| {
            let of_word = |error: String| {
                ProbeError(format!(
                    "word {} of the connection command: {error}",
                    index + 1
                ))
            };
            let template =
                SessionTemplate::parse(word, pattern).map_err(|error| of_word(error.0))?;
            ArgTemplate::parse(word, &placeholders(pattern)).map_err(of_word)?;
            Ok(template)
        };
        let argv = argv
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?;
        let env = Vec::new();
        Ok(Self::Command { argv, env })
    }

    /// A command that also gets these variables of this program, as far as they are set.
    ///
    /// Errors: a text that is no name of a variable.
    pub fn with_env(self, names: &[String]) -> Result<Self, ProbeError> {
        if names
            .iter()
            .any(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return Err(ProbeError(
                "connection.env holds what is no name of a variable; give names such as PM2_HOME, without a value".into(),
            ));
        }
        Ok(match self {
            Self::Command { argv, .. } => Self::Command {
                argv,
                env: names.to_vec(),
            },
            http @ Self::Http(_) => http,
        })
    }

    /// A command given as one line, split as a shell splits words; no shell runs.
    pub fn command_line(line: &str, pattern: Option<&Regex>) -> Result<Self, ProbeError> {
        let argv = shlex::split(line).ok_or_else(|| {
            ProbeError(
                "the connection command cannot be split into words: a quote is not closed".into(),
            )
        })?;
        Self::command(&argv, pattern)
    }

    /// An HTTP probe.
    ///
    /// Errors: not `http://`, a placeholder that nothing fills, a bad pointer, values
    /// missing or given for both meanings.
    pub fn http(
        url: &str,
        pointer: &str,
        connected: Vec<Value>,
        disconnected: Vec<Value>,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        HttpProbe::url(url, pointer, connected, disconnected, pattern)
            .map(|http| Self::Http(Box::new(http)))
    }

    /// One of the known APIs (`evolution`, `waha`, `wppconnect`) at `base_url`. It calls the
    /// session `instance`, a [`SessionTemplate`].
    ///
    /// Errors: another name, not `http://`, a placeholder that nothing fills.
    pub fn preset(
        name: &str,
        base_url: &str,
        instance: &str,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        HttpProbe::preset(name, base_url, instance, pattern).map(|http| Self::Http(Box::new(http)))
    }

    /// The HTTP probe with a header whose value is read from `file` (a [`SessionTemplate`]) at each
    /// ask. Without a `name` it is the preset's.
    ///
    /// Errors: no name, not a header's name, no path, or not an HTTP probe.
    pub fn with_header(
        self,
        name: Option<&str>,
        file: &str,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        match self {
            Self::Http(http) => http
                .header(name, file, pattern)
                .map(|http| Self::Http(Box::new(http))),
            Self::Command { .. } => Err(ProbeError("a command takes no header".into())),
        }
    }

    /// Believes only a server that the authorities in this PEM file certify.
    ///
    /// Errors: no https, no absolute path, or not an HTTP probe.
    pub fn with_authorities(self, file: &std::path::Path) -> Result<Self, ProbeError> {
        match self {
            Self::Http(http) => http
                .authorities(file)
                .map(|http| Self::Http(Box::new(http))),
            Self::Command { .. } => Err(ProbeError("a command takes no ca_file".into())),
        }
    }

    /// Why it cannot answer, where that can be seen beforehand. Blocks.
    pub(super) fn problem(&self) -> Option<String> {
        let argv = match self {
            Probe::Command { argv, .. } => argv,
            Probe::Http(http) => {
                let why = http.problem()?;
                return Some(format!(
                    "{why}: until it can be read, no bot is known to be disconnected, and every clean-up is refused"
                ));
            }
        };
        let [TemplatePart::Text(program)] = argv.first()?.parts() else {
            return None;
        };
        let argv = [program.clone()];
        let why = Exec::new(&argv, Duration::ZERO).keep_dir().problem()?;
        Some(format!(
            "the probe command {program:?} {why}: until it can be run, no bot is known to be disconnected, and every clean-up is refused"
        ))
    }

    /// Whether no two sessions are asked about by the same request, whatever their names.
    pub(super) fn names_the_session(&self) -> bool {
        match self {
            Probe::Command { argv, .. } => argv.iter().any(SessionTemplate::names_the_session),
            Probe::Http(http) => http.names_the_session(),
        }
    }

    /// What is sent to ask about a session: two with the same get the same answer. `None` for one
    /// that is not asked about. Pure.
    pub(super) fn request(&self, session: &SessionName) -> Option<Vec<String>> {
        #[cfg(test)]
        REQUESTS.set(REQUESTS.get() + 1);
        match self {
            Probe::Command { argv, .. } => {
                let words = argv.iter().map(|word| fill_argument(word, session).ok());
                words.collect()
            }
            Probe::Http(http) => http.request(session),
        }
    }

    /// The key of the configuration that takes `{session}`.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Probe::Command { .. } => "connection.command",
            Probe::Http(http) => http.key(),
        }
    }

    /// Asks. Never fails: what goes wrong is evidence of nothing.
    pub async fn ask(&self, session: &SessionName, timeout: Duration, clock: &Clock) -> Evidence {
        let said = match self {
            Probe::Command { argv, env } => ask_command(argv, env, session, timeout)
                .await
                .map_err(|why| format!("the command {why}")),
            Probe::Http(http) => http.ask(session, timeout, clock).await,
        };
        let (finding, detail) = said.unwrap_or_else(|why| (Finding::NoAnswer, why));
        Evidence::new("probe", finding, detail)
    }
}

async fn ask_command(
    argv: &[SessionTemplate],
    env: &[String],
    session: &SessionName,
    timeout: Duration,
) -> Result<(Finding, String), String> {
    let argv: Vec<String> = argv
        .iter()
        .map(|arg| fill_argument(arg, session))
        .collect::<Result<_, _>>()?;
    let passed: Vec<&str> = env.iter().map(String::as_str).collect();
    let exec = Exec::new(&argv, timeout)
        .read(MAX_OUTPUT_BYTES)
        .read_error(MAX_ERROR_BYTES)
        .clean_env(&passed)
        .keep_dir();
    judge_command(&exec.run().await.map_err(|error| error.to_string())?)
}

/// What a command that has ended says. Pure.
fn judge_command(ended: &Ended) -> Result<(Finding, String), String> {
    let finding = match ended.output.as_slice() {
        b"connected" | b"connected\n" => Some(Finding::Connected),
        b"disconnected" | b"disconnected\n" => Some(Finding::Disconnected),
        _ => None,
    };
    if let (Some(finding), Some(0)) = (finding, ended.code) {
        return Ok((finding, finding.label().to_owned()));
    }
    let error = String::from_utf8_lossy(&ended.error);
    let said = match redact::first_line(&error) {
        Some(line) => format!("; its error: {line}"),
        None => String::new(),
    };
    let Some(code) = ended.code else {
        return Err(format!("was ended by a signal{said}"));
    };
    let why = match code {
        0 => format!("printed neither `connected` nor `disconnected`{said}"),
        code => format!("exited with {code}{said}"),
    };
    let is_mute = ended.output.is_empty() && (error.trim().is_empty() || is_refusal(&error));
    match is_mute && !NOT_RUN.contains(&code) {
        true => Ok((Finding::Unreachable, format!("the command {why}"))),
        false => Err(why),
    }
}

/// Whether what a command says on standard error is that the connection was refused, and
/// nothing of an answer or a timeout.
fn is_refusal(error: &str) -> bool {
    static REFUSED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)connection[ _-]?(?:was )?refused|connection to \S+ refused|refused to connect|econnrefused|curl: \(7\)").ok()
    });
    static OTHER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)timed? ?out|curl: \((?:[^7)]|7[^)])|HTTP[/ ]|parse error|unexpected|forbidden|unauthori[sz]ed|denied").ok()
    });
    let has = |regex: &Option<Regex>, unless| regex.as_ref().map_or(unless, |r| r.is_match(error));
    has(&REFUSED, false) && !has(&OTHER, true)
}

/// Fills an argument. No part of a session's name that begins with a dash gets into one: a
/// program might take it for an option.
fn fill_argument(argument: &SessionTemplate, session: &SessionName) -> Result<String, String> {
    let is_option = Cell::new(false);
    let filled = argument.fill(session, |value| {
        is_option.set(is_option.get() || value.starts_with('-'));
        value.to_owned()
    })?;
    let begins_filled = !matches!(argument.parts().first(), Some(TemplatePart::Text(_)) | None);
    match is_option.get() || (begins_filled && filled.starts_with('-')) {
        true => Err("was not asked: the session's name would read as an option".into()),
        false => Ok(filled),
    }
}

#[cfg(test)]
thread_local! {
    /// How many requests this thread has made for [`Probe::request`].
    pub(super) static REQUESTS: Cell<usize> = const { Cell::new(0) };
}

/// The id of a probe, for what is remembered of it.
pub(super) fn probe_id(probe: &Probe) -> String {
    source_id("probe", &format!("{probe:?}"))
}

#[cfg(test)]
mod tests;
