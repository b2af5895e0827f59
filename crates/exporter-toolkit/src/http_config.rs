//! Credentials and TLS of a client, as in Prometheus' `http_config`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use serde::Deserialize;

use crate::client::{ClientError, ClientTls, get_with, post_with};
use crate::secret;

/// The keys `authorization`, `basic_auth`, `tls_config` and `follow_redirects` of Prometheus'
/// `http_config`. Secrets come from files only, and redirects are never followed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    authorization: Option<Authorization>,
    basic_auth: Option<BasicAuth>,
    tls_config: TlsConfig,
    follow_redirects: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorization {
    #[serde(default = "bearer")]
    r#type: String,
    credentials_file: PathBuf,
}

fn bearer() -> String {
    "Bearer".into()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicAuth {
    username: String,
    password_file: PathBuf,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsConfig {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server_name: Option<String>,
}

/// A client with credentials. Files are read for each request, so that they can be replaced.
#[derive(Clone, Debug, Default)]
pub struct HttpClient {
    credentials: Option<Credentials>,
    tls: ClientTls,
}

#[derive(Clone, Debug)]
enum Credentials {
    Authorization { r#type: String, file: PathBuf },
    Basic { username: String, file: PathBuf },
}

/// Why a request has no answer. Repeats no secret and no URL.
#[derive(Debug)]
pub enum HttpError {
    /// A file of credentials cannot be used.
    Credentials(String),
    /// See [`ClientError`].
    Client(ClientError),
    /// The status is not 200.
    Status(u16),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Credentials(why) => f.write_str(why),
            HttpError::Client(error) => error.fmt(f),
            HttpError::Status(status @ (401 | 403)) => write!(
                f,
                "the server refused the credentials (status {status}); correct authorization or basic_auth"
            ),
            HttpError::Status(status @ 300..=399) => write!(
                f,
                "the server redirects (status {status}), and redirects are not followed; configure the URL where it leads"
            ),
            HttpError::Status(404) => f.write_str(
                "the server does not know the path (status 404); correct the path in the URL",
            ),
            HttpError::Status(status) => write!(f, "the server answered with status {status}"),
        }
    }
}

impl std::error::Error for HttpError {}

impl HttpConfig {
    /// The client.
    ///
    /// Errors: a sentence that begins with the key.
    pub fn build(self) -> Result<HttpClient, String> {
        if self.follow_redirects {
            return Err("follow_redirects: redirects are never followed, because the credentials are for the configured server only; leave the key out".into());
        }
        let credentials = match (self.authorization, self.basic_auth) {
            (Some(_), Some(_)) => {
                return Err("authorization and basic_auth: give one of them".into());
            }
            (Some(given), None) => Some(Credentials::Authorization {
                r#type: given.r#type,
                file: given.credentials_file,
            }),
            (None, Some(given)) if given.username.contains(':') => {
                return Err("basic_auth.username must not contain a colon".into());
            }
            (None, Some(given)) => Some(Credentials::Basic {
                username: given.username,
                file: given.password_file,
            }),
            (None, None) => None,
        };
        let cert_and_key = match (self.tls_config.cert_file, self.tls_config.key_file) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err("tls_config: cert_file and key_file belong together".into()),
        };
        Ok(HttpClient {
            credentials,
            tls: ClientTls {
                ca_file: self.tls_config.ca_file,
                cert_and_key,
                server_name: self.tls_config.server_name,
            },
        })
    }
}

impl HttpClient {
    /// The body of the answer to a `GET`. `timeout` covers the whole request.
    ///
    /// Errors: a file of credentials cannot be read, no answer in time, or a status other
    /// than 200.
    pub async fn get(
        &self,
        url: &str,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Bytes, HttpError> {
        let headers = self.headers(timeout).await?;
        match get_with(url, &headers, &self.tls, timeout, max_body).await {
            Ok((200, body)) => Ok(body),
            Ok((status, _)) => Err(HttpError::Status(status)),
            Err(error) => Err(HttpError::Client(error)),
        }
    }

    /// Sends a `POST` with this body, of this media type. `timeout` is that of the request;
    /// reading the credentials may take as long again.
    ///
    /// Returns the status.
    ///
    /// Errors: as [`HttpClient::get`], but any status from 200 to 299 is a success.
    pub async fn post(
        &self,
        url: &str,
        body: (&'static str, String),
        timeout: Duration,
        max_body: usize,
    ) -> Result<u16, HttpError> {
        let headers = self.headers(timeout).await?;
        match post_with(url, &headers, body, &self.tls, timeout, max_body).await {
            Ok((status @ 200..=299, _)) => Ok(status),
            Ok((status, _)) => Err(HttpError::Status(status)),
            Err(error) => Err(HttpError::Client(error)),
        }
    }

    /// The header with the credentials, if there are any.
    async fn headers(&self, timeout: Duration) -> Result<Vec<(String, String)>, HttpError> {
        let Some(credentials) = self.credentials.clone() else {
            return Ok(Vec::new());
        };
        let read = tokio::task::spawn_blocking(move || credentials.header());
        match tokio::time::timeout(timeout, read).await {
            Ok(Ok(header)) => {
                let header = header.map_err(HttpError::Credentials)?;
                Ok(vec![("authorization".to_owned(), header)])
            }
            _ => Err(HttpError::Credentials(
                "the file of credentials could not be read in time".into(),
            )),
        }
    }
}

impl Credentials {
    /// The value of the header. Blocks.
    fn header(&self) -> Result<String, String> {
        match self {
            Credentials::Authorization { r#type, file } => {
                Ok(format!("{type} {}", secret::read_line(file)?))
            }
            Credentials::Basic { username, file } => {
                let pair = format!("{username}:{}", secret::read_line(file)?);
                Ok(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
