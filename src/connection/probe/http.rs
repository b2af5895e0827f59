//! Asking a bot's own HTTP API: presets for three of them, or a URL and a JSON pointer.
//!
//! Only a 200 counts: what the three answer with an error is JSON too, and some of it
//! looks like an answer.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clock::Clock;
use hyper::header::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;
use serde_json::Value;

use supervisor::TemplatePart;
use supervisor::bounded::within;

use super::{ProbeError, SessionTemplate};
use crate::connection::Finding;
use crate::folder::SessionName;
use exporter_toolkit::client::{self, ClientError};
use exporter_toolkit::secret::{self, SecretError};

/// An HTTP answer is read up to here.
const MAX_STATUS_BYTES: usize = 1 << 20;
/// A header's file is read up to here.
const MAX_KEY_BYTES: u64 = 8 << 10;
/// What stays as it is in a URL.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How to ask over HTTP and how to read the answer.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    url: SessionTemplate,
    /// JSON pointer to the value that tells.
    pointer: String,
    connected: Vec<Value>,
    disconnected: Vec<Value>,
    header: Option<Header>,
    preset: Option<Preset>,
    /// Who certifies the server, where it is not one of the system's authorities.
    authorities: Option<PathBuf>,
}

/// A header whose value stands in a file.
#[derive(Clone, Debug)]
struct Header {
    name: String,
    file: SessionTemplate,
    /// Set before a value that does not begin with it.
    prefix: &'static str,
}

/// What is known of one API.
#[derive(Clone, Debug)]
struct Preset {
    name: &'static str,
    header: &'static str,
    prefix: &'static str,
    /// Values that are neither connected nor disconnected.
    between: &'static [&'static str],
    /// What the API calls the session.
    instance: SessionTemplate,
    /// JSON pointer to where the answer repeats that.
    repeats: Option<&'static str>,
}

