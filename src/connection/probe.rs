//! Asking somebody whether the bot is connected.
//!
//! A probe that crashes, times out, prints or answers anything unforeseen has said
//! nothing. What it printed is never repeated: it may hold anything.

mod http;

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::child::Call;
use crate::folder::SessionName;

pub use http::HttpProbe;

use super::{Evidence, Finding};

/// A command's answer is read up to here; `disconnected` has 12 bytes.
const MAX_ANSWER_BYTES: u64 = 64;

/// Somebody to ask.
#[derive(Clone, Debug)]
pub enum Probe {
    /// A program, run without a shell. It must exit 0 and print exactly `connected` or
    /// `disconnected`. (An exit status alone would fail open: a crashed check exits 1 too.)
    Command {
        /// Program and arguments.
        argv: Vec<Template>,
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
    /// A command from its program and arguments, each a [`Template`].
    ///
    /// Errors: no program, or a placeholder that nothing fills.
    pub fn command(argv: &[String], pattern: Option<&Regex>) -> Result<Self, ProbeError> {
        if argv.first().is_none_or(String::is_empty) {
            return Err(ProbeError("the connection command is empty".into()));
        }
        let parse = |(index, word): (usize, &String)| {
            Template::parse(word, pattern).map_err(|error| {
                ProbeError(format!(
                    "word {} of the connection command: {error}",
                    index + 1
                ))
            })
        };
        let argv = argv
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?;
        Ok(Self::Command { argv })
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
    /// session `instance`, a [`Template`].
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

    /// The HTTP probe with a header whose value is read from `file` (a [`Template`]) at each
    /// ask. Without a `name` it is the preset's.
    ///
    /// Errors: no name, not a header's name, no such file, or not an HTTP probe.
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
    /// Errors: no https, no such file, or not an HTTP probe.
    pub fn with_authorities(self, file: &std::path::Path) -> Result<Self, ProbeError> {
        match self {
            Self::Http(http) => http
                .authorities(file)
                .map(|http| Self::Http(Box::new(http))),
            Self::Command { .. } => Err(ProbeError("a command takes no ca_file".into())),
        }
    }

    /// Asks. Never fails: what goes wrong is evidence of nothing.
    pub async fn ask(&self, session: &SessionName, timeout: Duration) -> Evidence {
        let said = match self {
            Probe::Command { argv } => match ask_command(argv, session, timeout).await {
                Ok(Finding::Connected) => Ok((Finding::Connected, "connected".to_owned())),
                Ok(finding) => Ok((finding, "disconnected".to_owned())),
                Err(why) => Err(format!("the command {why}")),
            },
            Probe::Http(http) => http.ask(session, timeout).await,
        };
        let (finding, detail) = said.unwrap_or_else(|why| (Finding::Silent, why));
        Evidence::new("probe", finding, detail)
    }
}

async fn ask_command(
    argv: &[Template],
    session: &SessionName,
    timeout: Duration,
) -> Result<Finding, String> {
    let argv: Vec<String> = argv
        .iter()
        .map(|arg| arg.fill(session, |value| value.to_owned()))
        .collect::<Result<_, _>>()?;
    match run(&argv, &[], timeout, MAX_ANSWER_BYTES).await?.as_slice() {
        b"connected" | b"connected\n" => Ok(Finding::Connected),
        b"disconnected" | b"disconnected\n" => Ok(Finding::Disconnected),
        _ => Err("printed neither `connected` nor `disconnected`".into()),
    }
}

/// Runs a program to its end and returns the first `max_bytes` of what it printed. It and
/// what it started are killed when it takes too long. The error completes "the command …".
pub(super) async fn run(
    argv: &[String],
    env: &[(&str, &OsStr)],
    timeout: Duration,
    max_bytes: u64,
) -> Result<Vec<u8>, String> {
    let call = Call::new(argv, timeout).read(max_bytes);
    let call = env
        .iter()
        .fold(call, |call, (key, value)| call.env(key, value));
    let ended = call.run().await.map_err(|failure| failure.to_string())?;
    match ended.code {
        Some(0) => Ok(ended.output),
        Some(code) => Err(format!("exited with {code}")),
        None => Err("was ended by a signal".into()),
    }
}

/// A text with placeholders: `{session}` is the session's name, `{NAME}` what the named
/// group NAME of `connection.session_pattern` captured from it, `{{` and `}}` are braces.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
    pattern: Option<Regex>,
}

/// The same text: there is one pattern in a configuration.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Session,
    Group(String),
}

