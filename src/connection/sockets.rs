//! An ESTABLISHED connection of the bot's process, or of one that it has started, to WhatsApp's
//! port is evidence of a connection, once it has lasted: a bot whose login is refused opens one
//! after the other, and each ends within seconds. That there is none proves nothing: the process may
//! be another one, or its network may not be visible from here. Where a connection of the same
//! process had lasted, it is a reason to look.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;
use supervisor::bounded::within;
use supervisor::proc::{ProcessConnections, connections_to};

use super::verdict::span;
use super::{Evidence, Finding};

/// Where WhatsApp listens.
const PORT: u16 = 443;
/// A socket that was first seen so long ago is that of a bot that has logged in.
const LASTS_FOR: Duration = Duration::from_secs(30);
/// The looks that find a socket lasting follow at most this long after it has.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(5);
/// For so long after sockets that have not lasted, that no socket is seen is no normal state:
/// a look rarely meets one of a second.
const ENDED_FOR: Duration = Duration::from_secs(900);
/// A process whose connection had lasted and that has shown none for so long may have lost its
/// login for good. A bot that connects again does so within seconds.
const LOST_AFTER: Duration = Duration::from_secs(300);
/// A process that was not looked at for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// How long after a bot has connected its sockets show it, where a look may take `timeout`.
pub(crate) fn show_within(timeout: Duration) -> Duration {
    LASTS_FOR + timeout.max(LOOKED_AT_WITHIN)
}

/// What the sockets of one process and of all that it has started show. The greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SocketSign {
    /// No socket.
    Nothing,
    /// No socket. The last one that had lasted was seen so long ago, which is more than
    /// [`LOST_AFTER`].
    Lost(Duration),
    /// No socket. The last one was seen so long ago, and has not lasted.
    Ended(Duration),
    /// No socket, and not all could be seen.
    Unseen,
    /// A socket that was first seen so long ago, which is less than [`LASTS_FOR`].
    New(Duration),
    /// A socket that has lasted.
    Lasting,
}

/// The sockets of one process, by the looks at them.
#[derive(Debug)]
struct ProcessSockets {
    /// Those of the last look, and when each was first seen.
    first_seen: BTreeMap<u64, Instant>,
    /// When there last was one, if none has lasted since.
    new: Option<Instant>,
    /// When there last was one that had lasted.
    lasted: Option<Instant>,
    looked: Instant,
}

impl ProcessSockets {
    fn new(now: Instant) -> Self {
        Self {
            first_seen: BTreeMap::new(),
            new: None,
            lasted: None,
            looked: now,
        }
    }

    /// One more look, at which these were there.
    fn note(&mut self, inodes: &BTreeSet<u64>, now: Instant) -> SocketSign {
        self.looked = now;
        self.first_seen.retain(|inode, _| inodes.contains(inode));
        for inode in inodes {
            self.first_seen.entry(*inode).or_insert(now);
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        match self.first_seen.values().min().map(|first| since(*first)) {
            Some(age) if age >= LASTS_FOR => {
                self.new = None;
                self.lasted = Some(now);
                SocketSign::Lasting
            }
            Some(age) => {
                self.new = Some(now);
                SocketSign::New(age)
            }
            None => match (self.new.map(since), self.lasted.map(since)) {
                (Some(ago), _) if ago < ENDED_FOR => SocketSign::Ended(ago),
                (_, Some(ago)) if ago >= LOST_AFTER => SocketSign::Lost(ago),
                _ => SocketSign::Nothing,
            },
        }
    }
}

/// The sockets that a program has seen while it ran, by process (its id and its start). It is not
/// saved: after a start, every socket is new.
#[derive(Debug, Default)]
pub(super) struct SeenSockets(Mutex<SeenProcesses>);

#[derive(Debug, Default)]
struct SeenProcesses {
    by_process: HashMap<(u32, u64), ProcessSockets>,
    swept: Option<Instant>,
}

impl SeenSockets {
    /// Notes a connection of a process that lasted until `now`.
    #[cfg(test)]
    pub(super) fn had_one_that_lasted(&self, pid: u32, now: Instant) {
        let seen = connections_to(pid, PORT);
        let mut seen = seen.unwrap_or_else(|error| panic!("{error}"));
        seen.inodes.insert(1);
        self.note(pid, &seen, now);
        let lasts = self.note(pid, &seen, now + LASTS_FOR);
        assert_eq!(lasts, SocketSign::Lasting);
    }

