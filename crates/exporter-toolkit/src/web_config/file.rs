//! The format of Prometheus' exporter-toolkit. What the toolkit accepts and this crate cannot
//! do is an error, never ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;

use crate::{Rate, secret};

use super::basic_auth::Users;
use super::reader::{Reader, Watch};
use super::tls::{Tls, TlsSection};

/// What holds for connections and requests.
pub struct ActiveConfig {
    /// Without it HTTP is spoken in the clear.
    pub tls: Option<Tls>,
    pub users: Arc<Users>,
    /// Set on every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub rate: Option<Rate>,
    /// Of everything that was read.
    digest: Vec<u8>,
}

impl ActiveConfig {
    pub fn same_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// What protection `former` gave that this does not.
    ///
    /// A file that is being written looks for a moment as if its end were not there.
    pub fn lost_from(&self, former: &Self) -> Option<&'static str> {
        let tls = |config: &Self, has: fn(&Tls) -> bool| config.tls.as_ref().is_some_and(has);
        let lost = |has: fn(&Tls) -> bool| tls(former, has) && !tls(self, has);
        if lost(|_| true) {
            Some("tls_server_config")
        } else if lost(|tls| tls.demands_client) || lost(|tls| tls.verifies_client) {
            Some("client_auth_type")
        } else if lost(|tls| tls.checks_sans) {
            Some("client_allowed_sans")
        } else if self.users.is_empty() && !former.users.is_empty() {
            Some("basic_auth_users")
        } else {
            None
        }
    }
}

/// Reads the configuration and every file that it names, and returns which ones those were,
/// also where it fails.
///
/// Errors: a sentence that begins with the flag.
pub fn read(path: &Path) -> (Watch, Result<ActiveConfig, String>) {
    let mut reader = Reader::default();
    let config = load(path, &mut reader)
        .map_err(|error| format!("--web.config.file {}: {error}", path.display()));
    (reader.watch, config)
}

