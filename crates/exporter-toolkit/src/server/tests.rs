#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::{bind, html, read_body};
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
    async fn start(limits: ServerLimits) -> Self {
        let listeners = bind(&["127.0.0.1:0".to_owned()]).await.unwrap();
        Self::on(listeners, limits)
    }

    fn on(listeners: Vec<TcpListener>, limits: ServerLimits) -> Self {
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
        "/" => html(request.headers(), StatusCode::OK, "home"),
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

fn short(milliseconds: u64) -> ServerLimits {
    let time = Duration::from_millis(milliseconds);
    ServerLimits {
        header_timeout: time,
        idle_timeout: time,
        ..ServerLimits::default()
    }
}

#[tokio::test]
async fn get_and_head() {
    let server = Server::start(ServerLimits::default()).await;
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
    let server = Server::start(ServerLimits {
        header_timeout: Duration::from_millis(200),
        ..ServerLimits::default()
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
    let server = Server::start(ServerLimits {
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
    let server = Server::start(ServerLimits::default()).await;
    let got = server
        .ask(b"GET /huge HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(got.len() > 64 << 20);
    server.stop().await;
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = Server::start(ServerLimits::default()).await;
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
    let mut large = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n".to_vec();
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
    let server = Server::start(ServerLimits::default()).await;
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
    let server = Server::start(ServerLimits::default()).await;
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
    let server = Server::start(ServerLimits {
        max_connections: 2,
        ..ServerLimits::default()
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

/// No timeout frees a place while a test runs.
fn patient(max_connections: usize) -> ServerLimits {
    let long = 10 * PATIENCE;
    ServerLimits {
        max_connections,
        header_timeout: long,
        idle_timeout: long,
        request_timeout: long,
        ..ServerLimits::default()
    }
}

#[tokio::test]
async fn silent_clients_delay_a_request_by_one_header_timeout() {
    let server = Server::start(ServerLimits {
        header_timeout: Duration::from_millis(300),
        ..patient(4)
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(server.connect().await);
    }
    let mut waiting = server.connect().await;
    waiting.write_all(HOME).await.unwrap();
    for stream in &mut silent {
        assert_eq!(rest(stream).await, "");
    }
    assert!(rest(&mut waiting).await.ends_with("home"));
    server.stop().await;
}

#[tokio::test]
async fn pipelining_clients_give_their_places_back() {
    let server = Server::start(patient(4)).await;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (mut read, mut write) = server.connect().await.into_split();
        clients.spawn(async move {
            let ask = async {
                while write.write_all(HOME_KEPT).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            };
            let mut answers = Vec::new();
            let (_, read) = tokio::join!(ask, read.read_to_end(&mut answers));
            read.map(|_| answers)
        });
    }
    // No timeout helps: each answer while most places are taken ends its connection.
    for _ in 0..20 {
        assert!(server.ask(HOME).await.ends_with("home"));
    }
    server.stop().await;
}

#[tokio::test]
async fn at_most_half_of_the_places_are_kept_by_idle_clients() {
    let server = Server::start(patient(4)).await;
    let (mut kept, mut closed) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let mut stream = server.connect().await;
        stream.write_all(HOME_KEPT).await.unwrap();
        let head = answer(&mut stream, "home").await;
        match head.contains("\r\nconnection: close\r\n") {
            true => closed.push(stream),
            false => kept.push(stream),
        }
    }
    assert!((1..=2).contains(&kept.len()), "{}", kept.len());
    for stream in &mut closed {
        assert_eq!(rest(stream).await, "");
    }
    assert!(exchange(&mut kept[0], HOME).await.ends_with("home"));
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_503() {
    let server = Server::start(ServerLimits {
        request_timeout: Duration::from_millis(100),
        ..patient(2)
    })
    .await;
    let got = server
        .ask(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(got.starts_with("HTTP/1.1 503 "), "{got}");
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
async fn one_connection_at_a_time_over_all_listeners() {
    let any = "127.0.0.1:0".to_owned();
    let listeners = bind(&[any.clone(), any]).await.unwrap();
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    let server = Server::on(
        listeners,
        ServerLimits {
            max_connections: 1,
            ..ServerLimits::default()
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
    let mut server = Server::start(ServerLimits {
        drain: PATIENCE,
        ..ServerLimits::default()
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
    let server = Server::start(ServerLimits {
        drain,
        ..ServerLimits::default()
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

/// Where the child of the test below writes its port.
const PORT_FILE: &str = "WEB_TEST_PORT_FILE";

#[tokio::test]
async fn running_out_of_descriptors() {
    // This test runs itself again with few descriptors; there it is the server.
    if let Some(file) = std::env::var_os(PORT_FILE) {
        let server = Server::start(ServerLimits::default()).await;
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
