//! A bot's status API: `GET` of any path answers `{"connected": true}` or `{"connected": false}`.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// No request waits longer than this for [`HttpProbe::open`].
const BOUND: Duration = Duration::from_secs(900);

/// Answers at once, or when the test says so. It runs until the process ends.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    connected: bool,
    /// So many more answers say `false`, whatever `connected` is.
    disconnected_for: usize,
    /// Requests so far.
    asked: usize,
    /// The last request that is answered.
    limit: usize,
}

impl HttpProbe {
    /// A bot that is disconnected.
    #[allow(clippy::missing_panics_doc)]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            connected: false,
            disconnected_for: 0,
            asked: 0,
            limit: usize::MAX,
        };
        let probe = Self {
            port,
            shared: Arc::new((Mutex::new(state), Condvar::new())),
        };
        let server = probe.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        probe
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let Ok(reading) = stream.try_clone() else {
            return;
        };
        let mut lines = BufReader::new(reading).lines();
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        let connected = {
            let mut state = self.state();
            state.asked += 1;
            let mine = state.asked;
            let waits = |state: &mut State| state.limit < mine;
            let waited = self.shared.1.wait_timeout_while(state, BOUND, waits);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let forced = state.disconnected_for > 0;
            state.disconnected_for = state.disconnected_for.saturating_sub(1);
            state.connected && !forced
        };
        let body = format!("{{\"connected\":{connected}}}");
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }

    /// What it says from now on.
    pub fn say_connected(&self, connected: bool) {
        self.state().connected = connected;
    }

    /// It says disconnected `times` times, then connected.
    pub fn say_connected_after(&self, times: usize) {
        let mut state = self.state();
        state.connected = true;
        state.disconnected_for = times;
    }

    /// It answers `some` more requests; later ones wait. Returns how many have come so far.
    pub fn close_after(&self, some: usize) -> usize {
        let mut state = self.state();
        state.limit = state.asked + some;
        state.asked
    }

    /// It answers all requests, also those that wait.
    pub fn open(&self) {
        self.state().limit = usize::MAX;
        self.shared.1.notify_all();
    }

    /// Requests so far, answered or not.
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// Keys below `connection:` of a configuration that ask this probe, one a line.
    pub fn config(&self) -> String {
        format!(
            "  trust: [\"*\"]\n  http:\n    url: http://127.0.0.1:{}/{{session}}\n    pointer: /connected\n    connected: [true]\n    disconnected: [false]\n",
            self.port
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    #[test]
    fn it_answers_what_was_set_and_when() {
        let probe = HttpProbe::start();
        let ask = |port: u16| {
            let answer = net::get(&format!("http://127.0.0.1:{port}/")).unwrap();
            answer.ok().unwrap().contains("true")
        };
        assert!(!ask(probe.port));
        probe.say_connected_after(1);
        assert_eq!([ask(probe.port), ask(probe.port)], [false, true]);
        assert_eq!(probe.close_after(0), 3);
        let port = probe.port;
        let asks = std::thread::spawn(move || ask(port));
        while probe.asked() < 4 {
            std::thread::yield_now();
        }
        assert!(!asks.is_finished());
        probe.open();
        assert!(asks.join().unwrap());
    }
}
