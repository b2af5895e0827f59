//! Serving HTTP/1.1 within limits.
//!
//! | limit | what it bounds |
//! |---|---|
//! | [`ServerLimits::max_connections`] | connections; one more waits in the system's backlog |
//! | [`ServerLimits::header_timeout`] | from the connection to the end of the first headers, with the TLS handshake; also how long the last answer of a connection may take to be sent |
//! | [`ServerLimits::request_timeout`] | from the headers to the answer |
//! | [`ServerLimits::idle_timeout`] | from an answer to the end of the next headers |
//!
//! A connection is kept alive only while at least half of the places are free. So at least
//! half of the places become free within one header timeout, whatever clients do: say
//! nothing, send request after request without reading, or stay idle after an answer.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::{Response, WebConfig, text};

/// What clients can make the server spend at most.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// From the connection to the end of the first request's headers, including the TLS
    /// handshake; and for sending an answer that ends its connection.
    pub header_timeout: Duration,
    /// From the end of a request's headers until its answer is ready; then it is 503.
    pub request_timeout: Duration,
    /// From an answer to the end of the next request's headers, on a connection that is
    /// kept alive.
    pub idle_timeout: Duration,
    /// Connections at a time, at least 1.
    pub max_connections: usize,
    /// The request line and headers together, in bytes. Longer ones are answered with 431.
    pub max_header_bytes: usize,
    /// How long running requests may take to finish after the shutdown began.
    pub drain: Duration,
}

impl Default for ServerLimits {
    /// 10 s for headers, 60 s for a request, 2 min between requests, 256 connections,
    /// 16 KiB of headers, 10 s to drain.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            // Longer than the usual scrape interval of a minute, so that a scraper can keep
            // its connection.
            idle_timeout: Duration::from_secs(120),
            max_connections: 256,
            max_header_bytes: 16 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// Sockets, and the web configuration that holds for them.
#[derive(Default)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    web_config: Option<Arc<WebConfig>>,
    own_credential: Vec<&'static str>,
}

impl Listeners {
    /// Without a web configuration HTTP is not encrypted and clients do not authenticate.
    pub fn new(sockets: Vec<TcpListener>, web_config: Option<WebConfig>) -> Self {
        Self {
            sockets,
            web_config: web_config.map(Arc::new),
            own_credential: Vec::new(),
        }
    }

    /// Skips users and rate limit for this path: its handler checks a credential of its own,
    /// and a client can send only one. Client certificates are required all the same.
    #[must_use]
    pub fn with_own_credential(mut self, path: &'static str) -> Self {
        self.own_credential.push(path);
        self
    }
}

impl From<Vec<TcpListener>> for Listeners {
    fn from(sockets: Vec<TcpListener>) -> Self {
        Self::new(sockets, None)
    }
}

/// What all connections share.
struct ServerState<H> {
    web_config: Option<Arc<WebConfig>>,
    own_credential: Vec<&'static str>,
    limits: ServerLimits,
    slots: Arc<Semaphore>,
    handler: H,
}

