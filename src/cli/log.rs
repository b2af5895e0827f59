//! The log of both programs. A thread of its own writes it to standard error: a reader that
//! hangs, or a terminal that is stopped, keeps nothing else waiting.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::neutral::neutral;

/// Lines that wait to be written, in bytes.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Lines that wait at the end of the program are written within this time.
const FLUSHED_WITHIN: Duration = Duration::from_secs(2);

static LOG: OnceLock<LogQueue> = OnceLock::new();

/// Lines that wait to be written. Once it is full, lines are dropped until all that wait are
/// written; then a line says how many.
#[derive(Debug, Default)]
struct LogQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_full: bool,
    is_writing: bool,
    /// Lines that are lost, and of which no line says so yet.
    dropped: u64,
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never waits for the reader.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.is_full || state.bytes + line.len() > MAX_QUEUED_BYTES {
            state.is_full = true;
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_vec());
        self.changed.notify_all();
    }

    /// Waits for the next line.
    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return line;
            }
            state.is_full = false;
            state.is_writing = false;
            self.changed.notify_all();
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many lines were dropped, once all that waited are written.
    fn wrote(&self, written: io::Result<()>) -> Option<u64> {
        let mut state = self.lock();
        match written {
            Ok(()) if state.lines.is_empty() && state.dropped > 0 => {
                state.is_full = false;
                Some(std::mem::take(&mut state.dropped))
            }
            Ok(()) => None,
            Err(_) => {
                state.dropped += 1;
                None
            }
        }
    }

    /// Writes line after line. `say_dropped` is given the number of lines that were dropped,
    /// and may push a line.
    fn write_to(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>, say_dropped: impl Fn(u64)) {
        loop {
            let line = self.next();
            if let Some(dropped) = self.wrote(write(&line)) {
                say_dropped(dropped);
            }
        }
    }

    /// Waits until all lines are written, at most this long. Says whether they are.
    fn flush(&self, within: Duration) -> bool {
        let is_waiting = |state: &mut QueueState| state.is_writing || !state.lines.is_empty();
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), within, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }
}

fn write_now(line: &[u8]) -> io::Result<()> {
    io::stderr().write_all(neutral(&String::from_utf8_lossy(line)).as_bytes())
}

/// Where the log goes: a line is one write, which never blocks.
#[derive(Debug)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match LOG.get() {
            Some(log) => log.push(line),
            None => write_now(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the thread that writes the log. Without it, each line is written where it is logged.
///
/// Errors: the thread cannot be started.
pub fn start() -> io::Result<()> {
    thread::Builder::new().name("log".into()).spawn(|| {
        LOG.get_or_init(LogQueue::default)
            .write_to(write_now, |dropped| {
                tracing::error!(dropped, "lines of the log were dropped: nothing took them");
            });
    })?;
    LOG.get_or_init(LogQueue::default);
    Ok(())
}

/// Writes a line beside the log, in its order, without waiting for the reader.
pub fn say(text: &str) {
    let _ = LogWriter.write(format!("{text}\n").as_bytes());
}

/// Waits for a short time until the log is written.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(FLUSHED_WITHIN);
    }
}

/// Panics go to the log as well: the message of the standard library would wait for the reader.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        say(&format!(
            "thread {:?} {panic}",
            thread.name().unwrap_or("unnamed")
        ));
    }));
}

#[cfg(test)]
mod tests;
