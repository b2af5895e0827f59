//! One bounded `GET` over HTTP or HTTPS, for asking a service how it is.

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::secret;

use super::body::{CollectError, collect};

/// A file of authorities is read up to here.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Why [`get`] has no answer.
///
/// No message repeats the URL, its path or query, a header's value or a
/// resolver's text: any of them may hold a credential. Only the host and port
/// are named.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not of the form `http[s]://host[:port][/path][?query]`.
    BadUrl,
    /// No authorities are known by which a server could be certified.
    Authorities {
        /// Why not.
        why: String,
    },
    /// The host could not be told from another one, or no encryption agreed on.
    Tls {
        /// The host asked for.
        host: String,
        /// What was wrong.
        source: io::Error,
    },
    /// The URL holds a user name or password.
    UserInfo,
    /// A header has an invalid name or value, or is one the client sets.
    BadHeader {
        /// The header's name as given.
        name: String,
    },
    /// The host name has no address.
    Resolve {
        /// The host asked for.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the host accepts a connection.
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// Why that one failed.
        source: io::Error,
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
    Protocol(hyper::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl => f.write_str("the URL must look like http://host:port/path"),
            Self::Authorities { why } => write!(f, "no certificate can be verified: {why}"),
            Self::Tls { host, source } => write!(f, "no TLS with {host:?}: {source}"),
            Self::UserInfo => {
                f.write_str("the URL must not hold a user name or password; send a header instead")
            }
            Self::BadHeader { name } => write!(f, "the header {name:?} cannot be sent"),
            Self::Resolve { host, source } => write!(f, "cannot resolve {host:?}: {source}"),
            Self::Connect { address, source } => {
                write!(f, "cannot connect to {address}: {source}")
            }
            Self::TimedOut { after } => write!(f, "no complete answer within {after:?}"),
            Self::TooLarge { limit } => {
                write!(f, "the answer is longer than {limit} bytes")
            }
            Self::Protocol(source) => write!(f, "no valid HTTP answer: {source}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. }
            | Self::Connect { source, .. }
            | Self::Tls { source, .. } => Some(source),
            Self::Protocol(source) => Some(source),
            _ => None,
        }
    }
}

/// Sends one `GET` to an `http://` or `https://` URL and returns the status and the body.
///
/// A server of https must have a certificate for the host of one of the authorities in the
/// PEM file `authorities`, which is read each time, or else of one that the system trusts.
///
/// Every address of the host is tried in turn. Redirects are returned, not
/// followed, and proxy variables of the environment are ignored: the request
/// goes to the host that was named and nowhere else. `timeout` covers all of
/// it, from resolving the name to the last byte; at most `max_body` bytes of
/// body are taken.
///
/// # Errors
///
/// A [`ClientError`] for a URL or header that cannot be used (before anything
/// is sent), a host that cannot be resolved or reached, and an answer that is
/// late, too long or not HTTP. Any status is a success.
pub async fn get(
    url: &str,
    headers: &[(String, String)],
    authorities: Option<&Path>,
    timeout: Duration,
    max_body: usize,
) -> Result<(u16, Bytes), ClientError> {
    let target = Target::parse(url)?;
    let request = target.request(headers)?;
    let deadline = Instant::now() + timeout;
    let exchange = async {
        let stream = connect(&target, deadline).await?;
        let stream: Box<dyn Stream> = match target.tls {
            false => Box::new(stream),
            true => Box::new(encrypt(&target, stream, authorities).await?),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::Protocol)?;
        // Dropping the set ends the connection, also when the time is up.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender
            .send_request(request)
            .await
            .map_err(ClientError::Protocol)?;
        let status = response.status().as_u16();
        match collect(response.into_body(), max_body).await {
            Ok(body) => Ok((status, body)),
            Err(CollectError::TooLarge) => Err(ClientError::TooLarge { limit: max_body }),
            Err(CollectError::Body(source)) => Err(ClientError::Protocol(source)),
        }
    };
    match tokio::time::timeout_at(deadline, exchange).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::TimedOut { after: timeout }),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn encrypt(
    target: &Target,
    stream: TcpStream,
    authorities: Option<&Path>,
) -> Result<TlsStream<TcpStream>, ClientError> {
    static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let load = |file: Option<PathBuf>| async move {
        match tokio::task::spawn_blocking(move || trusting(file.as_deref())).await {
            Ok(config) => config.map_err(|why| ClientError::Authorities { why }),
            Err(_) => Err(ClientError::Authorities {
                why: "reading them broke off".into(),
            }),
        }
    };
    let config = match authorities {
        Some(file) => load(Some(file.to_owned())).await?,
        None => Arc::clone(SYSTEM.get_or_try_init(|| load(None)).await?),
    };
    let name = ServerName::try_from(target.host.clone()).map_err(|_| ClientError::BadUrl)?;
    let connecting = TlsConnector::from(config).connect(name, stream);
    connecting.await.map_err(|source| ClientError::Tls {
        host: target.host.clone(),
        source,
    })
}