/// Serves HTTP/1.1 on every listener until `shutdown` resolves; then a graceful shutdown:
/// idle connections end, and running requests have [`ServerLimits::drain`] to finish.
///
/// `handler` gets each request and the client's address. A panic in it is answered with 500
/// and harms nothing else. A client that goes away, and the request timeout, drop the
/// handler's future at its next `await`: spawn what must be finished (see
/// [`crate::ConcurrencyLimit::run`]). [`crate::read_body`] bounds a request's body. A HEAD
/// request gets the headers of the answer without the body.
///
/// An error of a connection ends that connection only. When connections cannot be accepted,
/// such as when file descriptors run out, the server retries with a backoff.
pub async fn serve<H, F, S>(
    listeners: impl Into<Listeners>,
    limits: ServerLimits,
    handler: H,
    shutdown: S,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
    S: Future<Output = ()>,
{
    let listeners = listeners.into();
    let max_connections = limits.max_connections.clamp(1, Semaphore::MAX_PERMITS);
    let limits = ServerLimits {
        max_connections,
        ..limits
    };
    let state = Arc::new(ServerState {
        web_config: listeners.web_config,
        own_credential: listeners.own_credential,
        slots: Arc::new(Semaphore::new(max_connections)),
        limits,
        handler,
    });
    let stop = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let accept = async {
        let mut next = 0;
        // The semaphore is never closed.
        while let Ok(slot) = Arc::clone(&state.slots).acquire_owned().await {
            let (stream, peer) = accept_with_retry(&listeners.sockets, &mut next).await;
            // Finished tasks are collected here, so the set stays small.
            while connections.try_join_next().is_some() {}
            let (state, stopping) = (Arc::clone(&state), stop.subscribe());
            connections.spawn(async move {
                state.connection(stream, peer, stopping).await;
                drop(slot);
            });
        }
    };
    tokio::select! {
        biased;
        () = shutdown => {}
        () = accept => {}
    }
    drop(listeners.sockets);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(state.limits.drain, drained).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "graceful shutdown timed out; closing connections"
        );
        connections.shutdown().await;
    }
}

