//! One bounded `GET` or `POST` over HTTP or HTTPS.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::OnceCell;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::body::{CollectError, collect};
use crate::secret;

/// A file of authorities is read up to here.
const MAX_PEM_BYTES: u64 = 4 << 20;
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Why [`get`] has no answer.
///
/// No message repeats the URL, its path or query, or a header's value: any of them may hold
/// a credential. Only the host is named.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not of the form `http[s]://host[:port][/path][?query]`.
    BadUrl,
    /// The URL holds a user name or password.
    UserInfo,
    /// A header has an invalid name or value, or is one the client sets.
    BadHeader {
        /// The header's name as given.
        name: String,
    },
    /// No authorities to verify a certificate with.
    Authorities {
        /// Why not.
        why: String,
    },
    /// The client's certificate or key cannot be used.
    Identity {
        /// Why not.
        why: String,
    },
    /// The server's certificate was not accepted, or the TLS handshake failed.
    Tls {
        /// The host asked for.
        host: String,
        /// What was wrong.
        why: String,
    },
    /// All addresses of the host refuse a connection: no program listens there.
    Refused {
        /// The host asked for.
        host: String,
    },
    /// The host has no address, or none of them accepts a connection.
    Connect {
        /// The host asked for.
        host: String,
        /// What was wrong.
        why: String,
    },
    /// The answer was not complete in time.
    TimedOut {
        /// The time that was allowed.
        after: Duration,
    },
    /// The answer's body is longer than allowed.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The peer did not answer in valid HTTP, or the connection broke.
    Protocol {
        /// What was wrong.
        why: String,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl => f.write_str("the URL must look like http://host:port/path"),
            Self::UserInfo => {
                f.write_str("the URL must not hold a user name or password; send a header instead")
            }
            Self::BadHeader { name } => write!(f, "the header {name:?} cannot be sent"),
            Self::Authorities { why } => write!(f, "no certificate can be verified: {why}"),
            Self::Identity { why } => write!(f, "the client's certificate cannot be used: {why}"),
            Self::Tls { host, why } => write!(f, "no TLS with {host:?}: {why}"),
            Self::Refused { host } => write!(f, "the connection to {host:?} was refused"),
            Self::Connect { host, why } => write!(f, "cannot connect to {host:?}: {why}"),
            Self::TimedOut { after } => write!(f, "no complete answer within {after:?}"),
            Self::TooLarge { limit } => write!(f, "the answer is longer than {limit} bytes"),
            Self::Protocol { why } => write!(f, "no valid HTTP answer: {why}"),
        }
    }
}

impl Error for ClientError {}

/// Sends one `GET` to an `http://` or `https://` URL and returns the status and the body.
///
/// An https server must have a certificate for the host from one of the authorities in the
/// PEM file `authorities`, which is read each time, or else from one that the system trusts.
///
/// Every address of the host is tried. Redirects are returned, not followed, and the
/// environment's proxy variables are ignored: the request goes to the named host and nowhere
/// else. `timeout` covers all of it, from resolving the name to the last byte; at most
/// `max_body` bytes of body are taken.
///
/// # Errors
///
/// A [`ClientError`] for a URL or header that cannot be used (before anything is sent), a
/// host that cannot be reached, and an answer that is late, too long or not HTTP. Any status
/// is a success.
pub async fn get(
    url: &str,
    headers: &[(String, String)],
    authorities: Option<&Path>,
    timeout: Duration,
    max_body: usize,
) -> Result<(u16, Bytes), ClientError> {
    let tls = ClientTls {
        ca_file: authorities.map(Path::to_owned),
        ..ClientTls::default()
    };
    get_with(url, headers, &tls, timeout, max_body).await
}

/// How a server is verified, and what the client shows of itself. All files are PEM and are
/// read for each request.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// The authorities of the server's certificate; those of the system where `None`.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate and its key.
    pub cert_and_key: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, where it is not the URL's host.
    pub server_name: Option<String>,
}

/// [`get`] with all of [`ClientTls`].
///
/// # Errors
///
/// Those of [`get`], and [`ClientError::Identity`].
pub async fn get_with(
    url: &str,
    headers: &[(String, String)],
    tls: &ClientTls,
    timeout: Duration,
    max_body: usize,
) -> Result<(u16, Bytes), ClientError> {
    let request = request(parse_url(url)?, headers)?;
    exchange(request, tls, timeout, max_body).await
}