/// Trusts the authorities in a file, or those of the system. Blocks.
fn trusting(file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
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
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The parts of a URL that was found usable.
struct Target {
    tls: bool,
    host: String,
    port: u16,
    /// What the `Host` header says.
    authority: String,
    /// The path and query to ask for.
    path: Uri,
}

impl Target {
    fn parse(url: &str) -> Result<Self, ClientError> {
        // Checked on the text: a credential may be what makes the URL invalid.
        let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        let end = after_scheme.find(['/', '?', '#']);
        if after_scheme[..end.unwrap_or(after_scheme.len())].contains('@') {
            return Err(ClientError::UserInfo);
        }
        let uri: Uri = url.parse().map_err(|_| ClientError::BadUrl)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(ClientError::BadUrl),
        };
        let authority = uri.authority().ok_or(ClientError::BadUrl)?;
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = match authority.port_u16() {
            Some(port) => port,
            // `host:` and `host:99999` are not "no port".
            None if authority.as_str() != authority.host() => return Err(ClientError::BadUrl),
            None if tls => 443,
            None => 80,
        };
        if host.is_empty() || port == 0 {
            return Err(ClientError::BadUrl);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: path.parse().map_err(|_| ClientError::BadUrl)?,
        })
    }

    fn request(&self, extra: &[(String, String)]) -> Result<Request<Empty<Bytes>>, ClientError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.path.clone();
        let host = HeaderValue::from_str(&self.authority).map_err(|_| ClientError::BadUrl)?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
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
}

/// Tries the host's addresses in turn.
///
/// Each gets its share of the time left, so that one that swallows packets
/// does not use up the time of those after it.
async fn connect(target: &Target, deadline: Instant) -> Result<TcpStream, ClientError> {
    let resolve = |source| ClientError::Resolve {
        host: target.host.clone(),
        source,
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(resolve)?
        .collect();
    let mut last = resolve(io::Error::new(io::ErrorKind::NotFound, "no address"));
    for (index, &address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let source = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => source,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        last = ClientError::Connect { address, source };
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers one connection with fixed bytes and returns what was asked.
    async fn canned(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer).await.unwrap();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            String::from_utf8(asked).unwrap()
        });
        (url, task)
    }

    #[tokio::test]
    async fn sends_what_was_asked_and_reads_the_answer() {
        let (url, asked) = canned(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello").await;
        let headers = [("X-Token".to_owned(), "abc".to_owned())];
        let (status, body) = get(&format!("{url}/a/b?c=d"), &headers, None, SECOND, 5)
            .await
            .unwrap();
        assert_eq!((status, &body[..]), (201, &b"hello"[..]));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-token: abc\r\n"), "{asked}");
        assert!(asked.contains("connection: close\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn resolves_names_and_defaults_the_path() {
        let (url, asked) = canned(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        let url = url.replace("127.0.0.1", "localhost");
        assert_eq!(get(&url, &[], None, SECOND, 0).await.unwrap().0, 204);
        assert!(asked.await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let (url, _) = canned(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        assert_eq!(get(&url, &[], None, SECOND, 10).await.unwrap().0, 302);
    }

    #[tokio::test]
    async fn long_answers_are_refused() {
        let (url, _) = canned(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!").await;
        let error = get(&url, &[], None, SECOND, 5).await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { limit: 5 }));
        let (url, _) =
            canned(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
                .await;
        let error = get(&url, &[], None, SECOND, 5).await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { limit: 5 }));
    }

    #[tokio::test]
    async fn a_silent_peer_is_given_up_on() {
        let (url, task) = canned(b"").await;
        let error = get(&url, &[], None, Duration::from_millis(100), 5)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
        task.abort();
    }

    #[tokio::test]
    async fn broken_peers_are_errors() {
        for answer in [
            &b"garbage\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        ] {
            let (url, _) = canned(answer).await;
            let error = get(&url, &[], None, SECOND, 100).await.unwrap_err();
            assert!(matches!(error, ClientError::Protocol(_)), "{error}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", closed.local_addr().unwrap());
        drop(closed);
        let error = get(&url, &[], None, SECOND, 5).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    }

    #[tokio::test]
    async fn bad_urls_are_refused_without_repeating_them() {
        for url in [
            "",
            "hunter2",
            "127.0.0.1:80/hunter2",
            "ftp://a/hunter2",
            "http:///hunter2",
            "http://a:/hunter2",
            "http://a:99999/hunter2",
            "http://a:0/hunter2",
            "http://a b/hunter2",
            "http://a/\r\nX: hunter2",
            "https://[a/hunter2",
            "http://user:hunter2@a/",
            "http://user:hun ter2@a/",
            "https://hunter2@a",
            "hunter2@a",
        ] {
            let error = get(url, &[], None, SECOND, 5).await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(!shown.contains("ter2@"), "{shown}");
            if url.starts_with("http") && url.contains('@') {
                assert!(matches!(error, ClientError::UserInfo), "{url}");
            }
        }
        assert_eq!(Target::parse("https://a/b").unwrap().port, 443);
        // An @ in the path is no credential.
        assert!(Target::parse("http://a/@b").is_ok());
        assert_eq!(Target::parse("http://[::1]:8/").unwrap().host, "::1");
        assert_eq!(Target::parse("http://[::1]/").unwrap().port, 80);
    }

    #[tokio::test]
    async fn unsafe_headers_are_refused() {
        for (name, value) in [
            ("X", "hunter2\r\nY: z"),
            ("bad name", "hunter2"),
            ("Host", "hunter2"),
            ("Content-Length", "7"),
            ("Transfer-Encoding", "chunked"),
        ] {
            let headers = [(name.to_owned(), value.to_owned())];
            let error = get("http://127.0.0.1:1/", &headers, None, SECOND, 5)
                .await
                .unwrap_err();
            assert!(matches!(error, ClientError::BadHeader { .. }), "{name}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
