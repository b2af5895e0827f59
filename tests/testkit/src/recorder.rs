//! A webhook receiver that remembers what Alertmanager sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::{Doing, Result, net};

/// One alert of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `alertname`.
    pub alert: String,
    /// `session`, or empty.
    pub session: String,
    /// `instance`, or empty.
    pub instance: String,
    /// `firing` or `resolved`.
    pub status: String,
    /// The labels of its group, as JSON: all alerts of a group are one message.
    pub group: String,
    /// What the receiver answered.
    pub code: u16,
}

/// Listens on 127.0.0.1, answers 200, or passes each request on and answers what the real
/// receiver says. Dropping it ends it.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    sent: Arc<Mutex<Vec<Sent>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts one; `pass_on` is the URL of the real receiver, if there is one.
    pub fn start(pass_on: Option<String>) -> Result<Self> {
        let port = net::free_port(None)?;
        let listener = TcpListener::bind(("127.0.0.1", port)).doing("the recorder")?;
        let (sent, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (sent, stop) = (Arc::clone(&sent), Arc::clone(&stop));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // A broken request is the sender's trouble: it will come again.
                    let _ = stream
                        .doing("accept")
                        .and_then(|s| serve(s, pass_on.as_deref(), &sent));
                }
            }
        });
        Ok(Self {
            port,
            sent,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// What was sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, pass_on: Option<&str>, sent: &Mutex<Vec<Sent>>) -> Result<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .doing("timeout")?;
    let mut reader = BufReader::new(&stream);
    let mut headers = Vec::new();
    let mut length = 0;
    reader.read_line(&mut String::new()).doing("request line")?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).doing("header")?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "content-length" => length = value.parse().doing("length")?,
            "authorization" | "content-type" | "user-agent" => headers.push((name, value)),
            _ => {}
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).doing("body")?;
    let code = match pass_on {
        // Not reachable is what Alertmanager would have seen too.
        Some(url) => net::post(url, &headers, &body).map_or(502, |answer| answer.status),
        None => 200,
    };
    let payload: Value = serde_json::from_slice(&body).doing("payload")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for alert in payload["alerts"].as_array().into_iter().flatten() {
        let alert = Sent {
            alert: text(&alert["labels"]["alertname"]),
            session: text(&alert["labels"]["session"]),
            instance: text(&alert["labels"]["instance"]),
            status: text(&alert["status"]),
            group: payload["groupLabels"].to_string(),
            code,
        };
        sent.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(alert);
    }
    write!(
        &stream,
        "HTTP/1.1 {code} Recorded\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .doing("answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_passes_on() {
        let real = Recorder::start(None).unwrap();
        let tap = Recorder::start(Some(real.url())).unwrap();
        let body =
            br#"{"groupLabels":{"session":"s"},"alerts":[{"status":"firing","labels":{"alertname":"A","session":"s","instance":"i"}}]}"#;
        assert_eq!(net::post(&tap.url(), &[], body).unwrap().status, 200);
        let expected = Sent {
            alert: "A".into(),
            session: "s".into(),
            instance: "i".into(),
            status: "firing".into(),
            group: r#"{"session":"s"}"#.into(),
            code: 200,
        };
        assert_eq!(tap.sent(), std::slice::from_ref(&expected));
        assert_eq!(real.sent(), [expected]);
    }
}