/// Sends one `POST` with this body, of this media type. Otherwise as [`get_with`].
///
/// # Errors
///
/// Those of [`get_with`].
pub async fn post_with(
    url: &str,
    headers: &[(String, String)],
    (content_type, body): (&'static str, String),
    tls: &ClientTls,
    timeout: Duration,
    max_body: usize,
) -> Result<(u16, Bytes), ClientError> {
    let mut request = request(parse_url(url)?, headers)?;
    *request.method_mut() = Method::POST;
    let content_type = HeaderValue::from_static(content_type);
    request.headers_mut().insert(CONTENT_TYPE, content_type);
    *request.body_mut() = Full::new(Bytes::from(body));
    exchange(request, tls, timeout, max_body).await
}

async fn exchange(
    request: Request<Full<Bytes>>,
    tls: &ClientTls,
    timeout: Duration,
    max_body: usize,
) -> Result<(u16, Bytes), ClientError> {
    let exchange = async {
        let config = match (request.uri().scheme_str(), &tls.cert_and_key) {
            (Some("https"), None) => tls_config(tls.ca_file.as_deref()).await?,
            (Some("https"), Some((cert, key))) => {
                let (ca, cert, key) = (tls.ca_file.clone(), cert.clone(), key.clone());
                let load =
                    tokio::task::spawn_blocking(move || with_identity(ca.as_deref(), &cert, &key));
                let config = load.await.map_err(|_| ClientError::Identity {
                    why: "reading it failed".into(),
                })?;
                Arc::new(config?)
            }
            // Never used: the URL is of http.
            _ => Arc::new(client_config(RootCertStore::empty())?),
        };
        let server_name = tls.server_name.clone();
        send(
            request,
            Arc::unwrap_or_clone(config),
            server_name,
            timeout,
            max_body,
        )
        .await
    };
    within(timeout, exchange).await
}

/// Sends one `GET` with this configuration of TLS. Otherwise as [`get`].
pub(crate) async fn get_with_config(
    url: &str,
    config: ClientConfig,
    timeout: Duration,
    max_body: usize,
) -> Result<(u16, Bytes), ClientError> {
    let request = request(parse_url(url)?, &[])?;
    within(timeout, send(request, config, None, timeout, max_body)).await
}

async fn within<T>(
    timeout: Duration,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(timeout, exchange).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::TimedOut { after: timeout }),
    }
}

async fn send(
    request: Request<Full<Bytes>>,
    config: ClientConfig,
    server_name: Option<String>,
    timeout: Duration,
    max_body: usize,
) -> Result<(u16, Bytes), ClientError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // It is divided among the host's addresses.
    tcp.set_connect_timeout(Some(timeout));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http();
    let connector = match server_name {
        Some(name) => {
            let name = ServerName::try_from(name).map_err(|_| ClientError::Tls {
                host: host.clone(),
                why: "server_name is not a valid host name".into(),
            })?;
            connector.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => connector,
    };
    let connector = connector.enable_http1().wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .retry_canceled_requests(false)
        .http1_max_buf_size(MAX_HEADER_BYTES)
        .build(connector);
    let port = port_of(request.uri());
    let response = match client.request(request).await {
        Ok(response) => response,
        Err(error) => {
            let error = request_error(&error, host);
            return match error {
                ClientError::Refused { host } => Err(refused(host, port).await),
                error => Err(error),
            };
        }
    };
    let status = response.status().as_u16();
    match collect(response.into_body(), max_body).await {
        Ok(body) => Ok((status, body)),
        Err(CollectError::TooLarge) => Err(ClientError::TooLarge { limit: max_body }),
        Err(CollectError::Body(error)) => Err(ClientError::Protocol {
            why: error.to_string(),
        }),
    }
}

fn request_error(error: &hyper_util::client::legacy::Error, host: String) -> ClientError {
    let mut cause: &(dyn Error + 'static) = error;
    let (mut is_tls, mut is_refused) = (false, false);
    loop {
        is_tls |= cause.is::<rustls::Error>();
        is_refused |= cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        // An `io::Error` may be a wrapper whose `source` skips what it wraps.
        let wrapped = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        match wrapped.or_else(|| cause.source()) {
            Some(deeper) => cause = deeper,
            None => break,
        }
    }
    let why = cause.to_string();
    match (is_tls, error.is_connect()) {
        (true, _) => ClientError::Tls { host, why },
        (false, true) if is_refused => ClientError::Refused { host },
        (false, true) => ClientError::Connect { host, why },
        (false, false) => ClientError::Protocol { why },
    }
}

fn port_of(uri: &Uri) -> u16 {
    let default = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    uri.port_u16().unwrap_or(default)
}

/// One address has refused the connection; whether all of them do.
async fn refused(host: String, port: u16) -> ClientError {
    let name = host.trim_matches(['[', ']']).to_owned();
    let other = |error: io::Error| error.to_string();
    let addresses = match tokio::net::lookup_host((name.as_str(), port)).await {
        Ok(addresses) => addresses,
        Err(error) => {
            return ClientError::Connect {
                host,
                why: other(error),
            };
        }
    };
    for address in addresses {
        match tokio::net::TcpStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                return ClientError::Connect {
                    host,
                    why: other(error),
                };
            }
            Ok(_) => {
                let why = "it was refused at first and accepted then".into();
                return ClientError::Connect { host, why };
            }
        }
    }
    ClientError::Refused { host }
}