    fn note(&self, pid: u32, seen: &ProcessConnections, now: Instant) -> SocketSign {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |then: Instant| now.saturating_duration_since(then);
        if all
            .swept
            .is_none_or(|swept| since(swept) >= FORGOTTEN_AFTER)
        {
            all.swept = Some(now);
            all.by_process
                .retain(|_, process| since(process.looked) < FORGOTTEN_AFTER);
        }
        let process = all.by_process.entry((pid, seen.started));
        let process = process.or_insert_with(|| ProcessSockets::new(now));
        match process.note(&seen.inodes, now) {
            // Its connection may be among those that cannot be seen.
            SocketSign::Nothing | SocketSign::Lost(_) if !seen.is_whole => SocketSign::Unseen,
            sign => sign,
        }
    }
}

/// What the sockets of these processes say, and the ids by which those without a connection know
/// themselves.
pub(super) async fn look(
    pids: Vec<u32>,
    timeout: Duration,
    seen: &SeenSockets,
    clock: &Clock,
) -> (Evidence, BTreeSet<u32>) {
    let found = within("reading the sockets", timeout, move || {
        Ok(read(&pids, PORT))
    });
    match found.await {
        Ok(found) => {
            let own_pids = found.iter().filter_map(|(_, process)| process.as_ref());
            let own_pids = own_pids.flat_map(|process| process.own_pids.iter().copied());
            (says(&found, PORT, seen, clock.now()), own_pids.collect())
        }
        Err(why) => {
            let evidence = Evidence::new("sockets", Finding::NoAnswer, why);
            (evidence, BTreeSet::new())
        }
    }
}

/// What is seen of one process and of all that it has started. `None`: its sockets cannot be seen.
type TreeLook = (u32, Option<ProcessConnections>);

/// The connections to `port` of these processes. Blocks.
fn read(pids: &[u32], port: u16) -> Vec<TreeLook> {
    let found = |pid: &u32| (*pid, connections_to(*pid, port).ok());
    pids.iter().map(found).collect()
}

/// What was found, and what was seen before, is evidence of.
fn says(found: &[TreeLook], port: u16, seen: &SeenSockets, now: Instant) -> Evidence {
    let say = |finding, detail: String| Evidence::new("sockets", finding, detail);
    let sign = |(pid, process): &TreeLook| {
        let noted = |process: &ProcessConnections| seen.note(*pid, process, now);
        (process.as_ref().map_or(SocketSign::Unseen, noted), *pid)
    };
    let (sign, pid) = match found.iter().map(sign).max() {
        Some(greatest) => greatest,
        None => (SocketSign::Unseen, 0),
    };
    let lasts = span(LASTS_FOR);
    match sign {
        SocketSign::Lasting => {
            let detail = format!("process {pid} has a connection to port {port}");
            say(Finding::Connected, detail)
        }
        SocketSign::New(age) => {
            let age = span(age);
            let detail = format!(
                "process {pid} has a connection to port {port}, first seen {age} ago; a login is known after {lasts}"
            );
            say(Finding::Connecting, detail)
        }
        SocketSign::Ended(ago) => {
            let ago = span(ago);
            let detail = format!(
                "process {pid} had a connection to port {port} {ago} ago, and none lasted for {lasts}: its login may be refused"
            );
            say(Finding::Ambiguous, detail)
        }
        SocketSign::Lost(ago) => {
            let ago = span(ago);
            let detail = format!(
                "process {pid} has had no connection to port {port} for {ago}: it may have lost its login"
            );
            say(Finding::Lost, detail)
        }
        SocketSign::Unseen => {
            let unseen = "the sockets cannot be seen by this user";
            say(Finding::Nothing, unseen.into())
        }
        SocketSign::Nothing => {
            let detail = format!("no connection to port {port} was seen, which says nothing");
            say(Finding::Nothing, detail)
        }
    }
}

/// The same for a folder that awaits its login, as while a bot shows a QR code: no socket is that
/// of a bot that has logged in. And for a program that looks once. Pure.
pub(super) fn for_the_login(evidence: &mut [Evidence], awaits_login: bool, looks_once: bool) {
    for e in evidence.iter_mut().filter(|e| e.source == "sockets") {
        match e.finding {
            Finding::Connected | Finding::Connecting if awaits_login => {
                e.finding = Finding::Connecting;
                e.detail += ", but creds.json is not logged in";
            }
            Finding::Connecting if looks_once => {
                e.finding = Finding::Connected;
                e.detail += ", but a command looks only once";
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