/// Accepts from whichever listener has a connection, starting each time after the one that
/// served last, so that none is starved.
async fn accept_with_retry(sockets: &[TcpListener], next: &mut usize) -> (TcpStream, SocketAddr) {
    let mut failures = 0;
    loop {
        let accepted = std::future::poll_fn(|cx| {
            for offset in 0..sockets.len() {
                let index = (*next + offset) % sockets.len();
                if let Poll::Ready(result) = sockets[index].poll_accept(cx) {
                    *next = index + 1;
                    return Poll::Ready(result);
                }
            }
            Poll::Pending
        });
        match accepted.await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                // One line a streak: this can go on for long.
                if failures == 0 {
                    tracing::warn!(%error, "cannot accept connections; retrying");
                }
                failures = (failures + 1).min(5);
                let backoff = Duration::from_millis(50 << failures).min(Duration::from_secs(1));
                tokio::time::sleep(backoff).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// When a connection is closed unless the deadline is moved before.
struct Deadline(watch::Sender<Instant>);

impl Deadline {
    fn new(after: Duration) -> Self {
        Self(watch::Sender::new(Instant::now() + after))
    }

    fn set(&self, after: Duration) {
        self.0.send_replace(Instant::now() + after);
    }

    async fn passed(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let deadline = *changes.borrow_and_update();
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return;
            }
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server itself is gone.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A connection, in the clear or encrypted.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl<H, F> ServerState<H>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    /// Serves one connection to its end or its deadline.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        mut stopping: watch::Receiver<bool>,
    ) {
        let deadline = Arc::new(Deadline::new(self.limits.header_timeout));
        let serve = async {
            let opened = tokio::select! {
                opened = self.open(stream) => opened,
                () = stopped(&mut stopping) => None,
            };
            if let Some((stream, tls)) = opened {
                self.http(stream, tls, peer, &deadline, &mut stopping).await;
            }
        };
        tokio::select! {
            () = serve => {}
            () = deadline.passed() => tracing::debug!(%peer, "a connection timed out"),
        }
    }

    /// Shakes hands where TLS is configured. `None` when the connection is over.
    async fn open(
        &self,
        stream: TcpStream,
    ) -> Option<(Box<dyn Stream>, Option<Arc<ServerConfig>>)> {
        let tls = match &self.web_config {
            Some(web_config) => web_config.tls().await,
            None => None,
        };
        let stream: Box<dyn Stream> = match &tls {
            None => Box::new(stream),
            Some(config) => Box::new(handshake(stream, config).await?),
        };
        Some((stream, tls))
    }

    async fn http(
        self: &Arc<Self>,
        stream: Box<dyn Stream>,
        tls: Option<Arc<ServerConfig>>,
        peer: SocketAddr,
        deadline: &Arc<Deadline>,
        stopping: &mut watch::Receiver<bool>,
    ) {
        let handler = service_fn(|request| {
            let (state, deadline, tls) = (Arc::clone(self), Arc::clone(deadline), tls.clone());
            Box::pin(async move {
                Ok::<_, Infallible>(state.answer(request, peer, &deadline, tls.as_ref()).await)
            })
        });
        let mut connection = http1::Builder::new()
            // The deadline bounds it.
            .header_read_timeout(None)
            .max_header_size(self.limits.max_header_bytes)
            // hyper panics below 8 KiB.
            .max_buf_size(self.limits.max_header_bytes.max(8 * 1024))
            .serve_connection(TokioIo::new(stream), handler);
        let (result, stops) = tokio::select! {
            result = &mut connection => (result, false),
            () = stopped(stopping) => {
                Pin::new(&mut connection).graceful_shutdown();
                ((&mut connection).await, true)
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "a connection failed");
        }
        if !stops {
            tokio::select! {
                () = drain_close(connection.into_parts().io.into_inner()) => {}
                () = stopped(stopping) => {}
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        deadline: &Deadline,
        tls: Option<&Arc<ServerConfig>>,
    ) -> Response {
        let limits = &self.limits;
        deadline.set(limits.request_timeout + limits.header_timeout);
        let work = AssertUnwindSafe(self.authorize_and_handle(request, peer, tls));
        let mut response = match timeout(limits.request_timeout, work.catch_unwind()).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                tracing::error!("a request handler panicked");
                text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
            }
            Err(_) => {
                tracing::warn!("a request timed out");
                let message = "The request timed out, try again later.\n";
                text(StatusCode::SERVICE_UNAVAILABLE, message)
            }
        };
        let has_room = 2 * self.slots.available_permits() >= limits.max_connections;
        if is_refusal(response.status()) || !has_room {
            close(&mut response);
        }
        deadline.set(match response.headers().contains_key(CONNECTION) {
            true => limits.header_timeout,
            false => limits.idle_timeout,
        });
        response
    }

    async fn authorize_and_handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        tls: Option<&Arc<ServerConfig>>,
    ) -> Response {
        let Some(web_config) = &self.web_config else {
            return (self.handler)(request, peer).await;
        };
        let check = web_config.check().await;
        let refusal = match self.own_credential.contains(&request.uri().path()) {
            true => None,
            false => check.authorize(request.headers(), peer).await.err(),
        };
        let mut response = match refusal {
            Some(refusal) => refusal,
            None => (self.handler)(request, peer).await,
        };
        check.add_headers(&mut response);
        if !check.is_current(tls) {
            close(&mut response);
        }
        response
    }
}

fn close(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Answers that end their connection: who is refused keeps no place.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::TOO_MANY_REQUESTS
    )
}

/// `None` when the client speaks no TLS that fits.
async fn handshake(
    mut stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    // A handshake begins with 22, a request with a letter.
    let mut first = [0];
    if stream.peek(&mut first).await.is_ok() && first[0].is_ascii_alphabetic() {
        const ANSWER: &[u8] =
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Connection: close\r\n\r\nThis is an HTTPS server: ask with https://\n";
        let _ = stream.write_all(ANSWER).await;
        drain_close(stream).await;
        return None;
    }
    match TlsAcceptor::from(Arc::clone(config)).accept(stream).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// Ends a connection so that the client can read the last answer.
///
/// Closing a socket with unread bytes resets it, and the client may lose an answer such as
/// "too large". So what still comes is read and dropped, for a short time.
async fn drain_close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drain = async {
        stream.shutdown().await?;
        let mut scratch = vec![0; 16 * 1024];
        while stream.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // An error means that the client is gone, which is the aim.
    let _ = timeout(Duration::from_secs(2), pin!(drain)).await;
}

#[cfg(test)]
mod tests;