fn load(path: &Path, reader: &mut Reader) -> Result<ActiveConfig, String> {
    let path = secret::locate(path)?;
    reader.dir = path.parent().map(Path::to_owned).unwrap_or_default();
    let (bytes, exposed) = reader.read_any(&path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8")?;
    let file = parse(text)?;
    let half = |key: &str| format!("{key}: nothing follows; leave it out if nothing is wanted");
    let section = file
        .tls_server_config
        .map(|section| section.ok_or_else(|| half("tls_server_config")));
    let section = section.transpose()?;
    let users = file
        .basic_auth_users
        .map(|users| users.ok_or_else(|| half("basic_auth_users")));
    let users = users.transpose()?.unwrap_or_default();
    let has_key = section.as_ref().is_some_and(TlsSection::has_inline_key);
    if let Some(error) = exposed.filter(|_| has_key || !users.is_empty()) {
        let what = if has_key {
            "a private key"
        } else {
            "password hashes"
        };
        return Err(format!("it holds {what} and {error}"));
    }
    let users = check(users)?;
    let tls = section.map(|section| section.build(reader)).transpose()?;
    let http = file.http_server_config.unwrap_or_default();
    if http.http2 == Some(true) {
        tracing::debug!("http_server_config.http2 changes nothing: HTTP/1.1 is spoken");
    }
    let headers = http.headers.unwrap_or_default().list()?;
    let rate = file.rate_limit.unwrap_or_default();
    let rate = match (rate.interval, rate.burst.unwrap_or(0)) {
        (None | Some(Duration::ZERO), _) => None,
        (Some(_), 0) => {
            return Err(
                "rate_limit.burst: at least 1, or no request would ever be answered".into(),
            );
        }
        (Some(interval), burst) => Some(Rate { interval, burst }),
    };
    let digest = reader.digest.clone().finish().as_ref().to_vec();
    Ok(ActiveConfig {
        tls,
        users: Arc::new(users),
        headers,
        rate,
        digest,
    })
}

fn parse(text: &str) -> Result<WebConfigFile, String> {
    // YAML of nothing is null: no text, white space, comments.
    let file: Option<WebConfigFile> = match text.trim().is_empty() {
        true => None,
        false => serde_saphyr::from_str(text).map_err(|error| secret::yaml_error(&error))?,
    };
    // A file that is being written must not turn protection off.
    let asks = file.filter(|file| !file.is_blank());
    asks.ok_or_else(|| {
        "it configures nothing, so everybody could connect; leave the flag out if nothing is wanted"
            .to_owned()
    })
}

fn check(users: BTreeMap<String, Spanned<String>>) -> Result<Users, String> {
    let mut checked = BTreeMap::new();
    for (name, hash) in users {
        let line = hash.referenced.line();
        if name.contains(':') {
            return Err(format!(
                "basic_auth_users, line {line}: a user's name cannot hold a colon"
            ));
        }
        checked.insert(name, (line, hash.value));
    }
    Users::new(checked)
}

/// What a file with this text says as far as it names no other file: whether it asks for
/// anything, its users, its headers. For the fuzz targets.
#[doc(hidden)]
pub fn web_config_of_text(text: &str) -> Result<(), String> {
    let file = parse(text)?;
    check(file.basic_auth_users.flatten().unwrap_or_default())?;
    file.http_server_config
        .unwrap_or_default()
        .headers
        .unwrap_or_default()
        .list()?;
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebConfigFile {
    #[serde(deserialize_with = "present")]
    tls_server_config: Option<Option<TlsSection>>,
    http_server_config: Option<HttpSection>,
    #[serde(deserialize_with = "present")]
    basic_auth_users: Option<Option<BTreeMap<String, Spanned<String>>>>,
    rate_limit: Option<RateSection>,
}

impl WebConfigFile {
    fn is_blank(&self) -> bool {
        self.tls_server_config.is_none()
            && self.http_server_config.is_none()
            && self.basic_auth_users.is_none()
            && self.rate_limit.is_none()
    }
}

/// A key without a value is not the same as no key.
fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    http2: Option<bool>,
    headers: Option<Headers>,
}

/// Those that the toolkit lets be set, and no others.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Headers {
    #[serde(rename = "Content-Security-Policy")]
    content_security_policy: Option<String>,
    #[serde(rename = "X-Frame-Options")]
    x_frame_options: Option<String>,
    #[serde(rename = "X-Content-Type-Options")]
    x_content_type_options: Option<String>,
    #[serde(rename = "X-XSS-Protection")]
    x_xss_protection: Option<String>,
    #[serde(rename = "Strict-Transport-Security")]
    strict_transport_security: Option<String>,
}

impl Headers {
    fn list(self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let any: &[&str] = &[];
        let given = [
            ("Content-Security-Policy", self.content_security_policy, any),
            (
                "X-Frame-Options",
                self.x_frame_options,
                &["deny", "sameorigin"],
            ),
            (
                "X-Content-Type-Options",
                self.x_content_type_options,
                &["nosniff"],
            ),
            ("X-XSS-Protection", self.x_xss_protection, any),
            (
                "Strict-Transport-Security",
                self.strict_transport_security,
                any,
            ),
        ];
        let mut headers = Vec::new();
        for (name, value, allowed) in given {
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                continue;
            };
            let key = format!("http_server_config.headers.{name}");
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                return Err(format!("{key} must be {}", allowed.join(" or ")));
            }
            let parsed = name.to_ascii_lowercase().parse::<HeaderName>();
            match (parsed, HeaderValue::from_str(&value)) {
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => return Err(format!("{key} cannot be sent in a header")),
            }
        }
        Ok(headers)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RateSection {
    #[serde(deserialize_with = "span")]
    interval: Option<Duration>,
    burst: Option<u32>,
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Span;
    impl de::Visitor<'_> for Span {
        type Value = Option<Duration>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time span such as 1s or 200ms, or 0")
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "0" => Ok(None),
                _ => humantime::parse_duration(text)
                    .map(Some)
                    .map_err(|_| E::custom("not a time span such as 1s or 200ms")),
            }
        }
    }
    deserializer.deserialize_any(Span)
}

#[cfg(test)]
mod tests;