impl HttpProbe {
    /// A URL and how to read what it answers.
    pub(super) fn url(
        url: &str,
        pointer: &str,
        connected: Vec<Value>,
        disconnected: Vec<Value>,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        let url = parse_url("url", url, pattern)?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(ProbeError(
                "connection.http.pointer must be a JSON pointer such as /status/connected".into(),
            ));
        }
        if connected.is_empty() || disconnected.is_empty() {
            return Err(ProbeError(
                "connection.http needs the values that mean `connected` and those that mean `disconnected`"
                    .into(),
            ));
        }
        if connected.iter().any(|value| disconnected.contains(value)) {
            return Err(ProbeError(
                "connection.http: one value is listed as connected and as disconnected".into(),
            ));
        }
        Ok(Self {
            url,
            pointer: pointer.to_owned(),
            connected,
            disconnected,
            header: None,
            preset: None,
            authorities: None,
        })
    }

    /// One of the known APIs at `base_url`, which calls the session `instance`.
    ///
    /// | preset | connected | disconnected | neither |
    /// |---|---|---|---|
    /// | evolution | open | close | connecting (also while it shows a QR code) |
    /// | waha | WORKING | STOPPED, FAILED, SCAN_QR_CODE | STARTING |
    /// | wppconnect | true | false (also while it starts, and for a session it never heard of) | |
    ///
    /// `SCAN_QR_CODE` is disconnected: there is no login, so no message can come for the
    /// keys; and the scan that ends it writes creds.json, which the quiet window sees.
    pub(super) fn preset(
        name: &str,
        base_url: &str,
        instance: &str,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        let instance = SessionTemplate::parse(instance, pattern)
            .map_err(|error| ProbeError(format!("connection.http.instance: {error}")))?;
        let preset = |name, header, prefix, between, repeats| Preset {
            name,
            header,
            prefix,
            between,
            instance: instance.clone(),
            repeats,
        };
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.into()).collect();
        let (before, after, pointer, connected, disconnected, preset): (
            _,
            _,
            _,
            Vec<Value>,
            Vec<Value>,
            _,
        ) = match name {
            "evolution" => (
                "/instance/connectionState/",
                "",
                "/instance/state",
                texts(&["open"]),
                texts(&["close"]),
                preset(
                    "evolution",
                    "apikey",
                    "",
                    &["connecting"],
                    Some("/instance/instanceName"),
                ),
            ),
            "waha" => (
                "/api/sessions/",
                "",
                "/status",
                texts(&["WORKING"]),
                texts(&["STOPPED", "FAILED", "SCAN_QR_CODE"]),
                preset("waha", "X-Api-Key", "", &["STARTING"], Some("/name")),
            ),
            "wppconnect" => (
                "/api/",
                "/check-connection-session",
                "/status",
                vec![true.into()],
                vec![false.into()],
                preset("wppconnect", "Authorization", "Bearer ", &[], None),
            ),
            _ => {
                return Err(ProbeError(
                        "connection.http.preset: there is evolution, waha and wppconnect; for any other API give url, pointer, connected and disconnected"
                            .into(),
                    ));
            }
        };
        let base = parse_url("base_url", base_url, pattern)?;
        let in_query = |part: &TemplatePart| matches!(part, TemplatePart::Text(text) if text.contains(['?', '#']));
        if base.parts().iter().any(in_query) {
            return Err(ProbeError(
                "connection.http.base_url must end before the API's own path: http://HOST[:PORT][/PREFIX]"
                    .into(),
            ));
        }
        let text = |text: &str| TemplatePart::Text(text.to_owned());
        let mut parts = base.parts().to_vec();
        if let Some(TemplatePart::Text(last)) = parts.last_mut() {
            last.truncate(last.trim_end_matches('/').len());
        }
        parts.push(text(before));
        parts.extend(instance.parts().iter().map(|part| match part {
            TemplatePart::Text(plain) => {
                TemplatePart::Text(utf8_percent_encode(plain, IN_URL).to_string())
            }
            filled => filled.clone(),
        }));
        parts.push(text(after));
        let url = base.with_parts(parts);
        let pointer = pointer.to_owned();
        Ok(Self {
            url,
            pointer,
            connected,
            disconnected,
            header: None,
            preset: Some(preset),
            authorities: None,
        })
    }

    /// Believes a server that the authorities in this PEM file certify, and no other.
    pub(super) fn authorities(mut self, file: &Path) -> Result<Self, ProbeError> {
        let encrypted = matches!(self.url.parts().first(), Some(TemplatePart::Text(text)) if text.starts_with("https://"));
        if !encrypted {
            return Err(ProbeError(
                "connection.http.ca_file is for a URL that begins with https://".into(),
            ));
        }
        if !file.is_absolute() {
            return Err(ProbeError(
                "connection.http.ca_file must be a path that begins with /".into(),
            ));
        }
        self.authorities = Some(file.to_owned());
        Ok(self)
    }

    /// Why a file that each ask reads cannot be found now. A mount may appear late. Blocks.
    pub(super) fn problem(&self) -> Option<String> {
        if let Some(file) = &self.authorities
            && let Err(error) = std::fs::metadata(file)
        {
            let file = file.display();
            return Some(format!("connection.http.ca_file {file}: {error}"));
        }
        // One with a placeholder is known at the ask only.
        let [TemplatePart::Text(path)] = self.header.as_ref()?.file.parts() else {
            return None;
        };
        match secret::locate(Path::new(path)) {
            Ok(path) => std::fs::metadata(path)
                .err()
                .map(|error| unusable(&SecretError::Io(error))),
            Err(error) => Some(format!("connection.http.header.file: {error}")),
        }
    }

    /// Sends a header whose value is read from `file` at each ask.
    pub(super) fn header(
        mut self,
        name: Option<&str>,
        file: &str,
        pattern: Option<&Regex>,
    ) -> Result<Self, ProbeError> {
        let default = self.preset.as_ref().map(|preset| preset.header);
        let name = name.or(default).ok_or_else(|| {
            ProbeError("connection.http.header.name is missing, e.g. apikey or X-Api-Key".into())
        })?;
        if name.parse::<HeaderName>().is_err() {
            return Err(ProbeError(
                "connection.http.header.name is no name of an HTTP header".into(),
            ));
        }
        // Not repeated: who mistakes `file` finds the key itself here.
        if !file.starts_with('/') && !file.starts_with("credential:") {
            return Err(ProbeError(
                "connection.http.header.file must be the path, beginning with /, of a file that holds the value, or credential:NAME"
                    .into(),
            ));
        }
        let file = SessionTemplate::parse(file, pattern)
            .map_err(|error| ProbeError(format!("connection.http.header.file: {error}")))?;
        let prefix = self
            .preset
            .as_ref()
            .filter(|preset| preset.header.eq_ignore_ascii_case(name))
            .map_or("", |preset| preset.prefix);
        self.header = Some(Header {
            name: name.to_owned(),
            file,
            prefix,
        });
        Ok(self)
    }

    pub(super) fn names_the_session(&self) -> bool {
        self.url.names_the_session()
            || (self.header.as_ref()).is_some_and(|header| header.file.names_the_session())
    }

    /// The URL, and the path of the file with the header's value.
    pub(super) fn request(&self, session: &SessionName) -> Option<Vec<String>> {
        let url = fill_url(&self.url, session).ok()?;
        let header = self.header.as_ref();
        let file = header.map(|header| header.file.fill(session, str::to_owned));
        let file = file.transpose().ok()?;
        Some([url].into_iter().chain(file).collect())
    }

    pub(super) fn key(&self) -> &'static str {
        match self.preset {
            Some(_) => "connection.http.instance",
            None => "connection.http.url",
        }
    }

    /// Asks and reads the answer. The error says why there is none.
    pub(super) async fn ask(
        &self,
        session: &SessionName,
        timeout: Duration,
        clock: &Clock,
    ) -> Result<(Finding, String), String> {
        let url = fill_url(&self.url, session).map_err(|error| format!("the URL {error}"))?;
        let began = clock.now();
        let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let mut headers = vec![("user-agent".to_owned(), agent.to_owned())];
        if let Some(header) = &self.header {
            headers.push((header.name.clone(), header.value(session, timeout).await?));
        }
        let left = timeout.saturating_sub(clock.since(began));
        let answer = client::get(
            &url,
            &headers,
            self.authorities.as_deref(),
            left,
            MAX_STATUS_BYTES,
        )
        .await;
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error @ ClientError::Refused { .. }) => {
                return Ok((Finding::Unreachable, error.to_string()));
            }
            Err(error @ ClientError::Tls { .. }) => {
                return Err(format!(
                    "{error}; connection.http.ca_file names who certifies a server of your own"
                ));
            }
            Err(error) => return Err(error.to_string()),
        };
        let who = self.preset.as_ref().map_or("the URL", |preset| preset.name);
        if status != 200 {
            return Err(format!("{who} answered {status}{}", self.hint(status)));
        }
        let answer: Value =
            serde_json::from_slice(&body).map_err(|_| format!("{who} did not answer JSON"))?;
        let value = answer
            .pointer(&self.pointer)
            .ok_or_else(|| format!("the answer has nothing at {}", self.pointer))?;
        let Some(preset) = &self.preset else {
            return match self.finding(value) {
                Some(finding) => Ok((finding, word(finding).into())),
                None => Err(format!(
                    "the value at {} is none of those configured",
                    self.pointer
                )),
            };
        };
        if let Some(pointer) = preset.repeats {
            let asked = preset.instance.fill(session, str::to_owned)?;
            if answer.pointer(pointer).and_then(Value::as_str) != Some(&asked) {
                return Err(format!("{who} answered about another session"));
            }
        }
        // Only values that are known beforehand are repeated.
        match self.finding(value) {
            Some(finding) => {
                let known = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                Ok((
                    finding,
                    format!("{who} answered {known}: {}", word(finding)),
                ))
            }
            None => Err(match preset.between.iter().find(|&&known| value == known) {
                Some(known) => {
                    format!("{who} answered {known}: neither connected nor disconnected")
                }
                None => format!(
                    "the value at {} is none that {who} is known to send",
                    self.pointer
                ),
            }),
        }
    }

    fn finding(&self, value: &Value) -> Option<Finding> {
        if self.connected.contains(value) {
            Some(Finding::Connected)
        } else if self.disconnected.contains(value) {
            Some(Finding::Disconnected)
        } else {
            None
        }
    }

    /// What an error status most likely means.
    fn hint(&self, status: u16) -> &'static str {
        match (status, &self.header, &self.preset) {
            (401 | 403, None, _) => ": it wants a key, see connection.http.header",
            (401 | 403, Some(_), _) => ": the key in connection.http.header.file is not accepted",
            (404, _, Some(_)) => {
                ": it does not know this session, or base_url or instance is wrong"
            }
            _ => "",
        }
    }
}

fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Connected => "connected",
        _ => "disconnected",
    }
}

/// Parses a URL whose scheme and host are never filled from a session's name.
fn parse_url(key: &str, url: &str, pattern: Option<&Regex>) -> Result<SessionTemplate, ProbeError> {
    let url = SessionTemplate::parse(url, pattern)
        .map_err(|error| ProbeError(format!("connection.http.{key}: {error}")))?;
    match url.parts().first() {
        Some(TemplatePart::Text(text))
            if text
                .strip_prefix("http://")
                .or_else(|| text.strip_prefix("https://"))
                .is_some_and(|rest| url.parts().len() == 1 || rest.contains('/')) =>
        {
            Ok(url)
        }
        _ => Err(ProbeError(format!(
            "connection.http.{key} must begin with http://HOST[:PORT]/ or https://HOST[:PORT]/, without a placeholder in the host"
        ))),
    }
}

/// Fills a URL. What is empty or a dot segment would ask for another path.
fn fill_url(url: &SessionTemplate, session: &SessionName) -> Result<String, String> {
    let other_path = Cell::new(false);
    let filled = url.fill(session, |value| {
        other_path.set(other_path.get() || matches!(value, "" | "." | ".."));
        utf8_percent_encode(value, IN_URL).to_string()
    })?;
    match other_path.get() {
        true => Err("was not asked: a placeholder would be filled with nothing or dots".into()),
        false => Ok(filled),
    }
}

