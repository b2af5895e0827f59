//! An HTTP server that answers every `GET` as the test says, well or badly.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Doing, Result, net};

/// What the server answers.
#[derive(Clone, Debug)]
pub enum Canned {
    /// The status line after `HTTP/1.1 `, more header lines (each with its line end), and the
    /// body.
    Answer(&'static str, String, Vec<u8>),
    /// These bytes again and again as the body, until the client closes the connection.
    Endless(&'static [u8]),
    /// One byte of the headers every tenth of a second, until the client closes.
    Drip,
    /// The connection is closed.
    Close,
}

impl Canned {
    /// 200 with this JSON.
    pub fn json(body: impl Into<String>) -> Self {
        Self::Answer("200 OK", String::new(), body.into().into_bytes())
    }
}

/// Listens on 127.0.0.1. Dropping it ends it.
#[derive(Debug)]
pub struct CannedServer {
    port: u16,
    answer: Arc<Mutex<Canned>>,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CannedServer {
    /// Starts one that gives this answer.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(answer: Canned) -> Result<Self> {
        let port = net::free_port(None)?;
        let listener = TcpListener::bind(("127.0.0.1", port)).doing("the server")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (answer, requests) = (
            Arc::new(Mutex::new(answer)),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let thread = std::thread::spawn({
            let (stop, answer) = (Arc::clone(&stop), Arc::clone(&answer));
            let requests = Arc::clone(&requests);
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let (stop, requests) = (Arc::clone(&stop), Arc::clone(&requests));
                    let answer = answer
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone();
                    // A client that goes away is what some tests are about.
                    std::thread::spawn(move || serve(&stream, &answer, &requests, &stop).ok());
                }
            }
        });
        Ok(Self {
            port,
            answer,
            requests,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it answers from now on.
    pub fn answers(&self, answer: Canned) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// The requests so far: request line and headers of each.
    pub fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for CannedServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    mut stream: &TcpStream,
    answer: &Canned,
    requests: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut request = String::new();
    let mut reader = BufReader::new(stream);
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    let note = |request| {
        requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    };
    match answer {
        Canned::Answer(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let sent = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body));
            // Once it is seen here, the answer was sent.
            note(request);
            sent
        }
        Canned::Endless(bytes) => {
            note(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            let piece = bytes.repeat(64 * 1024 / bytes.len().max(1) + 1);
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(&piece)?;
            }
            Ok(())
        }
        Canned::Drip => {
            note(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ")?;
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        }
        Canned::Close => {
            note(request);
            Ok(())
        }
    }
}