impl Template {
    /// Parses a template. `pattern` must match a whole session name.
    ///
    /// Errors: a placeholder that neither is `session` nor a group of the pattern, or a
    /// brace left open. They do not repeat the text, which may hold a secret.
    pub fn parse(text: &str, pattern: Option<&Regex>) -> Result<Self, ProbeError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let byte = text.len() - rest.len() + at;
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let name = match (brace, rest.split_once('}')) {
                ("{", Some((name, after))) => {
                    rest = after;
                    name
                }
                _ => {
                    return Err(ProbeError(format!(
                        "a single `{brace}` stands at byte {byte}; write {brace}{brace} for a brace"
                    )));
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            let known =
                pattern.is_some_and(|p| p.capture_names().flatten().any(|group| group == name));
            parts.push(match name {
                "session" => Part::Session,
                _ if known => Part::Group(name.to_owned()),
                _ => {
                    let shown = match is_plain(name) {
                        true => format!("{{{name}}}"),
                        false => "what stands in the braces".into(),
                    };
                    return Err(ProbeError(format!(
                        "nothing fills {shown} at byte {byte}; there is {{session}}, and each named group of connection.session_pattern; for a brace write {{{{ or }}}}"
                    )));
                }
            });
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        let uses_group = parts.iter().any(|part| matches!(part, Part::Group(_)));
        Ok(Self {
            parts,
            pattern: pattern.filter(|_| uses_group).cloned(),
        })
    }

    /// What it takes from a session: `session`, or names of groups.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Session => Some("session"),
            Part::Group(name) => Some(name),
        })
    }

    /// The text before the first placeholder.
    pub(crate) fn literal_start(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The text after the last placeholder.
    pub(crate) fn literal_end(&self) -> &str {
        match self.parts.last() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    pub(super) fn fill(
        &self,
        session: &SessionName,
        encode: impl Fn(&str) -> String,
    ) -> Result<String, String> {
        self.filled(session, encode)
            .map_err(|why| format!("was not asked: {why}"))
    }

    /// The text for one session. Errors: the pattern does not match its name, or a name
    /// that begins with a dash would stand first.
    pub(crate) fn filled(
        &self,
        session: &SessionName,
        encode: impl Fn(&str) -> String,
    ) -> Result<String, String> {
        let captures = match &self.pattern {
            Some(pattern) => Some(whole_match(pattern, session.as_str()).ok_or_else(|| {
                "connection.session_pattern does not match the session's name".to_owned()
            })?),
            None => None,
        };
        let mut filled = String::new();
        for (index, part) in self.parts.iter().enumerate() {
            let value = match part {
                Part::Text(text) => {
                    filled.push_str(text);
                    continue;
                }
                Part::Session => session.as_str(),
                Part::Group(name) => captures
                    .as_ref()
                    .and_then(|captures| captures.name(name))
                    .map(|found| found.as_str())
                    .ok_or_else(|| format!("the group {name} captured nothing"))?,
            };
            if index == 0 && value.starts_with('-') {
                return Err("the session's name would read as an option".into());
            }
            filled.push_str(&encode(value));
        }
        Ok(filled)
    }
}

/// Whether this is what a placeholder's name looks like.
fn is_plain(name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    (1..=40).contains(&name.chars().count()) && name.chars().all(is_word)
}

fn whole_match<'a>(pattern: &Regex, text: &'a str) -> Option<Captures<'a>> {
    let captures = pattern.captures(text)?;
    let all = captures.get(0)?;
    (all.start() == 0 && all.end() == text.len()).then_some(captures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn session(name: &str) -> SessionName {
        SessionName::from_dir(OsStr::new(name))
    }

    async fn ask(line: &str) -> (Finding, String) {
        let probe = Probe::command_line(line, None).unwrap();
        let evidence = probe
            .ask(&session("company_962302"), Duration::from_secs(2))
            .await;
        (evidence.finding, evidence.detail)
    }

    #[tokio::test]
    async fn a_command_must_say_it_in_so_many_words() {
        for (line, finding) in [
            ("echo connected", Finding::Connected),
            ("printf disconnected", Finding::Disconnected),
            (
                "sh -c 'test \"$0\" = company_962302 && echo disconnected' {session}",
                Finding::Disconnected,
            ),
            ("true", Finding::Silent),
            ("false", Finding::Silent),
            ("sh -c 'echo disconnected; exit 1'", Finding::Silent),
            ("echo Disconnected", Finding::Silent),
            ("echo ' disconnected'", Finding::Silent),
            ("printf 'disconnected\\n\\n'", Finding::Silent),
            ("printf 'disconnected\\nconnected\\n'", Finding::Silent),
            ("sh -c 'kill -9 $$'", Finding::Silent),
            ("/no/such/program", Finding::Silent),
            ("yes disconnected", Finding::Silent),
            ("echo '$(echo disconnected)'", Finding::Silent),
        ] {
            let (found, detail) = ask(line).await;
            assert_eq!(found, finding, "{line}: {detail}");
        }
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_its_children() {
        let marker = format!("{}.5", 70_000 + std::process::id() % 1000);
        let probe = Probe::command_line(&format!("sh -c 'sleep {marker} & wait'"), None).unwrap();
        let began = Instant::now();
        let evidence = probe.ask(&session("a"), Duration::from_millis(200)).await;
        assert_eq!(evidence.finding, Finding::Silent);
        assert!(
            evidence.detail.contains("longer than 200ms"),
            "{}",
            evidence.detail
        );
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it does not wait for the sleep"
        );
        let is_gone = || {
            std::fs::read_dir("/proc").unwrap().flatten().all(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                !line.starts_with(b"sleep") || !String::from_utf8_lossy(&line).contains(&marker)
            })
        };
        for _ in 0..100 {
            if is_gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the child of the probe is still running");
    }

    async fn serve(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..n])
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        (url, task)
    }

    #[tokio::test]
    async fn http_answers() {
        let pattern = Regex::new(r"company_(?<id>\d+)").unwrap();
        let ok = |body: &str| -> &'static str {
            Box::leak(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_boxed_str(),
            )
        };
        for (answer, finding) in [
            (ok(r#"{"status":{"connected":true}}"#), Finding::Connected),
            (
                ok(r#"{"status":{"connected":false}}"#),
                Finding::Disconnected,
            ),
            (ok(r#"{"status":{"connected":"false"}}"#), Finding::Silent),
            (ok(r#"{"status":{"connected":null}}"#), Finding::Silent),
            (ok(r#"{"error":"not found"}"#), Finding::Silent),
            (ok("disconnected"), Finding::Silent),
            (ok(""), Finding::Silent),
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length: 30\r\n\r\n{\"status\":{\"connected\":false}}\n",
                Finding::Silent,
            ),
            (
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                Finding::Silent,
            ),
            ("nonsense\r\n\r\n", Finding::Silent),
        ] {
            let (url, server) = serve(answer).await;
            let probe = Probe::http(
                &format!("{url}/webhook/whatsapp/baileys/status/{{id}}?n={{session}}"),
                "/status/connected",
                vec![true.into()],
                vec![false.into()],
                Some(&pattern),
            )
            .unwrap();
            let evidence = probe
                .ask(&session("company_962302"), Duration::from_secs(5))
                .await;
            assert_eq!(evidence.finding, finding, "{answer}: {}", evidence.detail);
            let line = server.await.unwrap();
            assert_eq!(
                line,
                "GET /webhook/whatsapp/baileys/status/962302?n=company_962302 HTTP/1.1"
            );
            // Another session's name that merely contains the pattern is not asked for.
            let evidence = probe
                .ask(&session("old_company_962302"), Duration::from_secs(5))
                .await;
            assert_eq!(evidence.finding, Finding::Silent);
        }
    }

    #[tokio::test]
    async fn nobody_listens_and_nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let probe =
            |url: &str| Probe::http(url, "", vec![true.into()], vec![false.into()], None).unwrap();
        let silent = probe(&url)
            .ask(&session("a"), Duration::from_millis(100))
            .await;
        assert_eq!(silent.finding, Finding::Silent, "{}", silent.detail);
        drop(listener);
        let refused = probe(&url).ask(&session("a"), Duration::from_secs(2)).await;
        assert_eq!(refused.finding, Finding::Silent, "{}", refused.detail);
    }

    #[test]
    fn templates() {
        let pattern = Regex::new(r"company_(?<id>\d+)").unwrap();
        let fill = |text: &str, name: &str| {
            Template::parse(text, Some(&pattern))
                .unwrap()
                .fill(&session(name), |v| v.replace('/', "%2F"))
        };
        assert_eq!(fill("a {id} {{x}}", "company_7").unwrap(), "a 7 {x}");
        assert_eq!(fill("{session}", "x").unwrap(), "x");
        assert!(
            fill("{session}", "-rf").is_err(),
            "no name is ever taken for an option"
        );
        assert_eq!(fill("--name={session}", "-rf").unwrap(), "--name=-rf");
        assert!(Template::parse("{nope}", Some(&pattern)).is_err());
        assert!(Template::parse("{id}", None).is_err());
        assert!(Template::parse("{", None).is_err());
        let refused = |text: &str| Template::parse(text, None).unwrap_err().0;
        assert!(refused("a{{{nope_1}").starts_with("nothing fills {nope_1} at byte 3; "));
        assert!(refused("abc}").starts_with("a single `}` stands at byte 3; "));
        assert!(refused("{}").contains("what stands in the braces at byte 0"));
        assert!(!refused(&format!("{{{}}}", "x".repeat(41))).contains("xxx"));
        let http = |url: &str| {
            Probe::http(
                url,
                "/a",
                vec![true.into()],
                vec![false.into()],
                Some(&pattern),
            )
            .map(|_| ())
            .map_err(|e| e.0)
        };
        assert!(http("http://localhost:3000/{id}").is_ok());
        assert!(http("https://localhost/{id}").is_ok());
        assert!(
            http("https://{id}/")
                .unwrap_err()
                .contains("without a placeholder in the host")
        );
        assert!(
            http("http://{session}/")
                .unwrap_err()
                .contains("without a placeholder in the host")
        );
        assert!(http("{session}").is_err());
        for (line, says) in [
            (
                r#"curl -d '{"token": "TOPSECRET123"}'"#,
                "word 3 of the connection command: nothing fills what",
            ),
            (
                "check TOPSECRET123{id}",
                "word 2 of the connection command: nothing fills {id} at byte 12",
            ),
            (
                "check TOPSECRET123}",
                "word 2 of the connection command: a single `}` stands at byte 12",
            ),
            (
                "TOPSECRET123{ -x",
                "word 1 of the connection command: a single `{`",
            ),
        ] {
            let error = Probe::command_line(line, None).unwrap_err().0;
            assert!(
                error.starts_with(says) && !error.contains("TOPSECRET123"),
                "{error}"
            );
        }
        for url in [
            "http://u:TOPSECRET123@h/{nope}",
            "http://h/?key=TOPSECRET123&i={nope}",
            "http://h/{TOPSECRET 123}",
            "http://h/TOPSECRET123{",
            "TOPSECRET123",
            "https://h/TOPSECRET123{",
            "{session}TOPSECRET123",
        ] {
            let error = http(url).unwrap_err();
            assert!(
                error.starts_with("connection.http.url") && !error.contains("TOPSECRET"),
                "{error}"
            );
            let error = Probe::preset("waha", url, "{session}", None).unwrap_err().0;
            assert!(
                error.starts_with("connection.http.base_url") && !error.contains("TOPSECRET"),
                "{error}"
            );
        }
        assert!(Probe::command_line("echo 'x", None).is_err());
        assert!(Probe::command_line("", None).is_err());
    }
}