impl Header {
    async fn value(&self, session: &SessionName, timeout: Duration) -> Result<String, String> {
        let leaves = Cell::new(false);
        let path = self.file.fill(session, |value| {
            leaves.set(
                leaves.get() || matches!(value, "" | "." | "..") || value.contains(['/', '\0']),
            );
            value.to_owned()
        });
        let path = path.map_err(|error| format!("connection.http.header.file {error}"))?;
        if leaves.get() {
            return Err(
                "connection.http.header.file was not read: the session's name does not fit in a path".into(),
            );
        }
        let path = PathBuf::from(path);
        let what = "reading connection.http.header.file";
        let key = within(what, timeout, move || read_key(&path)).await?;
        Ok(if key.starts_with(self.prefix) {
            key
        } else {
            format!("{}{key}", self.prefix)
        })
    }
}

/// What cannot be opened is not named: a key that begins with `/` may have been taken for a
/// path.
fn unusable(error: &SecretError) -> String {
    format!("the file named by connection.http.header.file {error}")
}

/// Reads a header's value. No error repeats any of it.
fn read_key(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let wrong = |what: &str| format!("connection.http.header.file {shown} {what}");
    let located =
        secret::locate(path).map_err(|error| format!("connection.http.header.file: {error}"))?;
    let bytes = secret::read(&located, MAX_KEY_BYTES).map_err(|error| unusable(&error))?;
    let key = bytes.trim_ascii();
    if key.is_empty() {
        return Err(wrong("is empty"));
    }
    if !key.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(wrong(
            "holds a line end within, a control character or one that is not ASCII",
        ));
    }
    Ok(String::from_utf8_lossy(key).into_owned())
}

#[cfg(test)]
mod tests;