/// With the authorities in a file, or those of the system, which are read once.
async fn tls_config(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, ClientError> {
    static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let load = |file: Option<PathBuf>| async move {
        let roots = tokio::task::spawn_blocking(move || roots(file.as_deref()));
        let roots = match roots.await {
            Ok(roots) => roots.map_err(|why| ClientError::Authorities { why })?,
            Err(_) => {
                return Err(ClientError::Authorities {
                    why: "reading them failed".into(),
                });
            }
        };
        client_config(roots).map(Arc::new)
    };
    match authorities {
        Some(file) => load(Some(file.to_owned())).await,
        None => SYSTEM.get_or_try_init(|| load(None)).await.map(Arc::clone),
    }
}

fn client_config(roots: RootCertStore) -> Result<ClientConfig, ClientError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Authorities {
            why: error.to_string(),
        })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// With a certificate of the client. Blocks.
fn with_identity(ca: Option<&Path>, cert: &Path, key: &Path) -> Result<ClientConfig, ClientError> {
    let roots = roots(ca).map_err(|why| ClientError::Authorities { why })?;
    let identity = |why: String| ClientError::Identity { why };
    let broken =
        |path: &Path, error: secret::SecretError| identity(format!("{} {error}", path.display()));
    // The certificate is public, the key is not.
    let (pem, _) =
        secret::read_with_exposure(cert, MAX_PEM_BYTES).map_err(|error| broken(cert, error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|_| identity(format!("{} is not valid PEM", cert.display())))?;
    let pem = secret::read(key, MAX_PEM_BYTES).map_err(|error| broken(key, error))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        identity(format!(
            "{} holds no private key in PEM form",
            key.display()
        ))
    })?;
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)
        })
        .map_err(|error| identity(error.to_string()))
}

/// Reads authorities. Blocks.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            let shown = path.display();
            let (file, _) = secret::open(path).map_err(|error| format!("{shown}: {error}"))?;
            let mut pem = Vec::new();
            file.take(MAX_PEM_BYTES)
                .read_to_end(&mut pem)
                .map_err(|error| format!("{shown}: {error}"))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let found = found.map_err(|_| format!("{shown} is not valid PEM"))?;
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                return Err(format!("{shown} holds no certificate in PEM form"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no authorities; install ca-certificates".into());
            }
        }
    }
    Ok(roots)
}

/// Whether a URL can be asked.
///
/// # Errors
///
/// [`ClientError::BadUrl`] or [`ClientError::UserInfo`].
pub fn check_url(url: &str) -> Result<(), ClientError> {
    parse_url(url).map(drop)
}

fn parse_url(url: &str) -> Result<Uri, ClientError> {
    // Checked on the text: a credential may be what makes the URL invalid.
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = after_scheme.find(['/', '?', '#']);
    if after_scheme[..end.unwrap_or(after_scheme.len())].contains('@') {
        return Err(ClientError::UserInfo);
    }
    let uri: Uri = url.parse().map_err(|_| ClientError::BadUrl)?;
    let authority = uri.authority().ok_or(ClientError::BadUrl)?;
    let host = authority.host();
    let has_port = match authority.port_u16() {
        Some(port) => port != 0,
        // `host:` and `host:99999` are not "no port".
        None => authority.as_str() == host,
    };
    match matches!(uri.scheme_str(), Some("http" | "https")) && !host.is_empty() && has_port {
        true => Ok(uri),
        false => Err(ClientError::BadUrl),
    }
}

fn request(uri: Uri, extra: &[(String, String)]) -> Result<Request<Full<Bytes>>, ClientError> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in extra {
        let bad = || ClientError::BadHeader { name: name.clone() };
        let parsed: HeaderName = name.parse().map_err(|_| bad())?;
        // These would change how the message is framed or where it goes.
        const OURS: [&str; 6] = [
            "connection",
            "content-length",
            "host",
            "te",
            "transfer-encoding",
            "upgrade",
        ];
        if OURS.contains(&parsed.as_str()) {
            return Err(bad());
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        // Kept out of debug output.
        value.set_sensitive(true);
        headers.append(parsed, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests;
