//! Listening, and serving connections that cannot hold the process up.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::seats::{Mark, Seat, Seats};
use super::{Guard, Response, text};

/// What a client can make the server spend at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the first request's headers may take after the connection was
    /// accepted.
    pub header_timeout: Duration,
    /// How long a client may take to agree on the encryption.
    pub handshake_timeout: Duration,
    /// How many clients may be about that at a time. They do not count as open connections;
    /// one more takes the place of the one that has been at it for the longest.
    pub max_handshakes: usize,
    /// How long a connection is kept once an answer is ready: to send it, to
    /// wait for the next request and to read that one's headers.
    pub idle_timeout: Duration,
    /// How many connections are open at a time, at least 1. One more takes the place of
    /// the oldest that was admitted to nothing yet, else of one that is idle; where all are
    /// busy it waits.
    pub max_connections: usize,
    /// How long the request line and headers may be together, in bytes.
    /// Longer ones are answered with 431.
    pub max_header_bytes: usize,
    /// How long running requests may take to finish after the shutdown began.
    pub drain: Duration,
}

impl Default for Limits {
    /// 10 s for a handshake and for the first headers, 256 handshakes, 2 min for an answer and the pause after
    /// it, 256 connections, 16 KiB of headers, 10 s to drain.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 256,
            // Longer than the usual scrape interval of a minute, so that a
            // scraper can keep its connection.
            idle_timeout: Duration::from_secs(120),
            max_connections: 256,
            max_header_bytes: 16 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// There is no address at all.
    NoAddress,
    /// The address is not `host:port`, `:port` or `[ipv6]:port`.
    Syntax {
        /// The address as given.
        address: String,
    },
    /// The host name has no address.
    Resolve {
        /// The address as given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Another program, or this one, already listens there.
    InUse {
        /// The address as given.
        address: String,
    },
    /// The port needs a privilege that the process does not have.
    Denied {
        /// The address as given.
        address: String,
    },
    /// Any other reason, such as an address that is not this machine's.
    Other {
        /// The address as given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("no address to listen on: set --web.listen-address"),
            Self::Syntax { address } => {
                write!(
                    f,
                    "--web.listen-address {address:?} must look like host:port, :port or [::1]:port"
                )
            }
            Self::Resolve { address, source } => {
                write!(
                    f,
                    "cannot resolve --web.listen-address {address:?}: {source}"
                )
            }
            Self::InUse { address } => write!(
                f,
                "cannot listen on {address}: the port is already in use; stop the other program \
                 or choose another port with --web.listen-address"
            ),
            Self::Denied { address } => write!(
                f,
                "cannot listen on {address}: permission denied; choose a port of 1024 or above \
                 with --web.listen-address"
            ),
            Self::Other { address, source } => {
                write!(
                    f,
                    "cannot listen on {address}: {source}; check --web.listen-address"
                )
            }
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. } | Self::Other { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Listens on every address, or on none.
///
/// An address is `host:port`, `[ipv6]:port`, or `:port` for every interface,
/// over IPv6 and IPv4 where the machine has both. Of a host name with several
/// addresses the first usable one counts, IPv4 before IPv6. Port 0 lets the
/// system choose.
///
/// # Errors
///
/// A [`BindError`] naming the first address that cannot be used and what to
/// change; also when `addresses` is empty.
pub async fn bind(addresses: &[String]) -> Result<Vec<TcpListener>, BindError> {
    if addresses.is_empty() {
        return Err(BindError::NoAddress);
    }
    let mut listeners = Vec::new();
    for address in addresses {
        bind_one(address, &mut listeners).await?;
    }
    Ok(listeners)
}

async fn bind_one(address: &str, listeners: &mut Vec<TcpListener>) -> Result<(), BindError> {
    let given = || address.to_owned();
    let syntax = || BindError::Syntax { address: given() };
    let (host, port) = address.rsplit_once(':').ok_or_else(syntax)?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(syntax());
    }
    let port: u16 = port.parse().map_err(|_| syntax())?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address: given() },
        io::ErrorKind::PermissionDenied => BindError::Denied { address: given() },
        _ => BindError::Other {
            address: given(),
            source,
        },
    };
    if host.is_empty() {
        return every_interface(port, listeners).await.map_err(failed);
    }
    let mut candidates: Vec<SocketAddr> = if let Some(bracketed) = host.strip_prefix('[') {
        let inner = bracketed.strip_suffix(']').ok_or_else(syntax)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| syntax())?;
        vec![(address, port).into()]
    } else if host.contains([':', ']', '/', '@']) || host.contains(char::is_whitespace) {
        return Err(syntax());
    } else {
        tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| BindError::Resolve {
                address: given(),
                source,
            })?
            .collect()
    };
    candidates.sort_by_key(SocketAddr::is_ipv6);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        match TcpListener::bind(candidate).await {
            Ok(listener) => {
                listeners.push(listener);
                return Ok(());
            }
            // Going on to the next address would hide what the user must fix.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(failed(error)),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

async fn every_interface(port: u16, listeners: &mut Vec<TcpListener>) -> io::Result<()> {
    let v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    match TcpListener::bind((IpAddr::from(Ipv6Addr::UNSPECIFIED), port)).await {
        Ok(v6) => {
            let port = v6.local_addr()?.port();
            listeners.push(v6);
            // Where `[::]` takes IPv4 too, which is the default, this address
            // is now in use; where it does not, it is needed.
            listeners.extend(TcpListener::bind((v4, port)).await.ok());
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // A machine without IPv6.
        Err(_) => listeners.push(TcpListener::bind((v4, port)).await?),
    }
    Ok(())
}

/// Where clients come in, and who looks at them.
#[derive(Default)]
pub struct Door {
    listeners: Vec<TcpListener>,
    guard: Option<Arc<Guard>>,
    let_through: Vec<&'static str>,
}

impl Door {
    /// Guarded listeners; everybody may come in where there is no guard.
    pub fn new(listeners: Vec<TcpListener>, guard: Option<Guard>) -> Self {
        Self {
            listeners,
            guard: guard.map(Arc::new),
            let_through: Vec::new(),
        }
    }

    /// Leaves requests for this path to the handler, which asks for a credential of its
    /// own and says with [`admitted`] that it was right: a client can send only one.
    /// Certificates are asked for all the same.
    #[must_use]
    pub fn letting_through(mut self, path: &'static str) -> Self {
        self.let_through.push(path);
        self
    }
}

/// Says that the client of this request has shown the credential its path asks for, so that
/// its connection gives way to no newcomer while the answer is made.
pub fn admitted(request: &Request<Incoming>) {
    if let Some(mark) = request.extensions().get::<Mark>() {
        mark.busy();
    }
}

impl From<Vec<TcpListener>> for Door {
    fn from(listeners: Vec<TcpListener>) -> Self {
        Self::new(listeners, None)
    }
}

/// Serves HTTP/1.1 on every listener until `shutdown` resolves, then lets
/// running requests finish within [`Limits::drain`] and returns.
///
/// `handler` gets each request and the client's address. A panic in it is
/// answered with 500 and harms nothing else. A client that goes away drops
/// the handler's future at its next `await`: spawn what must be finished. The
/// handler bounds its own time; [`super::read_body`] bounds the body's. A
/// HEAD request gets the headers of the answer without the body.
///
/// Errors of a connection end that connection only. When connections cannot
/// be accepted, such as when file descriptors run out, it waits and retries.
pub async fn serve<H, F, S>(door: impl Into<Door>, limits: Limits, handler: H, shutdown: S)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
    S: Future<Output = ()>,
{
    let Door {
        listeners,
        guard,
        let_through,
    } = door.into();
    let handler = Arc::new(handler);
    let limits = Arc::new(limits);
    let keeper = Arc::new(Keeper {
        guard,
        let_through,
        hall: Hall {
            waiting: Mutex::default(),
            max: limits.max_handshakes.max(1),
        },
        seats: Seats::new(limits.max_connections),
    });
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let accept = async {
        let mut turn = 0;
        let mut failures = 0;
        loop {
            // Finished tasks are collected here, so the set stays small.
            while connections.try_join_next().is_some() {}
            match accept_any(&listeners, &mut turn).await {
                Ok((stream, peer)) => {
                    failures = 0;
                    let visitor = Visitor {
                        peer,
                        limits: Arc::clone(&limits),
                        handler: Arc::clone(&handler),
                        stopping: stopping.clone(),
                        keeper: Arc::clone(&keeper),
                    };
                    if keeper.guard.is_some() {
                        // There may be a handshake first, for which there is room even while
                        // there is none for another open connection.
                        let waits = keeper.hall.enter();
                        connections.spawn(guarded(stream, visitor, waits));
                    } else if let Some(seat) = keeper.seats.take().await {
                        connections.spawn(visitor.stay(stream, None, seat));
                    }
                }
                Err(error) if is_about_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    // One line a streak: this can go on for long.
                    if failures == 0 {
                        tracing::warn!(%error, "cannot accept connections; retrying");
                    }
                    failures = (failures + 1).min(5);
                    let pause = Duration::from_millis(50 << failures).min(Duration::from_secs(1));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown => {}
        () = accept => {}
    }
    drop(listeners);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "connections were still open after the time to drain; closing them"
        );
        connections.shutdown().await;
    }
}

/// What all connections share.
struct Keeper {
    guard: Option<Arc<Guard>>,
    let_through: Vec<&'static str>,
    hall: Hall,
    seats: Arc<Seats>,
}

/// Where clients are until they have shaken hands and there is room for them.
struct Hall {
    waiting: Mutex<(u64, BTreeMap<u64, oneshot::Sender<()>>)>,
    max: usize,
}

impl Hall {
    fn waiting(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, oneshot::Sender<()>>)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more in, by sending the first away where the hall is full. The receiver
    /// ends when this one is sent away.
    fn enter(&self) -> (u64, oneshot::Receiver<()>) {
        let (stays, sent_away) = oneshot::channel();
        let mut waiting = self.waiting();
        let (next, inside) = &mut *waiting;
        while inside.len() >= self.max {
            inside.pop_first();
        }
        *next += 1;
        inside.insert(*next, stays);
        (*next, sent_away)
    }

    fn leave(&self, number: u64) {
        self.waiting().1.remove(&number);
    }
}

/// One connection, and what serves it.
struct Visitor<H> {
    peer: SocketAddr,
    limits: Arc<Limits>,
    handler: Arc<H>,
    stopping: watch::Receiver<bool>,
    keeper: Arc<Keeper>,
}

impl<H, F> Visitor<H>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    /// Serves the connection until it ends or has to give way.
    async fn stay<I: AsyncRead + AsyncWrite + Unpin>(
        self,
        stream: I,
        encryption: Option<Arc<ServerConfig>>,
        (seat, sent_away): (Seat, oneshot::Receiver<()>),
    ) {
        let Self {
            peer,
            limits,
            handler,
            stopping,
            keeper,
        } = self;
        let mark = seat.mark();
        let answer = move |request| {
            let (keeper, handler) = (Arc::clone(&keeper), Arc::clone(&handler));
            let (mark, encryption) = (mark.clone(), encryption.clone());
            async move {
                keeper
                    .answer(request, peer, &*handler, &mark, encryption.as_ref())
                    .await
            }
        };
        tokio::select! {
            biased;
            () = connection(stream, peer, limits, answer, stopping) => {}
            _ = sent_away => tracing::debug!(%peer, "a connection gave way to another"),
        }
        drop(seat);
    }
}

impl Keeper {
    async fn answer<H, F>(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        handler: &H,
        mark: &Mark,
        encryption: Option<&Arc<ServerConfig>>,
    ) -> Response
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F,
        F: Future<Output = Response>,
    {
        let visit = match &self.guard {
            Some(guard) => Some(guard.visit().await),
            None => None,
        };
        let working = mark.working();
        let refusal = if self.let_through.contains(&request.uri().path()) {
            request.extensions_mut().insert(mark.clone());
            None
        } else {
            // Few may have their password computed at a time: those are not sent away meanwhile.
            mark.busy();
            match &visit {
                Some(visit) => visit.admit(request.headers(), peer).await.err(),
                None => None,
            }
        };
        let (mut response, refused) = match refusal {
            Some(refusal) => (refusal, true),
            None => {
                let response = handler(request, peer).await;
                let refused = is_refusal(response.status());
                (response, refused)
            }
        };
        let ends = visit.is_some_and(|visit| !visit.dress(&mut response, encryption));
        if refused || ends {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        drop(working);
        if refused {
            mark.refused();
        }
        response
    }
}

/// Whether a client is told to go away; its connection is not kept for it.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::TOO_MANY_REQUESTS
    )
}

