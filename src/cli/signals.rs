//! Signals that ask for a graceful shutdown.

use std::future::{Future, poll_fn};
use std::io;
use std::task::Poll;

use tokio::signal::unix::{SignalKind, signal};

/// All whose default action ends the process, and that can be handled; the real-time signals
/// come on top. Not among them: SIGHUP, SIGPIPE and SIGXFSZ, which have another meaning here;
/// SIGKILL, which no process can handle; SIGSEGV, SIGBUS, SIGILL and SIGFPE, after which a process that
/// raised them cannot go on.
const SIGNALS: [(&str, i32); 15] = [
    ("SIGINT", libc::SIGINT),
    ("SIGTERM", libc::SIGTERM),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGALRM", libc::SIGALRM),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGIO", libc::SIGIO),
    ("SIGPWR", libc::SIGPWR),
    ("SIGSTKFLT", libc::SIGSTKFLT),
    ("SIGSYS", libc::SIGSYS),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
];

/// Resolves with the name of the first signal that asks for a graceful shutdown: one of those
/// whose default action ends the process, and that can be handled. After this call none of them
/// ends the process by itself. Every Rust program ignores SIGPIPE, which a client that
/// disconnects would raise.
///
/// Errors: failed to install the signal handlers.
pub fn until_stopped() -> io::Result<impl Future<Output = String>> {
    // A write beyond a limit on the size of files fails then, as on a full disk.
    let _handled = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    let mut signals = Vec::new();
    for (name, number) in all() {
        signals.push((name, signal(SignalKind::from_raw(number))?));
    }
    Ok(poll_fn(move |cx| {
        let mut received = signals
            .iter_mut()
            .filter_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(name));
        received
            .next()
            .map_or(Poll::Pending, |name| Poll::Ready(std::mem::take(name)))
    }))
}

/// Name and number of each.
fn all() -> impl Iterator<Item = (String, i32)> {
    let named = SIGNALS.map(|(name, number)| (name.to_owned(), number));
    let first = libc::SIGRTMIN();
    let real_time = (first..=libc::SIGRTMAX()).map(move |number| {
        let name = match number - first {
            0 => "SIGRTMIN".to_owned(),
            beyond => format!("SIGRTMIN+{beyond}"),
        };
        (name, number)
    });
    named.into_iter().chain(real_time)
}

#[cfg(test)]
mod tests;