/// Shakes hands where that is configured, waits for room and serves the connection.
async fn guarded<H, F>(
    stream: TcpStream,
    visitor: Visitor<H>,
    (number, sent_away): (u64, oneshot::Receiver<()>),
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let keeper = Arc::clone(&visitor.keeper);
    let mut stopping = visitor.stopping.clone();
    let enter = async {
        let encryption = match &keeper.guard {
            Some(guard) => guard.encryption().await,
            None => None,
        };
        let stream = match &encryption {
            None => Stream::Plain(stream),
            Some(config) => handshake(stream, config).await?,
        };
        Some((encryption, stream, keeper.seats.take().await?))
    };
    let entered = tokio::select! {
        entered = tokio::time::timeout(visitor.limits.handshake_timeout, enter) => entered.ok().flatten(),
        _ = sent_away => None,
        _ = stopping.wait_for(|stop| *stop) => None,
    };
    keeper.hall.leave(number);
    match entered {
        None => {
            tracing::debug!(peer = %visitor.peer, "a connection ended before its first request")
        }
        Some((encryption, Stream::Plain(stream), seat)) => {
            visitor.stay(stream, encryption, seat).await
        }
        Some((encryption, Stream::Tls(stream), seat)) => {
            visitor.stay(*stream, encryption, seat).await
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// `None` when there is nothing more to do for this client.
async fn handshake(mut stream: TcpStream, config: &Arc<ServerConfig>) -> Option<Stream> {
    // A handshake begins with 22, a request with a letter.
    let mut first = [0];
    if stream.peek(&mut first).await.is_ok() && first[0].is_ascii_alphabetic() {
        const ANSWER: &[u8] =
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Connection: close\r\n\r\nThis is an HTTPS server: ask with https://\n";
        let _ = stream.write_all(ANSWER).await;
        linger(stream).await;
        return None;
    }
    match TlsAcceptor::from(Arc::clone(config)).accept(stream).await {
        Ok(stream) => Some(Stream::Tls(Box::new(stream))),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// Accepts from whichever listener has a connection, starting each time after
/// the one that served last, so that none is starved.
async fn accept_any(
    listeners: &[TcpListener],
    turn: &mut usize,
) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|cx| {
        for offset in 0..listeners.len() {
            let index = (*turn + offset) % listeners.len();
            if let Poll::Ready(result) = listeners[index].poll_accept(cx) {
                *turn = index + 1;
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
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

/// Serves one connection to its end.
async fn connection<I, H, F>(
    stream: I,
    peer: SocketAddr,
    limits: Arc<Limits>,
    handler: H,
    mut stopping: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    // The time by which the client must have done its part; `None` while a
    // handler runs. hyper bounds neither a client that never sends a byte
    // differently from an idle one, nor one that does not read its answer.
    let (waiting, mut waits) = watch::channel(Some(Instant::now() + limits.header_timeout));
    let waiting = Arc::new(waiting);
    let idle_timeout = limits.idle_timeout;
    let handler = Arc::new(handler);
    let service = service_fn(move |request: Request<Incoming>| {
        waiting.send_replace(None);
        let (handler, waiting) = (Arc::clone(&handler), Arc::clone(&waiting));
        let answer = CatchPanic(Box::pin(async move { handler(request).await }));
        Box::pin(async move {
            let response = answer.await.unwrap_or_else(|Panicked| {
                tracing::error!("a request handler panicked");
                text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
            });
            waiting.send_replace(Some(Instant::now() + idle_timeout));
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A second line only: the deadline above is never later than this.
        .header_read_timeout(limits.idle_timeout)
        .max_header_size(limits.max_header_bytes)
        // hyper panics below 8 KiB.
        .max_buf_size(limits.max_header_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(stream), service);

    let mut stopped = false;
    let result = loop {
        let deadline = *waits.borrow_and_update();
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = &mut connection => break result,
            // Either the deadline changed, or the service is gone, and then
            // the connection is about to end.
            Ok(()) = waits.changed() => {}
            // An error means that the server itself is gone.
            _ = stopping.wait_for(|stop| *stop), if !stopped => {
                stopped = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = late => {
                tracing::debug!(%peer, "a client took too long; closing its connection");
                return;
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
    if !stopped {
        let stream = connection.into_parts().io.into_inner();
        tokio::select! {
            () = linger(stream) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
}

/// Gives the client time to read the last answer, which hyper has sent,
/// followed by the end of the stream.
///
/// Closing a socket with unread bytes resets it, and the client may lose an
/// answer such as "too large" that it has not read yet. So what still comes
/// is read and thrown away, for a short time.
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(mut stream: I) {
    let drain = async {
        stream.shutdown().await?;
        let mut scratch = vec![0; 16 * 1024];
        while stream.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // Errors mean that the client is gone, which is the aim.
    let _ = tokio::time::timeout(Duration::from_secs(2), pin!(drain)).await;
}

/// Turns a panic while polling into a value, so that one request cannot take
/// its connection, or a graceful shutdown, down with it.
struct CatchPanic<T>(Pin<Box<dyn Future<Output = T> + Send>>);

struct Panicked;

impl<T> Future for CatchPanic<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Nothing of the future is used again after a panic.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::web::{html, read_body};
    use hyper::body::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::{Notify, oneshot};
    use tokio::task::JoinHandle;

    /// Longer than anything here takes, shorter than a test may hang.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Server {
        address: SocketAddr,
        stop: Option<oneshot::Sender<()>>,
        task: JoinHandle<()>,
        /// How many requests run now, and how many did at most.
        running: Arc<(AtomicUsize, AtomicUsize)>,
        /// Lets one `/wait` go on.
        release: Arc<Notify>,
    }

    impl Server {
        async fn start(limits: Limits) -> Self {
            let listeners = bind(&["127.0.0.1:0".to_owned()]).await.unwrap();
            Self::on(listeners, limits)
        }

        fn on(listeners: Vec<TcpListener>, limits: Limits) -> Self {
            let address = listeners[0].local_addr().unwrap();
            let (stop, stopped) = oneshot::channel();
            let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
            let release = Arc::new(Notify::new());
            let (counts, gate) = (Arc::clone(&running), Arc::clone(&release));
            let handler = move |request: Request<Incoming>, _peer| {
                let (counts, gate) = (Arc::clone(&counts), Arc::clone(&gate));
                async move {
                    let now = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
                    counts.1.fetch_max(now, Ordering::SeqCst);
                    let response = route(request, &gate).await;
                    counts.0.fetch_sub(1, Ordering::SeqCst);
                    response
                }
            };
            let task = tokio::spawn(serve(listeners, limits, handler, async {
                let _ = stopped.await;
            }));
            Self {
                address,
                stop: Some(stop),
                task,
                running,
                release,
            }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Sends bytes on a new connection and reads until it is closed.
        async fn ask(&self, bytes: &[u8]) -> String {
            exchange(&mut self.connect().await, bytes).await
        }

        async fn stop(mut self) {
            self.stop.take().unwrap().send(()).unwrap();
            tokio::time::timeout(PATIENCE, self.task)
                .await
                .unwrap()
                .unwrap();
        }

        async fn until_running(&self, count: usize) {
            while self.running.0.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn route(request: Request<Incoming>, gate: &Notify) -> Response {
        match request.uri().path() {
            "/" => html("home"),
            "/panic" => panic!("on purpose"),
            "/wait" => {
                gate.notified().await;
                text(StatusCode::OK, "waited")
            }
            "/refused" => text(StatusCode::UNAUTHORIZED, "refused"),
            "/huge" => text(StatusCode::OK, vec![b'x'; 64 << 20]),
            "/body" => match read_body(request, 1000, Duration::from_millis(300)).await {
                Ok(body) => text(StatusCode::OK, body),
                Err(error) => error.response(),
            },
            _ => text(StatusCode::NOT_FOUND, Bytes::new()),
        }
    }

    async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> String {
        stream.write_all(bytes).await.unwrap();
        rest(stream).await
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the connection is closed")
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Reads one answer of a connection that stays open.
    async fn answer(stream: &mut TcpStream, ending: &str) -> String {
        let mut answer = Vec::new();
        let read = async {
            while !answer.ends_with(ending.as_bytes()) {
                answer.push(stream.read_u8().await.unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("an answer");
        String::from_utf8(answer).unwrap()
    }

    const HOME: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    const HOME_KEPT: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn short(milliseconds: u64) -> Limits {
        let time = Duration::from_millis(milliseconds);
        Limits {
            header_timeout: time,
            idle_timeout: time,
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn get_and_head() {
        let server = Server::start(Limits::default()).await;
        let got = server.ask(HOME).await;
        assert!(
            got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\nhome"),
            "{got}"
        );
        let head = server
            .ask(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        assert!(head.contains("content-length: 4\r\n"), "{head}");
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{head}"
        );
        server.stop().await;
    }

    #[tokio::test]
    async fn connections_are_reused_and_cut_when_idle() {
        let server = Server::start(short(300)).await;
        let mut stream = server.connect().await;
        for _ in 0..3 {
            stream.write_all(HOME_KEPT).await.unwrap();
            answer(&mut stream, "home").await;
        }
        assert_eq!(rest(&mut stream).await, "");
        server.stop().await;
    }

    #[tokio::test]
    async fn slow_headers_are_cut() {
        let server = Server::start(Limits {
            header_timeout: Duration::from_millis(200),
            ..Limits::default()
        })
        .await;
        let begun = Instant::now();
        let mut silent = server.connect().await;
        assert_eq!(rest(&mut silent).await, "");
        // A byte now and then does not buy more time.
        let (mut read, mut write) = server.connect().await.into_split();
        let drip = async {
            while write.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let mut sink = Vec::new();
        tokio::select! {
            () = drip => {}
            _ = read.read_to_end(&mut sink) => {}
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut() {
        let server = Server::start(Limits {
            max_connections: 1,
            ..short(300)
        })
        .await;
        let mut deaf = server.connect().await;
        deaf.write_all(b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        // The only place is taken until the server gives up on the other.
        assert!(server.ask(HOME).await.ends_with("home"));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_large_answer_arrives_whole() {
        let server = Server::start(Limits::default()).await;
        let got = server
            .ask(b"GET /huge HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert!(got.len() > 64 << 20);
        server.stop().await;
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let server = Server::start(Limits::default()).await;
        let fine = server
            .ask(b"POST /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
            .await;
        assert!(fine.ends_with("\r\n\r\nabc"), "{fine}");
        // Too large by its own account: refused although nothing was sent.
        let declared = server
            .ask(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
            .await;
        assert!(declared.starts_with("HTTP/1.1 413 "), "{declared}");
        // The whole body is sent before the answer is read.
        let mut large =
            b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n".to_vec();
        large.resize(large.len() + 10_000_000, b'x');
        let sent = server.ask(&large).await;
        assert!(sent.starts_with("HTTP/1.1 413 "), "{sent}");
        let mut chunked =
            b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..200 {
            chunked.extend_from_slice(b"a\r\n0123456789\r\n");
        }
        let chunked = server.ask(&chunked).await;
        assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
        let broken = server
            .ask(b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            .await;
        assert!(broken.starts_with("HTTP/1.1 400 "), "{broken}");
        let slow = server
            .ask(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
            .await;
        assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
        server.stop().await;
    }

    #[tokio::test]
    async fn garbage_and_large_headers_are_refused() {
        let server = Server::start(Limits::default()).await;
        let mut noise = vec![0xff, 0x00, 0x16, 0x03];
        noise.extend_from_slice(&[0x80; 2000]);
        for bytes in [
            &noise[..],
            b"\r\n\r\n\0\r\n\r\n",
            b"GET\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let got = server.ask(bytes).await;
            assert!(got.is_empty() || got.starts_with("HTTP/1.1 4"), "{got}");
        }
        for size in [17_000, 100_000] {
            let large = format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "x".repeat(size)
            );
            let got = server.ask(large.as_bytes()).await;
            assert!(got.starts_with("HTTP/1.1 431 "), "{size}: {got}");
        }
        assert!(server.ask(HOME).await.ends_with("home"));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_panic_is_a_500_and_nothing_else() {
        let server = Server::start(Limits::default()).await;
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let got = answer(&mut stream, "Internal server error\n").await;
        assert!(got.starts_with("HTTP/1.1 500 "), "{got}");
        // Even the connection goes on.
        assert!(exchange(&mut stream, HOME).await.ends_with("home"));
        server.stop().await;
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let server = Server::start(Limits {
            max_connections: 2,
            ..Limits::default()
        })
        .await;
        let mut streams = Vec::new();
        for _ in 0..6 {
            let mut stream = server.connect().await;
            let request = b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            streams.push(stream);
        }
        server.until_running(2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.running.0.load(Ordering::SeqCst), 2);
        // Those in the backlog are served once there is room.
        for mut stream in streams {
            server.release.notify_one();
            assert!(rest(&mut stream).await.ends_with("waited"));
        }
        assert_eq!(server.running.1.load(Ordering::SeqCst), 2);
        server.stop().await;
    }

    /// No time limit helps who waits here.
    fn patient(max_connections: usize) -> Limits {
        let long = 10 * PATIENCE;
        Limits {
            max_connections,
            header_timeout: long,
            idle_timeout: long,
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn the_silent_give_way_and_the_busy_do_not() {
        let server = Server::start(patient(3)).await;
        let mut busy = server.connect().await;
        busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        server.until_running(1).await;
        let mut silent = Vec::new();
        for _ in 0..3 {
            for _ in 0..4 {
                silent.push(server.connect().await);
            }
            assert!(server.ask(HOME).await.ends_with("home"));
        }
        // The oldest were sent away.
        assert_eq!(rest(&mut silent[0]).await, "");
        server.release.notify_one();
        assert!(rest(&mut busy).await.ends_with("waited"));
        server.stop().await;
    }

    #[tokio::test]
    async fn the_idle_give_way_where_nobody_is_silent() {
        let server = Server::start(patient(2)).await;
        let mut idle = [server.connect().await, server.connect().await];
        for stream in &mut idle {
            stream.write_all(HOME_KEPT).await.unwrap();
            answer(stream, "home").await;
        }
        for _ in 0..3 {
            assert!(server.ask(HOME).await.ends_with("home"));
        }
        let [first, second] = &mut idle;
        assert_eq!(rest(first).await, "");
        assert!(
            exchange(second, HOME).await.ends_with("home"),
            "one place was enough"
        );
        server.stop().await;
    }

    #[tokio::test]
    async fn a_refusal_ends_the_connection() {
        let server = Server::start(patient(2)).await;
        let refused = server
            .ask(b"GET /refused HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(refused.contains("\r\nconnection: close\r\n"), "{refused}");
        server.stop().await;
    }

    #[tokio::test]
    async fn one_place_serves_all_listeners() {
        let any = "127.0.0.1:0".to_owned();
        let listeners = bind(&[any.clone(), any]).await.unwrap();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let server = Server::on(
            listeners,
            Limits {
                max_connections: 1,
                ..Limits::default()
            },
        );
        for address in addresses.iter().chain(&addresses) {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert!(exchange(&mut stream, HOME).await.ends_with("home"));
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn shutdown_finishes_running_requests() {
        let mut server = Server::start(Limits {
            drain: PATIENCE,
            ..Limits::default()
        })
        .await;
        let mut idle = server.connect().await;
        idle.write_all(HOME_KEPT).await.unwrap();
        answer(&mut idle, "home").await;
        let mut busy = server.connect().await;
        busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        server.until_running(1).await;
        server.stop.take().unwrap().send(()).unwrap();
        // The idle connection is closed at once, new ones are refused.
        assert_eq!(rest(&mut idle).await, "");
        TcpStream::connect(server.address).await.unwrap_err();
        assert!(!server.task.is_finished());
        server.release.notify_one();
        assert!(rest(&mut busy).await.ends_with("waited"));
        tokio::time::timeout(PATIENCE / 2, server.task)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn the_drain_is_bounded() {
        let drain = Duration::from_millis(200);
        let server = Server::start(Limits {
            drain,
            ..Limits::default()
        })
        .await;
        let mut busy = server.connect().await;
        busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        server.until_running(1).await;
        let begun = Instant::now();
        server.stop().await;
        assert!(begun.elapsed() >= drain && begun.elapsed() < drain + PATIENCE / 4);
    }

    #[test]
    fn a_full_hall_sends_the_first_away() {
        let hall = Hall {
            waiting: Mutex::default(),
            max: 2,
        };
        let gone = |receiver: &mut oneshot::Receiver<()>| {
            receiver.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        let (first, mut a) = hall.enter();
        let (_, mut b) = hall.enter();
        assert!(!gone(&mut a) && !gone(&mut b));
        let (_, mut c) = hall.enter();
        assert!(gone(&mut a) && !gone(&mut b) && !gone(&mut c));
        // Who was sent away has no place to give back.
        hall.leave(first);
        let (fourth, mut d) = hall.enter();
        assert!(gone(&mut b) && !gone(&mut c));
        hall.leave(fourth);
        assert!(gone(&mut d));
        let (_, mut e) = hall.enter();
        assert!(!gone(&mut c) && !gone(&mut e));
    }

    #[tokio::test]
    async fn addresses_that_work() {
        for address in ["127.0.0.1:0", "localhost:0", ":0", "[::1]:0"] {
            match bind(&[address.to_owned()]).await {
                Ok(listeners) => {
                    let port = listeners[0].local_addr().unwrap().port();
                    if address != "[::1]:0" {
                        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    }
                }
                // A machine without IPv6.
                Err(error) => assert!(address == "[::1]:0", "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn addresses_that_do_not_work() {
        for address in [
            "",
            "10273",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:x",
            "127.0.0.1:70000",
            "127.0.0.1:-1",
            "::1:80",
            "[::1:80",
            "[nonsense]:80",
            "http://a:80",
            "a b:80",
        ] {
            let error = bind(&[address.to_owned()]).await.unwrap_err();
            assert!(
                matches!(error, BindError::Syntax { .. }),
                "{address}: {error}"
            );
            assert!(error.to_string().contains("--web.listen-address"));
        }
        assert!(matches!(bind(&[]).await, Err(BindError::NoAddress)));
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = held.local_addr().unwrap().port();
        for address in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!(":{port}"),
        ] {
            let error = bind(std::slice::from_ref(&address)).await.unwrap_err();
            assert!(matches!(error, BindError::InUse { .. }), "{error}");
            let shown = error.to_string();
            assert!(
                shown.contains(&address) && shown.contains("--web.listen-address"),
                "{shown}"
            );
        }
        // Not an address of this machine.
        let error = bind(&["192.0.2.1:0".to_owned()]).await.unwrap_err();
        assert!(matches!(error, BindError::Other { .. }), "{error}");
    }

    /// Where the child of the test below writes its port.
    const PORT_FILE: &str = "WEB_TEST_PORT_FILE";

    #[tokio::test]
    async fn running_out_of_descriptors() {
        // This test runs itself again with few descriptors; there it is the server.
        if let Some(file) = std::env::var_os(PORT_FILE) {
            let server = Server::start(Limits::default()).await;
            std::fs::write(file, server.address.port().to_string()).unwrap();
            server.task.await.unwrap();
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("port");
        let module = module_path!().split_once("::").unwrap().1;
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", "ulimit -n 30; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::running_out_of_descriptors")])
            .env(PORT_FILE, &file)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let address = loop {
            let port = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(port) = port.parse::<u16>() {
                break SocketAddr::from(([127, 0, 0, 1], port));
            }
            assert!(begun.elapsed() < PATIENCE, "the child did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut streams = Vec::new();
        for _ in 0..60 {
            streams.push(TcpStream::connect(address).await.unwrap());
        }
        let pid = child.id().unwrap();
        // User and system time, in ticks of 10 ms.
        let ticks = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
            fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = ticks();
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert!(ticks() - before < 20, "the server spins");
        drop(streams);
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(exchange(&mut stream, HOME).await.ends_with("home"));
        child.kill().await.unwrap();
    }
}
